/* Protobuf bodies of built-in kinds: never a crash, an error always says something, and what was
 * read prints to JSON that our strict parser takes. */
#include "apiserver/protobuf.h"
#include "apiserver/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *obj = NULL, *again = NULL;
    sp_err err = {0};
    sp_str body = {(const char *)data, size};
    if (!sp_protobuf_decode(a, body, sp_builtin_schema, NULL, &obj, &err)) {
        sp_assert(err.code != SP_OK && err.text[0] && !obj);
        return 0;
    }
    sp_auto(sp_buf) text = {0};
    sp_json_write(&text, obj);
    sp_assert(sp_json_parse(a, sp_buf_str(&text), &again, &err) && sp_json_equal(obj, again));
    return 0;
}
