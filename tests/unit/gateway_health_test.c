#include "gateway/health.h"
#include "gateway/health_probe.h"
#include "gateway/health_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the machine: each row is a schedule of results and the states they lead to --- */

static void results_make_states(void **state) {
    (void)state;
    static const struct {
        uint16_t rise, fall;
        const char *results, *states; /* + passed, - failed; U up, D down, ? unknown */
    } rows[] = {
        {2, 3, "+---", "UUUD"},             /* three in a row */
        {2, 3, "+--+--+---", "UUUUUUUUUD"}, /* a good one begins anew */
        {2, 3, "-+-++", "DDDDU"},
        {1, 1, "+-+-", "UDUD"},
        {3, 1, "-+++", "DDDU"},
        {2, 2, "-", "D"}, /* the first one decides */
        {5, 5, "+", "U"},
        {2, 2, "++++--++", "UUUUUDDU"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_check_spec in = {.kind = SP_CHECK_TCP, .rise = rows[i].rise, .fall = rows[i].fall};
        sp_check_spec spec = sp_check_defaults(&in);
        sp_check_state s = {0};
        for (size_t k = 0; rows[i].results[k]; k++) {
            sp_check_state before = s;
            bool changed = sp_check_result(&s, &spec, rows[i].results[k] == '+');
            assert_int_equal(changed, !before.known || before.up != s.up);
            assert_int_equal(s.up ? 'U' : 'D', rows[i].states[k]);
        }
    }
}

static void delays(void **state) {
    (void)state;
    sp_check_spec in = {.interval_ms = 2000, .fast_ms = 200, .down_ms = 10000};
    sp_check_spec spec = sp_check_defaults(&in);
    sp_check_state up = {.known = true, .up = true}, going = {.known = true, .up = true, .row = 1},
                   down = {.known = true};
    for (uint64_t r = 0; r < 5000; r += 7) {
        assert_in_range(sp_check_delay_ms(&up, &spec, r), 1900, 2100);
        assert_in_range(sp_check_delay_ms(&going, &spec, r), 190, 210);
        assert_in_range(sp_check_delay_ms(&down, &spec, r), 9500, 10500);
    }
    assert_int_equal(spec.timeout_ms, 2000);
    assert_int_equal(spec.rise, SP_CHECK_RISE);
    assert_int_equal(spec.status_max, 399);
    in = (sp_check_spec){.status_min = 204, .interval_ms = 60000};
    spec = sp_check_defaults(&in);
    assert_int_equal(spec.status_max, 204); /* one status */
    assert_int_equal(spec.timeout_ms, SP_CHECK_TIMEOUT_MS);
}

/* --- agents --- */

static void agent_words(void **state) {
    (void)state;
    sp_agent_words w;
    sp_str bad;
    assert_true(sp_agent_parse(SP_STR("up 75% maxconn:30\r\n"), &w, &bad));
    assert_true(w.says_up && w.has_weight && w.has_limit && !w.says_down);
    assert_int_equal(w.percent, 75);
    assert_int_equal(w.max_connections, 30);
    assert_true(sp_agent_parse(SP_STR("DRAIN,50% # going home\x01"), &w, &bad));
    assert_true(w.says_drain && w.percent == 50);
    assert_string_equal(w.text, "going home");
    assert_true(sp_agent_parse(SP_STR("stopped\ngarbage"), &w, &bad));
    assert_true(w.says_down);
    assert_true(sp_agent_parse(SP_STR(""), &w, &bad));
    assert_false(sp_agent_parse(SP_STR("up sideways"), &w, &bad));
    assert_true(sp_str_eqz(bad, "sideways"));
    static const char *const broken[] = {"%",        "-5%",       "99999%",
                                         "maxconn:", "maxconn:x", "maxconn:-1"};
    for (size_t i = 0; i < SP_COUNT(broken); i++)
        assert_false(sp_agent_parse(sp_str_z(broken[i]), &w, &bad));
}

static void agent_states_last(void **state) {
    (void)state;
    sp_agent_state s = {.percent = 100};
    sp_agent_words w;
    sp_str bad;
    bool passed;
    static const struct {
        const char *line;
        bool changed, passed, draining, maint;
        uint16_t percent;
    } rows[] = {
        {"up", false, true, false, false, 100},  {"drain", true, true, true, false, 100},
        {"up 20%", true, true, true, false, 20}, {"", false, true, true, false, 20},
        {"down", false, false, true, false, 20}, {"ready 100%", true, true, false, false, 100},
        {"maint", true, true, false, true, 100}, {"ready up", true, true, false, false, 100},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        assert_true(sp_agent_parse(sp_str_z(rows[i].line), &w, &bad));
        assert_int_equal(sp_agent_apply(&s, &w, &passed), rows[i].changed);
        assert_int_equal(passed, rows[i].passed);
        assert_int_equal(s.draining, rows[i].draining);
        assert_int_equal(s.maintenance, rows[i].maint);
        assert_int_equal(s.percent, rows[i].percent);
    }
}

/* --- with sockets --- */

typedef struct fixture {
    uv_loop_t loop;
    sp_health *health;
    sp_gateway_config *config;
    sp_pool_spec pools[2];
    sp_endpoint_spec endpoints[2][2];
    unsigned changes, wanted;
} fixture;

static void on_changed(void *ctx) {
    fixture *f = ctx;
    if (++f->changes >= f->wanted) uv_stop(&f->loop);
}

static int listen_somewhere(uint16_t *ret_port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sp_addr a;
    struct sockaddr_storage ss;
    assert_true(sp_addr_parse(SP_STR("127.0.0.1"), 0, &a));
    socklen_t n = sp_addr_to_sock(&a, &ss);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, n), 0);
    assert_int_equal(listen(fd, 16), 0);
    n = sizeof ss;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &n), 0);
    *ret_port = sp_addr_from_sock(&ss).port;
    return fd;
}

/* A configuration is made anew each time, as the control side does. */
static void renew(fixture *f, size_t pools) {
    f->config->pools = f->pools;
    f->config->pool_count = pools;
    for (size_t p = 0; p < 2; p++)
        for (size_t i = 0; i < 2; i++) {
            f->endpoints[p][i].ready = true;
            f->endpoints[p][i].sick = false;
        }
    sp_health_follow(f->health, f->config);
    sp_health_overlay(f->health, f->config);
}

static void end(fixture *f) {
    sp_health_free(f->health);
    sp_gateway_config_unref(f->config);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void checks_are_shared_and_overlaid(void **state) {
    (void)state;
    fixture f = {.wanted = 1};
    uint16_t open, closed;
    int fd = listen_somewhere(&open), gone = listen_somewhere(&closed);
    close(gone); /* refuses from now on */
    uv_loop_init(&f.loop);
    f.health = sp_health_new(&f.loop, on_changed, &f);
    f.config = sp_gateway_config_new();
    for (size_t p = 0; p < 2; p++) {
        f.pools[p] = (sp_pool_spec){.name = p ? SP_STR("b") : SP_STR("a"),
                                    .check = {.kind = SP_CHECK_TCP, .interval_ms = 50, .fall = 1},
                                    .endpoints = f.endpoints[p],
                                    .endpoint_count = 2};
        assert_true(sp_addr_parse(SP_STR("127.0.0.1"), open, &f.endpoints[p][0].addr));
        assert_true(sp_addr_parse(SP_STR("127.0.0.1"), closed, &f.endpoints[p][1].addr));
    }
    renew(&f, 2);
    assert_int_equal(sp_health_count(f.health), 2);
    assert_true(f.endpoints[0][1].ready); /* nothing is known yet */
    uv_run(&f.loop, UV_RUN_DEFAULT);      /* until the refusing one is known */
    renew(&f, 2);
    for (size_t p = 0; p < 2; p++) {
        assert_true(f.endpoints[p][0].ready);
        assert_false(f.endpoints[p][1].ready);
        assert_true(f.endpoints[p][1].sick);
    }
    f.wanted = f.changes + 1;
    close(fd);
    uv_run(&f.loop, UV_RUN_DEFAULT); /* the other goes down, too */
    renew(&f, 2);
    assert_false(f.endpoints[0][0].ready);
    sp_health_state s = sp_health_at(f.health, 0);
    assert_true(s.known && !s.up && s.failed > 0 && s.transitions == 1);
    assert_non_null(strstr(s.reason, "refused"));
    f.pools[0].check.kind = f.pools[1].check.kind = SP_CHECK_NONE;
    renew(&f, 2);
    assert_int_equal(sp_health_count(f.health), 0);
    assert_true(f.endpoints[0][0].ready);
    end(&f);
}

/* A pool with one server that refuses, whose check has said so. */
static void begin_down(fixture *f) {
    uint16_t closed;
    close(listen_somewhere(&closed));
    uv_loop_init(&f->loop);
    f->health = sp_health_new(&f->loop, on_changed, f);
    f->config = sp_gateway_config_new();
    f->pools[0] = (sp_pool_spec){.name = SP_STR("a"),
                                 .check = {.kind = SP_CHECK_TCP, .interval_ms = 50},
                                 .endpoints = f->endpoints[0],
                                 .endpoint_count = 1};
    assert_true(sp_addr_parse(SP_STR("127.0.0.1"), closed, &f->endpoints[0][0].addr));
    renew(f, 1);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    renew(f, 1);
    assert_true(f->endpoints[0][0].sick);
}

static void another_check_of_a_server_that_is_down_begins_with_that(void **state) {
    (void)state;
    fixture f = {.wanted = 1};
    begin_down(&f);
    f.pools[0].check.interval_ms = 60;
    renew(&f, 1);
    assert_true(f.endpoints[0][0].sick);
    f.pools[0].check = (sp_check_spec){.kind = SP_CHECK_HTTP, .rise = 5};
    renew(&f, 1);
    assert_int_equal(sp_health_count(f.health), 1);
    assert_true(f.endpoints[0][0].sick);
    f.pools[0].check.kind = SP_CHECK_NONE; /* nobody looks: as it is, and forgotten */
    renew(&f, 1);
    assert_true(f.endpoints[0][0].ready);
    f.pools[0].check.kind = SP_CHECK_TCP;
    renew(&f, 1);
    assert_true(f.endpoints[0][0].ready);
    end(&f);
}

static void a_successor_knows_who_is_down(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    fixture f = {.wanted = 1};
    begin_down(&f);
    sp_json *told = sp_health_tell(f.health, a);
    assert_int_equal(told->count, 1);
    sp_health_free(f.health);
    f.health = sp_health_new(&f.loop, on_changed, &f);
    sp_health_hear(f.health, told);
    renew(&f, 1);
    assert_true(f.endpoints[0][0].sick);
    sp_health_hear(f.health, NULL);
    /* An agent's words; a limit and a weight that cannot be are the nearest that can. */
    assert_true(
        sp_json_parse(a,
                      SP_STR("[{\"place\":\"127.0.0.1:7 0 b\",\"up\":true,\"draining\":true,"
                             "\"percent\":50,\"maxConnections\":-3},7,{}]"),
                      &told, NULL));
    f.pools[1] = (sp_pool_spec){.name = SP_STR("b"),
                                .check = {.kind = SP_CHECK_AGENT},
                                .endpoints = f.endpoints[1],
                                .endpoint_count = 1};
    assert_true(sp_addr_parse(SP_STR("127.0.0.1"), 7, &f.endpoints[1][0].addr));
    f.endpoints[1][0].weight = 8;
    sp_health_hear(f.health, told);
    renew(&f, 2);
    const sp_endpoint_spec *e = &f.endpoints[1][0];
    assert_true(!e->ready && e->draining && e->no_newcomers);
    assert_int_equal(e->weight, 4);
    assert_int_equal(e->max_connections, 0);
    end(&f);
}

static void keep_result(void *ctx, const sp_probe_result *r) {
    *(int *)ctx = r->passed ? 1 : 0;
}

/* The verdict of a check whose time is over before the loop gets to look. */
static int verdict_after_standing_still(sp_check_kind kind) {
    uv_loop_t loop;
    uint16_t port;
    int verdict = -1, fd = listen_somewhere(&port);
    sp_check_spec in = {.kind = kind, .timeout_ms = 50};
    sp_check_spec spec = sp_check_defaults(&in);
    sp_probe_params params = {.spec = &spec};
    struct timespec too_long = {.tv_nsec = 200 * 1000 * 1000};
    assert_true(sp_addr_parse(SP_STR("127.0.0.1"), port, &params.addr));
    uv_loop_init(&loop);
    sp_probe_start(&loop, &params, keep_result, &verdict);
    nanosleep(&too_long, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    close(fd);
    return verdict;
}

static void who_stood_still_blames_nobody(void **state) {
    (void)state;
    assert_int_equal(verdict_after_standing_still(SP_CHECK_TCP), 1);
    assert_int_equal(verdict_after_standing_still(SP_CHECK_AGENT), 0); /* nothing comes */
}

static void scripts_decide_by_their_end(void **state) {
    (void)state;
    fixture f = {.wanted = 2};
    uv_loop_init(&f.loop);
    f.health = sp_health_new(&f.loop, on_changed, &f);
    f.config = sp_gateway_config_new();
    static const char *const scripts[] = {"exit 3", "sleep 60"};
    for (size_t p = 0; p < 2; p++) {
        f.pools[p] = (sp_pool_spec){.name = p ? SP_STR("b") : SP_STR("a"),
                                    .check = {.kind = SP_CHECK_SCRIPT,
                                              .timeout_ms = p ? 300 : 60000,
                                              .interval_ms = 100000,
                                              .script = sp_str_z(scripts[p])},
                                    .endpoints = f.endpoints[p],
                                    .endpoint_count = 1};
        assert_true(sp_addr_parse(SP_STR("127.0.0.1"), 1, &f.endpoints[p][0].addr));
    }
    renew(&f, 2);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_string_equal(sp_health_at(f.health, 0).reason, "exit status 3");
    assert_string_equal(sp_health_at(f.health, 1).reason, "the script did not end within 300 ms");
    renew(&f, 2);
    assert_true(f.endpoints[0][0].sick && f.endpoints[1][0].sick);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_make_states),
        cmocka_unit_test(delays),
        cmocka_unit_test(agent_words),
        cmocka_unit_test(agent_states_last),
        cmocka_unit_test(checks_are_shared_and_overlaid),
        cmocka_unit_test(another_check_of_a_server_that_is_down_begins_with_that),
        cmocka_unit_test(a_successor_knows_who_is_down),
        cmocka_unit_test(who_stood_still_blames_nobody),
        cmocka_unit_test(scripts_decide_by_their_end),
    };
    return cmocka_run_group_tests_name("gateway_health", tests, NULL, NULL);
}
