/* The kernel says on a netlink socket that some address has come or gone; what it says is not read,
 * because the list of what is there cannot be misunderstood, nor miss a message. An address that is
 * back in time was never lost. */
#include "gateway/lost_address.h"
#include "base/clock.h"
#include "base/vec.h"
#include "net/loop.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

typedef struct known {
    sp_addr ip;
    int64_t gone_ms; /* since when; 0 = it is here */
    bool seen;
} known;

struct sp_lost_address {
    uv_loop_t *loop;
    uv_poll_t poll;
    int fd;
    uint32_t after_ms;
    SP_VEC(known) list;
    sp_timer *timer; /* for the first that may be lost; NULL = all are here */
    void (*lost)(void *ctx, const sp_addr *ip);
    void *ctx;
};

static void see(sp_lost_address *l, const struct sockaddr *sa) {
    struct sockaddr_storage ss = {0};
    if (!sa || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)) return;
    memcpy(&ss, sa,
           sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    sp_addr ip = sp_addr_from_sock(&ss);
    ip.port = 0;
    sp_vec_each(&l->list, k) {
        if (!sp_addr_eq(&k->ip, &ip)) continue;
        *k = (known){ip, 0, true};
        return;
    }
    sp_vec_push(&l->list, ((known){ip, 0, true}));
}

static void look(sp_lost_address *l) {
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0) return; /* the next message, or the timer, asks again */
    sp_vec_each(&l->list, k) k->seen = false;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) see(l, i->ifa_addr);
    freeifaddrs(all);
    sp_vec_each(&l->list, k) if (!k->seen && !k->gone_ms) k->gone_ms = sp_clock_mono_ms();
}

static void on_timer(void *ctx);

static void schedule(sp_lost_address *l) {
    int64_t due = INT64_MAX, now = sp_clock_mono_ms();
    sp_vec_each(&l->list, k) if (k->gone_ms) due = SP_MIN(due, k->gone_ms + l->after_ms);
    l->timer = sp_timer_stop(l->timer);
    if (due == INT64_MAX) return;
    l->timer = sp_timer_start(l->loop, (uint64_t)SP_MAX(due - now, 0), on_timer, l);
}

static void on_timer(void *ctx) {
    sp_lost_address *l = ctx;
    int64_t now = sp_clock_mono_ms();
    l->timer = NULL;
    look(l);
    for (size_t i = l->list.n; i-- > 0;) {
        known k = l->list.p[i];
        if (!k.gone_ms || now - k.gone_ms < l->after_ms) continue;
        l->list.p[i] = l->list.p[--l->list.n];
        l->lost(l->ctx, &k.ip);
    }
    schedule(l);
}

static void on_news(uv_poll_t *h, int status, int events) {
    sp_lost_address *l = h->data;
    char bytes[8192];
    (void)status, (void)events;
    while (recv(l->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0 || errno == ENOBUFS) {
    }
    look(l);
    schedule(l);
}

bool sp_lost_address_watch(uv_loop_t *loop, uint32_t after_ms,
                           void (*lost)(void *ctx, const sp_addr *ip), void *ctx,
                           sp_lost_address **ret, sp_err *err) {
    struct sockaddr_nl to = {.nl_family = AF_NETLINK,
                             .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        int e = errno;
        if (fd >= 0) close(fd);
        return sp_fail_errno(err, e, "cannot watch this machine's addresses");
    }
    sp_lost_address *l = sp_zalloc(1, sizeof *l);
    *l = (sp_lost_address){.loop = loop, .fd = fd, .after_ms = after_ms, .lost = lost, .ctx = ctx};
    l->poll.data = l;
    sp_assert(uv_poll_init(loop, &l->poll, fd) == 0);
    uv_poll_start(&l->poll, UV_READABLE, on_news);
    look(l);
    *ret = l;
    return true;
}

static void on_closed(uv_handle_t *h) {
    sp_lost_address *l = h->data;
    close(l->fd);
    sp_vec_free(&l->list);
    free(l);
}

sp_lost_address *sp_lost_address_stop(sp_lost_address *l) {
    if (!l) return NULL;
    l->timer = sp_timer_stop(l->timer);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    return NULL;
}
