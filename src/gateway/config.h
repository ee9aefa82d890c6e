/* What the gateway is to do, as one immutable value: pools of endpoints, listeners, routing tables.
 * Made from Kubernetes objects by translate.c, carried out by the data path (worker.h). The whole
 * value is replaced at once; requests under way keep the one they started with by its count.
 * Loop thread only. */
#pragma once
#include "gateway/balance.h"
#include "gateway/route.h"

typedef struct sp_endpoint_spec {
    sp_addr addr;
    bool ready, draining;
} sp_endpoint_spec;

typedef struct sp_pool_spec {
    sp_str name; /* "default/web:http": its identity across configurations */
    sp_balance_algorithm algorithm;
    int64_t affinity_ms;
    sp_endpoint_spec *endpoints;
    size_t endpoint_count;
} sp_pool_spec;

typedef struct sp_listener_spec {
    sp_addr addr;
    bool http;      /* else TCP */
    uint32_t index; /* of the pool (TCP) or of the table (HTTP) */
    /* loadBalancerSourceRanges: others are turned away. none = everybody may come. */
    sp_cidr *sources;
    size_t source_count;
    sp_str owner; /* "Service default/web": whose it is, in messages, logs and metrics */
} sp_listener_spec;

typedef struct sp_gateway_config {
    uint32_t refs;
    sp_arena *arena; /* holds all of it */
    sp_pool_spec *pools;
    sp_listener_spec *listeners;
    sp_route_table **tables;
    size_t pool_count, listener_count, table_count;
} sp_gateway_config;

sp_gateway_config *sp_gateway_config_new(void); /* empty, one reference */
sp_gateway_config *sp_gateway_config_ref(sp_gateway_config *c);
sp_gateway_config *sp_gateway_config_unref(sp_gateway_config *c); /* takes NULL, returns NULL */
