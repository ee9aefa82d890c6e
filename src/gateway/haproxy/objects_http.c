/* Rules as HTTPRoutes, TLSRoutes and TCPRoutes. Rules in a row that share host names and
 * annotations make one HTTPRoute; sampan.dev/precedence keeps the order of all of them. */
#include "gateway/haproxy/objects.h"
#include "gateway/http_value.h"
#include "net/http.h"

#include <stdio.h>

enum {
    MAX_PATH_MATCH = 1024,
    MAX_QUERY_MATCH = 1024,
    MAX_HEADER_MATCH = 4096,
    MAX_ROUTE_RULES = 16,
    MAX_PARENTS = 32
};

/* --- matches --- */

static sp_str quoted(sp_arena *a, sp_str s) {
    sp_auto(sp_buf) b = {0};
    for (size_t i = 0; i < s.n; i++) {
        if (strchr("\\^$.|?*+()[]{}#", s.p[i])) sp_buf_addc(&b, '\\');
        sp_buf_addc(&b, s.p[i]);
    }
    return sp_arena_str(a, sp_buf_str(&b));
}

/* Names as a pattern over the Host header: "*.a.b" is any beginning. */
static sp_str hosts_pattern(sp_arena *a, const sp_strs *hosts) {
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "(?i)(?:");
    sp_vec_each(hosts, h) {
        bool wild = h->p[0] == '*';
        if (h != hosts->p) sp_buf_addc(&b, '|');
        if (wild) sp_buf_addz(&b, ".+");
        sp_buf_add(&b, quoted(a, sp_str_from(*h, wild)));
    }
    sp_buf_addz(&b, ")(?::\\d+)?");
    return sp_arena_str(a, sp_buf_str(&b));
}

/* Several conditions on one text: a match may name it once only. */
typedef struct text_match {
    sp_hap_atom_kind kind;
    sp_str name, value;
    bool literal;
    unsigned line;
} text_match;
typedef SP_VEC(text_match) text_matches;

static sp_str as_pattern(sp_arena *a, const text_match *m) {
    return m->literal ? quoted(a, m->value) : m->value;
}

static void add_text(sp_hap *h, text_matches *list, const text_match *m) {
    sp_vec_each(list, old) {
        if (old->kind != m->kind || !sp_str_eq(old->name, m->name)) continue;
        old->value =
            sp_arena_printf(h->arena, "(?=(?:%.*s)$)(?:%.*s)", SP_ARG(as_pattern(h->arena, old)),
                            SP_ARG(as_pattern(h->arena, m)));
        old->literal = false;
        return;
    }
    sp_vec_push(list, *m);
}

/* What objects take as an exact path. */
static bool is_plain_path(sp_str s) {
    static const char *const never[] = {"//", "/./", "/../", "%2f", "%2F", "#"};
    static const char extra[] = "-._~!$&'()*+,;=:@/";
    if (!s.n || s.p[0] != '/' || sp_str_ends(s, SP_STR("/..")) || sp_str_ends(s, SP_STR("/.")))
        return false;
    for (size_t i = 0; i < SP_COUNT(never); i++)
        if (sp_str_find(s, sp_str_z(never[i])) >= 0) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && !strchr(extra, c)) return false;
    }
    return true;
}

static void too_long(sp_hap *h, const text_match *m, size_t max) {
    if (m->value.n > max)
        sp_hap_error(h, m->line,
                     "the conditions here make a pattern of %zu characters; an object "
                     "takes %zu: put fewer values into one rule",
                     m->value.n, max);
}

static void emit_text(sp_hap *h, sp_json *match, const text_match *m) {
    static const char *const lists[] = {"headers", "queryParams"};
    const char *exact = m->literal ? "Exact" : "RegularExpression";
    if (m->kind == SP_ATOM_PATH) {
        bool plain = m->literal && is_plain_path(m->value);
        sp_str value = m->literal && !plain ? quoted(h->arena, m->value) : m->value;
        sp_json_set(h->arena, match, "path",
                    sp_hap_make(h, "{'type':~,'value':~}",
                                plain ? SP_STR("Exact") : SP_STR("RegularExpression"), value));
        too_long(h, m, MAX_PATH_MATCH);
        return;
    }
    bool query = m->kind == SP_ATOM_QUERY;
    if (!sp_http_is_token(m->name))
        sp_hap_error(h, m->line, "\"%.*s\" is not a name a route can ask for", SP_ARG(m->name));
    sp_json_push(
        sp_json_ensure_array(h->arena, match, lists[query]),
        sp_hap_make(h, "{'type':~,'name':~,'value':~}", sp_str_z(exact), m->name, m->value));
    too_long(h, m, query ? MAX_QUERY_MATCH : MAX_HEADER_MATCH);
}

static void emit_method(sp_hap *h, sp_json *match, const sp_hap_atom *a) {
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < SP_COUNT(known); i++) {
        if (!sp_str_eqz(a->value, known[i])) continue;
        sp_json_set_z(h->arena, match, "method", known[i]);
        return;
    }
    sp_hap_error(h, a->line, "method %.*s is not one a route can ask for", SP_ARG(a->value));
}

/* The prefix that a path edit replaces must be the path that is matched. */
static bool by_prefix(const sp_hap_rule *r, sp_str prefix) {
    size_t paths = 0;
    bool same = false;
    for (size_t i = 0; i < r->atom_count; i++) {
        if (r->atoms[i]->kind != SP_ATOM_PATH) continue;
        paths++;
        same = sp_str_eq(r->atoms[i]->prefix, prefix);
    }
    return prefix.n == 1 ? paths == 0 : paths == 1 && same;
}

typedef struct rule_parts {
    const sp_hap_atom *hosts; /* the first condition on the host: host names of the route */
    sp_str prefix;            /* matched by PathPrefix, for an edit; "" = not */
    bool varies;              /* some header's value is another one for each request */
    sp_str cut, rewrite;      /* else: cut off by a pattern's first group; what comes instead */
    unsigned line;
} rule_parts;

static sp_json *match_of(sp_hap *h, const sp_hap_rule *r, rule_parts *parts) {
    sp_json *match = sp_json_object(h->arena);
    text_matches texts = {0};
    text_match whole = {SP_ATOM_PATH, {0}, parts->cut, false, 0};
    if (parts->cut.n) add_text(h, &texts, &whole);
    if (parts->prefix.n)
        sp_json_set(h->arena, match, "path",
                    sp_hap_make(h, "{'type':'PathPrefix','value':~}", parts->prefix));
    for (size_t i = 0; i < r->atom_count; i++) {
        const sp_hap_atom *a = r->atoms[i];
        text_match m = {a->kind, a->name, a->value, a->literal, a->line};
        if (a->kind == SP_ATOM_METHOD) {
            emit_method(h, match, a);
        } else if (a->kind == SP_ATOM_HOST && !parts->hosts && a->hosts.n <= MAX_ROUTE_RULES) {
            parts->hosts = a;
        } else if (a->kind == SP_ATOM_HOST) {
            m = (text_match){SP_ATOM_HEADER, SP_STR("host"), hosts_pattern(h->arena, &a->hosts),
                             false, a->line};
            add_text(h, &texts, &m);
        } else if (!(a->kind == SP_ATOM_PATH && parts->prefix.n)) {
            add_text(h, &texts, &m);
        }
    }
    sp_vec_each(&texts, m) emit_text(h, match, m);
    sp_vec_free(&texts);
    return match;
}

/* --- filters --- */

static void drop_named(sp_json *list, sp_str name) {
    size_t i = 0;
    sp_json_each(list, it) {
        sp_str n = it->type == SP_JSON_STRING ? it->text : sp_json_str(sp_json_get(it, "name"));
        if (sp_str_ieq(n, name)) {
            sp_json_remove_at(list, i);
            return;
        }
        i++;
    }
}

/* The bind line's port is the same for all requests. */
static sp_str with_port(sp_hap *h, const sp_hap_door *d, sp_str value) {
    static const sp_str port = SP_STR_INIT("%[dst_port]"), percent = SP_STR_INIT("%%");
    sp_auto(sp_buf) b = {0};
    while (value.n) {
        size_t n = 1;
        if (sp_str_starts(value, port))
            n = port.n;
        else if (sp_str_starts(value, percent))
            n = percent.n;
        if (n == port.n)
            sp_buf_u64(&b, d->port);
        else
            sp_buf_add(&b, sp_str_sub(value, 0, n));
        value = sp_str_from(value, n);
    }
    return sp_arena_str(h->arena, sp_buf_str(&b));
}

/* As the object says it. all_vary: the route's annotation is on, so a percent sign is two. */
static sp_str header_value(sp_hap *h, const sp_hap_door *d, const sp_hap_step *s, bool all_vary) {
    sp_auto(sp_buf) b = {0};
    sp_err err = {0};
    sp_str value = with_port(h, d, s->value);
    bool varies;
    if (s->varies && all_vary && !s->response) return value;
    if (s->varies) sp_assert(sp_value_compile(h->arena, value, &value, &varies, &err));
    if (!all_vary || s->response) return value;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '%') sp_buf_addc(&b, '%');
        sp_buf_addc(&b, value.p[i]);
    }
    return sp_arena_str(h->arena, sp_buf_str(&b));
}

/* A variable is what the client sent; lines before it must not have changed that. */
static void check_order(sp_hap *h, const sp_hap_rule *r, size_t at, sp_str compiled) {
    const sp_hap_step *s = r->edits[at];
    for (size_t i = 0; i < at; i++) {
        const sp_hap_step *before = r->edits[i];
        if (before->response || !sp_value_reads(compiled, sp_hap_lower(h->arena, before->name)))
            continue;
        sp_hap_error(h, s->line,
                     "\"%.*s\" is what the client sent, not what line %u makes of %.*s: put this "
                     "line first",
                     SP_ARG(s->value), before->line, SP_ARG(before->name));
    }
    if (r->path && r->path->line < s->line && sp_value_reads_path(compiled))
        sp_hap_error(h, s->line,
                     "\"%.*s\" is the path that the client sent, not what line %u makes of it: "
                     "put this line first",
                     SP_ARG(s->value), r->path->line);
}

/* Some value is another one for each request. */
static bool has_variables(sp_hap *h, const sp_hap_door *d, const sp_hap_rule *r) {
    bool any = false;
    for (size_t i = 0; i < r->edit_count; i++) {
        sp_str compiled;
        sp_err err = {0};
        bool varies;
        if (!r->edits[i]->varies || r->edits[i]->response) continue;
        sp_assert(sp_value_compile(h->arena, with_port(h, d, r->edits[i]->value), &compiled,
                                   &varies, &err));
        any |= varies;
        if (varies) check_order(h, r, i, compiled);
    }
    return any;
}

/* Objects remove first, then set, then add; so a later line takes back what it overrides. */
static void add_edit(sp_hap *h, const sp_hap_door *d, sp_json *filter, const sp_hap_step *s,
                     bool all_vary) {
    static const char *const lists[] = {"set", "add", "remove"};
    size_t which = s->kind == SP_STEP_SET ? 0 : s->kind == SP_STEP_ADD ? 1 : 2;
    sp_str value = header_value(h, d, s, all_vary);
    if (which != 1)
        for (size_t i = 0; i < 3; i++) drop_named(sp_json_get(filter, lists[i]), s->name);
    sp_json *list = sp_json_ensure_array(h->arena, filter, lists[which]);
    if (which == 2)
        sp_json_push(list, sp_json_new_str(h->arena, s->name));
    else
        sp_json_push(list, sp_hap_make(h, "{'name':~,'value':~}", s->name, value));
    sp_json *added = sp_json_get(filter, "add");
    size_t same = 0;
    sp_json_each(added, it) same += sp_str_ieq(sp_json_str(sp_json_get(it, "name")), s->name);
    if (same > 1)
        sp_hap_error(h, s->line, "add-header %.*s twice for one request is not supported",
                     SP_ARG(s->name));
}

static void drop_empty(sp_json *filter) {
    static const char *const lists[] = {"set", "add", "remove"};
    for (size_t i = 0; i < 3; i++) {
        const sp_json *l = sp_json_get(filter, lists[i]);
        if (l && !l->count) sp_json_remove(filter, lists[i]);
    }
}

static void header_filters(sp_hap *h, const sp_hap_door *d, const sp_hap_rule *r, sp_json *filters,
                           bool all_vary) {
    static const char *const kinds[][2] = {{"RequestHeaderModifier", "requestHeaderModifier"},
                                           {"ResponseHeaderModifier", "responseHeaderModifier"}};
    for (size_t response = 0; response < 2; response++) {
        sp_json *filter = sp_json_object(h->arena);
        for (size_t i = 0; i < r->edit_count; i++)
            if (r->edits[i]->response == (response == 1))
                add_edit(h, d, filter, r->edits[i], all_vary);
        drop_empty(filter);
        if (!filter->count) continue;
        sp_json *f = sp_hap_make(h, "{'type':~}", sp_str_z(kinds[response][0]));
        sp_json_set(h->arena, f, kinds[response][1], filter);
        sp_json_push(filters, f);
    }
}

/* Other conditions on the path stand beside it: one pattern says all, and its first group is the
 * rest of the path. */
static void rewrite_by_group(sp_hap *h, rule_parts *parts, sp_str cut, sp_str with) {
    while (with.n && with.p[with.n - 1] == '/') with.n--;
    while (cut.n && cut.p[cut.n - 1] == '/') cut.n--;
    parts->cut = sp_arena_printf(h->arena, "%.*s(/.*)", SP_ARG(quoted(h->arena, cut)));
    parts->rewrite = sp_arena_printf(h->arena, "%.*s$1", SP_ARG(with));
}

static void path_filter(sp_hap *h, const sp_hap_rule *r, sp_json *filters, rule_parts *parts) {
    const sp_hap_step *s = r->path;
    if (!s || !r->backend) return;
    bool whole = s->kind == SP_STEP_PATH;
    if (!whole && !by_prefix(r, s->name)) {
        rewrite_by_group(h, parts, s->name, s->value);
        return;
    }
    if (!whole) parts->prefix = s->name;
    sp_json *path =
        whole ? sp_hap_make(h, "{'type':'ReplaceFullPath','replaceFullPath':~}", s->value)
              : sp_hap_make(h, "{'type':'ReplacePrefixMatch','replacePrefixMatch':~}", s->value);
    sp_json *f = sp_hap_make(h, "{'type':'URLRewrite','urlRewrite':{}}");
    sp_json_set(h->arena, sp_json_get(f, "urlRewrite"), "path", path);
    sp_json_push(filters, f);
}

static void redirect_filter(sp_hap *h, const sp_hap_rule *r, sp_json *filters, rule_parts *parts) {
    const sp_hap_target *t = &r->redirect->target;
    sp_json *to = sp_hap_make(h, "{'statusCode':#}", (unsigned)r->redirect->status);
    if (t->scheme.n) sp_json_set(h->arena, to, "scheme", sp_json_new_str(h->arena, t->scheme));
    if (t->host.n)
        sp_json_set(h->arena, to, "hostname",
                    sp_json_new_str(h->arena, sp_hap_lower(h->arena, t->host)));
    if (t->port) sp_json_set_int(h->arena, to, "port", t->port);
    bool prefix = t->prefix && t->path.n && !sp_str_eqz(t->path, "/");
    if (prefix && !by_prefix(r, SP_STR("/"))) {
        rewrite_by_group(h, parts, SP_STR("/"), t->path);
    } else if (prefix) {
        parts->prefix = SP_STR("/");
        sp_json_set(
            h->arena, to, "path",
            sp_hap_make(h, "{'type':'ReplacePrefixMatch','replacePrefixMatch':~}", t->path));
    }
    sp_json *f = sp_hap_make(h, "{'type':'RequestRedirect'}");
    sp_json_set(h->arena, f, "requestRedirect", to);
    sp_json_push(filters, f);
}

/* --- what all rules of one route share --- */

static void annotate(sp_hap *h, sp_json *notes, const char *key, sp_str value) {
    sp_json_set(h->arena, notes, key, sp_json_new_str(h->arena, value));
}

static sp_json *annotations_of(sp_hap *h, const sp_hap_rule *r) {
    sp_json *notes = sp_json_object(h->arena);
    const sp_hap_step *answer = r->answer;
    if (r->redirect && r->redirect->target.location.n) {
        annotate(h, notes, "sampan.dev/answer",
                 sp_arena_printf(h->arena, "%u", r->redirect->status));
        annotate(h, notes, "sampan.dev/answer-location", r->redirect->target.location);
    } else if (answer) {
        annotate(h, notes, "sampan.dev/answer", sp_arena_printf(h->arena, "%u", answer->status));
        if (answer->value.n) annotate(h, notes, "sampan.dev/answer-body", answer->value);
    } else if (!r->backend && !r->redirect) {
        annotate(h, notes, "sampan.dev/answer", SP_STR("503"));
    }
    return notes;
}

static void backend_parts(sp_hap *h, const sp_hap_rule *r, sp_json *rule) {
    sp_json *refs = sp_json_array(h->arena);
    if (!r->backend) return;
    sp_json_push(refs, sp_hap_backend_ref(h, r->backend));
    sp_json_set(h->arena, rule, "backendRefs", refs);
}

static sp_json *rule_of(sp_hap *h, const sp_hap_door *d, const sp_hap_rule *r, rule_parts *parts) {
    sp_json *rule = sp_json_object(h->arena), *filters = sp_json_array(h->arena);
    sp_json *matches = sp_json_array(h->arena);
    parts->varies = has_variables(h, d, r);
    header_filters(h, d, r, filters, parts->varies);
    if (r->redirect && !r->redirect->target.location.n)
        redirect_filter(h, r, filters, parts);
    else
        path_filter(h, r, filters, parts);
    sp_json *match = match_of(h, r, parts);
    if (match->count) {
        sp_json_push(matches, match);
        sp_json_set(h->arena, rule, "matches", matches);
    }
    if (filters->count) sp_json_set(h->arena, rule, "filters", filters);
    backend_parts(h, r, rule);
    return rule;
}

/* --- routes --- */

void sp_hap_attach(sp_hap *h, sp_json *route, const sp_hap_door *d) {
    sp_json *parents = sp_json_ensure_array(
        h->arena, sp_json_ensure_object(h->arena, route, "spec"), "parentRefs");
    sp_json_push(parents, sp_hap_make(h, "{'name':~,'sectionName':~}", d->gateway, d->listener));
}

/* Everything but its name and its parents. */
static sp_str identity(sp_hap *h, const sp_hap_door *d, const sp_json *route) {
    sp_auto(sp_buf) b = {0};
    const sp_json *spec = sp_json_get(route, "spec");
    sp_buf_printf(&b, "%p %.*s ", (const void *)d->front,
                  SP_ARG(sp_json_str(sp_json_get(route, "kind"))));
    static const char *const parts[] = {"hostnames", "rules"};
    for (size_t i = 0; i < 2; i++)
        if (sp_json_get(spec, parts[i])) sp_json_write(&b, sp_json_get(spec, parts[i]));
    const sp_json *notes = sp_json_dig(route, "metadata", "annotations", NULL);
    if (notes) sp_json_write(&b, notes);
    return sp_arena_str(h->arena, sp_buf_str(&b));
}

void sp_hap_emit_route(sp_hap *h, const sp_hap_door *d, sp_json *route) {
    sp_str key = identity(h, d, route);
    sp_json *twin = sp_map_get(&h->routes, key);
    if (twin && sp_json_dig(twin, "spec", "parentRefs", NULL)->count < MAX_PARENTS) {
        sp_hap_attach(h, twin, d);
        return;
    }
    sp_hap_attach(h, route, d);
    sp_map_put(&h->routes, key, route);
    sp_hap_emit(h, route);
}

static bool same_list(const sp_strs *a, const sp_strs *b) {
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) same = sp_str_eq(a->p[i], b->p[i]);
    return same;
}

static bool same_access(const sp_hap_rule *a, const sp_hap_rule *b) {
    return same_list(&a->allowed, &b->allowed) && same_list(&a->denied, &b->denied);
}

static bool same(const sp_json *a, const sp_json *b) {
    return (!a && !b) || (a && b && sp_json_equal(a, b));
}

static sp_json *new_route(sp_hap *h, const sp_hap_door *d, sp_json *hosts, sp_json *notes,
                          size_t number, bool ranked) {
    sp_str name = sp_arena_printf(h->arena, "%.*s-%.*s", SP_ARG(d->front->id), SP_ARG(d->listener));
    if (ranked) name = sp_arena_printf(h->arena, "%.*s-%zu", SP_ARG(name), number);
    sp_json *route = sp_hap_object(h, "gateway.networking.k8s.io/v1", "HTTPRoute", name);
    if (ranked)
        annotate(h, notes, "sampan.dev/precedence", sp_arena_printf(h->arena, "%zu", number));
    if (notes->count) sp_json_set(h->arena, sp_json_get(route, "metadata"), "annotations", notes);
    sp_json *spec = sp_json_set(h->arena, route, "spec", sp_json_object(h->arena));
    if (hosts) sp_json_set(h->arena, spec, "hostnames", hosts);
    sp_json_set(h->arena, spec, "rules", sp_json_array(h->arena));
    return route;
}

static sp_json *host_names(sp_hap *h, const sp_hap_atom *a) {
    if (!a) return NULL;
    sp_json *list = sp_json_array(h->arena);
    sp_vec_each(&a->hosts, it) sp_json_push(list, sp_json_new_str(h->arena, *it));
    return list;
}

/* A route under way: what its rules share. */
typedef struct pending {
    sp_json *route, *hosts, *notes;
    const sp_hap_rule *first;
} pending;

static bool fits(const pending *p, const sp_hap_rule *r, const sp_json *hosts,
                 const sp_json *notes) {
    return p->route && sp_json_dig(p->route, "spec", "rules", NULL)->count < MAX_ROUTE_RULES &&
           same(hosts, p->hosts) && same(notes, p->notes) && same_access(p->first, r);
}

/* An own access list keeps a route from being shared between listeners by mistake: its policy
 * names it. */
static void finish_route(sp_hap *h, const sp_hap_door *d, pending *p) {
    if (!p->route) return;
    bool limited = p->first->allowed.n || p->first->denied.n;
    if (limited)
        sp_hap_route_policy(h, d->front,
                            sp_json_str(sp_json_dig(p->route, "metadata", "name", NULL)),
                            &p->first->allowed, &p->first->denied);
    if (limited) {
        sp_hap_attach(h, p->route, d);
        sp_hap_emit(h, p->route);
    } else {
        sp_hap_emit_route(h, d, p->route);
    }
}

void sp_hap_http_routes(sp_hap *h, const sp_hap_door *d, const sp_hap_rules *rules) {
    pending p = {0};
    size_t number = 0;
    sp_vec_each(rules, r) {
        rule_parts parts = {0};
        sp_json *rule = rule_of(h, d, r, &parts);
        sp_json *hosts = host_names(h, parts.hosts), *notes = annotations_of(h, r);
        if (parts.rewrite.n) annotate(h, notes, "sampan.dev/rewrite-path", parts.rewrite);
        if (parts.varies) annotate(h, notes, "sampan.dev/request-header-variables", SP_STR("true"));
        if (!fits(&p, r, hosts, notes)) {
            finish_route(h, d, &p);
            p = (pending){.hosts = hosts, .notes = sp_json_clone(h->arena, notes), .first = r};
            p.route = new_route(h, d, hosts ? sp_json_clone(h->arena, hosts) : NULL, notes,
                                ++number, rules->n > 1);
        }
        sp_json_push(sp_json_dig(p.route, "spec", "rules", NULL), rule);
    }
    finish_route(h, d, &p);
}

/* --- connections --- */

static sp_json *connection_route(sp_hap *h, const sp_hap_door *d, const sp_hap_rule *r,
                                 const char *kind, size_t number) {
    sp_str name = sp_arena_printf(h->arena, "%.*s-%.*s", SP_ARG(d->front->id), SP_ARG(d->listener));
    if (number > 1) name = sp_arena_printf(h->arena, "%.*s-%zu", SP_ARG(name), number);
    sp_json *route = sp_hap_object(h, "gateway.networking.k8s.io/v1", kind, name);
    sp_json *rule = sp_json_object(h->arena), *rules = sp_json_array(h->arena);
    sp_json *notes = annotations_of(h, r);
    if (notes->count) sp_json_set(h->arena, sp_json_get(route, "metadata"), "annotations", notes);
    backend_parts(h, r, rule);
    sp_json_push(rules, rule);
    sp_json_set(h->arena, sp_json_set(h->arena, route, "spec", sp_json_object(h->arena)), "rules",
                rules);
    return route;
}

static bool name_is_taken(const sp_strs *taken, sp_str name) {
    sp_vec_each(taken, t) {
        bool wild = t->p[0] == '*';
        if (sp_str_eq(*t, name) || (wild && sp_str_ends(name, sp_str_from(*t, 1)))) return true;
    }
    return false;
}

/* Objects choose the most specific name, the file the first line: what an earlier line takes whole
 * is left out. */
static sp_json *server_names(sp_hap *h, const sp_hap_rule *r, sp_strs *taken) {
    sp_json *list = sp_json_array(h->arena);
    for (size_t i = 0; i < r->atom_count; i++) {
        const sp_hap_atom *a = r->atoms[i];
        if (a->kind != SP_ATOM_SNI) continue;
        if (list->count) sp_hap_error(h, a->line, "two conditions on the server name in one line");
        sp_vec_each(&a->hosts, name) {
            if (name_is_taken(taken, *name)) {
                sp_hap_warn(h, a->line, "server name %.*s never comes here: a line above takes it",
                            SP_ARG(*name));
                continue;
            }
            sp_json_push(list, sp_json_new_str(h->arena, *name));
            sp_vec_push(taken, *name);
        }
    }
    return list;
}

static bool names_servers(const sp_hap_rule *r) {
    for (size_t i = 0; i < r->atom_count; i++)
        if (r->atoms[i]->kind == SP_ATOM_SNI) return true;
    return false;
}

void sp_hap_tcp_routes(sp_hap *h, const sp_hap_door *d, const sp_hap_rules *rules, bool sni) {
    sp_strs taken = {0};
    size_t number = 0;
    sp_vec_each(rules, r) {
        if (r->answer) {
            sp_hap_error(h, r->answer->line,
                         "in mode tcp only clients' addresses are rejected: "
                         "\"reject if { src … }\"");
            continue;
        }
        if (!r->backend) {
            sp_hap_warn(h, d->front->line,
                        "frontend \"%.*s\" has no default_backend: other clients "
                        "are turned away",
                        SP_ARG(d->front->name));
            continue;
        }
        sp_json *names = server_names(h, r, &taken);
        if (names_servers(r) && !names->count) continue;
        sp_json *route = connection_route(h, d, r, sni ? "TLSRoute" : "TCPRoute", ++number);
        if (names->count) sp_json_set(h->arena, sp_json_get(route, "spec"), "hostnames", names);
        sp_hap_emit_route(h, d, route);
    }
    sp_vec_free(&taken);
}
