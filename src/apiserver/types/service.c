/* Services and the two forms in which their endpoints are published. */
#include "apiserver/types/types.h"

FIELDS(service_port) = {
    {"name", 1, STRING},
    {"protocol", 2, ENUM_DEFAULT("TCP", "UDP", "SCTP")},
    {"appProtocol", 6, STRING, NULL, POINTER},
    {"port", 3, INT32, NULL, REQUIRED},
    {"targetPort", 4, INT_OR_STRING},
    {"nodePort", 5, INT32},
};
TYPE(service_port, "ServicePort", NULL);

FIELDS(client_ip_config) = {
    {"timeoutSeconds", 1, INT32, NULL, POINTER},
};
TYPE(client_ip_config, "ClientIPConfig", NULL);

FIELDS(session_affinity_config) = {
    {"clientIP", 1, T(client_ip_config), NULL, POINTER},
};
TYPE(session_affinity_config, "SessionAffinityConfig", NULL);

FIELDS(service_spec) = {
    {"ports", 1, LIST(T(service_port)), NULL, MERGE("port")},
    {"selector", 2, STRING_MAP},
    {"clusterIP", 3, STRING},
    {"clusterIPs", 18, STRINGS},
    {"type", 4, ENUM_DEFAULT("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")},
    {"externalIPs", 5, STRINGS},
    {"sessionAffinity", 7, ENUM_DEFAULT("None", "ClientIP")},
    {"loadBalancerIP", 8, STRING},
    {"loadBalancerSourceRanges", 9, STRINGS},
    {"externalName", 10, STRING},
    {"externalTrafficPolicy", 11, ENUM("Cluster", "Local")},
    {"healthCheckNodePort", 12, INT32},
    {"publishNotReadyAddresses", 13, BOOL},
    {"sessionAffinityConfig", 14, T(session_affinity_config), NULL, POINTER},
    {"ipFamilies", 19, STRINGS},
    {"ipFamilyPolicy", 17, STRING, NULL, POINTER},
    {"allocateLoadBalancerNodePorts", 20, BOOL, NULL, POINTER},
    {"loadBalancerClass", 21, STRING, NULL, POINTER},
    {"internalTrafficPolicy", 22, ENUM("Cluster", "Local"), NULL, POINTER},
    {"trafficDistribution", 23, STRING, NULL, POINTER},
};
TYPE(service_spec, "ServiceSpec", NULL);

FIELDS(port_status) = {
    {"port", 1, INT32},
    {"protocol", 2, STRING},
    {"error", 3, STRING, NULL, POINTER},
};
TYPE(port_status, "PortStatus", NULL);

FIELDS(load_balancer_ingress) = {
    {"ip", 1, STRING},
    {"hostname", 2, STRING},
    {"ipMode", 3, STRING, NULL, POINTER},
    {"ports", 4, LIST(T(port_status))},
};
TYPE(load_balancer_ingress, "LoadBalancerIngress", NULL);

FIELDS(load_balancer_status) = {
    {"ingress", 1, LIST(T(load_balancer_ingress))},
};
TYPE(load_balancer_status, "LoadBalancerStatus", NULL);

FIELDS(service_status) = {
    {"loadBalancer", 1, T(load_balancer_status)},
    {"conditions", 2, LIST(T(condition)), NULL, MERGE("type")},
};
TYPE(service_status, "ServiceStatus", NULL);

FIELDS(service) = {
    TYPE_META,
    {"metadata", 1, T(object_meta)},
    {"spec", 2, T(service_spec), NULL, REQUIRED},
    {"status", 3, T(service_status)},
};
SHARED_TYPE(service, "Service", NULL);

FIELDS(endpoint_address) = {
    {"ip", 1, STRING, NULL, REQUIRED},
    {"hostname", 3, STRING},
    {"nodeName", 4, STRING, NULL, POINTER},
    {"targetRef", 2, T(object_reference), NULL, POINTER},
};
TYPE(endpoint_address, "EndpointAddress", NULL);

FIELDS(endpoint_port) = {
    {"name", 1, STRING},
    {"port", 2, INT32, NULL, REQUIRED},
    {"protocol", 3, ENUM_DEFAULT("TCP", "UDP", "SCTP")},
    {"appProtocol", 4, STRING, NULL, POINTER},
};
TYPE(endpoint_port, "EndpointPort", NULL);

FIELDS(endpoint_subset) = {
    {"addresses", 1, LIST(T(endpoint_address))},
    {"notReadyAddresses", 2, LIST(T(endpoint_address))},
    {"ports", 3, LIST(T(endpoint_port))},
};
TYPE(endpoint_subset, "EndpointSubset", NULL);

FIELDS(endpoints) = {
    TYPE_META,
    {"metadata", 1, T(object_meta)},
    {"subsets", 2, LIST(T(endpoint_subset))},
};
SHARED_TYPE(endpoints, "Endpoints", NULL);

FIELDS(endpoint_conditions) = {
    {"ready", 1, BOOL, NULL, POINTER},
    {"serving", 2, BOOL, NULL, POINTER},
    {"terminating", 3, BOOL, NULL, POINTER},
};
TYPE(endpoint_conditions, "EndpointConditions", NULL);

FIELDS(for_zone) = {
    {"name", 1, STRING, NULL, REQUIRED},
};
TYPE(for_zone, "ForZone", NULL);

FIELDS(for_node) = {
    {"name", 1, STRING, NULL, REQUIRED},
};
TYPE(for_node, "ForNode", NULL);

FIELDS(endpoint_hints) = {
    {"forZones", 1, LIST(T(for_zone))},
    {"forNodes", 2, LIST(T(for_node))},
};
TYPE(endpoint_hints, "EndpointHints", NULL);

FIELDS(slice_endpoint) = {
    {"addresses", 1, STRINGS, NULL, REQUIRED}, {"conditions", 2, T(endpoint_conditions)},
    {"hostname", 3, STRING, NULL, POINTER},    {"targetRef", 4, T(object_reference), NULL, POINTER},
    {"deprecatedTopology", 5, STRING_MAP},     {"nodeName", 6, STRING, NULL, POINTER},
    {"zone", 7, STRING, NULL, POINTER},        {"hints", 8, T(endpoint_hints), NULL, POINTER},
};
TYPE(slice_endpoint, "Endpoint", NULL);

FIELDS(slice_port) = {
    {"name", 1, STRING, NULL, POINTER},
    {"protocol", 2, ENUM_DEFAULT("TCP", "UDP", "SCTP"), NULL, POINTER},
    {"port", 3, INT32, NULL, POINTER},
    {"appProtocol", 4, STRING, NULL, POINTER},
};
TYPE(slice_port, "discovery.EndpointPort", NULL);

FIELDS(endpoint_slice) = {
    TYPE_META,
    {"metadata", 1, T(object_meta)},
    {"addressType", 4, ENUM("FQDN", "IPv4", "IPv6"), NULL, REQUIRED},
    {"endpoints", 2, LIST(T(slice_endpoint))},
    {"ports", 3, LIST(T(slice_port))},
};
SHARED_TYPE(endpoint_slice, "EndpointSlice", NULL);

ROW(service, HOOKED(service), .group = "", .version = "v1", .plural = "services",
    .singular = "service", .kind = "Service", .short_names = NAMES("svc"),
    .categories = NAMES("all"), .namespaced = true, .subresources = SP_SUB_STATUS,
    .schema = T(service), .status_is_subresource = true,
    .selectable_fields = NAMES("spec.clusterIP", "spec.type"),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Type", "How far the service reaches.", ".spec.type"),
            CELL_COLUMN("Cluster-IP", "Virtual address inside the cluster.",
                        sp_cell_service_cluster_ip),
            CELL_COLUMN("External-IP", "Addresses for the outside.", sp_cell_service_external_ip),
            CELL_COLUMN("Port(s)", "Ports, with node ports behind the colon.",
                        sp_cell_service_ports),
            SP_COLUMN_AGE,
            WIDE_CELL("Selector", "Labels of the pods behind it.", sp_cell_service_selector)));

ROW(endpoints, .group = "", .version = "v1", .plural = "endpoints", .singular = "endpoints",
    .kind = "Endpoints", .short_names = NAMES("ep"), .namespaced = true, .schema = T(endpoints),
    COLUMNS(SP_COLUMN_NAME,
            CELL_COLUMN("Endpoints", "Addresses and ports that are ready.", sp_cell_endpoints),
            SP_COLUMN_AGE));

ROW(endpoint_slice, .group = "discovery.k8s.io", .version = "v1", .plural = "endpointslices",
    .singular = "endpointslice", .kind = "EndpointSlice", .namespaced = true,
    .schema = T(endpoint_slice), .counts_generation = true,
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("AddressType", "IPv4, IPv6 or FQDN.", ".addressType"),
            CELL_COLUMN("Ports", "Ports of every endpoint.", sp_cell_slice_ports),
            CELL_COLUMN("Endpoints", "Addresses.", sp_cell_slice_endpoints), SP_COLUMN_AGE));
