/* What the server serves: every collection with its group, preferred version and verbs, from the
 * aggregated discovery documents (/api, /apis). Pure reading of those documents. */
#pragma once
#include "kube/object.h"

#include "base/vec.h"

typedef struct sp_served_kind {
    sp_gvr gvr; /* its strings live in the arena */
    bool can_list, can_watch, can_delete, can_delete_collection;
} sp_served_kind;
typedef SP_VEC(sp_served_kind) sp_served_kinds;

/* The value of Accept for both documents. */
extern const char sp_discovery_accept[];
/* Appends the collections of one document; of several versions of a group the first one that has
 * the collection counts. Subresources are left out. The caller frees the vector. */
void sp_discovery_add(sp_arena *a, const sp_json *doc, sp_served_kinds *ret);
/* By apiVersion and kind; another version of the same group will do. NULL if unknown. */
const sp_served_kind *sp_discovery_find(const sp_served_kinds *k, sp_str api_version, sp_str kind);
