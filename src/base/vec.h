/* A growing array of values: SP_VEC(int) v = {0}; sp_vec_push(&v, 3); v.p[0]; sp_vec_free(&v);
 * Name a type once: typedef SP_VEC(sp_header) sp_headers; */
#pragma once
#include "base/str.h"

#define SP_VEC(T)      \
    struct {           \
        T *p;          \
        size_t n, cap; \
    }

typedef SP_VEC(sp_str) sp_strs;

#define sp_vec_push(v, ...)                                         \
    do {                                                            \
        if (!(v)->p || (v)->n == (v)->cap) {                        \
            (v)->cap = (v)->cap ? (v)->cap * 2 : 8;                 \
            (v)->p = sp_realloc((v)->p, (v)->cap * sizeof *(v)->p); \
        }                                                           \
        (v)->p[(v)->n++] = (__typeof__(*(v)->p))__VA_ARGS__;        \
    } while (0)

/* Order is kept. */
#define sp_vec_remove(v, i)                                                           \
    do {                                                                              \
        size_t at_ = (i);                                                             \
        sp_assert(at_ < (v)->n);                                                      \
        memmove((v)->p + at_, (v)->p + at_ + 1, ((v)->n - at_ - 1) * sizeof *(v)->p); \
        (v)->n--;                                                                     \
    } while (0)

#define sp_vec_free(v)         \
    do {                       \
        free((v)->p);          \
        (v)->p = NULL;         \
        (v)->n = (v)->cap = 0; \
    } while (0)

#define sp_vec_each(v, it) \
    for (__typeof__((v)->p + 0) it = (v)->p; it && it < (v)->p + (v)->n; it++)
