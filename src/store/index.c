#include "store/index.h"

#include "base/rng.h"

enum { MAX_LEVELS = 20 }; /* a quarter climbs each level: enough for 4^20 keys */

struct link {
    sp_index_node *next;
    size_t span; /* keys from here to next, next included; to the end if next is NULL */
};

struct sp_index_node {
    sp_store_value *value;
    uint32_t key_n;
    uint32_t levels;
    struct link up[]; /* levels links, then the key's bytes */
};

struct sp_index {
    sp_index_node *head; /* MAX_LEVELS links, no key, before everything */
    uint32_t levels;     /* in use, at least 1 */
    size_t n;
    uint64_t dice;
};

static sp_index_node *node_new(uint32_t levels, sp_str key) {
    sp_index_node *n = sp_malloc(sizeof *n + levels * sizeof n->up[0] + key.n);
    *n = (sp_index_node){.key_n = (uint32_t)key.n, .levels = levels};
    memset(n->up, 0, levels * sizeof n->up[0]);
    if (key.n) memcpy(&n->up[levels], key.p, key.n);
    return n;
}

static void node_free(sp_index_node *n) {
    sp_store_value_unref(n->value);
    free(n);
}

sp_index *sp_index_new(void) {
    sp_index *x = sp_malloc(sizeof *x);
    *x = (sp_index){node_new(MAX_LEVELS, (sp_str){0}), 1, 0, sp_rng_u64() | 1};
    return x;
}

sp_index *sp_index_free(sp_index *x) {
    if (!x) return NULL;
    for (sp_index_node *n = x->head, *next; n; n = next) {
        next = n->up[0].next;
        node_free(n);
    }
    free(x);
    return NULL;
}

sp_str sp_index_key(const sp_index_node *n) {
    return (sp_str){(const char *)&n->up[n->levels], n->key_n};
}

sp_store_value *sp_index_value(const sp_index_node *n) {
    return n->value;
}
size_t sp_index_size(const sp_index *x) {
    return x->n;
}

/* --- descents: each stops before the first key for which its condition fails --- */

typedef bool passes_fn(sp_str key, sp_str mark);
static bool is_less(sp_str key, sp_str mark) {
    return sp_str_cmp(key, mark) < 0;
}
static bool is_not_greater(sp_str key, sp_str mark) {
    return sp_str_cmp(key, mark) <= 0;
}
static bool is_less_or_under(sp_str key, sp_str mark) {
    return sp_str_cmp(sp_str_sub(key, 0, mark.n), mark) <= 0;
}

/* Fills path[level] with the last node passed on that level and rank[level] with the number of
 * keys up to it (both may be NULL). Returns the last node passed. */
static inline __attribute__((always_inline)) sp_index_node *
descend(const sp_index *x, sp_str mark, passes_fn *passes, sp_index_node **path, size_t *rank) {
    sp_index_node *n = x->head;
    size_t passed = 0;
    for (uint32_t l = x->levels; l-- > 0;) {
        for (sp_index_node *next; (next = n->up[l].next) && passes(sp_index_key(next), mark);) {
            passed += n->up[l].span;
            n = next;
        }
        if (path) path[l] = n;
        if (rank) rank[l] = passed;
    }
    return n;
}

static sp_index_node *find(const sp_index *x, sp_str key) {
    sp_index_node *n = descend(x, key, is_less, NULL, NULL)->up[0].next;
    return n && sp_str_eq(sp_index_key(n), key) ? n : NULL;
}

sp_store_value *sp_index_get(const sp_index *x, sp_str key) {
    sp_index_node *n = find(x, key);
    return n ? n->value : NULL;
}

size_t sp_index_count(const sp_index *x, sp_str prefix) {
    size_t below[MAX_LEVELS], through[MAX_LEVELS];
    descend(x, prefix, is_less, NULL, below);
    descend(x, prefix, is_less_or_under, NULL, through);
    return through[0] - below[0];
}

sp_index_node *sp_index_first(const sp_index *x, sp_str prefix, sp_str start_after) {
    sp_index_node *before = sp_str_cmp(start_after, prefix) < 0
                                ? descend(x, prefix, is_less, NULL, NULL)
                                : descend(x, start_after, is_not_greater, NULL, NULL);
    return sp_index_next(before, prefix);
}

sp_index_node *sp_index_next(const sp_index_node *n, sp_str prefix) {
    sp_index_node *next = n->up[0].next;
    return next && sp_str_starts(sp_index_key(next), prefix) ? next : NULL;
}

/* --- changes --- */

static uint32_t throw_levels(sp_index *x) {
    uint64_t d = x->dice; /* xorshift64: Marsaglia 2003 */
    d ^= d << 13, d ^= d >> 7, d ^= d << 17;
    x->dice = d;
    uint32_t levels = 1;
    for (d >>= 8; levels < MAX_LEVELS && (d & 3) == 0; d >>= 2) levels++;
    return levels;
}

static void grow_to(sp_index *x, uint32_t levels, sp_index_node **path, size_t *rank) {
    for (; x->levels < levels; x->levels++) {
        path[x->levels] = x->head;
        rank[x->levels] = 0;
        x->head->up[x->levels] = (struct link){NULL, x->n};
    }
}

static void insert(sp_index *x, sp_str key, sp_store_value *value, sp_index_node **path,
                   size_t *rank) {
    sp_index_node *n = node_new(throw_levels(x), key);
    n->value = sp_store_value_ref(value);
    grow_to(x, n->levels, path, rank);
    for (uint32_t l = 0; l < n->levels; l++) {
        struct link *from = &path[l]->up[l];
        size_t before = rank[0] - rank[l]; /* keys between path[l] and n */
        n->up[l] = (struct link){from->next, from->span - before};
        *from = (struct link){n, before + 1};
    }
    for (uint32_t l = n->levels; l < x->levels; l++) path[l]->up[l].span++;
    x->n++;
}

void sp_index_put(sp_index *x, sp_str key, sp_store_value *value) {
    sp_index_node *path[MAX_LEVELS];
    size_t rank[MAX_LEVELS];
    sp_index_node *n = descend(x, key, is_less, path, rank)->up[0].next;
    if (!n || !sp_str_eq(sp_index_key(n), key)) {
        insert(x, key, value, path, rank);
        return;
    }
    sp_store_value *old = n->value;
    n->value = sp_store_value_ref(value);
    sp_store_value_unref(old);
}

bool sp_index_remove(sp_index *x, sp_str key) {
    sp_index_node *path[MAX_LEVELS];
    sp_index_node *n = descend(x, key, is_less, path, NULL)->up[0].next;
    if (!n || !sp_str_eq(sp_index_key(n), key)) return false;
    for (uint32_t l = 0; l < x->levels; l++) {
        struct link *from = &path[l]->up[l];
        if (from->next == n) *from = (struct link){n->up[l].next, from->span + n->up[l].span};
        from->span--;
    }
    while (x->levels > 1 && !x->head->up[x->levels - 1].next) x->levels--;
    x->n--;
    node_free(n);
    return true;
}
