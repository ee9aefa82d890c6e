/* The record layer against itself and against the rules: what is sealed opens, what was touched
 * does not. Against OpenSSL it is tested in gateway_tls_test. */
#include "net/tls_record.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    unsigned suite;
    size_t secret;
} suites[] = {{0x1301, 32}, {0x1302, 48}, {0x1303, 32}};

static const uint8_t one[48] = {1, 2, 3}, two[48] = {9, 8, 7};

typedef struct pair {
    sp_tls_record *a, *b;
} pair;

static pair new_pair(size_t i, uint64_t sealed) {
    pair p = {sp_tls_record_new(suites[i].suite, one, two, suites[i].secret, 0),
              sp_tls_record_new(suites[i].suite, two, one, suites[i].secret, sealed)};
    assert_non_null(p.a);
    assert_non_null(p.b);
    return p;
}

static void free_pair(pair *p) {
    sp_tls_record_free(p->a);
    sp_tls_record_free(p->b);
}

static sp_record_result open_one(sp_tls_record *r, sp_str *in, sp_str want, uint8_t want_type) {
    static char to[SP_RECORD_PLAIN_MAX + 256];
    uint8_t type = 0;
    size_t n = 0;
    sp_record_result got = sp_tls_record_open(r, in, to, sizeof to, &type, &n);
    if (got != SP_RECORD_OK) return got;
    assert_int_equal(type, want_type);
    assert_true(sp_str_eq((sp_str){to, n}, want));
    return got;
}

static void sealed_opens(void **state) {
    (void)state;
    static char big[SP_RECORD_PLAIN_MAX * 2 + 100];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7);
    for (size_t i = 0; i < SP_COUNT(suites); i++) {
        pair p = new_pair(i, 0);
        sp_auto(sp_buf) wire = {0};
        assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, (sp_str){big, sizeof big}, &wire));
        assert_true(sp_tls_record_seal(p.b, SP_RECORD_ALERT, SP_STR("\1\0"), &wire));
        assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, (sp_str){0}, &wire));
        sp_str in = sp_buf_str(&wire);
        for (size_t at = 0; at < sizeof big;) {
            size_t n = SP_MIN(sizeof big - at, (size_t)SP_RECORD_PLAIN_MAX);
            assert_int_equal(open_one(p.a, &in, (sp_str){big + at, n}, SP_RECORD_DATA),
                             SP_RECORD_OK);
            at += n;
        }
        assert_int_equal(open_one(p.a, &in, SP_STR("\1\0"), SP_RECORD_ALERT), SP_RECORD_OK);
        assert_int_equal(open_one(p.a, &in, (sp_str){0}, SP_RECORD_DATA), SP_RECORD_OK);
        assert_int_equal(in.n, 0);
        free_pair(&p);
    }
}

static void touched_does_not(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(suites); i++) {
        pair p = new_pair(i, 0);
        sp_auto(sp_buf) wire = {0};
        assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, SP_STR("hello"), &wire));
        for (size_t at = 0; at < wire.n; at++) {
            pair q = new_pair(i, 0);
            wire.p[at] ^= 1;
            sp_str in = sp_buf_str(&wire);
            sp_record_result r = open_one(q.a, &in, SP_STR("hello"), SP_RECORD_DATA);
            assert_true(r == SP_RECORD_BAD || (r == SP_RECORD_MORE && (at == 3 || at == 4)));
            wire.p[at] ^= 1;
            free_pair(&q);
        }
        sp_str in = sp_buf_str(&wire), again = in;
        assert_int_equal(open_one(p.a, &in, SP_STR("hello"), SP_RECORD_DATA), SP_RECORD_OK);
        assert_int_equal(open_one(p.a, &again, SP_STR("hello"), SP_RECORD_DATA), SP_RECORD_BAD);
        free_pair(&p);
    }
}

static void pieces_and_places(void **state) {
    (void)state;
    pair p = new_pair(0, 0);
    sp_auto(sp_buf) wire = {0};
    char small[5];
    uint8_t type;
    size_t n;
    assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, SP_STR("hello"), &wire));
    for (size_t i = 0; i < wire.n; i++) {
        sp_str in = sp_str_sub(sp_buf_str(&wire), 0, i);
        assert_false(sp_tls_record_is_whole(in));
        assert_int_equal(open_one(p.a, &in, SP_STR("hello"), SP_RECORD_DATA), SP_RECORD_MORE);
    }
    sp_str in = sp_buf_str(&wire);
    assert_true(sp_tls_record_is_whole(in));
    assert_int_equal(sp_tls_record_open(p.a, &in, small, sizeof small, &type, &n), SP_RECORD_FULL);
    assert_int_equal(open_one(p.a, &in, SP_STR("hello"), SP_RECORD_DATA), SP_RECORD_OK);
    free_pair(&p);
}

static void heads_that_break_the_rules(void **state) {
    (void)state;
    static const char *const heads[] = {"\x16\x03\x03\x00\x20", "\x17\x02\x03\x00\x20",
                                        "\x17\x03\x03\x41\x01", "\x17\x03\x03\x00\x10",
                                        "\x14\x03\x03\x00\x01"};
    for (size_t i = 0; i < SP_COUNT(heads); i++) {
        pair p = new_pair(0, 0);
        sp_str in = {heads[i], 5};
        assert_true(sp_tls_record_is_whole(in)); /* refused without waiting for more */
        assert_int_equal(open_one(p.a, &in, (sp_str){0}, 0), SP_RECORD_BAD);
        free_pair(&p);
    }
}

static void keys_change(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(suites); i++) {
        pair p = new_pair(i, 0);
        sp_auto(sp_buf) wire = {0};
        assert_true(sp_tls_record_next_write(p.b, true, &wire));
        assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, SP_STR("new"), &wire));
        sp_str in = sp_buf_str(&wire);
        assert_int_equal(open_one(p.a, &in, SP_STR("\x18\0\0\1\1"), SP_RECORD_HANDSHAKE),
                         SP_RECORD_OK);
        sp_str same = in;
        assert_true(sp_tls_record_next_read(p.a));
        assert_int_equal(open_one(p.a, &in, SP_STR("new"), SP_RECORD_DATA), SP_RECORD_OK);
        assert_int_equal(in.n, 0);
        pair q = new_pair(i, 0); /* the old key does not open it */
        assert_int_equal(open_one(q.a, &same, SP_STR("new"), SP_RECORD_DATA), SP_RECORD_BAD);
        free_pair(&q);
        free_pair(&p);
    }
}

static void keys_wear_out(void **state) {
    (void)state;
    pair p = new_pair(0, (1 << 24) - 1);
    sp_auto(sp_buf) wire = {0};
    assert_false(sp_tls_record_is_worn(p.b));
    assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, SP_STR("x"), &wire));
    assert_true(sp_tls_record_is_worn(p.b));
    assert_true(sp_tls_record_next_write(p.b, false, &wire));
    assert_false(sp_tls_record_is_worn(p.b));
    assert_null(sp_tls_record_new(0x1304, one, two, 32, 0));
    assert_null(sp_tls_record_new(0x1301, one, two, 48, 0));
    free_pair(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sealed_opens),      cmocka_unit_test(touched_does_not),
        cmocka_unit_test(pieces_and_places), cmocka_unit_test(heads_that_break_the_rules),
        cmocka_unit_test(keys_change),       cmocka_unit_test(keys_wear_out),
    };
    return cmocka_run_group_tests_name("tls_record", tests, NULL, NULL);
}
