/* What the agent and the shim of a container tell each other: files in the container's directory
 * (its OCI bundle), so that either side can be restarted.
 *
 *   shim.json    agent → shim: what to run, where to log (sp_shim_spec)
 *   config.json  agent → crun: the OCI configuration
 *   status.json  shim → agent, once the process runs (sp_shim_status)
 *   exit.json    shim → agent, once it ended or could not be started (sp_shim_exit); the shim
 *                itself ends right after
 *
 * Signals for the container go to the shim as a queued SP_SHIM_SIGNAL whose value is the signal:
 * the shim alone knows whether the process is still the one that was meant. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"

#include <signal.h>

#define SP_SHIM_SIGNAL (SIGRTMIN + 1)
enum { SP_SHIM_READY_FD = 3 }; /* gets one byte when status.json is there */

/* A path inside a volume that a container mounts; row N appears as DIR/sub/N. */
typedef struct sp_shim_sub {
    sp_str volume, path;
} sp_shim_sub;

typedef struct sp_shim_spec {
    sp_str id;         /* of the container, for crun */
    sp_str crun, root; /* program; its state directory */
    sp_str log;        /* path of the log file */
    sp_str cgroup;     /* "/sampan/UID/NAME-0" */
    sp_strs layers;    /* absolute paths, topmost first */
    SP_VEC(sp_shim_sub) subs;
    bool unmount_unified; /* hybrid cgroups: hide the v2 mount from crun */
    int64_t log_max_bytes;
    int log_max_files;
} sp_shim_spec;

typedef struct sp_shim_status {
    int64_t shim_pid, shim_start; /* start time in ticks since boot: a pid alone is not enough */
    int64_t pid;                  /* of the container's first process */
    int64_t started_ms;           /* wall clock */
} sp_shim_status;

typedef struct sp_shim_exit {
    int exit_code, signal;
    bool oom_killed;
    int64_t started_ms, finished_ms; /* started 0: it never ran */
    char error[600];                 /* why it could not be started, else "" */
} sp_shim_exit;

SP_MUST_USE bool sp_shim_spec_write(const char *dir, const sp_shim_spec *s, sp_err *err);
void sp_shim_spec_free(sp_shim_spec *s); /* the vectors */
/* Text lives in the arena; the caller frees the vectors. */
SP_MUST_USE bool sp_shim_spec_read(sp_arena *a, const char *dir, sp_shim_spec *ret, sp_err *err);
SP_MUST_USE bool sp_shim_status_read(const char *dir, sp_shim_status *ret, sp_err *err);
SP_MUST_USE bool sp_shim_status_write(const char *dir, const sp_shim_status *s, sp_err *err);
SP_MUST_USE bool sp_shim_exit_read(const char *dir, sp_shim_exit *ret, sp_err *err);
SP_MUST_USE bool sp_shim_exit_write(const char *dir, const sp_shim_exit *e, sp_err *err);
/* Start time of a process in ticks since boot; 0 if there is none. */
int64_t sp_process_start_ticks(int64_t pid);
/* The same as the kernel tells a boot from the next one by. */
void sp_boot_id(char ret[40]);
