/* Which routers there are: made from a configuration, kept when they are in the next one too, and
 * the links they live on. */
#include "base/clock.h"
#include "base/log.h"
#include "gateway/vip/engine_internal.h"
#include "gateway/vip/vmac.h"

#include <stdio.h>

/* --- links --- */

static void free_handle(uv_handle_t *h) {
    free(h);
}

void sp_vip_router_close_wire(sp_vip_router *r) {
    if (r->poll) {
        uv_poll_stop(r->poll);
        uv_close((uv_handle_t *)r->poll, free_handle);
    }
    r->poll = NULL;
    r->wire = sp_vip_wire_close(r->wire);
}

static void open_wire(sp_vip_router *r) {
    sp_err err = {0};
    if (!sp_vip_wire_open(r->spec, &r->link, &r->wire, &err)) {
        sp_vip_router_trouble(r, err.text);
        return;
    }
    r->poll = sp_zalloc(1, sizeof *r->poll);
    r->poll->data = r;
    uv_poll_init(r->engine->loop, r->poll, sp_vip_wire_fd(r->wire));
    uv_poll_start(r->poll, UV_READABLE, sp_vip_engine_on_readable);
}

static void look_at_link(sp_vip_router *r) {
    sp_vip_link l = sp_vip_link_read(r->interface);
    if (l.index != r->link.index) sp_vip_router_close_wire(r);
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
    if (text[0]) sp_vip_router_trouble(r, text);
}

void sp_vip_engine_on_news(uv_poll_t *p, int status, int events) {
    (void)status, (void)events;
    sp_vip_engine *e = p->data;
    sp_vip_kernel_drain(e->kernel);
    sp_vec_each(&e->routers, r) look_at_link(*r);
    sp_vip_engine_look(e);
}

/* --- configuration --- */

static sp_vip_router *new_router(sp_vip_engine *e, const sp_vip_instance *spec) {
    sp_vip_router *r = sp_zalloc(1, sizeof *r);
    *r = (sp_vip_router){.engine = e, .spec = spec, .since_wall_ms = sp_clock_wall_ms()};
    snprintf(r->interface, sizeof r->interface, "%.*s", SP_ARG(spec->interface));
    sp_vip_vmac_name(spec, r->holder);
    if (!r->holder[0]) memcpy(r->holder, r->interface, sizeof r->holder);
    sp_vrrp_init(&r->machine, &spec->options, spec->priority);
    look_at_link(r);
    r->presumes = e->hooks.inherit;
    if (r->link.index && !e->hooks.inherit) sp_vip_router_remove(r); /* of one that was killed */
    return r;
}

sp_vip_router *sp_vip_router_free(sp_vip_router *r) {
    sp_vrrp_event stop = {.kind = SP_VRRP_STOP};
    r->machine.o.hand_over = false;
    if (r->machine.state == SP_VRRP_MASTER) sp_vip_engine_feed(r, &stop);
    if (r->has_addresses) sp_vip_router_remove(r);
    sp_vip_router_close_wire(r);
    free(r);
    return NULL;
}

static bool same_router(const sp_vip_router *r, const sp_vip_instance *i) {
    return r->spec->vrid == i->vrid && r->spec->family == i->family &&
           sp_str_eqz(i->interface, r->interface) && i->vmac == r->spec->vmac &&
           sp_str_eq(i->vmac_name, r->spec->vmac_name);
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
static void change_router(sp_vip_router *r, const sp_vip_instance *i) {
    const sp_vip_instance *old = r->spec;
    sp_vip_router_close_wire(r);
    if (r->has_addresses) {
        sp_vec_each(&old->addresses, a) {
            if (!holds(i, a)) sp_vip_router_remove_one(r, a);
        }
        sp_vec_each(&old->excluded, a) {
            if (!holds(i, a)) sp_vip_router_remove_one(r, a);
        }
    }
    r->spec = i;
    r->presumes = r->machine.state == SP_VRRP_MASTER || r->engine->holding;
    sp_vrrp_retune(&r->machine, &i->options);
    look_at_link(r);
    if (!r->has_addresses) return;
    sp_vip_router_add(r);
    sp_vip_router_announce(r);
}

static sp_vip_router *take_router(sp_vip_engine *e, const sp_vip_instance *i) {
    for (size_t k = 0; k < e->routers.n; k++) {
        sp_vip_router *r = e->routers.p[k];
        if (!r || !same_router(r, i)) continue;
        e->routers.p[k] = NULL;
        change_router(r, i);
        return r;
    }
    return new_router(e, i);
}

/* What of a predecessor is here is taken before anybody could miss it; what it no longer has, or
 * may not have, goes. */
static void take_inheritance(sp_vip_engine *e) {
    sp_vrrp_event take = {.kind = SP_VRRP_TAKE};
    sp_vec_each(&e->routers, r) {
        if (!(*r)->inherited) continue;
        (*r)->inherited = false;
        sp_vip_engine_feed(*r, &take);
        if ((*r)->machine.state != SP_VRRP_MASTER) sp_vip_router_remove(*r);
    }
}

static void find_inheritance(sp_vip_router *r) {
    const sp_vip_instance *i = r->spec;
    r->inherited = i->addresses.n && sp_vip_link_has(r->holder, &i->addresses.p[0].ip);
    r->machine.o.starts_master = false; /* one of this node has been there all the time */
    r->presumes = r->inherited;
    if (!r->inherited && r->link.index) sp_vip_router_remove(r);
}

static void start_all(sp_vip_engine *e) {
    sp_vrrp_event start = {.kind = SP_VRRP_START};
    sp_vec_each(&e->routers, r) {
        if (e->hooks.inherit) find_inheritance(*r);
    }
    if (e->hooks.inherit) sp_vip_engine_look(e);
    sp_vec_each(&e->routers, r) sp_vip_engine_feed(*r, &start);
    take_inheritance(e);
    e->hooks.inherit = false;
    sp_vip_engine_write_will(e);
    sp_vip_engine_set_timer(e);
}

void sp_vip_engine_begin(sp_vip_engine *e) {
    if (!e->holding) return;
    e->holding = false;
    start_all(e);
}

void sp_vip_engine_apply(sp_vip_engine *e, sp_vip_config *config) {
    SP_VEC(sp_vip_router *) next = {0}, gone = {0};
    sp_vip_config *old = e->config;
    e->busy = true;
    sp_vec_each(&config->instances, i) sp_vec_push(&next, take_router(e, i));
    sp_vec_each(&e->routers, r) {
        if (*r) sp_vec_push(&gone, *r);
    }
    e->routers.n = 0;
    sp_vec_each(&next, r) sp_vec_push(&e->routers, *r);
    e->config = config;
    sp_vec_each(&gone, r) sp_vip_router_free(*r); /* while the old texts are still there */
    sp_vec_free(&next);
    sp_vec_free(&gone);
    sp_vip_checks_free(e->checks);
    e->checks = sp_vip_checks_new(e->loop, config, sp_vip_engine_on_checks, e);
    sp_vip_config_free(old);
    e->busy = false;
    sp_vip_engine_look(e);
    if (!e->holding) start_all(e);
}
