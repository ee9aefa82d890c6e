#include "data/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void assert_yaml(const char *text, const char *want) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = NULL;
    sp_err err = {0};
    if (!sp_yaml_parse(a, sp_str_z(text), &j, &err)) fail_msg("%s\nin: %s", err.text, text);
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, j);
    assert_string_equal(b.p, want);
}

static void assert_refused(const char *text, const char *says) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = NULL;
    sp_err err = {0};
    if (sp_yaml_parse(a, sp_str_z(text), &j, &err)) fail_msg("accepted: %s", text);
    assert_string_equal(err.text, says);
    assert_int_equal(err.code, SP_BAD_REQUEST);
    assert_null(j);
}

static void scalars_resolve_as_in_kubernetes(void **state) {
    (void)state;
    assert_yaml("[yes, Yes, YES, no, on, Off, true, TRUE, False]",
                "[true,true,true,false,true,false,true,true,false]");
    assert_yaml("[y, n, Y, N, yEs, \"yes\", 'no', !!str on, ! true]",
                "[\"y\",\"n\",\"Y\",\"N\",\"yEs\",\"yes\",\"no\",\"on\",\"true\"]");
    assert_yaml("[0, -0, +7, 0644, 0o17, 0x1F, 0b101, 1_000, 08, -0x10, 18446744073709551615]",
                "[0,0,7,420,15,31,5,1000,8,-16,18446744073709551615]");
    assert_yaml("[1.5, .5, 1., 1e3, 4.0, -2.50, 1e-7, 1.5e400, 1.2.3, 1e]",
                "[1.5,0.5,1,1000,4,-2.5,1e-07,\"1.5e400\",\"1.2.3\",\"1e\"]");
    assert_yaml("[~, null, Null, NULL, nULL, '', 2001-01-01, 1:30, 0x, ., -, +, 09a]",
                "[null,null,null,null,\"nULL\",\"\",\"2001-01-01\",\"1:30\",\"0x\",\".\",\"-\",\"+"
                "\",\"09a\"]");
    assert_yaml("a:\nb: |\n  x\n   y\nc: >-\n  p\n  q\n",
                "{\"a\":null,\"b\":\"x\\n y\\n\",\"c\":\"p q\"}");
    assert_yaml("{1: a, true: b, 1.5: c, on2: d, 0x10: e}",
                "{\"1\":\"a\",\"true\":\"b\",\"1.5\":\"c\",\"on2\":\"d\",\"16\":\"e\"}");
    assert_yaml("a: \xe2\x80\x9c"
                "app/v1\xe2\x80\x9d\nb: \xe2\x80\x98"
                "0 0 6 * * ?\xe2\x80\x99\n",
                "{\"a\":\"\xe2\x80\x9c"
                "app/v1\xe2\x80\x9d\",\"b\":\"\xe2\x80\x98"
                "0 0 6 * * ?\xe2\x80\x99\"}");
}

static void anchors_and_merges_expand(void **state) {
    (void)state;
    assert_yaml("a: &x {p: 1, q: [2]}\nb: *x\nc:\n  <<: *x\n  p: 9\n",
                "{\"a\":{\"p\":1,\"q\":[2]},\"b\":{\"p\":1,\"q\":[2]},\"c\":{\"p\":9,\"q\":[2]}}");
    assert_yaml("- &x {p: 1}\n- &y {p: 2, q: 2}\n- {<<: [*x, *y], r: 3}\n- *x\n",
                "[{\"p\":1},{\"p\":2,\"q\":2},{\"r\":3,\"p\":1,\"q\":2},{\"p\":1}]");
    assert_yaml("- {<<: &x {p: 1}}\n- *x\n- '<<': 1\n", "[{\"p\":1},{\"p\":1},{\"<<\":1}]");
    assert_refused("a: &x [*x]\n",
                   "YAML line 1, column 8: the alias names no anchor that is complete before it");
    assert_refused("a: {<<: 1}\n",
                   "YAML line 1, column 9: \"<<\" takes a mapping or a list of mappings");
    sp_auto(sp_buf) laughs = {0};
    sp_buf_addz(&laughs, "a0: &a0 [x]\n");
    for (int i = 1; i < 30; i++)
        sp_buf_printf(&laughs, "a%d: &a%d [*a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j;
    sp_err err = {0};
    assert_false(sp_yaml_parse(a, sp_buf_str(&laughs), &j, &err));
    assert_non_null(strstr(err.text, "the aliases expand to too much"));
}

static void documents_are_split(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json_docs docs = {0};
    sp_err err = {0};
    assert_true(sp_yaml_parse_all(a, SP_STR("---\n# nothing\n---\na: 1\n...\n---\n[2]\n---\n"),
                                  &docs, &err));
    assert_int_equal(docs.n, 2);
    assert_int_equal(sp_json_int(sp_json_get(docs.p[0], "a"), 0), 1);
    assert_false(sp_yaml_parse_all(a, SP_STR("a: 1\n---\n\"b\n"), &docs, &err));
    assert_int_equal(docs.n, 2);
    sp_vec_free(&docs);
    assert_refused("", "YAML: the text holds no document");
    assert_refused("a: 1\n---\nb: 2\n", "YAML: 2 documents where one is expected");
    assert_yaml("\xef\xbb\xbf"
                "a: 1",
                "{\"a\":1}");
    assert_yaml("{\"a\": \"\\ud83d\\ude00\", \"n\": 1.50}",
                "{\"a\":\"\xf0\x9f\x98\x80\",\"n\":1.50}");
    assert_yaml("{\"a\": 1,}", "{\"a\":1}");
}

static void refusals_say_where(void **state) {
    (void)state;
    assert_refused("a: 1\nb: 2\na: 3\n", "YAML line 3, column 1: the field \"a\" is there twice");
    assert_refused("a: 1\n\tb: 2\n", "YAML line 2, column 1: a tab cannot be used to indent");
    assert_refused(
        "a: b: c\n",
        "YAML line 1, column 5: a ':' is not allowed here (is the line above complete, the "
        "indentation right, or does a value need quotes?)");
    assert_refused("a:\n  b: 1\n c: 2\n",
                   "YAML line 3, column 2: the indentation does not match the lines above");
    assert_refused("a: \"x\nb: 1\n", "YAML line 1, column 4: the quoted text does not end");
    assert_refused("a: [1, 2\nb: 3\n", "YAML line 2, column 2: ',' or ']' is expected here");
    assert_refused("a: [1,, 2]\n", "YAML line 1, column 7: a value is expected here");
    assert_refused(
        "schedule: * * * * *\n",
        "YAML line 1, column 12: a name must follow '&' or '*' (text that begins so needs quotes)");
    assert_refused("a: \xff\n", "YAML line 1, column 4: the bytes are not UTF-8");
    assert_refused(
        "a: .inf\n",
        "YAML line 1, column 4: infinity and not-a-number have no JSON form; quote it for text");
    assert_refused("? [a]\n: 1\n",
                   "YAML line 1, column 3: a field name must be plain or quoted text");
    assert_refused(
        "~: 1\n",
        "YAML line 1, column 1: a field name is missing (null is none; quote it for text)");
    assert_refused("a: !!binary aGk=\n", "YAML line 1, column 4: an unknown tag");
    assert_refused("a: !!int x\n", "YAML line 1, column 4: the value does not fit its tag");
    assert_refused("key: v\nmissing colon\n",
                   "YAML line 2, column 1: this line is no \"field: value\": a ':' is missing");
    assert_refused("{\"a\": \"x\" \"b\"}", "JSON line 1, column 11: ',' or '}' is expected here");
    sp_auto(sp_buf) deep = {0};
    for (int i = 0; i < 101; i++) sp_buf_addc(&deep, '[');
    assert_refused(deep.p, "JSON line 1, column 101: nested too deeply (100 levels at most)");
    sp_buf_clear(&deep);
    for (int i = 0; i < 101; i++) sp_buf_addz(&deep, "- ");
    assert_refused(deep.p, "YAML line 1, column 201: nested too deeply (100 levels at most)");
}

/* The mission's failing example: what ends the document is indented. */
static void an_indented_document_end_is_located(void **state) {
    (void)state;
    assert_refused(
        "apiVersion: core.oam.dev/v1alpha2\n"
        "kind: ApplicationConfiguration\n"
        "metadata:\n"
        "  name: failed-example\n"
        "spec:\n"
        "  components:\n"
        "    - name: nginx-replicated-v1\n"
        "      traits:\n"
        "        - trait:\n"
        "            apiVersion: app.alibabacloud.com/v1\n"
        "            kind: CronHPA\n"
        "            spec:            \n"
        "              timezone: \"America/Los_Angeles\"\n"
        "              schedule: \"0 0 6 * * ?\"\n"
        "              cpu: 50\n"
        "              ...\n",
        "YAML line 16, column 15: \"...\" ends a document only at the start of a line; here it is "
        "indented: remove it");
}

static void manifests_keep_their_types(void **state) {
    (void)state;
    assert_yaml(
        "kind: Deployment\napiVersion: extensions/v1beta1\nspec:\n  replicas: 3\n  template:\n"
        "    spec:\n      containers:\n        - name: nginx\n          image: nginx:1.7.9\n"
        "          securityContext:\n            allowPrivilegeEscalation: false\n",
        "{\"kind\":\"Deployment\",\"apiVersion\":\"extensions/"
        "v1beta1\",\"spec\":{\"replicas\":3,\"template\":"
        "{\"spec\":{\"containers\":[{\"name\":\"nginx\",\"image\":\"nginx:1.7.9\","
        "\"securityContext\":"
        "{\"allowPrivilegeEscalation\":false}}]}}}}");
    assert_yaml("spec:            \n  parameterValues:\n  - name: connections\n    value: 4096\n  "
                "- value: \"4096\"\n",
                "{\"spec\":{\"parameterValues\":[{\"name\":\"connections\",\"value\":4096},{"
                "\"value\":\"4096\"}]}}");
}

static void documents_are_written_as_kubectl_prints(void **state) {
    (void)state;
    static const char *const same[] = {
        "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations: {}\n  creationTimestamp: "
        "\"2026-11-22T16:03:29Z\"\n"
        "  name: x\nspec:\n  containers:\n  - args: []\n    env:\n    - name: a\n      value: "
        "\"1\"\n    image: nginx:1.7.9\n"
        "  hostIPC: true\n  empty: \"\"\n  none: null\n  count: 4096\n",
        "script: |\n  #!/bin/sh\n  echo hi\n\n    indented\ntext: |-\n  a\n  b\nkeep: |+\n  "
        "a\n\nlast: x\n",
        "a: |2-\n   x\n  y\nb: |2+\n\nc: \"a\\tb\\nc\"\nd: \"x \\ny\"\ne: |2\n\n  x\n",
        "- - a\n  - b\n- c: 1\n  d:\n  - e\n- |\n  x\n  y\n",
        "a: 'x: y'\nb: '#c'\nc: a#b\nd: '- x'\ne: -x\nf: \"yes\"\ng: \"y\"\nh: \"1:30\"\ni: "
        "a:1\nj: 'it''s: me'\nk: it's\n"
        "l: \"\\x01\\e9\\u2028\"\nm: ' x'\nnn: \"~\"\no: \"0644\"\np: \"1e3\"\nq: 'a:'\n",
        "\"yes\": 1\n\"1\": 2\n\"<<\": 3\na b: 4\n'a: b': 5\n\"\": 6\n",
        "\"text\\r\"\n",
        "plain\n",
        "[]\n",
    };
    for (size_t i = 0; i < SP_COUNT(same); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *j = NULL, *again = NULL;
        sp_err err = {0};
        sp_auto(sp_buf) b = {0};
        sp_auto(sp_buf) fixed = {0};
        for (const char *c = same[i]; *c; c++) /* \e9 is shown as it is: a letter */
            if (strncmp(c, "\\e9", 3) == 0)
                sp_buf_addz(&fixed, "\xc3\xa9"), c += 2;
            else
                sp_buf_addc(&fixed, *c);
        if (!sp_yaml_parse(a, sp_buf_str(&fixed), &j, &err))
            fail_msg("%s in %s", err.text, fixed.p);
        sp_yaml_write(&b, j);
        assert_string_equal(b.p, fixed.p);
        assert_true(sp_yaml_parse(a, sp_buf_str(&b), &again, &err));
        assert_true(sp_json_equal(j, again));
    }
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) name = {0};
    sp_auto(sp_buf) b = {0};
    for (int i = 0; i < 2000; i++) sp_buf_addc(&name, 'k');
    sp_json *j = sp_json_object(a), *again = NULL;
    sp_json_set_int(a, sp_json_ensure_object(a, j, name.p), name.p, 1);
    sp_yaml_write(&b, j);
    assert_true(sp_yaml_parse(a, sp_buf_str(&b), &again, NULL));
    assert_true(sp_json_equal(j, again));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_resolve_as_in_kubernetes),
        cmocka_unit_test(anchors_and_merges_expand),
        cmocka_unit_test(documents_are_split),
        cmocka_unit_test(refusals_say_where),
        cmocka_unit_test(an_indented_document_end_is_located),
        cmocka_unit_test(manifests_keep_their_types),
        cmocka_unit_test(documents_are_written_as_kubectl_prints),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
