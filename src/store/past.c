#include "store/past.h"

#include "base/map.h"
#include "base/vec.h"

typedef struct undo {
    sp_str key;
    sp_store_value *was; /* NULL: it did not exist */
} undo;
typedef SP_VEC(undo) undos;

static int by_key(const void *a, const void *b) {
    return sp_str_cmp(((const undo *)a)->key, ((const undo *)b)->key);
}

/* For each key changed since rev, what its first change found. */
static undos collect(const sp_history *h, sp_str prefix, sp_str start_after, uint64_t rev) {
    sp_auto(sp_map) oldest = {0};
    for (uint64_t first = sp_history_after(h, rev), pos = h->end; pos-- > first;) {
        sp_store_event *e = sp_history_at(h, pos);
        if (sp_str_starts(e->key, prefix) && sp_str_cmp(e->key, start_after) > 0)
            sp_map_put(&oldest, e->key, e);
    }
    undos list = {0};
    void *e;
    for (size_t at = 0; sp_map_next(&oldest, &at, NULL, &e);)
        sp_vec_push(&list, (undo){((sp_store_event *)e)->key, ((sp_store_event *)e)->prev});
    if (list.n) qsort(list.p, list.n, sizeof list.p[0], by_key);
    return list;
}

void sp_past_range(const sp_index *x, const sp_history *h, sp_str prefix, sp_str start_after,
                   uint64_t rev, sp_store_range_fn *fn, void *ctx) {
    undos list = collect(h, prefix, start_after, rev);
    sp_index_node *n = sp_index_first(x, prefix, start_after);
    bool more = true;
    for (size_t i = 0; more && (n || i < list.n);) {
        int order = !n ? 1 : i == list.n ? -1 : sp_str_cmp(sp_index_key(n), list.p[i].key);
        if (order < 0)
            more = fn(ctx, sp_index_key(n), sp_index_value(n));
        else if (list.p[i].was)
            more = fn(ctx, list.p[i].key, list.p[i].was);
        if (order <= 0) n = sp_index_next(n, prefix);
        if (order >= 0) i++;
    }
    sp_vec_free(&list);
}
