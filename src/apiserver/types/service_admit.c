/* Services: which defaults follow from the type, and which address and node ports they get. Both
 * are chosen at random among the free ones, and claimed (registry.h), because another server may
 * choose at the same time; what an object had before it keeps. */
#include "apiserver/types/admit.h"

#include "base/map.h"
#include "base/rng.h"

#include <stdio.h>

/* 10.96.0.0/16, of which .0 and .255.255 are no addresses, and the first ones are for services that
 * want a known address. */
enum {
    CLUSTER_NET = 10 << 24 | 96 << 16,
    CLUSTER_HOSTS = 1 << 16,
    FIRST_RANDOM_HOST = 256,
    LAST_HOST = CLUSTER_HOSTS - 2,
    FIRST_NODE_PORT = 30000,
    LAST_NODE_PORT = 32767
};

static bool type_is(const sp_json *spec, const char *type) {
    return sp_str_eqz(sp_json_str(sp_json_get(spec, "type")), type);
}

static bool has_node_ports(const sp_json *spec) {
    if (type_is(spec, "NodePort")) return true;
    return type_is(spec, "LoadBalancer") &&
           sp_json_bool(sp_json_get(spec, "allocateLoadBalancerNodePorts"), true);
}

static bool is_headless(const sp_json *spec) {
    return sp_str_eqz(sp_json_str(sp_json_get(spec, "clusterIP")), "None");
}

/* --- what the other services hold --- */

typedef struct taken {
    sp_map addresses, ports; /* "10.96.0.7"; "TCP/30080" */
    sp_arena *arena;
    sp_str ns, name; /* ours: does not count */
} taken;

static void taken_cleanup(taken *t) {
    sp_map_free(&t->addresses);
    sp_map_free(&t->ports);
}

static sp_str port_key(sp_arena *a, const sp_json *port, int64_t number) {
    const char *protocol = sp_json_get_z(port, "protocol");
    return sp_arena_printf(a, "%s/%lld", *protocol ? protocol : "TCP", (long long)number);
}

static bool note_service(void *ctx, const sp_json *service) {
    taken *t = ctx;
    if (sp_str_eq(sp_obj_name(service), t->name) && sp_str_eq(sp_obj_namespace(service), t->ns)) {
        return true;
    }
    const sp_json *spec = sp_json_get(service, "spec");
    sp_str address = sp_json_str(sp_json_get(spec, "clusterIP"));
    if (address.n) sp_map_put(&t->addresses, address, t);
    sp_json_each(sp_json_get(spec, "ports"), it) {
        int64_t number = sp_json_int(sp_json_get(it, "nodePort"), 0);
        if (number) sp_map_put(&t->ports, port_key(t->arena, it, number), t);
    }
    return true;
}

static void note_all(sp_admit *a, taken *t) {
    *t = (taken){.arena = a->arena, .ns = sp_obj_namespace(a->obj), .name = sp_obj_name(a->obj)};
    if (a->lookup_each) {
        a->lookup_each(a->lookup_ctx, a->arena, "", "services", SP_STR(""), note_service, t);
    }
}

/* --- addresses --- */

static bool parse_ipv4(sp_str s, uint32_t *ret) {
    uint32_t address = 0;
    unsigned parts = 0;
    for (sp_str part; sp_str_cut(&s, '.', &part); parts++) {
        uint64_t n;
        if (!sp_str_u64(part, &n) || n > 255 || (part.n > 1 && part.p[0] == '0')) return false;
        address = address << 8 | (uint32_t)n;
    }
    *ret = address;
    return parts == 4;
}

static sp_str address_text(sp_arena *a, uint32_t host) {
    uint32_t ip = CLUSTER_NET + host;
    return sp_arena_printf(a, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

static bool pick_address(sp_arena *a, const taken *t, sp_str *ret) {
    uint32_t span = LAST_HOST - FIRST_RANDOM_HOST + 1;
    uint32_t start = (uint32_t)sp_rng_below(span);
    for (uint32_t i = 0; i < span; i++) {
        *ret = address_text(a, FIRST_RANDOM_HOST + (start + i) % span);
        if (!sp_map_has(&t->addresses, *ret)) return true;
    }
    return false;
}

static void set_address(sp_arena *a, sp_json *spec, sp_str address) {
    sp_json *list = sp_json_array(a);
    sp_json_push(list, sp_json_new_str(a, address));
    sp_json_set(a, spec, "clusterIP", sp_json_new_str(a, address));
    sp_json_set(a, spec, "clusterIPs", list);
}

static bool give_address(sp_admit *a, sp_json *spec, const taken *t, sp_err *err) {
    const sp_json *old_spec = sp_json_get(a->old, "spec");
    sp_str now = sp_json_str(sp_json_get(spec, "clusterIP"));
    sp_str before = sp_json_str(sp_json_get(old_spec, "clusterIP"));
    bool had = before.n && !type_is(old_spec, "ExternalName");
    if (!now.n && had) now = before;
    if (!now.n && !pick_address(a->arena, t, &now)) {
        return sp_fail(err, SP_INTERNAL, "failed to allocate a clusterIP: range is full");
    }
    set_address(a->arena, spec, now);
    return true;
}

/* --- node ports --- */

static const sp_json *old_port_of(const sp_json *old_spec, const sp_json *port) {
    sp_json_each(sp_json_get(old_spec, "ports"), it) {
        bool same_number =
            sp_json_int(sp_json_get(it, "port"), 0) == sp_json_int(sp_json_get(port, "port"), -1);
        if (same_number &&
            !strcmp(sp_json_get_z(it, "protocol"), sp_json_get_z(port, "protocol"))) {
            return it;
        }
    }
    return NULL;
}

static bool pick_port(sp_arena *a, taken *t, const sp_json *port, int64_t *ret) {
    int64_t span = LAST_NODE_PORT - FIRST_NODE_PORT + 1;
    int64_t start = (int64_t)sp_rng_below((uint64_t)span);
    for (int64_t i = 0; i < span; i++) {
        *ret = FIRST_NODE_PORT + (start + i) % span;
        if (!sp_map_has(&t->ports, port_key(a, port, *ret))) return true;
    }
    return false;
}

static bool give_node_ports(sp_admit *a, sp_json *spec, taken *t, sp_err *err) {
    const sp_json *old_spec = sp_json_get(a->old, "spec");
    sp_json_each(sp_member(spec, "ports", SP_JSON_ARRAY), it) {
        int64_t number;
        if (!sp_json_is(it, SP_JSON_OBJECT)) continue;
        if (sp_json_int(sp_json_get(it, "nodePort"), 0)) continue;
        number = sp_json_int(sp_json_get(old_port_of(old_spec, it), "nodePort"), 0);
        if (!number && !pick_port(a->arena, t, it, &number)) {
            return sp_fail(err, SP_INTERNAL, "failed to allocate a nodePort: range is full");
        }
        sp_map_put(&t->ports, port_key(a->arena, it, number), t);
        sp_json_set_int(a->arena, it, "nodePort", number);
    }
    return true;
}

/* --- defaults --- */

static void port_defaults(sp_arena *a, sp_json *spec) {
    sp_json_each(sp_member(spec, "ports", SP_JSON_ARRAY), it) {
        const sp_json *port = sp_member(it, "port", SP_JSON_NUMBER);
        const sp_json *target = sp_json_is(it, SP_JSON_OBJECT) ? sp_json_get(it, "targetPort") : it;
        bool unset = !target || target->type == SP_JSON_NULL ||
                     (target->type == SP_JSON_STRING && !target->text.n) ||
                     (target->type == SP_JSON_NUMBER && sp_str_eqz(target->text, "0"));
        if (port && unset) sp_json_set(a, it, "targetPort", sp_json_clone(a, port));
    }
}

/* What a type brings along goes again when the type changes. */
static void drop_stale(const sp_json *old_spec, sp_json *spec) {
    static const char *const of_cluster[] = {"clusterIP", "clusterIPs", "ipFamilies",
                                             "ipFamilyPolicy", "internalTrafficPolicy"};
    if (type_is(spec, "ExternalName") && !type_is(old_spec, "ExternalName")) {
        for (size_t i = 0; i < SP_COUNT(of_cluster); i++) sp_json_remove(spec, of_cluster[i]);
    }
    if (!has_node_ports(spec) && has_node_ports(old_spec)) {
        sp_json_each(sp_member(spec, "ports", SP_JSON_ARRAY), it) {
            const sp_json *before = old_port_of(old_spec, it);
            int64_t number = sp_json_int(sp_json_get(it, "nodePort"), 0);
            if (number == sp_json_int(sp_json_get(before, "nodePort"), -1)) {
                sp_json_remove(it, "nodePort");
            }
        }
        sp_json_remove(spec, "externalTrafficPolicy");
    }
    if (!type_is(spec, "LoadBalancer")) sp_json_remove(spec, "allocateLoadBalancerNodePorts");
}

static void family_defaults(sp_arena *a, sp_json *spec) {
    if (sp_json_get(spec, "ipFamilies")) return;
    sp_json *families = sp_json_set(a, spec, "ipFamilies", sp_json_array(a));
    sp_json_push(families, sp_json_new_z(a, "IPv4"));
    sp_default_z(a, spec, "ipFamilyPolicy", "SingleStack");
}

static void type_defaults(sp_arena *a, sp_json *spec) {
    if (type_is(spec, "LoadBalancer")) {
        sp_default_bool(a, spec, "allocateLoadBalancerNodePorts", true);
    }
    if (type_is(spec, "LoadBalancer") || type_is(spec, "NodePort")) {
        sp_default_z(a, spec, "externalTrafficPolicy", "Cluster");
    }
    if (!type_is(spec, "ExternalName")) {
        sp_default_z(a, spec, "internalTrafficPolicy", "Cluster");
        family_defaults(a, spec);
    }
    if (sp_str_eqz(sp_json_str(sp_json_get(spec, "sessionAffinity")), "ClientIP")) {
        enum { THREE_HOURS = 10800 };
        sp_json *config = sp_open_object(a, spec, "sessionAffinityConfig");
        sp_json *client = config ? sp_open_object(a, config, "clientIP") : NULL;
        if (client) sp_default_int(a, client, "timeoutSeconds", THREE_HOURS);
    }
}

bool sp_prepare_service(sp_admit *a, sp_err *err) {
    sp_json *spec = sp_member(a->obj, "spec", SP_JSON_OBJECT);
    if (!spec || a->subresource.n) return true;
    if (a->old) drop_stale(sp_json_get(a->old, "spec"), spec);
    port_defaults(a->arena, spec);
    type_defaults(a->arena, spec);
    if (type_is(spec, "ExternalName")) return true;
    a->claims = true;
    sp_auto(taken) t;
    note_all(a, &t);
    if (!give_address(a, spec, &t, err)) return false;
    return !has_node_ports(spec) || give_node_ports(a, spec, &t, err);
}

/* --- rules --- */

static void check_port(const sp_at *at, const sp_json *spec, const sp_json *port, bool many) {
    const sp_json *name = sp_json_get(port, "name");
    if (many) sp_check_present(at, port, "name");
    sp_check_text(at, port, "name", sp_wrong_label);
    sp_check_port(at, port, "port");
    sp_check_port_or_name(at, port, "targetPort");
    const sp_json *node_port = sp_json_get(port, "nodePort");
    if (sp_json_int(node_port, 0) &&
        (type_is(spec, "ClusterIP") || type_is(spec, "ExternalName"))) {
        sp_say_forbidden(at, "nodePort", "may not be used when `type` is '%s'",
                         sp_json_get_z(spec, "type"));
    }
    sp_json_each(sp_json_get(spec, "ports"), other) {
        if (other == port) break;
        const sp_json *theirs = sp_json_get(other, "name");
        if (sp_json_str(name).n && theirs && sp_json_equal(name, theirs)) {
            sp_say_duplicate(at, "name", name);
        }
        bool same = !strcmp(sp_json_get_z(other, "protocol"), sp_json_get_z(port, "protocol"));
        if (same && sp_json_equal(sp_json_get(other, "port"), sp_json_get(port, "port"))) {
            sp_say_duplicate(at, "port", sp_json_get(port, "port"));
        }
    }
}

static void check_ports(const sp_at *at, const sp_json *spec) {
    const sp_json *ports = sp_json_get(spec, "ports");
    sp_at list = sp_at_key(at, "ports");
    size_t i = 0;
    if (!(ports && ports->count) && !is_headless(spec) && !type_is(spec, "ExternalName")) {
        sp_say_required(at, "ports", NULL);
    }
    sp_json_each(ports, it) {
        sp_at item = sp_at_item(&list, i++);
        check_port(&item, spec, it, ports->count > 1);
    }
}

static void check_node_ports(const sp_at *at, const sp_json *spec, const sp_json *old_spec,
                             const taken *t) {
    sp_at list = sp_at_key(at, "ports");
    size_t i = 0;
    sp_json_each(sp_json_get(spec, "ports"), it) {
        sp_at item = sp_at_item(&list, i++);
        const sp_json *v = sp_json_get(it, "nodePort");
        int64_t number = sp_json_int(v, 0);
        bool kept = number == sp_json_int(sp_json_get(old_port_of(old_spec, it), "nodePort"), -1);
        if (!number || kept) continue;
        if (number < FIRST_NODE_PORT || number > LAST_NODE_PORT) {
            sp_say_invalid(&item, "nodePort", v,
                           "provided port is not in the valid range. The range of valid ports is "
                           "%d-%d",
                           FIRST_NODE_PORT, LAST_NODE_PORT);
        } else if (sp_map_has(&t->ports, port_key(t->arena, it, number))) {
            sp_say_invalid(&item, "nodePort", v, "provided port is already allocated");
        }
    }
}

static void check_address(const sp_at *at, const sp_json *spec, const sp_json *old_spec,
                          const taken *t) {
    const sp_json *v = sp_json_get(spec, "clusterIP"), *list = sp_json_get(spec, "clusterIPs");
    sp_str before = sp_json_str(sp_json_get(old_spec, "clusterIP")), now = sp_json_str(v);
    sp_at ips = sp_at_key(at, "clusterIPs"), first = sp_at_item(&ips, 0);
    uint32_t ip;
    if (before.n && !type_is(old_spec, "ExternalName") && !sp_str_eq(before, now)) {
        sp_say_invalid(&first, NULL, list, "may not change once set");
    } else if (is_headless(spec) || sp_str_eq(before, now)) {
        return;
    } else if (!parse_ipv4(now, &ip)) {
        sp_say_invalid(&first, NULL, v,
                       "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    } else if (ip - CLUSTER_NET >= CLUSTER_HOSTS) {
        sp_say_invalid(&ips, NULL, list,
                       "failed to allocate IP %.*s: the provided IP is not in the valid range. The "
                       "range of valid IPs is 10.96.0.0/16",
                       SP_ARG(now));
    } else if (sp_map_has(&t->addresses, now)) {
        sp_say_invalid(&ips, NULL, list,
                       "failed to allocate IP %.*s: provided IP is already allocated", SP_ARG(now));
    }
}

bool sp_validate_service(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    const sp_json *spec = sp_json_get(a->obj, "spec"), *old_spec = sp_json_get(a->old, "spec");
    if (a->subresource.n) return true;
    check_ports(&at, spec);
    sp_check_labels(&at, spec, "selector");
    if (type_is(spec, "ExternalName")) {
        if (sp_check_present(&at, spec, "externalName")) {
            sp_check_text(&at, spec, "externalName", sp_wrong_subdomain);
        }
        return true;
    }
    if (is_headless(spec) && (type_is(spec, "NodePort") || type_is(spec, "LoadBalancer"))) {
        sp_say_invalid(&at, "clusterIPs", sp_json_get(spec, "clusterIPs"),
                       "may not be set to 'None' for %s services", sp_json_get_z(spec, "type"));
    }
    sp_auto(taken) t;
    note_all(a, &t);
    check_address(&at, spec, old_spec, &t);
    check_node_ports(&at, spec, old_spec, &t);
    return true;
}
