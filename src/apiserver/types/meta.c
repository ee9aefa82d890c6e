/* Scalars, and the types of apimachinery's meta/v1 that every object carries. */
#include "apiserver/types/types.h"

const sp_schema sp_schema_any = {.type = SP_SCHEMA_ANY, .preserve_unknown = true};
const sp_schema sp_schema_any_object = {.type = SP_SCHEMA_OBJECT, .preserve_unknown = true};
const sp_schema sp_schema_string = {.type = SP_SCHEMA_STRING};
const sp_schema sp_schema_strings = {.type = SP_SCHEMA_ARRAY, .items = STRING};
const sp_schema sp_schema_string_map = {.type = SP_SCHEMA_OBJECT, .items = STRING};
const sp_schema sp_schema_int32 = {.type = SP_SCHEMA_INTEGER, .format = SP_FORMAT_INT32};
const sp_schema sp_schema_int64 = {.type = SP_SCHEMA_INTEGER, .format = SP_FORMAT_INT64};
const sp_schema sp_schema_double = {.type = SP_SCHEMA_NUMBER, .format = SP_FORMAT_DOUBLE};
const sp_schema sp_schema_bool = {.type = SP_SCHEMA_BOOLEAN};
const sp_schema sp_schema_bytes = {.type = SP_SCHEMA_STRING, .format = SP_FORMAT_BYTE};
const sp_schema sp_schema_time = {
    .type = SP_SCHEMA_STRING, .format = SP_FORMAT_DATE_TIME, .nullable = true};
const sp_schema sp_schema_micro_time = {
    .type = SP_SCHEMA_STRING, .format = SP_FORMAT_MICRO_TIME, .nullable = true};
const sp_schema sp_schema_quantity = {.type = SP_SCHEMA_STRING, .format = SP_FORMAT_QUANTITY};
const sp_schema sp_schema_int_or_string = {.type = SP_SCHEMA_ANY,
                                           .format = SP_FORMAT_INT_OR_STRING};
const sp_schema sp_schema_duration = {.type = SP_SCHEMA_STRING, .format = SP_FORMAT_DURATION};
const sp_schema sp_schema_raw = {
    .type = SP_SCHEMA_OBJECT, .format = SP_FORMAT_RAW, .preserve_unknown = true};
const sp_schema sp_schema_raw_value = {
    .type = SP_SCHEMA_ANY, .format = SP_FORMAT_RAW, .preserve_unknown = true};

FIELDS(owner_reference) = {
    {"apiVersion", 5, STRING, NULL, REQUIRED}, {"kind", 1, STRING, NULL, REQUIRED},
    {"name", 3, STRING, NULL, REQUIRED},       {"uid", 4, STRING, NULL, REQUIRED},
    {"controller", 6, BOOL, NULL, POINTER},    {"blockOwnerDeletion", 7, BOOL, NULL, POINTER},
};
TYPE(owner_reference, "OwnerReference", NULL);

FIELDS(managed_fields_entry) = {
    {"manager", 1, STRING},     {"operation", 2, STRING},
    {"apiVersion", 3, STRING},  {"time", 4, TIME, NULL, POINTER},
    {"fieldsType", 6, STRING},  {"fieldsV1", 7, RAW, NULL, POINTER},
    {"subresource", 8, STRING},
};
TYPE(managed_fields_entry, "ManagedFieldsEntry", NULL);

FIELDS(object_meta) = {
    {"name", 1, STRING},
    {"generateName", 2, STRING},
    {"namespace", 3, STRING},
    {"selfLink", 4, STRING},
    {"uid", 5, STRING},
    {"resourceVersion", 6, STRING},
    {"generation", 7, INT64},
    {"creationTimestamp", 8, TIME},
    {"deletionTimestamp", 9, TIME, NULL, POINTER},
    {"deletionGracePeriodSeconds", 10, INT64, NULL, POINTER},
    {"labels", 11, STRING_MAP},
    {"annotations", 12, STRING_MAP},
    {"ownerReferences", 13, LIST(T(owner_reference)), NULL, MERGE("uid")},
    {"finalizers", 14, STRINGS, NULL, MERGE_SET},
    {"managedFields", 17, LIST(T(managed_fields_entry))},
};
SHARED_TYPE(object_meta, "ObjectMeta", NULL);

FIELDS(shard_info) = {
    {"selector", 1, STRING, NULL, REQUIRED},
};
TYPE(shard_info, "ShardInfo", NULL);

FIELDS(list_meta) = {
    {"selfLink", 1, STRING},
    {"resourceVersion", 2, STRING},
    {"continue", 3, STRING},
    {"remainingItemCount", 4, INT64, NULL, POINTER},
    {"shardInfo", 5, T(shard_info), NULL, POINTER},
};
SHARED_TYPE(list_meta, "ListMeta", NULL);

FIELDS(label_selector_requirement) = {
    {"key", 1, STRING, NULL, REQUIRED},
    {"operator", 2, ENUM("DoesNotExist", "Exists", "In", "NotIn"), NULL, REQUIRED},
    {"values", 3, STRINGS},
};
TYPE(label_selector_requirement, "LabelSelectorRequirement", NULL);

FIELDS(label_selector) = {
    {"matchLabels", 1, STRING_MAP},
    {"matchExpressions", 2, LIST(T(label_selector_requirement))},
};
SHARED_TYPE(label_selector, "LabelSelector", NULL);

FIELDS(preconditions) = {
    {"uid", 1, STRING, NULL, POINTER},
    {"resourceVersion", 2, STRING, NULL, POINTER},
};
TYPE(preconditions, "Preconditions", NULL);

FIELDS(delete_options) = {
    TYPE_META,
    {"gracePeriodSeconds", 1, INT64, NULL, POINTER},
    {"preconditions", 2, T(preconditions), NULL, POINTER},
    {"orphanDependents", 3, BOOL, NULL, POINTER},
    {"propagationPolicy", 4, STRING, NULL, POINTER},
    {"dryRun", 5, STRINGS},
    {"ignoreStoreReadErrorWithClusterBreakingPotential", 6, BOOL, NULL, POINTER},
};
SHARED_TYPE(delete_options, "DeleteOptions", NULL);

FIELDS(condition) = {
    {"type", 1, STRING, NULL, REQUIRED},
    {"status", 2, ENUM("True", "False", "Unknown")},
    {"observedGeneration", 3, INT64},
    {"lastTransitionTime", 4, TIME},
    {"reason", 5, STRING},
    {"message", 6, STRING},
};
SHARED_TYPE(condition, "Condition", NULL);

FIELDS(status_cause) = {
    {"reason", 1, STRING},
    {"message", 2, STRING},
    {"field", 3, STRING},
};
TYPE(status_cause, "StatusCause", NULL);

FIELDS(status_details) = {
    {"name", 1, STRING},
    {"group", 2, STRING},
    {"kind", 3, STRING},
    {"uid", 6, STRING},
    {"causes", 4, LIST(T(status_cause))},
    {"retryAfterSeconds", 5, INT32},
};
TYPE(status_details, "StatusDetails", NULL);

FIELDS(status) = {
    TYPE_META,
    {"metadata", 1, T(list_meta)},
    {"status", 2, STRING},
    {"message", 3, STRING},
    {"reason", 4, STRING},
    {"details", 5, T(status_details), NULL, POINTER},
    {"code", 6, INT32},
};
SHARED_TYPE(status, "Status", NULL);
