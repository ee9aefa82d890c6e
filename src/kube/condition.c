/* status.conditions as KEP-1623 describes them: one entry per type, lastTransitionTime moves only
 * with the status. */
#include "data/time.h"
#include "kube/object.h"

static sp_json *find(const sp_json *conditions, const char *type) {
    sp_json_each(conditions, c) if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), type)) return c;
    return NULL;
}

/* NULL leaves the field alone. */
static bool put(sp_arena *a, sp_json *c, const char *key, const char *value) {
    sp_json *old = sp_json_get(c, key);
    if (!value || (old && sp_str_eqz(sp_json_str(old), value))) return false;
    sp_json_set_z(a, c, key, value);
    return true;
}

bool sp_condition_set(sp_arena *a, sp_json *conditions, const char *type, const char *status,
                      const char *reason, const char *message, int64_t now_wall_ms) {
    sp_json *c = find(conditions, type);
    if (!c) {
        c = sp_json_push(conditions, sp_json_object(a));
        sp_json_set_z(a, c, "type", type);
    }
    bool changed = put(a, c, "status", status);
    if (changed) sp_json_set(a, c, "lastTransitionTime", sp_json_new_time(a, now_wall_ms));
    changed |= put(a, c, "reason", reason);
    changed |= put(a, c, "message", message);
    return changed;
}

const sp_json *sp_condition_get(const sp_json *obj, const char *type) {
    return find(sp_json_dig(obj, "status", "conditions", NULL), type);
}

bool sp_condition_is_true(const sp_json *obj, const char *type) {
    return sp_str_eqz(sp_json_str(sp_json_get(sp_condition_get(obj, type), "status")), "True");
}
