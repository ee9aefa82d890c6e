/* Who belongs to an etcd cluster, how each of them is, and changes of that (etcd's services Cluster
 * and Maintenance, 3.4 and newer). What is asked goes to each member by itself, by short-lived
 * clients of its own, so a member that hangs delays nothing but its own row. Loop thread only. */
#pragma once
#include "base/arena.h"
#include "store/etcd_client.h"

typedef struct sp_etcd_member {
    uint64_t id;
    sp_str name;            /* "" until it has started for the first time */
    sp_strs peers, clients; /* URLs; their vectors live in the arena */
    bool learner;           /* has no vote yet */
    /* By its own answer. */
    bool answers;
    sp_str why; /* when it does not */
    sp_str version;
    uint64_t leader; /* whom it follows; 0 = nobody */
    int64_t db_bytes, db_used_bytes;
    int64_t latency_us; /* of one answer on a connection that is open */
    sp_str alarm;       /* "NOSPACE", "CORRUPT"; "" = none */
} sp_etcd_member;

typedef struct sp_etcd_survey {
    SP_VEC(sp_etcd_member) members;
    bool quorum;    /* a question that needs it was answered */
    sp_str trouble; /* why it was not */
} sp_etcd_survey;

typedef struct sp_etcd_look sp_etcd_look;
/* Once, never from inside the start. survey is lent and lives in the arena; NULL when not even the
 * list could be had. */
typedef void sp_etcd_look_done(void *ctx, const sp_etcd_survey *survey, const sp_err *err);
/* c is borrowed until done. */
sp_etcd_look *sp_etcd_look_start(uv_loop_t *loop, const sp_etcd_config *c, sp_arena *a,
                                 sp_etcd_look_done *done, void *ctx);
void sp_etcd_look_cancel(sp_etcd_look *l); /* done is not called any more */

typedef struct sp_etcd_change sp_etcd_change;
typedef enum sp_etcd_change_kind {
    SP_ETCD_ADD_LEARNER, /* url: of its peers */
    SP_ETCD_PROMOTE,     /* a learner that is in sync gets its vote; id */
    SP_ETCD_REMOVE       /* id */
} sp_etcd_change_kind;
/* Once, never from inside the start; err NULL: the cluster has agreed. One endpoint after the other
 * is asked until one answers. */
typedef void sp_etcd_change_done(void *ctx, const sp_err *err);
sp_etcd_change *sp_etcd_change_start(uv_loop_t *loop, const sp_etcd_config *c,
                                     sp_etcd_change_kind kind, uint64_t id, const char *url,
                                     sp_etcd_change_done *done, void *ctx);
void sp_etcd_change_cancel(sp_etcd_change *c); /* done is not called any more */

/* --- decisions (pure) --- */

/* The member of that name, or of that ID in hexadecimal digits; NULL = none. */
const sp_etcd_member *sp_etcd_member_find(const sp_etcd_survey *s, sp_str name);
/* May it go? Not the last one, and not when the rest would have no quorum. */
SP_MUST_USE bool sp_etcd_may_remove(const sp_etcd_survey *s, sp_str name,
                                    const sp_etcd_member **ret, sp_err *err);
/* May a new one of this name come? ret_there: it was added before and never started, so it need
 * not be added again. SP_TOO_MANY: not now, because another one is just coming. */
SP_MUST_USE bool sp_etcd_may_join(const sp_etcd_survey *s, sp_str name, sp_str peer_url,
                                  bool *ret_there, sp_err *err);
/* "a=https://…:2380,b=…", as etcd's --initial-cluster wants it; name: of the one at peer_url, which
 * has not told its own yet. */
void sp_etcd_initial_cluster(const sp_etcd_survey *s, sp_str name, sp_str peer_url, sp_buf *ret);
