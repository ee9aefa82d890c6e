/* What a client can put into a request line: the path, the continue token. Whatever is understood
 * must be made of clean segments; a token that is taken must come from the one that makes them. */
#include "apiserver/continue_token.h"
#include "apiserver/reqinfo.h"

static void clean(sp_str s) {
    sp_assert(sp_str_chr(s, '/') < 0 && sp_str_chr(s, 0) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str text = {(const char *)data, size}, start;
    sp_reqinfo r;
    sp_err err = {0};
    uint64_t rev;
    if (size && text.p[0] == '/') {
        if (sp_reqinfo_parse(a, SP_STR("GET"), text, false, &r, &err)) {
            clean(r.ns), clean(r.name), clean(r.plural), clean(r.sub);
            sp_assert(!r.is_resource || r.plural.n);
        } else {
            sp_assert(err.code == SP_BAD_REQUEST && err.text[0]);
        }
    }
    if (sp_continue_parse(a, text, &rev, &start, &err)) {
        sp_str again = sp_continue_make(a, rev, start), start2;
        uint64_t rev2;
        sp_assert(sp_continue_parse(a, again, &rev2, &start2, &err));
        sp_assert(rev == rev2 && sp_str_eq(start, start2));
    }
    return 0;
}
