/* Any text: what is accepted fits the limits, is valid JSON, and written as YAML reads back the
 * same. Numbers of JSON input may be rewritten once, so those are compared after the first round.
 */
#include "data/yaml.h"

static sp_json *round_trip(sp_arena *a, const sp_json *j) {
    sp_auto(sp_buf) b = {0};
    sp_json *again = NULL;
    sp_err err = {0};
    sp_yaml_write(&b, j);
    if (j->type == SP_JSON_NULL) return sp_json_null(a);
    sp_assert(sp_yaml_parse(a, sp_buf_str(&b), &again, &err));
    return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json_docs docs = {0};
    sp_err err = {0};
    sp_str text = {(const char *)data, size};
    bool ok = sp_yaml_parse_all(a, text, &docs, &err);
    sp_assert(ok || (err.code != SP_OK && err.text[0] && !docs.n));
    sp_vec_each(&docs, doc) {
        sp_auto(sp_buf) b = {0};
        sp_json *again, *as_json;
        again = round_trip(a, *doc);
        sp_assert(sp_json_equal(again, round_trip(a, again)));
        sp_json_write(&b, *doc);
        sp_assert(b.n > SP_JSON_MAX_BYTES || sp_json_parse(a, sp_buf_str(&b), &as_json, &err));
        bool json = sp_json_parse(a, text, &as_json, NULL);
        sp_assert(json || sp_json_equal(*doc, again));
    }
    sp_vec_free(&docs);
    return 0;
}
