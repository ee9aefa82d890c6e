/* Pods leave nodes with NoExecute taints in their time; nodes get and lose the taints. */
#include "controllers/taint.h"
#include "decide.h"

static int setup(void **state) {
    sp_clock_virtual(T0);
    *state = sp_reconcile_new(SP_STR("n"));
    return 0;
}

static int teardown(void **state) {
    sp_reconcile_free(*state);
    sp_clock_real();
    return 0;
}

#define LOST "{'key':'node.kubernetes.io/unreachable','effect':'NoExecute'}"
#define GPU "{'key':'gpu','value':'a','effect':'NoExecute'}"

static sp_json *node(sp_reconcile *r, const char *taints) {
    return doc(
        r->arena,
        "{'kind':'Node','metadata':{'name':'n','resourceVersion':'7'},'spec':{'taints':[%s]},"
        "'status':{'conditions':[{'type':'Ready','status':'True'}]}}",
        taints);
}

static sp_json *pod(sp_reconcile *r, const char *name, const char *on, const char *tolerations,
                    const char *metadata) {
    return doc(r->arena,
               "{'kind':'Pod','metadata':{'name':'%s','namespace':'d','uid':'%s'%s},'spec':{"
               "'nodeName':'%s','tolerations':[%s]},'status':{'phase':'Running'}}",
               name, name, metadata, on, tolerations);
}

static void each_toleration_has_its_time(void **state) {
    sp_reconcile *r = *state;
    static const struct {
        const char *taint, *tolerations;
        int64_t want_s;
    } rows[] = {
        {LOST, "", 300},
        {GPU, "", 0},
        {LOST, "{'operator':'Exists'}", -1},
        {LOST, "{'key':'node.kubernetes.io/unreachable','operator':'Exists'}", -1},
        {LOST, "{'key':'node.kubernetes.io/unreachable','operator':'Exists','tolerationSeconds':5}",
         5},
        {LOST, "{'key':'node.kubernetes.io/unreachable','operator':'Exists','effect':'NoSchedule'}",
         300},
        {GPU, "{'key':'gpu','value':'a'}", -1},
        {GPU, "{'key':'gpu','value':'b'}", 0},
        {GPU, "{'key':'gpu','value':'a','tolerationSeconds':9},{'operator':'Exists'}", 9},
        {GPU,
         "{'operator':'Exists','tolerationSeconds':9},{'key':'gpu','value':'a',"
         "'tolerationSeconds':4}",
         4},
        {GPU, "{'operator':'Exists','tolerationSeconds':-3}", 0},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        const sp_json *p = pod(r, "a", "n", rows[i].tolerations, "");
        int64_t ms =
            sp_taint_tolerated_ms(doc(r->arena, "%s", rows[i].taint), sp_json_get(p, "spec"));
        int64_t want = rows[i].want_s < 0 ? SP_TOLERATED_FOR_EVER : rows[i].want_s * 1000;
        if (ms != want) fail_msg("row %zu: %lld", i, (long long)ms);
    }
}

static void pods_go_when_their_time_is_over(void **state) {
    sp_reconcile *r = *state;
    sp_obj_list pods = {0};
    int64_t ages[] = {4000, 299000};
    sp_vec_push(&pods, pod(r, "a", "n", "{'operator':'Exists'}", ""));
    sp_vec_push(&pods, pod(r, "b", "n", "{'key':'gpu','value':'a','tolerationSeconds':5}", ""));
    sp_vec_push(&pods, pod(r, "c", "n", "{'key':'gpu','value':'a','tolerationSeconds':4}", ""));
    sp_vec_push(&pods, pod(r, "d", "other", "", ""));
    sp_vec_push(&pods, pod(r, "e", "n", "", ",'deletionTimestamp':'x'"));
    const sp_json *n = node(r, GPU "," LOST);
    sp_eviction_decide(r, n, &pods, ages);
    assert_string_equal(actions(r), "DELETE pods c; ");
    assert_int_equal(r->events.n, 1);
    assert_string_equal(r->events.p[0].reason, "TaintManagerEviction");
    assert_int_equal(r->requeue_ms, 1000); /* b: 1 s of the one taint, as much of the other */
    r->actions.n = 0;
    ages[0] = 4999, ages[1] = 300000;
    sp_eviction_decide(r, n, &pods, ages);
    assert_string_equal(actions(r), "DELETE pods b; DELETE pods c; ");
    sp_vec_free(&pods);
}

static void other_taints_stay(void **state) {
    sp_reconcile *r = *state;
    sp_obj_list none = {0};
    assert_true(sp_node_decide(r, node(r, GPU), &none, SP_NODE_GRACE_MS, NULL));
    const sp_json *patch = body_of(r, SP_VERB_MERGE, &sp_gvr_nodes);
    assert_string_equal(text_at(patch, "metadata", "resourceVersion"), "7");
    const sp_json *taints = sp_json_dig(patch, "spec", "taints", NULL);
    assert_int_equal(taints->count, 3);
    assert_json(sp_json_at(taints, 0), GPU);
    assert_json(sp_json_at(taints, 2),
                "{'key':'node.kubernetes.io/unreachable','effect':'NoExecute',"
                "'timeAdded':'2026-11-18T11:06:40Z'}");
    r->actions.n = 0;
    assert_true(sp_node_decide(r, node(r, LOST "," GPU), &none, 0, NULL));
    patch = body_of(r, SP_VERB_MERGE, &sp_gvr_nodes);
    assert_json(sp_json_dig(patch, "spec", "taints", NULL), "[" GPU "]");
    r->actions.n = 0;
    assert_true(sp_node_decide(r, node(r, LOST), &none, 0, NULL));
    assert_json(sp_json_get(body_of(r, SP_VERB_MERGE, &sp_gvr_nodes), "spec"), "{'taints':null}");
    r->actions.n = 0;
    assert_true(sp_node_decide(r, node(r, GPU), &none, 0, NULL));
    assert_string_equal(actions(r), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_toleration_has_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(pods_go_when_their_time_is_over, setup, teardown),
        cmocka_unit_test_setup_teardown(other_taints_stay, setup, teardown),
    };
    return cmocka_run_group_tests_name("eviction", tests, NULL, NULL);
}
