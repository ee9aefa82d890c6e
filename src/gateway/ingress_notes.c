/* See ingress_notes.h. */
#include "gateway/ingress_notes.h"

#define PREFIX "nginx.ingress.kubernetes.io/"

typedef struct reader {
    sp_arena *arena;
    sp_ingress_notes *to;
} reader;

/* --- values --- */

static bool read_bool(sp_str s, bool *ret) {
    *ret = sp_str_eqz(s, "true");
    return *ret || sp_str_eqz(s, "false");
}

static bool read_u32(sp_str s, uint32_t max, uint32_t *ret) {
    uint64_t v;
    if (!sp_str_u64(sp_str_trim(s), &v) || v > max) return false;
    *ret = (uint32_t)v;
    return true;
}

/* "60" or "60s". */
static bool read_seconds(sp_str s, uint32_t *ret_ms) {
    uint32_t v;
    s = sp_str_trim(s);
    if (s.n && s.p[s.n - 1] == 's') s.n--;
    if (!read_u32(s, 86400, &v)) return false;
    *ret_ms = v * 1000;
    return true;
}

/* nginx's sizes: 8m, 512k, 1g, bytes; 0 = no limit. */
static bool read_size(sp_str s, uint64_t *ret) {
    uint64_t unit = 1, v;
    s = sp_str_trim(s);
    if (!s.n) return false;
    switch (s.p[s.n - 1] | 0x20) {
    case 'k': unit = 1024; break;
    case 'm': unit = 1024 * 1024; break;
    case 'g': unit = 1024 * 1024 * 1024; break;
    default: break;
    }
    if (unit > 1) s.n--;
    if (!sp_str_u64(s, &v) || v > UINT64_MAX / unit) return false;
    *ret = v * unit;
    return true;
}

static bool read_networks(sp_arena *a, sp_str s, sp_cidr **ret, size_t *ret_n) {
    size_t cap = 1;
    for (size_t i = 0; i < s.n; i++) cap += s.p[i] == ',';
    sp_cidr *list = sp_arena_alloc(a, cap * sizeof *list);
    *ret_n = 0;
    for (sp_str part, rest = s; sp_str_cut(&rest, ',', &part);) {
        sp_addr ip;
        part = sp_str_trim(part);
        if (!sp_cidr_parse(part, &list[*ret_n])) {
            if (!sp_addr_parse(part, 0, &ip)) return false;
            list[*ret_n] = (sp_cidr){ip, ip.family == AF_INET ? 32 : 128};
        }
        ++*ret_n;
    }
    *ret = list;
    return *ret_n > 0;
}

static bool read_list(sp_arena *a, sp_str s, sp_str **ret, size_t *ret_n) {
    size_t cap = 1;
    for (size_t i = 0; i < s.n; i++) cap += s.p[i] == ',';
    sp_str *list = sp_arena_alloc(a, cap * sizeof *list);
    *ret_n = 0;
    for (sp_str part, rest = s; sp_str_cut(&rest, ',', &part);)
        if (sp_str_trim(part).n) list[(*ret_n)++] = sp_arena_str(a, sp_str_trim(part));
    *ret = list;
    return true;
}

/* --- one function for each annotation; false: the value makes no sense --- */

#define NOTE(name) static bool note_##name(reader *r, sp_str s)

NOTE(ssl_redirect) {
    bool on;
    if (!read_bool(s, &on)) return false;
    r->to->no_ssl_redirect = !on;
    return true;
}
NOTE(force_ssl_redirect) {
    return read_bool(s, &r->to->force_ssl_redirect);
}
NOTE(use_regex) {
    return read_bool(s, &r->to->use_regex);
}
NOTE(rewrite_target) {
    r->to->rewrite = sp_arena_str(r->arena, s);
    return s.n && (s.p[0] == '/' || s.p[0] == '$');
}
NOTE(app_root) {
    r->to->app_root = sp_arena_str(r->arena, s);
    return s.n && s.p[0] == '/';
}
NOTE(permanent_redirect) {
    r->to->redirect_to = sp_arena_str(r->arena, s);
    if (!r->to->redirect_code) r->to->redirect_code = 301;
    return sp_str_starts(s, SP_STR("http://")) || sp_str_starts(s, SP_STR("https://"));
}
NOTE(permanent_redirect_code) {
    uint32_t code;
    if (!read_u32(s, 308, &code) || code < 300) return false;
    r->to->redirect_code = (uint16_t)code;
    return true;
}
NOTE(temporal_redirect) {
    r->to->redirect_code = 302;
    return note_permanent_redirect(r, s);
}
NOTE(proxy_body_size) {
    return read_size(s, &r->to->max_body_bytes);
}
NOTE(proxy_read_timeout) {
    r->to->has_pool = true;
    return read_seconds(s, &r->to->pool.response_timeout_ms);
}
NOTE(proxy_connect_timeout) {
    r->to->has_pool = true;
    return read_seconds(s, &r->to->pool.connect_timeout_ms);
}
NOTE(affinity) {
    sp_sticky_spec *sticky = &r->to->pool.sticky;
    r->to->has_pool = true;
    if (!sticky->cookie.n) sticky->cookie = SP_STR("INGRESSCOOKIE");
    return sp_str_eqz(s, "cookie");
}
NOTE(affinity_mode) { /* ours is always kept while its server lives */
    return sp_str_eqz(s, "balanced") || sp_str_eqz(s, "persistent");
}
NOTE(session_cookie_name) {
    r->to->pool.sticky.cookie = sp_arena_str(r->arena, s);
    return sp_http_is_token(s);
}
NOTE(session_cookie_max_age) {
    uint32_t ms;
    if (!read_seconds(s, &ms)) return false;
    r->to->pool.sticky.ttl_ms = ms;
    return true;
}
NOTE(session_cookie_secure) {
    return read_bool(s, &r->to->pool.sticky.secure);
}
NOTE(backend_protocol) {
    sp_upstream_tls *tls = SP_NEW(r->arena, sp_upstream_tls);
    tls->insecure = true; /* as ingress-nginx: nobody says how to verify it */
    r->to->has_pool = true;
    if (sp_str_ieq(s, SP_STR("HTTPS")) || sp_str_ieq(s, SP_STR("GRPCS"))) {
        r->to->pool.tls = tls;
        return true;
    }
    if (sp_str_ieq(s, SP_STR("GRPC"))) {
        r->to->pool.protocol = SP_BACKEND_H2C;
        return true;
    }
    return sp_str_ieq(s, SP_STR("HTTP"));
}
NOTE(whitelist) {
    return read_networks(r->arena, s, &r->to->allowed, &r->to->allowed_count);
}
NOTE(denylist) {
    return read_networks(r->arena, s, &r->to->denied, &r->to->denied_count);
}
NOTE(canary) {
    return read_bool(s, &r->to->canary);
}
NOTE(canary_weight) {
    return read_u32(s, 1000000, &r->to->canary_weight);
}
NOTE(canary_weight_total) {
    return read_u32(s, 1000000, &r->to->canary_total) && r->to->canary_total;
}
NOTE(canary_by_header) {
    r->to->canary_header = sp_translate_lower(r->arena, s);
    return sp_http_is_token(s);
}
NOTE(canary_by_header_value) {
    r->to->canary_value = sp_arena_str(r->arena, s);
    return s.n > 0;
}
NOTE(canary_by_cookie) {
    r->to->canary_cookie = sp_arena_str(r->arena, s);
    return sp_http_is_token(s);
}
NOTE(enable_cors) {
    return read_bool(s, &r->to->cors_on);
}
NOTE(cors_allow_origin) {
    return read_list(r->arena, s, &r->to->cors.origins, &r->to->cors.origin_count);
}
NOTE(cors_allow_methods) {
    return read_list(r->arena, s, &r->to->cors.methods, &r->to->cors.method_count);
}
NOTE(cors_allow_headers) {
    return read_list(r->arena, s, &r->to->cors.request_headers, &r->to->cors.request_header_count);
}
NOTE(cors_expose_headers) {
    return read_list(r->arena, s, &r->to->cors.exposed, &r->to->cors.exposed_count);
}
NOTE(cors_allow_credentials) {
    return read_bool(s, &r->to->cors.credentials);
}
NOTE(cors_max_age) {
    return read_u32(s, UINT32_MAX, &r->to->cors.max_age_s);
}
NOTE(limit_rps) {
    return read_u32(s, 10000000, &r->to->limit_rps);
}
NOTE(limit_rpm) {
    return read_u32(s, 10000000, &r->to->limit_rpm);
}
NOTE(limit_burst) {
    return read_u32(s, 1000, &r->to->limit_burst);
}

/* One of nginx's variables; text around it is not carried out. */
NOTE(upstream_hash_by) {
    static const struct {
        const char *prefix;
        sp_hash_by by;
        bool named;
    } rows[] = {{"$http_", SP_HASH_HEADER, true},
                {"$cookie_", SP_HASH_COOKIE, true},
                {"$arg_", SP_HASH_QUERY, true},
                {"$request_uri", SP_HASH_PATH, false},
                {"$uri", SP_HASH_PATH, false},
                {"$remote_addr", SP_HASH_SOURCE, false},
                {"$binary_remote_addr", SP_HASH_SOURCE, false}};
    sp_pool_spec *p = &r->to->pool;
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_str prefix = sp_str_z(rows[i].prefix);
        if (rows[i].named ? !sp_str_starts(s, prefix) : !sp_str_eq(s, prefix)) continue;
        p->algorithm = SP_BALANCE_HASH;
        p->hash_by = rows[i].by;
        p->hash_name = sp_arena_str(r->arena, sp_str_from(s, prefix.n));
        for (size_t k = 0; rows[i].by == SP_HASH_HEADER && k < p->hash_name.n; k++)
            if (p->hash_name.p[k] == '_') ((char *)(uintptr_t)p->hash_name.p)[k] = '-';
        r->to->has_pool = true;
        return !rows[i].named || p->hash_name.n;
    }
    return false;
}

static const struct {
    const char *name;
    bool (*read)(reader *r, sp_str s);
} notes[] = {
    {"affinity", note_affinity},
    {"affinity-mode", note_affinity_mode},
    {"allowlist-source-range", note_whitelist},
    {"app-root", note_app_root},
    {"backend-protocol", note_backend_protocol},
    {"canary", note_canary},
    {"canary-by-cookie", note_canary_by_cookie},
    {"canary-by-header", note_canary_by_header},
    {"canary-by-header-value", note_canary_by_header_value},
    {"canary-weight", note_canary_weight},
    {"canary-weight-total", note_canary_weight_total},
    {"cors-allow-credentials", note_cors_allow_credentials},
    {"cors-allow-headers", note_cors_allow_headers},
    {"cors-allow-methods", note_cors_allow_methods},
    {"cors-allow-origin", note_cors_allow_origin},
    {"cors-expose-headers", note_cors_expose_headers},
    {"cors-max-age", note_cors_max_age},
    {"denylist-source-range", note_denylist},
    {"enable-cors", note_enable_cors},
    {"force-ssl-redirect", note_force_ssl_redirect},
    {"limit-burst-multiplier", note_limit_burst},
    {"limit-rpm", note_limit_rpm},
    {"limit-rps", note_limit_rps},
    {"permanent-redirect", note_permanent_redirect},
    {"permanent-redirect-code", note_permanent_redirect_code},
    {"proxy-body-size", note_proxy_body_size},
    {"proxy-connect-timeout", note_proxy_connect_timeout},
    {"proxy-read-timeout", note_proxy_read_timeout},
    {"rewrite-target", note_rewrite_target},
    {"session-cookie-expires", note_session_cookie_max_age},
    {"session-cookie-max-age", note_session_cookie_max_age},
    {"session-cookie-name", note_session_cookie_name},
    {"session-cookie-secure", note_session_cookie_secure},
    {"ssl-redirect", note_ssl_redirect},
    {"temporal-redirect", note_temporal_redirect},
    {"upstream-hash-by", note_upstream_hash_by},
    {"use-regex", note_use_regex},
    {"whitelist-source-range", note_whitelist},
};

/* --- the whole --- */

static void tell(reader *r, sp_problems *problems, const char *reason, sp_str key, sp_str value) {
    if (!problems) return;
    bool unknown = sp_str_eqz(sp_str_z(reason), "AnnotationNotSupported");
    sp_problem p = {reason,
                    sp_arena_printf(r->arena, "annotation %.*s: %s%.*s%s", SP_ARG(key),
                                    unknown ? "" : "\"", SP_ARG(unknown ? SP_STR("") : value),
                                    unknown ? "this gateway does not carry it out; "
                                              "everything else of the Ingress is served"
                                            : "\" is no value this gateway can carry out")};
    sp_vec_push(problems, p);
}

static void read_note(reader *r, sp_str key, sp_str value, sp_problems *problems) {
    sp_str name = sp_str_from(key, sizeof PREFIX - 1);
    for (size_t i = 0; i < SP_COUNT(notes); i++) {
        if (!sp_str_eqz(name, notes[i].name)) continue;
        sp_ingress_notes before = *r->to;
        if (sp_http_is_value(value) && notes[i].read(r, sp_str_trim(value))) return;
        *r->to = before; /* as if it were not there */
        tell(r, problems, "AnnotationInvalid", key, value);
        return;
    }
    tell(r, problems, "AnnotationNotSupported", key, value);
}

/* What ingress-nginx allows when nothing else is said. */
static void default_cors(sp_arena *a, sp_cors_spec *c, bool credentials_given) {
    if (!c->origin_count) read_list(a, SP_STR("*"), &c->origins, &c->origin_count);
    if (!c->method_count)
        read_list(a, SP_STR("GET,PUT,POST,DELETE,PATCH,OPTIONS"), &c->methods, &c->method_count);
    if (!c->request_header_count)
        read_list(a,
                  SP_STR("DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,"
                         "Cache-Control,Content-Type,Range,Authorization"),
                  &c->request_headers, &c->request_header_count);
    if (!credentials_given) c->credentials = true;
    if (!c->max_age_s) c->max_age_s = 1728000;
}

void sp_ingress_notes_read(sp_arena *a, const sp_json *ingress, sp_ingress_notes *ret,
                           sp_problems *problems) {
    *ret = (sp_ingress_notes){.canary_total = 100, .limit_burst = 5};
    reader r = {a, ret};
    const sp_json *all = sp_json_dig(ingress, "metadata", "annotations", NULL);
    sp_json_each(all, it) {
        if (sp_str_starts(it->key, SP_STR(PREFIX)))
            read_note(&r, it->key, sp_json_str(it), problems);
    }
    if (ret->cors_on)
        default_cors(a, &ret->cors, sp_json_get(all, PREFIX "cors-allow-credentials") != NULL);
    if (!sp_json_get(all, PREFIX "affinity")) ret->pool.sticky = (sp_sticky_spec){0};
}

static void set_limits(sp_arena *a, const sp_ingress_notes *n, sp_str owner, sp_route_action *act) {
    const struct {
        uint32_t requests, period_ms;
        const char *unit;
    } rows[] = {{n->limit_rps, 1000, "rps"}, {n->limit_rpm, 60000, "rpm"}};
    act->limits = sp_arena_alloc(a, 2 * sizeof *act->limits);
    for (size_t i = 0; i < 2; i++)
        if (rows[i].requests)
            act->limits[act->limit_count++] =
                (sp_rate_limit){.name = sp_arena_printf(a, "%.*s %s", SP_ARG(owner), rows[i].unit),
                                .by = SP_LIMIT_BY_SOURCE,
                                .requests = rows[i].requests,
                                .period_ms = rows[i].period_ms,
                                .burst = rows[i].requests * SP_MAX(n->limit_burst, 1u)};
}

/* "https://host:port/path": the request goes there as it says. */
static void set_redirect(sp_arena *a, sp_str url, uint16_t code, sp_route_action *act) {
    ptrdiff_t colon = sp_str_chr(url, ':');
    sp_str rest = sp_str_from(url, (size_t)colon + 3);
    ptrdiff_t slash = sp_str_chr(rest, '/');
    sp_str host = slash < 0 ? rest : sp_str_sub(rest, 0, (size_t)slash);
    ptrdiff_t port = sp_str_rchr(host, ':');
    uint64_t number = 0;
    if (port > 0 && sp_str_u64(sp_str_from(host, (size_t)port + 1), &number))
        host = sp_str_sub(host, 0, (size_t)port);
    act->redirect_status = code;
    act->redirect_scheme = sp_str_sub(url, 0, (size_t)colon);
    act->redirect_port = number < 65536 ? (uint16_t)number : 0;
    act->host = sp_arena_str(a, host);
    act->path_edit = SP_PATH_REPLACE_ALL;
    act->path = slash < 0 ? SP_STR("/") : sp_str_from(rest, (size_t)slash);
}

void sp_ingress_notes_apply(sp_arena *a, const sp_ingress_notes *n, sp_str owner,
                            sp_route_action *act) {
    act->allowed = n->allowed;
    act->allowed_count = n->allowed_count;
    act->denied = n->denied;
    act->denied_count = n->denied_count;
    act->max_body_bytes = n->max_body_bytes;
    if (n->limit_rps || n->limit_rpm) set_limits(a, n, owner, act);
    if (n->cors_on) act->cors = &n->cors;
    if (n->redirect_to.n) set_redirect(a, n->redirect_to, n->redirect_code, act);
}
