#include "controllers/rollout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* One step from the sizes on the left to those on the right; -1 = there is no new set. */
static const struct {
    const char *what;
    int64_t replicas, surge, unavailable;
    int64_t fresh, fresh_available, old[2], old_available[2];
    int64_t want_fresh, want_old[2];
} steps[] = {
    {"first set, whole", 3, 1, 0, -1, 0, {0, 0}, {0, 0}, 3, {0, 0}},
    {"new set starts with the surge", 3, 1, 0, -1, 0, {3, 0}, {3, 0}, 1, {3, 0}},
    {"new set starts with all of the surge", 10, 3, 2, -1, 0, {10, 0}, {10, 0}, 3, {10, 0}},
    {"no surge: nothing to start with", 3, 0, 1, -1, 0, {3, 0}, {3, 0}, 0, {3, 0}},
    {"no surge: an old one goes first", 3, 0, 1, 0, 0, {3, 0}, {3, 0}, 0, {2, 0}},
    {"room: grow before shrinking", 3, 1, 0, 0, 0, {3, 0}, {3, 0}, 1, {3, 0}},
    {"new one not available yet: wait", 3, 1, 0, 1, 0, {3, 0}, {3, 0}, 1, {3, 0}},
    {"new one available: an old one goes", 3, 1, 0, 1, 1, {3, 0}, {3, 0}, 1, {2, 0}},
    {"and the next new one comes", 3, 1, 0, 1, 1, {2, 0}, {2, 0}, 2, {2, 0}},
    {"unavailable ones go at once", 4, 1, 2, 1, 0, {4, 0}, {4, 0}, 1, {2, 0}},
    {"unhealthy old ones go first", 3, 1, 0, 1, 0, {1, 2}, {1, 0}, 1, {1, 2}},
    {"unhealthy old ones cost nothing", 3, 1, 1, 1, 1, {1, 2}, {1, 0}, 1, {1, 0}},
    {"the oldest goes first", 4, 1, 0, 1, 1, {2, 2}, {2, 2}, 1, {1, 2}},
    {"too many new ones", 2, 1, 0, 3, 3, {0, 0}, {0, 0}, 2, {0, 0}},
    {"done", 3, 1, 0, 3, 3, {0, 0}, {0, 0}, 3, {0, 0}},
};

static void each_step_keeps_its_limits(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(steps); i++) {
        sp_rollout_set fresh = {.replicas = steps[i].fresh, .available = steps[i].fresh_available};
        sp_rollout_set old[2] = {{steps[i].old[0], steps[i].old_available[0], 0, 1},
                                 {steps[i].old[1], steps[i].old_available[1], 0, 2}};
        sp_rollout r = {steps[i].replicas, steps[i].surge, steps[i].unavailable, &fresh, old, 2};
        int64_t size;
        if (steps[i].fresh < 0) {
            r.fresh = NULL;
            size = sp_rollout_fresh_size(&r);
        } else {
            if (!sp_rollout_grow(&r)) sp_rollout_shrink(&r);
            size = fresh.replicas;
        }
        if (size != steps[i].want_fresh || old[0].replicas != steps[i].want_old[0] ||
            old[1].replicas != steps[i].want_old[1])
            fail_msg("%s: new %d, old %d %d", steps[i].what, (int)size, (int)old[0].replicas,
                     (int)old[1].replicas);
    }
}

/* Whatever the numbers: a rollout whose pods become available one by one ends, and on its way there
 * are never too many pods nor too few available ones. */
static void every_rollout_ends_within_its_limits(void **state) {
    (void)state;
    for (int64_t n = 1; n <= 7; n++)
        for (int64_t surge = 0; surge <= 3; surge++)
            for (int64_t down = surge ? 0 : 1; down <= 3 && down <= n; down++) {
                sp_rollout_set fresh = {0}, old = {.replicas = n, .available = n};
                sp_rollout r = {n, surge, down, &fresh, &old, 1};
                int turns = 0;
                for (; turns < 200 && (old.replicas || fresh.available < n); turns++) {
                    if (!sp_rollout_grow(&r)) sp_rollout_shrink(&r);
                    if (old.available > old.replicas) old.available = old.replicas;
                    assert_true(fresh.replicas + old.replicas <= n + surge);
                    assert_true(fresh.available + old.available >= n - down);
                    if (fresh.available < fresh.replicas) fresh.available++;
                }
                if (turns == 200)
                    fail_msg("%d replicas, surge %d, unavailable %d: does not end", (int)n,
                             (int)surge, (int)down);
            }
}

static const struct {
    const char *what;
    int64_t replicas, surge;
    int64_t fresh, old, max_replicas, want_fresh, want_old;
    bool rolling;
} scalings[] = {
    {"only one set", 5, 1, 3, 0, 4, 5, 0, true},
    {"down to none", 0, 0, 3, 0, 4, 0, 0, true},
    {"in the middle of a rollout, up", 15, 3, 5, 8, 13, 7, 11, true},
    {"in the middle of a rollout, down", 5, 1, 5, 8, 13, 2, 4, true},
    {"down to none in the middle", 0, 0, 5, 8, 13, 0, 0, true},
    {"the same size", 10, 3, 5, 8, 13, 5, 8, true},
    {"Recreate shares nothing", 15, 0, 5, 8, 13, 5, 8, false},
};

static void scaling_shares_by_size(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(scalings); i++) {
        sp_rollout_set fresh = {scalings[i].fresh, 0, scalings[i].max_replicas, 2};
        sp_rollout_set old = {scalings[i].old, 0, scalings[i].max_replicas, 1};
        sp_rollout r = {scalings[i].replicas, scalings[i].surge, 0, &fresh, &old, 1};
        sp_rollout_scale(&r, scalings[i].rolling, 0);
        if (fresh.replicas != scalings[i].want_fresh || old.replicas != scalings[i].want_old)
            fail_msg("%s: new %d, old %d", scalings[i].what, (int)fresh.replicas,
                     (int)old.replicas);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_keeps_its_limits),
        cmocka_unit_test(every_rollout_ends_within_its_limits),
        cmocka_unit_test(scaling_shares_by_size),
    };
    return cmocka_run_group_tests_name("rollout", tests, NULL, NULL);
}
