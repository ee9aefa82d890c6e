/* See report.h. Made from a snapshot of all loops when somebody asks; nothing is kept. */
#include "gateway/report.h"
#include "base/clock.h"
#include "base/log.h"
#include "data/time.h"

#include <unistd.h>

/* --- counters --- */

static void add_status(sp_arena *a, sp_json *to, const uint64_t status[6]) {
    static const char *const names[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    sp_json *s = sp_json_set(a, to, "status", sp_json_object(a));
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (status[i]) sp_json_set_int(a, s, names[i], (int64_t)status[i]);
}

static void add_mean(sp_arena *a, sp_json *to, uint64_t sum_ms, uint64_t n) {
    double mean = n ? (double)sum_ms / (double)n : 0;
    sp_json_set(a, to, "meanMs", sp_json_new_double(a, (double)(int64_t)(mean * 10) / 10));
}

static void add_address(sp_arena *a, sp_json *to, const sp_addr *addr) {
    char text[SP_ADDR_MAX];
    sp_addr_format(addr, text);
    sp_json_set_z(a, to, "address", text);
}

static sp_json *totals(sp_arena *a, const sp_worker_stats *s) {
    sp_json *t = sp_json_object(a);
#define X(field, name, help) sp_json_set_int(a, t, #field, (int64_t)s->field);
    SP_WORKER_COUNTERS(X)
#undef X
    sp_json_set_int(a, t, "open", (int64_t)s->open);
    sp_json_set_int(a, t, "kept", (int64_t)s->idle_upstreams);
    return t;
}

/* --- listeners and routes --- */

static sp_json *listeners(sp_arena *a, const sp_fleet_report *r) {
    sp_json *list = sp_json_array(a);
    sp_vec_each(&r->listeners, l) {
        sp_json *o = sp_json_push(list, sp_json_object(a));
        add_address(a, o, &l->addr);
        sp_json_set(a, o, "owner", sp_json_new_str(a, l->owner));
        sp_json_set_bool(a, o, "bound", l->bound);
        sp_json_set_int(a, o, "open", (int64_t)l->open);
        sp_json_set_int(a, o, "total", (int64_t)l->connections);
    }
    return list;
}

static sp_json *routes(sp_arena *a, const sp_fleet_report *r) {
    sp_json *list = sp_json_array(a);
    sp_vec_each(&r->routes, it) {
        sp_json *o = sp_json_push(list, sp_json_object(a));
        sp_json_set(a, o, "route", sp_json_new_str(a, it->owner));
        sp_json_set_int(a, o, "requests", (int64_t)it->counts.requests);
        add_status(a, o, it->counts.status);
        sp_json_set_int(a, o, "bytesIn", (int64_t)it->counts.bytes_in);
        sp_json_set_int(a, o, "bytesOut", (int64_t)it->counts.bytes_out);
        add_mean(a, o, it->counts.latency_sum_ms, it->counts.requests);
    }
    return list;
}

/* --- servers --- */

static const char *state_of(const sp_endpoint_report *e, const sp_steering *said) {
    if (e->gone) return "gone";
    if (said->state == SP_STEER_DISABLED) return "disabled";
    if (said->state == SP_STEER_DRAIN || said->weight == 0) return "drain";
    if (e->ready) return "up";
    return e->draining ? "draining" : "down";
}

static const sp_endpoint_spec *spec_of(const sp_report_source *s, sp_str pool,
                                       const sp_addr *addr) {
    const sp_translation *t = s->build ? sp_build_current(s->build) : NULL;
    for (size_t i = 0; t && i < t->config->pool_count; i++) {
        const sp_pool_spec *p = &t->config->pools[i];
        if (!sp_str_eq(p->name, pool)) continue;
        for (size_t k = 0; k < p->endpoint_count; k++)
            if (sp_addr_eq(&p->endpoints[k].addr, addr)) return &p->endpoints[k];
    }
    return NULL;
}

/* By pool and server, because the port that is checked may be another one. */
static void add_check(const sp_report_source *s, sp_arena *a, sp_json *to, sp_str pool,
                      const sp_endpoint_report *e) {
    const sp_health *h = s->build ? sp_build_health(s->build) : NULL;
    for (size_t i = 0; h && i < sp_health_count(h); i++) {
        sp_health_state c = sp_health_at(h, i);
        bool same = sp_addr_eq(&c.addr, &e->addr) ||
                    (sp_str_eq(c.pool, pool) && e->name.n && sp_str_eq(c.name, e->name));
        if (!same) continue;
        sp_json_set(a, to, "check",
                    c.known ? sp_json_printf(a, "%s: %s", c.up ? "up" : "down",
                                             c.reason && *c.reason ? c.reason : "passed")
                            : sp_json_new_z(a, "no result yet"));
        return;
    }
}

static void add_failure(sp_arena *a, sp_json *to, const sp_endpoint_counts *c) {
    if (!c->last_failure_ms) return;
    sp_json_set_z(a, to, "lastFailure", c->last_failure);
    sp_json_set(a, to, "lastFailureTime", sp_json_new_time(a, c->last_failure_ms));
}

static sp_json *server(const sp_report_source *s, sp_arena *a, sp_str pool,
                       const sp_endpoint_report *e) {
    const sp_endpoint_counts *c = &e->counts;
    const sp_endpoint_spec *spec = spec_of(s, pool, &e->addr);
    sp_steering said = sp_steer_get(s->steer, pool, e->name, &e->addr);
    sp_json *o = sp_json_object(a);
    char at[SP_ADDR_MAX];
    sp_addr_format(&e->addr, at);
    sp_json_set(a, o, "server", sp_json_new_str(a, e->name.n ? e->name : sp_str_z(at)));
    sp_json_set_z(a, o, "address", at);
    sp_json_set_z(a, o, "state", state_of(e, &said));
    sp_json_set_int(a, o, "weight", spec && spec->weight ? spec->weight : 1);
    sp_json_set_int(a, o, "open", (int64_t)c->open);
    sp_json_set_int(a, o, "connections", (int64_t)c->connections);
    sp_json_set_int(a, o, "requests", (int64_t)c->requests);
    add_status(a, o, c->status);
    sp_json_set_int(a, o, "failures", (int64_t)(c->connect_failures + c->status[0]));
    sp_json_set_int(a, o, "bytesIn", (int64_t)c->bytes_in);
    sp_json_set_int(a, o, "bytesOut", (int64_t)c->bytes_out);
    add_mean(a, o, c->latency_sum_ms, c->requests);
    add_failure(a, o, c);
    add_check(s, a, o, pool, e);
    return o;
}

static sp_json *pools(const sp_report_source *s, sp_arena *a, const sp_fleet_report *r) {
    sp_json *list = sp_json_array(a);
    sp_vec_each(&r->pools, p) {
        sp_json *o = sp_json_push(list, sp_json_object(a));
        sp_json_set(a, o, "pool", sp_json_new_str(a, p->name));
        sp_json_set_int(a, o, "waiting", (int64_t)p->waiting);
        sp_json *servers = sp_json_set(a, o, "servers", sp_json_array(a));
        sp_vec_each(&p->endpoints, e) sp_json_push(servers, server(s, a, p->name, e));
    }
    return list;
}

sp_json *sp_report_make(const sp_report_source *s, sp_arena *a) {
    sp_fleet_report *r = sp_fleet_collect(s->fleet);
    sp_json *o = sp_json_object(a);
    sp_json_set_z(a, o, "version", SP_VERSION);
    sp_json_set_int(a, o, "pid", getpid());
    sp_json_set_int(a, o, "uptimeSeconds", (sp_clock_mono_ms() - s->started_ms) / 1000);
    sp_json_set_int(a, o, "loops", (int64_t)r->loops);
    sp_json_set(a, o, "totals", totals(a, &r->total));
    sp_json_set(a, o, "listeners", listeners(a, r));
    sp_json_set(a, o, "routes", routes(a, r));
    sp_json_set(a, o, "pools", pools(s, a, r));
    if (s->vips && *s->vips) sp_json_set(a, o, "addresses", sp_vip_control_status(*s->vips, a));
    sp_fleet_report_free(r);
    return o;
}

/* --- commands --- */

static void on_status(void *ctx, sp_admin_call *call, const sp_json *request) {
    (void)request;
    sp_admin_answer(call, sp_report_make(ctx, sp_admin_arena(call)));
}

static void on_steer(void *ctx, sp_admin_call *call, const sp_json *request) {
    sp_report_source *s = ctx;
    sp_steering said;
    const char *wrong;
    const sp_translation *t = s->build ? sp_build_current(s->build) : NULL;
    if (!sp_steer_read(request, &said, &wrong)) {
        sp_admin_fail(call, "%s", wrong);
        return;
    }
    size_t n = t ? sp_steer_count(t->config, said.pool, said.server) : 0;
    if (!n) {
        sp_admin_fail(call, "there is no server %.*s%s%.*s; see sampan gateway status",
                      SP_ARG(said.server), said.pool.n ? " in the pool " : "", SP_ARG(said.pool));
        return;
    }
    sp_steer_set(s->steer, &said);
    sp_build_now(s->build);
    sp_info("a server was steered", SP_KV("server", said.server), SP_KV("pool", said.pool),
            SP_KV("state", sp_json_str(sp_json_get(request, "state"))),
            SP_KV("weight", said.weight));
    sp_json *answer = sp_json_object(sp_admin_arena(call));
    sp_json_set_int(sp_admin_arena(call), answer, "servers", (int64_t)n);
    sp_admin_answer(call, answer);
}

void sp_report_serve(sp_admin *admin, sp_report_source *src) {
    sp_admin_on(admin, "status", on_status, src);
    sp_admin_on(admin, "steer", on_steer, src);
}
