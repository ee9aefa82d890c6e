/* SPDY/3.1 (draft-mbelshe-httpbis-spdy-00), the server's half of what kubectl speaks for exec and
 * port-forward: streams opened by the client, each with header fields. A machine of bytes without
 * sockets. Flow control windows are neither kept nor given, as in the Go library on the other side;
 * whoever feeds holds the peer back by not reading. Loop thread only. */
#pragma once
#include "base/list.h"
#include "net/http.h"

typedef struct sp_spdy sp_spdy;

typedef struct sp_spdy_stream {
    sp_list link;
    uint32_t id;
    void *user;
    bool in_over, out_over; /* FIN received, sent; the stream is gone when both hold */
} sp_spdy_stream;

typedef struct sp_spdy_events {
    void (*send)(void *ctx, sp_str head, sp_str bytes); /* to the wire; both lent */
    /* False refuses it. Fields are lent, names lower-case. */
    bool (*open)(void *ctx, sp_spdy_stream *st, const sp_header *h, size_t n);
    void (*data)(void *ctx, sp_spdy_stream *st, sp_str bytes);
    void (*end)(void *ctx, sp_spdy_stream *st);  /* nothing more comes */
    void (*gone)(void *ctx, sp_spdy_stream *st); /* reset, or over on both sides; also when freed */
} sp_spdy_events;

sp_spdy *sp_spdy_new(const sp_spdy_events *ev, void *ctx);
void sp_spdy_free(sp_spdy *s); /* takes NULL; allowed in events */
/* False: the other side broke the protocol and nothing more can be understood. */
SP_MUST_USE bool sp_spdy_feed(sp_spdy *s, sp_str bytes, sp_err *err);
void sp_spdy_write(sp_spdy *s, sp_spdy_stream *st, sp_str bytes);
void sp_spdy_end(sp_spdy *s, sp_spdy_stream *st); /* FIN; st may be gone afterwards */
