#include "data/base64.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(sp_buf *b, sp_str bytes, const char *alphabet, bool pad) {
    const unsigned char *p = (const unsigned char *)bytes.p;
    sp_buf_reserve(b, (bytes.n + 2) / 3 * 4);
    char *out = b->p + b->n;
    for (size_t left = bytes.n; left;) {
        size_t take = SP_MIN(left, (size_t)3);
        uint32_t v = (uint32_t)p[0] << 16;
        if (take > 1) v |= (uint32_t)p[1] << 8;
        if (take > 2) v |= p[2];
        for (size_t i = 0; i < 4; i++) {
            if (i <= take)
                *out++ = alphabet[v >> (18 - 6 * i) & 63];
            else if (pad)
                *out++ = '=';
        }
        p += take;
        left -= take;
    }
    *out = 0;
    b->n = (size_t)(out - b->p);
}

void sp_base64_encode(sp_buf *b, sp_str bytes) {
    encode(b, bytes, standard, true);
}
void sp_base64url_encode(sp_buf *b, sp_str bytes) {
    encode(b, bytes, url, false);
}

static int value_of(char c, char c62, char c63) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == c62 ? 62 : c == c63 ? 63 : -1;
}

/* Appends the bytes of s, which has no padding any more. Line ends are skipped when `folded`. */
static bool decode(sp_buf *b, sp_str s, const char *last_two, bool folded, size_t *ret_digits) {
    uint32_t bits = 0;
    unsigned have = 0;
    size_t digits = 0, before = b->n;
    sp_buf_reserve(b, s.n / 4 * 3 + 3);
    for (size_t i = 0; i < s.n; i++) {
        if (folded && (s.p[i] == '\r' || s.p[i] == '\n')) continue;
        int v = value_of(s.p[i], last_two[0], last_two[1]);
        if (v < 0) goto refuse;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        digits++;
        if (have < 8) continue;
        have -= 8;
        b->p[b->n++] = (char)(bits >> have);
        bits &= (1u << have) - 1;
    }
    if (digits % 4 == 1 || bits) goto refuse;
    b->p[b->n] = 0;
    *ret_digits = digits;
    return true;
refuse:
    b->n = before;
    b->p[b->n] = 0;
    return false;
}

bool sp_base64_decode(sp_buf *b, sp_str text) {
    size_t padding = 0, digits, before = b->n;
    for (; text.n && strchr("=\r\n", text.p[text.n - 1]) && text.p[text.n - 1]; text.n--)
        padding += text.p[text.n - 1] == '=';
    if (!decode(b, text, "+/", true, &digits)) return false;
    if (padding <= 2 && (digits + padding) % 4 == 0) return true;
    b->n = before;
    b->p[b->n] = 0;
    return false;
}

bool sp_base64url_decode(sp_buf *b, sp_str text) {
    size_t digits;
    return decode(b, text, "-_", false, &digits);
}
