/* Routes of all kinds and BackendTLSPolicies: what is said of them at each Gateway, in the words of
 * the Gateway API specification. */
#include "gateway/status.h"
#include "kube/gvrs.h"

static bool is_ours(const sp_json *status) {
    return sp_str_eqz(sp_json_str(sp_json_get(status, "controllerName")), SP_GATEWAY_CONTROLLER);
}

/* Our entry of status.parents or status.ancestors for this reference; NULL. */
static const sp_json *old_entry(const sp_json *obj, const char *list, const char *key,
                                const sp_json *ref) {
    sp_json_each(sp_json_dig(obj, "status", list, NULL), p) {
        if (is_ours(p) && sp_json_equal(sp_json_get(p, key), ref)) return p;
    }
    return NULL;
}

static void keep_others(sp_reconcile *r, const sp_json *obj, const char *list, sp_json *to) {
    sp_json_each(sp_json_dig(obj, "status", list, NULL), p) {
        if (!is_ours(p)) sp_json_push(to, sp_json_clone(r->arena, p));
    }
}

/* --- routes --- */

static const sp_gvr *const gvrs[SP_ROUTE_KINDS] = {[SP_ROUTE_HTTP] = &sp_gvr_httproutes,
                                                   [SP_ROUTE_GRPC] = &sp_gvr_grpcroutes,
                                                   [SP_ROUTE_TLS] = &sp_gvr_tlsroutes,
                                                   [SP_ROUTE_TCP] = &sp_gvr_tcproutes};

static void partly_invalid(sp_reconcile *r, sp_json *conditions, int64_t generation,
                           sp_str dropped) {
    if (!dropped.n) {
        sp_status_drop_condition(conditions, "PartiallyInvalid");
        return;
    }
    sp_status_condition(r, conditions, generation, "PartiallyInvalid", true, "UnsupportedValue",
                        sp_arena_printf(r->arena, "Dropped Rule: %.*s", SP_ARG(dropped)));
}

static sp_json *parent_status(sp_reconcile *r, const sp_status_view *v, sp_route_kind kind,
                              const sp_json *route, const sp_json *ref, const sp_json *gateway) {
    sp_json *s = sp_json_object(r->arena);
    sp_json *c = sp_status_conditions(r, old_entry(route, "parents", "parentRef", ref));
    int64_t generation = sp_obj_generation(route);
    sp_route_verdict accepted =
        sp_route_accepted(r->arena, v->cluster, v->options, kind, route, ref, gateway);
    sp_route_verdict resolved = sp_route_resolved(r->arena, v->cluster, kind, route);
    sp_json_set(r->arena, s, "parentRef", sp_json_clone(r->arena, ref));
    sp_json_set_z(r->arena, s, "controllerName", SP_GATEWAY_CONTROLLER);
    sp_status_condition(r, c, generation, "Accepted", accepted.ok, accepted.reason, accepted.text);
    sp_status_condition(r, c, generation, "ResolvedRefs", resolved.ok, resolved.reason,
                        resolved.text);
    partly_invalid(r, c, generation, accepted.ok ? accepted.dropped : (sp_str){0});
    sp_json_set(r->arena, s, "conditions", c);
    return s;
}

void sp_status_route(sp_reconcile *r, const sp_status_view *v, sp_route_kind kind,
                     const sp_json *route) {
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *list = sp_json_ensure_array(r->arena, wanted, "parents");
    sp_json_each(sp_json_dig(route, "spec", "parentRefs", NULL), ref) {
        const sp_json *gateway = sp_route_parent(v->cluster, route, ref);
        if (gateway) sp_json_push(list, parent_status(r, v, kind, route, ref, gateway));
    }
    keep_others(r, route, "parents", list);
    if (list->count || sp_json_dig(route, "status", "parents", NULL))
        sp_status_patch(r, gvrs[kind], route, wanted);
}

/* --- BackendTLSPolicy --- */

static bool targets(const sp_json *policy, const sp_json *route, const sp_json *ref) {
    sp_str ns = sp_json_str(sp_json_get(ref, "namespace"));
    if (!sp_str_eq(ns.n ? ns : sp_obj_namespace(route), sp_obj_namespace(policy))) return false;
    sp_json_each(sp_json_dig(policy, "spec", "targetRefs", NULL), t) {
        if (sp_json_equal(sp_json_get(t, "name"), sp_json_get(ref, "name"))) return true;
    }
    return false;
}

static bool route_uses(const sp_json *policy, const sp_json *route) {
    sp_json_each(sp_json_dig(route, "spec", "rules", NULL), rule) {
        sp_json_each(sp_json_get(rule, "backendRefs"), ref) {
            if (targets(policy, route, ref)) return true;
        }
    }
    return false;
}

static void add_gateway(sp_obj_list *list, const sp_json *gateway) {
    sp_vec_each(list, g) if (*g == gateway) return;
    if (gateway) sp_vec_push(list, gateway);
}

/* Gateways whose routes lead to a Service that the policy is for. */
static void ancestors_of(const sp_status_view *v, const sp_json *policy, sp_obj_list *ret) {
    for (unsigned k = 0; k < SP_ROUTE_KINDS; k++) {
        sp_vec_each(sp_routes_of(v->cluster, (sp_route_kind)k), route) {
            if (!route_uses(policy, *route)) continue;
            sp_json_each(sp_json_dig(*route, "spec", "parentRefs", NULL), ref) {
                add_gateway(ret, sp_route_parent(v->cluster, *route, ref));
            }
        }
    }
}

/* An older policy has the same Service and port. */
static bool is_overruled(const sp_status_view *v, const sp_json *policy) {
    sp_json_each(sp_json_dig(policy, "spec", "targetRefs", NULL), t) {
        sp_str name = sp_json_str(sp_json_get(t, "name"));
        sp_str section = sp_json_str(sp_json_get(t, "sectionName"));
        const sp_json *service =
            sp_view_find(&v->cluster->services, sp_obj_namespace(policy), name);
        const sp_json *port = section.n ? sp_service_port(service, 0, section) : NULL;
        const sp_json *best = service ? sp_ref_backend_policy(v->cluster, service, port) : policy;
        if (best == policy || !best) return false;
    }
    return true;
}

static sp_json *ancestor_status(sp_reconcile *r, const sp_json *policy, const sp_json *gateway,
                                const sp_policy_tls *tls) {
    sp_json *s = sp_json_object(r->arena), *ref = sp_json_object(r->arena);
    int64_t generation = sp_obj_generation(policy);
    sp_json_set_z(r->arena, ref, "group", "gateway.networking.k8s.io");
    sp_json_set_z(r->arena, ref, "kind", "Gateway");
    sp_json_set(r->arena, ref, "name", sp_json_new_str(r->arena, sp_obj_name(gateway)));
    sp_json_set(r->arena, ref, "namespace", sp_json_new_str(r->arena, sp_obj_namespace(gateway)));
    sp_json *c = sp_status_conditions(r, old_entry(policy, "ancestors", "ancestorRef", ref));
    sp_status_condition(r, c, generation, "Accepted", !tls->invalid.reason,
                        tls->invalid.reason ? tls->invalid.reason : "Accepted", tls->invalid.text);
    sp_status_condition(r, c, generation, "ResolvedRefs", !tls->refs.reason,
                        tls->refs.reason ? tls->refs.reason : "ResolvedRefs", tls->refs.text);
    sp_json_set(r->arena, s, "ancestorRef", ref);
    sp_json_set_z(r->arena, s, "controllerName", SP_GATEWAY_CONTROLLER);
    sp_json_set(r->arena, s, "conditions", c);
    return s;
}

void sp_status_backend_tls(sp_reconcile *r, const sp_status_view *v, const sp_json *policy) {
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *list = sp_json_ensure_array(r->arena, wanted, "ancestors");
    sp_policy_tls tls = sp_ref_policy_tls(r->arena, v->cluster, policy);
    sp_obj_list gateways = {0};
    if (is_overruled(v, policy))
        tls.invalid = (sp_problem){"Conflicted", SP_STR("an older policy is for the same Service")};
    ancestors_of(v, policy, &gateways);
    sp_vec_each(&gateways, g) sp_json_push(list, ancestor_status(r, policy, *g, &tls));
    keep_others(r, policy, "ancestors", list);
    sp_vec_free(&gateways);
    if (list->count || sp_json_dig(policy, "status", "ancestors", NULL))
        sp_status_patch(r, &sp_gvr_backendtlspolicies, policy, wanted);
}
