/* TLS, server names and PROXY headers through the data path and real loopback sockets. The worker
 * runs in this thread's loop; each scenario is a straight story in a second thread with blocking
 * sockets and OpenSSL used directly, as client and as server. Nothing sleeps: every step awaits
 * bytes, an end, a reset or an alert. */
#include "gateway/worker.h"
#include "net/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE_S = 10, BULK = 3 << 20 };
enum {
    DOOR,
    PROXIED,
    PROXIED_DOOR,
    TO_PROXY1,
    TO_PROXY2,
    TO_TLS,
    HTTP_TO_TLS,
    HTTP_TO_PROXY,
    QUIET,
    DOORS
};

static struct {
    uv_loop_t loop;
    uv_async_t call;
    sp_worker *worker;
    pthread_mutex_t lock;
    pthread_cond_t done;
    void (*fn)(void);
    bool busy, failed;
    uint16_t port[DOORS];
    uint16_t servers[2]; /* endpoints of every pool */
    size_t server_count;
    sp_worker_stats stats;
    sp_tls_cert *web; /* what "web.test" has now */
} t;

/* Made once; PEM. */
static struct {
    sp_buf ca, ca_key, other_ca, other_ca_key;
    sp_tls_cert web, web2, web_rsa, tcp, wild, first;
    sp_tls_cert client, stranger;
} pki;

#define CHECK(cond)                                                                      \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno); \
            t.failed = true;                                                             \
            pthread_exit(NULL);                                                          \
        }                                                                                \
    } while (0)

/* --- certificates --- */

static sp_tls_cert issue(const sp_buf *ca, const sp_buf *key, const char *name, bool server) {
    sp_buf c = {0}, k = {0};
    const char *names[] = {name, NULL};
    sp_cert_request r = {
        .common_name = name, .dns_names = names, .server = server, .client = !server, .days = 2};
    sp_assert(sp_cert_issue(sp_buf_str(ca), sp_buf_str(key), &r, &c, &k, NULL));
    return (sp_tls_cert){
        .cert_pem = sp_buf_str(&c), .key_pem = sp_buf_str(&k), .source = sp_str_z(name)};
}

/* Self-signed, as no other kind is made by our own code. */
static sp_tls_cert rsa(const char *name) {
    EVP_PKEY *k = EVP_RSA_gen(2048);
    X509 *x = X509_new();
    BIO *bx = BIO_new(BIO_s_mem()), *bk = BIO_new(BIO_s_mem());
    char alt[100], *p;
    X509V3_CTX ctx;
    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), -100);
    X509_gmtime_adj(X509_getm_notAfter(x), 100000);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)"rsa", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, k);
    snprintf(alt, sizeof alt, "DNS:%s", name);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, alt);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    X509_sign(x, k, EVP_sha256());
    PEM_write_bio_X509(bx, x);
    PEM_write_bio_PKCS8PrivateKey(bk, k, NULL, NULL, 0, NULL, NULL);
    size_t n = (size_t)BIO_get_mem_data(bx, &p);
    sp_str cert = {sp_str_dup((sp_str){p, n}), n};
    n = (size_t)BIO_get_mem_data(bk, &p);
    sp_str key = {sp_str_dup((sp_str){p, n}), n};
    BIO_free(bx);
    BIO_free(bk);
    X509_free(x);
    EVP_PKEY_free(k);
    return (sp_tls_cert){.cert_pem = cert, .key_pem = key, .source = SP_STR("rsa")};
}

static int make_pki(void **state) {
    (void)state;
    sp_assert(sp_cert_make_ca("ca", 2, &pki.ca, &pki.ca_key, NULL));
    sp_assert(sp_cert_make_ca("other", 2, &pki.other_ca, &pki.other_ca_key, NULL));
    pki.first = issue(&pki.ca, &pki.ca_key, "first.test", true);
    pki.web = issue(&pki.ca, &pki.ca_key, "web.test", true);
    pki.web2 = issue(&pki.ca, &pki.ca_key, "web.test", true);
    pki.web_rsa = rsa("web.test");
    pki.tcp = issue(&pki.ca, &pki.ca_key, "tcp.test", true);
    pki.wild = issue(&pki.ca, &pki.ca_key, "*.wild.test", true);
    pki.client = issue(&pki.ca, &pki.ca_key, "alice", false);
    pki.stranger = issue(&pki.other_ca, &pki.other_ca_key, "mallory", false);
    pki.web.ocsp_der = SP_STR("\x30\x03\x0a\x01\x06"); /* "unauthorized": carried, not judged */
    return 0;
}

static void free_cert(sp_tls_cert *c) {
    free((char *)(uintptr_t)c->cert_pem.p);
    free((char *)(uintptr_t)c->key_pem.p);
}

static int free_pki(void **state) {
    (void)state;
    sp_tls_cert *all[] = {&pki.web,  &pki.web2,  &pki.web_rsa, &pki.tcp,
                          &pki.wild, &pki.first, &pki.client,  &pki.stranger};
    for (size_t i = 0; i < SP_COUNT(all); i++) free_cert(all[i]);
    sp_buf_free(&pki.ca);
    sp_buf_free(&pki.ca_key);
    sp_buf_free(&pki.other_ca);
    sp_buf_free(&pki.other_ca_key);
    return 0;
}

/* --- the loop's side --- */

static sp_targets to_pool(sp_arena *a, uint32_t pool) {
    sp_route_target *one = SP_NEW(a, sp_route_target);
    *one = (sp_route_target){pool, 1};
    return (sp_targets){one, 1, 1};
}

static sp_tls_spec *tls_spec(sp_arena *a, const sp_tls_cert *c, size_t n) {
    sp_tls_spec *s = SP_NEW(a, sp_tls_spec);
    s->certs = sp_arena_alloc(a, n * sizeof *s->certs);
    memcpy(s->certs, c, n * sizeof *c);
    s->cert_count = n;
    return s;
}

static void add_names(sp_arena *a, sp_listener_spec *l) {
    sp_tls_cert web[] = {pki.first, *t.web, pki.web_rsa};
    sp_inner_spec http = {.http = true}, tcp = {.targets = to_pool(a, 0)};
    sp_tls_spec *required = tls_spec(a, &pki.first, 1), *optional = tls_spec(a, &pki.first, 1),
                *modern = tls_spec(a, &pki.first, 1);
    required->client_ca_pem = optional->client_ca_pem = sp_buf_str(&pki.ca);
    required->client_verify = SP_VERIFY_REQUIRED;
    optional->client_verify = SP_VERIFY_OPTIONAL;
    modern->min_version = 0x0304;
    sp_sni_entry all[] = {
        {.host = SP_STR("web.test"), .tls = tls_spec(a, web, 3), .inner = http},
        {.host = SP_STR("tcp.test"), .tls = tls_spec(a, &pki.tcp, 1), .inner = tcp},
        {.host = SP_STR("pass.test"), .inner = tcp},
        {.host = SP_STR("*.wild.test"), .tls = tls_spec(a, &pki.wild, 1), .inner = http},
        {.host = SP_STR("must.test"), .tls = required, .inner = http},
        {.host = SP_STR("may.test"), .tls = optional, .inner = http},
        {.host = SP_STR("modern.test"), .tls = modern, .inner = http},
    };
    l->sni = sp_arena_alloc(a, sizeof all);
    memcpy(l->sni, all, sizeof all);
    l->sni_count = SP_COUNT(all);
}

static void add_pools(sp_gateway_config *c) {
    sp_arena *a = c->arena;
    sp_upstream_tls *tls = SP_NEW(a, sp_upstream_tls);
    *tls = (sp_upstream_tls){.ca_pem = sp_buf_str(&pki.ca),
                             .server_name = SP_STR("web.test"),
                             .cert_pem = pki.client.cert_pem,
                             .key_pem = pki.client.key_pem};
    c->pools = sp_arena_alloc(a, 4 * sizeof *c->pools);
    c->pool_count = 4;
    sp_endpoint_spec *e = sp_arena_alloc(a, (t.server_count + 1) * sizeof *e);
    for (size_t i = 0; i < t.server_count; i++) {
        e[i].ready = true;
        sp_assert(sp_addr_parse(SP_STR("127.0.0.1"), t.servers[i], &e[i].addr));
    }
    for (size_t i = 0; i < 4; i++)
        c->pools[i] = (sp_pool_spec){.name = sp_arena_printf(a, "pool-%zu", i),
                                     .algorithm = SP_BALANCE_ROUND_ROBIN,
                                     .endpoints = e,
                                     .endpoint_count = t.server_count};
    c->pools[1].send_proxy = 1;
    c->pools[2].send_proxy = 2;
    c->pools[3].tls = tls;
}

static sp_gateway_config *make_config(void) {
    static const uint32_t pool_of[DOORS] = {[TO_PROXY1] = 1, [TO_PROXY2] = 2, [TO_TLS] = 3};
    sp_gateway_config *c = sp_gateway_config_new();
    sp_arena *a = c->arena;
    add_pools(c);
    c->tables = sp_arena_alloc(a, 3 * sizeof *c->tables);
    for (uint32_t i = 0; i < 3; i++) {
        sp_route_action *act = SP_NEW(a, sp_route_action);
        act->owner = SP_STR("HTTPRoute ns/web");
        act->targets = to_pool(a, i == 0 ? 0 : i == 1 ? 3 : 2);
        sp_route_entry entry = {.path = SP_STR("/"), .action = act};
        c->tables[i] = sp_route_table_build(a, &entry, 1);
    }
    c->table_count = 3;
    c->listeners = sp_arena_alloc(a, DOORS * sizeof *c->listeners);
    c->listener_count = DOORS;
    sp_cidr *here = SP_NEW(a, sp_cidr);
    sp_assert(sp_cidr_parse(SP_STR("127.0.0.0/8"), here));
    for (int i = 0; i < DOORS; i++) {
        sp_listener_spec *l = &c->listeners[i];
        char ip[] = {'1', '2', '7', '.', '0', '.', '0', '.', (char)('1' + i), 0};
        *l = (sp_listener_spec){.plain.targets = to_pool(a, pool_of[i]),
                                .owner = SP_STR("Gateway ns/door")};
        l->plain.http = i == HTTP_TO_TLS || i == HTTP_TO_PROXY;
        l->plain.table = i == HTTP_TO_TLS ? 1 : 2;
        sp_assert(sp_addr_parse(sp_arena_str(a, sp_str_z(ip)), 0, &l->addr));
        if (i == QUIET) l->idle_timeout_ms = 150;
        if (i == DOOR || i == PROXIED_DOOR) add_names(a, l);
        if (i == PROXIED || i == PROXIED_DOOR) {
            l->proxy_from = here;
            l->proxy_from_count = 1;
            l->denied = SP_NEW(a, sp_cidr);
            l->denied_count = 1;
            sp_assert(sp_cidr_parse(SP_STR("192.0.2.66/32"), l->denied));
        }
    }
    return c;
}

static void apply_now(void) {
    sp_gateway_config *c = make_config();
    sp_worker_apply(t.worker, c);
    for (size_t i = 0; i < sp_worker_listener_count(t.worker); i++) {
        sp_listener_state l = sp_worker_listener(t.worker, i);
        sp_assert(l.bound);
        t.port[l.addr.ip[3] - 1] = l.addr.port;
    }
    sp_gateway_config_unref(c);
}

static void read_stats(void) {
    t.stats = *sp_worker_get_stats(t.worker);
}

static void on_stopped(void *ctx) {
    (void)ctx;
    t.worker = NULL;
    uv_close((uv_handle_t *)&t.call, NULL);
}
static void stop_now(void) {
    sp_worker_stop(t.worker, 0, 0, on_stopped, NULL);
}

static void on_call(uv_async_t *a) {
    (void)a;
    pthread_mutex_lock(&t.lock);
    void (*fn)(void) = t.fn;
    t.fn = NULL;
    pthread_mutex_unlock(&t.lock);
    if (fn) fn();
    pthread_mutex_lock(&t.lock);
    t.busy = false;
    pthread_cond_signal(&t.done);
    pthread_mutex_unlock(&t.lock);
}

static void in_loop(void (*fn)(void)) {
    pthread_mutex_lock(&t.lock);
    t.fn = fn;
    t.busy = true;
    uv_async_send(&t.call);
    while (t.busy) pthread_cond_wait(&t.done, &t.lock);
    pthread_mutex_unlock(&t.lock);
}

/* --- the story's side: sockets --- */

static void set_deadline(int fd) {
    struct timeval tv = {.tv_sec = DEADLINE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static struct sockaddr_in at_port(int door, uint16_t port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)door)};
}

static int listen_on(uint16_t *ret_port) {
    struct sockaddr_in in = at_port(0, 0);
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof in) == 0 && listen(fd, 64) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    *ret_port = ntohs(in.sin_port);
    set_deadline(fd);
    return fd;
}

/* One server is all that most stories need. */
static int serve(void) {
    int l = listen_on(&t.servers[0]);
    t.server_count = 1;
    in_loop(apply_now);
    return l;
}

static int dial(int door) {
    struct sockaddr_in in = at_port(door, t.port[door]);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0);
    set_deadline(fd);
    return fd;
}

static int take(int listener) {
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    set_deadline(fd);
    return fd;
}

static void say_n(int fd, const char *p, size_t n) {
    CHECK(send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n);
}
static void say(int fd, const char *z) {
    say_n(fd, z, strlen(z));
}

static void hear_n(int fd, const char *want, size_t n) {
    char got[4096];
    CHECK(n <= sizeof got && recv(fd, got, n, MSG_WAITALL) == (ssize_t)n);
    if (memcmp(got, want, n) != 0) fprintf(stderr, "heard: %.*s\n", (int)n, got);
    CHECK(memcmp(got, want, n) == 0);
}
static void hear(int fd, const char *want) {
    hear_n(fd, want, strlen(want));
}

static void hear_end(int fd) {
    char c;
    CHECK(recv(fd, &c, 1, 0) == 0);
}

static void hear_reset(int fd) {
    char c;
    CHECK(recv(fd, &c, 1, 0) < 0 && errno == ECONNRESET);
}

static const char *hear_head(int fd) {
    static char head[8192];
    size_t n = 0;
    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
        CHECK(n < sizeof head - 1 && recv(fd, head + n, 1, 0) == 1);
        n++;
    }
    head[n] = 0;
    return head;
}

/* --- the story's side: TLS --- */

typedef struct tls {
    int fd;
    SSL *ssl;
    SSL_CTX *ctx;
} tls;

static void use_cert(SSL_CTX *ctx, const sp_tls_cert *c) {
    BIO *b = BIO_new_mem_buf(c->cert_pem.p, (int)c->cert_pem.n);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    BIO_free(b);
    b = BIO_new_mem_buf(c->key_pem.p, (int)c->key_pem.n);
    EVP_PKEY *k = PEM_read_bio_PrivateKey(b, NULL, NULL, NULL);
    BIO_free(b);
    CHECK(SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, k) == 1);
    X509_free(x);
    EVP_PKEY_free(k);
}

static void trust(SSL_CTX *ctx) {
    BIO *b = BIO_new_mem_buf(pki.ca.p, (int)pki.ca.n);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x);
    X509_free(x);
    BIO_free(b);
}

static tls new_client(const char *sni, int fd) {
    tls c = {.fd = fd, .ctx = SSL_CTX_new(TLS_client_method())};
    trust(c.ctx);
    SSL_CTX_set_mode(c.ctx, SSL_MODE_AUTO_RETRY);
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, fd);
    if (sni) SSL_set_tlsext_host_name(c.ssl, sni);
    return c;
}

static tls hello(int door, const char *sni) {
    tls c = new_client(sni, dial(door));
    CHECK(SSL_connect(c.ssl) == 1);
    return c;
}

static tls new_server(int fd, const sp_tls_cert *cert, bool ask) {
    tls s = {.fd = fd, .ctx = SSL_CTX_new(TLS_server_method())};
    use_cert(s.ctx, cert);
    trust(s.ctx);
    if (ask) SSL_CTX_set_verify(s.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    s.ssl = SSL_new(s.ctx);
    SSL_set_fd(s.ssl, fd);
    return s;
}

static void drop(tls *c) {
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
    ERR_clear_error();
}

static void tls_say(tls *c, const char *z) {
    CHECK(SSL_write(c->ssl, z, (int)strlen(z)) == (int)strlen(z));
}

static void tls_hear(tls *c, const char *want) {
    char got[4096];
    size_t n = strlen(want), at = 0;
    while (at < n) {
        int r = SSL_read(c->ssl, got + at, (int)(n - at));
        CHECK(r > 0);
        at += (size_t)r;
    }
    CHECK(memcmp(got, want, n) == 0);
}

static void tls_hear_end(tls *c) {
    char b;
    CHECK(SSL_read(c->ssl, &b, 1) == 0 && SSL_get_error(c->ssl, 0) == SSL_ERROR_ZERO_RETURN);
}

static const char *common_name(const tls *c) {
    static char cn[100];
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(c->ssl)),
                              NID_commonName, cn, sizeof cn);
    return cn;
}

static void hear_alert(tls *c, int alert) {
    CHECK(SSL_connect(c->ssl) != 1);
    unsigned long e = ERR_peek_error();
    if (ERR_GET_REASON(e) != 1000 + alert) ERR_print_errors_fp(stderr);
    CHECK(ERR_GET_REASON(e) == 1000 + alert); /* SSL_AD_REASON_OFFSET */
    drop(c);
}

#define GET "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define OK2_OUT "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

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
    CHECK(t.stats.tls_handshakes == 1 && t.stats.requests == 3);
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
    CHECK(t.stats.tls_resumed == 2);
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
    int fd = *(int *)arg;
    uint32_t block[4096];
    for (uint32_t at = 0; at < BULK / 4; at += 4096) {
        for (uint32_t i = 0; i < 4096; i++) block[i] = at + i;
        for (size_t sent = 0; sent < sizeof block;) {
            ssize_t n = send(fd, (char *)block + sent, sizeof block - sent, MSG_NOSIGNAL);
            if (n <= 0) return arg;
            sent += (size_t)n;
        }
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

static bool bulk_byte(uint64_t at, char c) {
    return (uint8_t)c == (uint8_t)((uint32_t)(at / 4) >> (8 * (at % 4)));
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
        for (int i = 0; i < n; i++) CHECK(bulk_byte(at++, got[i]));
    CHECK(at == BULK && SSL_get_shutdown(c.ssl) == SSL_RECEIVED_SHUTDOWN);
    pthread_join(sender, &failed);
    CHECK(!failed);
    at = 0;
    for (int round = 0; round < 64; round++) {
        for (size_t i = 0; i < sizeof got; i++)
            got[i] = (char)((uint32_t)((at + i) / 4) >> (8 * ((at + i) % 4)));
        CHECK(SSL_write(c.ssl, got, sizeof got) == sizeof got);
        uint64_t before = at;
        for (ssize_t n; at < before + sizeof got; at += (uint64_t)n) {
            n = recv(s, got, sizeof got, 0);
            CHECK(n > 0);
            for (ssize_t i = 0; i < n; i++) CHECK(bulk_byte(at + (uint64_t)i, got[i]));
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
    CHECK(t.stats.proxy_refused == 1 && t.stats.turned_away == 1);
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
    CHECK(t.stats.upstream_tls_failures >= 1);
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

/* --- the frame --- */

static void *tell_story(void *story) {
    ((void (*)(void))story)();
    return NULL;
}

static void *story_thread(void *story) {
    pthread_t inner; /* CHECK ends only the inner thread */
    pthread_create(&inner, NULL, tell_story, story);
    pthread_join(inner, NULL);
    in_loop(stop_now);
    return NULL;
}

static void run_story(void **state) {
    pthread_t thread;
    memset(&t, 0, sizeof t);
    t.web = &pki.web;
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.done, NULL);
    assert_int_equal(uv_loop_init(&t.loop), 0);
    uv_async_init(&t.loop, &t.call, on_call);
    sp_worker_settings s = sp_worker_defaults();
    s.endpoint_wait_ms = 300;
    s.connect_timeout_ms = 6 * DEADLINE_S * 1000; /* no story is to wait for it */
    t.worker = sp_worker_new(&t.loop, &s);
    pthread_create(&thread, NULL, story_thread, *state);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    assert_int_equal(uv_loop_close(&t.loop), 0);
    assert_false(t.failed);
}

#define STORY(fn) \
    { #fn, run_story, NULL, NULL, (void *)(fn) }

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
    return cmocka_run_group_tests_name("gateway_tls", tests, make_pki, free_pki);
}
