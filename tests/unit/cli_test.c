#include "cli/supervisor.h"

#include "base/arena.h"
#include "cli/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_double_up_to_ten_seconds),
        cmocka_unit_test(grids_align_by_characters),
    };
    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
