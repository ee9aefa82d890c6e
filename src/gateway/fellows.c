#include "gateway/fellows.h"
#include "base/clock.h"
#include "base/log.h"
#include "data/time.h"
#include "kube/gvrs.h"
#include "net/loop.h"

#include <ctype.h>
#include <stdio.h>

#define PREFIX "sampan-gateway-"
#define NAMESPACE "kube-system"
#define ADDRESS "sampan.dev/gateway-address"

enum {
    LEASE_S = 15,
    RENEW_MS = 5000,
    LOOK_MS = 1000,
    ALONE_MS = 5000 /* after so long without a Lease of our own nobody is waited for */
};

typedef struct fellow {
    sp_str name;           /* owned */
    sp_str address, renew; /* owned; the second as the Lease said it last */
    int64_t seen_ms;       /* when that was another than before */
    bool alive;
} fellow;

struct sp_fellows {
    sp_informer *leases;
    sp_timer *look;
    const char *address;
    char name[128];
    SP_VEC(fellow) all; /* by name */
    sp_strs addresses;
    bool writes;
    int64_t began_ms;
    void (*changed)(void *ctx);
    void *ctx;
};

static sp_str owned(sp_str s) {
    return (sp_str){sp_str_dup(s), s.n};
}

static void forget(sp_str *s) {
    free((char *)(uintptr_t)s->p);
    *s = (sp_str){0};
}

/* --- what the Leases say --- */

/* Clocks of machines differ: what counts is that the Lease goes on changing. Only one that nobody
 * has renewed for very long was never alive for us. */
static int64_t first_seen(sp_str renew) {
    int64_t wall, now = sp_clock_mono_ms();
    if (!sp_time_parse(renew, &wall)) return now - LEASE_S * 1000;
    return sp_clock_wall_ms() - wall > 4 * LEASE_S * 1000 ? now - LEASE_S * 1000 : now;
}

static fellow *find(sp_fellows *f, sp_str name, size_t *ret_at) {
    size_t at = 0;
    while (at < f->all.n && sp_str_cmp(f->all.p[at].name, name) < 0) at++;
    *ret_at = at;
    return at < f->all.n && sp_str_eq(f->all.p[at].name, name) ? &f->all.p[at] : NULL;
}

static fellow *insert(sp_fellows *f, sp_str name, size_t at) {
    sp_vec_push(&f->all, (fellow){0});
    memmove(&f->all.p[at + 1], &f->all.p[at], (f->all.n - 1 - at) * sizeof f->all.p[0]);
    f->all.p[at] = (fellow){.name = owned(name)};
    return &f->all.p[at];
}

static void drop(sp_fellows *f, size_t at) {
    fellow *one = &f->all.p[at];
    forget(&one->name);
    forget(&one->address);
    forget(&one->renew);
    memmove(one, one + 1, (f->all.n - at - 1) * sizeof *one);
    f->all.n--;
}

static void decide(void *ctx);

static void on_lease(void *ctx, const sp_json *old, const sp_json *obj) {
    sp_fellows *f = ctx;
    const sp_json *lease = obj ? obj : old;
    size_t at;
    if (!sp_str_eqz(sp_obj_namespace(lease), NAMESPACE) ||
        !sp_str_starts(sp_obj_name(lease), SP_STR(PREFIX)))
        return;
    fellow *one = find(f, sp_obj_name(lease), &at);
    if (!obj) {
        if (one) drop(f, at);
        decide(f);
        return;
    }
    sp_str renew = sp_json_str(sp_json_dig(obj, "spec", "renewTime", NULL));
    sp_str address = sp_obj_annotation(obj, ADDRESS);
    bool fresh = !one;
    if (fresh) one = insert(f, sp_obj_name(lease), at);
    if (fresh || !sp_str_eq(renew, one->renew))
        one->seen_ms = fresh ? first_seen(renew) : sp_clock_mono_ms();
    forget(&one->renew);
    forget(&one->address);
    one->renew = owned(renew);
    one->address = owned(address);
    decide(f);
}

static bool is_there(const sp_strs *list, sp_str s) {
    sp_vec_each(list, it) {
        if (sp_str_eq(*it, s)) return true;
    }
    return false;
}

static bool same(const sp_strs *a, const sp_strs *b) {
    bool equal = a->n == b->n;
    for (size_t i = 0; equal && i < a->n; i++) equal = sp_str_eq(a->p[i], b->p[i]);
    return equal;
}

static void free_addresses(sp_strs *list) {
    sp_vec_each(list, it) forget(it);
    sp_vec_free(list);
}

static void add_address(sp_strs *to, sp_str address) {
    if (address.n && !is_there(to, address)) sp_vec_push(to, owned(address));
}

/* Who lives, who is the first of them, and where they all are. */
static void decide(void *ctx) {
    sp_fellows *f = ctx;
    sp_strs addresses = {0};
    const fellow *first = NULL, *mine = NULL;
    int64_t now = sp_clock_mono_ms();
    sp_vec_each(&f->all, one) {
        bool own = sp_str_eqz(one->name, f->name);
        one->alive = own || now - one->seen_ms < LEASE_S * 1000;
        if (!one->alive) continue;
        if (own) mine = one;
        if (!first) first = one;
        add_address(&addresses, own ? sp_str_z(f->address) : one->address);
    }
    add_address(&addresses, sp_str_z(f->address));
    bool writes = mine ? first == mine : now - f->began_ms > ALONE_MS;
    bool changed = writes != f->writes || !same(&addresses, &f->addresses);
    if (writes != f->writes && f->all.n > 1)
        sp_info(writes ? "this gateway writes the status of objects, for all gateways"
                       : "another gateway writes the status of objects",
                SP_KV("gateways", addresses.n));
    f->writes = writes;
    free_addresses(&f->addresses);
    f->addresses = addresses;
    if (changed) f->changed(f->ctx);
}

/* --- our own --- */

static sp_json *lease_of(const sp_fellows *f, sp_arena *a, bool whole) {
    char now[SP_TIME_MAX];
    sp_json *o = sp_json_object(a);
    if (whole) {
        sp_json_set_z(a, o, "apiVersion", "coordination.k8s.io/v1");
        sp_json_set_z(a, o, "kind", "Lease");
    }
    sp_json *meta = sp_json_ensure_object(a, o, "metadata");
    if (whole) sp_json_set_z(a, meta, "name", f->name);
    sp_json_set_z(a, sp_json_ensure_object(a, meta, "annotations"), ADDRESS, f->address);
    sp_json *spec = sp_json_ensure_object(a, o, "spec");
    sp_time_format_micro(sp_clock_wall_ms() * 1000, now);
    sp_json_set_z(a, spec, "holderIdentity", f->name + strlen(PREFIX));
    sp_json_set_int(a, spec, "leaseDurationSeconds", LEASE_S);
    sp_json_set_z(a, spec, "renewTime", now);
    return o;
}

static bool is_due(const sp_json *lease, const sp_fellows *f) {
    int64_t wall, now = sp_clock_wall_ms();
    sp_str renew = sp_json_str(sp_json_dig(lease, "spec", "renewTime", NULL));
    if (!sp_str_eqz(sp_obj_annotation(lease, ADDRESS), f->address)) return true;
    return !sp_time_parse(renew, &wall) || wall > now || now - wall >= RENEW_MS - LOOK_MS;
}

/* Who writes also clears away what the dead left. */
static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_fellows *f = ctx;
    size_t at;
    (void)err;
    const sp_json *lease = sp_informer_get(f->leases, r->ns, r->name);
    if (sp_str_eqz(r->name, f->name)) {
        r->requeue_ms = RENEW_MS;
        if (!lease)
            sp_reconcile_create(r, &sp_gvr_leases, r->ns, lease_of(f, r->arena, true))
                ->tolerate_exists = true;
        else if (is_due(lease, f))
            sp_reconcile_merge(r, &sp_gvr_leases, r->ns, r->name, lease_of(f, r->arena, false))
                ->tolerate_missing = true;
        return true;
    }
    const fellow *one = find(f, r->name, &at);
    if (!lease || !one || !f->writes) return true;
    r->requeue_ms = LEASE_S * 1000;
    if (sp_clock_mono_ms() - one->seen_ms > 2 * LEASE_S * 1000)
        sp_reconcile_delete(r, &sp_gvr_leases, lease, NULL);
    return true;
}

static void map(void *ctx, sp_controller *c, const sp_json *obj) {
    (void)ctx;
    if (sp_str_eqz(sp_obj_namespace(obj), NAMESPACE) &&
        sp_str_starts(sp_obj_name(obj), SP_STR(PREFIX)))
        sp_controller_enqueue_object(c, obj);
}

/* Of one machine, two gateways without a node's name differ by their port. */
static void choose_name(sp_fellows *f, const sp_translate_options *o) {
    if (o->node_name)
        snprintf(f->name, sizeof f->name, PREFIX "%s", o->node_name);
    else
        snprintf(f->name, sizeof f->name, PREFIX "%s-%u", o->node_address, o->http_port);
    for (char *p = f->name; *p; p++) *p = *p == ':' ? '-' : (char)tolower((unsigned char)*p);
}

sp_fellows *sp_fellows_new(sp_manager *m, const sp_translate_options *o, void (*changed)(void *ctx),
                           void *ctx) {
    sp_fellows *f = sp_zalloc(1, sizeof *f);
    *f = (sp_fellows){.address = o->node_address, .changed = changed, .ctx = ctx};
    choose_name(f, o);
    f->began_ms = sp_clock_mono_ms();
    add_address(&f->addresses, sp_str_z(f->address));
    f->leases = sp_manager_informer(m, &sp_gvr_leases);
    sp_informer_on_change(f->leases, on_lease, f);
    sp_controller *c = sp_controller_new(m, "gateway-lease", reconcile, f);
    sp_controller_watch(c, &sp_gvr_leases, map, f);
    sp_auto(sp_buf) key = {0};
    sp_buf_printf(&key, NAMESPACE "/%s", f->name);
    sp_controller_enqueue(c, sp_buf_str(&key));
    f->look = sp_timer_every(sp_kube_loop(sp_manager_kube(m)), LOOK_MS, decide, f);
    return f;
}

sp_fellows *sp_fellows_free(sp_fellows *f) {
    if (!f) return NULL;
    sp_timer_stop(f->look);
    while (f->all.n) drop(f, f->all.n - 1);
    sp_vec_free(&f->all);
    free_addresses(&f->addresses);
    free(f);
    return NULL;
}

bool sp_fellows_writes(const sp_fellows *f) {
    return f->writes;
}

const sp_strs *sp_fellows_addresses(const sp_fellows *f) {
    return &f->addresses;
}
