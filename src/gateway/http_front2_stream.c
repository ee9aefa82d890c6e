/* Streams of a client's HTTP/2 connection as fronts of exchanges: what nghttp2 has read of one goes
 * to its exchange, and what that answers waits here until frames are made. An exchange may be over
 * while its stream still has bytes to send. */
#include "gateway/http_front2.h"

#include <stdio.h>

static const sp_front front2;

/* --- life --- */

void sp_front2_mark_ready(sp_front2_stream *st) {
    if (!sp_list_empty(&st->ready)) return;
    sp_list_append(&st->s->ready, &st->ready);
    if (!st->s->running) sp_io_again(&st->s->client.io);
}

static void on_lingered(sp_alarm *a) {
    sp_front2_stream *st = SP_CONTAINER(a, sp_front2_stream, linger);
    nghttp2_submit_rst_stream(st->s->h2, 0, st->id,
                              st->cut ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR);
    sp_io_again(&st->s->client.io);
}

static sp_front2_stream *new_stream(sp_front2 *s, int32_t id) {
    sp_front2_stream *st = sp_h2_alloc(s->s.worker, sizeof *st);
    st->s = s;
    st->id = id;
    sp_list_init(&st->ready);
    sp_list_init(&st->link);
    sp_alarm_init(&st->linger, on_lingered);
    sp_list_append(&s->streams, &st->link);
    s->stream_count++;
    nghttp2_session_set_stream_user_data(s->h2, id, st);
    return st;
}

void sp_front2_free_stream(sp_front2_stream *st) {
    sp_front2 *s = st->s;
    sp_worker *w = s->s.worker;
    if (st->x) sp_exchange_client_gone(st->x);
    if (st->in.n && !s->dead) nghttp2_session_consume_connection(s->h2, st->in.n);
    s->held -= sp_h2_out_waits(&st->out);
    sp_alarm_stop(&st->linger);
    sp_list_remove(&st->link);
    sp_list_remove(&st->ready);
    if (--s->stream_count == 0 && !s->dead) sp_front2_schedule(s);
    sp_worker_give_buf(w, &st->in);
    sp_h2_out_free(w, &st->out);
    if (st->trailers_in) sp_h2_block_free(st->trailers_in);
    sp_h2_free(w, st->trailers_in);
    sp_h2_free(w, st);
}

static void resume(sp_front2_stream *st) {
    sp_h2_out_resume(&st->out, st->s->h2, st->id);
    if (!st->s->running) sp_io_again(&st->s->client.io);
}

/* --- the request --- */

static sp_str websocket_key(sp_exchange *x, char ret[25]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t r[2] = {sp_worker_random(x->worker), sp_worker_random(x->worker)};
    for (int i = 0; i < 21; i++) {
        ret[i] = digits[r[i / 11] & 63];
        r[i / 11] >>= 6;
    }
    memcpy(ret + 21, "A==", 4); /* 16 bytes are 22 digits, the last one of two bits, and padding */
    return (sp_str){ret, 24};
}

/* A WebSocket over one stream is an upgrade for the endpoint (RFC 8441 section 5). */
static bool make_upgrade(sp_front2_stream *st, sp_exchange *x, sp_str protocol) {
    if (!sp_str_ieq(protocol, SP_STR("websocket"))) return false;
    x->request.method = SP_STR("GET");
    x->request.upgrade = true;
    x->request.framing = SP_H1_NO_BODY;
    x->hop.upgrade = SP_STR("websocket");
    x->hop.key = websocket_key(x, x->key);
    x->tunnel = true;
    return true;
}

void sp_front2_begin(sp_front2 *s, int32_t id, bool end_stream) {
    sp_front2_stream *st = new_stream(s, id);
    sp_h1_error err = {0};
    sp_h2_request more = {0};
    sp_exchange *x = st->x = sp_exchange_new(&front2, st, &s->s, s->listener);
    st->in_end = end_stream;
    st->received = s->block.wire_bytes;
    x->hop.tls = sp_sock_is_tls(&s->client);
    x->hop.client_cert = sp_sock_client_cert(&s->client, &x->hop.client_cert_error);
    bool ok = sp_h2_parse_request(&s->block, end_stream, &x->head, &x->request, &more, &err);
    if (!ok && !err.status) {
        x->status = 400;
        nghttp2_submit_rst_stream(s->h2, 0, st->id, NGHTTP2_PROTOCOL_ERROR);
        sp_exchange_client_gone(x);
    } else if (!ok) {
        sp_exchange_fail(x, err.status, "%s", err.text);
    } else if (more.protocol.p && !make_upgrade(st, x, more.protocol)) {
        sp_exchange_fail(x, 501, "only websocket is served over extended CONNECT");
    } else {
        sp_exchange_begin(x, s->s.server_name);
    }
}

/* --- frames out --- */

static ssize_t read_out(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
                        nghttp2_data_source *source, void *ctx) {
    sp_front2_stream *st = source->ptr;
    (void)buf, (void)ctx;
    if (st->cut && !sp_h2_out_waits(&st->out))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
    return sp_h2_out_read(&st->out, h2, id, cap, flags);
}

int sp_front2_send_data(nghttp2_session *h2, nghttp2_frame *f, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *ctx) {
    sp_front2 *s = ctx;
    sp_front2_stream *st = source->ptr;
    (void)h2;
    if (s->client.out.n >= SP_H2_WIRE_HIGH) return NGHTTP2_ERR_WOULDBLOCK;
    if (f->data.padlen) return NGHTTP2_ERR_CALLBACK_FAILURE; /* we never pad */
    st->sent += n;
    s->held -= n;
    if (sp_h2_out_send(s->s.worker, &st->out, &s->client, head, n) && st->x)
        sp_front2_mark_ready(st);
    return 0;
}

/* --- the front of an exchange --- */

static void wake(sp_exchange *x) {
    sp_front2_mark_ready(x->client);
}

static void end_of_request(sp_front2_stream *st) {
    sp_auto(sp_buf) lines = {0};
    if (st->trailers_in) sp_h2_write_trailers(st->trailers_in, &lines);
    sp_exchange_body_end(st->x, sp_buf_str(&lines));
}

static bool pump(sp_exchange *x) {
    sp_front2_stream *st = x->client;
    sp_front2 *s = st->s;
    bool moved = st->in.n > 0;
    if (moved) {
        sp_buf piece = st->in;
        st->in = (sp_buf){0};
        sp_exchange_body(x, sp_buf_str(&piece));
        nghttp2_session_consume(s->h2, st->id, piece.n);
        sp_worker_give_buf(s->s.worker, &piece);
    }
    if (sp_exchange_is_over(x) || !st->in_end) return moved;
    end_of_request(st);
    return true;
}

static bool blocked(sp_exchange *x) {
    const sp_front2_stream *st = x->client;
    return sp_h2_out_waits(&st->out) >= SP_H2_OUT_HIGH;
}

static bool gone(sp_exchange *x) {
    const sp_front2_stream *st = x->client;
    return st->s->client.broken || st->s->client.io.error;
}

static void write_head(sp_exchange *x, const sp_h1_head *h, const sp_http_edit *edit) {
    sp_front2_stream *st = x->client;
    sp_front2 *s = st->s;
    nghttp2_nv nv[SP_H2_MAX_NV];
    char status[3], length[21];
    sp_auto(sp_buf) lines = sp_worker_take_buf(s->s.worker);
    int code = h->status == 101 ? 200 : h->status;
    for (int i = 3, v = code; i-- > 0; v /= 10) status[i] = (char)('0' + v % 10);
    sp_http_write_answer_fields(&lines, h, edit);
    nv[0] = sp_h2_field(SP_STR(":status"), (sp_str){status, 3});
    size_t n = 1 + sp_h2_fields(sp_buf_str(&lines), nv + 1, SP_H2_MAX_NV - 2);
    if (sp_http_answer_has_length(h)) {
        int digits = snprintf(length, sizeof length, "%llu", (unsigned long long)h->length);
        nv[n++] = sp_h2_field(SP_STR("content-length"), (sp_str){length, (size_t)digits});
    }
    st->sent += lines.n;
    bool last = code >= 200;
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = read_out};
    if (!last)
        nghttp2_submit_headers(s->h2, NGHTTP2_FLAG_NONE, st->id, NULL, nv, n, NULL);
    else
        nghttp2_submit_response(s->h2, st->id, nv, n, h->framing == SP_H1_NO_BODY ? NULL : &body);
    st->answered |= last;
    sp_worker_give_buf(s->s.worker, &lines);
    if (!s->running) sp_io_again(&s->client.io);
}

static void write_data(sp_exchange *x, sp_str piece) {
    sp_front2_stream *st = x->client;
    if (!piece.n) return;
    sp_h2_out_add(st->s->s.worker, &st->out, piece);
    st->s->held += piece.n;
    resume(st);
}

static void write_end(sp_exchange *x, sp_str trailers) {
    sp_front2_stream *st = x->client;
    sp_buf_add(&st->out.trailers, trailers);
    st->out.end = true;
    resume(st);
}

static void flush(sp_exchange *x) {
    (void)x; /* run does, for all streams at once */
}

static bool spreads(const sp_exchange *x) {
    return x->pool_spec && x->pool_spec->goaway_per_million &&
           sp_worker_random(x->worker) % 1000000 < x->pool_spec->goaway_per_million;
}

static void cut(sp_front2_stream *st) {
    st->cut = true;
    if (!st->answered || !sp_h2_out_waits(&st->out))
        nghttp2_submit_rst_stream(st->s->h2, 0, st->id, NGHTTP2_INTERNAL_ERROR);
    else
        sp_alarm_start(st->s->s.worker->poller, &st->linger, SP_TIMEOUT_LINGER);
}

static void over(sp_exchange *x, sp_over how) {
    sp_front2_stream *st = x->client;
    sp_front2 *s = st->s;
    st->x = NULL;
    sp_front2_count(s);
    if (st->in.n && !st->closed && !s->dead) {
        nghttp2_session_consume(s->h2, st->id, st->in.n);
        sp_worker_give_buf(s->s.worker, &st->in);
    }
    if (how == SP_OVER_CUT && !st->closed && !s->dead) cut(st);
    if (how == SP_OVER_DONE && !s->dead && spreads(x)) sp_front2_begin_leaving(s);
    if (!s->running && !s->dead) sp_io_again(&s->client.io);
}

static sp_sock *no_socket(sp_exchange *x) {
    (void)x;
    return NULL;
}

static sp_sock *connection(sp_exchange *x) {
    return &((sp_front2_stream *)x->client)->s->client;
}

static void count(sp_exchange *x, uint64_t *ret_in, uint64_t *ret_out) {
    const sp_front2_stream *st = x->client;
    *ret_in = st->received;
    *ret_out = st->sent + sp_h2_out_waits(&st->out);
}

static const sp_front front2 = {
    .protocol = "HTTP/2.0",
    .wake = wake,
    .pump = pump,
    .blocked = blocked,
    .gone = gone,
    .head = write_head,
    .data = write_data,
    .end = write_end,
    .flush = flush,
    .over = over,
    .socket = no_socket,
    .carrier = connection,
    .count = count,
};
