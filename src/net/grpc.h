/* A gRPC client over HTTP/2 (grpc.io, PROTOCOL-HTTP2): one request message, then one answer or a
 * stream of them. Messages are bytes; what is in them is the caller's. Loop thread only. */
#pragma once
#include "net/client.h"

typedef struct sp_grpc_call sp_grpc_call;

enum { SP_GRPC_MAX_MESSAGE = 64 << 20 };

typedef struct sp_grpc_params {
    const char *path;         /* "/etcdserverpb.KV/Range" */
    sp_str message;           /* copied */
    const sp_header *headers; /* metadata beyond the protocol's own; copied */
    size_t header_count;      /* at most SP_GRPC_MAX_HEADERS */
    uint32_t timeout_ms;      /* also told to the server; 0 = none */
    bool once;                /* never sent twice: it has effects */
    bool *sent;               /* set before done, if the server may have got it; may be NULL */
    /* Each message of the answer; lent. Optional. */
    void (*message_in)(void *ctx, sp_str bytes);
    /* Once, last; NULL: status OK. The code follows the gRPC status; text begins with its message.
     */
    void (*done)(void *ctx, const sp_err *err);
    void *ctx;
} sp_grpc_params;
enum { SP_GRPC_MAX_HEADERS = 4 };

/* The client must speak HTTP/2 (TLS with ALPN h2, or prior_knowledge). */
sp_grpc_call *sp_grpc_start(sp_http_client *c, const sp_grpc_params *p);
void sp_grpc_cancel(sp_grpc_call *call); /* done is not called any more; also from message_in */

/* --- framing, by itself --- */
typedef struct sp_grpc_reader {
    sp_buf in;
    size_t at; /* of in, that much was read */
} sp_grpc_reader;
typedef enum sp_grpc_read { SP_GRPC_MESSAGE, SP_GRPC_MORE, SP_GRPC_BROKEN } sp_grpc_read;
void sp_grpc_reader_free(sp_grpc_reader *r);
void sp_grpc_reader_add(sp_grpc_reader *r, sp_str bytes);
/* The next message, lent until the reader is used again. */
sp_grpc_read sp_grpc_reader_next(sp_grpc_reader *r, sp_str *ret, sp_err *err);

/* What a status means (RFC of gRPC: statuscodes.md). */
sp_code sp_grpc_code(uint64_t status);
