/* Each role gets a pipe as descriptor 3 on which it says READY=1 (base/role.h). Its standard error
 * goes to DIR/logs/ROLE.log, whose end is shown when the role cannot start; beyond 10 MiB it
 * becomes ROLE.log.1. */
#include "cli/supervisor.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEALTHY_AFTER_MS = 30000,
    HOPELESS_STARTS = 3,
    MAX_LOG_BYTES = 10 * 1024 * 1024,
    LOG_CHECK_MS = 5000,
    TAIL_BYTES = 1500
};

typedef struct role {
    sp_supervisor *owner;
    sp_role_spec spec;
    const char *argument;     /* of a successor's first start; NULL */
    struct role *predecessor; /* while this one is not ready */
    bool retired;             /* replaced, or failed to replace: not started again */
    uv_process_t process;
    uv_pipe_t ready_pipe;
    uv_timer_t restart;
    bool running, ready, ever_ready, pipe_open;
    bool told;  /* to stop */
    bool again; /* to end, and to be started at once */
    int failures, exits;
    int64_t started_ms;
    char read_buffer[64];
} role;

struct sp_supervisor {
    uv_loop_t *loop;
    char self[PATH_MAX]; /* our program file as it was called at the start: an upgrade puts the
                            new one in its place, and restarts take that */
    sp_supervisor_config config;
    SP_VEC(role *) roles;
    uv_timer_t kill_timer, log_timer;
    bool stopping;
    void (*stopped)(void *ctx);
    size_t open_handles; /* of roles and the timer, while closing */
};

int64_t sp_restart_delay_ms(int failures) {
    int64_t ms = 100;
    for (int i = 1; i < failures && ms < 10000; i++) ms *= 2;
    return SP_MIN(ms, 10000);
}

static bool start(role *r, sp_err *err);

/* ---------- logs ---------- */

static void log_path(const role *r, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s/%s.log", r->owner->config.log_dir, r->spec.name);
}

static bool copy_file(const char *from, const char *to) {
    static char piece[64 * 1024];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    ssize_t n = -1;
    while (in >= 0 && out >= 0 && (n = read(in, piece, sizeof piece)) > 0)
        if (write(out, piece, (size_t)n) != n) break;
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    return n == 0;
}

/* The role goes on writing to the same file (O_APPEND), so that is copied and emptied. On a full
 * disk the copy fails; room is worth more than an old log then. */
static void rotate_log(const role *r) {
    char path[PATH_MAX], old[PATH_MAX + 2];
    struct stat st;
    log_path(r, path);
    if (stat(path, &st) < 0 || st.st_size <= MAX_LOG_BYTES) return;
    snprintf(old, sizeof old, "%s.1", path);
    if (!copy_file(path, old)) unlink(old);
    (void)!truncate(path, 0);
}

static void rotate_logs(uv_timer_t *t) {
    const sp_supervisor *s = t->data;
    sp_vec_each(&s->roles, it) rotate_log(*it);
}

static int open_log(const role *r) {
    if (!r->owner->config.log_dir) return dup(STDERR_FILENO);
    char path[PATH_MAX];
    rotate_log(r);
    log_path(r, path);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

static void read_tail(const role *r, sp_buf *out) {
    char path[PATH_MAX], tail[TAIL_BYTES];
    struct stat st;
    if (!r->owner->config.log_dir) return;
    log_path(r, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    bool cut = fstat(fd, &st) == 0 && st.st_size > TAIL_BYTES;
    ssize_t n = pread(fd, tail, sizeof tail, cut ? st.st_size - TAIL_BYTES : 0);
    close(fd);
    sp_str text = {tail, n > 0 ? (size_t)n : 0};
    ptrdiff_t line = cut ? sp_str_chr(text, '\n') : -1;
    sp_buf_add(out, sp_str_from(text, (size_t)(line + 1)));
}

/* ---------- ending ---------- */

static void finish_stop(sp_supervisor *s) {
    for (size_t i = 0; i < s->roles.n; i++) {
        sp_vec_free(&s->roles.p[i]->spec.args);
        free(s->roles.p[i]);
    }
    sp_vec_free(&s->roles);
    void (*stopped)(void *) = s->stopped;
    void *ctx = s->config.ctx;
    free(s);
    if (stopped) stopped(ctx);
}

static void on_timer_closed(uv_handle_t *h) {
    sp_supervisor *s = h->data;
    if (--s->open_handles == 0) finish_stop(s);
}

/* Nothing but the roles that are stopped last runs any more. */
static void stop_the_last(sp_supervisor *s) {
    sp_vec_each(&s->roles, it) if ((*it)->running && !(*it)->spec.last) return;
    sp_vec_each(&s->roles, it) {
        if ((*it)->running && !(*it)->told) uv_process_kill(&(*it)->process, SIGTERM);
        (*it)->told = true;
    }
}

static void close_all_when_done(sp_supervisor *s) {
    stop_the_last(s);
    for (size_t i = 0; i < s->roles.n; i++)
        if (s->roles.p[i]->running || s->roles.p[i]->pipe_open) return;
    if (uv_is_closing((uv_handle_t *)&s->kill_timer)) return;
    s->open_handles = s->roles.n + 2;
    for (size_t i = 0; i < s->roles.n; i++) {
        s->roles.p[i]->restart.data = s;
        uv_close((uv_handle_t *)&s->roles.p[i]->restart, on_timer_closed);
    }
    s->kill_timer.data = s->log_timer.data = s;
    uv_close((uv_handle_t *)&s->kill_timer, on_timer_closed);
    uv_close((uv_handle_t *)&s->log_timer, on_timer_closed);
}

static void on_pipe_closed(uv_handle_t *h) {
    role *r = h->data;
    r->pipe_open = false;
    if (r->owner->stopping) close_all_when_done(r->owner);
}

static void close_pipe(role *r) {
    if (r->pipe_open && !uv_is_closing((uv_handle_t *)&r->ready_pipe))
        uv_close((uv_handle_t *)&r->ready_pipe, on_pipe_closed);
}

static void on_restart(uv_timer_t *t) {
    role *r = t->data;
    if (r->pipe_open) { /* its close is on its way */
        uv_timer_start(t, on_restart, 10, 0);
        return;
    }
    sp_err err;
    if (start(r, &err)) return;
    int64_t delay = sp_restart_delay_ms(++r->failures);
    r->owner->config.on_exit(r->owner->config.ctx, r->spec.name, -1, err.text, delay);
    uv_timer_start(t, on_restart, (uint64_t)delay, 0);
}

static void on_process_closed(uv_handle_t *h) {
    role *r = h->data;
    r->running = false;
    if (r->owner->stopping) close_all_when_done(r->owner);
}

static void describe_exit(int64_t status, int sig, char out[64]) {
    if (sig)
        snprintf(out, 64, "killed by signal %d (%s)", sig, strsignal(sig));
    else
        snprintf(out, 64, "exit code %d", (int)status);
}

static role *successor_of(const role *r) {
    sp_vec_each(&r->owner->roles, it) if ((*it)->predecessor == r) return *it;
    return NULL;
}

/* True when nothing is to be started again for it. */
static bool settle_replacement(role *r, const char *how) {
    const sp_supervisor *s = r->owner;
    role *successor = successor_of(r);
    if (successor) successor->predecessor = NULL; /* it is on its way anyway */
    if (r->predecessor) s->config.on_not_replaced(s->config.ctx, r->spec.name, how);
    r->retired |= successor || r->predecessor;
    r->predecessor = NULL;
    return r->retired;
}

static void on_process_exit(uv_process_t *p, int64_t status, int sig) {
    role *r = p->data;
    sp_supervisor *s = r->owner;
    char how[64];
    describe_exit(status, sig, how);
    r->ready = false;
    r->exits++;
    close_pipe(r);
    uv_close((uv_handle_t *)p, on_process_closed);
    if (s->stopping || settle_replacement(r, how)) return;
    if (r->again) {
        r->again = false;
        r->failures = r->exits = 0;
        uv_timer_start(&r->restart, on_restart, 0, 0);
        return;
    }
    bool was_healthy = sp_clock_mono_ms() - r->started_ms >= HEALTHY_AFTER_MS;
    r->failures = was_healthy ? 1 : r->failures + 1;
    if (!r->ever_ready && r->exits >= HOPELESS_STARTS) {
        sp_auto(sp_buf) tail = {0};
        read_tail(r, &tail);
        s->config.on_hopeless(s->config.ctx, r->spec.name, how, sp_buf_str(&tail));
        return;
    }
    int64_t delay = sp_restart_delay_ms(r->failures);
    uv_timer_start(&r->restart, on_restart, (uint64_t)delay, 0);
    s->config.on_exit(s->config.ctx, r->spec.name, sig ? -1 : (int)status, how, delay);
}

/* ---------- starting ---------- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf) {
    (void)hint;
    role *r = h->data;
    *buf = uv_buf_init(r->read_buffer, sizeof r->read_buffer);
}

static void on_ready_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    role *r = stream->data;
    if (n > 0 && sp_str_starts((sp_str){buf->base, (size_t)n}, SP_STR("READY=1")) && !r->ready) {
        bool first = !r->ever_ready;
        r->ready = r->ever_ready = true;
        if (r->predecessor) r->predecessor->retired = true;
        r->predecessor = NULL;
        r->argument = NULL;
        sp_supervisor *s = r->owner;
        s->config.on_ready(s->config.ctx, r->spec.name, first, sp_clock_mono_ms() - r->started_ms);
    }
    if (n < 0) close_pipe(r);
}

/* Ours, but for what our own supervisor told us about readiness: that is between it and us. */
static char **environment(void) {
    extern char **environ;
    size_t n = 0, kept = 0;
    while (environ[n]) n++;
    char **env = sp_zalloc(n + 3, sizeof *env);
    for (size_t i = 0; i < n; i++)
        if (!sp_str_starts(sp_str_z(environ[i]), SP_STR("SAMPAN_READY_FD=")) &&
            !sp_str_starts(sp_str_z(environ[i]), SP_STR("NOTIFY_SOCKET=")))
            env[kept++] = environ[i];
    env[kept++] = (char *)(uintptr_t) "SAMPAN_READY_FD=3";
    env[kept] = (char *)(uintptr_t)SP_ROLE_REPLACES;
    return env;
}

static bool start(role *r, sp_err *err) {
    sp_supervisor *s = r->owner;
    int log = open_log(r);
    if (log < 0) return sp_fail_errno(err, errno, "open the log of %s", r->spec.name);

    char **args = sp_zalloc(r->spec.args.n + 4, sizeof *args);
    args[0] = s->self;
    args[1] = (char *)(uintptr_t)r->spec.name;
    for (size_t i = 0; i < r->spec.args.n; i++) args[i + 2] = (char *)(uintptr_t)r->spec.args.p[i];
    args[r->spec.args.n + 2] = (char *)(uintptr_t)r->argument;
    char **env = environment();
    uv_pipe_init(s->loop, &r->ready_pipe, 0);
    r->ready_pipe.data = r;
    r->pipe_open = true;
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = log},
        {.flags = UV_INHERIT_FD, .data.fd = log},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&r->ready_pipe},
    };
    uv_process_options_t options = {.file = s->self,
                                    .args = args,
                                    .env = env,
                                    .stdio = stdio,
                                    .stdio_count = SP_COUNT(stdio),
                                    .exit_cb = on_process_exit};
    r->process.data = r;
    int rc = uv_spawn(s->loop, &r->process, &options);
    close(log);
    free(args);
    free(env);
    r->started_ms = sp_clock_mono_ms();
    r->running = true; /* until the handle is closed, also when the start failed */
    if (rc != 0) {
        close_pipe(r);
        uv_close((uv_handle_t *)&r->process, on_process_closed);
        return sp_fail(err, SP_INTERNAL, "cannot start %s: %s", r->spec.name, uv_strerror(rc));
    }
    uv_read_start((uv_stream_t *)&r->ready_pipe, on_alloc, on_ready_bytes);
    return true;
}

sp_supervisor *sp_supervisor_new(uv_loop_t *loop, const sp_supervisor_config *c) {
    sp_supervisor *s = sp_zalloc(1, sizeof *s);
    s->loop = loop;
    s->config = *c;
    size_t size = sizeof s->self;
    sp_assert(uv_exepath(s->self, &size) == 0);
    uv_timer_init(loop, &s->kill_timer);
    uv_timer_init(loop, &s->log_timer);
    s->kill_timer.data = s->log_timer.data = s;
    if (c->log_dir) uv_timer_start(&s->log_timer, rotate_logs, LOG_CHECK_MS, LOG_CHECK_MS);
    return s;
}

static role *add(sp_supervisor *s, sp_role_spec spec) {
    role *r = sp_zalloc(1, sizeof *r);
    r->owner = s;
    r->spec = spec;
    uv_timer_init(s->loop, &r->restart);
    r->restart.data = r;
    sp_vec_push(&s->roles, r);
    return r;
}

bool sp_supervisor_add(sp_supervisor *s, sp_role_spec spec, sp_err *err) {
    return start(add(s, spec), err);
}

static role *find(const sp_supervisor *s, const char *name) {
    sp_vec_each(&s->roles, it) {
        if (!(*it)->retired && strcmp((*it)->spec.name, name) == 0) return *it;
    }
    return NULL;
}

bool sp_supervisor_replace(sp_supervisor *s, const char *name, const char *argument, sp_err *err) {
    role *old = find(s, name);
    if (!old || !old->running) return sp_fail(err, SP_CONFLICT, "%s does not run just now", name);
    if (old->predecessor || successor_of(old))
        return sp_fail(err, SP_CONFLICT, "%s is being replaced already", name);
    if (!old->ready) {
        sp_supervisor_restart(s, name);
        return true;
    }
    sp_role_spec spec = {.name = old->spec.name, .last = old->spec.last};
    sp_vec_each(&old->spec.args, a) sp_vec_push(&spec.args, *a);
    role *r = add(s, spec);
    r->predecessor = old;
    r->argument = argument;
    if (start(r, err)) return true;
    r->predecessor = NULL;
    r->retired = true;
    return false;
}

void sp_supervisor_restart(sp_supervisor *s, const char *name) {
    role *r = find(s, name);
    if (s->stopping || !r || !r->running || uv_is_closing((uv_handle_t *)&r->process)) return;
    r->again = true;
    uv_process_kill(&r->process, SIGTERM);
}

bool sp_supervisor_all_ready(const sp_supervisor *s) {
    sp_vec_each(&s->roles, it) {
        if (!(*it)->ready && !(*it)->retired && !(*it)->predecessor) return false;
    }
    return true;
}

static void on_kill(uv_timer_t *t) {
    sp_supervisor *s = t->data;
    sp_vec_each(&s->roles, it) if ((*it)->running) uv_process_kill(&(*it)->process, SIGKILL);
}

void sp_supervisor_stop(sp_supervisor *s, int64_t grace_ms, void (*done)(void *ctx)) {
    s->stopping = true;
    s->stopped = done;
    for (size_t i = s->roles.n; i-- > 0;) {
        role *r = s->roles.p[i];
        uv_timer_stop(&r->restart);
        r->told = !r->spec.last;
        if (r->running && r->told) uv_process_kill(&r->process, SIGTERM);
    }
    uv_timer_start(&s->kill_timer, on_kill, (uint64_t)grace_ms, 0);
    close_all_when_done(s);
}
