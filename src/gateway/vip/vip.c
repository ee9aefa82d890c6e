/* The thread and the two queues between it and its owner. */
#include "gateway/vip/vip.h"
#include "base/map.h"
#include "gateway/vip/engine.h"
#include "gateway/vip/will.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

typedef enum order_kind { APPLY, HEALTH, BEGIN, STOP, ABANDON, QUIT } order_kind;

typedef struct order {
    order_kind kind;
    sp_vip_config *config;
    char name[64];
    bool flag; /* up; hand_over */
} order;

struct sp_vip {
    sp_vip_settings settings;
    pthread_t thread;
    pthread_mutex_t lock; /* orders, views, stopped, changed, begun */
    pthread_cond_t begins;
    SP_VEC(order) orders;
    sp_vip_views views;
    bool stopped, changed, begun;
    /* the owner's side */
    uv_async_t *to_owner;
    void (*done)(void *ctx);
    void *done_ctx;
    sp_map health; /* name → what was said last, to say only changes */
    /* the thread's side */
    uv_loop_t loop;
    uv_async_t to_thread;
    sp_vip_engine *engine;
    sp_vip_will *will;
    sp_timer *refresh;
};

enum { VIEWS_MS = 1000 };
static char health_up, health_down;

/* --- on the thread --- */

static void publish(sp_vip *v, bool changed) {
    sp_vip_views fresh = {0};
    sp_vip_engine_views(v->engine, &fresh);
    pthread_mutex_lock(&v->lock);
    sp_vip_views old = v->views;
    v->views = fresh;
    v->changed |= changed;
    pthread_mutex_unlock(&v->lock);
    sp_vec_free(&old);
    if (changed) uv_async_send(v->to_owner);
}

static void on_changed(void *ctx) {
    sp_vip *v = ctx;
    if (v->engine) publish(v, true);
}

static void on_refresh(void *ctx) {
    publish(ctx, false); /* the counters */
}

static void on_engine_stopped(void *ctx) {
    sp_vip *v = ctx;
    pthread_mutex_lock(&v->lock);
    v->stopped = true;
    pthread_mutex_unlock(&v->lock);
    uv_async_send(v->to_owner);
}

static void on_will(void *ctx, sp_str will) {
    sp_vip *v = ctx;
    if (v->will) sp_vip_will_write(v->will, will);
}

static void quit(sp_vip *v) {
    sp_timer_stop(v->refresh);
    v->engine = sp_vip_engine_free(v->engine);
    uv_close((uv_handle_t *)&v->to_thread, NULL);
}

static void begin(sp_vip *v) {
    sp_vip_engine_begin(v->engine);
    pthread_mutex_lock(&v->lock);
    v->begun = true;
    pthread_cond_signal(&v->begins);
    pthread_mutex_unlock(&v->lock);
}

static void carry_out(sp_vip *v, const order *o) {
    switch (o->kind) {
    case APPLY: sp_vip_engine_apply(v->engine, o->config); break;
    case HEALTH: sp_vip_engine_set_health(v->engine, sp_str_z(o->name), o->flag); break;
    case BEGIN: begin(v); break;
    case STOP: sp_vip_engine_stop(v->engine, o->flag); break;
    case ABANDON: sp_vip_engine_abandon(v->engine); break;
    case QUIT: quit(v); break;
    }
}

static void on_orders(uv_async_t *a) {
    sp_vip *v = a->data;
    pthread_mutex_lock(&v->lock);
    __typeof__(v->orders) orders = v->orders;
    memset(&v->orders, 0, sizeof v->orders);
    pthread_mutex_unlock(&v->lock);
    sp_vec_each(&orders, o) carry_out(v, o);
    sp_vec_free(&orders);
}

/* Before everybody else where we may; scripts and programs do not inherit it. */
static void hurry(void) {
    struct sched_param p = {.sched_priority = 1};
    (void)sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &p);
}

static void *run(void *arg) {
    sp_vip *v = arg;
    (void)pthread_setname_np(pthread_self(), "vip");
    hurry();
    uv_run(&v->loop, UV_RUN_DEFAULT);
    /* Children that still run: their handles keep the loop; they are not waited for. */
    return NULL;
}

/* --- on the owner's loop --- */

static void on_news(uv_async_t *a) {
    sp_vip *v = a->data;
    pthread_mutex_lock(&v->lock);
    bool stopped = v->stopped, changed = v->changed;
    v->stopped = v->changed = false;
    pthread_mutex_unlock(&v->lock);
    if (changed && v->settings.changed) v->settings.changed(v->settings.ctx);
    if (!stopped || !v->done) return;
    void (*done)(void *ctx) = v->done;
    v->done = NULL;
    done(v->done_ctx);
}

static void give(sp_vip *v, order o) {
    pthread_mutex_lock(&v->lock);
    sp_vec_push(&v->orders, o);
    pthread_mutex_unlock(&v->lock);
    uv_async_send(&v->to_thread);
}

static void free_handle(uv_handle_t *h) {
    free(h);
}

static sp_vip *take_apart(sp_vip *v) {
    uv_close((uv_handle_t *)v->to_owner, free_handle);
    sp_vip_will_free(v->will);
    sp_vec_each(&v->orders, o) sp_vip_config_free(o->config);
    sp_vec_free(&v->orders);
    sp_vec_free(&v->views);
    sp_map_free(&v->health);
    pthread_cond_destroy(&v->begins);
    pthread_mutex_destroy(&v->lock);
    free(v);
    return NULL;
}

static bool start(sp_vip *v, sp_err *err) {
    sp_vip_engine_hooks hooks = {.changed = on_changed, .stopped = on_engine_stopped, .ctx = v};
    hooks.inherit = v->settings.inherit;
    hooks.hold = v->settings.hold;
    if (v->settings.last_will) {
        if (!sp_vip_will_start(&v->will, err)) return false;
        hooks.will = on_will;
    }
    uv_loop_init(&v->loop);
    if (!sp_vip_engine_new(&v->loop, &hooks, &v->engine, err)) return false;
    uv_async_init(&v->loop, &v->to_thread, on_orders);
    v->to_thread.data = v;
    v->refresh = sp_timer_every(&v->loop, VIEWS_MS, on_refresh, v);
    int e = pthread_create(&v->thread, NULL, run, v);
    return e == 0 || sp_fail_errno(err, e, "start the thread of the virtual addresses");
}

bool sp_vip_new(uv_loop_t *loop, const sp_vip_settings *s, sp_vip **ret, sp_err *err) {
    sp_vip *v = sp_zalloc(1, sizeof *v);
    if (s) v->settings = *s;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->begins, NULL);
    v->to_owner = sp_zalloc(1, sizeof *v->to_owner);
    uv_async_init(loop, v->to_owner, on_news);
    v->to_owner->data = v;
    if (!start(v, err)) {
        take_apart(v);
        return false;
    }
    *ret = v;
    return true;
}

void sp_vip_apply(sp_vip *v, sp_vip_config *config) {
    give(v, (order){.kind = APPLY, .config = config});
}

void sp_vip_begin(sp_vip *v) {
    give(v, (order){.kind = BEGIN});
    pthread_mutex_lock(&v->lock);
    while (!v->begun) pthread_cond_wait(&v->begins, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

void sp_vip_set_health(sp_vip *v, const char *name, bool up) {
    order o = {.kind = HEALTH, .flag = up};
    void *value = up ? &health_up : &health_down;
    if (sp_map_put(&v->health, sp_str_z(name), value) == value) return;
    snprintf(o.name, sizeof o.name, "%s", name);
    give(v, o);
}

void sp_vip_stop(sp_vip *v, bool hand_over, void (*done)(void *ctx), void *ctx) {
    v->done = done;
    v->done_ctx = ctx;
    give(v, (order){.kind = STOP, .flag = hand_over});
}

sp_vip *sp_vip_abandon(sp_vip *v) {
    give(v, (order){.kind = ABANDON});
    return sp_vip_free(v);
}

sp_vip *sp_vip_free(sp_vip *v) {
    if (!v) return NULL;
    give(v, (order){.kind = QUIT});
    pthread_join(v->thread, NULL);
    (void)uv_loop_close(&v->loop);
    return take_apart(v);
}

void sp_vip_status(sp_vip *v, sp_vip_views *ret) {
    pthread_mutex_lock(&v->lock);
    sp_vec_each(&v->views, view) sp_vec_push(ret, *view);
    pthread_mutex_unlock(&v->lock);
}
