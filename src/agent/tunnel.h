/* The way back: a connection that this node holds to each API server of its kubeconfig, through
 * which that one reaches our HTTPS server's handlers although nobody can connect to this machine.
 * Reconnects by itself, with growing pauses. Loop thread only. */
#pragma once
#include "agent/server.h"

typedef struct sp_tunnel sp_tunnel;

/* mode: "auto" (used where our address cannot be reached) or "always". */
SP_MUST_USE bool sp_tunnel_start(sp_agent *g, sp_agent_server *server, const char *kubeconfig,
                                 const char *mode, sp_tunnel **ret, sp_err *err);
sp_tunnel *sp_tunnel_stop(sp_tunnel *t); /* takes NULL, returns NULL */
