#include "cli/pki.h"

#include "base/arena.h"
#include "base/file.h"
#include "data/base64.h"
#include "net/tls.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CA_DAYS = 3650, LEAF_DAYS = 365, RENEW_DAYS = 30, MAX_PEM = 256 * 1024 };

/* One row per certificate. A NULL common name is the node's. etcd has a CA of its own, so that a
 * certificate for the API opens nothing there (as kubeadm does it). */
static const struct identity {
    const char *file, *common_name, *organization;
    const char *kubeconfig; /* below DIR; NULL = none */
    bool server, client, etcd;
} identities[] = {
    {"apiserver", "kube-apiserver", NULL, NULL, true, false},
    {"apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters", NULL, false,
     true},
    {"admin", "kubernetes-admin", "system:masters", "kubeconfig", false, true},
    {"controllers", "system:kube-controller-manager", NULL, "conf/controllers.kubeconfig", false,
     true},
    {"agent", NULL, "system:nodes", "conf/agent.kubeconfig", true, true},
    {"gateway", "system:kube-proxy", "system:node-proxier", "conf/gateway.kubeconfig", false, true},
    {"etcd-server", "sampan-etcd", NULL, NULL, true, true, true},
    {"etcd-peer", "sampan-etcd-peer", NULL, NULL, true, true, true},
    {"etcd-client", "sampan-etcd-client", NULL, NULL, false, true, true},
};

typedef struct pair {
    sp_buf cert, key;
} pair;

static void pair_cleanup(pair *p) {
    sp_buf_free(&p->cert);
    sp_buf_free(&p->key);
}

static void pem_path(char out[PATH_MAX], const char *dir, const char *name, const char *kind) {
    snprintf(out, PATH_MAX, "%s/pki/%s.%s", dir, name, kind);
}

static bool load_pair(const char *dir, const char *name, pair *p, sp_err *err) {
    char path[PATH_MAX];
    pem_path(path, dir, name, "crt");
    if (!sp_file_read(path, MAX_PEM, &p->cert, err)) return false;
    pem_path(path, dir, name, "key");
    return sp_file_read(path, MAX_PEM, &p->key, err);
}

static bool save_pair(const char *dir, const char *name, const pair *p, sp_err *err) {
    char path[PATH_MAX];
    pem_path(path, dir, name, "key");
    if (!sp_file_write(path, sp_buf_str(&p->key), 0600, err)) return false;
    pem_path(path, dir, name, "crt");
    return sp_file_write(path, sp_buf_str(&p->cert), 0644, err);
}

static bool exists(const char *dir, const char *name) {
    char crt[PATH_MAX], key[PATH_MAX];
    pem_path(crt, dir, name, "crt");
    pem_path(key, dir, name, "key");
    return sp_file_exists(crt) && sp_file_exists(key);
}

static bool read_given(const char *dir, const char *name, sp_buf *ret, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return sp_file_read(path, MAX_PEM, ret, err) ||
           sp_err_wrap(err, "--ca-dir (it needs ca.crt and ca.key of the first machine's pki)");
}

static bool take_ca(const sp_pki_config *c, pair *ca, sp_err *err) {
    sp_auto(pair) given = {0};
    if (!read_given(c->ca_dir, "ca.crt", &given.cert, err)) return false;
    if (exists(c->dir, "ca")) {
        if (!load_pair(c->dir, "ca", ca, err)) return false;
        return sp_str_eq(sp_buf_str(&ca->cert), sp_buf_str(&given.cert)) ||
               sp_fail(err, SP_INVALID,
                       "%s/pki has another CA than --ca-dir %s: start with a new --data-dir, or "
                       "without --ca-dir",
                       c->dir, c->ca_dir);
    }
    if (!read_given(c->ca_dir, "ca.key", &given.key, err) || !save_pair(c->dir, "ca", &given, err))
        return false;
    return load_pair(c->dir, "ca", ca, err);
}

static bool ensure_ca(const sp_pki_config *c, pair *ca, sp_err *err) {
    const char *dir = c->dir;
    if (c->ca_dir) return take_ca(c, ca, err);
    if (exists(dir, "ca")) return load_pair(dir, "ca", ca, err);
    return sp_cert_make_ca("sampan-ca", CA_DAYS * SP_DAY_S, &ca->cert, &ca->key, err) &&
           save_pair(dir, "ca", ca, err);
}

static bool issue(const sp_pki_config *c, const struct identity *id, const pair *ca, pair *ret,
                  sp_err *err) {
    char host[HOST_NAME_MAX + 1] = "localhost", node[300];
    gethostname(host, sizeof host - 1);
    snprintf(node, sizeof node, "system:node:%s", c->node_name);
    const char *dns[] = {"localhost",
                         host,
                         c->node_name,
                         "kubernetes",
                         "kubernetes.default",
                         "kubernetes.default.svc",
                         "kubernetes.default.svc.cluster.local",
                         NULL};
    const char *ips[] = {"127.0.0.1", "::1", "10.96.0.1", c->node_ip, c->host, NULL};
    const sp_cert_request request = {
        .common_name = id->common_name ? id->common_name : node,
        .organization = id->organization,
        .dns_names = id->server ? dns : NULL,
        .ips = id->server ? ips : NULL,
        .server = id->server,
        .client = id->client,
        .life_s = LEAF_DAYS * SP_DAY_S,
    };
    return sp_cert_issue(sp_buf_str(&ca->cert), sp_buf_str(&ca->key), &request, &ret->cert,
                         &ret->key, err);
}

static bool ensure_leaf(const sp_pki_config *c, const struct identity *id, const pair *ca,
                        bool renew, pair *ret, sp_err *err) {
    int days = 0;
    if (!renew && exists(c->dir, id->file)) {
        if (!load_pair(c->dir, id->file, ret, err)) return false;
        if (!sp_cert_days_left(sp_buf_str(&ret->cert), &days, err)) return false;
        if (days > RENEW_DAYS) return true;
        sp_buf_clear(&ret->cert);
        sp_buf_clear(&ret->key);
    }
    return issue(c, id, ca, ret, err) && save_pair(c->dir, id->file, ret, err);
}

static void add_data(sp_buf *b, const char *key, const sp_buf *pem) {
    sp_buf_printf(b, "    %s: ", key);
    sp_base64_encode(b, sp_buf_str(pem));
    sp_buf_addc(b, '\n');
}

/* Who ran sudo is the administrator, and kubectl runs without sudo. */
static bool give_to_sudo_user(const char *path, sp_err *err) {
    const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");
    int64_t u, g;
    if (geteuid() != 0 || !uid || !gid || !sp_str_i64(sp_str_z(uid), &u) ||
        !sp_str_i64(sp_str_z(gid), &g))
        return true;
    return lchown(path, (uid_t)u, (gid_t)g) == 0 || sp_fail_errno(err, errno, "%s", path);
}

static bool write_kubeconfig(const sp_pki_config *c, const struct identity *id, const pair *ca,
                             const pair *leaf, sp_err *err) {
    sp_auto(sp_buf) b = {0}, old = {0};
    sp_buf_addz(&b, "apiVersion: v1\nkind: Config\nclusters:\n- name: sampan\n  cluster:\n");
    bool role = strchr(id->kubeconfig, '/') != NULL; /* kubectl takes one server only */
    sp_buf_printf(&b, "    server: https://%s:%u%s%s\n", c->host, c->port,
                  role && c->others ? "," : "", role && c->others ? c->others : "");
    add_data(&b, "certificate-authority-data", &ca->cert);
    sp_buf_printf(&b, "users:\n- name: %s\n  user:\n", id->file);
    add_data(&b, "client-certificate-data", &leaf->cert);
    add_data(&b, "client-key-data", &leaf->key);
    sp_buf_printf(&b,
                  "contexts:\n- name: sampan\n  context:\n    cluster: sampan\n    user: %s\n"
                  "current-context: sampan\n",
                  id->file);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", c->dir, id->kubeconfig);
    bool same =
        sp_file_read(path, MAX_PEM, &old, NULL) && sp_str_eq(sp_buf_str(&old), sp_buf_str(&b));
    if (!same && !sp_file_write(path, sp_buf_str(&b), 0600, err)) return false;
    return role || give_to_sudo_user(path, err);
}

/* The names inside the server certificates; when they change the certificates are made again. */
static bool names_changed(const sp_pki_config *c, sp_err *err, bool *ret) {
    sp_auto(sp_buf) now = {0}, before = {0};
    char path[PATH_MAX];
    sp_buf_printf(&now, "%s %s %s\n", c->node_name, c->node_ip, c->host);
    snprintf(path, sizeof path, "%s/pki/names", c->dir);
    bool same =
        sp_file_read(path, 4096, &before, NULL) && sp_str_eq(sp_buf_str(&now), sp_buf_str(&before));
    *ret = !same;
    return same || sp_file_write(path, sp_buf_str(&now), 0644, err);
}

static bool ensure_etcd_ca(const sp_pki_config *c, pair *ca, sp_err *err) {
    if (!c->etcd) return true;
    if (exists(c->dir, "etcd-ca")) return load_pair(c->dir, "etcd-ca", ca, err);
    return sp_cert_make_ca("sampan-etcd-ca", CA_DAYS * SP_DAY_S, &ca->cert, &ca->key, err) &&
           save_pair(c->dir, "etcd-ca", ca, err);
}

bool sp_pki_ensure(const sp_pki_config *c, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/pki", c->dir);
    if (!sp_mkdir_all(path, 0700, err)) return false;
    snprintf(path, sizeof path, "%s/conf", c->dir);
    if (!sp_mkdir_all(path, 0700, err)) return false;
    bool renew = false, changed = false;
    sp_auto(pair) ca = {0}, etcd_ca = {0};
    if (!ensure_ca(c, &ca, err) || !ensure_etcd_ca(c, &etcd_ca, err) ||
        !names_changed(c, err, &changed))
        return false;
    renew = c->renew || changed;
    for (size_t i = 0; i < SP_COUNT(identities); i++) {
        const struct identity *id = &identities[i];
        sp_auto(pair) leaf = {0};
        if (id->etcd && !c->etcd) continue;
        if (!ensure_leaf(c, id, id->etcd ? &etcd_ca : &ca, renew, &leaf, err))
            return sp_err_wrap(err, "certificate %s", id->file);
        if (id->kubeconfig && !write_kubeconfig(c, id, &ca, &leaf, err)) return false;
    }
    return true;
}
