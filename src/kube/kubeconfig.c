/* Files are read into documents, the context's cluster and user are looked up by name over all of
 * them, then a table says which field (inline base64 or path of a file) fills which PEM. */
#include "kube/kubeconfig.h"

#include "base/file.h"
#include "data/base64.h"
#include "data/yaml.h"
#include "net/client.h"

#include <stdio.h>

enum { MAX_FILES = 16, MAX_BYTES = 1 << 20 };

typedef struct source {
    const char *path;
    sp_str dir;
    sp_json *doc;
} source;

typedef struct loader {
    sp_arena *a;
    source files[MAX_FILES];
    size_t count;
    sp_str wanted; /* all paths tried, for the error */
    sp_err *err;
} loader;

/* ---------- reading the files ---------- */

static bool load_one(loader *l, sp_str path, bool must_exist) {
    if (!path.n) return true;
    if (l->count == MAX_FILES)
        return sp_fail(l->err, SP_INVALID, "KUBECONFIG lists more than %d files", MAX_FILES);
    source *s = &l->files[l->count];
    s->path = sp_arena_strz(l->a, path);
    sp_auto(sp_buf) b = {0};
    sp_err why = {0};
    if (!sp_file_read(s->path, MAX_BYTES, &b, &why)) {
        if (!must_exist && !sp_file_exists(s->path)) return true;
        if (l->err) *l->err = why;
        return sp_err_wrap(l->err, "kubeconfig %s", s->path);
    }
    if (!sp_yaml_parse(l->a, sp_buf_str(&b), &s->doc, l->err))
        return sp_err_wrap(l->err, "kubeconfig %s", s->path);
    ptrdiff_t slash = sp_str_rchr(path, '/');
    s->dir = slash < 0 ? SP_STR(".") : sp_arena_str(l->a, sp_str_sub(path, 0, (size_t)slash));
    l->count++;
    return true;
}

static bool load_all(loader *l, const char *path) {
    if (path) return load_one(l, sp_str_z(path), true);
    const char *env = getenv("KUBECONFIG"), *home = getenv("HOME");
    if (env && *env) {
        l->wanted = sp_str_z(env);
        for (sp_str part, rest = l->wanted; sp_str_cut(&rest, ':', &part);)
            if (!load_one(l, part, false)) return false;
    } else {
        l->wanted = sp_arena_printf(l->a, "%s/.kube/config", home ? home : "");
        if (!load_one(l, l->wanted, false)) return false;
    }
    if (l->count) return true;
    return sp_fail(l->err, SP_NOT_FOUND,
                   "no kubeconfig: %.*s does not exist; give --kubeconfig FILE or set KUBECONFIG",
                   SP_ARG(l->wanted));
}

/* ---------- looking things up ---------- */

static const sp_json *named(const loader *l, const char *list, const char *field, sp_str name,
                            const source **ret_source) {
    for (size_t i = 0; i < l->count; i++) {
        const sp_json *entries = sp_json_get(l->files[i].doc, list);
        sp_json_each(entries, e) {
            if (!sp_str_eq(sp_json_str(sp_json_get(e, "name")), name)) continue;
            *ret_source = &l->files[i];
            return sp_json_get(e, field);
        }
    }
    return NULL;
}

static sp_str current_context(const loader *l) {
    for (size_t i = 0; i < l->count; i++) {
        sp_str s = sp_json_str(sp_json_get(l->files[i].doc, "current-context"));
        if (s.n) return s;
    }
    return (sp_str){0};
}

static bool read_data(loader *l, const char *field, sp_str text, sp_str *ret) {
    sp_auto(sp_buf) b = {0};
    if (!sp_base64_decode(&b, text))
        return sp_fail_field(l->err, SP_INVALID, field, "kubeconfig: %s is not base64", field);
    *ret = sp_arena_str(l->a, sp_buf_str(&b));
    return true;
}

static bool read_path(loader *l, const source *s, const char *field, sp_str path, sp_str *ret) {
    if (path.p[0] != '/') path = sp_arena_printf(l->a, "%.*s/%.*s", SP_ARG(s->dir), SP_ARG(path));
    sp_auto(sp_buf) b = {0};
    if (!sp_file_read(sp_arena_strz(l->a, path), MAX_BYTES, &b, l->err))
        return sp_err_wrap(l->err, "kubeconfig %s, %s", s->path, field);
    *ret = sp_arena_str(l->a, sp_buf_str(&b));
    return true;
}

/* <field>-data wins over <field>, as in client-go. */
static bool read_pem(loader *l, const source *s, const sp_json *obj, const char *field,
                     sp_str *ret) {
    char data[64];
    snprintf(data, sizeof data, "%s-data", field);
    sp_str inline_text = sp_json_str(sp_json_get(obj, data));
    if (inline_text.n) return read_data(l, data, inline_text, ret);
    sp_str path = sp_json_str(sp_json_get(obj, field));
    return !path.n || read_path(l, s, field, path, ret);
}

/* ---------- cluster ---------- */

static bool bad_server(loader *l, sp_str server) {
    return sp_fail_field(l->err, SP_INVALID, "server",
                         "kubeconfig: server \"%.*s\" is not of the form https://host:port",
                         (int)SP_MIN(server.n, 200u), server.p ? server.p : "");
}

static bool split_port(loader *l, sp_kubeconfig *c, sp_str authority) {
    ptrdiff_t colon = sp_str_rchr(authority, ':');
    bool v6 = authority.n && authority.p[0] == '[';
    if (v6 && authority.p[authority.n - 1] == ']') colon = -1;
    c->port = c->tls ? 443 : 80;
    c->host = authority;
    if (colon >= 0) {
        uint64_t port;
        if (!sp_str_u64(sp_str_from(authority, (size_t)colon + 1), &port) || !port || port > 65535)
            return bad_server(l, c->server);
        c->port = (uint16_t)port;
        c->host = sp_str_sub(authority, 0, (size_t)colon);
    }
    if (v6 && c->host.n > 2 && c->host.p[c->host.n - 1] == ']')
        c->host = sp_str_sub(c->host, 1, c->host.n - 2);
    c->host = sp_arena_str(l->a, c->host);
    return c->host.n ? true : bad_server(l, c->server);
}

static bool split_one(loader *l, sp_kubeconfig *c, sp_str rest) {
    c->tls = !sp_str_starts(rest, SP_STR("http://"));
    if (sp_str_starts(rest, SP_STR("https://")))
        rest = sp_str_from(rest, 8);
    else if (!c->tls)
        rest = sp_str_from(rest, 7);
    else if (sp_str_find(rest, SP_STR("://")) >= 0)
        return bad_server(l, c->server);
    ptrdiff_t slash = sp_str_chr(rest, '/');
    if (slash >= 0) {
        sp_str prefix = sp_str_from(rest, (size_t)slash);
        while (prefix.n && prefix.p[prefix.n - 1] == '/') prefix.n--;
        c->prefix = sp_arena_str(l->a, prefix);
        rest = sp_str_sub(rest, 0, (size_t)slash);
    }
    return split_port(l, c, rest);
}

/* All of them in one way: the same scheme and path. */
static bool split_server(loader *l, sp_kubeconfig *c) {
    sp_str rest = c->server, one;
    enum { MAX_SERVERS = 16 };
    if (sp_str_chr(c->server, ',') < 0) return split_one(l, c, c->server);
    c->others = sp_arena_alloc(l->a, MAX_SERVERS * sizeof *c->others);
    for (size_t i = 0; sp_str_cut(&rest, ',', &one); i++) {
        sp_kubeconfig x = {.server = c->server};
        if (i > MAX_SERVERS || !split_one(l, &x, sp_str_trim(one))) return bad_server(l, c->server);
        if (i == 0) {
            c->tls = x.tls, c->host = x.host, c->port = x.port, c->prefix = x.prefix;
        } else if (x.tls != c->tls || !sp_str_eq(x.prefix, c->prefix)) {
            return sp_fail_field(l->err, SP_INVALID, "server",
                                 "kubeconfig: the servers of \"%.*s\" differ in scheme or path",
                                 (int)SP_MIN(c->server.n, 200u), c->server.p);
        } else {
            c->others[c->other_count++] =
                (sp_http_server_name){sp_arena_strz(l->a, x.host), x.port};
        }
    }
    return true;
}

static bool read_cluster(loader *l, sp_str name, sp_kubeconfig *c) {
    const source *s = NULL;
    const sp_json *j = named(l, "clusters", "cluster", name, &s);
    if (!j)
        return sp_fail(l->err, SP_NOT_FOUND,
                       "kubeconfig: context \"%.*s\" names cluster \"%.*s\", "
                       "which is not defined",
                       SP_ARG(c->context), SP_ARG(name));
    c->server = sp_json_str(sp_json_get(j, "server"));
    c->insecure = sp_json_bool(sp_json_get(j, "insecure-skip-tls-verify"), false);
    c->server_name = sp_json_str(sp_json_get(j, "tls-server-name"));
    return split_server(l, c) && read_pem(l, s, j, "certificate-authority", &c->ca_pem);
}

/* ---------- user ---------- */

static bool refuse_plugins(loader *l, const sp_json *j, sp_str name, const sp_kubeconfig *c) {
    bool plugin = sp_json_get(j, "exec") || sp_json_get(j, "auth-provider");
    if (!plugin || c->token.n || c->cert_pem.n) return true;
    return sp_fail(
        l->err, SP_INVALID,
        "kubeconfig: user \"%.*s\" logs in by a plugin (exec or auth-provider), which is "
        "not supported; use a client certificate or a token",
        SP_ARG(name));
}

static bool read_user(loader *l, sp_str name, sp_kubeconfig *c) {
    if (!name.n) return true;
    const source *s = NULL;
    const sp_json *j = named(l, "users", "user", name, &s);
    if (!s)
        return sp_fail(l->err, SP_NOT_FOUND,
                       "kubeconfig: context \"%.*s\" names user \"%.*s\", "
                       "which is not defined",
                       SP_ARG(c->context), SP_ARG(name));
    if (!read_pem(l, s, j, "client-certificate", &c->cert_pem)) return false;
    if (!read_pem(l, s, j, "client-key", &c->key_pem)) return false;
    if (c->cert_pem.n && !c->key_pem.n)
        return sp_fail(l->err, SP_INVALID,
                       "kubeconfig: user \"%.*s\" has a client-certificate "
                       "but no client-key",
                       SP_ARG(name));
    c->token = sp_json_str(sp_json_get(j, "token"));
    sp_str file = sp_json_str(sp_json_get(j, "tokenFile"));
    if (!c->token.n && file.n && !read_path(l, s, "tokenFile", file, &c->token)) return false;
    c->token = sp_str_trim(c->token);
    c->username = sp_json_str(sp_json_get(j, "username"));
    c->password = sp_json_str(sp_json_get(j, "password"));
    return refuse_plugins(l, j, name, c);
}

bool sp_kubeconfig_load(sp_arena *a, const char *path, const char *context, sp_kubeconfig *ret,
                        sp_err *err) {
    loader l = {.a = a, .err = err};
    if (!load_all(&l, path)) return false;
    sp_kubeconfig c = {.context = context ? sp_str_z(context) : current_context(&l)};
    if (!c.context.n)
        return sp_fail(err, SP_INVALID, "kubeconfig %s: current-context is not set",
                       l.files[0].path);
    const source *s = NULL;
    const sp_json *j = named(&l, "contexts", "context", c.context, &s);
    if (!j)
        return sp_fail(err, SP_NOT_FOUND, "kubeconfig: there is no context \"%.*s\"",
                       SP_ARG(c.context));
    c.namespace_ = sp_json_str(sp_json_get(j, "namespace"));
    if (!c.namespace_.n) c.namespace_ = SP_STR("default");
    if (!read_cluster(&l, sp_json_str(sp_json_get(j, "cluster")), &c)) return false;
    if (!read_user(&l, sp_json_str(sp_json_get(j, "user")), &c)) return false;
    *ret = c;
    return true;
}
