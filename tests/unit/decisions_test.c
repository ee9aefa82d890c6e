/* ReplicaSet, scheduler, Endpoints, garbage, nodes, autoscaler: state in, actions out. */
#include "controllers/garbage.h"
#include "decide.h"

typedef struct bench {
    sp_reconcile *r;
    sp_arena *a;
    sp_obj_list pods, nodes, slices;
} bench;

static int setup(void **state) {
    sp_clock_virtual(T0);
    bench *b = sp_zalloc(1, sizeof *b);
    b->r = sp_reconcile_new(SP_STR("d/web"));
    b->a = b->r->arena;
    *state = b;
    return 0;
}

static int teardown(void **state) {
    bench *b = *state;
    sp_reconcile_free(b->r);
    sp_vec_free(&b->pods);
    sp_vec_free(&b->nodes);
    sp_vec_free(&b->slices);
    free(b);
    sp_clock_real();
    return 0;
}

/* ---------- ReplicaSet ---------- */

static sp_json *replicaset(bench *b, int replicas) {
    return doc(
        b->a,
        "{'apiVersion':'apps/"
        "v1','kind':'ReplicaSet','metadata':{'name':'web','namespace':'d','uid':"
        "'rs','generation':1},'spec':{'replicas':%d,'minReadySeconds':10,'selector':{'matchLabels':"
        "{'app':'web'}},'template':{'metadata':{'labels':{'app':'web'}},'spec':{'containers':[{"
        "'image':'x'}]}}},'status':{'replicas':0}}",
        replicas);
}

/* extra: more members of status, with a comma before. */
static sp_json *pod(bench *b, const char *name, const char *node, const char *phase, bool ready,
                    const char *since, const char *metadata) {
    return doc(
        b->a,
        "{'kind':'Pod','metadata':{'name':'%s','namespace':'d','uid':'%s','labels':{'app':'web'}%s}"
        ","
        "'spec':{'nodeName':'%s','containers':[{'name':'c','ports':[{'name':'http','containerPort':"
        "8080}],'resources':{'requests':{'cpu':'500m','memory':'64Mi'}}}]},'status':{'phase':'%s',"
        "'podIP':'10.0.0.%d','conditions':[{'type':'Ready','status':'%s','lastTransitionTime':"
        "'%s'}]}}",
        name, name, metadata, node, phase, name[0] - 'a' + 1, ready ? "True" : "False", since);
}

#define OWNED ",'ownerReferences':[{'uid':'rs','controller':true}]"
#define LONG_AGO "2026-11-18T01:00:00Z"

static void decide_set(bench *b, const sp_json *rs) {
    sp_err err = {0};
    if (!sp_replicaset_decide(b->r, rs, &b->pods, &err)) fail_msg("%s", err.text);
}

static void missing_pods_are_made_from_the_template(void **state) {
    bench *b = *state;
    sp_vec_push(&b->pods, pod(b, "a", "n", "Running", true, LONG_AGO, OWNED));
    sp_vec_push(&b->pods, pod(b, "done", "n", "Succeeded", false, LONG_AGO, OWNED));
    sp_vec_push(&b->pods,
                pod(b, "going", "n", "Running", true, LONG_AGO, OWNED ",'deletionTimestamp':'x'"));
    sp_vec_push(&b->pods, pod(b, "theirs", "n", "Running", true, LONG_AGO,
                              ",'ownerReferences':[{'uid':'other','controller':true}]"));
    decide_set(b, replicaset(b, 3));
    assert_string_equal(actions(b->r), "STATUS replicasets web; CREATE pods; CREATE pods; ");
    const sp_json *made = b->r->actions.p[1].body;
    assert_true(sp_str_starts(sp_obj_name(made), SP_STR("web-")));
    assert_int_equal(sp_obj_name(made).n, 9);
    assert_true(sp_str_eqz(sp_obj_label(made, "app"), "web"));
    assert_json(sp_json_get(made, "spec"), "{'containers':[{'image':'x'}]}");
    assert_string_equal(sp_json_get_z(sp_obj_controller(made), "uid"), "rs");
    assert_json(sp_json_get(b->r->actions.p[0].body, "status"),
                "{'replicas':1,'fullyLabeledReplicas':1,'readyReplicas':1,'availableReplicas':1,"
                "'observedGeneration':1}");
}

static void those_missed_least_go_first(void **state) {
    bench *b = *state;
    sp_vec_push(&b->pods, pod(b, "old", "n", "Running", true, LONG_AGO, OWNED));
    sp_vec_push(&b->pods, pod(b, "young", "n", "Running", true, "2026-11-18T11:00:00Z", OWNED));
    sp_vec_push(&b->pods,
                pod(b, "cheap", "n", "Running", true, LONG_AGO,
                    OWNED ",'annotations':{'controller.kubernetes.io/pod-deletion-cost':'-5'}"));
    sp_vec_push(&b->pods, pod(b, "unready", "n", "Running", false, LONG_AGO, OWNED));
    sp_vec_push(&b->pods, pod(b, "pending", "n", "Pending", false, LONG_AGO, OWNED));
    sp_vec_push(&b->pods, pod(b, "nowhere", "", "Pending", false, LONG_AGO, OWNED));
    decide_set(b, replicaset(b, 1));
    assert_string_equal(actions(b->r),
                        "STATUS replicasets web; DELETE pods nowhere; DELETE pods pending; "
                        "DELETE pods unready; DELETE pods cheap; DELETE pods young; ");
    assert_string_equal(text_at(b->r->actions.p[1].body, "preconditions", "uid"), "nowhere");
}

static void a_ready_pod_is_available_after_min_ready_seconds(void **state) {
    bench *b = *state;
    sp_vec_push(&b->pods, pod(b, "a", "n", "Running", true, "2026-11-18T11:06:37Z", OWNED));
    decide_set(b, replicaset(b, 1));
    assert_json(sp_json_get(b->r->actions.p[0].body, "status"),
                "{'replicas':1,'fullyLabeledReplicas':1,'readyReplicas':1,'observedGeneration':1}");
    assert_int_equal(b->r->requeue_ms, 7000);
}

static void pods_are_adopted_and_released(void **state) {
    bench *b = *state;
    sp_json *strayed = pod(b, "strayed", "n", "Running", true, LONG_AGO, OWNED);
    sp_json_set_z(b->a, sp_json_dig(strayed, "metadata", "labels", NULL), "app", "other");
    sp_vec_push(&b->pods, pod(b, "orphan", "n", "Running", true, LONG_AGO, ""));
    sp_vec_push(&b->pods, strayed);
    decide_set(b, replicaset(b, 1));
    assert_string_equal(actions(b->r),
                        "MERGE pods orphan; MERGE pods strayed; STATUS replicasets web; ");
}

/* ---------- scheduler ---------- */

static sp_json *node(bench *b, const char *name, const char *cpu, const char *spec,
                     const char *ready) {
    return doc(
        b->a,
        "{'kind':'Node','metadata':{'name':'%s','labels':{'disk':'ssd','size':'4'}},'spec':{%s},"
        "'status':{'allocatable':{'cpu':'%s','memory':'1Gi','pods':'3'},'conditions':[{'type':"
        "'Ready','status':'%s'}]}}",
        name, spec, cpu, ready);
}

static sp_json *waiting(bench *b, const char *spec) {
    return doc(
        b->a,
        "{'kind':'Pod','metadata':{'name':'new','namespace':'d','uid':'new'},'spec':{'containers':["
        "{"
        "'ports':[{'hostPort':80}],'resources':{'requests':{'cpu':'1'}}}]%s},'status':{'phase':"
        "'Pending'}}",
        spec);
}

/* "-> node" or the reason. */
static const char *schedule(bench *b, const sp_json *p) {
    static char text[300];
    b->r->actions.n = b->r->events.n = 0;
    sp_err err = {0};
    assert_true(sp_scheduler_decide(b->r, p, &b->nodes, &b->pods, &err));
    if (!b->r->actions.n) return "";
    if (b->r->actions.p[0].verb == SP_VERB_POST_SUB)
        snprintf(text, sizeof text, "-> %s", text_at(b->r->actions.p[0].body, "target", "name"));
    else
        snprintf(text, sizeof text, "%.*s", SP_ARG(b->r->events.p[0].message));
    return text;
}

static void a_pod_gets_the_node_with_most_room(void **state) {
    bench *b = *state;
    sp_vec_push(&b->nodes, node(b, "n1", "2", "", "True"));
    sp_vec_push(&b->nodes, node(b, "n2", "4", "", "True"));
    assert_string_equal(schedule(b, waiting(b, "")), "-> n2");
    for (int i = 0; i < 5; i++)
        sp_vec_push(&b->pods, pod(b, "x", "n2", "Running", true, LONG_AGO, ""));
    assert_string_equal(schedule(b, waiting(b, "")), "-> n1"); /* n2 has no room for a sixth */
    for (size_t i = 0; i < b->pods.n; i++)
        sp_json_set_z(b->a, sp_json_get((sp_json *)(uintptr_t)b->pods.p[i], "status"), "phase",
                      "Succeeded");
    assert_string_equal(schedule(b, waiting(b, "")), "-> n2"); /* finished pods take none */
}

static void why_a_pod_fits_nowhere_is_told(void **state) {
    bench *b = *state;
    static const struct {
        const char *cpu, *node_spec, *ready, *pod_spec, *says;
    } rows[] = {
        {"500m", "", "True", "", "0/1 nodes are available: 1 Insufficient cpu."},
        {"4", "", "Unknown", "", "0/1 nodes are available: 1 node(s) were not ready."},
        {"4", "'unschedulable':true", "True", "",
         "0/1 nodes are available: 1 node(s) were unschedulable."},
        {"4", "'taints':[{'key':'k','value':'v','effect':'NoSchedule'}]", "True", "",
         "0/1 nodes are available: 1 node(s) had untolerated taint {k: v}."},
        {"4", "'taints':[{'key':'k','value':'v','effect':'NoSchedule'}]", "True",
         ",'tolerations':[{'key':'k','operator':'Exists'}]", "-> n"},
        {"4", "'taints':[{'key':'k','effect':'PreferNoSchedule'}]", "True", "", "-> n"},
        {"4", "", "True", ",'nodeSelector':{'disk':'hdd'}",
         "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
        {"4", "", "True", ",'nodeSelector':{'disk':'ssd'}", "-> n"},
        {"4", "", "True",
         ",'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':{"
         "'nodeSelectorTerms':[{'matchExpressions':[{'key':'size','operator':'Gt','values':['4']}]}"
         ","
         "{'matchExpressions':[{'key':'disk','operator':'In','values':['ssd']}]}]}}}",
         "-> n"},
        {"4", "", "True",
         ",'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':{"
         "'nodeSelectorTerms':[{'matchExpressions':[{'key':'size','operator':'Gt','values':['4']}]}"
         "]}}}",
         "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
        {"4", "", "True", ",'nodeName':'elsewhere'", ""},
        {"4", "", "True", ",'schedulerName':'mine'", ""},
        {"4", "", "True", ",'schedulingGates':[{'name':'g'}]", ""},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        b->nodes.n = 0;
        sp_vec_push(&b->nodes, node(b, "n", rows[i].cpu, rows[i].node_spec, rows[i].ready));
        const char *got = schedule(b, waiting(b, rows[i].pod_spec));
        if (strcmp(got, rows[i].says) != 0) fail_msg("row %zu: %s", i, got);
    }
    b->nodes.n = 0;
    assert_string_equal(schedule(b, waiting(b, "")), "no nodes available to schedule pods");
    assert_int_equal(b->r->requeue_ms, 60000);
}

static void a_taken_host_port_keeps_a_pod_away(void **state) {
    bench *b = *state;
    sp_vec_push(&b->nodes, node(b, "n", "4", "", "True"));
    sp_json *first = waiting(b, ",'nodeName':'n'");
    sp_vec_push(&b->pods, first);
    assert_string_equal(
        schedule(b, waiting(b, "")),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.");
}

/* ---------- Endpoints ---------- */

static sp_json *service(bench *b, const char *spec) {
    return doc(
        b->a,
        "{'apiVersion':'v1','kind':'Service','metadata':{'name':'web','namespace':'d','uid':'svc'},"
        "'spec':{'ports':[{'port':80,'targetPort':'http','protocol':'TCP'}]%s}}",
        spec);
}

#define SELECT ",'selector':{'app':'web'}"

static void endpoints_follow_the_pods(void **state) {
    bench *b = *state;
    sp_vec_push(&b->pods, pod(b, "a", "n", "Running", true, LONG_AGO, ""));
    sp_vec_push(&b->pods, pod(b, "b", "n", "Running", false, LONG_AGO, ""));
    sp_vec_push(&b->pods, pod(b, "c", "n", "Running", true, LONG_AGO, ",'deletionTimestamp':'x'"));
    sp_vec_push(&b->pods, pod(b, "d", "n", "Failed", true, LONG_AGO, ""));
    assert_true(sp_endpoints_decide(b->r, service(b, SELECT), &b->pods, NULL, &b->slices, NULL));
    assert_string_equal(actions(b->r), "CREATE endpoints; CREATE endpointslices; ");
    const sp_json *subset = sp_json_at(sp_json_get(b->r->actions.p[0].body, "subsets"), 0);
    assert_json(sp_json_get(subset, "ports"), "[{'port':8080,'protocol':'TCP'}]");
    assert_json(sp_json_get(subset, "addresses"),
                "[{'ip':'10.0.0.1','nodeName':'n','targetRef':{'kind':'Pod','namespace':'d','name':"
                "'a','uid':'a'}}]");
    assert_int_equal(sp_json_get(subset, "notReadyAddresses")->count, 1);
    const sp_json *slice = b->r->actions.p[1].body, *list = sp_json_get(slice, "endpoints");
    assert_int_equal(list->count, 3);
    assert_json(sp_json_get(sp_json_at(list, 0), "conditions"),
                "{'ready':true,'serving':true,'terminating':false}");
    assert_json(sp_json_get(sp_json_at(list, 1), "conditions"),
                "{'ready':false,'serving':false,'terminating':false}");
    assert_json(sp_json_get(sp_json_at(list, 2), "conditions"),
                "{'ready':false,'serving':true,'terminating':true}");
    assert_true(sp_str_eqz(sp_obj_label(slice, "kubernetes.io/service-name"), "web"));

    /* what is written is wanted: a second look changes nothing */
    sp_vec_push(&b->slices, sp_json_clone(b->a, slice));
    const sp_json *written = sp_json_clone(b->a, b->r->actions.p[0].body);
    b->r->actions.n = 0;
    assert_true(sp_endpoints_decide(b->r, service(b, SELECT), &b->pods, written, &b->slices, NULL));
    assert_string_equal(actions(b->r), "");
    /* other ports make another slice, and the old one goes */
    b->pods.n = 0;
    assert_true(sp_endpoints_decide(b->r, service(b, SELECT), &b->pods, written, &b->slices, NULL));
    assert_true(strncmp(actions(b->r),
                        "MERGE endpoints web; CREATE endpointslices; DELETE endpointslices",
                        64) == 0);
}

static void services_without_selector_are_left_alone(void **state) {
    bench *b = *state;
    sp_vec_push(&b->pods, pod(b, "a", "n", "Running", true, LONG_AGO, ""));
    sp_endpoints_decide(b->r, service(b, ""), &b->pods, NULL, &b->slices, NULL);
    sp_endpoints_decide(b->r, service(b, SELECT ",'type':'ExternalName'"), &b->pods, NULL,
                        &b->slices, NULL);
    assert_string_equal(actions(b->r), "");
}

static void unready_pods_can_be_published(void **state) {
    bench *b = *state;
    sp_vec_push(&b->pods, pod(b, "a", "n", "Running", false, LONG_AGO, ""));
    sp_endpoints_decide(b->r, service(b, SELECT ",'publishNotReadyAddresses':true"), &b->pods, NULL,
                        &b->slices, NULL);
    const sp_json *subset = sp_json_at(sp_json_get(b->r->actions.p[0].body, "subsets"), 0);
    assert_int_equal(sp_json_get(subset, "addresses")->count, 1);
}

/* ---------- garbage ---------- */

static void the_state_of_the_owners_decides(void **state) {
    (void)state;
    static const struct {
        sp_gc_owner owners[2];
        size_t count;
        bool dependents;
        sp_gc_verdict want;
    } rows[] = {
        {{0}, 0, true, SP_GC_KEEP},
        {{SP_GC_SOLID}, 1, false, SP_GC_KEEP},
        {{SP_GC_ABSENT}, 1, true, SP_GC_DELETE},
        {{SP_GC_WAITING}, 1, false, SP_GC_DELETE},
        {{SP_GC_WAITING}, 1, true, SP_GC_DELETE_FOREGROUND},
        {{SP_GC_SOLID, SP_GC_ABSENT}, 2, false, SP_GC_DROP_REFS},
        {{SP_GC_SOLID, SP_GC_WAITING}, 2, true, SP_GC_DROP_REFS},
        {{SP_GC_ABSENT, SP_GC_WAITING}, 2, true, SP_GC_DELETE_FOREGROUND},
        {{SP_GC_ABSENT, SP_GC_ABSENT}, 2, false, SP_GC_DELETE},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++)
        if (sp_gc_judge(rows[i].owners, rows[i].count, rows[i].dependents) != rows[i].want)
            fail_msg("row %zu", i);
}

/* ---------- nodes ---------- */

static void a_silent_node_becomes_unknown_after_40_s(void **state) {
    bench *b = *state;
    sp_json *n = node(b, "n", "4", "", "True");
    sp_vec_push(&b->pods, pod(b, "a", "n", "Running", true, LONG_AGO, ""));
    sp_vec_push(&b->pods, pod(b, "b", "other", "Running", true, LONG_AGO, ""));
    assert_true(sp_node_decide(b->r, n, &b->pods, 39999, NULL));
    assert_string_equal(actions(b->r), "");
    assert_int_equal(b->r->requeue_ms, 101);
    assert_true(sp_node_decide(b->r, n, &b->pods, 40000, NULL));
    assert_string_equal(actions(b->r), "MERGE nodes n; STATUS nodes n; STATUS pods a; ");
    const sp_json *ready = sp_condition_get(b->r->actions.p[1].body, "Ready");
    assert_string_equal(sp_json_get_z(ready, "status"), "Unknown");
    sp_json_set(b->a, n, "status",
                sp_json_clone(b->a, sp_json_get(b->r->actions.p[1].body, "status")));
    sp_json_set(b->a, n, "spec", sp_json_clone(b->a, sp_json_get(b->r->actions.p[0].body, "spec")));
    b->pods.n = b->r->actions.n = 0;
    assert_true(sp_node_decide(b->r, n, &b->pods, 90000, NULL));
    assert_string_equal(actions(b->r), ""); /* said once */
}

static void pods_of_a_node_that_is_back_are_ready_again(void **state) {
    bench *b = *state;
    sp_json *p = pod(b, "a", "n", "Running", false, LONG_AGO, "");
    sp_json *ready = sp_json_at(sp_json_dig(p, "status", "conditions", NULL), 0);
    sp_json_set_z(b->a, ready, "reason", "NodeNotReady");
    sp_json_push(sp_json_dig(p, "status", "conditions", NULL),
                 doc(b->a, "{'type':'ContainersReady','status':'True'}"));
    sp_vec_push(&b->pods, p);
    sp_vec_push(&b->pods, pod(b, "b", "n", "Running", false, LONG_AGO, ""));
    assert_true(sp_node_decide(b->r, node(b, "n", "4", "", "Unknown"), &b->pods, 100, NULL));
    assert_string_equal(actions(b->r), "MERGE nodes n; "); /* the taint only */
    b->r->actions.n = 0;
    assert_true(sp_node_decide(b->r, node(b, "n", "4", "", "True"), &b->pods, 100, NULL));
    assert_string_equal(actions(b->r), "STATUS pods a; ");
    const sp_json *now = sp_condition_get(b->r->actions.p[0].body, "Ready");
    assert_string_equal(sp_json_get_z(now, "status"), "True");
    assert_null(sp_json_get(now, "reason"));
}

static void pods_of_missing_nodes_go(void **state) {
    bench *b = *state;
    sp_podgc_decide(b->r, pod(b, "a", "gone", "Running", true, LONG_AGO, ""), true, NULL);
    sp_podgc_decide(b->r, pod(b, "b", "", "Pending", true, LONG_AGO, ""), false, NULL);
    assert_string_equal(actions(b->r), "");
    sp_podgc_decide(b->r, pod(b, "c", "gone", "Running", true, LONG_AGO, ""), false, NULL);
    assert_string_equal(actions(b->r), "DELETE pods c; ");
    assert_int_equal(sp_json_int(sp_json_get(b->r->actions.p[0].body, "gracePeriodSeconds"), -1),
                     0);
}

/* ---------- autoscaler ---------- */

static void replicas_are_kept_within_their_limits(void **state) {
    bench *b = *state;
    static const struct {
        int now, want; /* -1: no scaling */
        const char *active;
    } rows[] = {{1, 3, "FailedGetResourceMetric"},
                {3, -1, "FailedGetResourceMetric"},
                {5, -1, "FailedGetResourceMetric"},
                {9, 5, "FailedGetResourceMetric"},
                {0, -1, "ScalingDisabled"}};
    sp_json *hpa = doc(
        b->a, "{'kind':'HorizontalPodAutoscaler','metadata':{'name':'h','namespace':'d','uid':'h'},"
              "'spec':{'minReplicas':3,'maxReplicas':5,'scaleTargetRef':{'apiVersion':'apps/v1',"
              "'kind':'Deployment','name':'web'}}}");
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_json *d = doc(b->a, "{'metadata':{'name':'web','namespace':'d'},'spec':{'replicas':%d}}",
                         rows[i].now);
        b->r->actions.n = 0;
        sp_hpa_decide(b->r, hpa, &sp_gvr_deployments, d, NULL);
        const sp_json *status = b->r->actions.p[b->r->actions.n - 1].body;
        assert_string_equal(sp_json_get_z(sp_condition_get(status, "ScalingActive"), "reason"),
                            rows[i].active);
        assert_int_equal(b->r->actions.n, rows[i].want < 0 ? 1 : 2);
        if (rows[i].want < 0) continue;
        assert_string_equal(b->r->actions.p[0].sub, "scale");
        assert_int_equal(
            sp_json_int(sp_json_dig(b->r->actions.p[0].body, "spec", "replicas", NULL), 0),
            rows[i].want);
    }
    b->r->actions.n = 0;
    sp_hpa_decide(b->r, hpa, &sp_gvr_deployments, NULL, NULL);
    const sp_json *able = sp_condition_get(b->r->actions.p[0].body, "AbleToScale");
    assert_string_equal(sp_json_get_z(able, "message"), "there is no Deployment \"web\" to scale");
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(missing_pods_are_made_from_the_template),
        TEST(those_missed_least_go_first),
        TEST(a_ready_pod_is_available_after_min_ready_seconds),
        TEST(pods_are_adopted_and_released),
        TEST(a_pod_gets_the_node_with_most_room),
        TEST(why_a_pod_fits_nowhere_is_told),
        TEST(a_taken_host_port_keeps_a_pod_away),
        TEST(endpoints_follow_the_pods),
        TEST(services_without_selector_are_left_alone),
        TEST(unready_pods_can_be_published),
        TEST(the_state_of_the_owners_decides),
        TEST(a_silent_node_becomes_unknown_after_40_s),
        TEST(pods_of_a_node_that_is_back_are_ready_again),
        TEST(pods_of_missing_nodes_go),
        TEST(replicas_are_kept_within_their_limits),
    };
    return cmocka_run_group_tests_name("decisions", tests, NULL, NULL);
}
