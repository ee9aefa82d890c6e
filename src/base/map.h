/* String keys to pointers: open addressing, hash seeded per process. Copies its keys, borrows its
 * values. Iteration order is unspecified; while iterating only sp_map_del of the current key is
 * allowed. Not thread-safe. */
#pragma once
#include "base/str.h"

typedef struct sp_map {
    struct sp_map_slot *slots; /* NULL while empty */
    size_t n, used, cap;       /* live entries; live + tombstones; slots (a power of two) */
} sp_map;

void *sp_map_get(const sp_map *m, sp_str key); /* NULL if missing */
bool sp_map_has(const sp_map *m, sp_str key);
/* Returns the value that was there before, or NULL. value must not be NULL. */
void *sp_map_put(sp_map *m, sp_str key, void *value);
void *sp_map_del(sp_map *m, sp_str key); /* the value that was there, or NULL */
void sp_map_free(sp_map *m);             /* the map, not the values */
static inline void sp_map_cleanup(sp_map *m) {
    sp_map_free(m);
}
/* for (size_t at = 0; sp_map_next(&m, &at, &key, &value);) … ; key and value may be NULL. */
bool sp_map_next(const sp_map *m, size_t *at, sp_str *ret_key, void **ret_value);
