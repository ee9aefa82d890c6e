/* What can be read of a TLS connection before anything is decided about it: the server name and the
 * protocols in its ClientHello (RFC 8446 4.1.2, RFC 6066 3, RFC 7301). Pure: bytes in, an answer
 * out, so that a name can choose between pass-through and termination. */
#pragma once
#include "base/str.h"

enum {
    SP_HELLO_MAX_BYTES = 16 * 1024, /* of the message; the largest seen are about 2 KiB */
    SP_HELLO_MAX_RECORDS = 64,      /* it may come in as many pieces */
    SP_SNI_MAX = 256                /* with a NUL */
};

typedef enum sp_hello_result {
    SP_HELLO_OK,
    SP_HELLO_MORE,    /* so far well-formed, not complete */
    SP_HELLO_NOT_TLS, /* the first bytes are of something else */
    SP_HELLO_BAD      /* TLS, but broken or beyond our limits */
} sp_hello_result;

typedef struct sp_hello {
    char sni[SP_SNI_MAX];  /* lower case; "" = none was sent */
    char alpn[SP_SNI_MAX]; /* "h2,http/1.1" as offered; cut where it is longer; "" = none */
} sp_hello;

/* bytes: everything received so far; scratch: SP_HELLO_MAX_BYTES, used when the message is split
 * over records. Extensions that are not known (ECH, GREASE) are skipped. */
sp_hello_result sp_hello_parse(sp_str bytes, char *scratch, sp_hello *ret);

typedef enum sp_alert {
    SP_ALERT_HANDSHAKE_FAILURE = 40,
    SP_ALERT_DECODE_ERROR = 50,
    SP_ALERT_INTERNAL_ERROR = 80,
    SP_ALERT_UNRECOGNIZED_NAME = 112
} sp_alert;

enum { SP_ALERT_BYTES = 7 };
/* A fatal alert as the first record of a server. */
void sp_alert_write(sp_alert a, char ret[SP_ALERT_BYTES]);
