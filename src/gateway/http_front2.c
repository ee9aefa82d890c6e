/* The client's side over HTTP/2 (RFC 9113) by nghttp2: many exchanges on one connection.
 *
 * Events only mark streams as ready; run reads what came, steps the exchanges that are ready, and
 * then lets nghttp2 make frames while the socket takes them. Windows open by what an endpoint has
 * taken, so a slow one holds back its own stream and, at the limit of the connection's window,
 * nobody's memory. An exchange may be over while its stream still has bytes to send.
 *
 * What a hostile client could make us do for nothing has a budget (http_h2.h). */
#include "gateway/http_h2.h"

#include <pthread.h>
#include <stdio.h>

enum { STEPS_PER_EVENT = 32, STEPS_PER_STREAM = 8, REMEMBERED = 32, PREFACE_BYTES = 24 };

/* A stream that is closed, remembered for a while: frames that cross our reset are harmless, those
 * of a client that had ended or reset the stream itself are not (RFC 9113 5.1). */
typedef struct closed_stream {
    int32_t id;
    bool by_client;
} closed_stream;

typedef struct session {
    sp_session s; /* first: buried by its address */
    sp_listener *listener;
    sp_sock client;
    nghttp2_session *h2;
    sp_list streams, ready; /* stream.link, stream.ready */
    size_t stream_count;
    sp_h2_block block; /* being received */
    sp_alarm alarm;
    size_t held;          /* bytes of answers that wait for frames */
    uint64_t sent_before; /* stalls: client.sent when the alarm was set */
    int64_t budget_since_ms;
    unsigned resets, control, empty, credit;
    closed_stream closed[REMEMBERED];
    unsigned closed_at;
    int32_t last_id; /* of the client's streams */
    sp_h2_scan scan;
    bool running, dead;
    bool failed;     /* nghttp2 gave up: say why, then close */
    bool leaving;    /* the first GOAWAY is out or about to be */
    bool left;       /* the second one, with the true last stream */
    bool lingering;  /* all is said, our FIN is out: reading until the client has seen it */
    bool in_headers; /* a header block is incomplete */
    uint64_t counted_in, counted_out;
} session;

typedef struct stream {
    session *s;
    sp_exchange *x; /* NULL before it begins, and when it is over */
    int32_t id;
    sp_list link, ready;
    sp_h2_block *trailers_in; /* NULL = none */
    sp_buf in;                /* of the body, not yet passed on */
    sp_buf out;               /* of the answer */
    sp_buf trailers;          /* of the answer */
    size_t out_at;            /* of out, that much is in frames */
    bool answered;            /* the head is in frames, or about to be */
    bool in_end, out_end, deferred, closed;
    bool cut; /* what is in out goes out, then a reset */
    bool reset_by_client;
    sp_alarm linger; /* the answer is out, the request is still coming in */
    uint64_t received, sent;
} stream;

static void run(session *s);
static void begin_leaving(session *s);
static void schedule(session *s);
static const sp_front front2;

/* --- streams --- */

static void mark_ready(stream *st) {
    if (!sp_list_empty(&st->ready)) return;
    sp_list_append(&st->s->ready, &st->ready);
    if (!st->s->running) sp_io_again(&st->s->client.io);
}

static void on_lingered(sp_alarm *a) {
    stream *st = SP_CONTAINER(a, stream, linger);
    nghttp2_submit_rst_stream(st->s->h2, 0, st->id,
                              st->cut ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR);
    sp_io_again(&st->s->client.io);
}

static stream *new_stream(session *s, int32_t id) {
    stream *st = sp_h2_alloc(s->s.worker, sizeof *st);
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

static void free_stream(stream *st) {
    session *s = st->s;
    sp_worker *w = s->s.worker;
    if (st->x) sp_exchange_client_gone(st->x);
    if (st->in.n && !s->dead) nghttp2_session_consume_connection(s->h2, st->in.n);
    s->held -= st->out.n - st->out_at;
    sp_alarm_stop(&st->linger);
    sp_list_remove(&st->link);
    sp_list_remove(&st->ready);
    if (--s->stream_count == 0 && !s->dead) schedule(s);
    sp_worker_give_buf(w, &st->in);
    sp_worker_give_buf(w, &st->out);
    sp_buf_free(&st->trailers);
    if (st->trailers_in) sp_h2_block_free(st->trailers_in);
    sp_h2_free(w, st->trailers_in);
    sp_h2_free(w, st);
}

static void resume(stream *st) {
    if (st->deferred) nghttp2_session_resume_data(st->s->h2, st->id);
    st->deferred = false;
    if (!st->s->running) sp_io_again(&st->s->client.io);
}

/* --- the end --- */

static void count_bytes(session *s) {
    sp_worker_stats *st = &s->s.worker->stats;
    st->bytes_in += s->client.received - s->counted_in;
    st->bytes_out += s->client.sent - s->counted_out;
    s->counted_in = s->client.received;
    s->counted_out = s->client.sent;
}

static void end(session *s, bool reset) {
    if (s->dead) return;
    s->dead = true;
    sp_list_each(&s->streams, l) {
        stream *st = SP_CONTAINER(l, stream, link);
        st->closed = true;
        free_stream(st);
    }
    count_bytes(s);
    sp_alarm_stop(&s->alarm);
    nghttp2_session_del(s->h2);
    sp_h2_block_free(&s->block);
    sp_sock_close(s->s.worker, &s->client, reset);
    sp_listener_unref(s->listener);
    sp_session_close(&s->s);
}

/* GOAWAY with a code; what it says goes out before the connection is closed. */
static void give_up(session *s, uint32_t code) {
    if (s->failed) return;
    s->failed = true;
    nghttp2_session_terminate_session(s->h2, code);
}

static void schedule(session *s) {
    sp_poller *p = s->s.worker->poller;
    const sp_listener_spec *spec = s->listener->spec;
    if (s->leaving && !s->left)
        sp_alarm_after(p, &s->alarm, SP_H2_GOAWAY_WAIT_MS);
    else if (s->in_headers)
        sp_alarm_start_or(p, &s->alarm, spec ? spec->head_timeout_ms : 0, SP_TIMEOUT_HEAD);
    else if (s->stream_count)
        sp_alarm_after(p, &s->alarm, SP_H2_STALL_MS);
    else
        sp_alarm_start_or(p, &s->alarm, spec ? spec->keep_alive_timeout_ms : 0, SP_TIMEOUT_IDLE);
}

/* --- budgets --- */

static void new_period(session *s) {
    int64_t now = sp_poller_now_ms(s->s.worker->poller);
    if (now - s->budget_since_ms < SP_H2_BUDGET_MS) return;
    s->budget_since_ms = now;
    s->resets = s->control = s->empty = s->credit = 0;
}

static void spend(session *s, unsigned *counter, unsigned limit) {
    new_period(s);
    if (++*counter > limit) give_up(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void spend_on_frame(session *s, const nghttp2_frame *f) {
    stream *st;
    switch (f->hd.type) {
    case NGHTTP2_DATA:
        if (f->hd.length == 0 && !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
            spend(s, &s->empty, SP_H2_EMPTY_FRAMES);
        break;
    case NGHTTP2_RST_STREAM:
        st = nghttp2_session_get_stream_user_data(s->h2, f->hd.stream_id);
        if (st) st->reset_by_client = true;
        if (!st || st->answered) break;
        spend(s, &s->resets, SP_H2_RESETS);
        break;
    case NGHTTP2_HEADERS: break;
    default: spend(s, &s->control, SP_H2_CONTROL_FRAMES + s->credit); break;
    }
}

/* --- what nghttp2 tells --- */

static void check_closed(session *s, int32_t id) {
    unsigned n = SP_MIN(s->closed_at, (unsigned)REMEMBERED);
    int32_t oldest = INT32_MAX;
    for (unsigned i = 0; i < n; i++) {
        oldest = SP_MIN(oldest, s->closed[i].id);
        if (s->closed[i].id != id) continue;
        if (s->closed[i].by_client) give_up(s, NGHTTP2_STREAM_CLOSED);
        return;
    }
    /* Skipped: opening a later stream closed it. Older than what is remembered: who knows. */
    if (s->closed_at <= REMEMBERED || id > oldest) give_up(s, NGHTTP2_PROTOCOL_ERROR);
}

/* nghttp2 ignores what comes on closed streams, in silence; so each header of a frame is looked at
 * after all before it was read. */
static void on_frame_header(session *s, uint8_t type, int32_t id) {
    bool counts = type == NGHTTP2_DATA || type == NGHTTP2_HEADERS;
    if (counts && (id & 1) && id <= s->last_id && !s->left && !s->failed &&
        !nghttp2_session_find_stream(s->h2, id))
        check_closed(s, id);
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    session *s = ctx;
    (void)h2;
    sp_h2_block_clear(&s->block);
    s->last_id = SP_MAX(s->last_id, f->hd.stream_id);
    s->in_headers = true;
    return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *ctx) {
    session *s = ctx;
    (void)h2, (void)f, (void)flags;
    sp_h2_block_add(&s->block, (sp_str){(const char *)name, name_n},
                    (sp_str){(const char *)value, value_n});
    if (s->block.wire_bytes > SP_H2_MAX_WIRE_HEADERS) give_up(s, NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
}

/* Without this nghttp2 would leave the field out and go on. */
static int on_invalid_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
                             size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                             void *ctx) {
    (void)h2, (void)f, (void)name, (void)name_n, (void)value, (void)value_n, (void)flags, (void)ctx;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

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
static bool make_upgrade(stream *st, sp_exchange *x, sp_str protocol) {
    if (!sp_str_ieq(protocol, SP_STR("websocket"))) return false;
    x->request.method = SP_STR("GET");
    x->request.upgrade = true;
    x->request.framing = SP_H1_NO_BODY;
    x->hop.upgrade = SP_STR("websocket");
    x->hop.key = websocket_key(x, x->key);
    x->tunnel = true;
    return true;
}

static void begin_exchange(stream *st, bool end_stream) {
    session *s = st->s;
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

static void take_trailers(stream *st) {
    session *s = st->s;
    if (!st->x) return;
    st->trailers_in = sp_h2_alloc(s->s.worker, sizeof *st->trailers_in);
    *st->trailers_in = s->block;
    s->block = (sp_h2_block){0};
}

static void take_headers(session *s, const nghttp2_frame *f) {
    stream *st = nghttp2_session_get_stream_user_data(s->h2, f->hd.stream_id);
    bool last = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
    s->in_headers = false;
    if (st) {
        take_trailers(st);
        st->in_end |= last;
        mark_ready(st);
        return;
    }
    if (s->failed) return;
    begin_exchange(new_stream(s, f->hd.stream_id), last);
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    session *s = ctx;
    spend_on_frame(s, f);
    if (f->hd.type == NGHTTP2_HEADERS) {
        take_headers(s, f);
    } else if (f->hd.type == NGHTTP2_DATA && (f->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        stream *st = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
        if (st) {
            st->in_end = true;
            mark_ready(st);
        }
    } else if (f->hd.type == NGHTTP2_PING && (f->hd.flags & NGHTTP2_FLAG_ACK) && s->leaving) {
        s->left = true; /* the round trip is over: see run */
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *h2, const nghttp2_frame *f, int error, void *ctx) {
    session *s = ctx;
    (void)h2, (void)error;
    if (f->hd.type == NGHTTP2_HEADERS) s->in_headers = false;
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *ctx) {
    session *s = ctx;
    (void)flags;
    stream *st = nghttp2_session_get_stream_user_data(h2, id);
    if (!st || !st->x) { /* nobody wants it any more */
        nghttp2_session_consume(h2, id, n);
        return 0;
    }
    if (!st->in.p) st->in = sp_worker_take_buf(s->s.worker);
    sp_buf_add(&st->in, (sp_str){(const char *)p, n});
    st->received += n;
    mark_ready(st);
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *ctx) {
    session *s = ctx;
    (void)code;
    stream *st = nghttp2_session_get_stream_user_data(h2, id);
    s->closed[s->closed_at++ % REMEMBERED] =
        (closed_stream){id, st && (st->in_end || st->reset_by_client)};
    if (!st) return 0;
    st->closed = true;
    free_stream(st);
    return 0;
}

/* The answer is out, the request is not all in: the rest is not wanted (RFC 9113 8.1). Still it is
 * read for a while, as on an HTTP/1.1 connection, because there are clients that take the reset for
 * a failure and lose the answer. */
static int on_frame_sent(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    session *s = ctx;
    s->credit += 2; /* each of ours may be answered */
    if (f->hd.type == NGHTTP2_GOAWAY && s->leaving && !s->left)
        nghttp2_submit_ping(h2, 0, NULL); /* behind it: nghttp2 would send it first */
    if (f->hd.type == NGHTTP2_RST_STREAM && f->rst_stream.error_code != NGHTTP2_NO_ERROR)
        spend(s, &s->resets, SP_H2_RESETS);
    bool with_end = f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS;
    if (!with_end || !(f->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    stream *st = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
    if (st && !st->in_end) sp_alarm_start(s->s.worker->poller, &st->linger, SP_TIMEOUT_LINGER);
    return 0;
}

/* --- frames out --- */

static ssize_t send_bytes(nghttp2_session *h2, const uint8_t *p, size_t n, int flags, void *ctx) {
    session *s = ctx;
    (void)h2, (void)flags;
    if (s->client.out.n >= SP_H2_WIRE_HIGH) return NGHTTP2_ERR_WOULDBLOCK;
    sp_sock_add(s->s.worker, &s->client, (sp_str){(const char *)p, n});
    return (ssize_t)n;
}

static ssize_t read_out(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
                        nghttp2_data_source *source, void *ctx) {
    stream *st = source->ptr;
    (void)buf, (void)ctx;
    size_t left = st->out.n - st->out_at, n = SP_MIN(left, cap);
    if (!n && st->cut) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
    if (!n && !st->out_end) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < left || !st->out_end) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (st->trailers.n) {
        nghttp2_nv nv[SP_H2_MAX_NV];
        size_t count = sp_h2_fields(sp_buf_str(&st->trailers), nv, SP_COUNT(nv));
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(h2, id, nv, count);
    }
    return (ssize_t)n;
}

static int send_data(nghttp2_session *h2, nghttp2_frame *f, const uint8_t *head, size_t n,
                     nghttp2_data_source *source, void *ctx) {
    session *s = ctx;
    stream *st = source->ptr;
    (void)h2;
    if (s->client.out.n >= SP_H2_WIRE_HIGH) return NGHTTP2_ERR_WOULDBLOCK;
    sp_sock_add(s->s.worker, &s->client, (sp_str){(const char *)head, 9});
    if (f->data.padlen) return NGHTTP2_ERR_CALLBACK_FAILURE; /* we never pad */
    sp_sock_add(s->s.worker, &s->client, sp_str_sub(sp_buf_str(&st->out), st->out_at, n));
    st->out_at += n;
    st->sent += n;
    s->held -= n;
    if (st->out_at == st->out.n) {
        st->out_at = 0;
        sp_worker_give_buf(s->s.worker, &st->out);
        if (st->x) mark_ready(st);
    }
    return 0;
}

/* --- the front of an exchange --- */

static void wake(sp_exchange *x) {
    mark_ready(x->client);
}

static void end_of_request(stream *st) {
    sp_auto(sp_buf) lines = {0};
    if (st->trailers_in) sp_h2_write_trailers(st->trailers_in, &lines);
    sp_exchange_body_end(st->x, sp_buf_str(&lines));
}

static bool pump(sp_exchange *x) {
    stream *st = x->client;
    session *s = st->s;
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
    const stream *st = x->client;
    return st->out.n - st->out_at >= SP_H2_OUT_HIGH;
}

static bool gone(sp_exchange *x) {
    const stream *st = x->client;
    return st->s->client.broken || st->s->client.io.error;
}

static void write_head(sp_exchange *x, const sp_h1_head *h, const sp_http_edit *edit) {
    stream *st = x->client;
    session *s = st->s;
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
    stream *st = x->client;
    if (!piece.n) return;
    if (!st->out.p) st->out = sp_worker_take_buf(st->s->s.worker);
    sp_buf_add(&st->out, piece);
    st->s->held += piece.n;
    resume(st);
}

static void write_end(sp_exchange *x, sp_str trailers) {
    stream *st = x->client;
    sp_buf_add(&st->trailers, trailers);
    st->out_end = true;
    resume(st);
}

static void flush(sp_exchange *x) {
    (void)x; /* run does, for all streams at once */
}

static bool spreads(const sp_exchange *x) {
    return x->pool_spec && x->pool_spec->goaway_per_million &&
           sp_worker_random(x->worker) % 1000000 < x->pool_spec->goaway_per_million;
}

static void cut(stream *st) {
    st->cut = true;
    if (!st->answered || st->out_at == st->out.n)
        nghttp2_submit_rst_stream(st->s->h2, 0, st->id, NGHTTP2_INTERNAL_ERROR);
    else
        sp_alarm_start(st->s->s.worker->poller, &st->linger, SP_TIMEOUT_LINGER);
}

static void over(sp_exchange *x, sp_over how) {
    stream *st = x->client;
    session *s = st->s;
    st->x = NULL;
    count_bytes(s);
    if (st->in.n && !st->closed && !s->dead) {
        nghttp2_session_consume(s->h2, st->id, st->in.n);
        sp_worker_give_buf(s->s.worker, &st->in);
    }
    if (how == SP_OVER_CUT && !st->closed && !s->dead) cut(st);
    if (how == SP_OVER_DONE && !s->dead && spreads(x)) begin_leaving(s);
    if (!s->running && !s->dead) sp_io_again(&s->client.io);
}

static sp_sock *no_socket(sp_exchange *x) {
    (void)x;
    return NULL;
}

static void count(sp_exchange *x, uint64_t *ret_in, uint64_t *ret_out) {
    const stream *st = x->client;
    *ret_in = st->received;
    *ret_out = st->sent + st->out.n - st->out_at;
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
    .count = count,
};

/* --- leaving --- */

/* Two steps (RFC 9113 6.8): first "no more, please", then, when what was on its way is here, the
 * true last stream. */
static void begin_leaving(session *s) {
    if (s->leaving || s->failed) return;
    s->leaving = true;
    nghttp2_submit_shutdown_notice(s->h2);
    schedule(s);
    if (!s->running) sp_io_again(&s->client.io);
}

static void leave_now(session *s) {
    s->left = true;
    nghttp2_submit_goaway(s->h2, 0, nghttp2_session_get_last_proc_stream_id(s->h2),
                          NGHTTP2_NO_ERROR, NULL, 0);
}

/* --- the machine --- */

static uint32_t code_of(ssize_t error) {
    if (error == NGHTTP2_ERR_FLOODED) return NGHTTP2_ENHANCE_YOUR_CALM;
    if (error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) return NGHTTP2_ENHANCE_YOUR_CALM;
    if (error == NGHTTP2_ERR_BAD_CLIENT_MAGIC) return NGHTTP2_PROTOCOL_ERROR;
    return NGHTTP2_INTERNAL_ERROR;
}

static void feed(session *s, sp_str bytes) {
    bool was_left = s->left;
    while (bytes.n && !s->failed) {
        uint8_t type;
        int32_t id;
        size_t n = sp_h2_scan_frame(&s->scan, bytes, &type, &id);
        ssize_t rc = nghttp2_session_mem_recv(s->h2, (const uint8_t *)bytes.p, n);
        if (rc < 0) give_up(s, code_of(rc));
        if (n < bytes.n) on_frame_header(s, type, id);
        bytes = sp_str_from(bytes, n);
    }
    if (s->left && !was_left) leave_now(s);
    schedule(s);
}

static bool read_some(session *s) {
    if (s->failed || s->client.out.n >= SP_H2_WIRE_HIGH) return false;
    if (!sp_sock_has_input(&s->client)) return false;
    sp_str bytes = sp_sock_read(s->s.worker, &s->client);
    if (!bytes.n) return false;
    feed(s, bytes);
    return true;
}

static bool step_ready(session *s) {
    bool moved = false;
    sp_list now;
    sp_list_init(&now);
    while (!sp_list_empty(&s->ready)) {
        sp_list *l = s->ready.next;
        sp_list_remove(l);
        sp_list_append(&now, l);
    }
    while (!sp_list_empty(&now)) {
        stream *st = SP_CONTAINER(now.next, stream, ready);
        sp_list_remove(&st->ready);
        int budget = STEPS_PER_STREAM;
        while (st->x && budget && sp_exchange_step(st->x)) budget--;
        if (st->x && !budget) mark_ready(st);
        moved = true;
    }
    return moved;
}

static bool send_some(session *s) {
    size_t before = s->client.out.n;
    uint64_t sent = s->client.sent;
    if (s->client.out.n < SP_H2_WIRE_HIGH && nghttp2_session_send(s->h2) != 0) s->failed = true;
    bool made = s->client.out.n > before;
    sp_sock_flush(s->s.worker, &s->client);
    return made && s->client.sent > sent;
}

static bool is_finished(session *s) {
    if (s->client.broken || s->client.failed) return true;
    if (s->client.eof && !sp_sock_has_input(&s->client)) return true;
    if (sp_sock_blocked(&s->client) || nghttp2_session_want_write(s->h2)) return false;
    if (s->failed || !nghttp2_session_want_read(s->h2)) return true;
    return s->left && !s->stream_count;
}

/* Requests that the last GOAWAY leaves out may be on their way. Closed now, the socket would answer
 * them with a reset, which makes clients fail before they have read that they may ask again. */
static void linger(session *s) {
    sp_sock *c = &s->client;
    if (!s->lingering) sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_LINGER);
    s->lingering = true;
    sp_sock_flush(s->s.worker, c);
    sp_sock_shutdown(s->s.worker, c);
    for (int budget = STEPS_PER_EVENT; budget && sp_sock_has_input(c); budget--)
        if (!sp_sock_read(s->s.worker, c).n) break;
    if (c->eof || c->failed || c->broken)
        end(s, c->failed || c->broken);
    else if (sp_sock_has_input(c))
        sp_io_again(&c->io);
}

static bool may_linger(const session *s) {
    return s->left && !s->failed && !s->client.eof && !s->client.failed && !s->client.broken;
}

static void run(session *s) {
    if (s->running || s->dead) return;
    if (s->lingering) {
        linger(s);
        return;
    }
    s->running = true;
    bool again = true;
    for (int budget = STEPS_PER_EVENT; again && budget > 0; budget--) {
        again = read_some(s);
        again |= step_ready(s);
        again |= send_some(s);
    }
    s->running = false;
    if (again) sp_io_again(&s->client.io);
    if (!is_finished(s)) return;
    if (may_linger(s))
        linger(s);
    else
        end(s, s->client.broken || s->client.failed);
}

static void on_event(sp_io *io) {
    session *s = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), session, client);
    if (io->error)
        end(s, true);
    else
        run(s);
}

static void check_stall(session *s) {
    bool moved = s->client.sent != s->sent_before;
    s->sent_before = s->client.sent;
    if (!moved && s->held + s->client.out.n >= SP_H2_STALL_BYTES) {
        end(s, true);
        return;
    }
    schedule(s);
}

static void on_alarm(sp_alarm *a) {
    session *s = SP_CONTAINER(a, session, alarm);
    if (s->failed || s->lingering) {
        end(s, s->failed);
    } else if (s->leaving && !s->left) {
        leave_now(s);
        schedule(s);
        run(s);
    } else if (s->in_headers) {
        give_up(s, NGHTTP2_ENHANCE_YOUR_CALM);
        run(s);
    } else if (s->stream_count) {
        check_stall(s);
    } else if (!s->left) { /* idle */
        s->leaving = true;
        leave_now(s);
        schedule(s);
        run(s);
    } else {
        end(s, false);
    }
}

static void stop(sp_session *base, bool force) {
    session *s = (session *)(void *)base;
    if (force)
        end(s, true);
    else
        begin_leaving(s);
}

/* --- the beginning --- */

static nghttp2_session_callbacks *cb; /* the same for all loops */

static void make_callbacks(void) {
    sp_assert(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
}

static const nghttp2_session_callbacks *callbacks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_callbacks);
    return cb;
}

static void open_session(session *s) {
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, SP_H2_MAX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, SP_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SP_H2_MAX_HEADER_BYTES},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    nghttp2_mem mem = sp_h2_mem(s->s.worker);
    nghttp2_option *option;
    sp_assert(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_continuations(option, SP_H2_CONTINUATIONS);
    nghttp2_option_set_stream_reset_rate_limit(option, 1000000, 1000000); /* ours is stricter */
    sp_assert(nghttp2_session_server_new3(&s->h2, callbacks(), s, option, &mem) == 0);
    nghttp2_option_del(option);
    nghttp2_submit_settings(s->h2, 0, settings, SP_COUNT(settings));
    nghttp2_session_set_local_window_size(s->h2, 0, 0, SP_H2_CONN_WINDOW);
}

void sp_front2_take(sp_session *from, sp_listener *l, sp_sock *client, sp_str bytes) {
    sp_worker *w = from->worker;
    session *s = sp_zalloc(1, sizeof *s);
    sp_session_open(&s->s, w, &from->client, &from->local);
    sp_session_count(&s->s, l);
    s->s.server_name = from->server_name;
    from->server_name = NULL;
    s->s.stop = stop;
    s->listener = l;
    l->refs++;
    sp_list_init(&s->streams);
    sp_list_init(&s->ready);
    sp_alarm_init(&s->alarm, on_alarm);
    sp_sock_take(&s->client, client, on_event);
    s->counted_in = s->client.received;
    s->counted_out = s->client.sent;
    s->budget_since_ms = sp_poller_now_ms(w->poller);
    s->scan.skip = PREFACE_BYTES;
    open_session(s);
    s->running = true; /* no event for each stream */
    feed(s, bytes);
    if (w->stopping) begin_leaving(s); /* it arrived before the end and shook hands during it */
    s->running = false;
    sp_io_again(&s->client.io); /* not from here: the caller is about to end its session */
}
