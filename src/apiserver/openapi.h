/* /openapi/v2 and /openapi/v3. Version 3 is an index of group versions, each with a URL whose hash
 * changes with its content, and one document per group version, built when first asked for and kept
 * as bytes. Version 2 exists
 * because kubectl refuses to create without it and, up to 1.26, explains by it: all definitions in
 * one protobuf document (openapi_v2.c). Loop thread only. */
#pragma once
#include "apiserver/discovery.h"
#include "base/blob.h"

/* Clients ask for …v2@v1.0+protobuf; the answer has a dot there, because '@' is no part of a media
 * type and their own parsers refuse it. */
#define SP_OPENAPI_V2_TYPE "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

typedef struct sp_openapi sp_openapi;

sp_openapi *sp_openapi_new(void);
sp_openapi *sp_openapi_free(sp_openapi *o);
/* The rows and what they point to are borrowed until the next call (or free). Documents of group
 * versions whose content changed are forgotten. Call it after every change of a CRD. */
void sp_openapi_set_rows(sp_openapi *o, sp_discovery_rows rows);

enum { SP_ETAG_MAX = 40 };
/* Each returns bytes lent until the next sp_openapi_set_rows (reference the blob to keep it) and an
 * ETag with its quotes. */
sp_blob *sp_openapi_v2(sp_openapi *o, char ret_etag[SP_ETAG_MAX]);       /* SP_OPENAPI_V2_TYPE */
sp_blob *sp_openapi_v3_index(sp_openapi *o, char ret_etag[SP_ETAG_MAX]); /* application/json */
/* path: what follows /openapi/v3/, as "api/v1" or "apis/apps/v1"; NULL if there is none such. */
sp_blob *sp_openapi_v3(sp_openapi *o, sp_str path, char ret_etag[SP_ETAG_MAX]);
