/* One description of a type, used for built-in kinds (static tables) and for CRDs (built from their
 * structural schema): validate, default, prune, find unknown fields, strategic merge, protobuf
 * field numbers, OpenAPI and `kubectl explain`. Immutable once built; any thread may read. */
#pragma once
#include "base/vec.h"
#include "data/cause.h"
#include "data/json.h"

typedef struct sp_schema sp_schema;

typedef enum sp_schema_type {
    SP_SCHEMA_ANY, /* no type given: anything goes */
    SP_SCHEMA_STRING,
    SP_SCHEMA_INTEGER,
    SP_SCHEMA_NUMBER,
    SP_SCHEMA_BOOLEAN,
    SP_SCHEMA_ARRAY,
    SP_SCHEMA_OBJECT
} sp_schema_type;

typedef enum sp_schema_format { /* formats with a wire form or check of their own */
                                SP_FORMAT_NONE,
                                SP_FORMAT_INT32,
                                SP_FORMAT_INT64,
                                SP_FORMAT_DOUBLE,
                                SP_FORMAT_BYTE,      /* base64 string; protobuf bytes */
                                SP_FORMAT_DATE_TIME, /* metav1.Time; protobuf message {seconds 1,
                                                        nanos 2} */
                                SP_FORMAT_MICRO_TIME,
                                SP_FORMAT_QUANTITY, /* string (number accepted); protobuf message
                                                       {string 1} */
                                SP_FORMAT_INT_OR_STRING, /* protobuf message {type 1, intVal 2,
                                                            strVal 3} */
                                SP_FORMAT_DURATION,      /* metav1.Duration; protobuf message {int64
                                                            nanoseconds 1} */
                                SP_FORMAT_RAW /* embedded object; protobuf RawExtension {bytes 1} */
} sp_schema_format;

typedef struct sp_field {
    const char *name;
    uint32_t number; /* protobuf field number, 0 = none */
    const sp_schema *schema;
    const char *doc; /* one or two sentences for `kubectl explain`, may be NULL */
    bool required;
    const char *merge_key; /* strategic merge of lists by this key; NULL = replace the list */
    bool merge_primitives; /* strategic merge of a list of scalars as a set */
    bool pointer;          /* protobuf: written only when set, so a zero is a value */
    bool retain_keys;      /* strategic merge by clients drops members the patch does not name */
} sp_field;

struct sp_schema {
    sp_schema_type type;
    sp_schema_format format;
    const char *name; /* of a named type ("PodSpec"), NULL for anonymous ones */
    const char *doc;
    const sp_field *fields; /* OBJECT: known fields */
    size_t field_count;
    const sp_schema *items;     /* ARRAY; also the values of a map when type is OBJECT */
    const sp_json *enum_values; /* ARRAY node or NULL */
    const sp_json *default_value;
    const char *pattern; /* PCRE2, matched under limits */
    bool nullable;
    bool preserve_unknown; /* x-kubernetes-preserve-unknown-fields */
    bool embedded_resource;
    bool has_minimum, has_maximum, exclusive_minimum, exclusive_maximum;
    double minimum, maximum;
    int64_t min_length, max_length; /* strings, items or properties by type; max 0 = none */
    bool unique_items;
    const struct sp_schema_logic *logic; /* allOf, anyOf, oneOf, not; NULL = none */
    const struct sp_regex *regex;        /* pattern, compiled; NULL = compiled at each use */
    const char *format_name;             /* a format as its author wrote it: "ipv4", "uuid" … */
    double multiple_of;                  /* 0 = none */
    bool must_be_empty;                  /* a maximum length of 0 */
    bool is_set;                         /* x-kubernetes-list-type: no item twice */
    const char *const *map_keys; /* x-kubernetes-list-type map: fields that make an item unique */
    size_t map_key_count;
};

/* Value checks besides the structure; they know no fields that the structure does not know. */
struct sp_schema_logic {
    const sp_schema *const *all_of, *const *any_of, *const *one_of;
    size_t all_count, any_count, one_count;
    const sp_schema *not_; /* NULL = none */
};

/* The schema of a field that is required without being declared: nothing is known about it, so it
 * is pruned like any unknown field. */
extern const sp_schema sp_schema_undeclared;

const sp_field *sp_schema_field(const sp_schema *s, sp_str name); /* NULL if unknown */

/* Builds from the OpenAPI v3 schema of a CRD version. Refuses what is not structural, naming path
 * and rule. Everything lives in the arena. */
SP_MUST_USE bool sp_schema_from_json(sp_arena *a, const sp_json *openapi, const sp_schema **ret,
                                     sp_err *err);
/* One entry for each part of the schema that is accepted but not enforced (CEL rules), for
 * warnings. */
void sp_schema_unenforced(const sp_json *openapi, sp_str at, sp_causes *ret);
/* The reverse, for /openapi/v3: appends the OpenAPI v3 form. Named types become $ref when
 * ref_prefix is not NULL (the caller lists them). */
void sp_schema_to_openapi(sp_buf *b, const sp_schema *s, const char *ref_prefix);

/* Appends one cause for each thing wrong; true when none was added. `at` is the path so far. A null
 * in a field with a protobuf number (a built-in kind) means that the field is not set; elsewhere
 * null needs nullable. At most 100 causes are added. */
bool sp_schema_validate(const sp_schema *s, const sp_json *j, sp_str at, sp_causes *causes);
/* Fills in defaults, top down; a null that is not allowed counts as missing. */
void sp_schema_default(sp_arena *a, const sp_schema *s, sp_json *j);
/* Removes fields the schema does not know, and nulls that mean "not set" (see validate). When
 * unknown is not NULL it gets one cause for each field removed because it is not known (reason
 * "FieldValueInvalid", message: unknown field "…"). */
void sp_schema_prune(const sp_schema *s, sp_json *j, sp_str at, sp_causes *unknown);
