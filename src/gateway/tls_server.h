/* From a sp_tls_spec to what a handshake needs. One cache for the process, by content: loops share
 * the contexts, and a new configuration with the same certificates costs one hash. A changed
 * certificate is a new entry, used by the handshakes that follow; open connections keep theirs.
 * Any thread. */
#pragma once
#include "base/err.h"
#include "gateway/config.h"
#include "net/tls.h"

typedef struct sp_tls_server sp_tls_server; /* reference counted, immutable */

/* Referenced. alpn: "h2,http/1.1", NULL = none. Certificates that cannot be used are left out and
 * logged; false when none is left. */
SP_MUST_USE bool sp_tls_server_get(const sp_tls_spec *spec, const char *alpn, sp_tls_server **ret,
                                   sp_err *err);
sp_tls_server *sp_tls_server_unref(sp_tls_server *s); /* takes NULL, returns NULL */
/* The context for a server name (lower case; "" = none): the certificate of exactly that name, then
 * of a wildcard, then the first. Borrowed. */
sp_tls_ctx *sp_tls_server_pick(const sp_tls_server *s, sp_str name);

/* The same towards a pool's endpoints. */
typedef struct sp_tls_client {
    char key[32];
    uint32_t refs;   /* under the cache's lock */
    sp_tls_ctx *ctx; /* borrowed by users */
} sp_tls_client;
SP_MUST_USE bool sp_tls_client_get(const sp_upstream_tls *t, sp_tls_client **ret, sp_err *err);
sp_tls_client *sp_tls_client_unref(sp_tls_client *c); /* takes NULL, returns NULL */

/* Which entry answers for a name ("" = none was sent): exact, then the longest wildcard, then the
 * entry for any; NULL: nobody. Pure. */
const sp_sni_entry *sp_sni_find(const sp_sni_entry *list, size_t n, sp_str name);

/* --- certificates, looked at without a socket (control side, files) --- */
/* The chain can be read and the key fits its first certificate. Says the source. */
SP_MUST_USE bool sp_tls_check_cert(const sp_tls_cert *c, sp_err *err);
/* PEM bundle of CAs: at least one certificate, none broken. */
SP_MUST_USE bool sp_tls_check_ca(sp_str ca_pem, sp_err *err);
