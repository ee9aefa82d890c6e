/* One certificate from an ACME server (RFC 8555): account, order, a proof for each name, request,
 * download. Runs on the loop; whoever started it puts the proofs in place when asked. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"

#include <uv.h>

typedef enum sp_acme_method {
    SP_ACME_HTTP_01 = 1,    /* RFC 8555 8.3: a file below /.well-known/acme-challenge/ */
    SP_ACME_TLS_ALPN_01 = 2 /* RFC 8737: a certificate for the protocol acme-tls/1 */
} sp_acme_method;

typedef struct sp_acme_proof {
    sp_acme_method method;
    sp_str name, token, key_authorization, url; /* lent until the proof is over */
} sp_acme_proof;

typedef struct sp_acme_result {
    sp_str cert_pem, key_pem; /* chain, leaf first; lent */
} sp_acme_result;

typedef struct sp_acme_params { /* everything is copied */
    sp_str directory;           /* https://…/directory */
    sp_str ca_pem;              /* who signed the server's certificate; "" = the system's */
    bool insecure;              /* do not ask who did */
    sp_str account_key_pem;     /* EC P-256 */
    sp_str email;               /* "" = none */
    sp_strs names;
    sp_acme_method method;
    /* Put the proof in place and call sp_acme_proved; when it is over (also by failure), it is
     * called with NULL. */
    void (*prove)(void *ctx, const sp_acme_proof *p);
    /* Once, last; the order is gone after it. err: SP_UNAVAILABLE when trying again may help,
     * SP_INVALID when the server has refused. */
    void (*done)(void *ctx, const sp_acme_result *r, const sp_err *err);
    void *ctx;
} sp_acme_params;

typedef struct sp_acme_order sp_acme_order;
SP_MUST_USE bool sp_acme_start(uv_loop_t *loop, const sp_acme_params *p, sp_acme_order **ret,
                               sp_err *err);
void sp_acme_proved(sp_acme_order *o);
/* Takes NULL, returns NULL; neither prove nor done is called any more. */
sp_acme_order *sp_acme_cancel(sp_acme_order *o);
