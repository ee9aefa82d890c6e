#include "gateway/steer.h"

struct sp_steer {
    SP_VEC(sp_steering) list; /* strings owned */
};

sp_steer *sp_steer_new(void) {
    return sp_zalloc(1, sizeof(sp_steer));
}

static void drop(sp_steer *s, size_t i) {
    free((char *)(uintptr_t)s->list.p[i].pool.p);
    free((char *)(uintptr_t)s->list.p[i].server.p);
    sp_vec_remove(&s->list, i);
}

sp_steer *sp_steer_free(sp_steer *s) {
    if (!s) return NULL;
    while (s->list.n) drop(s, s->list.n - 1);
    sp_vec_free(&s->list);
    free(s);
    return NULL;
}

void sp_steer_set(sp_steer *s, const sp_steering *said) {
    for (size_t i = s->list.n; i-- > 0;) {
        const sp_steering *old = &s->list.p[i];
        bool covered = !said->pool.n || sp_str_eq(old->pool, said->pool);
        if (covered && sp_str_eq(old->server, said->server)) drop(s, i);
    }
    /* "As it is" is kept beside others: they may mean the same server by another of its names, or
     * in more pools. */
    if (said->state == SP_STEER_AS_IT_IS && said->weight < 0 && !s->list.n) return;
    sp_steering fresh = *said;
    fresh.pool = (sp_str){sp_str_dup(said->pool), said->pool.n};
    fresh.server = (sp_str){sp_str_dup(said->server), said->server.n};
    sp_vec_push(&s->list, fresh);
}

static bool means(sp_str pool, sp_str server, sp_str in_pool, sp_str name, const sp_addr *addr) {
    char at[SP_ADDR_MAX], ip[SP_ADDR_MAX];
    if (pool.n && !sp_str_eq(pool, in_pool)) return false;
    if (name.n && sp_str_eq(server, name)) return true;
    sp_addr_format(addr, at);
    sp_addr_format_ip(addr, ip);
    return sp_str_eqz(server, at) || sp_str_eqz(server, ip);
}

/* What was said last counts. */
sp_steering sp_steer_get(const sp_steer *s, sp_str pool, sp_str server, const sp_addr *addr) {
    sp_steering found = {.weight = -1};
    sp_vec_each(&s->list, it) {
        if (means(it->pool, it->server, pool, server, addr)) found = *it;
    }
    return found;
}

size_t sp_steer_count(const sp_gateway_config *c, sp_str pool, sp_str server) {
    size_t n = 0;
    for (size_t i = 0; i < c->pool_count; i++) {
        const sp_pool_spec *p = &c->pools[i];
        for (size_t k = 0; k < p->endpoint_count; k++)
            n += means(pool, server, p->name, p->endpoints[k].name, &p->endpoints[k].addr);
    }
    return n;
}

static void steer(const sp_steering *s, sp_endpoint_spec *e) {
    bool serves = e->ready || e->draining;
    if (s->weight > 0) e->weight = (uint16_t)s->weight;
    if (s->state == SP_STEER_AS_IT_IS && s->weight != 0) return;
    e->ready = false;
    e->draining = e->no_newcomers = serves && s->state != SP_STEER_DISABLED;
}

void sp_steer_overlay(void *ctx, sp_gateway_config *c) {
    const sp_steer *s = ctx;
    if (!s->list.n) return;
    for (size_t i = 0; i < c->pool_count; i++) {
        sp_pool_spec *p = &c->pools[i];
        for (size_t k = 0; k < p->endpoint_count; k++) {
            sp_endpoint_spec *e = &p->endpoints[k];
            sp_steering said = sp_steer_get(s, p->name, e->name, &e->addr);
            steer(&said, e);
        }
    }
}
