/* Documents in a view, their translation, and what is said of them: shared by the tests of the
 * control side, without a socket. */
#pragma once
#include "data/yaml.h"
#include "gateway/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

typedef struct world {
    sp_arena *arena;
    sp_cluster_view view;
    sp_translate_options options;
    sp_translation *t;
    sp_map told;
} world;

__attribute__((unused)) static void put(world *w, const sp_json *o) {
    const struct {
        const char *kind;
        sp_obj_list *list;
    } rows[] = {{"Service", &w->view.services},
                {"EndpointSlice", &w->view.slices},
                {"Namespace", &w->view.namespaces},
                {"Ingress", &w->view.ingresses},
                {"IngressClass", &w->view.ingress_classes},
                {"GatewayClass", &w->view.gateway_classes},
                {"Gateway", &w->view.gateways},
                {"HTTPRoute", &w->view.routes},
                {"GRPCRoute", &w->view.grpc_routes},
                {"TLSRoute", &w->view.tls_routes},
                {"TCPRoute", &w->view.tcp_routes},
                {"ReferenceGrant", &w->view.reference_grants},
                {"BackendTLSPolicy", &w->view.backend_tls_policies},
                {"BackendPolicy", &w->view.backend_policies},
                {"TrafficPolicy", &w->view.traffic_policies},
                {"Challenge", &w->view.challenges},
                {"Secret", &w->view.secrets},
                {"ConfigMap", &w->view.config_maps}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        if (!sp_str_eqz(sp_obj_kind(o), rows[i].kind)) continue;
        sp_vec_push(rows[i].list, o);
        return;
    }
    fail_msg("no list for %.*s", SP_ARG(sp_obj_kind(o)));
}

__attribute__((unused)) static void load(world *w, const char *yaml) {
    sp_json_docs docs = {0};
    sp_err err = {0};
    if (!sp_yaml_parse_all(w->arena, sp_str_z(yaml), &docs, &err)) fail_msg("%s", err.text);
    sp_vec_each(&docs, d) put(w, *d);
    sp_vec_free(&docs);
}

__attribute__((unused)) static void translate(world *w) {
    sp_translation *old = w->t;
    w->options.previous = old ? old->config : NULL;
    w->t = sp_translate(&w->view, &w->options);
    sp_translation_free(old);
}

__attribute__((unused)) static int setup(void **state) {
    world *w = sp_zalloc(1, sizeof *w);
    w->arena = sp_arena_new();
    w->options = (sp_translate_options){.http_port = 8080, .node_address = "192.0.2.7"};
    assert_true(sp_addr_parse(SP_STR("0.0.0.0"), 0, &w->options.bind));
    *state = w;
    return 0;
}

__attribute__((unused)) static int teardown(void **state) {
    world *w = *state;
    void *text;
    for (size_t at = 0; sp_map_next(&w->told, &at, NULL, &text);) free(text);
    sp_map_free(&w->told);
    sp_translation_free(w->t);
    sp_cluster_view_free(&w->view);
    sp_arena_free(w->arena);
    free(w);
    return 0;
}

__attribute__((unused)) static const sp_listener_spec *listener(const world *w, const char *ip,
                                                                uint16_t port) {
    sp_addr at;
    assert_true(sp_addr_parse(sp_str_z(ip), port, &at));
    for (size_t i = 0; i < w->t->config->listener_count; i++)
        if (sp_addr_eq(&w->t->config->listeners[i].addr, &at)) return &w->t->config->listeners[i];
    return NULL;
}

__attribute__((unused)) static const sp_route_entry *route(const world *w, uint32_t table,
                                                           const char *host, const char *path) {
    sp_route_request r = {.method = SP_STR("GET"), .host = sp_str_z(host), .path = sp_str_z(path)};
    return sp_route_find(w->t->config->tables[table], &r);
}

__attribute__((unused)) static sp_str pool_of(const world *w, const sp_route_entry *e) {
    uint32_t i = sp_route_draw(&e->action->targets, 0);
    return i == SP_NO_POOL ? SP_STR("none") : w->t->config->pools[i].name;
}

__attribute__((unused)) static const sp_json *find(const sp_obj_list *list, const char *name) {
    sp_vec_each(list, o) if (sp_str_eqz(sp_obj_name(*o), name)) return *o;
    fail_msg("no %s", name);
    return NULL;
}

__attribute__((unused)) static sp_json *patched(sp_reconcile *r) {
    assert_int_equal(r->actions.n, 1);
    assert_int_equal(r->actions.p[0].verb, SP_VERB_MERGE_STATUS);
    return sp_json_get(r->actions.p[0].body, "status");
}

__attribute__((unused)) static const sp_json *condition(const sp_json *holder, const char *type) {
    sp_json_each(sp_json_get(holder, "conditions"), c) {
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type)) return c;
    }
    fail_msg("no condition %s", type);
    return NULL;
}

__attribute__((unused)) static void assert_condition(const sp_json *holder, const char *type,
                                                     const char *status, const char *reason) {
    const sp_json *c = condition(holder, type);
    assert_string_equal(sp_json_get_z(c, "status"), status);
    assert_string_equal(sp_json_get_z(c, "reason"), reason);
}

__attribute__((unused)) static sp_status_view status_view(world *w) {
    return (sp_status_view){&w->view, &w->options, w->t->refusals.p, w->t->refusals.n, &w->told};
}
