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
const sp_schema sp_schema_quantity = {.type = SP_SCHEMA_STRING,
                                      .format = SP_FORMAT_QUANTITY,
                                      .name = "Quantity",
                                      .doc = "An amount with a unit, as 500m, 2, 64Mi or 1.5Gi."};
const sp_schema sp_schema_int_or_string = {.type = SP_SCHEMA_ANY,
                                           .format = SP_FORMAT_INT_OR_STRING,
                                           .name = "IntOrString",
                                           .doc = "A number, or a name or percentage as text."};
const sp_schema sp_schema_duration = {.type = SP_SCHEMA_STRING, .format = SP_FORMAT_DURATION};
const sp_schema sp_schema_raw = {
    .type = SP_SCHEMA_OBJECT, .format = SP_FORMAT_RAW, .preserve_unknown = true};
const sp_schema sp_schema_raw_value = {
    .type = SP_SCHEMA_ANY, .format = SP_FORMAT_RAW, .preserve_unknown = true};

FIELDS(owner_reference) = {
    {"apiVersion", 5, STRING, "Group and version of the owner.", REQUIRED},
    {"kind", 1, STRING, "Kind of the owner.", REQUIRED},
    {"name", 3, STRING, "Name of the owner.", REQUIRED},
    {"uid", 4, STRING, "UID of the owner; another object of the same name is not meant.", REQUIRED},
    {"controller", 6, BOOL, "The owner manages this object; at most one owner does.", POINTER},
    {"blockOwnerDeletion", 7, BOOL,
     "The owner waits for this object when it is deleted in the foreground.", POINTER},
};
TYPE(owner_reference, "OwnerReference", "Names an object that this one belongs to.");

FIELDS(managed_fields_entry) = {
    {"manager", 1, STRING, "Who set the fields."},
    {"operation", 2, STRING, "How: Apply or Update."},
    {"apiVersion", 3, STRING},
    {"time", 4, TIME, "When.", POINTER},
    {"fieldsType", 6, STRING},
    {"fieldsV1", 7, RAW, "Which fields.", POINTER},
    {"subresource", 8, STRING},
};
TYPE(managed_fields_entry, "ManagedFieldsEntry", NULL);

FIELDS(object_meta) = {
    {"name", 1, STRING, "Name, unique among objects of the kind in the namespace; never changes."},
    {"generateName", 2, STRING,
     "Beginning of a name that the server completes with five characters."},
    {"namespace", 3, STRING,
     "Namespace the object lives in; empty for kinds of the whole cluster."},
    {"selfLink", 4, STRING, "No longer filled in."},
    {"uid", 5, STRING, "Identity given by the server, different for every object there ever was."},
    {"resourceVersion", 6, STRING,
     "Changes with every write; send it back to write only what you have read."},
    {"generation", 7, INT64, "Counts changes of what is wanted."},
    {"creationTimestamp", 8, TIME, "When the object was created."},
    {"deletionTimestamp", 9, TIME,
     "When deletion was asked for; the object goes once its finalizers are done.", POINTER},
    {"deletionGracePeriodSeconds", 10, INT64, "Seconds the object may take to end.", POINTER},
    {"labels", 11, STRING_MAP, "Short key=value pairs by which objects are selected."},
    {"annotations", 12, STRING_MAP, "Key=value pairs for tools; not for selection."},
    {"ownerReferences", 13, LIST(T(owner_reference)),
     "Objects this one belongs to; when all are gone it is deleted too.", MERGE("uid")},
    {"finalizers", 14, STRINGS, "Names of work to be done before the object may go.", MERGE_SET},
    {"managedFields", 17, LIST(T(managed_fields_entry)), "Who manages which field."},
};
SHARED_TYPE(object_meta, "ObjectMeta", "Standard data that every object carries.");

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
    {"key", 1, STRING, "Label the rule is about.", REQUIRED},
    {"operator", 2, ENUM("DoesNotExist", "Exists", "In", "NotIn"),
     "How the label is compared with the values.", REQUIRED},
    {"values", 3, STRINGS, "Values for In and NotIn; empty for the others."},
};
TYPE(label_selector_requirement, "LabelSelectorRequirement", "One rule about one label.");

FIELDS(label_selector) = {
    {"matchLabels", 1, STRING_MAP, "Labels an object must have, all of them."},
    {"matchExpressions", 2, LIST(T(label_selector_requirement)),
     "Rules an object must meet, all of them."},
};
SHARED_TYPE(label_selector, "LabelSelector",
            "Selects objects by their labels; all rules must be met, none selects everything.");

FIELDS(preconditions) = {
    {"uid", 1, STRING, NULL, POINTER},
    {"resourceVersion", 2, STRING, NULL, POINTER},
};
TYPE(preconditions, "Preconditions", NULL);

FIELDS(delete_options) = {
    TYPE_META,
    {"gracePeriodSeconds", 1, INT64, "Seconds the object may take to end; 0 = at once.", POINTER},
    {"preconditions", 2, T(preconditions), "What must still be true of the object.", POINTER},
    {"orphanDependents", 3, BOOL, NULL, POINTER},
    {"propagationPolicy", 4, STRING,
     "What becomes of dependents: Orphan, Background or Foreground.", POINTER},
    {"dryRun", 5, STRINGS, "All = check everything, delete nothing."},
    {"ignoreStoreReadErrorWithClusterBreakingPotential", 6, BOOL, NULL, POINTER},
};
SHARED_TYPE(delete_options, "DeleteOptions", "How an object is to be deleted.");

FIELDS(condition) = {
    {"type", 1, STRING, "Aspect of the object, in CamelCase.", REQUIRED},
    {"status", 2, ENUM("True", "False", "Unknown"), "True, False or Unknown."},
    {"observedGeneration", 3, INT64, "The generation this is about."},
    {"lastTransitionTime", 4, TIME, "When the status last changed."},
    {"reason", 5, STRING, "One word for programs."},
    {"message", 6, STRING, "A sentence for people."},
};
SHARED_TYPE(condition, "Condition", "One aspect of what was last observed.");

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
    {"metadata", 1, T(list_meta), "Name, labels and other standard data."},
    {"status", 2, STRING, "What was last observed."},
    {"message", 3, STRING},
    {"reason", 4, STRING},
    {"details", 5, T(status_details), NULL, POINTER},
    {"code", 6, INT32},
};
SHARED_TYPE(status, "Status", "Outcome of a request that returns no object.");
