/* Lines of the access log: every format, and what clients may not do to them. */
#include "data/json.h"
#include "gateway/access_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static sp_access request(void) {
    static const sp_header headers[] = {{SP_STR_INIT("user-agent"), SP_STR_INIT("curl/8")},
                                        {SP_STR_INIT("referer"), SP_STR_INIT("http://a/")}};
    sp_access a = {.protocol = "HTTP/1.1",
                   .method = SP_STR("GET"),
                   .host = SP_STR("shop.test"),
                   .target = SP_STR("/x?y=1"),
                   .headers = headers,
                   .header_count = 2,
                   .status = 200,
                   .in = 80,
                   .out = 2326,
                   .wall_ms = 971211336123,
                   .connected_us = 1500,
                   .answered_us = 4700,
                   .total_us = 5100,
                   .listener = SP_STR("Gateway default/door"),
                   .route = SP_STR("HTTPRoute default/shop"),
                   .pool = SP_STR("default/shop:80"),
                   .server = SP_STR("shop-1"),
                   .attempts = 2,
                   .request_id = SP_STR("r-1")};
    assert_true(sp_addr_parse(SP_STR("192.0.2.7"), 4242, &a.client));
    assert_true(sp_addr_parse(SP_STR("10.0.0.5"), 8080, &a.endpoint));
    return a;
}

static sp_access connection(void) {
    sp_access a = request();
    a.protocol = NULL;
    a.status = 0;
    a.attempts = 1;
    return a;
}

static void expect(sp_access_format f, const sp_access *a, const char *want) {
    sp_auto(sp_buf) b = {0};
    sp_access_write(&b, f, a);
    sp_buf_addc(&b, 0);
    assert_string_equal(b.p, want);
}

static void formats(void **state) {
    (void)state;
    sp_access h = request(), t = connection();
    expect(SP_ACCESS_TEXT, &h,
           "http 192.0.2.7:4242 \"GET shop.test/x?y=1\" 200 in=80 out=2326 5100us 10.0.0.5:8080 "
           "tries=2 HTTPRoute default/shop");
    expect(SP_ACCESS_COMMON, &h,
           "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET /x?y=1 HTTP/1.1\" 200 2326");
    expect(SP_ACCESS_COMBINED, &h,
           "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET /x?y=1 HTTP/1.1\" 200 2326 "
           "\"http://a/\" \"curl/8\"");
    expect(SP_ACCESS_HAPROXY, &h,
           "192.0.2.7:4242 [10/Oct/2000:20:55:36.123] Gateway/default/door default/shop:80/shop-1 "
           "0/0/1/3/5 200 2326 - - ---- 0/0/0/0/1 0/0 \"GET /x?y=1 HTTP/1.1\"");
    expect(SP_ACCESS_HAPROXY, &t,
           "192.0.2.7:4242 [10/Oct/2000:20:55:36.123] Gateway/default/door default/shop:80/shop-1 "
           "0/1/5 2326 -- 0/0/0/0/0 0/0");
    t.cut = true;
    t.server = (sp_str){0};
    t.endpoint = (sp_addr){0};
    expect(SP_ACCESS_HAPROXY, &t,
           "192.0.2.7:4242 [10/Oct/2000:20:55:36.123] Gateway/default/door default/shop:80/<NOSRV> "
           "0/1/5 2326 SD 0/0/0/0/0 0/0");
}

/* Whatever a client sends, a line stays one line and JSON stays JSON. */
static void hostile(void **state) {
    (void)state;
    sp_access a = request();
    a.target = SP_STR("/\r\n\"\\\x01\xff\xc3");
    a.host = SP_STR("\x80\"");
    for (int f = SP_ACCESS_TEXT; f <= SP_ACCESS_HAPROXY; f++) {
        sp_auto(sp_buf) b = {0};
        sp_access_write(&b, (sp_access_format)f, &a);
        for (size_t i = 0; i < b.n; i++) assert_true((unsigned char)b.p[i] >= 0x20);
        if (f != SP_ACCESS_JSON) {
            assert_true(sp_str_find(sp_buf_str(&b), SP_STR("/\\x0D\\x0A\\x22\\x5C\\x01\\xFF")) > 0);
            continue;
        }
        sp_arena *arena = sp_arena_new();
        sp_json *j = NULL;
        assert_true(sp_json_parse(arena, sp_buf_str(&b), &j, NULL));
        assert_int_equal(sp_json_int(sp_json_get(j, "first_byte_us"), 0), 4700);
        assert_true(sp_str_eqz(sp_json_str(sp_json_get(j, "user_agent")), "curl/8"));
        assert_true(sp_str_eqz(sp_json_str(sp_json_get(j, "client")), "192.0.2.7:4242"));
        assert_true(sp_str_starts(sp_json_str(sp_json_get(j, "target")), SP_STR("/\r\n\"\\\x01")));
        sp_arena_free(arena);
    }
}

static void names(void **state) {
    (void)state;
    sp_access_format f = SP_ACCESS_TEXT;
    assert_true(sp_access_format_parse("haproxy", &f));
    assert_int_equal(f, SP_ACCESS_HAPROXY);
    assert_false(sp_access_format_parse("apache", &f));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats), cmocka_unit_test(hostile),
                                       cmocka_unit_test(names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
