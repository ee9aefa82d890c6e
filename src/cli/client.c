#include "cli/client.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

enum { MAX_FILE_BYTES = 16 * 1024 * 1024 };

/* ---------- connection ---------- */

bool sp_cli_open(sp_cli *c, sp_err *err) {
    c->arena = sp_arena_new();
    uv_loop_init(&c->loop);
    const sp_kube_config config = {c->kubeconfig, c->context, "sampan/" SP_VERSION};
    return sp_kube_open(&c->loop, &config, &c->kube, err);
}

void sp_cli_close(sp_cli *c) {
    if (!c->arena) return;
    if (c->kube) sp_kube_free(c->kube);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    uv_loop_close(&c->loop);
    sp_vec_each(&c->types, t) {
        sp_vec_free(&t->short_names);
        sp_vec_free(&t->categories);
    }
    sp_vec_free(&c->types);
    c->arena = sp_arena_free(c->arena);
}

int sp_cli_fail(const sp_cli *c, const sp_err *err) {
    fflush(stdout);
    if (err->code == SP_CONNECTION)
        fprintf(stderr,
                "The connection to the server %s was refused or lost: %s. Is `sampan up` running, "
                "and is "
                "KUBECONFIG its DIR/kubeconfig?\n",
                c->kube ? sp_kube_server(c->kube) : "", err->text);
    else if (err->code == SP_SYSTEM || err->code == SP_BAD_REQUEST || !c->kube)
        fprintf(stderr, "error: %s\n", err->text);
    else
        fprintf(stderr, "Error from server (%s): %s\n", sp_code_reason(err->code), err->text);
    return 1;
}

const char *sp_cli_namespace(const sp_cli *c) {
    return c->namespace_ ? c->namespace_ : sp_kube_namespace(c->kube);
}

bool sp_cli_call(sp_cli *c, const char *method, sp_str target, const char *content_type,
                 const char *accept, const sp_json *body, sp_json **ret, sp_err *err) {
    const sp_kube_request r = {.method = method,
                               .target = target,
                               .content_type = content_type,
                               .accept = accept,
                               .body = body};
    int http = 0;
    return sp_kube_call_sync(c->kube, c->arena, &r, &http, ret, err);
}

/* ---------- discovery ---------- */

static const char *const discovery_accept =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

static void take_strings(const sp_json *list, sp_strs *out) {
    sp_json_each(list, s) sp_vec_push(out, sp_json_str(s));
}

static void take_version(sp_cli *c, const char *group, const sp_json *version) {
    sp_json_each(sp_json_get(version, "resources"), r) {
        sp_cli_type t = {
            .group = group,
            .version = sp_json_get_z(version, "version"),
            .plural = sp_json_get_z(r, "resource"),
            .singular = sp_json_get_z(r, "singularResource"),
            .kind = sp_json_z(sp_json_dig(r, "responseKind", "kind", NULL)),
            .namespaced = sp_str_eqz(sp_json_str(sp_json_get(r, "scope")), "Namespaced"),
        };
        take_strings(sp_json_get(r, "shortNames"), &t.short_names);
        take_strings(sp_json_get(r, "categories"), &t.categories);
        sp_vec_push(&c->types, t);
    }
}

bool sp_cli_discover(sp_cli *c, sp_err *err) {
    if (c->types.n) return true;
    static const char *const roots[] = {"/api", "/apis"};
    for (size_t i = 0; i < SP_COUNT(roots); i++) {
        sp_json *doc = NULL;
        if (!sp_cli_call(c, "GET", sp_str_z(roots[i]), NULL, discovery_accept, NULL, &doc, err))
            return false;
        sp_json_each(sp_json_get(doc, "items"), group)
            sp_json_each(sp_json_get(group, "versions"), version)
                take_version(c, sp_json_z(sp_json_dig(group, "metadata", "name", NULL)), version);
    }
    return true;
}

static bool has_name(const sp_cli_type *t, sp_str name) {
    if (sp_str_eqz(name, t->plural) || sp_str_eqz(name, t->singular) ||
        sp_str_ieq(name, sp_str_z(t->kind)) || sp_str_ieq(name, sp_str_z(t->plural)))
        return true;
    sp_vec_each(&t->short_names, s) if (sp_str_eq(*s, name)) return true;
    return false;
}

/* "apps" or "v1.apps" behind the first dot. */
static bool has_group(const sp_cli_type *t, sp_str rest) {
    if (sp_str_eqz(rest, t->group)) return true;
    sp_str version;
    return sp_str_cut(&rest, '.', &version) && sp_str_eqz(version, t->version) &&
           sp_str_eqz(rest, t->group);
}

/* "po", "pods", "pod", "Pod", "deployments.apps", "deploy.v1.apps". */
static bool find_type(sp_cli *c, sp_str name, const sp_cli_type **ret, sp_err *err) {
    if (!sp_cli_discover(c, err)) return false;
    ptrdiff_t dot = sp_str_chr(name, '.');
    sp_str first = dot < 0 ? name : sp_str_sub(name, 0, (size_t)dot);
    sp_vec_each(&c->types, t) {
        if (!has_name(t, first)) continue;
        if (dot >= 0 && !has_group(t, sp_str_from(name, (size_t)dot + 1))) continue;
        *ret = t;
        return true;
    }
    return sp_fail(
        err, SP_BAD_REQUEST,
        "the server doesn't have a resource type \"%.*s\" (sampan api-resources lists them)",
        SP_ARG(name));
}

bool sp_cli_find_kind(sp_cli *c, sp_str api_version, sp_str kind, const sp_cli_type **ret,
                      sp_err *err) {
    if (!sp_cli_discover(c, err)) return false;
    ptrdiff_t slash = sp_str_rchr(api_version, '/');
    sp_str group = slash < 0 ? SP_STR("") : sp_str_sub(api_version, 0, (size_t)slash);
    sp_str version = sp_str_from(api_version, (size_t)(slash + 1));
    sp_vec_each(&c->types, t) {
        if (!sp_str_eqz(kind, t->kind) || !sp_str_eqz(group, t->group) ||
            !sp_str_eqz(version, t->version))
            continue;
        *ret = t;
        return true;
    }
    return sp_fail(err, SP_BAD_REQUEST,
                   "no matches for kind \"%.*s\" in version \"%.*s\": install its "
                   "CustomResourceDefinition first, or "
                   "correct apiVersion and kind",
                   SP_ARG(kind), SP_ARG(api_version));
}

sp_str sp_cli_display_name(sp_cli *c, const sp_cli_type *t, sp_str name) {
    return sp_arena_printf(c->arena, "%s%s%s/%.*s", t->singular, *t->group ? "." : "", t->group,
                           SP_ARG(name));
}

sp_str sp_cli_path(sp_cli *c, const sp_cli_type *t, sp_str ns, sp_str name, const char *sub) {
    const sp_gvr gvr = {t->group, t->version, t->plural, t->kind, !t->namespaced};
    return sp_gvr_path(c->arena, &gvr, t->namespaced ? ns : SP_STR(""), name, sub);
}

/* ---------- files ---------- */

/* “app/v1” as word processors leave it: apiVersion and kind cannot hold such quotes, so they are
 * taken off, with a warning. */
static void repair_quotes(sp_cli *c, sp_json *doc, const char *key, const char *file) {
    sp_json *j = sp_json_get(doc, key);
    sp_str s = sp_json_str(j);
    static const char *const pairs[][2] = {{"“", "”"}, {"‘", "’"}};
    for (size_t i = 0; i < SP_COUNT(pairs); i++) {
        sp_str open = sp_str_z(pairs[i][0]), close = sp_str_z(pairs[i][1]);
        if (s.n <= open.n + close.n || !sp_str_starts(s, open) || !sp_str_ends(s, close)) continue;
        fprintf(stderr,
                "Warning: %s: typographic quotes around %s %.*s taken off; write it without them\n",
                file, key, SP_ARG(s));
        j->text = sp_arena_str(c->arena, sp_str_sub(s, open.n, s.n - open.n - close.n));
        return;
    }
}

static bool take_doc(sp_cli *c, sp_json *doc, const char *file, sp_json_docs *ret, sp_err *err) {
    if (!sp_json_is(doc, SP_JSON_OBJECT))
        return sp_fail(err, SP_BAD_REQUEST, "%s: a document is no object but %s", file,
                       sp_json_type_name(doc));
    const sp_json *items = sp_json_get(doc, "items");
    if (sp_str_ends(sp_obj_kind(doc), SP_STR("List")) && sp_json_is(items, SP_JSON_ARRAY)) {
        sp_json_each(items, item) if (!take_doc(c, item, file, ret, err)) return false;
        return true;
    }
    repair_quotes(c, doc, "apiVersion", file);
    repair_quotes(c, doc, "kind", file);
    static const char *const needed[] = {"apiVersion", "kind"};
    for (size_t i = 0; i < SP_COUNT(needed); i++)
        if (!*sp_json_get_z(doc, needed[i]))
            return sp_fail(err, SP_BAD_REQUEST, "error parsing %s: %s not set", file, needed[i]);
    sp_vec_push(ret, doc);
    return true;
}

static bool load_text(sp_cli *c, sp_str text, const char *file, sp_json_docs *ret, sp_err *err) {
    sp_json_docs docs = {0};
    bool ok =
        sp_yaml_parse_all(c->arena, text, &docs, err) || sp_err_wrap(err, "error parsing %s", file);
    for (size_t i = 0; ok && i < docs.n; i++) ok = take_doc(c, docs.p[i], file, ret, err);
    sp_vec_free(&docs);
    return ok;
}

static bool load_stdin(sp_cli *c, sp_json_docs *ret, sp_err *err) {
    sp_auto(sp_buf) b = {0};
    char chunk[16384];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, stdin)) > 0;) {
        sp_buf_add(&b, (sp_str){chunk, n});
        if (b.n > MAX_FILE_BYTES)
            return sp_fail(err, SP_TOO_LARGE, "standard input is larger than 16 MiB");
    }
    return load_text(c, sp_buf_str(&b), "standard input", ret, err);
}

static bool is_manifest(const char *name) {
    static const char *const ends[] = {".yaml", ".yml", ".json"};
    for (size_t i = 0; i < SP_COUNT(ends); i++)
        if (sp_str_ends(sp_str_z(name), sp_str_z(ends[i]))) return true;
    return false;
}

static int visible(const struct dirent *e) {
    return e->d_name[0] != '.';
}

static bool load_path(sp_cli *c, const char *path, bool recursive, sp_json_docs *ret, sp_err *err);

static bool load_dir(sp_cli *c, const char *path, bool recursive, sp_json_docs *ret, sp_err *err) {
    struct dirent **names;
    int n = scandir(path, &names, visible, alphasort);
    if (n < 0) return sp_fail_errno(err, errno, "open %s", path);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        const char *file = sp_arena_printf(c->arena, "%s/%s", path, names[i]->d_name).p;
        struct stat st;
        bool dir = stat(file, &st) == 0 && S_ISDIR(st.st_mode);
        if (ok && (dir ? recursive : is_manifest(file)))
            ok = load_path(c, file, recursive, ret, err);
        free(names[i]);
    }
    free(names);
    return ok;
}

static bool load_path(sp_cli *c, const char *path, bool recursive, sp_json_docs *ret, sp_err *err) {
    struct stat st;
    if (stat(path, &st) != 0)
        return sp_fail_errno(err, errno, "the path \"%s\" cannot be read", path);
    if (S_ISDIR(st.st_mode)) return load_dir(c, path, recursive, ret, err);
    sp_auto(sp_buf) b = {0};
    return sp_file_read(path, MAX_FILE_BYTES, &b, err) &&
           load_text(c, sp_buf_str(&b), path, ret, err);
}

bool sp_cli_load(sp_cli *c, const sp_strs *files, bool recursive, sp_json_docs *ret, sp_err *err) {
    sp_vec_each(files, f) {
        bool ok = sp_str_eqz(*f, "-")
                      ? load_stdin(c, ret, err)
                      : load_path(c, sp_arena_strz(c->arena, *f), recursive, ret, err);
        if (!ok) return false;
    }
    return ret->n || sp_fail(err, SP_BAD_REQUEST, "no objects passed to %s", c->command);
}

/* ---------- words ---------- */

static bool push_category(sp_cli *c, sp_str category, sp_cli_targets *ret) {
    bool any = false;
    sp_vec_each(&c->types, t) sp_vec_each(&t->categories, s) {
        if (!sp_str_eq(*s, category)) continue;
        sp_vec_push(ret, {t, {0}});
        any = true;
    }
    return any;
}

static bool push_type(sp_cli *c, sp_str type, sp_str name, sp_cli_targets *ret, sp_err *err) {
    const sp_cli_type *t;
    if (!sp_cli_discover(c, err)) return false;
    if (!name.n && push_category(c, type, ret)) return true;
    if (!find_type(c, type, &t, err)) return false;
    sp_vec_push(ret, {t, name});
    return true;
}

bool sp_cli_targets_parse(sp_cli *c, int argc, char **argv, sp_cli_targets *ret, sp_err *err) {
    if (argc == 0)
        return sp_fail(err, SP_BAD_REQUEST,
                       "you must say what: for example pods, deployment/nginx (sampan "
                       "api-resources lists the types)");
    if (strchr(argv[0], '/')) {
        for (int i = 0; i < argc; i++) {
            sp_str name = sp_str_z(argv[i]), type;
            if (!sp_str_cut(&name, '/', &type) || !name.n)
                return sp_fail(err, SP_BAD_REQUEST,
                               "there is no need to mix TYPE/NAME with plain words: \"%s\"",
                               argv[i]);
            if (!push_type(c, type, name, ret, err)) return false;
        }
        return true;
    }
    for (sp_str type, rest = sp_str_z(argv[0]); sp_str_cut(&rest, ',', &type);) {
        if (argc == 1 && !push_type(c, type, (sp_str){0}, ret, err)) return false;
        for (int i = 1; i < argc; i++)
            if (!push_type(c, type, sp_str_z(argv[i]), ret, err)) return false;
    }
    return true;
}
