/* Which objects a LIST, a WATCH or a collection DELETE is about. */
#include "apiserver/server.h"

typedef struct path_check {
    const sp_resource *row;
    sp_str bad;
} path_check;

static void check_path(void *ctx, sp_str path) {
    path_check *p = ctx;
    if (sp_str_eqz(path, "metadata.name") || sp_str_eqz(path, "metadata.namespace")) return;
    for (const char *const *f = p->row->selectable_fields; f && *f; f++)
        if (sp_str_eqz(path, *f)) return;
    if (!p->bad.n) p->bad = path;
}

static bool parse_fields(sp_call *c, sp_str text, sp_filter *f, sp_err *err) {
    if (!sp_field_selector_parse(c->op.arena, text, &f->fields, err)) return false;
    path_check check = {.row = c->op.served->storage};
    sp_field_selector_paths(f->fields, check_path, &check);
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
    }
    f.any = !f.labels && !f.fields;
    *ret = f;
    return true;
}

bool sp_filter_matches(const sp_filter *f, sp_store_value *v, const sp_resource *row) {
    if (f->any) return true;
    const sp_facts *facts = sp_value_facts(v, row);
    if (facts->broken) return false;
    return (!f->labels || sp_selector_matches(f->labels, facts->labels)) &&
           (!f->fields || sp_field_selector_matches(f->fields, facts->fields));
}
