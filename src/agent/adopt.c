/* After a restart of the agent: what the files say about pods and containers, and whether their
 * shims still live. A container that ran on is adopted, one that ended meanwhile has its exit file,
 * one whose shim is gone without it (killed, reboot) is swept up. Pods that the API no longer lists
 * are removed once the list is in. */
#include "agent/pod.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool highest_run(const sp_ctr *c, unsigned *ret) {
    char dir[PATH_MAX];
    bool found = false;
    snprintf(dir, sizeof dir, "%s/containers/%s", c->pod->dir, c->name);
    DIR *d = opendir(dir);
    if (!d) return false;
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t n;
        if (!sp_str_u64(sp_str_z(e->d_name), &n) || n > INT_MAX) continue;
        if (!found || n > *ret) *ret = (unsigned)n;
        found = true;
    }
    closedir(d);
    return found;
}

static void on_pidfd(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    sp_ctr *c = poll->data;
    if (c && c->watch == poll) sp_ctr_ended(c);
}

static bool watch_shim(sp_ctr *c, const sp_shim_status *st) {
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)st->shim_pid, 0);
    if (fd < 0) return false;
    if (sp_process_start_ticks(st->shim_pid) != st->shim_start) {
        close(fd);
        return false;
    }
    c->watch_fd = fd;
    c->watch = sp_zalloc(1, sizeof *c->watch);
    uv_poll_init(c->pod->agent->loop, c->watch, fd);
    c->watch->data = c;
    uv_poll_start(c->watch, UV_READABLE, on_pidfd);
    c->shim_pid = st->shim_pid;
    return true;
}

/* The shim was between its start and its container's when the earlier agent went away. */
static void on_status_file(uv_fs_event_t *h, const char *name, int events, int status) {
    (void)name, (void)events, (void)status;
    sp_ctr *c = h->data;
    sp_shim_status st;
    if (!c || c->files != h || !sp_shim_status_read(c->dir, &st, NULL) || st.pid <= 0) return;
    sp_handle_close(sp_steal(c->files));
    sp_ctr_running(c, &st);
}

static void watch_start(sp_ctr *c) {
    sp_ctr_state(c)->phase = SP_CTR_STARTING;
    c->files = sp_zalloc(1, sizeof *c->files);
    uv_fs_event_init(c->pod->agent->loop, c->files);
    c->files->data = c;
    uv_fs_event_start(c->files, on_status_file, c->dir, 0);
    on_status_file(c->files, NULL, 0, 0);
}

static void load_previous(sp_ctr *c) {
    sp_auto(sp_buf) dir = {0};
    if (c->attempt == 0) return;
    sp_buf_printf(&dir, "%s/containers/%s/%u", c->pod->dir, c->name, c->attempt - 1);
    if (sp_shim_exit_read(dir.p, &c->last, NULL)) c->last_dir = sp_strdup(dir.p);
}

static void load_image_names(sp_ctr *c) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_image image;
    if (!sp_image_find(c->pod->agent->store, a, sp_json_str(sp_json_get(c->spec, "image")), &image,
                       NULL))
        return;
    sp_buf_add(&c->image, image.name);
    sp_buf_add(&c->image_id, image.digest);
}

static void adopt_container(sp_ctr *c) {
    sp_ctr_view *x = sp_ctr_state(c);
    sp_shim_status st = {0};
    sp_auto(sp_buf) dir = {0};
    if (!highest_run(c, &c->attempt)) return;
    sp_buf_printf(&dir, "%s/containers/%s/%u", c->pod->dir, c->name, c->attempt);
    c->dir = sp_strdup(dir.p);
    c->made = true;
    x->restarts = c->attempt;
    x->crashes = c->attempt;
    load_previous(c);
    load_image_names(c);
    bool known = sp_shim_status_read(c->dir, &st, NULL);
    c->started_ms = st.started_ms;
    sp_shim_exit ended;
    if (!sp_shim_exit_read(c->dir, &ended, NULL) && known && watch_shim(c, &st)) {
        sp_info("container adopted", SP_KV("pod", c->pod->name), SP_KV("container", c->name),
                SP_KV("pid", st.pid));
        if (st.pid > 0)
            sp_ctr_running(c, &st);
        else
            watch_start(c);
        x->started_ok = st.pid > 0; /* it ran before; a startup probe has had its time */
        x->ready_ok = st.pid > 0 && sp_condition_is_true(c->pod->obj, "Ready");
        return;
    }
    sp_ctr_state(c)->phase = SP_CTR_STOPPING; /* until the sweep is over */
    sp_ctr_ended(c);
}

static bool adopt_pod(sp_agent *g, const char *uid, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) text = {0};
    sp_json *obj = NULL;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/pods/%s/pod.json", g->data_dir, uid);
    if (!sp_file_read(path, SP_JSON_MAX_BYTES, &text, err) ||
        !sp_json_parse(a, sp_buf_str(&text), &obj, err))
        return false;
    if (!sp_str_eqz(sp_obj_uid(obj), uid)) return sp_fail(err, SP_INVALID, "%s: another UID", path);
    sp_pod_changed(g, obj);
    sp_pod *p = sp_pod_get(g, uid);
    if (!p) return sp_fail(err, SP_INVALID, "%s is no pod to run", path);
    if (sp_ground_load(p)) p->view.sandbox = SP_SANDBOX_READY;
    for (size_t i = 0; i < p->containers.n; i++) adopt_container(p->containers.p[i]);
    return true;
}

/* Namespaces and volumes of pods whose directory is gone. */
static void sweep_orphans(sp_agent *g, const char *sub, void (*away)(const char *path)) {
    char dir[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
    snprintf(dir, sizeof dir, "%s/run/%s", g->data_dir, sub);
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || sp_pod_get(g, e->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        away(path);
    }
    closedir(d);
}

static void namespaces_away(const char *path) {
    sp_sandbox_remove(path, NULL);
}

void sp_adopt_all(sp_agent *g) {
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/pods", g->data_dir);
    DIR *d = opendir(dir);
    if (!d) return;
    g->adopting = true;
    for (struct dirent *e; (e = readdir(d));) {
        sp_err err = {0};
        char path[PATH_MAX + NAME_MAX + 2];
        if (e->d_name[0] == '.' || adopt_pod(g, e->d_name, &err)) continue;
        sp_warn("leftover removed", SP_KV("uid", e->d_name), SP_KV("error", err.text));
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)!sp_remove_all(path, NULL);
    }
    closedir(d);
    g->adopting = false;
    sweep_orphans(g, "ns", namespaces_away);
    sweep_orphans(g, "vol", sp_volumes_remove);
}
