/* The store on one machine. Three states of a change:
 *
 *   on its way   decided in sp_store_submit: it has its revision, the map `latest` knows it, the
 * next write builds on it; nobody else sees it visible      its group is on disk (store/writer.h):
 * it is in the index and the history, watches got it, its done callback ran superseded   a newer
 * change of the same key is visible; history keeps it for a while, then its row is purged with one
 * of the next groups
 *
 * Refusals decided against changes that are on their way follow those through the writer, so no
 * answer tells of something that might still be lost. With nothing on the way, refusals and relaxed
 * writes complete in the next turn of the loop (`ready`).
 *
 * Relaxed writes are visible before they are on disk (`unwritten`), so a crash could hand out their
 * revisions a second time. Therefore the number `reserved` on disk is always at or above every
 * relaxed revision: after a crash the store goes on above it, and whoever has seen a revision
 * between the last row and `reserved` (the lost range) must list again. */
#include "store/store.h"

#include "base/log.h"
#include "base/map.h"
#include "store/past.h"
#include "store/value.h"
#include "store/watchers.h"
#include "store/writer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    DEFAULT_HISTORY = 10000,
    DEFAULT_HISTORY_BYTES = 16 << 20,
    DEFAULT_VALUE_BYTES = 3 << 19,
    DEFAULT_RELAXED_MS = 60000,
    RESERVE_AHEAD = 4096, /* revisions between two durable writes of "reserved" */
    PROBE_MS = 1000,
    PURGE_AT = 128, /* rows; neighbours share pages, so few large purges beat many small */
};

typedef struct range {
    uint64_t from, to; /* from < rev <= to */
} range;

struct sp_store {
    sp_store_config cfg;
    char *path;
    uv_async_t wake;
    uv_timer_t flush_timer, probe_timer;
    int open_handles;

    sp_index *index;
    sp_history history;
    sp_watchers watchers;
    uint64_t visible;  /* the newest visible revision */
    uint64_t assigned; /* the newest revision given out, visible or on its way */
    uint64_t writes;

    sp_map latest;     /* key → sp_op: the newest change on its way */
    sp_list ready;     /* complete in the next turn of the loop */
    sp_list unwritten; /* rows of relaxed writes for the next group */
    size_t on_the_way; /* operations with the writer */
    sp_purge purge;
    uint64_t reserved;
    range lost;

    sp_writer *writer; /* NULL = memory only */
    bool broken, closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static sp_op *op_of(sp_list *l) {
    return SP_CONTAINER(l, sp_op, link);
}
static void wake_up(sp_store *s) {
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
    sp_op *op = sp_map_get(&s->latest, key);
    return op ? op->value : sp_index_get(s->index, key);
}

/* Is everything after rev still known? gone: the code to say if it is not. */
static bool reachable(const sp_store *s, uint64_t rev, sp_code gone, sp_err *err) {
    if (rev > s->visible)
        return sp_fail(err, SP_TIMEOUT,
                       "revision %" PRIu64 " lies in the future: the newest is %" PRIu64, rev,
                       s->visible);
    bool lost = rev > s->lost.from && rev <= s->lost.to;
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
        wake_up(s);
    }
    return true;
}

bool sp_store_is_writable(const sp_store *s) {
    return !s->broken;
}

bool sp_store_watches_caught_up(const sp_store *s) {
    return !s->watchers.behind;
}

/* --- becoming visible --- */

/* Also used while loading. */
static void apply(sp_store *s, sp_str key, uint64_t rev, sp_store_value *value,
                  sp_store_value *prev) {
    if (value)
        sp_index_put(s->index, key, value);
    else
        sp_index_remove(s->index, key);
    sp_history_add(&s->history, sp_store_event_new(rev, key, value, prev));
    s->visible = rev;
}

static void purge_row(sp_store *s, uint64_t rev) {
    if (s->cfg.path) sp_vec_push(&s->purge.revs, rev);
}

static void left_history(void *ctx, const sp_store_event *e) {
    sp_store *s = ctx;
    if (e->prev) purge_row(s, e->prev->rev);
    if (!e->value) purge_row(s, e->rev);
}

static void call_done(sp_op *op, uint64_t rev, sp_store_value *value, const sp_err *err) {
    if (op->done) op->done(op->ctx, rev, value, err);
}

static void succeed(sp_store *s, sp_op *op) {
    if (s->watchers.behind) sp_watchers_deliver(&s->watchers, &s->history); /* before any leaves */
    sp_store_value *prev = sp_store_value_ref(sp_index_get(s->index, op->key));
    apply(s, op->key, op->rev, op->value, prev);
    s->writes++;
    sp_watchers_deliver(&s->watchers, &s->history);
    call_done(op, op->rev, op->value ? op->value : prev, NULL);
    sp_store_value_unref(prev);
}

static void on_probe_timer(uv_timer_t *t);

/* What later revisions do not replace is kept for the time when writing works again. */
static bool keep_for_later(sp_store *s, sp_op *op) {
    for (size_t i = 0; op->purge && i < op->purge->revs.n; i++) purge_row(s, op->purge->revs.p[i]);
    if (s->closing || !op->has_row || op->applies) return false;
    op->failed = false;
    sp_list_append(&s->unwritten, &op->link); /* a relaxed write: everybody has seen it */
    return true;
}

static bool is_want_of_space(const sp_err *err) {
    return err->errnum == ENOSPC || err->errnum == EDQUOT || err->errnum == EFBIG;
}

/* True when the operation lives on. */
static bool fail(sp_store *s, sp_op *op) {
    sp_err err;
    sp_writer_failure(s->writer, &err);
    if (!s->broken) {
        s->broken = true;
        sp_error("the store cannot write", SP_KV("why", err.text));
        if (is_want_of_space(&err))
            uv_timer_start(&s->probe_timer, on_probe_timer, PROBE_MS, PROBE_MS);
    }
    call_done(op, 0, NULL, &err);
    return keep_for_later(s, op);
}

static void recovered(sp_store *s) {
    s->broken = false;
    uv_timer_stop(&s->probe_timer);
    sp_info("the store writes again");
}

static void complete(sp_store *s, sp_op *op) {
    sp_list_remove(&op->link);
    if (op->applies && sp_map_get(&s->latest, op->key) == op) sp_map_del(&s->latest, op->key);
    if (op->failed) {
        if (fail(s, op)) return;
    } else if (op->probe) {
        recovered(s);
    } else if (op->answer) {
        call_done(op, 0, op->value, op->answer);
    } else if (op->applies) {
        succeed(s, op);
    } else {
        call_done(op, 0, NULL, NULL);
    }
    sp_op_free(op);
}

/* --- deciding --- */

static void refuse_broken(sp_store *s, sp_err *err) {
    if (s->closing)
        sp_fail(err, SP_UNAVAILABLE, "the store is closing");
    else
        sp_writer_failure(s->writer, err);
}

static bool admit(sp_store *s, const sp_store_write *w, sp_store_value *there, sp_err *err) {
    if (s->closing || s->broken) {
        refuse_broken(s, err);
        return false;
    }
    if (!w->remove && w->value.n > s->cfg.max_value_bytes)
        return sp_fail(err, SP_TOO_LARGE, "%zu bytes are more than the limit of %zu", w->value.n,
                       s->cfg.max_value_bytes);
    if (w->remove && !there) return sp_fail(err, SP_NOT_FOUND, "it does not exist");
    if (w->expect == SP_STORE_ANY || w->expect == (there ? there->rev : 0)) return true;
    if (w->expect == SP_STORE_ABSENT) return sp_fail(err, SP_ALREADY_EXISTS, "it exists already");
    if (!there)
        return sp_fail(err, SP_CONFLICT,
                       "it was expected at revision %" PRIu64 " and does not exist", w->expect);
    return sp_fail(err, SP_CONFLICT,
                   "it was expected at revision %" PRIu64 " and is at revision %" PRIu64, w->expect,
                   there->rev);
}

static void decide(sp_store *s, sp_op *op, const sp_store_write *w) {
    sp_store_value *there = sp_store_get_latest(s, w->key);
    sp_err err;
    if (!admit(s, w, there, &err)) {
        op->answer = sp_malloc(sizeof err);
        *op->answer = err;
        op->value = sp_store_value_ref(there);
        return;
    }
    op->applies = true;
    op->rev = ++s->assigned;
    op->create_rev = there ? there->create_rev : op->rev;
    if (!w->remove) op->value = sp_store_value_new(w->value, w->rev_at, op->rev, op->create_rev);
    sp_map_put(&s->latest, op->key, op);
}

/* --- to the writer --- */

/* Rows of relaxed writes wait in `unwritten` for company: whatever goes takes them along, ahead, so
 * that what is purged or superseded later is in the file before. */
static void hand_over(sp_store *s, sp_op *op) {
    if (op) sp_list_append(&s->unwritten, &op->link);
    sp_list_each(&s->unwritten, it) s->on_the_way++;
    sp_writer_put(s->writer, &s->unwritten);
    uv_timer_stop(&s->flush_timer);
}

static void attach_purge(sp_store *s, sp_op *op) {
    op->purge = sp_malloc(sizeof *op->purge);
    *op->purge = s->purge;
    op->purge->floor = s->history.floor;
    s->purge = (sp_purge){0};
}

static void hand_over_durable(sp_store *s, sp_op *op) {
    op->has_row = true;
    if (s->purge.revs.n >= PURGE_AT) attach_purge(s, op);
    hand_over(s, op);
}

static void on_probe_timer(uv_timer_t *t) {
    sp_store *s = t->data;
    if (s->on_the_way || s->closing) return;
    sp_op *probe = sp_op_new((sp_str){0});
    probe->probe = true;
    probe->reserve = s->reserved;
    hand_over(s, probe);
}

static void on_flush_timer(uv_timer_t *t) {
    hand_over(t->data, NULL);
}

static void keep_row_for_later(sp_store *s, const sp_op *op) {
    sp_op *row = sp_op_new(op->key);
    row->has_row = true;
    row->rev = op->rev;
    row->create_rev = op->create_rev;
    row->value = sp_store_value_ref(op->value);
    sp_list_append(&s->unwritten, &row->link);
    if (!uv_is_active((uv_handle_t *)&s->flush_timer))
        uv_timer_start(&s->flush_timer, on_flush_timer, s->cfg.relaxed_ms, 0);
}

static void make_ready(sp_store *s, sp_op *op) {
    sp_list_append(&s->ready, &op->link);
    wake_up(s);
}

void sp_store_submit(sp_store *s, const sp_store_write *w, sp_store_done *done, void *ctx) {
    sp_op *op = sp_op_new(w->key);
    op->done = done;
    op->ctx = ctx;
    decide(s, op, w);
    bool alone = !s->on_the_way;
    if (!s->writer || (op->answer && (alone || s->closing))) {
        make_ready(s, op);
    } else if (op->answer) {
        hand_over(s, op);
    } else if (w->relaxed && alone && op->rev <= s->reserved) {
        keep_row_for_later(s, op);
        make_ready(s, op);
    } else {
        if (w->relaxed && op->rev > s->reserved)
            op->reserve = s->reserved = op->rev + RESERVE_AHEAD;
        hand_over_durable(s, op);
    }
}

void sp_store_after(sp_store *s, sp_store_done *done, void *ctx) {
    sp_op *op = sp_op_new((sp_str){0});
    op->done = done;
    op->ctx = ctx;
    if (s->on_the_way && !s->closing)
        hand_over(s, op);
    else
        make_ready(s, op);
}

/* --- the turn of the loop --- */

static void handle_closed(uv_handle_t *h) {
    sp_store *s = h->data;
    if (--s->open_handles) return;
    void (*closed)(void *) = s->closed;
    void *ctx = s->closed_ctx;
    sp_index_free(s->index);
    sp_history_free(&s->history);
    sp_map_free(&s->latest);
    while (!sp_list_empty(&s->unwritten)) {
        sp_op *op = op_of(s->unwritten.next);
        sp_list_remove(&op->link);
        sp_op_free(op);
    }
    sp_vec_free(&s->purge.revs);
    free(s->path);
    free(s);
    if (closed) closed(ctx);
}

static void finish(sp_store *s) {
    if (s->writer) sp_writer_join(s->writer);
    sp_watchers_detach(&s->watchers);
    uv_close((uv_handle_t *)&s->wake, handle_closed);
    uv_close((uv_handle_t *)&s->flush_timer, handle_closed);
    uv_close((uv_handle_t *)&s->probe_timer, handle_closed);
}

static void complete_ready(sp_store *s) {
    sp_list now;
    sp_list_init(&now);
    sp_list_each(&s->ready, it) {
        sp_list_remove(it);
        sp_list_append(&now, it);
    }
    while (!sp_list_empty(&now)) complete(s, op_of(now.next));
}

static void complete_written(sp_store *s, sp_list *back) {
    while (!sp_list_empty(back)) {
        s->on_the_way--;
        complete(s, op_of(back->next));
    }
}

static void on_wake(uv_async_t *h) {
    sp_store *s = h->data;
    sp_list back;
    sp_list_init(&back);
    bool running = s->writer && sp_writer_take(s->writer, &back);
    if (s->watchers.behind) sp_watchers_deliver(&s->watchers, &s->history);
    complete_ready(s);
    complete_written(s, &back);
    if (s->closing && !running && sp_list_empty(&s->ready)) finish(s);
}

void sp_store_close(sp_store *s, void (*done)(void *ctx), void *ctx) {
    sp_assert(!s->closing);
    s->closing = true;
    s->closed = done;
    s->closed_ctx = ctx;
    if (s->writer) {
        sp_op *last = sp_op_new((sp_str){0});
        last->reserve = s->reserved ? s->assigned : 0;
        if (s->purge.revs.n) attach_purge(s, last);
        hand_over(s, last);
        sp_writer_stop(s->writer);
    }
    wake_up(s);
}

/* --- opening --- */

static bool load_row(void *ctx, const sp_row *row, sp_err *err) {
    sp_store *s = ctx;
    sp_store_value *value = NULL;
    if (!row->removed &&
        !sp_store_value_load(row->value, row->rev_at, row->rev, row->create_rev, &value, err))
        return false;
    sp_store_value *prev = sp_store_value_ref(sp_index_get(s->index, row->key));
    if (row->rev > s->history.floor) {
        apply(s, row->key, row->rev, value, prev);
    } else if (value) {
        sp_index_put(s->index, row->key, value);
        s->visible = row->rev;
    }
    sp_store_value_unref(prev);
    sp_store_value_unref(value);
    return true;
}

/* After a crash: nobody may take a revision for known that was only relaxed. */
static bool skip_lost(sp_store *s, sp_database *db, sp_err *err) {
    if (s->reserved <= s->visible) return true;
    bool again = s->lost.to > s->history.floor; /* an older range is still asked about */
    s->lost = (range){again ? SP_MIN(s->lost.from, s->visible) : s->visible, s->reserved};
    s->visible = s->reserved + 1;
    if (sp_database_begin(db, err) && sp_database_set_number(db, "lost_from", s->lost.from, err) &&
        sp_database_set_number(db, "lost_to", s->lost.to, err) && sp_database_commit(db, err))
        return true;
    sp_database_rollback(db);
    return false;
}

static bool load(sp_store *s, sp_database *db, sp_err *err) {
    uint64_t floor;
    if (!sp_database_number(db, "floor", &floor, err) ||
        !sp_database_number(db, "reserved", &s->reserved, err) ||
        !sp_database_number(db, "lost_from", &s->lost.from, err) ||
        !sp_database_number(db, "lost_to", &s->lost.to, err))
        return false;
    s->visible = s->history.floor = floor;
    if (!sp_database_load(db, load_row, s, err) || !skip_lost(s, db, err)) return false;
    s->assigned = s->visible;
    return true;
}

static bool start_database(sp_store *s, sp_err *err) {
    sp_database *db = NULL;
    if (!sp_database_open(s->path, &db, err)) return false;
    if (!load(s, db, err)) {
        sp_database_close(db);
        return false;
    }
    return sp_writer_start(db, &s->wake, &s->writer, err);
}

static sp_store *new_store(uv_loop_t *loop, const sp_store_config *c) {
    sp_store *s = sp_zalloc(1, sizeof *s);
    s->cfg = *c;
    s->path = c->path ? sp_strdup(c->path) : NULL;
    s->cfg.path = s->path;
    if (!c->history_events) s->cfg.history_events = DEFAULT_HISTORY;
    if (!c->history_bytes) s->cfg.history_bytes = DEFAULT_HISTORY_BYTES;
    if (!c->max_value_bytes) s->cfg.max_value_bytes = DEFAULT_VALUE_BYTES;
    if (!c->relaxed_ms) s->cfg.relaxed_ms = DEFAULT_RELAXED_MS;
    s->index = sp_index_new();
    s->history = (sp_history){.max_events = s->cfg.history_events,
                              .max_bytes = s->cfg.history_bytes,
                              .left = left_history,
                              .ctx = s};
    sp_watchers_init(&s->watchers);
    sp_list_init(&s->ready);
    sp_list_init(&s->unwritten);
    sp_assert(uv_async_init(loop, &s->wake, on_wake) == 0);
    sp_assert(uv_timer_init(loop, &s->flush_timer) == 0);
    sp_assert(uv_timer_init(loop, &s->probe_timer) == 0);
    s->open_handles = 3;
    s->wake.data = s->flush_timer.data = s->probe_timer.data = s;
    uv_unref((uv_handle_t *)&s->probe_timer);
    uv_unref((uv_handle_t *)&s->flush_timer);
    return s;
}

bool sp_store_open(uv_loop_t *loop, const sp_store_config *c, sp_store **ret, sp_err *err) {
    sp_store *s = new_store(loop, c);
    if (c->path && !start_database(s, err)) {
        finish(s); /* freed when the loop has closed the handles */
        return false;
    }
    *ret = s;
    return true;
}

/* --- figures --- */

static uint64_t file_bytes(const char *path, const char *suffix) {
    char name[PATH_MAX];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

sp_store_stats sp_store_get_stats(const sp_store *s) {
    sp_store_stats r = {
        .revision = s->visible,
        .writes = s->writes,
        .keys = sp_index_size(s->index),
        .history = s->history.end - s->history.first,
    };
    if (!s->writer) return r;
    sp_writer_stats w = sp_writer_get_stats(s->writer);
    r.commits = w.commits;
    r.commit_us_total = w.commit_us_total;
    r.db_bytes = file_bytes(s->path, "") + file_bytes(s->path, "-wal");
    return r;
}
