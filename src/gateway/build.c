/* See build.h. */
#include "gateway/build.h"
#include "base/log.h"
#include "net/loop.h"

enum { SETTLE_MS = 5 };

struct sp_build {
    sp_build_config config;
    sp_translation *current;
    SP_VEC(sp_refusal) failures; /* texts live in the current configuration */
    sp_buf logged;               /* the failures of last time, a line each */
    sp_timer *settle;
    sp_health *health;
    bool ready;
};

static void gather_failures(sp_build *b) {
    b->failures.n = 0;
    sp_vec_each(&b->current->refusals, r) sp_vec_push(&b->failures, *r);
    for (size_t i = 0; i < sp_fleet_listener_count(b->config.fleet); i++) {
        sp_listener_state l = sp_fleet_listener(b->config.fleet, i);
        if (l.bound) continue;
        sp_refusal r = {l.spec->owner, l.spec->addr.port, "PortUnavailable", sp_str_z(l.error)};
        sp_vec_push(&b->failures, r);
    }
}

/* Each failure once, and again when it came back after having been gone. */
static void log_failures(sp_build *b) {
    sp_buf all = {0};
    sp_vec_each(&b->failures, f) {
        sp_auto(sp_buf) line = {0};
        sp_buf_printf(&line, "%.*s: %.*s\n", SP_ARG(f->owner), SP_ARG(f->text));
        if (sp_str_find(sp_buf_str(&b->logged), sp_buf_str(&line)) < 0)
            sp_warn("a port is not served", SP_KV("owner", f->owner), SP_KV("port", f->port),
                    SP_KV("why", f->text));
        sp_buf_add(&all, sp_buf_str(&line));
    }
    sp_buf_free(&b->logged);
    b->logged = all;
}

/* Sockets change rarely; then everybody who shows their state looks again. */
static void on_listeners(void *ctx) {
    sp_build *b = ctx;
    if (!b->current) return;
    gather_failures(b);
    log_failures(b);
    if (b->config.changed) b->config.changed(b->config.ctx);
}

static bool same_refusals(const sp_translation *a, const sp_translation *b) {
    if (!a || a->refusals.n != b->refusals.n) return false;
    for (size_t i = 0; i < b->refusals.n; i++) {
        const sp_refusal *x = &a->refusals.p[i], *y = &b->refusals.p[i];
        if (!sp_str_eq(x->owner, y->owner) || !sp_str_eq(x->text, y->text)) return false;
    }
    return true;
}

void sp_build_now(sp_build *b) {
    sp_cluster_view view = {0};
    sp_translation *old = b->current;
    b->config.view(b->config.ctx, &view);
    b->config.options.previous = old ? old->config : NULL;
    b->current = sp_translate(&view, &b->config.options);
    b->config.options.previous = NULL;
    sp_cluster_view_free(&view);
    sp_health_follow(b->health, b->current->config);
    sp_health_overlay(b->health, b->current->config);
    const sp_build_beyond *beyond = &b->config.beyond;
    if (beyond->overlay) beyond->overlay(beyond->overlay_ctx, b->current->config);
    sp_fleet_apply(b->config.fleet, b->current->config);
    gather_failures(b);
    if (!same_refusals(old, b->current)) on_listeners(b);
    sp_translation_free(old);
    bool first = !b->ready;
    b->ready = true;
    if (first && b->config.ready) b->config.ready(b->config.ctx);
}

static void on_settled(void *ctx) {
    sp_build *b = ctx;
    b->settle = NULL;
    sp_build_now(b);
}

void sp_build_soon(sp_build *b) {
    if (!b->settle) b->settle = sp_timer_start(b->config.loop, SETTLE_MS, on_settled, b);
}

bool sp_build_is_ready(const sp_build *b) {
    return b->ready;
}

const sp_translate_options *sp_build_options(const sp_build *b) {
    return &b->config.options;
}

const sp_translation *sp_build_current(const sp_build *b) {
    return b->current;
}

const sp_refusal *sp_build_failures(const sp_build *b, size_t *ret_count) {
    *ret_count = b->failures.n;
    return b->failures.p;
}

static void on_health(void *ctx) {
    sp_build_soon(ctx);
}

const sp_health *sp_build_health(const sp_build *b) {
    return b->health;
}

sp_build *sp_build_new(const sp_build_config *c) {
    sp_build *b = sp_zalloc(1, sizeof *b);
    b->config = *c;
    b->health = sp_health_new(c->loop, on_health, b);
    sp_health_hear(b->health, c->beyond.checks);
    b->config.beyond.checks = NULL;
    sp_fleet_on_listeners(c->fleet, on_listeners, b);
    return b;
}

sp_build *sp_build_free(sp_build *b) {
    if (!b) return NULL;
    sp_health_free(b->health);
    sp_timer_stop(b->settle);
    sp_fleet_on_listeners(b->config.fleet, NULL, NULL);
    sp_vec_free(&b->failures);
    sp_buf_free(&b->logged);
    sp_translation_free(b->current);
    free(b);
    return NULL;
}
