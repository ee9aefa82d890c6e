/* From a CRD's OpenAPI schema to sp_schema and back. */
#include "documents.h"

#include "data/schema.h"

static const char cron[] =
    "{\"type\":\"object\",\"description\":\"Scales by the "
    "clock.\",\"required\":[\"spec\"],\"properties\":{"
    "\"apiVersion\":{\"type\":\"string\"},\"kind\":{\"type\":\"string\"},\"metadata\":{\"type\":"
    "\"object\"},"
    "\"spec\":{\"type\":\"object\",\"required\":[\"timezone\"],\"properties\":{"
    "\"timezone\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z_/]+$\",\"minLength\":1},"
    "\"cpu\":{\"type\":\"integer\",\"format\":\"int32\",\"minimum\":1,\"maximum\":100,\"default\":"
    "80},"
    "\"mode\":{\"type\":\"string\",\"enum\":[\"a\",\"b\"],\"nullable\":true},"
    "\"port\":{\"x-kubernetes-int-or-string\":true,\"anyOf\":[{\"type\":\"integer\"},{\"type\":"
    "\"string\"}]},"
    "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"free\":{\"x-kubernetes-preserve-unknown-fields\":true},"
    "\"object\":{\"type\":\"object\",\"x-kubernetes-embedded-resource\":true,\"x-kubernetes-"
    "preserve-unknown-fields\":true},"
    "\"jobs\":{\"type\":\"array\",\"maxItems\":3,\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-"
    "list-map-keys\":[\"name\"],"
    "\"items\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":"
    "\"string\"},"
    "\"at\":{\"type\":\"string\",\"format\":\"date-time\"},\"address\":{\"type\":\"string\","
    "\"format\":\"ipv4\"}},"
    "\"oneOf\":[{\"required\":[\"at\"]},{\"required\":[\"address\"]}]}}}}}}";

static const sp_schema *compile(sp_arena *a, const char *text) {
    const sp_schema *s = NULL;
    sp_err err = {0};
    if (!sp_schema_from_json(a, parse(a, text), &s, &err)) fail_msg("%s", err.text);
    return s;
}

static void assert_object(const char *text, const char *after, const char *causes_say) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_causes) causes = {.arena = a};
    sp_auto(sp_buf) b = {0};
    const sp_schema *s = compile(a, cron);
    sp_json *j = parse(a, text);
    sp_schema_prune(s, j, SP_STR(""), NULL);
    sp_schema_default(a, s, j);
    sp_schema_validate(s, j, SP_STR(""), &causes);
    sp_vec_each(&causes.list, c)
        sp_buf_printf(&b, "%.*s: %.*s\n", SP_ARG(c->field), SP_ARG(c->message));
    assert_string_equal(sp_buf_z(&b), causes_say);
    sp_buf_clear(&b);
    sp_json_write(&b, j);
    assert_string_equal(b.p, after);
}

static void custom_objects_are_pruned_defaulted_validated(void **state) {
    (void)state;
    assert_object("{\"apiVersion\":\"v1\",\"kind\":\"C\",\"metadata\":{\"name\":\"n\",\"x\":1},"
                  "\"junk\":1,\"spec\":{\"timezone\":\"UTC\","
                  "\"junk\":2,\"mode\":null,\"port\":80,\"free\":{\"q\":[1]},\"labels\":{\"a\":"
                  "\"b\"},\"object\":{\"kind\":\"K\","
                  "\"apiVersion\":\"v1\",\"any\":1},\"jobs\":[{\"name\":\"j\",\"junk\":3,\"at\":"
                  "\"2026-11-22T16:03:29Z\"}]}}",
                  "{\"apiVersion\":\"v1\",\"kind\":\"C\",\"metadata\":{\"name\":\"n\",\"x\":1},"
                  "\"spec\":{\"timezone\":\"UTC\","
                  "\"mode\":null,\"port\":80,\"free\":{\"q\":[1]},\"labels\":{\"a\":\"b\"},"
                  "\"object\":{\"kind\":\"K\","
                  "\"apiVersion\":\"v1\",\"any\":1},\"jobs\":[{\"name\":\"j\",\"at\":\"2026-11-"
                  "22T16:03:29Z\"}],\"cpu\":80}}",
                  "");
    assert_object("{\"spec\":{\"timezone\":\"U T "
                  "C\",\"cpu\":\"50\",\"mode\":\"c\",\"port\":true,\"object\":{},"
                  "\"jobs\":[{\"name\":\"j\",\"at\":\"soon\"},{\"name\":\"j\",\"address\":\"1.2."
                  "3\"},{\"name\":\"k\"},{}]}}",
                  "{\"spec\":{\"timezone\":\"U T "
                  "C\",\"cpu\":\"50\",\"mode\":\"c\",\"port\":true,\"object\":{},"
                  "\"jobs\":[{\"name\":\"j\",\"at\":\"soon\"},{\"name\":\"j\",\"address\":\"1.2."
                  "3\"},{\"name\":\"k\"},{}]}}",
                  "spec.timezone: Invalid value: \"U T C\": spec.timezone in body should match "
                  "'^[A-Za-z_/]+$'\n"
                  "spec.cpu: Invalid value: \"string\": spec.cpu in body must be of type integer: "
                  "\"string\"\n"
                  "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"\n"
                  "spec.port: Invalid value: \"boolean\": spec.port in body must be of type "
                  "integer or string: \"boolean\"\n"
                  "spec.object.apiVersion: Required value: must not be empty\n"
                  "spec.object.kind: Required value: must not be empty\n"
                  "spec.jobs: Too many: 4: must have at most 3 items\n"
                  "spec.jobs[1]: Duplicate value: {\"name\":\"j\"}\n"
                  "spec.jobs[0].at: Invalid value: \"soon\": spec.jobs[0].at in body must be of "
                  "type date-time, such as "
                  "2026-11-22T16:03:29Z\n"
                  "spec.jobs[1].address: Invalid value: \"1.2.3\": spec.jobs[1].address in body "
                  "must be of type ipv4\n"
                  "spec.jobs[2]: Invalid value: {\"name\":\"k\"}: spec.jobs[2] in body must "
                  "validate one and only one schema "
                  "(oneOf). Found none valid\n"
                  "spec.jobs[3].name: Required value\n"
                  "spec.jobs[3]: Invalid value: {}: spec.jobs[3] in body must validate one and "
                  "only one schema (oneOf). Found "
                  "none valid\n");
    assert_object("{\"spec\":{\"timezone\":null,\"cpu\":null}}",
                  "{\"spec\":{\"timezone\":null,\"cpu\":80}}",
                  "spec.timezone: Invalid value: \"null\": spec.timezone in body must be of type "
                  "string: \"null\"\n");
}

static void schemas_that_are_not_structural_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *schema, *says;
    } bad[] = {
        {"[]", "openAPIV3Schema: a schema must be an object"},
        {"{}",
         "openAPIV3Schema.type: is required: every field of a structural schema says its type"},
        {"{\"type\":\"string\"}", "openAPIV3Schema.type: must be object at the root"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}}}",
         "openAPIV3Schema.properties[a].type: is required: every field of a structural schema says "
         "its type"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\"}}}",
         "openAPIV3Schema.properties[a].items: is required beside type array"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"file\"}}}",
         "openAPIV3Schema.properties[a].type: must be array, boolean, integer, number, object or "
         "string"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/x\"}}}",
         "openAPIV3Schema.properties[a].$ref: is not allowed in a structural schema"},
        {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":{\"type\":\"string\"}}",
         "openAPIV3Schema.additionalProperties: cannot stand beside properties"},
        {"{\"type\":\"object\",\"anyOf\":[{\"type\":\"object\"}]}",
         "openAPIV3Schema.anyOf[0].type: is not allowed inside allOf, anyOf, oneOf and not"},
        {"{\"type\":\"object\",\"not\":{\"required\":[\"a\"]}}",
         "openAPIV3Schema.properties[a]: is spoken of in allOf, anyOf, oneOf or not, so it must be "
         "declared here"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(\"}}}",
         "openAPIV3Schema.properties[a].pattern: the pattern is broken at character 2: missing "
         "closing parenthesis"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"default\":\"x\"}}}",
         "openAPIV3Schema.properties[a].default: Invalid value: \"string\": the object in body "
         "must be of type integer: \"string\""},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"default\":{\"b\":1}}}}",
         "openAPIV3Schema.properties[a].default: unknown field \"b\""},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"uniqueItems\":true,"
         "\"items\":{\"type\":\"string\"}}}}",
         "openAPIV3Schema.properties[a].uniqueItems: must not be true; use x-kubernetes-list-type: "
         "set"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"minLength\":-1}}}",
         "openAPIV3Schema.properties[a].minLength: must be a whole number, 0 or more"},
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        const sp_schema *s = NULL;
        sp_err err = {0};
        if (sp_schema_from_json(a, parse(a, bad[i].schema), &s, &err))
            fail_msg("taken: %s", bad[i].schema);
        assert_string_equal(err.text, bad[i].says);
        assert_int_equal(err.code, SP_INVALID);
        assert_null(s);
    }
}

/* A CRD may narrow metadata.name; the rest of metadata is not its business. */
static void metadata_stays_whole(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_schema *s = compile(
        a, "{\"type\":\"object\",\"properties\":{\"metadata\":{\"type\":\"object\",\"properties\":"
           "{\"name\":{\"type\":\"string\",\"maxLength\":3}}},\"o\":{\"type\":\"object\","
           "\"x-kubernetes-embedded-resource\":true,\"properties\":{\"metadata\":{\"type\":"
           "\"object\"}}}}}");
    const char *text = "{\"metadata\":{\"name\":\"long\",\"labels\":{\"a\":\"b\"}},\"o\":{\"kind\":"
                       "\"K\",\"apiVersion\":"
                       "\"v1\",\"metadata\":{\"name\":\"n\"}}}";
    sp_json *j = parse(a, text);
    sp_auto(sp_causes) causes = {.arena = a};
    sp_schema_prune(s, j, SP_STR(""), &causes);
    assert_int_equal(causes.list.n, 0);
    assert_true(sp_json_equal(j, parse(a, text)));
    assert_false(sp_schema_validate(s, j, SP_STR(""), &causes));
    assert_string_equal(causes.list.p[0].field.p, "metadata.name");
}

static void openapi_comes_back(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) b = {0};
    sp_schema_to_openapi(&b, compile(a, cron), NULL);
    sp_json *out = parse(a, b.p);
    assert_string_equal(sp_json_get_z(out, "description"), "Scales by the clock.");
    const sp_json *props = sp_json_dig(out, "properties", "spec", "properties", NULL);
    static const struct {
        const char *field, *want;
    } same[] = {
        {"cpu", "{\"type\":\"integer\",\"format\":\"int32\",\"default\":80,\"minimum\":1,"
                "\"maximum\":100}"},
        {"mode", "{\"type\":\"string\",\"enum\":[\"a\",\"b\"],\"nullable\":true}"},
        {"labels", "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}"},
        {"port", "{\"format\":\"int-or-string\",\"x-kubernetes-int-or-string\":true,\"anyOf\":[{"
                 "\"type\":\"integer\"},{\"type\":\"string\"}]}"},
        {"free", "{\"x-kubernetes-preserve-unknown-fields\":true}"},
    };
    for (size_t i = 0; i < SP_COUNT(same); i++)
        if (!sp_json_equal(sp_json_get(props, same[i].field), parse(a, same[i].want)))
            fail_msg("%s: %s", same[i].field, b.p);
    assert_true(
        sp_json_equal(sp_json_get(props, "jobs"), sp_json_dig(parse(a, cron), "properties", "spec",
                                                              "properties", "jobs", NULL)));
}

/* A type that holds itself, as JSONSchemaProps does. */
static const sp_schema tree;
static const sp_schema leaves = {.type = SP_SCHEMA_ARRAY, .items = &tree};
static const sp_field tree_fields[] = {
    {"leaves", 1, &leaves, "What grows on it.", .merge_key = "name"},
    {"left", 2, &tree, NULL},
    {"right", 3, &tree, "The other \"side\"."}};
static const sp_schema tree = {.type = SP_SCHEMA_OBJECT,
                               .name = "Tree",
                               .doc = "A tree.",
                               .fields = tree_fields,
                               .field_count = 3};

static void named_types_become_references(void **state) {
    (void)state;
    sp_auto(sp_buf) b = {0};
    sp_schema_to_openapi(&b, &tree, "#/components/schemas/");
    assert_string_equal(
        b.p,
        "{\"description\":\"A tree.\",\"type\":\"object\",\"properties\":{"
        "\"leaves\":{\"description\":\"What grows on it.\",\"type\":\"array\",\"items\":{\"$ref\":"
        "\"#/components/schemas/"
        "Tree\"},\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":"
        "[\"name\"],\"x-kubernetes-patch-merge-key\":\"name\",\"x-kubernetes-patch-strategy\":"
        "\"merge\"},"
        "\"left\":{\"$ref\":\"#/components/schemas/Tree\"},"
        "\"right\":{\"description\":\"The other \\\"side\\\".\",\"allOf\":[{\"$ref\":"
        "\"#/components/schemas/Tree\"}]}}}");
    sp_buf_clear(&b);
    sp_schema_to_openapi(&b, &tree, NULL);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    assert_true(sp_json_bool(sp_json_dig(parse(a, b.p), "properties", "left",
                                         "x-kubernetes-preserve-unknown-fields", NULL),
                             false));
}

static void rules_we_do_not_run_are_listed(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_causes) causes = {.arena = a};
    sp_schema_unenforced(parse(a, "{\"type\":\"object\",\"properties\":{\"x\":{\"x-kubernetes-"
                                  "validations\":[{\"rule\":\"self>1\"}]}}}"),
                         SP_STR("schema"), &causes);
    assert_int_equal(causes.list.n, 1);
    assert_string_equal(causes.list.p[0].field.p, "schema.properties.x.x-kubernetes-validations");
    sp_causes_cleanup(&causes);
    causes = (sp_causes){.arena = a};
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(custom_objects_are_pruned_defaulted_validated),
        cmocka_unit_test(schemas_that_are_not_structural_are_refused),
        cmocka_unit_test(metadata_stays_whole),
        cmocka_unit_test(openapi_comes_back),
        cmocka_unit_test(named_types_become_references),
        cmocka_unit_test(rules_we_do_not_run_are_listed),
    };
    return cmocka_run_group_tests_name("crd_schema", tests, NULL, NULL);
}
