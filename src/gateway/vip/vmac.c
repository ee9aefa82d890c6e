#include "gateway/vip/vmac.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

void sp_vip_vmac_name(const sp_vip_instance *i, char ret[16]) {
    if (!i->vmac)
        ret[0] = 0;
    else if (i->vmac_name.n)
        snprintf(ret, 16, "%.*s", SP_ARG(i->vmac_name));
    else
        snprintf(ret, 16, "%s.%u", i->family == AF_INET ? "vrrp" : "vrrp6", (unsigned)i->vrid);
}

void sp_vip_vmac_address(const sp_vip_instance *i, uint8_t ret[6]) {
    const uint8_t mac[6] = {0, 0, 0x5e, 0, i->family == AF_INET ? 1 : 2, i->vrid};
    memcpy(ret, mac, sizeof mac);
}

/* --- messages --- */

static struct nlmsghdr *message(char *buf, uint16_t type, uint16_t flags, unsigned index) {
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->ifi_family = AF_UNSPEC;
    m->ifi_index = (int)index;
    return h;
}

/* Bridge mode: in the others the frames of another master, which has the same MAC, would not reach
 * the interface below, where advertisements are heard. */
static int create(sp_vip_kernel *k, const char *name, const uint8_t mac[6], unsigned base) {
    char buf[512];
    struct nlmsghdr *h = message(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    mnl_attr_put_u32(h, IFLA_LINK, base);
    mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "macvlan");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    mnl_attr_put_u32(h, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    return sp_vip_kernel_talk(k, h);
}

static int bring_up(sp_vip_kernel *k, unsigned index) {
    char buf[256];
    struct nlmsghdr *h = message(buf, RTM_NEWLINK, 0, index);
    struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
    m->ifi_flags = m->ifi_change = IFF_UP;
    return sp_vip_kernel_talk(k, h);
}

/* --- settings under /proc/sys/net --- */

typedef struct setting {
    const char *family, *key, *value;
} setting;

/* A part that this kernel does not have is none that could disturb. */
static void put_settings(const char *name, const setting *list, size_t n) {
    char path[128];
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%s/%s", list[i].family, name,
                 list[i].key);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0) continue;
        (void)!write(fd, list[i].value, strlen(list[i].value));
        close(fd);
    }
}

/* Each answers for what is on it, and asks with an address that is. */
static const setting of_base[] = {{"ipv4", "arp_ignore", "1"}, {"ipv4", "arp_announce", "2"}};
static const setting of_own[] = {{"ipv4", "arp_ignore", "1"},
                                 {"ipv4", "rp_filter", "0"},
                                 {"ipv4", "accept_local", "1"},
                                 {"ipv6", "addr_gen_mode", "1"}, /* no link-local address */
                                 {"ipv6", "accept_ra", "0"}};

/* --- there and away --- */

bool sp_vip_vmac_add(sp_vip_kernel *k, const sp_vip_instance *i, unsigned base, sp_err *err) {
    char name[16], below[16];
    uint8_t mac[6];
    sp_vip_vmac_name(i, name);
    sp_vip_vmac_address(i, mac);
    sp_vip_link l = sp_vip_link_read(name);
    if (l.index && memcmp(l.mac, mac, sizeof mac) != 0)
        return sp_fail(err, SP_CONFLICT,
                       "there is another interface %s; name one with use_vmac NAME", name);
    if (l.up) return true;
    int e = l.index ? 0 : create(k, name, mac, base);
    if (e) return sp_fail_errno(err, e, "make the interface %s (macvlan)", name);
    if (!l.index && if_indextoname(base, below)) put_settings(below, of_base, SP_COUNT(of_base));
    if (!l.index) put_settings(name, of_own, SP_COUNT(of_own));
    e = bring_up(k, if_nametoindex(name));
    return e == 0 || sp_fail_errno(err, e, "bring %s up", name);
}

bool sp_vip_vmac_remove(sp_vip_kernel *k, const sp_vip_instance *i, sp_err *err) {
    char buf[256], name[16];
    uint8_t mac[6];
    sp_vip_vmac_name(i, name);
    sp_vip_vmac_address(i, mac);
    sp_vip_link l = sp_vip_link_read(name);
    if (!l.index || memcmp(l.mac, mac, sizeof mac) != 0) return true;
    int e = sp_vip_kernel_talk(k, message(buf, RTM_DELLINK, 0, l.index));
    return e == 0 || e == ENODEV || sp_fail_errno(err, e, "remove the interface %s", name);
}

size_t sp_vip_vmac_removal(const sp_vip_instance *i, uint8_t *ret, size_t size) {
    char buf[256], name[16];
    uint8_t mac[6];
    sp_vip_vmac_name(i, name);
    sp_vip_vmac_address(i, mac);
    sp_vip_link l = sp_vip_link_read(name);
    if (l.index && memcmp(l.mac, mac, sizeof mac) != 0) return 0;
    struct nlmsghdr *h = message(buf, RTM_DELLINK, 0, 0);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    h->nlmsg_flags = NLM_F_REQUEST;
    sp_assert(h->nlmsg_len <= size);
    memcpy(ret, h, h->nlmsg_len);
    return h->nlmsg_len;
}
