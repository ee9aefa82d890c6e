#include "base/flags.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void flags_and_words_mix(void **state) {
    (void)state;
    const char *dir = "default";
    int64_t count = 0;
    uint16_t port = 0;
    bool quiet = false, loud = true;
    sp_strs list = {0};
    sp_log_level level = SP_LOG_INFO;
    const sp_flag flags[] = {
        SP_FLAG_GROUP("A heading"),
        {"dir", 'd', SP_FLAG_STR, &dir, "DIR", "where"},
        {"count", 'c', SP_FLAG_INT, &count, "N", "how many"},
        {"port", 0, SP_FLAG_PORT, &port, "N", "where to listen"},
        {"quiet", 'q', SP_FLAG_BOOL, &quiet, NULL, "say less"},
        {"loud", 0, SP_FLAG_BOOL, &loud, NULL, "say more"},
        SP_LOG_LEVEL_FLAG(&level),
        {"file", 'f', SP_FLAG_LIST, &list, "FILE", "more files"},
    };
    sp_usage u = {"t", "", "", NULL, flags, SP_COUNT(flags)};
    char *argv[] = {
        "t",    "one",     "--dir=/x", "-c",     "-7", "two",          "--port",
        "6443", "-q",      "-fA",      "--file", "B",  "--loud=false", "--log-level=warn",
        "--",   "--three", NULL};
    int argc = (int)SP_COUNT(argv) - 1;
    assert_int_equal(sp_flags_parse(&u, &argc, argv), SP_FLAGS_GO_ON);
    assert_int_equal(argc, 4);
    assert_string_equal(argv[3], "--three");
    assert_string_equal(dir, "/x");
    assert_int_equal(count, -7);
    assert_int_equal(port, 6443);
    assert_true(quiet && !loud && level == SP_LOG_WARN);
    assert_int_equal(list.n, 2);
    assert_true(sp_str_eqz(list.p[1], "B"));
    sp_vec_free(&list);

    static const char *const bad[][2] = {{"--port", "65536"},     {"--count", "1x"},
                                         {"--nothing", "1"},      {"--dir", NULL},
                                         {"--log-level", "loud"}, {"--quiet=maybe", NULL},
                                         {"--=x", NULL} /* a heading is no flag */};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        char *args[] = {"t", (char *)(uintptr_t)bad[i][0], (char *)(uintptr_t)bad[i][1], NULL};
        int n = bad[i][1] ? 3 : 2;
        assert_int_equal(sp_flags_parse(&u, &n, args), 2);
    }
    u.only_flags = true;
    char *word[] = {"t", "one", NULL};
    int n = 2;
    assert_int_equal(sp_flags_parse(&u, &n, word), 2);
}

static void flags_of_a_verb(void **state) {
    (void)state;
    assert_true(sp_flag_is_among(" ttl quiet ", "ttl"));
    assert_true(sp_flag_is_among("ttl quiet", "quiet"));
    assert_false(sp_flag_is_among(" ttl quiet ", "tt"));
    assert_false(sp_flag_is_among("", ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(flags_and_words_mix),
                                       cmocka_unit_test(flags_of_a_verb)};
    return cmocka_run_group_tests_name("flags", tests, NULL, NULL);
}
