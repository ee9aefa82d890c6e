/* HTTP/1.1 on an accepted connection: one request at a time, answers in order. While an answer is
 * being made the socket is still read (to notice a client that leaves); what a pipelining client
 * sends meanwhile is kept, up to a limit where reading pauses. */
#include "net/http1.h"
#include "net/server_internal.h"

#include <stdio.h>

enum { KEEP_MAX = 64 * 1024 };
enum phase { HEAD, BODY, ANSWER };

typedef struct h1 {
    sp_buf in; /* not yet understood */
    sp_h1_scan scan;
    sp_h1_body body;
    enum phase phase;
    sp_http_res *res; /* from the head on */
    int minor;
    uint64_t body_since; /* ms, of the loop */
    bool keep_alive;     /* after this answer */
    bool draining, failed;
} h1;

static void h1_open(srv_conn *c) {
    c->state = sp_zalloc(1, sizeof(h1));
    sp_conn_deadline(c->io, c->server->config.header_timeout_ms);
}

static void h1_close(srv_conn *c) {
    h1 *h = c->state;
    if (h->res) srv_res_detach(h->res);
    sp_buf_free(&h->in);
    free(h);
    c->state = NULL;
}

/* --- requests --- */

/* The request cannot be understood or will not be served; what comes after it neither. */
static void refuse(srv_conn *c, int status, const char *text) {
    h1 *h = c->state;
    sp_buf b = {0};
    sp_buf_printf(&b,
                  "HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: text/plain\r\n"
                  "content-length: %zu\r\nconnection: close\r\n\r\n%s\n",
                  status, sp_http_status_text(status), srv_date(c->server), strlen(text) + 1, text);
    sp_outq_add(sp_conn_out(c->io), sp_buf_str(&b));
    sp_buf_free(&b);
    h->failed = true;
}

/* The error's status, or 0. */
static sp_h1_error start_request(srv_conn *c, sp_str bytes) {
    h1 *h = c->state;
    sp_h1_error err = {0};
    sp_http_res *r = h->res = srv_res_new(c);
    sp_h1_head head = {0};
    char *copy = sp_arena_strz(r->req.arena, bytes);
    bool ok = sp_h1_parse_request(copy, bytes.n, &head, &err);
    r->headers = head.headers;
    if (!ok) return err;
    r->req.method = head.method;
    r->req.headers = r->headers.p;
    r->req.header_count = r->headers.n;
    r->is_head = sp_str_eqz(head.method, "HEAD");
    if (!srv_set_target(r, head.target))
        return (sp_h1_error){400, "the request target must be a path"};
    if (head.framing == SP_H1_LENGTH && head.length > c->server->config.max_body_bytes)
        return (sp_h1_error){413, "the request body is too large"};
    h->minor = head.minor;
    h->keep_alive = head.keep_alive && !h->draining;
    sp_h1_body_start(&h->body, &head);
    if (head.expect_continue && head.minor >= 1 && head.framing != SP_H1_NO_BODY) {
        sp_outq_add(sp_conn_out(c->io), SP_STR("HTTP/1.1 100 Continue\r\n\r\n"));
        sp_conn_wake(c->io);
    }
    return (sp_h1_error){0};
}

/* Each takes bytes off *in and returns true while there is something more to do. */
static bool take_head(srv_conn *c, sp_str *in) {
    h1 *h = c->state;
    size_t n = 0;
    sp_h1_error err = {0};
    sp_h1_result r = sp_h1_scan_head(&h->scan, *in, false, &n, &err);
    if (r == SP_H1_MORE) return false;
    if (r == SP_H1_OK) err = start_request(c, sp_str_sub(*in, 0, n));
    if (err.status) {
        refuse(c, err.status, err.text);
        return false;
    }
    *in = sp_str_from(*in, n);
    h->scan = (sp_h1_scan){0};
    h->phase = BODY;
    h->body_since = uv_now(c->server->loop);
    return true;
}

static void dispatch(srv_conn *c) {
    h1 *h = c->state;
    h->phase = ANSWER;
    sp_conn_deadline(c->io, c->server->config.idle_timeout_ms);
    srv_dispatch(h->res);
}

static bool take_body(srv_conn *c, sp_str *in) {
    h1 *h = c->state;
    sp_h1_error err = {0};
    sp_str piece;
    switch (sp_h1_body_next(&h->body, in, &piece, &err)) {
    case SP_H1_NEED: return false;
    case SP_H1_END: dispatch(c); return true;
    case SP_H1_DATA:
        if (srv_body_add(h->res, piece, &err)) return true;
        break;
    case SP_H1_BROKEN: break;
    }
    refuse(c, err.status, err.text);
    return false;
}

static void understand(srv_conn *c, sp_str *in) {
    h1 *h = c->state;
    bool more = true;
    while (more && h->phase != ANSWER && !h->failed)
        more = h->phase == HEAD ? in->n && take_head(c, in) : take_body(c, in);
}

static void next_deadline(srv_conn *c) {
    const h1 *h = c->state;
    const sp_http_server_config *config = &c->server->config;
    uint64_t now = uv_now(c->server->loop);
    if (h->phase == ANSWER) return;
    if (h->phase == BODY) { /* a second more for each 16 KiB that has come */
        uint64_t until = h->body_since + config->header_timeout_ms + h->res->body.n / 16;
        sp_conn_deadline(c->io, until > now ? until - now : 1);
        return;
    }
    sp_conn_deadline(c->io, h->in.n ? config->header_timeout_ms : config->idle_timeout_ms);
}

static void h1_data(srv_conn *c, char *p, size_t n) {
    h1 *h = c->state;
    bool fresh = h->in.n == 0;
    sp_str in = {p, n};
    if (h->failed) return;
    if (!fresh) {
        sp_buf_add(&h->in, in);
        in = sp_buf_str(&h->in);
    }
    enum phase before = h->phase;
    understand(c, &in);
    if (h->failed) {
        srv_conn_finish(c);
        return;
    }
    if (fresh)
        sp_buf_add(&h->in, in);
    else
        sp_buf_drop(&h->in, h->in.n - in.n);
    if (h->in.n == 0) sp_buf_free(&h->in);
    if (h->in.n > KEEP_MAX + SP_H1_MAX_HEAD) sp_conn_pause(c->io, true);
    /* A slow head does not win time by trickling. */
    if (before != HEAD || h->phase != HEAD || fresh) next_deadline(c);
}

/* --- answers --- */

static bool set_by_handler(const sp_header *h, size_t n, const char *name) {
    return sp_headers_get(h, n, name).p != NULL;
}

static void add_fields(sp_buf *b, const sp_header *h, size_t n, bool *keep_alive) {
    for (size_t i = 0; i < n; i++) {
        if (sp_str_eqz(h[i].name, "transfer-encoding")) continue;
        if (sp_str_eqz(h[i].name, "connection")) {
            if (sp_str_ieq(h[i].value, SP_STR("close"))) *keep_alive = false;
            continue;
        }
        sp_h1_add_field(b, h[i].name, h[i].value);
    }
}

static void h1_begin(sp_http_res *r, int status, const sp_header *fields, size_t n,
                     int64_t length) {
    h1 *h = r->conn->state;
    sp_auto(sp_buf) b = {0};
    sp_buf_reserve(&b, 256);
    sp_buf_printf(&b, "HTTP/1.1 %d %s\r\n", status, sp_http_status_text(status));
    add_fields(&b, fields, n, &h->keep_alive);
    if (!set_by_handler(fields, n, "date"))
        sp_buf_printf(&b, "date: %s\r\n", srv_date(r->conn->server));
    bool counted = set_by_handler(fields, n, "content-length");
    if (!counted && length >= 0 && status != 204 && status != 304)
        sp_buf_printf(&b, "content-length: %lld\r\n", (long long)length);
    else if (!counted && length < 0 && !r->no_body) {
        r->chunked = h->minor >= 1;
        if (r->chunked)
            sp_buf_addz(&b, "transfer-encoding: chunked\r\n");
        else
            h->keep_alive = false;
    }
    if (!h->keep_alive)
        sp_buf_addz(&b, "connection: close\r\n");
    else if (h->minor == 0)
        sp_buf_addz(&b, "connection: keep-alive\r\n");
    sp_buf_addz(&b, "\r\n");
    sp_outq_add(&r->out, sp_buf_str(&b));
}

static void h1_chunk(sp_http_res *r, size_t n, bool before) {
    if (!r->chunked) return;
    char size[24];
    int len = snprintf(size, sizeof size, "%zx\r\n%s", n, n == 0 ? "\r\n" : "");
    sp_outq_add(&r->out, before ? (sp_str){size, (size_t)len} : SP_STR("\r\n"));
}

static void h1_more(sp_http_res *r) {
    sp_conn_wake(r->conn->io);
}

/* The answer is on the connection; the next request may begin. */
static void answered(srv_conn *c) {
    h1 *h = c->state;
    srv_res_detach(h->res);
    h->res = NULL;
    h->phase = HEAD;
    sp_str in = sp_buf_str(&h->in);
    if (h->keep_alive && in.n) {
        understand(c, &in);
        sp_buf_drop(&h->in, h->in.n - in.n);
    }
    if (h->in.n == 0) sp_buf_free(&h->in);
    if (h->in.n <= KEEP_MAX) sp_conn_pause(c->io, false);
    next_deadline(c);
}

/* The 101 is on the connection: it belongs to the handler from here on. */
static void hand_over(srv_conn *c) {
    h1 *h = c->state;
    sp_http_res *r = h->res;
    sp_http_taken *taken = r->taken;
    void *ctx = r->taken_ctx;
    sp_buf early = h->in;
    h->in = (sp_buf){0};
    r->phase = RES_ENDED;
    r->on_close = NULL;
    taken(ctx, srv_conn_leave(c), sp_buf_str(&early));
    sp_buf_free(&early);
}

static void h1_fill(srv_conn *c) {
    h1 *h = c->state;
    sp_outq *out = sp_conn_out(c->io);
    while (h->res && h->phase == ANSWER && out->bytes < SP_CONN_WINDOW) {
        sp_http_res *r = h->res;
        if (r->out.bytes) sp_outq_move(out, &r->out, SP_MIN(r->out.bytes, (size_t)SP_CONN_WINDOW));
        srv_res_moved(r);
        if (r->out.bytes) continue;
        if (r->taken) {
            hand_over(c);
            return;
        }
        if (r->phase != RES_ENDED) break;
        bool keep = h->keep_alive && !h->draining;
        if (keep) answered(c);
        if (!keep || h->failed) {
            srv_conn_finish(c);
            return;
        }
    }
}

static size_t h1_pending(const sp_http_res *r) {
    const h1 *h = r->conn->state;
    return h->res == r ? sp_conn_pending(r->conn->io) : 0;
}

/* --- the rest of a connection's life --- */

static void h1_timeout(srv_conn *c) {
    h1 *h = c->state;
    if (h->phase == ANSWER) {
        uint64_t sent = sp_conn_sent(c->io);
        bool stalled = sp_conn_pending(c->io) > 0 && sent == c->sent_before;
        c->sent_before = sent;
        if (stalled)
            srv_conn_drop(c);
        else
            sp_conn_deadline(c->io, c->server->config.idle_timeout_ms);
        return;
    }
    if (h->phase == BODY || h->in.n) refuse(c, 408, "the request did not arrive in time");
    srv_conn_finish(c);
}

static void h1_eof(srv_conn *c) {
    h1 *h = c->state;
    bool answered_all = h->phase == HEAD || (h->res && h->res->phase == RES_ENDED);
    if (!answered_all) {
        srv_conn_drop(c);
        return;
    }
    h->keep_alive = false; /* the fill that finds the end also closes */
    if (h->phase == HEAD)
        srv_conn_finish(c);
    else
        sp_conn_wake(c->io);
}

static void h1_drain(srv_conn *c) {
    h1 *h = c->state;
    h->draining = true;
    if (h->phase == HEAD && h->in.n == 0)
        srv_conn_finish(c);
    else if (h->res && h->res->phase == RES_FRESH)
        h->keep_alive = false;
}

const srv_proto srv_h1 = {
    .open = h1_open,
    .data = h1_data,
    .fill = h1_fill,
    .timeout = h1_timeout,
    .eof = h1_eof,
    .drain = h1_drain,
    .close = h1_close,
    .begin = h1_begin,
    .more = h1_more,
    .chunk = h1_chunk,
    .pending = h1_pending,
};
