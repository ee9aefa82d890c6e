/* OpenAPI v2 for clients that know no better (kubectl up to 1.26 explains, validates and builds
 * patches by it): one definition per named type and per object, in the protobuf form of gnostic's
 * openapi.v2.Document. Only what those clients read is written: types, descriptions, required
 * members, defaults and enumerations are theirs to show; patch strategies and kinds are vendor
 * extensions, whose values are YAML text (JSON is YAML). Where a structure may hold more than its
 * schema says, its members are left out, for these clients refuse what is not listed. */
#include "apiserver/openapi_types.h"

static const char ref_prefix[] = "#/definitions/";

/* Field numbers of the messages. */
enum { DOCUMENT_SWAGGER = 1, DOCUMENT_INFO = 2, DOCUMENT_PATHS = 8, DOCUMENT_DEFINITIONS = 9 };
enum { INFO_TITLE = 1, INFO_VERSION = 2 };
enum { PATHS_PATH = 2, ITEM_PATCH = 8, OPERATION_PARAMETERS = 8, OPERATION_EXTENSION = 13 };
/* The oneofs around a query parameter, from the outside in, and its own members. */
enum { PARAMETERS_PARAMETER = 1, PARAMETER_NON_BODY = 2, NON_BODY_QUERY = 3 };
enum { QUERY_IN = 2, QUERY_NAME = 4, QUERY_TYPE = 6 };
enum { NAMED_NAME = 1, NAMED_VALUE = 2, ANY_YAML = 2, WRAPPED = 1 };
enum {
    SCHEMA_REF = 1,
    SCHEMA_FORMAT = 2,
    SCHEMA_DESCRIPTION = 4,
    SCHEMA_DEFAULT = 5,
    SCHEMA_REQUIRED = 19,
    SCHEMA_ENUM = 20,
    SCHEMA_ADDITIONAL = 21,
    SCHEMA_TYPE = 22,
    SCHEMA_ITEMS = 23,
    SCHEMA_PROPERTIES = 25,
    SCHEMA_EXTENSION = 31
};

/* --- the wire --- */

static void put_varint(sp_buf *b, uint64_t v) {
    for (; v > 0x7f; v >>= 7) sp_buf_addc(b, (char)(v | 0x80));
    sp_buf_addc(b, (char)v);
}

static void put(sp_buf *b, unsigned field, sp_str bytes) {
    enum { WIRE_BYTES = 2 };
    put_varint(b, field << 3 | WIRE_BYTES);
    put_varint(b, bytes.n);
    sp_buf_add(b, bytes);
}

static void put_z(sp_buf *b, unsigned field, const char *text) {
    if (text) put(b, field, sp_str_z(text));
}

/* An Any{yaml}. */
static void put_any(sp_buf *b, unsigned field, sp_str yaml) {
    sp_auto(sp_buf) any = {0};
    put(&any, ANY_YAML, yaml);
    put(b, field, sp_buf_str(&any));
}

static void put_node(sp_buf *b, unsigned field, const sp_json *node) {
    sp_auto(sp_buf) text = {0};
    if (!node) return;
    sp_json_write(&text, node);
    put_any(b, field, sp_buf_str(&text));
}

static void put_extension_at(sp_buf *b, unsigned field, const char *name, sp_str yaml) {
    sp_auto(sp_buf) named = {0};
    put_z(&named, NAMED_NAME, name);
    put_any(&named, NAMED_VALUE, yaml);
    put(b, field, sp_buf_str(&named));
}

static void put_extension(sp_buf *b, const char *name, sp_str yaml) {
    put_extension_at(b, SCHEMA_EXTENSION, name, yaml);
}

static void put_named(sp_buf *b, sp_str name, const sp_buf *value) {
    sp_auto(sp_buf) named = {0};
    put(&named, NAMED_NAME, name);
    put(&named, NAMED_VALUE, sp_buf_str(value));
    put(b, WRAPPED, sp_buf_str(&named));
}

/* --- schemas --- */

static void put_schema(sp_buf *b, const sp_schema *s, const sp_field *f, bool definition);

static void put_strategy(sp_buf *b, const sp_field *f) {
    bool merged = f && (f->merge_key || f->merge_primitives);
    if (f && f->merge_key) {
        put_extension(b, "x-kubernetes-patch-merge-key", sp_str_z(f->merge_key));
    }
    if (merged || (f && f->retain_keys)) {
        const char *both = merged ? "merge,retainKeys" : "retainKeys";
        put_extension(b, "x-kubernetes-patch-strategy", sp_str_z(f->retain_keys ? both : "merge"));
    }
}

/* A type of our own, or "" for anything. Quantities and numbers-or-names are strings here: these
 * clients take numbers for strings. */
static const char *type_of(const sp_schema *s) {
    static const char *const types[] = {[SP_SCHEMA_ANY] = "",
                                        [SP_SCHEMA_STRING] = "string",
                                        [SP_SCHEMA_INTEGER] = "integer",
                                        [SP_SCHEMA_NUMBER] = "number",
                                        [SP_SCHEMA_BOOLEAN] = "boolean",
                                        [SP_SCHEMA_ARRAY] = "array",
                                        [SP_SCHEMA_OBJECT] = "object"};
    return s->format == SP_FORMAT_INT_OR_STRING ? "string" : types[s->type];
}

static const char *format_of(const sp_schema *s) {
    switch (s->format) {
    case SP_FORMAT_INT32: return "int32";
    case SP_FORMAT_INT64: return "int64";
    case SP_FORMAT_DOUBLE: return "double";
    case SP_FORMAT_BYTE: return "byte";
    case SP_FORMAT_DATE_TIME:
    case SP_FORMAT_MICRO_TIME: return "date-time";
    case SP_FORMAT_INT_OR_STRING: return "int-or-string";
    case SP_FORMAT_NONE:
    case SP_FORMAT_QUANTITY:
    case SP_FORMAT_DURATION:
    case SP_FORMAT_RAW: break;
    }
    return NULL;
}

static void put_type(sp_buf *b, const char *type) {
    sp_auto(sp_buf) wrapped = {0};
    if (!*type) return;
    put_z(&wrapped, WRAPPED, type);
    put(b, SCHEMA_TYPE, sp_buf_str(&wrapped));
}

static void put_inner(sp_buf *b, unsigned field, const sp_schema *s) {
    sp_auto(sp_buf) inner = {0};
    sp_auto(sp_buf) wrapped = {0};
    put_schema(&inner, s, NULL, false);
    put(&wrapped, WRAPPED, sp_buf_str(&inner));
    put(b, field, sp_buf_str(&wrapped));
}

static void put_members(sp_buf *b, const sp_schema *s) {
    sp_auto(sp_buf) properties = {0};
    for (size_t i = 0; i < s->field_count; i++) {
        if (s->fields[i].required) put_z(b, SCHEMA_REQUIRED, s->fields[i].name);
    }
    for (size_t i = 0; i < s->field_count; i++) {
        sp_auto(sp_buf) member = {0};
        put_schema(&member, s->fields[i].schema, &s->fields[i], false);
        put_named(&properties, sp_str_z(s->fields[i].name), &member);
    }
    put(b, SCHEMA_PROPERTIES, sp_buf_str(&properties));
}

static void put_body(sp_buf *b, const sp_schema *s) {
    put_z(b, SCHEMA_FORMAT, format_of(s));
    put_node(b, SCHEMA_DEFAULT, s->default_value);
    sp_json_each(s->enum_values, it) put_node(b, SCHEMA_ENUM, it);
    if (s->type == SP_SCHEMA_OBJECT && s->items) put_inner(b, SCHEMA_ADDITIONAL, s->items);
    put_type(b, type_of(s));
    if (s->type == SP_SCHEMA_ARRAY && s->items) put_inner(b, SCHEMA_ITEMS, s->items);
    if (s->type == SP_SCHEMA_OBJECT && s->field_count && !s->preserve_unknown) put_members(b, s);
}

/* definition: the place where a named type is spelled out; everywhere else it is referred to. */
static void put_schema(sp_buf *b, const sp_schema *s, const sp_field *f, bool definition) {
    if (s->name && !definition) {
        sp_auto(sp_buf) ref = {0};
        sp_buf_addz(&ref, ref_prefix);
        sp_buf_addz(&ref, s->name);
        put(b, SCHEMA_REF, sp_buf_str(&ref));
        if (f) put_z(b, SCHEMA_DESCRIPTION, f->doc);
    } else {
        put_z(b, SCHEMA_DESCRIPTION, f && f->doc ? f->doc : s->doc);
        put_body(b, s);
    }
    put_strategy(b, f);
}

/* --- the document --- */

/* The kinds whose objects have this schema, as a YAML list; empty for types that are no objects. */
static void kinds_of(sp_buf *b, sp_discovery_rows rows, const sp_schema *s) {
    for (size_t i = 0; i < rows.n; i++) {
        if (rows.p[i]->schema != s) continue;
        sp_buf_addc(b, b->n ? ',' : '[');
        sp_types_gvk(b, rows.p[i]);
    }
    if (b->n) sp_buf_addc(b, ']');
}

static void put_definition(sp_buf *b, sp_discovery_rows rows, sp_str name, const sp_schema *s) {
    sp_auto(sp_buf) schema = {0};
    sp_auto(sp_buf) kinds = {0};
    put_schema(&schema, s, NULL, true);
    kinds_of(&kinds, rows, s);
    if (kinds.n) {
        put_extension(&schema, "x-kubernetes-group-version-kind", sp_buf_str(&kinds));
    }
    put_named(b, name, &schema);
}

/* --- paths: only what tells kubectl up to 1.26 that a kind may be applied as a dry run --- */

/* *b becomes a message that holds what was in it as the given field. */
static void wrap(sp_buf *b, unsigned field) {
    sp_auto(sp_buf) outer = {0};
    put(&outer, field, sp_buf_str(b));
    sp_buf_clear(b);
    sp_buf_add(b, sp_buf_str(&outer));
}

static void put_path(sp_buf *paths, const sp_resource *r) {
    sp_auto(sp_buf) parameter = {0};
    sp_auto(sp_buf) item = {0};
    sp_auto(sp_buf) named = {0};
    sp_auto(sp_buf) kind = {0};
    sp_auto(sp_buf) url = {0};
    put_z(&parameter, QUERY_IN, "query");
    put_z(&parameter, QUERY_NAME, "dryRun");
    put_z(&parameter, QUERY_TYPE, "string");
    wrap(&parameter, NON_BODY_QUERY);
    wrap(&parameter, PARAMETER_NON_BODY);
    wrap(&parameter, PARAMETERS_PARAMETER);
    put(&item, OPERATION_PARAMETERS, sp_buf_str(&parameter));
    sp_types_gvk(&kind, r);
    put_extension_at(&item, OPERATION_EXTENSION, "x-kubernetes-group-version-kind",
                     sp_buf_str(&kind));
    wrap(&item, ITEM_PATCH);
    sp_buf_printf(&url, "%s%s/%s%s/%s/{name}", r->group[0] ? "/apis/" : "/api", r->group,
                  r->version, r->namespaced ? "/namespaces/{namespace}" : "", r->plural);
    put(&named, NAMED_NAME, sp_buf_str(&url));
    put(&named, NAMED_VALUE, sp_buf_str(&item));
    put(paths, PATHS_PATH, sp_buf_str(&named));
}

void sp_openapi_v2_write(sp_buf *b, sp_discovery_rows rows) {
    sp_auto(sp_types) types = {0};
    sp_auto(sp_buf) info = {0};
    sp_auto(sp_buf) definitions = {0};
    for (size_t i = 0; i < rows.n; i++) sp_types_collect(&types, rows.p[i]->schema);
    sp_vec_each(&types.named, it) put_definition(&definitions, rows, sp_str_z((*it)->name), *it);
    for (size_t i = 0; i < rows.n; i++) {
        const sp_schema *s = rows.p[i]->schema;
        sp_auto(sp_buf) name = {0};
        if (!s || s->name) continue;
        sp_types_object_name(&name, rows.p[i]);
        put_definition(&definitions, rows, sp_buf_str(&name), s);
    }
    put_z(b, DOCUMENT_SWAGGER, "2.0");
    put_z(&info, INFO_TITLE, "Sampan");
    put_z(&info, INFO_VERSION, SP_VERSION);
    put(b, DOCUMENT_INFO, sp_buf_str(&info));
    sp_auto(sp_buf) paths = {0};
    for (size_t i = 0; i < rows.n; i++) put_path(&paths, rows.p[i]);
    put(b, DOCUMENT_PATHS, sp_buf_str(&paths));
    put(b, DOCUMENT_DEFINITIONS, sp_buf_str(&definitions));
}
