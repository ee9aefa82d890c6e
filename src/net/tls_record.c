#include "net/tls_record.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

enum { IV = 12, TAG = 16, SECRET_MAX = 48, KEY_MAX = 32, KEY_UPDATE = 24 };
enum { INNER_MAX = SP_RECORD_PLAIN_MAX + 1, WORN_RECORDS = 1 << 24 };

typedef struct suite {
    const char *cipher, *digest;
    size_t key_bytes, secret_bytes;
} suite;

static const suite suites[] = {
    {"AES-128-GCM", "SHA256", 16, 32},
    {"AES-256-GCM", "SHA384", 32, 48},
    {"ChaCha20-Poly1305", "SHA256", 32, 32},
};

typedef struct half {
    EVP_CIPHER_CTX *cipher;
    uint64_t seq;
    uint8_t iv[IV], secret[SECRET_MAX];
} half;

struct sp_tls_record {
    const suite *suite;
    half read, write;
};

/* Fetched once: by name, each connection would search the providers under a lock. */
static struct {
    EVP_CIPHER *ciphers[SP_COUNT(suites)];
    EVP_MAC_CTX *hmacs[SP_COUNT(suites)]; /* to be copied */
} fetched;

static void fetch_all(void) {
    for (size_t i = 0; i < SP_COUNT(suites); i++)
        fetched.ciphers[i] = EVP_CIPHER_fetch(NULL, suites[i].cipher, NULL);
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    for (size_t i = 0; i < SP_COUNT(suites); i++) {
        OSSL_PARAM params[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                             (char *)(uintptr_t)suites[i].digest, 0),
            OSSL_PARAM_construct_end(),
        };
        fetched.hmacs[i] = EVP_MAC_CTX_new(hmac);
        sp_assert(fetched.hmacs[i] && EVP_MAC_CTX_set_params(fetched.hmacs[i], params) == 1);
    }
    EVP_MAC_free(hmac);
}

/* --- keys --- */

static EVP_MAC_CTX *new_hmac(const suite *s) {
    EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(fetched.hmacs[s - suites]);
    sp_assert(mac);
    return mac;
}

/* HKDF-Expand-Label with an empty context (7.1). Nothing here is longer than the hash, so it is one
 * HMAC (RFC 5869 2.3); OpenSSL's KDF would look its digest up by name each time. */
static bool expand(EVP_MAC_CTX *mac, const suite *s, const uint8_t *secret, const char *label,
                   uint8_t *ret, size_t n) {
    uint8_t info[64], block[SECRET_MAX];
    size_t label_n = strlen(label), at = 0, block_n = 0;
    info[at++] = 0;
    info[at++] = (uint8_t)n;
    info[at++] = (uint8_t)(label_n + 6);
    memcpy(info + at, "tls13 ", 6);
    memcpy(info + at + 6, label, label_n);
    at += 6 + label_n;
    info[at++] = 0;
    info[at++] = 1; /* the first block */
    bool ok = EVP_MAC_init(mac, secret, s->secret_bytes, NULL) == 1 &&
              EVP_MAC_update(mac, info, at) == 1 &&
              EVP_MAC_final(mac, block, &block_n, sizeof block) == 1 && n <= block_n;
    if (ok) memcpy(ret, block, n);
    OPENSSL_cleanse(block, sizeof block);
    return ok;
}

static bool set_keys(EVP_MAC_CTX *mac, const suite *s, half *h, bool seal) {
    uint8_t key[KEY_MAX];
    EVP_CIPHER *cipher = fetched.ciphers[s - suites];
    h->seq = 0;
    bool ok = cipher && expand(mac, s, h->secret, "key", key, s->key_bytes) &&
              expand(mac, s, h->secret, "iv", h->iv, IV) &&
              EVP_CipherInit_ex2(h->cipher, cipher, key, NULL, seal, NULL) == 1;
    OPENSSL_cleanse(key, sizeof key);
    return ok;
}

static bool next_keys(const suite *s, half *h, bool seal) {
    EVP_MAC_CTX *mac = new_hmac(s);
    bool ok = expand(mac, s, h->secret, "traffic upd", h->secret, s->secret_bytes) &&
              set_keys(mac, s, h, seal);
    EVP_MAC_CTX_free(mac);
    return ok;
}

sp_tls_record *sp_tls_record_new(unsigned id, const uint8_t *read_secret,
                                 const uint8_t *write_secret, size_t n, uint64_t sealed) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fetch_all);
    size_t i = id - 0x1301;
    if (id < 0x1301 || i >= SP_COUNT(suites) || suites[i].secret_bytes != n) return NULL;
    sp_tls_record *r = sp_zalloc(1, sizeof *r);
    r->suite = &suites[i];
    memcpy(r->read.secret, read_secret, n);
    memcpy(r->write.secret, write_secret, n);
    r->read.cipher = EVP_CIPHER_CTX_new();
    r->write.cipher = EVP_CIPHER_CTX_new();
    sp_assert(r->read.cipher && r->write.cipher);
    EVP_MAC_CTX *mac = new_hmac(r->suite);
    bool ok = set_keys(mac, r->suite, &r->read, false) && set_keys(mac, r->suite, &r->write, true);
    EVP_MAC_CTX_free(mac);
    if (!ok) return sp_tls_record_free(r);
    r->write.seq = sealed;
    return r;
}

sp_tls_record *sp_tls_record_free(sp_tls_record *r) {
    if (!r) return NULL;
    EVP_CIPHER_CTX_free(r->read.cipher);
    EVP_CIPHER_CTX_free(r->write.cipher);
    OPENSSL_cleanse(r, sizeof *r);
    free(r);
    return NULL;
}

/* --- records --- */

static bool begin(half *h, const uint8_t *head) {
    uint8_t nonce[IV];
    int n = 0;
    memcpy(nonce, h->iv, IV);
    for (int i = 0; i < 8; i++) nonce[IV - 1 - i] ^= (uint8_t)(h->seq >> (8 * i));
    h->seq++;
    return EVP_CipherInit_ex2(h->cipher, NULL, NULL, nonce, -1, NULL) == 1 &&
           EVP_CipherUpdate(h->cipher, NULL, &n, head, SP_RECORD_HEAD) == 1;
}

static void write_head(uint8_t *head, size_t n) {
    const uint8_t bytes[SP_RECORD_HEAD] = {SP_RECORD_DATA, 3, 3, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(head, bytes, sizeof bytes);
}

static bool seal_one(half *h, uint8_t type, sp_str plain, sp_buf *wire) {
    size_t inner = plain.n + 1;
    int n = 0, last = 0, end = 0;
    sp_buf_reserve(wire, SP_RECORD_HEAD + inner + TAG);
    uint8_t *head = (uint8_t *)wire->p + wire->n, *to = head + SP_RECORD_HEAD;
    write_head(head, inner + TAG);
    bool ok = begin(h, head) &&
              (!plain.n ||
               EVP_CipherUpdate(h->cipher, to, &n, (const uint8_t *)plain.p, (int)plain.n) == 1) &&
              EVP_CipherUpdate(h->cipher, to + n, &last, &type, 1) == 1 &&
              EVP_CipherFinal_ex(h->cipher, to + n + last, &end) == 1 &&
              EVP_CIPHER_CTX_ctrl(h->cipher, EVP_CTRL_AEAD_GET_TAG, TAG, to + inner) == 1;
    if (!ok || (size_t)n + (size_t)last + (size_t)end != inner) return false;
    wire->n += SP_RECORD_HEAD + inner + TAG;
    wire->p[wire->n] = 0;
    return true;
}

bool sp_tls_record_seal(sp_tls_record *r, uint8_t type, sp_str plain, sp_buf *wire) {
    do {
        sp_str piece = sp_str_sub(plain, 0, SP_RECORD_PLAIN_MAX);
        if (!seal_one(&r->write, type, piece, wire)) return false;
        plain = sp_str_from(plain, piece.n);
    } while (plain.n);
    return true;
}

static size_t body_length(sp_str in) {
    return (size_t)(uint8_t)in.p[3] << 8 | (uint8_t)in.p[4];
}

/* Behind the handshake all records are encrypted (5: also no change_cipher_spec any more), and the
 * padding counts in the limit of the plain ones (5.4). */
static sp_record_result judge_head(sp_str in) {
    size_t n = body_length(in);
    if (in.p[0] != SP_RECORD_DATA || in.p[1] != 3) return SP_RECORD_ODD;
    if (n > INNER_MAX + TAG) return SP_RECORD_LONG;
    return n > TAG ? SP_RECORD_OK : SP_RECORD_BAD;
}

/* A head that breaks the rules counts as whole: it can be refused without more. */
bool sp_tls_record_is_whole(sp_str in) {
    return in.n >= SP_RECORD_HEAD &&
           (judge_head(in) != SP_RECORD_OK || in.n >= SP_RECORD_HEAD + body_length(in));
}

sp_record_result sp_tls_record_open(sp_tls_record *r, sp_str *in, char *to, size_t max,
                                    uint8_t *ret_type, size_t *ret_n) {
    int n = 0, end = 0;
    if (!sp_tls_record_is_whole(*in)) return SP_RECORD_MORE;
    sp_record_result by_head = judge_head(*in);
    if (by_head != SP_RECORD_OK) return by_head;
    size_t inner = body_length(*in) - TAG;
    const uint8_t *head = (const uint8_t *)in->p, *body = head + SP_RECORD_HEAD;
    if (inner > max) return SP_RECORD_FULL;
    bool ok = begin(&r->read, head) &&
              EVP_CipherUpdate(r->read.cipher, (uint8_t *)to, &n, body, (int)inner) == 1 &&
              EVP_CIPHER_CTX_ctrl(r->read.cipher, EVP_CTRL_AEAD_SET_TAG, TAG,
                                  (void *)(uintptr_t)(body + inner)) == 1 &&
              EVP_CipherFinal_ex(r->read.cipher, (uint8_t *)to + n, &end) == 1;
    if (!ok) return SP_RECORD_BAD;
    while (inner && to[inner - 1] == 0) inner--; /* padding; before it the type */
    if (!inner) return SP_RECORD_ODD;
    *ret_type = (uint8_t)to[inner - 1];
    *ret_n = inner - 1;
    *in = sp_str_from(*in, SP_RECORD_HEAD + body_length(*in));
    return SP_RECORD_OK;
}

/* --- changing keys --- */

bool sp_tls_record_next_read(sp_tls_record *r) {
    return next_keys(r->suite, &r->read, false);
}

bool sp_tls_record_next_write(sp_tls_record *r, bool ask, sp_buf *wire) {
    const char message[] = {KEY_UPDATE, 0, 0, 1, (char)ask};
    return sp_tls_record_seal(r, SP_RECORD_HANDSHAKE, (sp_str){message, sizeof message}, wire) &&
           next_keys(r->suite, &r->write, true);
}

bool sp_tls_record_is_worn(const sp_tls_record *r) {
    return r->write.seq >= WORN_RECORDS;
}
