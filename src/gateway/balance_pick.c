/* Choosing inside of a group.
 *
 * Turns and least-loaded keep each group as a heap. For turns the key is a virtual time that grows
 * by 1/weight with each choice (earliest deadline first), which mixes unequal weights evenly; for
 * the least loaded it is (open + 1)/weight. Those that may not be taken now (tried, full) step
 * behind the heap's end for the moment of one choice. The others draw from the group by weight and
 * give up drawing for looking through it only when nearly nobody can be taken. */
#include "gateway/balance_internal.h"

enum { DRAWS = 4, TABLE_TRIES = 16 };

static const uint64_t key_scale = (uint64_t)1 << 32;

bool sp_balance_is_full(const sp_endpoint *e) {
    if (!e->max_connections) return false;
    uint32_t open = e->shared ? sp_count_now(&e->shared->open) : e->open;
    return open >= e->max_connections;
}

static bool was_tried(const sp_balance_query *q, const sp_endpoint *e) {
    for (size_t i = 0; i < q->tried_count; i++)
        if (q->tried[i] == e) return true;
    return false;
}

typedef struct choice {
    sp_balance *b;
    const sp_balance_query *q;
    sp_balance_algorithm algorithm;
    bool full; /* somebody could be taken but for the limit */
} choice;

static bool may_take(choice *c, const sp_endpoint *e) {
    if (was_tried(c->q, e)) return false;
    if (!sp_balance_is_full(e)) return true;
    c->full = true;
    return false;
}

/* --- heaps --- */

static bool before(const sp_endpoint *a, const sp_endpoint *b) {
    if (a->key != b->key) return (int64_t)(a->key - b->key) < 0;
    return a->order < b->order;
}

static void place(sp_balance *b, size_t at, sp_endpoint *e) {
    b->order[at] = e;
    e->at = (uint32_t)at;
}

static void sift_up(sp_balance *b, const sp_balance_group *g, size_t i) {
    sp_endpoint **heap = b->order + g->start, *e = heap[i];
    while (i && before(e, heap[(i - 1) / 2])) {
        place(b, g->start + i, heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(b, g->start + i, e);
}

static void sift_down(sp_balance *b, const sp_balance_group *g, size_t i, size_t n) {
    sp_endpoint **heap = b->order + g->start, *e = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], e)) break;
        place(b, g->start + i, heap[child]);
    }
    place(b, g->start + i, e);
}

static bool is_heap(const sp_balance *b) {
    return b->algorithm == SP_BALANCE_ROUND_ROBIN || b->algorithm == SP_BALANCE_LEAST;
}

static uint64_t load_key(const sp_endpoint *e) {
    return (e->open + 1) * key_scale / e->effective;
}

/* Who stayed away for long, or is new, begins at the present time and not in the past, or it would
 * get everything until it has caught up; the newcomers spread over their first step. */
static void renew_key(const sp_balance *b, const sp_balance_group *g, sp_endpoint *e) {
    uint64_t step = key_scale / e->effective;
    if (b->algorithm == SP_BALANCE_LEAST)
        e->key = load_key(e);
    else if (!e->key || e->key - b->now > step)
        e->key = b->now + step * (2 * (e->at - g->start) + 1) / (2 * g->n);
}

void sp_balance_heapify(sp_balance *b) {
    if (!is_heap(b)) return;
    sp_vec_each(&b->groups, g) {
        for (size_t i = 0; i < g->n; i++) renew_key(b, g, b->order[g->start + i]);
        for (size_t i = g->n / 2; i-- > 0;) sift_down(b, g, i, g->n);
    }
}

static void charge(sp_balance *b, const sp_balance_group *g, sp_endpoint *e) {
    e->order = ++b->seq;
    if (b->algorithm == SP_BALANCE_ROUND_ROBIN) {
        if ((int64_t)(e->key - b->now) > 0) b->now = e->key;
        e->key = b->now + key_scale / e->effective;
    }
    sift_down(b, g, e->at - g->start, g->n);
}

static sp_endpoint *from_heap(choice *c, const sp_balance_group *g) {
    sp_balance *b = c->b;
    sp_endpoint **heap = b->order + g->start, *found = NULL;
    size_t n = g->n;
    while (n && !found) {
        if (may_take(c, heap[0])) {
            found = heap[0];
            break;
        }
        sp_endpoint *last = heap[--n];
        place(b, g->start + n, heap[0]);
        place(b, g->start, last);
        if (n) sift_down(b, g, 0, n);
    }
    for (; n < g->n; n++) sift_up(b, g, n);
    if (found) charge(b, g, found);
    return found;
}

/* --- draws --- */

/* The endpoint whose share of the weights holds x. */
static sp_endpoint *at_share(const sp_balance *b, const sp_balance_group *g, uint64_t x) {
    if (g->even) return b->order[g->start + x / b->order[g->start]->effective];
    size_t low = g->start, high = g->start + g->n - 1;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (b->sums[mid] > x)
            high = mid;
        else
            low = mid + 1;
    }
    return b->order[low];
}

/* Weights are below 2^32: 65,535 endpoints of 65,536 each. */
static sp_endpoint *draw(const sp_balance *b, const sp_balance_group *g, uint32_t random) {
    return at_share(b, g, random * g->weights >> 32);
}

static sp_endpoint *draw_other(const sp_balance *b, const sp_balance_group *g,
                               const sp_endpoint *known, uint32_t random) {
    uint64_t x = random * (g->weights - known->effective) >> 32;
    if (x >= b->sums[known->at] - known->effective) x += known->effective;
    return at_share(b, g, x);
}

static sp_endpoint *less_loaded(sp_endpoint *a, sp_endpoint *b) {
    return (uint64_t)b->open * a->effective < (uint64_t)a->open * b->effective ? b : a;
}

static sp_endpoint *look_through(choice *c, const sp_balance_group *g, size_t from) {
    for (size_t i = 0; i < g->n; i++) {
        sp_endpoint *e = c->b->order[g->start + (from + i) % g->n];
        if (may_take(c, e)) return e;
    }
    return NULL;
}

static sp_endpoint *two_choices(choice *c, const sp_balance_group *g) {
    uint64_t random = c->q->random;
    for (int i = 0; i < DRAWS && g->n > 1; i++, random = sp_balance_mix(random)) {
        sp_endpoint *one = draw(c->b, g, (uint32_t)random);
        sp_endpoint *other = draw_other(c->b, g, one, (uint32_t)(random >> 32));
        bool take_one = may_take(c, one), take_other = may_take(c, other);
        if (take_one && take_other) return less_loaded(one, other);
        if (take_one || take_other) return take_one ? one : other;
    }
    return look_through(c, g, (size_t)(random % g->n));
}

static sp_endpoint *by_hash(choice *c, const sp_balance_group *g, uint32_t group) {
    uint64_t hash = c->q->hash ? c->q->hash : sp_balance_mix(c->q->random);
    for (unsigned i = 0; i < TABLE_TRIES; i++) {
        sp_endpoint *e = sp_balance_table_get(c->b, hash, i);
        if (e && e->group == group && e->at != SP_BALANCE_NOWHERE && may_take(c, e)) return e;
    }
    return look_through(c, g, (size_t)(hash % g->n));
}

static sp_endpoint *from_group(choice *c, uint32_t group) {
    const sp_balance_group *g = &c->b->groups.p[group];
    switch (c->algorithm) {
    case SP_BALANCE_ROUND_ROBIN:
    case SP_BALANCE_LEAST: return from_heap(c, g);
    case SP_BALANCE_HASH: return by_hash(c, g, group);
    case SP_BALANCE_FIRST: return look_through(c, g, 0);
    case SP_BALANCE_TWO_CHOICES: break;
    }
    return two_choices(c, g);
}

static sp_endpoint *choose(choice *c) {
    for (uint32_t i = 0; i < c->b->groups.n; i++) {
        sp_endpoint *e = from_group(c, i);
        if (e || (c->full && !c->b->groups.p[i].spills)) return e;
    }
    return NULL;
}

/* --- those who are expected somewhere --- */

/* Well, or on its way out and serving those it knows. */
static bool still_serves(choice *c, const sp_endpoint *e, bool or_draining) {
    bool well = e->ready && e->avoid_until_ms <= c->q->now_ms && e->eject_until_ms <= c->q->now_ms;
    return (well || (or_draining && e->draining && !e->ready)) && may_take(c, e);
}

/* sessionAffinity: where a client goes first is told by a hash of its address, on which all loops
 * (and all gateways) agree without asking each other; each remembers it, so that a client stays
 * when the list changes. When the table is full even after the expired ones have left, the hash
 * alone still sends the same client to the same endpoint while the list stands still. */
typedef struct visit {
    uint64_t endpoint;
    int64_t expires_ms;
} visit;

static sp_str client_key(const sp_addr *client) {
    return (sp_str){(const char *)client->ip, sizeof client->ip};
}

static void drop_expired(sp_balance *b, int64_t now_ms) {
    sp_str key;
    void *value;
    for (size_t at = 0; sp_map_next(&b->clients, &at, &key, &value);) {
        if (((visit *)value)->expires_ms > now_ms) continue;
        sp_map_del(&b->clients, key);
        free(value);
    }
}

void sp_balance_forget_clients(sp_balance *b) {
    void *value;
    for (size_t at = 0; sp_map_next(&b->clients, &at, NULL, &value);) free(value);
    sp_map_free(&b->clients);
}

static void remember(choice *c, const sp_endpoint *e) {
    sp_balance *b = c->b;
    visit *v = sp_map_get(&b->clients, client_key(c->q->client));
    if (!v) {
        if (b->clients.n >= SP_BALANCE_MAX_CLIENTS) drop_expired(b, c->q->now_ms);
        if (b->clients.n >= SP_BALANCE_MAX_CLIENTS) return;
        v = sp_malloc(sizeof *v);
        sp_map_put(&b->clients, client_key(c->q->client), v);
    }
    *v = (visit){e->id, c->q->now_ms + b->affinity_ms};
}

static sp_endpoint *recall(choice *c) {
    const visit *v = sp_map_get(&c->b->clients, client_key(c->q->client));
    if (!v || v->expires_ms <= c->q->now_ms) return NULL;
    sp_endpoint *e = sp_balance_by_id(c->b, v->endpoint);
    return e && still_serves(c, e, false) ? e : NULL;
}

static uint64_t client_hash(const sp_addr *client) {
    sp_addr host = *client;
    host.port = 0;
    return sp_balance_mix(sp_balance_addr_hash(&host));
}

static sp_endpoint *with_affinity(choice *c) {
    sp_balance_query by_source = *c->q;
    by_source.hash = client_hash(c->q->client);
    choice first = {c->b, &by_source, SP_BALANCE_HASH, false};
    sp_endpoint *e = recall(c);
    if (!e) e = choose(&first);
    c->full |= first.full;
    if (e) remember(c, e);
    return e;
}

sp_endpoint *sp_balance_pick(sp_balance *b, const sp_balance_query *q, bool *ret_full) {
    choice c = {b, q, b->algorithm, false};
    if (!b->built || q->now_ms >= b->next_change_ms) sp_balance_build(b, q->now_ms);
    sp_endpoint *e = q->sticky ? sp_balance_by_sticky(b, q->sticky) : NULL;
    if (e && !still_serves(&c, e, true)) e = NULL;
    if (!e) e = b->affinity_ms && q->client ? with_affinity(&c) : choose(&c);
    *ret_full = !e && c.full;
    return e;
}

/* --- counting --- */

static void load_changed(sp_endpoint *e, bool more) {
    sp_balance *b = e->home;
    if (!b || !b->built || b->algorithm != SP_BALANCE_LEAST || e->at == SP_BALANCE_NOWHERE) return;
    const sp_balance_group *g = &b->groups.p[e->group];
    e->key = load_key(e);
    if (more)
        sift_down(b, g, e->at - g->start, g->n);
    else
        sift_up(b, g, e->at - g->start);
}

void sp_balance_opened(sp_endpoint *e) {
    e->open++;
    if (e->shared) sp_count_add(&e->shared->open, 1);
    load_changed(e, true);
}

bool sp_balance_try_open(sp_endpoint *e) {
    if (e->shared ? !sp_count_try(&e->shared->open, e->max_connections) : sp_balance_is_full(e))
        return false;
    e->open++;
    load_changed(e, true);
    return true;
}

void sp_balance_closed(sp_endpoint *e) {
    sp_assert(e->open > 0);
    e->open--;
    if (e->shared) sp_count_add(&e->shared->open, -1);
    load_changed(e, false);
}
