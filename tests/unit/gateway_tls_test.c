/* Ending TLS at the gateway: certificates by name, versions, resumption, client certificates, ends
 * and cuts, and what hostile clients try. */
#include "gateway_story_bulk.h"
#include "gateway_story_tls.h"

enum { BULK = 3 << 20 };

/* --- ending TLS --- */

static void http_inside(void) {
    int l = serve();
    tls c = hello(DOOR, "web.test");
    CHECK(!strcmp(common_name(&c), "web.test"));
    tls_say(&c, GET);
    int s = take(l);
    CHECK(strstr(hear_head(s), "x-forwarded-proto: https\r\n"));
    say(s, OK2);
    tls_hear(&c, OK2_OUT);
    tls_say(&c, GET GET); /* kept, and pipelined in one record */
    hear_head(s);
    say(s, OK2);
    hear_head(s);
    say(s, OK2);
    tls_hear(&c, OK2_OUT OK2_OUT);
    in_loop(read_stats);
    CHECK(story.stats.tls_handshakes == 1 && story.stats.requests == 3);
    drop(&c);
    close(s);
    close(l);
}

/* The certificate by name, and of two for one name the one that the client can use. */
static void certificates_by_name(void) {
    static const struct {
        const char *sni, *want, *algorithms;
    } cases[] = {
        {"web.test", "web.test", NULL},
        {"WEB.test", "web.test", NULL},
        {"web.test", "rsa", "RSA-PSS+SHA256:RSA+SHA256"},
        {"a.wild.test", "*.wild.test", NULL},
        {"tcp.test", "tcp.test", NULL},
    };
    int l = serve();
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        tls c = new_client(cases[i].sni, dial(DOOR));
        if (cases[i].algorithms) SSL_set1_sigalgs_list(c.ssl, cases[i].algorithms);
        CHECK(SSL_connect(c.ssl) == 1);
        CHECK(!strcmp(common_name(&c), cases[i].want));
        drop(&c);
    }
    close(l);
}

static void unknown_names_are_refused(void) {
    int l = serve();
    tls c = new_client("nobody.test", dial(DOOR)), d = new_client(NULL, dial(DOOR)),
        e = new_client("wild.test", dial(DOOR));
    hear_alert(&c, SSL_AD_UNRECOGNIZED_NAME);
    hear_alert(&d, SSL_AD_UNRECOGNIZED_NAME);
    hear_alert(&e, SSL_AD_UNRECOGNIZED_NAME);
    close(l);
}

static void versions(void) {
    int l = serve();
    tls c = new_client("modern.test", dial(DOOR));
    SSL_set_max_proto_version(c.ssl, TLS1_2_VERSION);
    hear_alert(&c, SSL_AD_PROTOCOL_VERSION);
    c = new_client("web.test", dial(DOOR));
    SSL_set_max_proto_version(c.ssl, TLS1_2_VERSION);
    CHECK(SSL_connect(c.ssl) == 1 && SSL_version(c.ssl) == TLS1_2_VERSION);
    tls_say(&c, GET);
    int s = take(l);
    hear_head(s);
    say(s, OK2);
    tls_hear(&c, OK2_OUT);
    drop(&c);
    close(s);
    close(l);
}

static void alpn(void) {
    int l = serve();
    const unsigned char *p;
    unsigned n;
    tls c = new_client("web.test", dial(DOOR));
    SSL_set_alpn_protos(c.ssl, (const unsigned char *)"\x08http/1.1", 9);
    CHECK(SSL_connect(c.ssl) == 1);
    SSL_get0_alpn_selected(c.ssl, &p, &n);
    CHECK(n == 8 && !memcmp(p, "http/1.1", 8));
    drop(&c);
    c = new_client("web.test", dial(DOOR));
    SSL_set_alpn_protos(c.ssl, (const unsigned char *)"\x05smtpx", 6);
    hear_alert(&c, SSL_AD_NO_APPLICATION_PROTOCOL);
    close(l);
}

static void staple_is_sent(void) {
    int l = serve();
    const unsigned char *p = NULL;
    tls c = new_client("web.test", dial(DOOR));
    SSL_set_tlsext_status_type(c.ssl, TLSEXT_STATUSTYPE_ocsp);
    CHECK(SSL_connect(c.ssl) == 1);
    CHECK(SSL_get_tlsext_status_ocsp_resp(c.ssl, &p) == 5 && !memcmp(p, "\x30\x03\x0a\x01\x06", 5));
    drop(&c);
    close(l);
}

static void one_resumption(int version, bool want) {
    tls c = new_client(want ? "web.test" : "must.test", dial(DOOR));
    if (!want) use_cert(c.ctx, &pki.client);
    SSL_free(c.ssl);
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, c.fd);
    SSL_set_tlsext_host_name(c.ssl, want ? "web.test" : "must.test");
    SSL_set_max_proto_version(c.ssl, version);
    CHECK(SSL_connect(c.ssl) == 1);
    tls_say(&c, "GET /x HTTP/1.0\r\n\r\n"); /* its answer comes after the ticket */
    char b[1024];
    while (SSL_read(c.ssl, b, sizeof b) > 0) continue;
    SSL_SESSION *session = SSL_get1_session(c.ssl);
    tls d = new_client(want ? "web.test" : "must.test", dial(DOOR));
    if (!want) use_cert(d.ctx, &pki.client);
    SSL_set_max_proto_version(d.ssl, version);
    SSL_set_session(d.ssl, session);
    int ok = SSL_connect(d.ssl);
    CHECK(!want || ok == 1);
    CHECK(SSL_session_reused(d.ssl) == want);
    if (want && version == TLS1_3_VERSION) { /* a ticket is good for once: there is a new one */
        tls_say(&d, "GET /x HTTP/1.0\r\n\r\n");
        while (SSL_read(d.ssl, b, sizeof b) > 0) continue;
        SSL_SESSION *next = SSL_get1_session(d.ssl);
        CHECK(next != session && SSL_SESSION_is_resumable(next));
        SSL_SESSION_free(next);
    }
    SSL_SESSION_free(session);
    drop(&c);
    drop(&d);
}

static void sessions_resume(void) {
    int l = serve();
    close(l); /* the answers are the gateway's own */
    one_resumption(TLS1_3_VERSION, true);
    one_resumption(TLS1_2_VERSION, true);
    one_resumption(TLS1_3_VERSION, false); /* never with client certificates */
    in_loop(read_stats);
    CHECK(story.stats.tls_resumed == 2);
}

static void client_certificates(void) {
    int l = serve();
    tls c = new_client("must.test", dial(DOOR));
    char b;
    CHECK(SSL_connect(c.ssl) != 1 || SSL_read(c.ssl, &b, 1) <= 0); /* 1.3 tells it late */
    drop(&c);
    c = new_client("must.test", dial(DOOR));
    use_cert(c.ctx, &pki.stranger);
    SSL_free(c.ssl);
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, c.fd);
    SSL_set_tlsext_host_name(c.ssl, "must.test");
    CHECK(SSL_connect(c.ssl) != 1 || SSL_read(c.ssl, &b, 1) <= 0);
    drop(&c);
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"must.test", "may.test", "may.test", "may.test"};
        c = new_client(names[i], dial(DOOR));
        SSL_free(c.ssl);
        if (i != 2) use_cert(c.ctx, i < 2 ? &pki.client : &pki.stranger);
        c.ssl = SSL_new(c.ctx);
        SSL_set_fd(c.ssl, c.fd);
        SSL_set_tlsext_host_name(c.ssl, names[i]);
        CHECK(SSL_connect(c.ssl) == 1);
        tls_say(&c, "GET / HTTP/1.1\r\nHost: web.test\r\nX-Forwarded-Client-Cert: forged\r\n\r\n");
        int s = take(l);
        const char *head = hear_head(s);
        CHECK(!strstr(head, "forged"));
        CHECK(!strstr(head, "Subject=\"CN=alice\"") == (i >= 2));
        CHECK(!strstr(head, "x-forwarded-client-cert-error: ") == (i != 3));
        say(s, OK2);
        tls_hear(&c, "HTTP/1.1 200 OK\r\n");
        drop(&c);
        close(s);
    }
    close(l);
}

static void half_close_and_goodbye(void) {
    int l = serve();
    tls c = hello(DOOR, "tcp.test");
    tls_say(&c, "question");
    int s = take(l);
    hear(s, "question");
    SSL_shutdown(c.ssl); /* close_notify: the end of what we say */
    hear_end(s);
    say(s, "answer");
    tls_hear(&c, "answer");
    close(s);
    tls_hear_end(&c);
    drop(&c);
    close(l);
}

static void a_cut_is_not_an_end(void) {
    int l = serve();
    tls c = hello(DOOR, "tcp.test");
    tls_say(&c, "half a");
    int s = take(l);
    hear(s, "half a");
    shutdown(c.fd, SHUT_WR); /* FIN without close_notify */
    hear_reset(s);
    drop(&c);
    close(s);
    close(l);
}

static void *send_bulk(void *arg) {
    return bulk_send(*(int *)arg, BULK) ? NULL : arg;
}

/* Down to a slow reader, then up, more than all buffers hold. */
static void bulk_both_ways(void) {
    int l = serve();
    tls c = hello(DOOR, "tcp.test");
    tls_say(&c, "go");
    int s = take(l);
    hear(s, "go");
    pthread_t sender;
    void *failed = NULL;
    static char got[32 * 1024];
    uint64_t at = 0;
    pthread_create(&sender, NULL, send_bulk, &s);
    for (int n; (n = SSL_read(c.ssl, got, 1000)) > 0;)
        for (int i = 0; i < n; i++) CHECK(got[i] == bulk_at(at++));
    CHECK(at == BULK && SSL_get_shutdown(c.ssl) == SSL_RECEIVED_SHUTDOWN);
    pthread_join(sender, &failed);
    CHECK(!failed);
    at = 0;
    for (int round = 0; round < 64; round++) {
        for (size_t i = 0; i < sizeof got; i++) got[i] = bulk_at(at + i);
        CHECK(SSL_write(c.ssl, got, sizeof got) == sizeof got);
        uint64_t before = at;
        for (ssize_t n; at < before + sizeof got; at += (uint64_t)n) {
            n = recv(s, got, sizeof got, 0);
            CHECK(n > 0);
            for (ssize_t i = 0; i < n; i++) CHECK(got[i] == bulk_at(at + (uint64_t)i));
        }
    }
    SSL_shutdown(c.ssl);
    hear_end(s);
    drop(&c);
    close(s);
    close(l);
}

static void new_certificate_for_new_handshakes(void) {
    int l = serve();
    tls c = hello(DOOR, "web.test");
    X509 *old = SSL_get1_peer_certificate(c.ssl);
    t.web = &pki.web2;
    in_loop(apply_now);
    tls d = hello(DOOR, "web.test");
    CHECK(X509_cmp(old, SSL_get0_peer_certificate(d.ssl)) != 0);
    X509_free(old);
    tls_say(&c, GET); /* the open connection did not notice */
    int s = take(l);
    hear_head(s);
    say(s, OK2);
    tls_hear(&c, OK2_OUT);
    drop(&c);
    drop(&d);
    close(s);
    close(l);
}

/* --- what is not welcome --- */

static void plain_http_is_told(void) {
    int l = serve(), c = dial(DOOR);
    say(c, GET);
    CHECK(strstr(hear_head(c), "HTTP/1.1 400 Bad Request\r\n"));
    hear(c, "this port speaks TLS: the address has to begin with https://\n");
    hear_end(c);
    close(c);
    c = dial(DOOR);
    say(c, "SSH-2.0-x\r\n");
    hear_reset(c);
    close(c);
    close(l);
}

static void broken_hellos(void) {
    int l = serve(), c = dial(DOOR);
    say_n(c, "\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", 10); /* a ServerHello */
    hear_n(c, "\x15\x03\x03\x00\x02\x02\x32", 7);             /* decode_error */
    hear_end(c);
    close(c);
    c = dial(DOOR); /* ends in the middle */
    say_n(c, "\x16\x03\x01\x02\x00\x01", 6);
    shutdown(c, SHUT_WR);
    hear_end(c);
    close(c);
    tls d = hello(DOOR, "tcp.test"); /* garbage inside of a good connection */
    tls_say(&d, "x");
    int s = take(l);
    hear(s, "x");
    char garbage[64];
    memset(garbage, 0x17, sizeof garbage);
    say_n(d.fd, garbage, sizeof garbage);
    hear_reset(s);
    drop(&d);
    close(s);
    close(l);
}

static void renegotiation_is_refused(void) {
    int l = serve();
    tls c = new_client("tcp.test", dial(DOOR));
    SSL_set_max_proto_version(c.ssl, TLS1_2_VERSION);
    CHECK(SSL_connect(c.ssl) == 1);
    int s = take(l);
    SSL_renegotiate(c.ssl);
    CHECK(SSL_do_handshake(c.ssl) != 1);
    drop(&c);
    close(s);
    close(l);
}

static void key_update_flood(void) {
    int l = serve();
    tls c = hello(DOOR, "tcp.test");
    tls_say(&c, "x");
    int s = take(l);
    hear(s, "x");
    for (int i = 0; i < 8; i++) { /* some are fine */
        CHECK(SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
        tls_say(&c, "y");
        hear(s, "y");
        say(s, "z"); /* after our own KeyUpdate, which answers theirs */
        tls_hear(&c, "z");
    }
    bool open = true;
    for (int i = 0; open && i < 10000; i++)
        open = SSL_key_update(c.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
               SSL_do_handshake(c.ssl) == 1;
    hear_reset(s);
    drop(&c);
    close(s);
    close(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(http_inside),
        STORY(certificates_by_name),
        STORY(unknown_names_are_refused),
        STORY(versions),
        STORY(alpn),
        STORY(staple_is_sent),
        STORY(sessions_resume),
        STORY(client_certificates),
        STORY(half_close_and_goodbye),
        STORY(a_cut_is_not_an_end),
        STORY(bulk_both_ways),
        STORY(new_certificate_for_new_handshakes),
        STORY(plain_http_is_told),
        STORY(broken_hellos),
        STORY(renegotiation_is_refused),
        STORY(key_update_flood),
    };
    return cmocka_run_group_tests_name("gateway_tls", tests, make_pki, free_pki);
}
