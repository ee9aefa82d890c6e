/* The small kinds of core/v1: namespaces, configuration, identities, events. */
#include "apiserver/types/types.h"

FIELDS(namespace_spec) = {
    {"finalizers", 1, STRINGS},
};
TYPE(namespace_spec, "NamespaceSpec", NULL);

FIELDS(namespace_condition) = {
    {"type", 1, STRING, NULL, REQUIRED},
    {"status", 2, STRING},
    {"lastTransitionTime", 4, TIME},
    {"reason", 5, STRING},
    {"message", 6, STRING},
};
TYPE(namespace_condition, "NamespaceCondition", NULL);

FIELDS(namespace_status) = {
    {"phase", 1, STRING},
    {"conditions", 2, LIST(T(namespace_condition)), NULL, MERGE("type")},
};
TYPE(namespace_status, "NamespaceStatus", NULL);

FIELDS(namespace) = {
    TYPE_META,
    {"metadata", 1, T(object_meta)},
    {"spec", 2, T(namespace_spec)},
    {"status", 3, T(namespace_status)},
};
SHARED_TYPE(namespace, "Namespace", NULL);

FIELDS(config_map) = {
    TYPE_META,
    {"metadata", 1, T(object_meta)},
    {"immutable", 4, BOOL, NULL, POINTER},
    {"data", 2, STRING_MAP},
    {"binaryData", 3, MAP(BYTES)},
};
SHARED_TYPE(config_map, "ConfigMap", NULL);

FIELDS(secret) = {
    TYPE_META,
    {"metadata", 1, T(object_meta)},
    {"immutable", 5, BOOL, NULL, POINTER},
    {"data", 2, MAP(BYTES)},
    {"stringData", 4, STRING_MAP},
    {"type", 3, STRING_DEFAULT("Opaque")},
};
SHARED_TYPE(secret, "Secret", NULL);

FIELDS(service_account) = {
    TYPE_META,
    {"metadata", 1, T(object_meta)},
    {"secrets", 2, LIST(T(object_reference)), NULL, MERGE("name")},
    {"imagePullSecrets", 3, LIST(T(local_object_reference))},
    {"automountServiceAccountToken", 4, BOOL, NULL, POINTER},
};
SHARED_TYPE(service_account, "ServiceAccount", NULL);

FIELDS(event_source) = {
    {"component", 1, STRING},
    {"host", 2, STRING},
};
TYPE(event_source, "EventSource", NULL);

FIELDS(event_series) = {
    {"count", 1, INT32},
    {"lastObservedTime", 2, MICRO_TIME},
};
TYPE(event_series, "EventSeries", NULL);

FIELDS(event) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), NULL, REQUIRED},
    {"involvedObject", 2, T(object_reference), NULL, REQUIRED},
    {"reason", 3, STRING},
    {"message", 4, STRING},
    {"source", 5, T(event_source)},
    {"firstTimestamp", 6, TIME},
    {"lastTimestamp", 7, TIME},
    {"count", 8, INT32},
    {"type", 9, STRING},
    {"eventTime", 10, MICRO_TIME},
    {"series", 11, T(event_series), NULL, POINTER},
    {"action", 12, STRING},
    {"related", 13, T(object_reference), NULL, POINTER},
    {"reportingComponent", 14, STRING},
    {"reportingInstance", 15, STRING},
};
SHARED_TYPE(event, "Event", NULL);

ROW(namespace, HOOKED(namespace), .group = "", .version = "v1", .plural = "namespaces",
    .singular = "namespace", .kind = "Namespace", .short_names = NAMES("ns"),
    .subresources = SP_SUB_STATUS, .schema = T(namespace), .status_is_subresource = true,
    .selectable_fields = NAMES("status.phase"),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Status", "Active or Terminating.", ".status.phase"),
            SP_COLUMN_AGE));

ROW(config_map, HOOKED(config_map), .group = "", .version = "v1", .plural = "configmaps",
    .singular = "configmap", .kind = "ConfigMap", .short_names = NAMES("cm"), .namespaced = true,
    .schema = T(config_map),
    COLUMNS(SP_COLUMN_NAME, CELL_COLUMN("Data", "Number of entries.", sp_cell_data_count),
            SP_COLUMN_AGE));

ROW(secret, HOOKED(secret), .group = "", .version = "v1", .plural = "secrets", .singular = "secret",
    .kind = "Secret", .namespaced = true, .schema = T(secret), .selectable_fields = NAMES("type"),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Type", "What the secret is for.", ".type"),
            CELL_COLUMN("Data", "Number of entries.", sp_cell_data_count), SP_COLUMN_AGE));

ROW(service_account, .group = "", .version = "v1", .plural = "serviceaccounts",
    .singular = "serviceaccount", .kind = "ServiceAccount", .short_names = NAMES("sa"),
    .namespaced = true, .schema = T(service_account),
    COLUMNS(SP_COLUMN_NAME,
            CELL_COLUMN("Secrets", "Number of secrets it names.", sp_cell_secrets_count),
            SP_COLUMN_AGE));

ROW(event, .group = "", .version = "v1", .plural = "events", .singular = "event", .kind = "Event",
    .short_names = NAMES("ev"), .namespaced = true, .schema = T(event),
    .selectable_fields = NAMES("involvedObject.kind", "involvedObject.namespace",
                               "involvedObject.name", "involvedObject.uid",
                               "involvedObject.apiVersion", "involvedObject.resourceVersion",
                               "involvedObject.fieldPath", "reason", "reportingComponent", "source",
                               "type"),
    COLUMNS(CELL_COLUMN("Last Seen", "Time since it last happened.", sp_cell_event_last),
            PATH_COLUMN("Type", "Normal or Warning.", ".type"),
            PATH_COLUMN("Reason", "One word for machines.", ".reason"),
            CELL_COLUMN("Object", "What it is about.", sp_cell_event_object),
            WIDE_PATH("Subobject", "Part of the object.", ".involvedObject.fieldPath"),
            WIDE_CELL("Source", "Who reported it.", sp_cell_event_source),
            CELL_COLUMN("Message", "A sentence for people.", sp_cell_event_message),
            WIDE_CELL("First Seen", "Time since it first happened.", sp_cell_event_first),
            WIDE_CELL("Count", "How often it happened.", sp_cell_event_count),
            {"Name", "string", "name", "Name of the event.", 1, ".metadata.name", NULL}));
