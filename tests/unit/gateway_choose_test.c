/* The algorithms of balance.h: shares, order, what moves and what stays. Seeds are printed; shares
 * are compared with bounds that chance does not reach (more than six standard deviations). */
#include "base/clock.h"
#include "gateway/affinity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { MANY = 1000, KEYS = 20000 };

typedef struct fixture {
    sp_endpoint e[MANY];
    sp_balance b;
    size_t n;
} fixture;

static uint64_t lcg;
static uint64_t chance(void) {
    lcg = lcg * 6364136223846793005u + 1442695040888963407u;
    return lcg ^ (lcg >> 29);
}

static fixture *make(size_t n, sp_balance_algorithm algorithm) {
    fixture *f = sp_zalloc(1, sizeof *f);
    f->n = n;
    f->b.algorithm = algorithm;
    for (size_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "web-%zu", i);
        sp_endpoint *e = &f->e[i];
        e->addr = (sp_addr){.family = 2, .port = 80, .ip = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}};
        e->id = sp_affinity_id(sp_str_z(name), &e->addr);
        e->ready = true;
        sp_vec_push(&f->b.list, e);
    }
    sp_balance_changed(&f->b, true);
    return f;
}

static void drop(fixture *f) {
    sp_balance_free(&f->b);
    free(f);
}

static sp_balance_query at(int64_t now) {
    return (sp_balance_query){.now_ms = now, .random = chance()};
}

static size_t pick(fixture *f, sp_balance_query q) {
    bool full;
    sp_endpoint *e = sp_balance_pick(&f->b, &q, &full);
    return e ? (size_t)(e - f->e) : SIZE_MAX;
}

static void turns_follow_weights_and_mix(void **state) {
    (void)state;
    fixture *f = make(3, SP_BALANCE_ROUND_ROBIN);
    size_t got[3] = {0}, row = 0;
    f->e[0].weight = 5;
    sp_balance_changed(&f->b, true);
    for (int i = 0; i < 700; i++) {
        size_t k = pick(f, at(0));
        got[k]++;
        row = k ? 0 : row + 1;
        assert_true(row <= 4); /* five of seven, but never five in a row */
    }
    assert_int_equal(got[0], 500);
    assert_int_equal(got[1], 100);
    drop(f);
}

/* Who comes back gets his share, not everything he has missed. */
static void turns_are_not_saved_up(void **state) {
    (void)state;
    fixture *f = make(2, SP_BALANCE_ROUND_ROBIN);
    f->e[1].max_connections = 1;
    sp_balance_opened(&f->e[1]);
    for (int i = 0; i < 1000; i++) assert_int_equal(pick(f, at(0)), 0);
    sp_balance_closed(&f->e[1]);
    size_t back = 0;
    for (int i = 0; i < 100; i++) back += pick(f, at(0));
    assert_in_range(back, 49, 52);
    drop(f);
}

static void least_is_the_least(void **state) {
    (void)state;
    fixture *f = make(200, SP_BALANCE_LEAST);
    for (size_t i = 0; i < f->n; i++) f->e[i].weight = (uint16_t)(1 + i % 7);
    sp_balance_changed(&f->b, true);
    for (int step = 0; step < 5000; step++) {
        size_t k = pick(f, at(0));
        for (size_t i = 0; i < f->n; i++) /* (open + 1) / weight, without division */
            assert_true((uint64_t)(f->e[k].open + 1) * f->e[i].weight <=
                        (uint64_t)(f->e[i].open + 1) * f->e[k].weight);
        sp_balance_opened(&f->e[k]);
        for (int c = 0; c < 2; c++) {
            sp_endpoint *e = &f->e[chance() % f->n];
            if (e->open && step % 3) sp_balance_closed(e);
        }
    }
    drop(f);
}

static void two_choices_follow_weights(void **state) {
    (void)state;
    fixture *f = make(4, SP_BALANCE_TWO_CHOICES);
    size_t got[4] = {0};
    f->e[0].weight = 3;
    sp_balance_changed(&f->b, true);
    for (int i = 0; i < 60000; i++) got[pick(f, at(0))]++; /* idle: the first draw decides */
    assert_in_range(got[0], 29000, 31000);
    for (int i = 1; i < 4; i++) assert_in_range(got[i], 9300, 10700);
    drop(f);
}

/* --- hashing --- */

static void map_keys(fixture *f, uint64_t *ret) {
    for (uint64_t k = 0; k < KEYS; k++) {
        sp_balance_query q = at(0);
        q.hash = sp_affinity_hash((sp_str){(const char *)&k, sizeof k});
        size_t i = pick(f, q);
        ret[k] = i == SIZE_MAX ? 0 : f->e[i].id;
    }
}

static size_t moved(const uint64_t *a, const uint64_t *b, uint64_t from) {
    size_t n = 0;
    for (size_t k = 0; k < KEYS; k++) n += a[k] != b[k] && a[k] != from;
    return n;
}

static void hashing_moves_little(void **state) {
    (void)state;
    static uint64_t before[KEYS], after[KEYS];
    fixture *f = make(50, SP_BALANCE_HASH);
    map_keys(f, before);
    size_t got = 0;
    for (size_t k = 0; k < KEYS; k++) got += before[k] == f->e[7].id;
    assert_in_range(got, 280, 520); /* 400 */
    f->e[7].ready = false;          /* for a while: only its own keys go elsewhere */
    sp_balance_changed(&f->b, false);
    map_keys(f, after);
    assert_int_equal(moved(before, after, f->e[7].id), 0);
    for (size_t k = 0; k < KEYS; k++) assert_int_not_equal(after[k], f->e[7].id);
    f->e[7].ready = true;
    sp_balance_changed(&f->b, false);
    map_keys(f, after);
    assert_memory_equal(before, after, sizeof before);
    sp_vec_remove(&f->b.list, 7); /* for good: little else moves */
    sp_balance_changed(&f->b, true);
    map_keys(f, after);
    print_message("moved besides: %zu of %d\n", moved(before, after, f->e[7].id), KEYS);
    assert_true(moved(before, after, f->e[7].id) < KEYS / 20);
    drop(f);
}

/* Every gateway must send a key to the same server, whatever order it learned them in. */
static void hashing_is_the_same_everywhere(void **state) {
    (void)state;
    static uint64_t here[KEYS], there[KEYS];
    fixture *f = make(20, SP_BALANCE_HASH), *g = make(20, SP_BALANCE_HASH);
    for (size_t i = 0; i < 10; i++) {
        sp_endpoint *e = g->b.list.p[i];
        g->b.list.p[i] = g->b.list.p[19 - i];
        g->b.list.p[19 - i] = e;
    }
    sp_balance_changed(&g->b, true);
    map_keys(f, here);
    map_keys(g, there);
    assert_memory_equal(here, there, sizeof here);
    assert_int_equal(sp_affinity_hash(SP_STR("a key")), 0xacaf4c02e706a14au);
    drop(f);
    drop(g);
}

static void hashing_knows_weights(void **state) {
    (void)state;
    static uint64_t to[KEYS];
    fixture *f = make(4, SP_BALANCE_HASH);
    f->e[0].weight = 5;
    sp_balance_changed(&f->b, true);
    map_keys(f, to);
    size_t got = 0;
    for (size_t k = 0; k < KEYS; k++) got += to[k] == f->e[0].id;
    assert_in_range(got, KEYS * 5 / 8 - 600, KEYS * 5 / 8 + 600);
    drop(f);
}

static void first_fills_up_in_order(void **state) {
    (void)state;
    fixture *f = make(3, SP_BALANCE_FIRST);
    for (size_t i = 0; i < 3; i++) f->e[i].max_connections = 2;
    for (size_t i = 0; i < 6; i++) {
        size_t k = pick(f, at(0));
        assert_int_equal(k, i / 2);
        assert_true(sp_balance_try_open(&f->e[k]));
    }
    bool full = false;
    sp_balance_query q = at(0);
    assert_null(sp_balance_pick(&f->b, &q, &full));
    assert_true(full);
    assert_false(sp_balance_try_open(&f->e[0]));
    sp_balance_closed(&f->e[1]);
    assert_int_equal(pick(f, at(0)), 1);
    f->e[1].ready = false;
    sp_balance_changed(&f->b, false);
    assert_int_equal(pick(f, at(0)), SIZE_MAX);
    drop(f);
}

/* --- groups --- */

static void priorities_spill_and_backups_wait(void **state) {
    static const sp_balance_algorithm all[] = {SP_BALANCE_TWO_CHOICES, SP_BALANCE_ROUND_ROBIN,
                                               SP_BALANCE_LEAST, SP_BALANCE_HASH, SP_BALANCE_FIRST};
    (void)state;
    for (size_t a = 0; a < SP_COUNT(all); a++) {
        fixture *f = make(4, all[a]); /* 0, 1: near; 2: far; 3: backup */
        f->e[2].priority = 1;
        f->e[3].backup = true;
        f->e[0].max_connections = f->e[1].max_connections = 1;
        sp_balance_changed(&f->b, true);
        for (int i = 0; i < 50; i++) assert_true(pick(f, at(0)) < 2);
        sp_balance_opened(&f->e[0]);
        sp_balance_opened(&f->e[1]);
        assert_int_equal(pick(f, at(0)), 2); /* the near ones are full */
        f->e[2].ready = false;
        sp_balance_changed(&f->b, false);
        bool full = false;
        sp_balance_query q = at(0);
        assert_null(sp_balance_pick(&f->b, &q, &full)); /* full is no reason for a backup */
        assert_true(full);
        f->e[0].ready = f->e[1].ready = false;
        sp_balance_changed(&f->b, false);
        assert_int_equal(pick(f, at(0)), 3);
        drop(f);
    }
}

static void cookies_stick(void **state) {
    (void)state;
    fixture *f = make(5, SP_BALANCE_ROUND_ROBIN);
    for (size_t i = 0; i < 5; i++)
        f->e[i].sticky =
            sp_affinity_sticky((sp_str){0}, SP_STR("ns/web:80"), (sp_str){0}, &f->e[i].addr);
    sp_balance_changed(&f->b, true);
    sp_balance_query q = at(0);
    q.sticky = f->e[3].sticky;
    for (int i = 0; i < 10; i++) assert_int_equal(pick(f, q), 3);
    f->e[3].ready = false; /* drained: those it knows may go on */
    f->e[3].draining = true;
    sp_balance_changed(&f->b, false);
    assert_int_equal(pick(f, q), 3);
    for (int i = 0; i < 20; i++) assert_int_not_equal(pick(f, at(0)), 3);
    f->e[3].draining = false;
    sp_balance_changed(&f->b, false);
    assert_int_not_equal(pick(f, q), 3);
    q.sticky = 12345; /* a cookie from elsewhere */
    assert_true(pick(f, q) < 5);
    drop(f);
}

static void cookie_values(void **state) {
    (void)state;
    sp_addr a = {.family = 2, .port = 80, .ip = {10, 0, 0, 1}};
    sp_pool_spec p = {.name = SP_STR("ns/web:80"), .sticky = {.cookie = SP_STR("SRV")}};
    sp_endpoint e = {.sticky = sp_affinity_sticky((sp_str){0}, p.name, SP_STR("web-0"), &a)};
    sp_auto(sp_buf) set = {0}, cookie = {0};
    p.sticky.ttl_ms = 60000;
    sp_affinity_set_cookie(&set, &p.sticky, &e);
    assert_non_null(strstr(set.p, "; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"));
    assert_null(strstr(set.p, "10.0.0.1"));
    sp_str pair = sp_str_sub(sp_buf_str(&set), 0, 4 + SP_STICKY_LENGTH);
    sp_buf_printf(&cookie, "a=b; %.*s; SRVX=1", SP_ARG(pair));
    sp_header h[] = {{SP_STR("Cookie"), SP_STR("x=y")}, {SP_STR("cookie"), sp_buf_str(&cookie)}};
    sp_affinity_request r = {.client = &a, .headers = h, .header_count = 2};
    sp_affinity got = sp_affinity_of(&p, &r);
    assert_true(got.sticky == e.sticky && !sp_affinity_is_news(&got, &e));
    h[1].value = SP_STR("SRV=; SRV=zz; SRV");
    got = sp_affinity_of(&p, &r);
    assert_true(got.sticky == 0 && sp_affinity_is_news(&got, &e));
    assert_true(sp_affinity_sticky((sp_str){0}, SP_STR("ns/other:80"), SP_STR("web-0"), &a) !=
                e.sticky);
    assert_true(sp_affinity_sticky(SP_STR("0123456789abcdef"), p.name, SP_STR("web-0"), &a) !=
                e.sticky);
}

static void keys_of_requests(void **state) {
    (void)state;
    sp_addr client = {.family = 2, .port = 1234, .ip = {192, 0, 2, 1}}, again = client;
    sp_header h[] = {{SP_STR("X-User"), SP_STR("ada")}, {SP_STR("Cookie"), SP_STR("s=ada")}};
    sp_affinity_request r = {.client = &client,
                             .headers = h,
                             .header_count = 2,
                             .path = SP_STR("/ada"),
                             .query = SP_STR("a=1&u=ada")};
    static const struct {
        sp_hash_by by;
        const char *name, *same_as;
    } rows[] = {{SP_HASH_HEADER, "x-user", "ada"},
                {SP_HASH_COOKIE, "s", "ada"},
                {SP_HASH_QUERY, "u", "ada"},
                {SP_HASH_QUERY, "", "a=1&u=ada"},
                {SP_HASH_PATH, "", "/ada"}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_pool_spec p = {.algorithm = SP_BALANCE_HASH,
                          .hash_by = rows[i].by,
                          .hash_name = sp_str_z(rows[i].name)};
        assert_true(sp_affinity_of(&p, &r).hash == sp_affinity_hash(sp_str_z(rows[i].same_as)));
    }
    sp_pool_spec p = {
        .algorithm = SP_BALANCE_HASH, .hash_by = SP_HASH_HEADER, .hash_name = SP_STR("missing")};
    uint64_t by_source = sp_affinity_of(&p, &r).hash;
    again.port = 99; /* another connection of the same client */
    r.client = &again;
    assert_true(by_source && sp_affinity_of(&p, &r).hash == by_source);
    p.algorithm = SP_BALANCE_LEAST;
    assert_true(sp_affinity_of(&p, &r).hash == 0);
}

static void newcomers_start_slowly(void **state) {
    static const sp_balance_algorithm all[] = {SP_BALANCE_ROUND_ROBIN, SP_BALANCE_TWO_CHOICES};
    (void)state;
    for (size_t a = 0; a < SP_COUNT(all); a++) {
        fixture *f = make(4, all[a]);
        size_t got[3] = {0};
        f->b.slow_start_ms = 10000;
        f->e[3].ready_since_ms = 1000;
        sp_balance_changed(&f->b, true);
        static const int64_t ages[] = {500, 5000, 10000};
        for (size_t k = 0; k < 3; k++)
            for (int i = 0; i < 4000; i++) got[k] += pick(f, at(1000 + ages[k])) == 3;
        assert_in_range(got[0], 1, 250);    /* 1/20 of a share: 66 */
        assert_in_range(got[1], 400, 750);  /* half of one: 571 */
        assert_in_range(got[2], 850, 1200); /* 1000 */
        drop(f);
    }
}

/* --- what the traffic tells --- */

static void outliers_are_ejected(void **state) {
    (void)state;
    fixture *f = make(4, SP_BALANCE_ROUND_ROBIN);
    f->b.outlier = (sp_outlier_spec){
        .consecutive = 3, .http = true, .eject_ms = 1000, .eject_max_ms = 3000, .max_percent = 50};
    sp_endpoint *e = &f->e[1];
    assert_false(sp_balance_report(&f->b, e, SP_OUTCOME_5XX, 0));
    assert_false(sp_balance_report(&f->b, e, SP_OUTCOME_RESET, 0));
    sp_balance_report(&f->b, e, SP_OUTCOME_OK, 0); /* the row begins anew */
    int64_t now = 0;
    static const int64_t out_for[] = {1000, 2000, 3000, 3000};
    for (size_t i = 0; i < SP_COUNT(out_for); i++) {
        for (int k = 0; k < 3; k++)
            assert_int_equal(sp_balance_report(&f->b, e, SP_OUTCOME_5XX, now), k == 2);
        assert_int_equal(e->eject_until_ms, now + out_for[i]);
        for (int k = 0; k < 20; k++) assert_int_not_equal(pick(f, at(now)), 1);
        now += out_for[i];
        bool back = false;
        for (int k = 0; k < 8; k++) back |= pick(f, at(now)) == 1;
        assert_true(back);
    }
    sp_balance_report(&f->b, e, SP_OUTCOME_OK, now);
    assert_int_equal(e->ejections, 0);
    for (size_t i = 0; i < 4; i++) /* half of them at most */
        for (int k = 0; k < 3; k++) sp_balance_report(&f->b, &f->e[i], SP_OUTCOME_RESET, now);
    size_t out = 0;
    for (size_t i = 0; i < 4; i++) out += f->e[i].eject_until_ms > now;
    assert_int_equal(out, 2);
    drop(f);
}

static void panic_uses_all(void **state) {
    (void)state;
    fixture *f = make(4, SP_BALANCE_ROUND_ROBIN);
    bool used[4] = {0};
    f->b.panic_percent = 50;
    for (size_t i = 1; i < 4; i++) {
        f->e[i].ready = false; /* the check says so; 3 only because nobody is there */
        f->e[i].sick = i != 3;
    }
    sp_balance_changed(&f->b, false);
    for (int i = 0; i < 30; i++) used[pick(f, at(0))] = true;
    assert_true(used[0] && used[1] && used[2] && !used[3]);
    f->b.panic_percent = 30; /* one of three is enough */
    sp_balance_changed(&f->b, false);
    for (int i = 0; i < 30; i++) assert_int_equal(pick(f, at(0)), 0);
    drop(f);
}

/* Only to look at: nothing here depends on time. */
static void large_pools_are_quick(void **state) {
    static const char *const names[] = {"random of two", "turns", "least", "hash", "first"};
    (void)state;
    for (int a = SP_BALANCE_TWO_CHOICES; a <= SP_BALANCE_FIRST; a++) {
        fixture *f = make(MANY, (sp_balance_algorithm)a);
        pick(f, at(0));
        int64_t from = sp_clock_mono_us();
        for (int i = 0; i < 20000; i++) {
            sp_balance_query q = at(0);
            q.hash = chance() | 1;
            size_t k = pick(f, q);
            assert_true(k < MANY);
            sp_balance_opened(&f->e[k]);
            sp_balance_closed(&f->e[k]);
        }
        print_message("%s among %d: %lld ns a choice\n", names[a], MANY,
                      (long long)(sp_clock_mono_us() - from) / 20);
        drop(f);
    }
}

int main(void) {
    lcg = (uint64_t)sp_clock_mono_us();
    print_message("seed %llu\n", (unsigned long long)lcg);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_follow_weights_and_mix),
        cmocka_unit_test(turns_are_not_saved_up),
        cmocka_unit_test(least_is_the_least),
        cmocka_unit_test(two_choices_follow_weights),
        cmocka_unit_test(hashing_moves_little),
        cmocka_unit_test(hashing_is_the_same_everywhere),
        cmocka_unit_test(hashing_knows_weights),
        cmocka_unit_test(first_fills_up_in_order),
        cmocka_unit_test(priorities_spill_and_backups_wait),
        cmocka_unit_test(cookies_stick),
        cmocka_unit_test(cookie_values),
        cmocka_unit_test(keys_of_requests),
        cmocka_unit_test(newcomers_start_slowly),
        cmocka_unit_test(outliers_are_ejected),
        cmocka_unit_test(panic_uses_all),
        cmocka_unit_test(large_pools_are_quick),
    };
    return cmocka_run_group_tests_name("gateway_choose", tests, NULL, NULL);
}
