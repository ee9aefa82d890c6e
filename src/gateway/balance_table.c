/* The hash table of Maglev (Eisenbud et al., NSDI 2016, section 3.4): every endpoint has its own
 * permutation of the slots and they take turns in claiming their next free one, so each gets a
 * share within one slot of its weight, and little moves when one joins or leaves. An endpoint that
 * is only out for a while keeps its slots; its keys go to where their next tries lead. */
#include "gateway/balance_internal.h"

/* Primes: every step is then a permutation. */
enum { SLOTS = 16381, SLOTS_LARGE = 65521, LARGE_FROM = 1024, FREE_SLOT = UINT16_MAX };

uint64_t sp_balance_mix(uint64_t h) { /* the finisher of splitmix64 */
    h ^= h >> 30;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 27;
    h *= 0x94d049bb133111ebu;
    h ^= h >> 31;
    return h ? h : 1;
}

uint64_t sp_balance_addr_hash(const sp_addr *a) {
    uint64_t h = 0xcbf29ce484222325u ^ a->family ^ (uint64_t)a->port << 16;
    for (size_t i = 0; i < sizeof a->ip; i++) h = (h ^ a->ip[i]) * 0x100000001b3u;
    return h;
}

typedef struct claimant {
    uint64_t id;
    uint32_t offset, skip, next;
    uint32_t credit, weight;
    uint16_t index;
} claimant;

static int by_id(const void *pa, const void *pb) {
    const claimant *a = pa, *b = pb;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* The order of turns must not depend on the order of the list. */
static claimant *claimants(const sp_balance *b, size_t n, uint32_t slots) {
    claimant *list = sp_zalloc(n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        const sp_endpoint *e = b->list.p[i];
        uint64_t h = sp_balance_mix(e->id);
        list[i] = (claimant){.id = e->id,
                             .offset = (uint32_t)(h % slots),
                             .skip = (uint32_t)((h >> 32) % (slots - 1)) + 1,
                             .weight = e->weight ? SP_MIN(e->weight, 256u) : 1,
                             .index = (uint16_t)i};
    }
    if (n) qsort(list, n, sizeof *list, by_id);
    return list;
}

static void claim(uint16_t *table, uint32_t slots, claimant *c) {
    uint32_t at;
    do {
        at = (uint32_t)((c->offset + (uint64_t)c->next++ * c->skip) % slots);
    } while (table[at] != FREE_SLOT);
    table[at] = c->index;
}

static void fill(uint16_t *table, uint32_t slots, claimant *list, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) most = SP_MAX(most, list[i].weight);
    for (uint32_t taken = 0; taken < slots;) {
        for (size_t i = 0; i < n && taken < slots; i++) {
            list[i].credit += list[i].weight;
            if (list[i].credit < most) continue;
            list[i].credit -= most;
            claim(table, slots, &list[i]);
            taken++;
        }
    }
}

static void build(sp_balance *b) {
    size_t n = SP_MIN(b->list.n, (size_t)FREE_SLOT);
    uint32_t slots = n >= LARGE_FROM ? SLOTS_LARGE : SLOTS;
    claimant *list = claimants(b, n, slots);
    b->table = sp_realloc(b->table, slots * sizeof *b->table);
    memset(b->table, 0xff, slots * sizeof *b->table);
    fill(b->table, slots, list, n);
    free(list);
    b->table_size = slots;
}

sp_endpoint *sp_balance_table_get(sp_balance *b, uint64_t hash, unsigned nth) {
    if (!b->list.n) return NULL;
    if (!b->table_size) build(b);
    uint64_t h = sp_balance_mix(hash + nth * 0x9e3779b97f4a7c15u);
    return b->list.p[b->table[h % b->table_size]];
}
