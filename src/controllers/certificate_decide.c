/* When is a certificate good, when may it be tried again, what is wrong with an issuer. */
#include "controllers/certificates.h"
#include "controllers/common.h"
#include "data/base64.h"
#include "data/time.h"
#include "net/jws.h"

enum { MINUTE_MS = 60000, MAX_DOUBLINGS = 11 };

sp_str sp_secret_get(sp_arena *a, const sp_json *secret, const char *key) {
    sp_auto(sp_buf) b = {0};
    sp_str text = sp_json_str(sp_json_dig(secret, "data", key, NULL));
    if (!sp_base64_decode(&b, text)) return (sp_str){0};
    return sp_arena_str(a, sp_buf_str(&b));
}

/* --- the certificate that is there --- */

static bool has_name(const sp_strs *names, sp_str name) {
    sp_vec_each(names, n) if (sp_str_ieq(*n, name)) return true;
    return false;
}

static bool names_are(const sp_json *spec, const sp_strs *names) {
    static const char *const lists[] = {"dnsNames", "ipAddresses"};
    size_t wanted = 0;
    for (size_t i = 0; i < SP_COUNT(lists); i++) {
        sp_json_each(sp_json_get(spec, lists[i]), n) {
            wanted++;
            if (!has_name(names, sp_json_str(n))) return false;
        }
    }
    return wanted >= names->n;
}

static bool issuer_is(const sp_json *certificate, const sp_json *secret) {
    const sp_json *ref = sp_json_dig(certificate, "spec", "issuerRef", NULL);
    return sp_str_eq(sp_obj_annotation(secret, "cert-manager.io/issuer-name"),
                     sp_json_str(sp_json_get(ref, "name"))) &&
           sp_str_eq(sp_obj_annotation(secret, "cert-manager.io/issuer-kind"), sp_obj_kind(ref));
}

static int64_t renewal(const sp_json *certificate, const sp_cert_facts *f) {
    int64_t life = f->not_after_ms - f->not_before_ms, before = 0;
    sp_str text = sp_json_str(sp_json_dig(certificate, "spec", "renewBefore", NULL));
    if (!sp_duration_parse(text, &before) || before <= 0 || before >= life) before = life / 3;
    return f->not_after_ms - before;
}

static const char *fault(const sp_json *certificate, const sp_json *secret, const sp_cert_facts *f,
                         int64_t renew_at_ms, int64_t now_ms) {
    if (!f->key_fits) return "the key in the Secret does not fit its certificate";
    if (!names_are(sp_json_get(certificate, "spec"), &f->names))
        return "the certificate in the Secret is for other names";
    if (!issuer_is(certificate, secret))
        return "the certificate in the Secret is of another issuer";
    if (now_ms >= renew_at_ms) return "the certificate is due to be renewed";
    return NULL;
}

sp_certificate_look sp_certificate_examine(sp_arena *a, const sp_json *certificate,
                                           const sp_json *secret, int64_t now_ms) {
    sp_certificate_look look = {0};
    sp_cert_facts f;
    if (!secret) {
        look.why = "the Secret does not exist yet";
        return look;
    }
    if (!sp_cert_read(a, sp_secret_get(a, secret, "tls.crt"), sp_secret_get(a, secret, "tls.key"),
                      &f, NULL)) {
        look.why = "the Secret holds no certificate";
        return look;
    }
    look.renew_at_ms = renewal(certificate, &f);
    look.not_before_ms = f.not_before_ms;
    look.not_after_ms = f.not_after_ms;
    look.why = fault(certificate, secret, &f, look.renew_at_ms, now_ms);
    look.good = look.why == NULL;
    sp_vec_free(&f.names);
    return look;
}

int64_t sp_certificate_wait_ms(const sp_json *certificate, int64_t now_ms) {
    const sp_json *status = sp_json_get(certificate, "status");
    int64_t failures = sp_json_int(sp_json_get(status, "failedIssuanceAttempts"), 0);
    int64_t last = sp_json_time_ms(sp_json_get(status, "lastFailureTime"));
    const sp_json *ready = sp_condition_get(certificate, "Ready");
    bool same =
        sp_json_int(sp_json_get(ready, "observedGeneration"), 0) == sp_obj_generation(certificate);
    if (failures <= 0 || !last || !same) return 0;
    int64_t wait = (int64_t)MINUTE_MS << SP_MIN(failures - 1, (int64_t)MAX_DOUBLINGS);
    return SP_MAX(last + wait - now_ms, 0);
}

/* --- issuers --- */

static sp_str acme_fault(sp_arena *a, const sp_json *acme, const char **ret_reason) {
    sp_url u;
    sp_err err = {0};
    if (!sp_url_parse(sp_json_str(sp_json_get(acme, "server")), &u, &err)) {
        *ret_reason = "InvalidServer";
        return sp_arena_printf(a, "spec.acme.server: %s", err.text);
    }
    if (!sp_json_str(sp_json_dig(acme, "privateKeySecretRef", "name", NULL)).n) {
        *ret_reason = "InvalidConfig";
        return SP_STR("spec.acme.privateKeySecretRef.name: a name is needed");
    }
    return (sp_str){0};
}

sp_str sp_issuer_fault(sp_arena *a, const sp_json *issuer, const sp_json *ca_secret,
                       const char **ret_reason) {
    const sp_json *spec = sp_json_get(issuer, "spec"), *acme = sp_json_get(spec, "acme");
    sp_cert_facts f;
    sp_err err = {0};
    *ret_reason = "InvalidConfig";
    if (!issuer) return SP_STR("the issuer does not exist");
    if (acme) return acme_fault(a, acme, ret_reason);
    if (!sp_json_get(spec, "ca")) return (sp_str){0};
    sp_str name = sp_json_str(sp_json_dig(spec, "ca", "secretName", NULL));
    if (!ca_secret)
        return sp_arena_printf(a, "spec.ca.secretName: there is no Secret %.*s", SP_ARG(name));
    bool ok = sp_cert_read(a, sp_secret_get(a, ca_secret, "tls.crt"),
                           sp_secret_get(a, ca_secret, "tls.key"), &f, &err);
    if (!ok) return sp_arena_printf(a, "Secret %.*s: tls.crt: %s", SP_ARG(name), err.text);
    sp_vec_free(&f.names);
    if (f.key_fits) return (sp_str){0};
    return sp_arena_printf(a, "Secret %.*s: tls.key does not fit tls.crt", SP_ARG(name));
}

static bool in_list(const sp_json *list, sp_str name, bool zones) {
    sp_json_each(list, it) {
        sp_str s = sp_json_str(it);
        bool below =
            zones && name.n > s.n && sp_str_ends(name, s) && name.p[name.n - s.n - 1] == '.';
        if (sp_str_ieq(s, name) || below) return true;
    }
    return false;
}

static bool is_for(const sp_json *solver, const sp_json *certificate) {
    const sp_json *selector = sp_json_get(solver, "selector");
    const sp_json *names = sp_json_get(selector, "dnsNames"),
                  *zones = sp_json_get(selector, "dnsZones");
    if (!names && !zones) return true;
    sp_json_each(sp_json_dig(certificate, "spec", "dnsNames", NULL), n) {
        if (!in_list(names, sp_json_str(n), false) && !in_list(zones, sp_json_str(n), true))
            return false;
    }
    return true;
}

bool sp_issuer_wants_tls_alpn(const sp_json *issuer, const sp_json *certificate) {
    sp_json_each(sp_json_dig(issuer, "spec", "acme", "solvers", NULL), s) {
        if (is_for(s, certificate)) return sp_json_get(s, "tlsALPN01") != NULL;
    }
    return false;
}
