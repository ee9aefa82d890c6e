#include "gateway/vip/machine.h"

#define NEVER INT64_MAX
enum { GRACE_US = 50000 };

const char *sp_vrrp_state_name(sp_vrrp_state s) {
    static const char *const names[] = {"INIT", "BACKUP", "MASTER", "FAULT"};
    return names[s];
}

sp_vrrp_options sp_vrrp_defaults(void) {
    return (sp_vrrp_options){.version = 3,
                             .hand_over = true,
                             .higher_prio_advert = true,
                             .down_adverts = 3,
                             .advert_us = 1000000,
                             .announce_us = {0, 100000, 1000000, 3000000, -1},
                             .refresh_us = 10000000};
}

int64_t sp_vrrp_skew(const sp_vrrp *m) {
    return (256 - m->priority) * m->master_advert_us / 256;
}

int64_t sp_vrrp_down(const sp_vrrp *m) {
    return m->o.down_adverts * m->master_advert_us + sp_vrrp_skew(m);
}

static void no_timers(sp_vrrp *m) {
    m->advert_at = m->down_at = m->announce_at = m->hand_over_at = m->preempt_at = NEVER;
}

void sp_vrrp_init(sp_vrrp *m, const sp_vrrp_options *o, uint8_t priority) {
    *m = (sp_vrrp){.o = *o, .priority = priority, .master_advert_us = o->advert_us};
    m->why = "not started";
    no_timers(m);
}

void sp_vrrp_retune(sp_vrrp *m, const sp_vrrp_options *o) {
    bool own = m->master_advert_us == m->o.advert_us;
    m->o = *o;
    if (own || m->state == SP_VRRP_MASTER) m->master_advert_us = o->advert_us;
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t sp_vrrp_deadline(const sp_vrrp *m) {
    int64_t at = earlier(earlier(m->advert_at, m->down_at), m->announce_at);
    return earlier(at, m->hand_over_at);
}

/* --- announcements --- */

static void plan_announcement(sp_vrrp *m, int64_t now) {
    bool more = m->announced < SP_VRRP_ANNOUNCEMENTS && m->o.announce_us[m->announced] >= 0;
    if (more)
        m->announce_at = m->announced_from + m->o.announce_us[m->announced];
    else
        m->announce_at = m->o.refresh_us > 0 ? now + m->o.refresh_us : NEVER;
}

static unsigned announce_if_due(sp_vrrp *m, int64_t now) {
    if (m->announce_at > now) return 0;
    while (m->announced < SP_VRRP_ANNOUNCEMENTS && m->o.announce_us[m->announced] >= 0 &&
           m->announced_from + m->o.announce_us[m->announced] <= now)
        m->announced++;
    plan_announcement(m, now);
    return SP_VRRP_DO_ANNOUNCE;
}

static unsigned start_announcing(sp_vrrp *m, int64_t now) {
    m->announced_from = now;
    m->announced = 0;
    m->announce_at = now;
    return announce_if_due(m, now);
}

/* --- transitions --- */

static unsigned enter(sp_vrrp *m, sp_vrrp_state s, const char *why) {
    bool was_master = m->state == SP_VRRP_MASTER;
    if (m->state == s) return 0;
    m->state = s;
    m->why = why;
    m->transitions++;
    m->handing_over = false;
    no_timers(m);
    return SP_VRRP_DO_NOTIFY | (was_master ? SP_VRRP_DO_REMOVE : 0u);
}

static unsigned send(sp_vrrp *m, int64_t now, uint8_t priority) {
    m->send_priority = priority;
    m->sent_at = now;
    if (priority) m->advert_at = now + m->o.advert_us;
    return SP_VRRP_DO_SEND;
}

static unsigned become_master(sp_vrrp *m, int64_t now, const char *why) {
    unsigned todo = enter(m, SP_VRRP_MASTER, why);
    m->master_advert_us = m->o.advert_us;
    todo |= send(m, now, m->priority) | SP_VRRP_DO_ADD;
    return todo | start_announcing(m, now);
}

static unsigned become_backup(sp_vrrp *m, int64_t now, const char *why) {
    unsigned todo = enter(m, SP_VRRP_BACKUP, why);
    m->down_at = now + sp_vrrp_down(m);
    return todo;
}

static unsigned first_state(sp_vrrp *m, int64_t now, const char *why) {
    if (m->priority == SP_VRRP_OWNER && now >= m->hold_until)
        return become_master(m, now, "owner of the addresses");
    unsigned todo = become_backup(m, now, why);
    if (m->priority == SP_VRRP_OWNER) m->down_at = m->hold_until;
    return todo;
}

static unsigned start(sp_vrrp *m, int64_t now) {
    if (m->started) return 0;
    m->started = true;
    m->hold_until = now + m->o.startup_delay_us;
    if (m->fault) return enter(m, SP_VRRP_FAULT, "a tracked thing is down");
    if (m->pending) return 0;
    unsigned todo = first_state(m, now, "started");
    if (m->o.starts_master && m->state == SP_VRRP_BACKUP && m->priority != SP_VRRP_OWNER)
        m->down_at = now + m->master_advert_us + sp_vrrp_skew(m);
    return todo;
}

/* The addresses stay until the next master is heard or would have been there. */
static unsigned begin_hand_over(sp_vrrp *m, int64_t now) {
    m->handing_over = true;
    m->advert_at = m->announce_at = NEVER;
    m->hand_over_at = now + m->o.advert_us + GRACE_US;
    return send(m, now, 0);
}

static unsigned end_hand_over(sp_vrrp *m, int64_t now, const char *why) {
    if (m->stopping) {
        unsigned todo = enter(m, SP_VRRP_INIT, "stopped") | SP_VRRP_DO_STOPPED;
        m->started = false;
        return todo;
    }
    return become_backup(m, now, why);
}

/* --- events --- */

static unsigned on_advert_as_master(sp_vrrp *m, int64_t now, const sp_vrrp_event *e) {
    bool higher = e->priority > m->priority || (e->priority == m->priority && e->compare > 0);
    bool lower = e->priority < m->priority || (e->priority == m->priority && e->compare < 0);
    if (m->handing_over) {
        if (e->priority == 0) return 0;
        m->master_priority = e->priority;
        if (m->o.version == 3) m->master_advert_us = e->interval_us;
        return end_hand_over(m, now, "handed over");
    }
    if (e->priority == 0) return send(m, now, m->priority) | start_announcing(m, now);
    if (lower) {
        unsigned todo = m->o.lower_prio_no_advert ? 0 : send(m, now, m->priority);
        return todo | start_announcing(m, now);
    }
    if (!higher) return 0; /* our own words come back: a loop in the network */
    uint8_t ours = m->priority;
    m->master_priority = e->priority;
    if (m->o.version == 3) m->master_advert_us = e->interval_us;
    unsigned todo = become_backup(m, now, "a higher priority was heard");
    if (m->o.higher_prio_advert) {
        m->send_priority = ours;
        todo |= SP_VRRP_DO_SEND;
    }
    return todo;
}

/* True while a lower master is left alone because preempt_delay runs. */
static bool delays_preemption(sp_vrrp *m, int64_t now, uint8_t heard) {
    if (m->o.preempt_delay_us == 0) return false;
    if (heard >= m->priority)
        m->preempt_at = NEVER;
    else if (m->preempt_at == NEVER)
        m->preempt_at = now + m->o.preempt_delay_us;
    return m->preempt_at > now;
}

static unsigned on_advert_as_backup(sp_vrrp *m, int64_t now, const sp_vrrp_event *e) {
    if (e->priority == 0) {
        m->down_at = now + sp_vrrp_skew(m);
        return 0;
    }
    bool delayed = delays_preemption(m, now, e->priority);
    if (m->o.nopreempt || e->priority >= m->priority || delayed) {
        if (m->o.version == 3) m->master_advert_us = e->interval_us;
        m->master_priority = e->priority;
        m->down_at = now + sp_vrrp_down(m);
    }
    return 0;
}

static unsigned on_advert(sp_vrrp *m, int64_t now, const sp_vrrp_event *e) {
    if (m->state == SP_VRRP_MASTER) return on_advert_as_master(m, now, e);
    if (m->state == SP_VRRP_BACKUP) return on_advert_as_backup(m, now, e);
    return 0;
}

static unsigned set_priority(sp_vrrp *m, int64_t now, uint8_t priority) {
    uint8_t before = m->priority;
    if (before == priority || before == SP_VRRP_OWNER) return 0;
    int64_t skew = sp_vrrp_skew(m);
    m->priority = priority;
    if (m->down_at != NEVER) m->down_at += sp_vrrp_skew(m) - skew;
    bool falls = priority < before && m->state == SP_VRRP_MASTER && !m->handing_over;
    return falls && m->o.hand_over ? begin_hand_over(m, now) : 0;
}

static unsigned on_health(sp_vrrp *m, int64_t now, const sp_vrrp_event *e) {
    m->fault = e->fault;
    m->pending = e->pending;
    unsigned todo = set_priority(m, now, e->priority);
    if (!m->started) return 0;
    if (m->fault && m->state != SP_VRRP_FAULT) {
        bool told = m->state == SP_VRRP_MASTER;
        todo |= enter(m, SP_VRRP_FAULT, "a tracked thing is down");
        if (told) todo |= send(m, now, 0);
        if (!m->stopping) return todo;
        m->started = false;
        return todo | SP_VRRP_DO_STOPPED;
    }
    if (m->fault || m->pending) return todo;
    if (m->state == SP_VRRP_FAULT || m->state == SP_VRRP_INIT)
        return first_state(m, now, "all that is tracked is up");
    return todo;
}

static unsigned on_stop(sp_vrrp *m, int64_t now) {
    if (m->stopping) return 0;
    m->stopping = true;
    if (m->state == SP_VRRP_MASTER && m->o.hand_over)
        return m->handing_over ? 0 : begin_hand_over(m, now);
    bool told = m->state == SP_VRRP_MASTER;
    unsigned todo = end_hand_over(m, now, "stopped");
    return told ? todo | send(m, now, 0) : todo;
}

static unsigned on_yield(sp_vrrp *m, int64_t now) {
    if (m->state != SP_VRRP_MASTER || m->handing_over) return 0;
    unsigned todo = become_backup(m, now, "the sync group yields");
    return todo | send(m, now, 0);
}

static unsigned on_take(sp_vrrp *m, int64_t now) {
    if (m->state != SP_VRRP_BACKUP || m->stopping) return 0;
    return become_master(m, now, "others of this node were master before");
}

/* Nobody came: a sick owner is better than none, unless we slept through the heir's coming. */
static unsigned no_heir(sp_vrrp *m, int64_t now) {
    if (m->stopping || now - m->hand_over_at > m->o.advert_us)
        return end_hand_over(m, now, "handed over, to nobody that was heard");
    m->handing_over = false;
    m->hand_over_at = NEVER;
    return send(m, now, m->priority) | start_announcing(m, now);
}

static unsigned on_time(sp_vrrp *m, int64_t now) {
    if (m->hand_over_at <= now) return no_heir(m, now);
    if (m->down_at <= now && now < m->hold_until) {
        m->down_at = m->hold_until;
        return 0;
    }
    if (m->down_at <= now) return become_master(m, now, "no master is heard");
    unsigned todo = 0;
    if (m->advert_at <= now) todo |= send(m, now, m->priority);
    return todo | announce_if_due(m, now);
}

/* The others have taken over meanwhile: what arrives now must not meet a master. */
static unsigned was_away(sp_vrrp *m, int64_t now) {
    if (m->state != SP_VRRP_MASTER || m->handing_over) return 0;
    if (now - m->sent_at <= m->o.down_adverts * m->o.advert_us) return 0;
    return become_backup(m, now, "was not running for too long");
}

unsigned sp_vrrp_step(sp_vrrp *m, int64_t now, const sp_vrrp_event *e) {
    unsigned todo = was_away(m, now);
    switch (e->kind) {
    case SP_VRRP_START: return todo | start(m, now);
    case SP_VRRP_ADVERT: return todo | on_advert(m, now, e);
    case SP_VRRP_HEALTH: return todo | on_health(m, now, e);
    case SP_VRRP_TAKE: return todo | on_take(m, now);
    case SP_VRRP_YIELD: return todo | on_yield(m, now);
    case SP_VRRP_STOP: return todo | on_stop(m, now);
    case SP_VRRP_TICK: break;
    }
    return todo | on_time(m, now);
}
