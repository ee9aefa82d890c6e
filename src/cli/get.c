/* `sampan get`: tables as the server renders them, or whole objects as YAML, JSON, names or
 * JSONPath, in kubectl's forms. -w follows changes. */
#include "base/commands.h"
#include "cli/client.h"

#include "cli/print.h"
#include "data/jsonpath.h"
#include "data/yaml.h"
#include "net/http.h"

#include <stdio.h>

typedef struct get {
    sp_cli cli;
    sp_cli_targets targets;
    sp_strs files;
    const char *output, *labels, *fields;
    bool watch, show_labels, no_headers, ignore_missing, wide;
} get;

static const char table_accept[] = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

static sp_str target_path(get *g, const sp_cli_target *t) {
    sp_arena *a = g->cli.arena;
    sp_str ns = g->cli.all_namespaces ? SP_STR("") : sp_str_z(sp_cli_namespace(&g->cli));
    sp_str path = sp_cli_path(&g->cli, t->type, ns, t->name, NULL);
    sp_auto(sp_buf) q = {0};
    const char *const pairs[][2] = {{"labelSelector", g->labels}, {"fieldSelector", g->fields}};
    for (size_t i = 0; i < SP_COUNT(pairs) && !t->name.n; i++) {
        if (!pairs[i][1]) continue;
        sp_buf_printf(&q, "%c%s=", q.n ? '&' : '?', pairs[i][0]);
        sp_url_encode(&q, sp_str_z(pairs[i][1]));
    }
    if (g->show_labels) sp_buf_printf(&q, "%cincludeObject=Metadata", q.n ? '&' : '?');
    return sp_arena_printf(a, "%.*s%s", SP_ARG(path), sp_buf_z(&q));
}

/* ---------- tables ---------- */

static const char *const none_found = "No resources found";

static void say_nothing_found(const get *g) {
    fflush(stdout);
    if (g->cli.all_namespaces || (g->targets.n && !g->targets.p[0].type->namespaced))
        fprintf(stderr, "%s\n", none_found);
    else
        fprintf(stderr, "%s in %s namespace.\n", none_found, sp_cli_namespace(&g->cli));
}

static bool print_tables(get *g, sp_err *err) {
    bool any = false;
    for (size_t i = 0; i < g->targets.n; i++) {
        const sp_cli_target *t = &g->targets.p[i];
        sp_json *table = NULL;
        if (!sp_cli_call(&g->cli, "GET", target_path(g, t), NULL, table_accept, NULL, &table,
                         err)) {
            if (err->code == SP_NOT_FOUND && g->ignore_missing) continue;
            return false;
        }
        const sp_json *rows = sp_json_get(table, "rows");
        if (!rows || !rows->count) continue;
        bool many = g->targets.n > 1 && g->targets.p[0].type != g->targets.p[g->targets.n - 1].type;
        bool same_as_before = i && g->targets.p[i - 1].type == t->type && t->name.n;
        if (any && !same_as_before) putchar('\n');
        const sp_print_table_options o = {
            .namespaces = g->cli.all_namespaces && t->type->namespaced,
            .wide = g->wide,
            .labels = g->show_labels,
            .no_headers = g->no_headers || same_as_before,
            .prefix = many ? sp_cli_display_name(&g->cli, t->type, SP_STR("")) : SP_STR(""),
        };
        sp_print_table(stdout, table, &o);
        any = true;
    }
    if (!any && !g->ignore_missing) say_nothing_found(g);
    return true;
}

/* ---------- objects ---------- */

/* Items of a List answer carry no kind of their own in every case; kubectl prints them with it. */
static void push_items(get *g, const sp_cli_type *t, sp_json *answer, sp_json *items) {
    sp_arena *a = g->cli.arena;
    sp_json_each(sp_json_get(answer, "items"), item) {
        sp_json *copy = sp_json_clone(a, item);
        const sp_gvr gvr = {t->group, t->version, t->plural, t->kind, !t->namespaced};
        if (!sp_json_get(copy, "kind")) {
            sp_json_set_first(a, copy, "kind", sp_json_new_z(a, t->kind));
            sp_json_set_first(a, copy, "apiVersion",
                              sp_json_new_str(a, sp_gvr_api_version(a, &gvr)));
        }
        sp_json_push(items, copy);
    }
}

/* One named object is printed as itself, everything else as a List. */
static bool collect(get *g, sp_json **ret, sp_err *err) {
    sp_arena *a = g->cli.arena;
    sp_json *items = sp_json_array(a);
    for (size_t i = 0; i < g->targets.n; i++) {
        const sp_cli_target *t = &g->targets.p[i];
        sp_json *answer = NULL;
        if (!sp_cli_call(&g->cli, "GET", target_path(g, t), NULL, NULL, NULL, &answer, err)) {
            if (err->code == SP_NOT_FOUND && g->ignore_missing) continue;
            return false;
        }
        if (t->name.n && g->targets.n == 1) {
            *ret = answer;
            return true;
        }
        if (t->name.n)
            sp_json_push(items, sp_json_clone(a, answer));
        else
            push_items(g, t->type, answer, items);
    }
    sp_json *list = sp_json_object(a);
    sp_json_set_z(a, list, "apiVersion", "v1");
    sp_json_set(a, list, "items", items);
    sp_json_set_z(a, list, "kind", "List");
    sp_json_set_z(a, sp_json_ensure_object(a, list, "metadata"), "resourceVersion", "");
    *ret = list;
    return true;
}

static void print_name(get *g, const sp_json *obj) {
    const sp_cli_type *t;
    if (!sp_cli_find_kind(&g->cli, sp_json_str(sp_json_get(obj, "apiVersion")), sp_obj_kind(obj),
                          &t, NULL))
        return;
    sp_str name = sp_cli_display_name(&g->cli, t, sp_obj_name(obj));
    printf("%.*s\n", SP_ARG(name));
}

static bool print_objects(get *g, sp_err *err) {
    sp_json *doc = NULL;
    if (!collect(g, &doc, err)) return false;
    if (!doc) return true;
    sp_auto(sp_buf) b = {0};
    sp_str o = sp_str_z(g->output);
    if (sp_str_eqz(o, "name")) {
        const sp_json *items =
            sp_str_eqz(sp_obj_kind(doc), "List") ? sp_json_get(doc, "items") : NULL;
        sp_json_each(items, item) print_name(g, item);
        if (!items) print_name(g, doc);
    } else if (sp_str_eqz(o, "json")) {
        sp_json_write_pretty(&b, doc);
        sp_buf_addc(&b, '\n');
    } else if (sp_str_eqz(o, "yaml")) {
        sp_yaml_write(&b, doc);
    } else if (sp_str_starts(o, SP_STR("jsonpath="))) {
        const sp_jsonpath_template *t;
        if (!sp_jsonpath_template_compile(g->cli.arena, sp_str_from(o, strlen("jsonpath=")), &t,
                                          err) ||
            !sp_jsonpath_print(t, doc, true, &b, err))
            return false;
    } else {
        return sp_fail(err, SP_BAD_REQUEST,
                       "unable to match a printer suitable for the output format \"%s\", allowed "
                       "formats are: json,name,wide,yaml,jsonpath=TEMPLATE",
                       g->output);
    }
    fwrite(sp_buf_z(&b), 1, b.n, stdout);
    return true;
}

/* ---------- -w ---------- */

typedef struct follow {
    get *g;
    sp_buf line;
    sp_print_table_options options;
    bool done;
    sp_err err;
} follow;

static void on_frame(follow *f, sp_str text) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *event = NULL;
    if (!sp_json_parse(a, text, &event, NULL)) return;
    const sp_json *table = sp_json_get(event, "object");
    if (!sp_json_get(table, "rows")) return;
    sp_print_table(stdout, table, &f->options);
    f->options.no_headers = true;
    if (!f->options.columns)
        f->options.columns =
            sp_json_clone(f->g->cli.arena, sp_json_get(table, "columnDefinitions"));
    fflush(stdout);
}

static void on_bytes(void *ctx, sp_str bytes) {
    follow *f = ctx;
    sp_buf_add(&f->line, bytes);
    for (ptrdiff_t nl; (nl = sp_str_chr(sp_buf_str(&f->line), '\n')) >= 0;) {
        on_frame(f, sp_str_sub(sp_buf_str(&f->line), 0, (size_t)nl));
        sp_buf_drop(&f->line, (size_t)nl + 1);
    }
}

static void on_end(void *ctx, const sp_err *err) {
    follow *f = ctx;
    if (err) f->err = *err;
    f->done = true;
}

/* Starts without a resourceVersion: the state comes first as ADDED events, in one stream. */
static bool watch(get *g, sp_err *err) {
    if (g->targets.n != 1) return sp_fail(err, SP_BAD_REQUEST, "-w follows one type at a time");
    sp_cli_target t = g->targets.p[0];
    sp_str field = {0};
    if (t.name.n) field = sp_arena_printf(g->cli.arena, "metadata.name=%.*s", SP_ARG(t.name));
    if (t.name.n) g->fields = field.p;
    t.name = (sp_str){0};
    sp_str path = target_path(g, &t);
    path = sp_arena_printf(g->cli.arena, "%.*s%cwatch=true", SP_ARG(path),
                           sp_str_chr(path, '?') < 0 ? '?' : '&');
    follow f = {.g = g,
                .options = {.namespaces = g->cli.all_namespaces && t.type->namespaced,
                            .wide = g->wide,
                            .labels = g->show_labels,
                            .no_headers = g->no_headers}};
    sp_kube_stream(g->cli.kube, path, table_accept, on_bytes, on_end, &f);
    while (!f.done) uv_run(&g->cli.loop, UV_RUN_ONCE);
    sp_buf_free(&f.line);
    if (f.err.code == SP_OK) return true;
    *err = f.err;
    return false;
}

static bool run(get *g, int argc, char **argv, sp_err *err) {
    if (!sp_cli_open(&g->cli, err) || !sp_cli_targets_parse(&g->cli, argc, argv, &g->targets, err))
        return false;
    g->wide = g->output && strcmp(g->output, "wide") == 0;
    if (g->output && !g->wide) return print_objects(g, err);
    return g->watch ? watch(g, err) : print_tables(g, err);
}

int sp_get_main(int argc, char **argv) {
    get g = {.cli.command = "sampan get"};
    const sp_flag flags[] = {
        {"output", 'o', SP_FLAG_STR, &g.output, "FORMAT",
         "wide, yaml, json, name or jsonpath=TEMPLATE"},
        {"all-namespaces", 'A', SP_FLAG_BOOL, &g.cli.all_namespaces, NULL, "in every namespace"},
        {"selector", 'l', SP_FLAG_STR, &g.labels, "LABELS",
         "only with these labels: app=web,tier!=db"},
        {"field-selector", 0, SP_FLAG_STR, &g.fields, "FIELDS",
         "only with these fields: status.phase=Running"},
        {"watch", 'w', SP_FLAG_BOOL, &g.watch, NULL, "go on showing changes until Ctrl-C"},
        {"show-labels", 0, SP_FLAG_BOOL, &g.show_labels, NULL, "a column with the labels"},
        {"no-headers", 0, SP_FLAG_BOOL, &g.no_headers, NULL, "without the line of column names"},
        {"ignore-not-found", 0, SP_FLAG_BOOL, &g.ignore_missing, NULL,
         "a missing object is no failure"},
        SP_CLI_FLAGS(&g.cli),
    };
    const sp_usage usage = {
        "sampan get",
        "TYPE [NAME …] | TYPE/NAME … [flags]",
        "Shows objects, one line each, or whole with -o yaml.",
        "  sampan get pods -A -o wide\n  sampan get deployment/nginx -o yaml\n  sampan get all\n"
        "  sampan get pods -o jsonpath='{.items[*].status.podIP}'\n",
        flags,
        SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    sp_err err = {0};
    rc = run(&g, argc - 1, argv + 1, &err) ? 0 : sp_cli_fail(&g.cli, &err);
    sp_vec_free(&g.targets);
    sp_cli_close(&g.cli);
    return rc;
}
