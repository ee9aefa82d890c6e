/* What HTTP servers and clients share. Header names are lower-case everywhere inside Sampan. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"

typedef struct sp_header {
    sp_str name, value;
} sp_header;

typedef SP_VEC(sp_header) sp_headers;

/* First value, {0} if missing. name in lower case. */
sp_str sp_headers_get(const sp_header *h, size_t n, const char *name);
const char *sp_http_status_text(int status);
/* One value of a query string, percent-decoded into the arena; false if the key is missing.
 * "a=1&b" has b = "". */
bool sp_query_get(sp_arena *a, sp_str query, const char *key, sp_str *ret);
/* Percent-decoding; false on a broken escape. */
SP_MUST_USE bool sp_url_decode(sp_arena *a, sp_str s, bool plus_is_space, sp_str *ret);
void sp_url_encode(sp_buf *b, sp_str s); /* everything but unreserved characters */

/* "https://host:8443/path?x" taken apart; slices of the input. Only http and https; no user part.
 */
typedef struct sp_url {
    sp_str scheme;
    sp_str host;   /* without the brackets of an IPv6 address */
    uint16_t port; /* 80 or 443 when the text names none */
    sp_str target; /* path and query, "/" when the text names none; never the fragment */
    bool tls;
} sp_url;
SP_MUST_USE bool sp_url_parse(sp_str s, sp_url *ret, sp_err *err);

/* RFC 9110 section 5: what may stand in a field name (a token) and in a field value. */
bool sp_http_is_token(sp_str s);
bool sp_http_is_value(sp_str s);
sp_str sp_http_lower(sp_arena *a, sp_str name); /* itself when it is in lower case already */
/* "Sun, 06 Nov 1994 08:49:37 GMT" */
void sp_http_date(int64_t wall_ms, char ret[30]);
