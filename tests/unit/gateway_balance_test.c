#include "base/clock.h"
#include "gateway/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { N = 4 };

typedef struct fixture {
    sp_endpoint e[N];
    sp_balance b;
} fixture;

static int setup(void **state) {
    fixture *f = sp_zalloc(1, sizeof *f);
    for (size_t i = 0; i < N; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "10.0.0.%zu", i + 1);
        assert_true(sp_addr_parse(sp_str_z(ip), 80, &f->e[i].addr));
        f->e[i].ready = true;
        sp_vec_push(&f->b.list, &f->e[i]);
    }
    sp_balance_changed(&f->b, true);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    sp_balance_free(&f->b);
    free(f);
    return 0;
}

static uint64_t lcg;
static sp_balance_query query(int64_t now_ms) {
    lcg = lcg * 6364136223846793005u + 1442695040888963407u;
    return (sp_balance_query){.now_ms = now_ms, .random = lcg ^ (lcg >> 29)};
}

/* Tests change states behind the balance's back. */
static size_t pick(fixture *f, const sp_balance_query *q) {
    bool full = false;
    sp_balance_changed(&f->b, false);
    sp_endpoint *e = sp_balance_pick(&f->b, q, &full);
    return e ? (size_t)(e - f->e) : N;
}

static void round_robin_takes_turns(void **state) {
    fixture *f = *state;
    f->b.algorithm = SP_BALANCE_ROUND_ROBIN;
    f->e[2].ready = false;
    static const size_t want[] = {0, 1, 3, 0, 1, 3};
    for (size_t i = 0; i < SP_COUNT(want); i++) {
        sp_balance_query q = query(0);
        assert_int_equal(pick(f, &q), want[i]);
    }
}

static void two_choices_keep_the_load_even(void **state) {
    fixture *f = *state;
    f->e[0].open = 1000; /* busy from before: gets nothing while others are idle */
    for (size_t i = 0; i < 900; i++) {
        sp_balance_query q = query(0);
        f->e[pick(f, &q)].open++;
    }
    assert_int_equal(f->e[0].open, 1000);
    for (size_t i = 1; i < N; i++) assert_in_range(f->e[i].open, 290, 310);
}

static void refused_endpoints_come_last_and_come_back(void **state) {
    fixture *f = *state;
    sp_balance_report(&f->b, &f->e[1], SP_OUTCOME_CONNECT_FAILED, 1000);
    for (size_t i = 0; i < 100; i++) {
        sp_balance_query q = query(1000);
        assert_int_not_equal(pick(f, &q), 1);
    }
    f->e[0].ready = f->e[2].ready = f->e[3].ready = false;
    sp_balance_query q = query(1000);
    assert_int_equal(pick(f, &q), 1); /* nothing else is left */
    assert_int_equal(f->e[1].avoid_until_ms, 1000 + SP_BALANCE_AVOID_MS);
    sp_balance_report(&f->b, &f->e[1], SP_OUTCOME_CONNECT_FAILED, 1000);
    assert_int_equal(f->e[1].avoid_until_ms, 1000 + 2 * SP_BALANCE_AVOID_MS);
    for (size_t i = 0; i < 40; i++)
        sp_balance_report(&f->b, &f->e[1], SP_OUTCOME_CONNECT_FAILED, 1000);
    assert_int_equal(f->e[1].avoid_until_ms, 1000 + SP_BALANCE_AVOID_MAX_MS);
    sp_balance_report(&f->b, &f->e[1], SP_OUTCOME_CONNECTED, 1000);
    assert_int_equal(f->e[1].avoid_until_ms, 0);
}

static void draining_only_without_ready(void **state) {
    fixture *f = *state;
    for (size_t i = 0; i < N; i++) f->e[i].ready = i == 3;
    f->e[1].draining = true;
    sp_balance_query q = query(0);
    assert_int_equal(pick(f, &q), 3);
    f->e[3].ready = false;
    assert_int_equal(pick(f, &q), 1);
    f->e[1].no_newcomers = true; /* weight 0: its own only */
    sp_balance_changed(&f->b, false);
    assert_int_equal(pick(f, &q), N);
    f->e[1].no_newcomers = false;
    sp_balance_changed(&f->b, false);
    assert_int_equal(pick(f, &q), 1);
    f->e[1].draining = false;
    sp_balance_changed(&f->b, false);
    assert_int_equal(pick(f, &q), N);
}

static void tried_ones_are_not_taken_again(void **state) {
    fixture *f = *state;
    const sp_endpoint *tried[N];
    bool seen[N] = {0};
    for (size_t i = 0; i < N; i++) {
        sp_balance_query q = query(0);
        q.tried = tried;
        q.tried_count = i;
        size_t at = pick(f, &q);
        assert_true(at < N && !seen[at]);
        seen[at] = true;
        tried[i] = &f->e[at];
    }
    sp_balance_query q = query(0);
    q.tried = tried;
    q.tried_count = N;
    assert_int_equal(pick(f, &q), N);
}

static void a_client_stays_where_it_was(void **state) {
    fixture *f = *state;
    f->b.affinity_ms = 10000;
    size_t used[N] = {0};
    for (unsigned c = 0; c < 64; c++) {
        sp_addr client = {.family = 2, .ip = {192, 0, 2, (uint8_t)c}};
        sp_balance_query q = query(0);
        q.client = &client;
        size_t first = pick(f, &q);
        used[first]++;
        for (int i = 0; i < 5; i++) {
            q = query(5000);
            q.client = &client;
            client.port++;
            assert_int_equal(pick(f, &q), first);
        }
        q = query(5001); /* its endpoint leaves: it moves, and stays there */
        q.client = &client;
        f->e[first].ready = false;
        size_t second = pick(f, &q);
        assert_int_not_equal(second, first);
        f->e[first].ready = true;
        q = query(5002);
        q.client = &client;
        assert_int_equal(pick(f, &q), second);
    }
    for (size_t i = 0; i < N; i++) assert_true(used[i] > 0);
}

static void affinity_ends_and_has_a_cap(void **state) {
    fixture *f = *state;
    f->b.affinity_ms = 100;
    for (uint32_t c = 0; c < SP_BALANCE_MAX_CLIENTS + 50; c++) {
        sp_addr client = {.family = 2,
                          .ip = {10, (uint8_t)(c >> 16), (uint8_t)(c >> 8), (uint8_t)c}};
        sp_balance_query q = query(0);
        q.client = &client;
        assert_true(pick(f, &q) < N);
    }
    assert_int_equal(f->b.clients.n, SP_BALANCE_MAX_CLIENTS);
    sp_addr client = {.family = 2, .ip = {10, 9, 9, 9}};
    sp_balance_query q = query(50);
    q.client = &client;
    size_t spread = pick(f, &q);
    for (int i = 0; i < 20; i++) { /* not remembered, yet steady */
        q = query(50);
        q.client = &client;
        assert_int_equal(pick(f, &q), spread);
    }
    q = query(100);
    q.client = &client;
    assert_true(pick(f, &q) < N);
    assert_int_equal(f->b.clients.n, 1); /* the expired ones left */
}

static void addresses(void **state) {
    (void)state;
    sp_addr a, b;
    char text[SP_ADDR_MAX];
    assert_true(sp_addr_parse(SP_STR("10.1.2.3"), 80, &a));
    assert_true(sp_addr_parse(SP_STR("0.0.0.0"), 80, &b));
    assert_true(sp_addr_overlaps(&a, &b));
    b.port = 81;
    assert_false(sp_addr_overlaps(&a, &b));
    sp_addr_format(&a, text);
    assert_string_equal(text, "10.1.2.3:80");
    struct sockaddr_storage ss;
    sp_addr_to_sock(&a, &ss);
    b = sp_addr_from_sock(&ss);
    assert_true(sp_addr_eq(&a, &b));
    assert_true(sp_addr_parse(SP_STR("fd00::7"), 443, &a));
    sp_addr_format(&a, text);
    assert_string_equal(text, "[fd00::7]:443");
    sp_addr_to_sock(&a, &ss);
    b = sp_addr_from_sock(&ss);
    assert_true(sp_addr_eq(&a, &b));
    static const char *const bad[] = {"", "1.2.3", "[::1]", "1.2.3.4:80", "host", "fe80::1%lo"};
    for (size_t i = 0; i < SP_COUNT(bad); i++) assert_false(sp_addr_parse(sp_str_z(bad[i]), 1, &a));
}

static void networks(void **state) {
    (void)state;
    static const struct {
        const char *net, *ip;
        bool in;
    } cases[] = {{"10.96.0.0/16", "10.96.255.1", true}, {"10.96.0.0/16", "10.97.0.1", false},
                 {"10.0.0.0/9", "10.127.0.1", true},    {"10.0.0.0/9", "10.128.0.1", false},
                 {"0.0.0.0/0", "1.2.3.4", true},        {"0.0.0.0/0", "::1", false},
                 {"1.2.3.4/32", "1.2.3.4", true},       {"1.2.3.4/32", "1.2.3.5", false},
                 {"fd00::/8", "fdff::1", true},         {"fd00::/8", "fe00::1", false}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_cidr c;
        sp_addr a;
        assert_true(sp_cidr_parse(sp_str_z(cases[i].net), &c));
        assert_true(sp_addr_parse(sp_str_z(cases[i].ip), 7, &a));
        assert_int_equal(sp_cidr_has(&c, &a), cases[i].in);
    }
    static const char *const bad[] = {"10.0.0.0", "10.0.0.0/33", "x/8",
                                      "::/129",   "10.0.0.0/",   "/8"};
    sp_cidr c;
    for (size_t i = 0; i < SP_COUNT(bad); i++) assert_false(sp_cidr_parse(sp_str_z(bad[i]), &c));
}

int main(void) {
    lcg = (uint64_t)sp_clock_mono_us();
    print_message("seed %llu\n", (unsigned long long)lcg);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_robin_takes_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(two_choices_keep_the_load_even, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_endpoints_come_last_and_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_only_without_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(tried_ones_are_not_taken_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_stays_where_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(affinity_ends_and_has_a_cap, setup, teardown),
        cmocka_unit_test(addresses),
        cmocka_unit_test(networks),
    };
    return cmocka_run_group_tests_name("gateway_balance", tests, NULL, NULL);
}
