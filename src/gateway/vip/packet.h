/* VRRP advertisements as bytes: version 2 (RFC 3768, with the eight bytes of simple password that
 * RFC 2338 had and keepalived still has) and version 3 (RFC 5798, RFC 9568), IPv4 and IPv6. Pure.
 */
#pragma once
#include "base/err.h"
#include "gateway/addr.h"

enum {
    SP_VRRP_PROTOCOL = 112,
    SP_VRRP_HOPS = 255,     /* TTL or hop limit of every multicast advertisement */
    SP_VRRP_PASS_MAX = 8,   /* bytes of a password; keepalived cuts the rest off */
    SP_VRRP_ADDRESSES = 32, /* of one virtual router; keepalived's own limit is 20 + excluded */
    SP_VRRP_PACKET_MAX = 8 + SP_VRRP_ADDRESSES * 16 + 8,
    SP_VRRP_INTERVAL_MAX = 4095 /* centiseconds in version 3 (12 bits) */
};

/* How the checksum of a version 3 packet over IPv4 is made. */
typedef enum sp_vrrp_sum {
    SP_VRRP_SUM_RFC,       /* with the pseudo-header of the packet */
    SP_VRRP_SUM_AS_V2,     /* the message alone: keepalived's v3_checksum_as_v2 */
    SP_VRRP_SUM_MULTICAST, /* unicast, but as if sent to 224.0.0.18: keepalived before 1.3.6 */
} sp_vrrp_sum;

typedef struct sp_vrrp_packet {
    uint8_t version, vrid, priority;
    uint32_t interval_cs; /* version 2 counts whole seconds on the wire */
    bool has_pass;        /* version 2 only */
    char pass[SP_VRRP_PASS_MAX];
    sp_vrrp_sum sum;
    uint8_t address_count;
    sp_addr addresses[SP_VRRP_ADDRESSES]; /* all of the family of the packet */
} sp_vrrp_packet;

/* The message without its IP header. src and dst are those of the IP header: IPv6 and version 3
 * count them in. Never more than SP_VRRP_PACKET_MAX bytes. */
size_t sp_vrrp_encode(const sp_vrrp_packet *p, const sp_addr *src, const sp_addr *dst,
                      uint8_t ret[SP_VRRP_PACKET_MAX]);
/* Anything that is not a whole, right message is an error that says what is wrong with it. */
SP_MUST_USE bool sp_vrrp_decode(sp_str bytes, const sp_addr *src, const sp_addr *dst,
                                sp_vrrp_packet *ret, sp_err *err);

/* A raw IPv4 socket delivers the header too: the message behind it, where it came from and went to,
 * and its TTL. */
SP_MUST_USE bool sp_vrrp_strip_ipv4(sp_str packet, sp_str *ret_message, sp_addr *ret_src,
                                    sp_addr *ret_dst, uint8_t *ret_ttl, sp_err *err);
/* 224.0.0.18, ff02::12 */
sp_addr sp_vrrp_multicast(uint8_t family);
