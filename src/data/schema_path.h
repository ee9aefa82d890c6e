/* The path of the value being looked at, as messages show it: spec.containers[0].env, and
 * metadata.labels[app] inside maps. Private to data/schema_*. */
#pragma once
#include "base/str.h"

#include <stdio.h>

/* Each returns the length to go back to with sp_path_cut. */
static inline size_t sp_path_field(sp_buf *path, sp_str name) {
    size_t before = path->n;
    if (path->n) sp_buf_addc(path, '.');
    sp_buf_add(path, name);
    return before;
}
static inline size_t sp_path_key(sp_buf *path, sp_str key) {
    size_t before = path->n;
    sp_buf_addc(path, '[');
    sp_buf_add(path, key);
    sp_buf_addc(path, ']');
    return before;
}
static inline size_t sp_path_index(sp_buf *path, size_t index) {
    size_t before = path->n;
    sp_buf_addc(path, '[');
    sp_buf_u64(path, index);
    sp_buf_addc(path, ']');
    return before;
}
static inline void sp_path_cut(sp_buf *path, size_t n) {
    path->n = n;
    if (path->p) path->p[n] = 0;
}
