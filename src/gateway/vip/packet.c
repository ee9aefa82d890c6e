#include "gateway/vip/packet.h"

#include <netinet/in.h>

enum { HEAD = 8, TYPE_ADVERTISEMENT = 1, AUTH_NONE = 0, AUTH_PASS = 1 };

sp_addr sp_vrrp_multicast(uint8_t family) {
    sp_addr a = {.family = family};
    static const uint8_t v4[4] = {224, 0, 0, 18};
    if (family == AF_INET) {
        memcpy(a.ip, v4, sizeof v4);
    } else {
        a.ip[0] = 0xff;
        a.ip[1] = 0x02;
        a.ip[15] = 0x12;
    }
    return a;
}

/* --- checksum --- */

static size_t width(uint8_t family) {
    return family == AF_INET ? 4 : 16;
}

/* RFC 1071; n is even except for the last piece. */
static uint32_t add_words(uint32_t sum, const uint8_t *p, size_t n) {
    for (size_t i = 0; i + 1 < n; i += 2) sum += (uint32_t)(p[i] << 8 | p[i + 1]);
    return n % 2 ? sum + (uint32_t)(p[n - 1] << 8) : sum;
}

static uint32_t add_pseudo(const sp_addr *src, const sp_addr *dst, size_t n) {
    uint32_t sum = add_words(0, src->ip, width(src->family));
    sum = add_words(sum, dst->ip, width(dst->family));
    return sum + SP_VRRP_PROTOCOL + (uint32_t)n;
}

static uint16_t fold(uint32_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* The field must be zero for making, and whole for checking (then 0 is right). */
static uint16_t checksum(const uint8_t *p, size_t n, uint8_t version, sp_vrrp_sum how,
                         const sp_addr *src, const sp_addr *dst) {
    sp_addr group = sp_vrrp_multicast(src->family);
    bool bare = src->family == AF_INET && (version == 2 || how == SP_VRRP_SUM_AS_V2);
    const sp_addr *to = how == SP_VRRP_SUM_MULTICAST ? &group : dst;
    return fold(add_words(bare ? 0 : add_pseudo(src, to, n), p, n));
}

/* --- out --- */

size_t sp_vrrp_encode(const sp_vrrp_packet *p, const sp_addr *src, const sp_addr *dst,
                      uint8_t ret[SP_VRRP_PACKET_MAX]) {
    size_t each = width(src->family), n = HEAD;
    sp_assert(p->address_count <= SP_VRRP_ADDRESSES);
    memset(ret, 0, SP_VRRP_PACKET_MAX);
    ret[0] = (uint8_t)(p->version << 4 | TYPE_ADVERTISEMENT);
    ret[1] = p->vrid;
    ret[2] = p->priority;
    ret[3] = p->address_count;
    if (p->version == 2) {
        ret[4] = p->has_pass ? AUTH_PASS : AUTH_NONE;
        ret[5] = (uint8_t)(p->interval_cs / 100);
    } else {
        uint32_t cs = SP_MIN(p->interval_cs, (uint32_t)SP_VRRP_INTERVAL_MAX);
        ret[4] = (uint8_t)(cs >> 8);
        ret[5] = (uint8_t)cs;
    }
    for (size_t i = 0; i < p->address_count; i++, n += each)
        memcpy(ret + n, p->addresses[i].ip, each);
    if (p->version == 2) { /* RFC 3768 5.3.10: zero, but there */
        if (p->has_pass) memcpy(ret + n, p->pass, SP_VRRP_PASS_MAX);
        n += SP_VRRP_PASS_MAX;
    }
    uint16_t sum = checksum(ret, n, p->version, p->sum, src, dst);
    ret[6] = (uint8_t)(sum >> 8);
    ret[7] = (uint8_t)sum;
    return n;
}

/* --- in --- */

static bool check_sum(sp_str b, sp_vrrp_packet *p, const sp_addr *src, const sp_addr *dst,
                      sp_err *err) {
    static const sp_vrrp_sum ways[] = {SP_VRRP_SUM_RFC, SP_VRRP_SUM_AS_V2, SP_VRRP_SUM_MULTICAST};
    const uint8_t *bytes = (const uint8_t *)b.p;
    size_t known = src->family == AF_INET && p->version == 3 ? SP_COUNT(ways) : 1;
    for (size_t i = 0; i < known; i++) {
        p->sum = ways[i];
        if (checksum(bytes, b.n, p->version, p->sum, src, dst) == 0) return true;
    }
    return sp_fail(err, SP_BAD_REQUEST, "wrong checksum");
}

static bool check_head(const uint8_t *b, size_t n, sp_vrrp_packet *p, sp_err *err) {
    if (n < HEAD) return sp_fail(err, SP_BAD_REQUEST, "%zu bytes are too few", n);
    p->version = b[0] >> 4;
    if (p->version != 2 && p->version != 3)
        return sp_fail(err, SP_BAD_REQUEST, "version %u is neither 2 nor 3", p->version);
    if ((b[0] & 15) != TYPE_ADVERTISEMENT)
        return sp_fail(err, SP_BAD_REQUEST, "type %u is no advertisement", b[0] & 15);
    if (b[1] == 0) return sp_fail(err, SP_BAD_REQUEST, "virtual router id 0");
    p->vrid = b[1];
    p->priority = b[2];
    p->address_count = b[3];
    if (p->address_count > SP_VRRP_ADDRESSES)
        return sp_fail(err, SP_BAD_REQUEST, "%u addresses are too many", b[3]);
    p->interval_cs = p->version == 2 ? b[5] * 100u : (uint32_t)((b[4] & 15) << 8 | b[5]);
    if (p->interval_cs == 0) return sp_fail(err, SP_BAD_REQUEST, "advertisement interval 0");
    return true;
}

static bool read_auth(const uint8_t *b, const uint8_t *auth, sp_vrrp_packet *p, sp_err *err) {
    if (p->version == 3 || b[4] == AUTH_NONE) return true;
    if (b[4] != AUTH_PASS)
        return sp_fail(err, SP_BAD_REQUEST, "authentication type %u is not known", b[4]);
    p->has_pass = true;
    memcpy(p->pass, auth, SP_VRRP_PASS_MAX);
    return true;
}

bool sp_vrrp_decode(sp_str bytes, const sp_addr *src, const sp_addr *dst, sp_vrrp_packet *ret,
                    sp_err *err) {
    const uint8_t *b = (const uint8_t *)bytes.p;
    sp_vrrp_packet p = {0};
    if (!check_head(b, bytes.n, &p, err)) return false;
    size_t each = width(src->family), ips = p.address_count * each;
    size_t want = HEAD + ips + (p.version == 2 ? (size_t)SP_VRRP_PASS_MAX : 0);
    if (bytes.n != want)
        return sp_fail(err, SP_BAD_REQUEST, "%zu bytes where %zu belong", bytes.n, want);
    if (!check_sum(bytes, &p, src, dst, err) || !read_auth(b, b + HEAD + ips, &p, err))
        return false;
    for (size_t i = 0; i < p.address_count; i++) {
        p.addresses[i].family = src->family;
        memcpy(p.addresses[i].ip, b + HEAD + i * each, each);
    }
    *ret = p;
    return true;
}

bool sp_vrrp_strip_ipv4(sp_str packet, sp_str *ret_message, sp_addr *ret_src, sp_addr *ret_dst,
                        uint8_t *ret_ttl, sp_err *err) {
    const uint8_t *b = (const uint8_t *)packet.p;
    size_t head = packet.n >= 20 ? (size_t)(b[0] & 15) * 4 : 0;
    if (head < 20 || b[0] >> 4 != 4 || packet.n < head)
        return sp_fail(err, SP_BAD_REQUEST, "not an IPv4 header");
    size_t total = (size_t)(b[2] << 8 | b[3]);
    if (total < head || total > packet.n)
        return sp_fail(err, SP_BAD_REQUEST, "an IPv4 header of %zu bytes for %zu", total, packet.n);
    if (b[9] != SP_VRRP_PROTOCOL)
        return sp_fail(err, SP_BAD_REQUEST, "protocol %u is not VRRP", b[9]);
    *ret_message = sp_str_sub(packet, head, total - head);
    *ret_ttl = b[8];
    *ret_src = *ret_dst = (sp_addr){.family = AF_INET};
    memcpy(ret_src->ip, b + 12, 4);
    memcpy(ret_dst->ip, b + 16, 4);
    return true;
}
