/* What people have said about servers by command: take one out, let one drain, give one another
 * weight. Laid over every configuration before it is carried out; lasts until it is taken back or
 * the process ends. Loop thread only. */
#pragma once
#include "gateway/config.h"

typedef struct sp_steer sp_steer;

typedef enum sp_steer_state {
    SP_STEER_AS_IT_IS,
    SP_STEER_DRAIN,   /* nothing new; what is open goes on, sticky clients still come */
    SP_STEER_DISABLED /* nothing new at all */
} sp_steer_state;

typedef struct sp_steering {
    sp_str pool, server; /* pool "" = in every pool; server: its name or address */
    sp_steer_state state;
    int weight; /* -1 = as it is */
} sp_steering;

sp_steer *sp_steer_new(void);
sp_steer *sp_steer_free(sp_steer *s); /* takes NULL, returns NULL */
/* Replaces what was said about this server, by whichever of its names; {0, weight -1} takes it
 * back. Copied. */
void sp_steer_set(sp_steer *s, const sp_steering *said);
/* A sp_build_overlay_fn; ctx is the sp_steer. */
void sp_steer_overlay(void *ctx, sp_gateway_config *c);
/* What is said about it now; {0, weight -1} when nothing is. */
sp_steering sp_steer_get(const sp_steer *s, sp_str pool, sp_str server, const sp_addr *addr);
/* How many servers of the configuration it means. */
size_t sp_steer_count(const sp_gateway_config *c, sp_str pool, sp_str server);
