/* Nodes that the API server cannot reach, because they stand behind an address translator or a
 * firewall, hold a connection to it; requests to their agents go back through that. Loop thread
 * only. */
#pragma once
#include "apiserver/node_link.h"

struct sp_tunnels *sp_tunnels_new(sp_apiserver *s);
void sp_tunnels_free(struct sp_tunnels *t);
/* GET /sampan/v1/tunnel/NODE with Upgrade: sampan-tunnel, by the node itself. rest: "/NODE". */
void sp_tunnel_serve(sp_call *c, sp_str rest);
/* Fills ret's way to dial when requests to this node shall take the tunnel; else false. */
bool sp_tunnel_way(struct sp_tunnels *t, sp_str node, sp_http_client_config *ret);
/* Kept connections of that way. Only after sp_tunnel_way said yes. */
sp_http_client *sp_tunnel_client(struct sp_tunnels *t, sp_str node);
/* A request that did not take the tunnel found nobody: the next one will take it. */
void sp_tunnel_note_failure(struct sp_tunnels *t, sp_str node);
