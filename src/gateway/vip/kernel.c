#include "gateway/vip/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct sp_vip_kernel {
    struct mnl_socket *requests, *news;
    uint32_t seq;
};

static struct mnl_socket *open_socket(unsigned groups) {
    struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (s && mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0) {
        int saved = errno;
        mnl_socket_close(s);
        errno = saved;
        return NULL;
    }
    return s;
}

bool sp_vip_kernel_open(sp_vip_kernel **ret, sp_err *err) {
    sp_vip_kernel *k = sp_zalloc(1, sizeof *k);
    k->requests = open_socket(0);
    k->news = open_socket(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
    if (!k->requests || !k->news) {
        int saved = errno;
        sp_vip_kernel_close(k);
        return sp_fail_errno(err, saved, "open a netlink socket");
    }
    int fd = mnl_socket_get_fd(k->news);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    *ret = k;
    return true;
}

sp_vip_kernel *sp_vip_kernel_close(sp_vip_kernel *k) {
    if (!k) return NULL;
    if (k->requests) mnl_socket_close(k->requests);
    if (k->news) mnl_socket_close(k->news);
    free(k);
    return NULL;
}

int sp_vip_kernel_watch_fd(const sp_vip_kernel *k) {
    return mnl_socket_get_fd(k->news);
}

void sp_vip_kernel_drain(sp_vip_kernel *k) {
    char buf[8192];
    while (recv(sp_vip_kernel_watch_fd(k), buf, sizeof buf, 0) > 0 || errno == ENOBUFS) {
    }
}

/* --- addresses --- */

static void put_broadcast(struct nlmsghdr *h, const sp_vip_address *a) {
    uint8_t ip[4];
    if (a->bits >= 31) return;
    memcpy(ip, a->ip.ip, 4);
    for (unsigned bit = a->bits; bit < 32; bit++) ip[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    mnl_attr_put(h, IFA_BROADCAST, 4, ip);
}

static struct nlmsghdr *message(char *buf, uint16_t type, uint16_t flags, unsigned index,
                                const sp_vip_address *a) {
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    size_t width = a->ip.family == AF_INET ? 4 : 16;
    m->ifa_family = a->ip.family;
    m->ifa_prefixlen = a->bits;
    m->ifa_index = index;
    m->ifa_scope = RT_SCOPE_UNIVERSE;
    mnl_attr_put(h, IFA_LOCAL, width, a->ip.ip);
    mnl_attr_put(h, IFA_ADDRESS, width, a->ip.ip);
    return h;
}

int sp_vip_kernel_talk(sp_vip_kernel *k, struct nlmsghdr *h) {
    char answer[8192];
    h->nlmsg_seq = ++k->seq;
    if (mnl_socket_sendto(k->requests, h, h->nlmsg_len) < 0) return errno;
    ssize_t n = mnl_socket_recvfrom(k->requests, answer, sizeof answer);
    if (n < 0) return errno;
    unsigned port = mnl_socket_get_portid(k->requests);
    return mnl_cb_run(answer, (size_t)n, k->seq, port, NULL, NULL) < 0 ? errno : 0;
}

/* A virtual address of its own width is no source for what this node itself begins. */
static void put_life(struct nlmsghdr *h, const sp_vip_address *a, uint32_t lease_s) {
    enum { FOREVER = -1 };
    bool deprecated = a->ip.family == AF_INET6 && a->bits == 128;
    struct ifa_cacheinfo life = {.ifa_valid = lease_s ? lease_s : (uint32_t)FOREVER};
    life.ifa_prefered = deprecated ? 0 : life.ifa_valid;
    mnl_attr_put(h, IFA_CACHEINFO, sizeof life, &life);
}

bool sp_vip_kernel_add(sp_vip_kernel *k, unsigned index, const sp_vip_address *a, uint32_t lease_s,
                       sp_err *err) {
    char buf[512], text[SP_ADDR_MAX];
    struct nlmsghdr *h = message(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, a);
    if (a->ip.family == AF_INET) {
        put_broadcast(h, a);
        if (a->label.n) mnl_attr_put(h, IFA_LABEL, a->label.n + 1, a->label.p);
    } else {
        mnl_attr_put_u32(h, IFA_FLAGS, IFA_F_NODAD);
    }
    put_life(h, a, lease_s);
    int e = sp_vip_kernel_talk(k, h);
    sp_addr_format_ip(&a->ip, text);
    return e == 0 || sp_fail_errno(err, e, "add %s/%u", text, a->bits);
}

bool sp_vip_kernel_remove(sp_vip_kernel *k, unsigned index, const sp_vip_address *a, sp_err *err) {
    char buf[512], text[SP_ADDR_MAX];
    int e = sp_vip_kernel_talk(k, message(buf, RTM_DELADDR, 0, index, a));
    sp_addr_format_ip(&a->ip, text);
    return e == 0 || e == EADDRNOTAVAIL || e == ENODEV ||
           sp_fail_errno(err, e, "remove %s/%u", text, a->bits);
}

size_t sp_vip_kernel_removal(unsigned index, const sp_vip_address *a, uint8_t *ret, size_t size) {
    char buf[512];
    struct nlmsghdr *h = message(buf, RTM_DELADDR, 0, index, a);
    h->nlmsg_flags = NLM_F_REQUEST;
    sp_assert(h->nlmsg_len <= size);
    memcpy(ret, h, h->nlmsg_len);
    return h->nlmsg_len;
}

/* --- links --- */

sp_vip_link sp_vip_link_read(const char *name) {
    sp_vip_link l = {0};
    struct ifreq r = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return l;
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (ioctl(fd, SIOCGIFINDEX, &r) == 0) {
        l.index = (unsigned)r.ifr_ifindex;
        if (ioctl(fd, SIOCGIFFLAGS, &r) == 0)
            l.up = (r.ifr_flags & IFF_UP) && (r.ifr_flags & IFF_RUNNING);
        if (ioctl(fd, SIOCGIFHWADDR, &r) == 0 && r.ifr_hwaddr.sa_family == ARPHRD_ETHER) {
            l.has_mac = true;
            memcpy(l.mac, r.ifr_hwaddr.sa_data, sizeof l.mac);
        }
    }
    close(fd);
    return l;
}

static bool is_one_of(const sp_addr *a, const sp_vip_address *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (sp_addr_eq(a, &list[i].ip)) return true;
    return false;
}

sp_addr sp_vip_link_address(const char *name, uint8_t family, const sp_vip_address *not_these,
                            size_t count) {
    struct ifaddrs *all;
    sp_addr found = {0};
    if (getifaddrs(&all) < 0) return found;
    for (const struct ifaddrs *i = all; i && !found.family; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != family || strcmp(i->ifa_name, name) != 0)
            continue;
        struct sockaddr_storage ss = {0};
        memcpy(&ss, i->ifa_addr,
               family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        sp_addr a = sp_addr_from_sock(&ss);
        bool link_local = a.ip[0] == 0xfe && (a.ip[1] & 0xc0) == 0x80;
        if (family == AF_INET6 && !link_local) continue;
        if (!is_one_of(&a, not_these, count)) found = a;
    }
    freeifaddrs(all);
    return found;
}

bool sp_vip_link_has(const char *name, const sp_addr *ip) {
    struct ifaddrs *all;
    bool found = false;
    if (getifaddrs(&all) < 0) return false;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != ip->family || strcmp(i->ifa_name, name) != 0)
            continue;
        struct sockaddr_storage ss = {0};
        memcpy(&ss, i->ifa_addr,
               ip->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        sp_addr a = sp_addr_from_sock(&ss);
        found |= sp_addr_eq(&a, ip);
    }
    freeifaddrs(all);
    return found;
}
