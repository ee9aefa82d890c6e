/* The Accept header as Kubernetes' clients use it: media types with the parameters as, g, v that
 * ask for another form of the answer. RFC 9110 section 12.5.1. Any thread. */
#pragma once
#include "base/str.h"

typedef struct sp_accept {
    sp_str type;               /* "application/json"; the case of the client */
    sp_str as, group, version; /* parameters as, g, v; empty = missing */
    int quality;               /* q in thousandths, 0 to 1000 */
} sp_accept;

/* The next element of the list; false at the end:
 *   for (sp_accept e; sp_accept_next(&rest, &e);) …
 * The caller keeps the element of the highest quality that it can serve, the first of equals. */
bool sp_accept_next(sp_str *rest, sp_accept *ret);
