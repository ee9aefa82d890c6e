/* Dials that wait for a place: first come, first served, per loop. A place that this loop gives up
 * is given on at the end of the turn, so that nobody's end runs inside of another's; places that
 * other loops give up are found by looking again every few milliseconds while somebody waits. */
#include "gateway/datapath.h"

enum { LOOK_AGAIN_MS = 8 };

/* Connections of TCP and requests of HTTP are the same here: what is under way. */
uint32_t sp_pool_limit(const sp_pool *p) {
    uint32_t a = p->limits.max_connections, b = p->limits.max_requests;
    return !a ? b : !b ? a : SP_MIN(a, b);
}

static void on_look_again(sp_alarm *a) {
    sp_queue_place_free(SP_CONTAINER(a, sp_pool, look_again));
}

void sp_queue_init(sp_pool *p) {
    sp_list_init(&p->queue);
    sp_list_init(&p->may_have_place);
    sp_alarm_init(&p->look_again, on_look_again);
}

void sp_queue_end(sp_pool *p) {
    sp_assert(sp_list_empty(&p->queue));
    sp_list_remove(&p->may_have_place);
    sp_alarm_stop(&p->look_again);
}

bool sp_queue_enter(sp_dial *d, bool in_front) {
    sp_pool *p = d->pool;
    sp_list_remove(&d->waiting);
    if (!sp_count_try(&p->shared->pending, in_front ? 0 : p->limits.max_pending)) return false;
    if (in_front)
        sp_list_append(p->queue.next, &d->waiting); /* before the first */
    else
        sp_list_append(&p->queue, &d->waiting);
    if (!in_front) d->worker->stats.queued++;
    d->queued = true;
    if (p->queued++ == 0) sp_alarm_after(d->worker->poller, &p->look_again, LOOK_AGAIN_MS);
    return true;
}

void sp_queue_leave(sp_dial *d) {
    if (!d->queued) return;
    sp_list_remove(&d->waiting);
    d->queued = false;
    d->pool->queued--;
    sp_count_add(&d->pool->shared->pending, -1);
}

void sp_queue_place_free(sp_pool *p) {
    if (p->queued && sp_list_empty(&p->may_have_place))
        sp_list_append(&p->worker->queues, &p->may_have_place);
}

static void run_queue(sp_pool *p) {
    while (!sp_list_empty(&p->queue))
        if (!sp_dial_from_queue(SP_CONTAINER(p->queue.next, sp_dial, waiting))) break;
    if (p->queued && !sp_alarm_running(&p->look_again))
        sp_alarm_after(p->worker->poller, &p->look_again, LOOK_AGAIN_MS);
}

/* The end of a dial may be the end of its pool. */
void sp_worker_run_queues(sp_worker *w) {
    sp_list now;
    sp_list_init(&now);
    while (!sp_list_empty(&w->queues)) {
        sp_list *l = w->queues.next;
        sp_list_remove(l);
        sp_list_append(&now, l);
    }
    while (!sp_list_empty(&now)) {
        sp_pool *p = SP_CONTAINER(now.next, sp_pool, may_have_place);
        sp_list_remove(&p->may_have_place);
        sp_pool_ref(p);
        run_queue(p);
        sp_pool_unref(w, p);
    }
}
