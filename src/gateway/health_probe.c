/* See health_probe.h. Every kind ends in finish(), which remembers the verdict and gives it away in
 * a turn of its own, so that a kind may end inside any callback. */
#include "gateway/health_probe.h"
#include "base/clock.h"
#include "gateway/health_talk.h"
#include "net/client.h"
#include "net/conn.h"
#include "net/process.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { BODY_MAX = 64 * 1024, AGENT_MAX = 512, LATE_US = 50000 };

struct sp_probe {
    uv_loop_t *loop;
    sp_probe_params p;
    sp_probe_done *done;
    void *ctx;
    char ip[SP_ADDR_MAX];
    int64_t started_us, due_us;
    sp_timer *timeout, *deliver;
    sp_conn *conn;
    sp_http_client *client;
    sp_http_call *call; /* while it runs */
    sp_buf said;
    sp_talk talk;
    bool talking;
    bool over; /* there is a verdict, or nobody wants one */
    bool passed;
    bool again;   /* its time began anew */
    bool running; /* a program, which cannot be called back */
    char reason[200];
};

static void end_parts(sp_probe *p) {
    p->timeout = sp_timer_stop(p->timeout);
    if (p->conn && p->passed && sp_conn_pending(p->conn))
        sp_conn_finish(p->conn); /* the last thing said goes out */
    else if (p->conn)
        sp_conn_free(p->conn);
    p->conn = NULL;
    if (p->call) sp_http_call_cancel(p->call);
    p->call = NULL;
    p->client = sp_http_client_free(p->client);
}

static void free_probe(sp_probe *p) {
    end_parts(p);
    sp_timer_stop(p->deliver);
    if (p->running) { /* its end frees */
        p->over = true;
        p->deliver = NULL;
        return;
    }
    sp_buf_free(&p->said);
    sp_talk_free(&p->talk);
    free(p);
}

sp_probe *sp_probe_cancel(sp_probe *p) {
    if (p) free_probe(p);
    return NULL;
}

static void deliver(void *ctx) {
    sp_probe *p = ctx;
    sp_probe_result r = {p->passed, p->passed ? "" : p->reason, sp_buf_str(&p->said),
                         (sp_clock_mono_us() - p->started_us) / 1000};
    p->deliver = NULL;
    end_parts(p);
    p->done(p->ctx, &r);
    free_probe(p);
}

/* The first verdict counts. */
static void finish(sp_probe *p, bool passed, const char *fmt, ...) SP_PRINTF(3, 4);
static void finish(sp_probe *p, bool passed, const char *fmt, ...) {
    va_list ap;
    if (p->over) return;
    p->over = true;
    va_start(ap, fmt);
    vsnprintf(p->reason, sizeof p->reason, fmt, ap);
    va_end(ap);
    p->passed = passed;
    p->timeout = sp_timer_stop(p->timeout);
    p->deliver = sp_timer_start(p->loop, 0, deliver, p);
}

static const char *phase(const sp_probe *p) {
    switch (p->p.spec->kind) {
    case SP_CHECK_TLS: return "TLS handshake";
    case SP_CHECK_AGENT: return "answer of the agent";
    case SP_CHECK_HTTP:
    case SP_CHECK_GRPC: return "answer";
    case SP_CHECK_SCRIPT: return "end of the script";
    case SP_CHECK_NONE:
    case SP_CHECK_TCP: break;
    }
    return "connection";
}

static void on_timeout(void *ctx);

static void start_timeout(sp_probe *p) {
    uint32_t ms = p->p.spec->timeout_ms;
    p->due_us = sp_clock_mono_us() + 1000 * (int64_t)ms;
    p->timeout = sp_timer_start(p->loop, ms, on_timeout, p);
}

/* A process that stood still itself has learned nothing of the server: once, its time begins anew.
 */
static void on_timeout(void *ctx) {
    sp_probe *p = ctx;
    p->timeout = NULL;
    if (!p->again && sp_clock_mono_us() - p->due_us > LATE_US) {
        p->again = true;
        start_timeout(p);
        return;
    }
    if (p->talking) {
        char why[SP_TALK_WHY_MAX];
        sp_talk_why(&p->talk, why);
        finish(p, false, "%s, within %u ms", why, p->p.spec->timeout_ms);
        return;
    }
    finish(p, false, "no %s within %u ms", phase(p), p->p.spec->timeout_ms);
}

/* --- TCP, TLS, agent --- */

static void talk_on(sp_probe *p) {
    sp_str say;
    sp_talk_turn turn;
    while ((turn = sp_talk_go(&p->talk, &say)) == SP_TALK_SAY) {
        sp_outq_add(sp_conn_out(p->conn), say);
        sp_conn_wake(p->conn);
    }
    if (turn == SP_TALK_PASSED) finish(p, true, "it said what was expected");
    if (turn != SP_TALK_FAILED) return;
    char why[SP_TALK_WHY_MAX];
    sp_talk_why(&p->talk, why);
    finish(p, false, "%s", why);
}

static void conn_ready(void *ctx) {
    sp_probe *p = ctx;
    const sp_check_spec *s = p->p.spec;
    if (s->kind == SP_CHECK_AGENT || p->over) return;
    p->talking = s->step_count > 0;
    p->talk.steps = s->steps;
    p->talk.count = s->step_count;
    p->talk.patterns = p->p.patterns;
    if (p->talking)
        talk_on(p);
    else
        finish(p, true, "connected");
}

static void agent_done(sp_probe *p) {
    if (!p->said.n)
        finish(p, false, "the agent said nothing");
    else
        finish(p, true, "answered");
}

static void conn_data(void *ctx, char *bytes, size_t n) {
    sp_probe *p = ctx;
    if (p->over) return;
    if (p->talking) {
        sp_talk_hear(&p->talk, (sp_str){bytes, n});
        talk_on(p);
    }
    if (p->p.spec->kind != SP_CHECK_AGENT) return;
    sp_buf_add(&p->said, (sp_str){bytes, SP_MIN(n, AGENT_MAX - SP_MIN(p->said.n, AGENT_MAX))});
    if (memchr(bytes, '\n', n) || p->said.n >= AGENT_MAX) agent_done(p);
}

static void conn_closed(void *ctx, const sp_err *err) {
    sp_probe *p = ctx;
    if (p->over) return;
    sp_talk_end(&p->talk);
    if (err && p->talking)
        finish(p, false, "step %zu: %s", p->talk.at + 1, err->text);
    else if (err)
        finish(p, false, "%s", err->text);
    else if (p->p.spec->kind == SP_CHECK_AGENT)
        agent_done(p);
    else if (p->talking)
        talk_on(p);
    else
        finish(p, false, "the server closed the connection");
}

static void conn_nothing(void *ctx) {
    (void)ctx;
}

static void start_conn(sp_probe *p) {
    static const sp_conn_events events = {conn_ready, conn_data, conn_nothing, conn_nothing,
                                          conn_closed};
    sp_tls_ctx *tls = p->p.spec->kind == SP_CHECK_TLS || p->p.spec->tls ? p->p.tls : NULL;
    p->conn = sp_conn_connect(p->loop, p->ip, p->p.addr.port, tls, p->p.server_name, &events, p);
}

/* --- HTTP --- */

static void on_reply(void *ctx, const sp_http_reply_msg *reply, const sp_err *err) {
    sp_probe *p = ctx;
    const sp_check_spec *s = p->p.spec;
    p->call = NULL;
    if (p->over) return;
    if (err)
        finish(p, false, "%s", err->text);
    else if (reply->status < s->status_min || reply->status > s->status_max)
        finish(p, false, "status %d", reply->status);
    else if (!p->p.body)
        finish(p, true, "status %d", reply->status);
    else if (sp_regex_search(p->p.body, reply->body) == SP_REGEX_YES)
        finish(p, true, "status %d, body matches", reply->status);
    else
        finish(p, false, "status %d, but the body does not match", reply->status);
}

static void open_client(sp_probe *p, bool h2) {
    sp_http_client_config c = {.host = p->ip,
                               .port = p->p.addr.port,
                               .tls = p->p.spec->tls ? p->p.tls : NULL,
                               .server_name = p->p.server_name,
                               .connect_timeout_ms = 3 * p->p.spec->timeout_ms, /* ours is first */
                               .prior_knowledge = h2 && !p->p.spec->tls};
    p->client = sp_http_client_new(p->loop, &c);
}

static void start_http(sp_probe *p) {
    const sp_check_spec *s = p->p.spec;
    sp_headers h = {0};
    sp_auto(sp_buf) method = {0};
    sp_buf_add(&method, s->method);
    open_client(p, false);
    if (s->host.n) sp_vec_push(&h, (sp_header){SP_STR("host"), s->host});
    for (size_t i = 0; i < s->header_count; i++) sp_vec_push(&h, s->headers[i]);
    if (!sp_headers_get(h.p, h.n, "user-agent").p)
        sp_vec_push(&h, (sp_header){SP_STR("user-agent"), SP_STR("sampan-gateway-check")});
    sp_http_call_params call = {
        .method = sp_buf_z(&method), .target = s->path, .headers = h.p, .header_count = h.n};
    p->call = sp_http_fetch(p->client, &call, BODY_MAX, on_reply, p);
    sp_vec_free(&h);
}

/* --- gRPC: grpc.health.v1.Health/Check --- */

enum { GRPC_SERVING = 1 };

/* One message: a flag, the length, and field 1 as a varint. */
static int serving_status(sp_str body) {
    const uint8_t *b = (const uint8_t *)body.p;
    if (body.n == 5 && !b[0] && !b[4]) return 0; /* UNKNOWN is the default and not sent */
    if (body.n < 7 || b[0] != 0 || b[5] != 0x08) return -1;
    return b[6];
}

static void on_grpc(void *ctx, const sp_http_reply_msg *reply, const sp_err *err) {
    static const char *const words[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    sp_probe *p = ctx;
    p->call = NULL;
    if (p->over) return;
    if (err) {
        finish(p, false, "%s", err->text);
        return;
    }
    sp_str code = sp_headers_get(reply->headers, reply->header_count, "grpc-status");
    int serving = serving_status(reply->body);
    if (reply->status != 200)
        finish(p, false, "status %d", reply->status);
    else if (code.n && !sp_str_eqz(code, "0"))
        finish(p, false, "grpc-status %.*s", SP_ARG(code));
    else if (serving < 0)
        finish(p, false, "the answer is not one of grpc.health.v1");
    else
        finish(p, serving == GRPC_SERVING, "%s", serving < 4 ? words[serving] : "unknown status");
}

static void start_grpc(sp_probe *p) {
    static const sp_header headers[] = {
        {SP_STR_INIT("content-type"), SP_STR_INIT("application/grpc")},
        {SP_STR_INIT("te"), SP_STR_INIT("trailers")},
        {SP_STR_INIT("user-agent"), SP_STR_INIT("sampan-gateway-check")}};
    sp_str service = p->p.spec->service;
    service.n = SP_MIN(service.n, 120u); /* so that both lengths are one byte */
    uint8_t field = (uint8_t)(service.n ? service.n + 2 : 0);
    sp_auto(sp_buf) body = {0};
    sp_buf_add(&body, (sp_str){(const char[]){0, 0, 0, 0, (char)field}, 5});
    if (field) sp_buf_add(&body, (sp_str){(const char[]){0x0a, (char)service.n}, 2});
    sp_buf_add(&body, service);
    open_client(p, true);
    sp_http_call_params call = {.method = "POST",
                                .target = SP_STR("/grpc.health.v1.Health/Check"),
                                .headers = headers,
                                .header_count = SP_COUNT(headers),
                                .body = sp_buf_str(&body)};
    p->call = sp_http_fetch(p->client, &call, BODY_MAX, on_grpc, p);
}

/* --- scripts --- */

static void on_script(void *ctx, const sp_process_result *r, const sp_err *err) {
    sp_probe *p = ctx;
    p->running = false;
    if (p->over) {
        free_probe(p);
        return;
    }
    if (err)
        finish(p, false, "%s", err->text);
    else if (r->timed_out)
        finish(p, false, "the script did not end within %u ms", p->p.spec->timeout_ms);
    else if (r->signal)
        finish(p, false, "the script was ended by signal %d", r->signal);
    else
        finish(p, r->exit_code == 0, "exit status %d", r->exit_code);
}

/* What a script may want to know; the names are those of haproxy's external checks. */
static void start_script(sp_probe *p) {
    char addr[SP_ADDR_MAX + 32], port[40];
    sp_auto(sp_buf) name = {0}, script = {0};
    SP_VEC(const char *) env = {0};
    for (char **e = environ; *e; e++) sp_vec_push(&env, *e);
    snprintf(addr, sizeof addr, "HAPROXY_SERVER_ADDR=%s", p->ip);
    snprintf(port, sizeof port, "HAPROXY_SERVER_PORT=%u", p->p.addr.port);
    sp_buf_printf(&name, "HAPROXY_SERVER_NAME=%.*s", SP_ARG(p->p.name));
    sp_buf_add(&script, p->p.spec->script);
    sp_vec_push(&env, addr);
    sp_vec_push(&env, port);
    sp_vec_push(&env, sp_buf_z(&name));
    sp_vec_push(&env, NULL);
    sp_process_params run = {.argv =
                                 (const char *const[]){"/bin/sh", "-c", sp_buf_z(&script), NULL},
                             .env = env.p,
                             .timeout_ms = p->p.spec->timeout_ms,
                             .done = on_script,
                             .ctx = p};
    p->running = true;
    sp_process_run(p->loop, &run);
    sp_vec_free(&env);
}

sp_probe *sp_probe_start(uv_loop_t *loop, const sp_probe_params *params, sp_probe_done *done,
                         void *ctx) {
    sp_probe *p = sp_zalloc(1, sizeof *p);
    p->loop = loop;
    p->p = *params;
    p->done = done;
    p->ctx = ctx;
    p->started_us = sp_clock_mono_us();
    sp_addr_format_ip(&params->addr, p->ip);
    if (params->spec->kind != SP_CHECK_SCRIPT) /* those have their own */
        start_timeout(p);
    switch (params->spec->kind) {
    case SP_CHECK_HTTP: start_http(p); break;
    case SP_CHECK_GRPC: start_grpc(p); break;
    case SP_CHECK_SCRIPT: start_script(p); break;
    case SP_CHECK_NONE:
    case SP_CHECK_TCP:
    case SP_CHECK_TLS:
    case SP_CHECK_AGENT: start_conn(p); break;
    }
    return p;
}
