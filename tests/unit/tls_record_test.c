/* The record layer against itself and against the rules: what is sealed opens, what was touched
 * does not. Against OpenSSL it is tested in gateway_tls_test. */
#include "net/tls_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

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
            assert_true(at < 5 ? r != SP_RECORD_OK && r != SP_RECORD_FULL : r == SP_RECORD_BAD);
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
    static const struct {
        const char *head;
        sp_record_result want;
    } heads[] = {
        {"\x16\x03\x03\x00\x20", SP_RECORD_ODD}, /* a handshake that is not encrypted */
        {"\x15\x03\x03\x00\x02", SP_RECORD_ODD}, /* an alert */
        {"\x14\x03\x03\x00\x01", SP_RECORD_ODD}, /* change_cipher_spec */
        {"\x17\x02\x03\x00\x20", SP_RECORD_ODD},  {"\x17\x03\x03\x41\x01", SP_RECORD_LONG},
        {"\x17\x03\x03\xff\xff", SP_RECORD_LONG}, {"\x17\x03\x03\x40\x12", SP_RECORD_LONG},
        {"\x17\x03\x03\x00\x10", SP_RECORD_BAD},  {"\x17\x03\x03\x00\x00", SP_RECORD_BAD},
    };
    for (size_t i = 0; i < SP_COUNT(heads); i++) {
        pair p = new_pair(0, 0);
        sp_str in = {heads[i].head, 5};
        assert_true(sp_tls_record_is_whole(in)); /* refused without waiting for more */
        assert_int_equal(open_one(p.a, &in, (sp_str){0}, 0), heads[i].want);
        free_pair(&p);
    }
}

/* RFC 8446 5.4: zeros behind the type are padding, a record of nothing else is an error. */
static void padding(void **state) {
    (void)state;
    static char zeros[1000];
    for (size_t i = 0; i < SP_COUNT(suites); i++) {
        pair p = new_pair(i, 0);
        sp_auto(sp_buf) wire = {0}, padded = {0};
        /* The inner plaintext is "padded" and a type of 0: the last byte that counts is the type.
         */
        sp_buf_add(&padded, SP_STR("hello\x17"));
        sp_buf_add(&padded, (sp_str){zeros, sizeof zeros});
        assert_true(sp_tls_record_seal(p.b, 0, sp_buf_str(&padded), &wire));
        assert_true(sp_tls_record_seal(p.b, 0, SP_STR("\x17"), &wire));
        assert_true(sp_tls_record_seal(p.b, 0, (sp_str){zeros, sizeof zeros}, &wire));
        sp_str in = sp_buf_str(&wire);
        assert_int_equal(open_one(p.a, &in, SP_STR("hello"), SP_RECORD_DATA), SP_RECORD_OK);
        assert_int_equal(open_one(p.a, &in, (sp_str){0}, SP_RECORD_DATA), SP_RECORD_OK);
        assert_int_equal(open_one(p.a, &in, (sp_str){0}, 0), SP_RECORD_ODD);
        free_pair(&p);
    }
}

static void order_counts(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(suites); i++) {
        pair p = new_pair(i, 0), q = new_pair(i, 0);
        sp_auto(sp_buf) wire = {0};
        assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, SP_STR("first"), &wire));
        size_t at = wire.n;
        assert_true(sp_tls_record_seal(p.b, SP_RECORD_DATA, SP_STR("other"), &wire));
        sp_str second = sp_str_from(sp_buf_str(&wire), at);
        assert_int_equal(open_one(p.a, &second, SP_STR("other"), SP_RECORD_DATA), SP_RECORD_BAD);
        sp_str own = sp_buf_str(&wire); /* what we sent is not taken back (reflection) */
        assert_int_equal(open_one(q.b, &own, SP_STR("first"), SP_RECORD_DATA), SP_RECORD_BAD);
        free_pair(&p);
        free_pair(&q);
    }
}

static size_t unhex(const char *hex, uint8_t *ret) {
    size_t n = 0;
    unsigned v;
    for (; *hex && sscanf(hex, "%2x", &v) == 1; hex += 2) ret[n++] = (uint8_t)v;
    return n;
}

/* RFC 8448 section 3 (simple 1-RTT handshake): its secrets, and the records behind the handshake.
 * The server's first one was a session ticket. */
static void vectors_of_rfc_8448(void **state) {
    (void)state;
    uint8_t client[32], server[32], from_client[128], from_server[128], data[50];
    assert_int_equal(
        unhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", client), 32);
    assert_int_equal(
        unhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", server), 32);
    size_t n = unhex("1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8"
                     "a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
                     "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
                     from_client);
    size_t m = unhex("17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf9"
                     "7d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"
                     "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
                     from_server);
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)i;
    sp_str want = {(const char *)data, sizeof data}, in = {(const char *)from_client, n};
    sp_tls_record *r = sp_tls_record_new(0x1301, client, server, sizeof client, 1);
    assert_int_equal(open_one(r, &in, want, SP_RECORD_DATA), SP_RECORD_OK);
    assert_int_equal(open_one(r, &in, SP_STR("\1\0"), SP_RECORD_ALERT), SP_RECORD_OK);
    assert_int_equal(in.n, 0);
    sp_auto(sp_buf) wire = {0};
    assert_true(sp_tls_record_seal(r, SP_RECORD_DATA, want, &wire));
    assert_true(sp_tls_record_seal(r, SP_RECORD_ALERT, SP_STR("\1\0"), &wire));
    assert_int_equal(wire.n, m);
    assert_memory_equal(wire.p, from_server, m);
    sp_tls_record_free(r);
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
        cmocka_unit_test(sealed_opens),
        cmocka_unit_test(touched_does_not),
        cmocka_unit_test(pieces_and_places),
        cmocka_unit_test(heads_that_break_the_rules),
        cmocka_unit_test(keys_change),
        cmocka_unit_test(keys_wear_out),
        cmocka_unit_test(padding),
        cmocka_unit_test(order_counts),
        cmocka_unit_test(vectors_of_rfc_8448),
    };
    return cmocka_run_group_tests_name("tls_record", tests, NULL, NULL);
}
