#include "apiserver/store_flags.h"

#include "base/file.h"
#include "data/time.h"
#include "store/store.h"

static bool read_file(const char *path, const char *flag, sp_buf *ret, sp_str *ret_text,
                      sp_err *err) {
    if (!path) return true;
    if (!sp_file_read(path, 1 << 20, ret, err)) return sp_err_wrap(err, "--%s", flag);
    *ret_text = sp_buf_str(ret);
    return true;
}

static void add_server(sp_store_flags *f, const char *scheme, sp_str host) {
    sp_buf_printf(&f->text, "%s%.*s", scheme, SP_ARG(host));
    sp_buf_addc(&f->text, 0);
}

/* The URLs stand one after the other in text, which does not move any more. */
static void point_at_servers(sp_store_flags *f) {
    for (size_t at = 0; at < f->text.n;) {
        sp_str url = sp_str_z(f->text.p + at);
        sp_vec_push(&f->etcd.endpoints, url);
        at += url.n + 1;
    }
}

static bool read_url(sp_store_flags *f, sp_err *err) {
    sp_str s = sp_str_z(f->store), hosts = {0}, one;
    bool tls = sp_str_starts(s, SP_STR("etcds://")), plain = sp_str_starts(s, SP_STR("etcd://"));
    if (sp_str_starts(s, SP_STR("sqlite:"))) {
        f->path = f->store + strlen("sqlite:");
        return f->path[0] || sp_fail(err, SP_BAD_REQUEST, "--store sqlite: needs a file");
    }
    if (!tls && !plain)
        return sp_fail(err, SP_BAD_REQUEST, "--store %s: sqlite:FILE or etcd://HOST:PORT",
                       f->store);
    hosts = sp_str_from(s, tls ? 8 : 7);
    ptrdiff_t slash = sp_str_chr(hosts, '/');
    if (slash >= 0 && !f->prefix) f->prefix = hosts.p + slash;
    if (slash >= 0) hosts = sp_str_sub(hosts, 0, (size_t)slash);
    while (sp_str_cut(&hosts, ',', &one)) add_server(f, tls ? "https://" : "http://", one);
    return true;
}

static bool read_interval(sp_store_flags *f, sp_err *err) {
    int64_t ms = 0;
    if (!f->compaction) return true;
    if (!sp_duration_parse(sp_str_z(f->compaction), &ms) || ms < 0 || (ms && ms < 1000) ||
        ms >= UINT32_MAX)
        return sp_fail(
            err, SP_BAD_REQUEST,
            "--etcd-compaction-interval %s: a duration like 5m or 24h, at least 1s, or 0",
            f->compaction);
    f->compact_every_ms = ms ? (uint32_t)ms : SP_STORE_NEVER;
    return true;
}

static bool check(const sp_store_flags *f, sp_err *err) {
    if (!f->cert != !f->key)
        return sp_fail(err, SP_BAD_REQUEST, "--etcd-certfile and --etcd-keyfile go together");
    if (f->prefix && f->prefix[0] && f->prefix[0] != '/')
        return sp_fail(err, SP_BAD_REQUEST, "--etcd-prefix %s: it has to begin with a slash",
                       f->prefix);
    if (f->path && f->text.n)
        return sp_fail(err, SP_BAD_REQUEST,
                       "--store sqlite: and --etcd-servers exclude each other");
    return true;
}

bool sp_store_flags_read(sp_store_flags *f, sp_err *err) {
    sp_str password = {0};
    if (f->store && !read_url(f, err)) return false;
    sp_vec_each(&f->servers, list) {
        for (sp_str one, rest = *list; sp_str_cut(&rest, ',', &one);) add_server(f, "", one);
    }
    if (!check(f, err) || !read_interval(f, err)) return false;
    point_at_servers(f);
    if (!f->prefix) f->prefix = "/sampan";
    f->etcd.user = f->user;
    f->etcd.files = (sp_etcd_files){f->ca, f->cert, f->key};
    if (!read_file(f->ca, "etcd-cafile", &f->ca_pem, &f->etcd.ca_pem, err) ||
        !read_file(f->cert, "etcd-certfile", &f->cert_pem, &f->etcd.cert_pem, err) ||
        !read_file(f->key, "etcd-keyfile", &f->key_pem, &f->etcd.key_pem, err) ||
        !read_file(f->password_file, "etcd-password-file", &f->password, &password, err))
        return false;
    while (f->password.n && strchr("\r\n", f->password.p[f->password.n - 1]))
        f->password.p[--f->password.n] = 0;
    if (f->password_file) f->etcd.password = sp_buf_z(&f->password);
    return !f->etcd.endpoints.n || sp_etcd_tls_new(&f->etcd, &f->etcd.tls, err);
}

void sp_store_flags_free(sp_store_flags *f) {
    sp_buf *const bufs[] = {&f->ca_pem, &f->cert_pem, &f->key_pem, &f->password, &f->text};
    for (size_t i = 0; i < SP_COUNT(bufs); i++) sp_buf_free(bufs[i]);
    sp_vec_free(&f->servers);
    sp_vec_free(&f->etcd.endpoints);
    f->etcd.tls = sp_etcd_tls_unref(f->etcd.tls);
}
