/* The client's end of an exec or attach: up to five streams over one upgraded connection, whichever
 * of the protocols the client speaks (WebSocket channels, or SPDY/3.1 with a stream for each).
 * Loop thread only. */
#pragma once
#include "net/server.h"

typedef enum sp_remote_stream {
    SP_REMOTE_STDIN,
    SP_REMOTE_STDOUT,
    SP_REMOTE_STDERR,
    SP_REMOTE_ERROR, /* one Status object at the end */
    SP_REMOTE_RESIZE,
    SP_REMOTE_STREAMS
} sp_remote_stream;

typedef struct sp_remote sp_remote;

typedef struct sp_remote_wish {
    bool in, out, err, tty;
} sp_remote_wish;

typedef struct sp_remote_events {
    bool (*ready)(void *ctx); /* every stream is there; false: the remote was finished */
    void (*data)(void *ctx, sp_remote_stream s, sp_str bytes);
    void (*end)(void *ctx, sp_remote_stream s); /* nothing more comes on it */
    void (*drain)(void *ctx);                   /* may be written again */
    void (*gone)(void *ctx); /* once, last, unless finished; the remote is gone */
} sp_remote_events;

/* Answers the request with 101, and calls back later. False: no protocol of ours was offered. */
SP_MUST_USE bool sp_remote_accept(uv_loop_t *loop, sp_http_req *q, sp_http_res *res,
                                  const sp_remote_wish *wish, const sp_remote_events *ev, void *ctx,
                                  sp_remote **ret, sp_err *err);
void sp_remote_send(sp_remote *r, sp_remote_stream s, sp_str bytes);
size_t sp_remote_pending(const sp_remote *r);
void sp_remote_pause(sp_remote *r, bool paused); /* the client is held back */
/* The Status, then goodbye; r is gone. */
void sp_remote_finish(sp_remote *r, sp_str status);
