/* One informer is one state machine: LIST (page by page) → WATCH → … A broken or ended watch starts
 * again from the last revision seen, 410 goes back to LIST; both wait with growing, jittered pauses
 * while the server cannot be reached.
 *
 * Objects are kept sorted by (namespace, name) in one array: a collection listed by the server
 * arrives in that order, so filling is appending, a namespace is one run, and lookups are binary
 * searches. Each object is packed into one block of memory (nodes first, then its strings);
 * metadata.managedFields is left out, nobody here reads it. */
#include "kube/informer.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/rng.h"
#include "kube/workqueue.h"

#include <stdio.h>

enum {
    PAGE_SIZE = 500,
    WATCH_MIN_S = 300, /* a watch is renewed after 5 to 10 minutes */
    WATCH_GRACE_MS = 60000,
    SHORT_WATCH_MS = 1000, /* one that ends sooner counts as a failure */
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 10000,
    RETRY_MISSING_MS = 30000, /* the server does not know the kind */
    REFUSALS_TO_LIST = 3,
    MAX_LINE_BYTES = 16 * 1024 * 1024
};

typedef struct entry {
    sp_json *obj;       /* packed, owned */
    uint64_t seen_list; /* number of the LIST that held it last */
} entry;

typedef SP_VEC(const sp_json *) bucket;

typedef struct listener {
    sp_informer_handler *fn;
    void *ctx;
} listener;

typedef struct waiter {
    void (*fn)(void *ctx);
    void *ctx;
} waiter;

struct sp_informer {
    sp_kube *kube;
    sp_informer_config config;
    char *namespace_, *label_selector, *field_selector;
    SP_VEC(entry) entries;
    sp_map owned; /* uid → bucket */
    SP_VEC(listener) listeners;
    SP_VEC(waiter) on_synced, on_progress;
    uv_timer_t *timer;
    void (*timer_fn)(sp_informer *);
    sp_http_call *call;
    bool watching, synced, must_list, in_trouble;
    uint64_t revision, list_number;
    char *continue_;
    int failures;
    int64_t watch_started_ms;
    int64_t touch_ms; /* since when in touch, 0 = not */
    sp_buf line;
    sp_arena *scratch;
};

static void list_start(sp_informer *i);
static void watch_start(sp_informer *i);

/* ---------- the sorted store ---------- */

static int compare(const sp_json *obj, sp_str ns, sp_str name) {
    int c = sp_str_cmp(sp_obj_namespace(obj), ns);
    return c ? c : sp_str_cmp(sp_obj_name(obj), name);
}

/* Where (ns, name) is or would be. */
static size_t position(const sp_informer *i, sp_str ns, sp_str name, bool *ret_found) {
    size_t low = 0, high = i->entries.n;
    *ret_found = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = compare(i->entries.p[mid].obj, ns, name);
        if (c == 0) *ret_found = true;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static sp_str owner_uid(const sp_json *obj) {
    return sp_json_str(sp_json_get(sp_obj_controller(obj), "uid"));
}

static void index_add(sp_informer *i, const sp_json *obj) {
    sp_str uid = owner_uid(obj);
    if (!uid.n) return;
    bucket *b = sp_map_get(&i->owned, uid);
    if (!b) sp_map_put(&i->owned, uid, b = sp_zalloc(1, sizeof *b));
    sp_vec_push(b, obj);
}

static void index_remove(sp_informer *i, const sp_json *obj) {
    sp_str uid = owner_uid(obj);
    bucket *b = uid.n ? sp_map_get(&i->owned, uid) : NULL;
    for (size_t at = 0; b && at < b->n; at++)
        if (b->p[at] == obj) {
            sp_vec_remove(b, at);
            break;
        }
    if (!b || b->n) return;
    sp_map_del(&i->owned, uid);
    sp_vec_free(b);
    free(b);
}

static void tell(sp_informer *i, const sp_json *old, const sp_json *obj) {
    for (size_t n = 0; n < i->listeners.n; n++)
        i->listeners.p[n].fn(i->listeners.p[n].ctx, old, obj);
}

static void insert_at(sp_informer *i, size_t at, entry e) {
    sp_vec_push(&i->entries, e);
    memmove(i->entries.p + at + 1, i->entries.p + at, (i->entries.n - 1 - at) * sizeof e);
    i->entries.p[at] = e;
}

/* Lists leave kind and apiVersion of their items out; owners are told apart by them. */
static void complete(sp_informer *i, sp_json *obj) {
    sp_arena *a = i->scratch;
    if (i->config.metadata_only) {
        sp_json *meta = sp_json_get(obj, "metadata");
        sp_json *kind = sp_json_get(obj, "kind"), *api = sp_json_get(obj, "apiVersion");
        obj->first = obj->last = NULL;
        obj->count = 0;
        if (api) sp_json_set(a, obj, "apiVersion", api);
        if (kind) sp_json_set(a, obj, "kind", kind);
        if (meta) sp_json_set(a, obj, "metadata", meta);
        sp_json_remove(meta, "annotations");
        sp_json_remove(meta, "labels");
    }
    sp_json_remove(sp_json_get(obj, "metadata"), "managedFields");
    if (!sp_json_get(obj, "kind")) sp_json_set_z(a, obj, "kind", i->config.gvr->kind);
    if (!sp_json_get(obj, "apiVersion"))
        sp_json_set(a, obj, "apiVersion", sp_json_new_str(a, sp_gvr_api_version(a, i->config.gvr)));
}

static void upsert(sp_informer *i, sp_json *fresh) {
    bool found;
    size_t at = position(i, sp_obj_namespace(fresh), sp_obj_name(fresh), &found);
    sp_json *old = found ? i->entries.p[at].obj : NULL;
    if (old && sp_obj_rv(old) == sp_obj_rv(fresh)) {
        i->entries.p[at].seen_list = i->list_number;
        return;
    }
    complete(i, fresh);
    entry e = {.obj = sp_json_pack(fresh), .seen_list = i->list_number};
    if (old) {
        index_remove(i, old);
        i->entries.p[at] = e;
    } else {
        insert_at(i, at, e);
    }
    index_add(i, e.obj);
    tell(i, old, e.obj);
    free(old);
}

static void remove_at(sp_informer *i, size_t at) {
    sp_json *old = i->entries.p[at].obj;
    index_remove(i, old);
    sp_vec_remove(&i->entries, at);
    tell(i, old, NULL);
    free(old);
}

static void remove_named(sp_informer *i, const sp_json *obj) {
    bool found;
    size_t at = position(i, sp_obj_namespace(obj), sp_obj_name(obj), &found);
    if (found) remove_at(i, at);
}

/* ---------- waiting and retrying ---------- */

static void on_timer(uv_timer_t *t) {
    sp_informer *i = t->data;
    i->timer_fn(i);
}

static void schedule(sp_informer *i, int64_t ms, void (*fn)(sp_informer *)) {
    i->timer_fn = fn;
    uv_timer_start(i->timer, on_timer, (uint64_t)ms, 0);
}

static void report(sp_informer *i, const sp_err *err) {
    bool news = err || i->in_trouble;
    i->in_trouble = err != NULL;
    if (err) i->touch_ms = 0;
    if (news && i->config.trouble) i->config.trouble(i->config.trouble_ctx, i->config.gvr, err);
}

static void retry(sp_informer *i, const sp_err *err, void (*fn)(sp_informer *)) {
    report(i, err);
    int64_t ms = sp_backoff_ms(i->failures++, RETRY_MIN_MS, RETRY_MAX_MS);
    if (err && err->code == SP_NOT_FOUND) ms = RETRY_MISSING_MS;
    schedule(i, ms, fn);
}

static void call_all(const waiter *w, size_t n) {
    for (size_t at = 0; at < n; at++) w[at].fn(w[at].ctx);
}

static void progress(sp_informer *i) {
    call_all(i->on_progress.p, i->on_progress.n);
}

/* ---------- LIST ---------- */

static void add_param(sp_buf *b, const char *key, const char *value) {
    if (!value) return;
    sp_buf_printf(b, "&%s=", key);
    sp_url_encode(b, sp_str_z(value));
}

static sp_str target(sp_informer *i, sp_buf *b, const char *first) {
    sp_str ns = sp_str_z(i->namespace_);
    sp_buf_add(b, sp_gvr_path(i->scratch, i->config.gvr, ns, (sp_str){0}, NULL));
    sp_buf_printf(b, "?%s", first);
    add_param(b, "labelSelector", i->label_selector);
    add_param(b, "fieldSelector", i->field_selector);
    return sp_buf_str(b);
}

static void set_continue(sp_informer *i, const char *token) {
    free(i->continue_);
    i->continue_ = token && *token ? sp_strdup(token) : NULL;
}

static void sweep(sp_informer *i) {
    for (size_t at = i->entries.n; at-- > 0;)
        if (i->entries.p[at].seen_list != i->list_number) remove_at(i, at);
}

static void list_complete(sp_informer *i, uint64_t revision) {
    sweep(i);
    i->revision = revision;
    i->must_list = false;
    report(i, NULL);
    bool first = !i->synced;
    i->synced = true;
    if (first) call_all(i->on_synced.p, i->on_synced.n);
    progress(i);
    watch_start(i);
}

static void listed(void *ctx, int http, const sp_json *page, const sp_err *err) {
    (void)http;
    sp_informer *i = ctx;
    i->call = NULL;
    if (err) {
        if (err->code == SP_GONE || err->code == SP_EXPIRED) set_continue(i, NULL);
        retry(i, err, list_start);
        return;
    }
    const sp_json *items = sp_json_get(page, "items"), *meta = sp_json_get(page, "metadata");
    uint64_t revision = sp_obj_rv(page);
    char *token = sp_strdup(sp_json_get_z(meta, "continue"));
    sp_json_each(items, it) upsert(i, it);
    sp_arena_reset(i->scratch);
    set_continue(i, token);
    free(token);
    if (i->continue_)
        list_start(i);
    else
        list_complete(i, revision);
}

static void list_start(sp_informer *i) {
    if (!i->continue_) i->list_number++;
    sp_auto(sp_buf) b = {0};
    char first[32];
    snprintf(first, sizeof first, "limit=%d", PAGE_SIZE);
    target(i, &b, first);
    add_param(&b, "continue", i->continue_);
    i->watching = false;
    sp_kube_request r = {.method = "GET", .target = sp_buf_str(&b)};
    i->call = sp_kube_call(i->kube, &r, listed, i);
    sp_arena_reset(i->scratch);
}

/* ---------- WATCH ---------- */

static void seen(sp_informer *i, uint64_t revision) {
    if (revision > i->revision) i->revision = revision;
}

static void cancel_watch(sp_informer *i) {
    if (i->call) sp_kube_cancel(i->kube, i->call);
    i->call = NULL;
    i->watching = false;
    sp_buf_clear(&i->line);
}

static void restart(sp_informer *i) {
    cancel_watch(i);
    if (i->must_list)
        list_start(i);
    else
        watch_start(i);
}

/* A failure told inside the stream: not cancelled from its own callback, but in a later turn. */
static void watch_failed(sp_informer *i, const sp_json *status) {
    sp_err err = {0};
    sp_err_from_status(&err, 500, status);
    i->watching = false;
    i->must_list |= err.code == SP_GONE || err.code == SP_EXPIRED;
    retry(i, i->must_list ? NULL : &err, restart);
}

static void on_event(sp_informer *i, sp_json *event) {
    sp_str type = sp_json_str(sp_json_get(event, "type"));
    sp_json *obj = sp_json_get(event, "object");
    if (sp_str_eqz(type, "ERROR")) {
        watch_failed(i, obj);
        return;
    }
    uint64_t revision = sp_obj_rv(obj);
    if (sp_str_eqz(type, "ADDED") || sp_str_eqz(type, "MODIFIED"))
        upsert(i, obj);
    else if (sp_str_eqz(type, "DELETED"))
        remove_named(i, obj);
    seen(i, revision);
    i->failures = 0;
}

static void on_line(sp_informer *i, sp_str line) {
    sp_json *event = NULL;
    sp_err err = {0};
    if (sp_json_parse(i->scratch, line, &event, &err)) {
        on_event(i, event);
    } else {
        i->watching = false;
        retry(i, &err, restart);
    }
    sp_arena_reset(i->scratch);
}

static void watch_data(void *ctx, sp_str bytes) {
    sp_informer *i = ctx;
    for (ptrdiff_t nl; i->watching && (nl = sp_str_chr(bytes, '\n')) >= 0;) {
        sp_str part = sp_str_sub(bytes, 0, (size_t)nl);
        bytes = sp_str_from(bytes, (size_t)nl + 1);
        if (i->line.n) {
            sp_buf_add(&i->line, part);
            part = sp_buf_str(&i->line);
        }
        if (sp_str_trim(part).n) on_line(i, part);
        sp_buf_clear(&i->line);
    }
    if (!i->watching) return;
    if (i->line.n + bytes.n > MAX_LINE_BYTES) {
        i->watching = false;
        schedule(i, RETRY_MAX_MS, restart);
        return;
    }
    sp_buf_add(&i->line, bytes);
    progress(i);
}

static void watch_done(void *ctx, const sp_err *err) {
    sp_informer *i = ctx;
    i->call = NULL;
    if (!i->watching) return; /* a restart is scheduled already */
    i->watching = false;
    sp_buf_free(&i->line);
    if (err && (err->code == SP_GONE || err->code == SP_EXPIRED)) i->must_list = true;
    /* Refused again and again (a revision from the future, say): start over. */
    if (err && err->code != SP_CONNECTION && i->failures >= REFUSALS_TO_LIST) i->must_list = true;
    bool brief = sp_clock_mono_ms() - i->watch_started_ms < SHORT_WATCH_MS;
    if (!brief) i->failures = 0;
    if (err || brief)
        retry(i, i->must_list ? NULL : err, restart);
    else
        schedule(i, 0, restart);
}

static void watch_opened(void *ctx) {
    sp_informer *i = ctx;
    if (!i->touch_ms) i->touch_ms = sp_clock_mono_ms();
    report(i, NULL);
}

static void watch_start(sp_informer *i) {
    uint64_t seconds = WATCH_MIN_S + sp_rng_below(WATCH_MIN_S);
    char first[128];
    snprintf(first, sizeof first,
             "watch=true&allowWatchBookmarks=true&timeoutSeconds=%llu&resourceVersion=%llu",
             (unsigned long long)seconds, (unsigned long long)i->revision);
    sp_auto(sp_buf) b = {0};
    target(i, &b, first);
    i->watching = true;
    i->watch_started_ms = sp_clock_mono_ms();
    schedule(i, (int64_t)seconds * 1000 + WATCH_GRACE_MS, restart); /* should the end get lost */
    i->call =
        sp_kube_stream(i->kube, sp_buf_str(&b), "application/json", watch_data, watch_done, i);
    sp_kube_on_opened(i->kube, i->call, watch_opened);
    sp_arena_reset(i->scratch);
}

/* ---------- life ---------- */

static char *copy_or_null(const char *z) {
    return z ? sp_strdup(z) : NULL;
}

sp_informer *sp_informer_new(sp_kube *k, const sp_informer_config *c) {
    sp_informer *i = sp_zalloc(1, sizeof *i);
    i->kube = k;
    i->config = *c;
    i->namespace_ = copy_or_null(c->namespace_);
    i->label_selector = copy_or_null(c->label_selector);
    i->field_selector = copy_or_null(c->field_selector);
    i->scratch = sp_arena_new();
    i->must_list = true;
    i->timer = sp_zalloc(1, sizeof *i->timer);
    uv_timer_init(sp_kube_loop(k), i->timer);
    i->timer->data = i;
    schedule(i, 0, list_start);
    return i;
}

static void timer_closed(uv_handle_t *h) {
    free(h);
}

static void free_store(sp_informer *i) {
    sp_vec_each(&i->entries, e) free(e->obj);
    sp_vec_free(&i->entries);
    void *b;
    for (size_t at = 0; sp_map_next(&i->owned, &at, NULL, &b);) {
        sp_vec_free((bucket *)b);
        free(b);
    }
    sp_map_free(&i->owned);
}

sp_informer *sp_informer_free(sp_informer *i) {
    if (!i) return NULL;
    if (i->call) sp_kube_cancel(i->kube, i->call);
    uv_close((uv_handle_t *)i->timer, timer_closed);
    free_store(i);
    sp_vec_free(&i->listeners);
    sp_vec_free(&i->on_synced);
    sp_vec_free(&i->on_progress);
    sp_buf_free(&i->line);
    sp_arena_free(i->scratch);
    free(i->namespace_);
    free(i->label_selector);
    free(i->field_selector);
    free(i->continue_);
    free(i);
    return NULL;
}

void sp_informer_on_change(sp_informer *i, sp_informer_handler *fn, void *ctx) {
    sp_vec_push(&i->listeners, {fn, ctx});
    sp_vec_each(&i->entries, e) fn(ctx, NULL, e->obj);
}

bool sp_informer_synced(const sp_informer *i) {
    return i->synced;
}
uint64_t sp_informer_revision(const sp_informer *i) {
    return i->revision;
}

int64_t sp_informer_in_touch_since(const sp_informer *i) {
    return i->touch_ms ? i->touch_ms : sp_clock_mono_ms();
}

void sp_informer_on_synced(sp_informer *i, void (*fn)(void *ctx), void *ctx) {
    sp_vec_push(&i->on_synced, {fn, ctx});
    if (i->synced) fn(ctx);
}

void sp_informer_on_progress(sp_informer *i, void (*fn)(void *ctx), void *ctx) {
    sp_vec_push(&i->on_progress, {fn, ctx});
}

/* ---------- reading ---------- */

const sp_json *sp_informer_get(const sp_informer *i, sp_str ns, sp_str name) {
    bool found;
    size_t at = position(i, ns, name, &found);
    return found ? i->entries.p[at].obj : NULL;
}

size_t sp_informer_count(const sp_informer *i) {
    return i->entries.n;
}

void sp_informer_each(const sp_informer *i, sp_informer_visit *fn, void *ctx) {
    for (size_t at = 0; at < i->entries.n; at++)
        if (!fn(ctx, i->entries.p[at].obj)) return;
}

void sp_informer_list(const sp_informer *i, sp_str ns, sp_obj_list *ret) {
    bool found;
    for (size_t at = ns.n ? position(i, ns, (sp_str){0}, &found) : 0; at < i->entries.n; at++) {
        const sp_json *obj = i->entries.p[at].obj;
        if (ns.n && !sp_str_eq(sp_obj_namespace(obj), ns)) break;
        sp_vec_push(ret, obj);
    }
}

void sp_informer_owned(const sp_informer *i, sp_str owner, sp_obj_list *ret) {
    const bucket *b = sp_map_get(&i->owned, owner);
    for (size_t at = 0; b && at < b->n; at++) sp_vec_push(ret, b->p[at]);
}
