#include "controllers/catalog.h"

#include "base/log.h"
#include "kube/gvrs.h"
#include "kube/workqueue.h"
#include "net/loop.h"

enum { SETTLE_MS = 300, RETRY_MIN_MS = 200, RETRY_MAX_MS = 30000 };

typedef struct listener {
    void (*fn)(void *ctx);
    void *ctx;
} listener;

struct sp_catalog {
    sp_manager *manager;
    sp_arena *arena;   /* strings of all kinds ever seen: their gvrs are held by others */
    sp_arena *scratch; /* of the reading under way */
    sp_served_kinds kinds, fresh;
    sp_timer *timer;
    sp_http_call *call;
    bool ready, again;
    int failures;
    SP_VEC(listener) listeners;
};

static sp_catalog *the_one; /* a process has one manager */

static void read_core(void *ctx);

static void later(sp_catalog *c, int64_t ms) {
    c->timer = sp_timer_stop(c->timer);
    c->timer =
        sp_timer_start(sp_kube_loop(sp_manager_kube(c->manager)), (uint64_t)ms, read_core, c);
}

static bool failed(sp_catalog *c, const sp_err *err) {
    c->call = NULL;
    if (!err) return false;
    if (err->code != SP_CONNECTION)
        sp_warn("discovery failed", SP_KV("error", (const char *)err->text));
    later(c, sp_backoff_ms(c->failures++, RETRY_MIN_MS, RETRY_MAX_MS));
    return true;
}

static bool same_kind(const sp_served_kind *a, const sp_served_kind *b) {
    return strcmp(a->gvr.group, b->gvr.group) == 0 && strcmp(a->gvr.plural, b->gvr.plural) == 0 &&
           strcmp(a->gvr.version, b->gvr.version) == 0 && a->gvr.cluster == b->gvr.cluster;
}

static const sp_served_kind *find_same(const sp_served_kinds *list, const sp_served_kind *k) {
    sp_vec_each(list, x) if (same_kind(x, k)) return x;
    return NULL;
}

static void keep_strings(sp_arena *a, sp_gvr *g) {
    g->group = sp_arena_strz(a, sp_str_z(g->group));
    g->version = sp_arena_strz(a, sp_str_z(g->version));
    g->plural = sp_arena_strz(a, sp_str_z(g->plural));
    g->kind = sp_arena_strz(a, sp_str_z(g->kind));
}

static bool take_over(sp_catalog *c) {
    bool changed = !c->ready || c->fresh.n != c->kinds.n;
    sp_vec_each(&c->fresh, k) {
        const sp_served_kind *old = find_same(&c->kinds, k);
        if (old)
            k->gvr = old->gvr;
        else
            keep_strings(c->arena, &k->gvr);
        changed |= !old;
    }
    sp_vec_free(&c->kinds);
    c->kinds = c->fresh;
    c->fresh = (sp_served_kinds){0};
    sp_arena_reset(c->scratch);
    return changed;
}

static void groups_read(void *ctx, int http, const sp_json *doc, const sp_err *err) {
    (void)http;
    sp_catalog *c = ctx;
    if (failed(c, err)) return;
    sp_discovery_add(c->scratch, doc, &c->fresh);
    bool changed = take_over(c);
    c->ready = true;
    c->failures = 0;
    for (size_t i = 0; changed && i < c->listeners.n; i++)
        c->listeners.p[i].fn(c->listeners.p[i].ctx);
    if (c->again) later(c, SETTLE_MS);
    c->again = false;
}

static void ask(sp_catalog *c, const char *target, sp_kube_done *done) {
    sp_kube_request r = {
        .method = "GET", .target = sp_str_z(target), .accept = sp_discovery_accept};
    c->call = sp_kube_call(sp_manager_kube(c->manager), &r, done, c);
}

static void core_read(void *ctx, int http, const sp_json *doc, const sp_err *err) {
    (void)http;
    sp_catalog *c = ctx;
    if (failed(c, err)) return;
    sp_vec_free(&c->fresh);
    sp_arena_reset(c->scratch);
    sp_discovery_add(c->scratch, doc, &c->fresh);
    ask(c, "/apis", groups_read);
}

static void read_core(void *ctx) {
    sp_catalog *c = ctx;
    c->timer = NULL;
    if (c->call)
        c->again = true;
    else
        ask(c, "/api", core_read);
}

static void on_crd(void *ctx, const sp_json *old, const sp_json *obj) {
    (void)old, (void)obj;
    sp_catalog *c = ctx;
    if (!c->timer) later(c, SETTLE_MS);
}

static void gone(void *ctx) {
    sp_catalog *c = ctx;
    if (c->call) sp_kube_cancel(sp_manager_kube(c->manager), c->call);
    sp_timer_stop(c->timer);
    sp_vec_free(&c->kinds);
    sp_vec_free(&c->fresh);
    sp_vec_free(&c->listeners);
    sp_arena_free(c->arena);
    sp_arena_free(c->scratch);
    free(c);
    the_one = NULL;
}

sp_catalog *sp_catalog_of(sp_manager *m) {
    if (the_one) return the_one;
    sp_catalog *c = the_one = sp_zalloc(1, sizeof *c);
    c->manager = m;
    c->arena = sp_arena_new();
    c->scratch = sp_arena_new();
    sp_manager_on_free(m, gone, c);
    sp_informer_on_change(sp_manager_informer(m, &sp_gvr_customresourcedefinitions), on_crd, c);
    later(c, 0);
    return c;
}

void sp_catalog_on_change(sp_catalog *c, void (*fn)(void *ctx), void *ctx) {
    sp_vec_push(&c->listeners, {fn, ctx});
    if (c->ready) fn(ctx);
}

bool sp_catalog_ready(const sp_catalog *c) {
    return c->ready;
}
const sp_served_kinds *sp_catalog_kinds(const sp_catalog *c) {
    return &c->kinds;
}
