/* What all loops did, as one report: one after the other adds its own, on its own thread. */
#include "gateway/datapath.h"
#include "gateway/fleet.h"

#include <pthread.h>
#include <stdio.h>

typedef struct gathering {
    pthread_mutex_t lock;
    sp_fleet_report *report;
    sp_map pools;     /* name → index + 1 */
    sp_map routes;    /* owner → index + 1 */
    sp_map endpoints; /* pool's index and address → index in the pool + 1 */
    size_t pool;      /* the one being visited */
} gathering;

static void visit_pool(void *ctx, sp_str name, uint64_t waiting) {
    gathering *g = ctx;
    sp_fleet_report *r = g->report;
    uintptr_t at = (uintptr_t)sp_map_get(&g->pools, name);
    if (!at) {
        sp_pool_report fresh = {.name = sp_arena_str(r->arena, name)};
        sp_vec_push(&r->pools, fresh);
        at = r->pools.n;
        sp_map_put(&g->pools, name, (void *)at);
    }
    g->pool = at - 1;
    r->pools.p[g->pool].waiting += waiting;
}

static void visit_route(void *ctx, sp_str owner, const sp_route_counts *c) {
    gathering *g = ctx;
    sp_fleet_report *r = g->report;
    uintptr_t at = (uintptr_t)sp_map_get(&g->routes, owner);
    if (!at) {
        sp_route_report fresh = {.owner = sp_arena_str(r->arena, owner)};
        sp_vec_push(&r->routes, fresh);
        at = r->routes.n;
        sp_map_put(&g->routes, owner, (void *)at);
    }
    sp_route_counts *to = &r->routes.p[at - 1].counts;
    to->requests += c->requests;
    to->bytes_in += c->bytes_in;
    to->bytes_out += c->bytes_out;
    to->latency_sum_ms += c->latency_sum_ms;
    for (size_t i = 0; i < SP_COUNT(to->status); i++) to->status[i] += c->status[i];
}

static sp_endpoint_report *same_endpoint(gathering *g, sp_str name, const sp_endpoint *e) {
    sp_pool_report *p = &g->report->pools.p[g->pool];
    char addr[SP_ADDR_MAX], key[SP_ADDR_MAX + 24];
    sp_addr_format(&e->addr, addr);
    snprintf(key, sizeof key, "%zu %s", g->pool, addr);
    uintptr_t at = (uintptr_t)sp_map_get(&g->endpoints, sp_str_z(key));
    if (!at) {
        sp_endpoint_report fresh = {.name = sp_arena_str(g->report->arena, name),
                                    .addr = e->addr,
                                    .ready = e->ready,
                                    .draining = e->draining,
                                    .gone = e->gone};
        sp_vec_push(&p->endpoints, fresh);
        at = p->endpoints.n;
        sp_map_put(&g->endpoints, sp_str_z(key), (void *)at);
    }
    return &p->endpoints.p[at - 1];
}

static void add_counts(sp_endpoint_counts *to, const sp_endpoint_counts *c) {
    to->open += c->open;
    to->connections += c->connections;
    to->connect_failures += c->connect_failures;
    to->requests += c->requests;
    to->bytes_in += c->bytes_in;
    to->bytes_out += c->bytes_out;
    to->latency_sum_ms += c->latency_sum_ms;
    for (size_t i = 0; i < SP_COUNT(to->status); i++) to->status[i] += c->status[i];
    for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++) to->latency[i] += c->latency[i];
    if (c->last_failure_ms <= to->last_failure_ms) return;
    to->last_failure_ms = c->last_failure_ms;
    memcpy(to->last_failure, c->last_failure, sizeof to->last_failure);
}

static void visit_endpoint(void *ctx, sp_str name, const sp_endpoint *e, uint64_t idle,
                           const sp_endpoint_counts *counts) {
    sp_endpoint_report *r = same_endpoint(ctx, name, e);
    r->idle += idle;
    add_counts(&r->counts, counts);
}

static void add_listeners(sp_fleet_report *r, const sp_worker *w) {
    for (size_t i = 0; i < sp_worker_listener_count(w); i++) {
        sp_listener_state s = sp_worker_listener(w, i);
        if (i == r->listeners.n) {
            sp_listener_report fresh = {
                .owner = sp_arena_str(r->arena, s.spec->owner), .addr = s.addr, .bound = true};
            sp_vec_push(&r->listeners, fresh);
        }
        sp_listener_report *l = &r->listeners.p[i]; /* all loops have them in the same order */
        l->bound &= s.bound;
        l->open += s.open;
        l->connections += s.connections;
    }
}

static void add_stats(sp_worker_stats *to, const sp_worker_stats *s) {
#define X(field, name, help) to->field += s->field;
    SP_WORKER_COUNTERS(X)
#undef X
    to->open += s->open;
    to->idle_upstreams += s->idle_upstreams;
}

static void gather(sp_worker *w, size_t loop, void *arg) {
    gathering *g = arg;
    sp_fleet_report *r = g->report;
    const sp_worker_visitor v = {visit_pool, visit_route, visit_endpoint, g};
    pthread_mutex_lock(&g->lock);
    r->of_loop.p[loop] = *sp_worker_get_stats(w);
    add_stats(&r->total, &r->of_loop.p[loop]);
    add_listeners(r, w);
    sp_worker_visit(w, &v);
    pthread_mutex_unlock(&g->lock);
}

sp_fleet_report *sp_fleet_collect(sp_fleet *f) {
    sp_fleet_report *r = sp_zalloc(1, sizeof *r);
    gathering g = {.lock = PTHREAD_MUTEX_INITIALIZER, .report = r};
    r->arena = sp_arena_new();
    r->loops = sp_fleet_loops(f);
    for (size_t i = 0; i < r->loops; i++) sp_vec_push(&r->of_loop, (sp_worker_stats){0});
    sp_fleet_run(f, gather, &g);
    sp_map_free(&g.pools);
    sp_map_free(&g.routes);
    sp_map_free(&g.endpoints);
    return r;
}

sp_fleet_report *sp_fleet_report_free(sp_fleet_report *r) {
    if (!r) return NULL;
    sp_vec_each(&r->pools, p) sp_vec_free(&p->endpoints);
    sp_vec_free(&r->pools);
    sp_vec_free(&r->routes);
    sp_vec_free(&r->listeners);
    sp_vec_free(&r->of_loop);
    sp_arena_free(r->arena);
    free(r);
    return NULL;
}
