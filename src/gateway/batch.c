/* What is asked for goes into slots, in the order in which it came; a slot is a request of the
 * ring. The kernel posts a completion only for what it did not do in full, and all of them are
 * there when the submitting call returns. At the end of the turn each socket that sent gets its
 * event, and what the kernel did not take goes back to its owner before that.
 *
 * A turn that takes long (handshakes) submits meanwhile, so that those who get the first answers
 * are at work while it goes on. */
#include "gateway/batch.h"

#include "base/clock.h"
#include "gateway/poller_internal.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SLOTS = 128, /* a power of two */
    SLOT_BYTES = 2048,
    SUBMIT_AT = 64,  /* slots that wait */
    SUBMIT_US = 200, /* or as long as one has waited */
    /* IORING_FEAT_RECVSEND_BUNDLE, of Linux 6.10: surely a kernel that does not call epoll_ctl by
     * io_uring deprecated in its log, as those from 5.18 to 6.4 do. */
    FEATURE_6_10 = 1 << 14
};

typedef enum request { SEND, WATCH, CLOSE } request;

typedef struct slot {
    request what;
    int fd;
    uint32_t number; /* the place's */
    int flags;
    int result;
    uint32_t n;
    union {
        struct epoll_event event;
        char bytes[SLOT_BYTES];
    };
} slot;

struct sp_batch {
    sp_poller *poller;
    struct io_uring uring;
    bool unusable; /* the kernel refused to go on: everything by itself */
    bool watches;
    slot *slots;
    /* Ever filled, submitted, and told of: told <= submitted <= filled <= told + SLOTS. */
    uint32_t filled, submitted, told;
    int64_t since_us; /* of the first that was not submitted yet */
};

static slot *at(const sp_batch *b, uint32_t i) {
    return &b->slots[i % SLOTS];
}

static sp_io *owner(const sp_batch *b, const slot *s) {
    sp_place place = b->poller->places.p[s->fd];
    return place.number == s->number ? place.io : NULL;
}

/* --- the kernel's side --- */

static void prepare(const sp_batch *b, struct io_uring_sqe *e, slot *s) {
    switch (s->what) {
    case SEND: /* MSG_WAITALL: less than all counts as failed, so that there is a completion. */
        io_uring_prep_send(e, s->fd, s->bytes, s->n, s->flags | MSG_DONTWAIT | MSG_WAITALL);
        break;
    case WATCH: io_uring_prep_epoll_ctl(e, b->poller->epfd, s->fd, EPOLL_CTL_ADD, &s->event); break;
    case CLOSE: io_uring_prep_close(e, s->fd); break;
    }
}

static void do_alone(const sp_batch *b, slot *s) {
    ssize_t n = 0;
    switch (s->what) {
    case SEND:
        do n = send(s->fd, s->bytes, s->n, s->flags | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        break;
    case WATCH: n = epoll_ctl(b->poller->epfd, EPOLL_CTL_ADD, s->fd, &s->event); break;
    case CLOSE: close(s->fd); break;
    }
    s->result = n < 0 ? -errno : (int)n;
}

static void take_completions(sp_batch *b) {
    struct io_uring_cqe *c;
    while (io_uring_cq_ready(&b->uring) && io_uring_peek_cqe(&b->uring, &c) == 0) {
        b->slots[c->user_data].result = c->res;
        io_uring_cqe_seen(&b->uring, c);
    }
}

void sp_batch_submit(sp_batch *b) {
    int n = 1;
    while (b->submitted != b->filled && n > 0) {
        n = io_uring_submit(&b->uring);
        b->submitted += (uint32_t)SP_MAX(n, 0);
    }
    take_completions(b);
    b->unusable |= n <= 0;
    for (; b->submitted != b->filled; b->submitted++) do_alone(b, at(b, b->submitted));
}

/* --- asking --- */

static slot *take_slot(sp_batch *b, const sp_io *io, request what) {
    if (b->unusable || b->filled - b->told == SLOTS) return NULL;
    slot *s = at(b, b->filled);
    s->what = what;
    s->fd = io->fd;
    s->number = b->poller->places.p[io->fd].number;
    s->result = 0;
    s->n = 0;
    return s;
}

static void fill(sp_batch *b, slot *s) {
    struct io_uring_sqe *e = io_uring_get_sqe(&b->uring);
    prepare(b, e, s);
    io_uring_sqe_set_data64(e, b->filled++ % SLOTS);
    e->flags |= IOSQE_CQE_SKIP_SUCCESS;
    int64_t now = sp_clock_mono_us();
    uint32_t waiting = b->filled - b->submitted;
    if (waiting == 1) b->since_us = now;
    if (waiting >= SUBMIT_AT || now - b->since_us >= SUBMIT_US) sp_batch_submit(b);
}

bool sp_batch_send(sp_batch *b, sp_io *io, sp_str first, sp_str second, int flags) {
    size_t n = first.n + second.n;
    slot *s = n > SLOT_BYTES || io->sending ? NULL : take_slot(b, io, SEND);
    if (!s) return false;
    s->flags = flags;
    s->n = (uint32_t)n;
    s->result = (int)n;
    if (first.n) memcpy(s->bytes, first.p, first.n);
    if (second.n) memcpy(s->bytes + first.n, second.p, second.n);
    io->sending = true;
    io->writable = false;
    fill(b, s);
    return true;
}

bool sp_batch_watch(sp_batch *b, const sp_io *io, const struct epoll_event *e) {
    slot *s = b->watches ? take_slot(b, io, WATCH) : NULL;
    if (!s) return false;
    s->event = *e;
    fill(b, s);
    return true;
}

bool sp_batch_close(sp_batch *b, const sp_io *io) {
    slot *s = take_slot(b, io, CLOSE);
    if (s) fill(b, s);
    return s != NULL;
}

/* --- telling --- */

static void tell_sent(sp_batch *b, const slot *s, sp_io *io) {
    uint32_t sent = (uint32_t)SP_MAX(s->result, 0);
    bool full = s->result == -EAGAIN || (s->result >= 0 && sent < s->n);
    io->sending = false;
    io->writable = !full;
    if (sent < s->n)
        b->poller->on_unsent(b->poller->on_unsent_ctx, io, (sp_str){s->bytes + sent, s->n - sent},
                             full ? 0 : -s->result);
    io->on_event(io);
}

/* Nothing of it would ever be heard: its owner had better see its end. */
static void tell_unwatched(const sp_batch *b, slot *s, sp_io *io) {
    do_alone(b, s);
    if (s->result == 0) return;
    shutdown(s->fd, SHUT_RDWR);
    io->readable = io->writable = io->hup = true;
    io->on_event(io);
}

static void tell(sp_batch *b, slot *s) {
    sp_io *io = owner(b, s);
    if (io && s->what == SEND) tell_sent(b, s, io);
    if (io && s->what == WATCH && s->result < 0) tell_unwatched(b, s, io);
}

/* What these events ask for waits for the next turn, or one connection could keep this one going.
 */
void sp_batch_end_turn(sp_batch *b) {
    sp_batch_submit(b);
    for (uint32_t end = b->submitted; b->told != end; b->told++) tell(b, at(b, b->told));
    if (b->told == b->filled) b->told = b->submitted = b->filled = 0; /* the same memory again */
}

bool sp_batch_waiting(const sp_batch *b) {
    return b->told != b->filled;
}

/* --- life --- */

static int set_up(sp_batch *b) {
    struct io_uring_params params = {.flags = IORING_SETUP_SUBMIT_ALL};
    int error = io_uring_queue_init_params(SLOTS, &b->uring, &params);
    b->watches = params.features & FEATURE_6_10;
    if (error || params.features & IORING_FEAT_CQE_SKIP) return error;
    io_uring_queue_exit(&b->uring);
    return -ENOSYS;
}

sp_batch *sp_batch_new(sp_poller *p, const char **ret_why) {
    sp_batch *b = sp_zalloc(1, sizeof *b);
    b->poller = p;
    int error = set_up(b);
    if (error) {
        *ret_why = strerror(-error);
        free(b);
        return NULL;
    }
    void *memory = mmap(NULL, SLOTS * sizeof(slot), PROT_READ | PROT_WRITE,
                        MAP_ANONYMOUS | MAP_PRIVATE, -1, 0); /* resident only where it is used */
    sp_assert(memory != MAP_FAILED);
    b->slots = memory;
    return b;
}

sp_batch *sp_batch_free(sp_batch *b) {
    if (!b) return NULL;
    sp_batch_submit(b);
    io_uring_queue_exit(&b->uring);
    munmap(b->slots, SLOTS * sizeof(slot));
    free(b);
    return NULL;
}
