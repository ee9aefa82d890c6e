/* Token buckets, shared by all loops of a gateway: bounded memory, no allocation per request, a
 * lock per shard that is held for a few instructions. A bucket is one number: when it will be full
 * again (the generic cell rate algorithm). Buckets live in sets of eight; a set that is full gives
 * up the bucket that is nearest to being full, so memory stays bounded and the greedy stay known.
 */
#pragma once
#include "base/str.h"

typedef struct sp_limiter sp_limiter;

sp_limiter *sp_limiter_new(size_t buckets); /* rounded up to a power of two, 1,024 at least */
sp_limiter *sp_limiter_free(sp_limiter *l); /* takes NULL, returns NULL */
/* The one of this process; made at the first call, never freed. */
sp_limiter *sp_limiter_shared(void);

/* Takes one token of the bucket named key (a hash of whose and which limit): `requests` per
 * period_ms, at most `burst` at once (0 = requests). False: none left, *ret_wait_ms until there is
 * one. Any thread. */
bool sp_limiter_take(sp_limiter *l, uint64_t key, uint32_t requests, uint32_t period_ms,
                     uint32_t burst, int64_t now_us, int64_t *ret_wait_ms);
