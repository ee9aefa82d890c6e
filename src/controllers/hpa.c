/* HorizontalPodAutoscaler, as far as it goes without measurements: the target's replicas are kept
 * within minReplicas and maxReplicas, and the conditions say that no metric moves them in between.
 * Targets: Deployments and ReplicaSets. */
#include "controllers/common.h"
#include "controllers/controllers.h"

#include "data/time.h"

typedef struct target_kind {
    const char *group, *kind;
    const sp_gvr *gvr;
} target_kind;

static const target_kind target_kinds[] = {{"apps", "Deployment", &sp_gvr_deployments},
                                           {"apps", "ReplicaSet", &sp_gvr_replicasets}};

static const sp_gvr *target_gvr(const sp_json *hpa) {
    const sp_json *ref = sp_json_dig(hpa, "spec", "scaleTargetRef", NULL);
    sp_str group, version, api = sp_json_str(sp_json_get(ref, "apiVersion"));
    sp_key_split(api, &group, &version);
    for (size_t i = 0; i < SP_COUNT(target_kinds); i++)
        if ((!api.n || sp_str_eqz(group, target_kinds[i].group)) &&
            sp_str_eqz(sp_obj_kind(ref), target_kinds[i].kind))
            return target_kinds[i].gvr;
    return NULL;
}

static sp_str target_name(const sp_json *hpa) {
    return sp_json_str(sp_json_dig(hpa, "spec", "scaleTargetRef", "name", NULL));
}

/* ---------- the decision ---------- */

typedef struct scaling {
    sp_reconcile *r;
    const sp_json *hpa;
    sp_json *status, *conditions;
} scaling;

static void say(scaling *s, const char *type, const char *status, const char *reason,
                const char *message) {
    sp_condition_set(s->r->arena, s->conditions, type, status, reason, message, s->r->now_wall_ms);
}

static void no_target(scaling *s, const sp_gvr *g) {
    const sp_json *ref = sp_json_dig(s->hpa, "spec", "scaleTargetRef", NULL);
    sp_str name = target_name(s->hpa);
    const char *text =
        g ? sp_arena_printf(s->r->arena, "there is no %s \"%.*s\" to scale", g->kind, SP_ARG(name))
                .p
          : sp_arena_printf(s->r->arena,
                            "cannot scale %.*s \"%.*s\": Deployments and ReplicaSets are supported",
                            SP_ARG(sp_obj_kind(ref)), SP_ARG(name))
                .p;
    say(s, "AbleToScale", "False", "FailedGetScale", text);
    sp_json_set_int(s->r->arena, s->status, "desiredReplicas", 0);
}

static int64_t limit(scaling *s, int64_t now) {
    const sp_json *spec = sp_json_get(s->hpa, "spec");
    int64_t min = sp_json_int(sp_json_get(spec, "minReplicas"), 1);
    int64_t max = sp_json_int(sp_json_get(spec, "maxReplicas"), min);
    if (now > max)
        say(s, "ScalingLimited", "True", "TooManyReplicas",
            "the desired replica count is more than the maximum replica count");
    else if (now < min)
        say(s, "ScalingLimited", "True", "TooFewReplicas",
            "the desired replica count is less than the minimum replica count");
    else
        say(s, "ScalingLimited", "False", "DesiredWithinRange",
            "the desired count is within the acceptable range");
    return now > max ? max : SP_MAX(now, min);
}

static void rescale(scaling *s, const sp_gvr *g, const sp_json *target, int64_t now,
                    int64_t wanted) {
    sp_arena *a = s->r->arena;
    sp_json *patch = sp_json_object(a);
    sp_json_set_int(a, sp_json_ensure_object(a, patch, "spec"), "replicas", wanted);
    sp_action *act =
        sp_reconcile_merge(s->r, g, sp_obj_namespace(target), sp_obj_name(target), patch);
    act->sub = "scale";
    sp_json_set(a, s->status, "lastScaleTime", sp_json_new_time(a, s->r->now_wall_ms));
    sp_reconcile_event(s->r, s->hpa, "Normal", "SuccessfulRescale", "New size: %lld; reason: %s",
                       (long long)wanted,
                       wanted < now ? "Current number of replicas above Spec.MaxReplicas"
                                    : "Current number of replicas below Spec.MinReplicas");
}

static void with_target(scaling *s, const sp_gvr *g, const sp_json *target) {
    sp_arena *a = s->r->arena;
    int64_t now = sp_json_int(sp_json_dig(target, "spec", "replicas", NULL), 1);
    say(s, "AbleToScale", "True", "SucceededGetScale",
        "the HPA controller was able to get the target's current scale");
    int64_t wanted = now;
    if (now == 0) {
        say(s, "ScalingActive", "False", "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero");
    } else {
        wanted = limit(s, now);
        say(s, "ScalingActive", "False", "FailedGetResourceMetric",
            "CPU and memory use are not measured yet: the replicas are only kept within "
            "minReplicas "
            "and maxReplicas");
    }
    sp_json_set_int(a, s->status, "currentReplicas",
                    sp_json_int(sp_json_dig(target, "status", "replicas", NULL), 0));
    sp_json_set_int(a, s->status, "desiredReplicas", wanted);
    if (wanted != now) rescale(s, g, target, now, wanted);
}

bool sp_hpa_decide(sp_reconcile *r, const sp_json *hpa, const sp_gvr *g, const sp_json *target,
                   sp_err *err) {
    (void)err;
    if (sp_obj_deleting(hpa)) return true;
    const sp_json *old = sp_json_get(hpa, "status");
    scaling s = {.r = r, .hpa = hpa};
    r->subject = hpa;
    r->component = "horizontal-pod-autoscaler";
    s.status = old ? sp_json_clone(r->arena, old) : sp_json_object(r->arena);
    s.conditions = sp_json_ensure_array(r->arena, s.status, "conditions");
    sp_json_set_int(r->arena, s.status, "observedGeneration", sp_obj_generation(hpa));
    if (target)
        with_target(&s, g, target);
    else
        no_target(&s, g);
    if (!sp_obj_generation(hpa)) sp_json_remove(s.status, "observedGeneration");
    sp_status_write(r, &sp_gvr_horizontalpodautoscalers, hpa, s.status);
    return true;
}

/* ---------- wiring ---------- */

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_manager *m = ctx;
    const sp_json *hpa =
        sp_informer_get(sp_manager_informer(m, &sp_gvr_horizontalpodautoscalers), r->ns, r->name);
    if (!hpa) return true;
    const sp_gvr *g = target_gvr(hpa);
    const sp_json *target =
        g ? sp_informer_get(sp_manager_informer(m, g), r->ns, target_name(hpa)) : NULL;
    return sp_hpa_decide(r, hpa, g, target, err);
}

static void on_target(void *ctx, sp_controller *c, const sp_json *target) {
    sp_obj_list all = {0};
    sp_informer_list(sp_manager_informer(ctx, &sp_gvr_horizontalpodautoscalers),
                     sp_obj_namespace(target), &all);
    sp_vec_each(&all, hpa) {
        const sp_gvr *g = target_gvr(*hpa);
        if (g && sp_str_eqz(sp_obj_kind(target), g->kind) &&
            sp_str_eq(target_name(*hpa), sp_obj_name(target)))
            sp_controller_enqueue_object(c, *hpa);
    }
    sp_vec_free(&all);
}

void sp_add_hpa(sp_manager *m) {
    sp_controller *c = sp_controller_new(m, "hpa", reconcile, m);
    sp_controller_for(c, &sp_gvr_horizontalpodautoscalers);
    sp_controller_watch(c, &sp_gvr_deployments, on_target, m);
    sp_controller_watch(c, &sp_gvr_replicasets, on_target, m);
}
