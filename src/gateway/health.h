/* Active checks. They run on the control loop, one per address and kind of check whatever number of
 * pools ask for it, and end in the configuration: an endpoint whose check fails is not ready in the
 * next one. Loop thread only. */
#pragma once
#include "data/json.h"
#include "gateway/config.h"

#include <uv.h>

typedef struct sp_health sp_health;

/* changed: the state of some endpoint is another than the last overlay wrote; make a configuration
 * (a little later will do: several may change in a row). */
sp_health *sp_health_new(uv_loop_t *loop, void (*changed)(void *ctx), void *ctx);
sp_health *sp_health_free(sp_health *h); /* takes NULL, returns NULL */

/* The checks that this configuration asks for run from now on, others end. Nothing of it is kept.
 * Checks that go on keep their state; one that takes the place of another (of the same server in
 * the same pool) begins with what that one knew. */
void sp_health_follow(sp_health *h, const sp_gateway_config *c);
/* Before c is given to anybody: endpoints that failed are not ready (and marked sick), those that
 * an agent told to drain are draining, weights and limits told by an agent apply. Without a result
 * yet an endpoint is taken as it is. */
void sp_health_overlay(const sp_health *h, sp_gateway_config *c);

/* What checks know, for a successor: [{"place" (of a pool and server), "up", of an agent:
 * "draining", "maintenance", "percent", "maxConnections"}]. What is heard (NULL: nothing) is known
 * to the checks that the next sp_health_follow begins. */
sp_json *sp_health_tell(const sp_health *h, sp_arena *a);
void sp_health_hear(sp_health *h, const sp_json *told);

/* For metrics, commands and the page. */
typedef struct sp_health_state {
    sp_addr addr; /* with the port that is checked */
    sp_check_kind kind;
    bool known, up, draining;
    uint64_t passed, failed, transitions;
    const char *reason; /* of the last result: "connection refused", "status 503" */
    int64_t last_ms;    /* how long the last one took */
    sp_str pool, name;  /* one of those that ask for it; its server */
} sp_health_state;
size_t sp_health_count(const sp_health *h);
sp_health_state sp_health_at(const sp_health *h, size_t i); /* lent until the loop goes on */
