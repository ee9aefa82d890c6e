/* A path or template on the first line, a document on the rest. */
#include "data/jsonpath.h"
#include "two_parts.h"

static const char fallback[] =
    "{\"items\":[{\"n\":\"a\",\"v\":1},{\"n\":\"b\",\"v\":[1,2,{\"x\":null}]}],\"kind\":\"List\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str first, rest;
    sp_json *j;
    const sp_jsonpath *path;
    const sp_jsonpath_template *template;
    sp_err err = {0};
    split_input(data, size, &first, &rest);
    if (!sp_json_parse(a, rest, &j, NULL))
        sp_assert(sp_json_parse(a, sp_str_z(fallback), &j, &err));
    sp_json_nodes found = {0};
    if (sp_jsonpath_compile(a, first, &path, &err)) {
        bool ok = sp_jsonpath_find(path, j, &found, &err);
        sp_assert(ok || !found.n);
        sp_assert(sp_jsonpath_first(path, j) == (found.n ? found.p[0] : NULL));
    }
    sp_vec_free(&found);
    sp_auto(sp_buf) b = {0};
    if (sp_jsonpath_template_compile(a, first, &template, &err))
        (void)!sp_jsonpath_print(template, j, size & 1, &b, &err);
    return 0;
}
