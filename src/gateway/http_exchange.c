/* One request and its answer (see http.h): from the route to the log line. Every event, of either
 * side or a timer, ends in sp_exchange_step, which looks at the state and does whatever can be done
 * now, so no event can be missed. */
#include "base/clock.h"
#include "gateway/http_h2.h"
#include "gateway/proxy_header.h"

#include <stdarg.h>
#include <stdio.h>

enum { SPARE_EXCHANGES = 64, HEAD_KEPT_BYTES = 16 * 1024 };

/* --- life --- */

static void on_alarm(sp_alarm *a);
static void on_deadline(sp_alarm *a);

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
    sp_alarm_init(&x->deadline, on_deadline);
    sp_addr_format_ip(&s->client, x->client_ip);
    x->hop.client_ip = sp_str_z(x->client_ip);
    x->hop.local = s->local;
    x->hop.port = s->local.port;
    x->hop.client_port = s->client.port;
    for (size_t i = 0; i < SP_COUNT(x->hop.random); i++) x->hop.random[i] = sp_worker_random(w);
    return x;
}

static void free_exchange(sp_exchange *x) {
    sp_buf_free(&x->head);
    sp_buf_free(&x->request_trailers);
    sp_buf_free(&x->trailers);
    sp_buf_free(&x->extra);
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
    sp_worker_give_buf(w, &x->copy);
    if (w->exchanges.n >= SPARE_EXCHANGES || x->head.cap > HEAD_KEPT_BYTES) {
        free_exchange(x);
        return;
    }
    sp_buf_clear(&x->head);
    sp_buf_clear(&x->request_trailers);
    sp_buf_clear(&x->trailers);
    sp_buf_clear(&x->extra);
    sp_vec_push(&w->exchanges, x);
}

void sp_exchange_hold(sp_exchange *x) {
    x->held++;
}

void sp_exchange_let_go(sp_exchange *x) {
    if (--x->held == 0 && sp_exchange_is_over(x)) release(x);
}

/* --- the end --- */

static void count_status(sp_worker_stats *st, int status) {
    uint64_t *const classes[] = {
        NULL, NULL, &st->status_2xx, &st->status_3xx, &st->status_4xx, &st->status_5xx};
    st->requests++;
    if (status >= 200 && status < 600) (*classes[status / 100])++;
}

static void log_request(sp_exchange *x, sp_over how) {
    sp_worker *w = x->worker;
    uint64_t in = 0, out = 0;
    char id[SP_HTTP_ID_BYTES], trace[SP_HTTP_ID_BYTES];
    x->front->count(x, &in, &out);
    int64_t first_us = x->answered_us ? x->answered_us : x->started_us;
    if (x->hop.entry)
        sp_worker_count_route(w, x->hop.entry->action->owner, x->status, in, out,
                              (first_us - x->started_us) / 1000);
    if (w->settings.access_log_fd < 0) return;
    int64_t took_us = sp_clock_mono_us() - x->started_us;
    sp_access a = {.protocol = x->front->protocol ? x->front->protocol
                               : x->request.minor ? "HTTP/1.1"
                                                  : "HTTP/1.0",
                   .client = x->client_addr,
                   .local = x->local,
                   .tls = x->hop.tls,
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
    if (x->backend) a.server = x->back->upstream(x)->name;
    if (x->attempts) { /* what other programs will find this request by */
        a.request_id = sp_http_request_id(&x->request, &x->hop, id);
        a.trace_id = sp_http_trace_id(&x->request, &x->hop, trace);
    }
    sp_worker_log_access(w, &a);
}

/* What the answer tells about the endpoint; losing it was reported where it happened. */
static void report(sp_exchange *x) {
    if (!x->backend || !x->answer_begun || !x->answer_done) return;
    sp_upstream_report(x->worker, x->back->upstream(x),
                       x->status >= 500 ? SP_OUTCOME_5XX : SP_OUTCOME_OK);
}

/* The pool's budget for second attempts is for those that could be too much for servers in need;
 * not for what a kept connection lost, nor for the first time that an endpoint gave a request back
 * untouched. */
static bool is_in_budget(sp_exchange *x) {
    return sp_pool_take_retry(x->pool, &x->retrying);
}

static void finish(sp_exchange *x, sp_over how) {
    if (sp_exchange_is_over(x)) return;
    sp_exchange_hold(x);
    x->state = SP_EXCHANGE_OVER;
    sp_alarm_stop(&x->alarm);
    sp_alarm_stop(&x->deadline);
    if (x->front->count) {
        count_status(&x->worker->stats, x->status);
        log_request(x, how);
    }
    sp_dial_cancel(&x->dial);
    sp_pool_give_retry(x->pool, &x->retrying);
    report(x);
    if (x->backend) x->back->leave(x);
    x->front->over(x, how);
    x->client = NULL;
    sp_exchange_let_go(x);
}

void sp_exchange_taken(sp_exchange *x) {
    finish(x, SP_OVER_TAKEN);
}

void sp_exchange_client_gone(sp_exchange *x) {
    if (!x->status) x->status = 499;
    finish(x, SP_OVER_CUT);
}

/* --- own answers --- */

void sp_exchange_answer_own(sp_exchange *x, int status, sp_str type, sp_str text) {
    sp_header fields[2] = {{SP_STR("server"), SP_STR("sampan")}, {SP_STR("content-type"), type}};
    size_t n = type.n ? 2 : 1;
    bool none = status == 204 || status == 304;
    sp_h1_head h = {.status = status,
                    .minor = 1,
                    .reason = sp_str_z(sp_http_status_text(status)),
                    .headers = {fields, n, n},
                    .framing = none || x->to_head ? SP_H1_NO_BODY : SP_H1_LENGTH,
                    .length = text.n};
    sp_http_edit edit = {.extra = sp_buf_str(&x->extra)};
    char length[24];
    sp_header with_length[3];
    if (x->to_head && !none) { /* what it would be */
        int digits = snprintf(length, sizeof length, "%zu", text.n);
        memcpy(with_length, fields, sizeof fields);
        with_length[n] = (sp_header){SP_STR("content-length"), {length, (size_t)digits}};
        h.headers.p = with_length;
        h.headers.n++;
    }
    x->status = status;
    x->answer_begun = true;
    x->keep_client = x->keep_client && x->request_done && x->listener->spec;
    x->answer_as = SP_BODY_AS_IS;
    x->front->head(x, &h, &edit);
    if (h.framing == SP_H1_LENGTH) x->front->data(x, text);
    x->answer_done = true;
    x->front->end(x, (sp_str){0});
    x->front->flush(x);
    if (x->backend) x->back->leave(x);
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
    int n = vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    size_t length = SP_MIN((size_t)SP_MAX(n, 0), sizeof text - 2);
    text[length++] = '\n';
    x->worker->stats.own_errors++;
    sp_exchange_answer_own(x, status, SP_STR("text/plain; charset=utf-8"), (sp_str){text, length});
}

/* --- an attempt --- */

static bool wants_h2(const sp_exchange *x) {
    return x->pool_spec->protocol == SP_BACKEND_H2C ||
           (x->pool_spec->protocol == SP_BACKEND_AUTO && x->pool_spec->tls && !x->hop.upgrade.n);
}

static bool use_kept(sp_dial *d) {
    sp_exchange *x = SP_CONTAINER(d, sp_exchange, dial);
    x->claimed_as = &sp_back2;
    if (wants_h2(x) && sp_back2_claim(x)) return true;
    x->claimed_as = &sp_back1;
    return !x->fresh_only && x->pool_spec->protocol != SP_BACKEND_H2C && sp_back1_claim(x);
}

static uint32_t attempt_ms(const sp_exchange *x) {
    uint32_t ms = x->hop.entry->action->backend_timeout_ms;
    return ms ? ms : x->pool_spec->response_timeout_ms;
}

/* The body again as far as it came, after another attempt had it; a body may be nothing but its
 * end.
 */
static void send_copy(sp_exchange *x) {
    if (x->body_touched) x->back->data(x, sp_buf_str(&x->copy));
    if (x->request_done && x->request.framing != SP_H1_NO_BODY)
        x->back->end(x, sp_buf_str(&x->request_trailers));
}

static void send_request(sp_exchange *x) {
    x->connected_us = sp_clock_mono_us();
    x->state = SP_EXCHANGE_RELAY;
    x->back->send(x);
    send_copy(x);
    sp_alarm_start_or(x->worker->poller, &x->alarm, attempt_ms(x), SP_TIMEOUT_RESPONSE);
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

static void open_back(sp_exchange *x) {
    bool h2 = x->pool_spec->protocol == SP_BACKEND_H2C ||
              sp_str_eq(sp_sock_alpn(&x->dial.sock), SP_STR("h2"));
    if (h2)
        sp_back2_open(x);
    else
        sp_back1_open(x);
}

static void attach_back(sp_exchange *x) {
    if (x->claimed_as == &sp_back2)
        sp_back2_attach(x);
    else
        sp_back1_attach(x);
}

static void on_dialed(sp_dial *d, sp_dial_result r) {
    sp_exchange *x = d->ctx;
    sp_exchange_hold(x);
    if (r != SP_DIAL_OK && r != SP_DIAL_KEPT) {
        fail_dial(x, r);
    } else {
        x->endpoint = d->upstream->e;
        if (r == SP_DIAL_OK)
            open_back(x);
        else
            attach_back(x);
        send_request(x);
        x->front->wake(x);
    }
    sp_exchange_let_go(x);
}

static void describe(sp_dial *d, sp_proxy_facts *f) {
    sp_exchange *x = d->ctx;
    const sp_sock *c = x->front->socket(x);
    f->target = x->local;
    if (c) sp_proxy_facts_of_sock(f, c);
    f->server_name = c ? sp_sock_sni(c) : (sp_str){0};
}

static const char *alpn(const sp_exchange *x) {
    static const char *const offers[] = {[SP_BACKEND_HTTP1] = "http/1.1",
                                         [SP_BACKEND_H2C] = "h2",
                                         [SP_BACKEND_AUTO] = "h2,http/1.1"};
    return offers[x->hop.upgrade.n ? SP_BACKEND_HTTP1 : x->pool_spec->protocol];
}

void sp_exchange_dial(sp_exchange *x) {
    x->state = SP_EXCHANGE_DIAL;
    sp_alarm_stop(&x->alarm); /* the dial has its own */
    x->attempts++;
    x->dial.ctx = x;
    x->dial.done = on_dialed;
    x->dial.use_kept = use_kept;
    x->dial.describe = describe;
    x->dial.speaks_first = true;
    x->dial.in_budget = x->retrying;
    x->dial.avoid = x->avoid;
    x->dial.alpn = alpn(x);
    sp_dial_start(&x->dial, x->worker, x->pool, &x->client_addr);
}

/* --- once more --- */

bool sp_exchange_can_resend(const sp_exchange *x) {
    return (!x->body_touched || x->copying) && x->attempts < SP_MAX_TRIES;
}

/* Nothing of the answer is here, and what was sent can be sent again. */
static bool can_repeat(const sp_exchange *x) {
    return !x->answer_begun && !x->answer_seen && sp_exchange_can_resend(x);
}

/* elsewhere: it may as well be that endpoint's fault. */
static void repeat(sp_exchange *x, uint32_t after_ms, bool elsewhere) {
    bool choice = x->pool->balance.list.n > 1;
    x->worker->stats.retries++;
    x->avoid = elsewhere && choice ? &x->back->upstream(x)->e : NULL;
    x->back->leave(x);
    x->fresh_only = true;
    x->answer_seen = false;
    if (!after_ms) {
        sp_exchange_dial(x);
        return;
    }
    x->state = SP_EXCHANGE_PAUSE;
    sp_alarm_after(x->worker->poller, &x->alarm, after_ms);
}

/* Doubles with each time; half of it at random, so that those who failed together do not come back
 * together. */
static uint32_t backoff_ms(sp_exchange *x) {
    uint32_t ms = x->hop.entry->action->retry.backoff_ms, doublings = SP_MIN(x->repeats, 6);
    if (!ms) return 0;
    uint64_t whole = (uint64_t)ms << doublings;
    return (uint32_t)SP_MIN(whole / 2 + sp_worker_random(x->worker) % (whole / 2 + 1), 60000);
}

/* What the route asks for beyond the safe ones. */
static bool may_repeat_by_rule(sp_exchange *x) {
    return x->idempotent && x->repeats < x->hop.entry->action->retry.attempts && can_repeat(x) &&
           is_in_budget(x);
}

static bool repeat_by_rule(sp_exchange *x) {
    if (!may_repeat_by_rule(x)) return false;
    uint32_t pause = backoff_ms(x);
    x->repeats++;
    repeat(x, pause, true);
    return true;
}

static bool is_code_to_repeat(const sp_exchange *x, int status) {
    const sp_retry_spec *r = &x->hop.entry->action->retry;
    for (size_t i = 0; i < r->code_count; i++)
        if (r->codes[i] == status) return true;
    return false;
}

static const char *endpoint_name(const sp_exchange *x, char ret[SP_ADDR_MAX]) {
    sp_addr_format(&x->endpoint.addr, ret);
    return ret;
}

/* Once is a matter of course: an endpoint that leaves says so by GOAWAY while requests are on their
 * way, and one that takes few streams at a time refuses those that crossed its SETTINGS. Who is
 * refused again has met endpoints that have enough to do. */
void sp_exchange_refused(sp_exchange *x) {
    char at[SP_ADDR_MAX];
    if (can_repeat(x) && (x->refusals++ == 0 || is_in_budget(x)))
        repeat(x, 0, true);
    else
        sp_exchange_fail(x, 503, "the endpoint %s of %.*s refuses the request",
                         endpoint_name(x, at), SP_ARG(x->pool->name));
}

void sp_exchange_backend_lost(sp_exchange *x) {
    char at[SP_ADDR_MAX];
    bool fresh = !x->back->reused(x);
    if (fresh || x->answer_begun)
        sp_upstream_report(x->worker, x->back->upstream(x), SP_OUTCOME_RESET);
    if (x->answer_begun) {
        finish(x, SP_OVER_CUT); /* a cut answer must look cut */
    } else if (x->idempotent && can_repeat(x) && (!fresh || is_in_budget(x))) {
        repeat(x, 0, fresh);
    } else {
        sp_exchange_fail(x, 502, "the endpoint %s of %.*s closed the connection without an answer",
                         endpoint_name(x, at), SP_ARG(x->pool->name));
    }
}

void sp_exchange_bad_answer(sp_exchange *x, const char *why) {
    char at[SP_ADDR_MAX];
    sp_upstream_report(x->worker, x->back->upstream(x), SP_OUTCOME_RESET);
    sp_exchange_fail(x, 502, "the endpoint %s of %.*s gave an answer that is not valid HTTP: %s",
                     endpoint_name(x, at), SP_ARG(x->pool->name), why);
}

/* --- the request's body --- */

static void keep_copy(sp_exchange *x, sp_str piece) {
    if (!x->copying) return;
    if (x->copy.n + piece.n > SP_BODY_COPY_MAX) {
        x->copying = false;
        sp_worker_give_buf(x->worker, &x->copy);
        return;
    }
    if (!x->copy.p) x->copy = sp_worker_take_buf(x->worker);
    sp_buf_add(&x->copy, piece);
}

void sp_exchange_body(sp_exchange *x, sp_str piece) {
    uint64_t most = x->hop.entry->action->max_body_bytes;
    x->body_bytes += piece.n;
    if (most && x->body_bytes > most && !x->tunnel) {
        sp_exchange_fail(x, 413, "the body is larger than the %llu bytes allowed here",
                         (unsigned long long)most);
        return;
    }
    x->body_touched = true;
    keep_copy(x, piece);
    x->back->data(x, piece);
}

void sp_exchange_body_end(sp_exchange *x, sp_str trailers) {
    sp_buf filtered = {0};
    if (trailers.n) sp_http_filter_trailers(&filtered, trailers);
    sp_buf_free(&x->request_trailers); /* may be what trailers is a slice of */
    x->request_trailers = filtered;
    x->request_done = true;
    x->back->end(x, sp_buf_str(&x->request_trailers));
    if (x->hop.entry->action->mirror_count && x->copying) sp_mirror_start(x);
}

/* --- the answer --- */

static void add_cookie(sp_exchange *x) {
    if (!x->pool_spec->sticky.cookie.n) return;
    if (!sp_affinity_is_news(&x->dial.affinity, &x->endpoint)) return;
    sp_buf_add(&x->extra, SP_STR("set-cookie: "));
    sp_affinity_set_cookie(&x->extra, &x->pool_spec->sticky, &x->endpoint);
    sp_buf_add(&x->extra, SP_STR("\r\n"));
}

static uint32_t upgraded_idle_ms(const sp_exchange *x) {
    const sp_listener_spec *l = x->listener->spec;
    return l ? l->upgraded_idle_ms : 0;
}

/* A WebSocket of its own connection becomes a tunnel, which is watched there. */
static void begin_watch(sp_exchange *x) {
    uint32_t limit = upgraded_idle_ms(x), first = SP_TUNNEL_FIRST_LOOK_MS;
    sp_alarm_stop(&x->deadline);
    x->moved_ms = sp_poller_now_ms(x->worker->poller);
    sp_alarm_after(x->worker->poller, &x->alarm, limit ? SP_MIN(limit, first) : first);
}

static void begin_answer(sp_exchange *x, const sp_h1_head *h) {
    sp_pool_give_retry(x->pool, &x->retrying);
    x->answered_us = sp_clock_mono_us();
    x->answer_begun = true;
    x->status = h->status;
    x->answer_as = sp_http_answer_body(h, x->request.minor);
    if (x->answer_as == SP_BODY_UNTIL_CLOSE || x->worker->stopping || !x->listener->spec)
        x->keep_client = false;
    add_cookie(x);
    sp_http_edit edit = {.by_rule = &x->hop.entry->action->response,
                         .extra = sp_buf_str(&x->extra),
                         .no_cors = x->cors};
    x->front->head(x, h, &edit);
    if (x->tunnel)
        begin_watch(x);
    else if (!x->hop.entry->action->backend_timeout_ms)
        sp_alarm_start(x->worker->poller, &x->alarm, SP_TIMEOUT_STREAM);
}

/* The endpoint answers in place of switching. From here on nothing of the stream may reach it: it
 * would read the bytes as requests of its own. */
static void close_tunnel(sp_exchange *x) {
    x->tunnel = false;
    x->request_done = true;
}

bool sp_exchange_answer(sp_exchange *x, const sp_h1_head *h) {
    char at[SP_ADDR_MAX];
    if (x->tunnel && h->status >= 200 && h->status < 300) { /* for the client it would be a yes */
        sp_exchange_fail(x, 502, "the endpoint %s of %.*s did not switch to a WebSocket",
                         endpoint_name(x, at), SP_ARG(x->pool->name));
        return false;
    }
    if (h->status >= 200 || h->status == 101) {
        x->answer_seen = false; /* it is here as a whole and not passed on: can be asked again */
        if (is_code_to_repeat(x, h->status) && may_repeat_by_rule(x)) {
            sp_upstream_report(x->worker, x->back->upstream(x),
                               h->status >= 500 ? SP_OUTCOME_5XX : SP_OUTCOME_OK);
            return !repeat_by_rule(x);
        }
        if (x->tunnel && h->status != 101) close_tunnel(x);
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
    sp_auto(sp_buf) filtered = {0};
    if (trailers.n) sp_http_filter_trailers(&filtered, trailers);
    x->answer_done = true;
    x->front->end(x, sp_buf_str(&filtered));
    x->front->flush(x);
    finish(x, SP_OVER_DONE);
}

/* --- the machine --- */

static void touch_alarm(sp_exchange *x) {
    if (x->tunnel) x->moved_ms = sp_poller_now_ms(x->worker->poller);
    if (x->tunnel || x->hop.entry->action->backend_timeout_ms) return;
    if (x->answer_begun)
        sp_alarm_start(x->worker->poller, &x->alarm, SP_TIMEOUT_STREAM);
    else
        sp_alarm_start_or(x->worker->poller, &x->alarm, attempt_ms(x), SP_TIMEOUT_RESPONSE);
}

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
    if (moved) touch_alarm(x);
    return moved;
}

bool sp_exchange_step(sp_exchange *x) {
    sp_exchange_hold(x);
    bool moved = x->state == SP_EXCHANGE_RELAY && relay(x);
    sp_exchange_let_go(x);
    return moved;
}

/* The endpoint waits for the client: a body that does not come, or an answer that is not read. It
 * must not count against the endpoint, or slow clients could put all servers out. */
static bool client_is_late(const sp_exchange *x) {
    sp_exchange *m = (sp_exchange *)x;
    if (x->answer_begun && x->front->blocked(m)) return true;
    return !x->request_done && !x->back->blocked(m);
}

/* Of a stream without a length nobody knows who has to speak next. */
static bool owes_body(const sp_exchange *x) {
    return !x->answer_begun && !x->hop.entry->action->backend_timeout_ms &&
           (x->request.framing == SP_H1_LENGTH || !x->front->protocol);
}

static void run_out_of_time(sp_exchange *x) {
    bool late = client_is_late(x);
    if (!late) sp_upstream_report(x->worker, x->back->upstream(x), SP_OUTCOME_RESET);
    if (!late && !x->answer_begun && repeat_by_rule(x)) return;
    if (late && owes_body(x))
        sp_exchange_fail(x, 408, "the request body did not arrive in time");
    else
        sp_exchange_fail(x, 504, "the service %.*s did not answer in time", SP_ARG(x->pool->name));
}

static void look_at_tunnel(sp_exchange *x) {
    uint32_t again;
    int64_t quiet = sp_poller_now_ms(x->worker->poller) - x->moved_ms;
    switch (sp_tunnel_look(x->front->carrier(x), x->back->carrier(x), quiet, upgraded_idle_ms(x),
                           &again)) {
    case SP_TUNNEL_LIVES: sp_alarm_after(x->worker->poller, &x->alarm, again); break;
    case SP_TUNNEL_IDLE: sp_exchange_answer_end(x, (sp_str){0}); break;
    case SP_TUNNEL_GONE: finish(x, SP_OVER_CUT); break;
    }
}

static void on_alarm(sp_alarm *a) {
    sp_exchange *x = SP_CONTAINER(a, sp_exchange, alarm);
    sp_exchange_hold(x);
    if (x->state == SP_EXCHANGE_PAUSE)
        sp_exchange_dial(x);
    else if (x->tunnel && x->answer_begun)
        look_at_tunnel(x);
    else
        run_out_of_time(x);
    sp_exchange_let_go(x);
}

static void on_deadline(sp_alarm *a) {
    sp_exchange *x = SP_CONTAINER(a, sp_exchange, deadline);
    sp_exchange_hold(x);
    sp_exchange_fail(x, 504, "the request took longer than the %u ms allowed here",
                     x->hop.entry->action->request_timeout_ms);
    sp_exchange_let_go(x);
}
