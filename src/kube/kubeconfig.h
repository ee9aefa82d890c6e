/* kubeconfig files: which server, how to trust it, who we are. Blocking; any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

typedef struct sp_kubeconfig {
    /* As written: https://127.0.0.1:6443/prefix; or several of them, separated by commas, which is
     * ours: other programs take one. */
    sp_str server;
    sp_str host, prefix; /* prefix without a trailing '/', usually empty */
    uint16_t port;
    struct sp_http_server_name *others; /* the second one and so on; net/client.h */
    size_t other_count;
    bool tls, insecure;
    sp_str server_name; /* tls-server-name, empty = host */
    sp_str ca_pem, cert_pem, key_pem, token;
    sp_str username, password;
    sp_str context, namespace_; /* namespace_ is "default" where the context names none */
} sp_kubeconfig;

/* path: NULL = $KUBECONFIG (a list with ':', the first entry that has a name wins, missing files
 * are skipped), then ~/.kube/config. context: NULL = current-context. Everything lives in the
 * arena; relative paths of certificates count from the directory of their file. */
SP_MUST_USE bool sp_kubeconfig_load(sp_arena *a, const char *path, const char *context,
                                    sp_kubeconfig *ret, sp_err *err);
