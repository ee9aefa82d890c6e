/* The store as it was: the present index with the changes since then undone. Loop thread. */
#pragma once
#include "store/history.h"
#include "store/index.h"

/* Ordered walk as in sp_store_range. Every change after rev must still be in h. */
void sp_past_range(const sp_index *x, const sp_history *h, sp_str prefix, sp_str start_after,
                   uint64_t rev, sp_store_range_fn *fn, void *ctx);
