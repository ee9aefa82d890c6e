/* Backends as Services with EndpointSlices, bind lines as listeners of Gateways. */
#include "gateway/haproxy/objects.h"
#include "data/base64.h"

#include <stdarg.h>
#include <stdio.h>

/* --- documents --- */

sp_json *sp_hap_make(sp_hap *h, const char *pattern, ...) {
    sp_auto(sp_buf) b = {0};
    sp_json *ret = NULL;
    va_list ap;
    va_start(ap, pattern);
    for (const char *p = pattern; *p; p++) {
        if (*p == '~')
            sp_json_write_string(&b, va_arg(ap, sp_str));
        else if (*p == '#')
            sp_buf_u64(&b, va_arg(ap, unsigned));
        else
            sp_buf_addc(&b, *p == '\'' ? '"' : *p);
    }
    va_end(ap);
    sp_assert(sp_json_parse(h->arena, sp_buf_str(&b), &ret, NULL));
    return ret;
}

sp_json *sp_hap_object(sp_hap *h, const char *api_version, const char *kind, sp_str name) {
    return sp_hap_make(h, "{'apiVersion':~,'kind':~,'metadata':{'name':~,'namespace':~}}",
                       sp_str_z(api_version), sp_str_z(kind), name, SP_STR(SP_HAP_NAMESPACE));
}

void sp_hap_emit(sp_hap *h, sp_json *object) {
    sp_vec_push(&h->ret->objects, object);
}

/* --- backends --- */

uint16_t sp_hap_service_port(const sp_hap_proxy *b) {
    return b->servers.n ? b->servers.p[0].port : 80;
}

sp_json *sp_hap_backend_ref(sp_hap *h, const sp_hap_proxy *b) {
    return sp_hap_make(h, "{'name':~,'port':#}", b->id, (unsigned)sp_hap_service_port(b));
}

sp_str sp_hap_endpoint_name(sp_hap *h, const sp_hap_server *s, size_t i) {
    return s->addresses.n == 1 ? s->name
                               : sp_arena_printf(h->arena, "%.*s-%zu", SP_ARG(s->name), i + 1);
}

static sp_json *endpoint(sp_hap *h, const sp_hap_server *s, size_t i) {
    sp_json *e =
        sp_hap_make(h, "{'addresses':[~],'conditions':{},'targetRef':{'kind':'Server','name':~}}",
                    s->addresses.p[i], sp_hap_endpoint_name(h, s, i));
    sp_json_set_bool(h->arena, sp_json_get(e, "conditions"), "ready", !s->disabled);
    return e;
}

/* Servers of one port and family share a slice. */
static void slice(sp_hap *h, const sp_hap_proxy *b, uint16_t port, bool v6) {
    sp_str family = v6 ? SP_STR("ipv6") : SP_STR("ipv4");
    sp_json *endpoints = sp_json_array(h->arena);
    sp_vec_each(&b->servers, s) {
        for (size_t i = 0; s->port == port && i < s->addresses.n; i++)
            if ((sp_str_chr(s->addresses.p[i], ':') >= 0) == v6)
                sp_json_push(endpoints, endpoint(h, s, i));
    }
    if (!endpoints->count) return;
    sp_json *o = sp_hap_object(
        h, "discovery.k8s.io/v1", "EndpointSlice",
        sp_arena_printf(h->arena, "%.*s-%u-%.*s", SP_ARG(b->id), port, SP_ARG(family)));
    sp_json_set(h->arena, sp_json_get(o, "metadata"), "labels",
                sp_hap_make(h,
                            "{'kubernetes.io/service-name':~,"
                            "'endpointslice.kubernetes.io/managed-by':'haproxy.cfg'}",
                            b->id));
    sp_json_set_z(h->arena, o, "addressType", v6 ? "IPv6" : "IPv4");
    sp_json_set(h->arena, o, "ports",
                sp_hap_make(h, "[{'name':'main','port':#,'protocol':'TCP'}]", (unsigned)port));
    sp_json_set(h->arena, o, "endpoints", endpoints);
    sp_hap_emit(h, o);
}

static void slices(sp_hap *h, const sp_hap_proxy *b) {
    for (size_t i = 0; i < b->servers.n; i++) {
        uint16_t port = b->servers.p[i].port;
        bool seen = false;
        for (size_t k = 0; k < i; k++) seen |= b->servers.p[k].port == port;
        for (int v6 = 0; !seen && v6 < 2; v6++) slice(h, b, port, v6);
    }
}

static void service(sp_hap *h, const sp_hap_proxy *b) {
    sp_json *o = sp_hap_object(h, "v1", "Service", b->id);
    unsigned port = sp_hap_service_port(b);
    const char *app = sp_hap_app_protocol(h, b);
    sp_json *ports =
        sp_hap_make(h, "[{'name':'main','port':#,'targetPort':#,'protocol':'TCP'}]", port, port);
    if (app) sp_json_set_z(h->arena, ports->first, "appProtocol", app);
    sp_json_set(h->arena, o, "spec", sp_hap_make(h, "{'clusterIP':'None'}"));
    sp_json *spec = sp_json_get(o, "spec");
    sp_json_set(h->arena, spec, "ports", ports);
    if (b->stick_ms) {
        sp_json_set_z(h->arena, spec, "sessionAffinity", "ClientIP");
        sp_json_set(h->arena, spec, "sessionAffinityConfig",
                    sp_hap_make(h, "{'clientIP':{'timeoutSeconds':#}}",
                                SP_MIN(SP_MAX(b->stick_ms / 1000, 1U), 86400U)));
    }
    sp_hap_emit(h, o);
}

/* A section whose table is used by others, and nothing else. */
static bool is_only_a_table(const sp_hap_proxy *b) {
    return b->kind == SP_HAP_BACKEND && b->table_rate_ms && !b->servers.n && !b->used;
}

static void lint_backend(sp_hap *h, const sp_hap_proxy *b) {
    size_t usable = 0;
    sp_vec_each(&b->servers, s) {
        usable += !s->disabled;
        sp_vec_each(&s->addresses, ip) {
            sp_addr a;
            if (sp_addr_parse(*ip, 0, &a) &&
                (a.family == AF_INET ? a.ip[0] == 127 : sp_str_eqz(*ip, "::1")))
                sp_hap_note(h, s->line,
                            "server %.*s at %.*s is served from files; an API server takes "
                            "no loopback address in an EndpointSlice",
                            SP_ARG(s->name), SP_ARG(*ip));
        }
        if (s->check && !s->check_port && s->rise > 100)
            sp_hap_warn(h, s->line, "server %.*s comes back only after %u good checks",
                        SP_ARG(s->name), s->rise);
    }
    if (!b->servers.n && b->used)
        sp_hap_warn(h, b->line, "backend \"%.*s\" has no servers: its clients are turned away",
                    SP_ARG(b->name));
    else if (!usable && b->used)
        sp_hap_warn(h, b->line, "all servers of \"%.*s\" are disabled", SP_ARG(b->name));
    /* With errors, a line that uses it may be the one that was not understood. */
    if (!b->used && b->kind == SP_HAP_BACKEND && !h->ret->errors && !is_only_a_table(b))
        sp_hap_warn(h, b->line, "no frontend uses backend \"%.*s\"", SP_ARG(b->name));
}

/* --- certificates --- */

/* All blocks "-----BEGIN <what>-----" … of a PEM text; keys: those whose name ends in KEY. */
static sp_str pem_blocks(sp_arena *a, sp_str pem, bool keys) {
    static const char begin[] = "-----BEGIN ", end[] = "-----END ";
    sp_auto(sp_buf) b = {0};
    while (pem.n) {
        ptrdiff_t at = sp_str_find(pem, sp_str_z(begin));
        if (at < 0) break;
        pem = sp_str_from(pem, (size_t)at);
        ptrdiff_t line = sp_str_chr(pem, '\n'), stop = sp_str_find(pem, sp_str_z(end));
        if (line < 0 || stop < 0) break;
        sp_str last = sp_str_from(pem, (size_t)stop);
        ptrdiff_t eol = sp_str_chr(last, '\n');
        size_t n = (size_t)stop + (eol < 0 ? last.n : (size_t)eol + 1);
        bool key = sp_str_find(sp_str_sub(pem, 0, (size_t)line), SP_STR("KEY-----")) >= 0;
        bool cert = sp_str_find(sp_str_sub(pem, 0, (size_t)line), SP_STR("CERTIFICATE-----")) >= 0;
        if (keys ? key : cert) {
            sp_buf_add(&b, sp_str_sub(pem, 0, n));
            if (b.n && b.p[b.n - 1] != '\n') sp_buf_addc(&b, '\n');
        }
        pem = sp_str_from(pem, n);
    }
    return sp_arena_str(a, sp_buf_str(&b));
}

static sp_str base64(sp_arena *a, sp_str s) {
    sp_auto(sp_buf) b = {0};
    sp_base64_encode(&b, s);
    return sp_arena_str(a, sp_buf_str(&b));
}

/* The line of base64 that bind.c made of FILE.ocsp; empty = none. */
static sp_str staple(sp_str pem) {
    static const char begin[] = SP_HAP_OCSP_BEGIN;
    ptrdiff_t at = sp_str_find(pem, sp_str_z(begin));
    if (at < 0) return (sp_str){0};
    sp_str line, rest = sp_str_from(pem, (size_t)at + sizeof begin - 1);
    return sp_str_cut(&rest, '\n', &line) ? line : (sp_str){0};
}

/* One Secret for each file; parts stand between form feeds. Returns the list of references. */
static sp_json *certificates(sp_hap *h, const sp_hap_bind *b, sp_str name) {
    sp_json *refs = sp_json_array(h->arena);
    unsigned n = 0;
    for (sp_str pem, rest = b->cert_pem; sp_str_cut(&rest, '\f', &pem);) {
        sp_str cert = pem_blocks(h->arena, pem, false), key = pem_blocks(h->arena, pem, true);
        if (!cert.n || !key.n) {
            sp_hap_error(h, b->line,
                         "bind crt %.*s: a file holds the certificate, then its "
                         "authorities, and the key, in PEM; there is no %s",
                         SP_ARG(b->crt), cert.n ? "key" : "certificate");
            continue;
        }
        sp_str secret = sp_arena_printf(h->arena, "%.*s-tls-%u", SP_ARG(name), ++n);
        sp_json *o = sp_hap_object(h, "v1", "Secret", secret);
        sp_json_set_z(h->arena, o, "type", "kubernetes.io/tls");
        sp_json *data = sp_hap_make(h, "{'tls.crt':~,'tls.key':~}", base64(h->arena, cert),
                                    base64(h->arena, key));
        sp_str ocsp = staple(pem);
        if (ocsp.n) sp_json_set(h->arena, data, "tls.ocsp-staple", sp_json_new_str(h->arena, ocsp));
        sp_json_set(h->arena, o, "data", data);
        sp_hap_emit(h, o);
        sp_json_push(refs, sp_hap_make(h, "{'name':~}", secret));
    }
    return refs;
}

/* --- listeners --- */

static bool asks_server_name(const sp_hap_rules *rules) {
    sp_vec_each(rules, r) {
        for (size_t i = 0; i < r->atom_count; i++)
            if (r->atoms[i]->kind == SP_ATOM_SNI) return true;
    }
    return false;
}

static sp_json *find_gateway(sp_hap *h, sp_str name) {
    sp_vec_each(&h->ret->objects, o) {
        if (sp_str_eqz(sp_json_str(sp_json_get(*o, "kind")), "Gateway") &&
            sp_str_eq(sp_json_str(sp_json_dig(*o, "metadata", "name", NULL)), name))
            return *o;
    }
    return NULL;
}

enum { MAX_LISTENERS = 64 }; /* of one Gateway */

/* The frontend's Gateway of this address, with room for one more listener. */
static sp_json *gateway_for(sp_hap *h, const sp_hap_proxy *p, const sp_addr *addr,
                            sp_str *ret_name) {
    char ip[SP_ADDR_MAX];
    bool any = sp_addr_is_any(addr);
    sp_addr_format_ip(addr, ip);
    sp_str base = any && addr->family == AF_INET ? p->id
                  : any ? sp_arena_printf(h->arena, "%.*s-any6", SP_ARG(p->id))
                        : sp_arena_printf(h->arena, "%.*s-%.*s", SP_ARG(p->id),
                                          SP_ARG(sp_hap_id(h->arena, sp_str_z(ip))));
    for (unsigned n = 1;; n++) {
        *ret_name = n == 1 ? base : sp_arena_printf(h->arena, "%.*s-%u", SP_ARG(base), n);
        sp_json *g = find_gateway(h, *ret_name);
        if (g && sp_json_dig(g, "spec", "listeners", NULL)->count < MAX_LISTENERS) return g;
        if (g) continue;
        g = sp_hap_object(h, "gateway.networking.k8s.io/v1", "Gateway", *ret_name);
        sp_json_set(h->arena, g, "spec",
                    sp_hap_make(h, "{'gatewayClassName':'sampan','listeners':[]}"));
        if (!any || addr->family == AF_INET6)
            sp_json_set(h->arena, sp_json_get(g, "spec"), "addresses",
                        sp_hap_make(h, "[{'type':'IPAddress','value':~}]", sp_str_z(ip)));
        sp_hap_emit(h, g);
        return g;
    }
}

static void client_authority(sp_hap *h, sp_json *g, const sp_hap_door *d) {
    if (!d->bind->verify || !d->bind->ca_pem.n) return;
    sp_str name = sp_arena_printf(h->arena, "%.*s-client-ca-%u", SP_ARG(d->front->id), d->port);
    sp_json *o = sp_hap_object(h, "v1", "ConfigMap", name);
    sp_json_set(h->arena, o, "data",
                sp_hap_make(h, "{'ca.crt':~}", pem_blocks(h->arena, d->bind->ca_pem, false)));
    sp_hap_emit(h, o);
    sp_json *spec = sp_json_get(g, "spec");
    sp_json *front =
        sp_json_ensure_object(h->arena, sp_json_ensure_object(h->arena, spec, "tls"), "frontend");
    if (!sp_json_get(front, "default"))
        sp_json_set(h->arena, front, "default", sp_json_object(h->arena));
    sp_json_push(
        sp_json_ensure_array(h->arena, front, "perPort"),
        sp_hap_make(h,
                    "{'port':#,'tls':{'validation':{'caCertificateRefs':[{'group':'','kind':"
                    "'ConfigMap','name':~}],'mode':~}}}",
                    (unsigned)d->port, name,
                    d->bind->verify == 1 ? SP_STR("AllowInsecureFallback")
                                         : SP_STR("AllowValidOnly")));
}

static void listener(sp_hap *h, sp_json *g, sp_hap_door *d, bool sni) {
    const sp_hap_bind *b = d->bind;
    const char *protocol = d->front->http  ? b->tls ? "HTTPS" : "HTTP"
                           : b->tls || sni ? "TLS"
                                           : "TCP";
    d->listener = sp_arena_printf(h->arena, "%.*s-%u",
                                  SP_ARG(sp_hap_lower(h->arena, sp_str_z(protocol))), d->port);
    sp_json *l = sp_hap_make(h, "{'name':~,'protocol':~,'port':#}", d->listener, sp_str_z(protocol),
                             (unsigned)d->port);
    if (b->tls) {
        sp_json *tls = sp_hap_make(h, "{'mode':'Terminate'}");
        sp_json_set(h->arena, tls, "certificateRefs",
                    certificates(
                        h, b, sp_arena_printf(h->arena, "%.*s-%u", SP_ARG(d->front->id), d->port)));
        if (b->tls13)
            sp_json_set_z(h->arena, sp_json_ensure_object(h->arena, tls, "options"),
                          "sampan.dev/min-tls-version", "1.3");
        if (b->no_http2 && d->front->http)
            sp_json_set_z(h->arena, sp_json_ensure_object(h->arena, tls, "options"),
                          "sampan.dev/http2", "off");
        sp_json_set(h->arena, l, "tls", tls);
        client_authority(h, g, d);
    } else if (sni) {
        sp_json_set(h->arena, l, "tls", sp_hap_make(h, "{'mode':'Passthrough'}"));
    }
    sp_json_push(sp_json_dig(g, "spec", "listeners", NULL), l);
}

/* In mode tcp who may come is asked once for all: the rules' lists are the same. */
static void listener_access(sp_hap *h, const sp_hap_door *d, const sp_hap_rules *rules) {
    const sp_strs none = {0};
    const sp_hap_rule *r = !d->front->http && rules->n ? &rules->p[rules->n - 1] : NULL;
    sp_hap_listener_policy(h, d, r ? &r->allowed : &none, r ? &r->denied : &none);
}

static void open_door(sp_hap *h, sp_hap_proxy *p, const sp_hap_bind *b, uint16_t port) {
    sp_hap_rules rules = {0};
    sp_hap_door d = {.front = p, .bind = b, .port = port};
    sp_hap_compile(h, p, b, port, &rules);
    bool sni = !p->http && !b->tls && asks_server_name(&rules);
    sp_json *g = gateway_for(h, p, &b->addr, &d.gateway);
    listener(h, g, &d, sni);
    listener_access(h, &d, &rules);
    if (p->http)
        sp_hap_http_routes(h, &d, &rules);
    else
        sp_hap_tcp_routes(h, &d, &rules, sni);
    sp_vec_free(&rules);
}

static bool same_door(const sp_hap_bind *a, const sp_hap_bind *b, uint16_t port) {
    sp_addr at = a->addr, other = b->addr;
    at.port = other.port = port;
    return port >= b->port && port <= b->last_port && sp_addr_eq(&at, &other);
}

/* The first one has it; what is only implied yields to all that say it. */
static bool door_is_taken(sp_hap *h, const sp_hap_bind *b, uint16_t port) {
    bool earlier = true;
    sp_vec_each(&h->proxies, other) {
        sp_vec_each(&(*other)->binds, ob) {
            if (ob == b) earlier = false;
            if (ob == b || (*other)->disabled || !same_door(b, ob, port)) continue;
            if (b->implied ? !ob->implied || earlier : !ob->implied && earlier) {
                if (!b->implied)
                    sp_hap_error(h, b->line, "port %u is bound by line %u already", port, ob->line);
                return true;
            }
        }
    }
    return false;
}

static void frontend(sp_hap *h, sp_hap_proxy *p) {
    if (!p->binds.n) {
        if (p->kind == SP_HAP_FRONTEND)
            sp_hap_warn(h, p->line, "frontend \"%.*s\" has no bind line: nobody can reach it",
                        SP_ARG(p->name));
        else
            p->used = true; /* a listen without bind is a backend */
        return;
    }
    if (p->http && !p->forwardfor)
        sp_hap_note(h, p->line,
                    "\"%.*s\" has no option forwardfor: X-Forwarded-For is set all the same",
                    SP_ARG(p->name));
    sp_hap_check_rates(h, p);
    sp_vec_each(&p->binds, b) {
        for (unsigned port = b->port; port <= b->last_port; port++)
            if (!door_is_taken(h, b, (uint16_t)port)) open_door(h, p, b, (uint16_t)port);
    }
}

void sp_hap_objects(sp_hap *h) {
    sp_json *class = sp_hap_make(
        h, "{'apiVersion':'gateway.networking.k8s.io/v1','kind':'GatewayClass','metadata':{'name':"
           "'sampan'},'spec':{'controllerName':'sampan.dev/gateway'}}");
    sp_hap_emit(h, class);
    sp_vec_each(&h->proxies, p) {
        if (!((*p)->kind & (SP_HAP_BACKEND | SP_HAP_LISTEN)) || (*p)->disabled) continue;
        service(h, *p);
        slices(h, *p);
        sp_hap_backend_policy(h, *p);
        sp_hap_backend_tls(h, *p);
    }
    sp_vec_each(&h->proxies, p) {
        if (((*p)->kind & (SP_HAP_FRONTEND | SP_HAP_LISTEN)) && !(*p)->disabled) frontend(h, *p);
    }
    sp_vec_each(&h->proxies, p) {
        if (((*p)->kind & (SP_HAP_BACKEND | SP_HAP_LISTEN)) && !(*p)->disabled) lint_backend(h, *p);
    }
}
