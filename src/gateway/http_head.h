/* The heads a proxy writes: a client's request as the backend gets it, the backend's answer as the
 * client gets it, and the gateway's own answers. Pure functions of parsed heads (RFC 9110, 9112).
 */
#pragma once
#include "gateway/route.h"
#include "net/http1.h"

/* Where a request goes, from its target and Host. Slices of the head, or of nothing. */
typedef struct sp_http_target {
    sp_str host;        /* with port, as sent */
    sp_str path, query; /* query.p NULL = no '?' */
    bool https;         /* absolute-form said so */
} sp_http_target;
/* origin-form, absolute-form, and "*" (as path "/"). False: no path can be made of it. */
SP_MUST_USE bool sp_http_split_target(const sp_h1_head *h, sp_http_target *ret);

/* May be sent again when its fate is unknown (RFC 9110 9.2.2). */
bool sp_http_is_idempotent(sp_str method);
/* The protocol the client wants to change to, if it may: not h2c, which would carry requests past
 * our rules. {0}: none. */
sp_str sp_http_upgrade(const sp_h1_head *h);

/* What the gateway knows of the request beside its head. */
typedef struct sp_http_hop {
    sp_str client_ip;
    sp_addr local; /* what the client came to */
    uint16_t port; /* its port */
    uint16_t client_port;
    sp_str server_name; /* of TLS (SNI); {0} = none */
    bool tls;           /* the client's connection is encrypted */
    /* Of TLS: what its certificate says (tls_io.h), or why that was not accepted. */
    sp_str client_cert, client_cert_error;
    bool trusted;  /* its X-Forwarded-* and Forwarded are believed and continued, not replaced */
    bool trailers; /* TE: trailers */
    sp_http_target target;
    const sp_route_entry *entry;
    sp_str upgrade;     /* of the request; {0} = none */
    uint64_t random[3]; /* for an id and a trace where the client brought none */
    sp_str key;         /* of a WebSocket over HTTP/2: Sec-WebSocket-Key for the endpoint */
} sp_http_hop;
void sp_http_write_request(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop);
/* Path and query as the backend gets them. */
void sp_http_write_target(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop);
/* The Host that the backend sees; {0}: an edit sets it. */
sp_str sp_http_backend_host(const sp_http_hop *hop);
/* The fields alone, but Host and those of framing and connection: "name: value\r\n"... */
void sp_http_write_request_fields(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop);
/* What the endpoint is told as X-Request-Id and as the trace of traceparent: the client's own, or
 * made. Slices of the head or of ret. */
enum { SP_HTTP_ID_BYTES = 32 };
sp_str sp_http_request_id(const sp_h1_head *h, const sp_http_hop *hop, char ret[SP_HTTP_ID_BYTES]);
sp_str sp_http_trace_id(const sp_h1_head *h, const sp_http_hop *hop, char ret[SP_HTTP_ID_BYTES]);
/* Changes to an answer on its way to the client. */
typedef struct sp_http_edit {
    const sp_header_edit *by_rule; /* NULL = none */
    sp_str extra;                  /* "name: value\r\n"..., behind all others */
    bool no_cors;                  /* Access-Control-* of the endpoint are dropped: we decide */
} sp_http_edit;
void sp_http_write_answer_fields(sp_buf *b, const sp_h1_head *h, const sp_http_edit *edit);
/* Content-Length is to be written: the body has this length, or would have (HEAD). */
bool sp_http_answer_has_length(const sp_h1_head *h);
bool sp_http_request_has_length(const sp_h1_head *h);
/* Appends the trailer fields that may stand behind a body (RFC 9110 6.5.1): nothing of framing,
 * routing, authentication or content; names in lower case. */
void sp_http_filter_trailers(sp_buf *b, sp_str lines);

typedef enum sp_http_body_as {
    SP_BODY_AS_IS,
    SP_BODY_CHUNKED,
    SP_BODY_UNTIL_CLOSE
} sp_http_body_as;
/* How a client of that version gets the body of that answer. */
sp_http_body_as sp_http_answer_body(const sp_h1_head *answer, int client_minor);
/* edit may be NULL. keep_alive: what the client is told. */
void sp_http_write_answer(sp_buf *b, const sp_h1_head *h, const sp_http_edit *edit,
                          sp_http_body_as body, int client_minor, bool keep_alive);
/* Where an entry with redirect_status sends the client. */
void sp_http_redirect_location(sp_buf *b, const sp_http_hop *hop, uint16_t local_port);
