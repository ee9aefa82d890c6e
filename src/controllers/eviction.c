/* Pods that have to leave a node with NoExecute taints: one whose agent fell silent (node.c) or one
 * that somebody tainted. Each goes when the shortest time for which it tolerates one of the taints
 * is over; its controller makes another elsewhere. On a dead node it stays Terminating until the
 * agent is back and has ended it, or until the Node is deleted (podgc.c), so nothing is ever called
 * gone that may still run.
 *
 * Time is our own monotonic clock since a taint was first seen here. It begins anew when the API
 * server was away, and while not a single node is ready: then the network is more likely to be at
 * fault than all machines, and no place would be better. */
#include "controllers/common.h"
#include "controllers/controllers.h"
#include "controllers/taint.h"

#include "base/clock.h"
#include "base/map.h"

typedef struct sightings { /* of the taints of one node */
    sp_map since;          /* "key:effect" → int64_t *, monotonic */
} sightings;

typedef struct evictor {
    sp_manager *manager;
    sp_map nodes; /* name → sightings */
    bool none_ready;
} evictor;

/* ---------- the decision ---------- */

static bool evicts(const sp_json *taint) {
    return sp_str_eqz(sp_json_str(sp_json_get(taint, "effect")), "NoExecute");
}

static bool any_evicts(const sp_json *node) {
    const sp_json *taints = sp_json_dig(node, "spec", "taints", NULL);
    sp_json_each(taints, t) {
        if (evicts(t)) return true;
    }
    return false;
}

/* Milliseconds until the pod has to go, or SP_TOLERATED_FOR_EVER. */
static int64_t left_ms(const sp_json *pod, const sp_json *taints, const int64_t *taint_ms) {
    const sp_json *spec = sp_json_get(pod, "spec");
    int64_t least = SP_TOLERATED_FOR_EVER;
    size_t i = 0;
    sp_json_each(taints, t) {
        int64_t age = taint_ms[i++];
        int64_t may = evicts(t) ? sp_taint_tolerated_ms(t, spec) : SP_TOLERATED_FOR_EVER;
        if (may == SP_TOLERATED_FOR_EVER) continue;
        int64_t left = SP_MAX(may - age, 0);
        if (least == SP_TOLERATED_FOR_EVER || left < least) least = left;
    }
    return least;
}

static void evict(sp_reconcile *r, const sp_json *pod) {
    sp_reconcile_delete(r, &sp_gvr_pods, pod, "Background");
    sp_reconcile_event(r, pod, "Normal", "TaintManagerEviction",
                       "Marking for deletion Pod %.*s/%.*s", SP_ARG(sp_obj_namespace(pod)),
                       SP_ARG(sp_obj_name(pod)));
}

void sp_eviction_decide(sp_reconcile *r, const sp_json *node, const sp_obj_list *pods,
                        const int64_t *taint_ms) {
    const sp_json *taints = sp_json_dig(node, "spec", "taints", NULL);
    sp_vec_each(pods, pod) {
        sp_str on = sp_json_str(sp_json_dig(*pod, "spec", "nodeName", NULL));
        if (!sp_str_eq(on, sp_obj_name(node)) || !sp_pod_is_active(*pod)) continue;
        int64_t left = left_ms(*pod, taints, taint_ms);
        if (left == 0)
            evict(r, *pod);
        else if (left > 0)
            sp_requeue_in(r, left);
    }
}

/* ---------- since when ---------- */

static void forget(evictor *e, sp_str node) {
    sightings *s = sp_map_del(&e->nodes, node);
    void *since;
    if (!s) return;
    for (size_t at = 0; sp_map_next(&s->since, &at, NULL, &since);) free(since);
    sp_map_free(&s->since);
    free(s);
}

static void forget_all(evictor *e) {
    sp_str name;
    for (size_t at = 0; sp_map_next(&e->nodes, &at, &name, NULL);) forget(e, name);
}

static sp_str name_of(sp_arena *a, const sp_json *taint) {
    return sp_arena_printf(a, "%.*s:%.*s", SP_ARG(sp_json_str(sp_json_get(taint, "key"))),
                           SP_ARG(sp_json_str(sp_json_get(taint, "effect"))));
}

static int64_t *keep(sp_map *since, const sp_map *before, sp_str taint) {
    const int64_t *seen = before ? sp_map_get(before, taint) : NULL;
    int64_t *mine = sp_malloc(sizeof *mine);
    *mine = seen ? *seen : sp_clock_mono_ms();
    free(sp_map_put(since, taint, mine));
    return mine;
}

/* Remembers the taints of now, forgets those that went. */
static int64_t *ages(evictor *e, sp_arena *a, const sp_json *node) {
    const sp_json *taints = sp_json_dig(node, "spec", "taints", NULL);
    const sightings *before = sp_map_get(&e->nodes, sp_obj_name(node));
    sightings *now = sp_zalloc(1, sizeof *now);
    int64_t touch = sp_informer_in_touch_since(sp_manager_informer(e->manager, &sp_gvr_nodes));
    int64_t *ret = sp_arena_alloc(a, ((taints ? taints->count : 0) + 1) * sizeof *ret);
    size_t i = 0;
    sp_json_each(taints, t) {
        int64_t seen = *keep(&now->since, before ? &before->since : NULL, name_of(a, t));
        ret[i++] = SP_MAX(sp_clock_mono_ms() - SP_MAX(seen, touch), 0);
    }
    forget(e, sp_obj_name(node));
    sp_map_put(&e->nodes, sp_obj_name(node), now);
    return ret;
}

/* ---------- wiring ---------- */

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    evictor *e = ctx;
    (void)err;
    const sp_json *node =
        sp_informer_get(sp_manager_informer(e->manager, &sp_gvr_nodes), (sp_str){0}, r->name);
    if (!any_evicts(node) || e->none_ready) {
        forget(e, r->name);
        return true;
    }
    sp_obj_list pods = {0};
    sp_informer_list(sp_manager_informer(e->manager, &sp_gvr_pods), (sp_str){0}, &pods);
    sp_eviction_decide(r, node, &pods, ages(e, r->arena, node));
    sp_vec_free(&pods);
    return true;
}

static bool any_is_ready(const sp_obj_list *nodes) {
    sp_vec_each(nodes, n) if (sp_condition_is_true(*n, "Ready")) return true;
    return false;
}

static void on_node(void *ctx, sp_controller *c, const sp_json *node) {
    evictor *e = ctx;
    sp_obj_list nodes = {0};
    sp_informer_list(sp_manager_informer(e->manager, &sp_gvr_nodes), (sp_str){0}, &nodes);
    bool none = !any_is_ready(&nodes);
    if (none != e->none_ready) {
        e->none_ready = none;
        forget_all(e); /* everyone's time begins anew */
        sp_vec_each(&nodes, n) sp_controller_enqueue(c, sp_obj_name(*n));
    }
    sp_controller_enqueue(c, sp_obj_name(node));
    sp_vec_free(&nodes);
}

static void on_pod(void *ctx, sp_controller *c, const sp_json *pod) {
    sp_str on = sp_json_str(sp_json_dig(pod, "spec", "nodeName", NULL));
    if (on.n && sp_map_has(&((const evictor *)ctx)->nodes, on)) sp_controller_enqueue(c, on);
}

static void gone(void *ctx) {
    evictor *e = ctx;
    forget_all(e);
    sp_map_free(&e->nodes);
    free(e);
}

void sp_add_eviction(sp_manager *m) {
    evictor *e = sp_zalloc(1, sizeof *e);
    e->manager = m;
    sp_controller *c = sp_controller_new(m, "eviction", reconcile, e);
    sp_controller_watch(c, &sp_gvr_nodes, on_node, e);
    sp_controller_watch(c, &sp_gvr_pods, on_pod, e);
    sp_manager_on_free(m, gone, e);
}
