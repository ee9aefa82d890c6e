#include "cli/preflight.h"

#include "base/file.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------- the data directory ---------- */

static bool check_version(const char *dir, sp_err *err) {
    char path[PATH_MAX], text[32];
    snprintf(path, sizeof path, "%s/version", dir);
    sp_auto(sp_buf) b = {0};
    if (!sp_file_exists(path)) {
        snprintf(text, sizeof text, "%d\n", SP_DATA_VERSION);
        return sp_file_write(path, sp_str_z(text), 0644, err);
    }
    uint64_t version;
    if (!sp_file_read(path, 64, &b, err)) return false;
    if (!sp_str_u64(sp_str_trim(sp_buf_str(&b)), &version))
        return sp_fail(err, SP_INVALID,
                       "%s does not hold a version number; is %s a data directory of Sampan?", path,
                       dir);
    if (version > SP_DATA_VERSION)
        return sp_fail(err, SP_INVALID,
                       "%s was written by a newer Sampan (data version %llu, this one knows %d); "
                       "use that version, or another --data-dir",
                       dir, (unsigned long long)version, SP_DATA_VERSION);
    return true;
}

static bool lock_dir(const char *dir, sp_err *err) {
    char path[PATH_MAX], text[32] = "";
    snprintf(path, sizeof path, "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return sp_fail_errno(err, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        return sp_fail(
            err, SP_CONFLICT,
            "%s is in use by another sampan (pid %.*s); stop it, or choose another --data-dir", dir,
            n > 0 ? (int)strcspn(text, "\n") : 1, n > 0 ? text : "?");
    }
    int n = snprintf(text, sizeof text, "%d\n", getpid());
    if (ftruncate(fd, 0) != 0 || write(fd, text, (size_t)n) != n)
        return sp_fail_errno(err, errno, "write %s", path);
    return true; /* the descriptor stays open: it is the lock */
}

/* ---------- ports ---------- */

static bool link_is_socket(const char *path, unsigned long inode) {
    char target[64], want[64];
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0) return false;
    target[n] = 0;
    snprintf(want, sizeof want, "socket:[%lu]", inode);
    return strcmp(target, want) == 0;
}

static bool process_holds(const char *pid, unsigned long inode) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    if (!fds) return false;
    bool found = false;
    for (struct dirent *e; !found && (e = readdir(fds));) {
        snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, e->d_name);
        found = link_is_socket(path, inode);
    }
    closedir(fds);
    return found;
}

/* The inode of the socket that listens on the port, from /proc/net/tcp or tcp6. */
static unsigned long listening_inode(const char *table, uint16_t port) {
    FILE *f = fopen(table, "re");
    if (!f) return 0;
    char line[512];
    unsigned long found = 0;
    while (!found && fgets(line, sizeof line, f)) {
        unsigned local_port, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu",
                   &local_port, &state, &inode) == 3 &&
            state == 0x0a && local_port == port)
            found = inode;
    }
    fclose(f);
    return found;
}

/* " by nginx (pid 12)", or "" when /proc does not tell. */
static void port_owner(uint16_t port, char *out, size_t size) {
    out[0] = 0;
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    if (!inode) inode = listening_inode("/proc/net/tcp6", port);
    DIR *proc = inode ? opendir("/proc") : NULL;
    if (!proc) return;
    for (struct dirent *e; (e = readdir(proc));) {
        if (!isdigit((unsigned char)e->d_name[0]) || !process_holds(e->d_name, inode)) continue;
        char path[PATH_MAX];
        snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
        sp_auto(sp_buf) name = {0};
        if (!sp_file_read(path, 256, &name, NULL)) continue;
        sp_str trimmed = sp_str_trim(sp_buf_str(&name));
        snprintf(out, size, " by %.*s (pid %.20s)", SP_ARG(trimmed), e->d_name);
        break;
    }
    closedir(proc);
}

static bool port_is_free(const char *what, const char *flag, const char *bind_address,
                         uint16_t port, sp_err *err) {
    struct sockaddr_storage ss = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;
    socklen_t len = sizeof *v4;
    if (inet_pton(AF_INET, bind_address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
    } else if (inet_pton(AF_INET6, bind_address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        len = sizeof *v6;
    } else {
        return sp_fail(err, SP_INVALID, "\"%s\" is not an IP address to listen on", bind_address);
    }
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return sp_fail_errno(err, errno, "socket");
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int rc = bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, 1) == 0 ? 0 : errno;
    close(fd);
    if (rc == 0) return true;
    if (rc == EACCES)
        return sp_fail(err, SP_FORBIDDEN,
                       "%s cannot listen on port %u without root; choose one above 1023 with %s",
                       what, port, flag);
    if (rc != EADDRINUSE)
        return sp_fail_errno(err, rc, "%s cannot listen on %s port %u", what, bind_address, port);
    char owner[128];
    port_owner(port, owner, sizeof owner);
    return sp_fail(
        err, SP_CONFLICT,
        "port %u, wanted for %s, is already used%s; stop that, or choose another with %s", port,
        what, owner, flag);
}

/* ---------- rights and programs ---------- */

static bool on_path(const char *program) {
    sp_str path = sp_str_z(getenv("PATH") ? getenv("PATH") : "/usr/sbin:/usr/bin:/sbin:/bin");
    for (sp_str dir; sp_str_cut(&path, ':', &dir);) {
        char file[PATH_MAX];
        snprintf(file, sizeof file, "%.*s/%s", SP_ARG(dir), program);
        if (access(file, X_OK) == 0) return true;
    }
    return false;
}

static bool can_run_containers(sp_err *err) {
    if (geteuid() != 0)
        return sp_fail(
            err, SP_FORBIDDEN,
            "running containers needs root (namespaces, mounts, network): start with sudo, or "
            "leave containers out with --roles apiserver,controllers,gateway");
    if (!on_path("crun"))
        return sp_fail(
            err, SP_NOT_FOUND,
            "the program crun, which runs the containers, is not on the PATH: apt-get install crun "
            "(or ./bootstrap), or leave containers out with --roles apiserver,controllers,gateway");
    return true;
}

static bool can_run_etcd(sp_err *err) {
    return on_path("etcd") ||
           sp_fail(err, SP_NOT_FOUND,
                   "the program etcd, which keeps the objects of a cluster, is not on the PATH: "
                   "apt-get install etcd-server");
}

static bool etcd_ports_are_free(const sp_preflight *p, sp_err *err) {
    const char *flag = "--etcd-port";
    return !p->etcd || (port_is_free("etcd", flag, p->ip, p->etcd_client_port, err) &&
                        port_is_free("etcd", flag, "127.0.0.1", p->etcd_client_port, err) &&
                        port_is_free("etcd's members", flag, p->ip, p->etcd_peer_port, err));
}

bool sp_preflight_run(const sp_preflight *p, sp_err *err) {
    if (p->agent && !can_run_containers(err)) return false;
    if (p->etcd && !can_run_etcd(err)) return false;
    if (!sp_mkdir_all(p->data_dir, 0711, err))
        return sp_err_wrap(err,
                           "the data directory cannot be made (choose another with --data-dir)");
    if (access(p->data_dir, W_OK) != 0)
        return sp_fail_errno(err, errno, "the data directory %s cannot be written", p->data_dir);
    return lock_dir(p->data_dir, err) && check_version(p->data_dir, err) &&
           port_is_free("the API server", "--api-port", p->bind, p->api_port, err) &&
           etcd_ports_are_free(p, err) &&
           (!p->gateway_port ||
            port_is_free("the gateway", "--gateway-port", "0.0.0.0", p->gateway_port, err)) &&
           (!p->gateway_tls_port || port_is_free("the gateway's TLS", "--gateway-tls-port",
                                                 "0.0.0.0", p->gateway_tls_port, err));
}
