/* From Kubernetes objects to what the data path does. Pure: documents in, a sp_gateway_config out,
 * together with what could not be done and why, so that the status writers (status.h) say the same.
 *
 * services.c    Services → listeners and pools
 * endpoints.c   EndpointSlices → who is in a pool
 * ingress.c     Ingresses → routing entries, certificates
 * gwapi.c       Gateways → listeners; which routes may attach to them
 * httproute.c   HTTPRoutes and GRPCRoutes → routing entries
 * refs.c        what objects refer to, and whether they may
 * challenge.c   ACME challenges → routing entries and certificates
 * policy.c      BackendPolicies and TrafficPolicies, on top of all that
 * sticky_key.c  the key behind sticky cookies
 * translate.c   the whole, and who gets a port that two ask for */
#pragma once
#include "gateway/config.h"
#include "kube/informer.h"

#define SP_GATEWAY_CONTROLLER "sampan.dev/gateway"

/* Borrowed documents. */
typedef struct sp_cluster_view {
    sp_obj_list services, slices, namespaces, ingresses, ingress_classes, gateway_classes, gateways,
        routes, grpc_routes, tls_routes, tcp_routes, reference_grants, backend_tls_policies,
        secrets, config_maps, challenges, backend_policies, traffic_policies, virtual_addresses;
} sp_cluster_view;
void sp_cluster_view_free(sp_cluster_view *v);
const sp_json *sp_view_find(const sp_obj_list *list, sp_str ns, sp_str name);

typedef struct sp_translate_options {
    sp_addr bind;        /* its port does not count */
    uint16_t http_port;  /* 0 = no HTTP */
    uint16_t https_port; /* 0 = no HTTPS for Ingresses; Gateways' port 443 as it is */
    bool cluster_ips;
    bool script_checks; /* policies may name programs that run here */
    sp_str sticky_key;  /* "" = that of the cluster's Secret (sticky_key.c) */
    const char *node_address;
    const char *node_name; /* for …TrafficPolicy: Local and hints; NULL = not known */
    /* What was served before, or NULL: who holds a port keeps it, whatever came since. */
    const sp_gateway_config *previous;
} sp_translate_options;

/* A port somebody asked for and does not get, decided before any socket. */
typedef struct sp_refusal {
    sp_str owner; /* "Service default/web" */
    uint16_t port;
    const char *reason; /* PortInUse, ProtocolNotSupported */
    sp_str text;
} sp_refusal;

typedef struct sp_translation {
    sp_gateway_config *config;
    SP_VEC(sp_refusal) refusals; /* texts live in the config's arena */
} sp_translation;

sp_translation *sp_translate(const sp_cluster_view *view, const sp_translate_options *options);
sp_translation *sp_translation_free(sp_translation *t); /* takes NULL, returns NULL */

/* --- what is wrong with one Ingress --- */
typedef struct sp_problem {
    const char *reason;
    sp_str text;
} sp_problem;
typedef SP_VEC(sp_problem) sp_problems;
/* Its class is ours: named so, unnamed, or named after a class that nobody else claims. */
bool sp_ingress_is_ours(const sp_cluster_view *v, const sp_json *ingress);
/* Whether any of ours asks for TLS: then --https-port belongs to all of them. */
bool sp_ingresses_use_tls(const sp_cluster_view *v);
void sp_ingress_problems(sp_arena *a, const sp_cluster_view *v, const sp_json *ingress,
                         sp_problems *ret);

/* --- shared by the files above --- */
/* What a port carries: two that want different things cannot share it. */
typedef enum sp_carried { SP_CARRIES_HTTP, SP_CARRIES_TLS, SP_CARRIES_TCP } sp_carried;

typedef struct sp_shared_port {
    sp_addr addr;
    sp_carried kind;
    size_t listener;          /* of translator->listeners */
    uint32_t table;           /* HTTP */
    SP_VEC(sp_sni_entry) sni; /* TLS */
} sp_shared_port;

typedef struct sp_translator {
    sp_arena *arena;
    const sp_cluster_view *view;
    const sp_translate_options *options;
    sp_translation *out;
    SP_VEC(sp_pool_spec) pools;
    SP_VEC(sp_listener_spec) listeners;
    sp_map pool_index;  /* name → index + 1 */
    sp_map claimed;     /* address and port → index into listeners + 1 */
    sp_map held;        /* the same of options->previous → its sp_listener_spec */
    bool only_held;     /* first pass: who holds a port asks for it again */
    sp_map slice_index; /* "ns/service" → sp_obj_list */
    sp_str zone;        /* of this node; "" = not known */
    SP_VEC(sp_shared_port) ports;
    SP_VEC(SP_VEC(sp_route_entry)) entries; /* of each table; [0] is that of http_port, if any */
} sp_translator;

/* The pool of one port of a Service (an element of spec.ports), for bytes as they are. */
uint32_t sp_translate_pool(sp_translator *t, const sp_json *service, const sp_json *port);
/* The same for HTTP, spoken as appProtocol and BackendTLSPolicies say. The fields of `like` (NULL =
 * none) that are not zero (sticky, protocol, tls, timeouts, hash) replace its own; suffix then
 * makes its name another one. */
uint32_t sp_translate_pool_like(sp_translator *t, const sp_json *service, const sp_json *port,
                                const sp_pool_spec *like, sp_str suffix);
/* The pool's endpoints: a Service's at one port; local: only those on this node. */
void sp_translate_endpoints(sp_translator *t, const sp_json *service, sp_str port_name, bool local,
                            sp_pool_spec *pool);
/* The element of spec.ports by number, or by name when number is 0; NULL. */
const sp_json *sp_service_port(const sp_json *service, int64_t number, sp_str name);
/* Asks for a port; refuses what is taken (and says so in refusals). In the first pass it gives only
 * what the owner had before. */
bool sp_translate_listen(sp_translator *t, sp_listener_spec spec);
void sp_translate_refuse(sp_translator *t, sp_str owner, uint16_t port, const char *reason,
                         const char *fmt, ...) SP_PRINTF(5, 6);
/* The port at this address, made if new (owner: who asks first). HTTP and TLS ports are shared by
 * all who want the same kind, TCP ports are not. SIZE_MAX when refused. */
size_t sp_translate_port(sp_translator *t, sp_addr addr, sp_carried kind, sp_str owner);
/* Where to listen for an address somebody asked for: a virtual address comes and goes between nodes
 * (VirtualAddress), so its ports are open on any address, before it arrives. */
sp_addr sp_translate_bind(const sp_translator *t, sp_addr asked);
uint32_t sp_translate_new_table(sp_translator *t);
void sp_translate_entry(sp_translator *t, uint32_t table, const sp_route_entry *e);
/* One more server name of a TLS port; false, and told, when somebody else has the name there. */
bool sp_translate_sni(sp_translator *t, size_t port, sp_sni_entry e);
/* ASCII lower case, in the arena. */
sp_str sp_translate_lower(sp_arena *a, sp_str s);
/* One more share; for the files that make entries and listeners. */
void sp_targets_add(sp_arena *a, sp_targets *t, uint32_t pool, uint32_t weight);
int64_t sp_translate_created_ms(const sp_json *o);

void sp_translate_services(sp_translator *t);
void sp_translate_challenges(sp_translator *t);    /* last: on every table there is */
void sp_translate_sticky_key(sp_translator *t);    /* after the policies */
void sp_translate_ingress_ports(sp_translator *t); /* --https-port, before anybody else asks */
void sp_translate_ingresses(sp_translator *t);
void sp_translate_gateways(sp_translator *t); /* only_held: ports, nothing on them */
