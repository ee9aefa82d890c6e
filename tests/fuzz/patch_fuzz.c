/* A document on the first line, a patch on the rest, applied in all three ways. What comes out is a
 * document again (within the depth limit); a merge patch applied twice changes nothing more. */
#include "data/patch.h"
#include "two_parts.h"

/* {"l": [{"n": key, …itself}], "s": set, "o": itself, "a": replaced list, others free} */
static const sp_schema node;
static const sp_schema any = {.type = SP_SCHEMA_ANY};
static const sp_schema scalars = {.type = SP_SCHEMA_ARRAY, .items = &any};
static const sp_schema nodes = {.type = SP_SCHEMA_ARRAY, .items = &node};
static const sp_field node_fields[] = {
    {"l", 0, &nodes, NULL, .merge_key = "n"},
    {"s", 0, &scalars, NULL, .merge_primitives = true},
    {"o", 0, &node, NULL},
    {"a", 0, &scalars, NULL},
};
static const sp_schema node = {
    .type = SP_SCHEMA_OBJECT, .fields = node_fields, .field_count = SP_COUNT(node_fields)};

static void check(sp_arena *a, const sp_json *doc) {
    sp_auto(sp_buf) b = {0};
    sp_json *again;
    sp_err err = {0};
    sp_json_write(&b, doc);
    sp_assert(b.n > SP_JSON_MAX_BYTES || sp_json_parse(a, sp_buf_str(&b), &again, &err));
    sp_assert(b.n > SP_JSON_MAX_BYTES || sp_json_equal(doc, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str first, rest;
    sp_json *doc, *patch;
    sp_err err = {0};
    split_input(data, size, &first, &rest);
    if (!sp_json_parse(a, first, &doc, NULL) || !sp_json_parse(a, rest, &patch, NULL)) return 0;
    sp_json *one = sp_json_clone(a, doc), *two = sp_json_clone(a, doc), *three;
    if (sp_patch_json(a, &one, patch, &err))
        check(a, one);
    else
        sp_assert(err.text[0]);
    sp_patch_merge(a, &two, patch);
    check(a, two);
    three = sp_json_clone(a, two);
    sp_patch_merge(a, &three, patch);
    sp_assert(sp_json_equal(two, three));
    if (sp_patch_strategic(a, &node, &doc, patch, &err)) check(a, doc);
    return 0;
}
