/* The controllers: each watches some kinds and brings others closer to what is declared. Every one
 * is a pure decision function (state in, actions out; tested on virtual time) and a few lines that
 * connect it to informers. To add one: a file, its sp_add_… here, a row in main.c. */
#pragma once
#include "kube/controller.h"
#include "kube/gvrs.h"
#include "kube/oam.h"

/* Registers with the manager. */
void sp_add_deployment(sp_manager *m);
void sp_add_replicaset(sp_manager *m);
void sp_add_endpoints(sp_manager *m);
void sp_add_scheduler(sp_manager *m);
void sp_add_serviceaccount(sp_manager *m);
void sp_add_oam(sp_manager *m);
void sp_add_namespace(sp_manager *m);
void sp_add_garbage(sp_manager *m);
void sp_add_node(sp_manager *m);
void sp_add_eviction(sp_manager *m);
void sp_add_podgc(sp_manager *m);
void sp_add_hpa(sp_manager *m);
void sp_add_certificates(sp_manager *m);
void sp_add_certificate_shim(sp_manager *m);

/* --- decisions (the lists hold borrowed documents) --- */

/* pods: all pods of the namespace. */
bool sp_replicaset_decide(sp_reconcile *r, const sp_json *rs, const sp_obj_list *pods, sp_err *err);
/* sets: all ReplicaSets of the namespace; pods: all pods of it. */
bool sp_deployment_decide(sp_reconcile *r, const sp_json *deployment, const sp_obj_list *sets,
                          const sp_obj_list *pods, sp_err *err);
/* service: NULL when it is gone. pods: of the namespace; endpoints: the object of that name or
 * NULL; slices: of the namespace. */
bool sp_endpoints_decide(sp_reconcile *r, const sp_json *service, const sp_obj_list *pods,
                         const sp_json *endpoints, const sp_obj_list *slices, sp_err *err);
/* nodes: all; pods: all of the cluster (what is bound takes room). */
bool sp_scheduler_decide(sp_reconcile *r, const sp_json *pod, const sp_obj_list *nodes,
                         const sp_obj_list *pods, sp_err *err);

/* What the OAM decisions read: definitions and Components, and the children as they are. */
typedef struct sp_oam_world {
    sp_oam_lookup lookup;
    void *ctx;
    const sp_json *(*get)(void *ctx, const sp_gvr *g, sp_str ns, sp_str name); /* NULL if missing */
    void (*owned)(void *ctx, const sp_gvr *g, sp_str owner_uid, sp_obj_list *ret);
} sp_oam_world;
/* app, component: NULL when it is gone. */
void sp_oam_app_decide(sp_reconcile *r, const sp_json *app, const sp_oam_world *world);
void sp_oam_component_decide(sp_reconcile *r, const sp_json *component);
/* How long a node may be silent; before sp_add_node. */
#define SP_NODE_GRACE_MS 40000
void sp_node_set_grace(int64_t ms);
/* silent_ms: since the node's Lease was last seen renewed. pods: of the cluster. */
bool sp_node_decide(sp_reconcile *r, const sp_json *node, const sp_obj_list *pods,
                    int64_t silent_ms, sp_err *err);
/* taint_ms: for how long each of spec.taints has been seen. pods: of the cluster. */
void sp_eviction_decide(sp_reconcile *r, const sp_json *node, const sp_obj_list *pods,
                        const int64_t *taint_ms);
bool sp_podgc_decide(sp_reconcile *r, const sp_json *pod, bool node_exists, sp_err *err);
/* g, target: what scaleTargetRef names; g NULL = a kind that cannot be scaled, target NULL = none.
 */
bool sp_hpa_decide(sp_reconcile *r, const sp_json *hpa, const sp_gvr *g, const sp_json *target,
                   sp_err *err);
