/* What comes from etcd: everything once, at one revision, page by page; then a watch from there on,
 * which is taken up again where it broke off, on whatever endpoint answers. When etcd has forgotten
 * the place (compaction), everything is loaded again and the difference shown as changes, so that
 * watches above end in the right state; only what lies between cannot be asked for any more.
 *
 * A pulse asks the quorum when nothing else has, so a cluster without one is noticed in seconds,
 * and a watch that has gone silent while others write is opened anew. */
#include "store/etcd.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"

#include <inttypes.h>

enum {
    PAGE = 500,
    CALL_TIMEOUT_MS = 5000,
    PULSE_MS = 500,
    QUIET_MS = 1500, /* then the pulse asks */
    LOST_MS = 5000,  /* no answer for so long: there is no quorum for us */
    SILENT_MS = 5000,
    STALE_MS = 15000, /* the watch behind for so long: the same as no quorum */
    RETRY_MS = 200,
    COMPACT_MS = 300000
};

static void start_load(sp_etcd_store *s);
static void start_watch(sp_etcd_store *s);

/* --- what answers tell of the cluster --- */

static void found_again(sp_etcd_store *s) {
    s->lost = false;
    sp_info("etcd answers again", SP_KV("endpoint", sp_etcd_endpoint(s->etcd)));
}

void sp_etcd_fed(sp_etcd_store *s, int64_t ms) {
    if (ms > s->fed_ms) s->fed_ms = ms;
    if (s->lost && sp_clock_mono_ms() - s->fed_ms < LOST_MS) found_again(s);
}

void sp_etcd_heard(sp_etcd_store *s, const sp_err *err) {
    if (!err) {
        s->heard_ms = sp_clock_mono_ms();
        return;
    }
    bool silent = sp_etcd_fault_now(s->etcd) == SP_ETCD_FAULT_ENDPOINT;
    s->trouble = *err;
    s->trouble.code = SP_UNAVAILABLE;
    (void)sp_err_wrap(&s->trouble, silent ? "etcd has no quorum or cannot be reached"
                                          : "etcd cannot be used as it is");
}

static void look_for_loss(sp_etcd_store *s, int64_t now) {
    bool silent = now - s->heard_ms >= LOST_MS;
    bool behind = s->loaded && now - s->fed_ms >= STALE_MS;
    if (s->lost || !(silent || behind)) return;
    s->lost = true;
    if (!silent)
        (void)sp_fail(&s->trouble, SP_UNAVAILABLE,
                      "etcd at %s answers, but its watch does not bring what was written",
                      sp_etcd_endpoint(s->etcd));
    if (!s->trouble.code)
        (void)sp_fail(&s->trouble, SP_UNAVAILABLE, "etcd at %s does not answer",
                      sp_etcd_endpoint(s->etcd));
    sp_error(s->loaded ? "etcd is lost: reads are stale, writes are refused"
                       : "etcd does not answer yet",
             SP_KV("why", s->trouble.text));
    sp_etcd_fail_waiting(s);
}

/* What was the newest a while ago has still not come. */
static void look_for_silence(sp_etcd_store *s, int64_t now) {
    static const char why[] = "the watch is silent though others write";
    if (s->base.visible >= s->head || !s->watch) {
        s->behind_since_ms = 0;
    } else if (!s->behind_since_ms || s->base.visible >= s->behind_head) {
        s->behind_since_ms = now;
        s->behind_head = s->head;
    } else if (now - s->behind_since_ms > SILENT_MS) {
        sp_warn(why, SP_KV("endpoint", sp_etcd_endpoint(s->etcd)),
                SP_KV("visible", s->base.visible), SP_KV("newest", s->head));
        s->behind_since_ms = 0;
        sp_etcd_cancel(s->watch);
        s->watch = NULL;
        sp_etcd_leave(s->etcd);
        start_watch(s);
    }
}

static void on_pulse(uv_timer_t *t) {
    sp_etcd_store *s = t->data;
    int64_t now = sp_clock_mono_ms();
    if (s->base.cfg.etcd_look && s->loaded) return;
    if (s->loaded && now - SP_MIN(s->heard_ms, s->fed_ms) > QUIET_MS) sp_etcd_probe(s);
    look_for_loss(s, now);
    if (s->loaded) look_for_silence(s, now);
}

/* --- again after a while --- */

static void on_retry(uv_timer_t *t) {
    sp_etcd_store *s = t->data;
    if (s->load || s->watch) return;
    if (s->loaded && !s->reload)
        start_watch(s);
    else
        start_load(s);
}

static void retry_later(sp_etcd_store *s) {
    uint64_t ms = RETRY_MS + sp_rng_u64() % RETRY_MS;
    if (!s->base.closing) uv_timer_start(&s->retry, on_retry, ms, 0);
}

/* At the start, what waiting cannot mend is an end. */
static bool is_vain(const sp_etcd_store *s) {
    sp_etcd_fault fault = sp_etcd_fault_now(s->etcd);
    return fault == SP_ETCD_FAULT_CALL || fault == SP_ETCD_FAULT_TOKEN ||
           sp_etcd_is_hopeless(s->etcd);
}

static void refuse(sp_etcd_store *s, const sp_err *err) {
    if (!s->loaded) s->refused = *err;
    sp_error("etcd cannot be used as it is", SP_KV("why", err->text));
    retry_later(s);
}

static void load_failed(sp_etcd_store *s, const sp_err *err) {
    bool compacted = err->code == SP_EXPIRED && !s->base.cfg.etcd_look;
    if (!s->loaded && !compacted && is_vain(s))
        refuse(s, err);
    else
        retry_later(s);
}

/* --- the watch --- */

static sp_str own_key(const sp_etcd_store *s, sp_str full) {
    return sp_str_from(full, strlen(s->prefix));
}

static void show_event(sp_etcd_store *s, const Etcd__Event *e) {
    const Etcd__KeyValue *kv = e->kv;
    if (!kv || (uint64_t)kv->mod_revision <= s->base.visible) return; /* seen before the break */
    bool gone = e->type == ETCD__EVENT__EVENT_TYPE__DELETE;
    sp_str key = own_key(s, sp_etcd_str(kv->key));
    sp_store_value *v = gone ? NULL : sp_etcd_value(kv);
    if (!gone && !v) {
        sp_error("a value in etcd is not an object of ours; it counts as missing",
                 SP_KV("key", sp_etcd_str(kv->key)));
        if (!sp_index_get(s->base.index, key)) return;
    }
    if (gone && !sp_index_get(s->base.index, key)) return;
    sp_store_value_unref(sp_store_show(&s->base, key, (uint64_t)kv->mod_revision, v));
    sp_store_value_unref(v);
}

static void on_events(void *ctx, const ProtobufCMessage *m) {
    sp_etcd_store *s = ctx;
    const Etcd__WatchResponse *r = (const Etcd__WatchResponse *)(const void *)m;
    sp_etcd_heard(s, NULL);
    if (r->canceled) {
        s->reload = r->compact_revision > 0;
        sp_warn("etcd has ended the watch", SP_KV("why", r->cancel_reason),
                SP_KV("compacted", r->compact_revision));
        sp_etcd_cancel(s->watch);
        s->watch = NULL;
        retry_later(s);
        return;
    }
    for (size_t i = 0; i < r->n_events; i++) show_event(s, r->events[i]);
    if (s->base.visible > s->head) s->head = s->base.visible;
    if (r->n_events) sp_store_wake(&s->base);
}

static void on_watch_done(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    (void)m;
    s->watch = NULL;
    if (err) sp_etcd_heard(s, err);
    retry_later(s);
}

static void start_watch(sp_etcd_store *s) {
    Etcd__WatchCreateRequest create = ETCD__WATCH_CREATE_REQUEST__INIT;
    Etcd__WatchRequest q = ETCD__WATCH_REQUEST__INIT;
    create.key = sp_etcd_bytes(sp_buf_str(&s->data_key));
    create.range_end = sp_etcd_bytes(sp_buf_str(&s->data_end));
    create.start_revision = (int64_t)s->base.visible + 1;
    create.progress_notify = true;
    create.fragment = true;
    q.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    q.create_request = &create;
    s->watch = sp_etcd_stream(s->etcd, "/etcdserverpb.Watch/Watch", &q.base,
                              &etcd__watch_response__descriptor, on_events, on_watch_done, s);
}

/* --- everything at one revision --- */

typedef struct change {
    sp_str key; /* of an index that lives on */
    sp_store_value *value;
    uint64_t rev;
} change;
typedef SP_VEC(change) changes;

static int by_rev(const void *a, const void *b) {
    const change *x = a, *y = b;
    return x->rev < y->rev ? -1 : x->rev > y->rev;
}

static void gather(sp_etcd_store *s, changes *list) {
    for (sp_index_node *n = sp_index_first(s->fresh, SP_STR(""), SP_STR("")); n;
         n = sp_index_next(n, SP_STR(""))) {
        sp_store_value *v = sp_index_value(n), *old = sp_index_get(s->base.index, sp_index_key(n));
        if (!old || old->rev != v->rev) sp_vec_push(list, ((change){sp_index_key(n), v, v->rev}));
    }
    if (list->n) qsort(list->p, list->n, sizeof *list->p, by_rev);
}

static void show_removals(sp_etcd_store *s) {
    for (;;) {
        sp_index_node *n = sp_index_first(s->base.index, SP_STR(""), SP_STR(""));
        while (n && sp_index_get(s->fresh, sp_index_key(n))) n = sp_index_next(n, SP_STR(""));
        if (!n) return;
        sp_auto(sp_buf) key = {0};
        sp_buf_add(&key, sp_index_key(n));
        sp_store_value_unref(sp_store_show(&s->base, sp_buf_str(&key), s->load_rev, NULL));
    }
}

static void show_difference(sp_etcd_store *s) {
    changes list = {0};
    gather(s, &list);
    sp_vec_each(&list, c) {
        uint64_t rev = SP_MAX(c->rev, s->base.visible);
        sp_store_value_unref(sp_store_show(&s->base, c->key, rev, c->value));
    }
    sp_vec_free(&list);
    show_removals(s);
}

static void finish_load(sp_etcd_store *s) {
    if (s->loaded) {
        show_difference(s);
    } else { /* nobody has looked yet */
        sp_index *empty = s->base.index;
        s->base.index = s->fresh;
        s->fresh = empty;
    }
    s->fresh = sp_index_free(s->fresh);
    s->base.visible = SP_MAX(s->base.visible, s->load_rev);
    s->base.history.floor = SP_MAX(s->base.history.floor, s->load_rev);
    if (!s->loaded)
        sp_info("loaded from etcd", SP_KV("endpoint", sp_etcd_endpoint(s->etcd)),
                SP_KV("revision", s->load_rev), SP_KV("keys", sp_index_size(s->base.index)));
    s->fed_ms = sp_clock_mono_ms();
    s->loaded = true;
    s->reload = false;
    if (!s->base.cfg.etcd_look) start_watch(s);
    sp_store_wake(&s->base);
}

static void ask_page(sp_etcd_store *s);

static bool take_page(sp_etcd_store *s, const Etcd__RangeResponse *r, sp_err *err) {
    for (size_t i = 0; i < r->n_kvs; i++) {
        sp_str key = sp_etcd_str(r->kvs[i]->key);
        sp_store_value *v = sp_etcd_value(r->kvs[i]);
        if (!v)
            return sp_fail(err, SP_INVALID,
                           "the key %.*s in etcd at %s is not an object of Sampan: give another "
                           "--etcd-prefix",
                           SP_ARG(key), sp_etcd_endpoint(s->etcd));
        sp_index_put(s->fresh, own_key(s, key), v);
        sp_store_value_unref(v);
    }
    return true;
}

static void on_page(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    const Etcd__RangeResponse *r = (const Etcd__RangeResponse *)(const void *)m;
    sp_err why = {0};
    s->load = NULL;
    sp_etcd_heard(s, err);
    if (err) { /* also when the pages' revision was compacted meanwhile: from the start */
        load_failed(s, err);
        return;
    }
    if (!s->load_rev) s->load_rev = (uint64_t)r->header->revision;
    if (!take_page(s, r, &why)) {
        refuse(s, &why);
        return;
    }
    if (!r->more || !r->n_kvs) {
        finish_load(s);
        return;
    }
    sp_buf_clear(&s->load_from);
    sp_buf_add(&s->load_from, sp_etcd_str(r->kvs[r->n_kvs - 1]->key));
    sp_buf_addc(&s->load_from, 0);
    ask_page(s);
}

static void ask_page(sp_etcd_store *s) {
    Etcd__RangeRequest q = ETCD__RANGE_REQUEST__INIT;
    q.key = sp_etcd_bytes(sp_buf_str(&s->load_from));
    q.range_end = sp_etcd_bytes(sp_buf_str(&s->data_end));
    q.limit = PAGE;
    q.revision = (int64_t)s->load_rev;
    s->load = sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Range", &q.base,
                                 &etcd__range_response__descriptor, SP_ETCD_SAFE,
                                 4 * CALL_TIMEOUT_MS, on_page, s);
}

/* --- whose prefix it is --- */

static void on_marked(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    const Etcd__TxnResponse *r = (const Etcd__TxnResponse *)(const void *)m;
    s->load = NULL;
    sp_etcd_heard(s, err);
    if (err)
        load_failed(s, err);
    else if (r->succeeded)
        ask_page(s);
    else
        retry_later(s);
}

/* An empty prefix becomes ours, unless somebody else was faster, who then is one of us. */
static void mark(sp_etcd_store *s) {
    Etcd__Compare c = ETCD__COMPARE__INIT;
    Etcd__Compare *compares[] = {&c};
    Etcd__PutRequest put = ETCD__PUT_REQUEST__INIT;
    Etcd__RequestOp op = ETCD__REQUEST_OP__INIT;
    Etcd__RequestOp *ops[] = {&op};
    Etcd__TxnRequest q = ETCD__TXN_REQUEST__INIT;
    c.key = put.key = sp_etcd_bytes(sp_buf_str(&s->head_key));
    c.target = ETCD__COMPARE__TARGET__VERSION;
    c.target_union_case = ETCD__COMPARE__TARGET_UNION_VERSION;
    put.value = sp_etcd_bytes(SP_STR(SP_ETCD_MARK));
    op.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
    op.request_put = &put;
    q.compare = compares;
    q.success = ops;
    q.n_compare = q.n_success = 1;
    s->load = sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Txn", &q.base,
                                 &etcd__txn_response__descriptor, SP_ETCD_SAFE, CALL_TIMEOUT_MS,
                                 on_marked, s);
}

static void on_count(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    const Etcd__RangeResponse *r = (const Etcd__RangeResponse *)(const void *)m;
    sp_err why = {0};
    s->load = NULL;
    sp_etcd_heard(s, err);
    if (err) {
        load_failed(s, err);
    } else if (r->count) {
        (void)sp_fail(&why, SP_INVALID,
                      "etcd at %s holds %" PRId64
                      " keys below %.*s that are not Sampan's: give another "
                      "--etcd-prefix",
                      sp_etcd_endpoint(s->etcd), r->count, SP_ARG(sp_buf_str(&s->data_key)));
        refuse(s, &why);
    } else {
        mark(s);
    }
}

/* At the revision that had no head key: since then one of us may have begun. */
static void count_keys(sp_etcd_store *s, int64_t rev) {
    Etcd__RangeRequest q = ETCD__RANGE_REQUEST__INIT;
    q.revision = rev;
    q.key = sp_etcd_bytes(sp_buf_str(&s->data_key));
    q.range_end = sp_etcd_bytes(sp_buf_str(&s->data_end));
    q.count_only = true;
    s->load = sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Range", &q.base,
                                 &etcd__range_response__descriptor, SP_ETCD_SAFE, CALL_TIMEOUT_MS,
                                 on_count, s);
}

static void on_mark(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    const Etcd__RangeResponse *r = (const Etcd__RangeResponse *)(const void *)m;
    sp_err why = {0};
    s->load = NULL;
    sp_etcd_heard(s, err);
    if (err) {
        load_failed(s, err);
    } else if (!r->n_kvs && s->base.cfg.etcd_look) {
        (void)sp_fail(&why, SP_NOT_FOUND,
                      "etcd at %s holds no store of Sampan below the prefix \"%s\"",
                      sp_etcd_endpoint(s->etcd), s->prefix);
        refuse(s, &why);
    } else if (!r->n_kvs) {
        count_keys(s, r->header->revision);
    } else if (!sp_str_eqz(sp_etcd_str(r->kvs[0]->value), SP_ETCD_MARK)) {
        (void)sp_fail(
            &why, SP_INVALID,
            "the prefix \"%s\" in etcd at %s belongs to another program or a newer Sampan (%.*s "
            "holds \"%.*s\"): give another --etcd-prefix",
            s->prefix, sp_etcd_endpoint(s->etcd), SP_ARG(sp_buf_str(&s->head_key)),
            (int)SP_MIN(r->kvs[0]->value.len, 80u), (const char *)r->kvs[0]->value.data);
        refuse(s, &why);
    } else {
        ask_page(s);
    }
}

static void start_load(sp_etcd_store *s) {
    Etcd__RangeRequest q = ETCD__RANGE_REQUEST__INIT;
    sp_index_free(s->fresh);
    s->fresh = sp_index_new();
    s->load_rev = s->base.cfg.etcd_revision;
    sp_buf_clear(&s->load_from);
    sp_buf_add(&s->load_from, sp_buf_str(&s->data_key));
    q.key = sp_etcd_bytes(sp_buf_str(&s->head_key));
    q.revision = (int64_t)s->load_rev;
    s->load = sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Range", &q.base,
                                 &etcd__range_response__descriptor, SP_ETCD_SAFE, CALL_TIMEOUT_MS,
                                 on_mark, s);
}

/* --- compaction: one server of all, every few minutes, what was the newest one turn ago --- */

static void on_compacted(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    (void)m;
    s->flying--;
    if (err) sp_info("etcd was not compacted", SP_KV("why", err->text));
    sp_store_wake(&s->base);
}

static void compact(sp_etcd_store *s, uint64_t rev) {
    Etcd__CompactionRequest q = ETCD__COMPACTION_REQUEST__INIT;
    q.revision = (int64_t)rev;
    s->flying++;
    sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Compact", &q.base,
                       &etcd__compaction_response__descriptor, SP_ETCD_ONCE, CALL_TIMEOUT_MS,
                       on_compacted, s);
}

static void on_turn_taken(void *ctx, const ProtobufCMessage *m, const sp_err *err) {
    sp_etcd_store *s = ctx;
    const Etcd__TxnResponse *r = (const Etcd__TxnResponse *)(const void *)m;
    s->flying--;
    sp_store_wake(&s->base);
    if (err || !r->n_responses || s->base.closing) return;
    if (r->succeeded) {
        s->compact_version++;
        if (s->compact_rev) compact(s, s->compact_rev);
    } else if (r->responses[0]->response_case == ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
        const Etcd__RangeResponse *seen = r->responses[0]->response_range;
        s->compact_version = seen->n_kvs ? seen->kvs[0]->version : 0;
    }
    s->compact_rev = s->base.visible;
}

static void on_compact(uv_timer_t *t) {
    sp_etcd_store *s = t->data;
    Etcd__Compare c = ETCD__COMPARE__INIT;
    Etcd__Compare *compares[] = {&c};
    Etcd__PutRequest put = ETCD__PUT_REQUEST__INIT;
    Etcd__RangeRequest get = ETCD__RANGE_REQUEST__INIT;
    Etcd__RequestOp yes = ETCD__REQUEST_OP__INIT, no = ETCD__REQUEST_OP__INIT;
    Etcd__RequestOp *success[] = {&yes}, *failure[] = {&no};
    Etcd__TxnRequest q = ETCD__TXN_REQUEST__INIT;
    if (!s->loaded || s->lost) return;
    c.key = put.key = get.key = sp_etcd_bytes(sp_buf_str(&s->compact_key));
    c.target = ETCD__COMPARE__TARGET__VERSION;
    c.target_union_case = ETCD__COMPARE__TARGET_UNION_VERSION;
    c.version = s->compact_version;
    yes.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
    yes.request_put = &put;
    no.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
    no.request_range = &get;
    q.compare = compares;
    q.success = success;
    q.failure = failure;
    q.n_compare = q.n_success = q.n_failure = 1;
    s->flying++;
    sp_etcd_call_start(s->etcd, "/etcdserverpb.KV/Txn", &q.base, &etcd__txn_response__descriptor,
                       SP_ETCD_ONCE, CALL_TIMEOUT_MS, on_turn_taken, s);
}

/* --- life --- */

void sp_etcd_feed_start(sp_etcd_store *s) {
    uint32_t every = s->base.cfg.compact_every_ms ? s->base.cfg.compact_every_ms : COMPACT_MS;
    s->heard_ms = sp_clock_mono_ms();
    uv_timer_start(&s->pulse, on_pulse, PULSE_MS, PULSE_MS);
    if (every != SP_STORE_NEVER && !s->base.cfg.etcd_look)
        uv_timer_start(&s->compact, on_compact, every, every);
    start_load(s);
}

void sp_etcd_feed_stop(sp_etcd_store *s) {
    if (s->load) sp_etcd_cancel(s->load);
    if (s->watch) sp_etcd_cancel(s->watch);
    s->load = s->watch = NULL;
    uv_timer_stop(&s->retry);
    uv_timer_stop(&s->pulse);
    uv_timer_stop(&s->compact);
}
