/* See http_h2.h. */
#include "gateway/http_h2.h"

/* --- blocks --- */

void sp_h2_block_clear(sp_h2_block *b) {
    sp_buf_clear(&b->text);
    b->fields.n = 0;
    b->wire_bytes = 0;
    b->too_large = false;
}

void sp_h2_block_free(sp_h2_block *b) {
    sp_buf_free(&b->text);
    sp_vec_free(&b->fields);
    *b = (sp_h2_block){0};
}

void sp_h2_block_add(sp_h2_block *b, sp_str name, sp_str value) {
    enum { PER_FIELD = 32, MAX_CRUMBS = 1024 };
    b->wire_bytes += name.n + value.n + PER_FIELD;
    if (b->wire_bytes > SP_H2_MAX_HEADER_BYTES || b->fields.n >= MAX_CRUMBS) b->too_large = true;
    if (b->too_large) return;
    sp_buf_add(&b->text, name);
    sp_buf_add(&b->text, value);
    sp_vec_push(&b->fields, (sp_h2_lengths){(uint32_t)name.n, (uint32_t)value.n});
}

typedef struct cursor {
    const sp_h2_block *b;
    size_t i, at;
} cursor;

static bool next_field(cursor *c, sp_str text, sp_header *ret) {
    if (c->i == c->b->fields.n) return false;
    size_t name = c->b->fields.p[c->i].name, value = c->b->fields.p[c->i].value;
    ret->name = sp_str_sub(text, c->at, name);
    ret->value = sp_str_sub(text, c->at + name, value);
    c->at += name + value;
    c->i++;
    return true;
}

static bool bad(sp_h1_error *err, int status, const char *text) {
    *err = (sp_h1_error){status, text};
    return false;
}

static bool is_cookie(sp_str name) {
    return sp_str_eq(name, SP_STR("cookie"));
}

/* Crumbs become one field value behind the block's text; its place, or 0 when there is nothing to
 * join. */
static size_t join_cookies(sp_h2_block *b, size_t *ret_n) {
    cursor c = {.b = b};
    sp_header f;
    size_t crumbs = 0, start = b->text.n;
    while (next_field(&c, sp_buf_str(&b->text), &f)) crumbs += is_cookie(f.name);
    if (crumbs < 2) return 0;
    sp_buf_reserve(&b->text, b->text.n + 2 * crumbs); /* slices stay while it grows */
    c = (cursor){.b = b};
    while (next_field(&c, (sp_str){b->text.p, start}, &f)) {
        if (!is_cookie(f.name)) continue;
        if (b->text.n > start) sp_buf_add(&b->text, SP_STR("; "));
        sp_buf_add(&b->text, f.value);
    }
    *ret_n = b->text.n - start;
    return start;
}

/* --- requests --- */

typedef struct pseudo {
    sp_str method, scheme, path, authority, protocol, status;
} pseudo;

static sp_str *pseudo_slot(pseudo *p, sp_str name) {
    const struct {
        sp_str name;
        sp_str *to;
    } slots[] = {
        {SP_STR(":method"), &p->method},     {SP_STR(":scheme"), &p->scheme},
        {SP_STR(":path"), &p->path},         {SP_STR(":authority"), &p->authority},
        {SP_STR(":protocol"), &p->protocol}, {SP_STR(":status"), &p->status},
    };
    for (size_t i = 0; i < SP_COUNT(slots); i++)
        if (sp_str_eq(slots[i].name, name)) return slots[i].to;
    return NULL;
}

/* Fields that only make sense on one HTTP/1.1 connection: a message with them is malformed (8.2.2).
 */
static bool is_of_connection(const sp_header *f) {
    static const sp_str names[] = {SP_STR_INIT("connection"), SP_STR_INIT("keep-alive"),
                                   SP_STR_INIT("proxy-connection"),
                                   SP_STR_INIT("transfer-encoding"), SP_STR_INIT("upgrade")};
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (sp_str_eq(names[i], f->name)) return true;
    return sp_str_eq(f->name, SP_STR("te")) && !sp_str_ieq(f->value, SP_STR("trailers"));
}

static bool is_lower_token(sp_str name) {
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] >= 'A' && name.p[i] <= 'Z') return false;
    return sp_http_is_token(name);
}

static bool read_length(sp_h1_head *h, sp_str value, bool *seen, sp_h1_error *err) {
    uint64_t n;
    if (!sp_str_u64(value, &n) || value.n > 19 || (*seen && n != h->length))
        return bad(err, 0, "Content-Length");
    *seen = true;
    h->length = n;
    return true;
}

static bool take_regular(sp_h1_head *h, const sp_header *f, bool *has_length, sp_h1_error *err) {
    if (!is_lower_token(f->name) || !sp_http_is_value(f->value)) return bad(err, 0, "broken field");
    if (is_of_connection(f)) return bad(err, 0, "a field of HTTP/1.1 connections");
    if (sp_str_eq(f->name, SP_STR("content-length")) && !read_length(h, f->value, has_length, err))
        return false;
    if (h->headers.n >= SP_H2_MAX_FIELDS) return bad(err, 431, "too many header fields");
    if (sp_str_eq(f->name, SP_STR("expect")))
        h->expect_continue = sp_str_ieq(f->value, SP_STR("100-continue"));
    sp_vec_push(&h->headers, *f);
    return true;
}

static bool visible(sp_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '#') return false;
    return s.n > 0;
}

static bool is_authority(sp_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (strchr("/?@,\\", s.p[i])) return false;
    return visible(s);
}

static bool take_pseudo(const pseudo *p, sp_h1_head *h, sp_h1_error *err) {
    sp_str host = sp_headers_get(h->headers.p, h->headers.n, "host");
    h->method = p->method;
    h->target = p->path;
    h->minor = 1;
    if (!sp_http_is_token(p->method)) return bad(err, 0, ":method");
    bool plain_connect = sp_str_eq(p->method, SP_STR("CONNECT")) && !p->protocol.p;
    if (plain_connect) return true; /* answered 405 */
    if (p->protocol.p && !sp_str_eq(p->method, SP_STR("CONNECT"))) return bad(err, 0, ":protocol");
    if (!visible(p->path)) return bad(err, 0, ":path");
    if (p->path.p[0] != '/' && !sp_str_eq(p->path, SP_STR("*"))) return bad(err, 0, ":path");
    if (p->authority.p && !is_authority(p->authority)) return bad(err, 400, "broken :authority");
    if (host.p && !is_authority(host)) return bad(err, 400, "broken Host field");
    if (p->authority.p && host.p && !sp_str_ieq(p->authority, host))
        return bad(err, 400, "Host and :authority differ");
    if (p->authority.p && !host.p)
        sp_vec_push(&h->headers, (sp_header){SP_STR("host"), p->authority});
    if (!p->authority.p && !host.p) return bad(err, 400, "neither :authority nor Host");
    return true;
}

static sp_h1_framing framing(bool end_stream, bool has_length) {
    if (end_stream) return SP_H1_NO_BODY;
    return has_length ? SP_H1_LENGTH : SP_H1_CHUNKED;
}

static void reset_head(sp_h1_head *h) {
    sp_headers keep = h->headers;
    keep.n = 0;
    *h = (sp_h1_head){.headers = keep, .keep_alive = true};
}

static bool read_block(sp_h2_block *b, sp_str text, sp_str cookies, sp_h1_head *ret, pseudo *p,
                       bool *has_length, sp_h1_error *err) {
    cursor c = {.b = b};
    sp_header f;
    bool regular = false, hosts = false;
    while (next_field(&c, text, &f)) {
        sp_str *slot = f.name.n && f.name.p[0] == ':' ? pseudo_slot(p, f.name) : NULL;
        if (f.name.n && f.name.p[0] == ':') {
            if (!slot || slot->p || regular) return bad(err, 0, "pseudo field");
            *slot = f.value;
            continue;
        }
        regular = true;
        if (sp_str_eq(f.name, SP_STR("host"))) {
            if (hosts) return bad(err, 400, "more than one Host field");
            hosts = true;
        }
        if (cookies.n && is_cookie(f.name)) {
            f.value = cookies;
            cookies.n = 0;
        } else if (cookies.p && is_cookie(f.name)) {
            continue;
        }
        if (!take_regular(ret, &f, has_length, err)) return false;
    }
    return true;
}

bool sp_h2_parse_request(sp_h2_block *b, bool end_stream, sp_buf *head, sp_h1_head *ret,
                         sp_h2_request *more, sp_h1_error *err) {
    pseudo p = {0};
    bool has_length = false;
    size_t cookies_n = 0, cookies_at = join_cookies(b, &cookies_n);
    sp_buf old = *head;
    *head = b->text;
    b->text = old;
    sp_str text = sp_buf_str(head);
    sp_str cookies = cookies_at ? sp_str_sub(text, cookies_at, cookies_n) : (sp_str){0};
    reset_head(ret);
    if (b->too_large) return bad(err, 431, "the header fields are too large");
    if (!read_block(b, text, cookies, ret, &p, &has_length, err)) return false;
    if (p.status.p || !p.method.p) return bad(err, 0, "pseudo field");
    if (!take_pseudo(&p, ret, err)) return false;
    if (end_stream && ret->length) return bad(err, 0, "Content-Length without a body");
    if (p.protocol.p && has_length) return bad(err, 0, "Content-Length of a tunnel");
    ret->framing = framing(end_stream, has_length);
    *more = (sp_h2_request){p.scheme, p.protocol};
    return true;
}

/* --- answers --- */

bool sp_h2_parse_answer(sp_h2_block *b, bool end_stream, bool to_head, sp_h1_head *ret,
                        sp_h1_error *err) {
    pseudo p = {0};
    bool has_length = false;
    uint64_t status;
    reset_head(ret);
    if (b->too_large) return bad(err, 502, "the header fields are too large");
    if (!read_block(b, sp_buf_str(&b->text), (sp_str){0}, ret, &p, &has_length, err)) return false;
    if (p.status.n != 3 || !sp_str_u64(p.status, &status) || status < 100 || status > 599)
        return bad(err, 502, "broken :status");
    ret->status = (int)status;
    ret->reason = sp_str_z(sp_http_status_text((int)status));
    ret->minor = 1;
    bool empty = end_stream || to_head || status < 200 || status == 204 || status == 304;
    ret->framing = framing(empty, has_length);
    return true;
}

void sp_h2_write_trailers(const sp_h2_block *b, sp_buf *ret) {
    sp_auto(sp_buf) lines = {0};
    cursor c = {.b = b};
    sp_header f;
    while (next_field(&c, sp_buf_str(&b->text), &f)) {
        if (f.name.n && f.name.p[0] == ':') continue;
        sp_buf_add(&lines, f.name);
        sp_buf_add(&lines, SP_STR(": "));
        sp_buf_add(&lines, f.value);
        sp_buf_add(&lines, SP_STR("\r\n"));
    }
    sp_http_filter_trailers(ret, sp_buf_str(&lines));
}

/* --- fields for nghttp2 --- */

nghttp2_nv sp_h2_field(sp_str name, sp_str value) {
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.p,
                        .value = (uint8_t *)(uintptr_t)(value.p ? value.p : ""),
                        .namelen = name.n,
                        .valuelen = value.n};
}

size_t sp_h2_fields(sp_str lines, nghttp2_nv *nv, size_t cap) {
    size_t n = 0;
    while (lines.n && n < cap) {
        const char *colon = memchr(lines.p, ':', lines.n);
        if (!colon) return n;
        sp_str name = sp_str_sub(lines, 0, (size_t)(colon - lines.p));
        lines = sp_str_from(lines, name.n + 2);
        const char *cr = lines.n ? memchr(lines.p, '\r', lines.n) : NULL;
        if (!cr) return n;
        sp_str value = sp_str_sub(lines, 0, (size_t)(cr - lines.p));
        lines = sp_str_from(lines, value.n + 2);
        nv[n++] = sp_h2_field(name, value);
    }
    return n;
}

/* --- frames --- */

size_t sp_h2_scan_frame(sp_h2_scan *s, sp_str b, uint8_t *ret_type, int32_t *ret_stream) {
    size_t at = 0;
    for (;;) {
        size_t skip = SP_MIN(s->skip, b.n - at);
        s->skip -= (uint32_t)skip;
        at += skip;
        size_t more = SP_MIN(sizeof s->head - s->have, b.n - at);
        if (!more) return b.n;
        memcpy(s->head + s->have, b.p + at, more);
        s->have += (unsigned)more;
        at += more;
        if (s->have < sizeof s->head) return b.n;
        const uint8_t *h = s->head;
        *ret_type = h[3];
        *ret_stream = (int32_t)((uint32_t)(h[5] & 0x7f) << 24 | (uint32_t)h[6] << 16 |
                                (uint32_t)h[7] << 8 | h[8]);
        s->skip = ((uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2]) + 1; /* and its last byte */
        s->have = 0;
        return at - 1;
    }
}
