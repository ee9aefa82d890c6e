/* RFC 7386: an object in the patch is merged member by member, null removes, everything else
 * replaces. */
#include "data/patch.h"

/* What the patch makes of nothing: its nulls are dropped, on every level. */
static sp_json *fresh(sp_arena *a, const sp_json *patch) {
    if (patch->type != SP_JSON_OBJECT) return sp_json_clone(a, patch);
    sp_json *made = sp_json_object(a);
    sp_json_each(patch, m) if (m->type != SP_JSON_NULL)
        sp_json_set_str(a, made, m->key, fresh(a, m));
    return made;
}

static void merge(sp_arena *a, sp_json *into, const sp_json *patch) {
    sp_json_each(patch, m) {
        sp_json *old = sp_json_get_str(into, m->key);
        if (m->type == SP_JSON_NULL)
            sp_json_remove_str(into, m->key);
        else if (m->type == SP_JSON_OBJECT && sp_json_is(old, SP_JSON_OBJECT))
            merge(a, old, m);
        else
            sp_json_set_str(a, into, m->key, fresh(a, m));
    }
}

void sp_patch_merge(sp_arena *a, sp_json **doc, const sp_json *patch) {
    if (patch->type == SP_JSON_OBJECT && sp_json_is(*doc, SP_JSON_OBJECT))
        merge(a, *doc, patch);
    else
        *doc = fresh(a, patch);
}
