/* What both OpenAPI documents share: the named types reached from the objects of a set of rows.
 * Private to openapi.c and openapi_v2.c. */
#pragma once
#include "apiserver/discovery.h"
#include "base/map.h"

/* Each named schema once, in the order in which it is reached. */
typedef struct sp_types {
    sp_map seen; /* by address */
    SP_VEC(const sp_schema *) named;
} sp_types;

void sp_types_collect(sp_types *t, const sp_schema *s);
void sp_types_cleanup(sp_types *t);

/* The name of a row's object among the definitions: that of its schema, or, for a kind of a CRD,
 * one made of group, version and kind. */
void sp_types_object_name(sp_buf *b, const sp_resource *r);
/* {"group":…,"kind":…,"version":…}: the extension by which kubectl finds a definition. */
void sp_types_gvk(sp_buf *b, const sp_resource *r);

/* The whole of /openapi/v2 as gnostic's openapi.v2.Document in protobuf. */
void sp_openapi_v2_write(sp_buf *b, sp_discovery_rows rows);
