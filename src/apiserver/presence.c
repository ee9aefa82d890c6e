/* Every 4 s, one after the other: our Lease is renewed, those that were not renewed for as long as
 * they promised (by our own monotonic clock) are removed, and the endpoints are written if they are
 * not the union of the rest. All by sp_op, so a change that another server made is decided anew. */
#include "apiserver/presence.h"

#include "apiserver/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "data/time.h"
#include "net/own_address.h"

#define LEASES "/registry/coordination.k8s.io/leases/kube-system/"
#define NAME "apiserver-"

enum { EVERY_MS = 4000, LEASE_S = 12 };

typedef struct sighting { /* of another's Lease */
    uint64_t rev;
    int64_t since_ms;
} sighting;

struct sp_presence {
    sp_apiserver *s;
    uv_timer_t timer;
    sp_map seen; /* name of the Lease → sighting */
    sp_buf name, address;
    bool busy, leaving, gone; /* gone: our Lease */
    void (*done)(void *ctx);
    void *done_ctx;
};

typedef struct sp_presence presence;

/* ---------- operations ---------- */

static sp_op *new_op(presence *p, const char *group, const char *plural, const char *ns,
                     sp_str name, sp_op_done *done) {
    sp_served *v =
        sp_registry_served(p->s->registry, sp_str_z(group), SP_STR("v1"), sp_str_z(plural));
    sp_arena *a = sp_arena_new();
    sp_op *op = SP_NEW(a, sp_op);
    *op = (sp_op){.s = p->s,
                  .served = sp_served_ref(v),
                  .arena = a,
                  .ns = sp_str_z(ns),
                  .name = sp_arena_str(a, name),
                  .done = done,
                  .ctx = p,
                  .user = SP_STR("system:apiserver")};
    return op;
}

static presence *end_op(sp_op *op, const char *what) {
    presence *p = op->ctx;
    bool quiet = op->err.code == SP_NOT_FOUND || op->err.code == SP_ALREADY_EXISTS ||
                 op->err.code == SP_CONFLICT || !op->err.code;
    if (!quiet) sp_warn(what, SP_KV("error", (const char *)op->err.text));
    sp_op_cleanup(op);
    sp_arena_free(op->arena);
    return p;
}

/* ---------- the endpoints ---------- */

static bool is_alive(presence *p, sp_str name, const sp_store_value *v, const sp_json *lease) {
    int64_t now = sp_clock_mono_ms();
    int64_t promised = sp_json_int(sp_json_dig(lease, "spec", "leaseDurationSeconds", NULL), 0);
    sighting *x = sp_map_get(&p->seen, name);
    if (sp_str_eq(name, sp_buf_str(&p->name))) return !p->leaving;
    if (!x) sp_map_put(&p->seen, name, x = sp_zalloc(1, sizeof *x));
    if (x->rev != v->rev) *x = (sighting){v->rev, now};
    return now - x->since_ms < sp_ms_from_s(promised);
}

static void removed(sp_op *op) {
    (void)end_op(op, "a Lease of an API server that is gone");
}

static void add_endpoint(sp_arena *a, sp_json *subsets, sp_str holder) {
    ptrdiff_t colon = sp_str_rchr(holder, ':');
    uint64_t port;
    if (colon < 1 || !sp_str_u64(sp_str_from(holder, (size_t)colon + 1), &port)) return;
    sp_json *subset = NULL, *one = sp_json_object(a);
    sp_json_each(subsets, it) {
        const sp_json *ports = sp_json_get(it, "ports");
        if (sp_json_int(sp_json_get(ports->first, "port"), 0) == (int64_t)port) subset = it;
    }
    if (!subset) {
        sp_json_push(subsets, subset = sp_json_object(a));
        sp_json *ports = sp_json_ensure_array(a, subset, "ports"), *p = sp_json_object(a);
        sp_json_set_z(a, p, "name", "https");
        sp_json_set_int(a, p, "port", (int64_t)port);
        sp_json_set_z(a, p, "protocol", "TCP");
        sp_json_push(ports, p);
    }
    sp_json_set(a, one, "ip", sp_json_new_str(a, sp_str_sub(holder, 0, (size_t)colon)));
    sp_json_push(sp_json_ensure_array(a, subset, "addresses"), one);
}

typedef struct walk {
    presence *p;
    sp_arena *arena;
    sp_json *subsets;
    sp_strs dead;
} walk;

static bool visit(void *ctx, sp_str key, sp_store_value *v) {
    walk *w = ctx;
    sp_json *lease;
    sp_str name = sp_str_from(key, strlen(LEASES));
    if (!sp_json_parse(w->arena, sp_blob_str(v->bytes), &lease, NULL)) return true;
    if (is_alive(w->p, name, v, lease))
        add_endpoint(w->arena, w->subsets,
                     sp_json_str(sp_json_dig(lease, "spec", "holderIdentity", NULL)));
    else if (!w->p->leaving)
        sp_vec_push(&w->dead, sp_arena_str(w->arena, name));
    return true;
}

/* Leases are walked in the order of their names: the same for all servers. */
static sp_json *wanted(presence *p, sp_arena *a, sp_strs *ret_dead) {
    walk w = {.p = p, .arena = a, .subsets = sp_json_array(a)};
    (void)!sp_store_range(p->s->store, SP_STR(LEASES NAME), SP_STR(""), 0, visit, &w, NULL);
    *ret_dead = w.dead;
    return w.subsets;
}

static bool set_subsets(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    sp_strs dead;
    (void)err;
    *ret = sp_json_clone(op->arena, old);
    sp_json_set(op->arena, *ret, "subsets", wanted(op->ctx, op->arena, &dead));
    sp_vec_free(&dead);
    return true;
}

static void finish(presence *p);

static void published(sp_op *op) {
    presence *p = end_op(op, "the endpoints of the service kubernetes");
    p->busy = false;
    if (p->leaving && p->gone)
        finish(p);
    else if (p->leaving)
        sp_presence_stop(p->s, p->done, p->done_ctx);
}

static void publish(presence *p) {
    sp_op *op = new_op(p, "", "endpoints", "default", SP_STR("kubernetes"), published);
    sp_strs dead = {0};
    sp_json *subsets = wanted(p, op->arena, &dead);
    sp_vec_each(&dead, name) {
        sp_delete_options o = {.grace_seconds = -1};
        sp_map *seen = &p->seen;
        sp_op *removal = new_op(p, "coordination.k8s.io", "leases", "kube-system", *name, removed);
        o.resource_version = sp_arena_printf(
            removal->arena, "%llu", (unsigned long long)((sighting *)sp_map_get(seen, *name))->rev);
        sp_info("an API server is gone", SP_KV("lease", *name));
        sp_op_delete(removal, &o);
    }
    sp_vec_free(&dead);
    if (sp_lookup_latest(p->s, op->arena, "", "endpoints", SP_STR("default"), op->name)) {
        sp_op_update(op, set_subsets, NULL);
        return;
    }
    sp_json *obj = sp_json_object(op->arena);
    sp_json_set_z(op->arena, sp_json_ensure_object(op->arena, obj, "metadata"), "name",
                  "kubernetes");
    sp_json_set(op->arena, obj, "subsets", subsets);
    sp_op_create(op, obj);
}

/* ---------- our Lease ---------- */

static void fill_lease(const presence *p, sp_arena *a, sp_json *lease) {
    char now[SP_TIME_MAX];
    sp_json *meta = sp_json_ensure_object(a, lease, "metadata"),
            *spec = sp_json_ensure_object(a, lease, "spec");
    sp_time_format_micro(sp_clock_wall_ms() * 1000, now);
    sp_json_set(a, meta, "name", sp_json_new_str(a, sp_buf_str(&p->name)));
    sp_json_set_z(a, sp_json_ensure_object(a, meta, "labels"), "apiserver.kubernetes.io/identity",
                  "kube-apiserver");
    sp_json_set(a, spec, "holderIdentity", sp_json_new_str(a, sp_buf_str(&p->address)));
    sp_json_set_int(a, spec, "leaseDurationSeconds", LEASE_S);
    sp_json_set_z(a, spec, "renewTime", now);
}

static bool renewed_lease(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    (void)err;
    *ret = sp_json_clone(op->arena, old);
    fill_lease(op->ctx, op->arena, *ret);
    return true;
}

static void renewed(sp_op *op) {
    bool well = !op->err.code;
    presence *p = end_op(op, "the Lease of this API server");
    if (well && !p->leaving) {
        publish(p);
        return;
    }
    p->busy = false;
    if (p->leaving) sp_presence_stop(p->s, p->done, p->done_ctx);
}

static void on_timer(uv_timer_t *t) {
    presence *p = t->data;
    if (p->busy || p->leaving) return;
    p->busy = true;
    sp_str name = sp_buf_str(&p->name);
    sp_op *op = new_op(p, "coordination.k8s.io", "leases", "kube-system", name, renewed);
    if (sp_lookup_latest(p->s, op->arena, "coordination.k8s.io", "leases", op->ns, name)) {
        sp_op_update(op, renewed_lease, NULL);
        return;
    }
    sp_json *obj = sp_json_object(op->arena);
    fill_lease(p, op->arena, obj);
    sp_op_create(op, obj);
}

/* ---------- life ---------- */

bool sp_presence_may_tell(const sp_apiserver *s) {
    const char *at = s->config.advertise;
    return at && *at && !sp_address_is_loopback(at);
}

void sp_presence_start(sp_apiserver *s) {
    const char *at = s->config.advertise;
    if (!sp_store_is_shared(s->store) || !sp_presence_may_tell(s)) return;
    presence *p = sp_zalloc(1, sizeof *p);
    s->presence = p;
    p->s = s;
    sp_buf_printf(&p->address, "%s:%u", at, sp_apiserver_port(s));
    sp_buf_printf(&p->name, NAME "%s-%u", at, sp_apiserver_port(s));
    for (char *c = p->name.p; *c; c++)
        if (*c == ':' || *c == '.') *c = '-';
    uv_timer_init(s->loop, &p->timer);
    p->timer.data = p;
    uv_timer_start(&p->timer, on_timer, 0, EVERY_MS);
}

static void timer_closed(uv_handle_t *h) {
    presence *p = h->data;
    void (*done)(void *) = p->done;
    void *ctx = p->done_ctx, *x;
    for (size_t at = 0; sp_map_next(&p->seen, &at, NULL, &x);) free(x);
    sp_map_free(&p->seen);
    sp_buf_free(&p->name);
    sp_buf_free(&p->address);
    free(p);
    done(ctx);
}

static void finish(presence *p) {
    p->s->presence = NULL;
    uv_close((uv_handle_t *)&p->timer, timer_closed);
}

static void left(sp_op *op) {
    presence *p = end_op(op, "the Lease of this API server");
    p->gone = true;
    publish(p);
}

void sp_presence_stop(sp_apiserver *s, void (*done)(void *ctx), void *ctx) {
    presence *p = s->presence;
    if (!p) {
        done(ctx);
        return;
    }
    p->leaving = true;
    p->done = done;
    p->done_ctx = ctx;
    if (p->busy) return; /* renewed or published comes back here */
    p->busy = true;
    sp_op *op =
        new_op(p, "coordination.k8s.io", "leases", "kube-system", sp_buf_str(&p->name), left);
    sp_op_delete(op, &(sp_delete_options){.grace_seconds = -1});
}
