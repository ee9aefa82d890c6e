/* Each request is one message with an acknowledgement, by libmnl. */
#include "agent/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdio.h>

struct sp_netlink {
    struct mnl_socket *socket;
    uint32_t seq, port;
};

/* One message under construction. */
typedef struct request {
    char bytes[4096];
    struct nlmsghdr *head;
} request;

bool sp_netlink_open(sp_netlink **ret, sp_err *err) {
    struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!s) return sp_fail_errno(err, errno, "open a netlink socket");
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
        int saved = errno;
        mnl_socket_close(s);
        return sp_fail_errno(err, saved, "bind a netlink socket");
    }
    sp_netlink *nl = sp_zalloc(1, sizeof *nl);
    nl->socket = s;
    nl->port = mnl_socket_get_portid(s);
    *ret = nl;
    return true;
}

sp_netlink *sp_netlink_close(sp_netlink *nl) {
    if (!nl) return NULL;
    mnl_socket_close(nl->socket);
    free(nl);
    return NULL;
}

static void *begin(request *r, uint16_t type, uint16_t flags, size_t body) {
    r->head = mnl_nlmsg_put_header(r->bytes);
    r->head->nlmsg_type = type;
    r->head->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    return mnl_nlmsg_put_extra_header(r->head, body);
}

/* The errno the kernel answered with; 0 = done. */
static int send_and_wait(sp_netlink *nl, request *r) {
    char answer[8192];
    r->head->nlmsg_seq = ++nl->seq;
    if (mnl_socket_sendto(nl->socket, r->head, r->head->nlmsg_len) < 0) return errno;
    ssize_t n = mnl_socket_recvfrom(nl->socket, answer, sizeof answer);
    if (n < 0) return errno;
    return mnl_cb_run(answer, (size_t)n, nl->seq, nl->port, NULL, NULL) < 0 ? errno : 0;
}

bool sp_netlink_add_bridge(sp_netlink *nl, const char *name, sp_err *err) {
    request r;
    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(r.head, IFLA_IFNAME, name);
    struct nlattr *info = mnl_attr_nest_start(r.head, IFLA_LINKINFO);
    mnl_attr_put_strz(r.head, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(r.head, info);
    int e = send_and_wait(nl, &r);
    return e == 0 || e == EEXIST || sp_fail_errno(err, e, "create bridge %s", name);
}

bool sp_netlink_add_veth(sp_netlink *nl, const char *host, unsigned bridge_index, const char *peer,
                         int peer_netns_fd, const uint8_t peer_mac[6], sp_err *err) {
    request r;
    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(r.head, IFLA_IFNAME, host);
    mnl_attr_put_u32(r.head, IFLA_MASTER, bridge_index);
    struct nlattr *info = mnl_attr_nest_start(r.head, IFLA_LINKINFO);
    mnl_attr_put_strz(r.head, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(r.head, IFLA_INFO_DATA);
    struct nlattr *other = mnl_attr_nest_start(r.head, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(r.head, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(r.head, IFLA_IFNAME, peer);
    mnl_attr_put(r.head, IFLA_ADDRESS, 6, peer_mac);
    mnl_attr_put_u32(r.head, IFLA_NET_NS_FD, (uint32_t)peer_netns_fd);
    mnl_attr_nest_end(r.head, other);
    mnl_attr_nest_end(r.head, data);
    mnl_attr_nest_end(r.head, info);
    int e = send_and_wait(nl, &r);
    return e == 0 || sp_fail_errno(err, e, "create the veth pair %s", host);
}

bool sp_netlink_delete_link(sp_netlink *nl, const char *name, sp_err *err) {
    request r;
    begin(&r, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(r.head, IFLA_IFNAME, name);
    int e = send_and_wait(nl, &r);
    return e == 0 || e == ENODEV || sp_fail_errno(err, e, "delete interface %s", name);
}

bool sp_netlink_set_mac(sp_netlink *nl, unsigned index, const uint8_t mac[6], sp_err *err) {
    request r;
    struct ifinfomsg *m = begin(&r, RTM_NEWLINK, 0, sizeof *m);
    m->ifi_index = (int)index;
    mnl_attr_put(r.head, IFLA_ADDRESS, 6, mac);
    int e = send_and_wait(nl, &r);
    return e == 0 || sp_fail_errno(err, e, "set the hardware address of interface %u", index);
}

bool sp_netlink_set_up(sp_netlink *nl, unsigned index, sp_err *err) {
    request r;
    struct ifinfomsg *m = begin(&r, RTM_NEWLINK, 0, sizeof *m);
    m->ifi_index = (int)index;
    m->ifi_flags = m->ifi_change = IFF_UP;
    int e = send_and_wait(nl, &r);
    return e == 0 || sp_fail_errno(err, e, "bring up interface %u", index);
}

bool sp_netlink_add_address(sp_netlink *nl, unsigned index, uint32_t addr, uint8_t prefix,
                            sp_err *err) {
    request r;
    struct ifaddrmsg *m = begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *m);
    m->ifa_family = AF_INET;
    m->ifa_prefixlen = prefix;
    m->ifa_index = index;
    uint32_t mask = prefix ? htonl(~0u << (32 - prefix)) : 0;
    mnl_attr_put_u32(r.head, IFA_LOCAL, addr);
    mnl_attr_put_u32(r.head, IFA_ADDRESS, addr);
    mnl_attr_put_u32(r.head, IFA_BROADCAST, addr | ~mask);
    int e = send_and_wait(nl, &r);
    return e == 0 || e == EEXIST || sp_fail_errno(err, e, "add an address to interface %u", index);
}

bool sp_netlink_add_default_route(sp_netlink *nl, uint32_t gateway, sp_err *err) {
    request r;
    struct rtmsg *m = begin(&r, RTM_NEWROUTE, NLM_F_CREATE, sizeof *m);
    m->rtm_family = AF_INET;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_STATIC;
    m->rtm_type = RTN_UNICAST;
    mnl_attr_put_u32(r.head, RTA_GATEWAY, gateway);
    int e = send_and_wait(nl, &r);
    return e == 0 || e == EEXIST || sp_fail_errno(err, e, "add the default route");
}
