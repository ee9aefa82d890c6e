/* WATCH. Each watcher sits on a watch of the store; an event is turned into one frame, a line of
 * JSON, which is made once and shared by everybody who wants the same bytes: it hangs on the
 * store's event, and its first bytes ({"type":"ADDED","object":{"apiVersion":…,"kind":…) tell for
 * whom it is. Tables are made per watcher, because ages and first columns differ.
 *
 * What is there at the start is told as fast as the watcher reads; events follow from the revision
 * of that state. A watcher that reads more slowly than the cluster changes is cut off PENDING_LIMIT
 * behind; it comes back with the last revision it saw. One timer serves all bookmarks; it runs only
 * while somebody wants them.
 *
 * Where the store is shared, a server that is cut off from it would keep its watches open and
 * silent while others write. After CUT_OFF_MS without proof that nothing is missing, it ends them
 * all and refuses new ones, and asks its clients to connect anew: the next server, or this one
 * later, goes on from the last revision they saw. */
#include "apiserver/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"

#include <stdio.h>

enum {
    PENDING_LIMIT = 16 << 20,
    BOOKMARK_MS = 60 * 1000,
    MIN_TIMEOUT_S = 1800, /* without timeoutSeconds: between this and twice this */
    MAX_TIMEOUT_S = 24 * 3600,
    CUT_OFF_MS = 10 * 1000,
    LOOK_MS = 1000
};

typedef enum kind { ADDED, MODIFIED, DELETED, KINDS } kind;
static const char *const kind_names[KINDS] = {"ADDED", "MODIFIED", "DELETED"};

typedef struct watcher {
    sp_list link; /* in the hub */
    sp_call *call;
    struct sp_watch_hub *hub;
    sp_store_watch *store_watch;
    sp_filter filter;
    sp_str prefix;            /* of keys */
    sp_str frame_head[KINDS]; /* how my frames begin */
    sp_table table;
    sp_arena *scratch; /* for tables; NULL until needed */
    uint64_t seen;     /* newest revision told */
    size_t allowance;  /* more pending than this: the reader is too slow */
    uint64_t after;    /* events newer than this, once the state is told */
    sp_outflow flow;   /* the state, as it is told */
    bool initial_end;  /* say where the state ends */
    bool bookmarks;
    bool ended, over; /* the answer has ended; out of the hub */
    uv_timer_t timeout;
} watcher;

struct sp_watch_hub {
    sp_apiserver *s;
    sp_list watchers;
    size_t n, with_bookmarks;
    uv_timer_t bookmark_timer, look_timer;
    int open_timers;
    bool cut_off;
};

/* ---------- frames ---------- */

typedef struct frame {
    struct frame *next;
    sp_blob *bytes;
} frame;

static void frames_free(void *user) {
    for (frame *f = user, *next; f; f = next) {
        next = f->next;
        sp_blob_unref(f->bytes);
        free(f);
    }
}

/* The object as it stands in this frame: a removed one carries the revision of its removal. */
static sp_blob *frame_object(const sp_store_event *e, kind k) {
    if (k != DELETED) return sp_blob_ref(e->value->bytes);
    return sp_store_value_bytes_at(e->prev, e->rev);
}

static sp_blob *make_frame(const watcher *w, const sp_store_event *e, kind k) {
    sp_blob *obj = frame_object(e, k);
    sp_str rest = sp_str_from(sp_blob_str(obj), sp_head_length(sp_blob_str(obj)));
    sp_str head = w->frame_head[k];
    sp_blob *b = sp_blob_alloc(head.n + rest.n + 2);
    memcpy(b->p, head.p, head.n);
    memcpy(b->p + head.n, rest.p, rest.n);
    memcpy(b->p + head.n + rest.n, "}\n", 2);
    sp_blob_unref(obj);
    return b;
}

/* Lent: belongs to the event. */
static sp_blob *shared_frame(const watcher *w, sp_store_event *e, kind k) {
    for (frame *f = e->user; f; f = f->next)
        if (sp_str_starts(sp_blob_str(f->bytes), w->frame_head[k])) return f->bytes;
    frame *f = sp_malloc(sizeof *f);
    *f = (frame){.next = e->user, .bytes = make_frame(w, e, k)};
    e->user = f;
    e->user_free = frames_free;
    return f->bytes;
}

/* Tables and partial objects: parsed and written for this watcher alone. */
static void write_rendered(watcher *w, const char *type, sp_str bytes) {
    sp_call *c = w->call;
    if (!w->scratch) w->scratch = sp_arena_new();
    sp_arena_reset(w->scratch);
    sp_json *obj;
    if (!sp_json_parse(w->scratch, bytes, &obj, NULL)) return;
    sp_auto(sp_buf) b = {0};
    sp_buf_printf(&b, "{\"type\":\"%s\",\"object\":", type);
    if (c->form == SP_FORM_TABLE) {
        w->table.now_wall_ms = sp_clock_wall_ms();
        w->table.resource_version =
            sp_json_str(sp_json_dig(obj, "metadata", "resourceVersion", NULL));
        sp_table_begin(&b, &w->table);
        sp_table_row(&b, &w->table, obj, SP_STR(""), w->scratch);
        sp_table_end(&b);
    } else {
        sp_table_partial(&b, c->form_version, obj);
    }
    sp_buf_addz(&b, "}\n");
    sp_http_write(c->res, sp_buf_str(&b));
}

static bool plain(const watcher *w) {
    return w->call->form == SP_FORM_OBJECT;
}

static void deliver(watcher *w, sp_store_event *e, kind k) {
    if (plain(w)) {
        sp_http_write_blob(w->call->res, shared_frame(w, e, k));
        return;
    }
    sp_blob *obj = frame_object(e, k);
    write_rendered(w, kind_names[k], sp_blob_str(obj));
    sp_blob_unref(obj);
}

/* ---------- ending ---------- */

static void timer_closed(uv_handle_t *h) {
    watcher *w = h->data;
    sp_arena_free(w->scratch);
    free(w);
}

/* The watcher is out of the hub and hears nothing more; its memory goes with its timer. */
static void detach(watcher *w) {
    if (w->over) return;
    w->ended = w->over = true;
    if (w->store_watch) w->store_watch = sp_store_watch_stop(w->store_watch);
    sp_list_remove(&w->link);
    w->hub->n--;
    sp_outflow_cleanup(&w->flow);
    if (w->bookmarks && --w->hub->with_bookmarks == 0) uv_timer_stop(&w->hub->bookmark_timer);
    w->timeout.data = w;
    uv_close((uv_handle_t *)&w->timeout, timer_closed);
}

static void client_gone(void *ctx) {
    watcher *w = ctx;
    sp_call *c = w->call;
    detach(w);
    c->res = NULL;
    c->http = NULL;
    sp_call_end(c);
}

/* Ends the answer; client_gone follows and frees. */
static void end_watch(watcher *w) {
    if (w->ended) return;
    w->ended = true;
    if (w->store_watch) w->store_watch = sp_store_watch_stop(w->store_watch);
    sp_outflow_cleanup(&w->flow);
    sp_http_end(w->call->res);
}

static void send_error(watcher *w, const sp_err *err) {
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "{\"type\":\"ERROR\",\"object\":");
    sp_json_write(&b, sp_status_from_err(w->call->op.arena, err, NULL, "", "", SP_STR("")));
    sp_buf_addz(&b, "}\n");
    sp_http_write(w->call->res, sp_buf_str(&b));
}

/* ---------- bookmarks ---------- */

static void send_bookmark(watcher *w, uint64_t rev, bool initial_end) {
    const sp_served *v = w->call->op.served;
    sp_auto(sp_buf) b = {0};
    if (w->call->form == SP_FORM_TABLE) {
        sp_buf_printf(&b,
                      "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Table\",\"apiVersion\":"
                      "\"meta.k8s.io/%s\",\"metadata\":{\"resourceVersion\":\"%llu\"},"
                      "\"columnDefinitions\":null,\"rows\":[]}}\n",
                      w->call->form_version, (unsigned long long)rev);
    } else {
        sp_buf_addz(&b, "{\"type\":\"BOOKMARK\",\"object\":");
        if (plain(w))
            sp_buf_add(&b, v->head);
        else
            sp_buf_printf(&b,
                          "{\"apiVersion\":\"meta.k8s.io/%s\",\"kind\":\"PartialObjectMetadata\"",
                          w->call->form_version);
        sp_buf_printf(
            &b, ",\"metadata\":{\"resourceVersion\":\"%llu\",\"creationTimestamp\":null%s}}}\n",
            (unsigned long long)rev,
            initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "");
    }
    w->seen = rev;
    sp_http_write(w->call->res, sp_buf_str(&b));
}

/* Only to who has had all events up to now. */
static void bring_up_to_date(watcher *w) {
    const sp_store *store = w->hub->s->store;
    uint64_t rev = sp_store_revision(store);
    if (w->bookmarks && w->store_watch && w->seen < rev && sp_store_watches_caught_up(store))
        send_bookmark(w, rev, false);
}

static void bookmark_all(uv_timer_t *t) {
    struct sp_watch_hub *h = t->data;
    if (!sp_store_is_writable(h->s->store)) return; /* nothing is known of progress */
    sp_list_each(&h->watchers, it) bring_up_to_date(SP_CONTAINER(it, watcher, link));
}

static void on_timeout(uv_timer_t *t) {
    watcher *w = t->data;
    bring_up_to_date(w);
    end_watch(w);
}

/* ---------- events ---------- */

static bool matches(const watcher *w, sp_store_value *v) {
    return v && sp_filter_matches(&w->filter, v, w->call->op.served->storage);
}

static void on_event(void *ctx, sp_store_event *e) {
    watcher *w = ctx;
    bool now = matches(w, e->value);
    bool before = e->type != SP_STORE_CREATED && matches(w, e->prev);
    if (now)
        deliver(w, e, before ? MODIFIED : ADDED);
    else if (before)
        deliver(w, e, DELETED);
    else
        return;
    w->seen = e->rev;
    if (sp_http_pending(w->call->res) > w->allowance) end_watch(w);
}

static bool replay(void *ctx, sp_str key, sp_store_value *v) {
    watcher *w = ctx;
    (void)key;
    if (!matches(w, v)) return true;
    if (!plain(w)) {
        write_rendered(w, "ADDED", sp_blob_str(v->bytes));
        return true;
    }
    sp_outflow_add(&w->flow, v);
    return true;
}

/* ---------- starting ---------- */

typedef struct watch_wish {
    uint64_t after;   /* events newer than this */
    bool state_first; /* tell what is there as ADDED before */
    bool initial_end; /* … and say where it ends */
    uint64_t timeout_s;
} watch_wish;

static bool parse_wish(sp_call *c, watch_wish *w, sp_err *err) {
    sp_str v;
    uint64_t rev = 0;
    if (sp_call_query(c, "resourceVersion", &v) && v.n && !sp_str_u64(v, &rev))
        return sp_fail(err, SP_BAD_REQUEST, "resourceVersion: \"%.*s\" is no whole number",
                       SP_ARG(v));
    w->timeout_s = MIN_TIMEOUT_S + sp_rng_below(MIN_TIMEOUT_S);
    if (sp_call_query(c, "timeoutSeconds", &v) && v.n) {
        if (!sp_str_u64(v, &w->timeout_s))
            return sp_fail(err, SP_BAD_REQUEST, "timeoutSeconds: \"%.*s\" is no whole number",
                           SP_ARG(v));
        w->timeout_s = w->timeout_s ? SP_MIN(w->timeout_s, (uint64_t)MAX_TIMEOUT_S) : MIN_TIMEOUT_S;
    }
    w->initial_end = sp_call_query_true(c, "sendInitialEvents");
    bool told_not = sp_call_query(c, "sendInitialEvents", &v) && sp_str_eqz(v, "false");
    w->state_first = w->initial_end || (!rev && !told_not);
    w->after = w->state_first || !rev ? sp_store_revision(c->op.s->store) : rev;
    return true;
}

static void make_heads(watcher *w) {
    sp_call *c = w->call;
    for (kind k = ADDED; k < KINDS; k++)
        w->frame_head[k] = sp_arena_printf(c->op.arena, "{\"type\":\"%s\",\"object\":%.*s",
                                           kind_names[k], SP_ARG(c->op.served->head));
}

static void begin_answer(sp_call *c) {
    sp_header h[SP_CALL_HEADERS_MAX];
    size_t n = sp_call_headers(c, "application/json", h);
    sp_call_count(c, 200);
    sp_http_begin(c->res, 200, h, n);
}

static watcher *watcher_new(sp_call *c, const sp_filter *filter, const watch_wish *wish) {
    struct sp_watch_hub *hub = c->op.s->hub;
    watcher *w = sp_zalloc(1, sizeof *w);
    w->call = c;
    w->hub = hub;
    w->filter = *filter;
    w->seen = w->after = wish->after;
    w->initial_end = wish->initial_end;
    w->prefix = c->op.served->prefix;
    if (c->op.ns.n)
        w->prefix = sp_arena_printf(c->op.arena, "%.*s%.*s/", SP_ARG(w->prefix), SP_ARG(c->op.ns));
    w->bookmarks = sp_call_query_true(c, "allowWatchBookmarks");
    w->table = (sp_table){.resource = c->op.served->row,
                          .version = c->form_version,
                          .with_columns = true,
                          .remaining = -1};
    make_heads(w);
    uv_timer_init(c->op.s->loop, &w->timeout);
    w->timeout.data = w;
    uv_timer_start(&w->timeout, on_timeout, wish->timeout_s * 1000, 0);
    sp_list_append(&hub->watchers, &w->link);
    hub->n++;
    if (w->bookmarks && hub->with_bookmarks++ == 0)
        uv_timer_start(&hub->bookmark_timer, bookmark_all, BOOKMARK_MS, BOOKMARK_MS);
    return w;
}

static bool start_events(watcher *w, sp_err *err) {
    sp_store *store = w->hub->s->store;
    uint64_t newest = sp_store_revision(store);
    if (w->after > newest)
        return sp_fail(err, SP_EXPIRED,
                       "resource version %llu lies in the future (the newest is %llu): "
                       "list again",
                       (unsigned long long)w->after, (unsigned long long)newest);
    if (sp_store_watch_start(store, w->prefix, w->after, on_event, w, &w->store_watch, err))
        return true;
    if (err->code == SP_GONE || err->code == SP_EXPIRED)
        sp_fail(err, SP_EXPIRED, "too old resource version: %llu (%llu)",
                (unsigned long long)w->after, (unsigned long long)sp_store_compacted(store));
    return false;
}

static void fail_watch(watcher *w, const sp_err *err) {
    send_error(w, err);
    end_watch(w);
}

static void state_told(void *ctx) {
    watcher *w = ctx;
    sp_err err;
    w->allowance = PENDING_LIMIT + sp_http_pending(w->call->res);
    if (w->initial_end) send_bookmark(w, w->after, true);
    if (!start_events(w, &err)) fail_watch(w, &err);
}

static void start(watcher *w, bool state_first) {
    sp_err err;
    if (state_first &&
        !sp_store_range(w->hub->s->store, w->prefix, SP_STR(""), 0, replay, w, &err)) {
        fail_watch(w, &err);
        return;
    }
    w->flow.head = w->frame_head[ADDED];
    w->flow.after = SP_STR("}\n");
    w->flow.done = state_told;
    w->flow.ctx = w;
    sp_outflow_start(&w->flow, w->call->res);
}

static bool is_fed(const sp_store *store, sp_err *err) {
    uint64_t ms = sp_store_silent_ms(store);
    return ms <= CUT_OFF_MS ||
           sp_fail(
               err, SP_UNAVAILABLE,
               "this API server is cut off from the store since %llu s: a watch here would miss "
               "what others write",
               (unsigned long long)ms / 1000);
}

void sp_verb_watch(sp_call *c) {
    watch_wish wish = {0};
    sp_filter filter;
    sp_err err;
    sp_str include = {0};
    sp_table_include included = SP_TABLE_METADATA;
    (void)sp_call_query(c, "includeObject", &include);
    if (!is_fed(c->op.s->store, &err) || !parse_wish(c, &wish, &err) ||
        !sp_filter_parse(c, &filter, &err) || !sp_table_include_parse(include, &included, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    if (c->form == SP_FORM_PARTIAL_LIST) c->form = SP_FORM_PARTIAL;
    watcher *w = watcher_new(c, &filter, &wish);
    w->table.include = included;
    c->held = true;
    sp_http_on_close(c->res, client_gone, w);
    begin_answer(c);
    start(w, wish.state_first);
}

/* ---------- the hub ---------- */

static void look(uv_timer_t *t) {
    struct sp_watch_hub *h = t->data;
    bool was = h->cut_off;
    h->cut_off = sp_store_silent_ms(h->s->store) > CUT_OFF_MS;
    if (was || !h->cut_off) return;
    if (h->n) sp_warn("cut off from the store: watches end", SP_KV("watches", h->n));
    sp_watch_hub_end_all(h);
    if (h->s->http) sp_http_server_send_away(h->s->http);
}

struct sp_watch_hub *sp_watch_hub_new(sp_apiserver *s) {
    struct sp_watch_hub *h = sp_zalloc(1, sizeof *h);
    h->s = s;
    sp_list_init(&h->watchers);
    uv_timer_init(s->loop, &h->bookmark_timer);
    h->bookmark_timer.data = h->look_timer.data = h;
    uv_timer_init(s->loop, &h->look_timer);
    h->open_timers = 2;
    if (sp_store_is_shared(s->store)) uv_timer_start(&h->look_timer, look, LOOK_MS, LOOK_MS);
    return h;
}

static void hub_closed(uv_handle_t *handle) {
    struct sp_watch_hub *h = handle->data;
    if (--h->open_timers == 0) free(h);
}

void sp_watch_hub_end_all(struct sp_watch_hub *h) {
    sp_list_each(&h->watchers, it) end_watch(SP_CONTAINER(it, watcher, link));
}

void sp_watch_hub_end_kind(struct sp_watch_hub *h, sp_str prefix) {
    sp_list_each(&h->watchers, it) {
        watcher *w = SP_CONTAINER(it, watcher, link);
        if (sp_str_eq(w->call->op.served->prefix, prefix)) end_watch(w);
    }
}

void sp_watch_hub_free(struct sp_watch_hub *h) {
    if (!h) return;
    sp_assert(sp_list_empty(&h->watchers));
    uv_close((uv_handle_t *)&h->bookmark_timer, hub_closed);
    uv_close((uv_handle_t *)&h->look_timer, hub_closed);
}

size_t sp_watch_hub_count(const struct sp_watch_hub *h) {
    return h->n;
}
