/* OAM admission and rendering on any documents: the input is a JSON array whose objects are looked
 * up in it. What is admitted renders, or says why not; what is refused says where. */
#include "kube/oam.h"

static const sp_json *documents;

static bool is_kind(const sp_json *o, const char *plural) {
    sp_str kind = sp_obj_kind(o);
    return (sp_str_eqz(kind, "Component") && strcmp(plural, "components") == 0) ||
           (sp_str_eqz(kind, "TraitDefinition") && strcmp(plural, "traitdefinitions") == 0) ||
           (sp_str_eqz(kind, "WorkloadDefinition") && strcmp(plural, "workloaddefinitions") == 0);
}

static const sp_json *get(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                          sp_str name) {
    sp_json_each(documents, o) {
        if (is_kind(o, plural) && sp_str_eq(sp_obj_name(o), name)) return o;
    }
    return NULL;
}

static void each(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                 bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx) {
    sp_json_each(documents, o) {
        if (is_kind(o, plural) && !fn(fn_ctx, o)) return;
    }
}

static void try(sp_arena *a, const sp_json *o, const sp_oam_lookup *lookup) {
    sp_auto(sp_causes) causes = {.arena = a};
    sp_strs warnings = {0};
    sp_oam_children children = {0};
    sp_err err = {0};
    bool ok = sp_oam_admit(o, lookup, &causes, &warnings);
    sp_vec_each(&causes.list, c) sp_assert(c->field.n && c->message.n);
    if (sp_str_eqz(sp_obj_kind(o), "ApplicationConfiguration")) {
        bool rendered = sp_oam_render(a, o, lookup, &children, &err);
        sp_assert(rendered ? ok : err.text[0] && !children.n);
        sp_vec_each(&children, child) sp_assert(sp_obj_kind(child->object).n);
    }
    sp_vec_free(&children);
    sp_vec_free(&warnings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = NULL;
    sp_err err;
    if (!sp_json_parse(a, (sp_str){(const char *)data, size}, &j, &err)) return 0;
    if (j->type != SP_JSON_ARRAY) return 0;
    sp_oam_objects shipped = {0};
    sp_oam_builtin(a, &shipped);
    sp_vec_each(&shipped, o) sp_json_push(j, *o);
    sp_vec_free(&shipped);
    documents = j;
    const sp_oam_lookup lookup = {NULL, get, each};
    sp_json_each(j, o) try(a, o, &lookup);
    return 0;
}
