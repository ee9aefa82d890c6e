/* See poller.h. Closing inside a callback is safe in two ways: the closed io's other events of the
 * batch are blanked, and memory is buried, not freed. */
#include "gateway/poller.h"
#include "base/clock.h"
#include "base/vec.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 256, TIMER_GRAIN_MS = 10 };

typedef struct timeout_class {
    uint32_t ms;
    sp_list queue; /* sp_alarm.link, earliest first */
} timeout_class;

struct sp_poller {
    int epfd;
    uv_poll_t poll;
    uv_timer_t timer;
    int handles; /* of libuv, not yet closed */
    int64_t now_ms;
    int64_t timer_at_ms; /* when the timer fires; 0 = it is not running */
    timeout_class classes[SP_TIMEOUT_CLASSES];
    sp_list again;
    struct epoll_event events[BATCH];
    int event_count; /* 0 outside a batch */
    SP_VEC(void *) graves;
    void (*turn_end)(void *ctx);
    void *turn_end_ctx;
};

int64_t sp_poller_now_ms(const sp_poller *p) {
    return p->now_ms;
}

void sp_poller_on_turn_end(sp_poller *p, void (*fn)(void *ctx), void *ctx) {
    p->turn_end = fn;
    p->turn_end_ctx = ctx;
}

/* --- timers --- */

static void on_timer(uv_timer_t *t);

static void schedule(sp_poller *p) {
    int64_t next = 0;
    for (size_t i = 0; i < SP_TIMEOUT_CLASSES; i++) {
        sp_list *q = &p->classes[i].queue;
        if (sp_list_empty(q)) continue;
        int64_t at = SP_CONTAINER(q->next, sp_alarm, link)->deadline_ms;
        if (!next || at < next) next = at;
    }
    if (!sp_list_empty(&p->again)) next = p->now_ms;
    if (!next || (p->timer_at_ms && p->timer_at_ms <= next)) return;
    int64_t wait = next > p->now_ms ? SP_MAX(next - p->now_ms, TIMER_GRAIN_MS) : 0;
    p->timer_at_ms = next;
    uv_update_time(p->timer.loop);
    uv_timer_start(&p->timer, on_timer, (uint64_t)wait, 0);
}

void sp_poller_set_timeout(sp_poller *p, sp_timeout class, uint32_t ms) {
    p->classes[class].ms = ms;
}

void sp_alarm_start(sp_poller *p, sp_alarm *a, sp_timeout class) {
    timeout_class *c = &p->classes[class];
    sp_list_remove(&a->link);
    if (!p->event_count) p->now_ms = sp_clock_mono_ms();
    a->deadline_ms = p->now_ms + c->ms;
    sp_list_append(&c->queue, &a->link);
    if (c->queue.next == &a->link && !p->event_count) schedule(p);
}

static void run_alarms(sp_poller *p) {
    for (size_t i = 0; i < SP_TIMEOUT_CLASSES; i++) {
        sp_list *q = &p->classes[i].queue;
        while (!sp_list_empty(q)) {
            sp_alarm *a = SP_CONTAINER(q->next, sp_alarm, link);
            if (a->deadline_ms > p->now_ms) break;
            sp_list_remove(&a->link);
            a->fn(a);
        }
    }
}

/* --- descriptors --- */

bool sp_poller_add(sp_poller *p, sp_io *io, int fd, void (*on_event)(sp_io *)) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = io};
    *io = (sp_io){.fd = fd, .on_event = on_event, .poller = p};
    sp_list_init(&io->again);
    if (epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &e) == 0) return true;
    io->fd = -1;
    return false;
}

/* Events of this batch that name the descriptor's old place must not be delivered there. */
static void forget(sp_io *io, sp_io *heir) {
    sp_poller *p = io->poller;
    for (int i = 0; i < p->event_count; i++)
        if (p->events[i].data.ptr == io) p->events[i].data.ptr = heir;
    sp_list_remove(&io->again);
}

void sp_io_move(sp_io *from, sp_io *to, void (*on_event)(sp_io *)) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = to};
    forget(from, to);
    *to = *from;
    sp_list_init(&to->again);
    to->on_event = on_event;
    from->fd = -1;
    sp_assert(epoll_ctl(to->poller->epfd, EPOLL_CTL_MOD, to->fd, &e) == 0);
}

void sp_io_close(sp_io *io) {
    if (!io->poller || io->fd < 0) return;
    forget(io, NULL);
    close(io->fd); /* leaves the set by itself: nobody else holds a copy */
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

static void deliver(struct epoll_event *e) {
    sp_io *io = e->data.ptr;
    if (!io) return; /* closed by an earlier event of this batch */
    if (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) io->readable = true;
    if (e->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) io->writable = true;
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

void sp_poller_turn(sp_poller *p) {
    int n = epoll_wait(p->epfd, p->events, BATCH, 0);
    p->now_ms = sp_clock_mono_ms();
    p->event_count = SP_MAX(n, 0);
    for (int i = 0; i < n; i++) deliver(&p->events[i]);
    run_again(p);
    end_turn(p);
}

static void on_ready(uv_poll_t *h, int status, int events) {
    (void)status, (void)events;
    sp_poller_turn(h->data);
}

static void on_timer(uv_timer_t *t) {
    sp_poller *p = t->data;
    p->timer_at_ms = 0;
    p->now_ms = sp_clock_mono_ms();
    run_alarms(p);
    sp_poller_turn(p);
}

sp_poller *sp_poller_new(uv_loop_t *loop) {
    sp_poller *p = sp_zalloc(1, sizeof *p);
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    sp_assert(p->epfd >= 0);
    p->now_ms = sp_clock_mono_ms();
    sp_list_init(&p->again);
    for (size_t i = 0; i < SP_TIMEOUT_CLASSES; i++) sp_list_init(&p->classes[i].queue);
    sp_assert(uv_poll_init(loop, &p->poll, p->epfd) == 0);
    sp_assert(uv_timer_init(loop, &p->timer) == 0);
    p->poll.data = p->timer.data = p;
    p->handles = 2;
    uv_poll_start(&p->poll, UV_READABLE, on_ready);
    return p;
}

static void on_handle_closed(uv_handle_t *h) {
    sp_poller *p = h->data;
    if (--p->handles) return;
    close(p->epfd);
    free(p);
}

sp_poller *sp_poller_free(sp_poller *p) {
    if (!p) return NULL;
    sp_vec_each(&p->graves, g) free(*g);
    sp_vec_free(&p->graves);
    uv_poll_stop(&p->poll);
    uv_close((uv_handle_t *)&p->poll, on_handle_closed);
    uv_close((uv_handle_t *)&p->timer, on_handle_closed);
    return NULL;
}
