/* A kind added at run time: served at once, validated, defaulted, pruned, cleaned up. */
#include "api_world.h"

#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define WIDGETS "/apis/ex.io/v1/namespaces/default/widgets"
#define MERGE "application/merge-patch+json"

static const char widgets[] =
    "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\","
    "\"metadata\":{\"name\":\"widgets.ex.io\"},\"spec\":{\"group\":\"ex.io\",\"scope\":"
    "\"Namespaced\","
    "\"names\":{\"plural\":\"widgets\",\"kind\":\"Widget\",\"shortNames\":[\"wd\"]},\"versions\":["
    "{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{"
    "\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"required\":[\"size\"],"
    "\"properties\":{\"size\":{\"type\":\"integer\",\"maximum\":9},"
    "\"color\":{\"type\":\"string\",\"default\":\"red\"}}},"
    "\"status\":{\"type\":\"object\",\"properties\":{\"phase\":{\"type\":\"string\"}}}}}},"
    "\"subresources\":{\"status\":{}}},"
    "{\"name\":\"v2\",\"served\":true,\"storage\":false,\"schema\":{\"openAPIV3Schema\":{"
    "\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true}}}]}}";

static int open_world(void **state) {
    (void)state;
    world_open();
    return 0;
}

static int close_world(void **state) {
    (void)state;
    world_close();
    return 0;
}

static void rules_not_enforced_are_told(void **state) {
    (void)state;
    const char *body =
        "{\"metadata\":{\"name\":\"rules.ex.io\"},\"spec\":{\"group\":\"ex.io\",\"scope\":"
        "\"Cluster\","
        "\"names\":{\"plural\":\"rules\",\"kind\":\"Rule\"},\"versions\":[{\"name\":\"v1\","
        "\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\","
        "\"properties\":{\"spec\":{\"type\":\"object\",\"x-kubernetes-validations\":["
        "{\"rule\":\"self.a < self.b\"}]}}}}}]}}";
    assert_int_equal(api("POST", CRDS, body), 201);
    assert_non_null(
        strstr(w.warning.p, "properties.spec.x-kubernetes-validations: validation rules"));
}

static void served_at_once(void **state) {
    (void)state;
    assert_int_equal(api("POST", CRDS, widgets), 201);
    assert_true(sp_condition_is_true(w.json, "Established"));
    assert_int_equal(
        api("POST", WIDGETS,
            "{\"apiVersion\":\"ex.io/v1\",\"kind\":\"Widget\",\"metadata\":{\"name\":\"a\","
            "\"labels\":{\"x\":\"y\"}},\"spec\":{\"size\":3,\"junk\":1},"
            "\"status\":{\"phase\":\"p\"}}"),
        201);
    assert_string_equal(got("spec", "color", NULL), "red");
    assert_null(sp_json_dig(w.json, "spec", "junk", NULL));
    assert_null(sp_json_get(w.json, "status"));
    assert_string_equal(got("metadata", "labels", "x", NULL), "y");
    assert_int_equal(api("GET", "/apis/ex.io/v2/namespaces/default/widgets/a", ""), 200);
    assert_string_equal(got("apiVersion", NULL), "ex.io/v2");
    assert_int_equal(api("POST", WIDGETS, "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"size\":30}}"),
                     422);
    assert_non_null(strstr(got("message", NULL), "spec.size"));
    assert_int_equal(
        api_typed("PATCH", WIDGETS "/a/status", MERGE, "{\"status\":{\"phase\":\"ok\"}}"), 200);
    assert_string_equal(got("status", "phase", NULL), "ok");
    assert_int_equal(
        api_typed("PATCH", WIDGETS "/a", "application/strategic-merge-patch+json", "{}"), 415);
    assert_int_equal(api("GET", "/apis/ex.io/v1", ""), 200);
    assert_non_null(strstr(w.text.p, "\"wd\""));
}

static void bad_ones_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *was, *becomes, *field;
    } rows[] = {
        {"widgets.ex.io", "wrong.ex.io", "metadata.name"},
        {"\"storage\":true", "\"storage\":false", "spec.versions"},
        {"\"name\":\"v2\"", "\"name\":\"v1\"", "spec.versions[1].name"},
        {"\"kind\":\"Widget\"", "\"kind\":\"widget\"", "spec.names.kind"},
        {"\"type\":\"integer\",", "", "properties[size]"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        const char *at = strstr(widgets, rows[i].was);
        assert_non_null(at);
        sp_str body = sp_arena_printf(w.arena, "%.*s%s%s", (int)(at - widgets), widgets,
                                      rows[i].becomes, at + strlen(rows[i].was));
        api("POST", CRDS, body.p);
        if (w.status != 422 || !strstr(got("message", NULL), rows[i].field))
            fail_msg("%s: %d %.*s", rows[i].field, w.status, SP_ARG(w.text));
    }
}

static void deletion_takes_the_objects_along(void **state) {
    (void)state;
    assert_int_equal(api("POST", CRDS, widgets), 201);
    assert_int_equal(api("POST", WIDGETS, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"size\":3}}"),
                     201);
    assert_int_equal(api("POST", WIDGETS,
                         "{\"metadata\":{\"name\":\"b\",\"finalizers\":[\"x.y/z\"]},"
                         "\"spec\":{\"size\":3}}"),
                     201);
    assert_int_equal(api("DELETE", CRDS "/widgets.ex.io", ""), 200);
    while (api("GET", WIDGETS "/a", "") == 200) continue;
    assert_int_equal(api("GET", WIDGETS "/b", ""), 200);
    assert_int_equal(api("POST", WIDGETS, "{\"metadata\":{\"name\":\"c\"},\"spec\":{\"size\":3}}"),
                     405);
    assert_int_equal(
        api_typed("PATCH", WIDGETS "/b", MERGE, "{\"metadata\":{\"finalizers\":null}}"), 200);
    while (api("GET", CRDS "/widgets.ex.io", "") == 200) continue;
    assert_int_equal(api("GET", WIDGETS, ""), 404);
    assert_int_equal(api("POST", CRDS, widgets), 201);
    assert_int_equal(api("GET", WIDGETS, ""), 200);
    assert_int_equal(sp_json_get(w.json, "items")->count, 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {T(served_at_once), T(rules_not_enforced_are_told),
                                       T(bad_ones_are_refused),
                                       T(deletion_takes_the_objects_along)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
