/* The schema of a CRD on the first line, an object on the rest. A schema that is taken comes out as
 * OpenAPI that is taken again; pruning leaves nothing to prune; defaulting leaves nothing to do. */
#include "data/schema.h"
#include "two_parts.h"

static void check_object(sp_arena *a, const sp_schema *s, sp_json *j) {
    sp_auto(sp_causes) causes = {.arena = a};
    sp_schema_prune(s, j, SP_STR(""), NULL);
    sp_schema_prune(s, j, SP_STR(""), &causes);
    sp_assert(causes.list.n == 0);
    sp_schema_default(a, s, j);
    sp_json *once = sp_json_clone(a, j);
    sp_schema_default(a, s, j);
    sp_assert(sp_json_equal(once, j));
    bool ok = sp_schema_validate(s, j, SP_STR(""), &causes);
    sp_assert(ok == (causes.list.n == 0) && causes.list.n <= 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str first, rest;
    sp_json *openapi, *j;
    const sp_schema *s = NULL, *again;
    sp_err err = {0};
    split_input(data, size, &first, &rest);
    if (!sp_json_parse(a, first, &openapi, NULL)) return 0;
    if (!sp_schema_from_json(a, openapi, &s, &err)) {
        sp_assert(err.text[0] && !s);
        return 0;
    }
    sp_auto(sp_buf) b = {0};
    sp_schema_to_openapi(&b, s, NULL);
    sp_assert(sp_json_parse(a, sp_buf_str(&b), &openapi, &err));
    sp_assert(sp_schema_from_json(a, openapi, &again, &err));
    if (sp_json_parse(a, rest, &j, NULL)) check_object(a, s, j);
    return 0;
}
