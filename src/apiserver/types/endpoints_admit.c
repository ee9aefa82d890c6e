/* Endpoints and EndpointSlices that somebody writes by hand. Whoever forwards traffic connects to
 * these addresses from the host: loopback would be the host's own services, link-local the metadata
 * service of a cloud, so neither is taken (as in Kubernetes; controllers are held to it, too). */
#include "apiserver/types/admit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

enum { MAX_ENDPOINTS = 1000, MAX_ADDRESSES = 100, MAX_PORTS = 20000 };

static const char *wrong_ipv4(uint32_t ip) {
    if (ip == 0) return "may not be unspecified";
    if (ip >> 24 == 127) return "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    if (ip >> 16 == (169 << 8 | 254))
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    if (ip >> 8 == 224 << 16)
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    return NULL;
}

static const char *wrong_ipv6(const struct in6_addr *ip) {
    const uint8_t *b = ip->s6_addr;
    if (IN6_IS_ADDR_V4MAPPED(ip))
        return wrong_ipv4((uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 |
                          b[15]);
    if (IN6_IS_ADDR_UNSPECIFIED(ip)) return "may not be unspecified";
    if (IN6_IS_ADDR_LOOPBACK(ip)) return "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    if (IN6_IS_ADDR_LINKLOCAL(ip))
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    if (IN6_IS_ADDR_MC_LINKLOCAL(ip))
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    return NULL;
}

/* type: "IPv4", "IPv6", "FQDN"; "" takes both kinds of IP. */
static const char *wrong_address(sp_str s, sp_str type) {
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (sp_str_eqz(type, "FQDN")) return sp_wrong_subdomain(s);
    bool fits = s.n < sizeof text && sp_str_chr(s, 0) < 0;
    snprintf(text, sizeof text, "%.*s", fits ? (int)s.n : 0, s.p);
    if (!sp_str_eqz(type, "IPv6") && inet_pton(AF_INET, text, &v4) == 1)
        return wrong_ipv4(ntohl(v4.s_addr));
    if (!sp_str_eqz(type, "IPv4") && inet_pton(AF_INET6, text, &v6) == 1) return wrong_ipv6(&v6);
    return sp_str_eqz(type, "IPv4")   ? "must be an IPv4 address"
           : sp_str_eqz(type, "IPv6") ? "must be an IPv6 address"
                                      : "must be a valid IP address, (e.g. 10.9.8.7 or "
                                        "2001:db8::ffff)";
}

static void check_ports(const sp_at *up, const sp_json *ports) {
    sp_at list = sp_at_key(up, "ports");
    size_t i = 0;
    sp_json_each(ports, p) {
        sp_at item = sp_at_item(&list, i++);
        sp_check_port(&item, p, "port");
    }
}

/* --- Endpoints --- */

bool sp_prepare_endpoints(sp_admit *a, sp_err *err) {
    return true;
}

static void check_subset_addresses(const sp_at *subset_at, const sp_json *subset, const char *key) {
    sp_at list = sp_at_key(subset_at, key);
    size_t i = 0;
    sp_json_each(sp_json_get(subset, key), it) {
        sp_at item = sp_at_item(&list, i++);
        const sp_json *ip = sp_json_get(it, "ip");
        const char *wrong = wrong_address(sp_json_str(ip), SP_STR(""));
        if (wrong) sp_say_invalid(&item, "ip", ip, "%s", wrong);
    }
}

bool sp_validate_endpoints(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), list = sp_at_key(&root, "subsets");
    size_t i = 0;
    sp_json_each(sp_json_get(a->obj, "subsets"), it) {
        sp_at item = sp_at_item(&list, i++);
        check_subset_addresses(&item, it, "addresses");
        check_subset_addresses(&item, it, "notReadyAddresses");
        check_ports(&item, sp_json_get(it, "ports"));
    }
    return true;
}

/* --- EndpointSlice --- */

bool sp_prepare_endpoint_slice(sp_admit *a, sp_err *err) {
    return true;
}

static void check_endpoint(const sp_at *at, const sp_json *endpoint, sp_str type) {
    sp_at list = sp_at_key(at, "addresses");
    const sp_json *addresses = sp_json_get(endpoint, "addresses");
    size_t i = 0;
    if (!addresses || !addresses->count) {
        sp_say_required(at, "addresses", "must contain at least 1 address");
    } else if (addresses->count > MAX_ADDRESSES) {
        sp_say_forbidden(at, "addresses", "must have at most %d items", MAX_ADDRESSES);
        return;
    }
    sp_json_each(addresses, it) {
        sp_at item = sp_at_item(&list, i++);
        const char *wrong = wrong_address(sp_json_str(it), type);
        if (wrong) sp_say_invalid(&item, NULL, it, "%s", wrong);
    }
}

bool sp_validate_endpoint_slice(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), list = sp_at_key(&root, "endpoints");
    const sp_json *type = sp_json_get(a->obj, "addressType");
    const sp_json *endpoints = sp_json_get(a->obj, "endpoints");
    const sp_json *ports = sp_json_get(a->obj, "ports");
    sp_str kind = sp_json_str(type);
    size_t i = 0;
    if (a->old) sp_check_immutable(&root, a->old, a->obj, "addressType");
    if (endpoints && endpoints->count > MAX_ENDPOINTS) {
        sp_say_forbidden(&root, "endpoints", "must have at most %d items", MAX_ENDPOINTS);
        return true;
    }
    if (ports && ports->count > MAX_PORTS) {
        sp_say_forbidden(&root, "ports", "must have at most %d items", MAX_PORTS);
        return true;
    }
    sp_json_each(endpoints, it) {
        sp_at item = sp_at_item(&list, i++);
        check_endpoint(&item, it, kind);
    }
    check_ports(&root, ports);
    return true;
}
