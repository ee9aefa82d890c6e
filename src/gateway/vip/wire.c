#include "gateway/vip/wire.h"
#include "gateway/vip/vmac.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct sp_vip_wire {
    int fd;
    unsigned index;
    uint8_t family;
};

enum { CONTROL_CLASS = 0xc0, CONTROL_PRIORITY = 6 };

/* --- opening --- */

static bool set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static bool set_up_ipv4(int fd, const sp_vip_instance *i, unsigned index) {
    struct ip_mreqn group = {.imr_ifindex = (int)index};
    sp_addr to = sp_vrrp_multicast(AF_INET);
    memcpy(&group.imr_multiaddr, to.ip, 4);
    if (!set(fd, IPPROTO_IP, IP_TTL, i->ttl) || !set(fd, IPPROTO_IP, IP_TOS, CONTROL_CLASS) ||
        !set(fd, IPPROTO_IP, IP_MULTICAST_TTL, SP_VRRP_HOPS) ||
        !set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0) || !set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0))
        return false;
    if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof group) < 0) return false;
    return i->peers.n || setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0;
}

static bool set_up_ipv6(int fd, const sp_vip_instance *i, unsigned index) {
    struct ipv6_mreq group = {.ipv6mr_interface = index};
    sp_addr to = sp_vrrp_multicast(AF_INET6);
    memcpy(&group.ipv6mr_multiaddr, to.ip, 16);
    if (!set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, i->ttl) ||
        !set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, SP_VRRP_HOPS) ||
        !set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0) ||
        !set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)index) ||
        !set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) || !set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1))
        return false;
    return i->peers.n || setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group) == 0;
}

bool sp_vip_wire_open(const sp_vip_instance *i, const sp_vip_link *link, sp_vip_wire **ret,
                      sp_err *err) {
    char name[16];
    snprintf(name, sizeof name, "%.*s", SP_ARG(i->interface));
    int fd = socket(i->family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, SP_VRRP_PROTOCOL);
    if (fd < 0) return sp_fail_errno(err, errno, "open a raw socket (CAP_NET_RAW)");
    bool ok =
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) == 0 &&
        (i->family == AF_INET ? set_up_ipv4(fd, i, link->index) : set_up_ipv6(fd, i, link->index));
    if (!ok) {
        int saved = errno;
        close(fd);
        return sp_fail_errno(err, saved, "set up a VRRP socket on %s", name);
    }
    set(fd, SOL_SOCKET, SO_PRIORITY, CONTROL_PRIORITY);
    sp_vip_wire *w = sp_zalloc(1, sizeof *w);
    *w = (sp_vip_wire){fd, link->index, i->family};
    *ret = w;
    return true;
}

sp_vip_wire *sp_vip_wire_close(sp_vip_wire *w) {
    if (!w) return NULL;
    close(w->fd);
    free(w);
    return NULL;
}

int sp_vip_wire_fd(const sp_vip_wire *w) {
    return w->fd;
}

/* --- out --- */

size_t sp_vip_advert(const sp_vip_instance *i, const sp_addr *src, const sp_addr *dst,
                     uint8_t priority, uint8_t ret[SP_VRRP_PACKET_MAX]) {
    sp_vrrp_packet p = {.version = i->options.version,
                        .vrid = i->vrid,
                        .priority = priority,
                        .interval_cs = (uint32_t)(i->options.advert_us / 10000),
                        .has_pass = i->has_pass && i->options.version == 2,
                        .sum = i->sum};
    memcpy(p.pass, i->pass, sizeof p.pass);
    sp_vec_each(&i->addresses, a) p.addresses[p.address_count++] = a->ip;
    return sp_vrrp_encode(&p, src, dst, ret);
}

/* The source by ancillary data: a bound raw socket would not hear the group. */
static void put_source(struct msghdr *m, unsigned index, const sp_addr *src) {
    struct cmsghdr *c = m->msg_control;
    if (src->family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = (int)index};
        memcpy(&info.ipi_spec_dst, src->ip, 4);
        m->msg_controllen = CMSG_SPACE(sizeof info);
        *c = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
        memcpy(CMSG_DATA(c), &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = index};
        memcpy(&info.ipi6_addr, src->ip, 16);
        m->msg_controllen = CMSG_SPACE(sizeof info);
        *c = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
        memcpy(CMSG_DATA(c), &info, sizeof info);
    }
}

/* From the virtual MAC address, so that switches learn where it is: to the IPv4 group only. To
 * peers, and where a link-local source has to be on the interface, it goes the plain way. */
static unsigned way_out(const sp_vip_wire *w, const sp_vip_instance *i) {
    char name[16];
    if (!i->vmac || i->vmac_xmit_base || i->peers.n || i->family != AF_INET) return w->index;
    sp_vip_vmac_name(i, name);
    unsigned index = if_nametoindex(name);
    return index ? index : w->index;
}

static bool send_to(sp_vip_wire *w, const sp_vip_instance *i, const sp_addr *src,
                    const sp_addr *dst, uint8_t priority, sp_err *err) {
    uint8_t bytes[SP_VRRP_PACKET_MAX];
    _Alignas(struct cmsghdr) uint8_t control[64] = {0};
    char text[SP_ADDR_MAX];
    struct sockaddr_storage to;
    struct iovec v = {bytes, sp_vip_advert(i, src, dst, priority, bytes)};
    struct msghdr m = {.msg_name = &to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
    m.msg_namelen = sp_addr_to_sock(dst, &to);
    if (dst->family == AF_INET6) ((struct sockaddr_in6 *)&to)->sin6_scope_id = w->index;
    put_source(&m, way_out(w, i), src);
    if (sendmsg(w->fd, &m, MSG_DONTWAIT) >= 0) return true;
    sp_addr_format_ip(dst, text);
    return sp_fail_errno(err, errno, "send an advertisement to %s", text);
}

bool sp_vip_wire_send(sp_vip_wire *w, const sp_vip_instance *i, const sp_addr *src,
                      uint8_t priority, sp_err *err) {
    bool ok = true;
    if (i->peers.n == 0) {
        sp_addr group = sp_vrrp_multicast(i->family);
        return send_to(w, i, src, &group, priority, err);
    }
    sp_vec_each(&i->peers, p) ok &= send_to(w, i, src, p, priority, err);
    return ok;
}

/* --- in --- */

/* What an IPv6 packet carried beside its bytes. */
static void read_control(struct msghdr *m, sp_addr *dst, int *hops) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != IPPROTO_IPV6) continue;
        if (c->cmsg_type == IPV6_HOPLIMIT) memcpy(hops, CMSG_DATA(c), sizeof *hops);
        if (c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            *dst = (sp_addr){.family = AF_INET6};
            memcpy(dst->ip, &info.ipi6_addr, 16);
        }
    }
}

static bool is_peer(const sp_vip_instance *i, const sp_addr *src) {
    sp_vec_each(&i->peers, p) {
        if (sp_addr_eq(p, src)) return true;
    }
    return false;
}

static bool same_addresses(const sp_vip_instance *i, const sp_vrrp_packet *p) {
    if (p->address_count != i->addresses.n) return false;
    sp_vec_each(&i->addresses, a) {
        bool found = false;
        for (size_t k = 0; k < p->address_count; k++) found |= sp_addr_eq(&a->ip, &p->addresses[k]);
        if (!found) return false;
    }
    return true;
}

static bool check_sender(const sp_vip_instance *i, const sp_addr *src, int hops, sp_err *err) {
    char text[SP_ADDR_MAX];
    sp_addr_format_ip(src, text);
    if (i->peers.n && !is_peer(i, src))
        return sp_fail(err, SP_FORBIDDEN, "an advertisement from %s, which is no peer", text);
    if (!i->peers.n && hops != SP_VRRP_HOPS)
        return sp_fail(err, SP_FORBIDDEN, "an advertisement from %s came over a router (TTL %d)",
                       text, hops);
    return true;
}

static bool check_content(const sp_vip_instance *i, const sp_vrrp_packet *p, sp_err *err) {
    if (p->version != i->options.version)
        return sp_fail(err, SP_BAD_REQUEST, "version %u, ours is %u", p->version,
                       i->options.version);
    if (p->version == 2 && p->has_pass != i->has_pass)
        return sp_fail(err, SP_FORBIDDEN, "%s password", p->has_pass ? "an unwanted" : "no");
    if (p->has_pass && memcmp(p->pass, i->pass, sizeof p->pass) != 0)
        return sp_fail(err, SP_FORBIDDEN, "another password");
    if (p->version == 2 && p->interval_cs * 10000 != i->options.advert_us)
        return sp_fail(err, SP_BAD_REQUEST, "an interval of %u s, ours is %lld s",
                       p->interval_cs / 100, (long long)i->options.advert_us / 1000000);
    if (!i->skip_address_check && !same_addresses(i, p))
        return sp_fail(err, SP_BAD_REQUEST, "other virtual addresses than ours");
    return true;
}

sp_vip_heard sp_vip_wire_receive(sp_vip_wire *w, const sp_vip_instance *i, const sp_addr *own,
                                 sp_vrrp_packet *ret, sp_addr *ret_src, sp_err *err) {
    char bytes[2048], text[SP_ADDR_MAX];
    _Alignas(struct cmsghdr) uint8_t control[256];
    struct sockaddr_storage from = {0};
    struct iovec v = {bytes, sizeof bytes};
    struct msghdr m = {.msg_name = &from,
                       .msg_namelen = sizeof from,
                       .msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(w->fd, &m, MSG_DONTWAIT);
    if (n < 0) return SP_VIP_NOTHING;
    sp_str message = {bytes, (size_t)n};
    sp_addr src = sp_addr_from_sock(&from), dst = {0};
    uint8_t ttl = 0;
    int hops = -1;
    src.port = 0;
    read_control(&m, &dst, &hops);
    if (w->family == AF_INET) {
        if (!sp_vrrp_strip_ipv4(message, &message, &src, &dst, &ttl, err)) return SP_VIP_REFUSED;
        hops = ttl;
    }
    if (message.n > 1 && (uint8_t)message.p[1] != i->vrid) return SP_VIP_OTHERS;
    if (sp_addr_eq(&src, own)) return SP_VIP_OTHERS;
    *ret_src = src;
    if (!check_sender(i, &src, hops, err)) return SP_VIP_REFUSED;
    if (sp_vrrp_decode(message, &src, &dst, ret, err) && check_content(i, ret, err))
        return SP_VIP_ADVERT;
    sp_addr_format_ip(&src, text);
    sp_err_add_context(err, "from %s", text);
    return SP_VIP_REFUSED;
}

/* --- announcements --- */

static size_t arp(const uint8_t mac[6], const sp_addr *ip, bool reply, uint8_t *p) {
    static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0};
    memset(p, 0xff, 6);
    memcpy(p + 6, mac, 6);
    p[12] = 0x08, p[13] = 0x06;
    memcpy(p + 14, head, sizeof head);
    p[21] = reply ? 2 : 1;
    memcpy(p + 22, mac, 6);
    memcpy(p + 28, ip->ip, 4);
    memset(p + 32, reply ? 0xff : 0, 6);
    memcpy(p + 38, ip->ip, 4);
    return 42;
}

static uint16_t icmp6_sum(const uint8_t *packet, size_t n) {
    uint32_t sum = IPPROTO_ICMPV6 + (uint32_t)n;
    for (size_t i = 8; i < 40 + n; i += 2) sum += (uint32_t)(packet[i] << 8 | packet[i + 1]);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* RFC 4861 section 4.4, with the override flag and the target's link-layer address. */
static size_t neighbour(const uint8_t mac[6], const sp_addr *ip, uint8_t *p) {
    enum { LENGTH = 32, OVERRIDE = 0x20 };
    static const uint8_t all_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
    uint8_t *packet = p + 14, *icmp = packet + 40;
    memset(p, 0, SP_VIP_FRAME_MAX);
    memcpy(p, all_mac, 6);
    memcpy(p + 6, mac, 6);
    p[12] = 0x86, p[13] = 0xdd;
    packet[0] = 0x60;
    packet[5] = LENGTH;
    packet[6] = IPPROTO_ICMPV6;
    packet[7] = SP_VRRP_HOPS;
    memcpy(packet + 8, ip->ip, 16);
    packet[24] = 0xff, packet[25] = 0x02, packet[39] = 1; /* ff02::1 */
    icmp[0] = 136;
    icmp[4] = OVERRIDE;
    memcpy(icmp + 8, ip->ip, 16);
    icmp[24] = 2, icmp[25] = 1;
    memcpy(icmp + 26, mac, 6);
    uint16_t sum = icmp6_sum(packet, LENGTH);
    icmp[2] = (uint8_t)(sum >> 8), icmp[3] = (uint8_t)sum;
    return 14 + 40 + LENGTH;
}

size_t sp_vip_announcement(const uint8_t mac[6], const sp_addr *ip, bool reply,
                           uint8_t ret[SP_VIP_FRAME_MAX]) {
    return ip->family == AF_INET ? arp(mac, ip, reply, ret) : neighbour(mac, ip, ret);
}

bool sp_vip_announce(const sp_vip_link *link, const sp_addr *ip, sp_err *err) {
    uint8_t frame[SP_VIP_FRAME_MAX];
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)link->index};
    if (!link->has_mac) return true;
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return sp_fail_errno(err, errno, "open a packet socket");
    bool ok = true;
    for (int reply = 0; reply < (ip->family == AF_INET ? 2 : 1); reply++) {
        size_t n = sp_vip_announcement(link->mac, ip, reply, frame);
        ok &= sendto(fd, frame, n, 0, (struct sockaddr *)&to, sizeof to) >= 0;
    }
    int saved = errno;
    close(fd);
    return ok || sp_fail_errno(err, saved, "announce an address");
}
