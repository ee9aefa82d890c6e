/* What a person can do about an etcd that does not answer as it should. Pure; any thread. */
#pragma once
#include "base/err.h"

typedef enum sp_etcd_fault {
    SP_ETCD_FAULT_CALL,     /* about this request: the cluster is well */
    SP_ETCD_FAULT_ENDPOINT, /* this endpoint cannot be used just now: another one may be */
    SP_ETCD_FAULT_FINAL,    /* this endpoint cannot be used until somebody mends something */
    SP_ETCD_FAULT_TOKEN     /* who we are was not taken: sign in again */
} sp_etcd_fault;

/* The quota is used up. The write that finds this out is refused with these words, and may have
 * been made all the same (etcd's quotaApplierV3). */
bool sp_etcd_is_full(const sp_err *err);

/* tls: the endpoint is https. Adds what to do to the text of err, where that is known. */
sp_etcd_fault sp_etcd_judge(sp_err *err, bool tls);
