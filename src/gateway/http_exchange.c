/* One request and its answer (see http.h): from the route to the log line. Every event, of either
 * side or a timer, ends in sp_exchange_step, which looks at the state and does whatever can be done
 * now, so no event can be missed. */
#include "base/clock.h"
#include "gateway/http.h"
#include "gateway/proxy_header.h"

#include <stdarg.h>
#include <stdio.h>

enum { SPARE_EXCHANGES = 64, HEAD_KEPT_BYTES = 16 * 1024 };

/* --- life --- */

static void on_alarm(sp_alarm *a);

sp_exchange *sp_exchange_new(const sp_front *front, void *client, const sp_session *s,
                             sp_listener *l) {
    sp_worker *w = s->worker;
    sp_exchange *x = w->exchanges.n ? w->exchanges.p[--w->exchanges.n] : sp_zalloc(1, sizeof *x);
    memset((char *)x + offsetof(sp_exchange, front), 0,
           offsetof(sp_exchange, client_ip) - offsetof(sp_exchange, front));
    x->front = front;
    x->client = client;
    x->worker = w;
    x->listener = l;
    l->refs++;
    x->client_addr = s->client;
    x->local = s->local;
    x->config = sp_gateway_config_ref(w->config);
    x->started_us = sp_clock_mono_us();
    x->dial.sock.io.fd = -1;
    sp_alarm_init(&x->alarm, on_alarm);
    sp_addr_format_ip(&s->client, x->client_ip);
    x->hop.client_ip = sp_str_z(x->client_ip);
    return x;
}

static void free_exchange(sp_exchange *x) {
    sp_buf_free(&x->head);
    sp_buf_free(&x->trailers);
    sp_vec_free(&x->request.headers);
    free(x);
}

void sp_worker_free_exchanges(sp_worker *w) {
    sp_vec_each(&w->exchanges, x) free_exchange(*x);
    sp_vec_free(&w->exchanges);
}

static void release(sp_exchange *x) {
    sp_worker *w = x->worker;
    sp_pool_unref(w, x->pool);
    sp_gateway_config_unref(x->config);
    sp_listener_unref(x->listener);
    if (w->exchanges.n >= SPARE_EXCHANGES || x->head.cap > HEAD_KEPT_BYTES) {
        free_exchange(x);
        return;
    }
    sp_buf_clear(&x->head);
    sp_buf_clear(&x->trailers);
    sp_vec_push(&w->exchanges, x);
}

static void hold(sp_exchange *x) {
    x->held++;
}

static void let_go(sp_exchange *x) {
    if (--x->held == 0 && sp_exchange_is_over(x)) release(x);
}

/* --- the end --- */

static void count_status(sp_worker_stats *st, int status) {
    uint64_t *const classes[] = {
        NULL, NULL, &st->status_2xx, &st->status_3xx, &st->status_4xx, &st->status_5xx};
    st->requests++;
    if (status >= 200 && status < 600) (*classes[status / 100])++;
}

/* What other programs will find this request by. */
static void name_request(const sp_exchange *x, sp_access *a) {
    const sp_headers *h = &x->request.headers;
    sp_str parent = sp_headers_get(h->p, h->n, "traceparent");
    a->request_id = sp_headers_get(h->p, h->n, "x-request-id");
    a->trace_id = sp_str_sub(parent, 3, 32); /* version-trace-… (W3C Trace Context 3.2) */
}

static void log_request(sp_exchange *x, sp_over how) {
    sp_worker *w = x->worker;
    uint64_t in = 0, out = 0;
    x->front->count(x, &in, &out);
    if (w->settings.access_log_fd < 0) return;
    int64_t took_us = sp_clock_mono_us() - x->started_us;
    sp_access a = {.protocol = x->front->protocol ? x->front->protocol
                               : x->request.minor ? "HTTP/1.1"
                                                  : "HTTP/1.0",
                   .client = x->client_addr,
                   .local = x->local,
                   .method = x->request.method,
                   .host = x->hop.target.host,
                   .target = x->request.target,
                   .headers = x->request.headers.p,
                   .header_count = x->request.headers.n,
                   .status = x->status,
                   .in = in,
                   .out = out,
                   .wall_ms = sp_clock_wall_ms() - took_us / 1000,
                   .connected_us = x->connected_us ? x->connected_us - x->started_us : -1,
                   .answered_us = x->answered_us ? x->answered_us - x->started_us : -1,
                   .total_us = took_us,
                   .endpoint = x->endpoint.addr,
                   .attempts = x->attempts,
                   .cut = how == SP_OVER_CUT};
    if (x->listener->spec) a.listener = x->listener->spec->owner;
    if (x->hop.entry) a.route = x->hop.entry->action->owner;
    if (x->pool) a.pool = x->pool->name;
    name_request(x, &a);
    sp_worker_log_access(w, &a);
}

static void finish(sp_exchange *x, sp_over how) {
    if (sp_exchange_is_over(x)) return;
    hold(x);
    x->state = SP_EXCHANGE_OVER;
    sp_alarm_stop(&x->alarm);
    count_status(&x->worker->stats, x->status);
    log_request(x, how);
    sp_dial_cancel(&x->dial);
    if (x->backend) x->back->leave(x);
    x->front->over(x, how);
    x->client = NULL;
    let_go(x);
}

void sp_exchange_taken(sp_exchange *x) {
    finish(x, SP_OVER_TAKEN);
}

void sp_exchange_client_gone(sp_exchange *x) {
    if (!x->status) x->status = 499;
    finish(x, SP_OVER_CUT);
}

/* --- own answers --- */

static void answer_own(sp_exchange *x, int status, sp_str text, sp_str location) {
    sp_header fields[3];
    size_t n = 0;
    fields[n++] = (sp_header){SP_STR("server"), SP_STR("sampan")};
    if (location.n) fields[n++] = (sp_header){SP_STR("location"), location};
    if (text.n)
        fields[n++] = (sp_header){SP_STR("content-type"), SP_STR("text/plain; charset=utf-8")};
    sp_h1_head h = {.status = status,
                    .minor = 1,
                    .reason = sp_str_z(sp_http_status_text(status)),
                    .headers = {fields, n, n},
                    .framing = SP_H1_LENGTH,
                    .length = text.n ? text.n + 1 : 0};
    x->status = status;
    x->answer_begun = true;
    x->keep_client = x->keep_client && x->request_done && x->listener->spec;
    x->answer_as = SP_BODY_AS_IS;
    x->front->head(x, &h, NULL);
    if (text.n && !x->to_head) {
        x->front->data(x, text);
        x->front->data(x, SP_STR("\n"));
    }
    x->answer_done = true;
    x->front->end(x, (sp_str){0});
    x->front->flush(x);
    finish(x, SP_OVER_DONE);
}

void sp_exchange_fail(sp_exchange *x, int status, const char *fmt, ...) {
    char text[512];
    va_list ap;
    if (sp_exchange_is_over(x)) return;
    if (x->answer_begun) {
        finish(x, SP_OVER_CUT);
        return;
    }
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    x->worker->stats.own_errors++;
    answer_own(x, status, (sp_str){text, SP_MIN((size_t)SP_MAX(n, 0), sizeof text - 1)},
               (sp_str){0});
}

/* --- finding a backend --- */

static bool use_kept(sp_dial *d) {
    sp_exchange *x = SP_CONTAINER(d, sp_exchange, dial);
    return !x->fresh_only && sp_back1_claim(x);
}

static void send_request(sp_exchange *x) {
    x->state = SP_EXCHANGE_RELAY;
    x->connected_us = sp_clock_mono_us();
    x->back->send(x);
    sp_alarm_start(x->worker->poller, &x->alarm, SP_TIMEOUT_RESPONSE);
}

static void fail_dial(sp_exchange *x, sp_dial_result r) {
    sp_str pool = x->pool->name, owner = x->hop.entry->action->owner;
    unsigned tried = (unsigned)x->dial.failed_count;
    if (r == SP_DIAL_NO_ENDPOINT)
        sp_exchange_fail(x, 503, "no endpoint of the service %.*s is ready (asked for by %.*s)",
                         SP_ARG(pool), SP_ARG(owner));
    else if (r == SP_DIAL_OVERLOADED)
        sp_exchange_fail(x, 503, "the service %.*s is busy and its queue is full", SP_ARG(pool));
    else if (r == SP_DIAL_QUEUE_TIMEOUT)
        sp_exchange_fail(x, 503, "the service %.*s was busy for too long", SP_ARG(pool));
    else if (r == SP_DIAL_TIMEOUT)
        sp_exchange_fail(x, 504, "no endpoint of the service %.*s accepted a connection in time",
                         SP_ARG(pool));
    else
        sp_exchange_fail(x, 502,
                         "the endpoints of the service %.*s refuse connections (%u attempts)",
                         SP_ARG(pool), tried);
}

static void on_dialed(sp_dial *d, sp_dial_result r) {
    sp_exchange *x = d->ctx;
    hold(x);
    if (r != SP_DIAL_OK && r != SP_DIAL_KEPT) {
        fail_dial(x, r);
    } else {
        x->endpoint = d->upstream->e;
        if (r == SP_DIAL_OK)
            sp_back1_open(x);
        else
            sp_back1_attach(x);
        send_request(x);
        x->front->wake(x);
    }
    let_go(x);
}

static void describe(sp_dial *d, sp_proxy_facts *f) {
    sp_exchange *x = d->ctx;
    const sp_sock *c = x->front->socket(x);
    f->target = x->local;
    if (c) sp_proxy_facts_of_sock(f, c);
    f->server_name = c ? sp_sock_sni(c) : (sp_str){0};
}

static void dial(sp_exchange *x) {
    x->state = SP_EXCHANGE_DIAL;
    sp_alarm_stop(&x->alarm); /* the dial has its own */
    x->attempts++;
    x->dial.ctx = x;
    x->dial.done = on_dialed;
    x->dial.use_kept = use_kept;
    x->dial.describe = describe;
    x->dial.alpn = "http/1.1";
    sp_dial_start(&x->dial, x->worker, x->pool, &x->client_addr);
}

/* --- routing --- */

static void answer_redirect(sp_exchange *x) {
    sp_auto(sp_buf) to = {0};
    sp_http_redirect_location(&to, &x->hop, x->local.port);
    answer_own(x, x->hop.entry->action->redirect_status, (sp_str){0}, sp_buf_str(&to));
}

static void forward(sp_exchange *x) {
    const sp_route_action *a = x->hop.entry->action;
    if (a->redirect_status) {
        answer_redirect(x);
        return;
    }
    if (a->answer_status) {
        answer_own(x, a->answer_status, a->answer_body, (sp_str){0});
        return;
    }
    uint32_t pool = sp_route_draw(&a->targets, sp_worker_random(x->worker));
    if (pool == SP_NO_POOL) {
        sp_exchange_fail(x, 500, "%.*s names a backend that does not exist", SP_ARG(a->owner));
        return;
    }
    x->pool = sp_pool_ref(x->worker->pool_at.p[pool]);
    x->pool_spec = &x->config->pools[pool];
    dial(x);
}

static void not_found(sp_exchange *x, sp_str host, sp_str path) {
    sp_exchange_fail(x, 404, "no Ingress or HTTPRoute answers for host \"%.*s\" and path %.*s",
                     (int)SP_MIN(host.n, 128u), host.p ? host.p : "", (int)SP_MIN(path.n, 200u),
                     path.p);
}

static void find_route(sp_exchange *x, const sp_inner_spec *inner) {
    char host_scratch[256];
    sp_route_request r = {.method = x->request.method,
                          .headers = x->request.headers.p,
                          .header_count = x->request.headers.n};
    if (!sp_http_split_target(&x->request, &x->hop.target)) {
        sp_exchange_fail(x, 400, "the request target is neither a path nor an http:// URL");
        return;
    }
    if (!sp_route_host(x->hop.target.host, host_scratch, sizeof host_scratch, &r.host)) {
        sp_exchange_fail(x, 400, "the Host field is not a host name");
        return;
    }
    if (!sp_route_path(x->hop.target.path, x->path_scratch, sizeof x->path_scratch, &r.path)) {
        sp_exchange_fail(x, 400, "the path is too long or has a broken escape");
        return;
    }
    r.query = x->hop.target.query;
    x->hop.entry = inner && inner->http ? sp_route_find(x->config->tables[inner->table], &r) : NULL;
    x->hop.entry = sp_route_choose(x->hop.entry, sp_worker_random(x->worker));
    if (!x->hop.entry) {
        not_found(x, r.host, r.path);
        return;
    }
    if (x->hop.entry->action->path_edit >= SP_PATH_REPLACE_PREFIX) x->hop.target.path = r.path;
    forward(x);
}

void sp_exchange_begin(sp_exchange *x, const sp_inner_spec *inner) {
    hold(x);
    x->to_head = sp_str_eq(x->request.method, SP_STR("HEAD"));
    x->idempotent = sp_http_is_idempotent(x->request.method);
    x->request_done = x->request.framing == SP_H1_NO_BODY;
    x->hop.upgrade = sp_http_upgrade(&x->request);
    if (sp_str_eq(x->request.method, SP_STR("CONNECT")) ||
        sp_str_eq(x->request.method, SP_STR("TRACE"))) {
        x->keep_client = false;
        sp_exchange_fail(x, 405, "the method %.*s is not served here", SP_ARG(x->request.method));
    } else {
        find_route(x, inner);
    }
    let_go(x);
}

/* --- the request's body --- */

void sp_exchange_body(sp_exchange *x, sp_str piece) {
    x->body_touched = true;
    x->back->data(x, piece);
}

void sp_exchange_body_end(sp_exchange *x, sp_str trailers) {
    x->request_done = true;
    x->back->end(x, trailers);
}

/* --- the answer --- */

static const char *endpoint_name(const sp_exchange *x, char ret[SP_ADDR_MAX]) {
    sp_addr_format(&x->endpoint.addr, ret);
    return ret;
}

/* Nothing of the answer is here, and asking again cannot do a thing twice. */
static bool may_retry(const sp_exchange *x) {
    return !x->answer_begun && !x->answer_seen && x->idempotent && !x->body_touched &&
           x->attempts < SP_MAX_TRIES;
}

void sp_exchange_backend_lost(sp_exchange *x) {
    char at[SP_ADDR_MAX];
    if (x->answer_begun) {
        finish(x, SP_OVER_CUT); /* a cut answer must look cut */
        return;
    }
    if (!may_retry(x)) {
        sp_exchange_fail(x, 502, "the endpoint %s of %.*s closed the connection without an answer",
                         endpoint_name(x, at), SP_ARG(x->pool->name));
        return;
    }
    if (!x->back->reused(x)) {
        sp_backend *b = x->backend;
        sp_upstream_report(x->worker, b->upstream, SP_OUTCOME_CONNECT_FAILED);
    }
    x->worker->stats.retries++;
    x->back->leave(x);
    x->fresh_only = true;
    dial(x);
}

void sp_exchange_bad_answer(sp_exchange *x, const char *why) {
    char at[SP_ADDR_MAX];
    sp_exchange_fail(x, 502, "the endpoint %s of %.*s gave an answer that is not valid HTTP: %s",
                     endpoint_name(x, at), SP_ARG(x->pool->name), why);
}

static void begin_answer(sp_exchange *x, const sp_h1_head *h) {
    x->answer_begun = true;
    x->answered_us = sp_clock_mono_us();
    x->status = h->status;
    x->answer_as = sp_http_answer_body(h, x->request.minor);
    if (x->answer_as == SP_BODY_UNTIL_CLOSE || x->worker->stopping || !x->listener->spec)
        x->keep_client = false;
    x->front->head(x, h, &x->hop.entry->action->response);
    sp_alarm_start(x->worker->poller, &x->alarm, SP_TIMEOUT_STREAM);
}

bool sp_exchange_answer(sp_exchange *x, const sp_h1_head *h) {
    if (h->status >= 200) {
        begin_answer(x, h);
        return true;
    }
    x->answer_seen = false; /* 1xx goes on to clients that know it; the final answer follows */
    x->answer_as = SP_BODY_AS_IS;
    if (x->request.minor >= 1) x->front->head(x, h, NULL);
    x->front->flush(x);
    return true;
}

void sp_exchange_answer_data(sp_exchange *x, sp_str piece) {
    x->front->data(x, piece);
}

void sp_exchange_answer_end(sp_exchange *x, sp_str trailers) {
    x->answer_done = true;
    x->front->end(x, trailers);
    x->front->flush(x);
    finish(x, SP_OVER_DONE);
}

/* --- the machine --- */

static bool relay(sp_exchange *x) {
    bool moved = false;
    x->back->flush(x);
    if (!x->request_done && !x->back->blocked(x)) moved = x->front->pump(x);
    if (x->state != SP_EXCHANGE_RELAY) return true;
    x->front->flush(x);
    if (!x->front->blocked(x)) moved |= x->back->pump(x);
    if (x->state != SP_EXCHANGE_RELAY) return true;
    if (x->front->gone(x)) {
        sp_exchange_client_gone(x);
        return true;
    }
    if (moved)
        sp_alarm_start(x->worker->poller, &x->alarm,
                       x->answer_begun ? SP_TIMEOUT_STREAM : SP_TIMEOUT_RESPONSE);
    return moved;
}

bool sp_exchange_step(sp_exchange *x) {
    hold(x);
    bool moved = x->state == SP_EXCHANGE_RELAY && relay(x);
    let_go(x);
    return moved;
}

static void on_alarm(sp_alarm *a) {
    sp_exchange *x = SP_CONTAINER(a, sp_exchange, alarm);
    if (x->answer_begun)
        finish(x, SP_OVER_CUT);
    else
        sp_exchange_fail(x, 504, "the service %.*s did not answer in time", SP_ARG(x->pool->name));
}
