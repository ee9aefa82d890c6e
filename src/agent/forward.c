/* Three protocols carry it, one session each:
 *   SPDY/3.1 with portforward.k8s.io       a pair of streams, error and data, per connection, tied
 *                                          by their requestid
 *   WebSocket SPDY/3.1+portforward.k8s.io  the same bytes inside binary messages (kubectl ≥ 1.31)
 *   WebSocket v4.channel.k8s.io            the ports in the query, channel 2i data and 2i+1 error
 *                                          for the i-th; each begins with the port (Python client)
 *
 * A connection is made from a socket that was created inside the pod's network namespace: a socket
 * belongs to the namespace of its birth, so nothing else of us ever has to live there. SPDY has no
 * windows here: one reader that is too slow holds back the others of the same session. */
#include "agent/forward.h"

#include "agent/channel.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/spdy.h"
#include "net/websocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PENDING_HIGH = 256 << 10, MAX_PORTS = 64, MAX_PAIRS = 1000 };

typedef struct session session;

/* One connection into the pod. */
typedef struct pair {
    sp_list link;
    session *s;
    uint16_t port;
    sp_conn *io; /* NULL: not yet, or over */
    char id[40]; /* of the request, with SPDY */
    sp_spdy_stream *data, *error;
    unsigned channel; /* of data, without SPDY */
    bool held_back;
} pair;

struct session {
    uv_loop_t *loop;
    char pod[300], netns[PATH_MAX]; /* netns "": the host's */
    sp_conn *io;                    /* one of these two is the way to the client */
    sp_ws *ws;
    sp_spdy *spdy; /* NULL: channels */
    sp_channel_in channels;
    sp_list pairs;
    size_t n_pairs;
    uint16_t ports[MAX_PORTS];
    size_t n_ports;
    bool *gone; /* set when freed */
};

/* --- into the pod --- */

/* -1 and errno. */
static int socket_inside(const char *netns, int family) {
    if (!netns[0]) return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), fd = -1, saved;
    int there = open(netns, O_RDONLY | O_CLOEXEC);
    if (home >= 0 && there >= 0 && setns(there, CLONE_NEWNET) == 0) {
        fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        saved = errno;
        sp_assert(setns(home, CLONE_NEWNET) == 0); /* else everything after would be wrong */
        errno = saved;
    }
    saved = errno;
    if (home >= 0) close(home);
    if (there >= 0) close(there);
    errno = saved;
    return fd;
}

static int connect_inside(const char *netns, uint16_t port) {
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct {
        const struct sockaddr *a;
        socklen_t n;
    } ways[] = {{(struct sockaddr *)&v4, sizeof v4}, {(struct sockaddr *)&v6, sizeof v6}};
    int first = 0;
    for (size_t i = 0; i < SP_COUNT(ways); i++) {
        int fd = socket_inside(netns, ways[i].a->sa_family);
        if (fd >= 0 && (connect(fd, ways[i].a, ways[i].n) == 0 || errno == EINPROGRESS)) return fd;
        if (!first) first = errno;
        if (fd >= 0) close(fd);
    }
    errno = first;
    return -1;
}

/* --- to the client --- */

static size_t wire_pending(const session *s) {
    return s->ws ? sp_ws_pending(s->ws) : s->io ? sp_conn_pending(s->io) : 0;
}

static void wire_pause(session *s, bool paused) {
    if (s->ws) sp_ws_pause(s->ws, paused);
    if (s->io) sp_conn_pause(s->io, paused);
}

static void send_channel(session *s, unsigned channel, sp_str bytes) {
    char byte = (char)channel;
    if (s->ws) sp_ws_send(s->ws, (sp_str){&byte, 1}, bytes);
}

static void send_data(pair *p, sp_str bytes) {
    if (p->s->spdy && p->data) sp_spdy_write(p->s->spdy, p->data, bytes);
    if (!p->s->spdy) send_channel(p->s, p->channel, bytes);
}

static void say_error(pair *p, const char *why) {
    char text[500];
    int n = snprintf(text, sizeof text, "error forwarding port %u to pod %s: %s", p->port,
                     p->s->pod, why);
    sp_str s = {text, SP_MIN((size_t)n, sizeof text - 1)};
    if (p->s->spdy && p->error) sp_spdy_write(p->s->spdy, p->error, s);
    if (!p->s->spdy) send_channel(p->s, p->channel + 1, s);
}

/* --- lives --- */

static void free_pair(pair *p) {
    if (p->io) sp_conn_free(p->io);
    sp_list_remove(&p->link);
    p->s->n_pairs--;
    free(p);
}

static void free_session(session *s) {
    sp_spdy *spdy = sp_steal(s->spdy);
    if (s->gone) *s->gone = true;
    while (!sp_list_empty(&s->pairs)) {
        pair *p = SP_CONTAINER(s->pairs.next, pair, link);
        if (p->data) p->data->user = NULL;
        if (p->error) p->error->user = NULL;
        free_pair(p);
    }
    sp_spdy_free(spdy);
    if (s->io) sp_conn_free(s->io);
    sp_ws_free(s->ws);
    free(s);
}

/* --- a connection --- */

/* Nothing more comes from the pod. */
static void end_pair(pair *p) {
    session *s = p->s;
    if (!s->spdy) { /* channels have no end: the session is over with its last connection */
        free_pair(p);
        if (!sp_list_empty(&s->pairs)) return;
        if (s->ws) sp_ws_close(sp_steal(s->ws), SP_WS_NORMAL, "");
        free_session(s);
        return;
    }
    sp_spdy_stream *error = p->error, *data = p->data;
    if (p->io) sp_conn_free(sp_steal(p->io));
    if (error) sp_spdy_end(s->spdy, error);
    if (data) sp_spdy_end(s->spdy, data);
}

static void pod_data(void *ctx, char *bytes, size_t n) {
    pair *p = ctx;
    send_data(p, (sp_str){bytes, n});
    if (wire_pending(p->s) < PENDING_HIGH) return;
    p->held_back = true;
    sp_conn_pause(p->io, true);
}

/* Not while any of them is behind: what it does not take would pile up here. */
static void maybe_resume(session *s) {
    sp_list_each(&s->pairs, it) {
        const pair *p = SP_CONTAINER(it, pair, link);
        if (p->io && sp_conn_pending(p->io) > PENDING_HIGH / 2) return;
    }
    wire_pause(s, false);
}

static void pod_fill(void *ctx) {
    maybe_resume(((pair *)ctx)->s);
}

static void pod_timeout(void *ctx) {
    (void)ctx; /* none is set */
}

static void pod_closed(void *ctx, const sp_err *err) {
    pair *p = ctx;
    session *s = p->s;
    if (err) say_error(p, err->text);
    sp_conn_free(sp_steal(p->io));
    maybe_resume(s);
    end_pair(p);
}

static void open_pair(pair *p) {
    static const sp_conn_events events = {NULL, pod_data, pod_fill, pod_timeout, pod_closed};
    int fd = connect_inside(p->s->netns, p->port);
    p->io = fd < 0 ? NULL : sp_conn_open(p->s->loop, fd, &events, p);
    if (p->io) return;
    say_error(p, fd < 0 ? strerror(errno) : "no socket");
    end_pair(p);
}

static void to_pod(pair *p, sp_str bytes) {
    if (!p->io) return;
    sp_outq_add(sp_conn_out(p->io), bytes);
    sp_conn_wake(p->io);
    if (sp_conn_pending(p->io) > PENDING_HIGH) wire_pause(p->s, true);
}

static void on_drain(void *ctx) {
    session *s = ctx;
    if (wire_pending(s) > PENDING_HIGH / 2) return;
    sp_list_each(&s->pairs, it) {
        pair *p = SP_CONTAINER(it, pair, link);
        if (!p->held_back || !p->io) continue;
        p->held_back = false;
        sp_conn_pause(p->io, false);
    }
}

static pair *new_pair(session *s, uint16_t port) {
    pair *p = sp_zalloc(1, sizeof *p);
    p->s = s;
    p->port = port;
    sp_list_init(&p->link);
    sp_list_append(&s->pairs, &p->link);
    s->n_pairs++;
    return p;
}

/* --- SPDY, on the connection or inside a WebSocket --- */

static void spdy_send(void *ctx, sp_str head, sp_str bytes) {
    session *s = ctx;
    if (s->ws) sp_ws_send(s->ws, head, bytes);
    if (!s->io) return;
    sp_outq_add(sp_conn_out(s->io), head);
    sp_outq_add(sp_conn_out(s->io), bytes);
    sp_conn_wake(s->io);
}

static pair *pair_of(session *s, sp_str id, uint16_t port) {
    sp_list_each(&s->pairs, it) {
        pair *p = SP_CONTAINER(it, pair, link);
        if (sp_str_eqz(id, p->id) && p->port == port) return p;
    }
    if (s->n_pairs >= MAX_PAIRS) return NULL;
    pair *p = new_pair(s, port);
    snprintf(p->id, sizeof p->id, "%.*s", SP_ARG(id));
    return p;
}

static bool spdy_open(void *ctx, sp_spdy_stream *st, const sp_header *h, size_t n) {
    session *s = ctx;
    sp_str type = sp_headers_get(h, n, "streamtype"), id = sp_headers_get(h, n, "requestid");
    uint64_t port = 0;
    bool data = sp_str_eqz(type, "data");
    if ((!data && !sp_str_eqz(type, "error")) || id.n >= sizeof(((pair *)0)->id) ||
        !sp_str_u64(sp_headers_get(h, n, "port"), &port) || port == 0 || port > UINT16_MAX)
        return false;
    pair *p = pair_of(s, id, (uint16_t)port);
    if (!p || (data ? p->data : p->error)) return false;
    st->user = p;
    if (data)
        p->data = st;
    else
        p->error = st;
    if (p->data && p->error) open_pair(p);
    return true;
}

static void spdy_data(void *ctx, sp_spdy_stream *st, sp_str bytes) {
    (void)ctx;
    pair *p = st->user;
    if (p && p->data == st) to_pod(p, bytes);
}

/* The client sends nothing more, but may still read. */
static void spdy_end(void *ctx, sp_spdy_stream *st) {
    (void)ctx;
    pair *p = st->user;
    if (p && p->data == st && p->io) sp_conn_end_output(p->io);
}

static void spdy_gone(void *ctx, sp_spdy_stream *st) {
    (void)ctx;
    pair *p = st->user;
    if (!p) return;
    if (p->data == st) {
        p->data = NULL;
        if (p->io) sp_conn_free(sp_steal(p->io)); /* reset: nobody reads any more */
        maybe_resume(p->s);
    }
    if (p->error == st) p->error = NULL;
    if (!p->data && !p->error) free_pair(p);
}

static const sp_spdy_events spdy_events = {spdy_send, spdy_open, spdy_data, spdy_end, spdy_gone};

static void io_data(void *ctx, char *p, size_t n) {
    session *s = ctx;
    sp_err err = {0};
    if (!sp_spdy_feed(s->spdy, (sp_str){p, n}, &err)) free_session(s);
}

static void io_closed(void *ctx, const sp_err *err) {
    (void)err;
    free_session(ctx);
}

static void spdy_taken(void *ctx, sp_conn *io, sp_str early) {
    static const sp_conn_events events = {NULL, io_data, on_drain, pod_timeout, io_closed};
    session *s = ctx;
    s->io = io;
    s->spdy = sp_spdy_new(&spdy_events, s);
    sp_conn_adopt(io, &events, s);
    if (early.n) io_data(s, (char *)(uintptr_t)early.p, early.n);
}

/* --- WebSocket --- */

static void ws_closed(void *ctx, unsigned code) {
    session *s = ctx;
    (void)code;
    s->ws = NULL;
    free_session(s);
}

static void tunnel_piece(void *ctx, sp_str bytes, bool text, bool first, bool last) {
    session *s = ctx;
    sp_err err = {0};
    (void)text, (void)first, (void)last;
    if (!sp_spdy_feed(s->spdy, bytes, &err)) free_session(s);
}

static void tunnel_taken(void *ctx, sp_conn *io, sp_str early) {
    static const sp_ws_events events = {tunnel_piece, on_drain, ws_closed};
    session *s = ctx;
    s->spdy = sp_spdy_new(&spdy_events, s);
    sp_ws_start(io, true, early, &events, s, &s->ws);
}

static void channel_data(void *ctx, unsigned channel, sp_str bytes) {
    session *s = ctx;
    sp_list_each(&s->pairs, it) {
        pair *p = SP_CONTAINER(it, pair, link);
        if (p->channel == channel) {
            to_pod(p, bytes);
            return;
        }
    }
}

static void channel_end(void *ctx, unsigned channel) {
    (void)ctx, (void)channel; /* v4 has none */
}

static void channel_piece(void *ctx, sp_str bytes, bool text, bool first, bool last) {
    static const sp_channel_sink sink = {channel_data, channel_end};
    session *s = ctx;
    (void)text, (void)last;
    sp_channel_feed(&s->channels, bytes, first, &sink, s);
}

static void channels_taken(void *ctx, sp_conn *io, sp_str early) {
    static const sp_ws_events events = {channel_piece, on_drain, ws_closed};
    session *s = ctx;
    size_t n = s->n_ports;
    pair *pairs[MAX_PORTS];
    sp_ws_start(io, true, (sp_str){0}, &events, s, &s->ws);
    for (size_t i = 0; i < n; i++) {
        char port[2] = {(char)s->ports[i], (char)(s->ports[i] >> 8)};
        pairs[i] = new_pair(s, s->ports[i]);
        pairs[i]->channel = (unsigned)(2 * i);
        send_channel(s, pairs[i]->channel, (sp_str){port, 2});
        send_channel(s, pairs[i]->channel + 1, (sp_str){port, 2});
    }
    bool gone = false;
    s->gone = &gone;
    for (size_t i = 0; i < n; i++) open_pair(pairs[i]); /* the last may end the session */
    if (!gone && early.n) sp_ws_feed(s->ws, early);
    if (!gone) s->gone = NULL;
}

/* --- the request --- */

static bool read_ports(session *s, sp_http_req *q, sp_err *err) {
    for (sp_str pair_text, rest = q->query; sp_str_cut(&rest, '&', &pair_text);) {
        sp_str value, one;
        if (!sp_str_starts(pair_text, SP_STR("ports="))) continue;
        if (!sp_url_decode(q->arena, sp_str_from(pair_text, 6), true, &value))
            return sp_fail(err, SP_BAD_REQUEST, "the query has a broken escape");
        while (sp_str_cut(&value, ',', &one)) {
            uint64_t port;
            if (!sp_str_u64(one, &port) || port == 0 || port > UINT16_MAX)
                return sp_fail(err, SP_BAD_REQUEST, "\"%.*s\" is no port", SP_ARG(one));
            if (s->n_ports == MAX_PORTS)
                return sp_fail(err, SP_BAD_REQUEST, "more than %d ports", MAX_PORTS);
            s->ports[s->n_ports++] = (uint16_t)port;
        }
    }
    return s->n_ports || sp_fail(err, SP_BAD_REQUEST, "query parameter \"ports\" is required");
}

static bool accept_ws(session *s, sp_http_req *q, sp_http_res *res, sp_err *err) {
    static const char *const ours[] = {"SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", NULL};
    char accept[SP_WS_ACCEPT_SIZE];
    sp_str key;
    if (!sp_ws_check(q->headers, q->header_count, &key, err)) return false;
    const char *protocol = sp_ws_choose(q->headers, q->header_count, ours);
    bool tunnel = protocol == ours[0];
    if (!protocol)
        return sp_fail(err, SP_BAD_REQUEST, "Sec-WebSocket-Protocol must offer %s or %s", ours[0],
                       ours[1]);
    if (!tunnel && !read_ports(s, q, err)) return false;
    sp_ws_accept(key, accept);
    const sp_header h[] = {{SP_STR("upgrade"), SP_STR("websocket")},
                           {SP_STR("sec-websocket-accept"), sp_str_z(accept)},
                           {SP_STR("sec-websocket-protocol"), sp_str_z(protocol)}};
    sp_http_switch(res, h, SP_COUNT(h), tunnel ? tunnel_taken : channels_taken, s);
    return true;
}

static bool accept_spdy(session *s, sp_http_req *q, sp_http_res *res, sp_err *err) {
    static const char version[] = "x-stream-protocol-version", ours[] = "portforward.k8s.io";
    if (!sp_str_eqz(sp_headers_get(q->headers, q->header_count, version), ours))
        return sp_fail(err, SP_BAD_REQUEST, "X-Stream-Protocol-Version must be %s", ours);
    const sp_header h[] = {{SP_STR("upgrade"), SP_STR("SPDY/3.1")},
                           {sp_str_z(version), sp_str_z(ours)}};
    sp_http_switch(res, h, SP_COUNT(h), spdy_taken, s);
    return true;
}

static void client_left(void *ctx) {
    free_session(ctx);
}

static bool agree(session *s, sp_http_req *q, sp_http_res *res, sp_err *err) {
    sp_str offer = sp_http_upgrade_offer(q);
    if (sp_str_ieq(offer, SP_STR("websocket"))) return accept_ws(s, q, res, err);
    if (sp_str_ieq(offer, SP_STR("SPDY/3.1"))) return accept_spdy(s, q, res, err);
    return sp_fail(err, SP_BAD_REQUEST, "Upgrade request required (websocket or SPDY/3.1)");
}

void sp_forward_serve(sp_pod *p, sp_http_req *q, sp_http_res *res) {
    sp_err err = {0};
    session *s = sp_zalloc(1, sizeof *s);
    s->loop = p->agent->loop;
    sp_list_init(&s->pairs);
    snprintf(s->pod, sizeof s->pod, "%.*s", SP_ARG(p->name));
    if (!sp_pod_host_network(p)) snprintf(s->netns, sizeof s->netns, "%s/net", p->ns_dir);
    if (agree(s, q, res, &err)) {
        sp_http_on_close(res, client_left, s);
        return;
    }
    free_session(s);
    sp_header h = {SP_STR("content-type"), SP_STR("text/plain; charset=utf-8")};
    sp_http_reply(res, sp_code_http(err.code), &h, 1, sp_str_z(err.text));
}
