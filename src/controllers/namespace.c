/* Namespaces that are being deleted: everything in them is deleted, collection by collection as
 * discovery lists them; what takes longer (pods that stop, finalizers) is looked at again; when
 * nothing is left, the namespace is released by PUT …/finalize without the finalizer "kubernetes".
 * Until then its status says what remains. */
#include "controllers/catalog.h"
#include "controllers/common.h"
#include "controllers/controllers.h"

#include "base/clock.h"

enum { FIRST_LOOK_MS = 300, LAST_LOOK_MS = 10000 };

typedef struct sweep {
    sp_manager *manager;
    sp_job *job;
    sp_arena *a;
    sp_str ns;
    unsigned running; /* calls */
    sp_err err;       /* the first failure */
    sp_buf remains;   /* "pods (2), …" */
    bool asked;
} sweep;

typedef struct collection {
    sweep *s;
    const sp_gvr *gvr;
    bool delete_collection;
} collection;

static const sp_json *find(sp_manager *m, sp_str name) {
    return sp_informer_get(sp_manager_informer(m, &sp_gvr_namespaces), (sp_str){0}, name);
}

static bool has_spec_finalizer(const sp_json *ns) {
    const sp_json *list = sp_json_dig(ns, "spec", "finalizers", NULL);
    sp_json_each(list, f) if (sp_str_eqz(sp_json_str(f), "kubernetes")) return true;
    return false;
}

/* ---------- the end ---------- */

static void over(sweep *s, int64_t look_again_ms) {
    sp_buf_free(&s->remains);
    sp_job_done(s->job, &s->err, look_again_ms);
}

static void keep_first(sweep *s, const sp_err *err) {
    bool fine = err && (err->code == SP_NOT_FOUND || err->code == SP_CONFLICT);
    if (err && !fine && !s->err.code) s->err = *err;
}

static void finalized(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)http, (void)obj;
    sweep *s = ctx;
    bool conflict = err && err->code == SP_CONFLICT;
    keep_first(s, err);
    over(s, conflict ? FIRST_LOOK_MS : 0);
}

static void finalize(sweep *s, const sp_json *ns) {
    sp_json *copy = sp_json_clone(s->a, ns);
    sp_json *kept = sp_json_array(s->a);
    const sp_json *list = sp_json_dig(ns, "spec", "finalizers", NULL);
    sp_json_each(list, f) {
        if (!sp_str_eqz(sp_json_str(f), "kubernetes")) sp_json_push(kept, sp_json_clone(s->a, f));
    }
    sp_json_set(s->a, sp_json_ensure_object(s->a, copy, "spec"), "finalizers", kept);
    sp_kube_request r = {.method = "PUT",
                         .target =
                             sp_gvr_path(s->a, &sp_gvr_namespaces, (sp_str){0}, s->ns, "finalize"),
                         .body = copy};
    sp_job_call(s->job, &r, finalized, s);
}

/* ---------- what remains ---------- */

static int64_t look_again_ms(const sweep *s, const sp_json *ns) {
    (void)s;
    int64_t since = sp_json_time_ms(sp_json_dig(ns, "metadata", "deletionTimestamp", NULL));
    int64_t age = sp_clock_wall_ms() - since;
    return age < FIRST_LOOK_MS ? FIRST_LOOK_MS : SP_MIN(age, (int64_t)LAST_LOOK_MS);
}

static void told(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)http, (void)obj, (void)err;
    sweep *s = ctx;
    const sp_json *ns = find(s->manager, s->ns);
    over(s, look_again_ms(s, ns));
}

static void tell_remaining(sweep *s, const sp_json *ns) {
    const sp_json *old = sp_json_dig(ns, "status", "conditions", NULL);
    sp_json *conditions = old ? sp_json_clone(s->a, old) : sp_json_array(s->a);
    sp_str text = sp_arena_printf(s->a, "Some resources are remaining: %s", sp_buf_z(&s->remains));
    if (!sp_condition_set(s->a, conditions, "NamespaceContentRemaining", "True",
                          "SomeResourcesRemain", text.p, sp_clock_wall_ms())) {
        over(s, look_again_ms(s, ns));
        return;
    }
    sp_json *patch = sp_json_object(s->a);
    sp_json_set(s->a, sp_json_ensure_object(s->a, patch, "status"), "conditions", conditions);
    sp_kube_request r = {.method = "PATCH",
                         .target =
                             sp_gvr_path(s->a, &sp_gvr_namespaces, (sp_str){0}, s->ns, "status"),
                         .content_type = "application/merge-patch+json",
                         .body = patch};
    sp_job_call(s->job, &r, told, s);
}

static void conclude(sweep *s) {
    const sp_json *ns = find(s->manager, s->ns);
    if (!ns || !sp_obj_deleting(ns) || s->err.code)
        over(s, 0);
    else if (s->remains.n)
        tell_remaining(s, ns);
    else if (has_spec_finalizer(ns))
        finalize(s, ns);
    else
        over(s, 0);
}

/* ---------- one collection ---------- */

static void step_done(sweep *s) {
    if (--s->running == 0 && s->asked) conclude(s);
}

static void deleted(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)http, (void)obj;
    sweep *s = ctx;
    keep_first(s, err);
    step_done(s);
}

static void send_delete(sweep *s, const sp_gvr *g, sp_str name) {
    sp_kube_request r = {.method = "DELETE",
                         .target = sp_gvr_path(s->a, g, s->ns, name, NULL),
                         .raw = SP_STR("{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
                                       "\"propagationPolicy\":\"Background\"}")};
    s->running++;
    sp_job_call(s->job, &r, deleted, s);
}

static void delete_items(collection *c, const sp_json *items) {
    bool any = false;
    sp_json_each(items, it) {
        if (sp_obj_deleting(it)) continue;
        any = true;
        if (!c->delete_collection) send_delete(c->s, c->gvr, sp_obj_name(it));
    }
    if (any && c->delete_collection) send_delete(c->s, c->gvr, (sp_str){0});
}

static void listed(void *ctx, int http, const sp_json *list, const sp_err *err) {
    (void)http;
    collection *c = ctx;
    sweep *s = c->s;
    keep_first(s, err);
    const sp_json *items = sp_json_get(list, "items");
    if (!err && items && items->count) {
        const char *group = c->gvr->group;
        sp_buf_printf(&s->remains, "%s%s%s%s (%zu)", s->remains.n ? ", " : "", c->gvr->plural,
                      *group ? "." : "", group, items->count);
        delete_items(c, items);
    }
    step_done(s);
}

static void look_into(sweep *s, const sp_served_kind *k) {
    collection *c = SP_NEW(s->a, collection);
    *c = (collection){s, &k->gvr, k->can_delete_collection};
    sp_str path = sp_gvr_path(s->a, &k->gvr, s->ns, (sp_str){0}, NULL);
    sp_kube_request r = {.method = "GET",
                         .target = sp_arena_printf(s->a, "%.*s?limit=500", SP_ARG(path))};
    s->running++;
    sp_job_call(s->job, &r, listed, c);
}

/* gvrs of the catalog live as long as the manager, its list does not: both are only used here. */
static void look_into_all(sweep *s) {
    const sp_served_kinds *kinds = sp_catalog_kinds(sp_catalog_of(s->manager));
    sp_vec_each(kinds, k) {
        sp_served_kind *copy = SP_NEW(s->a, sp_served_kind);
        *copy = *k;
        if (!k->gvr.cluster && k->can_list && k->can_delete) look_into(s, copy);
    }
}

static void work(void *ctx, sp_job *job, sp_str key) {
    sp_manager *m = ctx;
    const sp_json *ns = find(m, key);
    if (!ns || !sp_obj_deleting(ns) || !has_spec_finalizer(ns)) {
        sp_job_done(job, NULL, 0);
        return;
    }
    if (!sp_catalog_ready(sp_catalog_of(m))) {
        sp_job_done(job, NULL, FIRST_LOOK_MS);
        return;
    }
    sweep *s = SP_NEW(sp_job_arena(job), sweep);
    *s = (sweep){.manager = m, .job = job, .a = sp_job_arena(job), .ns = key};
    s->running = 1; /* ours, so that the end is seen once */
    look_into_all(s);
    s->asked = true;
    step_done(s);
}

void sp_add_namespace(sp_manager *m) {
    sp_controller *c = sp_controller_new_job(m, "namespace", work, m);
    sp_controller_for(c, &sp_gvr_namespaces);
    sp_catalog_of(m);
}
