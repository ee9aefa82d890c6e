/* A scripted API server in this process, for tests of informers and controllers: LIST answers what
 * the test set, a WATCH stays open until the test writes or ends it, everything else is recorded
 * and answered by a function of the test. */
#pragma once
#include "base/clock.h"
#include "base/file.h"
#include "kube/client.h"
#include "net/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fake_api {
    uv_loop_t loop;
    sp_http_server *server;
    sp_kube *kube;
    char file[64];
    /* LIST */
    int list_status;
    const char *list_body;
    unsigned lists;
    /* WATCH: one at a time */
    sp_http_res *watch;
    int watch_status;
    const char *watch_body; /* of a refusal */
    unsigned watches;
    char watch_query[512];
    /* others */
    unsigned writes;
    char method[16], path[256], body[8192];
    void (*answer)(struct fake_api *f, sp_http_req *req, sp_http_res *res);
} fake_api;

static const sp_header fake_json = {SP_STR_INIT("content-type"), SP_STR_INIT("application/json")};

static inline void fake_reply(sp_http_res *res, int status, const char *body) {
    sp_http_reply(res, status, &fake_json, 1, sp_str_z(body));
}

static void fake_watch_closed(void *ctx) {
    ((fake_api *)ctx)->watch = NULL;
}

static void fake_watch(fake_api *f, sp_http_req *req, sp_http_res *res) {
    f->watches++;
    snprintf(f->watch_query, sizeof f->watch_query, "%.*s", SP_ARG(req->query));
    if (f->watch_status >= 400) {
        fake_reply(res, f->watch_status, f->watch_body);
        return;
    }
    f->watch = res;
    sp_http_on_close(res, fake_watch_closed, f);
    sp_http_begin(res, 200, &fake_json, 1);
}

static void fake_handle(void *ctx, sp_http_req *req, sp_http_res *res) {
    fake_api *f = ctx;
    sp_str v;
    if (sp_str_eqz(req->method, "GET") && sp_query_get(req->arena, req->query, "watch", &v)) {
        fake_watch(f, req, res);
    } else if (sp_str_eqz(req->method, "GET") &&
               sp_query_get(req->arena, req->query, "limit", &v)) {
        f->lists++;
        fake_reply(res, f->list_status, f->list_body);
    } else {
        f->writes++;
        snprintf(f->method, sizeof f->method, "%.*s", SP_ARG(req->method));
        snprintf(f->path, sizeof f->path, "%.*s", SP_ARG(req->path));
        snprintf(f->body, sizeof f->body, "%.*s", SP_ARG(req->body));
        if (f->answer)
            f->answer(f, req, res);
        else
            fake_reply(res, 200, "{}");
    }
}

static inline fake_api *fake_new(void) {
    fake_api *f = sp_zalloc(1, sizeof *f);
    sp_err err = {0};
    uv_loop_init(&f->loop);
    f->list_status = 200;
    f->list_body = "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}";
    sp_http_server_config c = {.host = "127.0.0.1", .handler = fake_handle, .ctx = f};
    if (!sp_http_server_start(&f->loop, &c, &f->server, &err)) fail_msg("%s", err.text);
    char text[512];
    snprintf(
        text, sizeof text,
        "current-context: c\nclusters:\n- name: c\n  cluster: {server: 'http://127.0.0.1:%u'}\n"
        "contexts:\n- name: c\n  context: {cluster: c}\n",
        sp_http_server_port(f->server));
    snprintf(f->file, sizeof f->file, "/tmp/fake-api-%d", (int)getpid());
    if (!sp_file_write(f->file, sp_str_z(text), 0600, &err)) fail_msg("%s", err.text);
    sp_kube_config k = {.kubeconfig = f->file};
    if (!sp_kube_open(&f->loop, &k, &f->kube, &err)) fail_msg("%s", err.text);
    return f;
}

static inline void fake_free(fake_api *f) {
    sp_kube_free(f->kube);
    sp_http_server_stop(f->server, 0, NULL, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    unlink(f->file);
    free(f);
}

static void fake_tick(uv_timer_t *t) {
    (void)t;
}
static void fake_ticked(uv_handle_t *h) {
    free(h);
}

/* Runs the loop until the condition holds; fails after 60 s. */
#define fake_wait(f, condition)                                                            \
    do {                                                                                   \
        int64_t end_ = sp_clock_mono_ms() + 60000;                                         \
        uv_timer_t *tick_ = sp_zalloc(1, sizeof *tick_);                                   \
        uv_timer_init(&(f)->loop, tick_);                                                  \
        uv_timer_start(tick_, fake_tick, 20, 20);                                          \
        while (!(condition) && sp_clock_mono_ms() < end_) uv_run(&(f)->loop, UV_RUN_ONCE); \
        uv_close((uv_handle_t *)tick_, fake_ticked);                                       \
        if (!(condition)) fail_msg("not within 60 s: %s", #condition);                     \
    } while (0)

static inline void fake_send(fake_api *f, const char *line) {
    fake_wait(f, f->watch != NULL);
    sp_http_write(f->watch, sp_str_z(line));
    sp_http_write(f->watch, SP_STR("\n"));
}
