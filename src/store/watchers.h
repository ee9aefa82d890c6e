/* The watches of one store: each is a position in the history and a prefix. Delivery runs on the
 * loop after every change, so a watch is behind only between its start and the next turn of the
 * loop. Loop thread. */
#pragma once
#include "store/history.h"

#include "base/list.h"

typedef struct sp_watchers {
    sp_list all;
    bool behind; /* some watch has events to get */
    bool delivering;
    bool sweep; /* some were stopped while delivering */
} sp_watchers;

static inline void sp_watchers_init(sp_watchers *w) {
    sp_list_init(&w->all);
}
sp_store_watch *sp_watchers_add(sp_watchers *w, sp_str prefix, uint64_t pos, sp_store_watch_fn *fn,
                                void *ctx);
/* Gives every watch the events it has not seen. Never called from a watch's callback. */
void sp_watchers_deliver(sp_watchers *w, const sp_history *h);
/* The store goes: watches get nothing more, and their owners still stop them. */
void sp_watchers_detach(sp_watchers *w);
