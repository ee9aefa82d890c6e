#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>

enum { FIRST_BLOCK = 2048, MAX_BLOCK = 256 * 1024, ALIGN = 16 };

typedef struct block {
    struct block *older;
    size_t size, used;
    _Alignas(ALIGN) char mem[];
} block;

struct sp_arena {
    block *newest; /* never NULL: allocations come from here */
};

static block *block_new(size_t size, block *older) {
    block *b = sp_malloc(sizeof *b + size);
    *b = (block){.older = older, .size = size};
    return b;
}

sp_arena *sp_arena_new(void) {
    sp_arena *a = sp_malloc(sizeof *a);
    a->newest = block_new(FIRST_BLOCK, NULL);
    return a;
}

static void free_from(block *b) {
    while (b) {
        block *older = b->older;
        free(b);
        b = older;
    }
}

sp_arena *sp_arena_free(sp_arena *a) {
    if (!a) return NULL;
    free_from(a->newest);
    free(a);
    return NULL;
}

void sp_arena_reset(sp_arena *a) {
    free_from(a->newest->older);
    a->newest->older = NULL;
    a->newest->used = 0;
}

static void *take(sp_arena *a, size_t size) {
    size_t rounded = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    block *b = a->newest;
    if (b->size - b->used < rounded) {
        size_t grown = SP_MIN(b->size * 2, (size_t)MAX_BLOCK);
        b = a->newest = block_new(SP_MAX(grown, rounded), b);
    }
    void *p = b->mem + b->used;
    b->used += rounded;
    return p;
}

void *sp_arena_alloc(sp_arena *a, size_t size) {
    return memset(take(a, size), 0, size);
}

void *sp_arena_alloc_raw(sp_arena *a, size_t size) {
    return take(a, size);
}

char *sp_arena_strz(sp_arena *a, sp_str s) {
    char *p = take(a, s.n + 1);
    if (s.n) memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

sp_str sp_arena_str(sp_arena *a, sp_str s) {
    return (sp_str){sp_arena_strz(a, s), s.n};
}

sp_str sp_arena_printf(sp_arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    sp_assert(n >= 0);
    char *p = take(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (sp_str){p, (size_t)n};
}
