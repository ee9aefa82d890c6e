/* BackendPolicy and TrafficPolicy (sampan.dev/v1alpha1): from documents to the pools, listeners and
 * actions of a configuration. Of several policies for one target the one that names a part of it
 * (sectionName) wins over one for the whole, then the oldest; the others are told so. A policy is
 * taken whole, never mixed with another; what it leaves out stays as the target says by itself
 * (annotations of an Ingress, loadBalancerSourceRanges). */
#pragma once
#include "gateway/translate.h"

/* By age, then name: who is asked first. */
bool sp_policy_older(const sp_json *a, const sp_json *b);

/* After everything else has been translated, before it is finished. */
void sp_translate_policies(sp_translator *t);

typedef struct sp_policy_verdict {
    bool accepted;
    const char *reason; /* Accepted, TargetNotFound, Conflicted, Invalid */
    sp_str text;
} sp_policy_verdict;
/* policy: one of the view's backend_policies or traffic_policies. */
sp_policy_verdict sp_policy_accepted(sp_arena *a, const sp_cluster_view *v,
                                     const sp_translate_options *o, const sp_json *policy);
