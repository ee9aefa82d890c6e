/* The Accepted condition of BackendPolicies and TrafficPolicies. */
#include "gateway/policy.h"
#include "gateway/status.h"
#include "kube/gvrs.h"

void sp_status_policy(sp_reconcile *r, const sp_status_view *v, const sp_json *policy) {
    sp_policy_verdict verdict = sp_policy_accepted(r->arena, v->cluster, v->options, policy);
    bool backend = sp_str_eqz(sp_json_str(sp_json_get(policy, "kind")), "BackendPolicy");
    const sp_json *old = sp_json_dig(policy, "status", "conditions", NULL);
    sp_json *wanted = sp_json_object(r->arena);
    sp_json *conditions =
        sp_json_is(old, SP_JSON_ARRAY) ? sp_json_clone(r->arena, old) : sp_json_array(r->arena);
    sp_status_condition(r, conditions, sp_obj_generation(policy), "Accepted", verdict.accepted,
                        verdict.reason, verdict.text);
    sp_json_set(r->arena, wanted, "conditions", conditions);
    sp_status_patch(r, backend ? &sp_gvr_backendpolicies : &sp_gvr_trafficpolicies, policy, wanted);
}
