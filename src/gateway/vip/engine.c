#include "base/clock.h"
#include "base/log.h"
#include "gateway/vip/engine_internal.h"

#include <stdio.h>

enum { RENEW_MS = 1000 };

static char health_up, health_down;

static int64_t now_us(void) {
    return sp_clock_mono_us();
}

void sp_vip_engine_feed(sp_vip_router *r, const sp_vrrp_event *event) {
    sp_vrrp_state before = r->machine.state;
    bool handing_over = r->machine.handing_over;
    unsigned todo = sp_vrrp_step(&r->machine, now_us(), event);
    if (r->machine.handing_over && !handing_over)
        sp_info("a virtual address is handed over", SP_KV("instance", r->spec->name),
                SP_KV("priority", (unsigned)r->machine.priority));
    sp_vip_router_act(r, todo, before);
}

/* --- health --- */

static bool interface_is_up(sp_str name) {
    char z[16];
    snprintf(z, sizeof z, "%.*s", SP_ARG(name));
    return sp_vip_link_read(z).up;
}

static bool read_track(const sp_vip_engine *e, const sp_vip_track *t, sp_vip_tracked *ret) {
    *ret = (sp_vip_tracked){.weight = t->weight, .reverse = t->reverse};
    if (t->kind == SP_VIP_TRACK_INTERFACE) {
        ret->known = true;
        ret->up = interface_is_up(t->name);
        return true;
    }
    if (t->kind == SP_VIP_TRACK_HEALTH) {
        const void *said = sp_map_get(&e->health, t->name);
        ret->known = said != NULL;
        ret->up = said == &health_up;
        return true;
    }
    return sp_vip_checks_read(e->checks, t, ret);
}

/* What counts for this router alone; true when fault or pending is another than before. */
static sp_vip_sum sum_up(sp_vip_router *r) {
    sp_vip_sum s = {0};
    sp_vip_tracked t;
    sp_vec_each(&r->spec->tracks, track) {
        if (!read_track(r->engine, track, &t)) continue;
        if (!t.known && r->presumes) t.known = true, t.up = !t.reverse;
        sp_vip_sum_add(&s, &t);
    }
    if (!r->spec->dont_track_primary && !r->link.up) s.fault = true;
    if (!r->link.index || !r->source.family || !r->wire) s.fault = true;
    return s;
}

/* A member in fault takes its group along. */
static void count_group(const sp_vip_router *r, sp_vip_sum *s) {
    const sp_vip_group *g = sp_vip_router_group(r);
    if (!g) return;
    sp_vec_each(&r->engine->routers, o) {
        if (*o == r || !sp_str_eq((*o)->spec->group, g->name)) continue;
        s->fault |= (*o)->in_fault;
        s->pending |= (*o)->pending;
    }
}

static void tell_health(sp_vip_router *r, const sp_vip_sum *own) {
    sp_vip_sum s = *own;
    count_group(r, &s);
    uint8_t priority = sp_vip_effective(r->spec->priority, &s);
    if (priority != r->machine.priority)
        sp_info("the effective priority changes", SP_KV("instance", r->spec->name),
                SP_KV("from", (unsigned)r->machine.priority), SP_KV("to", (unsigned)priority));
    sp_vrrp_event event = {
        .kind = SP_VRRP_HEALTH, .priority = priority, .fault = s.fault, .pending = s.pending};
    sp_vip_engine_feed(r, &event);
}

void sp_vip_engine_look(sp_vip_engine *e) {
    SP_VEC(sp_vip_sum) sums = {0};
    sp_vec_each(&e->routers, r) {
        sp_vip_sum s = sum_up(*r);
        (*r)->in_fault = s.fault;
        (*r)->pending = s.pending;
        sp_vec_push(&sums, s);
    }
    for (size_t i = 0; i < e->routers.n; i++) tell_health(e->routers.p[i], &sums.p[i]);
    sp_vec_free(&sums);
    sp_vip_engine_set_timer(e);
    e->hooks.changed(e->hooks.ctx);
}

void sp_vip_engine_on_checks(void *ctx) {
    sp_vip_engine *e = ctx;
    if (!e->busy) sp_vip_engine_look(e);
}

void sp_vip_engine_set_health(sp_vip_engine *e, sp_str name, bool up) {
    void *value = up ? &health_up : &health_down;
    if (sp_map_put(&e->health, name, value) != value) sp_vip_engine_look(e);
}

/* --- packets --- */

static void refused(sp_vip_router *r, const char *text) {
    r->refused++;
    if (strcmp(r->last_refusal, text) == 0) return;
    snprintf(r->last_refusal, sizeof r->last_refusal, "%s", text);
    sp_warn("an advertisement is refused", SP_KV("instance", r->spec->name), SP_KV("why", text));
}

static void receive(sp_vip_router *r) {
    sp_vrrp_packet p;
    sp_addr src;
    for (;;) {
        sp_err err = {0};
        if (!r->wire) return;
        sp_vip_heard heard = sp_vip_wire_receive(r->wire, r->spec, &r->source, &p, &src, &err);
        if (heard == SP_VIP_NOTHING) return;
        if (heard == SP_VIP_REFUSED) refused(r, err.text);
        if (heard != SP_VIP_ADVERT) continue;
        r->received++;
        sp_vrrp_event e = {.kind = SP_VRRP_ADVERT,
                           .priority = p.priority,
                           .interval_us = (int64_t)p.interval_cs * 10000,
                           .compare = sp_addr_cmp(&src, &r->source)};
        sp_vip_engine_feed(r, &e);
    }
}

void sp_vip_engine_on_readable(uv_poll_t *p, int status, int events) {
    (void)status, (void)events;
    sp_vip_router *r = p->data;
    receive(r);
    sp_vip_engine_set_timer(r->engine);
}

/* --- time --- */

static void on_timer(uv_timer_t *t) {
    sp_vip_engine *e = t->data;
    sp_vrrp_event tick = {.kind = SP_VRRP_TICK};
    sp_vec_each(&e->routers, r) receive(*r); /* what is there came before the time was up */
    sp_vec_each(&e->routers, r) {
        if (sp_vrrp_deadline(&(*r)->machine) <= now_us()) sp_vip_engine_feed(*r, &tick);
    }
    sp_vip_engine_set_timer(e);
}

void sp_vip_engine_set_timer(sp_vip_engine *e) {
    int64_t at = INT64_MAX;
    sp_vec_each(&e->routers, r) {
        int64_t mine = sp_vrrp_deadline(&(*r)->machine);
        if (mine < at) at = mine;
    }
    if (at == INT64_MAX || !e->timer) {
        if (e->timer) uv_timer_stop(e->timer);
        return;
    }
    int64_t wait = SP_MAX(0, at - now_us());
    uv_update_time(e->loop);
    uv_timer_start(e->timer, on_timer, (uint64_t)((wait + 999) / 1000), 0);
}

static void renew(void *ctx) {
    sp_vip_engine *e = ctx;
    sp_vec_each(&e->routers, r) {
        if ((*r)->has_addresses && (*r)->spec->lease) sp_vip_router_add(*r);
    }
}

/* --- life --- */

static void free_handle(uv_handle_t *h) {
    free(h);
}

bool sp_vip_engine_new(uv_loop_t *loop, const sp_vip_engine_hooks *hooks, sp_vip_engine **ret,
                       sp_err *err) {
    sp_vip_kernel *kernel;
    if (!sp_vip_kernel_open(&kernel, err)) return false;
    sp_vip_engine *e = sp_zalloc(1, sizeof *e);
    *e = (sp_vip_engine){.loop = loop, .hooks = *hooks, .kernel = kernel};
    e->holding = hooks->inherit && hooks->hold;
    e->config = sp_vip_config_new();
    e->timer = sp_zalloc(1, sizeof *e->timer);
    uv_timer_init(loop, e->timer);
    e->timer->data = e;
    e->news = sp_zalloc(1, sizeof *e->news);
    uv_poll_init(loop, e->news, sp_vip_kernel_watch_fd(kernel));
    e->news->data = e;
    uv_poll_start(e->news, UV_READABLE, sp_vip_engine_on_news);
    e->renew = sp_timer_every(loop, RENEW_MS, renew, e);
    *ret = e;
    return true;
}

void sp_vip_engine_stop(sp_vip_engine *e, bool hand_over) {
    sp_vrrp_event stop = {.kind = SP_VRRP_STOP};
    e->stopping = e->busy = true;
    sp_vec_each(&e->routers, r) {
        if (!hand_over) (*r)->machine.o.hand_over = false;
        sp_vip_engine_feed(*r, &stop);
    }
    e->busy = false;
    sp_vip_engine_set_timer(e);
    sp_vip_engine_check_stopped(e);
}

sp_vip_engine *sp_vip_engine_free(sp_vip_engine *e) {
    if (!e) return NULL;
    e->busy = true;
    sp_timer_stop(e->renew);
    e->checks = sp_vip_checks_free(e->checks);
    while (e->routers.n) {
        sp_vip_router *r = e->routers.p[--e->routers.n];
        sp_vip_router_free(r);
    }
    uv_close((uv_handle_t *)e->timer, free_handle);
    uv_close((uv_handle_t *)e->news, free_handle);
    sp_vip_kernel_close(e->kernel);
    sp_vec_free(&e->routers);
    sp_map_free(&e->health);
    sp_vip_config_free(e->config);
    free(e);
    return NULL;
}

void sp_vip_engine_abandon(sp_vip_engine *e) {
    sp_vec_each(&e->routers, r) {
        sp_vip_router_close_wire(*r);
        free(*r);
    }
    e->routers.n = 0;
    sp_vip_engine_write_will(e);
    sp_vip_engine_set_timer(e);
}

static void view_of(const sp_vip_router *r, sp_vip_view *v) {
    *v = (sp_vip_view){.vrid = r->spec->vrid,
                       .priority = r->spec->priority,
                       .effective = r->machine.priority,
                       .master_priority = r->machine.master_priority,
                       .state = r->machine.state,
                       .transitions = r->machine.transitions,
                       .sent = r->sent,
                       .received = r->received,
                       .refused = r->refused,
                       .since_wall_ms = r->since_wall_ms};
    snprintf(v->name, sizeof v->name, "%.*s", SP_ARG(r->spec->name));
    snprintf(v->interface, sizeof v->interface, "%s", r->interface);
    snprintf(v->why, sizeof v->why, "%s", r->machine.why);
    snprintf(v->trouble, sizeof v->trouble, "%s", r->trouble);
}

void sp_vip_engine_views(const sp_vip_engine *e, sp_vip_views *ret) {
    sp_vec_each(&e->routers, r) {
        sp_vip_view v;
        view_of(*r, &v);
        sp_vec_push(ret, v);
    }
}
