/* The process between `sampan up` and etcd: it starts the packaged program with this machine's
 * certificates, ends when etcd ends (the supervisor starts both again), and takes etcd with it,
 * also when it is killed. It looks at the cluster now and then: a learner is promoted as soon as it
 * is in sync, readiness is told once this member votes and follows a leader, and the other members'
 * addresses are kept for the next start. */
#include "base/clock.h"
#include "base/commands.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/role.h"
#include "cli/member.h"
#include "net/loop.h"
#include "store/etcd_members.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_MS = 400, CALM_LOOK_MS = 10000, MAX_PEM = 64 * 1024 };

typedef struct role {
    uv_loop_t loop;
    sp_arena *arena; /* of the whole process: state and certificates */
    const char *dir;
    sp_log_level level;
    sp_member member;
    sp_str peer_url;
    sp_etcd_config config; /* all members; ours last, where calls end up when no other answers */
    sp_buf ca, cert, key;
    pid_t pid; /* of etcd; 0 = has ended */
    sp_signal *term, *intr, *chld;
    sp_timer *timer;
    sp_etcd_look *look;
    sp_etcd_change *change;
    sp_arena *survey_arena;
    sp_err last;
    int64_t looked_ms;
    bool ready, said_learner, stopping, ended;
    int exit_code;
} role;

/* ---------- etcd itself ---------- */

/* Its flags are ours to set: what an environment says would change or contradict them. */
static void clean_environment(void) {
    extern char **environ;
    char name[256];
    for (char **e = environ; *e;) {
        size_t n = strcspn(*e, "=");
        bool its = strncmp(*e, "ETCD_", 5) == 0 && n < sizeof name;
        snprintf(name, sizeof name, "%.*s", (int)SP_MIN(n, sizeof name - 1), *e);
        if (its)
            unsetenv(name);
        else
            e++;
    }
}

static void become_etcd(role *r, pid_t parent) {
    const char *const *argv = sp_member_etcd_argv(r->arena, r->dir, &r->member);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    clean_environment();
    close_range(3, ~0U, 0);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    fprintf(stderr, "the program etcd cannot be run (%s): apt-get install etcd-server\n",
            strerror(errno));
    _exit(127);
}

static bool start_etcd(role *r, sp_err *err) {
    pid_t parent = getpid();
    r->pid = fork();
    if (r->pid == 0) become_etcd(r, parent);
    if (r->pid > 0) return true;
    r->pid = 0;
    return sp_fail_errno(err, errno, "fork");
}

/* ---------- the end ---------- */

static void finish(role *r) {
    if (r->look) sp_etcd_look_cancel(sp_steal(r->look));
    if (r->change) sp_etcd_change_cancel(sp_steal(r->change));
    r->timer = sp_timer_stop(r->timer);
    r->term = sp_signal_stop(r->term);
    r->intr = sp_signal_stop(r->intr);
    r->chld = sp_signal_stop(r->chld);
}

static void on_term(void *ctx, int number) {
    role *r = ctx;
    (void)number;
    if (r->stopping) return;
    r->stopping = true;
    sp_info("stopping");
    if (r->pid)
        kill(r->pid, SIGTERM);
    else
        finish(r);
}

static void start_look(role *r);

/* Whether it was removed is worth a question: starting again would not help then. */
static void on_child(void *ctx, int number) {
    role *r = ctx;
    int status = 0;
    (void)number;
    if (!r->pid || waitpid(r->pid, &status, WNOHANG) != r->pid) return;
    r->pid = 0;
    if (r->stopping) {
        finish(r);
        return;
    }
    r->exit_code = 1;
    r->ended = true;
    if (WIFSIGNALED(status))
        sp_error("etcd ended", SP_KV("signal", WTERMSIG(status)));
    else
        sp_error("etcd ended", SP_KV("exit_code", WEXITSTATUS(status)));
    if (!r->member.others.n)
        finish(r);
    else if (!r->look)
        start_look(r);
}

/* ---------- the others ---------- */

static bool is_self(const role *r, const sp_etcd_member *m) {
    sp_vec_each(&m->peers, u) if (sp_str_eq(*u, r->peer_url)) return true;
    return false;
}

static bool same_urls(const sp_strs *a, const sp_strs *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!sp_str_eq(a->p[i], b->p[i])) return false;
    return true;
}

/* What the next start should know. The endpoints in use stay: they are borrowed by calls. */
static void keep_others(role *r, const sp_etcd_survey *s) {
    sp_err err;
    sp_strs now = {0};
    sp_vec_each(&s->members, m) {
        if (!is_self(r, m) && m->clients.n) sp_vec_push(&now, m->clients.p[0]);
    }
    if (!same_urls(&now, &r->member.others)) {
        r->member.others = (sp_strs){sp_arena_alloc(r->arena, (now.n + 1) * sizeof(sp_str)), 0, 0};
        sp_vec_each(&now, u) r->member.others.p[r->member.others.n++] = sp_arena_str(r->arena, *u);
        sp_info("the members have changed", SP_KV("others", (int)now.n));
        if (!sp_member_save(r->dir, &r->member, &err))
            sp_warn("the members cannot be kept", SP_KV("error", (const char *)err.text));
    }
    sp_vec_free(&now);
}

/* ---------- learning and voting ---------- */

static void on_promoted(void *ctx, const sp_err *err) {
    role *r = ctx;
    r->change = NULL;
    if (!err)
        sp_info("promoted: this member votes now");
    else if (strcmp(err->text, r->last.text) != 0)
        sp_info("not promoted yet", SP_KV("why", (const char *)err->text));
    r->last = err ? *err : (sp_err){0};
}

/* Once only: machines that join from now on shall stay. */
static void end_reset(role *r) {
    sp_err err;
    r->member.reset = false;
    sp_warn("the other members are forgotten: this one is the cluster now");
    if (!sp_member_save(r->dir, &r->member, &err))
        sp_error("the next start would forget the members again",
                 SP_KV("error", (const char *)err.text));
}

static void look_at_self(role *r, const sp_etcd_member *m) {
    if (!m->answers || !m->leader) return;
    if (m->learner) {
        if (!r->said_learner)
            sp_info("this member is a learner: it has no vote until it is in sync");
        r->said_learner = true;
        if (!r->change)
            r->change = sp_etcd_change_start(&r->loop, &r->config, SP_ETCD_PROMOTE, m->id, NULL,
                                             on_promoted, r);
        return;
    }
    if (r->ready) return;
    r->ready = true;
    if (r->member.reset) end_reset(r);
    sp_info("ready", SP_KV("name", r->member.name), SP_KV("version", m->version));
    sp_role_ready();
}

static void on_looked(void *ctx, const sp_etcd_survey *s, const sp_err *err) {
    role *r = ctx;
    const sp_etcd_member *self = NULL;
    r->look = NULL;
    (void)err;
    if (s) sp_vec_each(&s->members, m) if (is_self(r, m)) self = m;
    if (s && !self && r->ended) {
        r->exit_code = SP_MEMBER_GONE;
        sp_error("this machine was removed from the cluster; to let it join again: stop sampan, "
                 "empty its data directory, sampan up --join",
                 SP_KV("name", r->member.name), SP_KV("dir", r->dir));
    }
    if (r->ended) {
        finish(r);
        return;
    }
    if (self && !r->stopping) look_at_self(r, self);
    if (self && r->ready) keep_others(r, s);
}

static void start_look(role *r) {
    sp_arena_reset(r->survey_arena);
    r->looked_ms = sp_clock_mono_ms();
    r->look = sp_etcd_look_start(&r->loop, &r->config, r->survey_arena, on_looked, r);
}

static void on_timer(void *ctx) {
    role *r = ctx;
    if (r->look || r->stopping || r->ended) return;
    if (r->ready && sp_clock_mono_ms() - r->looked_ms < CALM_LOOK_MS) return;
    start_look(r);
}

/* ---------- the start ---------- */

static bool read_pem(const role *r, const char *name, sp_buf *ret, sp_str *ret_text, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/pki/%s", r->dir, name);
    if (!sp_file_read(path, MAX_PEM, ret, err)) return false;
    *ret_text = sp_buf_str(ret);
    return true;
}

static bool prepare(role *r, sp_err *err) {
    bool found = false;
    if (!sp_member_load(r->arena, r->dir, &r->member, &found, err)) return false;
    if (!found)
        return sp_fail(err, SP_NOT_FOUND, "%s is of no member of a cluster (sampan up makes one)",
                       r->dir);
    if (!read_pem(r, "etcd-ca.crt", &r->ca, &r->config.ca_pem, err) ||
        !read_pem(r, "etcd-client.crt", &r->cert, &r->config.cert_pem, err) ||
        !read_pem(r, "etcd-client.key", &r->key, &r->config.key_pem, err))
        return false;
    r->peer_url = sp_str_z(sp_member_url(r->arena, r->member.ip, r->member.peer_port));
    sp_vec_each(&r->member.others, u) sp_vec_push(&r->config.endpoints, *u);
    sp_vec_push(&r->config.endpoints,
                sp_str_z(sp_member_url(r->arena, "127.0.0.1", r->member.client_port)));
    return sp_etcd_tls_new(&r->config, &r->config.tls, err);
}

static int run(role *r) {
    sp_err err;
    if (!prepare(r, &err)) {
        fprintf(stderr, "sampan etcd: %s\n", err.text);
        return 1;
    }
    uv_loop_init(&r->loop);
    r->chld = sp_signal_watch(&r->loop, SIGCHLD, on_child, r);
    r->term = sp_signal_watch(&r->loop, SIGTERM, on_term, r);
    r->intr = sp_signal_watch(&r->loop, SIGINT, on_term, r);
    r->timer = sp_timer_every(&r->loop, LOOK_MS, on_timer, r);
    bool started = start_etcd(r, &err);
    if (!started) {
        sp_error("etcd cannot be started", SP_KV("error", (const char *)err.text));
        r->exit_code = 1;
        finish(r);
    }
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    return r->exit_code;
}

int sp_etcd_role_main(int argc, char **argv) {
    role r = {.level = SP_LOG_INFO};
    const sp_flag flags[] = {
        {"data-dir", 'd', SP_FLAG_STR, &r.dir, "DIR", "that of `sampan up`"},
        SP_LOG_LEVEL_FLAG(&r.level),
    };
    const sp_usage usage = {"sampan etcd",
                            "--data-dir DIR",
                            "Runs the program etcd as the member that DIR/etcd/member.json says. "
                            "`sampan up` starts\nthis on each machine of a cluster.",
                            NULL,
                            flags,
                            SP_COUNT(flags),
                            .only_flags = true};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    if (!r.dir) {
        fprintf(stderr, "sampan etcd: --data-dir is needed\n");
        return 2;
    }
    sp_log_set_level(r.level);
    r.arena = sp_arena_new();
    r.survey_arena = sp_arena_new();
    rc = run(&r);
    sp_vec_free(&r.config.endpoints);
    sp_etcd_tls_unref(r.config.tls);
    sp_buf_free(&r.ca);
    sp_buf_free(&r.cert);
    sp_buf_free(&r.key);
    sp_arena_free(r.survey_arena);
    sp_arena_free(r.arena);
    return rc;
}
