/* Shared by objects.c (backends, gateways) and objects_http.c (routes). */
#pragma once
#include "gateway/haproxy/model.h"

#define SP_HAP_NAMESPACE "default"

/* A document from a pattern of JSON in single quotes: ~ is the next sp_str, quoted; # the next
 * unsigned. */
sp_json *sp_hap_make(sp_hap *h, const char *pattern, ...);
/* With apiVersion, kind, name and namespace; takes the pattern of the rest ("'spec':{…}"). */
void sp_hap_emit(sp_hap *h, sp_json *object);
sp_json *sp_hap_object(sp_hap *h, const char *api_version, const char *kind, sp_str name);

/* A listener's context: the frontend, one of its bind lines and one of its ports. */
typedef struct sp_hap_door {
    sp_hap_proxy *front;
    const sp_hap_bind *bind;
    uint16_t port;
    sp_str gateway, listener;
} sp_hap_door;

/* The routes of one listener; an equal route of another listener is only attached to this one too.
 */
void sp_hap_http_routes(sp_hap *h, const sp_hap_door *d, const sp_hap_rules *rules);
void sp_hap_tcp_routes(sp_hap *h, const sp_hap_door *d, const sp_hap_rules *rules, bool sni);
sp_json *sp_hap_backend_ref(sp_hap *h, const sp_hap_proxy *backend);
uint16_t sp_hap_service_port(const sp_hap_proxy *backend);
/* parentRefs of a route that stands already, or a new route's. */
void sp_hap_attach(sp_hap *h, sp_json *route, const sp_hap_door *d);
/* --- objects_policy.c --- */
void sp_hap_backend_policy(sp_hap *h, const sp_hap_proxy *b);
void sp_hap_backend_tls(sp_hap *h, const sp_hap_proxy *b);
const char *sp_hap_app_protocol(sp_hap *h, const sp_hap_proxy *b); /* NULL: none */
void sp_hap_listener_policy(sp_hap *h, const sp_hap_door *d, const sp_strs *allowed,
                            const sp_strs *denied);
/* It stands in place of the listener's, so it has the frontend's rates too. */
void sp_hap_route_policy(sp_hap *h, const sp_hap_proxy *front, sp_str route, const sp_strs *allowed,
                         const sp_strs *denied);
/* What the endpoint of the server's i-th address is called. */
sp_str sp_hap_endpoint_name(sp_hap *h, const sp_hap_server *s, size_t i);

/* --- objects_http.c --- */
/* Emits it, or attaches an equal one that stands already (spec but for parentRefs, annotations). */
void sp_hap_emit_route(sp_hap *h, const sp_hap_door *d, sp_json *route);
