/* What a client's certificate says, in the words of X-Forwarded-Client-Cert (as Envoy writes it):
 * Hash=<SHA-256 of the certificate>;Subject="<RFC 2253>";URI=<…>;DNS=<…>, the last two as often as
 * the certificate has them. Values come from outside: in quotes, quotes and backslashes escaped,
 * and whatever cannot stand in a header field left out. */
#include "net/tls_internal.h"

#include <openssl/x509v3.h>

static void add_quoted(sp_buf *to, const char *key, sp_str value) {
    if (to->n) sp_buf_addc(to, ';');
    sp_buf_addz(to, key);
    sp_buf_addz(to, "=\"");
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if ((unsigned char)c < 0x20 || c == 0x7f) continue;
        if (c == '"' || c == '\\') sp_buf_addc(to, '\\');
        sp_buf_addc(to, c);
    }
    sp_buf_addc(to, '"');
}

static void add_hash(sp_buf *to, X509 *x) {
    unsigned char md[EVP_MAX_MD_SIZE];
    char text[2 * EVP_MAX_MD_SIZE + 1];
    unsigned n = 0;
    if (X509_digest(x, EVP_sha256(), md, &n) != 1) return;
    sp_hex_print(md, n, text);
    sp_buf_printf(to, "Hash=%s", text);
}

static void add_subject(sp_buf *to, X509 *x) {
    BIO *b = BIO_new(BIO_s_mem());
    char *p = NULL;
    X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    long n = BIO_get_mem_data(b, &p);
    if (n > 0) add_quoted(to, "Subject", (sp_str){p, (size_t)n});
    BIO_free(b);
}

void sp_tls_describe_cert(X509 *x, sp_buf *ret) {
    enum { NAMES_MAX = 16 };
    add_hash(ret, x);
    add_subject(ret, x);
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && i < NAMES_MAX; i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        if (g->type != GEN_URI && g->type != GEN_DNS) continue;
        const ASN1_STRING *s = g->d.ia5;
        sp_str value = {(const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)};
        add_quoted(ret, g->type == GEN_URI ? "URI" : "DNS", value);
    }
    GENERAL_NAMES_free(all);
}
