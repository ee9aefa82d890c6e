/* Deployments and ReplicaSets, the Scale they share, and Leases. */
#include "apiserver/types/types.h"

FIELDS(rolling_update_deployment) = {
    {"maxUnavailable", 1, INT_OR_STRING,
     "How many pods may be missing meanwhile, a number or a percentage.", POINTER},
    {"maxSurge", 2, INT_OR_STRING,
     "How many pods too many there may be meanwhile, a number or a percentage.", POINTER},
};
TYPE(rolling_update_deployment, "RollingUpdateDeployment",
     "How far a rolling update may go at a time.");

FIELDS(deployment_strategy) = {
    {"type", 1, ENUM("Recreate", "RollingUpdate"),
     "RollingUpdate, or Recreate: all old pods end first."},
    {"rollingUpdate", 2, T(rolling_update_deployment), "How fast it rolls.", POINTER},
};
TYPE(deployment_strategy, "DeploymentStrategy", "How old pods are replaced by new ones.");

FIELDS(deployment_spec) = {
    {"replicas", 1, INT32_DEFAULT("1"), "How many pods.", POINTER},
    {"selector", 2, T(label_selector),
     "Labels of its pods; must fit the template and never changes.", POINTER},
    {"template", 3, T(pod_template_spec), "What the pods are.", REQUIRED},
    {"strategy", 4, T(deployment_strategy), "How old pods are replaced by new ones.", RETAIN_KEYS},
    {"minReadySeconds", 5, INT32, "Seconds a new pod must be ready before it counts."},
    {"revisionHistoryLimit", 6, INT32_DEFAULT("10"), "Old ReplicaSets kept for going back.",
     POINTER},
    {"paused", 7, BOOL, "Changes of the template wait."},
    {"progressDeadlineSeconds", 9, INT32_DEFAULT("600"),
     "Seconds without progress after which a rollout counts as failed.", POINTER},
};
TYPE(deployment_spec, "DeploymentSpec", "What a deployment should keep running.");

FIELDS(deployment_condition) = {
    {"type", 1, STRING},         {"status", 2, STRING},
    {"lastUpdateTime", 6, TIME}, {"lastTransitionTime", 7, TIME},
    {"reason", 4, STRING},       {"message", 5, STRING},
};
TYPE(deployment_condition, "DeploymentCondition", NULL);

FIELDS(deployment_status) = {
    {"observedGeneration", 1, INT64, "The generation this status is about."},
    {"replicas", 2, INT32, "Pods there are."},
    {"updatedReplicas", 3, INT32, "Pods of the current template."},
    {"readyReplicas", 7, INT32, "Pods that are ready."},
    {"availableReplicas", 4, INT32, "Pods that were ready for long enough."},
    {"unavailableReplicas", 5, INT32, "Pods that are missing."},
    {"terminatingReplicas", 9, INT32, NULL, POINTER},
    {"conditions", 6, LIST(T(deployment_condition)), "What was last observed, by aspect.",
     MERGE("type")},
    {"collisionCount", 8, INT32, "How often a name was taken.", POINTER},
};
TYPE(deployment_status, "DeploymentStatus", "What was last observed of a deployment.");

FIELDS(deployment) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(deployment_spec), "What should be.", REQUIRED},
    {"status", 3, T(deployment_status), "What was last observed."},
};
SHARED_TYPE(
    deployment, "Deployment",
    "Keeps a number of equal pods running and replaces them step by step when they change.");

FIELDS(replica_set_spec) = {
    {"replicas", 1, INT32_DEFAULT("1"), "How many pods.", POINTER},
    {"minReadySeconds", 4, INT32, "Seconds a new pod must be ready before it counts."},
    {"selector", 2, T(label_selector),
     "Labels of its pods; must fit the template and never changes.", POINTER},
    {"template", 3, T(pod_template_spec), "What the pods are."},
};
TYPE(replica_set_spec, "ReplicaSetSpec", "What a replica set should keep running.");

FIELDS(replica_set_condition) = {
    {"type", 1, STRING},   {"status", 2, STRING},  {"lastTransitionTime", 3, TIME},
    {"reason", 4, STRING}, {"message", 5, STRING},
};
TYPE(replica_set_condition, "ReplicaSetCondition", NULL);

FIELDS(replica_set_status) = {
    {"replicas", 1, INT32, "Pods there are."},
    {"fullyLabeledReplicas", 2, INT32},
    {"readyReplicas", 4, INT32, "Pods that are ready."},
    {"availableReplicas", 5, INT32, "Pods that were ready for long enough."},
    {"terminatingReplicas", 7, INT32, NULL, POINTER},
    {"observedGeneration", 3, INT64},
    {"conditions", 6, LIST(T(replica_set_condition)), NULL, MERGE("type")},
};
TYPE(replica_set_status, "ReplicaSetStatus", "What was last observed of a replica set.");

FIELDS(replica_set) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(replica_set_spec), "What should be.", REQUIRED},
    {"status", 3, T(replica_set_status), "What was last observed."},
};
SHARED_TYPE(replica_set, "ReplicaSet", "Keeps a number of equal pods running.");

FIELDS(lease_spec) = {
    {"holderIdentity", 1, STRING, "Who holds it.", POINTER},
    {"leaseDurationSeconds", 2, INT32, "Seconds after the last renewal when others may take it.",
     POINTER},
    {"acquireTime", 3, MICRO_TIME, "When it was taken.", POINTER},
    {"renewTime", 4, MICRO_TIME, "When it was last renewed.", POINTER},
    {"leaseTransitions", 5, INT32, "How often the holder changed.", POINTER},
    {"strategy", 6, STRING, NULL, POINTER},
    {"preferredHolder", 7, STRING, NULL, POINTER},
};
TYPE(lease_spec, "LeaseSpec", "Who holds it.");

FIELDS(lease) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(lease_spec), "What should be."},
};
SHARED_TYPE(lease, "Lease", "Tells who holds something, and until when.");

FIELDS(scale_spec) = {
    {"replicas", 1, INT32, "How many are wanted."},
};
TYPE(scale_spec, "ScaleSpec", NULL);

FIELDS(scale_status) = {
    {"replicas", 1, INT32, "How many there are."},
    {"selector", 2, STRING, "Labels of the pods, as text."},
};
TYPE(scale_status, "ScaleStatus", NULL);

FIELDS(scale) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(scale_spec), "What should be."},
    {"status", 3, T(scale_status), "What was last observed."},
};
SHARED_TYPE(scale, "Scale", "The number of replicas of a workload.");

static const struct sp_scale_paths replicas_paths = {".spec.replicas", ".status.replicas",
                                                     ".spec.selector"};

#define WORKLOAD_WIDE_COLUMNS                                                         \
    WIDE_CELL("Containers", "Names of the containers.", sp_cell_template_containers), \
        WIDE_CELL("Images", "Images of the containers.", sp_cell_template_images),    \
        WIDE_CELL("Selector", "Labels of its pods.", sp_cell_label_selector)

#define DEPLOYMENT_ROW                                                                             \
    HOOKED(deployment),                                                                            \
        .plural = "deployments", .singular = "deployment", .kind = "Deployment",                   \
        .namespaced = true, .subresources = SP_SUB_STATUS | SP_SUB_SCALE, .schema = T(deployment), \
        .status_is_subresource = true, .counts_generation = true, .scale = &replicas_paths,        \
        COLUMNS(                                                                                   \
            SP_COLUMN_NAME,                                                                        \
            CELL_COLUMN("Ready", "Ready pods of wanted pods.", sp_cell_deployment_ready),          \
            CELL_COLUMN("Up-to-date", "Pods of the current template.",                             \
                        sp_cell_deployment_updated),                                               \
            CELL_COLUMN("Available", "Pods ready for long enough.", sp_cell_deployment_available), \
            SP_COLUMN_AGE, WORKLOAD_WIDE_COLUMNS)

ROW(deployment, .group = "apps", .version = "v1", .short_names = NAMES("deploy"),
    .categories = NAMES("all"), DEPLOYMENT_ROW);
/* Old manifests say extensions/v1beta1: the same objects under their first name. Without short
 * names and categories, so that kubectl finds them once. */
ROW(extensions_deployment, .group = "extensions", .version = "v1beta1",
    .storage = &sp_row_deployment, DEPLOYMENT_ROW);

ROW(replica_set, HOOKED(replica_set), .group = "apps", .version = "v1", .plural = "replicasets",
    .singular = "replicaset", .kind = "ReplicaSet", .short_names = NAMES("rs"),
    .categories = NAMES("all"), .namespaced = true, .subresources = SP_SUB_STATUS | SP_SUB_SCALE,
    .schema = T(replica_set), .status_is_subresource = true, .counts_generation = true,
    .scale = &replicas_paths, .selectable_fields = NAMES("status.replicas"),
    COLUMNS(SP_COLUMN_NAME, {"Desired", "integer", "", "Wanted pods.", 0, NULL, sp_cell_rs_desired},
            {"Current", "integer", "", "Existing pods.", 0, NULL, sp_cell_rs_current},
            {"Ready", "integer", "", "Ready pods.", 0, NULL, sp_cell_rs_ready}, SP_COLUMN_AGE,
            WORKLOAD_WIDE_COLUMNS));

ROW(lease, .group = "coordination.k8s.io", .version = "v1", .plural = "leases", .singular = "lease",
    .kind = "Lease", .namespaced = true, .schema = T(lease),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Holder", "Who holds it now.", ".spec.holderIdentity"),
            SP_COLUMN_AGE));
