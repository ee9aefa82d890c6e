/* config.json from pods, part by part; volumes' file sets; the pod's status. */
#include "documents.h"

#include "agent/oci.h"

#include "agent/oci_caps.h"
#include "agent/podstatus.h"
#include "agent/volumes.h"
#include "base/file.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
static const char group[] = "root:x:0:\napp:x:1001:\nwheel:x:10:app,root\ndata:x:20:app\n";

static const char *text_of(sp_arena *a, const sp_json *j) {
    sp_auto(sp_buf) b = {0};
    if (!j) return "(missing)";
    sp_json_write(&b, j);
    return sp_arena_str(a, sp_buf_str(&b)).p;
}

/* ---------- environment ---------- */

static const sp_json *object(void *ctx, const char *kind, sp_str name) {
    const sp_json *all = ctx;
    return sp_json_get_str(sp_json_get(all, kind), name);
}

static void the_environment_is_resolved(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *objects =
        parse(a, "{\"ConfigMap\":{\"cm\":{\"data\":{\"K\":\"v\",\"9x\":\"no name\"}}},"
                 "\"Secret\":{\"s\":{\"data\":{\"p\":\"c2VjcmV0\"}}}}");
    sp_json *pod = parse(a, "{\"metadata\":{\"name\":\"n\",\"labels\":{\"a.b/"
                            "c\":\"L\"}},\"spec\":{\"nodeName\":\"node\"}}");
    sp_json *c = parse(
        a, "{\"resources\":{\"limits\":{\"cpu\":\"1500m\",\"memory\":\"1Ki\"}},"
           "\"envFrom\":[{\"prefix\":\"X_\",\"configMapRef\":{\"name\":\"cm\"}},"
           "{\"secretRef\":{\"name\":\"gone\",\"optional\":true}}],\"env\":["
           "{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"$(A)-$(NONE)-$$(A)-$5\"},"
           "{\"name\":\"P\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"p\"}}},"
           "{\"name\":\"L\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['a.b/"
           "c']\"}}},"
           "{\"name\":\"I\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}},"
           "{\"name\":\"C\",\"valueFrom\":{\"resourceFieldRef\":{\"resource\":\"limits.cpu\"}}},"
           "{\"name\":\"M\",\"valueFrom\":{\"resourceFieldRef\":{\"resource\":\"limits.memory\"}}},"
           "{\"name\":\"O\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"no\","
           "\"optional\":true}}},"
           "{\"name\":\"A\",\"value\":\"2\"}]}");
    sp_env_source source = {.object = object, .pod_ip = SP_STR("10.0.0.9"), .ctx = objects};
    sp_json *env = NULL;
    sp_err err = {0};
    if (!sp_env_resolve(a, pod, c, &source, &env, &err)) fail_msg("%s", err.text);
    assert_string_equal(
        text_of(a, env),
        "[{\"name\":\"X_K\",\"value\":\"v\"},{\"name\":\"X_9x\",\"value\":\"no name\"},"
        "{\"name\":\"A\",\"value\":\"2\"},"
        "{\"name\":\"B\",\"value\":\"1-$(NONE)-$(A)-$5\"},{\"name\":\"P\",\"value\":\"secret\"},"
        "{\"name\":\"L\",\"value\":\"L\"},{\"name\":\"I\",\"value\":\"10.0.0.9\"},"
        "{\"name\":\"C\",\"value\":\"2\"},{\"name\":\"M\",\"value\":\"1024\"}]");
    c = parse(a, "{\"env\":[{\"name\":\"E\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cm\","
                 "\"key\":\"no\"}}}]}");
    assert_false(sp_env_resolve(a, pod, c, &source, &env, &err));
    assert_string_equal(err.text, "env E: ConfigMap \"cm\" has no key \"no\"");
    c = parse(a, "{\"envFrom\":[{\"secretRef\":{\"name\":\"gone\"}}]}");
    assert_false(sp_env_resolve(a, pod, c, &source, &env, &err));
    assert_string_equal(err.text, "Secret \"gone\" does not exist");
}

/* ---------- users ---------- */

static void users_come_from_the_image(void **state) {
    (void)state;
    static const struct {
        const char *spec;
        int64_t uid, gid;
        size_t extra;
        const char *home;
    } rows[] = {{"", 0, 0, 1, "/root"},
                {"app", 1000, 1001, 2, "/home/app"},
                {"1000", 1000, 1001, 2, "/home/app"},
                {"4242", 4242, 0, 0, ""},
                {"app:wheel", 1000, 10, 0, "/home/app"},
                {"1000:7", 1000, 7, 0, "/home/app"},
                {":data", 0, 20, 0, "/root"}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_oci_user u = {0};
        sp_err err = {0};
        if (!sp_oci_user_find(sp_str_z(rows[i].spec), sp_str_z(passwd), sp_str_z(group), &u, &err))
            fail_msg("%s: %s", rows[i].spec, err.text);
        assert_int_equal(u.uid, rows[i].uid);
        assert_int_equal(u.gid, rows[i].gid);
        assert_int_equal(u.extra.n, rows[i].extra);
        assert_true(sp_str_eqz(u.home, rows[i].home));
        sp_vec_free(&u.extra);
    }
    sp_oci_user u;
    sp_err err = {0};
    assert_false(sp_oci_user_find(SP_STR("nobody"), sp_str_z(passwd), sp_str_z(group), &u, &err));
    assert_false(
        sp_oci_user_find(SP_STR("app:nogroup"), sp_str_z(passwd), sp_str_z(group), &u, &err));
}

/* ---------- the configuration ---------- */

static bool config_of(sp_arena *a, const char *pod_spec, const char *container, const char *image,
                      sp_json **ret, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    sp_buf_printf(&text, "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[%s]%s}}",
                  container, pod_spec);
    sp_json *pod = parse(a, text.p);
    sp_oci_input in = {
        .pod = pod,
        .container = sp_json_at(sp_json_dig(pod, "spec", "containers", NULL), 0),
        .image = parse(a, image),
        .env = sp_json_array(a),
        .passwd = sp_str_z(passwd),
        .group = sp_str_z(group),
        .rootfs = "rootfs",
        .cgroup = "/sampan/u/c-0",
        .ns_dir = "/ns",
        .host = {.caps = ~0ull, .nofile_hard = 20000, .memory_bytes = 1000000000},
    };
    return sp_oci_config(a, &in, ret, err);
}

#define AT(config, ...) text_of(a, sp_json_dig(config, __VA_ARGS__, NULL))

static void security_is_as_asked(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *c = NULL;
    sp_err err = {0};
    const char *image =
        "{\"Entrypoint\":[\"/e\"],\"Cmd\":[\"c\"],\"User\":\"app\",\"WorkingDir\":\"/"
        "w\",\"Env\":[\"PATH=/p\"]}";
    assert_true(config_of(a, "", "{\"name\":\"c\"}", image, &c, &err));
    assert_string_equal(AT(c, "process", "noNewPrivileges"), "false");
    assert_string_equal(AT(c, "process", "user"),
                        "{\"uid\":1000,\"gid\":1001,\"additionalGids\":[10,20]}");
    assert_string_equal(AT(c, "process", "args"), "[\"/e\",\"c\"]");
    assert_string_equal(AT(c, "process", "cwd"), "\"/w\"");
    assert_string_equal(AT(c, "process", "env"), "[\"PATH=/p\",\"HOSTNAME=p\",\"HOME=/home/app\"]");
    assert_string_equal(AT(c, "root"), "{\"path\":\"rootfs\",\"readonly\":false}");
    assert_true(config_of(
        a,
        ",\"securityContext\":{\"runAsUser\":5,\"runAsGroup\":6,\"fsGroup\":7,\"runAsNonRoot\":"
        "true}",
        "{\"name\":\"c\",\"securityContext\":{\"allowPrivilegeEscalation\":false,"
        "\"readOnlyRootFilesystem\":true,\"runAsUser\":8,"
        "\"capabilities\":{\"drop\":[\"ALL\"],\"add\":[\"NET_BIND_SERVICE\",\"CAP_CHOWN\"]}}}",
        image, &c, &err));
    assert_string_equal(AT(c, "process", "noNewPrivileges"), "true");
    assert_string_equal(AT(c, "process", "user"), "{\"uid\":8,\"gid\":6,\"additionalGids\":[7]}");
    assert_string_equal(AT(c, "process", "capabilities", "bounding"),
                        "[\"CAP_CHOWN\",\"CAP_NET_BIND_SERVICE\"]");
    assert_string_equal(AT(c, "root", "readonly"), "true");
    /* Dropped by name stays dropped, whatever else was added. */
    assert_true(
        config_of(a, "",
                  "{\"name\":\"c\",\"securityContext\":{\"capabilities\":{\"add\":[\"NET_RAW\","
                  "\"CHOWN\"],\"drop\":[\"NET_RAW\",\"all\"]}}}",
                  image, &c, &err));
    assert_string_equal(AT(c, "process", "capabilities", "bounding"), "[\"CAP_CHOWN\"]");
    assert_false(config_of(a, "", "{\"name\":\"c\",\"securityContext\":{\"runAsNonRoot\":true}}",
                           "{\"Cmd\":[\"x\"]}", &c, &err));
    assert_non_null(strstr(err.text, "runAsNonRoot"));
    assert_false(config_of(
        a, "", "{\"name\":\"c\",\"securityContext\":{\"capabilities\":{\"add\":[\"FLY\"]}}}", image,
        &c, &err));
    assert_false(config_of(a, "", "{\"name\":\"c\"}", "{}", &c, &err));
    assert_non_null(strstr(err.text, "set command"));
}

static void command_and_args_replace_the_images(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"{\"name\":\"c\",\"args\":[\"x\"]}", "[\"/e\",\"x\"]"},
        {"{\"name\":\"c\",\"command\":[\"y\"]}", "[\"y\"]"},
        {"{\"name\":\"c\",\"command\":[\"y\"],\"args\":[\"x\",\"$$(A)\"]}",
         "[\"y\",\"x\",\"$(A)\"]"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *c = NULL;
        sp_err err = {0};
        assert_true(
            config_of(a, "", rows[i][0], "{\"Entrypoint\":[\"/e\"],\"Cmd\":[\"c\"]}", &c, &err));
        assert_string_equal(AT(c, "process", "args"), rows[i][1]);
    }
}

static void limits_reach_the_cgroup(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *c = NULL;
    sp_err err = {0};
    assert_true(config_of(
        a, "",
        "{\"name\":\"c\",\"resources\":{\"limits\":{\"cpu\":\"500m\",\"memory\":\"64Mi\"},"
        "\"requests\":{\"cpu\":\"250m\"}}}",
        "{\"Cmd\":[\"x\"]}", &c, &err));
    assert_string_equal(AT(c, "linux", "resources", "cpu"),
                        "{\"shares\":256,\"quota\":50000,\"period\":100000}");
    assert_string_equal(AT(c, "linux", "resources", "memory"), "{\"limit\":67108864}");
    assert_string_equal(AT(c, "linux", "cgroupsPath"), "\"/sampan/u/c-0\"");
    assert_string_equal(AT(c, "process", "rlimits"),
                        "[{\"type\":\"RLIMIT_NOFILE\",\"hard\":20000,\"soft\":20000}]");
    assert_string_equal(AT(c, "process", "oomScoreAdj"), "933"); /* 1000 - 67 of 1000 MB */
    assert_true(config_of(a, "", "{\"name\":\"c\"}", "{\"Cmd\":[\"x\"]}", &c, &err));
    assert_string_equal(AT(c, "linux", "resources", "cpu"), "{\"shares\":2}");
    assert_string_equal(AT(c, "process", "oomScoreAdj"), "1000");
    /* Without CAP_SYS_RESOURCE nothing goes below our own value. */
    assert_true(config_of(
        a, "", "{\"name\":\"c\",\"resources\":{\"limits\":{\"cpu\":1,\"memory\":\"1Gi\"}}}",
        "{\"Cmd\":[\"x\"]}", &c, &err));
    assert_string_equal(AT(c, "process", "oomScoreAdj"), "0");
}

static void host_namespaces_are_left_out(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *c = NULL;
    sp_err err = {0};
    assert_true(config_of(a, ",\"hostNetwork\":true,\"hostPID\":true", "{\"name\":\"c\"}",
                          "{\"Cmd\":[\"x\"]}", &c, &err));
    assert_string_equal(
        AT(c, "linux", "namespaces"),
        "[{\"type\":\"mount\"},{\"type\":\"cgroup\"},{\"type\":\"uts\",\"path\":\"/ns/uts\"},"
        "{\"type\":\"ipc\",\"path\":\"/ns/ipc\"}]");
}

static void quality_of_service(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"{\"spec\":{\"containers\":[{}]}}", "BestEffort"},
        {"{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":1,\"memory\":\"1Gi\"}}}]}"
         "}",
         "Guaranteed"},
        {"{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":1,\"memory\":\"1Gi\"}}},{}"
         "]}}",
         "Burstable"},
        {"{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":1,\"memory\":\"1Gi\"},"
         "\"requests\":{\"cpu\":\"1000m\"}}}]}}",
         "Guaranteed"},
        {"{\"spec\":{\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"10m\"}}}]}}",
         "Burstable"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        assert_string_equal(sp_pod_qos(parse(a, rows[i][0])), rows[i][1]);
    }
}

/* ---------- sets of files ---------- */

static void file_sets_change_all_at_once(void **state) {
    (void)state;
    char dir[] = "/tmp/oci_test.XXXXXX", path[200], before[64] = "", after[64] = "";
    sp_err err = {0};
    assert_non_null(mkdtemp(dir));
    sp_payload_file first[] = {{SP_STR("a"), SP_STR("1"), 0644},
                               {SP_STR("d/b"), SP_STR("2"), 0400}};
    sp_payload set = {first, 2, 2};
    assert_true(sp_payload_write(dir, &set, -1, &err));
    snprintf(path, sizeof path, "%s/..data", dir);
    assert_true(readlink(path, before, sizeof before - 1) > 0);
    assert_true(sp_payload_write(dir, &set, -1, &err)); /* the same: nothing moves */
    assert_true(readlink(path, after, sizeof after - 1) > 0);
    assert_string_equal(before, after);
    snprintf(path, sizeof path, "%s/d/b", dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    sp_payload_file second[] = {{SP_STR("a"), SP_STR("new"), 0644}};
    set = (sp_payload){second, 1, 1};
    assert_true(sp_payload_write(dir, &set, -1, &err));
    sp_auto(sp_buf) text = {0};
    snprintf(path, sizeof path, "%s/a", dir);
    assert_true(sp_file_read(path, 100, &text, &err));
    assert_string_equal(text.p, "new");
    snprintf(path, sizeof path, "%s/d", dir);
    assert_int_equal(lstat(path, &st), -1);
    snprintf(path, sizeof path, "%s/%s", dir, before);
    assert_int_equal(lstat(path, &st), -1);
    static const char *const bad[] = {"../x", "/x", "a/../b", "", "..x"};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_payload_file f[] = {{sp_str_z(bad[i]), SP_STR("x"), 0644}};
        set = (sp_payload){f, 1, 1};
        assert_false(sp_payload_write(dir, &set, -1, &err));
    }
    assert_true(sp_remove_all(dir, &err));
}

/* ---------- status ---------- */

static void the_status_tells_how_a_container_ended(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_ctr_view view = {.phase = SP_CTR_EXITED, .exit_code = 137, .crashes = 2, .restarts = 1};
    sp_pod_view v = {.restart = SP_RESTART_ALWAYS, .containers = &view, .n = 1};
    sp_ctr_report c = {.name = SP_STR("c"),
                       .image = SP_STR("i"),
                       .image_id = SP_STR("sha256:x"),
                       .last = {.exit_code = 137,
                                .signal = 9,
                                .oom_killed = true,
                                .started_ms = 1000,
                                .finished_ms = 2000},
                       .last_message = SP_STR("the end")};
    sp_pod_report r = {.pod = parse(a, "{\"metadata\":{\"name\":\"p\"},\"spec\":{}}"),
                       .view = &v,
                       .containers = &c,
                       .now_ms = 5000,
                       .start_ms = 500};
    sp_json *s = sp_podstatus_build(a, &r, NULL);
    const sp_json *cs = sp_json_at(sp_json_get(s, "containerStatuses"), 0);
    assert_string_equal(AT(s, "phase"), "\"Running\"");
    assert_string_equal(AT(cs, "state", "waiting", "reason"), "\"CrashLoopBackOff\"");
    assert_string_equal(
        AT(cs, "lastState", "terminated"),
        "{\"exitCode\":137,\"signal\":9,\"reason\":\"OOMKilled\",\"message\":\"the end\","
        "\"startedAt\":\"1970-01-01T00:00:01Z\",\"finishedAt\":\"1970-01-01T00:00:02Z\"}");
    v.restart = SP_RESTART_NEVER;
    s = sp_podstatus_build(a, &r, NULL);
    cs = sp_json_at(sp_json_get(s, "containerStatuses"), 0);
    assert_string_equal(AT(s, "phase"), "\"Failed\"");
    assert_string_equal(AT(cs, "state", "terminated", "reason"), "\"OOMKilled\"");
    view = (sp_ctr_view){.phase = SP_CTR_NEW};
    c.wait = (sp_ctr_wait){"ImagePullBackOff", SP_STR("why")};
    c.last = (sp_shim_exit){0};
    s = sp_podstatus_build(a, &r, NULL);
    cs = sp_json_at(sp_json_get(s, "containerStatuses"), 0);
    assert_string_equal(AT(cs, "state"),
                        "{\"waiting\":{\"reason\":\"ImagePullBackOff\",\"message\":\"why\"}}");
    assert_string_equal(AT(s, "phase"), "\"Pending\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_resolved),
        cmocka_unit_test(users_come_from_the_image),
        cmocka_unit_test(security_is_as_asked),
        cmocka_unit_test(command_and_args_replace_the_images),
        cmocka_unit_test(limits_reach_the_cgroup),
        cmocka_unit_test(host_namespaces_are_left_out),
        cmocka_unit_test(quality_of_service),
        cmocka_unit_test(file_sets_change_all_at_once),
        cmocka_unit_test(the_status_tells_how_a_container_ended),
    };
    return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
