/* The few rtnetlink(7) requests that pods need, in process: a bridge, veth pairs, addresses,
 * routes. A socket belongs to the network namespace its thread was in when it was opened. IPv4
 * addresses are in network byte order. What is there already counts as done. Blocking; one thread.
 */
#pragma once
#include "base/err.h"

typedef struct sp_netlink sp_netlink;

SP_MUST_USE bool sp_netlink_open(sp_netlink **ret, sp_err *err);
sp_netlink *sp_netlink_close(sp_netlink *nl); /* takes NULL, returns NULL */

SP_MUST_USE bool sp_netlink_add_bridge(sp_netlink *nl, const char *name, sp_err *err);
/* One end here, named host and enslaved to bridge; the other, named peer, in the namespace. */
SP_MUST_USE bool sp_netlink_add_veth(sp_netlink *nl, const char *host, unsigned bridge_index,
                                     const char *peer, int peer_netns_fd, const uint8_t peer_mac[6],
                                     sp_err *err);
SP_MUST_USE bool sp_netlink_delete_link(sp_netlink *nl, const char *name, sp_err *err);
SP_MUST_USE bool sp_netlink_set_mac(sp_netlink *nl, unsigned index, const uint8_t mac[6],
                                    sp_err *err);
SP_MUST_USE bool sp_netlink_set_up(sp_netlink *nl, unsigned index, sp_err *err);
SP_MUST_USE bool sp_netlink_add_address(sp_netlink *nl, unsigned index, uint32_t addr,
                                        uint8_t prefix, sp_err *err);
SP_MUST_USE bool sp_netlink_add_default_route(sp_netlink *nl, uint32_t gateway, sp_err *err);
