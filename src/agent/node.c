#include "agent/node.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "data/time.h"
#include "kube/gvrs.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    LEASE_EVERY_MS = 10000,
    LEASE_SECONDS = 40,
    SILENT_MS = 14000, /* the node controller has a patience of 15 s or more */
    STATUS_EVERY_MS = 300000,
    RETRY_FIRST_MS = 20,
    RETRY_MAX_MS = 2000
};

struct sp_node {
    sp_agent *agent;
    sp_node_config config;
    void (*registered)(void *ctx);
    void *ctx;
    bool there, lease_there, lease_busy;
    int64_t renewed_ms; /* monotonic: the last renewal that succeeded, or the start */
    sp_timer *lease, *status, *retry;
    uint64_t retry_ms; /* the next pause */
    sp_arena *arena;
    sp_json *known; /* conditions as sent last */
};

/* ---------- what this machine is ---------- */

static sp_str first_value(sp_arena *a, const char *path, const char *key) {
    sp_auto(sp_buf) text = {0};
    if (!sp_file_read(path, 65536, &text, NULL)) return SP_STR("");
    size_t n = strlen(key);
    for (sp_str line, rest = sp_buf_str(&text); sp_str_cut(&rest, '\n', &line);) {
        if (!sp_str_starts(line, sp_str_z(key))) continue;
        sp_str value = sp_str_trim(sp_str_from(line, n));
        if (value.n > 1 && value.p[0] == '"') value = sp_str_sub(value, 1, value.n - 2);
        return sp_arena_str(a, value);
    }
    return SP_STR("");
}

static sp_str whole_file(sp_arena *a, const char *path) {
    sp_auto(sp_buf) text = {0};
    if (!sp_file_read(path, 4096, &text, NULL)) return SP_STR("");
    return sp_arena_str(a, sp_str_trim(sp_buf_str(&text)));
}

static const char *arch(void) {
    return sp_image_platform_host().arch;
}

static void put_info(sp_node *n, sp_arena *a, sp_json *status) {
    struct utsname u;
    sp_json *i = sp_json_ensure_object(a, status, "nodeInfo");
    uname(&u);
    const struct {
        const char *key;
        sp_str value;
    } rows[] = {
        {"machineID", whole_file(a, "/etc/machine-id")},
        {"systemUUID", whole_file(a, "/sys/class/dmi/id/product_uuid")},
        {"bootID", whole_file(a, "/proc/sys/kernel/random/boot_id")},
        {"kernelVersion", sp_str_z(u.release)},
        {"osImage", first_value(a, "/etc/os-release", "PRETTY_NAME=")},
        {"containerRuntimeVersion", SP_STR("sampan://" SP_VERSION)},
        {"kubeletVersion", SP_STR("v1.30.0+sampan" SP_VERSION)},
        {"kubeProxyVersion", SP_STR("v1.30.0+sampan" SP_VERSION)},
        {"operatingSystem", SP_STR("linux")},
        {"architecture", sp_str_z(arch())},
    };
    (void)n;
    for (size_t r = 0; r < SP_COUNT(rows); r++)
        sp_json_set(a, i, rows[r].key, sp_json_new_str(a, rows[r].value));
}

static void put_resources(sp_node *n, sp_arena *a, sp_json *status, const char *key) {
    struct statvfs fs;
    sp_json *r = sp_json_ensure_object(a, status, key);
    sp_json_set(a, r, "cpu", sp_json_printf(a, "%ld", sysconf(_SC_NPROCESSORS_ONLN)));
    sp_json_set(a, r, "memory",
                sp_json_printf(a, "%" PRId64 "Ki", n->agent->host.memory_bytes / 1024));
    sp_json_set(a, r, "pods", sp_json_printf(a, "%" PRId64, n->config.max_pods));
    if (statvfs(n->agent->data_dir, &fs) == 0)
        sp_json_set(a, r, "ephemeral-storage",
                    sp_json_printf(a, "%" PRIu64 "Ki", (uint64_t)fs.f_blocks * fs.f_frsize / 1024));
}

static void put_addresses(sp_node *n, sp_arena *a, sp_json *status) {
    sp_json *list = sp_json_ensure_array(a, status, "addresses");
    const char *rows[][2] = {{"InternalIP", n->agent->host_ip}, {"Hostname", n->agent->hostname}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_json *one = sp_json_push(list, sp_json_object(a));
        sp_json_set_z(a, one, "type", rows[i][0]);
        sp_json_set_z(a, one, "address", rows[i][1]);
    }
}

/* Less than a tenth of the disk free is pressure. */
static bool disk_pressure(sp_node *n) {
    struct statvfs fs;
    return statvfs(n->agent->data_dir, &fs) == 0 && fs.f_blocks && fs.f_bavail * 10 < fs.f_blocks;
}

static void put_conditions(sp_node *n, sp_arena *a, sp_json *status) {
    int64_t now = sp_clock_wall_ms();
    bool full = disk_pressure(n);
    sp_json *list = n->known ? sp_json_clone(a, n->known) : sp_json_array(a);
    sp_condition_set(a, list, "MemoryPressure", "False", "KubeletHasSufficientMemory",
                     "memory use is not judged by this agent", now);
    sp_condition_set(a, list, "DiskPressure", full ? "True" : "False",
                     full ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
                     full ? "less than 10 % of the disk of the data directory is free"
                          : "the data directory has room",
                     now);
    sp_condition_set(a, list, "PIDPressure", "False", "KubeletHasSufficientPID",
                     "process ids are not judged by this agent", now);
    sp_condition_set(a, list, "Ready", "True", "KubeletReady", "sampan agent runs pods", now);
    sp_json_each(list, c) sp_json_set(a, c, "lastHeartbeatTime", sp_json_new_time(a, now));
    sp_json_set(a, status, "conditions", list);
}

static sp_json *build_status(sp_node *n, sp_arena *a) {
    sp_json *s = sp_json_object(a);
    put_resources(n, a, s, "capacity");
    put_resources(n, a, s, "allocatable");
    put_conditions(n, a, s);
    put_addresses(n, a, s);
    sp_json *ends = sp_json_ensure_object(a, s, "daemonEndpoints");
    if (n->config.port)
        sp_json_set_int(a, sp_json_ensure_object(a, ends, "kubeletEndpoint"), "Port",
                        n->config.port);
    put_info(n, a, s);
    return s;
}

static sp_json *build_node(sp_node *n, sp_arena *a) {
    sp_json *o = sp_json_object(a);
    sp_json_set_z(a, o, "apiVersion", "v1");
    sp_json_set_z(a, o, "kind", "Node");
    sp_json *meta = sp_json_ensure_object(a, o, "metadata");
    sp_json_set_z(a, meta, "name", n->agent->node);
    sp_json *labels = sp_json_ensure_object(a, meta, "labels");
    sp_json_set_z(a, labels, "kubernetes.io/hostname", n->agent->hostname);
    sp_json_set_z(a, labels, "kubernetes.io/os", "linux");
    sp_json_set_z(a, labels, "kubernetes.io/arch", arch());
    char net[16];
    sp_ipv4_print(n->agent->net.net, net);
    sp_json *spec = sp_json_ensure_object(a, o, "spec");
    sp_json_set(a, spec, "podCIDR", sp_json_printf(a, "%s/%u", net, n->agent->net.prefix));
    sp_json_set(a, o, "status", build_status(n, a));
    return o;
}

/* ---------- the Node ---------- */

static void create(void *ctx);
static void send_status(void *ctx);

static void keep_known(sp_node *n, const sp_json *conditions) {
    sp_arena *a = sp_arena_new();
    n->known = conditions ? sp_json_clone(a, conditions) : NULL;
    sp_arena_free(n->arena);
    n->arena = a;
}

static void try_again(sp_node *n, sp_timer_fn *fn) {
    sp_timer_stop(n->retry);
    n->retry = sp_timer_start(n->agent->loop, n->retry_ms, fn, n);
    n->retry_ms = SP_MIN(n->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
}

static void status_sent(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    sp_node *n = ctx;
    if (!err) {
        n->retry_ms = RETRY_FIRST_MS;
        keep_known(n, sp_json_dig(obj, "status", "conditions", NULL));
        if (!n->there) {
            n->there = true;
            sp_info("node registered", SP_KV("node", n->agent->node));
            n->registered(n->ctx);
        }
        return;
    }
    sp_warn("node status", SP_KV("error", err->text));
    try_again(n, http == 404 ? create : send_status);
}

static void send_status(void *ctx) {
    sp_node *n = ctx;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *patch = sp_json_object(a);
    n->retry = sp_timer_stop(n->retry);
    sp_json_set(a, patch, "status", build_status(n, a));
    sp_kube_request r = {
        .method = "PATCH",
        .content_type = "application/merge-patch+json",
        .body = patch,
        .target = sp_gvr_path(a, &sp_gvr_nodes, SP_STR(""), sp_str_z(n->agent->node), "status")};
    sp_kube_call(n->agent->kube, &r, status_sent, n);
}

static void created(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    sp_node *n = ctx;
    (void)obj;
    n->retry = sp_timer_stop(n->retry);
    if (!err || http == 409) {
        send_status(n);
        return;
    }
    /* At a start of everything together the API server is a moment behind. */
    if (n->retry_ms > 500) sp_warn("node cannot be registered yet", SP_KV("error", err->text));
    try_again(n, create);
}

static void create(void *ctx) {
    sp_node *n = ctx;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    n->retry = sp_timer_stop(n->retry);
    sp_kube_request r = {.method = "POST",
                         .body = build_node(n, a),
                         .target = sp_gvr_path(a, &sp_gvr_nodes, SP_STR(""), SP_STR(""), NULL)};
    sp_kube_call(n->agent->kube, &r, created, n);
}

/* ---------- the Lease ---------- */

static void renew(void *ctx);

/* Whoever watches the Lease may have called this node Unknown meanwhile: say at once how it is. */
static void end_silence(sp_node *n) {
    int64_t now = sp_clock_mono_ms();
    bool silent = now - n->renewed_ms >= SILENT_MS;
    n->renewed_ms = now;
    if (silent && n->there) send_status(n);
}

static void renewed(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    sp_node *n = ctx;
    (void)obj;
    n->lease_busy = false;
    if (!err) end_silence(n);
    bool was = n->lease_there;
    if (!err || http == 409)
        n->lease_there = true;
    else if (http == 404)
        n->lease_there = false;
    if (was != n->lease_there && err) renew(n); /* it has to be made first, or is there already */
}

static void renew(void *ctx) {
    sp_node *n = ctx;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    char now[SP_TIME_MAX];
    if (n->lease_busy) return;
    n->lease_busy = true;
    sp_time_format_micro(sp_clock_wall_ms() * 1000, now);
    sp_json *o = sp_json_object(a);
    sp_json *spec = sp_json_ensure_object(a, o, "spec");
    sp_json_set_z(a, spec, "renewTime", now);
    sp_json_set_z(a, spec, "holderIdentity", n->agent->node);
    sp_json_set_int(a, spec, "leaseDurationSeconds", LEASE_SECONDS);
    sp_kube_request r = {
        .method = "PATCH", .content_type = "application/merge-patch+json", .body = o};
    sp_str name = sp_str_z(n->agent->node);
    if (!n->lease_there) {
        sp_json_set_z(a, o, "apiVersion", "coordination.k8s.io/v1");
        sp_json_set_z(a, o, "kind", "Lease");
        sp_json_set(a, sp_json_ensure_object(a, o, "metadata"), "name", sp_json_new_str(a, name));
        r.method = "POST";
        r.content_type = NULL;
        name = SP_STR("");
    }
    r.target = sp_gvr_path(a, &sp_gvr_leases, SP_STR("kube-node-lease"), name, NULL);
    sp_kube_call(n->agent->kube, &r, renewed, n);
}

sp_node *sp_node_start(sp_agent *g, const sp_node_config *c, void (*registered)(void *ctx),
                       void *ctx) {
    sp_node *n = sp_zalloc(1, sizeof *n);
    n->agent = g;
    n->config = *c;
    n->retry_ms = RETRY_FIRST_MS;
    n->renewed_ms = sp_clock_mono_ms();
    n->registered = registered;
    n->ctx = ctx;
    create(n);
    renew(n);
    n->lease = sp_timer_every(g->loop, LEASE_EVERY_MS, renew, n);
    n->status = sp_timer_every(g->loop, STATUS_EVERY_MS, send_status, n);
    return n;
}
