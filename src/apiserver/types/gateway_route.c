/* Gateway API: the routes. What is common to all of them is written once: parents, backends, what a
 * controller says of each parent. */
#include "apiserver/types/gateway.h"

#define PARENTS                                                                              \
    {"parentRefs", 0, GW_LIST(T(gw_parent_reference), 0, 32), "Gateways it attaches to."}, { \
        "useDefaultGateways", 0, ENUM("All", "None")                                         \
    }
#define HOSTNAMES(max)                                               \
    {                                                                \
        "hostnames", 0, GW_LIST(GW_HOSTNAME, 0, max),                \
            "Names it answers to; those of the listener if missing." \
    }
#define BACKEND_REF                                                                              \
    {"group", 0, GW_GROUP_DEFAULT(""), "Group of that kind."},                                   \
        {"kind", 0, GW_KIND_DEFAULT("Service"), "Service, if missing."},                         \
        {"name", 0, GW_NAME, "Name of the service.", REQUIRED},                                  \
        {"namespace", 0, GW_NAMESPACE, "Its namespace; another one needs a ReferenceGrant."},    \
        {"port", 0, GW_PORT, "Port of the service."}, {                                          \
        "weight", 0, GW_RANGE(0, 1000000, GW_DEFAULT_INT("1")), "Share, relative to the others." \
    }
/* A whole kind: its fields, columns and rows. */
#define ROUTE_TYPE(id, name, text)                                                \
    FIELDS(id) = {                                                                \
        TYPE_META,                                                                \
        {"metadata", 0, T(object_meta), "Name, labels and other standard data."}, \
        {"spec", 0, T(id##_spec), "What should be.", REQUIRED},                   \
        {"status", 0, T(route_status), "What was last observed."},                \
    };                                                                            \
    SHARED_TYPE(id, name, text)
#define HOST_COLUMNS                                                                   \
    COLUMNS(SP_COLUMN_NAME,                                                            \
            CELL_COLUMN("Hostnames", "Names it answers to.", sp_cell_route_hostnames), \
            SP_COLUMN_AGE)

FIELDS(route_parent_status) = {
    {"parentRef", 0, T(gw_parent_reference), NULL, REQUIRED},
    {"controllerName", 0, STRING},
    {"conditions", 0, LIST(T(condition))},
};
TYPE(route_parent_status, "RouteParentStatus", NULL);

FIELDS(route_status) = {
    {"parents", 0, LIST(T(route_parent_status)), "What each parent's controller says."},
};
TYPE(route_status, "RouteStatus", NULL);

/* --- HTTPRoute --- */

FIELDS(http_path_match) = {
    {"type", 0, ENUM_DEFAULT("PathPrefix", "Exact", "RegularExpression"),
     "Exact, PathPrefix or RegularExpression."},
    {"value", 0,
     SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .max_length = 1024, .default_value = E1_("/")),
     "Path to compare with."},
};
TYPE(http_path_match, "HTTPPathMatch", NULL);

FIELDS(http_header_match) = {
    {"type", 0, ENUM_DEFAULT("Exact", "RegularExpression"), "Exact or RegularExpression."},
    {"name", 0, GW_HEADER_NAME, "Name of the header.", REQUIRED},
    {"value", 0, GW_TEXT(NULL, 4096), "Value to compare with.", REQUIRED},
};
TYPE(http_header_match, "HTTPHeaderMatch", NULL);

FIELDS(http_query_param_match) = {
    {"type", 0, ENUM_DEFAULT("Exact", "RegularExpression"), "Exact or RegularExpression."},
    {"name", 0, GW_HEADER_NAME, "Name of the parameter.", REQUIRED},
    {"value", 0, GW_TEXT(NULL, 1024), "Value to compare with.", REQUIRED},
};
TYPE(http_query_param_match, "HTTPQueryParamMatch", NULL);

FIELDS(http_route_match) = {
    {"path", 0, T(http_path_match), "Path of the request."},
    {"headers", 0, GW_MAP_LIST(T(http_header_match), 0, 16, "name"),
     "Headers of the request, all of them."},
    {"queryParams", 0, GW_MAP_LIST(T(http_query_param_match), 0, 16, "name"),
     "Parameters of the request, all of them."},
    {"method", 0, STRING, "Method of the request."},
};
TYPE(http_route_match, "HTTPRouteMatch", "What a request must look like; all parts must fit.");

FIELDS(http_backend_ref) = {
    BACKEND_REF,
    {"filters", 0, GW_LIST(T(gw_http_filter), 0, 16), "Filters for this backend only."},
};
TYPE(http_backend_ref, "HTTPBackendRef", "A service that takes requests.");

FIELDS(http_route_timeouts) = {
    {"request", 0, GW_DURATION, "Time for the whole request, as 10s."},
    {"backendRequest", 0, GW_DURATION, "Time for one try at a backend."},
};
TYPE(http_route_timeouts, "HTTPRouteTimeouts", NULL);

FIELDS(http_route_retry) = {
    {"codes", 0, GW_SET(GW_RANGE(400, 599), 0), "Answers that count as failed."},
    {"attempts", 0, GW_AT_LEAST(1), "Tries after the first."},
    {"backoff", 0, GW_DURATION, "Least time between tries."},
};
TYPE(http_route_retry, "HTTPRouteRetry", NULL);

FIELDS(cookie_config) = {
    {"name", 0, GW_HEADER_NAME, "Name of the cookie."},
    {"path", 0,
     SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .max_length = 1024, .default_value = E1_("/"))},
    {"lifetimeType", 0, ENUM_DEFAULT("Session", "Permanent"),
     "Until the browser is closed, or for absoluteTimeout."},
};
TYPE(cookie_config, "CookieConfig", NULL);

FIELDS(header_config) = {
    {"name", 0, GW_HEADER_NAME, NULL, REQUIRED},
};
TYPE(header_config, "HeaderConfig", NULL);

/* As v1.1 to v1.4 of the Gateway API spell it; cookie and header are the later spelling. */
FIELDS(cookie_lifetime) = {
    {"lifetimeType", 0, ENUM_DEFAULT("Session", "Permanent"),
     "Until the browser is closed, or for absoluteTimeout."},
};
TYPE(cookie_lifetime, "CookieLifetime", NULL);

FIELDS(session_persistence) = {
    {"sessionName", 0, GW_TEXT(NULL, 128), "Name of the cookie or header."},
    {"idleTimeout", 0, GW_DURATION, "How long without a request at most."},
    {"cookieConfig", 0, T(cookie_lifetime)},
    {"absoluteTimeout", 0, GW_DURATION, "How long at most."},
    {"type", 0, ENUM_DEFAULT("Cookie", "Header"), "What remembers the server."},
    {"cookie", 0, T(cookie_config)},
    {"header", 0, T(header_config)},
};
TYPE(session_persistence, "SessionPersistence", NULL);

FIELDS(http_route_rule) = {
    {"name", 0, GW_SECTION_NAME, "Name of the rule."},
    {"matches", 0, GW_LIST(T(http_route_match), 0, 64), "Requests it is for; one match is enough."},
    {"filters", 0, GW_LIST(T(gw_http_filter), 0, 16), "What is done with them on the way."},
    {"backendRefs", 0, GW_LIST(T(http_backend_ref), 0, 16), "Where they go."},
    {"timeouts", 0, T(http_route_timeouts), "How long that may take."},
    {"retry", 0, T(http_route_retry), "When it is tried again."},
    {"sessionPersistence", 0, T(session_persistence)},
};
TYPE(http_route_rule, "HTTPRouteRule", "Which requests go where, and what is done to them.");

FIELDS(http_route_spec) = {
    PARENTS,
    HOSTNAMES(16),
    {"rules", 0, GW_LIST(T(http_route_rule), 0, 16), "What goes where."},
};
TYPE(http_route_spec, "HTTPRouteSpec", "Gateways, names and rules of a route.");

ROUTE_TYPE(http_route, "HTTPRoute",
           "Leads HTTP requests from gateways to services, by name, path, headers and more.");

#define HTTP_ROUTE_ROW                                                                        \
    HOOKED(http_route), .plural = "httproutes", .singular = "httproute", .kind = "HTTPRoute", \
                        .namespaced = true, .schema = T(http_route), HOST_COLUMNS
ROW(http_route, GATEWAY_KIND("v1"), HTTP_ROUTE_ROW);
ROW(http_route_v1beta1, GATEWAY_ALIAS("v1beta1", http_route), HTTP_ROUTE_ROW);

/* --- GRPCRoute --- */

FIELDS(grpc_method_match) = {
    {"type", 0, ENUM_DEFAULT("Exact", "RegularExpression"), "Exact or RegularExpression."},
    {"service", 0, SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .max_length = 1024),
     "Name of the service, with its package; all if missing."},
    {"method", 0, SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .max_length = 1024),
     "Name of the method; all if missing."},
};
TYPE(grpc_method_match, "GRPCMethodMatch", NULL);

FIELDS(grpc_header_match) = {
    {"type", 0, ENUM_DEFAULT("Exact", "RegularExpression"), "Exact or RegularExpression."},
    {"name", 0, GW_HEADER_NAME, "Name of the metadata field.", REQUIRED},
    {"value", 0, GW_TEXT(NULL, 4096), "Value to compare with.", REQUIRED},
};
TYPE(grpc_header_match, "GRPCHeaderMatch", NULL);

FIELDS(grpc_route_match) = {
    {"method", 0, T(grpc_method_match), "Service and method of the call."},
    {"headers", 0, GW_MAP_LIST(T(grpc_header_match), 0, 16, "name"),
     "Metadata of the call, all of it."},
};
TYPE(grpc_route_match, "GRPCRouteMatch", "What a call must look like; all parts must fit.");

FIELDS(grpc_backend_ref) = {
    BACKEND_REF,
    {"filters", 0, GW_LIST(T(gw_grpc_filter), 0, 16), "Filters for this backend only."},
};
TYPE(grpc_backend_ref, "GRPCBackendRef", "A service that takes calls, over HTTP/2.");

FIELDS(grpc_route_rule) = {
    {"name", 0, GW_SECTION_NAME, "Name of the rule."},
    {"matches", 0, GW_LIST(T(grpc_route_match), 0, 64), "Calls it is for; one match is enough."},
    {"filters", 0, GW_LIST(T(gw_grpc_filter), 0, 16), "What is done with them on the way."},
    {"backendRefs", 0, GW_LIST(T(grpc_backend_ref), 0, 16), "Where they go."},
    {"sessionPersistence", 0, T(session_persistence)},
};
TYPE(grpc_route_rule, "GRPCRouteRule", "Which calls go where, and what is done to them.");

FIELDS(grpc_route_spec) = {
    PARENTS,
    HOSTNAMES(16),
    {"rules", 0, GW_LIST(T(grpc_route_rule), 0, 16), "What goes where."},
};
TYPE(grpc_route_spec, "GRPCRouteSpec", "Gateways, names and rules of a route.");

ROUTE_TYPE(grpc_route, "GRPCRoute",
           "Leads gRPC calls from gateways to services, by service, method and metadata.");

ROW(grpc_route, HOOKED(grpc_route), GATEWAY_KIND("v1"), .plural = "grpcroutes",
    .singular = "grpcroute", .kind = "GRPCRoute", .namespaced = true, .schema = T(grpc_route),
    HOST_COLUMNS);

/* --- TLSRoute and TCPRoute: connections --- */

FIELDS(gw_backend_ref) = {
    BACKEND_REF,
};
TYPE(gw_backend_ref, "gateway.BackendRef", "A service that takes connections.");

FIELDS(connection_rule) = {
    {"name", 0, GW_SECTION_NAME, "Name of the rule."},
    {"backendRefs", 0, GW_LIST(T(gw_backend_ref), 1, 16), "Where connections go.", REQUIRED},
};
TYPE(connection_rule, "gateway.ConnectionRule", "Where connections go.");

FIELDS(tls_route_spec) = {
    PARENTS,
    HOSTNAMES(1024),
    {"rules", 0, GW_LIST(T(connection_rule), 1, 1), "What goes where.", REQUIRED},
};
TYPE(tls_route_spec, "TLSRouteSpec", "Gateways, server names and backends of a route.");

ROUTE_TYPE(
    tls_route, "TLSRoute",
    "Leads TLS connections from gateways to services, by the server name the client asks for.");

#define TLS_ROUTE_ROW                                                                     \
    HOOKED(tls_route), .plural = "tlsroutes", .singular = "tlsroute", .kind = "TLSRoute", \
                       .namespaced = true, .schema = T(tls_route), HOST_COLUMNS
ROW(tls_route, GATEWAY_KIND("v1"), TLS_ROUTE_ROW);
ROW(tls_route_v1alpha3, GATEWAY_ALIAS("v1alpha3", tls_route), TLS_ROUTE_ROW);
ROW(tls_route_v1alpha2, GATEWAY_ALIAS("v1alpha2", tls_route), TLS_ROUTE_ROW);

FIELDS(tcp_route_spec) = {
    PARENTS,
    {"rules", 0, GW_LIST(T(connection_rule), 1, 1), "What goes where.", REQUIRED},
};
TYPE(tcp_route_spec, "TCPRouteSpec", "Gateways and backends of a route.");

ROUTE_TYPE(tcp_route, "TCPRoute", "Leads TCP connections from a gateway's port to services.");

#define TCP_ROUTE_ROW                                                                     \
    HOOKED(tcp_route), .plural = "tcproutes", .singular = "tcproute", .kind = "TCPRoute", \
                       .namespaced = true, .schema = T(tcp_route)
ROW(tcp_route, GATEWAY_KIND("v1"), TCP_ROUTE_ROW);
ROW(tcp_route_v1alpha2, GATEWAY_ALIAS("v1alpha2", tcp_route), TCP_ROUTE_ROW);
