/* `sampan gateway --keepalived-conf FILE` with nothing beside it: only the virtual addresses, in
 * place of keepalived. SIGHUP reads the file again; SIGTERM and SIGINT hand over and end; SIGUSR2
 * starts the program anew, and the new process holds what this one held. */
#pragma once
#include "gateway/vip/vip.h"

typedef struct sp_vip_run_options {
    const char *keepalived_conf, *control_socket; /* the latter may be NULL */
    bool exact, take_over;
} sp_vip_run_options;
int sp_vip_run(const sp_vip_run_options *o);
/* Prints each problem as "path:line: text"; true when none is fatal. */
bool sp_vip_print_problems(const char *path, const sp_vip_problems *p);
