/* A second connect beside one that does not answer (after RFC 8305): an address whose node or link
 * is gone swallows connects in silence, and who waits for the timeout waits for seconds. Only the
 * connect is done twice, before a byte was said; the first to answer is taken. A server that lost
 * is avoided like one that refused. */
#include "gateway/datapath.h"

#include <errno.h>

enum {
    SOONEST_MS = 100,
    STICKY_MS = 1000, /* more patience where another server is not as good: one lost SYN */
    UNIT = 16         /* of sp_pool.typical: ms / 16 */
};

struct sp_hedge {
    sp_dial *dial;
    sp_upstream *upstream; /* taken */
    uint32_t cuts;
    sp_sock sock;
    int64_t began_ms;
};

static void free_hedge(struct sp_hedge *h) {
    sp_worker *w = h->dial->worker;
    h->dial->hedge = NULL;
    sp_sock_close(w, &h->sock, false);
    sp_upstream_release(h->upstream);
    sp_poller_bury(w->poller, h);
}

/* Four times what is usual, so that a far server is not asked twice for its distance. */
static uint32_t patience_ms(const sp_dial *d) {
    const sp_balance *b = &d->pool->balance;
    uint32_t ms = SP_MAX((uint32_t)SOONEST_MS, 4 * d->pool->typical / UNIT);
    bool sticky = d->affinity.sticky || b->affinity_ms || b->algorithm == SP_BALANCE_HASH;
    return sticky ? ms + STICKY_MS : ms;
}

void sp_hedge_init(sp_pool *p) {
    enum { AT_FIRST_MS = 62 };
    p->typical = AT_FIRST_MS * UNIT;
}

static void remember(const sp_dial *d) {
    int64_t took = sp_poller_now_ms(d->worker->poller) - d->began_ms;
    uint32_t now = (uint32_t)SP_MIN(took, 60000) * UNIT;
    d->pool->typical += ((int32_t)now - (int32_t)d->pool->typical) / 8;
}

static void be_impatient(sp_dial *d) {
    if (d->pool->balance.list.n > 1)
        sp_alarm_after(d->worker->poller, &d->impatient, patience_ms(d));
}

static void on_hedge_event(sp_io *io) {
    struct sp_hedge *h = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), struct sp_hedge, sock);
    sp_dial *d = h->dial;
    if (!io->writable) return;
    int error = sp_io_error(io);
    if (!error) {
        d->worker->stats.hedges_won++;
        sp_dial_failed(d, true, "no answer to the connect before another server's");
        sp_dial_connected(d);
        return;
    }
    sp_upstream *lost = h->upstream;
    sp_dial_count_failure(d, lost, strerror(error));
    free_hedge(h);
    be_impatient(d); /* a third one may be better */
}

static bool same_rank(const sp_endpoint *a, const sp_endpoint *b) {
    return a->backup == b->backup && a->priority == b->priority;
}

static void on_impatient(sp_alarm *a) {
    sp_dial *d = SP_CONTAINER(a, sp_dial, impatient);
    const sp_endpoint *first = &d->upstream->e;
    bool full;
    if (d->tried_count == SP_MAX_TRIES || !sp_dial_may_retry(d)) return;
    d->tried[d->tried_count++] = first;
    sp_upstream *u = sp_dial_pick(d, &full);
    d->tried_count--;
    if (!u) return;
    struct sp_hedge *h = sp_zalloc(1, sizeof *h);
    *h = (struct sp_hedge){.dial = d, .upstream = u, .cuts = u->cuts, .sock.io.fd = -1};
    h->began_ms = sp_poller_now_ms(d->worker->poller);
    d->hedge = h;
    bool begun = same_rank(&u->e, first) && sp_dial_connect(d, u, &h->sock, on_hedge_event);
    d->worker->stats.hedges += begun;
    if (!begun) free_hedge(h);
}

void sp_hedge_prepare(sp_dial *d) {
    d->hedge = NULL;
    sp_alarm_init(&d->impatient, on_impatient);
}

void sp_hedge_start(sp_dial *d) {
    d->began_ms = sp_poller_now_ms(d->worker->poller);
    be_impatient(d);
}

void sp_hedge_follow(sp_dial *d) {
    if (d->hedge && d->hedge->upstream->e.gone) free_hedge(d->hedge);
}

void sp_hedge_end(sp_dial *d, bool connected) {
    if (connected) remember(d);
    sp_alarm_stop(&d->impatient);
    if (d->hedge) free_hedge(d->hedge);
}

bool sp_hedge_promote(sp_dial *d) {
    struct sp_hedge *h = d->hedge;
    sp_alarm_stop(&d->impatient);
    if (!h) return false;
    d->upstream = h->upstream;
    d->cuts = h->cuts;
    h->upstream = NULL;
    sp_sock_take(&d->sock, &h->sock, sp_dial_on_event);
    d->began_ms = h->began_ms;
    free_hedge(h);
    be_impatient(d);
    return true;
}
