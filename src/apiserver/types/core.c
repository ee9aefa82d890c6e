/* The small kinds of core/v1: namespaces, configuration, identities, events. */
#include "apiserver/types/types.h"

FIELDS(namespace_spec) = {
    {"finalizers", 1, STRINGS, "Who must be done before it may go."},
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
    {"phase", 1, STRING, "Active or Terminating."},
    {"conditions", 2, LIST(T(namespace_condition)), "What was last observed, by aspect.",
     MERGE("type")},
};
TYPE(namespace_status, "NamespaceStatus", NULL);

FIELDS(namespace) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(namespace_spec), "What should be."},
    {"status", 3, T(namespace_status), "What was last observed."},
};
SHARED_TYPE(namespace, "Namespace", "A room for names: objects in different ones do not meet.");

FIELDS(config_map) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"immutable", 4, BOOL, "Data may never change.", POINTER},
    {"data", 2, STRING_MAP, "Entries as text."},
    {"binaryData", 3, MAP(BYTES), "Entries as base64."},
};
SHARED_TYPE(config_map, "ConfigMap", "Settings for pods, as entries of text or bytes.");

FIELDS(secret) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"immutable", 5, BOOL, "Data may never change.", POINTER},
    {"data", 2, MAP(BYTES), "Entries as base64."},
    {"stringData", 4, STRING_MAP, "Entries as text; only for writing."},
    {"type", 3, STRING_DEFAULT("Opaque"), "What it is for; Opaque if missing."},
};
SHARED_TYPE(secret, "Secret", "Settings that are nobody else's business, as entries of bytes.");

FIELDS(service_account) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"secrets", 2, LIST(T(object_reference)), "Secrets its pods may use.", MERGE("name")},
    {"imagePullSecrets", 3, LIST(T(local_object_reference)),
     "Credentials of registries for its pods."},
    {"automountServiceAccountToken", 4, BOOL, "Whether pods get its token.", POINTER},
};
SHARED_TYPE(service_account, "ServiceAccount", "An identity for programs in pods.");

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
    {"metadata", 1, T(object_meta), "Name, labels and other standard data.", REQUIRED},
    {"involvedObject", 2, T(object_reference), "What it is about.", REQUIRED},
    {"reason", 3, STRING, "Why, in one word."},
    {"message", 4, STRING, "What happened, for people."},
    {"source", 5, T(event_source), "Who reported it."},
    {"firstTimestamp", 6, TIME, "When it was first seen."},
    {"lastTimestamp", 7, TIME, "When it was last seen."},
    {"count", 8, INT32, "How often it was seen."},
    {"type", 9, STRING, "Normal or Warning."},
    {"eventTime", 10, MICRO_TIME, "When it was first seen, to the microsecond."},
    {"series", 11, T(event_series), NULL, POINTER},
    {"action", 12, STRING, "What was done."},
    {"related", 13, T(object_reference), "What else it is about.", POINTER},
    {"reportingComponent", 14, STRING, "Who reported it."},
    {"reportingInstance", 15, STRING, "Which instance of it."},
};
SHARED_TYPE(event, "Event", "Something that happened to an object, kept for a while.");

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
