/* Our JSON parser against jansson: both accept or both refuse, and what is accepted prints to text
 * that reads back equal. Known differences: jansson refuses numbers out of its range and stops
 * strings at NUL. */
#include "data/json.h"

#include <jansson.h>

static bool range_error(const json_error_t *e) {
    return json_error_code(e) == json_error_numeric_overflow;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str text = {(const char *)data, size};
    sp_json *j = NULL, *again = NULL;
    sp_err err = {0};
    bool ok = sp_json_parse(a, text, &j, &err);
    sp_assert(ok || (err.code != SP_OK && err.text[0]));
    if (ok) {
        sp_auto(sp_buf) b = {0};
        sp_json_write(&b, j);
        sp_assert(sp_json_parse(a, sp_buf_str(&b), &again, &err) && sp_json_equal(j, again));
    }
    if (size == 0 || memchr(data, 0, size) || sp_str_find(text, SP_STR("\\u0000")) >= 0) return 0;
    json_error_t theirs;
    json_t *oracle =
        json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &theirs);
    bool too_deep = !ok && sp_str_find(sp_str_z(err.text), SP_STR("too deeply")) >= 0;
    if (!oracle && range_error(&theirs)) return 0;
    sp_assert(too_deep || ok == (oracle != NULL));
    json_decref(oracle);
    return 0;
}
