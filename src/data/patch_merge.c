/* RFC 7386: an object in the patch is merged member by member, null removes, everything else
 * replaces. One pass over the document's members and one over the patch's, so that large objects
 * cost no quadratic time. */
#include "data/patch.h"

#include "data/json_index.h"

/* What the patch makes of nothing: its nulls are dropped, on every level. */
static sp_json *fresh(sp_arena *a, const sp_json *patch) {
    if (patch->type != SP_JSON_OBJECT) return sp_json_clone(a, patch);
    sp_json *made = sp_json_object(a);
    sp_json_each(patch, m) {
        if (m->type == SP_JSON_NULL) continue;
        sp_json *child = fresh(a, m);
        child->key = sp_arena_str(a, m->key);
        sp_json_set_new(made, child);
    }
    return made;
}

static void merge(sp_arena *a, sp_json *into, const sp_json *patch);

/* NULL: the member goes. */
static sp_json *merged(sp_arena *a, sp_json *old, const sp_json *patch) {
    if (!patch) return old;
    if (patch->type == SP_JSON_NULL) return NULL;
    if (patch->type == SP_JSON_OBJECT && old->type == SP_JSON_OBJECT)
        merge(a, old, patch);
    else
        sp_json_assign(old, fresh(a, patch));
    return old;
}

static void merge(sp_arena *a, sp_json *into, const sp_json *patch) {
    sp_auto(sp_json_index) patched = sp_json_index_make(patch);
    sp_auto(sp_json_index) known = sp_json_index_make(into);
    sp_json *it = sp_json_take_children(into);
    sp_json added = {.type = SP_JSON_OBJECT};
    sp_json_each(patch, m) {
        if (m->type == SP_JSON_NULL || sp_json_index_get(&known, it, m->key)) continue;
        sp_json *child = fresh(a, m);
        child->key = sp_arena_str(a, m->key);
        sp_json_set_new(&added, child);
    }
    for (sp_json *next; it; it = next) {
        next = it->next;
        sp_json *kept = merged(a, it, sp_json_index_get(&patched, patch->first, it->key));
        if (kept) sp_json_set_new(into, kept);
    }
    for (sp_json *next, *n = added.first; n; n = next) {
        next = n->next;
        sp_json_set_new(into, n);
    }
}

void sp_patch_merge(sp_arena *a, sp_json **doc, const sp_json *patch) {
    if (patch->type == SP_JSON_OBJECT && sp_json_is(*doc, SP_JSON_OBJECT))
        merge(a, *doc, patch);
    else
        *doc = fresh(a, patch);
}
