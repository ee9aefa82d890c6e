/* The manager holds one informer per collection and the controllers; a controller holds a work
 * queue. One timer per manager wakes the pump, which takes due keys, runs the decision function and
 * starts a *run*: the function's actions, already rendered to bytes, sent one after the other. When
 * the last is answered, the run waits until the informers have caught up with what it wrote; only
 * then its key may be taken again. */
#include "kube/controller.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "kube/events.h"
#include "kube/workqueue.h"

#include <stdio.h>

enum {
    RETRY_MIN_MS = 5,
    RETRY_MAX_MS = 60000,
    DEFAULT_PARALLEL = 8,
    MAX_FLYING = 16,         /* calls of one run at a time */
    MAX_RUNS_PER_TURN = 64,  /* then other handles of the loop get their turn */
    CATCH_UP_MAX_MS = 30000, /* an informer this far behind no longer holds its key back */
};

typedef struct handler { /* one watched collection of one controller */
    sp_controller *controller;
    enum { BY_SELF, BY_OWNER, BY_MAP } how;
    const char *owner_kind;
    sp_controller_map *map;
    void *ctx;
} handler;

struct sp_controller {
    sp_manager *manager;
    const char *name;
    char component[64];
    sp_reconcile_fn *fn; /* or: */
    sp_job_fn *job_fn;
    void *ctx;
    sp_workqueue *queue;
    SP_VEC(sp_informer *) reads;
    unsigned parallel, busy, waiting; /* runs with calls under way; runs that wait to catch up */
    bool ready;
    uint64_t reconciles, errors, conflicts, duration_us;
};

struct sp_manager {
    sp_kube *kube;
    sp_events *events;
    SP_VEC(sp_informer *) informers;
    SP_VEC(const sp_gvr *) gvrs;
    SP_VEC(sp_controller *) controllers;
    SP_VEC(handler *) handlers;
    sp_list runs;
    uv_timer_t *timer;
    bool freeing, cut_off;
    void (*on_synced)(void *ctx);
    void *on_synced_ctx;
    SP_VEC(struct {
        void (*fn)(void *ctx);
        void *ctx;
    })
    on_free;
};

typedef struct request { /* an action, rendered */
    sp_action action;    /* body no longer valid */
    sp_str target, body;
    const char *method, *content_type;
    sp_str new_name, base; /* of an object to be created: its name, and what that was made from */
    struct sp_job *run;
    sp_http_call *call; /* while it is under way */
    uint64_t before;    /* revision of the object when the call was sent, 0 = not known */
} request;

typedef struct written { /* what an informer is to show before the key runs again */
    sp_informer *informer;
    uint64_t revision; /* 0: the object must have changed from `before` */
    uint64_t before;
    sp_str ns, name;
} written;

typedef struct job_call { /* in the arena of its run */
    sp_list link;
    sp_job *job;
    sp_http_call *call;
    sp_kube_done *done;
    void *ctx;
} job_call;

typedef struct sp_job run;
struct sp_job { /* one run: of a key's actions, or of a job */
    sp_list link;
    sp_list calls; /* of a job */
    sp_controller *controller;
    sp_reconcile *r;
    request *requests;
    size_t count, at;
    const sp_json *subject; /* an Event reference, or NULL */
    SP_VEC(written) writes;
    size_t flying; /* requests under way: the last ones before `at` */
    sp_err err;    /* the first failure; nothing more is sent */
    bool over;     /* the namespace goes away; nothing more is sent */
    int64_t started_us, wait_until_ms;
    bool waiting;
};

static void wake(sp_manager *m);

/* ---------- rendering actions ---------- */

static const struct {
    const char *method, *sub, *type;
} verbs[] = {
    [SP_VERB_CREATE] = {"POST", NULL, NULL},
    [SP_VERB_UPDATE] = {"PUT", NULL, NULL},
    [SP_VERB_UPDATE_STATUS] = {"PUT", "status", NULL},
    [SP_VERB_MERGE] = {"PATCH", NULL, "application/merge-patch+json"},
    [SP_VERB_MERGE_STATUS] = {"PATCH", "status", "application/merge-patch+json"},
    [SP_VERB_DELETE] = {"DELETE", NULL, NULL},
    [SP_VERB_POST_SUB] = {"POST", NULL, NULL},
};

static request render(sp_arena *a, const sp_action *action) {
    request q = {.action = *action,
                 .method = verbs[action->verb].method,
                 .content_type = verbs[action->verb].type};
    const char *sub = verbs[action->verb].sub ? verbs[action->verb].sub : action->sub;
    q.action.ns = sp_arena_str(a, action->ns);
    q.action.name = sp_arena_str(a, action->name);
    q.target = sp_gvr_path(a, action->gvr, action->ns, action->name, sub);
    if (action->body) {
        sp_auto(sp_buf) b = {0};
        sp_json_write(&b, action->body);
        q.body = sp_arena_str(a, sp_buf_str(&b));
        sp_str base = sp_json_str(sp_json_dig(action->body, "metadata", "generateName", NULL));
        q.new_name = sp_arena_str(a, sp_obj_name(action->body));
        q.base = sp_arena_str(a, base);
    }
    q.action.body = NULL;
    return q;
}

/* ---------- one run ---------- */

static sp_informer *informer_of(const sp_manager *m, const sp_gvr *g) {
    for (size_t i = 0; i < m->gvrs.n; i++)
        if (m->gvrs.p[i] == g) return m->informers.p[i];
    return NULL;
}

static void run_free(run *x) {
    sp_list_remove(&x->link);
    sp_vec_free(&x->writes);
    sp_reconcile_free(x->r);
    free(x);
}

static void run_end(run *x) {
    sp_controller *c = x->controller;
    if (x->waiting)
        c->waiting--;
    else
        c->busy--;
    sp_workqueue_done(c->queue, x->r->key);
    wake(c->manager);
    run_free(x);
}

static void count(run *x) {
    sp_controller *c = x->controller;
    c->reconciles++;
    c->duration_us += (uint64_t)(sp_clock_mono_us() - x->started_us);
}

static void log_failure(sp_controller *c, sp_str key, const sp_err *err, int64_t retry_ms) {
    bool moved = err->code == SP_CONFLICT || err->code == SP_NOT_FOUND; /* the next look tells */
    bool quiet = moved || (err->code == SP_CONNECTION && c->manager->cut_off);
    sp_log_write(quiet ? SP_LOG_DEBUG : SP_LOG_WARN, "reconcile failed",
                 SP_LOG_FIELDS(SP_KV("controller", c->name), SP_KV("key", key),
                               SP_KV("error", (const char *)err->text),
                               SP_KV("retry_ms", retry_ms)));
}

static void run_fail(run *x, const sp_err *err) {
    sp_controller *c = x->controller;
    count(x);
    c->errors++;
    int64_t ms = sp_workqueue_retry(c->queue, x->r->key, sp_clock_mono_ms());
    log_failure(c, x->r->key, err, ms);
    run_end(x);
}

static bool caught_up(const written *w) {
    if (w->revision) return sp_informer_revision(w->informer) >= w->revision;
    const sp_json *now = sp_informer_get(w->informer, w->ns, w->name);
    return !now || sp_obj_deleting(now) || sp_obj_rv(now) != w->before;
}

static bool run_caught_up(run *x) {
    while (x->writes.n && caught_up(&x->writes.p[x->writes.n - 1])) x->writes.n--;
    return x->writes.n == 0;
}

static void run_success(run *x) {
    sp_controller *c = x->controller;
    sp_manager *m = c->manager;
    count(x);
    sp_vec_each(&x->r->events, t)
        sp_events_post(m->events, t->ref, x->r->component, t->type, t->reason, t->message);
    sp_workqueue_forget(c->queue, x->r->key);
    if (x->r->requeue_ms > 0)
        sp_workqueue_add_at(c->queue, x->r->key, sp_clock_mono_ms() + x->r->requeue_ms);
    if (run_caught_up(x)) {
        run_end(x);
        return;
    }
    c->busy--;
    c->waiting++;
    x->waiting = true;
    x->wait_until_ms = sp_clock_mono_ms() + CATCH_UP_MAX_MS;
    wake(m);
}

static void expect(run *x, const request *q, const sp_json *answer) {
    sp_informer *i = informer_of(x->controller->manager, q->action.gvr);
    if (!i) return;
    written w = {.informer = i, .ns = q->action.ns, .name = q->action.name};
    if (!sp_str_eqz(sp_obj_kind(answer), "Status")) w.revision = sp_obj_rv(answer);
    w.before = q->before;
    if (w.revision || w.before) sp_vec_push(&x->writes, w);
}

static bool tolerated(const sp_action *a, const sp_err *err) {
    return (err->code == SP_ALREADY_EXISTS && a->tolerate_exists) ||
           (err->code == SP_NOT_FOUND && a->tolerate_missing) ||
           (err->code == SP_CONFLICT && a->tolerate_conflict);
}

/* A name made up anew at each try would make each failure a new Event. */
static sp_str steady_text(sp_arena *a, const request *q, const char *text) {
    sp_str s = sp_str_z(text);
    ptrdiff_t at = q->base.n && q->new_name.n ? sp_str_find(s, q->new_name) : -1;
    if (at < 0) return s;
    return sp_arena_printf(a, "%.*s%.*s%s", (int)at, text, SP_ARG(q->base),
                           text + at + q->new_name.n);
}

static void tell_failure(run *x, const request *q, const sp_err *err) {
    bool create = q->action.verb == SP_VERB_CREATE, del = q->action.verb == SP_VERB_DELETE;
    bool passing = err->code == SP_CONNECTION || err->code == SP_CONFLICT;
    if (!x->subject || !(create || del) || passing) return;
    sp_str text = steady_text(x->r->arena, q, err->text);
    sp_events_post(x->controller->manager->events, x->subject, x->r->component, "Warning",
                   create ? "FailedCreate" : "FailedDelete",
                   sp_arena_printf(x->r->arena, "Error %s: %.*s", create ? "creating" : "deleting",
                                   SP_ARG(text)));
}

/* Nothing can be made in a namespace that goes away, and nothing needs to. */
static bool namespace_ends(const sp_json *status) {
    const sp_json *causes = sp_json_dig(status, "details", "causes", NULL);
    sp_json_each(causes, c) {
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "reason")), "NamespaceTerminating")) return true;
    }
    return false;
}

static void run_step(run *x);

static void refused(run *x, const request *q, const sp_json *status, const sp_err *err) {
    if (namespace_ends(status)) {
        x->over = true;
        return;
    }
    if (x->err.code) return;
    tell_failure(x, q, err);
    x->err = *err;
    sp_err_wrap(&x->err, "%s %.*s", q->method, SP_ARG(q->target));
}

static void stepped(void *ctx, int http, const sp_json *answer, const sp_err *err) {
    (void)http;
    request *q = ctx;
    run *x = q->run;
    q->call = NULL;
    x->flying--;
    if (x->controller->manager->freeing) return;
    if (!err)
        expect(x, q, answer);
    else if (!tolerated(&q->action, err))
        refused(x, q, answer, err);
    run_step(x);
}

static void run_send(run *x, request *q) {
    sp_kube_request k = {
        .method = q->method, .target = q->target, .content_type = q->content_type, .raw = q->body};
    const sp_informer *i = informer_of(x->controller->manager, q->action.gvr);
    q->run = x;
    q->before = i ? sp_obj_rv(sp_informer_get(i, q->action.ns, q->action.name)) : 0;
    x->flying++;
    q->call = sp_kube_call(x->controller->manager->kube, &k, stepped, q);
}

/* Creations in a row need not wait for each other, nor do deletions. */
static bool may_send(const run *x) {
    if (x->at == x->count || x->err.code || x->over || x->flying == MAX_FLYING) return false;
    if (!x->flying) return true;
    const sp_action *last = &x->requests[x->at - 1].action, *next = &x->requests[x->at].action;
    bool same = last->verb == next->verb && last->gvr == next->gvr;
    return same && (next->verb == SP_VERB_CREATE || next->verb == SP_VERB_DELETE);
}

static void run_step(run *x) {
    while (may_send(x)) run_send(x, &x->requests[x->at++]);
    if (x->flying) return;
    if (x->over) x->r->events.n = 0;
    if (x->err.code)
        run_fail(x, &x->err);
    else
        run_success(x);
}

static void render_all(run *x) {
    sp_reconcile *r = x->r;
    x->count = r->actions.n;
    x->requests = sp_arena_alloc(r->arena, (x->count + 1) * sizeof(request));
    for (size_t i = 0; i < x->count; i++) x->requests[i] = render(r->arena, &r->actions.p[i]);
    if (r->subject) x->subject = sp_event_ref(r->arena, r->subject, NULL);
}

static void run_start(sp_controller *c, sp_str key) {
    run *x = sp_zalloc(1, sizeof *x);
    x->controller = c;
    x->r = sp_reconcile_new(key);
    x->r->component = c->component;
    x->started_us = sp_clock_mono_us();
    sp_list_append(&c->manager->runs, &x->link);
    sp_list_init(&x->calls);
    c->busy++;
    if (c->job_fn) {
        c->job_fn(c->ctx, x, x->r->key);
        return;
    }
    sp_err err = {0};
    if (!c->fn(c->ctx, x->r, &err)) {
        run_fail(x, &err);
        return;
    }
    render_all(x);
    run_step(x);
}

/* ---------- jobs ---------- */

sp_arena *sp_job_arena(sp_job *job) {
    return job->r->arena;
}
sp_str sp_job_key(const sp_job *job) {
    return job->r->key;
}

static void job_answered(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    job_call *c = ctx;
    sp_list_remove(&c->link);
    if (!c->job->controller->manager->freeing) c->done(c->ctx, http, obj, err);
}

void sp_job_call(sp_job *job, const sp_kube_request *r, sp_kube_done *done, void *ctx) {
    job_call *c = SP_NEW(job->r->arena, job_call);
    *c = (job_call){.job = job, .done = done, .ctx = ctx};
    sp_list_init(&c->link);
    sp_list_append(&job->calls, &c->link);
    c->call = sp_kube_call(job->controller->manager->kube, r, job_answered, c);
}

void sp_job_done(sp_job *job, const sp_err *err, int64_t requeue_ms) {
    sp_assert(sp_list_empty(&job->calls));
    job->r->requeue_ms = requeue_ms;
    if (err && err->code)
        run_fail(job, err);
    else
        run_success(job);
}

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
        if (x->waiting && (run_caught_up(x) || now >= x->wait_until_ms)) run_end(x);
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
            run_start(c, key);
        }
    }
    wake(m);
}

static void wake(sp_manager *m) {
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
    sp_list_each(&m->runs, it) {
        run *x = SP_CONTAINER(it, run, link);
        for (size_t i = 0; i < x->count; i++)
            if (x->requests[i].call) sp_kube_cancel(m->kube, x->requests[i].call);
        sp_list_each(&x->calls, call)
            sp_kube_cancel(m->kube, SP_CONTAINER(call, job_call, link)->call);
        run_free(x);
    }
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
    wake(m);
    if (!m->on_synced || !sp_manager_synced(m)) return;
    void (*fn)(void *) = m->on_synced;
    m->on_synced = NULL;
    fn(m->on_synced_ctx);
}

sp_informer *sp_manager_informer(sp_manager *m, const sp_gvr *g) {
    sp_informer *i = informer_of(m, g);
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
sp_events *sp_manager_events(sp_manager *m) {
    return m->events;
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
    wake(c->manager);
}

void sp_controller_enqueue_object(sp_controller *c, const sp_json *obj) {
    sp_auto(sp_buf) b = {0};
    if (sp_obj_namespace(obj).n) sp_buf_printf(&b, "%.*s/", SP_ARG(sp_obj_namespace(obj)));
    sp_buf_add(&b, sp_obj_name(obj));
    sp_controller_enqueue(c, sp_buf_str(&b));
}

void sp_controller_enqueue_after(sp_controller *c, sp_str key, int64_t delay_ms) {
    sp_workqueue_add_at(c->queue, key, sp_clock_mono_ms() + delay_ms);
    wake(c->manager);
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
