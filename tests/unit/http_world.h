/* A loop with a CA, a server whose paths do what tests need, and a client; shared by the HTTP
 * tests. Everything is static: each test program has its own. */
#pragma once
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
    size_t tapped; /* bytes given by /tap so far */
} world;

static inline void on_stopped(void *ctx) {
    ((world *)ctx)->stopped = true;
}
static inline void held_gone(void *ctx) {
    world *w = ctx;
    w->gone++;
    w->held = NULL;
    w->ticker = sp_timer_stop(w->ticker);
}

static inline void stream_tick(void *ctx) {
    world *w = ctx;
    char text[32];
    snprintf(text, sizeof text, "event %d\n", ++w->ticks);
    sp_http_write(w->held, sp_str_z(text));
    if (w->ticks < 5) return;
    w->ticker = sp_timer_stop(w->ticker); /* the end may take longer than to the next tick */
    sp_http_end(w->held);
}

enum { TAP_TOTAL = 64 << 20, TAP_PIECE = 64 << 10 };

/* Gives as fast as the reader takes. */
static inline void tap_more(void *ctx) {
    world *w = ctx;
    static char piece[TAP_PIECE];
    while (w->tapped < TAP_TOTAL && sp_http_pending(w->held) < SP_HTTP_LOW) {
        sp_http_write(w->held, (sp_str){piece, sizeof piece});
        w->tapped += sizeof piece;
    }
    if (w->tapped == TAP_TOTAL) sp_http_end(w->held);
}

static inline void later_reply(void *ctx) {
    sp_http_res *r = ctx;
    sp_http_reply(r, 200, NULL, 0, SP_STR("late"));
}

static inline void big(sp_http_res *r, size_t size) {
    sp_blob *b = sp_blob_alloc(size);
    for (size_t i = 0; i < size; i++) b->p[i] = (char)('a' + i % 26);
    sp_http_reply_blob(r, 200, NULL, 0, b);
    sp_blob_unref(b);
}

static inline void who(sp_http_req *q, sp_http_res *r) {
    sp_str s = q->peer ? sp_arena_printf(q->arena, "%.*s/%.*s", SP_ARG(q->peer->common_name),
                                         SP_ARG(q->peer->organizations.p[0]))
                       : SP_STR("nobody");
    sp_http_reply(r, 200, NULL, 0, s);
}

/* The cookie and X-Mixed fields as they arrive; the answer's field is named in mixed case. */
static inline void fields(sp_http_req *q, sp_http_res *r) {
    sp_str cookie = sp_headers_get(q->headers, q->header_count, "cookie");
    sp_str mixed = sp_headers_get(q->headers, q->header_count, "x-mixed");
    sp_str host = sp_headers_get(q->headers, q->header_count, "host");
    sp_header h = {SP_STR("X-Path"), q->path};
    sp_http_reply(
        r, 200, &h, 1,
        sp_arena_printf(q->arena, "%.*s|%.*s|%.*s", SP_ARG(cookie), SP_ARG(mixed), SP_ARG(host)));
}

static inline void handler(void *ctx, sp_http_req *q, sp_http_res *r) {
    world *w = ctx;
    w->requests++;
    if (w->client) assert_int_equal(q->http2, w->h2);
    sp_header h = {SP_STR("x-path"), q->path};
    if (sp_str_eqz(q->path, "/echo"))
        sp_http_reply(r, 201, &h, 1, q->body);
    else if (sp_str_eqz(q->path, "/who"))
        who(q, r);
    else if (sp_str_eqz(q->path, "/fields"))
        fields(q, r);
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
    } else if (sp_str_eqz(q->path, "/tap")) {
        w->held = r;
        w->tapped = 0;
        sp_http_on_close(r, held_gone, w);
        sp_http_begin(r, 200, NULL, 0);
        sp_http_on_drain(r, tap_more, w);
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
    size_t max_connections, max_body, max_upload;
    double goaway_chance;
    sp_http_handler *handler; /* NULL: the one above */
} setup;

static inline void make_tls(world *w, const setup *s) {
    sp_buf ca = {0}, ca_key = {0}, crt = {0}, key = {0}, ccrt = {0}, ckey = {0};
    sp_err err = {0};
    assert_true(sp_cert_make_ca("test CA", 10 * SP_DAY_S, &ca, &ca_key, &err));
    sp_cert_request sr = {.common_name = "server",
                          .dns_names = (const char *const[]){"localhost", NULL},
                          .ips = (const char *const[]){"127.0.0.1", "::1", NULL},
                          .server = true,
                          .life_s = 5 * SP_DAY_S};
    sp_cert_request cr = {
        .common_name = "alice", .organization = "devs", .client = true, .life_s = 5 * SP_DAY_S};
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

static inline void start_server(world *w, const setup *s) {
    sp_err err = {0};
    sp_http_server_config c = {.host = "127.0.0.1",
                               .port = w->port,
                               .tls = w->server_tls,
                               .header_timeout_ms = s->header_ms,
                               .idle_timeout_ms = s->idle_ms,
                               .max_connections = s->max_connections,
                               .max_body_bytes = s->max_body,
                               .max_upload_bytes = s->max_upload,
                               .goaway_chance = s->goaway_chance,
                               .handler = s->handler ? s->handler : handler,
                               .ctx = w};
    w->stopped = false;
    assert_true(sp_http_server_start(&w->loop, &c, &w->server, &err));
    w->port = sp_http_server_port(w->server);
}

static inline world *begin(setup s) {
    world *w = sp_zalloc(1, sizeof *w);
    uv_loop_init(&w->loop);
    if (s.tls) make_tls(w, &s);
    w->h2 = s.h2;
    start_server(w, &s);
    sp_http_client_config c = {.host = "127.0.0.1", .port = w->port, .tls = w->client_tls};
    w->client = sp_http_client_new(&w->loop, &c);
    return w;
}

static inline void end(world *w) {
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
        int64_t give_up = sp_clock_mono_ms() + 60000;                                    \
        while (!(cond) && sp_clock_mono_ms() < give_up) uv_run(&(w)->loop, UV_RUN_ONCE); \
        assert_true(cond);                                                               \
    } while (0)

/* --- a call and what came of it --- */

typedef struct answer {
    int status, done;
    size_t got;
    sp_buf body, path;
    sp_err err;
    sp_http_call *call, *cancel_on_data;
} answer;

static inline void fetched(void *ctx, const sp_http_reply_msg *m, const sp_err *err) {
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

static inline void forget(answer *a) {
    sp_buf_free(&a->body);
    sp_buf_free(&a->path);
}

static inline void get(world *w, const char *path, const char *method, const char *body,
                       answer *a) {
    *a = (answer){0};
    sp_http_call_params p = {.method = method, .target = sp_str_z(path), .body = sp_str_z(body)};
    a->call = sp_http_fetch(w->client, &p, 0, fetched, a);
}

static inline void fetch(world *w, const char *path, const char *method, const char *body,
                         answer *a) {
    get(w, path, method, body, a);
    UNTIL(w, a->done);
}

static inline void head_in(void *ctx, int status, const sp_header *h, size_t n) {
    (void)h, (void)n;
    ((answer *)ctx)->status = status;
}

static inline void data_in(void *ctx, sp_str bytes) {
    answer *a = ctx;
    sp_buf_add(&a->body, bytes);
    if (a->cancel_on_data) sp_http_call_cancel(sp_steal(a->cancel_on_data));
}

static inline void stream_done(void *ctx, const sp_err *err) {
    answer *a = ctx;
    a->done++;
    if (err) a->err = *err;
}

static inline void stream(world *w, const char *path, uint32_t timeout_ms, answer *a) {
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
