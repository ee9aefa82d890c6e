/* Shared by the engine's files only: engine.c (events), engine_acts.c (what is done about them) and
 * engine_config.c (which routers there are, and their links). */
#pragma once
#include "base/map.h"
#include "gateway/vip/checks.h"
#include "gateway/vip/engine.h"
#include "gateway/vip/wire.h"

typedef struct sp_vip_router {
    sp_vip_engine *engine;
    const sp_vip_instance *spec;
    sp_vrrp machine;
    sp_vip_link link;
    sp_addr source;
    sp_vip_wire *wire;
    uv_poll_t *poll;
    bool has_addresses, stopped, cannot_send;
    bool inherited; /* the addresses are there, of a predecessor, and not taken yet */
    /* Was master when its checks began anew: what they have not said yet counts as up. */
    bool presumes;
    bool in_fault, pending; /* of its own, without the group's */
    uint64_t sent, received, refused;
    int64_t since_wall_ms;
    char trouble[160], last_refusal[160];
    char interface[16];
    char holder[16]; /* where the addresses are: `interface`, or that of the virtual MAC address */
} sp_vip_router;

struct sp_vip_engine {
    uv_loop_t *loop;
    sp_vip_engine_hooks hooks;
    sp_vip_config *config;
    sp_vip_kernel *kernel;
    sp_vip_checks *checks;
    SP_VEC(sp_vip_router *) routers;
    sp_map health; /* name → HEALTH_UP or HEALTH_DOWN */
    uv_timer_t *timer;
    uv_poll_t *news;
    sp_timer *renew;
    bool stopping, stopped_told, busy;
    bool holding; /* nothing is done before the predecessor's place is taken */
};

/* --- engine.c --- */
/* The machine is told, and what it answers is done. */
void sp_vip_engine_feed(sp_vip_router *r, const sp_vrrp_event *event);
void sp_vip_engine_look(sp_vip_engine *e); /* at health, of all routers */
void sp_vip_engine_on_checks(void *ctx);   /* ctx: the engine */
void sp_vip_engine_set_timer(sp_vip_engine *e);
void sp_vip_engine_on_readable(uv_poll_t *p, int status, int events); /* data: a router */

/* --- engine_acts.c --- */
void sp_vip_router_trouble(sp_vip_router *r, const char *text); /* logged when it is another */
void sp_vip_router_act(sp_vip_router *r, unsigned todo, sp_vrrp_state before);
void sp_vip_router_add(sp_vip_router *r); /* the addresses, or their lease anew */
void sp_vip_router_remove(sp_vip_router *r);
void sp_vip_router_remove_one(sp_vip_router *r, const sp_vip_address *a);
void sp_vip_router_announce(sp_vip_router *r);
void sp_vip_engine_write_will(sp_vip_engine *e);
void sp_vip_engine_check_stopped(sp_vip_engine *e);
const sp_vip_group *sp_vip_router_group(const sp_vip_router *r); /* NULL: none */

/* --- engine_config.c --- */
void sp_vip_engine_on_news(uv_poll_t *p, int status, int events); /* of links; data: the engine */
void sp_vip_router_close_wire(sp_vip_router *r);
sp_vip_router *sp_vip_router_free(sp_vip_router *r);
