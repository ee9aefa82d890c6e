/* Making a document fit its schema before it is judged: unknown fields out, defaults in. */
#include "data/schema.h"

#include "data/schema_path.h"

/* ---------- pruning ---------- */

typedef struct pruner {
    sp_buf path;
    sp_causes *unknown; /* NULL: nobody asks */
} pruner;

static void prune(pruner *p, const sp_schema *s, sp_json *j);

static bool is_object_head(sp_str name) {
    return sp_str_eqz(name, "apiVersion") || sp_str_eqz(name, "kind") ||
           sp_str_eqz(name, "metadata");
}

/* The schema says nothing about what may be inside. */
static bool is_open(const sp_schema *s) {
    return s->preserve_unknown || s->format == SP_FORMAT_RAW ||
           (s->type == SP_SCHEMA_ANY && !s->field_count && !s->items);
}

static bool keep_member(pruner *p, const sp_schema *s, sp_json *m) {
    const sp_field *f = sp_schema_field(s, m->key);
    if (f && f->schema == &sp_schema_undeclared) f = NULL;
    bool is_map_value = !f && s->items;
    if (f && f->number && m->type == SP_JSON_NULL) return false;
    size_t before = is_map_value ? sp_path_key(&p->path, m->key) : sp_path_field(&p->path, m->key);
    bool head = s->embedded_resource && is_object_head(m->key); /* kept whole */
    bool keep = f || s->items || is_open(s) || head;
    if (!head && (f || is_map_value)) prune(p, f ? f->schema : s->items, m);
    if (!keep && p->unknown)
        sp_causes_add(p->unknown, "FieldValueInvalid", sp_buf_str(&p->path),
                      "unknown field \"%.*s\"", SP_ARG(sp_buf_str(&p->path)));
    sp_path_cut(&p->path, before);
    return keep;
}

static void prune_members(pruner *p, const sp_schema *s, sp_json *obj) {
    for (sp_json *following, *it = sp_json_take_children(obj); it; it = following) {
        following = it->next;
        if (!keep_member(p, s, it)) continue;
        sp_json_set_new(obj, it);
    }
}

static void prune_items(pruner *p, const sp_schema *s, sp_json *list) {
    size_t i = 0;
    sp_json_each(list, item) {
        size_t before = sp_path_index(&p->path, i++);
        prune(p, s->items, item);
        sp_path_cut(&p->path, before);
    }
}

static void prune(pruner *p, const sp_schema *s, sp_json *j) {
    if (j->type == SP_JSON_ARRAY && s->items && s->type != SP_SCHEMA_OBJECT) prune_items(p, s, j);
    if (j->type == SP_JSON_OBJECT && (s->type == SP_SCHEMA_OBJECT || s->type == SP_SCHEMA_ANY))
        prune_members(p, s, j);
}

void sp_schema_prune(const sp_schema *s, sp_json *j, sp_str at, sp_causes *unknown) {
    pruner p = {.unknown = unknown};
    sp_buf_add(&p.path, at);
    prune(&p, s, j);
    sp_buf_free(&p.path);
}

/* ---------- defaults ---------- */

static void fill_field(sp_arena *a, const sp_field *f, sp_json *obj) {
    const sp_schema *s = f->schema;
    if (!s->default_value) return;
    const sp_json *there = sp_json_get(obj, f->name);
    if (there && (there->type != SP_JSON_NULL || s->nullable)) return;
    sp_json_set(a, obj, f->name, sp_json_clone(a, s->default_value));
}

static void fill_object(sp_arena *a, const sp_schema *s, sp_json *obj) {
    for (size_t i = 0; i < s->field_count; i++) fill_field(a, &s->fields[i], obj);
    sp_json_each(obj, m) {
        const sp_field *f = sp_schema_field(s, m->key);
        if (f)
            sp_schema_default(a, f->schema, m);
        else if (s->items)
            sp_schema_default(a, s->items, m);
    }
}

void sp_schema_default(sp_arena *a, const sp_schema *s, sp_json *j) {
    if (j->type == SP_JSON_OBJECT) fill_object(a, s, j);
    if (j->type == SP_JSON_ARRAY && s->items && s->type != SP_SCHEMA_OBJECT)
        sp_json_each(j, item) sp_schema_default(a, s->items, item);
}
