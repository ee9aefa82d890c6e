/* The graph of who owns whom, kept from informers of every collection the server serves (metadata
 * only, unless another controller watches the collection anyway), and what is decided on it. */
#pragma once
#include "controllers/catalog.h"

typedef struct sp_gc_graph sp_gc_graph;

typedef struct sp_gc_node { /* one object that exists */
    sp_str uid;             /* owned by the graph */
    const sp_gvr *gvr;
    sp_informer *informer;
    sp_str ns, name;
} sp_gc_node;

/* changed: called for each UID that may need attention; dependents and owners included. */
sp_gc_graph *sp_gc_graph_new(sp_manager *m, void (*changed)(void *ctx, sp_str uid), void *ctx);
sp_gc_graph *sp_gc_graph_free(sp_gc_graph *g);
bool sp_gc_complete(const sp_gc_graph *g); /* every collection has been listed */
const sp_gc_node *sp_gc_find(const sp_gc_graph *g, sp_str uid); /* NULL if unknown */
const sp_json *sp_gc_object(const sp_gc_node *n);               /* lent until the next turn */
/* The UIDs that name this one as an owner; lent until the next turn. */
typedef SP_VEC(sp_gc_node *) sp_gc_nodes;
const sp_gc_nodes *sp_gc_dependents(const sp_gc_graph *g, sp_str uid); /* NULL if none */

/* --- the decision about one object, pure --- */
typedef enum sp_gc_owner {
    SP_GC_SOLID,   /* exists (or its kind is unknown: never a reason to delete) */
    SP_GC_WAITING, /* is being deleted in the foreground and waits for this object */
    SP_GC_ABSENT   /* no object of that UID */
} sp_gc_owner;

typedef enum sp_gc_verdict {
    SP_GC_KEEP,
    SP_GC_DELETE,            /* in the background */
    SP_GC_DELETE_FOREGROUND, /* its own dependents first */
    SP_GC_DROP_REFS          /* some owner is solid: only the other references go */
} sp_gc_verdict;

sp_gc_verdict sp_gc_judge(const sp_gc_owner *owners, size_t count, bool has_dependents);
