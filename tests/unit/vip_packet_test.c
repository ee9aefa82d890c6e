/* The advertisements below were captured from keepalived 2.2.7 (IP header included for IPv4). */
#include "gateway/vip/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static size_t unhex(const char *hex, uint8_t *out) {
    size_t n = 0;
    for (; *hex; hex++) {
        unsigned v;
        if (*hex == ' ') continue;
        assert_int_equal(sscanf(hex, "%2x", &v), 1);
        out[n++] = (uint8_t)v;
        hex++;
    }
    return n;
}

static sp_addr addr(const char *text) {
    sp_addr a = {0};
    if (!sp_addr_parse(sp_str_z(text), 0, &a)) fail_msg("%s", text);
    return a;
}

static const struct {
    const char *name, *hex, *src, *dst, *first;
    uint8_t version, priority, count, ttl;
    uint32_t interval_cs;
    sp_vrrp_sum sum;
    const char *pass;
} captured[] = {
    {"v2 with a password",
     "45c0 0028 0001 0000 ff70 d03a 0a4d 000b e000 0012"
     "2133 6401 0101 a1c4 0a4d 0010 7061 7373 776f 7264",
     "10.77.0.11", "224.0.0.18", "10.77.0.16", 2, 100, 1, 255, 100, SP_VRRP_SUM_RFC, "password"},
    {"v3, two addresses",
     "45c0 0024 0001 0000 ff70 d03e 0a4d 000b e000 0012 3133 6402 0019 6b0b 0a4d 0010 0a4d 0011",
     "10.77.0.11", "224.0.0.18", "10.77.0.16", 3, 100, 2, 255, 25, SP_VRRP_SUM_RFC, NULL},
    {"v3 unicast",
     "45c0 0020 0001 0000 ff70 a5fc 0a4d 000b 0a4d 000c 3133 6401 0032 4b0f 0a4d 0010",
     "10.77.0.11", "10.77.0.12", "10.77.0.16", 3, 100, 1, 255, 50, SP_VRRP_SUM_RFC, NULL},
    {"v3 over IPv6",
     "3133 6402 0064 7079 fe80 0000 0000 0000 0000 0000 0000 0016"
     "fd00 0000 0000 0000 0000 0000 0000 0016",
     "fe80::11", "ff02::12", "fe80::16", 3, 100, 2, 0, 100, SP_VRRP_SUM_RFC, NULL},
};

static void test_reads_and_writes_as_keepalived(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(captured); i++) {
        uint8_t bytes[200], again[SP_VRRP_PACKET_MAX], ttl = 0;
        sp_err err = {0};
        sp_vrrp_packet p;
        sp_addr src = addr(captured[i].src), dst = addr(captured[i].dst), s, d;
        sp_str message = {(const char *)bytes, unhex(captured[i].hex, bytes)};
        if (src.family == AF_INET) {
            assert_true(sp_vrrp_strip_ipv4(message, &message, &s, &d, &ttl, &err));
            assert_true(sp_addr_eq(&s, &src) && sp_addr_eq(&d, &dst));
            assert_int_equal(ttl, captured[i].ttl);
        }
        if (!sp_vrrp_decode(message, &src, &dst, &p, &err))
            fail_msg("%s: %s", captured[i].name, err.text);
        assert_int_equal(p.version, captured[i].version);
        assert_int_equal(p.vrid, 51);
        assert_int_equal(p.priority, captured[i].priority);
        assert_int_equal(p.interval_cs, captured[i].interval_cs);
        assert_int_equal(p.address_count, captured[i].count);
        assert_int_equal(p.sum, captured[i].sum);
        sp_addr first = addr(captured[i].first);
        assert_true(sp_addr_eq(&p.addresses[0], &first));
        assert_int_equal(p.has_pass, captured[i].pass != NULL);
        if (p.has_pass) assert_memory_equal(p.pass, captured[i].pass, SP_VRRP_PASS_MAX);
        assert_int_equal(sp_vrrp_encode(&p, &src, &dst, again), message.n);
        assert_memory_equal(again, message.p, message.n);
    }
}

/* keepalived before 1.3.6 summed a unicast packet as if it went to the group; v3_checksum_as_v2
 * leaves the pseudo-header out. */
static void test_takes_other_checksums(void **state) {
    (void)state;
    sp_addr src = addr("10.77.0.11"), dst = addr("10.77.0.12");
    sp_vrrp_packet p = {.version = 3, .vrid = 1, .priority = 9, .interval_cs = 100}, q;
    uint8_t bytes[SP_VRRP_PACKET_MAX];
    sp_err err = {0};
    p.addresses[p.address_count++] = addr("10.77.0.16");
    for (p.sum = SP_VRRP_SUM_RFC; p.sum <= SP_VRRP_SUM_MULTICAST; p.sum++) {
        size_t n = sp_vrrp_encode(&p, &src, &dst, bytes);
        assert_true(sp_vrrp_decode((sp_str){(char *)bytes, n}, &src, &dst, &q, &err));
        assert_int_equal(q.sum, p.sum);
    }
}

/* Every single flipped bit and every cut is noticed. */
static void test_refuses_damage(void **state) {
    (void)state;
    sp_addr src = addr("10.77.0.11"), dst = addr("224.0.0.18");
    sp_vrrp_packet p = {.version = 3, .vrid = 51, .priority = 100, .interval_cs = 100}, q;
    uint8_t bytes[SP_VRRP_PACKET_MAX];
    p.addresses[p.address_count++] = addr("10.77.0.16");
    size_t n = sp_vrrp_encode(&p, &src, &dst, bytes);
    for (size_t bit = 0; bit < n * 8; bit++) {
        sp_err err = {0};
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(sp_vrrp_decode((sp_str){(char *)bytes, n}, &src, &dst, &q, &err));
        assert_true(err.text[0]);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t k = 0; k < n; k++)
        assert_false(sp_vrrp_decode((sp_str){(char *)bytes, k}, &src, &dst, &q, NULL));
    assert_false(sp_vrrp_decode((sp_str){(char *)bytes, n + 1}, &src, &dst, &q, NULL));
    assert_true(sp_vrrp_decode((sp_str){(char *)bytes, n}, &src, &dst, &q, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_and_writes_as_keepalived),
        cmocka_unit_test(test_takes_other_checksums),
        cmocka_unit_test(test_refuses_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
