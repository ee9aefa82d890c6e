/* What a pod should be: PodSpec and the template that Deployments carry. */
#include "apiserver/types/types.h"

FIELDS(ephemeral_container) = {
    {"name", VIA(1, 1), STRING, NULL, REQUIRED},
    {"image", VIA(1, 2), STRING},
    {"command", VIA(1, 3), STRINGS},
    {"args", VIA(1, 4), STRINGS},
    {"workingDir", VIA(1, 5), STRING},
    {"ports", VIA(1, 6), LIST(T(container_port)), NULL, MERGE("containerPort")},
    {"envFrom", VIA(1, 19), LIST(T(env_from_source))},
    {"env", VIA(1, 7), LIST(T(env_var)), NULL, MERGE("name")},
    {"resources", VIA(1, 8), T(resource_requirements)},
    {"resizePolicy", VIA(1, 23), LIST(T(container_resize_policy))},
    {"restartPolicy", VIA(1, 24), STRING, NULL, POINTER},
    {"restartPolicyRules", VIA(1, 25), LIST(T(container_restart_rule))},
    {"volumeMounts", VIA(1, 9), LIST(T(volume_mount)), NULL, MERGE("mountPath")},
    {"volumeDevices", VIA(1, 21), LIST(T(volume_device)), NULL, MERGE("devicePath")},
    {"livenessProbe", VIA(1, 10), T(probe), NULL, POINTER},
    {"readinessProbe", VIA(1, 11), T(probe), NULL, POINTER},
    {"startupProbe", VIA(1, 22), T(probe), NULL, POINTER},
    {"lifecycle", VIA(1, 12), T(lifecycle), NULL, POINTER},
    {"terminationMessagePath", VIA(1, 13), STRING_DEFAULT("/dev/termination-log")},
    {"terminationMessagePolicy", VIA(1, 20), ENUM_DEFAULT("File", "FallbackToLogsOnError")},
    {"imagePullPolicy", VIA(1, 14), ENUM("Always", "IfNotPresent", "Never")},
    {"securityContext", VIA(1, 15), T(security_context), NULL, POINTER},
    {"stdin", VIA(1, 16), BOOL},
    {"stdinOnce", VIA(1, 17), BOOL},
    {"tty", VIA(1, 18), BOOL},
    {"targetContainerName", 2, STRING},
};
TYPE(ephemeral_container, "EphemeralContainer", NULL);

FIELDS(sysctl) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"value", 2, STRING, NULL, REQUIRED},
};
TYPE(sysctl, "Sysctl", NULL);

FIELDS(pod_security_context) = {
    {"seLinuxOptions", 1, T(se_linux_options), NULL, POINTER},
    {"windowsOptions", 8, T(windows_security_context_options), NULL, POINTER},
    {"runAsUser", 2, INT64, NULL, POINTER},
    {"runAsGroup", 6, INT64, NULL, POINTER},
    {"runAsNonRoot", 3, BOOL, NULL, POINTER},
    {"supplementalGroups", 4, LIST(INT64)},
    {"supplementalGroupsPolicy", 12, STRING, NULL, POINTER},
    {"fsGroup", 5, INT64, NULL, POINTER},
    {"sysctls", 7, LIST(T(sysctl))},
    {"fsGroupChangePolicy", 9, STRING, NULL, POINTER},
    {"seccompProfile", 10, T(seccomp_profile), NULL, POINTER},
    {"appArmorProfile", 11, T(app_armor_profile), NULL, POINTER},
    {"seLinuxChangePolicy", 13, STRING, NULL, POINTER},
};
TYPE(pod_security_context, "PodSecurityContext", NULL);

FIELDS(node_selector_requirement) = {
    {"key", 1, STRING, NULL, REQUIRED},
    {"operator", 2, ENUM("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"), NULL, REQUIRED},
    {"values", 3, STRINGS},
};
TYPE(node_selector_requirement, "NodeSelectorRequirement", NULL);

FIELDS(node_selector_term) = {
    {"matchExpressions", 1, LIST(T(node_selector_requirement))},
    {"matchFields", 2, LIST(T(node_selector_requirement))},
};
TYPE(node_selector_term, "NodeSelectorTerm", NULL);

FIELDS(node_selector) = {
    {"nodeSelectorTerms", 1, LIST(T(node_selector_term)), NULL, REQUIRED},
};
TYPE(node_selector, "NodeSelector", NULL);

FIELDS(preferred_scheduling_term) = {
    {"weight", 1, INT32, NULL, REQUIRED},
    {"preference", 2, T(node_selector_term), NULL, REQUIRED},
};
TYPE(preferred_scheduling_term, "PreferredSchedulingTerm", NULL);

FIELDS(node_affinity) = {
    {"requiredDuringSchedulingIgnoredDuringExecution", 1, T(node_selector), NULL, POINTER},
    {"preferredDuringSchedulingIgnoredDuringExecution", 2, LIST(T(preferred_scheduling_term))},
};
TYPE(node_affinity, "NodeAffinity", NULL);

FIELDS(pod_affinity_term) = {
    {"labelSelector", 1, T(label_selector), NULL, POINTER},
    {"namespaces", 2, STRINGS},
    {"topologyKey", 3, STRING, NULL, REQUIRED},
    {"namespaceSelector", 4, T(label_selector), NULL, POINTER},
    {"matchLabelKeys", 5, STRINGS},
    {"mismatchLabelKeys", 6, STRINGS},
};
TYPE(pod_affinity_term, "PodAffinityTerm", NULL);

FIELDS(weighted_pod_affinity_term) = {
    {"weight", 1, INT32, NULL, REQUIRED},
    {"podAffinityTerm", 2, T(pod_affinity_term), NULL, REQUIRED},
};
TYPE(weighted_pod_affinity_term, "WeightedPodAffinityTerm", NULL);

FIELDS(pod_affinity) = {
    {"requiredDuringSchedulingIgnoredDuringExecution", 1, LIST(T(pod_affinity_term))},
    {"preferredDuringSchedulingIgnoredDuringExecution", 2, LIST(T(weighted_pod_affinity_term))},
};
TYPE(pod_affinity, "PodAffinity", NULL);

FIELDS(pod_anti_affinity) = {
    {"requiredDuringSchedulingIgnoredDuringExecution", 1, LIST(T(pod_affinity_term))},
    {"preferredDuringSchedulingIgnoredDuringExecution", 2, LIST(T(weighted_pod_affinity_term))},
};
TYPE(pod_anti_affinity, "PodAntiAffinity", NULL);

FIELDS(affinity) = {
    {"nodeAffinity", 1, T(node_affinity), NULL, POINTER},
    {"podAffinity", 2, T(pod_affinity), NULL, POINTER},
    {"podAntiAffinity", 3, T(pod_anti_affinity), NULL, POINTER},
};
TYPE(affinity, "Affinity", NULL);

FIELDS(toleration) = {
    {"key", 1, STRING},
    {"operator", 2, ENUM("Exists", "Equal", "Lt", "Gt")},
    {"value", 3, STRING},
    {"effect", 4, ENUM("NoSchedule", "PreferNoSchedule", "NoExecute", "")},
    {"tolerationSeconds", 5, INT64, NULL, POINTER},
};
TYPE(toleration, "Toleration", NULL);

FIELDS(host_alias) = {
    {"ip", 1, STRING, NULL, REQUIRED},
    {"hostnames", 2, STRINGS},
};
TYPE(host_alias, "HostAlias", NULL);

FIELDS(pod_dns_config_option) = {
    {"name", 1, STRING},
    {"value", 2, STRING, NULL, POINTER},
};
TYPE(pod_dns_config_option, "PodDNSConfigOption", NULL);

FIELDS(pod_dns_config) = {
    {"nameservers", 1, STRINGS},
    {"searches", 2, STRINGS},
    {"options", 3, LIST(T(pod_dns_config_option))},
};
TYPE(pod_dns_config, "PodDNSConfig", NULL);

FIELDS(pod_readiness_gate) = {
    {"conditionType", 1, STRING, NULL, REQUIRED},
};
TYPE(pod_readiness_gate, "PodReadinessGate", NULL);

FIELDS(topology_spread_constraint) = {
    {"maxSkew", 1, INT32, NULL, REQUIRED},
    {"topologyKey", 2, STRING, NULL, REQUIRED},
    {"whenUnsatisfiable", 3, STRING, NULL, REQUIRED},
    {"labelSelector", 4, T(label_selector), NULL, POINTER},
    {"minDomains", 5, INT32, NULL, POINTER},
    {"nodeAffinityPolicy", 6, STRING, NULL, POINTER},
    {"nodeTaintsPolicy", 7, STRING, NULL, POINTER},
    {"matchLabelKeys", 8, STRINGS},
};
TYPE(topology_spread_constraint, "TopologySpreadConstraint", NULL);

FIELDS(pod_os) = {
    {"name", 1, STRING, NULL, REQUIRED},
};
TYPE(pod_os, "PodOS", NULL);

FIELDS(pod_scheduling_gate) = {
    {"name", 1, STRING, NULL, REQUIRED},
};
TYPE(pod_scheduling_gate, "PodSchedulingGate", NULL);

FIELDS(pod_resource_claim) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"resourceClaimName", 3, STRING, NULL, POINTER},
    {"resourceClaimTemplateName", 4, STRING, NULL, POINTER},
};
TYPE(pod_resource_claim, "PodResourceClaim", NULL);

FIELDS(pod_scheduling_group) = {
    {"podGroupName", 1, STRING, NULL, POINTER},
};
TYPE(pod_scheduling_group, "PodSchedulingGroup", NULL);

FIELDS(eviction_responder) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"priority", 2, INT32, NULL, POINTER},
};
TYPE(eviction_responder, "EvictionResponder", NULL);

FIELDS(pod_spec) = {
    {"volumes", 1, LIST(T(volume)), NULL, MERGE("name")},
    {"initContainers", 20, LIST(T(container)), NULL, MERGE("name")},
    {"containers", 2, LIST(T(container)), NULL, REQUIRED, MERGE("name")},
    {"ephemeralContainers", 34, LIST(T(ephemeral_container)), NULL, MERGE("name")},
    {"restartPolicy", 3, ENUM_DEFAULT("Always", "OnFailure", "Never")},
    {"terminationGracePeriodSeconds", 4, INT64_DEFAULT("30"), NULL, POINTER},
    {"activeDeadlineSeconds", 5, INT64, NULL, POINTER},
    {"dnsPolicy", 6, ENUM_DEFAULT("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")},
    {"nodeSelector", 7, STRING_MAP},
    {"serviceAccountName", 8, STRING},
    {"serviceAccount", 9, STRING},
    {"automountServiceAccountToken", 21, BOOL, NULL, POINTER},
    {"nodeName", 10, STRING},
    {"hostNetwork", 11, BOOL},
    {"hostPID", 12, BOOL},
    {"hostIPC", 13, BOOL},
    {"shareProcessNamespace", 27, BOOL, NULL, POINTER},
    {"securityContext", 14, T(pod_security_context), NULL, POINTER},
    {"imagePullSecrets", 15, LIST(T(local_object_reference)), NULL, MERGE("name")},
    {"hostname", 16, STRING},
    {"subdomain", 17, STRING},
    {"affinity", 18, T(affinity), NULL, POINTER},
    {"schedulerName", 19, STRING_DEFAULT("default-scheduler")},
    {"tolerations", 22, LIST(T(toleration))},
    {"hostAliases", 23, LIST(T(host_alias)), NULL, MERGE("ip")},
    {"priorityClassName", 24, STRING},
    {"priority", 25, INT32, NULL, POINTER},
    {"dnsConfig", 26, T(pod_dns_config), NULL, POINTER},
    {"readinessGates", 28, LIST(T(pod_readiness_gate))},
    {"runtimeClassName", 29, STRING, NULL, POINTER},
    {"enableServiceLinks", 30, BOOL, NULL, POINTER},
    {"preemptionPolicy", 31, STRING, NULL, POINTER},
    {"overhead", 32, MAP(QUANTITY)},
    {"topologySpreadConstraints", 33, LIST(T(topology_spread_constraint)), NULL,
     MERGE("topologyKey")},
    {"setHostnameAsFQDN", 35, BOOL, NULL, POINTER},
    {"os", 36, T(pod_os), NULL, POINTER},
    {"hostUsers", 37, BOOL, NULL, POINTER},
    {"schedulingGates", 38, LIST(T(pod_scheduling_gate)), NULL, MERGE("name")},
    {"resourceClaims", 39, LIST(T(pod_resource_claim)), NULL, MERGE("name")},
    {"resources", 40, T(resource_requirements), NULL, POINTER},
    {"hostnameOverride", 41, STRING, NULL, POINTER},
    {"schedulingGroup", 43, T(pod_scheduling_group), NULL, POINTER},
    {"evictionResponders", 44, LIST(T(eviction_responder)), NULL, MERGE("name")},
};
SHARED_TYPE(pod_spec, "PodSpec", NULL);

FIELDS(pod_template_spec) = {
    {"metadata", 1, T(object_meta)},
    {"spec", 2, T(pod_spec)},
};
SHARED_TYPE(pod_template_spec, "PodTemplateSpec", NULL);
