#include "gateway/vip/run.h"
#include "base/log.h"
#include "base/role.h"
#include "gateway/vip/keepalived.h"

#include <signal.h>
#include <stdio.h>

typedef struct runner {
    uv_loop_t loop;
    const char *path;
    sp_keepalived_options options;
    sp_vip *vip;
    bool stopping;
} runner;

bool sp_vip_print_problems(const char *path, const sp_vip_problems *p) {
    bool ok = true;
    sp_vec_each(p, it) {
        const char *kind = it->fatal ? "error" : "warning";
        if (it->line)
            fprintf(stderr, "%s:%u: %s: %.*s\n", path, it->line, kind, SP_ARG(it->text));
        else
            fprintf(stderr, "%s: %s: %.*s\n", path, kind, SP_ARG(it->text));
        ok &= !it->fatal;
    }
    return ok;
}

/* NULL when the file cannot be used; what is wrong was printed. */
static sp_vip_config *load(runner *r) {
    sp_vip_problems problems = {0};
    sp_vip_config *c = NULL;
    sp_err err = {0};
    bool ok = sp_keepalived_conf_load(r->path, &r->options, &c, &problems, &err);
    if (!ok) fprintf(stderr, "sampan gateway: %s\n", err.text);
    ok = sp_vip_print_problems(r->path, &problems) && ok;
    sp_vec_free(&problems);
    return ok ? c : sp_vip_config_free(c);
}

static void on_stopped(void *ctx) {
    uv_stop(&((runner *)ctx)->loop);
}

static void on_signal(void *ctx, int signum) {
    runner *r = ctx;
    if (r->stopping) uv_stop(&r->loop); /* asked twice: now */
    r->stopping = true;
    sp_info("the virtual addresses are given up", SP_KV("signal", signum));
    sp_vip_stop(r->vip, true, on_stopped, r);
}

static void on_reload(void *ctx, int signum) {
    (void)signum;
    runner *r = ctx;
    sp_vip_config *c = load(r);
    if (c)
        sp_vip_apply(r->vip, c);
    else
        sp_error("the file is not used, what was before goes on", SP_KV("file", r->path));
}

int sp_vip_run(const char *path, bool exact) {
    runner r = {.path = path, .options = {.exact = exact}};
    sp_vip_settings settings = {.last_will = !exact};
    sp_err err = {0};
    sp_vip_config *c = load(&r);
    if (!c) return 1;
    uv_loop_init(&r.loop);
    if (!sp_vip_new(&r.loop, &settings, &r.vip, &err)) {
        fprintf(stderr, "sampan gateway: %s\n", err.text);
        sp_vip_config_free(c);
        return 1;
    }
    sp_vip_apply(r.vip, c);
    sp_signal *signals[] = {sp_signal_watch(&r.loop, SIGTERM, on_signal, &r),
                            sp_signal_watch(&r.loop, SIGINT, on_signal, &r),
                            sp_signal_watch(&r.loop, SIGHUP, on_reload, &r)};
    sp_role_ready();
    uv_run(&r.loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < SP_COUNT(signals); i++) sp_signal_stop(signals[i]);
    sp_vip_free(r.vip);
    for (int i = 0; i < 8; i++) uv_run(&r.loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&r.loop);
    return 0;
}
