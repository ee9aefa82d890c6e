/* Rules of HTTPRoutes and GRPCRoutes as routing entries: one entry per match and host, one action
 * per rule. A gRPC method is the path /service/method. A rule that uses something this gateway does
 * not have is left out and told, rather than being served half. */
#include "gateway/httproute.h"
#include "data/regex.h"
#include "data/time.h"

static bool is_z(const sp_json *o, const char *key, const char *value) {
    return sp_str_eqz(sp_json_text(o, key), value);
}

static size_t count_of(const sp_json *list) {
    return list ? list->count : 0;
}

static bool is_regex(const sp_json *o) {
    return is_z(o, "type", "RegularExpression");
}

/* --- what is wrong with a rule --- */

static sp_str regex_fault(sp_arena *a, sp_str pattern, const char *where) {
    const sp_regex *re = NULL;
    sp_err err = {0};
    if (sp_regex_compile(a, pattern, &re, &err)) return (sp_str){0};
    return sp_arena_printf(a, "%s: %s", where, err.text);
}

static sp_str list_fault(sp_arena *a, const sp_json *list, const char *where) {
    sp_json_each(list, m) {
        sp_str fault = is_regex(m) ? regex_fault(a, sp_json_text(m, "value"), where) : (sp_str){0};
        if (fault.n) return fault;
    }
    return (sp_str){0};
}

static sp_str grpc_pattern(sp_arena *a, const sp_json *method);

static sp_str match_fault(sp_arena *a, const sp_json *m, const char *where) {
    const sp_json *path = sp_json_get(m, "path"), *method = sp_json_get(m, "method");
    sp_str fault = {0};
    if (is_regex(path)) fault = regex_fault(a, sp_json_text(path, "value"), where);
    if (sp_json_is(method, SP_JSON_OBJECT) && is_regex(method))
        fault = regex_fault(a, grpc_pattern(a, method), where);
    if (!fault.n) fault = list_fault(a, sp_json_get(m, "headers"), where);
    return fault.n ? fault : list_fault(a, sp_json_get(m, "queryParams"), where);
}

static sp_str matches_fault(sp_arena *a, const sp_json *rule, const char *where) {
    size_t i = 0;
    sp_json_each(sp_json_get(rule, "matches"), m) {
        sp_str at = sp_arena_printf(a, "%s.matches[%zu]", where, i++);
        sp_str fault = match_fault(a, m, sp_arena_strz(a, at));
        if (fault.n) return fault;
    }
    return (sp_str){0};
}

static sp_str backends_fault(sp_arena *a, const sp_json *rule, const char *where, bool variables) {
    size_t i = 0;
    sp_json_each(sp_json_get(rule, "backendRefs"), b) {
        sp_str at = sp_arena_printf(a, "%s.backendRefs[%zu]", where, i++);
        sp_str fault =
            sp_http_filters_fault(a, sp_json_get(b, "filters"), sp_arena_strz(a, at), variables);
        if (fault.n) return fault;
    }
    return (sp_str){0};
}

sp_str sp_http_rule_fault(sp_arena *a, sp_route_kind kind, const sp_json *route,
                          const sp_json *rule, size_t index) {
    bool variables = sp_http_has_variables(route);
    if (kind != SP_ROUTE_HTTP && kind != SP_ROUTE_GRPC) return (sp_str){0};
    const char *where = sp_arena_strz(a, sp_arena_printf(a, "spec.rules[%zu]", index));
    sp_str fault = matches_fault(a, rule, where);
    if (!fault.n) fault = sp_http_filters_fault(a, sp_json_get(rule, "filters"), where, variables);
    if (!fault.n) fault = backends_fault(a, rule, where, variables);
    if (!fault.n && is_z(sp_json_get(rule, "sessionPersistence"), "type", "Header"))
        fault = sp_arena_printf(a, "%s.sessionPersistence: type Header is not supported", where);
    if (!fault.n && sp_json_dig(rule, "sessionPersistence", "idleTimeout", NULL))
        fault = sp_arena_printf(a, "%s.sessionPersistence: idleTimeout is not supported", where);
    return fault;
}

/* --- matches --- */

static const sp_regex *compile(sp_arena *a, sp_str pattern) {
    const sp_regex *re = NULL;
    sp_err err = {0};
    (void)!sp_regex_compile(a, pattern, &re, &err); /* the rule was judged before */
    return re;
}

static sp_route_match *conditions(sp_arena *a, const sp_json *list, bool headers, size_t *ret_n) {
    sp_route_match *to = sp_arena_alloc(a, (count_of(list) + 1) * sizeof *to);
    *ret_n = 0;
    sp_json_each(list, m) {
        sp_str name = sp_json_text(m, "name"), value = sp_arena_str(a, sp_json_text(m, "value"));
        to[(*ret_n)++] =
            (sp_route_match){headers ? sp_translate_lower(a, name) : sp_arena_str(a, name), value,
                             is_regex(m) ? compile(a, value) : NULL};
    }
    return to;
}

static void set_http_path(sp_arena *a, const sp_json *m, sp_route_entry *e) {
    const sp_json *path = sp_json_get(m, "path");
    sp_str value = sp_json_text(path, "value");
    e->path_kind = is_z(path, "type", "Exact") ? SP_PATH_EXACT : SP_PATH_PREFIX;
    e->path = value.n ? sp_arena_str(a, value) : SP_STR("/");
    e->method = sp_arena_str(a, sp_json_text(m, "method"));
    if (!is_regex(path)) return;
    e->path_kind = SP_PATH_REGEX;
    e->regex = compile(a, e->path);
}

/* "/(service)/(method)"; a part that is missing stands for any. */
static sp_str grpc_pattern(sp_arena *a, const sp_json *method) {
    sp_str service = sp_json_text(method, "service"), name = sp_json_text(method, "method");
    if (!service.n) service = SP_STR("[^/]+");
    if (!name.n) name = SP_STR("[^/]+");
    return sp_arena_printf(a, "/(?:%.*s)/(?:%.*s)", SP_ARG(service), SP_ARG(name));
}

static void set_grpc_path(sp_arena *a, const sp_json *m, sp_route_entry *e) {
    const sp_json *method = sp_json_get(m, "method");
    sp_str service = sp_json_text(method, "service"), name = sp_json_text(method, "method");
    e->path = SP_STR("/");
    if (!method) return;
    if (is_regex(method) || (!service.n && name.n)) {
        e->path_kind = SP_PATH_REGEX;
        e->path = grpc_pattern(a, method);
        e->regex = compile(a, e->path);
    } else if (name.n) {
        e->path_kind = SP_PATH_EXACT;
        e->path = sp_arena_printf(a, "/%.*s/%.*s", SP_ARG(service), SP_ARG(name));
    } else {
        e->path = sp_arena_printf(a, "/%.*s", SP_ARG(service));
    }
}

/* --- actions --- */

typedef struct rule_visit {
    sp_translator *t;
    sp_route_kind kind;
    sp_referrer from;
    const sp_json *route, *rule;
    sp_str owner; /* "HTTPRoute ns/name" */
    size_t index;
} rule_visit;

static uint32_t duration_ms(const sp_json *o, const char *key) {
    int64_t ms = 0;
    if (!sp_duration_parse(sp_json_text(o, key), &ms) || ms < 0) return 0;
    return (uint32_t)SP_MIN(ms, (int64_t)UINT32_MAX);
}

static void set_retry(sp_arena *a, sp_route_action *act, const sp_json *retry) {
    const sp_json *codes = sp_json_get(retry, "codes");
    if (!retry) return;
    act->retry.attempts = (uint8_t)SP_MIN(sp_json_int(sp_json_get(retry, "attempts"), 1), 100);
    act->retry.backoff_ms = duration_ms(retry, "backoff");
    act->retry.codes = sp_arena_alloc(a, (count_of(codes) + 1) * sizeof *act->retry.codes);
    sp_json_each(codes, c) {
        act->retry.codes[act->retry.code_count++] = (uint16_t)sp_json_int(c, 0);
    }
}

/* A pool of its own where the rule wants connections another way: its cookie, gRPC's HTTP/2. */
static sp_pool_spec pool_wish(const rule_visit *r, sp_str *ret_suffix) {
    const sp_json *session = sp_json_get(r->rule, "sessionPersistence");
    const sp_json *cookie = sp_json_get(session, "cookie");
    sp_arena *a = r->t->arena;
    sp_pool_spec like = {0};
    if (r->kind == SP_ROUTE_GRPC) like.protocol = SP_BACKEND_H2C;
    if (!session) return like;
    sp_str name = sp_json_text(cookie, "name");
    if (!name.n) name = sp_json_text(session, "sessionName");
    like.sticky.cookie = name.n ? sp_arena_str(a, name) : SP_STR("sampan-session");
    if (is_z(cookie, "lifetimeType", "Permanent") ||
        is_z(sp_json_get(session, "cookieConfig"), "lifetimeType", "Permanent"))
        like.sticky.ttl_ms = duration_ms(session, "absoluteTimeout");
    *ret_suffix = sp_arena_printf(a, "@%.*s/%zu", SP_ARG(r->owner), r->index);
    return like;
}

static void add_backends(const rule_visit *r, sp_route_action *act) {
    sp_translator *t = r->t;
    sp_str suffix = {0};
    sp_pool_spec like = pool_wish(r, &suffix);
    sp_json_each(sp_json_get(r->rule, "backendRefs"), ref) {
        sp_backend b = sp_ref_backend(t->arena, t->view, r->from, ref);
        int64_t weight = sp_json_int(sp_json_get(ref, "weight"), 1);
        sp_targets_add(t->arena, &act->targets, sp_translate_backend(t, &b, &like, suffix),
                       (uint32_t)SP_MIN(SP_MAX(weight, 0), 1000000));
    }
}

/* sampan.dev/answer: a status that the gateway itself answers all rules of the route with;
 * sampan.dev/answer-body: its text; sampan.dev/answer-location: its Location, as it is. */
static void set_answer(sp_arena *a, sp_route_action *act, const sp_json *route) {
    uint64_t status;
    if (!sp_str_u64(sp_obj_annotation(route, "sampan.dev/answer"), &status)) return;
    if (status < 200 || status > 599) return;
    act->answer_status = (uint16_t)status;
    act->answer_body = sp_arena_str(a, sp_obj_annotation(route, "sampan.dev/answer-body"));
    sp_str location = sp_obj_annotation(route, "sampan.dev/answer-location");
    if (sp_http_is_value(location)) act->answer_location = sp_arena_str(a, location);
}

/* sampan.dev/rewrite-path: the new path; $1 to $9 are groups of a rule's RegularExpression. */
static void set_rewrite(sp_arena *a, sp_route_action *act, const sp_json *route) {
    sp_str path = sp_obj_annotation(route, "sampan.dev/rewrite-path");
    if (!path.n) return;
    act->path_edit = SP_PATH_REPLACE_GROUPS;
    act->path = sp_arena_str(a, path);
}

static sp_route_action *rule_action(const rule_visit *r) {
    const sp_json *timeouts = sp_json_get(r->rule, "timeouts");
    sp_route_action *act = SP_NEW(r->t->arena, sp_route_action);
    act->owner = r->owner;
    act->request_timeout_ms = duration_ms(timeouts, "request");
    act->backend_timeout_ms = duration_ms(timeouts, "backendRequest");
    set_retry(r->t->arena, act, sp_json_get(r->rule, "retry"));
    act->request.varies = sp_http_has_variables(r->route);
    sp_http_filters(r->t, r->from, sp_json_get(r->rule, "filters"), act);
    add_backends(r, act);
    set_answer(r->t->arena, act, r->route);
    set_rewrite(r->t->arena, act, r->route);
    return act;
}

/* A backend with filters of its own: the rule's action, then these, and only this backend. */
static const sp_route_action **variants_of(const rule_visit *r, const sp_route_action *act) {
    const sp_json *refs = sp_json_get(r->rule, "backendRefs");
    sp_arena *a = r->t->arena;
    bool any = false;
    size_t i = 0;
    sp_json_each(refs, ref) any |= count_of(sp_json_get(ref, "filters")) > 0;
    if (!any) return NULL;
    const sp_route_action **to = sp_arena_alloc(a, (act->targets.n + 1) * sizeof *to);
    sp_json_each(refs, ref) {
        sp_route_action *own = SP_NEW(a, sp_route_action);
        *own = *act;
        own->targets = (sp_targets){0};
        sp_targets_add(a, &own->targets, act->targets.list[i].pool, 1);
        sp_http_filters(r->t, r->from, sp_json_get(ref, "filters"), own);
        to[i++] = own;
    }
    return to;
}

/* --- entries --- */

/* The entry's own action has the variants: they are entries too, because a rewrite looks at what
 * matched. */
static void set_action(const rule_visit *r, sp_route_entry *e, const sp_route_action *act,
                       const sp_route_action **variants) {
    sp_arena *a = r->t->arena;
    e->action = act;
    if (!variants) return;
    const sp_route_entry **list = sp_arena_alloc(a, (act->targets.n + 1) * sizeof *list);
    for (size_t i = 0; i < act->targets.n; i++) {
        sp_route_entry *v = SP_NEW(a, sp_route_entry);
        *v = *e;
        v->action = variants[i];
        list[i] = v;
    }
    sp_route_action *own = SP_NEW(a, sp_route_action);
    *own = *act;
    own->variants = list;
    e->action = own;
}

static void add_match(const rule_visit *r, uint32_t table, const sp_json *m, sp_route_entry e,
                      const sp_http_hosts *hosts, const sp_route_action *act,
                      const sp_route_action **variants) {
    sp_arena *a = r->t->arena;
    if (r->kind == SP_ROUTE_GRPC)
        set_grpc_path(a, m, &e);
    else
        set_http_path(a, m, &e);
    e.headers = conditions(a, sp_json_get(m, "headers"), true, &e.header_count);
    e.queries = conditions(a, sp_json_get(m, "queryParams"), false, &e.query_count);
    sp_vec_each(hosts, h) {
        e.host = h->host;
        e.except = h->except;
        e.except_count = h->except_count;
        set_action(r, &e, act, variants);
        sp_translate_entry(r->t, table, &e);
    }
}

/* sampan.dev/precedence: rules in the order written, ahead of what specificity sorts. */
static uint32_t rank_of(const sp_json *route) {
    uint64_t rank;
    sp_str text = sp_obj_annotation(route, "sampan.dev/precedence");
    return sp_str_u64(text, &rank) && rank < UINT32_MAX ? (uint32_t)rank : 0;
}

void sp_http_entries(sp_translator *t, uint32_t table, sp_route_kind kind, const sp_json *route,
                     const sp_http_hosts *hosts) {
    sp_route_entry e = {.created_ms = sp_translate_created_ms(route),
                        .rank = rank_of(route),
                        .object = sp_obj_key(t->arena, route)};
    rule_visit r = {.t = t, .kind = kind, .route = route};
    r.from = (sp_referrer){sp_route_kind_name(kind), sp_obj_namespace(route)};
    r.owner = sp_arena_printf(t->arena, "%s %.*s", sp_route_kind_name(kind), SP_ARG(e.object));
    sp_json_each(sp_json_dig(route, "spec", "rules", NULL), rule) {
        const sp_json *matches = sp_json_get(rule, "matches");
        r.rule = rule;
        e.order = (uint32_t)r.index;
        if (!sp_http_rule_fault(t->arena, kind, route, rule, r.index).n) {
            const sp_route_action *act = rule_action(&r), **variants = variants_of(&r, act);
            if (!count_of(matches)) add_match(&r, table, NULL, e, hosts, act, variants);
            sp_json_each(matches, m) add_match(&r, table, m, e, hosts, act, variants);
        }
        r.index++;
    }
}
