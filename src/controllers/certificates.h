/* Decisions about certificates (cert-manager.io/v1): pure, from documents and the time. */
#pragma once
#include "kube/controller.h"

/* What the Secret of a Certificate is worth. */
typedef struct sp_certificate_look {
    bool good;       /* in the Secret, for these names, from this issuer, not yet to be renewed */
    const char *why; /* while it is not */
    int64_t renew_at_ms, not_before_ms, not_after_ms; /* of the one that is there; 0 = none */
} sp_certificate_look;
/* secret may be NULL. */
sp_certificate_look sp_certificate_examine(sp_arena *a, const sp_json *certificate,
                                           const sp_json *secret, int64_t now_ms);

/* How long the next attempt waits after failures (0 = it may be made now): one minute, doubling up
 * to 32 hours, as long as the declaration stays the same. */
int64_t sp_certificate_wait_ms(const sp_json *certificate, int64_t now_ms);

/* "" when the issuer can be used; else what is wrong with it, in words. *ret_reason as the
 * condition wants it. */
sp_str sp_issuer_fault(sp_arena *a, const sp_json *issuer, const sp_json *ca_secret,
                       const char **ret_reason);
/* HTTP-01 unless the first solver for these names says tlsALPN01. */
bool sp_issuer_wants_tls_alpn(const sp_json *issuer, const sp_json *certificate);

/* The Certificates that an Ingress or Gateway asks for by annotation (cert-manager.io/issuer,
 * cert-manager.io/cluster-issuer): created, changed, deleted. owned: those it controls now; get:
 * another one of that name. */
void sp_certificate_shim_decide(sp_reconcile *r, const sp_json *obj, const sp_obj_list *owned,
                                const sp_json *(*get)(void *ctx, sp_str ns, sp_str name),
                                void *ctx);

/* data[key] of a Secret, decoded; "" when it is missing. */
sp_str sp_secret_get(sp_arena *a, const sp_json *secret, const char *key);
