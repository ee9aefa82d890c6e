/* Log lines out and in again, rotation, and reading back by tail, time and limit. */
#include "agent/cri_file.h"
#include "agent/cri_log.h"
#include "agent/log_read.h"
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const int64_t noon_ns = 1795348800123456789; /* 2026-11-22T12:00:00.123456789Z */

static void lines_carry_time_stream_and_tag(void **state) {
    (void)state;
    sp_cri_stream s = {.name = "stdout"};
    sp_auto(sp_buf) out = {0};
    sp_cri_feed(&s, SP_STR("one\ntw"), noon_ns, &out);
    sp_cri_feed(&s, SP_STR("o\n\nrest"), noon_ns, &out);
    sp_cri_finish(&s, noon_ns, &out);
#define T "2026-11-22T12:00:00.123456789Z stdout "
    assert_string_equal(out.p, T "F one\n" T "F two\n" T "F \n" T "P rest\n");
}

static void long_lines_come_in_pieces(void **state) {
    (void)state;
    sp_cri_stream s = {.name = "stderr"};
    sp_auto(sp_buf) in = {0};
    sp_auto(sp_buf) out = {0};
    for (int i = 0; i < 2 * SP_CRI_MAX_LINE + 5; i++) sp_buf_addc(&in, 'x');
    sp_buf_addc(&in, '\n');
    sp_cri_feed(&s, sp_buf_str(&in), noon_ns, &out);
    sp_cri_finish(&s, noon_ns, &out);
    size_t pieces = 0, text = 0;
    bool last_partial = true;
    sp_cri_entry e;
    for (sp_str line, rest = sp_buf_str(&out); sp_str_cut(&rest, '\n', &line);) {
        if (!line.n) continue;
        assert_true(sp_cri_parse(line, &e));
        pieces++;
        text += e.text.n;
        last_partial = e.partial;
    }
    assert_int_equal(pieces, 3);
    assert_int_equal(text, 2 * SP_CRI_MAX_LINE + 5);
    assert_false(last_partial);
}

static void foreign_lines_are_no_entries(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "2026-11-22T12:00:00Z stdout",
                                      "2026-11-22T12:00:00Z stdin F x",
                                      "2026-11-22T12:00:00Z stdout Q x",
                                      "yesterday stdout F x"};
    sp_cri_entry e;
    for (size_t i = 0; i < SP_COUNT(bad); i++) assert_false(sp_cri_parse(sp_str_z(bad[i]), &e));
    assert_true(sp_cri_parse(SP_STR("2026-11-22T12:00:00.5Z stderr F a b"), &e));
    assert_string_equal(e.text.p, "a b");
    assert_int_equal(e.wall_ms, noon_ns / 1000000 - 123 + 500);
}

/* ---------- files ---------- */

typedef struct place {
    char dir[64], log[80];
} place;

static int set_up(void **state) {
    place *p = sp_zalloc(1, sizeof *p);
    snprintf(p->dir, sizeof p->dir, "/tmp/cri_log_test.XXXXXX");
    if (!mkdtemp(p->dir)) return -1;
    snprintf(p->log, sizeof p->log, "%s/0.log", p->dir);
    *state = p;
    return 0;
}

static int tear_down(void **state) {
    place *p = *state;
    (void)!sp_remove_all(p->dir, NULL);
    free(p);
    return 0;
}

/* Lines "line 0" … at one second each, 3 files of at most ~400 bytes. */
static void write_lines(place *p, int n) {
    sp_cri_file f;
    sp_err err = {0};
    assert_true(sp_cri_file_open(&f, p->log, 400, 3, &err));
    sp_cri_stream s = {.name = "stdout"};
    for (int i = 0; i < n; i++) {
        char text[32];
        sp_auto(sp_buf) out = {0};
        snprintf(text, sizeof text, "line %d\n", i);
        sp_cri_feed(&s, sp_str_z(text), noon_ns + (int64_t)i * 1000000000, &out);
        sp_cri_file_write(&f, sp_buf_str(&out));
    }
    sp_buf_free(&s.rest);
    sp_cri_file_close(&f);
}

static void read_all(place *p, sp_log_options o, sp_buf *out) {
    sp_log_reader *r = NULL;
    sp_err err = {0};
    if (!sp_log_reader_open(p->log, &o, &r, &err)) fail_msg("%s", err.text);
    while (sp_log_reader_next(r, out)) {
    }
    sp_log_reader_free(r);
}

static const sp_log_options everything = {.tail_lines = -1, .limit_bytes = -1};

static void rotation_keeps_the_newest(void **state) {
    place *p = *state;
    sp_auto(sp_buf) out = {0};
    char path[100];
    write_lines(p, 40);
    read_all(p, everything, &out);
    assert_non_null(strstr(out.p, "line 39\n"));
    assert_null(strstr(out.p, "line 0\n"));
    snprintf(path, sizeof path, "%s.2", p->log);
    assert_true(sp_file_exists(path));
    snprintf(path, sizeof path, "%s.3", p->log);
    assert_false(sp_file_exists(path));
}

static void tails_reach_over_rotated_files(void **state) {
    place *p = *state;
    write_lines(p, 40);
    for (int n = 0; n <= 15; n++) {
        sp_log_options o = everything;
        sp_auto(sp_buf) out = {0};
        sp_auto(sp_buf) want = {0};
        o.tail_lines = n;
        read_all(p, o, &out);
        for (int i = 40 - n; i < 40; i++) sp_buf_printf(&want, "line %d\n", i);
        assert_string_equal(sp_buf_z(&out), sp_buf_z(&want));
    }
}

static void since_limit_and_timestamps(void **state) {
    place *p = *state;
    write_lines(p, 5);
    sp_log_options o = everything;
    sp_auto(sp_buf) out = {0};
    o.since_ms = noon_ns / 1000000 + 3000;
    read_all(p, o, &out);
    assert_string_equal(out.p, "line 3\nline 4\n");
    sp_buf_clear(&out);
    o.limit_bytes = 9;
    read_all(p, o, &out);
    assert_string_equal(out.p, "line 3\nli");
    sp_buf_clear(&out);
    o = everything;
    o.tail_lines = 1;
    o.timestamps = true;
    read_all(p, o, &out);
    assert_string_equal(out.p, "2026-11-22T12:00:04.123456789Z line 4\n");
}

static void a_reader_goes_on_through_rotation(void **state) {
    place *p = *state;
    sp_cri_file f;
    sp_err err = {0};
    sp_log_reader *r = NULL;
    sp_auto(sp_buf) out = {0};
    assert_true(sp_cri_file_open(&f, p->log, 400, 3, &err));
    sp_cri_file_write(&f, SP_STR("2026-11-22T12:00:00Z stdout F first\n"));
    assert_true(sp_log_reader_open(p->log, &everything, &r, &err));
    while (sp_log_reader_next(r, &out)) {
    }
    for (int i = 0; i < 12; i++)
        sp_cri_file_write(&f, SP_STR("2026-11-22T12:00:00Z stdout F more\n"));
    sp_cri_file_write(&f, SP_STR("2026-11-22T12:00:00Z stdout F last\n"));
    while (sp_log_reader_next(r, &out)) {
    }
    assert_string_equal(
        out.p,
        "first\nmore\nmore\nmore\nmore\nmore\nmore\nmore\nmore\nmore\nmore\nmore\nmore\nlast\n");
    sp_log_reader_free(r);
    sp_cri_file_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_carry_time_stream_and_tag),
        cmocka_unit_test(long_lines_come_in_pieces),
        cmocka_unit_test(foreign_lines_are_no_entries),
        cmocka_unit_test_setup_teardown(rotation_keeps_the_newest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tails_reach_over_rotated_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(since_limit_and_timestamps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reader_goes_on_through_rotation, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("cri_log", tests, NULL, NULL);
}
