/* GET pods/NAME/log: passed through from the agent of the pod's node, byte for byte, over HTTPS
 * with our client certificate. Connections to nodes are kept for the next reader.
 The
 * path there is /containerLogs/NAMESPACE/POD/CONTAINER with the same query options. */
#include "apiserver/node_link.h"

enum { PENDING_HIGH = 512 << 10, MAX_ERROR_TEXT = 2000 };

static sp_str log_target(sp_call *c, sp_str container) {
    static const char *const passed[] = {"follow",       "previous",  "tailLines", "timestamps",
                                         "sinceSeconds", "sinceTime", "limitBytes"};
    sp_auto(sp_buf) b = {0};
    sp_buf_printf(&b, "/containerLogs/%.*s/%.*s/%.*s", SP_ARG(c->op.ns), SP_ARG(c->op.name),
                  SP_ARG(container));
    char separator = '?';
    for (size_t i = 0; i < SP_COUNT(passed); i++) {
        sp_str v;
        if (!sp_call_query(c, passed[i], &v)) continue;
        sp_buf_printf(&b, "%c%s=", separator, passed[i]);
        sp_url_encode(&b, v);
        separator = '&';
    }
    return sp_arena_str(c->op.arena, sp_buf_str(&b));
}

/* ---------- passing through ---------- */

typedef struct relay {
    sp_call *call;
    sp_http_call *upstream;
    sp_str node;
    int status;
    sp_buf error; /* what the agent said with a failure status */
    bool begun, paused;
} relay;

static void relay_free(relay *r) {
    sp_buf_free(&r->error);
    free(r);
}

static void reader_gone(void *ctx) {
    relay *r = ctx;
    sp_call *c = r->call;
    if (r->upstream) sp_http_call_cancel(r->upstream);
    relay_free(r);
    c->res = NULL;
    c->http = NULL;
    sp_call_end(c);
}

/* A reader that cannot keep up holds the agent back. */
static void hold_back(relay *r, bool paused) {
    if (r->upstream && r->paused != paused) sp_http_call_pause(r->upstream, paused);
    r->paused = paused;
}

static void reader_ready(void *ctx) {
    hold_back(ctx, false);
}

static void on_head(void *ctx, int status, const sp_header *h, size_t n) {
    relay *r = ctx;
    (void)h, (void)n;
    r->status = status;
    if (status != 200) return;
    sp_header out[SP_CALL_HEADERS_MAX];
    size_t count = sp_call_headers(r->call, "text/plain", out);
    sp_call_count(r->call, 200);
    r->begun = true;
    sp_http_begin(r->call->res, 200, out, count);
    sp_http_on_drain(r->call->res, reader_ready, r);
}

static void on_data(void *ctx, sp_str bytes) {
    relay *r = ctx;
    if (!r->begun) {
        if (r->error.n < MAX_ERROR_TEXT)
            sp_buf_add(&r->error, sp_str_sub(bytes, 0, MAX_ERROR_TEXT));
        return;
    }
    sp_http_write(r->call->res, bytes);
    if (sp_http_pending(r->call->res) > PENDING_HIGH) hold_back(r, true);
}

static void on_done(void *ctx, const sp_err *failure) {
    relay *r = ctx;
    r->upstream = NULL;
    if (r->begun) {
        sp_http_end(r->call->res);
        return;
    }
    sp_err err;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_node_explain(r->call, r->node, r->status, sp_buf_str(&r->error), failure, &err);
    /* The answer by hand: the call ends in reader_gone. */
    const sp_json *status = sp_status_from_err(a, &err, NULL, "", "", SP_STR(""));
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, status);
    sp_header h[SP_CALL_HEADERS_MAX];
    size_t n = sp_call_headers(r->call, "application/json", h);
    sp_call_count(r->call, sp_code_http(err.code));
    sp_http_reply(r->call->res, sp_code_http(err.code), h, n, sp_buf_str(&b));
}

static void start_relay(sp_call *c, sp_str node, sp_http_client *client, sp_str target) {
    relay *r = sp_zalloc(1, sizeof *r);
    r->call = c;
    r->node = node;
    c->held = true;
    sp_http_on_close(c->res, reader_gone, r);
    sp_header accept = {SP_STR("accept"), SP_STR("*/*")};
    r->upstream = sp_http_call_start(client, &(sp_http_call_params){.method = "GET",
                                                                    .target = target,
                                                                    .headers = &accept,
                                                                    .header_count = 1,
                                                                    .head = on_head,
                                                                    .data = on_data,
                                                                    .done = on_done,
                                                                    .ctx = r});
}

void sp_pod_log(sp_call *c) {
    sp_err err;
    sp_node_place p = {0};
    if (!sp_node_locate(c, "logs", true, &p, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    if (!p.node.n) { /* not scheduled: there is no log, and that is no error */
        sp_call_reply(c, 204, "text/plain", SP_STR(""));
        return;
    }
    sp_http_client *client = sp_node_client(c->op.s->nodes, &p);
    if (!client) {
        sp_fail(&err, SP_UNAVAILABLE, "nodes have had too many addresses; restart the API server");
        sp_call_fail(c, &err, NULL);
        return;
    }
    start_relay(c, p.node, client, log_target(c, p.container));
}
