/* sp_str: a slice of bytes passed by value; borrowed, not NUL-terminated unless said.
 * sp_buf: a growing buffer that owns its bytes and keeps a NUL behind them. */
#pragma once
#include "base/util.h"

typedef struct sp_str {
    const char *p; /* may be NULL when n is 0 */
    size_t n;
} sp_str;

#define SP_STR(literal) ((sp_str){"" literal, sizeof(literal) - 1})
#define SP_STR_INIT(literal) \
    { "" literal, sizeof(literal) - 1 } /* for static tables */
/* printf("%.*s", SP_ARG(s)) */
#define SP_ARG(s) (int)(s).n, ((s).p ? (s).p : "")

static inline sp_str sp_str_z(const char *z) {
    return (sp_str){z, z ? strlen(z) : 0};
}
static inline bool sp_str_eq(sp_str a, sp_str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool sp_str_eqz(sp_str a, const char *z) {
    return sp_str_eq(a, sp_str_z(z));
}
bool sp_str_ieq(sp_str a, sp_str b); /* ASCII case-insensitive */
int sp_str_cmp(sp_str a, sp_str b);  /* bytewise, shorter first */
bool sp_str_starts(sp_str s, sp_str prefix);
bool sp_str_ends(sp_str s, sp_str suffix);
/* Index of the first / last c or needle, -1 if none. */
ptrdiff_t sp_str_chr(sp_str s, char c);
ptrdiff_t sp_str_rchr(sp_str s, char c);
ptrdiff_t sp_str_find(sp_str s, sp_str needle);
sp_str sp_str_from(sp_str s, size_t start);          /* clamped */
sp_str sp_str_sub(sp_str s, size_t start, size_t n); /* clamped */
sp_str sp_str_trim(sp_str s);                        /* ASCII white space, both ends */
/* Takes the part before c off *rest (all of it when c is missing). False when *rest is used up:
 *   for (sp_str part, rest = s; sp_str_cut(&rest, ',', &part);) …
 * "a," gives "a" and ""; "" gives one empty part; {0} gives none. */
bool sp_str_cut(sp_str *rest, char c, sp_str *ret_part);
/* Two small digits for each byte, and a NUL: ret has room for 2 n + 1. */
void sp_hex_print(const void *bytes, size_t n, char *ret);
/* Whole of s as a number without sign games; false if it is anything else or out of range. */
SP_MUST_USE bool sp_str_u64(sp_str s, uint64_t *ret);
SP_MUST_USE bool sp_str_i64(sp_str s, int64_t *ret);
char *sp_str_dup(sp_str s);     /* on the heap, with a NUL; free() it */
uint64_t sp_str_hash(sp_str s); /* seeded per process, for maps */

typedef struct sp_buf {
    char *p; /* NULL until something is added; then p[n] == 0 */
    size_t n, cap;
} sp_buf;

void sp_buf_reserve(sp_buf *b, size_t more);
void sp_buf_add(sp_buf *b, sp_str s);
void sp_buf_addz(sp_buf *b, const char *z);
void sp_buf_addc(sp_buf *b, char c);
void sp_buf_printf(sp_buf *b, const char *fmt, ...) SP_PRINTF(2, 3);
void sp_buf_u64(sp_buf *b, uint64_t v);
void sp_buf_drop(sp_buf *b, size_t n); /* the first n bytes */
void sp_buf_clear(sp_buf *b);          /* keeps the memory */
void sp_buf_free(sp_buf *b);           /* and zeroes the struct */
static inline void sp_buf_cleanup(sp_buf *b) {
    sp_buf_free(b);
}
static inline sp_str sp_buf_str(const sp_buf *b) {
    return (sp_str){b->p, b->n};
}
static inline const char *sp_buf_z(const sp_buf *b) {
    return b->p ? b->p : "";
}
