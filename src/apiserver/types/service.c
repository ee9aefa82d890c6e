/* Services and the two forms in which their endpoints are published. */
#include "apiserver/types/types.h"

FIELDS(service_port) = {
    {"name", 1, STRING, "Name of the port; needed when there are several."},
    {"protocol", 2, ENUM_DEFAULT("TCP", "UDP", "SCTP"), "TCP, UDP or SCTP."},
    {"appProtocol", 6, STRING, "What is spoken on it.", POINTER},
    {"port", 3, INT32, "Port of the service.", REQUIRED},
    {"targetPort", 4, INT_OR_STRING,
     "Port of the pods, by number or name; the same as port if missing."},
    {"nodePort", 5, INT32, "Port of every node that leads here; chosen if missing."},
};
TYPE(service_port, "ServicePort", "A port of a service.");

FIELDS(client_ip_config) = {
    {"timeoutSeconds", 1, INT32, NULL, POINTER},
};
TYPE(client_ip_config, "ClientIPConfig", NULL);

FIELDS(session_affinity_config) = {
    {"clientIP", 1, T(client_ip_config), NULL, POINTER},
};
TYPE(session_affinity_config, "SessionAffinityConfig", NULL);

FIELDS(service_spec) = {
    {"ports", 1, LIST(T(service_port)), "Ports of the service.", MERGE("port")},
    {"selector", 2, STRING_MAP,
     "Labels of the pods behind it; without it endpoints are made by somebody else."},
    {"clusterIP", 3, STRING, "Virtual address; chosen if missing, None for no address."},
    {"clusterIPs", 18, STRINGS, "The same, by address family."},
    {"type", 4, ENUM_DEFAULT("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"),
     "ClusterIP, NodePort, LoadBalancer or ExternalName."},
    {"externalIPs", 5, STRINGS, "Further addresses it answers on."},
    {"sessionAffinity", 7, ENUM_DEFAULT("None", "ClientIP"),
     "ClientIP sends one client to one pod."},
    {"loadBalancerIP", 8, STRING, "Address wished for from the load balancer."},
    {"loadBalancerSourceRanges", 9, STRINGS, "Clients the load balancer lets in."},
    {"externalName", 10, STRING, "Name to answer with, for ExternalName."},
    {"externalTrafficPolicy", 11, ENUM("Cluster", "Local"),
     "Local keeps outside traffic on the node where it arrived."},
    {"healthCheckNodePort", 12, INT32},
    {"publishNotReadyAddresses", 13, BOOL, "Pods count before they are ready."},
    {"sessionAffinityConfig", 14, T(session_affinity_config), "For how long.", POINTER},
    {"ipFamilies", 19, STRINGS, "IPv4, IPv6 or both."},
    {"ipFamilyPolicy", 17, STRING, "SingleStack, PreferDualStack or RequireDualStack.", POINTER},
    {"allocateLoadBalancerNodePorts", 20, BOOL, "Whether a LoadBalancer gets node ports too.",
     POINTER},
    {"loadBalancerClass", 21, STRING, "Who is to balance.", POINTER},
    {"internalTrafficPolicy", 22, ENUM("Cluster", "Local"),
     "Local keeps inside traffic on its node.", POINTER},
    {"trafficDistribution", 23, STRING, NULL, POINTER},
};
TYPE(service_spec, "ServiceSpec", "Who is behind a service and how it is reached.");

FIELDS(port_status) = {
    {"port", 1, INT32},
    {"protocol", 2, STRING},
    {"error", 3, STRING, NULL, POINTER},
};
TYPE(port_status, "PortStatus", NULL);

FIELDS(load_balancer_ingress) = {
    {"ip", 1, STRING, "Address."},
    {"hostname", 2, STRING, "Name."},
    {"ipMode", 3, STRING, NULL, POINTER},
    {"ports", 4, LIST(T(port_status))},
};
TYPE(load_balancer_ingress, "LoadBalancerIngress", NULL);

FIELDS(load_balancer_status) = {
    {"ingress", 1, LIST(T(load_balancer_ingress)), "Where it is reached."},
};
TYPE(load_balancer_status, "LoadBalancerStatus", NULL);

FIELDS(service_status) = {
    {"loadBalancer", 1, T(load_balancer_status), "Where the load balancer is reached."},
    {"conditions", 2, LIST(T(condition)), NULL, MERGE("type")},
};
TYPE(service_status, "ServiceStatus", NULL);

FIELDS(service) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(service_spec), "What should be.", REQUIRED},
    {"status", 3, T(service_status), "What was last observed."},
};
SHARED_TYPE(service, "Service", "A name and an address for the pods that a selector finds.");

FIELDS(endpoint_address) = {
    {"ip", 1, STRING, "Address.", REQUIRED},
    {"hostname", 3, STRING, "Host name."},
    {"nodeName", 4, STRING, "Node it is on.", POINTER},
    {"targetRef", 2, T(object_reference), "The pod behind it.", POINTER},
};
TYPE(endpoint_address, "EndpointAddress", NULL);

FIELDS(endpoint_port) = {
    {"name", 1, STRING, "Name of the port."},
    {"port", 2, INT32, "Its number.", REQUIRED},
    {"protocol", 3, ENUM_DEFAULT("TCP", "UDP", "SCTP"), "TCP, UDP or SCTP."},
    {"appProtocol", 4, STRING, "What is spoken on it.", POINTER},
};
TYPE(endpoint_port, "EndpointPort", NULL);

FIELDS(endpoint_subset) = {
    {"addresses", 1, LIST(T(endpoint_address)), "Addresses that are ready."},
    {"notReadyAddresses", 2, LIST(T(endpoint_address)), "Addresses that are not."},
    {"ports", 3, LIST(T(endpoint_port)), "Ports of all of them."},
};
TYPE(endpoint_subset, "EndpointSubset", NULL);

FIELDS(endpoints) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"subsets", 2, LIST(T(endpoint_subset)), "Addresses and ports of the service's pods."},
};
SHARED_TYPE(endpoints, "Endpoints", "Addresses behind a service, in the old form.");

FIELDS(endpoint_conditions) = {
    {"ready", 1, BOOL, "Takes traffic.", POINTER},
    {"serving", 2, BOOL, "Passes its readiness probe, even while ending.", POINTER},
    {"terminating", 3, BOOL, "Is ending.", POINTER},
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
    {"addresses", 1, STRINGS, "Addresses of one endpoint.", REQUIRED},
    {"conditions", 2, T(endpoint_conditions), "Whether it takes traffic."},
    {"hostname", 3, STRING, "Host name.", POINTER},
    {"targetRef", 4, T(object_reference), "The pod behind it.", POINTER},
    {"deprecatedTopology", 5, STRING_MAP},
    {"nodeName", 6, STRING, "Node it is on.", POINTER},
    {"zone", 7, STRING, "Zone it is in.", POINTER},
    {"hints", 8, T(endpoint_hints), NULL, POINTER},
};
TYPE(slice_endpoint, "Endpoint", NULL);

FIELDS(slice_port) = {
    {"name", 1, STRING, "Name of the port.", POINTER},
    {"protocol", 2, ENUM_DEFAULT("TCP", "UDP", "SCTP"), "TCP, UDP or SCTP.", POINTER},
    {"port", 3, INT32, "Its number.", POINTER},
    {"appProtocol", 4, STRING, "What is spoken on it.", POINTER},
};
TYPE(slice_port, "discovery.EndpointPort", NULL);

FIELDS(endpoint_slice) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"addressType", 4, ENUM("FQDN", "IPv4", "IPv6"), "IPv4, IPv6 or FQDN.", REQUIRED},
    {"endpoints", 2, LIST(T(slice_endpoint)), "The endpoints; at most 1,000."},
    {"ports", 3, LIST(T(slice_port)), "Ports of every endpoint."},
};
SHARED_TYPE(endpoint_slice, "EndpointSlice", "Addresses behind a service, a part of them.");

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

ROW(endpoints, HOOKED(endpoints), .group = "", .version = "v1", .plural = "endpoints",
    .singular = "endpoints", .kind = "Endpoints", .short_names = NAMES("ep"), .namespaced = true,
    .schema = T(endpoints),
    COLUMNS(SP_COLUMN_NAME,
            CELL_COLUMN("Endpoints", "Addresses and ports that are ready.", sp_cell_endpoints),
            SP_COLUMN_AGE));

ROW(endpoint_slice, HOOKED(endpoint_slice), .group = "discovery.k8s.io", .version = "v1",
    .plural = "endpointslices", .singular = "endpointslice", .kind = "EndpointSlice",
    .namespaced = true, .schema = T(endpoint_slice), .counts_generation = true,
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("AddressType", "IPv4, IPv6 or FQDN.", ".addressType"),
            CELL_COLUMN("Ports", "Ports of every endpoint.", sp_cell_slice_ports),
            CELL_COLUMN("Endpoints", "Addresses.", sp_cell_slice_endpoints), SP_COLUMN_AGE));
