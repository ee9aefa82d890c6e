/* The endpoint's side over HTTP/2: many exchanges as streams of few connections, which their
 * upstream lists. As in front, events mark streams, and frames are made once per turn; what arrives
 * for a stream waits in it, within its window, until the exchange pumps it. */
#include "base/clock.h"
#include "gateway/http_h2.h"

#include <pthread.h>
#include <stdio.h>

enum {
    MAX_STREAMS = 100, /* of ours on one connection, if the endpoint does not say less */
    STEPS_PER_EVENT = 16,
    SILENT_MS = 1000, /* a stream was given up after at least so long without a byte for anybody */
    WATCH_MS = 5000
};

typedef struct conn {
    sp_sock sock;
    sp_worker *worker;
    sp_upstream *upstream; /* referenced */
    nghttp2_session *h2;
    sp_list link;    /* upstream->h2 */
    sp_list streams; /* stream.link */
    sp_list ready;   /* stream.ready: woken when the bytes being read are used up */
    size_t count;
    sp_h2_block block;
    sp_alarm alarm; /* while no stream is on it: its age; else: is the peer still there? */
    int64_t heard_ms;
    bool running, dead;
    bool leaving; /* takes no new streams: GOAWAY, or out of them */
    bool used;
    sp_addr client; /* it was made for; counts where the pool sends PROXY headers */
} conn;

typedef struct stream {
    conn *c;
    sp_exchange *x;
    sp_list link, ready;
    int32_t id; /* 0: refused before it was sent */
    int64_t since_ms;
    sp_upstream *upstream; /* referenced and counted open */
    sp_h2_block head;      /* of the answer, when has_head */
    sp_h2_block trailers;
    sp_buf in;
    sp_h2_out out;
    bool has_head, head_last; /* head_last: it ended the stream */
    bool final_seen;          /* not only 1xx */
    bool in_end;
    bool closed, refused; /* refused: the endpoint did nothing with it */
    bool reused;
} stream;

static void run(conn *c);

static void soon(conn *c) {
    if (!c->running && !c->dead) sp_io_again(&c->sock.io);
}

static void mark_ready(stream *st) {
    if (!st->c || !sp_list_empty(&st->ready)) return;
    sp_list_append(&st->c->ready, &st->ready);
    soon(st->c);
}

/* Not from nghttp2's callbacks: who is woken may read, into the same scratch. */
static void wake_ready(conn *c) {
    while (!sp_list_empty(&c->ready)) {
        stream *st = SP_CONTAINER(c->ready.next, stream, ready);
        sp_list_remove(&st->ready);
        st->x->front->wake(st->x);
    }
}

/* --- the end --- */

static void count_bytes(conn *c) {
    c->upstream->counts.bytes_in += c->sock.sent;
    c->upstream->counts.bytes_out += c->sock.received;
    c->sock.sent = c->sock.received = 0;
}

static void close_conn(conn *c) {
    if (c->dead) return;
    count_bytes(c);
    c->dead = true;
    sp_list_remove(&c->link);
    sp_alarm_stop(&c->alarm);
    while (!sp_list_empty(&c->streams)) {
        stream *st = SP_CONTAINER(c->streams.next, stream, link);
        sp_list_remove(&st->link);
        sp_list_remove(&st->ready);
        sp_list_append(&c->ready, &st->ready);
        st->c = NULL;
        st->closed = true;
    }
    wake_ready(c);
    nghttp2_session_del(c->h2);
    sp_h2_block_free(&c->block);
    sp_sock_close(c->worker, &c->sock, false);
    sp_upstream_unref(c->upstream);
    sp_poller_bury(c->worker->poller, c);
}

static void watch(conn *c) {
    sp_alarm_after(c->worker->poller, &c->alarm, WATCH_MS);
}

/* Many requests depend on it, and the kernel would go on for a quarter of an hour. */
static void on_alarm(sp_alarm *a) {
    conn *c = SP_CONTAINER(a, conn, alarm);
    if (!c->count || sp_sock_vanished(&c->sock))
        close_conn(c);
    else
        watch(c);
}

/* Somebody gave up waiting, and nobody else has heard anything either: perhaps the way is cut.
 * Those who are on it may wait; others connect anew, which is told soon when it cannot be done. */
static void avoid_silence(conn *c, const stream *st) {
    int64_t now = sp_poller_now_ms(c->worker->poller);
    if (now - SP_MAX(c->heard_ms, st->since_ms) >= SILENT_MS) c->leaving = true;
}

void sp_upstream_close_streams(sp_upstream *u) {
    sp_upstream_ref(u);
    sp_list_each(&u->h2, l) {
        conn *c = SP_CONTAINER(l, conn, link);
        c->leaving = true;
        if (!c->count) close_conn(c);
    }
    sp_upstream_unref(u);
}

static void rest(conn *c) {
    if (c->count || c->dead) return;
    count_bytes(c);
    bool keep = !c->leaving && c->upstream->e.ready && !c->worker->stopping;
    if (keep)
        sp_alarm_start(c->worker->poller, &c->alarm, SP_TIMEOUT_POOLED);
    else
        c->leaving = true; /* run closes it */
    soon(c);
}

/* --- what nghttp2 tells --- */

static stream *find(nghttp2_session *h2, int32_t id) {
    return nghttp2_session_get_stream_user_data(h2, id);
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    (void)h2, (void)f;
    sp_h2_block_clear(&((conn *)ctx)->block);
    return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *ctx) {
    conn *c = ctx;
    (void)h2, (void)f, (void)flags;
    sp_h2_block_add(&c->block, (sp_str){(const char *)name, name_n},
                    (sp_str){(const char *)value, value_n});
    return c->block.wire_bytes > SP_H2_MAX_WIRE_HEADERS ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void swap_blocks(sp_h2_block *a, sp_h2_block *b) {
    sp_h2_block t = *a;
    *a = *b;
    *b = t;
}

/* An interim head that was not passed on yet gives way to the next one. */
static void take_block(conn *c, stream *st, const nghttp2_frame *f) {
    bool last = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
    bool trailers = f->headers.cat == NGHTTP2_HCAT_HEADERS && last && st->final_seen;
    if (trailers) {
        swap_blocks(&st->trailers, &c->block);
    } else {
        swap_blocks(&st->head, &c->block);
        st->has_head = true;
        st->head_last = last;
        bool interim =
            st->head.fields.n && sp_str_starts(sp_buf_str(&st->head.text), SP_STR(":status1"));
        st->x->answer_seen = st->final_seen = !interim;
    }
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    conn *c = ctx;
    stream *st = f->hd.stream_id ? find(h2, f->hd.stream_id) : NULL;
    if (f->hd.type == NGHTTP2_GOAWAY) c->leaving = true;
    if (!st) return 0;
    if (f->hd.type == NGHTTP2_HEADERS) take_block(c, st, f);
    if (f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA)
        st->in_end |= (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    mark_ready(st);
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *ctx) {
    conn *c = ctx;
    stream *st = find(h2, id);
    (void)flags;
    if (!st) {
        nghttp2_session_consume(h2, id, n);
        return 0;
    }
    if (!st->in.p) st->in = sp_worker_take_buf(c->worker);
    sp_buf_add(&st->in, (sp_str){(const char *)p, n});
    mark_ready(st);
    return 0;
}

/* nghttp2 closes the streams above a GOAWAY's last one as refused, too. */
static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *ctx) {
    conn *c = ctx;
    stream *st = find(h2, id);
    if (!st) return 0;
    st->closed = true;
    st->refused = code == NGHTTP2_REFUSED_STREAM;
    if (st->in.n) nghttp2_session_consume_connection(h2, st->in.n);
    mark_ready(st);
    sp_list_remove(&st->link);
    c->count--;
    st->c = NULL;
    rest(c);
    return 0;
}

/* --- frames out --- */

static ssize_t send_bytes(nghttp2_session *h2, const uint8_t *p, size_t n, int flags, void *ctx) {
    conn *c = ctx;
    (void)h2, (void)flags;
    return sp_h2_send(c->worker, &c->sock, p, n);
}

static ssize_t read_out(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
                        nghttp2_data_source *source, void *ctx) {
    stream *st = find(h2, id); /* the one that was submitted may be detached */
    (void)source, (void)buf, (void)ctx;
    return st ? sp_h2_out_read(&st->out, h2, id, cap, flags)
              : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int send_data(nghttp2_session *h2, nghttp2_frame *f, const uint8_t *head, size_t n,
                     nghttp2_data_source *source, void *ctx) {
    conn *c = ctx;
    (void)source;
    stream *st = find(h2, f->hd.stream_id);
    if (c->sock.out.n >= SP_H2_WIRE_HIGH) return NGHTTP2_ERR_WOULDBLOCK;
    if (!st) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (sp_h2_out_send(c->worker, &st->out, &c->sock, head, n)) mark_ready(st);
    return 0;
}

/* --- the machine --- */

static bool read_some(conn *c) {
    if (!sp_sock_has_input(&c->sock)) return false;
    sp_str bytes = sp_sock_read(c->worker, &c->sock);
    if (!bytes.n) return false;
    c->heard_ms = sp_poller_now_ms(c->worker->poller);
    if (nghttp2_session_mem_recv(c->h2, (const uint8_t *)bytes.p, bytes.n) < 0)
        c->sock.failed = true;
    return true;
}

static void run(conn *c) {
    if (c->running || c->dead) return;
    c->running = true;
    bool again = true;
    for (int budget = STEPS_PER_EVENT; again && budget > 0 && !c->sock.failed; budget--) {
        again = read_some(c);
        wake_ready(c);
    }
    if (c->sock.out.n < SP_H2_WIRE_HIGH && nghttp2_session_send(c->h2) != 0) c->sock.failed = true;
    sp_sock_flush(c->worker, &c->sock);
    wake_ready(c);
    c->running = false;
    bool over = c->sock.failed || c->sock.broken || c->sock.io.error || c->sock.eof ||
                !(nghttp2_session_want_read(c->h2) || nghttp2_session_want_write(c->h2));
    if (over || (c->leaving && !c->count && !nghttp2_session_want_write(c->h2)))
        close_conn(c);
    else if (again || (nghttp2_session_want_write(c->h2) && !sp_sock_blocked(&c->sock)))
        sp_io_again(&c->sock.io);
}

static void on_event(sp_io *io) {
    run(SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), conn, sock));
}

/* --- the beginning --- */

static nghttp2_session_callbacks *cb; /* the same for all loops */

static void make_callbacks(void) {
    cb = sp_h2_callbacks();
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
}

static const nghttp2_session_callbacks *callbacks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_callbacks);
    return cb;
}

static void open_session(conn *c) {
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, SP_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SP_H2_MAX_HEADER_BYTES},
    };
    nghttp2_mem mem = sp_h2_mem(c->worker);
    nghttp2_option *option = sp_h2_options();
    sp_assert(nghttp2_session_client_new3(&c->h2, callbacks(), c, option, &mem) == 0);
    nghttp2_option_del(option);
    nghttp2_submit_settings(c->h2, 0, settings, SP_COUNT(settings));
    nghttp2_session_set_local_window_size(c->h2, 0, 0, 4 * SP_H2_CONN_WINDOW);
}

static bool has_room(const conn *c) {
    uint32_t theirs =
        nghttp2_session_get_remote_settings(c->h2, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return !c->leaving && !c->dead && c->count < SP_MIN(theirs, (uint32_t)MAX_STREAMS);
}

static conn *find_conn(const sp_exchange *x, const sp_upstream *u) {
    sp_list_each(&u->h2, l) {
        conn *c = SP_CONTAINER(l, conn, link);
        bool ours = !x->pool->send_proxy || sp_addr_eq(&c->client, &x->client_addr);
        if (ours && has_room(c)) return c;
    }
    return NULL;
}

static void attach(sp_exchange *x, conn *c) {
    stream *st = sp_h2_alloc(x->worker, sizeof *st);
    st->c = c;
    st->x = x;
    st->upstream = x->dial.upstream;
    x->dial.upstream = NULL;
    st->reused = c->used;
    c->used = true;
    st->since_ms = sp_poller_now_ms(x->worker->poller);
    if (c->count++ == 0) watch(c);
    sp_list_init(&st->link);
    sp_list_init(&st->ready);
    sp_list_append(&c->streams, &st->link);
    x->backend = st;
    x->back = &sp_back2;
}

bool sp_back2_claim(sp_exchange *x) {
    x->claimed = find_conn(x, x->dial.upstream);
    if (x->claimed) x->worker->stats.upstream_reused++;
    return x->claimed != NULL;
}

void sp_back2_attach(sp_exchange *x) {
    conn *c = x->claimed;
    x->claimed = NULL;
    attach(x, c);
}

/* Others may have dialled meanwhile: one connection is enough. */
void sp_back2_open(sp_exchange *x) {
    conn *c = find_conn(x, x->dial.upstream);
    if (c) {
        sp_sock_close(x->worker, &x->dial.sock, false);
        attach(x, c);
        return;
    }
    c = sp_zalloc(1, sizeof *c);
    c->worker = x->worker;
    c->client = x->client_addr;
    c->upstream = x->dial.upstream;
    sp_upstream_ref(c->upstream);
    sp_list_init(&c->streams);
    sp_list_init(&c->ready);
    sp_list_init(&c->link);
    sp_list_append(&c->upstream->h2, &c->link);
    sp_alarm_init(&c->alarm, on_alarm);
    sp_sock_take(&c->sock, &x->dial.sock, on_event);
    open_session(c);
    attach(x, c);
}

/* --- the back of an exchange --- */

static size_t request_fields(sp_exchange *x, sp_buf *lines, sp_buf *target, nghttp2_nv *nv,
                             char length[21]) {
    sp_str host = sp_http_backend_host(&x->hop);
    stream *st = x->backend;
    size_t n = 0;
    if (!host.p) { /* an edit sets it */
        const sp_header_edit *e = &x->hop.entry->action->request;
        host = sp_headers_get(e->set, e->set_count, "host");
    }
    sp_http_write_target(target, &x->request, &x->hop);
    sp_http_write_request_fields(lines, &x->request, &x->hop);
    nv[n++] = sp_h2_field(SP_STR(":method"), x->request.method);
    nv[n++] = sp_h2_field(SP_STR(":scheme"),
                          sp_sock_is_tls(&st->c->sock) ? SP_STR("https") : SP_STR("http"));
    nv[n++] = sp_h2_field(SP_STR(":authority"), host);
    nv[n++] = sp_h2_field(SP_STR(":path"), sp_buf_str(target));
    size_t first = n;
    n += sp_h2_fields(sp_buf_str(lines), nv + n, SP_H2_MAX_NV - 8);
    for (size_t i = n; i-- > first;)
        if (nv[i].namelen == 4 && !memcmp(nv[i].name, "host", 4)) nv[i] = nv[--n];
    if (x->hop.trailers) nv[n++] = sp_h2_field(SP_STR("te"), SP_STR("trailers"));
    if (sp_http_request_has_length(&x->request)) {
        int digits = snprintf(length, 21, "%llu", (unsigned long long)x->request.length);
        nv[n++] = sp_h2_field(SP_STR("content-length"), (sp_str){length, (size_t)digits});
    }
    return n;
}

static void send_head(sp_exchange *x) {
    stream *st = x->backend;
    conn *c = st->c;
    nghttp2_nv nv[SP_H2_MAX_NV];
    char length[21];
    sp_auto(sp_buf) lines = sp_worker_take_buf(x->worker);
    sp_auto(sp_buf) target = sp_worker_take_buf(x->worker);
    size_t n = request_fields(x, &lines, &target, nv, length);
    nghttp2_data_provider body = {.read_callback = read_out};
    bool none = x->request.framing == SP_H1_NO_BODY;
    int32_t id = nghttp2_submit_request(c->h2, NULL, nv, n, none ? NULL : &body, st);
    sp_worker_give_buf(x->worker, &lines);
    sp_worker_give_buf(x->worker, &target);
    if (id > 0) {
        st->id = id;
    } else { /* out of streams: others go elsewhere, and this one, too */
        c->leaving = true;
        st->closed = st->refused = true;
        mark_ready(st);
    }
    soon(c);
}

static void resume(stream *st) {
    if (!st->c) return;
    sp_h2_out_resume(&st->out, st->c->h2, st->id);
    soon(st->c);
}

static void send_piece(sp_exchange *x, sp_str piece) {
    stream *st = x->backend;
    if (!piece.n || st->closed) return;
    sp_h2_out_add(x->worker, &st->out, piece);
    resume(st);
}

static void send_end(sp_exchange *x, sp_str trailers) {
    stream *st = x->backend;
    if (st->closed) return;
    sp_buf_add(&st->out.trailers, trailers);
    st->out.end = true;
    resume(st);
}

static void flush(sp_exchange *x) {
    (void)x; /* run does, for all streams at once */
}

static bool blocked(sp_exchange *x) {
    const stream *st = x->backend;
    return sp_h2_out_waits(&st->out) >= SP_H2_OUT_HIGH || st->closed;
}

static bool reused(sp_exchange *x) {
    return ((stream *)x->backend)->reused;
}

static sp_upstream *upstream(sp_exchange *x) {
    return ((stream *)x->backend)->upstream;
}

/* False: nothing behind the head is to be passed on now. */
static bool pass_head(sp_exchange *x, stream *st) {
    sp_h1_head *h = &x->worker->answer;
    sp_h1_error err = {0};
    st->has_head = false;
    if (!sp_h2_parse_answer(&st->head, st->head_last, x->to_head, h, &err)) {
        sp_exchange_bad_answer(x, err.text);
        return false;
    }
    if (h->status == 101) {
        sp_exchange_bad_answer(x, "101 does not exist in HTTP/2");
        return false;
    }
    if (h->status >= 200)
        sp_upstream_answered(st->upstream, h->status, (sp_clock_mono_us() - x->started_us) / 1000);
    return sp_exchange_answer(x, h) && x->answer_begun;
}

static void pass_data(sp_exchange *x, stream *st) {
    sp_buf piece = st->in;
    st->in = (sp_buf){0};
    sp_exchange_answer_data(x, sp_buf_str(&piece));
    if (st->c) {
        nghttp2_session_consume(st->c->h2, st->id, piece.n);
        soon(st->c);
    }
    sp_worker_give_buf(x->worker, &piece);
}

static void pass_end(sp_exchange *x, stream *st) {
    sp_auto(sp_buf) lines = {0};
    sp_h2_write_trailers(&st->trailers, &lines);
    sp_exchange_answer_end(x, sp_buf_str(&lines));
}

static bool pump(sp_exchange *x) {
    stream *st = x->backend;
    bool moved = st->has_head || st->in.n;
    if (st->has_head && !pass_head(x, st)) return true;
    if (st->in.n) pass_data(x, st);
    if (sp_exchange_is_over(x)) return true;
    if (st->in_end && x->answer_begun) {
        pass_end(x, st);
        return true;
    }
    if (!st->closed) return moved;
    if (st->refused)
        sp_exchange_refused(x);
    else
        sp_exchange_backend_lost(x);
    return true;
}

static void leave(sp_exchange *x) {
    stream *st = x->backend;
    conn *c = st->c;
    x->backend = NULL;
    sp_list_remove(&st->ready);
    if (c) {
        avoid_silence(c, st);
        sp_list_remove(&st->link);
        c->count--;
        if (st->in.n) nghttp2_session_consume(c->h2, st->id, st->in.n);
        if (st->id) {
            nghttp2_session_set_stream_user_data(c->h2, st->id, NULL);
            nghttp2_submit_rst_stream(c->h2, 0, st->id, NGHTTP2_CANCEL);
        }
        rest(c);
        soon(c);
    }
    sp_upstream_release(st->upstream);
    sp_worker_give_buf(x->worker, &st->in);
    sp_h2_out_free(x->worker, &st->out);
    sp_h2_block_free(&st->head);
    sp_h2_block_free(&st->trailers);
    sp_h2_free(x->worker, st);
}

const sp_back sp_back2 = {
    .send = send_head,
    .data = send_piece,
    .end = send_end,
    .flush = flush,
    .blocked = blocked,
    .pump = pump,
    .reused = reused,
    .upstream = upstream,
    .leave = leave,
};
