/* TLS by OpenSSL 3, and the certificates of our own CA. Loop thread unless said. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"

typedef struct sp_tls_ctx sp_tls_ctx; /* reference counted (any thread), immutable once built */

/* A chain (leaf first), its key, and what its CA says about it (OCSP response, DER; empty = none).
 */
typedef struct sp_tls_pair {
    sp_str cert_pem, key_pem, ocsp_der;
} sp_tls_pair;

typedef struct sp_tls_config {
    sp_str cert_pem; /* chain, leaf first; empty = none (clients) */
    sp_str key_pem;
    sp_str ocsp_der;           /* server: stapled where the client asks */
    const sp_tls_pair *others; /* server: more, with keys of other kinds (RSA beside ECDSA) */
    size_t other_count;
    sp_str ca_pem; /* client: whom to trust; server: whose client certificates count */
    bool server;
    bool insecure;        /* client: do not verify the server */
    bool require_client;  /* server: refuse connections without a valid client certificate */
    bool resume;          /* sessions may be resumed (server: by tickets, their keys are the
                             process's and change by the hour); never together with a client CA */
    bool strict_alpn;     /* server: a client that offers only other protocols is refused */
    bool light;           /* server: sp_tls_io_lighten may be used */
    uint16_t min_version; /* 0 = TLS 1.2 */
    const char *alpn;     /* "h2,http/1.1"; NULL = none */
} sp_tls_config;

SP_MUST_USE bool sp_tls_ctx_new(const sp_tls_config *c, sp_tls_ctx **ret, sp_err *err);
sp_tls_ctx *sp_tls_ctx_ref(sp_tls_ctx *c);
sp_tls_ctx *sp_tls_ctx_unref(sp_tls_ctx *c); /* takes NULL, returns NULL */

struct ssl_ctx_st *sp_tls_ctx_native(const sp_tls_ctx *c); /* borrowed; for net/tls_io */

/* The private key fits the first certificate of the chain, and every certificate can be read. */
SP_MUST_USE bool sp_tls_check_pair(const sp_tls_pair *p, sp_err *err);

/* Who the other side proved to be by certificate. */
typedef struct sp_tls_peer {
    sp_str common_name;
    sp_strs organizations;
} sp_tls_peer;

/* --- certificates (blocking; any thread) --- */
typedef struct sp_cert_request {
    const char *common_name;
    const char *organization;     /* NULL = none */
    const char *const *dns_names; /* NULL-ended, may be NULL */
    const char *const *ips;
    bool server, client; /* extended key usages */
    int64_t life_s;      /* it ends so many seconds from now */
} sp_cert_request;
enum { SP_DAY_S = 24 * 3600 };

/* EC P-256 key and self-signed CA certificate, PEM, appended. */
SP_MUST_USE bool sp_cert_make_ca(const char *common_name, int64_t life_s, sp_buf *cert_pem,
                                 sp_buf *key_pem, sp_err *err);
SP_MUST_USE bool sp_cert_issue(sp_str ca_cert_pem, sp_str ca_key_pem, const sp_cert_request *r,
                               sp_buf *cert_pem, sp_buf *key_pem, sp_err *err);
/* The host names (lower case, wildcards as they are) of the first certificate: of its
 * subjectAltName, else its common name. In the arena. */
SP_MUST_USE bool sp_cert_names(sp_str cert_pem, sp_arena *a, sp_strs *ret, sp_err *err);
/* Of the first certificate's key, as OpenSSL numbers them (EVP_PKEY_RSA, …); 0 = unreadable. */
int sp_cert_key_kind(sp_str cert_pem);
/* SHA-256 of the first certificate's public key (SubjectPublicKeyInfo, RFC 7469's pin). */
SP_MUST_USE bool sp_cert_key_digest(sp_str cert_pem, unsigned char ret[32], sp_err *err);
/* Whole days until the first certificate of the PEM ends; negative when past. */
SP_MUST_USE bool sp_cert_days_left(sp_str cert_pem, int *ret, sp_err *err);
