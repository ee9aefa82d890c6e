/* HTTP client on a libuv loop for one origin, which may have several servers: HTTP/2 where TLS
 * negotiates it (all calls share one connection), else HTTP/1.1 with a small keep-alive pool.
 * Reconnects by itself; a call that never reached the server is tried again once on a new
 * connection. Loop thread only. */
#pragma once
#include "base/err.h"
#include "net/http.h"
#include "net/tls.h"

#include <uv.h>

typedef struct sp_http_client sp_http_client;
typedef struct sp_http_call sp_http_call;
struct sp_conn;

typedef struct sp_http_server_name {
    const char *host;
    uint16_t port;
} sp_http_server_name;

typedef struct sp_http_client_config {
    const char *host; /* name or address; copied */
    uint16_t port;
    sp_tls_ctx *tls;             /* referenced; NULL = plain */
    const char *server_name;     /* for SNI and verification; NULL = host */
    uint32_t connect_timeout_ms; /* 0 = 5 s */
    /* Others that answer the same, copied. One is used at a time; when it cannot be reached, or is
     * silent for 15 s while something runs there (HTTP/2), the next one is taken. A call fails when
     * none could be reached. */
    const sp_http_server_name *others;
    size_t other_count;
    /* In place of connecting: a socket that leads there, -1 when there is none just now. tls and
     * server_name are not used, host and port only in messages. */
    int (*dial)(void *ctx);
    void *dial_ctx;
    bool prior_knowledge; /* HTTP/2 also without TLS (RFC 9113 3.3) */
} sp_http_client_config;

sp_http_client *sp_http_client_new(uv_loop_t *loop, const sp_http_client_config *c);
/* Cancels what runs (their done is called with SP_CANCELLED) and closes; returns NULL. The memory
 * goes once libuv has closed the sockets, so keep running the loop. */
sp_http_client *sp_http_client_free(sp_http_client *c);

/* The server in use does not answer as it should: what runs there fails (or is repeated elsewhere),
 * the next one is taken; the calls end later in the turn. False, and nothing happens, without
 * others or when that was done within the second. */
bool sp_http_client_leave(sp_http_client *c);

typedef struct sp_http_call_params {
    const char *method;       /* "GET" */
    sp_str target;            /* "/api/v1/pods?watch=true" */
    const sp_header *headers; /* copied; names in any case */
    size_t header_count;
    sp_str body;         /* copied */
    uint32_t timeout_ms; /* for the whole call; 0 = none (watches, logs) */
    bool once;           /* never tried a second time, whatever the method: it has effects */
    /* HTTP/1.1, with Connection: Upgrade among the headers: a 101 ends the call with this in place
     * of `done`. Call sp_conn_adopt there and own io. early: what came behind it, lent. */
    void (*upgraded)(void *ctx, const sp_header *h, size_t n, struct sp_conn *io, sp_str early);
    /* All optional but done. Headers and bytes are lent for the call. */
    void (*head)(void *ctx, int status, const sp_header *h, size_t n);
    void (*data)(void *ctx, sp_str bytes);
    void (*trailers)(void *ctx, const sp_header *h, size_t n); /* HTTP/2 only */
    void (*done)(void *ctx, const sp_err *err); /* exactly once, last; NULL = complete answer */
    void *ctx;
} sp_http_call_params;

sp_http_call *sp_http_call_start(sp_http_client *c, const sp_http_call_params *p);
/* Takes no more bytes for a while (what is on its way, up to 1 MiB with HTTP/2, still comes), so
 * that the server is held back. */
void sp_http_call_pause(sp_http_call *call, bool paused);
void sp_http_call_cancel(sp_http_call *call); /* done is not called any more */
/* Inside done: a byte of it may have reached the server. */
bool sp_http_call_sent(const sp_http_call *call);

/* The whole answer at once (up to max_bytes, 0 = 64 MiB). reply is lent; NULL when err is set. */
typedef struct sp_http_reply_msg {
    int status;
    const sp_header *headers;
    size_t header_count;
    sp_str body;
} sp_http_reply_msg;
typedef void sp_http_fetch_done(void *ctx, const sp_http_reply_msg *reply, const sp_err *err);
sp_http_call *sp_http_fetch(sp_http_client *c, const sp_http_call_params *p, size_t max_bytes,
                            sp_http_fetch_done *done, void *ctx); /* p's callbacks are ignored */
