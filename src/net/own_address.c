#include "net/own_address.h"

#include "base/vec.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* --- what there is --- */

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

/* What was made by software has no device behind it. */
static bool is_physical(const char *interface) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/sys/class/net/%s/device", interface);
    return access(path, F_OK) == 0;
}

typedef struct found {
    char address[46], interface[IF_NAMESIZE];
} found;

typedef struct finds {
    SP_VEC(found) found;
    SP_VEC(sp_own_candidate) candidates; /* of the same order */
} finds;

static void add(finds *f, const struct ifaddrs *i, const char *routed) {
    found a = {0};
    inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, a.address,
              sizeof a.address);
    snprintf(a.interface, sizeof a.interface, "%s", i->ifa_name);
    sp_own_candidate c = {.running = (i->ifa_flags & IFF_RUNNING) != 0,
                          .routed = strcmp(a.address, routed) == 0,
                          .physical = is_physical(i->ifa_name)};
    sp_vec_push(&f->found, a);
    sp_vec_push(&f->candidates, c);
}

static void look_around(const char *own_bridge, const char *routed, finds *f) {
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (is_outside(i, own_bridge)) add(f, i, routed);
    freeifaddrs(all);
}

/* An address of lo may be that of the default route: routers have such. */
static bool is_elsewhere(const finds *f, const char *routed) {
    sp_vec_each(&f->candidates, c) if (c->routed) return false;
    return *routed != 0;
}

bool sp_own_address(const char *own_bridge, char ret[46], char ret_interface[IF_NAMESIZE]) {
    char routed[46] = "";
    finds f = {0};
    found best = {.address = "127.0.0.1"};
    if (!route_source(routed)) routed[0] = 0;
    look_around(own_bridge, routed, &f);
    bool any = f.found.n > 0 || *routed;
    if (is_elsewhere(&f, routed))
        memcpy(best.address, routed, sizeof routed);
    else if (f.found.n)
        best = f.found.p[sp_own_address_choose(f.candidates.p, f.candidates.n)];
    memcpy(ret, best.address, sizeof best.address);
    if (ret_interface) memcpy(ret_interface, best.interface, sizeof best.interface);
    sp_vec_free(&f.found);
    sp_vec_free(&f.candidates);
    return any;
}

bool sp_own_address_is_here(const char *address) {
    struct ifaddrs *all = NULL;
    bool here = false;
    char text[64];
    if (getifaddrs(&all) != 0) return false;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr) continue;
        sa_family_t family = i->ifa_addr->sa_family;
        const void *at = &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr;
        if (family == AF_INET6) at = &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;
        bool ip = family == AF_INET || family == AF_INET6;
        here |= ip && inet_ntop(family, at, text, sizeof text) && strcmp(text, address) == 0;
    }
    freeifaddrs(all);
    return here;
}

/* --- pure --- */

static int rank(const sp_own_candidate *c) {
    return 4 * c->running + 2 * c->routed + c->physical;
}

size_t sp_own_address_choose(const sp_own_candidate *list, size_t n) {
    size_t best = 0;
    sp_assert(n > 0);
    for (size_t i = 1; i < n; i++)
        if (rank(&list[i]) > rank(&list[best])) best = i;
    return best;
}

bool sp_address_is_loopback(const char *address) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, address, &v6) != 1) return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}
