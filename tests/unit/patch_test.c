#include "documents.h"

#include "data/patch.h"

#include <time.h>

static void pointers_lead_to_nodes(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = parse(a, "{\"a\":{\"b/c\":[1,{\"~\":2}],\"\":3}}");
    assert_ptr_equal(sp_json_pointer(j, SP_STR("")), j);
    assert_json(sp_json_pointer(j, SP_STR("/a/b~1c/1/~0")), "2");
    assert_json(sp_json_pointer(j, SP_STR("/a/")), "3");
    static const char *const nowhere[] = {"a",          "/b",      "/a/b~1c/2",   "/a/b~1c/-",
                                          "/a/b~1c/01", "/a/b~2c", "/a/b~1c/0/x", "/"};
    for (size_t i = 0; i < SP_COUNT(nowhere); i++)
        assert_null(sp_json_pointer(j, sp_str_z(nowhere[i])));
}

static void json_patches_apply(void **state) {
    (void)state;
    static const struct {
        const char *doc, *patch, *want;
    } cases[] = {
        /* RFC 6902 appendix A and the corners of section 4 */
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
         "{\"foo\":\"bar\",\"baz\":\"qux\"}"},
        {"[1,3]", "[{\"op\":\"add\",\"path\":\"/1\",\"value\":2}]", "[1,2,3]"},
        {"[1]", "[{\"op\":\"add\",\"path\":\"/1\",\"value\":2}]", "[1,2]"},
        {"[1]", "[{\"op\":\"add\",\"path\":\"/-\",\"value\":[2]}]", "[1,[2]]"},
        {"{\"a\":1,\"b\":2}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"b\":2}"},
        {"[1,2,3]", "[{\"op\":\"remove\",\"path\":\"/1\"}]", "[1,3]"},
        {"{\"a\":1,\"b\":2}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":{\"x\":null}}]",
         "{\"a\":{\"x\":null},\"b\":2}"},
        {"{\"a\":{\"x\":1},\"b\":{}}", "[{\"op\":\"move\",\"from\":\"/a/x\",\"path\":\"/b/y\"}]",
         "{\"a\":{},\"b\":{\"y\":1}}"},
        {"[1,2,3,4]", "[{\"op\":\"move\",\"from\":\"/1\",\"path\":\"/3\"}]", "[1,3,4,2]"},
        {"[0,\"s\",{}]", "[{\"op\":\"move\",\"from\":\"/0\",\"path\":\"/1/x\"}]",
         "[\"s\",{\"x\":0}]"},
        {"{\"a\":1}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a\"}]", "{\"a\":1}"},
        {"{\"a\":[1]}",
         "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"},{\"op\":\"add\",\"path\":\"/b/"
         "-\",\"value\":2}]",
         "{\"a\":[1],\"b\":[1,2]}"},
        {"{\"a\":1}",
         "[{\"op\":\"test\",\"path\":\"/"
         "a\",\"value\":1},{\"op\":\"add\",\"path\":\"\",\"value\":7}]",
         "7"},
        {"{\"a\":[1.0,{\"b\":1e1}]}",
         "[{\"op\":\"test\",\"path\":\"/a\",\"value\":[1,{\"b\":10}]}]",
         "{\"a\":[1.0,{\"b\":1e1}]}"},
        {"{\"a/b\":1,\"~\":2}",
         "[{\"op\":\"replace\",\"path\":\"/a~1b\",\"value\":3},{\"op\":\"remove\",\"path\":\"/"
         "~0\"}]",
         "{\"a/b\":3}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":null,\"extra\":true}]",
         "{\"a\":null}"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *doc = parse(a, cases[i].doc);
        sp_err err = {0};
        if (!sp_patch_json(a, &doc, parse(a, cases[i].patch), &err)) fail_msg("%s", err.text);
        assert_json(doc, cases[i].want);
    }
}

static void json_patches_say_what_does_not_apply(void **state) {
    (void)state;
    static const struct {
        const char *patch;
        sp_code code;
        const char *says;
    } cases[] = {
        {"{}", SP_BAD_REQUEST, "a JSON patch is a list of operations, not object"},
        {"[{\"op\":\"test\",\"path\":\"/a\",\"value\":1},{\"op\":\"remove\",\"path\":\"/x\"}]",
         SP_INVALID, "JSON patch operation 1 (remove /x): there is nothing at this path"},
        {"[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", SP_INVALID,
         "JSON patch operation 0 (test /a): the test failed, the value there is another one"},
        {"[{\"op\":\"add\",\"path\":\"/l/2\",\"value\":2}]", SP_INVALID,
         "JSON patch operation 0 (add /l/2): the index is outside the list"},
        {"[{\"op\":\"add\",\"path\":\"/q/r\",\"value\":2}]", SP_INVALID,
         "JSON patch operation 0 (add /q/r): what should hold the target is missing"},
        {"[{\"op\":\"add\",\"path\":\"/b\"}]", SP_BAD_REQUEST,
         "JSON patch operation 0 (add /b): \"value\" is missing"},
        {"[{\"op\":\"boo\",\"path\":\"/b\"}]", SP_BAD_REQUEST,
         "JSON patch operation 0 (boo /b): \"op\" is add, remove, replace, move, copy or test"},
        {"[{\"op\":\"move\",\"from\":\"/l\",\"path\":\"/l/0\"}]", SP_BAD_REQUEST,
         "JSON patch operation 0 (move /l/0): a value cannot be moved into itself"},
        {"[{\"op\":\"add\",\"path\":\"b\",\"value\":1}]", SP_BAD_REQUEST,
         "JSON patch operation 0 (add b): a path starts with '/' or is empty"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *doc = parse(a, "{\"a\":1,\"l\":[1]}");
        sp_err err = {0};
        assert_false(sp_patch_json(a, &doc, parse(a, cases[i].patch), &err));
        assert_string_equal(err.text, cases[i].says);
        assert_int_equal(err.code, cases[i].code);
    }
}

/* Copying a document into itself doubles it (and its depth): both are capped. */
static void json_patches_cannot_explode(void **state) {
    (void)state;
    static const char *const ops[] = {"{\"op\":\"copy\",\"from\":\"\",\"path\":\"/-\"}",
                                      "{\"op\":\"copy\",\"from\":\"/0\",\"path\":\"/0/0\"}"};
    static const sp_code codes[] = {SP_BAD_REQUEST, SP_BAD_REQUEST};
    for (size_t i = 0; i < SP_COUNT(ops); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_auto(sp_buf) b = {0};
        sp_buf_addc(&b, '[');
        for (int n = 0; n < 200; n++) sp_buf_printf(&b, "%s%s", n ? "," : "", ops[i]);
        sp_buf_addc(&b, ']');
        sp_json *doc = parse(a, "[[[\"text\"]]]");
        sp_err err = {0};
        assert_false(sp_patch_json(a, &doc, parse(a, b.p), &err));
        assert_true(err.code == codes[i] || err.code == SP_TOO_LARGE);
    }
}

static void merge_patches_apply(void **state) {
    (void)state;
    static const struct {
        const char *doc, *patch, *want;
    } cases[] = {
        /* RFC 7386 appendix A */
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *doc = parse(a, cases[i].doc);
        sp_patch_merge(a, &doc, parse(a, cases[i].patch));
        assert_json(doc, cases[i].want);
    }
}

/* 60,000 members on both sides, in opposite order: seconds if any step were quadratic. */
static void large_objects_take_no_quadratic_time(void **state) {
    (void)state;
    enum { N = 60000 };
    static const sp_schema open = {.type = SP_SCHEMA_OBJECT};
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *doc = sp_json_object(a), *patch = sp_json_object(a), *sorted = sp_json_object(a);
    for (int i = 0; i < 2 * N; i++) {
        int from_end = 2 * N - 1 - i;
        sp_json *one = sp_json_new_int(a, i), *two = sp_json_new_int(a, -from_end),
                *three = sp_json_new_int(a, -i);
        one->key = three->key = sp_arena_printf(a, "key%07d", i);
        two->key = sp_arena_printf(a, "key%07d", from_end);
        if (i < N) sp_json_set_new(doc, one);
        sp_json_set_new(patch, two);
        sp_json_set_new(sorted, three);
    }
    sp_err err = {0};
    sp_json *merged = sp_json_clone(a, doc), *strategic = sp_json_clone(a, doc);
    clock_t start = clock();
    sp_patch_merge(a, &merged, patch);
    assert_true(sp_patch_strategic(a, &open, &strategic, patch, &err));
    assert_int_equal(merged->count, 2 * N);
    assert_true(sp_json_equal(merged, strategic));
    assert_true(sp_json_equal(merged, sorted) && sp_json_equal(patch, sorted));
    assert_true(clock() - start < 3 * CLOCKS_PER_SEC);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointers_lead_to_nodes),
        cmocka_unit_test(json_patches_apply),
        cmocka_unit_test(json_patches_say_what_does_not_apply),
        cmocka_unit_test(json_patches_cannot_explode),
        cmocka_unit_test(merge_patches_apply),
        cmocka_unit_test(large_objects_take_no_quadratic_time),
    };
    return cmocka_run_group_tests_name("patch", tests, NULL, NULL);
}
