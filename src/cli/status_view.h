/* The health of a whole installation: what is known from objects and from the store, judged and
 * printed. Pure; `sampan status` (status.c) asks. */
#pragma once
#include "data/json.h"

#include <stdio.h>

typedef struct sp_status_input {
    const char *server;           /* whom we asked */
    bool ready;                   /* by its /readyz */
    const sp_json *store;         /* GET /sampan/v1/cluster */
    const sp_json *leases;        /* LeaseList of kube-system */
    const sp_json *leases_before; /* some seconds ago, or NULL: a Lease that has changed since then
                                     is held, whatever our clock says */
    const sp_json *nodes;         /* NodeList */
    const sp_json *vips;          /* VirtualAddressList */
    int64_t now_wall_ms;
} sp_status_input;

/* healthy, troubles (sentences), then one member per part, as `sampan status -o json` prints it. */
sp_json *sp_status_judge(sp_arena *a, const sp_status_input *in);
/* A Lease seems not to be held any more: worth a second look, as clocks may differ. */
bool sp_status_is_doubtful(const sp_json *leases, int64_t now_wall_ms);
void sp_status_print(const sp_json *status, FILE *out);
