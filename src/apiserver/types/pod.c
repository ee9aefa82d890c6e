/* Pods as they are observed (PodStatus), the whole Pod with its row and columns, and the two bodies
 * that are posted to its subresources. */
#include "apiserver/types/types.h"

FIELDS(pod_condition) = {
    {"type", 1, STRING, NULL, REQUIRED},
    {"observedGeneration", 7, INT64},
    {"status", 2, STRING},
    {"lastProbeTime", 3, TIME},
    {"lastTransitionTime", 4, TIME},
    {"reason", 5, STRING},
    {"message", 6, STRING},
};
TYPE(pod_condition, "PodCondition", NULL);

FIELDS(host_ip) = {
    {"ip", 1, STRING, NULL, REQUIRED},
};
TYPE(host_ip, "HostIP", NULL);

FIELDS(pod_ip) = {
    {"ip", 1, STRING, NULL, REQUIRED},
};
TYPE(pod_ip, "PodIP", NULL);

FIELDS(container_state_waiting) = {
    {"reason", 1, STRING, "Why it waits, in one word."},
    {"message", 2, STRING, "Why it waits."},
};
TYPE(container_state_waiting, "ContainerStateWaiting", NULL);

FIELDS(container_state_running) = {
    {"startedAt", 1, TIME, "When it was started."},
};
TYPE(container_state_running, "ContainerStateRunning", NULL);

FIELDS(container_state_terminated) = {
    {"exitCode", 1, INT32, "Exit code."},
    {"signal", 2, INT32, "Signal that ended it."},
    {"reason", 3, STRING, "Why it ended, in one word."},
    {"message", 4, STRING, "What it left to say."},
    {"startedAt", 5, TIME, "When it was started."},
    {"finishedAt", 6, TIME, "When it ended."},
    {"containerID", 7, STRING, "Which run it was."},
};
TYPE(container_state_terminated, "ContainerStateTerminated", NULL);

FIELDS(container_state) = {
    {"waiting", 1, T(container_state_waiting), "Not started yet.", POINTER},
    {"running", 2, T(container_state_running), "Running.", POINTER},
    {"terminated", 3, T(container_state_terminated), "Ended.", POINTER},
};
TYPE(container_state, "ContainerState", "Exactly one of waiting, running and terminated.");

FIELDS(image_volume_status) = {
    {"imageRef", 1, STRING},
};
TYPE(image_volume_status, "ImageVolumeStatus", NULL);

FIELDS(volume_status) = {
    {"image", 1, T(image_volume_status), NULL, POINTER},
};
TYPE(volume_status, "VolumeStatus", NULL);

FIELDS(volume_mount_status) = {
    {"name", 1, STRING},
    {"mountPath", 2, STRING},
    {"readOnly", 3, BOOL},
    {"recursiveReadOnly", 4, STRING, NULL, POINTER},
    {"volumeStatus", 5, T(volume_status), NULL, POINTER},
};
TYPE(volume_mount_status, "VolumeMountStatus", NULL);

FIELDS(linux_container_user) = {
    {"uid", 1, INT64, NULL, REQUIRED},
    {"gid", 2, INT64, NULL, REQUIRED},
    {"supplementalGroups", 3, LIST(INT64)},
};
TYPE(linux_container_user, "LinuxContainerUser", NULL);

FIELDS(container_user) = {
    {"linux", 1, T(linux_container_user), NULL, POINTER},
};
TYPE(container_user, "ContainerUser", NULL);

FIELDS(resource_health) = {
    {"resourceID", 1, STRING, NULL, REQUIRED},
    {"health", 2, STRING},
    {"message", 6, STRING, NULL, POINTER},
};
TYPE(resource_health, "ResourceHealth", NULL);

FIELDS(resource_status) = {
    {"name", 1, STRING},
    {"resources", 2, LIST(T(resource_health))},
};
TYPE(resource_status, "ResourceStatus", NULL);

FIELDS(container_status) = {
    {"name", 1, STRING, "Which container."},
    {"state", 2, T(container_state), "What it does now."},
    {"lastState", 3, T(container_state), "How its last run ended."},
    {"ready", 4, BOOL, "Whether it passes its readiness probe."},
    {"restartCount", 5, INT32, "How often it was started again."},
    {"image", 6, STRING, "Image it runs."},
    {"imageID", 7, STRING, "Digest of that image."},
    {"containerID", 8, STRING, "Which run this is."},
    {"started", 9, BOOL, "Whether it passed its startup probe.", POINTER},
    {"allocatedResources", 10, MAP(QUANTITY)},
    {"resources", 11, T(resource_requirements), NULL, POINTER},
    {"volumeMounts", 12, LIST(T(volume_mount_status)), NULL, MERGE("mountPath")},
    {"user", 13, T(container_user), NULL, POINTER},
    {"allocatedResourcesStatus", 14, LIST(T(resource_status)), NULL, MERGE("name")},
    {"stopSignal", 15, STRING, NULL, POINTER},
};
TYPE(container_status, "ContainerStatus", "What was last observed of a container.");

FIELDS(pod_resource_claim_status) = {
    {"name", 1, STRING},
    {"resourceClaimName", 2, STRING, NULL, POINTER},
};
TYPE(pod_resource_claim_status, "PodResourceClaimStatus", NULL);

FIELDS(container_extended_resource_request) = {
    {"containerName", 1, STRING, NULL, REQUIRED},
    {"resourceName", 2, STRING, NULL, REQUIRED},
    {"requestName", 3, STRING, NULL, REQUIRED},
};
TYPE(container_extended_resource_request, "ContainerExtendedResourceRequest", NULL);

FIELDS(pod_extended_resource_claim_status) = {
    {"requestMappings", 1, LIST(T(container_extended_resource_request))},
    {"resourceClaimName", 2, STRING},
};
TYPE(pod_extended_resource_claim_status, "PodExtendedResourceClaimStatus", NULL);

FIELDS(node_allocatable_mapped_resources) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"quantity", 2, QUANTITY, NULL, POINTER},
};
TYPE(node_allocatable_mapped_resources, "NodeAllocatableMappedResources", NULL);

FIELDS(node_allocatable_overhead_resources) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"perPod", 2, QUANTITY, NULL, POINTER},
    {"perContainer", 3, QUANTITY, NULL, POINTER},
};
TYPE(node_allocatable_overhead_resources, "NodeAllocatableOverheadResources", NULL);

FIELDS(node_allocatable_resource_claim_status) = {
    {"resourceClaimName", 1, STRING},
    {"containers", 2, STRINGS},
    {"mapping", 4, LIST(T(node_allocatable_mapped_resources)), NULL, MERGE("name")},
    {"overhead", 5, LIST(T(node_allocatable_overhead_resources)), NULL, MERGE("name")},
};
TYPE(node_allocatable_resource_claim_status, "NodeAllocatableResourceClaimStatus", NULL);

FIELDS(volume_health_condition) = {
    {"status", 1, STRING},
    {"reason", 2, STRING, NULL, REQUIRED},
    {"message", 3, STRING},
};
TYPE(volume_health_condition, "VolumeHealthCondition", NULL);

FIELDS(pod_volume_health) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"healthConditions", 2, LIST(T(volume_health_condition)), NULL, MERGE("status")},
    {"lastTransitionTime", 3, TIME},
};
TYPE(pod_volume_health, "PodVolumeHealth", NULL);

FIELDS(pod_status) = {
    {"observedGeneration", 17, INT64, "The generation this status is about."},
    {"phase", 1, STRING, "Pending, Running, Succeeded, Failed or Unknown."},
    {"conditions", 2, LIST(T(pod_condition)), "What was last observed, by aspect.", MERGE("type")},
    {"message", 3, STRING, "Why it is in this phase, for people."},
    {"reason", 4, STRING, "Why it is in this phase, in one word."},
    {"nominatedNodeName", 11, STRING, "Node that is being freed for it."},
    {"hostIP", 5, STRING, "Address of its node."},
    {"hostIPs", 16, LIST(T(host_ip)), NULL, MERGE("ip")},
    {"podIP", 6, STRING, "Address of the pod."},
    {"podIPs", 12, LIST(T(pod_ip)), "All addresses of the pod.", MERGE("ip")},
    {"startTime", 7, TIME, "When the node took it.", POINTER},
    {"initContainerStatuses", 10, LIST(T(container_status)), "State of each init container."},
    {"containerStatuses", 8, LIST(T(container_status)), "State of each container."},
    {"qosClass", 9, STRING, "Guaranteed, Burstable or BestEffort, by its resources."},
    {"ephemeralContainerStatuses", 13, LIST(T(container_status))},
    {"resize", 14, STRING},
    {"resourceClaimStatuses", 15, LIST(T(pod_resource_claim_status)), NULL, MERGE("name"),
     RETAIN_KEYS},
    {"extendedResourceClaimStatus", 18, T(pod_extended_resource_claim_status), NULL, POINTER},
    {"allocatedResources", 19, MAP(QUANTITY)},
    {"resources", 20, T(resource_requirements), NULL, POINTER},
    {"nodeAllocatableResourceClaimStatuses", 21, LIST(T(node_allocatable_resource_claim_status)),
     NULL, MERGE("resourceClaimName")},
    {"volumeHealth", 22, LIST(T(pod_volume_health))},
};
TYPE(pod_status, "PodStatus", "What was last observed of a pod.");

FIELDS(pod) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(pod_spec), "What should be.", REQUIRED},
    {"status", 3, T(pod_status), "What was last observed."},
};
SHARED_TYPE(pod, "Pod",
            "Containers that are placed together on one node and share its network and volumes.");

FIELDS(object_reference) = {
    {"kind", 1, STRING, "Kind of the object."},
    {"namespace", 2, STRING, "Namespace of the object."},
    {"name", 3, STRING, "Name of the object."},
    {"uid", 4, STRING, "UID of the object."},
    {"apiVersion", 5, STRING, "Group and version of the object."},
    {"resourceVersion", 6, STRING, "State of the object that is meant."},
    {"fieldPath", 7, STRING, "Part of the object that is meant."},
};
SHARED_TYPE(object_reference, "ObjectReference", "Names an object.");

FIELDS(binding) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"target", 2, T(object_reference), "Node to bind the pod to.", REQUIRED},
};
SHARED_TYPE(binding, "Binding", "Ties a pod to a node.");

FIELDS(eviction) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"deleteOptions", 2, T(delete_options), "How to delete the pod.", POINTER},
};
SHARED_TYPE(eviction, "Eviction", NULL);

ROW(pod, HOOKED(pod), .group = "", .version = "v1", .plural = "pods", .kind = "Pod",
    .singular = "pod", .short_names = NAMES("po"), .categories = NAMES("all"), .namespaced = true,
    .subresources = SP_SUB_STATUS | SP_SUB_LOG | SP_SUB_BINDING | SP_SUB_EVICTION, .schema = T(pod),
    .status_is_subresource = true,
    .selectable_fields = NAMES("spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
                               "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
                               "status.podIP", "status.podIPs", "status.nominatedNodeName"),
    COLUMNS(SP_COLUMN_NAME,
            CELL_COLUMN("Ready", "Ready containers of all containers.", sp_cell_pod_ready),
            CELL_COLUMN("Status", "Where the pod is in its life, or why it is stuck.",
                        sp_cell_pod_status),
            CELL_COLUMN("Restarts", "Restarts of its containers, and when the last one was.",
                        sp_cell_pod_restarts),
            SP_COLUMN_AGE, WIDE_CELL("IP", "Address of the pod.", sp_cell_pod_ip),
            WIDE_CELL("Node", "Node the pod is bound to.", sp_cell_pod_node),
            WIDE_CELL("Nominated Node", "Node that is being freed for the pod.",
                      sp_cell_pod_nominated),
            WIDE_CELL("Readiness Gates", "Extra conditions that are true, of all of them.",
                      sp_cell_pod_gates)));
