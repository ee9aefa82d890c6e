#include "gateway/metrics.h"

static void write_row(sp_buf *b, const char *name, const char *help, const char *type,
                      uint64_t value) {
    sp_buf_printf(
        b, "# HELP sampan_gateway_%s %s\n# TYPE sampan_gateway_%s %s\nsampan_gateway_%s %llu\n",
        name, help, name, type, name, (unsigned long long)value);
}

static void write_metrics(const sp_gateway_metrics *m, sp_buf *b) {
    sp_fleet_report *r = sp_fleet_collect(m->fleet);
    const sp_worker_stats *s = &r->total;
#define X(field, name, help) write_row(b, name, help, "counter", s->field);
    SP_WORKER_COUNTERS(X)
#undef X
    write_row(b, "connections", "Client connections open now.", "gauge", s->open);
    write_row(b, "upstream_idle", "Connections kept to endpoints.", "gauge", s->idle_upstreams);
    write_row(b, "loops", "Threads that carry traffic.", "gauge", r->loops);
    sp_metrics_servers(r, b);
    sp_fleet_report_free(r);
    sp_manager_metrics(m->manager, b);
}

static void reply(sp_http_res *res, int status, sp_str body) {
    sp_header type = {SP_STR("content-type"), SP_STR("text/plain; version=0.0.4")};
    sp_http_reply(res, status, &type, 1, body);
}

void sp_gateway_metrics_serve(void *ctx, sp_http_req *req, sp_http_res *res) {
    const sp_gateway_metrics *m = ctx;
    sp_auto(sp_buf) b = {0};
    bool get = sp_str_eqz(req->method, "GET");
    if (get && sp_str_eqz(req->path, "/metrics")) {
        write_metrics(m, &b);
        reply(res, 200, sp_buf_str(&b));
    } else if (get && (sp_str_eqz(req->path, "/healthz") || sp_str_eqz(req->path, "/livez"))) {
        reply(res, 200, SP_STR("ok"));
    } else if (get && sp_str_eqz(req->path, "/readyz")) {
        bool ready = sp_control_is_ready(m->control);
        reply(res, ready ? 200 : 503,
              ready ? SP_STR("ok") : SP_STR("waiting for the API server's objects"));
    } else {
        reply(res, get ? 404 : 405, SP_STR("try /metrics, /healthz or /readyz\n"));
    }
}
