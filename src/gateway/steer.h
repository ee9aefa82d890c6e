/* What people have said about servers by command: take one out, let one drain, give one another
 * weight. Laid over every configuration before it is carried out; lasts until it is taken back or
 * the last process of a row that take over from each other ends. Loop thread only. */
#pragma once
#include "data/json.h"
#include "gateway/config.h"

typedef struct sp_steer sp_steer;

typedef enum sp_steer_state {
    SP_STEER_AS_IT_IS,
    SP_STEER_DRAIN,   /* nothing new; what is open goes on, sticky clients still come */
    SP_STEER_DISABLED /* nothing new at all */
} sp_steer_state;

typedef struct sp_steering {
    sp_str pool, server; /* pool "" = in every pool; server: its name or address */
    bool says_state, says_weight;
    sp_steer_state state;
    int weight; /* -1 = as it is */
} sp_steering;

sp_steer *sp_steer_new(void);
sp_steer *sp_steer_free(sp_steer *s); /* takes NULL, returns NULL */
/* {"server":"s1","pool":"default/web:80","state":"drain"|"disable"|"enable","weight":0…256|-1}:
 * without a pool in all of them; -1 is as it is, which enable says, too. Borrows request; false:
 * *ret_wrong says what is wrong with which member. */
SP_MUST_USE bool sp_steer_read(const sp_json *request, sp_steering *ret, const char **ret_wrong);
/* Replaces what was said about the state, or the weight, of this server, by whichever of its names.
 * Copied. */
void sp_steer_set(sp_steer *s, const sp_steering *said);
/* All of it for a successor, and what a predecessor told (NULL: nothing): a list of requests. */
sp_json *sp_steer_tell(const sp_steer *s, sp_arena *a);
void sp_steer_hear(sp_steer *s, const sp_json *told);
/* For sp_build_beyond; ctx is the sp_steer. */
void sp_steer_overlay(void *ctx, sp_gateway_config *c);
/* What is said about it now; as it is, weight -1 when nothing is. */
sp_steering sp_steer_get(const sp_steer *s, sp_str pool, sp_str server, const sp_addr *addr);
/* How many servers of the configuration it means. */
size_t sp_steer_count(const sp_gateway_config *c, sp_str pool, sp_str server);
