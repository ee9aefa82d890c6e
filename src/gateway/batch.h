/* What one turn of the poller asks of the kernel for many sockets, and need not know at once: small
 * sends, the watching of new sockets, closing. It leaves with one system call of io_uring. Of the
 * poller only (poller.c); the data path sees a socket that is not writable until its next event.
 *
 * No request waits in the ring: each ends within the call that submits it, as every send says
 * MSG_DONTWAIT. So nothing of ours holds a socket that is closed, or whose process is killed. Of
 * one thread at a time. */
#pragma once
#include "gateway/poller.h"

#include <sys/epoll.h>

typedef struct sp_batch sp_batch;

/* NULL and why, where the kernel has no io_uring, is too old (5.18 is needed) or forbids it. */
sp_batch *sp_batch_new(sp_poller *p, const char **ret_why);
sp_batch *sp_batch_free(sp_batch *b); /* takes NULL, returns NULL; what waits is done first */
/* Each is carried out after what was asked for before. False: it is not, and nothing is changed;
 * do it yourself, after sp_batch_submit where order matters.
 *
 * send copies both; false, too, where they are too large or bytes of that socket wait already. */
bool sp_batch_send(sp_batch *b, sp_io *io, sp_str first, sp_str second, int flags);
bool sp_batch_watch(sp_batch *b, const sp_io *io, const struct epoll_event *e); /* into the set */
bool sp_batch_close(sp_batch *b, const sp_io *io);
void sp_batch_submit(sp_batch *b); /* all is done now; the events come at the end of the turn */
void sp_batch_end_turn(sp_batch *b);
bool sp_batch_waiting(const sp_batch *b); /* another turn is wanted, without sleep */
