/* Filters of HTTPRoutes and GRPCRoutes: header changes, redirects, rewrites, mirrors, CORS. */
#include "gateway/http_value.h"
#include "gateway/httproute.h"

static size_t count_of(const sp_json *list) {
    return list ? list->count : 0;
}

/* --- what is wrong with them --- */

static const char *const served[] = {"RequestHeaderModifier", "ResponseHeaderModifier",
                                     "RequestRedirect",       "URLRewrite",
                                     "RequestMirror",         "CORS"};

static sp_str type_fault(sp_arena *a, const sp_json *f, const char *where, size_t i) {
    sp_str type = sp_json_text(f, "type");
    for (size_t k = 0; k < SP_COUNT(served); k++)
        if (sp_str_eqz(type, served[k])) return (sp_str){0};
    return sp_arena_printf(a, "%s.filters[%zu]: type \"%.*s\" is not supported", where, i,
                           SP_ARG(type));
}

/* sampan.dev/request-header-variables: "true": %[src] and the like in values of request headers are
 * filled in. The Host is none of them: what the endpoint is asked for would be up to the client. */
static sp_str variables_fault(sp_arena *a, const sp_json *f, const char *where, size_t i) {
    static const char *const lists[] = {"set", "add"};
    for (size_t k = 0; k < 2; k++)
        sp_json_each(sp_json_dig(f, "requestHeaderModifier", lists[k], NULL), h) {
            sp_str name = sp_json_text(h, "name"), value;
            sp_err err = {0};
            bool varies;
            if (!sp_value_compile(a, sp_json_text(h, "value"), &value, &varies, &err))
                return sp_arena_printf(a, "%s.filters[%zu]: header \"%.*s\": %s", where, i,
                                       SP_ARG(name), err.text);
            if (varies && sp_str_ieq(name, SP_STR("host")))
                return sp_arena_printf(a, "%s.filters[%zu]: Host cannot have variables", where, i);
        }
    return (sp_str){0};
}

static sp_str header_fault(sp_arena *a, const sp_json *f, const char *where, size_t i) {
    static const char *const members[] = {"requestHeaderModifier", "responseHeaderModifier"};
    static const char *const lists[] = {"set", "add"};
    for (size_t m = 0; m < 2; m++)
        for (size_t k = 0; k < 2; k++) sp_json_each(sp_json_dig(f, members[m], lists[k], NULL), h) {
                sp_str name = sp_json_text(h, "name");
                if (!sp_http_is_token(name) || !sp_http_is_value(sp_json_text(h, "value")))
                    return sp_arena_printf(a, "%s.filters[%zu]: header \"%.*s\" cannot be sent",
                                           where, i, SP_ARG(name));
            }
    return (sp_str){0};
}

bool sp_http_has_variables(const sp_json *route) {
    return sp_str_eqz(sp_obj_annotation(route, "sampan.dev/request-header-variables"), "true");
}

sp_str sp_http_filters_fault(sp_arena *a, const sp_json *filters, const char *where,
                             bool variables) {
    size_t i = 0;
    sp_json_each(filters, f) {
        sp_str fault = type_fault(a, f, where, i);
        if (!fault.n) fault = header_fault(a, f, where, i);
        if (!fault.n && variables) fault = variables_fault(a, f, where, i);
        if (fault.n) return fault;
        i++;
    }
    return (sp_str){0};
}

/* --- header changes --- */

/* A later change of the same header takes the place of what was set or added before. */
static void forget_header(sp_header *list, size_t *n, sp_str name) {
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (!sp_str_eq(list[i].name, name)) list[kept++] = list[i];
    *n = kept;
}

static sp_header *grow(sp_arena *a, const sp_header *list, size_t n, size_t more) {
    sp_header *to = sp_arena_alloc(a, (n + more + 1) * sizeof *to);
    if (n) memcpy(to, list, n * sizeof *to);
    return to;
}

static void add_removes(sp_arena *a, sp_header_edit *e, const sp_json *names) {
    sp_str *to = sp_arena_alloc(a, (e->remove_count + count_of(names) + 1) * sizeof *to);
    if (e->remove_count) memcpy(to, e->remove, e->remove_count * sizeof *to);
    sp_json_each(names, r) {
        sp_str name = sp_translate_lower(a, sp_json_str(r));
        forget_header(e->set, &e->set_count, name);
        forget_header(e->add, &e->add_count, name);
        to[e->remove_count++] = name;
    }
    e->remove = to;
}

static sp_str value_of(sp_arena *a, const sp_json *header, bool variables) {
    sp_str value = sp_json_text(header, "value");
    sp_err err = {0};
    bool varies;
    if (variables && !sp_value_compile(a, value, &value, &varies, &err))
        value = (sp_str){0}; /* the rule was judged before */
    return sp_arena_str(a, value);
}

static void add_headers(sp_arena *a, sp_header_edit *e, const sp_json *list, bool set) {
    sp_header **to = set ? &e->set : &e->add;
    size_t *n = set ? &e->set_count : &e->add_count;
    *to = grow(a, *to, *n, count_of(list));
    sp_json_each(list, h) {
        sp_str name = sp_translate_lower(a, sp_json_text(h, "name"));
        if (set) forget_header(e->set, &e->set_count, name);
        if (set) forget_header(e->add, &e->add_count, name);
        (*to)[(*n)++] = (sp_header){name, value_of(a, h, e->varies)};
    }
}

/* Filters are a sequence; an edit is remove, then set, then add. */
static void add_edit(sp_arena *a, sp_header_edit *e, const sp_json *f) {
    e->set = grow(a, e->set, e->set_count, 0); /* what was is shared with other backends */
    e->add = grow(a, e->add, e->add_count, 0);
    add_headers(a, e, sp_json_get(f, "set"), true);
    add_headers(a, e, sp_json_get(f, "add"), false);
    add_removes(a, e, sp_json_get(f, "remove"));
}

/* --- redirects and rewrites --- */

/* hostname and path mean the same in RequestRedirect and URLRewrite. */
static void add_target_edit(sp_arena *a, sp_route_action *act, const sp_json *f) {
    const sp_json *path = sp_json_get(f, "path");
    sp_str host = sp_json_text(f, "hostname");
    if (host.n) act->host = sp_arena_str(a, host);
    if (!path) return;
    bool all = sp_str_eqz(sp_json_text(path, "type"), "ReplaceFullPath");
    act->path_edit = all ? SP_PATH_REPLACE_ALL : SP_PATH_REPLACE_PREFIX;
    sp_str to = sp_json_text(path, all ? "replaceFullPath" : "replacePrefixMatch");
    act->path = all && !to.n ? SP_STR("/") : sp_arena_str(a, to);
}

static void add_redirect(sp_arena *a, sp_route_action *act, const sp_json *f) {
    act->redirect_status = (uint16_t)sp_json_int(sp_json_get(f, "statusCode"), 302);
    act->redirect_scheme = sp_arena_str(a, sp_json_text(f, "scheme"));
    act->redirect_port = (uint16_t)sp_json_int(sp_json_get(f, "port"), 0);
    add_target_edit(a, act, f);
}

/* --- mirrors --- */

static void add_mirror(sp_translator *t, sp_referrer from, sp_route_action *act, const sp_json *f) {
    const sp_json *percent = sp_json_get(f, "percent"), *part = sp_json_get(f, "fraction");
    sp_backend b = sp_ref_backend(t->arena, t->view, from, sp_json_get(f, "backendRef"));
    sp_mirror m = {0};
    if (b.problem.reason) return; /* told by ResolvedRefs; the request itself goes on */
    if (percent || part) {
        m.numerator = (uint32_t)sp_json_int(percent ? percent : sp_json_get(part, "numerator"), 0);
        m.denominator =
            percent ? 100 : (uint32_t)sp_json_int(sp_json_get(part, "denominator"), 100);
        if (!m.numerator) return;
    }
    m.pool = sp_translate_backend(t, &b, NULL, (sp_str){0});
    sp_mirror *list = sp_arena_alloc(t->arena, (act->mirror_count + 1) * sizeof *list);
    if (act->mirror_count) memcpy(list, act->mirrors, act->mirror_count * sizeof *list);
    list[act->mirror_count++] = m;
    act->mirrors = list;
}

/* --- CORS --- */

static sp_str *strings(sp_arena *a, const sp_json *list, size_t *ret_n) {
    sp_str *to = sp_arena_alloc(a, (count_of(list) + 1) * sizeof *to);
    *ret_n = 0;
    sp_json_each(list, it) to[(*ret_n)++] = sp_arena_str(a, sp_json_str(it));
    return to;
}

static const sp_cors_spec *cors_of(sp_arena *a, const sp_json *f) {
    sp_cors_spec *c = SP_NEW(a, sp_cors_spec);
    c->origins = strings(a, sp_json_get(f, "allowOrigins"), &c->origin_count);
    c->methods = strings(a, sp_json_get(f, "allowMethods"), &c->method_count);
    c->request_headers = strings(a, sp_json_get(f, "allowHeaders"), &c->request_header_count);
    c->exposed = strings(a, sp_json_get(f, "exposeHeaders"), &c->exposed_count);
    c->credentials = sp_json_bool(sp_json_get(f, "allowCredentials"), false);
    c->max_age_s = (uint32_t)sp_json_int(sp_json_get(f, "maxAge"), 5);
    return c;
}

void sp_http_filters(sp_translator *t, sp_referrer from, const sp_json *filters,
                     sp_route_action *act) {
    sp_arena *a = t->arena;
    sp_json_each(filters, f) {
        sp_str type = sp_json_text(f, "type");
        if (sp_str_eqz(type, "RequestHeaderModifier"))
            add_edit(a, &act->request, sp_json_get(f, "requestHeaderModifier"));
        else if (sp_str_eqz(type, "ResponseHeaderModifier"))
            add_edit(a, &act->response, sp_json_get(f, "responseHeaderModifier"));
        else if (sp_str_eqz(type, "RequestRedirect"))
            add_redirect(a, act, sp_json_get(f, "requestRedirect"));
        else if (sp_str_eqz(type, "URLRewrite"))
            add_target_edit(a, act, sp_json_get(f, "urlRewrite"));
        else if (sp_str_eqz(type, "RequestMirror"))
            add_mirror(t, from, act, sp_json_get(f, "requestMirror"));
        else if (sp_str_eqz(type, "CORS"))
            act->cors = cors_of(a, sp_json_get(f, "cors"));
    }
}
