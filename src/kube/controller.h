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
    SP_VERB_UPDATE,
    SP_VERB_UPDATE_STATUS,
    SP_VERB_MERGE,        /* JSON merge patch */
    SP_VERB_MERGE_STATUS, /* … of the status subresource */
    SP_VERB_DELETE,
    SP_VERB_POST_SUB      /* POST body to subresource `sub` (binding) */
} sp_verb;

typedef struct sp_action {
    sp_verb verb;
    const sp_gvr *gvr;
    sp_str ns, name;     /* name is empty for CREATE */
    const char *sub;
    const sp_json *body; /* object, patch or DeleteOptions; may be NULL for DELETE */
    bool tolerate_exists, tolerate_missing, tolerate_conflict; /* not a failure; goes on */
} sp_action;
typedef SP_VEC(sp_action) sp_actions;

typedef struct sp_reconcile {
    sp_arena *arena;     /* for everything the function builds */
    sp_str key;          /* "ns/name" */
    sp_str ns, name;
    int64_t now_wall_ms;
    sp_actions actions;  /* filled by the function */
    int64_t requeue_ms;  /* > 0: look again after this even if nothing changes */
} sp_reconcile;

void sp_reconcile_create(sp_reconcile *r, const sp_gvr *g, sp_str ns, const sp_json *obj);
void sp_reconcile_update_status(sp_reconcile *r, const sp_gvr *g, const sp_json *obj);
void sp_reconcile_update(sp_reconcile *r, const sp_gvr *g, const sp_json *obj);
void sp_reconcile_merge(sp_reconcile *r, const sp_gvr *g, sp_str ns, sp_str name,
                        const sp_json *patch);
/* Guarded by UID; a missing object is fine. */
void sp_reconcile_delete(sp_reconcile *r, const sp_gvr *g, const sp_json *obj,
                         const char *propagation);
/* A v1 Event about obj; repeated ones are counted up, not stored again. type: "Normal"/"Warning". */
void sp_reconcile_event(sp_reconcile *r, const sp_json *about, const char *type, const char *reason,
                        const char *fmt, ...) SP_PRINTF(5, 6);

/* false: failed as err says; it is logged and retried, the actions are dropped. */
typedef bool sp_reconcile_fn(void *ctx, sp_reconcile *r, sp_err *err);

typedef struct sp_manager sp_manager; /* shares informers between controllers of one process */
sp_manager *sp_manager_new(sp_kube *k, const char *component); /* component: event source */
sp_manager *sp_manager_free(sp_manager *m);
/* One informer per collection, shared. Owned by the manager. */
sp_informer *sp_manager_informer(sp_manager *m, const sp_gvr *g);
sp_kube *sp_manager_kube(sp_manager *m);

typedef struct sp_controller sp_controller;
sp_controller *sp_controller_new(sp_manager *m, const char *name, sp_reconcile_fn *fn, void *ctx);
/* Every change of the collection enqueues the object's own key … */
void sp_controller_for(sp_controller *c, const sp_gvr *g);
/* … its controller owner's key, if the owner is of this kind … */
void sp_controller_owns(sp_controller *c, const sp_gvr *g, const char *owner_kind);
/* … or whatever map enqueues by sp_controller_enqueue. */
typedef void sp_controller_map(void *ctx, sp_controller *c, const sp_json *obj);
void sp_controller_watch(sp_controller *c, const sp_gvr *g, sp_controller_map *map, void *ctx);
void sp_controller_enqueue(sp_controller *c, sp_str key);
void sp_controller_enqueue_after(sp_controller *c, sp_str key, int64_t delay_ms);
