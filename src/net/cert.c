/* Certificates of our own CA (RFC 5280): EC P-256, SHA-256, random 128-bit serials, backdated by an
 * hour so that a clock that is a little slow still accepts them. */
#include "net/tls.h"
#include "net/tls_internal.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

enum { BACKDATE_S = 3600 };

void sp_tls_put_bio(BIO *b, sp_buf *to) {
    char *p = NULL;
    long n = BIO_get_mem_data(b, &p);
    if (n > 0) sp_buf_add(to, (sp_str){p, (size_t)n});
}

bool sp_tls_write_pems(X509 *x, EVP_PKEY *k, sp_buf *cert_pem, sp_buf *key_pem, sp_err *err) {
    BIO *bx = BIO_new(BIO_s_mem()), *bk = BIO_new(BIO_s_mem());
    bool ok = PEM_write_bio_X509(bx, x) == 1 &&
              PEM_write_bio_PKCS8PrivateKey(bk, k, NULL, NULL, 0, NULL, NULL) == 1;
    if (ok) {
        sp_tls_put_bio(bx, cert_pem);
        sp_tls_put_bio(bk, key_pem);
    }
    BIO_free(bx);
    BIO_free(bk);
    return ok || sp_tls_fail(err, SP_INTERNAL, "cannot write the certificate");
}

static bool random_serial(X509 *x) {
    BIGNUM *n = BN_new();
    bool ok = BN_rand(n, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool set_name(X509_NAME *name, const char *cn, const char *org) {
    const unsigned char *o = (const unsigned char *)org, *c = (const unsigned char *)cn;
    return (!org || X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, o, -1, -1, 0) == 1) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, c, -1, -1, 0) == 1;
}

static bool add_ext(X509 *x, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

/* Names go in as they are, never through OpenSSL's configuration language. */
bool sp_tls_add_alt_name(GENERAL_NAMES *names, int type, const char *text) {
    ASN1_STRING *value = NULL;
    if (type == GEN_IPADD) {
        value = a2i_IPADDRESS(text);
    } else {
        value = ASN1_IA5STRING_new();
        if (value && !ASN1_STRING_set(value, text, -1)) return false;
    }
    GENERAL_NAME *g = value ? GENERAL_NAME_new() : NULL;
    if (!g) return false;
    GENERAL_NAME_set0_value(g, type, value);
    return sk_GENERAL_NAME_push(names, g) > 0;
}

static bool add_alt_names(X509 *x, const sp_cert_request *r, sp_err *err) {
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool ok = true;
    for (const char *const *d = r->dns_names; ok && d && *d; d++)
        ok = sp_tls_add_alt_name(names, GEN_DNS, *d);
    for (const char *const *ip = r->ips; ok && ip && *ip; ip++) {
        ok = sp_tls_add_alt_name(names, GEN_IPADD, *ip);
        if (!ok) sp_fail(err, SP_BAD_REQUEST, "certificate: \"%s\" is not an IP address", *ip);
    }
    if (ok && sk_GENERAL_NAME_num(names) > 0)
        ok = X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    return ok;
}

static X509 *blank(EVP_PKEY *key, const char *cn, const char *org, int64_t life_s) {
    X509 *x = X509_new();
    bool ok = X509_set_version(x, X509_VERSION_3) == 1 && random_serial(x) &&
              X509_gmtime_adj(X509_getm_notBefore(x), -BACKDATE_S) &&
              X509_time_adj_ex(X509_getm_notAfter(x), 0, (long)life_s, NULL) &&
              set_name(X509_get_subject_name(x), cn, org) && X509_set_pubkey(x, key) == 1;
    if (ok) return x;
    X509_free(x);
    return NULL;
}

static bool self_sign(X509 *x, EVP_PKEY *key) {
    return X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
           add_ext(x, x, NID_basic_constraints, "critical,CA:TRUE") &&
           add_ext(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
           add_ext(x, x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256()) > 0;
}

bool sp_cert_make_ca(const char *common_name, int64_t life_s, sp_buf *cert_pem, sp_buf *key_pem,
                     sp_err *err) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = key ? blank(key, common_name, NULL, life_s) : NULL;
    bool ok = x && self_sign(x, key);
    if (ok)
        ok = sp_tls_write_pems(x, key, cert_pem, key_pem, err);
    else
        sp_tls_fail(err, SP_INTERNAL, "cannot make a CA");
    X509_free(x);
    EVP_PKEY_free(key);
    return ok;
}

static const char *usages(const sp_cert_request *r) {
    if (r->server && r->client) return "serverAuth,clientAuth";
    return r->server ? "serverAuth" : r->client ? "clientAuth" : NULL;
}

static bool sign_leaf(X509 *x, X509 *ca, EVP_PKEY *ca_key, const sp_cert_request *r, sp_err *err) {
    return X509_set_issuer_name(x, X509_get_subject_name(ca)) == 1 &&
           add_ext(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
           add_ext(x, ca, NID_key_usage, "critical,digitalSignature") &&
           (!usages(r) || add_ext(x, ca, NID_ext_key_usage, usages(r))) &&
           add_ext(x, ca, NID_authority_key_identifier, "keyid") && add_alt_names(x, r, err) &&
           X509_sign(x, ca_key, EVP_sha256()) > 0;
}

bool sp_cert_issue(sp_str ca_cert_pem, sp_str ca_key_pem, const sp_cert_request *r,
                   sp_buf *cert_pem, sp_buf *key_pem, sp_err *err) {
    X509 *ca = sp_tls_read_cert(ca_cert_pem), *x = NULL;
    EVP_PKEY *ca_key = sp_tls_read_key(ca_key_pem), *key = NULL;
    bool ok = false;
    sp_err why = {0};
    if (!ca || !ca_key) {
        sp_tls_fail(&why, SP_BAD_REQUEST, "cannot read the CA");
    } else if (X509_check_private_key(ca, ca_key) != 1) {
        sp_fail(&why, SP_BAD_REQUEST, "the key of the CA does not fit its certificate");
    } else {
        key = EVP_EC_gen("P-256");
        x = key ? blank(key, r->common_name, r->organization, r->life_s) : NULL;
        ok = x && sign_leaf(x, ca, ca_key, r, &why) &&
             sp_tls_write_pems(x, key, cert_pem, key_pem, &why);
        if (!ok && why.code == SP_OK) sp_tls_fail(&why, SP_INTERNAL, "cannot issue a certificate");
    }
    X509_free(x);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    ERR_clear_error();
    if (!ok && err) *err = why;
    return ok;
}

static void add_name(sp_arena *a, sp_strs *to, const ASN1_STRING *s) {
    int n = ASN1_STRING_length(s);
    char *copy = n > 0
                     ? sp_arena_strz(a, (sp_str){(const char *)ASN1_STRING_get0_data(s), (size_t)n})
                     : NULL;
    if (!copy || strlen(copy) != (size_t)n) return; /* a NUL in a name is a trick */
    for (char *c = copy; *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c | 0x20);
    ((sp_str *)(uintptr_t)to->p)[to->n++] = (sp_str){copy, (size_t)n};
}

static void common_names(X509 *x, sp_arena *a, sp_strs *to) {
    X509_NAME *name = X509_get_subject_name(x);
    int i = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    to->p = SP_NEW(a, sp_str);
    if (i >= 0) add_name(a, to, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
}

bool sp_cert_names(sp_str cert_pem, sp_arena *a, sp_strs *ret, sp_err *err) {
    X509 *x = sp_tls_read_cert(cert_pem);
    sp_strs names = {0};
    if (!x) return sp_tls_fail(err, SP_BAD_REQUEST, "cannot read the certificate");
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int count = sk_GENERAL_NAME_num(all);
    names.p = sp_arena_alloc(a, (size_t)SP_MAX(count, 1) * sizeof *names.p);
    for (int i = 0; i < count; i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        if (g->type == GEN_DNS) add_name(a, &names, g->d.dNSName);
    }
    if (count <= 0) common_names(x, a, &names);
    GENERAL_NAMES_free(all);
    X509_free(x);
    ERR_clear_error();
    *ret = names;
    return true;
}

int sp_cert_key_kind(sp_str cert_pem) {
    X509 *x = sp_tls_read_cert(cert_pem);
    EVP_PKEY *k = x ? X509_get0_pubkey(x) : NULL;
    int kind = k ? SP_MAX(EVP_PKEY_get_base_id(k), 0) : 0;
    X509_free(x);
    ERR_clear_error();
    return kind;
}

bool sp_cert_key_digest(sp_str cert_pem, unsigned char ret[32], sp_err *err) {
    X509 *x = sp_tls_read_cert(cert_pem);
    unsigned char *der = NULL;
    unsigned n = 0;
    if (!x) return sp_tls_fail(err, SP_BAD_REQUEST, "cannot read the certificate");
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    bool ok =
        length > 0 && EVP_Digest(der, (size_t)length, ret, &n, EVP_sha256(), NULL) == 1 && n == 32;
    OPENSSL_free(der);
    X509_free(x);
    return ok || sp_tls_fail(err, SP_INTERNAL, "cannot hash the key of the certificate");
}

bool sp_cert_days_left(sp_str cert_pem, int *ret, sp_err *err) {
    X509 *x = sp_tls_read_cert(cert_pem);
    if (!x) return sp_tls_fail(err, SP_BAD_REQUEST, "cannot read the certificate");
    int days = 0, seconds = 0;
    bool ok = ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)) == 1;
    X509_free(x);
    if (!ok) return sp_fail(err, SP_BAD_REQUEST, "the certificate has a broken end date");
    *ret = seconds < 0 ? days - 1 : days;
    return true;
}
