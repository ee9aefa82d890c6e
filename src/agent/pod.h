/* The agent's inside: one sp_agent per process, one sp_pod per Pod of this node, one sp_ctr per
 * container of it. podstate.h decides, the files here act:
 *
 *   pod.c        the Pod's life: objects in, plans carried out, status out
 *   container.c  one container: make its bundle, start its shim, learn how it ended
 *   stop.c       preStop hook, signal, grace period, kill
 *   adopt.c      what an earlier agent of this data directory left running
 *   ground.c     sandbox and clean-up, on worker threads; addresses of pods
 *   images.c     is the image here, pull it, who waits for it
 *   objects.c    ConfigMaps and Secrets that pods name
 *   probe.c      startup, liveness, readiness
 *   report.c     status into the API, and the last DELETE
 *   unsupported.c  what a pod asks for in vain
 *
 * Everything lives on the loop's thread. A callback that outlives its pod carries the UID and looks
 * it up again. */
#pragma once
#include "agent/image_store.h"
#include "agent/oci.h"
#include "agent/podstatus.h"
#include "agent/sandbox.h"
#include "agent/volumes.h"
#include "base/map.h"
#include "kube/client.h"
#include "kube/events.h"
#include "kube/informer.h"
#include "net/loop.h"

typedef struct sp_pod sp_pod;
typedef struct sp_ctr sp_ctr;
typedef struct sp_probe sp_probe;
typedef struct sp_objects sp_objects;

typedef struct sp_agent {
    uv_loop_t *loop;
    sp_turn *turn;
    sp_kube *kube;
    sp_events *events;
    sp_informer *informer;
    sp_objects *objects;
    sp_image_store *store;
    const char *node;  /* name of our Node */
    char *data_dir;    /* absolute */
    char *self, *crun; /* programs */
    bool hybrid;       /* cgroup v2 with controllers beside v1: see shim.c */
    bool resolved;     /* the API's list of pods is in: what is not in it may go */
    bool adopting;     /* pods come from our own files, not from the API */
    bool stopping;     /* nothing is started any more */
    sp_podnet net;
    uint32_t next_ip;
    sp_oci_host host;
    char host_ip[64], hostname[65];
    sp_map pods;  /* UID → sp_pod */
    sp_map pulls; /* reference → what images.c knows of it */
} sp_agent;

struct sp_ctr {
    sp_pod *pod;
    size_t index;
    const char *name;    /* in the pod's document */
    const sp_json *spec; /* the same */
    unsigned attempt;    /* number of the current or last run */
    bool made;           /* attempt counts: its directory was made */
    char *dir;           /* of that run, NULL before the first */
    int64_t shim_pid, pid;
    uv_process_t *process; /* the shim, when we started it */
    uv_pipe_t *ready;
    uv_poll_t *watch; /* pidfd of a shim we adopted */
    int watch_fd;
    uv_fs_event_t *files; /* of an adopted shim that is still starting */
    int64_t started_ms;   /* wall clock */
    bool term_sent, kill_sent, hook_done;
    sp_timer *kill_timer;
    int64_t kill_by_ms; /* monotonic */
    sp_shim_exit last;
    char *last_dir;
    sp_buf last_message;
    const char *wait_reason;
    sp_buf wait_message;
    sp_buf image, image_id;
    bool pull_said; /* the Pulling event is out for this run */
    sp_probe *probes[3];
};

struct sp_pod {
    sp_agent *agent;
    sp_arena *arena;    /* of obj */
    const sp_json *obj; /* our copy of the newest Pod */
    char uid[64];
    sp_str ns, name; /* in obj */
    char *dir, *mem_dir, *ns_dir, *log_dir;
    char veth[16];
    uint32_t ip;      /* host byte order; 0 = none */
    char ip_text[16]; /* the same, "" = none */
    SP_VEC(sp_ctr *) containers;
    sp_pod_view view;   /* .containers is parallel to ours; now_ms is set before each plan */
    int64_t start_ms;   /* wall clock: first seen */
    int64_t grace_ms;   /* of the deletion under way, else terminationGracePeriodSeconds */
    const char *reason; /* of the pod: DeadlineExceeded */
    bool api_gone;      /* the object is deleted there */
    bool finishing;
    sp_task sync;
    sp_timer *wake;
    sp_arena *status_arena;
    sp_json *status; /* as last built */
    sp_buf sent;     /* as last acknowledged by the API */
    bool patching;
    sp_timer *patch_retry;
};

/* --- pod.c --- */
void sp_pod_changed(sp_agent *g, const sp_json *obj); /* appeared or changed */
void sp_pod_gone(sp_agent *g, sp_str uid);            /* deleted in the API */
sp_pod *sp_pod_new(sp_agent *g, const sp_json *obj);  /* not yet synced; NULL when unusable */
void sp_pod_free(sp_pod *p);
sp_pod *sp_pod_get(sp_agent *g, const char *uid);
void sp_pod_sync_soon(sp_pod *p);
static inline sp_ctr_view *sp_ctr_state(sp_ctr *c) {
    return &c->pod->view.containers[c->index];
}
void sp_pod_event(sp_pod *p, sp_ctr *c, const char *type, const char *reason, const char *fmt, ...)
    SP_PRINTF(5, 6);
bool sp_pod_host_network(const sp_pod *p);
void sp_pod_source(sp_pod *p, sp_env_source *ret);
void sp_pod_volume_input(sp_pod *p, const sp_env_source *source, sp_volume_input *ret);

/* --- container.c --- */
void sp_ctr_start(sp_ctr *c);
void sp_ctr_running(sp_ctr *c, const sp_shim_status *st);
void sp_ctr_ended(sp_ctr *c); /* the shim is gone: read how it went */
void sp_ctr_id(const sp_ctr *c, const char *dir, sp_buf *ret);
void sp_ctr_cgroup(const sp_ctr *c, sp_buf *ret);
void sp_ctr_free(sp_ctr *c);
void sp_ctr_clear_wait(sp_ctr *c);
void sp_handle_close(void *handle); /* uv_close and free; takes NULL */

/* --- stop.c --- */
void sp_ctr_stop(sp_ctr *c, int64_t grace_ms);
void sp_ctr_hasten(sp_ctr *c, int64_t grace_ms); /* of one being stopped: not longer than this */
void sp_ctr_after_start(sp_ctr *c);              /* the postStart hook */
/* Runs a command in the container. out lent. */
typedef void sp_exec_done(void *ctx, bool ok, sp_str out);
void sp_ctr_exec(sp_ctr *c, const sp_json *command, uint32_t timeout_ms, sp_exec_done *done,
                 void *ctx);

/* --- adopt.c --- */
void sp_adopt_all(sp_agent *g);

/* --- ground.c --- */
void sp_ground_sandbox(sp_pod *p);      /* then sync */
void sp_ground_drop_sandbox(sp_pod *p); /* then sync */
void sp_ground_finish(sp_pod *p, void (*done)(sp_agent *g, const char *uid));
/* The pod's own group in each hierarchy (uid "": ours above all pods); crun removed those of the
 * containers. What is not empty stays. */
void sp_ground_remove_cgroups(const char *uid);
bool sp_ground_load(sp_pod *p); /* true when the sandbox of an earlier agent still stands */

/* --- images.c --- */
void sp_ctr_want_image(sp_ctr *c);

/* --- objects.c --- */
sp_objects *sp_objects_new(sp_agent *g);
void sp_objects_watch(sp_objects *o, sp_pod *p); /* what the pod names, from now on */
void sp_objects_release(sp_objects *o, sp_pod *p);
/* NULL = missing or not known yet (known false). */
const sp_json *sp_objects_get(sp_objects *o, const char *kind, sp_str ns, sp_str name);
bool sp_objects_known(sp_objects *o, sp_pod *p); /* every first answer is in */

/* --- probe.c --- */
void sp_probes_start(sp_ctr *c);
void sp_probes_stop(sp_ctr *c);

/* --- unsupported.c --- */
void sp_pod_tell_unsupported(sp_pod *p); /* one Warning event for each field that has no effect */

/* --- report.c --- */
void sp_pod_report_status(sp_pod *p);
void sp_pod_delete_in_api(sp_agent *g, sp_str ns, sp_str name, const char *uid);
