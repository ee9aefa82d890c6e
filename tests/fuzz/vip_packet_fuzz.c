/* An advertisement of any bytes, as IPv4 with its header ('4' in front) or as IPv6: what is taken
 * is written again byte by byte. */
#include "gateway/vip/packet.h"

static void check(sp_str message, const sp_addr *src, const sp_addr *dst) {
    uint8_t again[SP_VRRP_PACKET_MAX];
    sp_vrrp_packet p, q;
    if (!sp_vrrp_decode(message, src, dst, &p, NULL)) return;
    sp_assert(p.vrid > 0 && p.interval_cs > 0);
    size_t n = sp_vrrp_encode(&p, src, dst, again);
    sp_assert(n == message.n);
    sp_assert(sp_vrrp_decode((sp_str){(char *)again, n}, src, dst, &q, NULL));
    sp_assert(q.priority == p.priority && q.interval_cs == p.interval_cs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_addr src = {.family = AF_INET6, .ip = {0xfe, 0x80}}, dst = sp_vrrp_multicast(AF_INET6);
    sp_str bytes = {(const char *)data, size};
    uint8_t ttl;
    if (size && data[0] == '4') {
        if (!sp_vrrp_strip_ipv4(sp_str_from(bytes, 1), &bytes, &src, &dst, &ttl, NULL)) return 0;
    } else {
        bytes = sp_str_from(bytes, 1);
    }
    check(bytes, &src, &dst);
    return 0;
}
