/* HTTP/2 on an accepted connection (RFC 9113), by nghttp2. Frames are produced only when the
 * connection asks for bytes, so the answers of one turn share records and system calls, and a peer
 * that reads slowly, or gives no flow-control window, leaves bytes in the answers' own queues.
 *
 * What a hostile client could grow is bounded: streams at once, the answers still held by handlers
 * (a reset does not free those: CVE-2023-44487), resets per time, fields, bodies, stalled uploads.
 *
 * Leaving takes two steps (RFC 9113 section 6.8), because requests cross the first on the wire:
 * STAYING → NOTICED (GOAWAY 2^31-1 and a PING) → LEAVING (the PING came back, so whatever was sent
 * before the notice was read is here: GOAWAY with the true last stream) → closed with the last
 * answer. So no request is ever in doubt: those up to the last stream are answered, and of those
 * after it the client knows that nobody has looked at them. */
#include "base/clock.h"
#include "base/rng.h"
#include "net/http1.h" /* its limits for heads */
#include "net/server_internal.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

enum {
    MAX_STREAMS = 250,
    MAX_HELD = 4 * MAX_STREAMS,
    STREAM_WINDOW = 256 * 1024,
    CONN_WINDOW = 1 << 20,
    RESETS = 400, /* of the client, in RESET_SPAN_MS */
    RESET_SPAN_MS = 10000,
};

typedef enum leave { STAYING, NOTICED, LEAVING } leave;

static const uint8_t notice_ping[8] = "goaway!";

typedef struct h2 {
    nghttp2_session *session;
    sp_list answers;
    leave leave;
    int32_t last;      /* when LEAVING: the last stream that is served */
    size_t incomplete; /* requests not yet dispatched */
    size_t waiting;    /* of those, complete ones (or reset meanwhile) */
    int64_t resets_since;
    int resets;
} h2;

/* --- leaving --- */

static void give_notice(h2 *h) {
    if (h->leave != STAYING) return;
    h->leave = NOTICED;
    nghttp2_submit_shutdown_notice(h->session);
    nghttp2_submit_ping(h->session, 0, notice_ping);
}

static void say_last(h2 *h) {
    if (h->leave == LEAVING) return;
    h->leave = LEAVING;
    h->last = nghttp2_session_get_last_proc_stream_id(h->session);
    nghttp2_submit_goaway(h->session, 0, h->last, NGHTTP2_NO_ERROR, NULL, 0);
}

static void on_ping(h2 *h, const nghttp2_frame *f) {
    bool answer = f->hd.flags & NGHTTP2_FLAG_ACK;
    if (answer && h->leave == NOTICED &&
        memcmp(f->ping.opaque_data, notice_ping, sizeof notice_ping) == 0)
        say_last(h);
}

/* Long-lived clients stay for ever on the server they met first; a few sent away now and then
 * spread themselves over all (kube-apiserver's --goaway-chance). */
static void maybe_leave(srv_conn *c) {
    double chance = c->server->config.goaway_chance;
    h2 *h = c->state;
    if (chance > 0 && h->leave == STAYING && sp_rng_unit() < chance) give_notice(h);
}

/* --- requests --- */

static void refuse(sp_http_res *r, int status, const char *text) {
    if (r->refused) return;
    r->refused = true;
    srv_body_arrived(r);
    ((h2 *)r->conn->state)->incomplete--;
    sp_header type = {SP_STR("content-type"), SP_STR("text/plain")};
    sp_http_reply(r, status, &type, 1, sp_str_z(text));
}

static int begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *ctx) {
    srv_conn *c = ctx;
    h2 *h = c->state;
    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    bool late = h->leave == LEAVING && f->hd.stream_id > h->last; /* before the GOAWAY is out */
    if (late || c->who->refs > MAX_HELD) {
        nghttp2_submit_rst_stream(session, 0, f->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    sp_http_res *r = srv_res_new(c);
    r->stream = f->hd.stream_id;
    r->req.http2 = true;
    sp_list_append(&h->answers, &r->link);
    h->incomplete++;
    nghttp2_session_set_stream_user_data(session, r->stream, r);
    return 0;
}

static void take_pseudo(sp_http_res *r, sp_str name, sp_str value) {
    if (sp_str_eqz(name, ":method")) {
        r->req.method = value;
        r->is_head = sp_str_eqz(value, "HEAD");
    } else if (sp_str_eqz(name, ":path")) {
        srv_set_target(r, value);
    } else if (sp_str_eqz(name, ":authority")) {
        sp_vec_push(&r->headers, (sp_header){SP_STR("host"), value});
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *ctx) {
    (void)flags, (void)ctx;
    sp_http_res *r = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
    if (!r || r->refused || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0; /* trailers */
    r->field_bytes += name_n + value_n + 32;
    if (r->field_bytes > SP_H1_MAX_HEAD || r->headers.n >= SP_H1_MAX_FIELDS) {
        refuse(r, 431, "the header fields are too large");
        return 0;
    }
    sp_str n = {(const char *)name, name_n};
    sp_str v = sp_arena_str(r->req.arena, (sp_str){(const char *)value, value_n});
    if (n.n && n.p[0] == ':')
        take_pseudo(r, n, v);
    else
        sp_vec_push(&r->headers, (sp_header){sp_arena_str(r->req.arena, n), v});
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
                         size_t n, void *ctx) {
    (void)flags, (void)ctx;
    sp_http_res *r = nghttp2_session_get_stream_user_data(session, id);
    sp_h1_error err;
    if (r && !r->refused && !srv_body_add(r, (sp_str){(const char *)p, n}, &err))
        refuse(r, err.status, err.text);
    return 0;
}

/* Browsers send one field per cookie; handlers expect one of all (RFC 9113 section 8.2.3). */
static void join_cookies(sp_http_res *r) {
    static const char cookie[] = "cookie";
    sp_auto(sp_buf) all = {0};
    size_t first = SIZE_MAX, kept = 0;
    for (size_t i = 0; i < r->headers.n; i++) {
        sp_header h = r->headers.p[i];
        bool is_cookie = sp_str_eqz(h.name, cookie);
        if (is_cookie) {
            if (all.n) sp_buf_addz(&all, "; ");
            sp_buf_add(&all, h.value);
        }
        if (is_cookie && first != SIZE_MAX) continue;
        if (is_cookie) first = kept;
        r->headers.p[kept++] = h;
    }
    if (kept < r->headers.n)
        r->headers.p[first].value = sp_arena_str(r->req.arena, sp_buf_str(&all));
    r->headers.n = kept;
}

static void head_complete(srv_conn *c, sp_http_res *r, bool more) {
    uint64_t length = 0;
    sp_str field = sp_headers_get(r->headers.p, r->headers.n, "content-length");
    join_cookies(r);
    r->req.headers = r->headers.p;
    r->req.header_count = r->headers.n;
    if (!r->req.path.n) {
        refuse(r, 400, "the request target must be a path");
    } else if (more && field.n && sp_str_u64(field, &length) &&
               length > c->server->config.max_body_bytes) {
        refuse(r, 413, "the request body is too large");
    } else if (more && sp_str_ieq(sp_headers_get(r->headers.p, r->headers.n, "expect"),
                                  SP_STR("100-continue"))) {
        nghttp2_nv nv = {(uint8_t *)":status", (uint8_t *)"100", 7, 3, 0};
        nghttp2_submit_headers(((h2 *)c->state)->session, 0, r->stream, NULL, &nv, 1, NULL);
    }
}

static bool too_many_resets(h2 *h) {
    int64_t now = sp_clock_mono_ms();
    if (now - h->resets_since > RESET_SPAN_MS) {
        h->resets_since = now;
        h->resets = 0;
    }
    return ++h->resets > RESETS;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *ctx) {
    srv_conn *c = ctx;
    h2 *h = c->state;
    if (f->hd.type == NGHTTP2_RST_STREAM) {
        if (too_many_resets(h))
            nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
        return 0;
    }
    if (f->hd.type == NGHTTP2_PING) on_ping(h, f);
    if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA) return 0;
    sp_http_res *r = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
    if (!r || r->refused) return 0;
    bool last = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST)
        head_complete(c, r, !last);
    if (!last || r->refused) return 0;
    r->complete = true;
    h->waiting++;
    return 0;
}

/* Requests are served once all that came with them was read: one that is reset in the same breath
 * costs nothing. */
static void serve_waiting(srv_conn *c) {
    h2 *h = c->state;
    if (!h->waiting) return;
    h->waiting = 0;
    sp_list_each(&h->answers, it) {
        sp_http_res *r = SP_CONTAINER(it, sp_http_res, link);
        if (!r->complete || r->dispatched) continue;
        h->incomplete--;
        maybe_leave(c);
        srv_dispatch(r);
    }
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx) {
    (void)code;
    srv_conn *c = ctx;
    sp_http_res *r = nghttp2_session_get_stream_user_data(session, id);
    if (!r) return 0;
    if (!r->dispatched) ((h2 *)c->state)->incomplete--;
    srv_res_detach(r);
    return 0;
}

/* --- answers --- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *ctx) {
    (void)session, (void)id, (void)buf, (void)ctx;
    const sp_http_res *r = source->ptr;
    size_t n = SP_MIN(max, r->out.bytes);
    bool last = r->phase == RES_ENDED && n == r->out.bytes;
    if (n == 0 && !last) return NGHTTP2_ERR_DEFERRED;
    *flags = NGHTTP2_DATA_FLAG_NO_COPY | (last ? NGHTTP2_DATA_FLAG_EOF : 0u);
    return (ssize_t)n;
}

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *p, size_t n, int flags,
                          void *ctx) {
    (void)session, (void)flags;
    srv_conn *c = ctx;
    sp_outq *out = sp_conn_out(c->io);
    if (out->bytes >= SP_CONN_WINDOW) return NGHTTP2_ERR_WOULDBLOCK;
    sp_outq_add(out, (sp_str){(const char *)p, n});
    return (ssize_t)n;
}

static int send_data(nghttp2_session *session, nghttp2_frame *f, const uint8_t *framehd, size_t n,
                     nghttp2_data_source *source, void *ctx) {
    (void)session, (void)f;
    srv_conn *c = ctx;
    sp_http_res *r = source->ptr;
    sp_outq *out = sp_conn_out(c->io);
    if (out->bytes >= SP_CONN_WINDOW) return NGHTTP2_ERR_WOULDBLOCK;
    sp_outq_add(out, (sp_str){(const char *)framehd, 9});
    sp_outq_move(out, &r->out, n);
    srv_res_moved(r);
    return 0;
}

/* An answer may be complete before its request is (413): tell the client to stop sending. */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *f, void *ctx) {
    (void)ctx;
    bool data = f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA;
    if (data && (f->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        nghttp2_session_get_stream_remote_close(session, f->hd.stream_id) == 0)
        nghttp2_submit_rst_stream(session, 0, f->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static bool is_for_one_hop(sp_str name) {
    static const char *const list[] = {"connection", "keep-alive", "proxy-connection",
                                       "transfer-encoding", "upgrade"};
    for (size_t i = 0; i < SP_COUNT(list); i++)
        if (sp_str_eqz(name, list[i])) return true;
    return false;
}

static void add_nv(nghttp2_nv *nv, size_t *n, sp_str name, sp_str value) {
    nv[(*n)++] = (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, 0};
}

static void h2_begin(sp_http_res *r, int status, const sp_header *fields, size_t n,
                     int64_t length) {
    srv_conn *c = r->conn;
    h2 *h = c->state;
    char code[12], size[24];
    nghttp2_nv *nv = sp_arena_alloc(r->req.arena, (n + 3) * sizeof *nv);
    size_t count = 0;
    bool counted = false, dated = false;
    int code_n = snprintf(code, sizeof code, "%d", status);
    add_nv(nv, &count, SP_STR(":status"), (sp_str){code, (size_t)code_n});
    for (size_t i = 0; i < n; i++) {
        sp_str name = fields[i].name;
        if (is_for_one_hop(name) || !sp_http_is_token(name) || !sp_http_is_value(fields[i].value))
            continue;
        counted |= sp_str_eqz(name, "content-length");
        dated |= sp_str_eqz(name, "date");
        add_nv(nv, &count, sp_http_lower(r->req.arena, name), fields[i].value);
    }
    if (!dated) add_nv(nv, &count, SP_STR("date"), sp_str_z(srv_date(c->server)));
    if (!counted && length >= 0 && status != 204 && status != 304) {
        int size_n = snprintf(size, sizeof size, "%lld", (long long)length);
        add_nv(nv, &count, SP_STR("content-length"), (sp_str){size, (size_t)size_n});
    }
    nghttp2_data_provider body = {.source.ptr = r, .read_callback = read_body};
    bool none = r->no_body || length == 0;
    nghttp2_submit_response(h->session, r->stream, nv, count, none ? NULL : &body);
    r->submitted = !none;
}

static void h2_more(sp_http_res *r) {
    h2 *h = r->conn->state;
    if (r->submitted) nghttp2_session_resume_data(h->session, r->stream);
    sp_conn_wake(r->conn->io);
}

static size_t h2_pending(const sp_http_res *r) {
    (void)r; /* what is on the connection is shared and bounded */
    return 0;
}

/* --- the connection --- */

static nghttp2_session_callbacks *callbacks(void) {
    static __thread nghttp2_session_callbacks *cb;
    if (cb) return cb;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    return cb;
}

static void h2_open(srv_conn *c) {
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, MAX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SP_H1_MAX_HEAD},
    };
    h2 *h = c->state = sp_zalloc(1, sizeof *h);
    sp_list_init(&h->answers);
    nghttp2_option *option;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);
    int rc = nghttp2_session_server_new2(&h->session, callbacks(), c, option);
    nghttp2_option_del(option);
    sp_assert(rc == 0);
    nghttp2_submit_settings(h->session, 0, settings, SP_COUNT(settings));
    nghttp2_session_set_local_window_size(h->session, 0, 0, CONN_WINDOW);
    sp_conn_deadline(c->io, c->server->config.header_timeout_ms);
    sp_conn_wake(c->io);
}

static void h2_close(srv_conn *c) {
    h2 *h = c->state;
    sp_list_each(&h->answers, it) srv_res_detach(SP_CONTAINER(it, sp_http_res, link));
    nghttp2_session_del(h->session);
    free(h);
    c->state = NULL;
}

static void next_deadline(srv_conn *c) {
    const h2 *h = c->state;
    const sp_http_server_config *config = &c->server->config;
    bool soon = h->incomplete || h->leave == NOTICED;
    sp_conn_deadline(c->io, soon ? config->header_timeout_ms : config->idle_timeout_ms);
}

static void h2_data(srv_conn *c, char *p, size_t n) {
    h2 *h = c->state;
    ssize_t rc = nghttp2_session_mem_recv(h->session, (const uint8_t *)p, n);
    if (rc < 0) { /* not even HTTP/2; what nghttp2 wants to say about it goes out first */
        nghttp2_session_send(h->session);
        srv_conn_finish(c);
        return;
    }
    serve_waiting(c);
    next_deadline(c);
    sp_conn_wake(c->io);
}

static void h2_fill(srv_conn *c) {
    h2 *h = c->state;
    if (nghttp2_session_send(h->session) != 0) {
        srv_conn_drop(c);
        return;
    }
    bool writes = nghttp2_session_want_write(h->session);
    bool over = !writes && !nghttp2_session_want_read(h->session);
    if (over || (h->leave == LEAVING && sp_list_empty(&h->answers) && !writes)) srv_conn_finish(c);
}

static void h2_drain(srv_conn *c) {
    give_notice(c->state);
    next_deadline(c);
    sp_conn_wake(c->io);
}

/* Uploads that made no progress since the last look are given up. */
static void give_up_stalled(h2 *h) {
    sp_list_each(&h->answers, it) {
        sp_http_res *r = SP_CONTAINER(it, sp_http_res, link);
        size_t progress = r->field_bytes + r->body.n + 1;
        if (!r->dispatched && r->progress == progress)
            nghttp2_submit_rst_stream(h->session, 0, r->stream, NGHTTP2_CANCEL);
        r->progress = progress;
    }
}

static bool waits_for_reader(const srv_conn *c) {
    const h2 *h = c->state;
    if (sp_conn_pending(c->io) > 0) return true;
    sp_list_each(&h->answers, it) if (SP_CONTAINER(it, sp_http_res, link)->out.bytes) return true;
    return false;
}

static void h2_timeout(srv_conn *c) {
    h2 *h = c->state;
    uint64_t sent = sp_conn_sent(c->io);
    bool moved = sent != c->sent_before;
    c->sent_before = sent;
    if (h->leave == NOTICED) {
        say_last(h); /* it does not answer pings */
    } else if (sp_list_empty(&h->answers)) {
        give_notice(h); /* idle: leave politely */
    } else if (h->incomplete) {
        give_up_stalled(h);
    } else if (!moved && waits_for_reader(c)) {
        srv_conn_drop(c);
        return;
    }
    next_deadline(c);
    sp_conn_wake(c->io);
}

static void h2_eof(srv_conn *c) {
    srv_conn_drop(c);
}

const srv_proto srv_h2 = {
    .open = h2_open,
    .data = h2_data,
    .fill = h2_fill,
    .timeout = h2_timeout,
    .eof = h2_eof,
    .drain = h2_drain,
    .close = h2_close,
    .begin = h2_begin,
    .more = h2_more,
    .pending = h2_pending,
};
