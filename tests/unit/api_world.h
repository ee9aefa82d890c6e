/* A whole API server in this process: store in memory, plain HTTP on a free loopback port, a client
 * on the same loop. Requests are written as in a console: api("POST", path, body). */
#pragma once
#include "apiserver/server.h"
#include "net/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct world {
    uv_loop_t loop;
    sp_apiserver *server;
    sp_http_client *client;
    sp_arena *arena;
    bool ready, done;
    const char *bearer; /* token of who asks; NULL = system:masters */
    /* of the last answer */
    int status;
    sp_json *json;
    sp_str text, warning;
} world;

static world w;

static void world_ready(void *ctx) {
    (void)ctx;
    w.ready = true;
}

static void world_open(void) {
    sp_err err = {0};
    w = (world){.arena = sp_arena_new()};
    uv_loop_init(&w.loop);
    sp_apiserver_config c = {.bind = "127.0.0.1",
                             .advertise = "192.0.2.7",
                             .trust_everybody = true,
                             .tokens = SP_STR("secret,alice,1,dev\n")};
    bool ok = sp_apiserver_start(&w.loop, &c, world_ready, NULL, &w.server, &err);
    if (!ok) fail_msg("%s", err.text);
    while (!w.ready) uv_run(&w.loop, UV_RUN_ONCE);
    w.client =
        sp_http_client_new(&w.loop, &(sp_http_client_config){.host = "127.0.0.1",
                                                             .port = sp_apiserver_port(w.server)});
}

static void world_close(void) {
    sp_http_client_free(w.client);
    if (w.server) sp_apiserver_stop(w.server, NULL, NULL);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w.loop), 0);
    sp_arena_free(w.arena);
}

static void world_answer(void *ctx, const sp_http_reply_msg *r, const sp_err *err) {
    (void)ctx;
    w.done = true;
    if (err) fail_msg("%s", err->text);
    w.status = r->status;
    w.text = sp_arena_str(w.arena, r->body);
    w.warning = sp_arena_str(w.arena, sp_headers_get(r->headers, r->header_count, "warning"));
    if (!sp_json_parse(w.arena, w.text, &w.json, NULL)) w.json = NULL;
}

/* type NULL: no Content-Type at all. */
static int api_typed(const char *method, const char *target, const char *type, const char *body) {
    char who[64];
    snprintf(who, sizeof who, "Bearer %s", w.bearer ? w.bearer : "");
    sp_header h[2];
    size_t n = 0;
    if (type) h[n++] = (sp_header){SP_STR("content-type"), sp_str_z(type)};
    if (w.bearer) h[n++] = (sp_header){SP_STR("authorization"), sp_str_z(who)};
    sp_http_call_params p = {.method = method,
                             .target = sp_str_z(target),
                             .headers = h,
                             .header_count = n,
                             .body = sp_str_z(body),
                             .timeout_ms = 10000};
    w.done = false;
    sp_http_fetch(w.client, &p, 0, world_answer, NULL);
    while (!w.done) uv_run(&w.loop, UV_RUN_ONCE);
    return w.status;
}

static int api(const char *method, const char *target, const char *body) {
    return api_typed(method, target, "application/json", body);
}

/* The text of the field at keys of the last answer: got("metadata", "name", NULL). */
#define got(...) sp_json_z(sp_json_dig(w.json, __VA_ARGS__))
#define got_int(...) ((int)sp_json_int(sp_json_dig(w.json, __VA_ARGS__), -999))
