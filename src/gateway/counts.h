/* Numbers that all loops of one gateway count together, so that a limit holds for the whole
 * gateway: one small block of atomics per name, looked up (under a lock) when a configuration is
 * applied and touched without one by the traffic. Any thread. */
#pragma once
#include "base/str.h"

#include <stdatomic.h>

typedef struct sp_shared_count {
    _Atomic uint32_t open;    /* connections */
    _Atomic uint32_t active;  /* requests */
    _Atomic uint32_t pending; /* in queues */
    _Atomic uint32_t retries; /* under way */
    /* counts.c's own */
    uint32_t refs;
    sp_str name;
} sp_shared_count;

/* Referenced; made when nobody has it. */
sp_shared_count *sp_counts_get(sp_str name);
sp_shared_count *sp_counts_put(sp_shared_count *c); /* takes NULL, returns NULL */

static inline uint32_t sp_shared_open(const sp_shared_count *c) {
    return atomic_load_explicit(&c->open, memory_order_relaxed);
}
static inline void sp_shared_add(sp_shared_count *c, int32_t by) {
    atomic_fetch_add_explicit(&c->open, (uint32_t)by, memory_order_relaxed);
}
