/* See handover.h. */
#include "gateway/handover.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define FD_VARIABLE "SAMPAN_TAKE_OVER_FD"
enum { CHILD_FD = 4, ANSWER_MS = 10000 };

struct sp_handover {
    sp_handover_config config;
    char program[PATH_MAX];
    sp_buf arguments; /* as in /proc/self/cmdline: each ends with NUL */
    uv_process_t process;
    bool running; /* a successor that we started */
    bool freed;   /* but for the process's handle */
    bool asked, taken;
    long long successor; /* its pid, for messages */
};

/* --- the predecessor --- */

static void on_successor_gone(void *ctx) {
    sp_handover *h = ctx;
    if (!h->asked || h->taken) return;
    h->asked = false;
    sp_error("the new gateway did not become ready; this one goes on",
             SP_KV("new_pid", h->successor));
}

static void on_take_over(void *ctx, sp_admin_call *call, const sp_json *request) {
    sp_handover *h = ctx;
    sp_fds fds = {0};
    if (h->asked) {
        sp_admin_fail(call, "another gateway (pid %lld) takes over just now", h->successor);
        return;
    }
    h->asked = true;
    h->successor = sp_json_int(sp_json_get(request, "pid"), 0);
    sp_sockets_list(h->config.sockets, &fds);
    sp_info("a new gateway takes the sockets over", SP_KV("new_pid", h->successor),
            SP_KV("sockets", fds.n));
    sp_admin_on_close(call, on_successor_gone, h);
    sp_json *answer = sp_json_object(sp_admin_arena(call));
    sp_json_set_int(sp_admin_arena(call), answer, "pid", getpid());
    sp_json_set_int(sp_admin_arena(call), answer, "sockets", (int64_t)fds.n);
    sp_admin_answer_fds(call, answer, fds.p, fds.n);
    sp_vec_free(&fds);
}

/* Apart from the sockets: this may be long, and their lines must fit into the kernel's buffer. */
static void on_tell(void *ctx, sp_admin_call *call, const sp_json *request) {
    (void)request;
    const sp_handover *h = ctx;
    sp_json *answer = sp_json_object(sp_admin_arena(call));
    if (h->config.tell) h->config.tell(h->config.ctx, sp_admin_arena(call), answer);
    sp_admin_answer(call, answer);
}

static void on_taken_over(void *ctx, sp_admin_call *call, const sp_json *request) {
    (void)request;
    sp_handover *h = ctx;
    if (!h->asked || h->taken) {
        sp_admin_fail(call, "nothing was taken over");
        return;
    }
    h->taken = true;
    h->config.taken(h->config.ctx); /* first: the answer says that the ports are free */
    sp_admin_answer(call, NULL);
}

static void on_reload(void *ctx, sp_admin_call *call, const sp_json *request) {
    (void)request;
    sp_admin_answer(call, NULL);
    sp_handover_start(ctx);
}

sp_handover *sp_handover_new(const sp_handover_config *c) {
    sp_handover *h = sp_zalloc(1, sizeof *h);
    size_t size = sizeof h->program;
    sp_err err = {0};
    h->config = *c;
    if (uv_exepath(h->program, &size) != 0) h->program[0] = 0;
    if (!sp_file_read("/proc/self/cmdline", 1 << 20, &h->arguments, &err))
        sp_buf_clear(&h->arguments);
    sp_admin_on(c->admin, "take-over", on_take_over, h);
    sp_admin_on(c->admin, "tell", on_tell, h);
    sp_admin_on(c->admin, "taken-over", on_taken_over, h);
    sp_admin_on(c->admin, "reload", on_reload, h);
    return h;
}

static void on_process_closed(uv_handle_t *p) {
    sp_handover *h = p->data;
    h->running = false;
    if (h->freed) free(h);
}

static void on_process_exit(uv_process_t *p, int64_t status, int sig) {
    sp_handover *h = p->data;
    if (h->successor == uv_process_get_pid(p))
        h->asked = false; /* nor is it listened to any more */
    if (!h->taken)
        sp_error("the new gateway did not start; this one goes on", SP_KV("exit_code", status),
                 SP_KV("signal", sig));
    uv_close((uv_handle_t *)p, on_process_closed);
}

sp_handover *sp_handover_free(sp_handover *h) {
    if (!h) return NULL;
    sp_buf_free(&h->arguments);
    if (!h->running) {
        free(h);
        return NULL;
    }
    h->freed = true;
    if (!uv_is_closing((uv_handle_t *)&h->process)) /* the successor lives on */
        uv_close((uv_handle_t *)&h->process, on_process_closed);
    return NULL;
}

static size_t split(sp_buf *arguments, char ***ret) {
    size_t n = 0, cap = 1;
    for (size_t i = 0; i < arguments->n; i++) cap += !arguments->p[i];
    *ret = sp_zalloc(cap, sizeof **ret);
    for (size_t at = 0; at < arguments->n; at += strlen(arguments->p + at) + 1)
        (*ret)[n++] = arguments->p + at;
    return n;
}

static char **environment(void) {
    extern char **environ;
    static char variable[] = FD_VARIABLE "=4";
    size_t n = 0;
    while (environ[n]) n++;
    char **env = sp_zalloc(n + 2, sizeof *env);
    memcpy(env, environ, n * sizeof *env);
    env[n] = variable;
    return env;
}

/* Descriptor 3 is left out: a supervisor's readiness pipe would be there. */
static int spawn(sp_handover *h, int its_end) {
    uv_stdio_container_t stdio[CHILD_FD + 1] = {
        {.flags = UV_INHERIT_FD, .data.fd = STDIN_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDOUT_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = its_end},
    };
    char **args, **env = environment();
    split(&h->arguments, &args);
    uv_process_options_t options = {.file = h->program,
                                    .args = args,
                                    .env = env,
                                    .stdio = stdio,
                                    .stdio_count = SP_COUNT(stdio),
                                    .exit_cb = on_process_exit};
    h->process.data = h;
    h->running = true; /* until the handle is closed, also when the start failed */
    int rc = uv_spawn(h->config.loop, &h->process, &options);
    free(args);
    free(env);
    return rc;
}

void sp_handover_start(sp_handover *h) {
    int pair[2];
    if (h->running || h->asked) {
        sp_warn("a new gateway is being started already");
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        sp_error("cannot start a new gateway", SP_KV("why", strerror(errno)));
        return;
    }
    int rc = spawn(h, pair[1]);
    close(pair[1]);
    if (rc == 0) {
        sp_info("starting a new gateway", SP_KV("program", h->program),
                SP_KV("pid", uv_process_get_pid(&h->process)));
        (void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
        sp_admin_serve(h->config.admin, pair[0]);
        return;
    }
    sp_error("the new gateway does not start; this one goes on", SP_KV("program", h->program),
             SP_KV("why", uv_strerror(rc)));
    close(pair[0]);
    uv_close((uv_handle_t *)&h->process, on_process_closed);
}

/* --- the successor --- */

static bool from_environment(int *ret_fd) {
    uint64_t fd;
    const char *text = getenv(FD_VARIABLE);
    if (!text || !sp_str_u64(sp_str_z(text), &fd) || fd > 1024) return false;
    unsetenv(FD_VARIABLE);
    *ret_fd = (int)fd;
    return fcntl(*ret_fd, F_SETFD, FD_CLOEXEC) == 0;
}

static bool ask(int fd, const char *what, sp_arena *a, sp_json **ret, sp_fds *ret_fds,
                sp_err *err) {
    sp_json *request = sp_json_object(a);
    sp_json_set_z(a, request, "do", what);
    sp_json_set_int(a, request, "pid", getpid());
    return sp_admin_ask(fd, a, request, ANSWER_MS, ret, ret_fds, err) ||
           sp_err_wrap(err, "%s", what);
}

bool sp_takeover_begin(const char *path, sp_sockets *into, int *ret_fd, sp_arena *a,
                       const sp_json **ret_told, sp_err *err) {
    sp_fds fds = {0};
    sp_json *answer;
    int fd = -1;
    sp_err why = {0};
    *ret_fd = -1;
    *ret_told = NULL;
    if (!from_environment(&fd) && (!path || !sp_admin_connect(path, &fd, &why))) return true;
    if (!ask(fd, "take-over", a, &answer, &fds, err)) {
        sp_vec_each(&fds, it) close(*it);
        sp_vec_free(&fds);
        close(fd);
        return false;
    }
    sp_sockets_adopt(into, fds.p, fds.n);
    sp_vec_free(&fds);
    *ret_fd = fd;
    if (ask(fd, "tell", a, &answer, NULL, &why))
        *ret_told = answer;
    else
        sp_warn("the old gateway does not tell what it knows of servers", SP_KV("why", why.text));
    return true;
}

bool sp_takeover_finish(int fd, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *answer;
    bool ok = ask(fd, "taken-over", a, &answer, NULL, err);
    close(fd);
    return ok;
}
