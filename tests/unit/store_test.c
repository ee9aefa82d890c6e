/* The contract of store/store.h, on a file and (where it makes no difference) in memory. */
#include "store/store.h"

#include "base/file.h"

#include <inttypes.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
    uv_loop_t loop;
    char dir[64], path[128];
    sp_store_config cfg;
    sp_store *s;
} fixture;

typedef struct result {
    bool called;
    uint64_t rev;
    sp_err err;
    char value[64];
} result;

static void on_done(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    result *r = ctx;
    assert_false(r->called);
    r->called = true;
    r->rev = rev;
    if (err) r->err = *err;
    if (value) snprintf(r->value, sizeof r->value, "%.*s", SP_ARG(sp_blob_str(value->bytes)));
}

static void reopen(fixture *f) {
    sp_err err = {0};
    if (!sp_store_open(&f->loop, &f->cfg, &f->s, &err)) fail_msg("%s", err.text);
}

static void closed(void *ctx) {
    *(bool *)ctx = true;
}

static void close_store(fixture *f) {
    bool done = false;
    sp_store_close(f->s, closed, &done);
    while (!done) uv_run(&f->loop, UV_RUN_ONCE);
    f->s = NULL;
}

static int set_up(void **state) {
    fixture *f = sp_zalloc(1, sizeof *f);
    uv_loop_init(&f->loop);
    strcpy(f->dir, "/tmp/sampan-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
    f->cfg.path = f->path;
    reopen(f);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    if (f->s) close_store(f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    sp_err err;
    assert_true(sp_remove_all(f->dir, &err));
    free(f);
    return 0;
}

static sp_store_write put(const char *key, const char *value, uint64_t expect) {
    return (sp_store_write){
        .key = sp_str_z(key), .value = sp_str_z(value), .rev_at = 1, .expect = expect};
}

static sp_store_write removal(const char *key, uint64_t expect) {
    return (sp_store_write){.key = sp_str_z(key), .remove = true, .expect = expect};
}

static result write_now(fixture *f, sp_store_write w) {
    result r = {0};
    sp_store_submit(f->s, &w, on_done, &r);
    assert_false(r.called);
    while (!r.called) uv_run(&f->loop, UV_RUN_ONCE);
    return r;
}

static uint64_t must(fixture *f, sp_store_write w) {
    result r = write_now(f, w);
    if (!r.rev) fail_msg("%s", r.err.text);
    return r.rev;
}

static const char *text_of(sp_store_value *v) {
    return v ? v->bytes->p : "-";
}

/* "a=1 b=3 " */
static bool list_one(void *ctx, sp_str key, sp_store_value *v) {
    sp_buf_printf(ctx, "%.*s=%" PRIu64 " ", SP_ARG(key), v->rev);
    return true;
}

static void expect_list(fixture *f, const char *prefix, const char *after, uint64_t rev,
                        const char *expected) {
    sp_auto(sp_buf) b = {0};
    sp_err err = {0};
    if (!sp_store_range(f->s, sp_str_z(prefix), sp_str_z(after), rev, list_one, &b, &err))
        fail_msg("%s", err.text);
    assert_string_equal(sp_buf_z(&b), expected);
}

/* --- writing --- */

static void writes_are_decided_by_what_they_expect(void **state) {
    fixture *f = *state;
    assert_int_equal(must(f, put("a", "<>", SP_STORE_ABSENT)), 1);
    assert_string_equal(text_of(sp_store_get(f->s, SP_STR("a"))), "<1>");
    result r = write_now(f, put("a", "<>", SP_STORE_ABSENT));
    assert_int_equal(r.err.code, SP_ALREADY_EXISTS);
    assert_string_equal(r.value, "<1>");
    assert_int_equal(must(f, put("a", "<x>", 1)), 2);
    r = write_now(f, put("a", "<y>", 1));
    assert_int_equal(r.err.code, SP_CONFLICT);
    assert_string_equal(r.err.text, "it was expected at revision 1 and is at revision 2");
    assert_string_equal(r.value, "<2x>");
    assert_int_equal(write_now(f, put("b", "<>", 9)).err.code, SP_CONFLICT);
    assert_int_equal(must(f, put("a", "<z>", SP_STORE_ANY)), 3);
    assert_int_equal(write_now(f, removal("b", SP_STORE_ANY)).err.code, SP_NOT_FOUND);
    assert_int_equal(write_now(f, removal("a", 2)).err.code, SP_CONFLICT);
    r = write_now(f, removal("a", 3));
    assert_int_equal(r.rev, 4);
    assert_string_equal(r.value, "<3z>");
    assert_null(sp_store_get(f->s, SP_STR("a")));
    assert_int_equal(must(f, put("a", "<>", SP_STORE_ABSENT)), 5);
    assert_int_equal(sp_store_get(f->s, SP_STR("a"))->create_rev, 5);
    assert_int_equal(sp_store_revision(f->s), 5);
}

static void values_have_a_limit(void **state) {
    fixture *f = *state;
    close_store(f);
    f->cfg.max_value_bytes = 4;
    reopen(f);
    assert_int_equal(write_now(f, put("a", "12345", SP_STORE_ANY)).err.code, SP_TOO_LARGE);
    assert_int_equal(write_now(f, put("a", "1234", SP_STORE_ANY)).rev, 1);
}

static void the_next_write_builds_on_what_is_on_its_way(void **state) {
    fixture *f = *state;
    result r[4] = {0};
    sp_store_write w[] = {put("k", "<>", SP_STORE_ABSENT), put("k", "<>", 1), put("k", "<>", 1),
                          removal("k", 2)};
    for (int i = 0; i < 4; i++) sp_store_submit(f->s, &w[i], on_done, &r[i]);
    assert_null(sp_store_get(f->s, SP_STR("k")));
    assert_null(sp_store_get_latest(f->s, SP_STR("k")));
    assert_int_equal(sp_store_revision(f->s), 0);
    while (!r[3].called) uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(r[0].rev == 1 && r[1].rev == 2 && r[3].rev == 3);
    assert_int_equal(r[2].err.code, SP_CONFLICT);
    assert_int_equal(sp_store_count(f->s, SP_STR("")), 0);
}

typedef struct order {
    int next;
    fixture *f;
} order;
static order the_order;

static void check_order(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    assert_int_equal(the_order.next++, (intptr_t)ctx);
}

static void answers_come_in_order(void **state) {
    fixture *f = *state;
    the_order = (order){0, f};
    for (intptr_t i = 0; i < 30; i++) {
        sp_store_write w = put("k", "<>", i % 3 ? SP_STORE_ANY : 12345);
        w.relaxed = i % 3 == 2;
        sp_store_submit(f->s, &w, check_order, (void *)i);
    }
    while (the_order.next < 30) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(sp_store_revision(f->s), 20);
}

/* --- reading --- */

static void ranges_read_the_past(void **state) {
    fixture *f = *state;
    must(f, put("/p/a", "<>", SP_STORE_ABSENT));
    must(f, put("/p/b", "<>", SP_STORE_ABSENT));
    must(f, put("/q/a", "<>", SP_STORE_ABSENT));
    must(f, put("/p/a", "<>", SP_STORE_ANY));
    must(f, removal("/p/b", SP_STORE_ANY));
    must(f, put("/p/c", "<>", SP_STORE_ABSENT));
    must(f, put("/p/a", "<>", SP_STORE_ANY));
    expect_list(f, "/p/", "", 0, "/p/a=7 /p/c=6 ");
    expect_list(f, "/p/", "", 7, "/p/a=7 /p/c=6 ");
    expect_list(f, "/p/", "", 5, "/p/a=4 ");
    expect_list(f, "/p/", "", 3, "/p/a=1 /p/b=2 ");
    expect_list(f, "/p/", "/p/a", 3, "/p/b=2 ");
    expect_list(f, "", "", 3, "/p/a=1 /p/b=2 /q/a=3 ");
    expect_list(f, "/p/", "", 1, "/p/a=1 ");
    assert_int_equal(sp_store_count(f->s, SP_STR("/p/")), 2);
    sp_err err = {0};
    assert_false(sp_store_range(f->s, SP_STR(""), SP_STR(""), 8, list_one, NULL, &err));
    assert_int_equal(err.code, SP_TIMEOUT);
}

static void compaction_forgets_the_past(void **state) {
    fixture *f = *state;
    close_store(f);
    f->cfg.history_events = 3;
    reopen(f);
    for (int i = 0; i < 6; i++) must(f, put(i % 2 ? "a" : "b", "<>", SP_STORE_ANY));
    assert_int_equal(sp_store_compacted(f->s), 3);
    sp_err err = {0};
    assert_false(sp_store_range(f->s, SP_STR(""), SP_STR(""), 2, list_one, NULL, &err));
    assert_int_equal(err.code, SP_EXPIRED);
    expect_list(f, "", "", 3, "a=2 b=3 ");
    sp_store_watch *w = NULL;
    assert_false(sp_store_watch_start(f->s, SP_STR(""), 2, NULL, NULL, &w, &err));
    assert_int_equal(err.code, SP_GONE);
    close_store(f);
    reopen(f);
    assert_int_equal(sp_store_compacted(f->s), 3);
    expect_list(f, "", "", 4, "a=4 b=3 ");
}

static void deletions_carry_their_own_revision(void **state) {
    fixture *f = *state;
    must(f, put("a", "{\"rv\":\"\"}", SP_STORE_ANY));
    sp_store_write w = put("a", "{\"rv\":\"\"}", SP_STORE_ANY);
    w.rev_at = 7;
    must(f, w);
    sp_blob *b = sp_store_value_bytes_at(sp_store_get(f->s, SP_STR("a")), 12345);
    assert_string_equal(b->p, "{\"rv\":\"12345\"}");
    sp_blob_unref(b);
}

/* --- watching --- */

typedef struct recorder {
    sp_buf seen;
    sp_store_watch *w;
    uint64_t stop_at;
} recorder;

static void record(void *ctx, sp_store_event *e) {
    recorder *r = ctx;
    sp_buf_printf(&r->seen, "%c%" PRIu64 "%.*s ", "+~-"[e->type], e -> rev, SP_ARG(e->key));
    assert_true((e->type == SP_STORE_REMOVED) == !e->value);
    assert_true((e->type == SP_STORE_CREATED) == !e->prev);
    if (r->stop_at == e->rev) r->w = sp_store_watch_stop(r->w);
}

static void watch(fixture *f, recorder *r, const char *prefix, uint64_t after) {
    sp_err err = {0};
    if (!sp_store_watch_start(f->s, sp_str_z(prefix), after, record, r, &r->w, &err))
        fail_msg("%s", err.text);
    assert_int_equal(r->seen.n, 0);
}

static void expect_seen(recorder *r, const char *expected) {
    assert_string_equal(sp_buf_z(&r->seen), expected);
    r->w = sp_store_watch_stop(r->w);
    sp_buf_free(&r->seen);
}

static void watches_see_history_then_live(void **state) {
    fixture *f = *state;
    must(f, put("/p/a", "<>", SP_STORE_ANY));
    must(f, put("/q/a", "<>", SP_STORE_ANY));
    must(f, put("/p/a", "<>", SP_STORE_ANY));
    recorder all = {0}, some = {0}, live = {0}, stopping = {0};
    stopping.stop_at = 3;
    watch(f, &all, "", 0);
    watch(f, &some, "/p/", 1);
    watch(f, &live, "/p/", 3);
    watch(f, &stopping, "", 1);
    must(f, removal("/p/a", SP_STORE_ANY));
    must(f, put("/p/a", "<>", SP_STORE_ANY));
    assert_null(stopping.w);
    expect_seen(&all, "+1/p/a +2/q/a ~3/p/a -4/p/a +5/p/a ");
    expect_seen(&some, "~3/p/a -4/p/a +5/p/a ");
    expect_seen(&live, "-4/p/a +5/p/a ");
    expect_seen(&stopping, "+2/q/a ~3/p/a ");
    must(f, put("/p/a", "<>", SP_STORE_ANY));
    sp_err err = {0};
    assert_false(sp_store_watch_start(f->s, SP_STR(""), 7, record, &all, &all.w, &err));
    assert_int_equal(err.code, SP_TIMEOUT);
}

static void one_watch_may_stop_another(void **state) {
    fixture *f = *state;
    recorder a = {0}, b = {0};
    watch(f, &a, "", 0);
    watch(f, &b, "", 0);
    sp_store_watch *victim = b.w;
    sp_store_watch *own = a.w;
    a.w = victim;
    a.stop_at = 1;
    must(f, put("k", "<>", SP_STORE_ANY));
    must(f, put("k", "<>", SP_STORE_ANY));
    b.w = NULL;
    expect_seen(&b, "");
    a.w = own;
    expect_seen(&a, "+1k ~2k ");
}

static void start_in_done(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    recorder *r = ctx;
    sp_err e = {0};
    assert_true(sp_store_watch_start(the_order.f->s, SP_STR(""), 0, record, r, &r->w, &e));
    assert_int_equal(r->seen.n, 0);
}

static void a_watch_started_between_changes_of_a_group_misses_nothing(void **state) {
    fixture *f = *state;
    close_store(f);
    f->cfg.history_events = 2;
    reopen(f);
    the_order.f = f;
    recorder r = {0};
    sp_store_write w = put("k", "<>", SP_STORE_ANY);
    sp_store_submit(f->s, &w, start_in_done, &r);
    for (int i = 0; i < 5; i++) sp_store_submit(f->s, &w, NULL, NULL);
    must(f, w);
    expect_seen(&r, "+1k ~2k ~3k ~4k ~5k ~6k ~7k ");
}

static void a_watch_outlives_its_store(void **state) {
    fixture *f = *state;
    recorder r = {0};
    watch(f, &r, "", 0);
    must(f, put("k", "<>", SP_STORE_ANY));
    close_store(f);
    expect_seen(&r, "+1k ");
}

/* --- the file --- */

static void everything_is_there_after_reopening(void **state) {
    fixture *f = *state;
    must(f, put("a", "<>", SP_STORE_ANY));
    must(f, put("b", "<>", SP_STORE_ANY));
    must(f, put("a", "<x>", SP_STORE_ANY));
    must(f, removal("b", SP_STORE_ANY));
    close_store(f);
    reopen(f);
    assert_int_equal(sp_store_revision(f->s), 4);
    expect_list(f, "", "", 0, "a=3 ");
    expect_list(f, "", "", 2, "a=1 b=2 ");
    assert_string_equal(text_of(sp_store_get(f->s, SP_STR("a"))), "<3x>");
    assert_int_equal(sp_store_get(f->s, SP_STR("a"))->create_rev, 1);
    recorder r = {0};
    watch(f, &r, "", 1);
    assert_int_equal(must(f, put("b", "<>", SP_STORE_ABSENT)), 5);
    expect_seen(&r, "+2b ~3a -4b +5b ");
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void closing_writes_what_is_on_its_way(void **state) {
    fixture *f = *state;
    result r[50] = {0};
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%02d", i);
        sp_store_write w = put(key, "<>", SP_STORE_ABSENT);
        sp_store_submit(f->s, &w, on_done, &r[i]);
    }
    bool done = false;
    sp_store_close(f->s, closed, &done);
    result late = {0};
    sp_store_write w = put("late", "<>", SP_STORE_ABSENT);
    sp_store_submit(f->s, &w, on_done, &late);
    while (!done) uv_run(&f->loop, UV_RUN_ONCE);
    for (int i = 0; i < 50; i++) assert_int_equal(r[i].rev, i + 1);
    assert_int_equal(late.err.code, SP_UNAVAILABLE);
    reopen(f);
    assert_int_equal(sp_store_count(f->s, SP_STR("k")), 50);
}

static int64_t rows_in(const char *path) {
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM log", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static void rewriting_does_not_grow_the_file(void **state) {
    fixture *f = *state;
    close_store(f);
    f->cfg.history_events = 10;
    reopen(f);
    static char value[2000];
    memset(value, 'x', sizeof value - 1);
    for (int i = 0; i < 3000; i++) {
        result last = {0};
        char key[16];
        snprintf(key, sizeof key, "k%d", i % 5);
        sp_store_write w = i % 7 == 6 ? removal(key, SP_STORE_ANY) : put(key, value, SP_STORE_ANY);
        bool wait = i % 50 == 49;
        sp_store_submit(f->s, &w, wait ? on_done : NULL, &last);
        while (wait && !last.called) uv_run(&f->loop, UV_RUN_ONCE);
    }
    close_store(f);
    assert_true(rows_in(f->path) <= 10 + 5);
    reopen(f);
    assert_int_equal(sp_store_get_stats(f->s).history, 10);
    assert_true(sp_store_get_stats(f->s).db_bytes < 1000000);
}

static void relaxed_writes_wait_for_the_disk(void **state) {
    fixture *f = *state;
    sp_store_write w = put("lease", "<>", SP_STORE_ANY);
    w.relaxed = true;
    must(f, w); /* the first reserves revisions, which takes a commit */
    uint64_t commits = sp_store_get_stats(f->s).commits;
    for (int i = 0; i < 20; i++) must(f, w);
    assert_int_equal(sp_store_get_stats(f->s).commits, commits);
    assert_int_equal(sp_store_get(f->s, SP_STR("lease"))->rev, 21);
    must(f, put("durable", "<>", SP_STORE_ANY));
    assert_int_equal(sp_store_get_stats(f->s).commits, commits + 1);
    must(f, w);
    close_store(f);
    reopen(f);
    assert_int_equal(sp_store_revision(f->s), 23);
    expect_list(f, "", "", 0, "durable=22 lease=23 ");
    recorder r = {0};
    watch(f, &r, "", 20);
    must(f, w);
    expect_seen(&r, "~21lease +22durable ~23lease ~24lease ");
}

static void relaxed_writes_are_flushed_by_the_timer(void **state) {
    fixture *f = *state;
    close_store(f);
    f->cfg.relaxed_ms = 1;
    reopen(f);
    sp_store_write w = put("lease", "<>", SP_STORE_ANY);
    w.relaxed = true;
    must(f, w);
    must(f, w);
    while (sp_store_get_stats(f->s).commits < 2) uv_run(&f->loop, UV_RUN_ONCE);
}

static void copy_file(const char *from, const char *to) {
    sp_auto(sp_buf) b = {0};
    sp_err err = {0};
    assert_true(sp_file_read(from, 64 << 20, &b, &err));
    assert_true(sp_file_write(to, sp_buf_str(&b), 0600, &err));
}

/* A crash, as the disk sees it: the file and its WAL as they are now. */
static void crash(fixture *f) {
    char path[128];
    snprintf(path, sizeof path, "%s/crashed.db-wal", f->dir);
    sp_auto(sp_buf) wal = {0};
    sp_buf_printf(&wal, "%s-wal", f->path);
    copy_file(wal.p, path);
    path[strlen(path) - 4] = 0;
    copy_file(f->path, path);
    close_store(f);
    strcpy(f->path, path);
    reopen(f);
}

static void revisions_lost_by_a_crash_are_not_reused(void **state) {
    fixture *f = *state;
    sp_store_write w = put("lease", "<>", SP_STORE_ANY);
    w.relaxed = true;
    must(f, w);
    uint64_t seen = must(f, w); /* visible, not on disk */
    crash(f);
    assert_true(sp_store_revision(f->s) > seen);
    expect_list(f, "", "", 0, "lease=1 ");
    recorder r = {0};
    sp_err err = {0};
    assert_false(sp_store_watch_start(f->s, SP_STR(""), seen, record, &r, &r.w, &err));
    assert_int_equal(err.code, SP_GONE);
    watch(f, &r, "", 1);
    uint64_t next = must(f, put("k", "<>", SP_STORE_ANY));
    assert_true(next > seen);
    char expected[32];
    snprintf(expected, sizeof expected, "+%" PRIu64 "k ", next);
    expect_seen(&r, expected);
}

static void a_second_opener_is_refused(void **state) {
    fixture *f = *state;
    must(f, put("k", "<>", SP_STORE_ANY));
    sp_store *second = NULL;
    sp_err err = {0};
    assert_false(sp_store_open(&f->loop, &f->cfg, &second, &err));
    assert_int_equal(err.code, SP_UNAVAILABLE);
    assert_non_null(strstr(err.text, "is in use by another process"));
    must(f, put("k", "<>", SP_STORE_ANY));
}

static void sql(const char *path, const char *text) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void refuses(fixture *f, sp_code code, const char *says) {
    sp_err err = {0};
    assert_false(sp_store_open(&f->loop, &f->cfg, &f->s, &err));
    f->s = NULL;
    assert_int_equal(err.code, code);
    if (!strstr(err.text, says)) fail_msg("%s", err.text);
}

static void foreign_files_are_refused_untouched(void **state) {
    fixture *f = *state;
    must(f, put("k", "<>", SP_STORE_ANY));
    close_store(f);
    sql(f->path, "UPDATE meta SET value=2 WHERE name='schema'");
    refuses(f, SP_INVALID, "was written by a newer Sampan (data version 2, this one knows 1)");
    sql(f->path, "UPDATE meta SET value=1 WHERE name='schema'");
    sql(f->path, "UPDATE log SET value='<2>'");
    refuses(f, SP_INTERNAL, "is damaged: the bytes of revision 1 do not carry it");
    sql(f->path, "DROP TABLE log");
    refuses(f, SP_INVALID, "is not a data file of Sampan");
    sp_err err = {0};
    assert_true(sp_file_write(f->path,
                              SP_STR("a text of a page or so, which is not a database at "
                                     "all but somebody's notes about something else……"),
                              0600, &err));
    refuses(f, SP_INVALID, "is not a data file of Sampan");
    snprintf(f->path, sizeof f->path, "%s/missing/store.db", f->dir);
    refuses(f, SP_SYSTEM, "No such file or directory");
}

static void memory_only_keeps_the_contract(void **state) {
    fixture *f = *state;
    close_store(f);
    f->cfg.path = NULL;
    reopen(f);
    writes_are_decided_by_what_they_expect(state);
    close_store(f);
    reopen(f);
    watches_see_history_then_live(state);
    close_store(f);
    reopen(f);
    answers_come_in_order(state);
}

static void after_waits_for_what_is_on_its_way(void **state) {
    fixture *f = *state;
    result first = {0}, write = {0}, second = {0};
    sp_store_after(f->s, on_done, &first);
    assert_false(first.called);
    while (!first.called) uv_run(&f->loop, UV_RUN_ONCE);
    sp_store_write w = put("k", "{}", SP_STORE_ABSENT);
    sp_store_submit(f->s, &w, on_done, &write);
    sp_store_after(f->s, on_done, &second);
    while (!second.called) {
        assert_true(!sp_store_get(f->s, SP_STR("k")) || write.called);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_true(write.called);
    assert_int_equal(second.err.code, 0);
    assert_non_null(sp_store_get(f->s, SP_STR("k")));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(after_waits_for_what_is_on_its_way),
        CASE(writes_are_decided_by_what_they_expect),
        CASE(values_have_a_limit),
        CASE(the_next_write_builds_on_what_is_on_its_way),
        CASE(answers_come_in_order),
        CASE(ranges_read_the_past),
        CASE(compaction_forgets_the_past),
        CASE(deletions_carry_their_own_revision),
        CASE(watches_see_history_then_live),
        CASE(one_watch_may_stop_another),
        CASE(a_watch_started_between_changes_of_a_group_misses_nothing),
        CASE(a_watch_outlives_its_store),
        CASE(everything_is_there_after_reopening),
        CASE(closing_writes_what_is_on_its_way),
        CASE(rewriting_does_not_grow_the_file),
        CASE(relaxed_writes_wait_for_the_disk),
        CASE(relaxed_writes_are_flushed_by_the_timer),
        CASE(revisions_lost_by_a_crash_are_not_reused),
        CASE(a_second_opener_is_refused),
        CASE(foreign_files_are_refused_untouched),
        CASE(memory_only_keeps_the_contract),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}