/* Session tickets (RFC 5077, RFC 8446 4.6.1): the server keeps nothing, the client brings its
 * session back, encrypted by keys that only this process knows. All contexts and all threads share
 * them, so a client may come back to any loop. A key seals for an hour and opens for two more. */
#include "base/clock.h"
#include "base/rng.h"
#include "net/tls_internal.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <pthread.h>

enum { KEYS = 3, SEALS_MS = 3600 * 1000, LIFE_S = 2 * 3600 };

typedef struct ticket_key {
    unsigned char name[16], aes[32], mac[32];
    int64_t made_ms; /* 0 = none */
} ticket_key;

static struct {
    pthread_mutex_t lock;
    ticket_key keys[KEYS]; /* newest first */
    EVP_CIPHER *cipher;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void rotate(int64_t now) {
    const ticket_key *newest = &shared.keys[0];
    if (newest->made_ms && now - newest->made_ms < SEALS_MS) return;
    memmove(&shared.keys[1], &shared.keys[0], (KEYS - 1) * sizeof shared.keys[0]);
    sp_rng_bytes(&shared.keys[0], offsetof(ticket_key, made_ms));
    shared.keys[0].made_ms = now;
    if (!shared.cipher) shared.cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    sp_assert(shared.cipher);
}

static int find_key(const unsigned char *name, int64_t now) {
    for (int i = 0; i < KEYS; i++) {
        const ticket_key *k = &shared.keys[i];
        bool alive = k->made_ms && now - k->made_ms < (int64_t)KEYS * SEALS_MS;
        if (alive && CRYPTO_memcmp(k->name, name, sizeof k->name) == 0) return i;
    }
    return -1;
}

static bool set_mac(EVP_MAC_CTX *mac, ticket_key *k) {
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof k->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* 1 = done, 2 = done and give a new one, 0 = not ours, -1 = error */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal) {
    ticket_key k;
    int64_t now = sp_clock_mono_ms() + 1;
    pthread_mutex_lock(&shared.lock);
    rotate(now);
    int at = seal ? 0 : find_key(name, now);
    if (at >= 0) k = shared.keys[at];
    pthread_mutex_unlock(&shared.lock);
    if (at < 0) return 0;
    if (seal) {
        memcpy(name, k.name, sizeof k.name);
        sp_rng_bytes(iv, 16);
    }
    bool ok =
        EVP_CipherInit_ex2(cipher, shared.cipher, k.aes, iv, seal, NULL) == 1 && set_mac(mac, &k);
    OPENSSL_cleanse(&k, sizeof k);
    /* By TLS 1.3 a client uses a ticket once (RFC 8446 C.4): without a new one, every other of its
     * connections would have to begin anew. */
    bool renew = at > 0 || (!seal && SSL_version(ssl) == TLS1_3_VERSION);
    return !ok ? -1 : renew ? 2 : 1;
}

void sp_tls_use_tickets(SSL_CTX *ssl) {
    SSL_CTX_set_timeout(ssl, LIFE_S);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket);
}
