/* One container: its bundle, its shim, its end.
 *
 * A run is a directory DATA/pods/UID/containers/NAME/N holding config.json and what shim.h lists.
 * The one before is kept for `logs --previous` and lastState, older ones go. */
#include "agent/pod.h"

#include "agent/cri_log.h"
#include "agent/inside.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "net/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LOG_MAX_BYTES = 10 << 20,
    LOG_MAX_FILES = 5,
    MESSAGE_FILE_BYTES = 4096,
    MESSAGE_LOG_BYTES = 2048,
    MESSAGE_LOG_LINES = 10,
    PASSWD_BYTES = 1 << 20
};

/* ---------- small things ---------- */

static void free_handle(uv_handle_t *h) {
    free(h);
}

void sp_handle_close(void *handle) {
    if (handle && !uv_is_closing(handle)) uv_close(handle, free_handle);
}

void sp_ctr_id(const sp_ctr *c, const char *dir, sp_buf *ret) {
    const char *n = dir ? strrchr(dir, '/') : NULL;
    sp_buf_printf(ret, "%s-%s-%s", c->pod->uid, c->name, n ? n + 1 : "0");
}

void sp_ctr_cgroup(const sp_ctr *c, sp_buf *ret) {
    sp_buf_printf(ret, "/sampan/%s/%s-%u", c->pod->uid, c->name, c->attempt);
}

void sp_ctr_clear_wait(sp_ctr *c) {
    c->wait_reason = NULL;
    sp_buf_clear(&c->wait_message);
}

static void close_watches(sp_ctr *c) {
    sp_handle_close(sp_steal(c->process));
    sp_handle_close(sp_steal(c->ready));
    sp_handle_close(sp_steal(c->watch));
    sp_handle_close(sp_steal(c->files));
    if (c->watch_fd >= 0) close(c->watch_fd);
    c->watch_fd = -1;
    c->kill_timer = sp_timer_stop(c->kill_timer);
}

void sp_ctr_free(sp_ctr *c) {
    sp_probes_stop(c);
    close_watches(c);
    free(c->dir);
    free(c->last_dir);
    sp_buf_free(&c->last_message);
    sp_buf_free(&c->wait_message);
    sp_buf_free(&c->image);
    sp_buf_free(&c->image_id);
    free(c);
}

/* ---------- the bundle ---------- */

typedef struct bundle {
    sp_ctr *c;
    sp_arena *a;
    sp_image image;
    sp_env_source source;
    sp_volume_input volumes;
    sp_oci_input oci;
    sp_shim_spec shim;
} bundle;

/* Whatever layer is on top has the file, or none: /etc/passwd of the image. A layer may hold a link
 * "etc" to anywhere; the host's own file is not to be found that way. */
static void read_image_file(bundle *b, const char *name, sp_str *ret) {
    for (size_t i = 0; i < b->shim.layers.n; i++) {
        struct stat st;
        sp_auto(sp_buf) text = {0};
        int layer = open(b->shim.layers.p[i].p, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd = sp_open_inside(layer, name, O_PATH | O_NOFOLLOW);
        if (layer >= 0) close(layer);
        if (fd < 0) continue;
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                  sp_file_read(path, PASSWD_BYTES, &text, NULL);
        close(fd);
        if (ok) *ret = sp_arena_str(b->a, sp_buf_str(&text));
        return;
    }
}

static bool take_image(bundle *b, sp_err *err) {
    sp_agent *g = b->c->pod->agent;
    sp_str name = sp_json_str(sp_json_get(b->c->spec, "image"));
    if (!sp_image_find(g->store, b->a, name, &b->image, err)) return false;
    sp_strs lowest_first = {0};
    sp_auto(sp_buf) path = {0};
    sp_json_each(b->image.config.diff_ids, id) {
        sp_buf_clear(&path);
        sp_image_layer_path(g->store, sp_json_str(id), &path);
        sp_vec_push(&lowest_first, sp_arena_str(b->a, sp_buf_str(&path)));
    }
    for (size_t i = lowest_first.n; i-- > 0;) sp_vec_push(&b->shim.layers, lowest_first.p[i]);
    sp_vec_free(&lowest_first);
    read_image_file(b, "etc/passwd", &b->oci.passwd);
    read_image_file(b, "etc/group", &b->oci.group);
    return true;
}

/* Holds the layers against garbage collection for as long as the directory is there. */
static bool write_layers(bundle *b, sp_err *err) {
    char path[PATH_MAX];
    sp_auto(sp_buf) text = {0};
    sp_json_each(b->image.config.diff_ids, id) sp_buf_printf(&text, "%s\n", sp_json_z(id));
    snprintf(path, sizeof path, "%s/layers", b->c->dir);
    return sp_file_replace(path, sp_buf_str(&text), 0600, err);
}

static bool add_message_file(bundle *b, sp_oci_mounts *mounts, sp_err *err) {
    sp_str at = sp_json_str(sp_json_get(b->c->spec, "terminationMessagePath"));
    sp_str file = sp_arena_printf(b->a, "%s/termination-log", b->c->dir);
    if (!at.n) at = SP_STR("/dev/termination-log");
    if (!sp_file_replace(file.p, SP_STR(""), 0666, err)) return false;
    sp_vec_push(mounts, (sp_oci_mount){.source = file, .destination = at});
    return true;
}

/* A container can turn a path inside a volume into something else until the moment it is mounted:
 * the shim opens it and binds what it got to DIR/sub/N, out of reach. */
static void divert_subs(bundle *b, sp_oci_mounts *mounts) {
    sp_vec_each(mounts, m) {
        if (!m->sub.n) continue;
        sp_str at = sp_arena_printf(b->a, "%s/sub/%zu", b->c->dir, b->shim.subs.n);
        sp_vec_push(&b->shim.subs, (sp_shim_sub){m->source, m->sub});
        m->source = at;
    }
}

static bool write_config(bundle *b, sp_err *err) {
    sp_ctr *c = b->c;
    sp_json *env = NULL, *config = NULL;
    sp_oci_mounts mounts = {0};
    sp_auto(sp_buf) cgroup = {0};
    sp_auto(sp_buf) text = {0};
    char path[PATH_MAX];
    sp_ctr_cgroup(c, &cgroup);
    bool ok = sp_env_resolve(b->a, c->pod->obj, c->spec, &b->source, &env, err) &&
              sp_volumes_mounts(b->a, &b->volumes, c->spec, env, &mounts, err) &&
              add_message_file(b, &mounts, err);
    divert_subs(b, &mounts);
    b->oci.pod = c->pod->obj;
    b->oci.container = c->spec;
    b->oci.image = b->image.config.config;
    b->oci.env = env;
    b->oci.rootfs = "rootfs";
    b->oci.cgroup = cgroup.p;
    b->oci.ns_dir = c->pod->ns_dir;
    b->oci.host = c->pod->agent->host;
    b->oci.mounts.p = mounts.p;
    b->oci.mounts.n = mounts.n;
    const sp_json *privileged = sp_json_dig(c->spec, "securityContext", "privileged", NULL);
    if (sp_json_bool(privileged, false)) b->oci.devices = sp_oci_devices(b->a);
    ok = ok && sp_oci_config(b->a, &b->oci, &config, err);
    sp_vec_free(&mounts);
    if (!ok) return false;
    sp_json_write(&text, config);
    snprintf(path, sizeof path, "%s/config.json", c->dir);
    return sp_file_replace(path, sp_buf_str(&text), 0600, err);
}

static bool write_shim(bundle *b, sp_err *err) {
    sp_ctr *c = b->c;
    sp_agent *g = c->pod->agent;
    sp_auto(sp_buf) id = {0};
    sp_auto(sp_buf) cgroup = {0};
    sp_str log_dir = sp_arena_printf(b->a, "%s/%s", c->pod->log_dir, c->name);
    sp_str root = sp_arena_printf(b->a, "%s/run/crun", g->data_dir);
    if (!sp_mkdir_all(log_dir.p, 0755, err)) return false;
    sp_ctr_id(c, c->dir, &id);
    sp_ctr_cgroup(c, &cgroup);
    b->shim.id = sp_buf_str(&id);
    b->shim.crun = sp_str_z(g->crun);
    b->shim.root = root;
    b->shim.log = sp_arena_printf(b->a, "%s/%u.log", log_dir.p, c->attempt);
    b->shim.cgroup = sp_buf_str(&cgroup);
    b->shim.unmount_unified = g->hybrid;
    b->shim.log_max_bytes = LOG_MAX_BYTES;
    b->shim.log_max_files = LOG_MAX_FILES;
    return sp_shim_spec_write(c->dir, &b->shim, err);
}

static bool make_bundle(sp_ctr *c, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    bundle b = {.c = c, .a = a};
    int lock = sp_image_store_lock_now(c->pod->agent->store, err);
    if (lock < 0) return false;
    sp_pod_source(c->pod, &b.source);
    sp_pod_volume_input(c->pod, &b.source, &b.volumes);
    bool ok = take_image(&b, err) && sp_mkdir_all(c->dir, 0711, err) && write_layers(&b, err) &&
              write_config(&b, err) && write_shim(&b, err);
    close(lock);
    if (ok) {
        sp_buf_clear(&c->image);
        sp_buf_clear(&c->image_id);
        sp_buf_add(&c->image, b.image.name);
        sp_buf_add(&c->image_id, b.image.digest);
    }
    sp_shim_spec_free(&b.shim);
    return ok;
}

/* ---------- running ---------- */

void sp_ctr_running(sp_ctr *c, const sp_shim_status *st) {
    sp_ctr_view *x = sp_ctr_state(c);
    c->pid = st->pid;
    c->shim_pid = st->shim_pid;
    c->started_ms = st->started_ms;
    x->phase = SP_CTR_RUNNING;
    sp_ctr_clear_wait(c);
    sp_probes_start(c);
    sp_pod_sync_soon(c->pod);
}

static void give_bytes(uv_handle_t *h, size_t want, uv_buf_t *buf) {
    (void)h, (void)want;
    static char bytes[64];
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_ready(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
    (void)buf;
    sp_ctr *c = s->data;
    sp_shim_status st;
    sp_err err = {0};
    if (n == 0) return;
    sp_handle_close(sp_steal(c->ready));
    if (n < 0 || sp_ctr_state(c)->phase != SP_CTR_STARTING) return; /* its exit tells the rest */
    if (!sp_shim_status_read(c->dir, &st, &err)) {
        sp_error("container status", SP_KV("container", c->name), SP_KV("error", err.text));
        return;
    }
    sp_ctr_running(c, &st);
    sp_pod_event(c->pod, c, "Normal", "Started", "Started container %s", c->name);
    sp_ctr_after_start(c);
}

static void on_shim_exit(uv_process_t *process, int64_t status, int signal) {
    (void)status, (void)signal;
    sp_ctr *c = process->data;
    if (c && c->process == process) sp_ctr_ended(c);
}

static bool spawn_shim(sp_ctr *c, sp_err *err) {
    sp_agent *g = c->pod->agent;
    char *argv[] = {g->self, "shim", "run", c->dir, NULL};
    c->ready = sp_zalloc(1, sizeof *c->ready);
    c->process = sp_zalloc(1, sizeof *c->process);
    uv_pipe_init(g->loop, c->ready, 0);
    c->ready->data = c;
    c->process->data = c;
    uv_stdio_container_t stdio[4] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)c->ready}};
    uv_process_options_t o = {.exit_cb = on_shim_exit,
                              .file = g->self,
                              .args = argv,
                              .stdio = stdio,
                              .stdio_count = 4,
                              .flags = UV_PROCESS_DETACHED};
    int rc = uv_spawn(g->loop, c->process, &o);
    if (rc != 0) {
        sp_handle_close(sp_steal(c->process));
        sp_handle_close(sp_steal(c->ready));
        return sp_fail_errno(err, -rc, "start the shim %s", g->self);
    }
    c->shim_pid = c->process->pid;
    uv_read_start((uv_stream_t *)c->ready, give_bytes, on_ready);
    return true;
}

static void config_error(sp_ctr *c, const sp_err *err) {
    sp_ctr_view *x = sp_ctr_state(c);
    x->phase = c->last.finished_ms ? SP_CTR_EXITED : SP_CTR_NEW;
    x->config_failures++;
    x->config_failed_ms = sp_clock_mono_ms();
    sp_ctr_clear_wait(c);
    c->wait_reason = "CreateContainerConfigError";
    sp_buf_addz(&c->wait_message, err->text);
    sp_pod_event(c->pod, c, "Warning", "Failed", "Error: %s", err->text);
    (void)!sp_remove_all(c->dir, NULL);
    if (err->code == SP_NOT_FOUND &&
        sp_str_find(sp_str_z(err->text), SP_STR("not on this machine")) >= 0)
        x->image = SP_IMAGE_UNKNOWN; /* somebody removed it meanwhile */
    sp_pod_sync_soon(c->pod);
}

static void set_run_dir(sp_ctr *c, unsigned attempt) {
    sp_auto(sp_buf) dir = {0};
    sp_buf_printf(&dir, "%s/containers/%s/%u", c->pod->dir, c->name, attempt);
    free(c->dir);
    c->dir = sp_strdup(dir.p);
    c->attempt = attempt;
}

/* Runs before the last one are of no use to anybody. */
static void forget_old_runs(sp_ctr *c) {
    if (c->attempt < 2) return;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/containers/%s/%u", c->pod->dir, c->name, c->attempt - 2);
    (void)!sp_remove_all(path, NULL);
    for (int i = 0; i < LOG_MAX_FILES; i++) {
        if (i == 0)
            snprintf(path, sizeof path, "%s/%s/%u.log", c->pod->log_dir, c->name, c->attempt - 2);
        else
            snprintf(path, sizeof path, "%s/%s/%u.log.%d", c->pod->log_dir, c->name, c->attempt - 2,
                     i);
        unlink(path);
    }
}

void sp_ctr_start(sp_ctr *c) {
    sp_ctr_view *x = sp_ctr_state(c);
    sp_err err = {0};
    if (!sp_objects_known(c->pod->agent->objects, c->pod)) return;
    bool again = c->made;
    set_run_dir(c, again ? c->attempt + 1 : 0);
    (void)!sp_remove_all(c->dir, NULL);
    x->phase = SP_CTR_STARTING;
    x->started_ok = x->ready_ok = x->unhealthy = false;
    c->term_sent = c->kill_sent = c->hook_done = c->pull_said = false;
    if (!make_bundle(c, &err) || !spawn_shim(c, &err)) {
        if (again) set_run_dir(c, c->attempt - 1);
        config_error(c, &err);
        return;
    }
    c->made = true;
    x->restarts = c->attempt;
    x->config_failures = 0;
    sp_pod_event(c->pod, c, "Normal", "Created", "Created container %s", c->name);
    forget_old_runs(c);
}

/* ---------- the end ---------- */

static void log_tail(sp_ctr *c, sp_buf *ret) {
    char path[PATH_MAX], bytes[16384];
    sp_auto(sp_buf) text = {0};
    snprintf(path, sizeof path, "%s/%s/%u.log", c->pod->log_dir, c->name, c->attempt);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof bytes ? end - (off_t)sizeof bytes : 0;
    ssize_t n = pread(fd, bytes, sizeof bytes, from);
    close(fd);
    sp_str line, rest = {bytes, n > 0 ? (size_t)n : 0};
    if (from > 0) sp_str_cut(&rest, '\n', &line);
    sp_cri_entry e;
    while (sp_str_cut(&rest, '\n', &line))
        if (sp_cri_parse(line, &e)) sp_buf_printf(&text, "%.*s\n", SP_ARG(e.text));
    size_t start = text.n, lines = 0;
    while (start > 0 && text.n - start < MESSAGE_LOG_BYTES) {
        if (text.p[start - 1] == '\n' && ++lines > MESSAGE_LOG_LINES) break;
        start--;
    }
    sp_buf_add(ret, sp_str_trim(sp_str_from(sp_buf_str(&text), start)));
}

/* Bytes of a program become a JSON string: what is no UTF-8 is shown as '?'. */
static void make_text(sp_buf *b) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) quoted = {0};
    sp_json *j = NULL;
    sp_json_write_string(&quoted, sp_buf_str(b));
    if (sp_json_parse(a, sp_buf_str(&quoted), &j, NULL)) return;
    for (size_t i = 0; i < b->n; i++)
        if ((unsigned char)b->p[i] >= 0x80) b->p[i] = '?';
}

static void read_message(sp_ctr *c) {
    char path[PATH_MAX];
    sp_buf_clear(&c->last_message);
    snprintf(path, sizeof path, "%s/termination-log", c->dir);
    if (!sp_file_read(path, MESSAGE_FILE_BYTES, &c->last_message, NULL))
        sp_buf_clear(&c->last_message);
    if (!c->last_message.n && c->last.exit_code != 0) log_tail(c, &c->last_message);
    make_text(&c->last_message);
}

static void announce_end(sp_ctr *c) {
    sp_ctr_view *x = sp_ctr_state(c);
    sp_info("container ended", SP_KV("pod", c->pod->name), SP_KV("container", c->name),
            SP_KV("exit_code", c->last.exit_code), SP_KV("reason", sp_exit_reason(&c->last)));
    if (c->last.error[0]) sp_pod_event(c->pod, c, "Warning", "Failed", "Error: %s", c->last.error);
    if (!sp_podstate_will_restart(&c->pod->view, x)) return;
    int64_t wait = sp_crash_backoff_ms(x->crashes);
    if (wait)
        sp_pod_event(c->pod, c, "Warning", "BackOff",
                     "Back-off %" PRId64 " s restarting failed container %s (exit code %d)",
                     wait / 1000, c->name, c->last.exit_code);
}

static void settle(sp_ctr *c) {
    sp_ctr_view *x = sp_ctr_state(c);
    char path[PATH_MAX];
    int64_t ran = c->last.started_ms ? c->last.finished_ms - c->last.started_ms : 0;
    int64_t ago = SP_MAX(sp_clock_wall_ms() - c->last.finished_ms, (int64_t)0);
    read_message(c);
    free(c->last_dir);
    c->last_dir = sp_strdup(c->dir);
    x->phase = SP_CTR_EXITED;
    x->exit_code = c->last.exit_code;
    x->crashes = sp_crashes_after(x->crashes, ran);
    x->finished_ms = sp_clock_mono_ms() - ago;
    x->image = SP_IMAGE_UNKNOWN;
    x->ready_ok = x->started_ok = x->unhealthy = false;
    c->pid = 0;
    snprintf(path, sizeof path, "%s/upper", c->dir);
    (void)!sp_remove_all(path, NULL);
    announce_end(c);
    sp_pod_sync_soon(c->pod);
}

typedef struct left_over {
    sp_agent *agent;
    char uid[64];
    size_t index;
} left_over;

static void swept(void *ctx, const sp_process_result *r, const sp_err *err) {
    (void)r, (void)err;
    left_over *l = ctx;
    sp_pod *p = sp_pod_get(l->agent, l->uid);
    sp_ctr *c = p && l->index < p->containers.n ? p->containers.p[l->index] : NULL;
    free(l);
    if (!c) return;
    if (!sp_shim_exit_read(c->dir, &c->last, NULL))
        c->last = (sp_shim_exit){.exit_code = 137,
                                 .signal = SIGKILL,
                                 .started_ms = c->started_ms,
                                 .finished_ms = sp_clock_wall_ms()};
    settle(c);
}

/* The shim died without a word (killed, or the machine went down): take the rest away first. */
static void sweep(sp_ctr *c) {
    left_over *l = sp_zalloc(1, sizeof *l);
    l->agent = c->pod->agent;
    l->index = c->index;
    memcpy(l->uid, c->pod->uid, sizeof l->uid);
    const char *argv[] = {c->pod->agent->self, "shim", "delete", c->dir, NULL};
    sp_process_params params = {.argv = argv, .timeout_ms = 20000, .done = swept, .ctx = l};
    sp_process_run(c->pod->agent->loop, &params);
}

void sp_ctr_ended(sp_ctr *c) {
    sp_probes_stop(c);
    close_watches(c);
    c->shim_pid = 0;
    if (sp_shim_exit_read(c->dir, &c->last, NULL))
        settle(c);
    else
        sweep(c);
}
