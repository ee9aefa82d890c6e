/* What a pod stands on: its address, its namespaces, and taking all of it away again. The slow
 * parts run on libuv's worker threads with copies of what they need. */
#include "agent/pod.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* ---------- addresses ---------- */

static bool in_use(sp_agent *g, uint32_t ip) {
    void *pod;
    for (size_t at = 0; sp_map_next(&g->pods, &at, NULL, &pod);)
        if (((sp_pod *)pod)->ip == ip) return true;
    return false;
}

/* In turn, so that an address rests before it comes back. */
static bool allocate_ip(sp_agent *g, uint32_t *ret) {
    uint32_t size = 1u << (32 - g->net.prefix);
    for (uint32_t tries = 0; tries < size; tries++) {
        uint32_t host = g->next_ip++ % size;
        uint32_t ip = g->net.net + host;
        if (host < 2 || host == size - 1 || in_use(g, ip)) continue;
        *ret = ip;
        return true;
    }
    return false;
}

static void set_ip(sp_pod *p, uint32_t ip) {
    p->ip = ip;
    p->ip_text[0] = 0;
    if (ip) sp_ipv4_print(ip, p->ip_text);
}

/* ---------- sandbox ---------- */

typedef struct job {
    uv_work_t work;
    sp_agent *agent;
    char uid[64], hostname[64], veth[16], ip_text[16];
    char *ns_dir, *mem_dir, *dir, *log_dir;
    bool own_network;
    uint32_t ip;
    sp_podnet net;
    bool ok;
    sp_err err;
    int64_t began_us;
    void (*done)(sp_agent *g, const char *uid);
} job;

static job *new_job(sp_pod *p) {
    job *j = sp_zalloc(1, sizeof *j);
    sp_str own = sp_json_str(sp_json_dig(p->obj, "spec", "hostname", NULL));
    j->work.data = j;
    j->agent = p->agent;
    j->net = p->agent->net;
    j->own_network = !sp_pod_host_network(p);
    j->ip = p->ip;
    j->ns_dir = sp_strdup(p->ns_dir);
    j->mem_dir = sp_strdup(p->mem_dir);
    j->dir = sp_strdup(p->dir);
    j->log_dir = sp_strdup(p->log_dir);
    j->began_us = sp_clock_mono_us();
    memcpy(j->uid, p->uid, sizeof j->uid);
    if (j->own_network) memcpy(j->veth, p->veth, sizeof j->veth);
    if (j->own_network)
        snprintf(j->hostname, sizeof j->hostname, "%.*s", SP_ARG(own.n ? own : p->name));
    else
        snprintf(j->hostname, sizeof j->hostname, "%.63s", p->agent->hostname);
    return j;
}

static void free_job(job *j) {
    free(j->ns_dir);
    free(j->mem_dir);
    free(j->dir);
    free(j->log_dir);
    free(j);
}

/* sandbox.json: which boot the namespaces belong to, and the address. */
static bool save_sandbox(sp_pod *p, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) text = {0};
    char boot[40], path[PATH_MAX];
    sp_boot_id(boot);
    sp_json *doc = sp_json_object(a);
    sp_json_set_z(a, doc, "bootId", boot);
    sp_json_set_int(a, doc, "ip", p->ip);
    sp_json_write(&text, doc);
    snprintf(path, sizeof path, "%s/sandbox.json", p->dir);
    return sp_file_replace(path, sp_buf_str(&text), 0600, err);
}

bool sp_ground_load(sp_pod *p) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) text = {0};
    sp_json *doc = NULL;
    char boot[40], path[PATH_MAX];
    snprintf(path, sizeof path, "%s/sandbox.json", p->dir);
    if (!sp_file_read(path, 4096, &text, NULL) || !sp_json_parse(a, sp_buf_str(&text), &doc, NULL))
        return false;
    int64_t ip = sp_json_int(sp_json_get(doc, "ip"), 0);
    if (ip > 0 && ip <= UINT32_MAX) set_ip(p, (uint32_t)ip);
    sp_boot_id(boot);
    snprintf(path, sizeof path, "%s/uts", p->ns_dir);
    return strcmp(sp_json_get_z(doc, "bootId"), boot) == 0 && sp_file_exists(path);
}

static void sandbox_work(uv_work_t *w) {
    job *j = w->data;
    sp_sandbox_spec s = {.dir = j->ns_dir,
                         .hostname = j->hostname,
                         .ip = j->ip,
                         .veth = j->veth,
                         .net = j->own_network ? &j->net : NULL};
    sp_sandbox_remove(j->ns_dir, j->veth); /* what an earlier try left */
    j->ok = sp_sandbox_create(&s, &j->err);
}

static bool furnish(sp_pod *p, const job *j, sp_err *err) {
    sp_env_source source;
    sp_volume_input in;
    sp_pod_source(p, &source);
    sp_pod_volume_input(p, &source, &in);
    return sp_volumes_write_etc(&in, j->hostname, p->ip_text, err) && save_sandbox(p, err);
}

static void sandbox_done(uv_work_t *w, int status) {
    (void)status;
    job *j = w->data;
    sp_pod *p = sp_pod_get(j->agent, j->uid);
    if (p) {
        bool ok = j->ok && furnish(p, j, &j->err);
        p->view.sandbox = ok ? SP_SANDBOX_READY : SP_SANDBOX_NONE;
        sp_debug("sandbox made", SP_KV("pod", p->name), SP_KV("ok", ok),
                 SP_KV("took_us", sp_clock_mono_us() - j->began_us));
        if (ok) p->view.sandbox_failures = 0;
        if (!ok) {
            p->view.sandbox_failures++;
            p->view.sandbox_failed_ms = sp_clock_mono_ms();
            sp_pod_event(p, NULL, "Warning", "FailedCreatePodSandBox", "%s", j->err.text);
        }
        sp_pod_sync_soon(p);
    }
    free_job(j);
}

void sp_ground_sandbox(sp_pod *p) {
    uint32_t ip = 0;
    if (!p->ip && !sp_pod_host_network(p)) {
        if (!allocate_ip(p->agent, &ip)) {
            p->view.sandbox_failures++;
            p->view.sandbox_failed_ms = sp_clock_mono_ms();
            sp_pod_event(p, NULL, "Warning", "FailedCreatePodSandBox",
                         "no address is left in the pod network of this node");
            sp_pod_sync_soon(p);
            return;
        }
        set_ip(p, ip);
    }
    p->view.sandbox = SP_SANDBOX_CREATING;
    job *j = new_job(p);
    uv_queue_work(p->agent->loop, &j->work, sandbox_work, sandbox_done);
}

/* ---------- away ---------- */

static void drop_work(uv_work_t *w) {
    job *j = w->data;
    sp_sandbox_remove(j->ns_dir, j->veth);
}

static void drop_done(uv_work_t *w, int status) {
    (void)status;
    job *j = w->data;
    sp_pod *p = sp_pod_get(j->agent, j->uid);
    if (p) {
        p->view.sandbox = SP_SANDBOX_NONE;
        set_ip(p, 0);
        sp_pod_sync_soon(p);
    }
    free_job(j);
}

void sp_ground_drop_sandbox(sp_pod *p) {
    p->view.sandbox = SP_SANDBOX_REMOVING;
    job *j = new_job(p);
    uv_queue_work(p->agent->loop, &j->work, drop_work, drop_done);
}

void sp_ground_remove_cgroups(const char *uid) {
    DIR *d = opendir("/sys/fs/cgroup");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/sys/fs/cgroup/sampan/%s", uid);
    rmdir(path);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/sampan/%s", e->d_name, uid);
        rmdir(path);
    }
    closedir(d);
}

static void finish_work(uv_work_t *w) {
    job *j = w->data;
    sp_sandbox_remove(j->ns_dir, j->veth);
    sp_volumes_remove(j->mem_dir);
    sp_ground_remove_cgroups(j->uid);
    j->ok = sp_remove_all(j->dir, &j->err) && sp_remove_all(j->log_dir, &j->err);
}

static void finish_done(uv_work_t *w, int status) {
    (void)status;
    job *j = w->data;
    if (!j->ok)
        sp_warn("pod left something behind", SP_KV("uid", j->uid), SP_KV("error", j->err.text));
    j->done(j->agent, j->uid);
    free_job(j);
}

void sp_ground_finish(sp_pod *p, void (*done)(sp_agent *g, const char *uid)) {
    job *j = new_job(p);
    j->done = done;
    uv_queue_work(p->agent->loop, &j->work, finish_work, finish_done);
}
