#include "kube/kubeconfig.h"

#include "base/file.h"
#include "net/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static void put(const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sp_err err = {0};
    if (!sp_file_write(path, sp_str_z(text), 0600, &err)) fail_msg("%s", err.text);
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kubeconfig-test.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    return sp_remove_all(dir, NULL) ? 0 : -1;
}

static const char full[] =
    "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
    "clusters:\n"
    "- name: one\n  cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Q0E=}\n"
    "- name: two\n  cluster:\n    server: https://[::1]/k8s/\n    insecure-skip-tls-verify: true\n"
    "    tls-server-name: api.example\n"
    "- name: three\n  cluster: {server: 'http://h:8080', certificate-authority: ca.pem}\n"
    "- name: bad\n  cluster: {server: 'ftp://h'}\n"
    "- name: many\n  cluster: {server: 'https://a:6443/k, https://[::2]:7443/k,https://c/k'}\n"
    "- name: mixed\n  cluster: {server: 'https://a,http://b'}\n"
    "- name: empty\n  cluster: {server: 'https://a,,https://b'}\n"
    "users:\n"
    "- name: cert\n  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}\n"
    "- name: token\n  user: {token: s3cret}\n"
    "- name: half\n  user: {client-certificate-data: Q0VSVA==}\n"
    "- name: broken\n  user: {client-key-data: '***'}\n"
    "- name: plugin\n  user: {exec: {command: x}}\n"
    "contexts:\n"
    "- name: a\n  context: {cluster: one, user: cert}\n"
    "- name: b\n  context: {cluster: two, user: token, namespace: prod}\n"
    "- name: c\n  context: {cluster: three, user: ''}\n"
    "- name: no-cluster\n  context: {cluster: gone, user: cert}\n"
    "- name: no-user\n  context: {cluster: one, user: gone}\n"
    "- name: half\n  context: {cluster: one, user: half}\n"
    "- name: broken\n  context: {cluster: one, user: broken}\n"
    "- name: plugin\n  context: {cluster: one, user: plugin}\n"
    "- name: many\n  context: {cluster: many, user: token}\n"
    "- name: mixed\n  context: {cluster: mixed, user: token}\n"
    "- name: empty\n  context: {cluster: empty, user: token}\n"
    "- name: bad-server\n  context: {cluster: bad, user: cert}\n";

static bool load(sp_arena *a, const char *context, sp_kubeconfig *c, sp_err *err) {
    char path[128];
    snprintf(path, sizeof path, "%s/config", dir);
    return sp_kubeconfig_load(a, path, context, c, err);
}

#define assert_str(s, z) assert_true(sp_str_eqz((s), (z)))

static void contexts_are_resolved(void **state) {
    (void)state;
    put("config", full);
    put("ca.pem", "FILE CA");
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_kubeconfig c;
    sp_err err = {0};
    if (!load(a, NULL, &c, &err)) fail_msg("%s", err.text);
    assert_str(c.host, "127.0.0.1");
    assert_int_equal(c.port, 6443);
    assert_str(c.ca_pem, "CA");
    assert_str(c.cert_pem, "CERT");
    assert_str(c.key_pem, "KEY");
    assert_str(c.namespace_, "default");
    assert_true(c.tls && !c.insecure);

    if (!load(a, "b", &c, &err)) fail_msg("%s", err.text);
    assert_str(c.host, "::1");
    assert_int_equal(c.port, 443);
    assert_str(c.prefix, "/k8s");
    assert_str(c.token, "s3cret");
    assert_str(c.namespace_, "prod");
    assert_str(c.server_name, "api.example");
    assert_true(c.insecure);

    if (!load(a, "c", &c, &err)) fail_msg("%s", err.text);
    assert_false(c.tls);
    assert_int_equal(c.port, 8080);
    assert_str(c.ca_pem, "FILE CA");
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    put("config", full);
    static const struct {
        const char *context, *says;
    } rows[] = {
        {"nowhere", "no context \"nowhere\""}, {"no-cluster", "cluster \"gone\""},
        {"no-user", "user \"gone\""},          {"half", "no client-key"},
        {"broken", "client-key-data"},         {"plugin", "plugin"},
        {"bad-server", "https://host:port"},   {"c", "ca.pem"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_kubeconfig c;
        sp_err err = {0};
        assert_false(load(a, rows[i].context, &c, &err));
        if (!strstr(err.text, rows[i].says)) fail_msg("%s: %s", rows[i].context, err.text);
    }
}

static void the_list_of_the_environment_is_merged(void **state) {
    (void)state;
    put("config", full);
    put("other",
        "current-context: d\ncontexts:\n- name: d\n  context: {cluster: one, user: token}\n");
    char env[256];
    snprintf(env, sizeof env, "%s/missing:%s/other:%s/config", dir, dir, dir);
    setenv("KUBECONFIG", env, 1);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_kubeconfig c;
    sp_err err = {0};
    if (!sp_kubeconfig_load(a, NULL, NULL, &c, &err)) fail_msg("%s", err.text);
    assert_str(c.token, "s3cret");
    assert_str(c.host, "127.0.0.1");
    snprintf(env, sizeof env, "%s/missing", dir);
    setenv("KUBECONFIG", env, 1);
    assert_false(sp_kubeconfig_load(a, NULL, NULL, &c, &err));
    assert_non_null(strstr(err.text, "--kubeconfig"));
    unsetenv("KUBECONFIG");
}

static void several_servers(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_kubeconfig c;
    sp_err err = {0};
    put("config", full);
    if (!load(a, "many", &c, &err)) fail_msg("%s", err.text);
    assert_true(sp_str_eqz(c.host, "a") && sp_str_eqz(c.prefix, "/k") && c.tls);
    assert_int_equal(c.port, 6443);
    assert_int_equal(c.other_count, 2);
    assert_string_equal(c.others[0].host, "::2");
    assert_int_equal(c.others[0].port, 7443);
    assert_string_equal(c.others[1].host, "c");
    assert_int_equal(c.others[1].port, 443);
    assert_false(load(a, "mixed", &c, &err));
    assert_non_null(strstr(err.text, "differ in scheme"));
    assert_false(load(a, "empty", &c, &err));
    assert_non_null(strstr(err.text, "is not of the form"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(several_servers, setup, teardown),
        cmocka_unit_test_setup_teardown(contexts_are_resolved, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(the_list_of_the_environment_is_merged, setup, teardown),
    };
    return cmocka_run_group_tests_name("kubeconfig", tests, NULL, NULL);
}
