/* Certificates: obtained, kept in Secrets, renewed. One reconcile per Certificate looks at what is
 * there and at its order, if one runs (in memory only: after a restart a new one begins), and says
 * what to write. The order asks for a proof; that becomes a Challenge object, which every gateway
 * answers, and once one has said so the order goes on. So all gateways share one certificate and
 * none of them talks to the ACME server. */
#include "controllers/certificates.h"
#include "base/log.h"
#include "base/map.h"
#include "controllers/acme.h"
#include "controllers/common.h"
#include "controllers/controllers.h"
#include "data/base64.h"
#include "data/time.h"
#include "net/jws.h"
#include "net/loop.h"

enum {
    SETTLE_MS = 500, /* the other gateways are as far as the first one a moment later */
    PRESENT_LIMIT_MS = 60000,
    MAX_WRITES = 3,
    DEFAULT_DAYS = 90,
    DAY_MS = 86400000
};

typedef struct issuing {
    struct book *book;
    char *key; /* "ns/name" */
    int64_t generation;
    sp_acme_order *order; /* NULL: it is over */
    bool wants_proof, proof_told;
    sp_arena *arena; /* of the proof */
    sp_acme_proof proof;
    sp_timer *timer;
    sp_buf cert_pem, key_pem; /* the result */
    unsigned writes;          /* of it to the Secret */
    sp_err err;               /* or why there is none */
} issuing;

typedef struct book {
    sp_manager *manager;
    sp_controller *controller;
    sp_map running; /* key → issuing */
} book;

static const sp_json *find(const book *b, const sp_gvr *g, sp_str ns, sp_str name) {
    return sp_informer_get(sp_manager_informer(b->manager, g), ns, name);
}

static void wake(const issuing *x) {
    sp_controller_enqueue(x->book->controller, sp_str_z(x->key));
}

/* --- orders --- */

static void drop(issuing *x) {
    sp_map_del(&x->book->running, sp_str_z(x->key));
    sp_acme_cancel(x->order);
    sp_timer_stop(x->timer);
    sp_buf_free(&x->cert_pem);
    sp_buf_free(&x->key_pem);
    sp_arena_free(x->arena);
    free(x->key);
    free(x);
}

static void on_present_limit(void *ctx) {
    issuing *x = ctx;
    x->timer = NULL;
    x->order = sp_acme_cancel(x->order);
    x->wants_proof = false;
    (void)sp_fail(&x->err, SP_UNAVAILABLE, "no gateway answers the challenge for %.*s",
                  SP_ARG(x->proof.name));
    wake(x);
}

static void on_prove(void *ctx, const sp_acme_proof *p) {
    issuing *x = ctx;
    x->timer = sp_timer_stop(x->timer);
    x->wants_proof = p != NULL;
    x->proof_told = false;
    if (p) {
        x->proof = *p;
        sp_str *const copies[] = {&x->proof.name, &x->proof.token, &x->proof.key_authorization,
                                  &x->proof.url};
        for (size_t i = 0; i < SP_COUNT(copies); i++)
            *copies[i] = sp_arena_str(x->arena, *copies[i]);
        uv_loop_t *loop = sp_kube_loop(sp_manager_kube(x->book->manager));
        x->timer = sp_timer_start(loop, PRESENT_LIMIT_MS, on_present_limit, x);
    }
    wake(x);
}

static void on_done(void *ctx, const sp_acme_result *r, const sp_err *err) {
    issuing *x = ctx;
    x->order = NULL;
    if (err) {
        x->err = *err;
    } else {
        sp_buf_add(&x->cert_pem, r->cert_pem);
        sp_buf_add(&x->key_pem, r->key_pem);
    }
    wake(x);
}

static void on_settled(void *ctx) {
    issuing *x = ctx;
    x->timer = NULL;
    sp_acme_proved(x->order);
}

static void go_on(issuing *x) {
    uv_loop_t *loop = sp_kube_loop(sp_manager_kube(x->book->manager));
    if (x->proof_told) return;
    x->proof_told = true;
    sp_timer_stop(x->timer);
    x->timer = sp_timer_start(loop, SETTLE_MS, on_settled, x);
}

static issuing *begin(book *b, sp_reconcile *r, const sp_json *certificate) {
    issuing *x = sp_zalloc(1, sizeof *x);
    x->book = b;
    x->key = sp_str_dup(r->key);
    x->generation = sp_obj_generation(certificate);
    x->arena = sp_arena_new();
    sp_map_put(&b->running, r->key, x);
    return x;
}

/* --- from an ACME server --- */

static sp_str decoded(sp_arena *a, const sp_json *j) {
    sp_auto(sp_buf) b = {0};
    return sp_base64_decode(&b, sp_json_str(j)) ? sp_arena_str(a, sp_buf_str(&b)) : (sp_str){0};
}

static void start_order(issuing *x, sp_reconcile *r, const sp_json *certificate,
                        const sp_json *issuer, sp_str account_key) {
    const sp_json *acme = sp_json_dig(issuer, "spec", "acme", NULL);
    bool alpn = sp_issuer_wants_tls_alpn(issuer, certificate);
    sp_acme_params p = {.directory = sp_json_str(sp_json_get(acme, "server")),
                        .ca_pem = decoded(r->arena, sp_json_get(acme, "caBundle")),
                        .insecure = sp_json_bool(sp_json_get(acme, "skipTLSVerify"), false),
                        .account_key_pem = account_key,
                        .email = sp_json_str(sp_json_get(acme, "email")),
                        .method = alpn ? SP_ACME_TLS_ALPN_01 : SP_ACME_HTTP_01,
                        .prove = on_prove,
                        .done = on_done,
                        .ctx = x};
    sp_json_each(sp_json_dig(certificate, "spec", "dnsNames", NULL), n) {
        sp_vec_push(&p.names, sp_json_str(n));
    }
    if (sp_acme_start(sp_kube_loop(sp_manager_kube(x->book->manager)), &p, &x->order, &x->err))
        sp_info("a certificate is ordered", SP_KV("certificate", r->key),
                SP_KV("server", p.directory));
    sp_vec_free(&p.names);
}

static sp_json *new_secret(sp_arena *a, sp_str name, const char *type) {
    sp_json *s = sp_json_object(a);
    sp_json_set_z(a, s, "apiVersion", "v1");
    sp_json_set_z(a, s, "kind", "Secret");
    sp_json_set_z(a, s, "type", type);
    sp_json_set(a, sp_json_ensure_object(a, s, "metadata"), "name", sp_json_new_str(a, name));
    return s;
}

static void put_data(sp_arena *a, sp_json *secret, const char *key, sp_str bytes) {
    sp_auto(sp_buf) b = {0};
    sp_base64_encode(&b, bytes);
    sp_json_set(a, sp_json_ensure_object(a, secret, "data"), key,
                sp_json_new_str(a, sp_buf_str(&b)));
}

/* A ClusterIssuer has no namespace of its own: its Secrets are in kube-system. */
static sp_str issuer_namespace(const sp_reconcile *r, const sp_json *issuer) {
    return sp_obj_namespace(issuer).n ? r->ns : SP_STR("kube-system");
}

static const char *account_key_name(const sp_json *acme) {
    const char *key = sp_json_z(sp_json_dig(acme, "privateKeySecretRef", "key", NULL));
    return *key ? key : "tls.key";
}

/* The account's key, or "" after an action that makes it; the reconcile comes again then. */
static sp_str account_key(const book *b, sp_reconcile *r, const sp_json *issuer, sp_err *err) {
    const sp_json *acme = sp_json_dig(issuer, "spec", "acme", NULL);
    sp_str name = sp_json_str(sp_json_dig(acme, "privateKeySecretRef", "name", NULL));
    sp_str ns = issuer_namespace(r, issuer);
    const sp_json *secret = find(b, &sp_gvr_secrets, ns, name);
    if (secret) {
        sp_str pem = sp_secret_get(r->arena, secret, account_key_name(acme));
        if (!pem.n)
            (void)sp_fail(err, SP_INVALID, "Secret %.*s/%.*s has no %s", SP_ARG(ns), SP_ARG(name),
                          account_key_name(acme));
        return pem;
    }
    sp_auto(sp_buf) pem = {0};
    if (sp_json_bool(sp_json_get(acme, "disableAccountKeyGeneration"), false)) {
        (void)sp_fail(err, SP_INVALID, "there is no Secret %.*s/%.*s with the account's key",
                      SP_ARG(ns), SP_ARG(name));
    } else if (sp_jws_key_make(&pem, err)) {
        sp_json *s = new_secret(r->arena, name, "Opaque");
        put_data(r->arena, s, account_key_name(acme), sp_buf_str(&pem));
        sp_reconcile_create(r, &sp_gvr_secrets, ns, s)->tolerate_exists = true;
        sp_requeue_in(r, 1);
    }
    return (sp_str){0};
}

/* --- from a CA of our own --- */

static int64_t life_of(const sp_json *certificate) {
    int64_t ms = 0;
    sp_str text = sp_json_str(sp_json_dig(certificate, "spec", "duration", NULL));
    if (!sp_duration_parse(text, &ms) || ms <= 0) return DEFAULT_DAYS * SP_DAY_S;
    return SP_MAX(ms / 1000, 1);
}

static const char **z_list(sp_arena *a, const sp_json *list) {
    const char **z = sp_arena_alloc(a, ((list ? list->count : 0) + 1) * sizeof *z);
    size_t n = 0;
    sp_json_each(list, it) z[n++] = sp_json_z(it);
    return z;
}

static void sign_here(issuing *x, sp_reconcile *r, const sp_json *certificate,
                      const sp_json *issuer) {
    const sp_json *spec = sp_json_get(certificate, "spec");
    const char **names = z_list(r->arena, sp_json_get(spec, "dnsNames")),
               **ips = z_list(r->arena, sp_json_get(spec, "ipAddresses"));
    sp_cert_request q = {.common_name = names[0] ? names[0] : ips[0],
                         .dns_names = names,
                         .ips = ips,
                         .server = true,
                         .client = true,
                         .life_s = life_of(certificate)};
    sp_auto(sp_buf) ca_cert = {0};
    sp_auto(sp_buf) ca_key = {0};
    sp_str ca_name = sp_json_str(sp_json_dig(issuer, "spec", "ca", "secretName", NULL));
    if (ca_name.n) {
        const sp_json *s = find(x->book, &sp_gvr_secrets, issuer_namespace(r, issuer), ca_name);
        sp_buf_add(&ca_cert, sp_secret_get(r->arena, s, "tls.crt"));
        sp_buf_add(&ca_key, sp_secret_get(r->arena, s, "tls.key"));
    } else if (!sp_cert_make_ca(q.common_name, q.life_s, &ca_cert, &ca_key, &x->err)) {
        return;
    }
    if (sp_cert_issue(sp_buf_str(&ca_cert), sp_buf_str(&ca_key), &q, &x->cert_pem, &x->key_pem,
                      &x->err) &&
        ca_name.n)
        sp_buf_add(&x->cert_pem, sp_buf_str(&ca_cert));
}

/* --- proofs as objects --- */

static sp_str challenge_name(sp_arena *a, const sp_reconcile *r) {
    return sp_arena_printf(a, "%.*s-challenge", SP_ARG(r->name));
}

static bool put_answer(sp_arena *a, sp_json *spec, const sp_acme_proof *p, sp_err *err) {
    sp_auto(sp_buf) cert = {0};
    sp_auto(sp_buf) key = {0};
    if (p->method != SP_ACME_TLS_ALPN_01) return true;
    if (!sp_cert_make_acme_answer(p->name, p->key_authorization, &cert, &key, err)) return false;
    sp_json *t = sp_json_ensure_object(a, spec, "tlsAnswer");
    sp_json_set(a, t, "certificate", sp_json_new_str(a, sp_buf_str(&cert)));
    sp_json_set(a, t, "privateKey", sp_json_new_str(a, sp_buf_str(&key)));
    return true;
}

static bool create_challenge(sp_reconcile *r, const sp_json *certificate, const sp_acme_proof *p,
                             sp_err *err) {
    sp_arena *a = r->arena;
    sp_json *c = sp_json_object(a);
    sp_json_set_z(a, c, "apiVersion", "acme.cert-manager.io/v1");
    sp_json_set_z(a, c, "kind", "Challenge");
    sp_json *meta = sp_json_ensure_object(a, c, "metadata");
    sp_json_set(a, meta, "name", sp_json_new_str(a, challenge_name(a, r)));
    sp_json_push(sp_json_ensure_array(a, meta, "ownerReferences"), sp_owner_ref(a, certificate));
    sp_json *spec = sp_json_ensure_object(a, c, "spec");
    sp_json_set_z(a, spec, "type", p->method == SP_ACME_HTTP_01 ? "HTTP-01" : "TLS-ALPN-01");
    sp_json_set(a, spec, "dnsName", sp_json_new_str(a, p->name));
    sp_json_set(a, spec, "token", sp_json_new_str(a, p->token));
    sp_json_set(a, spec, "key", sp_json_new_str(a, p->key_authorization));
    sp_json_set(a, spec, "url", sp_json_new_str(a, p->url));
    if (!put_answer(a, spec, p, err)) return false;
    sp_reconcile_create(r, &sp_gvr_challenges, r->ns, c)->tolerate_exists = true;
    return true;
}

/* Exactly the Challenge of the proof wanted now. */
static bool keep_challenge(const book *b, sp_reconcile *r, const sp_json *certificate, issuing *x,
                           sp_err *err) {
    const sp_json *c = find(b, &sp_gvr_challenges, r->ns, challenge_name(r->arena, r));
    bool wanted = x && x->wants_proof;
    bool right = c && wanted &&
                 sp_str_eq(sp_json_str(sp_json_dig(c, "spec", "token", NULL)), x->proof.token);
    if (c && !right) {
        sp_reconcile_delete(r, &sp_gvr_challenges, c, "Background");
        if (wanted) sp_requeue_in(r, 1);
    } else if (!c && wanted) {
        return create_challenge(r, certificate, &x->proof, err);
    } else if (right && sp_json_bool(sp_json_dig(c, "status", "presented", NULL), false)) {
        go_on(x);
    }
    return true;
}

/* --- the Secret --- */

static void annotate(sp_arena *a, sp_json *secret, const sp_json *certificate) {
    const sp_json *ref = sp_json_dig(certificate, "spec", "issuerRef", NULL);
    sp_json *to =
        sp_json_ensure_object(a, sp_json_ensure_object(a, secret, "metadata"), "annotations");
    sp_json_set(a, to, "cert-manager.io/certificate-name",
                sp_json_new_str(a, sp_obj_name(certificate)));
    sp_json_set(a, to, "cert-manager.io/issuer-name",
                sp_json_new_str(a, sp_json_str(sp_json_get(ref, "name"))));
    sp_json_set(a, to, "cert-manager.io/issuer-kind", sp_json_new_str(a, sp_obj_kind(ref)));
}

static void write_secret(sp_reconcile *r, const sp_json *certificate, const sp_json *old,
                         const issuing *x) {
    sp_arena *a = r->arena;
    sp_str name = sp_json_str(sp_json_dig(certificate, "spec", "secretName", NULL));
    sp_json *s = old ? sp_json_object(a) : new_secret(a, name, "kubernetes.io/tls");
    annotate(a, s, certificate);
    put_data(a, s, "tls.crt", sp_buf_str(&x->cert_pem));
    put_data(a, s, "tls.key", sp_buf_str(&x->key_pem));
    if (old)
        sp_reconcile_merge(r, &sp_gvr_secrets, r->ns, name, s);
    else
        sp_reconcile_create(r, &sp_gvr_secrets, r->ns, s);
}

/* --- status --- */

static sp_json *status_of(sp_reconcile *r, const sp_json *obj) {
    const sp_json *old = sp_json_get(obj, "status");
    return old ? sp_json_clone(r->arena, old) : sp_json_object(r->arena);
}

static void condition(sp_reconcile *r, sp_json *status, const sp_json *obj, const char *type,
                      bool is_true, const char *reason, const char *message) {
    sp_json *list = sp_json_ensure_array(r->arena, status, "conditions");
    sp_condition_set(r->arena, list, type, is_true ? "True" : "False", reason, message,
                     r->now_wall_ms);
    sp_json_each(list, c) {
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type))
            sp_json_set_int(r->arena, c, "observedGeneration", sp_obj_generation(obj));
    }
}

static void tell_good(sp_reconcile *r, const sp_json *certificate, const sp_certificate_look *l) {
    sp_arena *a = r->arena;
    sp_json *s = status_of(r, certificate);
    int64_t before = sp_json_time_ms(sp_json_get(s, "notAfter"));
    condition(r, s, certificate, "Ready", true, "Ready",
              "Certificate is up to date and has not expired");
    condition(r, s, certificate, "Issuing", false, "Issued", "The certificate has been issued");
    sp_json_set(a, s, "notBefore", sp_json_new_time(a, l->not_before_ms));
    sp_json_set(a, s, "notAfter", sp_json_new_time(a, l->not_after_ms));
    sp_json_set(a, s, "renewalTime", sp_json_new_time(a, l->renew_at_ms));
    if (before / 1000 != l->not_after_ms / 1000) {
        sp_json_set_int(a, s, "revision", sp_json_int(sp_json_get(s, "revision"), 0) + 1);
        sp_reconcile_event(
            r, certificate, "Normal", "Issued", "the certificate is in Secret %.*s",
            SP_ARG(sp_json_str(sp_json_dig(certificate, "spec", "secretName", NULL))));
    }
    sp_json_remove(s, "lastFailureTime");
    sp_json_remove(s, "failedIssuanceAttempts");
    sp_status_write(r, &sp_gvr_certificates, certificate, s);
    sp_requeue_in(r, SP_MIN(l->renew_at_ms - r->now_wall_ms + 1, (int64_t)DAY_MS));
}

static void tell_issuing(sp_reconcile *r, const sp_json *certificate, const char *why) {
    sp_json *s = status_of(r, certificate);
    bool served = sp_json_time_ms(sp_json_get(s, "notAfter")) > r->now_wall_ms;
    condition(r, s, certificate, "Issuing", true, "Issuing", why);
    if (!served) condition(r, s, certificate, "Ready", false, "Issuing", why);
    sp_status_write(r, &sp_gvr_certificates, certificate, s);
}

static void tell_failed(sp_reconcile *r, const sp_json *certificate, const char *reason,
                        const char *text, bool counts) {
    sp_json *s = status_of(r, certificate);
    bool served = sp_json_time_ms(sp_json_get(s, "notAfter")) > r->now_wall_ms;
    int64_t failures = sp_json_int(sp_json_get(s, "failedIssuanceAttempts"), 0);
    condition(r, s, certificate, "Issuing", false, reason, text);
    if (!served) condition(r, s, certificate, "Ready", false, reason, text);
    if (counts) {
        sp_json_set_int(r->arena, s, "failedIssuanceAttempts", failures + 1);
        sp_json_set(r->arena, s, "lastFailureTime", sp_json_new_time(r->arena, r->now_wall_ms));
        sp_reconcile_event(r, certificate, "Warning", reason, "%s", text);
    }
    sp_status_write(r, &sp_gvr_certificates, certificate, s);
}

/* --- the decision --- */

static const sp_json *issuer_of(const book *b, const sp_reconcile *r, const sp_json *certificate) {
    const sp_json *ref = sp_json_dig(certificate, "spec", "issuerRef", NULL);
    sp_str name = sp_json_str(sp_json_get(ref, "name"));
    return sp_str_eqz(sp_obj_kind(ref), "ClusterIssuer")
               ? find(b, &sp_gvr_clusterissuers, (sp_str){0}, name)
               : find(b, &sp_gvr_issuers, r->ns, name);
}

static const sp_json *ca_secret_of(const book *b, const sp_reconcile *r, const sp_json *issuer) {
    sp_str name = sp_json_str(sp_json_dig(issuer, "spec", "ca", "secretName", NULL));
    return name.n ? find(b, &sp_gvr_secrets, issuer_namespace(r, issuer), name) : NULL;
}

static sp_str no_issuer(const sp_reconcile *r, const sp_json *certificate) {
    const sp_json *ref = sp_json_dig(certificate, "spec", "issuerRef", NULL);
    sp_str name = sp_json_str(sp_json_get(ref, "name"));
    if (sp_str_eqz(sp_obj_kind(ref), "ClusterIssuer"))
        return sp_arena_printf(r->arena, "there is no ClusterIssuer \"%.*s\"", SP_ARG(name));
    return sp_arena_printf(r->arena, "there is no Issuer \"%.*s\" in namespace %.*s", SP_ARG(name),
                           SP_ARG(r->ns));
}

static void issue(book *b, sp_reconcile *r, const sp_json *certificate, const char *why) {
    const char *reason;
    sp_err err = {0};
    const sp_json *issuer = issuer_of(b, r, certificate);
    sp_str bad = sp_issuer_fault(r->arena, issuer, ca_secret_of(b, r, issuer), &reason);
    int64_t wait = sp_certificate_wait_ms(certificate, r->now_wall_ms);
    if (!issuer) bad = no_issuer(r, certificate);
    if (bad.n) { /* comes again when the issuer changes */
        tell_failed(r, certificate, issuer ? reason : "IssuerNotFound",
                    sp_arena_printf(r->arena, "%.*s", SP_ARG(bad)).p, false);
        return;
    }
    if (wait) {
        sp_requeue_in(r, wait);
        return;
    }
    bool acme = sp_json_dig(issuer, "spec", "acme", NULL) != NULL;
    sp_str key = acme ? account_key(b, r, issuer, &err) : (sp_str){0};
    if (err.code) tell_failed(r, certificate, "AccountKey", err.text, true);
    if (acme && !key.n) return;
    issuing *x = begin(b, r, certificate);
    tell_issuing(r, certificate, why);
    if (acme)
        start_order(x, r, certificate, issuer, key);
    else
        sign_here(x, r, certificate, issuer);
    if (x->err.code || x->cert_pem.n) wake(x);
}

/* The result is kept until the Secret is seen to hold it. */
static void follow_order(sp_reconcile *r, const sp_json *certificate, const sp_json *secret,
                         issuing *x, const sp_certificate_look *look) {
    if (x->order) return;
    if (!x->err.code && !look->good && x->writes++ == MAX_WRITES)
        (void)sp_fail(&x->err, SP_INVALID, "what was issued is not what was asked for: %s",
                      look->why);
    if (x->err.code) {
        tell_failed(r, certificate, "Failed", x->err.text, true);
        drop(x);
    } else if (look->good) {
        tell_good(r, certificate, look);
        drop(x);
    } else {
        write_secret(r, certificate, secret, x);
        sp_requeue_in(r, 1);
    }
}

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    book *b = ctx;
    const sp_json *c = find(b, &sp_gvr_certificates, r->ns, r->name);
    issuing *x = sp_map_get(&b->running, r->key);
    bool stale = x && (!c || x->generation != sp_obj_generation(c));
    if (stale) drop(x);
    if (stale) x = NULL;
    if (!c || sp_obj_deleting(c)) return true;
    if (!keep_challenge(b, r, c, x, err)) return false;
    sp_str name = sp_json_str(sp_json_dig(c, "spec", "secretName", NULL));
    const sp_json *secret = find(b, &sp_gvr_secrets, r->ns, name);
    sp_certificate_look look = sp_certificate_examine(r->arena, c, secret, r->now_wall_ms);
    if (x)
        follow_order(r, c, secret, x, &look);
    else if (look.good)
        tell_good(r, c, &look);
    else
        issue(b, r, c, look.why);
    return true;
}

/* --- issuers say whether they can be used --- */

static void tell_issuer(book *b, sp_reconcile *r, const sp_gvr *g) {
    const char *reason;
    const sp_json *issuer = find(b, g, r->ns, r->name);
    if (!issuer || sp_obj_deleting(issuer)) return;
    sp_str bad = sp_issuer_fault(r->arena, issuer, ca_secret_of(b, r, issuer), &reason);
    sp_json *s = status_of(r, issuer);
    if (bad.n)
        condition(r, s, issuer, "Ready", false, reason,
                  sp_arena_printf(r->arena, "%.*s", SP_ARG(bad)).p);
    else
        condition(r, s, issuer, "Ready", true, "Ready", "it can be used");
    sp_status_write(r, g, issuer, s);
}

static bool reconcile_issuer(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    tell_issuer(ctx, r, &sp_gvr_issuers);
    return true;
}

static bool reconcile_cluster_issuer(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    tell_issuer(ctx, r, &sp_gvr_clusterissuers);
    return true;
}

/* --- wiring --- */

static bool enqueue(void *ctx, const sp_json *obj) {
    sp_controller_enqueue_object(ctx, obj);
    return true;
}

static void on_issuer(void *ctx, sp_controller *c, const sp_json *issuer) {
    (void)issuer;
    book *b = ctx;
    sp_informer_each(sp_manager_informer(b->manager, &sp_gvr_certificates), enqueue, c);
}

static void on_secret(void *ctx, sp_controller *c, const sp_json *secret) {
    book *b = ctx;
    sp_obj_list all = {0};
    sp_informer_list(sp_manager_informer(b->manager, &sp_gvr_certificates),
                     sp_obj_namespace(secret), &all);
    sp_vec_each(&all, it) {
        if (sp_str_eq(sp_json_str(sp_json_dig(*it, "spec", "secretName", NULL)),
                      sp_obj_name(secret)))
            sp_controller_enqueue_object(c, *it);
    }
    sp_vec_free(&all);
}

static void each_issuer_with(book *b, sp_controller *c, const sp_gvr *g, const sp_json *secret) {
    sp_obj_list all = {0};
    sp_informer_list(sp_manager_informer(b->manager, g), (sp_str){0}, &all);
    sp_vec_each(&all, it) {
        if (sp_str_eq(sp_json_str(sp_json_dig(*it, "spec", "ca", "secretName", NULL)),
                      sp_obj_name(secret)))
            sp_controller_enqueue_object(c, *it);
    }
    sp_vec_free(&all);
}

static void on_issuer_secret(void *ctx, sp_controller *c, const sp_json *secret) {
    each_issuer_with(ctx, c, &sp_gvr_issuers, secret);
}

static void on_cluster_issuer_secret(void *ctx, sp_controller *c, const sp_json *secret) {
    each_issuer_with(ctx, c, &sp_gvr_clusterissuers, secret);
}

static void gone(void *ctx) {
    book *b = ctx;
    void *x;
    for (size_t at = 0; sp_map_next(&b->running, &at, NULL, &x); at = 0) drop(x);
    sp_map_free(&b->running);
    free(b);
}

void sp_add_certificates(sp_manager *m) {
    book *b = sp_zalloc(1, sizeof *b);
    b->manager = m;
    sp_manager_on_free(m, gone, b);
    b->controller = sp_controller_new(m, "certificate", reconcile, b);
    sp_controller_for(b->controller, &sp_gvr_certificates);
    sp_controller_owns(b->controller, &sp_gvr_challenges, "Certificate");
    sp_controller_watch(b->controller, &sp_gvr_secrets, on_secret, b);
    sp_controller_watch(b->controller, &sp_gvr_issuers, on_issuer, b);
    sp_controller_watch(b->controller, &sp_gvr_clusterissuers, on_issuer, b);
    sp_controller *c = sp_controller_new(m, "issuer", reconcile_issuer, b);
    sp_controller_for(c, &sp_gvr_issuers);
    sp_controller_watch(c, &sp_gvr_secrets, on_issuer_secret, b);
    c = sp_controller_new(m, "clusterissuer", reconcile_cluster_issuer, b);
    sp_controller_for(c, &sp_gvr_clusterissuers);
    sp_controller_watch(c, &sp_gvr_secrets, on_cluster_issuer_secret, b);
}
