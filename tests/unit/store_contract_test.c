/* The contract of store/store.h as the layers above rely on it, the same for every engine: SQLite
 * on a file, and a real etcd that this test starts. Revisions are compared, never counted, because
 * others may write to the same etcd. */
#include "base/file.h"
#include "store/etcd_client.h"
#include "store/etcd_key.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- a real etcd --- */

static struct {
    pid_t pid;
    char dir[64], url[64], peer[64];
    unsigned prefixes;
} etcd;

/* Below the kernel's own choice for outgoing connections, of which other tests make many at the
 * same time: etcd binds it only later, and again when it is started anew. */
static uint16_t free_port(void) {
    static uint16_t next;
    struct sockaddr_in a = {.sin_family = AF_INET};
    if (!next) next = (uint16_t)(11000 + getpid() % 1900 * 10);
    for (int i = 0; i < 1000; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        a.sin_port = htons(next++);
        int failed = bind(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (!failed) return ntohs(a.sin_port);
    }
    fail_msg("no port is free");
    return 0;
}

static void run_etcd(void) {
    char data[80], members[100];
    snprintf(data, sizeof data, "%s/data", etcd.dir);
    snprintf(members, sizeof members, "default=%s", etcd.peer);
    etcd.pid = fork();
    if (etcd.pid) return;
    int null = open("/dev/null", O_RDWR);
    dup2(null, 1);
    dup2(null, 2);
    execlp("etcd", "etcd", "--data-dir", data, "--listen-client-urls", etcd.url,
           "--advertise-client-urls", etcd.url, "--listen-peer-urls", etcd.peer,
           "--initial-advertise-peer-urls", etcd.peer, "--initial-cluster", members,
           "--unsafe-no-fsync", NULL);
    _exit(127);
}

static void stop_etcd(void) {
    kill(etcd.pid, SIGKILL);
    waitpid(etcd.pid, NULL, 0);
    etcd.pid = 0;
}

static bool has_etcd(void) {
    return system("command -v etcd >/dev/null 2>&1") == 0;
}

static int start_etcd(void **state) {
    (void)state;
    strcpy(etcd.dir, "/tmp/sampan-etcd-XXXXXX");
    assert_non_null(mkdtemp(etcd.dir));
    snprintf(etcd.url, sizeof etcd.url, "http://127.0.0.1:%u", free_port());
    snprintf(etcd.peer, sizeof etcd.peer, "http://127.0.0.1:%u", free_port());
    run_etcd();
    return 0;
}

static int end_etcd(void **state) {
    (void)state;
    sp_err err;
    if (etcd.pid) stop_etcd();
    assert_true(sp_remove_all(etcd.dir, &err));
    return 0;
}

/* --- one store, or two on the same cluster --- */

typedef struct fixture {
    uv_loop_t loop;
    char dir[64], path[128], prefix[32];
    sp_store_config cfg;
    sp_etcd_config etcd;
    sp_store *s, *other;
} fixture;

static sp_store *open_one(fixture *f) {
    sp_err err = {0};
    sp_store *s = NULL;
    bool ok = f->cfg.etcd ? sp_store_open_etcd(&f->loop, &f->cfg, &s, &err)
                          : sp_store_open(&f->loop, &f->cfg, &s, &err);
    if (!ok) fail_msg("%s", err.text);
    return s;
}

static int set_up_file(void **state) {
    fixture *f = sp_zalloc(1, sizeof *f);
    uv_loop_init(&f->loop);
    strcpy(f->dir, "/tmp/sampan-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
    f->cfg.path = f->path;
    f->s = open_one(f);
    *state = f;
    return 0;
}

static int set_up_etcd(void **state) {
    fixture *f = sp_zalloc(1, sizeof *f);
    uv_loop_init(&f->loop);
    snprintf(f->prefix, sizeof f->prefix, "/t%u", etcd.prefixes++);
    sp_vec_push(&f->etcd.endpoints, sp_str_z(etcd.url));
    f->cfg.etcd = &f->etcd;
    f->cfg.etcd_prefix = f->prefix;
    f->cfg.etcd_wait_ms = 60000;
    f->s = open_one(f);
    *state = f;
    return 0;
}

static int set_up_two(void **state) {
    set_up_etcd(state);
    fixture *f = *state;
    f->other = open_one(f);
    return 0;
}

static void closed(void *ctx) {
    *(bool *)ctx = true;
}

static void close_one(fixture *f, sp_store *s) {
    bool done = false;
    if (!s) return;
    sp_store_close(s, closed, &done);
    while (!done) uv_run(&f->loop, UV_RUN_ONCE);
}

static int tear_down(void **state) {
    fixture *f = *state;
    sp_err err;
    close_one(f, f->s);
    close_one(f, f->other);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    if (f->dir[0]) assert_true(sp_remove_all(f->dir, &err));
    sp_vec_free(&f->etcd.endpoints);
    free(f);
    return 0;
}

/* --- writing --- */

#define BEFORE "{\"kind\":\"T\",\"metadata\":{\"name\":\"n\",\"resourceVersion\":\""

typedef struct result {
    bool called;
    uint64_t rev, visible;
    sp_err err;
    char value[200];
    sp_store *s;
} result;

static void on_done(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    result *r = ctx;
    assert_false(r->called);
    r->called = true;
    r->rev = rev;
    r->visible = sp_store_revision(r->s);
    if (err) r->err = *err;
    if (value) snprintf(r->value, sizeof r->value, "%.*s", SP_ARG(sp_blob_str(value->bytes)));
}

static const char *document(const char *text, char ret[200]) {
    snprintf(ret, 200, BEFORE "\"},\"data\":\"%s\"}", text);
    return ret;
}

static void submit(sp_store *s, const char *key, const char *text, uint64_t expect, result *r) {
    char value[200];
    sp_auto(sp_buf) full = {0};
    sp_buf_printf(&full, "/registry/%s", key);
    sp_store_write w = {.key = sp_buf_str(&full), .remove = !text, .expect = expect};
    if (text) w.value = sp_str_z(document(text, value));
    w.rev_at = sizeof BEFORE - 1;
    *r = (result){.s = s};
    sp_store_submit(s, &w, on_done, r);
    assert_false(r->called);
}

static result try_write(fixture *f, sp_store *s, const char *key, const char *text,
                        uint64_t expect) {
    result r;
    submit(s, key, text, expect, &r);
    while (!r.called) uv_run(&f->loop, UV_RUN_ONCE);
    return r;
}

static uint64_t must(fixture *f, sp_store *s, const char *key, const char *text, uint64_t expect) {
    result r = try_write(f, s, key, text, expect);
    if (r.err.code) fail_msg("%s: %s", key, r.err.text);
    assert_true(r.rev > 0 && r.visible >= r.rev);
    return r.rev;
}

static sp_store_value *get(sp_store *s, const char *key) {
    sp_auto(sp_buf) full = {0};
    sp_buf_printf(&full, "/registry/%s", key);
    return sp_store_get(s, sp_buf_str(&full));
}

static void expect_at(sp_store *s, const char *key, const char *text, uint64_t rev) {
    char want[240];
    sp_store_value *v = get(s, key);
    assert_non_null(v);
    snprintf(want, sizeof want, BEFORE "%" PRIu64 "\"},\"data\":\"%s\"}", rev, text);
    assert_string_equal(v->bytes->p, want);
    assert_int_equal(v->rev, rev);
}

static void writes_are_decided_by_what_they_expect(void **state) {
    fixture *f = *state;
    uint64_t a = must(f, f->s, "a", "1", SP_STORE_ABSENT);
    expect_at(f->s, "a", "1", a);
    assert_int_equal(get(f->s, "a")->create_rev, a);
    result r = try_write(f, f->s, "a", "2", SP_STORE_ABSENT);
    assert_int_equal(r.err.code, SP_ALREADY_EXISTS);
    assert_non_null(strstr(r.value, "\"data\":\"1\""));
    uint64_t b = must(f, f->s, "a", "2", a);
    assert_true(b > a);
    assert_int_equal(get(f->s, "a")->create_rev, a);
    r = try_write(f, f->s, "a", "3", a);
    assert_int_equal(r.err.code, SP_CONFLICT);
    assert_int_equal(r.rev, 0);
    r = try_write(f, f->s, "b", "1", b);
    assert_int_equal(r.err.code, SP_CONFLICT);
    r = try_write(f, f->s, "b", NULL, SP_STORE_ANY);
    assert_int_equal(r.err.code, SP_NOT_FOUND);
    uint64_t c = must(f, f->s, "a", "any", SP_STORE_ANY);
    r = try_write(f, f->s, "a", NULL, b);
    assert_int_equal(r.err.code, SP_CONFLICT);
    r = try_write(f, f->s, "a", NULL, c);
    assert_true(r.rev > c);
    assert_non_null(strstr(r.value, "\"data\":\"any\"")); /* what was removed */
    assert_null(get(f->s, "a"));
    uint64_t d = must(f, f->s, "a", "again", SP_STORE_ABSENT);
    assert_int_equal(get(f->s, "a")->create_rev, d);
}

/* What is submitted in a row is decided in that order. */
static void writes_of_one_key_follow_each_other(void **state) {
    fixture *f = *state;
    result r[5];
    submit(f->s, "k", "1", SP_STORE_ABSENT, &r[0]);
    submit(f->s, "k", "2", SP_STORE_ABSENT, &r[1]);
    submit(f->s, "k", "3", SP_STORE_ANY, &r[2]);
    submit(f->s, "k", NULL, SP_STORE_ANY, &r[3]);
    submit(f->s, "k", "5", SP_STORE_ABSENT, &r[4]);
    for (size_t i = 0; i < SP_COUNT(r); i++)
        while (!r[i].called) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(r[1].err.code, SP_ALREADY_EXISTS);
    assert_true(r[0].rev && r[2].rev > r[0].rev && r[3].rev > r[2].rev && r[4].rev > r[3].rev);
    expect_at(f->s, "k", "5", r[4].rev);
}

static void too_large_is_said(void **state) {
    fixture *f = *state;
    sp_auto(sp_buf) big = {0};
    sp_buf_addz(&big, BEFORE "\"},\"data\":\"");
    while (big.n < (3u << 19)) sp_buf_addz(&big, "xxxxxxxxxxxxxxxx");
    sp_buf_addz(&big, "\"}");
    sp_store_write w = {.key = SP_STR("/registry/big"),
                        .value = sp_buf_str(&big),
                        .rev_at = sizeof BEFORE - 1,
                        .expect = SP_STORE_ABSENT};
    result r = {.s = f->s};
    sp_store_submit(f->s, &w, on_done, &r);
    while (!r.called) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(r.err.code, SP_TOO_LARGE);
    must(f, f->s, "small", "1", SP_STORE_ABSENT);
}

/* --- reading --- */

static bool list_one(void *ctx, sp_str key, sp_store_value *v) {
    (void)v;
    sp_buf_printf(ctx, "%.*s ", SP_ARG(sp_str_from(key, strlen("/registry/"))));
    return true;
}

static void expect_list(sp_store *s, const char *prefix, const char *after, uint64_t rev,
                        const char *want) {
    sp_auto(sp_buf) b = {0}, p = {0}, a = {0};
    sp_err err = {0};
    sp_buf_printf(&p, "/registry/%s", prefix);
    if (*after) sp_buf_printf(&a, "/registry/%s", after);
    if (!sp_store_range(s, sp_buf_str(&p), sp_buf_str(&a), rev, list_one, &b, &err))
        fail_msg("%s", err.text);
    assert_string_equal(sp_buf_z(&b), want);
}

static void ranges_are_ordered_and_know_the_past(void **state) {
    fixture *f = *state;
    must(f, f->s, "p/c", "1", SP_STORE_ABSENT);
    must(f, f->s, "p/a", "1", SP_STORE_ABSENT);
    uint64_t two = must(f, f->s, "q/x", "1", SP_STORE_ABSENT);
    must(f, f->s, "p/b", "1", SP_STORE_ABSENT);
    uint64_t three = must(f, f->s, "p/c", NULL, SP_STORE_ANY);
    expect_list(f->s, "p/", "", 0, "p/a p/b ");
    expect_list(f->s, "p/", "p/a", 0, "p/b ");
    expect_list(f->s, "p/", "", two, "p/a p/c ");
    expect_list(f->s, "p/", "", three - 1, "p/a p/b p/c ");
    assert_int_equal(sp_store_count(f->s, SP_STR("/registry/p/")), 2);
    sp_err err = {0};
    assert_false(sp_store_range(f->s, SP_STR("/registry/"), SP_STR(""),
                                sp_store_revision(f->s) + 1000, list_one, NULL, &err));
    assert_int_equal(err.code, SP_TIMEOUT);
}

static void sync_now(fixture *f, sp_store *s) {
    result r = {.s = s};
    sp_store_sync(s, on_done, &r);
    while (!r.called) uv_run(&f->loop, UV_RUN_ONCE);
    if (r.err.code) fail_msg("%s", r.err.text);
}

static void syncing_ends(void **state) {
    fixture *f = *state;
    sync_now(f, f->s);
    must(f, f->s, "a", "1", SP_STORE_ABSENT);
    sync_now(f, f->s);
    result r = {.s = f->s};
    sp_store_after(f->s, on_done, &r);
    while (!r.called) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(r.err.code, SP_OK);
}

/* --- watching --- */

typedef struct seen {
    sp_buf text;
    uint64_t last;
    unsigned count;
} seen;

static void on_event(void *ctx, sp_store_event *e) {
    static const char marks[] = {[SP_STORE_CREATED] = '+', [SP_STORE_UPDATED] = '~', '-'};
    seen *x = ctx;
    assert_true(e->rev > x->last);
    assert_true((e->type == SP_STORE_CREATED) == (e->prev == NULL));
    assert_true((e->type == SP_STORE_REMOVED) == (e->value == NULL));
    x->last = e->rev;
    x->count++;
    sp_buf_printf(&x->text, "%c%.*s ", marks[e->type],
                  SP_ARG(sp_str_from(e->key, strlen("/registry/"))));
}

static sp_store_watch *watch(sp_store *s, const char *prefix, uint64_t after, seen *x) {
    sp_auto(sp_buf) p = {0};
    sp_store_watch *w = NULL;
    sp_err err = {0};
    sp_buf_printf(&p, "/registry/%s", prefix);
    if (!sp_store_watch_start(s, sp_buf_str(&p), after, on_event, x, &w, &err))
        fail_msg("%s", err.text);
    return w;
}

static void watches_miss_nothing(void **state) {
    fixture *f = *state;
    seen live = {0}, late = {0};
    uint64_t from = must(f, f->s, "w/0", "1", SP_STORE_ABSENT);
    sp_store_watch *a = watch(f->s, "w/", sp_store_revision(f->s), &live);
    must(f, f->s, "w/1", "1", SP_STORE_ABSENT);
    must(f, f->s, "other", "1", SP_STORE_ABSENT);
    must(f, f->s, "w/1", "2", SP_STORE_ANY);
    must(f, f->s, "w/0", NULL, SP_STORE_ANY);
    sp_store_watch *b = watch(f->s, "w/", from, &late);
    while (!late.count || !sp_store_watches_caught_up(f->s)) uv_run(&f->loop, UV_RUN_ONCE);
    assert_string_equal(sp_buf_z(&live.text), "+w/1 ~w/1 -w/0 ");
    assert_string_equal(sp_buf_z(&late.text), "+w/1 ~w/1 -w/0 ");
    sp_store_watch_stop(a);
    must(f, f->s, "w/2", "1", SP_STORE_ABSENT);
    assert_int_equal(live.count, 3);
    assert_int_equal(late.count, 4);
    sp_store_watch_stop(b);
    sp_buf_free(&live.text);
    sp_buf_free(&late.text);
}

static void everything_is_there_after_a_restart(void **state) {
    fixture *f = *state;
    uint64_t a = must(f, f->s, "a", "1", SP_STORE_ABSENT);
    uint64_t b = must(f, f->s, "b", "1", SP_STORE_ABSENT);
    must(f, f->s, "c", "1", SP_STORE_ABSENT);
    must(f, f->s, "c", NULL, SP_STORE_ANY);
    close_one(f, f->s);
    f->s = open_one(f);
    expect_at(f->s, "a", "1", a);
    expect_at(f->s, "b", "1", b);
    assert_null(get(f->s, "c"));
    assert_int_equal(get(f->s, "a")->create_rev, a);
    assert_true(must(f, f->s, "a", "2", a) > b);
}

/* --- only where several share a store --- */

static void what_one_was_told_the_other_reads(void **state) {
    fixture *f = *state;
    for (int i = 0; i < 50; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        sp_store *from = i % 2 ? f->s : f->other, *to = i % 2 ? f->other : f->s;
        uint64_t rev = must(f, from, "shared", text, SP_STORE_ANY);
        sync_now(f, to);
        expect_at(to, "shared", text, rev);
    }
    uint64_t rev = must(f, f->s, "shared", NULL, SP_STORE_ANY);
    sync_now(f, f->other);
    assert_null(get(f->other, "shared"));
    assert_true(sp_store_revision(f->other) >= rev);
}

static void one_of_two_wins(void **state) {
    fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        uint64_t rev = must(f, f->s, "race", "0", SP_STORE_ANY);
        sync_now(f, f->other);
        result a, b;
        submit(f->s, "race", "a", rev, &a);
        submit(f->other, "race", "b", rev, &b);
        while (!a.called || !b.called) uv_run(&f->loop, UV_RUN_ONCE);
        assert_true((a.err.code == SP_OK) != (b.err.code == SP_OK));
        assert_int_equal(a.err.code ? a.err.code : b.err.code, SP_CONFLICT);
        sp_store *loser = a.err.code ? f->s : f->other; /* knows by now what it lost to */
        expect_at(loser, "race", a.err.code ? "b" : "a", a.rev + b.rev);
    }
}

static result guarded(fixture *f, sp_store *s, const char *key, sp_store_guard_kind kind,
                      const char *guard, uint64_t rev) {
    char value[200];
    sp_auto(sp_buf) full = {0};
    sp_buf_printf(&full, "/registry/%s", key);
    sp_store_guard g = {kind, sp_str_z(guard), rev};
    sp_store_write w = {.key = sp_buf_str(&full),
                        .value = sp_str_z(document("guarded", value)),
                        .rev_at = sizeof BEFORE - 1,
                        .expect = SP_STORE_ABSENT,
                        .guards = &g,
                        .guard_count = 1};
    result r = {.s = s};
    sp_store_submit(s, &w, on_done, &r);
    while (!r.called) uv_run(&f->loop, UV_RUN_ONCE);
    return r;
}

/* Of two that decide at the same time only one may, and the other one sees why. */
static void a_claim_is_made_by_one(void **state) {
    fixture *f = *state;
    sync_now(f, f->s);
    sync_now(f, f->other);
    uint64_t one = sp_store_revision(f->s), two = sp_store_revision(f->other);
    result a = guarded(f, f->s, "g/1", SP_GUARD_CLAIM, SP_STORE_GUARDS "things", one);
    assert_int_equal(a.err.code, SP_OK);
    result b = guarded(f, f->other, "g/2", SP_GUARD_CLAIM, SP_STORE_GUARDS "things", two);
    assert_int_equal(b.err.code, SP_CONFLICT);
    assert_true(b.visible >= a.rev);
    assert_non_null(get(f->other, "g/1"));
    assert_null(get(f->other, "g/2"));
    b = guarded(f, f->other, "g/2", SP_GUARD_SEEN, SP_STORE_GUARDS "things", two);
    assert_int_equal(b.err.code, SP_CONFLICT);
    b = guarded(f, f->other, "g/2", SP_GUARD_CLAIM, SP_STORE_GUARDS "other", two);
    assert_int_equal(b.err.code, SP_OK);
    b = guarded(f, f->other, "g/3", SP_GUARD_CLAIM, SP_STORE_GUARDS "things", b.visible);
    assert_int_equal(b.err.code, SP_OK);
}

static void a_seen_name_stays_free(void **state) {
    fixture *f = *state;
    uint64_t now = sp_store_revision(f->s);
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "s/2" : "s/1";
        result r = guarded(f, f->s, key, SP_GUARD_SEEN, SP_STORE_GUARDS "seen", now);
        assert_int_equal(r.err.code, SP_OK);
    }
}

/* What is written into something needs it as it was. */
static void a_document_is_still_the_same(void **state) {
    fixture *f = *state;
    uint64_t ns = must(f, f->other, "ns/a", "1", SP_STORE_ABSENT);
    sync_now(f, f->s);
    result r = guarded(f, f->s, "in/1", SP_GUARD_SAME, "/registry/ns/a", ns);
    assert_int_equal(r.err.code, SP_OK);
    must(f, f->other, "ns/a", "2", ns);
    r = guarded(f, f->s, "in/2", SP_GUARD_SAME, "/registry/ns/a", ns);
    assert_int_equal(r.err.code, SP_CONFLICT);
    expect_at(f->s, "ns/a", "2", get(f->s, "ns/a")->rev);
    uint64_t last = get(f->s, "ns/a")->rev;
    must(f, f->other, "ns/a", NULL, last);
    r = guarded(f, f->s, "in/2", SP_GUARD_SAME, "/registry/ns/a", last);
    assert_int_equal(r.err.code, SP_CONFLICT);
    assert_null(get(f->s, "ns/a"));
}

static void both_see_one_history(void **state) {
    fixture *f = *state;
    seen one = {0}, two = {0};
    result r[100];
    sync_now(f, f->s);
    sync_now(f, f->other);
    sp_store_watch *a = watch(f->s, "h/", sp_store_revision(f->s), &one);
    sp_store_watch *b = watch(f->other, "h/", sp_store_revision(f->other), &two);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "h/%d", i % 7);
        submit(i % 3 ? f->s : f->other, key, i % 5 == 4 ? NULL : "x", SP_STORE_ANY, &r[i]);
    }
    for (int i = 0; i < 100; i++)
        while (!r[i].called) uv_run(&f->loop, UV_RUN_ONCE);
    sync_now(f, f->s);
    sync_now(f, f->other);
    assert_true(one.count > 50);
    assert_string_equal(sp_buf_z(&one.text), sp_buf_z(&two.text));
    sp_store_watch_stop(a);
    sp_store_watch_stop(b);
    sp_buf_free(&one.text);
    sp_buf_free(&two.text);
}

static void a_restarted_etcd_is_found_again(void **state) {
    fixture *f = *state;
    seen x = {0};
    sp_store_watch *w = watch(f->s, "r/", sp_store_revision(f->s), &x);
    uint64_t before = must(f, f->s, "r/1", "1", SP_STORE_ABSENT);
    stop_etcd();
    run_etcd();
    result r;
    do r = try_write(f, f->other, "r/1", "2", SP_STORE_ANY);
    while (r.err.code == SP_UNAVAILABLE || r.err.code == SP_TIMEOUT); /* sent, and lost */
    assert_int_equal(r.err.code, SP_OK);
    assert_true(r.rev > before);
    while (x.last < r.rev) uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(sp_str_starts(sp_buf_str(&x.text), SP_STR("+r/1 ~r/1 ")));
    sync_now(f, f->s);
    assert_true(sp_store_is_writable(f->s));
    sp_store_watch_stop(w);
    sp_buf_free(&x.text);
}

static void a_foreign_prefix_is_refused(void **state) {
    fixture *f = *state;
    char command[400];
    sp_store *s = NULL;
    sp_err err = {0};
    snprintf(command, sizeof command,
             "ETCDCTL_API=3 etcdctl --endpoints %s put /foreign/registry/pods/x hello >/dev/null",
             etcd.url);
    assert_int_equal(system(command), 0);
    f->cfg.etcd_prefix = "/foreign";
    assert_false(sp_store_open_etcd(&f->loop, &f->cfg, &s, &err));
    assert_int_equal(err.code, SP_INVALID);
    assert_non_null(strstr(err.text, "1 keys below /foreign/registry/ that are not Sampan's"));
    f->cfg.etcd_prefix = f->prefix;
}

static void nobody_there_is_said(void **state) {
    fixture *f = *state;
    sp_store *s = NULL;
    sp_err err = {0};
    sp_etcd_config nobody = {0};
    sp_store_config c = {.etcd = &nobody, .etcd_wait_ms = 300};
    sp_vec_push(&nobody.endpoints, SP_STR("http://127.0.0.1:1"));
    assert_false(sp_store_open_etcd(&f->loop, &c, &s, &err));
    assert_int_equal(err.code, SP_UNAVAILABLE);
    assert_non_null(strstr(err.text, "127.0.0.1:1"));
    nobody.endpoints.p[0] = SP_STR("ftp://x");
    assert_false(sp_store_open_etcd(&f->loop, &c, &s, &err));
    assert_non_null(strstr(err.text, "ftp://x"));
    sp_vec_free(&nobody.endpoints);
}

/* --- where the revision belongs --- */

static void the_place_of_the_revision(void **state) {
    (void)state;
    static const struct {
        const char *before, *after;
    } good[] = {
        {"{\"kind\":\"T\",\"metadata\":{\"resourceVersion\":\"", "\"}}"},
        {"{\"a\":{\"metadata\":{\"resourceVersion\":\"\"}},\"metadata\":{\"annotations\":{"
         "\"resourceVersion\":\"\"},\"x\":[{\"resourceVersion\":\"\"}],\"s\":"
         "\"\\\"resourceVersion\\\":\\\"\\\"\",\"resourceVersion\":\"",
         "\",\"z\":1}}"},
    };
    static const char *const bad[] = {"",
                                      "hello",
                                      "{",
                                      "{}",
                                      "{\"metadata\":1}",
                                      "{\"metadata\":{\"resourceVersion\":\"7\"}}",
                                      "{\"metadata\":{\"resourceVersion\":7}}",
                                      "{\"metadata\":{\"a\":\"",
                                      "k8s\x00\n"};
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        char text[400];
        uint32_t at = 0;
        snprintf(text, sizeof text, "%s%s", good[i].before, good[i].after);
        assert_true(sp_etcd_find_rev(sp_str_z(text), &at));
        assert_int_equal(at, strlen(good[i].before));
    }
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        uint32_t at;
        assert_false(sp_etcd_find_rev(sp_str_z(bad[i]), &at));
    }
}

#define BOTH(X)                                                                         \
    X(writes_are_decided_by_what_they_expect), X(writes_of_one_key_follow_each_other),  \
        X(too_large_is_said), X(ranges_are_ordered_and_know_the_past), X(syncing_ends), \
        X(watches_miss_nothing), X(everything_is_there_after_a_restart)
#define ON_FILE(fn) cmocka_unit_test_setup_teardown(fn, set_up_file, tear_down)
#define ON_ETCD(fn) cmocka_unit_test_setup_teardown(fn, set_up_etcd, tear_down)
#define ON_TWO(fn) cmocka_unit_test_setup_teardown(fn, set_up_two, tear_down)

int main(void) {
    const struct CMUnitTest on_file[] = {BOTH(ON_FILE),
                                         cmocka_unit_test(the_place_of_the_revision)};
    const struct CMUnitTest on_etcd[] = {BOTH(ON_ETCD),
                                         ON_TWO(what_one_was_told_the_other_reads),
                                         ON_TWO(one_of_two_wins),
                                         ON_TWO(a_claim_is_made_by_one),
                                         ON_ETCD(a_seen_name_stays_free),
                                         ON_TWO(a_document_is_still_the_same),
                                         ON_TWO(both_see_one_history),
                                         ON_TWO(a_restarted_etcd_is_found_again),
                                         ON_ETCD(a_foreign_prefix_is_refused),
                                         ON_ETCD(nobody_there_is_said)};
    signal(SIGPIPE, SIG_IGN);
    int failed = cmocka_run_group_tests(on_file, NULL, NULL);
    if (!has_etcd()) {
        print_message("etcd is not installed: its half is not run\n");
        return failed;
    }
    return failed + cmocka_run_group_tests(on_etcd, start_etcd, end_etcd);
}
