/* Connections to endpoints, kept open between requests. The most recently used one is taken first,
 * so that the surplus of a busy minute ages out; whatever arrives on a kept connection (mostly the
 * server's FIN) closes it. */
#include "gateway/http.h"

#include <sys/socket.h>

enum { FRESH_ENOUGH_MS = 1000 };

static void on_event(sp_io *io) {
    sp_backend *b = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), sp_backend, sock);
    if (b->user)
        sp_proxy_run(b->user);
    else if ((io->readable || io->hup || io->error) && !sp_sock_still_idle(b->worker, &b->sock))
        sp_backend_close(b);
}

static void on_aged(sp_alarm *a) {
    sp_backend_close(SP_CONTAINER(a, sp_backend, alarm));
}

sp_backend *sp_backend_new(sp_dial *d, sp_http_session *user) {
    sp_backend *b = sp_zalloc(1, sizeof *b);
    b->worker = d->worker;
    b->upstream = d->upstream;
    d->upstream = NULL;
    b->user = user;
    sp_list_init(&b->link);
    sp_alarm_init(&b->alarm, on_aged);
    sp_sock_take(&b->sock, &d->sock, on_event);
    return b;
}

static void leave_idle(sp_backend *b) {
    if (b->user || sp_list_empty(&b->link)) return;
    sp_list_remove(&b->link);
    sp_alarm_stop(&b->alarm);
    b->upstream->idle_count--;
    b->worker->stats.idle_upstreams--;
}

void sp_backend_close(sp_backend *b) {
    sp_worker *w = b->worker;
    leave_idle(b);
    sp_sock_close(w, &b->sock, false);
    if (b->user)
        sp_upstream_release(b->upstream);
    else
        sp_upstream_unref(b->upstream);
    sp_poller_bury(w->poller, b);
}

static bool is_alive(const sp_backend *b) {
    char c;
    return recv(b->sock.io.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/* A server may close an idle connection at any time. A request that cannot be sent twice is only
 * put on one that was in use a moment ago and shows no end yet. */
sp_backend *sp_backend_claim(sp_worker *w, sp_upstream *u, bool idempotent) {
    int64_t now = sp_poller_now_ms(w->poller);
    while (!sp_list_empty(&u->idle)) {
        sp_backend *b = SP_CONTAINER(u->idle.prev, sp_backend, link);
        if (!idempotent && now - b->idle_since_ms > FRESH_ENOUGH_MS) return NULL;
        if (!idempotent && !is_alive(b)) {
            sp_backend_close(b);
            continue;
        }
        leave_idle(b);
        w->stats.upstream_reused++;
        return b;
    }
    return NULL;
}

/* The dial's reference and count become the backend's; the one it had while kept goes. */
void sp_backend_attach(sp_backend *b, sp_http_session *user) {
    b->user = user;
    b->reused = true;
    sp_upstream_unref(b->upstream);
}

static bool may_be_kept(const sp_backend *b) {
    const sp_sock *s = &b->sock;
    return b->upstream->e.ready && !s->eof && !s->failed && !s->io.hup && !s->io.readable &&
           !sp_sock_blocked(s) && !s->in.n && !s->more && !b->worker->stopping &&
           b->worker->settings.max_idle_per_endpoint > 0;
}

void sp_backend_keep(sp_backend *b) {
    sp_worker *w = b->worker;
    sp_upstream *u = b->upstream;
    if (!may_be_kept(b)) {
        sp_backend_close(b);
        return;
    }
    if (u->idle_count >= w->settings.max_idle_per_endpoint)
        sp_backend_close(SP_CONTAINER(u->idle.next, sp_backend, link));
    b->user = NULL;
    u->e.open--; /* the reference stays */
    b->idle_since_ms = sp_poller_now_ms(w->poller);
    sp_list_append(&u->idle, &b->link);
    sp_alarm_start(w->poller, &b->alarm, SP_TIMEOUT_POOLED);
    u->idle_count++;
    w->stats.idle_upstreams++;
}

void sp_upstream_close_idle(sp_upstream *u) {
    sp_upstream_ref(u); /* each close drops one */
    while (!sp_list_empty(&u->idle)) sp_backend_close(SP_CONTAINER(u->idle.next, sp_backend, link));
    sp_upstream_unref(u);
}
