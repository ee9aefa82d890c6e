/* GET pods/NAME/log: passed through from the agent of the pod's node, byte for byte, over HTTPS
 * with our client certificate. Connections to nodes are kept for the next reader.
 *
 * The agent's address is the node's InternalIP and status.daemonEndpoints.kubeletEndpoint.Port; the
 * path there is /containerLogs/NAMESPACE/POD/CONTAINER with the same query options. */
#include "apiserver/server.h"
#include "base/map.h"
#include "net/client.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { PENDING_HIGH = 512 << 10, MAX_ERROR_TEXT = 2000, MAX_CLIENTS = 10000 };

struct sp_node_links {
    sp_apiserver *s;
    sp_map clients; /* "ip:port" → sp_http_client */
};

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

static sp_http_client *client_for(struct sp_node_links *n, const char *ip, uint16_t port) {
    char key[96];
    snprintf(key, sizeof key, "%s:%u", ip, port);
    sp_http_client *c = sp_map_get(&n->clients, sp_str_z(key));
    if (c) return c;
    if (n->clients.n >= MAX_CLIENTS) return NULL;
    c = sp_http_client_new(n->s->loop, &(sp_http_client_config){.host = ip,
                                                                .port = port,
                                                                .tls = n->s->config.kubelet,
                                                                .connect_timeout_ms = 5000});
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

static bool node_address(const sp_json *node, const char **ret_ip, uint16_t *ret_port,
                         sp_err *err) {
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
    *ret_ip = ip;
    *ret_port = (uint16_t)port;
    return true;
}

static sp_str log_target(sp_call *c, sp_str container) {
    static const char *const passed[] = {"follow",       "previous",  "tailLines", "timestamps",
                                         "sinceSeconds", "sinceTime", "limitBytes"};
    sp_auto(sp_buf) b = {0};
    sp_buf_printf(&b, "/containerLogs/%.*s/%.*s/%.*s", SP_ARG(c->op.ns), SP_ARG(c->op.name),
                  SP_ARG(container));
    char separator = '?';
    for (size_t i = 0; i < SP_COUNT(passed); i++) {
        sp_str v;
        if (!sp_call_query(c, passed[i], &v)) continue;
        sp_buf_printf(&b, "%c%s=", separator, passed[i]);
        sp_url_encode(&b, v);
        separator = '&';
    }
    return sp_arena_str(c->op.arena, sp_buf_str(&b));
}

/* ---------- passing through ---------- */

typedef struct relay {
    sp_call *call;
    sp_http_call *upstream;
    sp_str node;
    int status;
    sp_buf error; /* what the agent said with a failure status */
    bool begun, paused;
} relay;

static void relay_free(relay *r) {
    sp_buf_free(&r->error);
    free(r);
}

static void reader_gone(void *ctx) {
    relay *r = ctx;
    sp_call *c = r->call;
    if (r->upstream) sp_http_call_cancel(r->upstream);
    relay_free(r);
    c->res = NULL;
    c->http = NULL;
    sp_call_end(c);
}

/* A reader that cannot keep up holds the agent back. */
static void hold_back(relay *r, bool paused) {
    if (r->upstream && r->paused != paused) sp_http_call_pause(r->upstream, paused);
    r->paused = paused;
}

static void reader_ready(void *ctx) {
    hold_back(ctx, false);
}

static void on_head(void *ctx, int status, const sp_header *h, size_t n) {
    relay *r = ctx;
    (void)h, (void)n;
    r->status = status;
    if (status != 200) return;
    sp_header out[SP_CALL_HEADERS_MAX];
    size_t count = sp_call_headers(r->call, "text/plain", out);
    sp_call_count(r->call, 200);
    r->begun = true;
    sp_http_begin(r->call->res, 200, out, count);
    sp_http_on_drain(r->call->res, reader_ready, r);
}

static void on_data(void *ctx, sp_str bytes) {
    relay *r = ctx;
    if (!r->begun) {
        if (r->error.n < MAX_ERROR_TEXT)
            sp_buf_add(&r->error, sp_str_sub(bytes, 0, MAX_ERROR_TEXT));
        return;
    }
    sp_http_write(r->call->res, bytes);
    if (sp_http_pending(r->call->res) > PENDING_HIGH) hold_back(r, true);
}

static void explain(relay *r, const sp_err *from, sp_err *err) {
    sp_call *c = r->call;
    if (from) {
        *err = *from;
        err->code = SP_UNAVAILABLE;
        sp_err_wrap(err, "the agent of node %.*s does not answer", SP_ARG(r->node));
        return;
    }
    sp_json *j;
    sp_str text = sp_str_trim(sp_buf_str(&r->error));
    if (sp_json_parse(c->op.arena, text, &j, NULL) && sp_str_eqz(sp_obj_kind(j), "Status")) {
        sp_err_from_status(err, r->status, j);
        return;
    }
    sp_code code = r->status == 400 || r->status == 404 ? SP_BAD_REQUEST : SP_INTERNAL;
    sp_fail(err, code, "%.*s", SP_ARG(text.n ? text : SP_STR("the agent gave no reason")));
}

static void on_done(void *ctx, const sp_err *failure) {
    relay *r = ctx;
    r->upstream = NULL;
    if (r->begun) {
        sp_http_end(r->call->res);
        return;
    }
    sp_err err;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    explain(r, failure, &err);
    /* The answer by hand: the call ends in reader_gone. */
    const sp_json *status = sp_status_from_err(a, &err, NULL, "", "", SP_STR(""));
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, status);
    sp_header h[SP_CALL_HEADERS_MAX];
    size_t n = sp_call_headers(r->call, "application/json", h);
    sp_call_count(r->call, sp_code_http(err.code));
    sp_http_reply(r->call->res, sp_code_http(err.code), h, n, sp_buf_str(&b));
}

static void start_relay(sp_call *c, sp_str node, sp_http_client *client, sp_str target) {
    relay *r = sp_zalloc(1, sizeof *r);
    r->call = c;
    r->node = node;
    c->held = true;
    sp_http_on_close(c->res, reader_gone, r);
    sp_header accept = {SP_STR("accept"), SP_STR("*/*")};
    r->upstream = sp_http_call_start(client, &(sp_http_call_params){.method = "GET",
                                                                    .target = target,
                                                                    .headers = &accept,
                                                                    .header_count = 1,
                                                                    .head = on_head,
                                                                    .data = on_data,
                                                                    .done = on_done,
                                                                    .ctx = r});
}

static bool locate(sp_call *c, sp_str *ret_node, sp_str *ret_container, sp_err *err) {
    const sp_json *pod = stored(c, "pods", c->op.ns, c->op.name, err);
    if (!pod || !choose_container(c, pod, ret_container, err)) return false;
    *ret_node = sp_json_str(sp_json_dig(pod, "spec", "nodeName", NULL));
    if (!ret_node->n || c->op.s->config.kubelet) return true;
    return sp_fail(err, SP_UNAVAILABLE,
                   "this server was started without --kubelet-client-certificate, so it cannot ask "
                   "the node for logs");
}

void sp_pod_log(sp_call *c) {
    sp_err err;
    sp_str node_name, container;
    const char *ip = NULL;
    uint16_t port = 0;
    if (!locate(c, &node_name, &container, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    if (!node_name.n) { /* not scheduled: there is no log, and that is no error */
        sp_call_reply(c, 204, "text/plain", SP_STR(""));
        return;
    }
    const sp_json *node = stored(c, "nodes", SP_STR(""), node_name, &err);
    if (!node || !node_address(node, &ip, &port, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    sp_http_client *client = client_for(c->op.s->nodes, ip, port);
    if (!client) {
        sp_fail(&err, SP_UNAVAILABLE, "nodes have had too many addresses; restart the API server");
        sp_call_fail(c, &err, NULL);
        return;
    }
    start_relay(c, sp_arena_str(c->op.arena, node_name), client, log_target(c, container));
}
