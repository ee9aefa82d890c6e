/* Nodes: the machines (or clusters) that run pods. */
#include "apiserver/types/types.h"

FIELDS(taint) = {
    {"key", 1, STRING, "Name of the taint.", REQUIRED},
    {"value", 2, STRING, "Value of the taint."},
    {"effect", 3, ENUM("NoSchedule", "PreferNoSchedule", "NoExecute"),
     "NoSchedule, PreferNoSchedule or NoExecute.", REQUIRED},
    {"timeAdded", 4, TIME, NULL, POINTER},
};
TYPE(taint, "Taint", NULL);

FIELDS(config_map_node_config_source) = {
    {"namespace", 1, STRING, NULL, REQUIRED},
    {"name", 2, STRING, NULL, REQUIRED},
    {"uid", 3, STRING},
    {"resourceVersion", 4, STRING},
    {"kubeletConfigKey", 5, STRING, NULL, REQUIRED},
};
TYPE(config_map_node_config_source, "ConfigMapNodeConfigSource", NULL);

FIELDS(node_config_source) = {
    {"configMap", 2, T(config_map_node_config_source), NULL, POINTER},
};
TYPE(node_config_source, "NodeConfigSource", NULL);

FIELDS(node_pod_preemption_policy) = {
    {"disableResizePreemption", 1, STRINGS},
};
TYPE(node_pod_preemption_policy, "NodePodPreemptionPolicy", NULL);

FIELDS(node_spec) = {
    {"podCIDR", 1, STRING, "Addresses for its pods."},
    {"podCIDRs", 7, STRINGS, "Addresses for its pods, by family.", MERGE_SET},
    {"providerID", 3, STRING, "What its provider calls it."},
    {"unschedulable", 4, BOOL, "Takes no new pods."},
    {"taints", 5, LIST(T(taint)), "Pods that do not tolerate these stay away."},
    {"configSource", 6, T(node_config_source), NULL, POINTER},
    {"externalID", 2, STRING},
    {"podPreemptionPolicy", 8, T(node_pod_preemption_policy), NULL, POINTER},
};
TYPE(node_spec, "NodeSpec", "What a node should do.");

FIELDS(node_condition) = {
    {"type", 1, STRING, NULL, REQUIRED}, {"status", 2, STRING}, {"lastHeartbeatTime", 3, TIME},
    {"lastTransitionTime", 4, TIME},     {"reason", 5, STRING}, {"message", 6, STRING},
};
TYPE(node_condition, "NodeCondition", NULL);

FIELDS(node_address) = {
    {"type", 1, STRING, "Hostname, InternalIP, ExternalIP …", REQUIRED},
    {"address", 2, STRING, "The address.", REQUIRED},
};
TYPE(node_address, "NodeAddress", NULL);

FIELDS(daemon_endpoint) = {
    {"Port", 1, INT32, NULL, REQUIRED},
};
TYPE(daemon_endpoint, "DaemonEndpoint", NULL);

FIELDS(node_daemon_endpoints) = {
    {"kubeletEndpoint", 1, T(daemon_endpoint)},
};
TYPE(node_daemon_endpoints, "NodeDaemonEndpoints", NULL);

FIELDS(node_swap_status) = {
    {"capacity", 1, INT64, NULL, POINTER},
};
TYPE(node_swap_status, "NodeSwapStatus", NULL);

FIELDS(node_system_info) = {
    {"machineID", 1, STRING, NULL, REQUIRED},
    {"systemUUID", 2, STRING, NULL, REQUIRED},
    {"bootID", 3, STRING, NULL, REQUIRED},
    {"kernelVersion", 4, STRING, "Kernel.", REQUIRED},
    {"osImage", 5, STRING, "Operating system.", REQUIRED},
    {"containerRuntimeVersion", 6, STRING, "What runs containers.", REQUIRED},
    {"kubeletVersion", 7, STRING, "Version of its agent.", REQUIRED},
    {"kubeProxyVersion", 8, STRING, NULL, REQUIRED},
    {"operatingSystem", 9, STRING, "linux, windows …", REQUIRED},
    {"architecture", 10, STRING, "amd64, arm64 …", REQUIRED},
    {"swap", 11, T(node_swap_status), NULL, POINTER},
};
TYPE(node_system_info, "NodeSystemInfo", NULL);

FIELDS(container_image) = {
    {"names", 1, STRINGS},
    {"sizeBytes", 2, INT64},
};
TYPE(container_image, "ContainerImage", NULL);

FIELDS(attached_volume) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"devicePath", 2, STRING, NULL, REQUIRED},
};
TYPE(attached_volume, "AttachedVolume", NULL);

FIELDS(node_config_status) = {
    {"assigned", 1, T(node_config_source), NULL, POINTER},
    {"active", 2, T(node_config_source), NULL, POINTER},
    {"lastKnownGood", 3, T(node_config_source), NULL, POINTER},
    {"error", 4, STRING},
};
TYPE(node_config_status, "NodeConfigStatus", NULL);

FIELDS(node_runtime_handler_features) = {
    {"recursiveReadOnlyMounts", 1, BOOL, NULL, POINTER},
    {"userNamespaces", 2, BOOL, NULL, POINTER},
};
TYPE(node_runtime_handler_features, "NodeRuntimeHandlerFeatures", NULL);

FIELDS(node_runtime_handler) = {
    {"name", 1, STRING},
    {"features", 2, T(node_runtime_handler_features), NULL, POINTER},
};
TYPE(node_runtime_handler, "NodeRuntimeHandler", NULL);

FIELDS(node_features) = {
    {"supplementalGroupsPolicy", 1, BOOL, NULL, POINTER},
};
TYPE(node_features, "NodeFeatures", NULL);

FIELDS(node_status) = {
    {"capacity", 1, MAP(QUANTITY), "What the machine has."},
    {"allocatable", 2, MAP(QUANTITY), "What pods may have of it."},
    {"phase", 3, STRING},
    {"conditions", 4, LIST(T(node_condition)), "What was last observed, by aspect.", MERGE("type")},
    {"addresses", 5, LIST(T(node_address)), "How it is reached.", MERGE("type")},
    {"daemonEndpoints", 6, T(node_daemon_endpoints)},
    {"nodeInfo", 7, T(node_system_info), "Facts about the machine."},
    {"images", 8, LIST(T(container_image)), "Images that are there."},
    {"volumesInUse", 9, STRINGS},
    {"volumesAttached", 10, LIST(T(attached_volume))},
    {"config", 11, T(node_config_status), NULL, POINTER},
    {"runtimeHandlers", 12, LIST(T(node_runtime_handler))},
    {"features", 13, T(node_features), NULL, POINTER},
    {"declaredFeatures", 14, STRINGS},
};
TYPE(node_status, "NodeStatus", "What was last observed of a node.");

FIELDS(node) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(node_spec), "What should be."},
    {"status", 3, T(node_status), "What was last observed."},
};
SHARED_TYPE(node, "Node", "A machine that runs pods.");

ROW(node, .group = "", .version = "v1", .plural = "nodes", .singular = "node", .kind = "Node",
    .short_names = NAMES("no"), .subresources = SP_SUB_STATUS, .schema = T(node),
    .status_is_subresource = true, .selectable_fields = NAMES("spec.unschedulable"),
    COLUMNS(SP_COLUMN_NAME,
            CELL_COLUMN("Status", "Ready or not, and whether it takes new pods.",
                        sp_cell_node_status),
            CELL_COLUMN("Roles", "From its node-role.kubernetes.io labels.", sp_cell_node_roles),
            SP_COLUMN_AGE,
            PATH_COLUMN("Version", "Version of its agent.", ".status.nodeInfo.kubeletVersion"),
            WIDE_CELL("Internal-IP", "Address inside the cluster.", sp_cell_node_internal_ip),
            WIDE_CELL("External-IP", "Address for the outside.", sp_cell_node_external_ip),
            WIDE_CELL("OS-Image", "Operating system.", sp_cell_node_os),
            WIDE_CELL("Kernel-Version", "Kernel.", sp_cell_node_kernel),
            WIDE_CELL("Container-Runtime", "What runs containers there.", sp_cell_node_runtime)));
