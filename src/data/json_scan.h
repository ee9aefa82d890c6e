/* Looking at many bytes of a string at once. Private to data/json_*. */
#pragma once
#include "base/util.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SP_BYTES(b) (0x0101010101010101u * (uint64_t)(b))

/* Bit 7 of each byte that is `"`, `\`, a control character or, with non_ascii, above 0x7f. Borrows
 * only reach bytes above such a byte, so the lowest set bit is exact. */
static inline uint64_t sp_scan_word(uint64_t x, bool non_ascii) {
    uint64_t quote = x ^ SP_BYTES('"'), slash = x ^ SP_BYTES('\\');
    uint64_t found = ((quote - SP_BYTES(1)) & ~quote) | ((slash - SP_BYTES(1)) & ~slash) |
                     ((x - SP_BYTES(0x20)) & ~x);
    return (found | (non_ascii ? x : 0)) & SP_BYTES(0x80);
}

static inline uint64_t sp_load_word(const char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Index of the lowest marked byte in memory order. */
static inline size_t sp_scan_index(uint64_t marks) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (size_t)__builtin_ctzll(marks) / 8;
#else
#error "the word scan relies on little-endian words"
#endif
}

enum { SP_SCAN_PADDING = 16 }; /* readable bytes behind what is scanned */

/* The first byte at or after p that does not simply belong to a JSON string in ASCII. Something
 * behind p must end the scan (a NUL will do), and SP_SCAN_PADDING bytes must be readable there. */
static inline char *sp_scan_string(char *p) {
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'),
                  low = _mm_set1_epi8(0x20);
    for (;; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
        /* Signed: bytes above 0x7f are below 0x20. */
        int marks = _mm_movemask_epi8(_mm_or_si128(hit, _mm_cmplt_epi8(v, low)));
        if (marks) return p + __builtin_ctz((unsigned)marks);
    }
#else
    for (;; p += 8) {
        uint64_t marks = sp_scan_word(sp_load_word(p), true);
        if (marks) return p + sp_scan_index(marks);
    }
#endif
}
