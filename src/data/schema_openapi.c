/* sp_schema as OpenAPI v3, written straight into the buffer. */
#include "data/schema.h"

#include "data/schema_format.h"

#include <math.h>

/* The schemas on the way from the root: one that contains itself ends there. */
typedef struct chain {
    const sp_schema *s;
    const struct chain *up;
} chain;

typedef struct writer {
    sp_buf *b;
    const char *ref_prefix;
} writer;

static void emit(writer *w, const sp_schema *s, const sp_field *f, const chain *up);

static void name(writer *w, const char *key) {
    char last = w->b->p[w->b->n - 1];
    if (last != '{' && last != '[') sp_buf_addc(w->b, ',');
    sp_json_write_string(w->b, sp_str_z(key));
    sp_buf_addc(w->b, ':');
}

static void text(writer *w, const char *key, const char *value) {
    if (!value) return;
    name(w, key);
    sp_json_write_string(w->b, sp_str_z(value));
}

static void flag(writer *w, const char *key, bool value) {
    if (!value) return;
    name(w, key);
    sp_buf_addz(w->b, "true");
}

static void number(writer *w, const char *key, double value) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    name(w, key);
    if (value == floor(value) && fabs(value) < 1e15)
        sp_buf_printf(w->b, "%.0f", value);
    else
        sp_json_write(w->b, sp_json_new_double(a, value));
}

static void node(writer *w, const char *key, const sp_json *value) {
    if (!value) return;
    name(w, key);
    sp_json_write(w->b, value);
}

static void lengths(writer *w, const sp_schema *s) {
    static const char *const least[] = {[SP_SCHEMA_STRING] = "minLength",
                                        [SP_SCHEMA_ARRAY] = "minItems",
                                        [SP_SCHEMA_OBJECT] = "minProperties"};
    static const char *const most[] = {[SP_SCHEMA_STRING] = "maxLength",
                                       [SP_SCHEMA_ARRAY] = "maxItems",
                                       [SP_SCHEMA_OBJECT] = "maxProperties"};
    size_t type = s->type == SP_SCHEMA_ANY ? SP_SCHEMA_STRING : s->type;
    if (!least[type]) return;
    if (s->min_length) number(w, least[type], (double)s->min_length);
    if (s->max_length || s->must_be_empty) number(w, most[type], (double)s->max_length);
}

static void values(writer *w, const sp_schema *s) {
    node(w, "default", s->default_value);
    node(w, "enum", s->enum_values);
    text(w, "pattern", s->pattern);
    if (s->has_minimum) number(w, "minimum", s->minimum);
    if (s->has_maximum) number(w, "maximum", s->maximum);
    flag(w, "exclusiveMinimum", s->exclusive_minimum);
    flag(w, "exclusiveMaximum", s->exclusive_maximum);
    if (s->multiple_of > 0) number(w, "multipleOf", s->multiple_of);
    lengths(w, s);
    flag(w, "uniqueItems", s->unique_items);
    flag(w, "nullable", s->nullable);
}

static void list(writer *w, const char *key, const sp_schema *const *schemas, size_t n,
                 const chain *up) {
    if (!n) return;
    name(w, key);
    sp_buf_addc(w->b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) sp_buf_addc(w->b, ',');
        emit(w, schemas[i], NULL, up);
    }
    sp_buf_addc(w->b, ']');
}

static void logic(writer *w, const struct sp_schema_logic *l, const chain *up) {
    if (!l) return;
    list(w, "allOf", l->all_of, l->all_count, up);
    list(w, "anyOf", l->any_of, l->any_count, up);
    list(w, "oneOf", l->one_of, l->one_count, up);
    if (!l->not_) return;
    name(w, "not");
    emit(w, l->not_, NULL, up);
}

static void fields(writer *w, const sp_schema *s, const chain *up) {
    size_t required = 0;
    for (size_t i = 0; i < s->field_count; i++) {
        if (!s->fields[i].required) continue;
        if (!required++)
            name(w, "required"), sp_buf_addc(w->b, '[');
        else
            sp_buf_addc(w->b, ',');
        sp_json_write_string(w->b, sp_str_z(s->fields[i].name));
    }
    if (required) sp_buf_addc(w->b, ']');
    size_t declared = 0;
    for (size_t i = 0; i < s->field_count; i++) {
        if (s->fields[i].schema == &sp_schema_undeclared) continue;
        if (!declared++) name(w, "properties"), sp_buf_addc(w->b, '{');
        name(w, s->fields[i].name);
        emit(w, s->fields[i].schema, &s->fields[i], up);
    }
    if (declared) sp_buf_addc(w->b, '}');
}

static void strings(writer *w, const char *key, const char *const *list_, size_t n) {
    name(w, key);
    sp_buf_addc(w->b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) sp_buf_addc(w->b, ',');
        sp_json_write_string(w->b, sp_str_z(list_[i]));
    }
    sp_buf_addc(w->b, ']');
}

static void list_kind(writer *w, const sp_schema *s, const sp_field *f) {
    const char *merge_key = f ? f->merge_key : NULL;
    bool merged = merge_key || (f && f->merge_primitives);
    if (s->map_key_count) {
        text(w, "x-kubernetes-list-type", "map");
        strings(w, "x-kubernetes-list-map-keys", s->map_keys, s->map_key_count);
    } else if (s->is_set || (merged && !merge_key)) {
        text(w, "x-kubernetes-list-type", "set");
    } else if (merge_key) {
        text(w, "x-kubernetes-list-type", "map");
        strings(w, "x-kubernetes-list-map-keys", &merge_key, 1);
    }
    text(w, "x-kubernetes-patch-merge-key", merge_key);
    if (merged) text(w, "x-kubernetes-patch-strategy", "merge");
}

/* Two types in one: neither has a "type" of its own. */
static bool either(writer *w, const sp_schema *s) {
    if (s->format == SP_FORMAT_QUANTITY) {
        name(w, "oneOf");
        sp_buf_addz(w->b, "[{\"type\":\"string\"},{\"type\":\"number\"}]");
    } else if (s->format == SP_FORMAT_INT_OR_STRING) {
        text(w, "format", "int-or-string");
        flag(w, "x-kubernetes-int-or-string", true);
        name(w, "anyOf");
        sp_buf_addz(w->b, "[{\"type\":\"integer\"},{\"type\":\"string\"}]");
    } else {
        return false;
    }
    return true;
}

static void type(writer *w, const sp_schema *s) {
    static const char *const types[] = {NULL,      "string", "integer", "number",
                                        "boolean", "array",  "object"};
    if (either(w, s)) return;
    text(w, "type", types[s->type]);
    bool plain = s->format == SP_FORMAT_DURATION || s->format == SP_FORMAT_RAW;
    text(w, "format",
         s->format_name ? s->format_name
         : plain        ? NULL
                        : sp_schema_format_name(s->format));
}

static void body(writer *w, const sp_schema *s, const sp_field *f, const chain *up) {
    chain here = {s, up};
    text(w, "description", f && f->doc ? f->doc : s->doc);
    type(w, s);
    for (const chain *c = up; c; c = c->up)
        if (c->s == s) {
            flag(w, "x-kubernetes-preserve-unknown-fields", true);
            return;
        }
    values(w, s);
    fields(w, s, &here);
    if (s->items) {
        name(w, s->type == SP_SCHEMA_OBJECT ? "additionalProperties" : "items");
        emit(w, s->items, NULL, &here);
    }
    logic(w, s->logic, &here);
    if (s->type == SP_SCHEMA_ARRAY) list_kind(w, s, f);
    flag(w, "x-kubernetes-preserve-unknown-fields", s->preserve_unknown);
    flag(w, "x-kubernetes-embedded-resource", s->embedded_resource);
}

/* A $ref takes no siblings: a field's own sentence goes beside an allOf of one. */
static void reference(writer *w, const sp_schema *s, const sp_field *f) {
    bool described = f && f->doc;
    if (described) {
        text(w, "description", f->doc);
        name(w, "allOf");
        sp_buf_addz(w->b, "[{");
    }
    name(w, "$ref");
    sp_auto(sp_buf) ref = {0};
    sp_buf_addz(&ref, w->ref_prefix);
    sp_buf_addz(&ref, s->name);
    sp_json_write_string(w->b, sp_buf_str(&ref));
    if (described) sp_buf_addz(w->b, "}]");
}

static void emit(writer *w, const sp_schema *s, const sp_field *f, const chain *up) {
    sp_buf_addc(w->b, '{');
    if (s->name && w->ref_prefix && up)
        reference(w, s, f);
    else
        body(w, s, f, up);
    sp_buf_addc(w->b, '}');
}

void sp_schema_to_openapi(sp_buf *b, const sp_schema *s, const char *ref_prefix) {
    writer w = {b, ref_prefix};
    emit(&w, s, NULL, NULL);
}
