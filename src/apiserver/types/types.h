/* How the tables of built-in kinds are written: one line per field, from leaf types to whole
 * objects.
 *
 *   FIELDS(env_var) = {
 *       {"name", 1, STRING, "Name of the variable.", REQUIRED},
 *       {"valueFrom", 3, T(env_var_source), "Where to take the value from.", POINTER},
 *   };
 *   TYPE(env_var, "EnvVar", "A variable in the environment of a container.");
 *
 * A line is an sp_field: JSON name, protobuf number, type, one sentence for `kubectl explain` (NULL
 * where nobody asks), then flags. Names, numbers and merge keys are those of the Kubernetes API
 * (its generated.proto and Go types). Everything is constant data, compiled once, shared by all
 * requests. Private to src/apiserver/types, except through registry.h. */
#pragma once
#include "apiserver/protobuf.h"
#include "apiserver/registry.h"
#include "apiserver/types/admit.h"
#include "apiserver/types/cells.h"

#define FIELDS(id) static const sp_field id##_fields[]
#define TYPE_BODY_(id, type_name, text)                                                      \
    {                                                                                        \
        .type = SP_SCHEMA_OBJECT, .name = (type_name), .doc = (text), .fields = id##_fields, \
        .field_count = SP_COUNT(id##_fields)                                                 \
    }
/* TYPE is used in its own file only, SHARED_TYPE is declared below. */
#define TYPE(id, type_name, text) \
    static const sp_schema sp_schema_##id = TYPE_BODY_(id, type_name, text)
#define SHARED_TYPE(id, type_name, text) \
    const sp_schema sp_schema_##id = TYPE_BODY_(id, type_name, text)

/* --- what may stand at a field's type --- */
#define T(id) (&sp_schema_##id)
#define SCALAR_(type_, format_, ...) \
    (&(const sp_schema){.type = (type_), .format = (format_), __VA_ARGS__})
extern const sp_schema sp_schema_any, sp_schema_any_object, sp_schema_string, sp_schema_strings,
    sp_schema_string_map, sp_schema_int32, sp_schema_int64, sp_schema_double, sp_schema_bool,
    sp_schema_bytes, sp_schema_time, sp_schema_micro_time, sp_schema_quantity,
    sp_schema_int_or_string, sp_schema_duration, sp_schema_raw, sp_schema_raw_value;
#define ANY T(any)
#define ANY_OBJECT T(any_object) /* whatever is in it is kept */
#define STRING T(string)
#define STRINGS T(strings)
#define STRING_MAP T(string_map)
#define INT32 T(int32)
#define INT64 T(int64)
#define DOUBLE T(double)
#define BOOL T(bool)
#define BYTES T(bytes)
#define TIME T(time)
#define MICRO_TIME T(micro_time)
#define QUANTITY T(quantity)
#define INT_OR_STRING T(int_or_string)
#define DURATION T(duration)
#define RAW T(raw)             /* an embedded object of any kind */
#define RAW_VALUE T(raw_value) /* any JSON value at all: defaults and enumerations in CRDs */
#define LIST(of) (&(const sp_schema){.type = SP_SCHEMA_ARRAY, .items = (of)})
#define MAP(of) (&(const sp_schema){.type = SP_SCHEMA_OBJECT, .items = (of)})

/* Constant JSON nodes for enumerations and defaults. */
#define NODE_(type_, literal, next_) \
    ((sp_json *)&(const sp_json){.type = (type_), .text = SP_STR_INIT(literal), .next = (next_)})
#define E1_(v) NODE_(SP_JSON_STRING, v, NULL)
#define E2_(v, ...) NODE_(SP_JSON_STRING, v, E1_(__VA_ARGS__))
#define E3_(v, ...) NODE_(SP_JSON_STRING, v, E2_(__VA_ARGS__))
#define E4_(v, ...) NODE_(SP_JSON_STRING, v, E3_(__VA_ARGS__))
#define E5_(v, ...) NODE_(SP_JSON_STRING, v, E4_(__VA_ARGS__))
#define E6_(v, ...) NODE_(SP_JSON_STRING, v, E5_(__VA_ARGS__))
#define E7_(v, ...) NODE_(SP_JSON_STRING, v, E6_(__VA_ARGS__))
#define E8_(v, ...) NODE_(SP_JSON_STRING, v, E7_(__VA_ARGS__))
#define PICK_(a, b, c, d, e, f, g, h, chosen, ...) chosen
#define COUNT_(...) PICK_(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define VALUES_(...) PICK_(__VA_ARGS__, E8_, E7_, E6_, E5_, E4_, E3_, E2_, E1_, 0)(__VA_ARGS__)
#define ENUM_NODE_(...) \
    (&(const sp_json){  \
        .type = SP_JSON_ARRAY, .first = VALUES_(__VA_ARGS__), .count = COUNT_(__VA_ARGS__)})
#define FIRST_(v, ...) v

/* One of these words; with _DEFAULT the first is filled in where the field is missing. */
#define ENUM(...) SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .enum_values = ENUM_NODE_(__VA_ARGS__))
#define ENUM_DEFAULT(...)                                                             \
    SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .enum_values = ENUM_NODE_(__VA_ARGS__), \
            .default_value = E1_(FIRST_(__VA_ARGS__, )))
#define STRING_DEFAULT(v) SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .default_value = E1_(v))
#define INT32_DEFAULT(digits)                   \
    SCALAR_(SP_SCHEMA_INTEGER, SP_FORMAT_INT32, \
            .default_value = NODE_(SP_JSON_NUMBER, digits, NULL))
#define INT64_DEFAULT(digits)                   \
    SCALAR_(SP_SCHEMA_INTEGER, SP_FORMAT_INT64, \
            .default_value = NODE_(SP_JSON_NUMBER, digits, NULL))

/* --- flags at the end of a line --- */
#define REQUIRED .required = true
#define MERGE(key) .merge_key = (key)      /* strategic merge of the list by this key */
#define MERGE_SET .merge_primitives = true /* … of a list of scalars as a set */
#define RETAIN_KEYS .retain_keys = true    /* … dropping what the patch does not name */
#define POINTER .pointer = true            /* a zero that was sent is meant */
#define VIA(outer, inner) SP_PROTOBUF_VIA(outer, inner)

/* The first lines of every object. */
#define TYPE_META                                                              \
    {"apiVersion", 0, STRING, "Group and version of this object's format."}, { \
        "kind", 0, STRING, "What the object is."                               \
    }

/* --- types used by several files, by the file that holds them --- */
/* meta.c */
extern const sp_schema sp_schema_object_meta, sp_schema_list_meta, sp_schema_label_selector,
    sp_schema_delete_options, sp_schema_condition, sp_schema_status;
/* volume.c */
extern const sp_schema sp_schema_local_object_reference, sp_schema_object_field_selector,
    sp_schema_resource_field_selector, sp_schema_typed_local_object_reference, sp_schema_volume,
    sp_schema_volume_mount, sp_schema_volume_device;
/* container.c */
extern const sp_schema sp_schema_container_port, sp_schema_env_from_source, sp_schema_env_var,
    sp_schema_resource_requirements, sp_schema_container_resize_policy,
    sp_schema_container_restart_rule, sp_schema_probe, sp_schema_lifecycle,
    sp_schema_se_linux_options, sp_schema_windows_security_context_options,
    sp_schema_seccomp_profile, sp_schema_app_armor_profile, sp_schema_security_context,
    sp_schema_container;
/* pod_spec.c */
extern const sp_schema sp_schema_pod_spec, sp_schema_pod_template_spec;
/* pod.c */
extern const sp_schema sp_schema_pod, sp_schema_object_reference, sp_schema_binding,
    sp_schema_eviction;
/* node.c */
extern const sp_schema sp_schema_node;
/* service.c */
extern const sp_schema sp_schema_service, sp_schema_endpoints, sp_schema_endpoint_slice;
/* core.c */
extern const sp_schema sp_schema_namespace, sp_schema_config_map, sp_schema_secret,
    sp_schema_service_account, sp_schema_event;
/* apps.c */
extern const sp_schema sp_schema_deployment, sp_schema_replica_set, sp_schema_lease,
    sp_schema_scale;
/* autoscaling.c */
extern const sp_schema sp_schema_metric_spec, sp_schema_horizontal_pod_autoscaler_behavior,
    sp_schema_horizontal_pod_autoscaler;
/* networking.c */
extern const sp_schema sp_schema_ingress, sp_schema_ingress_class;
/* crd.c */
extern const sp_schema sp_schema_json_schema_props, sp_schema_custom_resource_definition;

/* certificates.c */
extern const sp_schema sp_schema_issuer, sp_schema_certificate, sp_schema_challenge;

/* policies.c */
extern const sp_schema sp_schema_backend_policy, sp_schema_traffic_policy;

/* oam.c: what a schema cannot say about an OAM kind. */
bool sp_validate_oam(sp_admit *a, sp_err *err);

/* oam.c */
extern const sp_schema sp_schema_oam_ref, sp_schema_oam_status;

/* --- rows --- */
/* Columns of text: always shown, or with -o wide. */
#define CELL_COLUMN(name_, text, cell_) \
    { .name = (name_), .type = "string", .format = "", .doc = (text), .cell = (cell_) }
#define PATH_COLUMN(name_, text, path) \
    { .name = (name_), .type = "string", .format = "", .doc = (text), .json_path = (path) }
#define WIDE_CELL(name_, text, cell_)                                                  \
    {                                                                                  \
        .name = (name_), .type = "string", .format = "", .doc = (text), .priority = 1, \
        .cell = (cell_)                                                                \
    }
#define WIDE_PATH(name_, text, path)                                                   \
    {                                                                                  \
        .name = (name_), .type = "string", .format = "", .doc = (text), .priority = 1, \
        .json_path = (path)                                                            \
    }
#define HOOKED(kind) .prepare = sp_prepare_##kind, .validate = sp_validate_##kind
#define ROW(id, ...) const sp_resource sp_row_##id = {__VA_ARGS__}
#define COLUMNS(...)                             \
    .columns = (const sp_column[]){__VA_ARGS__}, \
    .column_count = SP_COUNT(((const sp_column[]){__VA_ARGS__}))
#define NAMES(...)          \
    (const char *const[]) { \
        __VA_ARGS__, NULL   \
    }
/* Each kind is declared by the file that holds it, gathered by rows.c. */
extern const sp_resource sp_row_virtual_address; /* virtual_address.c */
extern const sp_resource sp_row_namespace, sp_row_config_map, sp_row_secret, sp_row_service_account,
    sp_row_event, sp_row_pod, sp_row_service, sp_row_endpoints, sp_row_endpoint_slice, sp_row_node,
    sp_row_deployment, sp_row_extensions_deployment, sp_row_replica_set, sp_row_lease,
    sp_row_horizontal_pod_autoscaler, sp_row_ingress, sp_row_ingress_class,
    sp_row_custom_resource_definition, sp_row_gateway_class, sp_row_gateway, sp_row_http_route,
    sp_row_gateway_class_v1beta1, sp_row_gateway_v1beta1, sp_row_http_route_v1beta1,
    sp_row_grpc_route, sp_row_tls_route, sp_row_tls_route_v1alpha3, sp_row_tls_route_v1alpha2,
    sp_row_tcp_route, sp_row_tcp_route_v1alpha2, sp_row_reference_grant,
    sp_row_reference_grant_v1beta1, sp_row_backend_tls_policy, sp_row_backend_tls_policy_v1alpha3,
    sp_row_oam_config, sp_row_oam_config_v1alpha1, sp_row_oam_component,
    sp_row_oam_component_v1alpha1, sp_row_oam_workload_definition,
    sp_row_oam_workload_definition_v1alpha1, sp_row_oam_trait_definition,
    sp_row_oam_trait_definition_v1alpha1, sp_row_oam_scope_definition,
    sp_row_oam_scope_definition_v1alpha1, sp_row_containerized_workload_v1alpha2,
    sp_row_containerized_workload_v1alpha1, sp_row_manual_scaler_v1alpha2,
    sp_row_manual_scaler_v1alpha1, sp_row_auto_scaler_v1alpha2, sp_row_auto_scaler_v1alpha1,
    sp_row_health_scope_v1alpha2, sp_row_health_scope_v1alpha1, sp_row_security_policy,
    sp_row_security_policy_alibaba, sp_row_security_policy_aliaba, sp_row_cron_hpa,
    sp_row_cron_hpa_alibaba, sp_row_cron_hpa_aliaba;
/* policies.c */
extern const sp_resource sp_row_backend_policy, sp_row_traffic_policy;
/* certificates.c */
extern const sp_resource sp_row_cluster_issuer, sp_row_issuer, sp_row_certificate, sp_row_challenge;
