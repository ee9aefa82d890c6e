/* Several loops with real sockets on loopback: this thread is the main loop, the client and the
 * server. Nothing sleeps: blocking sockets await what must come. */
#include "gateway/fleet.h"
#include "gateway_engine.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { LOOPS = 3, CLIENTS = 60 };

static struct {
    uv_loop_t loop;
    sp_sockets *sockets;
    sp_fleet *fleet;
    int server; /* listening */
    bool stopped;
    int listener_news;
} t;

static int listen_anywhere(uint16_t *ret_port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static void set_deadline(int fd) {
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

static int connect_to(uint16_t port) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_deadline(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* One TCP listener at `port` (0: any) to the server. */
static void apply(uint16_t port, uint16_t server_port) {
    sp_gateway_config *c = sp_gateway_config_new();
    sp_arena *a = c->arena;
    sp_route_target *target = SP_NEW(a, sp_route_target);
    *target = (sp_route_target){0, 1};
    c->pools = SP_NEW(a, sp_pool_spec);
    c->pool_count = 1;
    c->pools[0] = (sp_pool_spec){
        .name = SP_STR("ns/web:80"), .endpoints = SP_NEW(a, sp_endpoint_spec), .endpoint_count = 1};
    c->pools[0].endpoints[0] = (sp_endpoint_spec){.name = SP_STR("web-0"), .ready = true};
    assert_true(sp_addr_parse(SP_STR("127.0.0.1"), server_port, &c->pools[0].endpoints[0].addr));
    c->listeners = SP_NEW(a, sp_listener_spec);
    c->listener_count = 1;
    c->listeners[0] =
        (sp_listener_spec){.plain.targets = {target, 1, 1}, .owner = SP_STR("Service ns/web")};
    assert_true(sp_addr_parse(SP_STR("127.0.0.1"), port, &c->listeners[0].addr));
    sp_fleet_apply(t.fleet, c);
    sp_gateway_config_unref(c);
}

static void on_listeners(void *ctx) {
    (void)ctx;
    t.listener_news++;
}

static void on_stopped(void *ctx) {
    (void)ctx;
    t.stopped = true;
}

static int setup(void **state) {
    (void)state;
    sp_worker_settings s = worker_settings();
    memset(&t, 0, sizeof t);
    assert_int_equal(uv_loop_init(&t.loop), 0);
    t.sockets = sp_sockets_new(LOOPS);
    t.fleet = sp_fleet_new(&t.loop, &s, t.sockets, LOOPS);
    sp_fleet_on_listeners(t.fleet, on_listeners, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    sp_fleet_stop(t.fleet, 20000, 0, on_stopped, NULL);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    assert_true(t.stopped);
    sp_sockets_free(t.sockets);
    assert_int_equal(uv_loop_close(&t.loop), 0);
    return 0;
}

/* Sends a byte through and back on each of a number of connections. */
static void exchange(uint16_t port, int server, int count) {
    int clients[CLIENTS], servers[CLIENTS];
    char c = 0;
    for (int i = 0; i < count; i++) clients[i] = connect_to(port);
    for (int i = 0; i < count; i++) {
        servers[i] = accept(server, NULL, NULL);
        assert_true(servers[i] >= 0);
        set_deadline(servers[i]);
    }
    for (int i = 0; i < count; i++) assert_int_equal(send(clients[i], "a", 1, 0), 1);
    for (int i = 0; i < count; i++) {
        assert_int_equal(recv(servers[i], &c, 1, 0), 1);
        assert_int_equal(send(servers[i], "b", 1, 0), 1);
    }
    for (int i = 0; i < count; i++) {
        assert_int_equal(recv(clients[i], &c, 1, 0), 1);
        assert_int_equal(c, 'b');
        close(clients[i]);
    }
    for (int i = 0; i < count; i++) { /* its end came through: the loop has counted everything */
        assert_int_equal(recv(servers[i], &c, 1, 0), 0);
        close(servers[i]);
    }
}

static void test_all_loops_carry_and_the_report_adds_up(void **state) {
    (void)state;
    uint16_t server_port;
    int server = listen_anywhere(&server_port);
    apply(0, server_port);
    assert_int_equal(sp_fleet_listener_count(t.fleet), 1);
    sp_listener_state l = sp_fleet_listener(t.fleet, 0);
    assert_true(l.bound);
    exchange(l.addr.port, server, CLIENTS);
    sp_fleet_report *r = sp_fleet_collect(t.fleet);
    assert_int_equal(r->loops, LOOPS);
    assert_int_equal(r->total.connections, CLIENTS);
    size_t busy = 0;
    sp_vec_each(&r->of_loop, s) busy += s->connections > 0;
    assert_true(busy > 1); /* 60 by hash to one loop of three: never */
    assert_int_equal(r->pools.n, 1);
    assert_int_equal(r->pools.p[0].endpoints.n, 1);
    const sp_endpoint_report *e = &r->pools.p[0].endpoints.p[0];
    assert_true(sp_str_eqz(e->name, "web-0"));
    assert_int_equal(e->counts.connections, CLIENTS);
    assert_int_equal(e->counts.bytes_in, CLIENTS);
    assert_int_equal(e->counts.bytes_out, CLIENTS);
    assert_int_equal(r->listeners.p[0].connections, CLIENTS);
    sp_fleet_report_free(r);
    close(server);
}

static void test_another_configuration_leaves_connections_alone(void **state) {
    (void)state;
    uint16_t port_a, port_b;
    char c;
    int a = listen_anywhere(&port_a), b = listen_anywhere(&port_b);
    apply(0, port_a);
    uint16_t port = sp_fleet_listener(t.fleet, 0).addr.port;
    int old = connect_to(port), old_server = accept(a, NULL, NULL);
    assert_true(old_server >= 0);
    set_deadline(old_server);
    for (int i = 0; i < 20; i++) apply(0, i % 2 ? port_a : port_b);
    apply(0, port_b);
    assert_int_equal(sp_fleet_listener(t.fleet, 0).addr.port, port);
    exchange(port, b, 10);
    assert_int_equal(send(old, "x", 1, 0), 1);
    assert_int_equal(recv(old_server, &c, 1, 0), 1);
    close(old);
    close(old_server);
    close(a);
    close(b);
}

static void test_a_taken_port_is_told_and_got_later(void **state) {
    (void)state;
    uint16_t taken, server_port;
    int other = listen_anywhere(&taken), server = listen_anywhere(&server_port);
    apply(taken, server_port);
    sp_listener_state l = sp_fleet_listener(t.fleet, 0);
    assert_false(l.bound);
    assert_non_null(strstr(l.error, "already used"));
    close(other);
    while (!sp_fleet_listener(t.fleet, 0).bound) uv_run(&t.loop, UV_RUN_ONCE);
    assert_true(t.listener_news > 0);
    exchange(taken, server, 3);
    close(server);
}

static void take_over(size_t new_loops) {
    uint16_t server_port;
    int server = listen_anywhere(&server_port);
    apply(0, server_port);
    uint16_t port = sp_fleet_listener(t.fleet, 0).addr.port;
    sp_fds fds = {0}, copies = {0};
    sp_sockets_list(t.sockets, &fds);
    assert_int_equal(fds.n, LOOPS);
    sp_vec_each(&fds, fd) sp_vec_push(&copies, dup(*fd));
    /* Connections that nobody has accepted when the first fleet ends. */
    sp_fleet_stop(t.fleet, 20000, 0, on_stopped, NULL);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    sp_sockets_free(t.sockets);
    int waiting[20];
    for (size_t i = 0; i < SP_COUNT(waiting); i++) waiting[i] = connect_to(port);

    sp_worker_settings s = worker_settings();
    t.stopped = false;
    t.sockets = sp_sockets_new(new_loops);
    sp_sockets_adopt(t.sockets, copies.p, copies.n);
    t.fleet = sp_fleet_new(&t.loop, &s, t.sockets, new_loops);
    apply(port, server_port);
    assert_true(sp_fleet_listener(t.fleet, 0).bound);
    sp_sockets_drop_unused(t.sockets);
    for (size_t i = 0; i < SP_COUNT(waiting); i++) {
        char c;
        int fd = accept(server, NULL, NULL);
        assert_int_equal(send(fd, "y", 1, 0), 1);
        close(fd);
        (void)c;
    }
    for (size_t i = 0; i < SP_COUNT(waiting); i++) {
        char c;
        assert_int_equal(recv(waiting[i], &c, 1, 0), 1);
        close(waiting[i]);
    }
    exchange(port, server, 30);
    sp_vec_free(&fds);
    sp_vec_free(&copies);
    close(server);
}

static void test_fewer_loops_accept_from_all_sockets(void **state) {
    (void)state;
    take_over(1);
}

static void test_more_loops_bind_more_sockets(void **state) {
    (void)state;
    take_over(LOOPS + 2);
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_all_loops_carry_and_the_report_adds_up),
        TEST(test_another_configuration_leaves_connections_alone),
        TEST(test_a_taken_port_is_told_and_got_later),
        TEST(test_fewer_loops_accept_from_all_sockets),
        TEST(test_more_loops_bind_more_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
