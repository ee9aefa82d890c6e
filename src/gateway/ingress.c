/* Ingresses (networking.k8s.io/v1) as routing entries on the HTTP port, and with spec.tls on the
 * HTTPS port: there all Ingresses share one table, and a server name needs a certificate. Paths of
 * type ImplementationSpecific are prefixes, or patterns where an annotation says so. What an
 * Ingress
 * asks for and does not get is a problem that status.c tells as an Event; the rest of it is served.
 */
#include "gateway/ingress_notes.h"
#include "gateway/refs.h"
#include "gateway/tls_default.h"

#include "data/regex.h"

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
    const sp_ingress_notes *notes;
    sp_strs secure;      /* hosts with a usable certificate */
    size_t port;         /* the HTTPS port; SIZE_MAX: none */
    uint32_t *tls_table; /* of all Ingresses; UINT32_MAX: not made yet */
} visit;

#define problem(v, reason_, ...)                                               \
    do {                                                                       \
        sp_problem p_ = {(reason_), sp_arena_printf((v)->arena, __VA_ARGS__)}; \
        if ((v)->problems) sp_vec_push((v)->problems, p_);                     \
    } while (0)

/* --- backends --- */

/* The element of the Service's ports, or NULL and a problem. */
static const sp_json *find_backend(visit *v, const sp_json *backend, sp_str path,
                                   const sp_json **ret_service) {
    const sp_json *ref = sp_json_get(backend, "service");
    if (!ref) {
        problem(v, "BackendNotSupported", "%.*s: only a service can be a backend", SP_ARG(path));
        return NULL;
    }
    sp_str name = sp_json_str(sp_json_get(ref, "name"));
    int64_t number = sp_json_int(sp_json_dig(ref, "port", "number", NULL), 0);
    sp_str port_name = sp_json_str(sp_json_dig(ref, "port", "name", NULL));
    const sp_json *service = sp_view_find(&v->view->services, sp_obj_namespace(v->ingress), name);
    const sp_json *port = sp_service_port(service, number, port_name);
    if (!service)
        problem(v, "ServiceNotFound", "%.*s: there is no service %.*s in this namespace",
                SP_ARG(path), SP_ARG(name));
    else if (!port && number)
        problem(v, "ServicePortNotFound", "%.*s: the service %.*s has no port %lld", SP_ARG(path),
                SP_ARG(name), (long long)number);
    else if (!port)
        problem(v, "ServicePortNotFound", "%.*s: the service %.*s has no port named \"%.*s\"",
                SP_ARG(path), SP_ARG(name), SP_ARG(port_name));
    *ret_service = service;
    return port;
}

static uint32_t pool_of(visit *v, const sp_json *service, const sp_json *port) {
    const sp_ingress_notes *n = v->notes;
    if (!port) return SP_NO_POOL;
    sp_str suffix =
        n->has_pool ? sp_arena_printf(v->arena, "@%.*s", SP_ARG(v->owner)) : (sp_str){0};
    return sp_translate_pool_like(v->t, service, port, n->has_pool ? &n->pool : NULL, suffix);
}

/* --- entries --- */

static bool is_secure(const visit *v, sp_str host) {
    sp_vec_each(&v->secure,
                h) if (sp_str_eq(*h, host) || sp_route_host_within(host, *h)) return true;
    return false;
}

/* The same entry on plain HTTP: a redirect where the host has a certificate, unless told not to. */
static void add_plain(visit *v, sp_route_entry e) {
    const sp_ingress_notes *n = v->notes;
    uint16_t port = v->t->options->https_port;
    bool redirect = (is_secure(v, e.host) && !n->no_ssl_redirect) || n->force_ssl_redirect;
    if (redirect) {
        sp_route_action *act = SP_NEW(v->arena, sp_route_action);
        act->owner = v->owner;
        act->redirect_status = 308;
        act->redirect_scheme = SP_STR("https");
        act->redirect_port = port == 443 ? 0 : port;
        e.action = act;
    }
    sp_translate_entry(v->t, 0, &e);
}

static void add_both(visit *v, const sp_route_entry *e) {
    add_plain(v, *e);
    if (v->port == SIZE_MAX) return;
    if (*v->tls_table == UINT32_MAX) *v->tls_table = sp_translate_new_table(v->t);
    sp_translate_entry(v->t, *v->tls_table, e);
}

/* A pattern as ingress-nginx reads it: from the start, upper and lower case alike, open at the end.
 */
static bool make_regex(visit *v, sp_str where, sp_route_entry *e) {
    sp_err err = {0};
    sp_str pattern = sp_arena_printf(v->arena, "(?i)(?:%.*s).*", SP_ARG(e->path));
    if (!sp_regex_compile(v->arena, pattern, &e->regex, &err)) {
        problem(v, "PathInvalid", "%.*s: %s", SP_ARG(where), err.text);
        return false;
    }
    e->path_kind = SP_PATH_REGEX;
    return true;
}

static void set_rewrite(const visit *v, const sp_route_entry *e, sp_route_action *act) {
    const sp_ingress_notes *n = v->notes;
    if (!n->rewrite.n || act->redirect_status) return;
    act->path = n->rewrite;
    act->path_edit = e->regex ? SP_PATH_REPLACE_GROUPS : SP_PATH_REPLACE_ALL;
}

/* --- canaries: a second Ingress that takes a part of what the first one gets --- */

static bool is_same_place(const sp_route_entry *a, const sp_route_entry *b) {
    return sp_str_eq(a->host, b->host) && sp_str_eq(a->path, b->path) &&
           a->path_kind == b->path_kind && !a->header_count && a->action &&
           sp_str_starts(a->action->owner, SP_STR("Ingress ")) && !a->action->redirect_status;
}

static void share_weight(const visit *v, uint32_t table, const sp_route_entry *e) {
    const sp_ingress_notes *n = v->notes;
    uint32_t part = SP_MIN(n->canary_weight, n->canary_total);
    sp_vec_each(&v->t->entries.p[table], main) {
        if (!is_same_place(main, e)) continue;
        sp_route_action *act = (sp_route_action *)(uintptr_t)main->action;
        if (act->targets.n != 1) continue; /* one canary has it already */
        uint32_t pool = act->targets.list[0].pool;
        act->targets = (sp_targets){0};
        sp_targets_add(v->arena, &act->targets, pool, n->canary_total - part);
        sp_targets_add(v->arena, &act->targets, e->action->targets.list[0].pool, part);
    }
}

static sp_route_match *one_condition(visit *v, sp_str name, sp_str value, sp_str pattern) {
    sp_route_match *m = SP_NEW(v->arena, sp_route_match);
    *m = (sp_route_match){.name = name, .value = value};
    if (pattern.n && !sp_regex_compile(v->arena, pattern, &m->regex, NULL)) m->value = SP_STR("\n");
    return m;
}

static sp_route_match *cookie_condition(visit *v, const char *word) {
    return one_condition(v, SP_STR("cookie"), (sp_str){0},
                         sp_arena_printf(v->arena, "(?:.*; *)?\\Q%.*s\\E=%s(?:;.*)?",
                                         SP_ARG(v->notes->canary_cookie), word));
}

/* "never" keeps a request away from the canary's weight: before that, it goes where it went. */
static void keep_away(visit *v, uint32_t table, const sp_route_entry *e, sp_route_match *when) {
    for (size_t i = 0, n = v->t->entries.p[table].n; i < n; i++) {
        sp_route_entry main = v->t->entries.p[table].p[i];
        if (!is_same_place(&main, e) || !main.action->targets.n) continue;
        sp_route_action *a = SP_NEW(v->arena, sp_route_action);
        *a = *main.action;
        a->targets = (sp_targets){0};
        sp_targets_add(v->arena, &a->targets, main.action->targets.list[0].pool, 1);
        main.action = a;
        main.headers = when;
        main.header_count = 1;
        sp_translate_entry(v->t, table, &main);
    }
}

static void keep_all_away(visit *v, uint32_t table, const sp_route_entry *e) {
    const sp_ingress_notes *n = v->notes;
    if (n->canary_header.n && !n->canary_value.n)
        keep_away(v, table, e, one_condition(v, n->canary_header, SP_STR("never"), (sp_str){0}));
    if (n->canary_cookie.n) keep_away(v, table, e, cookie_condition(v, "never"));
}

static void add_canary(visit *v, sp_route_entry e) {
    const sp_ingress_notes *n = v->notes;
    e.header_count = 1;
    if (n->canary_header.n) {
        sp_str value = n->canary_value.n ? n->canary_value : SP_STR("always");
        e.headers = one_condition(v, n->canary_header, value, (sp_str){0});
        add_both(v, &e);
    }
    if (n->canary_cookie.n) {
        e.headers = cookie_condition(v, "always");
        add_both(v, &e);
    }
    if (!n->canary_weight) return;
    uint32_t tables[] = {0, *v->tls_table};
    size_t count = *v->tls_table == UINT32_MAX ? 1 : 2;
    for (size_t i = 0; i < count; i++) keep_all_away(v, tables[i], &e);
    for (size_t i = 0; i < count; i++) share_weight(v, tables[i], &e);
}

static void add_entry(visit *v, const sp_json *backend, sp_str where, sp_route_entry e) {
    const sp_json *service = NULL, *port = find_backend(v, backend, where, &service);
    bool groups = sp_str_chr(v->notes->rewrite, '$') >= 0;
    if (e.path_kind == SP_PATH_PREFIX && !e.last_resort && (v->notes->use_regex || groups) &&
        !make_regex(v, where, &e))
        return;
    if (!v->t) return;
    sp_route_action *a = SP_NEW(v->arena, sp_route_action);
    a->owner = v->owner;
    sp_targets_add(v->arena, &a->targets, pool_of(v, service, port), 1);
    sp_ingress_notes_apply(v->arena, v->notes, v->owner, a);
    set_rewrite(v, &e, a);
    e.host = sp_arena_str(v->arena, e.host);
    e.path = sp_arena_str(v->arena, e.path);
    e.created_ms = sp_translate_created_ms(v->ingress);
    e.object = v->object;
    e.order = v->order++;
    e.action = a;
    if (v->notes->canary)
        add_canary(v, e);
    else
        add_both(v, &e);
}

static void add_app_root(visit *v, sp_str host) {
    if (!v->t || !v->notes->app_root.n || v->notes->canary) return;
    sp_route_action *a = SP_NEW(v->arena, sp_route_action);
    *a = (sp_route_action){.owner = v->owner,
                           .redirect_status = 302,
                           .path_edit = SP_PATH_REPLACE_ALL,
                           .path = v->notes->app_root};
    sp_route_entry e = {.host = sp_arena_str(v->arena, host),
                        .single_label = true,
                        .path_kind = SP_PATH_EXACT,
                        .path = SP_STR("/"),
                        .object = v->object,
                        .action = a};
    add_both(v, &e);
}

/* --- TLS --- */

static bool has_name(const visit *v, sp_str host) {
    sp_vec_each(&v->t->ports.p[v->port].sni, e) if (sp_str_eq(e->host, host)) return true;
    return false;
}

/* trusted: by a Secret of its own, so plain HTTP may be sent there. */
static void add_name(visit *v, sp_str host, const sp_tls_spec *tls, bool trusted) {
    sp_str name = sp_translate_lower(v->arena, host);
    sp_sni_entry e = {.host = name, .tls = tls, .owner = v->owner};
    if (tls && trusted) sp_vec_push(&v->secure, name);
    if (!v->t || v->port == SIZE_MAX || has_name(v, name)) return;
    if (*v->tls_table == UINT32_MAX) *v->tls_table = sp_translate_new_table(v->t);
    e.inner = tls ? (sp_inner_spec){.http = true, .table = *v->tls_table} : (sp_inner_spec){0};
    sp_translate_sni(v->t, v->port, e);
}

/* Without a Secret the hosts answer with a certificate that nobody knows, as is usual. */
static sp_problem default_cert(sp_arena *a, sp_tls_cert *ret) {
    sp_err err = {0};
    if (sp_tls_default_cert(NULL, ret, &err)) return (sp_problem){0};
    return (sp_problem){"InvalidCertificate", sp_arena_str(a, sp_str_z(err.text))};
}

static void visit_tls(visit *v, const sp_json *tls, size_t index) {
    const sp_json *hosts = sp_json_get(tls, "hosts");
    sp_str secret = sp_json_str(sp_json_get(tls, "secretName"));
    sp_tls_spec *spec = SP_NEW(v->arena, sp_tls_spec);
    spec->certs = SP_NEW(v->arena, sp_tls_cert);
    sp_problem p = !secret.n ? default_cert(v->arena, spec->certs)
                             : sp_ref_secret_cert(v->arena, v->view, sp_obj_namespace(v->ingress),
                                                  secret, spec->certs);
    if (p.reason)
        problem(v, "InvalidCertificate", "spec.tls[%zu]: %.*s; its hosts are not served with TLS",
                index, SP_ARG(p.text));
    spec->cert_count = !p.reason;
    const sp_tls_spec *usable = p.reason ? NULL : spec;
    if (!hosts || !hosts->count) add_name(v, SP_STR(""), usable, secret.n > 0);
    sp_json_each(hosts, h) add_name(v, sp_json_str(h), usable, secret.n > 0);
}

static bool has_tls(const sp_json *ingress) {
    const sp_json *tls = sp_json_dig(ingress, "spec", "tls", NULL);
    return tls && tls->count;
}

static size_t open_port(sp_translator *t) {
    sp_addr at = t->options->bind;
    at.port = t->options->https_port;
    if (!at.port) return SIZE_MAX;
    return sp_translate_port(t, at, SP_CARRIES_TLS, SP_STR("the gateway's own --https-port"));
}

bool sp_ingresses_use_tls(const sp_cluster_view *v) {
    sp_vec_each(&v->ingresses, i) if (has_tls(*i) && sp_ingress_is_ours(v, *i)) return true;
    return false;
}

void sp_translate_ingress_ports(sp_translator *t) {
    if (sp_ingresses_use_tls(t->view)) open_port(t);
}

static void open_tls(visit *v) {
    size_t index = 0;
    if (v->t && has_tls(v->ingress)) v->port = open_port(v->t);
    sp_json_each(sp_json_dig(v->ingress, "spec", "tls", NULL), it) visit_tls(v, it, index++);
}

/* --- the whole --- */

static void visit_rule(visit *v, const sp_json *rule, size_t index) {
    sp_str host = sp_translate_lower(v->arena, sp_json_str(sp_json_get(rule, "host")));
    size_t at = 0;
    add_app_root(v, host);
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
    const sp_json *fallback = sp_json_get(spec, "defaultBackend");
    sp_ingress_notes *notes = SP_NEW(v->arena, sp_ingress_notes);
    size_t index = 0;
    sp_ingress_notes_read(v->arena, v->ingress, notes, v->problems);
    v->notes = notes;
    sp_json_each(sp_json_get(spec, "rules"), rule) {
        visit_rule(v, rule, index++);
    }
    if (fallback)
        add_entry(v, fallback, SP_STR("spec.defaultBackend"),
                  (sp_route_entry){.path = SP_STR("/"), .last_resort = true});
}

void sp_ingress_problems(sp_arena *a, const sp_cluster_view *view, const sp_json *ingress,
                         sp_problems *ret) {
    visit v = {.arena = a, .view = view, .ingress = ingress, .problems = ret, .port = SIZE_MAX};
    visit_ingress(&v);
    open_tls(&v);
    sp_vec_free(&v.secure);
}

static bool is_canary(const sp_json *ingress) {
    return sp_str_eqz(sp_obj_annotation(ingress, "nginx.ingress.kubernetes.io/canary"), "true");
}

static void each_of(visit *v, void (*fn)(visit *v), bool canaries) {
    sp_vec_each(&v->view->ingresses, i) {
        if (!sp_ingress_is_ours(v->view, *i) || is_canary(*i) != canaries) continue;
        v->ingress = *i;
        v->object = sp_obj_key(v->arena, *i);
        v->owner = sp_arena_printf(v->arena, "Ingress %.*s", SP_ARG(v->object));
        fn(v);
    }
}

/* Certificates first, because they hold for a host whoever serves its paths; canaries last, because
 * they change what is there. */
void sp_translate_ingresses(sp_translator *t) {
    uint32_t tls_table = UINT32_MAX;
    visit v = {
        .arena = t->arena, .view = t->view, .t = t, .port = SIZE_MAX, .tls_table = &tls_table};
    each_of(&v, open_tls, false);
    each_of(&v, visit_ingress, false);
    each_of(&v, visit_ingress, true);
    sp_vec_free(&v.secure);
}
