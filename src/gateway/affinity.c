/* See affinity.h. */
#include "gateway/affinity.h"
#include "gateway/balance_internal.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

static uint64_t fnv(uint64_t h, sp_str bytes) {
    for (size_t i = 0; i < bytes.n; i++) h = (h ^ (uint8_t)bytes.p[i]) * 0x100000001b3u;
    return h;
}

uint64_t sp_affinity_hash(sp_str bytes) {
    return sp_balance_mix(fnv(0xcbf29ce484222325u, bytes));
}

uint64_t sp_affinity_id(sp_str name, const sp_addr *addr) {
    return name.n ? sp_affinity_hash(name) : sp_balance_mix(sp_balance_addr_hash(addr));
}

uint64_t sp_affinity_sticky(sp_str key, sp_str pool, sp_str name, const sp_addr *addr) {
    char text[SP_ADDR_MAX];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    uint64_t v = 0;
    sp_auto(sp_buf) message = {0};
    if (!key.n) key = SP_STR("sampan.dev/sticky");
    sp_addr_format(addr, text);
    sp_buf_printf(&message, "%.*s\n%.*s", SP_ARG(pool), SP_ARG(name.n ? name : sp_str_z(text)));
    HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)message.p, message.n, mac, &n);
    sp_assert(n >= sizeof v);
    for (size_t i = 0; i < sizeof v; i++) v = v << 8 | mac[i];
    return v ? v : 1;
}

/* --- cookies --- */

static bool find_in(sp_str field, sp_str name, sp_str *ret) {
    for (sp_str part, rest = field; sp_str_cut(&rest, ';', &part);) {
        part = sp_str_trim(part);
        if (part.n <= name.n || part.p[name.n] != '=') continue;
        if (!sp_str_eq(sp_str_sub(part, 0, name.n), name)) continue;
        sp_str v = sp_str_from(part, name.n + 1);
        if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"') v = sp_str_sub(v, 1, v.n - 2);
        *ret = v;
        return true;
    }
    return false;
}

sp_str sp_affinity_cookie(const sp_header *headers, size_t n, sp_str name) {
    sp_str value = {0};
    for (size_t i = 0; i < n; i++)
        if (sp_str_ieq(headers[i].name, SP_STR("cookie")) &&
            find_in(headers[i].value, name, &value))
            break;
    return value;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint64_t parse_sticky(sp_str text) {
    uint64_t v = 0;
    if (text.n != SP_STICKY_LENGTH) return 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = digit_of(text.p[i]);
        if (d < 0) return 0;
        v = v << 4 | (uint64_t)d;
    }
    return v;
}

/* SameSite=Lax is what browsers assume; said, because some do not. */
void sp_affinity_set_cookie(sp_buf *ret, const sp_sticky_spec *s, const sp_endpoint *e) {
    sp_buf_printf(ret, "%.*s=%016llx; Path=/; HttpOnly; SameSite=Lax", SP_ARG(s->cookie),
                  (unsigned long long)e->sticky);
    if (s->ttl_ms) sp_buf_printf(ret, "; Max-Age=%lld", (long long)(s->ttl_ms / 1000));
    if (s->secure) sp_buf_addz(ret, "; Secure");
}

/* --- keys --- */

static sp_str header(const sp_affinity_request *r, sp_str name) {
    for (size_t i = 0; i < r->header_count; i++)
        if (sp_str_ieq(r->headers[i].name, name)) return r->headers[i].value;
    return (sp_str){0};
}

static sp_str parameter(sp_str query, sp_str name) {
    for (sp_str part, rest = query; sp_str_cut(&rest, '&', &part);)
        if (part.n > name.n && part.p[name.n] == '=' &&
            sp_str_eq(sp_str_sub(part, 0, name.n), name))
            return sp_str_from(part, name.n + 1);
    return (sp_str){0};
}

static sp_str key_of(const sp_pool_spec *p, const sp_affinity_request *r) {
    switch (p->hash_by) {
    case SP_HASH_NOTHING:
    case SP_HASH_SOURCE: break;
    case SP_HASH_HEADER: return header(r, p->hash_name);
    case SP_HASH_COOKIE: return sp_affinity_cookie(r->headers, r->header_count, p->hash_name);
    case SP_HASH_QUERY: return p->hash_name.n ? parameter(r->query, p->hash_name) : r->query;
    case SP_HASH_PATH: return r->path;
    }
    return (sp_str){0};
}

static uint64_t source_hash(const sp_addr *client) {
    sp_addr host = *client;
    host.port = 0;
    return sp_balance_mix(sp_balance_addr_hash(&host));
}

sp_affinity sp_affinity_of(const sp_pool_spec *p, const sp_affinity_request *r) {
    sp_affinity a = {0};
    if (p->sticky.cookie.n)
        a.sticky = parse_sticky(sp_affinity_cookie(r->headers, r->header_count, p->sticky.cookie));
    if (p->algorithm != SP_BALANCE_HASH) return a;
    sp_str k = key_of(p, r);
    a.hash = k.n ? sp_affinity_hash(k) : r->client ? source_hash(r->client) : 0;
    return a;
}
