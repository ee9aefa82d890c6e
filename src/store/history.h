/* The last changes, in order: what a watch resumes from and what undoes the present into the past.
 * A ring bounded by number and by the bytes only it keeps alive. Every event has a position that
 * counts from 0 and never changes; positions from first to end - 1 are there. When an event leaves,
 * `left` is told, so that rows nobody can ask for any more are deleted. Loop thread. */
#pragma once
#include "store/store.h"

typedef struct sp_history {
    sp_store_event **ring; /* cap is a power of two, at(pos) = pos & (cap - 1) */
    size_t cap;
    uint64_t first, end;
    uint64_t floor; /* the revision of the last event that left: nothing older can be asked for */
    size_t bytes;   /* of superseded values the ring keeps */
    size_t max_events, max_bytes;
    void (*left)(void *ctx, const sp_store_event *e); /* may be NULL */
    void *ctx;
} sp_history;

void sp_history_free(sp_history *h);
void sp_history_add(sp_history *h, sp_store_event *taken);
sp_store_event *sp_history_at(const sp_history *h, uint64_t pos); /* borrowed */
/* The position of the first event with a revision above rev; end if there is none. */
uint64_t sp_history_after(const sp_history *h, uint64_t rev);
