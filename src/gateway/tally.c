/* What each endpoint did, counted by the loop it did it for: increments on the way, read by
 * sp_worker_visit (and from there by sp_fleet_collect). */
#include "base/clock.h"
#include "gateway/datapath.h"

#include <stdio.h>

enum { MAX_ROUTES = 10000 }; /* that were ever asked for */

const uint32_t sp_latency_bounds_ms[SP_LATENCY_BUCKETS - 1] = {1,   2,   5,    10,   25,   50,
                                                               100, 250, 1000, 5000, 30000};

void sp_upstream_name(sp_upstream *u, sp_str name) {
    if (sp_str_eq(u->name, name)) return;
    free((char *)(uintptr_t)u->name.p);
    u->name = name.n ? (sp_str){sp_str_dup(name), name.n} : (sp_str){0};
}

void sp_upstream_answered(sp_upstream *u, int status, int64_t took_ms) {
    size_t bucket = 0;
    u->counts.requests++;
    u->counts.status[status >= 100 && status < 600 ? status / 100 : 0]++;
    while (bucket < SP_LATENCY_BUCKETS - 1 && took_ms > sp_latency_bounds_ms[bucket]) bucket++;
    u->counts.latency[bucket]++;
    u->counts.latency_sum_ms += (uint64_t)SP_MAX(took_ms, 0);
}

void sp_upstream_failed(sp_upstream *u, const char *why) {
    u->counts.last_failure_ms = sp_clock_wall_ms();
    snprintf(u->counts.last_failure, sizeof u->counts.last_failure, "%s", why);
}

/* --- routes --- */

void sp_worker_count_route(sp_worker *w, sp_str owner, int status, uint64_t in, uint64_t out,
                           int64_t took_ms) {
    sp_route_counts *c = sp_map_get(&w->routes, owner);
    if (!c) {
        if (w->routes.n >= MAX_ROUTES) return;
        c = sp_zalloc(1, sizeof *c);
        sp_map_put(&w->routes, owner, c);
    }
    c->requests++;
    c->status[status >= 100 && status < 600 ? status / 100 : 0]++;
    c->bytes_in += in;
    c->bytes_out += out;
    c->latency_sum_ms += (uint64_t)SP_MAX(took_ms, 0);
}

void sp_worker_free_routes(sp_worker *w) {
    void *c;
    for (size_t at = 0; sp_map_next(&w->routes, &at, NULL, &c);) free(c);
    sp_map_free(&w->routes);
}

static void visit_routes(const sp_worker *w, const sp_worker_visitor *v) {
    sp_str owner;
    void *c;
    for (size_t at = 0; sp_map_next(&w->routes, &at, &owner, &c);) v->route(v->ctx, owner, c);
}

static void visit_endpoint(const sp_worker_visitor *v, const sp_upstream *u) {
    sp_endpoint_counts c = u->counts;
    c.open = u->e.open;
    v->endpoint(v->ctx, u->name, &u->e, u->idle_count, &c);
}

void sp_worker_visit(const sp_worker *w, const sp_worker_visitor *v) {
    visit_routes(w, v);
    sp_vec_each(&w->pool_at, p) {
        uint64_t waiting = (*p)->queued;
        sp_list_each(&(*p)->waiters, l) waiting += !SP_CONTAINER(l, sp_dial, waiting)->upstream;
        v->pool(v->ctx, (*p)->name, waiting);
        sp_vec_each(&(*p)->balance.list, e) visit_endpoint(v, (sp_upstream *)(void *)*e);
    }
}
