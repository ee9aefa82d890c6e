/* URLs, continue tokens, canonical bytes, the age of events: pure functions. */
#include "apiserver/continue_token.h"
#include "apiserver/encode.h"
#include "apiserver/expiry.h"
#include "apiserver/reqinfo.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    const char *method, *path;
    bool watch;
    const char *wanted; /* verb group version plural ns name sub, "-" for none */
} urls[] = {
    {"GET", "/api/v1/pods", false, "list - v1 pods - - -"},
    {"GET", "/api/v1/pods", true, "watch - v1 pods - - -"},
    {"GET", "/api/v1/namespaces", false, "list - v1 namespaces - - -"},
    {"GET", "/api/v1/namespaces/x", false, "get - v1 namespaces - x -"},
    {"PUT", "/api/v1/namespaces/x/finalize", false, "update - v1 namespaces - x finalize"},
    {"GET", "/api/v1/namespaces/x/status", false, "get - v1 namespaces - x status"},
    {"POST", "/api/v1/namespaces/x/pods", false, "create - v1 pods x - -"},
    {"DELETE", "/api/v1/namespaces/x/pods", false, "deletecollection - v1 pods x - -"},
    {"DELETE", "/api/v1/namespaces/x/pods/p", false, "delete - v1 pods x p -"},
    {"GET", "/api/v1/namespaces/x/pods/p/log", false, "get - v1 pods x p log"},
    {"PATCH", "/apis/apps/v1/namespaces/x/deployments/d/scale", false,
     "patch apps v1 deployments x d scale"},
    {"GET", "/apis/apps/v1/deployments", false, "list apps v1 deployments - - -"},
    {"GET", "/apis/apps/v1/namespaces/x/deployments/", false, "list apps v1 deployments x - -"},
    {"GET", "/api/v1/watch/namespaces/x/pods", false, "watch - v1 pods x - -"},
    {"GET", "/apis/a.io/v1/things/a%3Ab", false, "get a.io v1 things - a:b -"},
    {"HEAD", "/api/v1/nodes/n", false, "get - v1 nodes - n -"},
    {"BREW", "/api/v1/nodes/n", false, " - v1 nodes - n -"},
};

static const char *dash(sp_arena *a, sp_str s) {
    return s.n ? sp_arena_strz(a, s) : "-";
}

static void urls_are_understood(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    for (size_t i = 0; i < SP_COUNT(urls); i++) {
        sp_reqinfo r;
        sp_err err = {0};
        assert_true(sp_reqinfo_parse(a, sp_str_z(urls[i].method), sp_str_z(urls[i].path),
                                     urls[i].watch, &r, &err));
        assert_true(r.is_resource);
        sp_str got = sp_arena_printf(a, "%s %s %s %s %s %s %s", sp_req_verb_name(r.verb),
                                     dash(a, r.group), dash(a, r.version), dash(a, r.plural),
                                     dash(a, r.ns), dash(a, r.name), dash(a, r.sub));
        assert_string_equal(got.p, urls[i].wanted);
    }
}

static void what_is_no_resource(void **state) {
    (void)state;
    static const char *const paths[] = {"/",        "/api",     "/api/v1",    "/apis",
                                        "/healthz", "/apis/g",  "/apis/g/v1", "/api/v1/",
                                        "/apifoo",  "/metrics", "/openapi/v3"};
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_reqinfo r;
    sp_err err = {0};
    for (size_t i = 0; i < SP_COUNT(paths); i++) {
        assert_true(sp_reqinfo_parse(a, SP_STR("GET"), sp_str_z(paths[i]), false, &r, &err));
        assert_false(r.is_resource);
    }
    assert_false(sp_reqinfo_parse(a, SP_STR("GET"), SP_STR("/api/v1/pods/%zz"), false, &r, &err));
    assert_int_equal(err.code, SP_BAD_REQUEST);
    assert_false(sp_reqinfo_parse(a, SP_STR("GET"), SP_STR("/api/v1/pods/a%2Fb"), false, &r, &err));
    assert_true(sp_reqinfo_parse(
        a, SP_STR("GET"), SP_STR("/api/v1/namespaces/n/pods/p/proxy/a/b/c/d"), false, &r, &err));
    assert_true(r.rest.n > 0);
}

static void continue_tokens_round_trip(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_err err = {0};
    uint64_t rev;
    sp_str start;
    sp_str token = sp_continue_make(a, 12345678901u, SP_STR("ns/na\"me"));
    assert_true(sp_continue_parse(a, token, &rev, &start, &err));
    assert_int_equal(rev, 12345678901u);
    assert_true(sp_str_eqz(start, "ns/na\"me"));
    static const char *const bad[] = {"", "abc", "!!!", "e30",
                                      "eyJ2IjoieCIsInJ2IjoxLCJzdGFydCI6ImEifQ",
                                      /* {"v":"meta.k8s.io/v1","rv":-1,"start":"a"} */
                                      "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYSJ9"};
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        assert_false(sp_continue_parse(a, sp_str_z(bad[i]), &rev, &start, &err));
}

static void objects_are_written_canonically(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) b = {0};
    sp_err err;
    sp_json *obj;
    assert_true(
        sp_json_parse(a,
                      SP_STR("{\"data\":{\"a\":\"b\"},\"metadata\":{\"labels\":{\"x\":\"y\"},"
                             "\"resourceVersion\":\"9\",\"uid\":\"u\",\"namespace\":\"n\","
                             "\"name\":\"m\"},\"kind\":\"K\",\"apiVersion\":\"old\"}"),
                      &obj, &err));
    size_t at;
    sp_str head = SP_STR("{\"apiVersion\":\"v1\",\"kind\":\"K\"");
    sp_encode_object(&b, head, obj, &at);
    assert_string_equal(b.p, "{\"apiVersion\":\"v1\",\"kind\":\"K\",\"metadata\":{\"name\":\"m\","
                             "\"namespace\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"\","
                             "\"labels\":{\"x\":\"y\"}},\"data\":{\"a\":\"b\"}}");
    assert_true(sp_str_starts(sp_str_from(sp_buf_str(&b), at - 3), SP_STR(":\"\",\"labels")) ||
                b.p[at] == '"');
    assert_int_equal(b.p[at - 1], '"');
    assert_int_equal(b.p[at], '"');
    assert_int_equal(sp_head_length(sp_buf_str(&b)), head.n);
    sp_pieces p = sp_with_head(sp_buf_str(&b), head);
    assert_int_equal(p.head.n, 0);
    p = sp_with_head(sp_buf_str(&b), SP_STR("{\"apiVersion\":\"x/v2\",\"kind\":\"K\""));
    assert_true(p.head.n && sp_str_starts(p.rest, SP_STR(",\"metadata\"")));
}

static void events_grow_old(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int at_minute; /* past 12:00 */
        bool expired;
    } rows[] = {
        {"{\"lastTimestamp\":\"2026-11-22T12:00:00Z\"}", 59, false},
        {"{\"lastTimestamp\":\"2026-11-22T12:00:00Z\"}", 61, true},
        {"{\"firstTimestamp\":\"2026-11-22T09:00:00Z\",\"lastTimestamp\":\"2026-11-22T12:30:00Z\"}",
         61, false},
        {"{\"eventTime\":\"2026-11-22T09:00:00.000000Z\",\"series\":{\"lastObservedTime\":"
         "\"2026-11-22T12:30:00.000000Z\"}}",
         61, false},
        {"{\"metadata\":{\"creationTimestamp\":\"2026-11-22T12:00:00Z\"}}", 59, false},
        {"{\"metadata\":{\"creationTimestamp\":\"2026-11-22T12:00:00Z\"}}", 61, true},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const int64_t noon = 1795348800000; /* 2026-11-22T12:00:00Z */
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_json *j;
        sp_err err;
        assert_true(sp_json_parse(a, sp_str_z(rows[i].json), &j, &err));
        assert_int_equal(sp_event_expired(j, noon + rows[i].at_minute * 60000LL), rows[i].expired);
    }
}

static void names_are_read_from_bytes(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *ns, *name;
    } rows[] = {
        {"{\"apiVersion\":\"v1\",\"kind\":\"K\",\"metadata\":{\"name\":\"a\",\"uid\":\"u\"}}", "",
         "a"},
        {"{\"apiVersion\":\"v1\",\"kind\":\"K\",\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",",
         "n", "a"},
        {"{\"apiVersion\":\"v1\",\"kind\":\"K\",\"metadata\":{\"name\":\"a\",\"generateName\":\"g-"
         "\","
         "\"namespace\":\"n\",",
         "n", "a"},
    };
    sp_str ns, name;
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        assert_true(sp_canonical_names(sp_str_z(rows[i].bytes), &ns, &name));
        assert_true(sp_str_eqz(ns, rows[i].ns) && sp_str_eqz(name, rows[i].name));
    }
    assert_false(sp_canonical_names(SP_STR("{}"), &ns, &name));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(urls_are_understood),
                                       cmocka_unit_test(what_is_no_resource),
                                       cmocka_unit_test(continue_tokens_round_trip),
                                       cmocka_unit_test(objects_are_written_canonically),
                                       cmocka_unit_test(events_grow_old),
                                       cmocka_unit_test(names_are_read_from_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
