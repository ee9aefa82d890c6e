/* JSON documents: strict RFC 8259 in, canonical compact bytes out, nodes in an arena.
 *
 * Numbers keep their text, so 4096 stays 4096 and 0.1 stays 0.1. Objects keep insertion order.
 * Duplicate keys, bad UTF-8, lone surrogates, trailing bytes and anything past the limits are
 * errors that name line and column. A node belongs to the arena it was made in; a tree may only
 * hold nodes of its own arena or of one that outlives it. Not thread-safe. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

typedef enum sp_json_type {
    SP_JSON_NULL,
    SP_JSON_BOOL,
    SP_JSON_NUMBER,
    SP_JSON_STRING,
    SP_JSON_ARRAY,
    SP_JSON_OBJECT
} sp_json_type;

typedef struct sp_json {
    sp_json_type type;
    bool boolean;
    sp_str text;           /* STRING: decoded; NUMBER: as written; NUL behind it */
    struct sp_json *first; /* ARRAY, OBJECT: children in order */
    struct sp_json *last;
    size_t count;
    sp_str key;           /* inside an OBJECT: decoded, NUL behind it */
    struct sp_json *next; /* sibling */
} sp_json;

enum { SP_JSON_MAX_DEPTH = 100, SP_JSON_MAX_BYTES = 16 * 1024 * 1024 };

/* Copies what it keeps: text may go away afterwards. */
SP_MUST_USE bool sp_json_parse(sp_arena *a, sp_str text, sp_json **ret, sp_err *err);
void sp_json_write(sp_buf *b, const sp_json *j);
void sp_json_write_pretty(sp_buf *b, const sp_json *j); /* two spaces, as kubectl prints */
bool sp_utf8_is_valid(sp_str s);                        /* RFC 3629, as the parser demands it */
void sp_json_write_string(sp_buf *b, sp_str s);         /* quoted and escaped */

/* --- reading: NULL in, NULL (or the fallback) out, so that calls chain --- */
#define sp_json_each(parent, it) \
    for (sp_json *it = (parent) ? (parent)->first : NULL; it; it = it->next)
static inline bool sp_json_is(const sp_json *j, sp_json_type t) {
    return j && j->type == t;
}
sp_json *sp_json_get(const sp_json *obj, const char *key);
sp_json *sp_json_get_str(const sp_json *obj, sp_str key);
sp_json *sp_json_at(const sp_json *arr, size_t index);
/* sp_json_dig(pod, "spec", "containers", NULL): objects only. */
sp_json *sp_json_dig(const sp_json *j, ...) __attribute__((sentinel));
sp_str sp_json_str(const sp_json *j);    /* "" unless a STRING */
const char *sp_json_z(const sp_json *j); /* the same, NUL-terminated */
bool sp_json_bool(const sp_json *j, bool fallback);
int64_t sp_json_int(const sp_json *j, int64_t fallback); /* whole numbers in range only */
double sp_json_double(const sp_json *j, double fallback);
bool sp_json_is_int(const sp_json *j); /* a NUMBER without fraction or exponent */
bool sp_json_equal(const sp_json *a,
                   const sp_json *b); /* key order does not count; 1 == 1.0 does not hold */
/* How deep arrays and objects are nested: 0 for a scalar. */
size_t sp_json_depth(const sp_json *j);
const char *sp_json_type_name(const sp_json *j); /* "object", "integer", "number", … */
/* Field of the object by keys in one call: sp_json_get_z(pod, "kind") == "" when missing. */
static inline const char *sp_json_get_z(const sp_json *obj, const char *key) {
    return sp_json_z(sp_json_get(obj, key));
}
/* The same as a slice. */
static inline sp_str sp_json_text(const sp_json *obj, const char *key) {
    return sp_json_str(sp_json_get(obj, key));
}

/* --- writing --- */
sp_json *sp_json_object(sp_arena *a);
sp_json *sp_json_array(sp_arena *a);
sp_json *sp_json_null(sp_arena *a);
sp_json *sp_json_new_bool(sp_arena *a, bool v);
sp_json *sp_json_new_int(sp_arena *a, int64_t v);
sp_json *sp_json_new_double(sp_arena *a, double v); /* shortest text that reads back */
sp_json *sp_json_new_str(sp_arena *a, sp_str s);    /* copies */
sp_json *sp_json_new_z(sp_arena *a, const char *s);
sp_json *sp_json_printf(sp_arena *a, const char *fmt, ...) SP_PRINTF(2, 3); /* a STRING */
sp_json *sp_json_clone(sp_arena *a, const sp_json *j);                      /* deep */
/* A deep copy in one block of memory: free() it whole. NULL for NULL. */
sp_json *sp_json_pack(const sp_json *j);
/* Replaces in place or appends; takes a node that is in no tree yet. Returns value. */
sp_json *sp_json_set(sp_arena *a, sp_json *obj, const char *key, sp_json *value);
sp_json *sp_json_set_str(sp_arena *a, sp_json *obj, sp_str key, sp_json *value);
/* Appends without looking for the key, which value already holds (in this arena) and obj must not.
 */
void sp_json_set_new(sp_json *obj, sp_json *value);
/* Empties the object or list and returns the chain of what was in it. */
sp_json *sp_json_take_children(sp_json *j);
sp_json *sp_json_set_first(sp_arena *a, sp_json *obj, const char *key, sp_json *value);
static inline void sp_json_set_z(sp_arena *a, sp_json *obj, const char *key, const char *v) {
    sp_json_set(a, obj, key, sp_json_new_z(a, v));
}
static inline void sp_json_set_int(sp_arena *a, sp_json *obj, const char *key, int64_t v) {
    sp_json_set(a, obj, key, sp_json_new_int(a, v));
}
static inline void sp_json_set_bool(sp_arena *a, sp_json *obj, const char *key, bool v) {
    sp_json_set(a, obj, key, sp_json_new_bool(a, v));
}
/* The member, made as an empty object where it is missing or not an object. */
sp_json *sp_json_ensure_object(sp_arena *a, sp_json *obj, const char *key);
sp_json *sp_json_ensure_array(sp_arena *a, sp_json *obj, const char *key);
bool sp_json_remove(sp_json *obj, const char *key); /* true if it was there */
bool sp_json_remove_str(sp_json *obj, sp_str key);
sp_json *sp_json_push(sp_json *arr, sp_json *value);
void sp_json_insert(sp_json *arr, size_t index, sp_json *value); /* index <= count */
void sp_json_remove_at(sp_json *arr, size_t index);
/* Makes *dst hold what *src holds, keeping dst's key and place among its siblings. */
void sp_json_assign(sp_json *dst, const sp_json *src);
