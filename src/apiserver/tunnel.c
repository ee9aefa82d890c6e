/* A way is kept for every node that ever came, so that clients may name it for as long as the
 * server lives; its tunnel comes and goes. Unless the node asks for the tunnel always, its address
 * is tried once when the tunnel is there, and used from then on if it answers: a direct connection
 * is one hop less. Until then, and after the first failure, everything takes the tunnel.
 *
 * The agent at the other end trusts us as the API server because our certificate proved it when it
 * connected; requests inside the tunnel are plain HTTP/1.1 within that TLS connection. */
#include "apiserver/tunnel.h"

#include "base/log.h"
#include "base/map.h"
#include "net/mux.h"

#include <stdio.h>

enum { PROBE_MS = 3000, MAX_WAYS = 10000 };

typedef struct way {
    struct sp_tunnels *all;
    char *node;
    sp_mux *mux; /* NULL: not connected */
    sp_http_client *kept;
    sp_http_client *probe;
    sp_http_call *probing;
    bool always, direct_works;
} way;

struct sp_tunnels {
    sp_apiserver *s;
    sp_map ways; /* node → way */
};

struct sp_tunnels *sp_tunnels_new(sp_apiserver *s) {
    struct sp_tunnels *t = sp_zalloc(1, sizeof *t);
    t->s = s;
    return t;
}

static void stop_probe(way *w) {
    if (w->probing) sp_http_call_cancel(sp_steal(w->probing));
    w->probe = sp_http_client_free(w->probe);
}

void sp_tunnels_free(struct sp_tunnels *t) {
    void *value;
    if (!t) return;
    for (size_t at = 0; sp_map_next(&t->ways, &at, NULL, &value);) {
        way *w = value;
        stop_probe(w);
        sp_http_client_free(w->kept);
        sp_mux_free(w->mux);
        free(w->node);
        free(w);
    }
    sp_map_free(&t->ways);
    free(t);
}

/* ---------- using it ---------- */

static int dial(void *ctx) {
    way *w = ctx;
    return w->mux ? sp_mux_open(w->mux) : -1;
}

static way *open_way(struct sp_tunnels *t, sp_str node) {
    way *w = sp_map_get(&t->ways, node);
    return w && w->mux && (w->always || !w->direct_works) ? w : NULL;
}

bool sp_tunnel_way(struct sp_tunnels *t, sp_str node, sp_http_client_config *ret) {
    way *w = open_way(t, node);
    if (!w) return false;
    *ret = (sp_http_client_config){.host = w->node, .dial = dial, .dial_ctx = w};
    return true;
}

sp_http_client *sp_tunnel_client(struct sp_tunnels *t, sp_str node) {
    sp_http_client_config c;
    way *w = open_way(t, node);
    sp_assert(w);
    if (!w->kept && sp_tunnel_way(t, node, &c)) w->kept = sp_http_client_new(t->s->loop, &c);
    return w->kept;
}

void sp_tunnel_note_failure(struct sp_tunnels *t, sp_str node) {
    way *w = sp_map_get(&t->ways, node);
    if (w) w->direct_works = false;
}

/* ---------- is the tunnel needed? ---------- */

static void probed(void *ctx, const sp_http_reply_msg *reply, const sp_err *err) {
    way *w = ctx;
    (void)err;
    w->probing = NULL;
    w->direct_works = reply != NULL;
    if (reply) sp_info("node is reachable directly", SP_KV("node", w->node));
    stop_probe(w);
}

static void probe(way *w) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_node_place p = {.node = sp_str_z(w->node)};
    const sp_json *node =
        sp_lookup_latest(w->all->s, a, "", "nodes", SP_STR(""), sp_str_z(w->node));
    stop_probe(w);
    w->direct_works = false;
    if (w->always || !w->all->s->config.kubelet || !node || !sp_node_address(node, &p, NULL))
        return;
    sp_http_client_config c = {.host = p.ip,
                               .port = p.port,
                               .tls = w->all->s->config.kubelet,
                               .connect_timeout_ms = PROBE_MS};
    sp_http_call_params ask = {
        .method = "GET", .target = SP_STR("/healthz"), .timeout_ms = PROBE_MS};
    w->probe = sp_http_client_new(w->all->s->loop, &c);
    w->probing = sp_http_fetch(w->probe, &ask, 4096, probed, w);
}

/* ---------- a node comes ---------- */

static void lost(void *ctx, const sp_err *err) {
    way *w = ctx;
    w->mux = NULL;
    sp_info("tunnel of a node ended", SP_KV("node", w->node), SP_KV("reason", err->text));
}

typedef struct arrival {
    way *way;
    sp_call *call;
    bool always;
} arrival;

static void over(arrival *n) {
    sp_call *c = n->call;
    free(n);
    c->res = NULL;
    c->http = NULL;
    sp_call_end(c);
}

static void taken(void *ctx, sp_conn *io, sp_str early) {
    static const sp_mux_events events = {NULL, lost};
    arrival *n = ctx;
    way *w = n->way;
    sp_mux_free(w->mux); /* the node came back before its old connection was missed */
    w->always = n->always;
    w->mux = sp_mux_start(w->all->s->loop, io, true, early, &events, w);
    sp_info("tunnel of a node is open", SP_KV("node", w->node));
    probe(w);
    over(n);
}

static void left(void *ctx) {
    over(ctx);
}

static way *way_of(struct sp_tunnels *t, sp_str node) {
    way *w = sp_map_get(&t->ways, node);
    if (w || t->ways.n >= MAX_WAYS) return w;
    w = sp_zalloc(1, sizeof *w);
    w->all = t;
    w->node = sp_str_dup(node);
    sp_map_put(&t->ways, node, w);
    return w;
}

static bool may(const sp_call *c, sp_str node, sp_err *err) {
    sp_str user = c->user.name;
    bool self = sp_str_starts(user, SP_STR("system:node:")) &&
                sp_str_eq(sp_str_from(user, 12), node) && c->user.kind == SP_USER_CERTIFICATE;
    if (!self)
        return sp_fail(err, SP_FORBIDDEN,
                       "only the node itself, by the certificate of system:node:%.*s, may open its "
                       "tunnel",
                       SP_ARG(node));
    return sp_str_eqz(sp_http_upgrade_offer(c->http), "sampan-tunnel") ||
           sp_fail(err, SP_BAD_REQUEST, "Upgrade: sampan-tunnel is needed");
}

void sp_tunnel_serve(sp_call *c, sp_str rest) {
    sp_err err;
    sp_str node = sp_str_from(rest, 1);
    way *w = NULL;
    bool ok = may(c, node, &err);
    if (ok && !(w = way_of(c->op.s->tunnels, node)))
        ok = sp_fail(&err, SP_UNAVAILABLE, "too many nodes have had tunnels");
    if (!ok) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    arrival *n = sp_zalloc(1, sizeof *n);
    sp_str mode = sp_headers_get(c->http->headers, c->http->header_count, "x-sampan-tunnel");
    *n = (arrival){w, c, sp_str_eqz(mode, "always")};
    const sp_header h = {SP_STR("upgrade"), SP_STR("sampan-tunnel")};
    c->held = true;
    sp_call_count(c, 101);
    sp_http_on_close(c->res, left, n);
    sp_http_switch(c->res, &h, 1, taken, n);
}
