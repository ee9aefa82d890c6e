#include "net/own_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

static bool route_source(char ret[46]) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)}, from;
    socklen_t len = sizeof from;
    inet_pton(AF_INET, "192.0.2.1", &to.sin_addr); /* TEST-NET-1: connect sends nothing on UDP */
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
              getsockname(fd, (struct sockaddr *)&from, &len) == 0 &&
              inet_ntop(AF_INET, &from.sin_addr, ret, 46);
    close(fd);
    return ok;
}

static bool is_outside(const struct ifaddrs *i, const char *own_bridge) {
    return i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) &&
           !(i->ifa_flags & IFF_LOOPBACK) && strncmp(i->ifa_name, "sampan", 6) != 0 &&
           !(own_bridge && strcmp(i->ifa_name, own_bridge) == 0);
}

bool sp_own_address(const char *own_bridge, char ret[46]) {
    struct ifaddrs *all = NULL;
    if (route_source(ret)) return true;
    snprintf(ret, 46, "127.0.0.1");
    if (getifaddrs(&all) != 0) return false;
    const struct ifaddrs *i = all;
    while (i && !is_outside(i, own_bridge)) i = i->ifa_next;
    if (i) inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, ret, 46);
    bool found = i != NULL;
    freeifaddrs(all);
    return found;
}

bool sp_address_is_loopback(const char *address) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, address, &v6) != 1) return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}
