#include "apiserver/continue_token.h"

#include "data/base64.h"
#include "data/json.h"

enum { MAX_TOKEN = 4096 };

sp_str sp_continue_make(sp_arena *a, uint64_t rev, sp_str start) {
    sp_auto(sp_buf) json = {0}, text = {0};
    sp_buf_addz(&json, "{\"v\":\"meta.k8s.io/v1\",\"rv\":");
    sp_buf_u64(&json, rev);
    sp_buf_addz(&json, ",\"start\":");
    sp_json_write_string(&json, start);
    sp_buf_addc(&json, '}');
    sp_base64url_encode(&text, sp_buf_str(&json));
    return sp_arena_str(a, sp_buf_str(&text));
}

static bool bad(sp_err *err, const char *why) {
    return sp_fail(err, SP_BAD_REQUEST,
                   "continue key is not valid: %s; start the list again without it", why);
}

bool sp_continue_parse(sp_arena *a, sp_str token, uint64_t *ret_rev, sp_str *ret_start,
                       sp_err *err) {
    sp_auto(sp_buf) text = {0};
    sp_json *j;
    if (token.n > MAX_TOKEN) return bad(err, "it is too long");
    while (sp_str_ends(token, SP_STR("="))) token.n--;
    if (!sp_base64url_decode(&text, token)) return bad(err, "it is not base64url");
    if (!sp_json_parse(a, sp_buf_str(&text), &j, NULL)) return bad(err, "it holds no JSON");
    int64_t rev = sp_json_int(sp_json_get(j, "rv"), 0);
    sp_str start = sp_json_str(sp_json_get(j, "start"));
    if (!sp_str_eqz(sp_json_str(sp_json_get(j, "v")), "meta.k8s.io/v1") || rev <= 0 || !start.n ||
        start.p[0] == '/')
        return bad(err, "it was not made by this server");
    *ret_rev = (uint64_t)rev;
    *ret_start = start;
    return true;
}
