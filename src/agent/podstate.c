/* The order is: volumes, sandbox, init containers one after the other (sidecars stay), then all
 * containers at once. Each step plans nothing beyond itself until it is done. */
#include "agent/podstate.h"

enum { BACKOFF_FIRST_MS = 10000, BACKOFF_MAX_MS = 300000, LONG_RUN_MS = 600000 };

static int64_t doubled(int64_t first, unsigned times, int64_t max) {
    return times >= 16 ? max : SP_MIN(first << times, max);
}

int64_t sp_crash_backoff_ms(unsigned crashes) {
    return crashes <= 1 ? 0 : doubled(BACKOFF_FIRST_MS, crashes - 2, BACKOFF_MAX_MS);
}

unsigned sp_crashes_after(unsigned crashes, int64_t ran_ms) {
    return ran_ms >= LONG_RUN_MS ? 1 : crashes + 1;
}

int64_t sp_retry_backoff_ms(unsigned failures) {
    return failures ? doubled(BACKOFF_FIRST_MS, failures - 1, BACKOFF_MAX_MS) : 0;
}

/* 1 s doubling to 30 s. */
static int64_t config_backoff_ms(unsigned failures) {
    return failures ? doubled(1000, failures - 1, 30000) : 0;
}

void sp_pod_plan_free(sp_pod_plan *p) {
    sp_vec_free(&p->actions);
}

/* ---------- judging ---------- */

static bool alive(const sp_ctr_view *c) {
    return c->phase == SP_CTR_STARTING || c->phase == SP_CTR_RUNNING || c->phase == SP_CTR_STOPPING;
}

bool sp_podstate_ready(const sp_ctr_view *c) {
    if (c->phase != SP_CTR_RUNNING || c->unhealthy) return false;
    return (!c->has_startup_probe || c->started_ok) && (!c->has_readiness_probe || c->ready_ok);
}

bool sp_podstate_will_restart(const sp_pod_view *v, const sp_ctr_view *c) {
    if (v->deleting || v->expired) return false;
    if (c->sidecar) return true;
    if (c->init && c->exit_code == 0) return false;
    if (c->init) return v->restart != SP_RESTART_NEVER;
    if (v->restart == SP_RESTART_ALWAYS) return true;
    return v->restart == SP_RESTART_ON_FAILURE && c->exit_code != 0;
}

/* The next container may start after this one. */
static bool init_done(const sp_ctr_view *c) {
    if (c->sidecar) return c->phase == SP_CTR_RUNNING && (!c->has_startup_probe || c->started_ok);
    return c->phase == SP_CTR_EXITED && c->exit_code == 0;
}

static bool main_ever_started(const sp_pod_view *v) {
    for (size_t i = 0; i < v->n; i++)
        if (!v->containers[i].init && v->containers[i].phase != SP_CTR_NEW) return true;
    return false;
}

bool sp_podstate_initialized(const sp_pod_view *v) {
    if (main_ever_started(v)) return true;
    for (size_t i = 0; i < v->n; i++)
        if (v->containers[i].init && !init_done(&v->containers[i])) return false;
    return true;
}

static bool init_failed(const sp_pod_view *v) {
    for (size_t i = 0; i < v->n; i++) {
        const sp_ctr_view *c = &v->containers[i];
        if (c->init && !c->sidecar && c->phase == SP_CTR_EXITED && c->exit_code != 0 &&
            v->restart == SP_RESTART_NEVER)
            return true;
    }
    return false;
}

typedef struct tally {
    size_t mains, started, over, failed;
} tally;

static tally count(const sp_pod_view *v) {
    tally t = {0};
    for (size_t i = 0; i < v->n; i++) {
        const sp_ctr_view *c = &v->containers[i];
        if (c->init) continue;
        bool over = c->phase == SP_CTR_EXITED && !sp_podstate_will_restart(v, c);
        t.mains++;
        t.started += c->phase != SP_CTR_NEW && !(c->phase == SP_CTR_STARTING && !c->restarts);
        t.over += over;
        t.failed += over && c->exit_code != 0;
    }
    return t;
}

sp_pod_phase sp_podstate_phase(const sp_pod_view *v) {
    tally t = count(v);
    if (v->expired || init_failed(v)) return SP_POD_FAILED;
    if (t.mains && t.over == t.mains) return t.failed ? SP_POD_FAILED : SP_POD_SUCCEEDED;
    return t.started && sp_podstate_initialized(v) ? SP_POD_RUNNING : SP_POD_PENDING;
}

/* ---------- planning ---------- */

static void act(sp_pod_plan *p, sp_pod_do what, size_t container) {
    sp_vec_push(&p->actions, (sp_pod_action){what, container});
}

static void wake(sp_pod_plan *p, int64_t at) {
    if (!p->wake_ms || at < p->wake_ms) p->wake_ms = at;
}

/* True when the time has come; otherwise asks to be woken then. */
static bool due(const sp_pod_view *v, sp_pod_plan *p, int64_t at) {
    if (at <= v->now_ms) return true;
    wake(p, at);
    return false;
}

static void plan_start(const sp_pod_view *v, size_t i, sp_pod_plan *p) {
    const sp_ctr_view *c = &v->containers[i];
    if (alive(c)) return;
    if (c->phase == SP_CTR_EXITED && !due(v, p, c->finished_ms + sp_crash_backoff_ms(c->crashes)))
        return;
    if (c->config_failures &&
        !due(v, p, c->config_failed_ms + config_backoff_ms(c->config_failures)))
        return;
    switch (c->image) {
    case SP_IMAGE_PULLING: return;
    case SP_IMAGE_READY: act(p, SP_DO_START, i); return;
    case SP_IMAGE_UNKNOWN: act(p, SP_DO_PULL, i); return;
    case SP_IMAGE_FAILED:
        if (due(v, p, c->image_failed_ms + sp_retry_backoff_ms(c->image_failures)))
            act(p, SP_DO_PULL, i);
        return;
    }
}

/* Containers first; sidecars when the last of those is gone, in reverse order. True when none is
 * left. */
static bool plan_stop_all(const sp_pod_view *v, sp_pod_plan *p) {
    size_t left = 0;
    for (size_t i = 0; i < v->n; i++) {
        const sp_ctr_view *c = &v->containers[i];
        if (c->sidecar || !alive(c)) continue;
        left++;
        if (c->phase == SP_CTR_RUNNING) act(p, SP_DO_STOP, i);
    }
    if (left) return false;
    for (size_t i = v->n; i-- > 0;) {
        const sp_ctr_view *c = &v->containers[i];
        if (!alive(c)) continue;
        if (c->phase == SP_CTR_RUNNING) act(p, SP_DO_STOP, i);
        return false;
    }
    return true;
}

static void plan_end(const sp_pod_view *v, sp_pod_plan *p) {
    if (!plan_stop_all(v, p)) return;
    if (v->sandbox == SP_SANDBOX_CREATING || v->sandbox == SP_SANDBOX_REMOVING) return;
    if (v->deleting)
        act(p, SP_DO_FINISH, 0);
    else if (v->sandbox == SP_SANDBOX_READY)
        act(p, SP_DO_DROP_SANDBOX, 0);
}

/* True when the ground for containers is laid. */
static bool plan_ground(const sp_pod_view *v, sp_pod_plan *p) {
    if (!v->volumes_ready &&
        due(v, p, v->volumes_failed_ms + config_backoff_ms(v->volume_failures)))
        act(p, SP_DO_VOLUMES, 0);
    if (v->sandbox == SP_SANDBOX_NONE &&
        due(v, p, v->sandbox_failed_ms + config_backoff_ms(v->sandbox_failures)))
        act(p, SP_DO_SANDBOX, 0);
    return v->volumes_ready && v->sandbox == SP_SANDBOX_READY;
}

static void plan_images_early(const sp_pod_view *v, sp_pod_plan *p) {
    for (size_t i = 0; i < v->n; i++)
        if (v->containers[i].phase == SP_CTR_NEW && v->containers[i].image == SP_IMAGE_UNKNOWN)
            act(p, SP_DO_PULL, i);
}

static void plan_unhealthy(const sp_pod_view *v, sp_pod_plan *p) {
    for (size_t i = 0; i < v->n; i++)
        if (v->containers[i].phase == SP_CTR_RUNNING && v->containers[i].unhealthy)
            act(p, SP_DO_STOP, i);
}

/* True when the main containers may run. */
static bool plan_init(const sp_pod_view *v, sp_pod_plan *p) {
    bool past = main_ever_started(v);
    for (size_t i = 0; i < v->n; i++) {
        const sp_ctr_view *c = &v->containers[i];
        if (!c->init || (past && !c->sidecar)) continue;
        if (!init_done(c)) plan_start(v, i, p);
        if (!init_done(c) && !past) return false;
    }
    return true;
}

static bool expires(const sp_pod_view *v, sp_pod_plan *p) {
    if (v->expired || !v->deadline_ms) return false;
    return due(v, p, v->deadline_ms);
}

void sp_podstate_plan(const sp_pod_view *v, sp_pod_plan *ret) {
    sp_pod_plan p = {0};
    sp_pod_phase phase = sp_podstate_phase(v);
    if (v->deleting || phase == SP_POD_SUCCEEDED || phase == SP_POD_FAILED) {
        plan_end(v, &p);
    } else if (expires(v, &p)) {
        act(&p, SP_DO_EXPIRE, 0);
    } else {
        plan_unhealthy(v, &p);
        if (!plan_ground(v, &p)) {
            plan_images_early(v, &p);
        } else if (plan_init(v, &p)) {
            for (size_t i = 0; i < v->n; i++) {
                const sp_ctr_view *c = &v->containers[i];
                if (c->init || (c->phase == SP_CTR_EXITED && !sp_podstate_will_restart(v, c)))
                    continue;
                plan_start(v, i, &p);
            }
        }
    }
    *ret = p;
}
