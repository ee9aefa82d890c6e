/* `sampan logs`: what a container wrote. TYPE/NAME picks the first pod of a workload. */
#include "base/commands.h"
#include "cli/client.h"
#include "data/time.h"
#include "net/http.h"

#include <stdio.h>

typedef struct logs {
    sp_cli cli;
    const char *container, *since;
    bool follow, previous, timestamps, done;
    int64_t tail;
    sp_err err;
} logs;

static void on_bytes(void *ctx, sp_str bytes) {
    (void)ctx;
    fwrite(bytes.p, 1, bytes.n, stdout);
    fflush(stdout);
}

static void on_end(void *ctx, const sp_err *err) {
    logs *l = ctx;
    if (err) l->err = *err;
    l->done = true;
}

/* The pod itself, or the first one that the workload's selector finds. */
static bool find_pod(logs *l, sp_cli_target *t, sp_str *ret, sp_err *err) {
    *ret = t->name;
    if (strcmp(t->type->plural, "pods") == 0) return true;
    sp_json *owner = NULL, *pods = NULL;
    sp_str ns = sp_str_z(sp_cli_namespace(&l->cli));
    if (!sp_cli_call(&l->cli, "GET", sp_cli_path(&l->cli, t->type, ns, t->name, NULL), NULL, NULL,
                     NULL, &owner, err))
        return false;
    const sp_json *selector = sp_json_dig(owner, "spec", "selector", NULL);
    const sp_json *labels = sp_json_get(selector, "matchLabels");
    sp_auto(sp_buf) text = {0}, encoded = {0};
    sp_json_each(labels ? labels : selector, m)
        sp_buf_printf(&text, "%s%.*s=%s", text.n ? "," : "", SP_ARG(m->key), sp_json_z(m));
    if (!text.n)
        return sp_fail(err, SP_BAD_REQUEST, "a %s has no pods of its own to read logs from",
                       t->type->kind);
    sp_url_encode(&encoded, sp_buf_str(&text));
    sp_str path = sp_arena_printf(l->cli.arena, "/api/v1/namespaces/%.*s/pods?labelSelector=%s",
                                  SP_ARG(ns), sp_buf_z(&encoded));
    if (!sp_cli_call(&l->cli, "GET", path, NULL, NULL, NULL, &pods, err)) return false;
    const sp_json *items = sp_json_get(pods, "items");
    if (!items || !items->count)
        return sp_fail(err, SP_NOT_FOUND, "no pods of %s \"%.*s\" are there yet", t->type->kind,
                       SP_ARG(t->name));
    *ret = sp_obj_name(items->first);
    if (items->count > 1)
        fprintf(stderr, "Found %zu pods, using pod/%.*s\n", items->count, SP_ARG(*ret));
    return true;
}

static bool run(logs *l, int argc, char **argv, sp_err *err) {
    if (!sp_cli_open(&l->cli, err)) return false;
    if (argc == 0)
        return sp_fail(err, SP_BAD_REQUEST, "say which pod: sampan logs POD, or deployment/NAME");
    sp_cli_targets targets = {0};
    char *with_type[] = {(char *)(uintptr_t) "pods", argv[0]};
    bool typed = strchr(argv[0], '/');
    bool ok = sp_cli_targets_parse(&l->cli, typed ? 1 : 2, typed ? argv : with_type, &targets, err);
    if (argc > 1 && !l->container) l->container = argv[1];
    sp_str pod = {0};
    ok = ok && find_pod(l, &targets.p[0], &pod, err);
    sp_vec_free(&targets);
    if (!ok) return false;
    sp_auto(sp_buf) q = {0};
    sp_buf_printf(&q, "/api/v1/namespaces/%s/pods/%.*s/log?", sp_cli_namespace(&l->cli),
                  SP_ARG(pod));
    if (l->container) sp_buf_printf(&q, "container=%s&", l->container);
    if (l->follow) sp_buf_addz(&q, "follow=true&");
    if (l->previous) sp_buf_addz(&q, "previous=true&");
    if (l->timestamps) sp_buf_addz(&q, "timestamps=true&");
    if (l->tail >= 0) sp_buf_printf(&q, "tailLines=%lld&", (long long)l->tail);
    int64_t since_ms;
    if (l->since && !sp_duration_parse(sp_str_z(l->since), &since_ms))
        return sp_fail(err, SP_BAD_REQUEST,
                       "--since %s is no duration; write for example 10s, 5m or 2h", l->since);
    if (l->since)
        sp_buf_printf(&q, "sinceSeconds=%lld&", (long long)SP_MAX(since_ms / 1000, (int64_t)1));
    sp_kube_stream(l->cli.kube, sp_buf_str(&q), NULL, on_bytes, on_end, l);
    while (!l->done) uv_run(&l->cli.loop, UV_RUN_ONCE);
    if (l->err.code != SP_OK) *err = l->err;
    return l->err.code == SP_OK;
}

int sp_logs_main(int argc, char **argv) {
    logs l = {.cli.command = "sampan logs", .tail = -1};
    const sp_flag flags[] = {
        {"container", 'c', SP_FLAG_STR, &l.container, "NAME", "which container of the pod"},
        {"follow", 'f', SP_FLAG_BOOL, &l.follow, NULL, "go on as more is written"},
        {"previous", 'p', SP_FLAG_BOOL, &l.previous, NULL, "of the run before the last restart"},
        {"tail", 0, SP_FLAG_INT, &l.tail, "N", "only the last N lines"},
        {"since", 0, SP_FLAG_STR, &l.since, "DURATION", "only what is newer: 10s, 5m, 2h"},
        {"timestamps", 0, SP_FLAG_BOOL, &l.timestamps, NULL, "with the time of each line"},
        SP_CLI_FLAGS(&l.cli),
    };
    const sp_usage usage = {"sampan logs",
                            "POD [CONTAINER] | TYPE/NAME [flags]",
                            "Prints what a container wrote.",
                            "  sampan logs nginx --tail 20\n  sampan logs deployment/nginx -f\n",
                            flags,
                            SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    sp_err err = {0};
    rc = run(&l, argc - 1, argv + 1, &err) ? 0 : sp_cli_fail(&l.cli, &err);
    sp_cli_close(&l.cli);
    return rc;
}
