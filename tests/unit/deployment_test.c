#include "controllers/deployment.h"
#include "decide.h"

#define TEMPLATE(image) \
    "{'metadata':{'labels':{'app':'web'}},'spec':{'containers':[{'image':'" image "'}]}}"

static sp_json *deployment(sp_arena *a, const char *image, const char *spec, const char *status) {
    return doc(
        a,
        "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'web','namespace':'d',"
        "'uid':'dep','generation':2,'annotations':{'note':'x'}},'spec':{'replicas':3,'selector':"
        "{'matchLabels':{'app':'web'}},'template':{'metadata':{'labels':{'app':'web'}},'spec':"
        "{'containers':[{'image':'%s'}]}},'progressDeadlineSeconds':600%s},'status':%s}",
        image, spec, status);
}

/* A ReplicaSet of the deployment; every pod of it is available. */
static sp_json *set(sp_arena *a, const char *name, const char *image, int replicas, int available,
                    int revision, int created) {
    return doc(
        a,
        "{'apiVersion':'apps/v1','kind':'ReplicaSet','metadata':{'name':'%s','namespace':'d',"
        "'uid':'%s','creationTimestamp':'2026-11-18T05:0%d:00Z','labels':{'app':'web',"
        "'pod-template-hash':'%s'},'annotations':{'deployment.kubernetes.io/revision':'%d',"
        "'deployment.kubernetes.io/desired-replicas':'3','deployment.kubernetes.io/max-replicas':"
        "'4','note':'x'},'ownerReferences':[{'uid':'dep','controller':true}]},'spec':{'replicas':%"
        "d,"
        "'template':{'metadata':{'labels':{'app':'web','pod-template-hash':'%s'}},'spec':"
        "{'containers':[{'image':'%s'}]}}},'status':{'replicas':%d,'readyReplicas':%d,"
        "'availableReplicas':%d}}",
        name, name, created, name, revision, replicas, name, image, replicas, available, available);
}

typedef struct bench {
    sp_reconcile *r;
    sp_obj_list sets, pods;
} bench;

static int setup(void **state) {
    sp_clock_virtual(T0);
    bench *b = sp_zalloc(1, sizeof *b);
    b->r = sp_reconcile_new(SP_STR("d/web"));
    *state = b;
    return 0;
}

static int teardown(void **state) {
    bench *b = *state;
    sp_reconcile_free(b->r);
    sp_vec_free(&b->sets);
    sp_vec_free(&b->pods);
    free(b);
    sp_clock_real();
    return 0;
}

static void decide(bench *b, const sp_json *d) {
    sp_err err = {0};
    if (!sp_deployment_decide(b->r, d, &b->sets, &b->pods, &err)) fail_msg("%s", err.text);
}

static const sp_json *condition(const bench *b, const char *type) {
    const sp_json *status = body_of(b->r, SP_VERB_MERGE_STATUS, &sp_gvr_deployments);
    return sp_condition_get(status, type);
}

static void the_first_set_is_made(void **state) {
    bench *b = *state;
    decide(b, deployment(b->r->arena, "a", "", "{}"));
    assert_string_equal(actions(b->r),
                        "CREATE replicasets; MERGE deployments web; STATUS deployments web; ");
    const sp_json *rs = body_of(b->r, SP_VERB_CREATE, &sp_gvr_replicasets);
    assert_string_equal(text_at(rs, "spec", "replicas"), "3");
    sp_str hash = sp_obj_label(rs, "pod-template-hash");
    assert_true(hash.n > 3);
    assert_true(sp_str_starts(sp_obj_name(rs), SP_STR("web-")) &&
                sp_str_ends(sp_obj_name(rs), hash));
    assert_true(sp_str_eq(
        sp_json_str(sp_json_dig(rs, "spec", "selector", "matchLabels", "pod-template-hash", NULL)),
        hash));
    assert_true(sp_str_eqz(sp_obj_annotation(rs, "deployment.kubernetes.io/revision"), "1"));
    assert_true(sp_str_eqz(sp_obj_annotation(rs, "note"), "x"));
    assert_string_equal(sp_json_get_z(condition(b, "Progressing"), "reason"),
                        "NewReplicaSetCreated");
    assert_string_equal(sp_json_get_z(condition(b, "Available"), "status"), "False");
    assert_int_equal(b->r->events.n, 1);
}

static void a_new_template_starts_with_the_surge(void **state) {
    bench *b = *state;
    sp_vec_push(&b->sets, set(b->r->arena, "web-1", "a", 3, 3, 1, 1));
    decide(b, deployment(b->r->arena, "b", "", "{}"));
    const sp_json *rs = body_of(b->r, SP_VERB_CREATE, &sp_gvr_replicasets);
    assert_string_equal(text_at(rs, "spec", "replicas"), "1"); /* 25 % of 3, rounded up */
    assert_true(sp_str_eqz(sp_obj_annotation(rs, "deployment.kubernetes.io/revision"), "2"));
}

static void an_available_new_pod_replaces_an_old_one(void **state) {
    bench *b = *state;
    sp_vec_push(&b->sets, set(b->r->arena, "web-1", "a", 3, 3, 1, 1));
    sp_vec_push(&b->sets, set(b->r->arena, "web-2", "b", 1, 1, 2, 2));
    decide(b, deployment(b->r->arena, "b", "", "{}"));
    const sp_json *change = body_of(b->r, SP_VERB_MERGE, &sp_gvr_replicasets);
    assert_true(sp_str_eqz(b->r->actions.p[1].name, "web-1"));
    assert_string_equal(text_at(change, "spec", "replicas"), "2");
    assert_string_equal(sp_json_get_z(condition(b, "Progressing"), "reason"), "ReplicaSetUpdated");
}

static void a_rollback_finds_its_old_set(void **state) {
    bench *b = *state;
    sp_vec_push(&b->sets, set(b->r->arena, "web-1", "a", 0, 0, 1, 1));
    sp_vec_push(&b->sets, set(b->r->arena, "web-2", "b", 3, 3, 2, 2));
    decide(b, deployment(b->r->arena, "a", "", "{}"));
    assert_string_equal(actions(b->r), "MERGE replicasets web-1; MERGE deployments web; "
                                       "MERGE replicasets web-1; STATUS deployments web; ");
    const sp_json *revision = b->r->actions.p[0].body;
    assert_true(sp_str_eqz(sp_obj_annotation(revision, "deployment.kubernetes.io/revision"), "3"));
    assert_true(
        sp_str_eqz(sp_obj_annotation(revision, "deployment.kubernetes.io/revision-history"), "1"));
    assert_string_equal(text_at(b->r->actions.p[2].body, "spec", "replicas"), "1");
}

static void a_finished_rollout_says_so_and_trims_its_history(void **state) {
    bench *b = *state;
    sp_vec_push(&b->sets, set(b->r->arena, "web-1", "a", 0, 0, 1, 1));
    sp_vec_push(&b->sets, set(b->r->arena, "web-2", "b", 0, 0, 2, 2));
    sp_vec_push(&b->sets, set(b->r->arena, "web-3", "c", 3, 3, 3, 3));
    sp_json *d = deployment(b->r->arena, "c", ",'revisionHistoryLimit':1", "{}");
    sp_json_set_z(b->r->arena, sp_json_dig(d, "metadata", "annotations", NULL),
                  "deployment.kubernetes.io/revision", "3");
    decide(b, d);
    assert_string_equal(actions(b->r), "DELETE replicasets web-1; STATUS deployments web; ");
    const sp_json *status =
        sp_json_get(body_of(b->r, SP_VERB_MERGE_STATUS, &sp_gvr_deployments), "status");
    assert_int_equal(sp_json_int(sp_json_get(status, "observedGeneration"), 0), 2);
    assert_int_equal(sp_json_int(sp_json_get(status, "updatedReplicas"), 0), 3);
    assert_int_equal(sp_json_int(sp_json_get(status, "availableReplicas"), 0), 3);
    assert_null(sp_json_get(status, "unavailableReplicas"));
    assert_string_equal(sp_json_get_z(condition(b, "Progressing"), "reason"),
                        "NewReplicaSetAvailable");
    assert_string_equal(sp_json_get_z(condition(b, "Available"), "status"), "True");
}

static void nothing_to_do_is_no_action(void **state) {
    bench *b = *state;
    sp_vec_push(&b->sets, set(b->r->arena, "web-1", "a", 3, 3, 1, 1));
    sp_json *d = deployment(b->r->arena, "a", "", "{}");
    sp_json_set_z(b->r->arena, sp_json_dig(d, "metadata", "annotations", NULL),
                  "deployment.kubernetes.io/revision", "1");
    decide(b, d);
    sp_json *status = sp_json_clone(
        b->r->arena,
        sp_json_get(body_of(b->r, SP_VERB_MERGE_STATUS, &sp_gvr_deployments), "status"));
    sp_json_set(b->r->arena, d, "status", status);
    b->r->actions.n = 0;
    sp_clock_advance(5000);
    b->r->now_wall_ms = sp_clock_wall_ms();
    decide(b, d);
    assert_string_equal(actions(b->r), "");
}

static void no_progress_within_the_deadline_is_told(void **state) {
    bench *b = *state;
    sp_json *fresh = set(b->r->arena, "web-2", "b", 1, 0, 2, 2);
    sp_vec_push(&b->sets, set(b->r->arena, "web-1", "a", 3, 3, 1, 1));
    sp_vec_push(&b->sets, fresh);
    const char *status =
        "{'replicas':4,'updatedReplicas':1,'readyReplicas':3,'availableReplicas':3,"
        "'conditions':[{'type':'Progressing','status':'True','reason':'ReplicaSetUpdated',"
        "'lastUpdateTime':'2026-11-18T11:06:40Z'}]}";
    sp_json *d = deployment(b->r->arena, "b", "", status);
    decide(b, d);
    assert_int_equal(b->r->requeue_ms, 601000);
    b->r->actions.n = 0;
    sp_clock_advance(601000);
    b->r->now_wall_ms = sp_clock_wall_ms();
    decide(b, d);
    assert_string_equal(sp_json_get_z(condition(b, "Progressing"), "reason"),
                        "ProgressDeadlineExceeded");
    assert_string_equal(sp_json_get_z(condition(b, "Progressing"), "status"), "False");
}

static void recreate_waits_for_the_last_old_pod(void **state) {
    bench *b = *state;
    static const char recreate[] = ",'strategy':{'type':'Recreate'}";
    sp_json *old = set(b->r->arena, "web-1", "a", 3, 3, 1, 1);
    sp_vec_push(&b->sets, old);
    decide(b, deployment(b->r->arena, "b", recreate, "{}"));
    assert_string_equal(actions(b->r), "MERGE replicasets web-1; STATUS deployments web; ");
    assert_string_equal(text_at(b->r->actions.p[0].body, "spec", "replicas"), "0");
    /* scaled to nothing, one pod still stops */
    sp_json_set_int(b->r->arena, sp_json_get(old, "spec"), "replicas", 0);
    sp_vec_push(&b->pods,
                doc(b->r->arena,
                    "{'metadata':{'deletionTimestamp':'x','ownerReferences':"
                    "[{'uid':'web-1','controller':true}]},'status':{'phase':'Running'}}"));
    b->r->actions.n = 0;
    decide(b, deployment(b->r->arena, "b", recreate, "{}"));
    assert_string_equal(actions(b->r), "STATUS deployments web; ");
    b->pods.n = 0;
    b->r->actions.n = 0;
    decide(b, deployment(b->r->arena, "b", recreate, "{}"));
    assert_string_equal(
        text_at(body_of(b->r, SP_VERB_CREATE, &sp_gvr_replicasets), "spec", "replicas"), "3");
}

static void a_paused_deployment_scales_but_does_not_roll(void **state) {
    bench *b = *state;
    sp_vec_push(&b->sets, set(b->r->arena, "web-1", "a", 2, 2, 1, 1));
    decide(b, deployment(b->r->arena, "b", ",'paused':true", "{}"));
    assert_string_equal(actions(b->r), "MERGE replicasets web-1; STATUS deployments web; ");
    assert_string_equal(text_at(b->r->actions.p[0].body, "spec", "replicas"), "3");
    assert_string_equal(sp_json_get_z(condition(b, "Progressing"), "reason"), "DeploymentPaused");
}

static void sets_are_adopted_and_released(void **state) {
    bench *b = *state;
    sp_json *orphan = set(b->r->arena, "web-1", "a", 3, 3, 1, 1);
    sp_json_remove(sp_json_get(orphan, "metadata"), "ownerReferences");
    sp_json *strayed = set(b->r->arena, "web-0", "a", 3, 3, 1, 1);
    sp_json_set_z(b->r->arena, sp_json_dig(strayed, "metadata", "labels", NULL), "app", "other");
    sp_json *foreign = set(b->r->arena, "web-9", "a", 3, 3, 1, 1);
    sp_json_set_z(b->r->arena,
                  sp_json_at(sp_json_dig(foreign, "metadata", "ownerReferences", NULL), 0), "uid",
                  "other");
    sp_vec_push(&b->sets, orphan);
    sp_vec_push(&b->sets, strayed);
    sp_vec_push(&b->sets, foreign);
    decide(b, deployment(b->r->arena, "a", "", "{}"));
    assert_string_equal(actions(b->r), "MERGE replicasets web-1; MERGE replicasets web-0; "
                                       "MERGE deployments web; STATUS deployments web; ");
    const sp_json *refs = sp_json_dig(b->r->actions.p[0].body, "metadata", "ownerReferences", NULL);
    assert_string_equal(sp_json_get_z(sp_json_at(refs, 0), "uid"), "dep");
    assert_true(sp_json_is(
        sp_json_dig(b->r->actions.p[1].body, "metadata", "ownerReferences", NULL), SP_JSON_NULL));
}

static void a_taken_name_counts_a_collision(void **state) {
    bench *b = *state;
    sp_json *d = deployment(b->r->arena, "b", "", "{}");
    sp_str hash = sp_template_hash(b->r->arena, doc(b->r->arena, TEMPLATE("b")), 0);
    char name[64];
    snprintf(name, sizeof name, "web-%.*s", SP_ARG(hash));
    sp_json *other = set(b->r->arena, name, "z", 0, 0, 1, 1);
    sp_json_remove(sp_json_get(other, "metadata"), "labels");
    sp_json_remove(sp_json_get(other, "metadata"), "ownerReferences");
    sp_vec_push(&b->sets, other);
    decide(b, d);
    assert_string_equal(actions(b->r), "STATUS deployments web; ");
    const sp_json *status = sp_json_get(b->r->actions.p[0].body, "status");
    assert_int_equal(sp_json_int(sp_json_get(status, "collisionCount"), 0), 1);
    assert_false(
        sp_str_eq(hash, sp_template_hash(b->r->arena, doc(b->r->arena, TEMPLATE("b")), 1)));
}

static void the_order_of_fields_does_not_make_a_new_template(void **state) {
    bench *b = *state;
    sp_arena *a = b->r->arena;
    sp_str one = sp_template_hash(a, doc(a, "{'x':1,'y':{'a':'1','b':null}}"), 0);
    assert_true(sp_str_eq(one, sp_template_hash(a, doc(a, "{'y':{'b':null,'a':'1'},'x':1}"), 0)));
    assert_false(sp_str_eq(one, sp_template_hash(a, doc(a, "{'y':{'b':null,'a':'2'},'x':1}"), 0)));
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_first_set_is_made),
        TEST(a_new_template_starts_with_the_surge),
        TEST(an_available_new_pod_replaces_an_old_one),
        TEST(a_rollback_finds_its_old_set),
        TEST(a_finished_rollout_says_so_and_trims_its_history),
        TEST(nothing_to_do_is_no_action),
        TEST(no_progress_within_the_deadline_is_told),
        TEST(recreate_waits_for_the_last_old_pod),
        TEST(a_paused_deployment_scales_but_does_not_roll),
        TEST(sets_are_adopted_and_released),
        TEST(a_taken_name_counts_a_collision),
        TEST(the_order_of_fields_does_not_make_a_new_template),
    };
    return cmocka_run_group_tests_name("deployment", tests, NULL, NULL);
}
