/* The certificates and kubeconfigs of one installation, made on first start and kept:
 *   DIR/pki/ca.crt …      our own CA, a server certificate, one client certificate per role
 *   DIR/pki/etcd-…        etcd's own CA, and certificates for its clients and between its members
 *   DIR/kubeconfig        the administrator's (system:masters), for kubectl; under sudo it belongs
 * to who ran sudo DIR/conf/ROLE.kubeconfig Blocking; no loop needed. */
#pragma once
#include "base/err.h"

typedef struct sp_pki_config {
    const char *dir;  /* the data directory; exists */
    const char *host; /* where clients of this machine reach the API server */
    uint16_t port;
    const char *node_name;
    const char *node_ip;
    const char *ca_dir; /* where ca.crt and ca.key are taken from, if there are none; NULL = made */
    const char *others; /* further API servers for the roles: "https://…,…"; NULL = none */
    bool renew;         /* all certificates, however long they still last */
    bool etcd;          /* also what a member of etcd needs, of a CA of its own */
} sp_pki_config;

/* Makes what is missing, renews what ends within 30 days (not the CA), rewrites the kubeconfigs
 * when the address changed. */
SP_MUST_USE bool sp_pki_ensure(const sp_pki_config *c, sp_err *err);
