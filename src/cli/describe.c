/* `sampan describe`: one object in words, then its events. One generic form serves every kind:
 * field names become titles, empty things are left out. */
#include "base/clock.h"
#include "base/commands.h"
#include "cli/client.h"
#include "cli/print.h"
#include "data/time.h"
#include "net/http.h"

#include <stdio.h>

typedef struct describe {
    sp_cli cli;
    sp_cli_targets targets;
    const char *labels;
    bool no_events;
} describe;

/* ---------- titles ---------- */

/* "podIP" → "Pod IP", "restartCount" → "Restart Count". Map keys with dots stay as they are. */
static void title(sp_buf *b, sp_str key) {
    if (sp_str_chr(key, '.') >= 0 || sp_str_chr(key, '/') >= 0 || sp_str_chr(key, '-') >= 0) {
        sp_buf_add(b, key);
        return;
    }
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        bool upper = c >= 'A' && c <= 'Z';
        bool after_lower = i && key.p[i - 1] >= 'a' && key.p[i - 1] <= 'z';
        if (upper && after_lower) sp_buf_addc(b, ' ');
        sp_buf_addc(b, (char)(i == 0 && c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c));
    }
}

static void scalar(sp_buf *b, const sp_json *j) {
    if (j->type == SP_JSON_STRING)
        sp_buf_add(b, j->text);
    else
        sp_json_write(b, j);
}

static bool is_scalar(const sp_json *j) {
    return j->type != SP_JSON_ARRAY && j->type != SP_JSON_OBJECT;
}

static bool is_empty(const sp_json *j) {
    return j->type == SP_JSON_NULL || (!is_scalar(j) && j->count == 0);
}

static size_t title_width(const sp_json *obj) {
    size_t widest = 0;
    sp_json_each(obj, m) {
        if (is_empty(m) || !is_scalar(m)) continue;
        sp_auto(sp_buf) b = {0};
        title(&b, m->key);
        widest = SP_MAX(widest, b.n);
    }
    return widest;
}

static void indent(int depth) {
    printf("%*s", depth * 2, "");
}

static void print_value(const sp_json *j, int depth);

static void print_text(sp_str text, int column) {
    for (sp_str line, rest = text; sp_str_cut(&rest, '\n', &line);) {
        printf("%.*s\n", SP_ARG(line));
        if (rest.p && rest.n)
            printf("%*s", column, "");
        else
            break;
    }
}

static void print_member(const sp_json *m, int depth, size_t width) {
    if (is_empty(m)) return;
    sp_auto(sp_buf) name = {0}, text = {0};
    title(&name, m->key);
    indent(depth);
    if (!is_scalar(m)) {
        printf("%s:\n", sp_buf_z(&name));
        print_value(m, depth + 1);
        return;
    }
    scalar(&text, m);
    int pad = (int)(width - name.n) + 2;
    printf("%s:%*s", sp_buf_z(&name), pad, "");
    print_text(sp_buf_str(&text), depth * 2 + (int)width + 3);
}

static void print_item(const sp_json *item, int depth) {
    if (is_scalar(item)) {
        sp_auto(sp_buf) text = {0};
        scalar(&text, item);
        indent(depth);
        printf("%s\n", sp_buf_z(&text));
        return;
    }
    const sp_json *name = sp_json_get(item, "name");
    const sp_json *type = name ? name : sp_json_get(item, "type");
    if (sp_json_is(type, SP_JSON_STRING)) { /* a heading instead of a dash */
        indent(depth);
        printf("%s:\n", sp_json_z(type));
        print_value(item, depth + 1);
        return;
    }
    indent(depth);
    printf("-\n");
    print_value(item, depth + 1);
}

static void print_value(const sp_json *j, int depth) {
    if (j->type == SP_JSON_ARRAY) {
        sp_json_each(j, item) print_item(item, depth);
        return;
    }
    size_t width = title_width(j);
    sp_json_each(j, m) print_member(m, depth, width);
}

/* ---------- the head: what everyone looks for first ---------- */

static void print_pairs(const char *heading, const sp_json *map) {
    static const char last_applied[] = "kubectl.kubernetes.io/last-applied-configuration";
    bool first = true;
    printf("%-14s", heading);
    sp_json_each(map, m) {
        if (sp_str_eqz(m->key, last_applied)) continue;
        if (!first) printf("%-14s", "");
        printf("%.*s%s%s\n", SP_ARG(m->key), sp_str_eqz(sp_str_z(heading), "Labels:") ? "=" : ": ",
               sp_json_z(m));
        first = false;
    }
    if (first) printf("<none>\n");
}

static void print_head(const sp_json *o) {
    const sp_json *meta = sp_json_get(o, "metadata");
    printf("%-14s%s\n", "Name:", sp_json_get_z(meta, "name"));
    if (sp_obj_namespace(o).n) printf("%-14s%s\n", "Namespace:", sp_json_get_z(meta, "namespace"));
    print_pairs("Labels:", sp_json_get(meta, "labels"));
    print_pairs("Annotations:", sp_json_get(meta, "annotations"));
    printf("%-14s%s\n%-14s%s\n", "API Version:", sp_json_get_z(o, "apiVersion"),
           "Kind:", sp_json_get_z(o, "kind"));
    printf("%-14s%s\n", "Created:", sp_json_get_z(meta, "creationTimestamp"));
    const sp_json *owner = sp_obj_controller(o);
    if (owner)
        printf("%-14s%s/%s\n", "Controlled By:", sp_json_get_z(owner, "kind"),
               sp_json_get_z(owner, "name"));
    if (sp_obj_deleting(o))
        printf("%-14s%s\n", "Deleting Since:", sp_json_get_z(meta, "deletionTimestamp"));
}

static void print_body(const sp_json *o) {
    static const char *const head[] = {"apiVersion", "kind", "metadata"};
    sp_json_each(o, m) {
        bool in_head = false;
        for (size_t i = 0; i < SP_COUNT(head); i++)
            in_head = in_head || sp_str_eqz(m->key, head[i]);
        if (!in_head) print_member(m, 0, 11);
    }
}

/* ---------- events ---------- */

static void age_cell(sp_grid *g, const sp_json *event) {
    int64_t when;
    char age[SP_TIME_MAX], text[2 * SP_TIME_MAX + 32];
    sp_str last = sp_json_str(sp_json_get(event, "lastTimestamp"));
    if (!last.n) last = sp_json_str(sp_json_dig(event, "metadata", "creationTimestamp", NULL));
    if (!sp_time_parse(last, &when))
        snprintf(age, sizeof age, "<unknown>");
    else
        sp_duration_human(sp_clock_wall_ms() - when, age);
    int64_t count = sp_json_int(sp_json_get(event, "count"), 1);
    if (count > 1)
        snprintf(text, sizeof text, "%s (x%lld)", age, (long long)count);
    else
        snprintf(text, sizeof text, "%s", age);
    sp_grid_cell(g, sp_str_z(text));
}

static bool print_events(describe *d, const sp_json *o, sp_err *err) {
    sp_auto(sp_buf) query = {0};
    sp_buf_printf(&query, "involvedObject.uid=%.*s", SP_ARG(sp_obj_uid(o)));
    sp_auto(sp_buf) encoded = {0};
    sp_url_encode(&encoded, sp_buf_str(&query));
    sp_str ns = sp_obj_namespace(o).n ? sp_obj_namespace(o) : SP_STR("default");
    sp_str path = sp_arena_printf(d->cli.arena, "/api/v1/namespaces/%.*s/events?fieldSelector=%s",
                                  SP_ARG(ns), sp_buf_z(&encoded));
    sp_json *list = NULL;
    if (!sp_cli_call(&d->cli, "GET", path, NULL, NULL, NULL, &list, err)) return false;
    const sp_json *items = sp_json_get(list, "items");
    if (!items || !items->count) {
        printf("%-14s<none>\n", "Events:");
        return true;
    }
    printf("Events:\n");
    static const char *const names[] = {"Type", "Reason", "Age", "From", "Message"};
    sp_grid *g = sp_grid_new();
    for (size_t i = 0; i < SP_COUNT(names); i++) sp_grid_cell(g, sp_str_z(names[i]));
    sp_grid_end_row(g);
    sp_json_each(items, e) {
        sp_grid_cell(g, sp_json_str(sp_json_get(e, "type")));
        sp_grid_cell(g, sp_json_str(sp_json_get(e, "reason")));
        age_cell(g, e);
        sp_grid_cell(g, sp_json_str(sp_json_dig(e, "source", "component", NULL)));
        sp_grid_cell(g, sp_str_trim(sp_json_str(sp_json_get(e, "message"))));
        sp_grid_end_row(g);
    }
    sp_grid_print(g, stdout, "  ");
    return true;
}

static bool describe_object(describe *d, const sp_json *o, bool first, sp_err *err) {
    if (!first) printf("\n\n");
    print_head(o);
    print_body(o);
    return d->no_events || print_events(d, o, err);
}

static bool run(describe *d, int argc, char **argv, sp_err *err) {
    if (!sp_cli_open(&d->cli, err) || !sp_cli_targets_parse(&d->cli, argc, argv, &d->targets, err))
        return false;
    bool first = true;
    for (size_t i = 0; i < d->targets.n; i++) {
        const sp_cli_target *t = &d->targets.p[i];
        sp_str ns = d->cli.all_namespaces ? SP_STR("") : sp_str_z(sp_cli_namespace(&d->cli));
        sp_str path = sp_cli_path(&d->cli, t->type, ns, t->name, NULL);
        if (d->labels && !t->name.n) {
            sp_auto(sp_buf) encoded = {0};
            sp_url_encode(&encoded, sp_str_z(d->labels));
            path = sp_arena_printf(d->cli.arena, "%.*s?labelSelector=%s", SP_ARG(path),
                                   sp_buf_z(&encoded));
        }
        sp_json *answer = NULL;
        if (!sp_cli_call(&d->cli, "GET", path, NULL, NULL, NULL, &answer, err)) return false;
        if (t->name.n) {
            if (!describe_object(d, answer, first, err)) return false;
            first = false;
            continue;
        }
        sp_json_each(sp_json_get(answer, "items"), item) {
            if (!describe_object(d, item, first, err)) return false;
            first = false;
        }
    }
    if (first) fprintf(stderr, "No resources found in %s namespace.\n", sp_cli_namespace(&d->cli));
    return true;
}

int sp_describe_main(int argc, char **argv) {
    describe d = {.cli.command = "sampan describe"};
    bool show_events = true;
    const sp_flag flags[] = {
        {"selector", 'l', SP_FLAG_STR, &d.labels, "LABELS", "those with these labels"},
        {"all-namespaces", 'A', SP_FLAG_BOOL, &d.cli.all_namespaces, NULL, "in every namespace"},
        {"show-events", 0, SP_FLAG_BOOL, &show_events, NULL, "with the events (true)"},
        SP_CLI_FLAGS(&d.cli),
    };
    const sp_usage usage = {
        "sampan describe",
        "TYPE [NAME …] | TYPE/NAME … [flags]",
        "Shows objects with everything known about them, and what happened to them lately.",
        "  sampan describe pod nginx\n  sampan describe traitdefinition cron-scaler\n",
        flags,
        SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    d.no_events = !show_events;
    sp_err err = {0};
    rc = run(&d, argc - 1, argv + 1, &err) ? 0 : sp_cli_fail(&d.cli, &err);
    sp_vec_free(&d.targets);
    sp_cli_close(&d.cli);
    return rc;
}
