/* What must hold before `sampan up` starts anything, each failure a sentence that says what to do.
 */
#pragma once
#include "base/err.h"

typedef struct sp_preflight {
    const char *data_dir;
    const char *bind;                                  /* address of the API server */
    uint16_t api_port, gateway_port, gateway_tls_port; /* of the gateway: 0 = not served */
    bool agent;                                        /* containers will be run here */
    bool etcd;                                         /* etcd will be run here */
    const char *ip;                                    /* where: the address of the node */
    uint16_t etcd_client_port, etcd_peer_port;
} sp_preflight;

enum { SP_DATA_VERSION = 1 };

/* Creates and locks the data directory (the lock is held until the process ends), checks rights,
 * programs and ports. */
SP_MUST_USE bool sp_preflight_run(const sp_preflight *p, sp_err *err);
