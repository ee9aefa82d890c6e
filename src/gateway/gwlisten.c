/* What the listeners of a Gateway come to: protocol, kinds of routes, certificates, conflicts. See
 * gwapi.h. */
#include "gateway/gwapi.h"

bool sp_gateway_is_ours(const sp_cluster_view *v, const sp_json *gateway) {
    sp_str name = sp_json_str(sp_json_dig(gateway, "spec", "gatewayClassName", NULL));
    const sp_json *class = sp_view_find(&v->gateway_classes, (sp_str){0}, name);
    return sp_str_eqz(sp_json_str(sp_json_dig(class, "spec", "controllerName", NULL)),
                      SP_GATEWAY_CONTROLLER);
}

#define KIND(k) (1u << SP_ROUTE_##k)

/* --- protocol and port --- */

static const struct {
    const char *name;
    unsigned kinds, kinds_passthrough;
} protocols[] = {
    [SP_GW_HTTP] = {"HTTP", KIND(HTTP) | KIND(GRPC), 0},
    [SP_GW_HTTPS] = {"HTTPS", KIND(HTTP) | KIND(GRPC), 0},
    [SP_GW_TLS] = {"TLS", KIND(TLS) | KIND(TCP), KIND(TLS)},
    [SP_GW_TCP] = {"TCP", KIND(TCP), 0},
};

static sp_gw_protocol protocol_of(sp_str name) {
    for (size_t i = 0; i < SP_COUNT(protocols); i++)
        if (sp_str_eqz(name, protocols[i].name)) return (sp_gw_protocol)i;
    return SP_GW_OTHER;
}

uint16_t sp_gw_port(const sp_json *listener, const sp_translate_options *o) {
    int64_t port = sp_json_int(sp_json_get(listener, "port"), 0);
    if (port == 80 && o->http_port) return o->http_port;
    if (port == 443 && o->https_port) return o->https_port;
    return port > 0 && port < 65536 ? (uint16_t)port : 0;
}

/* --- kinds of routes --- */

static unsigned kind_bit(const sp_json *k) {
    sp_str group = sp_json_text(k, "group");
    if (group.n && !sp_str_eqz(group, "gateway.networking.k8s.io")) return 0;
    for (unsigned i = 0; i < SP_ROUTE_KINDS; i++)
        if (sp_str_eqz(sp_json_text(k, "kind"), sp_route_kind_name((sp_route_kind)i)))
            return 1u << i;
    return 0;
}

static void judge_kinds(sp_arena *a, sp_gw_listener *l) {
    const sp_json *kinds = sp_json_dig(l->spec, "allowedRoutes", "kinds", NULL);
    unsigned possible = 0, wanted = 0;
    if (l->protocol != SP_GW_OTHER)
        possible = l->passthrough ? protocols[l->protocol].kinds_passthrough
                                  : protocols[l->protocol].kinds;
    sp_json_each(kinds, k) {
        unsigned bit = kind_bit(k);
        wanted |= bit;
        if (bit & possible) continue;
        l->refs = (sp_problem){"InvalidRouteKinds",
                               sp_arena_printf(a,
                                               "a %.*s cannot attach to a listener of protocol "
                                               "%.*s%s",
                                               SP_ARG(sp_json_text(k, "kind")),
                                               SP_ARG(sp_json_text(l->spec, "protocol")),
                                               l->passthrough ? " that passes TLS through" : "")};
    }
    l->kinds = kinds && kinds->count ? possible & wanted : possible;
}

/* --- certificates --- */

static sp_referrer gateway_referrer(const sp_json *gateway) {
    return (sp_referrer){"Gateway", sp_obj_namespace(gateway)};
}

static void add_certs(sp_arena *a, const sp_cluster_view *v, sp_gw_listener *l, sp_tls_spec *tls) {
    const sp_json *refs = sp_json_dig(l->spec, "tls", "certificateRefs", NULL);
    tls->certs = sp_arena_alloc(a, ((refs ? refs->count : 0) + 1) * sizeof *tls->certs);
    sp_json_each(refs, ref) {
        sp_problem p =
            sp_ref_cert(a, v, gateway_referrer(l->gateway), ref, &tls->certs[tls->cert_count]);
        if (p.reason)
            l->refs = p;
        else
            tls->cert_count++;
    }
    if (!refs || !refs->count)
        l->refs = (sp_problem){"InvalidCertificateRef",
                               SP_STR("tls.certificateRefs names no certificate")};
}

/* gateway.spec.tls.frontend: perPort before default. The port is the one written in the listener.
 */
static const sp_json *validation_of(const sp_gw_listener *l) {
    const sp_json *front = sp_json_dig(l->gateway, "spec", "tls", "frontend", NULL);
    int64_t port = sp_json_int(sp_json_get(l->spec, "port"), 0);
    sp_json_each(sp_json_get(front, "perPort"), p) {
        if (sp_json_int(sp_json_get(p, "port"), 0) == port)
            return sp_json_dig(p, "tls", "validation", NULL);
    }
    return sp_json_dig(front, "default", "validation", NULL);
}

static void add_client_ca(sp_arena *a, const sp_cluster_view *v, sp_gw_listener *l,
                          sp_tls_spec *tls) {
    const sp_json *validation = validation_of(l);
    if (!validation) return;
    sp_json_each(sp_json_get(validation, "caCertificateRefs"), ref) {
        sp_problem p = sp_ref_ca(a, v, gateway_referrer(l->gateway), ref, &tls->client_ca_pem);
        if (p.reason) l->refs = p;
    }
    bool lax = sp_str_eqz(sp_json_text(validation, "mode"), "AllowInsecureFallback");
    tls->client_verify = lax ? SP_VERIFY_OPTIONAL : SP_VERIFY_REQUIRED;
    if (!tls->client_ca_pem.n)
        l->invalid = (sp_problem){"NoValidCACertificate",
                                  SP_STR("no usable certificate authority for clients")};
}

static void read_options(sp_arena *a, sp_gw_listener *l, sp_tls_spec *tls) {
    sp_json_each(sp_json_dig(l->spec, "tls", "options", NULL), o) {
        bool version = sp_str_eqz(o->key, "sampan.dev/min-tls-version");
        if (version && sp_str_eqz(sp_json_str(o), "1.3")) tls->min_version = 0x0304;
        if (version && (tls->min_version || sp_str_eqz(sp_json_str(o), "1.2"))) continue;
        bool off = sp_str_eqz(o->key, "sampan.dev/http2") && sp_str_eqz(sp_json_str(o), "off");
        tls->no_http2 |= off;
        if (off) continue;
        l->invalid = (sp_problem){"UnsupportedValue",
                                  sp_arena_printf(a, "tls.options: %.*s: %.*s is not supported",
                                                  SP_ARG(o->key), SP_ARG(sp_json_str(o)))};
    }
}

static void judge_tls(sp_arena *a, const sp_cluster_view *v, sp_gw_listener *l) {
    bool ends_tls = (l->protocol == SP_GW_HTTPS || l->protocol == SP_GW_TLS) && !l->passthrough;
    if (!ends_tls) return;
    sp_tls_spec *tls = SP_NEW(a, sp_tls_spec);
    add_certs(a, v, l, tls);
    add_client_ca(a, v, l, tls);
    read_options(a, l, tls);
    tls->no_http2 |= l->protocol == SP_GW_TLS;
    if (tls->cert_count) l->tls = tls;
}

/* --- conflicts inside of one Gateway --- */

static bool is_tls(const sp_gw_listener *l) {
    return l->protocol == SP_GW_HTTPS || l->protocol == SP_GW_TLS;
}

static void judge_pair(sp_arena *a, sp_gw_listener *l, const sp_gw_listener *other) {
    if (l->port != other->port || other->protocol == SP_GW_OTHER) return;
    bool compatible = l->protocol == other->protocol || (is_tls(l) && is_tls(other));
    if (!compatible) {
        l->clash =
            (sp_problem){"ProtocolConflict",
                         sp_arena_printf(a, "listener %.*s uses port %u for another protocol",
                                         SP_ARG(other->name), l->port)};
    } else if (!l->clash.reason && sp_str_eq(l->host, other->host)) {
        l->clash = (sp_problem){"HostnameConflict",
                                sp_arena_printf(a, "listener %.*s has the same port and hostname",
                                                SP_ARG(other->name))};
    }
}

static void judge_conflicts(sp_arena *a, sp_gw_listeners *list) {
    sp_vec_each(list, l) {
        if (l->protocol == SP_GW_OTHER) continue;
        sp_vec_each(list, other) if (other != l) judge_pair(a, l, other);
    }
}

/* --- the whole --- */

static sp_gw_listener judge(sp_arena *a, const sp_cluster_view *v, const sp_translate_options *o,
                            const sp_json *gateway, const sp_json *spec) {
    sp_gw_listener l = {.gateway = gateway,
                        .spec = spec,
                        .name = sp_json_text(spec, "name"),
                        .host = sp_translate_lower(a, sp_json_text(spec, "hostname")),
                        .protocol = protocol_of(sp_json_text(spec, "protocol")),
                        .port = sp_gw_port(spec, o)};
    l.passthrough = l.protocol == SP_GW_TLS &&
                    sp_str_eqz(sp_json_text(sp_json_get(spec, "tls"), "mode"), "Passthrough");
    if (l.protocol == SP_GW_OTHER)
        l.invalid = (sp_problem){"UnsupportedProtocol",
                                 sp_arena_printf(a,
                                                 "this gateway serves HTTP, HTTPS, TLS and TCP, "
                                                 "not %.*s",
                                                 SP_ARG(sp_json_text(spec, "protocol")))};
    judge_kinds(a, &l);
    judge_tls(a, v, &l);
    return l;
}

void sp_gw_listeners_of(sp_arena *a, const sp_cluster_view *v, const sp_translate_options *o,
                        const sp_json *gateway, sp_gw_listeners *ret) {
    ret->n = 0;
    sp_json_each(sp_json_dig(gateway, "spec", "listeners", NULL), spec) {
        sp_gw_listener l = judge(a, v, o, gateway, spec);
        sp_vec_push(ret, l);
    }
    judge_conflicts(a, ret);
    sp_vec_each(ret, l) {
        bool needs_cert = is_tls(l) && !l->passthrough;
        l->served = !l->invalid.reason && !l->clash.reason && l->kinds && l->port &&
                    (l->tls || !needs_cert);
    }
}

sp_problem sp_gw_addresses(sp_arena *a, const sp_translate_options *o, const sp_json *gateway,
                           sp_addrs *ret) {
    sp_problem fault = {0};
    ret->n = 0;
    sp_json_each(sp_json_dig(gateway, "spec", "addresses", NULL), it) {
        sp_str type = sp_json_text(it, "type"), value = sp_json_text(it, "value");
        sp_addr addr = o->bind;
        bool fine = (!type.n || sp_str_eqz(type, "IPAddress")) &&
                    (!value.n || sp_addr_parse(value, 0, &addr));
        if (fine)
            sp_vec_push(ret, addr);
        else
            fault = (sp_problem){"UnsupportedAddress",
                                 sp_arena_printf(a,
                                                 "spec.addresses: %.*s \"%.*s\" is not an IP "
                                                 "address",
                                                 SP_ARG(type), SP_ARG(value))};
    }
    if (!ret->n) sp_vec_push(ret, o->bind);
    return fault;
}
