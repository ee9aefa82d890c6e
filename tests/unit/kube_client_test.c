/* The API client with several servers: which of their refusals make it go elsewhere. */
#include "base/clock.h"
#include "base/file.h"
#include "kube/client.h"
#include "net/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static void each_of_the_others_is_tried_once(void **state) {
    (void)state;
    static const struct {
        int64_t at_ms;
        bool may;
    } rows[] = {{1000, true},   {1000, true},  {1001, false}, {9000, false},
                {30999, false}, {31000, true}, {40000, true}, {50000, false}};
    sp_kube_refusals r = {0};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        bool may = sp_kube_may_leave(&r, 2, rows[i].at_ms);
        assert_int_equal(may, rows[i].may);
        r.left += may;
    }
    r.left = 0; /* a write was answered */
    assert_true(sp_kube_may_leave(&r, 2, 50001));
    assert_false(sp_kube_may_leave(&(sp_kube_refusals){0}, 0, 1));
}

/* --- two servers that refuse writes --- */

typedef struct world {
    uv_loop_t loop;
    sp_http_server *server[2];
    int writes[2], watches[2];
    sp_kube *kube;
    char file[64];
    bool paused;
} world;

static const sp_header json = {SP_STR_INIT("content-type"), SP_STR_INIT("application/json")};

static void watch_closed(void *ctx) {
    (void)ctx;
}

static void answer(world *w, int i, sp_http_req *req, sp_http_res *res) {
    if (sp_str_eqz(req->method, "GET")) {
        w->watches[i]++;
        sp_http_on_close(res, watch_closed, w);
        sp_http_begin(res, 200, &json, 1);
        return;
    }
    w->writes[i]++;
    sp_http_reply(res, 503, &json, 1, SP_STR("{\"kind\":\"Status\",\"message\":\"full\"}"));
}

static void answer_0(void *ctx, sp_http_req *req, sp_http_res *res) {
    answer(ctx, 0, req, res);
}

static void answer_1(void *ctx, sp_http_req *req, sp_http_res *res) {
    answer(ctx, 1, req, res);
}

static int write_once(world *w) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_kube_request r = {
        .method = "POST", .target = SP_STR("/api/v1/namespaces"), .raw = SP_STR("{}")};
    int status = 0;
    assert_false(sp_kube_call_sync(w->kube, a, &r, &status, NULL, NULL));
    return status;
}

static void pause_over(uv_timer_t *t) {
    ((world *)t->data)->paused = false;
}

/* Longer than the pause between two departures (net/client.h). */
static void wait_a_while(world *w) {
    uv_timer_t t = {.data = w};
    uv_timer_init(&w->loop, &t);
    uv_timer_start(&t, pause_over, 1100, 0);
    for (w->paused = true; w->paused;) uv_run(&w->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void no_data(void *ctx, sp_str bytes) {
    (void)ctx, (void)bytes;
}

static void on_end(void *ctx, const sp_err *err) {
    (void)err;
    ++*(int *)ctx;
}

static void open_world(world *w) {
    static sp_http_handler *const handlers[] = {answer_0, answer_1};
    char text[300];
    sp_err err = {0};
    *w = (world){0};
    uv_loop_init(&w->loop);
    for (int i = 0; i < 2; i++) {
        sp_http_server_config c = {.host = "127.0.0.1", .handler = handlers[i], .ctx = w};
        if (!sp_http_server_start(&w->loop, &c, &w->server[i], &err)) fail_msg("%s", err.text);
    }
    snprintf(text, sizeof text,
             "current-context: c\nclusters:\n- name: c\n"
             "  cluster: {server: 'http://127.0.0.1:%u,http://127.0.0.1:%u'}\n"
             "contexts:\n- name: c\n  context: {cluster: c}\n",
             sp_http_server_port(w->server[0]), sp_http_server_port(w->server[1]));
    snprintf(w->file, sizeof w->file, "/tmp/kube-client-%d", (int)getpid());
    if (!sp_file_write(w->file, sp_str_z(text), 0600, &err)) fail_msg("%s", err.text);
    if (!sp_kube_open(&w->loop, &(sp_kube_config){.kubeconfig = w->file}, &w->kube, &err))
        fail_msg("%s", err.text);
}

static void close_world(world *w) {
    sp_kube_free(w->kube);
    for (int i = 0; i < 2; i++) sp_http_server_stop(w->server[i], 0, NULL, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    unlink(w->file);
}

static void watches_stay_where_all_refuse(void **state) {
    (void)state;
    world w;
    int ended = 0;
    open_world(&w);
    assert_int_equal(write_once(&w), 503);
    assert_int_equal(w.writes[0], 1);
    sp_kube_stream(w.kube, SP_STR("/api/v1/namespaces?watch=1"), NULL, no_data, on_end, &ended);
    while (!w.watches[1]) uv_run(&w.loop, UV_RUN_ONCE);
    for (int i = 0; i < 2; i++) {
        wait_a_while(&w);
        assert_int_equal(write_once(&w), 503);
    }
    assert_int_equal(w.writes[0], 1);
    assert_int_equal(w.writes[1], 2);
    assert_int_equal(ended, 0);
    close_world(&w);
    assert_int_equal(ended, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_of_the_others_is_tried_once),
        cmocka_unit_test(watches_stay_where_all_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
