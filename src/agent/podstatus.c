/* Mirrors what kubelet writes, so that kubectl's columns and `describe` read as usual. */
#include "agent/podstatus.h"

#include "agent/oci.h"
#include "data/time.h"
#include "kube/object.h"

#include <inttypes.h>

typedef struct builder {
    sp_arena *a;
    const sp_pod_report *r;
} builder;

const char *sp_exit_reason(const sp_shim_exit *e) {
    if (e->error[0]) return "StartError";
    if (e->oom_killed) return "OOMKilled";
    return e->exit_code ? "Error" : "Completed";
}

sp_ctr_wait sp_podstatus_waiting(sp_arena *a, const sp_pod_view *v, size_t i,
                                 const sp_ctr_report *c, sp_str pod_name) {
    const sp_ctr_view *x = &v->containers[i];
    if (c->wait.reason && *c->wait.reason) return c->wait;
    if (x->phase == SP_CTR_EXITED) {
        int64_t wait = sp_crash_backoff_ms(x->crashes);
        return (sp_ctr_wait){"CrashLoopBackOff",
                             sp_arena_printf(a,
                                             "back-off %" PRId64
                                             "s restarting failed container=%.*s "
                                             "pod=%.*s",
                                             wait / 1000, SP_ARG(c->name), SP_ARG(pod_name))};
    }
    bool held = !x->init && !sp_podstate_initialized(v);
    for (size_t j = 0; x->init && j < i; j++)
        held = held || (v->containers[j].init && v->containers[j].phase != SP_CTR_EXITED);
    return (sp_ctr_wait){held ? "PodInitializing" : "ContainerCreating", {0}};
}

static sp_json *terminated(builder *b, const sp_ctr_report *c) {
    sp_json *t = sp_json_object(b->a);
    const sp_shim_exit *e = &c->last;
    sp_json_set_int(b->a, t, "exitCode", e->exit_code);
    if (e->signal) sp_json_set_int(b->a, t, "signal", e->signal);
    sp_json_set_z(b->a, t, "reason", sp_exit_reason(e));
    sp_str message = e->error[0] ? sp_str_z(e->error) : c->last_message;
    if (message.n) sp_json_set(b->a, t, "message", sp_json_new_str(b->a, message));
    if (e->started_ms) sp_json_set(b->a, t, "startedAt", sp_json_new_time(b->a, e->started_ms));
    sp_json_set(b->a, t, "finishedAt", sp_json_new_time(b->a, e->finished_ms));
    if (c->last_id.n) sp_json_set(b->a, t, "containerID", sp_json_new_str(b->a, c->last_id));
    return t;
}

static void put_state(builder *b, sp_json *out, size_t i) {
    const sp_ctr_view *x = &b->r->view->containers[i];
    const sp_ctr_report *c = &b->r->containers[i];
    sp_json *state = sp_json_ensure_object(b->a, out, "state");
    /* Ended for good, or about to start again at once: only a pause is a back-off. */
    bool at_once = !(c->wait.reason && *c->wait.reason) && !sp_crash_backoff_ms(x->crashes);
    bool over = x->phase == SP_CTR_EXITED && (at_once || !sp_podstate_will_restart(b->r->view, x));
    if (x->phase == SP_CTR_RUNNING || x->phase == SP_CTR_STOPPING) {
        sp_json *run = sp_json_ensure_object(b->a, state, "running");
        sp_json_set(b->a, run, "startedAt", sp_json_new_time(b->a, c->started_ms));
    } else if (over) {
        sp_json_set(b->a, state, "terminated", terminated(b, c));
    } else {
        sp_ctr_wait w = sp_podstatus_waiting(b->a, b->r->view, i, c, sp_obj_name(b->r->pod));
        sp_json *wait = sp_json_ensure_object(b->a, state, "waiting");
        sp_json_set_z(b->a, wait, "reason", w.reason);
        if (w.message.n) sp_json_set(b->a, wait, "message", sp_json_new_str(b->a, w.message));
    }
    sp_json *last = sp_json_ensure_object(b->a, out, "lastState");
    if (!over && c->last.finished_ms) sp_json_set(b->a, last, "terminated", terminated(b, c));
}

static sp_json *container_status(builder *b, size_t i) {
    const sp_ctr_view *x = &b->r->view->containers[i];
    const sp_ctr_report *c = &b->r->containers[i];
    sp_json *out = sp_json_object(b->a);
    bool finished_init = x->init && !x->sidecar && x->phase == SP_CTR_EXITED && !x->exit_code;
    bool running = x->phase == SP_CTR_RUNNING && (!x->has_startup_probe || x->started_ok);
    sp_json_set(b->a, out, "name", sp_json_new_str(b->a, c->name));
    put_state(b, out, i);
    sp_json_set_bool(b->a, out, "ready", finished_init || sp_podstate_ready(x));
    sp_json_set_int(b->a, out, "restartCount", x->restarts);
    sp_json_set(b->a, out, "image", sp_json_new_str(b->a, c->image));
    sp_json_set(b->a, out, "imageID", sp_json_new_str(b->a, c->image_id));
    if (c->container_id.n)
        sp_json_set(b->a, out, "containerID", sp_json_new_str(b->a, c->container_id));
    sp_json_set_bool(b->a, out, "started", running);
    return out;
}

/* "containers with unready status: [a b]" */
static sp_str unready_names(builder *b, bool init) {
    sp_auto(sp_buf) names = {0};
    for (size_t i = 0; i < b->r->view->n; i++) {
        const sp_ctr_view *x = &b->r->view->containers[i];
        bool fine = x->init ? (x->phase == SP_CTR_EXITED && !x->exit_code) || sp_podstate_ready(x)
                            : sp_podstate_ready(x);
        if (x->init != init || fine) continue;
        sp_buf_printf(&names, "%s%.*s", names.n ? " " : "", SP_ARG(b->r->containers[i].name));
    }
    if (!names.n) return (sp_str){0};
    return sp_arena_printf(b->a, "containers with %s status: [%s]", init ? "incomplete" : "unready",
                           names.p);
}

static bool gates_open(builder *b, const sp_json *old) {
    sp_json_each(sp_json_dig(b->r->pod, "spec", "readinessGates", NULL), g) {
        const char *type = sp_json_get_z(g, "conditionType");
        bool open = false;
        sp_json_each(sp_json_get(old, "conditions"), c) {
            if (strcmp(sp_json_get_z(c, "type"), type) == 0)
                open = strcmp(sp_json_get_z(c, "status"), "True") == 0;
        }
        if (!open) return false;
    }
    return true;
}

static void put_conditions(builder *b, sp_json *status, const sp_json *old) {
    const sp_pod_view *v = b->r->view;
    sp_pod_phase phase = sp_podstate_phase(v);
    const sp_json *before = sp_json_get(old, "conditions");
    sp_json *list = before ? sp_json_clone(b->a, before) : sp_json_array(b->a);
    sp_str unready = unready_names(b, false), uninit = unready_names(b, true);
    bool initialized = sp_podstate_initialized(v) || phase == SP_POD_SUCCEEDED;
    bool ready = phase == SP_POD_RUNNING && !unready.n && !v->deleting;
    const char *why_not = phase == SP_POD_SUCCEEDED ? "PodCompleted"
                          : phase == SP_POD_FAILED  ? "PodFailed"
                                                    : "ContainersNotReady";
    const char *text = unready.n ? unready.p : NULL;
    bool sandbox = b->r->sandbox_ready;
    const struct {
        const char *type;
        bool yes;
        const char *reason, *message;
    } rows[] = {
        {"PodReadyToStartContainers", sandbox, NULL, NULL},
        {"Initialized", initialized, initialized ? NULL : "ContainersNotInitialized",
         initialized || !uninit.n ? NULL : uninit.p},
        {"Ready", ready && gates_open(b, old), ready ? NULL : why_not, ready ? NULL : text},
        {"ContainersReady", ready, ready ? NULL : why_not, ready ? NULL : text},
        {"PodScheduled", true, NULL, NULL},
    };
    sp_json_set(b->a, status, "conditions", list);
    for (size_t i = 0; i < SP_COUNT(rows); i++)
        sp_condition_set(b->a, list, rows[i].type, rows[i].yes ? "True" : "False", rows[i].reason,
                         rows[i].message, b->r->now_ms);
}

static void put_ips(builder *b, sp_json *status) {
    const sp_pod_report *r = b->r;
    static const char *const keys[][2] = {{"hostIP", "hostIPs"}, {"podIP", "podIPs"}};
    sp_str ips[] = {r->host_ip, r->pod_ip};
    for (size_t i = 0; i < SP_COUNT(keys); i++) {
        if (!ips[i].n) continue;
        sp_json_set(b->a, status, keys[i][0], sp_json_new_str(b->a, ips[i]));
        sp_json *one =
            sp_json_push(sp_json_ensure_array(b->a, status, keys[i][1]), sp_json_object(b->a));
        sp_json_set(b->a, one, "ip", sp_json_new_str(b->a, ips[i]));
    }
}

sp_json *sp_podstatus_build(sp_arena *a, const sp_pod_report *r, const sp_json *old) {
    static const char *const phases[] = {"Pending", "Running", "Succeeded", "Failed"};
    builder b = {a, r};
    sp_json *s = sp_json_object(a);
    sp_json_set_z(a, s, "phase", phases[sp_podstate_phase(r->view)]);
    put_conditions(&b, s, old);
    if (r->reason && *r->reason) sp_json_set_z(a, s, "reason", r->reason);
    if (r->message.n) sp_json_set(a, s, "message", sp_json_new_str(a, r->message));
    put_ips(&b, s);
    sp_json_set(a, s, "startTime", sp_json_new_time(a, r->start_ms));
    sp_json *init = sp_json_array(a), *mains = sp_json_array(a);
    for (size_t i = 0; i < r->view->n; i++)
        sp_json_push(r->view->containers[i].init ? init : mains, container_status(&b, i));
    if (init->count) sp_json_set(a, s, "initContainerStatuses", init);
    sp_json_set(a, s, "containerStatuses", mains);
    sp_json_set_z(a, s, "qosClass", sp_pod_qos(r->pod));
    return s;
}
