/* HTTP/1.1 messages, strictly (RFC 9112): heads and body framing, for requests and responses, for
 * servers, clients and the gateway. Pure functions of bytes; nothing is buffered here.
 *
 *   sp_h1_scan      how long is the head?  (may be called again as bytes arrive)
 *   sp_h1_parse_…   the head, in place
 *   sp_h1_body_…    what follows, piece by piece, none of it kept
 *
 * Refused, because two programs could read it differently: bare LF or CR, folded fields, space
 * before the colon, NUL and other controls, Transfer-Encoding together with Content-Length or in
 * HTTP/1.0, differing Content-Lengths, codings other than chunked, a missing or second Host. */
#pragma once
#include "net/http.h"

enum {
    SP_H1_MAX_LINE = 16 * 1024, /* request line; longer is 414 */
    SP_H1_MAX_HEAD = 64 * 1024, /* all of it; longer is 431 */
    SP_H1_MAX_FIELDS = 128,     /* more is 431 */
};

/* Start with {0} for each message. */
typedef struct sp_h1_scan {
    size_t at, line; /* bytes looked at; start of the current line */
} sp_h1_scan;

typedef enum sp_h1_result { SP_H1_MORE, SP_H1_OK, SP_H1_BAD } sp_h1_result;

/* What is wrong: the status a server answers with, and a sentence. Static; nothing to free. */
typedef struct sp_h1_error {
    int status;
    const char *text;
} sp_h1_error;

/* bytes is everything received of this message so far. OK: ret_n bytes are the head, its empty
 * lines before and the one behind included. Complains about broken bytes as soon as they are there,
 * not only when the head is complete. */
sp_h1_result sp_h1_scan_head(sp_h1_scan *s, sp_str bytes, bool response, size_t *ret_n,
                             sp_h1_error *err);

typedef enum sp_h1_framing {
    SP_H1_NO_BODY,
    SP_H1_LENGTH,
    SP_H1_CHUNKED,
    SP_H1_UNTIL_CLOSE, /* responses only */
} sp_h1_framing;

typedef struct sp_h1_head {
    sp_str method, target; /* requests; target is not empty */
    int status;            /* responses */
    sp_str reason;
    int minor;          /* HTTP/1.0 or HTTP/1.1 */
    sp_headers headers; /* names in lower case; free with sp_vec_free unless in an arena */
    sp_h1_framing framing;
    uint64_t length; /* with SP_H1_LENGTH */
    bool keep_alive; /* what version and Connection say */
    bool expect_continue;
    bool upgrade; /* Connection names upgrade; see the field of that name */
} sp_h1_head;

/* head: the ret_n bytes of the scan, changed in place (names become lower case); slices of *ret
 * point into them. ret->headers is reused (n is reset) and grows on the heap. */
SP_MUST_USE bool sp_h1_parse_request(char *head, size_t n, sp_h1_head *ret, sp_h1_error *err);
/* to_head: the answer to a HEAD request. to_connect: to CONNECT. */
SP_MUST_USE bool sp_h1_parse_response(char *head, size_t n, bool to_head, bool to_connect,
                                      sp_h1_head *ret, sp_h1_error *err);

typedef struct sp_h1_body {
    sp_h1_framing framing;
    int state;
    uint64_t left;   /* of the body or of the chunk */
    unsigned digits; /* of the chunk size */
    uint32_t extra;  /* bytes of chunk extensions and trailers so far */
    uint32_t line;   /* bytes of the current trailer line */
    bool colon;
    sp_buf *trailers; /* where trailer fields go, names in lower case; NULL = dropped. Borrowed; set
                         it after sp_h1_body_start */
} sp_h1_body;

void sp_h1_body_start(sp_h1_body *b, const sp_h1_head *head);
typedef enum sp_h1_piece {
    SP_H1_NEED,  /* *in is used up */
    SP_H1_DATA,  /* *ret is the next piece of the body, a slice of *in */
    SP_H1_END,   /* the body is complete; *in starts with what follows it */
    SP_H1_BROKEN /* *err says why */
} sp_h1_piece;
/* Takes bytes off *in. Trailer fields are checked. */
sp_h1_piece sp_h1_body_next(sp_h1_body *b, sp_str *in, sp_str *ret, sp_h1_error *err);
/* The connection ended: was the body complete? */
bool sp_h1_body_eof_ok(const sp_h1_body *b);

/* "name: value\r\n"; nothing and false when the field would break the message (no token as name,
 * CR, LF, NUL or other controls in the value). */
bool sp_h1_add_field(sp_buf *b, sp_str name, sp_str value);
