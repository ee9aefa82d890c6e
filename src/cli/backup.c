/* `sampan backup create|verify|restore` and `sampan store migrate`. A backup is taken from a
 * running API server (any store behind it), or from a store that nobody serves; it is restored into
 * an empty one. Files whose name ends in .gz are compressed. */
#include "base/clock.h"
#include "base/commands.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/client.h"
#include "cli/migrate.h"
#include "cli/store_url.h"
#include "net/loop.h"
#include "store/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { SHOW_EVERY = 2000 };

/* --- progress, for people only --- */

static void show(const char *what, uint64_t n, uint64_t of, bool last) {
    if (!isatty(STDERR_FILENO) || (!last && n % SHOW_EVERY)) return;
    if (of)
        fprintf(stderr, "\r%s %llu of %llu objects", what, (unsigned long long)n,
                (unsigned long long)of);
    else
        fprintf(stderr, "\r%s %llu bytes", what, (unsigned long long)n);
    if (last) fprintf(stderr, "\n");
}

/* --- files --- */

static const char *mode_of(const char *path, bool write) {
    bool packed = sp_str_ends(sp_str_z(path), SP_STR(".gz"));
    if (!write) return "rb";
    return packed ? "wb" : "wbT";
}

typedef struct out {
    const char *path;
    char *temporary;
    gzFile file;
    uint64_t bytes;
    bool failed;
} out;

static bool out_open(out *o, const char *path, sp_err *err) {
    sp_buf name = {0};
    sp_buf_printf(&name, "%s.part", path);
    sp_buf_addc(&name, 0);
    o->path = path;
    o->temporary = name.p;
    mode_t before = umask(077); /* a backup holds every Secret */
    o->file = gzopen(o->temporary, mode_of(path, true));
    umask(before);
    return o->file || sp_fail_errno(err, errno, "%s", o->temporary);
}

static void out_add(out *o, sp_str bytes) {
    if (bytes.n && gzwrite(o->file, bytes.p, (unsigned)bytes.n) != (int)bytes.n) o->failed = true;
    o->bytes += bytes.n;
}

/* All or nothing: the name appears when the bytes are on disk. */
static bool out_close(out *o, bool good, sp_err *err) {
    if (!o->file) {
        free(o->temporary);
        return good;
    }
    if (gzclose(o->file) != Z_OK) o->failed = true;
    if (good && o->failed) good = sp_fail_errno(err, errno, "writing %s", o->temporary);
    int fd = good ? open(o->temporary, O_RDONLY | O_CLOEXEC) : -1;
    if (good && (fd < 0 || fsync(fd) < 0 || rename(o->temporary, o->path) < 0))
        good = sp_fail_errno(err, errno, "%s", o->path);
    if (fd >= 0) close(fd);
    if (good) good = sp_sync_parent(o->path, err);
    if (!good) unlink(o->temporary);
    free(o->temporary);
    return good;
}

/* --- reading a file line by line --- */

typedef bool on_item(void *ctx, const sp_dump_item *item, sp_err *err);

static bool read_line(gzFile f, sp_buf *line) {
    char piece[64 * 1024];
    sp_buf_clear(line);
    while (gzgets(f, piece, sizeof piece)) {
        sp_buf_addz(line, piece);
        if (line->n && line->p[line->n - 1] == '\n') break;
    }
    return line->n > 0;
}

static bool read_backup(const char *path, const char *what, sp_dump_reader *r, on_item *fn,
                        void *ctx, sp_err *err) {
    gzFile f = gzopen(path, mode_of(path, false));
    sp_auto(sp_buf) line = {0};
    bool ok = true, item;
    sp_dump_item it;
    if (!f) return sp_fail_errno(err, errno, "%s", path);
    gzbuffer(f, 256 * 1024);
    while (ok && read_line(f, &line)) {
        ok = sp_dump_read(r, sp_buf_str(&line), &item, &it, err);
        if (ok && item && fn) ok = fn(ctx, &it, err);
        if (ok && item) show(what, r->objects, r->head.objects, r->objects == r->head.objects);
    }
    gzclose(f);
    if (ok) return sp_dump_finish(r, err) || sp_err_wrap(err, "%s", path);
    (void)!sp_dump_finish(r, NULL);
    return sp_err_wrap(err, "%s", path);
}

/* --- create --- */

typedef struct download {
    out *to;
    bool over;
    sp_err err;
} download;

static void on_bytes(void *ctx, sp_str bytes) {
    download *d = ctx;
    uint64_t before = d->to->bytes >> 22;
    out_add(d->to, bytes);
    if (d->to->bytes >> 22 != before) show("read", d->to->bytes, 0, false);
}

static void on_over(void *ctx, const sp_err *err) {
    download *d = ctx;
    d->over = true;
    if (err) d->err = *err;
}

static bool from_server(sp_cli *c, uint64_t revision, out *to, sp_err *err) {
    download d = {.to = to};
    sp_auto(sp_buf) path = {0};
    if (!sp_cli_open(c, err)) return false;
    sp_buf_printf(&path, "/sampan/v1/backup");
    if (revision) sp_buf_printf(&path, "?revision=%llu", (unsigned long long)revision);
    sp_kube_stream(c->kube, sp_buf_str(&path), NULL, on_bytes, on_over, &d);
    while (!d.over) uv_run(&c->loop, UV_RUN_ONCE);
    sp_cli_close(c);
    if (!d.err.code) return true;
    *err = d.err;
    return false;
}

static bool from_store(const sp_store_wish *wish, out *to, sp_err *err) {
    sp_store_at at = {0};
    if (!sp_store_at_open(&at, wish, err)) {
        sp_store_at_close(&at);
        return false;
    }
    sp_store_entries list = {0};
    sp_dump_writer w;
    sp_auto(sp_buf) b = {0};
    sp_store_entries_read(at.store, &list);
    sp_dump_begin(&w, &b, sp_store_revision(at.store), list.n, sp_clock_wall_ms());
    sp_vec_each(&list, e) {
        sp_dump_object(&w, &b, sp_str_z(e->key), e->value);
        out_add(to, sp_buf_str(&b));
        sp_buf_clear(&b);
        show("written", w.objects, list.n, w.objects == list.n);
    }
    sp_dump_end(&w, &b);
    out_add(to, sp_buf_str(&b));
    sp_store_entries_free(&list);
    sp_store_at_close(&at);
    return true;
}

static int say(const char *command, const sp_err *err) {
    fprintf(stderr, "sampan %s: %s\n", command, err->text);
    return 1;
}

static void print_summary(const char *path, const sp_dump_reader *r) {
    printf("%s: %llu objects at revision %llu, of %s\n", path, (unsigned long long)r->objects,
           (unsigned long long)r->head.revision, r->head.created);
}

typedef struct options {
    sp_cli cli;
    const char *store, *from, *to;
    sp_store_flags login;
    int64_t revision; /* 0 = the newest */
    bool catch_up;
} options;

static int create(options *o, const char *path) {
    sp_err err = {0};
    out to = {0};
    sp_dump_reader r = {0};
    uint64_t revision = (uint64_t)SP_MAX(o->revision, 0);
    const sp_store_wish wish = {.url = o->store, .login = &o->login, .revision = revision};
    bool ok = out_open(&to, path, &err);
    if (ok)
        ok = o->store ? from_store(&wish, &to, &err) : from_server(&o->cli, revision, &to, &err);
    ok = out_close(&to, ok, &err);
    if (ok) ok = read_backup(path, "checked", &r, NULL, NULL, &err); /* what is there is whole */
    if (!ok) return say("backup create", &err);
    print_summary(path, &r);
    return 0;
}

static int verify(options *o, const char *path) {
    sp_err err = {0};
    sp_dump_reader r = {0};
    (void)o;
    if (!read_backup(path, "checked", &r, NULL, NULL, &err)) return say("backup verify", &err);
    print_summary(path, &r);
    return 0;
}

/* --- restore --- */

static bool must_be_empty(const sp_store_at *at, const char *url, sp_err *err) {
    size_t n = sp_store_count(at->store, SP_STR("/registry/"));
    return !n || sp_fail(err, SP_CONFLICT,
                         "%s holds %zu objects already: restore into an empty store", url, n);
}

static bool put_item(void *ctx, const sp_dump_item *it, sp_err *err) {
    return sp_store_filler_put(ctx, it->key, it->value, it->rev_at, SP_STORE_ABSENT, err);
}

static bool restore_into(sp_store_at *at, const char *path, sp_dump_reader *r, sp_err *err) {
    sp_store_filler *f = sp_store_filler_new(at);
    bool ok = read_backup(path, "restored", r, put_item, f, err);
    bool durable = sp_store_filler_finish(f, ok ? err : NULL);
    return ok && durable;
}

/* The file is read twice: nothing is written before all of it was found good. */
static int restore(options *o, const char *path) {
    sp_err err = {0};
    sp_dump_reader first = {0}, r = {0};
    sp_store_at at = {0};
    if (!o->store) {
        fprintf(stderr, "sampan backup restore: --store says where to (sqlite:FILE or etcd://…); "
                        "for `sampan up` it is DATA-DIR/apiserver/state.db\n");
        return 2;
    }
    bool ok = read_backup(path, "checked", &first, NULL, NULL, &err);
    if (ok) {
        const sp_store_wish wish = {.url = o->store,
                                    .login = &o->login,
                                    .fill = true,
                                    .first_revision = SP_MAX(first.head.revision, 1)};
        ok = sp_store_at_open(&at, &wish, &err) && must_be_empty(&at, o->store, &err) &&
             restore_into(&at, path, &r, &err);
        sp_store_at_close(&at);
    }
    if (!ok) return say("backup restore", &err);
    printf("%llu objects restored into %s\n", (unsigned long long)r.objects, o->store);
    return 0;
}

/* --- migrate --- */

static int migrate(options *o, const char *unused) {
    sp_err err = {0};
    sp_migration m = {.from = o->from, .to = o->to, .login = &o->login, .catch_up = o->catch_up};
    (void)unused;
    if (!o->from || !o->to) {
        fprintf(stderr, "sampan store migrate: --from and --to name the stores\n");
        return 2;
    }
    m.progress = show;
    if (!sp_migrate(&m, &err)) return say("store migrate", &err);
    if (o->catch_up)
        printf(
            "%zu objects are as they should be, %zu were written, %zu removed; all compared one by "
            "one: %s → %s\n",
            m.objects - m.written, m.written, m.removed, o->from, o->to);
    else
        printf("%zu objects moved and compared one by one: %s → %s\n", m.objects, o->from, o->to);
    return 0;
}

/* --- the tables --- */

typedef struct verb {
    const char *command, *name, *synopsis, *about, *flags; /* flags: " a b " */
    bool file;
    int (*run)(options *o, const char *file);
} verb;

#define LOGIN " etcd-cafile etcd-certfile etcd-keyfile etcd-user etcd-password-file "

static const verb verbs[] = {
    {"backup", "create", "FILE [flags]",
     "Writes everything at one revision into FILE (.gz: compressed), from the API server of the\n"
     "kubeconfig while it goes on, or with --store from a store that nobody serves. FILE appears\n"
     "when it is whole, for its owner only: it holds every Secret. With --revision it is what was\n"
     "there then, as long as that is remembered: by the API server the last changes, by etcd what\n"
     "--etcd-compaction-interval says.",
     " kubeconfig context store revision" LOGIN, true, create},
    {"backup", "verify", "FILE", "Reads FILE to its end and compares the checksum.", "", true,
     verify},
    {"backup", "restore", "FILE --store URL",
     "Fills an empty store with what FILE holds. UIDs stay, revisions keep their order and, in a\n"
     "file, go on above those of the backup.",
     " store" LOGIN, true, restore},
    {"store", "migrate", "--from URL --to URL",
     "Copies everything from a store that nobody serves into an empty one and compares object by\n"
     "object. URL: sqlite:FILE or etcd://HOST:PORT[,HOST:PORT...][/PREFIX]. With --catch-up the "
     "other\n"
     "store holds an earlier state of the same (a backup that was restored there, or an earlier "
     "move):\n"
     "only what has changed since is written, so that the stop is short.",
     " from to catch-up" LOGIN, false, migrate},
};

static void print_usage(FILE *to, const char *command) {
    fprintf(to, "Usage:\n");
    for (size_t i = 0; i < SP_COUNT(verbs); i++)
        if (strcmp(verbs[i].command, command) == 0)
            fprintf(to, "  sampan %s %s %s\n", command, verbs[i].name, verbs[i].synopsis);
    fprintf(to, "\nsampan %s VERB --help tells more.\n", command);
}

static int usage_of(const char *command) {
    print_usage(stderr, command);
    return 2;
}

static int run_verb(const verb *v, int argc, char **argv) {
    char name[40];
    snprintf(name, sizeof name, "sampan %s %s", v->command, v->name);
    options o = {.cli = {.command = name}};
    const sp_flag all[] = {
        SP_CLI_FLAGS(&o.cli),
        {"store", 0, SP_FLAG_STR, &o.store, "URL",
         "sqlite:FILE or etcd://HOST:PORT[/PREFIX]; etcds:// for TLS"},
        {"from", 0, SP_FLAG_STR, &o.from, "URL", "the store to be read"},
        {"to", 0, SP_FLAG_STR, &o.to, "URL", "the empty store to be filled"},
        {"catch-up", 0, SP_FLAG_BOOL, &o.catch_up, NULL,
         "--to holds an earlier state of --from: write only what has changed"},
        {"revision", 0, SP_FLAG_INT, &o.revision, "N", "as it was at this resourceVersion"},
        SP_STORE_LOGIN_FLAGS(&o.login),
    };
    sp_flag flags[SP_COUNT(all)];
    size_t n = 0;
    for (size_t i = 0; i < SP_COUNT(all); i++)
        if (sp_flag_is_among(v->flags, all[i].name)) flags[n++] = all[i];
    const sp_usage u = {.command = name,
                        .synopsis = v->synopsis,
                        .about = v->about,
                        .flags = flags,
                        .flag_count = n};
    int code = sp_flags_parse(&u, &argc, argv);
    if (code != SP_FLAGS_GO_ON) return code;
    if (argc != (v->file ? 2 : 1)) return usage_of(v->command);
    sp_log_set_level(SP_LOG_WARN);
    return v->run(&o, v->file ? argv[1] : NULL);
}

static int run_command(const char *command, int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < SP_COUNT(verbs); i++) {
        if (strcmp(verbs[i].command, command) == 0 && strcmp(verbs[i].name, argv[1]) == 0)
            return run_verb(&verbs[i], argc - 1, argv + 1);
    }
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_usage(stdout, command);
        return 0;
    }
    return usage_of(command);
}

int sp_backup_main(int argc, char **argv) {
    return run_command("backup", argc, argv);
}

int sp_store_main(int argc, char **argv) {
    return run_command("store", argc, argv);
}
