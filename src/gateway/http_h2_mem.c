/* Memory for HTTP/2 streams: nghttp2 asks for a dozen small blocks per request, and gets those of
 * an earlier one back. Free lists by power of two, per worker, bounded. */
#include "gateway/http_h2.h"

enum { CLASSES = 8, SMALLEST = 32, KEPT_BYTES = 4 << 20 };

/* Under AddressSanitizer every block is its own, so that misuse is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define POOLED false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOLED false
#endif
#endif
#ifndef POOLED
#define POOLED true
#endif

typedef struct block {
    struct block *next; /* while free */
    size_t class;       /* CLASSES: larger than the pool's blocks */
} block;
_Static_assert(sizeof(block) % _Alignof(max_align_t) == 0, "what follows a header is aligned");

typedef struct sp_h2_pool {
    block *free[CLASSES];
    size_t kept_bytes;
} sp_h2_pool;

static size_t class_size(size_t class) {
    return (size_t)SMALLEST << class;
}

static size_t class_of(size_t size) {
    size_t class = 0;
    while (class < CLASSES && class_size(class) < size) class ++;
    return POOLED ? class : CLASSES;
}

static void *take(sp_worker *w, size_t size) {
    if (!w->h2_pool) w->h2_pool = sp_zalloc(1, sizeof *w->h2_pool);
    size_t class = class_of(size);
    block *b = class < CLASSES ? w->h2_pool->free[class] : NULL;
    if (b) {
        w->h2_pool->free[class] = b->next;
        w->h2_pool->kept_bytes -= class_size(class);
    } else {
        b = sp_malloc(sizeof *b + (class < CLASSES ? class_size(class) : size));
    }
    b->class = class;
    return b + 1;
}

void sp_h2_free(sp_worker *w, void *p) {
    if (!p) return;
    block *b = (block *)p - 1;
    sp_h2_pool *pool = w->h2_pool;
    if (b->class == CLASSES || pool->kept_bytes > KEPT_BYTES) {
        free(b);
        return;
    }
    b->next = pool->free[b->class];
    pool->free[b->class] = b;
    pool->kept_bytes += class_size(b->class);
}

void *sp_h2_alloc(sp_worker *w, size_t size) {
    void *p = take(w, size);
    memset(p, 0, size);
    return p;
}

static void *h2_malloc(size_t size, void *w) {
    return take(w, size);
}

static void h2_free(void *p, void *w) {
    sp_h2_free(w, p);
}

static void *h2_calloc(size_t n, size_t size, void *w) {
    return size && n > SIZE_MAX / size ? NULL : sp_h2_alloc(w, n * size);
}

static void *h2_realloc(void *p, size_t size, void *w) {
    if (!p) return take(w, size);
    block *b = (block *)p - 1;
    if (b->class < CLASSES && size <= class_size(b->class)) return p;
    if (b->class == CLASSES && class_of(size) == CLASSES) {
        b = sp_realloc(b, sizeof *b + size);
        return b + 1;
    }
    void *bigger = take(w, size);
    size_t had = b->class < CLASSES ? class_size(b->class) : size;
    memcpy(bigger, p, SP_MIN(had, size));
    sp_h2_free(w, p);
    return bigger;
}

nghttp2_mem sp_h2_mem(sp_worker *w) {
    return (nghttp2_mem){w, h2_malloc, h2_free, h2_calloc, h2_realloc};
}

void sp_h2_pool_free(sp_worker *w) {
    if (!w->h2_pool) return;
    for (size_t i = 0; i < CLASSES; i++) {
        while (w->h2_pool->free[i]) {
            block *b = w->h2_pool->free[i];
            w->h2_pool->free[i] = b->next;
            free(b);
        }
    }
    free(w->h2_pool);
    w->h2_pool = NULL;
}
