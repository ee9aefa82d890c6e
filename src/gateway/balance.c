/* See balance.h. What this file decides is who is in which group and what a report means; how one
 * is chosen inside of a group stands in balance_pick.c, the hash table in balance_table.c. */
#include "gateway/balance_internal.h"

enum { WARM_STEPS = 32, WARM_STEP_MIN_MS = 20 };

/* --- groups --- */

typedef enum group_class { CLASS_READY, CLASS_READY_BACKUP, CLASS_OUT, CLASS_DRAINING } group_class;

/* Sorted by this; equal ones are one group. */
static uint32_t rank_of(const sp_balance *b, const sp_endpoint *e, int64_t now) {
    bool ready = e->ready || (b->panic && e->sick);
    bool last_resort = e->draining && !e->no_newcomers;
    if (!ready) return last_resort ? CLASS_DRAINING << 16 : SP_BALANCE_NOWHERE;
    bool out = e->avoid_until_ms > now || (e->eject_until_ms > now && !b->panic);
    uint32_t level = e->priority + (e->backup ? 256u : 0);
    return (uint32_t)(out ? CLASS_OUT : e->backup ? CLASS_READY_BACKUP : CLASS_READY) << 16 | level;
}

static uint32_t weight_of(const sp_endpoint *e) {
    return SP_MIN(e->weight ? e->weight : 1u, 256u);
}

/* A newcomer's share grows with its age; the next step is due when it would have grown visibly. */
static uint32_t warmed(sp_balance *b, const sp_endpoint *e, int64_t now) {
    uint32_t full = weight_of(e) * 256;
    int64_t age = now - e->ready_since_ms;
    if (!b->slow_start_ms || !e->ready_since_ms || age >= b->slow_start_ms) return full;
    int64_t step = SP_MAX(b->slow_start_ms / WARM_STEPS, WARM_STEP_MIN_MS);
    b->next_change_ms = SP_MIN(b->next_change_ms, now + step);
    return SP_MAX((uint32_t)(full * (uint64_t)SP_MAX(age, 0) / b->slow_start_ms), 1u);
}

static void note_end(sp_balance *b, int64_t at, int64_t now) {
    if (at > now) b->next_change_ms = SP_MIN(b->next_change_ms, at);
}

static bool in_panic(const sp_balance *b, int64_t now) {
    size_t well = 0, members = 0;
    if (!b->panic_percent) return false;
    sp_vec_each(&b->list, it) {
        const sp_endpoint *e = *it;
        members += e->ready || e->sick;
        well += e->ready && e->eject_until_ms <= now;
    }
    return well * 100 < members * b->panic_percent;
}

static int by_rank(const void *pa, const void *pb) {
    const sp_endpoint *a = *(sp_endpoint *const *)pa, *b = *(sp_endpoint *const *)pb;
    if (a->group != b->group) return a->group < b->group ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static size_t gather(sp_balance *b, int64_t now) {
    size_t n = 0;
    for (size_t i = 0; i < b->list.n; i++) {
        sp_endpoint *e = b->list.p[i];
        e->home = b;
        if (!e->order) e->order = ++b->seq;
        e->at = (uint32_t)i;
        e->effective = warmed(b, e, now);
        e->group = rank_of(b, e, now);
        note_end(b, e->avoid_until_ms, now);
        note_end(b, e->eject_until_ms, now);
        if (e->group == SP_BALANCE_NOWHERE)
            e->at = SP_BALANCE_NOWHERE;
        else
            b->order[n++] = e;
    }
    if (n) qsort(b->order, n, sizeof *b->order, by_rank);
    return n;
}

/* From ranks to numbers of groups. */
static void split(sp_balance *b, size_t n) {
    uint32_t rank = 0;
    b->groups.n = 0;
    for (size_t i = 0; i < n; i++) {
        sp_endpoint *e = b->order[i];
        if (!b->groups.n || e->group != rank) {
            sp_balance_group g = {.start = i, .even = true};
            if (b->groups.n && rank >> 16 == CLASS_READY && e->group >> 16 == CLASS_READY)
                b->groups.p[b->groups.n - 1].spills = true;
            rank = e->group;
            sp_vec_push(&b->groups, g);
        }
        sp_balance_group *g = &b->groups.p[b->groups.n - 1];
        g->even &= e->effective == b->order[g->start]->effective;
        g->weights += e->effective;
        b->sums[i] = g->weights;
        g->n++;
        e->group = (uint32_t)(b->groups.n - 1);
        e->at = (uint32_t)i;
    }
}

void sp_balance_build(sp_balance *b, int64_t now) {
    if (b->cap < b->list.n) {
        b->cap = b->list.n;
        b->order = sp_realloc(b->order, b->cap * sizeof(sp_endpoint *));
        b->sums = sp_realloc(b->sums, b->cap * sizeof *b->sums);
    }
    b->next_change_ms = INT64_MAX;
    b->panic = in_panic(b, now);
    split(b, gather(b, now));
    sp_balance_heapify(b);
    b->built = true;
}

static sp_str id_key(const uint64_t *id) {
    return (sp_str){(const char *)id, sizeof *id};
}

static void index_members(sp_balance *b) {
    sp_map_free(&b->by_id);
    sp_map_free(&b->by_sticky);
    sp_vec_each(&b->list, it) {
        sp_endpoint *e = *it;
        if (!e->id) e->id = sp_balance_mix(sp_balance_addr_hash(&e->addr));
        sp_map_put(&b->by_id, id_key(&e->id), e);
        if (e->sticky) sp_map_put(&b->by_sticky, id_key(&e->sticky), e);
    }
}

void sp_balance_changed(sp_balance *b, bool members) {
    b->built = false;
    if (!members) return;
    index_members(b);
    b->table_size = 0; /* made when it is wanted */
}

sp_endpoint *sp_balance_by_id(const sp_balance *b, uint64_t id) {
    return sp_map_get(&b->by_id, id_key(&id));
}

sp_endpoint *sp_balance_by_sticky(const sp_balance *b, uint64_t sticky) {
    return sp_map_get(&b->by_sticky, id_key(&sticky));
}

/* --- reports --- */

static bool may_eject(const sp_balance *b, int64_t now) {
    size_t out = 1, members = 0;
    sp_vec_each(&b->list, it) {
        members += (*it)->ready;
        out += (*it)->ready && (*it)->eject_until_ms > now;
    }
    if (members < 2) return false;
    if (!b->outlier.max_percent) return out < members;
    return out == 1 || out * 100 <= members * b->outlier.max_percent;
}

static int64_t shortest_ejection_ms(const sp_outlier_spec *o) {
    return o->eject_ms ? o->eject_ms : SP_BALANCE_EJECT_MS;
}

int64_t sp_balance_longest_ejection_ms(const sp_outlier_spec *o) {
    int64_t most = o->eject_max_ms ? o->eject_max_ms : SP_BALANCE_EJECT_MAX_MS;
    return SP_MAX(shortest_ejection_ms(o), most);
}

static bool eject(sp_balance *b, sp_endpoint *e, int64_t now) {
    int64_t ms = shortest_ejection_ms(&b->outlier) << SP_MIN(e->ejections, 16u);
    if (e->eject_until_ms > now || !may_eject(b, now)) return false;
    e->eject_until_ms = now + SP_MIN(ms, sp_balance_longest_ejection_ms(&b->outlier));
    e->ejections++;
    e->streak = 0;
    b->built = false;
    return true;
}

static void avoid(sp_balance *b, sp_endpoint *e, int64_t now) {
    uint32_t doublings = SP_MIN(e->failures, 10u);
    int64_t ms = SP_MIN((int64_t)SP_BALANCE_AVOID_MS << doublings, SP_BALANCE_AVOID_MAX_MS);
    e->failures++;
    e->avoid_until_ms = now + ms;
    b->built = false;
}

static void connected(sp_balance *b, sp_endpoint *e) {
    if (e->avoid_until_ms) b->built = false;
    e->failures = 0;
    e->avoid_until_ms = 0;
}

/* A good answer ends the row; of ejections only when it came after the last one was over. */
static void worked(sp_endpoint *e, int64_t now) {
    e->streak = 0;
    if (e->eject_until_ms && e->eject_until_ms <= now) {
        e->eject_until_ms = 0;
        e->ejections = 0;
    }
}

bool sp_balance_report(sp_balance *b, sp_endpoint *e, sp_outcome o, int64_t now) {
    uint16_t limit = b->outlier.consecutive;
    if (e->gone) return false;
    switch (o) {
    case SP_OUTCOME_CONNECTED: connected(b, e); return false;
    case SP_OUTCOME_OK: worked(e, now); return false;
    case SP_OUTCOME_CONNECT_FAILED: avoid(b, e, now); break;
    case SP_OUTCOME_RESET: break;
    case SP_OUTCOME_5XX:
        if (!b->outlier.http) return false;
        break;
    }
    if (!limit || ++e->streak < limit) return false;
    return eject(b, e, now);
}

void sp_balance_free(sp_balance *b) {
    sp_balance_forget_clients(b);
    sp_map_free(&b->by_id);
    sp_map_free(&b->by_sticky);
    sp_vec_each(&b->list, e)(*e)->home = NULL;
    sp_vec_free(&b->list);
    sp_vec_free(&b->groups);
    free(b->order);
    free(b->sums);
    free(b->table);
}
