#include "gateway/vip/run.h"
#include "base/log.h"
#include "base/role.h"
#include "gateway/handover.h"
#include "gateway/vip/keepalived.h"

#include <signal.h>
#include <stdio.h>

typedef struct runner {
    uv_loop_t loop;
    sp_vip_run_options o;
    const char *path;
    sp_keepalived_options options;
    sp_vip *vip;
    sp_admin *admin;
    sp_sockets *sockets; /* none; what is handed over is only the addresses */
    sp_handover *handover;
    bool stopping, handed_over;
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

/* --- one process after the other --- */

static void on_upgrade(void *ctx, int signum) {
    runner *r = ctx;
    (void)signum;
    if (!r->stopping && !sp_role_ask_replacement()) sp_handover_start(r->handover);
}

/* A successor sends already. */
static void on_taken(void *ctx) {
    runner *r = ctx;
    r->handed_over = true;
    if (r->stopping) return;
    if (r->vip) r->vip = sp_vip_abandon(r->vip);
    sp_info("the virtual addresses have a new process");
    uv_stop(&r->loop);
}

static bool take_over(runner *r, int predecessor, sp_err *err) {
    if (predecessor < 0) return true;
    sp_vip_begin(r->vip);
    return sp_takeover_finish(predecessor, err);
}

static bool start(runner *r, sp_vip_config *c, sp_err *err) {
    sp_vip_settings settings = {.last_will = !r->options.exact};
    sp_handover_config h = {
        .loop = &r->loop, .admin = r->admin, .sockets = r->sockets, .taken = on_taken, .ctx = r};
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_json *told;
    const char *path = r->o.take_over ? r->o.control_socket : NULL;
    int predecessor;
    sp_err late = {0};
    bool ok = sp_takeover_begin(path, r->sockets, &predecessor, a, &told, err);
    settings.inherit = settings.hold = ok && predecessor >= 0;
    if (!ok || !sp_vip_new(&r->loop, &settings, &r->vip, err)) {
        sp_vip_config_free(c);
        return false;
    }
    r->handover = sp_handover_new(&h);
    sp_vip_apply(r->vip, c);
    if (!take_over(r, predecessor, &late))
        sp_warn("the old process may still be there", SP_KV("why", late.text));
    return !r->o.control_socket ||
           sp_admin_listen(r->admin, r->o.control_socket, predecessor >= 0, err);
}

static void end(runner *r) {
    r->admin = sp_admin_free(r->admin, r->handed_over);
    r->handover = sp_handover_free(r->handover);
    r->sockets = sp_sockets_free(r->sockets);
    r->vip = sp_vip_free(r->vip);
    for (int i = 0; i < 8; i++) uv_run(&r->loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&r->loop);
}

int sp_vip_run(const sp_vip_run_options *o) {
    runner r = {.o = *o, .path = o->keepalived_conf, .options = {.exact = o->exact}};
    sp_err err = {0};
    sp_vip_config *c = load(&r);
    if (!c) return 1;
    uv_loop_init(&r.loop);
    r.admin = sp_admin_new(&r.loop);
    r.sockets = sp_sockets_new(1);
    bool ok = start(&r, c, &err);
    if (!ok) fprintf(stderr, "sampan gateway: %s\n", err.text);
    sp_signal *signals[] = {sp_signal_watch(&r.loop, SIGTERM, on_signal, &r),
                            sp_signal_watch(&r.loop, SIGINT, on_signal, &r),
                            sp_signal_watch(&r.loop, SIGHUP, on_reload, &r),
                            sp_signal_watch(&r.loop, SIGUSR2, on_upgrade, &r)};
    if (ok) {
        sp_role_ready();
        uv_run(&r.loop, UV_RUN_DEFAULT);
    }
    for (size_t i = 0; i < SP_COUNT(signals); i++) sp_signal_stop(signals[i]);
    end(&r);
    return ok ? 0 : 1;
}
