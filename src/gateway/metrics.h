/* /metrics, /healthz and /readyz of the gateway; and for people a page with live traffic at /, and
 * what it shows as /status.json. */
#pragma once
#include "gateway/report.h"
#include "kube/controller.h"
#include "net/server.h"

typedef struct sp_gateway_metrics {
    sp_manager *manager; /* NULL without an API server */
    const sp_report_source *source;
} sp_gateway_metrics;

/* An sp_http_handler; ctx is a sp_gateway_metrics. */
void sp_gateway_metrics_serve(void *ctx, sp_http_req *req, sp_http_res *res);

/* By listener, pool and server, as Prometheus text. */
void sp_metrics_servers(const sp_fleet_report *r, sp_buf *b);
