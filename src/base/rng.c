#include "base/rng.h"

#include <stdio.h>
#include <sys/random.h>

void sp_rng_bytes(void *p, size_t n) {
    for (size_t got = 0; got < n;) {
        ssize_t r = getrandom((char *)p + got, n - got, 0);
        sp_assert(r > 0 || r == -1);
        if (r > 0) got += (size_t)r;
    }
}

uint64_t sp_rng_u64(void) {
    uint64_t v;
    sp_rng_bytes(&v, sizeof v);
    return v;
}

uint64_t sp_rng_below(uint64_t bound) {
    sp_assert(bound > 0);
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound, v;
    do v = sp_rng_u64();
    while (v >= limit);
    return v % bound;
}

double sp_rng_unit(void) {
    return (double)(sp_rng_u64() >> 11) * 0x1.0p-53;
}

/* Letters are drawn together: each draw is a call of the kernel. */
void sp_rng_suffix(char *p, size_t n) {
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789"; /* no vowels, no lookalikes */
    enum { LETTERS = sizeof alphabet - 1, AT_ONCE = 13 };
    static const uint64_t words = 4052555153018976267; /* LETTERS to the power of AT_ONCE */
    uint64_t drawn = 0;
    for (size_t i = 0; i < n; i++) {
        drawn = i % AT_ONCE ? drawn / LETTERS : sp_rng_below(words);
        p[i] = alphabet[drawn % LETTERS];
    }
    p[n] = 0;
}

void sp_rng_uuid(char ret[37]) {
    unsigned char b[16];
    sp_rng_bytes(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}
