/* The endpoint's side over HTTP/1.1: one exchange at a time on a connection that is kept between
 * requests. The most recently used one is taken first, so that the surplus of a busy minute ages
 * out; whatever arrives on a kept connection (mostly the server's FIN) closes it. */
#include "base/clock.h"
#include "gateway/http.h"

#include <sys/socket.h>

enum { FRESH_ENOUGH_MS = 1000 };

static void close_backend(sp_backend *b);

static void on_event(sp_io *io) {
    sp_backend *b = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), sp_backend, sock);
    if (b->user)
        b->user->front->wake(b->user);
    else if ((io->readable || io->hup || io->error) && !sp_sock_still_idle(b->worker, &b->sock))
        close_backend(b);
}

static void on_aged(sp_alarm *a) {
    close_backend(SP_CONTAINER(a, sp_backend, alarm));
}

static void leave_idle(sp_backend *b) {
    if (b->user || sp_list_empty(&b->link)) return;
    sp_list_remove(&b->link);
    sp_alarm_stop(&b->alarm);
    b->upstream->idle_count--;
    b->worker->stats.idle_upstreams--;
}

static void count_bytes(sp_backend *b) {
    b->upstream->counts.bytes_in += b->sock.sent;
    b->upstream->counts.bytes_out += b->sock.received;
    b->sock.sent = b->sock.received = 0;
}

static void close_backend(sp_backend *b) {
    sp_worker *w = b->worker;
    count_bytes(b);
    leave_idle(b);
    sp_sock_close(w, &b->sock, false);
    if (b->user)
        sp_upstream_release(b->upstream);
    else
        sp_upstream_unref(b->upstream);
    sp_poller_bury(w->poller, b);
}

/* --- kept connections --- */

static bool is_alive(const sp_backend *b) {
    char c;
    return recv(b->sock.io.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/* The endpoint was told by a PROXY header whose connection it is. */
static sp_backend *find_of(sp_upstream *u, const sp_addr *client) {
    sp_list_each(&u->idle, l) {
        sp_backend *b = SP_CONTAINER(l, sp_backend, link);
        if (sp_addr_eq(&b->client, client)) return b;
    }
    return NULL;
}

/* A server may close an idle connection at any time. A request that cannot be sent twice is only
 * put on one that was in use a moment ago and shows no end yet. */
bool sp_back1_claim(sp_exchange *x) {
    sp_worker *w = x->worker;
    sp_upstream *u = x->dial.upstream;
    bool again = x->idempotent && x->request_done;
    int64_t now = sp_poller_now_ms(w->poller);
    while (!sp_list_empty(&u->idle)) {
        sp_backend *b = SP_CONTAINER(u->idle.prev, sp_backend, link);
        if (x->pool->send_proxy) b = find_of(u, &x->client_addr);
        if (!b) return false;
        if (!again && now - b->idle_since_ms > FRESH_ENOUGH_MS) return false;
        if (!again && !is_alive(b)) {
            close_backend(b);
            continue;
        }
        leave_idle(b);
        w->stats.upstream_reused++;
        x->claimed = b;
        return true;
    }
    return false;
}

static void use(sp_exchange *x, sp_backend *b) {
    b->user = x;
    x->dial.upstream = NULL;
    x->backend = b;
    x->back = &sp_back1;
}

/* The dial's reference and count become the backend's; the one it had while kept goes. */
void sp_back1_attach(sp_exchange *x) {
    sp_backend *b = x->claimed;
    x->claimed = NULL;
    b->reused = true;
    use(x, b);
    sp_upstream_unref(b->upstream);
}

void sp_back1_open(sp_exchange *x) {
    sp_backend *b = sp_zalloc(1, sizeof *b);
    b->worker = x->worker;
    b->upstream = x->dial.upstream;
    b->client = x->client_addr;
    sp_list_init(&b->link);
    sp_alarm_init(&b->alarm, on_aged);
    sp_sock_take(&b->sock, &x->dial.sock, on_event);
    use(x, b);
}

static bool may_be_kept(const sp_backend *b) {
    const sp_sock *s = &b->sock;
    return b->upstream->e.ready && !s->eof && !s->failed && !s->io.hup && !s->io.readable &&
           !sp_sock_blocked(s) && !s->in.n && !s->more && !b->worker->stopping &&
           b->worker->settings.max_idle_per_endpoint > 0;
}

static void keep(sp_backend *b) {
    sp_worker *w = b->worker;
    sp_upstream *u = b->upstream;
    if (!may_be_kept(b)) {
        close_backend(b);
        return;
    }
    if (u->idle_count >= w->settings.max_idle_per_endpoint)
        close_backend(SP_CONTAINER(u->idle.next, sp_backend, link));
    count_bytes(b);
    b->user = NULL;
    sp_upstream_rest(u); /* the reference stays */
    b->idle_since_ms = sp_poller_now_ms(w->poller);
    sp_list_append(&u->idle, &b->link);
    sp_alarm_start(w->poller, &b->alarm, SP_TIMEOUT_POOLED);
    u->idle_count++;
    w->stats.idle_upstreams++;
}

void sp_upstream_close_idle(sp_upstream *u) {
    sp_upstream_ref(u); /* each close drops one */
    sp_upstream_close_streams(u);
    while (!sp_list_empty(&u->idle)) close_backend(SP_CONTAINER(u->idle.next, sp_backend, link));
    sp_upstream_unref(u);
}

/* --- the request --- */

void sp_h1_write_piece(sp_worker *w, sp_sock *to, sp_str piece, bool chunked) {
    enum { WORTH_A_CALL = 4096 };
    if (!piece.n) return;
    if (chunked) {
        static const char digits[] = "0123456789abcdef";
        char size[18] = {[16] = '\r', [17] = '\n'};
        size_t at = 16;
        for (size_t n = piece.n; n; n >>= 4) size[--at] = digits[n & 15];
        sp_sock_add(w, to, (sp_str){size + at, sizeof size - at});
    }
    if (piece.n < WORTH_A_CALL)
        sp_sock_add(w, to, piece);
    else
        sp_sock_write(w, to, piece);
    if (chunked) sp_sock_add(w, to, SP_STR("\r\n"));
}

static void send_head(sp_exchange *x) {
    sp_backend *b = x->backend;
    b->scan = (sp_h1_scan){0};
    sp_http_write_request(sp_sock_out(x->worker, &b->sock), &x->request, &x->hop);
}

static void send_data(sp_exchange *x, sp_str piece) {
    sp_backend *b = x->backend;
    sp_h1_write_piece(x->worker, &b->sock, piece, x->request.framing == SP_H1_CHUNKED);
}

static void send_end(sp_exchange *x, sp_str trailers) {
    (void)trailers; /* of a request: nobody reads them */
    sp_backend *b = x->backend;
    if (x->request.framing == SP_H1_CHUNKED) sp_sock_add(x->worker, &b->sock, SP_STR("0\r\n\r\n"));
}

static void flush(sp_exchange *x) {
    sp_backend *b = x->backend;
    sp_sock_flush(x->worker, &b->sock);
    if (x->tunnel && x->request_done && !b->sock.shut) sp_sock_shutdown(x->worker, &b->sock);
}

static bool blocked(sp_exchange *x) {
    const sp_backend *b = x->backend;
    return sp_sock_blocked(&b->sock) || b->sock.broken || (x->tunnel && !x->answer_begun);
}

static sp_upstream *upstream(sp_exchange *x) {
    return ((sp_backend *)x->backend)->upstream;
}

static sp_sock *carrier(sp_exchange *x) {
    return &((sp_backend *)x->backend)->sock;
}

static bool reused(sp_exchange *x) {
    return ((sp_backend *)x->backend)->reused;
}

/* --- the answer --- */

/* True: the bytes behind the head are the answer's body, until the connection ends. */
static bool switch_protocols(sp_exchange *x, sp_h1_head *h, sp_str rest) {
    sp_backend *b = x->backend;
    sp_sock *client = x->front->socket(x);
    if (!x->hop.upgrade.n || (!client && !x->tunnel)) {
        sp_exchange_bad_answer(x, "101 although no upgrade was asked for");
        return false;
    }
    if (x->tunnel) {
        h->framing = SP_H1_UNTIL_CLOSE;
        sp_h1_body_start(&b->body, h);
        return sp_exchange_answer(x, h);
    }
    x->status = 101;
    x->front->head(x, h, NULL);
    sp_sock_add(x->worker, client, rest);
    sp_tunnel_join(x->listener, client, &b->sock, b->upstream, x->dial.cuts, &x->client_addr,
                   &x->local);
    x->backend = NULL;
    sp_poller_bury(x->worker->poller, b); /* its upstream went to the tunnel */
    sp_exchange_taken(x);
    return false;
}

/* A server that tires of an idle connection may say so (RFC 9110 15.5.9) while a request is on its
 * way there, which it has not read: not the answer to that. */
static bool is_stale(const sp_exchange *x, const sp_h1_head *h) {
    return h->status == 408 && !h->keep_alive && reused((sp_exchange *)x) && x->idempotent &&
           x->request_done && sp_exchange_can_resend(x);
}

/* False: no more can be done with these bytes. */
static bool take_head(sp_exchange *x, sp_str *bytes) {
    sp_backend *b = x->backend;
    sp_h1_head *h = &x->worker->answer;
    sp_h1_error err = {0};
    size_t n = 0;
    sp_h1_result r = sp_h1_scan_head(&b->scan, *bytes, true, &n, &err);
    x->answer_seen = true;
    if (r == SP_H1_MORE) {
        sp_sock_keep(x->worker, &b->sock, *bytes);
        return false;
    }
    if (r == SP_H1_BAD ||
        !sp_h1_parse_response((char *)(uintptr_t)bytes->p, n, x->to_head, false, h, &err)) {
        sp_exchange_bad_answer(x, err.text);
        return false;
    }
    *bytes = sp_str_from(*bytes, n);
    if (h->status == 101) return switch_protocols(x, h, *bytes);
    b->scan = (sp_h1_scan){0};
    if (is_stale(x, h)) {
        x->answer_seen = false;
        sp_exchange_backend_lost(x);
        return false;
    }
    if (h->status >= 200)
        sp_upstream_answered(b->upstream, h->status, (sp_clock_mono_us() - x->started_us) / 1000);
    if (!sp_exchange_answer(x, h)) return false;
    if (h->status < 200) {
        sp_sock_unread(x->worker, &b->sock, *bytes);
        return false;
    }
    x->keep_backend = h->keep_alive && !x->hop.upgrade.n;
    sp_h1_body_start(&b->body, h);
    b->body.trailers = &x->trailers;
    return true;
}

static void take_body(sp_exchange *x, sp_str bytes) {
    sp_backend *b = x->backend;
    sp_h1_error err = {0};
    for (;;) {
        sp_str piece;
        switch (sp_h1_body_next(&b->body, &bytes, &piece, &err)) {
        case SP_H1_DATA: sp_exchange_answer_data(x, piece); continue;
        case SP_H1_NEED: x->front->flush(x); return;
        case SP_H1_BROKEN: sp_exchange_bad_answer(x, err.text); return;
        case SP_H1_END:
            if (bytes.n) x->keep_backend = false; /* it said more than its answer */
            sp_exchange_answer_end(x, sp_buf_str(&x->trailers));
            return;
        }
    }
}

static void ended(sp_exchange *x) {
    sp_backend *b = x->backend;
    x->keep_backend = false;
    if (x->answer_begun && !b->sock.failed && sp_h1_body_eof_ok(&b->body))
        sp_exchange_answer_end(x, (sp_str){0});
    else
        sp_exchange_backend_lost(x);
}

static bool pump(sp_exchange *x) {
    sp_backend *b = x->backend;
    if (!sp_sock_has_input(&b->sock)) return false;
    size_t seen = b->sock.unread ? 0 : b->sock.in.n;
    sp_str bytes = sp_sock_read(x->worker, &b->sock);
    if (bytes.n == seen && (b->sock.eof || b->sock.failed)) {
        ended(x);
        return true;
    }
    if (!bytes.n) return false;
    if (x->answer_begun || take_head(x, &bytes)) take_body(x, bytes);
    return true;
}

static void leave(sp_exchange *x) {
    sp_backend *b = x->backend;
    x->backend = NULL;
    if (x->request_done && x->answer_done && x->keep_backend)
        keep(b);
    else
        close_backend(b);
}

const sp_back sp_back1 = {
    .send = send_head,
    .data = send_data,
    .end = send_end,
    .flush = flush,
    .blocked = blocked,
    .pump = pump,
    .reused = reused,
    .upstream = upstream,
    .carrier = carrier,
    .leave = leave,
};
