/* What the three files of the Deployment controller share: deployment.c decides what happens next,
 * deployment_sets.c knows ReplicaSets (finding, making, revisions, history), deployment_status.c
 * the status and its conditions. rollout.c does the arithmetic. */
#pragma once
#include "controllers/rollout.h"
#include "kube/controller.h"

typedef struct sp_deploy {
    sp_reconcile *r;
    const sp_json *d;
    int64_t replicas, max_surge, max_unavailable;
    bool rolling, paused;
    sp_obj_list old;      /* ReplicaSets of other templates, the oldest first */
    const sp_json *fresh; /* the ReplicaSet of the current template, NULL = none */
    const sp_json *made;  /* the one created in this reconcile, NULL = none */
} sp_deploy;

/* --- deployment_sets.c --- */
/* The text that tells templates apart: hash of the template, made unique by collisions. */
sp_str sp_template_hash(sp_arena *a, const sp_json *template, int64_t collisions);
/* Fills old and fresh from all ReplicaSets of the namespace, adopting and releasing. */
bool sp_deploy_find_sets(sp_deploy *x, const sp_obj_list *all, sp_err *err);
/* Makes the ReplicaSet of the current template. false: its name is taken by another template; the
 * collision count goes up and this reconcile is over. */
bool sp_deploy_make_set(sp_deploy *x, const sp_obj_list *all, int64_t replicas);
/* Revision and copied annotations of the current set, revision of the Deployment. */
void sp_deploy_sync_revision(sp_deploy *x);
/* Sets spec.replicas (and the annotations that remember the scale) and tells it. */
void sp_deploy_resize(sp_deploy *x, const sp_json *set, int64_t replicas);
/* Sets in which the remembered scale differs from spec.replicas: the Deployment was scaled. */
bool sp_deploy_was_scaled(const sp_deploy *x);
void sp_deploy_trim_history(sp_deploy *x);
int64_t sp_set_replicas(const sp_json *set); /* spec.replicas */
int64_t sp_set_status(const sp_json *set, const char *field);
int64_t sp_set_annotated(const sp_json *set, const char *key); /* 0 if missing */

extern const char sp_desired_replicas_key[], sp_max_replicas_key[], sp_revision_key[];

/* --- deployment_status.c --- */
/* The status as the sets say. collisions: the new collisionCount, -1 = as it was. */
void sp_deploy_write_status(sp_deploy *x, int64_t collisions);
/* Every wanted pod runs the current template and is available. */
bool sp_deploy_is_complete(const sp_deploy *x);
