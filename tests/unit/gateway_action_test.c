/* What a route's action, a pool and a listener ask of HTTP, through the data path: timeouts,
 * retries, mirrors, CORS, limits, answers of our own, forwarded fields; GOAWAY. Each story shapes
 * its configuration first. */
#include "gateway_story.h"

enum { MAX_SERVERS = 4 };

/* The pools have one server each: pool n goes to ports[n]. */
typedef struct shape {
    sp_arena *arena;
    sp_pool_spec *pools; /* MAX_SERVERS */
    sp_route_action *action;
    sp_listener_spec *listener;
} shape;

static struct {
    void (*shape)(shape *s);
    uint16_t ports[MAX_SERVERS];
    size_t server_count;
    bool together; /* all servers are of pool 0 */
    uint16_t http_port;
} t;

static void forget(void) {
    memset(&t, 0, sizeof t);
}

static sp_gateway_config *make_config(void) {
    sp_gateway_config *c = sp_gateway_config_new();
    sp_arena *a = c->arena;
    sp_endpoint_spec *e = sp_arena_alloc(a, MAX_SERVERS * sizeof *e);
    c->pools = sp_arena_alloc(a, MAX_SERVERS * sizeof *c->pools);
    c->pool_count = MAX_SERVERS;
    static const char *const names[MAX_SERVERS] = {"ns/a:80", "ns/b:80", "ns/c:80", "ns/d:80"};
    for (size_t i = 0; i < MAX_SERVERS; i++) {
        e[i] = (sp_endpoint_spec){.ready = i < t.server_count};
        sp_assert(sp_addr_parse(SP_STR("127.0.0.1"), t.ports[i], &e[i].addr));
        c->pools[i] = (sp_pool_spec){.name = sp_str_z(names[i]),
                                     .algorithm = SP_BALANCE_ROUND_ROBIN,
                                     .endpoints = &e[i],
                                     .endpoint_count = 1};
    }
    if (t.together) c->pools[0].endpoint_count = t.server_count;
    sp_route_action *action = SP_NEW(a, sp_route_action);
    action->owner = SP_STR("HTTPRoute ns/web");
    action->targets = to_pool(a, 0);
    sp_route_entry entry = {.path = SP_STR("/"), .action = action};
    c->tables = SP_NEW(a, sp_route_table *);
    c->tables[0] = sp_route_table_build(a, &entry, 1);
    c->table_count = 1;
    c->listeners = SP_NEW(a, sp_listener_spec);
    c->listener_count = 1;
    c->listeners[0] =
        (sp_listener_spec){.plain = {.http = true}, .owner = SP_STR("Gateway ns/door")};
    sp_assert(sp_addr_parse(SP_STR("127.0.0.1"), 0, &c->listeners[0].addr));
    shape s = {a, c->pools, action, c->listeners};
    if (t.shape) t.shape(&s);
    return c;
}

static void listens_at(const sp_listener_state *l) {
    t.http_port = l->addr.port;
}

static int dial(void) {
    return dial_at(0, t.http_port);
}

static void serve(void (*fn)(shape *), size_t servers, int *ret_listeners) {
    t.shape = fn;
    t.server_count = servers;
    for (size_t i = 0; i < servers; i++) ret_listeners[i] = listen_on(&t.ports[i]);
    in_loop(apply_now);
}

#define GET "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define BUSY "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"

static void hear_status(int fd, const char *status) {
    const char *head = hear_head(fd);
    if (!strstr(head, status)) fprintf(stderr, "heard: %s\n", head);
    CHECK(strstr(head, status));
}

/* --- timeouts --- */

static void short_request(shape *s) {
    s->action->request_timeout_ms = 1000; /* the server has heard it by then */
}
static void request_timeout(void) {
    int l, c, srv;
    serve(short_request, 1, &l);
    c = dial();
    say(c, GET);
    srv = take(l);
    hear_head(srv);
    hear_status(c, "504 Gateway Timeout");
    CLOSE(c, srv, l);
}

static void short_attempt(shape *s) {
    s->action->backend_timeout_ms = 1000; /* enough for the second one's answer */
    s->action->retry.attempts = 1;
}
static void attempt_timeout_goes_on(void) {
    int l[2], c, first, second;
    t.together = true;
    serve(short_attempt, 2, l);
    c = dial();
    say(c, GET);
    fd_set both;
    FD_ZERO(&both);
    FD_SET(l[0], &both), FD_SET(l[1], &both);
    CHECK(select(SP_MAX(l[0], l[1]) + 1, &both, NULL, NULL, NULL) == 1);
    int at = FD_ISSET(l[1], &both);
    first = take(l[at]);
    hear_head(first);
    FD_ZERO(&both);
    FD_SET(l[0], &both), FD_SET(l[1], &both);
    CHECK(select(SP_MAX(l[0], l[1]) + 1, &both, NULL, NULL, NULL) == 1);
    second = take(l[FD_ISSET(l[1], &both)]);
    hear_head(second);
    hear_end(first);
    say(second, OK2);
    hear_status(c, "200 OK");
    CLOSE(c, first, second, l[0], l[1]);
}

static void short_listener(shape *s) {
    s->listener->head_timeout_ms = 500;
    s->listener->keep_alive_timeout_ms = 500;
}
static void listener_timeouts(void) {
    int l, c;
    serve(short_listener, 1, &l);
    c = dial();
    hear_end(c);
    close(c);
    c = dial();
    say(c, "GET / HTTP/1.1\r\nHo");
    hear_status(c, "408 Request Timeout");
    CLOSE(c, l);
}

/* --- again --- */

static void codes(shape *s) {
    static uint16_t list[] = {503};
    s->action->retry =
        (sp_retry_spec){.attempts = 2, .codes = list, .code_count = 1, .backoff_ms = 20};
}
static void retry_by_code(void) {
    int l, c, s;
    serve(codes, 1, &l);
    c = dial();
    say(c, "PUT / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\n\r\nbody");
    for (int i = 0; i < 2; i++) {
        s = take(l);
        hear_head(s);
        hear(s, "body"); /* each time */
        say(s, i ? OK2 : BUSY);
        if (!i) close(s);
    }
    hear_status(c, "200 OK");
    hear(c, "ok");
    say(c, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 0\r\n\r\n");
    hear_head(s);
    say(s, BUSY); /* not idempotent: as it is */
    hear_status(c, "503 Busy");
    say(c, GET);
    hear_head(s);
    say(s, BUSY);
    for (int i = 0; i < 2; i++) { /* attempts have an end */
        close(s);
        s = take(l);
        hear_head(s);
        say(s, BUSY);
    }
    hear_status(c, "503 Busy");
    CLOSE(c, s, l);
}

/* --- copies --- */

static void mirrored(shape *s) {
    s->action->mirrors = SP_NEW(s->arena, sp_mirror);
    *s->action->mirrors = (sp_mirror){.pool = 1};
    s->action->mirror_count = 1;
}
static void mirror(void) {
    int l[2], c, s, m;
    serve(mirrored, 2, l);
    c = dial();
    say(c, "POST /x?y HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\nhello");
    s = take(l[0]);
    CHECK(strstr(hear_head(s), "POST /x?y HTTP/1.1\r\nhost: web.test\r\n"));
    hear(s, "hello");
    say(s, OK2);
    hear_status(c, "200 OK"); /* whatever the mirror does */
    hear(c, "ok");
    m = take(l[1]);
    CHECK(strstr(hear_head(m), "POST /x?y HTTP/1.1\r\nhost: web.test\r\n"));
    hear(m, "hello");
    close(m);
    say(c, GET);
    hear_head(s);
    m = take(l[1]);
    hear_head(m);
    say(m, OK2);
    say(s, OK2);
    hear_status(c, "200 OK");
    CLOSE(c, s, m, l[0], l[1]);
}

/* --- answers of our own --- */

static void fixed(shape *s) {
    s->action->answer_status = 418;
    s->action->answer_body = SP_STR("short and stout");
}
static void fixed_answer(void) {
    int l, c;
    serve(fixed, 1, &l);
    c = dial();
    say(c, GET);
    hear_status(c, "content-length: 15\r\n");
    hear(c, "short and stout");
    say(c, "HEAD / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    hear_status(c, "content-length: 15\r\n");
    CLOSE(c, l);
}

static void small(shape *s) {
    s->action->max_body_bytes = 4;
}
static void body_limit(void) {
    int l, c, s;
    serve(small, 1, &l);
    c = dial();
    say(c, "PUT / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\n");
    hear_status(c, "413 ");
    close(c);
    c = dial();
    say(c, "PUT / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    s = take(l);
    hear_head(s);
    hear(s, "3\r\nabc\r\n");
    say(c, "2\r\nde\r\n");
    hear_status(c, "413 ");
    hear_end(s); /* no end of the body: the server knows that it was cut */
    CLOSE(c, s, l);
}

static void limited(shape *s) {
    s->action->limits = SP_NEW(s->arena, sp_rate_limit);
    *s->action->limits =
        (sp_rate_limit){.name = SP_STR("HTTP story"), .requests = 1, .period_ms = 60000};
    s->action->limit_count = 1;
}
static void rate_limit(void) {
    int l, c, s;
    serve(limited, 1, &l);
    c = dial();
    say(c, GET);
    s = take(l);
    hear_head(s);
    say(s, OK2);
    hear_status(c, "200 OK");
    hear(c, "ok");
    say(c, GET);
    const char *head = hear_head(c);
    CHECK(strstr(head, "429 Too Many Requests") && strstr(head, "retry-after: "));
    CLOSE(c, s, l);
}

static void denied(shape *s) {
    s->action->denied = SP_NEW(s->arena, sp_cidr);
    CHECK(sp_cidr_parse(SP_STR("9.0.0.0/8"), s->action->denied));
    s->action->denied_count = 1;
    s->listener->trusted = SP_NEW(s->arena, sp_cidr);
    CHECK(sp_cidr_parse(SP_STR("127.0.0.0/8"), s->listener->trusted));
    s->listener->trusted_count = 1;
}
static void trusted_proxies(void) {
    int l, c, s;
    serve(denied, 1, &l);
    c = dial();
    say(c,
        "GET / HTTP/1.1\r\nHost: web.test\r\nX-Forwarded-For: 8.8.8.8, 9.1.1.1, 127.0.0.9\r\n\r\n");
    hear_status(c, "403 Forbidden"); /* the last one that is no proxy */
    close(c);
    c = dial();
    say(c, "GET / HTTP/1.1\r\nHost: web.test\r\nX-Forwarded-For: 9.1.1.1, 8.8.8.8\r\n"
           "X-Forwarded-Proto: https\r\nForwarded: for=8.8.8.8\r\n"
           "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");
    s = take(l);
    const char *head = hear_head(s);
    CHECK(strstr(head, "x-forwarded-for: 9.1.1.1, 8.8.8.8, 127.0.0.1\r\n"));
    CHECK(strstr(head, "x-forwarded-proto: https\r\n"));
    CHECK(strstr(head, "forwarded: for=8.8.8.8, for=127.0.0.1;proto=http\r\n"));
    CHECK(strstr(head, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"));
    CLOSE(c, s, l);
}

static void cors_rule(shape *s) {
    static sp_str origins[] = {SP_STR_INIT("https://*.good.test")},
                  methods[] = {SP_STR_INIT("GET"), SP_STR_INIT("PUT")},
                  headers[] = {SP_STR_INIT("*")}, exposed[] = {SP_STR_INIT("x-a")};
    static const sp_cors_spec rule = {origins, methods, headers, exposed, 1, 2, 1, 1, true, 60};
    s->action->cors = &rule;
}
static void cors(void) {
    int l, c, s;
    serve(cors_rule, 1, &l);
    c = dial();
    say(c, "OPTIONS / HTTP/1.1\r\nHost: web.test\r\nOrigin: https://a.good.test\r\n"
           "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-q\r\n\r\n");
    const char *head = hear_head(c);
    CHECK(strstr(head, "204 No Content") &&
          strstr(head, "access-control-allow-origin: https://a.good.test\r\n"));
    CHECK(strstr(head, "access-control-allow-methods: GET, PUT\r\n") &&
          strstr(head, "access-control-max-age: 60\r\n"));
    CHECK(strstr(head, "access-control-allow-headers: x-q\r\n") &&
          strstr(head, "access-control-allow-credentials: true\r\n"));
    say(c, "OPTIONS / HTTP/1.1\r\nHost: web.test\r\nOrigin: "
           "https://bad.test\r\nAccess-Control-Request-Method: PUT\r\n\r\n");
    CHECK(!strstr(hear_head(c), "access-control"));
    say(c, "GET / HTTP/1.1\r\nHost: web.test\r\nOrigin: https://a.good.test\r\n\r\n");
    s = take(l);
    hear_head(s);
    say(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\r\n");
    head = hear_head(c);
    CHECK(strstr(head, "access-control-allow-origin: https://a.good.test\r\n") &&
          !strstr(head, "origin: *\r\n"));
    CHECK(strstr(head, "access-control-expose-headers: x-a\r\n") &&
          strstr(head, "vary: origin\r\n"));
    CLOSE(c, s, l);
}

static void sticky(shape *s) {
    s->pools[0].sticky = (sp_sticky_spec){.cookie = SP_STR("place")};
}
static void sticky_cookie(void) {
    int l, c, s;
    serve(sticky, 1, &l);
    c = dial();
    say(c, GET);
    s = take(l);
    hear_head(s);
    say(s, OK2);
    char cookie[128] = "", again[256];
    const char *head = hear_head(c), *at = strstr(head, "set-cookie: place=");
    CHECK(at && sscanf(at, "set-cookie: %100[^;\r]", cookie) == 1);
    hear(c, "ok");
    snprintf(again, sizeof again, "GET / HTTP/1.1\r\nHost: web.test\r\nCookie: %s\r\n\r\n", cookie);
    say(c, again);
    hear_head(s);
    say(s, OK2);
    CHECK(!strstr(hear_head(c), "set-cookie"));
    CLOSE(c, s, l);
}

/* --- GOAWAY --- */

enum { F_HEADERS = 1, F_RESET = 3, F_SETTINGS = 4, F_PING = 6, F_GOAWAY = 7 };

static void h2_frame(int fd, uint8_t type, uint8_t flags, uint8_t stream, const char *p,
                     uint8_t n) {
    uint8_t head[9] = {0, 0, n, type, flags, 0, 0, 0, stream};
    say_n(fd, head, sizeof head);
    if (n) say_n(fd, p, n);
}

static int h2_dial(void) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    int c = dial();
    say_n(c, preface, sizeof preface - 1);
    h2_frame(c, F_SETTINGS, 0, 0, NULL, 0);
    return c;
}

static void h2_get(int fd, uint8_t stream) {
    static const char block[] = "\x82\x86\x84\x41\x08web.test";
    h2_frame(fd, F_HEADERS, 5, stream, block, sizeof block - 1);
}

/* The next frame of that type; its payload. */
static const uint8_t *h2_hear(int fd, uint8_t type) {
    static uint8_t payload[65536];
    for (;;) {
        uint8_t head[9];
        CHECK(recv(fd, head, sizeof head, MSG_WAITALL) == sizeof head);
        size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        CHECK(n < sizeof payload && recv(fd, payload, n, MSG_WAITALL) == (ssize_t)n);
        if (head[3] == type) return payload;
    }
}

static uint32_t last_stream(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void two_goaways(void) {
    int l, c, s;
    serve(NULL, 1, &l);
    c = h2_dial();
    h2_get(c, 1);
    s = take(l);
    hear_head(s);
    in_loop(stop_gracefully);
    CHECK(last_stream(h2_hear(c, F_GOAWAY)) == 0x7fffffff);
    h2_get(c, 3); /* was on its way */
    char ping[8];
    memcpy(ping, h2_hear(c, F_PING), 8);
    h2_frame(c, F_PING, 1, 0, ping, 8);
    CHECK(last_stream(h2_hear(c, F_GOAWAY)) == 3);
    int s2 = take(l);
    hear_head(s2);
    say(s, OK2);
    h2_hear(c, F_HEADERS);
    say(s2, OK2);
    h2_hear(c, F_HEADERS);
    while (recv(c, ping, sizeof ping, 0) > 0) {
    }
    CLOSE(c, s, s2, l);
}

/* --- WebSockets of a server that is gone --- */

static void resets(shape *s) {
    s->pools[0].reset_on_removal = true;
}
static void resets_and_gone(shape *s) {
    resets(s);
    s->pools[0].endpoint_count = 0;
}
static void websocket_streams_are_reset(void) {
    static const char block[] = "\x02\x07"
                                "CONNECT\x00\x09:protocol\x09websocket\x86\x84\x41\x08web.test"
                                "\x00\x15sec-websocket-version\x02"
                                "13";
    int l, c, s, other;
    serve(resets, 1, &l);
    c = h2_dial();
    h2_frame(c, F_HEADERS, 4, 1, block, sizeof block - 1);
    s = take(l);
    hear_head(s);
    say(s, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    h2_hear(c, F_HEADERS);
    h2_get(c, 3); /* a request is no tunnel */
    other = take(l);
    hear_head(other);
    t.shape = resets_and_gone;
    in_loop(apply_now);
    h2_hear(c, F_RESET);
    hear_end(s);
    say(other, OK2);
    h2_hear(c, F_HEADERS);
    CLOSE(c, s, other, l);
}

static void spread(shape *s) {
    s->pools[0].goaway_per_million = 1000000;
}
static void goaway_chance(void) {
    int l, c, s;
    serve(spread, 1, &l);
    c = h2_dial();
    h2_get(c, 1);
    s = take(l);
    hear_head(s);
    say(s, OK2);
    h2_hear(c, F_HEADERS);
    CHECK(last_stream(h2_hear(c, F_GOAWAY)) == 0x7fffffff);
    CLOSE(c, s, l);
    c = dial(); /* only clients of HTTP/2 */
    close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(request_timeout),
        STORY(attempt_timeout_goes_on),
        STORY(listener_timeouts),
        STORY(retry_by_code),
        STORY(mirror),
        STORY(fixed_answer),
        STORY(body_limit),
        STORY(rate_limit),
        STORY(trusted_proxies),
        STORY(cors),
        STORY(sticky_cookie),
        STORY(two_goaways),
        STORY(goaway_chance),
        STORY(websocket_streams_are_reset),
    };
    return cmocka_run_group_tests_name("gateway_action", tests, NULL, NULL);
}
