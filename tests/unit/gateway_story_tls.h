/* Stories about TLS, server names and PROXY headers: a CA with certificates, a port ("door") for
 * each way in and out, and OpenSSL used directly, as client and as server. */
#pragma once
#include "gateway_story.h"
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

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
    uint16_t port[DOORS];
    uint16_t servers[2]; /* endpoints of every pool */
    size_t server_count;
    sp_tls_cert *web; /* what "web.test" has now */
} t;

/* Made once; PEM. */
static struct {
    sp_buf ca, ca_key, other_ca, other_ca_key;
    sp_tls_cert web, web2, web_rsa, tcp, wild, first;
    sp_tls_cert client, stranger;
} pki;

static void forget(void) {
    memset(&t, 0, sizeof t);
    t.web = &pki.web;
}

/* --- certificates --- */

static inline sp_tls_cert issue(const sp_buf *ca, const sp_buf *key, const char *name,
                                bool server) {
    sp_buf c = {0}, k = {0};
    const char *names[] = {name, NULL};
    sp_cert_request r = {.common_name = name,
                         .dns_names = names,
                         .server = server,
                         .client = !server,
                         .life_s = 2 * SP_DAY_S};
    sp_assert(sp_cert_issue(sp_buf_str(ca), sp_buf_str(key), &r, &c, &k, NULL));
    return (sp_tls_cert){
        .cert_pem = sp_buf_str(&c), .key_pem = sp_buf_str(&k), .source = sp_str_z(name)};
}

/* Self-signed, as no other kind is made by our own code. */
static inline sp_tls_cert rsa(const char *name) {
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

static inline int make_pki(void **state) {
    (void)state;
    sp_assert(sp_cert_make_ca("ca", 2 * SP_DAY_S, &pki.ca, &pki.ca_key, NULL));
    sp_assert(sp_cert_make_ca("other", 2 * SP_DAY_S, &pki.other_ca, &pki.other_ca_key, NULL));
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

static inline void free_cert(sp_tls_cert *c) {
    free((char *)(uintptr_t)c->cert_pem.p);
    free((char *)(uintptr_t)c->key_pem.p);
}

static inline int free_pki(void **state) {
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

static inline sp_tls_spec *tls_spec(sp_arena *a, const sp_tls_cert *c, size_t n) {
    sp_tls_spec *s = SP_NEW(a, sp_tls_spec);
    s->certs = sp_arena_alloc(a, n * sizeof *s->certs);
    memcpy(s->certs, c, n * sizeof *c);
    s->cert_count = n;
    return s;
}

static inline void add_names(sp_arena *a, sp_listener_spec *l) {
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

static inline void add_pools(sp_gateway_config *c) {
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
        if (i == QUIET) l->idle_timeout_ms = 1000;
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

static void listens_at(const sp_listener_state *l) {
    t.port[l->addr.ip[3] - 1] = l->addr.port;
}

/* --- the story's side --- */

/* One server is all that most stories need. */
static inline int serve(void) {
    int l = listen_on(&t.servers[0]);
    t.server_count = 1;
    in_loop(apply_now);
    return l;
}

static inline int dial(int door) {
    return dial_at((uint32_t)door, t.port[door]);
}

typedef struct tls {
    int fd;
    SSL *ssl;
    SSL_CTX *ctx;
} tls;

static inline void use_cert(SSL_CTX *ctx, const sp_tls_cert *c) {
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

static inline void trust(SSL_CTX *ctx) {
    BIO *b = BIO_new_mem_buf(pki.ca.p, (int)pki.ca.n);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x);
    X509_free(x);
    BIO_free(b);
}

static inline tls new_client(const char *sni, int fd) {
    tls c = {.fd = fd, .ctx = SSL_CTX_new(TLS_client_method())};
    trust(c.ctx);
    SSL_CTX_set_mode(c.ctx, SSL_MODE_AUTO_RETRY);
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, fd);
    if (sni) SSL_set_tlsext_host_name(c.ssl, sni);
    return c;
}

static inline tls hello(int door, const char *sni) {
    tls c = new_client(sni, dial(door));
    CHECK(SSL_connect(c.ssl) == 1);
    return c;
}

static inline tls new_server(int fd, const sp_tls_cert *cert, bool ask) {
    tls s = {.fd = fd, .ctx = SSL_CTX_new(TLS_server_method())};
    use_cert(s.ctx, cert);
    trust(s.ctx);
    if (ask) SSL_CTX_set_verify(s.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    s.ssl = SSL_new(s.ctx);
    SSL_set_fd(s.ssl, fd);
    return s;
}

static inline void drop(tls *c) {
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
    ERR_clear_error();
}

static inline void tls_say(tls *c, const char *z) {
    CHECK(SSL_write(c->ssl, z, (int)strlen(z)) == (int)strlen(z));
}

static inline void tls_hear(tls *c, const char *want) {
    char got[4096];
    size_t n = strlen(want), at = 0;
    while (at < n) {
        int r = SSL_read(c->ssl, got + at, (int)(n - at));
        CHECK(r > 0);
        at += (size_t)r;
    }
    CHECK(memcmp(got, want, n) == 0);
}

static inline void tls_hear_end(tls *c) {
    char b;
    CHECK(SSL_read(c->ssl, &b, 1) == 0 && SSL_get_error(c->ssl, 0) == SSL_ERROR_ZERO_RETURN);
}

static inline const char *common_name(const tls *c) {
    static char cn[100];
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(c->ssl)),
                              NID_commonName, cn, sizeof cn);
    return cn;
}

static inline void hear_alert(tls *c, int alert) {
    CHECK(SSL_connect(c->ssl) != 1);
    unsigned long e = ERR_peek_error();
    if (ERR_GET_REASON(e) != 1000 + alert) ERR_print_errors_fp(stderr);
    CHECK(ERR_GET_REASON(e) == 1000 + alert); /* SSL_AD_REASON_OFFSET */
    drop(c);
}

#define GET "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define OK2_OUT "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
