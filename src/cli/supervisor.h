/* Runs the roles as child processes of this binary and keeps them running: a role that ends is
 * started again after a growing pause (100 ms doubling to 10 s, back to the start after 30 s of
 * health). Loop thread only. */
#pragma once
#include "base/err.h"
#include "base/vec.h"

#include <uv.h>

typedef struct sp_supervisor sp_supervisor;

typedef struct sp_role_spec {
    const char *name;          /* "apiserver": also the subcommand */
    SP_VEC(const char *) args; /* behind the subcommand; borrowed for ever */
    bool last;                 /* others need it until their end: stopped when they have ended */
} sp_role_spec;

typedef struct sp_supervisor_config {
    const char *log_dir; /* ROLE.log is written there; NULL = our own stderr */
    /* first: not seen ready before. attempts: starts so far. */
    void (*on_ready)(void *ctx, const char *role, bool first, int64_t took_ms);
    /* code: of its exit, -1 after a signal or when it could not be started. */
    void (*on_exit)(void *ctx, const char *role, int code, const char *how, int64_t restart_ms);
    /* A successor ended before it was ready: nothing has changed. */
    void (*on_not_replaced)(void *ctx, const char *role, const char *how);
    /* A role ended three times without ever being ready: tail is the end of what it wrote. */
    void (*on_hopeless)(void *ctx, const char *role, const char *how, sp_str tail);
    void *ctx;
} sp_supervisor_config;

sp_supervisor *sp_supervisor_new(uv_loop_t *loop, const sp_supervisor_config *c);
/* Takes the spec's argument vector. Starts at once. */
SP_MUST_USE bool sp_supervisor_add(sp_supervisor *s, sp_role_spec spec, sp_err *err);
/* Starts a second process of the role beside the one that runs, with one argument more; it takes
 * over by itself. Once it is ready it is the role and the old one is let go; when it ends before,
 * the old one stays. One that is not ready yet has nothing to give: it is started again. */
SP_MUST_USE bool sp_supervisor_replace(sp_supervisor *s, const char *role, const char *argument,
                                       sp_err *err);
/* Ends the role, ready or not, and starts it again at once; that is no failure. Nothing happens
 * when it does not run just now: its next start is on its way. */
void sp_supervisor_restart(sp_supervisor *s, const char *role);
bool sp_supervisor_all_ready(const sp_supervisor *s);
/* SIGTERM to all in reverse order of adding (then to those that are `last`), SIGKILL after
 * grace_ms; done when all have ended; the supervisor is freed after that. */
void sp_supervisor_stop(sp_supervisor *s, int64_t grace_ms, void (*done)(void *ctx));

/* The pause before the next start: pure. failures counts exits since the role was last healthy. */
int64_t sp_restart_delay_ms(int failures);
