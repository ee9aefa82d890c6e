/* Does a pod fit on a node, and how much room would be left. Pure. */
#pragma once
#include "kube/informer.h"

/* What pods of one node take already. Names of resources → thousandths. */
typedef struct sp_room {
    const sp_json *node;
    sp_obj_list pods; /* bound to it, not finished */
} sp_room;

/* NULL when the pod fits; else the reason in the words of Kubernetes ("Insufficient memory"). */
const char *sp_fit_reason(sp_arena *a, const sp_json *pod, const sp_room *room);
/* 0 to 1: the share of cpu and memory that would be free with the pod on it. */
double sp_fit_score(sp_arena *a, const sp_json *pod, const sp_room *room);
