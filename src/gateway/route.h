/* Which rule answers an HTTP request: the table that Ingresses and HTTPRoutes become, and the
 * search in it. Pure, no socket, no clock. A table is immutable once built and lives in one arena,
 * so a new one replaces the old one whole and any thread may read it.
 *
 * Precedence (Gateway API v1 HTTPRouteRule, networking.k8s.io/v1 IngressRule): the most specific
 * host name, then exact path, longest prefix, method, number of header matches, number of query
 * matches, oldest object, name, order of rules. A host whose rules do not match falls through to
 * less specific ones. Ahead of all that come the rules of routes that ask for it (`rank`), in the
 * order they are written, as other proxies' configurations mean theirs. */
#pragma once
#include "base/arena.h"
#include "gateway/addr.h"
#include "net/http.h"

typedef enum sp_path_kind {
    SP_PATH_PREFIX, /* by whole elements: /a matches /a and /a/b, not /ab */
    SP_PATH_REGEX,  /* the whole path matches (PCRE2 with a limit on its work) */
    SP_PATH_EXACT
} sp_path_kind;

typedef struct sp_route_target {
    uint32_t pool; /* index into the configuration's pools, or SP_NO_POOL: answered 500 */
    uint32_t weight;
} sp_route_target;
enum { SP_NO_POOL = UINT32_MAX };

/* One of them is drawn by weight. */
typedef struct sp_targets {
    sp_route_target *list;
    size_t n;
    uint64_t weight_sum;
} sp_targets;

/* Changes to a header section: first remove, then set, then add. */
typedef struct sp_header_edit {
    sp_header *set, *add;
    sp_str *remove;
    size_t set_count, add_count, remove_count;
    bool varies; /* of requests: values are compiled ones (http_value.h) */
} sp_header_edit;

typedef enum sp_path_edit {
    SP_PATH_KEEP,
    SP_PATH_REPLACE_ALL,
    SP_PATH_REPLACE_PREFIX,
    SP_PATH_REPLACE_GROUPS /* all of it; $1 to $9 are groups of the entry's regex */
} sp_path_edit;

/* A copy of some requests goes there; its answer is thrown away. */
typedef struct sp_mirror {
    uint32_t pool;
    uint32_t numerator, denominator; /* of all requests; 0/0 = all */
} sp_mirror;

typedef struct sp_cors_spec {
    sp_str *origins, *methods, *request_headers,
        *exposed; /* an origin may start with a wildcard label */
    size_t origin_count, method_count, request_header_count, exposed_count;
    bool credentials;
    uint32_t max_age_s;
} sp_cors_spec;

/* A second attempt, beside those that are always safe (nothing was sent, or the request is
 * idempotent and unanswered). */
typedef struct sp_retry_spec {
    uint8_t attempts; /* after the first; 0 = the usual safe ones only */
    uint16_t *codes;  /* answers that count as failed, for idempotent requests */
    size_t code_count;
    uint32_t backoff_ms;
} sp_retry_spec;

typedef enum sp_limit_key {
    SP_LIMIT_BY_SOURCE,
    SP_LIMIT_BY_HEADER,
    SP_LIMIT_BY_TOKEN, /* the Authorization field */
    SP_LIMIT_ALL       /* everybody together */
} sp_limit_key;

/* A token bucket per key; across the loops of one gateway together. */
typedef struct sp_rate_limit {
    sp_str name; /* identity across configurations: its buckets survive */
    sp_limit_key by;
    sp_str header;
    uint32_t requests, period_ms, burst; /* burst 0 = requests */
    uint8_t ipv6_prefix;                 /* bits of an IPv6 source that count; 0 = 64 */
} sp_rate_limit;

/* What happens to a request that matched. Empty strings and zeros mean "as it was". */
typedef struct sp_route_action {
    sp_str owner; /* "Ingress default/web": logs, metrics, error bodies */
    sp_targets targets;
    uint16_t answer_status; /* answered by the gateway itself with `answer_body`; 0 = not */
    sp_str answer_body, answer_location;
    sp_cidr *allowed, *denied; /* by the client's address: 403. Denied first */
    size_t allowed_count, denied_count;
    sp_rate_limit *limits;
    size_t limit_count;
    sp_mirror *mirrors;
    size_t mirror_count;
    const sp_cors_spec *cors;
    sp_retry_spec retry;
    uint32_t request_timeout_ms, backend_timeout_ms; /* whole request; each attempt */
    uint64_t max_body_bytes;                         /* more is answered 413; 0 = no limit */
    uint16_t redirect_status; /* 0 = no redirect; then the three below and the path edit apply */
    sp_str redirect_scheme;
    uint16_t redirect_port;
    sp_str host; /* of the redirect, or the Host that the backend sees */
    sp_path_edit path_edit;
    sp_str path;
    sp_header_edit request, response;
    /* Backends with filters of their own: one entry for each target, to go on with when it is
     * drawn. NULL = all go the same way. */
    const struct sp_route_entry *const *variants;
} sp_route_action;

/* One condition on a header or query parameter. */
typedef struct sp_route_match {
    sp_str name, value;           /* header names in lower case */
    const struct sp_regex *regex; /* the whole value must match; NULL: equal to value */
} sp_route_match;

typedef struct sp_route_entry {
    sp_str host;       /* lower case; "" = any; "*.example.com" */
    bool single_label; /* Ingress: the star stands for exactly one label */
    sp_path_kind path_kind;
    sp_str path;                       /* starts with '/'; of a REGEX: the pattern */
    const struct sp_regex *regex;      /* SP_PATH_REGEX */
    sp_str method;                     /* "" = any */
    sp_route_match *headers, *queries; /* all must hold */
    size_t header_count, query_count;
    /* Hosts, also wildcards, that are kept for others (listener isolation): never matched here. */
    sp_str *except;
    size_t except_count;
    bool last_resort;   /* an Ingress's default backend */
    uint32_t rank;      /* not 0: asked before all without, in this order, whatever they match */
    int64_t created_ms; /* of the object; older wins */
    sp_str object;      /* "ns/name" */
    uint32_t order;     /* of the rule in its object */
    sp_str listener;    /* of a Gateway, by which it is reached: "ns/gateway/name"; "" = none */
    const sp_route_action *action;
} sp_route_entry;

typedef struct sp_route_table sp_route_table;

/* Entries and what they point to must live in the arena (or outlive it). */
sp_route_table *sp_route_table_build(sp_arena *a, const sp_route_entry *entries, size_t n);

typedef struct sp_route_request {
    sp_str method;
    sp_str host; /* Host without port, lower case */
    sp_str path; /* normalized: sp_route_path */
    sp_str query;
    const sp_header *headers; /* names in lower case */
    size_t header_count;
} sp_route_request;

/* "*.example.com" holds "a.example.com" and "*.b.example.com"; "" holds all. Lower case. */
bool sp_route_host_within(sp_str host, sp_str wildcard);

/* NULL: nothing matches. */
const sp_route_entry *sp_route_find(const sp_route_table *t, const sp_route_request *r);

/* The entry to go on with: the one found, or that of a backend with filters of its own, by weight.
 */
const sp_route_entry *sp_route_choose(const sp_route_entry *e, uint64_t random);

/* The pool for one request by weight; SP_NO_POOL when the share of an invalid backend was drawn, or
 * all weights are zero. */
uint32_t sp_route_draw(const sp_targets *t, uint64_t random);

/* The path that rules are compared with: unreserved characters decoded, dot segments resolved (RFC
 * 3986 6.2.2), so that /a/%2e%2e/b cannot pass a rule for /a and reach /b, and // made one, as many
 * servers do. Returns path itself when there is nothing to do. False for a broken escape, a control
 * character, more than cap bytes, and for dots that are segments only to some servers ("..%2F",
 * "..\", "..;x"). */
SP_MUST_USE bool sp_route_path(sp_str path, char *scratch, size_t cap, sp_str *ret);
/* The path has "." or ".." as a segment, in whatever spelling. */
bool sp_route_path_has_dots(sp_str path);
/* Host without port in lower case, in scratch. False when it cannot be a host name or address. */
SP_MUST_USE bool sp_route_host(sp_str host, char *scratch, size_t cap, sp_str *ret);
/* The path and query for the backend (or a redirect) after the action's path edit; path, query as
 * the client sent them (query.p NULL = none; one with nothing behind its '?' keeps that); prefix:
 * the matched entry's path. */
void sp_route_rewrite(const sp_route_entry *e, sp_str path, sp_str query, sp_buf *ret);
