/* GatewayClass, Gateway and HTTPRoute: conditions in the words of the Gateway API specification. */
#include "gateway/status.h"
#include "kube/gvrs.h"

/* --- GatewayClass --- */

static const char *const features[] = {
    /* sorted, as the specification asks */
    "Gateway",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
};

static void make_class(sp_reconcile *r) {
    sp_json *o = sp_json_object(r->arena);
    sp_json_set_z(r->arena, o, "apiVersion", "gateway.networking.k8s.io/v1");
    sp_json_set_z(r->arena, o, "kind", "GatewayClass");
    sp_json_set_z(r->arena, sp_json_ensure_object(r->arena, o, "metadata"), "name", "sampan");
    sp_json_set_z(r->arena, sp_json_ensure_object(r->arena, o, "spec"), "controllerName",
                  SP_GATEWAY_CONTROLLER);
    sp_reconcile_create(r, &sp_gvr_gatewayclasses, (sp_str){0}, o)->tolerate_exists = true;
}

static sp_json *clone_conditions(sp_reconcile *r, const sp_json *holder) {
    const sp_json *c = sp_json_get(holder, "conditions");
    return sp_json_is(c, SP_JSON_ARRAY) ? sp_json_clone(r->arena, c) : sp_json_array(r->arena);
}

void sp_status_gateway_class(sp_reconcile *r, const sp_json *class) {
    if (!class) {
        if (sp_str_eqz(r->name, "sampan")) make_class(r);
        return;
    }
    sp_str controller = sp_json_str(sp_json_dig(class, "spec", "controllerName", NULL));
    if (!sp_str_eqz(controller, SP_GATEWAY_CONTROLLER)) return;
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *conditions = clone_conditions(r, sp_json_get(class, "status"));
    sp_status_condition(r, conditions, sp_obj_generation(class), "Accepted", true, "Accepted",
                        SP_STR("Handled by Sampan's gateway"));
    sp_json_set(r->arena, wanted, "conditions", conditions);
    sp_json *list = sp_json_ensure_array(r->arena, wanted, "supportedFeatures");
    for (size_t i = 0; i < SP_COUNT(features); i++)
        sp_json_set_z(r->arena, sp_json_push(list, sp_json_object(r->arena)), "name", features[i]);
    sp_status_patch(r, &sp_gvr_gatewayclasses, class, wanted);
}

/* --- Gateway --- */

static const sp_json *old_listener(const sp_json *gateway, sp_str name) {
    sp_json_each(sp_json_dig(gateway, "status", "listeners", NULL), l) {
        if (sp_str_eq(sp_json_str(sp_json_get(l, "name")), name)) return l;
    }
    return NULL;
}

typedef struct listener_verdict {
    bool accepted, programmed, kinds_ok;
    const char *reason; /* of Accepted */
    sp_str text;
} listener_verdict;

static bool kinds_are_routes(const sp_json *listener, bool *ret_http) {
    const sp_json *kinds = sp_json_dig(listener, "allowedRoutes", "kinds", NULL);
    bool all = true;
    *ret_http = !kinds || !kinds->count;
    sp_json_each(kinds, k) {
        bool http = sp_str_eqz(sp_json_str(sp_json_get(k, "kind")), "HTTPRoute");
        *ret_http |= http;
        all &= http;
    }
    return all;
}

static const sp_refusal *port_failure(const sp_status_view *v, const sp_json *gateway,
                                      uint16_t port) {
    const sp_refusal *f = sp_status_failure(v, "Gateway", gateway, port);
    for (size_t i = 0; !f && i < v->failure_count; i++) { /* Gateways share listeners */
        bool shared = port == v->options->http_port ||
                      sp_str_starts(v->failures[i].owner, SP_STR("Gateway "));
        if (shared && v->failures[i].port == port) f = &v->failures[i];
    }
    return f;
}

static listener_verdict judge_listener(const sp_status_view *v, const sp_json *gateway,
                                       const sp_json *listener) {
    bool http;
    const char *text = NULL;
    const char *fault = sp_gateway_listener_fault(listener, &text);
    listener_verdict j = {
        .accepted = true, .reason = "Accepted", .text = SP_STR("Listener is served")};
    uint16_t port = sp_gateway_listener_port(listener, v->options);
    const sp_refusal *f = fault ? NULL : port_failure(v, gateway, port);
    j.kinds_ok = kinds_are_routes(listener, &http);
    if (fault || f)
        j = (listener_verdict){.kinds_ok = j.kinds_ok,
                               .reason = fault ? fault : "PortUnavailable",
                               .text = fault ? sp_str_z(text) : f->text};
    j.programmed = j.accepted && http;
    return j;
}

static void listener_conditions(sp_reconcile *r, const sp_json *gateway, const listener_verdict *j,
                                sp_json *to) {
    int64_t generation = sp_obj_generation(gateway);
    sp_status_condition(r, to, generation, "Accepted", j->accepted, j->reason, j->text);
    sp_status_condition(r, to, generation, "Programmed", j->programmed,
                        j->programmed ? "Programmed" : "Invalid", j->text);
    sp_status_condition(r, to, generation, "ResolvedRefs", j->kinds_ok,
                        j->kinds_ok ? "ResolvedRefs" : "InvalidRouteKinds",
                        j->kinds_ok ? SP_STR("All references are resolved")
                                    : SP_STR("only HTTPRoute can be attached"));
    sp_status_condition(r, to, generation, "Conflicted", false, "NoConflicts",
                        SP_STR("No conflicts"));
}

static sp_json *listener_status(sp_reconcile *r, const sp_status_view *v, const sp_json *gateway,
                                const sp_json *listener, const listener_verdict *j) {
    sp_str name = sp_json_str(sp_json_get(listener, "name"));
    sp_json *s = sp_json_object(r->arena);
    bool http;
    kinds_are_routes(listener, &http);
    sp_json_set(r->arena, s, "name", sp_json_new_str(r->arena, name));
    sp_json *kinds = sp_json_ensure_array(r->arena, s, "supportedKinds");
    if (http) {
        sp_json *k = sp_json_push(kinds, sp_json_object(r->arena));
        sp_json_set_z(r->arena, k, "group", "gateway.networking.k8s.io");
        sp_json_set_z(r->arena, k, "kind", "HTTPRoute");
    }
    sp_json_set_int(r->arena, s, "attachedRoutes",
                    sp_gateway_attached(r->arena, v->cluster, gateway, listener));
    sp_json *conditions = clone_conditions(r, old_listener(gateway, name));
    listener_conditions(r, gateway, j, conditions);
    sp_json_set(r->arena, s, "conditions", conditions);
    return s;
}

static void gateway_conditions(sp_reconcile *r, const sp_json *gateway, size_t good, size_t bad,
                               sp_str text, sp_json *wanted) {
    sp_json *c = clone_conditions(r, sp_json_get(gateway, "status"));
    int64_t generation = sp_obj_generation(gateway);
    sp_status_condition(r, c, generation, "Accepted", good > 0,
                        bad ? "ListenersNotValid" : "Accepted",
                        bad ? text : SP_STR("Gateway is accepted"));
    sp_status_condition(r, c, generation, "Programmed", good > 0, good ? "Programmed" : "Invalid",
                        good ? SP_STR("Gateway is served") : text);
    sp_json_set(r->arena, wanted, "conditions", c);
}

void sp_status_gateway(sp_reconcile *r, const sp_status_view *v, const sp_json *gateway) {
    if (!sp_gateway_is_ours(v->cluster, gateway)) return;
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *list = sp_json_ensure_array(r->arena, wanted, "listeners");
    size_t good = 0, bad = 0;
    sp_str text = {0};
    sp_json_each(sp_json_dig(gateway, "spec", "listeners", NULL), l) {
        listener_verdict j = judge_listener(v, gateway, l);
        sp_json_push(list, listener_status(r, v, gateway, l, &j));
        *(j.accepted ? &good : &bad) += 1;
        if (j.accepted) continue;
        text =
            sp_arena_printf(r->arena, "%.*s%slistener %.*s: %.*s", SP_ARG(text), text.n ? "; " : "",
                            SP_ARG(sp_json_str(sp_json_get(l, "name"))), SP_ARG(j.text));
    }
    gateway_conditions(r, gateway, good, bad, text, wanted);
    sp_json *addresses = sp_json_ensure_array(r->arena, wanted, "addresses");
    sp_json *at = sp_json_push(addresses, sp_json_object(r->arena));
    sp_json_set_z(r->arena, at, "type", "IPAddress");
    sp_json_set_z(r->arena, at, "value", v->options->node_address);
    sp_status_patch(r, &sp_gvr_gateways, gateway, wanted);
    if (sp_status_is_news(v, "Gateway", r->key, text))
        sp_reconcile_event(r, gateway, "Warning", "ListenersNotValid", "%.*s", SP_ARG(text));
}

/* --- HTTPRoute --- */

static bool is_ours(const sp_json *parent_status) {
    return sp_str_eqz(sp_json_str(sp_json_get(parent_status, "controllerName")),
                      SP_GATEWAY_CONTROLLER);
}

static const sp_json *old_parent(const sp_json *route, const sp_json *ref) {
    sp_json_each(sp_json_dig(route, "status", "parents", NULL), p) {
        if (is_ours(p) && sp_json_equal(sp_json_get(p, "parentRef"), ref)) return p;
    }
    return NULL;
}

static sp_json *parent_status(sp_reconcile *r, const sp_status_view *v, const sp_json *route,
                              const sp_json *ref, const sp_json *gateway) {
    sp_json *s = sp_json_object(r->arena), *c = clone_conditions(r, old_parent(route, ref));
    int64_t generation = sp_obj_generation(route);
    sp_route_verdict accepted = sp_route_accepted(r->arena, v->cluster, route, ref, gateway);
    sp_route_verdict resolved = sp_route_resolved(r->arena, v->cluster, route);
    sp_json_set(r->arena, s, "parentRef", sp_json_clone(r->arena, ref));
    sp_json_set_z(r->arena, s, "controllerName", SP_GATEWAY_CONTROLLER);
    sp_status_condition(r, c, generation, "Accepted", accepted.ok, accepted.reason, accepted.text);
    sp_status_condition(r, c, generation, "ResolvedRefs", resolved.ok, resolved.reason,
                        resolved.text);
    sp_json_set(r->arena, s, "conditions", c);
    return s;
}

void sp_status_route(sp_reconcile *r, const sp_status_view *v, const sp_json *route) {
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *list = sp_json_ensure_array(r->arena, wanted, "parents");
    sp_json_each(sp_json_dig(route, "spec", "parentRefs", NULL), ref) {
        const sp_json *gateway = sp_route_parent(v->cluster, route, ref);
        if (gateway) sp_json_push(list, parent_status(r, v, route, ref, gateway));
    }
    sp_json_each(sp_json_dig(route, "status", "parents", NULL), p) {
        if (!is_ours(p)) sp_json_push(list, sp_json_clone(r->arena, p)); /* other controllers' */
    }
    if (list->count || sp_json_dig(route, "status", "parents", NULL))
        sp_status_patch(r, &sp_gvr_httproutes, route, wanted);
}
