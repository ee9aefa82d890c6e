/* The disk runs full under a store: the write that does not fit and all after it are refused with
 * the reason, reading goes on; with room again it writes again, and after a restart every
 * acknowledged write is there. On a small tmpfs where mounting is allowed, else under a file size
 * limit. */
#include "base/file.h"
#include "store/store.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#define CHECK(cond, ...)              \
    do {                              \
        if (cond) break;              \
        fprintf(stderr, __VA_ARGS__); \
        fputc('\n', stderr);          \
        exit(1);                      \
    } while (0)

enum { LIMIT = 1 << 20, VALUE = 20000, MANY = 500 };

static char dir[] = "/tmp/sampan-full-XXXXXX";
static bool mounted;

static void make_small(void) {
    CHECK(mkdtemp(dir), "mkdtemp: %s", strerror(errno));
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        mounted = mount("tmpfs", dir, "tmpfs", 0, "size=1m") == 0;
    if (mounted) return;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {LIMIT, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit: %s", strerror(errno));
}

static void make_large(void) {
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    int rc = mounted ? mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=64m")
                     : setrlimit(RLIMIT_FSIZE, &none);
    CHECK(rc == 0, "make room: %s", strerror(errno));
}

typedef struct answer {
    bool called;
    uint64_t rev;
    sp_err err;
} answer;

static void on_done(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    answer *a = ctx;
    *a = (answer){.called = true, .rev = rev};
    if (err) a->err = *err;
}

static answer write_one(uv_loop_t *loop, sp_store *s, int i) {
    static char value[VALUE];
    memset(value, 'x', sizeof value);
    char key[16];
    snprintf(key, sizeof key, "k%03d", i);
    sp_store_write w = {
        .key = sp_str_z(key), .value = {value, sizeof value}, .expect = SP_STORE_ANY};
    answer a = {0};
    sp_store_submit(s, &w, on_done, &a);
    while (!a.called) uv_run(loop, UV_RUN_ONCE);
    return a;
}

static sp_store *open_store(uv_loop_t *loop, const char *path) {
    sp_store *s = NULL;
    sp_err err = {0};
    sp_store_config cfg = {.path = path};
    CHECK(sp_store_open(loop, &cfg, &s, &err), "open: %s", err.text);
    return s;
}

static void on_closed(void *ctx) {
    *(bool *)ctx = true;
}

static void close_store(uv_loop_t *loop, sp_store *s) {
    bool closed = false;
    sp_store_close(s, on_closed, &closed);
    while (!closed) uv_run(loop, UV_RUN_ONCE);
}

static int fill(uv_loop_t *loop, sp_store *s) {
    int written = 0;
    answer a;
    while ((a = write_one(loop, s, written)).rev) CHECK(++written < MANY, "it never ran full");
    printf("%d writes, then: %s\n", written, a.err.text);
    CHECK(a.err.code == SP_UNAVAILABLE, "the code is %d", a.err.code);
    CHECK(strstr(a.err.text, mounted ? "no space left for" : "File too large"),
          "the reason is not named");
    return written;
}

int main(void) {
    make_small();
    char path[64];
    snprintf(path, sizeof path, "%s/store.db", dir);
    uv_loop_t loop;
    uv_loop_init(&loop);
    sp_store *s = open_store(&loop, path);
    int written = fill(&loop, s);
    CHECK(written > 5, "only %d writes fit", written);
    CHECK(write_one(&loop, s, 0).err.code == SP_UNAVAILABLE, "it takes writes again");
    CHECK(sp_store_count(s, SP_STR("k")) == (size_t)written && sp_store_get(s, SP_STR("k000")),
          "reading has stopped");
    CHECK(sp_store_revision(s) == (uint64_t)written, "a refused write became visible");
    CHECK(!sp_store_is_writable(s), "it calls itself writable");
    make_large();
    while (!sp_store_is_writable(s)) uv_run(&loop, UV_RUN_ONCE);
    uint64_t again = write_one(&loop, s, 0).rev;
    CHECK(again > (uint64_t)written, "it does not write when there is room again");
    close_store(&loop, s);
    s = open_store(&loop, path);
    CHECK(sp_store_revision(s) >= again, "what was written then is lost");
    CHECK(sp_store_count(s, SP_STR("k")) >= (size_t)written, "acknowledged writes are lost");
    CHECK(write_one(&loop, s, 0).rev > (uint64_t)written, "it does not write after a restart");
    close_store(&loop, s);
    uv_loop_close(&loop);
    if (mounted) umount(dir);
    sp_err err;
    CHECK(sp_remove_all(dir, &err), "%s", err.text);
    return 0;
}
