/* What the two halves of tls.h share: PEM in and out, OpenSSL's error queue as our errors. */
#pragma once
#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

/* "what: reason of OpenSSL"; empties OpenSSL's queue. */
bool sp_tls_fail(sp_err *err, sp_code code, const char *what);
BIO *sp_tls_bio(sp_str pem); /* reads from borrowed bytes */
X509 *sp_tls_read_cert(sp_str pem);
void sp_tls_describe_cert(X509 *x, sp_buf *ret); /* tls_peer.c */
struct ssl_st;
struct ssl_session_st;
void sp_tls_alpn_list(const char *names, sp_buf *ret); /* "h2,http/1.1" to length and name, … */
/* Makes a server's context give and take tickets by the keys of this process (tls_ticket.c). */
void sp_tls_use_tickets(struct ssl_ctx_st *ssl);
/* A client's context calls it for each session it may resume later (tls_io.c). */
int sp_tls_io_on_session(struct ssl_st *ssl, struct ssl_session_st *s);
/* A context whose connections may be lightened tells the secrets by it. */
void sp_tls_io_on_secret(const struct ssl_st *ssl, const char *line);
EVP_PKEY *sp_tls_read_key(sp_str pem);
void sp_tls_put_bio(BIO *b, sp_buf *to); /* what a memory BIO holds */
bool sp_tls_write_pems(X509 *x, EVP_PKEY *k, sp_buf *cert_pem, sp_buf *key_pem, sp_err *err);
/* type: GEN_DNS or GEN_IPADD. False when the text is not one. */
bool sp_tls_add_alt_name(GENERAL_NAMES *names, int type, const char *text);
