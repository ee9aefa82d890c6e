/* Checks that speak: the machine over bytes in every division into pieces, and the same through a
 * socket. */
#include "gateway/health_probe.h"
#include "gateway/health_state.h"
#include "gateway/health_talk.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SAY(text) \
    { SP_CHECK_STEP_SAY, false, 0, SP_STR_INIT(text) }
#define TEXT(text) \
    { SP_CHECK_STEP_TEXT, false, 0, SP_STR_INIT(text) }
#define NOT(text) \
    { SP_CHECK_STEP_TEXT, true, 0, SP_STR_INIT(text) }
#define AFTER(n, not_, text) \
    { SP_CHECK_STEP_TEXT, not_, n, SP_STR_INIT(text) }
#define MATCH(text) \
    { SP_CHECK_STEP_PATTERN, false, 0, SP_STR_INIT(text) }
#define NO_MATCH(min, text) \
    { SP_CHECK_STEP_PATTERN, true, min, SP_STR_INIT(text) }

enum { MAX_STEPS = 8 };

static size_t count(const sp_check_step *steps) {
    size_t n = 0;
    while (n < MAX_STEPS && steps[n].bytes.n) n++;
    return n;
}

static const sp_regex **patterns(sp_arena *a, const sp_check_step *steps, size_t n) {
    const sp_regex **re = sp_arena_alloc(a, (n + 1) * sizeof *re);
    sp_err err = {0};
    for (size_t i = 0; i < n; i++) {
        re[i] = NULL;
        if (steps[i].kind == SP_CHECK_STEP_PATTERN)
            assert_true(sp_regex_compile(a, steps[i].bytes, &re[i], &err));
    }
    return re;
}

/* What is said until the machine waits or is done. */
static sp_talk_turn until_it_waits(sp_talk *t, sp_buf *said) {
    sp_str say;
    sp_talk_turn turn;
    while ((turn = sp_talk_go(t, &say)) == SP_TALK_SAY) sp_buf_add(said, say);
    return turn;
}

/* --- each row: steps, what comes in which pieces ("|" between them, "$" is the end) --- */

static const struct {
    sp_check_step steps[MAX_STEPS];
    const char *comes, *said;
    char end; /* P passed, F failed, W waits */
    const char *why;
} rows[] = {
    {{SAY("PING\r\n"), TEXT("+PONG")}, "+PONG\r\n", "PING\r\n", 'P', NULL},
    {{SAY("PING\r\n"), TEXT("+PONG")}, "+P|O|NG", "PING\r\n", 'P', NULL},
    {{SAY("PING\r\n"), TEXT("+PONG")},
     "-NOAUTH no\r\n",
     "PING\r\n",
     'W',
     "step 2: no \"+PONG\" in \"-NOAUTH no\\r\\n\""},
    {{SAY("PING\r\n"), TEXT("+PONG")}, "", "PING\r\n", 'W', "step 2: no \"+PONG\": nothing came"},
    {{SAY("PING\r\n"), TEXT("+PONG")},
     "$",
     "PING\r\n",
     'F',
     "step 2: no \"+PONG\": nothing came, then the end"},
    {{SAY("PING\r\n"), TEXT("+PONG")},
     "+PON$",
     "PING\r\n",
     'F',
     "step 2: no \"+PONG\" in \"+PON\", then the end"},
    {{SAY("PING\r\n"), TEXT("+PONG")}, "+PONG$", "PING\r\n", 'P', NULL},
    /* a server that speaks first */
    {{TEXT("220 "), SAY("QUIT\r\n")}, "220 mx\r\n", "QUIT\r\n", 'P', NULL},
    {{TEXT("220 "), SAY("QUIT\r\n")},
     "554 no\r\n",
     "",
     'W',
     "step 1: no \"220 \" in \"554 no\\r\\n\""},
    {{TEXT("a"), SAY("x"), TEXT("b")}, "ab", "x", 'W', "step 3: no \"b\": nothing came"},
    {{TEXT("a"), SAY("x"), TEXT("b")}, "a|b", "x", 'P', NULL},
    {{TEXT("a"), SAY("x")}, "$", "", 'F', "step 1: no \"a\": nothing came, then the end"},
    {{TEXT("a"), NOT("b"), SAY("x")},
     "a$",
     "",
     'F',
     "step 3: the server closed the connection before it"},
    /* several look at the same bytes */
    {{SAY("x"), TEXT("two"), TEXT("one")}, "one two", "x", 'P', NULL},
    {{SAY("x"), TEXT("one"), TEXT("three")},
     "one| two",
     "x",
     'W',
     "step 3: no \"three\" in \"one two\""},
    /* negated: by the end, or as soon as enough came */
    {{NOT("slave")},
     "role:master",
     "",
     'W',
     "step 1: neither the end nor \"slave\" in \"role:master\""},
    {{NOT("slave")}, "role:master$", "", 'P', NULL},
    {{NOT("slave")}, "role:sl|ave", "", 'F', "step 1: \"slave\" in \"role:slave\""},
    {{NOT("slave")},
     "$",
     "",
     'F',
     "step 1: neither the end nor \"slave\": nothing came, then the end"},
    {{AFTER(5, true, "E")}, "abcd", "", 'W', NULL},
    {{AFTER(5, true, "E")}, "E", "", 'W', NULL},
    {{AFTER(5, true, "E")}, "abcd|e", "", 'P', NULL},
    {{AFTER(5, true, "E")}, "abcd|E", "", 'F', "step 1: \"E\" in \"abcdE\""},
    {{AFTER(7, false, "+PONG\r\n")},
     "-NOAUTH",
     "",
     'F',
     "step 1: no \"+PONG\\r\\n\" in \"-NOAUTH\""},
    {{AFTER(7, false, "+PONG\r\n")}, "+PONG|\r\n", "", 'P', NULL},
    /* patterns */
    {{SAY("x"), MATCH("^role:(master|primary)\\r$")}, "role:|primary\r", "x", 'P', NULL},
    {{MATCH("m.ster")}, "\xff\xfe m\xc3", "", 'W', NULL}, /* no UTF-8, half a character */
    {{MATCH("m.ster")}, "\xff m|ast|er", "", 'P', NULL},
    {{NO_MATCH(1, "^E")}, "R", "", 'P', NULL},
    {{NO_MATCH(1, "^E")}, "Error", "", 'F', "step 1: \"^E\" in \"Error\""},
    {{MATCH("(a+)+$")},
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
     "",
     'F',
     "step 1: too much work to look for \"(a+)+$\" in \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\""},
    {{TEXT("\x01\xff")},
     "a\"\\\t\x7f",
     "",
     'W',
     "step 1: no \"\\x01\\xff\" in \"a\\\"\\\\\\t\\x7f\""},
};

static sp_talk_turn hear(sp_talk *t, sp_str comes, sp_buf *said) {
    sp_talk_turn turn = until_it_waits(t, said);
    bool end = sp_str_ends(comes, SP_STR("$"));
    if (end) comes.n--;
    for (sp_str piece, rest = comes; turn == SP_TALK_WAIT && sp_str_cut(&rest, '|', &piece);) {
        sp_talk_hear(t, piece);
        turn = until_it_waits(t, said);
    }
    if (turn != SP_TALK_WAIT || !end) return turn;
    sp_talk_end(t);
    return until_it_waits(t, said);
}

static void steps_in_order(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_auto(sp_buf) said = {0};
        char why[SP_TALK_WHY_MAX];
        size_t n = count(rows[i].steps);
        sp_talk t = {.steps = rows[i].steps, .count = n, .patterns = patterns(a, rows[i].steps, n)};
        sp_talk_turn turn = hear(&t, sp_str_z(rows[i].comes), &said);
        char end = turn == SP_TALK_PASSED ? 'P' : turn == SP_TALK_FAILED ? 'F' : 'W';
        if (end != rows[i].end) fail_msg("row %zu: %c", i, end);
        assert_string_equal(sp_buf_z(&said), rows[i].said);
        sp_talk_why(&t, why);
        if (rows[i].why) assert_string_equal(why, rows[i].why);
        sp_talk_free(&t);
    }
}

/* The usual talk with a redis, each answer cut in two at each place, and byte by byte. */
static void every_division(void **state) {
    (void)state;
    static const sp_check_step steps[] = {SAY("PING\r\n"),
                                          TEXT("+PONG\r\n"),
                                          SAY("info replication\r\n"),
                                          TEXT("role:master\r\nconnected_slaves:0\r\n"),
                                          SAY("QUIT\r\n"),
                                          TEXT("+OK\r\n")};
    static const char *const answers[] = {
        "+PONG\r\n", "$40\r\n# Replication\r\nrole:role:master\r\nconnected_slaves:0\r\n",
        "+OK\r\n"};
    for (size_t cut = 0; cut < 60; cut++) {
        sp_auto(sp_buf) said = {0};
        sp_talk t = {.steps = steps, .count = SP_COUNT(steps)};
        for (size_t i = 0; i < SP_COUNT(answers); i++) {
            sp_str all = sp_str_z(answers[i]);
            assert_int_equal(until_it_waits(&t, &said), SP_TALK_WAIT);
            for (size_t k = 0; k < all.n;) { /* the first cut: byte by byte */
                size_t n = !cut ? 1 : k ? all.n : cut;
                assert_int_equal(until_it_waits(&t, &said), SP_TALK_WAIT);
                sp_talk_hear(&t, sp_str_sub(all, k, n));
                k += n;
            }
        }
        assert_int_equal(until_it_waits(&t, &said), SP_TALK_PASSED);
        assert_string_equal(sp_buf_z(&said), "PING\r\ninfo replication\r\nQUIT\r\n");
        sp_talk_free(&t);
    }
}

static void what_is_heard_is_bounded(void **state) {
    (void)state;
    static const sp_check_step late[] = {TEXT("end")}, absent[] = {NOT("end")};
    char much[5000], why[SP_TALK_WHY_MAX];
    sp_str say;
    memset(much, '\xff', sizeof much);
    sp_talk t = {.steps = late, .count = 1}, u = {.steps = absent, .count = 1};
    for (size_t i = 0; i < 3; i++) {
        sp_talk_hear(&t, (sp_str){much, sizeof much});
        sp_talk_hear(&u, (sp_str){much, sizeof much});
        assert_int_equal(sp_talk_go(&t, &say), SP_TALK_WAIT);
        assert_int_equal(sp_talk_go(&u, &say), SP_TALK_WAIT);
    }
    sp_talk_hear(&t, (sp_str){much, sizeof much}); /* the last bytes are let go */
    sp_talk_hear(&t, SP_STR("end"));
    sp_talk_hear(&u, (sp_str){much, sizeof much});
    assert_int_equal(t.heard.n, SP_TALK_HEARD_MAX);
    assert_int_equal(sp_talk_go(&t, &say), SP_TALK_FAILED);
    assert_int_equal(sp_talk_go(&u, &say), SP_TALK_PASSED);
    sp_talk_why(&t, why);
    assert_true(strlen(why) < 120);
    assert_string_equal(why + strlen(why) - 8, "\\xff\"...");
    sp_talk_free(&t);
    sp_talk_free(&u);
}

/* --- through a socket --- */

typedef struct server {
    int door;
    const char *says[3]; /* each after something was heard; then the end */
    bool stays;          /* no end before the other side's */
} server;

static void *serve(void *ctx) {
    server *s = ctx;
    char heard[100];
    int c = accept(s->door, NULL, NULL);
    for (size_t i = 0; i < 3 && s->says[i]; i++) {
        if (recv(c, heard, sizeof heard, 0) <= 0) break;
        for (const char *p = s->says[i]; *p; p++)
            if (send(c, p, 1, MSG_NOSIGNAL) < 0) break;
    }
    while (s->stays && recv(c, heard, sizeof heard, 0) > 0)
        ;
    close(c);
    return NULL;
}

typedef struct verdict {
    bool known, passed;
    char reason[200];
} verdict;

static void keep(void *ctx, const sp_probe_result *r) {
    verdict *v = ctx;
    v->known = true;
    v->passed = r->passed;
    snprintf(v->reason, sizeof v->reason, "%s", r->reason);
}

static verdict probe(server s, const sp_check_step *steps, size_t n, uint32_t timeout_ms) {
    uv_loop_t loop;
    pthread_t thread;
    verdict v = {0};
    sp_check_spec in = {.kind = SP_CHECK_TCP, .timeout_ms = timeout_ms};
    in.steps = sp_zalloc(n, sizeof *steps);
    in.step_count = n;
    memcpy(in.steps, steps, n * sizeof *steps);
    sp_check_spec spec = sp_check_defaults(&in);
    sp_probe_params params = {.spec = &spec};
    struct sockaddr_storage ss;
    assert_true(sp_addr_parse(SP_STR("127.0.0.1"), 0, &params.addr));
    socklen_t length = sp_addr_to_sock(&params.addr, &ss);
    s.door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s.door, (struct sockaddr *)&ss, length), 0);
    assert_int_equal(listen(s.door, 1), 0);
    length = sizeof ss;
    assert_int_equal(getsockname(s.door, (struct sockaddr *)&ss, &length), 0);
    params.addr.port = sp_addr_from_sock(&ss).port;
    assert_int_equal(pthread_create(&thread, NULL, serve, &s), 0);
    uv_loop_init(&loop);
    sp_probe_start(&loop, &params, keep, &v);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    pthread_join(thread, NULL);
    close(s.door);
    free(in.steps);
    assert_true(v.known);
    return v;
}

static void over_tcp(void **state) {
    (void)state;
    static const sp_check_step steps[] = {SAY("PING\r\n"), TEXT("+PONG\r\n"), SAY("info\r\n"),
                                          TEXT("role:master"), SAY("QUIT\r\n")};
    enum { N = SP_COUNT(steps), PATIENT = 60000 };
    verdict v = probe((server){.says = {"+PONG\r\n", "a\r\nrole:master\r\n"}, .stays = true}, steps,
                      N, PATIENT);
    assert_true(v.passed);
    v = probe((server){.says = {"+PONG\r\n", "role:slave\r\n"}}, steps, N, PATIENT);
    assert_false(v.passed);
    assert_string_equal(v.reason,
                        "step 4: no \"role:master\" in \"role:slave\\r\\n\", then the end");
    v = probe((server){.says = {"+PONG\r\n", "role:slave\r\n"}, .stays = true}, steps, N, 300);
    assert_false(v.passed);
    assert_non_null(strstr(v.reason, ", within 300 ms"));
    assert_true(!strncmp(v.reason, "step ", 5)); /* which one is up to the machine's speed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_in_order),
        cmocka_unit_test(every_division),
        cmocka_unit_test(what_is_heard_is_bounded),
        cmocka_unit_test(over_tcp),
    };
    return cmocka_run_group_tests_name("gateway_talk", tests, NULL, NULL);
}
