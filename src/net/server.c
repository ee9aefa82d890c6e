/* Listening, the list of connections, which protocol one speaks, and stopping. */
#include "net/server.h"

#include "base/clock.h"
#include "net/server_internal.h"

#include <errno.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    DEFAULT_BODY = 3 << 20,
    DEFAULT_UPLOAD = 128 << 20,
    DEFAULT_CONNECTIONS = 10000,
    DEFAULT_HEADER_MS = 10000,
    DEFAULT_IDLE_MS = 120000,
};

/* --- one connection --- */

static void check_stopped(sp_http_server *s);

/* Everything but the socket. */
static void conn_release(srv_conn *c) {
    sp_http_server *s = c->server;
    if (c->proto) c->proto->close(c);
    sp_list_remove(&c->link);
    s->n_conns--;
    sp_buf_free(&c->early);
    srv_who_unref(c->who);
    free(c);
    check_stopped(s);
}

void srv_conn_drop(srv_conn *c) {
    sp_conn_free(c->io);
    conn_release(c);
}

void srv_conn_finish(srv_conn *c) {
    sp_conn_finish(c->io);
    conn_release(c);
}

sp_conn *srv_conn_leave(srv_conn *c) {
    sp_conn *io = c->io;
    conn_release(c);
    return io;
}

static void copy_peer(srv_who *w, const sp_tls_peer *p) {
    if (!p) return;
    w->arena = sp_arena_new();
    w->peer = SP_NEW(w->arena, sp_tls_peer);
    w->peer->common_name = sp_arena_str(w->arena, p->common_name);
    size_t n = p->organizations.n;
    sp_str *orgs = sp_arena_alloc(w->arena, n * sizeof *orgs);
    for (size_t i = 0; i < n; i++) orgs[i] = sp_arena_str(w->arena, p->organizations.p[i]);
    w->peer->organizations.p = orgs;
    w->peer->organizations.n = w->peer->organizations.cap = n;
}

static void make_who(srv_conn *c) {
    srv_who *w = c->who = sp_zalloc(1, sizeof *w);
    w->refs = 1;
    sp_conn_remote(c->io, w->remote, sizeof w->remote);
}

static void speak(srv_conn *c, const srv_proto *proto) {
    c->proto = proto;
    proto->open(c);
    if (c->server->stopping) proto->drain(c);
}

static void on_ready(void *ctx) {
    srv_conn *c = ctx;
    copy_peer(c->who, sp_conn_peer(c->io));
    speak(c, sp_str_eqz(sp_conn_alpn(c->io), "h2") ? &srv_h2 : &srv_h1);
}

/* Without TLS the client's first bytes tell: HTTP/2 starts with "PRI", as no method does. */
static void on_data(void *ctx, char *p, size_t n) {
    srv_conn *c = ctx;
    if (c->proto) {
        c->proto->data(c, p, n);
        return;
    }
    sp_buf_add(&c->early, (sp_str){p, n});
    sp_str got = sp_buf_str(&c->early);
    if (got.n < 3 && sp_str_starts(SP_STR("PRI"), got)) return;
    sp_buf early = c->early;
    c->early = (sp_buf){0};
    c->proto = sp_str_starts(got, SP_STR("PRI")) ? &srv_h2 : &srv_h1;
    c->proto->open(c);
    c->proto->data(c, early.p, early.n);
    sp_buf_free(&early);
}

static void on_fill(void *ctx) {
    srv_conn *c = ctx;
    if (c->proto) c->proto->fill(c);
}

static void on_timeout(void *ctx) {
    srv_conn *c = ctx;
    if (c->proto)
        c->proto->timeout(c);
    else
        srv_conn_drop(c);
}

static void on_closed(void *ctx, const sp_err *err) {
    srv_conn *c = ctx;
    if (err || !c->proto)
        srv_conn_drop(c);
    else
        c->proto->eof(c);
}

static const sp_conn_events events = {on_ready, on_data, on_fill, on_timeout, on_closed};

static void welcome(srv_conn *c) {
    sp_http_server *s = c->server;
    s->n_conns++;
    sp_list_append(&s->conns, &c->link);
    make_who(c);
    sp_conn_deadline(c->io, s->config.header_timeout_ms);
}

void sp_http_server_take(sp_http_server *s, int fd, const sp_tls_peer *peer) {
    if (s->stopping || s->n_conns >= s->config.max_connections) {
        close(fd);
        return;
    }
    srv_conn *c = sp_zalloc(1, sizeof *c);
    sp_list_init(&c->link);
    c->server = s;
    c->io = sp_conn_open(s->loop, fd, &events, c);
    if (!c->io) {
        free(c);
        return;
    }
    welcome(c);
    copy_peer(c->who, peer);
}

static void on_connection(uv_stream_t *listener, int status) {
    sp_http_server *s = listener->data;
    if (status != 0) return;
    srv_conn *c = sp_zalloc(1, sizeof *c);
    sp_list_init(&c->link);
    c->server = s;
    c->tls = s->config.tls != NULL;
    c->io = sp_conn_accept(listener, s->config.tls, &events, c);
    if (!c->io) {
        free(c);
        return;
    }
    if (s->n_conns >= s->config.max_connections) {
        sp_conn_free(c->io);
        free(c);
        return;
    }
    welcome(c);
}

/* --- requests --- */

bool srv_body_add(sp_http_res *r, sp_str bytes, sp_h1_error *err) {
    sp_http_server *s = r->conn->server;
    if (r->body.n + bytes.n > s->config.max_body_bytes) {
        *err = (sp_h1_error){413, "the request body is too large"};
        return false;
    }
    if (s->arriving + bytes.n > s->config.max_upload_bytes) {
        *err = (sp_h1_error){503, "too many bytes are being uploaded just now; try again"};
        return false;
    }
    s->arriving += bytes.n;
    sp_buf_add(&r->body, bytes);
    return true;
}

void srv_body_arrived(sp_http_res *r) {
    if (r->dispatched) return;
    r->conn->server->arriving -= r->body.n;
    r->dispatched = true;
}

void srv_dispatch(sp_http_res *r) {
    const sp_http_server_config *config = &r->conn->server->config;
    r->req.body = sp_buf_str(&r->body);
    srv_body_arrived(r);
    config->handler(config->ctx, &r->req, r);
}

const char *srv_date(sp_http_server *s) {
    int64_t now = sp_clock_wall_ms();
    if (now / 1000 != s->date_s) {
        s->date_s = now / 1000;
        sp_http_date(now, s->date);
    }
    return s->date;
}

/* --- start and stop --- */

static void with_defaults(sp_http_server_config *c) {
    if (!c->max_body_bytes) c->max_body_bytes = DEFAULT_BODY;
    if (!c->max_upload_bytes) c->max_upload_bytes = DEFAULT_UPLOAD;
    if (!c->max_connections) c->max_connections = DEFAULT_CONNECTIONS;
    if (!c->header_timeout_ms) c->header_timeout_ms = DEFAULT_HEADER_MS;
    if (!c->idle_timeout_ms) c->idle_timeout_ms = DEFAULT_IDLE_MS;
}

static bool listen_on(sp_http_server *s, const char *host, sp_err *err) {
    struct sockaddr_storage a;
    const char *text = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (uv_ip4_addr(text, s->config.port, (struct sockaddr_in *)&a) != 0 &&
        uv_ip6_addr(text, s->config.port, (struct sockaddr_in6 *)&a) != 0)
        return sp_fail(err, SP_BAD_REQUEST, "cannot listen on \"%s\": not an IP address", host);
    int rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&a, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (rc == UV_EADDRINUSE) {
        sp_fail(err, SP_CONFLICT, "port %u on %s is already in use by another program",
                s->config.port, host);
        if (err) err->errnum = EADDRINUSE;
        return false;
    }
    return rc == 0 || sp_fail_errno(err, -rc, "cannot listen on %s port %u", host, s->config.port);
}

static void server_free(sp_http_server *s) {
    sp_tls_ctx_unref(s->config.tls);
    sp_turn_unref(s->turn);
    free(s);
}

static void failed_listener_closed(uv_handle_t *h) {
    server_free(h->data);
}

bool sp_http_server_start(uv_loop_t *loop, const sp_http_server_config *config,
                          sp_http_server **ret, sp_err *err) {
    sp_http_server *s = sp_zalloc(1, sizeof *s);
    s->loop = loop;
    s->turn = sp_turn_ref(loop);
    s->config = *config;
    s->config.host = NULL;
    s->config.tls = sp_tls_ctx_ref(config->tls);
    with_defaults(&s->config);
    sp_list_init(&s->conns);
    uv_tcp_init(loop, &s->listener);
    s->listener.data = s;
    if (!listen_on(s, config->host, err)) {
        uv_close((uv_handle_t *)&s->listener, failed_listener_closed);
        return false;
    }
    *ret = s;
    return true;
}

uint16_t sp_http_server_port(const sp_http_server *s) {
    struct sockaddr_storage a;
    int n = sizeof a;
    if (uv_tcp_getsockname(&s->listener, (struct sockaddr *)&a, &n) != 0) return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static void check_stopped(sp_http_server *s) {
    if (!s->listener_closed || !sp_list_empty(&s->conns)) return;
    sp_timer_stop(s->grace);
    if (s->stopped) s->stopped(s->stopped_ctx);
    server_free(s);
}

static void listener_closed(uv_handle_t *h) {
    sp_http_server *s = h->data;
    s->listener_closed = true;
    check_stopped(s);
}

static void grace_over(void *ctx) {
    sp_http_server *s = ctx;
    s->grace = NULL;
    bool closed = s->listener_closed;
    s->listener_closed = false; /* the last connection must not free s under us */
    sp_list_each(&s->conns, it) srv_conn_drop(SP_CONTAINER(it, srv_conn, link));
    s->listener_closed = closed;
    check_stopped(s);
}

void sp_http_server_send_away(sp_http_server *s) {
    sp_list_each(&s->conns, it) {
        srv_conn *c = SP_CONTAINER(it, srv_conn, link);
        if (c->proto) c->proto->drain(c);
    }
}

void sp_http_server_stop(sp_http_server *s, uint32_t grace_ms, void (*done)(void *ctx), void *ctx) {
    sp_assert(!s->stopping);
    s->stopping = true;
    s->stopped = done;
    s->stopped_ctx = ctx;
    s->grace = sp_timer_start(s->loop, grace_ms, grace_over, s);
    sp_list_each(&s->conns, it) {
        srv_conn *c = SP_CONTAINER(it, srv_conn, link);
        if (c->proto)
            c->proto->drain(c);
        else
            srv_conn_drop(c);
    }
    uv_close((uv_handle_t *)&s->listener, listener_closed);
}
