/* kill -9 under load, many times over. A child writes with many writers at once and tells its
 * parent through a pipe what it starts and what was acknowledged; the parent kills it at a random
 * moment, opens the same file and compares. Every key must hold exactly the acknowledged write, or
 * the one that was on its way for it; its bytes must be whole; revisions only rise. Writer 0 writes
 * relaxed: its writes may be lost, its revisions not be used again. 20 rounds;
 * SAMPAN_CRASH_ROUNDS=200 for a night.
 *
 * SIGKILL keeps what the kernel already has, so this proves the order of commit and acknowledgement
 * and the recovery, not what a disk does when the power goes. */
#include "base/file.h"
#include "base/rng.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITERS = 24, KEYS_EACH = 8, MAX_FILL = 3000, ROUNDS = 20, HISTORY = 150 };

/* One write: the number-th to its key. */
typedef struct change {
    uint32_t writer, key;
    uint64_t number; /* 0 = none */
    uint64_t rev;    /* in a message: 0 = it starts, or was a removal of nothing */
    bool acked, removes;
} change;

static change facts[WRITERS][KEYS_EACH]; /* what each key must hold */
static change started[WRITERS];          /* on its way; number 0 = nothing */
static uint64_t newest_rev;              /* acknowledged, relaxed ones included */

#define CHECK(cond, ...) ((cond) ? (void)0 : die(__VA_ARGS__))
static _Noreturn SP_PRINTF(1, 2) void die(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static bool is_relaxed(uint32_t writer) {
    return writer == 0;
}

static void key_name(char name[32], uint32_t writer, uint32_t key) {
    snprintf(name, 32, "/w%u/k%u", writer, key);
}

static uint32_t checksum(sp_str s) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

/* "<rev> <checksum of the rest> <writer>/<key> <number> <fill>", the revision put in by the store
 */
static void make_value(sp_buf *b, const change *c) {
    sp_auto(sp_buf) rest = {0};
    sp_buf_printf(&rest, "%u/%u %" PRIu64 " ", c->writer, c->key, c->number);
    for (size_t i = 0, fill = sp_rng_below(MAX_FILL); i < fill; i++)
        sp_buf_addc(&rest, (char)('a' + (c->number + i) % 26));
    sp_buf_printf(b, " %08x %s", checksum(sp_buf_str(&rest)), rest.p);
}

static void open_store(uv_loop_t *loop, const char *path, sp_store **ret) {
    sp_err err = {0};
    sp_store_config cfg = {.path = path, .history_events = HISTORY, .relaxed_ms = 20};
    uv_loop_init(loop);
    CHECK(sp_store_open(loop, &cfg, ret, &err), "open: %s", err.text);
}

/* --- the child --- */

static sp_store *store;
static int pipe_fd;

static void next_write(change *c);

static void tell(const change *c) {
    if (write(pipe_fd, c, sizeof *c) != sizeof *c) _exit(2);
}

static void on_written(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    change *c = ctx;
    if (err && err->code != SP_NOT_FOUND) die("child: %s", err->text);
    c->acked = true;
    c->rev = rev;
    tell(c);
    next_write(c);
}

static void next_write(change *c) {
    char name[32];
    c->key = (uint32_t)sp_rng_below(KEYS_EACH);
    c->removes = sp_rng_below(5) == 0;
    c->number++;
    c->rev = 0;
    c->acked = false;
    tell(c);
    key_name(name, c->writer, c->key);
    sp_auto(sp_buf) value = {0};
    make_value(&value, c);
    sp_store_write w = {.key = sp_str_z(name),
                        .remove = c->removes,
                        .expect = SP_STORE_ANY,
                        .value = sp_buf_str(&value),
                        .relaxed = is_relaxed(c->writer)};
    sp_store_submit(store, &w, on_written, c);
}

static _Noreturn void child_main(const char *path, int fd, uint64_t round) {
    uv_loop_t loop;
    static change writers[WRITERS];
    pipe_fd = fd;
    open_store(&loop, path, &store);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (change){.writer = i, .number = round * 1000000};
        next_write(&writers[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    _exit(3);
}

/* --- the parent --- */

static void learn(const change *c) {
    if (!c->acked) {
        started[c->writer] = *c;
        return;
    }
    newest_rev = SP_MAX(newest_rev, c->rev);
    facts[c->writer][c->key] = *c;
    started[c->writer].number = 0;
}

/* Until the child is dead and the pipe is empty. */
static size_t listen_and_kill(pid_t child, int fd) {
    size_t acks = 0, kill_at = 1 + sp_rng_below(500);
    change c;
    for (ssize_t r; (r = read(fd, &c, sizeof c)) != 0;) {
        if (r < 0 && errno == EINTR) continue;
        CHECK(r == sizeof c, "half a message");
        learn(&c);
        if (!c.acked || ++acks != kill_at) continue;
        usleep((useconds_t)sp_rng_below(3000));
        kill(child, SIGKILL);
    }
    return acks;
}

/* What the store holds for one key, its bytes checked. */
static change read_key(sp_store *s, uint32_t writer, uint32_t key) {
    char name[32];
    key_name(name, writer, key);
    const sp_store_value *v = sp_store_get(s, sp_str_z(name));
    change c = {.removes = true};
    if (!v) return c;
    c.removes = false;
    unsigned sum;
    int rest = 0;
    const char *p = v->bytes->p;
    int n = sscanf(p, "%" SCNu64 " %8x %n%u/%u %" SCNu64, &c.rev, &sum, &rest, &c.writer, &c.key,
                   &c.number);
    CHECK(n == 5, "%s: half written: %.60s", name, p);
    CHECK(c.rev == v->rev && c.writer == writer && c.key == key, "%s: another's bytes", name);
    CHECK(checksum(sp_str_z(p + rest)) == sum, "%s: wrong bytes", name);
    return c;
}

static bool same(const change *is, const change *must) {
    return is->removes == (must->removes || !must->number) &&
           (is->removes || is->number == must->number);
}

static void check_key(sp_store *s, uint32_t w, uint32_t k) {
    change is = read_key(s, w, k), *must = &facts[w][k], *late = &started[w];
    if (same(&is, must) && (is.removes || is.rev == must->rev)) return;
    bool on_its_way = late->number && late->key == k && same(&is, late);
    CHECK(on_its_way || is_relaxed(w),
          "/w%u/k%u: write %" PRIu64 "%s was acknowledged at %" PRIu64 "; there is %" PRIu64
          "%s at %" PRIu64,
          w, k, must->number, must->removes ? " (removal)" : "", must->rev, is.number,
          is.removes ? " (nothing)" : "", is.rev);
    *must = is; /* from now on it has to stay */
}

static void on_closed(void *ctx) {
    *(bool *)ctx = true;
}

static void close_store(uv_loop_t *loop, sp_store *s) {
    bool closed = false;
    sp_store_close(s, on_closed, &closed);
    while (!closed) uv_run(loop, UV_RUN_ONCE);
    uv_loop_close(loop);
}

static size_t verify(const char *path) {
    uv_loop_t loop;
    sp_store *s;
    open_store(&loop, path, &s);
    CHECK(sp_store_revision(s) >= newest_rev, "revisions went back from %" PRIu64 " to %" PRIu64,
          newest_rev, sp_store_revision(s));
    newest_rev = sp_store_revision(s);
    for (uint32_t w = 0; w < WRITERS; w++)
        for (uint32_t k = 0; k < KEYS_EACH; k++) check_key(s, w, k);
    memset(started, 0, sizeof started);
    size_t keys = sp_store_count(s, SP_STR("/"));
    close_store(&loop, s);
    return keys;
}

static void run_round(const char *path, int n) {
    int fds[2];
    CHECK(pipe2(fds, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        close(fds[0]);
        child_main(path, fds[1], (uint64_t)n);
    }
    close(fds[1]);
    size_t acks = listen_and_kill(child, fds[0]);
    close(fds[0]);
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended by itself: %d",
          status);
    size_t keys = verify(path);
    printf("round %d: %zu acknowledged, %zu keys, revision %" PRIu64 "\n", n, acks, keys,
           newest_rev);
}

int main(void) {
    const char *env = getenv("SAMPAN_CRASH_ROUNDS");
    int rounds = env ? atoi(env) : ROUNDS;
    char dir[] = "/tmp/sampan-crash-XXXXXX", path[64];
    CHECK(mkdtemp(dir), "mkdtemp: %s", strerror(errno));
    snprintf(path, sizeof path, "%s/store.db", dir);
    for (int i = 1; i <= rounds; i++) run_round(path, i);
    sp_err err = {0};
    CHECK(sp_remove_all(dir, &err), "%s", err.text);
    return 0;
}
