/* The data path through real loopback sockets. The worker runs in the test's own thread; each
 * scenario is a straight story in a second thread with blocking sockets: it is the client and the
 * server, and hands new configurations to the loop. Nothing sleeps: every step awaits bytes, an end
 * or a reset.
 *
 * Who includes this defines the three functions declared first. */
#pragma once
#include "gateway_engine.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

static sp_gateway_config *make_config(void);        /* on the loop; what is to be served now */
static void listens_at(const sp_listener_state *l); /* on the loop, after each apply_now */
static void forget(void);                           /* what the last story left behind */

enum { DEADLINE_S = 30 };

static struct {
    uv_loop_t loop;
    uv_async_t call;
    sp_worker *worker;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t done;
    void (*fn)(void);
    bool busy, failed, stopped;
    sp_worker_stats stats; /* after in_loop(read_stats) */
} story;

#define CHECK(cond)                                                                      \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno); \
            story.failed = true;                                                         \
            pthread_exit(NULL);                                                          \
        }                                                                                \
    } while (0)

/* --- the loop's side --- */

static inline sp_targets to_pool(sp_arena *a, uint32_t pool) {
    sp_route_target *one = SP_NEW(a, sp_route_target);
    *one = (sp_route_target){pool, 1};
    return (sp_targets){one, 1, 1};
}

static inline void apply_now(void) {
    sp_gateway_config *c = make_config();
    sp_worker_apply(story.worker, c);
    for (size_t i = 0; i < sp_worker_listener_count(story.worker); i++) {
        sp_listener_state l = sp_worker_listener(story.worker, i);
        sp_assert(l.bound);
        listens_at(&l);
    }
    sp_gateway_config_unref(c);
}

static inline void read_stats(void) {
    story.stats = *sp_worker_get_stats(story.worker);
}

static inline void on_stopped(void *ctx) {
    (void)ctx;
    story.worker = NULL;
    story.stopped = true;
    uv_close((uv_handle_t *)&story.call, NULL);
}
static inline void stop_gracefully(void) {
    sp_worker_stop(story.worker, 5000, 0, on_stopped, NULL);
}
static inline void stop_now(void) {
    if (story.worker) sp_worker_stop(story.worker, 0, 0, on_stopped, NULL);
}

static inline void on_call(uv_async_t *a) {
    (void)a;
    pthread_mutex_lock(&story.lock);
    void (*fn)(void) = story.fn;
    story.fn = NULL;
    pthread_mutex_unlock(&story.lock);
    if (fn) fn();
    pthread_mutex_lock(&story.lock);
    story.busy = false;
    pthread_cond_signal(&story.done);
    pthread_mutex_unlock(&story.lock);
}

/* --- the story's side --- */

static inline void in_loop(void (*fn)(void)) {
    pthread_mutex_lock(&story.lock);
    story.fn = fn;
    story.busy = true;
    uv_async_send(&story.call);
    while (story.busy) pthread_cond_wait(&story.done, &story.lock);
    pthread_mutex_unlock(&story.lock);
}

static inline void set_deadline(int fd) {
    struct timeval tv = {.tv_sec = DEADLINE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static inline struct sockaddr_in loopback(uint32_t host, uint16_t port) { /* 127.0.0.1 + host */
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK + host)};
}

static inline int listen_on(uint16_t *ret_port) {
    struct sockaddr_in in = loopback(0, 0);
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof in) == 0 && listen(fd, 64) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    *ret_port = ntohs(in.sin_port);
    set_deadline(fd);
    return fd;
}

static inline int dial_at(uint32_t host, uint16_t port) {
    struct sockaddr_in in = loopback(host, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0);
    set_deadline(fd);
    return fd;
}

static inline int take(int listener) {
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    set_deadline(fd);
    return fd;
}

static inline void say_n(int fd, const void *p, size_t n) {
    CHECK(send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n);
}
static inline void say(int fd, const char *z) {
    say_n(fd, z, strlen(z));
}

static inline void hear_n(int fd, const char *want, size_t n) {
    char got[4096];
    CHECK(n <= sizeof got && recv(fd, got, n, MSG_WAITALL) == (ssize_t)n);
    if (memcmp(got, want, n) != 0) fprintf(stderr, "heard: %.*s\n", (int)n, got);
    CHECK(memcmp(got, want, n) == 0);
}
static inline void hear(int fd, const char *want) {
    hear_n(fd, want, strlen(want));
}

static inline void hear_end(int fd) {
    char c;
    CHECK(recv(fd, &c, 1, 0) == 0);
}

static inline void hear_reset(int fd) {
    char c;
    CHECK(recv(fd, &c, 1, 0) < 0 && errno == ECONNRESET);
}

/* A head, byte by byte, so that nothing behind it is eaten. */
static inline const char *hear_head(int fd) {
    static char head[8192];
    size_t n = 0;
    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
        CHECK(n < sizeof head - 1 && recv(fd, head + n, 1, 0) == 1);
        n++;
    }
    head[n] = 0;
    return head;
}

static inline void close_all(const int *fds, size_t n) {
    for (size_t i = 0; i < n; i++) close(fds[i]);
}
#define CLOSE(...) close_all((int[]){__VA_ARGS__}, SP_COUNT(((int[]){__VA_ARGS__})))

/* --- the frame --- */

static inline void *tell_story(void *fn) {
    ((void (*)(void))fn)();
    return NULL;
}

static inline void *story_thread(void *fn) {
    pthread_t inner; /* CHECK ends only the inner thread */
    pthread_create(&inner, NULL, tell_story, fn);
    pthread_join(inner, NULL);
    pthread_mutex_lock(&story.lock);
    story.fn = stop_now;
    bool stopped = story.stopped;
    pthread_mutex_unlock(&story.lock);
    if (!stopped) uv_async_send(&story.call);
    return NULL;
}

static inline void run_story(void **state) {
    memset(&story, 0, sizeof story);
    forget();
    pthread_mutex_init(&story.lock, NULL);
    pthread_cond_init(&story.done, NULL);
    assert_int_equal(uv_loop_init(&story.loop), 0);
    uv_async_init(&story.loop, &story.call, on_call);
    sp_worker_settings s = worker_settings();
    s.endpoint_wait_ms = 1000; /* for one that comes at once, and to see that none comes */
    s.connect_timeout_ms = 6 * DEADLINE_S * 1000; /* no story is to wait for it */
    story.worker = sp_worker_new(&story.loop, &s);
    pthread_create(&story.thread, NULL, story_thread, *state);
    sp_worker_run(story.worker);
    pthread_join(story.thread, NULL);
    assert_int_equal(uv_loop_close(&story.loop), 0);
    assert_false(story.failed);
}

#define STORY(fn) \
    { #fn, run_story, NULL, NULL, (void *)(fn) }
