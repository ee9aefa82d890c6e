/* Stopping gracefully: preStop hook, the image's stop signal, the grace period, SIGKILL. The grace
 * period runs from the beginning, hook included. And running a command inside a container. */
#include "agent/pod.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/process.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { EXEC_OUTPUT = 8192, POST_START_MS = 120000 };

/* ---------- signals ---------- */

static const struct {
    const char *name;
    int number;
} signals[] = {{"SIGTERM", SIGTERM}, {"SIGINT", SIGINT},    {"SIGQUIT", SIGQUIT},
               {"SIGHUP", SIGHUP},   {"SIGUSR1", SIGUSR1},  {"SIGUSR2", SIGUSR2},
               {"SIGKILL", SIGKILL}, {"SIGWINCH", SIGWINCH}};

static int signal_number(sp_str text) {
    uint64_t n;
    if (sp_str_u64(text, &n) && n > 0 && n < 65) return (int)n;
    for (size_t i = 0; i < SP_COUNT(signals); i++) {
        sp_str name = sp_str_z(signals[i].name);
        if (sp_str_ieq(text, name) || sp_str_ieq(text, sp_str_from(name, 3)))
            return signals[i].number;
    }
    if (sp_str_starts(text, SP_STR("SIGRTMIN+")) && sp_str_u64(sp_str_from(text, 9), &n) && n < 30)
        return SIGRTMIN + (int)n;
    return SIGTERM;
}

static int stop_signal(sp_ctr *c) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_image image;
    sp_str own = sp_json_str(sp_json_dig(c->spec, "lifecycle", "stopSignal", NULL));
    if (own.n) return signal_number(own);
    sp_str ref = sp_json_str(sp_json_get(c->spec, "image"));
    if (!sp_image_find(c->pod->agent->store, a, ref, &image, NULL)) return SIGTERM;
    return signal_number(sp_json_str(sp_json_get(image.config.config, "StopSignal")));
}

/* The shim passes it on: it alone knows that the process is still the one meant. */
static void send_signal(sp_ctr *c, int number) {
    union sigval value = {.sival_int = number};
    if (c->shim_pid > 0 && sigqueue((pid_t)c->shim_pid, SP_SHIM_SIGNAL, value) != 0 &&
        errno != ESRCH)
        sp_warn("signal not sent", SP_KV("container", c->name), SP_KV("error", strerror(errno)));
}

static void kill_now(void *ctx) {
    sp_ctr *c = ctx;
    c->kill_timer = NULL;
    c->kill_sent = true;
    send_signal(c, SIGKILL);
}

static void arm_kill(sp_ctr *c, int64_t grace_ms) {
    uint64_t in = (uint64_t)SP_MAX(grace_ms, (int64_t)1);
    sp_timer_stop(c->kill_timer);
    c->kill_by_ms = sp_clock_mono_ms() + (int64_t)in;
    c->kill_timer = sp_timer_start(c->pod->agent->loop, in, kill_now, c);
}

static void terminate(sp_ctr *c) {
    if (c->term_sent) return;
    c->term_sent = true;
    if (!c->kill_sent) send_signal(c, stop_signal(c));
}

/* ---------- commands in a container ---------- */

typedef struct exec_call {
    sp_exec_done *done;
    void *ctx;
} exec_call;

static void exec_ended(void *ctx, const sp_process_result *r, const sp_err *err) {
    exec_call call = *(exec_call *)ctx;
    free(ctx);
    if (err)
        call.done(call.ctx, false, sp_str_z(err->text));
    else if (r->timed_out)
        call.done(call.ctx, false, SP_STR("command timed out"));
    else
        call.done(call.ctx, r->exit_code == 0, r->out.n ? r->out : r->err);
}

void sp_ctr_exec(sp_ctr *c, const sp_json *command, uint32_t timeout_ms, sp_exec_done *done,
                 void *ctx) {
    SP_VEC(const char *) argv = {0};
    const char *head[] = {c->pod->agent->self, "shim", "exec", c->dir, "--"};
    for (size_t i = 0; i < SP_COUNT(head); i++) sp_vec_push(&argv, head[i]);
    sp_json_each(command, word) sp_vec_push(&argv, sp_json_z(word));
    sp_vec_push(&argv, NULL);
    exec_call *call = sp_zalloc(1, sizeof *call);
    *call = (exec_call){done, ctx};
    sp_process_params p = {.argv = argv.p,
                           .timeout_ms = timeout_ms,
                           .max_output = EXEC_OUTPUT,
                           .done = exec_ended,
                           .ctx = call};
    sp_process_run(c->pod->agent->loop, &p);
    sp_vec_free(&argv);
}

/* ---------- hooks ---------- */

typedef struct hook {
    sp_agent *agent;
    char uid[64];
    size_t index;
    unsigned attempt;
    bool before_stop; /* else after start */
    sp_http_client *client;
} hook;

static sp_ctr *hook_container(const hook *h) {
    sp_pod *p = sp_pod_get(h->agent, h->uid);
    sp_ctr *c = p && h->index < p->containers.n ? p->containers.p[h->index] : NULL;
    sp_ctr_phase wanted = h->before_stop ? SP_CTR_STOPPING : SP_CTR_RUNNING;
    return c && c->attempt == h->attempt && sp_ctr_state(c)->phase == wanted ? c : NULL;
}

/* A container whose postStart hook fails is stopped, and started again as its policy says. */
static void hook_over(hook *h, bool ok, sp_str text) {
    sp_ctr *c = hook_container(h);
    if (c && !ok)
        sp_pod_event(c->pod, c, "Warning",
                     h->before_stop ? "FailedPreStopHook" : "FailedPostStartHook",
                     "%s hook failed: %.*s", h->before_stop ? "preStop" : "postStart",
                     (int)SP_MIN(text.n, (size_t)500), text.p ? text.p : "");
    if (c && h->before_stop) terminate(c);
    if (c && !h->before_stop && !ok) sp_ctr_stop(c, c->pod->grace_ms);
    sp_http_client_free(h->client);
    free(h);
}

static void exec_hook_done(void *ctx, bool ok, sp_str out) {
    hook_over(ctx, ok, out.n ? out : SP_STR("the command's exit code is not 0"));
}

static void http_hook_done(void *ctx, const sp_http_reply_msg *reply, const sp_err *err) {
    bool ok = reply && reply->status < 400;
    hook_over(ctx, ok, err ? sp_str_z(err->text) : SP_STR("an HTTP error status"));
}

static int64_t port_number(const sp_ctr *c, const sp_json *port) {
    if (sp_json_is(port, SP_JSON_NUMBER)) return sp_json_int(port, 0);
    sp_json_each(sp_json_get(c->spec, "ports"), p) {
        if (sp_str_eq(sp_json_str(sp_json_get(p, "name")), sp_json_str(port)))
            return sp_json_int(sp_json_get(p, "containerPort"), 0);
    }
    return 0;
}

static void http_hook(sp_ctr *c, hook *h, const sp_json *get, int64_t grace_ms) {
    sp_env_source source;
    sp_pod_source(c->pod, &source);
    sp_str host = sp_json_str(sp_json_get(get, "host")),
           path = sp_json_str(sp_json_get(get, "path"));
    sp_http_client_config config = {.host = host.n ? host.p : source.pod_ip.p,
                                    .port = (uint16_t)port_number(c, sp_json_get(get, "port"))};
    sp_http_call_params params = {
        .method = "GET",
        .target = path.n ? path : SP_STR("/"),
        .timeout_ms = (uint32_t)SP_MIN(SP_MAX(grace_ms, (int64_t)1), (int64_t)INT32_MAX)};
    h->client = sp_http_client_new(c->pod->agent->loop, &config);
    sp_http_fetch(h->client, &params, 4096, http_hook_done, h);
}

/* True when there is such a hook; hook_over() follows. */
static bool start_hook(sp_ctr *c, bool before_stop, int64_t limit_ms) {
    const sp_json *spec =
        sp_json_dig(c->spec, "lifecycle", before_stop ? "preStop" : "postStart", NULL);
    const sp_json *exec = sp_json_get(spec, "exec"), *get = sp_json_get(spec, "httpGet");
    if (!exec && !get) return false;
    hook *h = sp_zalloc(1, sizeof *h);
    h->agent = c->pod->agent;
    h->index = c->index;
    h->attempt = c->attempt;
    h->before_stop = before_stop;
    memcpy(h->uid, c->pod->uid, sizeof h->uid);
    if (get)
        http_hook(c, h, get, limit_ms);
    else
        sp_ctr_exec(c, sp_json_get(exec, "command"), (uint32_t)SP_MAX(limit_ms, (int64_t)1),
                    exec_hook_done, h);
    return true;
}

void sp_ctr_after_start(sp_ctr *c) {
    (void)start_hook(c, false, POST_START_MS);
}

void sp_ctr_hasten(sp_ctr *c, int64_t grace_ms) {
    if (sp_ctr_state(c)->phase != SP_CTR_STOPPING || c->kill_sent) return;
    if (c->kill_by_ms > sp_clock_mono_ms() + grace_ms) arm_kill(c, grace_ms);
}

void sp_ctr_stop(sp_ctr *c, int64_t grace_ms) {
    sp_ctr_view *x = sp_ctr_state(c);
    if (x->phase != SP_CTR_RUNNING) return;
    x->phase = SP_CTR_STOPPING;
    sp_probes_stop(c);
    if (x->unhealthy)
        sp_pod_event(c->pod, c, "Normal", "Killing",
                     "Container %s failed %s probe, will be restarted", c->name,
                     x->started_ok || !x->has_startup_probe ? "liveness" : "startup");
    else
        sp_pod_event(c->pod, c, "Normal", "Killing", "Stopping container %s", c->name);
    arm_kill(c, grace_ms);
    if (grace_ms > 0 && start_hook(c, true, grace_ms)) return;
    terminate(c);
}
