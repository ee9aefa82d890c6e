/* One HTTP/2 connection to one endpoint carries everything. A call that fails for the endpoint's
 * sake, not for its own, makes the next endpoint the one in use; calls that may be sent twice go
 * there at once. With users in etcd, the first call waits for a token, and a token that is no
 * longer taken is replaced once. */
#include "store/etcd_client.h"

#include "base/list.h"
#include "base/log.h"
#include "net/grpc.h"
#include "store/etcd.pb-c.h"

enum { AUTH_TIMEOUT_MS = 5000, CONNECT_TIMEOUT_MS = 2000 };

typedef struct endpoint {
    char *url, *host;
    uint16_t port;
    bool tls;
} endpoint;

struct sp_etcd {
    uv_loop_t *loop;
    SP_VEC(endpoint) endpoints;
    size_t at;
    uint64_t epoch; /* counts changes of `at` */
    sp_tls_ctx *tls;
    sp_http_client *http;
    char *user, *password, *token;
    sp_grpc_call *authenticating;
    sp_list calls; /* sp_etcd_call.link, all */
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
    uint64_t epoch; /* of the endpoint it went to */
    size_t tries;
    bool waiting; /* for a token */
    bool renewed; /* the token, for this call */
    bool undecodable;
};

/* --- endpoints --- */

static void open_endpoint(sp_etcd *e) {
    const endpoint *p = &e->endpoints.p[e->at];
    sp_http_client_config c = {.host = p->host,
                               .port = p->port,
                               .tls = p->tls ? e->tls : NULL,
                               .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                               .prior_knowledge = !p->tls};
    e->http = sp_http_client_new(e->loop, &c);
}

const char *sp_etcd_endpoint(const sp_etcd *e) {
    return e->endpoints.p[e->at].url;
}

static void run(sp_etcd_call *call);

/* Closing the client would tell each call by its done; they are moved by hand instead. */
void sp_etcd_leave(sp_etcd *e) {
    sp_http_client *old = e->http;
    e->at = (e->at + 1) % e->endpoints.n;
    e->epoch++;
    e->http = NULL;
    open_endpoint(e);
    if (e->authenticating) sp_grpc_cancel(e->authenticating);
    e->authenticating = NULL;
    sp_http_client_free(old); /* its calls end with SP_CANCELLED: see failed() */
    sp_list_each(&e->calls, it) {
        sp_etcd_call *c = SP_CONTAINER(it, sp_etcd_call, link);
        if (c->waiting) run(c);
    }
}

static bool is_for_the_endpoint(sp_code code) {
    return code == SP_CONNECTION || code == SP_UNAVAILABLE || code == SP_TIMEOUT ||
           code == SP_CANCELLED;
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

static void finish(sp_etcd_call *c, const sp_err *err) {
    sp_err why = {0};
    if (err) {
        why = *err;
        if (why.code == SP_CONNECTION || why.code == SP_CANCELLED) why.code = SP_UNAVAILABLE;
        (void)sp_err_wrap(&why, "etcd at %s", sp_etcd_endpoint(c->e));
    }
    c->done(c->ctx, err ? NULL : c->answer, err ? &why : NULL);
    free_call(c);
}

static bool wants_new_token(const sp_etcd_call *c, const sp_err *err) {
    return c->e->user && !c->renewed && err->code == SP_UNAUTHORIZED;
}

/* True when it goes on. */
static bool again(sp_etcd_call *c, const sp_err *err) {
    sp_etcd *e = c->e;
    if (wants_new_token(c, err)) {
        c->renewed = true;
        free(e->token);
        e->token = NULL;
        run(c);
        return true;
    }
    if (!is_for_the_endpoint(err->code)) return false;
    bool may = c->again == SP_ETCD_SAFE && !c->message && ++c->tries < e->endpoints.n;
    if (c->epoch == e->epoch && e->endpoints.n > 1) {
        sp_warn("an etcd endpoint fails", SP_KV("endpoint", sp_etcd_endpoint(e)),
                SP_KV("why", err->text));
        sp_etcd_leave(e);
    }
    if (may) run(c);
    return may;
}

static void on_done(void *ctx, const sp_err *err) {
    sp_etcd_call *c = ctx;
    sp_err why = {0};
    c->grpc = NULL;
    if (err) why = *err;
    if (!err && !c->message && (c->undecodable || !c->answer))
        (void)sp_fail(&why, SP_INTERNAL, "an answer that is not %s", c->type->name);
    if (why.code && again(c, &why)) return;
    finish(c, why.code ? &why : NULL);
}

/* --- messages --- */

static void on_message(void *ctx, sp_str bytes) {
    sp_etcd_call *c = ctx;
    ProtobufCMessage *m =
        protobuf_c_message_unpack(c->type, NULL, bytes.n, (const uint8_t *)bytes.p);
    if (!m) {
        c->undecodable = true;
    } else if (c->message) {
        c->message(c->ctx, m);
        protobuf_c_message_free_unpacked(m, NULL);
    } else {
        if (c->answer) protobuf_c_message_free_unpacked(c->answer, NULL);
        c->answer = m;
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
                        .message_in = on_message,
                        .done = on_done,
                        .ctx = c};
    c->epoch = e->epoch;
    c->undecodable = false;
    c->grpc = sp_grpc_start(e->http, &p);
}

/* --- the token --- */

static void on_token(void *ctx, sp_str bytes) {
    sp_etcd *e = ctx;
    Etcd__AuthenticateResponse *r =
        etcd__authenticate_response__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);
    if (!r) return;
    free(e->token);
    e->token = sp_strdup(r->token);
    etcd__authenticate_response__free_unpacked(r, NULL);
}

static void on_authenticated(void *ctx, const sp_err *err) {
    sp_etcd *e = ctx;
    sp_err why = {0};
    e->authenticating = NULL;
    if (err) why = *err;
    if (!err && !e->token) (void)sp_fail(&why, SP_INTERNAL, "no token in the answer");
    if (why.code) (void)sp_err_wrap(&why, "cannot sign in as %s", e->user);
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
        c->waiting = false;
        if (!why.code)
            post(c);
        else if (!again(c, &why))
            finish(c, &why);
    }
}

static void authenticate(sp_etcd *e) {
    Etcd__AuthenticateRequest q = ETCD__AUTHENTICATE_REQUEST__INIT;
    q.name = e->user;
    q.password = e->password;
    sp_auto(sp_buf) b = {0};
    size_t n = etcd__authenticate_request__get_packed_size(&q);
    sp_buf_reserve(&b, n);
    b.n = etcd__authenticate_request__pack(&q, (uint8_t *)b.p);
    sp_grpc_params p = {.path = "/etcdserverpb.Auth/Authenticate",
                        .message = sp_buf_str(&b),
                        .timeout_ms = AUTH_TIMEOUT_MS,
                        .message_in = on_token,
                        .done = on_authenticated,
                        .ctx = e};
    e->authenticating = sp_grpc_start(e->http, &p);
}

static void run(sp_etcd_call *c) {
    sp_etcd *e = c->e;
    c->waiting = e->user && !e->token;
    if (!c->waiting)
        post(c);
    else if (!e->authenticating)
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
    sp_vec_push(&e->endpoints, ((endpoint){sp_str_dup(url), sp_str_dup(u.host), u.port, u.tls}));
    return true;
}

static bool open_tls(sp_etcd *e, const sp_etcd_config *c, sp_err *err) {
    bool wanted = false;
    sp_vec_each(&e->endpoints, p) wanted |= p->tls;
    sp_tls_config t = {
        .ca_pem = c->ca_pem, .cert_pem = c->cert_pem, .key_pem = c->key_pem, .alpn = "h2"};
    return !wanted || sp_tls_ctx_new(&t, &e->tls, err) || sp_err_wrap(err, "etcd");
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
    if (c->user) e->user = sp_strdup(c->user);
    if (c->user) e->password = sp_strdup(c->password ? c->password : "");
    open_endpoint(e);
    *ret = e;
    return true;
}

sp_etcd *sp_etcd_free(sp_etcd *e) {
    if (!e) return NULL;
    while (!sp_list_empty(&e->calls))
        sp_etcd_cancel(SP_CONTAINER(e->calls.next, sp_etcd_call, link));
    if (e->authenticating) sp_grpc_cancel(e->authenticating);
    sp_http_client_free(e->http);
    sp_tls_ctx_unref(e->tls);
    sp_vec_each(&e->endpoints, p) {
        free(p->url);
        free(p->host);
    }
    sp_vec_free(&e->endpoints);
    free(e->user);
    free(e->password);
    free(e->token);
    free(e);
    return NULL;
}
