/* ReplicaSet: as many active pods as spec.replicas says. Pods are found by selector: one without a
 * controller is adopted, one of ours whose labels changed is released. Finished pods are left to be
 * looked at and do not count. When there are too many, those that would be missed least go first.
 */
#include "controllers/common.h"
#include "controllers/controllers.h"

#include "base/rng.h"

enum {
    BURST = 500,         /* pods created or deleted in one go */
    GENERATED_BASE = 58, /* the API's limit for the base of a generated name */
    SUFFIX = 5
};

typedef SP_VEC(const sp_json *) pod_list;

/* ---------- creating ---------- */

static void copy_field(sp_arena *a, sp_json *to, const sp_json *from, const char *key) {
    const sp_json *v = sp_json_get(from, key);
    if (v && v->count) sp_json_set(a, to, key, sp_json_clone(a, v));
}

static sp_str pod_name(sp_arena *a, sp_str set_name) {
    char suffix[SUFFIX + 1];
    sp_rng_suffix(suffix, SUFFIX);
    return sp_arena_printf(a, "%.*s-%s", (int)SP_MIN(set_name.n, (size_t)GENERATED_BASE - 1),
                           set_name.p, suffix);
}

static void create_pod(sp_reconcile *r, const sp_json *rs) {
    sp_arena *a = r->arena;
    const sp_json *template = sp_json_dig(rs, "spec", "template", NULL);
    const sp_json *from = sp_json_get(template, "metadata");
    sp_json *pod = sp_json_object(a);
    sp_json_set_z(a, pod, "apiVersion", "v1");
    sp_json_set_z(a, pod, "kind", "Pod");
    sp_json *meta = sp_json_ensure_object(a, pod, "metadata");
    sp_str name = pod_name(a, sp_obj_name(rs));
    sp_json_set(a, meta, "name", sp_json_new_str(a, name));
    sp_json_set(a, meta, "generateName", sp_json_printf(a, "%.*s-", SP_ARG(sp_obj_name(rs))));
    sp_json_set(a, meta, "namespace", sp_json_new_str(a, sp_obj_namespace(rs)));
    copy_field(a, meta, from, "labels");
    copy_field(a, meta, from, "annotations");
    copy_field(a, meta, from, "finalizers");
    sp_json_push(sp_json_ensure_array(a, meta, "ownerReferences"), sp_owner_ref(a, rs));
    const sp_json *spec = sp_json_get(template, "spec");
    sp_json_set(a, pod, "spec", spec ? sp_json_clone(a, spec) : sp_json_object(a));
    sp_reconcile_create(r, &sp_gvr_pods, sp_obj_namespace(rs), pod);
    sp_reconcile_event(r, rs, "Normal", "SuccessfulCreate", "Created pod: %.*s", SP_ARG(name));
}

/* ---------- deleting ---------- */

static int phase_rank(const sp_json *pod) {
    sp_str phase = sp_json_str(sp_json_dig(pod, "status", "phase", NULL));
    return sp_str_eqz(phase, "Running") ? 2 : sp_str_eqz(phase, "Unknown") ? 1 : 0;
}

static int64_t deletion_cost(const sp_json *pod) {
    int64_t v;
    sp_str s = sp_obj_annotation(pod, "controller.kubernetes.io/pod-deletion-cost");
    return s.n && sp_str_i64(s, &v) ? v : 0;
}

static int64_t restarts(const sp_json *pod) {
    int64_t most = 0;
    const sp_json *list = sp_json_dig(pod, "status", "containerStatuses", NULL);
    sp_json_each(list, c) {
        int64_t n = sp_json_int(sp_json_get(c, "restartCount"), 0);
        most = SP_MAX(most, n);
    }
    return most;
}

static int by(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

/* Negative: a goes before b. The order is that of Kubernetes, without its ranking by neighbours on
 * the same node. */
static int compare_to_delete(const void *pa, const void *pb) {
    const sp_json *a = *(const sp_json *const *)pa, *b = *(const sp_json *const *)pb;
    bool a_placed = sp_json_str(sp_json_dig(a, "spec", "nodeName", NULL)).n > 0;
    bool b_placed = sp_json_str(sp_json_dig(b, "spec", "nodeName", NULL)).n > 0;
    int c = by(a_placed, b_placed);
    if (!c) c = by(phase_rank(a), phase_rank(b));
    if (!c) c = by(sp_pod_is_ready(a), sp_pod_is_ready(b));
    if (!c) c = by(deletion_cost(a), deletion_cost(b));
    if (!c) c = by(sp_pod_ready_since_ms(b), sp_pod_ready_since_ms(a)); /* the younger goes */
    if (!c) c = by(restarts(b), restarts(a));
    if (!c) c = by(sp_obj_created_ms(b), sp_obj_created_ms(a));
    return c ? c : sp_str_cmp(sp_obj_name(a), sp_obj_name(b));
}

static void delete_pods(sp_reconcile *r, const sp_json *rs, pod_list *active, size_t excess) {
    if (active->n) qsort(active->p, active->n, sizeof *active->p, compare_to_delete);
    for (size_t i = 0; i < excess && i < active->n && i < BURST; i++) {
        sp_reconcile_delete(r, &sp_gvr_pods, active->p[i], "Background");
        sp_reconcile_event(r, rs, "Normal", "SuccessfulDelete", "Deleted pod: %.*s",
                           SP_ARG(sp_obj_name(active->p[i])));
    }
}

/* ---------- status ---------- */

static bool fully_labelled(const sp_json *rs, const sp_json *pod) {
    const sp_json *wanted = sp_json_dig(rs, "spec", "template", "metadata", "labels", NULL);
    const sp_json *labels = sp_json_dig(pod, "metadata", "labels", NULL);
    sp_json_each(wanted, l) {
        if (!sp_str_eq(sp_json_str(sp_json_get_str(labels, l->key)), sp_json_str(l))) return false;
    }
    return true;
}

static void write_status(sp_reconcile *r, const sp_json *rs, const pod_list *active) {
    int64_t min_ready = sp_json_int(sp_json_dig(rs, "spec", "minReadySeconds", NULL), 0);
    int64_t labelled = 0, ready = 0, available = 0, wait;
    for (size_t i = 0; i < active->n; i++) {
        labelled += fully_labelled(rs, active->p[i]);
        ready += sp_pod_is_ready(active->p[i]);
        available += sp_pod_is_available(active->p[i], min_ready, r->now_wall_ms, &wait);
        sp_requeue_in(r, wait);
    }
    sp_json *s = sp_json_object(r->arena);
    sp_json_set_int(r->arena, s, "replicas", (int64_t)active->n);
    sp_set_unless_zero(r->arena, s, "fullyLabeledReplicas", labelled);
    sp_set_unless_zero(r->arena, s, "readyReplicas", ready);
    sp_set_unless_zero(r->arena, s, "availableReplicas", available);
    sp_set_unless_zero(r->arena, s, "observedGeneration", sp_obj_generation(rs));
    const sp_json *conditions = sp_json_dig(rs, "status", "conditions", NULL);
    if (conditions) sp_json_set(r->arena, s, "conditions", sp_json_clone(r->arena, conditions));
    sp_status_write(r, &sp_gvr_replicasets, rs, s);
}

/* ---------- the decision ---------- */

static void manage(sp_reconcile *r, const sp_json *rs, pod_list *active) {
    int64_t wanted = sp_json_int(sp_json_dig(rs, "spec", "replicas", NULL), 1);
    int64_t missing = wanted - (int64_t)active->n;
    for (int64_t i = 0; i < missing && i < BURST; i++) create_pod(r, rs);
    if (missing < 0) delete_pods(r, rs, active, (size_t)-missing);
}

bool sp_replicaset_decide(sp_reconcile *r, const sp_json *rs, const sp_obj_list *pods,
                          sp_err *err) {
    sp_selector *selector = NULL;
    if (!sp_selector_from_json(r->arena, sp_json_dig(rs, "spec", "selector", NULL), &selector, err))
        return false;
    if (sp_selector_is_empty(selector)) return true; /* would own every pod */
    r->subject = rs;
    pod_list active = {0};
    sp_vec_each(pods, pod) {
        bool ours = sp_claim(r, &sp_gvr_pods, rs, selector, *pod, !sp_pod_is_finished(*pod));
        if (ours && sp_pod_is_active(*pod)) sp_vec_push(&active, *pod);
    }
    write_status(r, rs, &active);
    if (!sp_obj_deleting(rs)) manage(r, rs, &active);
    sp_vec_free(&active);
    return true;
}

/* ---------- wiring ---------- */

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_manager *m = ctx;
    const sp_json *rs =
        sp_informer_get(sp_manager_informer(m, &sp_gvr_replicasets), r->ns, r->name);
    if (!rs) return true;
    sp_obj_list pods = {0};
    sp_informer_list(sp_manager_informer(m, &sp_gvr_pods), r->ns, &pods);
    bool ok = sp_replicaset_decide(r, rs, &pods, err);
    sp_vec_free(&pods);
    return ok;
}

/* A pod without controller may be adopted by any set of its namespace that selects it. */
static void on_pod(void *ctx, sp_controller *c, const sp_json *pod) {
    if (sp_obj_controller(pod) || sp_obj_deleting(pod)) return;
    sp_obj_list sets = {0};
    sp_informer_list(sp_manager_informer(ctx, &sp_gvr_replicasets), sp_obj_namespace(pod), &sets);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_vec_each(&sets, rs) {
        sp_selector *s = NULL;
        if (sp_selector_from_json(a, sp_json_dig(*rs, "spec", "selector", NULL), &s, NULL) &&
            sp_selector_matches(s, sp_json_dig(pod, "metadata", "labels", NULL)))
            sp_controller_enqueue_object(c, *rs);
    }
    sp_vec_free(&sets);
}

void sp_add_replicaset(sp_manager *m) {
    sp_controller *c = sp_controller_new(m, "replicaset", reconcile, m);
    sp_controller_for(c, &sp_gvr_replicasets);
    sp_controller_owns(c, &sp_gvr_pods, "ReplicaSet");
    sp_controller_watch(c, &sp_gvr_pods, on_pod, m);
}
