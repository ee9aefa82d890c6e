/* What lets a machine into a cluster: "ID.SECRET.HASH". ID names the token, SECRET proves that its
 * holder may join, HASH (SHA-256 of the CA's public key, as kubeadm's discovery hash) lets the
 * holder know that it talks to the right cluster before it says the secret. The cluster keeps the
 * ID and a digest of the secret in a Secret of kube-system, so that nobody who reads that can join.
 * Pure, but for the randomness. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "data/json.h"

enum { SP_JOIN_ID = 6, SP_JOIN_SECRET = 28, SP_JOIN_HASH = 64, SP_JOIN_TOKEN_MAX = 110 };

typedef struct sp_join_token {
    char id[SP_JOIN_ID + 1], secret[SP_JOIN_SECRET + 1];
    char ca_hash[SP_JOIN_HASH + 1]; /* "" when it was left out, as towards the cluster */
} sp_join_token;

/* With or without the hash. */
SP_MUST_USE bool sp_join_token_parse(sp_str text, sp_join_token *ret, sp_err *err);
void sp_join_token_make(const char *ca_hash, sp_join_token *ret);
void sp_join_token_print(const sp_join_token *t, char ret[SP_JOIN_TOKEN_MAX]);
/* The same hash as
 *   openssl x509 -pubkey -in ca.crt | openssl pkey -pubin -outform der | sha256sum */
SP_MUST_USE bool sp_join_ca_hash(sp_str ca_pem, char ret[SP_JOIN_HASH + 1], sp_err *err);

/* --- how the cluster keeps it --- */
#define SP_JOIN_TYPE "sampan.dev/join-token"
#define SP_JOIN_PREFIX "join-token-"
#define SP_JOIN_NAMESPACE "kube-system"
/* The Secret, without its secret. */
sp_json *sp_join_token_object(sp_arena *a, const sp_join_token *t, int64_t expires_wall_ms);
/* object: the Secret SP_JOIN_PREFIX ID of kube-system, NULL when there is none. */
SP_MUST_USE bool sp_join_token_check(const sp_json *object, const sp_join_token *t,
                                     int64_t now_wall_ms, sp_err *err);
