/* A thin coat over net/client: adds who we are to each call, renders and parses documents, turns
 * answers of 400 and above into errors. All calls of one sp_kube share one HTTP/2 connection.
 *
 * The context of a running call hangs in a list of the client, so that a cancelled call (whose done
 * never runs) leaves nothing behind. */
#include "kube/client.h"

#include "base/clock.h"
#include "base/list.h"
#include "data/base64.h"
#include "kube/kubeconfig.h"

#include <stdio.h>

enum {
    DEFAULT_TIMEOUT_MS = 30000,
    MAX_HEADERS = 6,
    MAX_ERROR_BODY = 64 * 1024,
    REFUSED_ROUND_MS = 30000
};

struct sp_kube {
    uv_loop_t *loop;
    sp_http_client *http;
    sp_arena *arena; /* for the strings below */
    sp_str server, namespace_, prefix, authorization, user_agent, fence;
    void (*before_write)(void *ctx);
    void *before_write_ctx;
    sp_list calls;
    uint64_t count;
    size_t others; /* servers, beside the one in use */
    sp_kube_refusals refusals;
};

typedef struct pending {
    sp_list link;
    sp_kube *kube;
    sp_http_call *call;
    sp_kube_done *done;                    /* whole answers */
    void (*data)(void *ctx, sp_str bytes); /* streams */
    void (*stream_done)(void *ctx, const sp_err *err);
    void (*opened)(void *ctx);
    void *ctx;
    bool writes;
    int status;
    sp_buf error_body;
} pending;

/* ---------- opening ---------- */

static sp_str authorization(sp_arena *a, const sp_kubeconfig *c) {
    if (c->token.n) return sp_arena_printf(a, "Bearer %.*s", SP_ARG(c->token));
    if (!c->username.n) return (sp_str){0};
    sp_auto(sp_buf) plain = {0}, coded = {0};
    sp_buf_printf(&plain, "%.*s:%.*s", SP_ARG(c->username), SP_ARG(c->password));
    sp_base64_encode(&coded, sp_buf_str(&plain));
    return sp_arena_printf(a, "Basic %s", coded.p);
}

static bool make_tls(const sp_kubeconfig *c, const char *alpn, sp_tls_ctx **ret, sp_err *err) {
    if (!c->tls) return true;
    sp_tls_config t = {.cert_pem = c->cert_pem,
                       .key_pem = c->key_pem,
                       .ca_pem = c->ca_pem,
                       .insecure = c->insecure,
                       .alpn = alpn};
    return sp_tls_ctx_new(&t, ret, err) || sp_err_wrap(err, "kubeconfig");
}

static sp_kube *build(uv_loop_t *loop, sp_arena *a, const sp_kubeconfig *c, sp_tls_ctx *tls,
                      const char *user_agent) {
    sp_kube *k = sp_zalloc(1, sizeof *k);
    k->loop = loop;
    k->arena = a;
    k->server = c->server;
    k->namespace_ = c->namespace_;
    k->prefix = c->prefix;
    k->authorization = authorization(a, c);
    k->user_agent = sp_arena_str(a, sp_str_z(user_agent ? user_agent : "sampan"));
    sp_list_init(&k->calls);
    sp_http_client_config h = {.host = sp_arena_strz(a, c->host),
                               .port = c->port,
                               .others = c->others,
                               .other_count = c->other_count,
                               .tls = tls,
                               .server_name =
                                   c->server_name.n ? sp_arena_strz(a, c->server_name) : NULL};
    k->others = c->other_count;
    k->http = sp_http_client_new(loop, &h);
    return k;
}

bool sp_kube_open(uv_loop_t *loop, const sp_kube_config *c, sp_kube **ret, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_kubeconfig file;
    if (!sp_kubeconfig_load(a, c->kubeconfig, c->context, &file, err)) return false;
    sp_tls_ctx *tls = NULL;
    if (!make_tls(&file, "h2,http/1.1", &tls, err)) return false;
    *ret = build(loop, sp_steal(a), &file, tls, c->user_agent);
    sp_tls_ctx_unref(tls);
    return true;
}

bool sp_kube_open_h1(uv_loop_t *loop, const sp_kube_config *c, sp_arena *a, sp_kube_h1 *ret,
                     sp_err *err) {
    sp_kubeconfig file;
    sp_tls_ctx *tls = NULL;
    if (!sp_kubeconfig_load(a, c->kubeconfig, c->context, &file, err) ||
        !make_tls(&file, "http/1.1", &tls, err))
        return false;
    const char *name = file.server_name.n ? sp_arena_strz(a, file.server_name) : NULL;
    sp_http_client_config h = {.host = sp_arena_strz(a, file.host),
                               .port = file.port,
                               .others = file.others,
                               .other_count = file.other_count,
                               .tls = tls,
                               .server_name = name};
    sp_assert(c->only <= 1 + file.other_count);
    if (c->only > 1) {
        h.host = file.others[c->only - 2].host;
        h.port = file.others[c->only - 2].port;
    }
    if (c->only) h.other_count = 0;
    *ret = (sp_kube_h1){.http = sp_http_client_new(loop, &h),
                        .prefix = file.prefix,
                        .authorization = authorization(a, &file),
                        .server = sp_arena_printf(a, "%s:%u", h.host, h.port),
                        .servers = 1 + file.other_count};
    sp_tls_ctx_unref(tls);
    return true;
}

static void drop(pending *p) {
    sp_list_remove(&p->link);
    sp_buf_free(&p->error_body);
    free(p);
}

sp_kube *sp_kube_free(sp_kube *k) {
    if (!k) return NULL;
    sp_http_client_free(k->http); /* ends what runs by its done */
    sp_list_each(&k->calls, it) drop(SP_CONTAINER(it, pending, link));
    sp_arena_free(k->arena);
    free(k);
    return NULL;
}

const char *sp_kube_namespace(const sp_kube *k) {
    return k->namespace_.p;
}
const char *sp_kube_server(const sp_kube *k) {
    return k->server.p;
}
uv_loop_t *sp_kube_loop(const sp_kube *k) {
    return k->loop;
}
uint64_t sp_kube_calls(const sp_kube *k) {
    return k->count;
}

/* ---------- one call ---------- */

static size_t fill_headers(const sp_kube *k, const char *accept, const char *content_type,
                           sp_header h[MAX_HEADERS]) {
    size_t n = 0;
    h[n++] = (sp_header){SP_STR("accept"), sp_str_z(accept ? accept : "application/json")};
    h[n++] = (sp_header){SP_STR("user-agent"), k->user_agent};
    if (k->authorization.n) h[n++] = (sp_header){SP_STR("authorization"), k->authorization};
    if (content_type) h[n++] = (sp_header){SP_STR("content-type"), sp_str_z(content_type)};
    return n;
}

void sp_kube_set_fence(sp_kube *k, sp_str lease, void (*before)(void *ctx), void *ctx) {
    k->fence = sp_arena_str(k->arena, lease);
    k->before_write = before;
    k->before_write_ctx = ctx;
}

static size_t fence(sp_kube *k, const char *method, sp_header h[MAX_HEADERS], size_t n) {
    if (!k->fence.n || strcmp(method, "GET") == 0) return n;
    if (k->before_write) k->before_write(k->before_write_ctx);
    h[n++] = (sp_header){SP_STR("x-sampan-lease"), k->fence};
    return n;
}

static pending *remember(sp_kube *k, void *ctx) {
    pending *p = sp_zalloc(1, sizeof *p);
    p->kube = k;
    p->ctx = ctx;
    k->count++;
    sp_list_append(&k->calls, &p->link);
    return p;
}

static bool read_answer(sp_arena *a, const sp_http_reply_msg *reply, sp_json **ret, sp_err *err) {
    sp_err broken = {0};
    bool parsed = sp_json_parse(a, reply->body, ret, &broken);
    if (reply->status >= 400) return sp_err_from_status(err, reply->status, *ret);
    if (parsed || !reply->body.n) return true;
    if (err) *err = broken;
    return sp_err_wrap(err, "the server's answer (HTTP %d)", reply->status);
}

/* ---------- servers that refuse ---------- */

bool sp_kube_may_leave(sp_kube_refusals *r, size_t others, int64_t now_ms) {
    if (!r->left || now_ms - r->since_ms >= REFUSED_ROUND_MS) *r = (sp_kube_refusals){0, now_ms};
    return r->left < others;
}

static void judge_server(sp_kube *k, int status, bool writes) {
    if (status != 503) {
        if (writes) k->refusals.left = 0;
    } else if (sp_kube_may_leave(&k->refusals, k->others, sp_clock_mono_ms()) &&
               sp_http_client_leave(k->http)) {
        k->refusals.left++;
    }
}

static void answered(void *ctx, const sp_http_reply_msg *reply, const sp_err *failed) {
    pending *p = ctx;
    sp_kube_done *done = p->done;
    void *done_ctx = p->ctx;
    sp_kube *k = p->kube;
    bool writes = p->writes;
    drop(p);
    if (failed || !reply) {
        done(done_ctx, 0, NULL, failed);
        return;
    }
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *obj = NULL;
    sp_err err = {0};
    bool ok = read_answer(a, reply, &obj, &err);
    judge_server(k, reply->status, writes);
    done(done_ctx, reply->status, obj, ok ? NULL : &err);
}

static sp_str full_target(const sp_kube *k, sp_str target, sp_buf *b) {
    if (!k->prefix.n) return target;
    sp_buf_add(b, k->prefix);
    sp_buf_add(b, target);
    return sp_buf_str(b);
}

sp_http_call *sp_kube_call(sp_kube *k, const sp_kube_request *r, sp_kube_done *done, void *ctx) {
    sp_auto(sp_buf) body = {0}, target = {0};
    if (r->body)
        sp_json_write(&body, r->body);
    else
        sp_buf_add(&body, r->raw);
    const char *type = r->content_type ? r->content_type : "application/json";
    sp_header h[MAX_HEADERS];
    size_t header_count = fill_headers(k, r->accept, body.n ? type : NULL, h);
    sp_http_call_params call = {.method = r->method,
                                .target = full_target(k, r->target, &target),
                                .headers = h,
                                .header_count = fence(k, r->method, h, header_count),
                                .body = sp_buf_str(&body),
                                .timeout_ms = r->timeout_ms ? r->timeout_ms : DEFAULT_TIMEOUT_MS};
    pending *p = remember(k, ctx);
    p->done = done;
    p->writes = strcmp(r->method, "GET") != 0;
    return p->call = sp_http_fetch(k->http, &call, 0, answered, p);
}

static pending *find(sp_kube *k, const sp_http_call *call) {
    sp_list_each(&k->calls, it) {
        pending *p = SP_CONTAINER(it, pending, link);
        if (p->call == call) return p;
    }
    return NULL;
}

void sp_kube_cancel(sp_kube *k, sp_http_call *call) {
    pending *p = find(k, call);
    if (!p) return;
    sp_http_call_cancel(call);
    drop(p);
}

/* ---------- blocking ---------- */

typedef struct waiter {
    sp_arena *a;
    bool finished, ok;
    int http;
    sp_json *obj;
    sp_err err;
} waiter;

static void wake(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    waiter *w = ctx;
    w->finished = true;
    w->ok = !err;
    w->http = http;
    w->obj = sp_json_clone(w->a, obj);
    if (err) w->err = *err;
}

bool sp_kube_call_sync(sp_kube *k, sp_arena *a, const sp_kube_request *r, int *ret_http,
                       sp_json **ret, sp_err *err) {
    waiter w = {.a = a};
    sp_kube_call(k, r, wake, &w);
    while (!w.finished) uv_run(k->loop, UV_RUN_ONCE);
    if (ret_http) *ret_http = w.http;
    if (ret && w.ok) *ret = w.obj;
    if (!w.ok && err) *err = w.err;
    return w.ok;
}

/* ---------- streams ---------- */

static void stream_head(void *ctx, int status, const sp_header *h, size_t n) {
    (void)h, (void)n;
    pending *p = ctx;
    p->status = status;
    if (p->opened && status < 400) p->opened(p->ctx);
}

static void stream_data(void *ctx, sp_str bytes) {
    pending *p = ctx;
    if (p->status < 400)
        p->data(p->ctx, bytes);
    else if (p->error_body.n + bytes.n <= MAX_ERROR_BODY)
        sp_buf_add(&p->error_body, bytes);
}

static void stream_end(void *ctx, const sp_err *failed) {
    pending *p = ctx;
    void (*done)(void *, const sp_err *) = p->stream_done;
    void *done_ctx = p->ctx;
    sp_err err = {0};
    if (failed) err = *failed;
    if (!failed && p->status >= 400) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *status = NULL;
        if (!sp_json_parse(a, sp_buf_str(&p->error_body), &status, NULL)) status = NULL;
        sp_err_from_status(&err, p->status, status);
    }
    if (!failed) judge_server(p->kube, p->status, false);
    drop(p);
    done(done_ctx, err.code ? &err : NULL);
}

sp_http_call *sp_kube_stream(sp_kube *k, sp_str target, const char *accept,
                             void (*data)(void *ctx, sp_str bytes),
                             void (*done)(void *ctx, const sp_err *err), void *ctx) {
    sp_auto(sp_buf) full = {0};
    sp_header h[MAX_HEADERS];
    pending *p = remember(k, ctx);
    p->data = data;
    p->stream_done = done;
    sp_http_call_params call = {.method = "GET",
                                .target = full_target(k, target, &full),
                                .headers = h,
                                .header_count = fill_headers(k, accept ? accept : "*/*", NULL, h),
                                .head = stream_head,
                                .data = stream_data,
                                .done = stream_end,
                                .ctx = p};
    return p->call = sp_http_call_start(k->http, &call);
}

void sp_kube_on_opened(sp_kube *k, sp_http_call *call, void (*fn)(void *ctx)) {
    pending *p = find(k, call);
    if (p) p->opened = fn;
}
