/* /metrics, /healthz and /readyz of the gateway. */
#pragma once
#include "gateway/control.h"
#include "gateway/vip/control.h"
#include "net/server.h"

typedef struct sp_gateway_metrics {
    sp_fleet *fleet;
    sp_manager *manager;
    sp_control *control;
    sp_vip_control **vips; /* *vips may be NULL */
} sp_gateway_metrics;

/* An sp_http_handler; ctx is a sp_gateway_metrics. */
void sp_gateway_metrics_serve(void *ctx, sp_http_req *req, sp_http_res *res);

/* By listener, pool and server, as Prometheus text. */
void sp_metrics_servers(const sp_fleet_report *r, sp_buf *b);
