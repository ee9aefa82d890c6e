/* The status of a Pod as the API shows it, from what the agent knows. Pure. */
#pragma once
#include "agent/podstate.h"
#include "agent/shim.h"
#include "data/json.h"

/* Why a container is not running; reason "" = nothing special. */
typedef struct sp_ctr_wait {
    const char *reason; /* ImagePullBackOff, CreateContainerConfigError … (static) */
    sp_str message;
} sp_ctr_wait;

typedef struct sp_ctr_report {
    sp_str name, image, image_id, container_id;
    sp_ctr_wait wait;
    int64_t started_ms;  /* wall clock, of the current run */
    sp_shim_exit last;   /* the last run that ended; finished_ms 0 = none */
    sp_str last_id;      /* its container ID */
    sp_str last_message; /* the end of its log, or what it wrote to its message file */
} sp_ctr_report;

typedef struct sp_pod_report {
    const sp_json *pod;
    const sp_pod_view *view;
    const sp_ctr_report *containers; /* in the view's order */
    sp_str host_ip, pod_ip;          /* "" = none yet */
    int64_t start_ms, now_ms;        /* wall clock */
    const char *reason;              /* of the pod itself: DeadlineExceeded, NodeLost …; "" */
    sp_str message;
    bool sandbox_ready;
} sp_pod_report;

/* old: the status known so far (for lastTransitionTime), may be NULL. */
sp_json *sp_podstatus_build(sp_arena *a, const sp_pod_report *r, const sp_json *old);
/* ErrImagePull on the moment of failure, ImagePullBackOff while waiting for the next try; the same
 * for crashes. What is shown for a container that waits. */
sp_ctr_wait sp_podstatus_waiting(sp_arena *a, const sp_pod_view *v, size_t container,
                                 const sp_ctr_report *c, sp_str pod_name);
/* "Completed", "Error", "OOMKilled", "StartError". */
const char *sp_exit_reason(const sp_shim_exit *e);
