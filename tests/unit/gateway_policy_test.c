/* Policies beside what their targets say themselves, and what is said of settings that cannot be
 * carried out. */
#include "gateway/policy.h"
#include "gateway_world.h"

static const char services[] =
    "{kind: Service, metadata: {name: web, namespace: ns}, spec: {type: LoadBalancer,"
    " loadBalancerSourceRanges: [10.0.0.0/8], externalTrafficPolicy: Local,"
    " healthCheckNodePort: 32000,"
    " ports: [{name: http, port: 81, nodePort: 30081}, {name: admin, port: 82}]}}\n---\n"
    "{kind: Service, metadata: {name: inner, namespace: ns}, spec: {ports: [{port: 80}]}}\n---\n"
    "{kind: GatewayClass, metadata: {name: sampan},"
    " spec: {controllerName: sampan.dev/gateway}}\n---\n"
    "{kind: Gateway, metadata: {name: door, namespace: ns}, spec: {gatewayClassName: sampan,"
    " listeners: [{name: shared, port: 80, protocol: HTTP},"
    " {name: own, port: 9000, protocol: HTTP}]}}\n";

static void policy(world *w, const char *name, const char *target, const char *spec) {
    sp_auto(sp_buf) yaml = {0};
    sp_buf_printf(&yaml,
                  "{kind: TrafficPolicy, metadata: {name: %s, namespace: ns},"
                  " spec: {targetRefs: [{%s}], %s}}\n",
                  name, target, spec);
    load(w, sp_arena_strz(w->arena, sp_buf_str(&yaml)));
}

#define INGRESS "group: networking.k8s.io, kind: Ingress, name: site"
#define GATEWAY "group: gateway.networking.k8s.io, kind: Gateway, name: door"

static sp_policy_verdict verdict(const world *w, const char *name) {
    return sp_policy_accepted(w->arena, &w->view, &w->options,
                              find(&w->view.traffic_policies, name));
}

static void annotations_stay_where_a_policy_says_nothing(void **state) {
    world *w = *state;
    load(w, services);
    load(w, "{kind: Ingress, metadata: {name: site, namespace: ns, annotations: {"
            "nginx.ingress.kubernetes.io/whitelist-source-range: 10.0.0.0/8,"
            "nginx.ingress.kubernetes.io/denylist-source-range: 10.9.0.0/16,"
            "nginx.ingress.kubernetes.io/limit-rps: '5',"
            "nginx.ingress.kubernetes.io/proxy-body-size: 1m}},"
            " spec: {defaultBackend: {service: {name: web, port: {number: 81}}}}}\n");
    policy(w, "p", INGRESS, "deny: [192.0.2.1], maxBodyBytes: 77");
    translate(w);
    const sp_route_action *act = route(w, 0, "x.test", "/")->action;
    assert_int_equal(act->max_body_bytes, 77);
    assert_int_equal(act->denied_count, 1);
    assert_int_equal(act->denied[0].bits, 32);
    assert_int_equal(act->allowed_count, 1);
    assert_int_equal(act->limit_count, 1);
    assert_int_equal(act->limits[0].requests, 5);
    w->view.traffic_policies.n = 0;
    policy(w, "q", INGRESS, "rateLimits: [{requests: 9}], allow: [192.0.2.0/24, 198.51.100.1]");
    translate(w);
    act = route(w, 0, "x.test", "/")->action;
    assert_int_equal(act->max_body_bytes, 1 << 20);
    assert_int_equal(act->denied[0].bits, 16);
    assert_int_equal(act->allowed_count, 2);
    assert_int_equal(act->limits[0].requests, 9);
}

static void ports_of_services_have_policies(void **state) {
    world *w = *state;
    load(w, services);
    policy(w, "whole", "kind: Service, name: web", "maxConnections: 3");
    policy(w, "part", "kind: Service, name: web, sectionName: admin", "connectionRate: 4");
    translate(w);
    const sp_listener_spec *http = listener(w, "0.0.0.0", 81);
    assert_int_equal(http->max_connections, 3);
    assert_int_equal(http->source_count, 1); /* its own ranges */
    assert_int_equal(listener(w, "0.0.0.0", 30081)->max_connections, 3);
    assert_int_equal(listener(w, "0.0.0.0", 82)->max_connections, 0);
    assert_int_equal(listener(w, "0.0.0.0", 82)->client_rate, 4);
    assert_int_equal(listener(w, "0.0.0.0", 32000)->max_connections, 0);
}

static void routes_have_the_policy_of_their_listener(void **state) {
    world *w = *state;
    load(w, services);
    load(w, "{kind: HTTPRoute, metadata: {name: plain, namespace: ns}, spec: {parentRefs: ["
            "{name: door}], rules: [{backendRefs: [{name: web, port: 81}]}]}}\n---\n"
            "{kind: GRPCRoute, metadata: {name: rpc, namespace: ns}, spec: {parentRefs: ["
            "{name: door}], hostnames: [rpc.test], rules: [{backendRefs: [{name: web, port: 81}]}]"
            "}}\n---\n"
            "{kind: GRPCRoute, metadata: {name: own, namespace: ns}, spec: {parentRefs: ["
            "{name: door}], hostnames: [own.test], rules: [{backendRefs: [{name: web, port: 81}]}]"
            "}}\n");
    policy(w, "door", GATEWAY, "maxBodyBytes: 1000");
    policy(w, "part", GATEWAY ", sectionName: own", "maxBodyBytes: 2000, maxConnections: 7");
    policy(w, "rpc", "group: gateway.networking.k8s.io, kind: GRPCRoute, name: own",
           "maxBodyBytes: 3000");
    translate(w);
    uint32_t own = listener(w, "0.0.0.0", 9000)->plain.table;
    assert_int_equal(route(w, 0, "x.test", "/")->action->max_body_bytes, 1000);
    assert_int_equal(route(w, 0, "rpc.test", "/")->action->max_body_bytes, 1000);
    assert_int_equal(route(w, own, "x.test", "/")->action->max_body_bytes, 2000);
    assert_int_equal(route(w, own, "rpc.test", "/")->action->max_body_bytes, 2000);
    assert_int_equal(route(w, own, "own.test", "/")->action->max_body_bytes, 3000);
    assert_int_equal(listener(w, "0.0.0.0", 9000)->max_connections, 7);
    assert_int_equal(listener(w, "0.0.0.0", 8080)->max_connections, 0);
    assert_true(verdict(w, "rpc").accepted);
    assert_true(verdict(w, "part").accepted);
}

static void settings_without_effect_are_told(void **state) {
    static const struct {
        const char *target, *spec;
        bool accepted;
        const char *idle, *why;
    } rows[] = {
        {INGRESS, "maxBodyBytes: 1, allow: [10.0.0.0/8]", true, NULL, NULL},
        {INGRESS, "maxBodyBytes: 1, timeouts: {clientIdle: 1s}", true, "timeouts", "--http-port"},
        {INGRESS, "maxConnections: 1, connectionRate: 2", false, "maxConnections, connectionRate",
         "--http-port"},
        {GATEWAY, "trustForwarded: {from: [10.0.0.1]}", true, NULL, NULL},
        {GATEWAY ", sectionName: shared", "trustForwarded: {from: [10.0.0.1]}", false,
         "trustForwarded", "--http-port"},
        {"kind: Service, name: web", "maxConnections: 1", true, NULL, NULL},
        {"kind: Service, name: web", "maxConnections: 1, maxBodyBytes: 1", true, "maxBodyBytes",
         "HTTP"},
        {"kind: Service, name: inner", "maxConnections: 1", false, "maxConnections", "port"},
    };
    world *w = *state;
    load(w, services);
    load(w, "{kind: Ingress, metadata: {name: site, namespace: ns}, spec: {defaultBackend: "
            "{service: {name: web, port: {number: 81}}}}}\n");
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        w->view.traffic_policies.n = 0;
        policy(w, "p", rows[i].target, rows[i].spec);
        sp_policy_verdict v = verdict(w, "p");
        const char *text = sp_arena_strz(w->arena, v.text);
        print_message("%s: %s\n", rows[i].spec, text);
        assert_int_equal(v.accepted, rows[i].accepted);
        assert_string_equal(v.reason, v.accepted ? "Accepted" : "Invalid");
        assert_int_equal(strstr(text, "not carried out") != NULL, rows[i].idle != NULL);
        if (!rows[i].idle) continue;
        assert_non_null(strstr(text, rows[i].idle));
        assert_non_null(strstr(text, rows[i].why));
    }
    /* Two Gateways at one port: it has the settings of the older one. */
    load(w, "{kind: Gateway, metadata: {name: other, namespace: zz}, spec: {gatewayClassName: "
            "sampan, listeners: [{name: own, port: 9000, protocol: HTTP}]}}\n---\n"
            "{kind: TrafficPolicy, metadata: {name: late, namespace: zz}, spec: {maxConnections: 1,"
            " targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: other}]}}\n");
    assert_false(verdict(w, "late").accepted);
}

static sp_str sticky_key(world *w) {
    translate(w);
    assert_int_equal(w->t->config->pool_count > 0, 1);
    return w->t->config->pools[0].sticky.key;
}

static void cookies_have_the_key_of_the_cluster(void **state) {
    world *w = *state;
    load(w, services);
    assert_int_equal(sticky_key(w).n, 0);
    sp_reconcile r = {
        .arena = w->arena, .ns = SP_STR("kube-system"), .name = SP_STR("sampan-gateway-sticky")};
    sp_status_sticky_key(&r, NULL);
    assert_int_equal(r.actions.n, 1);
    sp_json *made = sp_json_clone(w->arena, r.actions.p[0].body);
    sp_json_set_z(w->arena, sp_json_get(made, "metadata"), "namespace", "kube-system");
    put(w, made);
    assert_int_equal(sticky_key(w).n, 32);
    sp_status_sticky_key(&r, made);
    r.name = SP_STR("other");
    sp_status_sticky_key(&r, NULL);
    assert_int_equal(r.actions.n, 1);
    w->options.sticky_key = SP_STR("of a file, and longer");
    assert_true(sp_str_eq(sticky_key(w), w->options.sticky_key));
    w->options.sticky_key = (sp_str){0};
    w->view.secrets.n = 0;
    load(w, "{kind: Secret, metadata: {name: sampan-gateway-sticky, namespace: kube-system},"
            " stringData: {key: short}}");
    assert_int_equal(sticky_key(w).n, 0);
    sp_vec_free(&r.actions);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(annotations_stay_where_a_policy_says_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(ports_of_services_have_policies, setup, teardown),
        cmocka_unit_test_setup_teardown(routes_have_the_policy_of_their_listener, setup, teardown),
        cmocka_unit_test_setup_teardown(cookies_have_the_key_of_the_cluster, setup, teardown),
        cmocka_unit_test_setup_teardown(settings_without_effect_are_told, setup, teardown),
    };
    return cmocka_run_group_tests_name("gateway_policy", tests, NULL, NULL);
}
