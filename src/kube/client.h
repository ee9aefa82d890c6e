/* The API client every role and the CLI use: a kubeconfig in, documents out. Loop thread only.
 *
 * A kubeconfig may name several servers, of which one is used (net/client.h says when it is left).
 * One that answers 503 is left, too, as it may be stopping or cut off from its store. But all of
 * them may be of one mind (etcd is full, it has no quorum), and leaving ends the watches there: so
 * each of the others is tried once; then it stays, until a write has got another answer or 30 s
 * have gone. */
#pragma once
#include "kube/object.h"
#include "net/client.h"

typedef struct sp_kube sp_kube;

typedef struct sp_kube_config {
    const char *kubeconfig; /* path; NULL = $KUBECONFIG, then ~/.kube/config */
    const char *context;    /* NULL = current-context */
    const char *user_agent; /* NULL = "sampan" */
    size_t only; /* sp_kube_open_h1: of several servers this one alone, from 1; 0 = all */
} sp_kube_config;

SP_MUST_USE bool sp_kube_open(uv_loop_t *loop, const sp_kube_config *c, sp_kube **ret, sp_err *err);
/* A client of its own that speaks HTTP/1.1, which alone has upgrades. The strings live in the
 * arena; put the prefix before each target, and authorization, when not empty, into its field. */
typedef struct sp_kube_h1 {
    sp_http_client *http; /* the caller's */
    sp_str prefix, authorization;
    sp_str server;  /* "10.0.0.1:6443"; of several the first one */
    size_t servers; /* in the kubeconfig */
} sp_kube_h1;
SP_MUST_USE bool sp_kube_open_h1(uv_loop_t *loop, const sp_kube_config *c, sp_arena *a,
                                 sp_kube_h1 *ret, sp_err *err);
sp_kube *sp_kube_free(sp_kube *k);
const char *sp_kube_namespace(const sp_kube *k); /* of the context, "default" if none */
const char *sp_kube_server(const sp_kube *k);    /* https://127.0.0.1:6443 */
uv_loop_t *sp_kube_loop(const sp_kube *k);

/* obj: the answer, lent, with an arena that dies after the callback. On a failure answer err holds
 * the Status (reason, text) and obj the Status document if there was one. */
typedef void sp_kube_done(void *ctx, int http, const sp_json *obj, const sp_err *err);

typedef struct sp_kube_request {
    const char *method;       /* GET POST PUT PATCH DELETE */
    sp_str target;            /* path?query */
    const char *content_type; /* NULL = application/json */
    const char *accept;       /* NULL = application/json */
    const sp_json *body;      /* NULL = none; rendered before the call returns */
    sp_str raw;               /* in place of body: bytes already rendered */
    uint32_t timeout_ms;      /* 0 = 30 s */
} sp_kube_request;
sp_http_call *sp_kube_call(sp_kube *k, const sp_kube_request *r, sp_kube_done *done, void *ctx);
/* Ends a call or stream that still runs; its done is not called. The only way to cancel one. */
void sp_kube_cancel(sp_kube *k, sp_http_call *call);
/* Writes from now on carry the header x-sampan-lease (op.h), so that they are made only while the
 * Lease is held as `lease` says: "NAMESPACE/NAME/HOLDER", copied. before: called before each, may
 * be NULL. */
void sp_kube_set_fence(sp_kube *k, sp_str lease, void (*before)(void *ctx), void *ctx);
uint64_t sp_kube_calls(const sp_kube *k); /* started so far, for metrics */

/* The same, blocking: runs the loop until the answer is there (CLI and tests only). The answer
 * belongs to the arena. */
SP_MUST_USE bool sp_kube_call_sync(sp_kube *k, sp_arena *a, const sp_kube_request *r, int *ret_http,
                                   sp_json **ret, sp_err *err);

/* A raw stream (pod logs, a watch as Tables): bytes as they come. accept: NULL = any. A failure
 * answer reaches done as the err of its Status. */
sp_http_call *sp_kube_stream(sp_kube *k, sp_str target, const char *accept,
                             void (*data)(void *ctx, sp_str bytes),
                             void (*done)(void *ctx, const sp_err *err), void *ctx);
/* --- pure --- */
typedef struct sp_kube_refusals { /* by 503; begins as zero */
    size_t left;                  /* servers that were left for it, since */
    int64_t since_ms;
} sp_kube_refusals;
/* May the server that answered 503 be left, of which there are `others`? Count in `left` when it
 * was. */
bool sp_kube_may_leave(sp_kube_refusals *r, size_t others, int64_t now_ms);

/* Called once when the server has begun to answer the stream with success. */
void sp_kube_on_opened(sp_kube *k, sp_http_call *call, void (*fn)(void *ctx));
