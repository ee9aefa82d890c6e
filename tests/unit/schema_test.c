#include "documents.h"

#include "data/schema.h"

#include "data/patch.h"

/* A small Deployment, built the way built-in kinds are: static tables with protobuf numbers. */
static const sp_schema string = {.type = SP_SCHEMA_STRING};
static const sp_schema strings = {.type = SP_SCHEMA_ARRAY, .items = &string};
static const sp_schema string_map = {.type = SP_SCHEMA_OBJECT, .items = &string};
static const sp_schema quantity = {.type = SP_SCHEMA_STRING, .format = SP_FORMAT_QUANTITY};
static const sp_schema quantities = {.type = SP_SCHEMA_OBJECT, .items = &quantity};
static const sp_schema port_number = {.type = SP_SCHEMA_INTEGER,
                                      .format = SP_FORMAT_INT32,
                                      .has_minimum = true,
                                      .minimum = 1,
                                      .has_maximum = true,
                                      .maximum = 65535};
static const sp_json tcp = {.type = SP_JSON_STRING, .text = SP_STR_INIT("TCP")};
static const sp_json udp = {
    .type = SP_JSON_STRING, .text = SP_STR_INIT("UDP"), .next = (sp_json *)&tcp};
static const sp_json protocols = {
    .type = SP_JSON_ARRAY, .first = (sp_json *)&udp, .last = (sp_json *)&tcp, .count = 2};
static const sp_schema protocol = {
    .type = SP_SCHEMA_STRING, .enum_values = &protocols, .default_value = &tcp};
static const sp_field port_fields[] = {
    {"containerPort", 3, &port_number, NULL, .required = true},
    {"protocol", 4, &protocol},
};
static const sp_schema port = {.type = SP_SCHEMA_OBJECT, .fields = port_fields, .field_count = 2};
static const sp_schema ports = {.type = SP_SCHEMA_ARRAY, .items = &port};
static const sp_schema int_or_string = {.type = SP_SCHEMA_ANY, .format = SP_FORMAT_INT_OR_STRING};
static const sp_field container_fields[] = {
    {"name", 1, &string, NULL, .required = true},
    {"image", 2, &string},
    {"args", 4, &strings},
    {"ports", 6, &ports, NULL, .merge_key = "containerPort"},
    {"limits", 8, &quantities},
};
static const sp_schema container = {
    .type = SP_SCHEMA_OBJECT, .fields = container_fields, .field_count = 5};
static const sp_schema containers = {.type = SP_SCHEMA_ARRAY, .items = &container, .min_length = 1};
static const sp_schema any = {.type = SP_SCHEMA_ANY, .preserve_unknown = true};
static const sp_schema raw = {.type = SP_SCHEMA_OBJECT, .format = SP_FORMAT_RAW};
static const sp_schema stamp = {
    .type = SP_SCHEMA_STRING, .format = SP_FORMAT_DATE_TIME, .nullable = true};
static const sp_schema replicas = {
    .type = SP_SCHEMA_INTEGER, .format = SP_FORMAT_INT32, .has_minimum = true};
static const sp_field strategy_fields[] = {{"type", 1, &string}, {"max", 2, &int_or_string}};
static const sp_schema strategy = {
    .type = SP_SCHEMA_OBJECT, .fields = strategy_fields, .field_count = 2};
static const sp_field spec_fields[] = {
    {"replicas", 1, &replicas},
    {"containers", 2, &containers, NULL, .required = true, .merge_key = "name"},
    {"strategy", 3, &strategy},
    {"finalizers", 4, &strings, NULL, .merge_primitives = true},
    {"any", 5, &any},
    {"raw", 6, &raw},
};
static const sp_schema spec = {.type = SP_SCHEMA_OBJECT, .fields = spec_fields, .field_count = 6};
static const sp_field meta_fields[] = {
    {"name", 1, &string}, {"labels", 2, &string_map}, {"creationTimestamp", 8, &stamp}};
static const sp_schema meta = {.type = SP_SCHEMA_OBJECT, .fields = meta_fields, .field_count = 3};
static const sp_field root_fields[] = {{"metadata", 1, &meta},
                                       {"spec", 2, &spec, NULL, .required = true}};
static const sp_schema root = {.type = SP_SCHEMA_OBJECT, .fields = root_fields, .field_count = 2};

/* All causes as "reason field message" lines. */
static void list_causes(sp_buf *b, const sp_causes *causes) {
    sp_vec_each(&causes->list, c)
        sp_buf_printf(b, "%s|%.*s|%.*s\n", c->reason, SP_ARG(c->field), SP_ARG(c->message));
}

static void assert_causes(const sp_schema *s, const char *text, const char *want) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_causes) causes = {.arena = a};
    sp_auto(sp_buf) b = {0};
    bool ok = sp_schema_validate(s, parse(a, text), SP_STR(""), &causes);
    list_causes(&b, &causes);
    assert_string_equal(sp_buf_z(&b), want);
    assert_int_equal(ok, causes.list.n == 0);
}

static void good_objects_pass(void **state) {
    (void)state;
    assert_causes(
        &root,
        "{\"metadata\":{\"creationTimestamp\":null,\"labels\":{\"app\":\"x\"}},\"spec\":{"
        "\"replicas\":null,"
        "\"containers\":[{\"name\":\"c\",\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\"}],"
        "\"limits\":{\"cpu\":1,\"memory\":\"64Mi\"}}],\"strategy\":{\"max\":\"25%\"},\"any\":[1,{}]"
        ","
        "\"raw\":{\"x\":1}}}",
        "");
}

static void causes_speak_as_kubernetes_does(void **state) {
    (void)state;
    assert_causes(&root, "{}", "FieldValueRequired|spec|Required value\n");
    assert_causes(&root, "{\"spec\":null}", "FieldValueRequired|spec|Required value\n");
    assert_causes(&root, "[]",
                  "FieldValueTypeInvalid||Invalid value: \"array\": the object in body must be of "
                  "type object: \"array\"\n");
    assert_causes(
        &root,
        "{\"metadata\":{\"labels\":{\"a/"
        "b\":1}},\"spec\":{\"replicas\":\"3\",\"containers\":[{\"name\":\"c\","
        "\"image\":1,\"ports\":[{\"containerPort\":0},{\"containerPort\":70000,\"protocol\":"
        "\"tcp\"},"
        "{\"containerPort\":1.5}],\"limits\":{\"cpu\":\"100MB\"}},{}]}}",
        "FieldValueTypeInvalid|metadata.labels[a/b]|Invalid value: \"integer\": "
        "metadata.labels[a/b] in body "
        "must be of type string: \"integer\"\n"
        "FieldValueTypeInvalid|spec.replicas|Invalid value: \"string\": spec.replicas in body must "
        "be of type "
        "integer: \"string\"\n"
        "FieldValueTypeInvalid|spec.containers[0].image|Invalid value: \"integer\": "
        "spec.containers[0].image in "
        "body must be of type string: \"integer\"\n"
        "FieldValueInvalid|spec.containers[0].ports[0].containerPort|Invalid value: 0: "
        "spec.containers[0].ports[0].containerPort in body should be greater than or equal to 1\n"
        "FieldValueInvalid|spec.containers[0].ports[1].containerPort|Invalid value: 70000: "
        "spec.containers[0].ports[1].containerPort in body should be less than or equal to 65535\n"
        "FieldValueNotSupported|spec.containers[0].ports[1].protocol|Unsupported value: \"tcp\": "
        "supported "
        "values: \"UDP\", \"TCP\"\n"
        "FieldValueTypeInvalid|spec.containers[0].ports[2].containerPort|Invalid value: "
        "\"number\": "
        "spec.containers[0].ports[2].containerPort in body must be of type integer: \"number\"\n"
        "FieldValueInvalid|spec.containers[0].limits[cpu]|Invalid value: \"100MB\": "
        "spec.containers[0].limits[cpu] in body must be a quantity such as 500m, 64Mi, 1.5Gi or 2\n"
        "FieldValueRequired|spec.containers[1].name|Required value\n");
    assert_causes(
        &root, "{\"spec\":{\"containers\":[],\"replicas\":3000000000,\"strategy\":{\"max\":1.5}}}",
        "FieldValueInvalid|spec.containers|Invalid value: []: spec.containers in body should have "
        "at least 1 items\n"
        "FieldValueInvalid|spec.replicas|Invalid value: 3000000000: spec.replicas in body must fit "
        "into 32 bits\n"
        "FieldValueTypeInvalid|spec.strategy.max|Invalid value: \"number\": spec.strategy.max in "
        "body must be of "
        "type integer or string: \"number\"\n");
    assert_causes(&meta, "{\"creationTimestamp\":\"yesterday\"}",
                  "FieldValueInvalid|creationTimestamp|Invalid value: \"yesterday\": "
                  "creationTimestamp in body must be of "
                  "type date-time, such as 2026-11-22T16:03:29Z\n");
}

static void many_mistakes_stay_a_short_list(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *list = sp_json_array(a);
    for (int i = 0; i < 1000; i++) sp_json_push(list, sp_json_new_int(a, i));
    sp_auto(sp_causes) causes = {.arena = a};
    assert_false(sp_schema_validate(&strings, list, SP_STR("args"), &causes));
    assert_int_equal(causes.list.n, 100);
    assert_string_equal(causes.list.p[99].field.p, "args[99]");
}

static void value_checks_work(void **state) {
    (void)state;
    static const sp_schema name = {
        .type = SP_SCHEMA_STRING, .pattern = "^[a-z]+$", .min_length = 2, .max_length = 4};
    assert_causes(&name, "\"abc\"", "");
    assert_causes(&name, "\"\xc3\xa4\xc3\xb6\"",
                  "FieldValueInvalid||Invalid value: \"\xc3\xa4\xc3\xb6\": the object in body "
                  "should match '^[a-z]+$'\n");
    assert_causes(&name, "\"abcde\"",
                  "FieldValueTooLong||Too long: may not be longer than 4 characters\n");
    assert_causes(&name, "\"a\"",
                  "FieldValueInvalid||Invalid value: \"a\": the object in body should be at least "
                  "2 chars long\n");
    static const sp_schema evil = {.type = SP_SCHEMA_STRING, .pattern = "^(a+)+$"};
    assert_causes(&evil, "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"",
                  "FieldValueInvalid||Invalid value: "
                  "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\": the object in "
                  "body takes too long to match against '^(a+)+$'\n");
    static const sp_schema even = {.type = SP_SCHEMA_NUMBER,
                                   .multiple_of = 0.1,
                                   .has_maximum = true,
                                   .exclusive_maximum = true,
                                   .maximum = 1};
    assert_causes(&even, "0.3", "");
    assert_causes(
        &even, "1",
        "FieldValueInvalid||Invalid value: 1: the object in body should be less than 1\n");
    assert_causes(
        &even, "0.35",
        "FieldValueInvalid||Invalid value: 0.35: the object in body should be a multiple of "
        "0.10000000000000001\n");
    static const sp_schema set = {.type = SP_SCHEMA_ARRAY, .is_set = true};
    assert_causes(&set, "[1,2,1]", "FieldValueDuplicate|[2]|Duplicate value: 1\n");
    static const char *const keys[] = {"a", "b"};
    static const sp_schema map = {.type = SP_SCHEMA_ARRAY, .map_keys = keys, .map_key_count = 2};
    assert_causes(&map, "[{\"a\":1,\"c\":1},{\"a\":1,\"b\":2},{\"a\":1,\"c\":2}]",
                  "FieldValueDuplicate|[2]|Duplicate value: {\"a\":1,\"b\":null}\n");
    static const sp_schema object = {.type = SP_SCHEMA_OBJECT, .embedded_resource = true};
    assert_causes(&object, "{\"kind\":\"\",\"metadata\":1}",
                  "FieldValueRequired|apiVersion|Required value: must not be empty\n"
                  "FieldValueRequired|kind|Required value: must not be empty\n"
                  "FieldValueTypeInvalid|metadata|Invalid value: \"integer\": metadata in body "
                  "must be of type object: "
                  "\"integer\"\n");
}

static void logic_is_tried_quietly(void **state) {
    (void)state;
    static const sp_schema integer = {.type = SP_SCHEMA_INTEGER},
                           small = {.has_maximum = true, .maximum = 9};
    static const sp_schema *const two[] = {&integer, &small}, *const kinds[] = {&integer, &string};
    static const struct sp_schema_logic any_logic = {.any_of = kinds, .any_count = 2};
    static const struct sp_schema_logic all_logic = {.all_of = two, .all_count = 2};
    static const struct sp_schema_logic one_logic = {.one_of = two, .one_count = 2};
    static const struct sp_schema_logic not_logic = {.not_ = &integer};
    static const sp_schema s_any = {.logic = &any_logic}, s_all = {.logic = &all_logic},
                           s_one = {.logic = &one_logic}, s_not = {.logic = &not_logic};
    assert_causes(&s_any, "\"x\"", "");
    assert_causes(&s_any, "true",
                  "FieldValueInvalid||Invalid value: true: the object in body must validate at "
                  "least one schema (anyOf)\n");
    assert_causes(&s_all, "5", "");
    assert_causes(&s_all, "10",
                  "FieldValueInvalid||Invalid value: 10: the object in body should be less than or "
                  "equal to 9\n");
    assert_causes(&s_one, "10", "");
    assert_causes(&s_one, "1",
                  "FieldValueInvalid||Invalid value: 1: the object in body must validate one and "
                  "only one schema "
                  "(oneOf). Found more than one valid\n");
    assert_causes(&s_not, "1",
                  "FieldValueInvalid||Invalid value: 1: the object in body must not validate the "
                  "schema (not)\n");
}

static void defaults_fill_top_down(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = parse(
        a, "{\"spec\":{\"containers\":[{\"ports\":[{\"containerPort\":1},{\"protocol\":\"UDP\"},"
           "{\"protocol\":null}]}]}}");
    sp_schema_default(a, &root, j);
    assert_json(j,
                "{\"spec\":{\"containers\":[{\"ports\":[{\"containerPort\":1,\"protocol\":\"TCP\"},"
                "{\"protocol\":\"UDP\"},{\"protocol\":\"TCP\"}]}]}}");
}

static void pruning_names_what_it_removes(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_causes) unknown = {.arena = a};
    sp_auto(sp_buf) b = {0};
    assert_null(sp_schema_field(&root, (sp_str){"spec\0more than that", 19}));
    sp_json *j = parse(a, "{\"x\":1,\"metadata\":{\"creationTimestamp\":null,\"labels\":{\"any\":"
                          "\"y\"}},\"spec\":{\"foo\":{},"
                          "\"containers\":[{\"name\":\"c\"},{\"imagee\":1,\"args\":[{\"kept\":1}]}]"
                          ",\"any\":{\"q\":null},"
                          "\"raw\":{\"r\":1},\"replicas\":{\"wrong\":\"type\"}}}");
    sp_schema_prune(&root, j, SP_STR(""), &unknown);
    list_causes(&b, &unknown);
    assert_string_equal(b.p, "FieldValueInvalid|x|unknown field \"x\"\n"
                             "FieldValueInvalid|spec.foo|unknown field \"spec.foo\"\n"
                             "FieldValueInvalid|spec.containers[1].imagee|unknown field "
                             "\"spec.containers[1].imagee\"\n");
    assert_json(
        j, "{\"metadata\":{\"labels\":{\"any\":\"y\"}},\"spec\":{\"containers\":[{\"name\":\"c\"},"
           "{\"args\":[{\"kept\":1}]}],\"any\":{\"q\":null},\"raw\":{\"r\":1},\"replicas\":{"
           "\"wrong\":\"type\"}}}");
}

static void strategic_patches_apply(void **state) {
    (void)state;
    static const struct {
        const char *doc, *patch, *want;
    } cases[] = {
        /* by merge key, new items in the order of the patch */
        {"{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\"}]}",
         "{\"containers\":[{\"name\":\"b\",\"image\":\"2\"},{\"name\":\"c\"}]}",
         "{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"2\"},{"
         "\"name\":\"c\"}]}"},
        {"{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80}]}]}",
         "{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,\"protocol\":\"UDP\"},{"
         "\"containerPort\":81}]}]}",
         "{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,\"protocol\":\"UDP\"},{"
         "\"containerPort\":81}]}]}"},
        /* delete and merge directives */
        {"{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}",
         "{\"containers\":[{\"$patch\":\"delete\",\"name\":\"a\"},{\"$patch\":\"merge\",\"name\":"
         "\"c\"}]}",
         "{\"containers\":[{\"name\":\"c\"},{\"name\":\"b\"}]}"},
        /* replace a list, an object; delete an object's fields */
        {"{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}",
         "{\"containers\":[{\"name\":\"c\"},{\"$patch\":\"replace\"}]}",
         "{\"containers\":[{\"name\":\"c\"}]}"},
        {"{\"strategy\":{\"type\":\"x\",\"max\":1}}",
         "{\"strategy\":{\"$patch\":\"replace\",\"type\":\"y\"}}",
         "{\"strategy\":{\"type\":\"y\"}}"},
        {"{\"strategy\":{\"type\":\"x\",\"max\":1}}", "{\"strategy\":{\"$patch\":\"delete\"}}",
         "{\"strategy\":{}}"},
        /* lists without merge key are replaced, nulls remove */
        {"{\"containers\":[{\"name\":\"a\",\"args\":[\"1\",\"2\"],\"image\":\"i\"}]}",
         "{\"containers\":[{\"name\":\"a\",\"args\":[\"3\"],\"image\":null}]}",
         "{\"containers\":[{\"name\":\"a\",\"args\":[\"3\"]}]}"},
        {"{\"replicas\":1}", "{\"replicas\":null,\"strategy\":{\"type\":null,\"max\":2}}",
         "{\"strategy\":{\"max\":2}}"},
        /* sets of scalars */
        {"{\"finalizers\":[\"a\",\"b\"]}", "{\"finalizers\":[\"b\",\"c\"]}",
         "{\"finalizers\":[\"a\",\"b\",\"c\"]}"},
        {"{\"finalizers\":[\"a\",\"b\",\"c\"]}",
         "{\"$deleteFromPrimitiveList/finalizers\":[\"b\"]}", "{\"finalizers\":[\"a\",\"c\"]}"},
        {"{\"finalizers\":[\"a\",\"b\"]}",
         "{\"$setElementOrder/finalizers\":[\"c\",\"a\"],\"$deleteFromPrimitiveList/"
         "finalizers\":[\"b\"],\"finalizers\":[\"c\"]}",
         "{\"finalizers\":[\"c\",\"a\"]}"},
        /* order */
        {"{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"c\"}]}",
         "{\"$setElementOrder/"
         "containers\":[{\"name\":\"c\"},{\"name\":\"a\"}],\"containers\":[{\"name\":\"a\","
         "\"image\":\"i\"}]}",
         "{\"containers\":[{\"name\":\"b\"},{\"name\":\"c\"},{\"name\":\"a\",\"image\":\"i\"}]}"},
        {"{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}",
         "{\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}",
         "{\"containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}"},
        {"{}",
         "{\"$setElementOrder/"
         "containers\":[{\"name\":\"b\"},{\"name\":\"a\"}],\"containers\":[{\"name\":\"a\"},{"
         "\"name\":\"b\"}]}",
         "{\"containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}"},
        /* retainKeys */
        {"{\"strategy\":{\"type\":\"RollingUpdate\",\"max\":1}}",
         "{\"strategy\":{\"$retainKeys\":[\"type\"],\"type\":\"Recreate\"}}",
         "{\"strategy\":{\"type\":\"Recreate\"}}"},
        /* types change */
        {"{\"any\":[1],\"strategy\":1}",
         "{\"any\":{\"x\":null,\"y\":1},\"strategy\":{\"type\":\"t\"}}",
         "{\"any\":{\"y\":1},\"strategy\":{\"type\":\"t\"}}"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *doc = parse(a, cases[i].doc);
        sp_err err = {0};
        if (!sp_patch_strategic(a, &spec, &doc, parse(a, cases[i].patch), &err))
            fail_msg("%s", err.text);
        assert_json(doc, cases[i].want);
    }
}

static void strategic_patches_say_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *patch, *says;
    } cases[] = {
        {"[]", "a strategic merge patch is an object, not array"},
        {"{\"containers\":[{\"image\":\"i\"}]}",
         "strategic merge patch at containers: each item must be an object that has the merge key "
         "\"name\""},
        {"{\"containers\":[\"x\"]}", "strategic merge patch at containers: each item must be an "
                                     "object that has the merge key \"name\""},
        {"{\"strategy\":{\"$patch\":\"boo\"}}",
         "strategic merge patch at strategy: \"$patch\" is delete, merge or replace"},
        {"{\"containers\":[{\"name\":\"a\",\"$patch\":1}]}",
         "strategic merge patch at containers: \"$patch\" is delete, merge or replace"},
        {"{\"$setElementOrder/"
         "containers\":[{\"name\":\"z\"}],\"containers\":[{\"name\":\"a\",\"image\":\"\"}]}",
         "strategic merge patch at containers: $setElementOrder leaves out an item of the patch"},
        {"{\"strategy\":{\"$retainKeys\":[\"max\"],\"type\":\"t\"}}",
         "strategic merge patch at strategy: $retainKeys does not list every field the patch sets"},
        {"{\"$deleteFromPrimitiveList/finalizers\":1}",
         "strategic merge patch at finalizers: $deleteFromPrimitiveList takes a list"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *doc = parse(a, "{\"containers\":[{\"name\":\"a\"}]}");
        sp_err err = {0};
        assert_false(sp_patch_strategic(a, &spec, &doc, parse(a, cases[i].patch), &err));
        assert_string_equal(err.text, cases[i].says);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_objects_pass),
        cmocka_unit_test(causes_speak_as_kubernetes_does),
        cmocka_unit_test(many_mistakes_stay_a_short_list),
        cmocka_unit_test(value_checks_work),
        cmocka_unit_test(logic_is_tried_quietly),
        cmocka_unit_test(defaults_fill_top_down),
        cmocka_unit_test(pruning_names_what_it_removes),
        cmocka_unit_test(strategic_patches_apply),
        cmocka_unit_test(strategic_patches_say_what_is_wrong),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
