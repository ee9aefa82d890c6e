/* See admit.h. */
#include "gateway/admit.h"

static bool in_any(const sp_cidr *list, size_t n, const sp_addr *a) {
    for (size_t i = 0; i < n; i++)
        if (sp_cidr_has(&list[i], a)) return true;
    return false;
}

static sp_str value_of(const sp_admit_query *q, sp_str name) {
    for (size_t i = 0; i < q->header_count; i++)
        if (sp_str_ieq(q->headers[i].name, name)) return q->headers[i].value;
    return (sp_str){0};
}

/* One who comes by IPv6 has a /64 at least, and a new address of it for each request if need be
 * (RFC 6177, RFC 8981). */
static uint64_t hash_of_source(const sp_addr *client, uint8_t ipv6_prefix) {
    enum { V4_BYTES = 4, USUAL_BITS = 64 };
    if (client->family != AF_INET6)
        return sp_str_hash((sp_str){(const char *)client->ip, V4_BYTES});
    unsigned bits = ipv6_prefix ? SP_MIN(ipv6_prefix, 128u) : USUAL_BITS;
    uint8_t ip[16] = {0};
    memcpy(ip, client->ip, (bits + 7) / 8);
    if (bits % 8) ip[bits / 8] &= (uint8_t)(0xff00 >> bits % 8);
    return sp_str_hash((sp_str){(const char *)ip, sizeof ip});
}

/* Whose bucket. A request without the header shares one with all others without it, per source, so
 * that leaving it out gains nothing. The hash is seeded: nobody can aim at another's bucket. */
static uint64_t key_of(const sp_rate_limit *l, const sp_admit_query *q) {
    sp_str who = {0};
    switch (l->by) {
    case SP_LIMIT_ALL: return sp_str_hash(l->name);
    case SP_LIMIT_BY_SOURCE: break;
    case SP_LIMIT_BY_HEADER: who = value_of(q, l->header); break;
    case SP_LIMIT_BY_TOKEN: who = value_of(q, SP_STR("authorization")); break;
    }
    uint64_t h = who.n ? sp_str_hash(who) : hash_of_source(q->client, l->ipv6_prefix);
    return (sp_str_hash(l->name) ^ (h << 23 | h >> 41)) * 0x9e3779b97f4a7c15u + (who.n > 0);
}

sp_admit_verdict sp_admit_request(sp_limiter *l, const sp_route_action *a,
                                  const sp_admit_query *q) {
    bool denied = in_any(a->denied, a->denied_count, q->client) ||
                  (a->allowed_count && !in_any(a->allowed, a->allowed_count, q->client));
    if (denied) return (sp_admit_verdict){.status = 403, .text = "your address may not come here"};
    for (size_t i = 0; i < a->limit_count; i++) {
        const sp_rate_limit *r = &a->limits[i];
        int64_t wait_ms = 0;
        if (sp_limiter_take(l, key_of(r, q), r->requests, r->period_ms, r->burst, q->now_us,
                            &wait_ms))
            continue;
        return (sp_admit_verdict){.status = 429,
                                  .retry_after_s = (uint32_t)SP_MIN((wait_ms + 999) / 1000, 86400),
                                  .text = "too many requests",
                                  .limit = r->name};
    }
    return (sp_admit_verdict){0};
}

sp_admission sp_admit_client(sp_limiter *l, const sp_listener_spec *spec, const sp_addr *client,
                             uint32_t open, int64_t now_us) {
    int64_t wait_ms = 0;
    if (in_any(spec->denied, spec->denied_count, client)) return SP_ADMIT_DENIED;
    if (spec->source_count && !in_any(spec->sources, spec->source_count, client))
        return SP_ADMIT_DENIED;
    if (spec->max_connections && open >= spec->max_connections) return SP_ADMIT_TOO_MANY;
    if (!spec->client_rate) return SP_ADMIT_OK;
    uint64_t source = hash_of_source(client, 0);
    uint64_t key =
        (sp_str_hash(spec->owner) ^ (source << 19 | source >> 45)) * 31 + spec->addr.port;
    bool ok = sp_limiter_take(l, key, spec->client_rate, 1000, 0, now_us, &wait_ms);
    return ok ? SP_ADMIT_OK : SP_ADMIT_TOO_FAST;
}
