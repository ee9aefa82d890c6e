/* Annotations of ingress-nginx (nginx.ingress.kubernetes.io/…), for Ingresses written for it: what
 * they ask for, as values. One table in ingress_notes.c says which are known; any other one of that
 * prefix is a problem that is told, never skipped. Source: ingress-nginx's user guide, annotations.
 */
#pragma once
#include "gateway/translate.h"

typedef struct sp_ingress_notes {
    bool no_ssl_redirect, force_ssl_redirect; /* with TLS, HTTP is redirected unless told not to */
    bool use_regex;
    sp_str rewrite, app_root;
    sp_str redirect_to; /* a URL */
    uint16_t redirect_code;
    uint64_t max_body_bytes;
    sp_pool_spec pool; /* sticky, protocol, tls, hash, timeouts; zero = as the Service has it */
    bool has_pool;
    sp_cidr *allowed, *denied;
    size_t allowed_count, denied_count;
    bool canary;
    uint32_t canary_weight, canary_total;
    sp_str canary_header, canary_value, canary_cookie;
    bool cors_on;
    sp_cors_spec cors;
    uint32_t limit_rps, limit_rpm, limit_burst;
} sp_ingress_notes;

/* Everything in the arena; problems may be NULL. */
void sp_ingress_notes_read(sp_arena *a, const sp_json *ingress, sp_ingress_notes *ret,
                           sp_problems *problems);
/* The parts that hold for each request, put into an action. owner: "Ingress ns/name". */
void sp_ingress_notes_apply(sp_arena *a, const sp_ingress_notes *n, sp_str owner,
                            sp_route_action *act);
