/* Which endpoint gets the next connection or request. Pure: it reads and writes only the structs
 * given, takes time and randomness as arguments, and touches no socket.
 *
 * The choice goes in tiers: ready endpoints; if there are none, those that are terminating but
 * still serving (KEP-1669). Inside a tier, endpoints that refused a connection a moment ago are
 * taken only when nothing else is left, and those this request has tried already not at all. */
#pragma once
#include "base/map.h"
#include "base/vec.h"
#include "gateway/addr.h"

typedef struct sp_endpoint {
    sp_addr addr;
    bool ready;             /* takes new connections */
    bool draining;          /* terminating, still serving */
    bool gone;              /* in no pool any more; lives on for its open connections */
    uint32_t open;          /* connections or requests on it now */
    uint32_t refs;          /* one for the pool, one per connection that names it */
    uint32_t failures;      /* connects that failed in a row */
    int64_t avoid_until_ms; /* after failed connects; 0 = not avoided */
} sp_endpoint;

typedef SP_VEC(sp_endpoint *) sp_endpoints;

typedef enum sp_balance_algorithm {
    SP_BALANCE_TWO_CHOICES, /* two at random, the one with fewer open connections */
    SP_BALANCE_ROUND_ROBIN
} sp_balance_algorithm;

enum {
    SP_BALANCE_MAX_CLIENTS = 16384, /* remembered for affinity, per pool */
    SP_BALANCE_AVOID_MS = 500,      /* after the first failed connect; doubles */
    SP_BALANCE_AVOID_MAX_MS = 10000
};

typedef struct sp_balance {
    sp_balance_algorithm algorithm;
    int64_t affinity_ms; /* sessionAffinity ClientIP: a client is kept this long; 0 = none */
    sp_endpoints list;   /* not owned */
    size_t next;         /* round robin's place */
    sp_map clients;      /* address bytes → where the client went (owned) */
} sp_balance;

typedef struct sp_balance_query {
    int64_t now_ms;
    uint64_t random;
    const sp_addr *client;           /* for affinity; may be NULL */
    const sp_endpoint *const *tried; /* not again */
    size_t tried_count;
} sp_balance_query;

/* NULL when no endpoint may be taken. */
sp_endpoint *sp_balance_pick(sp_balance *b, const sp_balance_query *q);
/* What a connect told about the endpoint. */
void sp_balance_connected(sp_endpoint *e);
void sp_balance_connect_failed(sp_endpoint *e, int64_t now_ms);
/* Forgets the clients; the list's memory goes, not its endpoints. */
void sp_balance_free(sp_balance *b);
