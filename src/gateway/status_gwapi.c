/* GatewayClass and Gateway: conditions in the words of the Gateway API specification. */
#include "gateway/status.h"
#include "kube/gvrs.h"

/* --- GatewayClass --- */

static const char *const features[] = {
    /* sorted, as the specification asks */
    "BackendTLSPolicy",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendRequestRedirect",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
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

void sp_status_gateway_class(sp_reconcile *r, const sp_json *class) {
    if (!class) {
        if (sp_str_eqz(r->name, "sampan")) make_class(r);
        return;
    }
    sp_str controller = sp_json_str(sp_json_dig(class, "spec", "controllerName", NULL));
    if (!sp_str_eqz(controller, SP_GATEWAY_CONTROLLER)) return;
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *conditions = sp_status_conditions(r, sp_json_get(class, "status"));
    bool parameters = sp_json_dig(class, "spec", "parametersRef", NULL) != NULL;
    sp_status_condition(r, conditions, sp_obj_generation(class), "Accepted", !parameters,
                        parameters ? "InvalidParameters" : "Accepted",
                        parameters ? SP_STR("spec.parametersRef: this gateway takes no parameters")
                                   : SP_STR("Handled by Sampan's gateway"));
    sp_status_condition(r, conditions, sp_obj_generation(class), "SupportedVersion", true,
                        "SupportedVersion", SP_STR("The kinds are built in"));
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

/* The socket's side of a listener: who else has the port, or its name on a shared port. */
static const sp_refusal *port_failure(const sp_status_view *v, const sp_gw_listener *l) {
    sp_auto(sp_buf) owner = {0};
    sp_auto(sp_buf) name = {0};
    sp_buf_printf(&owner, "Gateway %.*s/%.*s", SP_ARG(sp_obj_namespace(l->gateway)),
                  SP_ARG(sp_obj_name(l->gateway)));
    sp_buf_printf(&name, "\"%.*s\"", SP_ARG(l->host));
    for (size_t i = 0; i < v->failure_count; i++) {
        const sp_refusal *f = &v->failures[i];
        bool own = sp_str_eq(f->owner, sp_buf_str(&owner));
        /* Gateways share ports, also with Ingresses. */
        bool shared = sp_str_starts(f->owner, SP_STR("Gateway ")) ||
                      l->port == v->options->http_port || l->port == v->options->https_port;
        if (f->port != l->port || (!own && !shared)) continue;
        if (!sp_str_eqz(sp_str_z(f->reason), "HostnameConflict")) {
            if (own || sp_str_eqz(sp_str_z(f->reason), "PortUnavailable")) return f;
        } else if (own && sp_str_find(f->text, sp_buf_str(&name)) >= 0) {
            return f;
        }
    }
    return NULL;
}

/* What the conditions of one listener come from. */
typedef struct listener_verdict {
    sp_problem accepted, clash, refs;
    bool programmed;
} listener_verdict;

static listener_verdict judge(const sp_status_view *v, const sp_gw_listener *l) {
    listener_verdict j = {.accepted = l->invalid, .clash = l->clash, .refs = l->refs};
    const sp_refusal *f = l->served ? port_failure(v, l) : NULL;
    if (f && sp_str_eqz(sp_str_z(f->reason), "HostnameConflict"))
        j.clash = (sp_problem){"HostnameConflict", f->text};
    else if (f)
        j.accepted = (sp_problem){"PortUnavailable", f->text};
    if (!j.accepted.reason) j.accepted = j.clash;
    j.programmed = l->served && !j.accepted.reason;
    return j;
}

static void say(sp_reconcile *r, sp_json *to, int64_t generation, const char *type,
                const sp_problem *p, const char *fine) {
    sp_status_condition(r, to, generation, type, !p->reason, p->reason ? p->reason : fine,
                        p->reason ? p->text : SP_STR(""));
}

static void listener_conditions(sp_reconcile *r, const sp_gw_listener *l, const listener_verdict *j,
                                sp_json *to) {
    int64_t generation = sp_obj_generation(l->gateway);
    sp_str why = j->accepted.reason ? j->accepted.text : j->refs.text;
    say(r, to, generation, "Accepted", &j->accepted, "Accepted");
    sp_status_condition(r, to, generation, "Programmed", j->programmed,
                        j->programmed ? "Programmed" : "Invalid", j->programmed ? SP_STR("") : why);
    say(r, to, generation, "ResolvedRefs", &j->refs, "ResolvedRefs");
    sp_status_condition(r, to, generation, "Conflicted", j->clash.reason != NULL,
                        j->clash.reason ? j->clash.reason : "NoConflicts", j->clash.text);
}

static sp_json *listener_status(sp_reconcile *r, const sp_status_view *v, const sp_gw_listener *l,
                                const listener_verdict *j) {
    sp_json *s = sp_json_object(r->arena);
    sp_json_set(r->arena, s, "name", sp_json_new_str(r->arena, l->name));
    sp_json *kinds = sp_json_ensure_array(r->arena, s, "supportedKinds");
    for (unsigned k = 0; k < SP_ROUTE_KINDS; k++) {
        if (!(l->kinds & (1u << k))) continue;
        sp_json *kind = sp_json_push(kinds, sp_json_object(r->arena));
        sp_json_set_z(r->arena, kind, "group", "gateway.networking.k8s.io");
        sp_json_set_z(r->arena, kind, "kind", sp_route_kind_name((sp_route_kind)k));
    }
    sp_json_set_int(r->arena, s, "attachedRoutes", sp_gw_attached(r->arena, v->cluster, l));
    sp_json *conditions = sp_status_conditions(r, old_listener(l->gateway, l->name));
    listener_conditions(r, l, j, conditions);
    sp_json_set(r->arena, s, "conditions", conditions);
    return s;
}

/* What holds for the Gateway whatever its listeners are. */
static sp_problem gateway_fault(sp_reconcile *r, const sp_status_view *v, const sp_json *gateway,
                                sp_addrs *addrs) {
    sp_problem p = sp_gw_addresses(r->arena, v->options, gateway, addrs);
    if (!p.reason && sp_json_dig(gateway, "spec", "infrastructure", "parametersRef", NULL))
        p = (sp_problem){"InvalidParameters",
                         SP_STR("spec.infrastructure.parametersRef: this gateway takes no "
                                "parameters")};
    return p;
}

static void client_cert_condition(sp_reconcile *r, const sp_json *gateway, sp_json *to) {
    if (!sp_json_dig(gateway, "spec", "tls", "backend", NULL)) {
        sp_status_drop_condition(to, "ResolvedRefs");
        return;
    }
    sp_status_condition(r, to, sp_obj_generation(gateway), "ResolvedRefs", false,
                        "InvalidClientCertificateRef",
                        SP_STR("spec.tls.backend: client certificates towards backends are not "
                               "supported"));
}

static void gateway_conditions(sp_reconcile *r, const sp_json *gateway, const sp_problem *fault,
                               size_t accepted, size_t programmed, sp_str text, sp_json *wanted) {
    sp_json *c = sp_status_conditions(r, sp_json_get(gateway, "status"));
    int64_t generation = sp_obj_generation(gateway);
    bool fine = !fault->reason && accepted > 0, up = fine && programmed > 0;
    sp_str why = fault->reason ? fault->text : text;
    sp_status_condition(r, c, generation, "Accepted", fine,
                        fault->reason ? fault->reason
                        : text.n      ? "ListenersNotValid"
                                      : "Accepted",
                        why);
    const sp_json *asked = sp_json_dig(gateway, "spec", "addresses", NULL);
    const char *down = fault->reason || !asked ? "Invalid" : "AddressNotUsable";
    sp_status_condition(r, c, generation, "Programmed", up, up ? "Programmed" : down,
                        up ? SP_STR("") : why);
    client_cert_condition(r, gateway, c);
    sp_json_set(r->arena, wanted, "conditions", c);
}

static void set_addresses(sp_reconcile *r, const sp_status_view *v, const sp_addrs *addrs,
                          sp_json *wanted) {
    sp_json *list = sp_json_ensure_array(r->arena, wanted, "addresses");
    sp_vec_each(addrs, a) {
        char text[SP_ADDR_MAX];
        sp_str one;
        sp_addr_format_ip(a, text);
        one = sp_str_z(text);
        sp_strs all = {.p = &one, .n = 1};
        if (sp_addr_is_any(a)) all = sp_status_addresses(v);
        sp_vec_each(&all, ip) {
            sp_json *at = sp_json_push(list, sp_json_object(r->arena));
            sp_json_set_z(r->arena, at, "type", "IPAddress");
            sp_json_set(r->arena, at, "value", sp_json_new_str(r->arena, *ip));
        }
    }
}

void sp_status_gateway(sp_reconcile *r, const sp_status_view *v, const sp_json *gateway) {
    if (!sp_gateway_is_ours(v->cluster, gateway)) return;
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *list = sp_json_ensure_array(r->arena, wanted, "listeners");
    size_t accepted = 0, programmed = 0;
    sp_gw_listeners listeners = {0};
    sp_addrs addrs = {0};
    sp_str text = {0};
    sp_problem fault = gateway_fault(r, v, gateway, &addrs);
    sp_gw_listeners_of(r->arena, v->cluster, v->options, gateway, &listeners);
    sp_vec_each(&listeners, l) {
        listener_verdict j = judge(v, l);
        sp_json_push(list, listener_status(r, v, l, &j));
        accepted += !j.accepted.reason;
        programmed += j.programmed;
        if (j.programmed) continue;
        text = sp_arena_printf(r->arena, "%.*s%slistener %.*s: %.*s", SP_ARG(text),
                               text.n ? "; " : "", SP_ARG(l->name),
                               SP_ARG(j.accepted.reason ? j.accepted.text : j.refs.text));
    }
    gateway_conditions(r, gateway, &fault, accepted, programmed, text, wanted);
    set_addresses(r, v, &addrs, wanted);
    sp_status_patch(r, &sp_gvr_gateways, gateway, wanted);
    if (sp_status_is_news(v, "Gateway", r->key, fault.reason ? fault.text : text))
        sp_reconcile_event(r, gateway, "Warning", fault.reason ? fault.reason : "ListenersNotValid",
                           "%.*s", SP_ARG(fault.reason ? fault.text : text));
    sp_vec_free(&listeners);
    sp_vec_free(&addrs);
}
