#include "documents.h"

#include "kube/object.h"

/* Matched against {"app":"web","tier":"front","n":"5","empty":""}. */
static void text_selectors_match(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool matches;
    } rows[] = {
        {"", true},
        {"  ", true},
        {"app=web", true},
        {"app==web", true},
        {" app = web , tier = front ", true},
        {"app=web,tier=back", false},
        {"app!=web", false},
        {"app != other", true},
        {"nothere!=x", true},
        {"app in (api,web)", true},
        {"app in (api)", false},
        {"app notin (api, db)", true},
        {"nothere notin (a)", true},
        {"nothere in (a)", false},
        {"app", true},
        {"!app", false},
        {"!nothere", true},
        {"n>4", true},
        {"n>5", false},
        {"n<6,n>1", true},
        {"app>1", false},
        {"empty=", true},
        {"empty in (,x)", true},
        {"app=", false},
        {"in=x", false},
        {"!x.io/y", true},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *labels =
            parse(a, "{\"app\":\"web\",\"tier\":\"front\",\"n\":\"5\",\"empty\":\"\"}");
        sp_selector *s = NULL;
        sp_err err = {0};
        if (!sp_selector_parse(a, sp_str_z(rows[i].text), &s, &err))
            fail_msg("%s: %s", rows[i].text, err.text);
        if (sp_selector_matches(s, labels) != rows[i].matches) fail_msg("%s", rows[i].text);
    }
}

static void broken_selectors_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"=x",       "a=b=c", "a b",   "a in b", "a in (b",
                                      "a,,b",     "!a=b",  "a!b",   "a>x",    ",a",
                                      "a=b,",     "a==-x", "a@b=1", "/a=1",   "a in ()b",
                                      "a notin ", "a=b c", "!",     "a(b)",   "a=(b)"};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_selector *s = NULL;
        sp_err err = {0};
        if (sp_selector_parse(a, sp_str_z(bad[i]), &s, &err)) fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err.code, SP_BAD_REQUEST);
        assert_true(err.text[0]);
    }
}

static void object_selectors_match(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int matches; /* -1: refused */
    } rows[] = {
        {"null", 1},
        {"{}", 1},
        {"{\"app\":\"web\"}", 1},
        {"{\"app\":\"other\"}", 0},
        {"{\"matchLabels\":{\"app\":\"web\"}}", 1},
        {"{\"matchLabels\":{\"app\":\"web\"},\"matchExpressions\":[{\"key\":\"tier\",\"operator\":"
         "\"Exists\"}]}",
         0},
        {"{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\",\"values\":[\"a\",\"web\"]}]"
         "}",
         1},
        {"{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"NotIn\",\"values\":[\"web\"]}]}",
         0},
        {"{\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"DoesNotExist\"}]}", 1},
        {"{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\"}]}", -1},
        {"{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"Exists\",\"values\":[\"x\"]}]}",
         -1},
        {"{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"Like\",\"values\":[\"x\"]}]}", -1},
        {"{\"app\":5}", -1},
        {"[]", -1},
        {"{\"matchLabels\":\"web\"}", 0}, /* a label of that name in a plain map */
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_selector *s = NULL;
        sp_err err = {0};
        bool ok = sp_selector_from_json(a, parse(a, rows[i].json), &s, &err);
        if (ok != (rows[i].matches >= 0)) fail_msg("%s: %s", rows[i].json, err.text);
        if (ok && sp_selector_matches(s, parse(a, "{\"app\":\"web\"}")) != (rows[i].matches == 1))
            fail_msg("%s", rows[i].json);
    }
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_selector *s = NULL;
    assert_true(sp_selector_from_json(a, NULL, &s, NULL));
    assert_true(sp_selector_is_empty(s) && sp_selector_matches(s, NULL));
}

static void collect(void *ctx, sp_str path) {
    sp_buf_add(ctx, path);
    sp_buf_addc(ctx, ';');
}

static void field_selectors_match(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int matches; /* -1: refused */
    } rows[] = {
        {"", 1},
        {"metadata.name=x", 1},
        {"metadata.name==x,spec.nodeName=", 1},
        {"metadata.name!=x", 0},
        {"status.phase!=Running", 1},
        {"spec.on=true,spec.n=5", 1},
        {"spec.odd=a\\,b\\=c", 1},
        {"spec.list=", 1},
        {"metadata.name", -1},
        {"=x", -1},
        {"!=x", -1},
        {"a..b=x", -1},
        {"a=b=c", -1},
        {"a=b\\", -1},
        {"a=b\\c", -1},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *o =
        parse(a, "{\"metadata\":{\"name\":\"x\"},\"spec\":{\"on\":true,\"n\":5,\"odd\":\"a,"
                 "b=c\",\"list\":[]}}");
    sp_field_selector *s = NULL;
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_err err = {0};
        bool ok = sp_field_selector_parse(a, sp_str_z(rows[i].text), &s, &err);
        if (ok != (rows[i].matches >= 0)) fail_msg("%s: %s", rows[i].text, err.text);
        if (ok && sp_field_selector_matches(s, o) != (rows[i].matches == 1))
            fail_msg("%s", rows[i].text);
    }
    sp_auto(sp_buf) b = {0};
    assert_true(sp_field_selector_parse(a, SP_STR("a.b=1,c!=2"), &s, NULL));
    sp_field_selector_paths(s, collect, &b);
    assert_string_equal(b.p, "a.b;c;");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_selectors_match),
        cmocka_unit_test(broken_selectors_are_refused),
        cmocka_unit_test(object_selectors_match),
        cmocka_unit_test(field_selectors_match),
    };
    return cmocka_run_group_tests_name("selector", tests, NULL, NULL);
}
