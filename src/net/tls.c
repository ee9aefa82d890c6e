/* TLS contexts: TLS 1.2 and 1.3, AEAD suites only. Sessions are resumed only where it is asked for,
 * and never where client certificates count: a resumed session would carry one that nobody looked
 * at again. Buffers are released while idle: a quiet connection costs about 10 KiB instead of 40.
 *
 * A server that knows a client CA asks for a certificate but, unless it is required, lets the
 * handshake succeed with a bad one: who somebody is gets decided, and refused with a readable
 * answer, one layer up. tls_io.c hands out a peer only when its certificate was verified. */
#include "net/tls.h"

#include "net/tls_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdatomic.h>

typedef struct staple {
    X509 *leaf;
    sp_buf der;
} staple;

struct sp_tls_ctx {
    atomic_uint refs;
    SSL_CTX *ssl;
    sp_buf alpn; /* length-prefixed names */
    bool strict_alpn;
    SP_VEC(staple) staples;
};

bool sp_tls_fail(sp_err *err, sp_code code, const char *what) {
    unsigned long e = ERR_peek_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    ERR_clear_error();
    return sp_fail(err, code, "%s: %s", what, reason ? reason : "no reason given");
}

BIO *sp_tls_bio(sp_str pem) {
    sp_assert(pem.n <= INT32_MAX);
    return BIO_new_mem_buf(pem.p, (int)pem.n);
}

/* A key that needs a passphrase is an error, not a question on the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *ctx) {
    (void)buf, (void)size, (void)writing, (void)ctx;
    return -1;
}

X509 *sp_tls_read_cert(sp_str pem) {
    BIO *b = sp_tls_bio(pem);
    X509 *x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL);
    BIO_free(b);
    return x;
}

EVP_PKEY *sp_tls_read_key(sp_str pem) {
    BIO *b = sp_tls_bio(pem);
    EVP_PKEY *k = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL);
    BIO_free(b);
    return k;
}

static bool use_chain(SSL_CTX *ssl, sp_str pem, sp_err *err) {
    BIO *b = sp_tls_bio(pem);
    X509 *leaf = PEM_read_bio_X509(b, NULL, no_passphrase, NULL);
    bool ok = leaf && SSL_CTX_use_certificate(ssl, leaf) == 1;
    X509_free(leaf);
    while (ok) {
        X509 *x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL);
        if (!x) {
            ok = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            break;
        }
        ok = SSL_CTX_add0_chain_cert(ssl, x) == 1;
        if (!ok) X509_free(x);
    }
    BIO_free(b);
    if (!ok) return sp_tls_fail(err, SP_BAD_REQUEST, "cannot read the certificate");
    ERR_clear_error(); /* the end of the file is an error to PEM_read */
    return true;
}

static bool use_key(SSL_CTX *ssl, sp_str pem, sp_err *err) {
    EVP_PKEY *k = sp_tls_read_key(pem);
    if (!k) return sp_tls_fail(err, SP_BAD_REQUEST, "cannot read the private key");
    bool ok = SSL_CTX_use_PrivateKey(ssl, k) == 1 && SSL_CTX_check_private_key(ssl) == 1;
    EVP_PKEY_free(k);
    return ok || sp_tls_fail(err, SP_BAD_REQUEST, "the private key does not fit the certificate");
}

static bool use_chain_and_key(sp_tls_ctx *c, const sp_tls_pair *p, sp_err *err) {
    SSL_CTX *ssl = c->ssl;
    if (!use_chain(ssl, p->cert_pem, err) || !use_key(ssl, p->key_pem, err)) return false;
    if (!p->ocsp_der.n) return true;
    staple s = {.leaf = SSL_CTX_get0_certificate(ssl)};
    X509_up_ref(s.leaf);
    sp_buf_add(&s.der, p->ocsp_der);
    sp_vec_push(&c->staples, s);
    return true;
}

static bool trust(SSL_CTX *ssl, const sp_tls_config *c, sp_err *err) {
    BIO *b = sp_tls_bio(c->ca_pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    int n = 0;
    for (X509 *x; (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)); X509_free(x)) {
        if (X509_STORE_add_cert(store, x) == 1) n++;
        if (c->server) SSL_CTX_add_client_CA(ssl, x);
    }
    BIO_free(b);
    ERR_clear_error();
    return n > 0 || sp_fail(err, SP_BAD_REQUEST, "the CA file contains no certificate");
}

static int note_bad_client(int ok, X509_STORE_CTX *store) {
    if (ok) return 1;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    SSL_set_app_data(ssl, (void *)"unverified");
    return 1;
}

static bool set_trust(SSL_CTX *ssl, const sp_tls_config *c, sp_err *err) {
    if (c->ca_pem.n && !trust(ssl, c, err)) return false;
    if (c->server) {
        if (c->require_client && !c->ca_pem.n)
            return sp_fail(err, SP_BAD_REQUEST, "require_client needs a CA to verify with");
        if (c->require_client)
            SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        else if (c->ca_pem.n)
            SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, note_bad_client);
        return true;
    }
    SSL_CTX_set_verify(ssl, c->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!c->ca_pem.n) SSL_CTX_set_default_verify_paths(ssl);
    return true;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                       const unsigned char *in, unsigned in_n, void *ctx) {
    (void)ssl;
    const sp_tls_ctx *c = ctx;
    int r = SSL_select_next_proto((unsigned char **)out, out_n, (const unsigned char *)c->alpn.p,
                                  (unsigned)c->alpn.n, in, in_n);
    if (r == OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_OK;
    return c->strict_alpn ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

void sp_tls_alpn_list(const char *names, sp_buf *ret) {
    for (sp_str part, rest = sp_str_z(names); sp_str_cut(&rest, ',', &part);) {
        sp_assert(part.n > 0 && part.n < 256);
        sp_buf_addc(ret, (char)part.n);
        sp_buf_add(ret, part);
    }
}

static void set_alpn(sp_tls_ctx *c, const sp_tls_config *config) {
    c->strict_alpn = config->strict_alpn;
    if (!config->alpn) return;
    sp_tls_alpn_list(config->alpn, &c->alpn);
    if (config->server)
        SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, c);
    else
        SSL_CTX_set_alpn_protos(c->ssl, (const unsigned char *)c->alpn.p, (unsigned)c->alpn.n);
}

static int add_staple(SSL *ssl, void *ctx) {
    const sp_tls_ctx *c = ctx;
    sp_vec_each(&c->staples, s) {
        if (s->leaf != SSL_get_certificate(ssl)) continue;
        unsigned char *copy = OPENSSL_memdup(s->der.p, s->der.n);
        if (!copy) return SSL_TLSEXT_ERR_NOACK;
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)s->der.n);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* A ticket is good for a context with the same trust only. */
static void set_resumption(SSL_CTX *ssl, const sp_tls_config *c) {
    bool resume = c->resume && !(c->server && c->ca_pem.n);
    SSL_CTX_set_num_tickets(ssl, resume ? 1 : 0);
    if (!resume) SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (!resume) return;
    if (c->server) {
        unsigned char id[4] = {'s', 'p', (unsigned char)(c->min_version >> 8),
                               (unsigned char)c->min_version};
        SSL_CTX_set_session_id_context(ssl, id, sizeof id);
        sp_tls_use_tickets(ssl);
    } else {
        SSL_CTX_set_session_cache_mode(ssl,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(ssl, sp_tls_io_on_session);
    }
}

static void set_options(SSL_CTX *ssl, const sp_tls_config *c) {
    SSL_CTX_set_min_proto_version(ssl, c->min_version ? c->min_version : TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    set_resumption(ssl, c);
    if (c->light) SSL_CTX_set_keylog_callback(ssl, sp_tls_io_on_secret);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
    /* RFC 8446 9.1 wants the first one of everybody; SHA-256 and the shorter key make a handshake
     * a tenth cheaper than OpenSSL's own order does. */
    SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                  "TLS_CHACHA20_POLY1305_SHA256");
}

bool sp_tls_ctx_new(const sp_tls_config *config, sp_tls_ctx **ret, sp_err *err) {
    sp_tls_ctx *c = sp_zalloc(1, sizeof *c);
    c->refs = 1;
    c->ssl = SSL_CTX_new(config->server ? TLS_server_method() : TLS_client_method());
    sp_assert(c->ssl);
    set_options(c->ssl, config);
    set_alpn(c, config);
    sp_tls_pair main = {config->cert_pem, config->key_pem, config->ocsp_der};
    bool ok = !config->cert_pem.n || use_chain_and_key(c, &main, err);
    for (size_t i = 0; ok && i < config->other_count; i++)
        ok = use_chain_and_key(c, &config->others[i], err);
    ok = ok && set_trust(c->ssl, config, err);
    if (c->staples.n) {
        SSL_CTX_set_tlsext_status_cb(c->ssl, add_staple);
        SSL_CTX_set_tlsext_status_arg(c->ssl, c);
    }
    if (ok && config->server && !config->cert_pem.n)
        ok = sp_fail(err, SP_BAD_REQUEST, "a TLS server needs a certificate");
    if (!ok) {
        sp_tls_ctx_unref(c);
        return false;
    }
    *ret = c;
    return true;
}

sp_tls_ctx *sp_tls_ctx_ref(sp_tls_ctx *c) {
    if (c) atomic_fetch_add(&c->refs, 1);
    return c;
}

sp_tls_ctx *sp_tls_ctx_unref(sp_tls_ctx *c) {
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1) return NULL;
    sp_vec_each(&c->staples, s) {
        X509_free(s->leaf);
        sp_buf_free(&s->der);
    }
    sp_vec_free(&c->staples);
    SSL_CTX_free(c->ssl);
    sp_buf_free(&c->alpn);
    free(c);
    return NULL;
}

bool sp_tls_check_pair(const sp_tls_pair *p, sp_err *err) {
    if (!sp_str_trim(p->cert_pem).n) return sp_fail(err, SP_BAD_REQUEST, "there is no certificate");
    if (!sp_str_trim(p->key_pem).n) return sp_fail(err, SP_BAD_REQUEST, "there is no private key");
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    sp_assert(ssl);
    bool ok = use_chain(ssl, p->cert_pem, err) && use_key(ssl, p->key_pem, err);
    SSL_CTX_free(ssl);
    return ok;
}

struct ssl_ctx_st *sp_tls_ctx_native(const sp_tls_ctx *c) {
    return c->ssl;
}
