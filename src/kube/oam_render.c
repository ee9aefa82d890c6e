/* From an ApplicationConfiguration to the objects it consists of: for each component its workload
 * with the operator's parameters, changed by its traits, then the traits' own objects; everything
 * labelled and owned by the ApplicationConfiguration. All or nothing. */
#include "kube/oam_model.h"

static void set_label(sp_arena *a, sp_json *labels, const char *key, sp_str value) {
    sp_json_set(a, labels, key, sp_json_new_str(a, value));
}

/* Those that select the pods of one component; they never change. */
static sp_json *selecting_labels(sp_arena *a, const sp_json *app, const sp_oam_part *part) {
    sp_json *labels = sp_json_object(a);
    set_label(a, labels, "app.oam.dev/name", sp_obj_name(app));
    set_label(a, labels, "app.oam.dev/component", part->component_name);
    set_label(a, labels, "app.oam.dev/instance", part->instance);
    return labels;
}

static void complete_metadata(sp_arena *a, const sp_json *app, const sp_json *selecting,
                              const sp_oam_child *child) {
    sp_json *meta = sp_json_ensure_object(a, child->object, "metadata");
    sp_json_set(a, meta, "namespace", sp_json_new_str(a, sp_obj_namespace(app)));
    sp_json *labels = sp_json_ensure_object(a, meta, "labels");
    sp_json_each(sp_json_dig(app, "metadata", "labels", NULL), it)
        sp_json_set_str(a, labels, it->key, sp_json_clone(a, it));
    sp_json_each(selecting, jt) sp_json_set_str(a, labels, jt->key, sp_json_clone(a, jt));
    sp_json_set_z(a, labels, "app.oam.dev/resourceType", child->trait < 0 ? "WORKLOAD" : "TRAIT");
    sp_json *owners = sp_json_set(a, meta, "ownerReferences", sp_json_array(a));
    sp_json_push(owners, sp_owner_ref(a, app));
}

static void render_traits(sp_arena *a, const sp_oam_part *part, size_t workload,
                          sp_oam_children *ret) {
    for (size_t i = 0; i < part->traits.n; i++) {
        const sp_oam_trait *t = &part->traits.p[i];
        sp_oam_trait_apply(a, t, ret->p[workload].object);
        if (t->type->effect == SP_OAM_AUTO_SCALER || t->type->effect == SP_OAM_CRON_HPA)
            ret->p[workload].foreign_replicas = true;
        const sp_gvr *gvr = NULL;
        sp_json *object = sp_oam_trait_object(a, t, part->instance, &gvr);
        if (object)
            sp_vec_push(ret, (sp_oam_child){.gvr = gvr, .object = object, .trait = (ptrdiff_t)i});
    }
}

static bool render_part(sp_arena *a, const sp_json *app, const sp_oam_part *part, size_t index,
                        sp_oam_children *ret, sp_err *err) {
    if (!part->component)
        return sp_fail_field(err, SP_NOT_FOUND, part->path.p,
                             "Component \"%.*s\" does not exist in namespace \"%.*s\": apply it",
                             SP_ARG(part->component_name), SP_ARG(sp_obj_namespace(app)));
    size_t first = ret->n, at = first;
    sp_json *workload = sp_json_clone(a, part->workload);
    sp_json *labels = selecting_labels(a, app, part);
    if (!sp_oam_set_parameters(a, part, workload, err) ||
        !sp_oam_render_workload(a, workload, part->instance, labels, ret, err))
        return sp_err_wrap(err, "%.*s", SP_ARG(part->path));
    while (!ret->p[at].is_workload) at++;
    render_traits(a, part, at, ret);
    for (size_t i = first; i < ret->n; i++) {
        ret->p[i].component = index;
        complete_metadata(a, app, labels, &ret->p[i]);
    }
    return true;
}

static bool in_order(sp_arena *a, const sp_json *obj, const sp_oam_lookup *lookup, sp_err *err) {
    sp_auto(sp_causes) causes = {.arena = a};
    if (sp_oam_admit(obj, lookup, &causes, NULL)) return true;
    const sp_cause *first = &causes.list.p[0];
    return sp_fail_field(err, SP_INVALID, first->field.p, "%.*s: %.*s", SP_ARG(first->field),
                         SP_ARG(first->message));
}

static bool components_in_order(sp_arena *a, const sp_oam_parts *parts, const sp_oam_lookup *lookup,
                                sp_err *err) {
    sp_vec_each(parts, p) if (p->component &&
                              !in_order(a, p->component, lookup,
                                        err)) return sp_err_wrap(err, "Component \"%.*s\"",
                                                                 SP_ARG(p->component_name));
    return true;
}

bool sp_oam_render(sp_arena *a, const sp_json *app, const sp_oam_lookup *lookup,
                   sp_oam_children *ret, sp_err *err) {
    if (!in_order(a, app, lookup, err)) return false;
    sp_oam_parts parts = {0};
    sp_oam_take_apart(a, app, lookup, &parts);
    bool ok = components_in_order(a, &parts, lookup, err);
    for (size_t i = 0; ok && i < parts.n; i++) ok = render_part(a, app, &parts.p[i], i, ret, err);
    sp_oam_parts_free(&parts);
    if (!ok) ret->n = 0;
    return ok;
}
