/* What stands between "connected" and "usable" on the way to an endpoint: a PROXY header that says
 * who the client is, and TLS. Both belong to the attempt: an endpoint that fails here has failed as
 * one that refuses the connection, and the next one is asked. */
#include "base/log.h"
#include "gateway/datapath.h"
#include "gateway/proxy_header.h"
#include "gateway/tls_server.h"

enum { COMPLAIN_EVERY_MS = 1000 };

/* --- what a pool wants --- */

static void set_name(sp_pool *p, sp_str name) {
    free(p->tls_name);
    p->tls_name = name.n ? sp_str_dup(name) : NULL;
}

static void close_kept(sp_pool *p) {
    sp_vec_each(&p->balance.list, e) sp_upstream_close_idle((sp_upstream *)(void *)*e);
}

void sp_pool_follow_tls(sp_pool *p, const sp_pool_spec *spec) {
    sp_tls_client *old = p->tls;
    bool wanted = p->tls_wanted, to_proxy = p->send_proxy;
    sp_err err = {0};
    p->tls = NULL;
    p->tls_wanted = spec && spec->tls;
    p->send_proxy = spec ? spec->send_proxy : 0;
    set_name(p, p->tls_wanted ? spec->tls->server_name : (sp_str){0});
    if (p->tls_wanted && !sp_tls_client_get(spec->tls, &p->tls, &err))
        sp_warn("a pool cannot be reached by TLS", SP_KV("pool", p->name), SP_KV("why", err.text));
    /* Kept connections were made by what no longer holds. */
    if (old != p->tls || wanted != p->tls_wanted || to_proxy != p->send_proxy) close_kept(p);
    sp_tls_client_unref(old);
}

/* --- the PROXY header --- */

static bool send_proxy_header(sp_dial *d) {
    sp_proxy_facts f = {.source = d->client};
    sp_auto(sp_buf) b = {0};
    if (d->describe) d->describe(d, &f);
    sp_proxy_write(d->pool->send_proxy, &f, &b);
    sp_sock_write(d->worker, &d->sock, sp_buf_str(&b));
    return !d->sock.broken && !d->sock.out.n; /* the first bytes always fit */
}

void sp_proxy_facts_of_sock(sp_proxy_facts *f, const sp_sock *c) {
    if (!sp_sock_is_tls(c)) return;
    const sp_tls_peer *peer = sp_tls_io_peer(sp_sock_tls_io(c));
    f->tls = true;
    f->tls_version = sp_str_z(sp_tls_io_version(sp_sock_tls_io(c)));
    f->alpn = sp_sock_alpn(c);
    f->client_cert = peer != NULL;
    if (peer) f->common_name = peer->common_name;
}

/* --- TLS --- */

static void start_tls(sp_dial *d) {
    char ip[SP_ADDR_MAX];
    const char *name = d->pool->tls_name;
    sp_addr_format_ip(&d->upstream->e.addr, ip);
    sp_sock_start_tls(d->worker, &d->sock, d->pool->tls->ctx, false, name ? name : ip, (sp_str){0});
    sp_tls_io *io = sp_sock_tls_io(&d->sock);
    if (d->alpn) sp_tls_io_offer(io, d->alpn);
    sp_tls_io_remember(io, &d->upstream->tls_session);
}

static void complain(sp_dial *d, const sp_err *err) {
    sp_worker *w = d->worker;
    char at[SP_ADDR_MAX];
    int64_t now = sp_poller_now_ms(w->poller);
    w->stats.upstream_tls_failures++;
    if (w->complained_ms && now - w->complained_ms < COMPLAIN_EVERY_MS) return;
    w->complained_ms = now;
    sp_addr_format(&d->upstream->e.addr, at);
    sp_warn("TLS to an endpoint failed", SP_KV("pool", d->pool->name), SP_KV("endpoint", at),
            SP_KV("why", err->text));
}

static sp_secured failed(sp_err *err, const char *why) {
    sp_err_set(err, SP_CONNECTION, "%s", why);
    return SP_SECURED_FAILED;
}

sp_secured sp_dial_secure(sp_dial *d, sp_err *err) {
    if (!d->sock.tls) {
        if (d->pool->send_proxy && !send_proxy_header(d))
            return failed(err, "it does not take the PROXY header");
        if (!d->pool->tls_wanted) return SP_SECURED_OK;
        if (!d->pool->tls) return failed(err, "the pool's TLS settings cannot be used");
        start_tls(d);
    }
    switch (sp_sock_handshake(d->worker, &d->sock, err)) {
    case SP_TLS_OK: return SP_SECURED_OK;
    case SP_TLS_MORE: return SP_SECURED_MORE;
    case SP_TLS_CLOSED:
    case SP_TLS_FAILED: break;
    }
    complain(d, err);
    return SP_SECURED_FAILED;
}
