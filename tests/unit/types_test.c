/* The tables of built-in kinds hold together, and the hooks default and refuse as users know it. */
#include "apiserver/registry.h"
#include "apiserver/types/admit.h"
#include "apiserver/types/types.h"
#include "base/map.h"
#include "data/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* --- the tables --- */

static void check_fields(const sp_schema *s) {
    for (size_t i = 0; i < s->field_count; i++) {
        const sp_field *f = &s->fields[i];
        assert_non_null(f->name);
        assert_non_null(f->schema);
        for (size_t k = 0; k < i; k++) {
            if (!strcmp(s->fields[k].name, f->name)) fail_msg("%s has %s twice", s->name, f->name);
            if (f->number && s->fields[k].number == f->number) {
                fail_msg("%s: %s and %s have one number", s->name, f->name, s->fields[k].name);
            }
        }
        if (!f->merge_key) continue;
        assert_int_equal(f->schema->type, SP_SCHEMA_ARRAY);
        if (!sp_schema_field(f->schema->items, sp_str_z(f->merge_key))) {
            fail_msg("%s.%s merges by %s, which its items lack", s->name, f->name, f->merge_key);
        }
    }
}

static size_t walk(sp_map *seen, sp_map *names, const sp_schema *s) {
    sp_str address = {(const char *)&s, sizeof s};
    if (!s || sp_map_put(seen, address, (void *)(uintptr_t)s)) return 0;
    size_t count = 1;
    if (s->name && sp_map_put(names, sp_str_z(s->name), (void *)(uintptr_t)s)) {
        fail_msg("two types are called %s", s->name);
    }
    check_fields(s);
    for (size_t i = 0; i < s->field_count; i++) count += walk(seen, names, s->fields[i].schema);
    return count + walk(seen, names, s->items);
}

static void tables_are_consistent(void **state) {
    (void)state;
    sp_auto(sp_map) seen = {0};
    sp_auto(sp_map) names = {0};
    size_t rows, types = 0;
    const sp_resource *const *r = sp_builtin_resources(&rows);
    for (size_t i = 0; i < rows; i++) {
        types += walk(&seen, &names, r[i]->schema);
        assert_true(r[i]->columns == NULL || r[i]->column_count > 0);
        assert_non_null(sp_schema_field(r[i]->schema, SP_STR("metadata")));
        if (r[i]->storage) assert_ptr_equal(r[i]->schema, r[i]->storage->schema);
        for (size_t k = 0; k < i; k++) {
            bool same = !strcmp(r[i]->group, r[k]->group) &&
                        !strcmp(r[i]->version, r[k]->version) &&
                        (!strcmp(r[i]->plural, r[k]->plural) || !strcmp(r[i]->kind, r[k]->kind));
            if (same) fail_msg("%s/%s stands twice", r[i]->group, r[i]->plural);
        }
    }
    assert_true(types > 300);
    assert_ptr_equal(sp_builtin_schema(NULL, SP_STR("apps/v1"), SP_STR("Deployment")),
                     T(deployment));
    assert_ptr_equal(sp_builtin_schema(NULL, SP_STR("policy/v1"), SP_STR("Eviction")), T(eviction));
    assert_null(sp_builtin_schema(NULL, SP_STR("apps/v2"), SP_STR("Deployment")));
}

static void defaults_and_enumerations_are_nodes(void **state) {
    (void)state;
    const sp_field *f = sp_schema_field(T(pod_spec), SP_STR("restartPolicy"));
    assert_string_equal(sp_json_z(f->schema->default_value), "Always");
    assert_int_equal(f->schema->enum_values->count, 3);
    assert_string_equal(sp_json_z(sp_json_at(f->schema->enum_values, 2)), "Never");
}

/* --- the hooks, as the server runs them --- */

typedef struct world {
    sp_arena *arena;
    sp_json *others; /* what lookup_each finds */
} world;

static void each(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                 bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx) {
    (void)a, (void)group, (void)plural, (void)ns;
    sp_json_each(((world *)ctx)->others, it) {
        if (!fn(fn_ctx, it)) return;
    }
}

static sp_json *parse(sp_arena *a, const char *text) {
    sp_json *j = NULL;
    sp_err err = {0};
    if (!sp_json_parse(a, sp_str_z(text), &j, &err)) fail_msg("%s", err.text);
    return j;
}

/* Causes as "field: message", one per line; the object is changed by defaulting. */
static const char *admit(world *w, const sp_resource *r, const sp_json *old, sp_json *obj) {
    sp_causes causes = {.arena = w->arena};
    sp_strs warnings = {0};
    sp_err err = {0};
    sp_admit a = {.arena = w->arena,
                  .resource = r,
                  .old = old,
                  .obj = obj,
                  .causes = &causes,
                  .warnings = &warnings,
                  .lookup_ctx = w,
                  .lookup_each = each};
    sp_schema_default(w->arena, r->schema, obj);
    assert_true(!r->prepare || r->prepare(&a, &err));
    bool shaped = sp_schema_validate(r->schema, obj, SP_STR(""), &causes);
    assert_true(sp_validate_meta(&a, &err));
    if (shaped && r->validate) assert_true(r->validate(&a, &err));
    sp_auto(sp_buf) text = {0};
    sp_vec_each(&causes.list, c) {
        sp_buf_printf(&text, "%.*s: %.*s\n", SP_ARG(c->field), SP_ARG(c->message));
    }
    sp_vec_free(&causes.list);
    sp_vec_free(&warnings);
    return sp_arena_strz(w->arena, sp_buf_str(&text));
}

static void refuses(const sp_resource *r, const char *obj, const char *causes) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    world w = {.arena = a};
    assert_string_equal(admit(&w, r, NULL, parse(a, obj)), causes);
}

static const char *print(sp_arena *a, const sp_json *j) {
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, j);
    return sp_arena_strz(a, sp_buf_str(&b));
}

#define POD(spec) "{\"metadata\":{\"name\":\"p\"},\"spec\":" spec "}"

static void pods_are_defaulted(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    world w = {.arena = a};
    sp_json *pod =
        parse(a, POD("{\"containers\":[{\"name\":\"c\",\"image\":\"nginx\",\"ports\":[{"
                     "\"containerPort\":80}],\"resources\":{\"limits\":{\"cpu\":\"1\"}}}]}"));
    assert_string_equal(admit(&w, &sp_row_pod, NULL, pod), "");
    const sp_json *spec = sp_json_get(pod, "spec");
    const sp_json *c = sp_json_at(sp_json_get(spec, "containers"), 0);
    assert_string_equal(sp_json_get_z(c, "imagePullPolicy"), "Always");
    assert_string_equal(sp_json_z(sp_json_dig(c, "resources", "requests", "cpu", NULL)), "1");
    assert_string_equal(sp_json_get_z(sp_json_at(sp_json_get(c, "ports"), 0), "protocol"), "TCP");
    assert_string_equal(sp_json_get_z(spec, "restartPolicy"), "Always");
    assert_int_equal(sp_json_int(sp_json_get(spec, "terminationGracePeriodSeconds"), 0), 30);
    assert_string_equal(print(a, sp_json_get(pod, "status")),
                        "{\"phase\":\"Pending\",\"qosClass\":\"Burstable\"}");
}

static void wrong_pods_are_told_everything(void **state) {
    (void)state;
    refuses(&sp_row_pod, POD("{}"), "spec.containers: Required value\n");
    refuses(&sp_row_pod, POD("{\"containers\":[]}"), "spec.containers: Required value\n");
    refuses(
        &sp_row_pod,
        POD("{\"containers\":[{\"name\":\"c\",\"ports\":[{\"containerPort\":0}],"
            "\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/v\"}]},"
            "{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"requests\":{\"cpu\":\"2\"},"
            "\"limits\":{\"cpu\":\"1500m\"}},\"livenessProbe\":{\"successThreshold\":2}}]}"),
        "spec.containers[0].image: Required value\n"
        "spec.containers[0].ports[0].containerPort: Invalid value: 0: must be between 1 and "
        "65535, inclusive\n"
        "spec.containers[0].volumeMounts[0].name: Not found: \"v\"\n"
        "spec.containers[1].resources.requests: Invalid value: \"2\": must be less than or equal "
        "to cpu limit of 1500m\n"
        "spec.containers[1].livenessProbe: Required value: must specify a handler type\n"
        "spec.containers[1].livenessProbe.successThreshold: Invalid value: 2: must be 1\n"
        "spec.containers[1].name: Duplicate value: \"c\"\n");
    refuses(&sp_row_pod, POD("{\"restartPolicy\":\"Often\",\"containers\":[]}"),
            "spec.restartPolicy: Unsupported value: \"Often\": supported values: \"Always\", "
            "\"OnFailure\", \"Never\"\n");
}

static void pod_specs_stay_but_for_images(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    world w = {.arena = a};
    sp_json *old = parse(a, POD("{\"containers\":[{\"name\":\"c\",\"image\":\"a:1\"}]}"));
    assert_string_equal(admit(&w, &sp_row_pod, NULL, old), "");
    sp_json *new_image = sp_json_clone(a, old);
    sp_json *c = sp_json_at(sp_json_dig(new_image, "spec", "containers", NULL), 0);
    sp_json_set_z(a, c, "image", "a:2");
    assert_string_equal(admit(&w, &sp_row_pod, old, new_image), "");
    sp_json_set_z(a, sp_json_get(new_image, "spec"), "hostname", "other");
    assert_non_null(strstr(admit(&w, &sp_row_pod, old, new_image),
                           "spec: Forbidden: pod updates may not change fields other than"));
}

static void deployments(void **state) {
    (void)state;
    static const char ok[] =
        "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
        "\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":"
        "\"c\",\"image\":\"i:1\"}]}}}}";
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    world w = {.arena = a};
    sp_json *d = parse(a, ok);
    assert_string_equal(admit(&w, &sp_row_deployment, NULL, d), "");
    assert_string_equal(print(a, sp_json_dig(d, "spec", "strategy", NULL)),
                        "{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxUnavailable\":\"25%\","
                        "\"maxSurge\":\"25%\"}}");
    sp_json *other = sp_json_clone(a, d);
    sp_json_set_z(a, sp_json_dig(other, "spec", "selector", "matchLabels", NULL), "a", "x");
    assert_string_equal(
        admit(&w, &sp_row_deployment, d, other),
        "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match "
        "template `labels`\n"
        "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"x\"}}: field is immutable\n");
    /* The old group did without a selector. */
    sp_json *old = parse(a, ok);
    sp_json_remove(sp_json_get(old, "spec"), "selector");
    assert_string_equal(admit(&w, &sp_row_extensions_deployment, NULL, old), "");
    assert_string_equal(print(a, sp_json_dig(old, "spec", "selector", NULL)),
                        "{\"matchLabels\":{\"a\":\"b\"}}");
}

#define SERVICE(name, spec) \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"n\"},\"spec\":" spec "}"

static void services_get_addresses_and_ports(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    world w = {.arena = a, .others = sp_json_array(a)};
    for (int i = 0; i < 40; i++) {
        sp_json *s = parse(a, SERVICE("s", "{\"type\":\"NodePort\",\"ports\":[{\"port\":80}]}"));
        sp_json *meta = sp_json_get(s, "metadata");
        sp_json_set(a, meta, "name", sp_json_printf(a, "s%d", i));
        assert_string_equal(admit(&w, &sp_row_service, NULL, s), "");
        const sp_json *ip = sp_json_dig(s, "spec", "clusterIP", NULL);
        const sp_json *port = sp_json_at(sp_json_dig(s, "spec", "ports", NULL), 0);
        assert_true(sp_str_starts(sp_json_str(ip), SP_STR("10.96.")));
        assert_in_range(sp_json_int(sp_json_get(port, "nodePort"), 0), 30000, 32767);
        assert_int_equal(sp_json_int(sp_json_get(port, "targetPort"), 0), 80);
        sp_json_each(w.others, o) {
            assert_false(sp_json_equal(ip, sp_json_dig(o, "spec", "clusterIP", NULL)));
            const sp_json *theirs = sp_json_at(sp_json_dig(o, "spec", "ports", NULL), 0);
            assert_false(
                sp_json_equal(sp_json_get(port, "nodePort"), sp_json_get(theirs, "nodePort")));
        }
        sp_json_push(w.others, s);
    }
    /* An update that does not name them keeps them. */
    const sp_json *first = sp_json_at(w.others, 0);
    sp_json *again = parse(a, SERVICE("s0", "{\"type\":\"NodePort\",\"ports\":[{\"port\":80}]}"));
    assert_string_equal(admit(&w, &sp_row_service, first, again), "");
    assert_true(sp_json_equal(sp_json_get(first, "spec"), sp_json_get(again, "spec")));
    /* What another one has is refused. */
    sp_json *thief = sp_json_clone(a, first);
    sp_json_set_z(a, sp_json_get(thief, "metadata"), "name", "thief");
    const char *says = admit(&w, &sp_row_service, NULL, thief);
    assert_non_null(strstr(says, "provided IP is already allocated"));
    assert_non_null(strstr(says, "provided port is already allocated"));
    /* Turned into ClusterIP, the port is given back. */
    sp_json *inner = sp_json_clone(a, first);
    sp_json_set_z(a, sp_json_get(inner, "spec"), "type", "ClusterIP");
    assert_string_equal(admit(&w, &sp_row_service, first, inner), "");
    assert_null(sp_json_get(sp_json_at(sp_json_dig(inner, "spec", "ports", NULL), 0), "nodePort"));
}

static void wrong_services(void **state) {
    (void)state;
    refuses(&sp_row_service, SERVICE("1st", "{\"clusterIP\":\"None\"}"),
            "metadata.name: Invalid value: \"1st\": a DNS-1035 label must consist of lower case "
            "alphanumeric characters or '-', start with an alphabetic character, and end with an "
            "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
            "'[a-z]([-a-z0-9]*[a-z0-9])?')\n");
    refuses(&sp_row_service, SERVICE("s", "{}"), "spec.ports: Required value\n");
    refuses(&sp_row_service, SERVICE("s", "{\"type\":\"ExternalName\"}"),
            "spec.externalName: Required value\n");
    refuses(&sp_row_service, SERVICE("s", "{\"ports\":[{\"port\":80},{\"port\":80}]}"),
            "spec.ports[0].name: Required value\nspec.ports[1].name: Required value\n"
            "spec.ports[1].port: Duplicate value: 80\n");
}

#define SLICE(type, ips)                                     \
    "{\"metadata\":{\"name\":\"s\"},\"addressType\":\"" type \
    "\",\"endpoints\":[{\"addresses\":[" ips "]}]}"

/* The gateway connects from the host: its own services and the cloud's must not be reachable. */
static void endpoints_lead_to_no_special_address(void **state) {
    (void)state;
    static const struct {
        const char *slice, *causes;
    } rows[] = {
        {SLICE("IPv4", "\"10.1.2.3\",\"192.168.1.1\""), ""},
        {SLICE("IPv6", "\"2001:db8::1\""), ""},
        {SLICE("FQDN", "\"a.example.org\""), ""},
        {SLICE("IPv4", "\"127.0.0.1\""), "may not be in the loopback range"},
        {SLICE("IPv4", "\"127.8.9.1\""), "may not be in the loopback range"},
        {SLICE("IPv4", "\"169.254.169.254\""), "may not be in the link-local range"},
        {SLICE("IPv4", "\"0.0.0.0\""), "may not be unspecified"},
        {SLICE("IPv4", "\"224.0.0.1\""), "may not be in the link-local multicast range"},
        {SLICE("IPv4", "\"::1\""), "must be an IPv4 address"},
        {SLICE("IPv4", "\"10.1.2.3\\u0000x\""), "must be an IPv4 address"},
        {SLICE("IPv6", "\"::1\""), "may not be in the loopback range"},
        {SLICE("IPv6", "\"::ffff:127.0.0.1\""), "may not be in the loopback range"},
        {SLICE("IPv6", "\"fe80::1\""), "may not be in the link-local range"},
        {SLICE("IPv6", "\"::\""), "may not be unspecified"},
        {SLICE("FQDN", "\"a b\""), "lowercase RFC 1123 subdomain"},
        {SLICE("IPv4", ""), "must contain at least 1 address"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        world w = {.arena = a};
        const char *said = admit(&w, &sp_row_endpoint_slice, NULL, parse(a, rows[i].slice));
        if (rows[i].causes[0] ? !strstr(said, rows[i].causes) : said[0])
            fail_msg("%s: \"%s\"", rows[i].slice, said);
    }
    refuses(&sp_row_endpoints,
            "{\"metadata\":{\"name\":\"e\"},\"subsets\":[{\"addresses\":[{\"ip\":\"127.0.0.1\"}],"
            "\"notReadyAddresses\":[{\"ip\":\"10.0.0.1\"}]}]}",
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback "
            "range (127.0.0.0/8, ::1/128)\n");
}

static void configuration(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    world w = {.arena = a};
    sp_json *s = parse(a, "{\"metadata\":{\"name\":\"s\"},\"stringData\":{\"k\":\"geheim\"}}");
    assert_string_equal(admit(&w, &sp_row_secret, NULL, s), "");
    assert_string_equal(print(a, s), "{\"metadata\":{\"name\":\"s\"},\"type\":\"Opaque\",\"data\":"
                                     "{\"k\":\"Z2VoZWlt\"}}");
    refuses(&sp_row_secret, "{\"metadata\":{\"name\":\"s\"},\"type\":\"kubernetes.io/tls\"}",
            "data[tls.crt]: Required value\ndata[tls.key]: Required value\n");
    refuses(&sp_row_config_map, "{\"metadata\":{\"name\":\"c\"},\"data\":{\"a b\":\"\"}}",
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric "
            "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex "
            "used for validation is '[-._a-zA-Z0-9]+')\n");
    sp_json *ns = parse(a, "{\"metadata\":{\"name\":\"n\"}}");
    assert_string_equal(admit(&w, &sp_row_namespace, NULL, ns), "");
    assert_string_equal(print(a, ns), "{\"metadata\":{\"name\":\"n\",\"labels\":{\"kubernetes.io/"
                                      "metadata.name\":\"n\"}},\"spec\":{\"finalizers\":["
                                      "\"kubernetes\"]},\"status\":{\"phase\":\"Active\"}}");
}

static void routing_and_scaling(void **state) {
    (void)state;
    refuses(
        &sp_row_ingress,
        "{\"metadata\":{\"name\":\"i\"},\"spec\":{\"rules\":[{\"host\":\"10.0.0.1\",\"http\":{"
        "\"paths\":[{\"path\":\"x\",\"pathType\":\"Prefix\",\"backend\":{\"service\":{\"name\":"
        "\"s\"}}}]}}]}}",
        "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address\n"
        "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path\n"
        "spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number "
        "is required\n");
    refuses(&sp_row_horizontal_pod_autoscaler,
            "{\"metadata\":{\"name\":\"h\"},\"spec\":{\"minReplicas\":3,\"maxReplicas\":2,"
            "\"scaleTargetRef\":{\"kind\":\"Deployment\",\"name\":\"d\"}}}",
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`\n");
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    world w = {.arena = a};
    sp_json *route =
        parse(a, "{\"metadata\":{\"name\":\"r\"},\"spec\":{\"rules\":[{\"backendRefs\":["
                 "{\"name\":\"s\"}]}]}}");
    assert_string_equal(admit(&w, &sp_row_http_route, NULL, route),
                        "spec.rules[0].backendRefs[0].port: Required value: must have port for "
                        "Service reference\n");
    assert_string_equal(print(a, sp_json_at(sp_json_dig(route, "spec", "rules", NULL), 0)),
                        "{\"backendRefs\":[{\"name\":\"s\",\"group\":\"\",\"kind\":\"Service\","
                        "\"weight\":1}],\"matches\":[{\"path\":{\"type\":\"PathPrefix\",\"value\":"
                        "\"/\"}}]}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_consistent),
        cmocka_unit_test(defaults_and_enumerations_are_nodes),
        cmocka_unit_test(pods_are_defaulted),
        cmocka_unit_test(wrong_pods_are_told_everything),
        cmocka_unit_test(pod_specs_stay_but_for_images),
        cmocka_unit_test(deployments),
        cmocka_unit_test(services_get_addresses_and_ports),
        cmocka_unit_test(wrong_services),
        cmocka_unit_test(endpoints_lead_to_no_special_address),
        cmocka_unit_test(configuration),
        cmocka_unit_test(routing_and_scaling),
    };
    return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
