/* The timing wheel on virtual time, against a model that keeps each deadline in an array. */
#include "gateway/wheel.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { ALARMS = 200, TICK = 1 << SP_WHEEL_TICK_SHIFT };

typedef struct timed {
    sp_alarm alarm;
    int64_t want_ms; /* 0 = not running */
    int rung;
} timed;

static struct {
    sp_wheel wheel;
    timed all[ALARMS];
    int64_t now_ms, last_run_ms;
    uint64_t random;
    bool restart; /* an alarm that rings starts itself again */
} t;

static uint64_t draw(uint64_t below) {
    t.random ^= t.random << 13;
    t.random ^= t.random >> 7;
    t.random ^= t.random << 17;
    return t.random % below;
}

static void start(timed *a, int64_t ms) {
    a->want_ms = t.now_ms + ms;
    sp_wheel_start(&t.wheel, &a->alarm, a->want_ms);
}

static void on_ring(sp_alarm *alarm) {
    timed *a = SP_CONTAINER(alarm, timed, alarm);
    assert_true(a->want_ms != 0);
    assert_true(a->want_ms <= t.now_ms);
    assert_true(a->want_ms > t.last_run_ms - TICK);
    a->want_ms = 0;
    a->rung++;
    if (t.restart) start(a, 100);
}

static int setup(void **state) {
    (void)state;
    memset(&t, 0, sizeof t);
    t.now_ms = t.last_run_ms = 123456789;
    t.random = 88172645463325252u;
    sp_wheel_init(&t.wheel, t.now_ms);
    for (int i = 0; i < ALARMS; i++) sp_alarm_init(&t.all[i].alarm, on_ring);
    return 0;
}

static void run_to(int64_t ms) {
    t.now_ms = ms;
    sp_wheel_run(&t.wheel, ms);
    t.last_run_ms = ms;
}

/* Nothing that was due is left, and nothing is due before the wheel says so. */
static void compare(void) {
    int64_t first = INT64_MAX;
    for (int i = 0; i < ALARMS; i++) {
        const timed *a = &t.all[i];
        assert_int_equal(a->want_ms != 0, sp_alarm_running(&a->alarm));
        if (!a->want_ms) continue;
        assert_true(a->want_ms > t.now_ms - TICK);
        first = SP_MIN(first, a->want_ms);
    }
    int64_t next = sp_wheel_next_ms(&t.wheel);
    if (first == INT64_MAX)
        assert_true(next == INT64_MAX);
    else
        assert_true(next <= first + TICK);
}

static void test_random_alarms_ring_when_due(void **state) {
    (void)state;
    static const uint64_t spans[] = {5, 600, 40000, 3000000, 100000000};
    for (int round = 0; round < 20000; round++) {
        timed *a = &t.all[draw(ALARMS)];
        switch (draw(4)) {
        case 0:
        case 1: start(a, (int64_t)draw(spans[draw(SP_COUNT(spans))])); break;
        case 2:
            sp_alarm_stop(&a->alarm);
            a->want_ms = 0;
            break;
        default: run_to(t.now_ms + (int64_t)draw(spans[draw(4)])); break;
        }
        compare();
    }
}

/* As a loop does it that sleeps until the wheel wants it: few wake-ups, none late. */
static void test_sleeping_until_the_wheel_says(void **state) {
    (void)state;
    static const int64_t spans[] = {0,     1,     8,      503,     511,     512,     513,     32760,
                                    32768, 75000, 600000, 2097151, 2097152, 2097153, 86400000};
    for (size_t i = 0; i < SP_COUNT(spans); i++) {
        int64_t due = t.now_ms + spans[i];
        int wakes = 0;
        start(&t.all[0], spans[i]);
        while (t.all[0].want_ms) {
            int64_t next = sp_wheel_next_ms(&t.wheel);
            assert_true(next > t.now_ms - TICK && next < due + TICK + TICK);
            run_to(SP_MAX(next, t.now_ms));
            assert_true(++wakes <= SP_WHEEL_LEVELS + 1);
        }
        assert_true(t.now_ms >= due && t.now_ms <= due + 2 * TICK);
        assert_int_equal(t.all[0].rung, i + 1);
    }
}

static void test_one_that_starts_itself_again_rings_once_per_time(void **state) {
    (void)state;
    t.restart = true;
    start(&t.all[0], 100);
    for (int i = 0; i < 1000; i++) run_to(t.now_ms + TICK);
    assert_in_range(t.all[0].rung, 70, 80); /* 8000 ms of virtual time by 100, and ticks of 8 */
    sp_alarm_stop(&t.all[0].alarm);
}

static void test_far_ones_wait_and_stopped_ones_do_not_ring(void **state) {
    (void)state;
    start(&t.all[0], 30 * 3600 * 1000);
    start(&t.all[1], 30 * 3600 * 1000);
    sp_alarm_stop(&t.all[1].alarm);
    for (int hour = 0; hour < 29; hour++) run_to(t.now_ms + 3600 * 1000);
    assert_int_equal(t.all[0].rung, 0);
    run_to(t.now_ms + 3600 * 1000 + TICK);
    assert_int_equal(t.all[0].rung, 1);
    assert_int_equal(t.all[1].rung, 0);
    assert_true(sp_wheel_next_ms(&t.wheel) == INT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_random_alarms_ring_when_due, setup),
        cmocka_unit_test_setup(test_sleeping_until_the_wheel_says, setup),
        cmocka_unit_test_setup(test_one_that_starts_itself_again_rings_once_per_time, setup),
        cmocka_unit_test_setup(test_far_ones_wait_and_stopped_ones_do_not_ring, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
