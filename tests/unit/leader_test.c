/* Who may lead when: the decision of kube/leader.c on a clock of our own, first row by row, then
 * with three candidates that are slow, frozen and cut off at random, on one Lease. */
#include "base/rng.h"
#include "kube/leader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define TIMING \
    { 15000, 10000, 2000 }
#define SEEN_HELD .timing = TIMING, .fresh = true, .exists = true, .held = true

static void the_table(void **state) {
    (void)state;
    static const struct {
        const char *what;
        sp_leader_view v;
        int64_t now;
        sp_leader_step want;
    } rows[] = {
        {"nothing is known", {.timing = TIMING}, 0, SP_LEADER_LOOK},
        {"a request is under way", {.timing = TIMING, .asking = true}, 0, SP_LEADER_WAIT},
        {"there is none", {.timing = TIMING, .fresh = true}, 0, SP_LEADER_CREATE},
        {"given back", {.timing = TIMING, .fresh = true, .exists = true}, 0, SP_LEADER_TAKE},
        {"held, and renewed a while ago",
         {SEEN_HELD, .changed_ms = 5, .promised_ms = 15000},
         15004,
         SP_LEADER_WAIT},
        {"not renewed for as long as it promised",
         {SEEN_HELD, .changed_ms = 5, .promised_ms = 15000},
         15005,
         SP_LEADER_TAKE},
        {"the holder's promise counts, not our own time",
         {SEEN_HELD, .changed_ms = 0, .promised_ms = 60000},
         15005,
         SP_LEADER_WAIT},
        {"it expired, but that was seen before the last wait",
         {.timing = TIMING, .exists = true, .held = true, .changed_ms = 5, .promised_ms = 15000},
         99000,
         SP_LEADER_LOOK},
        {"ours: renewed",
         {SEEN_HELD, .ours = true, .leading = true, .renewed_ms = 100, .promised_ms = 15000},
         2100,
         SP_LEADER_TAKE},
        {"ours, and we lead not: the answer had been lost",
         {SEEN_HELD, .ours = true, .promised_ms = 15000},
         2100,
         SP_LEADER_TAKE},
        {"taken from us",
         {SEEN_HELD, .leading = true, .renewed_ms = 100, .promised_ms = 15000},
         2100,
         SP_LEADER_LOST},
        {"the Lease is deleted under a leader",
         {.timing = TIMING, .fresh = true, .leading = true, .renewed_ms = 100},
         2100,
         SP_LEADER_LOST},
        {"not renewed in time, although asking",
         {.timing = TIMING,
          .asking = true,
          .fresh = true,
          .exists = true,
          .held = true,
          .ours = true,
          .leading = true,
          .renewed_ms = 100},
         10100,
         SP_LEADER_LOST},
        {"just in time",
         {.timing = TIMING, .asking = true, .leading = true, .renewed_ms = 100},
         10099,
         SP_LEADER_WAIT},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_leader_step got = sp_leader_decide(&rows[i].v, rows[i].now);
        if (got != rows[i].want) fail_msg("%s: %d, not %d", rows[i].what, got, rows[i].want);
    }
}

static void the_flags(void **state) {
    (void)state;
    sp_err err;
    sp_leader_timing t = SP_LEADER_TIMING_DEFAULT;
    assert_true(sp_leader_timing_read(&t, NULL, NULL, NULL, &err));
    assert_int_equal(t.lease_ms, 15000);
    assert_true(sp_leader_timing_read(&t, "6s", "4s", "500ms", &err));
    assert_int_equal(t.lease_ms, 6000);
    assert_int_equal(t.renew_deadline_ms, 4000);
    assert_int_equal(t.retry_ms, 500);
    static const char *const bad[][3] = {{"x", "4s", "1s"},  {"6s", "", "1s"},
                                         {"6s", "4s", "0s"}, {"6s", "6s", "1s"},
                                         {"6s", "4s", "4s"}, {"500ms", "400ms", "100ms"},
                                         {"-6s", "4s", "1s"}};
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        assert_false(sp_leader_timing_read(&t, bad[i][0], bad[i][1], bad[i][2], &err));
}

/* --- three candidates, one Lease, time in steps of 10 ms --- */

enum { CANDIDATES = 3, STEP_MS = 10 };

typedef struct lease {
    int holder; /* -1: nobody */
    uint64_t revision;
} lease;

typedef struct candidate {
    sp_leader_view v;
    bool dead;
    uint64_t seen; /* revision */
    int64_t frozen_until, cut_until, tick_ms;
    /* the request under way: arrives, then is answered */
    bool writing, arrived, well;
    int64_t sent_ms, arrive_ms, answer_ms;
    lease answer;
} candidate;

static void arrive(candidate *c, int who, lease *l) {
    c->arrived = true;
    c->well = true;
    if (c->writing) {
        c->well = l->revision == c->seen;
        if (c->well) *l = (lease){who, l->revision + 1};
    }
    c->answer = *l;
}

static void answered(candidate *c, int who, int64_t now) {
    c->v.asking = false;
    c->v.fresh = c->well;
    c->tick_ms = now + (c->writing && c->well ? 2000 : c->well ? 0 : 10);
    if (!c->well) return;
    if (c->answer.revision != c->seen) c->v.changed_ms = now;
    c->seen = c->answer.revision;
    c->v.exists = c->seen > 0;
    c->v.held = c->v.exists && c->answer.holder >= 0;
    c->v.ours = c->answer.holder == who && c->v.exists;
    c->v.promised_ms = 15000;
    if (c->writing) {
        c->v.leading = true;
        c->v.renewed_ms = c->sent_ms;
    }
}

static void turn(candidate *c, int64_t now) {
    sp_leader_step step = sp_leader_decide(&c->v, now);
    if (step == SP_LEADER_LOST) *c = (candidate){.v = {.timing = TIMING}, .tick_ms = now + 100};
    if (step == SP_LEADER_LOST || now < c->tick_ms || c->v.asking) return;
    if (step == SP_LEADER_WAIT) {
        c->v.fresh = false;
        c->tick_ms = now + 2000;
        return;
    }
    c->v.asking = true;
    c->arrived = false;
    c->writing = step != SP_LEADER_LOOK;
    c->sent_ms = now;
    c->arrive_ms = now + (int64_t)sp_rng_below(400);
    c->answer_ms = c->arrive_ms + (int64_t)sp_rng_below(400);
    if (now < c->cut_until) c->arrive_ms = c->answer_ms = c->cut_until + 1;
}

static void never_two_that_act(void **state) {
    (void)state;
    candidate c[CANDIDATES] = {0};
    lease l = {-1, 0};
    int64_t led = 0, alone = 0, handovers = 0;
    int last = -1;
    for (int i = 0; i < CANDIDATES; i++) c[i].v.timing = (sp_leader_timing)TIMING;
    for (int64_t now = 0; now < 4 * 3600 * 1000; now += STEP_MS) {
        int acting = 0;
        for (int i = 0; i < CANDIDATES; i++) {
            candidate *x = &c[i];
            if (x->v.asking && !x->arrived && now >= x->arrive_ms) arrive(x, i, &l);
            if (now < x->frozen_until) continue;
            if (x->v.asking && x->arrived && now >= x->answer_ms) answered(x, i, now);
            turn(x, now);
            if (sp_rng_below(6000) == 0) x->frozen_until = now + (int64_t)sp_rng_below(40000);
            if (sp_rng_below(6000) == 0) x->cut_until = now + (int64_t)sp_rng_below(30000);
            if (!x->v.leading) continue;
            acting++;
            handovers += last != i;
            last = i;
        }
        if (acting > 1) fail_msg("%d act at %lld ms", acting, (long long)now);
        led += acting;
        alone++;
    }
    assert_true(handovers > 20);
    assert_true(led > alone / 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_table), cmocka_unit_test(the_flags),
                                       cmocka_unit_test(never_two_that_act)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
