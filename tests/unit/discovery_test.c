/* Discovery and OpenAPI documents, from a few rows and from all of them. */
#include "apiserver/discovery.h"
#include "apiserver/openapi.h"
#include "apiserver/types/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const sp_resource *const few[] = {&sp_row_namespace, &sp_row_pod, &sp_row_deployment,
                                         &sp_row_oam_config_v1alpha1, &sp_row_oam_config};
static const sp_discovery_rows few_rows = {few, SP_COUNT(few)};

static sp_json *parse(sp_arena *a, sp_str text) {
    sp_json *j = NULL;
    sp_err err = {0};
    if (!sp_json_parse(a, text, &j, &err)) fail_msg("%s", err.text);
    return j;
}

static void plain_documents(void **state) {
    (void)state;
    sp_auto(sp_buf) b = {0};
    sp_discovery_api(&b, few_rows, SP_DISCOVERY_PLAIN, SP_STR("127.0.0.1:6443"));
    assert_string_equal(b.p, "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],"
                             "\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\","
                             "\"serverAddress\":\"127.0.0.1:6443\"}]}");
    sp_buf_clear(&b);
    sp_discovery_apis(&b, few_rows, SP_DISCOVERY_PLAIN);
    assert_string_equal(
        b.p, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[{\"name\":\"apps\","
             "\"versions\":"
             "[{\"groupVersion\":\"apps/"
             "v1\",\"version\":\"v1\"}],\"preferredVersion\":{\"groupVersion\":"
             "\"apps/"
             "v1\",\"version\":\"v1\"}},{\"name\":\"core.oam.dev\",\"versions\":[{\"groupVersion\":"
             "\"core.oam.dev/v1alpha2\",\"version\":\"v1alpha2\"},{\"groupVersion\":\"core.oam.dev/"
             "v1alpha1\",\"version\":\"v1alpha1\"}],\"preferredVersion\":{\"groupVersion\":"
             "\"core.oam.dev/v1alpha2\",\"version\":\"v1alpha2\"}}]}");
    sp_buf_clear(&b);
    assert_true(sp_discovery_resources(&b, few_rows, SP_STR("apps"), SP_STR("v1")));
    assert_non_null(strstr(b.p,
                           "{\"name\":\"deployments\",\"singularName\":\"deployment\","
                           "\"namespaced\":true,\"kind\":\"Deployment\",\"verbs\":[\"create\","));
    assert_non_null(strstr(b.p, "\"shortNames\":[\"deploy\"],\"categories\":[\"all\"],"
                                "\"storageVersionHash\":\""));
    assert_non_null(strstr(b.p, "{\"name\":\"deployments/scale\",\"singularName\":\"\","
                                "\"namespaced\":true,\"group\":\"autoscaling\",\"version\":\"v1\","
                                "\"kind\":\"Scale\",\"verbs\":[\"get\",\"patch\",\"update\"]}"));
    assert_false(sp_discovery_resources(&b, few_rows, SP_STR("apps"), SP_STR("v2")));
    assert_false(sp_discovery_group(&b, few_rows, SP_STR("nothing")));
}

static void aggregated_documents(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) b = {0};
    sp_discovery_api(&b, few_rows, SP_DISCOVERY_V2, SP_STR(""));
    const sp_json *doc = parse(a, sp_buf_str(&b));
    assert_string_equal(sp_json_get_z(doc, "apiVersion"), "apidiscovery.k8s.io/v2");
    const sp_json *group = sp_json_at(sp_json_get(doc, "items"), 0);
    assert_null(sp_json_dig(group, "metadata", "name", NULL));
    const sp_json *version = sp_json_at(sp_json_get(group, "versions"), 0);
    assert_int_equal(sp_json_get(version, "resources")->count, 2);
    const sp_json *pods = sp_json_at(sp_json_get(version, "resources"), 1);
    assert_string_equal(sp_json_get_z(pods, "scope"), "Namespaced");
    assert_string_equal(sp_json_z(sp_json_dig(pods, "responseKind", "kind", NULL)), "Pod");
    assert_int_equal(sp_json_get(pods, "subresources")->count, 7);
    sp_buf_clear(&b);
    sp_discovery_apis(&b, few_rows, SP_DISCOVERY_V2BETA1);
    doc = parse(a, sp_buf_str(&b));
    assert_string_equal(sp_json_get_z(doc, "apiVersion"), "apidiscovery.k8s.io/v2beta1");
    assert_int_equal(sp_json_get(doc, "items")->count, 2);
}

static void negotiation(void **state) {
    (void)state;
    static const char kubectl_1_33[] =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g="
        "apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    static const char kubectl_1_27[] = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as="
                                       "APIGroupDiscoveryList,application/json";
    assert_int_equal(sp_discovery_negotiate(sp_str_z(kubectl_1_33)), SP_DISCOVERY_V2);
    assert_int_equal(sp_discovery_negotiate(sp_str_z(kubectl_1_27)), SP_DISCOVERY_V2BETA1);
    assert_int_equal(sp_discovery_negotiate(SP_STR("application/json, */*")), SP_DISCOVERY_PLAIN);
    assert_int_equal(sp_discovery_negotiate(SP_STR("")), SP_DISCOVERY_PLAIN);
    assert_string_equal(sp_discovery_content_type(SP_DISCOVERY_V2),
                        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
}

static void versions_have_an_order(void **state) {
    (void)state;
    static const char *const order[] = {"v10",     "v2",        "v1",   "v11beta2", "v10beta3",
                                        "v3beta1", "v12alpha1", "foo1", "foo10"};
    for (size_t i = 0; i + 1 < SP_COUNT(order); i++) {
        assert_true(sp_version_compare(order[i], order[i + 1]) < 0);
        assert_true(sp_version_compare(order[i + 1], order[i]) > 0);
    }
    assert_int_equal(sp_version_compare("v1", "v1"), 0);
    char one[16], other[16];
    sp_storage_version_hash(&sp_row_oam_config, one);
    sp_storage_version_hash(&sp_row_oam_config_v1alpha1, other);
    assert_string_equal(one, other); /* an alias stores what it is an alias of */
    assert_int_equal(strlen(one), 12);
}

/* Every $ref of a document leads to a schema in it. */
static void check_refs(const sp_json *schemas, const sp_json *j) {
    static const sp_str prefix = SP_STR_INIT("#/components/schemas/");
    sp_json_each(j, it) {
        if (j->type == SP_JSON_OBJECT && sp_str_eqz(it->key, "$ref") &&
            it->type == SP_JSON_STRING && sp_str_starts(it->text, prefix)) {
            if (!sp_json_get_str(schemas, sp_str_from(it->text, prefix.n))) {
                fail_msg("%s leads nowhere", it->text.p);
            }
        }
        check_refs(schemas, it);
    }
}

static void openapi_documents_are_whole(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_discovery_rows rows;
    rows.p = sp_builtin_resources(&rows.n);
    sp_openapi *o = sp_openapi_new();
    sp_openapi_set_rows(o, rows);
    char etag[SP_ETAG_MAX], again[SP_ETAG_MAX];
    const sp_json *index = parse(a, sp_blob_str(sp_openapi_v3_index(o, etag)));
    size_t documents = 0;
    sp_json_each(sp_json_get(index, "paths"), it) {
        sp_blob *bytes = sp_openapi_v3(o, it->key, etag);
        assert_non_null(bytes);
        const char *url = sp_json_get_z(it, "serverRelativeURL");
        sp_str hash = sp_str_sub(sp_str_z(etag), 1, strlen(etag) - 2);
        assert_true(sp_str_find(sp_str_z(url), hash) > 0);
        const sp_json *doc = parse(a, sp_blob_str(bytes));
        check_refs(sp_json_dig(doc, "components", "schemas", NULL), doc);
        documents++;
    }
    assert_true(documents >= 12);
    assert_null(sp_openapi_v3(o, SP_STR("apis/none/v1"), etag));
    /* kubectl explain finds the kind by its path, and that the server validates fields. */
    const sp_json *core = parse(a, sp_blob_str(sp_openapi_v3(o, SP_STR("api/v1"), etag)));
    const sp_json *patch =
        sp_json_dig(core, "paths", "/api/v1/namespaces/{namespace}/pods/{name}", "patch", NULL);
    assert_string_equal(
        sp_json_z(sp_json_dig(patch, "x-kubernetes-group-version-kind", "kind", NULL)), "Pod");
    assert_string_equal(sp_json_get_z(sp_json_at(sp_json_get(patch, "parameters"), 2), "name"),
                        "fieldValidation");
    sp_openapi_v3(o, SP_STR("api/v1"), again);
    assert_string_equal(etag, again);
    /* One definition for all the kinds that share it. */
    sp_str v2 = sp_blob_str(sp_openapi_v2(o, etag));
    assert_true(
        sp_str_find(v2, SP_STR("[{\"group\":\"apps\",\"kind\":\"Deployment\",\"version\":\"v1\"},"
                               "{\"group\":\"extensions\",")) > 0);
    assert_true(sp_str_find(v2, SP_STR("merge,retainKeys")) > 0);
    assert_true(sp_str_starts(sp_blob_str(sp_openapi_v2(o, etag)), SP_STR("\x0a\x03"
                                                                          "2.0")));
    sp_openapi_free(o);
}

static void documents_follow_the_rows(void **state) {
    (void)state;
    sp_resource custom = {.group = "example.org",
                          .version = "v1",
                          .plural = "things",
                          .singular = "thing",
                          .kind = "Thing",
                          .is_crd = true};
    const sp_resource *rows[] = {&sp_row_pod, &custom};
    sp_openapi *o = sp_openapi_new();
    char one[SP_ETAG_MAX], two[SP_ETAG_MAX], pods[SP_ETAG_MAX], index[SP_ETAG_MAX];
    sp_openapi_set_rows(o, (sp_discovery_rows){rows, 1});
    assert_null(sp_openapi_v3(o, SP_STR("apis/example.org/v1"), one));
    sp_openapi_v3_index(o, index);
    sp_openapi_v3(o, SP_STR("api/v1"), pods);
    sp_openapi_set_rows(o, (sp_discovery_rows){rows, 2});
    assert_non_null(sp_openapi_v3(o, SP_STR("apis/example.org/v1"), one));
    custom.schema = T(config_map);
    sp_openapi_set_rows(o, (sp_discovery_rows){rows, 2});
    assert_non_null(sp_openapi_v3(o, SP_STR("apis/example.org/v1"), two));
    assert_string_not_equal(one, two);
    sp_openapi_v3_index(o, two);
    assert_string_not_equal(index, two);
    sp_openapi_set_rows(o, (sp_discovery_rows){rows, 1});
    assert_null(sp_openapi_v3(o, SP_STR("apis/example.org/v1"), one));
    sp_openapi_v3_index(o, two);
    assert_string_equal(index, two);
    sp_openapi_free(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_documents),
        cmocka_unit_test(aggregated_documents),
        cmocka_unit_test(negotiation),
        cmocka_unit_test(versions_have_an_order),
        cmocka_unit_test(openapi_documents_are_whole),
        cmocka_unit_test(documents_follow_the_rows),
    };
    return cmocka_run_group_tests_name("discovery", tests, NULL, NULL);
}
