/* What this machine is in a cluster whose etcd Sampan runs, kept in DIR/etcd/member.json: with that
 * a start needs no flags any more. Blocking. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"
#include "store/etcd_client.h"

#define SP_POD_CIDR "10.88.0.0/16" /* of the first machine */

typedef struct sp_member {
    const char *name; /* of the node, and of the member in etcd */
    const char *ip;   /* where the others reach it */
    uint16_t client_port, peer_port, api_port;
    const char *initial_cluster; /* etcd's flag: used by it at its very first start */
    const char *cluster_token;   /* likewise; "" for one that joins */
    const char *pod_cidr;        /* of its node */
    bool joins;                  /* it was not the first one */
    bool reset;                  /* at its next start etcd forgets the other members */
    sp_strs others;              /* client URLs of the other members, as last seen */
} sp_member;

/* Everything lives in the arena. ret_found: there is one. */
SP_MUST_USE bool sp_member_load(sp_arena *a, const char *dir, sp_member *ret, bool *ret_found,
                                sp_err *err);
SP_MUST_USE bool sp_member_save(const char *dir, const sp_member *m, sp_err *err);

/* --- pure --- */
/* "https://10.0.0.1:2379", "https://[::1]:2379" */
const char *sp_member_url(sp_arena *a, const char *ip, uint16_t port);
/* The command line of etcd, NULL-ended. */
const char *const *sp_member_etcd_argv(sp_arena *a, const char *dir, const sp_member *m);
/* All client URLs, our own first: for --etcd-servers. */
const char *sp_member_etcd_servers(sp_arena *a, const sp_member *m);
/* The API servers of the others, which are taken to have the same port; "" = none. */
const char *sp_member_api_servers(sp_arena *a, const sp_member *m);

/* etcd ended because this machine is no member any more: the exit code of the role. */
enum { SP_MEMBER_GONE = 70 };

/* --- becoming one: both write pki/ and member.json; nothing else is started --- */
typedef struct sp_join_request {
    const char *dir, *name, *ip;
    uint16_t client_port, peer_port, api_port;
    const char *pod_cidr;       /* NULL = one that is free */
    const char *server, *token; /* --join and --token */
} sp_join_request;
/* The first one. */
SP_MUST_USE bool sp_member_begin(const sp_join_request *r, sp_err *err);
/* The others are lost for good: etcd begins anew with what this one has. */
SP_MUST_USE bool sp_member_reset(const char *dir, sp_err *err);
/* Asks a running cluster by HTTPS (join.c). Prints what it waits for. What was interrupted may be
 * done again. */
SP_MUST_USE bool sp_member_join(const sp_join_request *r, sp_err *err);
/* That was begun in DIR, and is not done. */
bool sp_member_is_joining(const char *dir);
