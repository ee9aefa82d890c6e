/* Durable writes per second of the store, with 1 and with 64 writers that each wait for the answer
 * before the next write; 1 KiB values, 1,000 keys. Beside them, in the same directory, what the
 * disk gives: a loop of 4 KiB append and fdatasync. usage: store [directory] [seconds] */
#include "store/store.h"
#include "base/file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { KEYS = 1000, VALUE = 1024 };

static uv_loop_t loop;
static sp_store *store;
static uint64_t end_ns, writes;
static char value[VALUE];

static void next_write(void *ctx, uint64_t rev, sp_store_value *v, const sp_err *err) {
    char key[32];
    if (err) fprintf(stderr, "%s\n", err->text), exit(1);
    writes += rev != 0;
    if (uv_hrtime() >= end_ns) return;
    snprintf(key, sizeof key, "/registry/configmaps/%04" PRIu64, writes % KEYS);
    sp_store_write w = {.key = sp_str_z(key), .value = {value, VALUE}, .expect = SP_STORE_ANY};
    sp_store_submit(store, &w, next_write, NULL);
}

static void on_closed(void *ctx) {
    (void)ctx;
}

static void measure_store(const char *dir, int writers, double seconds) {
    char path[4200];
    sp_err err = {0};
    snprintf(path, sizeof path, "%s/bench-%d.db", dir, writers);
    sp_store_config cfg = {.path = path};
    uv_loop_init(&loop);
    if (!sp_store_open(&loop, &cfg, &store, &err)) fprintf(stderr, "%s\n", err.text), exit(1);
    writes = 0;
    uint64_t start = uv_hrtime();
    end_ns = start + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < writers; i++) next_write(NULL, 0, NULL, NULL);
    while (uv_hrtime() < end_ns) uv_run(&loop, UV_RUN_ONCE);
    sp_store_stats s = sp_store_get_stats(store);
    double took = (double)(uv_hrtime() - start) / 1e9;
    printf(
        "%2d writers: %8.0f durable writes/s  (%.1f per commit, %.0f us a commit, file %.1f MB)\n",
        writers, (double)writes / took, (double)writes / (double)SP_MAX(s.commits, 1u),
        (double)s.commit_us_total / (double)SP_MAX(s.commits, 1u), (double)s.db_bytes / 1e6);
    sp_store_close(store, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

static void measure_disk(const char *dir, double seconds) {
    char path[4200], page[4096] = {0};
    snprintf(path, sizeof path, "%s/bench.raw", dir);
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    uint64_t n = 0, start = uv_hrtime(), until = start + (uint64_t)(seconds * 1e9);
    for (; uv_hrtime() < until; n++)
        if (write(fd, page, sizeof page) < 0 || fdatasync(fd) != 0) perror(path), exit(1);
    printf("the disk  : %8.0f appends of 4 KiB with fdatasync/s\n",
           (double)n / ((double)(uv_hrtime() - start) / 1e9));
    close(fd);
}

int main(int argc, char **argv) {
    char dir[4096];
    sp_err err;
    double seconds = argc > 2 ? atof(argv[2]) : 3;
    snprintf(dir, sizeof dir, "%s/sampan-bench-XXXXXX", argc > 1 ? argv[1] : "/var/tmp");
    if (!mkdtemp(dir)) perror(dir), exit(1);
    memset(value, 'x', sizeof value);
    measure_disk(dir, seconds);
    measure_store(dir, 1, seconds);
    measure_store(dir, 64, seconds);
    return sp_remove_all(dir, &err) ? 0 : 1;
}
