/* Keys and signatures for ACME. OpenSSL signs in DER; JOSE wants r and s side by side, 32 bytes
 * each (RFC 7518 3.4). */
#include "net/jws.h"
#include "data/base64.h"
#include "net/tls_internal.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

enum { COORDINATE = 32 };

struct sp_jws_key {
    EVP_PKEY *key;
    unsigned char x[COORDINATE], y[COORDINATE];
};

/* --- keys --- */

bool sp_jws_key_make(sp_buf *ret_pem, sp_err *err) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *b = BIO_new(BIO_s_mem());
    bool ok = key && PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (ok) sp_tls_put_bio(b, ret_pem);
    BIO_free(b);
    EVP_PKEY_free(key);
    return ok || sp_tls_fail(err, SP_INTERNAL, "cannot make a key");
}

static bool coordinate(EVP_PKEY *key, const char *name, unsigned char ret[COORDINATE]) {
    BIGNUM *n = NULL;
    bool ok = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_bn2binpad(n, ret, COORDINATE) > 0;
    BN_free(n);
    return ok;
}

static bool is_p256(EVP_PKEY *key) {
    char group[40] = "";
    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                          NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

bool sp_jws_key_load(sp_str pem, sp_jws_key **ret, sp_err *err) {
    EVP_PKEY *key = sp_tls_read_key(pem);
    if (!key) return sp_tls_fail(err, SP_BAD_REQUEST, "cannot read the private key");
    sp_jws_key *k = sp_zalloc(1, sizeof *k);
    k->key = key;
    if (is_p256(key) && coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, k->x) &&
        coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, k->y)) {
        *ret = k;
        return true;
    }
    sp_jws_key_free(k);
    return sp_fail(err, SP_BAD_REQUEST, "the key is not an EC key on the curve P-256");
}

sp_jws_key *sp_jws_key_free(sp_jws_key *k) {
    if (!k) return NULL;
    EVP_PKEY_free(k->key);
    free(k);
    return NULL;
}

/* --- public half --- */

void sp_jws_write_jwk(const sp_jws_key *k, sp_buf *b) {
    sp_buf_addz(b, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
    sp_base64url_encode(b, (sp_str){(const char *)k->x, COORDINATE});
    sp_buf_addz(b, "\",\"y\":\"");
    sp_base64url_encode(b, (sp_str){(const char *)k->y, COORDINATE});
    sp_buf_addz(b, "\"}");
}

void sp_jws_write_thumbprint(const sp_jws_key *k, sp_buf *b) {
    sp_auto(sp_buf) jwk = {0};
    unsigned char hash[SHA256_DIGEST_LENGTH];
    sp_jws_write_jwk(k, &jwk);
    SHA256((const unsigned char *)jwk.p, jwk.n, hash);
    sp_base64url_encode(b, (sp_str){(const char *)hash, sizeof hash});
}

/* --- signing --- */

static bool raw_signature(const unsigned char *der, size_t n, unsigned char ret[2 * COORDINATE]) {
    ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &der, (long)n);
    bool ok = s && BN_bn2binpad(ECDSA_SIG_get0_r(s), ret, COORDINATE) > 0 &&
              BN_bn2binpad(ECDSA_SIG_get0_s(s), ret + COORDINATE, COORDINATE) > 0;
    ECDSA_SIG_free(s);
    return ok;
}

static bool sign(const sp_jws_key *k, sp_str text, unsigned char ret[2 * COORDINATE]) {
    unsigned char der[128];
    size_t n = sizeof der;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, k->key) == 1 &&
              EVP_DigestSign(c, der, &n, (const unsigned char *)text.p, text.n) == 1 &&
              raw_signature(der, n, ret);
    EVP_MD_CTX_free(c);
    return ok;
}

bool sp_jws_sign(const sp_jws_key *k, sp_str header, sp_str payload, sp_buf *b, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    unsigned char signature[2 * COORDINATE];
    sp_base64url_encode(&text, header);
    size_t header_n = text.n;
    sp_buf_addc(&text, '.');
    sp_base64url_encode(&text, payload);
    sp_str all = sp_buf_str(&text);
    if (!sign(k, all, signature)) return sp_tls_fail(err, SP_INTERNAL, "cannot sign");
    sp_buf_printf(b, "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"",
                  SP_ARG(sp_str_sub(all, 0, header_n)), SP_ARG(sp_str_from(all, header_n + 1)));
    sp_base64url_encode(b, (sp_str){(const char *)signature, sizeof signature});
    sp_buf_addz(b, "\"}");
    return true;
}
