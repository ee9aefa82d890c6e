/* Nodes whose agent fell silent. An agent renews the Lease of its node every 10 s; when 40 s pass
 * without a renewal or a new status, the node's conditions become Unknown and its pods unready, so
 * that nothing is scheduled or routed there, and the node is tainted, so that its pods are evicted
 * after a while (eviction.c). The agent takes it back itself as soon as it writes status again.
 *
 * Silence is measured on our own monotonic clock from when a renewal was seen here, not from the
 * time written in the Lease: clocks that differ or jump change nothing. While the API server is
 * away nobody is silent; everyone has 40 s again when it is back. */
#include "controllers/common.h"
#include "controllers/controllers.h"
#include "controllers/taint.h"

#include "base/clock.h"
#include "base/map.h"
#include "data/time.h"

static int64_t grace_ms = SP_NODE_GRACE_MS;

void sp_node_set_grace(int64_t ms) {
    grace_ms = ms;
}

typedef struct heartbeat {
    int64_t seen_ms;                                /* monotonic */
    char renewed[SP_TIME_MAX], posted[SP_TIME_MAX]; /* of the Lease, of the status */
} heartbeat;

typedef struct watcher {
    sp_manager *manager;
    sp_map heartbeats; /* name of the node → heartbeat */
} watcher;

/* ---------- the decision ---------- */

static bool set_unknown(sp_reconcile *r, sp_json *conditions, const char *type) {
    bool there = false;
    sp_json_each(conditions, c) there |= sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type);
    if (!there && strcmp(type, "Ready") != 0) return false;
    return sp_condition_set(r->arena, conditions, type, "Unknown", "NodeStatusUnknown",
                            "The agent stopped posting node status.", r->now_wall_ms);
}

static bool mark_node(sp_reconcile *r, const sp_json *node) {
    static const char *const types[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};
    const sp_json *old = sp_json_get(node, "status");
    sp_json *status = old ? sp_json_clone(r->arena, old) : sp_json_object(r->arena);
    sp_json *conditions = sp_json_ensure_array(r->arena, status, "conditions");
    bool changed = false;
    for (size_t i = 0; i < SP_COUNT(types); i++) changed |= set_unknown(r, conditions, types[i]);
    return changed && sp_status_write(r, &sp_gvr_nodes, node, status);
}

static bool is_ours(const sp_json *taint) {
    sp_str key = sp_json_str(sp_json_get(taint, "key"));
    return sp_str_eqz(key, SP_TAINT_NOT_READY) || sp_str_eqz(key, SP_TAINT_UNREACHABLE);
}

static void add_taint(sp_reconcile *r, sp_json *taints, const char *key, const char *effect) {
    sp_json *t = sp_json_object(r->arena);
    sp_json_set_z(r->arena, t, "key", key);
    sp_json_set_z(r->arena, t, "effect", effect);
    sp_json_set(r->arena, t, "timeAdded", sp_json_new_time(r->arena, r->now_wall_ms));
    sp_json_push(taints, t);
}

/* key: the one taint of ours that shall be there, NULL = none. */
static void set_taints(sp_reconcile *r, const sp_json *node, const char *key) {
    const sp_json *old = sp_json_dig(node, "spec", "taints", NULL);
    size_t others = 0, right = 0, wrong = 0;
    sp_json *patch = sp_json_object(r->arena);
    sp_json *spec = sp_json_ensure_object(r->arena, patch, "spec");
    sp_json *taints = sp_json_ensure_array(r->arena, spec, "taints");
    sp_json_each(old, t) {
        if (!is_ours(t)) {
            sp_json_push(taints, sp_json_clone(r->arena, t));
            others++;
        } else if (key && sp_str_eqz(sp_json_str(sp_json_get(t, "key")), key)) {
            right++;
        } else {
            wrong++;
        }
    }
    if (!wrong && right == (key ? 2 : 0)) return;
    if (key) add_taint(r, taints, key, "NoSchedule");
    if (key) add_taint(r, taints, key, "NoExecute");
    if (!key && !others) sp_json_set(r->arena, spec, "taints", sp_json_null(r->arena));
    sp_json *meta = sp_json_ensure_object(r->arena, patch, "metadata"); /* a list is whole or not */
    sp_json_set(r->arena, meta, "resourceVersion",
                sp_json_printf(r->arena, "%llu", (unsigned long long)sp_obj_rv(node)));
    sp_reconcile_merge(r, &sp_gvr_nodes, (sp_str){0}, sp_obj_name(node), patch);
}

static const char *taint_of(const sp_json *node) {
    const sp_json *ready = sp_condition_get(node, "Ready");
    sp_str status = sp_json_str(sp_json_get(ready, "status"));
    if (sp_str_eqz(status, "True") || !status.n) return NULL;
    return sp_str_eqz(status, "Unknown") ? SP_TAINT_UNREACHABLE : SP_TAINT_NOT_READY;
}

static const char pod_reason[] = "NodeNotReady";

/* The agent does not write again what it wrote before, so what was taken is given back here. */
static void unmark_pod(sp_reconcile *r, const sp_json *pod) {
    const sp_json *ready = sp_condition_get(pod, "Ready");
    if (!sp_str_eqz(sp_json_str(sp_json_get(ready, "reason")), pod_reason)) return;
    sp_json *status = sp_json_clone(r->arena, sp_json_get(pod, "status"));
    sp_json *conditions = sp_json_get(status, "conditions");
    bool runs = sp_condition_is_true(pod, "ContainersReady");
    sp_condition_set(r->arena, conditions, "Ready", runs ? "True" : "False",
                     runs ? NULL : "ContainersNotReady", NULL, r->now_wall_ms);
    sp_json_each(conditions, c) {
        if (!runs || !sp_str_eqz(sp_json_str(sp_json_get(c, "type")), "Ready")) continue;
        sp_json_remove(c, "reason");
        sp_json_remove(c, "message");
    }
    sp_status_write(r, &sp_gvr_pods, pod, status);
}

static void mark_pod(sp_reconcile *r, const sp_json *pod) {
    if (!sp_pod_is_ready(pod)) return;
    sp_json *status = sp_json_clone(r->arena, sp_json_get(pod, "status"));
    sp_condition_set(r->arena, sp_json_get(status, "conditions"), "Ready", "False", pod_reason,
                     "the node of this pod does not answer", r->now_wall_ms);
    sp_status_write(r, &sp_gvr_pods, pod, status);
}

static void each_pod(sp_reconcile *r, const sp_json *node, const sp_obj_list *pods,
                     void (*fn)(sp_reconcile *r, const sp_json *pod)) {
    sp_vec_each(pods, pod) {
        if (sp_str_eq(sp_json_str(sp_json_dig(*pod, "spec", "nodeName", NULL)), sp_obj_name(node)))
            fn(r, *pod);
    }
}

bool sp_node_decide(sp_reconcile *r, const sp_json *node, const sp_obj_list *pods,
                    int64_t silent_ms, sp_err *err) {
    (void)err;
    if (silent_ms < grace_ms) {
        set_taints(r, node, taint_of(node));
        if (sp_condition_is_true(node, "Ready")) each_pod(r, node, pods, unmark_pod);
        sp_requeue_in(r, grace_ms - silent_ms + 100);
        return true;
    }
    set_taints(r, node, SP_TAINT_UNREACHABLE);
    if (mark_node(r, node))
        sp_reconcile_event(r, node, "Warning", "NodeNotReady",
                           "Node %.*s status is now: NodeNotReady", SP_ARG(sp_obj_name(node)));
    each_pod(r, node, pods, mark_pod);
    return true;
}

/* ---------- wiring ---------- */

static heartbeat *heartbeat_of(watcher *w, sp_str name) {
    heartbeat *h = sp_map_get(&w->heartbeats, name);
    if (h) return h;
    h = sp_zalloc(1, sizeof *h);
    h->seen_ms = sp_clock_mono_ms();
    sp_map_put(&w->heartbeats, name, h);
    return h;
}

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    watcher *w = ctx;
    const sp_json *node =
        sp_informer_get(sp_manager_informer(w->manager, &sp_gvr_nodes), (sp_str){0}, r->name);
    if (!node) {
        free(sp_map_del(&w->heartbeats, r->name));
        return true;
    }
    sp_obj_list pods = {0};
    sp_informer_list(sp_manager_informer(w->manager, &sp_gvr_pods), (sp_str){0}, &pods);
    int64_t seen = heartbeat_of(w, r->name)->seen_ms;
    int64_t since = sp_informer_in_touch_since(sp_manager_informer(w->manager, &sp_gvr_leases));
    int64_t silent = sp_clock_mono_ms() - SP_MAX(seen, since);
    bool ok = sp_node_decide(r, node, &pods, silent, err);
    sp_vec_free(&pods);
    return ok;
}

/* true: a sign of life after silence. */
static bool beat(heartbeat *h, char *known, sp_str time) {
    if (!time.n || time.n >= SP_TIME_MAX || sp_str_eqz(time, known)) return false;
    bool was_silent = sp_clock_mono_ms() - h->seen_ms >= grace_ms;
    h->seen_ms = sp_clock_mono_ms();
    memcpy(known, time.p, time.n);
    known[time.n] = 0;
    return was_silent;
}

/* Only remembered: the reconcile that is already planned looks at it. After silence it is planned
 * anew. */
static void on_lease(void *ctx, sp_controller *c, const sp_json *lease) {
    if (!sp_str_eqz(sp_obj_namespace(lease), "kube-node-lease")) return;
    heartbeat *h = heartbeat_of(ctx, sp_obj_name(lease));
    if (beat(h, h->renewed, sp_json_str(sp_json_dig(lease, "spec", "renewTime", NULL))))
        sp_controller_enqueue(c, sp_obj_name(lease));
}

/* A status written by the agent is a sign of life too: it may arrive before the Lease does. */
static void on_node(void *ctx, sp_controller *c, const sp_json *node) {
    watcher *w = ctx;
    sp_informer *nodes = sp_manager_informer(w->manager, &sp_gvr_nodes);
    const sp_json *ready = sp_condition_get(node, "Ready");
    heartbeat *h = heartbeat_of(w, sp_obj_name(node));
    if (sp_informer_get(nodes, (sp_str){0}, sp_obj_name(node)) == node)
        beat(h, h->posted, sp_json_str(sp_json_get(ready, "lastHeartbeatTime")));
    sp_controller_enqueue(c, sp_obj_name(node));
}

static void gone(void *ctx) {
    watcher *w = ctx;
    void *h;
    for (size_t at = 0; sp_map_next(&w->heartbeats, &at, NULL, &h);) free(h);
    sp_map_free(&w->heartbeats);
    free(w);
}

void sp_add_node(sp_manager *m) {
    watcher *w = sp_zalloc(1, sizeof *w);
    w->manager = m;
    sp_controller *c = sp_controller_new(m, "node", reconcile, w);
    sp_controller_watch(c, &sp_gvr_nodes, on_node, w);
    sp_controller_watch(c, &sp_gvr_leases, on_lease, w);
    sp_controller_reads(c, &sp_gvr_pods);
    sp_manager_on_free(m, gone, w);
}
