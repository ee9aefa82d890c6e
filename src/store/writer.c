#include "store/writer.h"

struct sp_writer {
    uv_thread_t thread;
    uv_mutex_t lock; /* guards the two lists, stop, ended, stats and failure */
    uv_cond_t arrived;
    sp_list in, out;
    bool stop, ended;
    sp_writer_stats stats;
    uv_async_t *wake;
    sp_database *db; /* of the thread from here on */
    sp_err failure;
    bool broken;
};

sp_op *sp_op_new(sp_str key) {
    sp_op *op = sp_malloc(sizeof *op + key.n + 1);
    char *own = (char *)(op + 1);
    if (key.n) memcpy(own, key.p, key.n);
    own[key.n] = 0;
    *op = (sp_op){.key = {own, key.n}};
    sp_list_init(&op->link);
    return op;
}

void sp_op_free(sp_op *op) {
    sp_store_value_unref(op->value);
    if (op->purge) sp_vec_free(&op->purge->revs);
    free(op->purge);
    free(op->answer);
    free(op);
}

static sp_op *op_of(sp_list *l) {
    return SP_CONTAINER(l, sp_op, link);
}

static void move_all(sp_list *from, sp_list *to) {
    sp_list_each(from, it) {
        sp_list_remove(it);
        sp_list_append(to, it);
    }
}

/* --- the thread --- */

static bool purge(sp_database *db, const sp_purge *p, sp_err *err) {
    for (size_t i = 0; i < p->revs.n; i++)
        if (!sp_database_delete(db, p->revs.p[i], err)) return false;
    return sp_database_set_number(db, "floor", p->floor, err);
}

static bool write_op(sp_database *db, const sp_op *op, sp_err *err) {
    sp_row row = {
        .rev = op->rev, .create_rev = op->create_rev, .key = op->key, .removed = !op->value};
    if (op->value) {
        row.value = sp_blob_str(op->value->bytes);
        row.rev_at = op->value->rev_at;
    }
    return (!op->has_row || sp_database_insert(db, &row, err)) &&
           (!(op->reserve || op->probe) ||
            sp_database_set_number(db, "reserved", op->reserve, err));
}

static bool write_all(sp_database *db, sp_list *batch, sp_err *err) {
    if (!sp_database_begin(db, err)) return false;
    sp_list_each(batch, it) if (!write_op(db, op_of(it), err)) return false;
    /* Rows may be purged in the group that brings them, hence the second round. */
    sp_list_each(batch, jt) if (op_of(jt)->purge && !purge(db, op_of(jt)->purge, err)) return false;
    return sp_database_commit(db, err);
}

static bool needs_commit(sp_list *batch) {
    sp_list_each(batch, it) {
        sp_op *op = op_of(it);
        if (op->has_row || op->reserve || op->purge || op->probe) return true;
    }
    return false;
}

static bool has_probe(sp_list *batch) {
    sp_list_each(batch, it) if (op_of(it)->probe) return true;
    return false;
}

static bool commit(sp_writer *w, sp_list *batch) {
    sp_err err = {0};
    if (w->broken && !has_probe(batch)) return false;
    w->broken = !write_all(w->db, batch, &err);
    if (!w->broken) return true;
    sp_database_rollback(w->db);
    sp_err_wrap(&err, "writes have stopped");
    uv_mutex_lock(&w->lock);
    w->failure = err;
    uv_mutex_unlock(&w->lock);
    return false;
}

static void process(sp_writer *w, sp_list *batch) {
    uint64_t start = uv_hrtime();
    bool needed = needs_commit(batch);
    if ((needed && !commit(w, batch)) || w->broken)
        sp_list_each(batch, it) op_of(it)->failed = true;
    uint64_t us = (uv_hrtime() - start) / 1000;
    uv_mutex_lock(&w->lock);
    w->stats.commits += needed;
    w->stats.commit_us_total += needed ? us : 0;
    move_all(batch, &w->out);
    uv_mutex_unlock(&w->lock);
    uv_async_send(w->wake);
}

static bool next_batch(sp_writer *w, sp_list *batch) {
    uv_mutex_lock(&w->lock);
    while (sp_list_empty(&w->in) && !w->stop) uv_cond_wait(&w->arrived, &w->lock);
    move_all(&w->in, batch);
    uv_mutex_unlock(&w->lock);
    return !sp_list_empty(batch);
}

static void thread_main(void *arg) {
    sp_writer *w = arg;
    sp_list batch;
    sp_list_init(&batch);
    while (next_batch(w, &batch)) process(w, &batch);
    w->db = sp_database_close(w->db);
    uv_mutex_lock(&w->lock);
    w->ended = true;
    uv_mutex_unlock(&w->lock);
    uv_async_send(w->wake);
}

/* --- the loop's side --- */

bool sp_writer_start(sp_database *db, uv_async_t *wake, sp_writer **ret, sp_err *err) {
    sp_writer *w = sp_zalloc(1, sizeof *w);
    *w = (sp_writer){.wake = wake, .db = db};
    sp_list_init(&w->in);
    sp_list_init(&w->out);
    sp_assert(uv_mutex_init(&w->lock) == 0 && uv_cond_init(&w->arrived) == 0);
    uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = 512 * 1024};
    int rc = uv_thread_create_ex(&w->thread, &options, thread_main, w);
    if (rc != 0) {
        sp_database_close(db);
        uv_cond_destroy(&w->arrived);
        uv_mutex_destroy(&w->lock);
        free(w);
        return sp_fail_errno(err, -rc, "start the writer thread of the store");
    }
    *ret = w;
    return true;
}

void sp_writer_put(sp_writer *w, sp_list *ops) {
    uv_mutex_lock(&w->lock);
    move_all(ops, &w->in);
    uv_cond_signal(&w->arrived);
    uv_mutex_unlock(&w->lock);
}

bool sp_writer_take(sp_writer *w, sp_list *list) {
    uv_mutex_lock(&w->lock);
    move_all(&w->out, list);
    bool running = !w->ended;
    uv_mutex_unlock(&w->lock);
    return running;
}

void sp_writer_stop(sp_writer *w) {
    uv_mutex_lock(&w->lock);
    w->stop = true;
    uv_cond_signal(&w->arrived);
    uv_mutex_unlock(&w->lock);
}

void sp_writer_join(sp_writer *w) {
    uv_thread_join(&w->thread);
    uv_cond_destroy(&w->arrived);
    uv_mutex_destroy(&w->lock);
    free(w);
}

sp_writer_stats sp_writer_get_stats(sp_writer *w) {
    uv_mutex_lock(&w->lock);
    sp_writer_stats s = w->stats;
    uv_mutex_unlock(&w->lock);
    return s;
}

void sp_writer_failure(sp_writer *w, sp_err *ret) {
    uv_mutex_lock(&w->lock);
    *ret = w->failure;
    uv_mutex_unlock(&w->lock);
}
