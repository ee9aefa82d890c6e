/* What the OAM controller decides, on a world in memory: its actions are carried out there, so a
 * second decision sees what the first one did. */
#include "controllers/controllers.h"

#include "data/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct world {
    sp_arena *arena;
    SP_VEC(sp_json *) objects;
    sp_oam_world io;
    sp_buf did; /* "create Deployment/nginx, " … of the last decision */
    int uids;
} world;

static sp_json **find(world *w, sp_str kind, sp_str name) {
    sp_vec_each(&w->objects, o) if (sp_str_eq(sp_obj_kind(*o), kind) &&
                                    sp_str_eq(sp_obj_name(*o), name)) return o;
    return NULL;
}

static const sp_json *get(void *ctx, const sp_gvr *g, sp_str ns, sp_str name) {
    sp_json **o = find(ctx, sp_str_z(g->kind), name);
    return o ? *o : NULL;
}

static void owned(void *ctx, const sp_gvr *g, sp_str uid, sp_obj_list *ret) {
    world *w = ctx;
    sp_vec_each(&w->objects, o) {
        const sp_json *owner = sp_obj_controller(*o);
        if (sp_str_eqz(sp_obj_kind(*o), g->kind) &&
            sp_str_eq(sp_json_str(sp_json_get(owner, "uid")), uid))
            sp_vec_push(ret, *o);
    }
}

static sp_str kind_of(const char *plural) {
    return strcmp(plural, "components") == 0         ? SP_STR("Component")
           : strcmp(plural, "traitdefinitions") == 0 ? SP_STR("TraitDefinition")
                                                     : SP_STR("WorkloadDefinition");
}

static const sp_json *look_up(void *ctx, sp_arena *a, const char *group, const char *plural,
                              sp_str ns, sp_str name) {
    sp_json **o = find(ctx, kind_of(plural), name);
    return o ? *o : NULL;
}

static void look_at_each(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                         bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx) {
    world *w = ctx;
    sp_vec_each(&w->objects,
                o) if (sp_str_eq(sp_obj_kind(*o), kind_of(plural)) && !fn(fn_ctx, *o)) return;
}

static sp_json *add(world *w, const char *text) {
    sp_json *j = NULL;
    sp_err err = {0};
    if (!sp_yaml_parse(w->arena, sp_str_z(text), &j, &err)) fail_msg("%s", err.text);
    sp_json *meta = sp_json_ensure_object(w->arena, j, "metadata");
    sp_json_set_z(w->arena, meta, "namespace", "d");
    sp_json_set(w->arena, meta, "uid", sp_json_printf(w->arena, "uid-%d", ++w->uids));
    sp_json_set_int(w->arena, meta, "generation", 1);
    sp_json **there = find(w, sp_obj_kind(j), sp_obj_name(j));
    if (there) {
        sp_json_set(w->arena, meta, "uid", sp_json_new_str(w->arena, sp_obj_uid(*there)));
        const sp_json *status = sp_json_get(*there, "status");
        if (status) sp_json_set(w->arena, j, "status", sp_json_clone(w->arena, status));
        *there = j;
    } else {
        sp_vec_push(&w->objects, j);
    }
    return j;
}

static int set_up(void **state) {
    world *w = sp_zalloc(1, sizeof *w);
    w->arena = sp_arena_new();
    w->io = (sp_oam_world){{w, look_up, look_at_each}, w, get, owned};
    sp_oam_objects shipped = {0};
    sp_oam_builtin(w->arena, &shipped);
    sp_vec_each(&shipped, o) sp_vec_push(&w->objects, *o);
    sp_vec_free(&shipped);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    sp_vec_free(&w->objects);
    sp_buf_free(&w->did);
    sp_arena_free(w->arena);
    free(w);
    return 0;
}

/* --- carrying out --- */

static void create(world *w, const sp_action *act) {
    sp_json *o = sp_json_clone(w->arena, act->body);
    sp_json *meta = sp_json_get(o, "metadata");
    sp_json_set(w->arena, meta, "uid", sp_json_printf(w->arena, "uid-%d", ++w->uids));
    sp_vec_push(&w->objects, o);
    sp_buf_printf(&w->did, "create %s/%.*s, ", act->gvr->kind, SP_ARG(sp_obj_name(o)));
}

static void perform(world *w, const sp_action *act) {
    static const char *const verbs[] = {[SP_VERB_UPDATE] = "update",
                                        [SP_VERB_DELETE] = "delete",
                                        [SP_VERB_MERGE_STATUS] = "status of"};
    if (act->verb == SP_VERB_CREATE) {
        create(w, act);
        return;
    }
    sp_json **o = find(w, sp_str_z(act->gvr->kind), act->name);
    assert_non_null(o);
    if (act->verb == SP_VERB_UPDATE) *o = sp_json_clone(w->arena, act->body);
    if (act->verb == SP_VERB_MERGE_STATUS)
        sp_json_set(w->arena, *o, "status",
                    sp_json_clone(w->arena, sp_json_get(act->body, "status")));
    if (act->verb == SP_VERB_DELETE) sp_vec_remove(&w->objects, (size_t)(o - w->objects.p));
    sp_buf_printf(&w->did, "%s %s/%.*s, ", verbs[act->verb], act->gvr->kind, SP_ARG(act->name));
}

static const char *decide(world *w, const char *app) {
    sp_buf_clear(&w->did);
    sp_reconcile *r = sp_reconcile_new(SP_STR("d/app"));
    const sp_json *obj = app ? *find(w, SP_STR("ApplicationConfiguration"), sp_str_z(app)) : NULL;
    sp_oam_app_decide(r, obj, &w->io);
    sp_vec_each(&r->actions, act) perform(w, act);
    sp_reconcile_free(r);
    return sp_buf_z(&w->did);
}

static const char *condition(world *w, const char *type, const char *field) {
    const sp_json *app = *find(w, SP_STR("ApplicationConfiguration"), SP_STR("app"));
    return sp_json_get_z(sp_condition_get(app, type), field);
}

/* --- cases --- */

static const char component[] =
    "{apiVersion: core.oam.dev/v1alpha2, kind: Component, metadata: {name: web}, spec: {workload: "
    "{apiVersion: core.oam.dev/v1alpha2, kind: ContainerizedWorkload, spec: {containers: [{name: "
    "c, "
    "image: i, ports: [{containerPort: 80}]}]}}, parameters: [{name: image, fieldPaths: "
    "['spec.containers[0].image']}]}}";

#define APP(rest)                                                                                 \
    "{apiVersion: core.oam.dev/v1alpha2, kind: ApplicationConfiguration, metadata: {name: app}, " \
    "spec: {components: [{componentName: web" rest "}]}}"
#define SCALED                                                                            \
    APP(", traits: [{trait: {apiVersion: core.oam.dev/v1alpha2, kind: AutoScaler, spec: " \
        "{maximum: "                                                                      \
        "3}}}]")

static void children_come_change_and_go(void **state) {
    world *w = *state;
    add(w, component);
    add(w, SCALED);
    assert_string_equal(decide(w, "app"),
                        "create Deployment/web, create Service/web, create "
                        "HorizontalPodAutoscaler/web, status of ApplicationConfiguration/app, ");
    assert_string_equal(decide(w, "app"), "");
    assert_string_equal(condition(w, "Synced", "status"), "True");
    assert_string_equal(condition(w, "Ready", "reason"), "Starting");
    add(w, APP(", parameterValues: [{name: image, value: 'i:2'}]"));
    assert_string_equal(decide(w, "app"),
                        "update Deployment/web, delete HorizontalPodAutoscaler/web, "
                        "status of ApplicationConfiguration/app, ");
    assert_string_equal(decide(w, "app"), "");
}

static void what_others_decide_is_left_alone(void **state) {
    world *w = *state;
    add(w, component);
    add(w, SCALED);
    decide(w, "app");
    sp_json *spec = sp_json_get(*find(w, SP_STR("Deployment"), SP_STR("web")), "spec");
    sp_json_set_int(w->arena, spec, "replicas", 3);              /* the autoscaler */
    sp_json_set_int(w->arena, spec, "revisionHistoryLimit", 10); /* a default */
    assert_string_equal(decide(w, "app"), "status of ApplicationConfiguration/app, "); /* 0/3 */
    add(w, APP(", parameterValues: [{name: image, value: 'i:2'}], traits: [{trait: {apiVersion: "
               "core.oam.dev/v1alpha2, kind: AutoScaler, spec: {maximum: 3}}}]"));
    assert_string_equal(decide(w, "app"), "update Deployment/web, ");
    spec = sp_json_get(*find(w, SP_STR("Deployment"), SP_STR("web")), "spec");
    assert_int_equal(sp_json_int(sp_json_get(spec, "replicas"), 0), 3);
}

static void drift_is_put_right(void **state) {
    world *w = *state;
    add(w, component);
    add(w, SCALED);
    decide(w, "app");
    sp_json *service = sp_json_get(*find(w, SP_STR("Service"), SP_STR("web")), "spec");
    sp_json_set_z(w->arena, sp_json_get(service, "selector"), "more", "x");
    sp_json_set_z(w->arena, service, "clusterIP", "10.0.0.7");
    assert_string_equal(decide(w, "app"), "update Service/web, ");
    service = sp_json_get(*find(w, SP_STR("Service"), SP_STR("web")), "spec");
    assert_null(sp_json_dig(service, "selector", "more", NULL));
    assert_string_equal(sp_json_get_z(service, "clusterIP"), "10.0.0.7");
}

static void nothing_is_half_done(void **state) {
    world *w = *state;
    add(w, SCALED);
    assert_string_equal(decide(w, "app"), "status of ApplicationConfiguration/app, ");
    assert_string_equal(condition(w, "Synced", "reason"), "ComponentNotFound");
    add(w, component);
    add(w, "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {}}"); /* a stranger's */
    assert_string_equal(decide(w, "app"), "status of ApplicationConfiguration/app, ");
    assert_string_equal(condition(w, "Synced", "reason"), "NameTaken");
    assert_string_equal(condition(w, "Synced", "message"),
                        "Service \"web\" exists and belongs to no application: delete it, or give "
                        "the component another instanceName");
    sp_json **stranger = find(w, SP_STR("Service"), SP_STR("web"));
    sp_vec_remove(&w->objects, (size_t)(stranger - w->objects.p));
    decide(w, "app");
    assert_string_equal(condition(w, "Synced", "status"), "True");
    sp_json **gone = find(w, SP_STR("Component"), SP_STR("web"));
    sp_vec_remove(&w->objects, (size_t)(gone - w->objects.p));
    assert_string_equal(decide(w, "app"), "status of ApplicationConfiguration/app, ");
    assert_non_null(find(w, SP_STR("Deployment"), SP_STR("web"))); /* what runs goes on running */
    assert_string_equal(decide(w, NULL), "");
}

static void readiness_follows_the_workloads(void **state) {
    world *w = *state;
    add(w, component);
    add(w, SCALED);
    decide(w, "app");
    assert_string_equal(condition(w, "Ready", "message"), "available replicas: web 0/1");
    sp_json *d = *find(w, SP_STR("Deployment"), SP_STR("web"));
    sp_json *status = sp_json_ensure_object(w->arena, d, "status");
    sp_json_set_int(w->arena, status, "availableReplicas", 1);
    sp_json_set_int(w->arena, status, "observedGeneration", 1);
    assert_string_equal(decide(w, "app"), "status of ApplicationConfiguration/app, ");
    assert_string_equal(condition(w, "Ready", "status"), "True");
}

static void components_count_their_revisions(void **state) {
    world *w = *state;
    sp_json *c = add(w, component);
    sp_reconcile *r = sp_reconcile_new(SP_STR("d/web"));
    sp_oam_component_decide(r, c);
    assert_int_equal(r->actions.n, 1);
    perform(w, &r->actions.p[0]);
    assert_string_equal(sp_json_z(sp_json_dig(c, "status", "latestRevision", "name", NULL)),
                        "web-v1");
    sp_oam_component_decide(r, c);
    assert_int_equal(r->actions.n, 1);
    sp_reconcile_free(r);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(children_come_change_and_go),
        CASE(what_others_decide_is_left_alone),
        CASE(drift_is_put_right),
        CASE(nothing_is_half_done),
        CASE(readiness_follows_the_workloads),
        CASE(components_count_their_revisions),
    };
    return cmocka_run_group_tests_name("oam_controller", tests, NULL, NULL);
}
