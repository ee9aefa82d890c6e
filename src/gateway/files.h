/* The gateway without an API server: a haproxy.cfg read once, and again on SIGHUP, becomes the same
 * objects an API server would hold, and goes the same way (build.h). A file that cannot be taken
 * changes nothing: the last good one keeps being served, and the log says why. Names of servers are
 * looked up again every so often. Loop thread only; the reading happens beside the loop. */
#pragma once
#include "gateway/build.h"

typedef struct sp_files sp_files;

typedef struct sp_files_paths {
    const char *haproxy, *keepalived; /* NULL = none */
} sp_files_paths;

/* What the command line asks: every problem of both files with its line on stderr (--check), the
 * objects as YAML on stdout (--print-objects). The exit code. */
int sp_files_check(const sp_files_paths *p, bool print_objects);

/* Limits that the file sets for the whole process; 0 = not said. */
typedef struct sp_files_limits {
    uint32_t max_connections, grace_ms;
} sp_files_limits;

/* Reads haproxy.cfg for the first time; it must be given. Problems are printed; false if there were
 * errors. (Serving keepalived.conf is vip/control.h's.) */
SP_MUST_USE bool sp_files_open(const sp_files_paths *p, sp_files **ret, sp_files_limits *ret_limits,
                               sp_err *err);
/* Serves from now on. ready: once. */
void sp_files_start(sp_files *f, uv_loop_t *loop, sp_fleet *fleet, const sp_translate_options *o,
                    const sp_build_beyond *beyond, void (*ready)(void *ctx), void *ctx);
void sp_files_reload(sp_files *f); /* SIGHUP */
sp_build *sp_files_build(sp_files *f);
/* Before the fleet; takes NULL, returns NULL. */
sp_files *sp_files_free(sp_files *f);
