/* time, base64, quantity */
#include "data/base64.h"
#include "data/quantity.h"
#include "data/time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static void times_agree_with_libc(void **state) {
    (void)state;
    for (int64_t s = -70000000000; s < 200000000000; s += 86399 * 971) {
        char ours[SP_TIME_MAX], theirs[64];
        struct tm tm;
        time_t t = (time_t)s;
        gmtime_r(&t, &tm);
        if (tm.tm_year + 1900 > 9999 || tm.tm_year + 1900 < 0) continue;
        snprintf(theirs, sizeof theirs, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        sp_time_format(s * 1000 + 999, ours);
        assert_string_equal(ours, theirs);
        int64_t back;
        assert_true(sp_time_parse(sp_str_z(ours), &back));
        assert_int_equal(back, s * 1000);
    }
    char micro[SP_TIME_MAX];
    sp_time_format_micro(1763827409000042, micro);
    assert_string_equal(micro, "2025-11-22T16:03:29.000042Z");
    sp_time_format_micro(-1, micro);
    assert_string_equal(micro, "1969-12-31T23:59:59.999999Z");
}

static void times_are_parsed_strictly(void **state) {
    (void)state;
    static const struct {
        const char *in;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},           {"1970-01-01T00:00:00.5Z", 500},
        {"1970-01-01T00:00:00.1239999Z", 123}, {"1970-01-01T01:30:00+01:30", 0},
        {"1969-12-31t23:00:00-01:00", 0},      {"2024-02-29T12:00:00z", 1709208000000},
    };
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        int64_t ms;
        assert_true(sp_time_parse(sp_str_z(good[i].in), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {
        "",
        "2025-02-29T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-00-01T00:00:00Z",
        "2025-01-00T00:00:00Z",
        "2025-01-01 00:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T00:60:00Z",
        "2025-01-01T00:00:60Z",
        "2025-01-01T00:00:00",
        "2025-1-1T00:00:00Z",
        "2025-01-01T00:00:00.Z",
        "2025-01-01T00:00:00Zx",
        "2025-01-01T00:00:00+0100",
        "now",
    };
    int64_t ms = 7;
    for (size_t i = 0; i < SP_COUNT(bad); i++) assert_false(sp_time_parse(sp_str_z(bad[i]), &ms));
    assert_int_equal(ms, 7);
}

static void ages_read_like_kubectl(void **state) {
    (void)state;
    static const struct {
        int64_t s;
        const char *says;
    } ages[] = {
        {-5, "<invalid>"},
        {-1, "0s"},
        {0, "0s"},
        {5, "5s"},
        {119, "119s"},
        {120, "2m"},
        {200, "3m20s"},
        {599, "9m59s"},
        {600, "10m"},
        {3600 * 3 - 1, "179m"},
        {3600 * 3, "3h"},
        {3600 * 5 + 60, "5h1m"},
        {3600 * 8, "8h"},
        {3600 * 47, "47h"},
        {3600 * 51, "2d3h"},
        {86400 * 8, "8d"},
        {86400 * 45, "45d"},
        {86400 * 729, "729d"},
        {86400 * 730, "2y"},
        {86400 * (3 * 365 + 40), "3y40d"},
        {INT64_C(86400) * 365 * 8, "8y"},
        {INT64_C(86400) * 365 * 100 + 86400, "100y"},
    };
    for (size_t i = 0; i < SP_COUNT(ages); i++) {
        char text[SP_TIME_MAX];
        sp_duration_human(ages[i].s * 1000, text);
        assert_string_equal(text, ages[i].says);
    }
}

static void durations_are_parsed_like_go(void **state) {
    (void)state;
    static const struct {
        const char *in;
        int64_t ms;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"1h2m3.5s", 3723500},
        {"300ms", 300},
        {"1.5h", 5400000},
        {"-1s", -1000},
        {"+.5s", 500},
        {"1500us", 1},
        {"2m0.5s", 120500},
        {"1\xc2\xb5s", 0},
        {"2562047h47m", 9223372020000},
        {"0.100000000000000000000h", 360000},
    };
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        int64_t ms;
        assert_true(sp_duration_parse(sp_str_z(good[i].in), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"",
                                      "1",
                                      "s",
                                      "1x",
                                      ".s",
                                      "1.2.3s",
                                      "1h-2m",
                                      "-",
                                      "1d",
                                      " 1s",
                                      "1s ",
                                      "99999999999h",
                                      "9223372036854775808ns"};
    int64_t ms = 7;
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        assert_false(sp_duration_parse(sp_str_z(bad[i]), &ms));
    assert_int_equal(ms, 7);
}

static void base64_round_trips(void **state) {
    (void)state;
    static const struct {
        const char *plain, *standard, *url;
    } cases[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"\xfb\xff\xfe", "+//+", "-__-"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto(sp_buf) b = {0};
        sp_base64_encode(&b, sp_str_z(cases[i].plain));
        assert_string_equal(sp_buf_z(&b), cases[i].standard);
        sp_buf_clear(&b);
        sp_base64url_encode(&b, sp_str_z(cases[i].plain));
        assert_string_equal(sp_buf_z(&b), cases[i].url);
        sp_buf_clear(&b);
        assert_true(sp_base64_decode(&b, sp_str_z(cases[i].standard)));
        assert_true(sp_base64url_decode(&b, sp_str_z(cases[i].url)));
        assert_int_equal(b.n, 2 * strlen(cases[i].plain));
        assert_memory_equal(b.p, cases[i].plain, strlen(cases[i].plain));
    }
    sp_auto(sp_buf) folded = {0};
    assert_true(sp_base64_decode(&folded, SP_STR("Zm9v\r\nYg=\n=\n")));
    assert_string_equal(folded.p, "foob");
}

static void base64_refuses_the_rest(void **state) {
    (void)state;
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "kept");
    static const char *const bad[] = {
        "Z",    "Zg",    "Zg=",      "Zg===", "Zh==", "Zm9=", "Zg==Zg==",
        "Z g=", "Zm9v=", "Zm9v====", "-__-",  "=",    "===="};
    for (size_t i = 0; i < SP_COUNT(bad); i++) assert_false(sp_base64_decode(&b, sp_str_z(bad[i])));
    static const char *const bad_url[] = {"Z", "Zg==", "Zh", "+//+", "Zm9v\n"};
    for (size_t i = 0; i < SP_COUNT(bad_url); i++)
        assert_false(sp_base64url_decode(&b, sp_str_z(bad_url[i])));
    assert_string_equal(b.p, "kept");
    assert_int_equal(b.n, 4);
}

static void quantities_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *in;
        int64_t milli;
    } good[] = {
        {"0", 0},
        {"1", 1000},
        {"250m", 250},
        {"0.5", 500},
        {".5", 500},
        {"5.", 5000},
        {"-1.5", -1500},
        {"1e3", 1000000},
        {"1E3", 1000000},
        {"1e-3", 1},
        {"1e+2", 100000},
        {"64Mi", 67108864000},
        {"1.5Gi", 1610612736000},
        {"2k", 2000000},
        {"1P", 1000000000000000000},
        {"100n", 1},
        {"1u", 1},
        {"0.0001", 1},
        {"-0.1m", -1},
        {"0.1", 100},
        {"8Pi", 9007199254740992000},
        {"1.0000000000000000000000001", 1001},
        {"100M", 100000000000},
        {"00012", 12000},
    };
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        int64_t milli;
        assert_true(sp_quantity_parse_milli(sp_str_z(good[i].in), &milli));
        assert_int_equal(milli, good[i].milli);
    }
    static const char *const bad[] = {
        "",      "m",   "1mm", "100MB", "1 Gi", "1e",   "1e+-2", "0x1",
        "1.2.3", "--1", "Ki",  "1ki",   "1K",   "16Ei", "1E",    "99999999999999999999"};
    int64_t milli = 7;
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        assert_false(sp_quantity_parse_milli(sp_str_z(bad[i]), &milli));
    assert_int_equal(milli, 7);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    assert_true(sp_quantity_check(sp_json_new_z(a, "16Ei")));
    assert_true(sp_quantity_milli(sp_json_new_double(a, 0.1), &milli));
    assert_int_equal(milli, 100);
    assert_false(sp_quantity_check(sp_json_null(a)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_agree_with_libc),  cmocka_unit_test(times_are_parsed_strictly),
        cmocka_unit_test(ages_read_like_kubectl), cmocka_unit_test(durations_are_parsed_like_go),
        cmocka_unit_test(base64_round_trips),     cmocka_unit_test(base64_refuses_the_rest),
        cmocka_unit_test(quantities_are_exact),
    };
    return cmocka_run_group_tests_name("data_values", tests, NULL, NULL);
}
