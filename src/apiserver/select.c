/* Which objects a LIST, a WATCH or a collection DELETE is about. */
#include "apiserver/server.h"

typedef struct path_check {
    const sp_resource *row;
    sp_str bad;
    bool others; /* a path beyond name and namespace is used */
} path_check;

static void check_path(void *ctx, sp_str path) {
    path_check *p = ctx;
    if (sp_str_eqz(path, "metadata.name") || sp_str_eqz(path, "metadata.namespace")) return;
    p->others = true;
    for (const char *const *f = p->row->selectable_fields; f && *f; f++)
        if (sp_str_eqz(path, *f)) return;
    if (!p->bad.n) p->bad = path;
}

static bool parse_fields(sp_call *c, sp_str text, sp_filter *f, sp_err *err) {
    if (!sp_field_selector_parse(c->op.arena, text, &f->fields, err)) return false;
    path_check check = {.row = c->op.served->storage};
    sp_field_selector_paths(f->fields, check_path, &check);
    f->names_only = !check.others;
    if (!check.bad.n) return true;
    return sp_fail(err, SP_BAD_REQUEST, "field label not supported: %.*s", SP_ARG(check.bad));
}

bool sp_filter_parse(sp_call *c, sp_filter *ret, sp_err *err) {
    sp_filter f = {0};
    sp_str text;
    if (sp_call_query(c, "labelSelector", &text) && text.n) {
        if (!sp_selector_parse(c->op.arena, text, &f.labels, err))
            return sp_err_wrap(err, "unable to parse labelSelector \"%.*s\"", SP_ARG(text));
        if (sp_selector_is_empty(f.labels)) f.labels = NULL;
    }
    if (sp_call_query(c, "fieldSelector", &text) && text.n && !parse_fields(c, text, &f, err))
        return false;
    if (c->info.name.n) { /* the old form: watch/…/NAME */
        text = sp_arena_printf(c->op.arena, "metadata.name=%.*s", SP_ARG(c->info.name));
        if (!sp_field_selector_parse(c->op.arena, text, &f.fields, err)) return false;
        f.names_only = true;
    }
    f.any = !f.labels && !f.fields;
    *ret = f;
    return true;
}

static sp_json string_node(const char *key, sp_str text) {
    return (sp_json){.type = SP_JSON_STRING, .key = sp_str_z(key), .text = text};
}

/* kubectl wait and get --watch ask for one name among many objects: its place in the bytes is
 * known, so the document {"metadata":{"name":…,"namespace":…}} is put together from slices. */
static bool names_match(const sp_field_selector *fields, sp_str bytes) {
    sp_str ns, name;
    if (!sp_canonical_names(bytes, &ns, &name)) return false;
    sp_json second = string_node("namespace", ns), first = string_node("name", name);
    first.next = &second;
    sp_json meta = {.type = SP_JSON_OBJECT,
                    .first = &first,
                    .last = &second,
                    .count = 2,
                    .key = SP_STR("metadata")};
    sp_json obj = {.type = SP_JSON_OBJECT, .first = &meta, .last = &meta, .count = 1};
    return sp_field_selector_matches(fields, &obj);
}

bool sp_filter_matches(const sp_filter *f, sp_store_value *v, const sp_resource *row) {
    if (f->any) return true;
    if (f->names_only && !names_match(f->fields, sp_blob_str(v->bytes))) return false;
    if (f->names_only && !f->labels) return true;
    const sp_facts *facts = sp_value_facts(v, row);
    if (facts->broken) return false;
    return (!f->labels || sp_selector_matches(f->labels, facts->labels)) &&
           (!f->fields || sp_field_selector_matches(f->fields, facts->fields));
}
