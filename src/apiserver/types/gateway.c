/* Gateway API (gateway.networking.k8s.io): classes and gateways, and the references every kind
 * uses. Upstream these are custom resources, so they have no protobuf form: every number is 0. */
#include "apiserver/types/gateway.h"

FIELDS(parameters_reference) = {
    {"group", 0, GW_GROUP, NULL, REQUIRED},
    {"kind", 0, GW_KIND, NULL, REQUIRED},
    {"name", 0, GW_NAME, NULL, REQUIRED},
    {"namespace", 0, STRING},
};
TYPE(parameters_reference, "ParametersReference", NULL);

FIELDS(gateway_class_spec) = {
    {"controllerName", 0, GW_TEXT("^" GW_HOST "\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$", 253),
     "Name of the controller that serves its gateways.", REQUIRED},
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

FIELDS(gw_secret_reference) = {
    {"group", 0, GW_GROUP_DEFAULT(""), "Group of that kind."},
    {"kind", 0, GW_KIND_DEFAULT("Secret"), "Secret, if missing."},
    {"name", 0, GW_NAME, "Name of the object.", REQUIRED},
    {"namespace", 0, GW_NAMESPACE, "Its namespace; another one needs a ReferenceGrant there."},
};
SHARED_TYPE(gw_secret_reference, "SecretObjectReference", NULL);

FIELDS(listener_tls_config) = {
    {"mode", 0, ENUM_DEFAULT("Terminate", "Passthrough"), "Terminate, or Passthrough."},
    {"certificateRefs", 0, GW_LIST(T(gw_secret_reference), 0, 64),
     "Secrets with certificates and keys."},
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
    {"group", 0, GW_GROUP_DEFAULT(GATEWAY_GROUP)},
    {"kind", 0, GW_KIND, NULL, REQUIRED},
};
TYPE(route_group_kind, "RouteGroupKind", NULL);

FIELDS(allowed_routes) = {
    {"namespaces", 0, T(route_namespaces), "Where routes may come from."},
    {"kinds", 0, GW_LIST(T(route_group_kind), 0, 8), "Which kinds of routes."},
};
TYPE(allowed_routes, "AllowedRoutes", NULL);

FIELDS(listener) = {
    {"name", 0, GW_SECTION_NAME, "Name of the listener, unique in the gateway.", REQUIRED},
    {"hostname", 0, GW_HOSTNAME, "Name it answers to; all if missing."},
    {"port", 0, GW_PORT, "Port it listens on.", REQUIRED},
    {"protocol", 0,
     GW_TEXT("^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|" GW_HOST "\\/[A-Za-z0-9]+$", 255),
     "HTTP, HTTPS, TLS, TCP or UDP.", REQUIRED},
    {"tls", 0, T(listener_tls_config), "Certificates, for HTTPS and TLS."},
    {"allowedRoutes", 0, T(allowed_routes), "Routes that may attach."},
};
TYPE(listener, "Listener", "One port of a gateway.");

FIELDS(gateway_spec_address) = {
    {"type", 0, STRING_DEFAULT("IPAddress")},
    {"value", 0, STRING},
};
TYPE(gateway_spec_address, "GatewaySpecAddress", NULL);

FIELDS(local_parameters_reference) = {
    {"group", 0, GW_GROUP, NULL, REQUIRED},
    {"kind", 0, GW_KIND, NULL, REQUIRED},
    {"name", 0, GW_NAME, NULL, REQUIRED},
};
TYPE(local_parameters_reference, "LocalParametersReference", NULL);

FIELDS(gateway_infrastructure) = {
    {"labels", 0, STRING_MAP},
    {"annotations", 0, STRING_MAP},
    {"parametersRef", 0, T(local_parameters_reference)},
};
TYPE(gateway_infrastructure, "GatewayInfrastructure", NULL);

FIELDS(listener_namespaces) = {
    {"from", 0, ENUM_DEFAULT("None", "All", "Selector", "Same")},
    {"selector", 0, T(label_selector)},
};
TYPE(listener_namespaces, "ListenerNamespaces", NULL);

FIELDS(allowed_listeners) = {
    {"namespaces", 0, T(listener_namespaces)},
};
TYPE(allowed_listeners, "AllowedListeners", NULL);

FIELDS(gateway_backend_tls) = {
    {"clientCertificateRef", 0, T(gw_secret_reference)},
};
TYPE(gateway_backend_tls, "GatewayBackendTLS", NULL);

FIELDS(gw_object_reference) = {
    {"group", 0, GW_GROUP, NULL, REQUIRED},
    {"kind", 0, GW_KIND, "Kind of the object.", REQUIRED},
    {"name", 0, GW_NAME, "Name of the object.", REQUIRED},
    {"namespace", 0, GW_NAMESPACE, "Namespace of the object."},
};
SHARED_TYPE(gw_object_reference, "gateway.ObjectReference", NULL);

FIELDS(frontend_tls_validation) = {
    {"caCertificateRefs", 0, GW_LIST(T(gw_object_reference), 1, 16), "ConfigMaps with ca.crt.",
     REQUIRED},
    {"mode", 0, ENUM_DEFAULT("AllowValidOnly", "AllowInsecureFallback"),
     "What happens to clients without a valid certificate."},
};
TYPE(frontend_tls_validation, "FrontendTLSValidation", NULL);

FIELDS(tls_config) = {
    {"validation", 0, T(frontend_tls_validation)},
};
TYPE(tls_config, "TLSConfig", NULL);

FIELDS(tls_port_config) = {
    {"port", 0, GW_PORT, NULL, REQUIRED},
    {"tls", 0, T(tls_config), NULL, REQUIRED},
};
TYPE(tls_port_config, "TLSPortConfig", NULL);

FIELDS(frontend_tls_config) = {
    {"default", 0, T(tls_config), NULL, REQUIRED},
    {"perPort", 0, GW_MAP_LIST(T(tls_port_config), 0, 64, "port")},
};
TYPE(frontend_tls_config, "FrontendTLSConfig", NULL);

FIELDS(gateway_tls_config) = {
    {"backend", 0, T(gateway_backend_tls)},
    {"frontend", 0, T(frontend_tls_config)},
};
TYPE(gateway_tls_config, "GatewayTLSConfig", NULL);

FIELDS(gateway_spec) = {
    {"gatewayClassName", 0, GW_NAME, "Class whose controller serves it.", REQUIRED},
    {"listeners", 0, GW_MAP_LIST(T(listener), 1, 64, "name"), "Ports, protocols and names.",
     REQUIRED},
    {"addresses", 0, GW_LIST(T(gateway_spec_address), 0, 16), "Addresses wished for."},
    {"infrastructure", 0, T(gateway_infrastructure)},
    {"allowedListeners", 0, T(allowed_listeners)},
    {"tls", 0, T(gateway_tls_config)},
    {"defaultScope", 0, ENUM("All", "None")},
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

FIELDS(gw_parent_reference) = {
    {"group", 0, GW_GROUP_DEFAULT(GATEWAY_GROUP), "Group of that kind."},
    {"kind", 0, GW_KIND_DEFAULT("Gateway"), "Gateway, if missing."},
    {"namespace", 0, GW_NAMESPACE, "Its namespace; that of the route if missing."},
    {"name", 0, GW_NAME, "Name of the gateway.", REQUIRED},
    {"sectionName", 0, GW_SECTION_NAME, "Name of one listener."},
    {"port", 0, GW_PORT, "Port of one listener."},
};
SHARED_TYPE(gw_parent_reference, "ParentReference", "A gateway, or one listener of it.");

#define GATEWAY_CLASS_ROW                                                                        \
    .plural = "gatewayclasses", .singular = "gatewayclass", .kind = "GatewayClass",              \
    .short_names = NAMES("gc"), .schema = T(gateway_class),                                      \
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Controller", "Who serves it.", ".spec.controllerName"), \
            CELL_COLUMN("Accepted", "Whether the controller took it.", sp_cell_accepted),        \
            SP_COLUMN_AGE, WIDE_PATH("Description", "What it is for.", ".spec.description"))
ROW(gateway_class, GATEWAY_KIND("v1"), GATEWAY_CLASS_ROW);
ROW(gateway_class_v1beta1, GATEWAY_ALIAS("v1beta1", gateway_class), GATEWAY_CLASS_ROW);

#define GATEWAY_ROW                                                                         \
    HOOKED(gateway),                                                                        \
        .plural = "gateways", .singular = "gateway", .kind = "Gateway",                     \
        .short_names = NAMES("gtw"), .namespaced = true, .schema = T(gateway),              \
        COLUMNS(SP_COLUMN_NAME,                                                             \
                PATH_COLUMN("Class", "Its GatewayClass.", ".spec.gatewayClassName"),        \
                CELL_COLUMN("Address", "Where it is reached.", sp_cell_gateway_address),    \
                CELL_COLUMN("Programmed", "Whether it takes traffic.", sp_cell_programmed), \
                SP_COLUMN_AGE)
ROW(gateway, GATEWAY_KIND("v1"), GATEWAY_ROW);
ROW(gateway_v1beta1, GATEWAY_ALIAS("v1beta1", gateway), GATEWAY_ROW);
