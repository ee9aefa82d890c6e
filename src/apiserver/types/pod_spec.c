/* What a pod should be: PodSpec and the template that Deployments carry. */
#include "apiserver/types/types.h"

FIELDS(ephemeral_container) = {
    {"name", VIA(1, 1), STRING, "Name of the container, unique in the pod.", REQUIRED},
    {"image", VIA(1, 2), STRING, "Image to run."},
    {"command", VIA(1, 3), STRINGS, "Program to run instead of the image's entry point."},
    {"args", VIA(1, 4), STRINGS, "Arguments instead of the image's."},
    {"workingDir", VIA(1, 5), STRING, "Directory to start in."},
    {"ports", VIA(1, 6), LIST(T(container_port)),
     "Ports it listens on; others are reachable all the same.", MERGE("containerPort")},
    {"envFrom", VIA(1, 19), LIST(T(env_from_source)), "Sources of many variables at once."},
    {"env", VIA(1, 7), LIST(T(env_var)), "Variables of the environment.", MERGE("name")},
    {"resources", VIA(1, 8), T(resource_requirements), "What it needs and what it may use."},
    {"resizePolicy", VIA(1, 23), LIST(T(container_resize_policy))},
    {"restartPolicy", VIA(1, 24), STRING,
     "Always makes an init container a sidecar that runs beside the others.", POINTER},
    {"restartPolicyRules", VIA(1, 25), LIST(T(container_restart_rule))},
    {"volumeMounts", VIA(1, 9), LIST(T(volume_mount)), "Volumes and where they are seen.",
     MERGE("mountPath")},
    {"volumeDevices", VIA(1, 21), LIST(T(volume_device)), NULL, MERGE("devicePath")},
    {"livenessProbe", VIA(1, 10), T(probe), "Restarted when this fails.", POINTER},
    {"readinessProbe", VIA(1, 11), T(probe), "Gets no traffic while this fails.", POINTER},
    {"startupProbe", VIA(1, 22), T(probe), "The other probes wait for this one.", POINTER},
    {"lifecycle", VIA(1, 12), T(lifecycle), "What to do after the start and before the end.",
     POINTER},
    {"terminationMessagePath", VIA(1, 13), STRING_DEFAULT("/dev/termination-log"),
     "File whose content is shown when the container has ended."},
    {"terminationMessagePolicy", VIA(1, 20), ENUM_DEFAULT("File", "FallbackToLogsOnError"),
     "Whether the end of the log may stand in for that file."},
    {"imagePullPolicy", VIA(1, 14), ENUM("Always", "IfNotPresent", "Never"),
     "Always, IfNotPresent or Never; Always if the tag is latest or missing."},
    {"securityContext", VIA(1, 15), T(security_context), "Rights of its processes.", POINTER},
    {"stdin", VIA(1, 16), BOOL, "Keep standard input open."},
    {"stdinOnce", VIA(1, 17), BOOL, "Close it after the first client."},
    {"tty", VIA(1, 18), BOOL, "Give it a terminal."},
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
    {"runAsUser", 2, INT64, "User ID of all processes.", POINTER},
    {"runAsGroup", 6, INT64, "Group ID of all processes.", POINTER},
    {"runAsNonRoot", 3, BOOL, "Refuse to start as user 0.", POINTER},
    {"supplementalGroups", 4, LIST(INT64), "Further groups of all processes."},
    {"supplementalGroupsPolicy", 12, STRING, NULL, POINTER},
    {"fsGroup", 5, INT64, "Group that owns the volumes.", POINTER},
    {"sysctls", 7, LIST(T(sysctl)), "Kernel settings of the pod's namespaces."},
    {"fsGroupChangePolicy", 9, STRING, NULL, POINTER},
    {"seccompProfile", 10, T(seccomp_profile), "System calls that are allowed.", POINTER},
    {"appArmorProfile", 11, T(app_armor_profile), NULL, POINTER},
    {"seLinuxChangePolicy", 13, STRING, NULL, POINTER},
};
TYPE(pod_security_context, "PodSecurityContext", "Rights of all processes of a pod.");

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
    {"requiredDuringSchedulingIgnoredDuringExecution", 1, T(node_selector),
     "Nodes the pod may be placed on.", POINTER},
    {"preferredDuringSchedulingIgnoredDuringExecution", 2, LIST(T(preferred_scheduling_term)),
     "Nodes it would rather be placed on."},
};
TYPE(node_affinity, "NodeAffinity", NULL);

FIELDS(pod_affinity_term) = {
    {"labelSelector", 1, T(label_selector), "Which pods.", POINTER},
    {"namespaces", 2, STRINGS},
    {"topologyKey", 3, STRING, "Label of nodes that tells what counts as the same place.",
     REQUIRED},
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
    {"nodeAffinity", 1, T(node_affinity), "Rules about nodes.", POINTER},
    {"podAffinity", 2, T(pod_affinity), "Pods to be near.", POINTER},
    {"podAntiAffinity", 3, T(pod_anti_affinity), "Pods to be away from.", POINTER},
};
TYPE(affinity, "Affinity", "Rules about where a pod is placed.");

FIELDS(toleration) = {
    {"key", 1, STRING, "Taint that is tolerated; empty with Exists = every one."},
    {"operator", 2, ENUM("Exists", "Equal", "Lt", "Gt"), "Equal or Exists."},
    {"value", 3, STRING, "Value of the taint."},
    {"effect", 4, ENUM("NoSchedule", "PreferNoSchedule", "NoExecute", ""),
     "Effect of the taint; empty = every one."},
    {"tolerationSeconds", 5, INT64, "Seconds until it is evicted all the same.", POINTER},
};
TYPE(toleration, "Toleration", "A taint of nodes that a pod puts up with.");

FIELDS(host_alias) = {
    {"ip", 1, STRING, "Address of the line in /etc/hosts.", REQUIRED},
    {"hostnames", 2, STRINGS, "Names for it."},
};
TYPE(host_alias, "HostAlias", NULL);

FIELDS(pod_dns_config_option) = {
    {"name", 1, STRING},
    {"value", 2, STRING, NULL, POINTER},
};
TYPE(pod_dns_config_option, "PodDNSConfigOption", NULL);

FIELDS(pod_dns_config) = {
    {"nameservers", 1, STRINGS, "Addresses of name servers."},
    {"searches", 2, STRINGS, "Domains to search."},
    {"options", 3, LIST(T(pod_dns_config_option)), "Resolver options."},
};
TYPE(pod_dns_config, "PodDNSConfig", NULL);

FIELDS(pod_readiness_gate) = {
    {"conditionType", 1, STRING, NULL, REQUIRED},
};
TYPE(pod_readiness_gate, "PodReadinessGate", NULL);

FIELDS(topology_spread_constraint) = {
    {"maxSkew", 1, INT32, "How uneven the spread may be.", REQUIRED},
    {"topologyKey", 2, STRING, "Label of nodes that tells what counts as one place.", REQUIRED},
    {"whenUnsatisfiable", 3, STRING, "DoNotSchedule or ScheduleAnyway.", REQUIRED},
    {"labelSelector", 4, T(label_selector), "Pods that are counted.", POINTER},
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
    {"volumes", 1, LIST(T(volume)), "Volumes that containers may mount.", MERGE("name"),
     RETAIN_KEYS},
    {"initContainers", 20, LIST(T(container)),
     "Containers that run to their end, one after the other, before the others start.",
     MERGE("name")},
    {"containers", 2, LIST(T(container)), "Containers that run side by side; at least one.",
     REQUIRED, MERGE("name")},
    {"ephemeralContainers", 34, LIST(T(ephemeral_container)), "Containers added for debugging.",
     MERGE("name")},
    {"restartPolicy", 3, ENUM_DEFAULT("Always", "OnFailure", "Never"),
     "When containers are started again: Always, OnFailure or Never."},
    {"terminationGracePeriodSeconds", 4, INT64_DEFAULT("30"),
     "Seconds between the request to end and the kill.", POINTER},
    {"activeDeadlineSeconds", 5, INT64, "Seconds after which the pod is ended.", POINTER},
    {"dnsPolicy", 6, ENUM_DEFAULT("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
     "Where names are resolved."},
    {"nodeSelector", 7, STRING_MAP, "Labels the node must have."},
    {"serviceAccountName", 8, STRING, "Identity of the pod towards the API."},
    {"serviceAccount", 9, STRING, "Old name of serviceAccountName."},
    {"automountServiceAccountToken", 21, BOOL, "Whether a token of that identity is mounted.",
     POINTER},
    {"nodeName", 10, STRING, "Node the pod is bound to."},
    {"hostNetwork", 11, BOOL, "Use the network of the node."},
    {"hostPID", 12, BOOL, "See the processes of the node."},
    {"hostIPC", 13, BOOL, "Share memory with the node."},
    {"shareProcessNamespace", 27, BOOL, "Containers see each other's processes.", POINTER},
    {"securityContext", 14, T(pod_security_context), "Rights of all its processes.", POINTER},
    {"imagePullSecrets", 15, LIST(T(local_object_reference)),
     "Secrets with credentials of registries.", MERGE("name")},
    {"hostname", 16, STRING, "Host name of the pod; its own name if empty."},
    {"subdomain", 17, STRING, "Middle part of its full host name."},
    {"affinity", 18, T(affinity), "Rules about where it is placed.", POINTER},
    {"schedulerName", 19, STRING_DEFAULT("default-scheduler"), "Who places it."},
    {"tolerations", 22, LIST(T(toleration)), "Taints of nodes it puts up with."},
    {"hostAliases", 23, LIST(T(host_alias)), "Lines for /etc/hosts.", MERGE("ip")},
    {"priorityClassName", 24, STRING, "How important it is, by class."},
    {"priority", 25, INT32, "How important it is, as a number.", POINTER},
    {"dnsConfig", 26, T(pod_dns_config), "Resolver settings beside those of dnsPolicy.", POINTER},
    {"readinessGates", 28, LIST(T(pod_readiness_gate)),
     "Conditions that must be true for it to count as ready."},
    {"runtimeClassName", 29, STRING, "Which runtime runs it.", POINTER},
    {"enableServiceLinks", 30, BOOL, "Put services into the environment.", POINTER},
    {"preemptionPolicy", 31, STRING, NULL, POINTER},
    {"overhead", 32, MAP(QUANTITY), "Resources the sandbox itself needs."},
    {"topologySpreadConstraints", 33, LIST(T(topology_spread_constraint)),
     "How pods spread over places.", MERGE("topologyKey")},
    {"setHostnameAsFQDN", 35, BOOL, "Use the full name as host name.", POINTER},
    {"os", 36, T(pod_os), NULL, POINTER},
    {"hostUsers", 37, BOOL, NULL, POINTER},
    {"schedulingGates", 38, LIST(T(pod_scheduling_gate)), NULL, MERGE("name")},
    {"resourceClaims", 39, LIST(T(pod_resource_claim)), NULL, MERGE("name"), RETAIN_KEYS},
    {"resources", 40, T(resource_requirements), NULL, POINTER},
    {"hostnameOverride", 41, STRING, NULL, POINTER},
    {"schedulingGroup", 43, T(pod_scheduling_group), NULL, POINTER},
    {"evictionResponders", 44, LIST(T(eviction_responder)), NULL, MERGE("name")},
};
SHARED_TYPE(pod_spec, "PodSpec", "What a pod should be.");

FIELDS(pod_template_spec) = {
    {"metadata", 1, T(object_meta), "Labels and annotations of the pods."},
    {"spec", 2, T(pod_spec), "What the pods should be."},
};
SHARED_TYPE(pod_template_spec, "PodTemplateSpec", "What the pods of a workload should be.");
