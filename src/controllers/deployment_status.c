/* The status of a Deployment as `kubectl rollout status` and `kubectl wait` read it. */
#include "controllers/common.h"
#include "controllers/controllers.h"
#include "controllers/deployment.h"

#include "data/time.h"

enum { NO_DEADLINE = 2147483647 };

typedef struct totals {
    int64_t wanted; /* sum of spec.replicas */
    int64_t replicas, ready, available, updated;
} totals;

static void count_set(totals *t, const sp_json *set) {
    t->wanted += sp_set_replicas(set);
    t->replicas += sp_set_status(set, "replicas");
    t->ready += sp_set_status(set, "readyReplicas");
    t->available += sp_set_status(set, "availableReplicas");
}

static totals count_all(const sp_deploy *x) {
    totals t = {0};
    sp_vec_each(&x->old, set) count_set(&t, *set);
    if (x->fresh) count_set(&t, x->fresh);
    if (x->made) t.wanted += sp_set_replicas(x->made);
    t.updated = x->fresh ? sp_set_status(x->fresh, "replicas") : 0;
    return t;
}

static bool complete(const sp_deploy *x, const totals *t) {
    return t->updated == x->replicas && t->replicas == x->replicas && t->available == x->replicas;
}

bool sp_deploy_is_complete(const sp_deploy *x) {
    totals t = count_all(x);
    return complete(x, &t);
}

/* ---------- conditions ---------- */

static sp_json *condition_of(sp_json *conditions, const char *type) {
    sp_json_each(conditions, c) if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type)) return c;
    return NULL;
}

static void set_condition(sp_deploy *x, sp_json *conditions, const char *type, const char *status,
                          const char *reason, const char *message, bool touch) {
    sp_arena *a = x->r->arena;
    const sp_json *old = condition_of(conditions, type);
    bool same = sp_str_eqz(sp_json_str(sp_json_get(old, "status")), status) &&
                sp_str_eqz(sp_json_str(sp_json_get(old, "reason")), reason);
    if (same && !touch) return;
    sp_condition_set(a, conditions, type, status, reason, message, x->r->now_wall_ms);
    sp_json_set(a, condition_of(conditions, type), "lastUpdateTime",
                sp_json_new_time(a, x->r->now_wall_ms));
}

static void remove_condition(sp_json *conditions, const char *type) {
    size_t i = 0;
    sp_json_each(conditions, c) {
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type)) {
            sp_json_remove_at(conditions, i);
            return;
        }
        i++;
    }
}

static void set_available(sp_deploy *x, sp_json *conditions, const totals *t) {
    bool ok = t->available >= x->replicas - x->max_unavailable;
    set_condition(x, conditions, "Available", ok ? "True" : "False",
                  ok ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
                  ok ? "Deployment has minimum availability."
                     : "Deployment does not have minimum availability.",
                  false);
}

static int64_t old_status(const sp_deploy *x, const char *field) {
    return sp_json_int(sp_json_dig(x->d, "status", field, NULL), 0);
}

static bool moved_on(const sp_deploy *x, const totals *t) {
    int64_t pending = old_status(x, "replicas") - old_status(x, "updatedReplicas");
    return t->updated > old_status(x, "updatedReplicas") || t->replicas - t->updated < pending ||
           t->ready > old_status(x, "readyReplicas") ||
           t->available > old_status(x, "availableReplicas");
}

static const char *about_set(const sp_deploy *x, const char *text) {
    const sp_json *set = x->fresh ? x->fresh : x->made;
    sp_str name = set ? sp_obj_name(set) : sp_obj_name(x->d);
    return sp_arena_printf(x->r->arena, "%s \"%.*s\" %s", set ? "ReplicaSet" : "Deployment",
                           SP_ARG(name), text)
        .p;
}

static bool reason_is(const sp_json *condition, const char *reason) {
    return sp_str_eqz(sp_json_str(sp_json_get(condition, "reason")), reason);
}

/* No progress for progressDeadlineSeconds since the condition was last touched; asks to be woken
 * when it will be so. */
static bool timed_out(sp_deploy *x, const sp_json *condition, int64_t deadline_s) {
    if (!condition || reason_is(condition, "NewReplicaSetAvailable")) return false;
    if (reason_is(condition, "ProgressDeadlineExceeded")) return true;
    int64_t since = sp_json_time_ms(sp_json_get(condition, "lastUpdateTime"));
    int64_t left = since + deadline_s * 1000 - x->r->now_wall_ms;
    if (left > 0) sp_requeue_in(x->r, left + 1000);
    return left <= 0;
}

static void set_progressing(sp_deploy *x, sp_json *conditions, const totals *t,
                            int64_t deadline_s) {
    const sp_json *now = condition_of(conditions, "Progressing");
    bool was_done =
        reason_is(now, "NewReplicaSetAvailable") && t->replicas == t->updated && !x->made;
    if (x->made)
        set_condition(x, conditions, "Progressing", "True", "NewReplicaSetCreated",
                      sp_arena_printf(x->r->arena, "Created new replica set \"%.*s\"",
                                      SP_ARG(sp_obj_name(x->made)))
                          .p,
                      true);
    else if (was_done)
        return;
    else if (complete(x, t))
        set_condition(x, conditions, "Progressing", "True", "NewReplicaSetAvailable",
                      about_set(x, "has successfully progressed."), false);
    else if (moved_on(x, t))
        set_condition(x, conditions, "Progressing", "True", "ReplicaSetUpdated",
                      about_set(x, "is progressing."), true);
    else if (timed_out(x, now, deadline_s))
        set_condition(x, conditions, "Progressing", "False", "ProgressDeadlineExceeded",
                      about_set(x, "has timed out progressing."), false);
    else if (!now && x->fresh)
        set_condition(x, conditions, "Progressing", "True", "FoundNewReplicaSet",
                      sp_arena_printf(x->r->arena, "Found new replica set \"%.*s\"",
                                      SP_ARG(sp_obj_name(x->fresh)))
                          .p,
                      false);
}

/* Time spent paused does not count towards the deadline. */
static bool set_paused(sp_deploy *x, sp_json *conditions) {
    bool was = reason_is(condition_of(conditions, "Progressing"), "DeploymentPaused");
    if (x->paused)
        set_condition(x, conditions, "Progressing", "Unknown", "DeploymentPaused",
                      "Deployment is paused", false);
    else if (was)
        set_condition(x, conditions, "Progressing", "Unknown", "DeploymentResumed",
                      "Deployment is resumed", false);
    return x->paused || was;
}

static sp_json *conditions_json(sp_deploy *x, const totals *t) {
    sp_arena *a = x->r->arena;
    const sp_json *old = sp_json_dig(x->d, "status", "conditions", NULL);
    sp_json *list = old ? sp_json_clone(a, old) : sp_json_array(a);
    int64_t deadline =
        sp_json_int(sp_json_dig(x->d, "spec", "progressDeadlineSeconds", NULL), NO_DEADLINE);
    set_available(x, list, t);
    if (deadline >= NO_DEADLINE)
        remove_condition(list, "Progressing");
    else if (!set_paused(x, list))
        set_progressing(x, list, t, deadline);
    return list;
}

void sp_deploy_write_status(sp_deploy *x, int64_t collisions) {
    sp_arena *a = x->r->arena;
    totals t = count_all(x);
    int64_t missing = t.wanted - t.available;
    sp_json *s = sp_json_object(a);
    sp_set_unless_zero(a, s, "observedGeneration", sp_obj_generation(x->d));
    sp_set_unless_zero(a, s, "replicas", t.replicas);
    sp_set_unless_zero(a, s, "updatedReplicas", t.updated);
    sp_set_unless_zero(a, s, "readyReplicas", t.ready);
    sp_set_unless_zero(a, s, "availableReplicas", t.available);
    sp_set_unless_zero(a, s, "unavailableReplicas", SP_MAX(missing, 0));
    sp_json_set(a, s, "conditions", conditions_json(x, &t));
    if (collisions < 0) collisions = old_status(x, "collisionCount");
    sp_set_unless_zero(a, s, "collisionCount", collisions);
    sp_status_write(x->r, &sp_gvr_deployments, x->d, s);
}
