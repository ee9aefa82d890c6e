/* What a hostile client can say behind the handshake to a server that has given its OpenSSL object
 * back (net/tls_io, lightened). The client is OpenSSL up to there; then its secret makes records
 * that OpenSSL would never send. Whatever breaks the rules ends the connection with the alert of
 * RFC 8446, and delivers nothing. */
#include "net/tls_io.h"
#include "net/tls_record.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { CLOSE_NOTIFY = 0, UNEXPECTED = 10, BAD_MAC = 20, OVERFLOW = 22, NONE = -1 };

typedef struct world {
    sp_buf ca, ca_key, cert, key;
    sp_tls_ctx *ctx;
} world;

static int make_world(void **state) {
    world *w = sp_zalloc(1, sizeof *w);
    const char *names[] = {"a.test", NULL};
    sp_cert_request r = {
        .common_name = "a.test", .dns_names = names, .server = true, .life_s = 2 * SP_DAY_S};
    sp_assert(sp_cert_make_ca("ca", 2 * SP_DAY_S, &w->ca, &w->ca_key, NULL));
    sp_assert(
        sp_cert_issue(sp_buf_str(&w->ca), sp_buf_str(&w->ca_key), &r, &w->cert, &w->key, NULL));
    sp_tls_config c = {.cert_pem = sp_buf_str(&w->cert),
                       .key_pem = sp_buf_str(&w->key),
                       .server = true,
                       .resume = true,
                       .light = true};
    sp_assert(sp_tls_ctx_new(&c, &w->ctx, NULL));
    *state = w;
    return 0;
}

static int free_world(void **state) {
    world *w = *state;
    sp_buf *all[] = {&w->ca, &w->ca_key, &w->cert, &w->key};
    for (size_t i = 0; i < SP_COUNT(all); i++) sp_buf_free(all[i]);
    sp_tls_ctx_unref(w->ctx);
    free(w);
    return 0;
}

/* One connection behind its handshake. forge seals as the client and opens what the server says. */
typedef struct link {
    SSL_CTX *client_ctx;
    SSL *client;
    BIO *to_client, *from_client;
    sp_tls_io *server;
    sp_buf wire; /* from the server */
    sp_tls_record *forge;
    char lines[2][300];
} link;

static link *of_callback;

static void on_line(const SSL *ssl, const char *line) {
    (void)ssl;
    bool client = !strncmp(line, "CLIENT_TRAFFIC_SECRET_0", 23);
    if (client || !strncmp(line, "SERVER_TRAFFIC_SECRET_0", 23))
        snprintf(of_callback->lines[client], sizeof of_callback->lines[0], "%s", line);
}

static size_t secret_of(const char *line, uint8_t ret[64]) {
    size_t n = 0;
    unsigned v;
    for (const char *p = strrchr(line, ' ') + 1; sscanf(p, "%2x", &v) == 1; p += 2)
        ret[n++] = (uint8_t)v;
    return n;
}

/* What the client has to say goes to the server. */
static sp_tls_result carry_in(link *l, sp_tls_result (*read)(link *)) {
    char bytes[65536];
    int n = BIO_read(l->from_client, bytes, sizeof bytes);
    sp_tls_io_feed(l->server, (sp_str){bytes, (size_t)SP_MAX(n, 0)});
    sp_tls_result r = read(l);
    assert_int_equal(sp_tls_io_unread(l->server).n, 0);
    sp_tls_io_feed(l->server, (sp_str){0});
    return r;
}

static void carry_out(link *l) {
    if (l->wire.n) assert_int_equal(BIO_write(l->to_client, l->wire.p, (int)l->wire.n), l->wire.n);
    sp_buf_clear(&l->wire);
}

static sp_tls_result shake(link *l) {
    return sp_tls_io_handshake(l->server, NULL);
}

static void open_link(world *w, link *l, const char *suite) {
    *l = (link){.client_ctx = SSL_CTX_new(TLS_client_method())};
    of_callback = l;
    SSL_CTX_set_ciphersuites(l->client_ctx, suite);
    SSL_CTX_set_keylog_callback(l->client_ctx, on_line);
    l->client = SSL_new(l->client_ctx);
    l->to_client = BIO_new(BIO_s_mem());
    l->from_client = BIO_new(BIO_s_mem());
    SSL_set_bio(l->client, l->to_client, l->from_client);
    SSL_set_connect_state(l->client);
    l->server = sp_tls_io_new(w->ctx, true, NULL, &l->wire);
    sp_tls_result r;
    do {
        SSL_do_handshake(l->client);
        r = carry_in(l, shake);
        carry_out(l);
    } while (r == SP_TLS_MORE);
    assert_int_equal(r, SP_TLS_OK);
    sp_tls_io_lighten(l->server);
    uint8_t client[64], server[64];
    size_t n = secret_of(l->lines[1], client);
    assert_int_equal(secret_of(l->lines[0], server), n);
    unsigned id = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(l->client));
    l->forge = sp_tls_record_new(id, server, client, n, 0);
    assert_non_null(l->forge);
}

static void close_link(link *l) {
    SSL_free(l->client);
    SSL_CTX_free(l->client_ctx);
    sp_tls_io_free(l->server);
    sp_buf_free(&l->wire);
    sp_tls_record_free(l->forge);
}

static sp_tls_result read_all(link *l, sp_str bytes, sp_buf *ret) {
    char to[SP_RECORD_PLAIN_MAX + 256];
    sp_tls_result r;
    size_t n = 0;
    sp_tls_io_feed(l->server, bytes);
    while ((r = sp_tls_io_read(l->server, to, sizeof to, &n, NULL)) == SP_TLS_OK) {
        sp_buf_add(ret, (sp_str){to, n});
        n = 0;
    }
    assert_int_equal(n, 0);
    return r;
}

/* The server's last words as the client's OpenSSL understands them; NONE when there are none. */
static int alert_heard(link *l) {
    char c;
    carry_out(l);
    int rc = SSL_read(l->client, &c, 1), e = SSL_get_error(l->client, rc);
    if (e == SSL_ERROR_ZERO_RETURN) return CLOSE_NOTIFY;
    if (e != SSL_ERROR_SSL) return NONE;
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    return ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET;
}

static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                     "TLS_CHACHA20_POLY1305_SHA256"};

/* --- records --- */

static void expect(link *l, sp_str bytes, int alert) {
    sp_auto(sp_buf) got = {0};
    assert_int_equal(read_all(l, bytes, &got), SP_TLS_FAILED);
    assert_int_equal(got.n, 0);
    assert_int_equal(alert_heard(l), alert);
}

static void records_that_were_touched(void **state) {
    for (size_t s = 0; s < SP_COUNT(suites); s++) {
        for (int how = 0; how < 7; how++) {
            link l;
            open_link(*state, &l, suites[s]);
            sp_auto(sp_buf) one = {0}, two = {0}, bytes = {0};
            assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("GET /one"), &one));
            assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("GET /two"), &two));
            int alert = BAD_MAC;
            switch (how) {
            case 0: one.p[5] ^= 1; break;         /* the text */
            case 1: one.p[one.n - 1] ^= 1; break; /* the tag */
            case 2: one.p[4]--; break;            /* the length, which is authenticated, too */
            case 3: sp_buf_clear(&one); break;    /* left out: the second comes first */
            case 4: one.p[0] = SP_RECORD_ALERT, alert = UNEXPECTED; break;
            case 5: one.p[3] = 0x40, one.p[4] = 0x12, alert = OVERFLOW; break;
            case 6: one.n = 5, one.p[3] = one.p[4] = 0; break;
            }
            sp_buf_add(&bytes, sp_buf_str(&one));
            sp_buf_add(&bytes, sp_buf_str(&two));
            expect(&l, sp_buf_str(&bytes), alert);
            close_link(&l);
        }
    }
}

static void a_replay_comes_to_nothing(void **state) {
    for (size_t s = 0; s < SP_COUNT(suites); s++) {
        link l;
        open_link(*state, &l, suites[s]);
        sp_auto(sp_buf) one = {0}, got = {0};
        assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("POST /pay"), &one));
        assert_int_equal(read_all(&l, sp_buf_str(&one), &got), SP_TLS_MORE);
        assert_true(sp_str_eq(sp_buf_str(&got), SP_STR("POST /pay")));
        expect(&l, sp_buf_str(&one), BAD_MAC);
        close_link(&l);
    }
}

static void half_a_record_is_awaited(void **state) {
    link l;
    open_link(*state, &l, suites[0]);
    sp_auto(sp_buf) one = {0}, got = {0};
    assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("whole"), &one));
    for (size_t i = 0; i < one.n; i++) {
        assert_int_equal(read_all(&l, sp_str_sub(sp_buf_str(&one), 0, i), &got), SP_TLS_MORE);
        assert_int_equal(got.n, 0);
        assert_int_equal(sp_tls_io_unread(l.server).n, i);
    }
    assert_int_equal(read_all(&l, sp_buf_str(&one), &got), SP_TLS_MORE);
    assert_true(sp_str_eq(sp_buf_str(&got), SP_STR("whole")));
    close_link(&l);
}

/* --- what is in them --- */

static void messages_that_may_not_come(void **state) {
    static const struct {
        uint8_t type;
        const char *bytes;
        size_t n;
        int alert;
    } list[] = {
        {SP_RECORD_HANDSHAKE, "", 0, UNEXPECTED},                          /* 5.1: never empty */
        {SP_RECORD_HANDSHAKE, "\x18\0\0\1\2", 5, UNEXPECTED},              /* KeyUpdate(2) */
        {SP_RECORD_HANDSHAKE, "\x18\0\0\1", 4, UNEXPECTED},                /* half of one */
        {SP_RECORD_HANDSHAKE, "\x18\0\0\1\0\x18\0\0\1\0", 10, UNEXPECTED}, /* across a key change */
        {SP_RECORD_HANDSHAKE, "\4\0\0\0", 4, UNEXPECTED}, /* NewSessionTicket to a server */
        {SP_RECORD_HANDSHAKE, "\1\0\0\0", 4, UNEXPECTED}, /* ClientHello: renegotiation */
        {SP_RECORD_HANDSHAKE, "\x0b\0\0\4\0\0\0\0", 8, UNEXPECTED}, /* Certificate, unasked */
        {SP_RECORD_HANDSHAKE, "\x14\0\0\0", 4, UNEXPECTED},         /* Finished again */
        {SP_RECORD_HANDSHAKE, "\5\0\0\0", 4, UNEXPECTED},           /* EndOfEarlyData */
        {SP_RECORD_ALERT, "", 0, UNEXPECTED},
        {SP_RECORD_ALERT, "\1", 1, UNEXPECTED},
        {SP_RECORD_ALERT, "\1\0\1\0", 4, UNEXPECTED},
        {SP_RECORD_ALERT, "\2\x28", 2, NONE}, /* the client gives up: nothing to say */
        {SP_RECORD_ALERT, "\1\x64", 2, NONE}, /* every other alert is one of error (6) */
        {20, "\1", 1, UNEXPECTED},            /* change_cipher_spec in disguise */
        {24, "\1\0\1", 3, UNEXPECTED},        /* heartbeat */
        {255, "x", 1, UNEXPECTED},
        {0, "\0\0\0", 3, UNEXPECTED}, /* padding and nothing else */
    };
    for (size_t i = 0; i < SP_COUNT(list); i++) {
        link l;
        open_link(*state, &l, suites[i % SP_COUNT(suites)]);
        sp_auto(sp_buf) bytes = {0};
        assert_true(
            sp_tls_record_seal(l.forge, list[i].type, (sp_str){list[i].bytes, list[i].n}, &bytes));
        assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("GET /"), &bytes));
        expect(&l, sp_buf_str(&bytes), list[i].alert);
        close_link(&l);
    }
}

static void nothing_is_heard_behind_goodbye(void **state) {
    link l;
    open_link(*state, &l, suites[0]);
    sp_auto(sp_buf) bytes = {0}, got = {0};
    assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("last"), &bytes));
    assert_true(sp_tls_record_seal(l.forge, SP_RECORD_ALERT, SP_STR("\1\0"), &bytes));
    assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("GET /"), &bytes));
    assert_int_equal(read_all(&l, sp_buf_str(&bytes), &got), SP_TLS_CLOSED);
    assert_true(sp_str_eq(sp_buf_str(&got), SP_STR("last")));
    sp_tls_io_goodbye(l.server);
    sp_tls_io_goodbye(l.server);
    assert_int_equal(alert_heard(&l), CLOSE_NOTIFY);
    close_link(&l);
}

/* --- keys --- */

/* A client that asks for new keys with every byte and reads nothing: our answers must not pile up
 * (4.6.3 allows one for all of them). */
static void key_updates_do_not_fill_our_memory(void **state) {
    for (size_t s = 0; s < SP_COUNT(suites); s++) {
        link l;
        open_link(*state, &l, suites[s]);
        sp_auto(sp_buf) bytes = {0}, got = {0};
        for (int i = 0; i < 2000; i++) {
            assert_true(sp_tls_record_next_write(l.forge, true, &bytes));
            assert_true(sp_tls_record_seal(l.forge, SP_RECORD_DATA, SP_STR("x"), &bytes));
        }
        assert_int_equal(read_all(&l, sp_buf_str(&bytes), &got), SP_TLS_MORE);
        assert_int_equal(got.n, 2000);
        assert_int_equal(l.wire.n, 0);
        assert_true(sp_tls_io_write(l.server, SP_STR("under new keys"), NULL));
        assert_true(sp_tls_io_write(l.server, SP_STR(", once"), NULL));
        carry_out(&l);
        char to[64];
        assert_int_equal(SSL_read(l.client, to, 14), 14);
        assert_int_equal(SSL_read(l.client, to + 14, 50), 6);
        assert_memory_equal(to, "under new keys, once", 20);
        close_link(&l);
    }
}

static void key_updates_without_data_end_it(void **state) {
    link l;
    open_link(*state, &l, suites[1]);
    sp_auto(sp_buf) bytes = {0};
    for (int i = 0; i < 100; i++) assert_true(sp_tls_record_next_write(l.forge, i & 1, &bytes));
    sp_auto(sp_buf) got = {0};
    assert_int_equal(read_all(&l, sp_buf_str(&bytes), &got), SP_TLS_FAILED);
    assert_int_equal(alert_heard(&l), UNEXPECTED);
    close_link(&l);
}

/* OpenSSL itself asks, and is asked, in turn. */
static void key_updates_of_openssl(void **state) {
    for (size_t s = 0; s < SP_COUNT(suites); s++) {
        link l;
        open_link(*state, &l, suites[s]);
        for (int i = 0; i < 40; i++) {
            char to[64], bytes[1024];
            sp_auto(sp_buf) got = {0};
            SSL_key_update(l.client,
                           i & 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
            assert_int_equal(SSL_write(l.client, "ping", 4), 4);
            int n = BIO_read(l.from_client, bytes, sizeof bytes);
            assert_int_equal(read_all(&l, (sp_str){bytes, (size_t)n}, &got), SP_TLS_MORE);
            assert_true(sp_str_eq(sp_buf_str(&got), SP_STR("ping")));
            assert_true(sp_tls_io_write(l.server, SP_STR("pong"), NULL));
            carry_out(&l);
            assert_int_equal(SSL_read(l.client, to, sizeof to), 4);
        }
        close_link(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_that_were_touched),
        cmocka_unit_test(a_replay_comes_to_nothing),
        cmocka_unit_test(half_a_record_is_awaited),
        cmocka_unit_test(messages_that_may_not_come),
        cmocka_unit_test(nothing_is_heard_behind_goodbye),
        cmocka_unit_test(key_updates_do_not_fill_our_memory),
        cmocka_unit_test(key_updates_without_data_end_it),
        cmocka_unit_test(key_updates_of_openssl),
    };
    return cmocka_run_group_tests_name("tls_light", tests, make_world, free_world);
}
