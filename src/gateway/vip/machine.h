/* One virtual router's state machine (RFC 9568 section 6.4) as a pure function on virtual time: an
 * event and the time go in, what to do comes out. Nothing here looks at a clock or a socket.
 *
 * Beyond the RFC, and each told at its option:
 * - A master whose health falls hands over: it says priority 0 and keeps the addresses until the
 *   next master is heard (or would have come), so that there is always one who answers.
 * - A master that was not running for longer than the others wait (a paused machine) steps back
 *   instead of going on as if nothing had happened.
 * - Addresses are announced again 0, 0.1, 1 and 3 s after becoming master and after each sign of
 *   another master; a loser's announcements end at once. */
#pragma once
#include "base/util.h"

typedef enum sp_vrrp_state {
    SP_VRRP_INIT, /* not started, stopped, or a check that decides has not answered yet */
    SP_VRRP_BACKUP,
    SP_VRRP_MASTER,
    SP_VRRP_FAULT
} sp_vrrp_state;
const char *sp_vrrp_state_name(sp_vrrp_state s); /* "MASTER" */

enum { SP_VRRP_OWNER = 255, SP_VRRP_ANNOUNCEMENTS = 6 };

typedef struct sp_vrrp_options {
    uint8_t version;
    bool starts_master; /* keepalived's `state MASTER`: the first wait is one interval only */
    bool nopreempt;
    bool hand_over;            /* when the priority falls or a stop is planned; see above */
    bool lower_prio_no_advert; /* do not answer a lower advertisement */
    /* Answer a higher advertisement before yielding: else a winner that was heard first never
     * learns that clients may be looking elsewhere, and announces nothing. */
    bool higher_prio_advert;
    uint8_t down_adverts; /* intervals until a master counts as gone: 3 */
    int64_t advert_us;
    int64_t preempt_delay_us, startup_delay_us;
    int64_t announce_us[SP_VRRP_ANNOUNCEMENTS]; /* after becoming master; ascending, -1 ends */
    int64_t refresh_us;                         /* announce for ever after; 0 = never */
} sp_vrrp_options;
sp_vrrp_options sp_vrrp_defaults(void);

typedef enum sp_vrrp_event_kind {
    SP_VRRP_TICK, /* only time has passed */
    SP_VRRP_START,
    SP_VRRP_ADVERT, /* a valid advertisement of somebody else */
    SP_VRRP_HEALTH, /* what the tracked things say now; before START too */
    SP_VRRP_TAKE,   /* the sync group became master */
    SP_VRRP_YIELD,  /* the sync group lost */
    SP_VRRP_STOP    /* for good: hand over first if the option says so */
} sp_vrrp_event_kind;

typedef struct sp_vrrp_event {
    sp_vrrp_event_kind kind;
    /* ADVERT: the sender's. HEALTH: our own, 1 to 255. */
    uint8_t priority;
    int64_t interval_us; /* ADVERT */
    int compare;         /* ADVERT: the sender's address against ours: <0, 0, >0 */
    bool fault, pending; /* HEALTH: must not be master; does not know yet */
} sp_vrrp_event;

/* What to do, in this order; but with ADD the advertisement comes after the announcement, so that
 * clients have moved when the old master hears of it. */
enum {
    SP_VRRP_DO_REMOVE = 1,   /* the addresses, and every announcement under way */
    SP_VRRP_DO_SEND = 2,     /* an advertisement with send_priority */
    SP_VRRP_DO_ADD = 4,      /* the addresses */
    SP_VRRP_DO_ANNOUNCE = 8, /* gratuitous ARP, unsolicited neighbour advertisements */
    SP_VRRP_DO_NOTIFY = 16,  /* state changed */
    SP_VRRP_DO_STOPPED = 32  /* the answer to STOP */
};

typedef struct sp_vrrp {
    sp_vrrp_options o;
    sp_vrrp_state state;
    uint8_t priority;      /* effective */
    uint8_t send_priority; /* for DO_SEND */
    bool started, fault, pending, stopping, handing_over;
    int64_t master_advert_us; /* learned in version 3 */
    /* Deadlines; INT64_MAX = none. */
    int64_t advert_at, down_at, announce_at, hand_over_at, preempt_at;
    int64_t hold_until;      /* not master before: startup delay */
    int64_t sent_at;         /* last advertisement as master */
    int64_t announced_from;  /* the series' start */
    uint8_t announced;       /* next of the series */
    uint8_t master_priority; /* last accepted */
    const char *why;         /* of the last transition; static text */
    uint64_t transitions;
} sp_vrrp;

void sp_vrrp_init(sp_vrrp *m, const sp_vrrp_options *o, uint8_t priority);
/* New options for a running machine: state and timers stay. */
void sp_vrrp_retune(sp_vrrp *m, const sp_vrrp_options *o);
/* The DO_ flags. Call it again with SP_VRRP_TICK at sp_vrrp_deadline. */
SP_MUST_USE unsigned sp_vrrp_step(sp_vrrp *m, int64_t now_us, const sp_vrrp_event *e);
int64_t sp_vrrp_deadline(const sp_vrrp *m); /* INT64_MAX = no timer */
/* (256 - priority) / 256 of the master's interval. */
int64_t sp_vrrp_skew(const sp_vrrp *m);
int64_t sp_vrrp_down(const sp_vrrp *m); /* silence after which the master is gone */
