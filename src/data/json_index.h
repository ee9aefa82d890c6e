/* Looking up many members of one object: small objects are searched, large ones get a hash of their
 * keys, so that comparing or merging two large objects costs no quadratic time. */
#pragma once
#include "base/map.h"
#include "data/json.h"

enum { SP_JSON_INDEX_FROM = 24 }; /* members; below, searching is as fast */

typedef struct sp_json_index {
    sp_map map; /* empty for small objects */
} sp_json_index;

static inline sp_json_index sp_json_index_make(const sp_json *obj) {
    sp_json_index index = {0};
    if (obj->count >= SP_JSON_INDEX_FROM) sp_json_each(obj, m) sp_map_put(&index.map, m->key, m);
    return index;
}

/* first: the object's first member. */
static inline sp_json *sp_json_index_get(const sp_json_index *index, sp_json *first, sp_str key) {
    if (index->map.n) return sp_map_get(&index->map, key);
    while (first && !sp_str_eq(first->key, key)) first = first->next;
    return first;
}

static inline void sp_json_index_cleanup(sp_json_index *index) {
    sp_map_free(&index->map);
}
