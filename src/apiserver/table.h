/* The Table answers behind `kubectl get`: columns of a resource, one row of cells per object, for a
 * LIST, a GET and each event of a WATCH. Also PartialObjectMetadata answers. The caller parses the
 * objects; everything is appended to a buffer, so a list streams object by object:
 *
 *   sp_table_begin(&b, &t); for each object sp_table_row(&b, &t, obj, raw, arena);
 * sp_table_end(&b);
 *
 * A watch sends one table per event: begin, one row, end; column definitions only in the first
 * (sp_table_begin clears with_columns). Loop thread only. */
#pragma once
#include "apiserver/registry.h"

typedef enum sp_table_include {
    SP_TABLE_METADATA, /* rows[].object is a PartialObjectMetadata: the default */
    SP_TABLE_OBJECT,   /* includeObject=Object: the whole object */
    SP_TABLE_NONE      /* includeObject=None */
} sp_table_include;

typedef struct sp_table {
    const sp_resource *resource;
    const char *version; /* "v1" or "v1beta1" of meta.k8s.io, as asked by Accept */
    sp_table_include include;
    bool with_columns;   /* write columnDefinitions at the next begin */
    int64_t now_wall_ms; /* ages are rendered against this; set again for each event */
    /* List metadata; empty = left out. */
    sp_str resource_version, continue_;
    int64_t remaining; /* remainingItemCount, < 0 = left out */
    size_t rows;       /* written so far in this table */
} sp_table;

/* What an Accept header asks for, best first as the client ordered it. */
typedef enum sp_table_form {
    SP_FORM_OBJECT,       /* plain JSON (also for protobuf: we answer JSON) */
    SP_FORM_TABLE,        /* as=Table;g=meta.k8s.io */
    SP_FORM_PARTIAL,      /* as=PartialObjectMetadata */
    SP_FORM_PARTIAL_LIST, /* as=PartialObjectMetadataList */
    SP_FORM_REFUSED       /* nothing in it can be served: 406 */
} sp_table_form;

/* *ret_version is "v1" or "v1beta1" (static) for the forms that have one, else NULL. An empty
 * header is SP_FORM_OBJECT. *ret_yaml: application/yaml was preferred to JSON. */
sp_table_form sp_table_negotiate(sp_str accept, const char **ret_version, bool *ret_yaml);
/* "Object", "Metadata", "None" or "" (Metadata). */
SP_MUST_USE bool sp_table_include_parse(sp_str s, sp_table_include *ret, sp_err *err);

void sp_table_begin(sp_buf *b, sp_table *t);
/* raw: the stored bytes of obj, copied when the whole object is included; empty = obj is written.
 * scratch is for cells; it may be reset after the call. */
void sp_table_row(sp_buf *b, sp_table *t, const sp_json *obj, sp_str raw, sp_arena *scratch);
void sp_table_end(sp_buf *b);

/* {"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/VERSION","metadata":…} */
void sp_table_partial(sp_buf *b, const char *version, const sp_json *obj);
