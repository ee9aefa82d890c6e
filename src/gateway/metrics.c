#include "gateway/metrics.h"
#include "gateway/build.h"

static void write_row(sp_buf *b, const char *name, const char *help, const char *type,
                      uint64_t value) {
    sp_buf_printf(
        b, "# HELP sampan_gateway_%s %s\n# TYPE sampan_gateway_%s %s\nsampan_gateway_%s %llu\n",
        name, help, name, type, name, (unsigned long long)value);
}

static void check_family(sp_buf *b, const char *name, const char *type, const char *help) {
    sp_buf_printf(b, "# HELP sampan_gateway_check_%s %s\n# TYPE sampan_gateway_check_%s %s\n", name,
                  help, name, type);
}

static void check_row(sp_buf *b, const sp_health_state *s, const char *name, uint64_t value) {
    static const char *const kinds[] = {"none", "tcp", "tls", "http", "grpc", "agent", "script"};
    char at[SP_ADDR_MAX];
    sp_addr_format(&s->addr, at);
    sp_buf_printf(b,
                  "sampan_gateway_check_%s{pool=\"%.*s\",server=\"%.*s\",address=\"%s\","
                  "check=\"%s\"} %llu\n",
                  name, SP_ARG(s->pool), SP_ARG(s->name), at, kinds[s->kind],
                  (unsigned long long)value);
}

static void write_checks(const sp_health *h, sp_buf *b) {
    static const struct {
        const char *name, *type, *help;
        size_t at;
    } rows[] = {
        {"passed_total", "counter", "Active checks that passed.",
         offsetof(sp_health_state, passed)},
        {"failed_total", "counter", "Active checks that failed.",
         offsetof(sp_health_state, failed)},
        {"transitions_total", "counter", "Changes between up and down.",
         offsetof(sp_health_state, transitions)},
    };
    size_t n = sp_health_count(h);
    if (n) check_family(b, "up", "gauge", "1 while a checked server is up.");
    for (size_t i = 0; i < n; i++) {
        sp_health_state s = sp_health_at(h, i);
        check_row(b, &s, "up", s.up || !s.known);
    }
    for (size_t r = 0; n && r < SP_COUNT(rows); r++) {
        check_family(b, rows[r].name, rows[r].type, rows[r].help);
        for (size_t i = 0; i < n; i++) {
            sp_health_state s = sp_health_at(h, i);
            check_row(b, &s, rows[r].name, *(const uint64_t *)((const char *)&s + rows[r].at));
        }
    }
}

static void write_metrics(const sp_gateway_metrics *m, sp_buf *b) {
    sp_fleet_report *r = sp_fleet_collect(m->source->fleet);
    const sp_worker_stats *s = &r->total;
#define X(field, name, help) write_row(b, name, help, "counter", s->field);
    SP_WORKER_COUNTERS(X)
#undef X
    write_row(b, "connections", "Client connections open now.", "gauge", s->open);
    write_row(b, "upstream_idle", "Connections kept to endpoints.", "gauge", s->idle_upstreams);
    write_row(b, "loops", "Threads that carry traffic.", "gauge", r->loops);
    sp_metrics_servers(r, b);
    sp_fleet_report_free(r);
    if (m->source->build) write_checks(sp_build_health(m->source->build), b);
    if (*m->source->vips) sp_vip_control_metrics(*m->source->vips, b);
    if (m->manager) sp_manager_metrics(m->manager, b);
}

static void reply(sp_http_res *res, int status, sp_str body) {
    sp_header type = {SP_STR("content-type"), SP_STR("text/plain; version=0.0.4")};
    sp_http_reply(res, status, &type, 1, body);
}

static void reply_as(sp_http_res *res, const char *type, sp_str body) {
    static const char policy[] =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src "
        "'self'; frame-ancestors 'none'";
    const sp_header fields[] = {{SP_STR("content-type"), sp_str_z(type)},
                                {SP_STR("cache-control"), SP_STR("no-store")},
                                {SP_STR("x-content-type-options"), SP_STR("nosniff")},
                                {SP_STR("content-security-policy"), sp_str_z(policy)}};
    sp_http_reply(res, 200, fields, SP_COUNT(fields), body);
}

static void reply_status(const sp_gateway_metrics *m, sp_http_res *res) {
    sp_auto(sp_buf) b = {0};
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json_write(&b, sp_report_make(m->source, a));
    reply_as(res, "application/json", sp_buf_str(&b));
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
        bool ready = m->source->build && sp_build_is_ready(m->source->build);
        reply(res, ready ? 200 : 503,
              ready ? SP_STR("ok") : SP_STR("waiting for the first configuration"));
    } else if (get && (sp_str_eqz(req->path, "/") || sp_str_eqz(req->path, "/index.html"))) {
        reply_as(res, "text/html; charset=utf-8", sp_str_z(sp_report_page));
    } else if (get && sp_str_eqz(req->path, "/status.json")) {
        reply_status(m, res);
    } else {
        reply(res, get ? 404 : 405, SP_STR("try /, /status.json, /metrics, /healthz or /readyz\n"));
    }
}
