#include "documents.h"

#include "kube/gvrs.h"
#include "kube/object.h"

#define assert_str(s, z) assert_true(sp_str_eqz((s), (z)))

static void metadata_is_read_and_absence_is_empty(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *o =
        parse(a, "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\","
                 "\"resourceVersion\":\"18446744073709551615\",\"generation\":3,"
                 "\"labels\":{\"app\":\"x\"},\"annotations\":{\"a/b\":\"y\"},"
                 "\"finalizers\":[\"f1\",\"f2\"],\"deletionTimestamp\":\"2026-11-22T00:00:00Z\"}}");
    assert_str(sp_obj_name(o), "p");
    assert_str(sp_obj_namespace(o), "n");
    assert_str(sp_obj_uid(o), "u");
    assert_str(sp_obj_kind(o), "Pod");
    assert_true(sp_obj_rv(o) == UINT64_MAX);
    assert_int_equal(sp_obj_generation(o), 3);
    assert_true(sp_obj_deleting(o));
    assert_str(sp_obj_label(o, "app"), "x");
    assert_str(sp_obj_annotation(o, "a/b"), "y");
    assert_true(sp_obj_has_finalizer(o, "f2"));
    assert_false(sp_obj_has_finalizer(o, "f"));
    assert_str(sp_obj_key(a, o), "n/p");

    sp_json *empty = parse(a, "{\"metadata\":{\"labels\":null,\"resourceVersion\":\"-1\"}}");
    assert_str(sp_obj_name(empty), "");
    assert_str(sp_obj_label(empty, "app"), "");
    assert_int_equal(sp_obj_rv(empty), 0);
    assert_false(sp_obj_deleting(empty));
    assert_null(sp_obj_controller(empty));
    assert_str(sp_obj_name(NULL), "");
}

static void keys_split_and_join(void **state) {
    (void)state;
    sp_str ns, name;
    sp_key_split(SP_STR("a/b"), &ns, &name);
    assert_str(ns, "a");
    assert_str(name, "b");
    sp_key_split(SP_STR("node-1"), &ns, &name);
    assert_str(ns, "");
    assert_str(name, "node-1");
}

static void paths_follow_group_and_scope(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str none = {0};
    assert_str(sp_gvr_path(a, &sp_gvr_pods, SP_STR("d"), SP_STR("p"), "log"),
               "/api/v1/namespaces/d/pods/p/log");
    assert_str(sp_gvr_path(a, &sp_gvr_pods, none, none, NULL), "/api/v1/pods");
    assert_str(sp_gvr_path(a, &sp_gvr_nodes, SP_STR("ignored"), SP_STR("n1"), NULL),
               "/api/v1/nodes/n1");
    assert_str(sp_gvr_path(a, &sp_gvr_deployments, SP_STR("d"), none, NULL),
               "/apis/apps/v1/namespaces/d/deployments");
    assert_str(sp_gvr_api_version(a, &sp_gvr_pods), "v1");
    assert_str(sp_gvr_api_version(a, &sp_gvr_deployments), "apps/v1");
}

static void owners_are_told_apart_by_uid(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *owner =
        parse(a, "{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"r\","
                 "\"uid\":\"u1\"}}");
    sp_json *twin =
        parse(a, "{\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"r\",\"uid\":\"u2\"}}");
    sp_json *pod = parse(a, "{\"metadata\":{\"ownerReferences\":[{\"uid\":\"u2\"}]}}");
    assert_null(sp_obj_controller(pod));
    sp_json_push(sp_json_dig(pod, "metadata", "ownerReferences", NULL), sp_owner_ref(a, owner));
    assert_true(sp_obj_controlled_by(pod, owner));
    assert_false(sp_obj_controlled_by(pod, twin));
    assert_false(sp_obj_controlled_by(pod, parse(a, "{}")));
    assert_str(sp_json_str(sp_json_get(sp_obj_controller(pod), "apiVersion")), "apps/v1");
}

static void names_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *s;
        bool label, subdomain, key, value;
    } rows[] = {
        {"web", 1, 1, 1, 1}, {"a.b", 0, 1, 1, 1},   {"", 0, 0, 0, 1},    {"-a", 0, 0, 0, 0},
        {"A", 0, 0, 1, 1},   {"a..b", 0, 0, 1, 1},  {"a/b", 0, 0, 1, 0}, {"x.io/b_c", 0, 0, 1, 0},
        {"/b", 0, 0, 0, 0},  {"a/b/c", 0, 0, 0, 0}, {"a_", 0, 0, 0, 0},  {"\xc3\xa9", 0, 0, 0, 0},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_str s = sp_str_z(rows[i].s);
        if (sp_name_is_label(s) != rows[i].label || sp_name_is_subdomain(s) != rows[i].subdomain ||
            sp_label_is_key(s) != rows[i].key || sp_label_is_value(s) != rows[i].value)
            fail_msg("row %zu: \"%s\"", i, rows[i].s);
    }
    char longest[65];
    memset(longest, 'a', sizeof longest);
    assert_true(sp_name_is_label((sp_str){longest, 63}));
    assert_false(sp_name_is_label((sp_str){longest, 64}));
    assert_true(sp_name_is_subdomain((sp_str){longest, 64}));
}

static void status_and_error_are_one(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_err err = {0}, back = {0};
    sp_fail(&err, SP_NOT_FOUND, "pods \"x\" not found");
    sp_json *s = sp_status_from_err(a, &err, NULL, "", "pods", SP_STR("x"));
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, s);
    assert_string_equal(
        b.p, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
             "\"message\":\"pods \\\"x\\\" not found\",\"reason\":\"NotFound\","
             "\"details\":{\"name\":\"x\",\"kind\":\"pods\"},\"code\":404}");
    assert_false(sp_err_from_status(&back, 404, s));
    assert_int_equal(back.code, SP_NOT_FOUND);
    assert_string_equal(back.text, err.text);

    sp_auto(sp_causes) causes = {.arena = a};
    sp_causes_add(&causes, "FieldValueRequired", SP_STR("spec.a"), "Required value");
    sp_causes_add(&causes, "FieldValueInvalid", SP_STR("spec.b"), "Invalid value: %d", 7);
    sp_fail(&err, SP_INVALID, "invalid");
    s = sp_status_from_err(a, &err, &causes, "apps", "Deployment", SP_STR("web"));
    assert_string_equal(
        sp_json_get_z(s, "message"),
        "Deployment.apps \"web\" is invalid: [spec.a: Required value, spec.b: Invalid value: 7]");
    sp_err_from_status(&back, 422, s);
    assert_int_equal(back.code, SP_INVALID);
    assert_string_equal(back.field, "spec.a");

    sp_err_from_status(&back, 502, NULL);
    assert_int_equal(back.code, SP_INTERNAL);
    assert_non_null(strstr(back.text, "502"));
    sp_err_from_status(
        &back, 409,
        parse(a, "{\"kind\":\"Status\",\"reason\":\"Conflict\",\"message\":\"m\",\"code\":409}"));
    assert_int_equal(back.code, SP_CONFLICT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_is_read_and_absence_is_empty),
        cmocka_unit_test(keys_split_and_join),
        cmocka_unit_test(paths_follow_group_and_scope),
        cmocka_unit_test(owners_are_told_apart_by_uid),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(status_and_error_are_one),
    };
    return cmocka_run_group_tests_name("object", tests, NULL, NULL);
}
