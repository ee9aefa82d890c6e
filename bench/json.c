/* Parsing and writing a Deployment of about 2 kB, ours and jansson's side by side in one run. Each
 * figure is the best of many batches in CPU time of the thread, because the machine has other work.
 * Ours takes a new arena for each document, as a request does. usage: json [file] */
#include "data/json.h"
#include "base/file.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

enum { BATCHES = 60, PER_BATCH = 1000 };

static const char deployment[] =
    "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"annotations\":{"
    "\"deployment.kubernetes.io/revision\":\"3\",\"app.example/owner\":\"team-a\"},"
    "\"creationTimestamp\":\"2026-11-22T16:03:29Z\",\"generation\":7,\"labels\":{\"app\":\"web\","
    "\"app.kubernetes.io/name\":\"web\",\"app.kubernetes.io/part-of\":\"shop\",\"tier\":\"front\"},"
    "\"name\":\"web\",\"namespace\":\"default\",\"resourceVersion\":\"184467\",\"uid\":"
    "\"6b0f1a3e-0c1f-4a3e-9a51-3b6f0a2b7c11\"},\"spec\":{\"progressDeadlineSeconds\":600,"
    "\"replicas\":3,\"revisionHistoryLimit\":10,\"selector\":{\"matchLabels\":{\"app\":\"web\"}},"
    "\"strategy\":{\"rollingUpdate\":{\"maxSurge\":\"25%\",\"maxUnavailable\":\"25%\"},\"type\":"
    "\"RollingUpdate\"},\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\",\"tier\":\"front\"}"
    "},"
    "\"spec\":{\"containers\":[{\"env\":[{\"name\":\"MODE\",\"value\":\"production\"},{\"name\":"
    "\"POD_NAME\",\"valueFrom\":{\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":"
    "\"metadata.name\"}}},{\"name\":\"GREETING\",\"value\":\"say \\\"hello\\\"\\nto "
    "all\"}],\"image\":"
    "\"registry.example/shop/web:1.7.9\",\"imagePullPolicy\":\"IfNotPresent\",\"livenessProbe\":{"
    "\"failureThreshold\":3,\"httpGet\":{\"path\":\"/healthz\",\"port\":8080,\"scheme\":\"HTTP\"},"
    "\"periodSeconds\":10,\"successThreshold\":1,\"timeoutSeconds\":1},\"name\":\"web\",\"ports\":["
    "{"
    "\"containerPort\":8080,\"name\":\"http\",\"protocol\":\"TCP\"}],\"resources\":{\"limits\":{"
    "\"cpu\":\"500m\",\"memory\":\"256Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}},"
    "\"securityContext\":{\"allowPrivilegeEscalation\":false,\"readOnlyRootFilesystem\":true},"
    "\"terminationMessagePath\":\"/dev/termination-log\",\"volumeMounts\":[{\"mountPath\":"
    "\"/etc/"
    "web\",\"name\":\"config\"}]}],\"dnsPolicy\":\"ClusterFirst\",\"restartPolicy\":\"Always\","
    "\"schedulerName\":\"default-scheduler\",\"terminationGracePeriodSeconds\":30,\"volumes\":[{"
    "\"configMap\":{\"defaultMode\":420,\"name\":\"web-config\"},\"name\":\"config\"}]}}},"
    "\"status\":{"
    "\"availableReplicas\":3,\"conditions\":[{\"lastTransitionTime\":\"2026-11-22T16:04:01Z\","
    "\"message\":\"Deployment has minimum availability.\",\"reason\":\"MinimumReplicasAvailable\","
    "\"status\":\"True\",\"type\":\"Available\"}],\"observedGeneration\":7,\"readyReplicas\":3,"
    "\"replicas\":3,\"updatedReplicas\":3}}";

static double cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void parse_ours(sp_str text) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j;
    sp_err err;
    if (!sp_json_parse(a, text, &j, &err)) fprintf(stderr, "%s\n", err.text), exit(1);
}

static void parse_theirs(sp_str text) {
    json_error_t err;
    json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &err);
    if (!j) fprintf(stderr, "%s\n", err.text), exit(1);
    json_decref(j);
}

static sp_json *our_tree;
static json_t *their_tree;

static void write_ours(sp_str text) {
    (void)text;
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, our_tree);
}

static void write_theirs(sp_str text) {
    (void)text;
    free(json_dumps(their_tree, JSON_COMPACT | JSON_PRESERVE_ORDER));
}

static double best_us(void (*run)(sp_str), sp_str text) {
    double best = 1e9;
    for (int i = 0; i < BATCHES; i++) {
        double start = cpu_us();
        for (int k = 0; k < PER_BATCH; k++) run(text);
        double took = (cpu_us() - start) / PER_BATCH;
        best = SP_MIN(best, took);
    }
    return best;
}

static void row(const char *what, double ours, double theirs, size_t bytes) {
    printf("%-6s %7.2f us (%5.0f MB/s)   jansson %7.2f us   %.1f times\n", what, ours,
           (double)bytes / ours, theirs, theirs / ours);
}

int main(int argc, char **argv) {
    sp_auto(sp_buf) file = {0};
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_err err;
    json_error_t theirs;
    sp_str text = sp_str_z(deployment);
    if (argc > 1 && !sp_file_read(argv[1], SP_JSON_MAX_BYTES, &file, &err))
        return fprintf(stderr, "%s\n", err.text), 1;
    if (argc > 1) text = sp_buf_str(&file);
    if (!sp_json_parse(a, text, &our_tree, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    their_tree = json_loadb(text.p, text.n, 0, &theirs);
    printf("JSON document of %zu bytes, best of %d batches\n", text.n, BATCHES);
    row("parse", best_us(parse_ours, text), best_us(parse_theirs, text), text.n);
    row("write", best_us(write_ours, text), best_us(write_theirs, text), text.n);
    json_decref(their_tree);
    return 0;
}
