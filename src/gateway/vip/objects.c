#include "gateway/vip/objects.h"
#include "data/time.h"
#include "gateway/vip/keepalived.h"

#include <stdarg.h>
#include <stdio.h>

#define GATEWAY_HEALTH "gateway"

/* --- objects to instances --- */

typedef struct reader {
    sp_vip_config *config;
    sp_vip_instance *i;
    const sp_json *spec, *mine; /* mine: the element of spec.nodes about this node, or NULL */
    sp_err *err;
} reader;

/* What this node says, else what all say. */
static const sp_json *either(const reader *r, const char *key) {
    const sp_json *own = sp_json_get(r->mine, key);
    return own ? own : sp_json_get(r->spec, key);
}

static sp_str keep(const reader *r, const sp_json *j) {
    return sp_arena_str(r->config->arena, sp_json_str(j));
}

static bool read_time(const reader *r, const char *key, int64_t fallback_us, int64_t *ret_us) {
    const sp_json *j = sp_json_get(r->spec, key);
    int64_t ms;
    *ret_us = fallback_us;
    if (!j) return true;
    if (!sp_duration_parse(sp_json_str(j), &ms) || ms < 0 || ms > 86400000)
        return sp_fail_field(r->err, SP_INVALID, "spec", "%s %s: not a time like 100ms or 5s", key,
                             sp_json_z(j));
    *ret_us = ms * 1000;
    return true;
}

static bool read_ip(const reader *r, const sp_json *j, sp_addr *ret) {
    if (sp_addr_parse(sp_json_str(j), 0, ret)) return true;
    return sp_fail(r->err, SP_INVALID, "%s is not an IP address", sp_json_z(j));
}

static bool read_virtual(const reader *r, const sp_json *j, sp_vip_address *ret) {
    sp_str text = sp_json_str(j);
    ptrdiff_t slash = sp_str_chr(text, '/');
    uint64_t bits = 0;
    *ret = (sp_vip_address){0};
    bool ok = sp_addr_parse(slash < 0 ? text : sp_str_sub(text, 0, (size_t)slash), 0, &ret->ip);
    uint64_t most = ret->ip.family == AF_INET ? 32 : 128;
    if (slash < 0)
        bits = most;
    else
        ok = ok && sp_str_u64(sp_str_from(text, (size_t)slash + 1), &bits) && bits <= most;
    if (!ok)
        return sp_fail(r->err, SP_INVALID, "%s is not an address like 192.0.2.10/24", sp_json_z(j));
    ret->bits = (uint8_t)bits;
    return true;
}

static bool read_addresses(const reader *r) {
    sp_vip_address a;
    sp_json_each(sp_json_get(r->spec, "addresses"), j) {
        if (!read_virtual(r, j, &a)) return false;
        if (r->i->addresses.n == 0) r->i->family = a.ip.family;
        sp_vec_push(&r->i->addresses, a);
    }
    sp_json_each(sp_json_get(r->spec, "excludedAddresses"), j) {
        if (!read_virtual(r, j, &a)) return false;
        sp_vec_push(&r->i->excluded, a);
    }
    return true;
}

static bool read_peers(const reader *r) {
    const sp_json *source = either(r, "sourceAddress");
    sp_addr own = {0};
    if (source && !read_ip(r, source, &r->i->source)) return false;
    if (r->i->source.family) own = r->i->source;
    sp_json_each(sp_json_get(r->spec, "peers"), j) {
        sp_addr a;
        if (!read_ip(r, j, &a)) return false;
        if (!sp_addr_eq(&a, &own)) sp_vec_push(&r->i->peers, a);
    }
    return true;
}

static bool read_track(const reader *r, const sp_json *j) {
    static const struct {
        const char *kind;
        sp_vip_track_kind to;
        bool named;
    } kinds[] = {{"Gateway", SP_VIP_TRACK_HEALTH, false},
                 {"Interface", SP_VIP_TRACK_INTERFACE, true},
                 {"Process", SP_VIP_TRACK_PROCESS, true},
                 {"File", SP_VIP_TRACK_FILE, true}};
    sp_str kind = sp_json_str(sp_json_get(j, "kind")), name = keep(r, sp_json_get(j, "name"));
    size_t k = 0;
    while (k < SP_COUNT(kinds) && !sp_str_eqz(kind, kinds[k].kind)) k++;
    if (k == SP_COUNT(kinds)) return sp_fail(r->err, SP_INVALID, "track: no such kind");
    if (kinds[k].named && name.n == 0)
        return sp_fail(r->err, SP_INVALID, "track: a name is missing for %s", kinds[k].kind);
    if (!kinds[k].named) name = SP_STR(GATEWAY_HEALTH);
    int weight = (int)sp_json_int(sp_json_get(j, "weight"), 0);
    sp_vip_track t = {kinds[k].to, name, weight, sp_json_bool(sp_json_get(j, "reverse"), false)};
    if (t.kind == SP_VIP_TRACK_PROCESS && !sp_vip_find_process(r->config, name))
        sp_vec_push(&r->config->processes, {.name = name, .command = name, .quorum = 1});
    if (t.kind == SP_VIP_TRACK_FILE && !sp_vip_find_file(r->config, name))
        sp_vec_push(&r->config->files, {.name = name, .path = name, .weight = weight});
    sp_vec_push(&r->i->tracks, t);
    return true;
}

/* Without a list the gateway itself counts: one that does not serve must not hold the address. */
static bool read_tracks(const reader *r) {
    const sp_json *list = sp_json_get(r->spec, "track");
    sp_json_each(list, j) {
        if (!read_track(r, j)) return false;
    }
    sp_vip_track self = {.kind = SP_VIP_TRACK_HEALTH, .name = SP_STR(GATEWAY_HEALTH)};
    if (!list) sp_vec_push(&r->i->tracks, self);
    return true;
}

static bool read_password(const reader *r, const sp_vip_node *node) {
    const sp_json *auth = sp_json_get(r->spec, "authentication"),
                  *from = sp_json_get(auth, "passwordFrom");
    sp_str password = sp_json_str(sp_json_get(auth, "password"));
    sp_str key = sp_json_str(sp_json_get(from, "key"));
    if (!auth) return true;
    if (from && !node->secret(node->ctx, sp_json_str(sp_json_get(from, "namespace")),
                              sp_json_str(sp_json_get(from, "name")),
                              key.n ? key : SP_STR("password"), &password))
        return sp_fail(r->err, SP_NOT_FOUND, "the Secret %s/%s has no such entry",
                       sp_json_get_z(from, "namespace"), sp_json_get_z(from, "name"));
    if (password.n == 0 || password.n > SP_VRRP_PASS_MAX)
        return sp_fail(r->err, SP_INVALID, "the password must have 1 to 8 characters");
    r->i->has_pass = true;
    memcpy(r->i->pass, password.p, password.n);
    return true;
}

static bool read_times(const reader *r) {
    sp_vrrp_options *o = &r->i->options;
    int64_t usual = o->version == 2 ? 1000000 : 100000;
    if (!read_time(r, "advertInterval", usual, &o->advert_us) ||
        !read_time(r, "preemptDelay", 0, &o->preempt_delay_us) ||
        !read_time(r, "startupDelay", 0, &o->startup_delay_us))
        return false;
    if (o->advert_us < 10000 || o->advert_us > 40950000)
        return sp_fail(r->err, SP_INVALID, "advertInterval: 10ms to 40.95s");
    o->advert_us = o->advert_us / 10000 * 10000;
    return true;
}

static bool read_all(const reader *r, const sp_vip_node *node) {
    sp_vip_instance *i = r->i;
    i->interface = keep(r, either(r, "interface"));
    i->vrid = (uint8_t)sp_json_int(sp_json_get(r->spec, "virtualRouterID"), 0);
    i->priority = (uint8_t)sp_json_int(either(r, "priority"), 100);
    i->options.version = (uint8_t)sp_json_int(sp_json_get(r->spec, "version"), 3);
    i->options.starts_master =
        sp_str_eqz(sp_json_str(sp_json_get(r->spec, "initialState")), "Master");
    i->options.nopreempt = !sp_json_bool(sp_json_get(r->spec, "preempt"), true);
    i->options.hand_over = sp_json_bool(sp_json_get(r->spec, "handOver"), true);
    i->lease = sp_json_bool(sp_json_get(r->spec, "lease"), true);
    i->vmac = sp_json_bool(sp_json_get(r->spec, "virtualMAC"), false);
    if (i->options.nopreempt && i->options.starts_master)
        return sp_fail(r->err, SP_INVALID, "preempt: false needs initialState: Backup");
    return read_times(r) && read_addresses(r) && read_peers(r) && read_tracks(r) &&
           read_password(r, node);
}

/* The first fatal finding about the new instance. */
static bool check(const reader *r) {
    sp_vip_problems problems = {0};
    bool ok = true;
    sp_vip_lint(r->config, &problems);
    sp_vec_each(&problems, p) {
        if (!p->fatal || !ok) continue;
        ok = sp_fail(r->err, SP_INVALID, "%.*s", SP_ARG(p->text));
    }
    sp_vec_free(&problems);
    return ok;
}

static void drop_last(sp_vip_config *c) {
    sp_vip_instance *i = &c->instances.p[--c->instances.n];
    sp_vec_free(&i->addresses);
    sp_vec_free(&i->excluded);
    sp_vec_free(&i->peers);
    sp_vec_free(&i->tracks);
}

bool sp_vip_object_read(sp_vip_config *c, const sp_json *object, const sp_vip_node *node,
                        bool *ret_part, sp_err *err) {
    reader r = {.config = c, .spec = sp_json_get(object, "spec"), .err = err};
    const sp_json *nodes = sp_json_get(r.spec, "nodes");
    sp_json_each(nodes, n) {
        if (sp_str_eq(sp_json_str(sp_json_get(n, "name")), node->name)) r.mine = n;
    }
    *ret_part = r.mine || !nodes || !nodes->count;
    if (!*ret_part) return true;
    if (sp_obj_name(object).n > 63)
        return sp_fail(err, SP_INVALID, "the name may have 63 characters here");
    r.i = sp_vip_instance_add(c, sp_obj_name(object));
    if (read_all(&r, node) && check(&r)) return true;
    drop_last(c);
    return false;
}

void sp_vip_object_lint(sp_arena *a, const sp_json *object, sp_strs *ret) {
    const sp_json *spec = sp_json_get(object, "spec");
    int64_t usual = sp_json_int(sp_json_get(spec, "priority"), 100);
    sp_json_each(sp_json_get(spec, "nodes"), x) {
        int64_t p = sp_json_int(sp_json_get(x, "priority"), usual);
        for (const sp_json *y = x->next; y; y = y->next) {
            if (p != sp_json_int(sp_json_get(y, "priority"), usual)) continue;
            sp_str text = sp_arena_printf(
                a, "%s and %s have the same priority %lld: both may take over at once",
                sp_json_get_z(x, "name"), sp_json_get_z(y, "name"), (long long)p);
            sp_vec_push(ret, text);
        }
    }
}

/* --- instances to objects --- */

static void say(const sp_vip_config *c, sp_vip_problems *ret, const char *fmt, ...) SP_PRINTF(3, 4);
static void say(const sp_vip_config *c, sp_vip_problems *ret, const char *fmt, ...) {
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sp_vec_push(ret, {0, sp_arena_str(c->arena, sp_str_z(text)), false});
}

static sp_json *new_address(sp_arena *a, const sp_vip_address *v) {
    char text[SP_ADDR_MAX];
    sp_addr_format_ip(&v->ip, text);
    return sp_json_printf(a, "%s/%u", text, v->bits);
}

static sp_json *new_ip(sp_arena *a, const sp_addr *ip) {
    char text[SP_ADDR_MAX];
    sp_addr_format_ip(ip, text);
    return sp_json_new_z(a, text);
}

static sp_json *new_time(sp_arena *a, int64_t us) {
    if (us % 1000000 == 0) return sp_json_printf(a, "%llds", (long long)us / 1000000);
    return sp_json_printf(a, "%lldms", (long long)us / 1000);
}

static void add_tracks(sp_arena *a, const sp_vip_config *c, const sp_vip_instance *i, sp_json *spec,
                       sp_vip_problems *ret) {
    static const char *const kinds[] = {[SP_VIP_TRACK_SCRIPT] = "Gateway",
                                        [SP_VIP_TRACK_INTERFACE] = "Interface",
                                        [SP_VIP_TRACK_FILE] = "File",
                                        [SP_VIP_TRACK_PROCESS] = "Process",
                                        [SP_VIP_TRACK_HEALTH] = "Gateway"};
    sp_json *list = sp_json_ensure_array(a, spec, "track");
    sp_vec_each(&i->tracks, t) {
        sp_json *o = sp_json_push(list, sp_json_object(a));
        const sp_vip_process *p = sp_vip_find_process(c, t->name);
        const sp_vip_file *f = sp_vip_find_file(c, t->name);
        sp_str name = t->kind == SP_VIP_TRACK_PROCESS && p ? p->command
                      : t->kind == SP_VIP_TRACK_FILE && f  ? f->path
                                                           : t->name;
        sp_json_set_z(a, o, "kind", kinds[t->kind]);
        if (strcmp(kinds[t->kind], "Gateway") != 0)
            sp_json_set(a, o, "name", sp_json_new_str(a, name));
        sp_json_set_int(a, o, "weight", t->weight);
        if (t->reverse) sp_json_set_bool(a, o, "reverse", true);
        if (t->kind == SP_VIP_TRACK_SCRIPT)
            say(c, ret,
                "%.*s: the script %.*s becomes the gateway's own health: objects run no "
                "programs",
                SP_ARG(i->name), SP_ARG(t->name));
    }
}

static void add_options(sp_arena *a, const sp_vip_instance *i, sp_json *spec) {
    const sp_vrrp_options *o = &i->options;
    sp_json_set_int(a, spec, "version", o->version);
    sp_json_set_int(a, spec, "priority", i->priority);
    sp_json_set(a, spec, "advertInterval", new_time(a, o->advert_us));
    sp_json_set_z(a, spec, "initialState", o->starts_master ? "Master" : "Backup");
    if (o->nopreempt) sp_json_set_bool(a, spec, "preempt", false);
    if (o->preempt_delay_us) sp_json_set(a, spec, "preemptDelay", new_time(a, o->preempt_delay_us));
    if (o->startup_delay_us) sp_json_set(a, spec, "startupDelay", new_time(a, o->startup_delay_us));
    if (!o->hand_over) sp_json_set_bool(a, spec, "handOver", false);
    if (!i->lease) sp_json_set_bool(a, spec, "lease", false);
    if (i->vmac) sp_json_set_bool(a, spec, "virtualMAC", true);
    if (i->source.family) sp_json_set(a, spec, "sourceAddress", new_ip(a, &i->source));
    if (!i->has_pass) return;
    sp_json *auth = sp_json_ensure_object(a, spec, "authentication");
    sp_str pass = {i->pass, strnlen(i->pass, sizeof i->pass)};
    sp_json_set_z(a, auth, "type", "PASS");
    sp_json_set(a, auth, "password", sp_json_new_str(a, pass));
}

/* Names of objects are made of small letters, digits and dashes. */
static sp_json *object_name(sp_arena *a, sp_str name) {
    sp_buf b = {0};
    for (size_t k = 0; k < name.n; k++) {
        char ch = name.p[k];
        if (ch >= 'A' && ch <= 'Z') ch = (char)(ch - 'A' + 'a');
        bool fits = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9');
        sp_buf_addc(&b, fits ? ch : '-');
    }
    sp_json *j = sp_json_new_str(a, sp_buf_str(&b));
    sp_buf_free(&b);
    return j;
}

static sp_json *new_object(sp_arena *a, const sp_vip_config *c, const sp_vip_instance *i,
                           sp_vip_problems *ret) {
    sp_json *o = sp_json_object(a);
    sp_json_set_z(a, o, "apiVersion", "sampan.dev/v1alpha1");
    sp_json_set_z(a, o, "kind", "VirtualAddress");
    sp_json_set(a, sp_json_ensure_object(a, o, "metadata"), "name", object_name(a, i->name));
    sp_json *spec = sp_json_ensure_object(a, o, "spec");
    sp_json *list = sp_json_ensure_array(a, spec, "addresses");
    sp_vec_each(&i->addresses, v) sp_json_push(list, new_address(a, v));
    if (i->excluded.n) list = sp_json_ensure_array(a, spec, "excludedAddresses");
    sp_vec_each(&i->excluded, v) sp_json_push(list, new_address(a, v));
    sp_json_set(a, spec, "interface", sp_json_new_str(a, i->interface));
    sp_json_set_int(a, spec, "virtualRouterID", i->vrid);
    add_options(a, i, spec);
    if (i->peers.n) list = sp_json_ensure_array(a, spec, "peers");
    sp_vec_each(&i->peers, p) sp_json_push(list, new_ip(a, p));
    if (i->tracks.n) add_tracks(a, c, i, spec, ret);
    if (i->notify.any || i->notify.master || i->notify.backup || i->notify.fault || i->notify.stop)
        say(c, ret,
            "%.*s: notify programs stay in the file: objects run no programs; watch the "
            "object instead",
            SP_ARG(i->name));
    if (i->group.n)
        say(c, ret, "%.*s: sync group %.*s: put all its addresses into one object", SP_ARG(i->name),
            SP_ARG(i->group));
    return o;
}

sp_json *sp_vip_config_objects(sp_arena *a, const sp_vip_config *c, sp_vip_problems *ret) {
    sp_json *all = sp_json_array(a);
    sp_vec_each(&c->instances, i) sp_json_push(all, new_object(a, c, i, ret));
    return all;
}
