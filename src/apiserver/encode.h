/* Objects as bytes. Stored bytes are canonical: {"apiVersion":…,"kind":…,"metadata":{"name":…,
 * "generateName":…,"namespace":…,"uid":…,"resourceVersion":"…",…},…} so that the head can be
 * exchanged (the same object served under another group or version) and the revision spliced
 * without parsing. Loop thread only. */
#pragma once
#include "apiserver/registry.h"
#include "store/store.h"

/* obj (an OBJECT) as canonical bytes, appended; *ret_rev_at is where the digits of
 * resourceVersion go, counted from the start of what was appended. apiVersion and kind are head's;
 * resourceVersion of obj is ignored. */
void sp_encode_object(sp_buf *b, sp_str head, const sp_json *obj, size_t *ret_rev_at);

/* Length of {"apiVersion":"…","kind":"…" at the start of canonical bytes. */
size_t sp_head_length(sp_str bytes);
/* What must be put before which rest so that bytes carry `head`: bytes themselves when they do. */
typedef struct sp_pieces {
    sp_str head, rest;
} sp_pieces;
sp_pieces sp_with_head(sp_str bytes, sp_str head);
/* The bytes of v with the head: a reference to v's own where nothing changes. */
sp_blob *sp_value_blob(const sp_store_value *v, sp_str head);

/* What selectors and the server's own checks ask of a stored object, parsed once per version and
 * kept on the value. Lent as long as the value. */
typedef struct sp_facts {
    sp_json *labels; /* metadata.labels or NULL */
    sp_json *fields; /* the object reduced to metadata.name/namespace and selectable fields */
    bool deleting;
    bool broken; /* the bytes could not be parsed: matches nothing */
} sp_facts;
const sp_facts *sp_value_facts(sp_store_value *v, const sp_resource *row);

/* Name and namespace as they stand in canonical bytes; false if these are none. */
bool sp_canonical_names(sp_str bytes, sp_str *ret_ns, sp_str *ret_name);
