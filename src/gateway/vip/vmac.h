/* The virtual router's MAC address (RFC 5798 section 7.3): 00-00-5E-00-01-VRID for IPv4, …-02-VRID
 * for IPv6. The virtual addresses are on an interface of their own with it (a macvlan over the
 * instance's), so that the neighbours' caches stay right when the owner changes. It is there while
 * this node is master, under keepalived's name: vrrp.VRID, or what use_vmac says. */
#pragma once
#include "gateway/vip/kernel.h"

/* "" without a virtual MAC address. */
void sp_vip_vmac_name(const sp_vip_instance *i, char ret[16]);
void sp_vip_vmac_address(const sp_vip_instance *i, uint8_t ret[6]);
/* What is there already stays. base: the index of the instance's interface, which from then on
 * answers ARP for its own addresses only (arp_ignore 1, arp_announce 2). */
SP_MUST_USE bool sp_vip_vmac_add(sp_vip_kernel *k, const sp_vip_instance *i, unsigned base,
                                 sp_err *err);
/* With the addresses on it; one that is not there is as good as removed. */
SP_MUST_USE bool sp_vip_vmac_remove(sp_vip_kernel *k, const sp_vip_instance *i, sp_err *err);
/* The removal as a netlink message for somebody else to send, by name: it holds before the
 * interface is there and for one made anew. Its length; 0 while another's interface has the name.
 */
size_t sp_vip_vmac_removal(const sp_vip_instance *i, uint8_t *ret, size_t size);
