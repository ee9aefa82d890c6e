/* Any change of what is watched sets a short timer; when it fires, the whole configuration is
 * translated anew and given to the worker, which finds out by itself what is different. So there is
 * no bookkeeping of changes that could go wrong, and a burst of a hundred changes costs one pass.
 */
#include "gateway/control.h"
#include "base/log.h"
#include "gateway/status.h"
#include "kube/gvrs.h"
#include "net/loop.h"

enum { SETTLE_MS = 5 };

enum {
    SERVICES,
    SLICES,
    NAMESPACES,
    INGRESSES,
    INGRESS_CLASSES,
    GATEWAY_CLASSES,
    GATEWAYS,
    ROUTES,
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
};

struct sp_control {
    sp_manager *manager;
    sp_worker *worker;
    sp_translate_options options;
    sp_informer *informers[KINDS];
    sp_controller *services, *ingresses, *gateways, *routes;
    sp_translation *current;
    SP_VEC(sp_refusal) failures; /* of the translation and of the sockets */
    sp_map told;
    sp_buf logged; /* the failures of last time, a line each */
    sp_timer *settle;
    bool synced, ready_told;
    void (*ready)(void *ctx);
    void *ready_ctx;
};

static sp_cluster_view view(const sp_control *c) {
    sp_cluster_view v = {0};
    for (size_t i = 0; i < KINDS; i++) {
        sp_obj_list *list = (sp_obj_list *)(void *)((char *)&v + kinds[i].list);
        sp_informer_list(c->informers[i], SP_STR(""), list);
    }
    return v;
}

/* --- carrying out --- */

static void gather_failures(sp_control *c) {
    c->failures.n = 0;
    sp_vec_each(&c->current->refusals, r) sp_vec_push(&c->failures, *r);
    for (size_t i = 0; i < sp_worker_listener_count(c->worker); i++) {
        sp_listener_state l = sp_worker_listener(c->worker, i);
        if (l.bound) continue;
        sp_refusal r = {l.spec->owner, l.spec->addr.port, "PortUnavailable", sp_str_z(l.error)};
        sp_vec_push(&c->failures, r);
    }
}

/* Each failure once, and again when it came back after having been gone. */
static void log_failures(sp_control *c) {
    sp_buf all = {0};
    sp_vec_each(&c->failures, f) {
        sp_auto(sp_buf) line = {0};
        sp_buf_printf(&line, "%.*s: %.*s\n", SP_ARG(f->owner), SP_ARG(f->text));
        if (sp_str_find(sp_buf_str(&c->logged), sp_buf_str(&line)) < 0)
            sp_warn("a port is not served", SP_KV("owner", f->owner), SP_KV("port", f->port),
                    SP_KV("why", f->text));
        sp_buf_add(&all, sp_buf_str(&line));
    }
    sp_buf_free(&c->logged);
    c->logged = all;
}

static bool enqueue(void *ctx, const sp_json *obj) {
    sp_controller_enqueue_object(ctx, obj);
    return true;
}

/* Sockets change rarely; then everybody who shows their state looks again. */
static void on_listeners(void *ctx) {
    sp_control *c = ctx;
    if (!c->current) return;
    gather_failures(c);
    log_failures(c);
    sp_informer_each(c->informers[SERVICES], enqueue, c->services);
    sp_informer_each(c->informers[INGRESSES], enqueue, c->ingresses);
    sp_informer_each(c->informers[GATEWAYS], enqueue, c->gateways);
}

static bool same_failures(const sp_control *c, const sp_translation *next) {
    if (!c->current || c->current->refusals.n != next->refusals.n) return false;
    for (size_t i = 0; i < next->refusals.n; i++) {
        const sp_refusal *a = &c->current->refusals.p[i], *b = &next->refusals.p[i];
        if (!sp_str_eq(a->owner, b->owner) || !sp_str_eq(a->text, b->text)) return false;
    }
    return true;
}

static void rebuild(void *ctx) {
    sp_control *c = ctx;
    c->settle = NULL;
    sp_cluster_view v = view(c);
    sp_translation *old = c->current;
    c->options.previous = old ? old->config : NULL;
    sp_translation *next = sp_translate(&v, &c->options);
    c->options.previous = NULL;
    bool same = same_failures(c, next);
    sp_cluster_view_free(&v);
    c->current = next;
    sp_worker_apply(c->worker, next->config);
    gather_failures(c); /* they point into the configuration */
    if (!same) on_listeners(c);
    sp_translation_free(old);
    if (!c->ready_told && c->ready) c->ready(c->ready_ctx);
    c->ready_told = true;
}

static void on_change(void *ctx, const sp_json *old, const sp_json *obj) {
    (void)old, (void)obj;
    sp_control *c = ctx;
    if (!c->synced || c->settle) return;
    c->settle = sp_timer_start(sp_kube_loop(sp_manager_kube(c->manager)), SETTLE_MS, rebuild, c);
}

static void on_synced(void *ctx) {
    sp_control *c = ctx;
    c->synced = true;
    rebuild(c);
}

bool sp_control_is_ready(const sp_control *c) {
    return c->ready_told;
}

/* --- status --- */

typedef void status_fn(sp_reconcile *r, const sp_status_view *v, const sp_json *obj);

static bool run_status(sp_control *c, sp_reconcile *r, int kind, status_fn *fn) {
    const sp_json *obj = sp_informer_get(c->informers[kind], r->ns, r->name);
    sp_cluster_view cluster = view(c);
    sp_status_view v = {&cluster, &c->options, c->failures.p, c->failures.n, &c->told};
    r->component = "sampan-gateway";
    if (obj && c->current && !sp_obj_deleting(obj)) fn(r, &v, obj);
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
    k = new_status(c, "gateway-ingressclass", INGRESS_CLASSES, ingress_class_status);
    sp_controller_enqueue(k, SP_STR("sampan"));
}

/* --- life --- */

sp_control *sp_control_new(sp_manager *m, sp_worker *w, const sp_translate_options *o,
                           void (*ready)(void *ctx), void *ctx) {
    sp_control *c = sp_zalloc(1, sizeof *c);
    c->manager = m;
    c->worker = w;
    c->options = *o;
    c->ready = ready;
    c->ready_ctx = ctx;
    for (size_t i = 0; i < KINDS; i++) {
        c->informers[i] = sp_manager_informer(m, kinds[i].gvr);
        sp_informer_on_change(c->informers[i], on_change, c);
    }
    start_controllers(c);
    sp_worker_on_listeners(w, on_listeners, c);
    sp_manager_on_synced(m, on_synced, c);
    return c;
}

sp_control *sp_control_free(sp_control *c) {
    if (!c) return NULL;
    void *text;
    sp_timer_stop(c->settle);
    sp_worker_on_listeners(c->worker, NULL, NULL);
    for (size_t at = 0; sp_map_next(&c->told, &at, NULL, &text);) free(text);
    sp_map_free(&c->told);
    sp_vec_free(&c->failures);
    sp_buf_free(&c->logged);
    sp_translation_free(c->current);
    free(c);
    return NULL;
}
