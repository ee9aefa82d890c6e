/* The virtual addresses of this node at work: one thread with its own loop, so that neither the
 * data path nor the API client can delay an advertisement. Every function here is for one caller's
 * thread, that of `loop`. */
#pragma once
#include "data/json.h"
#include "gateway/vip/config.h"
#include "net/loop.h"

typedef struct sp_vip sp_vip;

typedef struct sp_vip_settings {
    /* Any instance's state changed; on the loop given to sp_vip_new. May be NULL. */
    void (*changed)(void *ctx);
    void *ctx;
    /* A helper process that, when this one dies in whatever way, says so to the others (priority 0)
     * and removes the addresses at once, instead of leaving both to timers. */
    bool last_will;
    /* Addresses of the first configuration that are there already are held by a predecessor on
     * this machine: this one is their master from the start. */
    bool inherit;
    /* With inherit: checks run and sockets are open, but nothing is said or held before
     * sp_vip_begin. */
    bool hold;
} sp_vip_settings;

/* Starts the thread; the loop runs on until sp_vip_free. Needs CAP_NET_RAW and CAP_NET_ADMIN only
 * when a configuration is applied. */
SP_MUST_USE bool sp_vip_new(uv_loop_t *loop, const sp_vip_settings *s, sp_vip **ret, sp_err *err);
/* config: taken. Instances that are the same router (interface, id, family) keep their state. */
void sp_vip_apply(sp_vip *v, sp_vip_config *config);
/* Ends the hold. When it returns the addresses are held and advertisements are sent. The
 * predecessor, which has the same address to send from, may go on meanwhile: to the others both are
 * one. It ends with sp_vip_abandon. */
void sp_vip_begin(sp_vip *v);
/* A thing tracked by SP_VIP_TRACK_HEALTH; unknown names are remembered. Cheap when unchanged. */
void sp_vip_set_health(sp_vip *v, const char *name, bool up);
/* Gives the addresses up: with hand_over first tells the others and waits until one of them answers
 * (at most one advertisement interval). done: on the loop, once; then sp_vip_free. */
void sp_vip_stop(sp_vip *v, bool hand_over, void (*done)(void *ctx), void *ctx);
/* Ends at once, silently, and leaves the addresses there; returns NULL. */
sp_vip *sp_vip_abandon(sp_vip *v);
sp_vip *sp_vip_free(sp_vip *v); /* takes NULL, returns NULL; addresses still held are removed */

/* For `sampan gateway status`, the status of objects, metrics: a list of instances. */
typedef struct sp_vip_view {
    char name[64], interface[16], why[96], trouble[160]; /* trouble: "" or what does not work */
    uint8_t vrid, priority, effective, master_priority;
    sp_vrrp_state state;
    uint64_t transitions, sent, received, refused;
    int64_t since_wall_ms; /* the last transition */
} sp_vip_view;
typedef SP_VEC(sp_vip_view) sp_vip_views;
void sp_vip_status(sp_vip *v, sp_vip_views *ret); /* the caller frees it */
