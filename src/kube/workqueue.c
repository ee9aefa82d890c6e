/* Every key is one item, found by a map; an item is in the ready ring, in the heap of times, in
 * work, or several of these. An item in none of them is forgotten. */
#include "kube/workqueue.h"

#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/vec.h"

typedef struct item {
    sp_list link; /* in the ready ring */
    char *key;
    bool ready, working, again;
    int failures;
    int64_t at_ms;
    size_t heap_at; /* 1-based place in the heap, 0 = not there */
} item;

struct sp_workqueue {
    sp_map items;
    sp_list ready;
    SP_VEC(item *) heap; /* by at_ms, the earliest first */
    size_t ready_count;
    int64_t retry_base_ms, retry_max_ms;
};

int64_t sp_backoff_ms(int failures, int64_t base_ms, int64_t max_ms) {
    int64_t ms = failures < 40 && base_ms << failures < max_ms ? base_ms << failures : max_ms;
    return (int64_t)((double)ms * (0.75 + sp_rng_unit() / 2));
}

sp_workqueue *sp_workqueue_new(int64_t retry_base_ms, int64_t retry_max_ms) {
    sp_workqueue *q = sp_zalloc(1, sizeof *q);
    sp_list_init(&q->ready);
    q->retry_base_ms = retry_base_ms;
    q->retry_max_ms = retry_max_ms;
    return q;
}

static void item_free(item *it) {
    free(it->key);
    free(it);
}

sp_workqueue *sp_workqueue_free(sp_workqueue *q) {
    if (!q) return NULL;
    void *it;
    for (size_t at = 0; sp_map_next(&q->items, &at, NULL, &it);) item_free(it);
    sp_map_free(&q->items);
    sp_vec_free(&q->heap);
    free(q);
    return NULL;
}

/* ---------- the heap of times ---------- */

static void place(sp_workqueue *q, size_t at, item *it) {
    q->heap.p[at] = it;
    it->heap_at = at + 1;
}

static void sift_up(sp_workqueue *q, size_t at) {
    item *it = q->heap.p[at];
    for (; at && q->heap.p[(at - 1) / 2]->at_ms > it->at_ms; at = (at - 1) / 2)
        place(q, at, q->heap.p[(at - 1) / 2]);
    place(q, at, it);
}

static void sift_down(sp_workqueue *q, size_t at) {
    item *it = q->heap.p[at];
    for (size_t child; (child = 2 * at + 1) < q->heap.n; at = child) {
        if (child + 1 < q->heap.n && q->heap.p[child + 1]->at_ms < q->heap.p[child]->at_ms) child++;
        if (q->heap.p[child]->at_ms >= it->at_ms) break;
        place(q, at, q->heap.p[child]);
    }
    place(q, at, it);
}

static void heap_remove(sp_workqueue *q, item *it) {
    if (!it->heap_at) return;
    size_t at = it->heap_at - 1;
    item *last = q->heap.p[--q->heap.n];
    it->heap_at = 0;
    if (last == it) return;
    place(q, at, last);
    sift_up(q, at);
    sift_down(q, last->heap_at - 1);
}

/* ---------- items ---------- */

static item *find_or_make(sp_workqueue *q, sp_str key) {
    item *it = sp_map_get(&q->items, key);
    if (it) return it;
    it = sp_zalloc(1, sizeof *it);
    it->key = sp_str_dup(key);
    sp_list_init(&it->link);
    sp_map_put(&q->items, key, it);
    return it;
}

static void drop_if_idle(sp_workqueue *q, item *it) {
    if (it->ready || it->working || it->heap_at || it->failures) return;
    sp_map_del(&q->items, sp_str_z(it->key));
    item_free(it);
}

static void make_ready(sp_workqueue *q, item *it) {
    heap_remove(q, it);
    if (it->working) {
        it->again = true;
        return;
    }
    if (it->ready) return;
    it->ready = true;
    q->ready_count++;
    sp_list_append(&q->ready, &it->link);
}

void sp_workqueue_add(sp_workqueue *q, sp_str key) {
    make_ready(q, find_or_make(q, key));
}

void sp_workqueue_add_at(sp_workqueue *q, sp_str key, int64_t at_ms) {
    item *it = find_or_make(q, key);
    if (it->ready || (it->heap_at && it->at_ms <= at_ms)) return;
    heap_remove(q, it);
    it->at_ms = at_ms;
    sp_vec_push(&q->heap, it);
    sift_up(q, q->heap.n - 1);
}

bool sp_workqueue_next(sp_workqueue *q, int64_t now_ms, sp_str *ret_key) {
    while (q->heap.n && q->heap.p[0]->at_ms <= now_ms) make_ready(q, q->heap.p[0]);
    if (sp_list_empty(&q->ready)) return false;
    item *it = SP_CONTAINER(q->ready.next, item, link);
    sp_list_remove(&it->link);
    q->ready_count--;
    it->ready = false;
    it->working = true;
    *ret_key = sp_str_z(it->key);
    return true;
}

void sp_workqueue_done(sp_workqueue *q, sp_str key) {
    item *it = sp_map_get(&q->items, key);
    sp_assert(it && it->working);
    it->working = false;
    if (it->again) {
        it->again = false;
        make_ready(q, it);
    }
    drop_if_idle(q, it);
}

int64_t sp_workqueue_retry(sp_workqueue *q, sp_str key, int64_t now_ms) {
    item *it = find_or_make(q, key);
    int64_t ms = sp_backoff_ms(it->failures++, q->retry_base_ms, q->retry_max_ms);
    sp_workqueue_add_at(q, key, now_ms + ms);
    return ms;
}

void sp_workqueue_forget(sp_workqueue *q, sp_str key) {
    item *it = sp_map_get(&q->items, key);
    if (!it) return;
    it->failures = 0;
    drop_if_idle(q, it);
}

int64_t sp_workqueue_next_at(const sp_workqueue *q) {
    if (q->ready_count) return INT64_MIN;
    return q->heap.n ? q->heap.p[0]->at_ms : INT64_MAX;
}

size_t sp_workqueue_depth(const sp_workqueue *q) {
    return q->ready_count;
}
size_t sp_workqueue_delayed(const sp_workqueue *q) {
    return q->heap.n;
}
