/* Each connected socket has one multishot receive under way, which takes a buffer from a ring that
 * all share only when bytes have come: an idle connection holds none. What arrived is handed out
 * within the event; what its owner did not take then is copied aside (spilled), and no more is
 * received until it is gone. That is the back-pressure, and no buffer is held across turns.
 *
 * Small messages are sent from a slot, as a request that begins with the next turn's only system
 * call, or a little earlier where the turn takes long; the socket counts as blocked until it has
 * ended. Everything else is sent at once, by the usual calls.
 *
 * The sockets are blocking ones: with O_NONBLOCK a request would fail with EAGAIN instead of
 * waiting. A flow of full buffers is better off with large reads or splice: it is given over to
 * the epoll set (convert), which hangs in the ring as one descriptor, as listening sockets do.
 *
 * Requests hold a reference to their socket: whoever closes cancels what is under way, in the same
 * submission, or the peer would wait for its FIN. */
#include "gateway/ring.h"

#include "base/clock.h"
#include "gateway/poller_internal.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SQES = 256,
    CQES = 1024,
    TURN_TIMES = 12,
    CATCH_UP_TIMES = 512,
    BUFS = 256, /* at most; a power of two */
    BUF_BYTES = 4096,
    FIRST_BUFS = 64,
    GROUP = 0,
    SLOTS = 256, /* as many as a name can tell */
    SLOT_BYTES = 2048,
    ADDRS = 64,
    SUBMIT_AT = 16, /* sends that wait */
    SUBMIT_US = 15, /* or as long as one has waited */
    LATER_MS = 100,
    TIDY_MS = 10000,
    BULK_BUFS = 8 /* full ones in a row */
};

typedef enum request { NOTHING, RECV, CONNECT, OUT, WATCH, SET, SEND } request;

typedef struct named {
    int fd;
    uint32_t number;
} named;

struct sp_ring {
    sp_poller *poller;
    struct io_uring uring;
    struct io_uring_buf_ring *bufs;
    char *memory; /* BUFS * BUF_BYTES; the kernel has the first buf_count */
    char *slots;  /* SLOTS * SLOT_BYTES */
    unsigned buf_count, wanted_bufs;
    bool set_armed, set_ready;
    struct sockaddr_storage addrs[ADDRS]; /* of connects that were not submitted yet */
    unsigned addr_count;
    SP_VEC(named) later; /* to be watched, if they are still there when it rings */
    sp_alarm look;
    sp_alarm tidy; /* runs when pages may have come to be resident */
    bool untidy;
    uint32_t sending[SLOTS]; /* bytes */
    uint8_t free_slots[SLOTS];
    unsigned free_count;
    unsigned queued;   /* sends that wait to be submitted */
    int64_t queued_us; /* since when the first of them does */
};

/* --- names: number, what, slot, descriptor --- */

enum { WHAT_SHIFT = 28, SLOT_SHIFT = 20 };

static uint64_t name_of(const sp_io *io, request what) {
    uint64_t number = io->poller->places.p[io->fd].number;
    return number << 32 | (uint64_t)what << WHAT_SHIFT | (uint32_t)io->fd;
}

static sp_io *io_at(const sp_poller *p, int fd, uint32_t number) {
    return p->places.p[fd].number == number ? p->places.p[fd].io : NULL;
}

/* --- requests --- */

void sp_ring_submit(sp_ring *r) {
    (void)io_uring_submit(&r->uring);
    r->addr_count = r->queued = 0;
}

static struct io_uring_sqe *next(sp_ring *r, uint64_t name) {
    struct io_uring_sqe *s = io_uring_get_sqe(&r->uring);
    while (!s) {
        sp_ring_submit(r);
        s = io_uring_get_sqe(&r->uring);
    }
    io_uring_sqe_set_data64(s, name);
    return s;
}

/* A completion only if it went wrong, and that is of no interest either. */
static void in_silence(struct io_uring_sqe *s) {
    s->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static void cancel(sp_ring *r, const sp_io *io, request what) {
    struct io_uring_sqe *s = next(r, NOTHING);
    io_uring_prep_cancel64(s, name_of(io, what), 0);
    in_silence(s);
}

static void poll_for(sp_ring *r, sp_io *io, request what, unsigned mask) {
    io_uring_prep_poll_add(next(r, name_of(io, what)), io->fd, mask);
}

/* --- buffers --- */

static char *buf_at(const sp_ring *r, unsigned id) {
    return r->memory + (size_t)id * BUF_BYTES;
}

static void give_buf(sp_ring *r, unsigned id) {
    io_uring_buf_ring_add(r->bufs, buf_at(r, id), BUF_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFS), 0);
    io_uring_buf_ring_advance(r->bufs, 1);
}

/* The kernel goes round, so all that it has come to be resident: it gets more only when a turn
 * needed more. */
static void grow(sp_ring *r) {
    while (r->buf_count < r->wanted_bufs) give_buf(r, r->buf_count++);
}

static void drop_arrived(sp_ring *r, sp_io *io) {
    if (io->arrived_n) give_buf(r, io->buf);
    io->arrived_n = 0;
    free(io->spilled);
    io->spilled = NULL;
}

/* --- memory --- */

static void soil(sp_ring *r) {
    if (!r->untidy) sp_alarm_after(r->poller, &r->tidy, TIDY_MS);
    r->untidy = true;
}

/* The kernel fills buffers only while it is asked, so those that no completion names are empty. */
static void on_tidy(sp_alarm *a) {
    sp_ring *r = SP_CONTAINER(a, sp_ring, tidy);
    bool empty = !io_uring_cq_ready(&r->uring) && !io_uring_cq_has_overflow(&r->uring);
    r->untidy = false;
    if (!empty || r->free_count < SLOTS) {
        soil(r);
        return;
    }
    (void)madvise(r->memory, (size_t)BUFS * BUF_BYTES, MADV_DONTNEED);
    (void)madvise(r->slots, (size_t)SLOTS * SLOT_BYTES, MADV_DONTNEED);
}

/* --- receiving --- */

static bool has_more(const sp_io *io) {
    return io->arrived_n || io->spilled || io->ended || io->failure || io->starved;
}

static void arm(sp_ring *r, sp_io *io) {
    if (io->receiving || io->connecting || io->ended || io->failure) return;
    struct io_uring_sqe *s = next(r, name_of(io, RECV));
    io_uring_prep_recv_multishot(s, io->fd, NULL, 0, 0);
    s->ioprio |= IORING_RECVSEND_POLL_FIRST;
    s->flags |= IOSQE_BUFFER_SELECT;
    s->buf_group = GROUP;
    io->receiving = true;
}

struct sp_spilled {
    uint32_t at, n, cap;
    char bytes[];
};

/* Behind what was spilled before. */
static void spill(sp_ring *r, sp_io *io) {
    struct sp_spilled *s = io->spilled;
    uint32_t n = s ? s->n : 0, wanted = n + io->arrived_n, cap = s ? s->cap : 0;
    if (wanted > cap) {
        cap = SP_MAX(wanted, 2 * cap);
        s = sp_realloc(s, sizeof *s + cap);
        if (!io->spilled) s->at = 0;
        s->cap = cap;
    }
    memcpy(s->bytes + n, buf_at(r, io->buf) + io->arrived_at, io->arrived_n);
    s->n = wanted;
    io->spilled = s;
    give_buf(r, io->buf);
    io->arrived_n = 0;
    if (io->receiving && !io->halting) cancel(r, io, RECV);
    io->halting = io->receiving;
}

static size_t take_spilled(sp_io *io, char *to, size_t size) {
    struct sp_spilled *s = io->spilled;
    size_t n = SP_MIN(size, (size_t)(s->n - s->at));
    memcpy(to, s->bytes + s->at, n);
    s->at += (uint32_t)n;
    if (s->at == s->n) {
        free(s);
        io->spilled = NULL;
    }
    return n;
}

static size_t take_arrived(sp_ring *r, sp_io *io, char *to, size_t size) {
    size_t n = SP_MIN(size, (size_t)io->arrived_n);
    memcpy(to, buf_at(r, io->buf) + io->arrived_at, n);
    io->arrived_at = (uint16_t)(io->arrived_at + n);
    io->arrived_n = (uint16_t)(io->arrived_n - n);
    if (!io->arrived_n) give_buf(r, io->buf);
    return n;
}

/* There were no buffers. */
static ssize_t recv_now(sp_io *io, char *to, size_t size) {
    ssize_t n;
    do n = recv(io->fd, to, size, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 || (size_t)n < size) io->starved = false;
    if (n == 0) io->ended = true;
    if (n < 0 && errno != EAGAIN) io->failure = (int16_t)errno;
    return n;
}

/* Nothing more is here. */
static void receive_on(sp_ring *r, sp_io *io) {
    if (io->leaving)
        (void)sp_io_leave_ring(io);
    else
        arm(r, io);
}

ssize_t sp_ring_recv(sp_ring *r, sp_io *io, char *to, size_t size) {
    ssize_t n;
    if (io->spilled) {
        n = (ssize_t)take_spilled(io, to, size);
    } else if (io->arrived_n) {
        n = (ssize_t)take_arrived(r, io, to, size);
    } else if (io->failure || io->ended) {
        io->readable = false;
        errno = io->failure;
        return io->failure ? -1 : 0;
    } else if (io->starved) {
        n = recv_now(io, to, size);
    } else {
        n = -1;
        errno = EAGAIN;
    }
    int error = errno;
    io->readable = n > 0 && has_more(io);
    if (!has_more(io)) receive_on(r, io);
    errno = error;
    return n;
}

/* --- sending --- */

/* Small answers go out together. Where each costs a while (TLS, HTTP/2), those who get the first
 * are at work on it while this turn goes on. */
static void submit_early(sp_ring *r) {
    int64_t now = sp_clock_mono_us();
    if (!r->queued++) r->queued_us = now;
    if (r->queued >= SUBMIT_AT || now - r->queued_us >= SUBMIT_US) sp_ring_submit(r);
}

bool sp_ring_send(sp_ring *r, sp_io *io, sp_str first, sp_str second, int flags) {
    if (first.n + second.n > SLOT_BYTES || !r->free_count || io->sending) return false;
    unsigned slot = r->free_slots[--r->free_count];
    soil(r);
    char *at = r->slots + (size_t)slot * SLOT_BYTES;
    if (first.n) memcpy(at, first.p, first.n);
    if (second.n) memcpy(at + first.n, second.p, second.n);
    io->slot = (uint8_t)slot;
    io->sending = true;
    io->writable = false;
    r->sending[slot] = (uint32_t)(first.n + second.n);
    io_uring_prep_send(next(r, name_of(io, SEND) | slot << SLOT_SHIFT), io->fd, at,
                       first.n + second.n, (flags & ~MSG_DONTWAIT) | MSG_WAITALL);
    submit_early(r);
    return true;
}

void sp_ring_await_writable(sp_ring *r, sp_io *io) {
    io->writable = false;
    if (io->awaits_room || io->sending) return;
    io->awaits_room = true;
    poll_for(r, io, OUT, POLLOUT);
}

/* --- life --- */

void sp_ring_add(sp_ring *r, sp_io *io) {
    io->completes = true;
    io->writable = true;
    arm(r, io);
}

void sp_ring_connect(sp_ring *r, sp_io *io, const struct sockaddr *to, socklen_t len) {
    if (r->addr_count == ADDRS) sp_ring_submit(r);
    struct sockaddr *at = (struct sockaddr *)&r->addrs[r->addr_count++];
    memcpy(at, to, len);
    io->completes = io->connecting = true;
    io_uring_prep_connect(next(r, name_of(io, CONNECT)), io->fd, at, len);
}

static void cancel_all(sp_ring *r, sp_io *io) {
    if (io->receiving && !io->halting) cancel(r, io, RECV);
    if (io->connecting) cancel(r, io, CONNECT);
    if (io->awaits_room) cancel(r, io, OUT);
    if (io->watched) cancel(r, io, WATCH);
    if (!io->sending) return;
    struct io_uring_sqe *s = next(r, NOTHING); /* what fits has gone by now */
    io_uring_prep_cancel64(s, name_of(io, SEND) | (unsigned)io->slot << SLOT_SHIFT, 0);
    in_silence(s);
}

void sp_ring_close(sp_ring *r, sp_io *io) {
    drop_arrived(r, io);
    cancel_all(r, io);
    struct io_uring_sqe *s = next(r, NOTHING);
    io_uring_prep_close(s, io->fd);
    in_silence(s);
}

bool sp_ring_let_go(sp_ring *r, sp_io *io) {
    if (io->receiving && !io->halting) {
        cancel(r, io, RECV);
        io->halting = true;
    }
    bool busy = io->receiving || io->sending || io->awaits_room || io->connecting;
    io->leaving = busy || io->arrived_n || io->spilled || io->failure;
    if (io->leaving) return false;
    if (io->watched) cancel(r, io, WATCH);
    return true;
}

void sp_ring_stay(sp_ring *r, sp_io *io) {
    io->leaving = false;
    io->full_bufs = 0;
    if (!has_more(io)) arm(r, io);
}

/* --- what nobody waits for with a receive: that the other side is gone --- */

static bool unwatched(const sp_io *io) {
    return io->completes && !io->receiving && !io->connecting && !io->watched && !io->was_watched &&
           !io->failure;
}

static void watch(sp_ring *r, sp_io *io) {
    io->watched = true;
    poll_for(r, io, WATCH, io->ended ? 0 : POLLRDHUP);
}

/* Most are closed by then. */
static void watch_later(sp_ring *r, sp_io *io) {
    if (!r->later.n) sp_alarm_after(r->poller, &r->look, LATER_MS);
    sp_vec_push(&r->later, ((named){io->fd, io->poller->places.p[io->fd].number}));
}

static void on_look(sp_alarm *a) {
    sp_ring *r = SP_CONTAINER(a, sp_ring, look);
    sp_vec_each(&r->later, l) {
        sp_io *io = io_at(r->poller, l->fd, l->number);
        if (io && unwatched(io)) watch(r, io);
    }
    r->later.n = 0;
}

/* --- completions --- */

static void fail(sp_io *io, int error) {
    io->failure = (int16_t)error;
    io->error = io->hup = io->readable = io->writable = true;
}

/* Of a buffer that nobody took yet, the next one comes behind it. */
static void arrive(sp_ring *r, sp_io *io, unsigned id, unsigned n) {
    if (io->arrived_n) spill(r, io);
    soil(r);
    io->buf = (uint16_t)id;
    io->arrived_at = 0;
    io->arrived_n = (uint16_t)n;
    if (io->spilled) spill(r, io);
    io->readable = true;
    io->full_bufs = (uint8_t)(n < BUF_BYTES ? 0 : SP_MIN(io->full_bufs + 1, BULK_BUFS));
}

/* True when its owner wants to know. */
static bool on_recv(sp_ring *r, sp_io *io, const struct io_uring_cqe *c) {
    if (!(c->flags & IORING_CQE_F_MORE)) io->receiving = io->halting = io->was_watched = false;
    if (c->res > 0) {
        arrive(r, io, c->flags >> IORING_CQE_BUFFER_SHIFT, (unsigned)c->res);
    } else if (c->res == 0) {
        io->ended = io->readable = io->hup = true;
    } else if (c->res == -ENOBUFS) {
        io->starved = io->readable = true;
        /* One flow alone would take any number. */
        if (io->full_bufs < BULK_BUFS) r->wanted_bufs = SP_MIN(r->wanted_bufs * 2, (unsigned)BUFS);
    } else if (c->res != -ECANCELED) {
        fail(io, -c->res);
    } else {
        if (!io->leaving && !has_more(io)) arm(r, io);
        return false;
    }
    return true;
}

static void on_connect(sp_ring *r, sp_io *io, int result) {
    io->connecting = false;
    io->writable = true;
    if (result < 0)
        fail(io, -result);
    else
        arm(r, io);
}

static void on_watch(sp_io *io, int result) {
    int error = 0;
    socklen_t len = sizeof error;
    io->watched = false;
    io->was_watched = io->hup = io->readable = true;
    if (result < 0 || !(result & POLLERR)) return;
    getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    fail(io, error ? error : ECONNRESET);
}

static void on_sent(sp_ring *r, sp_io *io, unsigned slot, int result) {
    io->sending = false;
    io->writable = true;
    if (result != (int)r->sending[slot]) r->poller->on_send_failed(io);
}

/* Of an empty queue liburing asks the kernel for more; but what was asked for meanwhile (that it
 * receives no more) must come before that. */
static bool peek(sp_ring *r, struct io_uring_cqe **ret) {
    return io_uring_cq_ready(&r->uring) && io_uring_peek_cqe(&r->uring, ret) == 0;
}

/* Its end is behind these bytes already: then the FIN may travel with them. */
static void look_ahead(sp_ring *r, sp_io *io, uint64_t name) {
    struct io_uring_cqe *c;
    if (!peek(r, &c) || c->user_data != name || c->res != 0) return;
    on_recv(r, io, c);
    io_uring_cqe_seen(&r->uring, c);
}

static bool apply(sp_ring *r, sp_io *io, request what, unsigned slot,
                  const struct io_uring_cqe *c) {
    switch (what) {
    case RECV:
        if (!on_recv(r, io, c)) return false;
        if (c->res > 0 && io->receiving) look_ahead(r, io, c->user_data);
        return true;
    case CONNECT: on_connect(r, io, c->res); return true;
    case OUT: io->awaits_room = false, io->writable = true; return true;
    case WATCH: on_watch(io, c->res); return true;
    case SEND: on_sent(r, io, slot, c->res); return true;
    case NOTHING:
    case SET: break;
    }
    return false;
}

static void complete(sp_ring *r, const struct io_uring_cqe *c) {
    request what = (request)(c->user_data >> WHAT_SHIFT & 0xf);
    unsigned slot = c->user_data >> SLOT_SHIFT & 0xff;
    named at = {(int)(c->user_data & SP_RING_MAX_FD), (uint32_t)(c->user_data >> 32)};
    if (what == NOTHING) return;
    if (what == SET) {
        r->set_armed = false;
        r->set_ready = true;
        return;
    }
    if (what == SEND) r->free_slots[r->free_count++] = (uint8_t)slot;
    sp_io *io = io_at(r->poller, at.fd, at.number);
    if (!io && c->flags & IORING_CQE_F_BUFFER) give_buf(r, c->flags >> IORING_CQE_BUFFER_SHIFT);
    if (!io) return;
    if (apply(r, io, what, slot, c)) io->on_event(io);
    io = io_at(r->poller, at.fd, at.number); /* it may be closed, or have moved */
    if (!io) return;
    if (io->arrived_n) spill(r, io);
    if (io->leaving || io->full_bufs == BULK_BUFS) (void)sp_io_leave_ring(io);
    if (unwatched(io)) watch_later(r, io);
}

/* --- the turn --- */

static void enter(sp_ring *r, int timeout_ms) {
    struct __kernel_timespec t = {timeout_ms / 1000, (long long)(timeout_ms % 1000) * 1000000};
    struct io_uring_cqe *c;
    if (!timeout_ms)
        (void)io_uring_submit_and_get_events(&r->uring);
    else if (timeout_ms < 0)
        (void)io_uring_submit_and_wait(&r->uring, 1);
    else
        (void)io_uring_submit_and_wait_timeout(&r->uring, &c, 1, &t, NULL);
    r->addr_count = r->queued = 0;
}

static void take_completions(sp_ring *r) {
    struct io_uring_cqe *c;
    while (peek(r, &c)) {
        struct io_uring_cqe copy = {c->user_data, c->res, c->flags};
        io_uring_cqe_seen(&r->uring, c);
        complete(r, &copy);
    }
}

/* The kernel works for some 20 sockets at a time and says that there is more. What is written at
 * the end of a turn (frames of HTTP/2) is the better the more the turn has seen. */
static void take_more(sp_ring *r, int times) {
    while (times-- > 0 && IO_URING_READ_ONCE(*r->uring.sq.kflags) & IORING_SQ_TASKRUN) {
        enter(r, 0);
        take_completions(r);
    }
}

bool sp_ring_turn(sp_ring *r, int timeout_ms) {
    if (!r->set_armed)
        io_uring_prep_poll_add(next(r, (uint64_t)SET << WHAT_SHIFT), r->poller->epfd, POLLIN);
    r->set_armed = true;
    r->set_ready = false;
    grow(r);
    enter(r, timeout_ms);
    r->poller->now_ms = sp_clock_mono_ms();
    r->poller->event_count = 1;
    take_completions(r);
    take_more(r, TURN_TIMES);
    return r->set_ready;
}

void sp_ring_catch_up(sp_ring *r) {
    enter(r, 0);
    take_completions(r);
    take_more(r, CATCH_UP_TIMES);
}

/* --- life --- */

static void *pages(size_t n) {
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    sp_assert(p != MAP_FAILED);
    return p;
}

static void free_memory(sp_ring *r) {
    munmap(r->bufs, BUFS * sizeof(struct io_uring_buf));
    munmap(r->memory, (size_t)BUFS * BUF_BYTES);
    munmap(r->slots, (size_t)SLOTS * SLOT_BYTES);
    sp_vec_free(&r->later);
    free(r);
}

static int set_up(sp_ring *r) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
                                     .cq_entries = CQES};
    struct io_uring_buf_reg bufs = {
        .ring_addr = (uint64_t)(uintptr_t)r->bufs, .ring_entries = BUFS, .bgid = GROUP};
    int error = io_uring_queue_init_params(SQES, &r->uring, &params);
    if (error) return error;
    error = io_uring_register_buf_ring(&r->uring, &bufs, 0);
    if (error)
        io_uring_queue_exit(&r->uring);
    else
        (void)io_uring_register_ring_fd(&r->uring); /* spares each call to look it up */
    return error;
}

sp_ring *sp_ring_new(sp_poller *p, const char **ret_why) {
    sp_ring *r = sp_zalloc(1, sizeof *r);
    r->poller = p;
    r->bufs = pages(BUFS * sizeof(struct io_uring_buf));
    r->memory = pages((size_t)BUFS * BUF_BYTES);
    r->slots = pages((size_t)SLOTS * SLOT_BYTES);
    r->wanted_bufs = FIRST_BUFS;
    for (unsigned i = SLOTS; i-- > 0;) r->free_slots[r->free_count++] = (uint8_t)i;
    sp_alarm_init(&r->look, on_look);
    sp_alarm_init(&r->tidy, on_tidy);
    int error = set_up(r);
    if (!error) return r;
    *ret_why = strerror(-error);
    free_memory(r);
    return NULL;
}

sp_ring *sp_ring_free(sp_ring *r) {
    if (!r) return NULL;
    sp_ring_submit(r);
    (void)io_uring_get_events(&r->uring);
    sp_alarm_stop(&r->look);
    sp_alarm_stop(&r->tidy);
    io_uring_queue_exit(&r->uring);
    free_memory(r);
    return NULL;
}
