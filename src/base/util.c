#include "base/util.h"

#include <stdio.h>

void sp_assert_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "sampan: invariant violated: %s (%s:%d)\n", cond, file, line);
    abort();
}

static void *or_abort(void *p, size_t size) {
    if (!p) {
        fprintf(stderr, "sampan: out of memory asking for %zu bytes\n", size);
        abort();
    }
    return p;
}

void *sp_malloc(size_t size) {
    return or_abort(malloc(SP_MAX(size, 1)), size);
}
void *sp_zalloc(size_t count, size_t size) {
    return or_abort(calloc(SP_MAX(count, 1), SP_MAX(size, 1)), count * size);
}
void *sp_realloc(void *p, size_t size) {
    return or_abort(realloc(p, SP_MAX(size, 1)), size);
}
char *sp_strdup(const char *s) {
    return or_abort(strdup(s), 1);
}
