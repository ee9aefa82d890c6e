/* One tunnel to each API server of the kubeconfig, because a client may ask any of them for our
 * logs. Each by itself: IDLE → CALLING (the upgrade) → OPEN (a mux) → IDLE with a pause that
 * doubles, up to 15 s, and is shortened at random so that a thousand nodes do not come back in the
 * same moment. A tunnel that held for a while starts the pauses anew. */
#include "agent/tunnel.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "kube/client.h"
#include "net/mux.h"

enum { FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 15000, CALL_MS = 10000, HELD_MS = 30000 };

typedef struct line { /* to one API server */
    struct sp_tunnel *all;
    sp_http_client *client;
    sp_str to, target, authorization;
    sp_http_call *call;
    sp_mux *mux;
    sp_timer *again;
    uint64_t pause_ms;
    int64_t opened_ms;
    int status;
    bool said; /* the present trouble is in the log */
} line;

struct sp_tunnel {
    sp_agent *agent;
    sp_agent_server *server;
    sp_arena *arena;
    const char *mode;
    line *lines;
    size_t count;
};

static void dial(void *ctx);

static void try_again(line *t, const char *why) {
    if (!t->said)
        sp_warn("no tunnel to the API server; trying on", SP_KV("server", t->to),
                SP_KV("reason", why));
    t->said = true;
    uint64_t ms = t->pause_ms / 2 + sp_rng_below(t->pause_ms / 2 + 1);
    t->pause_ms = SP_MIN(t->pause_ms * 2, (uint64_t)LONGEST_PAUSE_MS);
    t->again = sp_timer_start(t->all->agent->loop, ms, dial, t);
}

static void on_stream(void *ctx, int fd) {
    sp_agent_server_take(((line *)ctx)->all->server, fd);
}

static void on_closed(void *ctx, const sp_err *err) {
    line *t = ctx;
    t->mux = NULL;
    if (sp_clock_mono_ms() - t->opened_ms > HELD_MS) t->pause_ms = FIRST_PAUSE_MS;
    try_again(t, err->text);
}

static void on_upgraded(void *ctx, const sp_header *h, size_t n, sp_conn *io, sp_str early) {
    static const sp_mux_events events = {on_stream, on_closed};
    line *t = ctx;
    (void)h, (void)n;
    t->call = NULL;
    t->said = false;
    t->opened_ms = sp_clock_mono_ms();
    t->mux = sp_mux_start(t->all->agent->loop, io, false, early, &events, t);
    sp_info("tunnel to the API server is open", SP_KV("server", t->to));
}

static void on_head(void *ctx, int status, const sp_header *h, size_t n) {
    (void)h, (void)n;
    ((line *)ctx)->status = status;
}

static void on_done(void *ctx, const sp_err *err) {
    line *t = ctx;
    char text[80];
    t->call = NULL;
    snprintf(text, sizeof text, "the API server answered %d", t->status);
    try_again(t, err ? err->text : text);
}

static void dial(void *ctx) {
    line *t = ctx;
    t->again = NULL;
    t->status = 0;
    const sp_header h[] = {{SP_STR("connection"), SP_STR("Upgrade")},
                           {SP_STR("upgrade"), SP_STR("sampan-tunnel")},
                           {SP_STR("x-sampan-tunnel"), sp_str_z(t->all->mode)},
                           {SP_STR("authorization"), t->authorization}};
    sp_http_call_params p = {.method = "GET",
                             .target = t->target,
                             .headers = h,
                             .header_count = t->authorization.n ? 4 : 3,
                             .timeout_ms = CALL_MS,
                             .once = true,
                             .upgraded = on_upgraded,
                             .head = on_head,
                             .done = on_done,
                             .ctx = t};
    t->call = sp_http_call_start(t->client, &p);
}

static bool open_line(sp_tunnel *t, size_t i, const char *kubeconfig, size_t *ret_count,
                      sp_err *err) {
    const sp_kube_config config = {.kubeconfig = kubeconfig, .only = i + 1};
    sp_kube_h1 k;
    if (!sp_kube_open_h1(t->agent->loop, &config, t->arena, &k, err)) return false;
    if (!t->lines) t->lines = sp_arena_alloc(t->arena, k.servers * sizeof *t->lines);
    *ret_count = k.servers;
    t->lines[t->count++] = (line){.all = t,
                                  .client = k.http,
                                  .to = k.server,
                                  .authorization = k.authorization,
                                  .pause_ms = FIRST_PAUSE_MS,
                                  .target = sp_arena_printf(t->arena, "%.*s/sampan/v1/tunnel/%s",
                                                            SP_ARG(k.prefix), t->agent->node)};
    return true;
}

bool sp_tunnel_start(sp_agent *g, sp_agent_server *server, const char *kubeconfig, const char *mode,
                     sp_tunnel **ret, sp_err *err) {
    sp_tunnel *t = sp_zalloc(1, sizeof *t);
    size_t count = 1;
    *t = (sp_tunnel){.agent = g, .server = server, .mode = mode, .arena = sp_arena_new()};
    for (size_t i = 0; i < count; i++) {
        if (open_line(t, i, kubeconfig, &count, err)) continue;
        sp_tunnel_stop(t);
        return false;
    }
    for (size_t i = 0; i < count; i++) dial(&t->lines[i]);
    *ret = t;
    return true;
}

sp_tunnel *sp_tunnel_stop(sp_tunnel *t) {
    if (!t) return NULL;
    for (size_t i = 0; i < t->count; i++) {
        line *l = &t->lines[i];
        if (l->call) sp_http_call_cancel(l->call);
        sp_timer_stop(l->again);
        sp_mux_free(l->mux);
        sp_http_client_free(l->client);
    }
    sp_arena_free(t->arena);
    free(t);
    return NULL;
}
