/* HTTP/1.1 from clients to endpoints: heads, bodies, kept connections, upgrades, what is tried
 * again and what is refused. */
#include "gateway_story_one.h"

#define GET "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void hear_ok(int c) {
    CHECK(strstr(hear_head(c), "HTTP/1.1 200 OK\r\n"));
    hear(c, "ok");
}

static void http_head_is_rewritten(void) {
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
    int c = dial(t.http_port);
    say(c, "GET /a?b=c HTTP/1.1\r\nHost: web.test:80\r\nConnection: keep-alive, X-Mine\r\nX-Mine: "
           "1\r\n"
           "X-Set: by client\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nTE: "
           "trailers\r\n"
           "Accept: */*\r\n\r\n");
    int s = take(l);
    const char *head = hear_head(s), *id = strstr(head, "x-request-id: "),
               *trace = strstr(head, "traceparent: 00-");
    static const char start[] =
        "GET /a?b=c HTTP/1.1\r\nhost: web.test:80\r\naccept: */*\r\nx-set: by rule\r\n"
        "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n"
        "x-forwarded-host: web.test:80\r\nx-forwarded-port: ";
    CHECK(!strncmp(head, start, sizeof start - 1) && id && trace);
    CHECK(!strncmp(id + 14 + 32, "\r\n", 2) && !strncmp(id + 14, trace + 16, 32));
    CHECK(!strcmp(trace + 16 + 32 + 1 + 16, "-00\r\nconnection: te\r\nte: trailers\r\n\r\n"));
    say(s, "HTTP/1.1 200 Fine\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n"
           "X-Public: 2\r\nContent-Length: 0\r\n\r\n");
    CHECK(!strcmp(hear_head(c), "HTTP/1.1 200 Fine\r\nx-public: 2\r\ncontent-length: 0\r\n\r\n"));
    CLOSE(c, s, l);
}

static void http_keeps_connections(void) {
    int l = one_server();
    int c = dial(t.http_port), s = -1;
    for (int i = 0; i < 5; i++) {
        say(c, GET);
        if (s < 0) s = take(l);
        hear_head(s);
        say(s, OK2);
        hear_ok(c);
    }
    int c2 = dial(t.http_port); /* another client, the same upstream connection */
    say(c2, GET);
    hear_head(s);
    say(s, OK2);
    hear_ok(c2);
    in_loop(read_stats);
    CHECK(story.stats.upstream_connections == 1 && story.stats.upstream_reused == 5);
    CHECK(story.stats.requests == 6 && story.stats.status_2xx == 6);
    CLOSE(c, c2, s, l);
}

static void http_pipelined(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, "GET /1 HTTP/1.1\r\nHost: web.test\r\n\r\nPOST /2 HTTP/1.1\r\nHost: web.test\r\n"
           "Content-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: web.test\r\n\r\n");
    int s = take(l);
    CHECK(strstr(hear_head(s), "GET /1 "));
    say(s, OK2);
    CHECK(strstr(hear_head(s), "POST /2 "));
    hear(s, "abc");
    say(s, OK2);
    CHECK(strstr(hear_head(s), "GET /3 "));
    say(s, OK2);
    for (int i = 0; i < 3; i++) hear_ok(c);
    CLOSE(c, s, l);
}

static void *send_upload(void *arg) {
    static const char head[] =
        "POST /1 HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1\r\n\r\nx"
        "PUT /2 HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1000000\r\n\r\n";
    static char all[sizeof head - 1 + 1000000];
    memset(all, 'z', sizeof all);
    memcpy(all, head, sizeof head - 1);
    for (size_t at = 0; at < sizeof all;) {
        ssize_t n = send(*(int *)arg, all + at, sizeof all - at, MSG_NOSIGNAL);
        if (n <= 0) return arg;
        at += (size_t)n;
    }
    return NULL;
}

/* A large request behind one that is still being answered must wait, not pile up. */
static void http_pipelined_upload(void) {
    int l = one_server();
    int c = dial(t.http_port);
    pthread_t sender;
    void *failed = NULL;
    pthread_create(&sender, NULL, send_upload, &c);
    int s = take(l);
    CHECK(strstr(hear_head(s), "POST /1 "));
    hear(s, "x");
    say(s, OK2);
    hear_ok(c);
    CHECK(strstr(hear_head(s), "PUT /2 "));
    static char got[64 * 1024];
    for (size_t at = 0; at < 1000000;) {
        ssize_t n = recv(s, got, sizeof got, 0);
        CHECK(n > 0);
        for (ssize_t i = 0; i < n; i++) CHECK(got[i] == 'z');
        at += (size_t)n;
    }
    say(s, OK2);
    hear_ok(c);
    pthread_join(sender, &failed);
    CHECK(!failed);
    CLOSE(c, s, l);
}

static void http_chunked_both_ways(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWi");
    int s = take(l);
    CHECK(strstr(hear_head(s), "transfer-encoding: chunked\r\n"));
    hear(s, "2\r\nWi\r\n"); /* streamed, not collected */
    say(c, "ki\r\n0\r\nTrailer: x\r\n\r\n");
    hear(s, "2\r\nki\r\n0\r\n\r\n");
    say(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    CHECK(strstr(hear_head(c), "transfer-encoding: chunked\r\n"));
    hear(c, "3\r\nabc\r\n");
    say(s, "0\r\n\r\n");
    hear(c, "0\r\n\r\n");
    say(c, GET); /* both connections are still good */
    hear_head(s);
    say(s, OK2);
    hear_ok(c);
    CLOSE(c, s, l);
}

static void http_old_clients_and_servers(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, "GET / HTTP/1.0\r\nHost: web.test\r\n\r\n");
    int s = take(l);
    hear_head(s);
    say(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    CHECK(!strstr(hear_head(c), "chunked")); /* 1.0 does not know it */
    hear(c, "abc");
    hear_end(c);
    close(c);
    c = dial(t.http_port);
    say(c, GET);
    hear_head(s);
    say(s, "HTTP/1.0 200 OK\r\n\r\nuntil the end");
    CHECK(strstr(hear_head(c), "transfer-encoding: chunked\r\n"));
    hear(c, "d\r\nuntil the end\r\n");
    close(s);
    hear(c, "0\r\n\r\n");
    CLOSE(c, l);
}

static void http_head_and_304(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, "HEAD / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    int s = take(l);
    hear_head(s);
    say(s, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    CHECK(strstr(hear_head(c), "content-length: 500\r\n"));
    say(c, GET);
    hear_head(s);
    say(s, "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
    CHECK(strstr(hear_head(c), "304 Not Modified"));
    say(c, GET);
    hear_head(s);
    say(s, OK2);
    hear_ok(c);
    CLOSE(c, s, l);
}

static void http_continue(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, "PUT / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    int s = take(l);
    CHECK(strstr(hear_head(s), "expect: 100-continue\r\n"));
    say(s, "HTTP/1.1 100 Continue\r\n\r\n");
    CHECK(!strcmp(hear_head(c), "HTTP/1.1 100 Continue\r\n\r\n"));
    say(c, "body");
    hear(s, "body");
    say(s, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK2);
    CHECK(strstr(hear_head(c), "103 Early Hints\r\nlink: x\r\n"));
    hear_ok(c);
    CLOSE(c, s, l);
}

static void http_upgrade(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, "GET /ws HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Key: k\r\n\r\n");
    int s = take(l);
    const char *head = hear_head(s);
    CHECK(strstr(head, "connection: upgrade\r\nupgrade: websocket\r\n") &&
          strstr(head, "sec-websocket-key"));
    say(s, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
           "websocket\r\n\r\nfirst");
    CHECK(strstr(hear_head(c),
                 "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"));
    hear(c, "first");
    say(c, "ping");
    hear(s, "ping");
    say(s, "pong");
    hear(c, "pong");
    close(c);
    hear_end(s);
    CLOSE(s);
    c = dial(t.http_port); /* h2c would carry requests past the rules: not passed on */
    say(c, "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
           "Upgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n");
    s = take(l);
    head = hear_head(s);
    CHECK(!strstr(head, "upgrade") && !strstr(head, "http2-settings"));
    CLOSE(c, s, l);
}

static void http_retries_when_safe(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, GET);
    int s = take(l);
    hear_head(s);
    say(s, OK2);
    hear_ok(c);
    say(c, GET); /* the kept connection dies under the request */
    hear_head(s);
    close(s);
    s = take(l);
    hear_head(s);
    say(s, OK2);
    hear_ok(c);
    say(c, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1\r\n\r\nx");
    CHECK(strstr(hear_head(s), "POST / "));
    hear(s, "x");
    close(s); /* maybe done already: never sent twice */
    CHECK(strstr(hear_head(c), "502 Bad Gateway"));
    CLOSE(c, l);
}

static void http_busy_services_say_so(void) {
    uint16_t port;
    int l = listen_on(&port);
    t.limits = (sp_pool_limits){.max_requests = 1, .max_pending = 1, .queue_timeout_ms = 60000};
    ENDPOINTS({port, true});
    int c = dial(t.http_port), waits = dial(t.http_port), refused = dial(t.http_port);
    say(c, GET);
    int s = take(l);
    hear_head(s);
    say(waits, GET);
    await_queued(1);
    say(refused, GET);
    CHECK(strstr(hear_head(refused), "503 Service Unavailable"));
    say(s, OK2);
    hear_ok(c);
    hear_head(s); /* the place is given on, with its connection */
    say(s, OK2);
    hear_ok(waits);
    CLOSE(c, waits, refused, s, l);
}

static void http_cut_answers_look_cut(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, GET);
    int s = take(l);
    hear_head(s);
    say(s, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    hear_head(c);
    hear(c, "half");
    close(s);
    hear_reset(c);
    CLOSE(c, l);
}

static void http_own_answers(void) {
    static const struct {
        const char *request, *status, *body;
        bool open;
    } cases[] = {
        {"GET /x HTTP/1.1\r\nHost: other.test\r\n\r\n", "404 Not Found", "other.test", true},
        {"GET / HTTP/1.1\r\nHost: none.test\r\n\r\n", "500 Internal Server Error", "does not exist",
         true},
        {"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n", "503 Service Unavailable", "ns/web:80", true},
        {"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 9\r\n\r\n", "503 Service", "ready",
         false},
        {"CONNECT a:1 HTTP/1.1\r\nHost: web.test\r\n\r\n", "405 Method Not Allowed", "CONNECT",
         false},
    };
    endpoints(0, t.endpoints);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        int c = dial(t.http_port);
        say(c, cases[i].request);
        const char *head = hear_head(c), *length = strstr(head, "content-length: ");
        CHECK(strstr(head, cases[i].status) && length);
        CHECK(!strstr(head, "connection: close") == cases[i].open);
        char body[512] = "";
        size_t n = (size_t)atoi(length + 16);
        CHECK(n < sizeof body && recv(c, body, n, MSG_WAITALL) == (ssize_t)n);
        CHECK(strstr(body, cases[i].body));
        if (!cases[i].open) hear_end(c);
        close(c);
    }
    int c = dial(t.http_port);
    say(c, "GET /old/a?b=c HTTP/1.1\r\nHost: web.test\r\n\r\n");
    const char *head = hear_head(c);
    CHECK(strstr(head, "301 Moved Permanently") &&
          strstr(head, "location: https://web.test/new/a?b=c\r\n"));
    close(c);
}

/* Requests that two programs could read differently never reach a server. */
static void http_smuggling_is_refused(void) {
    static const char *const bad[] = {
        ("PUT / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\n"
         "Transfer-Encoding: chunked\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: +4\r\n\r\n",
        "GET / HTTP/1.1\nHost: web.test\n\n",
        "GET / HTTP/1.1\r\nHost: web.test\r\nHost: other.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: web.test\r\nX: a\r\n b\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: web.test\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    };
    int l = one_server();
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        int c = dial(t.http_port);
        say(c, bad[i]);
        const char *head = hear_head(c);
        CHECK(strstr(head, "HTTP/1.1 400 ") || strstr(head, "HTTP/1.1 501 "));
        close(c);
    }
    in_loop(read_stats);
    CHECK(story.stats.upstream_connections == 0);
    int c = dial(t.http_port); /* broken later than the head: the server's connection is cut */
    say(c, "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n");
    CHECK(strstr(hear_head(c), "HTTP/1.1 400 "));
    CLOSE(c, l);
}

static void http_removed_endpoint_finishes(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    ENDPOINTS({a, true});
    int c = dial(t.http_port);
    say(c, GET);
    int s = take(la);
    hear_head(s);
    ENDPOINTS({b, true});
    say(s, OK2);
    hear_ok(c);
    hear_end(s); /* not kept: it left */
    say(c, GET); /* the same client goes on, elsewhere */
    int s2 = take(lb);
    hear_head(s2);
    say(s2, OK2);
    hear_ok(c);
    ENDPOINTS({a, true});
    hear_end(s2); /* was kept; closed when its endpoint left */
    CLOSE(c, s, s2, la, lb);
}

static void http_large_body_to_a_slow_reader(void) {
    int l = one_server();
    int c = dial(t.http_port);
    say(c, GET);
    int s = take(l);
    hear_head(s);
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BULK);
    say(s, head);
    pthread_t sender;
    void *failed = NULL;
    pthread_create(&sender, NULL, send_bulk, &s);
    hear_head(c);
    shutdown(c, SHUT_WR);
    hear_bulk(c, 1460);
    pthread_join(sender, &failed);
    CHECK(!failed);
    CLOSE(c, s, l);
}

static void http_stop_lets_requests_end(void) {
    int l = one_server();
    int c = dial(t.http_port), idle = dial(t.http_port);
    say(c, GET);
    int s = take(l);
    hear_head(s);
    say(s, OK2);
    hear_ok(c);
    say(c, GET);
    hear_head(s);
    in_loop(stop_gracefully);
    hear_end(idle);
    say(s, OK2);
    CHECK(strstr(hear_head(c), "connection: close\r\n"));
    hear(c, "ok");
    hear_end(c);
    CLOSE(c, idle, s, l);
}

/* --- a loop that stood still --- */

enum { CROWD = 300 }; /* more than the events of one turn */
static struct { int clients[CROWD], servers[CROWD]; } crowd;

/* Nothing is done until each of them has asked and may do so no longer. */
static void leave_and_stand_still(void) {
    struct timespec too_long = {.tv_nsec = 200 * 1000 * 1000};
    sp_worker_stop(story.worker, 6 * DEADLINE_S * 1000, 100, on_stopped, NULL);
    for (int i = 0; i < CROWD; i++) say(crowd.clients[i], GET);
    nanosleep(&too_long, NULL);
}

static void http_asked_in_time_is_answered(void) {
    uint16_t port;
    int l = listen_on(&port);
    listen(l, CROWD);
    ENDPOINTS({port, true});
    for (int i = 0; i < CROWD; i++) {
        int c = crowd.clients[i] = dial(t.http_port);
        say(c, GET);
        int s = take(l);
        hear_head(s);
        say(s, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        close(s);
        hear_ok(c);
    }
    in_loop(leave_and_stand_still);
    for (int i = 0; i < CROWD; i++) {
        int s = take(l);
        hear_head(s);
        say(s, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        close(s);
    }
    for (int i = 0; i < CROWD; i++) {
        CHECK(strstr(hear_head(crowd.clients[i]), "200 OK"));
        close(crowd.clients[i]);
    }
    close(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(http_head_is_rewritten),
        STORY(http_keeps_connections),
        STORY(http_pipelined),
        STORY(http_pipelined_upload),
        STORY(http_chunked_both_ways),
        STORY(http_old_clients_and_servers),
        STORY(http_head_and_304),
        STORY(http_continue),
        STORY(http_upgrade),
        STORY(http_retries_when_safe),
        STORY(http_busy_services_say_so),
        STORY(http_cut_answers_look_cut),
        STORY(http_own_answers),
        STORY(http_smuggling_is_refused),
        STORY(http_removed_endpoint_finishes),
        STORY(http_large_body_to_a_slow_reader),
        STORY(http_stop_lets_requests_end),
        STORY(http_asked_in_time_is_answered),
    };
    return cmocka_run_group_tests_name("gateway_datapath", tests, NULL, NULL);
}
