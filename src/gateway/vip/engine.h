/* Every virtual router of this node on one loop: packets, timers, links and checks become events of
 * the machines, and what the machines answer is done. Loop thread only. */
#pragma once
#include "gateway/vip/vip.h"

typedef struct sp_vip_engine sp_vip_engine;

typedef struct sp_vip_engine_hooks {
    void (*changed)(void *ctx); /* something a status shows */
    void (*stopped)(void *ctx); /* the answer to stop; once */
    /* What to send and to remove should this process end now (see will.h). May be NULL. */
    void (*will)(void *ctx, sp_str will);
    void *ctx;
    bool inherit, hold; /* see sp_vip_settings */
} sp_vip_engine_hooks;

SP_MUST_USE bool sp_vip_engine_new(uv_loop_t *loop, const sp_vip_engine_hooks *hooks,
                                   sp_vip_engine **ret, sp_err *err);
/* Addresses still held are removed and the others are told. Takes NULL, returns NULL. */
sp_vip_engine *sp_vip_engine_free(sp_vip_engine *e);
void sp_vip_engine_apply(sp_vip_engine *e, sp_vip_config *config); /* taken */
/* Ends the hold: the predecessor's place is taken before this returns. */
void sp_vip_engine_begin(sp_vip_engine *e);
void sp_vip_engine_set_health(sp_vip_engine *e, sp_str name, bool up);
void sp_vip_engine_stop(sp_vip_engine *e, bool hand_over);
/* Forgets every router without a word: a successor has them. */
void sp_vip_engine_abandon(sp_vip_engine *e);
void sp_vip_engine_views(const sp_vip_engine *e, sp_vip_views *ret); /* appends */
