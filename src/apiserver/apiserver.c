/* Start and stop of the server: what is opened in which order, and closed in the reverse. */
#include "apiserver/cluster.h"
#include "apiserver/presence.h"
#include "apiserver/server.h"
#include "apiserver/tunnel.h"
#include "base/log.h"

#include <stdio.h>

enum { STOP_GRACE_MS = 2000 };

uint16_t sp_apiserver_port(const sp_apiserver *s) {
    return sp_http_server_port(s->http);
}

static void bootstrapped(sp_apiserver *s) {
    if (s->stopping) return;
    s->ready = true;
    sp_event_expiry_start(s);
    sp_presence_start(s);
    if (s->on_ready) s->on_ready(s->on_ready_ctx);
}

static void free_parts(sp_apiserver *s) {
    sp_registry_free(s->registry);
    sp_authn_free(s->authn);
    sp_openapi_free(s->openapi);
    sp_api_metrics_free(s->metrics);
    sp_map_free(&s->inflight);
    free(s);
}

static bool listen_on(sp_apiserver *s, sp_err *err) {
    sp_http_server_config c = {.host = s->config.bind,
                               .port = s->config.port,
                               .tls = s->config.tls,
                               .goaway_chance = s->config.goaway_chance,
                               .handler = sp_apiserver_handle,
                               .ctx = s};
    return sp_http_server_start(s->loop, &c, &s->http, err);
}

static bool open_store(sp_apiserver *s, sp_err *err) {
    const sp_apiserver_config *c = &s->config;
    sp_store_config store = {.path = c->store_path,
                             .etcd = c->etcd,
                             .etcd_prefix = c->etcd_prefix,
                             .compact_every_ms = c->compact_every_ms};
    return c->etcd ? sp_store_open_etcd(s->loop, &store, &s->store, err)
                   : sp_store_open(s->loop, &store, &s->store, err);
}

bool sp_apiserver_start(uv_loop_t *loop, const sp_apiserver_config *c, void (*on_ready)(void *ctx),
                        void *ctx, sp_apiserver **ret, sp_err *err) {
    sp_apiserver *s = sp_zalloc(1, sizeof *s);
    s->loop = loop;
    s->config = *c;
    s->on_ready = on_ready;
    s->on_ready_ctx = ctx;
    sp_list_init(&s->claims);
    s->metrics = sp_api_metrics_new();
    if (!sp_authn_new(c->tokens, &s->authn, err) || !open_store(s, err)) {
        free_parts(s);
        return false;
    }
    s->registry = sp_registry_new();
    s->openapi = sp_openapi_new();
    s->hub = sp_watch_hub_new(s);
    s->nodes = sp_node_links_new(s);
    s->tunnels = sp_tunnels_new(s);
    sp_list_init(&s->streams);
    sp_list_init(&s->cluster_jobs);
    *ret = s; /* from here on sp_apiserver_stop cleans up */
    if (!sp_crds_start(s, err) || !listen_on(s, err)) return false;
    sp_bootstrap_start(s, bootstrapped);
    return true;
}

/* ---------- stopping ---------- */

typedef struct stopper {
    sp_apiserver *s;
    void (*done)(void *ctx);
    void *ctx;
} stopper;

static void store_closed(void *ctx) {
    stopper *p = ctx;
    free_parts(p->s);
    if (p->done) p->done(p->ctx);
    free(p);
}

static void left(void *ctx) {
    stopper *p = ctx;
    sp_crds_stop(p->s);
    sp_event_expiry_stop(p->s);
    sp_pod_streams_end(p->s);
    sp_cluster_jobs_end(p->s);
    sp_watch_hub_free(p->s->hub);
    sp_node_links_free(p->s->nodes);
    sp_tunnels_free(p->s->tunnels);
    sp_store_close(p->s->store, store_closed, p);
}

static void http_stopped(void *ctx) {
    stopper *p = ctx;
    sp_presence_stop(p->s, left, p);
}

void sp_apiserver_stop(sp_apiserver *s, void (*done)(void *ctx), void *ctx) {
    stopper *p = sp_malloc(sizeof *p);
    *p = (stopper){s, done, ctx};
    s->stopping = true;
    s->ready = false;
    sp_watch_hub_end_all(s->hub);
    if (s->http)
        sp_http_server_stop(s->http, STOP_GRACE_MS, http_stopped, p);
    else
        http_stopped(p);
}
