/* Where the objects are kept, as flags: a file, or an etcd cluster by kube-apiserver's flags. */
#pragma once
#include "base/flags.h"
#include "store/etcd_client.h"

typedef struct sp_store_flags {
    const char *store;                    /* sqlite:FILE or etcd://HOST:PORT,…[/PREFIX] */
    sp_strs servers;                      /* --etcd-servers */
    const char *ca, *cert, *key, *prefix; /* files, and the prefix of the keys */
    const char *user, *password_file;
    const char *compaction; /* a duration */
    /* from them */
    sp_etcd_config etcd;
    sp_buf ca_pem, cert_pem, key_pem, password, text;
    const char *path; /* of sqlite:FILE; NULL = not said */
    uint32_t compact_every_ms;
} sp_store_flags;

/* How to sign in to an etcd. */
#define SP_STORE_LOGIN_FLAGS(f)                                                                   \
    {"etcd-cafile", 0, SP_FLAG_STR, &(f)->ca, "FILE", "PEM CA of the etcd servers"},              \
        {"etcd-certfile", 0, SP_FLAG_STR, &(f)->cert, "FILE", "PEM client certificate for etcd"}, \
        {"etcd-keyfile", 0, SP_FLAG_STR, &(f)->key, "FILE", "PEM key of that certificate"},       \
        {"etcd-user", 0, SP_FLAG_STR, &(f)->user, "NAME", "user, where etcd knows users"}, {      \
        "etcd-password-file", 0, SP_FLAG_STR, &(f)->password_file, "FILE", "its password"         \
    }

#define SP_STORE_FLAGS(f)                                                                            \
    {"store",     0,                                                                                 \
     SP_FLAG_STR, &(f)->store,                                                                       \
     "URL",       "sqlite:FILE, or etcd://HOST:PORT[,HOST:PORT...][/PREFIX]; etcds:// for TLS"},     \
        {"etcd-servers",                                                                             \
         0,                                                                                          \
         SP_FLAG_LIST,                                                                               \
         &(f)->servers,                                                                              \
         "URL,...",                                                                                  \
         "an etcd cluster in place of the file: http://HOST:PORT or https://HOST:PORT"},             \
        {"etcd-prefix", 0,        SP_FLAG_STR,                                                       \
         &(f)->prefix,  "PREFIX", "before every key, so that several may share one etcd (/sampan)"}, \
        {"etcd-compaction-interval",                                                                 \
         0,                                                                                          \
         SP_FLAG_STR,                                                                                \
         &(f)->compaction,                                                                           \
         "DURATION",                                                                                 \
         "how much history etcd keeps, at least; 0 = never compact (5m)"},                           \
        SP_STORE_LOGIN_FLAGS(f)

/* Reads what the flags name. f->etcd.endpoints.n says whether it is etcd. */
SP_MUST_USE bool sp_store_flags_read(sp_store_flags *f, sp_err *err);
void sp_store_flags_free(sp_store_flags *f);
