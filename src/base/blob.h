/* Immutable bytes shared by reference count: an object as clients read it, a frame on many
 * connections. Loop thread only (the count is not atomic). */
#pragma once
#include "base/str.h"

typedef struct sp_blob {
    uint32_t refs;
    size_t n;
    char p[]; /* p[n] == 0 */
} sp_blob;

static inline sp_blob *sp_blob_alloc(size_t n) {
    sp_blob *b = sp_malloc(sizeof *b + n + 1);
    b->refs = 1;
    b->n = n;
    b->p[n] = 0;
    return b;
}
static inline sp_blob *sp_blob_new(sp_str s) {
    sp_blob *b = sp_blob_alloc(s.n);
    if (s.n) memcpy(b->p, s.p, s.n);
    return b;
}
static inline sp_blob *sp_blob_ref(sp_blob *b) {
    if (b) b->refs++;
    return b;
}
static inline sp_blob *sp_blob_unref(sp_blob *b) { /* takes NULL, returns NULL */
    if (b && --b->refs == 0) free(b);
    return NULL;
}
static inline sp_str sp_blob_str(const sp_blob *b) {
    return b ? (sp_str){b->p, b->n} : (sp_str){0};
}
SP_DEFINE_CLEANUP_PTR(sp_blob, sp_blob_unref)
