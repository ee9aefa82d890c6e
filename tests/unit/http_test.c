/* Server and client against each other on loopback: what must hold on every transport. */
#include "http_world.h"

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

static void fields_arrive(setup s) {
    world *w = begin(s);
    answer a = {0};
    sp_header h[] = {{SP_STR("X-Mixed"), SP_STR("m")},
                     {SP_STR("bad"), SP_STR("a\r\nb: c")},
                     {SP_STR("cookie"), SP_STR("a=1; b=2")},
                     {SP_STR("host"), SP_STR("example.com")}};
    sp_http_call_params p = {
        .method = "GET", .target = SP_STR("/fields"), .headers = h, .header_count = SP_COUNT(h)};
    sp_http_fetch(w->client, &p, 0, fetched, &a);
    UNTIL(w, a.done);
    assert_string_equal(sp_buf_z(&a.body), "a=1; b=2|m|example.com");
    assert_string_equal(sp_buf_z(&a.path), "/fields");
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
    int asked = w->requests;
    for (uint32_t ms = 20; w->requests == asked; ms *= 2) { /* until there was time to ask */
        stream(w, "/hold", ms, &a);                         /* the answer never comes */
        UNTIL(w, a.done);
        assert_int_equal(a.err.code, SP_TIMEOUT);
        forget(&a);
    }
    UNTIL(w, w->gone == w->requests);
    asked = w->requests;
    stream(w, "/hold", 0, &a); /* the client goes, and what runs is told */
    get(w, "/hold", "GET", "", &b);
    UNTIL(w, w->requests == asked + 2);
    w->client = sp_http_client_free(w->client);
    assert_int_equal(a.err.code, SP_CANCELLED);
    assert_int_equal(b.err.code, SP_CANCELLED);
    UNTIL(w, w->gone == asked + 2);
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

/* Every answer comes with a GOAWAY: each POST runs exactly once, and what streams goes on. */
static void goaway_is_taken_rightly(void **state) {
    (void)state;
    setup s = {.tls = true, .h2 = true, .goaway_chance = 1};
    world *w = begin(s);
    enum { N = 200, AT_ONCE = 20 };
    answer held, a[AT_ONCE];
    stream(w, "/tap", 0, &held);
    sp_http_call_pause(held.call, true);
    UNTIL(w, w->tapped > 0);
    for (int i = 0; i < N; i += AT_ONCE) {
        for (int k = 0; k < AT_ONCE; k++) get(w, "/echo", "POST", "x", &a[k]);
        for (int k = 0; k < AT_ONCE; k++) {
            UNTIL(w, a[k].done);
            if (a[k].err.code) print_error("%s\n", a[k].err.text);
            assert_int_equal(a[k].status, 201);
            forget(&a[k]);
        }
    }
    assert_int_equal(w->requests, N + 1);
    sp_http_call_pause(held.call, false);
    UNTIL(w, held.done);
    assert_int_equal(held.err.code, SP_OK);
    assert_true(held.body.n == TAP_TOTAL);
    forget(&held);
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

/* What arrives is counted while it arrives, and only then. */
static void limit_of_all_uploads(setup s) {
    s.max_upload = 1000;
    world *w = begin(s);
    answer a;
    sp_auto(sp_buf) b = {0};
    for (int i = 0; i < 1001; i++) sp_buf_addc(&b, 'x');
    for (int i = 0; i < 3; i++) {
        fetch(w, "/echo", "PUT", b.p, &a);
        assert_int_equal(a.status, 503);
        forget(&a);
        fetch(w, "/echo", "PUT", b.p + 100, &a);
        assert_int_equal(a.status, 201);
        forget(&a);
    }
    assert_int_equal(w->requests, 3);
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

static void count_and_pause(void *ctx, sp_str bytes) {
    answer *a = ctx;
    if (a->got == 0) sp_http_call_pause(a->call, true);
    a->got += bytes.n;
}

static void nothing(void *ctx) {
    *(bool *)ctx = true;
}

static void a_paused_reader_holds_the_writer_back(setup s) {
    world *w = begin(s);
    answer a = {0};
    bool waited = false;
    sp_http_call_params p = {.method = "GET",
                             .target = SP_STR("/tap"),
                             .data = count_and_pause,
                             .done = stream_done,
                             .ctx = &a};
    a.call = sp_http_call_start(w->client, &p);
    UNTIL(w, a.got > 0);
    sp_timer_start(&w->loop, 150, nothing, &waited); /* time in which nothing should happen */
    UNTIL(w, waited);
    assert_true(w->tapped < TAP_TOTAL / 2);
    assert_true(a.got <= 2 << 20);
    sp_http_call_pause(a.call, false);
    UNTIL(w, a.done);
    assert_int_equal(a.err.code, SP_OK);
    assert_int_equal(a.got, TAP_TOTAL);
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
EACH(fields_arrive)
EACH(streams)
EACH(many_at_once)
EACH(restart)
EACH(graceful_stop)
EACH(server_stops_hard)
EACH(limit_of_all_uploads)
EACH(limits)
EACH(late_answers_are_harmless)
EACH(a_paused_reader_holds_the_writer_back)

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
    assert_true(sp_cert_make_ca("other CA", 1 * SP_DAY_S, &ca, &key, &err));
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
    assert_true(sp_cert_make_ca("x", 30 * SP_DAY_S, &ca, &key, &err));
    assert_true(sp_cert_days_left(sp_buf_str(&ca), &days, &err));
    assert_in_range(days, 29, 30);
    sp_cert_request r = {.common_name = "y", .server = true, .life_s = -3 * SP_DAY_S};
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
        BOTH(fields_arrive),
        BOTH(streams),
        BOTH(many_at_once),
        BOTH(restart),
        BOTH(graceful_stop),
        BOTH(server_stops_hard),
        BOTH(limit_of_all_uploads),
        BOTH(limits),
        BOTH(late_answers_are_harmless),
        BOTH(a_paused_reader_holds_the_writer_back),
        cmocka_unit_test(goaway_is_taken_rightly),
        cmocka_unit_test(strangers_are_not_believed),
        cmocka_unit_test(certificates_say_what_they_are),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
