/* The store on etcd (3.4 and newer), shared by any number of API servers.
 *
 * A write is one transaction: the key is still at the revision it was expected at, then the key and
 * the head key are put. So the head key's mod_revision is always the revision of the newest change
 * under the prefix, and one linearizable read of that one key tells how far a consistent read must
 * have seen. Nothing becomes visible by the answer to a write: the watch brings it, in order with
 * the writes of everybody else, and the one who wrote is told after that.
 *
 * Writes of one key from here follow each other; what was decided on an older version is refused
 * without asking. What else a write was decided on (its guards) is compared in the same
 * transaction; a claimed name is put there, so that it moves with the write.
 *
 * When an answer is lost, nobody knows: the write may have been made, or may be made when a frozen
 * member of etcd wakes up. One that needs a certain revision can be made only once, so it is sent
 * again; any other is not, only looked for. What is said then is what the watch has shown: if a
 * change with the very bytes is there, it had been made, even if somebody has changed it since; if
 * the revision was taken by another change, it was not and never will be. Where that does not tell,
 * the answer is SP_TIMEOUT, which means that nobody knows. A write that etcd refuses because it is
 * full is looked for, too: the one that raises the alarm is made all the same. */
#include "store/etcd.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>

enum { CALL_TIMEOUT_MS = 5000, MAX_ATTEMPTS = 3 };

typedef struct pending {
    sp_etcd_waiter waiter; /* first */
    sp_list behind;        /* sp_list of those that follow on the same key */
    sp_list link;          /* in another's behind */
    sp_etcd_store *s;
    sp_buf key, full_key;
    sp_store_write w; /* slices of the buffers */
    sp_buf value;
    sp_store_guard guards[SP_STORE_GUARDS_MAX]; /* keys with the prefix, in guard_text */
    sp_buf guard_text;
    sp_store_done *done;
    void *ctx;
    unsigned attempts;
    uint64_t before; /* what was visible when it was first sent */
    bool unclear;    /* etcd may have got an attempt whose answer was lost */
    bool looking;    /* no attempt any more, only a look */
    int64_t sent_ms;
    /* the outcome */
    bool doubt; /* the history has to tell it */
    bool full;  /* err says so, unless the history tells that it was made */
    uint64_t rev;
    sp_store_value *there;
    sp_err err;
} pending;

typedef struct ready {
    sp_list link;
    sp_store_done *done;
    void *ctx;
} ready;

/* --- values --- */

sp_store_value *sp_etcd_value(const Etcd__KeyValue *kv) {
    uint32_t rev_at;
    sp_str bytes = sp_etcd_str(kv->value);
    if (!sp_etcd_find_rev(bytes, &rev_at)) return NULL;
    return sp_store_value_new(bytes, rev_at, (uint64_t)kv->mod_revision,
                              (uint64_t)kv->create_revision);
}

/* --- waiting until something is visible --- */

void sp_etcd_wait(sp_etcd_store *s, sp_etcd_waiter *w, uint64_t rev) {
    w->rev = rev;
    sp_list *at = s->waiters.prev;
    while (at != &s->waiters && SP_CONTAINER(at, sp_etcd_waiter, link)->rev > rev) at = at->prev;
    sp_list_init(&w->link);
    sp_list_append(at->next, &w->link); /* before at->next: behind at */
    if (rev > s->head) s->head = rev;
    if (rev <= s->base.visible || s->base.closing) sp_store_wake(&s->base);
}

static void serve_waiters(sp_etcd_store *s) {
    while (!sp_list_empty(&s->waiters)) {
        sp_etcd_waiter *w = SP_CONTAINER(s->waiters.next, sp_etcd_waiter, link);
        if (w->rev > s->base.visible && !s->base.closing) return;
        sp_list_remove(&w->link);
        w->fn(w);
    }
}

/* --- the end of a write --- */

static void launch(pending *x);
static bool refuse(pending *x);

static void free_write(pending *x) {
    sp_buf_free(&x->key);
    sp_buf_free(&x->full_key);
    sp_buf_free(&x->value);
    sp_buf_free(&x->guard_text);
    sp_store_value_unref(x->there);
    free(x);
}

/* What came before is visible here, so most of what cannot be need not be sent. */
static void decide_here(pending *x) {
    sp_store_value *there = sp_index_get(x->s->base.index, sp_buf_str(&x->key));
    bool fits = x->w.expect == SP_STORE_ANY || x->w.expect == (there ? there->rev : 0);
    if (fits) return;
    if (there) x->there = sp_store_value_ref(there);
    (void)refuse(x);
}

/* The next one of the same key has its turn. */
static void pass_on(pending *x) {
    sp_etcd_store *s = x->s;
    sp_str key = sp_buf_str(&x->key);
    if (sp_list_empty(&x->behind)) {
        sp_map_del(&s->keys, key);
        return;
    }
    pending *next = SP_CONTAINER(x->behind.next, pending, link);
    sp_list_remove(&next->link);
    while (!sp_list_empty(&x->behind)) {
        sp_list *l = x->behind.next;
        sp_list_remove(l);
        sp_list_append(&next->behind, l);
    }
    sp_map_put(&s->keys, key, next);
    if (!next->err.code) decide_here(next);
    launch(next);
}

/* --- when nobody knows --- */

/* What it is conditional on holds once. */
static bool is_repeatable(const pending *x) {
    return x->w.expect != SP_STORE_ANY && x->w.expect != SP_STORE_ABSENT;
}

static bool is_ours(const pending *x, const sp_store_value *v) {
    sp_str all = sp_blob_str(v->bytes);
    return v->rev_at == x->w.rev_at && all.n == x->w.value.n + v->rev_len &&
           sp_str_eq(sp_str_sub(all, 0, v->rev_at), sp_str_sub(x->w.value, 0, x->w.rev_at)) &&
           sp_str_eq(sp_str_from(all, v->rev_at + v->rev_len),
                     sp_str_from(x->w.value, x->w.rev_at));
}

typedef enum verdict { UNKNOWN, MADE, NEVER } verdict;

/* By the changes of its key since it was sent. */
static verdict look_back(const pending *x, sp_store_event **ret) {
    const sp_history *h = &x->s->base.history;
    uint64_t from = is_repeatable(x) ? SP_MAX(x->before, x->w.expect) : x->before;
    if (from < h->floor || x->s->base.visible < x->waiter.rev) return UNKNOWN;
    for (uint64_t at = sp_history_after(h, from); at < h->end; at++) {
        sp_store_event *e = sp_history_at(h, at);
        if (!sp_str_eq(e->key, x->w.key)) continue;
        *ret = e;
        if (e->value && !x->w.remove && is_ours(x, e->value)) return MADE;
        if (is_repeatable(x)) return x->w.remove && !e->value ? UNKNOWN : NEVER;
    }
    return is_repeatable(x) ? NEVER : UNKNOWN;
}

static void say_unknown(pending *x, const sp_err *why) {
    (void)sp_fail(&x->err, SP_TIMEOUT,
                  "the answer of etcd was lost, and nobody knows whether it was done%s%s",
                  why ? ": " : "", why ? why->text : "");
}

static void resolve(pending *x) {
    sp_store_event *e = NULL;
    verdict v = look_back(x, &e);
    const sp_store *base = &x->s->base;
    bool known = x->before >= base->history.floor && base->visible >= x->waiter.rev;
    bool gone = v == UNKNOWN && e && !e->value && x->w.remove;
    if (v == MADE) {
        x->err = (sp_err){0};
        sp_store_value_unref(x->there);
        x->there = sp_store_value_ref(e->value);
        x->rev = e->rev;
    } else if (x->full && known && !gone) {
        return;
    } else if (v == NEVER) {
        (void)refuse(x);
    } else {
        say_unknown(x, NULL);
    }
}

static void tell(sp_etcd_waiter *waiter) {
    pending *x = (pending *)(void *)waiter;
    if (x->doubt) resolve(x);
    sp_store_done *done = x->done;
    if (!x->err.code) x->s->base.writes++;
    if (!x->err.code && x->waiter.rev <= x->s->base.visible) sp_etcd_fed(x->s, x->sent_ms);
    pass_on(x);
    if (done) done(x->ctx, x->err.code ? 0 : x->rev, x->there, x->err.code ? &x->err : NULL);
    free_write(x);
}

/* rev: what must be visible first. */
static void conclude(pending *x, uint64_t rev) {
    x->waiter.fn = tell;
    sp_etcd_wait(x->s, &x->waiter, rev);
}

static bool refuse(pending *x) {
    const sp_store_write *w = &x->w;
    uint64_t there = x->there ? x->there->rev : 0;
    bool fits = w->expect == SP_STORE_ANY ? !w->remove || x->there : w->expect == there;
    if (fits) return sp_fail(&x->err, SP_CONFLICT, "what it was decided on has changed");
    if (w->remove && !x->there) return sp_fail(&x->err, SP_NOT_FOUND, "it does not exist");
    if (w->expect == SP_STORE_ABSENT)
        return sp_fail(&x->err, SP_ALREADY_EXISTS, "it exists already");
    if (!x->there)
        return sp_fail(&x->err, SP_CONFLICT,
                       "it was expected at revision %" PRIu64 " and does not exist", w->expect);
    return sp_fail(&x->err, SP_CONFLICT,
                   "it was expected at revision %" PRIu64 " and is at revision %" PRIu64, w->expect,
                   there);
}

/* --- the transaction --- */

static void on_answer(void *ctx, const ProtobufCMessage *m, const sp_err *err);

static sp_str head_mark(void) {
    return SP_STR(SP_ETCD_MARK);
}

static void fill_compare(const pending *x, Etcd__Compare *c) {
    etcd__compare__init(c);
    c->key = sp_etcd_bytes(sp_buf_str(&x->full_key));
    c->result = ETCD__COMPARE__RESULT__EQUAL;
    if (x->w.expect == SP_STORE_ANY) { /* a removal: of something */
        c->result = ETCD__COMPARE__RESULT__GREATER;
        c->target = ETCD__COMPARE__TARGET__VERSION;
        c->target_union_case = ETCD__COMPARE__TARGET_UNION_VERSION;
        return;
    }
    c->target = ETCD__COMPARE__TARGET__MOD;
    c->target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
    c->mod_revision = (int64_t)x->w.expect; /* 0: it does not exist */
}

/* A name that nobody has claimed yet has revision 0: nobody did after any revision. */
static void fill_guard(const sp_store_guard *g, Etcd__Compare *c) {
    bool same = g->kind == SP_GUARD_SAME;
    etcd__compare__init(c);
    c->key = sp_etcd_bytes(g->key);
    c->result = same ? ETCD__COMPARE__RESULT__EQUAL : ETCD__COMPARE__RESULT__LESS;
    c->target = ETCD__COMPARE__TARGET__MOD;
    c->target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
    c->mod_revision = (int64_t)(same ? g->rev : g->rev + 1);
}

enum { MAX_COMPARES = 1 + SP_STORE_GUARDS_MAX, MAX_PUTS = 2 + SP_STORE_GUARDS_MAX };

/* One transaction and what it points to. */
typedef struct plan {
    Etcd__TxnRequest txn;
    Etcd__Compare compare[MAX_COMPARES], *compares[MAX_COMPARES];
    Etcd__PutRequest puts[MAX_PUTS];
    Etcd__DeleteRangeRequest remove;
    Etcd__RangeRequest gets[2];
    Etcd__RequestOp ops[MAX_PUTS + 2], *yes[MAX_PUTS], *no[2];
    size_t n_ops, n_puts;
} plan;

static void plan_put(plan *p, sp_str key, sp_str value) {
    Etcd__PutRequest *put = &p->puts[p->n_puts++];
    Etcd__RequestOp *op = &p->ops[p->n_ops++];
    etcd__put_request__init(put);
    etcd__request_op__init(op);
    put->key = sp_etcd_bytes(key);
    put->value = sp_etcd_bytes(value);
    op->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = put;
    p->yes[p->txn.n_success++] = op;
}

static void plan_remove(plan *p, sp_str key) {
    Etcd__RequestOp *op = &p->ops[p->n_ops++];
    etcd__delete_range_request__init(&p->remove);
    etcd__request_op__init(op);
    p->remove.key = sp_etcd_bytes(key);
    p->remove.prev_kv = true;
    op->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = &p->remove;
    p->yes[p->txn.n_success++] = op;
}

/* If it cannot be: what is there, and how far the store is. */
static void plan_look(plan *p, sp_str key) {
    Etcd__RangeRequest *get = &p->gets[p->txn.n_failure];
    Etcd__RequestOp *op = &p->ops[p->n_ops++];
    etcd__range_request__init(get);
    etcd__request_op__init(op);
    get->key = sp_etcd_bytes(key);
    op->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = get;
    p->no[p->txn.n_failure++] = op;
}

/* Never holds: nothing is done. */
static void fill_never(const pending *x, Etcd__Compare *c) {
    etcd__compare__init(c);
    c->key = sp_etcd_bytes(sp_buf_str(&x->full_key));
    c->result = ETCD__COMPARE__RESULT__LESS;
    c->target = ETCD__COMPARE__TARGET__VERSION;
    c->target_union_case = ETCD__COMPARE__TARGET_UNION_VERSION;
    c->version = 0;
}

static void make_plan(const pending *x, plan *p) {
    const sp_etcd_store *s = x->s;
    sp_str key = sp_buf_str(&x->full_key), head = sp_buf_str(&s->head_key);
    etcd__txn_request__init(&p->txn);
    p->n_ops = p->n_puts = 0;
    p->txn.compare = p->compares;
    p->txn.success = p->yes;
    p->txn.failure = p->no;
    if (x->looking)
        fill_never(x, &p->compare[p->txn.n_compare++]);
    else if (x->w.remove || x->w.expect != SP_STORE_ANY)
        fill_compare(x, &p->compare[p->txn.n_compare++]);
    for (size_t i = 0; i < x->w.guard_count; i++)
        fill_guard(&x->guards[i], &p->compare[p->txn.n_compare++]);
    for (size_t i = 0; i < p->txn.n_compare; i++) p->compares[i] = &p->compare[i];
    if (x->w.remove)
        plan_remove(p, key); /* the change first: made() looks there */
    else
        plan_put(p, key, x->w.value);
    plan_put(p, head, head_mark());
    for (size_t i = 0; i < x->w.guard_count; i++)
        if (x->guards[i].kind == SP_GUARD_CLAIM) plan_put(p, x->guards[i].key, SP_STR(""));
    plan_look(p, key);
    plan_look(p, head);
}

static void transact(pending *x) {
    sp_etcd_store *s = x->s;
    plan p;
    if (!x->attempts++) x->before = s->base.visible;
    x->looking = x->unclear && !is_repeatable(x);
    make_plan(x, &p);
    x->sent_ms = sp_clock_mono_ms();
    s->flying++;
    sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Txn", &p.txn.base,
                       &etcd__txn_response__descriptor, SP_ETCD_ONCE, CALL_TIMEOUT_MS, on_answer,
                       x);
}

static void launch(pending *x) {
    if (x->err.code)
        conclude(x, 0);
    else
        transact(x);
}

/* --- its answer --- */

static const Etcd__KeyValue *first_of(const Etcd__TxnResponse *r, size_t i) {
    if (i >= r->n_responses ||
        r->responses[i]->response_case != ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE)
        return NULL;
    const Etcd__RangeResponse *range = r->responses[i]->response_range;
    return range && range->n_kvs ? range->kvs[0] : NULL;
}

static void made(pending *x, const Etcd__TxnResponse *r) {
    x->rev = (uint64_t)r->header->revision;
    const Etcd__ResponseOp *op = r->n_responses ? r->responses[0] : NULL;
    if (!x->w.remove) {
        sp_store_value *old = x->w.expect == SP_STORE_ABSENT
                                  ? NULL
                                  : sp_index_get(x->s->base.index, sp_buf_str(&x->key));
        x->there =
            sp_store_value_new(x->w.value, x->w.rev_at, x->rev, old ? old->create_rev : x->rev);
    } else if (op && op->response_case == ETCD__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE &&
               op->response_delete_range->n_prev_kvs) {
        x->there = sp_etcd_value(op->response_delete_range->prev_kvs[0]);
    }
    conclude(x, x->rev);
}

static void not_made(pending *x, const Etcd__TxnResponse *r) {
    const Etcd__KeyValue *kv = first_of(r, 0), *head = first_of(r, 1);
    bool moved = (kv ? (uint64_t)kv->mod_revision : 0) != x->w.expect;
    if (kv) x->there = sp_etcd_value(kv);
    x->doubt = x->looking || (x->unclear && moved);
    if (!x->doubt) (void)refuse(x);
    conclude(x, head ? (uint64_t)head->mod_revision : 0);
}

static bool is_for_endpoint(const pending *x) {
    sp_etcd_fault fault = sp_etcd_fault_now(x->s->etcd);
    return fault == SP_ETCD_FAULT_ENDPOINT || fault == SP_ETCD_FAULT_FINAL;
}

static bool may_try_again(const pending *x) {
    return is_for_endpoint(x) && x->attempts < MAX_ATTEMPTS && !x->s->base.closing;
}

static void give_up(pending *x, const sp_err *err) {
    if (x->unclear) {
        say_unknown(x, err);
    } else {
        x->err = *err;
        if (err->code == SP_TIMEOUT) x->err.code = SP_UNAVAILABLE;
    }
    conclude(x, 0);
}

static void on_looked(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    pending *x = ctx;
    const Etcd__RangeResponse *r = (const Etcd__RangeResponse *)(const void *)m;
    x->s->flying--;
    x->doubt = x->full = !err;
    if (err) say_unknown(x, err);
    conclude(x, !err && r->n_kvs ? (uint64_t)r->kvs[0]->mod_revision : 0);
}

/* How far the store is: by then it is here, if it was made. */
static void look_after_refusal(pending *x, const sp_err *err) {
    Etcd__RangeRequest q = ETCD__RANGE_REQUEST__INIT;
    q.key = sp_etcd_bytes(sp_buf_str(&x->s->head_key));
    q.keys_only = true;
    x->err = *err;
    x->s->flying++;
    sp_etcd_call_start(x->s->etcd, "/etcdserverpb.KV/Range", &q.base,
                       &etcd__range_response__descriptor, SP_ETCD_SAFE, CALL_TIMEOUT_MS, on_looked,
                       x);
}

static void on_answer(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    pending *x = ctx;
    const Etcd__TxnResponse *r = (const Etcd__TxnResponse *)(const void *)m;
    x->s->flying--;
    bool answered = err && sp_etcd_fault_now(x->s->etcd) == SP_ETCD_FAULT_CALL;
    sp_etcd_heard(x->s, answered ? NULL : err);
    if (err && is_for_endpoint(x) && sp_etcd_was_sent(x->s->etcd)) x->unclear = true;
    if (err && may_try_again(x)) {
        launch(x);
    } else if (err && sp_etcd_is_full(err) && !x->s->base.closing) {
        look_after_refusal(x, err);
    } else if (err) {
        give_up(x, err);
    } else if (r->succeeded) {
        made(x, r);
    } else {
        not_made(x, r);
    }
}

/* --- submitting --- */

/* The text is complete before anything points at it. */
static void keep_guards(pending *x, const sp_store_write *w) {
    size_t at = 0;
    sp_assert(w->guard_count <= SP_STORE_GUARDS_MAX);
    for (size_t i = 0; i < w->guard_count; i++)
        sp_buf_printf(&x->guard_text, "%s%.*s", x->s->prefix, SP_ARG(w->guards[i].key));
    for (size_t i = 0; i < w->guard_count; i++) {
        size_t n = strlen(x->s->prefix) + w->guards[i].key.n;
        x->guards[i] = w->guards[i];
        x->guards[i].key = sp_str_sub(sp_buf_str(&x->guard_text), at, n);
        at += n;
    }
    x->w.guards = x->guards;
}

static void submit(sp_store *base, const sp_store_write *w, sp_store_done *done, void *ctx) {
    sp_etcd_store *s = sp_etcd_of(base);
    pending *x = sp_zalloc(1, sizeof *x);
    x->s = s;
    sp_list_init(&x->behind);
    sp_list_init(&x->link);
    sp_list_init(&x->waiter.link);
    sp_buf_add(&x->key, w->key);
    sp_buf_addz(&x->full_key, s->prefix);
    sp_buf_add(&x->full_key, w->key);
    sp_buf_add(&x->value, w->value);
    x->w = *w;
    x->w.key = sp_buf_str(&x->key);
    x->w.value = sp_buf_str(&x->value);
    keep_guards(x, w);
    x->done = done;
    x->ctx = ctx;
    pending *before = sp_map_get(&s->keys, w->key);
    if (before)
        sp_list_append(&before->behind, &x->link);
    else
        sp_map_put(&s->keys, w->key, x);
    if (base->closing)
        (void)sp_fail(&x->err, SP_UNAVAILABLE, "the store is closing");
    else if (s->lost)
        x->err = s->trouble;
    else if (w->value.n > base->cfg.max_value_bytes)
        (void)sp_fail(&x->err, SP_TOO_LARGE, "%zu bytes are more than the limit of %zu", w->value.n,
                      base->cfg.max_value_bytes);
    if (!before) launch(x);
}

static void after(sp_store *base, sp_store_done *done, void *ctx) {
    sp_etcd_store *s = sp_etcd_of(base);
    ready *x = sp_zalloc(1, sizeof *x);
    x->done = done;
    x->ctx = ctx;
    sp_list_init(&x->link);
    sp_list_append(&s->ready, &x->link);
    sp_store_wake(base);
}

static sp_store_value *latest(sp_store *base, sp_str key) {
    return sp_index_get(base->index, key);
}

/* --- consistent reads --- */

typedef struct asked {
    sp_etcd_waiter waiter; /* first */
    sp_etcd_store *s;
    int64_t sent_ms;
    SP_VEC(sp_etcd_asker) list;
    sp_err err;
} asked;

static void ask(sp_etcd_store *s);

static void answer_all(sp_etcd_waiter *w) {
    asked *x = (asked *)(void *)w;
    if (!x->err.code && w->rev <= x->s->base.visible) sp_etcd_fed(x->s, x->sent_ms);
    sp_vec_each(&x->list, a) a->done(a->ctx, 0, NULL, x->err.code ? &x->err : NULL);
    sp_vec_free(&x->list);
    free(x);
}

static void on_head(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    const Etcd__RangeResponse *r = (const Etcd__RangeResponse *)(const void *)m;
    asked *x = sp_zalloc(1, sizeof *x);
    s->question = NULL;
    sp_etcd_heard(s, err);
    x->waiter.fn = answer_all;
    x->s = s;
    x->sent_ms = s->asked_ms;
    x->list.p = s->asked.p;
    x->list.n = s->asked.n;
    x->list.cap = s->asked.cap;
    s->asked.p = NULL;
    s->asked.n = s->asked.cap = 0;
    if (err) x->err = *err;
    if (x->err.code == SP_TIMEOUT) x->err.code = SP_UNAVAILABLE;
    sp_etcd_wait(s, &x->waiter, !err && r->n_kvs ? (uint64_t)r->kvs[0]->mod_revision : 0);
    if (s->asking.n) ask(s);
}

static void ask(sp_etcd_store *s) {
    Etcd__RangeRequest q = ETCD__RANGE_REQUEST__INIT;
    q.key = sp_etcd_bytes(sp_buf_str(&s->head_key));
    q.keys_only = true;
    s->asked_ms = sp_clock_mono_ms();
    s->asked.p = s->asking.p;
    s->asked.n = s->asking.n;
    s->asked.cap = s->asking.cap;
    s->asking.p = NULL;
    s->asking.n = s->asking.cap = 0;
    s->question = sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Range", &q.base,
                                     &etcd__range_response__descriptor, SP_ETCD_SAFE,
                                     CALL_TIMEOUT_MS, on_head, s);
}

static void nothing_to_tell(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    (void)ctx, (void)rev, (void)value, (void)err; /* sp_etcd_heard has seen it */
}

void sp_etcd_probe(sp_etcd_store *s) {
    if (s->question) return;
    sp_vec_push(&s->asking, ((sp_etcd_asker){nothing_to_tell, NULL}));
    ask(s);
}

void sp_etcd_fail_waiting(sp_etcd_store *s) {
    SP_VEC(asked *) list = {0};
    sp_list_each(&s->waiters, it) {
        sp_etcd_waiter *w = SP_CONTAINER(it, sp_etcd_waiter, link);
        if (w->fn == answer_all) sp_vec_push(&list, (asked *)(void *)w);
    }
    sp_vec_each(&list, x) {
        (*x)->err = s->trouble;
        sp_list_remove(&(*x)->waiter.link);
        sp_etcd_wait(s, &(*x)->waiter, 0);
    }
    sp_vec_free(&list);
}

/* Known to be in vain. */
static void refuse_asker(sp_etcd_store *s, sp_store_done *done, void *ctx) {
    asked *x = sp_zalloc(1, sizeof *x);
    x->waiter.fn = answer_all;
    x->s = s;
    x->err = s->trouble;
    sp_vec_push(&x->list, ((sp_etcd_asker){done, ctx}));
    sp_etcd_wait(s, &x->waiter, 0);
}

static void catch_up(sp_store *base, sp_store_done *done, void *ctx) {
    sp_etcd_store *s = sp_etcd_of(base);
    if (s->lost) {
        refuse_asker(s, done, ctx);
        return;
    }
    sp_vec_push(&s->asking, ((sp_etcd_asker){done, ctx}));
    if (!s->question && !base->closing) ask(s);
    if (base->closing) sp_store_wake(base);
}

/* --- the turn of the loop --- */

static void fail_askers(sp_etcd_store *s) {
    sp_err err = {0};
    (void)sp_fail(&err, SP_UNAVAILABLE, "the store is closing");
    sp_vec_each(&s->asked, a) a->done(a->ctx, 0, NULL, &err);
    sp_vec_each(&s->asking, b) b->done(b->ctx, 0, NULL, &err);
    s->asked.n = s->asking.n = 0;
}

static void serve_ready(sp_etcd_store *s) {
    while (!sp_list_empty(&s->ready)) {
        ready *x = SP_CONTAINER(s->ready.next, ready, link);
        sp_list_remove(&x->link);
        x->done(x->ctx, 0, NULL, NULL);
        free(x);
    }
}

static void on_handle_closed(uv_handle_t *h) {
    sp_etcd_store *s = h->data;
    if (--s->open_handles == 0) sp_store_finish(&s->base);
}

static void let_go(sp_etcd_store *s) {
    uv_handle_t *const handles[] = {(uv_handle_t *)&s->retry, (uv_handle_t *)&s->pulse,
                                    (uv_handle_t *)&s->compact};
    s->etcd = sp_etcd_free(s->etcd);
    s->question = NULL;
    fail_askers(s);
    for (size_t i = 0; i < SP_COUNT(handles); i++) uv_close(handles[i], on_handle_closed);
}

static void turn(sp_store *base) {
    sp_etcd_store *s = sp_etcd_of(base);
    serve_waiters(s);
    serve_ready(s);
    if (base->closing && !s->flying && s->etcd && sp_list_empty(&s->waiters)) let_go(s);
}

static void start_closing(sp_store *base) {
    sp_etcd_store *s = sp_etcd_of(base);
    sp_etcd_feed_stop(s);
    sp_store_wake(base);
}

static bool is_writable(const sp_store *base) {
    const sp_etcd_store *s = (const sp_etcd_store *)(const void *)base;
    return s->loaded && !s->lost;
}

static uint64_t silent_ms(const sp_store *base) {
    const sp_etcd_store *s = (const sp_etcd_store *)(const void *)base;
    return (uint64_t)(sp_clock_mono_ms() - s->fed_ms);
}

static void free_store(sp_store *base) {
    sp_etcd_store *s = sp_etcd_of(base);
    sp_buf *const bufs[] = {&s->head_key, &s->compact_key, &s->data_key, &s->data_end,
                            &s->load_from};
    for (size_t i = 0; i < SP_COUNT(bufs); i++) sp_buf_free(bufs[i]);
    sp_map_free(&s->keys);
    sp_vec_free(&s->asking);
    sp_vec_free(&s->asked);
    sp_index_free(s->fresh);
    free(s->prefix);
    free(s);
}

/* --- opening --- */

static const sp_store_engine engine = {
    .submit = submit,
    .after = after,
    .sync = catch_up,
    .latest = latest,
    .is_writable = is_writable,
    .silent_ms = silent_ms,
    .close = start_closing,
    .turn = turn,
    .shared = true,
    .free = free_store,
};

static sp_etcd_store *new_store(uv_loop_t *loop, const sp_store_config *c) {
    sp_etcd_store *s = sp_zalloc(1, sizeof *s);
    uv_timer_t *const timers[] = {&s->retry, &s->pulse, &s->compact};
    s->loop = loop;
    sp_store_init(&s->base, &engine, loop, c);
    s->prefix = sp_strdup(c->etcd_prefix ? c->etcd_prefix : "");
    sp_buf_printf(&s->head_key, "%s%s", s->prefix, SP_ETCD_HEAD);
    sp_buf_printf(&s->compact_key, "%s%s", s->prefix, SP_ETCD_COMPACT);
    sp_buf_printf(&s->data_key, "%s%s", s->prefix, SP_ETCD_DATA);
    sp_etcd_prefix_end(sp_buf_str(&s->data_key), &s->data_end);
    sp_list_init(&s->waiters);
    sp_list_init(&s->ready);
    for (size_t i = 0; i < SP_COUNT(timers); i++) {
        sp_assert(uv_timer_init(loop, timers[i]) == 0);
        timers[i]->data = s;
    }
    s->open_handles = SP_COUNT(timers);
    return s;
}

static void closed(void *ctx) {
    *(bool *)ctx = true;
}

/* Blocks: there is nothing to serve before the first load. */
bool sp_store_open_etcd(uv_loop_t *loop, const sp_store_config *c, sp_store **ret, sp_err *err) {
    sp_etcd_store *s = new_store(loop, c);
    sp_err why = {0};
    bool gone = false;
    int64_t until = sp_clock_mono_ms() + (c->etcd_wait_ms ? c->etcd_wait_ms : 10000);
    bool ok = sp_etcd_new(loop, c->etcd, &s->etcd, &why);
    if (ok) sp_etcd_feed_start(s);
    while (ok && !s->loaded && !s->refused.code && sp_clock_mono_ms() < until)
        uv_run(loop, UV_RUN_ONCE);
    if (s->loaded) {
        *ret = &s->base;
        return true;
    }
    if (ok) why = s->refused.code ? s->refused : s->trouble;
    if (!why.code) (void)sp_fail(&why, SP_UNAVAILABLE, "etcd does not answer");
    if (!ok) s->etcd = NULL;
    sp_store_close(&s->base, closed, &gone);
    if (!s->etcd) let_go(s);
    while (!gone) uv_run(loop, UV_RUN_ONCE);
    if (err) *err = why;
    return false;
}
