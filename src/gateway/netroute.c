#include "gateway/netroute.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <unistd.h>

static struct nlmsghdr *message(char *buf, uint16_t type, uint16_t flags, const sp_cidr *to,
                                uint32_t metric) {
    const sp_addr *net = &to->net;
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    h->nlmsg_seq = 1;
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->rtm_family = net->family;
    m->rtm_dst_len = to->bits;
    m->rtm_table = RT_TABLE_LOCAL;
    m->rtm_protocol = RTPROT_STATIC;
    m->rtm_scope = RT_SCOPE_HOST;
    m->rtm_type = RTN_LOCAL;
    mnl_attr_put(h, RTA_DST, net->family == AF_INET ? 4 : 16, net->ip);
    mnl_attr_put_u32(h, RTA_PRIORITY, metric);
    mnl_attr_put_u32(h, RTA_OIF, if_nametoindex("lo"));
    return h;
}

/* 0, or the errno the kernel answers. */
static int talk(struct nlmsghdr *h) {
    char buf[8192];
    struct mnl_socket *s = mnl_socket_open(NETLINK_ROUTE);
    if (!s) return errno;
    int error = 0;
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_sendto(s, h, h->nlmsg_len) < 0) {
        error = errno;
    } else {
        ssize_t n = mnl_socket_recvfrom(s, buf, sizeof buf);
        if (n < 0 || mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(s), NULL, NULL) < 0)
            error = errno;
    }
    mnl_socket_close(s);
    return error;
}

bool sp_route_add_local(const sp_cidr *net, uint32_t metric, sp_err *err) {
    char buf[512], text[SP_ADDR_MAX];
    int error = talk(message(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, net, metric));
    if (error == 0 || error == EEXIST) return true;
    sp_addr_format_ip(&net->net, text);
    return sp_fail_errno(err, error, "cannot add the local route %s/%u", text, net->bits);
}

bool sp_route_del_local(const sp_cidr *net, uint32_t metric, sp_err *err) {
    char buf[512], text[SP_ADDR_MAX];
    int error = talk(message(buf, RTM_DELROUTE, 0, net, metric));
    if (error == 0 || error == ESRCH) return true;
    sp_addr_format_ip(&net->net, text);
    return sp_fail_errno(err, error, "cannot remove the local route %s/%u", text, net->bits);
}
