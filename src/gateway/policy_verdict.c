/* What is said on BackendPolicies and TrafficPolicies: whether they are carried out, and which of
 * their settings cannot be. See policy.h. */
#include "data/regex.h"
#include "gateway/gwapi.h"
#include "gateway/policy.h"

#define GATEWAY_API "gateway.networking.k8s.io"

/* --- targets --- */

static const sp_obj_list *list_of(const sp_cluster_view *v, sp_str group, sp_str kind) {
    if (!group.n && sp_str_eqz(kind, "Service")) return &v->services;
    if (sp_str_eqz(group, GATEWAY_API) && sp_str_eqz(kind, "Gateway")) return &v->gateways;
    if (sp_str_eqz(group, GATEWAY_API) && sp_str_eqz(kind, "HTTPRoute")) return &v->routes;
    if (sp_str_eqz(group, GATEWAY_API) && sp_str_eqz(kind, "GRPCRoute")) return &v->grpc_routes;
    if (sp_str_eqz(group, "networking.k8s.io") && sp_str_eqz(kind, "Ingress")) return &v->ingresses;
    return NULL;
}

static bool has_section(const sp_json *o, sp_str kind, sp_str section) {
    uint64_t number = 0;
    if (!section.n) return true;
    if (sp_str_eqz(kind, "Service"))
        return sp_service_port(o, sp_str_u64(section, &number) ? (int64_t)number : 0, section);
    sp_json_each(sp_json_dig(o, "spec", "listeners", NULL), l) {
        if (sp_str_eq(sp_json_text(l, "name"), section)) return true;
    }
    return false;
}

static bool same_ref(const sp_json *a, const sp_json *b) {
    static const char *const keys[] = {"group", "kind", "name", "sectionName"};
    for (size_t i = 0; i < SP_COUNT(keys); i++)
        if (!sp_str_eq(sp_json_text(a, keys[i]), sp_json_text(b, keys[i]))) return false;
    return true;
}

static const sp_json *older_for(const sp_obj_list *policies, const sp_json *policy,
                                const sp_json *ref) {
    sp_vec_each(policies, other) {
        if (*other == policy || !sp_policy_older(*other, policy)) continue;
        if (!sp_str_eq(sp_obj_namespace(*other), sp_obj_namespace(policy))) continue;
        sp_json_each(sp_json_dig(*other, "spec", "targetRefs", NULL), r) {
            if (same_ref(r, ref)) return *other;
        }
    }
    return NULL;
}

/* --- what a target can do: some settings need a port of its own, some need requests --- */

enum { BY_PORT = 1, BY_REQUEST = 2 };

static const struct {
    const char *name;
    unsigned needs; /* one of these is enough */
} settings[] = {
    {"rateLimits", BY_REQUEST},     {"allow", BY_PORT | BY_REQUEST},
    {"deny", BY_PORT | BY_REQUEST}, {"acceptProxyProtocol", BY_PORT},
    {"trustForwarded", BY_PORT},    {"maxConnections", BY_PORT},
    {"connectionRate", BY_PORT},    {"timeouts", BY_PORT},
    {"maxBodyBytes", BY_REQUEST},
};

static unsigned service_can(const sp_translate_options *o, const sp_json *service) {
    sp_str type = sp_json_str(sp_json_dig(service, "spec", "type", NULL));
    const sp_json *ips = sp_json_dig(service, "spec", "externalIPs", NULL);
    bool port = o->cluster_ips || sp_str_eqz(type, "LoadBalancer") ||
                sp_str_eqz(type, "NodePort") || (ips && ips->count);
    return port ? BY_PORT : 0;
}

static bool listens_at(const sp_cluster_view *v, const sp_translate_options *o,
                       const sp_json *gateway, uint16_t port) {
    if (!sp_gateway_is_ours(v, gateway)) return false;
    sp_json_each(sp_json_dig(gateway, "spec", "listeners", NULL), l) {
        if (sp_gw_port(l, o) == port) return true;
    }
    return false;
}

/* A port belongs to the gateway itself, to all Ingresses, or to the oldest Gateway there. */
static bool has_port(const sp_cluster_view *v, const sp_translate_options *o,
                     const sp_json *gateway, uint16_t port) {
    if (port == o->http_port) return false;
    if (port == o->https_port && o->http_port && sp_ingresses_use_tls(v)) return false;
    sp_vec_each(&v->gateways, other) {
        if (*other != gateway && sp_policy_older(*other, gateway) && listens_at(v, o, *other, port))
            return false;
    }
    return true;
}

static unsigned gateway_can(const sp_cluster_view *v, const sp_translate_options *o,
                            const sp_json *gateway, sp_str section) {
    unsigned can = 0;
    sp_json_each(sp_json_dig(gateway, "spec", "listeners", NULL), l) {
        if (section.n && !sp_str_eq(section, sp_json_text(l, "name"))) continue;
        bool http = sp_str_starts(sp_json_text(l, "protocol"), SP_STR("HTTP"));
        can |= (http ? BY_REQUEST : 0) | (has_port(v, o, gateway, sp_gw_port(l, o)) ? BY_PORT : 0);
    }
    return can;
}

/* The names of settings that are given and that no target can carry out; *ret_any: others are. */
static sp_str idle_settings(sp_arena *a, const sp_json *policy, unsigned can, bool *ret_any) {
    sp_str names = {0};
    *ret_any = false;
    for (size_t i = 0; i < SP_COUNT(settings); i++) {
        if (!sp_json_dig(policy, "spec", settings[i].name, NULL)) continue;
        if (settings[i].needs & can)
            *ret_any = true;
        else
            names = sp_arena_printf(a, "%.*s%s%s", SP_ARG(names), names.n ? ", " : "",
                                    settings[i].name);
    }
    return names;
}

static unsigned target_can(const sp_cluster_view *v, const sp_translate_options *o, sp_str kind,
                           const sp_json *to, sp_str section) {
    if (sp_str_eqz(kind, "Service")) return service_can(o, to);
    return sp_str_eqz(kind, "Gateway") ? gateway_can(v, o, to, section) : BY_REQUEST;
}

static sp_policy_verdict judge_settings(sp_arena *a, const sp_json *policy, unsigned can) {
    bool any;
    sp_str idle = idle_settings(a, policy, can, &any);
    const char *why = !(can & BY_PORT) ? "only with a port of the target's own (--http-port and "
                                         "--https-port are shared)"
                                       : "only for HTTP requests";
    if (!idle.n) return (sp_policy_verdict){true, "Accepted", SP_STR("the gateways carry it out")};
    return (sp_policy_verdict){any, any ? "Accepted" : "Invalid",
                               sp_arena_printf(a, "%snot carried out: %.*s: %s",
                                               any ? "the gateways carry it out in part. " : "",
                                               SP_ARG(idle), why)};
}

/* --- the verdict --- */

static bool compiles(sp_str pattern, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_regex *re;
    return !pattern.n || sp_regex_compile(a, pattern, &re, err);
}

/* The field whose pattern cannot be used, and *err says why; "" when all can. */
static sp_str bad_pattern(sp_arena *a, const sp_json *policy, sp_err *err) {
    const sp_json *check = sp_json_dig(policy, "spec", "check", NULL);
    size_t i = 0;
    if (!compiles(sp_json_str(sp_json_dig(check, "http", "body", NULL)), err))
        return SP_STR("spec.check.http.body");
    sp_json_each(sp_json_dig(check, "tcp", "steps", NULL), step) {
        if (!compiles(sp_json_text(step, "expectRegex"), err))
            return sp_arena_printf(a, "spec.check.tcp.steps[%zu].expectRegex", i);
        i++;
    }
    return SP_STR("");
}

/* Who may write policies is not therefore one who may run programs on the gateways. */
static bool forbidden_script(const sp_json *policy, const sp_translate_options *o) {
    return !o->script_checks &&
           sp_str_eqz(sp_json_str(sp_json_dig(policy, "spec", "check", "type", NULL)), "Script");
}

sp_policy_verdict sp_policy_accepted(sp_arena *a, const sp_cluster_view *v,
                                     const sp_translate_options *o, const sp_json *policy) {
    bool backend = sp_str_eqz(sp_json_text(policy, "kind"), "BackendPolicy");
    const sp_obj_list *policies = backend ? &v->backend_policies : &v->traffic_policies;
    unsigned can = 0;
    sp_err err = {0};
    sp_str bad = bad_pattern(a, policy, &err);
    if (bad.n)
        return (sp_policy_verdict){false, "Invalid",
                                   sp_arena_printf(a, "%.*s: %s", SP_ARG(bad), err.text)};
    if (forbidden_script(policy, o))
        return (sp_policy_verdict){
            false, "Invalid",
            SP_STR("spec.check.type: scripts run only where the gateway has --script-checks; the "
                   "servers are not checked")};
    sp_json_each(sp_json_dig(policy, "spec", "targetRefs", NULL), ref) {
        sp_str kind = sp_json_text(ref, "kind"), name = sp_json_text(ref, "name");
        sp_str section = sp_json_text(ref, "sectionName");
        const sp_obj_list *list = list_of(v, sp_json_text(ref, "group"), kind);
        const sp_json *to = list ? sp_view_find(list, sp_obj_namespace(policy), name) : NULL;
        if (!to || !has_section(to, kind, section))
            return (sp_policy_verdict){false, "TargetNotFound",
                                       sp_arena_printf(a, "there is no %.*s \"%.*s\"%s%.*s here",
                                                       SP_ARG(kind), SP_ARG(name),
                                                       section.n ? " with " : "", SP_ARG(section))};
        const sp_json *by = older_for(policies, policy, ref);
        if (by)
            return (sp_policy_verdict){
                false, "Conflicted",
                sp_arena_printf(a, "%.*s \"%.*s\" has the older policy \"%.*s\"", SP_ARG(kind),
                                SP_ARG(name), SP_ARG(sp_obj_name(by)))};
        can |= target_can(v, o, kind, to, section);
    }
    return judge_settings(a, policy, backend ? BY_PORT | BY_REQUEST : can);
}
