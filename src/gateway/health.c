/* See health.h. A check lives as long as some configuration asks for it; its key holds everything
 * that decides about the result, so equal ones are one, and a changed one is a new one. */
#include "gateway/health.h"
#include "base/log.h"
#include "base/rng.h"
#include "gateway/health_probe.h"
#include "gateway/health_state.h"
#include "net/loop.h"

#include <stdio.h>

enum { STARTS_PER_MS = 20 };

typedef struct check {
    sp_health *owner;
    sp_arena *arena; /* holds key, spec, names, pattern */
    sp_str key, pool, name;
    sp_addr addr;
    sp_check_spec spec;
    const sp_regex *body;
    const sp_regex **patterns; /* of spec.steps */
    const char *server_name;
    sp_tls_ctx *tls;
    sp_err fault; /* why it can never pass */
    bool wanted;
    bool beside; /* an agent beside another check: what cannot be reached says nothing */
    sp_check_state state;
    sp_agent_state agent;
    sp_probe *probe;
    sp_timer *next;
    uint64_t passed, failed, transitions;
    int64_t last_ms;
    char reason[200];
} check;

/* What is known before the first result. */
typedef struct knowledge {
    sp_check_state state;
    sp_agent_state agent;
} knowledge;

struct sp_health {
    uv_loop_t *loop;
    void (*changed)(void *ctx);
    void *ctx;
    SP_VEC(check *) checks;
    sp_map by_key;
    sp_map places; /* place_key → the check of that place; several may have one */
    sp_map told;   /* place_key → knowledge of a predecessor's */
};

static const char *const kind_names[] = {"none", "tcp", "tls", "http", "grpc", "agent", "script"};

/* --- results --- */

static void log_transition(const check *c, const char *what, bool good) {
    char at[SP_ADDR_MAX];
    sp_addr_format(&c->addr, at);
    sp_log_write(good ? SP_LOG_INFO : SP_LOG_WARN, what,
                 SP_LOG_FIELDS(SP_KV("pool", c->pool), SP_KV("server", c->name), SP_KV("at", at),
                               SP_KV("check", kind_names[c->spec.kind]), SP_KV("why", c->reason),
                               SP_KV("took_ms", c->last_ms)));
}

/* True when the next configuration will be another. */
static bool hear_agent(check *c, sp_str line, bool *passed) {
    sp_agent_words w;
    sp_str bad;
    if (!sp_agent_parse(line, &w, &bad)) {
        snprintf(c->reason, sizeof c->reason, "the agent said \"%.*s\", which is no word of agents",
                 (int)SP_MIN(bad.n, 40u), bad.p);
        *passed = false;
        return false;
    }
    sp_str said = sp_str_trim(line);
    snprintf(c->reason, sizeof c->reason, "the agent said: %.*s", (int)SP_MIN(said.n, 120u),
             said.p);
    bool changed = sp_agent_apply(&c->agent, &w, passed);
    if (changed) log_transition(c, "an agent changed its server's state", true);
    return changed;
}

static void judge(check *c, bool passed, sp_str agent) {
    bool first = !c->state.known, changed = false;
    if (passed && c->spec.kind == SP_CHECK_AGENT) changed = hear_agent(c, agent, &passed);
    *(passed ? &c->passed : &c->failed) += 1;
    if (c->beside && !agent.n) return;
    if (sp_check_result(&c->state, &c->spec, passed)) {
        c->transitions += !first;
        if (!first || !passed)
            log_transition(c, passed ? "server is up" : "server is down", passed);
        changed |= !first || !passed;
    }
    if (changed) c->owner->changed(c->owner->ctx);
}

static void start(void *ctx);

static void schedule(check *c, uint32_t ms) {
    c->next = sp_timer_start(c->owner->loop, ms, start, c);
}

static void on_result(void *ctx, const sp_probe_result *r) {
    check *c = ctx;
    c->probe = NULL;
    c->last_ms = r->took_ms;
    snprintf(c->reason, sizeof c->reason, "%s", r->reason);
    judge(c, r->passed, r->agent);
    schedule(c, sp_check_delay_ms(&c->state, &c->spec, sp_rng_u64()));
}

static void start(void *ctx) {
    check *c = ctx;
    c->next = NULL;
    if (c->fault.code) {
        snprintf(c->reason, sizeof c->reason, "%.190s", c->fault.text);
        judge(c, false, (sp_str){0});
        schedule(c, sp_check_delay_ms(&c->state, &c->spec, sp_rng_u64()));
        return;
    }
    sp_probe_params p = {.addr = c->addr,
                         .spec = &c->spec,
                         .body = c->body,
                         .patterns = c->patterns,
                         .tls = c->tls,
                         .server_name = c->server_name,
                         .name = c->name};
    c->probe = sp_probe_start(c->owner->loop, &p, on_result, c);
}

/* --- making and ending checks --- */

static void add_part(sp_buf *b, sp_str s) {
    sp_buf_printf(b, "|%zu:", s.n);
    sp_buf_add(b, s);
}

static sp_addr checked_addr(const sp_check_spec *s, const sp_endpoint_spec *e) {
    sp_addr a = e->addr;
    if (e->check_port && s->kind != SP_CHECK_AGENT)
        a.port = e->check_port;
    else if (s->port)
        a.port = s->port;
    return a;
}

static bool uses_tls(const sp_check_spec *s) {
    return s->tls || s->kind == SP_CHECK_TLS;
}

static void add_steps(sp_buf *b, const sp_check_spec *s) {
    for (size_t i = 0; i < s->step_count; i++) {
        const sp_check_step *t = &s->steps[i];
        sp_buf_printf(b, "|%d%s%u", t->kind, t->negated ? "!" : "+", t->min_bytes);
        add_part(b, t->bytes);
    }
}

/* The arguments of a script may depend on the name; other checks of one address are the same. */
static void make_key(sp_buf *b, const sp_pool_spec *p, const sp_check_spec *s,
                     const sp_endpoint_spec *e) {
    char at[SP_ADDR_MAX];
    sp_addr a = checked_addr(s, e);
    sp_addr_format(&a, at);
    sp_buf_clear(b);
    sp_buf_printf(b, "%s %d%s %u/%u/%u/%u %u/%u %d %u-%u", at, s->kind, s == &p->agent ? "+" : "",
                  s->interval_ms, s->fast_ms, s->down_ms, s->timeout_ms, s->rise, s->fall, s->tls,
                  s->status_min, s->status_max);
    const sp_str parts[] = {s->method, s->path, s->host, s->body, s->service, s->script};
    for (size_t i = 0; i < SP_COUNT(parts); i++) add_part(b, parts[i]);
    for (size_t i = 0; i < s->header_count; i++) {
        add_part(b, s->headers[i].name);
        add_part(b, s->headers[i].value);
    }
    add_steps(b, s);
    if (s->kind == SP_CHECK_SCRIPT) add_part(b, e->name);
    if (!uses_tls(s) || !p->tls) return;
    const sp_str tls[] = {p->tls->ca_pem, p->tls->server_name, p->tls->cert_pem, p->tls->key_pem};
    for (size_t i = 0; i < SP_COUNT(tls); i++) add_part(b, tls[i]);
    sp_buf_printf(b, "|%d", p->tls->insecure);
}

static sp_check_step *copy_steps(sp_arena *a, const sp_check_spec *s) {
    sp_check_step *steps = sp_arena_alloc(a, (s->step_count + 1) * sizeof *steps);
    for (size_t i = 0; i < s->step_count; i++) {
        steps[i] = s->steps[i];
        steps[i].bytes = sp_arena_str(a, s->steps[i].bytes);
    }
    return steps;
}

static void copy_spec(check *c, const sp_check_spec *from) {
    sp_check_spec s = sp_check_defaults(from);
    sp_str *const texts[] = {&s.method, &s.path, &s.host, &s.body, &s.service, &s.script};
    for (size_t i = 0; i < SP_COUNT(texts); i++) *texts[i] = sp_arena_str(c->arena, *texts[i]);
    s.headers = sp_arena_alloc(c->arena, (s.header_count + 1) * sizeof *s.headers);
    for (size_t i = 0; i < s.header_count; i++)
        s.headers[i] =
            (sp_header){sp_http_lower(c->arena, sp_arena_str(c->arena, from->headers[i].name)),
                        sp_arena_str(c->arena, from->headers[i].value)};
    s.steps = copy_steps(c->arena, from);
    c->spec = s;
}

static bool make_tls(check *c, const sp_upstream_tls *t, sp_err *err) {
    sp_tls_config config = {.insecure = true};
    if (t) {
        config = (sp_tls_config){.cert_pem = t->cert_pem,
                                 .key_pem = t->key_pem,
                                 .ca_pem = t->ca_pem,
                                 .insecure = t->insecure};
        if (t->server_name.n) c->server_name = sp_arena_str(c->arena, t->server_name).p;
    }
    if (c->spec.kind == SP_CHECK_HTTP) config.alpn = "h2,http/1.1";
    if (c->spec.kind == SP_CHECK_GRPC) config.alpn = "h2";
    return sp_tls_ctx_new(&config, &c->tls, err);
}

static bool compile_steps(check *c, sp_err *err) {
    c->patterns = sp_arena_alloc(c->arena, (c->spec.step_count + 1) * sizeof *c->patterns);
    for (size_t i = 0; i < c->spec.step_count; i++) {
        const sp_check_step *s = &c->spec.steps[i];
        c->patterns[i] = NULL;
        if (s->kind == SP_CHECK_STEP_PATTERN &&
            !sp_regex_compile(c->arena, s->bytes, &c->patterns[i], err))
            return false;
    }
    return true;
}

static check *new_check(sp_health *h, sp_str key, const sp_pool_spec *p, const sp_check_spec *s,
                        const sp_endpoint_spec *e) {
    check *c = sp_zalloc(1, sizeof *c);
    char at[SP_ADDR_MAX];
    c->owner = h;
    c->arena = sp_arena_new();
    c->key = sp_arena_str(c->arena, key);
    c->addr = checked_addr(s, e);
    sp_addr_format(&e->addr, at);
    c->name = sp_arena_str(c->arena, e->name.n ? e->name : sp_str_z(at));
    c->pool = sp_arena_str(c->arena, p->name);
    c->agent.percent = 100;
    c->beside = s == &p->agent;
    copy_spec(c, s);
    bool ok = compile_steps(c, &c->fault) && (!uses_tls(s) || make_tls(c, p->tls, &c->fault));
    if (ok && s->kind == SP_CHECK_HTTP && s->body.n)
        (void)!sp_regex_compile(c->arena, c->spec.body, &c->body, &c->fault);
    sp_vec_push(&h->checks, c);
    sp_map_put(&h->by_key, c->key, c);
    return c;
}

static void free_check(check *c) {
    sp_timer_stop(c->next);
    sp_probe_cancel(c->probe);
    sp_map_del(&c->owner->by_key, c->key);
    sp_tls_ctx_unref(c->tls);
    sp_arena_free(c->arena);
    free(c);
}

/* --- what one check leaves to the next --- */

/* A pool's server has one check, and one agent beside it. */
static sp_str place_key(sp_buf *b, const sp_pool_spec *p, const sp_check_spec *s,
                        const sp_endpoint_spec *e) {
    char at[SP_ADDR_MAX];
    sp_addr_format(&e->addr, at);
    sp_buf_clear(b);
    sp_buf_printf(b, "%s %d %.*s", at, s == &p->agent, SP_ARG(p->name));
    return sp_buf_str(b);
}

/* before: the places of the last time. */
static void recall(check *c, const sp_map *before, sp_str place) {
    const check *last = sp_map_get(before, place);
    const knowledge *told = sp_map_get(&c->owner->told, place);
    if (last)
        c->state = last->state, c->agent = last->agent;
    else if (told)
        c->state = told->state, c->agent = told->agent;
    c->state.row = 0;
}

static void forget_told(sp_health *h) {
    void *known;
    for (size_t at = 0; sp_map_next(&h->told, &at, NULL, &known);) free(known);
    sp_map_free(&h->told);
}

sp_json *sp_health_tell(const sp_health *h, sp_arena *a) {
    sp_json *all = sp_json_array(a);
    sp_str place;
    void *value;
    for (size_t at = 0; sp_map_next(&h->places, &at, &place, &value);) {
        const check *c = value;
        if (!c->state.known) continue;
        sp_json *o = sp_json_push(all, sp_json_object(a));
        sp_json_set(a, o, "place", sp_json_new_str(a, place));
        sp_json_set_bool(a, o, "up", c->state.up);
        if (c->spec.kind != SP_CHECK_AGENT) continue;
        sp_json_set_bool(a, o, "draining", c->agent.draining);
        sp_json_set_bool(a, o, "maintenance", c->agent.maintenance);
        sp_json_set_int(a, o, "percent", c->agent.percent);
        sp_json_set_int(a, o, "maxConnections", c->agent.max_connections);
    }
    return all;
}

void sp_health_hear(sp_health *h, const sp_json *told) {
    forget_told(h);
    sp_json_each(told, o) {
        sp_str place = sp_json_str(sp_json_get(o, "place"));
        int64_t percent = sp_json_int(sp_json_get(o, "percent"), 100);
        int64_t most = sp_json_int(sp_json_get(o, "maxConnections"), 0);
        if (sp_map_get(&h->told, place)) continue;
        knowledge *k = sp_zalloc(1, sizeof *k);
        k->state = (sp_check_state){.known = true, .up = sp_json_bool(sp_json_get(o, "up"), true)};
        k->agent =
            (sp_agent_state){.draining = sp_json_bool(sp_json_get(o, "draining"), false),
                             .maintenance = sp_json_bool(sp_json_get(o, "maintenance"), false),
                             .percent = (uint16_t)SP_MAX(0, SP_MIN(percent, 25600)),
                             .max_connections = (uint32_t)SP_MAX(0, SP_MIN(most, UINT32_MAX))};
        sp_map_put(&h->told, place, k);
    }
}

static void drop_unwanted(sp_health *h) {
    size_t kept = 0;
    for (size_t i = 0; i < h->checks.n; i++) {
        check *c = h->checks.p[i];
        if (c->wanted)
            h->checks.p[kept++] = c;
        else
            free_check(c);
    }
    h->checks.n = kept;
}

/* --- what the control side calls --- */

sp_health *sp_health_new(uv_loop_t *loop, void (*changed)(void *ctx), void *ctx) {
    sp_health *h = sp_zalloc(1, sizeof *h);
    h->loop = loop;
    h->changed = changed;
    h->ctx = ctx;
    return h;
}

sp_health *sp_health_free(sp_health *h) {
    if (!h) return NULL;
    sp_vec_each(&h->checks, c) free_check(*c);
    sp_vec_free(&h->checks);
    sp_map_free(&h->by_key);
    sp_map_free(&h->places);
    forget_told(h);
    free(h);
    return NULL;
}

typedef struct following {
    sp_map before; /* the places of the last time */
    sp_buf key, place;
    size_t started;
} following;

static void want(sp_health *h, const sp_pool_spec *p, const sp_check_spec *s, following *f) {
    if (s->kind == SP_CHECK_NONE) return;
    for (size_t i = 0; i < p->endpoint_count; i++) {
        const sp_endpoint_spec *e = &p->endpoints[i];
        if (e->unchecked) continue;
        sp_str place = place_key(&f->place, p, s, e);
        make_key(&f->key, p, s, e);
        check *c = sp_map_get(&h->by_key, sp_buf_str(&f->key));
        if (!c) {
            c = new_check(h, sp_buf_str(&f->key), p, s, e);
            recall(c, &f->before, place);
            schedule(c, (uint32_t)(f->started++ / STARTS_PER_MS));
        }
        sp_map_put(&h->places, place, c);
        c->wanted = true;
    }
}

void sp_health_follow(sp_health *h, const sp_gateway_config *config) {
    following f = {.before = h->places};
    h->places = (sp_map){0};
    sp_vec_each(&h->checks, c)(*c)->wanted = false;
    for (size_t i = 0; i < config->pool_count; i++) {
        const sp_pool_spec *p = &config->pools[i];
        want(h, p, &p->check, &f);
        want(h, p, &p->agent, &f);
    }
    drop_unwanted(h);
    forget_told(h);
    sp_map_free(&f.before);
    sp_buf_free(&f.key);
    sp_buf_free(&f.place);
}

static void overlay_agent(const check *c, sp_endpoint_spec *e) {
    const sp_agent_state *a = &c->agent;
    e->held_out = a->maintenance || a->draining || !a->percent;
    if (a->maintenance) e->ready = e->draining = false;
    if (e->ready && (a->draining || !a->percent)) {
        e->ready = false;
        e->draining = e->no_newcomers = true;
    }
    uint32_t weight = e->weight ? e->weight : 1;
    if (a->percent != 100)
        e->weight = (uint16_t)SP_MIN(SP_MAX(weight * a->percent / 100, 1u), 256u);
    if (a->max_connections) e->max_connections = a->max_connections;
}

static void overlay(const sp_health *h, const sp_pool_spec *p, const sp_check_spec *s,
                    sp_buf *key) {
    if (s->kind == SP_CHECK_NONE) return;
    for (size_t i = 0; i < p->endpoint_count; i++) {
        sp_endpoint_spec *e = &p->endpoints[i];
        if (e->unchecked) continue;
        make_key(key, p, s, e);
        const check *c = sp_map_get(&h->by_key, sp_buf_str(key));
        if (!c || !c->state.known) continue;
        if (!c->state.up && e->ready) {
            e->ready = false;
            e->sick = true;
        }
        if (s->kind == SP_CHECK_AGENT) overlay_agent(c, e);
    }
}

void sp_health_overlay(const sp_health *h, sp_gateway_config *config) {
    sp_auto(sp_buf) key = {0};
    for (size_t i = 0; i < config->pool_count; i++) {
        const sp_pool_spec *p = &config->pools[i];
        overlay(h, p, &p->check, &key);
        overlay(h, p, &p->agent, &key);
    }
}

size_t sp_health_count(const sp_health *h) {
    return h->checks.n;
}

sp_health_state sp_health_at(const sp_health *h, size_t i) {
    const check *c = h->checks.p[i];
    return (sp_health_state){.addr = c->addr,
                             .kind = c->spec.kind,
                             .known = c->state.known,
                             .up = c->state.up,
                             .draining = c->agent.draining,
                             .passed = c->passed,
                             .failed = c->failed,
                             .transitions = c->transitions,
                             .reason = c->reason,
                             .last_ms = c->last_ms,
                             .pool = c->pool,
                             .name = c->name};
}
