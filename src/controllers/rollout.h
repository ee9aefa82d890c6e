/* The arithmetic of a rollout, apart from documents: how many replicas each set should have next.
 * Pure. The rules are those of the Deployment controller of Kubernetes. */
#pragma once
#include "base/util.h"

typedef struct sp_rollout_set {
    int64_t replicas;     /* spec.replicas; changed by the functions below */
    int64_t available;    /* status.availableReplicas */
    int64_t max_replicas; /* the annotation of the last scaling, 0 = unknown */
    int64_t created_ms;
} sp_rollout_set;

typedef struct sp_rollout {
    int64_t replicas; /* wanted in all */
    int64_t max_surge, max_unavailable;
    sp_rollout_set *fresh; /* the set of the current template, NULL = none yet */
    sp_rollout_set *old;   /* the oldest first */
    size_t old_count;
} sp_rollout;

/* What a new set starts with, or grows to, without exceeding the surge. */
int64_t sp_rollout_fresh_size(const sp_rollout *r);
/* One step up of the new set. True when it changed. */
bool sp_rollout_grow(sp_rollout *r);
/* One step down of the old sets: unhealthy replicas first, then as many as availability allows. */
bool sp_rollout_shrink(sp_rollout *r);
/* spec.replicas changed (or the rollout is paused): shares the difference among the sets in
 * proportion to their size. last_replicas: status.replicas, for sets without max_replicas. */
bool sp_rollout_scale(sp_rollout *r, bool rolling, int64_t last_replicas);
