/* The client's side over HTTP/1.1: one exchange at a time. One function, run, looks at the state
 * and does whatever can be done now; every event, of either socket or a timer, ends in it. */
#include "gateway/http_h2.h"

#include <unistd.h>

enum { STEPS_PER_EVENT = 32 };

typedef enum state {
    HEAD, /* between requests, or reading a head */
    EXCHANGE,
    CLOSING, /* sending the rest, then FIN */
    LINGER   /* reading until the client is done too, so that our answer survives */
} state;

typedef struct session {
    sp_session s; /* first: buried by its address */
    sp_listener *listener;
    sp_sock client;
    sp_alarm alarm; /* while no exchange keeps the time */
    sp_h1_scan scan;
    sp_h1_body body; /* the request's */
    sp_exchange *x;  /* NULL between requests */
    state state;
    bool used;    /* had a request, so it is HTTP/1.1 */
    bool in_head; /* the first byte of a head is here */
    bool linger;  /* the client may still be sending */
    bool running, dead;
    uint64_t counted_in, counted_out; /* of the socket's bytes, in statistics and log */
} session;

static void run(session *s);

/* --- the end --- */

static void count_bytes(session *s, uint64_t *ret_in, uint64_t *ret_out) {
    sp_worker_stats *st = &s->s.worker->stats;
    *ret_in = s->client.received - s->counted_in;
    *ret_out = s->client.sent - s->counted_out;
    s->counted_in = s->client.received;
    s->counted_out = s->client.sent;
    st->bytes_in += *ret_in;
    st->bytes_out += *ret_out;
    *ret_out += s->client.out.n;
}

static void end(session *s, bool reset) {
    uint64_t in, out;
    if (s->dead) return;
    s->dead = true;
    count_bytes(s, &in, &out);
    sp_alarm_stop(&s->alarm);
    sp_sock_close(s->s.worker, &s->client, reset);
    sp_listener_unref(s->listener);
    sp_session_close(&s->s);
}

static void start_alarm(session *s, uint32_t ms, sp_timeout usual) {
    sp_alarm_start_or(s->s.worker->poller, &s->alarm, ms, usual);
}

/* A client that was told to keep the connection may have its next request on the way. */
static void await_next(session *s) {
    sp_worker *w = s->s.worker;
    const sp_listener_spec *l = s->listener->spec;
    if (w->stopping)
        sp_alarm_after(w->poller, &s->alarm, w->last_request_ms);
    else
        start_alarm(s, l ? l->keep_alive_timeout_ms : 0, SP_TIMEOUT_IDLE);
}

static void await_head(session *s) {
    s->state = HEAD;
    s->scan = (sp_h1_scan){0};
    s->in_head = false;
    await_next(s);
}

static void begin_closing(session *s) {
    s->state = CLOSING;
    sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_STREAM);
}

/* --- the front of an exchange --- */

static void wake(sp_exchange *x) {
    run(x->client);
}

static bool take_body(session *s, sp_str bytes) {
    sp_exchange *x = s->x;
    sp_h1_error err = {0};
    while (!sp_exchange_is_over(x)) {
        sp_str piece;
        switch (sp_h1_body_next(&s->body, &bytes, &piece, &err)) {
        case SP_H1_DATA: sp_exchange_body(x, piece); continue;
        case SP_H1_NEED: x->back->flush(x); return true;
        case SP_H1_BROKEN:
            sp_exchange_fail(x, err.status, "broken request body: %s", err.text);
            return true;
        case SP_H1_END:
            sp_sock_unread(s->s.worker, &s->client, bytes);
            sp_exchange_body_end(x, sp_buf_str(&x->request_trailers));
            x->back->flush(x);
            return true;
        }
    }
    return true;
}

static bool pump(sp_exchange *x) {
    session *s = x->client;
    if (!sp_sock_has_input(&s->client)) return false;
    sp_str bytes = sp_sock_read(s->s.worker, &s->client);
    if (bytes.n) return take_body(s, bytes);
    if (!s->client.eof && !s->client.failed) return false;
    sp_exchange_client_gone(x);
    return true;
}

static bool blocked(sp_exchange *x) {
    return sp_sock_blocked(&((session *)x->client)->client);
}

static bool gone(sp_exchange *x) {
    const session *s = x->client;
    return s->client.broken || s->client.io.error;
}

static void write_head(sp_exchange *x, const sp_h1_head *h, const sp_http_edit *edit) {
    session *s = x->client;
    sp_http_write_answer(sp_sock_out(s->s.worker, &s->client), h, edit, x->answer_as,
                         x->request.minor, x->keep_client);
}

static void write_data(sp_exchange *x, sp_str piece) {
    session *s = x->client;
    sp_h1_write_piece(s->s.worker, &s->client, piece, x->answer_as == SP_BODY_CHUNKED);
}

static void write_end(sp_exchange *x, sp_str trailers) {
    session *s = x->client;
    if (x->answer_as != SP_BODY_CHUNKED) return;
    sp_sock_add(s->s.worker, &s->client, SP_STR("0\r\n"));
    if (x->hop.trailers) sp_sock_add(s->s.worker, &s->client, trailers);
    sp_sock_add(s->s.worker, &s->client, SP_STR("\r\n"));
}

static void flush(sp_exchange *x) {
    session *s = x->client;
    s->client.ending = x->answer_done && !x->keep_client;
    sp_sock_flush(s->s.worker, &s->client);
}

static sp_sock *own_socket(sp_exchange *x) {
    return &((session *)x->client)->client;
}

static void over(sp_exchange *x, sp_over how) {
    session *s = x->client;
    s->x = NULL;
    s->linger = !x->request_done;
    if (how != SP_OVER_DONE)
        end(s, how == SP_OVER_CUT);
    else if (x->keep_client && x->request_done)
        await_head(s);
    else
        begin_closing(s);
    if (!s->dead && !s->running) sp_io_again(&s->client.io);
}

static void count(sp_exchange *x, uint64_t *ret_in, uint64_t *ret_out) {
    count_bytes(x->client, ret_in, ret_out);
}

static const sp_front front1 = {
    .wake = wake,
    .pump = pump,
    .blocked = blocked,
    .gone = gone,
    .head = write_head,
    .data = write_data,
    .end = write_end,
    .flush = flush,
    .over = over,
    .socket = own_socket,
    .count = count,
};

/* --- heads --- */

static sp_exchange *begin_exchange(session *s, sp_str head) {
    sp_exchange *x = s->x = sp_exchange_new(&front1, s, &s->s, s->listener);
    sp_buf_add(&x->head, head);
    s->state = EXCHANGE;
    s->used = true;
    sp_alarm_stop(&s->alarm);
    return x;
}

static void take_head(session *s, sp_str head) {
    sp_h1_error err = {0};
    sp_exchange *x = begin_exchange(s, head);
    if (!sp_h1_parse_request(x->head.p, x->head.n, &x->request, &err)) {
        sp_exchange_fail(x, err.status, "%s", err.text);
        return;
    }
    x->keep_client = x->request.keep_alive;
    x->hop.tls = sp_sock_is_tls(&s->client);
    x->hop.client_cert = sp_sock_client_cert(&s->client, &x->hop.client_cert_error);
    sp_h1_body_start(&s->body, &x->request);
    s->body.trailers = &x->request_trailers;
    sp_exchange_begin(x, s->s.server_name);
}

static void refuse_head(session *s, int status, const char *why) {
    sp_exchange_fail(begin_exchange(s, (sp_str){0}), status, "%s", why);
}

/* HTTP/2 by prior knowledge (RFC 9113 3.3), or by ALPN: both begin with the same bytes. True: they
 * are used up, or kept until it is clear. */
static bool take_preface(session *s, sp_str bytes) {
    static const sp_str preface = SP_STR_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    size_t n = SP_MIN(bytes.n, preface.n);
    bool agreed = sp_str_eq(sp_sock_alpn(&s->client), SP_STR("h2"));
    if (!agreed && (n < 3 || memcmp(bytes.p, preface.p, n) != 0)) return false;
    if (!agreed && n < preface.n) {
        sp_sock_keep(s->s.worker, &s->client, bytes);
        return true;
    }
    sp_front2_take(&s->s, s->listener, &s->client, bytes);
    end(s, false);
    return true;
}

static bool read_head(session *s) {
    sp_worker *w = s->s.worker;
    sp_h1_error err = {0};
    size_t n = 0;
    sp_sock_flush(w, &s->client);
    if (sp_sock_blocked(&s->client)) return false;
    bool over = s->client.eof || s->client.failed || s->client.broken;
    if (over && !s->client.unread) {
        end(s, false); /* also in the middle of a head */
        return true;
    }
    if (!sp_sock_has_input(&s->client)) return false;
    sp_str bytes = sp_sock_read(w, &s->client);
    if (!bytes.n) return s->client.eof || s->client.failed;
    if (!s->in_head && !s->used && take_preface(s, bytes)) return true;
    if (!s->in_head)
        start_alarm(s, s->listener->spec ? s->listener->spec->head_timeout_ms : 0, SP_TIMEOUT_HEAD);
    s->in_head = true;
    switch (sp_h1_scan_head(&s->scan, bytes, false, &n, &err)) {
    case SP_H1_MORE: sp_sock_keep(w, &s->client, bytes); return true;
    case SP_H1_BAD: refuse_head(s, err.status, err.text); return true;
    case SP_H1_OK: break;
    }
    sp_sock_unread(w, &s->client, sp_str_from(bytes, n));
    take_head(s, sp_str_sub(bytes, 0, n));
    return true;
}

/* --- closing --- */

static bool send_rest(session *s) {
    sp_sock_flush(s->s.worker, &s->client);
    if (sp_sock_blocked(&s->client)) return false;
    bool over = s->client.broken || s->client.eof || s->client.failed;
    if (over || (!s->linger && !sp_sock_has_input(&s->client))) {
        end(s, false);
        return true;
    }
    sp_sock_shutdown(s->s.worker, &s->client);
    s->state = LINGER;
    sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_LINGER);
    return true;
}

static bool read_rest(session *s) {
    if (!sp_sock_has_input(&s->client)) return false;
    (void)sp_sock_read(s->s.worker, &s->client);
    if (s->client.eof || s->client.failed) {
        end(s, false);
        return true;
    }
    return s->client.io.readable;
}

/* --- the machine --- */

static bool step(session *s) {
    switch (s->state) {
    case HEAD: return read_head(s);
    case EXCHANGE: return sp_exchange_step(s->x);
    case CLOSING: return send_rest(s);
    case LINGER: return read_rest(s);
    }
    return false;
}

static void run(session *s) {
    if (s->running || s->dead) return;
    s->running = true;
    int budget = STEPS_PER_EVENT;
    while (!s->dead && step(s)) {
        if (--budget == 0 && !s->dead) {
            sp_io_again(&s->client.io);
            break;
        }
    }
    s->running = false;
}

static void on_event(sp_io *io) {
    session *s = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), session, client);
    if (s->x && s->x->state == SP_EXCHANGE_DIAL && io->error)
        sp_exchange_client_gone(s->x);
    else
        run(s);
}

static void on_alarm(sp_alarm *a) {
    session *s = SP_CONTAINER(a, session, alarm);
    if (s->state == HEAD) { /* a loop that stood still rings before it has seen all that came */
        s->client.io.readable = true;
        run(s);
        if (s->dead || s->state != HEAD || sp_alarm_running(&s->alarm)) return;
    }
    if (s->state == HEAD && s->in_head)
        refuse_head(s, 408, "the request head did not arrive in time");
    else
        end(s, false);
}

static void stop(sp_session *base, bool force) {
    session *s = (session *)(void *)base;
    if (force && s->x)
        sp_exchange_client_gone(s->x);
    else if (force)
        end(s, true);
    else if (s->state == HEAD && !s->in_head && !s->s.worker->last_request_ms)
        end(s, false);
    else if (s->state == HEAD && !s->in_head)
        await_next(s);
}

static session *new_session(sp_listener *l, const sp_addr *client, const sp_addr *local) {
    session *s = sp_zalloc(1, sizeof *s);
    sp_session_open(&s->s, l->worker, client, local);
    sp_session_count(&s->s, l);
    s->s.stop = stop;
    s->listener = l;
    l->refs++;
    sp_alarm_init(&s->alarm, on_alarm);
    return s;
}

void sp_proxy_take(sp_listener *l, sp_sock *sock, const sp_addr *client, const sp_addr *local,
                   char *server_name) {
    session *s = new_session(l, client, local);
    s->s.server_name = server_name;
    sp_sock_take(&s->client, sock, on_event);
    await_head(s);
    sp_io_again(&s->client.io); /* the first request may be here */
}

void sp_proxy_accept(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local) {
    session *s = new_session(l, client, local);
    if (!sp_sock_open(l->worker, &s->client, fd, on_event)) {
        close(fd);
        end(s, true);
        return;
    }
    await_head(s);
}
