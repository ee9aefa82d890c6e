/* HorizontalPodAutoscaler, autoscaling/v2. */
#include "apiserver/types/types.h"

FIELDS(cross_version_object_reference) = {
    {"kind", 1, STRING, "Kind of the object.", REQUIRED},
    {"name", 2, STRING, "Name of the object.", REQUIRED},
    {"apiVersion", 3, STRING, "Group and version of the object."},
};
TYPE(cross_version_object_reference, "CrossVersionObjectReference", NULL);

FIELDS(metric_target) = {
    {"type", 1, ENUM("AverageValue", "Utilization", "Value"), "Utilization, Value or AverageValue.",
     REQUIRED},
    {"value", 2, QUANTITY, "Value to aim for.", POINTER},
    {"averageValue", 3, QUANTITY, "Value to aim for, per pod.", POINTER},
    {"averageUtilization", 4, INT32, "Percentage of the request to aim for.", POINTER},
};
TYPE(metric_target, "MetricTarget", "What a measure should be.");

FIELDS(metric_identifier) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"selector", 2, T(label_selector), NULL, POINTER},
};
TYPE(metric_identifier, "MetricIdentifier", NULL);

FIELDS(object_metric_source) = {
    {"describedObject", 1, T(cross_version_object_reference), NULL, REQUIRED},
    {"target", 2, T(metric_target), NULL, REQUIRED},
    {"metric", 3, T(metric_identifier), NULL, REQUIRED},
};
TYPE(object_metric_source, "ObjectMetricSource", NULL);

FIELDS(pods_metric_source) = {
    {"metric", 1, T(metric_identifier), NULL, REQUIRED},
    {"target", 2, T(metric_target), NULL, REQUIRED},
};
TYPE(pods_metric_source, "PodsMetricSource", NULL);

FIELDS(resource_metric_source) = {
    {"name", 1, STRING, "cpu or memory.", REQUIRED},
    {"target", 2, T(metric_target), "What to aim for.", REQUIRED},
};
TYPE(resource_metric_source, "ResourceMetricSource", NULL);

FIELDS(container_resource_metric_source) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"target", 2, T(metric_target), NULL, REQUIRED},
    {"container", 3, STRING, NULL, REQUIRED},
};
TYPE(container_resource_metric_source, "ContainerResourceMetricSource", NULL);

FIELDS(external_metric_source) = {
    {"metric", 1, T(metric_identifier), NULL, REQUIRED},
    {"target", 2, T(metric_target), NULL, REQUIRED},
};
TYPE(external_metric_source, "ExternalMetricSource", NULL);

FIELDS(metric_spec) = {
    {"type", 1, ENUM("ContainerResource", "External", "Object", "Pods", "Resource"),
     "Which of the sources below.", REQUIRED},
    {"object", 2, T(object_metric_source), "A metric of another object.", POINTER},
    {"pods", 3, T(pods_metric_source), "A metric of the pods.", POINTER},
    {"resource", 4, T(resource_metric_source), "CPU or memory of the pods.", POINTER},
    {"containerResource", 7, T(container_resource_metric_source),
     "CPU or memory of one container of the pods.", POINTER},
    {"external", 5, T(external_metric_source), "A metric from outside.", POINTER},
};
SHARED_TYPE(metric_spec, "MetricSpec", "One measure to scale by.");

FIELDS(hpa_scaling_policy) = {
    {"type", 1, STRING, "Pods or Percent.", REQUIRED},
    {"value", 2, INT32, "How many of them.", REQUIRED},
    {"periodSeconds", 3, INT32, "In how many seconds.", REQUIRED},
};
TYPE(hpa_scaling_policy, "HPAScalingPolicy", NULL);

FIELDS(hpa_scaling_rules) = {
    {"stabilizationWindowSeconds", 3, INT32, "Seconds of past recommendations that are looked at.",
     POINTER},
    {"selectPolicy", 1, STRING, "Which policy wins: Max, Min, or Disabled.", POINTER},
    {"policies", 2, LIST(T(hpa_scaling_policy)), "How much may change in how much time."},
    {"tolerance", 4, QUANTITY, "Difference from the target that changes nothing.", POINTER},
};
TYPE(hpa_scaling_rules, "HPAScalingRules", NULL);

FIELDS(horizontal_pod_autoscaler_behavior) = {
    {"scaleUp", 1, T(hpa_scaling_rules), "How it grows.", POINTER},
    {"scaleDown", 2, T(hpa_scaling_rules), "How it shrinks.", POINTER},
};
SHARED_TYPE(horizontal_pod_autoscaler_behavior, "HorizontalPodAutoscalerBehavior", NULL);

FIELDS(horizontal_pod_autoscaler_spec) = {
    {"scaleTargetRef", 1, T(cross_version_object_reference), "What is scaled.", REQUIRED},
    {"minReplicas", 2, INT32_DEFAULT("1"), "Fewest pods.", POINTER},
    {"maxReplicas", 3, INT32, "Most pods.", REQUIRED},
    {"metrics", 4, LIST(T(metric_spec)), "What is measured; the largest answer wins."},
    {"behavior", 5, T(horizontal_pod_autoscaler_behavior), "How fast it scales.", POINTER},
};
TYPE(horizontal_pod_autoscaler_spec, "HorizontalPodAutoscalerSpec",
     "What is scaled, between which bounds, by which metrics.");

FIELDS(metric_value_status) = {
    {"value", 1, QUANTITY, NULL, POINTER},
    {"averageValue", 2, QUANTITY, NULL, POINTER},
    {"averageUtilization", 3, INT32, NULL, POINTER},
};
TYPE(metric_value_status, "MetricValueStatus", NULL);

FIELDS(object_metric_status) = {
    {"metric", 1, T(metric_identifier)},
    {"current", 2, T(metric_value_status)},
    {"describedObject", 3, T(cross_version_object_reference)},
};
TYPE(object_metric_status, "ObjectMetricStatus", NULL);

FIELDS(pods_metric_status) = {
    {"metric", 1, T(metric_identifier)},
    {"current", 2, T(metric_value_status)},
};
TYPE(pods_metric_status, "PodsMetricStatus", NULL);

FIELDS(resource_metric_status) = {
    {"name", 1, STRING},
    {"current", 2, T(metric_value_status)},
};
TYPE(resource_metric_status, "ResourceMetricStatus", NULL);

FIELDS(container_resource_metric_status) = {
    {"name", 1, STRING},
    {"current", 2, T(metric_value_status)},
    {"container", 3, STRING},
};
TYPE(container_resource_metric_status, "ContainerResourceMetricStatus", NULL);

FIELDS(external_metric_status) = {
    {"metric", 1, T(metric_identifier)},
    {"current", 2, T(metric_value_status)},
};
TYPE(external_metric_status, "ExternalMetricStatus", NULL);

FIELDS(metric_status) = {
    {"type", 1, STRING},
    {"object", 2, T(object_metric_status), NULL, POINTER},
    {"pods", 3, T(pods_metric_status), NULL, POINTER},
    {"resource", 4, T(resource_metric_status), NULL, POINTER},
    {"containerResource", 7, T(container_resource_metric_status), NULL, POINTER},
    {"external", 5, T(external_metric_status), NULL, POINTER},
};
TYPE(metric_status, "MetricStatus", NULL);

FIELDS(horizontal_pod_autoscaler_condition) = {
    {"type", 1, STRING, NULL, REQUIRED},
    {"status", 2, STRING},
    {"lastTransitionTime", 3, TIME},
    {"reason", 4, STRING},
    {"message", 5, STRING},
    {"observedGeneration", 6, INT64, NULL, POINTER},
};
TYPE(horizontal_pod_autoscaler_condition, "HorizontalPodAutoscalerCondition", NULL);

FIELDS(horizontal_pod_autoscaler_status) = {
    {"observedGeneration", 1, INT64, "The generation this status is about.", POINTER},
    {"lastScaleTime", 2, TIME, "When it last scaled.", POINTER},
    {"currentReplicas", 3, INT32, "Pods there are."},
    {"desiredReplicas", 4, INT32, "Pods there should be."},
    {"currentMetrics", 5, LIST(T(metric_status)), "What was measured."},
    {"conditions", 6, LIST(T(horizontal_pod_autoscaler_condition)),
     "What was last observed, by aspect.", MERGE("type")},
};
TYPE(horizontal_pod_autoscaler_status, "HorizontalPodAutoscalerStatus",
     "What was last observed of an autoscaler.");

FIELDS(horizontal_pod_autoscaler) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(horizontal_pod_autoscaler_spec), "What should be.", REQUIRED},
    {"status", 3, T(horizontal_pod_autoscaler_status), "What was last observed."},
};
SHARED_TYPE(horizontal_pod_autoscaler, "HorizontalPodAutoscaler",
            "Runs as many pods as the load asks for.");

ROW(horizontal_pod_autoscaler, HOOKED(hpa), .group = "autoscaling", .version = "v2",
    .plural = "horizontalpodautoscalers", .singular = "horizontalpodautoscaler",
    .kind = "HorizontalPodAutoscaler", .short_names = NAMES("hpa"), .categories = NAMES("all"),
    .namespaced = true, .subresources = SP_SUB_STATUS, .schema = T(horizontal_pod_autoscaler),
    .status_is_subresource = true,
    COLUMNS(SP_COLUMN_NAME, CELL_COLUMN("Reference", "What it scales.", sp_cell_hpa_reference),
            CELL_COLUMN("Targets", "Measured and wanted values.", sp_cell_hpa_targets),
            CELL_COLUMN("MinPods", "Fewest pods.", sp_cell_hpa_min),
            PATH_COLUMN("MaxPods", "Most pods.", ".spec.maxReplicas"),
            CELL_COLUMN("Replicas", "Pods now.", sp_cell_hpa_replicas), SP_COLUMN_AGE));
