/* One HTTP/2 connection to one endpoint carries everything. A call that fails for the endpoint's
 * sake, not for its own (etcd_advice.c knows which), makes the next endpoint the one in use; calls
 * that may be sent twice go there at once.
 *
 * Each endpoint is greeted first: it has to be an etcd, new enough, and of the same cluster as the
 * first one, for a write sent to another cluster would be lost. With users in etcd, calls then wait
 * for a token; one that is no longer taken is replaced, once per call. Certificates are read anew
 * with each change of the endpoint, so renewed files need no restart. */
#include "store/etcd_client.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "net/grpc.h"
#include "store/etcd.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    AUTH_TIMEOUT_MS = 5000,
    CONNECT_TIMEOUT_MS = 2000,
    SAY_EVERY_MS = 60000, /* the same of the same endpoint */
    OLDEST = 3004,        /* 3.4 */
    SOON_DAYS = 14
};

typedef struct endpoint {
    char *url, *host;
    uint16_t port;
    bool tls;
    bool hopeless; /* its last failure was final */
    uint64_t said; /* hash of what was last logged of it */
    int64_t said_ms;
} endpoint;

struct sp_etcd_tls {
    size_t refs;
    sp_tls_ctx *ctx;
    uint64_t hash; /* of what it was made of */
};

struct sp_etcd {
    uv_loop_t *loop;
    SP_VEC(endpoint) endpoints;
    size_t at;
    uint64_t epoch;      /* counts changes of `at` */
    sp_etcd_tls *tls;    /* NULL without TLS */
    sp_etcd_files files; /* copies */
    sp_http_client *http;
    char *user, *password, *token;
    uint64_t token_no;     /* counts tokens */
    bool greeted, no_auth; /* no_auth: this etcd knows no users just now */
    uint64_t cluster;      /* its id; 0 = not known yet */
    sp_grpc_call *opening; /* greeting, or signing in */
    sp_buf reply;          /* to that */
    sp_etcd_fault fault;   /* of the call whose done runs */
    bool sent;             /* that call */
    int64_t took_us;       /* that call */
    sp_err why;            /* the endpoint before was left */
    sp_list calls;         /* sp_etcd_call.link, all */
};

struct sp_etcd_call {
    sp_list link;
    sp_etcd *e;
    const char *path;
    sp_buf request;
    const ProtobufCMessageDescriptor *type;
    sp_etcd_again again;
    uint32_t timeout_ms;
    void (*message)(void *ctx, const ProtobufCMessage *m); /* streams */
    sp_etcd_done *done;
    void *ctx;
    sp_grpc_call *grpc; /* NULL while it waits for a token */
    ProtobufCMessage *answer;
    uint64_t epoch;    /* of the endpoint it went to */
    uint64_t token_no; /* of the token it went with */
    size_t at;         /* that endpoint */
    size_t tries;
    bool waiting; /* for the greeting, or a token */
    bool renewed; /* the token, for this call */
    bool sent;
    int64_t sent_us; /* when it was given to the connection, which had been greeted */
    sp_err bad;      /* an answer that cannot be */
};

/* --- endpoints --- */

static void open_endpoint(sp_etcd *e) {
    const endpoint *p = &e->endpoints.p[e->at];
    const sp_etcd_tls *tls = p->tls ? e->tls : NULL;
    sp_assert(!p->tls || tls);
    sp_http_client_config c = {.host = p->host,
                               .port = p->port,
                               .tls = tls ? tls->ctx : NULL,
                               .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                               .prior_knowledge = !p->tls};
    e->http = sp_http_client_new(e->loop, &c);
}

const char *sp_etcd_endpoint(const sp_etcd *e) {
    return e->endpoints.p[e->at].url;
}

static void run(sp_etcd_call *call);

/* --- certificates --- */

static bool read_one(const char *path, sp_buf *b, sp_str *ret, sp_err *err) {
    if (!path) return true;
    if (!sp_file_read(path, 1 << 20, b, err)) return false;
    *ret = sp_buf_str(b);
    return true;
}

static uint64_t hash_of(const sp_tls_config *t) {
    return sp_str_hash(t->ca_pem) ^ 3 * sp_str_hash(t->cert_pem) ^ 5 * sp_str_hash(t->key_pem);
}

static void read_again(sp_etcd *e) {
    sp_auto(sp_buf) ca = {0}, cert = {0}, key = {0};
    sp_tls_config t = {.alpn = "h2"};
    sp_tls_ctx *fresh = NULL;
    sp_err err = {0};
    if (!e->tls || !(e->files.ca || e->files.cert)) return;
    bool ok = read_one(e->files.ca, &ca, &t.ca_pem, &err) &&
              read_one(e->files.cert, &cert, &t.cert_pem, &err) &&
              read_one(e->files.key, &key, &t.key_pem, &err);
    uint64_t hash = ok ? hash_of(&t) : 0;
    if (ok && hash == e->tls->hash) return;
    if (!ok || !sp_tls_ctx_new(&t, &fresh, &err)) { /* half written, perhaps */
        sp_warn("the certificates for etcd cannot be read again", SP_KV("why", err.text));
        return;
    }
    sp_info("the certificates for etcd have changed and are used from now on",
            SP_KV("certificate", e->files.cert ? e->files.cert : ""));
    sp_tls_ctx_unref(e->tls->ctx);
    e->tls->ctx = fresh;
    e->tls->hash = hash;
}

/* --- leaving an endpoint --- */

static void end_opening(sp_etcd *e) {
    if (e->opening) sp_grpc_cancel(e->opening);
    e->opening = NULL;
}

/* Closing the client tells each call by its done: see again(). */
void sp_etcd_leave(sp_etcd *e) {
    sp_http_client *old = e->http;
    e->at = (e->at + 1) % e->endpoints.n;
    e->epoch++;
    e->greeted = false;
    read_again(e);
    open_endpoint(e);
    end_opening(e);
    sp_http_client_free(old);
    sp_list_each(&e->calls, it) {
        sp_etcd_call *c = SP_CONTAINER(it, sp_etcd_call, link);
        if (c->waiting) run(c);
    }
}

static void leave_for(sp_etcd *e, const sp_err *why, bool final) {
    endpoint *p = &e->endpoints.p[e->at];
    int64_t now = sp_clock_mono_ms();
    uint64_t hash = sp_str_hash(sp_str_z(why->text));
    if (hash != p->said || now - p->said_ms > SAY_EVERY_MS) {
        sp_warn("an etcd endpoint fails", SP_KV("endpoint", (const char *)p->url),
                SP_KV("why", (const char *)why->text));
        p->said = hash;
        p->said_ms = now;
    }
    p->hopeless = final;
    e->why = *why;
    (void)sp_err_wrap(&e->why, "etcd at %s", p->url);
    sp_etcd_leave(e);
}

bool sp_etcd_is_hopeless(const sp_etcd *e) {
    sp_vec_each(&e->endpoints, p) if (!p->hopeless) return false;
    return true;
}

sp_etcd_fault sp_etcd_fault_now(const sp_etcd *e) {
    return e->fault;
}

bool sp_etcd_was_sent(const sp_etcd *e) {
    return e->sent;
}

int64_t sp_etcd_took_us(const sp_etcd *e) {
    return e->took_us;
}

/* --- the end of a call --- */

static void free_call(sp_etcd_call *c) {
    sp_list_remove(&c->link);
    if (c->answer) protobuf_c_message_free_unpacked(c->answer, NULL);
    sp_buf_free(&c->request);
    free(c);
}

void sp_etcd_cancel(sp_etcd_call *c) {
    if (c->grpc) sp_grpc_cancel(c->grpc);
    free_call(c);
}

static void finish(sp_etcd_call *c, const sp_err *err, sp_etcd_fault fault) {
    sp_etcd *e = c->e;
    sp_err why = {0};
    if (err && err->code == SP_CANCELLED && e->why.code) { /* for the sake of another call */
        why = e->why;
    } else if (err) {
        why = *err;
        (void)sp_err_wrap(&why, "etcd at %s", e->endpoints.p[c->at].url);
    } else {
        e->endpoints.p[c->at].hopeless = false;
    }
    if (why.code == SP_CONNECTION || why.code == SP_CANCELLED) why.code = SP_UNAVAILABLE;
    e->fault = fault;
    e->sent = c->sent;
    e->took_us = sp_clock_mono_us() - c->sent_us;
    c->done(c->ctx, err ? NULL : c->answer, err ? &why : NULL);
    free_call(c);
}

/* Of several that find out at once, the first one drops the token. */
static void renew_token(sp_etcd_call *c) {
    sp_etcd *e = c->e;
    c->renewed = true;
    e->no_auth = false;
    if (c->token_no == e->token_no) {
        free(e->token);
        e->token = NULL;
    }
    run(c);
}

/* A call has failed: once more, or its end. */
static void again(sp_etcd_call *c, const sp_err *err) {
    sp_etcd *e = c->e;
    sp_err why = *err;
    sp_etcd_fault fault = sp_etcd_judge(&why, e->endpoints.p[c->at].tls);
    bool taken_for_another = e->no_auth && err->code == SP_FORBIDDEN; /* by our certificate */
    bool token = fault == SP_ETCD_FAULT_TOKEN || taken_for_another;
    if (token && e->user && !c->renewed) {
        renew_token(c);
        return;
    }
    if (fault == SP_ETCD_FAULT_ENDPOINT || fault == SP_ETCD_FAULT_FINAL) {
        bool may = c->again == SP_ETCD_SAFE && !c->message && ++c->tries < e->endpoints.n;
        if (c->epoch == e->epoch) leave_for(e, &why, fault == SP_ETCD_FAULT_FINAL);
        if (may) {
            run(c);
            return;
        }
    }
    finish(c, &why, fault);
}

static void on_done(void *ctx, const sp_err *err) {
    sp_etcd_call *c = ctx;
    sp_err why = c->bad;
    c->grpc = NULL;
    if (!why.code && err) why = *err;
    if (!why.code && !c->message && !c->answer)
        (void)sp_fail(&why, SP_UNAVAILABLE, "an answer that is not %s", c->type->name);
    if (why.code)
        again(c, &why);
    else
        finish(c, NULL, SP_ETCD_FAULT_CALL);
}

/* --- messages --- */

/* Answers begin with a header that says of which cluster they are; some may be without (that of
 * Alarm is, in 3.4), but not those whose revision counts. */
static const Etcd__ResponseHeader *header_of(const ProtobufCMessage *m) {
    const ProtobufCFieldDescriptor *f = m->descriptor->fields;
    if (!m->descriptor->n_fields || f->descriptor != &etcd__response_header__descriptor)
        return NULL;
    const char *at = (const char *)m + f->offset;
    return *(Etcd__ResponseHeader *const *)(const void *)at;
}

static bool needs_header(const ProtobufCMessageDescriptor *d) {
    return d == &etcd__range_response__descriptor || d == &etcd__txn_response__descriptor;
}

static bool check_header(sp_etcd *e, const Etcd__ResponseHeader *h, const char *type, sp_err *err) {
    if (!h) return sp_fail(err, SP_UNAVAILABLE, "an answer that is not %s of etcd", type);
    if (!e->cluster) e->cluster = h->cluster_id;
    if (e->cluster == h->cluster_id) return true;
    return sp_fail(err, SP_UNAVAILABLE,
                   "this is another etcd cluster (%" PRIx64 ") than the one in use (%" PRIx64 ")",
                   h->cluster_id, e->cluster);
}

/* A stream cannot go on behind what was not understood. */
static void end_stream(sp_etcd_call *c) {
    sp_grpc_cancel(c->grpc);
    on_done(c, NULL);
}

static void on_message(void *ctx, sp_str bytes) {
    sp_etcd_call *c = ctx;
    ProtobufCMessage *m =
        protobuf_c_message_unpack(c->type, NULL, bytes.n, (const uint8_t *)bytes.p);
    const Etcd__ResponseHeader *h = m ? header_of(m) : NULL;
    bool unchecked = m && !h && !needs_header(c->type);
    bool ok = unchecked || (m && check_header(c->e, h, c->type->name, &c->bad));
    if (!m) (void)sp_fail(&c->bad, SP_UNAVAILABLE, "an answer that is not %s", c->type->name);
    if (ok && c->message) {
        c->message(c->ctx, m); /* which may cancel */
        protobuf_c_message_free_unpacked(m, NULL);
    } else if (ok) {
        if (c->answer) protobuf_c_message_free_unpacked(c->answer, NULL);
        c->answer = m;
    } else {
        if (m) protobuf_c_message_free_unpacked(m, NULL);
        if (c->message) end_stream(c);
    }
}

static void post(sp_etcd_call *c) {
    sp_etcd *e = c->e;
    sp_header token = {SP_STR("token"), sp_str_z(e->token ? e->token : "")};
    sp_grpc_params p = {.path = c->path,
                        .message = sp_buf_str(&c->request),
                        .headers = &token,
                        .header_count = e->token ? 1 : 0,
                        .timeout_ms = c->timeout_ms,
                        .once = c->again == SP_ETCD_ONCE,
                        .sent = &c->sent,
                        .message_in = on_message,
                        .done = on_done,
                        .ctx = c};
    c->token_no = e->token_no;
    c->bad = (sp_err){0};
    c->sent_us = sp_clock_mono_us();
    c->grpc = sp_grpc_start(e->http, &p);
}

/* --- opening an endpoint: the greeting, the token --- */

static void opened(sp_etcd *e, const sp_err *err);

static void ask(sp_etcd *e, const char *path, const ProtobufCMessage *q,
                void (*done)(void *ctx, const sp_err *err));

static void on_reply(void *ctx, sp_str bytes) {
    sp_etcd *e = ctx;
    sp_buf_clear(&e->reply);
    sp_buf_add(&e->reply, bytes);
}

static bool take_token(sp_etcd *e, sp_err *err) {
    Etcd__AuthenticateResponse *r =
        etcd__authenticate_response__unpack(NULL, e->reply.n, (const uint8_t *)e->reply.p);
    bool ok = r && r->token && r->token[0];
    if (ok) {
        free(e->token);
        e->token = sp_strdup(r->token);
        e->token_no++;
    }
    if (r) etcd__authenticate_response__free_unpacked(r, NULL);
    return ok || sp_fail(err, SP_UNAVAILABLE, "an answer that is not a token");
}

static void on_authenticated(void *ctx, const sp_err *err) {
    sp_etcd *e = ctx;
    sp_err why = {0};
    e->opening = NULL;
    if (err && strstr(err->text, "authentication is not enabled")) {
        if (!e->no_auth) sp_warn("etcd knows no users: --etcd-user is not needed");
        e->no_auth = true;
        opened(e, NULL);
        return;
    }
    if (err) why = *err;
    if (!err) (void)!take_token(e, &why);
    if (why.code) (void)sp_err_wrap(&why, "cannot sign in as %s", e->user);
    opened(e, why.code ? &why : NULL);
}

static void authenticate(sp_etcd *e) {
    Etcd__AuthenticateRequest q = ETCD__AUTHENTICATE_REQUEST__INIT;
    q.name = e->user;
    q.password = e->password;
    ask(e, "/etcdserverpb.Auth/Authenticate", &q.base, on_authenticated);
}

static bool is_new_enough(const char *version, sp_err *err) {
    unsigned major = 0, minor = 0;
    if (sscanf(version, "%u.%u", &major, &minor) != 2)
        return sp_fail(err, SP_UNAVAILABLE, "an answer that is not a version: \"%.40s\"", version);
    return major * 1000 + minor >= OLDEST ||
           sp_fail(err, SP_METHOD_NOT_ALLOWED, "etcd %.40s is too old", version);
}

static bool take_greeting(sp_etcd *e, sp_err *err) {
    Etcd__StatusResponse *r =
        etcd__status_response__unpack(NULL, e->reply.n, (const uint8_t *)e->reply.p);
    bool ok = r ? check_header(e, r->header, "a status", err) && is_new_enough(r->version, err)
                : sp_fail(err, SP_UNAVAILABLE, "an answer that is not a status");
    if (r) etcd__status_response__free_unpacked(r, NULL);
    return ok;
}

/* Who may ask is for etcd to say; one that does not tell strangers is one. */
static bool is_about_users(const sp_err *err) {
    sp_err copy = *err;
    return err->code == SP_FORBIDDEN || sp_etcd_judge(&copy, false) == SP_ETCD_FAULT_TOKEN;
}

static void on_greeted(void *ctx, const sp_err *err) {
    sp_etcd *e = ctx;
    sp_err why = {0};
    e->opening = NULL;
    if (err && !is_about_users(err)) why = *err;
    if (!err) (void)!take_greeting(e, &why);
    e->greeted = !why.code;
    opened(e, why.code ? &why : NULL);
}

static void greet(sp_etcd *e) {
    Etcd__StatusRequest q = ETCD__STATUS_REQUEST__INIT;
    ask(e, "/etcdserverpb.Maintenance/Status", &q.base, on_greeted);
}

static void ask(sp_etcd *e, const char *path, const ProtobufCMessage *q,
                void (*done)(void *ctx, const sp_err *err)) {
    sp_auto(sp_buf) b = {0};
    sp_buf_reserve(&b, protobuf_c_message_get_packed_size(q) + 1);
    b.n = protobuf_c_message_pack(q, (uint8_t *)b.p);
    sp_buf_clear(&e->reply);
    sp_grpc_params p = {.path = path,
                        .message = sp_buf_str(&b),
                        .timeout_ms = AUTH_TIMEOUT_MS,
                        .message_in = on_reply,
                        .done = done,
                        .ctx = e};
    e->opening = sp_grpc_start(e->http, &p);
}

/* What waited goes on, or learns why not. */
static void opened(sp_etcd *e, const sp_err *err) {
    sp_list now;
    sp_list_init(&now);
    sp_list_each(&e->calls, it) {
        if (!SP_CONTAINER(it, sp_etcd_call, link)->waiting) continue;
        sp_list_remove(it);
        sp_list_append(&now, it);
    }
    while (!sp_list_empty(&now)) {
        sp_etcd_call *c = SP_CONTAINER(now.next, sp_etcd_call, link);
        sp_list_remove(&c->link);
        sp_list_append(&e->calls, &c->link);
        if (!err) {
            run(c);
            continue;
        }
        c->waiting = false;
        again(c, err);
    }
}

static void run(sp_etcd_call *c) {
    sp_etcd *e = c->e;
    bool signs_in = e->user && !e->token && !e->no_auth;
    c->waiting = !e->greeted || signs_in;
    c->at = e->at;
    c->epoch = e->epoch;
    if (!c->waiting)
        post(c);
    else if (!e->opening && !e->greeted)
        greet(e);
    else if (!e->opening)
        authenticate(e);
}

/* --- calls --- */

static sp_etcd_call *start(sp_etcd *e, const char *path, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *answer, sp_etcd_done *done,
                           void *ctx) {
    sp_etcd_call *c = sp_zalloc(1, sizeof *c);
    c->e = e;
    c->path = path;
    c->type = answer;
    c->done = done;
    c->ctx = ctx;
    sp_buf_reserve(&c->request, protobuf_c_message_get_packed_size(request) + 1);
    c->request.n = protobuf_c_message_pack(request, (uint8_t *)c->request.p);
    sp_list_init(&c->link);
    sp_list_append(&e->calls, &c->link);
    return c;
}

sp_etcd_call *sp_etcd_call_start(sp_etcd *e, const char *path, const ProtobufCMessage *request,
                                 const ProtobufCMessageDescriptor *answer, sp_etcd_again again_,
                                 uint32_t timeout_ms, sp_etcd_done *done, void *ctx) {
    sp_etcd_call *c = start(e, path, request, answer, done, ctx);
    c->again = again_;
    c->timeout_ms = timeout_ms;
    run(c);
    return c;
}

sp_etcd_call *sp_etcd_stream(sp_etcd *e, const char *path, const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *answer,
                             void (*message)(void *ctx, const ProtobufCMessage *m),
                             sp_etcd_done *done, void *ctx) {
    sp_etcd_call *c = start(e, path, request, answer, done, ctx);
    c->again = SP_ETCD_SAFE;
    c->message = message;
    run(c);
    return c;
}

/* --- life --- */

static bool add_endpoint(sp_etcd *e, sp_str url, sp_err *err) {
    sp_url u;
    if (!sp_url_parse(url, &u, err)) return sp_err_wrap(err, "etcd endpoint %.*s", SP_ARG(url));
    endpoint p = {.url = sp_str_dup(url), .host = sp_str_dup(u.host), .port = u.port, .tls = u.tls};
    sp_vec_push(&e->endpoints, p);
    return true;
}

/* A certificate that has ended is said here: etcd would only hang up. */
static bool check_own_cert(const sp_etcd_config *c, sp_err *err) {
    int days = 0;
    const char *name = c->files.cert ? c->files.cert : "the client certificate";
    if (!c->cert_pem.n) return true;
    if (!sp_cert_days_left(c->cert_pem, &days, err)) return sp_err_wrap(err, "%s", name);
    if (days < 0)
        return sp_fail(err, SP_BAD_REQUEST, "%s has ended: make a new one, or look at the clock",
                       name);
    if (days < SOON_DAYS)
        sp_warn("the client certificate for etcd ends soon", SP_KV("certificate", name),
                SP_KV("days", days));
    return true;
}

bool sp_etcd_tls_new(const sp_etcd_config *c, sp_etcd_tls **ret, sp_err *err) {
    const sp_tls_config t = {
        .ca_pem = c->ca_pem, .cert_pem = c->cert_pem, .key_pem = c->key_pem, .alpn = "h2"};
    bool wanted = false;
    sp_tls_ctx *ctx;
    sp_url u;
    sp_vec_each(&c->endpoints, url) wanted |= sp_url_parse(*url, &u, NULL) && u.tls;
    *ret = NULL;
    if (!wanted) return true;
    if (!check_own_cert(c, err) || !sp_tls_ctx_new(&t, &ctx, err)) return sp_err_wrap(err, "etcd");
    *ret = sp_zalloc(1, sizeof **ret);
    **ret = (sp_etcd_tls){1, ctx, hash_of(&t)};
    return true;
}

sp_etcd_tls *sp_etcd_tls_unref(sp_etcd_tls *t) {
    if (!t || --t->refs) return NULL;
    sp_tls_ctx_unref(t->ctx);
    free(t);
    return NULL;
}

static bool open_tls(sp_etcd *e, const sp_etcd_config *c, sp_err *err) {
    if (!c->tls) return sp_etcd_tls_new(c, &e->tls, err);
    e->tls = c->tls;
    e->tls->refs++;
    return true;
}

static char *copy_of(const char *z) {
    return z ? sp_strdup(z) : NULL;
}

bool sp_etcd_new(uv_loop_t *loop, const sp_etcd_config *c, sp_etcd **ret, sp_err *err) {
    sp_etcd *e = sp_zalloc(1, sizeof *e);
    e->loop = loop;
    sp_list_init(&e->calls);
    bool ok = c->endpoints.n > 0 || sp_fail(err, SP_BAD_REQUEST, "no etcd endpoint is given");
    sp_vec_each(&c->endpoints, u) ok = ok && add_endpoint(e, *u, err);
    if (!ok || !open_tls(e, c, err)) {
        sp_etcd_free(e);
        return false;
    }
    e->files = (sp_etcd_files){copy_of(c->files.ca), copy_of(c->files.cert), copy_of(c->files.key)};
    if (c->user) e->user = sp_strdup(c->user);
    if (c->user) e->password = sp_strdup(c->password ? c->password : "");
    open_endpoint(e);
    *ret = e;
    return true;
}

sp_etcd *sp_etcd_free(sp_etcd *e) {
    if (!e) return NULL;
    sp_list_each(&e->calls, it) sp_etcd_cancel(SP_CONTAINER(it, sp_etcd_call, link));
    end_opening(e);
    sp_http_client_free(e->http);
    sp_etcd_tls_unref(e->tls);
    sp_vec_each(&e->endpoints, p) {
        free(p->url);
        free(p->host);
    }
    sp_vec_free(&e->endpoints);
    sp_buf_free(&e->reply);
    free((char *)(uintptr_t)e->files.ca);
    free((char *)(uintptr_t)e->files.cert);
    free((char *)(uintptr_t)e->files.key);
    free(e->user);
    free(e->password);
    free(e->token);
    free(e);
    return NULL;
}
