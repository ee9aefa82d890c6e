#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/role.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void hex_digits_are_small(void **state) {
    (void)state;
    char text[9] = "????????";
    sp_hex_print("\x00\x9f\xff", 3, text);
    assert_string_equal(text, "009fff");
    sp_hex_print(NULL, 0, text);
    assert_string_equal(text, "");
}

static void str_cut_gives_every_part(void **state) {
    (void)state;
    static const struct {
        const char *in, *parts;
    } cases[] = {{"a,b,c", "<a><b><c>"}, {"a", "<a>"}, {"", "<>"}, {"a,", "<a><>"}, {",", "<><>"}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto(sp_buf) b = {0};
        for (sp_str part, rest = sp_str_z(cases[i].in); sp_str_cut(&rest, ',', &part);)
            sp_buf_printf(&b, "<%.*s>", SP_ARG(part));
        assert_string_equal(sp_buf_z(&b), cases[i].parts);
    }
}

static void numbers_refuse_what_is_not_one(void **state) {
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    assert_true(sp_str_u64(SP_STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(sp_str_u64(SP_STR("18446744073709551616"), &u));
    assert_false(sp_str_u64(SP_STR(""), &u));
    assert_false(sp_str_u64(SP_STR("+1"), &u));
    assert_true(sp_str_i64(SP_STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(sp_str_i64(SP_STR("9223372036854775808"), &i));
}

static void map_survives_churn(void **state) {
    (void)state;
    sp_auto(sp_map) m = {0};
    static int values[5000];
    char key[32];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5000; i++) {
            snprintf(key, sizeof key, "key-%d", i);
            assert_null(sp_map_put(&m, sp_str_z(key), &values[i]));
        }
        assert_int_equal(m.n, 5000);
        for (int i = 0; i < 5000; i++) {
            snprintf(key, sizeof key, "key-%d", i);
            assert_ptr_equal(sp_map_get(&m, sp_str_z(key)), &values[i]);
            assert_ptr_equal(sp_map_del(&m, sp_str_z(key)), &values[i]);
        }
        assert_int_equal(m.n, 0);
        assert_null(sp_map_get(&m, SP_STR("key-1")));
    }
    assert_true(m.cap <= 32768);
}

static void arena_hands_out_big_and_small(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    for (size_t n = 1; n < 2000000; n *= 3) {
        char *p = sp_arena_alloc(a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_int_equal(p[n - 1], 0);
        memset(p, 0xff, n);
    }
    assert_string_equal(sp_arena_printf(a, "%s-%d", "x", 7).p, "x-7");
    sp_arena_reset(a);
    assert_int_equal(*(char *)sp_arena_alloc(a, 100), 0);
}

static void errors_gather_context(void **state) {
    (void)state;
    sp_err err = {0};
    assert_false(sp_fail_errno(&err, ENOENT, "open %s", "/x"));
    assert_false(sp_err_wrap(&err, "start"));
    assert_string_equal(err.text, "start: open /x: No such file or directory");
    assert_int_equal(err.errnum, ENOENT);
    assert_int_equal(sp_code_http(SP_CONFLICT), 409);
    assert_int_equal(sp_code_from("AlreadyExists", 409), SP_ALREADY_EXISTS);
    assert_int_equal(sp_code_from(NULL, 404), SP_NOT_FOUND);
}

static void files_are_whole_or_untouched(void **state) {
    (void)state;
    char dir[] = "/tmp/sampan-base-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a/b", dir);
    sp_err err = {0};
    assert_true(sp_mkdir_all(path, 0755, &err));
    assert_true(sp_mkdir_all(path, 0755, &err));
    snprintf(path, sizeof path, "%s/a/b/f", dir);
    assert_true(sp_file_write(path, SP_STR("hello"), 0600, &err));
    sp_auto(sp_buf) b = {0};
    assert_true(sp_file_read(path, 5, &b, &err));
    assert_string_equal(b.p, "hello");
    assert_false(sp_file_read(path, 4, &b, &err));
    assert_int_equal(err.code, SP_TOO_LARGE);
    assert_string_equal(b.p, "hello");
    assert_true(sp_remove_all(dir, &err));
    assert_true(sp_remove_all(dir, &err));
    assert_false(sp_file_exists(dir));
}

/* Deeper than a path can be long and than there are descriptors: a container can make that. */
static void deep_trees_are_removed(void **state) {
    (void)state;
    enum { DEEP = 1200 };
    char dir[] = "/tmp/sampan-deep-XXXXXX", outside[] = "/tmp/sampan-kept-XXXXXX";
    sp_err err = {0};
    assert_non_null(mkdtemp(dir));
    int victim = mkstemp(outside);
    assert_true(victim >= 0);
    close(victim);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < DEEP; i++) {
        assert_int_equal(mkdirat(fd, "directory", 0700), 0);
        int next = openat(fd, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(symlinkat("/tmp", fd, "tmp"), 0);
        assert_int_equal(symlinkat(outside, fd, "file"), 0);
        close(fd);
        fd = next;
        assert_true(fd >= 0);
    }
    close(fd);
    if (!sp_remove_all(dir, &err)) fail_msg("%s", err.text);
    assert_false(sp_file_exists(dir));
    assert_true(sp_file_exists(outside));
    assert_true(sp_remove_all(outside, &err)); /* a file goes, too */
    assert_false(sp_file_exists(outside));
}

static size_t resident_file_kb(void) {
    sp_auto(sp_buf) status = {0};
    sp_err err;
    if (!sp_file_read("/proc/self/status", 1 << 16, &status, &err)) fail_msg("%s", err.text);
    const char *line = strstr(sp_buf_z(&status), "RssFile:");
    assert_non_null(line);
    return strtoul(line + strlen("RssFile:"), NULL, 10);
}

static const char *const relocated[] = {"one", "two"};
static int written = 1;

static void a_started_role_gives_memory_back(void **state) {
    (void)state;
    written = 2;
    size_t before = resident_file_kb();
    sp_role_settle();
    size_t after = resident_file_kb();
    assert_true(after < before);
    assert_int_equal(written, 2);
    assert_string_equal(relocated[written - 1], "two");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_cut_gives_every_part),
        cmocka_unit_test(hex_digits_are_small),
        cmocka_unit_test(numbers_refuse_what_is_not_one),
        cmocka_unit_test(map_survives_churn),
        cmocka_unit_test(arena_hands_out_big_and_small),
        cmocka_unit_test(errors_gather_context),
        cmocka_unit_test(files_are_whole_or_untouched),
        cmocka_unit_test(deep_trees_are_removed),
        cmocka_unit_test(a_started_role_gives_memory_back),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
