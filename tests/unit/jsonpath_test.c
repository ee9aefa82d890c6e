/* jsonpath, and the field paths of OAM */
#include "documents.h"

#include "data/fieldpath.h"
#include "data/jsonpath.h"

static const char list[] =
    "{\"kind\":\"List\",\"items\":[{\"metadata\":{\"name\":\"a\",\"labels\":{\"app.k8s.io/"
    "x\":\"1\"}},"
    "\"status\":{\"n\":1,\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"},{\"type\":"
    "\"Old\",\"status\":\"False\"}]}},"
    "{\"metadata\":{\"name\":\"b\"},\"status\":{\"n\":2.5,\"ok\":true,\"none\":null}}]}";

static void paths_find_nodes(void **state) {
    (void)state;
    static const struct {
        const char *path, *want; /* results, each ended by ';' */
    } cases[] = {
        {".kind", "List;"},
        {"kind", "List;"},
        {"{.kind}", "List;"},
        {"$.kind", "List;"},
        {"{ $.kind }", "List;"},
        {".items[0].metadata.name", "a;"},
        {".items[-1].metadata.name", "b;"},
        {".items[2]", ""},
        {".items[-3]", ""},
        {".items[*].metadata.name", "a;b;"},
        {".items[0:1].metadata.name", "a;"},
        {".items[1:].metadata.name", "b;"},
        {".items[::2].metadata.name", "a;"},
        {".items[0,1].status.n", "1;2.5;"},
        {".items[:-1].status.n", "1;"},
        {"..name", "a;b;"},
        {".items[0].metadata.labels['app\\.k8s\\.io/x']", "1;"},
        {".items[*]['kind','metadata'].name", "a;b;"},
        {"..metadata.name", "a;b;"},
        {".items[0]..type", "Ready;Old;"},
        {"..conditions[0].type", "Ready;"},
        {".items[0].metadata.labels.app\\.k8s\\.io/x", "1;"},
        {".items[0].metadata.labels['app.k8s.io/x']", "1;"},
        {".items[0].metadata['name','labels']", "a;{\"app.k8s.io/x\":\"1\"};"},
        {".items[1].status.*", "2.5;true;null;"},
        {".items[0].status.conditions[?(@.type==\"Ready\")].status", "True;"},
        {".items[0].status.conditions[?(@.type == 'Ready')].status", "True;"},
        {".items[0].status.conditions[?(@.type!=\"Ready\")].type", "Old;"},
        {".items[?(@.status.n>1)].metadata.name", "b;"},
        {".items[?(@.status.n<=1.0)].metadata.name", "a;"},
        {".items[?(@.status.ok)].metadata.name", "b;"},
        {".items[?(@.status.ok==true)].metadata.name", "b;"},
        {".items[?(@.status.conditions[?(@.type==\"Old\")])].metadata.name", "a;"},
        {".items[?(@.metadata.name==$.items[1].metadata.name)].status.n", "2.5;"},
        {".items[?(@.status.n==\"1\")]", ""},
        {".missing.deeper", ""},
        {".kind.deeper", ""},
        {".kind[0]", ""},
        {"@.kind", "List;"},
        {"$['kind']", "List;"},
        {".items.[0].metadata.name", "a;"},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_json *j = parse(a, list);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const sp_jsonpath *p;
        sp_err err = {0};
        if (!sp_jsonpath_compile(a, sp_str_z(cases[i].path), &p, &err))
            fail_msg("%s: %s", cases[i].path, err.text);
        sp_json_nodes found = {0};
        sp_auto(sp_buf) b = {0};
        assert_true(sp_jsonpath_find(p, j, &found, &err));
        sp_vec_each(&found, node) {
            sp_jsonpath_write_node(&b, *node);
            sp_buf_addc(&b, ';');
        }
        if (strcmp(sp_buf_z(&b), cases[i].want) != 0)
            fail_msg("%s gives %s", cases[i].path, sp_buf_z(&b));
        assert_ptr_equal(sp_jsonpath_first(p, j), found.n ? found.p[0] : NULL);
        sp_vec_free(&found);
    }
}

static void broken_paths_say_where(void **state) {
    (void)state;
    static const struct {
        const char *path, *says;
    } cases[] = {
        {".a..", "jsonpath, character 5: a field name or '[' must follow '..'"},
        {".a[", "jsonpath, character 4: a whole number is expected here"},
        {".a[1", "jsonpath, character 5: ',' or ']' is expected here"},
        {".a[::0]", "jsonpath, character 7: the stride must be greater than 0"},
        {".a['x]", "jsonpath, character 7: the quoted text does not end"},
        {".a[?(@.x==)]",
         "jsonpath, character 11: @, a quoted text, a number, true or false is expected here"},
        {".a[?(@.x=1)]", "jsonpath, character 9: ==, !=, <, <=, > or >= is expected here"},
        {".a[?(@.x==1]", "jsonpath, character 12: ')' is expected here"},
        {"{.a", "jsonpath, character 4: '}' is expected here"},
        {".a}", "jsonpath, character 3: this does not belong to a path"},
        {".a.", "jsonpath, character 4: a field name is expected here"},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const sp_jsonpath *p;
        sp_err err = {0};
        if (sp_jsonpath_compile(a, sp_str_z(cases[i].path), &p, &err))
            fail_msg("%s is taken", cases[i].path);
        assert_string_equal(err.text, cases[i].says);
    }
}

static void templates_print(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{.items[*].metadata.name}", "a b"},
        {"{range .items[*]}{.metadata.name}{\"\\t\"}{.status.n}{\"\\n\"}{end}", "a\t1\nb\t2.5\n"},
        {"names: {.items[0].metadata.name}, {.items[1].metadata.name}!", "names: a, b!"},
        {"{range .items[*]}{range .status.conditions[*]}{.type}={.status};{end}{$.kind} {end}",
         "Ready=True;Old=False;List List "},
        {"{.items[0].metadata}", "{\"name\":\"a\",\"labels\":{\"app.k8s.io/x\":\"1\"}}"},
        {"{.items[1].status.none}", "null"},
        {".kind", ".kind"},
        {"{.missing}", ""},
        {"", ""},
        {"{'it''s'}", NULL},
        {"{'x\\'y'}{@.kind}{.}", NULL},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_json *j = parse(a, list);
    for (size_t i = 0; i + 2 < SP_COUNT(cases); i++) {
        const sp_jsonpath_template *t;
        sp_err err = {0};
        sp_auto(sp_buf) b = {0};
        if (!sp_jsonpath_template_compile(a, sp_str_z(cases[i].text), &t, &err))
            fail_msg("%s", err.text);
        assert_true(sp_jsonpath_print(t, j, true, &b, &err));
        assert_string_equal(sp_buf_z(&b), cases[i].want);
    }
    const sp_jsonpath_template *t;
    sp_err err = {0};
    sp_auto(sp_buf) b = {0};
    assert_true(sp_jsonpath_template_compile(a, SP_STR("{'x\\'y'}{.missing}"), &t, &err));
    assert_false(sp_jsonpath_print(t, j, false, &b, &err));
    assert_string_equal(b.p, "x'y");
    assert_string_equal(err.text, ".missing leads nowhere in this object");
    assert_int_equal(err.code, SP_NOT_FOUND);
    sp_buf_clear(&b);
    assert_true(sp_jsonpath_template_compile(a, SP_STR("{.items[2].metadata.name}"), &t, &err));
    assert_false(sp_jsonpath_print(t, j, true, &b, &err));
    assert_string_equal(err.text, "array index out of bounds: index 2, length 2");
    assert_true(sp_jsonpath_template_compile(
        a, SP_STR("{.items[*]['metadata','status']['name','n']}"), &t, &err));
    assert_true(sp_jsonpath_print(t, j, true, &b, &err));
    assert_string_equal(b.p, "a b 1 2.5");
    static const char *const broken[] = {"{end}", "{range .a}",           "{.a",      "{}",
                                         "{\"x}", "{range .a}{end}{end}", "{'it''s'}"};
    for (size_t i = 0; i < SP_COUNT(broken); i++)
        assert_false(sp_jsonpath_template_compile(a, sp_str_z(broken[i]), &t, &err));
}

static void walks_are_bounded(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) deep = {0};
    for (int i = 0; i < 90; i++) sp_buf_addc(&deep, '[');
    for (int i = 0; i < 90; i++) sp_buf_addc(&deep, ']');
    const sp_jsonpath *p;
    sp_err err = {0};
    sp_json_nodes found = {0};
    assert_true(sp_jsonpath_compile(a, SP_STR("..*..*..*..*..*..*"), &p, &err));
    assert_false(sp_jsonpath_find(p, parse(a, deep.p), &found, &err));
    assert_string_equal(err.text, "the jsonpath visits more than 10000000 nodes");
    assert_int_equal(found.n, 0);
    sp_vec_free(&found);
}

static void field_paths_read(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = parse(a, "{\"a\":{\"b\":[{\"c\":1},{\"d.e\":2}],\"0\":3}}"), *got = NULL;
    sp_err err = {0};
    static const struct {
        const char *path, *want;
    } good[] = {{"a.b[0].c", "1"}, {"a.b[1][d.e]", "2"},     {"a.b[1]['d.e']", "2"},
                {"a['0']", "3"},   {"a[b][0]", "{\"c\":1}"}, {"['a'].0", "3"}};
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        if (!sp_fieldpath_get(j, sp_str_z(good[i].path), &got, &err))
            fail_msg("%s: %s", good[i].path, err.text);
        assert_json(got, good[i].want);
    }
    static const struct {
        const char *path, *says;
        sp_code code;
    } bad[] = {
        {"", "field path \"\", character 1: a field name is expected here", SP_INVALID},
        {".a", "field path \".a\", character 1: a field name is expected here", SP_INVALID},
        {"a.", "field path \"a.\", character 2: a field name must follow the dot", SP_INVALID},
        {"a..b", "field path \"a..b\", character 3: a field name is expected here", SP_INVALID},
        {"a[]", "field path \"a[]\", character 3: nothing between the brackets", SP_INVALID},
        {"a.[0]", "field path \"a.[0]\", character 2: a field name must follow the dot",
         SP_INVALID},
        {"a[0", "field path \"a[0\", character 3: ']' is missing", SP_INVALID},
        {"a]", "field path \"a]\", character 2: ']' without '['", SP_INVALID},
        {"a[0]b", "field path \"a[0]b\", character 5: '.' or '[' is expected here", SP_INVALID},
        {"a[*]",
         "field path \"a[*]\", character 5: an index or a field name belongs between the brackets",
         SP_INVALID},
        {"a.x.y", "there is no a.x", SP_NOT_FOUND},
        {"a.b[2]", "there is no a.b[2]", SP_NOT_FOUND},
        {"a.b.c", "a.b is array, not object", SP_INVALID},
        {"a[0]", "a is object, not array", SP_INVALID},
        {"[0]", "the object is object, not array", SP_INVALID},
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        assert_false(sp_fieldpath_get(j, sp_str_z(bad[i].path), &got, &err));
        assert_string_equal(err.text, bad[i].says);
        assert_int_equal(err.code, bad[i].code);
        assert_int_equal(sp_fieldpath_check(sp_str_z(bad[i].path), &err), i >= 10);
    }
}

static void field_paths_set(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = parse(a, "{\"spec\":{\"containers\":[{\"name\":\"c\"}],\"gone\":null}}");
    sp_json *v = sp_json_new_int(a, 4096);
    sp_err err = {0};
    assert_true(sp_fieldpath_set(a, j, SP_STR("spec.containers[0].env[2].value"), v, &err));
    assert_true(sp_fieldpath_set(a, j, SP_STR("spec.gone.x"), v, &err));
    assert_true(sp_fieldpath_set(a, j, SP_STR("spec.containers[0].name"), v, &err));
    assert_true(sp_fieldpath_set(a, j, SP_STR("[a.b]"), v, &err));
    const char *want = "{\"spec\":{\"containers\":[{\"name\":4096,\"env\":[null,null,{\"value\":"
                       "4096}]}],\"gone\":{\"x\":4096}},"
                       "\"a.b\":4096}";
    assert_json(j, want);
    assert_false(sp_fieldpath_set(a, j, SP_STR("new[1000]"), v, &err));
    assert_false(sp_fieldpath_set(a, j, SP_STR("spec.new.containers[1000].x"), v, &err));
    assert_string_equal(err.text, "field path \"spec.new.containers[1000].x\", character 25: an "
                                  "index of at most 999 is taken");
    assert_false(sp_fieldpath_set(a, j, SP_STR("spec.containers[0].name.x"), v, &err));
    assert_string_equal(err.text, "spec.containers[0].name is integer, not object");
    assert_json(j, want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_find_nodes), cmocka_unit_test(broken_paths_say_where),
        cmocka_unit_test(templates_print),  cmocka_unit_test(walks_are_bounded),
        cmocka_unit_test(field_paths_read), cmocka_unit_test(field_paths_set),
    };
    return cmocka_run_group_tests_name("jsonpath", tests, NULL, NULL);
}
