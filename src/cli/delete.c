/* `sampan delete`: by name, label or file; waits until the objects are gone, as kubectl does. */
#include "base/clock.h"
#include "base/commands.h"
#include "cli/client.h"
#include "net/http.h"

#include <stdio.h>

typedef struct deletion {
    sp_cli cli;
    sp_cli_targets targets;
    sp_strs files;
    const char *labels, *cascade, *dry_run;
    bool all, ignore_missing, now, force, recursive, wait;
    int64_t grace_s, timeout_s;
} deletion;

enum { POLL_MS = 100 };

static const char *propagation(const deletion *d, sp_err *err) {
    static const char *const words[][2] = {{"background", "Background"},
                                           {"foreground", "Foreground"},
                                           {"orphan", "Orphan"},
                                           {"true", "Background"},
                                           {"false", "Orphan"}};
    for (size_t i = 0; i < SP_COUNT(words); i++)
        if (strcmp(d->cascade, words[i][0]) == 0) return words[i][1];
    sp_fail(err, SP_BAD_REQUEST, "--cascade is background, foreground or orphan, not \"%s\"",
            d->cascade);
    return NULL;
}

static void on_timer(uv_timer_t *t) {
    uv_stop(t->loop);
}

static void pause_ms(sp_cli *c, uint64_t ms) {
    uv_timer_t timer;
    uv_timer_init(&c->loop, &timer);
    uv_timer_start(&timer, on_timer, ms, 0);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&c->loop, UV_RUN_NOWAIT);
}

/* Gone, or another object of that name. */
static bool wait_gone(deletion *d, sp_str path, sp_str uid, sp_err *err) {
    int64_t until = d->timeout_s ? sp_clock_mono_ms() + d->timeout_s * 1000 : INT64_MAX;
    for (;;) {
        sp_json *now = NULL;
        sp_err why = {0};
        if (!sp_cli_call(&d->cli, "GET", path, NULL, NULL, NULL, &now, &why)) {
            if (why.code == SP_NOT_FOUND) return true;
            *err = why;
            return false;
        }
        if (!sp_str_eq(sp_obj_uid(now), uid)) return true;
        if (sp_clock_mono_ms() > until)
            return sp_fail(
                err, SP_TIMEOUT,
                "timed out waiting for %.*s to go; finalizers: sampan get -o yaml shows them",
                SP_ARG(sp_obj_name(now)));
        pause_ms(&d->cli, POLL_MS);
    }
}

static bool delete_one(deletion *d, const sp_cli_type *t, sp_str ns, sp_str name, sp_err *err) {
    sp_arena *a = d->cli.arena;
    const char *policy = propagation(d, err);
    if (!policy) return false;
    sp_json *options = sp_json_object(a);
    sp_json_set_z(a, options, "kind", "DeleteOptions");
    sp_json_set_z(a, options, "apiVersion", "v1");
    sp_json_set_z(a, options, "propagationPolicy", policy);
    int64_t grace = d->force ? 0 : d->now ? 1 : d->grace_s;
    if (grace >= 0) sp_json_set_int(a, options, "gracePeriodSeconds", grace);
    bool dry = strcmp(d->dry_run, "server") == 0;
    sp_str path = sp_cli_path(&d->cli, t, ns, name, NULL);
    sp_str target = sp_arena_printf(a, "%.*s%s", SP_ARG(path), dry ? "?dryRun=All" : "");
    sp_json *before = NULL, *answer = NULL;
    if (!sp_cli_call(&d->cli, "GET", path, NULL, NULL, NULL, &before, err))
        return err->code == SP_NOT_FOUND && d->ignore_missing;
    if (!sp_cli_call(&d->cli, "DELETE", target, NULL, NULL, options, &answer, err)) return false;
    printf("%s%s%s \"%.*s\" %sdeleted%s\n", t->singular, *t->group ? "." : "", t->group,
           SP_ARG(name), d->force ? "force " : "", dry ? " (server dry run)" : "");
    fflush(stdout);
    return dry || !d->wait || wait_gone(d, path, sp_obj_uid(before), err);
}

static bool delete_matching(deletion *d, const sp_cli_type *t, sp_err *err) {
    sp_str ns = d->cli.all_namespaces ? SP_STR("") : sp_str_z(sp_cli_namespace(&d->cli));
    sp_str path = sp_cli_path(&d->cli, t, ns, SP_STR(""), NULL);
    if (d->labels) {
        sp_auto(sp_buf) encoded = {0};
        sp_url_encode(&encoded, sp_str_z(d->labels));
        path = sp_arena_printf(d->cli.arena, "%.*s?labelSelector=%s", SP_ARG(path),
                               sp_buf_z(&encoded));
    }
    sp_json *list = NULL;
    if (!sp_cli_call(&d->cli, "GET", path, NULL, NULL, NULL, &list, err)) return false;
    const sp_json *items = sp_json_get(list, "items");
    if (!items || !items->count) printf("No resources found\n");
    sp_json_each(items, item) if (!delete_one(d, t, sp_obj_namespace(item), sp_obj_name(item),
                                              err)) return false;
    return true;
}

static bool delete_files(deletion *d, sp_err *err) {
    sp_json_docs docs = {0};
    bool ok = sp_cli_load(&d->cli, &d->files, d->recursive, &docs, err);
    for (size_t i = 0; ok && i < docs.n; i++) {
        const sp_cli_type *t;
        sp_json *o = docs.p[i];
        ok = sp_cli_find_kind(&d->cli, sp_json_str(sp_json_get(o, "apiVersion")), sp_obj_kind(o),
                              &t, err);
        sp_str ns =
            sp_obj_namespace(o).n ? sp_obj_namespace(o) : sp_str_z(sp_cli_namespace(&d->cli));
        ok = ok && delete_one(d, t, ns, sp_obj_name(o), err);
    }
    sp_vec_free(&docs);
    return ok;
}

static bool run(deletion *d, int argc, char **argv, sp_err *err) {
    if (!sp_cli_open(&d->cli, err)) return false;
    if (d->files.n) return delete_files(d, err);
    if (!sp_cli_targets_parse(&d->cli, argc, argv, &d->targets, err)) return false;
    for (size_t i = 0; i < d->targets.n; i++) {
        const sp_cli_target *t = &d->targets.p[i];
        if (!t->name.n && !d->all && !d->labels)
            return sp_fail(err, SP_BAD_REQUEST,
                           "resource(s) were provided, but no name was specified; give names, -l "
                           "LABELS or --all");
        sp_str ns = sp_str_z(sp_cli_namespace(&d->cli));
        bool ok =
            t->name.n ? delete_one(d, t->type, ns, t->name, err) : delete_matching(d, t->type, err);
        if (!ok) return false;
    }
    return true;
}

int sp_delete_main(int argc, char **argv) {
    deletion d = {.cli.command = "sampan delete",
                  .cascade = "background",
                  .dry_run = "none",
                  .wait = true,
                  .grace_s = -1};
    const sp_flag flags[] = {
        {"filename", 'f', SP_FLAG_LIST, &d.files, "FILE", "what these files name"},
        {"recursive", 'R', SP_FLAG_BOOL, &d.recursive, NULL, "directories within directories too"},
        {"selector", 'l', SP_FLAG_STR, &d.labels, "LABELS", "those with these labels"},
        {"all", 0, SP_FLAG_BOOL, &d.all, NULL, "all of the type in the namespace"},
        {"all-namespaces", 'A', SP_FLAG_BOOL, &d.cli.all_namespaces, NULL,
         "in every namespace (with -l or --all)"},
        {"cascade", 0, SP_FLAG_STR, &d.cascade, "HOW",
         "background, foreground or orphan (background)"},
        {"grace-period", 0, SP_FLAG_INT, &d.grace_s, "SECONDS",
         "time for pods to end by themselves"},
        {"now", 0, SP_FLAG_BOOL, &d.now, NULL, "the same as --grace-period=1"},
        {"force", 0, SP_FLAG_BOOL, &d.force, NULL,
         "remove pods at once, without waiting for them to end"},
        {"ignore-not-found", 0, SP_FLAG_BOOL, &d.ignore_missing, NULL,
         "a missing object is no failure"},
        {"wait", 0, SP_FLAG_BOOL, &d.wait, NULL, "wait until they are gone (true)"},
        {"timeout", 0, SP_FLAG_INT, &d.timeout_s, "SECONDS", "how long to wait (for ever)"},
        {"dry-run", 0, SP_FLAG_STR, &d.dry_run, "none|server", "check without deleting"},
        SP_CLI_FLAGS(&d.cli),
    };
    const sp_usage usage = {"sampan delete",
                            "TYPE NAME … | TYPE -l LABELS | -f FILE [flags]",
                            "Deletes objects.",
                            "  sampan delete pod nginx\n  sampan delete -f app.yaml\n",
                            flags,
                            SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    sp_err err = {0};
    rc = run(&d, argc - 1, argv + 1, &err) ? 0 : sp_cli_fail(&d.cli, &err);
    sp_vec_free(&d.targets);
    sp_vec_free(&d.files);
    sp_cli_close(&d.cli);
    return rc;
}
