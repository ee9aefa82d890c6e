/* Who listens on a port: /proc/net/tcp names the socket's inode, /proc/PID/fd who holds it. Read
 * only when a listener is about to be bound. */
#include "base/file.h"
#include "gateway/worker.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

enum { STATE_LISTEN = 0x0A };

/* "0100007F:1F90": 32-bit words in the machine's order. */
static bool parse_local(const char *text, bool v6, sp_addr *ret) {
    uint32_t words[4] = {0};
    unsigned port = 0;
    size_t count = v6 ? 4 : 1;
    for (size_t i = 0; i < count; i++)
        if (sscanf(text + 8 * i, "%8x", &words[i]) != 1) return false;
    if (sscanf(text + 8 * count, ":%4x", &port) != 1) return false;
    *ret = (sp_addr){.family = v6 ? AF_INET6 : AF_INET, .port = (uint16_t)port};
    memcpy(ret->ip, words, 4 * count);
    return true;
}

static bool is_own(uint64_t inode, const uint64_t *own, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (own[i] == inode) return true;
    return false;
}

/* The inode when the line is somebody else's listener that overlaps, else 0. An IPv6 listener on
 * "any" takes IPv4 too unless it says otherwise, which /proc does not tell; it counts. */
static uint64_t match_line(const char *line, bool v6, const sp_addr *want, const uint64_t *own,
                           size_t own_count) {
    char local[64];
    unsigned state;
    unsigned long long inode;
    sp_addr at;
    if (sscanf(line, " %*d: %63s %*s %x %*s %*s %*s %*s %*s %llu", local, &state, &inode) != 3)
        return 0;
    if (state != STATE_LISTEN || !parse_local(local, v6, &at)) return 0;
    if (!sp_addr_overlaps(&at, want) || is_own(inode, own, own_count)) return 0;
    if (at.family != want->family && !(at.family == AF_INET6 && sp_addr_is_any(&at))) return 0;
    return inode;
}

static uint64_t find_listener(const char *path, bool v6, const sp_addr *want, const uint64_t *own,
                              size_t n) {
    FILE *f = fopen(path, "re");
    char line[512];
    uint64_t found = 0;
    if (!f) return 0;
    while (!found && fgets(line, sizeof line, f)) found = match_line(line, v6, want, own, n);
    fclose(f);
    return found;
}

static bool holds(const char *pid, uint64_t inode) {
    char path[64], want[64], link[64];
    snprintf(path, sizeof path, "/proc/%.16s/fd", pid);
    snprintf(want, sizeof want, "socket:[%llu]", (unsigned long long)inode);
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof link - 1);
        link[SP_MAX(n, 0)] = 0;
        found = strcmp(link, want) == 0;
    }
    if (dir) closedir(dir);
    return found;
}

static void name_holder(uint64_t inode, char *ret, size_t cap) {
    DIR *proc = opendir("/proc");
    snprintf(ret, cap, "another process");
    for (struct dirent *e; proc && (e = readdir(proc));) {
        uint64_t pid;
        char path[64], name[32] = "";
        if (!sp_str_u64(sp_str_z(e->d_name), &pid) || !holds(e->d_name, inode)) continue;
        snprintf(path, sizeof path, "/proc/%.16s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof name, f)) name[strcspn(name, "\n")] = 0;
        if (f) fclose(f);
        snprintf(ret, cap, "%s (pid %llu)", name[0] ? name : "a process", (unsigned long long)pid);
        break;
    }
    if (proc) closedir(proc);
}

bool sp_port_owner(const sp_addr *addr, const uint64_t *own_inodes, size_t n, char *ret,
                   size_t cap) {
    uint64_t inode = find_listener("/proc/net/tcp", false, addr, own_inodes, n);
    if (!inode) inode = find_listener("/proc/net/tcp6", true, addr, own_inodes, n);
    if (!inode) return false;
    name_holder(inode, ret, cap);
    return true;
}
