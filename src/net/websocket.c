/* The parser keeps the head of the frame it is in and, for control frames, their payload; payload
 * of messages goes through in pieces as it arrives, so the size of frames and messages needs no
 * limit and costs no memory. Text is checked as UTF-8 on the way (RFC 3629). */
#include "net/websocket.h"

#include <openssl/evp.h>

/* --- handshake --- */

void sp_ws_accept(sp_str key, char ret[SP_WS_ACCEPT_SIZE]) {
    static const char salt[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* section 1.3 */
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    sp_auto(sp_buf) text = {0};
    sp_buf_add(&text, key);
    sp_buf_addz(&text, salt);
    sp_assert(EVP_Digest(text.p, text.n, digest, &n, EVP_sha1(), NULL) == 1);
    EVP_EncodeBlock((unsigned char *)ret, digest, (int)n);
}

static bool is_key(sp_str key) {
    unsigned char raw[24];
    return key.n == 24 && key.p[22] == '=' && key.p[23] == '=' &&
           EVP_DecodeBlock(raw, (const unsigned char *)key.p, 24) == 18;
}

bool sp_ws_check(const sp_header *h, size_t n, sp_str *ret_key, sp_err *err) {
    sp_str version = sp_headers_get(h, n, "sec-websocket-version");
    sp_str key = sp_str_trim(sp_headers_get(h, n, "sec-websocket-key"));
    if (!sp_str_eqz(version, "13"))
        return sp_fail(err, SP_BAD_REQUEST, "Sec-WebSocket-Version must be 13");
    if (!is_key(key))
        return sp_fail(err, SP_BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64");
    *ret_key = key;
    return true;
}

static bool offers(const sp_header *h, size_t n, const char *protocol) {
    for (size_t i = 0; i < n; i++) {
        if (!sp_str_eqz(h[i].name, "sec-websocket-protocol")) continue;
        for (sp_str part, rest = h[i].value; sp_str_cut(&rest, ',', &part);)
            if (sp_str_eqz(sp_str_trim(part), protocol)) return true;
    }
    return false;
}

const char *sp_ws_choose(const sp_header *h, size_t n, const char *const *ours) {
    for (; *ours; ours++)
        if (offers(h, n, *ours)) return *ours;
    return NULL;
}

/* --- heads of frames --- */

enum { FIN = 0x80, RESERVED = 0x70, MASKED = 0x80 };

static bool is_control(unsigned op) {
    return op & 8;
}

static size_t head_size(const sp_ws_parser *p) {
    if (p->head_n < 2) return 2;
    unsigned n = p->head[1] & 127;
    return 2 + (n == 126 ? 2 : n == 127 ? 8 : 0) + (p->head[1] & MASKED ? 4 : 0);
}

static bool known(unsigned op) {
    return op <= SP_WS_BINARY || (op >= SP_WS_CLOSE && op <= SP_WS_PONG);
}

/* What the first two bytes must not say (sections 5.2, 5.4, 5.5). */
static bool start_ok(const sp_ws_parser *p) {
    unsigned op = p->head[0] & 15, n = p->head[1] & 127;
    bool fin = p->head[0] & FIN, masked = p->head[1] & MASKED;
    if (p->head[0] & RESERVED || !known(op) || masked != p->server) return false;
    if (is_control(op)) return fin && n <= SP_WS_CONTROL_MAX;
    return (op == SP_WS_CONTINUATION) == p->in_message;
}

static bool take_length(sp_ws_parser *p) {
    unsigned n = p->head[1] & 127, size = n == 126 ? 2 : n == 127 ? 8 : 0;
    uint64_t length = size ? 0 : n;
    for (unsigned i = 0; i < size; i++) length = length << 8 | p->head[2 + i];
    p->left = length;
    p->at = 0;
    if (length >> 63) return false;
    return size == 0 || length > (size == 2 ? 125u : 65535u); /* the shortest form only */
}

static bool take_head(sp_ws_parser *p) {
    unsigned op = p->head[0] & 15;
    if (!take_length(p)) return false;
    p->in_payload = true;
    p->control_n = 0;
    if (op == SP_WS_TEXT || op == SP_WS_BINARY) {
        p->in_message = p->fresh = true;
        p->text = op == SP_WS_TEXT;
        p->utf8_need = 0;
    }
    return true;
}

/* --- payload --- */

/* Where the next continuation byte must lie depends on the first byte (RFC 3629 section 4). */
static bool utf8_first(sp_ws_parser *p, uint8_t c) {
    p->utf8_low = 0x80, p->utf8_high = 0xbf;
    if (c < 0x80) return true;
    if (c < 0xc2 || c > 0xf4) return false;
    p->utf8_need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    if (c == 0xe0) p->utf8_low = 0xa0;
    if (c == 0xed) p->utf8_high = 0x9f;
    if (c == 0xf0) p->utf8_low = 0x90;
    if (c == 0xf4) p->utf8_high = 0x8f;
    return true;
}

static bool utf8_ok(sp_ws_parser *p, sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (p->utf8_need == 0) {
            if (!utf8_first(p, c)) return false;
            continue;
        }
        if (c < p->utf8_low || c > p->utf8_high) return false;
        p->utf8_low = 0x80, p->utf8_high = 0xbf;
        p->utf8_need--;
    }
    return true;
}

static void unmask(sp_ws_parser *p, char *bytes, size_t n) {
    const uint8_t *mask = p->head + head_size(p) - 4;
    for (size_t i = 0; p->server && i < n; i++) bytes[i] ^= (char)mask[(p->at + i) & 3];
    p->at += n;
}

static unsigned give_control(sp_ws_parser *p, sp_str s, const sp_ws_sink *sink, void *ctx) {
    memcpy(p->control + p->control_n, s.p, s.n);
    p->control_n = (uint8_t)(p->control_n + s.n);
    if (p->left) return SP_WS_NORMAL;
    sp_str all = {p->control, p->control_n};
    return sink->control(ctx, p->head[0] & 15, all) ? SP_WS_NORMAL : 0;
}

static unsigned give_piece(sp_ws_parser *p, sp_str s, const sp_ws_sink *sink, void *ctx) {
    bool last = p->left == 0 && p->head[0] & FIN, first = p->fresh;
    if (p->text && (!utf8_ok(p, s) || (last && p->utf8_need))) return SP_WS_BAD_TEXT;
    if (last) p->in_message = false;
    p->fresh = false;
    if (s.n == 0 && !last && !first) return SP_WS_NORMAL;
    return sink->piece(ctx, s, p->text, first, last) ? SP_WS_NORMAL : 0;
}

static unsigned give(sp_ws_parser *p, char *bytes, size_t n, const sp_ws_sink *sink, void *ctx) {
    unmask(p, bytes, n);
    p->left -= n;
    if (p->left == 0) p->in_payload = false;
    sp_str s = {bytes, n};
    unsigned r =
        is_control(p->head[0] & 15) ? give_control(p, s, sink, ctx) : give_piece(p, s, sink, ctx);
    if (r == SP_WS_NORMAL && !p->in_payload) p->head_n = 0;
    return r;
}

/* 0 inside: the sink wants no more, which is no error. */
unsigned sp_ws_parse(sp_ws_parser *p, char *bytes, size_t n, const sp_ws_sink *sink, void *ctx) {
    size_t at = 0;
    while (at < n || (p->in_payload && p->left == 0)) {
        if (!p->in_payload) {
            p->head[p->head_n++] = (uint8_t)bytes[at++];
            if (p->head_n == 2 && !start_ok(p)) return SP_WS_PROTOCOL;
            if (p->head_n < 2 || p->head_n < head_size(p)) continue;
            if (!take_head(p)) return SP_WS_PROTOCOL;
            if (p->left) continue;
        }
        size_t take = (size_t)SP_MIN(p->left, (uint64_t)(n - at));
        unsigned r = give(p, bytes + at, take, sink, ctx);
        if (r != SP_WS_NORMAL) return r ? r : SP_WS_NORMAL;
        at += take;
    }
    return SP_WS_NORMAL;
}

bool sp_ws_close_code(sp_str payload, unsigned *ret_code, sp_str *ret_reason) {
    *ret_code = SP_WS_NO_CODE;
    *ret_reason = (sp_str){0};
    if (payload.n == 0) return true;
    if (payload.n == 1) return false;
    unsigned code = (unsigned)(uint8_t)payload.p[0] << 8 | (uint8_t)payload.p[1];
    bool defined = code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
    sp_ws_parser utf8 = {0};
    *ret_code = code;
    *ret_reason = sp_str_from(payload, 2);
    return (defined || (code >= 3000 && code <= 4999)) && utf8_ok(&utf8, *ret_reason) &&
           utf8.utf8_need == 0;
}

size_t sp_ws_frame_head(char ret[SP_WS_HEAD_MAX], sp_ws_op op, bool fin, uint64_t n,
                        const uint8_t mask[4]) {
    size_t at = 2;
    unsigned size = n <= 125 ? 0 : n <= 65535 ? 2 : 8;
    ret[0] = (char)((fin ? FIN : 0) | op);
    ret[1] = (char)((mask ? MASKED : 0) | (size == 0 ? (int)n : size == 2 ? 126 : 127));
    for (unsigned i = size; i-- > 0;) ret[at++] = (char)(n >> (8 * i));
    if (mask) memcpy(ret + at, mask, 4);
    return at + (mask ? 4 : 0);
}
