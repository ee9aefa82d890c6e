/* The API server's side of build.h: informers give the documents, and controllers write back what
 * came of them.
 */
#include "gateway/control.h"
#include "base/log.h"
#include "gateway/build.h"
#include "gateway/fellows.h"
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
    VIRTUAL_ADDRESSES,
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
    [VIRTUAL_ADDRESSES] = {&sp_gvr_virtualaddresses, offsetof(sp_cluster_view, virtual_addresses)},
};

typedef void status_fn(sp_reconcile *r, const sp_status_view *v, const sp_json *obj);

/* One controller that writes status: of which kind, and what else its words depend on. */
typedef struct writer {
    struct sp_control *control;
    size_t row; /* of `writers` */
    sp_controller *controller;
} writer;

enum { MAX_WRITERS = 10 };

struct sp_control {
    sp_manager *manager;
    sp_build *build;
    sp_fellows *fellows;
    sp_informer *informers[KINDS];
    writer writers[MAX_WRITERS];
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

static void http_route_status(sp_reconcile *r, const sp_status_view *v, const sp_json *obj) {
    sp_status_route(r, v, SP_ROUTE_HTTP, obj);
}
static void grpc_route_status(sp_reconcile *r, const sp_status_view *v, const sp_json *obj) {
    sp_status_route(r, v, SP_ROUTE_GRPC, obj);
}
static void tls_route_status(sp_reconcile *r, const sp_status_view *v, const sp_json *obj) {
    sp_status_route(r, v, SP_ROUTE_TLS, obj);
}
static void tcp_route_status(sp_reconcile *r, const sp_status_view *v, const sp_json *obj) {
    sp_status_route(r, v, SP_ROUTE_TCP, obj);
}

#define BIT(kind) (1u << (kind))
#define ALL_ROUTES (BIT(ROUTES) | BIT(GRPC_ROUTES) | BIT(TLS_ROUTES) | BIT(TCP_ROUTES))
#define ROUTE_INPUTS                                                          \
    (BIT(GATEWAYS) | BIT(GATEWAY_CLASSES) | BIT(NAMESPACES) | BIT(SERVICES) | \
     BIT(REFERENCE_GRANTS) | BIT(BACKEND_TLS_POLICIES) | BIT(CONFIG_MAPS))

static const struct {
    const char *name;
    int kind;
    status_fn *fn;
    unsigned inputs; /* a change of any of these: all of the kind look again */
    bool ports;      /* also when a port comes to be served or not */
} writers[] = {
    {"gateway-service", SERVICES, sp_status_service, BIT(VIRTUAL_ADDRESSES), true},
    {"gateway-ingress", INGRESSES, sp_status_ingress,
     BIT(SERVICES) | BIT(INGRESS_CLASSES) | BIT(SECRETS) | BIT(VIRTUAL_ADDRESSES), true},
    {"gateway-gateway", GATEWAYS, sp_status_gateway,
     BIT(GATEWAY_CLASSES) | BIT(NAMESPACES) | BIT(SECRETS) | BIT(CONFIG_MAPS) |
         BIT(REFERENCE_GRANTS) | ALL_ROUTES,
     true},
    {"gateway-httproute", ROUTES, http_route_status, ROUTE_INPUTS, false},
    {"gateway-grpcroute", GRPC_ROUTES, grpc_route_status, ROUTE_INPUTS, false},
    {"gateway-tlsroute", TLS_ROUTES, tls_route_status, ROUTE_INPUTS, false},
    {"gateway-tcproute", TCP_ROUTES, tcp_route_status, ROUTE_INPUTS, false},
    {"gateway-backendtls", BACKEND_TLS_POLICIES, sp_status_backend_tls,
     BIT(GATEWAYS) | BIT(GATEWAY_CLASSES) | BIT(SERVICES) | BIT(CONFIG_MAPS) | BIT(SECRETS) |
         ALL_ROUTES,
     false},
    /* Targets come and go, and the end of one policy is the beginning of another. */
    {"gateway-backendpolicy", BACKEND_POLICIES, sp_status_policy,
     BIT(SERVICES) | BIT(BACKEND_POLICIES), false},
    {"gateway-trafficpolicy", TRAFFIC_POLICIES, sp_status_policy,
     BIT(SERVICES) | BIT(GATEWAYS) | BIT(INGRESSES) | BIT(TRAFFIC_POLICIES) | ALL_ROUTES, false},
};
_Static_assert(SP_COUNT(writers) <= MAX_WRITERS, "room for all writers");

static bool write_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    writer *w = ctx;
    sp_control *c = w->control;
    int kind = writers[w->row].kind;
    const sp_json *obj = sp_informer_get(c->informers[kind], r->ns, r->name);
    sp_cluster_view cluster = {0};
    view(c, &cluster);
    sp_status_view v = {
        .cluster = &cluster, .options = sp_build_options(c->build), .told = &c->told};
    v.failures = sp_build_failures(c->build, &v.failure_count);
    v.addresses = sp_fellows_addresses(c->fellows);
    r->component = "sampan-gateway";
    bool ours = sp_fellows_writes(c->fellows);
    if (obj && ours && sp_build_current(c->build) && !sp_obj_deleting(obj))
        writers[w->row].fn(r, &v, obj);
    if (!obj) sp_status_is_news(&v, kinds[kind].gvr->kind, r->key, (sp_str){0});
    sp_cluster_view_free(&cluster);
    return true;
}

static bool gateway_class_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    sp_control *c = ctx;
    sp_status_gateway_class(r, sp_informer_get(c->informers[GATEWAY_CLASSES], r->ns, r->name));
    return true;
}
static bool sticky_key_status(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    sp_control *c = ctx;
    sp_status_sticky_key(r, sp_informer_get(c->informers[SECRETS], r->ns, r->name));
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

/* --- who looks again when something else changes --- */

static void all_look_again(writer *w) {
    sp_informer_each(w->control->informers[writers[w->row].kind], enqueue, w->controller);
}

static void on_input(void *ctx, sp_controller *to, const sp_json *obj) {
    (void)to, (void)obj;
    all_look_again(ctx);
}

static void on_ports(void *ctx) {
    sp_control *c = ctx;
    for (size_t i = 0; i < SP_COUNT(writers); i++)
        if (writers[i].ports) all_look_again(&c->writers[i]);
}

static void on_fellows(void *ctx) {
    sp_control *c = ctx;
    for (size_t i = 0; i < SP_COUNT(writers); i++)
        if (c->writers[i].controller) all_look_again(&c->writers[i]);
}

static sp_controller *new_status(sp_control *c, const char *name, int kind, sp_reconcile_fn *fn,
                                 void *ctx) {
    sp_controller *k = sp_controller_new(c->manager, name, fn, ctx);
    sp_controller_for(k, kinds[kind].gvr);
    return k;
}

static void start_controllers(sp_control *c) {
    for (size_t i = 0; i < SP_COUNT(writers); i++) {
        writer *w = &c->writers[i];
        *w = (writer){.control = c, .row = i};
        w->controller = new_status(c, writers[i].name, writers[i].kind, write_status, w);
        for (int kind = 0; kind < KINDS; kind++)
            if (writers[i].inputs & BIT(kind))
                sp_controller_watch(w->controller, kinds[kind].gvr, on_input, w);
    }
    sp_controller *k =
        new_status(c, "gateway-gatewayclass", GATEWAY_CLASSES, gateway_class_status, c);
    sp_controller_enqueue(k, SP_STR("sampan")); /* made when it is missing */
    new_status(c, "gateway-challenge", CHALLENGES, challenge_status, c);
    k = new_status(c, "gateway-ingressclass", INGRESS_CLASSES, ingress_class_status, c);
    sp_controller_enqueue(k, SP_STR("sampan"));
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    k = new_status(c, "gateway-stickykey", SECRETS, sticky_key_status, c);
    sp_controller_enqueue(k, sp_status_sticky_key_name(a));
}

/* --- life --- */

sp_control *sp_control_new(sp_manager *m, sp_fleet *f, const sp_translate_options *o,
                           const sp_build_beyond *beyond, void (*ready)(void *ctx), void *ctx) {
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
                               .ctx = c,
                               .beyond = *beyond};
    c->build = sp_build_new(&b);
    for (size_t i = 0; i < KINDS; i++) {
        c->informers[i] = sp_manager_informer(m, kinds[i].gvr);
        sp_informer_on_change(c->informers[i], on_change, c);
    }
    c->fellows = sp_fellows_new(m, sp_build_options(c->build), on_fellows, c);
    start_controllers(c);
    sp_manager_on_synced(m, on_synced, c);
    return c;
}

sp_control *sp_control_free(sp_control *c) {
    if (!c) return NULL;
    void *text;
    c->build = sp_build_free(c->build);
    c->fellows = sp_fellows_free(c->fellows);
    for (size_t at = 0; sp_map_next(&c->told, &at, NULL, &text);) free(text);
    sp_map_free(&c->told);
    free(c);
    return NULL;
}
