/* Certificate requests, the answer to a tls-alpn-01 challenge, and what a certificate says. Names
 * go in as values, never through OpenSSL's configuration language. */
#include "net/jws.h"
#include "net/tls_internal.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

enum { ANSWER_DAYS = 7 };

static bool is_address(const char *name) {
    unsigned char ip[16];
    return inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

static GENERAL_NAMES *alt_names(const sp_strs *names) {
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    bool ok = true;
    sp_vec_each(names, n) {
        char *text = sp_str_dup(*n);
        ok = ok && sp_tls_add_alt_name(list, is_address(text) ? GEN_IPADD : GEN_DNS, text);
        free(text);
    }
    if (ok) return list;
    sk_GENERAL_NAME_pop_free(list, GENERAL_NAME_free);
    return NULL;
}

/* --- requests --- */

static bool add_names_to_request(X509_REQ *q, GENERAL_NAMES *names) {
    STACK_OF(X509_EXTENSION) *list = NULL;
    bool ok = X509V3_add1_i2d(&list, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
              X509_REQ_add_extensions(q, list) == 1;
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    return ok;
}

static bool write_request(X509_REQ *q, sp_buf *der) {
    unsigned char *p = NULL;
    int n = i2d_X509_REQ(q, &p);
    if (n > 0) sp_buf_add(der, (sp_str){(const char *)p, (size_t)n});
    OPENSSL_free(p);
    return n > 0;
}

static bool write_key(EVP_PKEY *key, sp_buf *pem) {
    BIO *b = BIO_new(BIO_s_mem());
    bool ok = PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (ok) sp_tls_put_bio(b, pem);
    BIO_free(b);
    return ok;
}

bool sp_csr_make(const sp_strs *names, sp_buf *key_pem, sp_buf *csr_der, sp_err *err) {
    GENERAL_NAMES *list = alt_names(names);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *q = X509_REQ_new();
    bool ok = list && key && X509_REQ_set_version(q, X509_REQ_VERSION_1) == 1 &&
              X509_REQ_set_pubkey(q, key) == 1 && add_names_to_request(q, list) &&
              X509_REQ_sign(q, key, EVP_sha256()) > 0 && write_request(q, csr_der) &&
              write_key(key, key_pem);
    X509_REQ_free(q);
    EVP_PKEY_free(key);
    sk_GENERAL_NAME_pop_free(list, GENERAL_NAME_free);
    return ok || sp_tls_fail(err, SP_BAD_REQUEST, "cannot make a certificate request");
}

/* --- tls-alpn-01 --- */

/* id-pe-acmeIdentifier (RFC 8737 6.1): an OCTET STRING of the hash, inside the extension's own. */
static bool add_acme_hash(X509 *x, sp_str key_authorization) {
    unsigned char der[2 + SHA256_DIGEST_LENGTH] = {0x04, SHA256_DIGEST_LENGTH};
    SHA256((const unsigned char *)key_authorization.p, key_authorization.n, der + 2);
    ASN1_OBJECT *id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    bool ok = id && ASN1_OCTET_STRING_set(value, der, sizeof der) == 1;
    X509_EXTENSION *e = ok ? X509_EXTENSION_create_by_OBJ(NULL, id, 1, value) : NULL;
    ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(id);
    return ok;
}

static bool fill_answer(X509 *x, EVP_PKEY *key, GENERAL_NAMES *names, sp_str key_authorization) {
    uint64_t serial = 0;
    X509_NAME *name = X509_get_subject_name(x);
    return RAND_bytes((unsigned char *)&serial, sizeof serial) == 1 &&
           X509_set_version(x, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1) &&
           X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
           X509_time_adj_ex(X509_getm_notAfter(x), ANSWER_DAYS, 0, NULL) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)"ACME challenge", -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
           X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
           add_acme_hash(x, key_authorization) && X509_sign(x, key, EVP_sha256()) > 0;
}

bool sp_cert_make_acme_answer(sp_str dns_name, sp_str key_authorization, sp_buf *cert_pem,
                              sp_buf *key_pem, sp_err *err) {
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    char *text = sp_str_dup(dns_name);
    bool named = sp_tls_add_alt_name(names, is_address(text) ? GEN_IPADD : GEN_DNS, text);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    bool ok = named && key && x && fill_answer(x, key, names, key_authorization) &&
              sp_tls_write_pems(x, key, cert_pem, key_pem, NULL);
    X509_free(x);
    EVP_PKEY_free(key);
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    free(text);
    return ok || sp_tls_fail(err, SP_INTERNAL, "cannot make the challenge's certificate");
}

/* --- reading --- */

static bool time_ms(const ASN1_TIME *t, int64_t *ret) {
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1) return false;
    *ret = (int64_t)timegm(&tm) * 1000;
    return true;
}

static void add_name(sp_arena *a, const GENERAL_NAME *g, sp_strs *ret) {
    int type;
    const ASN1_STRING *s = GENERAL_NAME_get0_value(g, &type);
    char text[INET6_ADDRSTRLEN];
    if (type == GEN_DNS) {
        sp_str name = {(const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)};
        sp_vec_push(ret, sp_arena_str(a, name));
    } else if (type == GEN_IPADD) {
        int family = ASN1_STRING_length(s) == 4 ? AF_INET : AF_INET6;
        if (inet_ntop(family, ASN1_STRING_get0_data(s), text, sizeof text))
            sp_vec_push(ret, sp_arena_str(a, sp_str_z(text)));
    }
}

static void read_names(sp_arena *a, const X509 *x, sp_strs *ret) {
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        add_name(a, sk_GENERAL_NAME_value(names, i), ret);
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
}

bool sp_cert_read(sp_arena *a, sp_str cert_pem, sp_str key_pem, sp_cert_facts *ret, sp_err *err) {
    sp_cert_facts f = {0};
    X509 *x = sp_tls_read_cert(cert_pem);
    if (!x) return sp_tls_fail(err, SP_BAD_REQUEST, "cannot read the certificate");
    EVP_PKEY *key = key_pem.n ? sp_tls_read_key(key_pem) : NULL;
    bool ok = time_ms(X509_get0_notBefore(x), &f.not_before_ms) &&
              time_ms(X509_get0_notAfter(x), &f.not_after_ms);
    f.key_fits = key && X509_check_private_key(x, key) == 1;
    if (ok) read_names(a, x, &f.names);
    EVP_PKEY_free(key);
    X509_free(x);
    ERR_clear_error();
    if (!ok) return sp_fail(err, SP_BAD_REQUEST, "the certificate has a broken date");
    *ret = f;
    return true;
}
