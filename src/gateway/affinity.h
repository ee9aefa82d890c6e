/* What ties a request to an endpoint: the hash of a key (source, header, cookie, query, path) and
 * the sticky cookie. Pure; both values are the same in every gateway with the same key, and after
 * every restart. */
#pragma once
#include "gateway/config.h"

enum { SP_STICKY_LENGTH = 16 }; /* characters of a cookie's value */

/* FNV-1a with a finishing mix; never 0. */
uint64_t sp_affinity_hash(sp_str bytes);
/* The id of an endpoint in a hash table: by name, else by address. */
uint64_t sp_affinity_id(sp_str name, const sp_addr *addr);
/* What the cookie of this endpoint says, as a number; never 0. Keyed (HMAC-SHA256), because the
 * cookie is shown to everybody; with key "" names can be told from values by trying. */
uint64_t sp_affinity_sticky(sp_str key, sp_str pool, sp_str name, const sp_addr *addr);

typedef struct sp_affinity_request {
    const sp_addr *client;
    const sp_header *headers; /* names in any case; several Cookie fields are fine */
    size_t header_count;
    sp_str path, query; /* as the client sent them, without '?' */
} sp_affinity_request;

typedef struct sp_affinity {
    uint64_t hash, sticky; /* 0 = none; for sp_balance_query */
} sp_affinity;
/* A key that the request lacks (no such header) falls back on the client's address. */
sp_affinity sp_affinity_of(const sp_pool_spec *pool, const sp_affinity_request *r);

/* The value of one cookie in the request, or an empty string. */
sp_str sp_affinity_cookie(const sp_header *headers, size_t n, sp_str name);
/* The value for Set-Cookie, "name=value; Path=/; HttpOnly…". Wanted when the pool is sticky and the
 * request's `sticky` is not that of the endpoint that answered (sp_affinity_is_news). */
void sp_affinity_set_cookie(sp_buf *ret, const sp_sticky_spec *s, const sp_endpoint *e);
static inline bool sp_affinity_is_news(const sp_affinity *had, const sp_endpoint *e) {
    return e->sticky && had->sticky != e->sticky;
}
