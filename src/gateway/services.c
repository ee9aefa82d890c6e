/* Services: which ports they open here, and who stands behind them. Who holds a port keeps it; of
 * two newcomers that ask for one, the older gets it. */
#include "gateway/refs.h"

/* --- pools --- */

enum { DEFAULT_AFFINITY_S = 10800 };

static int64_t affinity_ms(const sp_json *service) {
    const sp_json *spec = sp_json_get(service, "spec");
    if (!sp_str_eqz(sp_json_str(sp_json_get(spec, "sessionAffinity")), "ClientIP")) return 0;
    const sp_json *s =
        sp_json_dig(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds", NULL);
    return 1000 * sp_json_int(s, DEFAULT_AFFINITY_S);
}

/* Any Service may ask for turns instead of the emptier of two. */
static sp_balance_algorithm algorithm(const sp_json *service) {
    sp_str s = sp_obj_annotation(service, "sampan.dev/balance");
    return sp_str_eqz(s, "round-robin") ? SP_BALANCE_ROUND_ROBIN : SP_BALANCE_TWO_CHOICES;
}

/* How its servers are spoken to (KEP-3726 appProtocol). A certificate nobody said how to verify is
 * not verified: a BackendTLSPolicy says how. */
static void set_protocol(sp_translator *t, sp_pool_spec *pool, const sp_json *port) {
    sp_str app = sp_json_str(sp_json_get(port, "appProtocol"));
    bool websocket = sp_str_eqz(app, "kubernetes.io/wss");
    if (sp_str_eqz(app, "kubernetes.io/h2c") || sp_str_eqz(app, "grpc"))
        pool->protocol = SP_BACKEND_H2C;
    if (!websocket && !sp_str_ieq(app, SP_STR("https"))) return;
    sp_upstream_tls *insecure = SP_NEW(t->arena, sp_upstream_tls);
    insecure->insecure = true;
    pool->tls = insecure;
    pool->protocol = websocket ? SP_BACKEND_HTTP1 : SP_BACKEND_AUTO;
}

/* False: there is a policy, and it cannot be followed; then nobody is to be reached. */
static bool set_policy(sp_translator *t, sp_pool_spec *pool, const sp_json *service,
                       const sp_json *port) {
    const sp_json *policy = sp_ref_backend_policy(t->view, service, port);
    if (!policy) return true;
    pool->tls = sp_ref_policy_tls(t->arena, t->view, policy).tls;
    pool->protocol = SP_BACKEND_AUTO;
    return pool->tls != NULL;
}

static void take_like(sp_pool_spec *pool, const sp_pool_spec *like) {
    if (like->sticky.cookie.n) pool->sticky = like->sticky;
    if (like->tls && !pool->tls) {
        pool->tls = like->tls;
        pool->protocol = SP_BACKEND_AUTO;
    }
    if (like->protocol && !pool->tls) pool->protocol = like->protocol;
    if (like->hash_by) {
        pool->hash_by = like->hash_by;
        pool->hash_name = like->hash_name;
        pool->algorithm = like->algorithm;
    }
    if (like->connect_timeout_ms) pool->connect_timeout_ms = like->connect_timeout_ms;
    if (like->response_timeout_ms) pool->response_timeout_ms = like->response_timeout_ms;
}

static const char *protocol_suffix(const sp_pool_spec *pool) {
    if (pool->tls) return pool->protocol == SP_BACKEND_HTTP1 ? "+tls1" : "+tls";
    return pool->protocol == SP_BACKEND_H2C ? "+h2c" : "";
}

/* pool.name: what the pool is called, once; filled in from the Service when it is new. */
static uint32_t add_pool(sp_translator *t, sp_pool_spec pool, const sp_json *service,
                         const sp_json *port, bool reachable, bool local) {
    uintptr_t known = (uintptr_t)sp_map_get(&t->pool_index, pool.name);
    if (known) return (uint32_t)(known - 1);
    pool.affinity_ms = affinity_ms(service);
    pool.service = sp_obj_key(t->arena, service);
    if (reachable)
        sp_translate_endpoints(t, service, sp_json_str(sp_json_get(port, "name")), local, &pool);
    sp_vec_push(&t->pools, pool);
    sp_map_put(&t->pool_index, pool.name, (void *)(uintptr_t)t->pools.n);
    return (uint32_t)(t->pools.n - 1);
}

static sp_str pool_name(sp_translator *t, const sp_json *service, const sp_json *port,
                        const char *protocol, sp_str suffix) {
    sp_str key = sp_obj_key(t->arena, service);
    return sp_arena_printf(t->arena, "%.*s:%lld%s%.*s", SP_ARG(key),
                           (long long)sp_json_int(sp_json_get(port, "port"), 0), protocol,
                           SP_ARG(suffix));
}

uint32_t sp_translate_pool_like(sp_translator *t, const sp_json *service, const sp_json *port,
                                const sp_pool_spec *like, sp_str suffix) {
    sp_pool_spec pool = {.algorithm = algorithm(service)};
    set_protocol(t, &pool, port);
    bool reachable = set_policy(t, &pool, service, port);
    if (like) take_like(&pool, like);
    pool.name = pool_name(t, service, port, reachable ? protocol_suffix(&pool) : "+none", suffix);
    return add_pool(t, pool, service, port, reachable, false);
}

uint32_t sp_translate_pool(sp_translator *t, const sp_json *service, const sp_json *port) {
    sp_pool_spec pool = {.algorithm = algorithm(service)};
    pool.name = pool_name(t, service, port, "", (sp_str){0});
    return add_pool(t, pool, service, port, true, false);
}

const sp_json *sp_service_port(const sp_json *service, int64_t number, sp_str name) {
    sp_json_each(sp_json_dig(service, "spec", "ports", NULL), p) {
        bool hit = number ? sp_json_int(sp_json_get(p, "port"), 0) == number
                          : name.n && sp_str_eq(sp_json_str(sp_json_get(p, "name")), name);
        if (hit) return p;
    }
    return NULL;
}

/* --- listeners --- */

static void listen_tcp(sp_translator *t, const sp_addr *ip, int64_t port, uint32_t pool,
                       sp_str owner) {
    if (port <= 0 || port > 65535) return;
    sp_listener_spec l = {.addr = *ip, .owner = owner};
    l.addr.port = (uint16_t)port;
    sp_targets_add(t->arena, &l.plain.targets, pool, 1);
    sp_translate_listen(t, l);
}

/* An unreadable range lets nobody in by itself; with none readable nobody comes in at all. */
static void add_sources(sp_translator *t, const sp_json *service, sp_listener_spec *l) {
    const sp_json *ranges = sp_json_dig(service, "spec", "loadBalancerSourceRanges", NULL);
    if (!ranges || !ranges->count) return;
    l->sources = sp_arena_alloc(t->arena, ranges->count * sizeof *l->sources);
    sp_json_each(ranges, r) {
        sp_cidr *c = &l->sources[l->source_count++];
        if (!sp_cidr_parse(sp_str_trim(sp_json_str(r)), c)) *c = (sp_cidr){0};
    }
}

/* Where the balanced ports are: spec.loadBalancerIP, or where everything is. */
static sp_addr balanced_at(const sp_translator *t, const sp_json *service) {
    sp_addr at = t->options->bind;
    sp_str ip = sp_json_str(sp_json_dig(service, "spec", "loadBalancerIP", NULL));
    if (ip.n && !sp_addr_parse(ip, 0, &at)) return t->options->bind;
    return sp_translate_bind(t, at);
}

static void listen_balanced(sp_translator *t, const sp_json *service, int64_t port, uint32_t pool,
                            sp_str owner) {
    sp_listener_spec l = {.addr = balanced_at(t, service), .owner = owner};
    if (port <= 0 || port > 65535) return;
    l.addr.port = (uint16_t)port;
    sp_targets_add(t->arena, &l.plain.targets, pool, 1);
    add_sources(t, service, &l);
    sp_translate_listen(t, l);
}

static void listen_external_ips(sp_translator *t, const sp_json *service, int64_t port,
                                uint32_t pool, sp_str owner) {
    sp_addr ip;
    sp_json_each(sp_json_dig(service, "spec", "externalIPs", NULL), it) {
        if (!sp_addr_parse(sp_json_str(it), 0, &ip)) continue;
        ip = sp_translate_bind(t, ip);
        listen_tcp(t, &ip, port, pool, owner);
    }
}

static void listen_cluster_ips(sp_translator *t, const sp_json *service, int64_t port,
                               uint32_t pool, sp_str owner) {
    const sp_json *ips = sp_json_dig(service, "spec", "clusterIPs", NULL);
    sp_addr ip;
    if (sp_json_is(ips, SP_JSON_ARRAY) && ips->first) {
        sp_json_each(ips, it) {
            if (sp_addr_parse(sp_json_str(it), 0, &ip)) listen_tcp(t, &ip, port, pool, owner);
        }
        return;
    }
    if (sp_addr_parse(sp_json_str(sp_json_dig(service, "spec", "clusterIP", NULL)), 0, &ip))
        listen_tcp(t, &ip, port, pool, owner);
}

/* A class of its own means another program's load balancer. */
static bool balances_here(const sp_json *service) {
    sp_str class = sp_json_str(sp_json_dig(service, "spec", "loadBalancerClass", NULL));
    return !class.n || sp_str_eqz(class, SP_GATEWAY_CONTROLLER);
}

static bool is_local(const sp_json *service, const char *policy) {
    return sp_str_eqz(sp_json_str(sp_json_dig(service, "spec", policy, NULL)), "Local");
}

/* With policy Local only the endpoints on this node; there may be none. */
static uint32_t near_pool(sp_translator *t, const sp_json *service, const sp_json *port,
                          const char *policy) {
    if (!is_local(service, policy)) return sp_translate_pool(t, service, port);
    sp_pool_spec pool = {.algorithm = algorithm(service)};
    pool.name = pool_name(t, service, port, "", SP_STR("@local"));
    return add_pool(t, pool, service, port, true, true);
}

/* What load balancers in front of the nodes ask (KEP-27): has this node an endpoint? */
static void answer_health(sp_translator *t, const sp_json *service, sp_str owner) {
    int64_t number = sp_json_int(sp_json_dig(service, "spec", "healthCheckNodePort", NULL), 0);
    const sp_json *port = sp_json_at(sp_json_dig(service, "spec", "ports", NULL), 0);
    sp_addr at = t->options->bind;
    if (number <= 0 || number > 65535 || !port || !is_local(service, "externalTrafficPolicy"))
        return;
    at.port = (uint16_t)number;
    size_t shared = sp_translate_port(t, at, SP_CARRIES_HTTP, owner);
    if (shared == SIZE_MAX || t->only_held) return;
    const sp_pool_spec *pool = &t->pools.p[near_pool(t, service, port, "externalTrafficPolicy")];
    int ready = 0;
    for (size_t i = 0; i < pool->endpoint_count; i++) ready += pool->endpoints[i].ready;
    sp_route_action *act = SP_NEW(t->arena, sp_route_action);
    act->owner = owner;
    act->answer_status = ready ? 200 : 503;
    act->answer_body = sp_arena_printf(
        t->arena,
        "{\"service\":{\"namespace\":\"%.*s\",\"name\":\"%.*s\"},\"localEndpoints\":%d}\n",
        SP_ARG(sp_obj_namespace(service)), SP_ARG(sp_obj_name(service)), ready);
    sp_route_entry e = {.path = SP_STR("/"), .object = owner, .action = act};
    sp_translate_entry(t, t->ports.p[shared].table, &e);
}

static void translate_port(sp_translator *t, const sp_json *service, const sp_json *port,
                           sp_str type, sp_str owner) {
    sp_str protocol = sp_json_str(sp_json_get(port, "protocol"));
    int64_t number = sp_json_int(sp_json_get(port, "port"), 0);
    bool balanced = sp_str_eqz(type, "LoadBalancer"), node = sp_str_eqz(type, "NodePort");
    if (protocol.n && !sp_str_eqz(protocol, "TCP")) {
        if ((balanced || node) && !t->only_held)
            sp_translate_refuse(t, owner, (uint16_t)number, "ProtocolNotSupported",
                                "port %lld is %.*s, and this gateway carries TCP only",
                                (long long)number, SP_ARG(protocol));
        return;
    }
    uint32_t inside = near_pool(t, service, port, "internalTrafficPolicy");
    uint32_t pool = near_pool(t, service, port, "externalTrafficPolicy");
    if (t->options->cluster_ips) listen_cluster_ips(t, service, number, inside, owner);
    listen_external_ips(t, service, number, pool, owner);
    if (balanced && balances_here(service)) listen_balanced(t, service, number, pool, owner);
    if (balanced || node)
        listen_tcp(t, &t->options->bind, sp_json_int(sp_json_get(port, "nodePort"), 0), pool,
                   owner);
}

static void translate_service(sp_translator *t, const sp_json *service, sp_str owner) {
    sp_str type = sp_json_str(sp_json_dig(service, "spec", "type", NULL));
    if (sp_str_eqz(type, "ExternalName")) return;
    sp_json_each(sp_json_dig(service, "spec", "ports", NULL), port) {
        translate_port(t, service, port, type, owner);
    }
    if (sp_str_eqz(type, "LoadBalancer")) answer_health(t, service, owner);
}

static int by_age(const void *pa, const void *pb) {
    const sp_json *a = *(const sp_json *const *)pa, *b = *(const sp_json *const *)pb;
    int64_t ta = sp_translate_created_ms(a), tb = sp_translate_created_ms(b);
    if (ta != tb) return ta < tb ? -1 : 1;
    int d = sp_str_cmp(sp_obj_namespace(a), sp_obj_namespace(b));
    return d ? d : sp_str_cmp(sp_obj_name(a), sp_obj_name(b));
}

static sp_str owner_of(sp_arena *a, const sp_json *service) {
    return sp_arena_printf(a, "Service %.*s/%.*s", SP_ARG(sp_obj_namespace(service)),
                           SP_ARG(sp_obj_name(service)));
}

void sp_translate_services(sp_translator *t) {
    sp_obj_list sorted = {0};
    sp_vec_each(&t->view->services, s) sp_vec_push(&sorted, *s);
    if (sorted.n) qsort(sorted.p, sorted.n, sizeof *sorted.p, by_age);
    sp_vec_each(&sorted, s) translate_service(t, *s, owner_of(t->arena, *s));
    sp_vec_free(&sorted);
}
