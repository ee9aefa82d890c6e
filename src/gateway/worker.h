/* The data path: binds listeners, accepts, connects to endpoints, carries bytes. It knows nothing
 * of Kubernetes; it carries out a sp_gateway_config and changes over to the next one without
 * touching a connection that is under way. One worker per loop; loop thread only. */
#pragma once
#include "base/err.h"
#include "gateway/access_log.h"
#include "gateway/config.h"
#include "gateway/poller.h"

#include <uv.h>

typedef struct sp_worker sp_worker;
struct sp_sockets;

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
    sp_engine engine;
    int access_log_fd; /* -1 = none; borrowed */
    sp_access_format access_log_format;
    /* Of a fleet (fleet.h): limits of a whole pool are to be shared out over so many loops. */
    uint32_t loop, loops;       /* which of how many */
    struct sp_sockets *sockets; /* borrowed; NULL: its own */
} sp_worker_settings;

sp_worker_settings sp_worker_defaults(void);

sp_worker *sp_worker_new(uv_loop_t *loop, const sp_worker_settings *s);
/* On the thread of its loop, in place of uv_run: until it has stopped and the loop is empty. */
void sp_worker_run(sp_worker *w);
/* Referenced. */
void sp_worker_apply(sp_worker *w, sp_gateway_config *config);
/* Accepts nothing more, ends connections when they are done, at the latest after grace_ms; then
 * done is called once, and the worker is freed after it. A kept HTTP/1 client connection may have
 * its next request on the way, so it gets idle_ms for it (the answer says Connection: close). */
void sp_worker_stop(sp_worker *w, uint32_t grace_ms, uint32_t idle_ms, void (*done)(void *ctx),
                    void *ctx);

/* Resets every client's connection to this address; the port does not matter. */
void sp_worker_reset_address(sp_worker *w, const sp_addr *ip);

typedef struct sp_listener_state {
    const sp_listener_spec *spec;
    sp_addr addr; /* with the real port where 0 was asked for */
    bool bound;
    uint64_t open, connections; /* now, so far */
    const char *error;          /* while it is not: "port 80 is used by nginx (pid 12)" */
} sp_listener_state;

/* Called, from the loop, whenever a listener came to be bound or failed. */
void sp_worker_on_listeners(sp_worker *w, void (*fn)(void *ctx), void *ctx);
size_t sp_worker_listener_count(const sp_worker *w);
sp_listener_state sp_worker_listener(const sp_worker *w, size_t i);

/* --- what an endpoint did, of one worker --- */
/* Requests by the time to the answer's first byte: bucket i counts those of at most
 * sp_latency_bounds_ms[i], the last one all others. */
enum { SP_LATENCY_BUCKETS = 12 };
extern const uint32_t sp_latency_bounds_ms[SP_LATENCY_BUCKETS - 1];

typedef struct sp_endpoint_counts {
    uint64_t open; /* connections or requests now */
    uint64_t connections, connect_failures;
    uint64_t requests, status[6]; /* status[4]: answers 400 to 499; [0]: cut before the head */
    uint64_t bytes_in, bytes_out; /* to the endpoint, from it */
    uint64_t latency[SP_LATENCY_BUCKETS], latency_sum_ms;
    int64_t last_failure_ms; /* wall clock; 0 = never */
    char last_failure[64];   /* "connection refused" */
} sp_endpoint_counts;

/* What one route (by its owner: "HTTPRoute default/shop") did. */
typedef struct sp_route_counts {
    uint64_t requests, status[6], bytes_in, bytes_out, latency_sum_ms;
} sp_route_counts;

/* One row is one counter in /metrics: X(field, name, help) */
#define SP_WORKER_COUNTERS(X)                                                                      \
    X(connections, "connections_total", "Client connections accepted.")                            \
    X(turned_away, "turned_away_total", "Clients outside of loadBalancerSourceRanges.")            \
    X(too_fast, "turned_away_too_fast_total", "Clients beyond the connection rate of a port.")     \
    X(too_many, "turned_away_too_many_total", "Clients beyond the connections of a port.")         \
    X(requests, "http_requests_total", "HTTP requests answered.")                                  \
    X(status_2xx, "http_responses_2xx_total", "HTTP answers with status 200 to 299.")              \
    X(status_3xx, "http_responses_3xx_total", "HTTP answers with status 300 to 399.")              \
    X(status_4xx, "http_responses_4xx_total", "HTTP answers with status 400 to 499.")              \
    X(status_5xx, "http_responses_5xx_total", "HTTP answers with status 500 to 599.")              \
    X(own_errors, "http_own_errors_total", "HTTP errors that the gateway itself answered.")        \
    X(retries, "retries_total", "Attempts that went on to another endpoint or connection.")        \
    X(connect_failures, "upstream_connect_failures_total", "Endpoints that could not be reached.") \
    X(hedges, "upstream_second_connects_total", "Connects beside one that did not answer.")        \
    X(hedges_won, "upstream_second_connects_won_total", "Of them, those that answered first.")     \
    X(upstream_connections, "upstream_connections_total", "Connections made to endpoints.")        \
    X(upstream_reused, "upstream_reused_total", "Requests sent on a kept connection.")             \
    X(no_endpoint, "no_endpoint_total", "Connections or requests that found no endpoint.")         \
    X(ejections, "outlier_ejections_total", "Endpoints put out for what the traffic told.")        \
    X(queued, "queued_total", "Connections and requests that had to wait for a place.")            \
    X(queue_timeouts, "queue_timeouts_total", "Of them, those that waited in vain.")               \
    X(queue_refused, "queue_refused_total", "Turned away at once, because the queue was full.")    \
    X(retries_refused, "retries_refused_total", "Attempts beyond the pool's retry budget.")        \
    X(tls_handshakes, "tls_handshakes_total", "TLS handshakes of clients that were completed.")    \
    X(tls_resumed, "tls_resumed_total", "Of them, those that resumed a session.")                  \
    X(tls_refused, "tls_refused_total", "TLS clients refused, failed or too slow.")                \
    X(upstream_tls_failures, "upstream_tls_failures_total", "TLS handshakes to endpoints failed.") \
    X(proxy_refused, "proxy_refused_total", "Peers without the PROXY header they must send.")      \
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

/* Everything it knows about its endpoints: fn is called for each pool, and for each endpoint of it.
 * Worker's thread. */
typedef struct sp_worker_visitor {
    void (*pool)(void *ctx, sp_str name, uint64_t waiting);
    void (*route)(void *ctx, sp_str owner, const sp_route_counts *counts);
    void (*endpoint)(void *ctx, sp_str name, const sp_endpoint *e, uint64_t idle,
                     const sp_endpoint_counts *counts);
    void *ctx;
} sp_worker_visitor;
void sp_worker_visit(const sp_worker *w, const sp_worker_visitor *v);

/* Which process listens on this port already (from /proc; ours named in own_inodes do not count):
 * "nginx (pid 12)", or "another process"; false if nobody does. */
bool sp_port_owner(const sp_addr *addr, const uint64_t *own_inodes, size_t n, char *ret,
                   size_t cap);
