/* The data path through real loopback sockets. The worker runs in this thread's loop; each scenario
 * is a straight story in a second thread with blocking sockets: it is the client and the server,
 * and hands new configurations to the loop. Nothing sleeps: every step awaits bytes, an end or a
 * reset. */
#include "gateway/worker.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_SERVERS = 4, DEADLINE_S = 10, BULK = 8 << 20 };

typedef struct endpoint_is {
    uint16_t port;
    bool ready, draining;
} endpoint_is;

static struct {
    uv_loop_t loop;
    uv_async_t call;
    sp_worker *worker;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t done;
    void (*fn)(void);
    bool busy, failed, stopped;
    endpoint_is endpoints[MAX_SERVERS];
    size_t endpoint_count;
    uint16_t tcp_port, http_port;
    sp_worker_stats stats;
    sp_pool_limits limits;
    bool reset_on_removal;
    const char *service, *protocol; /* of the pool's name; NULL = ns/web, none */
    uint32_t max_connections;       /* of each endpoint */
} t;

#define CHECK(cond)                                                                      \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno); \
            t.failed = true;                                                             \
            pthread_exit(NULL);                                                          \
        }                                                                                \
    } while (0)

/* --- the loop's side --- */

static sp_targets to_pool(sp_arena *a, uint32_t pool) {
    sp_route_target *one = SP_NEW(a, sp_route_target);
    *one = (sp_route_target){pool, 1};
    return (sp_targets){one, 1, 1};
}

static sp_route_action *action(sp_arena *a, const char *owner, uint32_t pool) {
    sp_route_action *r = SP_NEW(a, sp_route_action);
    r->owner = sp_str_z(owner);
    r->targets = to_pool(a, pool);
    return r;
}

static sp_gateway_config *make_config(void) {
    sp_gateway_config *c = sp_gateway_config_new();
    sp_arena *a = c->arena;
    sp_endpoint_spec *e = sp_arena_alloc(a, (t.endpoint_count + 1) * sizeof *e);
    for (size_t i = 0; i < t.endpoint_count; i++) {
        e[i] = (sp_endpoint_spec){.ready = t.endpoints[i].ready,
                                  .draining = t.endpoints[i].draining,
                                  .max_connections = t.max_connections};
        sp_assert(sp_addr_parse(SP_STR("127.0.0.1"), t.endpoints[i].port, &e[i].addr));
    }
    c->pools = SP_NEW(a, sp_pool_spec);
    sp_str service = sp_str_z(t.service ? t.service : "ns/web");
    c->pools[0] = (sp_pool_spec){
        .name = sp_arena_printf(a, "%.*s:80%s", SP_ARG(service), t.protocol ? t.protocol : ""),
        .service = service,
        .algorithm = SP_BALANCE_ROUND_ROBIN,
        .limits = t.limits,
        .reset_on_removal = t.reset_on_removal,
        .endpoints = e,
        .endpoint_count = t.endpoint_count};
    c->pool_count = 1;
    sp_header *set = SP_NEW(a, sp_header);
    *set = (sp_header){SP_STR("x-set"), SP_STR("by rule")};
    sp_route_action *plain = action(a, "Ingress ns/web", 0),
                    *moved = action(a, "HTTPRoute ns/old", 0);
    plain->request.set = set;
    plain->request.set_count = 1;
    moved->redirect_status = 301;
    moved->redirect_scheme = SP_STR("https");
    moved->path_edit = SP_PATH_REPLACE_PREFIX;
    moved->path = SP_STR("/new");
    sp_route_entry entries[] = {
        {.host = SP_STR("web.test"), .path = SP_STR("/"), .action = plain},
        {.host = SP_STR("web.test"), .path = SP_STR("/old"), .action = moved},
        {.host = SP_STR("none.test"), .path = SP_STR("/"), .action = action(a, "x", SP_NO_POOL)},
    };
    c->tables = SP_NEW(a, sp_route_table *);
    c->tables[0] = sp_route_table_build(a, entries, SP_COUNT(entries));
    c->table_count = 1;
    c->listeners = sp_arena_alloc(a, 2 * sizeof *c->listeners);
    c->listener_count = 2;
    for (int i = 0; i < 2; i++) {
        c->listeners[i] = (sp_listener_spec){.plain = {.http = i, .targets = to_pool(a, 0)},
                                             .owner = SP_STR("Service ns/web")};
        sp_assert(sp_addr_parse(SP_STR("127.0.0.1"), 0, &c->listeners[i].addr));
    }
    return c;
}

static void apply_now(void) {
    sp_gateway_config *c = make_config();
    sp_worker_apply(t.worker, c);
    sp_gateway_config_unref(c);
    for (size_t i = 0; i < sp_worker_listener_count(t.worker); i++) {
        sp_listener_state l = sp_worker_listener(t.worker, i);
        sp_assert(l.bound);
        *(l.spec->plain.http ? &t.http_port : &t.tcp_port) = l.addr.port;
    }
}

static void read_stats(void) {
    t.stats = *sp_worker_get_stats(t.worker);
}

static void on_stopped(void *ctx) {
    (void)ctx;
    t.worker = NULL;
    t.stopped = true;
    uv_close((uv_handle_t *)&t.call, NULL);
}
static void stop_gracefully(void) {
    sp_worker_stop(t.worker, 5000, 0, on_stopped, NULL);
}
static void stop_now(void) {
    if (t.worker) sp_worker_stop(t.worker, 0, 0, on_stopped, NULL);
}

static void on_call(uv_async_t *a) {
    (void)a;
    pthread_mutex_lock(&t.lock);
    void (*fn)(void) = t.fn;
    t.fn = NULL;
    pthread_mutex_unlock(&t.lock);
    if (fn) fn();
    pthread_mutex_lock(&t.lock);
    t.busy = false;
    pthread_cond_signal(&t.done);
    pthread_mutex_unlock(&t.lock);
}

/* --- the story's side --- */

static void in_loop(void (*fn)(void)) {
    pthread_mutex_lock(&t.lock);
    t.fn = fn;
    t.busy = true;
    uv_async_send(&t.call);
    while (t.busy) pthread_cond_wait(&t.done, &t.lock);
    pthread_mutex_unlock(&t.lock);
}

static void endpoints(size_t n, const endpoint_is *list) {
    memcpy(t.endpoints, list, n * sizeof *list);
    t.endpoint_count = n;
    in_loop(apply_now);
}
#define ENDPOINTS(...) \
    endpoints(SP_COUNT(((endpoint_is[]){__VA_ARGS__})), (endpoint_is[]){__VA_ARGS__})

static void set_deadline(int fd) {
    struct timeval tv = {.tv_sec = DEADLINE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static int listen_on(uint16_t *ret_port) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof in) == 0 && listen(fd, 64) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    *ret_port = ntohs(in.sin_port);
    set_deadline(fd);
    return fd;
}

static int dial(uint16_t port) {
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0);
    set_deadline(fd);
    return fd;
}

static int take(int listener) {
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    set_deadline(fd);
    return fd;
}

static void say(int fd, const char *z) {
    CHECK(send(fd, z, strlen(z), MSG_NOSIGNAL) == (ssize_t)strlen(z));
}

static void hear(int fd, const char *want) {
    char got[4096];
    size_t n = strlen(want), at = 0;
    while (at < n) {
        ssize_t r = recv(fd, got + at, n - at, 0);
        CHECK(r > 0);
        at += (size_t)r;
    }
    got[n] = 0;
    if (memcmp(got, want, n) != 0) fprintf(stderr, "heard: %s\n", got);
    CHECK(memcmp(got, want, n) == 0);
}

static void hear_end(int fd) {
    char c;
    CHECK(recv(fd, &c, 1, 0) == 0);
}

static void hear_reset(int fd) {
    char c;
    CHECK(recv(fd, &c, 1, 0) < 0 && errno == ECONNRESET);
}

/* A head, byte by byte, so that nothing behind it is eaten. */
static const char *hear_head(int fd) {
    static char head[8192];
    size_t n = 0;
    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
        CHECK(n < sizeof head - 1 && recv(fd, head + n, 1, 0) == 1);
        n++;
    }
    head[n] = 0;
    return head;
}

static void reset_and_close(int fd) {
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void close_all(const int *fds, size_t n) {
    for (size_t i = 0; i < n; i++) close(fds[i]);
}
#define CLOSE(...) close_all((int[]){__VA_ARGS__}, SP_COUNT(((int[]){__VA_ARGS__})))

/* --- TCP --- */

static void tcp_half_close(void) {
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
    int c = dial(t.tcp_port), s = take(l);
    say(c, "question");
    shutdown(c, SHUT_WR);
    hear(s, "question");
    hear_end(s); /* the client said all; the answer still goes through */
    say(s, "answer");
    hear(c, "answer");
    close(s);
    hear_end(c);
    CLOSE(c, l);
}

static void *send_bulk(void *arg) {
    int fd = *(int *)arg;
    uint32_t block[4096];
    for (uint32_t at = 0; at < BULK / 4; at += 4096) {
        for (uint32_t i = 0; i < 4096; i++) block[i] = at + i;
        for (size_t sent = 0; sent < sizeof block;) {
            ssize_t n = send(fd, (char *)block + sent, sizeof block - sent, MSG_NOSIGNAL);
            if (n <= 0) return arg;
            sent += (size_t)n;
        }
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

static void hear_bulk(int fd, size_t piece) {
    static char got[64 * 1024];
    uint64_t at = 0;
    for (;;) {
        ssize_t n = recv(fd, got, piece, 0);
        CHECK(n >= 0);
        if (n == 0) break;
        for (ssize_t i = 0; i < n; i++, at++)
            CHECK((uint8_t)got[i] == (uint8_t)((uint32_t)(at / 4) >> (8 * (at % 4))));
    }
    CHECK(at == BULK);
}

/* More than all buffers hold, to a reader that starts late and takes small bites. */
static void tcp_slow_reader(void) {
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
    int c = dial(t.tcp_port), s = take(l);
    pthread_t sender;
    void *failed = NULL;
    pthread_create(&sender, NULL, send_bulk, &c);
    hear_bulk(s, 1000);
    say(s, "thanks");
    hear(c, "thanks");
    close(s);
    hear_end(c);
    pthread_join(sender, &failed);
    CHECK(!failed);
    CLOSE(c, l);
}

static void tcp_goes_on_to_the_next(void) {
    uint16_t dead, port;
    close(listen_on(&dead)); /* nobody is there any more */
    int l = listen_on(&port);
    ENDPOINTS({dead, true}, {port, true});
    for (int i = 0; i < 6; i++) {
        int c = dial(t.tcp_port), s = take(l);
        say(s, "here");
        hear(c, "here");
        CLOSE(c, s);
    }
    in_loop(read_stats);
    CHECK(t.stats.connect_failures >= 1 && t.stats.connect_failures < 6); /* then it is avoided */
    close(l);
}

/* A backlog that is full swallows connects in silence, as an address does that is gone. */
static void tcp_leaves_a_vanished_endpoint(void) {
    uint16_t silent, port;
    int ls = listen_on(&silent), l = listen_on(&port);
    listen(ls, 0);
    int filler = dial(silent);
    ENDPOINTS({silent, true});
    int c = dial(t.tcp_port), h = dial(t.http_port);
    say(h, "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    do in_loop(read_stats);
    while (t.stats.connections < 2);
    ENDPOINTS({silent, true}, {port, false}); /* changes nothing for them */
    ENDPOINTS({port, true});
    int s1 = take(l), s2 = take(l);
    CLOSE(s1, s2, c, h, filler, ls, l);
}

/* The connect's own timeout is far away: who gets through was not waiting for it. */
static void a_second_connect_wins(void) {
    uint16_t silent, port;
    int ls = listen_on(&silent), l = listen_on(&port);
    listen(ls, 0);
    int filler = dial(silent);
    ENDPOINTS({silent, true}, {port, true});
    for (int i = 0; i < 4; i++) {
        int c = dial(t.tcp_port), s = take(l);
        say(c, "over tcp");
        hear(s, "over tcp");
        CLOSE(c, s);
    }
    int h = dial(t.http_port);
    say(h, "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    int s = take(l);
    hear_head(s);
    in_loop(read_stats);
    CHECK(t.stats.hedges >= 1 && t.stats.hedges_won >= 1);
    CHECK(t.stats.hedges_won < 5); /* then it is avoided */
    CLOSE(h, s, filler, ls, l);
}

/* What was slow answers first after all, or both are silent: nothing is lost or left. */
static void a_second_connect_is_not_needed(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    listen(la, 0);
    listen(lb, 0);
    int fa = dial(a), fb = dial(b);
    ENDPOINTS({a, true}, {b, true});
    int c = dial(t.tcp_port), c2 = dial(t.tcp_port);
    do in_loop(read_stats);
    while (t.stats.hedges < 2);
    CLOSE(c);             /* in the middle of both */
    int s = take(la);     /* the filler's: now there is room */
    ENDPOINTS({a, true}); /* one of the two goes */
    int s2 = take(la);
    say(c2, "late");
    hear(s2, "late");
    CLOSE(s, s2, c2, fa, fb, la, lb);
}

static void tcp_endpoint_removed(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    ENDPOINTS({a, true});
    int c = dial(t.tcp_port), s = take(la);
    say(c, "one");
    hear(s, "one");
    ENDPOINTS({b, true});
    int c2 = dial(t.tcp_port), s2 = take(lb); /* new ones go elsewhere */
    say(c, "two");                            /* the old one lives */
    hear(s, "two");
    say(s, "bye");
    hear(c, "bye");
    close(s);
    hear_end(c);
    CLOSE(c, c2, s2, la, lb);
}

static void tcp_endpoint_removed_and_cut(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    t.reset_on_removal = true;
    ENDPOINTS({a, true}, {b, true});
    int c = dial(t.tcp_port), s = take(la), c2 = dial(t.tcp_port), s2 = take(lb);
    say(c, "one");
    hear(s, "one");
    ENDPOINTS({a, false, true}, {b, true}); /* on its way out is not gone */
    say(s, "two");
    hear(c, "two");
    ENDPOINTS({b, true});
    hear_reset(c);
    hear_reset(s);
    say(c2, "three");
    hear(s2, "three");
    t.reset_on_removal = false;
    CLOSE(c, s, c2, s2, la, lb);
}

/* The Service itself goes, not one of its endpoints; another one has taken its port. */
static void tcp_service_removed_and_cut(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    t.reset_on_removal = true;
    ENDPOINTS({a, true}, {b, true});
    int c = dial(t.tcp_port), s = take(la), c2 = dial(t.tcp_port), s2 = take(lb);
    t.protocol = "+h2c";
    ENDPOINTS({a, true}); /* another way to a is a kept, and b is gone */
    hear_reset(c2);
    hear_reset(s2);
    say(c, "one");
    hear(s, "one");
    int c3 = dial(t.tcp_port), s3 = take(la);
    t.protocol = NULL;
    t.service = "ns/other";
    ENDPOINTS({b, true});
    hear_reset(c3);
    hear_reset(s3);
    hear_reset(c); /* also those who came by the way that had gone before */
    hear_reset(s);
    t.service = NULL;
    t.reset_on_removal = false;
    CLOSE(c, s, c2, s2, c3, s3, la, lb);
}

static void tcp_service_removed_while_dialling(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    listen(la, 0);
    t.reset_on_removal = true;
    int filler = dial(a);
    ENDPOINTS({a, true});
    int c = dial(t.tcp_port);
    do in_loop(read_stats);
    while (t.stats.hedges + t.stats.connections == 0);
    t.service = "ns/other";
    ENDPOINTS({b, true});
    CLOSE(take(la)); /* now there is room */
    hear_reset(c);
    t.service = NULL;
    t.reset_on_removal = false;
    CLOSE(c, filler, la, lb);
}

static void tcp_draining(void) {
    uint16_t a;
    int la = listen_on(&a);
    ENDPOINTS({a, false, true});
    int c = dial(t.tcp_port), s = take(la);
    CLOSE(c, s, la);
}

static void tcp_resets_pass(void) {
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
    int c = dial(t.tcp_port), s = take(l);
    say(c, "x");
    hear(s, "x");
    reset_and_close(s);
    hear_reset(c);
    close(c);
    c = dial(t.tcp_port), s = take(l);
    say(c, "y");
    hear(s, "y");
    reset_and_close(c);
    hear_reset(s);
    CLOSE(s, l);
}

static void tcp_waits_for_an_endpoint(void) {
    uint16_t port;
    int l = listen_on(&port);
    endpoints(0, t.endpoints);
    int c = dial(t.tcp_port);
    say(c, "early");
    ENDPOINTS({port, true});
    int s = take(l);
    hear(s, "early");
    CLOSE(c, s);
    endpoints(0, t.endpoints);
    c = dial(t.tcp_port);
    hear_reset(c); /* none came */
    CLOSE(c, l);
}

static void await_queued(uint64_t n) {
    do in_loop(read_stats);
    while (t.stats.queued < n);
}

static void tcp_queue_is_in_order(void) {
    uint16_t port;
    int l = listen_on(&port), c[3];
    t.limits = (sp_pool_limits){.max_connections = 1, .queue_timeout_ms = 60000};
    ENDPOINTS({port, true});
    c[0] = dial(t.tcp_port);
    int s = take(l);
    for (int i = 1; i < 3; i++) {
        c[i] = dial(t.tcp_port);
        say(c[i], i == 1 ? "first" : "second");
        await_queued((uint64_t)i);
    }
    CLOSE(s, c[0]);
    s = take(l);
    hear(s, "first");
    CLOSE(s, c[1]);
    s = take(l);
    hear(s, "second");
    CLOSE(s, c[2], l);
}

static void tcp_full_queues_refuse(void) {
    uint16_t port;
    int l = listen_on(&port);
    t.limits = (sp_pool_limits){.max_connections = 1, .max_pending = 1, .queue_timeout_ms = 60000};
    ENDPOINTS({port, true});
    int c = dial(t.tcp_port), s = take(l), waits = dial(t.tcp_port);
    await_queued(1);
    int refused = dial(t.tcp_port);
    hear_reset(refused);
    in_loop(read_stats);
    CHECK(t.stats.queue_refused == 1);
    reset_and_close(waits); /* who leaves makes room in the queue */
    do in_loop(read_stats);
    while (t.stats.open > 1);
    waits = dial(t.tcp_port);
    await_queued(2);
    CLOSE(c, s);
    s = take(l);
    CLOSE(waits, refused, s, l);
}

static void tcp_queues_time_out(void) {
    uint16_t port;
    int l = listen_on(&port);
    t.limits = (sp_pool_limits){.max_connections = 1, .queue_timeout_ms = 50};
    ENDPOINTS({port, true});
    int c = dial(t.tcp_port), s = take(l), waits = dial(t.tcp_port);
    hear_reset(waits);
    in_loop(read_stats);
    CHECK(t.stats.queue_timeouts == 1);
    CLOSE(waits, c, s, l);
}

/* The other endpoint has no place either; the first one that has gets the connection. */
static void tcp_endpoints_have_limits(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    t.max_connections = 1;
    t.limits.queue_timeout_ms = 60000;
    ENDPOINTS({a, true}, {b, true});
    int c1 = dial(t.tcp_port), c2 = dial(t.tcp_port), sa = take(la), sb = take(lb);
    int c3 = dial(t.tcp_port);
    await_queued(1);
    say(c3, "third");
    close(sb);
    shutdown(c1, SHUT_WR);
    shutdown(c2, SHUT_WR);
    sb = take(lb);
    hear(sb, "third");
    CLOSE(c1, c2, c3, sa, sb, la, lb);
}

/* --- HTTP --- */

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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    CHECK(t.stats.upstream_connections == 1 && t.stats.upstream_reused == 5);
    CHECK(t.stats.requests == 6 && t.stats.status_2xx == 6);
    CLOSE(c, c2, s, l);
}

static void http_pipelined(void) {
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        int c = dial(t.http_port);
        say(c, bad[i]);
        const char *head = hear_head(c);
        CHECK(strstr(head, "HTTP/1.1 400 ") || strstr(head, "HTTP/1.1 501 "));
        close(c);
    }
    in_loop(read_stats);
    CHECK(t.stats.upstream_connections == 0);
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
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

/* --- the frame --- */

static void *tell_story(void *story) {
    ((void (*)(void))story)();
    return NULL;
}

static void *story_thread(void *story) {
    pthread_t inner; /* CHECK ends only the inner thread */
    pthread_create(&inner, NULL, tell_story, story);
    pthread_join(inner, NULL);
    pthread_mutex_lock(&t.lock);
    t.fn = stop_now;
    bool stopped = t.stopped;
    pthread_mutex_unlock(&t.lock);
    if (!stopped) uv_async_send(&t.call);
    return NULL;
}

static void run_story(void **state) {
    memset(&t, 0, sizeof t);
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.done, NULL);
    assert_int_equal(uv_loop_init(&t.loop), 0);
    uv_async_init(&t.loop, &t.call, on_call);
    sp_worker_settings s = sp_worker_defaults();
    s.endpoint_wait_ms = 300;
    s.connect_timeout_ms = 6 * DEADLINE_S * 1000; /* no story is to wait for it */
    t.worker = sp_worker_new(&t.loop, &s);
    pthread_create(&t.thread, NULL, story_thread, *state);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    pthread_join(t.thread, NULL);
    assert_int_equal(uv_loop_close(&t.loop), 0);
    assert_false(t.failed);
}

#define STORY(fn) \
    { #fn, run_story, NULL, NULL, (void *)(fn) }

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(tcp_half_close),
        STORY(tcp_slow_reader),
        STORY(tcp_goes_on_to_the_next),
        STORY(tcp_leaves_a_vanished_endpoint),
        STORY(a_second_connect_wins),
        STORY(a_second_connect_is_not_needed),
        STORY(tcp_endpoint_removed),
        STORY(tcp_endpoint_removed_and_cut),
        STORY(tcp_service_removed_and_cut),
        STORY(tcp_service_removed_while_dialling),
        STORY(tcp_draining),
        STORY(tcp_resets_pass),
        STORY(tcp_waits_for_an_endpoint),
        STORY(tcp_queue_is_in_order),
        STORY(tcp_full_queues_refuse),
        STORY(tcp_queues_time_out),
        STORY(tcp_endpoints_have_limits),
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
    };
    return cmocka_run_group_tests_name("gateway_datapath", tests, NULL, NULL);
}
