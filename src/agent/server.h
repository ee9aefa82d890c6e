/* The agent's HTTPS server, for the API server (logs) and for metrics. Every caller needs a client
 * certificate of our CA.
 *
 *   GET /healthz
 *   GET /metrics
 *   GET /containerLogs/NAMESPACE/POD/CONTAINER
 *       ?follow=true&tailLines=N&previous=true&timestamps=true&sinceSeconds=N&sinceTime=T&limitBytes=N
 */
#pragma once
#include "agent/pod.h"

typedef struct sp_agent_server sp_agent_server;

typedef struct sp_agent_server_config {
    const char *host;
    uint16_t port; /* 0 = any */
    const char *cert_file, *key_file, *ca_file;
} sp_agent_server_config;

SP_MUST_USE bool sp_agent_server_start(sp_agent *g, const sp_agent_server_config *c,
                                       sp_agent_server **ret, sp_err *err);
uint16_t sp_agent_server_port(const sp_agent_server *s);
