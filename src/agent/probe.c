/* Startup, liveness and readiness of one container. Liveness and readiness wait until the startup
 * probe has passed. A probe that is under way when its container ends is cancelled or its answer is
 * dropped: the run number tells. gRPC probes are not done; they count as passed and an event says
 * so. */
#include "agent/pod.h"

#include "base/clock.h"
#include "net/process.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

typedef enum probe_kind { STARTUP, LIVENESS, READINESS } probe_kind;
static const char *const fields[] = {"startupProbe", "livenessProbe", "readinessProbe"};
static const char *const words[] = {"Startup", "Liveness", "Readiness"};

struct sp_probe {
    sp_ctr *ctr;
    probe_kind kind;
    uint32_t period_ms, timeout_ms;
    unsigned success_threshold, failure_threshold;
    unsigned successes, failures; /* in a row */
    sp_timer *timer;
    struct attempt *running;
};

/* One try; lives on when its probe is gone. */
typedef struct attempt {
    sp_probe *probe; /* NULL: nobody listens any more */
    sp_http_client *client;
    sp_tls_ctx *tls;
    uv_tcp_t *tcp;
    sp_timer *timeout;
} attempt;

static void start_due(sp_ctr *c);

/* ---------- results ---------- */

static void passed(sp_probe *p) {
    sp_ctr *c = p->ctr;
    sp_ctr_view *x = sp_ctr_state(c);
    p->failures = 0;
    if (++p->successes < p->success_threshold) return;
    bool news = false;
    if (p->kind == STARTUP && !x->started_ok) {
        news = x->started_ok = true;
        p->timer = sp_timer_stop(p->timer);
        start_due(c);
    }
    if (p->kind == READINESS && !x->ready_ok) news = x->ready_ok = true;
    if (news) sp_pod_sync_soon(c->pod);
}

static void failed(sp_probe *p, sp_str why) {
    sp_ctr *c = p->ctr;
    sp_ctr_view *x = sp_ctr_state(c);
    if (c->pid > 0 && kill((pid_t)c->pid, 0) != 0)
        return; /* it has ended: that is told elsewhere */
    p->successes = 0;
    sp_pod_event(c->pod, c, "Warning", "Unhealthy", "%s probe failed: %.*s", words[p->kind],
                 (int)SP_MIN(why.n, (size_t)400), why.p ? why.p : "");
    if (++p->failures < p->failure_threshold) return;
    if (p->kind == READINESS) {
        if (!x->ready_ok) return;
        x->ready_ok = false;
    } else {
        p->timer = sp_timer_stop(p->timer);
        x->unhealthy = true;
    }
    sp_pod_sync_soon(c->pod);
}

static void release(attempt *a) {
    sp_timer_stop(a->timeout);
    sp_handle_close(a->tcp);
    sp_http_client_free(a->client);
    sp_tls_ctx_unref(a->tls);
    free(a);
}

/* Frees the attempt. */
static void conclude(attempt *a, bool ok, sp_str why) {
    sp_probe *p = a->probe;
    if (p) p->running = NULL;
    if (p && ok)
        passed(p);
    else if (p)
        failed(p, why);
    release(a);
}

/* ---------- exec ---------- */

static void exec_done(void *ctx, bool ok, sp_str out) {
    conclude(ctx, ok, out.n ? out : SP_STR("exit code not 0"));
}

/* ---------- http ---------- */

static void http_done(void *ctx, const sp_http_reply_msg *r, const sp_err *err) {
    attempt *a = ctx;
    char text[64];
    if (!r) {
        conclude(a, false, err ? sp_str_z(err->text) : SP_STR("no answer"));
        return;
    }
    snprintf(text, sizeof text, "HTTP probe failed with statuscode: %d", r->status);
    conclude(a, r->status >= 200 && r->status < 400, sp_str_z(text));
}

static int64_t port_of(const sp_ctr *c, const sp_json *port) {
    if (sp_json_is(port, SP_JSON_NUMBER)) return sp_json_int(port, 0);
    sp_json_each(sp_json_get(c->spec, "ports"), p) {
        if (sp_str_eq(sp_json_str(sp_json_get(p, "name")), sp_json_str(port)))
            return sp_json_int(sp_json_get(p, "containerPort"), 0);
    }
    int64_t n;
    return sp_str_i64(sp_json_str(port), &n) ? n : 0;
}

static void start_http(sp_probe *p, attempt *a, const sp_json *get) {
    sp_ctr *c = p->ctr;
    sp_env_source source;
    sp_headers headers = {0};
    sp_pod_source(c->pod, &source);
    sp_str host = sp_json_str(sp_json_get(get, "host")),
           path = sp_json_str(sp_json_get(get, "path"));
    sp_vec_push(&headers, (sp_header){SP_STR("user-agent"), SP_STR("kube-probe/sampan")});
    sp_json_each(sp_json_get(get, "httpHeaders"), h) {
        sp_vec_push(&headers, (sp_header){sp_json_str(sp_json_get(h, "name")),
                                          sp_json_str(sp_json_get(h, "value"))});
    }
    if (strcmp(sp_json_get_z(get, "scheme"), "HTTPS") == 0)
        (void)!sp_tls_ctx_new(&(sp_tls_config){.insecure = true}, &a->tls, NULL);
    sp_http_client_config config = {.host = host.n ? host.p : source.pod_ip.p,
                                    .port = (uint16_t)port_of(c, sp_json_get(get, "port")),
                                    .tls = a->tls,
                                    .connect_timeout_ms = p->timeout_ms};
    sp_http_call_params params = {.method = "GET",
                                  .target = path.n ? path : SP_STR("/"),
                                  .headers = headers.p,
                                  .header_count = headers.n,
                                  .timeout_ms = p->timeout_ms};
    a->client = sp_http_client_new(c->pod->agent->loop, &config);
    sp_http_fetch(a->client, &params, 65536, http_done, a);
    sp_vec_free(&headers);
}

/* ---------- tcp ---------- */

static void tcp_done(uv_connect_t *r, int status) {
    attempt *a = r->data;
    free(r);
    if (status == UV_ECANCELED) return; /* the timeout has spoken */
    conclude(a, status == 0, sp_str_z(status ? uv_strerror(status) : ""));
}

static void tcp_timeout(void *ctx) {
    attempt *a = ctx;
    a->timeout = NULL;
    conclude(a, false, SP_STR("no connection in time"));
}

static void start_tcp(sp_probe *p, attempt *a, const sp_json *tcp) {
    sp_env_source source;
    struct sockaddr_in addr;
    sp_ctr *c = p->ctr;
    sp_pod_source(c->pod, &source);
    sp_str host = sp_json_str(sp_json_get(tcp, "host"));
    if (!host.n) host = source.pod_ip;
    if (uv_ip4_addr(host.n ? host.p : "", (int)port_of(c, sp_json_get(tcp, "port")), &addr) != 0) {
        conclude(a, false, SP_STR("the probe's host is no IPv4 address"));
        return;
    }
    a->tcp = sp_zalloc(1, sizeof *a->tcp);
    uv_tcp_init(c->pod->agent->loop, a->tcp);
    uv_connect_t *r = sp_zalloc(1, sizeof *r);
    r->data = a;
    int rc = uv_tcp_connect(r, a->tcp, (const struct sockaddr *)&addr, tcp_done);
    if (rc != 0) {
        free(r);
        conclude(a, false, sp_str_z(uv_strerror(rc)));
        return;
    }
    a->timeout = sp_timer_start(c->pod->agent->loop, p->timeout_ms, tcp_timeout, a);
}

/* ---------- timing ---------- */

static void try_once(void *ctx) {
    sp_probe *p = ctx;
    const sp_json *spec = sp_json_get(p->ctr->spec, fields[p->kind]), *how;
    if (p->running) return; /* still waiting for the one before */
    attempt *a = sp_zalloc(1, sizeof *a);
    a->probe = p;
    p->running = a;
    if ((how = sp_json_get(spec, "exec")))
        sp_ctr_exec(p->ctr, sp_json_get(how, "command"), p->timeout_ms, exec_done, a);
    else if ((how = sp_json_get(spec, "httpGet")))
        start_http(p, a, how);
    else if ((how = sp_json_get(spec, "tcpSocket")))
        start_tcp(p, a, how);
    else
        conclude(a, true, SP_STR(""));
}

static void first_try(void *ctx) {
    sp_probe *p = ctx;
    p->timer = sp_timer_every(p->ctr->pod->agent->loop, p->period_ms, try_once, p);
    try_once(p);
}

static int64_t number(const sp_json *spec, const char *key, int64_t fallback) {
    int64_t v = sp_json_int(sp_json_get(spec, key), fallback);
    return v < 1 ? fallback : SP_MIN(v, (int64_t)86400);
}

static void begin(sp_ctr *c, probe_kind kind) {
    const sp_json *spec = sp_json_get(c->spec, fields[kind]);
    if (!spec || c->probes[kind]) return;
    if (sp_json_get(spec, "grpc"))
        sp_pod_event(c->pod, c, "Warning", "ProbeNotSupported",
                     "%s probe: grpc probes are not supported, it counts as passed", words[kind]);
    sp_probe *p = sp_zalloc(1, sizeof *p);
    int64_t delay = SP_MAX(sp_json_int(sp_json_get(spec, "initialDelaySeconds"), 0), (int64_t)0);
    p->ctr = c;
    p->kind = kind;
    p->period_ms = (uint32_t)number(spec, "periodSeconds", 10) * 1000;
    p->timeout_ms = (uint32_t)number(spec, "timeoutSeconds", 1) * 1000;
    p->success_threshold = (unsigned)number(spec, "successThreshold", 1);
    p->failure_threshold = (unsigned)number(spec, "failureThreshold", 3);
    int64_t ran = sp_clock_wall_ms() - c->started_ms;
    int64_t wait =
        SP_MAX(SP_MIN(delay, (int64_t)86400) * 1000 - SP_MAX(ran, (int64_t)0), (int64_t)0);
    c->probes[kind] = p;
    /* A moment for the process to open its port, so that the first answer is rarely a refusal. */
    p->timer =
        sp_timer_start(c->pod->agent->loop, (uint64_t)SP_MAX(wait, (int64_t)50), first_try, p);
}

static void start_due(sp_ctr *c) {
    sp_ctr_view *x = sp_ctr_state(c);
    if (x->has_startup_probe && !x->started_ok) {
        begin(c, STARTUP);
        return;
    }
    begin(c, LIVENESS);
    begin(c, READINESS);
}

void sp_probes_start(sp_ctr *c) {
    start_due(c);
}

static void end(sp_probe *p) {
    sp_timer_stop(p->timer);
    if (p->running) p->running->probe = NULL; /* ends by itself within its timeout */
    free(p);
}

void sp_probes_stop(sp_ctr *c) {
    for (size_t i = 0; i < SP_COUNT(c->probes); i++) {
        if (c->probes[i]) end(c->probes[i]);
        c->probes[i] = NULL;
    }
}
