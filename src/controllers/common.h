/* What several controllers need to know about pods and about writing status. */
#pragma once
#include "kube/controller.h"

bool sp_pod_is_finished(const sp_json *pod); /* phase Succeeded or Failed */
bool sp_pod_is_active(const sp_json *pod);   /* not finished, not being deleted */
bool sp_pod_is_ready(const sp_json *pod);
/* When the pod became ready, 0 if it is not or does not say. */
int64_t sp_pod_ready_since_ms(const sp_json *pod);
/* Ready for at least min_ready_s; otherwise *ret_wait_ms says when to look again (0 = not by time
 * alone). */
bool sp_pod_is_available(const sp_json *pod, int64_t min_ready_s, int64_t now_ms,
                         int64_t *ret_wait_ms);

/* metadata.creationTimestamp, 0 if missing. */
int64_t sp_obj_created_ms(const sp_json *o);
int64_t sp_json_time_ms(const sp_json *j); /* 0 if it is no time */

/* The earlier of the two requeues; 0 = none. */
void sp_requeue_in(sp_reconcile *r, int64_t ms);

/* Writes status when it differs from the object's. Fields that are in the old status and not in the
 * new one are removed. True when there was a difference. */
bool sp_status_write(sp_reconcile *r, const sp_gvr *g, const sp_json *obj, const sp_json *status);
void sp_set_unless_zero(sp_arena *a, sp_json *obj, const char *key, int64_t v);

/* Who owns what: an object that matches and has no controller is adopted by owner, one that owner
 * controls and no longer matches is released (each by an action). True when it is owner's now. */
bool sp_claim(sp_reconcile *r, const sp_gvr *g, const sp_json *owner, const sp_selector *selector,
              const sp_json *obj, bool may_adopt);
