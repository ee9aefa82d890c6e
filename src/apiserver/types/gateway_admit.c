/* What the schemas of Gateways, connection routes and BackendTLSPolicies cannot say: the rules that
 * Gateway API's CRDs write in CEL, with their words. */
#include "apiserver/types/gateway_admit.h"

static bool is_z(const sp_json *o, const char *key, const char *value) {
    return sp_str_eqz(sp_json_str(sp_json_get(o, key)), value);
}

/* --- Gateway --- */

/* From this namespace, unless something else is said. */
static void default_allowed(sp_arena *a, sp_json *listener) {
    if (!sp_json_is(listener, SP_JSON_OBJECT)) return;
    sp_json *allowed = sp_open_object(a, listener, "allowedRoutes");
    sp_json *ns = allowed ? sp_open_object(a, allowed, "namespaces") : NULL;
    if (ns) sp_default_z(a, ns, "from", "Same");
}

bool sp_prepare_gateway(sp_admit *a, sp_err *err) {
    sp_json *spec = sp_member(a->obj, "spec", SP_JSON_OBJECT);
    if (!spec || a->subresource.n) return true;
    sp_json_each(sp_member(spec, "listeners", SP_JSON_ARRAY), it) default_allowed(a->arena, it);
    return true;
}

static void check_listener(const sp_at *at, const sp_json *l) {
    const sp_json *tls = sp_json_get(l, "tls"), *host = sp_json_get(l, "hostname");
    const sp_json *certs = sp_json_get(tls, "certificateRefs");
    const sp_json *options = sp_json_get(tls, "options");
    bool tcp = is_z(l, "protocol", "TCP") || is_z(l, "protocol", "UDP");
    bool passthrough = is_z(tls, "mode", "Passthrough");
    sp_at here = sp_at_key(at, "tls");
    if (tls && (tcp || is_z(l, "protocol", "HTTP")))
        sp_say_invalid(at, "tls", tls,
                       "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']");
    if (is_z(l, "protocol", "HTTPS") && passthrough)
        sp_say_invalid(&here, "mode", sp_json_get(tls, "mode"),
                       "tls mode must be Terminate for protocol HTTPS");
    if (is_z(l, "protocol", "TLS") && !tls)
        sp_say_required(at, "tls", "tls mode must be set for protocol TLS");
    if (tcp && sp_json_str(host).n)
        sp_say_invalid(at, "hostname", host,
                       "hostname must not be specified for protocols ['TCP', 'UDP']");
    if (tls && !passthrough && !(certs && certs->count) && !(options && options->count))
        sp_say_invalid(at, "tls", tls,
                       "certificateRefs or options must be specified when mode is Terminate");
    if (host) sp_check_text(at, l, "hostname", sp_wrong_host);
}

static bool same_place(const sp_json *a, const sp_json *b) {
    return sp_json_int(sp_json_get(a, "port"), 0) == sp_json_int(sp_json_get(b, "port"), 0) &&
           sp_str_eq(sp_json_str(sp_json_get(a, "protocol")),
                     sp_json_str(sp_json_get(b, "protocol"))) &&
           sp_str_eq(sp_json_str(sp_json_get(a, "hostname")),
                     sp_json_str(sp_json_get(b, "hostname")));
}

static void check_listeners(const sp_at *spec_at, const sp_json *listeners) {
    sp_at list = sp_at_key(spec_at, "listeners");
    size_t i = 0;
    bool said = false;
    sp_json_each(listeners, it) {
        sp_at item = sp_at_item(&list, i++);
        check_listener(&item, it);
        sp_json_each(listeners, other) {
            if (other == it) break;
            if (said || !same_place(it, other)) continue;
            said = true;
            sp_say_invalid(&item, NULL, it,
                           "Combination of port, protocol and hostname must be unique for each "
                           "listener");
        }
    }
}

static void check_addresses(const sp_at *spec_at, const sp_json *addresses) {
    sp_at list = sp_at_key(spec_at, "addresses");
    size_t i = 0;
    sp_json_each(addresses, it) {
        sp_at item = sp_at_item(&list, i++);
        sp_str type = sp_json_str(sp_json_get(it, "type"));
        sp_json_each(addresses, other) {
            if (other == it) break;
            if (sp_json_get(it, "value") && sp_json_equal(it, other))
                sp_say_invalid(&item, "value", sp_json_get(it, "value"),
                               "%.*s values must be unique", SP_ARG(type));
        }
    }
}

bool sp_validate_gateway(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    if (a->subresource.n) return true;
    check_listeners(&at, sp_json_get(spec, "listeners"));
    check_addresses(&at, sp_json_get(spec, "addresses"));
    return true;
}

/* --- what routes share --- */

static bool same_member(const sp_json *a, const sp_json *b, const char *key) {
    const sp_json *x = sp_json_get(a, key), *y = sp_json_get(b, key);
    return x && y ? sp_json_equal(x, y) : !x && !y;
}

static bool same_parent(const sp_json *a, const sp_json *b) {
    return same_member(a, b, "group") && same_member(a, b, "kind") && same_member(a, b, "name") &&
           same_member(a, b, "namespace");
}

void sp_gw_check_parents(const sp_at *spec_at, const sp_json *spec) {
    const sp_json *parents = sp_json_get(spec, "parentRefs");
    sp_json_each(parents, it) {
        sp_json_each(parents, other) {
            if (other == it) break;
            if (!same_parent(it, other)) continue;
            bool alike = !sp_json_get(it, "sectionName") == !sp_json_get(other, "sectionName") &&
                         !sp_json_get(it, "port") == !sp_json_get(other, "port");
            if (!alike) {
                sp_say_invalid(spec_at, "parentRefs", parents,
                               "sectionName or port must be specified when parentRefs includes 2 "
                               "or more references to the same parent");
                return;
            }
            if (same_member(it, other, "sectionName") && same_member(it, other, "port")) {
                sp_say_invalid(spec_at, "parentRefs", parents,
                               "sectionName or port must be unique when parentRefs includes 2 or "
                               "more references to the same parent");
                return;
            }
        }
    }
}

void sp_gw_check_hostnames(const sp_at *spec_at, const sp_json *spec) {
    sp_at hosts = sp_at_key(spec_at, "hostnames");
    size_t i = 0;
    sp_json_each(sp_json_get(spec, "hostnames"), it) {
        sp_at item = sp_at_item(&hosts, i++);
        const char *what = sp_wrong_host(sp_json_str(it));
        if (what) sp_say_invalid(&item, NULL, it, "%s", what);
    }
}

void sp_gw_check_rule_names(const sp_at *spec_at, const sp_json *spec) {
    const sp_json *rules = sp_json_get(spec, "rules");
    sp_json_each(rules, it) {
        const sp_json *name = sp_json_get(it, "name");
        sp_json_each(rules, other) {
            if (other == it) break;
            if (name && sp_json_equal(name, sp_json_get(other, "name")))
                sp_say_invalid(spec_at, "rules", rules,
                               "Rule name must be unique within the route");
        }
    }
}

void sp_gw_check_backend(const sp_at *at, const sp_json *ref) {
    bool service = is_z(ref, "kind", "Service") && !sp_json_str(sp_json_get(ref, "group")).n;
    if (service && !sp_json_get(ref, "port"))
        sp_say_required(at, "port", "must have port for Service reference");
}

/* --- connections --- */

static bool validate_connections(sp_admit *a, bool named) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec"), rules = sp_at_key(&at, "rules");
    const sp_json *spec = sp_json_get(a->obj, "spec"), *hosts = sp_json_get(spec, "hostnames");
    size_t i = 0;
    if (a->subresource.n) return true;
    sp_gw_check_parents(&at, spec);
    sp_gw_check_hostnames(&at, spec);
    if (named && !(hosts && hosts->count) && !strcmp(a->resource->version, "v1"))
        sp_say_required(&at, "hostnames", NULL);
    sp_json_each(sp_json_get(spec, "rules"), rule) {
        sp_at item = sp_at_item(&rules, i++), refs = sp_at_key(&item, "backendRefs");
        size_t k = 0;
        sp_json_each(sp_json_get(rule, "backendRefs"), it) {
            sp_at ref = sp_at_item(&refs, k++);
            sp_gw_check_backend(&ref, it);
        }
    }
    return true;
}

bool sp_prepare_tls_route(sp_admit *a, sp_err *err) {
    return true;
}
bool sp_validate_tls_route(sp_admit *a, sp_err *err) {
    return validate_connections(a, true);
}
bool sp_prepare_tcp_route(sp_admit *a, sp_err *err) {
    return true;
}
bool sp_validate_tcp_route(sp_admit *a, sp_err *err) {
    return validate_connections(a, false);
}

/* --- BackendTLSPolicy --- */

bool sp_prepare_backend_tls_policy(sp_admit *a, sp_err *err) {
    return true;
}

static void check_alt_name(const sp_at *at, const sp_json *name) {
    static const char *const kinds[][2] = {{"Hostname", "hostname"}, {"URI", "uri"}};
    for (size_t i = 0; i < 2; i++) {
        bool is = is_z(name, "type", kinds[i][0]), has = sp_json_get(name, kinds[i][1]) != NULL;
        if (is && !has)
            sp_say_invalid(at, NULL, name,
                           "SubjectAltName element must contain %s, if Type is set to %s",
                           kinds[i][0], kinds[i][0]);
        if (!is && has)
            sp_say_invalid(at, NULL, name,
                           "SubjectAltName element must not contain %s, if Type is not set to %s",
                           kinds[i][0], kinds[i][0]);
    }
}

static void check_targets(const sp_at *spec_at, const sp_json *targets) {
    sp_json_each(targets, it) {
        sp_json_each(targets, other) {
            if (other == it) break;
            if (!same_member(it, other, "group") || !same_member(it, other, "kind") ||
                !same_member(it, other, "name"))
                continue;
            bool alike = !sp_json_get(it, "sectionName") == !sp_json_get(other, "sectionName");
            if (!alike || same_member(it, other, "sectionName")) {
                sp_say_invalid(spec_at, "targetRefs", targets,
                               "sectionName must be %s when targetRefs includes 2 or more "
                               "references to the same target",
                               alike ? "unique" : "specified");
                return;
            }
        }
    }
}

bool sp_validate_backend_tls_policy(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec"), here = sp_at_key(&at, "validation");
    sp_at names = sp_at_key(&here, "subjectAltNames");
    const sp_json *spec = sp_json_get(a->obj, "spec"), *v = sp_json_get(spec, "validation");
    const sp_json *refs = sp_json_get(v, "caCertificateRefs");
    bool own = refs && refs->count,
         known = sp_json_str(sp_json_get(v, "wellKnownCACertificates")).n;
    size_t i = 0;
    if (a->subresource.n) return true;
    check_targets(&at, sp_json_get(spec, "targetRefs"));
    if (own && known)
        sp_say_invalid(&at, "validation", v,
                       "must not contain both CACertificateRefs and WellKnownCACertificates");
    if (!own && !known)
        sp_say_invalid(&at, "validation", v,
                       "must specify either CACertificateRefs or WellKnownCACertificates");
    sp_json_each(sp_json_get(v, "subjectAltNames"), it) {
        sp_at item = sp_at_item(&names, i++);
        check_alt_name(&item, it);
    }
    return true;
}
