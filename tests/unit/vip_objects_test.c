/* VirtualAddress objects to what a node carries out, and keepalived.conf to objects and back. */
#include "gateway/vip/keepalived.h"
#include "gateway/vip/objects.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct world {
    sp_arena *arena;
    sp_vip_config *config;
    sp_err err;
    bool part;
} world;

static int set_up(void **state) {
    world *w = sp_zalloc(1, sizeof *w);
    w->arena = sp_arena_new();
    w->config = sp_vip_config_new();
    *state = w;
    return 0;
}
static int tear_down(void **state) {
    world *w = *state;
    sp_vip_config_free(w->config);
    sp_arena_free(w->arena);
    free(w);
    return 0;
}

static bool secret(void *ctx, sp_str ns, sp_str name, sp_str key, sp_str *ret) {
    (void)ctx;
    if (!sp_str_eqz(ns, "kube-system") || !sp_str_eqz(name, "vrrp") || !sp_str_eqz(key, "pass"))
        return false;
    *ret = SP_STR("hush");
    return true;
}

static sp_json *object(world *w, const char *spec) {
    sp_auto(sp_buf) text = {0};
    sp_json *j = NULL;
    sp_err err = {0};
    sp_buf_printf(&text, "{\"metadata\":{\"name\":\"entry\"},\"spec\":%s}", spec);
    if (!sp_json_parse(w->arena, sp_buf_str(&text), &j, &err)) fail_msg("%s", err.text);
    return j;
}

static const sp_vip_instance *read_as(world *w, const char *node, const char *spec) {
    sp_vip_node n = {sp_str_z(node), secret, NULL};
    size_t before = w->config->instances.n;
    w->err = (sp_err){0};
    if (!sp_vip_object_read(w->config, object(w, spec), &n, &w->part, &w->err)) {
        assert_int_equal(w->config->instances.n, before);
        return NULL;
    }
    return w->config->instances.n > before ? &w->config->instances.p[before] : NULL;
}

static void test_defaults(void **state) {
    const sp_vip_instance *i =
        read_as(*state, "a",
                "{\"addresses\":[\"192.0.2.9/24\",\"192.0.2.10\"],\"interface\":\"eth0\","
                "\"virtualRouterID\":7}");
    assert_non_null(i);
    assert_true(sp_str_eqz(i->name, "entry") && sp_str_eqz(i->interface, "eth0"));
    assert_int_equal(i->options.version, 3);
    assert_int_equal(i->options.advert_us, 100000);
    assert_int_equal(i->priority, 100);
    assert_true(i->options.hand_over && i->lease && !i->options.nopreempt);
    assert_int_equal(i->addresses.n, 2);
    assert_int_equal(i->addresses.p[0].bits, 24);
    assert_int_equal(i->addresses.p[1].bits, 32);
    assert_int_equal(i->tracks.n, 1); /* the gateway itself */
    assert_int_equal(i->tracks.p[0].kind, SP_VIP_TRACK_HEALTH);
}

static const char two_nodes[] =
    "{\"addresses\":[\"192.0.2.9/24\"],\"interface\":\"eth0\",\"virtualRouterID\":7,"
    "\"version\":2,\"advertInterval\":\"1s\",\"peers\":[\"192.0.2.1\",\"192.0.2.2\"],"
    "\"authentication\":{\"passwordFrom\":{\"namespace\":\"kube-system\",\"name\":\"vrrp\","
    "\"key\":\"pass\"}},\"track\":[{\"kind\":\"Interface\",\"name\":\"eth1\",\"weight\":-20}],"
    "\"nodes\":[{\"name\":\"a\",\"priority\":110,\"sourceAddress\":\"192.0.2.1\"},"
    "{\"name\":\"b\",\"interface\":\"ens3\",\"sourceAddress\":\"192.0.2.2\"}]}";

static void test_each_node_its_own(void **state) {
    world *w = *state;
    const sp_vip_instance *a = read_as(w, "a", two_nodes);
    assert_non_null(a);
    assert_int_equal(a->priority, 110);
    assert_int_equal(a->peers.n, 1); /* itself left out */
    assert_int_equal(a->peers.p[0].ip[3], 2);
    assert_true(a->has_pass && memcmp(a->pass, "hush\0\0\0\0", 8) == 0);
    assert_int_equal(a->tracks.n, 1);
    assert_int_equal(a->tracks.p[0].weight, -20);
    sp_vip_config_free(w->config);
    w->config = sp_vip_config_new();
    const sp_vip_instance *b = read_as(w, "b", two_nodes);
    assert_int_equal(b->priority, 100);
    assert_true(sp_str_eqz(b->interface, "ens3"));
    assert_int_equal(b->peers.p[0].ip[3], 1);
    assert_null(read_as(w, "c", two_nodes));
    assert_false(w->part);
    assert_int_equal(w->err.code, SP_OK);
}

static void test_mistakes(void **state) {
    static const struct {
        const char *spec, *words;
    } rows[] = {
        {"{\"addresses\":[\"x\"],\"interface\":\"e\",\"virtualRouterID\":1}",
         "x is not an address"},
        {"{\"addresses\":[\"1.2.3.4/33\"],\"interface\":\"e\",\"virtualRouterID\":1}",
         "1.2.3.4/33"},
        {"{\"addresses\":[\"1.2.3.4\"],\"virtualRouterID\":1}", "no interface"},
        {"{\"addresses\":[\"1.2.3.4\"],\"interface\":\"e\",\"virtualRouterID\":1,"
         "\"advertInterval\":\"soon\"}",
         "advertInterval soon"},
        {"{\"addresses\":[\"1.2.3.4\"],\"interface\":\"e\",\"virtualRouterID\":1,"
         "\"advertInterval\":\"1ms\"}",
         "10ms to"},
        {"{\"addresses\":[\"1.2.3.4\"],\"interface\":\"e\",\"virtualRouterID\":1,"
         "\"preempt\":false,\"initialState\":\"Master\"}",
         "needs initialState: Backup"},
        {"{\"addresses\":[\"1.2.3.4\"],\"interface\":\"e\",\"virtualRouterID\":1,\"version\":2,"
         "\"authentication\":{\"passwordFrom\":{\"namespace\":\"x\",\"name\":\"y\"}}}",
         "Secret x/y"},
        {"{\"addresses\":[\"1.2.3.4\"],\"interface\":\"e\",\"virtualRouterID\":1,"
         "\"track\":[{\"kind\":\"Interface\"}]}",
         "a name is missing"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        world *w = *state;
        assert_null(read_as(w, "a", rows[i].spec));
        if (!strstr(w->err.text, rows[i].words)) fail_msg("row %zu: %s", i, w->err.text);
    }
}

static void test_equal_priorities_are_told(void **state) {
    world *w = *state;
    sp_strs said = {0};
    sp_vip_object_lint(w->arena,
                       object(w, "{\"nodes\":[{\"name\":\"a\"},{\"name\":\"b\",\"priority\":"
                                 "90},{\"name\":\"c\",\"priority\":100}]}"),
                       &said);
    assert_int_equal(said.n, 1);
    assert_true(sp_str_find(said.p[0], SP_STR("a and c have the same priority 100")) >= 0);
    sp_vec_free(&said);
}

/* What a file says comes through the object unchanged. */
static void test_a_file_as_objects(void **state) {
    static const char text[] =
        "vrrp_instance VI_1 {\nstate BACKUP\ninterface eth0\nvirtual_router_id 51\npriority 90\n"
        "nopreempt\nunicast_src_ip 192.0.2.1\nunicast_peer {\n192.0.2.2\n}\n"
        "authentication {\nauth_type PASS\nauth_pass hush\n}\n"
        "virtual_ipaddress {\n192.0.2.9/24\n}\ntrack_interface {\neth1 weight -20\n}\n"
        "notify /bin/true\n}\n";
    world *w = *state;
    sp_vip_problems problems = {0};
    sp_vip_node node = {SP_STR("a"), secret, NULL};
    sp_vip_config *c = sp_keepalived_conf_parse(sp_str_z(text), "k", NULL, &problems);
    problems.n = 0;
    sp_json *list = sp_vip_config_objects(w->arena, c, &problems);
    assert_int_equal(list->count, 1);
    assert_true(sp_str_eqz(sp_obj_name(list->first), "vi-1"));
    assert_int_equal(problems.n, 1); /* the notify program stays behind */
    if (!sp_vip_object_read(w->config, list->first, &node, &w->part, &w->err))
        fail_msg("%s", w->err.text);
    const sp_vip_instance *x = &c->instances.p[0], *y = &w->config->instances.p[0];
    assert_int_equal(y->vrid, x->vrid);
    assert_int_equal(y->priority, x->priority);
    assert_int_equal(y->options.version, 2);
    assert_int_equal(y->options.advert_us, x->options.advert_us);
    assert_true(y->options.nopreempt && y->has_pass);
    assert_memory_equal(y->pass, x->pass, sizeof x->pass);
    assert_true(sp_addr_eq(&y->peers.p[0], &x->peers.p[0]));
    assert_true(sp_addr_eq(&y->source, &x->source));
    assert_true(sp_addr_eq(&y->addresses.p[0].ip, &x->addresses.p[0].ip));
    assert_int_equal(y->tracks.p[0].weight, -20);
    sp_vec_free(&problems);
    sp_vip_config_free(c);
}

int main(void) {
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_defaults), T(test_each_node_its_own),
                                       T(test_mistakes), T(test_equal_priorities_are_told),
                                       T(test_a_file_as_objects)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
