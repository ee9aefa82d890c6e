/* Calls to an etcd cluster: several endpoints of which one is used at a time, TLS, a token where
 * the cluster has users, messages by protobuf-c (etcd.proto). Loop thread only. */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include "net/tls.h"
#include "store/etcd_advice.h"

#include <protobuf-c/protobuf-c.h>
#include <uv.h>

/* Where the certificates came from; NULL = not from a file. Looked at again when the endpoint
 * changes. */
typedef struct sp_etcd_files {
    const char *ca, *cert, *key;
} sp_etcd_files;

/* Certificates as OpenSSL wants them, shared by the clients whose config names it: what one of them
 * reads anew serves all. */
typedef struct sp_etcd_tls sp_etcd_tls;

typedef struct sp_etcd_config {
    sp_strs endpoints; /* "http://10.0.0.1:2379", "https://…"; copied */
    sp_str ca_pem;     /* who signed the servers' certificates; "" = the system's */
    sp_str cert_pem, key_pem;
    sp_etcd_files files;         /* of these; copied */
    sp_etcd_tls *tls;            /* made of these, referenced; NULL = each client makes its own */
    const char *user, *password; /* NULL = none */
} sp_etcd_config;

/* Of the certificates of c, when one of its endpoints asks for TLS; else *ret is NULL. A client
 * certificate that has ended is an error, one that ends soon is logged: so for clients that come
 * and go, make one and keep it. */
SP_MUST_USE bool sp_etcd_tls_new(const sp_etcd_config *c, sp_etcd_tls **ret, sp_err *err);
sp_etcd_tls *sp_etcd_tls_unref(sp_etcd_tls *t); /* takes NULL, returns NULL */

typedef struct sp_etcd sp_etcd;
SP_MUST_USE bool sp_etcd_new(uv_loop_t *loop, const sp_etcd_config *c, sp_etcd **ret, sp_err *err);
sp_etcd *sp_etcd_free(sp_etcd *e); /* cancels; takes NULL, returns NULL */

typedef enum sp_etcd_again {
    SP_ETCD_ONCE, /* never sent a second time */
    SP_ETCD_SAFE  /* sent to the next endpoint when the first one fails */
} sp_etcd_again;

typedef struct sp_etcd_call sp_etcd_call;
/* answer: unpacked, lent; NULL when err is set. err of an unclear outcome is SP_UNAVAILABLE or
 * SP_TIMEOUT. Never called from inside the start. */
typedef void sp_etcd_done(void *ctx, const ProtobufCMessage *answer, const sp_err *err);
sp_etcd_call *sp_etcd_call_start(sp_etcd *e, const char *path, const ProtobufCMessage *request,
                                 const ProtobufCMessageDescriptor *answer, sp_etcd_again again,
                                 uint32_t timeout_ms, sp_etcd_done *done, void *ctx);
/* A stream of answers: each lent to `message`; done once, last (err NULL: the server ended it). */
sp_etcd_call *sp_etcd_stream(sp_etcd *e, const char *path, const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *answer,
                             void (*message)(void *ctx, const ProtobufCMessage *m),
                             sp_etcd_done *done, void *ctx);
void sp_etcd_cancel(sp_etcd_call *call); /* done is not called any more */
/* The endpoint in use does not answer as it should: what runs on it fails, the next one is taken.
 */
void sp_etcd_leave(sp_etcd *e);
const char *sp_etcd_endpoint(const sp_etcd *e); /* in use */
/* Each endpoint has failed so that waiting does not help: somebody has to mend something. */
bool sp_etcd_is_hopeless(const sp_etcd *e);
/* Inside a done with an err: what kind it is. */
sp_etcd_fault sp_etcd_fault_now(const sp_etcd *e);
/* Inside a done with an err: etcd may have got the call, and may still act upon it. */
bool sp_etcd_was_sent(const sp_etcd *e);
/* Inside a done without err: microseconds from when it was sent, the last time, to its answer. */
int64_t sp_etcd_took_us(const sp_etcd *e);
