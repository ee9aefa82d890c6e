/* One byte stream, plain TCP or TLS, accepted or made: what the HTTP server and client stand on.
 *
 * Output is pulled: sp_conn_wake says that there is something to send; at the end of the loop's
 * turn, and whenever the kernel takes more, `fill` is asked to put bytes into the queue as long as
 * less than SP_CONN_WINDOW waits there. So a turn costs one system call per connection, and a slow
 * reader holds back whoever feeds it instead of filling memory. Loop thread only. */
#pragma once
#include "net/loop.h"
#include "net/outq.h"
#include "net/tls.h"

enum { SP_CONN_WINDOW = 64 * 1024 };

typedef struct sp_conn sp_conn;

/* Calls back into the owner. Inside any of them sp_conn_free and sp_conn_finish are allowed. */
typedef struct sp_conn_events {
    /* Connected, handshake done; may be NULL. Not for accepted plain ones: they are ready at once.
     */
    void (*ready)(void *ctx);
    void (*data)(void *ctx, char *p, size_t n); /* lent for the call; may be changed in place */
    void (*fill)(void *ctx);                    /* see above */
    void (*timeout)(void *ctx);                 /* the deadline passed */
    /* Nothing comes any more; once. err NULL: the other side ended properly, and bytes still
     * queued can be sent by sp_conn_finish. Else only sp_conn_free is left to do. */
    void (*closed)(void *ctx, const sp_err *err);
} sp_conn_events;

/* From inside a uv_listen callback; NULL when the kernel gives none. tls is referenced, NULL =
 * plain. */
sp_conn *sp_conn_accept(uv_stream_t *listener, sp_tls_ctx *tls, const sp_conn_events *ev,
                        void *ctx);
/* Resolves, connects (each address in turn), shakes hands; then `ready`, or `closed` with the
 * reason (host and port are for the owner to add). Nothing is called before this returns. */
sp_conn *sp_conn_connect(uv_loop_t *loop, const char *host, uint16_t port, sp_tls_ctx *tls,
                         const char *server_name, const sp_conn_events *ev, void *ctx);

/* An open socket of any family (one end of a socketpair, say), taken; plain. NULL when the loop
 * refuses it; then it is closed. */
sp_conn *sp_conn_open(uv_loop_t *loop, int fd, const sp_conn_events *ev, void *ctx);
/* The connection changes hands, as after an upgrade: from now on events go to the new owner. The
 * deadline is gone, and reading goes on. */
void sp_conn_adopt(sp_conn *c, const sp_conn_events *ev, void *ctx);

sp_outq *sp_conn_out(sp_conn *c); /* to put bytes in; then sp_conn_wake (not needed in fill) */
void sp_conn_wake(sp_conn *c);
size_t sp_conn_pending(const sp_conn *c);       /* queued and on the way to the kernel */
uint64_t sp_conn_sent(const sp_conn *c);        /* given to the kernel so far */
void sp_conn_deadline(sp_conn *c, uint64_t ms); /* from now; 0 = none */
void sp_conn_end_output(sp_conn *c);            /* after what is queued; reading goes on (TCP) */
void sp_conn_pause(sp_conn *c, bool paused);    /* reading; at most one more piece comes */

sp_str sp_conn_alpn(const sp_conn *c);
const sp_tls_peer *sp_conn_peer(const sp_conn *c);
void sp_conn_remote(const sp_conn *c, char *ret, size_t size);

/* Both end the owner's part: no event follows, the memory goes by itself. finish first sends what
 * is queued (30 s at most), says goodbye and gives the other side two seconds to do the same. */
void sp_conn_free(sp_conn *c);
void sp_conn_finish(sp_conn *c);
