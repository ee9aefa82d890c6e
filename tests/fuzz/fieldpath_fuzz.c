/* A field path on the first line, a document on the rest: what is set is found there again, and a
 * refusal leaves the document as it was. */
#include "data/fieldpath.h"
#include "two_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str path, rest;
    sp_json *j, *got;
    sp_err err = {0};
    split_input(data, size, &path, &rest);
    if (!sp_json_parse(a, rest, &j, NULL)) j = sp_json_object(a);
    const sp_json *before = sp_json_clone(a, j), *value = sp_json_new_z(a, "value");
    bool valid = sp_fieldpath_check(path, &err);
    sp_assert(valid || !sp_fieldpath_get(j, path, &got, NULL));
    if (sp_fieldpath_set(a, j, path, value, &err)) {
        sp_assert(valid && sp_fieldpath_get(j, path, &got, &err) && sp_json_equal(got, value));
    } else {
        sp_assert(err.text[0] && sp_json_equal(j, before));
    }
    return 0;
}
