/* What the server serves, in the four forms clients ask for: /api and /apis, the resource list of
 * one group version, and the aggregated document (KEP-3352, v2 and v2beta1) that replaces them all.
 * Each is written from the rows of the registry at the time of the call; the caller may cache the
 * bytes until the rows change. Groups stand in the order of their first row (kubectl resolves short
 * names in that order), versions by Kubernetes' version priority (v2 > v1 > v1beta1 > v1alpha2).
 * Key order and compactness are part of the contract: scripts grep these documents. Any thread. */
#pragma once
#include "apiserver/registry.h"

typedef enum sp_discovery_form {
    SP_DISCOVERY_PLAIN, /* APIVersions, APIGroupList */
    SP_DISCOVERY_V2,    /* aggregated */
    SP_DISCOVERY_V2BETA1
} sp_discovery_form;

/* For GET /api and GET /apis: what the Accept header prefers. */
sp_discovery_form sp_discovery_negotiate(sp_str accept);
/* The Content-Type to answer with; clients compare the parameters (static). */
const char *sp_discovery_content_type(sp_discovery_form form);

typedef struct sp_discovery_rows {
    const sp_resource *const *p;
    size_t n;
} sp_discovery_rows;

/* GET /api. server_address ("127.0.0.1:6443") is told in serverAddressByClientCIDRs. */
void sp_discovery_api(sp_buf *b, sp_discovery_rows rows, sp_discovery_form form,
                      sp_str server_address);
/* GET /apis. */
void sp_discovery_apis(sp_buf *b, sp_discovery_rows rows, sp_discovery_form form);
/* GET /apis/GROUP; false and nothing written if no row has the group. */
bool sp_discovery_group(sp_buf *b, sp_discovery_rows rows, sp_str group);
/* GET /api/v1 (group "") and /apis/GROUP/VERSION; false if there is none. */
bool sp_discovery_resources(sp_buf *b, sp_discovery_rows rows, sp_str group, sp_str version);

/* < 0 when version a has priority over b. */
int sp_version_compare(const char *a, const char *b);
/* 8 bytes in base64, the same on every server for the same storage group, version and kind. */
void sp_storage_version_hash(const sp_resource *r, char ret[16]);
