/* The registry follows the stored CRDs by a watch of the store, whose events come before the
 * writer's answer: a CRD that was acknowledged is served.
 *
 * Deletion: a CRD carries a finalizer of ours. When it is marked deleted, a cleaner removes all its
 * objects (those with finalizers stay until others are done with them), then the finalizer. */
#include "apiserver/crd.h"

#include "apiserver/crd_rows.h"
#include "apiserver/server.h"
#include "base/clock.h"
#include "base/log.h"

#include <ctype.h>

#define CLEANUP_FINALIZER "customresourcecleanup.apiextensions.k8s.io"
#define CRD_GROUP "apiextensions.k8s.io"
#define CRD_PREFIX "/registry/" CRD_GROUP "/customresourcedefinitions/"

struct sp_crds {
    sp_apiserver *s;
    sp_store_watch *watch;
    sp_list cleaners;
};

bool sp_is_crd_row(const sp_resource *row) {
    return strcmp(row->plural, "customresourcedefinitions") == 0 &&
           strcmp(row->group, CRD_GROUP) == 0;
}

/* ---------- before it is stored ---------- */

static void fill_names(sp_arena *a, sp_json *names) {
    const char *kind = sp_json_get_z(names, "kind");
    if (!sp_json_get(names, "listKind"))
        sp_json_set(a, names, "listKind", sp_json_printf(a, "%sList", kind));
    if (sp_json_get(names, "singular")) return;
    char *lower = sp_arena_strz(a, sp_str_z(kind));
    for (char *c = lower; *c; c++) *c = (char)tolower((unsigned char)*c);
    sp_json_set_z(a, names, "singular", lower);
}

static void add_once(sp_arena *a, sp_json *list, const char *text) {
    sp_json_each(list, it) if (sp_str_eqz(sp_json_str(it), text)) return;
    sp_json_push(list, sp_json_new_z(a, text));
}

/* Another owner of the same group has the plural, singular or kind: its name, else NULL. */
static const sp_resource *names_taken(sp_op *op, const sp_json *crd) {
    const sp_json *names = sp_json_dig(crd, "spec", "names", NULL);
    const char *group =
        sp_json_dig(crd, "spec", NULL) ? sp_json_get_z(sp_json_get(crd, "spec"), "group") : "";
    const sp_resource *const *rows = sp_registry_rows(op->s->registry);
    for (size_t i = 0; i < sp_registry_count(op->s->registry); i++) {
        const sp_resource *r = rows[i];
        bool own = r->is_crd && strcmp(r->plural, sp_json_get_z(names, "plural")) == 0;
        if (own || strcmp(r->group, group) != 0) continue;
        if (strcmp(r->kind, sp_json_get_z(names, "kind")) == 0 ||
            strcmp(r->plural, sp_json_get_z(names, "plural")) == 0 ||
            strcmp(r->singular, sp_json_get_z(names, "singular")) == 0)
            return r;
    }
    return NULL;
}

static void fill_status(sp_op *op, sp_json *crd) {
    sp_arena *a = op->arena;
    int64_t now = sp_clock_wall_ms();
    sp_json *status = sp_json_ensure_object(a, crd, "status");
    sp_json *conditions = sp_json_ensure_array(a, status, "conditions");
    const sp_resource *taken = names_taken(op, crd);
    sp_json *names = sp_json_dig(crd, "spec", "names", NULL);
    if (taken) {
        sp_str why = sp_arena_printf(a, "the kind %s (%s) of group %s is already in use",
                                     taken->kind, taken->plural, taken->group);
        sp_condition_set(a, conditions, "NamesAccepted", "False", "NameConflict", why.p, now);
        sp_condition_set(a, conditions, "Established", "False", "NotAccepted",
                         "not all names are accepted", now);
        return;
    }
    sp_condition_set(a, conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found",
                     now);
    sp_condition_set(a, conditions, "Established", "True", "InitialNamesAccepted",
                     "the initial names have been accepted", now);
    sp_json_set(a, status, "acceptedNames", sp_json_clone(a, names));
    sp_json *stored = sp_json_ensure_array(a, status, "storedVersions");
    sp_json_each(sp_json_dig(crd, "spec", "versions", NULL), v) {
        if (sp_json_bool(sp_json_get(v, "storage"), false))
            add_once(a, stored, sp_json_get_z(v, "name"));
    }
}

static void check_unchanged(sp_op *op, const sp_json *old, const sp_json *crd) {
    static const char *const fixed[] = {"group", "scope"};
    for (size_t i = 0; old && i < SP_COUNT(fixed); i++) {
        const sp_json *before = sp_json_dig(old, "spec", fixed[i], NULL);
        if (sp_json_equal(before, sp_json_dig(crd, "spec", fixed[i], NULL))) continue;
        sp_causes_add(&op->causes, "FieldValueInvalid",
                      sp_arena_printf(op->arena, "spec.%s", fixed[i]),
                      "Invalid value: field is immutable");
    }
}

/* What a schema says and we do not check is told to whoever applies it: one line per version. */
static void warn_unenforced(sp_op *op, const sp_json *crd) {
    size_t i = 0;
    sp_json_each(sp_json_dig(crd, "spec", "versions", NULL), v) {
        sp_auto(sp_causes) found = {.arena = op->arena};
        const sp_json *schema = sp_json_dig(v, "schema", "openAPIV3Schema", NULL);
        sp_str at = sp_arena_printf(op->arena, "spec.versions[%zu].schema.openAPIV3Schema", i++);
        if (schema) sp_schema_unenforced(schema, at, &found);
        if (!found.list.n) continue;
        sp_vec_push(&op->warnings,
                    sp_arena_printf(op->arena, "%.*s: %.*s; places in this version: %zu",
                                    SP_ARG(found.list.p[0].field), SP_ARG(found.list.p[0].message),
                                    found.list.n));
    }
}

void sp_crd_admit(sp_op *op, const sp_json *old, sp_json *crd) {
    sp_arena *a = op->arena;
    sp_json *spec = sp_json_get(crd, "spec");
    if (sp_str_eqz(op->sub, "status") || !sp_json_is(sp_json_get(spec, "names"), SP_JSON_OBJECT) ||
        (old && sp_obj_deleting(old)))
        return;
    if (!sp_json_get(spec, "conversion"))
        sp_json_set_z(a, sp_json_ensure_object(a, spec, "conversion"), "strategy", "None");
    fill_names(a, sp_json_get(spec, "names"));
    check_unchanged(op, old, crd);
    sp_crd_check(a, crd, &op->causes);
    if (op->causes.list.n) return;
    warn_unenforced(op, crd);
    op->claims = true; /* its names */
    fill_status(op, crd);
    sp_json *meta = sp_json_get(crd, "metadata");
    add_once(a, sp_json_ensure_array(a, meta, "finalizers"), CLEANUP_FINALIZER);
}

bool sp_crd_allows_create(sp_op *op, sp_err *err) {
    const sp_resource *row = op->served->row;
    if (!row->is_crd) return true;
    sp_str key = sp_arena_printf(op->arena, CRD_PREFIX "%s.%s", row->plural, row->group);
    sp_store_value *v = sp_store_get_latest(op->s->store, key);
    const sp_resource *crd_row = sp_registry_find(op->s->registry, SP_STR(CRD_GROUP), SP_STR("v1"),
                                                  SP_STR("customresourcedefinitions"));
    if (v) sp_op_guard(op, key, v);
    if (v && (!crd_row || !sp_value_facts(v, crd_row)->deleting)) return true;
    return sp_fail(err, SP_METHOD_NOT_ALLOWED,
                   "create not allowed while custom resource definition is terminating");
}

/* ---------- cleaning up ---------- */

typedef struct cleaner {
    sp_list link;
    struct sp_crds *crds;
    sp_arena *arena;
    sp_str name; /* of the CRD */
    sp_served *served, *crd_served;
    sp_store_watch *watch;
    size_t running; /* operations on their way */
    bool again, gone;
} cleaner;

static void sweep(cleaner *c);

static void cleaner_free(cleaner *c) {
    c->gone = true;
    sp_list_remove(&c->link);
    if (c->watch) c->watch = sp_store_watch_stop(c->watch);
    if (c->running) return; /* the last operation comes back here */
    sp_served_unref(c->served);
    sp_served_unref(c->crd_served);
    sp_arena_free(c->arena);
}

static sp_op *cleaner_op(cleaner *c, sp_served *served, sp_op_done *done) {
    sp_arena *a = sp_arena_new();
    sp_op *op = SP_NEW(a, sp_op);
    *op = (sp_op){.s = c->crds->s,
                  .served = sp_served_ref(served),
                  .arena = a,
                  .user = SP_STR("system:apiserver"),
                  .done = done,
                  .ctx = c};
    c->running++;
    return op;
}

static void op_over(sp_op *op) {
    cleaner *c = op->ctx;
    bool failed = op->err.code && op->err.code != SP_NOT_FOUND;
    if (failed)
        sp_warn("clean-up of a deleted CRD", SP_KV("crd", c->name), SP_KV("reason", op->err.text));
    sp_op_cleanup(op);
    sp_arena_free(op->arena);
    c->running--;
    if (c->gone)
        cleaner_free(c);
    else if (!c->running && c->again)
        sweep(c);
}

static bool without_finalizer(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    (void)err;
    sp_json *obj = sp_json_clone(op->arena, old);
    sp_json *list = sp_json_dig(obj, "metadata", "finalizers", NULL);
    size_t i = 0;
    sp_json_each(list, f) {
        if (sp_str_eqz(sp_json_str(f), CLEANUP_FINALIZER)) {
            sp_json_remove_at(list, i);
            break;
        }
        i++;
    }
    *ret = obj;
    return true;
}

static bool delete_one(void *ctx, sp_str key, sp_store_value *v) {
    cleaner *c = ctx;
    if (sp_value_facts(v, c->served->storage)->deleting) return true;
    sp_op *op = cleaner_op(c, c->served, op_over);
    sp_str rest = sp_arena_str(op->arena, sp_str_from(key, c->served->prefix.n));
    ptrdiff_t slash = sp_str_chr(rest, '/');
    op->ns = slash < 0 ? SP_STR("") : sp_str_sub(rest, 0, (size_t)slash);
    op->name = sp_str_from(rest, (size_t)(slash + 1));
    sp_op_delete(op, &(sp_delete_options){.grace_seconds = -1});
    return true;
}

static void sweep(cleaner *c) {
    sp_store *store = c->crds->s->store;
    c->again = false;
    if (c->served && sp_store_count(store, c->served->prefix)) {
        c->running++; /* keeps op_over from starting over inside the walk */
        (void)!sp_store_range(store, c->served->prefix, SP_STR(""), 0, delete_one, c, NULL);
        c->running--;
        return;
    }
    sp_op *op = cleaner_op(c, c->crd_served, op_over);
    op->name = sp_arena_str(op->arena, c->name);
    sp_op_update(op, without_finalizer, NULL);
}

static void on_object(void *ctx, sp_store_event *e) {
    cleaner *c = ctx;
    if (e->type != SP_STORE_REMOVED) return;
    if (c->running)
        c->again = true;
    else if (!sp_store_count(c->crds->s->store, c->served->prefix))
        sweep(c);
}

static cleaner *find_cleaner(struct sp_crds *crds, sp_str name) {
    sp_list_each(&crds->cleaners, it) {
        cleaner *c = SP_CONTAINER(it, cleaner, link);
        if (sp_str_eq(c->name, name)) return c;
    }
    return NULL;
}

static sp_served *any_version(sp_apiserver *s, const sp_json *crd) {
    const sp_json *spec = sp_json_get(crd, "spec");
    sp_json_each(sp_json_get(spec, "versions"), v) {
        sp_served *found =
            sp_registry_served(s->registry, sp_json_str(sp_json_get(spec, "group")),
                               sp_json_str(sp_json_get(v, "name")),
                               sp_json_str(sp_json_dig(spec, "names", "plural", NULL)));
        if (found && found->row->is_crd) return found;
    }
    return NULL;
}

static void start_cleaner(struct sp_crds *crds, const sp_json *crd) {
    if (find_cleaner(crds, sp_obj_name(crd))) return;
    sp_apiserver *s = crds->s;
    sp_arena *a = sp_arena_new();
    cleaner *c = SP_NEW(a, cleaner);
    c->crds = crds;
    c->arena = a;
    c->name = sp_arena_str(a, sp_obj_name(crd));
    c->served = sp_served_ref(any_version(s, crd));
    c->crd_served = sp_served_ref(sp_registry_served(s->registry, SP_STR(CRD_GROUP), SP_STR("v1"),
                                                     SP_STR("customresourcedefinitions")));
    sp_list_append(&crds->cleaners, &c->link);
    if (c->served && !sp_store_watch_start(s->store, c->served->prefix, sp_store_revision(s->store),
                                           on_object, c, &c->watch, NULL))
        c->watch = NULL;
    sweep(c);
}

/* ---------- following the stored ones ---------- */

static void serve(struct sp_crds *crds, const sp_store_value *v) {
    sp_arena *a = sp_arena_new();
    sp_json *crd;
    sp_row_list rows = {0};
    sp_err err = {0};
    bool ok =
        sp_json_parse(a, sp_blob_str(v->bytes), &crd, &err) && sp_crd_rows(a, crd, &rows, &err);
    if (!ok) sp_warn("a stored CRD cannot be served", SP_KV("reason", err.text));
    bool keep = false;
    if (ok && !sp_condition_is_true(crd, "Established")) {
        sp_registry_remove_crd(crds->s->registry, sp_obj_name(crd));
    } else if (ok) {
        /* One that is being deleted stays as it was served, until it is gone. */
        keep = !sp_obj_deleting(crd) || !any_version(crds->s, crd);
        if (keep) sp_registry_put_crd(crds->s->registry, sp_obj_name(crd), rows.p, rows.n, a);
        if (sp_obj_deleting(crd)) start_cleaner(crds, crd);
    }
    if (!keep) sp_arena_free(a);
    sp_vec_free(&rows);
}

static void on_crd(void *ctx, sp_store_event *e) {
    struct sp_crds *crds = ctx;
    if (e->type != SP_STORE_REMOVED) {
        serve(crds, e->value);
        return;
    }
    sp_str name = sp_str_from(e->key, strlen(CRD_PREFIX));
    cleaner *c = find_cleaner(crds, name);
    if (c && c->served) sp_watch_hub_end_kind(crds->s->hub, c->served->prefix);
    sp_registry_remove_crd(crds->s->registry, name);
    if (c) cleaner_free(c);
}

static bool load(void *ctx, sp_str key, sp_store_value *v) {
    (void)key;
    serve(ctx, v);
    return true;
}

bool sp_crds_start(sp_apiserver *s, sp_err *err) {
    struct sp_crds *crds = sp_zalloc(1, sizeof *crds);
    crds->s = s;
    sp_list_init(&crds->cleaners);
    s->crds = crds;
    sp_str prefix = SP_STR(CRD_PREFIX);
    return sp_store_range(s->store, prefix, SP_STR(""), 0, load, crds, err) &&
           sp_store_watch_start(s->store, prefix, sp_store_revision(s->store), on_crd, crds,
                                &crds->watch, err);
}

void sp_crds_stop(sp_apiserver *s) {
    struct sp_crds *crds = s->crds;
    if (!crds) return;
    if (crds->watch) sp_store_watch_stop(crds->watch);
    sp_list_each(&crds->cleaners, it) cleaner_free(SP_CONTAINER(it, cleaner, link));
    s->crds = NULL;
    free(crds);
}
