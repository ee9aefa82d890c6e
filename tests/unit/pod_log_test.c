/* kubectl logs: the way through the API server to an agent, over TLS with certificates of one CA.
 */
#include "api_world.h"

#include <stdio.h>

#define PODS "/api/v1/namespaces/default/pods"

static struct {
    sp_http_server *server;
    sp_tls_ctx *tls, *client_tls;
    sp_str asked; /* path?query of the last request */
    sp_str by;    /* common name of who asked */
    bool gone, stopped;
} agent;

static void follower_gone(void *ctx) {
    (void)ctx;
    agent.gone = true;
}

static void agent_handle(void *ctx, sp_http_req *q, sp_http_res *res) {
    (void)ctx;
    agent.asked = sp_arena_printf(w.arena, "%.*s?%.*s", SP_ARG(q->path), SP_ARG(q->query));
    agent.by = sp_arena_str(w.arena, q->peer ? q->peer->common_name : SP_STR(""));
    sp_header text = {SP_STR("content-type"), SP_STR("text/plain")};
    if (sp_str_ends(q->path, SP_STR("/waiting"))) {
        sp_http_reply(res, 400, &text, 1, SP_STR("container \"waiting\" is waiting to start\n"));
    } else if (sp_str_find(q->query, SP_STR("follow=true")) >= 0) {
        sp_http_begin(res, 200, &text, 1);
        sp_http_on_close(res, follower_gone, NULL);
        sp_http_write(res, SP_STR("first line\n"));
    } else {
        sp_http_reply(res, 200, &text, 1, SP_STR("one\ntwo\n"));
    }
}

static sp_tls_ctx *tls_for(sp_str ca, sp_str ca_key, bool server) {
    static const char *const ips[] = {"127.0.0.1", NULL};
    sp_auto(sp_buf) cert = {0}, key = {0};
    sp_err err = {0};
    sp_tls_ctx *ctx;
    sp_cert_request r = {.common_name = server ? "node-1" : "kube-apiserver-kubelet-client",
                         .ips = server ? ips : NULL,
                         .server = server,
                         .client = !server,
                         .life_s = 2 * SP_DAY_S};
    if (!sp_cert_issue(ca, ca_key, &r, &cert, &key, &err)) fail_msg("%s", err.text);
    sp_tls_config c = {.cert_pem = sp_buf_str(&cert),
                       .key_pem = sp_buf_str(&key),
                       .ca_pem = ca,
                       .server = server,
                       .require_client = server};
    if (!sp_tls_ctx_new(&c, &ctx, &err)) fail_msg("%s", err.text);
    return ctx;
}

static void add_node(const char *name, int port) {
    sp_str node = sp_arena_printf(
        w.arena,
        "{\"metadata\":{\"name\":\"%s\"},\"status\":{\"addresses\":[{\"type\":\"InternalIP\","
        "\"address\":\"127.0.0.1\"}],\"daemonEndpoints\":{\"kubeletEndpoint\":{\"Port\":%d}}}}",
        name, port);
    assert_int_equal(api("POST", "/api/v1/nodes", node.p), 201);
}

static void add_pod(const char *name, const char *node) {
    sp_str pod =
        sp_arena_printf(w.arena,
                        "{\"metadata\":{\"name\":\"%s\"},\"spec\":{%s\"containers\":[{\"name\":"
                        "\"c\",\"image\":\"i\"},{\"name\":\"waiting\",\"image\":\"i\"}]}}",
                        name, node);
    assert_int_equal(api("POST", PODS, pod.p), 201);
}

static int open_all(void **state) {
    (void)state;
    sp_auto(sp_buf) ca = {0}, ca_key = {0};
    sp_err err = {0};
    world_open();
    memset(&agent, 0, sizeof agent);
    if (!sp_cert_make_ca("test", 2 * SP_DAY_S, &ca, &ca_key, &err)) fail_msg("%s", err.text);
    agent.tls = tls_for(sp_buf_str(&ca), sp_buf_str(&ca_key), true);
    agent.client_tls = tls_for(sp_buf_str(&ca), sp_buf_str(&ca_key), false);
    w.server->config.kubelet = agent.client_tls;
    sp_http_server_config c = {.host = "127.0.0.1", .tls = agent.tls, .handler = agent_handle};
    if (!sp_http_server_start(&w.loop, &c, &agent.server, &err)) fail_msg("%s", err.text);
    add_node("n1", sp_http_server_port(agent.server));
    add_pod("p", "\"nodeName\":\"n1\",");
    return 0;
}

static void agent_stopped(void *ctx) {
    (void)ctx;
    agent.stopped = true;
}

static int close_all(void **state) {
    (void)state;
    sp_http_server_stop(agent.server, 0, agent_stopped, NULL);
    while (!agent.stopped) uv_run(&w.loop, UV_RUN_ONCE);
    world_close();
    sp_tls_ctx_unref(agent.tls);
    sp_tls_ctx_unref(agent.client_tls);
    return 0;
}

static void lines_come_through(void **state) {
    (void)state;
    assert_int_equal(api("GET", PODS "/p/log?container=c&tailLines=5&timestamps=true&pretty=1", ""),
                     200);
    assert_string_equal(w.text.p, "one\ntwo\n");
    assert_string_equal(agent.asked.p, "/containerLogs/default/p/c?tailLines=5&timestamps=true");
    assert_string_equal(agent.by.p, "kube-apiserver-kubelet-client");
}

static void the_container_must_be_said(void **state) {
    (void)state;
    assert_int_equal(api("GET", PODS "/p/log", ""), 400);
    assert_non_null(strstr(got("message", NULL), "choose one of: [c waiting]"));
    assert_int_equal(api("GET", PODS "/p/log?container=zz", ""), 400);
    assert_non_null(strstr(got("message", NULL), "zz is not valid for pod p"));
    assert_int_equal(api("GET", PODS "/nope/log", ""), 404);
}

static void what_the_agent_says_is_told(void **state) {
    (void)state;
    assert_int_equal(api("GET", PODS "/p/log?container=waiting", ""), 400);
    assert_string_equal(got("message", NULL), "container \"waiting\" is waiting to start");
    assert_string_equal(got("reason", NULL), "BadRequest");
}

static void where_nobody_answers(void **state) {
    (void)state;
    add_pod("q", "");
    assert_int_equal(api("GET", PODS "/q/log?container=c", ""), 204);
    add_node("n2", 1);
    add_pod("r", "\"nodeName\":\"n2\",");
    assert_int_equal(api("GET", PODS "/r/log?container=c", ""), 503);
    assert_non_null(strstr(got("message", NULL), "node n2 does not answer"));
    add_pod("s", "\"nodeName\":\"n3\",");
    assert_int_equal(api("GET", PODS "/s/log?container=c", ""), 404);
}

static void first_bytes(void *ctx, sp_str bytes) {
    sp_buf_add(ctx, bytes);
}

static void never_done(void *ctx, const sp_err *err) {
    (void)ctx;
    fail_msg("the stream ended: %s", err ? err->text : "complete");
}

static void a_reader_that_leaves_ends_the_stream(void **state) {
    (void)state;
    sp_auto(sp_buf) b = {0};
    sp_http_call_params p = {.method = "GET",
                             .target = SP_STR(PODS "/p/log?container=c&follow=true"),
                             .data = first_bytes,
                             .done = never_done,
                             .ctx = &b};
    sp_http_call *call = sp_http_call_start(w.client, &p);
    while (!b.n) uv_run(&w.loop, UV_RUN_ONCE);
    assert_string_equal(b.p, "first line\n");
    sp_http_call_cancel(call);
    while (!agent.gone) uv_run(&w.loop, UV_RUN_ONCE);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, open_all, close_all)

int main(void) {
    const struct CMUnitTest tests[] = {T(lines_come_through), T(the_container_must_be_said),
                                       T(what_the_agent_says_is_told), T(where_nobody_answers),
                                       T(a_reader_that_leaves_ends_the_stream)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
