/* ApplicationConfiguration → the objects it consists of.
 *
 * What is wanted comes from sp_oam_render, the same pure function whatever happened before. It is
 * all or nothing: while a Component is missing, something is refused or a name is taken by somebody
 * else's object, nothing is written or removed and the condition Synced says why. A child that
 * differs from what is wanted is put right; fields we do not speak of (defaults, spec.replicas
 * where an autoscaler decides) are left as they are. Children that are no longer wanted are
 * deleted: only those this application controls by UID, and only that very object.
 *
 * A hash of the rendered child is kept in an annotation of it, so that a field which is no longer
 * rendered is noticed although nothing that is rendered differs. */
#include "kube/oam.h"
#include "controllers/common.h"
#include "controllers/controllers.h"

#include <inttypes.h>
#include <stdio.h>

static const char hash_key[] = "app.oam.dev/rendered-hash";

static const sp_gvr *const child_kinds[] = {
    &sp_gvr_configmaps, &sp_gvr_deployments, &sp_gvr_services, &sp_gvr_horizontalpodautoscalers,
    &sp_oam_cronhpas,
};

/* ---------- comparing and merging ---------- */

/* Maps that are ours alone: a key more is a difference. */
static bool is_whole(sp_str key) {
    static const char *const whole[] = {"selector", "data", "requests", "limits", "nodeSelector"};
    for (size_t i = 0; i < SP_COUNT(whole); i++)
        if (sp_str_eqz(key, whole[i])) return true;
    return false;
}

static bool holds(const sp_json *is, const sp_json *wanted);

static bool holds_members(const sp_json *is, const sp_json *wanted) {
    sp_json_each(wanted, m) {
        const sp_json *there = sp_json_get_str(is, m->key);
        if (is_whole(m->key) ? !sp_json_equal(there, m) : !holds(there, m)) return false;
    }
    return true;
}

static bool holds_items(const sp_json *is, const sp_json *wanted) {
    if (is->count != wanted->count) return false;
    const sp_json *i = is->first;
    sp_json_each(wanted, w) {
        if (!holds(i, w)) return false;
        i = i->next;
    }
    return true;
}

/* Is everything of wanted in is? Lists must have the same length. */
static bool holds(const sp_json *is, const sp_json *wanted) {
    if (!is || is->type != wanted->type) return false;
    if (wanted->type == SP_JSON_OBJECT) return holds_members(is, wanted);
    if (wanted->type == SP_JSON_ARRAY) return holds_items(is, wanted);
    return sp_json_equal(is, wanted);
}

static void set_all(sp_arena *a, sp_json *to, const sp_json *from) {
    sp_json_each(from, m) sp_json_set_str(a, to, m->key, sp_json_clone(a, m));
}

static bool goes_by_field(sp_str key) {
    return sp_str_eqz(key, "spec") || sp_str_eqz(key, "metadata");
}

/* The live object with what is wanted in it: the fields of spec one by one, labels and annotations
 * one by one, everything else (data) whole. */
static sp_json *put_right(sp_arena *a, const sp_json *live, const sp_json *wanted) {
    sp_json *o = sp_json_clone(a, live);
    sp_json_each(wanted, part) {
        sp_json *is = sp_json_get_str(o, part->key);
        if (!is || !goes_by_field(part->key)) {
            sp_json_set_str(a, o, part->key, sp_json_clone(a, part));
            continue;
        }
        sp_json_each(part, field) {
            bool map = sp_str_eqz(field->key, "labels") || sp_str_eqz(field->key, "annotations");
            sp_json *old = map ? sp_json_get_str(is, field->key) : NULL;
            if (old)
                set_all(a, old, field);
            else
                sp_json_set_str(a, is, field->key, sp_json_clone(a, field));
        }
    }
    return o;
}

static uint64_t fnv1a(sp_str s) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
    return h;
}

static void add_hash(sp_arena *a, sp_json *object) {
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, object);
    sp_json *notes = sp_json_ensure_object(a, sp_json_get(object, "metadata"), "annotations");
    sp_json_set(a, notes, hash_key, sp_json_printf(a, "%016" PRIx64, fnv1a(sp_buf_str(&b))));
}

/* ---------- children ---------- */

typedef struct work {
    sp_reconcile *r;
    const sp_json *app;
    const sp_oam_world *world;
    sp_oam_children wanted;
} work;

static const sp_json *live_of(const work *w, const sp_oam_child *c) {
    return w->world->get(w->world->ctx, c->gvr, sp_obj_namespace(w->app), sp_obj_name(c->object));
}

/* Nothing is touched when one of the names belongs to somebody else. */
static bool names_are_free(const work *w, sp_err *err) {
    sp_vec_each(&w->wanted, c) {
        const sp_json *live = live_of(w, c);
        if (!live || sp_obj_controlled_by(live, w->app)) continue;
        const sp_json *owner = sp_obj_controller(live);
        return sp_fail(err, SP_CONFLICT,
                       "%s \"%.*s\" exists and belongs to %s%s%s: delete it, or give the component "
                       "another instanceName",
                       c->gvr->kind, SP_ARG(sp_obj_name(live)),
                       owner ? sp_json_get_z(owner, "kind") : "no application", owner ? " " : "",
                       owner ? sp_json_get_z(owner, "name") : "");
    }
    return true;
}

static void write_child(const work *w, const sp_oam_child *c) {
    sp_arena *a = w->r->arena;
    add_hash(a, c->object);
    const sp_json *live = live_of(w, c);
    if (!live) {
        sp_reconcile_create(w->r, c->gvr, sp_obj_namespace(w->app), c->object);
        sp_reconcile_event(w->r, w->app, "Normal", "Created", "created %s %.*s", c->gvr->kind,
                           SP_ARG(sp_obj_name(c->object)));
        return;
    }
    if (sp_obj_deleting(live)) return; /* made anew when it is gone; that change wakes us */
    if (c->foreign_replicas) sp_json_remove(sp_json_get(c->object, "spec"), "replicas");
    if (!holds(live, c->object)) sp_reconcile_update(w->r, c->gvr, put_right(a, live, c->object));
}

static bool is_wanted(const work *w, const sp_gvr *g, const sp_json *obj) {
    sp_vec_each(&w->wanted, c) if (c->gvr == g &&
                                   sp_str_eq(sp_obj_name(c->object), sp_obj_name(obj))) return true;
    return false;
}

static void remove_unwanted(const work *w, const sp_gvr *g) {
    sp_obj_list owned = {0};
    w->world->owned(w->world->ctx, g, sp_obj_uid(w->app), &owned);
    sp_vec_each(&owned, o) {
        if (is_wanted(w, g, *o) || sp_obj_deleting(*o)) continue;
        sp_reconcile_delete(w->r, g, *o, "Background");
        sp_reconcile_event(w->r, w->app, "Normal", "Removed",
                           "removed %s %.*s, which is no longer "
                           "declared",
                           g->kind, SP_ARG(sp_obj_name(*o)));
    }
    sp_vec_free(&owned);
}

/* ---------- status ---------- */

static sp_json *reference(sp_arena *a, const sp_oam_child *c) {
    sp_json *ref = sp_json_object(a);
    sp_json_set(a, ref, "apiVersion", sp_json_new_str(a, sp_gvr_api_version(a, c->gvr)));
    sp_json_set_z(a, ref, "kind", c->gvr->kind);
    sp_json_set(a, ref, "name", sp_json_new_str(a, sp_obj_name(c->object)));
    return ref;
}

static void describe_workload(const work *w, const sp_oam_child *c, sp_json *list) {
    sp_arena *a = w->r->arena;
    const sp_json *entry =
        sp_json_at(sp_json_dig(w->app, "spec", "components", NULL), c->component);
    sp_str name = sp_oam_component_name(entry);
    const sp_json *component = w->world->lookup.get(w->world->lookup.ctx, a, "core.oam.dev",
                                                    "components", sp_obj_namespace(w->app), name);
    sp_json *o = sp_json_push(list, sp_json_object(a));
    sp_json_set(a, o, "componentName", sp_json_new_str(a, name));
    sp_json_set(a, o, "componentRevisionName",
                sp_json_printf(a, "%.*s-v%" PRId64, SP_ARG(name), sp_obj_generation(component)));
    sp_json_set(a, o, "workloadRef", reference(a, c));
    sp_vec_each(&w->wanted, t) {
        if (t->trait < 0 || t->component != c->component) continue;
        sp_json *trait = sp_json_push(sp_json_ensure_array(a, o, "traits"), sp_json_object(a));
        sp_json_set(a, trait, "traitRef", reference(a, t));
    }
}

/* "nginx 0/1" of the workloads that are not complete yet. */
static void waiting_for(const work *w, sp_buf *ret) {
    sp_vec_each(&w->wanted, c) {
        if (!c->is_workload) continue;
        const sp_json *live = live_of(w, c), *status = sp_json_get(live, "status");
        int64_t want = sp_json_int(sp_json_dig(live, "spec", "replicas", NULL), 1);
        int64_t have = sp_json_int(sp_json_get(status, "availableReplicas"), 0);
        int64_t seen = sp_json_int(sp_json_get(status, "observedGeneration"), 0);
        if (live && have >= want && seen >= sp_obj_generation(live)) continue;
        sp_buf_printf(ret, "%s%.*s %" PRId64 "/%" PRId64, ret->n ? ", " : "",
                      SP_ARG(sp_obj_name(c->object)), have, want);
    }
}

static void set_ready(const work *w, sp_json *conditions, bool synced) {
    sp_auto(sp_buf) waiting = {0};
    if (synced) waiting_for(w, &waiting);
    bool ready = synced && !waiting.n;
    sp_buf text = {0};
    if (waiting.n) sp_buf_printf(&text, "available replicas: %s", waiting.p);
    sp_condition_set(w->r->arena, conditions, "Ready", ready ? "True" : "False",
                     ready    ? "Available"
                     : synced ? "Starting"
                              : "NotSynced",
                     sp_buf_z(&text), w->r->now_wall_ms);
    sp_buf_free(&text);
}

static const char *reason_of(const sp_err *err) {
    return err->code == SP_NOT_FOUND  ? "ComponentNotFound"
           : err->code == SP_CONFLICT ? "NameTaken"
                                      : "Refused";
}

static void write_status(const work *w, const sp_err *problem) {
    sp_arena *a = w->r->arena;
    const sp_json *old = sp_json_get(w->app, "status");
    sp_json *status = old && problem ? sp_json_clone(a, old) : sp_json_object(a);
    const sp_json *before = sp_json_get(old, "conditions");
    sp_json *conditions =
        sp_json_set(a, status, "conditions", before ? sp_json_clone(a, before) : sp_json_array(a));
    sp_json_set_int(a, status, "observedGeneration", sp_obj_generation(w->app));
    sp_condition_set(a, conditions, "Synced", problem ? "False" : "True",
                     problem ? reason_of(problem) : "ReconcileSuccess",
                     problem ? problem->text : "", w->r->now_wall_ms);
    set_ready(w, conditions, !problem);
    if (!problem) {
        sp_json *workloads = sp_json_ensure_array(a, status, "workloads");
        sp_vec_each(&w->wanted, c) if (c->is_workload) describe_workload(w, c, workloads);
    }
    bool changed = sp_status_write(w->r, &sp_gvr_applicationconfigurations, w->app, status);
    if (changed && problem)
        sp_reconcile_event(w->r, w->app, "Warning", reason_of(problem), "%s", problem->text);
}

/* ---------- the decisions ---------- */

void sp_oam_app_decide(sp_reconcile *r, const sp_json *app, const sp_oam_world *world) {
    if (!app || sp_obj_deleting(app)) return; /* children go by their ownerReferences */
    work w = {.r = r, .app = app, .world = world};
    sp_err problem = {0};
    r->subject = app;
    bool ok = sp_oam_render(r->arena, app, &world->lookup, &w.wanted, &problem) &&
              names_are_free(&w, &problem);
    if (ok) {
        sp_vec_each(&w.wanted, c) write_child(&w, c);
        for (size_t i = 0; i < SP_COUNT(child_kinds); i++) remove_unwanted(&w, child_kinds[i]);
    }
    write_status(&w, ok ? NULL : &problem);
    sp_vec_free(&w.wanted);
}

/* Revisions are counted, not kept: the generation rises when the spec changes. */
void sp_oam_component_decide(sp_reconcile *r, const sp_json *component) {
    if (!component || sp_obj_deleting(component)) return;
    int64_t generation = sp_obj_generation(component);
    sp_json *status = sp_json_object(r->arena);
    sp_json_set_int(r->arena, status, "observedGeneration", generation);
    sp_json *latest = sp_json_ensure_object(r->arena, status, "latestRevision");
    sp_json_set(r->arena, latest, "name",
                sp_json_printf(r->arena, "%.*s-v%" PRId64, SP_ARG(r->name), generation));
    sp_json_set_int(r->arena, latest, "revision", generation);
    sp_status_write(r, &sp_gvr_components, component, status);
}

/* ---------- connecting them to informers ---------- */

static const sp_gvr *collection(const char *plural) {
    static const sp_gvr *const read[] = {&sp_gvr_components, &sp_gvr_traitdefinitions,
                                         &sp_gvr_workloaddefinitions};
    for (size_t i = 0; i < SP_COUNT(read); i++)
        if (strcmp(read[i]->plural, plural) == 0) return read[i];
    sp_assert(false);
    return NULL;
}

static const sp_json *look_up(void *ctx, sp_arena *a, const char *group, const char *plural,
                              sp_str ns, sp_str name) {
    return sp_informer_get(sp_manager_informer(ctx, collection(plural)), ns, name);
}

static void look_at_each(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                         bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx) {
    sp_obj_list list = {0};
    sp_informer_list(sp_manager_informer(ctx, collection(plural)), ns, &list);
    sp_vec_each(&list, o) if (!fn(fn_ctx, *o)) break;
    sp_vec_free(&list);
}

static const sp_json *get_child(void *ctx, const sp_gvr *g, sp_str ns, sp_str name) {
    return sp_informer_get(sp_manager_informer(ctx, g), ns, name);
}

static void owned_children(void *ctx, const sp_gvr *g, sp_str uid, sp_obj_list *ret) {
    sp_informer_owned(sp_manager_informer(ctx, g), uid, ret);
}

static bool reconcile_app(void *ctx, sp_reconcile *r, sp_err *err) {
    const sp_oam_world world = {.lookup = {ctx, look_up, look_at_each},
                                .ctx = ctx,
                                .get = get_child,
                                .owned = owned_children};
    const sp_gvr *g = &sp_gvr_applicationconfigurations;
    sp_oam_app_decide(r, sp_informer_get(sp_manager_informer(ctx, g), r->ns, r->name), &world);
    return true;
}

static bool reconcile_component(void *ctx, sp_reconcile *r, sp_err *err) {
    const sp_gvr *g = &sp_gvr_components;
    sp_oam_component_decide(r, sp_informer_get(sp_manager_informer(ctx, g), r->ns, r->name));
    return true;
}

static bool uses(const sp_json *app, sp_str component) {
    sp_json_each(sp_json_dig(app, "spec", "components", NULL),
                 entry) if (sp_str_eq(sp_oam_component_name(entry), component)) return true;
    return false;
}

static void wake_users(void *ctx, sp_controller *c, const sp_json *component) {
    sp_obj_list apps = {0};
    sp_informer_list(sp_manager_informer(ctx, &sp_gvr_applicationconfigurations),
                     sp_obj_namespace(component), &apps);
    sp_vec_each(&apps, app) if (uses(*app, sp_obj_name(component)))
        sp_controller_enqueue_object(c, *app);
    sp_vec_free(&apps);
}

static void wake_all(void *ctx, sp_controller *c, const sp_json *definition) {
    sp_obj_list apps = {0};
    sp_informer_list(sp_manager_informer(ctx, &sp_gvr_applicationconfigurations), (sp_str){0},
                     &apps);
    sp_vec_each(&apps, app) sp_controller_enqueue_object(c, *app);
    sp_vec_free(&apps);
}

void sp_add_oam(sp_manager *m) {
    sp_controller *apps = sp_controller_new(m, "oam", reconcile_app, m);
    sp_controller_for(apps, &sp_gvr_applicationconfigurations);
    for (size_t i = 0; i < SP_COUNT(child_kinds); i++)
        sp_controller_owns(apps, child_kinds[i], "ApplicationConfiguration");
    sp_controller_watch(apps, &sp_gvr_components, wake_users, m);
    sp_controller_watch(apps, &sp_gvr_traitdefinitions, wake_all, m);
    sp_controller_watch(apps, &sp_gvr_workloaddefinitions, wake_all, m);
    sp_controller *components = sp_controller_new(m, "oam-component", reconcile_component, m);
    sp_controller_for(components, &sp_gvr_components);
}
