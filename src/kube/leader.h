/* One of many acts: leader election by a Lease (coordination.k8s.io), as client-go does it, so that
 * `kubectl get leases -n kube-system` shows who leads, and candidates of other programs would be
 * respected.
 *
 * Who leads renews every `retry_ms`. Who does not, looks as often, and takes the Lease when it was
 * given back, or when it has not changed for the time its holder had promised to renew it within,
 * by our own monotonic clock (clocks of machines need not agree). All changes are made on the
 * resourceVersion that was seen, so of two only one succeeds. A leader that could not renew for
 * `renew_deadline_ms` has lost, and ends at once.
 *
 * That alone does not hold back a leader that was frozen after it had looked at the clock:
 * therefore its writes carry the Lease (sp_kube_set_fence), and the API server refuses them once
 * another holds it. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct sp_leader_timing {
    int64_t lease_ms, renew_deadline_ms, retry_ms;
} sp_leader_timing;
#define SP_LEADER_TIMING_DEFAULT \
    (sp_leader_timing) {         \
        15000, 10000, 2000       \
    }
/* From the texts of the flags ("15s"; NULL leaves a value); client-go's rules. */
SP_MUST_USE bool sp_leader_timing_read(sp_leader_timing *t, const char *lease, const char *deadline,
                                       const char *retry, sp_err *err);

/* --- the decision, on any clock --- */
typedef struct sp_leader_view {
    sp_leader_timing timing;
    bool asking;         /* a request is under way */
    bool fresh;          /* what is below was seen after the last wait */
    bool exists;         /* the Lease */
    bool held, ours;     /* by anybody; by us */
    int64_t changed_ms;  /* when it was first seen as it is now */
    int64_t promised_ms; /* its leaseDurationSeconds */
    bool leading;
    int64_t renewed_ms; /* when the last request that went well was sent */
} sp_leader_view;
typedef enum sp_leader_step {
    SP_LEADER_WAIT, /* for the next tick, or the answer */
    SP_LEADER_LOOK,
    SP_LEADER_CREATE,
    SP_LEADER_TAKE, /* or renew: written on the version that was seen */
    SP_LEADER_LOST
} sp_leader_step;
sp_leader_step sp_leader_decide(const sp_leader_view *v, int64_t now_ms);

/* --- a candidate --- */
typedef struct sp_leader sp_leader;
typedef struct sp_leader_config {
    sp_kube_config kube; /* a connection of its own: nothing queues in front of a renewal */
    const char *namespace_, *name;
    sp_leader_timing timing;
    void (*standing_by)(void *ctx);           /* once, when another one leads; may be NULL */
    void (*leading)(void *ctx);               /* once */
    void (*lost)(void *ctx, const char *why); /* was leading; must end the process */
    void *ctx;
} sp_leader_config;
/* The strings are copied. */
SP_MUST_USE bool sp_leader_start(uv_loop_t *loop, const sp_leader_config *c, sp_leader **ret,
                                 sp_err *err);
bool sp_leader_is_leading(const sp_leader *l);
/* What the leader writes by k is made only while it leads. */
void sp_leader_fence(sp_leader *l, sp_kube *k);
/* Gives the Lease back if it is ours, so that the next one need not wait; then done (after two
 * seconds whatever the server says), and l is gone. Whatever l fenced must not be used any more. */
void sp_leader_stop(sp_leader *l, void (*done)(void *ctx), void *ctx);
