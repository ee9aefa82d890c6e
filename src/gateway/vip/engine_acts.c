/* What a machine answers is done: addresses, announcements, advertisements, the last will, people
 * and programs told. */
#include "base/clock.h"
#include "base/log.h"
#include "gateway/vip/engine_internal.h"
#include "gateway/vip/vmac.h"
#include "gateway/vip/will.h"

#include <stdio.h>

enum { LEASE_S = 3 };

/* --- trouble: told once, and again when it is another --- */

void sp_vip_router_trouble(sp_vip_router *r, const char *text) {
    if (strcmp(r->trouble, text) == 0) return;
    snprintf(r->trouble, sizeof r->trouble, "%s", text);
    if (text[0])
        sp_warn("a virtual address has trouble", SP_KV("instance", r->spec->name),
                SP_KV("why", text));
}

/* --- addresses --- */

static unsigned index_of(const sp_vip_router *r, const sp_vip_address *a) {
    char name[16];
    if (a->dev.n == 0) return r->spec->vmac ? sp_vip_link_read(r->holder).index : r->link.index;
    snprintf(name, sizeof name, "%.*s", SP_ARG(a->dev));
    return sp_vip_link_read(name).index;
}

static void add_one(sp_vip_router *r, const sp_vip_address *a) {
    sp_err err = {0};
    uint32_t lease = r->spec->lease ? LEASE_S : 0;
    if (!sp_vip_kernel_add(r->engine->kernel, index_of(r, a), a, lease, &err))
        sp_vip_router_trouble(r, err.text);
}

void sp_vip_router_add(sp_vip_router *r) {
    sp_err err = {0};
    r->has_addresses = true;
    if (r->spec->vmac && !sp_vip_vmac_add(r->engine->kernel, r->spec, r->link.index, &err))
        sp_vip_router_trouble(r, err.text);
    sp_vec_each(&r->spec->addresses, a) add_one(r, a);
    sp_vec_each(&r->spec->excluded, a) add_one(r, a);
}

void sp_vip_router_remove_one(sp_vip_router *r, const sp_vip_address *a) {
    sp_err err = {0};
    unsigned index = index_of(r, a);
    if (index && !sp_vip_kernel_remove(r->engine->kernel, index, a, &err))
        sp_vip_router_trouble(r, err.text);
}

void sp_vip_router_remove(sp_vip_router *r) {
    r->has_addresses = false;
    sp_vec_each(&r->spec->addresses, a) sp_vip_router_remove_one(r, a);
    sp_vec_each(&r->spec->excluded, a) sp_vip_router_remove_one(r, a);
    sp_err err = {0};
    if (r->spec->vmac && !sp_vip_vmac_remove(r->engine->kernel, r->spec, &err))
        sp_vip_router_trouble(r, err.text);
}

static void announce_one(sp_vip_router *r, const sp_vip_address *a) {
    char name[16];
    sp_vip_link link = r->link;
    sp_err err = {0};
    snprintf(name, sizeof name, "%.*s", SP_ARG(a->dev));
    if (a->dev.n || r->spec->vmac) link = sp_vip_link_read(a->dev.n ? name : r->holder);
    for (unsigned i = 0; i < r->spec->announce_repeat; i++)
        if (!sp_vip_announce(&link, &a->ip, &err)) sp_vip_router_trouble(r, err.text);
}

void sp_vip_router_announce(sp_vip_router *r) {
    sp_vec_each(&r->spec->addresses, a) announce_one(r, a);
    sp_vec_each(&r->spec->excluded, a) announce_one(r, a);
}

/* --- the last will --- */

static void will_of(const sp_vip_router *r, sp_buf *will) {
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
        unsigned index = index_of(r, a);
        if (!index) continue; /* its interface is not there yet, and takes it along */
        size_t n = sp_vip_kernel_removal(index, a, bytes, sizeof bytes);
        sp_vip_will_netlink(will, (sp_str){(char *)bytes, n});
    }
    size_t n = r->spec->vmac ? sp_vip_vmac_removal(r->spec, bytes, sizeof bytes) : 0;
    if (n) sp_vip_will_netlink(will, (sp_str){(char *)bytes, n});
}

void sp_vip_engine_write_will(sp_vip_engine *e) {
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

const sp_vip_group *sp_vip_router_group(const sp_vip_router *r) {
    sp_vec_each(&r->engine->config->groups, g) {
        if (r->spec->group.n && sp_str_eq(g->name, r->spec->group)) return g;
    }
    return NULL;
}

/* A group is where its members are; the last one to arrive tells. It has no priority: 0, as
 * keepalived says it. */
static void notify_group(sp_vip_router *r) {
    const sp_vip_group *g = sp_vip_router_group(r);
    if (!g) return;
    sp_vec_each(&r->engine->routers, o) {
        if (sp_str_eq((*o)->spec->group, g->name) && (*o)->machine.state != r->machine.state)
            return;
    }
    notify(r->engine, &g->notify, "GROUP", g->name, r->machine.state, 0);
}

static void told(sp_vip_router *r) {
    r->since_wall_ms = sp_clock_wall_ms();
    sp_info("a virtual address changes state", SP_KV("instance", r->spec->name),
            SP_KV("state", sp_vrrp_state_name(r->machine.state)), SP_KV("why", r->machine.why),
            SP_KV("priority", (unsigned)r->machine.priority));
    notify(r->engine, &r->spec->notify, "INSTANCE", r->spec->name, r->machine.state,
           r->machine.priority);
    notify_group(r);
}

/* --- what a machine answers is done --- */

static void send_advert(sp_vip_router *r) {
    sp_err err = {0};
    if (!r->wire || !r->source.family) return;
    if (sp_vip_wire_send(r->wire, r->spec, &r->source, r->machine.send_priority, &err)) {
        r->sent++;
        if (r->cannot_send) sp_vip_router_trouble(r, "");
        r->cannot_send = false;
    } else {
        r->cannot_send = true;
        sp_vip_router_trouble(r, err.text);
    }
}

void sp_vip_engine_check_stopped(sp_vip_engine *e) {
    if (!e->stopping || e->stopped_told || e->busy) return;
    sp_vec_each(&e->routers, r) {
        if (!(*r)->stopped) return;
    }
    e->stopped_told = true;
    e->hooks.stopped(e->hooks.ctx);
}

/* The members of a sync group are masters together or not at all. */
static void spread_to_group(sp_vip_router *r, sp_vrrp_state before) {
    const sp_vip_group *g = sp_vip_router_group(r);
    sp_vrrp_state s = r->machine.state;
    bool took = s == SP_VRRP_MASTER, lost = before == SP_VRRP_MASTER && s == SP_VRRP_BACKUP;
    if (!g || (!took && !lost)) return;
    sp_vrrp_event e = {.kind = took ? SP_VRRP_TAKE : SP_VRRP_YIELD};
    sp_vec_each(&r->engine->routers, o) {
        if (*o != r && sp_str_eq((*o)->spec->group, g->name)) sp_vip_engine_feed(*o, &e);
    }
}

void sp_vip_router_act(sp_vip_router *r, unsigned todo, sp_vrrp_state before) {
    if (todo & SP_VRRP_DO_REMOVE) sp_vip_router_remove(r);
    /* Who becomes master is found before the old one, which hears it, leaves. */
    bool first = todo & SP_VRRP_DO_ADD;
    if ((todo & SP_VRRP_DO_SEND) && !first) send_advert(r);
    if (first) sp_vip_engine_write_will(r->engine); /* who is killed meanwhile leaves nothing */
    /* with each announcement too: a lease may have run out while this process stood still */
    if (todo & (SP_VRRP_DO_ADD | SP_VRRP_DO_ANNOUNCE)) sp_vip_router_add(r);
    if (todo & SP_VRRP_DO_ANNOUNCE) sp_vip_router_announce(r);
    if ((todo & SP_VRRP_DO_SEND) && first) send_advert(r);
    if (todo & SP_VRRP_DO_NOTIFY) {
        sp_vip_engine_write_will(r->engine);
        told(r);
        spread_to_group(r, before);
        r->engine->hooks.changed(r->engine->hooks.ctx);
    }
    if (todo & SP_VRRP_DO_STOPPED) {
        r->stopped = true;
        sp_vip_engine_check_stopped(r->engine);
    }
}
