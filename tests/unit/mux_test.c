/* Streams over one connection: both directions, flow control for each, ends, and a whole HTTP
 * exchange of the server and the client through it. */
#include "http_world.h"

#include "net/mux.h"

#include <sys/socket.h>
#include <unistd.h>

typedef struct ends {
    world *w;
    sp_mux *opener, *acceptor;
    int closed;
    bool keep; /* accepted sockets are kept, not served */
    int kept[8];
    int n_kept;
} ends;

static void serve(void *ctx, int fd) {
    ends *e = ctx;
    static const sp_str org = {(char *)"system:masters", 14};
    sp_tls_peer peer = {.common_name = SP_STR("boss"), .organizations = {(sp_str *)&org, 1, 1}};
    if (e->keep)
        e->kept[e->n_kept++] = fd;
    else
        sp_http_server_take(e->w->server, fd, &peer);
}

static void opener_closed(void *ctx, const sp_err *err) {
    ends *e = ctx;
    assert_int_equal(err->code, SP_CONNECTION);
    e->opener = NULL;
    e->closed++;
}
static void acceptor_closed(void *ctx, const sp_err *err) {
    ends *e = ctx;
    assert_int_equal(err->code, SP_CONNECTION);
    e->acceptor = NULL;
    e->closed++;
}

static int dial(void *ctx) {
    ends *e = ctx;
    return e->opener ? sp_mux_open(e->opener) : -1;
}

static const sp_conn_events none = {0};

static void join(ends *e) {
    static const sp_mux_events opener = {NULL, opener_closed}, acceptor = {serve, acceptor_closed};
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    e->opener = sp_mux_start(&e->w->loop, sp_conn_open(&e->w->loop, fd[0], &none, NULL), true,
                             (sp_str){0}, &opener, e);
    e->acceptor = sp_mux_start(&e->w->loop, sp_conn_open(&e->w->loop, fd[1], &none, NULL), false,
                               (sp_str){0}, &acceptor, e);
}

static world *begin_mux(ends *e) {
    world *w = begin((setup){0});
    *e = (ends){.w = w};
    join(e);
    sp_http_client_free(w->client);
    sp_http_client_config c = {.host = "node", .dial = dial, .dial_ctx = e};
    w->client = sp_http_client_new(&w->loop, &c);
    return w;
}

static void end_mux(ends *e) {
    sp_mux_free(e->opener);
    sp_mux_free(e->acceptor);
    end(e->w);
}

static void requests_go_through(void **state) {
    (void)state;
    ends e;
    world *w = begin_mux(&e);
    answer a[30];
    fetch(w, "/who", "GET", "", &a[0]);
    assert_string_equal(sp_buf_z(&a[0].body), "boss/system:masters");
    forget(&a[0]);
    fetch(w, "/big", "GET", "", &a[0]);
    assert_int_equal(a[0].body.n, 8 << 20);
    forget(&a[0]);
    for (size_t i = 0; i < SP_COUNT(a); i++) get(w, i % 2 ? "/late" : "/echo", "PUT", "x", &a[i]);
    for (size_t i = 0; i < SP_COUNT(a); i++) {
        UNTIL(w, a[i].done);
        assert_int_equal(a[i].status, i % 2 ? 200 : 201);
        forget(&a[i]);
    }
    end_mux(&e);
}

/* A stream whose reader sleeps holds one window, and the others do not notice. */
static void a_slow_stream_hurts_nobody(void **state) {
    (void)state;
    ends e;
    world *w = begin_mux(&e);
    answer slow, quick;
    stream(w, "/tap", 0, &slow);
    UNTIL(w, slow.status == 200);
    sp_http_call_pause(slow.call, true);
    for (int i = 0; i < 20; i++) {
        fetch(w, "/echo", "PUT", "quick", &quick);
        assert_int_equal(quick.status, 201);
        forget(&quick);
    }
    size_t before = w->tapped;
    assert_true(before < 8 << 20);
    for (int i = 0; i < 100; i++) uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_int_equal(w->tapped, before);
    sp_http_call_pause(slow.call, false);
    UNTIL(w, slow.done);
    assert_int_equal(slow.err.code, SP_OK);
    assert_int_equal(slow.body.n, TAP_TOTAL);
    forget(&slow);
    end_mux(&e);
}

static void ends_arrive_on_either_side(void **state) {
    (void)state;
    ends e;
    char text[64];
    world *w = begin_mux(&e);
    e.keep = true;
    int fd = sp_mux_open(e.opener);
    UNTIL(w, e.n_kept == 1);
    assert_int_equal(write(fd, "ping", 4), 4);
    shutdown(fd, SHUT_WR); /* half: the answer still comes */
    ssize_t n = 0, got = 0;
    bool ended = false;
    while (!ended) {
        uv_run(&w->loop, UV_RUN_ONCE);
        n = recv(e.kept[0], text + got, sizeof text - (size_t)got, MSG_DONTWAIT);
        if (n > 0) got += n;
        ended = n == 0;
    }
    assert_int_equal(got, 4);
    assert_memory_equal(text, "ping", 4);
    assert_int_equal(write(e.kept[0], "pong", 4), 4);
    close(e.kept[0]);
    got = 0;
    for (ended = false; !ended;) {
        uv_run(&w->loop, UV_RUN_ONCE);
        n = recv(fd, text + got, sizeof text - (size_t)got, MSG_DONTWAIT);
        if (n > 0) got += n;
        ended = n == 0;
    }
    assert_memory_equal(text, "pong", 4);
    close(fd);
    UNTIL(w, sp_mux_streams(e.opener) == 0 && sp_mux_streams(e.acceptor) == 0);
    end_mux(&e);
}

static void a_broken_tunnel_ends_everything(void **state) {
    (void)state;
    ends e;
    world *w = begin_mux(&e);
    answer a, b;
    stream(w, "/hold", 0, &a);
    UNTIL(w, w->requests == 1);
    sp_mux_free(sp_steal(e.acceptor));
    UNTIL(w, e.closed == 1 && a.done && w->gone == 1);
    assert_int_equal(a.err.code, SP_CONNECTION);
    fetch(w, "/echo", "PUT", "x", &b); /* no way there */
    assert_int_equal(b.err.code, SP_CONNECTION);
    forget(&a);
    forget(&b);
    join(&e);
    fetch(w, "/echo", "PUT", "x", &b); /* and again one */
    assert_int_equal(b.status, 201);
    forget(&b);
    end_mux(&e);
}

static void rubbish_ends_it(void **state) {
    (void)state;
    ends e = {.w = begin((setup){0})};
    static const sp_mux_events acceptor = {serve, acceptor_closed};
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    e.acceptor = sp_mux_start(&e.w->loop, sp_conn_open(&e.w->loop, fd[1], &none, NULL), false,
                              (sp_str){0}, &acceptor, &e);
    assert_int_equal(write(fd[0], "GET / HTTP/1.1\r\n\r\n                ", 34), 34);
    UNTIL(e.w, e.closed == 1);
    close(fd[0]);
    end_mux(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_go_through),
        cmocka_unit_test(a_slow_stream_hurts_nobody),
        cmocka_unit_test(ends_arrive_on_either_side),
        cmocka_unit_test(a_broken_tunnel_ends_everything),
        cmocka_unit_test(rubbish_ends_it),
    };
    return cmocka_run_group_tests_name("mux", tests, NULL, NULL);
}
