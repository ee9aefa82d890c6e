/* Many byte streams over one connection, opened by one side, each with its own flow control: HTTP/2
 * where each stream is a CONNECT (RFC 9113 section 8.5). A stream appears on either side as a
 * socket, so whoever speaks over TCP speaks over it unchanged. Both sides ping; a peer that does
 * not answer within two rounds is given up. Loop thread only. */
#pragma once
#include "net/conn.h"

typedef struct sp_mux sp_mux;

enum { SP_MUX_PING_MS = 3000, SP_MUX_STREAMS = 1000 };

typedef struct sp_mux_events {
    void (*stream)(void *ctx,
                   int fd); /* the other side opened one; fd is taken. NULL where we open */
    void (*closed)(void *ctx, const sp_err *err); /* once, unless freed first; the mux is gone */
} sp_mux_events;

/* io is taken. opens: this side opens the streams (the HTTP/2 client). early: bytes that came
 * already; no event is called before this returns. */
sp_mux *sp_mux_start(uv_loop_t *loop, sp_conn *io, bool opens, sp_str early,
                     const sp_mux_events *ev, void *ctx);
void sp_mux_free(sp_mux *m); /* takes NULL; its streams end */
int sp_mux_open(sp_mux *m);  /* a socket, to be closed by the caller; -1: too many */
size_t sp_mux_streams(const sp_mux *m);
