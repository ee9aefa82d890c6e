/* From a pool to a connected socket: picks an endpoint, connects, goes on to the next one when that
 * fails or the endpoint leaves meanwhile. Where limits leave no place it waits in the pool's queue
 * (queue.c). With no endpoint to try it waits for one to appear; when
 * all have refused it pauses a moment and asks them again; both end together after
 * SP_TIMEOUT_ENDPOINT. */
#include "gateway/datapath.h"

#include <errno.h>
#include <unistd.h>

static void attempt(sp_dial *d);
static void wait_for_answer(sp_dial *d);

static void stop_waiting(sp_dial *d) {
    sp_hedge_end(d, false);
    sp_alarm_stop(&d->timeout);
    sp_alarm_stop(&d->pause);
    sp_alarm_stop(&d->give_up);
    sp_queue_leave(d);
    sp_list_remove(&d->waiting);
    sp_pool_give_retry(d->pool, &d->retrying);
}

static void finish(sp_dial *d, sp_dial_result r) {
    stop_waiting(d);
    d->active = false;
    if (r == SP_DIAL_NO_ENDPOINT) d->worker->stats.no_endpoint++;
    d->done(d, r);
}

static void drop_upstream(sp_dial *d) {
    sp_sock_close(d->worker, &d->sock, false);
    sp_alarm_stop(&d->timeout);
    sp_upstream_release(d->upstream);
    d->upstream = NULL;
}

void sp_dial_count_failure(sp_dial *d, sp_upstream *u, const char *why) {
    u->counts.connect_failures++;
    sp_upstream_failed(u, why);
    sp_upstream_report(d->worker, u, SP_OUTCOME_CONNECT_FAILED);
    d->worker->stats.connect_failures++;
    d->failed_count++;
    if (d->tried_count < SP_MAX_TRIES) d->tried[d->tried_count++] = &u->e;
}

bool sp_dial_failed(sp_dial *d, bool timed_out, const char *why) {
    sp_dial_count_failure(d, d->upstream, why);
    d->timed_out = timed_out;
    drop_upstream(d);
    if (!sp_hedge_promote(d)) return false;
    wait_for_answer(d);
    return true;
}

static void on_timeout(sp_alarm *a) {
    sp_dial *d = SP_CONTAINER(a, sp_dial, timeout);
    if (!sp_dial_failed(d, true, "no answer to the connect in time")) attempt(d);
}

static void on_give_up(sp_alarm *a) {
    sp_dial *d = SP_CONTAINER(a, sp_dial, give_up);
    if (d->queued) {
        d->worker->stats.queue_timeouts++;
        finish(d, SP_DIAL_QUEUE_TIMEOUT);
        return;
    }
    d->waited = true;
    if (d->upstream) return; /* an attempt is under way: its end decides */
    finish(d, !d->failed_count ? SP_DIAL_NO_ENDPOINT
              : d->timed_out   ? SP_DIAL_TIMEOUT
                               : SP_DIAL_REFUSED);
}

static void on_pause_over(sp_alarm *a) {
    sp_dial *d = SP_CONTAINER(a, sp_dial, pause);
    d->tried_count = 0;
    attempt(d);
}

void sp_dial_connected(sp_dial *d) {
    sp_err err = {0};
    if (!d->sock.tls) sp_hedge_end(d, true);
    switch (sp_dial_secure(d, &err)) {
    case SP_SECURED_MORE: return;
    case SP_SECURED_FAILED:
        sp_dial_failed(d, false, err.text);
        attempt(d);
        return;
    case SP_SECURED_OK: break;
    }
    sp_upstream_report(d->worker, d->upstream, SP_OUTCOME_CONNECTED);
    d->worker->stats.upstream_connections++;
    d->upstream->counts.connections++;
    finish(d, SP_DIAL_OK);
}

void sp_dial_on_event(sp_io *io) {
    sp_dial *d = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), sp_dial, sock);
    if (!io->writable && !d->sock.tls) return;
    int error = sp_io_error(io);
    if (error) {
        if (!sp_dial_failed(d, error == ETIMEDOUT, strerror(error))) attempt(d);
        return;
    }
    sp_dial_connected(d);
}

bool sp_dial_connect(sp_dial *d, const sp_upstream *u, sp_sock *sock, void (*on_event)(sp_io *)) {
    const sp_addr *to = &u->e.addr;
    struct sockaddr_storage ss;
    socklen_t len = sp_addr_to_sock(to, &ss);
    int fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    sp_sock_tune(fd);
    if (!d->probed_later) sp_sock_probe(fd);
    if (d->speaks_first || d->pool->send_proxy || d->pool->tls_wanted) sp_sock_speak_first(fd);
    *sock = (sp_sock){0};
    bool begun = connect(fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS;
    if (!begun || !sp_poller_add(d->worker->poller, &sock->io, fd, on_event)) {
        int error = errno;
        close(fd);
        errno = error;
        return false;
    }
    return true;
}

static void wait_for_answer(sp_dial *d) {
    sp_alarm_start_or(d->worker->poller, &d->timeout, d->pool->connect_timeout_ms,
                      SP_TIMEOUT_CONNECT);
    sp_list_remove(&d->waiting);
    sp_list_append(&d->pool->waiters, &d->waiting);
}

/* Taken, or NULL. *ret_full: there are some, but all places are taken. */
sp_upstream *sp_dial_pick(sp_dial *d, bool *ret_full) {
    sp_balance_query q = {.now_ms = sp_poller_now_ms(d->worker->poller),
                          .random = sp_worker_random(d->worker),
                          .client = &d->client,
                          .hash = d->affinity.hash,
                          .sticky = d->affinity.sticky,
                          .tried = d->tried,
                          .tried_count = d->tried_count};
    uint32_t limit = sp_pool_limit(d->pool);
    *ret_full = limit && sp_count_now(&d->pool->shared->open) >= limit;
    if (*ret_full || d->tried_count == SP_MAX_TRIES) return NULL;
    sp_endpoint *e = sp_balance_pick(&d->pool->balance, &q, ret_full);
    if (!e) return NULL;
    sp_upstream *u = (sp_upstream *)(void *)e;
    if (sp_upstream_try(u)) return u;
    *ret_full = true; /* another loop was faster */
    return NULL;
}

static void wait_for_change(sp_dial *d) {
    if (d->waited) {
        on_give_up(&d->give_up);
        return;
    }
    if (!sp_alarm_running(&d->give_up))
        sp_alarm_start(d->worker->poller, &d->give_up, SP_TIMEOUT_ENDPOINT);
    sp_list_remove(&d->waiting);
    sp_list_append(&d->pool->waiters, &d->waiting);
    if (d->tried_count) sp_alarm_start(d->worker->poller, &d->pause, SP_TIMEOUT_RETRY);
}

/* False when the pool's budget for second attempts is used up. */
bool sp_dial_may_retry(sp_dial *d) {
    return d->in_budget || sp_pool_take_retry(d->pool, &d->retrying);
}

static void wait_for_place(sp_dial *d, bool in_front) {
    if (!sp_queue_enter(d, in_front)) {
        d->worker->stats.queue_refused++;
        finish(d, SP_DIAL_OVERLOADED);
        return;
    }
    if (!sp_alarm_running(&d->give_up))
        sp_alarm_start_or(d->worker->poller, &d->give_up, d->pool->limits.queue_timeout_ms,
                          SP_TIMEOUT_CONNECT);
    d->came_by_queue = true;
}

/* With an endpoint that is taken: true when the dial is over or waits for the connect. */
static bool go_to(sp_dial *d, sp_upstream *u) {
    sp_list_remove(&d->waiting);
    if (d->came_by_queue) sp_alarm_stop(&d->give_up);
    d->came_by_queue = false;
    d->upstream = u;
    d->cuts = u->cuts;
    if (d->failed_count) d->worker->stats.retries++;
    if (d->use_kept && d->use_kept(d)) {
        finish(d, SP_DIAL_KEPT);
        return true;
    }
    if (sp_dial_connect(d, u, &d->sock, sp_dial_on_event)) {
        sp_hedge_start(d);
        wait_for_answer(d);
        return true;
    }
    sp_dial_failed(d, false, strerror(errno));
    return false;
}

/* in_front: it stood first in the queue and goes back there when there is still no place. */
static void attempt_from(sp_dial *d, bool in_front) {
    bool full = false;
    sp_alarm_stop(&d->pause);
    for (;;) {
        if (d->failed_count && !sp_dial_may_retry(d)) {
            finish(d, d->timed_out ? SP_DIAL_TIMEOUT : SP_DIAL_REFUSED);
            return;
        }
        sp_upstream *u = sp_dial_pick(d, &full);
        if (u && go_to(d, u)) return;
        if (u) continue;
        if (full)
            wait_for_place(d, in_front);
        else
            wait_for_change(d);
        return;
    }
}

static void attempt(sp_dial *d) {
    attempt_from(d, false);
}

bool sp_dial_from_queue(sp_dial *d) {
    sp_pool *p = d->pool;
    uint32_t before = p->queued;
    sp_queue_leave(d);
    attempt_from(d, true);
    return p->queued < before;
}

void sp_dial_start(sp_dial *d, sp_worker *w, sp_pool *pool, const sp_addr *client) {
    d->worker = w;
    d->pool = pool;
    d->client = *client;
    d->upstream = NULL;
    d->sock = (sp_sock){.io.fd = -1};
    d->tried_count = d->failed_count = 0;
    if (d->avoid) d->tried[d->tried_count++] = d->avoid;
    d->timed_out = d->waited = d->queued = d->came_by_queue = d->retrying = false;
    d->active = true;
    sp_alarm_init(&d->timeout, on_timeout);
    sp_alarm_init(&d->give_up, on_give_up);
    sp_alarm_init(&d->pause, on_pause_over);
    sp_hedge_prepare(d);
    sp_list_init(&d->waiting);
    if (pool->queued) /* nobody overtakes */
        wait_for_place(d, false);
    else
        attempt(d);
}

/* Nobody answers any more where an endpoint was, not even with a reset: a connect that is under way
 * there would only run into its timeout. */
void sp_dial_retry(sp_dial *d) {
    sp_hedge_follow(d);
    if (d->upstream && !d->upstream->e.gone) {
        sp_list_append(&d->pool->waiters, &d->waiting);
        return;
    }
    sp_hedge_end(d, false);
    drop_upstream(d);
    d->tried_count = 0;
    attempt(d);
}

void sp_dial_cancel(sp_dial *d) {
    if (!d->active) return;
    d->active = false;
    stop_waiting(d);
    drop_upstream(d);
}
