/* Policies become part of a configuration. See policy.h; what is said on them: policy_verdict.c. */
#include "gateway/policy.h"
#include "data/base64.h"
#include "data/time.h"
#include "gateway/gwapi.h"

#define GATEWAY_API "gateway.networking.k8s.io"

/* --- values --- */

/* Durations are checked when an object is applied; what cannot be read is as if it were missing. */
static uint32_t ms_of(const sp_json *o, const char *key) {
    int64_t ms = 0;
    sp_str s = sp_json_text(o, key);
    if (!s.n || !sp_duration_parse(s, &ms) || ms < 0) return 0;
    return (uint32_t)SP_MIN(ms, (int64_t)UINT32_MAX);
}

static uint32_t u32_of(const sp_json *o, const char *key) {
    return (uint32_t)SP_MIN(SP_MAX(sp_json_int(sp_json_get(o, key), 0), 0), (int64_t)UINT32_MAX);
}
static uint16_t u16_of(const sp_json *o, const char *key) {
    return (uint16_t)SP_MIN(u32_of(o, key), (uint32_t)UINT16_MAX);
}
static bool flag_of(const sp_json *o, const char *key) {
    return sp_json_bool(sp_json_get(o, key), false);
}

static sp_str copy_of(sp_arena *a, const sp_json *o, const char *key) {
    return sp_arena_str(a, sp_json_text(o, key));
}

typedef struct word {
    const char *word;
    int value;
} word;

static int one_of(const word *words, size_t n, sp_str s) {
    for (size_t i = 0; i < n; i++)
        if (sp_str_eqz(s, words[i].word)) return words[i].value;
    return words[0].value;
}
#define ONE_OF(words, s) one_of((words), SP_COUNT(words), (s))

/* An address alone is a network of one. */
static bool network(sp_str s, sp_cidr *ret) {
    sp_addr a;
    if (sp_cidr_parse(s, ret)) return true;
    if (!sp_addr_parse(s, 0, &a)) return false;
    *ret = (sp_cidr){a, a.family == AF_INET ? 32 : 128};
    return true;
}

/* What cannot be read matches nobody, so a broken allow list lets nobody in. */
static sp_cidr *networks(sp_arena *a, const sp_json *list, size_t *ret_count) {
    *ret_count = 0;
    if (!list || !list->count) return NULL;
    sp_cidr *c = sp_arena_alloc(a, list->count * sizeof *c);
    sp_json_each(list, it) {
        if (!network(sp_json_str(it), &c[*ret_count])) c[*ret_count] = (sp_cidr){0};
        ++*ret_count;
    }
    return c;
}

/* --- which policy is for what --- */

typedef struct target {
    const char *group, *kind;
    sp_str ns, name;
    sp_str section[2]; /* the names it goes by: a port's name and number */
} target;

static bool names(const sp_json *ref, const target *t) {
    return sp_str_eqz(sp_json_text(ref, "group"), t->group) &&
           sp_str_eqz(sp_json_text(ref, "kind"), t->kind) &&
           sp_str_eq(sp_json_text(ref, "name"), t->name);
}

/* 0: not at all, 1: the whole, 2: this part of it. */
static int fits(const sp_json *policy, const target *t) {
    int best = 0;
    if (!sp_str_eq(sp_obj_namespace(policy), t->ns)) return 0;
    sp_json_each(sp_json_dig(policy, "spec", "targetRefs", NULL), ref) {
        sp_str section = sp_json_text(ref, "sectionName");
        if (!names(ref, t)) continue;
        if (!section.n) best = SP_MAX(best, 1);
        for (size_t i = 0; section.n && i < SP_COUNT(t->section); i++)
            if (sp_str_eq(section, t->section[i])) best = 2;
    }
    return best;
}

bool sp_policy_older(const sp_json *a, const sp_json *b) {
    int64_t x = sp_translate_created_ms(a), y = sp_translate_created_ms(b);
    if (x != y) return x < y;
    int d = sp_str_cmp(sp_obj_namespace(a), sp_obj_namespace(b));
    return d ? d < 0 : sp_str_cmp(sp_obj_name(a), sp_obj_name(b)) < 0;
}

static const sp_json *policy_for(const sp_obj_list *policies, const target *t) {
    const sp_json *best = NULL;
    int best_fit = 0;
    sp_vec_each(policies, p) {
        int fit = fits(*p, t);
        if (!fit || fit < best_fit || (fit == best_fit && !sp_policy_older(*p, best))) continue;
        best = *p;
        best_fit = fit;
    }
    return best;
}

/* --- BackendPolicy --- */

static void apply_balance(sp_arena *a, sp_pool_spec *p, const sp_json *spec) {
    static const word algorithms[] = {{"RandomOfTwo", SP_BALANCE_TWO_CHOICES},
                                      {"RoundRobin", SP_BALANCE_ROUND_ROBIN},
                                      {"LeastConnections", SP_BALANCE_LEAST},
                                      {"Hash", SP_BALANCE_HASH},
                                      {"First", SP_BALANCE_FIRST}};
    static const word keys[] = {{"Source", SP_HASH_SOURCE},
                                {"Header", SP_HASH_HEADER},
                                {"Cookie", SP_HASH_COOKIE},
                                {"Query", SP_HASH_QUERY},
                                {"Path", SP_HASH_PATH}};
    const sp_json *b = sp_json_get(spec, "balance"), *hash = sp_json_get(b, "hash");
    const sp_json *sticky = sp_json_get(spec, "stickiness");
    if (b) p->algorithm = (sp_balance_algorithm)ONE_OF(algorithms, sp_json_text(b, "algorithm"));
    if (hash) {
        p->hash_by = (sp_hash_by)ONE_OF(keys, sp_json_text(hash, "by"));
        p->hash_name = copy_of(a, hash, "name");
    }
    if (sticky)
        p->sticky = (sp_sticky_spec){.cookie = copy_of(a, sticky, "cookie"),
                                     .ttl_ms = ms_of(sticky, "ttl"),
                                     .secure = flag_of(sticky, "secure")};
    p->slow_start_ms = ms_of(spec, "slowStart");
    p->panic_percent = (uint8_t)SP_MIN(u32_of(spec, "panicPercent"), 100u);
}

static sp_header *check_headers(sp_arena *a, const sp_json *list, size_t *ret_count) {
    size_t n = list ? list->count : 0, i = 0;
    sp_header *h = sp_arena_alloc(a, (n + 1) * sizeof *h);
    sp_json_each(list, it) h[i++] = (sp_header){copy_of(a, it, "name"), copy_of(a, it, "value")};
    *ret_count = i;
    return h;
}

static sp_str decoded(sp_arena *a, sp_str text) {
    sp_auto(sp_buf) b = {0};
    return sp_base64_decode(&b, text) ? sp_arena_str(a, sp_buf_str(&b)) : (sp_str){0};
}

static bool check_step(sp_arena *a, const sp_json *o, sp_check_step *ret) {
    static const struct {
        const char *key;
        sp_check_step_kind kind;
        bool base64;
    } rows[] = {{"send", SP_CHECK_STEP_SAY, false},
                {"sendBase64", SP_CHECK_STEP_SAY, true},
                {"expect", SP_CHECK_STEP_TEXT, false},
                {"expectBase64", SP_CHECK_STEP_TEXT, true},
                {"expectRegex", SP_CHECK_STEP_PATTERN, false}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_str text = sp_json_text(o, rows[i].key);
        if (!text.n) continue;
        *ret = (sp_check_step){.kind = rows[i].kind,
                               .negated = flag_of(o, "not"),
                               .min_bytes = u32_of(o, "minBytes"),
                               .bytes = rows[i].base64 ? decoded(a, text) : sp_arena_str(a, text)};
        return ret->bytes.n > 0;
    }
    return false;
}

/* Steps are checked when an object is applied. */
static sp_check_step *check_steps(sp_arena *a, const sp_json *list, size_t *ret_count) {
    size_t n = list ? list->count : 0;
    sp_check_step *steps = sp_arena_alloc(a, (n + 1) * sizeof *steps);
    *ret_count = 0;
    sp_json_each(list, it) *ret_count += check_step(a, it, &steps[*ret_count]);
    return steps;
}

static void apply_check(sp_arena *a, sp_pool_spec *p, const sp_json *spec) {
    static const word kinds[] = {{"", SP_CHECK_NONE},        {"TCP", SP_CHECK_TCP},
                                 {"TLS", SP_CHECK_TLS},      {"HTTP", SP_CHECK_HTTP},
                                 {"GRPC", SP_CHECK_GRPC},    {"Agent", SP_CHECK_AGENT},
                                 {"Script", SP_CHECK_SCRIPT}};
    const sp_json *c = sp_json_get(spec, "check"), *http = sp_json_get(c, "http");
    const sp_json *status = sp_json_get(http, "status"), *agent = sp_json_get(spec, "agent");
    p->check = (sp_check_spec){.kind = (sp_check_kind)ONE_OF(kinds, sp_json_text(c, "type")),
                               .interval_ms = ms_of(c, "interval"),
                               .fast_ms = ms_of(c, "fastInterval"),
                               .down_ms = ms_of(c, "downInterval"),
                               .timeout_ms = ms_of(c, "timeout"),
                               .rise = u16_of(c, "rise"),
                               .fall = u16_of(c, "fall"),
                               .port = u16_of(c, "port"),
                               .tls = flag_of(c, "tls"),
                               .method = copy_of(a, http, "method"),
                               .path = copy_of(a, http, "path"),
                               .host = copy_of(a, http, "host"),
                               .status_min = u16_of(status, "min"),
                               .status_max = u16_of(status, "max"),
                               .body = copy_of(a, http, "body"),
                               .service = copy_of(a, sp_json_get(c, "grpc"), "service"),
                               .script = copy_of(a, c, "script")};
    p->check.headers = check_headers(a, sp_json_get(http, "headers"), &p->check.header_count);
    if (p->check.kind == SP_CHECK_TCP || p->check.kind == SP_CHECK_TLS)
        p->check.steps = check_steps(a, sp_json_dig(c, "tcp", "steps", NULL), &p->check.step_count);
    p->agent = (sp_check_spec){.kind = agent ? SP_CHECK_AGENT : SP_CHECK_NONE,
                               .interval_ms = ms_of(agent, "interval"),
                               .timeout_ms = ms_of(agent, "timeout"),
                               .port = u16_of(agent, "port"),
                               .rise = 1,
                               .fall = 1};
}

static void apply_protection(sp_pool_spec *p, const sp_json *spec) {
    const sp_json *o = sp_json_get(spec, "outlier"), *l = sp_json_get(spec, "limits");
    const sp_json *times = sp_json_get(spec, "timeouts");
    double chance = sp_json_double(sp_json_get(spec, "goawayChance"), 0);
    sp_str proxy = sp_json_text(spec, "proxyProtocol");
    p->outlier = (sp_outlier_spec){.consecutive = u16_of(o, "consecutiveFailures"),
                                   .http = flag_of(o, "http"),
                                   .eject_ms = ms_of(o, "ejectionTime"),
                                   .eject_max_ms = ms_of(o, "maxEjectionTime"),
                                   .max_percent = (uint8_t)SP_MIN(u32_of(o, "maxPercent"), 100u)};
    p->limits = (sp_pool_limits){.max_connections = u32_of(l, "maxConnections"),
                                 .max_requests = u32_of(l, "maxRequests"),
                                 .max_pending = u32_of(l, "maxPending"),
                                 .max_retries = u32_of(l, "maxRetries"),
                                 .queue_timeout_ms = ms_of(l, "queueTimeout")};
    uint32_t *const to[] = {&p->connect_timeout_ms, &p->response_timeout_ms, &p->idle_timeout_ms};
    static const char *const keys[] = {"connect", "response", "idle"};
    for (size_t i = 0; i < SP_COUNT(keys); i++)
        if (sp_json_get(times, keys[i])) *to[i] = ms_of(times, keys[i]);
    p->send_proxy = sp_str_eqz(proxy, "v1") ? 1 : sp_str_eqz(proxy, "v2") ? 2 : 0;
    p->reset_on_removal = sp_str_eqz(sp_json_text(spec, "onRemoval"), "Reset");
    p->reset_on_check_failure = sp_str_eqz(sp_json_text(spec, "onCheckFailure"), "Reset");
    p->goaway_per_million = (uint32_t)(SP_MIN(SP_MAX(chance, 0.0), 1.0) * 1e6 + 0.5);
}

static bool is_server(const sp_json *s, const sp_endpoint_spec *e) {
    sp_str name = sp_json_text(s, "name"), address = sp_json_text(s, "address");
    sp_addr a;
    if (name.n) return sp_str_eq(name, e->name);
    return sp_addr_parse(address, e->addr.port, &a) && sp_addr_eq(&a, &e->addr);
}

static void apply_server(sp_endpoint_spec *e, const sp_json *s) {
    int64_t weight = sp_json_int(sp_json_get(s, "weight"), 1);
    e->weight = (uint16_t)SP_MIN(SP_MAX(weight, 1), 256);
    if (weight == 0 && e->ready) {
        e->ready = false;
        e->draining = e->no_newcomers = true;
    }
    e->backup = flag_of(s, "backup");
    e->priority = (uint8_t)SP_MIN(u32_of(s, "priority"), 255u);
    e->max_connections = u32_of(s, "maxConnections");
    e->check_port = u16_of(s, "checkPort");
    e->unchecked = flag_of(s, "unchecked");
}

static void apply_backend(const sp_translator *t, sp_pool_spec *p, const sp_json *spec) {
    sp_arena *a = t->arena;
    apply_balance(a, p, spec);
    apply_check(a, p, spec);
    if (p->check.kind == SP_CHECK_SCRIPT && !t->options->script_checks)
        p->check.kind = SP_CHECK_NONE; /* said on the policy */
    apply_protection(p, spec);
    sp_json_each(sp_json_get(spec, "servers"), s) {
        for (size_t i = 0; i < p->endpoint_count; i++)
            if (is_server(s, &p->endpoints[i])) apply_server(&p->endpoints[i], s);
    }
}

/* "ns/service:port…" */
static bool pool_target(const sp_cluster_view *v, sp_str name, target *ret) {
    ptrdiff_t slash = sp_str_chr(name, '/'), colon = sp_str_chr(name, ':');
    uint64_t number = 0;
    if (slash < 0 || colon < slash) return false;
    sp_str port = sp_str_from(name, (size_t)colon + 1);
    for (size_t i = 0; i < port.n; i++)
        if (port.p[i] < '0' || port.p[i] > '9') port.n = i;
    *ret = (target){.group = "",
                    .kind = "Service",
                    .ns = sp_str_sub(name, 0, (size_t)slash),
                    .name = sp_str_sub(name, (size_t)slash + 1, (size_t)(colon - slash - 1)),
                    .section = {port}};
    const sp_json *service = sp_view_find(&v->services, ret->ns, ret->name);
    if (service && sp_str_u64(port, &number))
        ret->section[1] =
            sp_json_text(sp_service_port(service, (int64_t)number, (sp_str){0}), "name");
    return true;
}

static void backend_policies(sp_translator *t) {
    target to;
    if (!t->view->backend_policies.n) return;
    sp_vec_each(&t->pools, p) {
        if (!pool_target(t->view, p->name, &to)) continue;
        const sp_json *policy = policy_for(&t->view->backend_policies, &to);
        if (policy) apply_backend(t, p, sp_json_get(policy, "spec"));
    }
}

/* --- TrafficPolicy --- */

/* A list that is left out leaves what the object itself says. */
static void replace_networks(sp_arena *a, const sp_json *spec, const char *key, sp_cidr **list,
                             size_t *count) {
    size_t n;
    sp_cidr *own = networks(a, sp_json_get(spec, key), &n);
    if (!own) return;
    *list = own;
    *count = n;
}

static void apply_to_listener(sp_arena *a, sp_listener_spec *l, const sp_json *spec) {
    const sp_json *times = sp_json_get(spec, "timeouts");
    replace_networks(a, spec, "allow", &l->sources, &l->source_count);
    replace_networks(a, spec, "deny", &l->denied, &l->denied_count);
    l->proxy_from =
        networks(a, sp_json_dig(spec, "acceptProxyProtocol", "from", NULL), &l->proxy_from_count);
    l->trusted = networks(a, sp_json_dig(spec, "trustForwarded", "from", NULL), &l->trusted_count);
    l->max_connections = u32_of(spec, "maxConnections");
    l->client_rate = u32_of(spec, "connectionRate");
    l->idle_timeout_ms = ms_of(times, "clientIdle");
    l->head_timeout_ms = ms_of(times, "requestHead");
    l->keep_alive_timeout_ms = ms_of(times, "keepAlive");
    l->upgraded_idle_ms = ms_of(times, "upgradedIdle");
}

/* "shop/public/0"; "shop/all" where buckets are shared. */
static sp_str limit_name(sp_arena *a, const sp_json *policy, const sp_json *limit, size_t i) {
    sp_str ns = sp_obj_namespace(policy), name = sp_json_text(limit, "name");
    sp_str bucket = sp_json_text(limit, "bucket");
    if (bucket.n) return sp_arena_printf(a, "%.*s/%.*s", SP_ARG(ns), SP_ARG(bucket));
    if (!name.n) name = sp_arena_printf(a, "%zu", i);
    return sp_arena_printf(a, "%.*s/%.*s/%.*s", SP_ARG(ns), SP_ARG(sp_obj_name(policy)),
                           SP_ARG(name));
}

static sp_rate_limit *rate_limits(sp_arena *a, const sp_json *policy, size_t *ret_count) {
    static const word by[] = {{"Source", SP_LIMIT_BY_SOURCE},
                              {"Header", SP_LIMIT_BY_HEADER},
                              {"Token", SP_LIMIT_BY_TOKEN},
                              {"All", SP_LIMIT_ALL}};
    const sp_json *list = sp_json_dig(policy, "spec", "rateLimits", NULL);
    *ret_count = 0;
    if (!list || !list->count) return NULL;
    sp_rate_limit *l = sp_arena_alloc(a, list->count * sizeof *l);
    sp_json_each(list, it) {
        uint32_t period = ms_of(it, "period");
        size_t i = (*ret_count)++;
        l[i] = (sp_rate_limit){.name = limit_name(a, policy, it, i),
                               .by = (sp_limit_key)ONE_OF(by, sp_json_text(it, "by")),
                               .header = copy_of(a, it, "header"),
                               .requests = u32_of(it, "requests"),
                               .period_ms = period ? period : 1000,
                               .burst = u32_of(it, "burst"),
                               .ipv6_prefix = (uint8_t)u32_of(it, "ipv6Prefix")};
    }
    return l;
}

static void apply_to_action(sp_arena *a, sp_route_action *r, const sp_json *policy) {
    const sp_json *spec = sp_json_get(policy, "spec");
    int64_t body = sp_json_int(sp_json_get(spec, "maxBodyBytes"), 0);
    size_t limit_count;
    sp_rate_limit *limits = rate_limits(a, policy, &limit_count);
    replace_networks(a, spec, "allow", &r->allowed, &r->allowed_count);
    replace_networks(a, spec, "deny", &r->denied, &r->denied_count);
    if (limits) {
        r->limits = limits;
        r->limit_count = limit_count;
    }
    if (body > 0) r->max_body_bytes = (uint64_t)body;
}

/* "Service default/web" */
static bool owner_target(sp_str owner, target *ret) {
    static const struct {
        const char *group, *kind;
    } kinds[] = {{"", "Service"},
                 {GATEWAY_API, "Gateway"},
                 {GATEWAY_API, "HTTPRoute"},
                 {GATEWAY_API, "GRPCRoute"},
                 {"networking.k8s.io", "Ingress"}};
    ptrdiff_t space = sp_str_chr(owner, ' '), slash = sp_str_chr(owner, '/');
    if (space < 0 || slash < space) return false;
    for (size_t i = 0; i < SP_COUNT(kinds); i++) {
        if (!sp_str_eqz(sp_str_sub(owner, 0, (size_t)space), kinds[i].kind)) continue;
        *ret = (target){.group = kinds[i].group,
                        .kind = kinds[i].kind,
                        .ns = sp_str_sub(owner, (size_t)space + 1, (size_t)(slash - space - 1)),
                        .name = sp_str_from(owner, (size_t)slash + 1)};
        return true;
    }
    return false;
}

/* A policy may name one listener of a Gateway; those that share a port share what it says. */
static const sp_json *policy_of_gateway(const sp_translator *t, uint16_t port, target *to) {
    const sp_json *gateway = sp_view_find(&t->view->gateways, to->ns, to->name);
    sp_json_each(sp_json_dig(gateway, "spec", "listeners", NULL), it) {
        if (sp_gw_port(it, t->options) != port) continue;
        to->section[0] = sp_json_text(it, "name");
        const sp_json *policy = policy_for(&t->view->traffic_policies, to);
        if (policy) return policy;
    }
    return NULL;
}

/* Of a Service only the ports that carry its traffic: who asks for its health is somebody else. */
static const sp_json *policy_of_service(const sp_translator *t, uint16_t port, target *to) {
    const sp_json *service = sp_view_find(&t->view->services, to->ns, to->name);
    sp_json_each(sp_json_dig(service, "spec", "ports", NULL), it) {
        int64_t number = sp_json_int(sp_json_get(it, "port"), 0);
        if (number != port && sp_json_int(sp_json_get(it, "nodePort"), 0) != port) continue;
        to->section[0] = sp_json_text(it, "name");
        to->section[1] = sp_arena_printf(t->arena, "%lld", (long long)number);
        return policy_for(&t->view->traffic_policies, to);
    }
    return NULL;
}

static const sp_json *policy_of_listener(const sp_translator *t, const sp_listener_spec *l) {
    target to;
    if (!owner_target(l->owner, &to)) return NULL;
    if (strcmp(to.kind, "Gateway") == 0) return policy_of_gateway(t, l->addr.port, &to);
    return strcmp(to.kind, "Service") == 0 ? policy_of_service(t, l->addr.port, &to) : NULL;
}

static void listener_policies(sp_translator *t) {
    sp_vec_each(&t->listeners, l) {
        const sp_json *policy = policy_of_listener(t, l);
        if (policy) apply_to_listener(t->arena, l, sp_json_get(policy, "spec"));
    }
}

/* The policy of a Gateway, or of the listener that the route came by, is for the routes that have
 * none of their own. */
static const sp_json *policy_of_parent(const sp_translator *t, sp_str listener) {
    target gateway = {.group = GATEWAY_API, .kind = "Gateway"};
    if (!sp_str_cut(&listener, '/', &gateway.ns) || !sp_str_cut(&listener, '/', &gateway.name))
        return NULL;
    gateway.section[0] = listener;
    return policy_for(&t->view->traffic_policies, &gateway);
}

static void apply_to_entry(sp_translator *t, const sp_route_entry *e) {
    target to;
    if (!e->action || !owner_target(e->action->owner, &to)) return;
    const sp_json *policy = policy_for(&t->view->traffic_policies, &to);
    if (!policy) policy = policy_of_parent(t, e->listener);
    if (!policy) return;
    apply_to_action(t->arena, (sp_route_action *)(uintptr_t)e->action, policy);
    for (size_t i = 0; e->action->variants && i < e->action->targets.n; i++)
        apply_to_action(t->arena, (sp_route_action *)(uintptr_t)e->action->variants[i]->action,
                        policy);
}

void sp_translate_policies(sp_translator *t) {
    backend_policies(t);
    if (!t->view->traffic_policies.n) return;
    listener_policies(t);
    const sp_route_action *last = NULL;
    for (size_t i = 0; i < t->entries.n; i++) {
        sp_vec_each(&t->entries.p[i], e) {
            if (e->action != last) apply_to_entry(t, e); /* paths of one rule share it */
            last = e->action;
        }
    }
}
