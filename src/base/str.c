#include "base/str.h"

#include "base/rng.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static unsigned char lower(char c) {
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool sp_str_ieq(sp_str a, sp_str b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i])) return false;
    return true;
}

int sp_str_cmp(sp_str a, sp_str b) {
    size_t n = SP_MIN(a.n, b.n);
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool sp_str_starts(sp_str s, sp_str prefix) {
    return s.n >= prefix.n && sp_str_eq(sp_str_sub(s, 0, prefix.n), prefix);
}

bool sp_str_ends(sp_str s, sp_str suffix) {
    return s.n >= suffix.n && sp_str_eq(sp_str_from(s, s.n - suffix.n), suffix);
}

ptrdiff_t sp_str_chr(sp_str s, char c) {
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t sp_str_rchr(sp_str s, char c) {
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t sp_str_find(sp_str s, sp_str needle) {
    if (!needle.n) return 0;
    const char *at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return at ? at - s.p : -1;
}

sp_str sp_str_from(sp_str s, size_t start) {
    start = SP_MIN(start, s.n);
    return (sp_str){start ? s.p + start : s.p, s.n - start};
}

sp_str sp_str_sub(sp_str s, size_t start, size_t n) {
    s = sp_str_from(s, start);
    return (sp_str){s.p, SP_MIN(n, s.n)};
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

sp_str sp_str_trim(sp_str s) {
    while (s.n && is_space(s.p[0])) s = sp_str_from(s, 1);
    while (s.n && is_space(s.p[s.n - 1])) s.n--;
    return s;
}

bool sp_str_cut(sp_str *rest, char c, sp_str *ret_part) {
    if (!rest->p) return false;
    ptrdiff_t at = sp_str_chr(*rest, c);
    if (at < 0) {
        *ret_part = *rest;
        *rest = (sp_str){0};
        return true;
    }
    *ret_part = sp_str_sub(*rest, 0, (size_t)at);
    *rest = sp_str_from(*rest, (size_t)at + 1);
    return true;
}

void sp_hex_print(const void *bytes, size_t n, char *ret) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[b[i] >> 4];
        ret[2 * i + 1] = digits[b[i] & 15];
    }
    ret[2 * n] = 0;
}

bool sp_str_u64(sp_str s, uint64_t *ret) {
    uint64_t v = 0;
    if (!s.n) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

bool sp_str_i64(sp_str s, int64_t *ret) {
    bool neg = s.n && s.p[0] == '-';
    uint64_t v;
    if (!sp_str_u64(neg ? sp_str_from(s, 1) : s, &v)) return false;
    if (v > (uint64_t)INT64_MAX + neg) return false;
    *ret = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

char *sp_str_dup(sp_str s) {
    char *p = sp_malloc(s.n + 1);
    if (s.n) memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

/* Multiply-and-fold over 8-byte words: not cryptographic, but the 128-bit seed is secret. */
static uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t seed[2];

/* Before main: threads read it without asking whether it is there. */
__attribute__((constructor)) static void make_seed(void) {
    sp_rng_bytes(seed, sizeof seed);
    seed[1] |= 1;
}

uint64_t sp_str_hash(sp_str s) {
    uint64_t h = seed[0] ^ s.n, w;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&w, s.p + i, 8);
        h = mix(h ^ w, seed[1]);
    }
    w = 0;
    if (i < s.n) memcpy(&w, s.p + i, s.n - i);
    return mix(h ^ w ^ 0x9e3779b97f4a7c15u, seed[1] ^ 0xd6e8feb86659fd93u);
}

void sp_buf_reserve(sp_buf *b, size_t more) {
    size_t need = b->n + more + 1;
    sp_assert(need > b->n);
    if (need <= b->cap) return;
    size_t cap = SP_MAX(b->cap + b->cap / 2, (size_t)64);
    b->cap = SP_MAX(cap, need);
    b->p = sp_realloc(b->p, b->cap);
    b->p[b->n] = 0;
}

void sp_buf_add(sp_buf *b, sp_str s) {
    sp_buf_reserve(b, s.n);
    if (s.n) memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    b->p[b->n] = 0;
}

void sp_buf_addz(sp_buf *b, const char *z) {
    sp_buf_add(b, sp_str_z(z));
}
void sp_buf_addc(sp_buf *b, char c) {
    sp_buf_add(b, (sp_str){&c, 1});
}

void sp_buf_printf(sp_buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    sp_assert(n >= 0);
    sp_buf_reserve(b, (size_t)n);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    va_end(again);
    b->n += (size_t)n;
}

void sp_buf_u64(sp_buf *b, uint64_t v) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    sp_buf_add(b, (sp_str){digits + at, sizeof digits - at});
}

void sp_buf_drop(sp_buf *b, size_t n) {
    sp_assert(n <= b->n);
    if (!n) return;
    memmove(b->p, b->p + n, b->n - n + 1);
    b->n -= n;
}

void sp_buf_clear(sp_buf *b) {
    b->n = 0;
    if (b->p) b->p[0] = 0;
}

void sp_buf_free(sp_buf *b) {
    free(b->p);
    *b = (sp_buf){0};
}
