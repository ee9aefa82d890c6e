/* From documents to configuration and to what is said on the objects, without a socket. */
#include "gateway_world.h"

#define SERVICE(name, type, more)                                                               \
    "apiVersion: v1\nkind: Service\nmetadata: {name: " name ", namespace: ns, generation: 3}\n" \
    "spec: {type: " type ", " more "}\n"

#define GATEWAY                                                                               \
    "kind: GatewayClass\nmetadata: {name: sampan}\nspec: {controllerName: "                   \
    "sampan.dev/gateway}\n---\n"                                                              \
    "kind: Namespace\nmetadata: {name: other, labels: {team: a}}\n---\n"                      \
    "kind: Gateway\nmetadata: {name: gw, namespace: ns}\nspec:\n  gatewayClassName: sampan\n" \
    "  listeners:\n"                                                                          \
    "  - {name: http, port: 80, protocol: HTTP}\n"                                            \
    "  - {name: team, port: 8090, protocol: HTTP, hostname: '*.team.org', allowedRoutes: "    \
    "{namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}}\n"                   \
    "  - {name: tls, port: 443, protocol: HTTPS}\n---\n"

static void services_open_ports(void **state) {
    world *w = *state;
    w->options.cluster_ips = true;
    load(
        w,
        SERVICE(
            "web", "LoadBalancer",
            "clusterIP: 10.96.0.5, loadBalancerSourceRanges: [192.0.2.0/24, odd], sessionAffinity: "
            "ClientIP, ports: [{name: http, port: "
            "80, nodePort: 30080}, {name: dns, port: 53, protocol: UDP}]") "---\n" SERVICE("node",
                                                                                           "NodePor"
                                                                                           "t",
                                                                                           "cluster"
                                                                                           "IP: "
                                                                                           "10.96."
                                                                                           "0.6, "
                                                                                           "ports: "
                                                                                           "[{port:"
                                                                                           " 80, "
                                                                                           "nodePor"
                                                                                           "t: "
                                                                                           "30081}"
                                                                                           "]") "--"
                                                                                                "-"
                                                                                                "\n" SERVICE("headless", "ClusterIP", "clusterIP: None, ports: [{port: 81}]") "---\n" SERVICE(
                                                                                                    "away",
                                                                                                    "ExternalName",
                                                                                                    "externalName: x.org, ports: [{port: 82}]") "---\n"
                                                                                                                                                "kind: EndpointSlice\nmetadata: {name: a, namespace: ns, labels: "
                                                                                                                                                "{kubernetes.io/service-name: web}}\nports: [{name: other, port: 1}, {name: http, port: "
                                                                                                                                                "8000}]\nendpoints:\n"
                                                                                                                                                "- {addresses: [10.0.0.1], conditions: {ready: true}}\n"
                                                                                                                                                "- {addresses: [10.0.0.2], conditions: {ready: false, serving: true, terminating: true}}\n"
                                                                                                                                                "- {addresses: [10.0.0.3], conditions: {ready: false}}\n"
                                                                                                                                                "- {addresses: [10.0.0.4]}\n"
                                                                                                                                                "- {addresses: [10.0.0.1], conditions: {ready: false}}\n");
    translate(w);
    assert_non_null(listener(w, "0.0.0.0", 8080));
    assert_non_null(listener(w, "0.0.0.0", 80));
    assert_int_equal(listener(w, "0.0.0.0", 80)->source_count, 2);
    assert_int_equal(listener(w, "0.0.0.0", 80)->sources[0].bits, 24);
    assert_int_equal(listener(w, "0.0.0.0", 80)->sources[1].net.family, 0); /* matches nobody */
    assert_int_equal(listener(w, "10.96.0.5", 80)->source_count, 0);
    assert_non_null(listener(w, "0.0.0.0", 30080));
    assert_non_null(listener(w, "10.96.0.5", 80));
    assert_non_null(listener(w, "10.96.0.6", 80)); /* beside 0.0.0.0:80 */
    assert_non_null(listener(w, "0.0.0.0", 30081));
    assert_int_equal(w->t->config->listener_count, 6);
    const sp_pool_spec *p =
        &w->t->config->pools[listener(w, "0.0.0.0", 80)->plain.targets.list->pool];
    assert_int_equal(listener(w, "10.96.0.5", 80)->plain.targets.list->pool,
                     listener(w, "0.0.0.0", 30080)->plain.targets.list->pool);
    assert_true(sp_str_eqz(p->name, "ns/web:80"));
    assert_int_equal(p->affinity_ms, 10800000);
    assert_int_equal(p->endpoint_count, 4);
    static const struct {
        uint8_t last;
        bool ready, draining;
    } want[] = {{1, true, false}, {2, false, true}, {3, false, false}, {4, true, false}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(p->endpoints[i].addr.ip[3], want[i].last);
        assert_int_equal(p->endpoints[i].addr.port, 8000);
        assert_int_equal(p->endpoints[i].ready, want[i].ready);
        assert_int_equal(p->endpoints[i].draining, want[i].draining);
    }
    assert_int_equal(w->t->refusals.n, 1);
    assert_string_equal(w->t->refusals.p[0].reason, "ProtocolNotSupported");
}

static void who_holds_a_port_keeps_it(void **state) {
    world *w = *state;
    load(w, SERVICE("late", "LoadBalancer", "ports: [{port: 80}]"));
    translate(w);
    load(w, SERVICE("early", "LoadBalancer", "ports: [{port: 80}, {port: 8080}, {port: 90}]"));
    translate(w);
    assert_true(sp_str_eqz(listener(w, "0.0.0.0", 80)->owner, "Service ns/late"));
    assert_int_equal(w->t->refusals.n, 2);
    assert_true(sp_str_eqz(w->t->refusals.p[0].text, "port 80 is already used by Service ns/late"));
    assert_true(sp_str_eqz(w->t->refusals.p[1].text,
                           "port 8080 is already used by the gateway's own --http-port"));
    translate(w); /* by now the newcomer holds a port too */
    assert_true(sp_str_eqz(listener(w, "0.0.0.0", 80)->owner, "Service ns/late"));
    assert_true(sp_str_eqz(listener(w, "0.0.0.0", 90)->owner, "Service ns/early"));
    load(w,
         GATEWAY "kind: Gateway\nmetadata: {name: wants, namespace: ns}\nspec: {gatewayClassName: "
                 "sampan, listeners: [{name: l, port: 90, protocol: HTTP}]}\n");
    translate(w);
    assert_false(listener(w, "0.0.0.0", 90)->plain.http);
    assert_true(listener(w, "0.0.0.0", 8090)->plain.http);
    load(w, SERVICE("also", "LoadBalancer", "ports: [{port: 8090}]"));
    translate(w);
    assert_true(listener(w, "0.0.0.0", 8090)->plain.http); /* a Gateway keeps its port as well */
    assert_int_equal(w->t->refusals.n, 4);
}

static void service_status(void **state) {
    world *w = *state;
    load(w, SERVICE("web", "LoadBalancer", "ports: [{port: 80}]") "---\n" SERVICE(
                "zweit", "LoadBalancer", "ports: [{port: 80}, {port: 81}]"));
    translate(w);
    sp_status_view v = status_view(w);
    sp_reconcile *r = sp_reconcile_new(SP_STR("ns/web"));
    sp_status_service(r, &v, find(&w->view.services, "web"));
    sp_json *s = patched(r);
    assert_condition(s, "sampan.dev/PortsBound", "True", "PortsBound");
    sp_json *at = sp_json_at(sp_json_dig(s, "loadBalancer", "ingress", NULL), 0);
    assert_string_equal(sp_json_get_z(at, "ip"), "192.0.2.7");
    assert_null(sp_json_get(at, "ports"));
    assert_int_equal(r->events.n, 0);
    /* The object as it is after that patch needs nothing more. */
    sp_json *after = sp_json_clone(w->arena, find(&w->view.services, "web"));
    sp_json_set(w->arena, after, "status", sp_json_clone(w->arena, s));
    sp_reconcile_free(r);
    r = sp_reconcile_new(SP_STR("ns/web"));
    sp_status_service(r, &v, after);
    assert_int_equal(r->actions.n, 0);
    sp_reconcile_free(r);
    for (int again = 0; again < 2; again++) { /* the Event is told once */
        r = sp_reconcile_new(SP_STR("ns/zweit"));
        sp_status_service(r, &v, find(&w->view.services, "zweit"));
        s = patched(r);
        assert_condition(s, "sampan.dev/PortsBound", "False", "PortInUse");
        at = sp_json_at(sp_json_dig(s, "loadBalancer", "ingress", NULL), 0);
        assert_string_equal(sp_json_get_z(sp_json_at(sp_json_get(at, "ports"), 0), "error"),
                            "PortInUse");
        assert_null(sp_json_get(sp_json_at(sp_json_get(at, "ports"), 1), "error"));
        assert_int_equal(r->events.n, !again);
        sp_reconcile_free(r);
    }
}

static void ingresses(void **state) {
    world *w = *state;
    load(w,
         SERVICE(
             "web", "ClusterIP",
             "ports: [{name: http, port: 80}]") "---\n"
                                                "kind: IngressClass\nmetadata: {name: "
                                                "foreign}\nspec: {controller: example.com/x}\n---\n"
                                                "kind: Ingress\nmetadata: {name: mine, namespace: "
                                                "ns}\nspec:\n"
                                                "  ingressClassName: nginx\n"
                                                "  tls: [{hosts: [A.org], secretName: lost}]\n"
                                                "  defaultBackend: {service: {name: web, port: "
                                                "{number: 80}}}\n"
                                                "  rules:\n"
                                                "  - host: A.org\n"
                                                "    http: {paths: [{path: /x, pathType: Exact, "
                                                "backend: {service: {name: web, port: {name: "
                                                "http}}}}, {path: /gone, pathType: Prefix, "
                                                "backend: {service: {name: gone, port: {number: "
                                                "1}}}}]}\n"
                                                "  - host: '*.a.org'\n"
                                                "    http: {paths: [{path: /, pathType: "
                                                "ImplementationSpecific, backend: {service: {name: "
                                                "web, port: {number: 81}}}}]}\n---\n"
                                                "kind: Ingress\nmetadata: {name: theirs, "
                                                "namespace: ns}\nspec: {ingressClassName: foreign, "
                                                "rules: [{host: b.org, http: {paths: [{path: /, "
                                                "backend: {service: {name: web, port: "
                                                "{number: 80}}}}]}}]}\n");
    translate(w);
    static const struct {
        const char *host, *path, *pool;
    } cases[] = {{"a.org", "/x", "ns/web:80"}, {"a.org", "/gone/1", "none"},
                 {"q.a.org", "/", "none"},     {"p.q.a.org", "/", "ns/web:80"},
                 {"b.org", "/", "ns/web:80"},  {"a.org", "/x/", "ns/web:80"}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const sp_route_entry *e = route(w, 0, cases[i].host, cases[i].path);
        assert_non_null(e);
        assert_true(sp_str_eqz(pool_of(w, e), cases[i].pool));
    }
    assert_true(route(w, 0, "b.org", "/")->last_resort); /* the foreign one does not count */
    sp_status_view v = status_view(w);
    sp_reconcile *r = sp_reconcile_new(SP_STR("ns/mine"));
    sp_status_ingress(r, &v, find(&w->view.ingresses, "mine"));
    sp_json *at = sp_json_at(sp_json_dig(patched(r), "loadBalancer", "ingress", NULL), 0);
    assert_string_equal(sp_json_get_z(at, "ip"), "192.0.2.7");
    static const char *const reasons[] = {"ServiceNotFound", "ServicePortNotFound",
                                          "InvalidCertificate"};
    assert_int_equal(r->events.n, 3);
    for (size_t i = 0; i < 3; i++) assert_string_equal(r->events.p[i].reason, reasons[i]);
    assert_true(
        sp_str_eqz(r->events.p[0].message,
                   "spec.rules[0].http.paths[1]: there is no service gone in this namespace"));
    sp_reconcile_free(r);
    r = sp_reconcile_new(SP_STR("ns/theirs"));
    sp_status_ingress(r, &v, find(&w->view.ingresses, "theirs"));
    assert_int_equal(r->actions.n, 0);
    sp_reconcile_free(r);
}

static void gateways(void **state) {
    world *w = *state;
    load(
        w,
        GATEWAY SERVICE(
            "web", "ClusterIP",
            "ports: [{port: 80}]") "---\n"
                                   "kind: HTTPRoute\nmetadata: {name: mine, namespace: ns}\nspec:\n"
                                   "  parentRefs: [{name: gw}]\n  hostnames: [a.org]\n  rules:\n"
                                   "  - matches: [{path: {value: /v1}, method: GET}, {path: {type: "
                                   "Exact, value: /one}}]\n"
                                   "    backendRefs: [{name: web, port: 80, weight: 3}, {name: "
                                   "gone, port: 1, weight: 1}]\n"
                                   "  - matches: [{path: {value: /old}}]\n"
                                   "    filters: [{type: RequestRedirect, requestRedirect: "
                                   "{scheme: https, statusCode: 301}}]\n"
                                   "---\nkind: HTTPRoute\nmetadata: {name: team, namespace: "
                                   "other}\nspec:\n"
                                   "  parentRefs: [{name: gw, namespace: ns}]\n  hostnames: "
                                   "[x.team.org, y.org]\n"
                                   "  rules: [{backendRefs: [{name: web, namespace: ns, port: "
                                   "80}]}]\n"
                                   "---\nkind: HTTPRoute\nmetadata: {name: odd, namespace: "
                                   "ns}\nspec:\n"
                                   "  parentRefs: [{name: gw}]\n  rules: [{filters: [{type: "
                                   "ExtensionRef}]}]\n");
    translate(w);
    assert_int_equal(w->t->config->table_count, 2);
    assert_true(listener(w, "0.0.0.0", 8090)->plain.http);
    assert_null(listener(w, "0.0.0.0", 80)); /* is served on --http-port */
    const sp_route_entry *e = route(w, 0, "a.org", "/v1/x");
    assert_true(sp_str_eqz(pool_of(w, e), "ns/web:80"));
    assert_int_equal(sp_route_draw(&e->action->targets, 3), SP_NO_POOL); /* one of four */
    assert_int_equal(route(w, 0, "a.org", "/one")->path_kind, SP_PATH_EXACT);
    assert_int_equal(route(w, 0, "a.org", "/old")->action->redirect_status, 301);
    assert_null(route(w, 0, "a.org", "/else"));
    assert_null(route(w, 0, "x.team.org", "/"));
    assert_non_null(route(w, 1, "x.team.org", "/"));
    assert_null(route(w, 1, "y.org", "/"));
    assert_null(route(w, 1, "a.org", "/v1"));
}

static void gateway_status(void **state) {
    world *w = *state;
    gateways(state);
    sp_status_view v = status_view(w);
    sp_reconcile *r = sp_reconcile_new(SP_STR("ns/gw"));
    sp_status_gateway(r, &v, find(&w->view.gateways, "gw"));
    sp_json *s = patched(r);
    assert_condition(s, "Accepted", "True", "ListenersNotValid");
    assert_condition(s, "Programmed", "True", "Programmed");
    assert_string_equal(sp_json_get_z(sp_json_at(sp_json_get(s, "addresses"), 0), "value"),
                        "192.0.2.7");
    static const struct {
        const char *programmed, *resolved, *reason;
        int64_t attached;
    } want[] = {{"True", "True", "ResolvedRefs", 1},
                {"True", "True", "ResolvedRefs", 1},
                {"False", "False", "InvalidCertificateRef", 1}};
    for (size_t i = 0; i < 3; i++) {
        const sp_json *l = sp_json_at(sp_json_get(s, "listeners"), i);
        assert_condition(l, "Accepted", "True", "Accepted");
        assert_string_equal(sp_json_get_z(condition(l, "Programmed"), "status"),
                            want[i].programmed);
        assert_condition(l, "ResolvedRefs", want[i].resolved, want[i].reason);
        assert_int_equal(sp_json_int(sp_json_get(l, "attachedRoutes"), -1), want[i].attached);
    }
    sp_reconcile_free(r);
    static const struct {
        const char *route, *accepted, *reason, *resolved, *resolved_reason;
    } routes[] = {
        {"mine", "True", "Accepted", "False", "BackendNotFound"},
        {"team", "True", "Accepted", "False", "RefNotPermitted"},
        {"odd", "False", "UnsupportedValue", "True", "ResolvedRefs"},
    };
    for (size_t i = 0; i < SP_COUNT(routes); i++) {
        r = sp_reconcile_new(SP_STR("ns/x"));
        sp_status_route(r, &v, SP_ROUTE_HTTP, find(&w->view.routes, routes[i].route));
        const sp_json *parents = sp_json_get(patched(r), "parents");
        assert_int_equal(parents->count, 1);
        const sp_json *p = sp_json_at(parents, 0);
        assert_string_equal(sp_json_get_z(p, "controllerName"), "sampan.dev/gateway");
        assert_condition(p, "Accepted", routes[i].accepted, routes[i].reason);
        assert_condition(p, "ResolvedRefs", routes[i].resolved, routes[i].resolved_reason);
        sp_reconcile_free(r);
    }
}

static void hostnames_intersect(void **state) {
    static const struct {
        const char *listener, *route, *found; /* NULL = not attached */
    } cases[] = {
        {"", "a.org", "a.org"},
        {"a.org", "", "a.org"},
        {"*.a.org", "x.a.org", "x.a.org"},
        {"x.a.org", "*.a.org", "x.a.org"},
        {"*.a.org", "*.b.a.org", "*.b.a.org"},
        {"*.b.a.org", "*.a.org", "*.b.a.org"},
        {"*.a.org", "a.org", NULL},
        {"a.org", "b.org", NULL},
        {"*.a.org", "xa.org", NULL},
        {"*.a.org", "*.c.org", NULL},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        setup(state);
        world *w = *state;
        char yaml[1024];
        snprintf(yaml, sizeof yaml,
                 "kind: GatewayClass\nmetadata: {name: s}\nspec: {controllerName: "
                 "sampan.dev/gateway}\n---\nkind: Gateway\nmetadata: {name: g, namespace: ns}\n"
                 "spec: {gatewayClassName: s, listeners: [{name: l, port: 80, protocol: HTTP, "
                 "hostname: '%s'}]}\n---\nkind: HTTPRoute\nmetadata: {name: r, namespace: ns}\n"
                 "spec: {parentRefs: [{name: g}], hostnames: [%s%s%s], rules: [{}]}\n",
                 cases[i].listener, cases[i].route[0] ? "'" : "", cases[i].route,
                 cases[i].route[0] ? "'" : "");
        load(w, yaml);
        translate(w);
        const char *host = cases[i].found ? cases[i].found : "x.a.org";
        if (host[0] == '*') host = "q.b.a.org";
        assert_int_equal(route(w, 0, host, "/") != NULL, cases[i].found != NULL);
        sp_route_verdict j = sp_route_accepted(
            w->arena, &w->view, &w->options, SP_ROUTE_HTTP, w->view.routes.p[0],
            sp_json_at(sp_json_dig(w->view.routes.p[0], "spec", "parentRefs", NULL), 0),
            w->view.gateways.p[0]);
        assert_string_equal(j.reason, cases[i].found ? "Accepted" : "NoMatchingListenerHostname");
        teardown(state);
    }
}

static void challenges_are_answered_in_any_case(void **state) {
    world *w = *state;
    load(w, "{kind: Challenge, metadata: {name: c, namespace: ns}, spec: {type: HTTP-01, dnsName: "
            "Shop.Example.ORG, token: tok, key: tok.thumb}}\n");
    translate(w);
    const sp_route_entry *e = route(w, 0, "shop.example.org", "/.well-known/acme-challenge/tok");
    assert_non_null(e);
    assert_true(sp_str_eqz(e->action->answer_body, "tok.thumb"));
    sp_reconcile r = {.arena = w->arena, .now_wall_ms = 1000};
    sp_status_challenge(&r, w->t->config, w->view.challenges.p[0]);
    assert_true(sp_json_bool(sp_json_get(patched(&r), "presented"), false));
    sp_vec_free(&r.actions);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(services_open_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(who_holds_a_port_keeps_it, setup, teardown),
        cmocka_unit_test_setup_teardown(service_status, setup, teardown),
        cmocka_unit_test_setup_teardown(ingresses, setup, teardown),
        cmocka_unit_test_setup_teardown(gateways, setup, teardown),
        cmocka_unit_test_setup_teardown(gateway_status, setup, teardown),
        cmocka_unit_test(hostnames_intersect),
        cmocka_unit_test_setup_teardown(challenges_are_answered_in_any_case, setup, teardown),
    };
    return cmocka_run_group_tests_name("gateway_translate", tests, NULL, NULL);
}
