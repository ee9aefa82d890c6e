/* Tables as kubectl receives them, and the cells that are computed. */
#include "documents.h"

#include "apiserver/accept.h"
#include "apiserver/table.h"
#include "apiserver/types/types.h"

static const int64_t noon = 1700049600000; /* 2023-11-15T12:00:00Z */

/* The cells of one object, joined by " | ". */
static const char *row(sp_arena *a, const sp_resource *r, const char *object) {
    sp_auto(sp_buf) b = {0};
    sp_auto(sp_buf) out = {0};
    sp_table t = {.resource = r,
                  .version = "v1",
                  .include = SP_TABLE_NONE,
                  .now_wall_ms = noon,
                  .remaining = -1};
    sp_table_begin(&b, &t);
    sp_table_row(&b, &t, parse(a, object), SP_STR(""), a);
    sp_table_end(&b);
    const sp_json *table = parse(a, sp_buf_z(&b));
    sp_json_each(sp_json_get(sp_json_at(sp_json_get(table, "rows"), 0), "cells"), cell) {
        if (out.n) sp_buf_addz(&out, " | ");
        sp_buf_add(&out, cell->text);
    }
    return sp_arena_strz(a, sp_buf_str(&out));
}

static void shows(const sp_resource *r, const char *object, const char *cells) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    assert_string_equal(row(a, r, object), cells);
}

static void a_list_is_one_table(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) b = {0};
    sp_table t = {.resource = &sp_row_config_map,
                  .version = "v1",
                  .with_columns = true,
                  .now_wall_ms = noon,
                  .resource_version = SP_STR("7"),
                  .continue_ = SP_STR("abc"),
                  .remaining = 3};
    sp_json *cm = parse(a, "{\"metadata\":{\"name\":\"a\",\"creationTimestamp\":"
                           "\"2023-11-15T11:58:00Z\"},\"data\":{\"k\":\"v\"}}");
    sp_table_begin(&b, &t);
    sp_table_row(&b, &t, cm, SP_STR(""), a);
    t.include = SP_TABLE_OBJECT;
    sp_table_row(&b, &t, cm, SP_STR("{\"raw\":1}"), a);
    sp_table_end(&b);
    assert_string_equal(
        b.p,
        "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{\"resourceVersion\":"
        "\"7\",\"continue\":\"abc\",\"remainingItemCount\":3},\"columnDefinitions\":[{\"name\":"
        "\"Name\",\"type\":\"string\",\"format\":\"name\",\"description\":\"Name of the object, "
        "unique among its kind in the namespace.\",\"priority\":0},{\"name\":\"Data\",\"type\":"
        "\"string\",\"format\":\"\",\"description\":\"Number of "
        "entries.\",\"priority\":0},{\"name\":"
        "\"Age\",\"type\":\"string\",\"format\":\"\",\"description\":\"Time since the object was "
        "created.\",\"priority\":0}],\"rows\":[{\"cells\":[\"a\",1,\"2m\"],\"object\":{\"kind\":"
        "\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{\"name\":\"a\","
        "\"creationTimestamp\":\"2023-11-15T11:58:00Z\"}}},{\"cells\":[\"a\",1,\"2m\"],\"object\":{"
        "\"raw\":1}}]}");
    /* The next event of a watch repeats no columns. */
    sp_buf_clear(&b);
    sp_table_begin(&b, &t);
    assert_non_null(strstr(b.p, "\"columnDefinitions\":null"));
}

#define CONTAINERS(n) "\"spec\":{\"containers\":[" n "]}"
#define STATUS(s) \
    "{\"metadata\":{\"name\":\"p\"}," CONTAINERS("{\"name\":\"c\"}") ",\"status\":" s "}"

static void status_of_pods(void **state) {
    (void)state;
    static const struct {
        const char *object, *ready, *status, *restarts;
    } pods[] = {
        {STATUS("{\"phase\":\"Pending\"}"), "0/1", "Pending", "0"},
        {STATUS("{\"phase\":\"Running\",\"containerStatuses\":[{\"name\":\"c\",\"ready\":true,"
                "\"state\":{\"running\":{}}}]}"),
         "1/1", "Running", "0"},
        {STATUS("{\"phase\":\"Running\",\"containerStatuses\":[{\"name\":\"c\",\"restartCount\":3,"
                "\"state\":{\"waiting\":{\"reason\":\"CrashLoopBackOff\"}},\"lastState\":{"
                "\"terminated\":{\"finishedAt\":\"2023-11-15T11:59:50Z\"}}}]}"),
         "0/1", "CrashLoopBackOff", "3 (10s ago)"},
        {STATUS("{\"phase\":\"Succeeded\",\"containerStatuses\":[{\"name\":\"c\",\"state\":{"
                "\"terminated\":{\"reason\":\"Completed\",\"exitCode\":0}}}]}"),
         "0/1", "Completed", "0"},
        {STATUS("{\"phase\":\"Failed\",\"containerStatuses\":[{\"name\":\"c\",\"state\":{"
                "\"terminated\":{\"exitCode\":3}}}]}"),
         "0/1", "ExitCode:3", "0"},
        {STATUS("{\"phase\":\"Failed\",\"reason\":\"Evicted\"}"), "0/1", "Evicted", "0"},
        {"{\"metadata\":{\"name\":\"p\",\"deletionTimestamp\":\"2023-11-15T11:59:50Z\"},"
         "\"status\":{\"phase\":\"Running\"}}",
         "0/0", "Terminating", "0"},
        {"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"initContainers\":[{\"name\":\"i\"},{\"name\":"
         "\"j\"}],\"containers\":[{\"name\":\"c\"}]},\"status\":{\"phase\":\"Pending\","
         "\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{\"exitCode\":0}}},"
         "{\"name\":\"j\",\"restartCount\":2,\"state\":{\"running\":{}}}],\"containerStatuses\":[{"
         "\"name\":\"c\",\"state\":{\"waiting\":{\"reason\":\"PodInitializing\"}}}]}}",
         "0/1", "Init:1/2", "2"},
        {"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"initContainers\":[{\"name\":\"i\"}]},"
         "\"status\":{\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{"
         "\"exitCode\":1,\"reason\":\"Error\"}}}]}}",
         "0/0", "Init:Error", "0"},
    };
    for (size_t i = 0; i < SP_COUNT(pods); i++) {
        char cells[200];
        snprintf(cells, sizeof cells,
                 "p | %s | %s | %s | <unknown> | <none> | <none> | <none> | <none>", pods[i].ready,
                 pods[i].status, pods[i].restarts);
        shows(&sp_row_pod, pods[i].object, cells);
    }
}

static void other_kinds(void **state) {
    (void)state;
    shows(
        &sp_row_deployment,
        "{\"metadata\":{\"name\":\"d\",\"creationTimestamp\":\"2023-11-15T09:00:00Z\"},\"spec\":{"
        "\"replicas\":3,\"selector\":{\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":[{\"key\":"
        "\"k\",\"operator\":\"In\",\"values\":[\"x\",\"y\"]}]},\"template\":{\"spec\":{"
        "\"containers\":[{\"name\":\"c\",\"image\":\"i\"},{\"name\":\"e\",\"image\":\"f\"}]}}},"
        "\"status\":{\"readyReplicas\":2,\"updatedReplicas\":1}}",
        "d | 2/3 | 1 | 0 | 3h | c,e | i,f | a=b,k in (x,y)");
    shows(
        &sp_row_service,
        "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"LoadBalancer\",\"clusterIP\":"
        "\"10.96.0.9\",\"ports\":[{\"port\":80,\"nodePort\":30001,\"protocol\":\"TCP\"},{\"port\":"
        "53,\"protocol\":\"UDP\"}],\"selector\":{\"a\":\"b\"}}}",
        "s | LoadBalancer | 10.96.0.9 | <pending> | 80:30001/TCP,53/UDP | <unknown> | a=b");
    shows(
        &sp_row_node,
        "{\"metadata\":{\"name\":\"n\",\"labels\":{\"node-role.kubernetes.io/worker\":\"\"}},"
        "\"spec\":{\"unschedulable\":true},\"status\":{\"conditions\":[{\"type\":\"Ready\","
        "\"status\":\"False\"}],\"nodeInfo\":{\"kubeletVersion\":\"v1\"}}}",
        "n | NotReady,SchedulingDisabled | worker | <unknown> | v1 | <none> | <none> | <unknown> | "
        "<unknown> | <unknown>");
    shows(&sp_row_event,
          "{\"metadata\":{\"name\":\"e\"},\"type\":\"Warning\",\"reason\":\"R\",\"message\":\" "
          "m\\n\","
          "\"lastTimestamp\":\"2023-11-15T11:55:00Z\",\"firstTimestamp\":\"2023-11-15T10:00:00Z\","
          "\"count\":4,\"involvedObject\":{\"kind\":\"Pod\",\"name\":\"p\"},\"source\":{"
          "\"component\":"
          "\"agent\",\"host\":\"n\"}}",
          "5m | Warning | R | pod/p |  | agent, n | m | 120m | 4 | e");
    shows(
        &sp_row_endpoints,
        "{\"metadata\":{\"name\":\"e\"},\"subsets\":[{\"addresses\":[{\"ip\":\"10.0.0.1\"},{\"ip\":"
        "\"10.0.0.2\"}],\"ports\":[{\"port\":80},{\"port\":81}]}]}",
        "e | 10.0.0.1:80,10.0.0.1:81,10.0.0.2:80 + 1 more... | <unknown>");
    shows(&sp_row_horizontal_pod_autoscaler,
          "{\"metadata\":{\"name\":\"h\"},\"spec\":{\"scaleTargetRef\":{\"kind\":\"Deployment\","
          "\"name\":\"d\"},\"minReplicas\":1,\"maxReplicas\":9,\"metrics\":[{\"type\":\"Resource\","
          "\"resource\":{\"name\":\"cpu\",\"target\":{\"averageUtilization\":80}}}]},\"status\":{"
          "\"currentReplicas\":2,\"currentMetrics\":[{\"type\":\"Resource\",\"resource\":{\"name\":"
          "\"cpu\",\"current\":{\"averageUtilization\":35}}}]}}",
          "h | Deployment/d | cpu: 35%/80% | 1 | 9 | 2 | <unknown>");
    shows(&sp_row_oam_trait_definition, "{\"metadata\":{\"name\":\"t\"},\"spec\":{}}",
          "t | <unknown> |  | * | <none> | ");
}

static void columns_of_custom_resources(void **state) {
    (void)state;
    static const sp_column columns[] = {
        SP_COLUMN_NAME,
        {"Ready", "string", "", "", 0, ".status.conditions[?(@.type==\"Ready\")].status", NULL},
        {"Count", "integer", "", "", 0, ".spec.count", NULL},
        {"When", "date", "", "", 0, ".spec.when", NULL},
        {"Text", "string", "", "", 0, ".spec.count", NULL},
        {"Missing", "string", "", "", 0, ".spec.none.at.all", NULL},
    };
    static const sp_resource r = {.columns = columns, .column_count = SP_COUNT(columns)};
    shows(&r,
          "{\"metadata\":{\"name\":\"x\"},\"spec\":{\"count\":5,\"when\":\"2023-11-14T12:00:00Z\"},"
          "\"status\":{\"conditions\":[{\"type\":\"A\",\"status\":\"False\"},{\"type\":\"Ready\","
          "\"status\":\"True\"}]}}",
          "x | True | 5 | 24h | 5 | ");
}

static void accept_headers(void **state) {
    (void)state;
    static const struct {
        const char *accept;
        sp_table_form form;
        const char *version;
        bool yaml;
    } cases[] = {
        {"", SP_FORM_OBJECT, NULL, false},
        {"*/*", SP_FORM_OBJECT, NULL, false},
        {"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta."
         "k8s.io,application/json",
         SP_FORM_TABLE, "v1", false},
        {"application/json;as=Table;v=v9;g=meta.k8s.io, application/json;as=Table;v=v1beta1;g=meta."
         "k8s.io",
         SP_FORM_TABLE, "v1beta1", false},
        {"application/vnd.kubernetes.protobuf,application/json", SP_FORM_OBJECT, NULL, false},
        {"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", SP_FORM_PARTIAL_LIST,
         "v1", false},
        {"application/json;q=0.5, application/yaml", SP_FORM_OBJECT, NULL, true},
        {"text/html", SP_FORM_REFUSED, NULL, false},
        {"application/json;q=0", SP_FORM_REFUSED, NULL, false},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const char *version;
        bool yaml;
        assert_int_equal(sp_table_negotiate(sp_str_z(cases[i].accept), &version, &yaml),
                         cases[i].form);
        if (cases[i].version)
            assert_string_equal(version, cases[i].version);
        else
            assert_null(version);
        assert_int_equal(yaml, cases[i].yaml);
    }
    sp_table_include include;
    sp_err err = {0};
    assert_true(sp_table_include_parse(SP_STR("Object"), &include, &err));
    assert_int_equal(include, SP_TABLE_OBJECT);
    assert_false(sp_table_include_parse(SP_STR("Everything"), &include, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_one_table), cmocka_unit_test(status_of_pods),
        cmocka_unit_test(other_kinds),         cmocka_unit_test(columns_of_custom_resources),
        cmocka_unit_test(accept_headers),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
