#include "store/history.h"

void sp_history_free(sp_history *h) {
    for (; h->first < h->end; h->first++) sp_store_event_unref(sp_history_at(h, h->first));
    free(h->ring);
    *h = (sp_history){0};
}

sp_store_event *sp_history_at(const sp_history *h, uint64_t pos) {
    sp_assert(pos >= h->first && pos < h->end);
    return h->ring[pos & (h->cap - 1)];
}

static size_t weight(const sp_store_event *e) {
    return sizeof *e + e->key.n + (e->prev ? e->prev->bytes->n : 0);
}

static void drop_first(sp_history *h) {
    sp_store_event *e = sp_history_at(h, h->first);
    h->first++;
    h->bytes -= weight(e);
    h->floor = e->rev;
    if (h->left) h->left(h->ctx, e);
    sp_store_event_unref(e);
}

static void grow(sp_history *h) {
    size_t cap = h->cap ? h->cap * 2 : 64;
    sp_store_event **ring = sp_zalloc(cap, sizeof *ring);
    for (uint64_t p = h->first; p < h->end; p++) ring[p & (cap - 1)] = sp_history_at(h, p);
    free(h->ring);
    h->ring = ring;
    h->cap = cap;
}

void sp_history_add(sp_history *h, sp_store_event *taken) {
    if (h->end - h->first == h->cap) grow(h);
    h->ring[h->end++ & (h->cap - 1)] = taken;
    h->bytes += weight(taken);
    /* The newest stays: it is where watches that are up to date resume. */
    while (h->end - h->first > 1 && (h->end - h->first > h->max_events || h->bytes > h->max_bytes))
        drop_first(h);
}

uint64_t sp_history_after(const sp_history *h, uint64_t rev) {
    uint64_t lo = h->first, hi = h->end;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (sp_history_at(h, mid)->rev > rev)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}
