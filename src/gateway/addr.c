#include "gateway/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static size_t ip_size(const sp_addr *a) {
    return a->family == AF_INET ? 4 : 16;
}

bool sp_addr_parse(sp_str ip, uint16_t port, sp_addr *ret) {
    char text[INET6_ADDRSTRLEN];
    if (ip.n == 0 || ip.n >= sizeof text || memchr(ip.p, 0, ip.n)) return false;
    memcpy(text, ip.p, ip.n);
    text[ip.n] = 0;
    sp_addr a = {.port = port};
    if (inet_pton(AF_INET, text, a.ip) == 1)
        a.family = AF_INET;
    else if (inet_pton(AF_INET6, text, a.ip) == 1)
        a.family = AF_INET6;
    else
        return false;
    *ret = sp_addr_plain(&a);
    return true;
}

sp_addr sp_addr_plain(const sp_addr *a) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (a->family != AF_INET6 || memcmp(a->ip, mapped, sizeof mapped) != 0) return *a;
    sp_addr v4 = {.family = AF_INET, .port = a->port};
    memcpy(v4.ip, a->ip + sizeof mapped, 4);
    return v4;
}

static bool same_ip(const sp_addr *a, const sp_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, ip_size(a)) == 0;
}

bool sp_addr_eq(const sp_addr *a, const sp_addr *b) {
    return a->port == b->port && same_ip(a, b);
}

int sp_addr_cmp(const sp_addr *a, const sp_addr *b) {
    if (a->family != b->family) return a->family < b->family ? -1 : 1;
    int d = memcmp(a->ip, b->ip, ip_size(a));
    return d ? d : (int)a->port - (int)b->port;
}

bool sp_addr_is_any(const sp_addr *a) {
    static const uint8_t zero[16];
    return memcmp(a->ip, zero, ip_size(a)) == 0;
}

bool sp_addr_overlaps(const sp_addr *a, const sp_addr *b) {
    if (a->port != b->port) return false;
    return same_ip(a, b) || sp_addr_is_any(a) || sp_addr_is_any(b);
}

/* Each request tells its client's address, and inet_ntop goes through printf. */
static void format_v4(const uint8_t ip[4], char *ret) {
    for (size_t i = 0; i < 4; i++) {
        unsigned n = ip[i];
        if (n >= 100) *ret++ = (char)('0' + n / 100);
        if (n >= 10) *ret++ = (char)('0' + n / 10 % 10);
        *ret++ = (char)('0' + n % 10);
        *ret++ = i < 3 ? '.' : 0;
    }
}

void sp_addr_format_ip(const sp_addr *a, char ret[SP_ADDR_MAX]) {
    if (a->family == AF_INET)
        format_v4(a->ip, ret);
    else if (!a->family || !inet_ntop(a->family, a->ip, ret, SP_ADDR_MAX))
        memcpy(ret, "unknown", 8);
}

void sp_addr_format(const sp_addr *a, char ret[SP_ADDR_MAX]) {
    char ip[SP_ADDR_MAX];
    sp_addr_format_ip(a, ip);
    snprintf(ret, SP_ADDR_MAX, a->family == AF_INET6 ? "[%.45s]:%u" : "%.45s:%u", ip, a->port);
}

socklen_t sp_addr_to_sock(const sp_addr *a, struct sockaddr_storage *ret) {
    memset(ret, 0, sizeof *ret);
    if (a->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->ip, 16);
    return sizeof *in6;
}

sp_addr sp_addr_from_sock(const struct sockaddr_storage *ss) {
    sp_addr a = {0};
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
        a.family = AF_INET;
        a.port = ntohs(in->sin_port);
        memcpy(a.ip, &in->sin_addr, 4);
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
        a.family = AF_INET6;
        a.port = ntohs(in6->sin6_port);
        memcpy(a.ip, &in6->sin6_addr, 16);
    }
    return sp_addr_plain(&a);
}

bool sp_cidr_parse(sp_str text, sp_cidr *ret) {
    ptrdiff_t slash = sp_str_chr(text, '/');
    uint64_t bits;
    sp_addr net;
    if (slash < 0 || !sp_addr_parse(sp_str_sub(text, 0, (size_t)slash), 0, &net)) return false;
    if (!sp_str_u64(sp_str_from(text, (size_t)slash + 1), &bits) || bits > 128) return false;
    bool mapped = net.family == AF_INET && sp_str_chr(text, ':') >= 0;
    if (mapped && bits < 96) return false;
    if (mapped) bits -= 96;
    if (bits > ip_size(&net) * 8) return false;
    *ret = (sp_cidr){net, (uint8_t)bits};
    return true;
}

bool sp_cidr_has(const sp_cidr *c, const sp_addr *a) {
    size_t bytes = c->bits / 8, rest = c->bits % 8;
    if (a->family != c->net.family || memcmp(a->ip, c->net.ip, bytes) != 0) return false;
    return !rest || ((a->ip[bytes] ^ c->net.ip[bytes]) >> (8 - rest)) == 0;
}
