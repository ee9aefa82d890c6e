/* Sockets of one virtual router: advertisements out and in, announcements out. */
#pragma once
#include "gateway/vip/config.h"
#include "gateway/vip/kernel.h"

typedef struct sp_vip_wire sp_vip_wire;
SP_MUST_USE bool sp_vip_wire_open(const sp_vip_instance *i, const sp_vip_link *link,
                                  sp_vip_wire **ret, sp_err *err);
sp_vip_wire *sp_vip_wire_close(sp_vip_wire *w); /* takes NULL, returns NULL */
int sp_vip_wire_fd(const sp_vip_wire *w);       /* readable when something arrived */

/* To the group or to each peer. src: as the source of the IP header. */
SP_MUST_USE bool sp_vip_wire_send(sp_vip_wire *w, const sp_vip_instance *i, const sp_addr *src,
                                  uint8_t priority, sp_err *err);

typedef enum sp_vip_heard {
    SP_VIP_NOTHING, /* no more for now */
    SP_VIP_OTHERS,  /* of another virtual router, or our own */
    SP_VIP_REFUSED, /* err says why */
    SP_VIP_ADVERT
} sp_vip_heard;
/* The next packet; never blocks. */
sp_vip_heard sp_vip_wire_receive(sp_vip_wire *w, const sp_vip_instance *i, const sp_addr *own,
                                 sp_vrrp_packet *ret, sp_addr *ret_src, sp_err *err);

/* Tells the network where the address is now: gratuitous ARP or an unsolicited neighbour
 * advertisement. Nothing on interfaces without Ethernet addresses. */
SP_MUST_USE bool sp_vip_announce(const sp_vip_link *link, const sp_addr *ip, sp_err *err);

/* --- the bytes, for tests and the last will --- */
enum { SP_VIP_FRAME_MAX = 128 };
/* An Ethernet frame; IPv4: ARP request or answer (RFC 5227 says request, old equipment wants the
 * answer); IPv6: reply does not count. */
size_t sp_vip_announcement(const uint8_t mac[6], const sp_addr *ip, bool reply,
                           uint8_t ret[SP_VIP_FRAME_MAX]);
/* The packet this instance sends with this priority to dst. */
size_t sp_vip_advert(const sp_vip_instance *i, const sp_addr *src, const sp_addr *dst,
                     uint8_t priority, uint8_t ret[SP_VRRP_PACKET_MAX]);
