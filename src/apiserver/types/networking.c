/* Ingresses and their classes. */
#include "apiserver/types/types.h"

FIELDS(service_backend_port) = {
    {"name", 1, STRING, "Port of the service by name."},
    {"number", 2, INT32, "Port of the service by number."},
};
TYPE(service_backend_port, "ServiceBackendPort", NULL);

FIELDS(ingress_service_backend) = {
    {"name", 1, STRING, "Name of the service.", REQUIRED},
    {"port", 2, T(service_backend_port), "Port of the service."},
};
TYPE(ingress_service_backend, "IngressServiceBackend", NULL);

FIELDS(ingress_backend) = {
    {"service", 4, T(ingress_service_backend), "A service.", POINTER},
    {"resource", 3, T(typed_local_object_reference), "Another object.", POINTER},
};
TYPE(ingress_backend, "IngressBackend", "Where requests go.");

FIELDS(ingress_tls) = {
    {"hosts", 1, STRINGS, "Names the certificate is for."},
    {"secretName", 2, STRING, "Secret with certificate and key."},
};
TYPE(ingress_tls, "IngressTLS", NULL);

FIELDS(http_ingress_path) = {
    {"path", 1, STRING, "Path, beginning with a slash."},
    {"pathType", 3, ENUM("Exact", "ImplementationSpecific", "Prefix"),
     "Exact, Prefix or ImplementationSpecific.", POINTER},
    {"backend", 2, T(ingress_backend), "Where it leads.", REQUIRED},
};
TYPE(http_ingress_path, "HTTPIngressPath", "A path and where it leads.");

FIELDS(http_ingress_rule_value) = {
    {"paths", 1, LIST(T(http_ingress_path)), "Paths and where they lead.", REQUIRED},
};
TYPE(http_ingress_rule_value, "HTTPIngressRuleValue", NULL);

FIELDS(ingress_rule) = {
    {"host", 1, STRING, "Name it is for; all if empty."},
    {"http", VIA(2, 1), T(http_ingress_rule_value), "Paths and where they lead.", POINTER},
};
TYPE(ingress_rule, "IngressRule", "Paths under one name.");

FIELDS(ingress_spec) = {
    {"ingressClassName", 4, STRING, "Who serves it.", POINTER},
    {"defaultBackend", 1, T(ingress_backend), "Where everything else leads.", POINTER},
    {"tls", 2, LIST(T(ingress_tls)), "Certificates."},
    {"rules", 3, LIST(T(ingress_rule)), "Names and paths."},
};
TYPE(ingress_spec, "IngressSpec", "Names, paths and certificates.");

FIELDS(ingress_port_status) = {
    {"port", 1, INT32},
    {"protocol", 2, STRING},
    {"error", 3, STRING, NULL, POINTER},
};
TYPE(ingress_port_status, "IngressPortStatus", NULL);

FIELDS(ingress_load_balancer_ingress) = {
    {"ip", 1, STRING, "Address."},
    {"hostname", 2, STRING, "Name."},
    {"ports", 4, LIST(T(ingress_port_status))},
};
TYPE(ingress_load_balancer_ingress, "IngressLoadBalancerIngress", NULL);

FIELDS(ingress_load_balancer_status) = {
    {"ingress", 1, LIST(T(ingress_load_balancer_ingress)), "Where it is reached."},
};
TYPE(ingress_load_balancer_status, "IngressLoadBalancerStatus", NULL);

FIELDS(ingress_status) = {
    {"loadBalancer", 1, T(ingress_load_balancer_status), "Where it is reached."},
};
TYPE(ingress_status, "IngressStatus", NULL);

FIELDS(ingress) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(ingress_spec), "What should be."},
    {"status", 3, T(ingress_status), "What was last observed."},
};
SHARED_TYPE(ingress, "Ingress", "Leads HTTP requests from outside to services, by name and path.");

FIELDS(ingress_class_parameters_reference) = {
    {"apiGroup", 1, STRING, NULL, POINTER},  {"kind", 2, STRING, NULL, REQUIRED},
    {"name", 3, STRING, NULL, REQUIRED},     {"scope", 4, STRING, NULL, POINTER},
    {"namespace", 5, STRING, NULL, POINTER},
};
TYPE(ingress_class_parameters_reference, "IngressClassParametersReference", NULL);

FIELDS(ingress_class_spec) = {
    {"controller", 1, STRING, "Name of the controller that serves it."},
    {"parameters", 2, T(ingress_class_parameters_reference), "Object with further settings.",
     POINTER},
};
TYPE(ingress_class_spec, "IngressClassSpec", NULL);

FIELDS(ingress_class) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(ingress_class_spec), "What should be."},
};
SHARED_TYPE(ingress_class, "IngressClass", "Names the controller that serves ingresses.");

ROW(ingress, HOOKED(ingress), .group = "networking.k8s.io", .version = "v1", .plural = "ingresses",
    .singular = "ingress", .kind = "Ingress", .short_names = NAMES("ing"), .namespaced = true,
    .subresources = SP_SUB_STATUS, .schema = T(ingress), .status_is_subresource = true,
    .counts_generation = true,
    COLUMNS(SP_COLUMN_NAME, CELL_COLUMN("Class", "Who serves it.", sp_cell_ingress_class),
            CELL_COLUMN("Hosts", "Names it answers to.", sp_cell_ingress_hosts),
            CELL_COLUMN("Address", "Where it is reached.", sp_cell_ingress_address),
            CELL_COLUMN("Ports", "80, and 443 with TLS.", sp_cell_ingress_ports), SP_COLUMN_AGE));

ROW(ingress_class, .group = "networking.k8s.io", .version = "v1", .plural = "ingressclasses",
    .singular = "ingressclass", .kind = "IngressClass", .schema = T(ingress_class),
    .counts_generation = true,
    COLUMNS(SP_COLUMN_NAME,
            PATH_COLUMN("Controller", "Name of the serving controller.", ".spec.controller"),
            CELL_COLUMN("Parameters", "Further settings.", sp_cell_class_parameters),
            SP_COLUMN_AGE));
