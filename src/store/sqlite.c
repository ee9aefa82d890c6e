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
#include "base/log.h"
#include "base/map.h"
#include "store/engine.h"
#include "store/writer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    RESERVE_AHEAD = 4096, /* revisions between two durable writes of "reserved" */
    PROBE_MS = 1000,
    PURGE_AT = 128, /* rows; neighbours share pages, so few large purges beat many small */
};

typedef struct lite {
    sp_store base; /* first */
    char *path;
    uv_timer_t flush_timer, probe_timer;
    int open_handles;
    uint64_t assigned; /* the newest revision given out, visible or on its way */
    sp_map latest;     /* key → sp_op: the newest change on its way */
    sp_list ready;     /* complete in the next turn of the loop */
    sp_list unwritten; /* rows of relaxed writes for the next group */
    size_t on_the_way; /* operations with the writer */
    sp_purge purge;
    uint64_t reserved;
    sp_writer *writer; /* NULL = memory only */
    bool broken;
} lite;

static lite *lite_of(sp_store *s) {
    return (lite *)(void *)s;
}
static sp_op *op_of(sp_list *l) {
    return SP_CONTAINER(l, sp_op, link);
}

static sp_store_value *latest(sp_store *base, sp_str key) {
    sp_op *op = sp_map_get(&lite_of(base)->latest, key);
    return op ? op->value : sp_index_get(base->index, key);
}

static bool is_writable(const sp_store *base) {
    return !((const lite *)(const void *)base)->broken;
}

/* --- becoming visible --- */

static void purge_row(lite *s, uint64_t rev) {
    if (s->base.cfg.path) sp_vec_push(&s->purge.revs, rev);
}

static void left_history(void *ctx, const sp_store_event *e) {
    lite *s = ctx;
    if (e->prev) purge_row(s, e->prev->rev);
    if (!e->value) purge_row(s, e->rev);
}

static void call_done(sp_op *op, uint64_t rev, sp_store_value *value, const sp_err *err) {
    if (op->done) op->done(op->ctx, rev, value, err);
}

static void succeed(lite *s, sp_op *op) {
    sp_store_value *prev = sp_store_show(&s->base, op->key, op->rev, op->value);
    s->base.writes++;
    call_done(op, op->rev, op->value ? op->value : prev, NULL);
    sp_store_value_unref(prev);
}

static void on_probe_timer(uv_timer_t *t);

/* What later revisions do not replace is kept for the time when writing works again. */
static bool keep_for_later(lite *s, sp_op *op) {
    for (size_t i = 0; op->purge && i < op->purge->revs.n; i++) purge_row(s, op->purge->revs.p[i]);
    if (s->base.closing || !op->has_row || op->applies) return false;
    op->failed = false;
    sp_list_append(&s->unwritten, &op->link); /* a relaxed write: everybody has seen it */
    return true;
}

static bool is_want_of_space(const sp_err *err) {
    return err->errnum == ENOSPC || err->errnum == EDQUOT || err->errnum == EFBIG;
}

/* True when the operation lives on. */
static bool fail(lite *s, sp_op *op) {
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

static void recovered(lite *s) {
    s->broken = false;
    uv_timer_stop(&s->probe_timer);
    sp_info("the store writes again");
}

static void complete(lite *s, sp_op *op) {
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

static void refuse_broken(lite *s, sp_err *err) {
    if (s->base.closing)
        sp_fail(err, SP_UNAVAILABLE, "the store is closing");
    else
        sp_writer_failure(s->writer, err);
}

static bool admit(lite *s, const sp_store_write *w, sp_store_value *there, sp_err *err) {
    if (s->base.closing || s->broken) {
        refuse_broken(s, err);
        return false;
    }
    if (!w->remove && w->value.n > s->base.cfg.max_value_bytes)
        return sp_fail(err, SP_TOO_LARGE, "%zu bytes are more than the limit of %zu", w->value.n,
                       s->base.cfg.max_value_bytes);
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

static void decide(lite *s, sp_op *op, const sp_store_write *w) {
    sp_store_value *there = latest(&s->base, w->key);
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
static void hand_over(lite *s, sp_op *op) {
    if (op) sp_list_append(&s->unwritten, &op->link);
    sp_list_each(&s->unwritten, it) s->on_the_way++;
    sp_writer_put(s->writer, &s->unwritten);
    uv_timer_stop(&s->flush_timer);
}

static void attach_purge(lite *s, sp_op *op) {
    op->purge = sp_malloc(sizeof *op->purge);
    *op->purge = s->purge;
    op->purge->floor = s->base.history.floor;
    s->purge = (sp_purge){0};
}

static void hand_over_durable(lite *s, sp_op *op) {
    op->has_row = true;
    if (s->purge.revs.n >= PURGE_AT) attach_purge(s, op);
    hand_over(s, op);
}

static void on_probe_timer(uv_timer_t *t) {
    lite *s = t->data;
    if (s->on_the_way || s->base.closing) return;
    sp_op *probe = sp_op_new((sp_str){0});
    probe->probe = true;
    probe->reserve = s->reserved;
    hand_over(s, probe);
}

static void on_flush_timer(uv_timer_t *t) {
    hand_over(t->data, NULL);
}

static void keep_row_for_later(lite *s, const sp_op *op) {
    sp_op *row = sp_op_new(op->key);
    row->has_row = true;
    row->rev = op->rev;
    row->create_rev = op->create_rev;
    row->value = sp_store_value_ref(op->value);
    sp_list_append(&s->unwritten, &row->link);
    if (!uv_is_active((uv_handle_t *)&s->flush_timer))
        uv_timer_start(&s->flush_timer, on_flush_timer, s->base.cfg.relaxed_ms, 0);
}

static void make_ready(lite *s, sp_op *op) {
    sp_list_append(&s->ready, &op->link);
    sp_store_wake(&s->base);
}

static void submit(sp_store *base, const sp_store_write *w, sp_store_done *done, void *ctx) {
    lite *s = lite_of(base);
    sp_op *op = sp_op_new(w->key);
    op->done = done;
    op->ctx = ctx;
    decide(s, op, w);
    bool alone = !s->on_the_way;
    if (!s->writer || (op->answer && (alone || s->base.closing))) {
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

static void after(sp_store *base, sp_store_done *done, void *ctx) {
    lite *s = lite_of(base);
    sp_op *op = sp_op_new((sp_str){0});
    op->done = done;
    op->ctx = ctx;
    if (s->on_the_way && !s->base.closing)
        hand_over(s, op);
    else
        make_ready(s, op);
}

/* --- the turn of the loop --- */

static void free_lite(sp_store *base) {
    lite *s = lite_of(base);
    sp_map_free(&s->latest);
    while (!sp_list_empty(&s->unwritten)) {
        sp_op *op = op_of(s->unwritten.next);
        sp_list_remove(&op->link);
        sp_op_free(op);
    }
    sp_vec_free(&s->purge.revs);
    free(s->path);
    free(s);
}

static void on_timer_closed(uv_handle_t *h) {
    lite *s = h->data;
    if (--s->open_handles == 0) sp_store_finish(&s->base);
}

static void finish(lite *s) {
    if (s->writer) sp_writer_join(s->writer);
    uv_close((uv_handle_t *)&s->flush_timer, on_timer_closed);
    uv_close((uv_handle_t *)&s->probe_timer, on_timer_closed);
}

static void complete_ready(lite *s) {
    sp_list now;
    sp_list_init(&now);
    sp_list_each(&s->ready, it) {
        sp_list_remove(it);
        sp_list_append(&now, it);
    }
    while (!sp_list_empty(&now)) complete(s, op_of(now.next));
}

static void complete_written(lite *s, sp_list *back) {
    while (!sp_list_empty(back)) {
        s->on_the_way--;
        complete(s, op_of(back->next));
    }
}

static void turn(sp_store *base) {
    lite *s = lite_of(base);
    sp_list back;
    sp_list_init(&back);
    bool running = s->writer && sp_writer_take(s->writer, &back);
    complete_ready(s);
    complete_written(s, &back);
    if (s->base.closing && !running && sp_list_empty(&s->ready)) finish(s);
}

static void start_closing(sp_store *base) {
    lite *s = lite_of(base);
    if (s->writer) {
        sp_op *last = sp_op_new((sp_str){0});
        last->reserve = s->reserved ? s->assigned : 0;
        if (s->purge.revs.n) attach_purge(s, last);
        hand_over(s, last);
        sp_writer_stop(s->writer);
    }
    sp_store_wake(&s->base);
}

/* --- opening --- */

static bool load_row(void *ctx, const sp_row *row, sp_err *err) {
    lite *s = ctx;
    sp_store_value *value = NULL;
    if (!row->removed &&
        !sp_store_value_load(row->value, row->rev_at, row->rev, row->create_rev, &value, err))
        return false;
    sp_store_value *prev = sp_store_value_ref(sp_index_get(s->base.index, row->key));
    if (row->rev > s->base.history.floor) {
        sp_store_apply(&s->base, row->key, row->rev, value, prev);
    } else if (value) {
        sp_index_put(s->base.index, row->key, value);
        s->base.visible = row->rev;
    }
    sp_store_value_unref(prev);
    sp_store_value_unref(value);
    return true;
}

/* After a crash: nobody may take a revision for known that was only relaxed. */
static bool skip_lost(lite *s, sp_database *db, sp_err *err) {
    if (s->reserved <= s->base.visible) return true;
    bool again = s->base.lost_to > s->base.history.floor; /* an older range is still asked about */
    s->base.lost_from = again ? SP_MIN(s->base.lost_from, s->base.visible) : s->base.visible;
    s->base.lost_to = s->reserved;
    s->base.visible = s->reserved + 1;
    if (sp_database_begin(db, err) &&
        sp_database_set_number(db, "lost_from", s->base.lost_from, err) &&
        sp_database_set_number(db, "lost_to", s->base.lost_to, err) && sp_database_commit(db, err))
        return true;
    sp_database_rollback(db);
    return false;
}

static bool load(lite *s, sp_database *db, sp_err *err) {
    uint64_t floor;
    if (!sp_database_number(db, "floor", &floor, err) ||
        !sp_database_number(db, "reserved", &s->reserved, err) ||
        !sp_database_number(db, "lost_from", &s->base.lost_from, err) ||
        !sp_database_number(db, "lost_to", &s->base.lost_to, err))
        return false;
    s->base.visible = s->base.history.floor = floor;
    if (!sp_database_load(db, load_row, s, err) || !skip_lost(s, db, err)) return false;
    if (!s->base.visible) s->base.visible = s->base.history.floor = s->base.cfg.first_revision;
    s->assigned = s->base.visible;
    return true;
}

static bool start_database(lite *s, sp_err *err) {
    sp_database *db = NULL;
    if (!sp_database_open(s->path, &db, err)) return false;
    if (!load(s, db, err)) {
        sp_database_close(db);
        return false;
    }
    return sp_writer_start(db, &s->base.wake, &s->writer, err);
}

/* --- figures --- */

static uint64_t file_bytes(const char *path, const char *suffix) {
    char name[PATH_MAX];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void stats(const sp_store *base, sp_store_stats *ret) {
    const lite *s = (const lite *)(const void *)base;
    if (!s->writer) return;
    sp_writer_stats w = sp_writer_get_stats(s->writer);
    ret->commits = w.commits;
    ret->commit_us_total = w.commit_us_total;
    ret->db_bytes = file_bytes(s->path, "") + file_bytes(s->path, "-wal");
}

/* --- opening --- */

static const sp_store_engine engine = {
    .submit = submit,
    .after = after,
    .sync = after, /* nobody else writes here: what is visible is the newest */
    .latest = latest,
    .is_writable = is_writable,
    .close = start_closing,
    .turn = turn,
    .stats = stats,
    .free = free_lite,
};

static lite *new_store(uv_loop_t *loop, const sp_store_config *c) {
    lite *s = sp_zalloc(1, sizeof *s);
    sp_store_init(&s->base, &engine, loop, c);
    s->path = c->path ? sp_strdup(c->path) : NULL;
    s->base.cfg.path = s->path;
    s->base.history.left = left_history;
    sp_list_init(&s->ready);
    sp_list_init(&s->unwritten);
    sp_assert(uv_timer_init(loop, &s->flush_timer) == 0);
    sp_assert(uv_timer_init(loop, &s->probe_timer) == 0);
    s->open_handles = 2;
    s->flush_timer.data = s->probe_timer.data = s;
    uv_unref((uv_handle_t *)&s->probe_timer);
    uv_unref((uv_handle_t *)&s->flush_timer);
    return s;
}

bool sp_store_open(uv_loop_t *loop, const sp_store_config *c, sp_store **ret, sp_err *err) {
    lite *s = new_store(loop, c);
    if (c->path && !start_database(s, err)) {
        finish(s); /* freed when the loop has closed the handles */
        return false;
    }
    *ret = &s->base;
    return true;
}
