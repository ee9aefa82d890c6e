/* `sampan shim`: the parent of one container. It outlives the agent, so an agent can be upgraded or
 * crash without a container noticing.
 *
 *   run DIR           a mount namespace of its own (the overlay root file system lives and dies
 * with it: nothing to clean up ever), crun, then: output into the log, exit status into exit.json
 *   delete DIR        removes what a shim that was killed left behind, and says so in exit.json
 *   exec DIR -- ARGV  one more process in the container (probes, hooks, kubectl exec); exit code is
 * its own
 *
 * crun refuses to work when a cgroup v2 hierarchy with controllers stands beside v1 ones; with the
 * v2 mount hidden in this namespace it takes v1 alone. The shim is single-threaded, small, and
 * dispatched before anything heavy is initialised. */
#include "agent/shim.h"

#include "agent/agent.h"
#include "agent/cri_file.h"
#include "agent/cri_log.h"
#include "agent/inside.h"
#include "base/file.h"
#include "data/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

typedef struct shim {
    char dir[PATH_MAX]; /* absolute */
    sp_arena *arena;
    sp_shim_spec spec;
    sp_cri_file log;
    sp_cri_stream streams[2]; /* stdout, stderr */
    int pipes[2];             /* our ends, -1 when at their end */
    int signals;              /* signalfd */
    int ready;                /* SP_SHIM_READY_FD, -1 when nobody gave one */
    pid_t pid;                /* the container's first process, 0 = none or reaped */
    sp_shim_exit result;
} shim;

static int64_t wall_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t wall_ms(void) {
    return wall_ns() / 1000000;
}

/* ---------- the root file system ---------- */

/* lowerdir takes one page at most: short links stand for the long paths. */
static bool link_layers(shim *s, sp_buf *ret_lower, sp_err *err) {
    size_t i = 0;
    if (mkdir("l", 0700) != 0 && errno != EEXIST) return sp_fail_errno(err, errno, "mkdir l");
    sp_vec_each(&s->spec.layers, layer) {
        char name[24];
        snprintf(name, sizeof name, "l/%zu", i);
        if (symlink(layer->p, name) != 0 && errno != EEXIST)
            return sp_fail_errno(err, errno, "link %s", name);
        sp_buf_printf(ret_lower, "%s%s", i++ ? ":" : "", name);
    }
    return true;
}

static bool mount_overlay(shim *s, sp_err *err) {
    static const char *const dirs[] = {"upper", "work", "rootfs"};
    sp_auto(sp_buf) lower = {0};
    sp_auto(sp_buf) options = {0};
    for (size_t i = 0; i < SP_COUNT(dirs); i++)
        if (mkdir(dirs[i], 0755) != 0 && errno != EEXIST)
            return sp_fail_errno(err, errno, "mkdir %s/%s", s->dir, dirs[i]);
    if (!link_layers(s, &lower, err)) return false;
    sp_buf_printf(&options, "lowerdir=%s,upperdir=upper,workdir=work", lower.p);
    size_t plain = options.n;
    sp_buf_addz(&options, ",volatile"); /* nobody mounts this upper again: no syncs wanted */
    if (mount("overlay", "rootfs", "overlay", 0, options.p) == 0) return true;
    options.p[plain] = 0;
    if (mount("overlay", "rootfs", "overlay", 0, options.p) == 0) return true;
    return sp_fail_errno(err, errno,
                         "mount an overlay file system in %s (is the data directory on a "
                         "disk file system such as ext4, xfs or btrfs?)",
                         s->dir);
}

/* Bound by descriptor: nothing on the way can be exchanged any more. */
static bool bind_sub(const sp_shim_sub *sub, size_t i, sp_err *err) {
    char to[32], from[40];
    struct stat st;
    int volume = open(sub->volume.p, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = sp_open_inside(volume, sub->path.p, O_PATH);
    bool ok = fd >= 0 && fstat(fd, &st) == 0;
    snprintf(to, sizeof to, "sub/%zu", i);
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    if (ok && S_ISDIR(st.st_mode)) {
        ok = mkdir(to, 0700) == 0 || errno == EEXIST;
    } else if (ok) {
        int file = open(to, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
        ok = file >= 0;
        if (ok) close(file);
    }
    ok = ok && mount(from, to, NULL, MS_BIND | MS_REC, NULL) == 0;
    int saved = errno;
    if (fd >= 0) close(fd);
    if (volume >= 0) close(volume);
    return ok || sp_fail_errno(err, saved, "subPath \"%.*s\"", SP_ARG(sub->path));
}

static bool bind_subs(shim *s, sp_err *err) {
    if (s->spec.subs.n && mkdir("sub", 0700) != 0 && errno != EEXIST)
        return sp_fail_errno(err, errno, "mkdir %s/sub", s->dir);
    for (size_t i = 0; i < s->spec.subs.n; i++)
        if (!bind_sub(&s->spec.subs.p[i], i, err)) return false;
    return true;
}

static bool private_mounts(shim *s, sp_err *err) {
    if (unshare(CLONE_NEWNS) != 0) return sp_fail_errno(err, errno, "new mount namespace");
    /* Slave, not private: what the agent unmounts outside goes away here too. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        return sp_fail_errno(err, errno, "make mounts private");
    if (s->spec.unmount_unified) umount2("/sys/fs/cgroup/unified", MNT_DETACH);
    return chdir(s->dir) == 0 || sp_fail_errno(err, errno, "enter %s", s->dir);
}

/* ---------- crun ---------- */

static bool spawn(shim *s, const char *const *argv, const int *output, pid_t *ret, sp_err *err) {
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    if (output) {
        posix_spawn_file_actions_adddup2(&fa, output[0], 1);
        posix_spawn_file_actions_adddup2(&fa, output[1], 2);
    }
    sigset_t defaults;
    sigfillset(&defaults);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(ret, s->spec.crun.p, &fa, &attr, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc == 0 || sp_fail_errno(err, rc, "start %s", s->spec.crun.p);
}

static int wait_for(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* The last line of crun's own log, without its time stamp. */
static void crun_complaint(const char *fallback, char *ret, size_t size) {
    sp_auto(sp_buf) text = {0};
    snprintf(ret, size, "%s", fallback);
    if (!sp_file_read("crun.log", 65536, &text, NULL)) return;
    sp_str last = {0};
    for (sp_str line, rest = sp_buf_str(&text); sp_str_cut(&rest, '\n', &line);)
        if (sp_str_trim(line).n) last = sp_str_trim(line);
    ptrdiff_t after = sp_str_find(last, SP_STR(": "));
    if (after > 0 && last.p[0] >= '0' && last.p[0] <= '9')
        last = sp_str_from(last, (size_t)after + 2);
    if (last.n) snprintf(ret, size, "%.*s", SP_ARG(last));
}

static bool read_pid(shim *s, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    uint64_t pid;
    if (!sp_file_read("pid", 64, &text, err)) return false;
    if (!sp_str_u64(sp_str_trim(sp_buf_str(&text)), &pid) || pid < 2 || pid > INT_MAX)
        return sp_fail(err, SP_INTERNAL, "crun wrote no process id");
    s->pid = (pid_t)pid;
    return true;
}

static bool start_container(shim *s, sp_err *err) {
    int out[2], errs[2];
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(errs, O_CLOEXEC) != 0)
        return sp_fail_errno(err, errno, "pipe");
    const char *argv[] = {
        "crun",     "--root", s->spec.root.p, "--log", "crun.log",   "run", "--detach",
        "--bundle", s->dir,   "--pid-file",   "pid",   s->spec.id.p, NULL};
    pid_t crun = 0;
    bool ok = spawn(s, argv, (int[]){out[1], errs[1]}, &crun, err);
    close(out[1]);
    close(errs[1]);
    s->pipes[0] = out[0];
    s->pipes[1] = errs[0];
    if (!ok) return false;
    int status = wait_for(crun);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return read_pid(s, err);
    char why[300];
    crun_complaint("crun failed without a word", why, sizeof why);
    return sp_fail(err, SP_INTERNAL, "%s", why);
}

static void delete_container(shim *s) {
    const char *argv[] = {"crun",   "--root",  s->spec.root.p, "--log", "crun.log",
                          "delete", "--force", s->spec.id.p,   NULL};
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t crun = 0;
    if (spawn(s, argv, (int[]){null, null}, &crun, NULL)) wait_for(crun);
    close(null);
}

/* ---------- while it runs ---------- */

/* False at the end of the stream. */
static bool pump(shim *s, int i) {
    char bytes[65536];
    sp_auto(sp_buf) lines = {0};
    ssize_t n = read(s->pipes[i], bytes, sizeof bytes);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (n <= 0) {
        close(s->pipes[i]);
        s->pipes[i] = -1;
        return false;
    }
    sp_cri_feed(&s->streams[i], (sp_str){bytes, (size_t)n}, wall_ns(), &lines);
    sp_cri_file_write(&s->log, sp_buf_str(&lines));
    return true;
}

static void note_exit(shim *s, int status) {
    s->pid = 0;
    s->result.finished_ms = wall_ms();
    s->result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    s->result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void reap(shim *s) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == s->pid) note_exit(s, status);
}

static void on_signal(shim *s) {
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if ((int)info.ssi_signo == SP_SHIM_SIGNAL && s->pid > 0 && info.ssi_int > 0)
            kill(s->pid, info.ssi_int);
    reap(s);
}

static void run_until_exit(shim *s) {
    while (s->pid) {
        struct pollfd fds[] = {
            {s->signals, POLLIN, 0}, {s->pipes[0], POLLIN, 0}, {s->pipes[1], POLLIN, 0}};
        if (poll(fds, SP_COUNT(fds), -1) < 0 && errno != EINTR) return;
        for (int i = 0; i < 2; i++)
            if (fds[i + 1].revents) pump(s, i);
        if (fds[0].revents) on_signal(s);
    }
}

/* What is in the pipes is still the container's; who else holds them open is not waited for. */
static void drain(shim *s) {
    sp_auto(sp_buf) lines = {0};
    for (int i = 0; i < 2; i++) {
        struct pollfd fd = {s->pipes[i], POLLIN, 0};
        while (s->pipes[i] >= 0 && poll(&fd, 1, 0) > 0 && pump(s, i)) {
        }
        sp_cri_finish(&s->streams[i], wall_ns(), &lines);
    }
    sp_cri_file_write(&s->log, sp_buf_str(&lines));
}

/* "oom_kill 1" is in memory.oom_control (v1) or memory.events (v2). */
static bool was_oom_killed(const char *cgroup) {
    static const char *const files[] = {"/sys/fs/cgroup/memory%s/memory.oom_control",
                                        "/sys/fs/cgroup%s/memory.events"};
    for (size_t i = 0; i < SP_COUNT(files); i++) {
        char path[PATH_MAX];
        sp_auto(sp_buf) text = {0};
        snprintf(path, sizeof path, files[i], cgroup);
        if (!sp_file_read(path, 4096, &text, NULL)) continue;
        for (sp_str line, rest = sp_buf_str(&text); sp_str_cut(&rest, '\n', &line);)
            if (sp_str_starts(line, SP_STR("oom_kill "))) return !sp_str_ends(line, SP_STR(" 0"));
    }
    return false;
}

/* ---------- run ---------- */

static bool set_up(shim *s, sp_err *err) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SP_SHIM_SIGNAL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < 4; i++) signal((int[]){SIGTERM, SIGINT, SIGHUP, SIGPIPE}[i], SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0) return sp_fail_errno(err, errno, "signalfd");
    return sp_cri_file_open(&s->log, s->spec.log.p, s->spec.log_max_bytes, s->spec.log_max_files,
                            err);
}

static bool announce(shim *s, sp_err *err) {
    s->result.started_ms = wall_ms();
    sp_shim_status st = {.shim_pid = getpid(),
                         .shim_start = sp_process_start_ticks(getpid()),
                         .pid = s->pid,
                         .started_ms = s->result.started_ms};
    if (!sp_shim_status_write(s->dir, &st, err)) return false;
    if (s->ready < 0) return true;
    if (write(s->ready, "+", 1) < 0) {
    } /* the agent may be gone; it reads the file then */
    close(s->ready);
    s->ready = -1;
    return true;
}

static void finish(shim *s, const sp_err *err) {
    if (err->code != SP_OK) {
        s->result.exit_code = 128;
        s->result.finished_ms = wall_ms();
        snprintf(s->result.error, sizeof s->result.error, "%s", err->text);
    }
    drain(s);
    sp_cri_file_close(&s->log);
    s->result.oom_killed = was_oom_killed(s->spec.cgroup.p);
    delete_container(s);
    sp_err ignored;
    if (!sp_shim_exit_write(s->dir, &s->result, &ignored)) fprintf(stderr, "%s\n", ignored.text);
}

static int run(const char *dir) {
    sp_err err = {0};
    bool told = fcntl(SP_SHIM_READY_FD, F_SETFD, FD_CLOEXEC) == 0;
    shim s = {.arena = sp_arena_new(),
              .pipes = {-1, -1},
              .log = {.fd = -1},
              .ready = told ? SP_SHIM_READY_FD : -1,
              .streams = {{.name = "stdout"}, {.name = "stderr"}}};
    if (!realpath(dir, s.dir) || !sp_shim_spec_read(s.arena, s.dir, &s.spec, &err)) {
        fprintf(stderr, "sampan shim: %s: %s\n", dir, err.text);
        return 1;
    }
    bool ok = set_up(&s, &err) && private_mounts(&s, &err) && mount_overlay(&s, &err) &&
              bind_subs(&s, &err) && start_container(&s, &err) && announce(&s, &err);
    if (ok) run_until_exit(&s);
    finish(&s, &err);
    sp_shim_spec_free(&s.spec);
    sp_arena_free(s.arena);
    return ok ? 0 : 1;
}

/* ---------- delete ---------- */

/* A shim that was killed leaves its container behind; nobody knows any more how that ended. */
static int delete_left_over(const char *dir) {
    sp_err err = {0};
    shim s = {.arena = sp_arena_new(), .result = {.exit_code = 137, .signal = SIGKILL}};
    sp_shim_status st = {0};
    sp_shim_exit known;
    bool ok = realpath(dir, s.dir) && sp_shim_spec_read(s.arena, s.dir, &s.spec, &err) &&
              private_mounts(&s, &err);
    if (ok) delete_container(&s);
    if (ok && !sp_shim_exit_read(s.dir, &known, NULL)) {
        if (sp_shim_status_read(s.dir, &st, NULL)) s.result.started_ms = st.started_ms;
        s.result.finished_ms = wall_ms();
        ok = sp_shim_exit_write(s.dir, &s.result, &err);
    }
    if (!ok) fprintf(stderr, "sampan shim: %s: %s\n", dir, err.text);
    sp_shim_spec_free(&s.spec);
    sp_arena_free(s.arena);
    return ok ? 0 : 1;
}

/* ---------- exec ---------- */

static bool enter_mounts_of(int64_t pid, sp_err *err) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/ns/mnt", (long long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNS) != 0)
        return sp_fail_errno(err, errno, "enter the mounts of process %lld", (long long)pid);
    close(fd);
    return true;
}

typedef SP_VEC(char *) words;

/* crun takes either the container's environment or what it is given, so all of it is given. */
static bool add_environment(sp_arena *a, const char *dir, words *line, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    sp_json *config;
    char path[PATH_MAX];
    bool has_term = false;
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (!sp_file_read(path, 4 << 20, &text, err) ||
        !sp_json_parse(a, sp_buf_str(&text), &config, err))
        return false;
    sp_json_each(sp_json_dig(config, "process", "env", NULL), v) {
        has_term |= sp_str_starts(sp_json_str(v), SP_STR("TERM="));
        sp_vec_push(line, (char *)(uintptr_t) "--env");
        sp_vec_push(line, (char *)(uintptr_t)sp_json_z(v));
    }
    if (has_term) return true;
    sp_vec_push(line, (char *)(uintptr_t) "--env");
    sp_vec_push(line, (char *)(uintptr_t) "TERM=xterm");
    return true;
}

/* console: where crun sends the master of the terminal it makes; NULL: no terminal. */
static int exec_in(const char *dir, char *console, int argc, char **argv) {
    sp_err err = {0};
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_shim_spec spec = {0};
    sp_shim_status st;
    if (!sp_shim_spec_read(a, dir, &spec, &err) || !sp_shim_status_read(dir, &st, &err) ||
        !enter_mounts_of(st.shim_pid, &err)) {
        fprintf(stderr, "sampan shim: %s\n", err.text);
        return 126;
    }
    words line = {0};
    char *head[] = {"crun", "--root", (char *)(uintptr_t)spec.root.p, "exec"};
    char *terminal[] = {"--tty", "--console-socket", console};
    for (size_t i = 0; i < SP_COUNT(head); i++) sp_vec_push(&line, head[i]);
    for (size_t i = 0; console && i < SP_COUNT(terminal); i++) sp_vec_push(&line, terminal[i]);
    if (console && !add_environment(a, dir, &line, &err)) {
        fprintf(stderr, "sampan shim: %s\n", err.text);
        return 126;
    }
    sp_vec_push(&line, (char *)(uintptr_t)spec.id.p);
    for (int i = 0; i < argc; i++) sp_vec_push(&line, argv[i]);
    sp_vec_push(&line, NULL);
    execv(spec.crun.p, line.p);
    fprintf(stderr, "sampan shim: %s: %s\n", spec.crun.p, strerror(errno));
    return 126;
}

int sp_shim_main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "run") == 0) return run(argv[2]);
    if (argc == 3 && strcmp(argv[1], "delete") == 0) return delete_left_over(argv[2]);
    if (argc > 4 && strcmp(argv[1], "exec") == 0 && strcmp(argv[3], "--") == 0)
        return exec_in(argv[2], NULL, argc - 4, argv + 4);
    if (argc > 6 && strcmp(argv[1], "exec") == 0 && strcmp(argv[2], "--tty") == 0 &&
        strcmp(argv[5], "--") == 0)
        return exec_in(argv[4], argv[3], argc - 6, argv + 6);
    fputs("usage: sampan shim run DIR | delete DIR | exec [--tty SOCKET] DIR -- COMMAND "
          "[ARGUMENT...]\n"
          "Started by the agent, one for each container; not meant to be called by hand.\n",
          argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
    return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
}
