/* Gateway API (gateway.networking.k8s.io/v1): classes, gateways and HTTP routes. Upstream these are
 * custom resources, so they have no protobuf form: every number is 0. */
#include "apiserver/types/types.h"

FIELDS(parameters_reference) = {
    {"group", 0, STRING, NULL, REQUIRED},
    {"kind", 0, STRING, NULL, REQUIRED},
    {"name", 0, STRING, NULL, REQUIRED},
    {"namespace", 0, STRING},
};
TYPE(parameters_reference, "ParametersReference", NULL);

FIELDS(gateway_class_spec) = {
    {"controllerName", 0, STRING, "Name of the controller that serves its gateways.", REQUIRED},
    {"parametersRef", 0, T(parameters_reference), "Object with further settings."},
    {"description", 0, STRING, "What it is for."},
};
TYPE(gateway_class_spec, "GatewayClassSpec", NULL);

FIELDS(supported_feature) = {
    {"name", 0, STRING, NULL, REQUIRED},
};
TYPE(supported_feature, "SupportedFeature", NULL);

FIELDS(gateway_class_status) = {
    {"conditions", 0, LIST(T(condition))},
    {"supportedFeatures", 0, LIST(T(supported_feature))},
};
TYPE(gateway_class_status, "GatewayClassStatus", NULL);

FIELDS(gateway_class) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(gateway_class_spec), "What should be.", REQUIRED},
    {"status", 0, T(gateway_class_status), "What was last observed."},
};
SHARED_TYPE(gateway_class, "GatewayClass", "Names the controller that serves gateways.");

FIELDS(secret_object_reference) = {
    {"group", 0, STRING_DEFAULT("")},
    {"kind", 0, STRING_DEFAULT("Secret")},
    {"name", 0, STRING, NULL, REQUIRED},
    {"namespace", 0, STRING},
};
TYPE(secret_object_reference, "SecretObjectReference", NULL);

FIELDS(listener_tls_config) = {
    {"mode", 0, ENUM_DEFAULT("Terminate", "Passthrough"), "Terminate, or Passthrough."},
    {"certificateRefs", 0, LIST(T(secret_object_reference)), "Secrets with certificates and keys."},
    {"options", 0, STRING_MAP},
};
TYPE(listener_tls_config, "ListenerTLSConfig", NULL);

FIELDS(route_namespaces) = {
    {"from", 0, ENUM_DEFAULT("Same", "All", "Selector", "None"),
     "Namespaces whose routes may attach: Same, All or Selector."},
    {"selector", 0, T(label_selector), "Labels of those namespaces."},
};
TYPE(route_namespaces, "RouteNamespaces", NULL);

FIELDS(route_group_kind) = {
    {"group", 0, STRING_DEFAULT("gateway.networking.k8s.io")},
    {"kind", 0, STRING, NULL, REQUIRED},
};
TYPE(route_group_kind, "RouteGroupKind", NULL);

FIELDS(allowed_routes) = {
    {"namespaces", 0, T(route_namespaces), "Where routes may come from."},
    {"kinds", 0, LIST(T(route_group_kind)), "Which kinds of routes."},
};
TYPE(allowed_routes, "AllowedRoutes", NULL);

FIELDS(listener) = {
    {"name", 0, STRING, "Name of the listener, unique in the gateway.", REQUIRED},
    {"hostname", 0, STRING, "Name it answers to; all if missing."},
    {"port", 0, INT32, "Port it listens on.", REQUIRED},
    {"protocol", 0, STRING, "HTTP, HTTPS, TLS, TCP or UDP.", REQUIRED},
    {"tls", 0, T(listener_tls_config), "Certificates."},
    {"allowedRoutes", 0, T(allowed_routes), "Routes that may attach."},
};
TYPE(listener, "Listener", "One port of a gateway.");

FIELDS(gateway_spec_address) = {
    {"type", 0, STRING_DEFAULT("IPAddress")},
    {"value", 0, STRING},
};
TYPE(gateway_spec_address, "GatewaySpecAddress", NULL);

FIELDS(local_parameters_reference) = {
    {"group", 0, STRING, NULL, REQUIRED},
    {"kind", 0, STRING, NULL, REQUIRED},
    {"name", 0, STRING, NULL, REQUIRED},
};
TYPE(local_parameters_reference, "LocalParametersReference", NULL);

FIELDS(gateway_infrastructure) = {
    {"labels", 0, STRING_MAP},
    {"annotations", 0, STRING_MAP},
    {"parametersRef", 0, T(local_parameters_reference)},
};
TYPE(gateway_infrastructure, "GatewayInfrastructure", NULL);

FIELDS(listener_namespaces) = {
    {"from", 0, ENUM("All", "Selector", "Same", "None")},
    {"selector", 0, T(label_selector)},
};
TYPE(listener_namespaces, "ListenerNamespaces", NULL);

FIELDS(allowed_listeners) = {
    {"namespaces", 0, T(listener_namespaces)},
};
TYPE(allowed_listeners, "AllowedListeners", NULL);

FIELDS(gateway_backend_tls) = {
    {"clientCertificateRef", 0, T(secret_object_reference)},
};
TYPE(gateway_backend_tls, "GatewayBackendTLS", NULL);

FIELDS(gateway_object_ref) = {
    {"group", 0, STRING, NULL, REQUIRED},
    {"kind", 0, STRING, "Kind of the object.", REQUIRED},
    {"name", 0, STRING, "Name of the object.", REQUIRED},
    {"namespace", 0, STRING, "Namespace of the object."},
};
TYPE(gateway_object_ref, "gateway.ObjectReference", NULL);

FIELDS(frontend_tls_validation) = {
    {"caCertificateRefs", 0, LIST(T(gateway_object_ref)), NULL, REQUIRED},
    {"mode", 0, STRING},
};
TYPE(frontend_tls_validation, "FrontendTLSValidation", NULL);

FIELDS(tls_config) = {
    {"validation", 0, T(frontend_tls_validation)},
};
TYPE(tls_config, "TLSConfig", NULL);

FIELDS(tls_port_config) = {
    {"port", 0, INT32, NULL, REQUIRED},
    {"tls", 0, T(tls_config), NULL, REQUIRED},
};
TYPE(tls_port_config, "TLSPortConfig", NULL);

FIELDS(frontend_tls_config) = {
    {"default", 0, T(tls_config), NULL, REQUIRED},
    {"perPort", 0, LIST(T(tls_port_config))},
};
TYPE(frontend_tls_config, "FrontendTLSConfig", NULL);

FIELDS(gateway_tls_config) = {
    {"backend", 0, T(gateway_backend_tls)},
    {"frontend", 0, T(frontend_tls_config)},
};
TYPE(gateway_tls_config, "GatewayTLSConfig", NULL);

FIELDS(gateway_spec) = {
    {"gatewayClassName", 0, STRING, "Class whose controller serves it.", REQUIRED},
    {"listeners", 0, LIST(T(listener)), "Ports, protocols and names.", REQUIRED},
    {"addresses", 0, LIST(T(gateway_spec_address)), "Addresses wished for."},
    {"infrastructure", 0, T(gateway_infrastructure)},
    {"allowedListeners", 0, T(allowed_listeners)},
    {"tls", 0, T(gateway_tls_config)},
    {"defaultScope", 0, STRING},
};
TYPE(gateway_spec, "GatewaySpec", "Ports, protocols and names of a gateway.");

FIELDS(gateway_status_address) = {
    {"type", 0, STRING_DEFAULT("IPAddress")},
    {"value", 0, STRING, NULL, REQUIRED},
};
TYPE(gateway_status_address, "GatewayStatusAddress", NULL);

FIELDS(listener_status) = {
    {"name", 0, STRING},
    {"supportedKinds", 0, LIST(T(route_group_kind))},
    {"attachedRoutes", 0, INT32},
    {"conditions", 0, LIST(T(condition))},
};
TYPE(listener_status, "ListenerStatus", NULL);

FIELDS(gateway_status) = {
    {"addresses", 0, LIST(T(gateway_status_address)), "Where it is reached."},
    {"conditions", 0, LIST(T(condition)), "What was last observed, by aspect."},
    {"listeners", 0, LIST(T(listener_status)), "What was last observed of each listener."},
    {"attachedListenerSets", 0, INT32},
};
TYPE(gateway_status, "GatewayStatus", NULL);

FIELDS(gateway) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(gateway_spec), "What should be.", REQUIRED},
    {"status", 0, T(gateway_status), "What was last observed."},
};
SHARED_TYPE(gateway, "Gateway", "A place where traffic from outside comes in.");

FIELDS(parent_reference) = {
    {"group", 0, STRING_DEFAULT("gateway.networking.k8s.io"), "Group of that kind."},
    {"kind", 0, STRING_DEFAULT("Gateway"), "Gateway, if missing."},
    {"namespace", 0, STRING, "Its namespace; that of the route if missing."},
    {"name", 0, STRING, "Name of the gateway.", REQUIRED},
    {"sectionName", 0, STRING, "Name of one listener."},
    {"port", 0, INT32, "Port of one listener."},
};
TYPE(parent_reference, "ParentReference", "A gateway, or one listener of it.");

FIELDS(http_path_match) = {
    {"type", 0, ENUM_DEFAULT("PathPrefix", "Exact", "RegularExpression"),
     "Exact, PathPrefix or RegularExpression."},
    {"value", 0, STRING_DEFAULT("/"), "Path to compare with."},
};
TYPE(http_path_match, "HTTPPathMatch", NULL);

FIELDS(http_header_match) = {
    {"type", 0, ENUM_DEFAULT("Exact", "RegularExpression"), "Exact or RegularExpression."},
    {"name", 0, STRING, "Name of the header.", REQUIRED},
    {"value", 0, STRING, "Value to compare with.", REQUIRED},
};
TYPE(http_header_match, "HTTPHeaderMatch", NULL);

FIELDS(http_query_param_match) = {
    {"type", 0, ENUM_DEFAULT("Exact", "RegularExpression"), "Exact or RegularExpression."},
    {"name", 0, STRING, "Name of the parameter.", REQUIRED},
    {"value", 0, STRING, "Value to compare with.", REQUIRED},
};
TYPE(http_query_param_match, "HTTPQueryParamMatch", NULL);

FIELDS(http_route_match) = {
    {"path", 0, T(http_path_match), "Path of the request."},
    {"headers", 0, LIST(T(http_header_match)), "Headers of the request, all of them."},
    {"queryParams", 0, LIST(T(http_query_param_match)), "Parameters of the request, all of them."},
    {"method", 0, STRING, "Method of the request."},
};
TYPE(http_route_match, "HTTPRouteMatch", "What a request must look like; all parts must fit.");

FIELDS(gateway_header) = {
    {"name", 0, STRING, "Name of the header.", REQUIRED},
    {"value", 0, STRING, "Its value.", REQUIRED},
};
TYPE(gateway_header, "gateway.HTTPHeader", NULL);

FIELDS(http_header_filter) = {
    {"set", 0, LIST(T(gateway_header)), "Headers to replace."},
    {"add", 0, LIST(T(gateway_header)), "Headers to add."},
    {"remove", 0, STRINGS, "Headers to take away."},
};
TYPE(http_header_filter, "HTTPHeaderFilter", NULL);

FIELDS(backend_object_reference) = {
    {"group", 0, STRING_DEFAULT("")},
    {"kind", 0, STRING_DEFAULT("Service")},
    {"name", 0, STRING, NULL, REQUIRED},
    {"namespace", 0, STRING},
    {"port", 0, INT32},
};
TYPE(backend_object_reference, "BackendObjectReference", NULL);

FIELDS(fraction) = {
    {"numerator", 0, INT32, NULL, REQUIRED},
    {"denominator", 0, INT32},
};
TYPE(fraction, "Fraction", NULL);

FIELDS(http_request_mirror_filter) = {
    {"backendRef", 0, T(backend_object_reference), NULL, REQUIRED},
    {"percent", 0, INT32},
    {"fraction", 0, T(fraction)},
};
TYPE(http_request_mirror_filter, "HTTPRequestMirrorFilter", NULL);

FIELDS(http_path_modifier) = {
    {"type", 0, ENUM("ReplaceFullPath", "ReplacePrefixMatch"), NULL, REQUIRED},
    {"replaceFullPath", 0, STRING},
    {"replacePrefixMatch", 0, STRING},
};
TYPE(http_path_modifier, "HTTPPathModifier", NULL);

FIELDS(http_request_redirect_filter) = {
    {"scheme", 0, ENUM("http", "https"), "Scheme of the new place."},
    {"hostname", 0, STRING, "Host of the new place."},
    {"path", 0, T(http_path_modifier), "Path of the new place."},
    {"port", 0, INT32, "Port of the new place."},
    {"statusCode", 0, INT32_DEFAULT("302"), "301 or 302."},
};
TYPE(http_request_redirect_filter, "HTTPRequestRedirectFilter", NULL);

FIELDS(httpurl_rewrite_filter) = {
    {"hostname", 0, STRING, "Host the backend sees."},
    {"path", 0, T(http_path_modifier), "Path the backend sees."},
};
TYPE(httpurl_rewrite_filter, "HTTPURLRewriteFilter", NULL);

FIELDS(httpcors_filter) = {
    {"allowOrigins", 0, STRINGS}, {"allowCredentials", 0, BOOL}, {"allowMethods", 0, STRINGS},
    {"allowHeaders", 0, STRINGS}, {"exposeHeaders", 0, STRINGS}, {"maxAge", 0, INT32},
};
TYPE(httpcors_filter, "HTTPCORSFilter", NULL);

FIELDS(grpc_auth_config) = {
    {"allowedHeaders", 0, STRINGS},
};
TYPE(grpc_auth_config, "GRPCAuthConfig", NULL);

FIELDS(http_auth_config) = {
    {"path", 0, STRING},
    {"allowedHeaders", 0, STRINGS},
    {"allowedResponseHeaders", 0, STRINGS},
};
TYPE(http_auth_config, "HTTPAuthConfig", NULL);

FIELDS(forward_body_config) = {
    {"maxSize", 0, INT32},
};
TYPE(forward_body_config, "ForwardBodyConfig", NULL);

FIELDS(http_external_auth_filter) = {
    {"protocol", 0, ENUM("HTTP", "GRPC")},      {"backendRef", 0, T(backend_object_reference)},
    {"grpc", 0, T(grpc_auth_config)},           {"http", 0, T(http_auth_config)},
    {"forwardBody", 0, T(forward_body_config)},
};
TYPE(http_external_auth_filter, "HTTPExternalAuthFilter", NULL);

FIELDS(gateway_local_ref) = {
    {"group", 0, STRING, NULL, REQUIRED},
    {"kind", 0, STRING, NULL, REQUIRED},
    {"name", 0, STRING, "Name of the object, in the same namespace.", REQUIRED},
};
TYPE(gateway_local_ref, "gateway.LocalObjectReference", NULL);

FIELDS(http_route_filter) = {
    {"type", 0,
     ENUM("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect",
          "URLRewrite", "ExtensionRef", "CORS"),
     "Which of the filters below.", REQUIRED},
    {"requestHeaderModifier", 0, T(http_header_filter), "Change headers of the request."},
    {"responseHeaderModifier", 0, T(http_header_filter), "Change headers of the answer."},
    {"requestMirror", 0, T(http_request_mirror_filter), "Send a copy elsewhere."},
    {"requestRedirect", 0, T(http_request_redirect_filter), "Answer with another place."},
    {"urlRewrite", 0, T(httpurl_rewrite_filter), "Change host or path on the way."},
    {"cors", 0, T(httpcors_filter)},
    {"externalAuth", 0, T(http_external_auth_filter)},
    {"extensionRef", 0, T(gateway_local_ref)},
};
TYPE(http_route_filter, "HTTPRouteFilter", "Something done to a request or its answer.");

FIELDS(http_backend_ref) = {
    {"group", 0, STRING_DEFAULT(""), "Group of that kind."},
    {"kind", 0, STRING_DEFAULT("Service"), "Service, if missing."},
    {"name", 0, STRING, "Name of the service.", REQUIRED},
    {"namespace", 0, STRING, "Its namespace; that of the route if missing."},
    {"port", 0, INT32, "Port of the service."},
    {"weight", 0, INT32_DEFAULT("1"), "Share of the requests, relative to the others."},
    {"filters", 0, LIST(T(http_route_filter)), "Filters for this backend only."},
};
TYPE(http_backend_ref, "HTTPBackendRef", "A service that takes requests.");

FIELDS(http_route_timeouts) = {
    {"request", 0, STRING, "Time for the whole request, as 10s."},
    {"backendRequest", 0, STRING, "Time for one try at a backend."},
};
TYPE(http_route_timeouts, "HTTPRouteTimeouts", NULL);

FIELDS(http_route_retry) = {
    {"codes", 0, LIST(INT32)},
    {"attempts", 0, INT32},
    {"backoff", 0, STRING},
};
TYPE(http_route_retry, "HTTPRouteRetry", NULL);

FIELDS(cookie_config) = {
    {"name", 0, STRING},
    {"path", 0, STRING},
    {"lifetimeType", 0, STRING},
};
TYPE(cookie_config, "CookieConfig", NULL);

FIELDS(header_config) = {
    {"name", 0, STRING, NULL, REQUIRED},
};
TYPE(header_config, "HeaderConfig", NULL);

FIELDS(session_persistence) = {
    {"absoluteTimeout", 0, STRING},
    {"type", 0, STRING},
    {"cookie", 0, T(cookie_config)},
    {"header", 0, T(header_config)},
};
TYPE(session_persistence, "SessionPersistence", NULL);

FIELDS(http_route_rule) = {
    {"name", 0, STRING, "Name of the rule."},
    {"matches", 0, LIST(T(http_route_match)), "Requests it is for; one match is enough."},
    {"filters", 0, LIST(T(http_route_filter)), "What is done with them on the way."},
    {"backendRefs", 0, LIST(T(http_backend_ref)), "Where they go."},
    {"timeouts", 0, T(http_route_timeouts), "How long that may take."},
    {"retry", 0, T(http_route_retry), "When it is tried again."},
    {"sessionPersistence", 0, T(session_persistence)},
};
TYPE(http_route_rule, "HTTPRouteRule", "Which requests go where, and what is done to them.");

FIELDS(http_route_spec) = {
    {"parentRefs", 0, LIST(T(parent_reference)), "Gateways it attaches to."},
    {"useDefaultGateways", 0, STRING},
    {"hostnames", 0, STRINGS, "Names it answers to; those of the listener if missing."},
    {"rules", 0, LIST(T(http_route_rule)), "What goes where."},
};
TYPE(http_route_spec, "HTTPRouteSpec", "Gateways, names and rules of a route.");

FIELDS(route_parent_status) = {
    {"parentRef", 0, T(parent_reference), NULL, REQUIRED},
    {"controllerName", 0, STRING},
    {"conditions", 0, LIST(T(condition))},
};
TYPE(route_parent_status, "RouteParentStatus", NULL);

FIELDS(http_route_status) = {
    {"parents", 0, LIST(T(route_parent_status))},
};
TYPE(http_route_status, "HTTPRouteStatus", NULL);

FIELDS(http_route) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(http_route_spec), "What should be.", REQUIRED},
    {"status", 0, T(http_route_status), "What was last observed."},
};
SHARED_TYPE(http_route, "HTTPRoute",
            "Leads HTTP requests from gateways to services, by name, path, headers and more.");

#define GATEWAY_ROW                                                                            \
    .group = "gateway.networking.k8s.io", .version = "v1", .categories = NAMES("gateway-api"), \
    .subresources = SP_SUB_STATUS, .status_is_subresource = true, .counts_generation = true

ROW(gateway_class, GATEWAY_ROW, .plural = "gatewayclasses", .singular = "gatewayclass",
    .kind = "GatewayClass", .short_names = NAMES("gc"), .schema = T(gateway_class),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Controller", "Who serves it.", ".spec.controllerName"),
            CELL_COLUMN("Accepted", "Whether the controller took it.", sp_cell_accepted),
            SP_COLUMN_AGE, WIDE_PATH("Description", "What it is for.", ".spec.description")));

ROW(gateway, HOOKED(gateway), GATEWAY_ROW, .plural = "gateways", .singular = "gateway",
    .kind = "Gateway", .short_names = NAMES("gtw"), .namespaced = true, .schema = T(gateway),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Class", "Its GatewayClass.", ".spec.gatewayClassName"),
            CELL_COLUMN("Address", "Where it is reached.", sp_cell_gateway_address),
            CELL_COLUMN("Programmed", "Whether it takes traffic.", sp_cell_programmed),
            SP_COLUMN_AGE));

ROW(http_route, HOOKED(http_route), GATEWAY_ROW, .plural = "httproutes", .singular = "httproute",
    .kind = "HTTPRoute", .namespaced = true, .schema = T(http_route),
    COLUMNS(SP_COLUMN_NAME,
            CELL_COLUMN("Hostnames", "Names it answers to.", sp_cell_route_hostnames),
            SP_COLUMN_AGE));
