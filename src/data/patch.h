/* The patches of the Kubernetes API. Each changes *doc in place; the patch may be shared, nodes are
 * cloned into the arena. On error *doc may be half changed: patch a clone. */
#pragma once
#include "data/json.h"
#include "data/schema.h"

/* RFC 6902. Errors name the operation's index. `test` failing is SP_INVALID. */
SP_MUST_USE bool sp_patch_json(sp_arena *a, sp_json **doc, const sp_json *patch, sp_err *err);
/* RFC 7386. */
void sp_patch_merge(sp_arena *a, sp_json **doc, const sp_json *patch);
/* Kubernetes strategic merge: merge keys from the schema, $patch: replace|delete|merge,
 * $deleteFromPrimitiveList/<field>, $setElementOrder/<field>, $retainKeys. */
SP_MUST_USE bool sp_patch_strategic(sp_arena *a, const sp_schema *s, sp_json **doc,
                                    const sp_json *patch, sp_err *err);
/* RFC 6901 pointer, NULL if it leads nowhere. */
sp_json *sp_json_pointer(const sp_json *j, sp_str pointer);
