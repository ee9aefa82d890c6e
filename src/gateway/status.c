/* Services, Ingresses and the IngressClass. See status.h. */
#include "gateway/status.h"
#include "kube/gvrs.h"

static const char ports_bound[] = "sampan.dev/PortsBound";

void sp_status_patch(sp_reconcile *r, const sp_gvr *g, const sp_json *obj, sp_json *wanted) {
    const sp_json *now = sp_json_get(obj, "status");
    sp_json *changes = sp_json_object(r->arena);
    sp_json_each(wanted, field) {
        const sp_json *old = sp_json_get_str(now, field->key);
        bool same = sp_json_is(field, SP_JSON_NULL) ? !old : old && sp_json_equal(old, field);
        if (!same) sp_json_set_str(r->arena, changes, field->key, sp_json_clone(r->arena, field));
    }
    if (!changes->count) return;
    sp_json *patch = sp_json_object(r->arena);
    sp_json_set(r->arena, patch, "status", changes);
    sp_action *a = sp_reconcile_merge_status(r, g, sp_obj_namespace(obj), sp_obj_name(obj), patch);
    a->tolerate_missing = true;
}

bool sp_status_is_news(const sp_status_view *v, const char *kind, sp_str key, sp_str text) {
    sp_auto(sp_buf) id = {0};
    sp_buf_printf(&id, "%s/%.*s", kind, SP_ARG(key));
    const char *old = sp_map_get(v->told, sp_buf_str(&id));
    if (text.n && old && sp_str_eqz(text, old)) return false;
    free(sp_map_del(v->told, sp_buf_str(&id)));
    if (!text.n) return false;
    sp_buf copy = {0};
    sp_buf_add(&copy, text);
    sp_map_put(v->told, sp_buf_str(&id), copy.p);
    return true;
}

void sp_status_condition(sp_reconcile *r, sp_json *conditions, int64_t generation, const char *type,
                         bool is_true, const char *reason, sp_str message) {
    sp_condition_set(r->arena, conditions, type, is_true ? "True" : "False", reason,
                     sp_arena_strz(r->arena, message), r->now_wall_ms);
    sp_json_each(conditions, c) {
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type))
            sp_json_set_int(r->arena, c, "observedGeneration", generation);
    }
}

const sp_refusal *sp_status_failure(const sp_status_view *v, const char *kind, const sp_json *obj,
                                    uint16_t port) {
    sp_auto(sp_buf) owner = {0};
    sp_buf_printf(&owner, "%s %.*s/%.*s", kind, SP_ARG(sp_obj_namespace(obj)),
                  SP_ARG(sp_obj_name(obj)));
    for (size_t i = 0; i < v->failure_count; i++) {
        const sp_refusal *f = &v->failures[i];
        if (sp_str_eq(f->owner, sp_buf_str(&owner)) && (!port || f->port == port)) return f;
    }
    return NULL;
}

sp_json *sp_status_conditions(sp_reconcile *r, const sp_json *holder) {
    const sp_json *c = sp_json_get(holder, "conditions");
    return sp_json_is(c, SP_JSON_ARRAY) ? sp_json_clone(r->arena, c) : sp_json_array(r->arena);
}

bool sp_status_drop_condition(sp_json *conditions, const char *type) {
    size_t at = 0;
    sp_json_each(conditions, c) {
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type)) {
            sp_json_remove_at(conditions, at);
            return true;
        }
        at++;
    }
    return false;
}

static sp_json *conditions_of(sp_reconcile *r, const sp_json *obj) {
    return sp_status_conditions(r, sp_json_get(obj, "status"));
}

/* --- Services --- */

/* The virtual address that the object asks for by name, or by spec.loadBalancerIP: every node says
 * the same then. Without the prefix length; empty when there is none. */
static sp_str virtual_address(const sp_status_view *v, const sp_json *obj) {
    sp_str name = sp_obj_annotation(obj, "sampan.dev/virtual-address");
    sp_str ip = sp_json_str(sp_json_dig(obj, "spec", "loadBalancerIP", NULL));
    sp_vec_each(&v->cluster->virtual_addresses, vip) {
        sp_json_each(sp_json_dig(*vip, "spec", "addresses", NULL), a) {
            sp_str text = sp_json_str(a), bare = text;
            sp_str_cut(&text, '/', &bare);
            if (sp_str_eq(sp_obj_name(*vip), name) || (!name.n && sp_str_eq(bare, ip))) return bare;
        }
    }
    return (sp_str){0};
}

sp_strs sp_status_addresses(const sp_status_view *v) {
    static __thread sp_str own;
    own = sp_str_z(v->options->node_address);
    return v->addresses && v->addresses->n ? *v->addresses : (sp_strs){.p = &own, .n = 1};
}

/* One entry for each address: a virtual one is the only one. */
static sp_json *load_balancer_at(sp_reconcile *r, const sp_status_view *v, const sp_json *obj,
                                 sp_str asked, const sp_json *more) {
    sp_json *lb = sp_json_object(r->arena);
    sp_json *list = sp_json_ensure_array(r->arena, lb, "ingress");
    sp_str one = asked.n ? asked : virtual_address(v, obj);
    sp_strs all = sp_status_addresses(v);
    if (one.n) all = (sp_strs){.p = &one, .n = 1};
    sp_vec_each(&all, ip) {
        sp_json *at = sp_json_push(list, sp_json_object(r->arena));
        sp_json_set(r->arena, at, "ip", sp_json_new_str(r->arena, *ip));
        sp_json_each(more, field)
            sp_json_set_str(r->arena, at, field->key, sp_json_clone(r->arena, field));
    }
    return lb;
}

static sp_json *port_status(sp_reconcile *r, int64_t port, sp_str protocol, const char *error) {
    sp_json *p = sp_json_object(r->arena);
    sp_json_set_int(r->arena, p, "port", port);
    sp_json_set(r->arena, p, "protocol", sp_json_new_str(r->arena, protocol));
    if (error) sp_json_set_z(r->arena, p, "error", error);
    return p;
}

/* status.loadBalancer: the address, once at least one port is served; the ports when one is not. */
static sp_json *load_balancer(sp_reconcile *r, const sp_status_view *v, const sp_json *service) {
    sp_json *more = sp_json_object(r->arena);
    sp_str own = sp_json_str(sp_json_dig(service, "spec", "loadBalancerIP", NULL));
    sp_json *ports = sp_json_array(r->arena);
    size_t good = 0, bad = 0;
    sp_json_each(sp_json_dig(service, "spec", "ports", NULL), p) {
        int64_t number = sp_json_int(sp_json_get(p, "port"), 0);
        sp_str protocol = sp_json_str(sp_json_get(p, "protocol"));
        const sp_refusal *f = sp_status_failure(v, "Service", service, (uint16_t)number);
        *(f ? &bad : &good) += 1;
        sp_json_push(ports, port_status(r, number, protocol.n ? protocol : SP_STR("TCP"),
                                        f ? f->reason : NULL));
    }
    if (!good) return sp_json_object(r->arena);
    sp_json_set_z(r->arena, more, "ipMode", "Proxy");
    if (bad) sp_json_set(r->arena, more, "ports", ports);
    return load_balancer_at(r, v, service, own, more);
}

static sp_str all_failures(sp_reconcile *r, const sp_status_view *v, const sp_json *service) {
    sp_str text = {0};
    sp_str owner = sp_arena_printf(r->arena, "Service %.*s/%.*s", SP_ARG(sp_obj_namespace(service)),
                                   SP_ARG(sp_obj_name(service)));
    for (size_t i = 0; i < v->failure_count; i++) {
        if (!sp_str_eq(v->failures[i].owner, owner)) continue;
        text = sp_arena_printf(r->arena, "%.*s%s%.*s", SP_ARG(text), text.n ? "; " : "",
                               SP_ARG(v->failures[i].text));
    }
    return text;
}

static void bound_condition(sp_reconcile *r, const sp_status_view *v, const sp_json *service,
                            sp_json *conditions) {
    const sp_refusal *f = sp_status_failure(v, "Service", service, 0);
    sp_str text = f ? all_failures(r, v, service) : (sp_str){0};
    sp_status_condition(r, conditions, sp_obj_generation(service), ports_bound, !f,
                        f ? f->reason : "PortsBound",
                        f ? text : SP_STR("every port is served on the node's address"));
    if (sp_status_is_news(v, "Service", r->key, text))
        sp_reconcile_event(r, service, "Warning", f->reason, "%.*s", SP_ARG(text));
}

/* What we said while the Service was of another type. */
static void withdraw(sp_reconcile *r, const sp_status_view *v, const sp_json *service) {
    sp_json *conditions = conditions_of(r, service);
    if (!sp_status_drop_condition(conditions, ports_bound)) return;
    sp_json *wanted = sp_json_object(r->arena);
    sp_json_set(r->arena, wanted, "conditions", conditions);
    sp_json_set(r->arena, wanted, "loadBalancer", sp_json_null(r->arena));
    sp_status_patch(r, &sp_gvr_services, service, wanted);
    sp_status_is_news(v, "Service", r->key, (sp_str){0});
}

void sp_status_service(sp_reconcile *r, const sp_status_view *v, const sp_json *service) {
    sp_str type = sp_json_str(sp_json_dig(service, "spec", "type", NULL));
    sp_str class = sp_json_str(sp_json_dig(service, "spec", "loadBalancerClass", NULL));
    bool balanced = sp_str_eqz(type, "LoadBalancer");
    if (balanced && class.n && !sp_str_eqz(class, SP_GATEWAY_CONTROLLER)) return;
    if (!balanced && !sp_str_eqz(type, "NodePort")) {
        withdraw(r, v, service);
        return;
    }
    sp_json *wanted = sp_json_object(r->arena), *conditions = conditions_of(r, service);
    bound_condition(r, v, service, conditions);
    sp_json_set(r->arena, wanted, "conditions", conditions);
    if (balanced) sp_json_set(r->arena, wanted, "loadBalancer", load_balancer(r, v, service));
    sp_status_patch(r, &sp_gvr_services, service, wanted);
}

/* --- Ingresses --- */

static void tell_problems(sp_reconcile *r, const sp_status_view *v, const sp_json *ingress) {
    sp_problems problems = {0};
    sp_str all = {0};
    sp_ingress_problems(r->arena, v->cluster, ingress, &problems);
    sp_vec_each(&problems, p) {
        all = sp_arena_printf(r->arena, "%.*s%s: %.*s\n", SP_ARG(all), p->reason, SP_ARG(p->text));
    }
    if (sp_status_is_news(v, "Ingress", r->key, all))
        sp_vec_each(&problems, p)
            sp_reconcile_event(r, ingress, "Warning", p->reason, "%.*s", SP_ARG(p->text));
    sp_vec_free(&problems);
}

static void push_port(sp_reconcile *r, const sp_status_view *v, sp_json *ports, uint16_t port) {
    const char *error = NULL;
    for (size_t i = 0; i < v->failure_count; i++)
        if (v->failures[i].port == port && strcmp(v->failures[i].reason, "HostnameConflict") != 0)
            error = v->failures[i].reason; /* one name of a shared port is not the port */
    sp_json_push(ports, port_status(r, port, SP_STR("TCP"), error));
}

void sp_status_ingress(sp_reconcile *r, const sp_status_view *v, const sp_json *ingress) {
    if (!v->options->http_port || !sp_ingress_is_ours(v->cluster, ingress)) return;
    sp_json *wanted = sp_json_object(r->arena), *more = sp_json_object(r->arena);
    sp_json *ports = sp_json_ensure_array(r->arena, more, "ports");
    const sp_json *tls = sp_json_dig(ingress, "spec", "tls", NULL);
    push_port(r, v, ports, v->options->http_port);
    if (tls && tls->count && v->options->https_port) push_port(r, v, ports, v->options->https_port);
    sp_json_set(r->arena, wanted, "loadBalancer",
                load_balancer_at(r, v, ingress, (sp_str){0}, more));
    sp_status_patch(r, &sp_gvr_ingresses, ingress, wanted);
    tell_problems(r, v, ingress);
}

void sp_status_ingress_class(sp_reconcile *r, const sp_json *class) {
    if (class || !sp_str_eqz(r->name, "sampan")) return;
    sp_json *o = sp_json_object(r->arena);
    sp_json_set_z(r->arena, o, "apiVersion", "networking.k8s.io/v1");
    sp_json_set_z(r->arena, o, "kind", "IngressClass");
    sp_json_set_z(r->arena, sp_json_ensure_object(r->arena, o, "metadata"), "name", "sampan");
    sp_json_set_z(r->arena, sp_json_ensure_object(r->arena, o, "spec"), "controller",
                  SP_GATEWAY_CONTROLLER);
    sp_reconcile_create(r, &sp_gvr_ingressclasses, (sp_str){0}, o)->tolerate_exists = true;
}
