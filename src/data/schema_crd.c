/* From the OpenAPI v3 schema of a CustomResourceDefinition to sp_schema, checking on the way that
 * it is structural: every node says its type, what allOf and its kin hold are value checks only,
 * about fields that the structure itself declares, and nothing is referenced from elsewhere.
 *
 * A table of keywords drives the reading of each node: which function takes the keyword, and
 * whether it may stand inside allOf, anyOf, oneOf and not ("junctors"). */
#include "data/schema.h"

#include "data/regex.h"
#include "data/schema_format.h"
#include "data/schema_path.h"

#include <math.h>

typedef struct builder {
    sp_arena *a;
    sp_buf path;
    sp_err *err;
} builder;

typedef enum place { STRUCTURE, IN_JUNCTOR } place;

static bool refuse(builder *b, const char *rule) {
    return sp_fail_field(b->err, SP_INVALID, sp_buf_z(&b->path), "%s: %s", sp_buf_z(&b->path),
                         rule);
}

static bool build(builder *b, const sp_json *j, place where, sp_schema **ret);

static bool build_at(builder *b, size_t before, const sp_json *j, place where, sp_schema **ret) {
    bool ok = build(b, j, where, ret);
    if (ok) sp_path_cut(&b->path, before);
    return ok;
}

/* ---------- keywords ---------- */

static bool take_type(builder *b, const sp_json *v, place where, sp_schema *s) {
    static const char *const names[] = {
        [SP_SCHEMA_STRING] = "string", [SP_SCHEMA_INTEGER] = "integer",
        [SP_SCHEMA_NUMBER] = "number", [SP_SCHEMA_BOOLEAN] = "boolean",
        [SP_SCHEMA_ARRAY] = "array",   [SP_SCHEMA_OBJECT] = "object"};
    (void)where;
    for (size_t i = SP_SCHEMA_STRING; i < SP_COUNT(names); i++)
        if (sp_str_eqz(sp_json_str(v), names[i])) {
            s->type = (sp_schema_type)i;
            return true;
        }
    return refuse(b, "must be array, boolean, integer, number, object or string");
}

static bool take_text(builder *b, const sp_json *v, const char **ret) {
    if (v->type != SP_JSON_STRING) return refuse(b, "must be a string");
    *ret = sp_arena_strz(b->a, v->text);
    return true;
}

static bool take_flag(builder *b, const sp_json *v, bool *ret) {
    if (v->type != SP_JSON_BOOL) return refuse(b, "must be true or false");
    *ret = v->boolean;
    return true;
}

static bool take_number(builder *b, const sp_json *v, double *ret) {
    if (v->type != SP_JSON_NUMBER) return refuse(b, "must be a number");
    *ret = sp_json_double(v, 0);
    return isfinite(*ret) || refuse(b, "the number is out of range");
}

static bool take_length(builder *b, const sp_json *v, int64_t *ret) {
    *ret = sp_json_int(v, -1);
    return *ret >= 0 || refuse(b, "must be a whole number, 0 or more");
}

static bool take_max_length(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    if (!take_length(b, v, &s->max_length)) return false;
    s->must_be_empty = s->max_length == 0;
    return true;
}

#define TAKE(name, call)                                                        \
    static bool name(builder *b, const sp_json *v, place where, sp_schema *s) { \
        (void)where;                                                            \
        return call;                                                            \
    }
TAKE(take_doc, take_text(b, v, &s->doc))
TAKE(take_nullable, take_flag(b, v, &s->nullable))
TAKE(take_unique,
     take_flag(b, v, &s->unique_items) &&
         (!s->unique_items || refuse(b, "must not be true; use x-kubernetes-list-type: set")))
TAKE(take_preserve, take_flag(b, v, &s->preserve_unknown))
TAKE(take_embedded, take_flag(b, v, &s->embedded_resource))
TAKE(take_minimum, (s->has_minimum = take_number(b, v, &s->minimum)))
TAKE(take_maximum, (s->has_maximum = take_number(b, v, &s->maximum)))
TAKE(take_exclusive_minimum, take_flag(b, v, &s->exclusive_minimum))
TAKE(take_exclusive_maximum, take_flag(b, v, &s->exclusive_maximum))
TAKE(take_min_length, take_length(b, v, &s->min_length))
TAKE(take_forbidden, refuse(b, "is not allowed in a structural schema"))

static bool take_multiple(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    if (!take_number(b, v, &s->multiple_of)) return false;
    return s->multiple_of > 0 || refuse(b, "must be greater than 0");
}

static bool take_pattern(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    sp_err why = {0};
    if (!take_text(b, v, &s->pattern)) return false;
    if (sp_regex_compile(b->a, sp_str_z(s->pattern), &s->regex, &why)) return true;
    return refuse(b, why.text);
}

static bool take_format(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    if (!take_text(b, v, &s->format_name)) return false;
    static const sp_schema_format known[] = {SP_FORMAT_INT32, SP_FORMAT_INT64, SP_FORMAT_DOUBLE,
                                             SP_FORMAT_BYTE, SP_FORMAT_DATE_TIME};
    sp_schema_format f = sp_schema_format_from_name(v->text);
    for (size_t i = 0; i < SP_COUNT(known); i++)
        if (f == known[i]) s->format = f;
    return true;
}

static bool take_enum(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    if (v->type != SP_JSON_ARRAY || !v->count) return refuse(b, "must be a list of values");
    s->enum_values = sp_json_clone(b->a, v);
    return true;
}

static bool take_default(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    s->default_value = sp_json_clone(b->a, v);
    return true;
}

static bool take_int_or_string(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    bool set = false;
    if (!take_flag(b, v, &set)) return false;
    if (set) s->format = SP_FORMAT_INT_OR_STRING;
    return true;
}

static bool take_items(builder *b, const sp_json *v, place where, sp_schema *s) {
    sp_schema *items;
    if (v->type != SP_JSON_OBJECT) return refuse(b, "must be one schema, not a list of them");
    if (!build(b, v, where, &items)) return false;
    s->items = items;
    return true;
}

static bool take_additional(builder *b, const sp_json *v, place where, sp_schema *s) {
    sp_schema *values;
    if (v->type == SP_JSON_BOOL && v->boolean) {
        s->preserve_unknown = true;
        return true;
    }
    if (v->type == SP_JSON_BOOL)
        return refuse(b, "must not be false: unknown fields are pruned anyway");
    if (!build(b, v, where, &values)) return false;
    s->items = values;
    return true;
}

static bool take_properties(builder *b, const sp_json *v, place where, sp_schema *s) {
    if (v->type != SP_JSON_OBJECT) return refuse(b, "must be an object");
    sp_field *fields = sp_arena_alloc(b->a, (v->count + 1) * sizeof *fields);
    size_t n = 0;
    sp_json_each(v, p) {
        sp_schema *inner;
        size_t before = sp_path_key(&b->path, p->key);
        if (memchr(p->key.p, 0, p->key.n)) return refuse(b, "a field name must not hold NUL");
        if (!build_at(b, before, p, where, &inner)) return false;
        fields[n++] = (sp_field){.name = sp_arena_strz(b->a, p->key), .schema = inner};
    }
    s->fields = fields;
    s->field_count = n;
    return true;
}

/* Runs after `properties`. A name that is not declared there gets a field that takes anything. */
static bool take_required(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    if (v->type != SP_JSON_ARRAY) return refuse(b, "must be a list of field names");
    sp_field *fields = sp_arena_alloc(b->a, (s->field_count + v->count) * sizeof *fields);
    if (s->field_count) memcpy(fields, s->fields, s->field_count * sizeof *fields);
    s->fields = fields;
    sp_json_each(v, name) {
        if (name->type != SP_JSON_STRING || memchr(name->text.p, 0, name->text.n))
            return refuse(b, "must be a list of field names");
        sp_field *f = (sp_field *)(uintptr_t)sp_schema_field(s, name->text);
        if (!f) {
            f = &fields[s->field_count++];
            *f = (sp_field){.name = sp_arena_strz(b->a, name->text),
                            .schema = &sp_schema_undeclared};
        }
        f->required = true;
    }
    return true;
}

static bool take_list_type(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    sp_str type = sp_json_str(v);
    s->is_set = sp_str_eqz(type, "set");
    if (s->is_set || sp_str_eqz(type, "map") || sp_str_eqz(type, "atomic")) return true;
    return refuse(b, "must be atomic, set or map");
}

static bool take_map_keys(builder *b, const sp_json *v, place where, sp_schema *s) {
    (void)where;
    if (v->type != SP_JSON_ARRAY) return refuse(b, "must be a list of field names");
    const char **keys = sp_arena_alloc(b->a, (v->count + 1) * sizeof *keys);
    sp_json_each(v, key) if (!take_text(b, key, &keys[s->map_key_count++])) return false;
    s->map_keys = keys;
    return true;
}

/* ---------- junctors ---------- */

static struct sp_schema_logic *logic_of(builder *b, sp_schema *s) {
    if (!s->logic) s->logic = SP_NEW(b->a, struct sp_schema_logic);
    return (struct sp_schema_logic *)(uintptr_t)s->logic;
}

static bool take_list_of_schemas(builder *b, const sp_json *v, const sp_schema *const **ret,
                                 size_t *ret_count) {
    if (v->type != SP_JSON_ARRAY) return refuse(b, "must be a list of schemas");
    const sp_schema **list = sp_arena_alloc(b->a, (v->count + 1) * sizeof *list);
    size_t n = 0;
    sp_json_each(v, item) {
        sp_schema *made;
        size_t before = sp_path_index(&b->path, n);
        if (!build_at(b, before, item, IN_JUNCTOR, &made)) return false;
        list[n++] = made;
    }
    *ret = list;
    *ret_count = n;
    return true;
}

TAKE(take_all_of, take_list_of_schemas(b, v, &logic_of(b, s)->all_of, &logic_of(b, s)->all_count))
TAKE(take_any_of, take_list_of_schemas(b, v, &logic_of(b, s)->any_of, &logic_of(b, s)->any_count))
TAKE(take_one_of, take_list_of_schemas(b, v, &logic_of(b, s)->one_of, &logic_of(b, s)->one_count))

static bool take_not(builder *b, const sp_json *v, place where, sp_schema *s) {
    sp_schema *made;
    (void)where;
    if (!build(b, v, IN_JUNCTOR, &made)) return false;
    logic_of(b, s)->not_ = made;
    return true;
}

/* In the order in which they are taken. What is not listed is ignored, as documentation is. */
static const struct {
    const char *name;
    bool (*take)(builder *b, const sp_json *v, place where, sp_schema *s);
    bool in_junctors;
} keywords[] = {
    {"$ref", take_forbidden, false},
    {"definitions", take_forbidden, false},
    {"dependencies", take_forbidden, false},
    {"id", take_forbidden, false},
    {"patternProperties", take_forbidden, false},
    {"additionalItems", take_forbidden, false},
    {"x-kubernetes-int-or-string", take_int_or_string, false},
    {"x-kubernetes-preserve-unknown-fields", take_preserve, false},
    {"x-kubernetes-embedded-resource", take_embedded, false},
    {"x-kubernetes-list-type", take_list_type, false},
    {"x-kubernetes-list-map-keys", take_map_keys, false},
    {"type", take_type, false},
    {"description", take_doc, false},
    {"nullable", take_nullable, false},
    {"default", take_default, false},
    {"format", take_format, true},
    {"enum", take_enum, true},
    {"pattern", take_pattern, true},
    {"minimum", take_minimum, true},
    {"maximum", take_maximum, true},
    {"exclusiveMinimum", take_exclusive_minimum, true},
    {"exclusiveMaximum", take_exclusive_maximum, true},
    {"multipleOf", take_multiple, true},
    {"minLength", take_min_length, true},
    {"maxLength", take_max_length, true},
    {"minItems", take_min_length, true},
    {"maxItems", take_max_length, true},
    {"minProperties", take_min_length, true},
    {"maxProperties", take_max_length, true},
    {"uniqueItems", take_unique, true},
    {"properties", take_properties, true},
    {"additionalProperties", take_additional, false},
    {"items", take_items, true},
    {"required", take_required, true},
    {"allOf", take_all_of, true},
    {"anyOf", take_any_of, true},
    {"oneOf", take_one_of, true},
    {"not", take_not, true},
};

/* ---------- rules about a whole node ---------- */

/* x-kubernetes-int-or-string comes with anyOf [{type: integer}, {type: string}], the one place
 * where a junctor may say a type. The format says it already. */
static bool is_int_or_string_pattern(const sp_json *j) {
    const sp_json *any = sp_json_get(j, "anyOf");
    if (!any) any = sp_json_get(sp_json_at(sp_json_get(j, "allOf"), 0), "anyOf");
    return sp_json_bool(sp_json_get(j, "x-kubernetes-int-or-string"), false) &&
           sp_json_is(any, SP_JSON_ARRAY) && any->count == 2 &&
           strcmp(sp_json_get_z(any->first, "type"), "integer") == 0 &&
           strcmp(sp_json_get_z(any->last, "type"), "string") == 0;
}

static bool refuse_at(builder *b, const char *name, const char *rule) {
    sp_path_field(&b->path, sp_str_z(name));
    return refuse(b, rule);
}

static bool check_node(builder *b, const sp_json *j, const sp_schema *s) {
    bool free_type = s->format == SP_FORMAT_INT_OR_STRING || s->preserve_unknown;
    if (s->type == SP_SCHEMA_ANY && !free_type)
        return refuse_at(b, "type",
                         "is required: every field of a structural schema says its type");
    if (s->type != SP_SCHEMA_ANY && s->format == SP_FORMAT_INT_OR_STRING)
        return refuse_at(b, "type", "must be left out beside x-kubernetes-int-or-string");
    if (s->type == SP_SCHEMA_ARRAY && !s->items)
        return refuse_at(b, "items", "is required beside type array");
    if (s->type != SP_SCHEMA_ARRAY && sp_json_get(j, "items"))
        return refuse_at(b, "items", "needs type array");
    bool may_hold_fields = s->type == SP_SCHEMA_OBJECT || s->type == SP_SCHEMA_ANY;
    if (!may_hold_fields && sp_json_get(j, "properties"))
        return refuse_at(b, "properties", "needs type object");
    if (!may_hold_fields && sp_json_get(j, "additionalProperties"))
        return refuse_at(b, "additionalProperties", "needs type object");
    if (sp_json_get(j, "properties") && sp_json_get(j, "additionalProperties"))
        return refuse_at(b, "additionalProperties", "cannot stand beside properties");
    if (s->embedded_resource && s->type != SP_SCHEMA_OBJECT)
        return refuse_at(b, "x-kubernetes-embedded-resource", "needs type object");
    if (strcmp(sp_json_get_z(j, "x-kubernetes-list-type"), "map") == 0 && !s->map_key_count)
        return refuse_at(b, "x-kubernetes-list-map-keys", "is required beside list type map");
    return true;
}

/* Fields that a junctor speaks about must be declared outside of it. */
static bool check_declared(builder *b, const sp_schema *s, const sp_schema *inside) {
    if (s->preserve_unknown && s->type == SP_SCHEMA_ANY) return true;
    for (size_t i = 0; i < inside->field_count; i++) {
        const sp_field *f = &inside->fields[i];
        const sp_field *known = sp_schema_field(s, sp_str_z(f->name));
        const sp_schema *outer = known ? known->schema : s->items;
        size_t before = sp_path_field(&b->path, SP_STR("properties"));
        sp_path_key(&b->path, sp_str_z(f->name));
        if (!outer && !s->preserve_unknown && !s->embedded_resource)
            return refuse(
                b, "is spoken of in allOf, anyOf, oneOf or not, so it must be declared here");
        if (outer && !check_declared(b, outer, f->schema)) return false;
        sp_path_cut(&b->path, before);
    }
    if (!inside->items) return true;
    return s->items ? check_declared(b, s->items, inside->items)
                    : refuse_at(b, "items", "must be declared, because a junctor speaks of them");
}

static bool check_logic(builder *b, const sp_schema *s, const sp_schema *inside) {
    const struct sp_schema_logic *l = inside->logic;
    if (!l) return true;
    const struct {
        const sp_schema *const *list;
        size_t n;
    } lists[] = {{l->all_of, l->all_count},
                 {l->any_of, l->any_count},
                 {l->one_of, l->one_count},
                 {&l->not_, l->not_ != NULL}};
    for (size_t i = 0; i < SP_COUNT(lists); i++)
        for (size_t k = 0; k < lists[i].n; k++)
            if (!check_declared(b, s, lists[i].list[k]) || !check_logic(b, s, lists[i].list[k]))
                return false;
    return true;
}

static bool check_default(builder *b, const sp_schema *s) {
    if (!s->default_value) return true;
    size_t before = sp_path_field(&b->path, SP_STR("default"));
    sp_auto(sp_causes) causes = {.arena = b->a};
    sp_json *copy = sp_json_clone(b->a, s->default_value);
    sp_schema_prune(s, copy, SP_STR(""), &causes);
    if (!causes.list.n) {
        sp_schema_default(b->a, s, copy);
        sp_schema_validate(s, copy, SP_STR(""), &causes);
    }
    if (causes.list.n) return refuse(b, causes.list.p[0].message.p);
    sp_path_cut(&b->path, before);
    return true;
}

static bool build(builder *b, const sp_json *j, place where, sp_schema **ret) {
    if (!sp_json_is(j, SP_JSON_OBJECT)) return refuse(b, "a schema must be an object");
    sp_schema *s = SP_NEW(b->a, sp_schema);
    bool skip_junctors = is_int_or_string_pattern(j);
    for (size_t i = 0; i < SP_COUNT(keywords); i++) {
        const sp_json *v = sp_json_get(j, keywords[i].name);
        if (!v || v->type == SP_JSON_NULL) continue;
        if (skip_junctors && (keywords[i].take == take_any_of || keywords[i].take == take_all_of))
            continue;
        size_t before = sp_path_field(&b->path, sp_str_z(keywords[i].name));
        if (where == IN_JUNCTOR && !keywords[i].in_junctors)
            return refuse(b, "is not allowed inside allOf, anyOf, oneOf and not");
        if (!keywords[i].take(b, v, where, s)) return false;
        sp_path_cut(&b->path, before);
    }
    if (where == STRUCTURE && !(check_node(b, j, s) && check_logic(b, s, s) && check_default(b, s)))
        return false;
    *ret = s;
    return true;
}

/* ---------- the root ---------- */

/* Every object has these, declared or not; what metadata may hold is not the CRD's business. */
static void add_object_head(builder *b, sp_schema *s) {
    static const sp_schema text = {.type = SP_SCHEMA_STRING};
    static const sp_schema open = {.type = SP_SCHEMA_OBJECT, .preserve_unknown = true};
    static const sp_field head[] = {
        {"apiVersion", 0, &text, NULL}, {"kind", 0, &text, NULL}, {"metadata", 0, &open, NULL}};
    sp_field *fields = sp_arena_alloc(b->a, (s->field_count + SP_COUNT(head)) * sizeof *fields);
    size_t n = 0;
    for (size_t i = 0; i < SP_COUNT(head); i++) {
        const sp_field *declared = sp_schema_field(s, sp_str_z(head[i].name));
        fields[n] = declared ? *declared : head[i];
        fields[n].required = false;
        if (declared && declared->schema->type == SP_SCHEMA_OBJECT) {
            sp_schema *opened = SP_NEW(b->a, sp_schema);
            *opened = *declared->schema;
            opened->preserve_unknown = true;
            fields[n].schema = opened;
        }
        n++;
    }
    for (size_t i = 0; i < s->field_count; i++) {
        bool in_head = false;
        for (size_t k = 0; k < SP_COUNT(head); k++)
            in_head = in_head || strcmp(s->fields[i].name, head[k].name) == 0;
        if (!in_head) fields[n++] = s->fields[i];
    }
    s->fields = fields;
    s->field_count = n;
}

bool sp_schema_from_json(sp_arena *a, const sp_json *openapi, const sp_schema **ret, sp_err *err) {
    builder b = {.a = a, .err = err};
    sp_buf_addz(&b.path, "openAPIV3Schema");
    sp_schema *s = NULL;
    bool ok = build(&b, openapi, STRUCTURE, &s);
    if (ok && s->type != SP_SCHEMA_OBJECT) ok = refuse_at(&b, "type", "must be object at the root");
    if (ok) {
        add_object_head(&b, s);
        *ret = s;
    }
    sp_buf_free(&b.path);
    return ok;
}

/* ---------- what is accepted but not enforced ---------- */

static void find_rules(const sp_json *j, sp_buf *path, sp_causes *ret) {
    if (j->type != SP_JSON_OBJECT && j->type != SP_JSON_ARRAY) return;
    size_t i = 0;
    sp_json_each(j, c) {
        size_t before =
            j->type == SP_JSON_ARRAY ? sp_path_index(path, i++) : sp_path_field(path, c->key);
        if (sp_str_eqz(c->key, "x-kubernetes-validations") && c->type == SP_JSON_ARRAY)
            sp_causes_add(ret, "FieldValueNotSupported", sp_buf_str(path),
                          "validation rules (CEL) are kept but not evaluated");
        else
            find_rules(c, path, ret);
        sp_path_cut(path, before);
    }
}

void sp_schema_unenforced(const sp_json *openapi, sp_str at, sp_causes *ret) {
    sp_buf path = {0};
    sp_buf_add(&path, at);
    find_rules(openapi, &path, ret);
    sp_buf_free(&path);
}
