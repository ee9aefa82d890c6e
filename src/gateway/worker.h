/* The data path: binds listeners, accepts, connects to endpoints, carries bytes. It knows nothing
 * of Kubernetes; it carries out a sp_gateway_config and changes over to the next one without
 * touching a connection that is under way. One worker per loop; loop thread only. */
#pragma once
#include "base/err.h"
#include "gateway/config.h"

#include <uv.h>

typedef struct sp_worker sp_worker;

typedef struct sp_worker_settings {
    uint32_t connect_timeout_ms;  /* one attempt */
    uint32_t endpoint_wait_ms;    /* how long a client waits for an endpoint to appear */
    uint32_t head_timeout_ms;     /* for a request head */
    uint32_t idle_timeout_ms;     /* client connection between requests */
    uint32_t pooled_timeout_ms;   /* upstream connection between requests */
    uint32_t response_timeout_ms; /* until the first byte of the answer */
    uint32_t stream_timeout_ms;   /* bodies that do not move */
    size_t max_connections;       /* of clients; more wait in the kernel's queue */
    size_t max_idle_per_endpoint; /* pooled upstream connections */
    int access_log_fd;            /* -1 = none; borrowed */
} sp_worker_settings;

sp_worker_settings sp_worker_defaults(void);

sp_worker *sp_worker_new(uv_loop_t *loop, const sp_worker_settings *s);
/* Referenced. */
void sp_worker_apply(sp_worker *w, sp_gateway_config *config);
/* Accepts nothing more, ends idle connections at once and the others when they are done, at the
 * latest after grace_ms; then done is called once, and the worker is freed after it. */
void sp_worker_stop(sp_worker *w, uint32_t grace_ms, void (*done)(void *ctx), void *ctx);

typedef struct sp_listener_state {
    const sp_listener_spec *spec;
    sp_addr addr; /* with the real port where 0 was asked for */
    bool bound;
    const char *error; /* while it is not: "port 80 is used by nginx (pid 12)" */
} sp_listener_state;

/* Called, from the loop, whenever a listener came to be bound or failed. */
void sp_worker_on_listeners(sp_worker *w, void (*fn)(void *ctx), void *ctx);
size_t sp_worker_listener_count(const sp_worker *w);
sp_listener_state sp_worker_listener(const sp_worker *w, size_t i);

/* One row is one counter in /metrics: X(field, name, help) */
#define SP_WORKER_COUNTERS(X)                                                                      \
    X(connections, "connections_total", "Client connections accepted.")                            \
    X(turned_away, "turned_away_total", "Clients outside of loadBalancerSourceRanges.")            \
    X(requests, "http_requests_total", "HTTP requests answered.")                                  \
    X(status_2xx, "http_responses_2xx_total", "HTTP answers with status 200 to 299.")              \
    X(status_3xx, "http_responses_3xx_total", "HTTP answers with status 300 to 399.")              \
    X(status_4xx, "http_responses_4xx_total", "HTTP answers with status 400 to 499.")              \
    X(status_5xx, "http_responses_5xx_total", "HTTP answers with status 500 to 599.")              \
    X(own_errors, "http_own_errors_total", "HTTP errors that the gateway itself answered.")        \
    X(retries, "retries_total", "Attempts that went on to another endpoint or connection.")        \
    X(connect_failures, "upstream_connect_failures_total", "Endpoints that could not be reached.") \
    X(upstream_connections, "upstream_connections_total", "Connections made to endpoints.")        \
    X(upstream_reused, "upstream_reused_total", "Requests sent on a kept connection.")             \
    X(no_endpoint, "no_endpoint_total", "Connections or requests that found no endpoint.")         \
    X(ejections, "outlier_ejections_total", "Endpoints put out for what the traffic told.")        \
    X(bytes_in, "bytes_in_total", "Bytes received from clients.")                                  \
    X(bytes_out, "bytes_out_total", "Bytes sent to clients.")

typedef struct sp_worker_stats {
#define X(field, name, help) uint64_t field;
    SP_WORKER_COUNTERS(X)
#undef X
    uint64_t open; /* client connections now */
    uint64_t idle_upstreams;
} sp_worker_stats;
const sp_worker_stats *sp_worker_get_stats(const sp_worker *w);

/* Which process listens on this port already (from /proc; ours named in own_inodes do not count):
 * "nginx (pid 12)", or "another process"; false if nobody does. */
bool sp_port_owner(const sp_addr *addr, const uint64_t *own_inodes, size_t n, char *ret,
                   size_t cap);
