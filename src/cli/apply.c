/* `sampan apply`: what `kubectl apply` does on the client side. The last applied configuration is
 * kept in kubectl's own annotation, so both tools may be mixed. The patch is a three-way JSON merge
 * patch of last applied, file and live object; a list is replaced as a whole unless the live one
 * already says everything the file says. */
#include "base/commands.h"
#include "cli/client.h"

#include <stdio.h>

static const char last_applied[] = "kubectl.kubernetes.io/last-applied-configuration";

/* Does live hold everything that file says? Lists must have the same length. */
static bool covers(const sp_json *live, const sp_json *file) {
    if (!live || live->type != file->type) return false;
    if (file->type == SP_JSON_OBJECT) {
        sp_json_each(file, m) if (!covers(sp_json_get_str(live, m->key), m)) return false;
        return true;
    }
    if (file->type != SP_JSON_ARRAY) return sp_json_equal(live, file);
    if (live->count != file->count) return false;
    const sp_json *other = live->first;
    sp_json_each(file, m) {
        if (!covers(other, m)) return false;
        other = other->next;
    }
    return true;
}

/* Adds to patch what leads from live to file, and null for what original had and file has not. */
static void three_way(sp_arena *a, sp_json *patch, const sp_json *original, const sp_json *file,
                      const sp_json *live) {
    sp_json_each(file, m) {
        const sp_json *now = sp_json_get_str(live, m->key);
        const sp_json *before = sp_json_get_str(original, m->key);
        if (sp_json_is(m, SP_JSON_OBJECT) && sp_json_is(now, SP_JSON_OBJECT)) {
            sp_json *inner = sp_json_object(a);
            three_way(a, inner, before, m, now);
            if (inner->count) sp_json_set_str(a, patch, m->key, inner);
        } else if (!(covers(now, m) && (!before || sp_json_equal(before, m)))) {
            sp_json_set_str(a, patch, m->key, sp_json_clone(a, m));
        }
    }
    sp_json_each(original, m) if (!sp_json_get_str(file, m->key) && sp_json_get_str(live, m->key))
        sp_json_set_str(a, patch, m->key, sp_json_null(a));
}

static int by_key(const void *a, const void *b) {
    return sp_str_cmp((*(sp_json *const *)a)->key, (*(sp_json *const *)b)->key);
}

/* As Go's encoder writes it, which is what kubectl compares with: keys sorted, <, > and & escaped.
 */
static void write_sorted(sp_buf *b, const sp_json *j) {
    if (j->type == SP_JSON_STRING) {
        sp_auto(sp_buf) text = {0};
        sp_json_write_string(&text, j->text);
        for (size_t i = 0; i < text.n; i++)
            if (strchr("<>&", text.p[i]))
                sp_buf_printf(b, "\\u%04x", text.p[i]);
            else
                sp_buf_addc(b, text.p[i]);
        return;
    }
    if (j->type != SP_JSON_OBJECT && j->type != SP_JSON_ARRAY) {
        sp_json_write(b, j);
        return;
    }
    bool object = j->type == SP_JSON_OBJECT;
    sp_json **children = sp_zalloc(j->count + 1, sizeof *children);
    size_t n = 0;
    sp_json_each(j, c) children[n++] = c;
    if (object) qsort(children, n, sizeof *children, by_key);
    sp_buf_addc(b, object ? '{' : '[');
    for (size_t i = 0; i < n; i++) {
        if (i) sp_buf_addc(b, ',');
        if (object) {
            sp_json_write_string(b, children[i]->key);
            sp_buf_addc(b, ':');
        }
        write_sorted(b, children[i]);
    }
    sp_buf_addc(b, object ? '}' : ']');
    free(children);
}

static void annotate(sp_arena *a, sp_json *obj) {
    sp_json *meta = sp_json_ensure_object(a, obj, "metadata");
    sp_json *annotations = sp_json_ensure_object(a, meta, "annotations");
    sp_json_remove(annotations, last_applied);
    sp_auto(sp_buf) b = {0};
    write_sorted(&b, obj);
    sp_buf_addc(&b, '\n');
    sp_json_set(a, annotations, last_applied, sp_json_new_str(a, sp_buf_str(&b)));
}

typedef struct apply {
    sp_cli cli;
    sp_strs files;
    const char *dry_run, *output;
    bool recursive;
} apply;

static sp_str with_query(apply *p, sp_str path) {
    return sp_arena_printf(p->cli.arena, "%.*s?fieldManager=sampan-apply&fieldValidation=Strict%s",
                           SP_ARG(path), strcmp(p->dry_run, "server") == 0 ? "&dryRun=All" : "");
}

static void say(apply *p, const sp_cli_type *t, sp_str name, const char *what) {
    static const char *const notes[][2] = {
        {"none", ""}, {"server", " (server dry run)"}, {"client", " (dry run)"}};
    const char *note = "";
    for (size_t i = 0; i < SP_COUNT(notes); i++)
        if (strcmp(p->dry_run, notes[i][0]) == 0) note = notes[i][1];
    sp_str shown = sp_cli_display_name(&p->cli, t, name);
    if (p->output && strcmp(p->output, "name") == 0)
        printf("%.*s\n", SP_ARG(shown));
    else
        printf("%.*s %s%s\n", SP_ARG(shown), what, note);
    fflush(stdout);
}

static bool create(apply *p, const sp_cli_type *t, sp_json *obj, sp_err *err) {
    if (strcmp(p->dry_run, "client") != 0) {
        sp_str path = sp_cli_path(&p->cli, t, sp_obj_namespace(obj), SP_STR(""), NULL);
        sp_json *made = NULL;
        if (!sp_cli_call(&p->cli, "POST", with_query(p, path), NULL, NULL, obj, &made, err))
            return false;
    }
    say(p, t, sp_obj_name(obj), "created");
    return true;
}

static bool update(apply *p, const sp_cli_type *t, sp_json *obj, const sp_json *live, sp_err *err) {
    sp_arena *a = p->cli.arena;
    sp_json *original = NULL, *after = NULL;
    sp_str before = sp_obj_annotation(live, last_applied);
    if (before.n && !sp_json_parse(a, before, &original, NULL)) original = NULL;
    sp_json *patch = sp_json_object(a);
    three_way(a, patch, original, obj, live);
    if (!patch->count || strcmp(p->dry_run, "client") == 0) {
        say(p, t, sp_obj_name(obj), patch->count ? "configured" : "unchanged");
        return true;
    }
    sp_str path = sp_cli_path(&p->cli, t, sp_obj_namespace(obj), sp_obj_name(obj), NULL);
    if (!sp_cli_call(&p->cli, "PATCH", with_query(p, path), "application/merge-patch+json", NULL,
                     patch, &after, err))
        return false;
    say(p, t, sp_obj_name(obj), sp_json_equal(after, live) ? "unchanged" : "configured");
    return true;
}

static bool apply_one(apply *p, sp_json *obj, sp_err *err) {
    const sp_cli_type *t;
    sp_cli *c = &p->cli;
    if (!sp_cli_find_kind(c, sp_json_str(sp_json_get(obj, "apiVersion")), sp_obj_kind(obj), &t,
                          err))
        return false;
    if (!sp_obj_name(obj).n)
        return sp_fail(
            err, SP_BAD_REQUEST,
            "a %s without metadata.name cannot be applied; create gives names, apply needs one",
            t->kind);
    sp_json *meta = sp_json_ensure_object(c->arena, obj, "metadata");
    if (t->namespaced && !sp_obj_namespace(obj).n)
        sp_json_set_z(c->arena, meta, "namespace", sp_cli_namespace(c));
    annotate(c->arena, obj);
    sp_json *live = NULL;
    sp_str path = sp_cli_path(c, t, sp_obj_namespace(obj), sp_obj_name(obj), NULL);
    if (sp_cli_call(c, "GET", path, NULL, NULL, NULL, &live, err))
        return update(p, t, obj, live, err);
    return err->code == SP_NOT_FOUND && create(p, t, obj, err);
}

static bool run(apply *p, int *failed, sp_err *err) {
    sp_json_docs docs = {0};
    bool ok =
        sp_cli_open(&p->cli, err) && sp_cli_load(&p->cli, &p->files, p->recursive, &docs, err);
    for (size_t i = 0; ok && i < docs.n; i++) {
        sp_err why = {0};
        if (apply_one(p, docs.p[i], &why)) continue;
        *failed = sp_cli_fail(&p->cli, &why); /* the others are still tried, as kubectl does */
    }
    sp_vec_free(&docs);
    return ok;
}

int sp_apply_main(int argc, char **argv) {
    apply p = {.cli.command = "sampan apply", .dry_run = "none"};
    const sp_flag flags[] = {
        {"filename", 'f', SP_FLAG_LIST, &p.files, "FILE",
         "file, directory or - (standard input); may be repeated"},
        {"recursive", 'R', SP_FLAG_BOOL, &p.recursive, NULL, "directories within directories too"},
        {"dry-run", 0, SP_FLAG_STR, &p.dry_run, "none|client|server", "check without storing"},
        {"output", 'o', SP_FLAG_STR, &p.output, "name", "print names only"},
        SP_CLI_FLAGS(&p.cli),
    };
    const sp_usage usage = {
        "sampan apply",
        "-f FILE [flags]",
        "Makes the cluster hold the objects of the files: creates what is missing, changes what\n"
        "differs, takes away what an earlier apply put there and the file no longer says.",
        "  sampan apply -f app.yaml\n  sampan apply -f ./manifests -R --dry-run server\n",
        flags,
        SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    for (int i = 1; i < argc; i++) sp_vec_push(&p.files, sp_str_z(argv[i]));
    if (!p.files.n) {
        fprintf(stderr, "error: must specify one of -f FILE\n");
        return 1;
    }
    sp_err err = {0};
    int failed = 0;
    if (!run(&p, &failed, &err)) failed = sp_cli_fail(&p.cli, &err);
    sp_cli_close(&p.cli);
    sp_vec_free(&p.files);
    return failed;
}
