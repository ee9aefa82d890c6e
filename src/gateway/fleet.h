/* A loop per core: a fleet of workers (worker.h), each on a thread with a loop of its own. They
 * share nothing that a connection touches: each has its own socket of every port (SO_REUSEPORT; the
 * kernel spreads connections over them), its own pools, counters and kept connections. What they
 * share is immutable (the configuration) or asked for rarely under a lock (sockets.h, the access
 * log).
 *
 * The main loop talks to them by calls that run on all of them side by side and return when all
 * have ended, some tens of microseconds later; workers never wait for the main loop. Every function
 * here: main loop's thread only. */
#pragma once
#include "gateway/sockets.h"
#include "gateway/worker.h"

typedef struct sp_fleet sp_fleet;

/* As many as CPUs that this process may use (affinity, cgroup quota), at least 1, at most 64. */
size_t sp_fleet_default_loops(void);
/* loop: the main one. sockets: borrowed, made for the same number of loops. max_connections of the
 * settings is shared out evenly. */
sp_fleet *sp_fleet_new(uv_loop_t *loop, const sp_worker_settings *s, sp_sockets *sockets,
                       size_t loops);
size_t sp_fleet_loops(const sp_fleet *f);
/* Referenced by each. When it returns, all carry it out. */
void sp_fleet_apply(sp_fleet *f, sp_gateway_config *config);
/* As sp_worker_stop, for all; the fleet is freed after done. */
void sp_fleet_stop(sp_fleet *f, uint32_t grace_ms, uint32_t idle_ms, void (*done)(void *ctx),
                   void *ctx);

/* Runs fn on each worker's own thread, side by side, and returns when all have run it. */
void sp_fleet_run(sp_fleet *f, void (*fn)(sp_worker *w, size_t loop, void *arg), void *arg);

/* Called, from the main loop, whenever a listener came to be bound or failed. */
void sp_fleet_on_listeners(sp_fleet *f, void (*fn)(void *ctx), void *ctx);
/* Of all loops: bound where all are; one error. Lent until the next return to the loop. */
size_t sp_fleet_listener_count(const sp_fleet *f);
sp_listener_state sp_fleet_listener(const sp_fleet *f, size_t i);

/* --- what it has done so far, gathered from all loops and summed --- */
typedef struct sp_endpoint_report {
    sp_str name;
    sp_addr addr;
    bool ready, draining, gone; /* gone: no longer in the pool, but connections are open */
    uint64_t idle;              /* kept connections */
    sp_endpoint_counts counts;
} sp_endpoint_report;

typedef struct sp_pool_report {
    sp_str name;
    uint64_t waiting; /* connections and requests without an endpoint yet */
    SP_VEC(sp_endpoint_report) endpoints;
} sp_pool_report;

typedef struct sp_route_report {
    sp_str owner;
    sp_route_counts counts;
} sp_route_report;

typedef struct sp_listener_report {
    sp_str owner;
    sp_addr addr;
    bool bound;
    uint64_t open, connections; /* now; so far */
} sp_listener_report;

typedef struct sp_fleet_report {
    sp_arena *arena; /* strings */
    size_t loops;
    sp_worker_stats total;
    SP_VEC(sp_worker_stats) of_loop;
    SP_VEC(sp_listener_report) listeners;
    SP_VEC(sp_pool_report) pools;
    SP_VEC(sp_route_report) routes;
} sp_fleet_report;

sp_fleet_report *sp_fleet_collect(sp_fleet *f);
sp_fleet_report *sp_fleet_report_free(sp_fleet_report *r); /* takes NULL, returns NULL */
