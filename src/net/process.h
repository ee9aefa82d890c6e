/* Running a program on the loop: arguments as a list (no shell), output collected under a cap, a
 * deadline after which it is killed. Loop thread only; SIGPIPE is to be ignored (roles do). */
#pragma once
#include "base/err.h"
#include "base/str.h"

#include <uv.h>

typedef struct sp_process_result {
    int exit_code; /* -1 when a signal ended it */
    int signal;    /* 0 when it exited */
    bool timed_out;
    sp_str out, err; /* lent; cut at max_output */
} sp_process_result;

typedef struct sp_process_params {
    const char *const *argv; /* NULL-ended; argv[0] looked up on PATH; copied */
    const char *const *env;  /* NULL-ended, NULL = inherit */
    const char *cwd;         /* NULL = inherit */
    bool as_user;            /* run with these ids and no other groups; needs root */
    uint32_t uid, gid;
    sp_str input;        /* given to stdin, then closed; copied; empty = /dev/null */
    uint32_t timeout_ms; /* 0 = none */
    size_t max_output;   /* 0 = 64 KiB each */
    /* Exactly once. err is set when the program could not be started at all. */
    void (*done)(void *ctx, const sp_process_result *r, const sp_err *err);
    void *ctx;
} sp_process_params;

/* done may be called before this returns, when the program cannot be started. */
void sp_process_run(uv_loop_t *loop, const sp_process_params *p);
