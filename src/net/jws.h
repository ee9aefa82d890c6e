/* Signed JSON for ACME (RFC 7515 flattened form, RFC 7638 thumbprints, RFC 8555 6.2), certificate
 * requests (RFC 2986) and what is asked of a finished certificate. EC P-256 and SHA-256 only. Any
 * thread. */
#pragma once
#include "net/tls.h"

typedef struct sp_jws_key sp_jws_key;

/* A new private key, PEM, appended. */
SP_MUST_USE bool sp_jws_key_make(sp_buf *ret_pem, sp_err *err);
/* SP_BAD_REQUEST for anything but an EC P-256 key. */
SP_MUST_USE bool sp_jws_key_load(sp_str pem, sp_jws_key **ret, sp_err *err);
sp_jws_key *sp_jws_key_free(sp_jws_key *k); /* takes NULL, returns NULL */

/* The public half as canonical JSON: what a thumbprint is made of and what "jwk" holds. */
void sp_jws_write_jwk(const sp_jws_key *k, sp_buf *b);
void sp_jws_write_thumbprint(const sp_jws_key *k, sp_buf *b); /* base64url(SHA-256(jwk)) */
/* {"protected":…,"payload":…,"signature":…}; header is the JSON of the protected part. */
SP_MUST_USE bool sp_jws_sign(const sp_jws_key *k, sp_str header, sp_str payload, sp_buf *b,
                             sp_err *err);

/* A new key and a request for these names (DNS names and IP addresses), DER. */
SP_MUST_USE bool sp_csr_make(const sp_strs *names, sp_buf *key_pem, sp_buf *csr_der, sp_err *err);
/* The certificate that answers a tls-alpn-01 challenge (RFC 8737): self-signed for this name, with
 * the hash of the key authorization in a critical extension. */
SP_MUST_USE bool sp_cert_make_acme_answer(sp_str dns_name, sp_str key_authorization,
                                          sp_buf *cert_pem, sp_buf *key_pem, sp_err *err);

typedef struct sp_cert_facts {
    int64_t not_before_ms, not_after_ms; /* since 1970 */
    sp_strs names;                       /* DNS names and addresses; in the arena */
    bool key_fits;
} sp_cert_facts;
/* Of the first certificate of the PEM. SP_BAD_REQUEST when it cannot be read. Free names.p by
 * sp_vec_free. */
SP_MUST_USE bool sp_cert_read(sp_arena *a, sp_str cert_pem, sp_str key_pem, sp_cert_facts *ret,
                              sp_err *err);
