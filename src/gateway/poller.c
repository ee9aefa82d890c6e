/* See poller.h. Closing inside a callback is safe in two ways: events of what was closed find
 * nobody any more, and memory is buried, not freed. */
#include "base/clock.h"
#include "base/log.h"
#include "gateway/poller_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define OUTSIDE UINT64_MAX /* events of the libuv loop */

int64_t sp_poller_now_ms(const sp_poller *p) {
    return p->now_ms;
}

void sp_poller_on_turn_end(sp_poller *p, void (*fn)(void *ctx), void *ctx) {
    p->turn_end = fn;
    p->turn_end_ctx = ctx;
}

/* --- timers --- */

static void on_timer(uv_timer_t *t);

/* The timer may be set too early (an alarm was stopped or touched), never too late. */
static void set_timer(sp_poller *p, int64_t at_ms) {
    if (p->timer_at_ms && p->timer_at_ms <= at_ms) return;
    p->timer_at_ms = at_ms;
    uv_update_time(p->timer.loop);
    uv_timer_start(&p->timer, on_timer, (uint64_t)SP_MAX(at_ms - p->now_ms, 0), 0);
}

static void schedule(sp_poller *p) {
    if (p->outer) return; /* looked at before each sleep */
    bool now = !sp_list_empty(&p->again) || (p->batch && sp_batch_waiting(p->batch));
    int64_t next = !now ? sp_wheel_next_ms(&p->wheel) : p->now_ms;
    if (next != INT64_MAX) set_timer(p, next);
}

void sp_poller_set_timeout(sp_poller *p, sp_timeout class, uint32_t ms) {
    p->timeouts_ms[class] = ms;
}

void sp_alarm_after(sp_poller *p, sp_alarm *a, uint32_t ms) {
    if (!p->event_count) p->now_ms = sp_clock_mono_ms();
    sp_wheel_start(&p->wheel, a, p->now_ms + ms);
    if (!p->event_count) schedule(p);
}

void sp_alarm_start(sp_poller *p, sp_alarm *a, sp_timeout class) {
    sp_alarm_after(p, a, p->timeouts_ms[class]);
}

void sp_alarm_start_or(sp_poller *p, sp_alarm *a, uint32_t ms, sp_timeout class) {
    sp_alarm_after(p, a, ms ? ms : p->timeouts_ms[class]);
}

/* --- descriptors --- */

/* Outside a turn nothing would end it. */
static bool batching(const sp_poller *p) {
    return p->batch && p->event_count;
}

static void set_place(sp_poller *p, int fd, sp_place at) {
    while ((size_t)fd >= p->places.n) sp_vec_push(&p->places, (sp_place){0});
    p->places.p[fd] = at;
}

bool sp_poller_add(sp_poller *p, sp_io *io, int fd, void (*on_event)(sp_io *)) {
    uint32_t number = ++p->last_number;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                            .data.u64 = (uint64_t)number << 32 | (uint32_t)fd};
    *io = (sp_io){.fd = fd, .on_event = on_event, .poller = p};
    sp_list_init(&io->again);
    set_place(p, fd, (sp_place){io, number});
    if (batching(p) && sp_batch_watch(p->batch, io, &e)) return true;
    if (epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &e) == 0) return true;
    p->places.p[fd].io = NULL;
    io->fd = -1;
    return false;
}

int sp_io_error(const sp_io *io) {
    int error = 0;
    socklen_t len = sizeof error;
    if (io->error || io->hup) getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error;
}

ssize_t sp_io_recv(sp_io *io, char *to, size_t size) {
    ssize_t n;
    do n = recv(io->fd, to, size, 0);
    while (n < 0 && errno == EINTR);
    /* A short read means the socket is empty, unless its last byte is in there. */
    if (n >= 0 && (size_t)n < size && !io->hup && !io->error) io->readable = false;
    if (n <= 0) io->readable = false;
    return n;
}

bool sp_io_send(sp_io *io, sp_str first, sp_str second, int flags) {
    return batching(io->poller) && sp_batch_send(io->poller->batch, io, first, second, flags);
}

void sp_io_push(sp_io *io) {
    if (io->sending) sp_batch_submit(io->poller->batch);
}

void sp_poller_on_unsent(sp_poller *p, void (*fn)(void *ctx, sp_io *io, sp_str rest, int error),
                         void *ctx) {
    p->on_unsent = fn;
    p->on_unsent_ctx = ctx;
}

void sp_io_move(sp_io *from, sp_io *to, void (*on_event)(sp_io *)) {
    sp_list_remove(&from->again);
    *to = *from;
    sp_list_init(&to->again);
    to->on_event = on_event;
    to->poller->places.p[to->fd].io = to;
    from->fd = -1;
}

static void submit(const sp_poller *p) {
    if (p->batch) sp_batch_submit(p->batch);
}

void sp_io_close(sp_io *io) {
    sp_poller *p = io->poller;
    if (!p || io->fd < 0) return;
    sp_list_remove(&io->again);
    if (!batching(p) || !sp_batch_close(p->batch, io)) {
        submit(p);
        close(io->fd); /* leaves the set as soon as nobody holds a copy */
    }
    p->places.p[io->fd].io = NULL;
    io->fd = -1;
}

/* Closing would not do: the socket may have been handed to another process. */
void sp_io_leave(sp_io *io) {
    sp_poller *p = io->poller;
    if (!p || io->fd < 0) return;
    sp_list_remove(&io->again);
    submit(p);
    p->places.p[io->fd].io = NULL;
    (void)epoll_ctl(p->epfd, EPOLL_CTL_DEL, io->fd, NULL);
    io->fd = -1;
}

void sp_io_again(sp_io *io) {
    sp_list_remove(&io->again);
    sp_list_append(&io->poller->again, &io->again);
    if (!io->poller->event_count) schedule(io->poller);
}

void sp_poller_bury(sp_poller *p, void *memory) {
    sp_vec_push(&p->graves, memory);
}

/* --- the turn --- */

static void deliver(const sp_poller *p, const struct epoll_event *e) {
    sp_place at = p->places.p[(uint32_t)e->data.u64];
    sp_io *io = at.io;
    if (!io || at.number != e->data.u64 >> 32) return; /* of a descriptor that was closed */
    if (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) io->readable = true;
    if (e->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) io->writable = !io->sending;
    if (e->events & (EPOLLRDHUP | EPOLLHUP)) io->hup = true;
    if (e->events & EPOLLERR) io->error = true;
    io->on_event(io);
}

static void run_again(sp_poller *p) {
    sp_list now;
    sp_list_init(&now);
    while (!sp_list_empty(&p->again)) {
        sp_list *l = p->again.next;
        sp_list_remove(l);
        sp_list_append(&now, l);
    }
    while (!sp_list_empty(&now)) {
        sp_io *io = SP_CONTAINER(now.next, sp_io, again);
        sp_list_remove(&io->again);
        io->on_event(io);
    }
}

static void end_turn(sp_poller *p) {
    p->event_count = 0;
    if (p->turn_end) p->turn_end(p->turn_end_ctx);
    sp_vec_each(&p->graves, g) free(*g);
    p->graves.n = 0;
    schedule(p);
}

/* True when the libuv loop, as a member of the set, has something to do. */
static bool take_events(sp_poller *p, int timeout_ms) {
    bool outside = false;
    int n = epoll_wait(p->epfd, p->events, SP_POLLER_BATCH, timeout_ms);
    p->now_ms = sp_clock_mono_ms();
    p->event_count = SP_MAX(n, 0);
    for (int i = 0; i < n; i++) {
        if (p->events[i].data.u64 == OUTSIDE)
            outside = true;
        else
            deliver(p, &p->events[i]);
    }
    return outside;
}

static bool turn(sp_poller *p, int timeout_ms) {
    bool outside = take_events(p, timeout_ms);
    p->event_count = 1;
    run_again(p);
    sp_wheel_run(&p->wheel, p->now_ms); /* before the end: what alarms put off is for this turn */
    if (p->batch) sp_batch_end_turn(p->batch);
    end_turn(p);
    return outside;
}

static void on_ready(uv_poll_t *h, int status, int events) {
    (void)status, (void)events;
    turn(h->data, 0);
}

static void on_timer(uv_timer_t *t) {
    sp_poller *p = t->data;
    p->timer_at_ms = 0;
    turn(p, 0);
}

bool sp_engine_choose(const char *name, sp_engine *ret, sp_err *err) {
    const char *why = NULL;
    bool any = strcmp(name, "auto") == 0;
    *ret = SP_ENGINE_EPOLL;
    if (strcmp(name, "epoll") == 0) return true;
    if (!any && strcmp(name, "io_uring") != 0)
        return sp_fail(err, SP_BAD_REQUEST, "--io-engine %s: auto, epoll or io_uring", name);
    sp_batch_free(sp_batch_new(NULL, &why));
    if (!why) *ret = SP_ENGINE_IO_URING;
    if (why && any) sp_info("epoll is used, io_uring cannot be had", SP_KV("why", why));
    return any || !why ||
           sp_fail(err, SP_CONFLICT,
                   "--io-engine io_uring: %s (Linux 5.18 is needed, and that "
                   "neither seccomp nor kernel.io_uring_disabled forbids it)",
                   why);
}

static void make_batch(sp_poller *p, sp_engine engine) {
    const char *why = NULL;
    if (engine == SP_ENGINE_IO_URING) p->batch = sp_batch_new(p, &why);
    if (why) sp_warn("a loop sends without io_uring", SP_KV("why", why));
}

sp_poller *sp_poller_new(uv_loop_t *loop, sp_engine engine) {
    sp_poller *p = sp_zalloc(1, sizeof *p);
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    sp_assert(p->epfd >= 0);
    p->now_ms = sp_clock_mono_ms();
    sp_list_init(&p->again);
    sp_wheel_init(&p->wheel, p->now_ms);
    sp_assert(uv_poll_init(loop, &p->poll, p->epfd) == 0);
    sp_assert(uv_timer_init(loop, &p->timer) == 0);
    p->poll.data = p->timer.data = p;
    p->handles = 2;
    uv_poll_start(&p->poll, UV_READABLE, on_ready);
    make_batch(p, engine);
    return p;
}

static void on_handle_closed(uv_handle_t *h) {
    sp_poller *p = h->data;
    if (--p->handles || p->outer) return;
    close(p->epfd);
    free(p);
}

sp_poller *sp_poller_free(sp_poller *p) {
    if (!p) return NULL;
    sp_vec_each(&p->graves, g) free(*g);
    sp_vec_free(&p->graves);
    p->batch = sp_batch_free(p->batch);
    sp_vec_free(&p->places);
    p->freed = true;
    uv_poll_stop(&p->poll);
    uv_close((uv_handle_t *)&p->poll, on_handle_closed);
    uv_close((uv_handle_t *)&p->timer, on_handle_closed);
    return NULL;
}

/* --- the set outside, libuv inside --- */

/* 0: libuv has something to do now; -1: nothing until somebody wakes it. */
static int outside_ms(uv_loop_t *loop) {
    int ms = uv_backend_timeout(loop);
    if (ms <= 0) return ms;
    uv_update_time(loop);
    return uv_backend_timeout(loop);
}

static int sleep_ms(sp_poller *p, uv_loop_t *loop) {
    if (!sp_list_empty(&p->again) || (p->batch && sp_batch_waiting(p->batch))) return 0;
    int64_t next = sp_wheel_next_ms(&p->wheel);
    int outside = outside_ms(loop);
    if (next == INT64_MAX) return outside;
    int64_t ours = SP_MIN(SP_MAX(next - sp_clock_mono_ms(), 0), INT32_MAX);
    return outside < 0 ? (int)ours : SP_MIN(outside, (int)ours);
}

void sp_poller_run(sp_poller *p) {
    uv_loop_t *loop = p->timer.loop;
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = OUTSIDE};
    p->outer = true;
    uv_poll_stop(&p->poll);
    uv_timer_stop(&p->timer);
    sp_assert(epoll_ctl(p->epfd, EPOLL_CTL_ADD, uv_backend_fd(loop), &e) == 0);
    (void)uv_run(loop, UV_RUN_NOWAIT); /* puts new handles into its set */
    while (!p->freed) {
        bool outside = turn(p, sleep_ms(p, loop));
        if (outside || outside_ms(loop) == 0) (void)uv_run(loop, UV_RUN_NOWAIT);
    }
    p->outer = false;
    if (!p->handles) {
        close(p->epfd);
        free(p);
    }
    (void)uv_run(loop, UV_RUN_DEFAULT);
}
