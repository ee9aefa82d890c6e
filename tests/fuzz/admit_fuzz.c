/* Any document as a Pod, a Deployment, a Service and every other built-in kind: defaulting, the
 * hooks and their refusals never crash, whatever the shape, and what passed still prints as strict
 * JSON. The hooks run here even where the server would stop at the schema. */
#include "apiserver/registry.h"
#include "apiserver/table.h"

static void nothing(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                    bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx) {
    (void)a, (void)group, (void)plural, (void)ns;
    fn(fn_ctx, ctx);
}

static const sp_json *none(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                           sp_str name) {
    (void)ctx, (void)a, (void)group, (void)plural, (void)ns, (void)name;
    return NULL;
}

static void admit(const sp_resource *r, const sp_json *given, bool update) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_causes) causes = {.arena = a};
    sp_strs warnings = {0};
    sp_err err = {0};
    sp_json *obj = sp_json_clone(a, given);
    sp_admit ad = {.arena = a,
                   .resource = r,
                   .old = update ? given : NULL,
                   .obj = obj,
                   .causes = &causes,
                   .warnings = &warnings,
                   .lookup_ctx = (void *)(uintptr_t)given,
                   .lookup = none,
                   .lookup_each = nothing};
    sp_schema_prune(r->schema, obj, SP_STR(""), NULL);
    sp_schema_default(a, r->schema, obj);
    bool ok = !r->prepare || r->prepare(&ad, &err);
    if (ok) sp_schema_validate(r->schema, obj, SP_STR(""), &causes);
    ok = ok && sp_validate_meta(&ad, &err);
    ok = ok && (!r->validate || r->validate(&ad, &err));
    sp_assert(ok || err.text[0]);
    sp_vec_each(&causes.list, c) sp_assert(c->reason && c->message.n);
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, obj);
    sp_json *again = NULL;
    sp_assert(sp_json_parse(a, sp_buf_str(&b), &again, &err) && sp_json_equal(obj, again));
    sp_table t = {.resource = r, .version = "v1", .with_columns = true, .remaining = -1};
    sp_buf_clear(&b);
    sp_table_begin(&b, &t);
    sp_table_row(&b, &t, obj, SP_STR(""), a);
    sp_table_end(&b);
    sp_assert(sp_json_parse(a, sp_buf_str(&b), &again, &err));
    sp_vec_free(&warnings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *given = NULL;
    size_t rows;
    const sp_resource *const *r = sp_builtin_resources(&rows);
    if (size > 16384 || !sp_json_parse(a, (sp_str){(const char *)data, size}, &given, NULL))
        return 0;
    if (given->type != SP_JSON_OBJECT) return 0;
    for (size_t i = 0; i < rows; i++) {
        admit(r[i], given, false);
        admit(r[i], given, true);
    }
    return 0;
}
