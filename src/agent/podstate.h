/* What to do for a pod now: a pure function of what its spec wants, what its containers are doing
 * and the time. The files around it carry the actions out and call again whenever something
 * changed or the plan's wake time has come.
 *
 * All times are of the monotonic clock, in milliseconds; 0 = never. */
#pragma once
#include "base/vec.h"

typedef enum sp_restart { SP_RESTART_ALWAYS, SP_RESTART_ON_FAILURE, SP_RESTART_NEVER } sp_restart;

typedef enum sp_ctr_phase {
    SP_CTR_NEW,      /* never ran */
    SP_CTR_STARTING, /* being made */
    SP_CTR_RUNNING,
    SP_CTR_STOPPING, /* was told to stop and still runs */
    SP_CTR_EXITED
} sp_ctr_phase;

typedef enum sp_ctr_image {
    SP_IMAGE_UNKNOWN, /* not looked at since the last exit */
    SP_IMAGE_PULLING,
    SP_IMAGE_READY,
    SP_IMAGE_FAILED
} sp_ctr_image;

typedef struct sp_ctr_view {
    /* from the spec */
    bool init;    /* in spec.initContainers */
    bool sidecar; /* … with restartPolicy Always: starts in its turn, then stays */
    bool has_startup_probe, has_readiness_probe;
    /* what is */
    sp_ctr_phase phase;
    int exit_code;       /* of the last run, when EXITED */
    unsigned restarts;   /* runs after the first */
    unsigned crashes;    /* ends in a row without a long run between */
    int64_t finished_ms; /* end of the last run */
    bool started_ok;     /* the startup probe of this run has passed */
    bool ready_ok;       /* the readiness probe says so */
    bool unhealthy;      /* liveness or startup probe failed: this run has to end */
    sp_ctr_image image;
    unsigned image_failures;
    int64_t image_failed_ms;
    unsigned config_failures; /* it could not even be made: missing ConfigMap, bad user … */
    int64_t config_failed_ms;
} sp_ctr_view;

typedef enum sp_sandbox_phase {
    SP_SANDBOX_NONE,
    SP_SANDBOX_CREATING,
    SP_SANDBOX_READY,
    SP_SANDBOX_REMOVING
} sp_sandbox_phase;

typedef struct sp_pod_view {
    sp_restart restart;
    bool deleting;
    bool volumes_ready;
    int64_t deadline_ms; /* activeDeadlineSeconds */
    bool expired;        /* … was reached before: the pod has failed for good */
    sp_sandbox_phase sandbox;
    unsigned sandbox_failures;
    int64_t sandbox_failed_ms;
    unsigned volume_failures;
    int64_t volumes_failed_ms;
    sp_ctr_view *containers; /* init containers first, in their order */
    size_t n;
    int64_t now_ms;
} sp_pod_view;

typedef enum sp_pod_do {
    SP_DO_VOLUMES,      /* make the volumes */
    SP_DO_SANDBOX,      /* make the sandbox */
    SP_DO_PULL,         /* see that the container's image is here */
    SP_DO_START,        /* start the container */
    SP_DO_STOP,         /* stop it, with the grace period */
    SP_DO_EXPIRE,       /* activeDeadlineSeconds is over */
    SP_DO_DROP_SANDBOX, /* nothing will run any more */
    SP_DO_FINISH        /* all stopped: take everything away and tell the API */
} sp_pod_do;

typedef struct sp_pod_action {
    sp_pod_do what;
    size_t container;
} sp_pod_action;

typedef struct sp_pod_plan {
    SP_VEC(sp_pod_action) actions;
    int64_t wake_ms; /* look again then; 0 = only when something changes */
} sp_pod_plan;
void sp_pod_plan_free(sp_pod_plan *p);

void sp_podstate_plan(const sp_pod_view *v, sp_pod_plan *ret);

typedef enum sp_pod_phase {
    SP_POD_PENDING,
    SP_POD_RUNNING,
    SP_POD_SUCCEEDED,
    SP_POD_FAILED
} sp_pod_phase;
sp_pod_phase sp_podstate_phase(const sp_pod_view *v);
bool sp_podstate_initialized(const sp_pod_view *v);
bool sp_podstate_ready(const sp_ctr_view *c);                              /* counts as ready */
bool sp_podstate_will_restart(const sp_pod_view *v, const sp_ctr_view *c); /* when EXITED */

/* After the n-th end in a row: at once, then 10 s doubling to 5 minutes. */
int64_t sp_crash_backoff_ms(unsigned crashes);
/* A run of ten minutes forgives what was before. */
unsigned sp_crashes_after(unsigned crashes, int64_t ran_ms);
int64_t sp_retry_backoff_ms(unsigned failures); /* images: 10 s doubling to 5 minutes */
