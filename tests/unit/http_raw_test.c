/* The server against raw bytes: old, odd, slow and hostile clients. And our client against servers
 * that hang up. */
#include "http_world.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static const setup plain = {0};

typedef struct raw {
    sp_conn *conn;
    sp_buf got;
    sp_str say;
    bool closed;
} raw;

static void raw_ready(void *ctx) {
    raw *r = ctx;
    sp_outq_add(sp_conn_out(r->conn), r->say);
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

static raw *say_bytes(world *w, sp_str bytes) {
    raw *r = sp_zalloc(1, sizeof *r);
    r->say = bytes;
    r->conn = sp_conn_connect(&w->loop, "127.0.0.1", w->port, NULL, NULL, &raw_events, r);
    return r;
}

static raw *say(world *w, const char *text) {
    return say_bytes(w, sp_str_z(text));
}

static void say_more(raw *r, sp_str bytes) {
    sp_outq_add(sp_conn_out(r->conn), bytes);
    sp_conn_wake(r->conn);
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
    say_more(r, SP_STR("ok"));
    UNTIL(w, has(r, "\r\n\r\nok"));
    raw_free(r);
    end(w);
}

static void slow_clients_are_shown_out(void **state) {
    (void)state;
    setup s = plain;
    s.header_ms = 300; /* enough for one who says it at once, however slow the machine */
    s.idle_ms = 400;
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
    s.idle_ms = 400;
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

/* A name gives several addresses; the first may refuse. */
static void names_and_ipv6_work(void **state) {
    (void)state;
    world *w = begin(plain);
    sp_http_client_config c = {.host = "localhost", .port = w->port};
    sp_http_client_free(w->client);
    w->client = sp_http_client_new(&w->loop, &c);
    answer a;
    fetch(w, "/late", "GET", "", &a);
    assert_int_equal(a.err.code, SP_OK);
    forget(&a);
    sp_http_server_config v6 = {.host = "::1", .handler = handler, .ctx = w};
    sp_http_server *s = NULL;
    sp_err err = {0};
    if (sp_http_server_start(&w->loop, &v6, &s, &err)) { /* not every machine has IPv6 */
        c = (sp_http_client_config){.host = "::1", .port = sp_http_server_port(s)};
        sp_http_client_free(w->client);
        w->client = sp_http_client_new(&w->loop, &c);
        fetch(w, "/late", "GET", "", &a);
        assert_string_equal(sp_buf_z(&a.body), "late");
        forget(&a);
        sp_http_server_stop(s, 0, NULL, NULL);
    }
    c = (sp_http_client_config){.host = "no-such-host.invalid", .port = 1};
    sp_http_client_free(w->client);
    w->client = sp_http_client_new(&w->loop, &c);
    fetch(w, "/late", "GET", "", &a);
    assert_int_equal(a.err.code, SP_CONNECTION);
    assert_non_null(strstr(a.err.text, "connect to no-such-host.invalid:1: "));
    end(w);
}

/* --- slow by trickling --- */

typedef struct trickle {
    raw *r;
    const char *byte;
} trickle;

static void drip(void *ctx) {
    trickle *t = ctx;
    if (t->r->conn) say_more(t->r, sp_str_z(t->byte));
}

static void trickling_wins_no_time(void **state) {
    (void)state;
    setup s = plain;
    s.header_ms = 60;
    world *w = begin(s);
    raw *head = say(w, "GET / HTTP/1.1\r\nA: "),
        *body = say(w, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    trickle a = {head, "a"}, b = {body, "b"};
    sp_timer *ta = sp_timer_every(&w->loop, 5, drip, &a),
             *tb = sp_timer_every(&w->loop, 5, drip, &b);
    UNTIL(w, head->closed && body->closed);
    assert_true(has(head, "408 ") && has(body, "408 ")); /* before the body was whole */
    sp_timer_stop(ta);
    sp_timer_stop(tb);
    raw_free(head);
    raw_free(body);
    end(w);
}

/* --- HTTP/2 frames by hand --- */

enum { F_DATA, F_HEADERS, F_PRIORITY, F_RST, F_SETTINGS, F_PUSH, F_PING, F_GOAWAY, F_WINDOW };
enum { END_STREAM = 1, END_HEADERS = 4 };

static void frame(sp_buf *b, int type, int flags, uint32_t stream, sp_str payload) {
    char hd[9] = {(char)(payload.n >> 16),
                  (char)(payload.n >> 8),
                  (char)payload.n,
                  (char)type,
                  (char)flags,
                  (char)(stream >> 24),
                  (char)(stream >> 16),
                  (char)(stream >> 8),
                  (char)stream};
    sp_buf_add(b, (sp_str){hd, 9});
    sp_buf_add(b, payload);
}

static void preface(sp_buf *b) {
    sp_buf_addz(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    frame(b, F_SETTINGS, 0, 0, (sp_str){0});
}

/* GET http://x<path>: three indexed fields of HPACK's table, the path as text. */
static void request(sp_buf *b, uint32_t stream, int flags, const char *path) {
    sp_auto(sp_buf) p = {0};
    sp_buf_add(&p, SP_STR("\x82\x86\x41\x01x\x04"));
    sp_buf_addc(&p, (char)strlen(path));
    sp_buf_addz(&p, path);
    frame(b, F_HEADERS, flags | END_HEADERS, stream, sp_buf_str(&p));
}

static int count_frames(const raw *r, int type, sp_str *ret_last) {
    int n = 0;
    sp_str s = sp_buf_str(&r->got);
    while (s.n >= 9) {
        const unsigned char *u = (const unsigned char *)s.p;
        size_t len = (size_t)u[0] << 16 | (size_t)u[1] << 8 | u[2];
        if (s.n < 9 + len) break;
        if (u[3] == type) {
            n++;
            if (ret_last) *ret_last = sp_str_sub(s, 9, len);
        }
        s = sp_str_from(s, 9 + len);
    }
    return n;
}

static void h2c_by_prior_knowledge(void **state) {
    (void)state;
    world *w = begin(plain);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    request(&b, 1, END_STREAM, "/late");
    request(&b, 3, END_STREAM, "/nowhere");
    raw *r = say_bytes(w, sp_str_sub(sp_buf_str(&b), 0, 2)); /* even in pieces */
    UNTIL(w, r->conn && sp_conn_sent(r->conn) == 2);
    say_more(r, sp_str_from(sp_buf_str(&b), 2));
    UNTIL(w, count_frames(r, F_DATA, NULL) == 2);
    assert_true(has(r, "late") && has(r, "no such path"));
    raw_free(r);
    end(w);
}

static void cookies_in_pieces_are_joined(void **state) {
    (void)state;
    world *w = begin(plain);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    frame(&b, F_HEADERS, END_HEADERS | END_STREAM, 1,
          SP_STR("\x82\x86\x41\x01x\x04\x07/fields\x60\x03"
                 "a=1\x60\x03"
                 "b=2\x60\x03"
                 "c=3"));
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, count_frames(r, F_DATA, NULL) == 1);
    assert_true(has(r, "a=1; b=2; c=3||x"));
    raw_free(r);
    end(w);
}

static void rapid_resets_end_the_connection(void **state) {
    (void)state;
    world *w = begin(plain);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    for (uint32_t id = 1; id < 4000; id += 2) {
        request(&b, id, END_STREAM, "/late");
        frame(&b, F_RST, 0, id, SP_STR("\0\0\0\x8"));
    }
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, r->closed);
    sp_str goaway = {0};
    assert_int_equal(count_frames(r, F_GOAWAY, &goaway), 1);
    assert_int_equal(goaway.p[7], 0xb); /* ENHANCE_YOUR_CALM */
    assert_true(w->requests < 1000);
    raw_free(r);
    end(w);
}

static void streams_at_once_are_limited(void **state) {
    (void)state;
    world *w = begin(plain);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    for (uint32_t id = 1; id < 601; id += 2) request(&b, id, END_STREAM, "/late");
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, count_frames(r, F_DATA, NULL) == 250);
    assert_int_equal(w->requests, 250);
    assert_int_equal(count_frames(r, F_RST, NULL), 50);
    raw_free(r);
    end(w);
}

static void a_stream_without_window_holds_its_bytes(void **state) {
    (void)state;
    setup s = plain;
    s.idle_ms = 400;
    world *w = begin(s);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    request(&b, 1, END_STREAM, "/flood");
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, count_frames(r, F_DATA, NULL) >= 4);
    assert_true(w->held && sp_http_pending(w->held) > 31 << 20);
    UNTIL(w, w->gone == 1); /* nothing moves: dropped */
    assert_true(r->got.n < 80000);
    raw_free(r);
    end(w);
}

static void stalled_uploads_and_idle_connections_end(void **state) {
    (void)state;
    setup s = plain;
    s.header_ms = 300;
    s.idle_ms = 400;
    world *w = begin(s);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    request(&b, 1, 0, "/echo"); /* no END_STREAM, no DATA */
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, r->closed);
    assert_int_equal(count_frames(r, F_RST, NULL), 1);
    assert_int_equal(count_frames(r, F_GOAWAY, NULL), 2); /* notice, and the true end */
    assert_int_equal(w->requests, 0);
    raw_free(r);
    end(w);
}

/* The id in the last GOAWAY so far; -1: none. */
static int64_t last_of_goaway(const raw *r) {
    sp_str p = {0};
    if (!count_frames(r, F_GOAWAY, &p)) return -1;
    const unsigned char *u = (const unsigned char *)p.p;
    return (int64_t)u[0] << 24 | u[1] << 16 | u[2] << 8 | u[3];
}

/* Answers the newest PING. */
static void answer_ping(raw *r, sp_buf *b) {
    sp_str opaque;
    assert_int_equal(count_frames(r, F_PING, &opaque), 1);
    frame(b, F_PING, 1, 0, opaque);
}

static void goaway_takes_two_steps_and_harms_nothing(void **state) {
    (void)state;
    setup s = plain;
    s.goaway_chance = 1;
    world *w = begin(s);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    request(&b, 1, END_STREAM, "/hold");
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, count_frames(r, F_GOAWAY, NULL) == 1);
    assert_int_equal(last_of_goaway(r), INT32_MAX);
    sp_buf_clear(&b);
    request(&b, 3, END_STREAM, "/echo"); /* crossed the notice on the wire */
    answer_ping(r, &b);
    request(&b, 5, END_STREAM, "/echo"); /* sent although it had read the notice */
    say_more(r, sp_buf_str(&b));
    UNTIL(w, count_frames(r, F_GOAWAY, NULL) == 2);
    assert_int_equal(last_of_goaway(r), 3);
    assert_int_equal(w->requests, 2); /* 5 was told that nobody looked at it */
    sp_buf_clear(&b);
    request(&b, 7, END_STREAM, "/echo");
    frame(&b, F_PING, 0, 0, SP_STR("12345678")); /* to know when 7 was read */
    say_more(r, sp_buf_str(&b));
    UNTIL(w, count_frames(r, F_PING, NULL) == 2);
    assert_int_equal(w->requests, 2);
    assert_false(r->closed); /* stream 1 still waits for its answer */
    sp_http_reply(w->held, 200, NULL, 0, SP_STR("worth waiting for"));
    UNTIL(w, r->closed);
    assert_true(has(r, "worth waiting for"));
    raw_free(r);
    end(w);
}

static void a_notice_nobody_answers_ends_too(void **state) {
    (void)state;
    setup s = plain;
    s.goaway_chance = 1;
    s.header_ms = 300;
    world *w = begin(s);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    request(&b, 1, END_STREAM, "/late");
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, r->closed);
    assert_true(has(r, "late"));
    assert_int_equal(count_frames(r, F_GOAWAY, NULL), 2);
    assert_int_equal(last_of_goaway(r), 1);
    raw_free(r);
    end(w);
}

static void stopping_says_goaway_and_waits_for_answers(void **state) {
    (void)state;
    world *w = begin(plain);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    request(&b, 1, END_STREAM, "/hold");
    raw *r = say_bytes(w, sp_buf_str(&b));
    UNTIL(w, w->requests == 1);
    sp_http_server_stop(w->server, 60000, on_stopped, w);
    UNTIL(w, count_frames(r, F_GOAWAY, NULL) == 1);
    sp_buf_clear(&b);
    answer_ping(r, &b);
    say_more(r, sp_buf_str(&b));
    UNTIL(w, count_frames(r, F_GOAWAY, NULL) == 2);
    sp_http_reply(w->held, 200, NULL, 0, SP_STR("farewell"));
    UNTIL(w, r->closed && w->stopped);
    assert_true(has(r, "farewell"));
    raw_free(r);
    end(w);
}

static void broken_frames_end_the_connection(void **state) {
    (void)state;
    world *w = begin(plain);
    w->h2 = true;
    sp_auto(sp_buf) b = {0};
    preface(&b);
    frame(&b, F_HEADERS, END_HEADERS | END_STREAM, 2, SP_STR("\x82")); /* an even stream */
    raw *r = say_bytes(w, sp_buf_str(&b)), *q = say(w, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    UNTIL(w, r->closed && q->closed);
    assert_int_equal(count_frames(r, F_GOAWAY, NULL), 1);
    raw_free(r);
    raw_free(q);
    end(w);
}

/* --- our client against servers that hang up --- */

typedef struct rude {
    uv_tcp_t listener;
    sp_conn *conns[8];
    int n, requests;
    int answers; /* how many requests get one; then the server hangs up without a word */
    uint16_t port;
} rude;

static void rude_data(void *ctx, char *p, size_t n) {
    (void)p, (void)n;
    rude *s = ctx;
    s->requests++;
    sp_conn *c = s->conns[s->n - 1];
    if (s->requests > s->answers) {
        sp_conn_free(c);
        s->conns[s->n - 1] = NULL;
        return;
    }
    sp_outq_add(sp_conn_out(c), SP_STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    sp_conn_wake(c);
}

static void rude_closed(void *ctx, const sp_err *err) {
    (void)ctx, (void)err;
}

static void rude_accept(uv_stream_t *l, int status) {
    static const sp_conn_events ev = {NULL, rude_data, raw_nothing, raw_nothing, rude_closed};
    (void)status;
    rude *s = l->data;
    s->conns[s->n++] = sp_conn_accept(l, NULL, &ev, s);
}

static void rude_start(world *w, rude *s) {
    struct sockaddr_in a;
    int n = sizeof a;
    uv_ip4_addr("127.0.0.1", 0, &a);
    uv_tcp_init(&w->loop, &s->listener);
    s->listener.data = s;
    uv_tcp_bind(&s->listener, (struct sockaddr *)&a, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&s->listener, 8, rude_accept), 0);
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&a, &n);
    s->port = ntohs(a.sin_port);
    sp_http_client_free(w->client);
    sp_http_client_config c = {.host = "127.0.0.1", .port = s->port, .connect_timeout_ms = 60000};
    w->client = sp_http_client_new(&w->loop, &c);
}

static void rude_stop(rude *s) {
    for (int i = 0; i < s->n; i++)
        if (s->conns[i]) sp_conn_free(s->conns[i]);
    uv_close((uv_handle_t *)&s->listener, NULL);
}

static void what_may_be_repeated_is_repeated_once(void **state) {
    (void)state;
    static const struct {
        const char *method;
        int requests; /* seen by the server, which never answers */
    } cases[] = {{"GET", 2}, {"PUT", 2}, {"POST", 1}, {"PATCH", 1}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        world *w = begin(plain);
        rude s = {0};
        answer a;
        rude_start(w, &s);
        fetch(w, "/x", cases[i].method, "", &a);
        assert_int_equal(a.err.code, SP_CONNECTION);
        assert_int_equal(s.requests, cases[i].requests);
        rude_stop(&s);
        end(w);
    }
}

static void a_dead_kept_connection_is_replaced(void **state) {
    (void)state;
    world *w = begin(plain);
    rude s = {.answers = 100};
    answer a;
    rude_start(w, &s);
    fetch(w, "/x", "POST", "", &a);
    assert_int_equal(a.status, 200);
    forget(&a);
    fetch(w, "/x", "POST", "", &a);
    assert_int_equal(s.n, 1); /* kept */
    forget(&a);
    sp_conn_free(sp_steal(s.conns[0])); /* the server closes it while idle */
    uv_run(&w->loop, UV_RUN_NOWAIT);
    fetch(w, "/x", "POST", "", &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(s.n, 2);
    forget(&a);
    rude_stop(&s);
    end(w);
}

static void a_silent_server_is_given_up(void **state) {
    (void)state;
    setup t = {.tls = true};
    world *w = begin(t);
    rude s = {0};
    answer a;
    rude_start(w, &s);
    sp_http_client_free(w->client);
    sp_http_client_config c = {
        .host = "127.0.0.1", .port = s.port, .tls = w->client_tls, .connect_timeout_ms = 30};
    uv_close((uv_handle_t *)&s.listener, NULL);
    uv_run(&w->loop, UV_RUN_NOWAIT);
    /* A listener nobody accepts from: connected by the kernel, silent for ever. */
    struct sockaddr_in addr;
    uv_ip4_addr("127.0.0.1", s.port, &addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 1), 0);
    w->client = sp_http_client_new(&w->loop, &c);
    fetch(w, "/x", "GET", "", &a);
    assert_int_equal(a.err.code, SP_CONNECTION);
    assert_non_null(strstr(a.err.text, "no answer within 30 ms"));
    close(fd);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(broken_requests_get_a_reason_and_the_door),
        cmocka_unit_test(old_clients_and_odd_targets_work),
        cmocka_unit_test(slow_clients_are_shown_out),
        cmocka_unit_test(a_reader_that_stops_is_dropped_and_holds_no_memory),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(a_used_port_is_named),
        cmocka_unit_test(names_and_ipv6_work),
        cmocka_unit_test(trickling_wins_no_time),
        cmocka_unit_test(h2c_by_prior_knowledge),
        cmocka_unit_test(cookies_in_pieces_are_joined),
        cmocka_unit_test(rapid_resets_end_the_connection),
        cmocka_unit_test(streams_at_once_are_limited),
        cmocka_unit_test(a_stream_without_window_holds_its_bytes),
        cmocka_unit_test(stalled_uploads_and_idle_connections_end),
        cmocka_unit_test(goaway_takes_two_steps_and_harms_nothing),
        cmocka_unit_test(a_notice_nobody_answers_ends_too),
        cmocka_unit_test(stopping_says_goaway_and_waits_for_answers),
        cmocka_unit_test(broken_frames_end_the_connection),
        cmocka_unit_test(what_may_be_repeated_is_repeated_once),
        cmocka_unit_test(a_dead_kept_connection_is_replaced),
        cmocka_unit_test(a_silent_server_is_given_up),
    };
    return cmocka_run_group_tests_name("http_raw", tests, NULL, NULL);
}
