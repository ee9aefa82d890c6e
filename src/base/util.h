/* What every line may use: attributes, cleanup, allocation that cannot fail.
 * Out of memory aborts (sizes from outside are capped before they get here). */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SP_MUST_USE __attribute__((warn_unused_result))
#define SP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define SP_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SP_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define SP_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SP_MAX(a, b) ((a) > (b) ? (a) : (b))

/* sp_auto(sp_buf) b = {0}; runs sp_buf_cleanup(&b) when the scope ends. */
#define sp_auto(type) __attribute__((cleanup(type##_cleanup))) type
/* The same for pointers to opaque things: sp_auto_ptr(sp_arena) a = sp_arena_new(); */
#define sp_auto_ptr(type) __attribute__((cleanup(type##_cleanup_ptr))) type *
#define SP_DEFINE_CLEANUP_PTR(type, free_fn)          \
    static inline void type##_cleanup_ptr(type **p) { \
        if (*p) free_fn(*p);                          \
    }
/* Ownership leaves a scope only this way. */
#define sp_steal(ptr)                           \
    __extension__({                             \
        __typeof__(ptr) *steal_from_ = &(ptr);  \
        __typeof__(ptr) stolen_ = *steal_from_; \
        *steal_from_ = NULL;                    \
        stolen_;                                \
    })

/* An invariant of ours, checked in release builds too. */
#define sp_assert(cond) ((cond) ? (void)0 : sp_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void sp_assert_failed(const char *cond, const char *file, int line);

/* Never NULL, not for a size of 0 either. */
#define SP_NEVER_NULL __attribute__((returns_nonnull))
SP_NEVER_NULL void *sp_malloc(size_t size);
SP_NEVER_NULL void *sp_zalloc(size_t count, size_t size); /* zeroed; aborts on overflow */
SP_NEVER_NULL void *sp_realloc(void *p, size_t size);
SP_NEVER_NULL char *sp_strdup(const char *s);
