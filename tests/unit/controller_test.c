#include "fake_api.h"

#include "kube/controller.h"
#include "kube/gvrs.h"

static fake_api *f;
static sp_manager *m;
static unsigned runs;
static bool wants_event;

static int setup(void **state) {
    (void)state;
    f = fake_new();
    m = sp_manager_new(f->kube, "test");
    runs = 0;
    wants_event = false;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    sp_manager_free(m);
    fake_free(f);
    return 0;
}

#define POD(name, rv)                                                        \
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"" name \
    "\",\"namespace\":\"d\",\"uid\":\"u\",\"resourceVersion\":\"" rv "\"}}"

static sp_json *make(sp_arena *a, const char *text) {
    sp_json *j = NULL;
    assert_true(sp_json_parse(a, sp_str_z(text), &j, NULL));
    return j;
}

/* Wants a pod "made" beside each pod "base". */
static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)ctx, (void)err;
    runs++;
    sp_informer *pods = sp_manager_informer(m, &sp_gvr_pods);
    const sp_json *base = sp_informer_get(pods, r->ns, r->name);
    if (!base || sp_informer_get(pods, SP_STR("d"), SP_STR("made"))) return true;
    sp_reconcile_create(r, &sp_gvr_pods, SP_STR("d"), make(r->arena, POD("made", "")));
    if (wants_event) sp_reconcile_event(r, base, "Normal", "Made", "made %d", 1);
    return true;
}

static void answer_created(fake_api *x, sp_http_req *req, sp_http_res *res) {
    (void)x, (void)req;
    fake_reply(res, 201, POD("made", "20"));
}

static void start(const char *key) {
    f->list_body = "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" POD("base", "5") "]}";
    sp_controller *c = sp_controller_new(m, "maker", reconcile, NULL);
    sp_controller_reads(c, &sp_gvr_pods);
    sp_controller_enqueue(c, sp_str_z(key));
    sp_controller_enqueue(c, sp_str_z(key));
}

static void a_key_waits_for_its_own_writes(void **state) {
    (void)state;
    f->answer = answer_created;
    sp_controller *c = sp_controller_new(m, "maker", reconcile, NULL);
    f->list_body = "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" POD("base", "5") "]}";
    sp_controller_for(c, &sp_gvr_pods);
    fake_wait(f, f->writes == 1);
    assert_string_equal(f->method, "POST");
    assert_string_equal(f->path, "/api/v1/namespaces/d/pods");
    assert_int_equal(runs, 1);
    /* A change that does not show the write yet: the key stays held, nothing is made twice. */
    fake_send(f, "{\"type\":\"MODIFIED\",\"object\":" POD("base", "19") "}");
    fake_wait(f, sp_informer_revision(sp_manager_informer(m, &sp_gvr_pods)) == 19);
    for (int i = 0; i < 20; i++) uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(runs, 1);
    fake_send(f, "{\"type\":\"ADDED\",\"object\":" POD("made", "20") "}");
    fake_wait(f, runs >= 2);
    for (int i = 0; i < 20; i++) uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->writes, 1);
}

static unsigned failures;
static void answer_failing_twice(fake_api *x, sp_http_req *req, sp_http_res *res) {
    if (failures++ < 2)
        fake_reply(
            res, 500,
            "{\"kind\":\"Status\",\"code\":500,\"reason\":\"InternalError\",\"message\":\"no\"}");
    else
        answer_created(x, req, res);
}

static void failures_are_tried_again(void **state) {
    (void)state;
    failures = 0;
    f->answer = answer_failing_twice;
    start("d/base");
    fake_wait(f, f->writes == 3);
    assert_int_equal(runs, 3);
    sp_auto(sp_buf) b = {0};
    sp_manager_metrics(m, &b);
    assert_non_null(strstr(b.p, "sampan_reconcile_errors_total{controller=\"maker\"} 2\n"));
}

/* Wants one pod, under a name made up at each run, as a ReplicaSet does. */
static bool reconcile_one(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)ctx, (void)err;
    runs++;
    sp_obj_list pods = {0};
    sp_informer_list(sp_manager_informer(m, &sp_gvr_pods), r->ns, &pods);
    size_t n = pods.n;
    sp_vec_free(&pods);
    if (n > 1) return true; /* the base and another */
    sp_json *pod = make(r->arena, POD("x", ""));
    sp_json *name = sp_json_new_str(r->arena, sp_arena_printf(r->arena, "made-%u", runs));
    sp_json_set(r->arena, sp_json_ensure_object(r->arena, pod, "metadata"), "name", name);
    sp_reconcile_create(r, &sp_gvr_pods, SP_STR("d"), pod);
    return true;
}

static void answer_lost_twice(fake_api *x, sp_http_req *req, sp_http_res *res) {
    (void)x, (void)req;
    static const char *const said[] = {
        "{\"kind\":\"Status\",\"code\":504,\"reason\":\"Timeout\",\"message\":\"no\"}",
        "{\"kind\":\"Status\",\"code\":503,\"reason\":\"ServiceUnavailable\",\"message\":\"no\"}",
        "{\"kind\":\"Status\",\"code\":409,\"reason\":\"AlreadyExists\",\"message\":\"there\"}"};
    static const int codes[] = {504, 503, 409};
    unsigned n = SP_MIN(failures, 2u);
    failures++;
    fake_reply(res, codes[n], said[n]);
}

static void what_may_have_been_made_is_not_made_under_another_name(void **state) {
    (void)state;
    failures = 0;
    f->answer = answer_lost_twice;
    f->list_body = "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" POD("base", "5") "]}";
    sp_controller *c = sp_controller_new(m, "maker", reconcile_one, NULL);
    sp_controller_reads(c, &sp_gvr_pods);
    sp_controller_enqueue(c, SP_STR("d/base"));
    fake_wait(f, f->writes == 3);
    assert_non_null(strstr(f->body, "\"made-1\""));
    sp_controller_enqueue(c, SP_STR("d/base"));
    for (int i = 0; i < 20; i++) uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(runs, 1); /* until it is seen */
    fake_send(f, "{\"type\":\"ADDED\",\"object\":" POD("made-1", "20") "}");
    fake_wait(f, runs == 2);
    for (int i = 0; i < 20; i++) uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->writes, 3);
}

static void events_follow_success(void **state) {
    (void)state;
    wants_event = true;
    f->answer = answer_created;
    start("d/base");
    fake_wait(f, f->writes == 2);
    assert_string_equal(f->path, "/api/v1/namespaces/d/events");
    assert_non_null(strstr(f->body, "\"reason\":\"Made\""));
    assert_non_null(strstr(f->body, "\"component\":\"maker-controller\""));
    assert_non_null(strstr(f->body, "\"count\":1"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_waits_for_its_own_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_are_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(what_may_have_been_made_is_not_made_under_another_name,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(events_follow_success, setup, teardown),
    };
    return cmocka_run_group_tests_name("controller", tests, NULL, NULL);
}
