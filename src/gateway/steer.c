#include "gateway/steer.h"

enum { MAX_WEIGHT = 256 };

static const char *const state_names[] = {"enable", "drain", "disable"}; /* as sp_steer_state */

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

bool sp_steer_read(const sp_json *request, sp_steering *ret, const char **ret_wrong) {
    sp_str state = sp_json_str(sp_json_get(request, "state"));
    const sp_json *number = sp_json_get(request, "weight");
    int64_t weight = sp_json_int(number, -1);
    size_t i = 0;
    while (i < SP_COUNT(state_names) && !sp_str_eqz(state, state_names[i])) i++;
    *ret = (sp_steering){.pool = sp_json_str(sp_json_get(request, "pool")),
                         .server = sp_json_str(sp_json_get(request, "server")),
                         .says_state = state.n > 0,
                         .says_weight = number || i == SP_STEER_AS_IT_IS,
                         .state = (sp_steer_state)i,
                         .weight = (int)weight};
    *ret_wrong = NULL;
    if (state.n ? i == SP_COUNT(state_names) : !number)
        *ret_wrong = "state: drain, disable or enable";
    if (weight < -1 || weight > MAX_WEIGHT) *ret_wrong = "weight: 0 to 256, or -1: as it is";
    if (!ret->server.n) *ret_wrong = "server: a name or an address is needed";
    return !*ret_wrong;
}

/* "As it is" is kept beside others: they may mean the same server by another of its names, or in
 * more pools. */
static void set_one(sp_steer *s, const sp_steering *said, bool as_it_is) {
    for (size_t i = s->list.n; i-- > 0;) {
        const sp_steering *old = &s->list.p[i];
        bool covered = old->says_state == said->says_state &&
                       (!said->pool.n || sp_str_eq(old->pool, said->pool));
        if (covered && sp_str_eq(old->server, said->server)) drop(s, i);
    }
    if (as_it_is && !s->list.n) return;
    sp_steering fresh = *said;
    fresh.pool = (sp_str){sp_str_dup(said->pool), said->pool.n};
    fresh.server = (sp_str){sp_str_dup(said->server), said->server.n};
    sp_vec_push(&s->list, fresh);
}

/* Each entry of the list is about one of both. */
void sp_steer_set(sp_steer *s, const sp_steering *said) {
    sp_steering state = *said, weight = *said;
    state.says_weight = weight.says_state = false;
    if (said->says_state) set_one(s, &state, said->state == SP_STEER_AS_IT_IS);
    if (said->says_weight) set_one(s, &weight, said->weight < 0);
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
        if (!means(it->pool, it->server, pool, server, addr)) continue;
        if (it->says_state)
            found.state = it->state;
        else
            found.weight = it->weight;
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

/* --- from one process to the next --- */

sp_json *sp_steer_tell(const sp_steer *s, sp_arena *a) {
    sp_json *all = sp_json_array(a);
    sp_vec_each(&s->list, it) {
        sp_json *o = sp_json_push(all, sp_json_object(a));
        if (it->pool.n) sp_json_set(a, o, "pool", sp_json_new_str(a, it->pool));
        sp_json_set(a, o, "server", sp_json_new_str(a, it->server));
        if (it->says_state)
            sp_json_set_z(a, o, "state", state_names[it->state]);
        else
            sp_json_set_int(a, o, "weight", it->weight);
    }
    return all;
}

void sp_steer_hear(sp_steer *s, const sp_json *told) {
    const char *wrong;
    sp_steering said;
    sp_json_each(told, o) {
        if (sp_steer_read(o, &said, &wrong)) sp_steer_set(s, &said);
    }
}

/* --- over a configuration --- */

static void steer(const sp_steering *s, sp_endpoint_spec *e) {
    bool serves = e->ready || e->draining;
    if (s->weight > 0) e->weight = (uint16_t)s->weight;
    if (s->state == SP_STEER_AS_IT_IS && s->weight != 0) return;
    e->ready = false;
    e->held_out = true;
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
