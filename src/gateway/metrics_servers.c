/* /metrics by listener, pool and server, with the detail that haproxy's exporter has. One row of a
 * table is one family, because Prometheus wants the samples of a family together. */
#include "gateway/metrics.h"

#include <stdio.h>

/* Label values come from object names and addresses, but servers of files have any name. */
static void add_label(sp_buf *b, sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n') {
            sp_buf_addz(b, "\\n");
            continue;
        }
        if (s.p[i] == '"' || s.p[i] == '\\') sp_buf_addc(b, '\\');
        sp_buf_addc(b, s.p[i]);
    }
}

static void add_family(sp_buf *b, const char *name, const char *help, const char *type) {
    sp_buf_printf(b, "# HELP sampan_gateway_%s %s\n# TYPE sampan_gateway_%s %s\n", name, help, name,
                  type);
}

static void add_value(sp_buf *b, uint64_t value) {
    sp_buf_printf(b, "} %llu\n", (unsigned long long)value);
}

/* --- listeners --- */

static void add_listener(sp_buf *b, const char *name, const sp_listener_report *l) {
    char at[SP_ADDR_MAX];
    sp_addr_format(&l->addr, at);
    sp_buf_printf(b, "sampan_gateway_%s{address=\"%s\",owner=\"", name, at);
    add_label(b, l->owner);
    sp_buf_addc(b, '"');
}

static void write_listeners(const sp_fleet_report *r, sp_buf *b) {
    add_family(b, "listener_bound", "1 while the port is served.", "gauge");
    sp_vec_each(&r->listeners, l) {
        add_listener(b, "listener_bound", l);
        add_value(b, l->bound);
    }
    add_family(b, "listener_connections", "Client connections open now.", "gauge");
    sp_vec_each(&r->listeners, l) {
        add_listener(b, "listener_connections", l);
        add_value(b, l->open);
    }
    add_family(b, "listener_connections_total", "Client connections accepted.", "counter");
    sp_vec_each(&r->listeners, l) {
        add_listener(b, "listener_connections_total", l);
        add_value(b, l->connections);
    }
}

/* --- pools --- */

static void write_pools(const sp_fleet_report *r, sp_buf *b) {
    add_family(b, "pool_waiting", "Connections and requests without a server yet.", "gauge");
    sp_vec_each(&r->pools, p) {
        sp_buf_addz(b, "sampan_gateway_pool_waiting{pool=\"");
        add_label(b, p->name);
        sp_buf_addc(b, '"');
        add_value(b, p->waiting);
    }
    add_family(b, "pool_servers_ready", "Servers that take new traffic.", "gauge");
    sp_vec_each(&r->pools, p) {
        uint64_t ready = 0;
        sp_vec_each(&p->endpoints, e) ready += e->ready;
        sp_buf_addz(b, "sampan_gateway_pool_servers_ready{pool=\"");
        add_label(b, p->name);
        sp_buf_addc(b, '"');
        add_value(b, ready);
    }
}

/* --- servers --- */

typedef uint64_t server_value(const sp_endpoint_report *e);

static uint64_t is_up(const sp_endpoint_report *e) {
    return e->ready;
}
static uint64_t is_draining(const sp_endpoint_report *e) {
    return e->draining;
}
static uint64_t idle(const sp_endpoint_report *e) {
    return e->idle;
}
static uint64_t open_now(const sp_endpoint_report *e) {
    return e->counts.open;
}
static uint64_t connections(const sp_endpoint_report *e) {
    return e->counts.connections;
}
static uint64_t connect_failures(const sp_endpoint_report *e) {
    return e->counts.connect_failures;
}
static uint64_t requests(const sp_endpoint_report *e) {
    return e->counts.requests;
}
static uint64_t bytes_in(const sp_endpoint_report *e) {
    return e->counts.bytes_in;
}
static uint64_t bytes_out(const sp_endpoint_report *e) {
    return e->counts.bytes_out;
}
static uint64_t last_failure(const sp_endpoint_report *e) {
    return (uint64_t)e->counts.last_failure_ms / 1000;
}

static const struct {
    const char *name, *help, *type;
    server_value *value;
} rows[] = {
    {"server_up", "1 while the server takes new traffic.", "gauge", is_up},
    {"server_draining", "1 while it keeps what it has and gets nothing new.", "gauge", is_draining},
    {"server_connections", "Connections or requests on it now.", "gauge", open_now},
    {"server_idle_connections", "Connections kept for later requests.", "gauge", idle},
    {"server_connections_total", "Connections made to it.", "counter", connections},
    {"server_connect_failures_total", "Connections that failed.", "counter", connect_failures},
    {"server_requests_total", "HTTP requests sent to it.", "counter", requests},
    {"server_bytes_in_total", "Bytes sent to it.", "counter", bytes_in},
    {"server_bytes_out_total", "Bytes received from it.", "counter", bytes_out},
    {"server_last_failure_seconds", "When it last failed, since 1970; 0 = never.", "gauge",
     last_failure},
};

static void add_server(sp_buf *b, const char *name, const sp_pool_report *p,
                       const sp_endpoint_report *e) {
    char at[SP_ADDR_MAX];
    sp_addr_format(&e->addr, at);
    sp_buf_printf(b, "sampan_gateway_%s{pool=\"", name);
    add_label(b, p->name);
    sp_buf_addz(b, "\",server=\"");
    add_label(b, e->name.n ? e->name : sp_str_z(at));
    sp_buf_printf(b, "\",address=\"%s\"", at);
}

static void write_responses(const sp_pool_report *p, const sp_endpoint_report *e, sp_buf *b) {
    for (int class = 1; class < 6; class ++) {
        add_server(b, "server_responses_total", p, e);
        sp_buf_printf(b, ",code=\"%dxx\"", class);
        add_value(b, e->counts.status[class]);
    }
    add_server(b, "server_responses_total", p, e);
    sp_buf_addz(b, ",code=\"none\"");
    add_value(b, e->counts.status[0]);
}

static void write_latency(const sp_pool_report *p, const sp_endpoint_report *e, sp_buf *b) {
    uint64_t sum = 0;
    for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++) {
        sum += e->counts.latency[i];
        add_server(b, "server_response_seconds_bucket", p, e);
        if (i + 1 < SP_LATENCY_BUCKETS)
            sp_buf_printf(b, ",le=\"%g\"", sp_latency_bounds_ms[i] / 1000.0);
        else
            sp_buf_addz(b, ",le=\"+Inf\"");
        add_value(b, sum);
    }
    add_server(b, "server_response_seconds_sum", p, e);
    sp_buf_printf(b, "} %.3f\n", (double)e->counts.latency_sum_ms / 1000.0);
    add_server(b, "server_response_seconds_count", p, e);
    add_value(b, sum);
}

typedef void write_server(const sp_pool_report *p, const sp_endpoint_report *e, sp_buf *b);

static void each_server(const sp_fleet_report *r, sp_buf *b, write_server *fn) {
    sp_vec_each(&r->pools, p) {
        sp_vec_each(&p->endpoints, e) fn(p, e, b);
    }
}

void sp_metrics_servers(const sp_fleet_report *r, sp_buf *b) {
    write_listeners(r, b);
    write_pools(r, b);
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        add_family(b, rows[i].name, rows[i].help, rows[i].type);
        sp_vec_each(&r->pools, p) {
            sp_vec_each(&p->endpoints, e) {
                add_server(b, rows[i].name, p, e);
                add_value(b, rows[i].value(e));
            }
        }
    }
    add_family(b, "server_responses_total", "Answers by the first digit of their status.",
               "counter");
    each_server(r, b, write_responses);
    add_family(b, "server_response_seconds", "From the request to the first byte of its answer.",
               "histogram");
    each_server(r, b, write_latency);
}
