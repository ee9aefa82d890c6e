#include "apiserver/admit.h"

#include "apiserver/crd.h"
#include "apiserver/server.h"
#include "base/clock.h"
#include "base/rng.h"
#include "data/time.h"
#include "iam/join_token.h"

#include <stdio.h>

/* ---------- what body and URL must agree on ---------- */

static bool check_type(sp_op *op, const sp_json *obj, sp_err *err) {
    const sp_served *v = op->served;
    sp_str api = sp_json_str(sp_json_get(obj, "apiVersion"));
    sp_str kind = sp_json_str(sp_json_get(obj, "kind"));
    if (api.n && !sp_str_eq(api, v->api_version))
        return sp_fail(err, SP_BAD_REQUEST,
                       "the API version in the data (%.*s) does not match the expected API version "
                       "(%.*s)",
                       SP_ARG(api), SP_ARG(v->api_version));
    if (kind.n && !sp_str_eqz(kind, v->row->kind))
        return sp_fail(err, SP_BAD_REQUEST,
                       "the kind in the data (%.*s) does not match the expected kind (%s)",
                       SP_ARG(kind), v->row->kind);
    return true;
}

static bool check_namespace(sp_op *op, sp_json *meta, sp_err *err) {
    sp_str ns = sp_json_str(sp_json_get(meta, "namespace"));
    if (!op->served->row->namespaced) {
        sp_json_remove(meta, "namespace");
        return true;
    }
    if (ns.n && !sp_str_eq(ns, op->ns))
        return sp_fail(err, SP_BAD_REQUEST,
                       "the namespace of the provided object does not match the namespace sent on "
                       "the request (%.*s and %.*s)",
                       SP_ARG(ns), SP_ARG(op->ns));
    sp_json_set(op->arena, meta, "namespace", sp_json_new_str(op->arena, op->ns));
    return true;
}

static bool check_shape(sp_op *op, sp_json *obj, sp_err *err) {
    if (!sp_json_is(obj, SP_JSON_OBJECT))
        return sp_fail(err, SP_BAD_REQUEST, "the body must be an object, not %s",
                       sp_json_type_name(obj));
    const sp_json *meta = sp_json_get(obj, "metadata");
    if (meta && meta->type != SP_JSON_OBJECT && meta->type != SP_JSON_NULL)
        return sp_fail_field(err, SP_BAD_REQUEST, "metadata", "metadata must be an object");
    return check_type(op, obj, err);
}

static bool refuse_terminating(sp_op *op, const char *plural, sp_err *err) {
    sp_causes_add(&op->causes, "NamespaceTerminating", SP_STR("metadata.namespace"),
                  "namespace %.*s is being terminated", SP_ARG(op->ns));
    return sp_fail(
        err, SP_FORBIDDEN,
        "%s \"%.*s\" is forbidden: unable to create new content in namespace %.*s because "
        "it is being terminated",
        plural, SP_ARG(op->name), SP_ARG(op->ns));
}

static bool check_namespace_exists(sp_op *op, sp_err *err) {
    if (!op->served->row->namespaced) return true;
    sp_str key = sp_arena_printf(op->arena, "/registry/core/namespaces/%.*s", SP_ARG(op->ns));
    sp_store_value *v = sp_store_get_latest(op->s->store, key);
    if (!v) return sp_fail(err, SP_NOT_FOUND, "namespaces \"%.*s\" not found", SP_ARG(op->ns));
    sp_op_guard(op, key, v);
    const sp_resource *row =
        sp_registry_find(op->s->registry, SP_STR(""), SP_STR("v1"), SP_STR("namespaces"));
    if (!row || !sp_value_facts(v, row)->deleting) return true;
    return refuse_terminating(op, op->served->row->plural, err);
}

/* ---------- what lets machines in ---------- */

static bool is_join_token(const sp_op *op, const sp_json *obj) {
    const sp_resource *row = op->served->storage;
    if (row->group[0] || strcmp(row->plural, "secrets") != 0) return false;
    bool named =
        sp_str_eqz(op->ns, SP_JOIN_NAMESPACE) && sp_str_starts(op->name, SP_STR(SP_JOIN_PREFIX));
    return named || sp_str_eqz(sp_json_str(sp_json_get(obj, "type")), SP_JOIN_TYPE);
}

/* Whoever could write one would get the keys of the CA for it (cluster.h). They may be read: what
 * is kept of a token lets nobody in. */
static bool check_join_token(const sp_op *op, const sp_json *obj, sp_err *err) {
    if (op->master || !is_join_token(op, obj)) return true;
    return sp_fail(err, SP_FORBIDDEN,
                   "secrets \"%.*s\" is forbidden: User \"%.*s\" cannot change tokens that let "
                   "machines join (Secrets of type " SP_JOIN_TYPE ", and " SP_JOIN_PREFIX
                   "… of " SP_JOIN_NAMESPACE "): only system:masters may",
                   SP_ARG(op->name), SP_ARG(op->user));
}

/* ---------- unknown fields ---------- */

static bool prune(sp_op *op, sp_json *obj, sp_err *err) {
    const sp_schema *schema = op->served->row->schema;
    if (!schema) return true;
    sp_auto(sp_causes) unknown = {.arena = op->arena};
    sp_schema_prune(schema, obj, SP_STR(""), &unknown);
    if (!unknown.list.n || op->validation == SP_FIELDS_IGNORE) return true;
    if (op->validation == SP_FIELDS_WARN) {
        sp_vec_each(&unknown.list, c) sp_vec_push(&op->warnings, c->message);
        return true;
    }
    sp_auto(sp_buf) text = {0};
    sp_vec_each(&unknown.list, c) {
        if (text.n) sp_buf_addz(&text, ", ");
        sp_buf_add(&text, c->message);
    }
    return sp_fail(err, SP_BAD_REQUEST,
                   "%s in version \"%s\" cannot be handled as a %s: strict decoding error: %s",
                   op->served->row->kind, op->served->row->version, op->served->row->kind,
                   sp_buf_z(&text));
}

/* ---------- defaults, hooks, validation ---------- */

static const sp_json *lookup(void *ctx, sp_arena *a, const char *group, const char *plural,
                             sp_str ns, sp_str name) {
    return sp_lookup_latest(ctx, a, group, plural, ns, name);
}

/* Hooks look at values: they can add what they find to missing fields and unknown words, but
 * nothing sensible where a type is wrong. */
static bool types_are_right(const sp_causes *causes) {
    for (size_t i = 0; i < causes->list.n; i++)
        if (strcmp(causes->list.p[i].reason, "FieldValueTypeInvalid") == 0) return false;
    return true;
}

static bool run_hooks(sp_op *op, const sp_json *old, sp_json *obj, sp_err *err) {
    const sp_resource *row = op->served->row;
    sp_admit a = {.arena = op->arena,
                  .resource = row,
                  .old = old,
                  .obj = obj,
                  .subresource = op->sub,
                  .user = op->user,
                  .dry_run = op->dry_run,
                  .causes = &op->causes,
                  .warnings = &op->warnings,
                  .lookup_ctx = op->s,
                  .lookup = lookup,
                  .lookup_each = sp_lookup_each_latest};
    if (row->schema) sp_schema_default(op->arena, row->schema, obj);
    if (row->prepare && !row->prepare(&a, err)) return false;
    bool shaped = !row->schema || sp_schema_validate(row->schema, obj, SP_STR(""), &op->causes);
    if (!sp_validate_meta(&a, err)) return false;
    bool typed = shaped || types_are_right(&op->causes);
    if (typed && row->validate && !row->validate(&a, err)) return false;
    op->claims = a.claims;
    if (shaped && sp_is_crd_row(row)) sp_crd_admit(op, old, obj);
    if (op->causes.list.n) return sp_fail(err, SP_INVALID, "the object is not valid");
    return true;
}

/* ---------- create ---------- */

static const char *const set_by_server[] = {
    "uid",        "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
    "generation", "resourceVersion",   "selfLink",          "managedFields"};

static bool give_name(sp_op *op, sp_json *meta, sp_err *err) {
    sp_arena *a = op->arena;
    const sp_json *given = sp_json_get(meta, "name");
    sp_str name = sp_json_str(given);
    sp_str base = sp_json_str(sp_json_get(meta, "generateName"));
    if (given && given->type != SP_JSON_STRING && given->type != SP_JSON_NULL) {
        sp_causes_add(&op->causes, "FieldValueTypeInvalid", SP_STR("metadata.name"),
                      "Invalid value: \"%s\": must be of type string: write it in quotes",
                      sp_json_type_name(given));
        return sp_fail(err, SP_INVALID, "the name is no string");
    }
    if (!name.n && op->name.n && op->kind == SP_OP_CREATE && !base.n) name = op->name;
    if (!name.n && base.n) {
        char suffix[6];
        sp_rng_suffix(suffix, 5);
        name = sp_arena_printf(a, "%.*s%s", (int)SP_MIN(base.n, 58u), base.p, suffix);
        op->generated = name;
    }
    if (!name.n) {
        sp_causes_add(&op->causes, "FieldValueRequired", SP_STR("metadata.name"),
                      "Required value: name or generateName is required");
        return sp_fail(err, SP_INVALID, "name or generateName is required");
    }
    sp_json_set(a, meta, "name", sp_json_new_str(a, name));
    op->name = sp_arena_str(a, name);
    return true;
}

static void fill_metadata(sp_op *op, sp_json *meta) {
    sp_arena *a = op->arena;
    for (size_t i = 0; i < SP_COUNT(set_by_server); i++) sp_json_remove(meta, set_by_server[i]);
    char uid[37];
    sp_rng_uuid(uid);
    sp_json_set_z(a, meta, "uid", uid);
    if (op->served->row->counts_generation) sp_json_set_int(a, meta, "generation", 1);
    sp_json_set(a, meta, "creationTimestamp", sp_json_new_time(a, sp_clock_wall_ms()));
}

/* Nodes register with their status; every other kind starts without one. */
static bool keeps_status_on_create(const sp_resource *row) {
    return !row->status_is_subresource || (!row->group[0] && strcmp(row->plural, "nodes") == 0);
}

static bool is_of_namespaces(const sp_op *op) {
    const sp_resource *row = op->served->row;
    return !row->group[0] && strcmp(row->plural, "namespaces") == 0;
}

/* A namespace lives until the namespace controller has emptied it and takes this finalizer off. */
static void begin_namespace(sp_op *op, sp_json *obj) {
    if (!is_of_namespaces(op)) return;
    sp_json *list = sp_json_ensure_array(op->arena, sp_json_ensure_object(op->arena, obj, "spec"),
                                         "finalizers");
    if (!list->count) sp_json_push(list, sp_json_new_z(op->arena, "kubernetes"));
    sp_json_set_z(op->arena, sp_json_ensure_object(op->arena, obj, "status"), "phase", "Active");
}

bool sp_admit_create(sp_op *op, sp_json *obj, sp_err *err) {
    if (!check_shape(op, obj, err)) return false;
    sp_json *meta = sp_json_ensure_object(op->arena, obj, "metadata");
    if (sp_json_str(sp_json_get(meta, "resourceVersion")).n)
        return sp_fail(err, SP_BAD_REQUEST,
                       "resourceVersion should not be set on objects to be created");
    if (!check_namespace(op, meta, err) || !prune(op, obj, err)) return false;
    if (!give_name(op, meta, err) || !check_join_token(op, obj, err)) return false;
    if (!check_namespace_exists(op, err)) return false;
    if (!sp_crd_allows_create(op, err)) return false;
    fill_metadata(op, meta);
    if (!keeps_status_on_create(op->served->row)) sp_json_remove(obj, "status");
    begin_namespace(op, obj);
    return run_hooks(op, NULL, obj, err);
}

/* ---------- update ---------- */

static bool check_preconditions(sp_op *op, const sp_json *old, const sp_json *meta, sp_err *err) {
    sp_str rv = sp_json_str(sp_json_get(meta, "resourceVersion"));
    sp_str uid = sp_json_str(sp_json_get(meta, "uid"));
    const sp_json *before = sp_json_get(old, "metadata");
    const sp_resource *row = op->served->row;
    if (uid.n && !sp_str_eq(uid, sp_json_str(sp_json_get(before, "uid"))))
        return sp_fail(
            err, SP_CONFLICT,
            "Operation cannot be fulfilled on %s%s%s \"%.*s\": Precondition failed: UID in "
            "precondition: %.*s, UID in object meta: %s",
            row->plural, row->group[0] ? "." : "", row->group, SP_ARG(op->name), SP_ARG(uid),
            sp_json_get_z(before, "uid"));
    if (rv.n && !sp_str_eqz(rv, "0") &&
        !sp_str_eq(rv, sp_json_str(sp_json_get(before, "resourceVersion"))))
        return sp_fail(err, SP_CONFLICT,
                       "Operation cannot be fulfilled on %s%s%s \"%.*s\": the object has been "
                       "modified; please apply your changes to the latest version and try again",
                       row->plural, row->group[0] ? "." : "", row->group, SP_ARG(op->name));
    return true;
}

static bool check_name(sp_op *op, const sp_json *meta, sp_err *err) {
    const sp_json *name = sp_json_get(meta, "name");
    if (!name || sp_str_eq(sp_json_str(name), op->name)) return true;
    return sp_fail(err, SP_BAD_REQUEST,
                   "the name of the object (%s) does not match the name on the URL (%.*s)",
                   sp_json_z(name), SP_ARG(op->name));
}

/* What the client cannot change is taken over from the stored object. */
static void keep_metadata(sp_op *op, const sp_json *old, sp_json *meta) {
    static const char *const kept[] = {"name",
                                       "namespace",
                                       "uid",
                                       "resourceVersion",
                                       "creationTimestamp",
                                       "deletionTimestamp",
                                       "deletionGracePeriodSeconds",
                                       "generation"};
    const sp_json *before = sp_json_get(old, "metadata");
    sp_json_remove(meta, "managedFields");
    sp_json_remove(meta, "selfLink");
    for (size_t i = 0; i < SP_COUNT(kept); i++) {
        const sp_json *v = sp_json_get(before, kept[i]);
        if (v)
            sp_json_set(op->arena, meta, kept[i], sp_json_clone(op->arena, v));
        else
            sp_json_remove(meta, kept[i]);
    }
}

static void set_or_remove(sp_arena *a, sp_json *obj, const char *key, const sp_json *value) {
    if (value)
        sp_json_set(a, obj, key, sp_json_clone(a, value));
    else
        sp_json_remove(obj, key);
}

/* Leaves in obj only what this URL may change: everything but the status, or nothing but it. */
static void respect_subresource(sp_op *op, const sp_json *old, sp_json *obj) {
    bool status = sp_str_eqz(op->sub, "status");
    if (status) {
        sp_json *wanted = sp_json_get(obj, "status");
        sp_json_assign(obj, sp_json_clone(op->arena, old));
        set_or_remove(op->arena, obj, "status", wanted);
    } else if (op->served->row->status_is_subresource) {
        set_or_remove(op->arena, obj, "status", sp_json_get(old, "status"));
    }
}

static bool same_spec(const sp_json *a, const sp_json *b) {
    sp_json_each(a, m) {
        if (sp_str_eqz(m->key, "metadata") || sp_str_eqz(m->key, "status")) continue;
        const sp_json *twin = sp_json_get_str(b, m->key);
        if (!twin || !sp_json_equal(m, twin)) return false;
    }
    return true;
}

static void count_generation(sp_op *op, const sp_json *old, sp_json *obj) {
    if (!op->served->row->counts_generation) return;
    sp_json_set(op->arena, obj, "apiVersion",
                sp_json_clone(op->arena, sp_json_get(old, "apiVersion")));
    if (same_spec(old, obj) && same_spec(obj, old)) return;
    sp_json *meta = sp_json_get(obj, "metadata");
    sp_json_set_int(op->arena, meta, "generation", sp_obj_generation(old) + 1);
}

static bool check_finalizers(sp_op *op, const sp_json *old, const sp_json *obj, sp_err *err) {
    if (!sp_obj_deleting(old)) return true;
    sp_json_each(sp_json_dig(obj, "metadata", "finalizers", NULL), f) {
        if (sp_obj_has_finalizer(old, sp_json_z(f))) continue;
        sp_causes_add(&op->causes, "FieldValueForbidden", SP_STR("metadata.finalizers"),
                      "Forbidden: no new finalizers can be added if the object is being deleted, "
                      "found new finalizer \"%s\"",
                      sp_json_z(f));
    }
    return op->causes.list.n == 0 || sp_fail(err, SP_INVALID, "a finalizer cannot be added");
}

bool sp_admit_update(sp_op *op, const sp_json *old, sp_json *obj, sp_err *err) {
    if (!check_shape(op, obj, err)) return false;
    if (!check_join_token(op, old, err) || !check_join_token(op, obj, err)) return false;
    sp_json *meta = sp_json_ensure_object(op->arena, obj, "metadata");
    if (!check_name(op, meta, err) || !check_namespace(op, meta, err)) return false;
    if (!check_preconditions(op, old, meta, err) || !prune(op, obj, err)) return false;
    keep_metadata(op, old, meta);
    respect_subresource(op, old, obj);
    if (!check_finalizers(op, old, obj, err)) return false;
    if (!run_hooks(op, old, obj, err)) return false;
    count_generation(op, old, obj);
    return true;
}

/* ---------- deletion ---------- */

/* As the admission plugin NamespaceLifecycle: without these nothing works, and they would be made
 * again at once. */
static bool check_lasting(const sp_op *op, sp_err *err) {
    static const char *const lasting[] = {"default", "kube-system", "kube-public"};
    if (!is_of_namespaces(op)) return true;
    for (size_t i = 0; i < SP_COUNT(lasting); i++)
        if (sp_str_eqz(op->name, lasting[i]))
            return sp_fail(err, SP_FORBIDDEN,
                           "namespaces \"%s\" is forbidden: this namespace may not be deleted",
                           lasting[i]);
    return true;
}

bool sp_admit_delete(const sp_op *op, const sp_json *old, sp_err *err) {
    return check_lasting(op, err) && check_join_token(op, old, err);
}

bool sp_may_vanish(const sp_json *obj) {
    const sp_json *meta = sp_json_get(obj, "metadata");
    const sp_json *finalizers = sp_json_get(meta, "finalizers");
    const sp_json *of_namespace = sp_json_dig(obj, "spec", "finalizers", NULL);
    if (finalizers && finalizers->count) return false;
    if (sp_str_eqz(sp_obj_kind(obj), "Namespace") && of_namespace && of_namespace->count)
        return false;
    return sp_json_int(sp_json_get(meta, "deletionGracePeriodSeconds"), 0) == 0;
}
