/* What the two halves of tls.h share: PEM in and out, OpenSSL's error queue as our errors. */
#pragma once
#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* "what: reason of OpenSSL"; empties OpenSSL's queue. */
bool sp_tls_fail(sp_err *err, sp_code code, const char *what);
BIO *sp_tls_bio(sp_str pem); /* reads from borrowed bytes */
X509 *sp_tls_read_cert(sp_str pem);
EVP_PKEY *sp_tls_read_key(sp_str pem);
