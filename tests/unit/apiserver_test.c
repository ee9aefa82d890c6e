/* The API as clients see it, over a real connection to a server in this process. */
#include "api_world.h"

#define CMS "/api/v1/namespaces/default/configmaps"
#define MERGE "application/merge-patch+json"

static int open_world(void **state) {
    (void)state;
    world_open();
    return 0;
}

static int close_world(void **state) {
    (void)state;
    world_close();
    return 0;
}

static void make(const char *name, const char *labels) {
    sp_str body =
        sp_arena_printf(w.arena, "{\"metadata\":{\"name\":\"%s\",\"labels\":{%s}}}", name, labels);
    assert_int_equal(api("POST", CMS, body.p), 201);
}

static size_t items(void) {
    const sp_json *list = sp_json_get(w.json, "items");
    return list ? list->count : 999;
}

/* ---------- create, get ---------- */

static void create_fills_metadata(void **state) {
    (void)state;
    assert_int_equal(
        api_typed("POST", CMS, NULL, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}"),
        201);
    assert_string_equal(got("apiVersion", NULL), "v1");
    assert_string_equal(got("metadata", "namespace", NULL), "default");
    assert_int_equal(strlen(got("metadata", "uid", NULL)), 36);
    assert_true(strlen(got("metadata", "resourceVersion", NULL)) > 0);
    sp_str created = w.text;
    assert_int_equal(api("GET", CMS "/a", ""), 200);
    assert_true(sp_str_eq(created, w.text));
    assert_int_equal(api("POST", CMS, "{\"metadata\":{\"name\":\"a\"}}"), 409);
    assert_string_equal(got("reason", NULL), "AlreadyExists");
}

static void names_are_generated(void **state) {
    (void)state;
    assert_int_equal(api("POST", CMS, "{\"metadata\":{\"generateName\":\"gen-\"}}"), 201);
    assert_int_equal(strlen(got("metadata", "name", NULL)), 9);
    assert_int_equal(api("POST", CMS, "{\"metadata\":{}}"), 422);
    assert_string_equal(got("details", "causes", NULL), "");
    assert_int_equal(sp_json_dig(w.json, "details", "causes", NULL)->count, 1);
}

static void refusals_say_why(void **state) {
    (void)state;
    static const struct {
        const char *method, *target, *type, *body;
        int status;
        const char *reason;
    } rows[] = {
        {"GET", CMS "/nope", NULL, "", 404, "NotFound"},
        {"GET", "/api/v1/nothings", NULL, "", 404, "NotFound"},
        {"PUT", CMS "/nope", NULL, "{\"metadata\":{\"name\":\"nope\"}}", 404, "NotFound"},
        {"POST", CMS, NULL, "{bad", 400, "BadRequest"},
        {"POST", CMS, NULL, "[]", 400, "BadRequest"},
        {"POST", CMS, NULL, "", 400, "BadRequest"},
        {"POST", CMS, NULL, "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"}}", 400,
         "BadRequest"},
        {"POST", CMS, NULL, "{\"metadata\":{\"name\":\"x\",\"namespace\":\"other\"}}", 400,
         "BadRequest"},
        {"POST", CMS, NULL, "{\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"3\"}}", 400,
         "BadRequest"},
        {"POST", CMS, NULL, "{\"metadata\":{\"name\":\"X_\"}}", 422, "Invalid"},
        {"POST", CMS, "text/plain", "x", 415, "UnsupportedMediaType"},
        {"POST", CMS "/a", NULL, "{}", 405, "MethodNotAllowed"},
        {"PUT", CMS, NULL, "{}", 405, "MethodNotAllowed"},
        {"POST", "/api/v1/configmaps", NULL, "{}", 405, "MethodNotAllowed"},
        {"POST", "/api/v1/namespaces/none/configmaps", NULL, "{\"metadata\":{\"name\":\"x\"}}", 404,
         "NotFound"},
        {"GET", CMS "?continue=abc", NULL, "", 400, "BadRequest"},
        {"GET", CMS "?labelSelector=a%3D%3D%3Db", NULL, "", 400, "BadRequest"},
        {"GET", CMS "?fieldSelector=spec.x%3D1", NULL, "", 400, "BadRequest"},
        {"GET", CMS "?resourceVersion=999999", NULL, "", 504, "Timeout"},
        {"GET", CMS "?resourceVersion=abc", NULL, "", 400, "BadRequest"},
        {"GET", CMS "?resourceVersionMatch=Exact", NULL, "", 422, "Invalid"},
        {"GET", CMS "?limit=-1", NULL, "", 400, "BadRequest"},
        {"PATCH", CMS "/a", "application/json", "{}", 415, "UnsupportedMediaType"},
        {"PATCH", CMS "/a", "application/apply-patch+yaml", "{}", 415, "UnsupportedMediaType"},
        {"DELETE", CMS "/a", NULL, "{\"propagationPolicy\":\"Sometimes\"}", 400, "BadRequest"},
        {"POST", CMS "?dryRun=Some", NULL, "{\"metadata\":{\"name\":\"x\"}}", 400, "BadRequest"},
        {"POST", CMS "?fieldValidation=Very", NULL, "{\"metadata\":{\"name\":\"x\"}}", 400,
         "BadRequest"},
    };
    make("a", "");
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        api_typed(rows[i].method, rows[i].target, rows[i].type, rows[i].body);
        if (w.status != rows[i].status || strcmp(got("reason", NULL), rows[i].reason) != 0)
            fail_msg("%s %s %s: %d %.*s", rows[i].method, rows[i].target, rows[i].body, w.status,
                     SP_ARG(w.text));
        assert_true(strlen(got("message", NULL)) > 0);
        assert_int_equal(got_int("code", NULL), rows[i].status);
    }
    assert_int_equal(api("GET", "/nothing/here", ""), 404);
    assert_true(sp_str_starts(w.text, SP_STR("404 page not found")));
}

static void unknown_fields(void **state) {
    (void)state;
    assert_int_equal(
        api("POST", CMS "?fieldValidation=Strict", "{\"metadata\":{\"name\":\"s\"},\"dat\":1}"),
        400);
    assert_non_null(strstr(got("message", NULL), "unknown field \"dat\""));
    assert_int_equal(api("POST", CMS, "{\"metadata\":{\"name\":\"s\"},\"dat\":1}"), 201);
    assert_string_equal(w.warning.p, "299 - \"unknown field \\\"dat\\\"\"");
    assert_null(sp_json_get(w.json, "dat"));
}

static void yaml_bodies(void **state) {
    (void)state;
    assert_int_equal(
        api_typed("POST", CMS, "application/yaml", "metadata: {name: y}\ndata:\n  a: b\n"), 201);
    assert_string_equal(got("data", "a", NULL), "b");
}

static void dry_run_stores_nothing(void **state) {
    (void)state;
    assert_int_equal(api("POST", CMS "?dryRun=All", "{\"metadata\":{\"name\":\"d\"}}"), 201);
    assert_null(sp_json_dig(w.json, "metadata", "resourceVersion", NULL));
    assert_int_equal(api("GET", CMS "/d", ""), 404);
    make("d", "");
    assert_int_equal(api("DELETE", CMS "/d?dryRun=All", ""), 200);
    assert_int_equal(api_typed("PATCH", CMS "/d?dryRun=All", MERGE, "{\"data\":{\"x\":\"y\"}}"),
                     200);
    assert_string_equal(got("data", "x", NULL), "y");
    assert_int_equal(api("GET", CMS "/d", ""), 200);
    assert_null(sp_json_get(w.json, "data"));
}

/* ---------- list ---------- */

static void pages_show_one_revision(void **state) {
    (void)state;
    static const char *const names[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6"};
    for (size_t i = 0; i < SP_COUNT(names); i++) make(names[i], "");
    assert_int_equal(api("GET", CMS "?limit=3", ""), 200);
    assert_int_equal(items(), 3);
    assert_int_equal(got_int("metadata", "remainingItemCount", NULL), 4);
    const char *rev = got("metadata", "resourceVersion", NULL);
    sp_str next =
        sp_arena_printf(w.arena, CMS "?limit=3&continue=%s", got("metadata", "continue", NULL));
    assert_int_equal(api("DELETE", CMS "/c5", ""), 200);
    make("c55", "");
    assert_int_equal(api("GET", next.p, ""), 200);
    assert_string_equal(got("metadata", "resourceVersion", NULL), rev);
    assert_string_equal(sp_json_z(sp_json_dig(sp_json_at(sp_json_get(w.json, "items"), 2),
                                              "metadata", "name", NULL)),
                        "c5");
    next = sp_arena_printf(w.arena, CMS "?limit=3&continue=%s", got("metadata", "continue", NULL));
    assert_int_equal(api("GET", next.p, ""), 200);
    assert_int_equal(items(), 1);
    assert_null(sp_json_dig(w.json, "metadata", "continue", NULL));
}

static void selectors_choose(void **state) {
    (void)state;
    make("a", "\"app\":\"x\"");
    make("b", "\"app\":\"y\"");
    make("c", "");
    assert_int_equal(api("GET", CMS "?labelSelector=app%3Dx", ""), 200);
    assert_int_equal(items(), 1);
    api("GET", CMS "?labelSelector=app", "");
    assert_int_equal(items(), 2);
    api("GET", CMS "?labelSelector=!app", "");
    assert_int_equal(items(), 1);
    api("GET", CMS "?labelSelector=app%20in%20(x,y)&limit=1", "");
    assert_int_equal(items(), 1);
    assert_non_null(sp_json_dig(w.json, "metadata", "continue", NULL));
    assert_null(sp_json_dig(w.json, "metadata", "remainingItemCount", NULL));
    api("GET", CMS "?fieldSelector=metadata.name%3Db", "");
    assert_int_equal(items(), 1);
    api("GET", "/api/v1/configmaps?fieldSelector=metadata.namespace!%3Ddefault", "");
    assert_int_equal(items(), 0);
}

/* ---------- update and patch ---------- */

static void updates_respect_versions(void **state) {
    (void)state;
    make("a", "");
    sp_str rv = sp_arena_str(w.arena, sp_str_z(got("metadata", "resourceVersion", NULL)));
    assert_int_equal(api("PUT", CMS "/a", "{\"metadata\":{\"name\":\"a\"},\"data\":{\"x\":\"1\"}}"),
                     200);
    sp_str stale = sp_arena_printf(
        w.arena, "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"%.*s\"}}", SP_ARG(rv));
    assert_int_equal(api("PUT", CMS "/a", stale.p), 409);
    assert_string_equal(got("reason", NULL), "Conflict");
    assert_int_equal(api("PUT", CMS "/a", "{\"metadata\":{\"name\":\"b\"}}"), 400);
    assert_int_equal(api("PUT", CMS "/a", "{\"metadata\":{\"name\":\"a\",\"uid\":\"zz\"}}"), 409);
    api("GET", CMS "/a", "");
    sp_str before = w.text;
    assert_int_equal(api("PUT", CMS "/a", before.p), 200); /* the same again: no new version */
    assert_true(sp_str_eq(before, w.text));
}

static void three_kinds_of_patch(void **state) {
    (void)state;
    make("a", "");
    assert_int_equal(api_typed("PATCH", CMS "/a", MERGE, "{\"data\":{\"x\":\"1\",\"y\":\"2\"}}"),
                     200);
    assert_int_equal(api_typed("PATCH", CMS "/a", MERGE, "{\"data\":{\"x\":null}}"), 200);
    assert_null(sp_json_dig(w.json, "data", "x", NULL));
    assert_int_equal(api_typed("PATCH", CMS "/a", "application/json-patch+json",
                               "[{\"op\":\"test\",\"path\":\"/data/y\",\"value\":\"2\"},"
                               "{\"op\":\"add\",\"path\":\"/data/z\",\"value\":\"3\"}]"),
                     200);
    assert_string_equal(got("data", "z", NULL), "3");
    assert_int_equal(api_typed("PATCH", CMS "/a", "application/json-patch+json",
                               "[{\"op\":\"test\",\"path\":\"/data/y\",\"value\":\"9\"}]"),
                     422);
    assert_int_equal(api_typed("PATCH", CMS "/a", "application/strategic-merge-patch+json",
                               "{\"metadata\":{\"finalizers\":[\"a.b/c\"]}}"),
                     200);
    assert_int_equal(
        api_typed("PATCH", CMS "/a", MERGE, "{\"metadata\":{\"resourceVersion\":\"1\"}}"), 409);
    assert_int_equal(api_typed("PATCH", CMS "/a", MERGE, "{\"metadata\":{\"finalizers\":null}}"),
                     200);
}

/* ---------- delete ---------- */

static void finalizers_hold(void **state) {
    (void)state;
    make("f", "");
    api_typed("PATCH", CMS "/f", MERGE, "{\"metadata\":{\"finalizers\":[\"a.b/c\"]}}");
    assert_int_equal(api("DELETE", CMS "/f", ""), 200);
    assert_string_equal(got("kind", NULL), "ConfigMap");
    assert_non_null(sp_json_dig(w.json, "metadata", "deletionTimestamp", NULL));
    assert_int_equal(api_typed("PATCH", CMS "/f", MERGE,
                               "{\"metadata\":{\"finalizers\":[\"a.b/c\",\"d.e/f\"]}}"),
                     422);
    assert_int_equal(api_typed("PATCH", CMS "/f", MERGE, "{\"metadata\":{\"finalizers\":null}}"),
                     200);
    assert_int_equal(api("GET", CMS "/f", ""), 404);
}

static void deletion_options(void **state) {
    (void)state;
    make("a", "");
    assert_int_equal(api("DELETE", CMS "/a", "{\"preconditions\":{\"uid\":\"zz\"}}"), 409);
    assert_int_equal(api("DELETE", CMS "/a", "{\"propagationPolicy\":\"Foreground\"}"), 200);
    assert_string_equal(
        sp_json_z(sp_json_at(sp_json_dig(w.json, "metadata", "finalizers", NULL), 0)),
        "foregroundDeletion");
    api_typed("PATCH", CMS "/a", MERGE, "{\"metadata\":{\"finalizers\":null}}");
    make("b", "");
    assert_int_equal(api("DELETE", CMS "/b", ""), 200);
    assert_string_equal(got("status", NULL), "Success");
    assert_string_equal(got("details", "name", NULL), "b");
    for (int i = 0; i < 5; i++)
        make(sp_arena_printf(w.arena, "m%d", i).p, i % 2 ? "\"g\":\"1\"" : "");
    assert_int_equal(api("DELETE", CMS "?labelSelector=g", ""), 200);
    api("GET", CMS, "");
    assert_int_equal(items(), 3);
    assert_int_equal(api("DELETE", CMS, ""), 200);
    api("GET", CMS, "");
    assert_int_equal(items(), 0);
}

static void pods_get_time_to_stop(void **state) {
    (void)state;
    static const char pod[] =
        "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\","
        "\"image\":\"i\"}]}}";
#define PODS "/api/v1/namespaces/default/pods"
    assert_int_equal(api("POST", PODS, pod), 201);
    assert_int_equal(api("DELETE", PODS "/p", ""), 200);
    assert_int_equal(api("GET", PODS "/p", ""), 404); /* it ran nowhere */
    assert_int_equal(api("POST", PODS, pod), 201);
    assert_int_equal(
        api("POST", PODS "/p/binding", "{\"target\":{\"kind\":\"Node\",\"name\":\"n1\"}}"), 201);
    assert_int_equal(
        api("POST", PODS "/p/binding", "{\"target\":{\"kind\":\"Node\",\"name\":\"n2\"}}"), 409);
    assert_int_equal(
        api("DELETE", PODS "/p?dryRun=All", "{\"gracePeriodSeconds\":9223372036854775807}"), 200);
    assert_true(strcmp(got("metadata", "deletionTimestamp", NULL), "2100") > 0); /* not the past */
    assert_int_equal(api("DELETE", PODS "/p", ""), 200);
    assert_int_equal(got_int("metadata", "deletionGracePeriodSeconds", NULL), 30);
    assert_int_equal(api("DELETE", PODS "/p", "{\"gracePeriodSeconds\":60}"), 200);
    assert_int_equal(got_int("metadata", "deletionGracePeriodSeconds", NULL), 30);
    assert_int_equal(api("DELETE", PODS "/p", "{\"gracePeriodSeconds\":5}"), 200);
    assert_int_equal(got_int("metadata", "deletionGracePeriodSeconds", NULL), 5);
    assert_int_equal(api("DELETE", PODS "/p", "{\"gracePeriodSeconds\":0}"), 200);
    assert_int_equal(api("GET", PODS "/p", ""), 404);
}

static void some_namespaces_last(void **state) {
    (void)state;
    static const char *const names[] = {"default", "kube-system", "kube-public"};
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        char path[64];
        snprintf(path, sizeof path, "/api/v1/namespaces/%s", names[i]);
        assert_int_equal(api("DELETE", path, ""), 403);
        assert_int_equal(api("GET", path, ""), 200);
        assert_string_equal(got("status", "phase", NULL), "Active");
    }
}

static void namespaces_end_in_two_steps(void **state) {
    (void)state;
    assert_int_equal(api("POST", "/api/v1/namespaces", "{\"metadata\":{\"name\":\"n\"}}"), 201);
    assert_string_equal(got("status", "phase", NULL), "Active");
    assert_int_equal(api("DELETE", "/api/v1/namespaces/n", ""), 200);
    assert_string_equal(got("status", "phase", NULL), "Terminating");
    assert_int_equal(
        api("POST", "/api/v1/namespaces/n/configmaps", "{\"metadata\":{\"name\":\"x\"}}"), 403);
    assert_int_equal(api("PUT", "/api/v1/namespaces/n/finalize",
                         "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"finalizers\":[]}}"),
                     200);
    assert_int_equal(api("GET", "/api/v1/namespaces/n", ""), 404);
}

/* ---------- subresources ---------- */

#define DEPLOYS "/apis/apps/v1/namespaces/default/deployments"

static void make_deployment(void) {
    assert_int_equal(
        api("POST", DEPLOYS,
            "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
            "\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{"
            "\"name\":\"c\",\"image\":\"i\"}]}}},\"status\":{\"replicas\":7}}"),
        201);
}

static void status_and_spec_are_apart(void **state) {
    (void)state;
    make_deployment();
    assert_int_equal(got_int("status", "replicas", NULL), -999);
    assert_int_equal(got_int("metadata", "generation", NULL), 1);
    assert_int_equal(api_typed("PATCH", DEPLOYS "/d/status", MERGE,
                               "{\"status\":{\"replicas\":3},\"spec\":{\"replicas\":9}}"),
                     200);
    assert_int_equal(got_int("status", "replicas", NULL), 3);
    assert_int_equal(got_int("spec", "replicas", NULL), 1);
    assert_int_equal(got_int("metadata", "generation", NULL), 1);
    assert_int_equal(api_typed("PATCH", DEPLOYS "/d", MERGE,
                               "{\"status\":{\"replicas\":8},\"spec\":{\"replicas\":2}}"),
                     200);
    assert_int_equal(got_int("status", "replicas", NULL), 3);
    assert_int_equal(got_int("spec", "replicas", NULL), 2);
    assert_int_equal(got_int("metadata", "generation", NULL), 2);
}

static void scales(void **state) {
    (void)state;
    make_deployment();
    assert_int_equal(api_typed("PATCH", DEPLOYS "/d/scale", MERGE, "{\"spec\":{\"replicas\":4}}"),
                     200);
    assert_string_equal(got("kind", NULL), "Scale");
    assert_int_equal(got_int("spec", "replicas", NULL), 4);
    assert_string_equal(got("status", "selector", NULL), "a=b");
    assert_int_equal(
        api("PUT", DEPLOYS "/d/scale", "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"replicas\":0}}"),
        200);
    api("GET", DEPLOYS "/d", "");
    assert_int_equal(got_int("spec", "replicas", NULL), 0);
    assert_int_equal(api_typed("PATCH", DEPLOYS "/d/scale", MERGE, "{\"spec\":{\"replicas\":-1}}"),
                     422);
    assert_int_equal(api("GET", CMS "/x/scale", ""), 404);
    assert_int_equal(api("DELETE", DEPLOYS "/d/scale", ""), 405);
}

static void aliases_serve_the_same_object(void **state) {
    (void)state;
    make_deployment();
    assert_int_equal(api("GET", "/apis/extensions/v1beta1/namespaces/default/deployments/d", ""),
                     200);
    assert_string_equal(got("apiVersion", NULL), "extensions/v1beta1");
    assert_int_equal(api("GET", "/apis/extensions/v1beta1/deployments", ""), 200);
    assert_string_equal(
        sp_json_z(sp_json_get(sp_json_at(sp_json_get(w.json, "items"), 0), "apiVersion")),
        "extensions/v1beta1");
    assert_int_equal(api_typed("PATCH", "/apis/extensions/v1beta1/namespaces/default/deployments/d",
                               MERGE, "{\"spec\":{\"replicas\":5}}"),
                     200);
    assert_string_equal(got("apiVersion", NULL), "extensions/v1beta1");
    api("GET", DEPLOYS "/d", "");
    assert_string_equal(got("apiVersion", NULL), "apps/v1");
    assert_int_equal(got_int("spec", "replicas", NULL), 5);
}

/* ---------- watch ---------- */

/* A watch that ends by itself after a second; the changes are made while it runs. */
static void watch_done(void *ctx, const sp_http_reply_msg *r, const sp_err *err) {
    sp_buf *b = ctx;
    if (err) fail_msg("%s", err->text);
    assert_int_equal(r->status, 200);
    sp_buf_add(b, r->body);
    sp_buf_addc(b, '\n');
}

static void start_watch(sp_buf *b, const char *query) {
    sp_str target = sp_arena_printf(w.arena, CMS "?watch=true&timeoutSeconds=1&%s", query);
    sp_http_call_params p = {.method = "GET", .target = target};
    sp_http_fetch(w.client, &p, 0, watch_done, b);
}

/* "ADDED a,MODIFIED a,": type and name of each event. */
static const char *events(const sp_buf *b) {
    sp_auto(sp_buf) out = {0};
    sp_str rest = sp_buf_str(b), line;
    while (sp_str_cut(&rest, '\n', &line)) {
        sp_json *j;
        if (!line.n) continue;
        assert_true(sp_json_parse(w.arena, line, &j, NULL));
        sp_buf_printf(&out, "%s %s,", sp_json_get_z(j, "type"),
                      sp_json_z(sp_json_dig(j, "object", "metadata", "name", NULL)));
    }
    return sp_arena_strz(w.arena, sp_buf_str(&out));
}

static void wait_for(const sp_buf *b) {
    while (!b->n) uv_run(&w.loop, UV_RUN_ONCE);
}

static void changes(void) {
    make("w1", "\"w\":\"1\"");
    api_typed("PATCH", CMS "/w1", MERGE, "{\"data\":{\"a\":\"b\"}}");
    api_typed("PATCH", CMS "/w1", MERGE, "{\"metadata\":{\"labels\":{\"w\":\"2\"}}}");
    api_typed("PATCH", CMS "/w1", MERGE, "{\"metadata\":{\"labels\":{\"w\":\"1\"}}}");
    api("DELETE", CMS "/w1", "");
}

static void watches_see_every_change(void **state) {
    (void)state;
    sp_auto(sp_buf) all = {0}, some = {0}, late = {0}, replayed = {0};
    make("a", "");
    const char *rev = got("metadata", "resourceVersion", NULL);
    const char *from = sp_arena_printf(w.arena, "resourceVersion=%s", rev).p;
    start_watch(&all, from);
    start_watch(&some, sp_arena_printf(w.arena, "%s&labelSelector=w%%3D1", from).p);
    changes();
    start_watch(&late, from);
    start_watch(&replayed, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    wait_for(&all), wait_for(&some), wait_for(&late), wait_for(&replayed);
    static const char wanted[] = "ADDED w1,MODIFIED w1,MODIFIED w1,MODIFIED w1,DELETED w1,";
    assert_string_equal(events(&all), wanted);
    assert_string_equal(events(&late), wanted);
    assert_string_equal(events(&some), "ADDED w1,MODIFIED w1,DELETED w1,ADDED w1,DELETED w1,");
    assert_string_equal(events(&replayed), "ADDED a,BOOKMARK ,");
}

static void a_watch_of_the_future_is_told_to_list(void **state) {
    (void)state;
    sp_auto(sp_buf) b = {0};
    start_watch(&b, "resourceVersion=999999");
    wait_for(&b);
    assert_non_null(strstr(b.p, "\"type\":\"ERROR\""));
    assert_non_null(strstr(b.p, "\"code\":410"));
}

static void streams_of_another_form(void **state) {
    (void)state;
    static const char accept_table[] = "application/json;as=Table;v=v1;g=meta.k8s.io";
    make("a", "");
    sp_header h = {SP_STR("accept"), sp_str_z(accept_table)};
    sp_http_call_params p = {
        .method = "GET", .target = SP_STR(CMS), .headers = &h, .header_count = 1};
    w.done = false;
    sp_http_fetch(w.client, &p, 0, world_answer, NULL);
    while (!w.done) uv_run(&w.loop, UV_RUN_ONCE);
    assert_string_equal(got("kind", NULL), "Table");
    assert_int_equal(sp_json_get(w.json, "rows")->count, 1);
}

static void stopping_ends_watches(void **state) {
    (void)state;
    static sp_buf b; /* filled while the world closes */
    sp_http_call_params p = {.method = "GET",
                             .target = SP_STR(CMS "?watch=true&resourceVersion=1")};
    sp_http_fetch(w.client, &p, 0, watch_done, &b);
    make("a", "");
    sp_apiserver_stop(w.server, NULL, NULL);
    wait_for(&b);
    assert_string_equal(events(&b), "ADDED a,");
    sp_buf_free(&b);
    w.server = NULL;
}

/* ---------- everything else ---------- */

static sp_strs addresses;

static void service_made(void *ctx, const sp_http_reply_msg *r, const sp_err *err) {
    sp_json *j;
    (void)ctx;
    if (err) fail_msg("%s", err->text);
    assert_int_equal(r->status, 201);
    assert_true(sp_json_parse(w.arena, r->body, &j, NULL));
    sp_str ip = sp_json_str(sp_json_dig(j, "spec", "clusterIP", NULL));
    assert_true(ip.n > 0);
    sp_vec_each(&addresses, other) assert_false(sp_str_eq(*other, ip));
    sp_vec_push(&addresses, ip);
}

static void addresses_are_given_once(void **state) {
    (void)state;
    enum { MANY = 40 };
    for (int i = 0; i < MANY; i++) {
        sp_str body = sp_arena_printf(
            w.arena, "{\"metadata\":{\"name\":\"s%d\"},\"spec\":{\"ports\":[{\"port\":80}]}}", i);
        sp_http_call_params p = {.method = "POST",
                                 .target = SP_STR("/api/v1/namespaces/default/services"),
                                 .body = body};
        sp_http_fetch(w.client, &p, 0, service_made, NULL);
    }
    while (addresses.n < MANY) uv_run(&w.loop, UV_RUN_ONCE);
    sp_vec_free(&addresses);
}

static void health_version_metrics(void **state) {
    (void)state;
    assert_int_equal(api("GET", "/healthz", ""), 200);
    assert_true(sp_str_eqz(w.text, "ok"));
    assert_int_equal(api("GET", "/readyz?verbose", ""), 200);
    assert_non_null(strstr(w.text.p, "[+]store ok"));
    assert_int_equal(api("GET", "/livez/ping", ""), 200);
    assert_int_equal(api("GET", "/livez/nope", ""), 404);
    assert_int_equal(api("GET", "/version", ""), 200);
    assert_true(sp_str_starts(sp_str_z(got("gitVersion", NULL)), SP_STR("v1.30.")));
    assert_int_equal(api("GET", "/metrics", ""), 200);
    assert_non_null(strstr(w.text.p, "apiserver_request_total{verb=\"\""));
    assert_int_equal(api("GET", "/api", ""), 200);
    assert_int_equal(api("GET", "/apis", ""), 200);
    assert_int_equal(api("GET", "/api/v1", ""), 200);
    assert_int_equal(api("GET", "/apis/apps", ""), 200);
    assert_int_equal(api("GET", "/apis/apps/v1", ""), 200);
    assert_int_equal(api("GET", "/openapi/v3", ""), 200);
    assert_int_equal(api("GET", "/openapi/v2", ""), 200);
    assert_true(sp_str_find(w.text, SP_STR("/api/v1/namespaces/{namespace}/pods/{name}")) > 0);
    assert_true(sp_str_find(w.text, SP_STR("dryRun")) > 0);
}

static void reviews_answer(void **state) {
    (void)state;
    assert_int_equal(api("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                         "{\"spec\":{\"resourceAttributes\":{\"verb\":\"get\"}}}"),
                     201);
    assert_true(sp_json_bool(sp_json_dig(w.json, "status", "allowed", NULL), false));
    assert_int_equal(api("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}"), 201);
    assert_string_equal(got("status", "userInfo", "username", NULL), "system:admin");
    assert_int_equal(api("GET", "/apis/authentication.k8s.io/v1/selfsubjectreviews", ""), 405);
}

static void credentials_are_checked(void **state) {
    (void)state;
    w.server->config.trust_everybody = false;
    assert_int_equal(api("GET", CMS, ""), 401);
    assert_string_equal(got("reason", NULL), "Unauthorized");
    assert_int_equal(api("GET", "/metrics", ""), 401);
    assert_int_equal(api("GET", "/nothing", ""), 401);
    assert_int_equal(api("GET", "/readyz", ""), 200);
    assert_int_equal(api("GET", "/version", ""), 200);
    w.bearer = "secret";
    assert_int_equal(api("GET", CMS, ""), 200);
}

#define SECRETS "/api/v1/namespaces/kube-system/secrets"
#define SECRET(name, type) "{\"metadata\":{" name "},\"type\":\"" type "\"}"
#define TYPE "sampan.dev/join-token"

static void merge(const char *target, const char *body, int status) {
    assert_int_equal(api_typed("PATCH", target, "application/merge-patch+json", body), status);
}

/* Whoever writes a token of her own is given the keys of the CA for it. */
static void only_masters_let_machines_in(void **state) {
    (void)state;
    static const char *const tokens[] = {SECRET("\"name\":\"join-token-aaaaaa\"", TYPE),
                                         SECRET("\"name\":\"join-token-aaaaaa\"", "Opaque"),
                                         SECRET("\"generateName\":\"join-token-\"", "Opaque"),
                                         SECRET("\"name\":\"other\"", TYPE)};
    assert_int_equal(api("POST", SECRETS, SECRET("\"name\":\"join-token-old\"", TYPE)), 201);
    w.bearer = "secret"; /* alice, of the group dev */
    for (size_t i = 0; i < SP_COUNT(tokens); i++) {
        assert_int_equal(api("POST", SECRETS, tokens[i]), 403);
        assert_string_equal(got("reason", NULL), "Forbidden");
        assert_non_null(strstr(got("message", NULL), "User \"alice\" cannot change tokens"));
        assert_int_equal(api("POST", SECRETS "?dryRun=All", tokens[i]), 403);
    }
    assert_int_equal(
        api("PUT", SECRETS "/join-token-old", SECRET("\"name\":\"join-token-old\"", "Opaque")),
        403);
    merge(SECRETS "/join-token-old", "{\"data\":{\"sha256\":\"YQ==\"}}", 403);
    assert_int_equal(api("DELETE", SECRETS "/join-token-old", ""), 403);
    assert_int_equal(api("DELETE", SECRETS, ""), 403);
    /* A Secret does not become one either. */
    assert_int_equal(api("POST", SECRETS, SECRET("\"name\":\"mine\"", "Opaque")), 201);
    merge(SECRETS "/mine", "{\"type\":\"" TYPE "\"}", 403);
    merge(SECRETS "/mine", "{\"data\":{\"a\":\"YQ==\"}}", 200);
    assert_int_equal(api("DELETE", SECRETS "/mine", ""), 200);
    /* The name means nothing elsewhere; and what is kept of a token may be read. */
    assert_int_equal(api("POST", "/api/v1/namespaces/default/secrets",
                         SECRET("\"name\":\"join-token-aaaaaa\"", "Opaque")),
                     201);
    assert_int_equal(api("GET", SECRETS "/join-token-old", ""), 200);
    w.bearer = NULL;
    merge(SECRETS "/join-token-old", "{\"data\":{\"a\":\"YQ==\"}}", 200);
    assert_int_equal(api("DELETE", SECRETS "/join-token-old", ""), 200);
}

static void bootstrap_objects_exist(void **state) {
    (void)state;
    assert_int_equal(api("GET", "/api/v1/namespaces/kube-system", ""), 200);
    assert_int_equal(api("GET", "/api/v1/namespaces/default/services/kubernetes", ""), 200);
    assert_string_equal(got("spec", "clusterIP", NULL), "10.96.0.1");
    assert_int_equal(api("GET", "/api/v1/namespaces/default/endpoints/kubernetes", ""), 200);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {T(create_fills_metadata),
                                       T(names_are_generated),
                                       T(refusals_say_why),
                                       T(unknown_fields),
                                       T(yaml_bodies),
                                       T(dry_run_stores_nothing),
                                       T(pages_show_one_revision),
                                       T(selectors_choose),
                                       T(updates_respect_versions),
                                       T(three_kinds_of_patch),
                                       T(finalizers_hold),
                                       T(deletion_options),
                                       T(pods_get_time_to_stop),
                                       T(some_namespaces_last),
                                       T(namespaces_end_in_two_steps),
                                       T(status_and_spec_are_apart),
                                       T(scales),
                                       T(aliases_serve_the_same_object),
                                       T(watches_see_every_change),
                                       T(a_watch_of_the_future_is_told_to_list),
                                       T(streams_of_another_form),
                                       T(stopping_ends_watches),
                                       T(addresses_are_given_once),
                                       T(health_version_metrics),
                                       T(reviews_answer),
                                       T(credentials_are_checked),
                                       T(only_masters_let_machines_in),
                                       T(bootstrap_objects_exist)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
