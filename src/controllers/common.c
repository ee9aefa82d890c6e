#include "controllers/common.h"

#include "data/time.h"

bool sp_pod_is_finished(const sp_json *pod) {
    sp_str phase = sp_json_str(sp_json_dig(pod, "status", "phase", NULL));
    return sp_str_eqz(phase, "Succeeded") || sp_str_eqz(phase, "Failed");
}

bool sp_pod_is_active(const sp_json *pod) {
    return !sp_pod_is_finished(pod) && !sp_obj_deleting(pod);
}

bool sp_pod_is_ready(const sp_json *pod) {
    return sp_condition_is_true(pod, "Ready");
}

int64_t sp_json_time_ms(const sp_json *j) {
    int64_t ms;
    return sp_time_parse(sp_json_str(j), &ms) ? ms : 0;
}

int64_t sp_obj_created_ms(const sp_json *o) {
    return sp_json_time_ms(sp_json_dig(o, "metadata", "creationTimestamp", NULL));
}

int64_t sp_pod_ready_since_ms(const sp_json *pod) {
    if (!sp_pod_is_ready(pod)) return 0;
    return sp_json_time_ms(sp_json_get(sp_condition_get(pod, "Ready"), "lastTransitionTime"));
}

bool sp_pod_is_available(const sp_json *pod, int64_t min_ready_s, int64_t now_ms,
                         int64_t *ret_wait_ms) {
    *ret_wait_ms = 0;
    if (!sp_pod_is_ready(pod)) return false;
    if (min_ready_s <= 0) return true;
    int64_t since = sp_pod_ready_since_ms(pod);
    int64_t left = since ? since + min_ready_s * 1000 - now_ms : 0;
    if (!since || left <= 0) return since != 0;
    *ret_wait_ms = left;
    return false;
}

void sp_requeue_in(sp_reconcile *r, int64_t ms) {
    if (ms > 0 && (r->requeue_ms <= 0 || ms < r->requeue_ms)) r->requeue_ms = ms;
}

/* ---------- status ---------- */

bool sp_status_write(sp_reconcile *r, const sp_gvr *g, const sp_json *obj, const sp_json *status) {
    sp_json *old = sp_json_get(obj, "status");
    if (sp_json_equal(old, status) || (!old && !status->count)) return false;
    sp_json *change = sp_json_clone(r->arena, status);
    sp_json_each(old, m) {
        if (!sp_json_get_str(status, m->key))
            sp_json_set_str(r->arena, change, m->key, sp_json_null(r->arena));
    }
    sp_json *patch = sp_json_object(r->arena);
    /* Guarded by UID: the status of one object must not reach another one of the same name. */
    sp_json *meta = sp_json_ensure_object(r->arena, patch, "metadata");
    sp_json_set(r->arena, meta, "uid", sp_json_new_str(r->arena, sp_obj_uid(obj)));
    sp_json_set(r->arena, patch, "status", change);
    sp_action *a = sp_reconcile_merge_status(r, g, sp_obj_namespace(obj), sp_obj_name(obj), patch);
    a->tolerate_missing = true;
    return true;
}

void sp_set_unless_zero(sp_arena *a, sp_json *obj, const char *key, int64_t v) {
    if (v) sp_json_set_int(a, obj, key, v);
}

/* ---------- claiming ---------- */

static void patch_owners(sp_reconcile *r, const sp_gvr *g, const sp_json *obj, sp_json *refs) {
    sp_json *patch = sp_json_object(r->arena);
    sp_json *meta = sp_json_ensure_object(r->arena, patch, "metadata");
    sp_json_set(r->arena, meta, "uid", sp_json_new_str(r->arena, sp_obj_uid(obj)));
    sp_json_set(r->arena, meta, "ownerReferences", refs);
    sp_action *a = sp_reconcile_merge(r, g, sp_obj_namespace(obj), sp_obj_name(obj), patch);
    a->tolerate_missing = true;
}

static void adopt(sp_reconcile *r, const sp_gvr *g, const sp_json *owner, const sp_json *obj) {
    const sp_json *old = sp_json_dig(obj, "metadata", "ownerReferences", NULL);
    sp_json *refs = old ? sp_json_clone(r->arena, old) : sp_json_array(r->arena);
    sp_json_push(refs, sp_owner_ref(r->arena, owner));
    patch_owners(r, g, obj, refs);
}

static void release(sp_reconcile *r, const sp_gvr *g, const sp_json *owner, const sp_json *obj) {
    sp_json *refs = sp_json_array(r->arena);
    const sp_json *old = sp_json_dig(obj, "metadata", "ownerReferences", NULL);
    sp_json_each(old, ref) {
        if (!sp_str_eq(sp_json_str(sp_json_get(ref, "uid")), sp_obj_uid(owner)))
            sp_json_push(refs, sp_json_clone(r->arena, ref));
    }
    patch_owners(r, g, obj, refs->count ? refs : sp_json_null(r->arena));
}

bool sp_claim(sp_reconcile *r, const sp_gvr *g, const sp_json *owner, const sp_selector *selector,
              const sp_json *obj, bool may_adopt) {
    bool matches = sp_selector_matches(selector, sp_json_dig(obj, "metadata", "labels", NULL));
    if (sp_obj_controller(obj)) {
        if (!sp_obj_controlled_by(obj, owner)) return false;
        if (matches) return true;
        if (!sp_obj_deleting(owner) && !sp_obj_deleting(obj)) release(r, g, owner, obj);
        return false;
    }
    if (!matches || !may_adopt || sp_obj_deleting(owner) || sp_obj_deleting(obj)) return false;
    adopt(r, g, owner, obj);
    return true;
}
