/* Who stands behind a Service, from its EndpointSlices: readiness, and which of them are near
 * (trafficDistribution, topology hints) or on this node (…TrafficPolicy: Local). The zone of this
 * node is read off the slices: an endpoint on it says which zone that is. */
#include "gateway/translate.h"

/* Slices name their Service by label (KEP-752). */
static void index_slices(sp_translator *t) {
    sp_vec_each(&t->view->slices, s) {
        sp_str service = sp_obj_label(*s, "kubernetes.io/service-name");
        if (!service.n) continue;
        sp_str key =
            sp_arena_printf(t->arena, "%.*s/%.*s", SP_ARG(sp_obj_namespace(*s)), SP_ARG(service));
        sp_obj_list *list = sp_map_get(&t->slice_index, key);
        if (!list) {
            list = sp_zalloc(1, sizeof *list);
            sp_map_put(&t->slice_index, key, list);
        }
        sp_vec_push(list, *s);
        sp_json_each(sp_json_get(*s, "endpoints"), e) {
            sp_str node = sp_json_str(sp_json_get(e, "nodeName"));
            if (t->options->node_name && sp_str_eqz(node, t->options->node_name))
                t->zone = sp_json_str(sp_json_get(e, "zone"));
        }
    }
}

typedef SP_VEC(sp_endpoint_spec) specs;

typedef struct gathering {
    const sp_translator *t;
    sp_str port_name, distribution;
    bool local;       /* only those on this node */
    bool publish_all; /* publishNotReadyAddresses */
    specs list;
} gathering;

static uint16_t slice_port(const sp_json *slice, sp_str port_name) {
    sp_json_each(sp_json_get(slice, "ports"), p) {
        sp_str protocol = sp_json_str(sp_json_get(p, "protocol"));
        bool tcp = !protocol.n || sp_str_eqz(protocol, "TCP");
        if (!tcp || !sp_str_eq(sp_json_str(sp_json_get(p, "name")), port_name)) continue;
        int64_t number = sp_json_int(sp_json_get(p, "port"), 0);
        return number > 0 && number < 65536 ? (uint16_t)number : 0;
    }
    return 0;
}

/* The same pod may stand in two slices while one is being rewritten. */
static void add_endpoint(specs *list, const sp_endpoint_spec *e) {
    sp_vec_each(list, old) {
        if (!sp_addr_eq(&old->addr, &e->addr)) continue;
        old->ready |= e->ready;
        old->draining |= e->draining;
        return;
    }
    sp_vec_push(list, *e);
}

static bool on_this_node(const gathering *g, const sp_json *endpoint) {
    sp_str node = sp_json_str(sp_json_get(endpoint, "nodeName"));
    return g->t->options->node_name && sp_str_eqz(node, g->t->options->node_name);
}

static bool names(const sp_json *list, sp_str name) {
    sp_json_each(list, it) if (sp_str_eq(sp_json_str(sp_json_get(it, "name")), name)) return true;
    return false;
}

/* 0: meant for this node; 1: a zone away. Where nothing is known everybody is near. */
static uint8_t distance(const gathering *g, const sp_json *endpoint) {
    const sp_json *hints = sp_json_get(endpoint, "hints");
    const sp_json *nodes = sp_json_get(hints, "forNodes"), *zones = sp_json_get(hints, "forZones");
    bool same_node = sp_str_eqz(g->distribution, "PreferSameNode");
    if (!g->distribution.n && !hints) return 0;
    if (same_node && on_this_node(g, endpoint)) return 0;
    if (nodes && nodes->count && g->t->options->node_name &&
        names(nodes, sp_str_z(g->t->options->node_name)))
        return 0;
    if (!g->t->zone.n) return same_node;
    if (zones && zones->count) return names(zones, g->t->zone) ? same_node : 2;
    bool near = sp_str_eq(sp_json_str(sp_json_get(endpoint, "zone")), g->t->zone);
    return near ? same_node : 2;
}

static void add_slice(gathering *g, const sp_json *slice) {
    uint16_t port = slice_port(slice, g->port_name);
    if (!port) return;
    sp_json_each(sp_json_get(slice, "endpoints"), e) {
        const sp_json *c = sp_json_get(e, "conditions");
        bool ready = g->publish_all || sp_json_bool(sp_json_get(c, "ready"), true);
        bool terminating = sp_json_bool(sp_json_get(c, "terminating"), false);
        bool serving = sp_json_bool(sp_json_get(c, "serving"), ready);
        /* Addresses of one endpoint are interchangeable: the first will do. */
        sp_endpoint_spec spec = {.ready = ready && (!terminating || g->publish_all),
                                 .draining = terminating && serving,
                                 .priority = distance(g, e),
                                 .name = sp_json_str(sp_json_dig(e, "targetRef", "name", NULL))};
        sp_str ip = sp_json_str(sp_json_at(sp_json_get(e, "addresses"), 0));
        if (g->local && !on_this_node(g, e)) continue;
        if (sp_addr_parse(ip, port, &spec.addr)) add_endpoint(&g->list, &spec);
    }
}

static int by_addr(const void *a, const void *b) {
    const sp_endpoint_spec *x = a, *y = b;
    return sp_addr_cmp(&x->addr, &y->addr);
}

void sp_translate_endpoints(sp_translator *t, const sp_json *service, sp_str port_name, bool local,
                            sp_pool_spec *pool) {
    const sp_json *spec = sp_json_get(service, "spec");
    gathering g = {.t = t,
                   .port_name = port_name,
                   .distribution = sp_json_str(sp_json_get(spec, "trafficDistribution")),
                   .publish_all =
                       sp_json_bool(sp_json_get(spec, "publishNotReadyAddresses"), false),
                   .local = local && t->options->node_name};
    if (!t->slice_index.n) index_slices(t);
    const sp_obj_list *slices = sp_map_get(&t->slice_index, sp_obj_key(t->arena, service));
    if (slices) sp_vec_each(slices, s) add_slice(&g, *s);
    if (g.list.n) {
        qsort(g.list.p, g.list.n, sizeof *g.list.p, by_addr);
        pool->endpoints = sp_arena_alloc(t->arena, g.list.n * sizeof *g.list.p);
        memcpy(pool->endpoints, g.list.p, g.list.n * sizeof *g.list.p);
        for (size_t i = 0; i < g.list.n; i++)
            pool->endpoints[i].name = sp_arena_str(t->arena, g.list.p[i].name);
    }
    pool->endpoint_count = g.list.n;
    sp_vec_free(&g.list);
}
