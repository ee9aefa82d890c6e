/* Label and field selectors come from query strings: any bytes either parse or give an error with a
 * text, and what parses can be matched. The third reading takes the bytes as a selector object. */
#include "kube/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str text = {(const char *)data, size};
    sp_err err = {0};
    sp_json *labels = NULL, *obj = NULL, *j = NULL;
    sp_assert(sp_json_parse(a, SP_STR("{\"a\":\"1\",\"b\":\"x\"}"), &labels, &err));
    sp_assert(sp_json_parse(a, SP_STR("{\"metadata\":{\"name\":\"x\"}}"), &obj, &err));

    sp_selector *s = NULL;
    if (sp_selector_parse(a, text, &s, &err)) {
        bool nothing = sp_selector_matches(s, NULL);
        sp_selector_matches(s, labels);
        sp_assert(!sp_selector_is_empty(s) || nothing);
    } else {
        sp_assert(err.code != SP_OK && err.text[0]);
    }
    sp_field_selector *f = NULL;
    err = (sp_err){0};
    if (sp_field_selector_parse(a, text, &f, &err))
        sp_field_selector_matches(f, obj);
    else
        sp_assert(err.code != SP_OK && err.text[0]);
    if (sp_json_parse(a, text, &j, &err) && sp_selector_from_json(a, j, &s, &err))
        sp_selector_matches(s, labels);
    return 0;
}
