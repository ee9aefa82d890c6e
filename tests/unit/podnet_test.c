/* The pod network of a node, in a network namespace of the test's own. */
#include "agent/netlink.h"
#include "agent/sandbox.h"
#include "base/err.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const uint8_t peer_mac[6] = {0x02, 0, 0, 0, 0, 0x01};

static int enter_namespace(void **state) {
    *state = NULL;
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        fprintf(stderr, "no network namespace may be made here\n");
    else
        *state = "yes";
    return 0;
}

static void read_mac(const char *name, char ret[6]) {
    struct ifreq r = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &r), 0);
    memcpy(ret, r.ifr_hwaddr.sa_data, 6);
    close(fd);
}

static void set_up(sp_podnet *ret) {
    sp_err err = {0};
    if (!sp_podnet_set_up(ret, &err)) fail_msg("%s", err.text);
}

static void add_pod(sp_netlink *nl, const sp_podnet *n, const char *name, const char *peer) {
    sp_err err = {0};
    int self = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (!sp_netlink_add_veth(nl, name, n->bridge_index, peer, self, peer_mac, &err) ||
        !sp_netlink_set_up(nl, if_nametoindex(name), &err))
        fail_msg("%s", err.text);
    close(self);
}

/* Pods remember the bridge's MAC: one that changed would cut off those that stay. */
static void the_bridge_keeps_its_mac(void **state) {
    static const char want[6] = {0x0a, 0x58, 10, 99, 0, 1};
    if (!*state) skip();
    char mac[6];
    sp_netlink *nl = NULL;
    sp_podnet n = {.bridge = "podnet-test"};
    assert_true(sp_podnet_parse("10.99.0.0/24", &n, NULL));
    set_up(&n);
    read_mac(n.bridge, mac);
    assert_memory_equal(mac, want, 6);
    assert_true(sp_netlink_open(&nl, NULL));
    add_pod(nl, &n, "pod-a", "peer-a");
    add_pod(nl, &n, "pod-b", "peer-b");
    read_mac(n.bridge, mac);
    assert_memory_equal(mac, want, 6);
    assert_true(sp_netlink_delete_link(nl, "pod-a", NULL));
    set_up(&n); /* the agent started again */
    assert_true(sp_netlink_delete_link(nl, "pod-b", NULL));
    read_mac(n.bridge, mac);
    assert_memory_equal(mac, want, 6);
    sp_netlink_close(nl);
    sp_podnet_tear_down(&n);
}

/* A bridge without a MAC of its own, as one may find it. */
static void a_bridge_found_gets_its_mac(void **state) {
    static const char want[6] = {0x0a, 0x58, 10, 99, 0, 1};
    if (!*state) skip();
    char mac[6];
    sp_netlink *nl = NULL;
    sp_podnet n = {.bridge = "podnet-test"};
    assert_true(sp_podnet_parse("10.99.0.0/24", &n, NULL));
    assert_true(sp_netlink_open(&nl, NULL));
    assert_true(sp_netlink_add_bridge(nl, n.bridge, NULL));
    read_mac(n.bridge, mac);
    assert_memory_not_equal(mac, want, 6);
    set_up(&n);
    add_pod(nl, &n, "pod-a", "peer-a");
    read_mac(n.bridge, mac);
    assert_memory_equal(mac, want, 6);
    sp_netlink_close(nl);
    sp_podnet_tear_down(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bridge_keeps_its_mac),
        cmocka_unit_test(a_bridge_found_gets_its_mac),
    };
    return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
