/* Our Node in the API, and the Lease that says we live (every 10 s; the node's status only when it
 * changes, and every 5 minutes). Loop thread. */
#pragma once
#include "agent/pod.h"

typedef struct sp_node sp_node;

typedef struct sp_node_config {
    uint16_t port; /* of our HTTPS server, 0 = none */
    int64_t max_pods;
    const char *const *problems; /* NULL-ended texts for conditions; may be NULL */
} sp_node_config;

/* registered is called once the Node is there. */
sp_node *sp_node_start(sp_agent *g, const sp_node_config *c, void (*registered)(void *ctx),
                       void *ctx);
