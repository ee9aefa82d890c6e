/* Listening sockets: bound when the configuration names them, closed when it does not, tried again
 * with backoff while somebody else has the port.
 *
 * They carry SO_REUSEPORT, because a service's virtual address and "any address" may share a port
 * (Linux prefers the more specific one). The option would also let a second gateway of the same
 * user share our ports in silence, so /proc is asked first who listens there (ports.c). */
#include "base/clock.h"
#include "base/log.h"
#include "gateway/datapath.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 4096, ACCEPTS_PER_EVENT = 64, RETRY_MIN_MS = 500, RETRY_MAX_MS = 30000 };

void sp_listener_unref(sp_listener *l) {
    if (--l->refs == 0) free(l);
}

const sp_inner_spec *sp_listener_inner(const sp_listener *l, const char *server_name) {
    (void)server_name;
    return l->spec ? &l->spec->plain : NULL;
}

/* --- accepting --- */

static bool may_accept(sp_worker *w) {
    if (w->stats.open < w->settings.max_connections) return true;
    w->accept_paused = true;
    return false;
}

/* Whatever it is, others may wait in the queue, and no event will tell of them again. */
static void on_accept_error(sp_listener *l) {
    sp_worker *w = l->worker;
    sp_warn("cannot accept connections for a moment", SP_KV("why", strerror(errno)),
            SP_KV("open", w->stats.open));
    w->accept_paused = true;
    sp_alarm_start(w->poller, &w->accept_pause, SP_TIMEOUT_ACCEPT);
}

static bool may_come(const sp_listener_spec *spec, const sp_addr *client) {
    for (size_t i = 0; i < spec->source_count; i++)
        if (sp_cidr_has(&spec->sources[i], client)) return true;
    return spec->source_count == 0;
}

static void take(sp_listener *l, int fd, const struct sockaddr_storage *from) {
    struct sockaddr_storage to;
    socklen_t len = sizeof to;
    sp_addr client = sp_addr_from_sock(from), local = l->addr;
    if (!may_come(l->spec, &client)) {
        l->worker->stats.turned_away++;
        close(fd);
        return;
    }
    if (getsockname(fd, (struct sockaddr *)&to, &len) == 0) local = sp_addr_from_sock(&to);
    sp_sock_tune(fd);
    l->worker->stats.connections++;
    if (l->spec->plain.http)
        sp_proxy_accept(l, fd, &client, &local);
    else
        sp_tunnel_accept(l, fd, &client, &local);
}

/* Nothing that an accept starts can drop the listener: configurations come between turns. */
static void on_listener_event(sp_io *io) {
    sp_listener *l = SP_CONTAINER(io, sp_listener, io);
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        if (!may_accept(l->worker)) return;
        int fd = accept4(io->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0) {
            if (errno == EAGAIN)
                io->readable = false;
            else
                on_accept_error(l);
            return;
        }
        take(l, fd, &from);
    }
    sp_io_again(io);
}

void sp_worker_resume_accept(sp_worker *w) {
    w->accept_paused = false;
    sp_vec_each(&w->listeners, l) if ((*l)->bound) sp_io_again(&(*l)->io);
}

static void on_accept_pause_over(sp_alarm *a) {
    sp_worker_resume_accept(SP_CONTAINER(a, sp_worker, accept_pause));
}

void sp_worker_init_accept(sp_worker *w) {
    sp_alarm_init(&w->accept_pause, on_accept_pause_over);
}

/* --- binding --- */

static size_t own_inodes(const sp_worker *w, uint64_t **ret) {
    size_t n = 0;
    uint64_t *list = sp_zalloc(w->listeners.n + 1, sizeof *list);
    sp_vec_each(&w->listeners, l) if ((*l)->bound) list[n++] = (*l)->inode;
    *ret = list;
    return n;
}

static bool taken_by_other(sp_listener *l) {
    char owner[128];
    uint64_t *own = NULL;
    size_t n = own_inodes(l->worker, &own);
    bool taken = l->addr.port && sp_port_owner(&l->addr, own, n, owner, sizeof owner);
    free(own);
    if (taken)
        snprintf(l->error, sizeof l->error, "port %u is already used by %s", l->addr.port, owner);
    return taken;
}

static bool explain_bind(sp_listener *l, int error) {
    char at[SP_ADDR_MAX];
    sp_addr_format(&l->addr, at);
    if (error == EADDRNOTAVAIL)
        snprintf(l->error, sizeof l->error, "%s is not an address of this machine", at);
    else if (error == EACCES)
        snprintf(l->error, sizeof l->error,
                 "port %u needs root or CAP_NET_BIND_SERVICE; choose one above 1023", l->addr.port);
    else
        snprintf(l->error, sizeof l->error, "cannot listen on %s: %s", at, strerror(error));
    return false;
}

static bool listen_on(sp_listener *l, int fd) {
    int one = 1;
    struct sockaddr_storage ss;
    socklen_t len = sp_addr_to_sock(&l->addr, &ss);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (l->addr.family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&ss, len) < 0 || listen(fd, BACKLOG) < 0) return false;
    len = sizeof ss;
    struct stat st;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0) l->addr = sp_addr_from_sock(&ss);
    if (fstat(fd, &st) == 0) l->inode = st.st_ino;
    return sp_poller_add(l->worker->poller, &l->io, fd, on_listener_event);
}

static bool bind_listener(sp_listener *l) {
    if (taken_by_other(l)) return false;
    int fd = socket(l->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return explain_bind(l, errno);
    if (!listen_on(l, fd)) {
        int error = errno;
        close(fd);
        return explain_bind(l, error);
    }
    l->error[0] = 0;
    return true;
}

/* True when the outcome is news. */
static bool try_bind(sp_listener *l) {
    char before[sizeof l->error];
    memcpy(before, l->error, sizeof before);
    l->bound = bind_listener(l);
    if (l->bound) {
        l->failures = 0;
        return true;
    }
    int64_t wait = SP_MIN((int64_t)RETRY_MIN_MS << SP_MIN(l->failures, 10u), RETRY_MAX_MS);
    l->failures++;
    l->retry_at_ms = sp_clock_mono_ms() + wait;
    return strcmp(before, l->error) != 0;
}

/* --- following the configuration --- */

static void on_retry(uv_timer_t *t);

static void schedule_retry(sp_worker *w) {
    int64_t at = 0, now = sp_clock_mono_ms();
    sp_vec_each(&w->listeners, l) {
        if (!(*l)->bound && (!at || (*l)->retry_at_ms < at)) at = (*l)->retry_at_ms;
    }
    uv_timer_stop(&w->retry_timer);
    if (at) uv_timer_start(&w->retry_timer, on_retry, (uint64_t)SP_MAX(at - now, 1), 0);
}

static void tell(sp_worker *w, bool news) {
    schedule_retry(w);
    if (news && w->on_listeners) w->on_listeners(w->on_listeners_ctx);
}

static void on_retry(uv_timer_t *t) {
    sp_worker *w = t->data;
    int64_t now = sp_clock_mono_ms();
    bool news = false;
    sp_vec_each(&w->listeners, l) {
        if (!(*l)->bound && (*l)->retry_at_ms <= now) news |= try_bind(*l);
    }
    tell(w, news);
}

static void close_listener(sp_listener *l) {
    sp_io_close(&l->io);
    l->bound = false;
    l->spec = NULL;
}

static sp_listener *find_listener(sp_worker *w, const sp_listener_spec *spec) {
    sp_vec_each(&w->listeners, l) {
        const sp_listener *it = *l;
        if (!it->seen && sp_addr_eq(&it->asked, &spec->addr)) return *l;
    }
    return NULL;
}

static sp_listener *add_listener(sp_worker *w, const sp_listener_spec *spec) {
    sp_listener *l = sp_zalloc(1, sizeof *l);
    l->refs = 1;
    l->worker = w;
    l->addr = l->asked = spec->addr;
    l->io.fd = -1;
    sp_vec_push(&w->listeners, l);
    return l;
}

static void drop_unseen(sp_worker *w) {
    for (size_t i = w->listeners.n; i-- > 0;) {
        sp_listener *l = w->listeners.p[i];
        if (l->seen) continue;
        sp_vec_remove(&w->listeners, i);
        close_listener(l);
        sp_listener_unref(l);
    }
}

void sp_worker_apply_listeners(sp_worker *w, const sp_gateway_config *c) {
    bool news = false;
    sp_vec_each(&w->listeners, l)(*l)->seen = false;
    for (size_t i = 0; i < c->listener_count; i++) {
        sp_listener *l = find_listener(w, &c->listeners[i]);
        if (!l) l = add_listener(w, &c->listeners[i]);
        l->seen = true;
        l->spec = &c->listeners[i];
    }
    drop_unseen(w); /* first, so that a port may change hands */
    sp_vec_each(&w->listeners, l) {
        if (!(*l)->bound && !(*l)->failures) news |= try_bind(*l);
    }
    tell(w, news);
}

void sp_worker_close_listeners(sp_worker *w) {
    sp_vec_each(&w->listeners, l)(*l)->seen = false;
    drop_unseen(w);
}

size_t sp_worker_listener_count(const sp_worker *w) {
    return w->listeners.n;
}

sp_listener_state sp_worker_listener(const sp_worker *w, size_t i) {
    const sp_listener *l = w->listeners.p[i];
    return (sp_listener_state){l->spec, l->addr, l->bound, l->error};
}
