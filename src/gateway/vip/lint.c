/* Findings about a configuration that parses. Each is a sentence a person can act on. */
#include "gateway/vip/config.h"
#include "gateway/vip/vmac.h"

#include <stdarg.h>
#include <stdio.h>

static void say(const sp_vip_config *c, sp_vip_problems *ret, bool fatal, const char *fmt, ...)
    SP_PRINTF(4, 5);
static void say(const sp_vip_config *c, sp_vip_problems *ret, bool fatal, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sp_vec_push(ret, {0, sp_arena_str(c->arena, sp_str_z(text)), fatal});
}

static void lint_needs(const sp_vip_config *c, const sp_vip_instance *i, sp_vip_problems *ret) {
    if (i->interface.n == 0) say(c, ret, true, "%.*s: no interface is named", SP_ARG(i->name));
    if (i->interface.n > 15)
        say(c, ret, true, "%.*s: interface %.*s: a name has at most 15 characters", SP_ARG(i->name),
            SP_ARG(i->interface));
    if (i->vrid == 0) say(c, ret, true, "%.*s: no virtual_router_id (1 to 255)", SP_ARG(i->name));
    if (i->addresses.n == 0) say(c, ret, true, "%.*s: no virtual address", SP_ARG(i->name));
    if (i->addresses.n > SP_VRRP_ADDRESSES)
        say(c, ret, true,
            "%.*s: more than %d virtual addresses; put the others into "
            "virtual_ipaddress_excluded",
            SP_ARG(i->name), SP_VRRP_ADDRESSES);
    if (i->options.version == 2 && i->options.advert_us % 1000000 != 0)
        say(c, ret, true,
            "%.*s: version 2 counts whole seconds: advert_int with a fraction needs "
            "version 3",
            SP_ARG(i->name));
    if (i->options.version == 3 && i->options.advert_us > 40950000)
        say(c, ret, true, "%.*s: advert_int: version 3 counts to 40.95 seconds", SP_ARG(i->name));
    if (i->options.version == 2 && i->family == AF_INET6)
        say(c, ret, true, "%.*s: IPv6 needs version 3", SP_ARG(i->name));
    if (i->options.version == 3 && i->has_pass)
        say(c, ret, false, "%.*s: version 3 has no authentication; the password is not used",
            SP_ARG(i->name));
}

static void lint_families(const sp_vip_config *c, const sp_vip_instance *i, sp_vip_problems *ret) {
    char text[SP_ADDR_MAX];
    sp_vec_each(&i->addresses, a) {
        if (a->ip.family == i->family) continue;
        sp_addr_format_ip(&a->ip, text);
        say(c, ret, true,
            "%.*s: %s is of the other IP version than the first virtual address; put "
            "it into virtual_ipaddress_excluded or an instance of its own",
            SP_ARG(i->name), text);
    }
    sp_vec_each(&i->peers, p) {
        if (p->family == i->family) continue;
        sp_addr_format_ip(p, text);
        say(c, ret, true, "%.*s: peer %s is of the other IP version", SP_ARG(i->name), text);
    }
    if (i->source.family && i->source.family != i->family)
        say(c, ret, true, "%.*s: the source address is of the other IP version", SP_ARG(i->name));
}

static bool is_defined(const sp_vip_config *c, const sp_vip_track *t) {
    switch (t->kind) {
    case SP_VIP_TRACK_SCRIPT: return sp_vip_find_script(c, t->name);
    case SP_VIP_TRACK_PROCESS: return sp_vip_find_process(c, t->name);
    case SP_VIP_TRACK_FILE: return sp_vip_find_file(c, t->name);
    case SP_VIP_TRACK_INTERFACE:
    case SP_VIP_TRACK_HEALTH: break;
    }
    return true;
}

static void lint_tracks(const sp_vip_config *c, const sp_vip_instance *i, sp_vip_problems *ret) {
    int most = 0;
    sp_vec_each(&i->tracks, t) {
        if (!is_defined(c, t))
            say(c, ret, true, "%.*s tracks %.*s, which is not defined", SP_ARG(i->name),
                SP_ARG(t->name));
        if (t->weight < -253 || t->weight > 253)
            say(c, ret, true, "%.*s: weight %d of %.*s: -253 to 253", SP_ARG(i->name), t->weight,
                SP_ARG(t->name));
        if (t->weight && i->options.nopreempt)
            say(c, ret, false,
                "%.*s: nopreempt and a weight: a backup never takes over because "
                "the master's priority fell, only when it is silent or hands over",
                SP_ARG(i->name));
        most += abs(t->weight);
        if (i->priority == SP_VRRP_OWNER && t->weight)
            say(c, ret, false,
                "%.*s: priority 255 never changes, the weight of %.*s counts for "
                "nothing",
                SP_ARG(i->name), SP_ARG(t->name));
    }
    if (most && i->priority != SP_VRRP_OWNER && i->priority + most > 254)
        say(c, ret, false, "%.*s: priority %u and its weights pass 254 and are cut there",
            SP_ARG(i->name), i->priority);
}

/* One file holds one node's view, so the other's priority is not known: what can be said is which
 * gaps this weight bridges. */
static void lint_gap(const sp_vip_config *c, const sp_vip_instance *i, sp_vip_problems *ret) {
    sp_vec_each(&i->tracks, t) {
        if (t->kind != SP_VIP_TRACK_SCRIPT && t->kind != SP_VIP_TRACK_HEALTH) continue;
        int gap = abs(t->weight);
        if (!gap || i->priority == SP_VRRP_OWNER) continue;
        say(c, ret, false,
            "%.*s: weight %d of %.*s moves the address only to nodes whose priority "
            "is less than %d below this one's (with priority %u here: %d or more there)",
            SP_ARG(i->name), t->weight, SP_ARG(t->name), gap, i->priority,
            SP_MAX(1, i->priority - gap + 1));
    }
}

static void lint_pairs(const sp_vip_config *c, sp_vip_problems *ret) {
    for (size_t x = 0; x < c->instances.n; x++) {
        for (size_t y = x + 1; y < c->instances.n; y++) {
            const sp_vip_instance *a = &c->instances.p[x], *b = &c->instances.p[y];
            if (sp_str_eq(a->name, b->name))
                say(c, ret, true, "two instances are called %.*s", SP_ARG(a->name));
            if (a->vrid == b->vrid && a->family == b->family &&
                sp_str_eq(a->interface, b->interface))
                say(c, ret, true, "%.*s and %.*s have the same virtual_router_id %u on %.*s",
                    SP_ARG(a->name), SP_ARG(b->name), a->vrid, SP_ARG(a->interface));
            char one[16], other[16];
            sp_vip_vmac_name(a, one);
            sp_vip_vmac_name(b, other);
            if (one[0] && strcmp(one, other) == 0)
                say(c, ret, true, "%.*s and %.*s both make the interface %s: give use_vmac a name",
                    SP_ARG(a->name), SP_ARG(b->name), one);
        }
    }
}

static void lint_groups(const sp_vip_config *c, sp_vip_problems *ret) {
    sp_vec_each(&c->groups, g) {
        sp_vec_each(&g->members, m) {
            if (!sp_vip_find_instance(c, *m))
                say(c, ret, true, "sync group %.*s: no instance %.*s", SP_ARG(g->name), SP_ARG(*m));
        }
        if (g->members.n == 0) say(c, ret, true, "sync group %.*s has no members", SP_ARG(g->name));
    }
}

void sp_vip_lint(const sp_vip_config *c, sp_vip_problems *ret) {
    sp_vec_each(&c->instances, i) {
        lint_needs(c, i, ret);
        lint_families(c, i, ret);
        lint_tracks(c, i, ret);
        lint_gap(c, i, ret);
    }
    lint_pairs(c, ret);
    lint_groups(c, ret);
}
