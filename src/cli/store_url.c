#include "cli/store_url.h"

#include "base/file.h"

#include <errno.h>
#include <unistd.h>

enum { WINDOW = 128 }; /* writes under way at once */

/* A name with a slip would be read as an empty store. */
static bool must_exist(const char *file, sp_err *err) {
    return access(file, F_OK) == 0 || sp_fail_errno(err, errno, "there is no store");
}

static bool make_dir_of(const char *file, sp_err *err) {
    sp_auto(sp_buf) dir = {0};
    const char *slash = strrchr(file, '/');
    if (!slash || slash == file) return true;
    sp_buf_printf(&dir, "%.*s", (int)(slash - file), file);
    return sp_mkdir_all(dir.p, 0700, err);
}

static bool read_wish(sp_store_at *s, const sp_store_wish *w, sp_err *err) {
    bool bare = !strstr(w->url, "://") && strncmp(w->url, "sqlite:", 7) != 0;
    if (w->login) {
        s->flags.ca = w->login->ca;
        s->flags.cert = w->login->cert;
        s->flags.key = w->login->key;
        s->flags.user = w->login->user;
        s->flags.password_file = w->login->password_file;
    }
    s->flags.store = bare ? NULL : w->url;
    if (!sp_store_flags_read(&s->flags, err)) return false;
    if (bare) s->flags.path = w->url;
    return !w->revision || s->flags.etcd.endpoints.n ||
           sp_fail(err, SP_BAD_REQUEST,
                   "a file keeps only the newest state when nobody serves it: --revision is for "
                   "etcd, or for a running API server");
}

bool sp_store_at_open(sp_store_at *s, const sp_store_wish *w, sp_err *err) {
    sp_store_config c = {.first_revision = w->first_revision};
    uv_loop_init(&s->loop);
    if (!read_wish(s, w, err)) return sp_err_wrap(err, "%s", w->url);
    c.path = s->flags.path;
    c.etcd = s->flags.etcd.endpoints.n ? &s->flags.etcd : NULL;
    c.etcd_prefix = s->flags.prefix;
    c.etcd_look = !w->fill;
    c.etcd_revision = w->revision;
    if (!c.etcd && !(w->fill ? make_dir_of(c.path, err) : must_exist(c.path, err)))
        return sp_err_wrap(err, "%s", w->url);
    bool ok = c.etcd ? sp_store_open_etcd(&s->loop, &c, &s->store, err)
                     : sp_store_open(&s->loop, &c, &s->store, err);
    return ok || sp_err_wrap(err, "%s", w->url);
}

static void on_closed(void *ctx) {
    *(bool *)ctx = true;
}

void sp_store_at_close(sp_store_at *s) {
    bool closed = !s->store;
    if (s->store) sp_store_close(s->store, on_closed, &closed);
    while (!closed) uv_run(&s->loop, UV_RUN_ONCE);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&s->loop);
    sp_store_flags_free(&s->flags);
    s->store = NULL;
}

/* --- reading --- */

static bool collect(void *ctx, sp_str key, sp_store_value *v) {
    sp_store_entries *list = ctx;
    sp_vec_push(list, ((sp_store_entry){sp_str_dup(key), sp_store_value_ref(v)}));
    return true;
}

static int by_rev(const void *a, const void *b) {
    const sp_store_entry *x = a, *y = b;
    return x->value->rev < y->value->rev ? -1 : x->value->rev > y->value->rev;
}

void sp_store_entries_read(sp_store *s, sp_store_entries *ret) {
    (void)!sp_store_range(s, SP_STR("/registry/"), SP_STR(""), 0, collect, ret, NULL);
    if (ret->n) qsort(ret->p, ret->n, sizeof *ret->p, by_rev);
}

void sp_store_entries_free(sp_store_entries *list) {
    sp_vec_each(list, e) {
        free(e->key);
        sp_store_value_unref(e->value);
    }
    sp_vec_free(list);
}

/* --- filling --- */

struct sp_store_filler {
    sp_store_at *at;
    size_t flying;
    sp_err err;
};

sp_store_filler *sp_store_filler_new(sp_store_at *s) {
    sp_store_filler *f = sp_zalloc(1, sizeof *f);
    f->at = s;
    return f;
}

static void on_put(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    sp_store_filler *f = ctx;
    (void)rev, (void)value;
    f->flying--;
    if (err && !f->err.code) f->err = *err;
}

static bool wait_for(sp_store_filler *f, size_t at_most, sp_err *err) {
    while (f->flying > at_most) uv_run(&f->at->loop, UV_RUN_ONCE);
    if (!f->err.code) return true;
    if (err) *err = f->err;
    return false;
}

/* On a file the order of submission is the order of revisions; etcd orders what is under way as it
 * likes, so there each waits for the one before. */
static bool write_one(sp_store_filler *f, const sp_store_write *w, sp_err *err) {
    size_t window = sp_store_is_shared(f->at->store) ? 0 : WINDOW;
    if (!wait_for(f, window, err)) return false;
    f->flying++;
    sp_store_submit(f->at->store, w, on_put, f);
    return true;
}

bool sp_store_filler_put(sp_store_filler *f, sp_str key, sp_str value, uint32_t rev_at,
                         uint64_t expect, sp_err *err) {
    const sp_store_write w = {.key = key, .value = value, .rev_at = rev_at, .expect = expect};
    return write_one(f, &w, err);
}

bool sp_store_filler_remove(sp_store_filler *f, sp_str key, uint64_t expect, sp_err *err) {
    const sp_store_write w = {.key = key, .remove = true, .expect = expect};
    return write_one(f, &w, err);
}

bool sp_store_filler_finish(sp_store_filler *f, sp_err *err) {
    bool ok = wait_for(f, 0, err);
    while (f->flying) uv_run(&f->at->loop, UV_RUN_ONCE);
    free(f);
    return ok;
}
