/* HTTP/1.1 for clients: reads heads, finds the route, asks the dial for a backend, and lets
 * http_relay.c carry the bodies. One function, sp_proxy_run, looks at the state and does whatever
 * can be done now; every event, of either socket or a timer, ends in it, so no event can be missed.
 */
#include "gateway/http.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { SPARE_EXCHANGES = 64, STEPS_PER_EVENT = 32, HEAD_KEPT_BYTES = 16 * 1024 };

/* --- exchanges --- */

static sp_exchange *take_exchange(sp_worker *w) {
    sp_exchange *x = w->exchanges.n ? w->exchanges.p[--w->exchanges.n] : sp_zalloc(1, sizeof *x);
    sp_buf head = x->head;
    sp_h1_head request = x->request;
    memset(x, 0, offsetof(sp_exchange, client_ip));
    x->head = head;
    x->request = request;
    x->dial.sock.io.fd = -1;
    return x;
}

static void free_exchange(sp_exchange *x) {
    sp_buf_free(&x->head);
    sp_vec_free(&x->request.headers);
    free(x);
}

void sp_worker_free_exchanges(sp_worker *w) {
    sp_vec_each(&w->exchanges, x) free_exchange(*x);
    sp_vec_free(&w->exchanges);
}

static void give_exchange(sp_worker *w, sp_exchange *x) {
    sp_dial_cancel(&x->dial);
    sp_pool_unref(w, x->pool);
    sp_gateway_config_unref(x->config);
    if (w->exchanges.n >= SPARE_EXCHANGES || x->head.cap > HEAD_KEPT_BYTES) {
        free_exchange(x);
        return;
    }
    sp_buf_clear(&x->head);
    sp_vec_push(&w->exchanges, x);
}

/* --- after a request --- */

static void count_status(sp_worker_stats *st, int status) {
    uint64_t *const classes[] = {
        NULL, NULL, &st->status_2xx, &st->status_3xx, &st->status_4xx, &st->status_5xx};
    st->requests++;
    if (status >= 200 && status < 600) (*classes[status / 100])++;
}

static void log_request(sp_http_session *s, uint64_t in, uint64_t out) {
    sp_exchange *x = s->x;
    sp_worker *w = s->s.worker;
    if (w->settings.access_log_fd < 0) return;
    char endpoint[SP_ADDR_MAX] = "-";
    if (x->endpoint.addr.family) sp_addr_format(&x->endpoint.addr, endpoint);
    sp_str owner = x->hop.entry ? x->hop.entry->action->owner : SP_STR("-");
    sp_auto(sp_buf) b = sp_worker_take_buf(w);
    sp_buf_printf(&b, "http %s \"%.*s %.*s%.*s\" %d in=%llu out=%llu %lldus %s tries=%u %.*s",
                  x->client_ip, SP_ARG(x->request.method), SP_ARG(x->hop.target.host),
                  SP_ARG(x->request.target), x->status, (unsigned long long)in,
                  (unsigned long long)out, (long long)(sp_clock_mono_us() - x->started_us),
                  endpoint, x->attempts, SP_ARG(owner));
    sp_worker_log(w, sp_buf_str(&b));
    sp_worker_give_buf(w, &b);
}

static void account(sp_http_session *s) {
    sp_worker_stats *st = &s->s.worker->stats;
    uint64_t in = s->client.received - s->counted_in, out = s->client.sent - s->counted_out;
    s->counted_in = s->client.received;
    s->counted_out = s->client.sent;
    st->bytes_in += in;
    st->bytes_out += out;
    if (!s->x) return;
    count_status(st, s->x->status);
    log_request(s, in, out + s->client.out.n);
}

static void drop_exchange(sp_http_session *s) {
    sp_exchange *x = s->x;
    account(s);
    if (!x) return;
    s->x = NULL;
    if (x->backend && x->request_done && x->answer_done && x->keep_backend)
        sp_backend_keep(x->backend);
    else if (x->backend)
        sp_backend_close(x->backend);
    give_exchange(s->s.worker, x);
}

void sp_proxy_end(sp_http_session *s, bool reset) {
    if (s->dead) return;
    s->dead = true;
    drop_exchange(s);
    sp_alarm_stop(&s->alarm);
    sp_sock_close(s->s.worker, &s->client, reset);
    sp_listener_unref(s->listener);
    sp_session_close(&s->s);
}

static void await_head(sp_http_session *s) {
    s->state = SP_HTTP_HEAD;
    s->scan = (sp_h1_scan){0};
    s->in_head = false;
    sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_IDLE);
}

void sp_proxy_finish(sp_http_session *s) {
    bool keep = s->x && s->x->keep_client && s->x->request_done && !s->s.worker->stopping;
    s->linger = !s->x || !s->x->request_done;
    drop_exchange(s);
    if (keep) {
        await_head(s);
        return;
    }
    s->state = SP_HTTP_CLOSING;
    sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_STREAM);
}

static void answer_own(sp_http_session *s, int status, sp_str text, sp_str location) {
    sp_exchange *x = s->x;
    sp_auto(sp_buf) b = sp_worker_take_buf(s->s.worker);
    if (x) {
        x->status = status;
        x->keep_client = x->keep_client && x->request_done && s->listener->spec;
    }
    sp_http_write_own(&b, status, text, location, x && x->keep_client, x && x->to_head);
    sp_sock_add(s->s.worker, &s->client, sp_buf_str(&b));
    sp_worker_give_buf(s->s.worker, &b);
    sp_sock_flush(s->s.worker, &s->client);
    sp_proxy_finish(s);
}

void sp_proxy_fail(sp_http_session *s, int status, const char *fmt, ...) {
    char text[512];
    va_list ap;
    if (s->x && s->x->answer_begun) {
        sp_proxy_end(s, true);
        return;
    }
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    s->s.worker->stats.own_errors++;
    answer_own(s, status, (sp_str){text, SP_MIN((size_t)SP_MAX(n, 0), sizeof text - 1)},
               (sp_str){0});
}

/* --- finding a backend --- */

static bool use_kept(sp_dial *d) {
    sp_exchange *x = SP_CONTAINER(d, sp_exchange, dial);
    if (x->fresh_only) return false;
    x->claimed = sp_backend_claim(d->worker, d->upstream, x->idempotent && x->request_done);
    return x->claimed != NULL;
}

static void send_request(sp_http_session *s) {
    sp_exchange *x = s->x;
    sp_worker *w = s->s.worker;
    sp_auto(sp_buf) b = sp_worker_take_buf(w);
    x->answer_scan = (sp_h1_scan){0};
    x->endpoint = x->backend->upstream->e;
    sp_http_write_request(&b, &x->request, &x->hop);
    sp_sock_add(w, &x->backend->sock, sp_buf_str(&b));
    sp_worker_give_buf(w, &b);
    s->state = SP_HTTP_RELAY;
    sp_alarm_start(w->poller, &s->alarm, SP_TIMEOUT_RESPONSE);
}

static void fail_dial(sp_http_session *s, sp_dial_result r) {
    sp_str pool = s->x->pool->name, owner = s->x->hop.entry->action->owner;
    unsigned tried = (unsigned)s->x->dial.failed_count;
    if (r == SP_DIAL_NO_ENDPOINT)
        sp_proxy_fail(s, 503, "no endpoint of the service %.*s is ready (asked for by %.*s)",
                      SP_ARG(pool), SP_ARG(owner));
    else if (r == SP_DIAL_TIMEOUT)
        sp_proxy_fail(s, 504, "no endpoint of the service %.*s accepted a connection in time",
                      SP_ARG(pool));
    else
        sp_proxy_fail(s, 502, "the endpoints of the service %.*s refuse connections (%u attempts)",
                      SP_ARG(pool), tried);
}

static void on_dialed(sp_dial *d, sp_dial_result r) {
    sp_http_session *s = d->ctx;
    sp_exchange *x = s->x;
    if (r == SP_DIAL_OK) {
        x->backend = sp_backend_new(d, s);
        send_request(s);
    } else if (r == SP_DIAL_KEPT) {
        x->backend = x->claimed;
        x->claimed = NULL;
        d->upstream = NULL;
        sp_backend_attach(x->backend, s);
        send_request(s);
    } else {
        fail_dial(s, r);
    }
    sp_proxy_run(s);
}

void sp_proxy_connect(sp_http_session *s) {
    sp_exchange *x = s->x;
    s->state = SP_HTTP_DIAL;
    sp_alarm_stop(&s->alarm); /* the dial has its own */
    x->attempts++;
    x->dial.ctx = s;
    x->dial.done = on_dialed;
    x->dial.use_kept = use_kept;
    sp_dial_start(&x->dial, s->s.worker, x->pool, &s->s.client);
}

/* --- routing --- */

static void answer_redirect(sp_http_session *s) {
    sp_exchange *x = s->x;
    sp_auto(sp_buf) to = {0};
    sp_http_redirect_location(&to, &x->hop, s->s.local.port);
    answer_own(s, x->hop.entry->action->redirect_status, (sp_str){0}, sp_buf_str(&to));
}

static void forward(sp_http_session *s) {
    sp_exchange *x = s->x;
    sp_worker *w = s->s.worker;
    const sp_route_action *a = x->hop.entry->action;
    if (a->redirect_status) {
        answer_redirect(s);
        return;
    }
    uint32_t pool = sp_route_draw(&a->targets, sp_worker_random(w));
    if (pool == SP_NO_POOL) {
        sp_proxy_fail(s, 500, "%.*s names a backend that does not exist", SP_ARG(a->owner));
        return;
    }
    x->pool = sp_pool_ref(w->pool_at.p[pool]);
    sp_proxy_connect(s);
}

static void not_found(sp_http_session *s, sp_str host, sp_str path) {
    sp_proxy_fail(s, 404, "no Ingress or HTTPRoute answers for host \"%.*s\" and path %.*s",
                  (int)SP_MIN(host.n, 128u), host.p ? host.p : "", (int)SP_MIN(path.n, 200u),
                  path.p);
}

static void find_route(sp_http_session *s) {
    sp_exchange *x = s->x;
    const sp_listener_spec *spec = s->listener->spec;
    char host_scratch[256];
    sp_route_request r = {.method = x->request.method,
                          .headers = x->request.headers.p,
                          .header_count = x->request.headers.n};
    if (!sp_http_split_target(&x->request, &x->hop.target)) {
        sp_proxy_fail(s, 400, "the request target is neither a path nor an http:// URL");
        return;
    }
    if (!sp_route_host(x->hop.target.host, host_scratch, sizeof host_scratch, &r.host)) {
        sp_proxy_fail(s, 400, "the Host field is not a host name");
        return;
    }
    if (!sp_route_path(x->hop.target.path, x->path_scratch, sizeof x->path_scratch, &r.path)) {
        sp_proxy_fail(s, 400, "the path is too long or has a broken escape");
        return;
    }
    r.query = x->hop.target.query;
    x->hop.entry =
        spec && spec->plain.http ? sp_route_find(x->config->tables[spec->plain.table], &r) : NULL;
    if (!x->hop.entry) {
        not_found(s, r.host, r.path);
        return;
    }
    if (x->hop.entry->action->path_edit == SP_PATH_REPLACE_PREFIX) x->hop.target.path = r.path;
    forward(s);
}

static void begin_request(sp_http_session *s, sp_str head) {
    sp_worker *w = s->s.worker;
    sp_exchange *x = s->x = take_exchange(w);
    sp_h1_error err = {0};
    x->started_us = sp_clock_mono_us();
    x->config = sp_gateway_config_ref(w->config);
    sp_addr_format_ip(&s->s.client, x->client_ip);
    x->hop.client_ip = sp_str_z(x->client_ip);
    sp_buf_add(&x->head, head);
    if (!sp_h1_parse_request(x->head.p, x->head.n, &x->request, &err)) {
        sp_proxy_fail(s, err.status, "%s", err.text);
        return;
    }
    x->keep_client = x->request.keep_alive;
    x->to_head = sp_str_eq(x->request.method, SP_STR("HEAD"));
    x->idempotent = sp_http_is_idempotent(x->request.method);
    x->request_done = x->request.framing == SP_H1_NO_BODY;
    x->hop.upgrade = sp_http_upgrade(&x->request);
    sp_h1_body_start(&x->request_body, &x->request);
    if (sp_str_eq(x->request.method, SP_STR("CONNECT")) ||
        sp_str_eq(x->request.method, SP_STR("TRACE"))) {
        x->keep_client = false;
        sp_proxy_fail(s, 405, "the method %.*s is not served here", SP_ARG(x->request.method));
        return;
    }
    find_route(s);
}

static bool read_head(sp_http_session *s) {
    sp_worker *w = s->s.worker;
    sp_h1_error err = {0};
    size_t n = 0;
    sp_sock_flush(w, &s->client);
    if (sp_sock_blocked(&s->client)) return false;
    bool over = s->client.eof || s->client.failed || s->client.broken;
    if (over && !s->client.unread) {
        sp_proxy_end(s, false); /* also in the middle of a head */
        return true;
    }
    if (!sp_sock_has_input(&s->client)) return false;
    sp_str bytes = sp_sock_read(w, &s->client);
    if (!bytes.n) return s->client.eof || s->client.failed;
    if (!s->in_head) sp_alarm_start(w->poller, &s->alarm, SP_TIMEOUT_HEAD);
    s->in_head = true;
    switch (sp_h1_scan_head(&s->scan, bytes, false, &n, &err)) {
    case SP_H1_MORE: sp_sock_keep(w, &s->client, bytes); return true;
    case SP_H1_BAD: sp_proxy_fail(s, err.status, "%s", err.text); return true;
    case SP_H1_OK: break;
    }
    sp_sock_unread(w, &s->client, sp_str_from(bytes, n));
    begin_request(s, sp_str_sub(bytes, 0, n));
    return true;
}

/* --- closing --- */

static bool send_rest(sp_http_session *s) {
    sp_sock_flush(s->s.worker, &s->client);
    if (sp_sock_blocked(&s->client)) return false;
    bool over = s->client.broken || s->client.eof || s->client.failed;
    if (over || (!s->linger && !sp_sock_has_input(&s->client))) {
        sp_proxy_end(s, false);
        return true;
    }
    sp_sock_shutdown(s->s.worker, &s->client);
    s->state = SP_HTTP_LINGER;
    sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_LINGER);
    return true;
}

static bool read_rest(sp_http_session *s) {
    if (!sp_sock_has_input(&s->client)) return false;
    (void)sp_sock_read(s->s.worker, &s->client);
    if (s->client.eof || s->client.failed) {
        sp_proxy_end(s, false);
        return true;
    }
    return s->client.io.readable;
}

/* --- the machine --- */

static bool relay(sp_http_session *s) {
    bool moved = sp_proxy_relay_request(s);
    if (s->dead || s->state != SP_HTTP_RELAY) return true;
    moved |= sp_proxy_relay_answer(s);
    if (s->dead || s->state != SP_HTTP_RELAY) return true;
    if (s->client.broken || s->client.io.error) {
        s->x->status = s->x->answer_begun ? s->x->status : 499;
        sp_proxy_end(s, true);
        return true;
    }
    if (moved)
        sp_alarm_start(s->s.worker->poller, &s->alarm,
                       s->x->answer_begun ? SP_TIMEOUT_STREAM : SP_TIMEOUT_RESPONSE);
    return moved;
}

static bool step(sp_http_session *s) {
    switch (s->state) {
    case SP_HTTP_HEAD: return read_head(s);
    case SP_HTTP_DIAL: return false;
    case SP_HTTP_RELAY: return relay(s);
    case SP_HTTP_CLOSING: return send_rest(s);
    case SP_HTTP_LINGER: return read_rest(s);
    }
    return false;
}

void sp_proxy_run(sp_http_session *s) {
    if (s->running || s->dead) return;
    s->running = true;
    int budget = STEPS_PER_EVENT;
    while (!s->dead && step(s)) {
        if (--budget == 0 && !s->dead) {
            sp_io_again(&s->client.io);
            break;
        }
    }
    s->running = false;
}

static void on_client_event(sp_io *io) {
    sp_http_session *s = SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), sp_http_session, client);
    if (s->state == SP_HTTP_DIAL && io->error) {
        s->x->status = 499;
        sp_proxy_end(s, true);
        return;
    }
    sp_proxy_run(s);
}

static void on_alarm(sp_alarm *a) {
    sp_http_session *s = SP_CONTAINER(a, sp_http_session, alarm);
    if (s->state == SP_HTTP_HEAD && s->in_head)
        sp_proxy_fail(s, 408, "the request head did not arrive in time");
    else if (s->state == SP_HTTP_RELAY && !s->x->answer_begun)
        sp_proxy_fail(s, 504, "the service %.*s did not answer in time", SP_ARG(s->x->pool->name));
    else
        sp_proxy_end(s, s->state == SP_HTTP_RELAY);
    sp_proxy_run(s);
}

static void stop(sp_session *base, bool force) {
    sp_http_session *s = (sp_http_session *)(void *)base;
    if (force)
        sp_proxy_end(s, true);
    else if (s->state == SP_HTTP_HEAD && !s->in_head && !s->client.out.n)
        sp_proxy_end(s, false);
}

void sp_proxy_accept(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local) {
    sp_worker *w = l->worker;
    sp_http_session *s = sp_zalloc(1, sizeof *s);
    sp_session_open(&s->s, w, client, local);
    s->s.stop = stop;
    s->listener = l;
    l->refs++;
    sp_alarm_init(&s->alarm, on_alarm);
    if (!sp_sock_open(w, &s->client, fd, on_client_event)) {
        close(fd);
        sp_proxy_end(s, true);
        return;
    }
    await_head(s);
}
