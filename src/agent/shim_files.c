/* The files between agent and shim. They are void after a reboot, so nothing waits for the disk. */
#include "agent/shim.h"

#include "base/file.h"
#include "data/json.h"

#include <limits.h>
#include <stdio.h>

enum { MAX_FILE = 1 << 20 };

static bool write_doc(const char *dir, const char *name, const sp_json *doc, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sp_auto(sp_buf) text = {0};
    sp_json_write(&text, doc);
    return sp_file_replace(path, sp_buf_str(&text), 0600, err);
}

static bool read_doc(sp_arena *a, const char *dir, const char *name, sp_json **ret, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sp_auto(sp_buf) text = {0};
    return sp_file_read(path, MAX_FILE, &text, err) &&
           (sp_json_parse(a, sp_buf_str(&text), ret, err) || sp_err_wrap(err, "%s", path));
}

bool sp_shim_spec_write(const char *dir, const sp_shim_spec *s, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *doc = sp_json_object(a);
    sp_json_set(a, doc, "id", sp_json_new_str(a, s->id));
    sp_json_set(a, doc, "crun", sp_json_new_str(a, s->crun));
    sp_json_set(a, doc, "root", sp_json_new_str(a, s->root));
    sp_json_set(a, doc, "log", sp_json_new_str(a, s->log));
    sp_json_set(a, doc, "cgroup", sp_json_new_str(a, s->cgroup));
    sp_json_set_bool(a, doc, "unmountUnified", s->unmount_unified);
    sp_json_set_int(a, doc, "logMaxBytes", s->log_max_bytes);
    sp_json_set_int(a, doc, "logMaxFiles", s->log_max_files);
    sp_json *layers = sp_json_ensure_array(a, doc, "layers");
    sp_vec_each(&s->layers, l) sp_json_push(layers, sp_json_new_str(a, *l));
    sp_json *subs = sp_json_ensure_array(a, doc, "subs");
    sp_vec_each(&s->subs, sub) {
        sp_json *row = sp_json_push(subs, sp_json_object(a));
        sp_json_set(a, row, "volume", sp_json_new_str(a, sub->volume));
        sp_json_set(a, row, "path", sp_json_new_str(a, sub->path));
    }
    return write_doc(dir, "shim.json", doc, err);
}

bool sp_shim_spec_read(sp_arena *a, const char *dir, sp_shim_spec *ret, sp_err *err) {
    sp_json *doc = NULL;
    if (!read_doc(a, dir, "shim.json", &doc, err)) return false;
    *ret = (sp_shim_spec){
        .id = sp_json_str(sp_json_get(doc, "id")),
        .crun = sp_json_str(sp_json_get(doc, "crun")),
        .root = sp_json_str(sp_json_get(doc, "root")),
        .log = sp_json_str(sp_json_get(doc, "log")),
        .cgroup = sp_json_str(sp_json_get(doc, "cgroup")),
        .unmount_unified = sp_json_bool(sp_json_get(doc, "unmountUnified"), false),
        .log_max_bytes = sp_json_int(sp_json_get(doc, "logMaxBytes"), 10 << 20),
        .log_max_files = (int)sp_json_int(sp_json_get(doc, "logMaxFiles"), 5),
    };
    sp_json_each(sp_json_get(doc, "layers"), l) sp_vec_push(&ret->layers, sp_json_str(l));
    sp_json_each(sp_json_get(doc, "subs"), row) {
        sp_vec_push(&ret->subs, (sp_shim_sub){sp_json_str(sp_json_get(row, "volume")),
                                              sp_json_str(sp_json_get(row, "path"))});
    }
    return true;
}

void sp_shim_spec_free(sp_shim_spec *s) {
    sp_vec_free(&s->layers);
    sp_vec_free(&s->subs);
}

bool sp_shim_status_write(const char *dir, const sp_shim_status *s, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *doc = sp_json_object(a);
    char boot[40];
    sp_boot_id(boot);
    sp_json_set_z(a, doc, "bootId", boot);
    sp_json_set_int(a, doc, "shimPid", s->shim_pid);
    sp_json_set_int(a, doc, "shimStart", s->shim_start);
    sp_json_set_int(a, doc, "pid", s->pid);
    sp_json_set_int(a, doc, "startedMs", s->started_ms);
    return write_doc(dir, "status.json", doc, err);
}

bool sp_shim_status_read(const char *dir, sp_shim_status *ret, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *doc = NULL;
    char boot[40];
    if (!read_doc(a, dir, "status.json", &doc, err)) return false;
    sp_boot_id(boot);
    if (!sp_str_eqz(sp_json_str(sp_json_get(doc, "bootId")), boot))
        return sp_fail(err, SP_GONE, "%s is from before the last boot", dir);
    *ret = (sp_shim_status){
        .shim_pid = sp_json_int(sp_json_get(doc, "shimPid"), 0),
        .shim_start = sp_json_int(sp_json_get(doc, "shimStart"), 0),
        .pid = sp_json_int(sp_json_get(doc, "pid"), 0),
        .started_ms = sp_json_int(sp_json_get(doc, "startedMs"), 0),
    };
    return true;
}

bool sp_shim_exit_write(const char *dir, const sp_shim_exit *e, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *doc = sp_json_object(a);
    sp_json_set_int(a, doc, "exitCode", e->exit_code);
    sp_json_set_int(a, doc, "signal", e->signal);
    sp_json_set_bool(a, doc, "oomKilled", e->oom_killed);
    sp_json_set_int(a, doc, "startedMs", e->started_ms);
    sp_json_set_int(a, doc, "finishedMs", e->finished_ms);
    sp_json_set_z(a, doc, "error", e->error);
    return write_doc(dir, "exit.json", doc, err);
}

bool sp_shim_exit_read(const char *dir, sp_shim_exit *ret, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *doc = NULL;
    if (!read_doc(a, dir, "exit.json", &doc, err)) return false;
    *ret = (sp_shim_exit){
        .exit_code = (int)sp_json_int(sp_json_get(doc, "exitCode"), 0),
        .signal = (int)sp_json_int(sp_json_get(doc, "signal"), 0),
        .oom_killed = sp_json_bool(sp_json_get(doc, "oomKilled"), false),
        .started_ms = sp_json_int(sp_json_get(doc, "startedMs"), 0),
        .finished_ms = sp_json_int(sp_json_get(doc, "finishedMs"), 0),
    };
    snprintf(ret->error, sizeof ret->error, "%s", sp_json_get_z(doc, "error"));
    return true;
}

int64_t sp_process_start_ticks(int64_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    sp_auto(sp_buf) text = {0};
    if (pid <= 0 || !sp_file_read(path, 4096, &text, NULL)) return 0;
    /* The name in brackets may hold anything; field 22 counts from behind it. */
    ptrdiff_t close = sp_str_rchr(sp_buf_str(&text), ')');
    if (close < 0) return 0;
    sp_str part, rest = sp_str_from(sp_buf_str(&text), (size_t)close + 2);
    int64_t v = 0;
    for (int field = 3; sp_str_cut(&rest, ' ', &part); field++)
        if (field == 22) return sp_str_i64(part, &v) ? v : 0;
    return 0;
}

void sp_boot_id(char ret[40]) {
    sp_auto(sp_buf) text = {0};
    ret[0] = 0;
    if (!sp_file_read("/proc/sys/kernel/random/boot_id", 4096, &text, NULL)) return;
    sp_str s = sp_str_trim(sp_buf_str(&text));
    snprintf(ret, 40, "%.*s", SP_ARG(s));
}
