/* Gateways, routes of all kinds and Ingresses with TLS: what they become, and what is said of them.
 */
#include "gateway_world.h"
#include "net/tls.h"

#define CLASS                                                               \
    "kind: GatewayClass\nmetadata: {name: sampan}\nspec: {controllerName: " \
    "sampan.dev/gateway}\n---\n"
#define GATEWAY(listeners)                                                            \
    CLASS "kind: Gateway\nmetadata: {name: gw, namespace: ns, generation: 2}\nspec: " \
          "{gatewayClassName: sampan, listeners: [" listeners "]}\n---\n"
#define WEB                                                                                       \
    "kind: Service\nmetadata: {name: web, namespace: ns}\nspec: {ports: [{port: 80}]}\n---\n"     \
    "kind: Service\nmetadata: {name: h2, namespace: ns}\nspec: {ports: [{port: 80, appProtocol: " \
    "kubernetes.io/h2c}]}\n---\n"                                                                 \
    "kind: Service\nmetadata: {name: far, namespace: other}\nspec: {ports: [{port: 80}]}\n---\n"
#define ROUTE(kind, name, spec) \
    "kind: " kind "\nmetadata: {name: " name ", namespace: ns}\nspec: {" spec "}\n---\n"

static int gw_setup(void **state) {
    setup(state);
    world *w = *state;
    w->options.https_port = 8443;
    return 0;
}

static void add_secret(world *w, const char *ns, const char *name) {
    sp_auto(sp_buf) ca = {0};
    sp_auto(sp_buf) ca_key = {0};
    sp_auto(sp_buf) crt = {0};
    sp_auto(sp_buf) key = {0};
    sp_cert_request r = {.common_name = name, .life_s = 1 * SP_DAY_S, .server = true};
    assert_true(sp_cert_make_ca("test", 1 * SP_DAY_S, &ca, &ca_key, NULL));
    assert_true(sp_cert_issue(sp_buf_str(&ca), sp_buf_str(&ca_key), &r, &crt, &key, NULL));
    sp_json *o = sp_json_object(w->arena), *m = sp_json_ensure_object(w->arena, o, "metadata");
    sp_json *data = sp_json_ensure_object(w->arena, o, "stringData");
    sp_json_set_z(w->arena, o, "kind", "Secret");
    sp_json_set_z(w->arena, m, "name", name);
    sp_json_set_z(w->arena, m, "namespace", ns);
    sp_json_set_z(w->arena, data, "tls.crt", sp_buf_z(&crt));
    sp_json_set_z(w->arena, data, "tls.key", sp_buf_z(&key));
    put(w, o);
    sp_json *config = sp_json_clone(w->arena, o); /* a ConfigMap with the authority */
    sp_json_set_z(w->arena, config, "kind", "ConfigMap");
    sp_json_set_z(w->arena, sp_json_ensure_object(w->arena, config, "data"), "ca.crt",
                  sp_buf_z(&ca));
    put(w, config);
}

static const sp_sni_entry *sni(const world *w, uint16_t port, const char *host) {
    const sp_listener_spec *l = listener(w, "0.0.0.0", port);
    for (size_t i = 0; l && i < l->sni_count; i++)
        if (sp_str_eqz(l->sni[i].host, host)) return &l->sni[i];
    return NULL;
}

static sp_json *status_of_gateway(world *w, sp_reconcile **r) {
    sp_status_view v = status_view(w);
    *r = sp_reconcile_new(SP_STR("ns/gw"));
    sp_status_gateway(*r, &v, find(&w->view.gateways, "gw"));
    return patched(*r);
}

static void assert_route(world *w, sp_route_kind kind, const char *name, const char *accepted,
                         const char *resolved) {
    sp_status_view v = status_view(w);
    sp_reconcile *r = sp_reconcile_new(SP_STR("ns/x"));
    sp_status_route(r, &v, kind, find(sp_routes_of(&w->view, kind), name));
    const sp_json *p = sp_json_at(sp_json_get(patched(r), "parents"), 0);
    assert_string_equal(sp_json_get_z(condition(p, "Accepted"), "reason"), accepted);
    assert_string_equal(sp_json_get_z(condition(p, "ResolvedRefs"), "reason"), resolved);
    sp_reconcile_free(r);
}

static const char tls_world[] = GATEWAY(
    "{name: one, port: 443, protocol: HTTPS, hostname: One.test, tls: {certificateRefs: [{name: "
    "c}]}},"
    "{name: lost, port: 443, protocol: HTTPS, hostname: lost.test, tls: {certificateRefs: [{name: "
    "none}]}},"
    "{name: pass, port: 443, protocol: TLS, hostname: '*.test', tls: {mode: Passthrough}},"
    "{name: term, port: 9000, protocol: TLS, tls: {certificateRefs: [{name: c}]}},"
    "{name: tcp, port: 9001, protocol: TCP},"
    "{name: udp, port: 9002, protocol: UDP},"
    "{name: kinds, port: 9003, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: "
    "HTTPRoute}]}}") WEB ROUTE("HTTPRoute", "one",
                               "parentRefs: [{name: gw, sectionName: one}], rules: [{backendRefs: "
                               "[{name: web, port: 80}]}]")
    ROUTE("TLSRoute", "pass",
          "parentRefs: [{name: gw, sectionName: pass}], hostnames: [p.test, q.org], rules: "
          "[{backendRefs: [{name: web, port: 80}, {name: gone, port: 80}]}]")
        ROUTE(
            "TCPRoute", "term",
            "parentRefs: [{name: gw, sectionName: term}], rules: [{backendRefs: [{name: web, port: "
            "80}]}]") "kind: TCPRoute\nmetadata: {name: a-young, namespace: ns, creationTimestamp: "
                      "'2026-02-01T00:00:00Z'}\nspec: {parentRefs: [{name: gw, sectionName: tcp}], "
                      "rules: [{backendRefs: [{name: h2, port: 80}]}]}\n---\n"
                      "kind: TCPRoute\nmetadata: {name: b-old, namespace: ns, creationTimestamp: "
                      "'2026-01-01T00:00:00Z'}\nspec: {parentRefs: [{name: gw, sectionName: tcp}], "
                      "rules: [{backendRefs: [{name: web, port: 80}]}]}\n";

static void listeners_of_all_protocols(void **state) {
    world *w = *state;
    add_secret(w, "ns", "c");
    load(w, tls_world);
    translate(w);
    const sp_sni_entry *one = sni(w, 8443, "one.test");
    assert_true(one->tls && one->inner.http);
    assert_non_null(route(w, one->inner.table, "one.test", "/"));
    assert_null(route(w, 0, "one.test", "/")); /* not on plain HTTP */
    const sp_sni_entry *pass = sni(w, 8443, "p.test");
    assert_null(pass->tls);
    assert_int_equal(pass->inner.targets.n, 2);
    assert_int_equal(pass->inner.targets.list[1].pool, SP_NO_POOL);
    assert_null(sni(w, 8443, "q.org")); /* outside of *.test */
    assert_true(!sni(w, 8443, "lost.test")->tls && !sni(w, 8443, "lost.test")->inner.targets.n);
    assert_true(sni(w, 9000, "")->tls && sni(w, 9000, "")->inner.targets.n == 1);
    const sp_targets *tcp = &listener(w, "0.0.0.0", 9001)->plain.targets;
    assert_int_equal(tcp->n, 1); /* the oldest route has the port */
    assert_true(sp_str_eqz(w->t->config->pools[tcp->list->pool].name, "ns/web:80"));
    assert_null(listener(w, "0.0.0.0", 9002));
}

static void status_of_all_protocols(void **state) {
    world *w = *state;
    sp_reconcile *r;
    listeners_of_all_protocols(state);
    sp_json *s = status_of_gateway(w, &r);
    static const struct {
        const char *accepted, *programmed, *refs;
        int64_t attached;
        const char *kind;
    } want[] = {{"Accepted", "Programmed", "ResolvedRefs", 1, "HTTPRoute"},
                {"Accepted", "Invalid", "InvalidCertificateRef", 0, "HTTPRoute"},
                {"Accepted", "Programmed", "ResolvedRefs", 1, "TLSRoute"},
                {"Accepted", "Programmed", "ResolvedRefs", 1, "TLSRoute"},
                {"Accepted", "Programmed", "ResolvedRefs", 2, "TCPRoute"},
                {"UnsupportedProtocol", "Invalid", "ResolvedRefs", 0, NULL},
                {"Accepted", "Programmed", "InvalidRouteKinds", 0, "HTTPRoute"}};
    for (size_t i = 0; i < SP_COUNT(want); i++) {
        const sp_json *l = sp_json_at(sp_json_get(s, "listeners"), i);
        assert_string_equal(sp_json_get_z(condition(l, "Accepted"), "reason"), want[i].accepted);
        assert_string_equal(sp_json_get_z(condition(l, "Programmed"), "reason"),
                            want[i].programmed);
        assert_string_equal(sp_json_get_z(condition(l, "ResolvedRefs"), "reason"), want[i].refs);
        assert_int_equal(sp_json_int(sp_json_get(l, "attachedRoutes"), -1), want[i].attached);
        const sp_json *kind = sp_json_at(sp_json_get(l, "supportedKinds"), 0);
        assert_string_equal(sp_json_get_z(kind, "kind"), want[i].kind ? want[i].kind : "");
    }
    assert_condition(s, "Accepted", "True", "ListenersNotValid");
    sp_reconcile_free(r);
    assert_route(w, SP_ROUTE_TLS, "pass", "Accepted", "BackendNotFound");
    assert_route(w, SP_ROUTE_TCP, "a-young", "Accepted", "ResolvedRefs");
}

static void conflicts(void **state) {
    world *w = *state;
    sp_reconcile *r;
    add_secret(w, "ns", "c");
    load(w, GATEWAY("{name: a, port: 9000, protocol: HTTP}, {name: b, port: 9000, protocol: TCP},"
                    "{name: c, port: 9001, protocol: HTTPS, hostname: x.test, tls: "
                    "{certificateRefs: [{name: c}]}},"
                    "{name: d, port: 9001, protocol: TLS, hostname: x.test, tls: {mode: "
                    "Passthrough}},"
                    "{name: e, port: 9001, protocol: TLS, hostname: y.test, tls: {mode: "
                    "Passthrough}}") "kind: Gateway\nmetadata: {name: late, namespace: ns}\nspec: "
                                     "{gatewayClassName: sampan, "
                                     "addresses: [{type: Hostname, value: x}], listeners: [{name: "
                                     "l, port: 9100, protocol: HTTP}]}\n");
    translate(w);
    assert_null(listener(w, "0.0.0.0", 9000));
    assert_null(sni(w, 9001, "x.test"));
    assert_non_null(sni(w, 9001, "y.test"));
    assert_null(listener(w, "0.0.0.0", 9100));
    sp_json *s = status_of_gateway(w, &r);
    static const char *const want[] = {"ProtocolConflict", "ProtocolConflict", "HostnameConflict",
                                       "HostnameConflict", "NoConflicts"};
    for (size_t i = 0; i < SP_COUNT(want); i++) {
        const sp_json *l = sp_json_at(sp_json_get(s, "listeners"), i);
        assert_string_equal(sp_json_get_z(condition(l, "Conflicted"), "reason"), want[i]);
        assert_string_equal(sp_json_get_z(condition(l, "Accepted"), "status"),
                            i == 4 ? "True" : "False");
    }
    sp_reconcile_free(r);
    sp_status_view v = status_view(w);
    r = sp_reconcile_new(SP_STR("ns/late"));
    sp_status_gateway(r, &v, find(&w->view.gateways, "late"));
    assert_condition(patched(r), "Accepted", "False", "UnsupportedAddress");
    sp_reconcile_free(r);
}

#define GRANT(kind, to)                                                                      \
    "kind: ReferenceGrant\nmetadata: {name: g, namespace: other}\nspec: {from: [{group: "    \
    "gateway.networking.k8s.io, kind: " kind ", namespace: ns}], to: [{group: '', kind: " to \
    "}]}\n"

static void grants(void **state) {
    static const struct {
        const char *grant, *reason;
    } cases[] = {{"", "RefNotPermitted"},
                 {GRANT("HTTPRoute", "Service"), "ResolvedRefs"},
                 {GRANT("HTTPRoute", "Service, name: far"), "ResolvedRefs"},
                 {GRANT("HTTPRoute", "Service, name: near"), "RefNotPermitted"},
                 {GRANT("HTTPRoute", "Secret"), "RefNotPermitted"},
                 {GRANT("GRPCRoute", "Service"), "RefNotPermitted"}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        gw_setup(state);
        world *w = *state;
        load(w, GATEWAY("{name: l, port: 80, protocol: HTTP}")
                    WEB ROUTE("HTTPRoute", "r",
                              "parentRefs: [{name: gw}], rules: [{backendRefs: [{name: far, "
                              "namespace: other, port: 80}]}]"));
        if (cases[i].grant[0]) load(w, cases[i].grant);
        translate(w);
        assert_route(w, SP_ROUTE_HTTP, "r", "Accepted", cases[i].reason);
        bool granted = strcmp(cases[i].reason, "ResolvedRefs") == 0;
        assert_true(
            sp_str_eqz(pool_of(w, route(w, 0, "x", "/")), granted ? "other/far:80" : "none"));
        teardown(state);
    }
}

static void rules_become_actions(void **state) {
    world *w = *state;
    load(w, GATEWAY("{name: l, port: 80, protocol: HTTP}") WEB ROUTE(
                "HTTPRoute", "r",
                "parentRefs: [{name: gw}], rules: ["
                "{matches: [{path: {value: /a}}], timeouts: {request: 10s, backendRequest: "
                "1500ms}, retry: {codes: [500, 503], attempts: 3, backoff: 100ms},"
                " sessionPersistence: {cookie: {name: sid, lifetimeType: Permanent}, "
                "absoluteTimeout: 1h}, backendRefs: [{name: web, port: 80}]},"
                "{matches: [{path: {value: /b}}], filters: [{type: RequestMirror, requestMirror: "
                "{backendRef: {name: h2, port: 80}, percent: 20}},"
                " {type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, "
                "percent: 0}},"
                " {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: "
                "'1'}, {name: X-B, value: '2'}]}}],"
                " backendRefs: [{name: web, port: 80, filters: [{type: RequestHeaderModifier, "
                "requestHeaderModifier: {remove: [x-a]}}]}, {name: h2, port: 80, weight: 3}]},"
                "{matches: [{path: {type: RegularExpression, value: '(['}}]},"
                "{matches: [{path: {type: RegularExpression, value: '/u/[0-9]+'}}], backendRefs: "
                "[{name: web, port: 80}]}]"));
    translate(w);
    const sp_route_action *a = route(w, 0, "x", "/a")->action;
    assert_int_equal(a->request_timeout_ms, 10000);
    assert_int_equal(a->backend_timeout_ms, 1500);
    assert_true(a->retry.attempts == 3 && a->retry.code_count == 2 && a->retry.backoff_ms == 100);
    const sp_pool_spec *sticky = &w->t->config->pools[a->targets.list->pool];
    assert_true(sp_str_eqz(sticky->sticky.cookie, "sid") && sticky->sticky.ttl_ms == 3600000);
    const sp_route_entry *b = route(w, 0, "x", "/b");
    assert_int_equal(b->action->mirror_count, 1);
    assert_true(b->action->mirrors->numerator == 20 && b->action->mirrors->denominator == 100);
    const sp_route_action *first = sp_route_choose(b, 0)->action,
                          *second = sp_route_choose(b, 1)->action;
    assert_true(first->request.set_count == 1 && first->request.remove_count == 1);
    assert_true(second->request.set_count == 2 && !second->request.remove_count);
    assert_int_equal(w->t->config->pools[second->targets.list->pool].protocol, SP_BACKEND_H2C);
    assert_non_null(route(w, 0, "x", "/u/12"));
    assert_null(route(w, 0, "x", "/u/x"));
    sp_status_view v = status_view(w);
    sp_reconcile *r = sp_reconcile_new(SP_STR("ns/r"));
    sp_status_route(r, &v, SP_ROUTE_HTTP, find(&w->view.routes, "r"));
    const sp_json *p = sp_json_at(sp_json_get(patched(r), "parents"), 0);
    assert_condition(p, "Accepted", "True", "Accepted");
    assert_condition(p, "PartiallyInvalid", "True", "UnsupportedValue");
    assert_true(sp_str_starts(sp_json_str(sp_json_get(condition(p, "PartiallyInvalid"), "message")),
                              SP_STR("Dropped Rule: spec.rules[2].matches[0]")));
    sp_reconcile_free(r);
}

static void grpc_methods(void **state) {
    world *w = *state;
    load(w, GATEWAY("{name: l, port: 80, protocol: HTTP}")
                WEB ROUTE("GRPCRoute", "g",
                          "parentRefs: [{name: gw}], rules: [{matches: [{method: {service: a.B, "
                          "method: C}}, {method: {service: d.E}}, {method: {method: Ping}},"
                          " {method: {type: RegularExpression, service: 'x|y'}}], backendRefs: "
                          "[{name: web, port: 80}]}]"));
    translate(w);
    static const struct {
        const char *path;
        bool found;
    } asks[] = {{"/a.B/C", true},  {"/a.B/D", false}, {"/d.E/F", true},  {"/d.Ex/F", false},
                {"/q/Ping", true}, {"/x/any", true},  {"/xx/any", false}};
    for (size_t i = 0; i < SP_COUNT(asks); i++)
        assert_int_equal(route(w, 0, "h", asks[i].path) != NULL, asks[i].found);
    assert_true(sp_str_eqz(pool_of(w, route(w, 0, "h", "/a.B/C")), "ns/web:80+h2c"));
    assert_route(w, SP_ROUTE_GRPC, "g", "Accepted", "ResolvedRefs");
}

static void backend_tls(void **state) {
    world *w = *state;
    add_secret(w, "ns", "ca");
    load(w, GATEWAY("{name: l, port: 80, protocol: HTTP}")
                WEB ROUTE("HTTPRoute", "r",
                          "parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: "
                          "80}]}]") "kind: BackendTLSPolicy\nmetadata: {name: p, namespace: "
                                    "ns}\nspec: {targetRefs: [{group: '', kind: Service, name: "
                                    "web}], "
                                    "validation: {hostname: in.test, caCertificateRefs: [{group: "
                                    "'', kind: ConfigMap, name: ca}]}}\n");
    translate(w);
    const sp_pool_spec *p = &w->t->config->pools[route(w, 0, "x", "/")->action->targets.list->pool];
    assert_true(p->tls && sp_str_eqz(p->tls->server_name, "in.test") && p->tls->ca_pem.n);
    sp_status_view v = status_view(w);
    sp_reconcile *r = sp_reconcile_new(SP_STR("ns/p"));
    sp_status_backend_tls(r, &v, find(&w->view.backend_tls_policies, "p"));
    const sp_json *a = sp_json_at(sp_json_get(patched(r), "ancestors"), 0);
    assert_condition(a, "Accepted", "True", "Accepted");
    assert_string_equal(sp_json_get_z(sp_json_get(a, "ancestorRef"), "name"), "gw");
    sp_reconcile_free(r);
    w->view.config_maps.n = 0;
    translate(w);
    assert_int_equal(route(w, 0, "x", "/")->action->targets.list->pool, SP_NO_POOL);
    assert_route(w, SP_ROUTE_HTTP, "r", "Accepted", "NoValidCACertificate");
    r = sp_reconcile_new(SP_STR("ns/p"));
    sp_status_backend_tls(r, &v, find(&w->view.backend_tls_policies, "p"));
    assert_condition(sp_json_at(sp_json_get(patched(r), "ancestors"), 0), "ResolvedRefs", "False",
                     "InvalidCACertificateRef");
    sp_reconcile_free(r);
}

#define INGRESS(name, notes, host, path, more)                                                 \
    "kind: Ingress\nmetadata: {name: " name ", namespace: ns, annotations: {" notes            \
    "}}\nspec: {" more "rules: [{host: " host ", http: {paths: [{path: '" path "', pathType: " \
    "ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]}\n---\n"
#define NOTE(k, v) "nginx.ingress.kubernetes.io/" k ": '" v "'"

static void ingress_notes(void **state) {
    world *w = *state;
    add_secret(w, "ns", "c");
    load(
        w,
        WEB INGRESS("tls", "", "t.test", "/", "tls: [{hosts: [t.test], secretName: c}], ") INGRESS(
            "plain", "", "t.test", "/two", "")
            INGRESS("re", NOTE("rewrite-target", "/$2"), "re.test", "/api(/|$)(.*)", "") INGRESS(
                "full",
                NOTE("proxy-body-size", "8m") ", " NOTE("limit-rps", "5") ", " NOTE(
                    "affinity",
                    "co"
                    "ok"
                    "i"
                    "e") ", " NOTE("session-cookie-name",
                                   "sid") ", " NOTE("backend-protocol",
                                                    "GRPC") ", " NOTE("upstream-hash-by",
                                                                      "$http_x_user") ", " NOTE("wh"
                                                                                                "it"
                                                                                                "el"
                                                                                                "is"
                                                                                                "t-"
                                                                                                "so"
                                                                                                "ur"
                                                                                                "ce"
                                                                                                "-"
                                                                                                "ra"
                                                                                                "ng"
                                                                                                "e",
                                                                                                "10"
                                                                                                ".0"
                                                                                                ".0"
                                                                                                ".0"
                                                                                                "/"
                                                                                                "8,"
                                                                                                "19"
                                                                                                "2."
                                                                                                "0."
                                                                                                "2."
                                                                                                "1") ","
                                                                                                     " " NOTE(
                                                                                                         "enable-cors",
                                                                                                         "true"),
                "full.test", "/", "")
                INGRESS("odd", NOTE("canary-weight", "much") ", " NOTE("auth-url", "http://x"),
                        "odd.test", "/", "")
                    INGRESS("z-canary", NOTE("canary", "true") ", " NOTE("canary-weight", "20"),
                            "odd.test", "/", ""));
    translate(w);
    const sp_sni_entry *t = sni(w, 8443, "t.test");
    assert_non_null(route(w, t->inner.table, "t.test", "/two"));
    assert_int_equal(route(w, 0, "t.test", "/two")->action->redirect_status,
                     308); /* a host, not an Ingress */
    const sp_route_action *a = route(w, 0, "full.test", "/")->action;
    const sp_pool_spec *p = &w->t->config->pools[a->targets.list->pool];
    assert_true(a->max_body_bytes == 8 << 20 && a->limit_count == 1 && a->limits->burst == 25 &&
                a->allowed_count == 2 && a->cors);
    assert_true(sp_str_eqz(p->sticky.cookie, "sid") && p->protocol == SP_BACKEND_H2C);
    assert_true(p->algorithm == SP_BALANCE_HASH && p->hash_by == SP_HASH_HEADER &&
                sp_str_eqz(p->hash_name, "x-user"));
    assert_int_equal(route(w, 0, "re.test", "/api/x")->action->path_edit, SP_PATH_REPLACE_GROUPS);
    const sp_targets *share = &route(w, 0, "odd.test", "/")->action->targets;
    assert_true(share->n == 2 && share->list[0].weight == 80 && share->list[1].weight == 20);
    sp_problems problems = {0};
    sp_ingress_problems(w->arena, &w->view, find(&w->view.ingresses, "odd"), &problems);
    assert_int_equal(problems.n, 2);
    assert_string_equal(problems.p[0].reason, "AnnotationInvalid");
    assert_string_equal(problems.p[1].reason, "AnnotationNotSupported");
    sp_vec_free(&problems);
}

static void services_near(void **state) {
    world *w = *state;
    w->options.node_name = "n1";
    w->options.cluster_ips = true;
    load(w, "kind: Service\nmetadata: {name: web, namespace: ns}\nspec: {type: LoadBalancer, "
            "clusterIP: 10.96.0.5, externalTrafficPolicy: Local, "
            "healthCheckNodePort: 32000, externalIPs: [192.0.2.50], loadBalancerIP: 192.0.2.60, "
            "trafficDistribution: PreferClose, ports: [{port: 80}]}\n---\n"
            "kind: EndpointSlice\nmetadata: {name: a, namespace: ns, labels: "
            "{kubernetes.io/service-name: web}}\nports: [{port: 8000}]\nendpoints:\n"
            "- {addresses: [10.0.0.1], nodeName: n1, zone: z1}\n- {addresses: [10.0.0.2], "
            "nodeName: n2, zone: z1}\n- {addresses: [10.0.0.3], nodeName: n3, zone: z2}\n");
    translate(w);
    const sp_pool_spec *near =
        &w->t->config->pools[listener(w, "192.0.2.60", 80)->plain.targets.list->pool];
    assert_int_equal(near->endpoint_count, 1);
    assert_ptr_equal(near,
                     &w->t->config->pools[listener(w, "192.0.2.50", 80)->plain.targets.list->pool]);
    const sp_pool_spec *all =
        &w->t->config->pools[listener(w, "10.96.0.5", 80)->plain.targets.list->pool];
    assert_int_equal(all->endpoint_count, 3);
    assert_true(!all->endpoints[0].priority && !all->endpoints[1].priority &&
                all->endpoints[2].priority);
    const sp_listener_spec *health = listener(w, "0.0.0.0", 32000);
    const sp_route_action *answer = route(w, health->plain.table, "any", "/healthz")->action;
    assert_int_equal(answer->answer_status, 200);
    assert_true(sp_str_find(answer->answer_body, SP_STR("\"localEndpoints\":1")) > 0);
    w->options.node_name = "n9";
    translate(w);
    health = listener(w, "0.0.0.0", 32000);
    assert_int_equal(route(w, health->plain.table, "any", "/")->action->answer_status, 503);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, gw_setup, teardown)
    const struct CMUnitTest tests[] = {
        T(listeners_of_all_protocols),
        T(status_of_all_protocols),
        T(conflicts),
        cmocka_unit_test(grants),
        T(rules_become_actions),
        T(grpc_methods),
        T(backend_tls),
        T(ingress_notes),
        T(services_near),
    };
    return cmocka_run_group_tests_name("gateway_gwapi", tests, NULL, NULL);
}
