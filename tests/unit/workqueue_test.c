#include "base/clock.h"
#include "kube/workqueue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int setup(void **state) {
    sp_clock_virtual(1000000);
    *state = sp_workqueue_new(5, 60000);
    return 0;
}

static int teardown(void **state) {
    sp_workqueue_free(*state);
    sp_clock_real();
    return 0;
}

static const char *take(sp_workqueue *q) {
    sp_str key;
    return sp_workqueue_next(q, sp_clock_mono_ms(), &key) ? key.p : "-";
}

static void each_key_waits_once_and_in_order(void **state) {
    sp_workqueue *q = *state;
    sp_workqueue_add(q, SP_STR("a"));
    sp_workqueue_add(q, SP_STR("b"));
    sp_workqueue_add(q, SP_STR("a"));
    assert_int_equal(sp_workqueue_depth(q), 2);
    assert_string_equal(take(q), "a");
    assert_string_equal(take(q), "b");
    assert_string_equal(take(q), "-");
    assert_true(sp_workqueue_next_at(q) == INT64_MAX);
}

static void a_key_in_work_is_not_handed_out_twice(void **state) {
    sp_workqueue *q = *state;
    sp_workqueue_add(q, SP_STR("a"));
    assert_string_equal(take(q), "a");
    sp_workqueue_add(q, SP_STR("a"));
    assert_string_equal(take(q), "-");
    sp_workqueue_done(q, SP_STR("a"));
    assert_string_equal(take(q), "a");
    sp_workqueue_done(q, SP_STR("a"));
    assert_string_equal(take(q), "-");
}

static void delayed_keys_come_in_the_order_of_their_times(void **state) {
    sp_workqueue *q = *state;
    int64_t now = sp_clock_mono_ms();
    static const int64_t delays[] = {70, 10, 50, 30, 90, 20, 60, 40, 80};
    for (size_t i = 0; i < SP_COUNT(delays); i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", (int)delays[i]);
        sp_workqueue_add_at(q, sp_str_z(key), now + delays[i]);
    }
    sp_workqueue_add_at(q, SP_STR("90"), now + 5);  /* earlier wins … */
    sp_workqueue_add_at(q, SP_STR("10"), now + 99); /* … later does not */
    assert_true(sp_workqueue_next_at(q) == now + 5);
    static const char *const order[] = {"90", "10", "20", "30", "40", "50", "60", "70", "80"};
    for (size_t i = 0; i < SP_COUNT(order); i++) {
        assert_int_equal(sp_workqueue_delayed(q), SP_COUNT(order) - i);
        int64_t at = sp_workqueue_next_at(q);
        sp_clock_advance(at - sp_clock_mono_ms() - 1);
        assert_string_equal(take(q), "-");
        sp_clock_advance(1);
        assert_string_equal(take(q), order[i]);
        sp_workqueue_done(q, sp_str_z(order[i]));
    }
    assert_string_equal(take(q), "-");
}

static void adding_now_cancels_the_delay(void **state) {
    sp_workqueue *q = *state;
    sp_workqueue_add_at(q, SP_STR("a"), sp_clock_mono_ms() + 10);
    sp_workqueue_add(q, SP_STR("a"));
    assert_string_equal(take(q), "a");
    sp_workqueue_done(q, SP_STR("a"));
    sp_clock_advance(100);
    assert_string_equal(take(q), "-");
}

static void failures_back_off_and_success_forgets(void **state) {
    sp_workqueue *q = *state;
    int64_t want = 5;
    for (int i = 0; i < 20; i++) {
        int64_t ms = sp_workqueue_retry(q, SP_STR("a"), sp_clock_mono_ms());
        int64_t centre = want < 60000 ? want : 60000;
        if (ms < centre * 3 / 4 - 1 || ms > centre * 5 / 4)
            fail_msg("try %d waits %ld", i, (long)ms);
        want *= 2;
        sp_clock_advance(ms);
        assert_string_equal(take(q), "a");
        sp_workqueue_done(q, SP_STR("a"));
    }
    sp_workqueue_forget(q, SP_STR("a"));
    assert_true(sp_workqueue_retry(q, SP_STR("a"), sp_clock_mono_ms()) <= 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_key_waits_once_and_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_in_work_is_not_handed_out_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(delayed_keys_come_in_the_order_of_their_times, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(adding_now_cancels_the_delay, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_back_off_and_success_forgets, setup, teardown),
    };
    return cmocka_run_group_tests_name("workqueue", tests, NULL, NULL);
}
