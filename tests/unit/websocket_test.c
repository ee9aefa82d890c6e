/* WebSocket: the parser against RFC 6455 frame by frame, and whole endpoints over the server's and
 * the client's upgrade. */
#include "http_world.h"

#include "net/websocket.h"

/* --- the parser --- */

typedef struct seen {
    sp_buf log; /* "t[he|llo]" "p[x]" … */
    bool stop;
} seen;

static bool on_piece(void *ctx, sp_str s, bool text, bool first, bool last) {
    seen *v = ctx;
    if (first) sp_buf_addz(&v->log, text ? "t[" : "b[");
    sp_buf_add(&v->log, s);
    if (last) sp_buf_addz(&v->log, "]");
    return !v->stop;
}

static bool on_control(void *ctx, sp_ws_op op, sp_str s) {
    seen *v = ctx;
    sp_buf_printf(&v->log, "%s(%.*s)",
                  op == SP_WS_PING   ? "ping"
                  : op == SP_WS_PONG ? "pong"
                                     : "close",
                  SP_ARG(s));
    return !v->stop;
}

static const sp_ws_sink sink = {on_piece, on_control};

/* Fed in pieces of this size; the code, and the log in *ret. */
static unsigned parse(sp_str in, bool server, size_t piece, sp_buf *ret) {
    seen v = {0};
    sp_ws_parser p = {.server = server};
    sp_auto(sp_buf) copy = {0};
    unsigned code = SP_WS_NORMAL;
    sp_buf_add(&copy, in);
    for (size_t at = 0; at < copy.n && code == SP_WS_NORMAL; at += piece)
        code = sp_ws_parse(&p, copy.p + at, SP_MIN(piece, copy.n - at), &sink, &v);
    *ret = v.log;
    return code;
}

#define B(s) \
    { s, sizeof s - 1 }
static const struct {
    sp_str in;
    const char *log;
    unsigned code;
} frames[] = {
    {B("\x81\x05Hello"), "t[Hello]", 1000},
    {B("\x01\x03Hel\x80\x02lo"), "t[Hello]", 1000},
    {B("\x01\x03Hel\x89\x01x\x80\x02lo"), "t[Helping(x)lo]", 1000},
    {B("\x82\x00"), "b[]", 1000},
    {B("\x02\x00\x00\x00\x80\x01z"), "b[z]", 1000},
    {B("\x8a\x00"), "pong()", 1000},
    {B("\x88\x02\x03\xe8"), "close(\x03\xe8)", 1000},
    {B("\x81\x03\xe2\x82\xac"), "t[\xe2\x82\xac]", 1000},
    {B("\x01\x01\xe2\x80\x02\x82\xac"), "t[\xe2\x82\xac]", 1000},
    {B("\x81\x02\xc0\xaf"), "", 1007},         /* overlong */
    {B("\x81\x03\xed\xa0\x80"), "", 1007},     /* a surrogate */
    {B("\x81\x04\xf4\x90\x80\x80"), "", 1007}, /* beyond U+10FFFF */
    {B("\x81\x01\xe2"), "", 1007},             /* cut off */
    {B("\x01\x01\xe2\x80\x01x"), "", 1007},
    {B("\x80\x01x"), "", 1002},             /* nothing to continue */
    {B("\x01\x01x\x81\x01y"), "t[x", 1002}, /* a message within a message */
    {B("\xc1\x01x"), "", 1002},             /* a reserved bit */
    {B("\x83\x00"), "", 1002},              /* an unknown opcode */
    {B("\x09\x00"), "", 1002},              /* a control frame in fragments */
    {B("\x89\x7e\x00\x7e"), "", 1002},      /* and one that is too long */
    {B("\x81\x7e\x00\x05Hello"), "", 1002}, /* not the shortest length */
    {B("\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05Hello"), "", 1002},
    {B("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), "", 1002},     /* 2^63 */
    {B("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "", 1002}, /* masked by a server */
};

static void frames_one_by_one(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(frames); i++)
        for (size_t piece = 1; piece < 20; piece++) {
            sp_auto(sp_buf) log = {0};
            unsigned code = parse(frames[i].in, false, piece, &log);
            if (code != frames[i].code) print_error("case %zu in pieces of %zu\n", i, piece);
            assert_int_equal(code, frames[i].code);
            /* Of a text that turns out broken, what came before may have been given. */
            if (code != SP_WS_BAD_TEXT) assert_string_equal(sp_buf_z(&log), frames[i].log);
        }
}

static void masks_are_taken_off(void **state) {
    (void)state;
    sp_auto(sp_buf) log = {0}, none = {0};
    assert_int_equal(parse(SP_STR("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), true, 3, &log),
                     1000);
    assert_string_equal(sp_buf_z(&log), "t[Hello]");
    assert_int_equal(parse(SP_STR("\x81\x05Hello"), true, 3, &none), 1002); /* must be masked */
}

static void close_codes(void **state) {
    (void)state;
    static const struct {
        sp_str payload;
        bool ok;
        unsigned code;
    } cases[] = {
        {{"", 0}, true, 1005},
        {B("\x03"), false, 0},
        {B("\x03\xe8"), true, 1000},
        {B("\x03\xe8"
           "bye"),
         true, 1000},
        {B("\x03\xed"), false, 0} /* 1005 is not for the wire */,
        {B("\x03\xe7"), false, 0},
        {B("\x0f\xa0"), true, 4000},
        {B("\x13\x88"), false, 0},
        {B("\x03\xe8\xff"), false, 0},
        {B("\x03\xe8\xe2\x82"), false, 0},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        unsigned code;
        sp_str reason;
        assert_int_equal(sp_ws_close_code(cases[i].payload, &code, &reason), cases[i].ok);
        if (cases[i].ok) assert_int_equal(code, cases[i].code);
    }
}

static void the_handshake_is_that_of_the_rfc(void **state) {
    (void)state;
    char accept[SP_WS_ACCEPT_SIZE];
    sp_ws_accept(SP_STR("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    static const struct {
        const char *version, *key;
        bool ok;
    } cases[] = {{"13", "dGhlIHNhbXBsZSBub25jZQ==", true},
                 {"8", "dGhlIHNhbXBsZSBub25jZQ==", false},
                 {"13", "dGhlIHNhbXBsZSBub25jZQ", false},
                 {"13", "dGhlIHNhbXBsZSBub25j!!==", false},
                 {"13", "", false}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_header h[] = {{SP_STR("sec-websocket-version"), sp_str_z(cases[i].version)},
                         {SP_STR("sec-websocket-key"), sp_str_z(cases[i].key)},
                         {SP_STR("sec-websocket-protocol"), SP_STR("old, new")}};
        sp_str key;
        sp_err err;
        assert_int_equal(sp_ws_check(h, 3, &key, &err), cases[i].ok);
        assert_string_equal(sp_ws_choose(h, 3, (const char *const[]){"newest", "new", "old", NULL}),
                            "new");
        assert_null(sp_ws_choose(h, 3, (const char *const[]){"ne", NULL}));
    }
}

/* --- endpoints --- */

typedef struct side {
    sp_ws *ws;
    sp_buf got;
    int messages, drains;
    unsigned code; /* 0: open */
    bool echo, refused;
    size_t to_send;
    sp_http_call *call;
    sp_err err;
} side;

static void side_piece(void *ctx, sp_str s, bool text, bool first, bool last) {
    side *d = ctx;
    (void)text, (void)first;
    sp_buf_add(&d->got, s);
    d->messages += last;
    if (d->echo && last) {
        sp_ws_send(d->ws, SP_STR("echo "), sp_buf_str(&d->got));
        sp_buf_clear(&d->got);
    }
}

static void side_drain(void *ctx) {
    side *d = ctx;
    static char piece[16384];
    while (d->to_send && sp_ws_pending(d->ws) < SP_CONN_WINDOW) {
        sp_ws_send(d->ws, (sp_str){piece, sizeof piece}, (sp_str){0});
        d->to_send -= SP_MIN(d->to_send, sizeof piece);
    }
    d->drains++;
}

static void side_closed(void *ctx, unsigned code) {
    side *d = ctx;
    d->ws = NULL;
    d->code = code;
}

static const sp_ws_events side_events = {side_piece, side_drain, side_closed};

static side there; /* of the server */

static void server_took(void *ctx, sp_conn *io, sp_str early) {
    (void)ctx;
    sp_ws_start(io, true, early, &side_events, &there, &there.ws);
}

static void ws_handler(void *ctx, sp_http_req *q, sp_http_res *r) {
    (void)ctx;
    char accept[SP_WS_ACCEPT_SIZE];
    sp_str key;
    sp_err err;
    if (!sp_str_eqz(sp_http_upgrade_offer(q), "websocket") ||
        !sp_ws_check(q->headers, q->header_count, &key, &err)) {
        sp_http_reply(r, 400, NULL, 0, SP_STR("no"));
        return;
    }
    sp_ws_accept(key, accept);
    sp_header h[] = {{SP_STR("upgrade"), SP_STR("websocket")},
                     {SP_STR("sec-websocket-accept"), sp_str_z(accept)}};
    sp_http_switch(r, h, 2, server_took, NULL);
}

static void client_took(void *ctx, const sp_header *h, size_t n, sp_conn *io, sp_str early) {
    side *d = ctx;
    assert_string_equal(
        sp_str_eqz(sp_headers_get(h, n, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            ? "ok"
            : "no",
        "ok");
    sp_ws_start(io, false, early, &side_events, d, &d->ws);
}

static void client_done(void *ctx, const sp_err *err) {
    side *d = ctx;
    d->refused = true;
    if (err) d->err = *err;
}

static void dial_ws(world *w, side *d) {
    static const sp_header h[] = {
        {SP_STR_INIT("connection"), SP_STR_INIT("keep-alive, Upgrade")},
        {SP_STR_INIT("upgrade"), SP_STR_INIT("websocket")},
        {SP_STR_INIT("sec-websocket-version"), SP_STR_INIT("13")},
        {SP_STR_INIT("sec-websocket-key"), SP_STR_INIT("dGhlIHNhbXBsZSBub25jZQ==")}};
    sp_http_call_params p = {.method = "GET",
                             .target = SP_STR("/"),
                             .headers = h,
                             .header_count = 4,
                             .once = true,
                             .upgraded = client_took,
                             .done = client_done,
                             .ctx = d};
    d->call = sp_http_call_start(w->client, &p);
}

static world *begin_ws(bool tls) {
    setup s = {.tls = tls, .handler = ws_handler};
    there = (side){0};
    return begin(s);
}

static void end_ws(world *w, side *d) {
    sp_ws_free(d->ws);
    sp_ws_free(there.ws);
    sp_buf_free(&d->got);
    sp_buf_free(&there.got);
    end(w);
}

static void echo(bool tls) {
    world *w = begin_ws(tls);
    side d = {0};
    there.echo = true;
    dial_ws(w, &d);
    UNTIL(w, d.ws);
    sp_ws_send(d.ws, SP_STR("a"), SP_STR("bc"));
    UNTIL(w, d.messages == 1);
    assert_string_equal(sp_buf_z(&d.got), "echo abc");
    sp_ws_close(sp_steal(d.ws), SP_WS_NORMAL, "done");
    UNTIL(w, there.code);
    assert_int_equal(there.code, SP_WS_NORMAL);
    assert_null(there.ws);
    end_ws(w, &d);
}

static void echo_plain(void **state) {
    (void)state;
    echo(false);
}
static void echo_tls(void **state) {
    (void)state;
    echo(true);
}

static void slow_readers_hold_writers_back(void **state) {
    (void)state;
    enum { TOTAL = 8 << 20 };
    for (int tls = 0; tls < 2; tls++) {
        world *w = begin_ws(tls);
        side d = {0};
        dial_ws(w, &d);
        UNTIL(w, d.ws && there.ws);
        sp_ws_pause(d.ws, true);
        there.to_send = TOTAL;
        side_drain(&there);
        for (int i = 0; i < 200; i++) {
            uv_run(&w->loop, UV_RUN_NOWAIT);
            assert_true(sp_ws_pending(there.ws) < 4 * SP_CONN_WINDOW);
        }
        assert_true(there.to_send > 0);
        sp_ws_pause(d.ws, false);
        UNTIL(w, d.got.n == TOTAL);
        end_ws(w, &d);
    }
}

static void the_server_stops_without_it(void **state) {
    (void)state;
    world *w = begin_ws(false);
    side d = {0};
    there.echo = true;
    dial_ws(w, &d);
    UNTIL(w, d.ws && there.ws);
    sp_ws_send(d.ws, SP_STR("1"), (sp_str){0});
    sp_ws_send(d.ws, SP_STR("2"), (sp_str){0});
    UNTIL(w, d.messages == 2);
    assert_string_equal(sp_buf_z(&d.got), "echo 1echo 2");
    sp_http_server_stop(w->server, 0, on_stopped, w); /* knows nothing of it any more */
    UNTIL(w, w->stopped);
    sp_ws_send(d.ws, SP_STR("3"), (sp_str){0});
    UNTIL(w, d.messages == 3);
    end_ws(w, &d);
}

static void a_refusal_is_an_answer(void **state) {
    (void)state;
    world *w = begin_ws(false);
    answer a;
    fetch(w, "/", "GET", "", &a);
    assert_int_equal(a.status, 400);
    forget(&a);
    side d = {0};
    end_ws(w, &d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_one_by_one),
        cmocka_unit_test(masks_are_taken_off),
        cmocka_unit_test(close_codes),
        cmocka_unit_test(the_handshake_is_that_of_the_rfc),
        cmocka_unit_test(echo_plain),
        cmocka_unit_test(echo_tls),
        cmocka_unit_test(slow_readers_hold_writers_back),
        cmocka_unit_test(the_server_stops_without_it),
        cmocka_unit_test(a_refusal_is_an_answer),
    };
    return cmocka_run_group_tests_name("websocket", tests, NULL, NULL);
}
