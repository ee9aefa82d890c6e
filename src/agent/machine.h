/* The machine under the agent: may we run here, where is crun, how do cgroups look, which network
 * is free. Each refusal is one sentence that says what to do. Blocking; before the loop runs. */
#pragma once
#include "agent/pod.h"

typedef struct sp_machine_options {
    const char *data_dir;
    const char *pod_cidr, *bridge; /* NULL = choose */
    const char *node_ip;           /* NULL = find */
} sp_machine_options;

/* Fills the agent's fields about the machine; makes directories, mounts, the bridge. */
SP_MUST_USE bool sp_machine_prepare(sp_agent *g, const sp_machine_options *o, sp_err *err);
/* Masquerading for pods by one `nft` batch; a warning when that cannot be had. */
void sp_machine_firewall(sp_agent *g);
/* Ends all containers of the data directory and removes what prepare made. */
bool sp_machine_cleanup(sp_agent *g);
