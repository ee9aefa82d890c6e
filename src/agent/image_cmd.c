/* `sampan image`: the image store by hand. Works on the directory itself, under its locks, whether
 * an agent runs or not. */
#include "agent/agent.h"
#include "agent/image_store.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"

#include <stdio.h>
#include <unistd.h>

static const char about[] =
    "The images on this machine. Commands:\n"
    "  import FILE [NAME]   add the image(s) of an OCI or docker archive, or of the directory of "
    "an\n"
    "                       OCI layout; NAME replaces the name given in the archive\n"
    "  pull REFERENCE       fetch from a registry\n"
    "  ls                   what is here\n"
    "  rm REFERENCE...      remove names, then whatever no name and no container uses any more\n"
    "  gc                   only the latter";

static const char examples[] = "  sampan image import nginx.tar\n"
                               "  sampan image pull quay.io/team/app:1.2\n"
                               "  sampan image pull localhost:5000/app@sha256:...";

typedef struct bar {
    bool terminal, shown;
    int64_t last_ms;
} bar;

/* At most ten times a second; on a terminal only. */
static void show(void *ctx, const char *what, int64_t done, int64_t total) {
    bar *b = ctx;
    int64_t now = sp_clock_mono_ms();
    if (!b->terminal || (b->shown && now - b->last_ms < 100)) return;
    b->last_ms = now;
    b->shown = true;
    int cells = total > 0 ? (int)(SP_MIN(done, total) * 30 / total) : 0;
    fprintf(stderr, "\r\033[K%-28s [%.*s%*s] %.1f", what, cells, "##############################",
            30 - cells, "", (double)done / 1e6);
    if (total > 0)
        fprintf(stderr, " / %.1f MB", (double)total / 1e6);
    else
        fputs(" MB", stderr);
}

static void clear(bar *b) {
    if (b->shown) fputs("\r\033[K", stderr);
    b->shown = false;
}

static int complain(bar *b, const sp_err *err) {
    clear(b);
    fprintf(stderr, "sampan image: %s\n", err->text);
    return 1;
}

static int do_import(sp_image_store *s, int argc, char **argv) {
    sp_err err = {0};
    bar b = {.terminal = isatty(STDERR_FILENO)};
    sp_auto(sp_buf) added = {0};
    sp_str name = argc > 1 ? sp_str_z(argv[1]) : (sp_str){0};
    if (!sp_image_import(s, argv[0], name, show, &b, &added, &err)) return complain(&b, &err);
    clear(&b);
    fputs(sp_buf_z(&added), stdout);
    return 0;
}

static int do_pull(sp_image_store *s, int argc, char **argv) {
    (void)argc;
    sp_err err = {0};
    bar b = {.terminal = isatty(STDERR_FILENO)};
    char digest[72];
    if (!sp_image_pull(s, sp_str_z(argv[0]), show, &b, digest, &err)) return complain(&b, &err);
    clear(&b);
    printf("%s %s\n", argv[0], digest);
    return 0;
}

static int do_ls(sp_image_store *s, int argc, char **argv) {
    (void)argc, (void)argv;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_images images = {0};
    sp_err err = {0};
    bar none = {0};
    if (!sp_image_list(s, a, &images, &err)) return complain(&none, &err);
    printf("%-50s %-14s %s\n", "NAME", "DIGEST", "SIZE");
    sp_vec_each(&images, i)
        printf("%-50.*s %-14.12s %.1f MB\n", SP_ARG(sp_image_ref_familiar(i->name)),
               i->digest.p + 7, (double)i->size_bytes / 1e6);
    sp_vec_free(&images);
    return 0;
}

static int do_gc(sp_image_store *s, int argc, char **argv) {
    (void)argc, (void)argv;
    sp_image_gc_result r;
    sp_err err = {0};
    bar none = {0};
    if (!sp_image_gc(s, &r, &err)) return complain(&none, &err);
    printf("freed %zu blobs (%.1f MB) and %zu unpacked layers\n", r.blobs, (double)r.bytes / 1e6,
           r.layers);
    return 0;
}

static int do_rm(sp_image_store *s, int argc, char **argv) {
    int rc = 0;
    for (int i = 0; i < argc; i++) {
        sp_err err = {0};
        bar none = {0};
        if (sp_image_untag(s, sp_str_z(argv[i]), &err))
            printf("removed %s\n", argv[i]);
        else
            rc = complain(&none, &err);
    }
    int swept = do_gc(s, 0, NULL);
    return rc ? rc : swept;
}

static const struct {
    const char *name;
    int min, max;
    int (*run)(sp_image_store *s, int argc, char **argv);
} commands[] = {
    {"import", 1, 2, do_import}, {"pull", 1, 1, do_pull}, {"ls", 0, 0, do_ls},
    {"list", 0, 0, do_ls},       {"rm", 1, 1000, do_rm},  {"gc", 0, 0, do_gc},
};

static int bad_usage(const char *why, const char *what) {
    fprintf(stderr, "sampan image: %s%s; see sampan image --help\n", why, what);
    return 2;
}

/* `sampan up` keeps its agent in a directory of its own; both may be named. */
static void find_data_dir(const char *given, sp_buf *ret) {
    const char *env = getenv("SAMPAN_DATA_DIR");
    sp_buf_addz(ret, given ? given : env && *env ? env : "/var/lib/sampan");
    size_t n = ret->n;
    sp_buf_addz(ret, "/agent");
    if (sp_file_exists(ret->p)) return;
    ret->n = n;
    ret->p[n] = 0;
}

static int run_command(int argc, char **argv, const char *data_dir) {
    for (size_t i = 0; i < SP_COUNT(commands); i++) {
        if (strcmp(commands[i].name, argv[0]) != 0) continue;
        if (argc - 1 < commands[i].min) return bad_usage("an argument is missing after ", argv[0]);
        if (argc - 1 > commands[i].max) return bad_usage("too many arguments after ", argv[0]);
        sp_auto(sp_buf) dir = {0};
        sp_image_store *s = NULL;
        sp_err err = {0};
        bar none = {0};
        find_data_dir(data_dir, &dir);
        if (!sp_image_store_open(dir.p, &s, &err)) {
            int rc = complain(&none, &err);
            if (geteuid() != 0) fprintf(stderr, "The images belong to root: use sudo.\n");
            return rc;
        }
        int rc = commands[i].run(s, argc - 1, argv + 1);
        sp_image_store_free(s);
        return rc;
    }
    return bad_usage("unknown command: ", argv[0]);
}

int sp_image_main(int argc, char **argv) {
    const char *data_dir = NULL;
    const sp_flag flags[] = {
        {"data-dir", 0, SP_FLAG_STR, &data_dir, "DIR",
         "the agent's directory, or that of sampan up (default $SAMPAN_DATA_DIR, else "
         "/var/lib/sampan)"},
    };
    const sp_usage usage = {"sampan image", "[flags] COMMAND [arguments]", about, examples, flags,
                            SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    if (argc < 2) return bad_usage("a command is missing", "");
    return run_command(argc - 1, argv + 1, data_dir);
}
