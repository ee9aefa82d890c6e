#include "cli/supervisor.h"

#include "base/arena.h"
#include "base/clock.h"
#include "cli/print.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void pauses_double_up_to_ten_seconds(void **state) {
    (void)state;
    static const int64_t expected[] = {100, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
    for (int i = 0; i < (int)SP_COUNT(expected); i++)
        assert_int_equal(sp_restart_delay_ms(i), expected[i]);
    assert_int_equal(sp_restart_delay_ms(1000000), 10000);
}

static void grids_align_by_characters(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    sp_grid *g = sp_grid_new();
    static const char *const cells[] = {"NAME", "AGE", "Zürich", "5d", "x", "1s"};
    for (size_t i = 0; i < SP_COUNT(cells); i++) {
        sp_grid_cell(g, sp_str_z(cells[i]));
        if (i % 2) sp_grid_end_row(g);
    }
    sp_grid_print(g, out, "");
    fclose(out);
    assert_string_equal(text, "NAME     AGE\nZürich   5d\nx        1s\n");
    free(text);
}

/* --- the supervisor; this program is its role "napper", too: it tells that it runs, and nothing
 * else, so it is never ready --- */

static int nap(const char *file) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FILE *f = fopen(file, "a");
    if (!f || fputc('x', f) == EOF || fclose(f) != 0) return 1;
    for (;;) pause();
}

static off_t starts(const char *file) {
    struct stat st;
    return stat(file, &st) == 0 ? st.st_size : 0;
}

static void no_exit(void *ctx, const char *role, int code, const char *how, int64_t restart_ms) {
    (void)ctx, (void)role, (void)code, (void)restart_ms;
    fail_msg("a restart that was asked for is no failure: %s", how);
}

static void run_until(uv_loop_t *loop, const char *file, off_t wanted) {
    int64_t end = sp_clock_mono_ms() + 20000;
    while (starts(file) < wanted && sp_clock_mono_ms() < end) {
        uv_run(loop, UV_RUN_NOWAIT);
        usleep(2000);
    }
    assert_int_equal(starts(file), wanted);
}

static void on_stopped(void *ctx) {
    (void)ctx;
}

static void a_role_that_is_starting_is_restarted(void **state) {
    (void)state;
    char file[64];
    uv_loop_t loop;
    sp_err err;
    snprintf(file, sizeof file, "/tmp/sampan-napper-%d", (int)getpid());
    uv_loop_init(&loop);
    const sp_supervisor_config c = {.on_exit = no_exit};
    sp_supervisor *s = sp_supervisor_new(&loop, &c);
    sp_role_spec spec = {.name = "napper"};
    sp_vec_push(&spec.args, file);
    if (!sp_supervisor_add(s, spec, &err)) fail_msg("%s", err.text);
    for (off_t n = 1; n <= 5; n++) { /* more often than a role may fail */
        run_until(&loop, file, n);
        if (n < 5) sp_supervisor_restart(s, "napper");
    }
    sp_supervisor_stop(s, 10000, on_stopped);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    unlink(file);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "napper") == 0) return nap(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_double_up_to_ten_seconds),
        cmocka_unit_test(grids_align_by_characters),
        cmocka_unit_test(a_role_that_is_starting_is_restarted),
    };
    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
