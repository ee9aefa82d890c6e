/* Cross-origin requests (the Fetch standard, "CORS protocol"; Gateway API's HTTPCORSFilter): which
 * fields an answer gets. Pure. */
#pragma once
#include "gateway/route.h"
#include "net/http1.h"

/* Appends the fields ("name: value\r\n"...) that belong to the answer of this request. True: it is
 * a preflight, to be answered by the gateway itself with nothing but these. */
bool sp_cors_write(const sp_cors_spec *c, const sp_h1_head *request, sp_buf *ret);
/* A pattern is an origin, "*", or has a wildcard as the first label of its host. */
bool sp_cors_origin_matches(sp_str pattern, sp_str origin);
