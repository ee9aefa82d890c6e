/* What the gateway says on the objects it serves: addresses, conditions, Events. Pure decision
 * functions for the controller framework (kube/controller.h): they read documents and findings and
 * fill in a reconcile; nothing is patched that already says so. */
#pragma once
#include "gateway/gwapi.h"
#include "kube/controller.h"

typedef struct sp_status_view {
    const sp_cluster_view *cluster;
    const sp_translate_options *options;
    /* Ports that are not served: refused by the translation, or not to be bound just now. */
    const sp_refusal *failures;
    size_t failure_count;
    sp_map *told;             /* "kind/ns/name" → what the last Event said; owned by the caller */
    const sp_strs *addresses; /* of all gateways; NULL: only the options' */
} sp_status_view;

void sp_status_service(sp_reconcile *r, const sp_status_view *v, const sp_json *service);
void sp_status_ingress(sp_reconcile *r, const sp_status_view *v, const sp_json *ingress);
/* class may be NULL: the one named "sampan" is made. The same for both kinds of class. */
void sp_status_gateway_class(sp_reconcile *r, const sp_json *class);
void sp_status_ingress_class(sp_reconcile *r, const sp_json *class);
void sp_status_gateway(sp_reconcile *r, const sp_status_view *v, const sp_json *gateway);
void sp_status_route(sp_reconcile *r, const sp_status_view *v, sp_route_kind kind,
                     const sp_json *route);
void sp_status_backend_tls(sp_reconcile *r, const sp_status_view *v, const sp_json *policy);
/* Says that a challenge is answered once this configuration does. */
void sp_status_challenge(sp_reconcile *r, const sp_gateway_config *config,
                         const sp_json *challenge);

/* Makes the Secret with the key of sticky cookies when it is missing. */
void sp_status_sticky_key(sp_reconcile *r, const sp_json *secret);
sp_str sp_status_sticky_key_name(sp_arena *a); /* "ns/name" */

void sp_status_policy(sp_reconcile *r, const sp_status_view *v, const sp_json *policy);

/* --- for status.c and status_gwapi.c --- */
/* Where clients find a gateway that listens on every address; lent until the next call. */
sp_strs sp_status_addresses(const sp_status_view *v);
/* A copy of holder.conditions to be changed; empty when there are none. */
sp_json *sp_status_conditions(sp_reconcile *r, const sp_json *holder);
bool sp_status_drop_condition(sp_json *conditions, const char *type);
/* Patches status with the members of `wanted` that differ from the object's. */
void sp_status_patch(sp_reconcile *r, const sp_gvr *g, const sp_json *obj, sp_json *wanted);
/* True when this is not what was said last about the object; remembers it. "" forgets. */
bool sp_status_is_news(const sp_status_view *v, const char *kind, sp_str key, sp_str text);
/* Sets one condition (with observedGeneration) in an array that is going to be patched. */
void sp_status_condition(sp_reconcile *r, sp_json *conditions, int64_t generation, const char *type,
                         bool is_true, const char *reason, sp_str message);
/* The failure of this owner on this port, or NULL. port 0: any. */
const sp_refusal *sp_status_failure(const sp_status_view *v, const char *kind, const sp_json *obj,
                                    uint16_t port);
