/* Pools and their endpoints in the data path: they keep their identity (a pool by name, an endpoint
 * by address) from one configuration to the next. */
#include "gateway/affinity.h"
#include "gateway/counts.h"
#include "gateway/datapath.h"

void sp_upstream_ref(sp_upstream *u) {
    u->e.refs++;
}

void sp_upstream_unref(sp_upstream *u) {
    if (--u->e.refs) return;
    sp_counts_put(u->e.shared);
    sp_counts_put(u->pool_count);
    free((char *)(uintptr_t)u->name.p);
    sp_tls_session_free(u->tls_session);
    free(u);
}

static sp_pool *pool_of(const sp_upstream *u) { /* NULL once it is gone */
    return u->e.home ? SP_CONTAINER(u->e.home, sp_pool, balance) : NULL;
}

void sp_upstream_take(sp_upstream *u) {
    sp_upstream_ref(u);
    sp_balance_opened(&u->e);
    if (u->pool_count) sp_count_add(&u->pool_count->open, 1);
}

bool sp_upstream_try(sp_upstream *u) {
    sp_pool *p = pool_of(u);
    if (u->pool_count && !sp_count_try(&u->pool_count->open, sp_pool_limit(p))) return false;
    if (sp_balance_try_open(&u->e)) {
        sp_upstream_ref(u);
        return true;
    }
    if (u->pool_count) sp_count_add(&u->pool_count->open, -1);
    return false;
}

void sp_upstream_rest(sp_upstream *u) {
    sp_pool *p = pool_of(u);
    sp_balance_closed(&u->e);
    if (u->pool_count) sp_count_add(&u->pool_count->open, -1);
    if (p) sp_queue_place_free(p);
}

void sp_upstream_release(sp_upstream *u) {
    if (!u) return;
    sp_upstream_rest(u);
    sp_upstream_unref(u);
}

void sp_upstream_report(sp_worker *w, sp_upstream *u, sp_outcome o) {
    if (!u->e.home) return;
    if (sp_balance_report(u->e.home, &u->e, o, sp_poller_now_ms(w->poller))) {
        w->stats.ejections++;
        sp_upstream_close_idle(u);
    }
}

sp_pool *sp_pool_ref(sp_pool *p) {
    p->refs++;
    return p;
}

bool sp_pool_take_retry(sp_pool *p, bool *held) {
    uint32_t most = p->limits.max_retries;
    if (!most || *held) return true;
    *held = sp_count_try(&p->shared->retries, most);
    if (!*held) p->worker->stats.retries_refused++;
    return *held;
}

void sp_pool_give_retry(sp_pool *p, bool *held) {
    if (*held) sp_count_add(&p->shared->retries, -1);
    *held = false;
}

static void drop_upstream(sp_upstream *u) {
    u->e.gone = true;
    u->e.ready = u->e.draining = false;
    u->e.home = NULL;
    sp_upstream_close_idle(u);
    sp_upstream_unref(u);
}

static sp_upstream *upstream_at(const sp_pool *p, size_t i) {
    return (sp_upstream *)(void *)p->balance.list.p[i];
}

void sp_pool_unref(sp_worker *w, sp_pool *p) {
    if (!p || --p->refs) return;
    sp_map_del(&w->pools, p->name);
    for (size_t i = 0; i < p->balance.list.n; i++) drop_upstream(upstream_at(p, i));
    p->balance.list.n = 0;
    sp_pool_follow_tls(p, NULL);
    sp_balance_free(&p->balance);
    sp_queue_end(p);
    sp_counts_put(p->shared);
    free((char *)(uintptr_t)p->name.p);
    free((char *)(uintptr_t)p->service.p);
    free(p);
}

static sp_pool *get_pool(sp_worker *w, const sp_pool_spec *spec) {
    sp_pool *p = sp_map_get(&w->pools, spec->name);
    if (p) return sp_pool_ref(p);
    p = sp_zalloc(1, sizeof *p);
    p->refs = 1;
    p->name = (sp_str){sp_str_dup(spec->name), spec->name.n};
    p->service = (sp_str){sp_str_dup(spec->service), spec->service.n};
    p->worker = w;
    p->shared = sp_counts_get(p->name);
    sp_hedge_init(p);
    sp_list_init(&p->waiters);
    sp_queue_init(p);
    sp_map_put(&w->pools, p->name, p);
    return p;
}

/* --- endpoints --- */

static sp_str addr_key(const sp_addr *a, char ret[SP_ADDR_MAX]) {
    sp_addr_format(a, ret);
    return sp_str_z(ret);
}

static sp_upstream *new_upstream(const sp_addr *addr) {
    sp_upstream *u = sp_zalloc(1, sizeof *u);
    u->e.addr = *addr;
    u->e.refs = 1;
    u->e.at = SP_BALANCE_NOWHERE;
    sp_list_init(&u->idle);
    sp_list_init(&u->h2);
    return u;
}

/* A limit holds for the whole gateway, so the loops count together where there is one. */
static void follow_limit(const sp_pool *p, sp_endpoint *e, uint32_t max_connections) {
    char addr[SP_ADDR_MAX];
    e->max_connections = max_connections;
    if (!max_connections == !e->shared) return;
    if (e->shared) {
        sp_count_add(&e->shared->open, -(int32_t)e->open);
        e->shared = sp_counts_put(e->shared);
        return;
    }
    sp_auto(sp_buf) name = {0};
    sp_buf_printf(&name, "%.*s %.*s", SP_ARG(p->name), SP_ARG(addr_key(&e->addr, addr)));
    e->shared = sp_counts_get(sp_buf_str(&name));
    sp_count_add(&e->shared->open, (int32_t)e->open);
}

/* The same for what the whole pool may do. */
static void follow_pool_limit(const sp_pool *p, sp_upstream *u) {
    bool limited = sp_pool_limit(p) > 0;
    if (limited == (u->pool_count != NULL)) return;
    if (limited) {
        u->pool_count = sp_counts_get(p->name);
        sp_count_add(&u->pool_count->open, (int32_t)u->e.open);
    } else {
        sp_count_add(&u->pool_count->open, -(int32_t)u->e.open);
        u->pool_count = sp_counts_put(u->pool_count);
    }
}

/* Ends connections that began before. */
static void cut(sp_worker *w, sp_upstream *u) {
    u->cuts++;
    w->cuts = true;
}

/* Ejections end with their rule, and last no longer than it says now. */
static void follow_outlier(const sp_outlier_spec *o, sp_endpoint *e, int64_t now) {
    if (!o->consecutive) {
        e->streak = e->ejections = 0;
        e->eject_until_ms = 0;
    } else if (e->eject_until_ms) {
        e->eject_until_ms = SP_MIN(e->eject_until_ms, now + sp_balance_longest_ejection_ms(o));
    }
}

/* True when the hash table must be made anew. */
static bool update_upstream(sp_pool *p, const sp_pool_spec *pool, sp_upstream *u,
                            const sp_endpoint_spec *s, int64_t now) {
    sp_endpoint *e = &u->e, old = *e;
    bool came_back = s->ready && !e->ready;
    sp_upstream_name(u, s->name);
    e->id = sp_affinity_id(s->name, &s->addr);
    const sp_sticky_spec *sticky = &pool->sticky;
    e->sticky =
        sticky->cookie.n ? sp_affinity_sticky(sticky->key, pool->name, s->name, &s->addr) : 0;
    bool failing = pool->reset_on_check_failure && s->sick;
    if (failing && !u->failing) cut(p->worker, u);
    u->failing = failing;
    e->ready = s->ready;
    e->draining = s->draining;
    e->no_newcomers = s->no_newcomers;
    e->sick = s->sick && !s->held_out;
    e->backup = s->backup;
    e->priority = s->priority;
    e->weight = s->weight;
    follow_limit(p, e, s->max_connections);
    follow_pool_limit(p, u);
    if (came_back) {
        e->failures = e->streak = e->ejections = 0;
        e->avoid_until_ms = e->eject_until_ms = 0;
        e->ready_since_ms = p->served ? now : 0; /* those of the beginning are warm */
    }
    follow_outlier(&pool->outlier, e, now);
    if (!s->ready) sp_upstream_close_idle(u);
    return old.id != e->id || old.sticky != e->sticky || old.weight != e->weight;
}

static void index_upstreams(const sp_pool *p, sp_map *ret) {
    char key[SP_ADDR_MAX];
    for (size_t i = 0; i < p->balance.list.n; i++)
        sp_map_put(ret, addr_key(&p->balance.list.p[i]->addr, key), upstream_at(p, i));
}

static void update_endpoints(sp_worker *w, sp_pool *p, const sp_pool_spec *spec) {
    char key[SP_ADDR_MAX];
    int64_t now = sp_poller_now_ms(w->poller);
    sp_map old = {0};
    sp_endpoints before = p->balance.list, list = {0};
    void *left;
    index_upstreams(p, &old);
    bool members = false, ready = false;
    for (size_t i = 0; i < spec->endpoint_count; i++) {
        const sp_endpoint_spec *s = &spec->endpoints[i];
        sp_upstream *u = sp_map_del(&old, addr_key(&s->addr, key));
        if (!u) u = new_upstream(&s->addr);
        sp_vec_push(&list, &u->e);
        members |= i >= before.n || before.p[i] != &u->e;
        members |= update_upstream(p, spec, u, s, now);
        ready |= s->ready;
    }
    members |= before.n != list.n;
    p->balance.list = list;
    sp_vec_free(&before);
    for (size_t at = 0; sp_map_next(&old, &at, NULL, &left);) {
        if (spec->reset_on_removal) cut(w, left);
        drop_upstream(left);
    }
    sp_map_free(&old);
    sp_balance_changed(&p->balance, members);
    p->served |= ready;
}

static void update_pool(sp_worker *w, sp_pool *p, const sp_pool_spec *spec) {
    sp_balance *b = &p->balance;
    b->algorithm = spec->algorithm;
    b->affinity_ms = spec->affinity_ms;
    b->slow_start_ms = spec->slow_start_ms;
    b->panic_percent = spec->panic_percent;
    b->outlier = spec->outlier;
    p->limits = spec->limits;
    p->listed = true;
    p->reset_on_removal = spec->reset_on_removal;
    p->connect_timeout_ms = spec->connect_timeout_ms;
    sp_pool_follow_tls(p, spec);
    update_endpoints(w, p, spec);
}

void sp_worker_wake_pools(sp_worker *w) {
    sp_vec_each(&w->pool_at, it) {
        sp_list now;
        sp_list_init(&now);
        while (!sp_list_empty(&(*it)->waiters)) {
            sp_list *l = (*it)->waiters.next;
            sp_list_remove(l);
            sp_list_append(&now, l);
        }
        while (!sp_list_empty(&now)) {
            sp_dial *d = SP_CONTAINER(now.next, sp_dial, waiting);
            sp_list_remove(&d->waiting);
            sp_dial_retry(d);
        }
        sp_queue_place_free(*it);
    }
    sp_worker_run_queues(w);
}

static bool still_serves(const sp_gateway_config *c, sp_str service, const sp_addr *addr) {
    for (size_t i = 0; i < c->pool_count; i++) {
        const sp_pool_spec *p = &c->pools[i];
        for (size_t k = 0; sp_str_eq(p->service, service) && k < p->endpoint_count; k++)
            if (sp_addr_eq(&p->endpoints[k].addr, addr)) return true;
    }
    return false;
}

/* Its connections keep a pool alive that the configuration has no more, and with it the endpoints.
 * Those are gone too, unless it was only this way to them that went (a route, a protocol). */
static void cut_unlisted(sp_worker *w, const sp_gateway_config *c) {
    void *pool;
    for (size_t at = 0; sp_map_next(&w->pools, &at, NULL, &pool);) {
        const sp_pool *p = pool;
        if (p->listed || !p->reset_on_removal) continue;
        for (size_t i = 0; i < p->balance.list.n; i++) {
            sp_upstream *u = upstream_at(p, i);
            if (!still_serves(c, p->service, &u->e.addr)) cut(w, u);
        }
    }
}

void sp_worker_apply_pools(sp_worker *w, const sp_gateway_config *c) {
    size_t old_count = w->pool_at.n;
    sp_pool **old = w->pool_at.p;
    for (size_t i = 0; i < old_count; i++) old[i]->listed = false;
    w->pool_at.p = NULL;
    w->pool_at.n = w->pool_at.cap = 0;
    for (size_t i = 0; i < c->pool_count; i++) {
        sp_pool *p = get_pool(w, &c->pools[i]);
        sp_vec_push(&w->pool_at, p);
        update_pool(w, p, &c->pools[i]);
    }
    cut_unlisted(w, c);
    for (size_t i = 0; i < old_count; i++) sp_pool_unref(w, old[i]);
    free(old);
}
