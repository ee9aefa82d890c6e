/* TCP through: two sockets, two directions, each with its own end.
 *
 * A direction copies through the worker's scratch while messages are small, and turns to splice
 * through a 1 MiB pipe after one read that filled the scratch (measured: splice halves the CPU per
 * byte of bulk and costs a fifth more per small message). What the other side does not take at once
 * waits in one buffer (or the pipe), and nothing more is read until it is gone: that is the
 * back-pressure. The end of one direction is passed on as a half close; a reset as a reset.
 *
 * Now and then somebody looks whether both sides are still there. The kernel's keep-alive probes
 * find a silent peer that vanished, but with unacknowledged data it would go on for a quarter of an
 * hour (kubernetes/kubernetes#48638). */
#include "base/clock.h"
#include "gateway/datapath.h"
#include "gateway/proxy_header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIPE_BYTES = 1 << 20, SPARE_PIPES = 16, LOOK_EVERY_MS = 15000 };

typedef struct half {
    sp_pipe pipe; /* read < 0: copying */
    uint32_t in_pipe;
    bool up;   /* from the client to the server */
    bool bulk; /* the last read filled the scratch */
    bool done; /* the end was passed on */
} half;

typedef struct tunnel {
    sp_session s; /* first: buried by its address */
    sp_listener *listener;
    sp_sock client, server;
    half up, down;
    sp_dial *dial; /* while it goes on: an idle tunnel does without its half KiB */
    sp_pool *pool;
    sp_upstream *upstream;
    uint32_t cuts;                    /* of it, when it was chosen */
    uint64_t counted_in, counted_out; /* of the client's bytes, in the statistics already */
    int64_t started_ms, moved_ms;
    sp_alarm watch;        /* keep-alive probes for those that last; idle timeout */
    uint32_t pool_idle_ms; /* 0 = no limit */
    bool upgraded;         /* from HTTP */
    bool probed;
} tunnel;

static sp_sock *from(half *h) {
    return h->up ? &SP_CONTAINER(h, tunnel, up)->client : &SP_CONTAINER(h, tunnel, down)->server;
}

static sp_sock *to(half *h) {
    return h->up ? &SP_CONTAINER(h, tunnel, up)->server : &SP_CONTAINER(h, tunnel, down)->client;
}

static half *other(half *h) {
    return h->up ? &SP_CONTAINER(h, tunnel, up)->down : &SP_CONTAINER(h, tunnel, down)->up;
}

/* --- pipes --- */

static bool take_pipe(sp_worker *w, sp_pipe *ret) {
    int fds[2];
    if (w->pipes.n) {
        *ret = w->pipes.p[--w->pipes.n];
        return true;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) return false;
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* past the user's limit: stays smaller */
    *ret = (sp_pipe){fds[0], fds[1]};
    return true;
}

static void close_pipe(sp_pipe p) {
    close(p.read);
    close(p.write);
}

static void give_pipe(sp_worker *w, half *h) {
    if (h->pipe.read < 0) return;
    if (h->in_pipe || w->pipes.n >= SPARE_PIPES)
        close_pipe(h->pipe);
    else
        sp_vec_push(&w->pipes, h->pipe);
    h->pipe = (sp_pipe){-1, -1};
    h->in_pipe = 0;
}

void sp_worker_close_pipes(sp_worker *w) {
    sp_vec_each(&w->pipes, p) close_pipe(*p);
    sp_vec_free(&w->pipes);
}

/* --- one direction --- */

/* False when the pipe is still full. */
static bool drain_pipe(half *h) {
    sp_sock *dest = to(h);
    while (h->in_pipe) {
        if (!dest->io.writable) return false;
        ssize_t n = splice(h->pipe.read, NULL, dest->io.fd, NULL, h->in_pipe,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0) {
            dest->io.writable = false;
            if (errno != EAGAIN) dest->broken = true;
            return false;
        }
        h->in_pipe -= (uint32_t)n;
        dest->sent += (uint64_t)n;
    }
    return true;
}

/* The pipe is empty here, so "would block" can only mean that the socket is. */
static void fill_pipe(sp_worker *w, half *h) {
    sp_sock *src = from(h);
    ssize_t n = splice(src->io.fd, NULL, h->pipe.write, NULL, PIPE_BYTES,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        h->in_pipe = (uint32_t)n;
        src->received += (uint64_t)n;
        return;
    }
    src->io.readable = false;
    if (n == 0)
        src->eof = true;
    else if (errno == EINVAL)
        src->io.readable = true; /* no splice here: copy */
    else if (errno != EAGAIN)
        src->failed = true;
    give_pipe(w, h);
    h->bulk = false;
}

static void copy_once(sp_worker *w, half *h) {
    sp_str bytes = sp_sock_read(w, from(h));
    /* Its end is behind these bytes already, and found by one of the next reads. */
    to(h)->ending = from(h)->io.hup && !from(h)->io.error && !from(h)->tls;
    h->bulk = bytes.n >= SP_READ_SIZE && !from(h)->tls && !to(h)->tls;
    if (bytes.n) sp_sock_write(w, to(h), bytes);
}

static bool broken(half *h) {
    return from(h)->failed || to(h)->broken;
}

/* Moves what can be moved now; false when it used up its share of the turn. */
static bool run_half(sp_worker *w, half *h) {
    sp_sock *src = from(h), *dest = to(h);
    for (int budget = SP_RUN_BUDGET; budget > 0; budget--) {
        if (h->done || broken(h) || !drain_pipe(h)) return true;
        sp_sock_flush(w, dest);
        if (sp_sock_blocked(dest) || dest->broken) return true;
        if (src->eof && !src->in.n) {
            bool last = other(h)->done && !dest->tls; /* the close that follows says it */
            if (!last) sp_sock_shutdown(w, dest);
            h->done = last || dest->shut;
            return true;
        }
        if (!sp_sock_has_input(src) && !src->in.n) return true;
        if (h->bulk && h->pipe.read < 0 && !take_pipe(w, &h->pipe)) h->bulk = false;
        if (h->pipe.read >= 0)
            fill_pipe(w, h);
        else
            copy_once(w, h);
    }
    return false;
}

/* --- the whole --- */

static void log_tunnel(tunnel *t) {
    if (t->s.worker->settings.access_log_fd < 0) return;
    int64_t ms = sp_poller_now_ms(t->s.worker->poller) - t->started_ms;
    sp_access a = {.client = t->s.client,
                   .local = t->s.local,
                   .tls = sp_sock_is_tls(&t->client),
                   .server_name = sp_str_z(t->s.server_name ? t->s.server_name : ""),
                   .in = t->client.received,
                   .out = t->client.sent,
                   .wall_ms = sp_clock_wall_ms() - ms,
                   .connected_us = -1,
                   .answered_us = -1,
                   .total_us = ms * 1000,
                   .attempts = 1,
                   .cut = broken(&t->up) || broken(&t->down)};
    if (t->listener->spec) a.listener = t->listener->spec->owner;
    if (t->pool) a.pool = t->pool->name;
    if (t->upstream) a.endpoint = t->upstream->e.addr;
    if (t->upstream) a.server = t->upstream->name;
    sp_worker_log_access(t->s.worker, &a);
}

static void count(tunnel *t) {
    sp_worker_stats *stats = &t->s.worker->stats;
    uint64_t in = t->client.received - t->counted_in, out = t->client.sent - t->counted_out;
    t->counted_in += in;
    t->counted_out += out;
    if (in || out) t->moved_ms = sp_poller_now_ms(t->s.worker->poller);
    stats->bytes_in += in;
    stats->bytes_out += out;
    if (!t->upstream) return;
    t->upstream->counts.bytes_in += in;
    t->upstream->counts.bytes_out += out;
}

static void end_dial(tunnel *t) {
    if (!t->dial) return;
    sp_dial_cancel(t->dial);
    sp_poller_bury(t->s.worker->poller, t->dial);
    t->dial = NULL;
}

/* The server's own reset speaks against it; a client that leaves says nothing. */
static void report(tunnel *t, bool reset) {
    if (!t->pool || !t->upstream) return;
    if (t->server.failed)
        sp_upstream_report(t->s.worker, t->upstream, SP_OUTCOME_RESET);
    else if (!reset)
        sp_upstream_report(t->s.worker, t->upstream, SP_OUTCOME_OK);
}

static void end(tunnel *t, bool reset) {
    sp_worker *w = t->s.worker;
    report(t, reset);
    count(t);
    log_tunnel(t);
    end_dial(t);
    sp_alarm_stop(&t->watch);
    give_pipe(w, &t->up);
    give_pipe(w, &t->down);
    sp_sock_close(w, &t->client, reset);
    sp_sock_close(w, &t->server, reset);
    sp_upstream_release(t->upstream);
    sp_pool_unref(w, t->pool);
    sp_listener_unref(t->listener);
    sp_session_close(&t->s);
}

/* Also while it was dialled, or switched. */
static bool is_cut(const tunnel *t) {
    return t->upstream && t->upstream->cuts != t->cuts;
}

static void run(tunnel *t) {
    sp_worker *w = t->s.worker;
    bool idle = run_half(w, &t->up);
    idle &= run_half(w, &t->down);
    count(t);
    if (is_cut(t) || broken(&t->up) || broken(&t->down))
        end(t, true);
    else if (t->up.done && t->down.done)
        end(t, false);
    else if (!idle)
        sp_io_again(&t->client.io);
}

/* While the dial goes on, the client's bytes wait in the kernel; only its death is of interest. */
static void on_client_event(sp_io *io) {
    tunnel *t = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), tunnel, client);
    if (!t->dial)
        run(t);
    else if (io->error)
        end(t, true);
}

static void on_server_event(sp_io *io) {
    run(SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), tunnel, server));
}

static void describe(sp_dial *d, sp_proxy_facts *f) {
    tunnel *t = d->ctx;
    f->target = t->s.local;
    f->server_name = sp_str_z(t->s.server_name);
    sp_proxy_facts_of_sock(f, &t->client);
}

static void on_dialed(sp_dial *d, sp_dial_result r) {
    tunnel *t = d->ctx;
    if (r != SP_DIAL_OK) {
        end(t, true);
        return;
    }
    t->upstream = d->upstream;
    t->cuts = d->cuts;
    d->upstream = NULL;
    sp_sock_take(&t->server, &d->sock, on_server_event);
    end_dial(t);
    run(t);
}

static void stop(sp_session *s, bool force) {
    if (force) end((tunnel *)(void *)s, true);
}

void sp_tunnel_end_cut(sp_worker *w) {
    sp_list_each(&w->sessions, l) {
        sp_session *s = SP_CONTAINER(l, sp_session, link);
        tunnel *t = s->stop == stop ? (tunnel *)(void *)s : NULL;
        if (t && is_cut(t)) end(t, true);
    }
}

static uint32_t idle_limit(const tunnel *t) {
    const sp_listener_spec *spec = t->listener->spec;
    uint32_t ms = spec ? spec->idle_timeout_ms : 0;
    if (t->upgraded) return spec ? spec->upgraded_idle_ms : 0;
    return !ms || (t->pool_idle_ms && t->pool_idle_ms < ms) ? t->pool_idle_ms : ms;
}

sp_tunnel_sight sp_tunnel_look(const sp_sock *client, const sp_sock *server, int64_t quiet_ms,
                               uint32_t limit_ms, uint32_t *ret_again_ms) {
    if (sp_sock_vanished(client) || sp_sock_vanished(server)) return SP_TUNNEL_GONE;
    if (limit_ms && quiet_ms >= limit_ms) return SP_TUNNEL_IDLE;
    int64_t again = limit_ms ? SP_MIN(limit_ms - quiet_ms, LOOK_EVERY_MS) : LOOK_EVERY_MS;
    *ret_again_ms = (uint32_t)again;
    return SP_TUNNEL_LIVES;
}

/* Most connections are over before it rings first, and cost the server's socket no options. */
static void on_watch(sp_alarm *a) {
    tunnel *t = SP_CONTAINER(a, tunnel, watch);
    sp_poller *p = t->s.worker->poller;
    uint32_t again;
    if (!t->probed && t->server.io.fd >= 0) sp_sock_probe(t->server.io.fd);
    t->probed |= t->server.io.fd >= 0;
    sp_tunnel_sight sight = sp_tunnel_look(
        &t->client, &t->server, sp_poller_now_ms(p) - t->moved_ms, idle_limit(t), &again);
    if (sight == SP_TUNNEL_LIVES)
        sp_alarm_after(p, a, t->probed ? again : SP_MIN(again, (uint32_t)SP_TUNNEL_FIRST_LOOK_MS));
    else
        end(t, sight == SP_TUNNEL_GONE);
}

static tunnel *new_tunnel(sp_listener *l, const sp_addr *client, const sp_addr *local) {
    sp_worker *w = l->worker;
    tunnel *t = sp_zalloc(1, sizeof *t);
    sp_session_open(&t->s, w, client, local);
    sp_session_count(&t->s, l);
    t->s.stop = stop;
    t->listener = l;
    l->refs++;
    t->client.io.fd = t->server.io.fd = -1;
    t->up = (half){.up = true, .pipe = {-1, -1}};
    t->down = (half){.pipe = {-1, -1}};
    t->started_ms = t->moved_ms = sp_poller_now_ms(w->poller);
    sp_alarm_init(&t->watch, on_watch);
    uint32_t limit = idle_limit(t);
    sp_alarm_after(w->poller, &t->watch,
                   limit ? SP_MIN(limit, (uint32_t)SP_TUNNEL_FIRST_LOOK_MS)
                         : SP_TUNNEL_FIRST_LOOK_MS);
    return t;
}

/* The client has sent something already. */
static bool spoke_first(const tunnel *t) {
    char c;
    if (t->client.unread) return true;
    return !t->client.tls && recv(t->client.io.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void begin(tunnel *t, const sp_targets *targets) {
    sp_worker *w = t->s.worker;
    uint32_t pool = sp_route_draw(targets, sp_worker_random(w));
    if (t->client.io.fd < 0 || pool == SP_NO_POOL) {
        end(t, true);
        return;
    }
    sp_affinity_request r = {.client = &t->s.client};
    t->pool_idle_ms = w->config->pools[pool].idle_timeout_ms;
    if (t->pool_idle_ms)
        sp_alarm_after(w->poller, &t->watch,
                       SP_MIN(idle_limit(t), (uint32_t)SP_TUNNEL_FIRST_LOOK_MS));
    t->pool = sp_pool_ref(w->pool_at.p[pool]);
    t->dial = sp_zalloc(1, sizeof *t->dial);
    t->dial->affinity = sp_affinity_of(&w->config->pools[pool], &r);
    t->dial->ctx = t;
    t->dial->probed_later = true;
    t->dial->speaks_first = spoke_first(t);
    t->dial->done = on_dialed;
    t->dial->describe = describe;
    sp_dial_start(t->dial, w, t->pool, &t->s.client);
}

void sp_tunnel_accept(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local) {
    tunnel *t = new_tunnel(l, client, local);
    if (!sp_sock_open(l->worker, &t->client, fd, on_client_event)) close(fd);
    begin(t, &l->spec->plain.targets);
}

void sp_tunnel_take(sp_listener *l, sp_sock *sock, const sp_addr *client, const sp_addr *local,
                    char *server_name, const sp_targets *targets) {
    tunnel *t = new_tunnel(l, client, local);
    t->s.server_name = server_name;
    sp_sock_take(&t->client, sock, on_client_event);
    begin(t, targets);
}

void sp_tunnel_join(sp_listener *l, sp_sock *client, sp_sock *server, sp_upstream *upstream,
                    uint32_t cuts, const sp_addr *client_addr, const sp_addr *local) {
    tunnel *t = new_tunnel(l, client_addr, local);
    sp_sock_take(&t->client, client, on_client_event);
    sp_sock_take(&t->server, server, on_server_event);
    t->upstream = upstream;
    t->cuts = cuts;
    t->upgraded = true;
    t->client.io.readable = t->server.io.readable = true;
    sp_io_again(&t->client.io); /* not from here: the caller is about to end its session */
}
