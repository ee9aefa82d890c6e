#include "agent/machine.h"

#include "base/file.h"
#include "base/log.h"
#include "net/own_address.h"
#include "net/process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/magic.h>
#include <net/if.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NETWORKS = 64, FIRST_NETWORK = 88 };

extern char **environ;

/* ---------- programs, directories ---------- */

static bool find_program(const char *name, char **ret) {
    const char *path = getenv("PATH");
    sp_auto(sp_buf) dirs = {0};
    sp_buf_printf(&dirs, "%s:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin", path ? path : "");
    for (sp_str dir, rest = sp_buf_str(&dirs); sp_str_cut(&rest, ':', &dir);) {
        char full[PATH_MAX];
        snprintf(full, sizeof full, "%.*s/%s", SP_ARG(dir), name);
        if (dir.n && access(full, X_OK) == 0) {
            *ret = sp_strdup(full);
            return true;
        }
    }
    return false;
}

static bool find_programs(sp_agent *g, sp_err *err) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return sp_fail_errno(err, errno, "find our own program");
    self[n] = 0;
    g->self = sp_strdup(self);
    return find_program("crun", &g->crun) ||
           sp_fail(err, SP_UNAVAILABLE,
                   "crun is not installed, and it is what runs the containers; "
                   "install it: apt-get install crun");
}

static bool take_data_dir(sp_agent *g, const char *dir, sp_err *err) {
    static const char *const sub[] = {"pods", "logs"};
    char path[PATH_MAX];
    if (!sp_mkdir_all(dir, 0711, err)) return false;
    g->data_dir = realpath(dir, NULL);
    if (!g->data_dir) return sp_fail_errno(err, errno, "%s", dir);
    snprintf(path, sizeof path, "%s/agent.lock", g->data_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* held until we end */
    if (fd < 0) return sp_fail_errno(err, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return sp_fail(err, SP_CONFLICT, "another agent works on %s", g->data_dir);
    for (size_t i = 0; i < SP_COUNT(sub); i++) {
        snprintf(path, sizeof path, "%s/%s", g->data_dir, sub[i]);
        if (!sp_mkdir_all(path, 0700, err)) return false;
        if (chmod(path, 0700) != 0) return sp_fail_errno(err, errno, "chmod %s", path);
    }
    snprintf(path, sizeof path, "%s/run", g->data_dir);
    if (!sp_sandbox_prepare(path, err)) return false;
    snprintf(path, sizeof path, "%s/run/crun", g->data_dir);
    return sp_mkdir_all(path, 0700, err) && sp_image_store_open(g->data_dir, &g->store, err);
}

static bool has_hybrid_cgroups(void) {
    struct statfs fs;
    return statfs("/sys/fs/cgroup/unified", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* ---------- the network ---------- */

/* A name in the abstract namespace lives exactly as long as the process that bound it, and belongs
 * to the network namespace, as the bridge does. */
static bool claim(const char *bridge) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "sampan-agent/%s", bridge);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    if (bind(fd, (struct sockaddr *)&a, len) == 0) return true; /* held until we end */
    close(fd);
    return false;
}

static bool parse_network(sp_agent *g, const char *bridge, const char *cidr, sp_err *err) {
    if (strlen(bridge) >= sizeof g->net.bridge || !*bridge || strpbrk(bridge, "/ \"\n;{}"))
        return sp_fail(err, SP_INVALID, "\"%s\" is no name for a bridge (up to 15 characters)",
                       bridge);
    snprintf(g->net.bridge, sizeof g->net.bridge, "%s", bridge);
    return sp_podnet_parse(cidr, &g->net, err);
}

static bool saved_network(sp_agent *g, sp_buf *bridge, sp_buf *cidr) {
    char path[PATH_MAX];
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) text = {0};
    sp_json *doc = NULL;
    snprintf(path, sizeof path, "%s/network.json", g->data_dir);
    if (!sp_file_read(path, 4096, &text, NULL) || !sp_json_parse(a, sp_buf_str(&text), &doc, NULL))
        return false;
    sp_buf_addz(bridge, sp_json_get_z(doc, "bridge"));
    sp_buf_addz(cidr, sp_json_get_z(doc, "cidr"));
    return bridge->n && cidr->n;
}

static bool save_network(sp_agent *g, sp_err *err) {
    char path[PATH_MAX], net[16];
    sp_auto(sp_buf) text = {0};
    sp_ipv4_print(g->net.net, net);
    sp_buf_printf(&text, "{\"bridge\":\"%s\",\"cidr\":\"%s/%u\"}\n", g->net.bridge, net,
                  g->net.prefix);
    snprintf(path, sizeof path, "%s/network.json", g->data_dir);
    return sp_file_write(path, sp_buf_str(&text), 0644, err);
}

static bool address_taken(uint32_t net, uint32_t mask, const char *own_bridge) {
    struct ifaddrs *all, *i;
    bool taken = false;
    if (getifaddrs(&all) != 0) return false;
    for (i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
            strcmp(i->ifa_name, own_bridge) == 0)
            continue;
        uint32_t ip = ntohl(((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr.s_addr);
        taken = taken || (ip & mask) == (net & mask);
    }
    freeifaddrs(all);
    return taken;
}

/* Pods of another data directory hang on it, even if its agent is just being restarted. */
static bool bridge_busy(const char *bridge) {
    char path[64];
    snprintf(path, sizeof path, "/sys/class/net/%s/brif", bridge);
    DIR *d = opendir(path);
    bool busy = false;
    for (struct dirent *e; d && (e = readdir(d));) busy = busy || e->d_name[0] != '.';
    if (d) closedir(d);
    return busy;
}

static bool choose_network(sp_agent *g, sp_err *err) {
    for (unsigned i = 0; i < NETWORKS; i++) {
        char bridge[16], cidr[32];
        snprintf(bridge, sizeof bridge, "sampan%u", i);
        snprintf(cidr, sizeof cidr, "10.%u.0.0/16", FIRST_NETWORK + i);
        if (!parse_network(g, bridge, cidr, err)) return false;
        if (!address_taken(g->net.net, 0xffff0000, bridge) && !bridge_busy(bridge) && claim(bridge))
            return true;
    }
    return sp_fail(err, SP_CONFLICT,
                   "no free pod network between 10.%d.0.0/16 and 10.%d.0.0/16; "
                   "give --pod-cidr and --bridge",
                   FIRST_NETWORK, FIRST_NETWORK + NETWORKS - 1);
}

static bool pick_network(sp_agent *g, const sp_machine_options *o, sp_err *err) {
    sp_auto(sp_buf) bridge = {0};
    sp_auto(sp_buf) cidr = {0};
    bool standard = (!o->pod_cidr || strcmp(o->pod_cidr, "10.88.0.0/16") == 0) &&
                    (!o->bridge || strcmp(o->bridge, "sampan0") == 0);
    bool told = !standard; /* the standard one may be taken: then the next does as well */
    if (told) {
        sp_buf_addz(&bridge, o->bridge ? o->bridge : "sampan0");
        sp_buf_addz(&cidr, o->pod_cidr ? o->pod_cidr : "10.88.0.0/16");
    } else if (!saved_network(g, &bridge, &cidr)) {
        return choose_network(g, err) && save_network(g, err);
    }
    if (!parse_network(g, bridge.p, cidr.p, err)) return false;
    if (!claim(bridge.p))
        return sp_fail(err, SP_CONFLICT,
                       "the bridge %s belongs to another agent of this machine; give "
                       "another --bridge and --pod-cidr",
                       bridge.p);
    return save_network(g, err);
}

static void find_host_ip(sp_agent *g, const char *told) {
    if (told) {
        snprintf(g->host_ip, sizeof g->host_ip, "%s", told);
        return;
    }
    /* Without another network pods reach us there. */
    if (!sp_own_address(g->net.bridge, g->host_ip, NULL)) sp_ipv4_print(g->net.gateway, g->host_ip);
}

bool sp_machine_prepare(sp_agent *g, const sp_machine_options *o, sp_err *err) {
    if (geteuid() != 0)
        return sp_fail(err, SP_FORBIDDEN,
                       "running containers needs root; start it with sudo, or as a "
                       "systemd service");
    if (!find_programs(g, err) || !take_data_dir(g, o->data_dir, err) || !pick_network(g, o, err) ||
        !sp_podnet_set_up(&g->net, err))
        return false;
    g->hybrid = has_hybrid_cgroups();
    g->next_ip = 2;
    gethostname(g->hostname, sizeof g->hostname - 1);
    find_host_ip(g, o->node_ip);
    sp_oci_host_read(&g->host);
    return true;
}

/* ---------- firewall ---------- */

static void no_masquerading(sp_agent *g, sp_str why) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *ref = sp_json_object(a);
    sp_json_set_z(a, ref, "apiVersion", "v1");
    sp_json_set_z(a, ref, "kind", "Node");
    sp_json_set_z(a, ref, "name", g->node);
    sp_str text = sp_arena_printf(
        a, "pods cannot reach other machines, their addresses are not masqueraded: %.*s",
        SP_ARG(why));
    sp_warn(text.p);
    sp_events_post(g->events, ref, NULL, "Warning", "NoMasquerading", text);
}

static void firewall_done(void *ctx, const sp_process_result *r, const sp_err *err) {
    if (!err && r->exit_code == 0) return;
    no_masquerading(ctx, err ? sp_str_z(err->text) : sp_str_trim(r->err));
}

void sp_machine_firewall(sp_agent *g) {
    sp_auto(sp_buf) rules = {0};
    char *nft = NULL;
    if (!find_program("nft", &nft)) {
        no_masquerading(g, SP_STR("nft is not installed (package nftables)"));
        return;
    }
    sp_podnet_firewall(&g->net, &rules);
    const char *argv[] = {nft, "-f", "-", NULL};
    sp_process_params p = {.argv = argv,
                           .input = sp_buf_str(&rules),
                           .timeout_ms = 10000,
                           .done = firewall_done,
                           .ctx = g};
    sp_process_run(g->loop, &p);
    free(nft);
}

/* ---------- cleaning up ---------- */

static int run_and_wait(const char *program, char *const *argv) {
    pid_t pid;
    int status = 0;
    if (posix_spawn(&pid, program, NULL, NULL, argv, environ) != 0) return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static size_t each_path(const char *pattern, void (*fn)(sp_agent *g, const char *path),
                        sp_agent *g) {
    glob_t found;
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0) return 0;
    size_t n = found.gl_pathc;
    for (size_t i = 0; i < n; i++) fn(g, found.gl_pathv[i]);
    globfree(&found);
    return n;
}

static void end_container(sp_agent *g, const char *path) {
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    char *argv[] = {g->self, "shim", "delete", dir, NULL};
    run_and_wait(g->self, argv);
}

static void end_cgroups(sp_agent *g, const char *path) {
    (void)g;
    sp_ground_remove_cgroups(strrchr(path, '/') + 1);
}

static void end_namespaces(sp_agent *g, const char *path) {
    (void)g;
    sp_sandbox_remove(path, NULL);
}

static void end_volumes(sp_agent *g, const char *path) {
    (void)g;
    sp_volumes_remove(path);
}

bool sp_machine_cleanup(sp_agent *g) {
    sp_err err = {0};
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/pods/*/containers/*/*/shim.json", g->data_dir);
    size_t n = each_path(path, end_container, g);
    snprintf(path, sizeof path, "%s/pods/*", g->data_dir);
    each_path(path, end_cgroups, g);
    snprintf(path, sizeof path, "%s/run/ns/*", g->data_dir);
    each_path(path, end_namespaces, g);
    snprintf(path, sizeof path, "%s/run/vol/*", g->data_dir);
    each_path(path, end_volumes, g);
    snprintf(path, sizeof path, "%s/run", g->data_dir);
    umount2(path, MNT_DETACH);
    snprintf(path, sizeof path, "%s/pods", g->data_dir);
    bool ok = sp_remove_all(path, &err);
    sp_podnet_tear_down(&g->net);
    sp_ground_remove_cgroups("");
    char *nft = NULL;
    if (find_program("nft", &nft)) {
        char *argv[] = {nft, "delete", "table", "ip", g->net.bridge, NULL};
        snprintf(path, sizeof path, "%s/network.json", g->data_dir);
        if (sp_file_exists(path)) run_and_wait(nft, argv);
        free(nft);
    }
    sp_info("containers ended and removed", SP_KV("runs", n));
    if (!ok) fprintf(stderr, "sampan agent: %s\n", err.text);
    return ok;
}
