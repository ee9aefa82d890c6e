/* A tick every retry_ms, and one more whenever the Lease is seen to change; each looks, decides,
 * and perhaps writes. One request at a time. */
#include "kube/leader.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/time.h"
#include "kube/gvrs.h"
#include "kube/informer.h"
#include "net/loop.h"

#include <unistd.h>

enum { RELEASE_MS = 2000, LEAST_TIMEOUT_MS = 1000 };

/* ---------- flags ---------- */

static bool read_one(const char *text, const char *flag, int64_t *ret, sp_err *err) {
    if (!text) return true;
    if (sp_duration_parse(sp_str_z(text), ret) && *ret > 0) return true;
    return sp_fail(err, SP_INVALID, "--%s \"%s\" must be a duration, for example 15s", flag, text);
}

bool sp_leader_timing_read(sp_leader_timing *t, const char *lease, const char *deadline,
                           const char *retry, sp_err *err) {
    if (!read_one(lease, "leader-elect-lease-duration", &t->lease_ms, err) ||
        !read_one(deadline, "leader-elect-renew-deadline", &t->renew_deadline_ms, err) ||
        !read_one(retry, "leader-elect-retry-period", &t->retry_ms, err))
        return false;
    if (t->lease_ms < 1000)
        return sp_fail(err, SP_INVALID, "--leader-elect-lease-duration must be at least 1s");
    if (t->lease_ms <= t->renew_deadline_ms)
        return sp_fail(err, SP_INVALID,
                       "--leader-elect-lease-duration must be more than "
                       "--leader-elect-renew-deadline");
    if (t->renew_deadline_ms * 10 <= t->retry_ms * 12)
        return sp_fail(err, SP_INVALID,
                       "--leader-elect-renew-deadline must be more than 1.2 times "
                       "--leader-elect-retry-period");
    return true;
}

/* ---------- the decision ---------- */

sp_leader_step sp_leader_decide(const sp_leader_view *v, int64_t now_ms) {
    if (v->leading && now_ms - v->renewed_ms >= v->timing.renew_deadline_ms) return SP_LEADER_LOST;
    if (v->asking) return SP_LEADER_WAIT;
    if (!v->fresh) return SP_LEADER_LOOK;
    if (v->leading && !v->ours) return SP_LEADER_LOST;
    if (!v->exists) return SP_LEADER_CREATE;
    bool expired = now_ms - v->changed_ms >= v->promised_ms;
    if (v->ours || !v->held || expired) return SP_LEADER_TAKE;
    return SP_LEADER_WAIT;
}

/* ---------- a candidate ---------- */

struct sp_leader {
    uv_loop_t *loop;
    sp_leader_config config;
    sp_arena *arena;
    sp_str namespace_, name, me;
    sp_kube *kube;
    sp_informer *informer; /* tells of changes sooner than the next look */
    sp_http_call *call;
    sp_timer *tick, *deadline;
    sp_leader_view view;
    uint64_t revision; /* of the Lease as seen last */
    int64_t sent_ms;   /* the request under way */
    int64_t transitions;
    char holder[200], acquired[SP_TIME_MAX];
    bool said_standby;
    sp_kube *fenced;
    sp_str fence;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

static void run(sp_leader *l);

bool sp_leader_is_leading(const sp_leader *l) {
    return l->view.leading;
}

static void lose(sp_leader *l, const char *why) {
    l->view.leading = false;
    l->config.lost(l->config.ctx, why);
}

/* Before each fenced write. */
static void check(void *ctx) {
    sp_leader *l = ctx;
    if (l->view.leading && sp_leader_decide(&l->view, sp_clock_mono_ms()) == SP_LEADER_LOST)
        lose(l, "the Lease could not be renewed in time");
}

static void on_deadline(void *ctx) {
    sp_leader *l = ctx;
    l->deadline = NULL;
    check(l);
}

static void on_tick(void *ctx) {
    sp_leader *l = ctx;
    l->tick = NULL;
    l->view.fresh = l->view.leading && l->view.ours; /* a leader knows what it has written */
    run(l);
}

static void tick_in(sp_leader *l, int64_t ms) {
    l->tick = sp_timer_stop(l->tick);
    l->tick = sp_timer_start(l->loop, (uint64_t)ms, on_tick, l);
}

/* Candidates do not all look in the same moment. */
static void rest(sp_leader *l) {
    int64_t ms = l->config.timing.retry_ms;
    if (!l->view.leading) ms += (int64_t)sp_rng_below((uint64_t)ms / 5 + 1);
    tick_in(l, ms);
}

/* ---------- what is seen ---------- */

static void see(sp_leader *l, const sp_json *lease) {
    const sp_json *spec = sp_json_get(lease, "spec");
    sp_leader_view *v = &l->view;
    uint64_t revision = sp_obj_rv(lease);
    sp_str holder = sp_json_str(sp_json_get(spec, "holderIdentity"));
    v->fresh = true;
    v->exists = lease != NULL;
    v->held = holder.n > 0;
    v->ours = lease && sp_str_eq(holder, l->me);
    v->promised_ms = sp_ms_from_s(sp_json_int(sp_json_get(spec, "leaseDurationSeconds"), 0));
    if (!l->revision || revision != l->revision) v->changed_ms = sp_clock_mono_ms();
    l->revision = revision;
    l->transitions = sp_json_int(sp_json_get(spec, "leaseTransitions"), 0);
    snprintf(l->holder, sizeof l->holder, "%.*s", SP_ARG(holder));
    if (!v->ours) l->acquired[0] = 0;
}

static void now_leading(sp_leader *l) {
    bool first = !l->view.leading;
    l->view.leading = true;
    l->view.renewed_ms = l->sent_ms;
    l->deadline = sp_timer_stop(l->deadline);
    int64_t left = l->sent_ms + l->config.timing.renew_deadline_ms - sp_clock_mono_ms();
    l->deadline = sp_timer_start(l->loop, (uint64_t)SP_MAX(left, 0), on_deadline, l);
    if (!first) return;
    sp_info("leading", SP_KV("lease", l->name), SP_KV("identity", l->me));
    l->config.leading(l->config.ctx);
}

static void stand_by(sp_leader *l) {
    if (l->view.leading || l->said_standby || !l->view.held) return;
    l->said_standby = true;
    sp_info("standing by", SP_KV("lease", l->name), SP_KV("leader", l->holder));
    if (l->config.standing_by) l->config.standing_by(l->config.ctx);
}

static void looked(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    sp_leader *l = ctx;
    (void)http;
    l->call = NULL;
    l->view.asking = false;
    if (err && err->code != SP_NOT_FOUND) {
        sp_debug("looking at the Lease", SP_KV("error", (const char *)err->text));
        rest(l);
        return;
    }
    see(l, err ? NULL : obj);
    run(l);
}

static void written(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    sp_leader *l = ctx;
    (void)http;
    l->call = NULL;
    l->view.asking = false;
    if (err) { /* somebody was faster, or nobody knows: look */
        sp_debug("writing the Lease", SP_KV("error", (const char *)err->text));
        l->view.fresh = false;
        bool moved = err->code == SP_CONFLICT || err->code == SP_ALREADY_EXISTS;
        tick_in(l, moved ? 0 : l->config.timing.retry_ms / 4);
        l->view.ours = false;
        return;
    }
    see(l, obj);
    now_leading(l);
    rest(l);
}

/* ---------- requests ---------- */

static uint32_t timeout_of(const sp_leader *l) {
    return (uint32_t)SP_MAX(l->config.timing.renew_deadline_ms / 3, (int64_t)LEAST_TIMEOUT_MS);
}

static void ask(sp_leader *l, sp_kube_request *r, sp_kube_done *done) {
    l->view.asking = true;
    l->sent_ms = sp_clock_mono_ms();
    r->timeout_ms = timeout_of(l);
    l->call = sp_kube_call(l->kube, r, done, l);
}

static sp_str path(sp_leader *l, sp_arena *a, bool named) {
    return sp_gvr_path(a, &sp_gvr_leases, l->namespace_, named ? l->name : (sp_str){0}, NULL);
}

static void look(sp_leader *l) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_kube_request r = {.method = "GET", .target = path(l, a, true)};
    ask(l, &r, looked);
}

static sp_json *claim(sp_leader *l, sp_arena *a) {
    char now[SP_TIME_MAX];
    sp_json *o = sp_json_object(a), *meta = sp_json_ensure_object(a, o, "metadata"),
            *spec = sp_json_ensure_object(a, o, "spec");
    sp_time_format_micro(sp_clock_wall_ms() * 1000, now);
    sp_json_set_z(a, o, "apiVersion", "coordination.k8s.io/v1");
    sp_json_set_z(a, o, "kind", "Lease");
    sp_json_set(a, meta, "name", sp_json_new_str(a, l->name));
    sp_json_set(a, spec, "holderIdentity", sp_json_new_str(a, l->me));
    sp_json_set_int(a, spec, "leaseDurationSeconds", l->config.timing.lease_ms / 1000);
    sp_json_set_z(a, spec, "renewTime", now);
    if (!l->view.ours) {
        sp_json_set_z(a, spec, "acquireTime", now);
        sp_json_set_int(a, spec, "leaseTransitions", l->transitions + (l->view.exists ? 1 : 0));
    }
    return o;
}

static void create(sp_leader *l) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_kube_request r = {.method = "POST", .target = path(l, a, false), .body = claim(l, a)};
    ask(l, &r, written);
}

/* A patch, so that what others keep there stays. */
static void take(sp_leader *l) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *body = claim(l, a);
    sp_json_set(a, sp_json_get(body, "metadata"), "resourceVersion",
                sp_json_printf(a, "%llu", (unsigned long long)l->revision));
    sp_kube_request r = {.method = "PATCH",
                         .target = path(l, a, true),
                         .content_type = "application/merge-patch+json",
                         .body = body};
    ask(l, &r, written);
}

static void run(sp_leader *l) {
    if (l->stopped) return;
    switch (sp_leader_decide(&l->view, sp_clock_mono_ms())) {
    case SP_LEADER_LOOK: look(l); return;
    case SP_LEADER_CREATE: create(l); return;
    case SP_LEADER_TAKE: take(l); return;
    case SP_LEADER_LOST:
        lose(l, l->view.fresh && !l->view.ours ? "another one has taken it"
                                               : "the Lease could not be renewed in time");
        return;
    case SP_LEADER_WAIT:
        stand_by(l);
        if (!l->view.asking) rest(l);
        return;
    }
}

/* ---------- life ---------- */

static void on_change(void *ctx, const sp_json *old, const sp_json *obj) {
    sp_leader *l = ctx;
    (void)old;
    bool free_now = !sp_json_str(sp_json_dig(obj, "spec", "holderIdentity", NULL)).n;
    if (free_now && !l->view.leading && !l->view.asking && !l->stopped) tick_in(l, 0);
}

static sp_str identity(sp_arena *a) {
    char host[256] = "", id[37];
    gethostname(host, sizeof host - 1);
    sp_rng_uuid(id);
    return sp_arena_printf(a, "%s_%s", host, id);
}

bool sp_leader_start(uv_loop_t *loop, const sp_leader_config *c, sp_leader **ret, sp_err *err) {
    sp_kube *k;
    if (!sp_kube_open(loop, &c->kube, &k, err)) return false;
    sp_leader *l = *ret = sp_zalloc(1, sizeof *l);
    l->loop = loop;
    l->config = *c;
    l->view.timing = c->timing;
    l->kube = k;
    l->arena = sp_arena_new();
    l->namespace_ = sp_arena_str(l->arena, sp_str_z(c->namespace_));
    l->name = sp_arena_str(l->arena, sp_str_z(c->name));
    l->me = identity(l->arena);
    l->fence = sp_arena_printf(l->arena, "%.*s/%.*s/%.*s", SP_ARG(l->namespace_), SP_ARG(l->name),
                               SP_ARG(l->me));
    sp_informer_config i = {.gvr = &sp_gvr_leases,
                            .namespace_ = l->namespace_.p,
                            .field_selector =
                                sp_arena_printf(l->arena, "metadata.name=%.*s", SP_ARG(l->name)).p};
    l->informer = sp_informer_new(k, &i);
    sp_informer_on_change(l->informer, on_change, l);
    tick_in(l, 0);
    return true;
}

void sp_leader_fence(sp_leader *l, sp_kube *k) {
    sp_kube_set_fence(k, l->fence, check, l);
}

static void end(sp_leader *l) {
    void (*done)(void *) = l->stopped;
    void *ctx = l->stopped_ctx;
    l->tick = sp_timer_stop(l->tick);
    l->deadline = sp_timer_stop(l->deadline);
    sp_informer_free(l->informer);
    sp_kube_free(l->kube);
    sp_arena_free(l->arena);
    free(l);
    done(ctx);
}

static void released(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)http, (void)obj;
    if (err) sp_info("the Lease was not given back", SP_KV("error", (const char *)err->text));
    end(ctx);
}

void sp_leader_stop(sp_leader *l, void (*done)(void *ctx), void *ctx) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    l->stopped = done;
    l->stopped_ctx = ctx;
    if (l->call) sp_kube_cancel(l->kube, l->call);
    l->call = NULL;
    if (!l->view.leading) {
        end(l);
        return;
    }
    /* Not on a revision: a renewal that was cancelled may have been made. Who took it meanwhile had
     * to wait until it was over, and then we would not be here. */
    sp_json *body = sp_json_object(a), *spec = sp_json_ensure_object(a, body, "spec");
    sp_json_set_z(a, spec, "holderIdentity", "");
    sp_json_set_int(a, spec, "leaseDurationSeconds", 1);
    l->view.leading = false;
    sp_kube_set_fence(l->kube, l->fence, NULL, NULL); /* only if it is still ours */
    sp_kube_request r = {.method = "PATCH",
                         .target = path(l, a, true),
                         .content_type = "application/merge-patch+json",
                         .body = body,
                         .timeout_ms = RELEASE_MS};
    sp_kube_call(l->kube, &r, released, l);
}
