/* Cells of pods. STATUS follows the pod from the outside in: a reason of the pod itself, then the
 * first init container that has not finished, then the containers, then deletion. */
#include "apiserver/types/cells.h"
#include "data/time.h"

#include <stdio.h>

static const sp_json *state_of(const sp_json *status, const char *which) {
    return sp_json_dig(status, "state", which, NULL);
}

static const sp_json *by_name(const sp_json *list, sp_str name) {
    sp_json_each(list, it) {
        if (sp_str_eq(sp_json_str(sp_json_get(it, "name")), name)) return it;
    }
    return NULL;
}

/* An init container that restarts for ever runs beside the others: it counts like one of them. */
static bool is_sidecar(const sp_json *container) {
    return sp_str_eqz(sp_json_str(sp_json_get(container, "restartPolicy")), "Always");
}

static bool condition_true(const sp_json *pod, const char *type) {
    return sp_condition_is_true(pod, type);
}

/* "Error" words of a terminated container without a reason. */
static const char *exit_text(sp_arena *a, const char *prefix, const sp_json *terminated) {
    int64_t signal_no = sp_json_int(sp_json_get(terminated, "signal"), 0);
    int64_t code = sp_json_int(sp_json_get(terminated, "exitCode"), 0);
    sp_str s = signal_no ? sp_arena_printf(a, "%sSignal:%lld", prefix, (long long)signal_no)
                         : sp_arena_printf(a, "%sExitCode:%lld", prefix, (long long)code);
    return s.p;
}

/* What an unfinished init container says; NULL when it is done (or a started sidecar). */
static const char *init_text(sp_arena *a, const sp_json *spec, const sp_json *status, size_t done,
                             size_t total) {
    const sp_json *terminated = state_of(status, "terminated");
    const sp_json *waiting = state_of(status, "waiting");
    if (terminated) {
        if (sp_json_int(sp_json_get(terminated, "exitCode"), 0) == 0) return NULL;
        const char *reason = sp_json_get_z(terminated, "reason");
        return *reason ? sp_arena_printf(a, "Init:%s", reason).p
                       : exit_text(a, "Init:", terminated);
    }
    if (is_sidecar(spec) && sp_json_bool(sp_json_get(status, "started"), false)) return NULL;
    const char *reason = sp_json_get_z(waiting, "reason");
    if (*reason && strcmp(reason, "PodInitializing") != 0) {
        return sp_arena_printf(a, "Init:%s", reason).p;
    }
    return sp_arena_printf(a, "Init:%zu/%zu", done, total).p;
}

static const char *init_status(sp_arena *a, const sp_json *pod) {
    const sp_json *specs = sp_json_dig(pod, "spec", "initContainers", NULL);
    const sp_json *statuses = sp_json_dig(pod, "status", "initContainerStatuses", NULL);
    size_t done = 0;
    if (!statuses) return NULL;
    sp_json_each(specs, spec) {
        const sp_json *status = by_name(statuses, sp_json_str(sp_json_get(spec, "name")));
        const char *text = init_text(a, spec, status, done, specs->count);
        if (text) return text;
        done++;
    }
    return NULL;
}

/* The first container's trouble wins; *ret_running tells whether any runs and is ready. */
static const char *container_status(sp_arena *a, const sp_json *pod, const char *reason,
                                    bool *ret_running) {
    const sp_json *statuses = sp_json_dig(pod, "status", "containerStatuses", NULL);
    const char *found = NULL;
    sp_json_each(statuses, it) {
        const sp_json *terminated = state_of(it, "terminated");
        const char *waiting = sp_json_get_z(state_of(it, "waiting"), "reason");
        const char *ended = sp_json_get_z(terminated, "reason");
        if (!found && *waiting)
            found = waiting;
        else if (!found && *ended)
            found = ended;
        else if (!found && terminated)
            found = exit_text(a, "", terminated);
        if (state_of(it, "running") && sp_json_bool(sp_json_get(it, "ready"), false)) {
            *ret_running = true;
        }
    }
    return found ? found : reason;
}

CELL(pod_status) {
    const sp_json *status = sp_json_get(obj, "status");
    const char *reason = sp_json_get_z(status, "phase");
    if (*sp_json_get_z(status, "reason")) reason = sp_json_get_z(status, "reason");
    if (sp_str_eqz(sp_json_str(sp_json_get(sp_condition_get(obj, "PodScheduled"), "reason")),
                   "SchedulingGated")) {
        reason = "SchedulingGated";
    }
    const char *init = init_status(a, obj);
    if (init) {
        reason = init;
    } else {
        bool running = false;
        reason = container_status(a, obj, reason, &running);
        if (!strcmp(reason, "Completed") && running) {
            reason = condition_true(obj, "Ready") ? "Running" : "NotReady";
        }
    }
    if (sp_obj_deleting(obj)) {
        const char *phase = sp_json_get_z(status, "phase");
        bool ended = !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
        if (!strcmp(sp_json_get_z(status, "reason"), "NodeLost"))
            reason = "Unknown";
        else if (!ended)
            reason = "Terminating";
    }
    return sp_json_new_z(a, *reason ? reason : "Unknown");
}

CELL(pod_ready) {
    const sp_json *specs = sp_json_dig(obj, "spec", "containers", NULL);
    size_t total = specs ? specs->count : 0, ready = 0;
    sp_json_each(sp_json_dig(obj, "status", "containerStatuses", NULL), it) {
        if (sp_json_bool(sp_json_get(it, "ready"), false) && state_of(it, "running")) ready++;
    }
    const sp_json *inits = sp_json_dig(obj, "status", "initContainerStatuses", NULL);
    sp_json_each(sp_json_dig(obj, "spec", "initContainers", NULL), spec) {
        if (!is_sidecar(spec)) continue;
        total++;
        const sp_json *st = by_name(inits, sp_json_str(sp_json_get(spec, "name")));
        if (sp_json_bool(sp_json_get(st, "ready"), false)) ready++;
    }
    return sp_json_printf(a, "%zu/%zu", ready, total);
}

static void add_restarts(const sp_json *statuses, int64_t *sum, int64_t *last_ms) {
    sp_json_each(statuses, it) {
        int64_t at;
        *sum += sp_json_int(sp_json_get(it, "restartCount"), 0);
        const sp_json *ended = sp_json_dig(it, "lastState", "terminated", "finishedAt", NULL);
        if (ended && sp_time_parse(sp_json_str(ended), &at)) *last_ms = SP_MAX(*last_ms, at);
    }
}

CELL(pod_restarts) {
    int64_t sum = 0, last_ms = -1;
    const sp_json *status = sp_json_get(obj, "status");
    /* While it initialises, the restarts that matter are those of the init containers. */
    bool initialising = init_status(a, obj) != NULL;
    if (!initialising) add_restarts(sp_json_get(status, "containerStatuses"), &sum, &last_ms);
    const sp_json *inits = sp_json_get(status, "initContainerStatuses");
    if (initialising) add_restarts(inits, &sum, &last_ms);
    if (!sum || last_ms < 0) return sp_json_printf(a, "%lld", (long long)sum);
    char ago[SP_TIME_MAX];
    sp_duration_human(now_wall_ms - last_ms, ago);
    return sp_json_printf(a, "%lld (%s ago)", (long long)sum, ago);
}

CELL(pod_ip) {
    return sp_cell_text(a, sp_json_str(sp_json_dig(obj, "status", "podIP", NULL)));
}

CELL(pod_node) {
    return sp_cell_text(a, sp_json_str(sp_json_dig(obj, "spec", "nodeName", NULL)));
}

CELL(pod_nominated) {
    return sp_cell_text(a, sp_json_str(sp_json_dig(obj, "status", "nominatedNodeName", NULL)));
}

CELL(pod_gates) {
    const sp_json *gates = sp_json_dig(obj, "spec", "readinessGates", NULL);
    size_t ready = 0;
    if (!gates || !gates->count) return sp_json_new_z(a, "<none>");
    sp_json_each(gates, it) {
        if (condition_true(obj, sp_json_get_z(it, "conditionType"))) ready++;
    }
    return sp_json_printf(a, "%zu/%zu", ready, gates->count);
}
