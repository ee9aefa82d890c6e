/* All calls on one HTTP/2 connection (RFC 9113), by nghttp2. A stream refused by the server, by
 * REFUSED_STREAM or by a GOAWAY that leaves it out, was not acted upon and is tried again on
 * another connection. */
#include "net/client_internal.h"
#include "net/http1.h" /* its limits for heads */

#include <nghttp2/nghttp2.h>
#include <stdio.h>

enum { STREAM_WINDOW = 1 << 20, CONN_WINDOW = 16 << 20, MAX_STREAMS = 1000 };

typedef struct h2 {
    nghttp2_session *session;
    size_t streams;
} h2;

static sp_http_call *call_of(nghttp2_session *session, int32_t id) {
    sp_http_call *call = nghttp2_session_get_stream_user_data(session, id);
    return call && !call->finished ? call : NULL;
}

/* --- the answer --- */

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *ctx) {
    (void)flags, (void)ctx;
    sp_http_call *call = call_of(session, f->hd.stream_id);
    if (!call || (call->head_seen && !call->p.trailers)) return 0;
    call->answered = true;
    call->field_bytes += name_n + value_n + 32;
    if (call->field_bytes > SP_H1_MAX_HEAD) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    sp_str n = {(const char *)name, name_n}, v = {(const char *)value, value_n};
    uint64_t status = 0;
    if (sp_str_eqz(n, ":status")) {
        if (sp_str_u64(v, &status)) call->status = (int)status;
        return 0;
    }
    sp_header field = {sp_arena_str(call->arena, n), sp_arena_str(call->arena, v)};
    if (call->head_seen)
        sp_vec_push(&call->trailers, field);
    else
        sp_vec_push(&call->headers, field);
    return 0;
}

static void head_complete(sp_http_call *call) {
    if (call->status < 200) { /* 100 Continue and the like */
        call->headers.n = 0;
        return;
    }
    call->head_seen = true;
    if (call->p.head) call->p.head(call->p.ctx, call->status, call->headers.p, call->headers.n);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *ctx) {
    cli_conn *c = ctx;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        c->no_more = true; /* what runs goes on, what is new goes elsewhere */
        cli_conn_idle(c);
        if (c->closed) return 0;
    }
    sp_http_call *call = call_of(session, f->hd.stream_id);
    if (!call) return 0;
    bool stream_frame = f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA;
    if (stream_frame && (f->hd.flags & NGHTTP2_FLAG_END_STREAM)) call->complete = true;
    if (f->hd.type != NGHTTP2_HEADERS) return 0;
    if (!call->head_seen)
        head_complete(call);
    else if (call->p.trailers)
        call->p.trailers(call->p.ctx, call->trailers.p, call->trailers.n);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
                         size_t n, void *ctx) {
    (void)flags, (void)ctx;
    sp_http_call *call = call_of(session, id);
    if (call && call->p.data) call->p.data(call->p.ctx, (sp_str){(const char *)p, n});
    call = call_of(session, id); /* it may be gone now */
    if (call && call->paused) {  /* its own window stays closed, that of the others opens */
        call->held += n;
        nghttp2_session_consume_connection(session, n);
    } else {
        nghttp2_session_consume(session, id, n);
    }
    return 0;
}

static void stream_failed(cli_conn *c, sp_http_call *call, uint32_t code) {
    if (code == NGHTTP2_REFUSED_STREAM ? cli_call_refused(call) : cli_call_again(call)) return;
    sp_err err = {0};
    sp_fail(&err, SP_CONNECTION, "%s broke the answer off: %s", c->client->authority,
            nghttp2_http2_strerror(code));
    cli_call_end(call, &err);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx) {
    cli_conn *c = ctx;
    h2 *h = c->state;
    h->streams--;
    sp_http_call *call = call_of(session, id);
    if (call && call->complete)
        cli_call_end(call, NULL);
    else if (call)
        stream_failed(c, call, code);
    cli_conn_idle(c);
    return 0;
}

/* --- the request --- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *ctx) {
    (void)source, (void)ctx;
    sp_http_call *call = call_of(session, id);
    if (!call) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t left = call->body->n - call->body_at, n = SP_MIN(max, left);
    memcpy(buf, call->body->p + call->body_at, n);
    call->body_at += n;
    if (n == left) *flags = NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *p, size_t n, int flags,
                          void *ctx) {
    (void)session, (void)flags;
    cli_conn *c = ctx;
    sp_outq *out = sp_conn_out(c->io);
    if (out->bytes >= SP_CONN_WINDOW) return NGHTTP2_ERR_WOULDBLOCK;
    sp_outq_add(out, (sp_str){(const char *)p, n});
    return (ssize_t)n;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *f, void *ctx) {
    (void)ctx;
    sp_http_call *call = f->hd.type == NGHTTP2_HEADERS ? call_of(session, f->hd.stream_id) : NULL;
    if (call) call->sent = true;
    return 0;
}

static bool sends_field(sp_str name) {
    static const char *const own[] = {"host",          "connection",       "keep-alive",
                                      "upgrade",       "proxy-connection", "transfer-encoding",
                                      "content-length"};
    for (size_t i = 0; i < SP_COUNT(own); i++)
        if (sp_str_eqz(name, own[i])) return false;
    return true;
}

static void add_nv(nghttp2_nv *nv, size_t *n, sp_str name, sp_str value) {
    nv[(*n)++] = (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, 0};
}

static size_t make_fields(const sp_http_call *call, nghttp2_nv *nv) {
    const sp_http_call_params *p = &call->p;
    size_t n = 0;
    sp_str host = sp_headers_get(p->headers, p->header_count, "host");
    add_nv(nv, &n, SP_STR(":method"), sp_str_z(p->method));
    add_nv(nv, &n, SP_STR(":scheme"), call->client->tls ? SP_STR("https") : SP_STR("http"));
    add_nv(nv, &n, SP_STR(":authority"), host.n ? host : sp_str_z(call->client->authority));
    add_nv(nv, &n, SP_STR(":path"), p->target);
    for (size_t i = 0; i < p->header_count; i++) {
        sp_header f = p->headers[i];
        if (sends_field(f.name) && sp_http_is_token(f.name) && sp_http_is_value(f.value))
            add_nv(nv, &n, f.name, f.value);
    }
    if (call->body)
        add_nv(nv, &n, SP_STR("content-length"),
               sp_arena_printf(call->arena, "%zu", call->body->n));
    return n;
}

static void h2_start(cli_conn *c, sp_http_call *call) {
    h2 *h = c->state;
    nghttp2_nv *nv = sp_arena_alloc(call->arena, (call->p.header_count + 5) * sizeof *nv);
    size_t n = make_fields(call, nv);
    nghttp2_data_provider body = {.read_callback = read_body};
    int32_t id = nghttp2_submit_request(h->session, NULL, nv, n, call->body ? &body : NULL, call);
    if (id < 0) { /* the stream numbers of this connection are used up */
        c->no_more = true;
        call->sent = false;
        call->conn = NULL;
        sp_list_remove(&call->link);
        sp_list_append(&c->client->waiting, &call->link);
        sp_task_defer(c->client->turn, &c->client->pump);
        return;
    }
    h->streams++;
    call->stream = id;
    call->status = 0;
    call->headers.n = call->trailers.n = 0;
    call->field_bytes = call->held = 0;
    sp_conn_wake(c->io);
}

static void h2_cancel(cli_conn *c, sp_http_call *call) {
    h2 *h = c->state;
    nghttp2_session_set_stream_user_data(h->session, call->stream, NULL);
    nghttp2_submit_rst_stream(h->session, 0, call->stream, NGHTTP2_CANCEL);
    sp_conn_wake(c->io);
}

static void h2_pause(cli_conn *c, sp_http_call *call) {
    h2 *h = c->state;
    if (call->paused) return;
    nghttp2_session_consume_stream(h->session, call->stream, call->held);
    call->held = 0;
    sp_conn_wake(c->io);
}

static void h2_probe(cli_conn *c) {
    h2 *h = c->state;
    nghttp2_submit_ping(h->session, 0, NULL);
    sp_conn_wake(c->io);
}

/* --- the connection --- */

static nghttp2_session_callbacks *callbacks(void) {
    static __thread nghttp2_session_callbacks *cb;
    if (cb) return cb;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    return cb;
}

static void h2_open(cli_conn *c) {
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SP_H1_MAX_HEAD},
    };
    h2 *h = c->state = sp_zalloc(1, sizeof *h);
    nghttp2_option *option;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_no_auto_window_update(option, 1);
    int rc = nghttp2_session_client_new2(&h->session, callbacks(), c, option);
    nghttp2_option_del(option);
    sp_assert(rc == 0);
    nghttp2_submit_settings(h->session, 0, settings, SP_COUNT(settings));
    nghttp2_session_set_local_window_size(h->session, 0, 0, CONN_WINDOW);
    sp_conn_wake(c->io);
}

static void h2_close(cli_conn *c) {
    h2 *h = c->state;
    nghttp2_session_del(h->session);
    free(h);
}

static bool h2_has_room(const cli_conn *c) {
    const h2 *h = c->state;
    uint32_t max =
        nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return h->streams < SP_MIN(max, (uint32_t)MAX_STREAMS);
}

static void failed(cli_conn *c, int rc) {
    sp_err err = {0};
    sp_fail(&err, SP_CONNECTION, "%s: HTTP/2: %s", c->client->authority, nghttp2_strerror(rc));
    cli_conn_close(c, &err);
}

static void h2_data(cli_conn *c, char *p, size_t n) {
    h2 *h = c->state;
    ssize_t rc = nghttp2_session_mem_recv(h->session, (const uint8_t *)p, n);
    if (c->closed) return;
    if (rc < 0)
        failed(c, (int)rc);
    else
        sp_conn_wake(c->io);
}

static void h2_fill(cli_conn *c) {
    h2 *h = c->state;
    int rc = nghttp2_session_send(h->session);
    if (c->closed) return;
    if (rc != 0)
        failed(c, rc);
    else if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        failed(c, NGHTTP2_ERR_SESSION_CLOSING);
}

static void h2_eof(cli_conn *c) {
    (void)c;
}

const cli_proto cli_h2 = {
    .open = h2_open,
    .start = h2_start,
    .cancel = h2_cancel,
    .pause = h2_pause,
    .has_room = h2_has_room,
    .data = h2_data,
    .probe = h2_probe,
    .fill = h2_fill,
    .eof = h2_eof,
    .close = h2_close,
};
