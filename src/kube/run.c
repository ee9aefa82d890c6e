/* One run: a decision function's actions, rendered to bytes when it returns and sent in order
 * (creations in a row, and deletions in a row, side by side). When the last is answered, the run
 * waits until the informers have caught up with what it wrote; only then its key may be taken
 * again. A job is a run whose calls the controller makes itself.
 *
 * A creation whose answer was lost may have been made, or may be made yet. It is asked for again,
 * under the same name, until somebody says that it exists: a new decision would make up another
 * name, and there would be two. */
#include "kube/controller_internal.h"

#include "base/clock.h"
#include "base/log.h"

enum {
    MAX_FLYING = 16,        /* calls of one run at a time */
    UNCLEAR_MS = 1000,      /* in which the informers are connected again */
    AGAIN_MS = 500,         /* until a creation whose answer was lost is asked for again */
    CATCH_UP_MAX_MS = 30000 /* an informer this far behind no longer holds its key back */
};

typedef struct sp_job run;

/* ---------- rendering actions ---------- */

static const struct {
    const char *method, *sub, *type;
} verbs[] = {
    [SP_VERB_CREATE] = {"POST", NULL, NULL},
    [SP_VERB_UPDATE] = {"PUT", NULL, NULL},
    [SP_VERB_MERGE] = {"PATCH", NULL, "application/merge-patch+json"},
    [SP_VERB_MERGE_STATUS] = {"PATCH", "status", "application/merge-patch+json"},
    [SP_VERB_DELETE] = {"DELETE", NULL, NULL},
    [SP_VERB_POST_SUB] = {"POST", NULL, NULL},
};

static sp_request render(sp_arena *a, const sp_action *action) {
    sp_request q = {.action = *action,
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

static void run_free(run *x) {
    sp_list_remove(&x->link);
    sp_vec_free(&x->writes);
    sp_reconcile_free(x->r);
    free(x);
}

void sp_run_end(run *x) {
    sp_controller *c = x->controller;
    if (x->waiting)
        c->waiting--;
    else
        c->busy--;
    sp_workqueue_done(c->queue, x->r->key);
    sp_manager_wake(c->manager);
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

/* The key stays ours, but others have their turn. */
static void wait_for(run *x, int64_t ms) {
    sp_controller *c = x->controller;
    c->busy--;
    c->waiting++;
    x->waiting = true;
    x->wait_until_ms = sp_clock_mono_ms() + ms;
    sp_manager_wake(c->manager);
}

static void run_fail(run *x, const sp_err *err) {
    sp_controller *c = x->controller;
    count(x);
    c->errors++;
    int64_t ms = sp_workqueue_retry(c->queue, x->r->key, sp_clock_mono_ms());
    log_failure(c, x->r->key, err, ms);
    if (err->code == SP_CONNECTION &&
        x->count) { /* it may have been made: the informers will tell */
        x->unclear = true;
        wait_for(x, UNCLEAR_MS);
    } else {
        sp_run_end(x);
    }
}

static bool caught_up(const sp_written *w) {
    if (w->exists) return sp_informer_get(w->informer, w->ns, w->name) != NULL;
    if (w->revision) return sp_informer_revision(w->informer) >= w->revision;
    const sp_json *now = sp_informer_get(w->informer, w->ns, w->name);
    return !now || sp_obj_deleting(now) || sp_obj_rv(now) != w->before;
}

bool sp_run_caught_up(run *x) {
    if (x->unclear || x->lost) return false;
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
    if (sp_run_caught_up(x)) {
        sp_run_end(x);
        return;
    }
    wait_for(x, CATCH_UP_MAX_MS);
}

static void expect(run *x, const sp_request *q, const sp_json *answer) {
    sp_informer *i = sp_manager_find(x->controller->manager, q->action.gvr);
    if (!i) return;
    sp_written w = {.informer = i, .ns = q->action.ns, .name = q->action.name};
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
static sp_str steady_text(sp_arena *a, const sp_request *q, const char *text) {
    sp_str s = sp_str_z(text);
    ptrdiff_t at = q->base.n && q->new_name.n ? sp_str_find(s, q->new_name) : -1;
    if (at < 0) return s;
    return sp_arena_printf(a, "%.*s%.*s%s", (int)at, text, SP_ARG(q->base),
                           text + at + q->new_name.n);
}

static void tell_failure(run *x, const sp_request *q, const sp_err *err) {
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

static void refused(run *x, const sp_request *q, const sp_json *status, const sp_err *err) {
    if (namespace_ends(status)) {
        x->over = true;
        return;
    }
    if (x->err.code) return;
    tell_failure(x, q, err);
    x->err = *err;
    sp_err_wrap(&x->err, "%s %.*s", q->method, SP_ARG(q->target));
}

static bool is_lost(const sp_request *q, const sp_err *err) {
    bool unclear =
        err->code == SP_CONNECTION || err->code == SP_TIMEOUT || err->code == SP_UNAVAILABLE;
    return unclear && q->action.verb == SP_VERB_CREATE && q->new_name.n;
}

static void lose(run *x, sp_request *q, const sp_err *err) {
    q->lost = true;
    x->lost++;
    x->controller->errors++;
    log_failure(x->controller, x->r->key, err, AGAIN_MS);
}

/* The one whose answer was lost. */
static void expect_made(run *x, const sp_request *q) {
    sp_informer *i = sp_manager_find(x->controller->manager, q->action.gvr);
    if (!i) return;
    sp_written w = {.informer = i, .ns = q->action.ns, .name = q->new_name, .exists = true};
    sp_vec_push(&x->writes, w);
}

static void stepped(void *ctx, int http, const sp_json *answer, const sp_err *err) {
    (void)http;
    sp_request *q = ctx;
    run *x = q->run;
    q->call = NULL;
    x->flying--;
    if (x->controller->manager->freeing) return;
    if (!err)
        expect(x, q, answer);
    else if (is_lost(q, err))
        lose(x, q, err);
    else if (q->again && err->code == SP_ALREADY_EXISTS)
        expect_made(x, q);
    else if (!tolerated(&q->action, err))
        refused(x, q, answer, err);
    run_step(x);
}

static void run_send(run *x, sp_request *q) {
    sp_kube_request k = {
        .method = q->method, .target = q->target, .content_type = q->content_type, .raw = q->body};
    const sp_informer *i = sp_manager_find(x->controller->manager, q->action.gvr);
    q->run = x;
    q->before = i ? sp_obj_rv(sp_informer_get(i, q->action.ns, q->action.name)) : 0;
    x->flying++;
    q->call = sp_kube_call(x->controller->manager->kube, &k, stepped, q);
}

/* Creations in a row need not wait for each other, nor do deletions. */
static bool may_send(const run *x) {
    if (x->at == x->count || x->err.code || x->over || x->lost || x->flying == MAX_FLYING)
        return false;
    if (!x->flying) return true;
    const sp_action *last = &x->requests[x->at - 1].action, *next = &x->requests[x->at].action;
    bool same = last->verb == next->verb && last->gvr == next->gvr;
    return same && (next->verb == SP_VERB_CREATE || next->verb == SP_VERB_DELETE);
}

static void run_step(run *x) {
    while (may_send(x)) run_send(x, &x->requests[x->at++]);
    if (x->flying) return;
    if (x->over) {
        x->r->events.n = 0;
        x->lost = 0;
    }
    if (x->lost) {
        wait_for(x, AGAIN_MS);
        return;
    }
    if (x->err.code)
        run_fail(x, &x->err);
    else
        run_success(x);
}

void sp_run_ask_again(run *x) {
    x->controller->waiting--;
    x->controller->busy++;
    x->waiting = false;
    x->lost = 0;
    for (size_t i = 0; i < x->at; i++) {
        sp_request *q = &x->requests[i];
        if (!q->lost) continue;
        q->lost = false;
        q->again = true;
        run_send(x, q);
    }
}

static void render_all(run *x) {
    sp_reconcile *r = x->r;
    x->count = r->actions.n;
    x->requests = sp_arena_alloc(r->arena, (x->count + 1) * sizeof(sp_request));
    for (size_t i = 0; i < x->count; i++) x->requests[i] = render(r->arena, &r->actions.p[i]);
    if (r->subject) x->subject = sp_event_ref(r->arena, r->subject, NULL);
}

void sp_run_start(sp_controller *c, sp_str key) {
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
static void job_answered(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    sp_job_request *c = ctx;
    sp_list_remove(&c->link);
    if (!c->job->controller->manager->freeing) c->done(c->ctx, http, obj, err);
}

void sp_job_call(sp_job *job, const sp_kube_request *r, sp_kube_done *done, void *ctx) {
    sp_job_request *c = SP_NEW(job->r->arena, sp_job_request);
    *c = (sp_job_request){.job = job, .done = done, .ctx = ctx};
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

void sp_run_cancel(run *x) {
    sp_kube *k = x->controller->manager->kube;
    for (size_t i = 0; i < x->count; i++)
        if (x->requests[i].call) sp_kube_cancel(k, x->requests[i].call);
    sp_list_each(&x->calls, it) sp_kube_cancel(k, SP_CONTAINER(it, sp_job_request, link)->call);
    run_free(x);
}
