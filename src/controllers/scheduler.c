/* Scheduler: binds each pod that has no node to the ready node with most room among those where it
 * fits (fit.c). One pod at a time: the next waits until the informers show the last binding, so two
 * pods never get the same room. A pod that fits nowhere says why in its PodScheduled condition and
 * an Event, and is looked at again when a node changes, a pod leaves, or after a minute. */
#include "controllers/common.h"
#include "controllers/controllers.h"
#include "controllers/fit.h"

#include <stdio.h>

enum { LOOK_AGAIN_MS = 60000 };

static bool wants_node(const sp_json *pod) {
    const sp_json *spec = sp_json_get(pod, "spec");
    sp_str scheduler = sp_json_str(sp_json_get(spec, "schedulerName"));
    if (scheduler.n && !sp_str_eqz(scheduler, "default-scheduler")) return false;
    const sp_json *gates = sp_json_get(spec, "schedulingGates");
    return !sp_json_str(sp_json_get(spec, "nodeName")).n && sp_pod_is_active(pod) &&
           !(gates && gates->count);
}

/* ---------- choosing ---------- */

typedef struct reason {
    const char *text;
    unsigned count;
} reason;

typedef struct choice {
    const sp_json *node;
    double score;
    size_t pods;
    SP_VEC(reason) reasons;
} choice;

static void note_reason(choice *c, const char *text) {
    sp_vec_each(&c->reasons, x) {
        if (strcmp(x->text, text) == 0) {
            x->count++;
            return;
        }
    }
    sp_vec_push(&c->reasons, {text, 1});
}

static void fill_room(sp_room *room, const sp_obj_list *pods) {
    sp_str name = sp_obj_name(room->node);
    sp_vec_each(pods, p) {
        if (sp_str_eq(sp_json_str(sp_json_dig(*p, "spec", "nodeName", NULL)), name) &&
            !sp_pod_is_finished(*p))
            sp_vec_push(&room->pods, *p);
    }
}

/* More room, then fewer pods, then the order of names. */
static void consider(sp_arena *a, choice *c, const sp_json *pod, const sp_room *room) {
    const char *why_not = sp_fit_reason(a, pod, room);
    if (why_not) {
        note_reason(c, why_not);
        return;
    }
    double score = sp_fit_score(a, pod, room);
    bool better = !c->node || score > c->score || (score == c->score && room->pods.n < c->pods);
    if (!better) return;
    c->node = room->node;
    c->score = score;
    c->pods = room->pods.n;
}

static void choose(sp_arena *a, choice *c, const sp_json *pod, const sp_obj_list *nodes,
                   const sp_obj_list *pods) {
    sp_vec_each(nodes, node) {
        sp_room room = {.node = *node};
        fill_room(&room, pods);
        consider(a, c, pod, &room);
        sp_vec_free(&room.pods);
    }
}

/* ---------- what is done about it ---------- */

static void bind_to(sp_reconcile *r, const sp_json *pod, const sp_json *node) {
    sp_arena *a = r->arena;
    sp_json *b = sp_json_object(a);
    sp_json_set_z(a, b, "apiVersion", "v1");
    sp_json_set_z(a, b, "kind", "Binding");
    sp_json *meta = sp_json_ensure_object(a, b, "metadata");
    sp_json_set(a, meta, "name", sp_json_new_str(a, sp_obj_name(pod)));
    sp_json_set(a, meta, "namespace", sp_json_new_str(a, sp_obj_namespace(pod)));
    sp_json_set(a, meta, "uid", sp_json_new_str(a, sp_obj_uid(pod)));
    sp_json *target = sp_json_ensure_object(a, b, "target");
    sp_json_set_z(a, target, "apiVersion", "v1");
    sp_json_set_z(a, target, "kind", "Node");
    sp_json_set(a, target, "name", sp_json_new_str(a, sp_obj_name(node)));
    sp_action *act =
        sp_reconcile_post(r, &sp_gvr_pods, sp_obj_namespace(pod), sp_obj_name(pod), "binding", b);
    act->tolerate_missing = true;
    sp_reconcile_event(r, pod, "Normal", "Scheduled", "Successfully assigned %.*s/%.*s to %.*s",
                       SP_ARG(sp_obj_namespace(pod)), SP_ARG(sp_obj_name(pod)),
                       SP_ARG(sp_obj_name(node)));
}

static sp_str explain(sp_arena *a, const choice *c, size_t node_count) {
    if (!node_count) return SP_STR("no nodes available to schedule pods");
    sp_auto(sp_buf) b = {0};
    sp_buf_printf(&b, "0/%zu nodes are available: ", node_count);
    sp_vec_each(&c->reasons, x)
        sp_buf_printf(&b, "%s%u %s", x == c->reasons.p ? "" : ", ", x->count, x->text);
    sp_buf_addc(&b, '.');
    return sp_arena_str(a, sp_buf_str(&b));
}

static void give_up(sp_reconcile *r, const sp_json *pod, sp_str why) {
    sp_arena *a = r->arena;
    const sp_json *old = sp_json_get(pod, "status");
    sp_json *status = old ? sp_json_clone(a, old) : sp_json_object(a);
    sp_json *conditions = sp_json_ensure_array(a, status, "conditions");
    bool news = sp_condition_set(a, conditions, "PodScheduled", "False", "Unschedulable",
                                 sp_arena_strz(a, why), r->now_wall_ms);
    sp_requeue_in(r, LOOK_AGAIN_MS);
    if (!news) return;
    sp_status_write(r, &sp_gvr_pods, pod, status);
    sp_reconcile_event(r, pod, "Warning", "FailedScheduling", "%.*s", SP_ARG(why));
}

/* Required rules between pods are not understood; guessing would place the pod wrongly. */
static bool needs_pod_affinity(const sp_json *pod) {
    const sp_json *affinity = sp_json_dig(pod, "spec", "affinity", NULL);
    static const char required[] = "requiredDuringSchedulingIgnoredDuringExecution";
    const sp_json *with = sp_json_dig(affinity, "podAffinity", required, NULL);
    const sp_json *against = sp_json_dig(affinity, "podAntiAffinity", required, NULL);
    return (with && with->count) || (against && against->count);
}

bool sp_scheduler_decide(sp_reconcile *r, const sp_json *pod, const sp_obj_list *nodes,
                         const sp_obj_list *pods, sp_err *err) {
    (void)err;
    if (!wants_node(pod)) return true;
    r->component = "default-scheduler";
    if (needs_pod_affinity(pod)) {
        give_up(r, pod,
                SP_STR("required podAffinity and podAntiAffinity are not supported; use "
                       "nodeSelector, nodeAffinity or the preferred form"));
        return true;
    }
    choice c = {0};
    choose(r->arena, &c, pod, nodes, pods);
    if (c.node)
        bind_to(r, pod, c.node);
    else
        give_up(r, pod, explain(r->arena, &c, nodes->n));
    sp_vec_free(&c.reasons);
    return true;
}

/* ---------- wiring ---------- */

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_manager *m = ctx;
    sp_informer *pods = sp_manager_informer(m, &sp_gvr_pods);
    const sp_json *pod = sp_informer_get(pods, r->ns, r->name);
    if (!pod || !wants_node(pod)) return true;
    sp_obj_list all = {0}, nodes = {0};
    sp_informer_list(pods, (sp_str){0}, &all);
    sp_informer_list(sp_manager_informer(m, &sp_gvr_nodes), (sp_str){0}, &nodes);
    bool ok = sp_scheduler_decide(r, pod, &nodes, &all, err);
    sp_vec_free(&all);
    sp_vec_free(&nodes);
    return ok;
}

static bool enqueue_waiting(void *ctx, const sp_json *pod) {
    if (wants_node(pod)) sp_controller_enqueue_object(ctx, pod);
    return true;
}

static void on_node(void *ctx, sp_controller *c, const sp_json *node) {
    (void)node;
    sp_informer_each(sp_manager_informer(ctx, &sp_gvr_pods), enqueue_waiting, c);
}

/* Called for the old and the new state of each change. */
static void on_pod(void *ctx, sp_controller *c, const sp_json *pod) {
    if (wants_node(pod)) {
        const sp_json *now = sp_informer_get(sp_manager_informer(ctx, &sp_gvr_pods),
                                             sp_obj_namespace(pod), sp_obj_name(pod));
        if (now == pod) sp_controller_enqueue_object(c, pod);
    } else if (sp_pod_is_finished(pod) || sp_obj_deleting(pod)) {
        on_node(ctx, c, NULL);
    }
}

void sp_add_scheduler(sp_manager *m) {
    sp_controller *c = sp_controller_new(m, "scheduler", reconcile, m);
    sp_controller_set_parallel(c, 1);
    sp_controller_watch(c, &sp_gvr_nodes, on_node, m);
    sp_controller_watch(c, &sp_gvr_pods, on_pod, m);
}
