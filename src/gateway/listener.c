/* Listeners: opened when the configuration names them, closed when it does not, tried again with
 * backoff while somebody else has the port. Which sockets belong to a port is decided in sockets.c,
 * for all loops together; a listener has its loop's share of them, its doors. */
#include "base/clock.h"
#include "base/log.h"
#include "gateway/datapath.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { ACCEPTS_PER_EVENT = 8, RETRY_MIN_MS = 500, RETRY_MAX_MS = 30000 };

void sp_listener_unref(sp_listener *l) {
    if (--l->refs) return;
    sp_counts_put(l->open);
    free(l);
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

static void take(sp_listener *l, int fd, const struct sockaddr_storage *from) {
    struct sockaddr_storage to;
    socklen_t len = sizeof to;
    sp_addr client = sp_addr_from_sock(from), local = l->addr;
    if (sp_addr_is_any(&local) && getsockname(fd, (struct sockaddr *)&to, &len) == 0)
        local = sp_addr_from_sock(&to);
    sp_listener_take(l, fd, &client, &local);
}

/* Nothing that an accept starts can drop the listener: configurations come between turns. */
static void on_listener_event(sp_io *io) {
    sp_listener *l = SP_CONTAINER(io, sp_door, io)->listener;
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

static void wake_doors(const sp_listener *l) {
    for (size_t i = 0; i < l->door_count; i++) sp_io_again(&l->doors[i].io);
}

void sp_worker_resume_accept(sp_worker *w) {
    w->accept_paused = false;
    sp_vec_each(&w->listeners, l) wake_doors(*l);
}

static void on_accept_pause_over(sp_alarm *a) {
    sp_worker_resume_accept(SP_CONTAINER(a, sp_worker, accept_pause));
}

void sp_worker_init_accept(sp_worker *w) {
    sp_alarm_init(&w->accept_pause, on_accept_pause_over);
}

/* --- binding --- */

/* The share of loop i of n: sockets i, i + n, … */
static bool open_doors(sp_listener *l) {
    const sp_worker *w = l->worker;
    size_t loops = SP_MAX(w->settings.loops, 1u), n = l->port->fds.n;
    l->doors = sp_zalloc(n / loops + 1, sizeof *l->doors);
    for (size_t i = w->settings.loop; i < n; i += loops) {
        sp_door *d = &l->doors[l->door_count];
        if (!sp_poller_add(w->poller, &d->io, l->port->fds.p[i], on_listener_event)) return false;
        d->listener = l;
        l->door_count++;
    }
    return true;
}

/* The sockets stay open: they are the port's, and perhaps another process's too by now. */
static void close_doors(sp_listener *l) {
    for (size_t i = 0; i < l->door_count; i++) sp_io_leave(&l->doors[i].io);
    sp_poller_bury(l->worker->poller, l->doors);
    l->doors = NULL;
    l->door_count = 0;
    sp_sockets_drop(l->worker->sockets, l->port);
    l->port = NULL;
    l->bound = false;
}

static bool bind_listener(sp_listener *l) {
    l->port = sp_sockets_hold(l->worker->sockets, &l->asked, l->which, l->error);
    if (!l->port) return false;
    if (!open_doors(l)) {
        snprintf(l->error, sizeof l->error, "cannot watch port %u: %s", l->asked.port,
                 strerror(errno));
        close_doors(l);
        return false;
    }
    l->addr = l->port->addr;
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
    if (l->bound) close_doors(l);
    l->spec = NULL;
    sp_listener_follow_tls(l);
}

static sp_listener *find_listener(sp_worker *w, const sp_listener_spec *spec) {
    sp_vec_each(&w->listeners, l) {
        const sp_listener *it = *l;
        if (!it->seen && sp_addr_eq(&it->asked, &spec->addr)) return *l;
    }
    return NULL;
}

/* Several may ask for "any free port". Every loop sees the same configurations in the same order,
 * so all count alike. */
static uint32_t next_of_same(const sp_worker *w, const sp_addr *asked) {
    uint32_t next = 0;
    sp_vec_each(&w->listeners, l) {
        if (sp_addr_eq(&(*l)->asked, asked)) next = SP_MAX(next, (*l)->which + 1);
    }
    return next;
}

static sp_listener *add_listener(sp_worker *w, const sp_listener_spec *spec) {
    sp_listener *l = sp_zalloc(1, sizeof *l);
    l->refs = 1;
    l->worker = w;
    l->addr = l->asked = spec->addr;
    l->which = next_of_same(w, &l->asked);
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
        sp_listener_follow_tls(l);
    }
    drop_unseen(w); /* first, so that a port may change hands */
    sp_vec_each(&w->listeners, l) {
        if (!(*l)->bound && !(*l)->failures) news |= try_bind(*l);
    }
    tell(w, news);
}

void sp_worker_close_listeners(sp_worker *w) {
    sp_vec_each(&w->listeners, l) if ((*l)->bound) close_doors(*l);
}

void sp_worker_free_listeners(sp_worker *w) {
    sp_vec_each(&w->listeners, l)(*l)->seen = false;
    drop_unseen(w);
    sp_vec_free(&w->listeners);
}

size_t sp_worker_listener_count(const sp_worker *w) {
    return w->listeners.n;
}

sp_listener_state sp_worker_listener(const sp_worker *w, size_t i) {
    const sp_listener *l = w->listeners.p[i];
    return (sp_listener_state){l->spec, l->addr, l->bound, l->refs - 1, l->connections, l->error};
}
