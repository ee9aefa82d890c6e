/* What is said beside Services and Gateways: BackendPolicy (balance, checks, weights, limits),
 * BackendTLSPolicy (servers that speak TLS), TrafficPolicy (who may come, how long, how many). */
#include "gateway/haproxy/objects.h"

#include "data/base64.h"

#define POLICY_VERSION "sampan.dev/v1alpha1"
#define GATEWAY_GROUP "gateway.networking.k8s.io"

/* 90500 → "1m30s500ms", as objects take durations. */
static sp_str duration(sp_arena *a, uint32_t ms) {
    static const struct {
        const char *unit;
        uint32_t ms;
    } units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    sp_auto(sp_buf) b = {0};
    for (size_t i = 0; i < SP_COUNT(units); i++) {
        if (ms >= units[i].ms) sp_buf_printf(&b, "%u%s", ms / units[i].ms, units[i].unit);
        ms %= units[i].ms;
    }
    return b.n ? sp_arena_str(a, sp_buf_str(&b)) : SP_STR("0s");
}

static void set_duration(sp_hap *h, sp_json *o, const char *key, uint32_t ms) {
    if (ms) sp_json_set(h->arena, o, key, sp_json_new_str(h->arena, duration(h->arena, ms)));
}

static void set_part(sp_hap *h, sp_json *spec, const char *key, sp_json *part) {
    if (part->count) sp_json_set(h->arena, spec, key, part);
}

/* --- BackendPolicy --- */

static sp_json *balance(sp_hap *h, const sp_hap_balance *b) {
    static const struct {
        const char *word, *algorithm, *by;
    } rows[] = {{"", "RoundRobin", NULL},          {"roundrobin", "RoundRobin", NULL},
                {"static-rr", "RoundRobin", NULL}, {"leastconn", "LeastConnections", NULL},
                {"first", "First", NULL},          {"random", "RandomOfTwo", NULL},
                {"source", "Hash", "Source"},      {"uri", "Hash", "Path"},
                {"url_param", "Hash", "Query"},    {"hdr", "Hash", "Header"}};
    size_t i = 0;
    while (i + 1 < SP_COUNT(rows) && !sp_str_eqz(b->algorithm, rows[i].word)) i++;
    sp_json *o = sp_hap_make(h, "{'algorithm':~}", sp_str_z(rows[i].algorithm));
    if (!rows[i].by) return o;
    sp_json *hash = sp_hap_make(h, "{'by':~}", sp_str_z(rows[i].by));
    if (b->name.n) sp_json_set(h->arena, hash, "name", sp_json_new_str(h->arena, b->name));
    sp_json_set(h->arena, o, "hash", hash);
    return o;
}

static sp_json *http_check(sp_hap *h, const sp_hap_check *c) {
    sp_json *http = sp_hap_make(h, "{'method':~,'path':~}", c->method, c->path);
    if (c->host.n) sp_json_set(h->arena, http, "host", sp_json_new_str(h->arena, c->host));
    for (size_t i = 0; i < c->header_count; i++)
        sp_json_push(
            sp_json_ensure_array(h->arena, http, "headers"),
            sp_hap_make(h, "{'name':~,'value':~}", c->header_names[i], c->header_values[i]));
    if (c->status_min != 200 || c->status_max != 399)
        sp_json_set(
            h->arena, http, "status",
            sp_hap_make(h, "{'min':#,'max':#}", (unsigned)c->status_min, (unsigned)c->status_max));
    if (c->body.n) sp_json_set(h->arena, http, "body", sp_json_new_str(h->arena, c->body));
    if (!sp_str_starts(c->path, SP_STR("/")))
        sp_hap_error(h, c->line, "the path of a check begins with /: \"%.*s\"", SP_ARG(c->path));
    return http;
}

/* Checks of one backend are alike: those of the first server that is checked. */
static const sp_hap_server *checked_server(const sp_hap_proxy *b) {
    sp_vec_each(&b->servers, s) {
        if (s->check) return s;
    }
    return NULL;
}

static void same_checks(sp_hap *h, const sp_hap_proxy *b, const sp_hap_server *first) {
    sp_vec_each(&b->servers, s) {
        bool same = s->inter_ms == first->inter_ms && s->fast_ms == first->fast_ms &&
                    s->down_ms == first->down_ms && s->rise == first->rise &&
                    s->fall == first->fall;
        if (s->check && !same)
            sp_hap_note(h, s->line,
                        "server %.*s is checked as often as %.*s: one backend, one rhythm "
                        "of checks",
                        SP_ARG(s->name), SP_ARG(first->name));
    }
}

static bool is_text(sp_str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < ' ' && !strchr("\t\r\n", s.p[i] ? s.p[i] : 1)) return false;
    return sp_utf8_is_valid(s);
}

static sp_json *step(sp_hap *h, const sp_check_step *s) {
    static const char *const keys[][2] = {[SP_CHECK_STEP_SAY] = {"send", "sendBase64"},
                                          [SP_CHECK_STEP_TEXT] = {"expect", "expectBase64"},
                                          [SP_CHECK_STEP_PATTERN] = {"expectRegex", "expectRegex"}};
    bool text = s->kind == SP_CHECK_STEP_PATTERN || is_text(s->bytes);
    sp_auto(sp_buf) b = {0};
    if (!text) sp_base64_encode(&b, s->bytes);
    sp_json *o = sp_json_object(h->arena);
    sp_json_set(
        h->arena, o, keys[s->kind][!text],
        sp_json_new_str(h->arena, text ? s->bytes : sp_arena_str(h->arena, sp_buf_str(&b))));
    if (s->negated) sp_json_set_bool(h->arena, o, "not", true);
    if (s->min_bytes) sp_json_set_int(h->arena, o, "minBytes", s->min_bytes);
    return o;
}

/* Of the option, or of the lines of tcp-check where that is the option. */
static void set_steps(sp_hap *h, const sp_hap_proxy *b, sp_json *o) {
    bool own = b->check.steps;
    size_t n = own ? b->check.step_count : b->check.tcp ? b->talk.step_count : 0;
    const sp_check_step *steps = own ? b->check.steps : b->talk.steps;
    if (!n) return;
    sp_json *list = sp_json_array(h->arena);
    for (size_t i = 0; i < n; i++) sp_json_push(list, step(h, &steps[i]));
    sp_json *tcp = sp_json_set(h->arena, o, "tcp", sp_json_object(h->arena));
    sp_json_set(h->arena, tcp, "steps", list);
    set_duration(h, o, "timeout", b->timeouts.check);
}

static sp_json *check(sp_hap *h, const sp_hap_proxy *b) {
    const sp_hap_server *s = checked_server(b);
    sp_hap_check said = b->check;
    const sp_hap_check *c = &said;
    if (said.http) sp_hap_check_lines(&said, &b->http_check);
    bool talks = c->tcp && !c->steps;
    if (b->talk.own && !talks)
        sp_hap_note(h, b->talk.line,
                    "tcp-check lines hold only with option tcp-check, which \"%.*s\" has not",
                    SP_ARG(b->name));
    if (!s) return sp_json_object(h->arena);
    bool tls = c->tls || (talks && b->talk.tls) || s->check_tls ||
               (s->tls && !s->check_port); /* a port of its own is asked as it is */
    const char *type = c->http ? "HTTP" : tls ? "TLS" : "TCP";
    sp_json *o =
        sp_hap_make(h, "{'type':~,'rise':#,'fall':#}", sp_str_z(type),
                    s->rise ? SP_MIN(s->rise, 100U) : 2U, s->fall ? SP_MIN(s->fall, 100U) : 3U);
    set_duration(h, o, "interval", s->inter_ms ? s->inter_ms : 2000);
    set_duration(h, o, "fastInterval", s->fast_ms);
    set_duration(h, o, "downInterval", s->down_ms);
    if (c->http) {
        set_duration(h, o, "timeout", b->timeouts.check);
        sp_json_set(h->arena, o, "http", http_check(h, c));
        if (tls) sp_json_set_bool(h->arena, o, "tls", true);
    } else {
        set_steps(h, b, o);
    }
    same_checks(h, b, s);
    return o;
}

static sp_json *agent(sp_hap *h, const sp_hap_proxy *b) {
    sp_json *o = sp_json_object(h->arena);
    sp_vec_each(&b->servers, s) {
        if (!s->agent) continue;
        if (!s->agent_port)
            sp_hap_error(h, s->line, "server %.*s agent-check needs agent-port", SP_ARG(s->name));
        sp_json_set_int(h->arena, o, "port", s->agent_port);
        set_duration(h, o, "interval", s->agent_ms ? s->agent_ms : 2000);
        break;
    }
    return o;
}

/* What differs from the others; true when there is something to say. */
static bool differs(const sp_hap_proxy *b, const sp_hap_server *s) {
    return s->weight_given || s->backup || s->maxconn || s->check_port ||
           (checked_server(b) && !s->check);
}

/* Backups stand in one after the other, unless all are asked for together. */
static void set_backup(sp_hap *h, const sp_hap_proxy *b, const sp_hap_server *s, sp_json *o) {
    unsigned turn = 1, all = 0;
    sp_vec_each(&b->servers, other) {
        all += other->backup;
        turn += other->backup && other < s;
    }
    if (all > 1 && all < 255 && !b->all_backups)
        sp_json_set_int(h->arena, o, "priority", turn);
    else
        sp_json_set_bool(h->arena, o, "backup", true);
}

static sp_json *servers(sp_hap *h, const sp_hap_proxy *b) {
    sp_json *list = sp_json_array(h->arena);
    sp_vec_each(&b->servers, s) {
        if (!differs(b, s)) continue;
        for (size_t i = 0; i < s->addresses.n; i++) {
            sp_json *o = sp_hap_make(h, "{'name':~}", sp_hap_endpoint_name(h, s, i));
            if (s->weight_given) sp_json_set_int(h->arena, o, "weight", s->weight);
            if (s->backup) set_backup(h, b, s, o);
            if (s->maxconn) sp_json_set_int(h->arena, o, "maxConnections", s->maxconn);
            if (s->check_port) sp_json_set_int(h->arena, o, "checkPort", s->check_port);
            if (checked_server(b) && !s->check) sp_json_set_bool(h->arena, o, "unchecked", true);
            sp_json_push(list, o);
        }
    }
    return list;
}

static uint8_t proxy_header(sp_hap *h, const sp_hap_proxy *b) {
    sp_vec_each(&b->servers, s) {
        if (s->send_proxy != b->servers.p[0].send_proxy)
            sp_hap_error(h, s->line,
                         "server %.*s: all servers of a backend are sent the same PROXY "
                         "header, or none",
                         SP_ARG(s->name));
    }
    return b->servers.n ? b->servers.p[0].send_proxy : 0;
}

/* A server without a check is never marked down. */
static bool resets_when_down(sp_hap *h, const sp_hap_proxy *b) {
    bool any = false, all = true;
    sp_vec_each(&b->servers, s) {
        bool checked = s->check || s->agent;
        any |= checked && s->reset_when_down;
        all &= !checked || s->reset_when_down;
    }
    if (any && !all)
        sp_hap_note(h, b->line,
                    "on-marked-down shutdown-sessions of \"%.*s\" holds for all of its servers",
                    SP_ARG(b->name));
    return any;
}

static uint32_t slow_start(const sp_hap_proxy *b) {
    uint32_t ms = 0;
    sp_vec_each(&b->servers, s) ms = SP_MAX(ms, s->slow_ms);
    return ms;
}

static sp_json *service_target(sp_hap *h, const sp_hap_proxy *b) {
    return sp_hap_make(h, "[{'group':'','kind':'Service','name':~}]", b->id);
}

void sp_hap_backend_policy(sp_hap *h, const sp_hap_proxy *b) {
    sp_json *o = sp_hap_object(h, POLICY_VERSION, "BackendPolicy", b->id);
    sp_json *spec = sp_json_set(h->arena, o, "spec", sp_json_object(h->arena));
    sp_json *times = sp_json_object(h->arena), *limits = sp_json_object(h->arena);
    uint8_t proxy = proxy_header(h, b);
    sp_json_set(h->arena, spec, "targetRefs", service_target(h, b));
    sp_json_set(h->arena, spec, "balance", balance(h, &b->balance));
    if (b->cookie.n) {
        sp_json *sticky = sp_hap_make(h, "{'cookie':~}", b->cookie);
        if (b->cookie_secure) sp_json_set_bool(h->arena, sticky, "secure", true);
        sp_json_set(h->arena, spec, "stickiness", sticky);
    }
    set_duration(h, spec, "slowStart", slow_start(b));
    set_part(h, spec, "check", check(h, b));
    set_part(h, spec, "agent", agent(h, b));
    set_duration(h, limits, "queueTimeout", b->timeouts.queue);
    set_part(h, spec, "limits", limits);
    set_duration(h, times, "connect", b->timeouts.connect);
    if (b->http) set_duration(h, times, "response", b->timeouts.server);
    set_part(h, spec, "timeouts", times);
    if (proxy) sp_json_set_z(h->arena, spec, "proxyProtocol", proxy == 1 ? "v1" : "v2");
    if (resets_when_down(h, b)) sp_json_set_z(h->arena, spec, "onCheckFailure", "Reset");
    set_part(h, spec, "servers", servers(h, b));
    sp_hap_emit(h, o);
}

/* --- servers that speak TLS --- */

/* All alike, or it cannot be said. */
static const sp_hap_server *tls_server(sp_hap *h, const sp_hap_proxy *b) {
    const sp_hap_server *first = b->servers.n ? &b->servers.p[0] : NULL;
    sp_vec_each(&b->servers, s) {
        bool same = s->tls == first->tls && s->no_verify == first->no_verify &&
                    sp_str_eq(s->sni, first->sni) && sp_str_eq(s->ca_pem, first->ca_pem) &&
                    s->h2 == first->h2;
        if (!same)
            sp_hap_error(h, s->line,
                         "server %.*s: all servers of a backend speak the same protocol "
                         "with the same settings (ssl, verify, sni, ca-file, proto)",
                         SP_ARG(s->name));
        if (s->cert_pem.n)
            sp_hap_error(h, s->line,
                         "server %.*s crt: certificates of the gateway's own are not "
                         "shown to servers",
                         SP_ARG(s->name));
    }
    return first && first->tls ? first : NULL;
}

const char *sp_hap_app_protocol(sp_hap *h, const sp_hap_proxy *b) {
    const sp_hap_server *s = tls_server(h, b);
    if (s && s->no_verify && s->sni.n)
        sp_hap_note(h, s->line,
                    "sni with verify none: servers that are not verified are sent no "
                    "name");
    if (s) return s->no_verify ? "https" : NULL;
    return b->servers.n && b->servers.p[0].h2 ? "kubernetes.io/h2c" : NULL;
}

void sp_hap_backend_tls(sp_hap *h, const sp_hap_proxy *b) {
    const sp_hap_server *s = b->servers.n && b->servers.p[0].tls ? &b->servers.p[0] : NULL;
    if (!s || s->no_verify) return;
    if (!s->sni.n) {
        sp_hap_error(h, s->line, "server %.*s ssl: say the name in its certificate: sni str(NAME)",
                     SP_ARG(s->name));
        return;
    }
    sp_json *o = sp_hap_object(h, GATEWAY_GROUP "/v1", "BackendTLSPolicy", b->id);
    sp_json *spec = sp_json_set(h->arena, o, "spec", sp_json_object(h->arena));
    sp_json *how = sp_hap_make(h, "{'hostname':~}", sp_hap_lower(h->arena, s->sni));
    if (s->ca_pem.n) {
        sp_str name = sp_arena_printf(h->arena, "%.*s-ca", SP_ARG(b->id));
        sp_json *map = sp_hap_object(h, "v1", "ConfigMap", name);
        sp_json_set(h->arena, map, "data", sp_hap_make(h, "{'ca.crt':~}", s->ca_pem));
        sp_hap_emit(h, map);
        sp_json_set(h->arena, how, "caCertificateRefs",
                    sp_hap_make(h, "[{'group':'','kind':'ConfigMap','name':~}]", name));
    } else {
        sp_json_set_z(h->arena, how, "wellKnownCACertificates", "System");
    }
    sp_json_set(h->arena, spec, "targetRefs", service_target(h, b));
    sp_json_set(h->arena, spec, "validation", how);
    sp_hap_emit(h, o);
}

/* --- TrafficPolicy --- */

static void add_networks(sp_hap *h, sp_json *spec, const char *key, const sp_strs *list) {
    if (!list->n) return;
    sp_json *to = sp_json_ensure_array(h->arena, spec, key);
    sp_vec_each(list, net) sp_json_push(to, sp_json_new_str(h->arena, *net));
}

static void add_rates(sp_hap *h, sp_json *spec, const sp_hap_proxy *front) {
    sp_vec_each(&front->rates, r) {
        sp_str by = r->header.n ? SP_STR("Header") : SP_STR("Source");
        sp_json *o = sp_hap_make(h, "{'bucket':~,'by':~,'requests':#}", r->bucket, by, r->most);
        if (r->header.n) sp_json_set(h->arena, o, "header", sp_json_new_str(h->arena, r->header));
        set_duration(h, o, "period", r->period_ms);
        sp_json_push(sp_json_ensure_array(h->arena, spec, "rateLimits"), o);
    }
}

static sp_json *traffic_policy(sp_hap *h, sp_str name, sp_json *target) {
    sp_json *o = sp_hap_object(h, POLICY_VERSION, "TrafficPolicy", name);
    sp_json *spec = sp_json_set(h->arena, o, "spec", sp_json_object(h->arena));
    sp_json_push(sp_json_ensure_array(h->arena, spec, "targetRefs"), target);
    sp_hap_emit(h, o);
    return spec;
}

/* What is not said is what the next one says (manual, timeout http-keep-alive). */
static sp_json *client_times(sp_hap *h, const sp_hap_proxy *p) {
    const sp_hap_timeouts *t = &p->timeouts;
    uint32_t tunnel = t->tunnel ? t->tunnel : t->client;
    uint32_t head = t->http_request ? t->http_request : t->client;
    sp_json *times = sp_json_object(h->arena);
    if (!p->http) set_duration(h, times, "clientIdle", tunnel);
    if (p->http) set_duration(h, times, "requestHead", head);
    if (p->http)
        set_duration(h, times, "keepAlive", t->http_keep_alive ? t->http_keep_alive : head);
    if (p->http) set_duration(h, times, "upgradedIdle", tunnel);
    return times;
}

void sp_hap_listener_policy(sp_hap *h, const sp_hap_door *d, const sp_strs *allowed,
                            const sp_strs *denied) {
    const sp_hap_proxy *p = d->front;
    sp_json *times = client_times(h, p);
    if (!times->count && !p->maxconn && !d->bind->accept_proxy && !allowed->n && !denied->n &&
        !p->rates.n)
        return;
    sp_json *spec = traffic_policy(
        h, sp_arena_printf(h->arena, "%.*s-%.*s", SP_ARG(d->gateway), SP_ARG(d->listener)),
        sp_hap_make(h, "{'group':~,'kind':'Gateway','name':~,'sectionName':~}",
                    SP_STR(GATEWAY_GROUP), d->gateway, d->listener));
    add_networks(h, spec, "allow", allowed);
    add_networks(h, spec, "deny", denied);
    add_rates(h, spec, p);
    if (d->bind->accept_proxy)
        sp_json_set(h->arena, spec, "acceptProxyProtocol",
                    sp_hap_make(h, "{'from':['0.0.0.0/0','::/0']}"));
    if (p->maxconn) sp_json_set_int(h->arena, spec, "maxConnections", p->maxconn);
    set_part(h, spec, "timeouts", times);
}

void sp_hap_route_policy(sp_hap *h, const sp_hap_proxy *front, sp_str route, const sp_strs *allowed,
                         const sp_strs *denied) {
    sp_json *spec = traffic_policy(
        h, sp_arena_printf(h->arena, "%.*s-access", SP_ARG(route)),
        sp_hap_make(h, "{'group':~,'kind':'HTTPRoute','name':~}", SP_STR(GATEWAY_GROUP), route));
    add_networks(h, spec, "allow", allowed);
    add_networks(h, spec, "deny", denied);
    add_rates(h, spec, front);
}
