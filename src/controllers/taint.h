/* Taints of nodes and the tolerations of pods (Kubernetes: "Taints and Tolerations"). Pure. */
#pragma once
#include "data/json.h"

#define SP_TAINT_NOT_READY "node.kubernetes.io/not-ready"
#define SP_TAINT_UNREACHABLE "node.kubernetes.io/unreachable"
#define SP_TOLERATED_FOR_EVER (-1)

/* taint: key, value and effect as in spec.taints. spec: of the pod. */
bool sp_taint_is_tolerated(const sp_json *taint, const sp_json *spec);
/* For how long a pod may stay where this NoExecute taint is: milliseconds, 0 = not at all, or
 * SP_TOLERATED_FOR_EVER. Of several tolerations the shortest counts. A pod that says nothing about
 * a node that is not ready or unreachable stays for 300 s there, as under the admission plugin
 * DefaultTolerationSeconds. */
int64_t sp_taint_tolerated_ms(const sp_json *taint, const sp_json *spec);
