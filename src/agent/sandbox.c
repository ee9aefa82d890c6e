/* A worker thread steps into fresh namespaces, binds them to files, wires the network and steps
 * back. Only that thread changes; the process stays where it is. */
#include "agent/sandbox.h"

#include "agent/netlink.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    int flag;
} kinds[] = {{"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}};

/* ---------- the node's pod network ---------- */

void sp_ipv4_print(uint32_t ip, char ret[16]) {
    snprintf(ret, 16, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

bool sp_podnet_parse(const char *cidr, sp_podnet *ret, sp_err *err) {
    char text[32];
    struct in_addr addr;
    uint64_t prefix;
    snprintf(text, sizeof text, "%s", cidr);
    char *slash = strchr(text, '/');
    if (slash) *slash = 0;
    if (!slash || inet_pton(AF_INET, text, &addr) != 1 ||
        !sp_str_u64(sp_str_z(slash + 1), &prefix) || prefix < 8 || prefix > 29)
        return sp_fail(err, SP_INVALID,
                       "\"%s\" is no pod network; write one like 10.88.0.0/16 (from "
                       "/8 to /29)",
                       cidr);
    uint32_t mask = ~0u << (32 - prefix);
    if (ntohl(addr.s_addr) & ~mask)
        return sp_fail(err, SP_INVALID, "\"%s\": bits are set behind the /%u", cidr,
                       (unsigned)prefix);
    ret->net = ntohl(addr.s_addr);
    ret->gateway = ret->net + 1;
    ret->prefix = (uint8_t)prefix;
    return true;
}

static bool write_sysctl(const char *path, const char *value, sp_err *err) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, value, strlen(value)) > 0;
    int saved = errno;
    if (fd >= 0) close(fd);
    return ok || sp_fail_errno(err, saved, "set %s to %s", path, value);
}

/* 0a:58 and the address: an address that comes back has the same MAC, so no neighbour is stale. */
static void mac_for(uint32_t ip, uint8_t ret[6]) {
    ret[0] = 0x0a;
    ret[1] = 0x58;
    for (int i = 0; i < 4; i++) ret[2 + i] = (uint8_t)(ip >> (24 - 8 * i));
}

bool sp_podnet_set_up(sp_podnet *n, sp_err *err) {
    sp_netlink *nl = NULL;
    uint8_t mac[6];
    mac_for(n->gateway, mac);
    if (!sp_netlink_open(&nl, err)) return false;
    bool ok = sp_netlink_add_bridge(nl, n->bridge, err);
    n->bridge_index = ok ? if_nametoindex(n->bridge) : 0;
    /* A bridge that was given none takes the lowest MAC of its ports, a new one whenever a pod
     * comes or goes; the other pods would go on answering to the old one for a minute or so,
     * because a neighbour entry younger than a second is not corrected by ARP. */
    ok = ok && sp_netlink_set_mac(nl, n->bridge_index, mac, err) &&
         sp_netlink_add_address(nl, n->bridge_index, htonl(n->gateway), n->prefix, err) &&
         sp_netlink_set_up(nl, n->bridge_index, err) &&
         write_sysctl("/proc/sys/net/ipv4/ip_forward", "1", err);
    sp_netlink_close(nl);
    return ok || sp_err_wrap(err, "pod network");
}

void sp_podnet_tear_down(const sp_podnet *n) {
    sp_netlink *nl = NULL;
    if (!sp_netlink_open(&nl, NULL)) return;
    (void)!sp_netlink_delete_link(nl, n->bridge, NULL);
    sp_netlink_close(nl);
}

void sp_podnet_firewall(const sp_podnet *n, sp_buf *b) {
    char net[16];
    sp_ipv4_print(n->net, net);
    sp_buf_printf(b, "table ip %s {}\ndelete table ip %s\n", n->bridge, n->bridge);
    sp_buf_printf(b,
                  "table ip %s {\n chain postrouting {\n"
                  "  type nat hook postrouting priority srcnat;\n"
                  "  ip saddr %s/%u oifname != \"%s\" masquerade\n }\n}\n",
                  n->bridge, net, n->prefix, n->bridge);
}

/* ---------- one pod ---------- */

bool sp_sandbox_prepare(const char *run_dir, sp_err *err) {
    if (!sp_mkdir_all(run_dir, 0700, err)) return false;
    if (mount(NULL, run_dir, NULL, MS_SHARED, NULL) == 0) /* is one already */
        return chmod(run_dir, 0700) == 0 || sp_fail_errno(err, errno, "chmod %s", run_dir);
    if (mount("sampan", run_dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700,size=25%") != 0 ||
        mount(NULL, run_dir, NULL, MS_SHARED, NULL) != 0)
        return sp_fail_errno(err, errno, "mount a tmpfs on %s", run_dir);
    return true;
}

static void ns_file(const char *dir, size_t kind, char ret[PATH_MAX]) {
    snprintf(ret, PATH_MAX, "%s/%s", dir, kinds[kind].name);
}

static bool bind_current(const char *dir, size_t kind, sp_err *err) {
    char to[PATH_MAX], from[64];
    ns_file(dir, kind, to);
    snprintf(from, sizeof from, "/proc/thread-self/ns/%s", kinds[kind].name);
    int fd = open(to, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    if (fd < 0 || mount(from, to, NULL, MS_BIND, NULL) != 0)
        return sp_fail_errno(err, errno, "name the namespace %s", to);
    return true;
}

/* The thread is inside the new network namespace; host is a socket from outside. */
static bool wire(const sp_sandbox_spec *s, sp_netlink *host, sp_err *err) {
    uint8_t mac[6];
    sp_netlink *nl = NULL;
    if (!sp_netlink_open(&nl, err)) return false;
    bool ok = sp_netlink_set_up(nl, 1, err);
    if (ok && s->net) {
        int self = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        mac_for(s->ip, mac);
        ok = sp_netlink_add_veth(host, s->veth, s->net->bridge_index, "eth0", self, mac, err);
        if (self >= 0) close(self);
        unsigned eth0 = ok ? if_nametoindex("eth0") : 0;
        ok = ok && sp_netlink_add_address(nl, eth0, htonl(s->ip), s->net->prefix, err) &&
             sp_netlink_set_up(nl, eth0, err) &&
             sp_netlink_add_default_route(nl, htonl(s->net->gateway), err);
    }
    sp_netlink_close(nl);
    return ok;
}

/* Inside the new namespaces. */
static bool furnish(const sp_sandbox_spec *s, sp_netlink *host, sp_err *err) {
    if (sethostname(s->hostname, strlen(s->hostname)) != 0)
        return sp_fail_errno(err, errno, "set the host name %s", s->hostname);
    for (size_t i = s->net ? 0 : 1; i < SP_COUNT(kinds); i++)
        if (!bind_current(s->dir, i, err)) return false;
    if (!s->net) return true;
    return wire(s, host, err);
}

static bool set_host_end_up(sp_netlink *host, const char *veth, sp_err *err) {
    return sp_netlink_set_up(host, if_nametoindex(veth), err);
}

bool sp_sandbox_create(const sp_sandbox_spec *s, sp_err *err) {
    int back[SP_COUNT(kinds)], flags = 0;
    sp_netlink *host = NULL;
    if (!sp_mkdir_all(s->dir, 0711, err) || !sp_netlink_open(&host, err)) return false;
    for (size_t i = 0; i < SP_COUNT(kinds); i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/thread-self/ns/%s", kinds[i].name);
        back[i] = open(path, O_RDONLY | O_CLOEXEC);
        sp_assert(back[i] >= 0);
        if (i > 0 || s->net) flags |= kinds[i].flag;
    }
    bool ok = unshare(flags) == 0 || sp_fail_errno(err, errno, "make namespaces");
    ok = ok && furnish(s, host, err);
    for (size_t i = 0; i < SP_COUNT(kinds); i++) {
        sp_assert(setns(back[i], kinds[i].flag) == 0); /* a thread lost in a pod must not go on */
        close(back[i]);
    }
    if (ok && s->net) ok = set_host_end_up(host, s->veth, err);
    sp_netlink_close(host);
    if (!ok) sp_sandbox_remove(s->dir, s->veth);
    return ok;
}

void sp_sandbox_remove(const char *dir, const char *veth) {
    sp_netlink *nl = NULL;
    if (veth && *veth && sp_netlink_open(&nl, NULL)) {
        (void)!sp_netlink_delete_link(nl, veth, NULL);
        sp_netlink_close(nl);
    }
    for (size_t i = 0; i < SP_COUNT(kinds); i++) {
        char path[PATH_MAX];
        ns_file(dir, i, path);
        umount2(path, MNT_DETACH);
        unlink(path);
    }
    rmdir(dir);
}
