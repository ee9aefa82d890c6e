#include "data/time.h"
#include "gateway/policy.h"

#include <stdarg.h>
#include <stdio.h>

void sp_cluster_view_free(sp_cluster_view *v) {
    sp_obj_list *const lists[] = {&v->services,
                                  &v->slices,
                                  &v->namespaces,
                                  &v->ingresses,
                                  &v->ingress_classes,
                                  &v->gateway_classes,
                                  &v->gateways,
                                  &v->routes,
                                  &v->grpc_routes,
                                  &v->tls_routes,
                                  &v->tcp_routes,
                                  &v->reference_grants,
                                  &v->backend_tls_policies,
                                  &v->secrets,
                                  &v->config_maps,
                                  &v->challenges,
                                  &v->backend_policies,
                                  &v->traffic_policies,
                                  &v->virtual_addresses};
    for (size_t i = 0; i < SP_COUNT(lists); i++) sp_vec_free(lists[i]);
}

const sp_json *sp_view_find(const sp_obj_list *list, sp_str ns, sp_str name) {
    sp_vec_each(list, o) {
        if (sp_str_eq(sp_obj_name(*o), name) && sp_str_eq(sp_obj_namespace(*o), ns)) return *o;
    }
    return NULL;
}

int64_t sp_translate_created_ms(const sp_json *o) {
    int64_t ms = 0;
    sp_str text = sp_json_str(sp_json_dig(o, "metadata", "creationTimestamp", NULL));
    return sp_time_parse(text, &ms) ? ms : 0;
}

/* --- ports --- */

void sp_translate_refuse(sp_translator *t, sp_str owner, uint16_t port, const char *reason,
                         const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sp_refusal r = {sp_arena_str(t->arena, owner), port, reason,
                    sp_arena_str(t->arena, sp_str_z(text))};
    sp_vec_push(&t->out->refusals, r);
}

/* Equal addresses only: a service's own address may share a port with "any address". */
typedef struct addr_key {
    char bytes[19];
} addr_key;

static sp_str key_of(const sp_addr *a, addr_key *k) {
    k->bytes[0] = (char)a->family;
    memcpy(k->bytes + 1, &a->port, 2);
    memcpy(k->bytes + 3, a->ip, 16);
    return (sp_str){k->bytes, sizeof k->bytes};
}

static void index_held(sp_translator *t) {
    const sp_gateway_config *before = t->options->previous;
    addr_key k;
    for (size_t i = 0; before && i < before->listener_count; i++) {
        const sp_listener_spec *l = &before->listeners[i];
        sp_map_put(&t->held, key_of(&l->addr, &k), (void *)(uintptr_t)l);
    }
}

static sp_carried kind_of(const sp_listener_spec *l) {
    return l->sni_count ? SP_CARRIES_TLS : l->plain.http ? SP_CARRIES_HTTP : SP_CARRIES_TCP;
}

static bool held_before(const sp_translator *t, sp_str key, const sp_listener_spec *spec) {
    const sp_listener_spec *l = sp_map_get(&t->held, key);
    return l && sp_str_eq(l->owner, spec->owner) && kind_of(l) == kind_of(spec);
}

bool sp_translate_listen(sp_translator *t, sp_listener_spec spec) {
    addr_key k;
    sp_str key = key_of(&spec.addr, &k);
    uintptr_t at = (uintptr_t)sp_map_get(&t->claimed, key);
    const sp_listener_spec *by = at ? &t->listeners.p[at - 1] : NULL;
    if (by && sp_str_eq(by->owner, spec.owner)) return true; /* in the first pass */
    if (t->only_held && (by || !held_before(t, key, &spec))) return false;
    if (by) {
        sp_translate_refuse(t, spec.owner, spec.addr.port, "PortInUse",
                            "port %u is already used by %.*s", spec.addr.port, SP_ARG(by->owner));
        return false;
    }
    spec.owner = sp_arena_str(t->arena, spec.owner);
    sp_vec_push(&t->listeners, spec);
    sp_map_put(&t->claimed, key, (void *)(uintptr_t)t->listeners.n);
    return true;
}

/* --- ports that many share --- */

uint32_t sp_translate_new_table(sp_translator *t) {
    sp_vec_push(&t->entries, {0});
    return (uint32_t)t->entries.n - 1;
}

static const char *const kind_names[] = {"HTTP", "TLS", "TCP"};

/* An existing port: SIZE_MAX when it is of no use for this owner. */
static size_t share_port(sp_translator *t, size_t at, sp_carried kind, sp_str owner) {
    const sp_shared_port *p = &t->ports.p[at];
    const sp_listener_spec *l = &t->listeners.p[p->listener];
    if (p->kind == kind && (kind != SP_CARRIES_TCP || sp_str_eq(l->owner, owner))) return at;
    if (!t->only_held)
        sp_translate_refuse(t, owner, p->addr.port, "PortInUse", "port %u carries %s for %.*s",
                            p->addr.port, kind_names[p->kind], SP_ARG(l->owner));
    return SIZE_MAX;
}

size_t sp_translate_port(sp_translator *t, sp_addr addr, sp_carried kind, sp_str owner) {
    for (size_t i = 0; i < t->ports.n; i++)
        if (sp_addr_eq(&t->ports.p[i].addr, &addr)) return share_port(t, i, kind, owner);
    sp_shared_port p = {.addr = addr, .kind = kind, .table = (uint32_t)t->entries.n};
    sp_listener_spec l = {.addr = addr, .owner = owner};
    l.plain.http = kind == SP_CARRIES_HTTP;
    l.plain.table = l.plain.http ? p.table : 0;
    l.sni_count = kind == SP_CARRIES_TLS; /* the names come later */
    if (!sp_translate_listen(t, l)) return SIZE_MAX;
    p.listener = t->listeners.n - 1;
    if (l.plain.http) sp_translate_new_table(t);
    sp_vec_push(&t->ports, p);
    return t->ports.n - 1;
}

bool sp_translate_sni(sp_translator *t, size_t port, sp_sni_entry e) {
    sp_shared_port *p = &t->ports.p[port];
    sp_vec_each(&p->sni, other) {
        if (!sp_str_eq(other->host, e.host)) continue;
        if (!sp_str_eq(other->owner, e.owner))
            sp_translate_refuse(t, e.owner, p->addr.port, "HostnameConflict",
                                "the name \"%.*s\" on port %u is already served for %.*s",
                                SP_ARG(e.host), p->addr.port, SP_ARG(other->owner));
        return false;
    }
    sp_vec_push(&p->sni, e);
    return true;
}

sp_addr sp_translate_bind(const sp_translator *t, sp_addr asked) {
    sp_addr one;
    sp_vec_each(&t->view->virtual_addresses, vip) {
        sp_json_each(sp_json_dig(*vip, "spec", "addresses", NULL), it) {
            sp_str text = sp_json_str(it), bare = text;
            sp_str_cut(&text, '/', &bare);
            if (!sp_addr_parse(bare, asked.port, &one) || !sp_addr_eq(&one, &asked)) continue;
            one = t->options->bind;
            one.port = asked.port;
            return one;
        }
    }
    return asked;
}

/* Goes into request lines and header fields as it is. */
static bool is_clean(sp_str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f) return false;
    return true;
}

static bool can_be_said(const sp_route_action *a) {
    bool clean = is_clean(a->path) && is_clean(a->host) && is_clean(a->redirect_scheme) &&
                 is_clean(a->answer_location);
    for (size_t i = 0; clean && a->variants && i < a->targets.n; i++)
        clean =
            !a->variants[i] || a->variants[i]->action == a || can_be_said(a->variants[i]->action);
    return clean;
}

/* Whoever may write a route may not write requests of his own into connections that others share.
 */
void sp_translate_entry(sp_translator *t, uint32_t table, const sp_route_entry *e) {
    sp_route_entry own = *e;
    if (!can_be_said(e->action)) {
        sp_route_action *refusal = SP_NEW(t->arena, sp_route_action);
        refusal->owner = e->action->owner;
        refusal->answer_status = 500;
        refusal->answer_body = SP_STR("the route names a path or host with blanks or control "
                                      "characters\n");
        own.action = refusal;
    }
    sp_vec_push(&t->entries.p[table], own);
}

sp_str sp_translate_lower(sp_arena *a, sp_str s) {
    char *p = sp_arena_strz(a, s);
    for (size_t i = 0; i < s.n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z') p[i] = (char)(p[i] + 32);
    return (sp_str){p, s.n};
}

void sp_targets_add(sp_arena *a, sp_targets *t, uint32_t pool, uint32_t weight) {
    sp_route_target *list = sp_arena_alloc(a, (t->n + 1) * sizeof *list);
    if (t->n) memcpy(list, t->list, t->n * sizeof *list);
    list[t->n++] = (sp_route_target){pool, weight};
    t->list = list;
    t->weight_sum += weight;
}

/* --- the whole --- */

static void *copy_out(sp_arena *a, const void *p, size_t n, size_t size) {
    void *to = sp_arena_alloc(a, n * size + 1);
    if (n) memcpy(to, p, n * size);
    return to;
}

/* A TLS port without a usable certificate answers nobody: it is not opened at all. */
static void finish_ports(sp_translator *t) {
    sp_vec_each(&t->ports, p) {
        sp_listener_spec *l = &t->listeners.p[p->listener];
        if (p->kind == SP_CARRIES_TLS) {
            l->sni = copy_out(t->arena, p->sni.p, p->sni.n, sizeof *p->sni.p);
            l->sni_count = p->sni.n;
            l->addr.family = p->sni.n ? l->addr.family : 0;
        }
        sp_vec_free(&p->sni);
    }
    size_t kept = 0;
    for (size_t i = 0; i < t->listeners.n; i++)
        if (t->listeners.p[i].addr.family) t->listeners.p[kept++] = t->listeners.p[i];
    t->listeners.n = kept;
    sp_vec_free(&t->ports);
}

static void finish(sp_translator *t) {
    sp_gateway_config *c = t->out->config;
    finish_ports(t);
    c->pools = copy_out(c->arena, t->pools.p, t->pools.n, sizeof *t->pools.p);
    c->pool_count = t->pools.n;
    c->listeners = copy_out(c->arena, t->listeners.p, t->listeners.n, sizeof *t->listeners.p);
    c->listener_count = t->listeners.n;
    c->table_count = t->entries.n;
    c->tables = sp_arena_alloc(c->arena, (c->table_count + 1) * sizeof *c->tables);
    for (size_t i = 0; i < t->entries.n; i++) {
        c->tables[i] = sp_route_table_build(c->arena, t->entries.p[i].p, t->entries.p[i].n);
        sp_vec_free(&t->entries.p[i]);
    }
    sp_vec_free(&t->entries);
    sp_vec_free(&t->pools);
    sp_vec_free(&t->listeners);
    sp_map_free(&t->pool_index);
    sp_map_free(&t->claimed);
    sp_map_free(&t->held);
    void *list;
    for (size_t at = 0; sp_map_next(&t->slice_index, &at, NULL, &list);) {
        sp_vec_free((sp_obj_list *)list);
        free(list);
    }
    sp_map_free(&t->slice_index);
}

sp_translation *sp_translate(const sp_cluster_view *view, const sp_translate_options *options) {
    sp_translation *out = sp_zalloc(1, sizeof *out);
    out->config = sp_gateway_config_new();
    sp_translator t = {.arena = out->config->arena, .view = view, .options = options, .out = out};
    sp_addr http = options->bind;
    http.port = options->http_port;
    if (http.port)
        sp_translate_port(&t, http, SP_CARRIES_HTTP, SP_STR("the gateway's own --http-port"));
    if (http.port) sp_translate_ingress_ports(&t);
    index_held(&t);
    t.only_held = true;
    sp_translate_services(&t);
    sp_translate_gateways(&t);
    t.only_held = false;
    sp_translate_services(&t);
    if (options->http_port) sp_translate_ingresses(&t);
    sp_translate_gateways(&t);
    sp_translate_challenges(&t);
    sp_translate_policies(&t);
    sp_translate_sticky_key(&t);
    finish(&t);
    return out;
}

sp_translation *sp_translation_free(sp_translation *t) {
    if (!t) return NULL;
    sp_vec_free(&t->refusals);
    sp_gateway_config_unref(t->config);
    free(t);
    return NULL;
}
