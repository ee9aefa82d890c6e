/* One change of one object: create, update or delete, from the wish to the durable result. HTTP
 * requests, the bootstrap and the CRD clean-up all go this way. The new state is computed against
 * the newest version (writes on their way included) in one turn of the loop with the submit, so
 * whatever a row's hooks allocate by looking at other objects is free of races. Where other servers
 * write to the same store, the write carries guards (store.h) for what it was decided on: the
 * namespace, the CRD, the fence of whoever asks, and the kind itself if a hook says that it claims
 * something; if one of them does not hold, it is decided anew. Loop thread only. */
#pragma once
#include "apiserver/encode.h"
#include "base/list.h"

typedef struct sp_apiserver sp_apiserver;
typedef struct sp_op sp_op;

typedef enum sp_field_validation {
    SP_FIELDS_WARN, /* the default of Kubernetes */
    SP_FIELDS_STRICT,
    SP_FIELDS_IGNORE
} sp_field_validation;

typedef enum sp_propagation {
    SP_PROPAGATE_DEFAULT, /* as the object's finalizers say, else Background */
    SP_PROPAGATE_BACKGROUND,
    SP_PROPAGATE_FOREGROUND,
    SP_PROPAGATE_ORPHAN
} sp_propagation;

typedef struct sp_delete_options {
    int64_t grace_seconds; /* < 0: the object's own */
    sp_propagation propagation;
    sp_str uid, resource_version; /* preconditions, "" = none */
} sp_delete_options;

/* Called once, possibly before the starting function returns. */
typedef void sp_op_done(sp_op *op);
/* The wanted object from what is there: a new tree in op->arena. May run again when another server
 * was faster. */
typedef bool sp_op_change(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err);

struct sp_op {
    /* set by the caller; all borrowed until done, but: */
    sp_apiserver *s;
    sp_served *served; /* one reference is given, sp_op_cleanup gives it back */
    sp_arena *arena;
    sp_str ns, name, sub, user;
    sp_str fence; /* "NAMESPACE/LEASE/HOLDER": made only while the Lease is held so; "" = none */
    bool master;  /* the user is of system:masters, or stands for one (sp_apiserver_config) */
    bool dry_run;
    sp_field_validation validation;
    sp_op_done *done;
    void *ctx;

    /* the outcome, until sp_op_cleanup */
    sp_err err; /* code SP_OK: it worked */
    sp_causes causes;
    sp_strs warnings;
    sp_blob *bytes; /* the object as stored (or as it would be, dry_run) */
    sp_str uid;     /* of the object */
    bool removed;   /* it is gone now; bytes show its last state */
    uint64_t rev;   /* of the change; 0 for dry_run and when nothing changed */

    /* the machinery's own */
    enum { SP_OP_CREATE, SP_OP_UPDATE, SP_OP_DELETE } kind;
    sp_json *input;
    sp_op_change *change;
    void *change_ctx;
    sp_delete_options del;
    sp_str key, generated; /* generated: the name that was made up */
    int attempts;
    sp_store_guard guards[SP_STORE_GUARDS_MAX];
    size_t guard_count;
    bool claims;  /* a guard is claimed: one at a time from here */
    sp_list link; /* waits for that */
};

/* Where the store is shared: the document at key is still v when this is written. */
void sp_op_guard(sp_op *op, sp_str key, const sp_store_value *v);

/* obj belongs to op->arena and is changed. op->name may be empty (metadata.name, generateName). */
void sp_op_create(sp_op *op, sp_json *obj);
void sp_op_update(sp_op *op, sp_op_change *change, void *change_ctx);
void sp_op_delete(sp_op *op, const sp_delete_options *o);
void sp_op_cleanup(sp_op *op);

/* The key of one object: /registry/GROUP/PLURAL/[NS/]NAME. */
sp_str sp_object_key(sp_arena *a, const sp_served *v, sp_str ns, sp_str name);
/* The newest version as a document, NULL if missing. ns "" for cluster-scoped. */
const sp_json *sp_lookup_latest(sp_apiserver *s, sp_arena *a, const char *group, const char *plural,
                                sp_str ns, sp_str name);
