/* Inside of the translation: what the rules of HTTPRoutes and GRPCRoutes mean. */
#pragma once
#include "gateway/gwapi.h"

/* What of a rule this gateway cannot do, with its path; "" when it can do all of it. Such a rule is
 * not served at all, and the status says so. */
sp_str sp_http_rule_fault(sp_arena *a, sp_route_kind kind, const sp_json *route,
                          const sp_json *rule, size_t index);
/* Values of its request headers have parts that are filled in (http_value.h). */
bool sp_http_has_variables(const sp_json *route);

/* One host that a route answers at. */
typedef struct sp_http_host {
    sp_str host;
    sp_str *except; /* what more specific listeners keep for themselves */
    size_t except_count;
} sp_http_host;
typedef SP_VEC(sp_http_host) sp_http_hosts;

/* Adds the route's rules to a table, for each of the hosts. */
void sp_http_entries(sp_translator *t, uint32_t table, sp_route_kind kind, const sp_json *route,
                     const sp_http_hosts *hosts);

/* --- httpfilter.c --- */
sp_str sp_http_filters_fault(sp_arena *a, const sp_json *filters, const char *where,
                             bool variables);
/* What the filters do, on top of what act does already. */
void sp_http_filters(sp_translator *t, sp_referrer from, const sp_json *filters,
                     sp_route_action *act);
