/* The server's own figures in the Prometheus text format, under the names kube-apiserver uses.
 * Loop thread only. */
#pragma once
#include "base/str.h"

typedef struct sp_api_metrics sp_api_metrics;

sp_api_metrics *sp_api_metrics_new(void);
sp_api_metrics *sp_api_metrics_free(sp_api_metrics *m); /* takes NULL, returns NULL */

typedef struct sp_request_figures {
    const char *verb; /* "get", "list" …; "" for what is no resource */
    sp_str group, version, resource, subresource;
    bool namespaced_request; /* scope namespace or resource, else cluster */
    bool named;
    int code;
    int64_t took_us; /* < 0: long-running, not in the histogram */
} sp_request_figures;
void sp_api_metrics_count(sp_api_metrics *m, const sp_request_figures *r);
void sp_api_metrics_inflight(sp_api_metrics *m, bool mutating, int by);

/* Figures that others hold at the moment of the scrape. */
typedef struct sp_request_gauges {
    size_t watches;
    uint64_t revision, keys, commits, commit_us_total, writes, history, db_bytes;
} sp_request_gauges;
void sp_api_metrics_write(const sp_api_metrics *m, const sp_request_gauges *g, sp_buf *b);
