/* See files.h. One reading is a value (arena, objects, problems) made by read_all, which blocks on
 * files and names; after the start it runs on libuv's pool, one at a time. */
#include "gateway/files.h"
#include "base/file.h"
#include "base/log.h"
#include "data/yaml.h"
#include "gateway/haproxy/haproxy.h"
#include "gateway/vip/keepalived.h"
#include "net/loop.h"

#include <dirent.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 8 * 1024 * 1024, MAX_DIR_FILES = 200, MAX_ADDRESSES = 64 };

typedef struct reading {
    sp_arena *arena;
    sp_haproxy_config config;
    sp_map names;       /* name of a server → its addresses now (sp_strs of the arena) */
    const sp_map *last; /* the same of the reading before, or NULL */
} reading;

struct sp_files {
    char *path;
    sp_buf text; /* of the last good file */
    uv_loop_t *loop;
    sp_build *build;
    reading *current;
    sp_timer *again;
    bool reload_asked;
    struct job *job;
    void (*ready)(void *ctx);
    void *ctx;
};

/* --- what the reader asks for --- */

static sp_str variable(void *ctx, sp_str name) {
    (void)ctx;
    char z[256];
    if (name.n >= sizeof z) return (sp_str){0};
    memcpy(z, name.p, name.n);
    z[name.n] = 0;
    return sp_str_z(getenv(z));
}

static int by_name(const void *a, const void *b) {
    return sp_str_cmp(*(const sp_str *)a, *(const sp_str *)b);
}

/* Names in order, as haproxy loads a directory; keys and stray files are passed over. */
static bool list_directory(sp_arena *a, const char *path, sp_strs *ret, sp_err *err) {
    static const char *const not_certs[] = {".key", ".issuer", ".ocsp", ".sctl"};
    DIR *d = opendir(path);
    if (!d) return sp_fail_errno(err, errno, "%s", path);
    for (struct dirent *e; (e = readdir(d));) {
        sp_str name = sp_str_z(e->d_name);
        bool skip = name.p[0] == '.';
        for (size_t i = 0; i < SP_COUNT(not_certs); i++)
            skip |= sp_str_ends(name, sp_str_z(not_certs[i]));
        if (!skip) sp_vec_push(ret, sp_arena_str(a, name));
    }
    closedir(d);
    if (ret->n) qsort(ret->p, ret->n, sizeof *ret->p, by_name);
    if (ret->n > MAX_DIR_FILES)
        return sp_fail(err, SP_TOO_LARGE, "%s holds more than %d files", path, MAX_DIR_FILES);
    return true;
}

static bool read_one(const char *path, sp_buf *b, sp_err *err) {
    return sp_file_read(path, MAX_FILE, b, err);
}

static bool read_directory(sp_arena *a, const char *path, sp_buf *b, sp_err *err) {
    sp_strs names = {0};
    bool ok = list_directory(a, path, &names, err);
    for (size_t i = 0; ok && i < names.n; i++) {
        sp_str full = sp_arena_printf(a, "%s/%.*s", path, SP_ARG(names.p[i]));
        if (i) sp_buf_addc(b, '\f');
        ok = read_one(full.p, b, err);
    }
    sp_vec_free(&names);
    return ok;
}

static bool read_file(void *ctx, sp_arena *a, sp_str path, sp_str *ret, sp_err *err) {
    (void)ctx;
    struct stat st;
    sp_auto(sp_buf) b = {0};
    const char *z = sp_arena_strz(a, path);
    bool dir = stat(z, &st) == 0 && S_ISDIR(st.st_mode);
    if (!(dir ? read_directory(a, z, &b, err) : read_one(z, &b, err))) return false;
    *ret = sp_arena_str(a, sp_buf_str(&b));
    return true;
}

static bool look_up(sp_arena *a, const char *name, sp_strs *ret, sp_err *err) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(name, NULL, &hints, &found);
    if (code) return sp_fail(err, SP_NOT_FOUND, "%s: %s", name, gai_strerror(code));
    for (struct addrinfo *i = found; i && ret->n < MAX_ADDRESSES; i = i->ai_next) {
        struct sockaddr_storage ss = {0};
        char text[SP_ADDR_MAX];
        memcpy(&ss, i->ai_addr, i->ai_addrlen);
        sp_addr addr = sp_addr_from_sock(&ss);
        if (!addr.family) continue;
        sp_addr_format_ip(&addr, text);
        sp_vec_push(ret, sp_arena_str(a, sp_str_z(text)));
    }
    freeaddrinfo(found);
    if (ret->n) qsort(ret->p, ret->n, sizeof *ret->p, by_name);
    return true;
}

static void remember(reading *r, sp_str name, const sp_strs *addresses) {
    sp_strs *kept = SP_NEW(r->arena, sp_strs);
    kept->p = sp_arena_alloc(r->arena, (addresses->n + 1) * sizeof *kept->p);
    for (size_t i = 0; i < addresses->n; i++)
        kept->p[kept->n++] = sp_arena_str(r->arena, addresses->p[i]);
    sp_map_put(&r->names, name, kept);
}

/* A name that is not found any more keeps the addresses it had (init-addr last,libc). */
static bool resolve(void *ctx, sp_arena *a, sp_str name, sp_strs *ret, sp_err *err) {
    reading *r = ctx;
    const sp_strs *known = sp_map_get(&r->names, name);
    sp_strs fresh = {0};
    if (!known && look_up(a, sp_arena_strz(a, name), &fresh, err)) {
        remember(r, name, &fresh);
    } else if (!known && r->last && (known = sp_map_get(r->last, name))) {
        remember(r, name, known);
    }
    sp_vec_free(&fresh);
    known = sp_map_get(&r->names, name);
    if (known) sp_vec_each(known, ip) sp_vec_push(ret, *ip);
    return known != NULL;
}

static reading *read_text(sp_str text, const sp_map *last) {
    reading *r = sp_zalloc(1, sizeof *r);
    r->arena = sp_arena_new();
    r->last = last;
    sp_haproxy_options o = {r, variable, read_file, resolve};
    sp_haproxy_read(r->arena, text, &o, &r->config);
    r->last = NULL;
    return r;
}

static reading *free_reading(reading *r) {
    if (!r) return NULL;
    sp_haproxy_config_free(&r->config);
    sp_map_free(&r->names);
    sp_arena_free(r->arena);
    free(r);
    return NULL;
}

/* --- documents to the view --- */

static const struct {
    const char *kind;
    size_t list;
} kinds[] = {
    {"Service", offsetof(sp_cluster_view, services)},
    {"EndpointSlice", offsetof(sp_cluster_view, slices)},
    {"GatewayClass", offsetof(sp_cluster_view, gateway_classes)},
    {"Gateway", offsetof(sp_cluster_view, gateways)},
    {"HTTPRoute", offsetof(sp_cluster_view, routes)},
    {"TLSRoute", offsetof(sp_cluster_view, tls_routes)},
    {"TCPRoute", offsetof(sp_cluster_view, tcp_routes)},
    {"BackendPolicy", offsetof(sp_cluster_view, backend_policies)},
    {"TrafficPolicy", offsetof(sp_cluster_view, traffic_policies)},
    {"BackendTLSPolicy", offsetof(sp_cluster_view, backend_tls_policies)},
    {"Secret", offsetof(sp_cluster_view, secrets)},
    {"ConfigMap", offsetof(sp_cluster_view, config_maps)},
};

static void view_of(const sp_json_docs *docs, sp_cluster_view *ret) {
    sp_vec_each(docs, d) {
        sp_str kind = sp_obj_kind(*d);
        for (size_t i = 0; i < SP_COUNT(kinds); i++) {
            if (!sp_str_eqz(kind, kinds[i].kind)) continue;
            sp_obj_list *list = (sp_obj_list *)(void *)((char *)ret + kinds[i].list);
            sp_vec_push(list, *d);
        }
    }
}

static void view(void *ctx, sp_cluster_view *ret) {
    view_of(&((const sp_files *)ctx)->current->config.objects, ret);
}

/* --- telling --- */

static void print_problem(const char *path, unsigned line, const char *what, sp_str text) {
    if (line)
        fprintf(stderr, "%s:%u: %s: %.*s\n", path, line, what, SP_ARG(text));
    else
        fprintf(stderr, "%s: %s: %.*s\n", path, what, SP_ARG(text));
}

static void print_problems(const char *path, const sp_haproxy_config *c, bool notes) {
    static const char *const words[] = {"note", "warning", "error"};
    sp_vec_each(&c->problems, p) {
        if (notes || p->severity != SP_CONFIG_NOTE)
            print_problem(path, p->line, words[p->severity], p->text);
    }
}

static void log_problems(const sp_files *f, const sp_haproxy_config *c) {
    sp_vec_each(&c->problems, p) {
        if (p->severity == SP_CONFIG_ERROR)
            sp_error("haproxy.cfg", SP_KV("file", f->path), SP_KV("line", p->line),
                     SP_KV("why", p->text));
        else if (p->severity == SP_CONFIG_WARNING)
            sp_warn("haproxy.cfg", SP_KV("file", f->path), SP_KV("line", p->line),
                    SP_KV("why", p->text));
    }
}

/* --- reading again --- */

typedef struct job {
    uv_work_t work;  /* first */
    sp_files *files; /* NULL: nobody waits any more */
    bool reload;     /* the file is read anew; else only names are looked up */
    char *path;
    sp_buf text;
    sp_map last; /* copied: the reading it came from may go */
    sp_arena *last_arena;
    reading *result;
    sp_err err;
} job;

static void start_job(sp_files *f, bool reload);

static void plan_next(sp_files *f);

static void run_job(uv_work_t *w) {
    job *j = (job *)w;
    sp_buf fresh = {0};
    if (j->reload) {
        if (!sp_file_read(j->path, MAX_FILE, &fresh, &j->err)) {
            sp_buf_free(&fresh);
            return;
        }
        sp_buf_free(&j->text);
        j->text = fresh;
    }
    j->result = read_text(sp_buf_str(&j->text), &j->last);
}

static bool same_objects(const reading *a, const reading *b) {
    if (a->config.objects.n != b->config.objects.n) return false;
    for (size_t i = 0; i < a->config.objects.n; i++)
        if (!sp_json_equal(a->config.objects.p[i], b->config.objects.p[i])) return false;
    return true;
}

static void take_result(sp_files *f, job *j) {
    if (j->reload) log_problems(f, &j->result->config);
    if (j->result->config.errors) {
        sp_error("the file is not taken; what was served before goes on", SP_KV("file", f->path),
                 SP_KV("errors", (unsigned long long)j->result->config.errors));
        return;
    }
    bool same = same_objects(f->current, j->result);
    free_reading(f->current);
    f->current = sp_steal(j->result);
    sp_buf_free(&f->text);
    f->text = j->text;
    j->text = (sp_buf){0};
    if (!same) sp_build_soon(f->build);
    if (j->reload || !same)
        sp_info("configuration read", SP_KV("file", f->path), SP_KV("changed", !same));
}

static void free_job(job *j) {
    free_reading(j->result);
    sp_map_free(&j->last);
    sp_arena_free(j->last_arena);
    sp_buf_free(&j->text);
    free(j->path);
    free(j);
}

static void job_done(uv_work_t *w, int status) {
    (void)status;
    job *j = (job *)w;
    sp_files *f = j->files;
    if (f) {
        f->job = NULL;
        if (j->result)
            take_result(f, j);
        else
            sp_error("the file cannot be read; what was served before goes on",
                     SP_KV("file", f->path), SP_KV("why", j->err.text));
        if (f->reload_asked)
            start_job(f, true);
        else
            plan_next(f);
    }
    free_job(j);
}

static void copy_names(job *j, const sp_map *from) {
    sp_str name;
    void *value;
    j->last_arena = sp_arena_new();
    for (size_t at = 0; sp_map_next(from, &at, &name, &value);) {
        const sp_strs *old = value;
        sp_strs *copy = SP_NEW(j->last_arena, sp_strs);
        copy->p = sp_arena_alloc(j->last_arena, (old->n + 1) * sizeof *copy->p);
        sp_vec_each(old, ip) copy->p[copy->n++] = sp_arena_str(j->last_arena, *ip);
        sp_map_put(&j->last, name, copy);
    }
}

static void start_job(sp_files *f, bool reload) {
    job *j = sp_zalloc(1, sizeof *j);
    f->reload_asked = false;
    f->again = sp_timer_stop(f->again);
    f->job = j;
    j->files = f;
    j->reload = reload;
    j->path = sp_str_dup(sp_str_z(f->path));
    sp_buf_add(&j->text, sp_buf_str(&f->text));
    copy_names(j, &f->current->names);
    sp_assert(uv_queue_work(f->loop, &j->work, run_job, job_done) == 0);
}

static void look_again(void *ctx) {
    sp_files *f = ctx;
    f->again = NULL;
    if (!f->job) start_job(f, false);
}

static void plan_next(sp_files *f) {
    uint32_t ms = f->current->config.resolve_every_ms;
    if (ms && !f->again) f->again = sp_timer_start(f->loop, ms, look_again, f);
}

void sp_files_reload(sp_files *f) {
    if (f->job)
        f->reload_asked = true;
    else
        start_job(f, true);
}

/* --- life --- */

bool sp_files_open(const sp_files_paths *p, sp_files **ret, sp_files_limits *ret_limits,
                   sp_err *err) {
    sp_buf text = {0};
    if (!sp_file_read(p->haproxy, MAX_FILE, &text, err)) {
        sp_buf_free(&text);
        return sp_err_wrap(err, "--haproxy-cfg");
    }
    reading *r = read_text(sp_buf_str(&text), NULL);
    print_problems(p->haproxy, &r->config, false);
    if (r->config.errors) {
        sp_fail(err, SP_INVALID, "%s has %zu error%s", p->haproxy, r->config.errors,
                r->config.errors == 1 ? "" : "s");
        free_reading(r);
        sp_buf_free(&text);
        return false;
    }
    sp_files *f = sp_zalloc(1, sizeof *f);
    f->path = sp_str_dup(sp_str_z(p->haproxy));
    f->text = text;
    f->current = r;
    *ret_limits = (sp_files_limits){r->config.max_connections, r->config.grace_ms};
    *ret = f;
    return true;
}

static void on_ready(void *ctx) {
    sp_files *f = ctx;
    if (f->ready) f->ready(f->ctx);
}

static void on_ports(void *ctx) {
    (void)ctx; /* build.c logs what is not served */
}

void sp_files_start(sp_files *f, uv_loop_t *loop, sp_fleet *fleet, const sp_translate_options *o,
                    const sp_build_beyond *beyond, void (*ready)(void *ctx), void *ctx) {
    sp_build_config c = {.loop = loop,
                         .fleet = fleet,
                         .options = *o,
                         .view = view,
                         .ready = on_ready,
                         .changed = on_ports,
                         .ctx = f,
                         .beyond = *beyond};
    f->loop = loop;
    f->ready = ready;
    f->ctx = ctx;
    f->build = sp_build_new(&c);
    sp_build_now(f->build);
    plan_next(f);
}

sp_build *sp_files_build(sp_files *f) {
    return f->build;
}

sp_files *sp_files_free(sp_files *f) {
    if (!f) return NULL;
    if (f->job) f->job->files = NULL;
    sp_timer_stop(f->again);
    sp_build_free(f->build);
    free_reading(f->current);
    sp_buf_free(&f->text);
    free(f->path);
    free(f);
    return NULL;
}

/* --- the command line --- */

static void print_objects(const sp_json_docs *docs) {
    sp_vec_each(docs, d) {
        sp_auto(sp_buf) b = {0};
        sp_buf_addz(&b, "---\n");
        sp_yaml_write(&b, *d);
        if (b.n && b.p[b.n - 1] != '\n') sp_buf_addc(&b, '\n');
        fwrite(b.p, 1, b.n, stdout);
    }
}

static sp_translate_options check_options(void) {
    sp_translate_options o = {.node_address = "0.0.0.0"};
    sp_assert(sp_addr_parse(SP_STR("0.0.0.0"), 0, &o.bind));
    return o;
}

/* Ports that somebody else holds now, and what the translation itself refuses. */
static void check_ports(const char *path, const sp_haproxy_config *config) {
    sp_cluster_view v = {0};
    sp_translate_options o = check_options();
    char who[200];
    view_of(&config->objects, &v);
    sp_translation *t = sp_translate(&v, &o);
    for (size_t i = 0; i < t->config->listener_count; i++) {
        const sp_listener_spec *l = &t->config->listeners[i];
        if (!sp_port_owner(&l->addr, NULL, 0, who, sizeof who)) continue;
        fprintf(stderr, "%s: warning: port %u is used by %s now\n", path, l->addr.port, who);
    }
    sp_vec_each(&t->refusals, r) {
        fprintf(stderr, "%s: warning: %.*s: %.*s\n", path, SP_ARG(r->owner), SP_ARG(r->text));
    }
    sp_translation_free(t);
    sp_cluster_view_free(&v);
}

static size_t check_haproxy(const char *path, bool objects) {
    sp_auto(sp_buf) text = {0};
    sp_err err = {0};
    if (!sp_file_read(path, MAX_FILE, &text, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    reading *r = read_text(sp_buf_str(&text), NULL);
    size_t errors = r->config.errors;
    print_problems(path, &r->config, true);
    if (!errors && objects) print_objects(&r->config.objects);
    if (!errors && !objects) check_ports(path, &r->config);
    free_reading(r);
    return errors;
}

static size_t print_vip_problems(const char *path, const sp_vip_problems *list) {
    size_t errors = 0;
    sp_vec_each(list, p) {
        errors += p->fatal;
        print_problem(path, p->line, p->fatal ? "error" : "note", p->text);
    }
    return errors;
}

static void print_vip_objects(sp_vip_config *c, const char *path) {
    sp_vip_problems lost = {0};
    sp_arena *a = sp_arena_new();
    const sp_json *list = sp_vip_config_objects(a, c, &lost);
    sp_json_docs docs = {0};
    sp_json_each(list, o) sp_vec_push(&docs, o);
    print_objects(&docs);
    print_vip_problems(path, &lost);
    sp_vec_free(&docs);
    sp_vec_free(&lost);
    sp_arena_free(a);
}

static size_t check_keepalived(const char *path, bool objects) {
    sp_vip_problems problems = {0};
    sp_vip_config *c = NULL;
    sp_err err = {0};
    if (!sp_keepalived_conf_load(path, &(sp_keepalived_options){0}, &c, &problems, &err)) {
        fprintf(stderr, "%s\n", err.text);
        sp_vec_free(&problems);
        return 1;
    }
    size_t errors = print_vip_problems(path, &problems);
    if (!errors && objects) print_vip_objects(c, path);
    sp_vec_free(&problems);
    sp_vip_config_free(c);
    return errors;
}

int sp_files_check(const sp_files_paths *p, bool objects) {
    size_t errors = 0;
    if (!p->haproxy && !p->keepalived) {
        fprintf(stderr, "sampan gateway: --check and --print-objects need --haproxy-cfg FILE or "
                        "--keepalived-conf FILE\n");
        return 2;
    }
    if (p->haproxy) errors += check_haproxy(p->haproxy, objects);
    if (p->keepalived) errors += check_keepalived(p->keepalived, objects);
    fflush(stdout);
    if (!errors && !objects) printf("configuration is valid\n");
    if (errors) fprintf(stderr, "%zu error%s\n", errors, errors == 1 ? "" : "s");
    return errors ? 1 : 0;
}
