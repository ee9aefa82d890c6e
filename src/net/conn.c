/* Reading uses one buffer per thread, writing one spare buffer per thread: a connection that waits
 * holds neither. What the kernel does not take at once is copied for uv_write; until that ends
 * nothing more is produced.
 *
 * States: CONNECTING → HANDSHAKE → OPEN → (finish) DRAINING → LINGERING → closed handles → freed.
 * Lingering exists because closing a socket with unread input makes the kernel reset it, and the
 * reset can overtake the answer. */
#include "net/conn.h"

#include "net/tls_io.h"

#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_SIZE = 64 * 1024,
    PLAIN_SIZE = 16 * 1024, /* one TLS record */
    WIRE_SIZE = 64 * 1024,  /* produced per write */
    ROUNDS = 8,             /* writes per turn, for fairness */
    DRAIN_MS = 30000,
    LINGER_MS = 2000,
    KEEPALIVE_S = 30,
    KEEPALIVE_INTERVAL_S = 10,
    KEEPALIVE_PROBES = 3,
};

enum state { CONNECTING, HANDSHAKE, OPEN, DRAINING, LINGERING, CLOSED };

struct sp_conn {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    sp_task flush;
    sp_turn *turn;
    sp_tls_io *tls; /* NULL: plain */
    sp_conn_events ev;
    void *ctx; /* of the owner; events are silent once released */
    sp_outq out;
    sp_buf wire;     /* produced, not yet given to the kernel */
    sp_buf inflight; /* the kernel's part of uv_write */
    uint64_t deadline, sent;
    enum state state;
    unsigned open; /* handles */
    bool writing, released, paused;
    bool ended, failed;          /* no more input; no more output either */
    bool half_wanted, half_done; /* our side of a plain connection ends before theirs */
    struct dial *dial;           /* while connecting */
};

struct dial {
    uv_connect_t req;
    sp_resolve *resolve;
    sp_tls_ctx *tls;
    char *host, *server_name;
    uint16_t port;
    struct sockaddr_storage addrs[8];
    size_t n, at;
    int last_error;
};

static __thread char read_buf[READ_SIZE];
static __thread char plain_buf[PLAIN_SIZE];

static void flush_task(sp_task *task);
static void start_reading(sp_conn *c);
static void write_failed(sp_conn *c, int rc);

/* --- end of life --- */

static void dial_free(sp_conn *c) {
    struct dial *d = c->dial;
    if (!d) return;
    sp_resolve_cancel(d->resolve);
    sp_tls_ctx_unref(d->tls);
    free(d->host);
    free(d->server_name);
    free(d);
    c->dial = NULL;
}

static void handle_closed(uv_handle_t *h) {
    sp_conn *c = h->data;
    if (--c->open > 0) return;
    dial_free(c);
    sp_outq_free(&c->out);
    sp_buf_free(&c->wire);
    sp_buf_free(&c->inflight);
    sp_tls_io_free(c->tls);
    sp_turn_unref(c->turn);
    free(c);
}

static void shut(sp_conn *c) {
    if (c->state == CLOSED) return;
    c->state = CLOSED;
    sp_task_cancel(&c->flush);
    if (c->dial) c->dial->resolve = sp_resolve_cancel(c->dial->resolve);
    /* Between two addresses the socket is closing already; retry_socket_closed sees to it. */
    if (!uv_is_closing((uv_handle_t *)&c->tcp)) uv_close((uv_handle_t *)&c->tcp, handle_closed);
    uv_close((uv_handle_t *)&c->timer, handle_closed);
}

void sp_conn_free(sp_conn *c) {
    c->released = true;
    shut(c);
}

/* The other side or the network ended it. */
static void ended(sp_conn *c, const sp_err *err) {
    if (err) c->failed = true;
    if (c->ended && !c->released) return;
    c->ended = true;
    if (!c->released)
        c->ev.closed(c->ctx, err);
    else if (err || c->state != DRAINING)
        shut(c); /* a half-closed reader still gets the rest */
}

static void ended_by(sp_conn *c, int status, const char *what) {
    sp_err err = {0};
    sp_fail(&err, SP_CONNECTION, "%s: %s", what, uv_strerror(status));
    err.errnum = -status;
    ended(c, &err);
}

/* --- the deadline: one timer, moved lazily --- */

static void timer_fired(uv_timer_t *h) {
    sp_conn *c = h->data;
    uint64_t now = uv_now(h->loop);
    if (c->released)
        shut(c);
    else if (c->deadline > now)
        uv_timer_start(&c->timer, timer_fired, c->deadline - now, 0);
    else if (c->deadline) {
        c->deadline = 0;
        c->ev.timeout(c->ctx);
    }
}

void sp_conn_deadline(sp_conn *c, uint64_t ms) {
    if (c->state == CLOSED) return;
    if (ms == 0) {
        c->deadline = 0;
        return;
    }
    uint64_t at = uv_now(c->tcp.loop) + ms;
    bool later = uv_is_active((uv_handle_t *)&c->timer) && c->deadline && at >= c->deadline;
    c->deadline = at;
    if (!later) uv_timer_start(&c->timer, timer_fired, ms, 0);
}

/* --- writing --- */

static __thread sp_buf spare; /* lent to the connection that produces just now */

static void take_spare(sp_conn *c) {
    if (c->wire.n || c->wire.cap) return;
    c->wire = spare;
    spare = (sp_buf){0};
}

static void give_spare(sp_conn *c) {
    if (c->wire.n) return;
    if (spare.cap == 0 && c->wire.cap <= 2 * WIRE_SIZE) {
        spare = c->wire;
        c->wire = (sp_buf){0};
    } else {
        sp_buf_free(&c->wire);
    }
}

static void ask_owner(sp_conn *c) {
    if (c->state == OPEN && !c->released && !c->ended && c->out.bytes < SP_CONN_WINDOW)
        c->ev.fill(c->ctx);
}

/* Gathers small pieces, so that one TLS record carries many frames. */
static sp_str next_record(sp_conn *c) {
    sp_str s = sp_outq_peek(&c->out);
    if (s.n >= PLAIN_SIZE || s.n == c->out.bytes) return sp_str_sub(s, 0, PLAIN_SIZE);
    size_t n = 0;
    while (n < PLAIN_SIZE && c->out.bytes) {
        s = sp_str_sub(sp_outq_peek(&c->out), 0, PLAIN_SIZE - n);
        memcpy(plain_buf + n, s.p, s.n);
        n += s.n;
        sp_outq_drop(&c->out, s.n);
    }
    return (sp_str){plain_buf, n};
}

static bool encrypt(sp_conn *c, sp_err *err) {
    while (c->wire.n < WIRE_SIZE && c->out.bytes) {
        sp_str s = next_record(c);
        if (!sp_tls_io_write(c->tls, s, err)) return false;
        if (s.p != plain_buf) sp_outq_drop(&c->out, s.n);
    }
    return true;
}

static bool produce(sp_conn *c, sp_err *err) {
    take_spare(c);
    if (c->state < OPEN) return true; /* only what the handshake says */
    if (c->tls) return encrypt(c, err);
    while (c->wire.n < WIRE_SIZE && c->out.bytes) {
        sp_str s = sp_str_sub(sp_outq_peek(&c->out), 0, WIRE_SIZE - c->wire.n);
        sp_buf_add(&c->wire, s);
        sp_outq_drop(&c->out, s.n);
    }
    return true;
}

static void written(uv_write_t *w, int status) {
    sp_conn *c = w->data;
    c->writing = false;
    c->sent += c->inflight.n;
    sp_buf_free(&c->inflight);
    if (c->state == CLOSED) return;
    if (status != 0)
        write_failed(c, status);
    else
        flush_task(&c->flush);
}

static void write_later(sp_conn *c) {
    c->inflight = c->wire;
    c->wire = (sp_buf){0};
    uv_buf_t b = uv_buf_init(c->inflight.p, (unsigned)c->inflight.n);
    c->write.data = c;
    c->writing = true;
    int rc = uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, written);
    if (rc == 0) return;
    c->writing = false;
    ended_by(c, rc, "write");
}

/* The other side has hung up while we wrote. An alert that says why may lie in the socket, for it
 * came before. */
static void write_failed(sp_conn *c, int rc) {
    char words[4096];
    sp_err err = {0};
    uv_os_fd_t fd;
    size_t at = 0;
    if (c->tls && c->state >= OPEN && uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0) {
        ssize_t n = recv(fd, words, sizeof words, MSG_DONTWAIT);
        sp_tls_io_feed(c->tls, (sp_str){words, n > 0 ? (size_t)n : 0});
        sp_tls_result r = SP_TLS_OK;
        while (n > 0 && r == SP_TLS_OK)
            r = sp_tls_io_read(c->tls, plain_buf, sizeof plain_buf, &at, &err);
        sp_tls_io_feed(c->tls, (sp_str){0});
        if (r != SP_TLS_FAILED) err.code = SP_OK;
    }
    if (err.code)
        ended(c, &err);
    else
        ended_by(c, rc, "write");
}

/* False when the rest must wait for the kernel (or nothing can be written any more). */
static bool write_now(sp_conn *c) {
    uv_buf_t b = uv_buf_init(c->wire.p, (unsigned)c->wire.n);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        sp_buf_free(&c->wire);
        write_failed(c, n);
        return false;
    }
    if (n > 0) {
        c->sent += (uint64_t)n;
        sp_buf_drop(&c->wire, (size_t)n);
    }
    if (c->wire.n == 0) return true;
    write_later(c);
    return false;
}

static void shutdown_done(uv_shutdown_t *req, int status) {
    (void)status;
    free(req);
}

/* Everything is out: say goodbye and wait for the other side to do the same. */
static void linger(sp_conn *c) {
    c->state = LINGERING;
    uv_timer_start(&c->timer, timer_fired, LINGER_MS, 0);
    if (c->ended) {
        shut(c);
        return;
    }
    uv_shutdown_t *req = sp_malloc(sizeof *req);
    if (uv_shutdown(req, (uv_stream_t *)&c->tcp, shutdown_done) != 0) {
        free(req);
        shut(c);
    }
}

static void end_half(sp_conn *c) {
    if (!c->half_wanted || c->half_done || c->out.bytes || c->wire.n || c->writing) return;
    uv_shutdown_t *req = sp_malloc(sizeof *req);
    c->half_done = true;
    if (uv_shutdown(req, (uv_stream_t *)&c->tcp, shutdown_done) != 0) free(req);
}

void sp_conn_end_output(sp_conn *c) {
    c->half_wanted = true;
    sp_conn_wake(c);
}

/* False when this turn's work on the connection is done. */
static bool flush_round(sp_conn *c, int round) {
    sp_err err = {0};
    ask_owner(c);
    if (c->state == CLOSED || c->failed) return false;
    bool more = c->out.bytes >= SP_CONN_WINDOW, goodbye = c->state == DRAINING && !c->out.bytes;
    if (!produce(c, &err)) {
        ended(c, &err);
        return false;
    }
    if (goodbye && c->tls) sp_tls_io_goodbye(c->tls);
    if (c->wire.n && round >= ROUNDS)
        write_later(c);
    else if (c->wire.n && !write_now(c))
        return false;
    if (goodbye && !c->writing && c->state == DRAINING) linger(c);
    return more || c->out.bytes || c->state == DRAINING;
}

static void flush(sp_conn *c) {
    for (int round = 0; !c->writing && !c->failed && c->state != CLOSED && c->state != LINGERING;)
        if (!flush_round(c, round++)) break;
    if (c->state == OPEN && !c->failed) end_half(c);
    give_spare(c);
}

static void flush_task(sp_task *task) {
    flush(SP_CONTAINER(task, sp_conn, flush));
}

sp_outq *sp_conn_out(sp_conn *c) {
    return &c->out;
}

void sp_conn_wake(sp_conn *c) {
    if (c->state != CLOSED && !c->writing && !c->failed) sp_task_defer(c->turn, &c->flush);
}

size_t sp_conn_pending(const sp_conn *c) {
    return c->out.bytes + c->wire.n + c->inflight.n;
}

uint64_t sp_conn_sent(const sp_conn *c) {
    return c->sent;
}

void sp_conn_finish(sp_conn *c) {
    c->released = true;
    if (c->state != OPEN || c->failed) {
        shut(c);
        return;
    }
    c->state = DRAINING;
    c->deadline = 0;
    uv_timer_start(&c->timer, timer_fired, DRAIN_MS, 0);
    if (!c->ended) start_reading(c);
    sp_conn_wake(c);
}

/* --- reading --- */

static void alloc_read(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    (void)h, (void)suggested;
    *buf = uv_buf_init(read_buf, sizeof read_buf);
}

static void now_open(sp_conn *c) {
    c->state = OPEN;
    if (c->ev.ready && !c->released) c->ev.ready(c->ctx);
}

static void tls_ended(sp_conn *c, sp_tls_result r, const sp_err *err) {
    if (c->wire.n) { /* an alert that tells the other side why */
        uv_buf_t b = uv_buf_init(c->wire.p, (unsigned)c->wire.n);
        uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
        sp_buf_free(&c->wire);
    }
    uv_read_stop((uv_stream_t *)&c->tcp);
    ended(c, r == SP_TLS_CLOSED ? NULL : err);
}

static void got_tls(sp_conn *c, sp_str bytes) {
    sp_err err = {0};
    sp_tls_result r = SP_TLS_OK;
    sp_tls_io_feed(c->tls, bytes);
    if (c->state == HANDSHAKE) {
        r = sp_tls_io_handshake(c->tls, &err);
        if (r == SP_TLS_OK) now_open(c);
    }
    while (r == SP_TLS_OK && c->state != CLOSED) {
        size_t n = 0;
        r = sp_tls_io_read(c->tls, plain_buf, sizeof plain_buf, &n, &err);
        if (r == SP_TLS_OK && !c->released) c->ev.data(c->ctx, plain_buf, n);
    }
    if (c->state == CLOSED) return;
    sp_tls_io_feed(c->tls, (sp_str){0});
    if (r == SP_TLS_CLOSED || r == SP_TLS_FAILED)
        tls_ended(c, r, &err);
    else if (c->wire.n)
        sp_conn_wake(c);
}

static void got_end(sp_conn *c, int status) {
    uv_read_stop((uv_stream_t *)&c->tcp);
    if (status != UV_EOF) {
        ended_by(c, status, "read");
    } else if (c->state == HANDSHAKE) {
        sp_err err = {0};
        sp_fail(&err, SP_CONNECTION, "the other side hung up during the TLS handshake");
        ended(c, &err);
    } else {
        ended(c, NULL);
    }
}

static void got(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
    sp_conn *c = s->data;
    if (c->state == CLOSED || n == 0) return;
    if (n < 0)
        got_end(c, (int)n);
    else if (c->released)
        return; /* lingering: read and dropped */
    else if (c->tls)
        got_tls(c, (sp_str){buf->base, (size_t)n});
    else
        c->ev.data(c->ctx, buf->base, (size_t)n);
}

static void start_reading(sp_conn *c) {
    uv_read_start((uv_stream_t *)&c->tcp, alloc_read, got);
}

void sp_conn_pause(sp_conn *c, bool paused) {
    if (c->paused == paused || c->state == CLOSED || c->ended) return;
    c->paused = paused;
    if (paused)
        uv_read_stop((uv_stream_t *)&c->tcp);
    else
        start_reading(c);
}

/* --- beginnings --- */

/* A write to a socket whose reader is gone is an error to handle, not a reason to die. */
static void ignore_sigpipe(void) {
    signal(SIGPIPE, SIG_IGN);
}

static sp_conn *conn_new(uv_loop_t *loop, const sp_conn_events *ev, void *ctx) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ignore_sigpipe);
    sp_conn *c = sp_zalloc(1, sizeof *c);
    c->turn = sp_turn_ref(loop);
    c->ev = *ev;
    c->ctx = ctx;
    sp_task_init(&c->flush, flush_task);
    uv_tcp_init(loop, &c->tcp);
    uv_timer_init(loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    c->open = 2;
    return c;
}

/* A peer that vanished without a word is noticed within a minute, even when nothing is sent. */
static void watch_peer(sp_conn *c) {
    uv_os_fd_t fd;
    int interval = KEEPALIVE_INTERVAL_S, probes = KEEPALIVE_PROBES;
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void established(sp_conn *c) {
    uv_tcp_nodelay(&c->tcp, 1);
    watch_peer(c);
    c->state = c->tls ? HANDSHAKE : OPEN;
    start_reading(c);
}

sp_conn *sp_conn_accept(uv_stream_t *listener, sp_tls_ctx *tls, const sp_conn_events *ev,
                        void *ctx) {
    sp_conn *c = conn_new(listener->loop, ev, ctx);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) {
        sp_conn_free(c);
        return NULL;
    }
    if (tls) c->tls = sp_tls_io_new(tls, true, NULL, &c->wire);
    established(c);
    return c;
}

sp_conn *sp_conn_open(uv_loop_t *loop, int fd, const sp_conn_events *ev, void *ctx) {
    sp_conn *c = conn_new(loop, ev, ctx);
    if (uv_tcp_open(&c->tcp, fd) != 0) {
        close(fd);
        sp_conn_free(c);
        return NULL;
    }
    established(c);
    return c;
}

void sp_conn_adopt(sp_conn *c, const sp_conn_events *ev, void *ctx) {
    c->ev = *ev;
    c->ctx = ctx;
    sp_conn_deadline(c, 0);
    sp_conn_pause(c, false);
}

static void dial_next(sp_conn *c);

static void dial_failed(sp_conn *c) {
    struct dial *d = c->dial;
    sp_err err = {0};
    sp_fail(&err, SP_CONNECTION, "%s", uv_strerror(d->last_error));
    err.errnum = -d->last_error;
    ended(c, &err);
}

static void say_hello(sp_conn *c) {
    struct dial *d = c->dial;
    if (d->tls) c->tls = sp_tls_io_new(d->tls, false, d->server_name, &c->wire);
    dial_free(c);
    established(c);
    if (!c->tls) {
        now_open(c);
        return;
    }
    sp_err err = {0};
    if (sp_tls_io_handshake(c->tls, &err) == SP_TLS_FAILED)
        ended(c, &err);
    else
        sp_conn_wake(c);
}

static void retry_socket_closed(uv_handle_t *h) {
    sp_conn *c = h->data;
    if (c->state == CLOSED) { /* freed meanwhile: this close stands for the one of shut */
        handle_closed(h);
        return;
    }
    uv_tcp_init(c->timer.loop, &c->tcp);
    c->tcp.data = c;
    dial_next(c);
}

static void connected(uv_connect_t *req, int status) {
    sp_conn *c = req->handle->data;
    if (c->state == CLOSED || status == UV_ECANCELED) return;
    struct dial *d = c->dial;
    if (status == 0) {
        say_hello(c);
        return;
    }
    d->last_error = status;
    if (++d->at < d->n)
        uv_close((uv_handle_t *)&c->tcp, retry_socket_closed);
    else
        dial_failed(c);
}

static void dial_next(sp_conn *c) {
    struct dial *d = c->dial;
    for (; d->at < d->n; d->at++) {
        int rc = uv_tcp_connect(&d->req, &c->tcp, (struct sockaddr *)&d->addrs[d->at], connected);
        if (rc == 0) return;
        d->last_error = rc;
    }
    dial_failed(c);
}

static void resolved(void *ctx, const struct sockaddr_storage *addrs, size_t n, const sp_err *err) {
    sp_conn *c = ctx;
    struct dial *d = c->dial;
    d->resolve = NULL;
    if (err) {
        ended(c, err);
        return;
    }
    d->n = SP_MIN(n, SP_COUNT(d->addrs));
    memcpy(d->addrs, addrs, d->n * sizeof *addrs);
    dial_next(c);
}

sp_conn *sp_conn_connect(uv_loop_t *loop, const char *host, uint16_t port, sp_tls_ctx *tls,
                         const char *server_name, const sp_conn_events *ev, void *ctx) {
    sp_conn *c = conn_new(loop, ev, ctx);
    struct dial *d = c->dial = sp_zalloc(1, sizeof *d);
    d->tls = sp_tls_ctx_ref(tls);
    d->host = sp_strdup(host);
    d->server_name = sp_strdup(server_name ? server_name : host);
    d->port = port;
    d->resolve = sp_resolve_start(loop, host, port, resolved, c);
    return c;
}

/* --- what is known about it --- */

sp_str sp_conn_alpn(const sp_conn *c) {
    return c->tls ? sp_tls_io_alpn(c->tls) : (sp_str){0};
}

const sp_tls_peer *sp_conn_peer(const sp_conn *c) {
    return c->tls ? sp_tls_io_peer(c->tls) : NULL;
}

void sp_conn_remote(const sp_conn *c, char *ret, size_t size) {
    struct sockaddr_storage a;
    int n = sizeof a;
    ret[0] = 0;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&a, &n) == 0)
        sp_addr_print((struct sockaddr *)&a, ret, size);
}
