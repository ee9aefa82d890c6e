#include "agent/pod.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "data/time.h"
#include "kube/gvrs.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

enum { DEFAULT_GRACE_S = 30, GONE_GRACE_MS = 2000 };

/* ---------- making and freeing ---------- */

static char *path_of(const char *fmt, ...) SP_PRINTF(1, 2);
static char *path_of(const char *fmt, ...) {
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    sp_assert(n >= 0);
    return text;
}

/* These become paths and interface names. */
static bool usable(const sp_json *obj, sp_err *err) {
    sp_str uid = sp_obj_uid(obj);
    if (!uid.n || uid.n >= 64 || !sp_name_is_label(uid))
        return sp_fail(err, SP_INVALID, "metadata.uid is no usable name");
    static const char *const lists[] = {"initContainers", "containers"};
    for (size_t i = 0; i < SP_COUNT(lists); i++) {
        sp_json_each(sp_json_dig(obj, "spec", lists[i], NULL), c) {
            if (!sp_name_is_label(sp_json_str(sp_json_get(c, "name"))))
                return sp_fail(err, SP_INVALID, "a container's name is no DNS label");
        }
    }
    return sp_name_is_subdomain(sp_obj_name(obj)) && sp_name_is_label(sp_obj_namespace(obj))
               ? true
               : sp_fail(err, SP_INVALID, "metadata.name or namespace is no DNS name");
}

static void take_object(sp_pod *p, const sp_json *obj) {
    sp_arena *old = p->arena;
    p->arena = sp_arena_new();
    p->obj = sp_json_clone(p->arena, obj);
    p->ns = sp_obj_namespace(p->obj);
    p->name = sp_obj_name(p->obj);
    static const char *const lists[] = {"initContainers", "containers"};
    size_t i = 0;
    for (size_t l = 0; l < SP_COUNT(lists); l++) {
        sp_json_each(sp_json_dig(p->obj, "spec", lists[l], NULL), spec) {
            if (i == p->containers.n) break;
            p->containers.p[i]->spec = spec;
            p->containers.p[i]->name = sp_json_get_z(spec, "name");
            i++;
        }
    }
    sp_arena_free(old);
}

static sp_restart restart_policy(const sp_json *pod) {
    const char *text = sp_json_z(sp_json_dig(pod, "spec", "restartPolicy", NULL));
    if (strcmp(text, "Never") == 0) return SP_RESTART_NEVER;
    return strcmp(text, "OnFailure") == 0 ? SP_RESTART_ON_FAILURE : SP_RESTART_ALWAYS;
}

static void make_containers(sp_pod *p, const sp_json *obj) {
    static const char *const lists[] = {"initContainers", "containers"};
    SP_VEC(sp_ctr_view) views = {0};
    for (size_t l = 0; l < SP_COUNT(lists); l++) {
        sp_json_each(sp_json_dig(obj, "spec", lists[l], NULL), spec) {
            sp_ctr *c = sp_zalloc(1, sizeof *c);
            c->pod = p;
            c->index = p->containers.n;
            c->watch_fd = -1;
            bool always = strcmp(sp_json_get_z(spec, "restartPolicy"), "Always") == 0;
            sp_vec_push(&p->containers, c);
            sp_vec_push(&views,
                        (sp_ctr_view){
                            .init = l == 0,
                            .sidecar = l == 0 && always,
                            .has_startup_probe = sp_json_get(spec, "startupProbe") != NULL,
                            .has_readiness_probe = sp_json_get(spec, "readinessProbe") != NULL,
                        });
        }
    }
    p->view.containers = views.p;
    p->view.n = views.n;
}

static void run_sync(sp_task *task);

sp_pod *sp_pod_new(sp_agent *g, const sp_json *obj) {
    sp_err err = {0};
    if (!usable(obj, &err)) {
        sp_warn("pod refused", SP_KV("pod", sp_obj_name(obj)), SP_KV("error", err.text));
        return NULL;
    }
    sp_pod *p = sp_zalloc(1, sizeof *p);
    p->agent = g;
    snprintf(p->uid, sizeof p->uid, "%.*s", SP_ARG(sp_obj_uid(obj)));
    make_containers(p, obj);
    take_object(p, obj);
    p->dir = path_of("%s/pods/%s", g->data_dir, p->uid);
    p->mem_dir = path_of("%s/run/vol/%s", g->data_dir, p->uid);
    p->ns_dir = path_of("%s/run/ns/%s", g->data_dir, p->uid);
    p->log_dir =
        path_of("%s/logs/%.*s_%.*s_%s", g->data_dir, SP_ARG(p->ns), SP_ARG(p->name), p->uid);
    snprintf(p->veth, sizeof p->veth, "sp%012llx",
             (unsigned long long)(sp_str_hash(sp_obj_uid(obj)) & 0xffffffffffff));
    p->view.restart = restart_policy(obj);
    p->status_arena = sp_arena_new();
    const sp_json *status = sp_json_get(obj, "status");
    p->status = status ? sp_json_clone(p->status_arena, status) : NULL;
    if (!sp_time_parse(sp_json_str(sp_json_get(status, "startTime")), &p->start_ms))
        p->start_ms = sp_clock_wall_ms();
    sp_task_init(&p->sync, run_sync);
    sp_map_put(&g->pods, sp_str_z(p->uid), p);
    sp_objects_watch(g->objects, p);
    return p;
}

void sp_pod_free(sp_pod *p) {
    sp_objects_release(p->agent->objects, p);
    sp_map_del(&p->agent->pods, sp_str_z(p->uid));
    sp_task_cancel(&p->sync);
    sp_timer_stop(p->wake);
    sp_timer_stop(p->patch_retry);
    sp_vec_each(&p->containers, c) sp_ctr_free(*c);
    sp_vec_free(&p->containers);
    free(p->view.containers);
    free(p->dir);
    free(p->mem_dir);
    free(p->ns_dir);
    free(p->log_dir);
    sp_buf_free(&p->sent);
    sp_arena_free(p->arena);
    sp_arena_free(p->status_arena);
    free(p);
}

sp_pod *sp_pod_get(sp_agent *g, const char *uid) {
    return sp_map_get(&g->pods, sp_str_z(uid));
}

bool sp_pod_host_network(const sp_pod *p) {
    return sp_json_bool(sp_json_dig(p->obj, "spec", "hostNetwork", NULL), false);
}

/* ---------- what others need of a pod ---------- */

void sp_pod_event(sp_pod *p, sp_ctr *c, const char *type, const char *reason, const char *fmt,
                  ...) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    char text[1100], path[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (c)
        snprintf(path, sizeof path, "spec.%s{%s}",
                 sp_ctr_state(c)->init ? "initContainers" : "containers", c->name);
    sp_json *ref = sp_event_ref(a, p->obj, c ? path : NULL);
    sp_events_post(p->agent->events, ref, NULL, type, reason, sp_str_z(text));
}

static const sp_json *find_object(void *ctx, const char *kind, sp_str name) {
    sp_pod *p = ctx;
    return sp_objects_get(p->agent->objects, kind, p->ns, name);
}

void sp_pod_source(sp_pod *p, sp_env_source *ret) {
    sp_str host = sp_str_z(p->agent->host_ip);
    sp_str own = sp_pod_host_network(p) ? host : sp_str_z(p->ip_text);
    *ret = (sp_env_source){.object = find_object, .pod_ip = own, .host_ip = host, .ctx = p};
}

void sp_pod_volume_input(sp_pod *p, const sp_env_source *source, sp_volume_input *ret) {
    *ret = (sp_volume_input){p->obj, p->dir, p->mem_dir, source};
}

/* ---------- carrying plans out ---------- */

static void do_volumes(sp_pod *p) {
    sp_err err = {0};
    sp_env_source source;
    sp_volume_input in;
    if (!sp_objects_known(p->agent->objects, p)) return; /* they call back */
    sp_pod_source(p, &source);
    sp_pod_volume_input(p, &source, &in);
    if (sp_volumes_set_up(&in, &err)) {
        p->view.volumes_ready = true;
        if (p->view.volume_failures) sp_vec_each(&p->containers, c) sp_ctr_clear_wait(*c);
        p->view.volume_failures = 0;
        sp_pod_sync_soon(p);
        return;
    }
    p->view.volume_failures++;
    p->view.volumes_failed_ms = sp_clock_mono_ms();
    sp_vec_each(&p->containers, c) {
        (*c)->wait_reason = "ContainerCreating";
        sp_buf_clear(&(*c)->wait_message);
        sp_buf_addz(&(*c)->wait_message, err.text);
    }
    sp_pod_event(p, NULL, "Warning", "FailedMount", "%s", err.text);
    sp_pod_sync_soon(p);
}

static void do_expire(sp_pod *p) {
    p->view.expired = true;
    p->reason = "DeadlineExceeded";
    sp_pod_event(p, NULL, "Normal", "DeadlineExceeded",
                 "Pod was active longer than its "
                 "activeDeadlineSeconds");
    sp_pod_sync_soon(p);
}

static void finished(sp_agent *g, const char *uid) {
    sp_pod *p = sp_pod_get(g, uid);
    if (!p) return;
    sp_info("pod removed", SP_KV("pod", p->name), SP_KV("namespace", p->ns));
    if (!p->api_gone) sp_pod_delete_in_api(g, p->ns, p->name, p->uid);
    sp_pod_free(p);
}

static void do_finish(sp_pod *p) {
    if (p->finishing) return;
    p->finishing = true;
    sp_ground_finish(p, finished);
}

/* A main container that is told to stop because its pod ends gets what is left of the pod's grace
 * period; one that is unhealthy, its own. */
static int64_t grace_for(sp_pod *p, sp_ctr *c) {
    const char *probe = sp_ctr_state(c)->started_ok ? "livenessProbe" : "startupProbe";
    const sp_json *own = sp_json_dig(c->spec, probe, "terminationGracePeriodSeconds", NULL);
    if (!p->view.deleting && own) return sp_ms_from_s(sp_json_int(own, DEFAULT_GRACE_S));
    return p->grace_ms;
}

static void carry_out(sp_pod *p, const sp_pod_action *a) {
    sp_ctr *c = a->container < p->containers.n ? p->containers.p[a->container] : NULL;
    bool of_container = a->what == SP_DO_PULL || a->what == SP_DO_START || a->what == SP_DO_STOP;
    sp_assert(c || !of_container);
    switch (a->what) {
    case SP_DO_VOLUMES: do_volumes(p); return;
    case SP_DO_SANDBOX: sp_ground_sandbox(p); return;
    case SP_DO_PULL: sp_ctr_want_image(c); return;
    case SP_DO_START: sp_ctr_start(c); return;
    case SP_DO_STOP: sp_ctr_stop(c, grace_for(p, c)); return;
    case SP_DO_EXPIRE: do_expire(p); return;
    case SP_DO_DROP_SANDBOX: sp_ground_drop_sandbox(p); return;
    case SP_DO_FINISH: do_finish(p); return;
    }
}

static void woken(void *ctx) {
    sp_pod *p = ctx;
    p->wake = NULL;
    sp_pod_sync_soon(p);
}

static void set_wake(sp_pod *p, int64_t at) {
    p->wake = sp_timer_stop(p->wake);
    if (!at) return;
    int64_t in = at - sp_clock_mono_ms();
    p->wake = sp_timer_start(p->agent->loop, (uint64_t)SP_MAX(in, (int64_t)1), woken, p);
}

static void run_sync(sp_task *task) {
    sp_pod *p = SP_CONTAINER(task, sp_pod, sync);
    sp_pod_plan plan;
    if (p->finishing || p->agent->stopping) return;
    p->view.now_ms = sp_clock_mono_ms();
    sp_podstate_plan(&p->view, &plan);
    for (size_t i = 0; i < plan.actions.n; i++) carry_out(p, &plan.actions.p[i]);
    set_wake(p, plan.wake_ms);
    sp_pod_plan_free(&plan);
    if (!p->finishing) sp_pod_report_status(p);
}

void sp_pod_sync_soon(sp_pod *p) {
    sp_task_defer(p->agent->turn, &p->sync);
}

/* ---------- what the API says ---------- */

static void save(sp_pod *p) {
    char path[PATH_MAX];
    sp_err err = {0};
    sp_auto(sp_buf) text = {0};
    snprintf(path, sizeof path, "%s/pod.json", p->dir);
    sp_json_write(&text, p->obj);
    if (!sp_mkdir_all(p->dir, 0711, &err) || !sp_file_replace(path, sp_buf_str(&text), 0600, &err))
        sp_error("pod cannot be saved", SP_KV("pod", p->name), SP_KV("error", err.text));
}

static void note_deletion(sp_pod *p) {
    const sp_json *meta = sp_json_get(p->obj, "metadata");
    const sp_json *spec = sp_json_get(p->obj, "spec");
    int64_t grace =
        sp_json_int(sp_json_get(spec, "terminationGracePeriodSeconds"), DEFAULT_GRACE_S);
    if (sp_obj_deleting(p->obj)) {
        grace = sp_json_int(sp_json_get(meta, "deletionGracePeriodSeconds"), grace);
        p->view.deleting = true;
    }
    p->grace_ms = sp_ms_from_s(grace);
}

static void note_deadline(sp_pod *p) {
    int64_t s = sp_json_int(sp_json_dig(p->obj, "spec", "activeDeadlineSeconds", NULL), 0);
    if (s <= 0) return;
    int64_t ran = sp_clock_wall_ms() - p->start_ms;
    p->view.deadline_ms = SP_MAX(sp_clock_mono_ms() + sp_ms_from_s(s) - ran, (int64_t)1);
}

void sp_pod_changed(sp_agent *g, const sp_json *obj) {
    char uid[64];
    snprintf(uid, sizeof uid, "%.*s", SP_ARG(sp_obj_uid(obj)));
    sp_pod *p = sp_pod_get(g, uid);
    const char *phase = sp_json_z(sp_json_dig(obj, "status", "phase", NULL));
    bool over = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
    if (!p && over) { /* ended long ago; nothing of it is here */
        if (sp_obj_deleting(obj))
            sp_pod_delete_in_api(g, sp_obj_namespace(obj), sp_obj_name(obj), uid);
        return;
    }
    if (!p) {
        if (!(p = sp_pod_new(g, obj))) return;
        if (!g->adopting) sp_pod_tell_unsupported(p);
    } else {
        take_object(p, obj);
        sp_objects_watch(g->objects, p);
    }
    note_deletion(p);
    note_deadline(p);
    if (p->view.deleting) sp_vec_each(&p->containers, c) sp_ctr_hasten(*c, p->grace_ms);
    if (!p->finishing) save(p);
    sp_pod_sync_soon(p);
}

void sp_pod_gone(sp_agent *g, sp_str uid) {
    sp_pod *p = sp_map_get(&g->pods, uid);
    if (!p) return;
    p->api_gone = true;
    p->view.deleting = true;
    p->grace_ms = SP_MIN(p->grace_ms, (int64_t)GONE_GRACE_MS);
    sp_vec_each(&p->containers, c) sp_ctr_hasten(*c, p->grace_ms);
    sp_pod_sync_soon(p);
}
