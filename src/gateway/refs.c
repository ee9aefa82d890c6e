/* See refs.h. */
#include "gateway/refs.h"
#include "data/base64.h"
#include "gateway/tls_server.h"

#define GATEWAY_GROUP "gateway.networking.k8s.io"

static const struct {
    const char *name;
    size_t list;
} route_kinds[SP_ROUTE_KINDS] = {
    [SP_ROUTE_HTTP] = {"HTTPRoute", offsetof(sp_cluster_view, routes)},
    [SP_ROUTE_GRPC] = {"GRPCRoute", offsetof(sp_cluster_view, grpc_routes)},
    [SP_ROUTE_TLS] = {"TLSRoute", offsetof(sp_cluster_view, tls_routes)},
    [SP_ROUTE_TCP] = {"TCPRoute", offsetof(sp_cluster_view, tcp_routes)},
};

const char *sp_route_kind_name(sp_route_kind k) {
    return route_kinds[k].name;
}

const sp_obj_list *sp_routes_of(const sp_cluster_view *v, sp_route_kind k) {
    return (const sp_obj_list *)(const void *)((const char *)v + route_kinds[k].list);
}

/* Short for a problem whose text lives in the arena. */
#define problem(a, reason, ...) ((sp_problem){(reason), sp_arena_printf((a), __VA_ARGS__)})

/* --- grants --- */

static bool grants_from(const sp_json *grant, sp_referrer from) {
    sp_json_each(sp_json_dig(grant, "spec", "from", NULL), f) {
        if (sp_str_eqz(sp_json_text(f, "group"), GATEWAY_GROUP) &&
            sp_str_eqz(sp_json_text(f, "kind"), from.kind) &&
            sp_str_eq(sp_json_text(f, "namespace"), from.ns))
            return true;
    }
    return false;
}

static bool grants_to(const sp_json *grant, const char *kind, sp_str name) {
    sp_json_each(sp_json_dig(grant, "spec", "to", NULL), t) {
        sp_str only = sp_json_text(t, "name");
        if (!sp_json_text(t, "group").n && sp_str_eqz(sp_json_text(t, "kind"), kind) &&
            (!only.n || sp_str_eq(only, name)))
            return true;
    }
    return false;
}

bool sp_ref_granted(const sp_cluster_view *v, sp_referrer from, const char *to_kind, sp_str to_ns,
                    sp_str to_name) {
    if (sp_str_eq(from.ns, to_ns)) return true;
    sp_vec_each(&v->reference_grants, g) {
        if (sp_str_eq(sp_obj_namespace(*g), to_ns) && grants_from(*g, from) &&
            grants_to(*g, to_kind, to_name))
            return true;
    }
    return false;
}

/* The namespace a reference leads to; a problem when it may not. */
static sp_problem resolve_ns(sp_arena *a, const sp_cluster_view *v, sp_referrer from,
                             const sp_json *ref, const char *kind, sp_str *ret_ns) {
    sp_str ns = sp_json_text(ref, "namespace"), name = sp_json_text(ref, "name");
    *ret_ns = ns.n ? ns : from.ns;
    if (sp_ref_granted(v, from, kind, *ret_ns, name)) return (sp_problem){0};
    return problem(a, "RefNotPermitted",
                   "%s %.*s lies in namespace %.*s, where no ReferenceGrant lets a %s of namespace "
                   "%.*s refer to it",
                   kind, SP_ARG(name), SP_ARG(*ret_ns), from.kind, SP_ARG(from.ns));
}

/* --- backends --- */

/* A protocol that requests of this kind of route cannot be sent by. Names without a domain are
 * hints (any IANA service name); bytes go to every port. */
static sp_problem protocol_problem(sp_arena *a, sp_referrer from, const sp_json *port) {
    static const char *const known[] = {"kubernetes.io/h2c", "kubernetes.io/ws",
                                        "kubernetes.io/wss"};
    sp_str app = sp_json_text(port, "appProtocol");
    bool grpc = strcmp(from.kind, "GRPCRoute") == 0;
    if ((!grpc && strcmp(from.kind, "HTTPRoute") != 0) || sp_str_chr(app, '/') < 0)
        return (sp_problem){0};
    for (size_t i = 0; i < (grpc ? 1 : SP_COUNT(known)); i++)
        if (sp_str_eqz(app, known[i])) return (sp_problem){0};
    return problem(
        a, "UnsupportedProtocol",
        "a %s cannot reach a port whose appProtocol is %.*s (known: kubernetes.io/h2c%s)",
        from.kind, SP_ARG(app), grpc ? "" : ", kubernetes.io/ws, kubernetes.io/wss");
}

sp_backend sp_ref_backend(sp_arena *a, const sp_cluster_view *v, sp_referrer from,
                          const sp_json *ref) {
    sp_str kind = sp_json_text(ref, "kind"), group = sp_json_text(ref, "group"),
           name = sp_json_text(ref, "name");
    int64_t number = sp_json_int(sp_json_get(ref, "port"), 0);
    sp_str ns = {0};
    if ((kind.n && !sp_str_eqz(kind, "Service")) || group.n)
        return (sp_backend){.problem = problem(a, "InvalidKind",
                                               "a backend must be a Service, not a %.*s%s%.*s",
                                               SP_ARG(kind), group.n ? "." : "", SP_ARG(group))};
    sp_backend b = {.problem = resolve_ns(a, v, from, ref, "Service", &ns)};
    if (b.problem.reason) return b;
    b.service = sp_view_find(&v->services, ns, name);
    b.port = number ? sp_service_port(b.service, number, (sp_str){0}) : NULL;
    const sp_json *policy = b.port ? sp_ref_backend_policy(v, b.service, b.port) : NULL;
    if (!b.service)
        b.problem = problem(a, "BackendNotFound", "there is no service %.*s in namespace %.*s",
                            SP_ARG(name), SP_ARG(ns));
    else if (!b.port)
        b.problem = problem(a, "BackendNotFound", "service %.*s has no port %lld", SP_ARG(name),
                            (long long)number);
    else if (policy)
        b.problem = sp_ref_policy_tls(a, v, policy).invalid;
    if (b.port && !b.problem.reason) b.problem = protocol_problem(a, from, b.port);
    return b;
}

uint32_t sp_translate_backend(sp_translator *t, const sp_backend *b, const sp_pool_spec *like,
                              sp_str suffix) {
    if (b->problem.reason) return SP_NO_POOL;
    return sp_translate_pool_like(t, b->service, b->port, like, suffix);
}

/* --- certificates --- */

bool sp_ref_secret_member(sp_arena *a, const sp_json *secret, const char *key, sp_str *ret) {
    sp_auto(sp_buf) b = {0};
    sp_str plain = sp_json_str(sp_json_dig(secret, "stringData", key, NULL));
    if (!plain.n && !sp_base64_decode(&b, sp_json_str(sp_json_dig(secret, "data", key, NULL))))
        return false;
    *ret = sp_arena_str(a, plain.n ? plain : sp_buf_str(&b));
    return ret->n > 0;
}

/* Certificates are looked at with every configuration, and they are costly to read: what was found
 * good is remembered by the revision of its Secret. Control side only, so one thread. */
enum { MAX_REMEMBERED = 4096 };

static bool check_cert(const sp_json *secret, const sp_tls_cert *c, sp_err *err) {
    static sp_map good;
    sp_str revision = sp_json_str(sp_json_dig(secret, "metadata", "resourceVersion", NULL));
    sp_auto(sp_buf) key = {0};
    sp_buf_printf(&key, "%.*s@%.*s", SP_ARG(c->source), SP_ARG(revision));
    if (revision.n && sp_map_get(&good, sp_buf_str(&key))) return true;
    if (!sp_tls_check_cert(c, err)) return false;
    if (good.n >= MAX_REMEMBERED) sp_map_free(&good);
    if (revision.n) sp_map_put(&good, sp_buf_str(&key), &good);
    return true;
}

sp_problem sp_ref_secret_cert(sp_arena *a, const sp_cluster_view *v, sp_str ns, sp_str name,
                              sp_tls_cert *ret) {
    const char *reason = "InvalidCertificateRef";
    const sp_json *secret = sp_view_find(&v->secrets, ns, name);
    sp_tls_cert c = {.source = sp_arena_printf(a, "Secret %.*s/%.*s", SP_ARG(ns), SP_ARG(name))};
    sp_err err = {0};
    if (!secret) return problem(a, reason, "there is no %.*s", SP_ARG(c.source));
    if (!sp_ref_secret_member(a, secret, "tls.crt", &c.cert_pem) ||
        !sp_ref_secret_member(a, secret, "tls.key", &c.key_pem))
        return problem(a, reason, "%.*s has no tls.crt and tls.key", SP_ARG(c.source));
    if (!check_cert(secret, &c, &err)) return problem(a, reason, "%s", err.text);
    (void)sp_ref_secret_member(a, secret, "tls.ocsp-staple", &c.ocsp_der);
    *ret = c;
    return (sp_problem){0};
}

sp_problem sp_ref_cert(sp_arena *a, const sp_cluster_view *v, sp_referrer from, const sp_json *ref,
                       sp_tls_cert *ret) {
    sp_str kind = sp_json_text(ref, "kind"), group = sp_json_text(ref, "group"), ns = {0};
    if ((kind.n && !sp_str_eqz(kind, "Secret")) || group.n)
        return problem(a, "InvalidCertificateRef",
                       "a certificate must be a Secret, not a %.*s%s%.*s", SP_ARG(kind),
                       group.n ? "." : "", SP_ARG(group));
    sp_problem p = resolve_ns(a, v, from, ref, "Secret", &ns);
    return p.reason ? p : sp_ref_secret_cert(a, v, ns, sp_json_text(ref, "name"), ret);
}

sp_problem sp_ref_ca(sp_arena *a, const sp_cluster_view *v, sp_referrer from, const sp_json *ref,
                     sp_str *pem) {
    sp_str kind = sp_json_text(ref, "kind"), group = sp_json_text(ref, "group"),
           name = sp_json_text(ref, "name");
    bool secret = sp_str_eqz(kind, "Secret");
    sp_str ns = {0}, ca = {0};
    sp_err err = {0};
    if (group.n || (!secret && !sp_str_eqz(kind, "ConfigMap")))
        return problem(a, "InvalidCACertificateKind",
                       "an authority must be a ConfigMap or Secret, not a %.*s%s%.*s", SP_ARG(kind),
                       group.n ? "." : "", SP_ARG(group));
    sp_problem p = resolve_ns(a, v, from, ref, secret ? "Secret" : "ConfigMap", &ns);
    if (p.reason) return p;
    const sp_json *o = sp_view_find(secret ? &v->secrets : &v->config_maps, ns, name);
    if (secret)
        (void)sp_ref_secret_member(a, o, "ca.crt", &ca);
    else
        ca = sp_json_str(sp_json_dig(o, "data", "ca.crt", NULL));
    if (!ca.n)
        return problem(a, "InvalidCACertificateRef", "there is no %s %.*s/%.*s with ca.crt",
                       secret ? "Secret" : "ConfigMap", SP_ARG(ns), SP_ARG(name));
    if (!sp_tls_check_ca(ca, &err))
        return problem(a, "InvalidCACertificateRef", "ca.crt of %.*s/%.*s: %s", SP_ARG(ns),
                       SP_ARG(name), err.text);
    *pem = sp_arena_printf(a, "%.*s%.*s\n", SP_ARG(*pem), SP_ARG(ca));
    return (sp_problem){0};
}

/* --- TLS towards backends --- */

enum { NO_TARGET, WHOLE, PORT };

static int targets(const sp_json *policy, const sp_json *service, const sp_json *port) {
    int best = NO_TARGET;
    if (!sp_str_eq(sp_obj_namespace(policy), sp_obj_namespace(service))) return NO_TARGET;
    sp_json_each(sp_json_dig(policy, "spec", "targetRefs", NULL), t) {
        sp_str section = sp_json_text(t, "sectionName");
        if (sp_json_text(t, "group").n || !sp_str_eqz(sp_json_text(t, "kind"), "Service") ||
            !sp_str_eq(sp_json_text(t, "name"), sp_obj_name(service)))
            continue;
        if (!section.n) best = SP_MAX(best, WHOLE);
        if (section.n && port && sp_str_eq(section, sp_json_text(port, "name"))) best = PORT;
    }
    return best;
}

static bool is_older(const sp_json *a, const sp_json *b) {
    int64_t ta = sp_translate_created_ms(a), tb = sp_translate_created_ms(b);
    return ta != tb ? ta < tb : sp_str_cmp(sp_obj_name(a), sp_obj_name(b)) < 0;
}

const sp_json *sp_ref_backend_policy(const sp_cluster_view *v, const sp_json *service,
                                     const sp_json *port) {
    const sp_json *best = NULL;
    int best_match = NO_TARGET;
    sp_vec_each(&v->backend_tls_policies, p) {
        int match = targets(*p, service, port);
        if (match == NO_TARGET || match < best_match) continue;
        if (match == best_match && !is_older(*p, best)) continue;
        best = *p;
        best_match = match;
    }
    return best;
}

static void read_authorities(sp_arena *a, const sp_cluster_view *v, const sp_json *policy,
                             sp_upstream_tls *tls, sp_policy_tls *ret) {
    const sp_json *refs = sp_json_dig(policy, "spec", "validation", "caCertificateRefs", NULL);
    sp_referrer from = {"BackendTLSPolicy", sp_obj_namespace(policy)};
    sp_json_each(refs, ref) {
        sp_problem p = sp_ref_ca(a, v, from, ref, &tls->ca_pem);
        if (!p.reason) continue;
        if (sp_str_eqz(sp_str_z(p.reason), "InvalidCACertificateKind")) p.reason = "InvalidKind";
        ret->refs = p;
    }
    if (ret->refs.reason && !tls->ca_pem.n)
        ret->invalid = (sp_problem){"NoValidCACertificate", ret->refs.text};
}

sp_policy_tls sp_ref_policy_tls(sp_arena *a, const sp_cluster_view *v, const sp_json *policy) {
    const sp_json *spec = sp_json_dig(policy, "spec", "validation", NULL);
    const sp_json *names = sp_json_get(spec, "subjectAltNames");
    sp_str known = sp_json_text(spec, "wellKnownCACertificates");
    sp_upstream_tls *tls = SP_NEW(a, sp_upstream_tls);
    sp_policy_tls ret = {0};
    read_authorities(a, v, policy, tls, &ret);
    if (names && names->count)
        ret.invalid = problem(a, "Invalid", "spec.validation.subjectAltNames is not supported");
    if (known.n && !sp_str_eqz(known, "System"))
        ret.invalid =
            problem(a, "Invalid", "spec.validation.wellKnownCACertificates: %.*s is not known",
                    SP_ARG(known));
    tls->server_name = sp_arena_str(a, sp_json_text(spec, "hostname"));
    if (!ret.invalid.reason) ret.tls = tls;
    return ret;
}
