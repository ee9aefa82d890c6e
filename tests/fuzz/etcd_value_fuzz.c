/* A value as somebody else may have put it into etcd: where the revision belongs is found only in
 * an object with an empty metadata.resourceVersion, and what is made there parses as before. */
#include "data/json.h"
#include "store/etcd_key.h"
#include "store/value.h"

static sp_str version_of(sp_arena *a, sp_str text) {
    sp_json *doc = NULL;
    if (!sp_json_parse(a, text, &doc, NULL)) return (sp_str){0};
    return sp_json_str(sp_json_dig(doc, "metadata", "resourceVersion", NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    sp_str s = {(const char *)data, n};
    uint32_t at = 0;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *doc = NULL;
    if (!sp_etcd_find_rev(s, &at)) return 0;
    sp_assert(at > 0 && at < n && s.p[at - 1] == '"' && s.p[at] == '"');
    sp_store_value *v = sp_store_value_new(s, at, UINT64_MAX, 1);
    sp_str text = sp_blob_str(v->bytes);
    sp_assert(text.n == n + 20);
    if (sp_json_parse(a, s, &doc, NULL))
        sp_assert(sp_str_eqz(version_of(a, text), "18446744073709551615"));
    sp_store_value_unref(v);
    return 0;
}
