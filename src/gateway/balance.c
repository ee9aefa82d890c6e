/* See balance.h. Affinity remembers where each client went; when the table is full even after the
 * expired ones have left, further clients are spread by a hash of their address, which needs no
 * memory and still sends the same client to the same endpoint while the list stands still. */
#include "gateway/balance.h"

typedef struct sticky {
    sp_addr endpoint;
    int64_t expires_ms;
} sticky;

typedef enum tier { TIER_READY, TIER_READY_AVOIDED, TIER_DRAINING, TIER_NONE } tier;

static bool was_tried(const sp_balance_query *q, const sp_endpoint *e) {
    for (size_t i = 0; i < q->tried_count; i++)
        if (q->tried[i] == e) return true;
    return false;
}

static tier tier_of(const sp_endpoint *e, const sp_balance_query *q) {
    if (was_tried(q, e)) return TIER_NONE;
    if (e->ready) return e->avoid_until_ms > q->now_ms ? TIER_READY_AVOIDED : TIER_READY;
    return e->draining ? TIER_DRAINING : TIER_NONE;
}

static tier best_tier(const sp_balance *b, const sp_balance_query *q, size_t *ret_count) {
    size_t count[TIER_NONE + 1] = {0};
    sp_vec_each(&b->list, e) count[tier_of(*e, q)]++;
    for (tier t = TIER_READY; t < TIER_NONE; t++) {
        if (!count[t]) continue;
        *ret_count = count[t];
        return t;
    }
    return TIER_NONE;
}

/* The nth endpoint of the tier, in list order. */
static sp_endpoint *nth(const sp_balance *b, const sp_balance_query *q, tier t, size_t n) {
    sp_vec_each(&b->list, e) if (tier_of(*e, q) == t && n-- == 0) return *e;
    return NULL;
}

static sp_endpoint *round_robin(sp_balance *b, const sp_balance_query *q, tier t) {
    for (size_t i = 0; i < b->list.n; i++) {
        size_t at = (b->next + i) % b->list.n;
        if (tier_of(b->list.p[at], q) != t) continue;
        b->next = at + 1;
        return b->list.p[at];
    }
    return NULL;
}

static sp_endpoint *two_choices(const sp_balance *b, const sp_balance_query *q, tier t,
                                size_t count) {
    size_t first = (size_t)((q->random & 0xffffffff) % count);
    sp_endpoint *one = nth(b, q, t, first);
    if (count == 1) return one;
    size_t second = (first + 1 + (size_t)((q->random >> 32) % (count - 1))) % count;
    sp_endpoint *other = nth(b, q, t, second);
    return other->open < one->open ? other : one;
}

static sp_endpoint *choose(sp_balance *b, const sp_balance_query *q) {
    size_t count = 0;
    tier t = best_tier(b, q, &count);
    if (t == TIER_NONE) return NULL;
    return b->algorithm == SP_BALANCE_ROUND_ROBIN ? round_robin(b, q, t)
                                                  : two_choices(b, q, t, count);
}

static sp_str client_key(const sp_addr *client) {
    return (sp_str){(const char *)client->ip, sizeof client->ip};
}

static void drop_expired(sp_balance *b, int64_t now_ms) {
    sp_str key;
    void *value;
    for (size_t at = 0; sp_map_next(&b->clients, &at, &key, &value);) {
        if (((sticky *)value)->expires_ms > now_ms) continue;
        sp_map_del(&b->clients, key);
        free(value);
    }
}

static void remember(sp_balance *b, const sp_balance_query *q, const sp_endpoint *e) {
    sticky *s = sp_map_get(&b->clients, client_key(q->client));
    if (!s) {
        if (b->clients.n >= SP_BALANCE_MAX_CLIENTS) drop_expired(b, q->now_ms);
        if (b->clients.n >= SP_BALANCE_MAX_CLIENTS) return;
        s = sp_malloc(sizeof *s);
        sp_map_put(&b->clients, client_key(q->client), s);
    }
    *s = (sticky){e->addr, q->now_ms + b->affinity_ms};
}

static sp_endpoint *recall(const sp_balance *b, const sp_balance_query *q) {
    const sticky *s = sp_map_get(&b->clients, client_key(q->client));
    if (!s || s->expires_ms <= q->now_ms) return NULL;
    sp_vec_each(&b->list, e) {
        if (sp_addr_eq(&(*e)->addr, &s->endpoint)) return tier_of(*e, q) == TIER_READY ? *e : NULL;
    }
    return NULL;
}

sp_endpoint *sp_balance_pick(sp_balance *b, const sp_balance_query *q) {
    if (!b->affinity_ms || !q->client) return choose(b, q);
    sp_endpoint *e = recall(b, q);
    if (!e && b->clients.n >= SP_BALANCE_MAX_CLIENTS) {
        sp_balance_query spread = *q;
        spread.random = sp_str_hash(client_key(q->client));
        e = choose(b, &spread);
    }
    if (!e) e = choose(b, q);
    if (e) remember(b, q, e);
    return e;
}

void sp_balance_connected(sp_endpoint *e) {
    e->failures = 0;
    e->avoid_until_ms = 0;
}

void sp_balance_connect_failed(sp_endpoint *e, int64_t now_ms) {
    uint32_t doublings = SP_MIN(e->failures, 10u);
    int64_t avoid = SP_MIN((int64_t)SP_BALANCE_AVOID_MS << doublings, SP_BALANCE_AVOID_MAX_MS);
    e->failures++;
    e->avoid_until_ms = now_ms + avoid;
}

void sp_balance_free(sp_balance *b) {
    void *value;
    for (size_t at = 0; sp_map_next(&b->clients, &at, NULL, &value);) free(value);
    sp_map_free(&b->clients);
    sp_vec_free(&b->list);
}
