/* Pods that nobody will ever report on again: those bound to a node that no longer exists are
 * deleted at once, 40 s after the node was missed. */
#include "controllers/common.h"
#include "controllers/controllers.h"

enum { QUARANTINE_MS = 40000 };

static sp_str node_of(const sp_json *pod) {
    return sp_json_str(sp_json_dig(pod, "spec", "nodeName", NULL));
}

static bool node_is_there(sp_manager *m, const sp_json *pod) {
    return sp_informer_get(sp_manager_informer(m, &sp_gvr_nodes), (sp_str){0}, node_of(pod)) !=
           NULL;
}

bool sp_podgc_decide(sp_reconcile *r, const sp_json *pod, bool node_exists, sp_err *err) {
    (void)err;
    if (!node_of(pod).n || node_exists) return true;
    sp_action *a = sp_reconcile_delete(r, &sp_gvr_pods, pod, "Background");
    sp_json *options = sp_json_clone(r->arena, a->body);
    sp_json_set_int(r->arena, options, "gracePeriodSeconds", 0);
    a->body = options;
    return true;
}

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_manager *m = ctx;
    const sp_json *pod = sp_informer_get(sp_manager_informer(m, &sp_gvr_pods), r->ns, r->name);
    return !pod || sp_podgc_decide(r, pod, node_is_there(m, pod), err);
}

static void plan(sp_manager *m, sp_controller *c, const sp_json *pod) {
    if (!node_of(pod).n || node_is_there(m, pod)) return;
    sp_auto(sp_buf) key = {0};
    sp_buf_printf(&key, "%.*s/%.*s", SP_ARG(sp_obj_namespace(pod)), SP_ARG(sp_obj_name(pod)));
    sp_controller_enqueue_after(c, sp_buf_str(&key), QUARANTINE_MS);
}

static void on_pod(void *ctx, sp_controller *c, const sp_json *pod) {
    plan(ctx, c, pod);
}

/* The first nodes come before anything is missed; afterwards only a node that went matters. */
static void on_node(void *ctx, sp_controller *c, const sp_json *node) {
    sp_manager *m = ctx;
    if (sp_informer_get(sp_manager_informer(m, &sp_gvr_nodes), (sp_str){0}, sp_obj_name(node)))
        return;
    sp_obj_list pods = {0};
    sp_informer_list(sp_manager_informer(m, &sp_gvr_pods), (sp_str){0}, &pods);
    sp_vec_each(&pods, pod) {
        if (sp_str_eq(node_of(*pod), sp_obj_name(node))) plan(m, c, *pod);
    }
    sp_vec_free(&pods);
}

void sp_add_podgc(sp_manager *m) {
    sp_controller *c = sp_controller_new(m, "podgc", reconcile, m);
    sp_controller_watch(c, &sp_gvr_pods, on_pod, m);
    sp_controller_watch(c, &sp_gvr_nodes, on_node, m);
}
