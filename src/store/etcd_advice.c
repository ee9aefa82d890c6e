/* A table from what is said (by TLS, by the wire, by etcd) to what it means. The words of etcd are
 * those of its api/v3rpc/rpctypes, which its own client compares, too. The first row that fits
 * counts: by its code, or any; by its words, or any; by the kind of the endpoint. */
#include "store/etcd_advice.h"

#include <string.h>

typedef enum where { ANYWHERE, BY_TLS, PLAIN } where;

typedef struct row {
    const char *words; /* in the text; NULL = any */
    where where;
    sp_code code; /* SP_OK = any */
    sp_etcd_fault fault;
    const char *advice; /* NULL = none */
    sp_code becomes;    /* SP_OK = stays */
} row;

#define REFUSED_CERT                                                                               \
    "etcd does not take our certificate: --etcd-certfile and --etcd-keyfile have to be valid and " \
    "signed by the CA that etcd trusts (its --trusted-ca-file)"
#define NOT_ETCD "this is not etcd 3.4 or newer: look at the address"
#define NOBODY "the address has to be that of an etcd member's --listen-client-urls"

static const row rows[] = {
    /* TLS, what we think of etcd */
    {"is not accepted: certificate has expired", BY_TLS, 0, SP_ETCD_FAULT_FINAL,
     "renew the certificate of that etcd member; or the clock of this machine is wrong", 0},
    {"is not accepted: certificate is not yet valid", BY_TLS, 0, SP_ETCD_FAULT_FINAL,
     "look at the clocks of this machine and of that etcd member", 0},
    {"mismatch", BY_TLS, SP_CONNECTION, SP_ETCD_FAULT_FINAL,
     "the certificate of that etcd member is for other names: use one of them, or renew it with "
     "this one",
     0},
    {"is not accepted", BY_TLS, SP_CONNECTION, SP_ETCD_FAULT_FINAL,
     "--etcd-cafile has to be the CA that has signed the certificate of etcd", 0},
    /* TLS, what etcd thinks of us */
    {"alert certificate required", BY_TLS, 0, SP_ETCD_FAULT_FINAL,
     "etcd wants a client certificate: give --etcd-certfile and --etcd-keyfile", 0},
    {"alert", BY_TLS, SP_CONNECTION, SP_ETCD_FAULT_FINAL, REFUSED_CERT, 0},
    {"hung up without a word", BY_TLS, SP_CONNECTION, SP_ETCD_FAULT_ENDPOINT, REFUSED_CERT, 0},
    {"hung up during the TLS handshake", BY_TLS, 0, SP_ETCD_FAULT_FINAL,
     "that port does not speak TLS as it seems: is it http://?", 0},
    {"TLS handshake: ", BY_TLS, 0, SP_ETCD_FAULT_FINAL,
     "that port does not speak TLS as it seems: is it http://? " NOBODY, 0},
    /* no TLS */
    {"hung up without a word", PLAIN, SP_CONNECTION, SP_ETCD_FAULT_ENDPOINT,
     "a port that wants TLS does so: is it https://?", 0},
    /* something else listens there */
    {"does not speak HTTP/2", ANYWHERE, 0, SP_ETCD_FAULT_FINAL, NOT_ETCD, 0},
    {"in place of gRPC", ANYWHERE, SP_UNAVAILABLE, SP_ETCD_FAULT_ENDPOINT, NULL, 0},
    {"in place of gRPC", ANYWHERE, 0, SP_ETCD_FAULT_FINAL, NOT_ETCD, SP_UNAVAILABLE},
    {", not gRPC", ANYWHERE, 0, SP_ETCD_FAULT_FINAL, NOT_ETCD, SP_UNAVAILABLE},
    {"an answer that is not", ANYWHERE, 0, SP_ETCD_FAULT_FINAL, NOT_ETCD, SP_UNAVAILABLE},
    {NULL, ANYWHERE, SP_METHOD_NOT_ALLOWED, SP_ETCD_FAULT_FINAL,
     "it does not know this request: " NOT_ETCD, SP_UNAVAILABLE},
    /* users */
    {"invalid auth token", ANYWHERE, 0, SP_ETCD_FAULT_TOKEN, NULL, SP_UNAVAILABLE},
    {"revision of auth store is old", ANYWHERE, 0, SP_ETCD_FAULT_TOKEN, NULL, SP_UNAVAILABLE},
    {"user name is empty", ANYWHERE, 0, SP_ETCD_FAULT_TOKEN,
     "this etcd knows users: give --etcd-user and --etcd-password-file", SP_UNAVAILABLE},
    {"authentication failed", ANYWHERE, 0, SP_ETCD_FAULT_FINAL,
     "--etcd-user or --etcd-password-file is wrong", SP_UNAVAILABLE},
    {"permission denied", ANYWHERE, 0, SP_ETCD_FAULT_CALL,
     "that user needs a role that may read and write all below the prefix (etcdctl role "
     "grant-permission ROLE readwrite --prefix=true PREFIX)",
     SP_UNAVAILABLE},
    /* no quorum, as a member says it that waited for one: with the status "unknown" */
    {"context deadline exceeded", ANYWHERE, 0, SP_ETCD_FAULT_ENDPOINT, NULL, SP_TIMEOUT},
    {"context canceled", ANYWHERE, 0, SP_ETCD_FAULT_ENDPOINT, NULL, SP_UNAVAILABLE},
    {"raft proposal dropped", ANYWHERE, 0, SP_ETCD_FAULT_ENDPOINT, NULL, SP_UNAVAILABLE},
    /* the state of etcd */
    {"database space exceeded", ANYWHERE, 0, SP_ETCD_FAULT_CALL,
     "etcd is full (its NOSPACE alarm is raised): compact and defragment it, then disarm the "
     "alarm (etcdctl alarm disarm)",
     SP_UNAVAILABLE},
    {"corrupt cluster", ANYWHERE, 0, SP_ETCD_FAULT_CALL,
     "etcd's members disagree (its CORRUPT alarm is raised): replace the damaged member",
     SP_UNAVAILABLE},
    {"required revision has been compacted", ANYWHERE, 0, SP_ETCD_FAULT_CALL,
     "etcd has forgotten that state: it keeps what --etcd-compaction-interval says", 0},
    {"required revision is a future revision", ANYWHERE, 0, SP_ETCD_FAULT_CALL,
     "etcd has not come so far", 0},
    {"request is too large", ANYWHERE, 0, SP_ETCD_FAULT_CALL, NULL, SP_TOO_LARGE},
    {NULL, ANYWHERE, SP_CONNECTION, SP_ETCD_FAULT_ENDPOINT, NULL, 0},
    {NULL, ANYWHERE, SP_UNAVAILABLE, SP_ETCD_FAULT_ENDPOINT, NULL, 0},
    {NULL, ANYWHERE, SP_TIMEOUT, SP_ETCD_FAULT_ENDPOINT, NULL, 0},
    {NULL, ANYWHERE, SP_CANCELLED, SP_ETCD_FAULT_ENDPOINT, NULL, 0},
};

static bool fits(const row *r, const sp_err *err, bool tls) {
    return (r->where == ANYWHERE || tls == (r->where == BY_TLS)) &&
           (!r->code || r->code == err->code) && (!r->words || strstr(err->text, r->words));
}

bool sp_etcd_is_full(const sp_err *err) {
    return strstr(err->text, "database space exceeded") != NULL;
}

sp_etcd_fault sp_etcd_judge(sp_err *err, bool tls) {
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        const row *r = &rows[i];
        sp_err said = *err;
        if (!fits(r, err, tls)) continue;
        if (r->becomes) err->code = r->becomes;
        if (r->advice) sp_err_set(err, err->code, "%s (%s)", said.text, r->advice);
        return r->fault;
    }
    return SP_ETCD_FAULT_CALL;
}
