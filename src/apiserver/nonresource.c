/* Everything that is no object: health, version, metrics, discovery, OpenAPI. */
#include "apiserver/backup.h"
#include "apiserver/cluster.h"
#include "apiserver/server.h"
#include "apiserver/tunnel.h"
#include "base/clock.h"

#include <stdio.h>
#include <sys/utsname.h>

/* Clients compare this with their own version; 1.30 is what our behaviour follows. */
#define GIT_VERSION "v1.30.14+sampan"

static void not_found(sp_call *c) {
    sp_call_reply(c, 404, "text/plain; charset=utf-8", SP_STR("404 page not found\n"));
}

/* ---------- health ---------- */

static bool check_ping(const sp_apiserver *s) {
    return s != NULL;
}
static bool check_bootstrap(const sp_apiserver *s) {
    return s->ready;
}
static bool check_shutdown(const sp_apiserver *s) {
    return !s->stopping;
}
static bool check_store(const sp_apiserver *s) {
    return sp_store_revision(s->store) > 0;
}

static bool check_writes(const sp_apiserver *s) {
    return sp_store_is_writable(s->store);
}

static const struct check {
    const char *name;
    bool (*ok)(const sp_apiserver *s);
    bool live; /* also part of livez */
} checks[] = {{"ping", check_ping, true},
              {"store", check_store, true},
              {"writes", check_writes, false},
              {"bootstrap", check_bootstrap, false},
              {"shutdown", check_shutdown, false}};

static void one_check(sp_call *c, sp_str name) {
    for (size_t i = 0; i < SP_COUNT(checks); i++)
        if (sp_str_eqz(name, checks[i].name)) {
            bool ok = checks[i].ok(c->op.s);
            sp_call_reply(c, ok ? 200 : 500, "text/plain; charset=utf-8",
                          ok ? SP_STR("ok") : SP_STR("not ok"));
            return;
        }
    not_found(c);
}

static void health(sp_call *c, sp_str rest) {
    sp_str path = c->http->path, which = sp_str_sub(path, 1, path.n - 1 - rest.n);
    if (rest.n) {
        one_check(c, sp_str_from(rest, 1));
        return;
    }
    bool live_only = sp_str_eqz(which, "livez"), good = true, verbose;
    sp_auto(sp_buf) b = {0};
    for (size_t i = 0; i < SP_COUNT(checks); i++) {
        if (live_only && !checks[i].live) continue;
        bool ok = checks[i].ok(c->op.s);
        good = good && ok;
        sp_buf_printf(&b, "[%c]%s %s\n", ok ? '+' : '-', checks[i].name, ok ? "ok" : "failed");
    }
    sp_str v;
    verbose = !good || (sp_call_query(c, "verbose", &v) && !sp_str_eqz(v, "false"));
    sp_buf_printf(&b, "%.*s check %s\n", SP_ARG(which), good ? "passed" : "failed");
    sp_call_reply(c, good ? 200 : 500, "text/plain; charset=utf-8",
                  verbose ? sp_buf_str(&b) : SP_STR("ok"));
}

/* ---------- version, metrics, the index ---------- */

static const char *go_arch(const char *machine) {
    if (strcmp(machine, "x86_64") == 0) return "amd64";
    if (strcmp(machine, "aarch64") == 0) return "arm64";
    return machine;
}

static void version(sp_call *c, sp_str rest) {
    struct utsname u;
    uname(&u);
    sp_arena *a = c->op.arena;
    sp_json *v = sp_json_object(a);
    (void)rest;
    sp_json_set_z(a, v, "major", "1");
    sp_json_set_z(a, v, "minor", "30");
    sp_json_set_z(a, v, "gitVersion", GIT_VERSION);
    sp_json_set_z(a, v, "gitCommit", "");
    sp_json_set_z(a, v, "gitTreeState", "clean");
    sp_json_set_z(a, v, "buildDate", "1970-01-01T00:00:00Z");
    sp_json_set_z(a, v, "goVersion", "none");
    sp_json_set_z(a, v, "compiler", "sampan " SP_VERSION);
    sp_json_set(a, v, "platform", sp_json_printf(a, "linux/%s", go_arch(u.machine)));
    sp_call_reply_json(c, 200, v);
}

static void metrics(sp_call *c, sp_str rest) {
    sp_apiserver *s = c->op.s;
    sp_store_stats st = sp_store_get_stats(s->store);
    sp_request_gauges g = {.watches = sp_watch_hub_count(s->hub),
                           .revision = st.revision,
                           .keys = st.keys,
                           .commits = st.commits,
                           .commit_us_total = st.commit_us_total,
                           .writes = st.writes,
                           .history = st.history,
                           .db_bytes = st.db_bytes};
    sp_auto(sp_buf) b = {0};
    (void)rest;
    sp_api_metrics_write(s->metrics, &g, &b);
    sp_call_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", sp_buf_str(&b));
}

static void reply_document(sp_call *c, sp_buf *b, const char *type) {
    sp_json *j;
    if (c->pretty && sp_json_parse(c->op.arena, sp_buf_str(b), &j, NULL))
        sp_call_reply_json(c, 200, j);
    else
        sp_call_reply(c, 200, type, sp_buf_str(b));
}

static void paths(sp_call *c, sp_str rest) {
    sp_arena *a = c->op.arena;
    sp_json *doc = sp_json_object(a), *list = sp_json_ensure_array(a, doc, "paths");
    static const char *const fixed[] = {"/api",        "/api/v1",  "/apis",   "/healthz",
                                        "/livez",      "/metrics", "/readyz", "/openapi/v2",
                                        "/openapi/v3", "/version"};
    (void)rest;
    for (size_t i = 0; i < SP_COUNT(fixed); i++) sp_json_push(list, sp_json_new_z(a, fixed[i]));
    sp_call_reply_json(c, 200, doc);
}

/* ---------- discovery ---------- */

static sp_discovery_rows rows(const sp_call *c) {
    const sp_registry *r = c->op.s->registry;
    return (sp_discovery_rows){sp_registry_rows(r), sp_registry_count(r)};
}

static sp_discovery_form discovery_form(const sp_call *c) {
    return sp_discovery_negotiate(
        sp_headers_get(c->http->headers, c->http->header_count, "accept"));
}

static void api(sp_call *c, sp_str rest) {
    sp_auto(sp_buf) b = {0};
    sp_discovery_form form = discovery_form(c);
    rest = sp_str_from(rest, 1);
    if (rest.n) {
        if (sp_discovery_resources(&b, rows(c), SP_STR(""), rest))
            reply_document(c, &b, "application/json");
        else
            not_found(c);
        return;
    }
    const sp_apiserver *s = c->op.s;
    sp_str address =
        sp_arena_printf(c->op.arena, "%s:%u", s->config.advertise, sp_apiserver_port(s));
    sp_discovery_api(&b, rows(c), form, address);
    reply_document(c, &b, sp_discovery_content_type(form));
}

static void apis(sp_call *c, sp_str rest) {
    sp_auto(sp_buf) b = {0};
    sp_discovery_form form = discovery_form(c);
    sp_str group = {0}, version_ = sp_str_from(rest, 1);
    if (!version_.n) {
        sp_discovery_apis(&b, rows(c), form);
        reply_document(c, &b, sp_discovery_content_type(form));
        return;
    }
    sp_str_cut(&version_, '/', &group);
    bool found = version_.n ? sp_discovery_resources(&b, rows(c), group, version_)
                            : sp_discovery_group(&b, rows(c), group);
    if (found)
        reply_document(c, &b, "application/json");
    else
        not_found(c);
}

/* ---------- OpenAPI ---------- */

static sp_openapi *openapi_of(sp_call *c) {
    sp_apiserver *s = c->op.s;
    uint64_t now = sp_registry_generation(s->registry);
    if (s->openapi_generation != now) sp_openapi_set_rows(s->openapi, rows(c));
    s->openapi_generation = now;
    return s->openapi;
}

static void reply_tagged(sp_call *c, sp_blob *body, const char *etag, const char *type) {
    if (!body) {
        not_found(c);
        return;
    }
    sp_str seen = sp_headers_get(c->http->headers, c->http->header_count, "if-none-match");
    bool same = sp_str_eqz(seen, etag);
    sp_header h[] = {{SP_STR("content-type"), sp_str_z(type)},
                     {SP_STR("etag"), sp_str_z(etag)},
                     {SP_STR("vary"), SP_STR("Accept")},
                     {SP_STR("cache-control"), SP_STR("public")}};
    sp_call_count(c, same ? 304 : 200);
    if (same)
        sp_http_reply(c->res, 304, h, SP_COUNT(h), SP_STR(""));
    else
        sp_http_reply_blob(c->res, 200, h, SP_COUNT(h), body);
    sp_call_end(c);
}

static void openapi_v2(sp_call *c, sp_str rest) {
    char etag[SP_ETAG_MAX];
    (void)rest;
    sp_blob *b = sp_openapi_v2(openapi_of(c), etag);
    reply_tagged(c, b, etag, SP_OPENAPI_V2_TYPE);
}

static void openapi_v3(sp_call *c, sp_str rest) {
    char etag[SP_ETAG_MAX];
    sp_openapi *o = openapi_of(c);
    sp_blob *b =
        rest.n > 1 ? sp_openapi_v3(o, sp_str_from(rest, 1), etag) : sp_openapi_v3_index(o, etag);
    reply_tagged(c, b, etag, "application/json");
}

/* ---------- which ---------- */

static const struct page {
    const char *path;
    bool subtree; /* paths below it too */
    bool open;    /* without credentials */
    void (*serve)(sp_call *c, sp_str rest);
    bool writes; /* knows other methods than GET */
} pages[] = {
    {"/healthz", true, true, health},
    {"/livez", true, true, health},
    {"/readyz", true, true, health},
    {"/version", false, true, version},
    {"/metrics", false, false, metrics},
    {"/apis", true, false, apis},
    {"/api", true, false, api},
    {"/openapi/v2", false, false, openapi_v2},
    {"/openapi/v3", true, false, openapi_v3},
    {"/sampan/v1/backup", false, false, sp_backup_serve},
    {"/sampan/v1/ca", false, true, sp_cluster_serve_ca},
    {"/sampan/v1/cluster", true, false, sp_cluster_serve, true},
    {"/sampan/v1/join", false, true, sp_cluster_serve_join, true},
    {"/sampan/v1/tunnel", true, false, sp_tunnel_serve},
    {"/", false, false, paths},
};

static const struct page *find_page(sp_str path, sp_str *ret_rest) {
    if (path.n > 1 && sp_str_ends(path, SP_STR("/"))) path.n--;
    for (size_t i = 0; i < SP_COUNT(pages); i++) {
        sp_str own = sp_str_z(pages[i].path);
        if (!sp_str_starts(path, own)) continue;
        *ret_rest = sp_str_from(path, own.n);
        if (!ret_rest->n || (pages[i].subtree && ret_rest->p[0] == '/')) return &pages[i];
    }
    return NULL;
}

bool sp_is_public(sp_str path) {
    sp_str rest;
    const struct page *p = find_page(path, &rest);
    return p && p->open;
}

void sp_serve_nonresource(sp_call *c) {
    sp_str rest;
    const struct page *p = find_page(c->http->path, &rest);
    if (!p) {
        not_found(c);
        return;
    }
    if (!p->writes && !sp_str_eqz(c->http->method, "GET") && !sp_str_eqz(c->http->method, "HEAD")) {
        sp_call_reply(c, 405, "text/plain; charset=utf-8", SP_STR("only GET is allowed here\n"));
        return;
    }
    p->serve(c, rest);
}
