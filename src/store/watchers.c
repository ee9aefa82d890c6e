#include "store/watchers.h"

struct sp_store_watch {
    sp_list link;
    sp_watchers *in; /* NULL: detached */
    bool stopped;
    uint64_t pos;
    sp_store_watch_fn *fn;
    void *ctx;
    sp_str prefix; /* behind the struct */
};

sp_store_watch *sp_watchers_add(sp_watchers *w, sp_str prefix, uint64_t pos, sp_store_watch_fn *fn,
                                void *ctx) {
    sp_store_watch *x = sp_malloc(sizeof *x + prefix.n);
    char *own = (char *)(x + 1);
    if (prefix.n) memcpy(own, prefix.p, prefix.n);
    *x = (sp_store_watch){.in = w, .pos = pos, .fn = fn, .ctx = ctx, .prefix = {own, prefix.n}};
    sp_list_append(&w->all, &x->link);
    return x;
}

static sp_store_watch *watch_of(sp_list *l) {
    return SP_CONTAINER(l, sp_store_watch, link);
}

static void free_watch(sp_store_watch *x) {
    sp_list_remove(&x->link);
    free(x);
}

static void deliver_to(sp_store_watch *x, const sp_history *h) {
    while (!x->stopped && x->pos < h->end) {
        sp_store_event *e = sp_history_at(h, x->pos++);
        if (sp_str_starts(e->key, x->prefix)) x->fn(x->ctx, e);
    }
}

static void sweep(sp_watchers *w) {
    sp_list_each(&w->all, it) if (watch_of(it)->stopped) free_watch(watch_of(it));
    w->sweep = false;
}

void sp_watchers_deliver(sp_watchers *w, const sp_history *h) {
    sp_assert(!w->delivering);
    w->behind = false;
    w->delivering = true;
    sp_list_each(&w->all, it) deliver_to(watch_of(it), h);
    w->delivering = false;
    if (w->sweep) sweep(w);
}

sp_store_watch *sp_store_watch_stop(sp_store_watch *x) {
    if (!x) return NULL;
    if (x->in && x->in->delivering)
        x->stopped = x->in->sweep = true;
    else
        free_watch(x);
    return NULL;
}

void sp_watchers_detach(sp_watchers *w) {
    sp_list_each(&w->all, it) {
        watch_of(it)->in = NULL;
        sp_list_remove(it);
    }
}
