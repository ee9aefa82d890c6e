/* The data path's own readiness loop: an edge-triggered epoll set, timers by class, and memory that
 * is freed only when no event of the current batch can name it any more. What the events of a turn
 * send leaves together, by io_uring where it can be had (batch.h).
 *
 * The set hangs in a libuv loop as one descriptor. A thread that has little else to do turns that
 * round with sp_poller_run: then the libuv loop is one descriptor of the set, and a turn costs one
 * system call less. Not thread-safe. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "gateway/wheel.h"

#include <sys/socket.h>
#include <uv.h>

typedef struct sp_poller sp_poller;
typedef struct sp_io sp_io;

/* A descriptor. The flags are set by events and cleared by whoever gets EAGAIN, so "readable" means
 * "worth trying". */
struct sp_io {
    int fd; /* -1 when closed */
    bool readable, writable;
    bool hup;     /* the other side sent its last byte or is gone */
    bool error;   /* SO_ERROR is worth a look */
    bool sending; /* bytes of it wait in the batch; not writable until its next event */
    void (*on_event)(sp_io *io);
    sp_poller *poller;
    sp_list again; /* member of the poller's list of those that have more to do */
};

typedef enum sp_engine { SP_ENGINE_EPOLL, SP_ENGINE_IO_URING } sp_engine;

/* name: epoll (each send by itself), io_uring (in batches), or auto: io_uring where the kernel lets
 * us have it, and one line in the log where it does not. io_uring asked for by name and not to be
 * had is an error. */
bool sp_engine_choose(const char *name, sp_engine *ret, sp_err *err);
sp_poller *sp_poller_new(uv_loop_t *loop, sp_engine engine);
/* Everything must have been closed. Freed once libuv has let go; returns NULL. */
sp_poller *sp_poller_free(sp_poller *p);
int64_t sp_poller_now_ms(const sp_poller *p); /* monotonic, of the batch */
bool sp_poller_add(sp_poller *p, sp_io *io, int fd, void (*on_event)(sp_io *)); /* errno */
int sp_io_error(const sp_io *io); /* errno, 0 = none */
/* recv, and readable is kept right. */
ssize_t sp_io_recv(sp_io *io, char *to, size_t size);
/* True when both leave as one with the batch: the next event of it tells when they have. False:
 * send them yourself. */
bool sp_io_send(sp_io *io, sp_str first, sp_str second, int flags);
/* What waits in the batch is sent, so that a call on the descriptor comes after it. */
void sp_io_push(sp_io *io);
/* fn when bytes of the batch were not taken: rest is what is left (lent), error an errno, 0 when
 * there is only no room. on_event follows. */
void sp_poller_on_unsent(sp_poller *p, void (*fn)(void *ctx, sp_io *io, sp_str rest, int error),
                         void *ctx);
void sp_io_close(sp_io *io); /* harmless when closed; fd is closed too */
void sp_io_leave(sp_io *io); /* the same, but the descriptor stays open: it is somebody else's */
/* Hands the open descriptor and its flags over; from is closed as far as its owner can see. */
void sp_io_move(sp_io *from, sp_io *to, void (*on_event)(sp_io *));
/* Calls on_event again in the next turn: it stopped only to let others run. */
void sp_io_again(sp_io *io);
/* free(p) at the end of the batch. */
void sp_poller_bury(sp_poller *p, void *memory);
/* fn at the end of each batch (buffered log lines). */
void sp_poller_on_turn_end(sp_poller *p, void (*fn)(void *ctx), void *ctx);
/* In place of uv_run(UV_RUN_DEFAULT) on the loop of sp_poller_new. */
void sp_poller_run(sp_poller *p);

/* --- timers ---
 * On a wheel (wheel.h): starting, touching and stopping one costs O(1) and no system call. A class
 * names a duration that the whole worker shares; listeners, pools and routes bring their own. */
typedef enum sp_timeout {
    SP_TIMEOUT_CONNECT,  /* one attempt to reach an endpoint */
    SP_TIMEOUT_ENDPOINT, /* waiting for an endpoint to appear */
    SP_TIMEOUT_RETRY,    /* pause after all endpoints refused */
    SP_TIMEOUT_HEAD,     /* a request head, from its first byte */
    SP_TIMEOUT_IDLE,     /* a client's connection between requests */
    SP_TIMEOUT_POOLED,   /* an upstream connection between requests */
    SP_TIMEOUT_RESPONSE, /* from the request to the first byte of the answer */
    SP_TIMEOUT_STREAM,   /* bodies that do not move */
    SP_TIMEOUT_LINGER,   /* reading what a client still sends after the answer */
    SP_TIMEOUT_ACCEPT,   /* pause after running out of descriptors */
    SP_TIMEOUT_CLASSES
} sp_timeout;

void sp_poller_set_timeout(sp_poller *p, sp_timeout class, uint32_t ms);
void sp_alarm_start(sp_poller *p, sp_alarm *a, sp_timeout class); /* again: from now */
void sp_alarm_after(sp_poller *p, sp_alarm *a, uint32_t ms);      /* the same, any duration */
/* ms, or the class's duration where it is 0 ("the usual" of config.h). */
void sp_alarm_start_or(sp_poller *p, sp_alarm *a, uint32_t ms, sp_timeout class);
