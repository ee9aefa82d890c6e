/* What both HTTP/2 sides of the data path share: header blocks as heads and heads as header blocks
 * (pure), memory for nghttp2 from a pool of the worker, and the limits. RFC 9113, RFC 8441. */
#pragma once
#include "gateway/http.h"

#include <nghttp2/nghttp2.h>

enum {
    SP_H2_MAX_STREAMS = 128,             /* of one client at once */
    SP_H2_STREAM_WINDOW = 256 * 1024,    /* what a stream may send ahead of the endpoint */
    SP_H2_CONN_WINDOW = 1 << 20,         /* and all streams of a connection */
    SP_H2_OUT_HIGH = 32 * 1024,          /* a stream that holds so much takes no more */
    SP_H2_WIRE_HIGH = 128 * 1024,        /* so much waits for the socket: no more frames are made */
    SP_H2_MAX_HEADER_BYTES = 64 * 1024,  /* as SETTINGS_MAX_HEADER_LIST_SIZE counts; more is 431 */
    SP_H2_MAX_WIRE_HEADERS = 256 * 1024, /* more than that of one block ends the connection */
    SP_H2_MAX_FIELDS = SP_H1_MAX_FIELDS,
    SP_H2_MAX_NV = 2 * SP_H1_MAX_FIELDS,
    /* A client's budgets, each for SP_H2_BUDGET_MS; beyond them: GOAWAY ENHANCE_YOUR_CALM. */
    SP_H2_BUDGET_MS = 10000,
    SP_H2_RESETS = 400,          /* streams it resets before their answer (CVE-2023-44487), or makes
                                    us reset by broken frames */
    SP_H2_CONTROL_FRAMES = 2000, /* SETTINGS, PING, PRIORITY, WINDOW_UPDATE… beyond what our own
                                    frames ask for */
    SP_H2_EMPTY_FRAMES = 200,    /* DATA without data or end */
    SP_H2_CONTINUATIONS = 16,    /* of one block */
    /* Answers that wait for the client's window: so much on one connection, and no byte of it moves
     * for so long, ends the connection. */
    SP_H2_STALL_BYTES = 1 << 20,
    SP_H2_STALL_MS = 30000,
    SP_H2_GOAWAY_WAIT_MS = 1000 /* for the round trip between the two GOAWAYs */
};

/* Lengths of one field. */
typedef struct sp_h2_lengths {
    uint32_t name, value;
} sp_h2_lengths;

/* A header block as it arrives. */
typedef struct sp_h2_block {
    sp_buf text; /* names and values, one behind the other */
    SP_VEC(sp_h2_lengths) fields;
    size_t wire_bytes; /* RFC 9113 6.5.2: 32 more for each field */
    bool too_large;    /* the rest was dropped */
} sp_h2_block;
void sp_h2_block_clear(sp_h2_block *b);
void sp_h2_block_free(sp_h2_block *b);
void sp_h2_block_add(sp_h2_block *b, sp_str name, sp_str value);

typedef struct sp_h2_request {
    sp_str scheme, protocol; /* :protocol of an extended CONNECT (RFC 8441) */
} sp_h2_request;
/* A request's block as a head: head takes the block's text over, slices of *ret point into it. The
 * Host comes from :authority; cookie crumbs are joined (8.2.3). nghttp2 has checked the pseudo
 * fields; what could be read differently in HTTP/1.1 is checked again. err->status 0: a malformed
 * message (8.1.1), to be reset. */
SP_MUST_USE bool sp_h2_parse_request(sp_h2_block *b, bool end_stream, sp_buf *head, sp_h1_head *ret,
                                     sp_h2_request *more, sp_h1_error *err);
/* An answer's block; slices point into the block. */
SP_MUST_USE bool sp_h2_parse_answer(sp_h2_block *b, bool end_stream, bool to_head, sp_h1_head *ret,
                                    sp_h1_error *err);
/* A trailer block as "name: value\r\n"..., filtered. */
void sp_h2_write_trailers(const sp_h2_block *b, sp_buf *ret);
/* "name: value\r\n"... as fields for nghttp2; slices of lines. */
size_t sp_h2_fields(sp_str lines, nghttp2_nv *nv, size_t cap);
nghttp2_nv sp_h2_field(sp_str name, sp_str value);

/* Where frames begin in a stream of bytes. Start with {0}, or skip = 24 before a preface. */
typedef struct sp_h2_scan {
    uint32_t skip; /* bytes until the next header */
    uint8_t head[9];
    unsigned have;
} sp_h2_scan;
/* How many bytes stand before the last one of the next frame's header, and what that frame is; all
 * of them when no header is complete (nothing is returned then). */
size_t sp_h2_scan_frame(sp_h2_scan *s, sp_str bytes, uint8_t *ret_type, int32_t *ret_stream);

/* --- memory --- */
/* Blocks of up to 4 KiB are kept for the next stream; for nghttp2 and for the sides' own structs.
 */
nghttp2_mem sp_h2_mem(sp_worker *w);
void *sp_h2_alloc(sp_worker *w, size_t size); /* zeroed */
void sp_h2_free(sp_worker *w, void *p);

/* --- http_h2_out.c --- */
/* Of one stream: what waits for frames. */
typedef struct sp_h2_out {
    sp_buf bytes, trailers; /* trailers: "name: value\r\n"... */
    size_t at;              /* of bytes, that much is in frames */
    bool end;               /* no more will come */
    bool deferred;          /* nghttp2 was told to ask no more until resumed */
} sp_h2_out;
static inline size_t sp_h2_out_waits(const sp_h2_out *o) {
    return o->bytes.n - o->at;
}
void sp_h2_out_add(sp_worker *w, sp_h2_out *o, sp_str piece);
void sp_h2_out_resume(sp_h2_out *o, nghttp2_session *h2, int32_t id);
/* For nghttp2's callbacks that read from a source and send without a copy. True: nothing waits. */
ssize_t sp_h2_out_read(sp_h2_out *o, nghttp2_session *h2, int32_t id, size_t cap, uint32_t *flags);
bool sp_h2_out_send(sp_worker *w, sp_h2_out *o, sp_sock *to, const uint8_t *head, size_t n);
void sp_h2_out_free(sp_worker *w, sp_h2_out *o);
/* For its send callback. */
ssize_t sp_h2_send(sp_worker *w, sp_sock *to, const uint8_t *p, size_t n);
/* With what both sides want of it; the caller adds the rest. An invalid field resets its stream
 * (without that nghttp2 would leave the field out and go on). */
nghttp2_session_callbacks *sp_h2_callbacks(void);
nghttp2_option *sp_h2_options(void);

/* --- http_front2.c --- */
/* A client's connection that began with the HTTP/2 preface: socket, addresses and listener go over,
 * bytes (lent, with the preface) are what was read. */
void sp_front2_take(sp_session *from, sp_listener *l, sp_sock *client, sp_str bytes);

/* --- http_back2.c: as http_back1 --- */
void sp_back2_open(sp_exchange *x);
bool sp_back2_claim(sp_exchange *x);
void sp_back2_attach(sp_exchange *x);
extern const sp_back sp_back2;
