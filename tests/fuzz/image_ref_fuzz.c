/* Whatever is taken is printed to a form that parses to itself; challenges of registries do no
 * harm. */
#include "agent/image_ref.h"
#include "agent/registry_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str text = {(const char *)data, size};
    sp_image_ref r, again;
    sp_err err = {0};
    sp_auto(sp_buf) url = {0};
    (void)!sp_registry_token_url(text, SP_STR("library/x"), false, &url, &err);
    err = (sp_err){0};
    if (!sp_image_ref_parse(a, text, &r, &err)) {
        sp_assert(err.text[0]);
        return 0;
    }
    sp_str one = sp_image_ref_text(a, &r);
    sp_assert(sp_image_ref_parse(a, one, &again, &err));
    sp_assert(sp_str_eq(one, sp_image_ref_text(a, &again)));
    sp_assert(sp_str_find(r.repository, SP_STR("..")) < 0);
    return 0;
}
