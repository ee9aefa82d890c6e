/* The API server's side of build.h: informers give the documents, and controllers write back what
 * came of them.
 */
#include "gateway/control.h"
#include "base/log.h"
#include "gateway/build.h"
#include "gateway/status.h"
#include "kube/gvrs.h"

enum {
    SERVICES,
    SLICES,
    NAMESPACES,
    INGRESSES,
    INGRESS_CLASSES,
    GATEWAY_CLASSES,
    GATEWAYS,
    ROUTES,
    GRPC_ROUTES,
    TLS_ROUTES,
    TCP_ROUTES,
    REFERENCE_GRANTS,
    BACKEND_TLS_POLICIES,
    SECRETS,
    CONFIG_MAPS,
    CHALLENGES,
    BACKEND_POLICIES,
    TRAFFIC_POLICIES,
    KINDS
};

/* What is watched, and where the translation finds it. */
static const struct {
    const sp_gvr *gvr;
    size_t list; /* in sp_cluster_view */
} kinds[KINDS] = {
    [SERVICES] = {&sp_gvr_services, offsetof(sp_cluster_view, services)},
    [SLICES] = {&sp_gvr_endpointslices, offsetof(sp_cluster_view, slices)},
    [NAMESPACES] = {&sp_gvr_namespaces, offsetof(sp_cluster_view, namespaces)},
    [INGRESSES] = {&sp_gvr_ingresses, offsetof(sp_cluster_view, ingresses)},
    [INGRESS_CLASSES] = {&sp_gvr_ingressclasses, offsetof(sp_cluster_view, ingress_classes)},
    [GATEWAY_CLASSES] = {&sp_gvr_gatewayclasses, offsetof(sp_cluster_view, gateway_classes)},
    [GATEWAYS] = {&sp_gvr_gateways, offsetof(sp_cluster_view, gateways)},
    [ROUTES] = {&sp_gvr_httproutes, offsetof(sp_cluster_view, routes)},
    [GRPC_ROUTES] = {&sp_gvr_grpcroutes, offsetof(sp_cluster_view, grpc_routes)},
    [TLS_ROUTES] = {&sp_gvr_tlsroutes, offsetof(sp_cluster_view, tls_routes)},
    [TCP_ROUTES] = {&sp_gvr_tcproutes, offsetof(sp_cluster_view, tcp_routes)},
    [REFERENCE_GRANTS] = {&sp_gvr_referencegrants, offsetof(sp_cluster_view, reference_grants)},
    [BACKEND_TLS_POLICIES] = {&sp_gvr_backendtlspolicies,
                              offsetof(sp_cluster_view, backend_tls_policies)},
    [SECRETS] = {&sp_gvr_secrets, offsetof(sp_cluster_view, secrets)},
    [CONFIG_MAPS] = {&sp_gvr_configmaps, offsetof(sp_cluster_view, config_maps)},
    [CHALLENGES] = {&sp_gvr_challenges, offsetof(sp_cluster_view, challenges)},
    [BACKEND_POLICIES] = {&sp_gvr_backendpolicies, offsetof(sp_cluster_view, backend_policies)},
    [TRAFFIC_POLICIES] = {&sp_gvr_trafficpolicies, offsetof(sp_cluster_view, traffic_policies)},
};

struct sp_control {
    sp_manager *manager;
    sp_build *build;
    sp_informer *informers[KINDS];
    sp_controller *services, *ingresses, *gateways, *routes;
    sp_map told;
    bool synced;
    void (*ready)(void *ctx);
    void *ready_ctx;
};

static void view(void *ctx, sp_cluster_view *ret) {
    const sp_control *c = ctx;
    for (size_t i = 0; i < KINDS; i++) {
        sp_obj_list *list = (sp_obj_list *)(void *)((char *)ret + kinds[i].list);
        sp_informer_list(c->informers[i], SP_STR(""), list);
    }
}

static bool enqueue(void *ctx, const sp_json *obj) {
    sp_controller_enqueue_object(ctx, obj);
    return true;
}

/* Ports are served or not: everybody who shows it looks again. */
static void on_ports(void *ctx) {
    sp_control *c = ctx;
    sp_informer_each(c->informers[SERVICES], enqueue, c->services);
    sp_informer_each(c->informers[INGRESSES], enqueue, c->ingresses);
    sp_informer_each(c->informers[GATEWAYS], enqueue, c->gateways);
}

static void on_change(void *ctx, const sp_json *old, const sp_json *obj) {
    (void)old, (void)obj;
    sp_control *c = ctx;
    if (c->synced) sp_build_soon(c->build);
}

static void on_synced(void *ctx) {
    sp_control *c = ctx;
    c->synced = true;
    sp_build_now(c->build);
}

static void on_ready(void *ctx) {
    sp_control *c = ctx;
    if (c->ready) c->ready(c->ready_ctx);
}

bool sp_control_is_ready(const sp_control *c) {
    return sp_build_is_ready(c->build);
}

sp_build *sp_control_build(sp_control *c) {
    return c->build;
}

/* --- status --- */

typedef void status_fn(sp_reconcile *r, const sp_status_view *v, const sp_json *obj);

static bool run_status(sp_control *c, sp_reconcile *r, int kind, status_fn *fn) {
    const sp_json *obj = sp_informer_get(c->informers[kind], r->ns, r->name);
    sp_cluster_view cluster = {0};
    view(c, &cluster);
    sp_status_view v = {
        .cluster = &cluster, .options = sp_build_options(c->build), .told = &c->told};
    v.failures = sp_build_failures(c->build, &v.failure_count);
    r->component = "sampan-gateway";
    if (obj && sp_build_current(c->build) && !sp_obj_deleting(obj)) fn(r, &v, obj);
    if (!obj) sp_status_is_news(&v, kinds[kind].gvr->kind, r->key, (sp_str){0});
    sp_cluster_view_free(&cluster);
    return true;
}

static bool service_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return run_status(ctx, r, SERVICES, sp_status_service);
}
static bool ingress_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return run_status(ctx, r, INGRESSES, sp_status_ingress);
}
static bool gateway_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return run_status(ctx, r, GATEWAYS, sp_status_gateway);
}
static bool route_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return run_status(ctx, r, ROUTES, sp_status_route);
}
static bool gateway_class_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    sp_control *c = ctx;
    sp_status_gateway_class(r, sp_informer_get(c->informers[GATEWAY_CLASSES], r->ns, r->name));
    return true;
}
static bool ingress_class_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    sp_control *c = ctx;
    sp_status_ingress_class(r, sp_informer_get(c->informers[INGRESS_CLASSES], r->ns, r->name));
    return true;
}

static bool challenge_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    sp_control *c = ctx;
    const sp_json *obj = sp_informer_get(c->informers[CHALLENGES], r->ns, r->name);
    const sp_translation *t = sp_build_current(c->build);
    r->component = "sampan-gateway";
    if (obj && t && !sp_obj_deleting(obj)) sp_status_challenge(r, t->config, obj);
    return true;
}

static bool backend_policy_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return run_status(ctx, r, BACKEND_POLICIES, sp_status_policy);
}
static bool traffic_policy_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return run_status(ctx, r, TRAFFIC_POLICIES, sp_status_policy);
}

/* --- who looks again when something else changes --- */

static void each_in_namespace(sp_control *c, int kind, sp_controller *to, const sp_json *obj) {
    sp_obj_list list = {0};
    sp_informer_list(c->informers[kind], sp_obj_namespace(obj), &list);
    sp_vec_each(&list, o) sp_controller_enqueue_object(to, *o);
    sp_vec_free(&list);
}

static void map_service_to_ingresses(void *ctx, sp_controller *to, const sp_json *obj) {
    each_in_namespace(ctx, INGRESSES, to, obj);
}
static void map_service_to_routes(void *ctx, sp_controller *to, const sp_json *obj) {
    each_in_namespace(ctx, ROUTES, to, obj);
}
static void map_all_gateways(void *ctx, sp_controller *to, const sp_json *obj) {
    (void)obj;
    sp_informer_each(((sp_control *)ctx)->informers[GATEWAYS], enqueue, to);
}
static void map_all_routes(void *ctx, sp_controller *to, const sp_json *obj) {
    (void)obj;
    sp_informer_each(((sp_control *)ctx)->informers[ROUTES], enqueue, to);
}
static void map_all_ingresses(void *ctx, sp_controller *to, const sp_json *obj) {
    (void)obj;
    sp_informer_each(((sp_control *)ctx)->informers[INGRESSES], enqueue, to);
}

/* Targets come and go, and the end of one policy is the beginning of another. */
static void map_backend_policies(void *ctx, sp_controller *to, const sp_json *obj) {
    each_in_namespace(ctx, BACKEND_POLICIES, to, obj);
}
static void map_traffic_policies(void *ctx, sp_controller *to, const sp_json *obj) {
    each_in_namespace(ctx, TRAFFIC_POLICIES, to, obj);
}

static sp_controller *new_status(sp_control *c, const char *name, int kind, sp_reconcile_fn *fn) {
    sp_controller *k = sp_controller_new(c->manager, name, fn, c);
    sp_controller_for(k, kinds[kind].gvr);
    return k;
}

static void start_controllers(sp_control *c) {
    c->services = new_status(c, "gateway-service", SERVICES, service_status);
    c->ingresses = new_status(c, "gateway-ingress", INGRESSES, ingress_status);
    sp_controller_watch(c->ingresses, kinds[SERVICES].gvr, map_service_to_ingresses, c);
    sp_controller_watch(c->ingresses, kinds[INGRESS_CLASSES].gvr, map_all_ingresses, c);
    c->gateways = new_status(c, "gateway-gateway", GATEWAYS, gateway_status);
    sp_controller_watch(c->gateways, kinds[GATEWAY_CLASSES].gvr, map_all_gateways, c);
    sp_controller_watch(c->gateways, kinds[ROUTES].gvr, map_all_gateways, c);
    sp_controller_watch(c->gateways, kinds[NAMESPACES].gvr, map_all_gateways, c);
    c->routes = new_status(c, "gateway-route", ROUTES, route_status);
    sp_controller_watch(c->routes, kinds[GATEWAYS].gvr, map_all_routes, c);
    sp_controller_watch(c->routes, kinds[GATEWAY_CLASSES].gvr, map_all_routes, c);
    sp_controller_watch(c->routes, kinds[NAMESPACES].gvr, map_all_routes, c);
    sp_controller_watch(c->routes, kinds[SERVICES].gvr, map_service_to_routes, c);
    sp_controller *k = new_status(c, "gateway-gatewayclass", GATEWAY_CLASSES, gateway_class_status);
    sp_controller_enqueue(k, SP_STR("sampan")); /* made when it is missing */
    new_status(c, "gateway-challenge", CHALLENGES, challenge_status);
    k = new_status(c, "gateway-backendpolicy", BACKEND_POLICIES, backend_policy_status);
    sp_controller_watch(k, kinds[SERVICES].gvr, map_backend_policies, c);
    sp_controller_watch(k, kinds[BACKEND_POLICIES].gvr, map_backend_policies, c);
    k = new_status(c, "gateway-trafficpolicy", TRAFFIC_POLICIES, traffic_policy_status);
    static const int targets[] = {SERVICES, GATEWAYS, ROUTES, INGRESSES, TRAFFIC_POLICIES};
    for (size_t i = 0; i < SP_COUNT(targets); i++)
        sp_controller_watch(k, kinds[targets[i]].gvr, map_traffic_policies, c);
    k = new_status(c, "gateway-ingressclass", INGRESS_CLASSES, ingress_class_status);
    sp_controller_enqueue(k, SP_STR("sampan"));
}

/* --- life --- */

sp_control *sp_control_new(sp_manager *m, sp_fleet *f, const sp_translate_options *o,
                           void (*ready)(void *ctx), void *ctx) {
    sp_control *c = sp_zalloc(1, sizeof *c);
    c->manager = m;
    c->ready = ready;
    c->ready_ctx = ctx;
    const sp_build_config b = {.loop = sp_kube_loop(sp_manager_kube(m)),
                               .fleet = f,
                               .options = *o,
                               .view = view,
                               .ready = on_ready,
                               .changed = on_ports,
                               .ctx = c};
    c->build = sp_build_new(&b);
    for (size_t i = 0; i < KINDS; i++) {
        c->informers[i] = sp_manager_informer(m, kinds[i].gvr);
        sp_informer_on_change(c->informers[i], on_change, c);
    }
    start_controllers(c);
    sp_manager_on_synced(m, on_synced, c);
    return c;
}

sp_control *sp_control_free(sp_control *c) {
    if (!c) return NULL;
    void *text;
    c->build = sp_build_free(c->build);
    for (size_t at = 0; sp_map_next(&c->told, &at, NULL, &text);) free(text);
    sp_map_free(&c->told);
    free(c);
    return NULL;
}
