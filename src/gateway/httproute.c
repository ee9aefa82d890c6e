/* HTTPRoute rules as routing entries: one entry per match and host, one action per rule. A route
 * that uses something this gateway does not have is not accepted as a whole, and the status says
 * what, rather than being served half. */
#include "gateway/httproute.h"

/* --- what is supported --- */

static bool is_one_of(sp_str s, const char *const *list) {
    for (; *list; list++)
        if (sp_str_eqz(s, *list)) return true;
    return false;
}

static const char *const exact_only[] = {"", "Exact", NULL};
static const char *const path_types[] = {"", "Exact", "PathPrefix", NULL};
static const char *const filter_types[] = {"RequestHeaderModifier", "ResponseHeaderModifier",
                                           "RequestRedirect", "URLRewrite", NULL};
static const char *const rule_fields[] = {"timeouts", "retry", "sessionPersistence", NULL};

typedef struct check {
    sp_arena *arena;
    size_t rule;
    sp_str fault; /* the first one */
} check;

static void fault(check *c, const char *field, size_t index, const char *what, sp_str value) {
    if (c->fault.n) return;
    c->fault = sp_arena_printf(c->arena, "spec.rules[%zu].%s[%zu]: %s \"%.*s\" is not supported",
                               c->rule, field, index, what, SP_ARG(value));
}

static void check_type(check *c, const sp_json *o, const char *const *allowed, const char *field,
                       size_t index) {
    sp_str type = sp_json_str(sp_json_get(o, "type"));
    if (!is_one_of(type, allowed)) fault(c, field, index, "type", type);
}

static void check_match(check *c, const sp_json *m, size_t index) {
    check_type(c, sp_json_get(m, "path"), path_types, "matches", index);
    sp_json_each(sp_json_get(m, "headers"), h) check_type(c, h, exact_only, "matches", index);
    sp_json_each(sp_json_get(m, "queryParams"), q) check_type(c, q, exact_only, "matches", index);
}

static void check_headers(check *c, const sp_json *filter, size_t index) {
    static const char *const kinds[] = {"requestHeaderModifier", "responseHeaderModifier"};
    static const char *const lists[] = {"set", "add"};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < 2; i++)
            sp_json_each(sp_json_dig(filter, kinds[k], lists[i], NULL), h) {
                sp_str name = sp_json_str(sp_json_get(h, "name"));
                sp_str value = sp_json_str(sp_json_get(h, "value"));
                if (!sp_http_is_token(name) || !sp_http_is_value(value))
                    fault(c, "filters", index, "header", name);
            }
}

static void check_rule(check *c, const sp_json *rule) {
    size_t i = 0;
    sp_json_each(sp_json_get(rule, "matches"), m) check_match(c, m, i++);
    i = 0;
    sp_json_each(sp_json_get(rule, "filters"), f) {
        check_type(c, f, filter_types, "filters", i);
        check_headers(c, f, i++);
    }
    i = 0;
    sp_json_each(sp_json_get(rule, "backendRefs"), b) {
        const sp_json *filters = sp_json_get(b, "filters");
        if (filters && filters->count) fault(c, "backendRefs", i, "field", SP_STR("filters"));
        i++;
    }
    for (const char *const *f = rule_fields; *f; f++)
        if (sp_json_get(rule, *f) && !c->fault.n)
            c->fault =
                sp_arena_printf(c->arena, "spec.rules[%zu].%s is not supported", c->rule, *f);
}

sp_str sp_httproute_fault(sp_arena *a, const sp_json *route) {
    check c = {.arena = a};
    sp_json_each(sp_json_dig(route, "spec", "rules", NULL), rule) {
        check_rule(&c, rule);
        c.rule++;
    }
    return c.fault;
}

/* --- backends --- */

typedef struct backend {
    const sp_json *service, *port;
    const char *reason; /* NULL when it is fine */
    sp_str text;
} backend;

static backend find_backend(sp_arena *a, const sp_cluster_view *v, const sp_json *route,
                            const sp_json *ref) {
    sp_str kind = sp_json_str(sp_json_get(ref, "kind")),
           ns = sp_json_str(sp_json_get(ref, "namespace"));
    sp_str name = sp_json_str(sp_json_get(ref, "name"));
    int64_t number = sp_json_int(sp_json_get(ref, "port"), 0);
    if ((kind.n && !sp_str_eqz(kind, "Service")) || sp_json_str(sp_json_get(ref, "group")).n)
        return (backend){
            .reason = "InvalidKind",
            .text = sp_arena_printf(a, "a backend must be a Service, not a %.*s", SP_ARG(kind))};
    if (ns.n && !sp_str_eq(ns, sp_obj_namespace(route)))
        return (backend){.reason = "RefNotPermitted",
                         .text = sp_arena_printf(a,
                                                 "service %.*s lies in namespace %.*s; backends "
                                                 "of other namespaces are not supported yet",
                                                 SP_ARG(name), SP_ARG(ns))};
    backend b = {.service = sp_view_find(&v->services, sp_obj_namespace(route), name)};
    b.port = number ? sp_service_port(b.service, number, (sp_str){0}) : NULL;
    if (b.port) return b;
    b.reason = "BackendNotFound";
    b.text = b.service ? sp_arena_printf(a, "service %.*s has no port %lld", SP_ARG(name),
                                         (long long)number)
                       : sp_arena_printf(a, "there is no service %.*s", SP_ARG(name));
    return b;
}

sp_route_verdict sp_route_resolved(sp_arena *a, const sp_cluster_view *v, const sp_json *route) {
    sp_json_each(sp_json_dig(route, "spec", "rules", NULL), rule) {
        sp_json_each(sp_json_get(rule, "backendRefs"), ref) {
            backend b = find_backend(a, v, route, ref);
            if (b.reason) return (sp_route_verdict){false, b.reason, b.text};
        }
    }
    return (sp_route_verdict){true, "ResolvedRefs", SP_STR("All references are resolved")};
}

static void add_backends(sp_translator *t, sp_route_action *act, const sp_json *route,
                         const sp_json *rule) {
    sp_json_each(sp_json_get(rule, "backendRefs"), ref) {
        backend b = find_backend(t->arena, t->view, route, ref);
        int64_t weight = sp_json_int(sp_json_get(ref, "weight"), 1);
        uint32_t pool = b.reason ? SP_NO_POOL : sp_translate_pool(t, b.service, b.port);
        sp_targets_add(t->arena, &act->targets, pool, (uint32_t)SP_MIN(SP_MAX(weight, 0), 1000000));
    }
}

/* --- filters --- */

static sp_str lower(sp_arena *a, sp_str s) {
    char *p = sp_arena_strz(a, s);
    for (size_t i = 0; i < s.n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z') p[i] = (char)(p[i] + 32);
    return (sp_str){p, s.n};
}

static sp_header *copy_headers(sp_arena *a, const sp_json *list, bool lower_names, size_t *ret_n) {
    size_t n = 0;
    sp_header *to = sp_arena_alloc(a, ((list ? list->count : 0) + 1) * sizeof *to);
    sp_json_each(list, h) {
        sp_str name = sp_json_str(sp_json_get(h, "name"));
        to[n].name = lower_names ? lower(a, name) : sp_arena_str(a, name);
        to[n++].value = sp_arena_str(a, sp_json_str(sp_json_get(h, "value")));
    }
    *ret_n = n;
    return to;
}

static sp_route_match *copy_matches(sp_arena *a, const sp_json *list, bool lower_names,
                                    size_t *ret_n) {
    sp_header *from = copy_headers(a, list, lower_names, ret_n);
    sp_route_match *to = sp_arena_alloc(a, (*ret_n + 1) * sizeof *to);
    for (size_t i = 0; i < *ret_n; i++) to[i] = (sp_route_match){from[i].name, from[i].value, NULL};
    return to;
}

static void add_edit(sp_arena *a, sp_header_edit *e, const sp_json *f) {
    const sp_json *remove = sp_json_get(f, "remove");
    e->set = copy_headers(a, sp_json_get(f, "set"), true, &e->set_count);
    e->add = copy_headers(a, sp_json_get(f, "add"), true, &e->add_count);
    e->remove = sp_arena_alloc(a, ((remove ? remove->count : 0) + 1) * sizeof *e->remove);
    e->remove_count = 0;
    sp_json_each(remove, r) e->remove[e->remove_count++] = lower(a, sp_json_str(r));
}

/* hostname and path mean the same in RequestRedirect and URLRewrite. */
static void add_target_edit(sp_arena *a, sp_route_action *act, const sp_json *f) {
    const sp_json *path = sp_json_get(f, "path");
    act->host = sp_arena_str(a, sp_json_str(sp_json_get(f, "hostname")));
    if (!path) return;
    bool all = sp_str_eqz(sp_json_str(sp_json_get(path, "type")), "ReplaceFullPath");
    act->path_edit = all ? SP_PATH_REPLACE_ALL : SP_PATH_REPLACE_PREFIX;
    sp_str to = sp_json_str(sp_json_get(path, all ? "replaceFullPath" : "replacePrefixMatch"));
    act->path = all && !to.n ? SP_STR("/") : sp_arena_str(a, to);
}

static void add_redirect(sp_arena *a, sp_route_action *act, const sp_json *f) {
    act->redirect_status = (uint16_t)sp_json_int(sp_json_get(f, "statusCode"), 302);
    act->redirect_scheme = sp_arena_str(a, sp_json_str(sp_json_get(f, "scheme")));
    act->redirect_port = (uint16_t)sp_json_int(sp_json_get(f, "port"), 0);
    add_target_edit(a, act, f);
}

static void add_filter(sp_arena *a, sp_route_action *act, const sp_json *f) {
    sp_str type = sp_json_str(sp_json_get(f, "type"));
    if (sp_str_eqz(type, "RequestHeaderModifier"))
        add_edit(a, &act->request, sp_json_get(f, "requestHeaderModifier"));
    else if (sp_str_eqz(type, "ResponseHeaderModifier"))
        add_edit(a, &act->response, sp_json_get(f, "responseHeaderModifier"));
    else if (sp_str_eqz(type, "RequestRedirect"))
        add_redirect(a, act, sp_json_get(f, "requestRedirect"));
    else
        add_target_edit(a, act, sp_json_get(f, "urlRewrite"));
}

/* --- entries --- */

static void add_match(sp_translator *t, uint32_t table, const sp_json *m, sp_route_entry e,
                      const sp_strs *hosts) {
    const sp_json *path = sp_json_get(m, "path");
    sp_str value = sp_json_str(sp_json_get(path, "value"));
    bool exact = sp_str_eqz(sp_json_str(sp_json_get(path, "type")), "Exact");
    e.path_kind = exact ? SP_PATH_EXACT : SP_PATH_PREFIX;
    e.path = value.n ? sp_arena_str(t->arena, value) : SP_STR("/");
    e.method = sp_arena_str(t->arena, sp_json_str(sp_json_get(m, "method")));
    e.headers = copy_matches(t->arena, sp_json_get(m, "headers"), true, &e.header_count);
    e.queries = copy_matches(t->arena, sp_json_get(m, "queryParams"), false, &e.query_count);
    sp_vec_each(hosts, h) {
        e.host = lower(t->arena, *h);
        sp_translate_entry(t, table, &e);
    }
}

/* sampan.dev/precedence: rules in the order written, ahead of what specificity sorts. */
static uint32_t rank_of(const sp_json *route) {
    uint64_t rank;
    sp_str text = sp_obj_annotation(route, "sampan.dev/precedence");
    return sp_str_u64(text, &rank) && rank < UINT32_MAX ? (uint32_t)rank : 0;
}

void sp_httproute_entries(sp_translator *t, uint32_t table, const sp_json *route,
                          const sp_strs *hosts) {
    sp_route_entry e = {.created_ms = sp_translate_created_ms(route),
                        .rank = rank_of(route),
                        .object = sp_obj_key(t->arena, route)};
    sp_json_each(sp_json_dig(route, "spec", "rules", NULL), rule) {
        const sp_json *matches = sp_json_get(rule, "matches");
        sp_route_action *act = SP_NEW(t->arena, sp_route_action);
        act->owner = sp_arena_printf(t->arena, "HTTPRoute %.*s", SP_ARG(e.object));
        sp_json_each(sp_json_get(rule, "filters"), f) add_filter(t->arena, act, f);
        add_backends(t, act, route, rule);
        e.action = act;
        if (!matches || !matches->count) add_match(t, table, NULL, e, hosts);
        sp_json_each(matches, m) add_match(t, table, m, e, hosts);
        e.order++;
    }
}
