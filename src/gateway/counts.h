/* Numbers that all loops of one gateway count together, so that a limit holds for the whole
 * gateway: one small block of atomics per name, looked up (under a lock) when a configuration is
 * applied and touched without one by the traffic. Any thread. */
#pragma once
#include "base/str.h"

#include <stdatomic.h>

typedef struct sp_shared_count {
    _Atomic uint32_t open;    /* connections and requests under way */
    _Atomic uint32_t pending; /* in queues */
    _Atomic uint32_t retries; /* under way */
    /* counts.c's own */
    uint32_t refs;
    sp_str name;
} sp_shared_count;

/* Referenced; made when nobody has it. */
sp_shared_count *sp_counts_get(sp_str name);
sp_shared_count *sp_counts_ref(sp_shared_count *c);
sp_shared_count *sp_counts_put(sp_shared_count *c); /* takes NULL, returns NULL */

static inline uint32_t sp_count_now(const _Atomic uint32_t *n) {
    return atomic_load_explicit(n, memory_order_relaxed);
}
static inline void sp_count_add(_Atomic uint32_t *n, int32_t by) {
    atomic_fetch_add_explicit(n, (uint32_t)by, memory_order_relaxed);
}
/* One more unless that would be more than limit (0 = no limit). */
static inline bool sp_count_try(_Atomic uint32_t *n, uint32_t limit) {
    uint32_t have = sp_count_now(n);
    do {
        if (limit && have >= limit) return false;
    } while (!atomic_compare_exchange_weak_explicit(n, &have, have + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}
