/* Gateways (gateway.networking.k8s.io/v1): what their listeners come to, and which routes attach to
 * them. One judgement serves the translation and the status. */
#pragma once
#include "gateway/refs.h"

typedef enum sp_gw_protocol {
    SP_GW_HTTP,
    SP_GW_HTTPS,
    SP_GW_TLS,
    SP_GW_TCP,
    SP_GW_OTHER
} sp_gw_protocol;

typedef struct sp_gw_listener {
    const sp_json *gateway, *spec;
    sp_str name, host; /* host in lower case; "" = any */
    sp_gw_protocol protocol;
    bool passthrough;
    uint16_t port;  /* where it is really served: 80 stands for --http-port, 443 for --https-port */
    unsigned kinds; /* of routes that may attach: 1 << sp_route_kind */
    sp_problem invalid;     /* Accepted=False; reason NULL: fine. The same below */
    sp_problem refs;        /* ResolvedRefs=False */
    sp_problem clash;       /* Conflicted=True */
    const sp_tls_spec *tls; /* NULL: passed through, no TLS, or no usable certificate */
    bool served;            /* as far as the objects say: sockets are another matter */
} sp_gw_listener;
typedef SP_VEC(sp_gw_listener) sp_gw_listeners;

/* Where a listener (an element of spec.listeners) is really served; 0: nowhere. */
uint16_t sp_gw_port(const sp_json *listener, const sp_translate_options *o);
bool sp_gateway_is_ours(const sp_cluster_view *v, const sp_json *gateway);
/* Of one Gateway of ours, in order; free the vector. Everything else lives in the arena. */
void sp_gw_listeners_of(sp_arena *a, const sp_cluster_view *v, const sp_translate_options *o,
                        const sp_json *gateway, sp_gw_listeners *ret);
/* Where a Gateway listens: what spec.addresses asks for, or options->bind. The first fault, if any:
 * Accepted=False (UnsupportedAddress). */
typedef SP_VEC(sp_addr) sp_addrs;
sp_problem sp_gw_addresses(sp_arena *a, const sp_translate_options *o, const sp_json *gateway,
                           sp_addrs *ret);

/* --- attaching --- */

/* parent: an element of spec.parentRefs. NULL when it is not a Gateway of ours. */
const sp_json *sp_route_parent(const sp_cluster_view *v, const sp_json *route,
                               const sp_json *parent);

typedef struct sp_route_verdict {
    bool ok;
    const char *reason; /* as the specification names it */
    sp_str text;
    sp_str dropped; /* rules that are not served; "" = none (PartiallyInvalid) */
} sp_route_verdict;
sp_route_verdict sp_route_accepted(sp_arena *a, const sp_cluster_view *v,
                                   const sp_translate_options *o, sp_route_kind kind,
                                   const sp_json *route, const sp_json *parent,
                                   const sp_json *gateway);
sp_route_verdict sp_route_resolved(sp_arena *a, const sp_cluster_view *v, sp_route_kind kind,
                                   const sp_json *route);
/* Whether any parentRef attaches the route to this listener; hosts: what both answer to. */
bool sp_gw_attaches(sp_arena *a, const sp_cluster_view *v, const sp_gw_listener *l,
                    sp_route_kind kind, const sp_json *route, sp_strs *ret_hosts);
int64_t sp_gw_attached(sp_arena *a, const sp_cluster_view *v, const sp_gw_listener *l);
