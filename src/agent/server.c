#include "agent/server.h"

#include "agent/attach.h"
#include "agent/exec.h"
#include "agent/forward.h"
#include "agent/log_read.h"
#include "agent/metrics.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "data/time.h"
#include "net/server.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { MAX_PENDING = 1 << 20, DRAIN_CHECK_MS = 100 };

struct sp_agent_server {
    sp_agent *agent;
    sp_http_server *http;
};

/* ---------- logs ---------- */

/* One answer that follows a log. */
typedef struct follower {
    sp_agent *agent;
    sp_http_res *res;
    sp_log_reader *reader;
    uv_fs_event_t *watch;
    sp_timer *again;
    char uid[64];
    size_t index;
    unsigned attempt;
    bool ended; /* the last bytes were asked for */
} follower;

static void text_reply(sp_http_res *res, int status, const char *text) {
    sp_header h = {SP_STR("content-type"), SP_STR("text/plain; charset=utf-8")};
    sp_http_reply(res, status, &h, 1, sp_str_z(text));
}

static void follower_closed(void *ctx) {
    follower *f = ctx;
    sp_handle_close(f->watch);
    sp_timer_stop(f->again);
    sp_log_reader_free(f->reader);
    free(f);
}

static bool still_runs(const follower *f) {
    sp_pod *p = sp_pod_get(f->agent, f->uid);
    sp_ctr *c = p && f->index < p->containers.n ? p->containers.p[f->index] : NULL;
    if (!c || c->attempt != f->attempt) return false;
    sp_ctr_phase phase = sp_ctr_state(c)->phase;
    return phase != SP_CTR_EXITED && phase != SP_CTR_NEW;
}

static void push(void *ctx);

static void push_later(follower *f, uint64_t ms) {
    if (!f->again) f->again = sp_timer_start(f->agent->loop, ms, push, f);
}

/* Sends what there is; a slow client is waited for. */
static void push(void *ctx) {
    follower *f = ctx;
    f->again = sp_timer_stop(f->again);
    if (f->ended) return;
    if (sp_http_pending(f->res) > MAX_PENDING) {
        push_later(f, DRAIN_CHECK_MS);
        return;
    }
    sp_auto(sp_buf) out = {0};
    bool runs = still_runs(f); /* before reading: nothing is written after it ended */
    bool more = sp_log_reader_next(f->reader, &out);
    if (out.n) sp_http_write(f->res, sp_buf_str(&out));
    if (sp_log_reader_full(f->reader) || (!more && !runs)) {
        f->ended = true;
        sp_http_end(f->res);
    } else if (more) {
        push_later(f, 1);
    } else {
        push_later(f, 1000); /* the end of a container writes no log line */
    }
}

static void log_changed(uv_fs_event_t *h, const char *name, int events, int status) {
    (void)name, (void)events, (void)status;
    follower *f = h->data;
    if (f) push_later(f, 5); /* many lines, one answer */
}

static void follow(follower *f, const char *path) {
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    f->watch = sp_zalloc(1, sizeof *f->watch);
    uv_fs_event_init(f->agent->loop, f->watch);
    f->watch->data = f;
    uv_fs_event_start(f->watch, log_changed, dir, 0);
    push(f);
}

static void send_whole(sp_http_res *res, sp_log_reader *reader) {
    sp_auto(sp_buf) out = {0};
    while (sp_log_reader_next(reader, &out)) {
        sp_http_write(res, sp_buf_str(&out));
        sp_buf_clear(&out);
    }
    if (out.n) sp_http_write(res, sp_buf_str(&out));
    sp_http_end(res);
    sp_log_reader_free(reader);
}

static sp_ctr *find_container(sp_agent *g, sp_str ns, sp_str pod, sp_str container) {
    void *value;
    for (size_t at = 0; sp_map_next(&g->pods, &at, NULL, &value);) {
        sp_pod *p = value;
        if (!sp_str_eq(p->ns, ns) || !sp_str_eq(p->name, pod) || p->api_gone) continue;
        sp_vec_each(&p->containers, c) {
            if (sp_str_eqz(container, (*c)->name)) return *c;
        }
    }
    return NULL;
}

static bool query_int(sp_http_req *q, const char *key, int64_t *ret, sp_err *err) {
    sp_str text;
    if (!sp_query_get(q->arena, q->query, key, &text)) return true;
    if (sp_str_i64(text, ret) && *ret >= 0) return true;
    return sp_fail(err, SP_BAD_REQUEST, "%s must be a number that is not negative", key);
}

static bool read_options(sp_http_req *q, sp_log_options *o, sp_err *err) {
    int64_t since = -1;
    sp_str time;
    *o = (sp_log_options){.tail_lines = -1, .limit_bytes = -1};
    if (!query_int(q, "tailLines", &o->tail_lines, err) ||
        !query_int(q, "limitBytes", &o->limit_bytes, err) ||
        !query_int(q, "sinceSeconds", &since, err))
        return false;
    if (since > 0) o->since_ms = sp_clock_wall_ms() - sp_ms_from_s(since);
    if (sp_query_get(q->arena, q->query, "sinceTime", &time) && !sp_time_parse(time, &o->since_ms))
        return sp_fail(err, SP_BAD_REQUEST, "sinceTime is no RFC 3339 time");
    o->timestamps = sp_query_true(q, "timestamps");
    return true;
}

static bool log_path(sp_ctr *c, bool previous, char ret[PATH_MAX], sp_err *err) {
    unsigned attempt = c->attempt;
    if (!c->made)
        return sp_fail(err, SP_BAD_REQUEST,
                       "container \"%s\" in pod \"%.*s\" is waiting to start%s%s", c->name,
                       SP_ARG(c->pod->name), c->wait_reason ? ": " : "",
                       c->wait_reason ? c->wait_reason : "");
    if (previous && attempt == 0)
        return sp_fail(err, SP_BAD_REQUEST,
                       "previous terminated container \"%s\" in pod \"%.*s\" not found", c->name,
                       SP_ARG(c->pod->name));
    snprintf(ret, PATH_MAX, "%s/%s/%u.log", c->pod->log_dir, c->name,
             previous ? attempt - 1 : attempt);
    return true;
}

/* /WHAT/NAMESPACE/POD/CONTAINER */
static sp_ctr *named_container(sp_agent *g, sp_http_req *q, sp_err *err) {
    sp_str part, rest = sp_str_from(q->path, 1), ns = {0}, pod = {0}, container = {0};
    sp_str_cut(&rest, '/', &part);
    sp_str_cut(&rest, '/', &ns);
    sp_str_cut(&rest, '/', &pod);
    sp_str_cut(&rest, '/', &container);
    sp_ctr *c = find_container(g, ns, pod, container);
    if (!c)
        sp_fail(err, SP_NOT_FOUND, "container \"%.*s\" of pod \"%.*s\" is not on this node",
                SP_ARG(container), SP_ARG(pod));
    return c;
}

static void serve_logs(sp_agent *g, sp_http_req *q, sp_http_res *res) {
    sp_log_options o;
    sp_log_reader *reader = NULL;
    char path[PATH_MAX];
    sp_err err = {0};
    sp_ctr *c = named_container(g, q, &err);
    bool previous = sp_query_true(q, "previous");
    bool ok = c != NULL;
    ok = ok && read_options(q, &o, &err) && log_path(c, previous, path, &err) &&
         sp_log_reader_open(path, &o, &reader, &err);
    if (!ok) {
        text_reply(res, sp_code_http(err.code), err.text);
        return;
    }
    sp_header h = {SP_STR("content-type"), SP_STR("text/plain")};
    sp_http_begin(res, 200, &h, 1);
    if (previous || !sp_query_true(q, "follow")) {
        send_whole(res, reader);
        return;
    }
    follower *f = sp_zalloc(1, sizeof *f);
    *f = (follower){
        .agent = g, .res = res, .reader = reader, .index = c->index, .attempt = c->attempt};
    memcpy(f->uid, c->pod->uid, sizeof f->uid);
    sp_http_on_close(res, follower_closed, f);
    follow(f, path);
}

/* ---------- processes ---------- */

static void serve_running(sp_agent *g, sp_http_req *q, sp_http_res *res,
                          void (*serve)(sp_ctr *c, sp_http_req *q, sp_http_res *res)) {
    sp_err err = {0};
    sp_ctr *c = named_container(g, q, &err);
    if (c && c->pid > 0 && c->dir) {
        serve(c, q, res);
        return;
    }
    if (c) sp_fail(&err, SP_BAD_REQUEST, "container \"%s\" is not running", c->name);
    text_reply(res, sp_code_http(err.code), err.text);
}

static void serve_forward(sp_agent *g, sp_http_req *q, sp_http_res *res) {
    sp_str part, rest = sp_str_from(q->path, 1), ns = {0}, name = {0};
    void *value;
    sp_str_cut(&rest, '/', &part);
    sp_str_cut(&rest, '/', &ns);
    sp_str_cut(&rest, '/', &name);
    for (size_t at = 0; sp_map_next(&g->pods, &at, NULL, &value);) {
        sp_pod *p = value;
        if (!sp_str_eq(p->ns, ns) || !sp_str_eq(p->name, name) || p->api_gone) continue;
        if (p->ip || sp_pod_host_network(p))
            sp_forward_serve(p, q, res);
        else
            text_reply(res, 400, "the pod has no network yet");
        return;
    }
    text_reply(res, 404, "the pod is not on this node");
}

/* ---------- the rest ---------- */

static void serve_metrics(sp_agent *g, sp_http_res *res) {
    sp_auto(sp_buf) text = {0};
    sp_metrics_write(g, &text);
    sp_header h = {SP_STR("content-type"), SP_STR("text/plain; version=0.0.4")};
    sp_http_reply(res, 200, &h, 1, sp_buf_str(&text));
}

/* A certificate of the installation is not enough: every node and the gateway have one. */
static bool may_ask(const sp_http_req *q) {
    for (size_t i = 0; q->peer && i < q->peer->organizations.n; i++)
        if (sp_str_eqz(q->peer->organizations.p[i], "system:masters")) return true;
    return false;
}

static void handle(void *ctx, sp_http_req *q, sp_http_res *res) {
    sp_agent_server *s = ctx;
    if (!may_ask(q))
        text_reply(res, 403, "only the API server and administrators (system:masters) may ask\n");
    else if (sp_str_starts(q->path, SP_STR("/exec/")))
        serve_running(s->agent, q, res, sp_exec_serve);
    else if (sp_str_starts(q->path, SP_STR("/attach/")))
        serve_running(s->agent, q, res, sp_attach_serve);
    else if (sp_str_starts(q->path, SP_STR("/portForward/")))
        serve_forward(s->agent, q, res);
    else if (!sp_str_eqz(q->method, "GET"))
        text_reply(res, 405, "only GET is served here\n");
    else if (sp_str_eqz(q->path, "/healthz"))
        text_reply(res, 200, "ok");
    else if (sp_str_eqz(q->path, "/metrics"))
        serve_metrics(s->agent, res);
    else if (sp_str_starts(q->path, SP_STR("/containerLogs/")))
        serve_logs(s->agent, q, res);
    else
        text_reply(res, 404, "there is nothing here\n");
}

static bool read_files(const sp_agent_server_config *c, sp_buf *cert, sp_buf *key, sp_buf *ca,
                       sp_err *err) {
    return sp_file_read(c->cert_file, 1 << 20, cert, err) &&
           sp_file_read(c->key_file, 1 << 20, key, err) &&
           sp_file_read(c->ca_file, 1 << 20, ca, err);
}

bool sp_agent_server_start(sp_agent *g, const sp_agent_server_config *c, sp_agent_server **ret,
                           sp_err *err) {
    sp_auto(sp_buf) cert = {0};
    sp_auto(sp_buf) key = {0};
    sp_auto(sp_buf) ca = {0};
    sp_tls_ctx *tls = NULL;
    if (!read_files(c, &cert, &key, &ca, err)) return false;
    sp_tls_config t = {.cert_pem = sp_buf_str(&cert),
                       .key_pem = sp_buf_str(&key),
                       .ca_pem = sp_buf_str(&ca),
                       .server = true,
                       .require_client = true,
                       .alpn = "h2,http/1.1"};
    if (!sp_tls_ctx_new(&t, &tls, err)) return false;
    sp_agent_server *s = sp_zalloc(1, sizeof *s);
    s->agent = g;
    sp_http_server_config h = {
        .host = c->host, .port = c->port, .tls = tls, .handler = handle, .ctx = s};
    bool ok = sp_http_server_start(g->loop, &h, &s->http, err);
    sp_tls_ctx_unref(tls);
    if (!ok) {
        free(s);
        return false;
    }
    *ret = s;
    return true;
}

/* The API server proved who it is when the tunnel was made. */
void sp_agent_server_take(sp_agent_server *s, int fd) {
    sp_str organization = SP_STR("system:masters");
    sp_tls_peer peer = {.common_name = SP_STR("kube-apiserver"),
                        .organizations = {&organization, 1, 1}};
    sp_http_server_take(s->http, fd, &peer);
}

uint16_t sp_agent_server_port(const sp_agent_server *s) {
    return sp_http_server_port(s->http);
}
