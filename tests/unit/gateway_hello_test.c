/* What is read before anything is decided: ClientHello and PROXY header, and which entry has a
 * name. Pure functions, byte by byte. */
#include "base/file.h"
#include "gateway/hello.h"
#include "gateway/proxy_header.h"
#include "gateway/tls_default.h"
#include "gateway/tls_server.h"

#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static char scratch[SP_HELLO_MAX_BYTES];

/* A real one, by OpenSSL. */
static sp_buf real_hello(const char *sni, const char *alpn, size_t alpn_n) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    if (sni) SSL_set_tlsext_host_name(ssl, sni);
    if (alpn) SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)alpn_n);
    SSL_connect(ssl);
    char *p;
    sp_buf b = {0};
    long n = BIO_get_mem_data(out, &p);
    sp_buf_add(&b, (sp_str){p, (size_t)n});
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return b;
}

/* The same message in records of `piece` bytes. */
static sp_buf split(sp_str hello, size_t piece) {
    sp_buf b = {0};
    for (sp_str rest = sp_str_from(hello, 5); rest.n;) {
        sp_str part = sp_str_sub(rest, 0, piece);
        sp_buf_add(&b, (sp_str){"\x16\x03\x01", 3});
        sp_buf_addc(&b, (char)(part.n >> 8));
        sp_buf_addc(&b, (char)part.n);
        sp_buf_add(&b, part);
        rest = sp_str_from(rest, part.n);
    }
    return b;
}

/* Every prefix wants more, the whole is understood. */
static void expect(sp_str bytes, const char *sni, const char *alpn) {
    sp_hello h;
    for (size_t n = 0; n < bytes.n; n++)
        assert_int_equal(sp_hello_parse(sp_str_sub(bytes, 0, n), scratch, &h), SP_HELLO_MORE);
    assert_int_equal(sp_hello_parse(bytes, scratch, &h), SP_HELLO_OK);
    assert_string_equal(h.sni, sni);
    assert_string_equal(h.alpn, alpn);
}

static void hello_of_openssl(void **state) {
    (void)state;
    sp_auto(sp_buf) a = real_hello("Www.Example.COM", "\x02h2\x08http/1.1", 12);
    sp_auto(sp_buf) b = real_hello(NULL, NULL, 0);
    expect(sp_buf_str(&a), "www.example.com", "h2,http/1.1");
    expect(sp_buf_str(&b), "", "");
}

static void hello_in_pieces(void **state) {
    (void)state;
    static const size_t sizes[] = {6, 7, 50, 100, 1000};
    sp_auto(sp_buf) whole = real_hello("a.test", NULL, 0);
    for (size_t i = 0; i < SP_COUNT(sizes); i++) {
        sp_auto(sp_buf) b = split(sp_buf_str(&whole), sizes[i]);
        expect(sp_buf_str(&b), "a.test", "");
    }
    sp_hello h;
    sp_auto(sp_buf) crumbs = split(sp_buf_str(&whole), 1);
    assert_int_equal(sp_hello_parse(sp_buf_str(&crumbs), scratch, &h), SP_HELLO_BAD);
}

static sp_hello_result parse(const char *p, size_t n) {
    sp_hello h;
    return sp_hello_parse((sp_str){p, n}, scratch, &h);
}
#define PARSE(literal) parse("" literal, sizeof(literal) - 1)

static void hello_that_is_none(void **state) {
    (void)state;
    assert_int_equal(PARSE("GET / HTTP/1.1\r\n"), SP_HELLO_NOT_TLS);
    assert_int_equal(PARSE("\x16\x02"), SP_HELLO_NOT_TLS);
    assert_int_equal(PARSE("\x80\x2e\x01"), SP_HELLO_NOT_TLS);             /* SSL 2 */
    assert_int_equal(PARSE("\x16\x03\x01\x00\x00"), SP_HELLO_BAD);         /* empty record */
    assert_int_equal(PARSE("\x16\x03\x01\x40\x01"), SP_HELLO_BAD);         /* too long a record */
    assert_int_equal(PARSE("\x16\x03\x01\x00\x04\x02\x00"), SP_HELLO_BAD); /* a ServerHello */
    assert_int_equal(PARSE("\x16\x03\x01\x00\x04\x01\x01\x00\x00"), SP_HELLO_BAD); /* 64 KiB */
    assert_int_equal(PARSE("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"), SP_HELLO_BAD);
}

/* A hello of our own, so that its extensions can be wrong. */
static sp_buf made_hello(sp_str extensions) {
    sp_buf b = {0}, m = {0};
    sp_buf_add(&m, (sp_str){"\x03\x03", 2});
    for (int i = 0; i < 32; i++) sp_buf_addc(&m, 'r');
    sp_buf_add(&m, (sp_str){"\0\0\x02\x13\x01\x01\0", 7});
    sp_buf_addc(&m, (char)(extensions.n >> 8));
    sp_buf_addc(&m, (char)extensions.n);
    sp_buf_add(&m, extensions);
    sp_buf_add(&b, (sp_str){"\x16\x03\x01", 3});
    sp_buf_addc(&b, (char)((m.n + 4) >> 8));
    sp_buf_addc(&b, (char)(m.n + 4));
    sp_buf_addc(&b, 1);
    sp_buf_addc(&b, 0);
    sp_buf_addc(&b, (char)(m.n >> 8));
    sp_buf_addc(&b, (char)m.n);
    sp_buf_add(&b, sp_buf_str(&m));
    sp_buf_free(&m);
    return b;
}

#define SNI_A                  \
    "\0\0\0\x06\0\x04\0\0\x01" \
    "a"
#define GREASE "\x3a\x3a\0\x01\0"
#define ECH "\xfe\x0d\0\x02\0\0"

static void hello_extensions(void **state) {
    (void)state;
    static const struct {
        const char *p;
        size_t n;
        sp_hello_result want;
    } cases[] = {
#define ROW(literal, want) {"" literal, sizeof(literal) - 1, want}
        ROW("", SP_HELLO_OK),
        ROW(SNI_A, SP_HELLO_OK),
        ROW(GREASE SNI_A ECH, SP_HELLO_OK),
        ROW(SNI_A SNI_A, SP_HELLO_BAD),
        ROW("\0\0\0\x02\0\0", SP_HELLO_BAD),         /* no name */
        ROW("\0\0\0\x05\0\x03\0\0\0", SP_HELLO_BAD), /* an empty one */
        ROW("\0\0\0\x06\0\x04\x01\0\x01"
            "a",
            SP_HELLO_BAD),                               /* of another type */
        ROW("\0\0\0\x06\0\x04\0\0\x01\0", SP_HELLO_BAD), /* a NUL in it */
        ROW("\0\0\0\x06\0\x04\0\0\x01/", SP_HELLO_BAD),
        ROW("\0\0\0\x07\0\x04\0\0\x01"
            "ab",
            SP_HELLO_BAD), /* something behind it */
        ROW("\0\0\0\x0a\0\x08\0\0\x01"
            "a\0\0\x01"
            "b",
            SP_HELLO_BAD), /* two */
        ROW("\0\x10\0\x05\0\x03\x02h2", SP_HELLO_OK),
        ROW("\0\x10\0\x05\0\x03\x03h2", SP_HELLO_BAD),
        ROW("\0\x10\0\x03\0\x01\0", SP_HELLO_BAD),
        ROW("\0\x10\0\x02\0\0", SP_HELLO_BAD),
        ROW("\0\0\0", SP_HELLO_BAD),
        ROW("\0\x05\0\x09\0", SP_HELLO_BAD),
#undef ROW
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_hello h;
        sp_auto(sp_buf) b = made_hello((sp_str){cases[i].p, cases[i].n});
        sp_hello_result got = sp_hello_parse(sp_buf_str(&b), scratch, &h);
        if (got != cases[i].want) print_error("case %zu\n", i);
        assert_int_equal(got, cases[i].want);
    }
}

/* --- PROXY headers --- */

static void proxy_lines(void **state) {
    (void)state;
    static const struct {
        const char *line;
        sp_proxy_result want;
        const char *source;
    } cases[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nrest", SP_PROXY_OK, "192.0.2.1:56324"},
        {"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", SP_PROXY_OK, "[2001:db8::1]:1"},
        {"PROXY UNKNOWN\r\n", SP_PROXY_OK, NULL},
        {"PROXY UNKNOWN ff ff 1 2\r\n", SP_PROXY_OK, NULL},
        {"PROXY UNKNOWNX\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", SP_PROXY_BAD, NULL},
        {"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", SP_PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", SP_PROXY_MORE, NULL},
        {"PROXY ", SP_PROXY_MORE, NULL},
        {"PROXX", SP_PROXY_BAD, NULL},
        {"GET / HTTP/1.1\r\n", SP_PROXY_BAD, NULL},
        {"", SP_PROXY_MORE, NULL},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_proxy_header h = {0};
        char at[SP_ADDR_MAX];
        sp_str s = sp_str_z(cases[i].line);
        sp_proxy_result got = sp_proxy_parse(s, &h);
        if (got != cases[i].want) print_error("%s\n", cases[i].line);
        assert_int_equal(got, cases[i].want);
        if (got != SP_PROXY_OK) continue;
        assert_int_equal(h.n, sp_str_find(s, SP_STR("\r\n")) + 2);
        assert_int_equal(h.local, !cases[i].source);
        if (!cases[i].source) continue;
        sp_addr_format(&h.source, at);
        assert_string_equal(at, cases[i].source);
    }
    sp_buf longest = {0};
    sp_buf_addz(&longest, "PROXY UNKNOWN ");
    while (longest.n < 107) sp_buf_addc(&longest, 'x');
    sp_proxy_header h;
    assert_int_equal(sp_proxy_parse(sp_buf_str(&longest), &h), SP_PROXY_BAD);
    sp_buf_free(&longest);
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define ADDR4 "\xc0\0\x02\x01\xc0\0\x02\x02\x10\0\x01\xbb"

static void proxy_binary(void **state) {
    (void)state;
    static const struct {
        const char *p;
        size_t n;
        sp_proxy_result want;
        bool local;
    } cases[] = {
#define ROW(literal, want, local) {"" literal, sizeof(literal) - 1, want, local}
        ROW(V2 "\x21\x11\0\x0c" ADDR4, SP_PROXY_OK, false),
        ROW(V2 "\x21\x11\0\x10" ADDR4 "\x04\0\x01z", SP_PROXY_OK, false),
        ROW(V2 "\x21\x11\0\x10" ADDR4 "\x04\0\x02z", SP_PROXY_BAD, false), /* TLV too long */
        ROW(V2 "\x21\x11\0\x0d" ADDR4 "z", SP_PROXY_BAD, false),
        ROW(V2 "\x20\x11\0\x0c" ADDR4, SP_PROXY_OK, true),
        ROW(V2 "\x20\0\0\0", SP_PROXY_OK, true),
        ROW(V2 "\x21\0\0\0", SP_PROXY_OK, true),
        ROW(V2 "\x21\x12\0\x0c" ADDR4, SP_PROXY_BAD, false), /* UDP */
        ROW(V2 "\x21\x31\0\x0c" ADDR4, SP_PROXY_BAD, false), /* UNIX */
        ROW(V2 "\x22\x11\0\x0c" ADDR4, SP_PROXY_BAD, false),
        ROW(V2 "\x11\x11\0\x0c" ADDR4, SP_PROXY_BAD, false),
        ROW(V2 "\x21\x11\0\x0b" ADDR4, SP_PROXY_BAD, false),
        ROW(V2 "\x21\x11\xff\xff" ADDR4, SP_PROXY_BAD, false), /* beyond our limit */
        ROW("\r\n\r\n\0\r\nQUIX\n", SP_PROXY_BAD, false),
#undef ROW
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_proxy_header h = {0};
        sp_str s = {cases[i].p, cases[i].n};
        assert_int_equal(sp_proxy_parse(s, &h), cases[i].want);
        if (cases[i].want != SP_PROXY_OK) continue;
        assert_int_equal(h.n, s.n);
        assert_int_equal(h.local, cases[i].local);
        if (!h.local) assert_int_equal(h.source.port, 4096);
        for (size_t n = 0; n < s.n; n++)
            assert_int_equal(sp_proxy_parse(sp_str_sub(s, 0, n), &h), SP_PROXY_MORE);
    }
}

/* What is written is read back. */
static void proxy_round_trip(void **state) {
    (void)state;
    static const char *const ips[][2] = {{"192.0.2.1", "192.0.2.2"}, {"::1", "2001:db8::2"}};
    for (int version = 1; version <= 2; version++) {
        for (size_t i = 0; i < 3; i++) {
            sp_proxy_facts f = {.alpn = SP_STR("h2"),
                                .server_name = SP_STR("a.test"),
                                .tls = true,
                                .tls_version = SP_STR("TLSv1.3"),
                                .client_cert = true,
                                .common_name = SP_STR("alice")};
            sp_auto(sp_buf) b = {0};
            sp_proxy_header h;
            if (i < 2) {
                assert_true(sp_addr_parse(sp_str_z(ips[i][0]), 1234, &f.source));
                assert_true(sp_addr_parse(sp_str_z(ips[i][1]), 443, &f.target));
            }
            sp_proxy_write(version, &f, &b);
            sp_buf_addz(&b, "rest");
            assert_int_equal(sp_proxy_parse(sp_buf_str(&b), &h), SP_PROXY_OK);
            assert_int_equal(h.n, b.n - 4);
            assert_int_equal(h.local, i == 2);
            if (i < 2) assert_true(sp_addr_eq(&h.source, &f.source));
            if (i < 2) assert_true(sp_addr_eq(&h.target, &f.target));
        }
    }
}

/* --- names --- */

static void names(void **state) {
    (void)state;
    sp_sni_entry list[] = {{.host = SP_STR_INIT("*.a.test")},
                           {.host = SP_STR_INIT("x.a.test")},
                           {.host = SP_STR_INIT("*.b.a.test")},
                           {.host = SP_STR_INIT("")}};
    static const struct {
        const char *name;
        int want, want_without_any;
    } cases[] = {{"x.a.test", 1, 1}, {"y.a.test", 0, 0}, {"z.y.a.test", 0, 0}, {"q.b.a.test", 2, 2},
                 {"a.test", 3, -1},  {"", 3, -1},        {"xa.test", 3, -1},   {".a.test", 3, -1}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const sp_sni_entry *e = sp_sni_find(list, 4, sp_str_z(cases[i].name));
        assert_int_equal(e - list, cases[i].want);
        e = sp_sni_find(list, 3, sp_str_z(cases[i].name));
        assert_int_equal(e ? e - list : -1, cases[i].want_without_any);
    }
}

/* --- the cache --- */

static void same_certificates_share(void **state) {
    (void)state;
    sp_auto(sp_buf) ca = {0};
    sp_auto(sp_buf) ca_key = {0};
    sp_auto(sp_buf) cert = {0};
    sp_auto(sp_buf) key = {0};
    const char *dns[] = {"a.test", "*.a.test", NULL};
    sp_cert_request r = {
        .common_name = "x", .dns_names = dns, .server = true, .life_s = 1 * SP_DAY_S};
    assert_true(sp_cert_make_ca("ca", 1 * SP_DAY_S, &ca, &ca_key, NULL));
    assert_true(sp_cert_issue(sp_buf_str(&ca), sp_buf_str(&ca_key), &r, &cert, &key, NULL));
    sp_tls_cert c[] = {
        {.cert_pem = sp_buf_str(&ca), .key_pem = sp_buf_str(&ca_key), .source = SP_STR("ca")},
        {.cert_pem = sp_buf_str(&cert), .key_pem = sp_buf_str(&key), .source = SP_STR("a")}};
    sp_tls_spec spec = {.certs = c, .cert_count = 2}, other = {.certs = c + 1, .cert_count = 1};
    sp_tls_server *one = NULL, *two = NULL, *three = NULL;
    assert_true(sp_tls_server_get(&spec, "h2", &one, NULL));
    assert_true(sp_tls_server_get(&spec, "h2", &two, NULL));
    assert_ptr_equal(one, two);
    assert_true(sp_tls_server_get(&other, "h2", &three, NULL));
    assert_ptr_not_equal(one, three);
    sp_tls_ctx *a = sp_tls_server_pick(one, SP_STR("a.test"));
    assert_ptr_equal(sp_tls_server_pick(one, SP_STR("b.a.test")), a);
    assert_ptr_equal(sp_tls_server_pick(three, SP_STR("")), a); /* the same context inside */
    assert_ptr_not_equal(sp_tls_server_pick(one, SP_STR("c.b.a.test")), a);
    assert_ptr_not_equal(sp_tls_server_pick(one, SP_STR("")), a);
    sp_tls_server_unref(one);
    sp_tls_server_unref(two);
    sp_tls_server_unref(three);
    sp_err err = {0};
    assert_true(sp_tls_check_cert(&c[1], NULL));
    c[1].key_pem = sp_buf_str(&ca_key);
    assert_false(sp_tls_check_cert(&c[1], &err));
    assert_non_null(strstr(err.text, "does not fit"));
    c[1].key_pem = (sp_str){0};
    assert_false(sp_tls_check_cert(&c[1], &err));
    assert_true(sp_tls_check_ca(sp_buf_str(&ca), NULL));
    assert_false(sp_tls_check_ca(SP_STR("nothing"), &err));
}

static void default_certificate(void **state) {
    (void)state;
    char dir[] = "/tmp/sampan-default-XXXXXX", path[100];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sampan-default.pem", dir);
    sp_tls_cert one, two;
    assert_true(sp_tls_default_cert(dir, &one, NULL));
    assert_true(sp_tls_check_cert(&one, NULL));
    assert_true(sp_tls_default_cert(dir, &two, NULL));
    assert_ptr_equal(one.cert_pem.p, two.cert_pem.p);
    sp_auto(sp_buf) kept = {0};
    assert_true(sp_file_read(path, 65536, &kept, NULL));
    assert_true(sp_str_starts(sp_buf_str(&kept), one.key_pem));
    assert_true(sp_str_ends(sp_buf_str(&kept), one.cert_pem));
    assert_true(sp_remove_all(dir, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_of_openssl),
        cmocka_unit_test(hello_in_pieces),
        cmocka_unit_test(hello_that_is_none),
        cmocka_unit_test(hello_extensions),
        cmocka_unit_test(proxy_lines),
        cmocka_unit_test(proxy_binary),
        cmocka_unit_test(proxy_round_trip),
        cmocka_unit_test(names),
        cmocka_unit_test(same_certificates_share),
        cmocka_unit_test(default_certificate),
    };
    return cmocka_run_group_tests_name("gateway_hello", tests, NULL, NULL);
}
