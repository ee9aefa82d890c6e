/* The client's side over HTTP/2 (RFC 9113) by nghttp2: many exchanges on one connection.
 *
 * Events only mark streams as ready; run reads what came, steps the exchanges that are ready, and
 * then lets nghttp2 make frames while the socket takes them. Windows open by what an endpoint has
 * taken, so a slow one holds back its own stream and, at the limit of the connection's window,
 * nobody's memory. */
#include "gateway/http_front2.h"

#include <pthread.h>

enum { STEPS_PER_EVENT = 32, STEPS_PER_STREAM = 8, PREFACE_BYTES = 24 };

static void run(sp_front2 *s);

/* --- the end --- */

void sp_front2_count(sp_front2 *s) {
    sp_worker_stats *st = &s->s.worker->stats;
    st->bytes_in += s->client.received - s->counted_in;
    st->bytes_out += s->client.sent - s->counted_out;
    s->counted_in = s->client.received;
    s->counted_out = s->client.sent;
}

static void free_streams(sp_front2 *s) {
    sp_list_each(&s->streams, l) {
        sp_front2_stream *st = SP_CONTAINER(l, sp_front2_stream, link);
        st->closed = true;
        sp_front2_free_stream(st);
    }
}

static void end(sp_front2 *s, bool reset) {
    if (s->dead) return;
    s->dead = true;
    free_streams(s);
    sp_front2_count(s);
    sp_alarm_stop(&s->alarm);
    nghttp2_session_del(s->h2);
    sp_h2_block_free(&s->block);
    sp_sock_close(s->s.worker, &s->client, reset);
    sp_listener_unref(s->listener);
    sp_session_close(&s->s);
}

void sp_front2_give_up(sp_front2 *s, uint32_t code) {
    if (s->failed) return;
    s->failed = true;
    nghttp2_session_terminate_session(s->h2, code);
}

void sp_front2_schedule(sp_front2 *s) {
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

/* --- what nghttp2 tells --- */

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    sp_front2 *s = ctx;
    (void)h2;
    sp_h2_block_clear(&s->block);
    s->last_id = SP_MAX(s->last_id, f->hd.stream_id);
    s->in_headers = true;
    return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *ctx) {
    sp_front2 *s = ctx;
    (void)h2, (void)f, (void)flags;
    sp_h2_block_add(&s->block, (sp_str){(const char *)name, name_n},
                    (sp_str){(const char *)value, value_n});
    if (s->block.wire_bytes > SP_H2_MAX_WIRE_HEADERS)
        sp_front2_give_up(s, NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
}

static void take_trailers(sp_front2_stream *st) {
    sp_front2 *s = st->s;
    if (!st->x) return;
    st->trailers_in = sp_h2_alloc(s->s.worker, sizeof *st->trailers_in);
    *st->trailers_in = s->block;
    s->block = (sp_h2_block){0};
}

static void take_headers(sp_front2 *s, const nghttp2_frame *f) {
    sp_front2_stream *st = nghttp2_session_get_stream_user_data(s->h2, f->hd.stream_id);
    bool last = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
    s->in_headers = false;
    if (st) {
        take_trailers(st);
        st->in_end |= last;
        sp_front2_mark_ready(st);
        return;
    }
    if (s->failed) return;
    sp_front2_begin(s, f->hd.stream_id, last);
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    sp_front2 *s = ctx;
    sp_front2_spend_on_frame(s, f);
    if (f->hd.type == NGHTTP2_HEADERS) {
        take_headers(s, f);
    } else if (f->hd.type == NGHTTP2_DATA && (f->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        sp_front2_stream *st = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
        if (st) {
            st->in_end = true;
            sp_front2_mark_ready(st);
        }
    } else if (f->hd.type == NGHTTP2_PING && (f->hd.flags & NGHTTP2_FLAG_ACK) && s->leaving) {
        s->left = true; /* the round trip is over: see run */
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *h2, const nghttp2_frame *f, int error, void *ctx) {
    sp_front2 *s = ctx;
    (void)h2, (void)error;
    if (f->hd.type == NGHTTP2_HEADERS) s->in_headers = false;
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *ctx) {
    sp_front2 *s = ctx;
    (void)flags;
    sp_front2_stream *st = nghttp2_session_get_stream_user_data(h2, id);
    if (!st || !st->x) { /* nobody wants it any more */
        nghttp2_session_consume(h2, id, n);
        return 0;
    }
    if (!st->in.p) st->in = sp_worker_take_buf(s->s.worker);
    sp_buf_add(&st->in, (sp_str){(const char *)p, n});
    st->received += n;
    sp_front2_mark_ready(st);
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *ctx) {
    sp_front2 *s = ctx;
    (void)code;
    sp_front2_stream *st = nghttp2_session_get_stream_user_data(h2, id);
    sp_front2_remember(s, id, st && (st->in_end || st->reset_by_client));
    if (!st) return 0;
    st->closed = true;
    sp_front2_free_stream(st);
    return 0;
}

/* The answer is out, the request is not all in: the rest is not wanted (RFC 9113 8.1). Still it is
 * read for a while, as on an HTTP/1.1 connection, because there are clients that take the reset for
 * a failure and lose the answer. */
static int on_frame_sent(nghttp2_session *h2, const nghttp2_frame *f, void *ctx) {
    sp_front2 *s = ctx;
    s->credit += 2; /* each of ours may be answered */
    if (f->hd.type == NGHTTP2_GOAWAY && s->leaving && !s->left)
        nghttp2_submit_ping(h2, 0, NULL); /* behind it: nghttp2 would send it first */
    if (f->hd.type == NGHTTP2_RST_STREAM && f->rst_stream.error_code != NGHTTP2_NO_ERROR)
        sp_front2_spend(s, &s->resets, SP_H2_RESETS);
    bool with_end = f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS;
    if (!with_end || !(f->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    sp_front2_stream *st = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
    if (st && !st->in_end) sp_alarm_start(s->s.worker->poller, &st->linger, SP_TIMEOUT_LINGER);
    return 0;
}

/* --- frames out --- */

static ssize_t send_bytes(nghttp2_session *h2, const uint8_t *p, size_t n, int flags, void *ctx) {
    sp_front2 *s = ctx;
    (void)h2, (void)flags;
    return sp_h2_send(s->s.worker, &s->client, p, n);
}

/* --- leaving --- */

void sp_front2_begin_leaving(sp_front2 *s) {
    if (s->leaving || s->failed) return;
    s->leaving = true;
    nghttp2_submit_shutdown_notice(s->h2);
    sp_front2_schedule(s);
    if (!s->running) sp_io_again(&s->client.io);
}

static void leave_now(sp_front2 *s) {
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

static void feed(sp_front2 *s, sp_str bytes) {
    bool was_left = s->left;
    while (bytes.n && !s->failed) {
        uint8_t type;
        int32_t id;
        size_t n = sp_h2_scan_frame(&s->scan, bytes, &type, &id);
        ssize_t rc = nghttp2_session_mem_recv(s->h2, (const uint8_t *)bytes.p, n);
        if (rc < 0) sp_front2_give_up(s, code_of(rc));
        if (n < bytes.n) sp_front2_on_frame_header(s, type, id);
        bytes = sp_str_from(bytes, n);
    }
    if (s->left && !was_left) leave_now(s);
    sp_front2_schedule(s);
}

static bool read_some(sp_front2 *s) {
    if (s->failed || s->client.out.n >= SP_H2_WIRE_HIGH) return false;
    if (!sp_sock_has_input(&s->client)) return false;
    sp_str bytes = sp_sock_read(s->s.worker, &s->client);
    if (!bytes.n) return false;
    feed(s, bytes);
    return true;
}

static bool step_ready(sp_front2 *s) {
    bool moved = false;
    sp_list now;
    sp_list_init(&now);
    while (!sp_list_empty(&s->ready)) {
        sp_list *l = s->ready.next;
        sp_list_remove(l);
        sp_list_append(&now, l);
    }
    while (!sp_list_empty(&now)) {
        sp_front2_stream *st = SP_CONTAINER(now.next, sp_front2_stream, ready);
        sp_list_remove(&st->ready);
        int budget = STEPS_PER_STREAM;
        while (st->x && budget && sp_exchange_step(st->x)) budget--;
        if (st->x && !budget) sp_front2_mark_ready(st);
        moved = true;
    }
    return moved;
}

static bool send_some(sp_front2 *s) {
    size_t before = s->client.out.n;
    uint64_t sent = s->client.sent;
    if (s->client.out.n < SP_H2_WIRE_HIGH && nghttp2_session_send(s->h2) != 0) s->failed = true;
    bool made = s->client.out.n > before;
    sp_sock_flush(s->s.worker, &s->client);
    return made && s->client.sent > sent;
}

static bool is_finished(sp_front2 *s) {
    if (s->client.broken || s->client.failed) return true;
    if (s->client.eof && !sp_sock_has_input(&s->client)) return true;
    if (sp_sock_blocked(&s->client) || nghttp2_session_want_write(s->h2)) return false;
    if (s->failed || !nghttp2_session_want_read(s->h2)) return true;
    return s->left && !s->stream_count;
}

/* Requests that the last GOAWAY leaves out may be on their way. Closed now, the socket would answer
 * them with a reset, which makes clients fail before they have read that they may ask again, or
 * what was wrong with them. */
static void linger(sp_front2 *s) {
    sp_sock *c = &s->client;
    if (!s->lingering) {
        sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_LINGER);
        free_streams(s);
        s->lingering = true;
    }
    sp_sock_flush(s->s.worker, c);
    sp_sock_shutdown(s->s.worker, c);
    for (int budget = STEPS_PER_EVENT; budget && sp_sock_has_input(c); budget--)
        if (!sp_sock_read(s->s.worker, c).n) break;
    if (c->eof || c->failed || c->broken)
        end(s, c->failed || c->broken);
    else if (sp_sock_has_input(c))
        sp_io_again(&c->io);
}

static bool may_linger(const sp_front2 *s) {
    bool told = s->left || s->failed;
    return told && !s->client.eof && !s->client.failed && !s->client.broken;
}

static void run(sp_front2 *s) {
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
    sp_front2 *s = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), sp_front2, client);
    if (io->error)
        end(s, true);
    else
        run(s);
}

static void check_stall(sp_front2 *s) {
    bool moved = s->client.sent != s->sent_before;
    s->sent_before = s->client.sent;
    bool stalled = !moved && s->held + s->client.out.n >= SP_H2_STALL_BYTES;
    if (stalled || sp_sock_vanished(&s->client)) {
        end(s, true);
        return;
    }
    sp_front2_schedule(s);
}

static void on_alarm(sp_alarm *a) {
    sp_front2 *s = SP_CONTAINER(a, sp_front2, alarm);
    if (s->failed || s->lingering) {
        end(s, s->failed);
    } else if (s->leaving && !s->left) {
        leave_now(s);
        sp_front2_schedule(s);
        run(s);
    } else if (s->in_headers) {
        sp_front2_give_up(s, NGHTTP2_ENHANCE_YOUR_CALM);
        run(s);
    } else if (s->stream_count) {
        check_stall(s);
    } else if (!s->left) { /* idle */
        s->leaving = true;
        leave_now(s);
        sp_front2_schedule(s);
        run(s);
    } else {
        end(s, false);
    }
}

static void stop(sp_session *base, bool force) {
    sp_front2 *s = (sp_front2 *)(void *)base;
    if (force)
        end(s, true);
    else
        sp_front2_begin_leaving(s);
}

static void end_cut_streams(const sp_front2 *s) {
    sp_list_each(&s->streams, l) {
        sp_exchange *x = SP_CONTAINER(l, sp_front2_stream, link)->x;
        if (!x || !x->tunnel || !x->backend || x->back->upstream(x)->cuts == x->dial.cuts) continue;
        sp_exchange_hold(x);
        sp_exchange_fail(x, 502, "the endpoint is gone");
        sp_exchange_let_go(x);
    }
}

void sp_front2_end_cut(sp_worker *w) {
    sp_list_each(&w->sessions, l) {
        sp_session *s = SP_CONTAINER(l, sp_session, link);
        if (s->stop == stop) end_cut_streams((sp_front2 *)(void *)s);
    }
}

/* --- the beginning --- */

static nghttp2_session_callbacks *cb; /* the same for all loops */

static void make_callbacks(void) {
    cb = sp_h2_callbacks();
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, sp_front2_send_data);
}

static const nghttp2_session_callbacks *callbacks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_callbacks);
    return cb;
}

static void open_session(sp_front2 *s) {
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, SP_H2_MAX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, SP_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SP_H2_MAX_HEADER_BYTES},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    nghttp2_mem mem = sp_h2_mem(s->s.worker);
    nghttp2_option *option = sp_h2_options();
    nghttp2_option_set_stream_reset_rate_limit(option, 1000000, 1000000); /* ours is stricter */
    sp_assert(nghttp2_session_server_new3(&s->h2, callbacks(), s, option, &mem) == 0);
    nghttp2_option_del(option);
    nghttp2_submit_settings(s->h2, 0, settings, SP_COUNT(settings));
    nghttp2_session_set_local_window_size(s->h2, 0, 0, SP_H2_CONN_WINDOW);
}

void sp_front2_take(sp_session *from, sp_listener *l, sp_sock *client, sp_str bytes) {
    sp_worker *w = from->worker;
    sp_front2 *s = sp_zalloc(1, sizeof *s);
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
    s->running = true; /* no event for each sp_front2_stream */
    feed(s, bytes);
    if (w->stopping)
        sp_front2_begin_leaving(s); /* it arrived before the end and shook hands during it */
    s->running = false;
    sp_io_again(&s->client.io); /* not from here: the caller is about to end its sp_front2 */
}
