#include "data/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void round_trips_keep_every_byte(void **state) {
    (void)state;
    static const char *const same[] = {
        "{\"a\":[1,2.50,-0,1e3,18446744073709551616,0.1],\"b\":{\"c\":null,\"d\":true}}",
        "\"quote \\\" slash \\\\ line \\n bell \\u0007 \xc3\xa9 \xf0\x9f\x98\x80\"",
        "[]",
        "{}",
        "[[[{}]]]",
    };
    for (size_t i = 0; i < SP_COUNT(same); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *j = NULL;
        sp_err err = {0};
        assert_true(sp_json_parse(a, sp_str_z(same[i]), &j, &err));
        sp_auto(sp_buf) b = {0};
        sp_json_write(&b, sp_json_clone(a, j));
        assert_string_equal(b.p, same[i]);
    }
}

static void refusals_say_where(void **state) {
    (void)state;
    static const struct {
        const char *in, *says;
    } bad[] = {
        {"{\n  \"a\": 01\n}", "JSON line 2, column 9: a number must not start with 0"},
        {"{\"a\":1,\"a\":2}", "JSON line 1, column 8: the field \"a\" is there twice"},
        {"", "JSON line 1, column 1: the text ends too early"},
        {"[1,]", "JSON line 1, column 4: a value is expected here"},
        {"\"\\ud800\"", "JSON line 1, column 8: a high surrogate without its low one"},
        {"\"\xc0\x80\"", "JSON line 1, column 2: the bytes are not UTF-8"},
        {"{} x", "JSON line 1, column 4: nothing may follow the document"},
        {"\"a\nb\"", "JSON line 1, column 3: a control character must be escaped"},
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *j = NULL;
        sp_err err = {0};
        assert_false(sp_json_parse(a, sp_str_z(bad[i].in), &j, &err));
        assert_string_equal(err.text, bad[i].says);
    }
}

/* Every text ends in a NUL, wherever it stood in the document; long runs and odd lengths too. */
static void texts_end_in_nul(void **state) {
    (void)state;
    for (size_t n = 0; n < 70; n++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_auto(sp_buf) b = {0};
        sp_auto(sp_buf) again = {0};
        sp_auto(sp_buf) run = {0};
        for (size_t i = 0; i < n; i++) sp_buf_addc(&run, (char)('a' + i % 26));
        sp_buf_printf(&b, "{\"%s\" :[12 , -3.5e1\n,\"%s\",\"%s\\n%s\xc3\xa9\\u00e9%s\"],\"z\":7}",
                      sp_buf_z(&run), sp_buf_z(&run), sp_buf_z(&run), sp_buf_z(&run),
                      sp_buf_z(&run));
        sp_json *j = NULL, *copy = NULL;
        sp_err err = {0};
        assert_true(sp_json_parse(a, sp_buf_str(&b), &j, &err));
        memset(b.p, 'x', b.n);
        assert_string_equal(j->first->key.p, sp_buf_z(&run));
        assert_string_equal(j->first->first->text.p, "12");
        assert_string_equal(sp_json_at(j->first, 1)->text.p, "-3.5e1");
        assert_string_equal(sp_json_z(sp_json_at(j->first, 2)), sp_buf_z(&run));
        assert_int_equal(strlen(sp_json_z(sp_json_at(j->first, 3))), 3 * n + 5);
        assert_string_equal(sp_json_get(j, "z")->text.p, "7");
        sp_json_write(&again, j);
        assert_true(sp_json_parse(a, sp_buf_str(&again), &copy, &err));
        assert_true(sp_json_equal(j, copy));
    }
}

static void trees_are_edited_in_place(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *o = sp_json_object(a);
    sp_json_set_int(a, o, "x", 1);
    sp_json_set_z(a, sp_json_ensure_object(a, o, "meta"), "name", "n");
    sp_json *list = sp_json_ensure_array(a, o, "list");
    sp_json_push(list, sp_json_new_double(a, 0.1));
    sp_json_insert(list, 0, sp_json_new_bool(a, false));
    sp_json_set_z(a, o, "x", "one");
    sp_json_set_first(a, o, "kind", sp_json_new_z(a, "K"));
    assert_true(sp_json_remove(sp_json_get(o, "meta"), "name"));
    assert_false(sp_json_remove(o, "nothing"));
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, o);
    assert_string_equal(b.p, "{\"kind\":\"K\",\"x\":\"one\",\"meta\":{},\"list\":[false,0.1]}");
    sp_json_remove_at(list, 1);
    sp_json_push(list, sp_json_null(a));
    assert_int_equal(list->count, 2);
    assert_string_equal(sp_json_z(sp_json_dig(o, "meta", "name", NULL)), "");
}

static void packed_copies_are_whole(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_err err;
    sp_json *j;
    assert_true(
        sp_json_parse(a, SP_STR("{\"a\":[1,true,null,\"\",{\"b\":\"c\"}],\"d\":{}}"), &j, &err));
    sp_json *packed = sp_json_pack(j);
    assert_true(sp_json_equal(j, packed));
    free(packed);
    assert_null(sp_json_pack(NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_copies_are_whole),   cmocka_unit_test(round_trips_keep_every_byte),
        cmocka_unit_test(refusals_say_where),        cmocka_unit_test(texts_end_in_nul),
        cmocka_unit_test(trees_are_edited_in_place),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
