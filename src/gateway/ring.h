/* The poller's second engine: sockets whose bytes come and go as completions of io_uring, so that
 * a turn of any number of connections costs one system call. Of the poller only (poller.c); the
 * data path sees an sp_io that is readable or writable, whichever engine is below.
 *
 * Of the thread that made it. */
#pragma once
#include "gateway/poller.h"

typedef struct sp_ring sp_ring;

enum { SP_RING_MAX_FD = (1 << 20) - 1 };

/* NULL and why, where the kernel has none, is too old (6.1 is needed) or forbids it. */
sp_ring *sp_ring_new(sp_poller *p, const char **ret_why);
sp_ring *sp_ring_free(sp_ring *r); /* takes NULL, returns NULL; what was asked for is done first */
/* io: its place among the poller's is set. */
void sp_ring_add(sp_ring *r, sp_io *io); /* connected */
void sp_ring_connect(sp_ring *r, sp_io *io, const struct sockaddr *to, socklen_t len);
void sp_ring_close(sp_ring *r, sp_io *io);                          /* closes the descriptor */
ssize_t sp_ring_recv(sp_ring *r, sp_io *io, char *to, size_t size); /* see sp_io_recv */
bool sp_ring_send(sp_ring *r, sp_io *io, sp_str first, sp_str second, int flags);
void sp_ring_await_writable(sp_ring *r, sp_io *io);
/* False until nothing of it is under way any more; to be asked again at its next event. */
bool sp_ring_let_go(sp_ring *r, sp_io *io);
void sp_ring_stay(sp_ring *r, sp_io *io); /* it cannot go */
void sp_ring_submit(sp_ring *r); /* what was asked for begins now, not with the next turn */
/* Sleeps so long (-1: for ever), calls on_event of what came. True when the epoll set has
 * something, too. */
bool sp_ring_turn(sp_ring *r, int timeout_ms);
/* All that has come by now, within a turn: before alarms ring of a loop that stood still. */
void sp_ring_catch_up(sp_ring *r);
