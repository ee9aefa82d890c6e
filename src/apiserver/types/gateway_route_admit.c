/* What the schemas of HTTPRoutes and GRPCRoutes cannot say: the rules that Gateway API's CRDs write
 * in CEL, with their words. */
#include "apiserver/types/gateway_admit.h"
#include "data/regex.h"
#include "data/time.h"

static bool is_z(const sp_json *o, const char *key, const char *value) {
    return sp_str_eqz(sp_json_str(sp_json_get(o, key)), value);
}

static size_t count_of(const sp_json *list) {
    return list ? list->count : 0;
}

static bool text_matches(sp_arena *a, const char *pattern, sp_str text) {
    const sp_regex *re = NULL;
    return sp_regex_compile(a, sp_str_z(pattern), &re, NULL) &&
           sp_regex_search(re, text) == SP_REGEX_YES;
}

/* --- defaults --- */

static void default_path(sp_arena *a, sp_json *match) {
    if (!sp_json_is(match, SP_JSON_OBJECT) || sp_json_get(match, "path")) return;
    sp_json *path = sp_json_set(a, match, "path", sp_json_object(a));
    sp_json_set_z(a, path, "type", "PathPrefix");
    sp_json_set_z(a, path, "value", "/");
}

/* A rule without matches takes everything. */
static void match_everything(sp_arena *a, sp_json *rule) {
    if (!sp_json_is(rule, SP_JSON_OBJECT)) return;
    if (!sp_json_get(rule, "matches"))
        sp_json_push(sp_json_set(a, rule, "matches", sp_json_array(a)), sp_json_object(a));
    sp_json_each(sp_member(rule, "matches", SP_JSON_ARRAY), it) default_path(a, it);
}

bool sp_prepare_http_route(sp_admit *a, sp_err *err) {
    sp_json *spec = sp_member(a->obj, "spec", SP_JSON_OBJECT);
    if (!spec || a->subresource.n) return true;
    if (!sp_json_get(spec, "rules")) {
        sp_json_push(sp_json_set(a->arena, spec, "rules", sp_json_array(a->arena)),
                     sp_json_object(a->arena));
    }
    sp_json_each(sp_member(spec, "rules", SP_JSON_ARRAY), it) match_everything(a->arena, it);
    return true;
}

bool sp_prepare_grpc_route(sp_admit *a, sp_err *err) {
    return true;
}

/* --- filters --- */

static const struct {
    const char *type, *member;
    bool many; /* may be repeated */
} filter_kinds[] = {{"RequestHeaderModifier", "requestHeaderModifier", false},
                    {"ResponseHeaderModifier", "responseHeaderModifier", false},
                    {"RequestMirror", "requestMirror", true},
                    {"RequestRedirect", "requestRedirect", false},
                    {"URLRewrite", "urlRewrite", false},
                    {"CORS", "cors", false},
                    {"ExternalAuth", "externalAuth", true},
                    {"ExtensionRef", "extensionRef", true}};

static void check_path_modifier(const sp_at *at, const sp_json *path) {
    static const char *const kinds[][2] = {{"ReplaceFullPath", "replaceFullPath"},
                                           {"ReplacePrefixMatch", "replacePrefixMatch"}};
    for (size_t i = 0; path && i < 2; i++) {
        bool is = is_z(path, "type", kinds[i][0]), has = sp_json_get(path, kinds[i][1]) != NULL;
        if (is && !has)
            sp_say_invalid(at, "path", path, "%s must be specified when type is set to '%s'",
                           kinds[i][1], kinds[i][0]);
        if (!is && has)
            sp_say_invalid(at, "path", path, "type must be '%s' when %s is set", kinds[i][0],
                           kinds[i][1]);
    }
}

static void check_mirror(const sp_at *at, const sp_json *mirror) {
    sp_at here = sp_at_key(at, "requestMirror"), ref = sp_at_key(&here, "backendRef");
    const sp_json *fraction = sp_json_get(mirror, "fraction");
    if (!mirror) return;
    sp_gw_check_backend(&ref, sp_json_get(mirror, "backendRef"));
    if (fraction && sp_json_get(mirror, "percent"))
        sp_say_invalid(at, "requestMirror", mirror,
                       "Only one of percent or fraction may be specified in "
                       "HTTPRequestMirrorFilter");
    if (sp_json_int(sp_json_get(fraction, "numerator"), 0) >
        sp_json_int(sp_json_get(fraction, "denominator"), 100))
        sp_say_invalid(&here, "fraction", fraction,
                       "numerator must be less than or equal to denominator");
}

static void check_cors(const sp_at *at, const sp_json *cors) {
    static const char *const lists[][3] = {{"allowOrigins", "AllowOrigins", "origins"},
                                           {"allowMethods", "AllowMethods", "methods"},
                                           {"allowHeaders", "AllowHeaders", "methods"}};
    sp_at here = sp_at_key(at, "cors");
    for (size_t i = 0; cors && i < SP_COUNT(lists); i++) {
        const sp_json *list = sp_json_get(cors, lists[i][0]);
        bool star = false;
        sp_json_each(list, it) star |= sp_str_eqz(sp_json_str(it), "*");
        if (star && list->count > 1)
            sp_say_invalid(&here, lists[i][0], list, "%s cannot contain '*' alongside other %s",
                           lists[i][1], lists[i][2]);
    }
}

static void check_redirect(const sp_at *at, const sp_json *redirect) {
    static const int64_t codes[] = {301, 302, 303, 307, 308};
    const sp_json *code = sp_json_get(redirect, "statusCode");
    sp_at here = sp_at_key(at, "requestRedirect");
    bool known = !code;
    for (size_t i = 0; i < SP_COUNT(codes); i++) known |= sp_json_int(code, 0) == codes[i];
    if (!known)
        sp_say_unsupported(&here, "statusCode", code,
                           "\"301\", \"302\", \"303\", \"307\", \"308\"");
    check_path_modifier(&here, sp_json_get(redirect, "path"));
}

static void check_filter(const sp_at *at, const sp_json *f) {
    for (size_t k = 0; k < SP_COUNT(filter_kinds); k++) {
        const char *type = filter_kinds[k].type, *member = filter_kinds[k].member;
        bool is = is_z(f, "type", type), has = sp_json_get(f, member) != NULL;
        if (is && !has) sp_say_required(at, member, "is what the filter's type needs");
        if (!is && has)
            sp_say_forbidden(at, member, "must be nil if the filter.type is not %s", type);
    }
    sp_at rewrite = sp_at_key(at, "urlRewrite");
    check_mirror(at, sp_json_get(f, "requestMirror"));
    check_cors(at, sp_json_get(f, "cors"));
    check_redirect(at, sp_json_get(f, "requestRedirect"));
    check_path_modifier(&rewrite, sp_json_dig(f, "urlRewrite", "path", NULL));
}

static void check_filters(const sp_at *at, const sp_json *holder) {
    const sp_json *filters = sp_json_get(holder, "filters");
    size_t seen[SP_COUNT(filter_kinds)] = {0}, i = 0;
    sp_at list = sp_at_key(at, "filters");
    sp_json_each(filters, it) {
        sp_at item = sp_at_item(&list, i++);
        check_filter(&item, it);
        for (size_t k = 0; k < SP_COUNT(filter_kinds); k++)
            seen[k] += is_z(it, "type", filter_kinds[k].type);
    }
    enum { REDIRECT = 3, REWRITE = 4 };
    if (seen[REDIRECT] && seen[REWRITE])
        sp_say_invalid(at, "filters", filters,
                       "May specify either httpRouteFilterRequestRedirect or "
                       "httpRouteFilterRequestRewrite, but not both");
    for (size_t k = 0; k < SP_COUNT(filter_kinds); k++)
        if (!filter_kinds[k].many && seen[k] > 1)
            sp_say_invalid(at, "filters", filters, "%s filter cannot be repeated",
                           filter_kinds[k].type);
}

static void check_backends(const sp_at *at, const sp_json *rule) {
    sp_at list = sp_at_key(at, "backendRefs");
    size_t i = 0;
    sp_json_each(sp_json_get(rule, "backendRefs"), it) {
        sp_at item = sp_at_item(&list, i++);
        sp_gw_check_backend(&item, it);
        check_filters(&item, it);
    }
}

/* --- HTTPRoute: matches --- */

static const char path_chars[] = "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$";

static void check_path(const sp_at *at, const sp_json *value) {
    static const char *const never[] = {"//", "/./", "/../", "%2f", "%2F", "#"};
    static const char *const never_last[] = {"/..", "/."};
    static const char types[] = "when type one of ['Exact', 'PathPrefix']";
    sp_str path = sp_json_str(value);
    if (!sp_str_starts(path, SP_STR("/")))
        sp_say_invalid(at, "value", value, "value must be an absolute path and start with '/' %s",
                       types);
    for (size_t i = 0; i < SP_COUNT(never); i++)
        if (sp_str_find(path, sp_str_z(never[i])) >= 0)
            sp_say_invalid(at, "value", value, "must not contain '%s' %s", never[i], types);
    for (size_t i = 0; i < SP_COUNT(never_last); i++)
        if (sp_str_ends(path, sp_str_z(never_last[i])))
            sp_say_invalid(at, "value", value, "must not end with '%s' %s", never_last[i], types);
    if (path.n && !text_matches(at->admit->arena, path_chars, path))
        sp_say_invalid(at, "value", value,
                       "must only contain valid characters (matching %s) for types ['Exact', "
                       "'PathPrefix']",
                       path_chars);
}

static void check_method(const sp_at *at, const sp_json *match) {
    static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                          "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    const sp_json *method = sp_json_get(match, "method");
    bool known = !method;
    for (size_t i = 0; i < SP_COUNT(methods); i++)
        known |= sp_str_eqz(sp_json_str(method), methods[i]);
    if (!known)
        sp_say_unsupported(at, "method", method,
                           "\"GET\", \"HEAD\", \"POST\", \"PUT\", \"DELETE\", \"CONNECT\", "
                           "\"OPTIONS\", \"TRACE\", \"PATCH\"");
}

static void check_matches(const sp_at *at, const sp_json *rule) {
    sp_at list = sp_at_key(at, "matches");
    size_t i = 0;
    sp_json_each(sp_json_get(rule, "matches"), it) {
        sp_at item = sp_at_item(&list, i++), path_at = sp_at_key(&item, "path");
        const sp_json *path = sp_json_get(it, "path"), *value = sp_json_get(path, "value");
        if (value && !is_z(path, "type", "RegularExpression")) check_path(&path_at, value);
        check_method(&item, it);
    }
}

/* --- HTTPRoute: what rules say about the whole --- */

static bool replaces_prefix(const sp_json *filters, const char *member) {
    sp_json_each(filters, f) {
        if (is_z(sp_json_dig(f, member, "path", NULL), "type", "ReplacePrefixMatch")) return true;
    }
    return false;
}

static void check_prefix_edits(const sp_at *at, const sp_json *rule) {
    static const char *const kinds[][2] = {{"RequestRedirect", "requestRedirect"},
                                           {"URLRewrite", "urlRewrite"}};
    const sp_json *matches = sp_json_get(rule, "matches");
    const sp_json *path = sp_json_get(sp_json_at(matches, 0), "path");
    if (count_of(matches) == 1 && is_z(path, "type", "PathPrefix")) return;
    for (size_t i = 0; i < 2; i++) {
        const char *member = kinds[i][1];
        bool inner = false;
        sp_json_each(sp_json_get(rule, "backendRefs"), ref) {
            inner |= replaces_prefix(sp_json_get(ref, "filters"), member);
        }
        if (inner || replaces_prefix(sp_json_get(rule, "filters"), member))
            sp_say_invalid(at, NULL, rule,
                           "%s using %s filter with path.replacePrefixMatch, exactly one "
                           "PathPrefix match must be specified",
                           inner ? "Within backendRefs, when" : "When", kinds[i][0]);
    }
}

static void check_timeouts(const sp_at *at, const sp_json *timeouts) {
    int64_t whole = 0, one = 0;
    bool both = sp_duration_parse(sp_json_str(sp_json_get(timeouts, "request")), &whole) &&
                sp_duration_parse(sp_json_str(sp_json_get(timeouts, "backendRequest")), &one);
    if (both && whole && one > whole)
        sp_say_invalid(at, "timeouts", timeouts,
                       "backendRequest timeout cannot be longer than request timeout");
}

static void check_session(const sp_at *at, const sp_json *session) {
    static const char *const kinds[][2] = {
        {"Cookie", "cookie"}, {"Header", "header"}, {"Cookie", "cookieConfig"}};
    if (!session) return;
    bool permanent = is_z(sp_json_get(session, "cookie"), "lifetimeType", "Permanent") ||
                     is_z(sp_json_get(session, "cookieConfig"), "lifetimeType", "Permanent");
    if (permanent && !sp_json_get(session, "absoluteTimeout"))
        sp_say_invalid(at, "sessionPersistence", session,
                       "AbsoluteTimeout must be specified when cookie lifetimeType is Permanent");
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        if (!is_z(session, "type", kinds[i][0]) && sp_json_get(session, kinds[i][1]))
            sp_say_invalid(at, "sessionPersistence", session, "%s must be nil if type is not %s",
                           kinds[i][1], kinds[i][0]);
    if (is_z(session, "type", "Header") && !sp_json_get(session, "header") &&
        !sp_json_get(session, "sessionName"))
        sp_say_invalid(at, "sessionPersistence", session,
                       "header must be specified for Header type");
}

static void check_http_rule(const sp_at *at, const sp_json *rule) {
    bool redirects = false;
    sp_json_each(sp_json_get(rule, "filters"), f) redirects |=
        sp_json_get(f, "requestRedirect") != NULL;
    if (redirects && count_of(sp_json_get(rule, "backendRefs")))
        sp_say_invalid(at, NULL, rule,
                       "RequestRedirect filter must not be used together with backendRefs");
    check_matches(at, rule);
    check_filters(at, rule);
    check_backends(at, rule);
    check_prefix_edits(at, rule);
    check_timeouts(at, sp_json_get(rule, "timeouts"));
    check_session(at, sp_json_get(rule, "sessionPersistence"));
}

/* --- GRPCRoute --- */

static void check_grpc_method(const sp_at *at, const sp_json *method) {
    static const char service_chars[] = "^(?i)\\.?[a-z_][a-z_0-9]*(\\.[a-z_][a-z_0-9]*)*$";
    static const char method_chars[] = "^[A-Za-z_][A-Za-z_0-9]*$";
    const sp_json *service = sp_json_get(method, "service"), *name = sp_json_get(method, "method");
    sp_arena *a = at->admit->arena;
    if (!method) return;
    if (!service && !name)
        sp_say_invalid(at, "method", method,
                       "One or both of 'service' or 'method' must be specified");
    if (is_z(method, "type", "RegularExpression")) return;
    if (service && !text_matches(a, service_chars, sp_json_str(service)))
        sp_say_invalid(at, "method", method,
                       "service must only contain valid characters (matching %s)", service_chars);
    if (name && !text_matches(a, method_chars, sp_json_str(name)))
        sp_say_invalid(at, "method", method,
                       "method must only contain valid characters (matching %s)", method_chars);
}

static void check_grpc_rule(const sp_at *at, const sp_json *rule) {
    sp_at list = sp_at_key(at, "matches");
    size_t i = 0;
    sp_json_each(sp_json_get(rule, "matches"), it) {
        sp_at item = sp_at_item(&list, i++);
        check_grpc_method(&item, sp_json_get(it, "method"));
    }
    check_filters(at, rule);
    check_backends(at, rule);
    check_session(at, sp_json_get(rule, "sessionPersistence"));
}

/* --- both --- */

static bool validate_route(sp_admit *a, void (*check)(const sp_at *at, const sp_json *rule)) {
    enum { MAX_MATCHES = 128 };
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec"), list = sp_at_key(&at, "rules");
    const sp_json *spec = sp_json_get(a->obj, "spec"), *rules = sp_json_get(spec, "rules");
    size_t i = 0, matches = 0;
    if (a->subresource.n) return true;
    sp_gw_check_parents(&at, spec);
    sp_gw_check_hostnames(&at, spec);
    sp_gw_check_rule_names(&at, spec);
    sp_json_each(rules, it) {
        sp_at item = sp_at_item(&list, i++);
        matches += count_of(sp_json_get(it, "matches"));
        check(&item, it);
    }
    if (matches > MAX_MATCHES)
        sp_say_invalid(&at, "rules", rules,
                       "While 16 rules and 64 matches per rule are allowed, the total number of "
                       "matches across all rules in a route must be less than 128");
    return true;
}

bool sp_validate_http_route(sp_admit *a, sp_err *err) {
    return validate_route(a, check_http_rule);
}
bool sp_validate_grpc_route(sp_admit *a, sp_err *err) {
    return validate_route(a, check_grpc_rule);
}
