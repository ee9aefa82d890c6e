/* Values of header edits that are filled in for each request. */
#include "gateway/http_value.h"
#include "gateway/httproute.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static sp_header fields[] = {
    {SP_STR_INIT("host"), SP_STR_INIT("Shop.test:81")},
    {SP_STR_INIT("x-in"), SP_STR_INIT("first")},
    {SP_STR_INIT("x-in"), SP_STR_INIT("one, two, \"a, b\"")},
    {SP_STR_INIT("x-request-id"), SP_STR_INIT("id-7")},
};

static void values_are_filled_in(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
        bool varies;
    } rows[] = {
        {"plain", "plain", false},
        {"", "", false},
        {"100%%", "100%", false},
        {"%%[src]", "%[src]", false},
        {"%[src]", "2001:db8::7", true},
        {"[%[src]]:%[src_port]", "[2001:db8::7]:4242", true},
        {"%[dst] %[dst_port]", "192.0.2.1 443", true},
        {"%[ssl_fc]%[ssl_fc_sni]", "1shop.test", true},
        {"%[ssl_fc,iif(https,http)]", "https", true},
        {"%[ssl_fc,iif(,no)]!", "!", true},
        {"%[method] %[path]", "POST /a", true},
        {"%[query]", "b=c", true},
        {"%[pathq]|%[url]|%[capture.req.uri]", "/a?b=c|/A?b=c|/A?b=c", true},
        {"%[hdr(host)]", "shop.test:81", true},
        {"%[req.hdr(X-In)]", "\"a, b\"", true},
        {"%[req.fhdr(X-In)]", "one, two, \"a, b\"", true},
        {"<%[hdr(X-None)]>", "<>", true},
        {"%[unique-id]", "id-7", true},
        {"%[ src ]", "2001:db8::7", true},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_h1_head h = {.method = SP_STR("POST"),
                    .target = SP_STR("/A?b=c"),
                    .headers = {fields, SP_COUNT(fields), SP_COUNT(fields)}};
    sp_http_hop hop = {
        .client_ip = SP_STR("2001:db8::7"),
        .client_port = 4242,
        .port = 443,
        .server_name = SP_STR("shop.test"),
        .tls = true,
        .target = {.host = SP_STR("shop.test:81"), .path = SP_STR("/a"), .query = SP_STR("b=c")}};
    assert_true(sp_addr_parse(SP_STR("192.0.2.1"), 443, &hop.local));
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto(sp_buf) b = {0};
        sp_str compiled;
        sp_err err = {0};
        bool varies;
        if (!sp_value_compile(a, sp_str_z(rows[i].text), &compiled, &varies, &err))
            fail_msg("%s: %s", rows[i].text, err.text);
        sp_value_write(&b, compiled, &h, &hop);
        assert_string_equal(sp_buf_z(&b), rows[i].want);
        assert_int_equal(varies, rows[i].varies);
    }
}

static void others_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"%[nobody]", "%[nobody] cannot be filled in; what can: src,"},
        {"%[src,lower]", "%[src,lower] cannot"},
        {"%[hdr()]", "cannot"},
        {"%[hdr(a b)]", "cannot"},
        {"%[src(x)]", "cannot"},
        {"%[ssl_fc,iif(a)]", "cannot"},
        {"%[]", "cannot"},
        {"%[src", "percent sign"},
        {"5%", "percent sign"},
        {"%ci", "percent sign"},
        {"a\nb", "header"},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_str compiled;
        sp_err err = {0};
        bool varies;
        assert_false(sp_value_compile(a, sp_str_z(rows[i].text), &compiled, &varies, &err));
        if (!strstr(err.text, rows[i].says)) fail_msg("%s: %s", rows[i].text, err.text);
    }
}

static void what_a_value_looks_at(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str compiled;
    sp_err err = {0};
    bool varies;
    assert_true(sp_value_compile(a, SP_STR("%[src] %[hdr(X-A)]"), &compiled, &varies, &err));
    assert_true(sp_value_reads(compiled, SP_STR("x-a")));
    assert_false(sp_value_reads(compiled, SP_STR("x-b")));
    assert_false(sp_value_reads_path(compiled));
    assert_true(sp_value_compile(a, SP_STR("%[url]"), &compiled, &varies, &err));
    assert_true(sp_value_reads_path(compiled));
}

#define RULE(name, value)                                                                     \
    "{\"filters\":[{\"type\":\"RequestHeaderModifier\",\"requestHeaderModifier\":{\"set\":[{" \
    "\"name\":\"" name "\",\"value\":\"" value "\"}]}}]}"

/* Without the annotation a value is what Gateway API says it is: text. */
static void routes_ask_for_it(void **state) {
    (void)state;
    static const struct {
        const char *annotation, *rule, *says;
    } rows[] = {
        {"false", RULE("X-A", "%[nobody]"), ""},
        {"true", RULE("X-A", "%[src]"), ""},
        {"true", RULE("X-A", "%[nobody]"), "spec.rules[3].filters[0]: header \"X-A\": %[nobody]"},
        {"true", RULE("Host", "%[src]"), "Host cannot"},
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_json *route = NULL, *rule = NULL;
        sp_str text = sp_arena_printf(a,
                                      "{\"metadata\":{\"annotations\":{\"sampan.dev/"
                                      "request-header-variables\":\"%s\"}}}",
                                      rows[i].annotation);
        assert_true(sp_json_parse(a, text, &route, NULL));
        assert_true(sp_json_parse(a, sp_str_z(rows[i].rule), &rule, NULL));
        sp_str fault = sp_http_rule_fault(a, SP_ROUTE_HTTP, route, rule, 3);
        if (rows[i].says[0] ? sp_str_find(fault, sp_str_z(rows[i].says)) < 0 : fault.n > 0)
            fail_msg("row %zu: %.*s", i, SP_ARG(fault));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_filled_in),
        cmocka_unit_test(others_are_named),
        cmocka_unit_test(what_a_value_looks_at),
        cmocka_unit_test(routes_ask_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
