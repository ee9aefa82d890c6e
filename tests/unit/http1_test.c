#include "net/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct parsed {
    sp_buf text;
    sp_h1_head head;
    sp_h1_error err;
    size_t n;
    bool ok;
} parsed;

/* Feeds the bytes in steps, as a socket would. */
static void parse(const char *text, size_t step, bool response, bool to_head, parsed *p) {
    *p = (parsed){0};
    sp_buf_addz(&p->text, text);
    sp_h1_scan scan = {0};
    sp_h1_result r = SP_H1_MORE;
    for (size_t n = step; r == SP_H1_MORE; n += step) {
        n = SP_MIN(n, p->text.n);
        r = sp_h1_scan_head(&scan, (sp_str){p->text.p, n}, response, &p->n, &p->err);
        if (n == p->text.n) break;
    }
    p->ok = r == SP_H1_OK &&
            (response ? sp_h1_parse_response(p->text.p, p->n, to_head, false, &p->head, &p->err)
                      : sp_h1_parse_request(p->text.p, p->n, &p->head, &p->err));
}

static void done(parsed *p) {
    sp_buf_free(&p->text);
    sp_vec_free(&p->head.headers);
}

static void a_request_is_read_in_any_pieces(void **state) {
    (void)state;
    static const char text[] =
        "POST /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nContent-Type:  text/plain \r\n"
        "X-Empty:\r\nContent-Length: 12\r\n\r\nrest";
    for (size_t step = 1; step < sizeof text; step++) {
        parsed p;
        parse(text, step, false, false, &p);
        assert_true(p.ok);
        assert_int_equal(p.n, strlen(text) - 4);
        assert_true(sp_str_eqz(p.head.method, "POST") && sp_str_eqz(p.head.target, "/a/b?c=d"));
        sp_str type = sp_headers_get(p.head.headers.p, p.head.headers.n, "content-type");
        assert_true(sp_str_eqz(type, "text/plain"));
        assert_int_equal(p.head.headers.n, 4);
        assert_int_equal(p.head.framing, SP_H1_LENGTH);
        assert_int_equal(p.head.length, 12);
        assert_true(p.head.keep_alive);
        done(&p);
    }
}

#define H "Host: x\r\n"

static void what_could_be_misread_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\nHost: x\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n H: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A : b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H ": b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "nothing\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A: b\x01\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A: b\x7f\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H H "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n" H "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" H "\r\n", 400},
        {"GET /\r\n" H "\r\n", 400},
        {"GET /a#b HTTP/1.1\r\n" H "\r\n", 400},
        {"G@T / HTTP/1.1\r\n" H "\r\n", 400},
        {"GET / HTTP/2.0\r\n" H "\r\n", 505},
        {"GET / http/1.1\r\n" H "\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 1, 2\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 501},
        {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 400},
        {"\x16\x03\x01", 400},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        parsed p;
        parse(cases[i].text, i % 2 ? 1 : 1000, false, false, &p);
        if (p.ok || p.err.status != cases[i].status)
            print_error("case %zu: %s\n", i, cases[i].text);
        assert_false(p.ok);
        assert_int_equal(p.err.status, cases[i].status);
        assert_non_null(p.err.text);
        done(&p);
    }
}

static void what_is_odd_but_clear_is_taken(void **state) {
    (void)state;
    static const char *const cases[] = {
        "\r\nGET / HTTP/1.1\r\n" H "\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n" H "\r\n",
        "GET http://h/p HTTP/1.1\r\n" H "\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "X: \xc3\xa9\tz\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n",
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        parsed p;
        parse(cases[i], 1, false, false, &p);
        if (!p.ok) print_error("case %zu: %s\n", i, p.err.text);
        assert_true(p.ok);
        done(&p);
    }
}

static void long_heads_have_their_own_answers(void **state) {
    (void)state;
    sp_auto(sp_buf) b = {0};
    parsed p;
    sp_buf_addz(&b, "GET /");
    while (b.n < SP_H1_MAX_LINE + 10) sp_buf_addc(&b, 'a');
    parse(b.p, 1000, false, false, &p);
    assert_int_equal(p.err.status, 414);
    done(&p);
    sp_buf_clear(&b);
    sp_buf_addz(&b, "GET / HTTP/1.1\r\nHost: x\r\n");
    while (b.n < SP_H1_MAX_HEAD + 10)
        sp_buf_addz(&b, "A: 0123456789012345678901234567890123456789\r\n");
    parse(b.p, 1000, false, false, &p);
    assert_int_equal(p.err.status, 431);
    done(&p);
    sp_buf_clear(&b);
    sp_buf_addz(&b, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < SP_H1_MAX_FIELDS; i++) sp_buf_addz(&b, "A: b\r\n");
    sp_buf_addz(&b, "\r\n");
    parse(b.p, 1000, false, false, &p);
    assert_int_equal(p.err.status, 431);
    done(&p);
}

static void responses_say_how_they_end(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool to_head, keep_alive;
        int framing;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, true, SP_H1_LENGTH},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, true, SP_H1_NO_BODY},
        {"HTTP/1.1 200\r\n\r\n", false, false, -1},
        {"HTTP/1.1 200 \r\n\r\n", false, false, SP_H1_UNTIL_CLOSE},
        {"HTTP/1.1 204 No Content\r\n\r\n", false, true, SP_H1_NO_BODY},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, true, SP_H1_NO_BODY},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, true, SP_H1_CHUNKED},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false, false, SP_H1_LENGTH},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", false, true,
         SP_H1_LENGTH},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", false, false,
         SP_H1_LENGTH},
        {"HTTP/1.1 2x0 OK\r\n\r\n", false, false, -1},
        {"ICY 200 OK\r\n\r\n", false, false, -1},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        parsed p;
        parse(cases[i].text, 3, true, cases[i].to_head, &p);
        bool want = cases[i].framing >= 0 || i == 2; /* a missing reason is common: taken */
        if (p.ok != want) print_error("case %zu: %s\n", i, cases[i].text);
        assert_int_equal(p.ok, want);
        if (p.ok && cases[i].framing >= 0) {
            assert_int_equal(p.head.framing, cases[i].framing);
            assert_int_equal(p.head.keep_alive, cases[i].keep_alive);
        }
        done(&p);
    }
}

/* Everything the decoder hands out, then '|' and what follows the body; "!" when it is broken. */
static void decode(const char *text, size_t step, sp_buf *out) {
    sp_h1_head head = {.framing = SP_H1_CHUNKED};
    sp_h1_body b;
    sp_h1_body_start(&b, &head);
    sp_str all = sp_str_z(text);
    for (size_t at = 0; at < all.n; at += step) {
        sp_str piece, in = sp_str_sub(all, at, step);
        sp_h1_error err;
        for (;;) {
            sp_h1_piece r = sp_h1_body_next(&b, &in, &piece, &err);
            if (r == SP_H1_NEED) break;
            if (r == SP_H1_DATA) {
                sp_buf_add(out, piece);
                continue;
            }
            if (r == SP_H1_BROKEN) {
                sp_buf_addz(out, "!");
                return;
            }
            sp_buf_addz(out, "|");
            sp_buf_add(out, in);
            sp_buf_add(out, sp_str_from(all, at + step));
            return;
        }
    }
    sp_buf_addz(out, "…");
}

static void chunks_are_read_in_any_pieces(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"3\r\nabc\r\n0\r\n\r\nnext", "abc|next"},
        {"3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\nU: w\r\n\r\n", "abc0123456789|"},
        {"003\r\nabc\r\n0\r\n\r\n", "abc|"},
        {"3\r\nabc", "abc…"},
        {"3\nabc\r\n0\r\n\r\n", "!"},
        {"3\r\nabcd\r\n0\r\n\r\n", "abc!"},
        {"\r\n", "!"},
        {"-3\r\nabc", "!"},
        {"0x3\r\nabc", "!"},
        {"3 \x01\r\nabc", "!"},
        {"fffffffffffffffff\r\n", "!"},
        {"0\r\n T: v\r\n\r\n", "!"},
        {"0\r\nT\r\n\r\n", "!"},
        {"0\r\nT: v\n\r\n", "!"},
        {"0\r\n: v\r\n\r\n", "!"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        for (size_t step = 1; step < 40; step++) {
            sp_auto(sp_buf) b = {0};
            decode(cases[i].in, step, &b);
            assert_string_equal(sp_buf_z(&b), cases[i].out);
        }
    }
}

static void a_field_cannot_split_the_message(void **state) {
    (void)state;
    sp_auto(sp_buf) b = {0};
    assert_false(sp_h1_add_field(&b, SP_STR("a"), SP_STR("b\r\nc: d")));
    assert_false(sp_h1_add_field(&b, SP_STR("a b"), SP_STR("c")));
    assert_int_equal(b.n, 0);
    assert_true(sp_h1_add_field(&b, SP_STR("a"), SP_STR("b")));
    assert_string_equal(b.p, "a: b\r\n");
}

static void urls_are_taken_apart(void **state) {
    (void)state;
    sp_url u;
    sp_err err;
    assert_true(sp_url_parse(SP_STR("https://example.com:8443/a?b#c"), &u, &err));
    assert_true(u.tls && u.port == 8443 && sp_str_eqz(u.host, "example.com") &&
                sp_str_eqz(u.target, "/a?b"));
    assert_true(sp_url_parse(SP_STR("http://[::1]:81"), &u, &err));
    assert_true(!u.tls && u.port == 81 && sp_str_eqz(u.host, "::1") && sp_str_eqz(u.target, "/"));
    assert_true(sp_url_parse(SP_STR("http://h"), &u, &err) && u.port == 80);
    static const char *const broken[] = {
        "ftp://h/",        "h:80",        "http://",      "http://h:0/",
        "http://h:99999/", "http://u@h/", "http://[::1/", "http://[::1]x/"};
    for (size_t i = 0; i < SP_COUNT(broken); i++) {
        err = (sp_err){0};
        assert_false(sp_url_parse(sp_str_z(broken[i]), &u, &err));
        assert_true(err.code == SP_BAD_REQUEST && err.text[0]);
    }
}

static void queries_are_decoded(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str v;
    sp_str q = SP_STR("a=1&b&c=x%3Dy+z&%64=4&e=%zz&f=%4");
    assert_true(sp_query_get(a, q, "a", &v) && sp_str_eqz(v, "1"));
    assert_true(sp_query_get(a, q, "b", &v) && v.n == 0);
    assert_true(sp_query_get(a, q, "c", &v) && sp_str_eqz(v, "x=y z"));
    assert_true(sp_query_get(a, q, "d", &v) && sp_str_eqz(v, "4"));
    assert_false(sp_query_get(a, q, "e", &v));
    assert_false(sp_query_get(a, q, "f", &v));
    assert_false(sp_query_get(a, q, "g", &v));
    assert_true(sp_url_decode(a, SP_STR("%41"), false, &v) && sp_str_eqz(v, "A"));
    sp_auto(sp_buf) b = {0};
    sp_url_encode(&b, SP_STR("a b/é"));
    assert_string_equal(b.p, "a%20b%2F%C3%A9");
    char date[30];
    sp_http_date(784111777000, date);
    assert_string_equal(date, "Sun, 06 Nov 1994 08:49:37 GMT");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_in_any_pieces),
        cmocka_unit_test(what_could_be_misread_is_refused),
        cmocka_unit_test(what_is_odd_but_clear_is_taken),
        cmocka_unit_test(long_heads_have_their_own_answers),
        cmocka_unit_test(responses_say_how_they_end),
        cmocka_unit_test(chunks_are_read_in_any_pieces),
        cmocka_unit_test(a_field_cannot_split_the_message),
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(queries_are_decoded),
    };
    return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}
