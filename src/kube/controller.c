/* The manager holds one informer per collection and the controllers; a controller holds a work
 * queue. One timer per manager wakes the pump, which takes due keys and starts a run for each
 * (run.c). */
#include "kube/controller_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

enum {
    RETRY_MIN_MS = 5,
    RETRY_MAX_MS = 60000,
    DEFAULT_PARALLEL = 8,
    MAX_RUNS_PER_TURN = 64 /* then other handles of the loop get their turn */
};

typedef struct sp_handler { /* one watched collection of one controller */
    sp_controller *controller;
    enum { BY_SELF, BY_OWNER, BY_MAP } how;
    const char *owner_kind;
    sp_controller_map *map;
    void *ctx;
} handler;

typedef struct sp_job run;

/* ---------- the pump ---------- */

static bool controller_ready(sp_controller *c) {
    if (c->ready) return true;
    sp_vec_each(&c->reads, i) if (!sp_informer_synced(*i)) return false;
    return c->ready = true;
}

static bool may_start(const sp_controller *c) {
    return c->busy + (c->parallel == 1 ? c->waiting : 0) < c->parallel;
}

static void release_caught_up(sp_manager *m) {
    int64_t now = sp_clock_mono_ms();
    sp_list_each(&m->runs, it) {
        run *x = SP_CONTAINER(it, run, link);
        if (!x->waiting || !(sp_run_caught_up(x) || now >= x->wait_until_ms)) continue;
        if (x->lost)
            sp_run_ask_again(x);
        else
            sp_run_end(x);
    }
}

/* When the pump has something to do again. */
static int64_t next_at(sp_manager *m) {
    int64_t at = INT64_MAX;
    sp_vec_each(&m->controllers, c) {
        int64_t t = sp_workqueue_next_at((*c)->queue);
        if (controller_ready(*c) && may_start(*c) && t < at) at = t;
    }
    sp_list_each(&m->runs, it) {
        run *x = SP_CONTAINER(it, run, link);
        if (x->waiting && x->wait_until_ms < at) at = x->wait_until_ms;
    }
    return at;
}

static void pump(uv_timer_t *t) {
    sp_manager *m = t->data;
    int64_t now = sp_clock_mono_ms();
    unsigned left = MAX_RUNS_PER_TURN;
    release_caught_up(m);
    sp_vec_each(&m->controllers, it) {
        sp_controller *c = *it;
        sp_str key;
        while (left && controller_ready(c) && may_start(c) &&
               sp_workqueue_next(c->queue, now, &key)) {
            left--;
            sp_run_start(c, key);
        }
    }
    sp_manager_wake(m);
}

void sp_manager_wake(sp_manager *m) {
    if (m->freeing) return;
    int64_t at = next_at(m), now = sp_clock_mono_ms();
    if (at == INT64_MAX)
        uv_timer_stop(m->timer);
    else
        uv_timer_start(m->timer, pump, at <= now ? 0 : (uint64_t)(at - now), 0);
}

static void on_progress(void *ctx) {
    sp_manager *m = ctx;
    sp_list_each(&m->runs, it) {
        if (SP_CONTAINER(it, run, link)->waiting) {
            uv_timer_start(m->timer, pump, 0, 0);
            return;
        }
    }
}

/* ---------- manager ---------- */

sp_manager *sp_manager_new(sp_kube *k, const char *component) {
    sp_manager *m = sp_zalloc(1, sizeof *m);
    m->kube = k;
    m->events = sp_events_new(k, component, NULL);
    sp_list_init(&m->runs);
    m->timer = sp_zalloc(1, sizeof *m->timer);
    uv_timer_init(sp_kube_loop(k), m->timer);
    m->timer->data = m;
    return m;
}

static void timer_closed(uv_handle_t *h) {
    free(h);
}

static void controller_free(sp_controller *c) {
    sp_workqueue_free(c->queue);
    sp_vec_free(&c->reads);
    free(c);
}

sp_manager *sp_manager_free(sp_manager *m) {
    if (!m) return NULL;
    m->freeing = true;
    for (size_t i = m->on_free.n; i-- > 0;) m->on_free.p[i].fn(m->on_free.p[i].ctx);
    sp_vec_free(&m->on_free);
    sp_list_each(&m->runs, it) sp_run_cancel(SP_CONTAINER(it, run, link));
    sp_vec_each(&m->informers, i) sp_informer_free(*i);
    sp_vec_each(&m->controllers, c) controller_free(*c);
    sp_vec_each(&m->handlers, h) free(*h);
    sp_vec_free(&m->informers);
    sp_vec_free(&m->gvrs);
    sp_vec_free(&m->controllers);
    sp_vec_free(&m->handlers);
    sp_events_free(m->events);
    uv_close((uv_handle_t *)m->timer, timer_closed);
    free(m);
    return NULL;
}

/* One line when the server goes and one when it is back, not one per collection. */
static void on_trouble(void *ctx, const sp_gvr *g, const sp_err *err) {
    sp_manager *m = ctx;
    if (!err) {
        if (m->cut_off) sp_info("connected again", SP_KV("server", sp_kube_server(m->kube)));
        m->cut_off = false;
        return;
    }
    if (err->code != SP_CONNECTION) {
        sp_warn("watch failed", SP_KV("resource", g->plural),
                SP_KV("error", (const char *)err->text));
        return;
    }
    if (!m->cut_off)
        sp_warn("the API server cannot be reached, trying again",
                SP_KV("server", sp_kube_server(m->kube)), SP_KV("error", (const char *)err->text));
    m->cut_off = true;
}

static void informer_synced(void *ctx) {
    sp_manager *m = ctx;
    sp_manager_wake(m);
    if (!m->on_synced || !sp_manager_synced(m)) return;
    void (*fn)(void *) = m->on_synced;
    m->on_synced = NULL;
    fn(m->on_synced_ctx);
}

sp_informer *sp_manager_find(const sp_manager *m, const sp_gvr *g) {
    for (size_t i = 0; i < m->gvrs.n; i++)
        if (m->gvrs.p[i] == g) return m->informers.p[i];
    return NULL;
}

sp_informer *sp_manager_informer(sp_manager *m, const sp_gvr *g) {
    sp_informer *i = sp_manager_find(m, g);
    if (i) return i;
    sp_informer_config c = {.gvr = g, .trouble = on_trouble, .trouble_ctx = m};
    i = sp_informer_new(m->kube, &c);
    sp_vec_push(&m->informers, i);
    sp_vec_push(&m->gvrs, g);
    sp_informer_on_synced(i, informer_synced, m);
    sp_informer_on_progress(i, on_progress, m);
    return i;
}

sp_kube *sp_manager_kube(sp_manager *m) {
    return m->kube;
}
bool sp_manager_synced(const sp_manager *m) {
    sp_vec_each(&m->informers, i) if (!sp_informer_synced(*i)) return false;
    return true;
}

void sp_manager_on_synced(sp_manager *m, void (*fn)(void *ctx), void *ctx) {
    m->on_synced = fn;
    m->on_synced_ctx = ctx;
    if (m->informers.n && sp_manager_synced(m)) informer_synced(m);
}

void sp_manager_on_free(sp_manager *m, void (*fn)(void *ctx), void *ctx) {
    sp_vec_push(&m->on_free, {fn, ctx});
}

static void metric(sp_buf *b, const sp_manager *m, const char *name, const char *type,
                   double (*value)(const sp_controller *)) {
    sp_buf_printf(b, "# TYPE %s %s\n", name, type);
    sp_vec_each(&m->controllers, c)
        sp_buf_printf(b, "%s{controller=\"%s\"} %g\n", name, (*c)->name, value(*c));
}

static double value_depth(const sp_controller *c) {
    return (double)sp_workqueue_depth(c->queue);
}
static double value_delayed(const sp_controller *c) {
    return (double)sp_workqueue_delayed(c->queue);
}
static double value_total(const sp_controller *c) {
    return (double)c->reconciles;
}
static double value_errors(const sp_controller *c) {
    return (double)c->errors;
}
static double value_seconds(const sp_controller *c) {
    return (double)c->duration_us / 1e6;
}

void sp_manager_metrics(const sp_manager *m, sp_buf *b) {
    metric(b, m, "sampan_workqueue_depth", "gauge", value_depth);
    metric(b, m, "sampan_workqueue_delayed", "gauge", value_delayed);
    metric(b, m, "sampan_reconcile_total", "counter", value_total);
    metric(b, m, "sampan_reconcile_errors_total", "counter", value_errors);
    metric(b, m, "sampan_reconcile_seconds_total", "counter", value_seconds);
    sp_buf_printf(b, "# TYPE sampan_informer_objects gauge\n");
    for (size_t i = 0; i < m->informers.n; i++)
        sp_buf_printf(b, "sampan_informer_objects{resource=\"%s\"} %zu\n", m->gvrs.p[i]->plural,
                      sp_informer_count(m->informers.p[i]));
    sp_buf_printf(b, "# TYPE sampan_api_calls_total counter\nsampan_api_calls_total %llu\n",
                  (unsigned long long)sp_kube_calls(m->kube));
}

/* ---------- controllers ---------- */

sp_controller *sp_controller_new(sp_manager *m, const char *name, sp_reconcile_fn *fn, void *ctx) {
    sp_controller *c = sp_zalloc(1, sizeof *c);
    *c = (sp_controller){
        .manager = m, .name = name, .fn = fn, .ctx = ctx, .parallel = DEFAULT_PARALLEL};
    snprintf(c->component, sizeof c->component, "%s-controller", name);
    c->queue = sp_workqueue_new(RETRY_MIN_MS, RETRY_MAX_MS);
    sp_vec_push(&m->controllers, c);
    return c;
}

sp_controller *sp_controller_new_job(sp_manager *m, const char *name, sp_job_fn *fn, void *ctx) {
    sp_controller *c = sp_controller_new(m, name, NULL, ctx);
    c->job_fn = fn;
    return c;
}

void sp_controller_set_parallel(sp_controller *c, unsigned n) {
    c->parallel = n;
}

void sp_controller_enqueue(sp_controller *c, sp_str key) {
    sp_workqueue_add(c->queue, key);
    sp_manager_wake(c->manager);
}

void sp_controller_enqueue_object(sp_controller *c, const sp_json *obj) {
    sp_auto(sp_buf) b = {0};
    if (sp_obj_namespace(obj).n) sp_buf_printf(&b, "%.*s/", SP_ARG(sp_obj_namespace(obj)));
    sp_buf_add(&b, sp_obj_name(obj));
    sp_controller_enqueue(c, sp_buf_str(&b));
}

void sp_controller_enqueue_after(sp_controller *c, sp_str key, int64_t delay_ms) {
    sp_workqueue_add_at(c->queue, key, sp_clock_mono_ms() + delay_ms);
    sp_manager_wake(c->manager);
}

static void enqueue_owner(const handler *h, const sp_json *obj) {
    const sp_json *ref = sp_obj_controller(obj);
    if (!ref || !sp_str_eqz(sp_obj_kind(ref), h->owner_kind)) return;
    sp_auto(sp_buf) b = {0};
    sp_str ns = sp_obj_namespace(obj);
    if (ns.n) sp_buf_printf(&b, "%.*s/", SP_ARG(ns));
    sp_buf_add(&b, sp_json_str(sp_json_get(ref, "name")));
    sp_controller_enqueue(h->controller, sp_buf_str(&b));
}

static void handle_one(const handler *h, const sp_json *obj) {
    switch (h->how) {
    case BY_SELF: sp_controller_enqueue_object(h->controller, obj); break;
    case BY_OWNER: enqueue_owner(h, obj); break;
    case BY_MAP: h->map(h->ctx, h->controller, obj); break;
    }
}

static void on_change(void *ctx, const sp_json *old, const sp_json *obj) {
    const handler *h = ctx;
    if (old && (!obj || h->how != BY_SELF)) handle_one(h, old);
    if (obj) handle_one(h, obj);
}

static void add_handler(sp_controller *c, const sp_gvr *g, handler h) {
    handler *copy = sp_malloc(sizeof *copy);
    *copy = h;
    copy->controller = c;
    sp_vec_push(&c->manager->handlers, copy);
    sp_informer_on_change(sp_controller_reads(c, g), on_change, copy);
}

void sp_controller_for(sp_controller *c, const sp_gvr *g) {
    add_handler(c, g, (handler){.how = BY_SELF});
}

void sp_controller_owns(sp_controller *c, const sp_gvr *g, const char *owner_kind) {
    add_handler(c, g, (handler){.how = BY_OWNER, .owner_kind = owner_kind});
}

void sp_controller_watch(sp_controller *c, const sp_gvr *g, sp_controller_map *map, void *ctx) {
    add_handler(c, g, (handler){.how = BY_MAP, .map = map, .ctx = ctx});
}

sp_informer *sp_controller_reads(sp_controller *c, const sp_gvr *g) {
    sp_informer *i = sp_manager_informer(c->manager, g);
    sp_vec_each(&c->reads, it) if (*it == i) return i;
    sp_vec_push(&c->reads, i);
    c->ready = false;
    return i;
}
