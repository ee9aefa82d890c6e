/* What leaves a turn together, on real sockets and the kernel's ring: that nothing is lost, told
 * twice or out of order, also where the kernel takes less than all or refuses to go on. */
#include "base/vec.h"
#include "gateway/poller.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MANY = 300, PIECE = 2000, TURNS = 100 };

typedef struct end {
    sp_io io;
    int peer; /* the other end, not in the poller; -1 = closed */
    void (*act)(struct end *e);
    int events;
    bool batched;    /* the last send */
    size_t accepted; /* bytes that were sent and not given back */
    int error;
    bool full, in_part;
    struct end *more; /* for act */
} end;

static struct {
    uv_loop_t loop;
    sp_poller *poller;
    end ends[MANY];
} t;

static char pattern(size_t i) {
    return (char)(i * 31 + i / 251);
}

static void on_unsent(void *ctx, sp_io *io, sp_str rest, int error) {
    end *e = SP_CONTAINER(io, end, io);
    assert_ptr_equal(ctx, &t);
    e->accepted -= rest.n;
    e->error = error;
    e->full = !error;
    e->in_part |= !error && rest.n < PIECE;
    for (size_t i = 0; i < rest.n; i++) assert_int_equal(rest.p[i], pattern(e->accepted + i));
}

static void on_event(sp_io *io) {
    end *e = SP_CONTAINER(io, end, io);
    e->events++;
    if (e->act) e->act(e);
}

/* Small buffers and windows: the kernel takes a part of what it is given, now and then. */
static int tcp_socket(void) {
    int small = 2048, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    return fd;
}

static void add(end *e) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = tcp_socket(), listener = tcp_socket();
    assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&a, &len);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
    *e = (end){.peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    assert_true(e->peer >= 0);
    close(listener);
    (void)fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
    assert_true(sp_poller_add(t.poller, &e->io, fd, on_event));
}

static int setup(void **state) {
    sp_engine engine;
    sp_err err;
    (void)state;
    memset(&t, 0, sizeof t);
    assert_true(sp_engine_choose("auto", &engine, &err));
    uv_loop_init(&t.loop);
    t.poller = sp_poller_new(&t.loop, engine);
    sp_poller_on_unsent(t.poller, on_unsent, &t);
    for (int i = 0; i < MANY; i++) t.ends[i] = (end){.io.fd = -1, .peer = -1};
    return 0;
}

/* By a reset. */
static void close_peer(end *e) {
    struct linger now = {.l_onoff = 1};
    if (e->peer < 0) return;
    setsockopt(e->peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(e->peer);
    e->peer = -1;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < MANY; i++) {
        sp_io_close(&t.ends[i].io);
        close_peer(&t.ends[i]);
    }
    t.poller = sp_poller_free(t.poller);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&t.loop);
}

static void turn(void) {
    uv_run(&t.loop, UV_RUN_NOWAIT);
}

/* In two parts; by itself, as the data path does, where the batch does not take it. */
static void send_piece(end *e) {
    char bytes[PIECE];
    size_t n = sizeof bytes, half = n / 2;
    for (size_t i = 0; i < n; i++) bytes[i] = pattern(e->accepted + i);
    if (!e->io.writable) return;
    e->batched = sp_io_send(&e->io, (sp_str){bytes, half}, (sp_str){bytes + half, n - half},
                            MSG_NOSIGNAL | MSG_DONTWAIT);
    ssize_t sent = e->batched ? (ssize_t)n : send(e->io.fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < (ssize_t)n) e->io.writable = false;
    e->accepted += (size_t)SP_MAX(sent, 0);
}

static void send_once(end *e) {
    if (!e->accepted && !e->error) send_piece(e);
}

static void skip_without_batches(void) {
    end *e = &t.ends[MANY - 1];
    add(e);
    e->act = send_once;
    turn();
    if (!e->batched) skip();
    sp_io_close(&e->io);
    close_peer(e);
}

/* What is there now; from: how many came before. */
static size_t read_peer(const end *e, size_t from) {
    char bytes[4 * PIECE];
    size_t n = 0;
    for (ssize_t got; (got = read(e->peer, bytes, sizeof bytes)) > 0; n += (size_t)got)
        for (ssize_t i = 0; i < got; i++) assert_int_equal(bytes[i], pattern(from + n + (size_t)i));
    return n;
}

/* Loopback brings nothing at once where the kernel is busy. */
static bool await(int fd, short what) {
    struct pollfd p = {.fd = fd, .events = what};
    return poll(&p, 1, 20000) == 1 && p.revents & what;
}

/* The same, when they have all come; more than `wanted` is told, too. */
static size_t read_all(const end *e, size_t from, size_t wanted) {
    size_t n = read_peer(e, from);
    while (n < wanted && await(e->peer, POLLIN)) {
        size_t more = read_peer(e, from + n);
        if (!more) break; /* the end */
        n += more;
    }
    return n;
}

static bool peer_at_end(const end *e) {
    char c;
    return await(e->peer, POLLIN) && read(e->peer, &c, 1) == 0;
}

static void test_each_of_many_gets_its_bytes_and_one_event(void **state) {
    (void)state;
    skip_without_batches();
    for (int i = 0; i < MANY; i++) {
        add(&t.ends[i]);
        t.ends[i].act = send_once;
    }
    for (int i = 0; i < TURNS; i++) turn();
    for (int i = 0; i < MANY; i++) {
        end *e = &t.ends[i];
        assert_int_equal(e->accepted, PIECE);
        assert_int_equal(read_all(e, 0, PIECE), PIECE);
        assert_int_equal(e->events, e->batched ? 2 : 1);
        assert_true(e->io.writable && !e->io.sending);
    }
}

static void test_what_does_not_fit_comes_back_and_the_rest_follows(void **state) {
    (void)state;
    end *e = &t.ends[0];
    size_t got = 0, wanted = 50000;
    int fulls = 0;
    skip_without_batches();
    add(e);
    e->act = send_piece;
    for (int i = 0; i < 30000 && (e->accepted < wanted || !e->in_part); i++) {
        turn();
        got += read_peer(e, got);
        if (e->full) assert_false(e->io.writable);
        fulls += e->full;
        e->full = false;
        if (!e->io.writable) usleep(1000); /* a closed window may open with a timer only */
    }
    e->act = NULL;
    turn();
    got += read_all(e, got, e->accepted - got);
    assert_true(fulls > 1 && e->in_part && e->accepted >= wanted);
    assert_int_equal(got, e->accepted);
    assert_int_equal(e->error, 0);
}

static void test_a_reader_that_is_gone_is_an_error_of_its_own_socket_only(void **state) {
    (void)state;
    end *gone = &t.ends[0], *there = &t.ends[1];
    skip_without_batches();
    add(gone);
    add(there);
    close_peer(gone);
    assert_true(await(gone->io.fd, POLLHUP));
    gone->act = there->act = send_once;
    for (int i = 0; i < 3; i++) turn();
    assert_true(gone->error == EPIPE || gone->error == ECONNRESET);
    assert_int_equal(gone->accepted, 0);
    assert_int_equal(there->error, 0);
    assert_int_equal(read_all(there, 0, PIECE), PIECE);
}

static void send_and_close(end *e) {
    send_piece(e);
    sp_io_close(&e->io);
}

static void test_bytes_come_before_the_end(void **state) {
    (void)state;
    end *e = &t.ends[0];
    skip_without_batches();
    add(e);
    e->act = send_and_close;
    turn();
    assert_int_equal(read_all(e, 0, PIECE), PIECE);
    assert_true(peer_at_end(e));
    turn();
    assert_int_equal(e->events, 1);
}

static void open_two(end *e) {
    if (e->events > 1) return;
    add(&e->more[0]);
    add(&e->more[1]);
    sp_io_close(&e->more[1].io); /* it was to be watched with the end of this turn */
    e->more[0].act = send_once;
}

static void test_a_socket_that_came_in_a_turn_is_watched(void **state) {
    (void)state;
    end *e = &t.ends[0];
    skip_without_batches();
    add(e);
    e->act = open_two;
    e->more = &t.ends[1];
    for (int i = 0; i < 4; i++) turn();
    assert_int_equal(read_all(&t.ends[1], 0, PIECE), PIECE);
    assert_true(peer_at_end(&t.ends[2]));
    assert_int_equal(t.ends[2].events, 0);
}

/* The ring's descriptor becomes something else. */
static void break_ring(void) {
    DIR *d = opendir("/proc/self/fd");
    int broken = 0, nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (struct dirent *f; (f = readdir(d));) {
        char link[64], to[64] = {0};
        snprintf(link, sizeof link, "/proc/self/fd/%.20s", f->d_name);
        if (readlink(link, to, sizeof to - 1) < 0 || !strstr(to, "io_uring")) continue;
        assert_true(dup3(nothing, atoi(f->d_name), O_CLOEXEC) >= 0);
        broken++;
    }
    closedir(d);
    close(nothing);
    assert_int_equal(broken, 1);
}

static void test_it_goes_on_without_the_ring(void **state) {
    (void)state;
    end *e = &t.ends[0];
    size_t got = 0;
    skip_without_batches();
    add(e);
    add(&t.ends[3]);
    e->act = send_piece;
    t.ends[3].act = open_two;
    t.ends[3].more = &t.ends[1];
    break_ring();
    for (int i = 0; i < TURNS && e->accepted < 10 * (size_t)PIECE; i++) {
        turn();
        got += read_peer(e, got);
    }
    got += read_all(e, got, e->accepted - got);
    assert_int_equal(got, e->accepted);
    assert_true(got >= PIECE);
    assert_false(e->batched);
    assert_int_equal(read_all(&t.ends[1], 0, PIECE), PIECE);
    assert_true(peer_at_end(&t.ends[2]));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_each_of_many_gets_its_bytes_and_one_event),
        T(test_what_does_not_fit_comes_back_and_the_rest_follows),
        T(test_a_reader_that_is_gone_is_an_error_of_its_own_socket_only),
        T(test_bytes_come_before_the_end),
        T(test_a_socket_that_came_in_a_turn_is_watched),
        T(test_it_goes_on_without_the_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
