#include "apiserver/crd_rows.h"

#include <ctype.h>
#include <stdio.h>

/* ---------- schema ---------- */

/* apiVersion, kind and metadata are the server's business: whatever the CRD says about them, the
 * row knows them as every built-in kind does. */
static const sp_schema *with_object_fields(sp_arena *a, const sp_schema *s) {
    const sp_schema *model = sp_builtin_schema(NULL, SP_STR("v1"), SP_STR("ConfigMap"));
    static const char *const own[] = {"apiVersion", "kind", "metadata"};
    sp_schema *copy = SP_NEW(a, sp_schema);
    *copy = *s;
    sp_field *fields = sp_arena_alloc(a, (s->field_count + SP_COUNT(own)) * sizeof *fields);
    size_t n = 0;
    for (size_t i = 0; i < SP_COUNT(own); i++) {
        const sp_field *f = model ? sp_schema_field(model, sp_str_z(own[i])) : NULL;
        if (f) fields[n++] = *f;
    }
    for (size_t i = 0; i < s->field_count; i++) {
        bool shadowed = false;
        for (size_t k = 0; k < SP_COUNT(own); k++)
            shadowed = shadowed || strcmp(s->fields[i].name, own[k]) == 0;
        if (!shadowed) fields[n++] = s->fields[i];
    }
    copy->type = SP_SCHEMA_OBJECT;
    copy->fields = fields;
    copy->field_count = n;
    return copy;
}

static bool build_schema(sp_arena *a, const sp_json *version, size_t index, const sp_schema **ret,
                         sp_err *err) {
    const sp_json *openapi = sp_json_dig(version, "schema", "openAPIV3Schema", NULL);
    const sp_schema *s;
    char at[64];
    snprintf(at, sizeof at, "spec.versions[%zu].schema.openAPIV3Schema", index);
    if (!sp_json_is(openapi, SP_JSON_OBJECT))
        return sp_fail_field(err, SP_INVALID, at, "schemas are required");
    if (!sp_schema_from_json(a, openapi, &s, err)) {
        char field[sizeof err->field];
        snprintf(field, sizeof field, "spec.versions[%zu].schema.%.100s", index, err->field);
        snprintf(err->field, sizeof err->field, "%s", field);
        return false;
    }
    *ret = with_object_fields(a, s);
    return true;
}

/* ---------- columns ---------- */

static void add_column(sp_column *c, const sp_json *j) {
    c->name = sp_json_get_z(j, "name");
    c->type = sp_json_get_z(j, "type");
    c->format = sp_json_get_z(j, "format");
    c->doc = sp_json_get_z(j, "description");
    c->priority = (int)sp_json_int(sp_json_get(j, "priority"), 0);
    c->json_path = sp_json_get_z(j, "jsonPath");
}

static void set_columns(sp_arena *a, sp_resource *r, const sp_json *version) {
    static const sp_column name = SP_COLUMN_NAME, age = SP_COLUMN_AGE;
    const sp_json *more = sp_json_get(version, "additionalPrinterColumns");
    sp_column *columns = sp_arena_alloc(a, ((more ? more->count : 0) + 2) * sizeof *columns);
    size_t n = 0;
    columns[n++] = name;
    sp_json_each(more, j) add_column(&columns[n++], j);
    if (n == 1) columns[n++] = age;
    r->columns = columns;
    r->column_count = n;
}

/* ---------- one row ---------- */

static const char *const *string_list(sp_arena *a, const sp_json *arr) {
    if (!arr || !arr->count) return NULL;
    const char **list = sp_arena_alloc(a, (arr->count + 1) * sizeof *list);
    size_t n = 0;
    sp_json_each(arr, s) list[n++] = sp_json_z(s);
    return list;
}

static const char *const *selectable(sp_arena *a, const sp_json *version) {
    const sp_json *fields = sp_json_get(version, "selectableFields");
    if (!fields || !fields->count) return NULL;
    const char **list = sp_arena_alloc(a, (fields->count + 1) * sizeof *list);
    size_t n = 0;
    sp_json_each(fields, f) {
        const char *path = sp_json_get_z(f, "jsonPath");
        list[n++] = path[0] == '.' ? path + 1 : path;
    }
    return list;
}

static void set_subresources(sp_arena *a, sp_resource *r, const sp_json *version) {
    const sp_json *subs = sp_json_get(version, "subresources");
    const sp_json *scale = sp_json_get(subs, "scale");
    if (sp_json_get(subs, "status")) {
        r->subresources |= SP_SUB_STATUS;
        r->status_is_subresource = true;
    }
    if (!scale) return;
    struct sp_scale_paths *p = SP_NEW(a, struct sp_scale_paths);
    p->spec_replicas = sp_json_get_z(scale, "specReplicasPath");
    p->status_replicas = sp_json_get_z(scale, "statusReplicasPath");
    p->selector = sp_json_get_z(scale, "labelSelectorPath");
    r->subresources |= SP_SUB_SCALE;
    r->scale = p;
}

static const char *lower_case(sp_arena *a, const char *s) {
    char *copy = sp_arena_strz(a, sp_str_z(s));
    for (char *c = copy; *c; c++) *c = (char)tolower((unsigned char)*c);
    return copy;
}

static bool make_row(sp_arena *a, const sp_json *crd, const sp_json *version, size_t index,
                     sp_resource **ret, sp_err *err) {
    const sp_json *spec = sp_json_get(crd, "spec"), *names = sp_json_get(spec, "names");
    sp_resource *r = SP_NEW(a, sp_resource);
    if (!build_schema(a, version, index, &r->schema, err)) return false;
    r->group = sp_json_get_z(spec, "group");
    r->version = sp_json_get_z(version, "name");
    r->plural = sp_json_get_z(names, "plural");
    r->kind = sp_json_get_z(names, "kind");
    r->singular = sp_json_get_z(names, "singular");
    if (!r->singular[0]) r->singular = lower_case(a, r->kind);
    r->short_names = string_list(a, sp_json_get(names, "shortNames"));
    r->categories = string_list(a, sp_json_get(names, "categories"));
    r->namespaced = strcmp(sp_json_get_z(spec, "scope"), "Namespaced") == 0;
    r->is_crd = true;
    r->counts_generation = true;
    r->selectable_fields = selectable(a, version);
    set_columns(a, r, version);
    set_subresources(a, r, version);
    *ret = r;
    return true;
}

bool sp_crd_rows(sp_arena *a, const sp_json *crd, sp_row_list *ret, sp_err *err) {
    const sp_json *versions = sp_json_dig(crd, "spec", "versions", NULL);
    SP_VEC(sp_resource *) served = {0};
    sp_resource *storage = NULL;
    size_t index = 0;
    bool ok = true;
    sp_json_each(versions, v) {
        sp_resource *r;
        ok = make_row(a, crd, v, index++, &r, err);
        if (!ok) break;
        if (sp_json_bool(sp_json_get(v, "storage"), false)) storage = r;
        if (sp_json_bool(sp_json_get(v, "served"), false)) sp_vec_push(&served, r);
    }
    if (ok && !storage)
        ok = sp_fail_field(err, SP_INVALID, "spec.versions",
                           "must have exactly one version marked as storage version");
    for (size_t i = 0; ok && i < served.n; i++) {
        if (served.p[i] != storage) served.p[i]->storage = storage;
        sp_vec_push(ret, served.p[i]);
    }
    sp_vec_free(&served);
    return ok;
}

/* ---------- validation ---------- */

static void check_names(const sp_json *crd, sp_causes *causes) {
    const sp_json *spec = sp_json_get(crd, "spec"), *names = sp_json_get(spec, "names");
    sp_str group = sp_json_str(sp_json_get(spec, "group"));
    sp_str plural = sp_json_str(sp_json_get(names, "plural"));
    if (!sp_name_is_subdomain(group) || sp_str_chr(group, '.') < 0)
        sp_causes_add(causes, "FieldValueInvalid", SP_STR("spec.group"),
                      "Invalid value: \"%.*s\": should be a domain with at least one dot",
                      SP_ARG(group));
    if (!sp_name_is_label(plural))
        sp_causes_add(causes, "FieldValueInvalid", SP_STR("spec.names.plural"),
                      "Invalid value: \"%.*s\": must be a lower case DNS label", SP_ARG(plural));
    char wanted[512];
    snprintf(wanted, sizeof wanted, "%.*s.%.*s", SP_ARG(plural), SP_ARG(group));
    if (!sp_str_eqz(sp_obj_name(crd), wanted))
        sp_causes_add(causes, "FieldValueInvalid", SP_STR("metadata.name"),
                      "Invalid value: \"%.*s\": must be spec.names.plural+\".\"+spec.group",
                      SP_ARG(sp_obj_name(crd)));
    if (!isupper((unsigned char)sp_json_get_z(names, "kind")[0]))
        sp_causes_add(causes, "FieldValueInvalid", SP_STR("spec.names.kind"),
                      "Invalid value: \"%s\": must be a name in CamelCase",
                      sp_json_get_z(names, "kind"));
}

static void check_versions(const sp_json *crd, sp_causes *causes) {
    const sp_json *versions = sp_json_dig(crd, "spec", "versions", NULL);
    size_t storage = 0, index = 0;
    sp_json_each(versions, v) {
        char at[64];
        snprintf(at, sizeof at, "spec.versions[%zu].name", index++);
        if (sp_json_bool(sp_json_get(v, "storage"), false)) storage++;
        sp_str name = sp_json_str(sp_json_get(v, "name"));
        if (!sp_name_is_label(name))
            sp_causes_add(causes, "FieldValueInvalid", sp_str_z(at),
                          "Invalid value: \"%.*s\": must be a DNS label", SP_ARG(name));
        for (const sp_json *w = versions->first; w != v; w = w->next)
            if (sp_str_eq(name, sp_json_str(sp_json_get(w, "name"))))
                sp_causes_add(causes, "FieldValueDuplicate", sp_str_z(at),
                              "Duplicate value: \"%.*s\"", SP_ARG(name));
    }
    if (storage != 1)
        sp_causes_add(causes, "FieldValueInvalid", SP_STR("spec.versions"),
                      "Invalid value: must have exactly one version marked as storage version");
}

void sp_crd_check(sp_arena *a, const sp_json *crd, sp_causes *causes) {
    sp_row_list rows = {0};
    sp_err err = {0};
    check_names(crd, causes);
    check_versions(crd, causes);
    if (!causes->list.n && !sp_crd_rows(a, crd, &rows, &err))
        sp_causes_add(causes, "FieldValueInvalid", sp_str_z(err.field), "%s", err.text);
    sp_vec_free(&rows);
}
