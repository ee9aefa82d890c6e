/* The agent's HTTPS server, for the API server (logs, exec, port-forward) and for metrics. Every
 * caller needs a client certificate of our CA with the organization system:masters.
 *
 *   GET /healthz
 *   GET /metrics
 *   GET /containerLogs/NAMESPACE/POD/CONTAINER
 *       ?follow=true&tailLines=N&previous=true&timestamps=true&sinceSeconds=N&sinceTime=T&limitBytes=N
 *   GET, POST /exec/NAMESPACE/POD/CONTAINER?command=…&stdin=true&stdout=true&stderr=true&tty=true
 *   GET, POST /attach/NAMESPACE/POD/CONTAINER?stdout=true&stderr=true
 *   GET, POST /portForward/NAMESPACE/POD?ports=…
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
/* A connection that came through the tunnel, from the API server; fd is taken. */
void sp_agent_server_take(sp_agent_server *s, int fd);
uint16_t sp_agent_server_port(const sp_agent_server *s);
