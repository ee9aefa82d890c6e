/* Gateways: which are ours, which of their listeners are served, and which routes may attach
 * (gateway.networking.k8s.io/v1). What a route's rules mean is in httproute.c. */
#include "gateway/httproute.h"
#include "gateway/translate.h"

bool sp_gateway_is_ours(const sp_cluster_view *v, const sp_json *gateway) {
    sp_str name = sp_json_str(sp_json_dig(gateway, "spec", "gatewayClassName", NULL));
    const sp_json *class = sp_view_find(&v->gateway_classes, (sp_str){0}, name);
    return sp_str_eqz(sp_json_str(sp_json_dig(class, "spec", "controllerName", NULL)),
                      SP_GATEWAY_CONTROLLER);
}

const char *sp_gateway_listener_fault(const sp_json *listener, const char **ret_text) {
    sp_str protocol = sp_json_str(sp_json_get(listener, "protocol"));
    if (sp_str_eqz(protocol, "HTTP")) return NULL;
    *ret_text = "this gateway serves listeners of protocol HTTP; HTTPS, TLS, TCP and UDP are not "
                "supported yet";
    return "UnsupportedProtocol";
}

uint16_t sp_gateway_listener_port(const sp_json *listener, const sp_translate_options *o) {
    int64_t port = sp_json_int(sp_json_get(listener, "port"), 0);
    if (port == 80 && o->http_port) return o->http_port;
    return port > 0 && port < 65536 ? (uint16_t)port : 0;
}

/* --- attaching --- */

const sp_json *sp_route_parent(const sp_cluster_view *v, const sp_json *route,
                               const sp_json *parent) {
    sp_str group = sp_json_str(sp_json_get(parent, "group"));
    sp_str kind = sp_json_str(sp_json_get(parent, "kind"));
    sp_str ns = sp_json_str(sp_json_get(parent, "namespace"));
    if (group.n && !sp_str_eqz(group, "gateway.networking.k8s.io")) return NULL;
    if (kind.n && !sp_str_eqz(kind, "Gateway")) return NULL;
    if (!ns.n) ns = sp_obj_namespace(route);
    const sp_json *g = sp_view_find(&v->gateways, ns, sp_json_str(sp_json_get(parent, "name")));
    return g && sp_gateway_is_ours(v, g) ? g : NULL;
}

static bool is_named(const sp_json *parent, const sp_json *listener) {
    sp_str section = sp_json_str(sp_json_get(parent, "sectionName"));
    const sp_json *port = sp_json_get(parent, "port");
    if (section.n && !sp_str_eq(section, sp_json_str(sp_json_get(listener, "name")))) return false;
    return !port || sp_json_int(port, 0) == sp_json_int(sp_json_get(listener, "port"), -1);
}

static bool kinds_allow(const sp_json *listener) {
    const sp_json *kinds = sp_json_dig(listener, "allowedRoutes", "kinds", NULL);
    if (!kinds || !kinds->count) return true;
    sp_json_each(kinds, k) {
        if (sp_str_eqz(sp_json_str(sp_json_get(k, "kind")), "HTTPRoute")) return true;
    }
    return false;
}

static bool namespace_allows(sp_arena *a, const sp_cluster_view *v, const sp_json *gateway,
                             const sp_json *listener, const sp_json *route) {
    const sp_json *ns = sp_json_dig(listener, "allowedRoutes", "namespaces", NULL);
    sp_str from = sp_json_str(sp_json_get(ns, "from"));
    sp_selector *selector = NULL;
    if (sp_str_eqz(from, "All")) return true;
    if (!sp_str_eqz(from, "Selector"))
        return sp_str_eq(sp_obj_namespace(route), sp_obj_namespace(gateway));
    const sp_json *owner = sp_view_find(&v->namespaces, (sp_str){0}, sp_obj_namespace(route));
    return owner && sp_selector_from_json(a, sp_json_get(ns, "selector"), &selector, NULL) &&
           sp_selector_matches(selector, sp_json_dig(owner, "metadata", "labels", NULL));
}

/* "*.example.com" holds "a.example.com" and "*.b.example.com". */
static bool wildcard_holds(sp_str wild, sp_str host) {
    return wild.n > 1 && wild.p[0] == '*' && host.n >= wild.n &&
           sp_str_ends(host, sp_str_from(wild, 1));
}

static bool intersect(sp_str one, sp_str other, sp_str *ret) {
    bool first = !other.n || sp_str_eq(one, other) || wildcard_holds(other, one);
    if (!first && one.n && !wildcard_holds(one, other)) return false;
    *ret = first ? one : other;
    return true;
}

static void shared_hosts(const sp_json *listener, const sp_json *route, sp_strs *ret) {
    sp_str own = sp_json_str(sp_json_get(listener, "hostname")), host;
    const sp_json *hosts = sp_json_dig(route, "spec", "hostnames", NULL);
    if (!hosts || !hosts->count) sp_vec_push(ret, own);
    sp_json_each(hosts, h) {
        if (intersect(own, sp_json_str(h), &host)) sp_vec_push(ret, host);
    }
}

typedef enum attach { ATTACHED, NOT_NAMED, NOT_ALLOWED, NO_HOST, NOT_SERVED } attach;

static attach may_attach(sp_arena *a, const sp_cluster_view *v, const sp_json *gateway,
                         const sp_json *listener, const sp_json *route, const sp_json *parent,
                         sp_strs *hosts) {
    const char *text;
    hosts->n = 0;
    if (!is_named(parent, listener)) return NOT_NAMED;
    if (sp_gateway_listener_fault(listener, &text)) return NOT_SERVED;
    if (!kinds_allow(listener) || !namespace_allows(a, v, gateway, listener, route))
        return NOT_ALLOWED;
    shared_hosts(listener, route, hosts);
    return hosts->n ? ATTACHED : NO_HOST;
}

static sp_route_verdict verdict_of(const bool seen[NOT_SERVED + 1]) {
    if (seen[ATTACHED]) return (sp_route_verdict){true, "Accepted", SP_STR("The route is served")};
    if (seen[NO_HOST])
        return (sp_route_verdict){false, "NoMatchingListenerHostname",
                                  SP_STR("no hostname of the route lies within the listener's")};
    if (seen[NOT_ALLOWED])
        return (sp_route_verdict){false, "NotAllowedByListeners",
                                  SP_STR("allowedRoutes of the listener does not admit this "
                                         "namespace or kind")};
    if (seen[NOT_SERVED])
        return (sp_route_verdict){false, "NoMatchingParent",
                                  SP_STR("the listener's protocol is not served")};
    return (sp_route_verdict){false, "NoMatchingParent",
                              SP_STR("the Gateway has no listener with this name and port")};
}

sp_route_verdict sp_route_accepted(sp_arena *a, const sp_cluster_view *v, const sp_json *route,
                                   const sp_json *parent, const sp_json *gateway) {
    bool seen[NOT_SERVED + 1] = {0};
    sp_strs hosts = {0};
    sp_str fault = sp_httproute_fault(a, route);
    if (fault.n) return (sp_route_verdict){false, "UnsupportedValue", fault};
    sp_json_each(sp_json_dig(gateway, "spec", "listeners", NULL), l) {
        seen[may_attach(a, v, gateway, l, route, parent, &hosts)] = true;
    }
    sp_vec_free(&hosts);
    return verdict_of(seen);
}

/* Whether any parentRef of the route attaches it to this listener; hosts are those of the last. */
static bool attaches(sp_arena *a, const sp_cluster_view *v, const sp_json *gateway,
                     const sp_json *listener, const sp_json *route, sp_strs *hosts) {
    sp_json_each(sp_json_dig(route, "spec", "parentRefs", NULL), parent) {
        if (sp_route_parent(v, route, parent) == gateway &&
            may_attach(a, v, gateway, listener, route, parent, hosts) == ATTACHED)
            return true;
    }
    return false;
}

int64_t sp_gateway_attached(sp_arena *a, const sp_cluster_view *v, const sp_json *gateway,
                            const sp_json *listener) {
    int64_t n = 0;
    sp_strs hosts = {0};
    sp_vec_each(&v->routes, r) {
        if (!sp_httproute_fault(a, *r).n) n += attaches(a, v, gateway, listener, *r, &hosts);
    }
    sp_vec_free(&hosts);
    return n;
}

/* --- entries --- */

static void translate_listener(sp_translator *t, const sp_json *gateway, const sp_json *listener) {
    const char *text;
    sp_strs hosts = {0};
    uint16_t port = sp_gateway_listener_port(listener, t->options);
    sp_str owner = sp_arena_printf(t->arena, "Gateway %.*s/%.*s", SP_ARG(sp_obj_namespace(gateway)),
                                   SP_ARG(sp_obj_name(gateway)));
    if (!port || sp_gateway_listener_fault(listener, &text)) return;
    uint32_t table = sp_translate_table(t, port, owner);
    if (table == UINT32_MAX || t->only_held) return;
    sp_vec_each(&t->view->routes, r) {
        if (sp_httproute_fault(t->arena, *r).n) continue;
        if (attaches(t->arena, t->view, gateway, listener, *r, &hosts))
            sp_httproute_entries(t, table, *r, &hosts);
    }
    sp_vec_free(&hosts);
}

void sp_translate_gateways(sp_translator *t) {
    sp_vec_each(&t->view->gateways, g) {
        if (!sp_gateway_is_ours(t->view, *g)) continue;
        sp_json_each(sp_json_dig(*g, "spec", "listeners", NULL), l) {
            translate_listener(t, *g, l);
        }
    }
}
