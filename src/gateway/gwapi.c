/* Which routes attach to the listeners of Gateways, and what both become: ports, server names,
 * routing entries. The listeners themselves are judged in gwlisten.c. */
#include "gateway/gwapi.h"
#include "gateway/httproute.h"

/* --- attaching --- */

const sp_json *sp_route_parent(const sp_cluster_view *v, const sp_json *route,
                               const sp_json *parent) {
    sp_str group = sp_json_text(parent, "group"), kind = sp_json_text(parent, "kind");
    sp_str ns = sp_json_text(parent, "namespace");
    if (group.n && !sp_str_eqz(group, "gateway.networking.k8s.io")) return NULL;
    if (kind.n && !sp_str_eqz(kind, "Gateway")) return NULL;
    if (!ns.n) ns = sp_obj_namespace(route);
    const sp_json *g = sp_view_find(&v->gateways, ns, sp_json_text(parent, "name"));
    return g && sp_gateway_is_ours(v, g) ? g : NULL;
}

static bool is_named(const sp_json *parent, const sp_gw_listener *l) {
    sp_str section = sp_json_text(parent, "sectionName");
    const sp_json *port = sp_json_get(parent, "port");
    if (section.n && !sp_str_eq(section, l->name)) return false;
    return !port || sp_json_int(port, 0) == sp_json_int(sp_json_get(l->spec, "port"), -1);
}

static bool namespace_allows(sp_arena *a, const sp_cluster_view *v, const sp_gw_listener *l,
                             const sp_json *route) {
    const sp_json *ns = sp_json_dig(l->spec, "allowedRoutes", "namespaces", NULL);
    sp_str from = sp_json_text(ns, "from");
    sp_selector *selector = NULL;
    if (sp_str_eqz(from, "All")) return true;
    if (sp_str_eqz(from, "None")) return false;
    if (!sp_str_eqz(from, "Selector"))
        return sp_str_eq(sp_obj_namespace(route), sp_obj_namespace(l->gateway));
    const sp_json *owner = sp_view_find(&v->namespaces, (sp_str){0}, sp_obj_namespace(route));
    return owner && sp_selector_from_json(a, sp_json_get(ns, "selector"), &selector, NULL) &&
           sp_selector_matches(selector, sp_json_dig(owner, "metadata", "labels", NULL));
}

static bool intersect(sp_str one, sp_str other, sp_str *ret) {
    bool first = sp_str_eq(one, other) || sp_route_host_within(one, other);
    if (!first && !sp_route_host_within(other, one)) return false;
    *ret = first ? one : other;
    return true;
}

static void add_host(sp_strs *list, sp_str host) {
    sp_vec_each(list, h) if (sp_str_eq(*h, host)) return;
    sp_vec_push(list, host);
}

static void shared_hosts(sp_arena *a, const sp_gw_listener *l, sp_route_kind kind,
                         const sp_json *route, sp_strs *ret) {
    sp_str host;
    const sp_json *hosts = sp_json_dig(route, "spec", "hostnames", NULL);
    ret->n = 0;
    if (kind == SP_ROUTE_TCP || !hosts || !hosts->count) {
        sp_vec_push(ret, l->host);
        return;
    }
    sp_json_each(hosts, h) {
        if (intersect(l->host, sp_translate_lower(a, sp_json_str(h)), &host)) add_host(ret, host);
    }
}

typedef enum attach { ATTACHED, NOT_NAMED, NOT_ALLOWED, NO_HOST, ATTACH_RESULTS } attach;

static attach may_attach(sp_arena *a, const sp_cluster_view *v, const sp_gw_listener *l,
                         sp_route_kind kind, const sp_json *route, const sp_json *parent,
                         sp_strs *hosts) {
    hosts->n = 0;
    if (!is_named(parent, l)) return NOT_NAMED;
    if (!(l->kinds & (1u << kind)) || !namespace_allows(a, v, l, route)) return NOT_ALLOWED;
    shared_hosts(a, l, kind, route, hosts);
    return hosts->n ? ATTACHED : NO_HOST;
}

bool sp_gw_attaches(sp_arena *a, const sp_cluster_view *v, const sp_gw_listener *l,
                    sp_route_kind kind, const sp_json *route, sp_strs *ret_hosts) {
    sp_json_each(sp_json_dig(route, "spec", "parentRefs", NULL), parent) {
        if (sp_route_parent(v, route, parent) == l->gateway &&
            may_attach(a, v, l, kind, route, parent, ret_hosts) == ATTACHED)
            return true;
    }
    return false;
}

/* --- what is said of a route --- */

static sp_route_verdict verdict_of(const bool seen[ATTACH_RESULTS]) {
    if (seen[ATTACHED])
        return (sp_route_verdict){true, "Accepted", SP_STR("Route is accepted"), {0}};
    if (seen[NO_HOST])
        return (sp_route_verdict){false,
                                  "NoMatchingListenerHostname",
                                  SP_STR("no hostname of the route lies within the listener's"),
                                  {0}};
    if (seen[NOT_ALLOWED])
        return (sp_route_verdict){false,
                                  "NotAllowedByListeners",
                                  SP_STR("no listener admits routes of this kind and namespace"),
                                  {0}};
    return (sp_route_verdict){false,
                              "NoMatchingParent",
                              SP_STR("the Gateway has no listener with this name and port"),
                              {0}};
}

/* Rules that are not served; *ret_all when there is no other. */
static sp_str rule_faults(sp_arena *a, sp_route_kind kind, const sp_json *route, bool *ret_all) {
    sp_str text = {0};
    size_t i = 0, bad = 0;
    sp_json_each(sp_json_dig(route, "spec", "rules", NULL), rule) {
        sp_str fault = sp_http_rule_fault(a, kind, route, rule, i++);
        if (!fault.n) continue;
        bad++;
        text = sp_arena_printf(a, "%.*s%s%.*s", SP_ARG(text), text.n ? "; " : "", SP_ARG(fault));
    }
    *ret_all = bad && bad == i;
    return text;
}

sp_route_verdict sp_route_accepted(sp_arena *a, const sp_cluster_view *v,
                                   const sp_translate_options *o, sp_route_kind kind,
                                   const sp_json *route, const sp_json *parent,
                                   const sp_json *gateway) {
    bool seen[ATTACH_RESULTS] = {0}, all = false;
    sp_strs hosts = {0};
    sp_gw_listeners listeners = {0};
    sp_str faults = rule_faults(a, kind, route, &all);
    if (all) return (sp_route_verdict){false, "UnsupportedValue", faults, {0}};
    sp_gw_listeners_of(a, v, o, gateway, &listeners);
    sp_vec_each(&listeners, l) seen[may_attach(a, v, l, kind, route, parent, &hosts)] = true;
    sp_vec_free(&listeners);
    sp_vec_free(&hosts);
    sp_route_verdict verdict = verdict_of(seen);
    verdict.dropped = faults;
    return verdict;
}

static sp_problem mirrors_problem(sp_arena *a, const sp_cluster_view *v, sp_referrer from,
                                  const sp_json *filters) {
    sp_json_each(filters, f) {
        const sp_json *ref = sp_json_dig(f, "requestMirror", "backendRef", NULL);
        sp_problem p = ref ? sp_ref_backend(a, v, from, ref).problem : (sp_problem){0};
        if (p.reason) return p;
    }
    return (sp_problem){0};
}

static sp_problem rule_problem(sp_arena *a, const sp_cluster_view *v, sp_referrer from,
                               const sp_json *rule) {
    sp_json_each(sp_json_get(rule, "backendRefs"), ref) {
        sp_backend b = sp_ref_backend(a, v, from, ref);
        if (b.problem.reason) return b.problem;
        sp_problem p = mirrors_problem(a, v, from, sp_json_get(ref, "filters"));
        if (p.reason) return p;
    }
    return mirrors_problem(a, v, from, sp_json_get(rule, "filters"));
}

sp_route_verdict sp_route_resolved(sp_arena *a, const sp_cluster_view *v, sp_route_kind kind,
                                   const sp_json *route) {
    sp_referrer from = {sp_route_kind_name(kind), sp_obj_namespace(route)};
    sp_json_each(sp_json_dig(route, "spec", "rules", NULL), rule) {
        sp_problem p = rule_problem(a, v, from, rule);
        if (p.reason) return (sp_route_verdict){false, p.reason, p.text, {0}};
    }
    return (sp_route_verdict){true, "ResolvedRefs", SP_STR("All references are resolved"), {0}};
}

int64_t sp_gw_attached(sp_arena *a, const sp_cluster_view *v, const sp_gw_listener *l) {
    int64_t n = 0;
    sp_strs hosts = {0};
    for (unsigned k = 0; k < SP_ROUTE_KINDS; k++) {
        bool all;
        if (!(l->kinds & (1u << k))) continue;
        sp_vec_each(sp_routes_of(v, (sp_route_kind)k), r) {
            (void)rule_faults(a, (sp_route_kind)k, *r, &all);
            n += !all && sp_gw_attaches(a, v, l, (sp_route_kind)k, *r, &hosts);
        }
    }
    sp_vec_free(&hosts);
    return n;
}

/* --- translation --- */

typedef struct gateway_visit {
    sp_translator *t;
    sp_gw_listeners listeners; /* of this Gateway */
    sp_str owner;
} gateway_visit;

/* Listener isolation: of the hosts, what no more specific listener of this Gateway and port keeps.
 */
static void isolate(const gateway_visit *g, const sp_gw_listener *l, const sp_strs *hosts,
                    sp_http_hosts *ret) {
    sp_arena *a = g->t->arena;
    ret->n = 0;
    sp_vec_each(hosts, h) {
        sp_http_host to = {.host = *h};
        to.except = sp_arena_alloc(a, (g->listeners.n + 1) * sizeof *to.except);
        bool kept = true;
        sp_vec_each(&g->listeners, o) {
            bool specific = o != l && o->port == l->port && o->protocol == l->protocol &&
                            !sp_str_eq(o->host, l->host) && sp_route_host_within(o->host, l->host);
            if (!specific) continue;
            if (h->n && (sp_str_eq(*h, o->host) || sp_route_host_within(*h, o->host)))
                kept = false;
            else if (sp_route_host_within(o->host, *h))
                to.except[to.except_count++] = o->host;
        }
        if (kept) sp_vec_push(ret, to);
    }
}

static void add_http_routes(const gateway_visit *g, const sp_gw_listener *l, uint32_t table) {
    sp_translator *t = g->t;
    sp_strs shared = {0};
    sp_http_hosts hosts = {0};
    size_t first = t->entries.p[table].n;
    for (unsigned k = SP_ROUTE_HTTP; k <= SP_ROUTE_GRPC; k++) {
        sp_vec_each(sp_routes_of(t->view, (sp_route_kind)k), r) {
            if (!sp_gw_attaches(t->arena, t->view, l, (sp_route_kind)k, *r, &shared)) continue;
            isolate(g, l, &shared, &hosts);
            sp_http_entries(t, table, (sp_route_kind)k, *r, &hosts);
        }
    }
    sp_str name = sp_obj_key(t->arena, l->gateway);
    name = sp_arena_printf(t->arena, "%.*s/%.*s", SP_ARG(name), SP_ARG(l->name));
    for (size_t i = first; i < t->entries.p[table].n; i++) t->entries.p[table].p[i].listener = name;
    sp_vec_free(&shared);
    sp_vec_free(&hosts);
}

/* --- connections --- */

static int by_age(const void *pa, const void *pb) {
    const sp_json *a = *(const sp_json *const *)pa, *b = *(const sp_json *const *)pb;
    int64_t ta = sp_translate_created_ms(a), tb = sp_translate_created_ms(b);
    if (ta != tb) return ta < tb ? -1 : 1;
    int d = sp_str_cmp(sp_obj_namespace(a), sp_obj_namespace(b));
    return d ? d : sp_str_cmp(sp_obj_name(a), sp_obj_name(b));
}

static void sort_routes(const sp_obj_list *from, sp_obj_list *ret) {
    ret->n = 0;
    sp_vec_each(from, r) sp_vec_push(ret, *r);
    if (ret->n) qsort(ret->p, ret->n, sizeof *ret->p, by_age);
}

static sp_targets connection_targets(const gateway_visit *g, sp_route_kind kind,
                                     const sp_json *route) {
    sp_translator *t = g->t;
    sp_targets to = {0};
    sp_referrer from = {sp_route_kind_name(kind), sp_obj_namespace(route)};
    const sp_json *rule = sp_json_at(sp_json_dig(route, "spec", "rules", NULL), 0);
    sp_json_each(sp_json_get(rule, "backendRefs"), ref) {
        sp_backend b = sp_ref_backend(t->arena, t->view, from, ref);
        int64_t weight = sp_json_int(sp_json_get(ref, "weight"), 1);
        uint32_t pool = SP_NO_POOL;
        if (!b.problem.reason)
            pool = sp_ref_backend_policy(t->view, b.service, b.port)
                       ? sp_translate_backend(t, &b, NULL, (sp_str){0})
                       : sp_translate_pool(t, b.service, b.port);
        sp_targets_add(t->arena, &to, pool, (uint32_t)SP_MIN(SP_MAX(weight, 0), 1000000));
    }
    return to;
}

/* The oldest route has the port. */
static void serve_tcp(const gateway_visit *g, const sp_gw_listener *l, size_t port) {
    sp_translator *t = g->t;
    sp_strs hosts = {0};
    sp_obj_list routes = {0};
    sort_routes(&t->view->tcp_routes, &routes);
    sp_vec_each(&routes, r) {
        if (!sp_gw_attaches(t->arena, t->view, l, SP_ROUTE_TCP, *r, &hosts)) continue;
        sp_targets to = connection_targets(g, SP_ROUTE_TCP, *r);
        t->listeners.p[t->ports.p[port].listener].plain.targets = to;
        break;
    }
    sp_vec_free(&routes);
    sp_vec_free(&hosts);
}

static bool has_sni(const sp_translator *t, size_t port, sp_str host) {
    sp_vec_each(&t->ports.p[port].sni, e) if (sp_str_eq(e->host, host)) return true;
    return false;
}

static void add_connection_routes(const gateway_visit *g, const sp_gw_listener *l, size_t port,
                                  sp_route_kind kind) {
    sp_translator *t = g->t;
    sp_strs shared = {0};
    sp_http_hosts hosts = {0};
    sp_obj_list routes = {0};
    sort_routes(sp_routes_of(t->view, kind), &routes);
    sp_vec_each(&routes, r) {
        if (!(l->kinds & (1u << kind)) || !sp_gw_attaches(t->arena, t->view, l, kind, *r, &shared))
            continue;
        sp_sni_entry e = {.tls = l->tls, .owner = g->owner};
        e.inner.targets = connection_targets(g, kind, *r);
        isolate(g, l, &shared, &hosts);
        sp_vec_each(&hosts, h) {
            e.host = h->host;
            if (!has_sni(t, port, e.host)) sp_translate_sni(t, port, e);
        }
    }
    sp_vec_free(&routes);
    sp_vec_free(&shared);
    sp_vec_free(&hosts);
}

/* The listener's own name stands for itself even without a route: what a wider listener serves is
 * not for this name. */
static void serve_tls(const gateway_visit *g, const sp_gw_listener *l, size_t port) {
    add_connection_routes(g, l, port, SP_ROUTE_TLS);
    add_connection_routes(g, l, port, SP_ROUTE_TCP);
    if (!l->host.n || has_sni(g->t, port, l->host)) return;
    sp_translate_sni(g->t, port, (sp_sni_entry){.host = l->host, .tls = l->tls, .owner = g->owner});
}

static void serve_https(const gateway_visit *g, const sp_gw_listener *l, size_t port) {
    sp_translator *t = g->t;
    sp_sni_entry e = {.host = l->host, .tls = l->tls, .owner = g->owner};
    e.inner.http = true;
    e.inner.table = sp_translate_new_table(t);
    if (sp_translate_sni(t, port, e)) add_http_routes(g, l, e.inner.table);
}

/* A listener whose certificates cannot be used: its name is turned away, rather than served by a
 * wider listener; and the port is open for an ACME server to look. */
static void close_names(const gateway_visit *g, const sp_gw_listener *l, sp_addr addr) {
    bool wants_tls = l->protocol == SP_GW_HTTPS || (l->protocol == SP_GW_TLS && !l->passthrough);
    if (!wants_tls || l->tls || l->invalid.reason || l->clash.reason || !l->port) return;
    size_t port = sp_translate_port(g->t, addr, SP_CARRIES_TLS, g->owner);
    if (port == SIZE_MAX || g->t->only_held || has_sni(g->t, port, l->host)) return;
    sp_translate_sni(g->t, port, (sp_sni_entry){.host = l->host, .owner = g->owner});
}

static void serve_listener(const gateway_visit *g, const sp_gw_listener *l, sp_addr addr) {
    static const sp_carried kinds[] = {[SP_GW_HTTP] = SP_CARRIES_HTTP,
                                       [SP_GW_HTTPS] = SP_CARRIES_TLS,
                                       [SP_GW_TLS] = SP_CARRIES_TLS,
                                       [SP_GW_TCP] = SP_CARRIES_TCP};
    addr.port = l->port;
    if (!l->served || l->protocol == SP_GW_OTHER) {
        close_names(g, l, addr);
        return;
    }
    size_t port = sp_translate_port(g->t, addr, kinds[l->protocol], g->owner);
    if (port == SIZE_MAX || g->t->only_held) return;
    switch (l->protocol) {
    case SP_GW_HTTP: add_http_routes(g, l, g->t->ports.p[port].table); break;
    case SP_GW_HTTPS: serve_https(g, l, port); break;
    case SP_GW_TLS: serve_tls(g, l, port); break;
    case SP_GW_TCP: serve_tcp(g, l, port); break;
    case SP_GW_OTHER: break;
    }
}

void sp_translate_gateways(sp_translator *t) {
    gateway_visit g = {.t = t};
    sp_addrs addrs = {0};
    sp_obj_list gateways = {0};
    sort_routes(&t->view->gateways, &gateways);
    sp_vec_each(&gateways, gw) {
        if (!sp_gateway_is_ours(t->view, *gw)) continue;
        g.owner = sp_arena_printf(t->arena, "Gateway %.*s/%.*s", SP_ARG(sp_obj_namespace(*gw)),
                                  SP_ARG(sp_obj_name(*gw)));
        if (sp_gw_addresses(t->arena, t->options, *gw, &addrs).reason) continue;
        sp_gw_listeners_of(t->arena, t->view, t->options, *gw, &g.listeners);
        sp_vec_each(&addrs, addr) {
            sp_vec_each(&g.listeners, l) serve_listener(&g, l, sp_translate_bind(t, *addr));
        }
    }
    sp_vec_free(&gateways);
    sp_vec_free(&addrs);
    sp_vec_free(&g.listeners);
}
