#include "apiserver/op.h"

#include "apiserver/admit.h"
#include "apiserver/server.h"
#include "base/clock.h"
#include "data/time.h"

#include <stdio.h>

/* A claim may lose many times while others claim the same; each time somebody wins. */
enum { MAX_ATTEMPTS = 10, MAX_CLAIM_ATTEMPTS = 200 };

sp_str sp_object_key(sp_arena *a, const sp_served *v, sp_str ns, sp_str name) {
    if (!v->row->namespaced) return sp_arena_printf(a, "%.*s%.*s", SP_ARG(v->prefix), SP_ARG(name));
    return sp_arena_printf(a, "%.*s%.*s/%.*s", SP_ARG(v->prefix), SP_ARG(ns), SP_ARG(name));
}

/* ---------- looking at the newest state ---------- */

static const sp_json *parsed(sp_arena *a, const sp_store_value *v) {
    sp_json *j = NULL;
    if (!v || !sp_json_parse(a, sp_blob_str(v->bytes), &j, NULL)) return NULL;
    return j;
}

static sp_str prefix_of(sp_arena *a, const char *group, const char *plural, sp_str ns) {
    return sp_arena_printf(a, "/registry/%s/%s/%.*s%s", *group ? group : "core", plural, SP_ARG(ns),
                           ns.n ? "/" : "");
}

const sp_json *sp_lookup_latest(sp_apiserver *s, sp_arena *a, const char *group, const char *plural,
                                sp_str ns, sp_str name) {
    sp_str prefix = prefix_of(a, group, plural, ns);
    sp_str key = sp_arena_printf(a, "%.*s%.*s", SP_ARG(prefix), SP_ARG(name));
    return parsed(a, sp_store_get_latest(s->store, key));
}

typedef struct walk {
    sp_apiserver *s;
    sp_arena *arena;
    bool (*fn)(void *fn_ctx, const sp_json *obj);
    void *fn_ctx;
    bool stopped;
} walk;

static bool visit(void *ctx, sp_str key, sp_store_value *v) {
    walk *w = ctx;
    if (w->s->inflight.n && sp_map_has(&w->s->inflight, key))
        v = sp_store_get_latest(w->s->store, key);
    const sp_json *obj = parsed(w->arena, v);
    if (obj && !w->fn(w->fn_ctx, obj)) w->stopped = true;
    return !w->stopped;
}

void sp_lookup_each_latest(void *server, sp_arena *a, const char *group, const char *plural,
                           sp_str ns, bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx) {
    sp_apiserver *s = server;
    walk w = {.s = s, .arena = a, .fn = fn, .fn_ctx = fn_ctx};
    sp_str prefix = prefix_of(a, group, plural, ns), key;
    if (!sp_store_range(s->store, prefix, SP_STR(""), 0, visit, &w, NULL)) return;
    for (size_t at = 0; !w.stopped && sp_map_next(&s->inflight, &at, &key, NULL);)
        if (sp_str_starts(key, prefix) && !sp_store_get(s->store, key))
            visit(&w, key, sp_store_get_latest(s->store, key));
}

static void inflight_add(sp_apiserver *s, sp_str key, intptr_t by) {
    intptr_t n = (intptr_t)sp_map_get(&s->inflight, key) + by;
    if (n > 0)
        sp_map_put(&s->inflight, key, (void *)n);
    else
        sp_map_del(&s->inflight, key);
}

/* ---------- what a write was decided on ---------- */

void sp_op_guard(sp_op *op, sp_str key, const sp_store_value *v) {
    if (!sp_store_is_shared(op->s->store) || op->guard_count == SP_STORE_GUARDS_MAX) return;
    op->guards[op->guard_count++] = (sp_store_guard){SP_GUARD_SAME, key, v->rev};
}

static void guard_name(sp_op *op, sp_store_guard_kind kind, sp_str name) {
    sp_apiserver *s = op->s;
    sp_str key = sp_arena_printf(op->arena, SP_STORE_GUARDS "%.*s", SP_ARG(name));
    if (!sp_store_is_shared(s->store) || op->guard_count == SP_STORE_GUARDS_MAX) return;
    op->guards[op->guard_count++] = (sp_store_guard){kind, key, sp_store_revision(s->store)};
}

static bool is_lease(const sp_op *op) {
    const sp_resource *row = op->served->storage;
    return strcmp(row->plural, "leases") == 0 && strcmp(row->group, "coordination.k8s.io") == 0;
}

static sp_str holder_of(const sp_json *lease) {
    return sp_json_str(sp_json_dig(lease, "spec", "holderIdentity", NULL));
}

/* Writes of whoever held it before must not come after this one. */
static void guard_holder(sp_op *op, const sp_json *old, const sp_json *obj) {
    if (!is_lease(op) || sp_str_eq(holder_of(old), holder_of(obj))) return;
    guard_name(op, SP_GUARD_CLAIM,
               sp_arena_printf(op->arena, "lease/%.*s/%.*s", SP_ARG(op->ns), SP_ARG(op->name)));
}

static bool fence_holds(sp_op *op, sp_err *err) {
    sp_str rest = op->fence, ns, name;
    if (!rest.n) return true;
    if (!sp_str_cut(&rest, '/', &ns) || !sp_str_cut(&rest, '/', &name) || !rest.n)
        return sp_fail(err, SP_BAD_REQUEST,
                       "x-sampan-lease must be NAMESPACE/NAME/HOLDER of a Lease");
    const sp_json *lease =
        sp_lookup_latest(op->s, op->arena, "coordination.k8s.io", "leases", ns, name);
    if (!sp_str_eq(holder_of(lease), rest))
        return sp_fail(err, SP_CONFLICT, "the Lease %.*s/%.*s is held by \"%.*s\", not by \"%.*s\"",
                       SP_ARG(ns), SP_ARG(name), SP_ARG(holder_of(lease)), SP_ARG(rest));
    guard_name(op, SP_GUARD_SEEN,
               sp_arena_printf(op->arena, "lease/%.*s/%.*s", SP_ARG(ns), SP_ARG(name)));
    return true;
}

/* ---------- ending ---------- */

static void finish(sp_op *op) {
    op->done(op);
}

static void settled(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    sp_op *op = ctx;
    (void)rev, (void)value;
    if (err) {
        op->err = *err;
        op->causes.list.n = 0;
    }
    finish(op);
}

/* Ends without a write. What it was decided on may be on its way to the disk: nobody hears of that
 * before it can be read and cannot be lost. */
static void conclude(sp_op *op) {
    if (op->s->inflight.n)
        sp_store_after(op->s->store, settled, op);
    else
        finish(op);
}

static void fail(sp_op *op, const sp_err *err) {
    op->err = *err;
    conclude(op);
}

void sp_op_cleanup(sp_op *op) {
    op->bytes = sp_blob_unref(op->bytes);
    sp_causes_cleanup(&op->causes);
    sp_vec_free(&op->warnings);
    op->served = sp_served_unref(op->served);
}

static bool not_found(const sp_op *op, sp_err *err) {
    const sp_resource *row = op->served->row;
    return sp_fail(err, SP_NOT_FOUND, "%s%s%s \"%.*s\" not found", row->plural,
                   row->group[0] ? "." : "", row->group, SP_ARG(op->name));
}

/* ---------- writing ---------- */

static void attempt(sp_op *op);

static bool explain(const sp_op *op, const sp_err *from, sp_err *err) {
    const sp_resource *row = op->served->row;
    const char *dot = row->group[0] ? "." : "";
    if (from->code == SP_ALREADY_EXISTS)
        return sp_fail(err, SP_ALREADY_EXISTS, "%s%s%s \"%.*s\" already exists", row->plural, dot,
                       row->group, SP_ARG(op->name));
    if (from->code == SP_CONFLICT)
        return sp_fail(err, SP_CONFLICT,
                       "Operation cannot be fulfilled on %s%s%s \"%.*s\": the object has been "
                       "modified; please apply your changes to the latest version and try again",
                       row->plural, dot, row->group, SP_ARG(op->name));
    if (from->code == SP_NOT_FOUND) return not_found(op, err);
    *err = *from;
    return sp_err_wrap(err, "%s \"%.*s\"", row->plural, SP_ARG(op->name));
}

/* Those that waited look at what there is now. */
static void end_claim(sp_apiserver *s) {
    s->claiming = false;
    while (!s->claiming && !sp_list_empty(&s->claims)) {
        sp_op *next = SP_CONTAINER(s->claims.next, sp_op, link);
        sp_list_remove(&next->link);
        next->attempts--;
        attempt(next);
    }
}

static void committed(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    sp_op *op = ctx;
    sp_apiserver *s = op->s;
    bool claimed = op->claims && sp_store_is_shared(s->store);
    inflight_add(s, op->key, -1);
    bool raced = err && (err->code == SP_CONFLICT || (err->code == SP_ALREADY_EXISTS &&
                                                      op->kind == SP_OP_CREATE && op->generated.n));
    int most = claimed ? MAX_CLAIM_ATTEMPTS : MAX_ATTEMPTS;
    if (claimed) s->claiming = false;
    if (raced && op->attempts < most) {
        attempt(op);
        if (claimed && !s->claiming) end_claim(s);
        return;
    }
    if (err) {
        explain(op, err, &op->err);
    } else {
        op->rev = rev;
        if (!op->removed) op->bytes = sp_value_blob(value, op->served->head);
    }
    finish(op);
    if (claimed) end_claim(s);
}

/* Bytes with the digits of rev at their place; rev 0 leaves the quotes empty. */
static sp_blob *with_revision(sp_str bytes, size_t rev_at, uint64_t rev) {
    char digits[24] = "";
    if (rev) snprintf(digits, sizeof digits, "%llu", (unsigned long long)rev);
    size_t n = strlen(digits);
    sp_blob *b = sp_blob_alloc(bytes.n + n);
    memcpy(b->p, bytes.p, rev_at);
    memcpy(b->p + rev_at, digits, n);
    memcpy(b->p + rev_at + n, bytes.p + rev_at, bytes.n - rev_at);
    return b;
}

/* What the answer shows when nothing (or not obj) is stored; without a revision if rev is 0. */
static void show(sp_op *op, const sp_json *obj, uint64_t rev) {
    static const sp_str before = SP_STR_INIT(",\"resourceVersion\":\"");
    sp_auto(sp_buf) b = {0};
    size_t rev_at;
    sp_encode_object(&b, op->served->head, obj, &rev_at);
    if (!rev) { /* every object has a name, so the field is never the first */
        size_t from = rev_at - before.n, to = rev_at + 1;
        memmove(b.p + from, b.p + to, b.n - to);
        b.n -= to - from;
        rev_at = b.n;
    }
    op->bytes = sp_blob_unref(op->bytes);
    op->bytes = with_revision(sp_buf_str(&b), rev_at, rev);
}

static void submit(sp_op *op, sp_store_write w) {
    sp_apiserver *s = op->s;
    if (op->claims && sp_store_is_shared(s->store)) {
        guard_name(op, SP_GUARD_CLAIM, sp_str_z(op->served->storage->plural));
        s->claiming = true;
    }
    w.guards = op->guards;
    w.guard_count = op->guard_count;
    inflight_add(s, op->key, 1);
    sp_store_submit(s->store, &w, committed, op);
}

/* Decided on what others here are about to change: after them. */
static bool must_wait(sp_op *op) {
    sp_apiserver *s = op->s;
    if (!op->claims || !s->claiming || op->dry_run) return false;
    sp_list_append(&s->claims, &op->link);
    return true;
}

/* A renewed lease is renewed again before anybody misses it; a change of hands is not. */
static bool is_heartbeat(const sp_op *op, const sp_json *old, const sp_json *obj) {
    static const char *const fixed[] = {"holderIdentity", "acquireTime", "leaseTransitions"};
    if (!is_lease(op)) return false;
    for (size_t i = 0; i < SP_COUNT(fixed); i++)
        if (!sp_json_equal(sp_json_dig(old, "spec", fixed[i], NULL),
                           sp_json_dig(obj, "spec", fixed[i], NULL)))
            return false;
    return !sp_obj_deleting(obj);
}

static void put(sp_op *op, const sp_json *obj, uint64_t expect, bool relaxed) {
    op->uid = sp_obj_uid(obj);
    if (op->dry_run) {
        show(op, obj, expect == SP_STORE_ABSENT ? 0 : expect);
        conclude(op);
        return;
    }
    sp_auto(sp_buf) b = {0};
    size_t rev_at;
    sp_encode_object(&b, op->served->stored_head, obj, &rev_at);
    submit(op, (sp_store_write){.key = op->key,
                                .value = sp_buf_str(&b),
                                .rev_at = (uint32_t)rev_at,
                                .expect = expect,
                                .relaxed = relaxed});
}

static void take_away(sp_op *op, const sp_json *last, uint64_t expect) {
    op->uid = sp_obj_uid(last);
    op->removed = true;
    show(op, last, expect);
    if (op->dry_run) {
        conclude(op);
        return;
    }
    submit(op, (sp_store_write){.key = op->key, .remove = true, .expect = expect});
}

/* ---------- the three kinds ---------- */

static void attempt_create(sp_op *op) {
    sp_err err = {0};
    /* What an attempt decided is no wish of the client: the next one starts from the input. */
    sp_json *obj =
        sp_store_is_shared(op->s->store) ? sp_json_clone(op->arena, op->input) : op->input;
    if (op->generated.n) {
        obj = sp_json_clone(op->arena, op->input);
        sp_json *meta = sp_json_get(obj, "metadata");
        sp_json_remove(meta, "name");
        sp_json_remove(meta, "resourceVersion");
        op->name = op->generated = (sp_str){0};
    }
    op->causes.list.n = 0;
    op->warnings.n = 0;
    if (!sp_admit_create(op, obj, &err)) {
        fail(op, &err);
        return;
    }
    op->key = sp_object_key(op->arena, op->served, op->ns, op->name);
    if (sp_store_get_latest(op->s->store, op->key)) {
        if (op->generated.n && op->attempts < MAX_ATTEMPTS) {
            attempt(op);
            return;
        }
        explain(op, &(sp_err){.code = SP_ALREADY_EXISTS}, &err);
        fail(op, &err);
        return;
    }
    guard_holder(op, NULL, obj);
    if (!must_wait(op)) put(op, obj, SP_STORE_ABSENT, false);
}

static sp_store_value *current(sp_op *op, const sp_json **ret, sp_err *err) {
    sp_store_value *v = sp_store_get_latest(op->s->store, op->key);
    if (!v) {
        not_found(op, err);
        return NULL;
    }
    *ret = parsed(op->arena, v);
    if (*ret) return v;
    sp_fail(err, SP_INTERNAL, "%s \"%.*s\" is stored in a form that cannot be read",
            op->served->row->plural, SP_ARG(op->name));
    return NULL;
}

static bool unchanged(sp_op *op, const sp_json *old, sp_json *obj) {
    sp_json_set(op->arena, obj, "apiVersion",
                sp_json_clone(op->arena, sp_json_get(old, "apiVersion")));
    sp_json_set(op->arena, obj, "kind", sp_json_clone(op->arena, sp_json_get(old, "kind")));
    return sp_json_equal(old, obj);
}

static void attempt_update(sp_op *op) {
    sp_err err = {0};
    const sp_json *old;
    sp_json *obj;
    op->causes.list.n = 0;
    op->warnings.n = 0;
    sp_store_value *v = current(op, &old, &err);
    if (!v || !op->change(op, old, &obj, &err) || !sp_admit_update(op, old, obj, &err)) {
        fail(op, &err);
        return;
    }
    uint64_t rev = v->rev;
    guard_holder(op, old, obj);
    if (must_wait(op)) return;
    if (sp_obj_deleting(obj) && sp_may_vanish(obj)) {
        take_away(op, obj, rev);
    } else if (unchanged(op, old, obj)) {
        op->uid = sp_obj_uid(old);
        show(op, old, rev);
        conclude(op);
    } else {
        put(op, obj, rev, is_heartbeat(op, old, obj));
    }
}

static bool check_delete(sp_op *op, const sp_json *old, sp_err *err) {
    const sp_delete_options *d = &op->del;
    const sp_json *meta = sp_json_get(old, "metadata");
    if (d->uid.n && !sp_str_eq(d->uid, sp_obj_uid(old)))
        return sp_fail(err, SP_CONFLICT,
                       "Precondition failed: UID in precondition: %.*s, UID in object meta: %s",
                       SP_ARG(d->uid), sp_json_get_z(meta, "uid"));
    if (d->resource_version.n &&
        !sp_str_eq(d->resource_version, sp_json_str(sp_json_get(meta, "resourceVersion"))))
        return sp_fail(err, SP_CONFLICT,
                       "Precondition failed: ResourceVersion in precondition: %.*s, "
                       "ResourceVersion in object meta: %s",
                       SP_ARG(d->resource_version), sp_json_get_z(meta, "resourceVersion"));
    return true;
}

static void set_finalizer(sp_arena *a, sp_json *meta, const char *name, bool wanted) {
    sp_json *list = sp_json_ensure_array(a, meta, "finalizers");
    size_t i = 0;
    sp_json_each(list, f) {
        if (sp_str_eqz(sp_json_str(f), name)) break;
        i++;
    }
    bool there = i < list->count;
    if (wanted && !there) sp_json_push(list, sp_json_new_z(a, name));
    if (!wanted && there) sp_json_remove_at(list, i);
    if (!list->count) sp_json_remove(meta, "finalizers");
}

static void set_propagation(sp_op *op, sp_json *meta) {
    sp_propagation p = op->del.propagation;
    if (p == SP_PROPAGATE_DEFAULT) return;
    set_finalizer(op->arena, meta, "orphan", p == SP_PROPAGATE_ORPHAN);
    set_finalizer(op->arena, meta, "foregroundDeletion", p == SP_PROPAGATE_FOREGROUND);
}

/* Seconds a pod may take to stop: only one that runs somewhere needs any. */
static int64_t grace_of(const sp_op *op, const sp_json *old) {
    const sp_resource *row = op->served->storage;
    if (row->group[0] || strcmp(row->plural, "pods") != 0) return 0;
    sp_str phase = sp_json_str(sp_json_dig(old, "status", "phase", NULL));
    if (!sp_json_str(sp_json_dig(old, "spec", "nodeName", NULL)).n) return 0;
    if (sp_str_eqz(phase, "Succeeded") || sp_str_eqz(phase, "Failed")) return 0;
    int64_t own = sp_json_int(sp_json_dig(old, "spec", "terminationGracePeriodSeconds", NULL), 30);
    int64_t grace = op->del.grace_seconds < 0 ? own : op->del.grace_seconds;
    if (!sp_obj_deleting(old)) return grace;
    int64_t running =
        sp_json_int(sp_json_dig(old, "metadata", "deletionGracePeriodSeconds", NULL), 0);
    return op->del.grace_seconds < 0 ? running : SP_MIN(grace, running);
}

static void mark_deleted(sp_op *op, const sp_json *old, sp_json *meta, int64_t grace) {
    sp_arena *a = op->arena;
    sp_json *generation = sp_json_get(meta, "generation");
    if (generation && !sp_obj_deleting(old))
        sp_json_set_int(a, meta, "generation", sp_obj_generation(old) + 1);
    sp_json_set(a, meta, "deletionTimestamp",
                sp_json_new_time(a, sp_clock_wall_ms() + sp_ms_from_s(grace)));
    sp_json_set_int(a, meta, "deletionGracePeriodSeconds", grace);
}

static void attempt_delete(sp_op *op) {
    sp_err err = {0};
    const sp_json *old;
    sp_store_value *v = current(op, &old, &err);
    if (!v || !sp_admit_delete(op, old, &err) || !check_delete(op, old, &err)) {
        fail(op, &err);
        return;
    }
    uint64_t rev = v->rev;
    sp_json *obj = sp_json_clone(op->arena, old);
    sp_json *meta = sp_json_ensure_object(op->arena, obj, "metadata");
    int64_t grace = grace_of(op, old);
    int64_t running = sp_json_int(sp_json_get(meta, "deletionGracePeriodSeconds"), 0);
    set_propagation(op, meta);
    if (!sp_obj_deleting(old) || grace < running) mark_deleted(op, old, meta, grace);
    bool is_namespace =
        !op->served->storage->group[0] && strcmp(op->served->storage->plural, "namespaces") == 0;
    if (is_namespace && !sp_may_vanish(obj))
        sp_json_set_z(op->arena, sp_json_ensure_object(op->arena, obj, "status"), "phase",
                      "Terminating");
    if (sp_may_vanish(obj)) {
        take_away(op, old, rev);
    } else if (sp_json_equal(old, obj)) {
        op->uid = sp_obj_uid(old);
        show(op, old, rev);
        conclude(op);
    } else {
        put(op, obj, rev, false);
    }
}

static void attempt(sp_op *op) {
    sp_err err = {0};
    op->attempts++;
    op->guard_count = 0;
    op->claims = false;
    if (!fence_holds(op, &err)) {
        fail(op, &err);
        return;
    }
    switch (op->kind) {
    case SP_OP_CREATE: attempt_create(op); return;
    case SP_OP_UPDATE: attempt_update(op); return;
    case SP_OP_DELETE: attempt_delete(op); return;
    }
}

static void start(sp_op *op) {
    op->causes.arena = op->arena;
    sp_list_init(&op->link);
    if (op->name.n) op->key = sp_object_key(op->arena, op->served, op->ns, op->name);
    attempt(op);
}

void sp_op_create(sp_op *op, sp_json *obj) {
    op->kind = SP_OP_CREATE;
    op->input = obj;
    start(op);
}

void sp_op_update(sp_op *op, sp_op_change *change, void *change_ctx) {
    op->kind = SP_OP_UPDATE;
    op->change = change;
    op->change_ctx = change_ctx;
    start(op);
}

void sp_op_delete(sp_op *op, const sp_delete_options *o) {
    op->kind = SP_OP_DELETE;
    op->del = *o;
    start(op);
}
