/* Every namespace that is not going away has a ServiceAccount "default". */
#include "controllers/controllers.h"

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    sp_manager *m = ctx;
    const sp_json *ns = sp_informer_get(sp_manager_informer(m, &sp_gvr_namespaces), r->ns, r->name);
    if (!ns || sp_obj_deleting(ns)) return true;
    sp_str name = SP_STR("default");
    if (sp_informer_get(sp_manager_informer(m, &sp_gvr_serviceaccounts), r->name, name))
        return true;
    sp_json *sa = sp_json_object(r->arena);
    sp_json_set_z(r->arena, sa, "apiVersion", "v1");
    sp_json_set_z(r->arena, sa, "kind", "ServiceAccount");
    sp_json *meta = sp_json_ensure_object(r->arena, sa, "metadata");
    sp_json_set(r->arena, meta, "name", sp_json_new_str(r->arena, name));
    sp_json_set(r->arena, meta, "namespace", sp_json_new_str(r->arena, r->name));
    sp_action *a = sp_reconcile_create(r, &sp_gvr_serviceaccounts, r->name, sa);
    a->tolerate_exists = true;
    a->tolerate_missing = true; /* the namespace went meanwhile */
    return true;
}

static void on_account(void *ctx, sp_controller *c, const sp_json *sa) {
    (void)ctx;
    if (sp_str_eqz(sp_obj_name(sa), "default")) sp_controller_enqueue(c, sp_obj_namespace(sa));
}

void sp_add_serviceaccount(sp_manager *m) {
    sp_controller *c = sp_controller_new(m, "serviceaccount", reconcile, m);
    sp_controller_for(c, &sp_gvr_namespaces);
    sp_controller_watch(c, &sp_gvr_serviceaccounts, on_account, m);
}
