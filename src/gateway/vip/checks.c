#include "gateway/vip/checks.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "net/loop.h"
#include "net/process.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 500, NOTIFY_TIMEOUT_MS = 60000, COMM_MAX = 15, MOST_WORDS = 64 };

typedef struct script {
    const sp_vip_script *spec; /* NULL: its checks are gone */
    sp_vip_checks *checks;
    uv_loop_t *loop;
    sp_vip_check check;
    sp_timer *timer;
    char name[64];
    int last_exit;
    bool running, refused;
} script;

typedef struct process {
    const sp_vip_process *spec;
    bool known, up, candidate;
    int64_t candidate_since;
} process;

typedef struct file {
    const sp_vip_file *spec;
    int value;
} file;

struct sp_vip_checks {
    uv_loop_t *loop;
    const sp_vip_config *config;
    SP_VEC(script *) scripts;
    SP_VEC(process) processes;
    SP_VEC(file) files;
    sp_timer *look;
    void (*changed)(void *ctx);
    void *ctx;
};

/* --- who may be run, and as whom --- */

static bool is_safe_inode(const char *path, sp_err *err) {
    struct stat s;
    if (stat(path, &s) < 0) return sp_fail(err, SP_NOT_FOUND, "%s is not there", path);
    bool sticky = S_ISDIR(s.st_mode) && (s.st_mode & S_ISVTX);
    if (s.st_uid != 0) return sp_fail(err, SP_FORBIDDEN, "%s does not belong to root", path);
    if (!sticky && ((s.st_mode & S_IWOTH) || ((s.st_mode & S_IWGRP) && s.st_gid != 0)))
        return sp_fail(err, SP_FORBIDDEN, "%s may be written by others than root", path);
    return true;
}

bool sp_vip_program_is_safe(const char *path, sp_err *err) {
    char real[PATH_MAX];
    if (path[0] != '/') return sp_fail(err, SP_FORBIDDEN, "%s is not an absolute path", path);
    if (!realpath(path, real)) return sp_fail(err, SP_NOT_FOUND, "%s is not there", path);
    for (char *slash = real + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        if (!is_safe_inode(real, err)) return false;
        *slash = '/';
    }
    return is_safe_inode(real, err);
}

static bool may_run(const sp_vip_config *c, const char *program, sp_str user, sp_err *err) {
    bool as_root = geteuid() == 0 && (user.n == 0 || sp_str_eqz(user, "root"));
    return !c->script_security || !as_root || sp_vip_program_is_safe(program, err);
}

static bool become(sp_str user, sp_process_params *p, sp_err *err) {
    char name[64], buf[4096];
    struct passwd pw, *found = NULL;
    if (user.n == 0) return true;
    snprintf(name, sizeof name, "%.*s", SP_ARG(user));
    if (getpwnam_r(name, &pw, buf, sizeof buf, &found) != 0 || !found)
        return sp_fail(err, SP_NOT_FOUND, "there is no user %s", name);
    if (pw.pw_uid == geteuid()) return true;
    p->as_user = true;
    p->uid = pw.pw_uid;
    p->gid = pw.pw_gid;
    return true;
}

/* --- scripts --- */

static void log_answer(const script *s, const char *what, int code) {
    sp_info("a check script answers differently", SP_KV("script", s->name), SP_KV("result", what),
            SP_KV("exit", code));
}

static void on_answer(void *ctx, const sp_process_result *r, const sp_err *err) {
    script *s = ctx;
    s->running = false;
    if (!s->spec) {
        free(s);
        return;
    }
    bool good = r && r->exit_code == 0 && !r->timed_out;
    int code = !r ? -2 : r->timed_out ? -3 : r->exit_code;
    if (code != s->last_exit) {
        s->last_exit = code;
        log_answer(s,
                   !r             ? err->text
                   : r->timed_out ? "timed out"
                   : good         ? "success"
                                  : "failure",
                   code);
    }
    if (sp_vip_check_feed(&s->check, good)) s->checks->changed(s->checks->ctx);
}

static void run_script(void *ctx) {
    script *s = ctx;
    if (s->running) return;
    sp_process_params p = {
        .argv = s->spec->argv, .timeout_ms = s->spec->timeout_ms, .done = on_answer, .ctx = s};
    sp_err err = {0};
    s->running = true;
    if (become(s->spec->user, &p, &err))
        sp_process_run(s->loop, &p);
    else
        on_answer(s, NULL, &err);
}

/* As keepalived, which disables such a script at its start. */
static bool is_there(const char *program) {
    char path[PATH_MAX];
    if (strchr(program, '/')) return access(program, X_OK) == 0;
    const char *dirs = getenv("PATH");
    for (sp_str dir, rest = sp_str_z(dirs ? dirs : "/usr/bin:/bin");
         sp_str_cut(&rest, ':', &dir);) {
        snprintf(path, sizeof path, "%.*s/%s", SP_ARG(dir), program);
        if (access(path, X_OK) == 0) return true;
    }
    return false;
}

static script *start_script(sp_vip_checks *c, const sp_vip_script *spec) {
    script *s = sp_zalloc(1, sizeof *s);
    sp_err err = {0};
    *s = (script){.spec = spec, .checks = c, .loop = c->loop, .last_exit = INT_MIN};
    snprintf(s->name, sizeof s->name, "%.*s", SP_ARG(spec->name));
    sp_vip_check_init(&s->check, spec->rise, spec->fall, spec->init_fail);
    if (!may_run(c->config, spec->argv[0], spec->user, &err)) {
        s->refused = true;
        sp_error("a check script is not run and does not count: enable_script_security",
                 SP_KV("script", s->name), SP_KV("why", err.text));
        return s;
    }
    if (!is_there(spec->argv[0])) {
        s->refused = true;
        sp_error("a check script is not there and does not count", SP_KV("script", s->name),
                 SP_KV("program", spec->argv[0]));
        return s;
    }
    s->timer = sp_timer_every(c->loop, spec->interval_ms, run_script, s);
    return s;
}

static void stop_script(script *s) {
    s->timer = sp_timer_stop(s->timer);
    s->spec = NULL;
    s->checks = NULL;
    if (!s->running) free(s);
}

/* --- processes and files --- */

static bool is_called(const char *pid, sp_str command) {
    char path[64];
    sp_auto(sp_buf) text = {0};
    snprintf(path, sizeof path, "/proc/%.16s/comm", pid);
    if (!sp_file_read(path, 256, &text, NULL)) return false;
    return sp_str_eq(sp_str_trim(sp_buf_str(&text)), sp_str_sub(command, 0, COMM_MAX));
}

static int count_processes(sp_str command) {
    ptrdiff_t slash = sp_str_rchr(command, '/');
    if (slash >= 0) command = sp_str_from(command, (size_t)slash + 1);
    DIR *d = opendir("/proc");
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        if (isdigit((unsigned char)e->d_name[0]) && is_called(e->d_name, command)) n++;
    if (d) closedir(d);
    return n;
}

static bool look_at_process(process *p) {
    bool up = count_processes(p->spec->command) >= p->spec->quorum;
    int64_t now = sp_clock_mono_ms();
    if (!p->known || up != p->candidate) p->candidate = up, p->candidate_since = now;
    bool settled = !p->known || now - p->candidate_since >= p->spec->delay_ms;
    bool changed = !p->known || (settled && p->up != p->candidate);
    if (settled) p->up = p->candidate;
    p->known = true;
    return changed;
}

static bool look_at_file(file *f) {
    char path[PATH_MAX];
    sp_auto(sp_buf) text = {0};
    int64_t value = 0;
    snprintf(path, sizeof path, "%.*s", SP_ARG(f->spec->path));
    if (sp_file_read(path, 64, &text, NULL) && !sp_str_i64(sp_str_trim(sp_buf_str(&text)), &value))
        value = 0;
    int before = f->value;
    f->value = (int)SP_MAX(-255, SP_MIN(255, value));
    return f->value != before;
}

static void look(void *ctx) {
    sp_vip_checks *c = ctx;
    bool changed = false;
    sp_vec_each(&c->processes, p) changed |= look_at_process(p);
    sp_vec_each(&c->files, f) changed |= look_at_file(f);
    if (changed) c->changed(c->ctx);
}

/* --- life --- */

sp_vip_checks *sp_vip_checks_new(uv_loop_t *loop, const sp_vip_config *config,
                                 void (*changed)(void *ctx), void *ctx) {
    sp_vip_checks *c = sp_zalloc(1, sizeof *c);
    *c = (sp_vip_checks){.loop = loop, .config = config, .changed = changed, .ctx = ctx};
    sp_vec_each(&config->scripts, s) sp_vec_push(&c->scripts, start_script(c, s));
    sp_vec_each(&config->processes, p) sp_vec_push(&c->processes, {.spec = p});
    sp_vec_each(&config->files, f) sp_vec_push(&c->files, {.spec = f});
    if (c->processes.n || c->files.n) {
        c->look = sp_timer_every(loop, LOOK_MS, look, c);
        look(c);
    }
    sp_vec_each(&c->scripts, s) {
        if (!(*s)->refused) run_script(*s);
    }
    return c;
}

sp_vip_checks *sp_vip_checks_free(sp_vip_checks *c) {
    if (!c) return NULL;
    sp_timer_stop(c->look);
    sp_vec_each(&c->scripts, s) stop_script(*s);
    sp_vec_free(&c->scripts);
    sp_vec_free(&c->processes);
    sp_vec_free(&c->files);
    free(c);
    return NULL;
}

bool sp_vip_checks_read(const sp_vip_checks *c, const sp_vip_track *t, sp_vip_tracked *ret) {
    sp_vec_each(&c->scripts, s) {
        if (t->kind != SP_VIP_TRACK_SCRIPT || !sp_str_eq((*s)->spec->name, t->name)) continue;
        ret->known = (*s)->check.known;
        ret->up = sp_vip_check_is_up(&(*s)->check);
        return !(*s)->refused;
    }
    sp_vec_each(&c->processes, p) {
        if (t->kind != SP_VIP_TRACK_PROCESS || !sp_str_eq(p->spec->name, t->name)) continue;
        ret->known = p->known;
        ret->up = p->up;
        return true;
    }
    sp_vec_each(&c->files, f) {
        if (t->kind != SP_VIP_TRACK_FILE || !sp_str_eq(f->spec->name, t->name)) continue;
        ret->known = ret->is_value = true;
        ret->value = f->value;
        return true;
    }
    return false;
}

/* --- notify programs --- */

static void on_told(void *ctx, const sp_process_result *r, const sp_err *err) {
    char *program = ctx;
    if (!r)
        sp_warn("a notify program cannot be run", SP_KV("program", program),
                SP_KV("why", err->text));
    else if (r->exit_code != 0)
        sp_warn("a notify program fails", SP_KV("program", program), SP_KV("exit", r->exit_code),
                SP_KV("said", sp_str_trim(r->err)));
    free(program);
}

void sp_vip_tell_program(uv_loop_t *loop, const sp_vip_config *config, const char *const *argv,
                         const char *const words[5]) {
    const char *all[MOST_WORDS + 6] = {0};
    size_t n = 0;
    sp_err err = {0};
    while (argv[n] && n < MOST_WORDS) all[n] = argv[n], n++;
    for (size_t i = 0; i < 4 && words && words[i]; i++) all[n++] = words[i];
    sp_process_params p = {.argv = all, .timeout_ms = NOTIFY_TIMEOUT_MS, .done = on_told};
    if (!may_run(config, argv[0], config->script_user, &err) ||
        !become(config->script_user, &p, &err)) {
        sp_error("a notify program is not run", SP_KV("program", argv[0]), SP_KV("why", err.text));
        return;
    }
    p.ctx = sp_strdup(argv[0]);
    sp_process_run(loop, &p);
}
