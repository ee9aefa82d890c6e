/* Randomness from the kernel. Any thread. */
#pragma once
#include "base/util.h"

void sp_rng_bytes(void *p, size_t n);
uint64_t sp_rng_u64(void);
uint64_t sp_rng_below(uint64_t bound); /* uniform in [0, bound), bound > 0 */
double sp_rng_unit(void);              /* uniform in [0, 1) */
/* n characters of the alphabet Kubernetes uses for generateName, and a NUL. */
void sp_rng_suffix(char *p, size_t n);
void sp_rng_uuid(char ret[37]); /* RFC 9562 version 4 */
