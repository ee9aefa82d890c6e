/* Server and client against each other and against raw sockets, on loopback. */
#include "base/clock.h"
#include "net/client.h"
#include "net/conn.h"
#include "net/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* --- a world: loop, CA, server --- */

typedef struct world {
    uv_loop_t loop;
    sp_http_server *server;
    uint16_t port;
    sp_tls_ctx *server_tls, *client_tls;
    sp_http_client *client;
    bool stopped, h2;
    int requests, gone;
    sp_http_res *held; /* by the handler */
    sp_buf log;
    sp_timer *ticker;
    int ticks;
} world;

static void on_stopped(void *ctx) {
    ((world *)ctx)->stopped = true;
}
static void held_gone(void *ctx) {
    world *w = ctx;
    w->gone++;
    w->held = NULL;
    w->ticker = sp_timer_stop(w->ticker);
}

static void stream_tick(void *ctx) {
    world *w = ctx;
    char text[32];
    snprintf(text, sizeof text, "event %d\n", ++w->ticks);
    sp_http_write(w->held, sp_str_z(text));
    if (w->ticks == 5) sp_http_end(w->held);
}

static void later_reply(void *ctx) {
    sp_http_res *r = ctx;
    sp_http_reply(r, 200, NULL, 0, SP_STR("late"));
}

static void big(sp_http_res *r, size_t size) {
    sp_blob *b = sp_blob_alloc(size);
    for (size_t i = 0; i < size; i++) b->p[i] = (char)('a' + i % 26);
    sp_http_reply_blob(r, 200, NULL, 0, b);
    sp_blob_unref(b);
}

static void who(sp_http_req *q, sp_http_res *r) {
    sp_str s = q->peer ? sp_arena_printf(q->arena, "%.*s/%.*s", SP_ARG(q->peer->common_name),
                                         SP_ARG(q->peer->organizations.p[0]))
                       : SP_STR("nobody");
    sp_http_reply(r, 200, NULL, 0, s);
}

static void handler(void *ctx, sp_http_req *q, sp_http_res *r) {
    world *w = ctx;
    w->requests++;
    if (w->client) assert_int_equal(q->http2, w->h2);
    sp_header h = {SP_STR("x-path"), q->path};
    if (sp_str_eqz(q->path, "/echo"))
        sp_http_reply(r, 201, &h, 1, q->body);
    else if (sp_str_eqz(q->path, "/who"))
        who(q, r);
    else if (sp_str_eqz(q->path, "/big"))
        big(r, 8 << 20);
    else if (sp_str_eqz(q->path, "/late"))
        sp_timer_start(&w->loop, 5, later_reply, r);
    else if (sp_str_eqz(q->path, "/empty"))
        sp_http_reply(r, 204, NULL, 0, (sp_str){0});
    else if (sp_str_eqz(q->path, "/watch")) {
        w->held = r;
        w->ticks = 0;
        sp_http_on_close(r, held_gone, w);
        sp_http_begin(r, 200, NULL, 0);
        w->ticker = sp_timer_every(&w->loop, 2, stream_tick, w);
    } else if (sp_str_eqz(q->path, "/hold")) {
        w->held = r;
        sp_http_on_close(r, held_gone, w);
    } else if (sp_str_eqz(q->path, "/flood")) {
        w->held = r;
        sp_http_on_close(r, held_gone, w);
        sp_http_begin(r, 200, NULL, 0);
        sp_auto(sp_buf) b = {0};
        sp_buf_reserve(&b, 1 << 20);
        memset(b.p, 'x', 1 << 20);
        for (int i = 0; i < 32; i++) sp_http_write(r, (sp_str){b.p, 1 << 20});
    } else {
        sp_http_reply(r, 404, NULL, 0, SP_STR("no such path"));
    }
}

typedef struct setup {
    bool tls, h2, client_cert;
    uint32_t header_ms, idle_ms;
    size_t max_connections, max_body;
} setup;

static void make_tls(world *w, const setup *s) {
    sp_buf ca = {0}, ca_key = {0}, crt = {0}, key = {0}, ccrt = {0}, ckey = {0};
    sp_err err = {0};
    assert_true(sp_cert_make_ca("test CA", 10, &ca, &ca_key, &err));
    sp_cert_request sr = {.common_name = "server",
                          .dns_names = (const char *const[]){"localhost", NULL},
                          .ips = (const char *const[]){"127.0.0.1", "::1", NULL},
                          .server = true,
                          .days = 5};
    sp_cert_request cr = {
        .common_name = "alice", .organization = "devs", .client = true, .days = 5};
    sp_str ca_s = sp_buf_str(&ca), ca_k = sp_buf_str(&ca_key);
    assert_true(sp_cert_issue(ca_s, ca_k, &sr, &crt, &key, &err));
    assert_true(sp_cert_issue(ca_s, ca_k, &cr, &ccrt, &ckey, &err));
    const char *alpn = s->h2 ? "h2,http/1.1" : "http/1.1";
    sp_tls_config sc = {.cert_pem = sp_buf_str(&crt),
                        .key_pem = sp_buf_str(&key),
                        .ca_pem = ca_s,
                        .server = true,
                        .alpn = alpn};
    sp_tls_config cc = {.ca_pem = ca_s, .alpn = alpn};
    if (s->client_cert) {
        cc.cert_pem = sp_buf_str(&ccrt);
        cc.key_pem = sp_buf_str(&ckey);
    }
    assert_true(sp_tls_ctx_new(&sc, &w->server_tls, &err));
    assert_true(sp_tls_ctx_new(&cc, &w->client_tls, &err));
    sp_buf *all[] = {&ca, &ca_key, &crt, &key, &ccrt, &ckey};
    for (size_t i = 0; i < SP_COUNT(all); i++) sp_buf_free(all[i]);
}

static void start_server(world *w, const setup *s) {
    sp_err err = {0};
    sp_http_server_config c = {.host = "127.0.0.1",
                               .port = w->port,
                               .tls = w->server_tls,
                               .header_timeout_ms = s->header_ms,
                               .idle_timeout_ms = s->idle_ms,
                               .max_connections = s->max_connections,
                               .max_body_bytes = s->max_body,
                               .handler = handler,
                               .ctx = w};
    w->stopped = false;
    assert_true(sp_http_server_start(&w->loop, &c, &w->server, &err));
    w->port = sp_http_server_port(w->server);
}

static world *begin(setup s) {
    world *w = sp_zalloc(1, sizeof *w);
    uv_loop_init(&w->loop);
    if (s.tls) make_tls(w, &s);
    w->h2 = s.h2;
    start_server(w, &s);
    sp_http_client_config c = {.host = "127.0.0.1", .port = w->port, .tls = w->client_tls};
    w->client = sp_http_client_new(&w->loop, &c);
    return w;
}

static void end(world *w) {
    w->client = sp_http_client_free(w->client);
    if (!w->stopped) sp_http_server_stop(w->server, 0, on_stopped, w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_true(w->stopped);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    sp_tls_ctx_unref(w->server_tls);
    sp_tls_ctx_unref(w->client_tls);
    sp_buf_free(&w->log);
    free(w);
}

#define UNTIL(w, cond)                                                                   \
    do {                                                                                 \
        int64_t give_up = sp_clock_mono_ms() + 10000;                                    \
        while (!(cond) && sp_clock_mono_ms() < give_up) uv_run(&(w)->loop, UV_RUN_ONCE); \
        assert_true(cond);                                                               \
    } while (0)

/* --- a call and what came of it --- */

typedef struct answer {
    int status, done;
    sp_buf body, path;
    sp_err err;
    sp_http_call *call, *cancel_on_data;
} answer;

static void fetched(void *ctx, const sp_http_reply_msg *m, const sp_err *err) {
    answer *a = ctx;
    a->done++;
    if (err) {
        a->err = *err;
        return;
    }
    a->status = m->status;
    sp_buf_add(&a->body, m->body);
    sp_buf_add(&a->path, sp_headers_get(m->headers, m->header_count, "x-path"));
}

static void forget(answer *a) {
    sp_buf_free(&a->body);
    sp_buf_free(&a->path);
}

static void get(world *w, const char *path, const char *method, const char *body, answer *a) {
    *a = (answer){0};
    sp_http_call_params p = {.method = method, .target = sp_str_z(path), .body = sp_str_z(body)};
    a->call = sp_http_fetch(w->client, &p, 0, fetched, a);
}

static void fetch(world *w, const char *path, const char *method, const char *body, answer *a) {
    get(w, path, method, body, a);
    UNTIL(w, a->done);
}

static void head_in(void *ctx, int status, const sp_header *h, size_t n) {
    (void)h, (void)n;
    ((answer *)ctx)->status = status;
}

static void data_in(void *ctx, sp_str bytes) {
    answer *a = ctx;
    sp_buf_add(&a->body, bytes);
    if (a->cancel_on_data) sp_http_call_cancel(sp_steal(a->cancel_on_data));
}

static void stream_done(void *ctx, const sp_err *err) {
    answer *a = ctx;
    a->done++;
    if (err) a->err = *err;
}

static void stream(world *w, const char *path, uint32_t timeout_ms, answer *a) {
    *a = (answer){0};
    sp_http_call_params p = {.method = "GET",
                             .target = sp_str_z(path),
                             .timeout_ms = timeout_ms,
                             .head = head_in,
                             .data = data_in,
                             .done = stream_done,
                             .ctx = a};
    a->call = sp_http_call_start(w->client, &p);
}

/* --- what every transport must do --- */

static void basics(setup s) {
    world *w = begin(s);
    answer a;
    fetch(w, "/echo?q=1", "POST", "hello", &a);
    assert_int_equal(a.err.code, SP_OK);
    assert_int_equal(a.status, 201);
    assert_string_equal(sp_buf_z(&a.body), "hello");
    assert_string_equal(sp_buf_z(&a.path), "/echo");
    forget(&a);
    fetch(w, "/late", "GET", "", &a);
    assert_string_equal(sp_buf_z(&a.body), "late");
    forget(&a);
    fetch(w, "/empty", "DELETE", "", &a);
    assert_int_equal(a.status, 204);
    forget(&a);
    fetch(w, "/nowhere", "GET", "", &a);
    assert_int_equal(a.status, 404);
    forget(&a);
    fetch(w, "/echo", "HEAD", "", &a);
    assert_int_equal(a.status, 201);
    assert_int_equal(a.body.n, 0);
    forget(&a);
    fetch(w, "/who", "GET", "", &a);
    assert_string_equal(sp_buf_z(&a.body), s.client_cert ? "alice/devs" : "nobody");
    forget(&a);
    fetch(w, "/big", "GET", "", &a);
    assert_int_equal(a.body.n, 8 << 20);
    for (size_t i = 0; i < a.body.n; i += 9973) assert_int_equal(a.body.p[i], 'a' + i % 26);
    forget(&a);
    end(w);
}

static void streams(setup s) {
    world *w = begin(s);
    answer a, b;
    stream(w, "/watch", 0, &a);
    UNTIL(w, a.done);
    assert_int_equal(a.err.code, SP_OK);
    assert_int_equal(a.status, 200);
    assert_string_equal(sp_buf_z(&a.body), "event 1\nevent 2\nevent 3\nevent 4\nevent 5\n");
    UNTIL(w, w->gone == 1);
    forget(&a);
    stream(w, "/watch", 0, &a); /* the reader leaves in the middle of it */
    a.cancel_on_data = a.call;
    UNTIL(w, w->gone == 2);
    assert_int_equal(a.done, 0);
    assert_true(w->ticks < 5);
    forget(&a);
    stream(w, "/hold", 20, &a); /* the answer never comes */
    UNTIL(w, a.done);
    assert_int_equal(a.err.code, SP_TIMEOUT);
    UNTIL(w, w->gone == 3);
    forget(&a);
    stream(w, "/hold", 0, &a); /* the client goes, and what runs is told */
    get(w, "/hold", "GET", "", &b);
    UNTIL(w, w->requests == 5);
    w->client = sp_http_client_free(w->client);
    assert_int_equal(a.err.code, SP_CANCELLED);
    assert_int_equal(b.err.code, SP_CANCELLED);
    UNTIL(w, w->gone == 5);
    forget(&a);
    forget(&b);
    end(w);
}

static void many_at_once(setup s) {
    world *w = begin(s);
    enum { N = 50 };
    answer a[N];
    for (int i = 0; i < N; i++) get(w, i % 2 ? "/late" : "/echo", "PUT", "x", &a[i]);
    for (int i = 0; i < N; i++) {
        UNTIL(w, a[i].done);
        if (a[i].err.code) print_error("%s\n", a[i].err.text);
        assert_int_equal(a[i].status, i % 2 ? 200 : 201);
        assert_string_equal(sp_buf_z(&a[i].body), i % 2 ? "late" : "x");
        forget(&a[i]);
    }
    assert_int_equal(w->requests, N);
    end(w);
}

/* The server is stopped and started again: a kept connection that has died meanwhile is not the
 * caller's problem. */
static void restart(setup s) {
    world *w = begin(s);
    answer a;
    fetch(w, "/echo", "PUT", "1", &a);
    forget(&a);
    sp_http_server_stop(w->server, 1000, on_stopped, w);
    get(w, "/echo", "PUT", "2", &a);
    UNTIL(w, w->stopped);
    start_server(w, &s);
    UNTIL(w, a.done);
    forget(&a);
    fetch(w, "/echo", "PUT", "3", &a);
    assert_int_equal(a.err.code, SP_OK);
    assert_string_equal(sp_buf_z(&a.body), "3");
    forget(&a);
    end(w);
}

static void graceful_stop(setup s) {
    world *w = begin(s);
    answer a;
    get(w, "/late", "GET", "", &a);
    UNTIL(w, w->requests == 1);
    sp_http_server_stop(w->server, 5000, on_stopped, w);
    UNTIL(w, w->stopped && a.done);
    assert_int_equal(a.status, 200);
    forget(&a);
    stream(w, "/late", 0, &a);
    UNTIL(w, a.done);
    assert_int_equal(a.err.code, SP_CONNECTION);
    char want[64];
    snprintf(want, sizeof want, "connect to 127.0.0.1:%u: connection refused", w->port);
    assert_string_equal(a.err.text, want);
    forget(&a);
    end(w);
}

static void server_stops_hard(setup s) {
    world *w = begin(s);
    answer a;
    stream(w, "/hold", 0, &a);
    UNTIL(w, w->requests == 1);
    sp_http_server_stop(w->server, 0, on_stopped, w);
    UNTIL(w, a.done && w->gone);
    assert_int_equal(a.err.code, SP_CONNECTION);
    forget(&a);
    end(w);
}

static void limits(setup s) {
    s.max_body = 1000;
    world *w = begin(s);
    answer a;
    sp_auto(sp_buf) b = {0};
    for (int i = 0; i < 200000; i++) sp_buf_addc(&b, 'x');
    fetch(w, "/echo", "PUT", b.p, &a);
    assert_int_equal(a.err.code, SP_OK);
    assert_int_equal(a.status, 413);
    assert_int_equal(w->requests, 0);
    forget(&a);
    b.p[1000] = 0;
    fetch(w, "/echo", "PUT", b.p, &a);
    assert_int_equal(a.status, 201);
    forget(&a);
    a = (answer){0};
    sp_http_call_params p = {.method = "GET", .target = SP_STR("/big")};
    sp_http_fetch(w->client, &p, 1 << 20, fetched, &a);
    UNTIL(w, a.done);
    assert_int_equal(a.err.code, SP_TOO_LARGE);
    forget(&a);
    p.target = SP_STR("/a b");
    a = (answer){0};
    sp_http_fetch(w->client, &p, 0, fetched, &a);
    assert_int_equal(a.done, 0);
    UNTIL(w, a.done);
    assert_int_equal(a.err.code, SP_BAD_REQUEST);
    forget(&a);
    end(w);
}

/* Without an on_close the answer stays valid until its end even when the client has long gone. */
static void late_answers_are_harmless(setup s) {
    world *w = begin(s);
    answer a;
    stream(w, "/late", 1, &a);
    UNTIL(w, a.done);
    forget(&a);
    end(w); /* runs the timer of the handler out */
}

static const setup plain = {0}, tls = {.tls = true}, cert = {.tls = true, .client_cert = true},
                   h2 = {.tls = true, .h2 = true},
                   h2_cert = {.tls = true, .h2 = true, .client_cert = true};

#define EACH(name)                           \
    static void name##_plain(void **state) { \
        (void)state;                         \
        name(plain);                         \
    }                                        \
    static void name##_tls(void **state) {   \
        (void)state;                         \
        name(tls);                           \
        name(cert);                          \
    }                                        \
    static void name##_h2(void **state) {    \
        (void)state;                         \
        name(h2);                            \
        name(h2_cert);                       \
    }
EACH(basics)
EACH(streams)
EACH(many_at_once)
EACH(restart)
EACH(graceful_stop)
EACH(server_stops_hard)
EACH(limits)
EACH(late_answers_are_harmless)

/* --- raw bytes --- */

typedef struct raw {
    sp_conn *conn;
    sp_buf got;
    const char *say;
    bool closed;
} raw;

static void raw_ready(void *ctx) {
    raw *r = ctx;
    sp_outq_add(sp_conn_out(r->conn), sp_str_z(r->say));
    sp_conn_wake(r->conn);
}
static void raw_data(void *ctx, char *p, size_t n) {
    sp_buf_add(&((raw *)ctx)->got, (sp_str){p, n});
}
static void raw_nothing(void *ctx) {
    (void)ctx;
}
static void raw_closed(void *ctx, const sp_err *err) {
    (void)err;
    raw *r = ctx;
    r->closed = true;
    sp_conn_free(sp_steal(r->conn));
}
static const sp_conn_events raw_events = {raw_ready, raw_data, raw_nothing, raw_nothing,
                                          raw_closed};

static raw *say(world *w, const char *text) {
    raw *r = sp_zalloc(1, sizeof *r);
    r->say = text;
    r->conn = sp_conn_connect(&w->loop, "127.0.0.1", w->port, NULL, NULL, &raw_events, r);
    return r;
}

static void raw_free(raw *r) {
    if (r->conn) sp_conn_free(r->conn);
    sp_buf_free(&r->got);
    free(r);
}

static bool has(const raw *r, const char *text) {
    return sp_str_find(sp_buf_str(&r->got), sp_str_z(text)) >= 0;
}

static int count(const raw *r, const char *text) {
    int n = 0;
    sp_str s = sp_buf_str(&r->got);
    for (ptrdiff_t at; (at = sp_str_find(s, sp_str_z(text))) >= 0; n++)
        s = sp_str_from(s, (size_t)at + 1);
    return n;
}

static void pipelined_requests_are_answered_in_order(void **state) {
    (void)state;
    world *w = begin(plain);
    raw *r = say(
        w, "GET /late HTTP/1.1\r\nHost: x\r\n\r\n"
           "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
           "GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    UNTIL(w, r->closed);
    sp_str all = sp_buf_str(&r->got);
    ptrdiff_t a = sp_str_find(all, SP_STR("\r\n\r\nlate")),
              b = sp_str_find(all, SP_STR("\r\n\r\nhi")),
              c = sp_str_find(all, SP_STR("204 No Content"));
    assert_true(a > 0 && b > a && c > b);
    raw_free(r);
    end(w);
}

static void broken_requests_get_a_reason_and_the_door(void **state) {
    (void)state;
    static const struct {
        const char *say, *status;
    } cases[] = {
        {"GET / HTTP/1.1\n\n", "400 "},
        {"\x16\x03\x01\x02", "400 "},
        {"GET / HTTP/3.0\r\n\r\n", "505 "},
        {"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "400 "},
        {"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", "413 "},
        {"PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400 "},
        {"PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: br\r\n\r\n", "501 "},
    };
    world *w = begin(plain);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        raw *r = say(w, cases[i].say);
        UNTIL(w, r->closed);
        assert_true(has(r, cases[i].status));
        raw_free(r);
    }
    assert_int_equal(w->requests, 0);
    end(w);
}

static void old_clients_and_odd_targets_work(void **state) {
    (void)state;
    world *w = begin(plain);
    raw *r = say(w, "GET /watch HTTP/1.0\r\n\r\n");
    UNTIL(w, r->closed);
    assert_true(has(r, "event 5") && !has(r, "chunked"));
    raw_free(r);
    r = say(w, "GET http://example.com/late?a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    UNTIL(w, r->closed);
    assert_true(has(r, "\r\n\r\nlate"));
    raw_free(r);
    r = say(w,
            "PUT /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    UNTIL(w, has(r, "100 Continue\r\n\r\n"));
    sp_outq_add(sp_conn_out(r->conn), SP_STR("ok"));
    sp_conn_wake(r->conn);
    UNTIL(w, has(r, "\r\n\r\nok"));
    raw_free(r);
    end(w);
}

static void slow_clients_are_shown_out(void **state) {
    (void)state;
    setup s = plain;
    s.header_ms = 30;
    s.idle_ms = 60;
    world *w = begin(s);
    raw *silent = say(w, ""), *half = say(w, "GET / HT"),
        *kept = say(w, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
    UNTIL(w, silent->closed && half->closed && kept->closed);
    assert_true(has(half, "408 "));
    assert_int_equal(silent->got.n, 0);
    assert_true(has(kept, "204 "));
    raw_free(silent);
    raw_free(half);
    raw_free(kept);
    end(w);
}

static void a_reader_that_stops_is_dropped_and_holds_no_memory(void **state) {
    (void)state;
    setup s = plain;
    s.idle_ms = 40;
    world *w = begin(s);
    raw *r = say(w, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    UNTIL(w, w->held);
    sp_conn_pause(r->conn, true);
    uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_true(w->held && sp_http_pending(w->held) > 1 << 20);
    UNTIL(w, w->gone == 1);
    raw_free(r);
    end(w);
}

static void connections_are_limited(void **state) {
    (void)state;
    setup s = plain;
    s.max_connections = 2;
    world *w = begin(s);
    raw *a = say(w, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n"),
        *b = say(w, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
    UNTIL(w, has(a, "204") && has(b, "204"));
    raw *c = say(w, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
    UNTIL(w, c->closed);
    assert_int_equal(count(c, "204"), 0);
    raw_free(a);
    raw_free(b);
    raw_free(c);
    end(w);
}

static void a_used_port_is_named(void **state) {
    (void)state;
    world *w = begin(plain);
    sp_http_server_config c = {.host = "127.0.0.1", .port = w->port, .handler = handler};
    sp_http_server *s = NULL;
    sp_err err = {0};
    assert_false(sp_http_server_start(&w->loop, &c, &s, &err));
    char want[80];
    snprintf(want, sizeof want, "port %u on 127.0.0.1 is already in use by another program",
             w->port);
    assert_string_equal(err.text, want);
    end(w);
}

/* --- certificates --- */

static sp_tls_ctx *client_ctx(sp_str ca, bool insecure) {
    sp_tls_ctx *c = NULL;
    sp_err err = {0};
    sp_tls_config config = {.ca_pem = ca, .insecure = insecure, .alpn = "h2,http/1.1"};
    assert_true(sp_tls_ctx_new(&config, &c, &err));
    return c;
}

static void ask_with(world *w, sp_tls_ctx *ctx, const char *name, answer *a) {
    sp_http_client_config c = {
        .host = "127.0.0.1", .port = w->port, .tls = ctx, .server_name = name};
    sp_http_client *was = w->client;
    w->client = sp_http_client_new(&w->loop, &c);
    fetch(w, "/empty", "GET", "", a);
    forget(a);
    sp_http_client_free(w->client);
    w->client = was;
}

static void strangers_are_not_believed(void **state) {
    (void)state;
    world *w = begin(tls);
    sp_auto(sp_buf) ca = {0};
    sp_auto(sp_buf) key = {0};
    sp_err err = {0};
    answer a;
    assert_true(sp_cert_make_ca("other CA", 1, &ca, &key, &err));
    sp_tls_ctx *other = client_ctx(sp_buf_str(&ca), false), *blind = client_ctx((sp_str){0}, true);
    ask_with(w, other, NULL, &a);
    assert_int_equal(a.err.code, SP_CONNECTION);
    assert_non_null(strstr(a.err.text, "certificate of the server is not accepted"));
    ask_with(w, blind, NULL, &a);
    assert_int_equal(a.status, 204);
    ask_with(w, w->client_tls, "localhost", &a);
    assert_int_equal(a.status, 204);
    ask_with(w, w->client_tls, "example.com", &a);
    assert_non_null(strstr(a.err.text, "ostname mismatch"));
    ask_with(w, NULL, NULL, &a); /* plain text to a TLS port */
    assert_int_equal(a.err.code, SP_CONNECTION);
    sp_tls_ctx_unref(other);
    sp_tls_ctx_unref(blind);
    end(w);
}

static void certificates_say_what_they_are(void **state) {
    (void)state;
    sp_auto(sp_buf) ca = {0};
    sp_auto(sp_buf) key = {0};
    sp_auto(sp_buf) crt = {0};
    sp_auto(sp_buf) k = {0};
    sp_err err = {0};
    int days = 0;
    assert_true(sp_cert_make_ca("x", 30, &ca, &key, &err));
    assert_true(sp_cert_days_left(sp_buf_str(&ca), &days, &err));
    assert_in_range(days, 29, 30);
    sp_cert_request r = {.common_name = "y", .server = true, .days = -3};
    assert_true(sp_cert_issue(sp_buf_str(&ca), sp_buf_str(&key), &r, &crt, &k, &err));
    assert_true(sp_cert_days_left(sp_buf_str(&crt), &days, &err));
    assert_true(days < 0);
    r.ips = (const char *const[]){"not-an-ip", NULL};
    assert_false(sp_cert_issue(sp_buf_str(&ca), sp_buf_str(&key), &r, &crt, &k, &err));
    assert_non_null(strstr(err.text, "not-an-ip"));
    assert_false(sp_cert_days_left(SP_STR("rubbish"), &days, &err));
    assert_false(sp_cert_issue(SP_STR(""), SP_STR(""), &r, &crt, &k, &err));
    sp_tls_ctx *c = NULL;
    sp_tls_config bad = {.cert_pem = sp_buf_str(&ca), .key_pem = sp_buf_str(&k), .server = true};
    assert_false(sp_tls_ctx_new(&bad, &c, &err));
    assert_null(c);
}

#define BOTH(name) \
    cmocka_unit_test(name##_plain), cmocka_unit_test(name##_tls), cmocka_unit_test(name##_h2)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(basics),
        BOTH(streams),
        BOTH(many_at_once),
        BOTH(restart),
        BOTH(graceful_stop),
        BOTH(server_stops_hard),
        BOTH(limits),
        BOTH(late_answers_are_harmless),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(broken_requests_get_a_reason_and_the_door),
        cmocka_unit_test(old_clients_and_odd_targets_work),
        cmocka_unit_test(slow_clients_are_shown_out),
        cmocka_unit_test(a_reader_that_stops_is_dropped_and_holds_no_memory),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(a_used_port_is_named),
        cmocka_unit_test(strangers_are_not_believed),
        cmocka_unit_test(certificates_say_what_they_are),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
