/* URLs, query strings and percent-encoding: what is accepted lies inside the input, and encoding
 * what was decoded decodes to the same. */
#include "net/http.h"

static void inside(sp_str part, sp_str whole) {
    if (part.n == 0) return;
    bool fallback = sp_str_eqz(part, "/") && (part.p < whole.p || part.p >= whole.p + whole.n);
    sp_assert(fallback || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) b = {0};
    sp_str text = {(const char *)data, size}, decoded, again, value;
    sp_url u;
    sp_err err = {0};
    if (sp_url_parse(text, &u, &err)) {
        sp_assert(u.port > 0 && u.host.n > 0 && u.target.n > 0 && u.target.p[0] == '/');
        inside(u.host, text);
        inside(u.target, text);
    } else {
        sp_assert(err.code == SP_BAD_REQUEST && err.text[0]);
    }
    if (sp_url_decode(a, text, false, &decoded)) {
        sp_assert(decoded.n <= text.n);
        sp_url_encode(&b, decoded);
        sp_assert(sp_url_decode(a, sp_buf_str(&b), false, &again) && sp_str_eq(decoded, again));
    }
    if (sp_query_get(a, text, "a", &value)) sp_assert(value.n <= text.n);
    return 0;
}
