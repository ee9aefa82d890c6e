/* What a decision function fills in. */
#include "base/clock.h"
#include "kube/controller.h"
#include "kube/events.h"

#include <stdarg.h>
#include <stdio.h>

sp_reconcile *sp_reconcile_new(sp_str key) {
    sp_reconcile *r = sp_zalloc(1, sizeof *r);
    r->arena = sp_arena_new();
    r->key = sp_arena_str(r->arena, key);
    sp_key_split(r->key, &r->ns, &r->name);
    r->now_wall_ms = sp_clock_wall_ms();
    return r;
}

sp_reconcile *sp_reconcile_free(sp_reconcile *r) {
    if (!r) return NULL;
    sp_vec_free(&r->actions);
    sp_vec_free(&r->events);
    sp_arena_free(r->arena);
    free(r);
    return NULL;
}

static sp_action *add(sp_reconcile *r, sp_action a) {
    sp_vec_push(&r->actions, a);
    return &r->actions.p[r->actions.n - 1];
}

sp_action *sp_reconcile_create(sp_reconcile *r, const sp_gvr *g, sp_str ns, const sp_json *obj) {
    return add(r, (sp_action){.verb = SP_VERB_CREATE, .gvr = g, .ns = ns, .body = obj});
}

static sp_action *of_object(sp_reconcile *r, sp_verb verb, const sp_gvr *g, const sp_json *obj) {
    return add(r, (sp_action){.verb = verb,
                              .gvr = g,
                              .ns = sp_obj_namespace(obj),
                              .name = sp_obj_name(obj),
                              .body = obj});
}

sp_action *sp_reconcile_update(sp_reconcile *r, const sp_gvr *g, const sp_json *obj) {
    return of_object(r, SP_VERB_UPDATE, g, obj);
}

sp_action *sp_reconcile_merge(sp_reconcile *r, const sp_gvr *g, sp_str ns, sp_str name,
                              const sp_json *patch) {
    return add(r, (sp_action){SP_VERB_MERGE, g, ns, name, .body = patch});
}

sp_action *sp_reconcile_merge_status(sp_reconcile *r, const sp_gvr *g, sp_str ns, sp_str name,
                                     const sp_json *patch) {
    return add(r, (sp_action){SP_VERB_MERGE_STATUS, g, ns, name, .body = patch});
}

sp_action *sp_reconcile_post(sp_reconcile *r, const sp_gvr *g, sp_str ns, sp_str name,
                             const char *sub, const sp_json *body) {
    return add(r, (sp_action){SP_VERB_POST_SUB, g, ns, name, sub, body});
}

sp_action *sp_reconcile_delete(sp_reconcile *r, const sp_gvr *g, const sp_json *obj,
                               const char *propagation) {
    sp_json *o = sp_json_object(r->arena);
    sp_json_set_z(r->arena, o, "apiVersion", "v1");
    sp_json_set_z(r->arena, o, "kind", "DeleteOptions");
    sp_json *guard = sp_json_ensure_object(r->arena, o, "preconditions");
    sp_json_set(r->arena, guard, "uid", sp_json_new_str(r->arena, sp_obj_uid(obj)));
    if (propagation) sp_json_set_z(r->arena, o, "propagationPolicy", propagation);
    sp_action *a = of_object(r, SP_VERB_DELETE, g, obj);
    a->body = o;
    a->tolerate_missing = true;
    a->tolerate_conflict = true; /* another object of that name: ours is gone */
    return a;
}

void sp_reconcile_event(sp_reconcile *r, const sp_json *about, const char *type, const char *reason,
                        const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sp_told t = {sp_event_ref(r->arena, about, NULL), type, reason,
                 sp_arena_str(r->arena, sp_str_z(text))};
    sp_vec_push(&r->events, t);
}
