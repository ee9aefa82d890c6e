/* The pod's state machine on virtual time: a small world carries plans out at once and lets
 * containers end when the test says so. */
#include "agent/podstate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { MAX_CONTAINERS = 4 };

typedef struct world {
    sp_ctr_view containers[MAX_CONTAINERS];
    sp_pod_view v;
    char did[400]; /* "volumes sandbox start0 …" */
} world;

static void setup(world *w, size_t n, sp_restart restart) {
    memset(w, 0, sizeof *w);
    w->v =
        (sp_pod_view){.restart = restart, .containers = w->containers, .n = n, .now_ms = 1000000};
}

static void say(world *w, const char *what, size_t i, bool numbered) {
    size_t n = strlen(w->did);
    if (numbered)
        snprintf(w->did + n, sizeof w->did - n, "%s%s%zu", n ? " " : "", what, i);
    else
        snprintf(w->did + n, sizeof w->did - n, "%s%s", n ? " " : "", what);
}

static void apply(world *w, const sp_pod_action *a) {
    sp_ctr_view *c = &w->containers[a->container];
    switch (a->what) {
    case SP_DO_VOLUMES:
        w->v.volumes_ready = true;
        say(w, "volumes", 0, false);
        return;
    case SP_DO_SANDBOX:
        w->v.sandbox = SP_SANDBOX_READY;
        say(w, "sandbox", 0, false);
        return;
    case SP_DO_PULL:
        c->image = SP_IMAGE_READY;
        say(w, "pull", a->container, true);
        return;
    case SP_DO_START:
        if (c->phase == SP_CTR_EXITED) c->restarts++;
        c->phase = SP_CTR_RUNNING;
        c->started_ok = c->ready_ok = c->unhealthy = false;
        say(w, "start", a->container, true);
        return;
    case SP_DO_STOP:
        c->phase = SP_CTR_STOPPING;
        say(w, "stop", a->container, true);
        return;
    case SP_DO_EXPIRE:
        w->v.expired = true;
        say(w, "expire", 0, false);
        return;
    case SP_DO_DROP_SANDBOX:
        w->v.sandbox = SP_SANDBOX_NONE;
        say(w, "drop", 0, false);
        return;
    case SP_DO_FINISH: say(w, "finish", 0, false); return;
    }
}

/* Plans and acts until nothing more is planned (or finish). Returns the wake time. */
static int64_t settle(world *w) {
    w->did[0] = 0;
    for (int turns = 0;; turns++) {
        sp_pod_plan p;
        assert_true(turns < 20);
        sp_podstate_plan(&w->v, &p);
        for (size_t i = 0; i < p.actions.n; i++) apply(w, &p.actions.p[i]);
        bool done = !p.actions.n || strstr(w->did, "finish");
        int64_t wake = p.wake_ms;
        sp_pod_plan_free(&p);
        if (done) return wake;
    }
}

static void ends(world *w, size_t i, int code, int64_t ran_ms) {
    sp_ctr_view *c = &w->containers[i];
    w->v.now_ms += ran_ms;
    c->phase = SP_CTR_EXITED;
    c->exit_code = code;
    c->crashes = sp_crashes_after(c->crashes, ran_ms);
    c->finished_ms = w->v.now_ms;
}

static void ground_comes_first(void **state) {
    (void)state;
    world w;
    setup(&w, 2, SP_RESTART_ALWAYS);
    assert_int_equal(sp_podstate_phase(&w.v), SP_POD_PENDING);
    settle(&w);
    assert_string_equal(w.did, "volumes sandbox pull0 pull1 start0 start1");
    assert_int_equal(sp_podstate_phase(&w.v), SP_POD_RUNNING);
}

static void crashes_wait_longer_each_time(void **state) {
    (void)state;
    static const int64_t waits[] = {0, 10, 20, 40, 80, 160, 300, 300};
    world w;
    setup(&w, 1, SP_RESTART_ALWAYS);
    settle(&w);
    for (size_t i = 0; i < SP_COUNT(waits); i++) {
        ends(&w, 0, 1, 100);
        int64_t wake = settle(&w);
        if (waits[i]) {
            assert_string_equal(w.did, "");
            assert_int_equal(wake - w.v.now_ms, waits[i] * 1000);
            w.v.now_ms = wake - 1;
            settle(&w);
            assert_string_equal(w.did, "");
            w.v.now_ms = wake;
            settle(&w);
        }
        assert_string_equal(w.did, "start0");
    }
    ends(&w, 0, 1, 600000); /* ten minutes forgive */
    settle(&w);
    assert_string_equal(w.did, "start0");
}

static void restart_policies_differ(void **state) {
    (void)state;
    static const struct {
        sp_restart policy;
        int code;
        const char *did;
        sp_pod_phase phase;
    } rows[] = {
        {SP_RESTART_ALWAYS, 0, "start0", SP_POD_RUNNING},
        {SP_RESTART_ON_FAILURE, 0, "drop", SP_POD_SUCCEEDED},
        {SP_RESTART_ON_FAILURE, 3, "start0", SP_POD_RUNNING},
        {SP_RESTART_NEVER, 0, "drop", SP_POD_SUCCEEDED},
        {SP_RESTART_NEVER, 1, "drop", SP_POD_FAILED},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        world w;
        setup(&w, 1, rows[i].policy);
        settle(&w);
        ends(&w, 0, rows[i].code, 100);
        settle(&w);
        assert_string_equal(w.did, rows[i].did);
        assert_int_equal(sp_podstate_phase(&w.v), rows[i].phase);
    }
}

static void init_containers_run_in_turn(void **state) {
    (void)state;
    world w;
    setup(&w, 3, SP_RESTART_ALWAYS);
    w.containers[0].init = w.containers[1].init = true;
    settle(&w);
    assert_string_equal(w.did, "volumes sandbox pull0 pull1 pull2 start0");
    assert_false(sp_podstate_initialized(&w.v));
    ends(&w, 0, 0, 100);
    settle(&w);
    assert_string_equal(w.did, "start1");
    ends(&w, 1, 5, 100); /* fails: again at once, then with a pause */
    settle(&w);
    assert_string_equal(w.did, "start1");
    ends(&w, 1, 5, 100);
    assert_int_equal(settle(&w) - w.v.now_ms, 10000);
    w.v.now_ms += 10000;
    settle(&w);
    ends(&w, 1, 0, 100);
    settle(&w);
    assert_string_equal(w.did, "start2");
    assert_true(sp_podstate_initialized(&w.v));
    ends(&w, 2, 1, 100); /* init containers do not run again */
    settle(&w);
    assert_string_equal(w.did, "start2");
}

static void a_failed_init_ends_the_pod_that_never_restarts(void **state) {
    (void)state;
    world w;
    setup(&w, 2, SP_RESTART_NEVER);
    w.containers[0].init = true;
    settle(&w);
    ends(&w, 0, 1, 100);
    settle(&w);
    assert_string_equal(w.did, "drop");
    assert_int_equal(sp_podstate_phase(&w.v), SP_POD_FAILED);
}

static void sidecars_start_first_and_stop_last(void **state) {
    (void)state;
    world w;
    setup(&w, 2, SP_RESTART_NEVER);
    w.containers[0].init = w.containers[0].sidecar = true;
    w.containers[0].has_startup_probe = true;
    settle(&w);
    assert_string_equal(w.did, "volumes sandbox pull0 pull1 start0");
    w.containers[0].started_ok = true;
    settle(&w);
    assert_string_equal(w.did, "start1");
    ends(&w, 0, 1, 100); /* a sidecar comes back whatever the policy */
    settle(&w);
    assert_string_equal(w.did, "start0");
    ends(&w, 1, 0, 100);
    settle(&w);
    assert_string_equal(w.did, "stop0");
    ends(&w, 0, 0, 100);
    settle(&w);
    assert_string_equal(w.did, "drop");
    assert_int_equal(sp_podstate_phase(&w.v), SP_POD_SUCCEEDED);
}

static void deletion_stops_then_finishes(void **state) {
    (void)state;
    world w;
    setup(&w, 3, SP_RESTART_ALWAYS);
    w.containers[0].init = w.containers[0].sidecar = true;
    settle(&w);
    settle(&w);
    w.v.deleting = true;
    settle(&w);
    assert_string_equal(w.did, "stop1 stop2");
    ends(&w, 1, 143, 100);
    settle(&w);
    assert_string_equal(w.did, "");
    ends(&w, 2, 143, 100);
    settle(&w);
    assert_string_equal(w.did, "stop0");
    ends(&w, 0, 143, 100);
    settle(&w);
    assert_string_equal(w.did, "finish");
}

static void deletion_waits_for_a_start_under_way(void **state) {
    (void)state;
    world w;
    setup(&w, 1, SP_RESTART_ALWAYS);
    settle(&w);
    w.containers[0].phase = SP_CTR_STARTING;
    w.v.deleting = true;
    settle(&w);
    assert_string_equal(w.did, "");
    w.containers[0].phase = SP_CTR_RUNNING;
    settle(&w);
    assert_string_equal(w.did, "stop0");
}

static void the_unhealthy_is_stopped_and_comes_back(void **state) {
    (void)state;
    world w;
    setup(&w, 1, SP_RESTART_ALWAYS);
    settle(&w);
    w.containers[0].unhealthy = true;
    assert_false(sp_podstate_ready(&w.containers[0]));
    settle(&w);
    assert_string_equal(w.did, "stop0");
    ends(&w, 0, 137, 100);
    settle(&w);
    assert_string_equal(w.did, "start0");
}

static void images_are_tried_again_with_a_pause(void **state) {
    (void)state;
    world w;
    setup(&w, 1, SP_RESTART_ALWAYS);
    w.v.volumes_ready = true;
    w.v.sandbox = SP_SANDBOX_READY;
    w.containers[0].image = SP_IMAGE_FAILED;
    w.containers[0].image_failures = 2;
    w.containers[0].image_failed_ms = w.v.now_ms;
    assert_int_equal(settle(&w) - w.v.now_ms, 20000);
    assert_string_equal(w.did, "");
    w.v.now_ms += 20000;
    settle(&w);
    assert_string_equal(w.did, "pull0 start0");
    w.containers[0].phase = SP_CTR_NEW;
    w.containers[0].image = SP_IMAGE_PULLING;
    settle(&w);
    assert_string_equal(w.did, "");
}

static void a_deadline_fails_the_pod(void **state) {
    (void)state;
    world w;
    setup(&w, 1, SP_RESTART_ALWAYS);
    w.v.deadline_ms = w.v.now_ms + 5000;
    assert_int_equal(settle(&w), w.v.deadline_ms);
    w.v.now_ms += 5000;
    settle(&w);
    assert_string_equal(w.did, "expire stop0");
    ends(&w, 0, 143, 1);
    settle(&w);
    assert_string_equal(w.did, "drop");
    assert_int_equal(sp_podstate_phase(&w.v), SP_POD_FAILED);
}

static void ready_needs_its_probes(void **state) {
    (void)state;
    sp_ctr_view c = {.phase = SP_CTR_RUNNING};
    assert_true(sp_podstate_ready(&c));
    c.has_startup_probe = true;
    assert_false(sp_podstate_ready(&c));
    c.started_ok = true;
    assert_true(sp_podstate_ready(&c));
    c.has_readiness_probe = true;
    assert_false(sp_podstate_ready(&c));
    c.ready_ok = true;
    assert_true(sp_podstate_ready(&c));
    c.phase = SP_CTR_STOPPING;
    assert_false(sp_podstate_ready(&c));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ground_comes_first),
        cmocka_unit_test(crashes_wait_longer_each_time),
        cmocka_unit_test(restart_policies_differ),
        cmocka_unit_test(init_containers_run_in_turn),
        cmocka_unit_test(a_failed_init_ends_the_pod_that_never_restarts),
        cmocka_unit_test(sidecars_start_first_and_stop_last),
        cmocka_unit_test(deletion_stops_then_finishes),
        cmocka_unit_test(deletion_waits_for_a_start_under_way),
        cmocka_unit_test(the_unhealthy_is_stopped_and_comes_back),
        cmocka_unit_test(images_are_tried_again_with_a_pause),
        cmocka_unit_test(a_deadline_fails_the_pod),
        cmocka_unit_test(ready_needs_its_probes),
    };
    return cmocka_run_group_tests_name("podstate", tests, NULL, NULL);
}
