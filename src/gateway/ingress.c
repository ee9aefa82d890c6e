/* Ingresses (networking.k8s.io/v1) as routing entries on the HTTP port. ImplementationSpecific
 * paths are prefixes here. What an Ingress asks for and does not get is a problem that status.c
 * tells as an Event; the rest of it is served. */
#include "gateway/translate.h"

bool sp_ingress_is_ours(const sp_cluster_view *v, const sp_json *ingress) {
    sp_str name = sp_json_str(sp_json_dig(ingress, "spec", "ingressClassName", NULL));
    if (!name.n) name = sp_obj_annotation(ingress, "kubernetes.io/ingress.class");
    if (!name.n) return true;
    const sp_json *class = sp_view_find(&v->ingress_classes, (sp_str){0}, name);
    if (!class) return true; /* nobody else will serve it */
    return sp_str_eqz(sp_json_str(sp_json_dig(class, "spec", "controller", NULL)),
                      SP_GATEWAY_CONTROLLER);
}

/* One visit of an Ingress serves both: making entries (t) and finding problems (problems). */
typedef struct visit {
    sp_arena *arena;
    const sp_cluster_view *view;
    const sp_json *ingress;
    sp_translator *t; /* NULL when only problems are wanted */
    sp_problems *problems;
    sp_str owner, object;
    uint32_t order;
} visit;

static void problem(visit *v, const char *reason, sp_str text) {
    sp_problem p = {reason, text};
    if (v->problems) sp_vec_push(v->problems, p);
}

/* The element of the Service's ports, or NULL and a problem. */
static const sp_json *find_backend(visit *v, const sp_json *backend, sp_str path,
                                   const sp_json **ret_service) {
    const sp_json *ref = sp_json_get(backend, "service");
    if (!ref) {
        problem(v, "BackendNotSupported",
                sp_arena_printf(v->arena, "%.*s: only a service can be a backend", SP_ARG(path)));
        return NULL;
    }
    sp_str name = sp_json_str(sp_json_get(ref, "name"));
    int64_t number = sp_json_int(sp_json_dig(ref, "port", "number", NULL), 0);
    sp_str port_name = sp_json_str(sp_json_dig(ref, "port", "name", NULL));
    const sp_json *service = sp_view_find(&v->view->services, sp_obj_namespace(v->ingress), name);
    const sp_json *port = sp_service_port(service, number, port_name);
    if (!service)
        problem(v, "ServiceNotFound",
                sp_arena_printf(v->arena, "%.*s: there is no service %.*s in this namespace",
                                SP_ARG(path), SP_ARG(name)));
    else if (!port && number)
        problem(v, "ServicePortNotFound",
                sp_arena_printf(v->arena, "%.*s: the service %.*s has no port %lld", SP_ARG(path),
                                SP_ARG(name), (long long)number));
    else if (!port)
        problem(v, "ServicePortNotFound",
                sp_arena_printf(v->arena, "%.*s: the service %.*s has no port named \"%.*s\"",
                                SP_ARG(path), SP_ARG(name), SP_ARG(port_name)));
    *ret_service = service;
    return port;
}

static void add_entry(visit *v, const sp_json *backend, sp_str where, sp_route_entry e) {
    const sp_json *service = NULL, *port = find_backend(v, backend, where, &service);
    if (!v->t) return;
    sp_route_action *a = SP_NEW(v->arena, sp_route_action);
    a->owner = v->owner;
    sp_targets_add(
        v->arena, &a->targets,
        port ? sp_translate_pool_like(v->t, service, port, NULL, (sp_str){0}) : SP_NO_POOL, 1);
    e.host = sp_arena_str(v->arena, e.host);
    e.path = sp_arena_str(v->arena, e.path);
    e.created_ms = sp_translate_created_ms(v->ingress);
    e.object = v->object;
    e.order = v->order++;
    e.action = a;
    sp_translate_entry(v->t, 0, &e);
}

static void visit_rule(visit *v, const sp_json *rule, size_t index) {
    sp_str host = sp_translate_lower(v->arena, sp_json_str(sp_json_get(rule, "host")));
    size_t at = 0;
    sp_json_each(sp_json_dig(rule, "http", "paths", NULL), p) {
        sp_str path = sp_json_str(sp_json_get(p, "path"));
        bool exact = sp_str_eqz(sp_json_str(sp_json_get(p, "pathType")), "Exact");
        sp_str where = sp_arena_printf(v->arena, "spec.rules[%zu].http.paths[%zu]", index, at++);
        sp_route_entry e = {.host = host,
                            .single_label = true,
                            .path_kind = exact ? SP_PATH_EXACT : SP_PATH_PREFIX,
                            .path = path.n ? path : SP_STR("/")};
        add_entry(v, sp_json_get(p, "backend"), where, e);
    }
}

static void visit_ingress(visit *v) {
    const sp_json *spec = sp_json_get(v->ingress, "spec");
    size_t index = 0;
    sp_json_each(sp_json_get(spec, "rules"), rule) {
        visit_rule(v, rule, index++);
    }
    const sp_json *fallback = sp_json_get(spec, "defaultBackend");
    if (fallback)
        add_entry(v, fallback, SP_STR("spec.defaultBackend"),
                  (sp_route_entry){.path = SP_STR("/"), .last_resort = true});
    const sp_json *tls = sp_json_get(spec, "tls");
    if (tls && tls->count)
        problem(v, "TLSNotServed",
                SP_STR("spec.tls: this gateway does not end TLS yet; the hosts are served over "
                       "plain HTTP on the HTTP port only"));
}

void sp_ingress_problems(sp_arena *a, const sp_cluster_view *view, const sp_json *ingress,
                         sp_problems *ret) {
    visit v = {.arena = a, .view = view, .ingress = ingress, .problems = ret};
    visit_ingress(&v);
}

void sp_translate_ingresses(sp_translator *t) {
    sp_vec_each(&t->view->ingresses, i) {
        if (!sp_ingress_is_ours(t->view, *i)) continue;
        visit v = {.arena = t->arena, .view = t->view, .ingress = *i, .t = t};
        v.object = sp_obj_key(t->arena, *i);
        v.owner = sp_arena_printf(t->arena, "Ingress %.*s", SP_ARG(v.object));
        visit_ingress(&v);
    }
}
