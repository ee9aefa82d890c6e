/* Which endpoint gets the next connection or request. Pure: it reads and writes only the structs
 * given, takes time and randomness as arguments, and touches no socket.
 *
 * Endpoints stand in groups, and a later group is asked only when nothing of the former is left:
 *   1. ready ones by priority, then the backup servers;
 *   2. ready ones that refused connections a moment ago or are ejected (outliers), likewise;
 *   3. those that are terminating but still serving (KEP-1669).
 * "Left" means: not tried yet by this request. Endpoints at their max_connections do count as left,
 * so the caller waits; only from one priority to the next a full group spills over.
 *
 * A choice costs O(1) or O(log n) and allocates nothing. The groups are built anew after a change
 * (sp_balance_changed, a report that puts an endpoint out) and when a time has come. */
#pragma once
#include "base/map.h"
#include "base/vec.h"
#include "gateway/addr.h"

typedef struct sp_balance sp_balance;

/* What all loops of one gateway count together (counts.h). */
typedef struct sp_shared_count sp_shared_count;

typedef struct sp_endpoint {
    sp_addr addr;
    uint64_t id;              /* by name, else by address: the same in every gateway */
    uint64_t sticky;          /* what its cookie says; 0 = the pool sets none */
    bool ready;               /* takes new connections */
    bool draining;            /* terminating, still serving; who sticks to it may go on */
    bool sick;                /* only its check says that it is not ready */
    bool no_newcomers;        /* while draining: not even when no other one is left */
    bool backup;              /* only when no other one is left */
    bool gone;                /* in no pool any more; lives on for its open connections */
    uint8_t priority;         /* 0 first */
    uint16_t weight;          /* 1 to 256; 0 = 1 */
    uint32_t max_connections; /* 0 = no limit */
    uint32_t open;            /* connections or requests on it now, of this loop */
    uint32_t refs;            /* one for the pool, one per connection that names it */
    uint32_t failures;        /* connects that failed in a row */
    uint32_t streak;          /* resets and bad answers in a row */
    uint32_t ejections;       /* in a row */
    int64_t avoid_until_ms;   /* after failed connects; 0 = not avoided */
    int64_t eject_until_ms;   /* as an outlier; 0 = not ejected */
    int64_t ready_since_ms;   /* slow start; 0 = for ever */
    sp_shared_count *shared;  /* open ones of all loops; NULL = this loop is alone */
    /* balance.c's own */
    sp_balance *home;
    uint64_t key;       /* virtual time or load; what the heap is ordered by */
    uint64_t order;     /* among equal keys: who was chosen longest ago */
    uint32_t effective; /* weight × 256, less during slow start */
    uint32_t at, group; /* its place in sp_balance.order; SP_BALANCE_NOWHERE */
} sp_endpoint;
enum { SP_BALANCE_NOWHERE = UINT32_MAX };

typedef SP_VEC(sp_endpoint *) sp_endpoints;

typedef enum sp_balance_algorithm {
    SP_BALANCE_TWO_CHOICES, /* two at random by weight, the less loaded one */
    SP_BALANCE_ROUND_ROBIN, /* turns by weight, evenly mixed */
    SP_BALANCE_LEAST,       /* the least loaded for its weight */
    SP_BALANCE_HASH,        /* the same key to the same endpoint (a Maglev table) */
    SP_BALANCE_FIRST        /* the first one that is not full */
} sp_balance_algorithm;

/* Passive checks: what the traffic itself tells. */
typedef struct sp_outlier_spec {
    uint16_t
        consecutive; /* failures (connect, reset, 5xx where `http`) in a row; 0 = connects only */
    bool http;
    uint32_t eject_ms, eject_max_ms; /* doubles with each time in a row */
    uint8_t max_percent;             /* of the pool that may be out at once; 0 = all but one */
} sp_outlier_spec;

enum {
    SP_BALANCE_MAX_CLIENTS = 16384, /* remembered for affinity, per pool */
    SP_BALANCE_AVOID_MS = 500,      /* after the first failed connect; doubles */
    SP_BALANCE_AVOID_MAX_MS = 10000,
    SP_BALANCE_EJECT_MS = 30000, /* when the outlier rule does not say */
    SP_BALANCE_EJECT_MAX_MS = 300000
};

typedef struct sp_balance_group {
    size_t start, n;  /* in sp_balance.order */
    uint64_t weights; /* sum of effective ones */
    bool even;        /* all weights are equal */
    bool spills;      /* the next group is another priority of ready ones */
} sp_balance_group;

struct sp_balance {
    sp_balance_algorithm algorithm;
    int64_t affinity_ms; /* sessionAffinity ClientIP: a client is kept this long; 0 = none */
    uint32_t slow_start_ms;
    uint8_t panic_percent; /* fewer than these are well: checks and ejections are ignored */
    sp_outlier_spec outlier;
    sp_endpoints list; /* not owned */
    /* balance.c's own */
    sp_map clients; /* address bytes → where the client went (owned) */
    sp_map by_id;   /* bytes of the id → endpoint */
    sp_map by_sticky;
    sp_endpoint **order; /* by group; heaps for turns and least */
    uint64_t *sums;      /* of effective weights inside of each group */
    size_t cap;
    SP_VEC(sp_balance_group) groups;
    uint16_t *table; /* hash: slot → index in list */
    size_t table_size;
    uint64_t now, seq; /* virtual time; number of choices */
    int64_t next_change_ms;
    bool built, panic;
};

typedef struct sp_balance_query {
    int64_t now_ms;
    uint64_t random;
    uint64_t hash, sticky;           /* affinity.h; 0 = none */
    const sp_addr *client;           /* for affinity; may be NULL */
    const sp_endpoint *const *tried; /* not again */
    size_t tried_count;
} sp_balance_query;

/* After any change of list, settings or of an endpoint's state that this file did not make;
 * members: endpoints joined or left, or changed name or weight. */
void sp_balance_changed(sp_balance *b, bool members);
/* NULL when no endpoint may be taken; *ret_full: because all that are left have their
 * max_connections. Does not count: sp_balance_opened. */
sp_endpoint *sp_balance_pick(sp_balance *b, const sp_balance_query *q, bool *ret_full);
/* One connection or request more, or less, on e. */
void sp_balance_opened(sp_endpoint *e);
void sp_balance_closed(sp_endpoint *e);
bool sp_balance_try_open(sp_endpoint *e); /* false: another loop took the last place */
bool sp_balance_is_full(const sp_endpoint *e);

typedef enum sp_outcome {
    SP_OUTCOME_CONNECTED,
    SP_OUTCOME_CONNECT_FAILED,
    SP_OUTCOME_RESET, /* lost before the whole answer, or no answer in time */
    SP_OUTCOME_5XX,
    SP_OUTCOME_OK /* any other whole answer; TCP: a connection that ended properly */
} sp_outcome;
/* What the traffic told about an endpoint. True: it is ejected from now on. */
bool sp_balance_report(sp_balance *b, sp_endpoint *e, sp_outcome o, int64_t now_ms);
int64_t sp_balance_longest_ejection_ms(const sp_outlier_spec *o);

/* Forgets the clients; the list's memory goes, not its endpoints. */
void sp_balance_free(sp_balance *b);
