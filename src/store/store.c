/* What every store does, whatever makes its writes durable: reading the present and the past, and
 * telling watches. A change becomes visible in one step: index, history, watches, and only then the
 * callback of whoever made it. */
#include "store/engine.h"

#include <inttypes.h>

enum {
    DEFAULT_HISTORY = 10000,
    DEFAULT_HISTORY_BYTES = 16 << 20,
    DEFAULT_VALUE_BYTES = 3 << 19,
    DEFAULT_RELAXED_MS = 60000
};

void sp_store_wake(sp_store *s) {
    uv_async_send(&s->wake);
}

/* --- reading --- */

uint64_t sp_store_revision(const sp_store *s) {
    return s->visible;
}
uint64_t sp_store_compacted(const sp_store *s) {
    return s->history.floor;
}
sp_store_value *sp_store_get(sp_store *s, sp_str key) {
    return sp_index_get(s->index, key);
}
size_t sp_store_count(sp_store *s, sp_str prefix) {
    return sp_index_count(s->index, prefix);
}

sp_store_value *sp_store_get_latest(sp_store *s, sp_str key) {
    return s->engine->latest(s, key);
}

/* Is everything after rev still known? gone: the code to say if it is not. */
static bool reachable(const sp_store *s, uint64_t rev, sp_code gone, sp_err *err) {
    if (rev > s->visible)
        return sp_fail(err, SP_TIMEOUT,
                       "revision %" PRIu64 " lies in the future: the newest is %" PRIu64, rev,
                       s->visible);
    bool lost = rev > s->lost_from && rev <= s->lost_to;
    if (rev >= s->history.floor && !lost) return true;
    return sp_fail(err, gone,
                   "revision %" PRIu64 " is no longer known (the oldest is %" PRIu64
                   "): list again",
                   rev, s->history.floor);
}

static void present_range(sp_store *s, sp_str prefix, sp_str start_after, sp_store_range_fn *fn,
                          void *ctx) {
    for (sp_index_node *n = sp_index_first(s->index, prefix, start_after); n;
         n = sp_index_next(n, prefix))
        if (!fn(ctx, sp_index_key(n), sp_index_value(n))) return;
}

bool sp_store_range(sp_store *s, sp_str prefix, sp_str start_after, uint64_t rev,
                    sp_store_range_fn *fn, void *ctx, sp_err *err) {
    if (rev && !reachable(s, rev, SP_EXPIRED, err)) return false;
    if (!rev || rev == s->visible)
        present_range(s, prefix, start_after, fn, ctx);
    else
        sp_past_range(s->index, &s->history, prefix, start_after, rev, fn, ctx);
    return true;
}

bool sp_store_watch_start(sp_store *s, sp_str prefix, uint64_t after, sp_store_watch_fn *fn,
                          void *ctx, sp_store_watch **ret, sp_err *err) {
    if (!reachable(s, after, SP_GONE, err)) return false;
    uint64_t pos = sp_history_after(&s->history, after);
    *ret = sp_watchers_add(&s->watchers, prefix, pos, fn, ctx);
    if (pos < s->history.end) {
        s->watchers.behind = true;
        sp_store_wake(s);
    }
    return true;
}

bool sp_store_watches_caught_up(const sp_store *s) {
    return !s->watchers.behind;
}

/* --- writing: the engine's --- */

bool sp_store_is_writable(const sp_store *s) {
    return s->engine->is_writable(s);
}

void sp_store_submit(sp_store *s, const sp_store_write *w, sp_store_done *done, void *ctx) {
    s->engine->submit(s, w, done, ctx);
}

void sp_store_after(sp_store *s, sp_store_done *done, void *ctx) {
    s->engine->after(s, done, ctx);
}

uint64_t sp_store_silent_ms(const sp_store *s) {
    return s->engine->silent_ms ? s->engine->silent_ms(s) : 0;
}

bool sp_store_is_shared(const sp_store *s) {
    return s->engine->shared;
}

void sp_store_sync(sp_store *s, sp_store_done *done, void *ctx) {
    s->engine->sync(s, done, ctx);
}

/* --- becoming visible --- */

void sp_store_apply(sp_store *s, sp_str key, uint64_t rev, sp_store_value *value,
                    sp_store_value *prev) {
    if (value)
        sp_index_put(s->index, key, value);
    else
        sp_index_remove(s->index, key);
    sp_history_add(&s->history, sp_store_event_new(rev, key, value, prev));
    s->visible = rev;
}

sp_store_value *sp_store_show(sp_store *s, sp_str key, uint64_t rev, sp_store_value *value) {
    if (s->watchers.behind) sp_watchers_deliver(&s->watchers, &s->history); /* before any leaves */
    sp_store_value *prev = sp_index_get(s->index, key);
    if (prev) sp_store_value_ref(prev);
    sp_store_apply(s, key, rev, value, prev);
    sp_watchers_deliver(&s->watchers, &s->history);
    return prev;
}

/* --- life --- */

static void on_wake(uv_async_t *h) {
    sp_store *s = h->data;
    if (s->watchers.behind) sp_watchers_deliver(&s->watchers, &s->history);
    s->engine->turn(s);
}

void sp_store_init(sp_store *s, const sp_store_engine *e, uv_loop_t *loop,
                   const sp_store_config *c) {
    s->engine = e;
    s->cfg = *c;
    if (!c->history_events) s->cfg.history_events = DEFAULT_HISTORY;
    if (!c->history_bytes) s->cfg.history_bytes = DEFAULT_HISTORY_BYTES;
    if (!c->max_value_bytes) s->cfg.max_value_bytes = DEFAULT_VALUE_BYTES;
    if (!c->relaxed_ms) s->cfg.relaxed_ms = DEFAULT_RELAXED_MS;
    s->index = sp_index_new();
    s->history = (sp_history){
        .max_events = s->cfg.history_events, .max_bytes = s->cfg.history_bytes, .ctx = s};
    sp_watchers_init(&s->watchers);
    sp_assert(uv_async_init(loop, &s->wake, on_wake) == 0);
    s->wake.data = s;
}

static void on_wake_closed(uv_handle_t *h) {
    sp_store *s = h->data;
    void (*closed)(void *) = s->closed;
    void *ctx = s->closed_ctx;
    sp_index_free(s->index);
    sp_history_free(&s->history);
    s->engine->free(s);
    if (closed) closed(ctx);
}

void sp_store_finish(sp_store *s) {
    sp_watchers_detach(&s->watchers);
    uv_close((uv_handle_t *)&s->wake, on_wake_closed);
}

void sp_store_close(sp_store *s, void (*done)(void *ctx), void *ctx) {
    sp_assert(!s->closing);
    s->closing = true;
    s->closed = done;
    s->closed_ctx = ctx;
    s->engine->close(s);
}

sp_store_stats sp_store_get_stats(const sp_store *s) {
    sp_store_stats r = {
        .revision = s->visible,
        .writes = s->writes,
        .keys = sp_index_size(s->index),
        .history = s->history.end - s->history.first,
    };
    if (s->engine->stats) s->engine->stats(s, &r);
    return r;
}
