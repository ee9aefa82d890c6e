/* Cells of services, their endpoints, ingresses and gateways. Long lists are cut as kubectl's users
 * know it: the first three and "+ N more...". */
#include "apiserver/types/cells.h"

enum { SHOWN = 3 };

/* Adds up to SHOWN items, and counts the others. */
typedef struct short_list {
    sp_buf b;
    size_t count;
} short_list;

static void short_add(short_list *l, sp_str item) {
    if (l->count++ < SHOWN) sp_cell_join(&l->b, item);
}

static sp_json *short_cell(sp_arena *a, short_list *l) {
    if (l->count > SHOWN) sp_buf_printf(&l->b, " + %zu more...", l->count - SHOWN);
    return sp_cell_buf(a, &l->b);
}

static sp_str spec_text(const sp_json *obj, const char *key) {
    return sp_json_str(sp_json_dig(obj, "spec", key, NULL));
}

static void add_ingress_points(sp_buf *b, const sp_json *obj) {
    sp_json_each(sp_json_dig(obj, "status", "loadBalancer", "ingress", NULL), it) {
        sp_str ip = sp_json_str(sp_json_get(it, "ip"));
        sp_str host = sp_json_str(sp_json_get(it, "hostname"));
        if (ip.n || host.n) sp_cell_join(b, ip.n ? ip : host);
    }
}

CELL(service_cluster_ip) {
    return sp_cell_text(a, spec_text(obj, "clusterIP"));
}

CELL(service_external_ip) {
    sp_str type = spec_text(obj, "type");
    if (sp_str_eqz(type, "ExternalName")) return sp_cell_text(a, spec_text(obj, "externalName"));
    sp_buf b = {0};
    bool balanced = sp_str_eqz(type, "LoadBalancer");
    if (balanced) add_ingress_points(&b, obj);
    sp_json_each(sp_json_dig(obj, "spec", "externalIPs", NULL), it) sp_cell_join(&b, it->text);
    if (balanced && !b.n) sp_buf_addz(&b, "<pending>");
    return sp_cell_buf(a, &b);
}

CELL(service_ports) {
    sp_buf b = {0};
    sp_json_each(sp_json_dig(obj, "spec", "ports", NULL), it) {
        int64_t node_port = sp_json_int(sp_json_get(it, "nodePort"), 0);
        const char *protocol = sp_json_get_z(it, "protocol");
        if (b.n) sp_buf_addc(&b, ',');
        sp_buf_printf(&b, "%lld", (long long)sp_json_int(sp_json_get(it, "port"), 0));
        if (node_port) sp_buf_printf(&b, ":%lld", (long long)node_port);
        sp_buf_printf(&b, "/%s", *protocol ? protocol : "TCP");
    }
    return sp_cell_buf(a, &b);
}

CELL(service_selector) {
    sp_buf b = {0};
    sp_json_each(sp_json_dig(obj, "spec", "selector", NULL), it) {
        sp_cell_join(&b, it->key);
        sp_buf_printf(&b, "=%.*s", SP_ARG(it->text));
    }
    return sp_cell_buf(a, &b);
}

static void add_address(sp_arena *a, short_list *l, sp_str ip, const sp_json *port) {
    const char *form = sp_str_chr(ip, ':') >= 0 ? "[%.*s]:%lld" : "%.*s:%lld";
    if (!port)
        short_add(l, ip);
    else
        short_add(l, sp_arena_printf(a, form, SP_ARG(ip),
                                     (long long)sp_json_int(sp_json_get(port, "port"), 0)));
}

CELL(endpoints) {
    short_list l = {0};
    sp_json_each(sp_json_get(obj, "subsets"), subset) {
        const sp_json *ports = sp_json_get(subset, "ports");
        sp_json_each(sp_json_get(subset, "addresses"), it) {
            sp_str ip = sp_json_str(sp_json_get(it, "ip"));
            if (!ports || !ports->count) add_address(a, &l, ip, NULL);
            sp_json_each(ports, port) add_address(a, &l, ip, port);
        }
    }
    return short_cell(a, &l);
}

CELL(slice_ports) {
    short_list l = {0};
    sp_json_each(sp_json_get(obj, "ports"), it) {
        const sp_json *port = sp_json_get(it, "port");
        short_add(&l, port ? port->text : SP_STR("*"));
    }
    return l.count ? short_cell(a, &l) : sp_json_new_z(a, "<unset>");
}

CELL(slice_endpoints) {
    short_list l = {0};
    sp_json_each(sp_json_get(obj, "endpoints"), it) {
        sp_json_each(sp_json_get(it, "addresses"), address) short_add(&l, address->text);
    }
    return l.count ? short_cell(a, &l) : sp_json_new_z(a, "<unset>");
}

/* --- ingresses --- */

CELL(ingress_class) {
    sp_str s = spec_text(obj, "ingressClassName");
    return sp_cell_text(a, s.n ? s : sp_obj_annotation(obj, "kubernetes.io/ingress.class"));
}

CELL(ingress_hosts) {
    short_list l = {0};
    sp_json_each(sp_json_dig(obj, "spec", "rules", NULL), it) {
        sp_str host = sp_json_str(sp_json_get(it, "host"));
        if (host.n) short_add(&l, host);
    }
    return l.count ? short_cell(a, &l) : sp_json_new_z(a, "*");
}

CELL(ingress_address) {
    sp_auto(sp_buf) b = {0};
    add_ingress_points(&b, obj);
    return sp_json_new_str(a, sp_buf_str(&b));
}

CELL(ingress_ports) {
    const sp_json *tls = sp_json_dig(obj, "spec", "tls", NULL);
    return sp_json_new_z(a, tls && tls->count ? "80, 443" : "80");
}

CELL(class_parameters) {
    const sp_json *p = sp_json_dig(obj, "spec", "parameters", NULL);
    if (!p) return sp_json_new_z(a, "<none>");
    sp_str group = sp_json_str(sp_json_get(p, "apiGroup"));
    return sp_json_printf(a, "%s%s%.*s/%s", sp_json_get_z(p, "kind"), group.n ? "." : "",
                          SP_ARG(group), sp_json_get_z(p, "name"));
}

/* --- gateways --- */

CELL(gateway_address) {
    sp_auto(sp_buf) b = {0};
    sp_json_each(sp_json_dig(obj, "status", "addresses", NULL), it) {
        sp_cell_join(&b, sp_json_str(sp_json_get(it, "value")));
    }
    return sp_json_new_str(a, sp_buf_str(&b));
}

static sp_json *condition(sp_arena *a, const sp_json *obj, const char *type) {
    sp_str s = sp_json_str(sp_json_get(sp_condition_get(obj, type), "status"));
    return s.n ? sp_json_new_str(a, s) : sp_json_new_z(a, "Unknown");
}

CELL(programmed) {
    return condition(a, obj, "Programmed");
}
CELL(accepted) {
    return condition(a, obj, "Accepted");
}

CELL(route_hostnames) {
    sp_auto(sp_buf) b = {0};
    const sp_json *names = sp_json_dig(obj, "spec", "hostnames", NULL);
    if (names && names->count) sp_json_write(&b, names);
    return sp_json_new_str(a, sp_buf_str(&b));
}
