/* Where the agent of a pod's node is, and a client that speaks to it. Loop thread only. */
#pragma once
#include "apiserver/server.h"
#include "net/client.h"

typedef struct sp_node_place {
    sp_str node;      /* name; empty: the pod is not scheduled */
    sp_str container; /* as asked for, or the only one */
    const char *ip;   /* of the agent, in the call's arena; NULL: only by its tunnel */
    uint16_t port;
} sp_node_place;

/* From the pod that the call names. Without a node, ret_place->node is empty and nothing else is
 * filled; that is no error. what: "logs", for messages. */
SP_MUST_USE bool sp_node_locate(sp_call *c, const char *what, bool container, sp_node_place *ret,
                                sp_err *err);
/* Where a Node says that its agent listens. err may be NULL. */
SP_MUST_USE bool sp_node_address(const sp_json *node, sp_node_place *ret, sp_err *err);
/* Kept connections, for logs; NULL when there are too many addresses. */
sp_http_client *sp_node_client(struct sp_node_links *n, const sp_node_place *p);
/* A connection for one call alone; the caller frees it. */
sp_http_client *sp_node_client_new(struct sp_node_links *n, const sp_node_place *p);
/* What the agent said with a status that is no success, as an error for the client. */
void sp_node_explain(sp_call *c, sp_str node, int status, sp_str text, const sp_err *from,
                     sp_err *err);
