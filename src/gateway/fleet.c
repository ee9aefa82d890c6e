/* A member is a thread, a libuv loop and a worker. Calls go to it through one slot and a uv_async:
 * the main thread fills the slots of all, wakes them and waits until the count of those under way
 * is zero. What a member has to say by itself (a port bound at last, the end of the worker) sets a
 * bit and wakes the main loop. */
#include "gateway/fleet.h"

#include <pthread.h>
#include <signal.h>

typedef struct member {
    sp_fleet *fleet;
    size_t index;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    sp_worker *worker; /* NULL once it has stopped */
    bool called;       /* under the fleet's lock */
} member;

struct sp_fleet {
    uv_async_t news; /* from members to the main loop */
    size_t count;
    member *members;
    pthread_mutex_t lock;
    pthread_cond_t returned;
    void (*fn)(sp_worker *w, size_t loop, void *arg); /* the call under way */
    void *arg;
    size_t under_way, stopped;
    bool listeners_changed;

    sp_gateway_config *config; /* what listener states point into */
    SP_VEC(sp_listener_state) listeners;
    SP_VEC(char *) errors; /* of them, owned */
    void (*on_listeners)(void *ctx);
    void *on_listeners_ctx;
    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
};

/* --- calls --- */

/* Member's thread. */
static void on_wake(uv_async_t *a) {
    member *m = a->data;
    sp_fleet *f = m->fleet;
    pthread_mutex_lock(&f->lock);
    bool called = m->called;
    m->called = false;
    pthread_mutex_unlock(&f->lock);
    if (!called) return;
    if (m->worker) f->fn(m->worker, m->index, f->arg);
    pthread_mutex_lock(&f->lock);
    if (--f->under_way == 0) pthread_cond_signal(&f->returned);
    pthread_mutex_unlock(&f->lock);
}

void sp_fleet_run(sp_fleet *f, void (*fn)(sp_worker *w, size_t loop, void *arg), void *arg) {
    pthread_mutex_lock(&f->lock);
    f->fn = fn;
    f->arg = arg;
    /* One whose worker has ended may have left its loop. */
    for (size_t i = 0; i < f->count; i++) {
        member *m = &f->members[i];
        if (!m->worker) continue;
        m->called = true;
        f->under_way++;
        uv_async_send(&m->wake);
    }
    while (f->under_way) pthread_cond_wait(&f->returned, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

/* --- listeners --- */

typedef struct gathered {
    pthread_mutex_t lock;
    SP_VEC(sp_listener_state) all;
    SP_VEC(char *) errors;
} gathered;

/* All loops have them in the same order. */
static sp_listener_state *same_listener(gathered *g, const sp_listener_state *s, size_t i) {
    if (i < g->all.n && g->all.p[i].spec == s->spec) return &g->all.p[i];
    sp_vec_each(&g->all, l) if (l->spec == s->spec) return l;
    return NULL;
}

static void add_listener(gathered *g, sp_listener_state s, size_t i) {
    sp_listener_state *known = same_listener(g, &s, i);
    if (s.bound) s.error = "";
    if (!s.bound && (!known || known->bound)) {
        char *copy = sp_strdup(s.error);
        sp_vec_push(&g->errors, copy);
        s.error = copy;
        if (known) known->error = copy;
    }
    if (!known) {
        sp_vec_push(&g->all, s);
        return;
    }
    known->bound &= s.bound;
    known->open += s.open;
    known->connections += s.connections;
}

static void gather_listeners(sp_worker *w, size_t loop, void *arg) {
    (void)loop;
    gathered *g = arg;
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < sp_worker_listener_count(w); i++)
        add_listener(g, sp_worker_listener(w, i), i);
    pthread_mutex_unlock(&g->lock);
}

static void free_listeners(sp_fleet *f) {
    sp_vec_each(&f->errors, e) free(*e);
    sp_vec_free(&f->errors);
    sp_vec_free(&f->listeners);
}

static void refresh_listeners(sp_fleet *f) {
    gathered g = {.lock = PTHREAD_MUTEX_INITIALIZER};
    sp_fleet_run(f, gather_listeners, &g);
    free_listeners(f);
    f->listeners.p = g.all.p, f->listeners.n = g.all.n, f->listeners.cap = g.all.cap;
    f->errors.p = g.errors.p, f->errors.n = g.errors.n, f->errors.cap = g.errors.cap;
}

/* Member's thread. */
static void on_member_listeners(void *ctx) {
    sp_fleet *f = ((member *)ctx)->fleet;
    pthread_mutex_lock(&f->lock);
    f->listeners_changed = true;
    pthread_mutex_unlock(&f->lock);
    uv_async_send(&f->news);
}

void sp_fleet_on_listeners(sp_fleet *f, void (*fn)(void *ctx), void *ctx) {
    f->on_listeners = fn;
    f->on_listeners_ctx = ctx;
}

size_t sp_fleet_listener_count(const sp_fleet *f) {
    return f->listeners.n;
}

sp_listener_state sp_fleet_listener(const sp_fleet *f, size_t i) {
    return f->listeners.p[i];
}

/* --- configurations --- */

static void apply(sp_worker *w, size_t loop, void *arg) {
    (void)loop;
    sp_worker_apply(w, arg);
}

void sp_fleet_apply(sp_fleet *f, sp_gateway_config *config) {
    sp_gateway_config *old = f->config;
    f->config = sp_gateway_config_ref(config);
    sp_fleet_run(f, apply, config);
    refresh_listeners(f);
    sp_gateway_config_unref(old);
}

/* --- the end --- */

/* Member's thread; its loop ends when the handle is gone. */
static void on_worker_stopped(void *ctx) {
    member *m = ctx;
    sp_fleet *f = m->fleet;
    uv_close((uv_handle_t *)&m->wake, NULL);
    pthread_mutex_lock(&f->lock);
    m->worker = NULL;
    if (m->called) { /* after this nobody would answer */
        m->called = false;
        if (--f->under_way == 0) pthread_cond_signal(&f->returned);
    }
    f->stopped++;
    pthread_mutex_unlock(&f->lock);
    uv_async_send(&f->news);
}

typedef struct stopping {
    const sp_fleet *fleet;
    uint32_t grace_ms, idle_ms;
} stopping;

static void stop(sp_worker *w, size_t loop, void *arg) {
    const stopping *s = arg;
    sp_worker_stop(w, s->grace_ms, s->idle_ms, on_worker_stopped, &s->fleet->members[loop]);
}

void sp_fleet_stop(sp_fleet *f, uint32_t grace_ms, uint32_t idle_ms, void (*done)(void *ctx),
                   void *ctx) {
    f->on_stopped = done;
    f->on_stopped_ctx = ctx;
    sp_fleet_run(f, stop, &(stopping){f, grace_ms, idle_ms});
}

static void on_news_closed(uv_handle_t *h) {
    sp_fleet *f = h->data;
    void (*done)(void *ctx) = f->on_stopped;
    void *ctx = f->on_stopped_ctx;
    free_listeners(f);
    sp_gateway_config_unref(f->config);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->returned);
    free(f->members);
    free(f);
    if (done) done(ctx);
}

static void on_news(uv_async_t *a) {
    sp_fleet *f = a->data;
    pthread_mutex_lock(&f->lock);
    bool all_stopped = f->stopped == f->count, listeners = f->listeners_changed;
    f->listeners_changed = false;
    pthread_mutex_unlock(&f->lock);
    if (all_stopped) {
        for (size_t i = 0; i < f->count; i++) pthread_join(f->members[i].thread, NULL);
        uv_close((uv_handle_t *)a, on_news_closed);
    } else if (listeners && f->config) {
        refresh_listeners(f);
        if (f->on_listeners) f->on_listeners(f->on_listeners_ctx);
    }
}

/* --- life --- */

static void *run_member(void *arg) {
    member *m = arg;
    sp_worker_run(m->worker);
    sp_assert(uv_loop_close(&m->loop) == 0);
    return NULL;
}

static void init_member(sp_fleet *f, size_t i, const sp_worker_settings *s) {
    member *m = &f->members[i];
    sp_worker_settings mine = *s;
    m->fleet = f;
    m->index = i;
    mine.loop = (uint32_t)i;
    mine.loops = (uint32_t)f->count;
    mine.max_connections = (s->max_connections + f->count - 1) / f->count;
    sp_assert(uv_loop_init(&m->loop) == 0);
    sp_assert(uv_async_init(&m->loop, &m->wake, on_wake) == 0);
    m->wake.data = m;
    m->worker = sp_worker_new(&m->loop, &mine);
    sp_worker_on_listeners(m->worker, on_member_listeners, m);
}

/* Signals are the main thread's. */
static void start_threads(sp_fleet *f) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (size_t i = 0; i < f->count; i++)
        sp_assert(pthread_create(&f->members[i].thread, NULL, run_member, &f->members[i]) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

sp_fleet *sp_fleet_new(uv_loop_t *loop, const sp_worker_settings *s, sp_sockets *sockets,
                       size_t loops) {
    sp_fleet *f = sp_zalloc(1, sizeof *f);
    sp_worker_settings shared = *s;
    shared.sockets = sockets;
    f->count = loops;
    f->members = sp_zalloc(loops, sizeof *f->members);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->returned, NULL);
    sp_assert(uv_async_init(loop, &f->news, on_news) == 0);
    f->news.data = f;
    for (size_t i = 0; i < loops; i++) init_member(f, i, &shared);
    start_threads(f);
    return f;
}

size_t sp_fleet_loops(const sp_fleet *f) {
    return f->count;
}
