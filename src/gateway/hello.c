/* A cursor over bytes that is broken for good once a length does not fit, so that the steps below
 * read like the message's definition and are checked once, at the end. */
#include "gateway/hello.h"

enum { HANDSHAKE_RECORD = 22, RECORD_HEAD = 5, RECORD_MAX = 1 << 14, CLIENT_HELLO = 1 };
enum { EXT_SERVER_NAME = 0, EXT_ALPN = 16, MAX_EXTENSIONS = 64 };

typedef struct cursor {
    const uint8_t *p;
    size_t n;
    bool broken;
} cursor;

static uint32_t number(cursor *c, size_t bytes) {
    uint32_t v = 0;
    if (c->n < bytes) c->broken = true;
    if (c->broken) return 0;
    for (size_t i = 0; i < bytes; i++) v = v << 8 | c->p[i];
    c->p += bytes;
    c->n -= bytes;
    return v;
}

static cursor part(cursor *c, size_t length_bytes) {
    size_t n = number(c, length_bytes);
    cursor r = {c->p, n, false};
    if (c->n < n) c->broken = true;
    if (c->broken) return (cursor){.broken = true};
    c->p += n;
    c->n -= n;
    return r;
}

/* --- records --- */

/* The handshake message without record heads: in place when it is in one record. */
static sp_hello_result collect(sp_str bytes, char *scratch, sp_str *ret) {
    size_t have = 0, need = 4;
    for (int records = 0; have < need; records++) {
        const uint8_t *h = (const uint8_t *)bytes.p;
        if (records == SP_HELLO_MAX_RECORDS) return SP_HELLO_BAD;
        if (bytes.n > 0 && h[0] != HANDSHAKE_RECORD)
            return records ? SP_HELLO_BAD : SP_HELLO_NOT_TLS;
        if (bytes.n > 1 && h[1] != 3) return records ? SP_HELLO_BAD : SP_HELLO_NOT_TLS;
        if (bytes.n < RECORD_HEAD) return SP_HELLO_MORE;
        size_t n = (size_t)h[3] << 8 | h[4];
        if (n == 0 || n > RECORD_MAX) return SP_HELLO_BAD;
        sp_str piece = sp_str_sub(bytes, RECORD_HEAD, n);
        if (have + piece.n > SP_HELLO_MAX_BYTES) piece.n = SP_HELLO_MAX_BYTES - have;
        if (records == 0)
            *ret = piece;
        else
            ret->p = scratch;
        if (records == 1) memcpy(scratch, bytes.p - have, have);
        if (records) memcpy(scratch + have, piece.p, piece.n);
        have += piece.n;
        const uint8_t *m = (const uint8_t *)ret->p;
        if (have > 0 && m[0] != CLIENT_HELLO) return SP_HELLO_BAD;
        if (have >= 4) need = 4 + ((size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3]);
        if (need > SP_HELLO_MAX_BYTES) return SP_HELLO_BAD;
        if (have < need && piece.n < n) return SP_HELLO_MORE;
        bytes = sp_str_from(bytes, RECORD_HEAD + n);
    }
    *ret = (sp_str){ret->p + 4, need - 4};
    return have == need ? SP_HELLO_OK : SP_HELLO_BAD; /* nothing may share its last record */
}

/* --- extensions --- */

static bool name_char(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' ||
           c == ':'; /* an address that does not belong here, but is sent */
}

static bool read_name(cursor *ext, sp_hello *ret) {
    cursor list = part(ext, 2);
    uint32_t type = number(&list, 1);
    cursor name = part(&list, 2);
    if (list.broken || name.broken || list.n || ext->n || type != 0) return false;
    if (name.n == 0 || name.n >= SP_SNI_MAX || name.p[0] == '.') return false;
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (!name_char(c)) return false;
        ret->sni[i] = (char)c;
    }
    ret->sni[name.n] = 0;
    return true;
}

static bool read_alpn(cursor *ext, sp_hello *ret) {
    cursor list = part(ext, 2);
    size_t at = 0;
    if (list.broken || ext->n || !list.n) return false;
    while (list.n) {
        cursor one = part(&list, 1);
        if (list.broken || !one.n) return false;
        if (at + 1 + one.n >= sizeof ret->alpn) continue;
        if (at) ret->alpn[at++] = ',';
        memcpy(ret->alpn + at, one.p, one.n);
        at += one.n;
    }
    ret->alpn[at] = 0;
    return true;
}

static bool read_extensions(cursor *c, sp_hello *ret) {
    uint32_t seen[MAX_EXTENSIONS];
    size_t n = 0;
    cursor all = part(c, 2);
    if (c->broken || c->n) return false;
    while (all.n) {
        uint32_t type = number(&all, 2);
        cursor ext = part(&all, 2);
        if (all.broken || n == MAX_EXTENSIONS) return false;
        for (size_t i = 0; i < n; i++)
            if (seen[i] == type) return false;
        seen[n++] = type;
        if (type == EXT_SERVER_NAME && !read_name(&ext, ret)) return false;
        if (type == EXT_ALPN && !read_alpn(&ext, ret)) return false;
    }
    return true;
}

sp_hello_result sp_hello_parse(sp_str bytes, char *scratch, sp_hello *ret) {
    enum { VERSION_AND_RANDOM = 34 };
    sp_str message = {0};
    sp_hello hello = {0};
    sp_hello_result r = collect(bytes, scratch, &message);
    if (r != SP_HELLO_OK) return r;
    cursor c = {(const uint8_t *)message.p, message.n, false};
    for (int i = 0; i < VERSION_AND_RANDOM; i++) (void)number(&c, 1);
    cursor session = part(&c, 1), suites = part(&c, 2), compression = part(&c, 1);
    if (c.broken || session.n > 32 || suites.n < 2 || suites.n % 2 || !compression.n)
        return SP_HELLO_BAD;
    if (c.n && !read_extensions(&c, &hello)) return SP_HELLO_BAD; /* none at all: very old */
    *ret = hello;
    return SP_HELLO_OK;
}

void sp_alert_write(sp_alert a, char ret[SP_ALERT_BYTES]) {
    const char alert[SP_ALERT_BYTES] = {21, 3, 3, 0, 2, 2, (char)a};
    memcpy(ret, alert, sizeof alert);
}
