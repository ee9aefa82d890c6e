/* `sampan gateway --keepalived-conf FILE` with nothing beside it: only the virtual addresses, in
 * place of keepalived. SIGHUP reads the file again; SIGTERM and SIGINT hand over and end. */
#pragma once
#include "gateway/vip/vip.h"

int sp_vip_run(const char *path, bool exact);
/* Prints each problem as "path:line: text"; true when none is fatal. */
bool sp_vip_print_problems(const char *path, const sp_vip_problems *p);
