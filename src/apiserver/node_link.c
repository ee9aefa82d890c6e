/* The agent's address is the node's InternalIP and status.daemonEndpoints.kubeletEndpoint.Port, or
 * the node's own tunnel leads there. */
#include "apiserver/node_link.h"

#include "apiserver/tunnel.h"
#include "base/map.h"

#include <arpa/inet.h>
#include <stdio.h>

struct sp_node_links {
    sp_apiserver *s;
    sp_map clients; /* "ip:port" → sp_http_client */
};

enum { MAX_CLIENTS = 10000 };

struct sp_node_links *sp_node_links_new(sp_apiserver *s) {
    struct sp_node_links *n = sp_zalloc(1, sizeof *n);
    n->s = s;
    return n;
}

void sp_node_links_free(struct sp_node_links *n) {
    if (!n) return;
    void *client;
    for (size_t at = 0; sp_map_next(&n->clients, &at, NULL, &client);) sp_http_client_free(client);
    sp_map_free(&n->clients);
    free(n);
}

sp_http_client *sp_node_client_new(struct sp_node_links *n, const sp_node_place *p) {
    sp_http_client_config way;
    if (sp_tunnel_way(n->s->tunnels, p->node, &way)) return sp_http_client_new(n->s->loop, &way);
    sp_http_client_config c = {
        .host = p->ip, .port = p->port, .tls = n->s->config.kubelet, .connect_timeout_ms = 5000};
    return sp_http_client_new(n->s->loop, &c);
}

sp_http_client *sp_node_client(struct sp_node_links *n, const sp_node_place *p) {
    sp_http_client_config way;
    char key[96];
    if (sp_tunnel_way(n->s->tunnels, p->node, &way))
        return sp_tunnel_client(n->s->tunnels, p->node);
    snprintf(key, sizeof key, "%s:%u", p->ip, p->port);
    sp_http_client *c = sp_map_get(&n->clients, sp_str_z(key));
    if (c) return c;
    if (n->clients.n >= MAX_CLIENTS) return NULL;
    c = sp_node_client_new(n, p);
    sp_map_put(&n->clients, sp_str_z(key), c);
    return c;
}

/* ---------- where to ask ---------- */

static const sp_json *stored(sp_call *c, const char *plural, sp_str ns, sp_str name, sp_err *err) {
    const sp_json *j = sp_lookup_latest(c->op.s, c->op.arena, "", plural, ns, name);
    if (!j) sp_fail(err, SP_NOT_FOUND, "%s \"%.*s\" not found", plural, SP_ARG(name));
    return j;
}

static void list_names(sp_buf *b, const sp_json *containers) {
    sp_json_each(containers, k) {
        if (b->n) sp_buf_addc(b, ' ');
        sp_buf_addz(b, sp_json_get_z(k, "name"));
    }
}

static bool has_container(const sp_json *pod, const char *list, sp_str name) {
    sp_json_each(sp_json_dig(pod, "spec", list, NULL), k) {
        if (sp_str_eq(sp_json_str(sp_json_get(k, "name")), name)) return true;
    }
    return false;
}

static bool choose_container(sp_call *c, const sp_json *pod, sp_str *ret, sp_err *err) {
    sp_auto(sp_buf) names = {0};
    const sp_json *containers = sp_json_dig(pod, "spec", "containers", NULL);
    list_names(&names, containers);
    if (!sp_call_query(c, "container", ret) || !ret->n) {
        *ret = sp_json_str(sp_json_get(containers ? containers->first : NULL, "name"));
        if (containers && containers->count == 1) return true;
        return sp_fail(err, SP_BAD_REQUEST,
                       "a container name must be specified for pod %.*s, choose one of: [%s]",
                       SP_ARG(c->op.name), sp_buf_z(&names));
    }
    if (has_container(pod, "containers", *ret) || has_container(pod, "initContainers", *ret) ||
        has_container(pod, "ephemeralContainers", *ret))
        return true;
    return sp_fail(err, SP_BAD_REQUEST, "container %.*s is not valid for pod %.*s; it has: [%s]",
                   SP_ARG(*ret), SP_ARG(c->op.name), sp_buf_z(&names));
}

bool sp_node_address(const sp_json *node, sp_node_place *ret, sp_err *err) {
    int64_t port = sp_json_int(
        sp_json_dig(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port", NULL), 0);
    const char *ip = NULL;
    sp_json_each(sp_json_dig(node, "status", "addresses", NULL), a) {
        if (!ip && sp_str_eqz(sp_json_str(sp_json_get(a, "type")), "InternalIP"))
            ip = sp_json_get_z(a, "address");
    }
    /* Written by whoever may write nodes: names are not resolved, and the other side must show a
     * certificate of ours for exactly this address. */
    unsigned char bytes[16];
    bool is_ip = ip && (inet_pton(AF_INET, ip, bytes) == 1 || inet_pton(AF_INET6, ip, bytes) == 1);
    if (ip && !is_ip)
        return sp_fail(err, SP_UNAVAILABLE, "node %.*s: \"%.60s\" is no IP address",
                       SP_ARG(sp_obj_name(node)), ip);
    if (!ip || port <= 0 || port > UINT16_MAX)
        return sp_fail(err, SP_UNAVAILABLE,
                       "node %.*s has not told where its agent listens (status.addresses, "
                       "status.daemonEndpoints)",
                       SP_ARG(sp_obj_name(node)));
    ret->ip = ip;
    ret->port = (uint16_t)port;
    return true;
}

bool sp_node_locate(sp_call *c, const char *what, bool container, sp_node_place *ret, sp_err *err) {
    const sp_json *pod = stored(c, "pods", c->op.ns, c->op.name, err);
    if (!pod || (container && !choose_container(c, pod, &ret->container, err))) return false;
    sp_str node_name = sp_json_str(sp_json_dig(pod, "spec", "nodeName", NULL));
    ret->node = sp_arena_str(c->op.arena, node_name);
    if (!node_name.n) return true;
    sp_http_client_config way;
    bool tunnel = sp_tunnel_way(c->op.s->tunnels, ret->node, &way);
    if (!tunnel && !c->op.s->config.kubelet)
        return sp_fail(err, SP_UNAVAILABLE,
                       "this server was started without --kubelet-client-certificate, so it cannot "
                       "ask the node for %s",
                       what);
    const sp_json *node = stored(c, "nodes", SP_STR(""), node_name, err);
    return node && (sp_node_address(node, ret, err) || tunnel);
}

void sp_node_explain(sp_call *c, sp_str node, int status, sp_str text, const sp_err *from,
                     sp_err *err) {
    if (from) {
        *err = *from;
        err->code = SP_UNAVAILABLE;
        sp_tunnel_note_failure(c->op.s->tunnels, node);
        sp_err_wrap(err, "the agent of node %.*s does not answer", SP_ARG(node));
        return;
    }
    sp_json *j;
    text = sp_str_trim(text);
    if (sp_json_parse(c->op.arena, text, &j, NULL) && sp_str_eqz(sp_obj_kind(j), "Status")) {
        sp_err_from_status(err, status, j);
        return;
    }
    sp_code code = status == 400 || status == 404 ? SP_BAD_REQUEST : SP_INTERNAL;
    sp_fail(err, code, "%.*s", SP_ARG(text.n ? text : SP_STR("the agent gave no reason")));
}
