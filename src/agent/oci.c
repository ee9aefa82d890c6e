/* Builds config.json section by section: process, mounts, namespaces, resources. */
#include "agent/oci.h"

#include "agent/oci_caps.h"
#include "base/file.h"
#include "data/quantity.h"
#include "kube/object.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

enum {
    CPU_PERIOD_US = 100000,
    MIN_QUOTA_US = 1000,
    DEFAULT_PIDS = 8192,
    CAP_SYS_RESOURCE_BIT = 24
};

#define PATH_DEFAULT "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

typedef struct builder {
    sp_arena *a;
    const sp_oci_input *in;
    sp_oci_user user;
    sp_json *out;
} builder;

/* ---------- what applies: the container's word, else the pod's ---------- */

static const sp_json *security(const sp_oci_input *in, const char *key) {
    const sp_json *own = sp_json_dig(in->container, "securityContext", key, NULL);
    return own ? own : sp_json_dig(in->pod, "spec", "securityContext", key, NULL);
}

static bool flag(const sp_oci_input *in, const char *key, bool fallback) {
    return sp_json_bool(sp_json_dig(in->container, "securityContext", key, NULL), fallback);
}

static bool pod_flag(const sp_oci_input *in, const char *key) {
    return sp_json_bool(sp_json_dig(in->pod, "spec", key, NULL), false);
}

/* ---------- quality of service ---------- */

static bool quantity(const sp_json *container, const char *which, const char *what, int64_t *ret) {
    const sp_json *v = sp_json_dig(container, "resources", which, what, NULL);
    return v && sp_quantity_milli(v, ret) && *ret > 0;
}

const char *sp_pod_qos(const sp_json *pod) {
    static const char *const lists[] = {"containers", "initContainers"};
    static const char *const what[] = {"cpu", "memory"};
    bool any = false, guaranteed = true;
    for (size_t l = 0; l < SP_COUNT(lists); l++) {
        sp_json_each(sp_json_dig(pod, "spec", lists[l], NULL), c) {
            for (size_t i = 0; i < SP_COUNT(what); i++) {
                int64_t limit = 0, request = 0;
                bool has_limit = quantity(c, "limits", what[i], &limit);
                bool has_request = quantity(c, "requests", what[i], &request);
                any = any || has_limit || has_request;
                guaranteed = guaranteed && has_limit && (!has_request || request == limit);
            }
        }
    }
    return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

/* kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction, oom_score_adj. */
static int oom_score_adj(const sp_json *pod, const sp_json *container, int64_t machine_memory) {
    const char *qos = sp_pod_qos(pod);
    int64_t request = 0;
    if (strcmp(qos, "Guaranteed") == 0) return -997;
    if (strcmp(qos, "BestEffort") == 0 || machine_memory <= 0) return 1000;
    if (!quantity(container, "requests", "memory", &request))
        (void)!quantity(container, "limits", "memory", &request);
    int64_t adj = 1000 - request / machine_memory; /* request is in thousandths */
    return (int)SP_MIN(SP_MAX(adj, (int64_t)3), (int64_t)999);
}

/* ---------- process ---------- */

static void add_strings(builder *b, sp_json *to, const sp_json *list) {
    sp_json_each(list, s) {
        sp_json_push(to, sp_json_new_str(b->a, sp_env_expand(b->a, sp_json_str(s), b->in->env)));
    }
}

static void add_raw(builder *b, sp_json *to, const sp_json *list) {
    sp_json_each(list, s) sp_json_push(to, sp_json_new_str(b->a, sp_json_str(s)));
}

/* command replaces the entry point and the image's arguments, args only the latter. */
static bool put_args(builder *b, sp_json *process, sp_err *err) {
    const sp_json *command = sp_json_get(b->in->container, "command");
    const sp_json *args = sp_json_get(b->in->container, "args");
    sp_json *out = sp_json_ensure_array(b->a, process, "args");
    bool own = command && command->count;
    if (own)
        add_strings(b, out, command);
    else
        add_raw(b, out, sp_json_get(b->in->image, "Entrypoint"));
    if (args && args->count)
        add_strings(b, out, args);
    else if (!own)
        add_raw(b, out, sp_json_get(b->in->image, "Cmd"));
    return out->count || sp_fail(err, SP_INVALID,
                                 "the image names no program to run; set command in the container");
}

static bool env_has(const sp_json *env, const char *name) {
    size_t n = strlen(name);
    sp_json_each(env, e) {
        if (strncmp(sp_json_z(e), name, n) == 0 && sp_json_z(e)[n] == '=') return true;
    }
    return false;
}

static bool overridden(const sp_json *env, sp_str pair) {
    ptrdiff_t eq = sp_str_chr(pair, '=');
    sp_str name = eq < 0 ? pair : sp_str_sub(pair, 0, (size_t)eq);
    sp_json_each(env, e) {
        if (sp_str_eq(sp_json_str(sp_json_get(e, "name")), name)) return true;
    }
    return false;
}

static void put_env(builder *b, sp_json *process) {
    sp_json *out = sp_json_ensure_array(b->a, process, "env");
    sp_json_each(sp_json_get(b->in->image, "Env"), e) {
        if (!overridden(b->in->env, sp_json_str(e)))
            sp_json_push(out, sp_json_new_str(b->a, sp_json_str(e)));
    }
    sp_json_each(b->in->env, e) {
        sp_str name = sp_json_str(sp_json_get(e, "name"));
        sp_str value = sp_json_str(sp_json_get(e, "value"));
        sp_json_push(out, sp_json_printf(b->a, "%.*s=%.*s", SP_ARG(name), SP_ARG(value)));
    }
    if (!env_has(out, "PATH")) sp_json_push(out, sp_json_new_z(b->a, PATH_DEFAULT));
    sp_str host = sp_json_str(sp_json_dig(b->in->pod, "spec", "hostname", NULL));
    if (!host.n) host = sp_obj_name(b->in->pod);
    if (!env_has(out, "HOSTNAME"))
        sp_json_push(out, sp_json_printf(b->a, "HOSTNAME=%.*s", SP_ARG(host)));
    if (!env_has(out, "HOME") && b->user.home.n)
        sp_json_push(out, sp_json_printf(b->a, "HOME=%.*s", SP_ARG(b->user.home)));
}

static bool find_user(builder *b, sp_err *err) {
    const sp_json *uid = security(b->in, "runAsUser"), *gid = security(b->in, "runAsGroup");
    sp_str spec = sp_json_str(sp_json_get(b->in->image, "User"));
    if (uid) spec = sp_arena_printf(b->a, "%" PRId64, sp_json_int(uid, 0));
    if (!sp_oci_user_find(spec, b->in->passwd, b->in->group, &b->user, err)) return false;
    if (gid) b->user.gid = sp_json_int(gid, 0);
    if (sp_json_bool(security(b->in, "runAsNonRoot"), false) && b->user.uid == 0)
        return sp_fail(err, SP_FORBIDDEN,
                       "runAsNonRoot is set, but the image would run as root; set "
                       "securityContext.runAsUser");
    const sp_json *pod = sp_json_dig(b->in->pod, "spec", "securityContext", NULL);
    sp_json_each(sp_json_get(pod, "supplementalGroups"), g) {
        sp_vec_push(&b->user.extra, sp_json_int(g, 0));
    }
    const sp_json *fs = sp_json_get(pod, "fsGroup");
    if (fs) sp_vec_push(&b->user.extra, sp_json_int(fs, 0));
    return true;
}

static void put_user(builder *b, sp_json *process) {
    sp_json *u = sp_json_ensure_object(b->a, process, "user");
    sp_json_set_int(b->a, u, "uid", b->user.uid);
    sp_json_set_int(b->a, u, "gid", b->user.gid);
    sp_json *extra = sp_json_ensure_array(b->a, u, "additionalGids");
    sp_vec_each(&b->user.extra, g) sp_json_push(extra, sp_json_new_int(b->a, *g));
}

static bool wanted_caps(const sp_oci_input *in, uint64_t *ret, sp_err *err) {
    uint64_t one;
    *ret = sp_caps_default();
    if (flag(in, "privileged", false)) {
        *ret = ~0ull;
        return true;
    }
    const sp_json *caps = sp_json_dig(in->container, "securityContext", "capabilities", NULL);
    /* ALL first, single names after it, and what is dropped by name stays dropped. */
    static const struct {
        const char *list;
        bool add, all;
    } turns[] = {
        {"add", true, true}, {"drop", false, true}, {"add", true, false}, {"drop", false, false}};
    for (size_t i = 0; i < SP_COUNT(turns); i++) {
        sp_json_each(sp_json_get(caps, turns[i].list), c) {
            if (!sp_caps_find(sp_json_str(c), &one))
                return sp_fail(err, SP_INVALID, "capability \"%.40s\" does not exist",
                               sp_json_z(c));
            if ((one == ~0ull) == turns[i].all) *ret = turns[i].add ? *ret | one : *ret & ~one;
        }
    }
    return true;
}

static bool put_caps(builder *b, sp_json *process, sp_err *err) {
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    uint64_t caps;
    if (!wanted_caps(b->in, &caps, err)) return false;
    sp_json *out = sp_json_ensure_object(b->a, process, "capabilities");
    for (size_t i = 0; i < SP_COUNT(sets); i++)
        sp_json_set(b->a, out, sets[i], sp_caps_list(b->a, caps & b->in->host.caps));
    return true;
}

static void put_rlimits(builder *b, sp_json *process) {
    uint64_t want = 1048576;
    if (!b->in->host.sys_resource) want = SP_MIN(want, b->in->host.nofile_hard);
    sp_json *r = sp_json_push(sp_json_ensure_array(b->a, process, "rlimits"), sp_json_object(b->a));
    sp_json_set_z(b->a, r, "type", "RLIMIT_NOFILE");
    sp_json_set_int(b->a, r, "hard", (int64_t)want);
    sp_json_set_int(b->a, r, "soft", (int64_t)want);
}

static bool put_process(builder *b, sp_err *err) {
    const sp_oci_input *in = b->in;
    sp_json *p = sp_json_ensure_object(b->a, b->out, "process");
    sp_str cwd = sp_json_str(sp_json_get(in->container, "workingDir"));
    if (!cwd.n) cwd = sp_json_str(sp_json_get(in->image, "WorkingDir"));
    if (!find_user(b, err) || !put_args(b, p, err) || !put_caps(b, p, err)) return false;
    put_user(b, p);
    put_env(b, p);
    put_rlimits(b, p);
    sp_json_set(b->a, p, "cwd", sp_json_new_str(b->a, cwd.n ? cwd : SP_STR("/")));
    sp_json_set_bool(b->a, p, "noNewPrivileges", !flag(in, "allowPrivilegeEscalation", true));
    int adj = oom_score_adj(in->pod, in->container, in->host.memory_bytes);
    if (!in->host.sys_resource) adj = SP_MAX(adj, in->host.oom_score_adj);
    sp_json_set_int(b->a, p, "oomScoreAdj", adj);
    return true;
}

/* ---------- mounts ---------- */

static void put_mount(builder *b, const char *to, const char *type, const char *source,
                      const char *options) {
    sp_json *m = sp_json_push(sp_json_ensure_array(b->a, b->out, "mounts"), sp_json_object(b->a));
    sp_json_set_z(b->a, m, "destination", to);
    sp_json_set_z(b->a, m, "type", type);
    sp_json_set_z(b->a, m, "source", source);
    sp_json *list = sp_json_ensure_array(b->a, m, "options");
    for (sp_str one, rest = sp_str_z(options); sp_str_cut(&rest, ',', &one);)
        sp_json_push(list, sp_json_new_str(b->a, one));
}

static void put_system_mounts(builder *b, bool privileged) {
    const char *ro = privileged ? "rw" : "ro";
    char sys[64], cgroup[64];
    snprintf(sys, sizeof sys, "nosuid,noexec,nodev,%s", ro);
    snprintf(cgroup, sizeof cgroup, "nosuid,noexec,nodev,relatime,%s", ro);
    put_mount(b, "/proc", "proc", "proc", "nosuid,noexec,nodev");
    put_mount(b, "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k");
    put_mount(b, "/dev/pts", "devpts", "devpts",
              "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
    put_mount(b, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
    put_mount(b, "/sys", "sysfs", "sysfs", sys);
    put_mount(b, "/sys/fs/cgroup", "cgroup", "cgroup", cgroup);
}

static void put_mounts(builder *b, bool privileged) {
    put_system_mounts(b, privileged);
    sp_vec_each(&b->in->mounts, m) {
        char options[64];
        snprintf(options, sizeof options, "rbind,%s,%s", m->propagate ? "rslave" : "rprivate",
                 m->readonly ? "ro" : "rw");
        put_mount(b, m->destination.p, "bind", m->source.p, options);
    }
}

/* ---------- linux ---------- */

static void put_namespace(builder *b, sp_json *list, const char *type, const char *path) {
    sp_json *n = sp_json_push(list, sp_json_object(b->a));
    sp_json_set_z(b->a, n, "type", type);
    if (path) sp_json_set(b->a, n, "path", sp_json_printf(b->a, "%s/%s", b->in->ns_dir, path));
}

static void put_namespaces(builder *b, sp_json *lin) {
    sp_json *list = sp_json_ensure_array(b->a, lin, "namespaces");
    put_namespace(b, list, "mount", NULL);
    put_namespace(b, list, "cgroup", NULL);
    if (!pod_flag(b->in, "hostPID")) put_namespace(b, list, "pid", NULL);
    if (!pod_flag(b->in, "hostNetwork")) put_namespace(b, list, "network", "net");
    put_namespace(b, list, "uts", "uts");
    if (!pod_flag(b->in, "hostIPC")) put_namespace(b, list, "ipc", "ipc");
}

static void put_cpu(builder *b, sp_json *resources) {
    int64_t limit = 0, request = 0; /* thousandths of a core */
    bool has_limit = quantity(b->in->container, "limits", "cpu", &limit);
    if (!quantity(b->in->container, "requests", "cpu", &request)) request = limit;
    sp_json *cpu = sp_json_ensure_object(b->a, resources, "cpu");
    sp_json_set_int(b->a, cpu, "shares", SP_MAX(request * 1024 / 1000, (int64_t)2));
    if (!has_limit) return;
    sp_json_set_int(b->a, cpu, "quota",
                    SP_MAX(limit * CPU_PERIOD_US / 1000, (int64_t)MIN_QUOTA_US));
    sp_json_set_int(b->a, cpu, "period", CPU_PERIOD_US);
}

static void put_resources(builder *b, sp_json *lin, bool privileged) {
    sp_json *r = sp_json_ensure_object(b->a, lin, "resources");
    int64_t memory = 0;
    sp_json *dev = sp_json_push(sp_json_ensure_array(b->a, r, "devices"), sp_json_object(b->a));
    sp_json_set_bool(b->a, dev, "allow", privileged);
    sp_json_set_z(b->a, dev, "access", "rwm");
    put_cpu(b, r);
    if (quantity(b->in->container, "limits", "memory", &memory))
        sp_json_set_int(b->a, sp_json_ensure_object(b->a, r, "memory"), "limit", memory / 1000);
    sp_json_set_int(b->a, sp_json_ensure_object(b->a, r, "pids"), "limit", DEFAULT_PIDS);
}

static void put_paths(builder *b, sp_json *lin, const char *key, const char *const *paths,
                      size_t n) {
    sp_json *list = sp_json_ensure_array(b->a, lin, key);
    for (size_t i = 0; i < n; i++) sp_json_push(list, sp_json_new_z(b->a, paths[i]));
}

static void put_linux(builder *b, bool privileged) {
    static const char *const masked[] = {"/proc/acpi",
                                         "/proc/asound",
                                         "/proc/kcore",
                                         "/proc/keys",
                                         "/proc/latency_stats",
                                         "/proc/timer_list",
                                         "/proc/timer_stats",
                                         "/proc/sched_debug",
                                         "/proc/scsi",
                                         "/sys/firmware",
                                         "/sys/devices/virtual/powercap"};
    static const char *const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                           "/proc/sysrq-trigger"};
    sp_json *lin = sp_json_ensure_object(b->a, b->out, "linux");
    sp_json_set_z(b->a, lin, "cgroupsPath", b->in->cgroup);
    put_namespaces(b, lin);
    put_resources(b, lin, privileged);
    if (privileged && b->in->devices)
        sp_json_set(b->a, lin, "devices", sp_json_clone(b->a, b->in->devices));
    if (privileged) return;
    put_paths(b, lin, "maskedPaths", masked, SP_COUNT(masked));
    put_paths(b, lin, "readonlyPaths", readonly, SP_COUNT(readonly));
}

bool sp_oci_config(sp_arena *a, const sp_oci_input *in, sp_json **ret, sp_err *err) {
    builder b = {.a = a, .in = in, .out = sp_json_object(a)};
    bool privileged = flag(in, "privileged", false);
    sp_json_set_z(a, b.out, "ociVersion", "1.0.2");
    bool ok = put_process(&b, err);
    if (ok) {
        sp_json *root = sp_json_ensure_object(a, b.out, "root");
        sp_json_set_z(a, root, "path", in->rootfs);
        sp_json_set_bool(a, root, "readonly", flag(in, "readOnlyRootFilesystem", false));
        put_mounts(&b, privileged);
        put_linux(&b, privileged);
        *ret = b.out;
    }
    sp_vec_free(&b.user.extra);
    return ok;
}

/* ---------- the host ---------- */

static uint64_t status_mask(const char *name) {
    sp_auto(sp_buf) text = {0};
    if (!sp_file_read("/proc/self/status", 65536, &text, NULL)) return 0;
    ptrdiff_t at = sp_str_find(sp_buf_str(&text), sp_str_z(name));
    return at < 0 ? 0 : strtoull(text.p + at + strlen(name), NULL, 16);
}

void sp_oci_host_read(sp_oci_host *ret) {
    struct rlimit nofile = {0};
    struct sysinfo info = {0};
    sp_auto(sp_buf) adj = {0};
    getrlimit(RLIMIT_NOFILE, &nofile);
    sysinfo(&info);
    ret->caps = status_mask("\nCapBnd:");
    ret->sys_resource = status_mask("\nCapEff:") >> CAP_SYS_RESOURCE_BIT & 1;
    ret->nofile_hard = nofile.rlim_max;
    ret->memory_bytes = (int64_t)info.totalram * info.mem_unit;
    ret->oom_score_adj = 0;
    if (sp_file_read("/proc/self/oom_score_adj", 64, &adj, NULL)) ret->oom_score_adj = atoi(adj.p);
}
