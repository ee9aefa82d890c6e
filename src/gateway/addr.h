/* An IPv4 or IPv6 address with a port, by value: what listeners bind and endpoints are dialled by.
 */
#pragma once
#include "base/str.h"

#include <sys/socket.h>

typedef struct sp_addr {
    uint8_t family; /* AF_INET, AF_INET6; 0 = none */
    uint16_t port;  /* host order */
    uint8_t ip[16]; /* network order; the first 4 for IPv4, the rest zero */
} sp_addr;

enum { SP_ADDR_MAX = 64 }; /* "[…]:65535" and a NUL */

/* IPv4 inside IPv6 (::ffff:1.2.3.4) is IPv4 everywhere: a list that names the one means the other.
 */
sp_addr sp_addr_plain(const sp_addr *a);
/* ip: "10.0.0.1", "::1"; no brackets, no port, no zone. */
SP_MUST_USE bool sp_addr_parse(sp_str ip, uint16_t port, sp_addr *ret);
bool sp_addr_eq(const sp_addr *a, const sp_addr *b); /* with the port */
int sp_addr_cmp(const sp_addr *a, const sp_addr *b); /* family, address, port */
bool sp_addr_is_any(const sp_addr *a);               /* 0.0.0.0 or :: */
/* One of both would take connections meant for the other: same port, and the same address or one of
 * them is "any". */
bool sp_addr_overlaps(const sp_addr *a, const sp_addr *b);
void sp_addr_format(const sp_addr *a, char ret[SP_ADDR_MAX]);    /* "10.0.0.1:80", "[::1]:80" */
void sp_addr_format_ip(const sp_addr *a, char ret[SP_ADDR_MAX]); /* "10.0.0.1", "::1" */
socklen_t sp_addr_to_sock(const sp_addr *a, struct sockaddr_storage *ret);
/* IPv4 inside IPv6 (::ffff:1.2.3.4) comes out as IPv4. family 0 for anything else. */
sp_addr sp_addr_from_sock(const struct sockaddr_storage *ss);

/* A network: an address and how many of its bits count. */
typedef struct sp_cidr {
    sp_addr net;
    uint8_t bits;
} sp_cidr;
SP_MUST_USE bool sp_cidr_parse(sp_str text, sp_cidr *ret); /* "10.96.0.0/16" */
bool sp_cidr_has(const sp_cidr *c, const sp_addr *a);
