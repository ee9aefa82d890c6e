/* OpenSSL's EVP under four short names. */
#include "agent/digest.h"

#include <openssl/evp.h>

struct sp_digest {
    EVP_MD_CTX *md;
};

sp_digest *sp_digest_new(void) {
    sp_digest *d = sp_zalloc(1, sizeof *d);
    d->md = EVP_MD_CTX_new();
    sp_assert(d->md && EVP_DigestInit_ex(d->md, EVP_sha256(), NULL) == 1);
    return d;
}

sp_digest *sp_digest_free(sp_digest *d) {
    if (!d) return NULL;
    EVP_MD_CTX_free(d->md);
    free(d);
    return NULL;
}

void sp_digest_add(sp_digest *d, const void *p, size_t n) {
    if (n) sp_assert(EVP_DigestUpdate(d->md, p, n) == 1);
}

void sp_digest_end(sp_digest *d, char ret[SP_DIGEST_TEXT + 1]) {
    unsigned char sum[32];
    unsigned n = 0;
    sp_assert(EVP_DigestFinal_ex(d->md, sum, &n) == 1 && n == sizeof sum);
    memcpy(ret, "sha256:", sizeof "sha256:");
    sp_hex_print(sum, sizeof sum, ret + 7);
}

void sp_digest_of(sp_str bytes, char ret[SP_DIGEST_TEXT + 1]) {
    sp_auto_ptr(sp_digest) d = sp_digest_new();
    sp_digest_add(d, bytes.p, bytes.n);
    sp_digest_end(d, ret);
}

bool sp_digest_valid(sp_str text) {
    if (text.n != SP_DIGEST_TEXT || !sp_str_starts(text, SP_STR("sha256:"))) return false;
    for (size_t i = 7; i < text.n; i++) {
        char c = text.p[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) return false;
    }
    return true;
}
