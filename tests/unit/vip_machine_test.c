/* The state machine on virtual time: single transitions, then three nodes, a network and 200 random
 * schedules of faults against what must hold when the faults are over. */
#include "gateway/vip/machine.h"
#include "gateway/vip/track.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { S = 1000000, MS = 1000 };

static sp_vrrp_options options(void) {
    sp_vrrp_options o = sp_vrrp_defaults();
    o.advert_us = S;
    return o;
}

static unsigned tell(sp_vrrp *m, int64_t now, sp_vrrp_event_kind kind) {
    return sp_vrrp_step(m, now, &(sp_vrrp_event){.kind = kind});
}
static unsigned hear(sp_vrrp *m, int64_t now, uint8_t priority, int compare) {
    return sp_vrrp_step(
        m, now,
        &(sp_vrrp_event){
            .kind = SP_VRRP_ADVERT, .priority = priority, .interval_us = S, .compare = compare});
}
static unsigned health(sp_vrrp *m, int64_t now, uint8_t priority, bool fault) {
    return sp_vrrp_step(
        m, now, &(sp_vrrp_event){.kind = SP_VRRP_HEALTH, .priority = priority, .fault = fault});
}

static sp_vrrp started(const sp_vrrp_options *o, uint8_t priority) {
    sp_vrrp m;
    sp_vrrp_init(&m, o, priority);
    assert_int_equal(tell(&m, 0, SP_VRRP_START), SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.state, SP_VRRP_BACKUP);
    return m;
}

/* A master since `now`. */
static sp_vrrp master(const sp_vrrp_options *o, uint8_t priority, int64_t *ret_now) {
    sp_vrrp m = started(o, priority);
    *ret_now = sp_vrrp_deadline(&m);
    unsigned todo = tell(&m, *ret_now, SP_VRRP_TICK);
    assert_int_equal(todo,
                     SP_VRRP_DO_SEND | SP_VRRP_DO_ADD | SP_VRRP_DO_ANNOUNCE | SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.state, SP_VRRP_MASTER);
    return m;
}

static void test_timers_of_the_rfc(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    sp_vrrp m = started(&o, 100);
    assert_int_equal(sp_vrrp_skew(&m), 156 * S / 256);
    assert_int_equal(sp_vrrp_deadline(&m), 3 * S + 156 * S / 256);
    /* keepalived's state MASTER waits for one advertisement only */
    o.starts_master = true;
    m = started(&o, 100);
    assert_int_equal(sp_vrrp_deadline(&m), S + 156 * S / 256);
    /* priority 0: the skew is left */
    hear(&m, S, 0, 1);
    assert_int_equal(sp_vrrp_deadline(&m), S + 156 * S / 256);
    /* an owner waits for nobody */
    sp_vrrp_init(&m, &o, 255);
    tell(&m, 0, SP_VRRP_START);
    assert_int_equal(m.state, SP_VRRP_MASTER);
    /* but for the startup delay */
    o.startup_delay_us = 10 * S;
    sp_vrrp_init(&m, &o, 255);
    tell(&m, 0, SP_VRRP_START);
    assert_int_equal(m.state, SP_VRRP_BACKUP);
    tell(&m, sp_vrrp_deadline(&m), SP_VRRP_TICK);
    assert_int_equal(m.state, SP_VRRP_MASTER);
}

static void test_version_3_learns_the_interval(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    sp_vrrp m = started(&o, 100);
    sp_vrrp_event e = {.kind = SP_VRRP_ADVERT, .priority = 200, .interval_us = 100 * MS};
    assert_int_equal(sp_vrrp_step(&m, S, &e), 0);
    assert_int_equal(sp_vrrp_deadline(&m), S + 300 * MS + 156 * 100 * MS / 256);
    o.version = 2;
    m = started(&o, 100);
    assert_int_equal(sp_vrrp_step(&m, S, &e), 0);
    assert_int_equal(sp_vrrp_deadline(&m), S + 3 * S + 156 * S / 256);
}

static void test_a_master_and_what_it_hears(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    int64_t now;
    sp_vrrp m = master(&o, 100, &now);
    now += 5 * MS;
    assert_int_equal(hear(&m, now, 0, 1), SP_VRRP_DO_SEND | SP_VRRP_DO_ANNOUNCE);
    assert_int_equal(m.send_priority, 100);
    assert_int_equal(hear(&m, now, 99, 1), SP_VRRP_DO_SEND | SP_VRRP_DO_ANNOUNCE);
    assert_int_equal(hear(&m, now, 100, -1), SP_VRRP_DO_SEND | SP_VRRP_DO_ANNOUNCE);
    assert_int_equal(hear(&m, now, 100, 0), 0); /* itself */
    /* the winner must learn that there were two */
    assert_int_equal(hear(&m, now, 100, 1),
                     SP_VRRP_DO_REMOVE | SP_VRRP_DO_SEND | SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.send_priority, 100);
    assert_int_equal(m.state, SP_VRRP_BACKUP);
    assert_int_equal(m.announce_at, INT64_MAX); /* a loser announces nothing any more */
}

static void test_announces_as_planned(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    int64_t now, t0;
    o.refresh_us = 30 * (int64_t)S;
    sp_vrrp m = master(&o, 100, &t0);
    int64_t seen[6];
    size_t n = 0;
    for (now = t0; n < 5;) {
        now = sp_vrrp_deadline(&m);
        if (tell(&m, now, SP_VRRP_TICK) & SP_VRRP_DO_ANNOUNCE) seen[n++] = now - t0;
    }
    const int64_t wanted[] = {100 * MS, S, 3 * S, 33 * (int64_t)S, 63 * (int64_t)S};
    for (size_t i = 0; i < 5; i++) assert_int_equal(seen[i], wanted[i]);
    /* another master's trace starts the series again */
    now += MS;
    assert_true(hear(&m, now, 50, 1) & SP_VRRP_DO_ANNOUNCE);
    assert_int_equal(m.announce_at, now + 100 * MS);
}

static void test_preemption(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    sp_vrrp m = started(&o, 100);
    int64_t down = sp_vrrp_deadline(&m);
    hear(&m, S, 90, -1);
    assert_int_equal(sp_vrrp_deadline(&m), down); /* discarded: the wait goes on */
    hear(&m, S, 100, -1);
    assert_int_equal(sp_vrrp_deadline(&m), S + sp_vrrp_down(&m));
    o.nopreempt = true;
    m = started(&o, 100);
    hear(&m, S, 90, -1);
    assert_int_equal(sp_vrrp_deadline(&m), S + sp_vrrp_down(&m));
    o.nopreempt = false;
    o.preempt_delay_us = 5 * S;
    m = started(&o, 100);
    for (int64_t t = S; t < 6 * S; t += S) {
        hear(&m, t, 90, -1);
        assert_int_equal(sp_vrrp_deadline(&m), t + sp_vrrp_down(&m));
    }
    down = sp_vrrp_deadline(&m);
    hear(&m, 6 * S, 90, -1);
    assert_int_equal(sp_vrrp_deadline(&m), down);
}

static void test_hand_over(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    int64_t now;
    sp_vrrp m = master(&o, 111, &now);
    assert_int_equal(health(&m, now, 100, false), SP_VRRP_DO_SEND);
    assert_int_equal(m.send_priority, 0);
    assert_int_equal(m.state, SP_VRRP_MASTER); /* answers until the heir is there */
    assert_int_equal(hear(&m, now + 600 * MS, 101, 1), SP_VRRP_DO_REMOVE | SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.state, SP_VRRP_BACKUP);
    /* no heir: goes on */
    m = master(&o, 111, &now);
    health(&m, now, 100, false);
    while (m.handing_over) (void)tell(&m, sp_vrrp_deadline(&m), SP_VRRP_TICK);
    assert_int_equal(m.state, SP_VRRP_MASTER);
    assert_int_equal(m.send_priority, 100);
    /* keepalived's own way: only the number changes */
    o.hand_over = false;
    m = master(&o, 111, &now);
    assert_int_equal(health(&m, now, 100, false), 0);
    assert_int_equal(m.state, SP_VRRP_MASTER);
}

static void test_stop(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    int64_t now;
    sp_vrrp m = master(&o, 100, &now);
    assert_int_equal(tell(&m, now, SP_VRRP_STOP), SP_VRRP_DO_SEND);
    assert_int_equal(hear(&m, now + MS, 90, 1),
                     SP_VRRP_DO_REMOVE | SP_VRRP_DO_NOTIFY | SP_VRRP_DO_STOPPED);
    assert_int_equal(sp_vrrp_deadline(&m), INT64_MAX);
    o.hand_over = false;
    m = master(&o, 100, &now);
    assert_int_equal(tell(&m, now, SP_VRRP_STOP),
                     SP_VRRP_DO_SEND | SP_VRRP_DO_REMOVE | SP_VRRP_DO_NOTIFY | SP_VRRP_DO_STOPPED);
    assert_int_equal(m.send_priority, 0);
    assert_int_equal(sp_vrrp_deadline(&m), INT64_MAX);
    m = started(&o, 100);
    assert_true(tell(&m, now, SP_VRRP_STOP) & SP_VRRP_DO_STOPPED);
}

static void test_fault_and_pending(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    int64_t now;
    sp_vrrp m = master(&o, 100, &now);
    assert_int_equal(health(&m, now, 100, true),
                     SP_VRRP_DO_REMOVE | SP_VRRP_DO_SEND | SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.state, SP_VRRP_FAULT);
    assert_int_equal(sp_vrrp_deadline(&m), INT64_MAX);
    assert_int_equal(hear(&m, now, 0, 1), 0);
    assert_int_equal(health(&m, now + S, 100, false), SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.state, SP_VRRP_BACKUP);
    sp_vrrp_init(&m, &o, 100);
    sp_vrrp_event unknown = {.kind = SP_VRRP_HEALTH, .priority = 100, .pending = true};
    assert_int_equal(sp_vrrp_step(&m, 0, &unknown), 0);
    assert_int_equal(tell(&m, 0, SP_VRRP_START), 0);
    assert_int_equal(m.state, SP_VRRP_INIT);
    assert_int_equal(health(&m, S, 100, false), SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.state, SP_VRRP_BACKUP);
}

/* A machine that was paused does not go on as master. */
static void test_was_away(void **state) {
    (void)state;
    sp_vrrp_options o = options();
    int64_t now;
    sp_vrrp m = master(&o, 100, &now);
    assert_int_equal(hear(&m, now + 10 * S, 90, -1), SP_VRRP_DO_REMOVE | SP_VRRP_DO_NOTIFY);
    assert_int_equal(m.state, SP_VRRP_BACKUP);
}

/* --- scripts and weights --- */

static void test_rise_and_fall(void **state) {
    (void)state;
    sp_vip_check c;
    sp_vip_check_init(&c, 2, 3, false);
    assert_false(c.known);
    assert_true(sp_vip_check_feed(&c, true)); /* the first answer decides alone */
    assert_true(sp_vip_check_is_up(&c));
    assert_false(sp_vip_check_feed(&c, false));
    assert_false(sp_vip_check_feed(&c, false));
    assert_true(sp_vip_check_is_up(&c));
    assert_true(sp_vip_check_feed(&c, false));
    assert_false(sp_vip_check_is_up(&c));
    assert_false(sp_vip_check_feed(&c, true));
    assert_true(sp_vip_check_feed(&c, true));
    sp_vip_check_feed(&c, false);
    sp_vip_check_feed(&c, true); /* one success fills up again */
    assert_int_equal(c.result, 4);
    sp_vip_check_init(&c, 2, 3, true);
    assert_true(c.known);
    assert_false(sp_vip_check_feed(&c, true));
    assert_true(sp_vip_check_feed(&c, true));
}

static void test_weights(void **state) {
    (void)state;
    static const struct {
        int weight;
        bool reverse, known, up;
        int base, wanted; /* 0: FAULT; -1: pending */
    } rows[] = {
        {11, false, true, true, 100, 111},   {11, false, true, false, 100, 100},
        {11, false, false, false, 100, 100}, {11, false, true, true, 90, 101},
        {-20, false, true, true, 100, 100},  {-20, false, true, false, 100, 80},
        {0, false, true, true, 100, 100},    {0, false, true, false, 100, 0},
        {0, false, false, false, 100, -1},   {0, true, true, true, 100, 0},
        {0, true, true, false, 100, 100},    {11, true, true, true, 100, 89},
        {-20, true, true, false, 100, 120},  {200, false, true, true, 100, 254},
        {-200, false, true, false, 100, 1},  {-200, false, true, false, 255, 255},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_vip_sum s = {0};
        sp_vip_sum_add(&s, &(sp_vip_tracked){.weight = rows[i].weight,
                                             .reverse = rows[i].reverse,
                                             .known = rows[i].known,
                                             .up = rows[i].up});
        int got = s.fault ? 0 : s.pending ? -1 : sp_vip_effective((uint8_t)rows[i].base, &s);
        if (got != rows[i].wanted) fail_msg("row %zu: %d, not %d", i, got, rows[i].wanted);
    }
    sp_vip_sum s = {0};
    sp_vip_sum_add(&s, &(sp_vip_tracked){.is_value = true, .known = true, .weight = 2, .value = 7});
    assert_int_equal(sp_vip_effective(100, &s), 114);
    sp_vip_sum_add(&s,
                   &(sp_vip_tracked){.is_value = true, .known = true, .weight = 1, .value = -254});
    assert_true(s.fault);
}

/* --- three nodes --- */

enum { NODES = 3, IN_FLIGHT = 256 };

typedef struct node {
    sp_vrrp m;
    bool has_address, link, alive;
    int64_t frozen_until; /* 0 = runs */
    int64_t lease_until;
    sp_vrrp_event inbox[64]; /* while frozen */
    size_t waiting;
} node;

typedef struct world {
    node nodes[NODES];
    struct {
        int64_t at;
        int from, to;
        sp_vrrp_event e;
    } flying[IN_FLIGHT];
    size_t flying_n;
    bool cut[NODES][NODES];
    int64_t now;
    int client; /* whom the client's neighbour entry points to, -1 = nobody */
    uint64_t dice;
} world;

static unsigned roll(world *w, unsigned n) {
    w->dice = w->dice * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->dice >> 33) % n;
}

static bool connected(const world *w, int a, int b) {
    return w->nodes[a].link && w->nodes[b].link && !w->cut[a][b];
}

static void broadcast(world *w, int from) {
    const sp_vrrp *m = &w->nodes[from].m;
    for (int to = 0; to < NODES; to++) {
        if (to == from || !connected(w, from, to) || w->flying_n == IN_FLIGHT) continue;
        sp_vrrp_event e = {.kind = SP_VRRP_ADVERT,
                           .priority = m->send_priority,
                           .interval_us = m->o.advert_us,
                           .compare = from - to};
        w->flying[w->flying_n].at = w->now + roll(w, 2000);
        w->flying[w->flying_n].from = from;
        w->flying[w->flying_n].to = to;
        w->flying[w->flying_n++].e = e;
    }
}

static void carry_out(world *w, int at, unsigned todo) {
    node *n = &w->nodes[at];
    if (todo & SP_VRRP_DO_REMOVE) n->has_address = false;
    if (todo & SP_VRRP_DO_SEND) broadcast(w, at);
    if (todo & SP_VRRP_DO_ADD) n->has_address = true;
    if (n->has_address) n->lease_until = w->now + 3 * S;
    if ((todo & SP_VRRP_DO_ANNOUNCE) && n->link) w->client = at;
}

static void step(world *w, int at, const sp_vrrp_event *e) {
    carry_out(w, at, sp_vrrp_step(&w->nodes[at].m, w->now, e));
}

static void deliver(world *w, size_t i) {
    int to = w->flying[i].to;
    node *n = &w->nodes[to];
    sp_vrrp_event e = w->flying[i].e;
    bool reaches = connected(w, w->flying[i].from, to) && n->alive;
    w->flying[i] = w->flying[--w->flying_n];
    if (!reaches) return;
    if (n->frozen_until && n->waiting < 64)
        n->inbox[n->waiting++] = e;
    else if (!n->frozen_until)
        step(w, to, &e);
}

static void thaw(world *w, int at) {
    node *n = &w->nodes[at];
    n->frozen_until = 0;
    if (n->lease_until < w->now) n->has_address = false;
    for (size_t i = 0; i < n->waiting; i++) step(w, at, &n->inbox[i]);
    n->waiting = 0;
}

static void run_until(world *w, int64_t end) {
    for (;;) {
        int64_t at = end;
        int who = -1;
        size_t what = IN_FLIGHT;
        for (size_t i = 0; i < w->flying_n; i++)
            if (w->flying[i].at < at) at = w->flying[i].at, what = i, who = -1;
        for (int i = 0; i < NODES; i++) {
            const node *n = &w->nodes[i];
            int64_t next = n->frozen_until ? n->frozen_until : sp_vrrp_deadline(&n->m);
            if (n->alive && next < at) at = next, who = i;
        }
        w->now = SP_MAX(w->now, at);
        if (who >= 0 && w->nodes[who].frozen_until)
            thaw(w, who);
        else if (who >= 0)
            step(w, who, &(sp_vrrp_event){.kind = SP_VRRP_TICK});
        else if (what < IN_FLIGHT)
            deliver(w, what);
        else
            return;
    }
}

static void boot(world *w, int i, const sp_vrrp_options *o, uint8_t priority) {
    node *n = &w->nodes[i];
    *n = (node){.link = n->link, .alive = true};
    sp_vrrp_init(&n->m, o, priority);
    step(w, i, &(sp_vrrp_event){.kind = SP_VRRP_START});
}

static void set_link(world *w, int i, bool up) {
    node *n = &w->nodes[i];
    n->link = up;
    if (!n->alive || n->frozen_until) return;
    step(w, i, &(sp_vrrp_event){.kind = SP_VRRP_HEALTH, .priority = n->m.priority, .fault = !up});
}

static void one_fault(world *w, const uint8_t *base, const sp_vrrp_options *o) {
    int i = (int)roll(w, NODES), j = (int)roll(w, NODES);
    node *n = &w->nodes[i];
    switch (roll(w, 7)) {
    case 0: set_link(w, i, false); break;
    case 1: set_link(w, i, true); break;
    case 2: w->cut[i][j] = w->cut[j][i] = i != j; break;
    case 3: /* sees others, is not seen: the worst kind */ w->cut[i][j] = i != j; break;
    case 4:
        if (!n->alive)
            boot(w, i, &o[i], base[i]);
        else
            n->alive = n->has_address = false, n->frozen_until = 0;
        break;
    case 5:
        if (n->alive && !n->frozen_until)
            n->frozen_until = w->now + 1 + roll(w, 20) * (int64_t)(S / 2);
        break;
    default:
        if (n->alive && !n->frozen_until) {
            bool sick = n->m.priority == base[i] && roll(w, 2);
            step(w, i,
                 &(sp_vrrp_event){.kind = SP_VRRP_HEALTH,
                                  .fault = !n->link,
                                  .priority = (uint8_t)(base[i] - (sick ? 11 : 0))});
        }
    }
}

static void heal(world *w, const uint8_t *base, const sp_vrrp_options *o) {
    memset(w->cut, 0, sizeof w->cut);
    for (int i = 0; i < NODES; i++) {
        if (w->nodes[i].frozen_until) thaw(w, i);
        if (!w->nodes[i].alive) boot(w, i, &o[i], base[i]);
        set_link(w, i, true);
    }
}

static int owners(const world *w) {
    int n = 0;
    for (int i = 0; i < NODES; i++) n += w->nodes[i].has_address;
    return n;
}

static void one_schedule(uint64_t seed) {
    world w = {.dice = seed * 2654435761u + 1, .client = -1};
    sp_vrrp_options o[NODES];
    uint8_t base[NODES];
    int64_t advert = roll(&w, 2) ? S : 100 * MS;
    uint8_t version = roll(&w, 2) ? 3 : 2;
    for (int i = 0; i < NODES; i++) {
        o[i] = options();
        o[i].version = version;
        o[i].advert_us = advert;
        o[i].hand_over = roll(&w, 2);
        o[i].nopreempt = roll(&w, 3) == 0;
        o[i].preempt_delay_us = roll(&w, 3) ? 0 : 2 * S;
        base[i] = (uint8_t)(90 + 5 * roll(&w, 3)); /* equal ones too */
        w.nodes[i].link = true;
        boot(&w, i, &o[i], base[i]);
    }
    for (unsigned k = 0; k < 20; k++) {
        run_until(&w, w.now + 1 + (int64_t)roll(&w, 3000) * (advert / 1000));
        one_fault(&w, base, o);
    }
    heal(&w, base, o);
    int64_t healed = w.now;
    /* One interval and its skew until the last of several masters has heard the best; a hand-over
     * under way is one more. */
    run_until(&w, healed + 3 * advert);
    if (owners(&w) > 1) fail_msg("schedule %llu: two owners", (unsigned long long)seed);
    run_until(&w, healed + 5 * advert);
    if (owners(&w) != 1) fail_msg("schedule %llu: no owner", (unsigned long long)seed);
    for (int i = 0; i < 200; i++) {
        run_until(&w, w.now + advert / 10);
        if (owners(&w) > 1) run_until(&w, w.now + 3 * MS); /* the loser's advert is on its way */
        if (owners(&w) > 1) fail_msg("schedule %llu: two owners later", (unsigned long long)seed);
        if (owners(&w) == 0) fail_msg("schedule %llu: lost its owner", (unsigned long long)seed);
    }
    assert_true(w.client >= 0);
    if (!w.nodes[w.client].has_address)
        fail_msg("schedule %llu: the client asks a node that lost", (unsigned long long)seed);
}

static void test_200_schedules(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) one_schedule(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_of_the_rfc),
        cmocka_unit_test(test_version_3_learns_the_interval),
        cmocka_unit_test(test_a_master_and_what_it_hears),
        cmocka_unit_test(test_announces_as_planned),
        cmocka_unit_test(test_preemption),
        cmocka_unit_test(test_hand_over),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_fault_and_pending),
        cmocka_unit_test(test_was_away),
        cmocka_unit_test(test_rise_and_fall),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_200_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
