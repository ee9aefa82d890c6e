/* The loop every controller shares. A controller is a name, the informers it reads, and one pure
 * function: from what the informers hold now for this key to the API calls that bring the cluster
 * closer to what is wanted. The framework queues keys (each once), runs the function, performs its
 * actions in order, and does not run the same key again before the informers have seen the
 * revisions those actions returned; so a reconcile always reads its own writes. Failures are
 * retried with exponential backoff and jitter (5 ms to 60 s). Loop thread only. */
#pragma once
#include "kube/informer.h"

typedef enum sp_verb {
    SP_VERB_CREATE,
    SP_VERB_UPDATE,       /* of the object, or of its subresource `sub` (finalize) */
    SP_VERB_MERGE,        /* JSON merge patch; of `sub` if set (scale) */
    SP_VERB_MERGE_STATUS, /* … of the status subresource */
    SP_VERB_DELETE,
    SP_VERB_POST_SUB /* POST body to subresource `sub` (binding) */
} sp_verb;

typedef struct sp_action {
    sp_verb verb;
    const sp_gvr *gvr;
    sp_str ns, name; /* name is empty for CREATE */
    const char *sub;
    const sp_json *body; /* object, patch or DeleteOptions; may be NULL for DELETE */
    bool tolerate_exists, tolerate_missing, tolerate_conflict; /* not a failure; goes on */
} sp_action;
typedef SP_VEC(sp_action) sp_actions;

typedef struct sp_told { /* an Event to be written */
    const sp_json *ref;
    const char *type, *reason;
    sp_str message;
} sp_told;

/* Actions and Events are rendered when the function returns, so they may borrow from informers. */
typedef struct sp_reconcile {
    sp_arena *arena; /* for everything the function builds */
    sp_str key;      /* "ns/name" */
    sp_str ns, name;
    int64_t now_wall_ms;
    sp_actions actions; /* filled by the function */
    int64_t requeue_ms; /* > 0: look again after this even if nothing changes */
    /* May be set by the function: a failing CREATE or DELETE is told as a Warning about it. */
    const sp_json *subject;
    const char *component;  /* source of the Events; preset to "<controller>-controller" */
    SP_VEC(sp_told) events; /* written once all actions went well */
} sp_reconcile;

/* Each returns the action, so that its tolerate_… flags can be set; valid until the next one. */
sp_action *sp_reconcile_create(sp_reconcile *r, const sp_gvr *g, sp_str ns, const sp_json *obj);
sp_action *sp_reconcile_update(sp_reconcile *r, const sp_gvr *g, const sp_json *obj);
sp_action *sp_reconcile_merge(sp_reconcile *r, const sp_gvr *g, sp_str ns, sp_str name,
                              const sp_json *patch);
sp_action *sp_reconcile_merge_status(sp_reconcile *r, const sp_gvr *g, sp_str ns, sp_str name,
                                     const sp_json *patch);
sp_action *sp_reconcile_post(sp_reconcile *r, const sp_gvr *g, sp_str ns, sp_str name,
                             const char *sub, const sp_json *body);
/* Guarded by UID; a missing object is fine. propagation: "Background", … or NULL. */
sp_action *sp_reconcile_delete(sp_reconcile *r, const sp_gvr *g, const sp_json *obj,
                               const char *propagation);
/* A v1 Event about obj; repeated ones are counted up, not stored again. type: "Normal"/"Warning".
 */
void sp_reconcile_event(sp_reconcile *r, const sp_json *about, const char *type, const char *reason,
                        const char *fmt, ...) SP_PRINTF(5, 6);
/* For tests of decision functions: a reconcile of this key, now. Free with sp_reconcile_free. */
sp_reconcile *sp_reconcile_new(sp_str key);
sp_reconcile *sp_reconcile_free(sp_reconcile *r);

/* false: failed as err says; it is logged and retried, the actions are dropped. */
typedef bool sp_reconcile_fn(void *ctx, sp_reconcile *r, sp_err *err);

typedef struct sp_manager sp_manager; /* shares informers between controllers of one process */
sp_manager *sp_manager_new(sp_kube *k, const char *component); /* component: event source */
sp_manager *sp_manager_free(sp_manager *m); /* before the sp_kube; takes NULL, returns NULL */
/* One informer per collection, shared. Owned by the manager. */
sp_informer *sp_manager_informer(sp_manager *m, const sp_gvr *g);
sp_kube *sp_manager_kube(sp_manager *m);
bool sp_manager_synced(const sp_manager *m); /* every informer has its first LIST */
/* Called once, as soon as it is so. */
void sp_manager_on_synced(sp_manager *m, void (*fn)(void *ctx), void *ctx);
void sp_manager_metrics(const sp_manager *m, sp_buf *b); /* Prometheus text */

typedef struct sp_controller sp_controller; /* owned by the manager */
sp_controller *sp_controller_new(sp_manager *m, const char *name, sp_reconcile_fn *fn, void *ctx);
/* Every change of the collection enqueues the object's own key … */
void sp_controller_for(sp_controller *c, const sp_gvr *g);
/* … its controller owner's key, if the owner is of this kind … */
void sp_controller_owns(sp_controller *c, const sp_gvr *g, const char *owner_kind);
/* … or whatever map enqueues by sp_controller_enqueue. obj is the new state, or the last one of an
 * object that is gone; when a change moves an object from one key to another, map is called for the
 * old state too. */
typedef void sp_controller_map(void *ctx, sp_controller *c, const sp_json *obj);
void sp_controller_watch(sp_controller *c, const sp_gvr *g, sp_controller_map *map, void *ctx);
/* Only read: the controller does not start before this informer is synced. */
sp_informer *sp_controller_reads(sp_controller *c, const sp_gvr *g);
/* How many keys are worked on at a time (8). With 1, the next key waits until the informers have
 * seen what the one before wrote. */
void sp_controller_set_parallel(sp_controller *c, unsigned n);
void sp_controller_enqueue(sp_controller *c, sp_str key);
void sp_controller_enqueue_object(sp_controller *c, const sp_json *obj);
void sp_controller_enqueue_after(sp_controller *c, sp_str key, int64_t delay_ms);

/* --- jobs: for the few controllers that must ask the server before they decide (garbage, deleted
 * namespaces). Instead of returning actions, the function starts calls and ends the job later. ---
 */
typedef struct sp_job sp_job;
typedef void sp_job_fn(void *ctx, sp_job *job, sp_str key);
sp_controller *sp_controller_new_job(sp_manager *m, const char *name, sp_job_fn *fn, void *ctx);
sp_arena *sp_job_arena(sp_job *job); /* lives until the job is done */
/* As sp_kube_call; cancelled when the manager goes. Events as in sp_reconcile_event. */
void sp_job_call(sp_job *job, const sp_kube_request *r, sp_kube_done *done, void *ctx);
/* Once, with no call of the job running. err: tried again later. requeue_ms as in sp_reconcile. */
void sp_job_done(sp_job *job, const sp_err *err, int64_t requeue_ms);

/* Called by sp_manager_free, before the informers go, the last one registered first. */
void sp_manager_on_free(sp_manager *m, void (*fn)(void *ctx), void *ctx);
