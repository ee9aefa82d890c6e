/* The Status object of the API and our sp_err are two spellings of the same thing. */
#include "kube/object.h"

#include <stdio.h>

static void add_cause(sp_arena *a, sp_json *list, const char *reason, sp_str field, sp_str text) {
    sp_json *c = sp_json_push(list, sp_json_object(a));
    sp_json_set_z(a, c, "reason", reason);
    sp_json_set(a, c, "message", sp_json_new_str(a, text));
    if (field.n) sp_json_set(a, c, "field", sp_json_new_str(a, field));
}

static sp_json *causes_json(sp_arena *a, const sp_err *err, const sp_causes *causes) {
    sp_json *list = sp_json_array(a);
    if (causes) sp_vec_each(&causes->list, c) add_cause(a, list, c->reason, c->field, c->message);
    if (!list->count && err->field[0])
        add_cause(a, list, "FieldValueInvalid", sp_str_z(err->field), sp_str_z(err->text));
    return list;
}

static sp_json *details_json(sp_arena *a, const sp_err *err, const sp_causes *causes,
                             const char *group, const char *kind, sp_str name) {
    sp_json *d = sp_json_object(a);
    if (name.n) sp_json_set(a, d, "name", sp_json_new_str(a, name));
    if (group && *group) sp_json_set_z(a, d, "group", group);
    if (kind && *kind) sp_json_set_z(a, d, "kind", kind);
    sp_json *list = causes_json(a, err, causes);
    if (list->count) sp_json_set(a, d, "causes", list);
    return d;
}

/* `Deployment.apps "web" is invalid: [spec.a: …, spec.b: …]` */
static sp_str invalid_message(sp_arena *a, const sp_causes *causes, const char *group,
                              const char *kind, sp_str name) {
    sp_auto(sp_buf) b = {0};
    if (kind && *kind) {
        sp_buf_addz(&b, kind);
        if (group && *group) sp_buf_printf(&b, ".%s", group);
        sp_buf_printf(&b, " \"%.*s\" is invalid: ", SP_ARG(name));
    }
    bool many = causes->list.n > 1;
    if (many) sp_buf_addc(&b, '[');
    sp_vec_each(&causes->list, c) {
        if (c != causes->list.p) sp_buf_addz(&b, ", ");
        if (c->field.n) sp_buf_printf(&b, "%.*s: ", SP_ARG(c->field));
        sp_buf_add(&b, c->message);
    }
    if (many) sp_buf_addc(&b, ']');
    return sp_arena_str(a, sp_buf_str(&b));
}

sp_json *sp_status_from_err(sp_arena *a, const sp_err *err, const sp_causes *causes,
                            const char *group, const char *kind, sp_str name) {
    sp_json *s = sp_json_object(a);
    sp_json_set_z(a, s, "kind", "Status");
    sp_json_set_z(a, s, "apiVersion", "v1");
    sp_json_set(a, s, "metadata", sp_json_object(a));
    sp_json_set_z(a, s, "status", "Failure");
    bool from_causes = err->code == SP_INVALID && causes && causes->list.n;
    sp_str text = from_causes ? invalid_message(a, causes, group, kind, name) : sp_str_z(err->text);
    sp_json_set(a, s, "message", sp_json_new_str(a, text));
    sp_json_set_z(a, s, "reason", sp_code_reason(err->code));
    sp_json *d = details_json(a, err, causes, group, kind, name);
    if (d->count) sp_json_set(a, s, "details", d);
    sp_json_set_int(a, s, "code", sp_code_http(err->code));
    return s;
}

bool sp_err_from_status(sp_err *err, int http, const sp_json *status) {
    bool is_status = sp_str_eqz(sp_obj_kind(status), "Status");
    const char *reason = is_status ? sp_json_get_z(status, "reason") : NULL;
    int64_t code = is_status ? sp_json_int(sp_json_get(status, "code"), http) : http;
    sp_str text = is_status ? sp_json_str(sp_json_get(status, "message")) : (sp_str){0};
    sp_code c = sp_code_from(reason, (int)code);
    if (!text.n) return sp_fail(err, c, "the server answered HTTP %d without an explanation", http);
    sp_json *causes = sp_json_dig(status, "details", "causes", NULL);
    const char *field = sp_json_get_z(sp_json_at(causes, 0), "field");
    return sp_fail_field(err, c, field, "%.*s", SP_ARG(text));
}
