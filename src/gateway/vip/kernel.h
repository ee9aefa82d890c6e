/* What the kernel knows and does about interfaces and addresses (rtnetlink(7)). The socket belongs
 * to the network namespace of the thread that opened it. Requests block until the kernel has
 * answered, which it does without waiting for anybody. */
#pragma once
#include "gateway/vip/config.h"

typedef struct sp_vip_kernel sp_vip_kernel;
SP_MUST_USE bool sp_vip_kernel_open(sp_vip_kernel **ret, sp_err *err);
sp_vip_kernel *sp_vip_kernel_close(sp_vip_kernel *k); /* takes NULL, returns NULL */

/* Sends one request and waits for the answer: 0 or errno. The numbering is put in. */
struct nlmsghdr;
SP_MUST_USE int sp_vip_kernel_talk(sp_vip_kernel *k, struct nlmsghdr *h);
/* Adds the address or renews its life. lease_s: it goes by itself after so long; 0 = stays. */
SP_MUST_USE bool sp_vip_kernel_add(sp_vip_kernel *k, unsigned index, const sp_vip_address *a,
                                   uint32_t lease_s, sp_err *err);
/* One that is not there is as good as removed. */
SP_MUST_USE bool sp_vip_kernel_remove(sp_vip_kernel *k, unsigned index, const sp_vip_address *a,
                                      sp_err *err);
/* The removal as a netlink message for somebody else to send; returns its length. */
size_t sp_vip_kernel_removal(unsigned index, const sp_vip_address *a, uint8_t *ret, size_t size);

/* Readable when a link or an address may have changed; then drain it and look again. */
int sp_vip_kernel_watch_fd(const sp_vip_kernel *k);
void sp_vip_kernel_drain(sp_vip_kernel *k);

typedef struct sp_vip_link {
    unsigned index; /* 0 = there is none of this name */
    bool up;        /* administratively and its carrier */
    bool has_mac;
    uint8_t mac[6];
} sp_vip_link;
sp_vip_link sp_vip_link_read(const char *name);
/* The first address of the family that is none of `not_these`; of IPv6 the link-local one. family 0
 * when there is none. */
sp_addr sp_vip_link_address(const char *name, uint8_t family, const sp_vip_address *not_these,
                            size_t count);
bool sp_vip_link_has(const char *name, const sp_addr *ip);
