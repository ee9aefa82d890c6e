/* What objects refer to: Services as backends, Secrets as certificates, ConfigMaps as authorities,
 * and whether a reference into another namespace is granted (ReferenceGrant). Pure; what is wrong
 * is told in the words of the Gateway API specification. */
#pragma once
#include "gateway/translate.h"

/* Kinds of routes; all are of group gateway.networking.k8s.io. */
typedef enum sp_route_kind {
    SP_ROUTE_HTTP,
    SP_ROUTE_GRPC,
    SP_ROUTE_TLS,
    SP_ROUTE_TCP,
    SP_ROUTE_KINDS
} sp_route_kind;
const char *sp_route_kind_name(sp_route_kind k); /* "HTTPRoute" */
const sp_obj_list *sp_routes_of(const sp_cluster_view *v, sp_route_kind k);

/* Who refers: its kind and namespace. */
typedef struct sp_referrer {
    const char *kind; /* of gateway.networking.k8s.io */
    sp_str ns;
} sp_referrer;

/* The same namespace, or a ReferenceGrant in the other one. to_group "" is core. */
bool sp_ref_granted(const sp_cluster_view *v, sp_referrer from, const char *to_kind, sp_str to_ns,
                    sp_str to_name);

typedef struct sp_backend {
    const sp_json *service, *port; /* port: the element of spec.ports */
    sp_problem problem;            /* reason NULL: it can be used */
} sp_backend;
/* ref: group, kind, namespace, name, port. */
sp_backend sp_ref_backend(sp_arena *a, const sp_cluster_view *v, sp_referrer from,
                          const sp_json *ref);

/* Its pool for HTTP; SP_NO_POOL when it has a problem. like, suffix: sp_translate_pool_like. */
uint32_t sp_translate_backend(sp_translator *t, const sp_backend *b, const sp_pool_spec *like,
                              sp_str suffix);

/* The decoded value of one key of a Secret; false: it is missing, empty or no base64. */
bool sp_ref_secret_member(sp_arena *a, const sp_json *secret, const char *key, sp_str *ret);
/* A certificate from a Secret (type kubernetes.io/tls or one with the same members); reason NULL
 * and *ret, in the arena, when it can be used. */
sp_problem sp_ref_secret_cert(sp_arena *a, const sp_cluster_view *v, sp_str ns, sp_str name,
                              sp_tls_cert *ret);
/* ref: an element of certificateRefs. */
sp_problem sp_ref_cert(sp_arena *a, const sp_cluster_view *v, sp_referrer from, const sp_json *ref,
                       sp_tls_cert *ret);
/* ref: an element of caCertificateRefs. Appended to *pem. */
sp_problem sp_ref_ca(sp_arena *a, const sp_cluster_view *v, sp_referrer from, const sp_json *ref,
                     sp_str *pem);

/* The BackendTLSPolicy that holds for a port of a Service, or NULL: a named port before the whole
 * Service, then the oldest. */
const sp_json *sp_ref_backend_policy(const sp_cluster_view *v, const sp_json *service,
                                     const sp_json *port);
/* What it says. */
typedef struct sp_policy_tls {
    const sp_upstream_tls *tls; /* NULL: backends are not to be reached at all */
    sp_problem invalid;         /* Accepted=False */
    sp_problem refs;            /* ResolvedRefs=False */
} sp_policy_tls;
sp_policy_tls sp_ref_policy_tls(sp_arena *a, const sp_cluster_view *v, const sp_json *policy);
