/* HTTP/1.1 and HTTP/2 server on a libuv loop, plain or TLS. The whole request body is collected
 * (up to a limit) before the handler runs; the answer may be given at once or later, whole or as a
 * stream. Everything here happens on the loop's thread. */
#pragma once
#include "base/blob.h"
#include "base/err.h"
#include "net/http.h"
#include "net/tls.h"

#include <uv.h>

typedef struct sp_http_server sp_http_server;
typedef struct sp_http_res sp_http_res; /* the place for one answer */
struct sp_conn;

typedef struct sp_http_req {
    sp_arena *arena; /* lives until the answer is finished or the client is gone */
    sp_str method;   /* "GET" */
    sp_str path;     /* as sent, still percent-encoded, starts with '/' */
    sp_str query;    /* without '?', may be empty */
    sp_header *headers;
    size_t header_count;
    sp_str body;
    sp_str remote;           /* "127.0.0.1:41234" */
    const sp_tls_peer *peer; /* verified client certificate, or NULL */
    bool http2, tls;
} sp_http_req;

typedef void sp_http_handler(void *ctx, sp_http_req *req, sp_http_res *res);

typedef struct sp_http_server_config {
    const char *host;        /* "127.0.0.1", "::", … */
    uint16_t port;           /* 0 = any; see sp_http_server_port */
    sp_tls_ctx *tls;         /* referenced; NULL = plain (h2c by prior knowledge is accepted) */
    size_t max_body_bytes;   /* 0 = 3 MiB; more is answered 413 */
    size_t max_upload_bytes; /* of all bodies still arriving; 0 = 128 MiB; more is answered 503 */
    size_t max_connections;  /* 0 = 10,000; more are closed at once */
    uint32_t header_timeout_ms, idle_timeout_ms; /* 0 = 10 s, 120 s */
    double goaway_chance; /* 0 to 1, of each HTTP/2 request: its connection is told to leave */
    sp_http_handler *handler;
    void *ctx;
} sp_http_server_config;

SP_MUST_USE bool sp_http_server_start(uv_loop_t *loop, const sp_http_server_config *c,
                                      sp_http_server **ret, sp_err *err);
/* One more connection, from a socket (taken; plain) instead of the listener: it counts and is
 * served as any other. peer: who it is, copied; NULL = nobody known. */
void sp_http_server_take(sp_http_server *s, int fd, const sp_tls_peer *peer);
/* Clients shall come back on new connections, which may lead to another server: GOAWAY or
 * Connection: close for all that are there now. What runs goes on. */
void sp_http_server_send_away(sp_http_server *s);
uint16_t sp_http_server_port(const sp_http_server *s);
/* Stops accepting, says GOAWAY (in two steps: server_h2.c) or Connection: close, lets running
 * answers end for grace_ms, then closes everything and calls done (may be NULL). The server is
 * freed after that. */
void sp_http_server_stop(sp_http_server *s, uint32_t grace_ms, void (*done)(void *ctx), void *ctx);

/* --- answering: exactly one of reply, or begin + write… + end --- */
void sp_http_reply(sp_http_res *r, int status, const sp_header *h, size_t n, sp_str body);
/* The body is sent from the blob, which is referenced until it is out. */
void sp_http_reply_blob(sp_http_res *r, int status, const sp_header *h, size_t n, sp_blob *body);
void sp_http_begin(sp_http_res *r, int status, const sp_header *h, size_t n);
void sp_http_write(sp_http_res *r, sp_str bytes);    /* copied; flushed at the end of the turn */
void sp_http_write_blob(sp_http_res *r, sp_blob *b); /* referenced */
void sp_http_end(sp_http_res *r);
/* --- or the connection itself (RFC 9110 section 7.8) --- */
/* The protocols the client offers ("websocket"), empty when it offers none; an offer on HTTP/2 is
 * none. */
sp_str sp_http_upgrade_offer(const sp_http_req *q);
/* 101 with these fields (Upgrade among them; Connection is added). When that is on the connection,
 * `taken` gets it: call sp_conn_adopt there and own it. early: bytes that came behind the request,
 * lent. From then on r is gone and the server knows nothing of the connection, also when it stops.
 * If the client leaves before, on_close tells as ever and `taken` is not called. */
typedef void sp_http_taken(void *ctx, struct sp_conn *io, sp_str early);
void sp_http_switch(sp_http_res *r, const sp_header *h, size_t n, sp_http_taken *taken, void *ctx);
size_t sp_http_pending(const sp_http_res *r); /* bytes accepted but not yet sent */
/* For long answers: fn is called, at the end of a turn, when less than SP_HTTP_LOW bytes are
 * pending and something was sent since (and once soon after this call); write more then, or do
 * nothing. */
enum { SP_HTTP_LOW = 128 * 1024 };
void sp_http_on_drain(sp_http_res *r, void (*fn)(void *ctx), void *ctx);
/* Called once, when the client went away before the end, or after the end. r is invalid after it
 * returns. Until then r and req stay valid, even if the client is gone (writes are then ignored).
 */
void sp_http_on_close(sp_http_res *r, void (*fn)(void *ctx), void *ctx);
