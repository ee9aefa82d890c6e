#include "gateway/vip/will.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WILL_FD = 3, WILL_MAX = 128 * 1024, VRRP = 112 };

typedef enum kind { PACKET = 1, NETLINK = 2 } kind;

typedef struct piece {
    uint32_t kind, family, index, length; /* length of the bytes behind */
    sp_addr src, dst;
} piece;

static void add(sp_buf *will, const piece *p, sp_str bytes) {
    sp_buf_add(will, (sp_str){(const char *)p, sizeof *p});
    sp_buf_add(will, bytes);
}

void sp_vip_will_packet(sp_buf *will, uint8_t family, unsigned index, const sp_addr *src,
                        const sp_addr *dst, sp_str message) {
    piece p = {PACKET, family, index, (uint32_t)message.n, *src, *dst};
    add(will, &p, message);
}

void sp_vip_will_netlink(sp_buf *will, sp_str message) {
    piece p = {.kind = NETLINK, .length = (uint32_t)message.n};
    add(will, &p, message);
}

/* --- the gateway's end --- */

struct sp_vip_will {
    int fd;
    pid_t helper;
};

/* Without what belongs to a role that is supervised: the helper is none. */
static char **environment(void) {
    extern char **environ;
    size_t n = 0, kept = 0;
    while (environ[n]) n++;
    char **env = sp_zalloc(n + 1, sizeof *env);
    for (size_t i = 0; i < n; i++) {
        sp_str e = sp_str_z(environ[i]);
        if (sp_str_starts(e, SP_STR("SAMPAN_READY_FD=")) ||
            sp_str_starts(e, SP_STR("NOTIFY_SOCKET=")))
            continue;
        env[kept++] = environ[i];
    }
    return env;
}

static int spawn_helper(int theirs, pid_t *ret) {
    static char name[] = "sampan", role[] = "gateway", word[] = "--vip-will";
    char *argv[] = {name, role, word, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    char **env = environment();
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, theirs, WILL_FD);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    int e = posix_spawn(ret, "/proc/self/exe", &files, &attr, argv, env);
    free(env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return e;
}

bool sp_vip_will_start(sp_vip_will **ret, sp_err *err) {
    int pair[2];
    pid_t helper;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return sp_fail_errno(err, errno, "a pair of sockets for the last will");
    /* dup2 onto itself would keep close-on-exec */
    int theirs = pair[1] == WILL_FD ? fcntl(pair[1], F_DUPFD_CLOEXEC, WILL_FD + 1) : pair[1];
    int e = spawn_helper(theirs, &helper);
    if (theirs != pair[1]) close(theirs);
    close(pair[1]);
    if (e != 0) {
        close(pair[0]);
        return sp_fail_errno(err, e, "start the helper for the last will");
    }
    int room = 2 * WILL_MAX;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    sp_vip_will *w = sp_zalloc(1, sizeof *w);
    *w = (sp_vip_will){pair[0], helper};
    *ret = w;
    return true;
}

void sp_vip_will_write(sp_vip_will *w, sp_str will) {
    static const char nothing = 0; /* an empty message would look like the end */
    if (will.n == 0 || will.n > WILL_MAX) will = (sp_str){&nothing, 1};
    while (send(w->fd, will.p, will.n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR) {
    }
}

sp_vip_will *sp_vip_will_free(sp_vip_will *w) {
    if (!w) return NULL;
    sp_vip_will_write(w, (sp_str){0});
    close(w->fd);
    while (waitpid(w->helper, NULL, 0) < 0 && errno == EINTR) {
    }
    free(w);
    return NULL;
}

/* --- the helper --- */

typedef struct tools {
    int v4, v6, netlink;
} tools;

static void set(int fd, int level, int name, int value) {
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

/* Open from the start: at the end there may be no descriptors and no memory left. */
static tools take_tools(void) {
    tools t = {.v4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, VRRP),
               .v6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, VRRP),
               .netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
    set(t.v4, IPPROTO_IP, IP_TTL, 255);
    set(t.v4, IPPROTO_IP, IP_MULTICAST_TTL, 255);
    set(t.v4, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    set(t.v4, SOL_SOCKET, SO_RCVBUF, 1); /* nobody reads here */
    set(t.v6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255);
    set(t.v6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255);
    set(t.v6, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
    set(t.v6, SOL_SOCKET, SO_RCVBUF, 1);
    return t;
}

static void send_packet(const tools *t, const piece *p, const uint8_t *bytes) {
    _Alignas(struct cmsghdr) uint8_t control[64] = {0};
    struct sockaddr_storage to;
    struct iovec v = {(void *)(uintptr_t)bytes, p->length};
    struct msghdr m = {.msg_name = &to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
    struct cmsghdr *c = (struct cmsghdr *)(void *)control;
    m.msg_namelen = sp_addr_to_sock(&p->dst, &to);
    if (p->family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = (int)p->index};
        memcpy(&info.ipi_spec_dst, p->src.ip, 4);
        *c = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
        memcpy(CMSG_DATA(c), &info, sizeof info);
        m.msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = p->index};
        memcpy(&info.ipi6_addr, p->src.ip, 16);
        ((struct sockaddr_in6 *)&to)->sin6_scope_id = p->index;
        *c = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
        memcpy(CMSG_DATA(c), &info, sizeof info);
        m.msg_controllen = CMSG_SPACE(sizeof info);
    }
    (void)!sendmsg(p->family == AF_INET ? t->v4 : t->v6, &m, MSG_DONTWAIT);
}

static void carry_out(const tools *t, const uint8_t *will, size_t n, kind which) {
    piece p;
    for (size_t at = 0; at + sizeof p <= n; at += sizeof p + p.length) {
        memcpy(&p, will + at, sizeof p);
        const uint8_t *bytes = will + at + sizeof p;
        if (p.length > n - at - sizeof p) return;
        if (p.kind != which) continue;
        if (p.kind == PACKET)
            send_packet(t, &p, bytes);
        else
            (void)!send(t->netlink, bytes, p.length, MSG_DONTWAIT);
    }
}

int sp_vip_will_main(void) {
    static uint8_t will[WILL_MAX], next[WILL_MAX];
    size_t n = 0;
    tools t = take_tools();
    signal(SIGTERM, SIG_IGN); /* a stop is for the gateway: its end is our beginning */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    (void)prctl(PR_SET_NAME, "sampan-will");
    for (;;) {
        ssize_t got = recv(WILL_FD, next, sizeof next, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n = got > 1 ? (size_t)got : 0;
        memcpy(will, next, n);
    }
    /* The address first: nobody answers at it any more. Twice, because a packet may be lost. */
    carry_out(&t, will, n, NETLINK);
    carry_out(&t, will, n, PACKET);
    return 0;
}
