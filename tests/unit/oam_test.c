/* OAM on the inputs the articles print, and on everything that must be refused. */
#include "kube/oam.h"

#include "data/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* --- a world of objects to look up --- */

typedef struct world {
    sp_arena *arena;
    sp_oam_objects objects;
    sp_causes causes;
    sp_strs warnings;
    sp_oam_lookup lookup;
    sp_buf said;
} world;

static const char *kind_of(const char *plural) {
    static const char *const table[][2] = {{"components", "Component"},
                                           {"traitdefinitions", "TraitDefinition"},
                                           {"workloaddefinitions", "WorkloadDefinition"}};
    for (size_t i = 0; i < SP_COUNT(table); i++)
        if (strcmp(plural, table[i][0]) == 0) return table[i][1];
    fail_msg("looked up %s", plural);
    return "";
}

static void look_at_each(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                         bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx) {
    world *w = ctx;
    for (size_t i = 0; i < w->objects.n; i++)
        if (sp_str_eqz(sp_obj_kind(w->objects.p[i]), kind_of(plural)))
            if (!fn(fn_ctx, w->objects.p[i])) return;
}

static const sp_json *look_up(void *ctx, sp_arena *a, const char *group, const char *plural,
                              sp_str ns, sp_str name) {
    world *w = ctx;
    for (size_t i = w->objects.n; i-- > 0;)
        if (sp_str_eqz(sp_obj_kind(w->objects.p[i]), kind_of(plural)) &&
            sp_str_eq(sp_obj_name(w->objects.p[i]), name))
            return w->objects.p[i];
    return NULL;
}

static int set_up(void **state) {
    world *w = sp_zalloc(1, sizeof *w);
    w->arena = w->causes.arena = sp_arena_new();
    w->lookup = (sp_oam_lookup){w, look_up, look_at_each};
    sp_oam_builtin(w->arena, &w->objects);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    sp_vec_free(&w->objects);
    sp_vec_free(&w->causes.list);
    sp_vec_free(&w->warnings);
    sp_buf_free(&w->said);
    sp_arena_free(w->arena);
    free(w);
    return 0;
}

static sp_json *yaml(world *w, const char *text) {
    sp_json *j = NULL;
    sp_err err = {0};
    if (!sp_yaml_parse(w->arena, sp_str_z(text), &j, &err)) fail_msg("%s", err.text);
    return j;
}

static void add(world *w, const char *text) {
    sp_vec_push(&w->objects, yaml(w, text));
}

/* Every cause on its line, "field: message". */
static const char *admit(world *w, const char *text) {
    w->causes.list.n = w->warnings.n = 0;
    sp_buf_clear(&w->said);
    bool ok = sp_oam_admit(yaml(w, text), &w->lookup, &w->causes, &w->warnings);
    assert_int_equal(ok, w->causes.list.n == 0);
    for (size_t i = 0; i < w->causes.list.n; i++) {
        const sp_cause *c = &w->causes.list.p[i];
        sp_buf_printf(&w->said, "%.*s: %.*s\n", SP_ARG(c->field), SP_ARG(c->message));
    }
    return sp_buf_z(&w->said);
}

static bool warned(const world *w, const char *part) {
    for (size_t i = 0; i < w->warnings.n; i++)
        if (sp_str_find(w->warnings.p[i], sp_str_z(part)) >= 0) return true;
    return false;
}

/* --- inputs --- */

static const char component[] = "apiVersion: core.oam.dev/v1alpha2\n"
                                "kind: Component\n"
                                "metadata: {name: nginx, namespace: default}\n"
                                "spec:\n"
                                "  workload:\n"
                                "    apiVersion: core.oam.dev/v1alpha2\n"
                                "    kind: ContainerizedWorkload\n"
                                "    spec:\n"
                                "      containers:\n"
                                "        - name: web\n"
                                "          image: nginx:demo\n"
                                "          env: [{name: CONNECTIONS, value: '1024'}]\n"
                                "          ports: [{name: http, containerPort: 80}]\n"
                                "          config: [{path: /etc/nginx/extra.conf, value: 'x 1;'}]\n"
                                "          resources: {cpu: {required: 0.5}}\n"
                                "  parameters:\n"
                                "    - name: connections\n"
                                "      type: integer\n"
                                "      fieldPaths: ['spec.containers[0].env[0].value']\n"
                                "    - name: image\n"
                                "      fieldPaths: ['spec.containers[0].image']\n";

#define ARTICLE_APP                                   \
    "apiVersion: core.oam.dev/v1alpha1\n"             \
    "kind: ApplicationConfiguration\n"                \
    "metadata:\n"                                     \
    "  name: my-awesome-app\n"                        \
    "spec:\n"                                         \
    "  components:\n"                                 \
    "    - componentName: nginx\n"                    \
    "      parameterValues:\n"                        \
    "        - name: connections\n"                   \
    "          value: 4096\n"                         \
    "      traits:\n"                                 \
    "        - trait:\n"                              \
    "            apiVersion: core.oam.dev/v1alpha2\n" \
    "            kind: AutoScaler\n"                  \
    "            spec:            \n"                 \
    "              minimum: 1\n"                      \
    "              maximum: 9\n"                      \
    "        - trait:\n"                              \
    "            apiVersion: app.aliaba.com/v1\n"     \
    "            kind: SecurityPolicy\n"              \
    "            spec:           \n"                  \
    "                allowPrivilegeEscalation: false\n"

/* As printed, but for its last line. */
#define FAILED_EXAMPLE                                  \
    "apiVersion: core.oam.dev/v1alpha2\n"               \
    "kind: ApplicationConfiguration\n"                  \
    "metadata:\n"                                       \
    "  name: failed-example\n"                          \
    "spec:\n"                                           \
    "  components:\n"                                   \
    "    - name: nginx-replicated-v1\n"                 \
    "      traits:\n"                                   \
    "        - trait:\n"                                \
    "            apiVersion: core.oam.dev/v1alpha2\n"   \
    "            kind: AutoScaler\n"                    \
    "            spec:            \n"                   \
    "              minimum: 1\n"                        \
    "              maximum: 9\n"                        \
    "        - trait:\n"                                \
    "            apiVersion: app.alibabacloud.com/v1\n" \
    "            kind: CronHPA\n"                       \
    "            spec:            \n"                   \
    "              timezone: \"America/Los_Angeles\"\n" \
    "              schedule: \"0 0 6 * * ?\"\n"         \
    "              cpu: 50\n"

#define APP(components)                                                                          \
    "{apiVersion: core.oam.dev/v1alpha2, kind: ApplicationConfiguration, metadata: {name: app, " \
    "namespace: default}, spec: {components: [" components "]}}"
#define TRAIT(kind, spec) \
    "{trait: {apiVersion: core.oam.dev/v1alpha2, kind: " kind ", spec: " spec "}}"
#define PARAM(name, value) \
    APP("{componentName: nginx, parameterValues: [{name: " name ", value: " value "}]}")

/* --- the articles --- */

static void the_articles_application_is_fine(void **state) {
    world *w = *state;
    add(w, component);
    assert_string_equal(admit(w, ARTICLE_APP), "");
    assert_int_equal(w->warnings.n, 1);
    assert_true(warned(w, "app.aliaba.com/v1 is taken for app.alibaba.com/v1"));
}

static void the_failing_example_verbatim_is_a_located_error(void **state) {
    world *w = *state;
    sp_json *j = NULL;
    sp_err err = {0};
    assert_false(sp_yaml_parse(w->arena, SP_STR(FAILED_EXAMPLE "              ...\n"), &j, &err));
    assert_non_null(strstr(err.text, "line 22"));
}

static void the_failing_example_names_both_traits_and_paths(void **state) {
    world *w = *state;
    assert_string_equal(
        admit(w, FAILED_EXAMPLE),
        "spec.components[0].traits[1].trait: Forbidden: trait CronHPA conflicts with "
        "trait AutoScaler at spec.components[0].traits[0].trait: both decide "
        "spec.replicas of the workload; keep one of them\n");
    assert_true(warned(w, "there is no Component \"nginx-replicated-v1\" yet"));
}

static void the_articles_definition_and_cron_object_are_accepted(void **state) {
    world *w = *state;
    assert_string_equal(admit(w, "apiVersion: core.oam.dev/v1alpha2\n"
                                 "kind: TraitDefinition\n"
                                 "metadata:\n"
                                 "  name: cron-scaler\n"
                                 "spec:\n"
                                 "  appliesTo:\n"
                                 "    - core.oam.dev/v1alpha1.ContainerizedWorkload\n"
                                 "  definitionRef:\n"
                                 "    name: cronhpas.app.alibaba.com\n"),
                        "");
    assert_string_equal(
        admit(w, "apiVersion: app.alibaba.com/v1\n"
                 "kind: CronHPA\n"
                 "metadata: {name: cron-scaler}\n"
                 "spec:\n"
                 "  timezone: America/Los_Angeles\n"
                 "  schedule:\n"
                 "  - cron: \xe2\x80\x98"
                 "0 0 6 * * ?\xe2\x80\x99\n"
                 "    minReplicas: 20\n"
                 "    maxReplicas: 25\n"
                 "  template: {spec: {scaleTargetRef: {apiVersion: apps/v1, name: php-apache}}}\n"),
        "");
    assert_true(warned(w, "spec.schedule[0].cron: the typographic quotes"));
}

/* --- parameters --- */

static void parameters_are_typed(void **state) {
    world *w = *state;
    add(w, component);
    assert_string_equal(admit(w, PARAM("connections", "\"4096\"")),
                        "spec.components[0].parameterValues[0].value: Invalid value: \"4096\": "
                        "parameter \"connections\" of Component \"nginx\" "
                        "(spec.containers[0].env[0].value) is an integer, and a string was given; "
                        "write it without quotes\n");
    assert_string_equal(
        admit(w, PARAM("connections", "4096.5")),
        "spec.components[0].parameterValues[0].value: Invalid value: 4096.5: "
        "parameter \"connections\" of Component \"nginx\" "
        "(spec.containers[0].env[0].value) is an integer, and a number was given\n");
    assert_string_equal(
        admit(w, PARAM("image", "1.25")),
        "spec.components[0].parameterValues[0].value: Invalid value: 1.25: "
        "parameter \"image\" of Component \"nginx\" (spec.containers[0].image) is a "
        "string, and a number was given; write it in quotes\n");
    assert_string_equal(admit(w, PARAM("image", "nginx:2")), "");
    assert_string_equal(admit(w, PARAM("conections", "1")),
                        "spec.components[0].parameterValues[0].name: Not found: \"conections\": "
                        "Component \"nginx\" has the parameters \"connections\", \"image\"\n");
}

static void everything_wrong_is_listed_in_order(void **state) {
    world *w = *state;
    add(w, component);
    assert_string_equal(
        admit(w,
              APP("{componentName: nginx, parameterValues: [{name: connections, value: true}, "
                  "{name: connections, value: 1}], traits: [" TRAIT(
                      "AutoScaler",
                      "{minimum: 5, maximum: 2, min: 1}") ", " TRAIT("AutoScaler",
                                                                     "{}") ", " TRAIT("Ingress",
                                                                                      "{}") "]}, "
                                                                                            "{}")),
        "spec.components[0].parameterValues[0].value: Invalid value: true: parameter "
        "\"connections\" of Component \"nginx\" (spec.containers[0].env[0].value) is an integer, "
        "and "
        "a boolean was given\n"
        "spec.components[0].parameterValues[1].name: Duplicate value: \"connections\"\n"
        "spec.components[0].traits[0].trait.spec.min: Invalid value: unknown field \"min\"\n"
        "spec.components[0].traits[0].trait.spec.maximum: Invalid value: 2: must not be less than "
        "minimum (5)\n"
        "spec.components[0].traits[1].trait: Forbidden: trait AutoScaler conflicts with trait "
        "AutoScaler at spec.components[0].traits[0].trait: a component takes a trait only once; "
        "keep one of them\n"
        "spec.components[0].traits[2].trait: Not found: no TraitDefinition is about Ingress of "
        "core.oam.dev/v1alpha2 (kubectl get traitdefinition lists what there is)\n"
        "spec.components[1].componentName: Required value: the name of a Component\n");
}

static void declared_conflicts_and_workloads_count(void **state) {
    world *w = *state;
    add(w, component);
    add(w, "{apiVersion: core.oam.dev/v1alpha2, kind: TraitDefinition, metadata: {name: "
           "securitypolicies.app.alibaba.com}, spec: {definitionRef: {name: "
           "securitypolicies.app.alibaba.com}, conflictsWith: [manual-scaler], appliesToWorkloads: "
           "[deployments.apps]}}");
    const char *said = admit(
        w, APP("{componentName: nginx, traits: [" TRAIT(
               "ManualScalerTrait", "{replicaCount: 2}") ", "
                                                         "{trait: {apiVersion: app.alibaba.com/v1, "
                                                         "kind: SecurityPolicy, spec: {}}}]}"));
    assert_string_equal(said,
                        "spec.components[0].traits[1].trait: Forbidden: trait SecurityPolicy does "
                        "not apply to ContainerizedWorkload, the workload of Component \"nginx\" "
                        "(see spec.appliesToWorkloads of TraitDefinition "
                        "securitypolicies.app.alibaba.com)\n"
                        "spec.components[0].traits[1].trait: Forbidden: trait SecurityPolicy "
                        "conflicts with trait ManualScalerTrait at "
                        "spec.components[0].traits[0].trait: its TraitDefinition says so "
                        "(conflictsWith); keep one of them\n");
}

static void components_are_checked(void **state) {
    world *w = *state;
    assert_string_equal(admit(w, component), "");
    assert_string_equal(
        admit(w,
              "{kind: Component, metadata: {name: c}, spec: {workload: {apiVersion: "
              "core.oam.dev/v1alpha2, kind: ContainerizedWorkload, spec: {containers: [{name: a, "
              "config: [{path: x}]}]}}, parameters: [{name: p, type: int, fieldPaths: ['a..b']}, "
              "{name: p}]}}"),
        "spec.workload.spec.containers[0].config[0].path: Invalid value: \"x\": must be the "
        "absolute "
        "path of a file\n"
        "spec.parameters[0].type: Unsupported value: \"int\": supported values: \"string\", "
        "\"integer\", \"number\", \"boolean\", \"object\", \"array\"\n"
        "spec.parameters[0].fieldPaths[0]: Invalid value: \"a..b\": field path \"a..b\", character "
        "3: a field name is expected here\n"
        "spec.parameters[1].name: Duplicate value: \"p\"\n"
        "spec.parameters[1].fieldPaths: Required value: where in the workload the parameter "
        "goes\n");
    assert_non_null(
        strstr(admit(w, "{kind: Component, spec: {workload: {apiVersion: batch/v1, kind: "
                        "Job}}}"),
               "spec.workload: Unsupported value: kind \"Job\" of \"batch/v1\""));
}

/* --- rendering --- */

static sp_json *render(world *w, const char *text, sp_oam_children *children) {
    sp_json *app = yaml(w, text);
    sp_json *meta = sp_json_get(app, "metadata");
    sp_json_set_z(w->arena, meta, "namespace", "default");
    sp_json_set_z(w->arena, meta, "uid", "u-1");
    sp_err err = {0};
    if (!sp_oam_render(w->arena, app, &w->lookup, children, &err)) fail_msg("%s", err.text);
    return app;
}

static const char *text_of(world *w, const sp_json *j) {
    sp_buf_clear(&w->said);
    if (j) sp_json_write(&w->said, j);
    return sp_buf_z(&w->said);
}

static void the_application_becomes_what_kubernetes_knows(void **state) {
    world *w = *state;
    add(w, component);
    sp_oam_children c = {0};
    render(w, ARTICLE_APP, &c);
    assert_int_equal(c.n, 4);
    static const char *const kinds[] = {"ConfigMap", "Deployment", "Service",
                                        "HorizontalPodAutoscaler"};
    for (size_t i = 0; i < c.n; i++)
        assert_string_equal(sp_json_get_z(c.p[i].object, "kind"), kinds[i]);
    assert_true(c.p[1].is_workload && c.p[1].foreign_replicas && !c.p[0].is_workload);
    assert_string_equal(
        text_of(w, sp_json_get(c.p[1].object, "spec")),
        "{\"selector\":{\"matchLabels\":{\"app.oam.dev/name\":\"my-awesome-app\","
        "\"app.oam.dev/component\":\"nginx\",\"app.oam.dev/"
        "instance\":\"nginx\"}},\"template\":{\"metadata\":{\"labels\":{"
        "\"app.oam.dev/name\":\"my-awesome-app\",\"app.oam.dev/component\":\"nginx\",\"app.oam.dev/"
        "instance\":\"nginx\"},"
        "\"annotations\":{\"app.oam.dev/config-hash\":\"a733aab1\"}},\"spec\":{\"containers\":[{"
        "\"name\":\"web\",\"image\":\"nginx:demo\",\"env\":[{\"name\":\"CONNECTIONS\",\"value\":"
        "\"4096\"}],\"ports\":[{\"name\":\"http\",\"containerPort\":80}],\"resources\":{"
        "\"requests\":"
        "{\"cpu\":0.5}},\"volumeMounts\":[{\"name\":\"config-ba2aabda\",\"mountPath\":"
        "\"/etc/nginx/extra.conf\",\"subPath\":\"extra.conf\"}],\"securityContext\":{"
        "\"allowPrivilegeEscalation\":false}}],\"volumes\":[{\"name\":\"config-ba2aabda\","
        "\"configMap\":{\"name\":\"nginx-web-ba2aabda\"}}]}},\"replicas\":1}");
    assert_string_equal(text_of(w, sp_json_get(c.p[2].object, "spec")),
                        "{\"selector\":{\"app.oam.dev/name\":\"my-awesome-app\","
                        "\"app.oam.dev/component\":\"nginx\",\"app.oam.dev/"
                        "instance\":\"nginx\"},\"ports\":[{\"name\":\"http\",\"port\":"
                        "80,\"targetPort\":80}]}");
    assert_string_equal(text_of(w, sp_json_get(c.p[3].object, "spec")),
                        "{\"scaleTargetRef\":{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\","
                        "\"name\":\"nginx\"},\"minReplicas\":1,\"maxReplicas\":9,\"metrics\":[{"
                        "\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":"
                        "\"Utilization\",\"averageUtilization\":80}}}]}");
    const sp_json *owner = sp_obj_controller(c.p[3].object);
    assert_string_equal(sp_json_get_z(owner, "uid"), "u-1");
    assert_string_equal(sp_obj_label(c.p[3].object, "app.oam.dev/resourceType").p, "TRAIT");
    sp_vec_free(&c);
}

static void a_plain_deployment_stays_one(void **state) {
    world *w = *state;
    add(w, "{apiVersion: core.oam.dev/v1alpha2, kind: Component, metadata: {name: plain}, spec: "
           "{workload: {kind: Deployment, apiVersion: extensions/v1beta1, metadata: {name: "
           "nginx-deployment}, spec: {replicas: 3, selector: {matchLabels: {deploy: example}}, "
           "template: {metadata: {labels: {deploy: example}}, spec: {containers: [{name: nginx, "
           "image: 'nginx:1.7.9'}]}}}}}}");
    sp_oam_children c = {0};
    render(w,
           APP("{componentName: plain, traits: [" TRAIT("ManualScalerTrait",
                                                        "{replicaCount: 5}") "]}"),
           &c);
    assert_int_equal(c.n, 1);
    assert_string_equal(sp_json_get_z(c.p[0].object, "apiVersion"), "apps/v1");
    assert_string_equal(sp_obj_name(c.p[0].object).p, "nginx-deployment");
    const sp_json *spec = sp_json_get(c.p[0].object, "spec");
    assert_int_equal(sp_json_int(sp_json_get(spec, "replicas"), 0), 5);
    assert_string_equal(
        text_of(w, sp_json_dig(spec, "template", "metadata", "labels", NULL)),
        "{\"deploy\":\"example\",\"app.oam.dev/name\":\"app\","
        "\"app.oam.dev/component\":\"plain\",\"app.oam.dev/instance\":\"nginx-deployment\"}");
    assert_false(c.p[0].foreign_replicas);
    sp_vec_free(&c);
}

static void rendering_is_all_or_nothing(void **state) {
    world *w = *state;
    add(w, component);
    sp_oam_children c = {0};
    sp_err err = {0};
    sp_json *app = yaml(w, APP("{componentName: nginx}, {componentName: missing}"));
    assert_false(sp_oam_render(w->arena, app, &w->lookup, &c, &err));
    assert_int_equal(err.code, SP_NOT_FOUND);
    assert_string_equal(err.field, "spec.components[1]");
    assert_int_equal(c.n, 0);
    assert_false(sp_oam_render(w->arena, yaml(w, FAILED_EXAMPLE), &w->lookup, &c, &err));
    assert_int_equal(err.code, SP_INVALID);
    sp_vec_free(&c);
}

static void shipped_definitions_are_in_order(void **state) {
    world *w = *state;
    for (size_t i = 0; i < w->objects.n; i++)
        assert_true(sp_oam_admit(w->objects.p[i], &w->lookup, &w->causes, &w->warnings));
    assert_int_equal(w->warnings.n, 0);
    assert_int_equal(w->objects.n, 6);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(the_articles_application_is_fine),
        CASE(the_failing_example_verbatim_is_a_located_error),
        CASE(the_failing_example_names_both_traits_and_paths),
        CASE(the_articles_definition_and_cron_object_are_accepted),
        CASE(parameters_are_typed),
        CASE(everything_wrong_is_listed_in_order),
        CASE(declared_conflicts_and_workloads_count),
        CASE(components_are_checked),
        CASE(the_application_becomes_what_kubernetes_knows),
        CASE(a_plain_deployment_stays_one),
        CASE(rendering_is_all_or_nothing),
        CASE(shipped_definitions_are_in_order),
    };
    return cmocka_run_group_tests_name("oam", tests, NULL, NULL);
}
