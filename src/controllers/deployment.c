/* Deployment: one ReplicaSet per template it ever had; the current one is grown and the others are
 * shrunk step by step within maxSurge and maxUnavailable, each step looking at what is available
 * now. A rollback is nothing special: an older template becomes current again and its ReplicaSet is
 * found by comparing templates. */
#include "controllers/deployment.h"

#include "controllers/common.h"
#include "controllers/controllers.h"

/* ---------- reading the spec ---------- */

/* An IntOrString of n; percentages are rounded up or down. */
static int64_t resolve(const sp_json *j, int64_t n, bool up, int64_t fallback) {
    int64_t percent;
    if (sp_json_is(j, SP_JSON_NUMBER)) return SP_MAX(sp_json_int(j, fallback), 0);
    sp_str s = sp_json_str(j);
    if (s.n < 2 || s.p[s.n - 1] != '%' || !sp_str_i64(sp_str_sub(s, 0, s.n - 1), &percent) ||
        percent < 0 || percent > 1000000)
        return fallback;
    return (n * percent + (up ? 99 : 0)) / 100;
}

static void read_spec(sp_deploy *x) {
    const sp_json *spec = sp_json_get(x->d, "spec"), *strategy = sp_json_get(spec, "strategy");
    x->replicas = SP_MAX(sp_json_int(sp_json_get(spec, "replicas"), 1), 0);
    x->paused = sp_json_bool(sp_json_get(spec, "paused"), false);
    x->rolling = !sp_str_eqz(sp_json_str(sp_json_get(strategy, "type")), "Recreate");
    if (!x->rolling) return;
    const sp_json *rolling = sp_json_get(strategy, "rollingUpdate");
    int64_t quarter = x->replicas / 4;
    x->max_surge =
        resolve(sp_json_get(rolling, "maxSurge"), x->replicas, true, (x->replicas + 3) / 4);
    x->max_unavailable =
        resolve(sp_json_get(rolling, "maxUnavailable"), x->replicas, false, quarter);
    if (!x->max_surge && !x->max_unavailable) x->max_unavailable = 1;
    if (x->max_unavailable > x->replicas) x->max_unavailable = x->replicas;
}

/* ---------- arithmetic on documents ---------- */

static sp_rollout_set measure(const sp_json *set) {
    return (sp_rollout_set){.replicas = sp_set_replicas(set),
                            .available = sp_set_status(set, "availableReplicas"),
                            .max_replicas = sp_set_annotated(set, sp_max_replicas_key),
                            .created_ms = sp_obj_created_ms(set)};
}

static sp_rollout plan(const sp_deploy *x) {
    sp_arena *a = x->r->arena;
    sp_rollout p = {.replicas = x->replicas,
                    .max_surge = x->max_surge,
                    .max_unavailable = x->max_unavailable,
                    .old = sp_arena_alloc(a, (x->old.n + 1) * sizeof *p.old),
                    .old_count = x->old.n};
    for (size_t i = 0; i < x->old.n; i++) p.old[i] = measure(x->old.p[i]);
    if (x->fresh) {
        p.fresh = SP_NEW(a, sp_rollout_set);
        *p.fresh = measure(x->fresh);
    }
    return p;
}

static void carry_out(sp_deploy *x, const sp_rollout *p) {
    for (size_t i = 0; i < x->old.n; i++)
        if (p->old[i].replicas != sp_set_replicas(x->old.p[i]))
            sp_deploy_resize(x, x->old.p[i], p->old[i].replicas);
    if (x->fresh) sp_deploy_resize(x, x->fresh, p->fresh->replicas);
}

/* ---------- the ways a Deployment moves ---------- */

static void scale(sp_deploy *x) {
    sp_rollout p = plan(x);
    sp_rollout_scale(&p, x->rolling, sp_set_status(x->d, "replicas"));
    carry_out(x, &p);
    sp_vec_each(&x->old, set) { /* remember the new scale, or this would come again */
        bool active = sp_set_replicas(*set) > 0;
        size_t i = (size_t)(set - x->old.p);
        if (active && p.old[i].replicas == sp_set_replicas(*set))
            sp_deploy_resize(x, *set, p.old[i].replicas);
    }
}

static void roll(sp_deploy *x, const sp_obj_list *all) {
    sp_rollout p = plan(x);
    if (!x->fresh) {
        if (!sp_deploy_make_set(x, all, sp_rollout_fresh_size(&p))) return;
        sp_deploy_write_status(x, -1);
        return;
    }
    sp_deploy_sync_revision(x);
    if (!sp_rollout_grow(&p)) sp_rollout_shrink(&p);
    carry_out(x, &p);
    if (sp_deploy_is_complete(x)) sp_deploy_trim_history(x);
    sp_deploy_write_status(x, -1);
}

static bool has_pods(const sp_json *set, const sp_obj_list *pods) {
    sp_vec_each(pods, pod) {
        if (sp_obj_controlled_by(*pod, set) && !sp_pod_is_finished(*pod)) return true;
    }
    return false;
}

static bool old_ones_gone(const sp_deploy *x, const sp_obj_list *pods) {
    sp_vec_each(&x->old, set) {
        if (sp_set_replicas(*set) || has_pods(*set, pods)) return false;
    }
    return true;
}

static void recreate(sp_deploy *x, const sp_obj_list *all, const sp_obj_list *pods) {
    if (x->fresh) sp_deploy_sync_revision(x);
    sp_vec_each(&x->old, set) if (sp_set_replicas(*set)) sp_deploy_resize(x, *set, 0);
    if (old_ones_gone(x, pods)) {
        if (x->fresh)
            sp_deploy_resize(x, x->fresh, x->replicas);
        else if (!sp_deploy_make_set(x, all, x->replicas))
            return;
    }
    if (sp_deploy_is_complete(x)) sp_deploy_trim_history(x);
    sp_deploy_write_status(x, -1);
}

static bool selects_everything(sp_reconcile *r, const sp_json *d) {
    sp_selector *s = NULL;
    const sp_json *j = sp_json_dig(d, "spec", "selector", NULL);
    return sp_selector_from_json(r->arena, j, &s, NULL) && sp_selector_is_empty(s);
}

bool sp_deployment_decide(sp_reconcile *r, const sp_json *deployment, const sp_obj_list *sets,
                          const sp_obj_list *pods, sp_err *err) {
    sp_deploy x = {.r = r, .d = deployment};
    r->subject = deployment;
    if (selects_everything(r, deployment)) {
        sp_reconcile_event(
            r, deployment, "Warning", "SelectingAll",
            "This deployment is selecting all pods. A non-empty selector is required.");
        return true;
    }
    read_spec(&x);
    bool ok = sp_deploy_find_sets(&x, sets, err);
    if (!ok) {
    } else if (sp_obj_deleting(deployment)) {
        sp_deploy_write_status(&x, -1);
    } else if (x.paused || sp_deploy_was_scaled(&x)) {
        if (x.fresh) sp_deploy_sync_revision(&x);
        scale(&x);
        sp_deploy_write_status(&x, -1);
    } else if (x.rolling) {
        roll(&x, sets);
    } else {
        recreate(&x, sets, pods);
    }
    sp_vec_free(&x.old);
    return ok;
}

/* ---------- wiring ---------- */

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_manager *m = ctx;
    const sp_json *d = sp_informer_get(sp_manager_informer(m, &sp_gvr_deployments), r->ns, r->name);
    if (!d) return true;
    sp_obj_list sets = {0}, pods = {0};
    sp_informer_list(sp_manager_informer(m, &sp_gvr_replicasets), r->ns, &sets);
    sp_informer_list(sp_manager_informer(m, &sp_gvr_pods), r->ns, &pods);
    bool ok = sp_deployment_decide(r, d, &sets, &pods, err);
    sp_vec_free(&sets);
    sp_vec_free(&pods);
    return ok;
}

/* Recreate waits for the last pod of the old sets. */
static void on_pod(void *ctx, sp_controller *c, const sp_json *pod) {
    const sp_json *owner = sp_obj_controller(pod);
    if (!owner || !(sp_obj_deleting(pod) || sp_pod_is_finished(pod))) return;
    const sp_json *set =
        sp_informer_get(sp_manager_informer(ctx, &sp_gvr_replicasets), sp_obj_namespace(pod),
                        sp_json_str(sp_json_get(owner, "name")));
    const sp_json *d =
        sp_informer_get(sp_manager_informer(ctx, &sp_gvr_deployments), sp_obj_namespace(pod),
                        sp_json_str(sp_json_get(sp_obj_controller(set), "name")));
    if (d && sp_str_eqz(sp_json_str(sp_json_dig(d, "spec", "strategy", "type", NULL)), "Recreate"))
        sp_controller_enqueue_object(c, d);
}

void sp_add_deployment(sp_manager *m) {
    sp_controller *c = sp_controller_new(m, "deployment", reconcile, m);
    sp_controller_for(c, &sp_gvr_deployments);
    sp_controller_owns(c, &sp_gvr_replicasets, "Deployment");
    sp_controller_watch(c, &sp_gvr_pods, on_pod, m);
}
