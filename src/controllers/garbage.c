/* Garbage collection by ownerReferences, told apart by UID.
 *
 * An object all of whose owners are gone is deleted; that an owner is gone is believed only after
 * asking the server (a list may be behind). Foreground deletion: an owner with the finalizer
 * "foregroundDeletion" stays until no dependent with blockOwnerDeletion is left. Orphaning: with
 * the finalizer "orphan", the references to it are taken off its dependents first. Jobs are keyed
 * by UID; graph and events come from garbage_graph.c. */
#include "controllers/garbage.h"

#include "controllers/controllers.h"

#include "base/map.h"

enum { MAX_ABSENT = 2000, LOOK_AGAIN_MS = 1000 };

static const char foreground[] = "foregroundDeletion", orphan[] = "orphan";

typedef struct collector {
    sp_manager *manager;
    sp_controller *controller;
    sp_gc_graph *graph;
    sp_map absent; /* UIDs the server said do not exist: they never come back */
} collector;

typedef struct check { /* of one object, in the arena of its job */
    collector *c;
    sp_job *job;
    sp_arena *a;
    sp_str uid;
    const sp_json *refs; /* copied */
    sp_gc_owner *owners; /* one per reference */
    unsigned running;
    sp_err err;
} check;

typedef struct question { /* is this owner there? */
    check *k;
    size_t at;
    sp_str uid;
} question;

sp_gc_verdict sp_gc_judge(const sp_gc_owner *owners, size_t count, bool has_dependents) {
    size_t n[3] = {0};
    for (size_t i = 0; i < count; i++) n[owners[i]]++;
    if (!count || n[SP_GC_SOLID] == count) return SP_GC_KEEP;
    if (n[SP_GC_SOLID]) return SP_GC_DROP_REFS;
    return n[SP_GC_WAITING] && has_dependents ? SP_GC_DELETE_FOREGROUND : SP_GC_DELETE;
}

/* ---------- ends ---------- */

static void done(check *k) {
    sp_job_done(k->job, &k->err, 0);
}

static void keep_first(check *k, const sp_err *err) {
    bool fine = err && (err->code == SP_NOT_FOUND || err->code == SP_CONFLICT);
    if (err && !fine && !k->err.code) k->err = *err;
}

static void answered(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)http, (void)obj;
    check *k = ctx;
    keep_first(k, err);
    bool again = err && err->code == SP_CONFLICT;
    if (--k->running) return;
    sp_job_done(k->job, &k->err, again ? LOOK_AGAIN_MS : 0);
}

/* ---------- writing ---------- */

static void send_patch(check *k, const sp_gc_node *n, sp_json *metadata) {
    const sp_json *obj = sp_gc_object(n);
    sp_json *patch = sp_json_object(k->a);
    sp_json_set(k->a, metadata, "uid", sp_json_new_str(k->a, n->uid));
    sp_json_set(k->a, metadata, "resourceVersion",
                sp_json_printf(k->a, "%llu", (unsigned long long)sp_obj_rv(obj)));
    sp_json_set(k->a, patch, "metadata", metadata);
    sp_kube_request r = {.method = "PATCH",
                         .target = sp_gvr_path(k->a, n->gvr, n->ns, n->name, NULL),
                         .content_type = "application/merge-patch+json",
                         .body = patch};
    k->running++;
    sp_job_call(k->job, &r, answered, k);
}

static void send_delete(check *k, const sp_gc_node *n, const char *propagation) {
    const sp_json *obj = sp_gc_object(n);
    sp_str body = sp_arena_printf(
        k->a,
        "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"propagationPolicy\":\"%s\","
        "\"preconditions\":{\"uid\":\"%.*s\",\"resourceVersion\":\"%llu\"}}",
        propagation, SP_ARG(n->uid), (unsigned long long)sp_obj_rv(obj));
    sp_kube_request r = {
        .method = "DELETE", .target = sp_gvr_path(k->a, n->gvr, n->ns, n->name, NULL), .raw = body};
    k->running++;
    sp_job_call(k->job, &r, answered, k);
}

static void drop_finalizer(check *k, const sp_gc_node *n, const char *finalizer) {
    const sp_json *old = sp_json_dig(sp_gc_object(n), "metadata", "finalizers", NULL);
    sp_json *kept = sp_json_array(k->a);
    sp_json_each(old, f) {
        if (!sp_str_eqz(sp_json_str(f), finalizer)) sp_json_push(kept, sp_json_clone(k->a, f));
    }
    sp_json *meta = sp_json_object(k->a);
    sp_json_set(k->a, meta, "finalizers", kept->count ? kept : sp_json_null(k->a));
    send_patch(k, n, meta);
}

/* The references for which keep says so; sends the rest away. */
static void write_refs(check *k, const sp_gc_node *n, const sp_json *kept) {
    sp_json *meta = sp_json_object(k->a);
    sp_json_set(k->a, meta, "ownerReferences",
                kept->count ? sp_json_clone(k->a, kept) : sp_json_null(k->a));
    send_patch(k, n, meta);
}

/* ---------- an object that is being deleted ---------- */

static bool blocks(const sp_json *obj, sp_str owner) {
    const sp_json *refs = sp_json_dig(obj, "metadata", "ownerReferences", NULL);
    sp_json_each(refs, r) {
        if (sp_str_eq(sp_json_str(sp_json_get(r, "uid")), owner))
            return sp_json_bool(sp_json_get(r, "blockOwnerDeletion"), false);
    }
    return false;
}

static bool has_blocking_dependents(const collector *c, sp_str uid) {
    const sp_gc_nodes *list = sp_gc_dependents(c->graph, uid);
    for (size_t i = 0; list && i < list->n; i++)
        if (blocks(sp_gc_object(list->p[i]), uid)) return true;
    return false;
}

static bool orphan_dependents(check *k, sp_str uid) {
    const sp_gc_nodes *list = sp_gc_dependents(k->c->graph, uid);
    for (size_t i = 0; list && i < list->n; i++) {
        const sp_json *obj = sp_gc_object(list->p[i]);
        const sp_json *refs = sp_json_dig(obj, "metadata", "ownerReferences", NULL);
        sp_json *kept = sp_json_array(k->a);
        sp_json_each(refs, r) {
            if (!sp_str_eq(sp_json_str(sp_json_get(r, "uid")), uid))
                sp_json_push(kept, sp_json_clone(k->a, r));
        }
        if (obj) write_refs(k, list->p[i], kept);
    }
    return list && list->n;
}

static void help_deletion(check *k, const sp_gc_node *n, const sp_json *obj) {
    bool ours = sp_obj_has_finalizer(obj, orphan) || sp_obj_has_finalizer(obj, foreground);
    if (ours && !sp_gc_complete(k->c->graph)) { /* dependents may not be known yet */
        sp_job_done(k->job, NULL, LOOK_AGAIN_MS);
        return;
    }
    if (sp_obj_has_finalizer(obj, orphan)) {
        if (!orphan_dependents(k, n->uid)) drop_finalizer(k, n, orphan);
    } else if (sp_obj_has_finalizer(obj, foreground) && !has_blocking_dependents(k->c, n->uid)) {
        drop_finalizer(k, n, foreground);
    }
    if (!k->running) done(k);
}

/* ---------- an object with owners ---------- */

static void carry_out(check *k) {
    const sp_gc_node *n = sp_gc_find(k->c->graph, k->uid);
    const sp_json *obj = n ? sp_gc_object(n) : NULL;
    if (k->err.code || !obj || sp_obj_deleting(obj)) {
        done(k);
        return;
    }
    const sp_gc_nodes *own = sp_gc_dependents(k->c->graph, k->uid);
    switch (sp_gc_judge(k->owners, k->refs->count, own && own->n)) {
    case SP_GC_KEEP: break;
    case SP_GC_DELETE: send_delete(k, n, "Background"); break;
    case SP_GC_DELETE_FOREGROUND: send_delete(k, n, "Foreground"); break;
    case SP_GC_DROP_REFS: {
        sp_json *kept = sp_json_array(k->a);
        size_t i = 0;
        sp_json_each(k->refs, r) {
            if (k->owners[i++] == SP_GC_SOLID) sp_json_push(kept, sp_json_clone(k->a, r));
        }
        write_refs(k, n, kept);
        break;
    }
    }
    if (!k->running) done(k);
}

static void remember_absent(collector *c, sp_str uid) {
    if (c->absent.n >= MAX_ABSENT) {
        sp_map_free(&c->absent);
        c->absent = (sp_map){0};
    }
    sp_map_put(&c->absent, uid, c);
}

static void owner_looked_up(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)http;
    question *q = ctx;
    check *k = q->k;
    bool other = !err && !sp_str_eq(sp_obj_uid(obj), q->uid);
    if (other || (err && err->code == SP_NOT_FOUND)) {
        k->owners[q->at] = SP_GC_ABSENT;
        remember_absent(k->c, q->uid);
    } else {
        keep_first(k, err);
    }
    if (--k->running == 0) carry_out(k);
}

/* true: answered from what is known here. */
static bool know_owner(check *k, size_t at, const sp_json *ref, sp_str uid) {
    const sp_gc_node *owner = sp_gc_find(k->c->graph, uid);
    if (owner) {
        const sp_json *o = sp_gc_object(owner);
        bool waits = sp_obj_deleting(o) && sp_obj_has_finalizer(o, foreground) &&
                     sp_json_bool(sp_json_get(ref, "blockOwnerDeletion"), false);
        k->owners[at] = waits ? SP_GC_WAITING : SP_GC_SOLID;
        return true;
    }
    bool absent = sp_map_has(&k->c->absent, uid);
    k->owners[at] = absent ? SP_GC_ABSENT : SP_GC_SOLID;
    return absent;
}

static void ask_owner(check *k, const sp_gc_node *n, size_t at, const sp_json *ref) {
    sp_str uid = sp_json_str(sp_json_get(ref, "uid"));
    if (!uid.n || know_owner(k, at, ref, uid)) return;
    const sp_served_kind *kind =
        sp_discovery_find(sp_catalog_kinds(sp_catalog_of(k->c->manager)),
                          sp_json_str(sp_json_get(ref, "apiVersion")), sp_obj_kind(ref));
    if (!kind || (!kind->gvr.cluster && !n->ns.n)) return; /* nothing to ask: counts as solid */
    question *q = SP_NEW(k->a, question);
    *q = (question){k, at, uid};
    sp_str name = sp_json_str(sp_json_get(ref, "name"));
    sp_kube_request r = {.method = "GET",
                         .target = sp_gvr_path(k->a, &kind->gvr, n->ns, name, NULL)};
    k->running++;
    sp_job_call(k->job, &r, owner_looked_up, q);
}

static void check_owners(check *k, const sp_gc_node *n, const sp_json *refs) {
    k->refs = sp_json_clone(k->a, refs);
    k->owners = sp_arena_alloc(k->a, refs->count * sizeof *k->owners);
    size_t at = 0;
    k->running = 1; /* ours, so that the end is seen once */
    sp_json_each(k->refs, r) ask_owner(k, n, at++, r);
    if (--k->running == 0) carry_out(k);
}

/* ---------- wiring ---------- */

static void work(void *ctx, sp_job *job, sp_str uid) {
    collector *c = ctx;
    check *k = SP_NEW(sp_job_arena(job), check);
    *k = (check){.c = c, .job = job, .a = sp_job_arena(job), .uid = uid};
    const sp_gc_node *n = sp_gc_find(c->graph, uid);
    const sp_json *obj = n ? sp_gc_object(n) : NULL;
    const sp_json *refs = sp_json_dig(obj, "metadata", "ownerReferences", NULL);
    if (!obj)
        done(k);
    else if (sp_obj_deleting(obj))
        help_deletion(k, n, obj);
    else if (refs && refs->count)
        check_owners(k, n, refs);
    else
        done(k);
}

static void changed(void *ctx, sp_str uid) {
    sp_controller_enqueue(((collector *)ctx)->controller, uid);
}

static void gone(void *ctx) {
    collector *c = ctx;
    c->graph = sp_gc_graph_free(c->graph);
    sp_map_free(&c->absent);
    free(c);
}

void sp_add_garbage(sp_manager *m) {
    collector *c = sp_zalloc(1, sizeof *c);
    c->manager = m;
    c->controller = sp_controller_new_job(m, "garbage", work, c);
    sp_manager_on_free(m, gone, c);
    c->graph = sp_gc_graph_new(m, changed, c);
}
