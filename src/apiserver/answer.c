/* Giving answers: bytes as they are where possible, Status documents for failures, and the one
 * place where a request is counted and logged. */
#include "apiserver/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "data/yaml.h"

#include <stdio.h>

bool sp_call_query(sp_call *c, const char *key, sp_str *ret) {
    return c->query.n && sp_query_get(c->op.arena, c->query, key, ret);
}

bool sp_call_query_true(sp_call *c, const char *key) {
    sp_str v;
    if (!sp_call_query(c, key, &v)) return false;
    static const char *const yes[] = {"", "1", "t", "T", "true", "True", "TRUE"};
    for (size_t i = 0; i < SP_COUNT(yes); i++)
        if (sp_str_eqz(v, yes[i])) return true;
    return false;
}

static bool is_mutating(const sp_call *c) {
    return c->info.verb >= SP_REQ_CREATE;
}

void sp_call_count(sp_call *c, int status) {
    if (c->http_status) return;
    c->http_status = status;
    sp_apiserver *s = c->op.s;
    int64_t took = sp_clock_mono_us() - c->start_us;
    const sp_resource *row = c->op.served ? c->op.served->row : NULL;
    bool streams = c->info.verb == SP_REQ_WATCH || sp_str_eqz(c->info.sub, "log");
    sp_request_figures r = {.verb = sp_req_verb_name(c->info.verb),
                            .group = row ? c->info.group : SP_STR(""),
                            .version = row ? c->info.version : SP_STR(""),
                            .resource = row ? c->info.plural : SP_STR(""),
                            .subresource = row ? sp_str_sub(c->info.sub, 0, 40) : SP_STR(""),
                            .namespaced_request = c->info.ns.n > 0,
                            .named = c->info.name.n > 0,
                            .code = status,
                            .took_us = streams ? -1 : took};
    sp_api_metrics_count(s->metrics, &r);
    sp_api_metrics_inflight(s->metrics, is_mutating(c), -1);
    if (!sp_log_enabled(SP_LOG_DEBUG) || !c->http) return;
    sp_debug("request", SP_KV("method", c->http->method), SP_KV("path", c->http->path),
             SP_KV("query", c->query), SP_KV("user", c->user.name), SP_KV("status", status),
             SP_KV("took_us", took));
}

/* RFC 7234 section 5.5: 299 - "text". */
static sp_str warning_value(sp_arena *a, sp_str text) {
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "299 - \"");
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\') sp_buf_addc(&b, '\\');
        sp_buf_addc(&b, (unsigned char)text.p[i] < ' ' ? ' ' : text.p[i]);
    }
    sp_buf_addc(&b, '"');
    return sp_arena_str(a, sp_buf_str(&b));
}

size_t sp_call_headers(sp_call *c, const char *content_type, sp_header *h) {
    size_t n = 0;
    h[n++] = (sp_header){SP_STR("content-type"), sp_str_z(content_type)};
    h[n++] = (sp_header){SP_STR("cache-control"), SP_STR("no-cache, private")};
    if (c->retry_after) h[n++] = (sp_header){SP_STR("retry-after"), SP_STR("1")};
    for (size_t i = 0; i < c->op.warnings.n && n < SP_CALL_HEADERS_MAX - 2; i++)
        h[n++] = (sp_header){SP_STR("warning"), warning_value(c->op.arena, c->op.warnings.p[i])};
    return n;
}

void sp_call_reply(sp_call *c, int status, const char *content_type, sp_str body) {
    sp_call_count(c, status);
    sp_header h[SP_CALL_HEADERS_MAX];
    size_t n = sp_call_headers(c, content_type, h);
    if (c->res) sp_http_reply(c->res, status, h, n, body);
    sp_call_end(c);
}

static void reply_other_form(sp_call *c, int status, sp_str json) {
    sp_json *doc;
    sp_auto(sp_buf) b = {0};
    if (!sp_json_parse(c->op.arena, json, &doc, NULL)) {
        sp_call_reply(c, status, "application/json", json);
        return;
    }
    if (c->yaml)
        sp_yaml_write(&b, doc);
    else {
        sp_json_write_pretty(&b, doc);
        sp_buf_addc(&b, '\n');
    }
    sp_call_reply(c, status, c->yaml ? "application/yaml" : "application/json", sp_buf_str(&b));
}

void sp_call_reply_blob(sp_call *c, int status, sp_blob *body) {
    if (c->yaml || c->pretty) {
        reply_other_form(c, status, sp_blob_str(body));
        return;
    }
    sp_call_count(c, status);
    sp_header h[SP_CALL_HEADERS_MAX];
    size_t n = sp_call_headers(c, "application/json", h);
    if (c->res) sp_http_reply_blob(c->res, status, h, n, body);
    sp_call_end(c);
}

void sp_call_reply_json(sp_call *c, int status, const sp_json *j) {
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, j);
    if (c->yaml || c->pretty)
        reply_other_form(c, status, sp_buf_str(&b));
    else
        sp_call_reply(c, status, "application/json", sp_buf_str(&b));
}

/* Details name the kind where the object itself is wrong, else the resource (as Kubernetes does).
 */
static const char *kind_for(const sp_resource *row, sp_code code) {
    if (!row) return "";
    return code == SP_INVALID ? row->kind : row->plural;
}

/* Clients ask again by themselves where they are told when. Nobody must, whose write may have been
 * done: he would be told that it is there already, or missing. */
static bool may_ask_again(const sp_call *c, sp_code code) {
    bool reads =
        c->info.verb == SP_REQ_GET || c->info.verb == SP_REQ_LIST || c->info.verb == SP_REQ_WATCH;
    return code == SP_TOO_MANY || code == SP_UNAVAILABLE || (code == SP_TIMEOUT && reads);
}

void sp_call_fail(sp_call *c, const sp_err *err, const sp_causes *causes) {
    sp_arena *a = c->op.arena;
    const sp_resource *row = c->op.served ? c->op.served->row : NULL;
    sp_str name = c->op.name.n ? c->op.name : c->info.name;
    /* kubectl shows the message of Invalid only where details name neither causes nor an object. */
    bool bare = err->code == SP_INVALID && !(causes && causes->list.n) && !err->field[0];
    sp_json *status =
        sp_status_from_err(a, err, causes, row ? row->group : "",
                           bare ? "" : kind_for(row, err->code), bare ? SP_STR("") : name);
    c->retry_after = may_ask_again(c, err->code);
    if (c->retry_after)
        sp_json_set_int(a, sp_json_ensure_object(a, status, "details"), "retryAfterSeconds", 1);
    sp_call_reply_json(c, sp_code_http(err->code), status);
}

void sp_call_success(sp_call *c, int status, sp_str name, const char *kind, sp_str uid) {
    sp_arena *a = c->op.arena;
    sp_json *s = sp_json_object(a);
    sp_json_set_z(a, s, "kind", "Status");
    sp_json_set_z(a, s, "apiVersion", "v1");
    sp_json_set(a, s, "metadata", sp_json_object(a));
    sp_json_set_z(a, s, "status", "Success");
    if (name.n) {
        const sp_resource *row = c->op.served ? c->op.served->row : NULL;
        sp_json *d = sp_json_set(a, s, "details", sp_json_object(a));
        sp_json_set(a, d, "name", sp_json_new_str(a, name));
        if (row && row->group[0]) sp_json_set_z(a, d, "group", row->group);
        sp_json_set_z(a, d, "kind", kind);
        if (uid.n) sp_json_set(a, d, "uid", sp_json_new_str(a, uid));
    }
    if (status == 201) sp_json_set_int(a, s, "code", 201);
    sp_call_reply_json(c, status, s);
}

/* ---------- life of a call ---------- */

static void free_call(sp_call *c) {
    sp_outflow_cleanup(&c->flow);
    sp_op_cleanup(&c->op);
    sp_arena_free(c->op.arena);
}

static void client_closed(void *ctx) {
    sp_call *c = ctx;
    c->res = NULL;
    c->http = NULL;
    if (c->finished) free_call(c);
}

void sp_call_hold(sp_call *c) {
    if (c->held) return;
    c->held = true;
    sp_http_on_close(c->res, client_closed, c);
}

void sp_call_end(sp_call *c) {
    c->finished = true;
    if (!c->held || !c->res) {
        sp_call_count(c, 499);
        free_call(c);
    }
}

/* ---------- long answers ---------- */

typedef struct flow_end {
    sp_call *call;
    sp_str tail;
} flow_end;

static void flow_done(void *ctx) {
    const flow_end *e = ctx;
    sp_http_write(e->call->res, e->tail);
    sp_http_end(e->call->res);
}

void sp_call_reply_flow(sp_call *c, sp_str head, sp_str tail) {
    sp_header h[SP_CALL_HEADERS_MAX];
    size_t n = sp_call_headers(c, "application/json", h);
    size_t length = head.n + sp_outflow_size(&c->flow) + tail.n;
    h[n++] = (sp_header){SP_STR("content-length"), sp_arena_printf(c->op.arena, "%zu", length)};
    flow_end *e = SP_NEW(c->op.arena, flow_end);
    *e = (flow_end){c, tail};
    c->flow.done = flow_done;
    c->flow.ctx = e;
    sp_call_count(c, 200);
    sp_call_hold(c);
    c->finished = true; /* freed when the client has it all, or has gone */
    sp_http_begin(c->res, 200, h, n);
    sp_http_write(c->res, head);
    sp_outflow_start(&c->flow, c->res);
}
