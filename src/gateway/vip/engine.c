#include "gateway/vip/engine.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "gateway/vip/checks.h"
#include "gateway/vip/will.h"
#include "gateway/vip/wire.h"

#include <stdio.h>
#include <unistd.h>

enum { RENEW_MS = 1000, LEASE_S = 3 };

typedef struct router {
    sp_vip_engine *engine;
    const sp_vip_instance *spec;
    sp_vrrp machine;
    sp_vip_link link;
    sp_addr source;
    sp_vip_wire *wire;
    uv_poll_t *poll;
    bool has_addresses, stopped, cannot_send, inherited;
    bool in_fault, pending; /* of its own, without the group's */
    uint64_t sent, received, refused;
    int64_t since_wall_ms;
    char trouble[160], last_refusal[160];
    char interface[16];
} router;

struct sp_vip_engine {
    uv_loop_t *loop;
    sp_vip_engine_hooks hooks;
    sp_vip_config *config;
    sp_vip_kernel *kernel;
    sp_vip_checks *checks;
    SP_VEC(router *) routers;
    sp_map health; /* name → HEALTH_UP or HEALTH_DOWN */
    uv_timer_t *timer;
    uv_poll_t *news;
    sp_timer *renew;
    bool stopping, stopped_told, busy;
};

static char health_up, health_down;

static int64_t now_us(void) {
    return sp_clock_mono_us();
}

static void feed(router *r, const sp_vrrp_event *event);

/* --- trouble: told once, and again when it is another --- */

static void trouble(router *r, const char *text) {
    if (strcmp(r->trouble, text) == 0) return;
    snprintf(r->trouble, sizeof r->trouble, "%s", text);
    if (text[0])
        sp_warn("a virtual address has trouble", SP_KV("instance", r->spec->name),
                SP_KV("why", text));
}

/* --- addresses --- */

static unsigned index_of(const router *r, const sp_vip_address *a) {
    char name[16];
    if (a->dev.n == 0) return r->link.index;
    snprintf(name, sizeof name, "%.*s", SP_ARG(a->dev));
    return sp_vip_link_read(name).index;
}

static void add_one(router *r, const sp_vip_address *a) {
    sp_err err = {0};
    uint32_t lease = r->spec->lease ? LEASE_S : 0;
    if (!sp_vip_kernel_add(r->engine->kernel, index_of(r, a), a, lease, &err)) trouble(r, err.text);
}

static void add_addresses(router *r) {
    r->has_addresses = true;
    sp_vec_each(&r->spec->addresses, a) add_one(r, a);
    sp_vec_each(&r->spec->excluded, a) add_one(r, a);
}

static void remove_one(router *r, const sp_vip_address *a) {
    sp_err err = {0};
    unsigned index = index_of(r, a);
    if (index && !sp_vip_kernel_remove(r->engine->kernel, index, a, &err)) trouble(r, err.text);
}

static void remove_addresses(router *r) {
    r->has_addresses = false;
    sp_vec_each(&r->spec->addresses, a) remove_one(r, a);
    sp_vec_each(&r->spec->excluded, a) remove_one(r, a);
}

static void announce_one(router *r, const sp_vip_address *a) {
    char name[16];
    sp_vip_link link = r->link;
    sp_err err = {0};
    snprintf(name, sizeof name, "%.*s", SP_ARG(a->dev));
    if (a->dev.n) link = sp_vip_link_read(name);
    for (unsigned i = 0; i < r->spec->announce_repeat; i++)
        if (!sp_vip_announce(&link, &a->ip, &err)) trouble(r, err.text);
}

static void announce(router *r) {
    sp_vec_each(&r->spec->addresses, a) announce_one(r, a);
    sp_vec_each(&r->spec->excluded, a) announce_one(r, a);
}

static void renew(void *ctx) {
    sp_vip_engine *e = ctx;
    sp_vec_each(&e->routers, r) {
        if ((*r)->has_addresses && (*r)->spec->lease) add_addresses(*r);
    }
}

/* --- the last will --- */

static void will_of(const router *r, sp_buf *will) {
    uint8_t bytes[SP_VRRP_PACKET_MAX];
    sp_addr group = sp_vrrp_multicast(r->spec->family);
    size_t targets = r->spec->peers.n ? r->spec->peers.n : 1;
    for (size_t i = 0; i < targets; i++) {
        const sp_addr *to = r->spec->peers.n ? &r->spec->peers.p[i] : &group;
        size_t n = sp_vip_advert(r->spec, &r->source, to, 0, bytes);
        sp_vip_will_packet(will, r->spec->family, r->link.index, &r->source, to,
                           (sp_str){(char *)bytes, n});
    }
    for (size_t i = 0; i < r->spec->addresses.n + r->spec->excluded.n; i++) {
        const sp_vip_address *a = i < r->spec->addresses.n
                                      ? &r->spec->addresses.p[i]
                                      : &r->spec->excluded.p[i - r->spec->addresses.n];
        size_t n = sp_vip_kernel_removal(index_of(r, a), a, bytes, sizeof bytes);
        sp_vip_will_netlink(will, (sp_str){(char *)bytes, n});
    }
}

static void write_will(sp_vip_engine *e) {
    sp_auto(sp_buf) will = {0};
    if (!e->hooks.will) return;
    sp_vec_each(&e->routers, r) {
        if ((*r)->machine.state == SP_VRRP_MASTER) will_of(*r, &will);
    }
    e->hooks.will(e->hooks.ctx, sp_buf_str(&will));
}

/* --- telling people --- */

static const char *const *program_for(const sp_vip_notify *n, sp_vrrp_state s) {
    switch (s) {
    case SP_VRRP_MASTER: return n->master;
    case SP_VRRP_BACKUP: return n->backup;
    case SP_VRRP_FAULT: return n->fault;
    case SP_VRRP_INIT: break;
    }
    return n->stop;
}

static void notify(sp_vip_engine *e, const sp_vip_notify *n, const char *type, sp_str name,
                   sp_vrrp_state s, unsigned priority) {
    char number[8], called[128];
    const char *state = s == SP_VRRP_INIT ? "STOP" : sp_vrrp_state_name(s);
    snprintf(number, sizeof number, "%u", priority);
    snprintf(called, sizeof called, "%.*s", SP_ARG(name));
    const char *const words[5] = {type, called, state, number, NULL}, *const none[5] = {NULL};
    const char *const *one = program_for(n, s);
    if (one) sp_vip_tell_program(e->loop, e->config, one, none);
    if (n->any) sp_vip_tell_program(e->loop, e->config, n->any, words);
}

static const sp_vip_group *group_of(const router *r) {
    sp_vec_each(&r->engine->config->groups, g) {
        if (r->spec->group.n && sp_str_eq(g->name, r->spec->group)) return g;
    }
    return NULL;
}

/* A group is where its members are; the last one to arrive tells. */
static void notify_group(router *r) {
    const sp_vip_group *g = group_of(r);
    if (!g) return;
    sp_vec_each(&r->engine->routers, o) {
        if (sp_str_eq((*o)->spec->group, g->name) && (*o)->machine.state != r->machine.state)
            return;
    }
    notify(r->engine, &g->notify, "GROUP", g->name, r->machine.state, r->machine.priority);
}

static void told(router *r) {
    r->since_wall_ms = sp_clock_wall_ms();
    sp_info("a virtual address changes state", SP_KV("instance", r->spec->name),
            SP_KV("state", sp_vrrp_state_name(r->machine.state)), SP_KV("why", r->machine.why),
            SP_KV("priority", (unsigned)r->machine.priority));
    notify(r->engine, &r->spec->notify, "INSTANCE", r->spec->name, r->machine.state,
           r->machine.priority);
    notify_group(r);
}

/* --- what a machine answers is done --- */

static void send_advert(router *r) {
    sp_err err = {0};
    if (!r->wire || !r->source.family) return;
    if (sp_vip_wire_send(r->wire, r->spec, &r->source, r->machine.send_priority, &err)) {
        r->sent++;
        if (r->cannot_send) trouble(r, "");
        r->cannot_send = false;
    } else {
        r->cannot_send = true;
        trouble(r, err.text);
    }
}

static void check_stopped(sp_vip_engine *e) {
    if (!e->stopping || e->stopped_told || e->busy) return;
    sp_vec_each(&e->routers, r) {
        if (!(*r)->stopped) return;
    }
    e->stopped_told = true;
    e->hooks.stopped(e->hooks.ctx);
}

/* The members of a sync group are masters together or not at all. */
static void spread_to_group(router *r, sp_vrrp_state before) {
    const sp_vip_group *g = group_of(r);
    sp_vrrp_state s = r->machine.state;
    bool took = s == SP_VRRP_MASTER, lost = before == SP_VRRP_MASTER && s == SP_VRRP_BACKUP;
    if (!g || (!took && !lost)) return;
    sp_vrrp_event e = {.kind = took ? SP_VRRP_TAKE : SP_VRRP_YIELD};
    sp_vec_each(&r->engine->routers, o) {
        if (*o != r && sp_str_eq((*o)->spec->group, g->name)) feed(*o, &e);
    }
}

static void carry_out(router *r, unsigned todo, sp_vrrp_state before) {
    if (todo & SP_VRRP_DO_REMOVE) remove_addresses(r);
    /* Who becomes master is found before the old one, which hears it, leaves. */
    bool first = todo & SP_VRRP_DO_ADD;
    if ((todo & SP_VRRP_DO_SEND) && !first) send_advert(r);
    /* with each announcement too: a lease may have run out while this process stood still */
    if (todo & (SP_VRRP_DO_ADD | SP_VRRP_DO_ANNOUNCE)) add_addresses(r);
    if (todo & SP_VRRP_DO_ANNOUNCE) announce(r);
    if ((todo & SP_VRRP_DO_SEND) && first) send_advert(r);
    if (todo & SP_VRRP_DO_NOTIFY) {
        write_will(r->engine);
        told(r);
        spread_to_group(r, before);
        r->engine->hooks.changed(r->engine->hooks.ctx);
    }
    if (todo & SP_VRRP_DO_STOPPED) {
        r->stopped = true;
        check_stopped(r->engine);
    }
}

static void set_timer(sp_vip_engine *e);

static void feed(router *r, const sp_vrrp_event *event) {
    sp_vrrp_state before = r->machine.state;
    bool handing_over = r->machine.handing_over;
    unsigned todo = sp_vrrp_step(&r->machine, now_us(), event);
    if (r->machine.handing_over && !handing_over)
        sp_info("a virtual address is handed over", SP_KV("instance", r->spec->name),
                SP_KV("priority", (unsigned)r->machine.priority));
    carry_out(r, todo, before);
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
static sp_vip_sum sum_up(router *r) {
    sp_vip_sum s = {0};
    sp_vip_tracked t;
    sp_vec_each(&r->spec->tracks, track) {
        if (read_track(r->engine, track, &t)) sp_vip_sum_add(&s, &t);
    }
    if (!r->spec->dont_track_primary && !r->link.up) s.fault = true;
    if (!r->link.index || !r->source.family || !r->wire) s.fault = true;
    return s;
}

/* A member in fault takes its group along. */
static void count_group(const router *r, sp_vip_sum *s) {
    const sp_vip_group *g = group_of(r);
    if (!g) return;
    sp_vec_each(&r->engine->routers, o) {
        if (*o == r || !sp_str_eq((*o)->spec->group, g->name)) continue;
        s->fault |= (*o)->in_fault;
        s->pending |= (*o)->pending;
    }
}

static void tell_health(router *r, const sp_vip_sum *own) {
    sp_vip_sum s = *own;
    count_group(r, &s);
    uint8_t priority = sp_vip_effective(r->spec->priority, &s);
    if (priority != r->machine.priority)
        sp_info("the effective priority changes", SP_KV("instance", r->spec->name),
                SP_KV("from", (unsigned)r->machine.priority), SP_KV("to", (unsigned)priority));
    sp_vrrp_event event = {
        .kind = SP_VRRP_HEALTH, .priority = priority, .fault = s.fault, .pending = s.pending};
    feed(r, &event);
}

/* As soon as health allows: the addresses are here and their lease runs. */
static void take_inheritance(sp_vip_engine *e) {
    sp_vrrp_event take = {.kind = SP_VRRP_TAKE};
    sp_vec_each(&e->routers, r) {
        if (!(*r)->inherited || (*r)->machine.state == SP_VRRP_INIT) continue;
        (*r)->inherited = false;
        feed(*r, &take);
    }
}

static void look_at_health(sp_vip_engine *e) {
    SP_VEC(sp_vip_sum) sums = {0};
    sp_vec_each(&e->routers, r) {
        sp_vip_sum s = sum_up(*r);
        (*r)->in_fault = s.fault;
        (*r)->pending = s.pending;
        sp_vec_push(&sums, s);
    }
    for (size_t i = 0; i < e->routers.n; i++) tell_health(e->routers.p[i], &sums.p[i]);
    take_inheritance(e);
    sp_vec_free(&sums);
    set_timer(e);
    e->hooks.changed(e->hooks.ctx);
}

static void on_checks(void *ctx) {
    sp_vip_engine *e = ctx;
    if (!e->busy) look_at_health(e);
}

void sp_vip_engine_set_health(sp_vip_engine *e, sp_str name, bool up) {
    void *value = up ? &health_up : &health_down;
    if (sp_map_put(&e->health, name, value) != value) look_at_health(e);
}

/* --- packets --- */

static void refused(router *r, const char *text) {
    r->refused++;
    if (strcmp(r->last_refusal, text) == 0) return;
    snprintf(r->last_refusal, sizeof r->last_refusal, "%s", text);
    sp_warn("an advertisement is refused", SP_KV("instance", r->spec->name), SP_KV("why", text));
}

static void receive(router *r) {
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
        feed(r, &e);
    }
}

static void on_readable(uv_poll_t *p, int status, int events) {
    (void)status, (void)events;
    router *r = p->data;
    receive(r);
    set_timer(r->engine);
}

/* --- time --- */

static void on_timer(uv_timer_t *t) {
    sp_vip_engine *e = t->data;
    sp_vrrp_event tick = {.kind = SP_VRRP_TICK};
    sp_vec_each(&e->routers, r) receive(*r); /* what is there came before the time was up */
    sp_vec_each(&e->routers, r) {
        if (sp_vrrp_deadline(&(*r)->machine) <= now_us()) feed(*r, &tick);
    }
    set_timer(e);
}

static void set_timer(sp_vip_engine *e) {
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

/* --- links --- */

static void free_handle(uv_handle_t *h) {
    free(h);
}

static void close_wire(router *r) {
    if (r->poll) {
        uv_poll_stop(r->poll);
        uv_close((uv_handle_t *)r->poll, free_handle);
    }
    r->poll = NULL;
    r->wire = sp_vip_wire_close(r->wire);
}

static void open_wire(router *r) {
    sp_err err = {0};
    if (!sp_vip_wire_open(r->spec, &r->link, &r->wire, &err)) {
        trouble(r, err.text);
        return;
    }
    r->poll = sp_zalloc(1, sizeof *r->poll);
    r->poll->data = r;
    uv_poll_init(r->engine->loop, r->poll, sp_vip_wire_fd(r->wire));
    uv_poll_start(r->poll, UV_READABLE, on_readable);
}

static void look_at_link(router *r) {
    sp_vip_link l = sp_vip_link_read(r->interface);
    if (l.index != r->link.index) close_wire(r);
    r->link = l;
    sp_addr found = r->spec->source;
    if (!found.family)
        found = sp_vip_link_address(r->interface, r->spec->family, r->spec->addresses.p,
                                    r->spec->addresses.n);
    if (found.family || !l.up) r->source = found.family ? found : r->source;
    if (l.index && !r->wire) open_wire(r);
    char text[96] = "";
    if (!l.index)
        snprintf(text, sizeof text, "there is no interface %s", r->interface);
    else if (!r->source.family)
        snprintf(text, sizeof text, "%s has no address to send from", r->interface);
    if (text[0]) trouble(r, text);
}

static void on_news(uv_poll_t *p, int status, int events) {
    (void)status, (void)events;
    sp_vip_engine *e = p->data;
    sp_vip_kernel_drain(e->kernel);
    sp_vec_each(&e->routers, r) look_at_link(*r);
    look_at_health(e);
}

/* --- configuration --- */

static router *new_router(sp_vip_engine *e, const sp_vip_instance *spec) {
    router *r = sp_zalloc(1, sizeof *r);
    *r = (router){.engine = e, .spec = spec, .since_wall_ms = sp_clock_wall_ms()};
    snprintf(r->interface, sizeof r->interface, "%.*s", SP_ARG(spec->interface));
    sp_vrrp_init(&r->machine, &spec->options, spec->priority);
    look_at_link(r);
    if (e->hooks.inherit && spec->addresses.n)
        r->inherited = sp_vip_link_has(r->interface, &spec->addresses.p[0].ip);
    if (r->link.index && !r->inherited) remove_addresses(r); /* of one that was killed */
    return r;
}

static void free_router(router *r) {
    sp_vrrp_event stop = {.kind = SP_VRRP_STOP};
    r->machine.o.hand_over = false;
    if (r->machine.state == SP_VRRP_MASTER) feed(r, &stop);
    if (r->has_addresses) remove_addresses(r);
    close_wire(r);
    free(r);
}

static bool same_router(const router *r, const sp_vip_instance *i) {
    return r->spec->vrid == i->vrid && r->spec->family == i->family &&
           sp_str_eqz(i->interface, r->interface);
}

static bool holds(const sp_vip_instance *i, const sp_vip_address *a) {
    sp_vec_each(&i->addresses, x) {
        if (sp_addr_eq(&x->ip, &a->ip) && x->bits == a->bits) return true;
    }
    sp_vec_each(&i->excluded, x) {
        if (sp_addr_eq(&x->ip, &a->ip) && x->bits == a->bits) return true;
    }
    return false;
}

/* The state stays; sockets are opened anew because peers and source may differ. */
static void change_router(router *r, const sp_vip_instance *i) {
    const sp_vip_instance *old = r->spec;
    close_wire(r);
    if (r->has_addresses) {
        sp_vec_each(&old->addresses, a) {
            if (!holds(i, a)) remove_one(r, a);
        }
        sp_vec_each(&old->excluded, a) {
            if (!holds(i, a)) remove_one(r, a);
        }
    }
    r->spec = i;
    sp_vrrp_retune(&r->machine, &i->options);
    look_at_link(r);
    if (!r->has_addresses) return;
    add_addresses(r);
    announce(r);
}

static router *take_router(sp_vip_engine *e, const sp_vip_instance *i) {
    for (size_t k = 0; k < e->routers.n; k++) {
        router *r = e->routers.p[k];
        if (!r || !same_router(r, i)) continue;
        e->routers.p[k] = NULL;
        change_router(r, i);
        return r;
    }
    return new_router(e, i);
}

void sp_vip_engine_apply(sp_vip_engine *e, sp_vip_config *config) {
    SP_VEC(router *) next = {0}, gone = {0};
    sp_vip_config *old = e->config;
    e->busy = true;
    sp_vec_each(&config->instances, i) sp_vec_push(&next, take_router(e, i));
    sp_vec_each(&e->routers, r) {
        if (*r) sp_vec_push(&gone, *r);
    }
    e->routers.n = 0;
    sp_vec_each(&next, r) sp_vec_push(&e->routers, *r);
    e->config = config;
    sp_vec_each(&gone, r) free_router(*r); /* while the old texts are still there */
    sp_vec_free(&next);
    sp_vec_free(&gone);
    sp_vip_checks_free(e->checks);
    e->checks = sp_vip_checks_new(e->loop, config, on_checks, e);
    sp_vip_config_free(old);
    e->busy = false;
    look_at_health(e);
    sp_vrrp_event start = {.kind = SP_VRRP_START};
    sp_vec_each(&e->routers, r) feed(*r, &start);
    take_inheritance(e);
    e->hooks.inherit = false;
    write_will(e);
    set_timer(e);
}

/* --- life --- */

bool sp_vip_engine_new(uv_loop_t *loop, const sp_vip_engine_hooks *hooks, sp_vip_engine **ret,
                       sp_err *err) {
    sp_vip_kernel *kernel;
    if (!sp_vip_kernel_open(&kernel, err)) return false;
    sp_vip_engine *e = sp_zalloc(1, sizeof *e);
    *e = (sp_vip_engine){.loop = loop, .hooks = *hooks, .kernel = kernel};
    e->config = sp_vip_config_new();
    e->timer = sp_zalloc(1, sizeof *e->timer);
    uv_timer_init(loop, e->timer);
    e->timer->data = e;
    e->news = sp_zalloc(1, sizeof *e->news);
    uv_poll_init(loop, e->news, sp_vip_kernel_watch_fd(kernel));
    e->news->data = e;
    uv_poll_start(e->news, UV_READABLE, on_news);
    e->renew = sp_timer_every(loop, RENEW_MS, renew, e);
    *ret = e;
    return true;
}

void sp_vip_engine_stop(sp_vip_engine *e, bool hand_over) {
    sp_vrrp_event stop = {.kind = SP_VRRP_STOP};
    e->stopping = e->busy = true;
    sp_vec_each(&e->routers, r) {
        if (!hand_over) (*r)->machine.o.hand_over = false;
        feed(*r, &stop);
    }
    e->busy = false;
    set_timer(e);
    check_stopped(e);
}

sp_vip_engine *sp_vip_engine_free(sp_vip_engine *e) {
    if (!e) return NULL;
    e->busy = true;
    sp_timer_stop(e->renew);
    e->checks = sp_vip_checks_free(e->checks);
    while (e->routers.n) {
        router *r = e->routers.p[--e->routers.n];
        free_router(r);
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
        close_wire(*r);
        free(*r);
    }
    e->routers.n = 0;
    write_will(e);
    set_timer(e);
}

static void view_of(const router *r, sp_vip_view *v) {
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
