/* TLS that is passed through, TLS to endpoints, and PROXY headers both ways. */
#include "gateway_story_tls.h"

/* --- passing through --- */

static void passed_through(void) {
    int l = serve();
    tls c = new_client("pass.test", dial(DOOR));
    CHECK(SSL_set_mode(c.ssl, 0) || true);
    pthread_t client;
    void *(*connect_it)(void *) = (void *(*)(void *))(void (*)(void))SSL_connect;
    pthread_create(&client, NULL, connect_it, c.ssl);
    int fd = take(l);
    tls s = new_server(fd, &pki.stranger, false); /* the server's own certificate arrives */
    CHECK(SSL_accept(s.ssl) == 1);
    pthread_join(client, NULL);
    CHECK(!strcmp(common_name(&c), "mallory"));
    tls_say(&c, "ping");
    tls_hear(&s, "ping");
    tls_say(&s, "pong");
    tls_hear(&c, "pong");
    drop(&c);
    drop(&s);
    close(l);
}

/* The name is found however the bytes come. */
static void hello_byte_by_byte(void) {
    int l = serve();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *out = BIO_new(BIO_s_mem()), *in = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_tlsext_host_name(ssl, "pass.test");
    SSL_connect(ssl);
    char *p;
    size_t n = (size_t)BIO_get_mem_data(out, &p);
    int c = dial(DOOR), one = 1;
    setsockopt(c, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
    for (size_t i = 0; i < n; i++) say_n(c, p + i, 1);
    int s = take(l);
    hear_n(s, p, n);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(c);
    close(s);
    close(l);
}

/* --- PROXY headers --- */

static void proxy_header_in(void) {
    int l = serve(), c = dial(PROXIED), s;
    say(c, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\nhello");
    s = take(l);
    hear(s, "hello");
    close(s);
    close(c);
    c = dial(PROXIED);
    say_n(c, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0after", 21); /* LOCAL */
    s = take(l);
    hear(s, "after");
    close(s);
    close(c);
    c = dial(PROXIED);
    say(c, "PROXY TCP4 192.0.2.66 192.0.2.2 1000 2000\r\nhello"); /* denied */
    hear_reset(c);
    close(c);
    c = dial(PROXIED);
    say(c, "hello"); /* required */
    hear_reset(c);
    close(c);
    in_loop(read_stats);
    CHECK(story.stats.proxy_refused == 1 && story.stats.turned_away == 1);
    close(l);
}

static void proxy_header_before_tls(void) {
    int l = serve(), fd = dial(PROXIED_DOOR);
    say(fd, "PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\n");
    tls c = new_client("web.test", fd);
    CHECK(SSL_connect(c.ssl) == 1);
    tls_say(&c, GET);
    int s = take(l);
    CHECK(strstr(hear_head(s), "x-forwarded-for: 2001:db8::1\r\n"));
    drop(&c);
    close(s);
    close(l);
}

static uint16_t port_of(int fd) {
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    CHECK(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    return ntohs(in.sin_port);
}

static void proxy_header_out(void) {
    int l = serve(), c = dial(TO_PROXY1);
    char want[200];
    say(c, "hello");
    int s = take(l);
    snprintf(want, sizeof want, "PROXY TCP4 127.0.0.1 127.0.0.%d %u %u\r\nhello", TO_PROXY1 + 1,
             port_of(c), t.port[TO_PROXY1]);
    hear(s, want);
    close(s);
    close(c);
    c = dial(TO_PROXY2);
    s = take(l);
    uint8_t v2[28] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0";
    v2[23] = TO_PROXY2 + 1;
    v2[24] = (uint8_t)(port_of(c) >> 8), v2[25] = (uint8_t)port_of(c);
    v2[26] = (uint8_t)(t.port[TO_PROXY2] >> 8), v2[27] = (uint8_t)t.port[TO_PROXY2];
    hear_n(s, (const char *)v2, sizeof v2);
    close(s);
    close(c);
    close(l);
}

static void eat(int fd, size_t n) {
    char b[256];
    CHECK(recv(fd, b, n, MSG_WAITALL) == (ssize_t)n);
}

/* A kept connection belongs to the client that the header named. */
static void proxied_http_is_not_shared(void) {
    int l = serve(), c = dial(HTTP_TO_PROXY), d = dial(HTTP_TO_PROXY), s = -1, s2;
    for (int i = 0; i < 2; i++) {
        say(c, GET);
        if (s < 0) {
            s = take(l);
            eat(s, 28);
        }
        hear_head(s);
        say(s, OK2);
        hear(c, OK2_OUT);
    }
    say(d, GET);
    s2 = take(l); /* another one */
    eat(s2, 28);
    hear_head(s2);
    say(s2, OK2);
    hear(d, OK2_OUT);
    close(c), close(d), close(s), close(s2), close(l);
}

/* --- TLS to endpoints --- */

static void tls_to_endpoints(void) {
    int l = serve(), c = dial(TO_TLS);
    say(c, "early");
    tls s = new_server(take(l), &pki.web, true);
    CHECK(SSL_accept(s.ssl) == 1);
    CHECK(!strcmp(common_name(&s), "alice")); /* our client certificate */
    tls_hear(&s, "early");
    tls_say(&s, "late");
    hear(c, "late");
    SSL_shutdown(s.ssl);
    hear_end(c);
    drop(&s);
    close(c);
    close(l);
}

static void silent_tunnel_ends(void) {
    int l = serve(), c = dial(QUIET);
    say(c, "hello");
    int s = take(l);
    hear(s, "hello");
    say(s, "hello");
    hear(c, "hello");
    hear_end(c);
    hear_end(s);
    close(c), close(s), close(l);
}

/* An endpoint with a wrong certificate is one that cannot be reached. */
static void bad_endpoint_goes_on_to_the_next(void) {
    int bad = listen_on(&t.servers[0]), good = listen_on(&t.servers[1]);
    t.server_count = 2;
    in_loop(apply_now);
    for (int i = 0; i < 3; i++) {
        int c = dial(HTTP_TO_TLS);
        say(c, GET);
        fd_set set;
        tls s = {.fd = -1};
        for (bool met = false; !met;) {
            FD_ZERO(&set);
            FD_SET(bad, &set);
            FD_SET(good, &set);
            CHECK(select(SP_MAX(bad, good) + 1, &set, NULL, NULL,
                         &(struct timeval){.tv_sec = DEADLINE_S}) > 0);
            met = FD_ISSET(good, &set);
            s = new_server(take(met ? good : bad), met ? &pki.web : &pki.tcp, false);
            CHECK((SSL_accept(s.ssl) == 1) == met);
            if (!met) drop(&s);
        }
        char head[2048] = "";
        CHECK(SSL_read(s.ssl, head, sizeof head - 1) > 0);
        tls_say(&s, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        hear(c, OK2_OUT);
        drop(&s);
        close(c);
    }
    in_loop(read_stats);
    CHECK(story.stats.upstream_tls_failures >= 1);
    close(bad);
    close(good);
}

/* The second connection resumes the session of the first; a kept one survives the tickets. */
static void sessions_with_endpoints(void) {
    int l = serve(), c = dial(TO_TLS);
    SSL_CTX *keep = NULL;
    for (int i = 0; i < 2; i++) {
        say(c, "x");
        tls s = new_server(take(l), &pki.web, false);
        if (keep) {
            SSL_free(s.ssl);
            SSL_CTX_free(s.ctx);
            s.ctx = keep;
            s.ssl = SSL_new(keep);
            SSL_set_fd(s.ssl, s.fd);
        }
        SSL_CTX_set_session_id_context(s.ctx, (const unsigned char *)"x", 1);
        SSL_set_session_id_context(s.ssl, (const unsigned char *)"x", 1);
        CHECK(SSL_accept(s.ssl) == 1);
        CHECK(SSL_session_reused(s.ssl) == i);
        tls_hear(&s, "x");
        tls_say(&s, "y");
        hear(c, "y");
        close(c);
        char b;
        CHECK(SSL_read(s.ssl, &b, 1) <= 0);
        keep = s.ctx;
        SSL_CTX_up_ref(keep);
        drop(&s);
        if (i == 0) c = dial(TO_TLS);
        if (i == 1) SSL_CTX_free(keep);
    }
    close(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(passed_through),
        STORY(hello_byte_by_byte),
        STORY(proxy_header_in),
        STORY(proxy_header_before_tls),
        STORY(proxy_header_out),
        STORY(proxied_http_is_not_shared),
        STORY(tls_to_endpoints),
        STORY(silent_tunnel_ends),
        STORY(bad_endpoint_goes_on_to_the_next),
        STORY(sessions_with_endpoints),
    };
    return cmocka_run_group_tests_name("gateway_tls_through", tests, make_pki, free_pki);
}
