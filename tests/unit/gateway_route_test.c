#include "data/regex.h"
#include "gateway/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define S(z) SP_STR_INIT(z)

static sp_route_match canary[] = {{S("x-canary"), S("yes"), NULL}};
static sp_route_match canary_blue[] = {{S("x-canary"), S("yes"), NULL},
                                       {S("x-color"), S("blue"), NULL}};
static sp_route_match beta[] = {{S("beta"), S("1"), NULL}};

/* The owner's text is the entry's name here. Given in an order that must not matter. */
static const struct {
    const char *name, *host, *path, *method, *object;
    sp_path_kind kind;
    sp_route_match *headers, *queries;
    size_t headers_n, queries_n;
    int64_t created;
    uint32_t order;
    bool last_resort, single_label;
} rules[] = {
    {"default", "", "/", "", "ns/z", .last_resort = true},
    {"any-shop", "", "/shop", "", "ns/a"},
    {"wild", "*.example.com", "/", "", "ns/a"},
    {"wild-b", "*.b.example.com", "/", "", "ns/a"},
    {"one-label", "*.one.org", "/", "", "ns/a", .single_label = true},
    {"root", "example.com", "/", "", "ns/a"},
    {"canary", "example.com", "/", "", "ns/a", .headers = canary, .headers_n = 1},
    {"blue", "example.com", "/", "", "ns/a", .headers = canary_blue, .headers_n = 2},
    {"beta", "example.com", "/", "", "ns/a", .queries = beta, .queries_n = 1},
    {"post", "example.com", "/", "POST", "ns/a"},
    {"api", "example.com", "/api/", "", "ns/a"},
    {"api-v1", "example.com", "/api/v1", "", "ns/a"},
    {"exact", "example.com", "/api/v1", "", "ns/a", .kind = SP_PATH_EXACT},
    {"younger", "twice.com", "/", "", "ns/a", .created = 20},
    {"older", "twice.com", "/", "", "ns/b", .created = 10},
    {"name-b", "name.com", "/", "", "ns/b"},
    {"name-a-second", "name.com", "/", "", "ns/a", .order = 1},
    {"name-a", "name.com", "/", "", "ns/a", .order = 0},
    {"deep", "deep.example.com", "/only", "", "ns/a"},
};

static sp_route_table *table(sp_arena *a) {
    sp_route_entry e[SP_COUNT(rules)];
    memset(e, 0, sizeof e);
    for (size_t i = 0; i < SP_COUNT(rules); i++) {
        sp_route_action *action = SP_NEW(a, sp_route_action);
        action->owner = sp_str_z(rules[i].name);
        e[i] = (sp_route_entry){.host = sp_str_z(rules[i].host),
                                .single_label = rules[i].single_label,
                                .path_kind = rules[i].kind,
                                .path = sp_str_z(rules[i].path),
                                .method = sp_str_z(rules[i].method),
                                .headers = rules[i].headers,
                                .queries = rules[i].queries,
                                .header_count = rules[i].headers_n,
                                .query_count = rules[i].queries_n,
                                .last_resort = rules[i].last_resort,
                                .created_ms = rules[i].created,
                                .object = sp_str_z(rules[i].object),
                                .order = rules[i].order,
                                .action = action};
    }
    return sp_route_table_build(a, e, SP_COUNT(rules));
}

static void precedence(void **state) {
    (void)state;
    static const struct {
        const char *method, *host, *path, *query;
        sp_header headers[3];
        const char *want;
    } cases[] = {
        {"GET", "example.com", "/", "", .want = "root"},
        {"GET", "example.com", "/other", "", .want = "root"},
        {"POST", "example.com", "/other", "", .want = "post"},
        {"GET", "example.com", "/", "", {{S("x-canary"), S("yes")}}, "canary"},
        {"GET", "example.com", "/", "", {{S("x-canary"), S("no")}}, "root"},
        {"GET",
         "example.com",
         "/",
         "",
         {{S("x-color"), S("blue")}, {S("x-canary"), S("yes")}},
         "blue"},
        {"POST", "example.com", "/", "", {{S("x-canary"), S("yes")}}, "post"},
        {"GET", "example.com", "/", "a=2&beta=1", .want = "beta"},
        {"GET", "example.com", "/", "beta=2&beta=1", .want = "root"},
        {"GET", "example.com", "/", "beta", .want = "root"},
        {"GET", "example.com", "/api", "", .want = "api"},
        {"GET", "example.com", "/api/", "", .want = "api"},
        {"GET", "example.com", "/apis", "", .want = "root"},
        {"GET", "example.com", "/api/v1", "", .want = "exact"},
        {"POST", "example.com", "/api/v1", "", .want = "exact"},
        {"GET", "example.com", "/api/v1/", "", .want = "api-v1"},
        {"GET", "example.com", "/api/v1/x", "", .want = "api-v1"},
        {"GET", "example.com", "/api/v10", "", .want = "api"},
        {"GET", "a.example.com", "/", "", .want = "wild"},
        {"GET", "a.b.example.com", "/", "", .want = "wild-b"},
        {"GET", "x.a.b.example.com", "/", "", .want = "wild-b"},
        {"GET", "b.example.com", "/", "", .want = "wild"},
        {"GET", "a.one.org", "/", "", .want = "one-label"},
        {"GET", "a.b.one.org", "/", "", .want = "default"},
        {"GET", "one.org", "/shop/cart", "", .want = "any-shop"},
        {"GET", "twice.com", "/", "", .want = "older"},
        {"GET", "name.com", "/", "", .want = "name-a"},
        {"GET", "deep.example.com", "/only/this", "", .want = "deep"},
        {"GET", "deep.example.com", "/else", "", .want = "wild"},
        {"GET", "nobody.net", "/", "", .want = "default"},
        {"GET", "", "/shop", "", .want = "any-shop"},
        {"GET", "com", "/", "", .want = "default"},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_route_table *t = table(a);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        size_t n = 0;
        while (cases[i].headers[n].name.n) n++;
        const sp_route_entry *e =
            sp_route_find(t, &(sp_route_request){sp_str_z(cases[i].method), sp_str_z(cases[i].host),
                                                 sp_str_z(cases[i].path), sp_str_z(cases[i].query),
                                                 cases[i].headers, n});
        assert_non_null(e);
        if (!sp_str_eqz(e->action->owner, cases[i].want))
            fail_msg("case %zu: got %.*s, want %s", i, SP_ARG(e->action->owner), cases[i].want);
    }
}

static void nothing_matches(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_route_action action = {0};
    sp_route_entry e = {.host = S("a.com"), .path = S("/x"), .action = &action};
    sp_route_table *t = sp_route_table_build(a, &e, 1);
    sp_route_request r = {S("GET"), S("a.com"), S("/y")};
    assert_null(sp_route_find(t, &r));
    r.host = SP_STR("b.com");
    assert_null(sp_route_find(t, &r));
    assert_null(sp_route_find(sp_route_table_build(a, NULL, 0), &r));
}

static void paths(void **state) {
    (void)state;
    static const struct {
        const char *in, *out; /* NULL = refused */
    } cases[] = {
        {"/", "/"},
        {"/a/b", "/a/b"},
        {"/a/../b", "/b"},
        {"/a/%2e%2E/b", "/b"},
        {"/../..", "/"},
        {"/a/./b/.", "/a/b/"},
        {"/a/b/..", "/a/"},
        {"/%61%2d", "/a-"},
        {"/a%2fb", "/a%2Fb"},
        {"/.hidden", "/.hidden"},
        {"/a//b", "/a/b"},
        {"/a%zz", NULL},
        {"/a%2", NULL},
        {"/%00", NULL},
        {"/a b", NULL},
        {"", NULL},
        {"*", NULL},
        {"/..a/...", "/..a/..."},
        {"//a", "/a"},
        {"/a/..//b/", "/b/"},
        {"/a//../b", "/a/b"},
        {"///", "/"},
        {"/a/..%2fb", NULL},
        {"/a%2F..", NULL},
        {"/a/..\\b", NULL},
        {"/a/%2e.%5c", NULL},
        {"/a/..;x/b", NULL},
        {"/a/.;", NULL},
        {"/..%3bx", NULL},
        {"/a;..", "/a;.."},
        {"/a%2f.b", "/a%2F.b"},
        {"/a;x/..", "/"},
        {"/..;", NULL},
        {"/a%5C..b", "/a%5C..b"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        char scratch[64];
        sp_str out = {0};
        bool ok = sp_route_path(sp_str_z(cases[i].in), scratch, sizeof scratch, &out);
        if (ok != (cases[i].out != NULL) || (ok && !sp_str_eqz(out, cases[i].out)))
            fail_msg("%s: got %.*s", cases[i].in, SP_ARG(out));
    }
}

static void dots(void **state) {
    (void)state;
    static const char *const with[] = {"/a/..", "/.", "/a/%2e%2E/b", "/.%2e", "/%2e/", "/./"};
    static const char *const without[] = {"/", "", "/a", "/...", "/a..", "/%2ea", "/..%2f", "/.%2"};
    for (size_t i = 0; i < SP_COUNT(with); i++)
        if (!sp_route_path_has_dots(sp_str_z(with[i]))) fail_msg("%s", with[i]);
    for (size_t i = 0; i < SP_COUNT(without); i++)
        if (sp_route_path_has_dots(sp_str_z(without[i]))) fail_msg("%s", without[i]);
}

static void hosts(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"Example.COM", "example.com"},
        {"a.b:8080", "a.b"},
        {"a.b.", "a.b"},
        {"", ""},
        {"[::1]:80", "::1"},
        {"[::1]", "::1"},
        {"a:b", NULL},
        {"a:70000", NULL},
        {"a b", NULL},
        {"[::1", NULL},
        {"[::1]x", NULL},
        {"a/b", NULL},
        {"1.2.3.4:80", "1.2.3.4"},
        {"u@h", NULL},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        char scratch[64];
        sp_str out = {0};
        bool ok = sp_route_host(sp_str_z(cases[i].in), scratch, sizeof scratch, &out);
        if (ok != (cases[i].out != NULL) || (ok && !sp_str_eqz(out, cases[i].out)))
            fail_msg("%s: got %.*s", cases[i].in, SP_ARG(out));
    }
}

static void weights(void **state) {
    (void)state;
    sp_route_target targets[] = {{7, 1}, {SP_NO_POOL, 2}, {9, 0}, {8, 3}};
    sp_targets a = {targets, 4, 6};
    static const uint32_t want[] = {7, SP_NO_POOL, SP_NO_POOL, 8, 8, 8, 7};
    for (uint64_t i = 0; i < SP_COUNT(want); i++) assert_int_equal(sp_route_draw(&a, i), want[i]);
    assert_int_equal(sp_route_draw(&(sp_targets){0}, 5), SP_NO_POOL);
}

static void rewrites(void **state) {
    (void)state;
    static const struct {
        sp_path_edit edit;
        const char *prefix, *with, *path, *query, *want;
    } cases[] = {
        {SP_PATH_KEEP, "/a", "", "/a/b", "q=1", "/a/b?q=1"},
        {SP_PATH_KEEP, "/a", "", "/a/b", "", "/a/b?"},
        {SP_PATH_REPLACE_ALL, "/a", "/z", "/a/b", "q=1", "/z?q=1"},
        {SP_PATH_REPLACE_PREFIX, "/a", "/z", "/a/b", NULL, "/z/b"},
        {SP_PATH_REPLACE_PREFIX, "/a/", "/z/", "/a/b", NULL, "/z/b"},
        {SP_PATH_REPLACE_PREFIX, "/a", "/", "/a/b", NULL, "/b"},
        {SP_PATH_REPLACE_PREFIX, "/a", "/", "/a", "x", "/?x"},
        {SP_PATH_REPLACE_PREFIX, "/", "/z", "/b", NULL, "/z/b"},
        {SP_PATH_REPLACE_PREFIX, "/a", "/z", "/a", NULL, "/z"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_auto(sp_buf) b = {0};
        sp_route_action a = {.path_edit = cases[i].edit, .path = sp_str_z(cases[i].with)};
        sp_route_entry e = {.path = sp_str_z(cases[i].prefix), .action = &a};
        sp_route_rewrite(&e, sp_str_z(cases[i].path), sp_str_z(cases[i].query), &b);
        assert_string_equal(sp_buf_z(&b), cases[i].want);
    }
}

static const sp_regex *pattern(sp_arena *a, const char *text) {
    const sp_regex *re = NULL;
    sp_err err = {0};
    if (!sp_regex_compile(a, sp_str_z(text), &re, &err)) fail_msg("%s", err.text);
    return re;
}

/* The whole path and the whole value must match; a pattern stands between exact and prefix. */
static void patterns(void **state) {
    (void)state;
    sp_arena *a = sp_arena_new();
    sp_route_action actions[3] = {
        {.owner = S("exact")}, {.owner = S("regex")}, {.owner = S("prefix")}};
    sp_route_match version = {S("x-version"), {0}, pattern(a, "v[0-9]+")};
    sp_route_match lang = {S("lang"), {0}, pattern(a, "en|de")};
    sp_route_entry e[] = {{.path = S("/"), .action = &actions[2]},
                          {.path = S("/v[0-9]+/x"),
                           .path_kind = SP_PATH_REGEX,
                           .regex = pattern(a, "/v[0-9]+/x"),
                           .action = &actions[1]},
                          {.path = S("/v2/x"), .path_kind = SP_PATH_EXACT, .action = &actions[0]},
                          {.host = S("h"),
                           .path = S("/"),
                           .headers = &version,
                           .header_count = 1,
                           .queries = &lang,
                           .query_count = 1,
                           .action = &actions[1]}};
    sp_route_table *t = sp_route_table_build(a, e, SP_COUNT(e));
    static const struct {
        const char *host, *path, *query, *version, *want;
    } asks[] = {{"a", "/v2/x", "", "", "exact"},         {"a", "/v33/x", "", "", "regex"},
                {"a", "/v33/xy", "", "", "prefix"},      {"a", "/q/v33/x", "", "", "prefix"},
                {"h", "/", "lang=de", "v12", "regex"},   {"h", "/", "lang=fr", "v12", "prefix"},
                {"h", "/", "lang=de", "xv12", "prefix"}, {"h", "/", "", "", "prefix"}};
    for (size_t i = 0; i < SP_COUNT(asks); i++) {
        sp_header h = {S("x-version"), sp_str_z(asks[i].version)};
        sp_route_request r = {
            S("GET"), sp_str_z(asks[i].host), sp_str_z(asks[i].path), sp_str_z(asks[i].query), &h,
            1};
        sp_str got = sp_route_find(t, &r)->action->owner;
        if (!sp_str_eqz(got, asks[i].want)) fail_msg("%zu: %.*s", i, SP_ARG(got));
    }
    sp_arena_free(a);
}

/* A pattern that would take for ever gives up; nothing hangs, nothing matches. */
static void a_pattern_that_explodes(void **state) {
    (void)state;
    sp_arena *a = sp_arena_new();
    sp_route_action action = {.owner = S("bad")};
    sp_route_entry e = {.path = S("(a+)+$"),
                        .path_kind = SP_PATH_REGEX,
                        .regex = pattern(a, "/(a|aa)+"),
                        .action = &action};
    sp_route_table *t = sp_route_table_build(a, &e, 1);
    sp_auto(sp_buf) path = {0};
    sp_buf_addc(&path, '/');
    for (int i = 0; i < 5000; i++) sp_buf_addc(&path, 'a');
    sp_buf_addc(&path, 'b');
    sp_route_request r = {.method = S("GET"), .path = sp_buf_str(&path)};
    assert_null(sp_route_find(t, &r));
    sp_arena_free(a);
}

static void groups_of_a_pattern(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *with, *path, *query, *want;
    } cases[] = {{"(?i)(?:/api(/|$)(.*)).*", "/$2", "/api/users/7", "a=1", "/users/7?a=1"},
                 {"(?i)(?:/api(/|$)(.*)).*", "/$2", "/API", NULL, "/"},
                 {"/(x)?(.*)", "$1$9/$2", "/yz", NULL, "/yz"},
                 {"/(.*)", "$1", "/", NULL, "/"},
                 {"/(.*)", "/v1/$1$", "/q", NULL, "/v1/q$"}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_arena *a = sp_arena_new();
        sp_auto(sp_buf) b = {0};
        sp_route_action act = {.path_edit = SP_PATH_REPLACE_GROUPS,
                               .path = sp_str_z(cases[i].with)};
        sp_route_entry e = {
            .path_kind = SP_PATH_REGEX, .regex = pattern(a, cases[i].pattern), .action = &act};
        sp_route_rewrite(&e, sp_str_z(cases[i].path), sp_str_z(cases[i].query), &b);
        assert_string_equal(sp_buf_z(&b), cases[i].want);
        sp_arena_free(a);
    }
}

/* What a more specific listener of the same Gateway keeps for itself is not served here. */
static void exceptions(void **state) {
    (void)state;
    sp_arena *a = sp_arena_new();
    sp_str kept[] = {S("foo.example.com"), S("*.bar.example.com")};
    sp_route_action action = {.owner = S("wild")};
    sp_route_entry e = {.host = S("*.example.com"),
                        .path = S("/"),
                        .except = kept,
                        .except_count = 2,
                        .action = &action};
    sp_route_table *t = sp_route_table_build(a, &e, 1);
    static const struct {
        const char *host;
        bool found;
    } asks[] = {{"a.example.com", true},      {"foo.example.com", false},
                {"x.bar.example.com", false}, {"x.y.bar.example.com", false},
                {"bar.example.com", true},    {"x.foo.example.com", true}};
    for (size_t i = 0; i < SP_COUNT(asks); i++) {
        sp_route_request r = {.method = S("GET"), .host = sp_str_z(asks[i].host), .path = S("/")};
        assert_int_equal(sp_route_find(t, &r) != NULL, asks[i].found);
    }
    sp_arena_free(a);
}

/* Ranked rules are asked in their order, before all others, whatever they match. */
static void ranks(void **state) {
    (void)state;
    static const struct {
        const char *name, *host, *path;
        uint32_t rank, order;
    } rows[] = {{"plain", "example.com", "/a/b/c", 0, 0},
                {"third", "", "/a", 2, 0},
                {"second", "*.example.com", "/", 1, 1},
                {"first", "*.example.com", "/x", 1, 0},
                {"host", "example.com", "/a/b", 3, 0}};
    static const struct {
        const char *host, *path, *want;
    } asks[] = {{"example.com", "/a/b/c", "third"},
                {"w.example.com", "/a/b/c", "second"},
                {"w.example.com", "/x", "first"},
                {"example.com", "/b", NULL},
                {"other.org", "/a", "third"}};
    sp_arena *a = sp_arena_new();
    sp_route_entry e[SP_COUNT(rows)] = {0};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_route_action *action = SP_NEW(a, sp_route_action);
        action->owner = sp_str_z(rows[i].name);
        e[i] = (sp_route_entry){.host = sp_str_z(rows[i].host),
                                .path = sp_str_z(rows[i].path),
                                .rank = rows[i].rank,
                                .order = rows[i].order,
                                .action = action};
    }
    sp_route_table *t = sp_route_table_build(a, e, SP_COUNT(e));
    for (size_t i = 0; i < SP_COUNT(asks); i++) {
        sp_route_request r = {.method = SP_STR("GET"),
                              .host = sp_str_z(asks[i].host),
                              .path = sp_str_z(asks[i].path)};
        const sp_route_entry *found = sp_route_find(t, &r);
        if (!asks[i].want)
            assert_null(found);
        else
            assert_string_equal(found->action->owner.p, asks[i].want);
    }
    sp_arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(precedence),
        cmocka_unit_test(nothing_matches),
        cmocka_unit_test(paths),
        cmocka_unit_test(dots),
        cmocka_unit_test(hosts),
        cmocka_unit_test(weights),
        cmocka_unit_test(rewrites),
        cmocka_unit_test(ranks),
        cmocka_unit_test(patterns),
        cmocka_unit_test(a_pattern_that_explodes),
        cmocka_unit_test(groups_of_a_pattern),
        cmocka_unit_test(exceptions),
    };
    return cmocka_run_group_tests_name("gateway_route", tests, NULL, NULL);
}
