/* Who may come: access lists and rate limits, for a request (after its route is known) and for a
 * connection (before anything is read). Pure but for the limiter's buckets. */
#pragma once
#include "gateway/config.h"
#include "gateway/limit.h"

typedef struct sp_admit_query {
    const sp_addr *client;    /* whom the address lists and "by source" mean: the real client */
    const sp_header *headers; /* names in any case */
    size_t header_count;
    int64_t now_us; /* monotonic */
} sp_admit_query;

typedef struct sp_admit_verdict {
    uint16_t status;        /* 0 = come in; else 403 or 429 */
    uint32_t retry_after_s; /* for the Retry-After field; 0 = none */
    const char *text;       /* for the body */
    sp_str limit;           /* 429: the limit's name; lent by the action */
} sp_admit_verdict;

/* Every limit of the action takes a token; the first empty one refuses. */
sp_admit_verdict sp_admit_request(sp_limiter *l, const sp_route_action *a, const sp_admit_query *q);

typedef enum sp_admission {
    SP_ADMIT_OK,
    SP_ADMIT_DENIED, /* not by its address */
    SP_ADMIT_TOO_FAST,
    SP_ADMIT_TOO_MANY /* open on this listener */
} sp_admission;
/* open: connections of this listener now, of all loops. */
sp_admission sp_admit_client(sp_limiter *l, const sp_listener_spec *spec, const sp_addr *client,
                             uint32_t open, int64_t now_us);
