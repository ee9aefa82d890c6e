/* What is decided about a request before it goes anywhere: its route, who may come, what the
 * gateway answers by itself, which pool. */
#include "base/clock.h"
#include "gateway/admit.h"
#include "gateway/http.h"
#include "gateway/http_cors.h"
#include "gateway/tls_server.h"

/* --- who asks --- */

static bool is_trusted(const sp_listener_spec *spec, const sp_addr *a) {
    for (size_t i = 0; spec && i < spec->trusted_count; i++)
        if (sp_cidr_has(&spec->trusted[i], a)) return true;
    return false;
}

static bool parse_address(sp_str text, sp_addr *ret) {
    text = sp_str_trim(text);
    if (text.n > 2 && text.p[0] == '[') text = sp_str_sub(text, 1, text.n - 2);
    return sp_addr_parse(text, 0, ret);
}

/* Behind proxies that are believed the client is the last address they name that is not one of
 * them. */
static sp_addr real_client(const sp_exchange *x) {
    const sp_headers *h = &x->request.headers;
    sp_addr found = x->client_addr;
    for (size_t i = h->n; x->hop.trusted && i-- > 0;) {
        sp_str rest = h->p[i].value;
        if (!sp_str_eq(h->p[i].name, SP_STR("x-forwarded-for"))) continue;
        while (rest.n) {
            sp_addr a;
            ptrdiff_t comma = sp_str_rchr(rest, ',');
            if (!parse_address(sp_str_from(rest, (size_t)(comma + 1)), &a)) return found;
            found = a;
            if (!is_trusted(x->listener->spec, &a)) return found;
            rest = comma < 0 ? (sp_str){0} : sp_str_sub(rest, 0, (size_t)comma);
        }
    }
    return found;
}

static bool admit(sp_exchange *x) {
    const sp_route_action *a = x->hop.entry->action;
    if (!a->allowed_count && !a->denied_count && !a->limit_count) return true;
    sp_addr client = real_client(x);
    sp_admit_query q = {.client = &client,
                        .headers = x->request.headers.p,
                        .header_count = x->request.headers.n,
                        .now_us = x->started_us};
    sp_admit_verdict v = sp_admit_request(sp_limiter_shared(), a, &q);
    if (!v.status) return true;
    if (v.retry_after_s) sp_buf_printf(&x->extra, "retry-after: %u\r\n", v.retry_after_s);
    sp_exchange_fail(x, v.status, "%s", v.text);
    return false;
}

/* --- answered here --- */

static void answer_redirect(sp_exchange *x) {
    sp_buf_add(&x->extra, SP_STR("location: "));
    sp_http_redirect_location(&x->extra, &x->hop, x->local.port);
    sp_buf_add(&x->extra, SP_STR("\r\n"));
    sp_exchange_answer_own(x, x->hop.entry->action->redirect_status, (sp_str){0}, (sp_str){0});
}

static void answer_fixed(sp_exchange *x) {
    const sp_route_action *a = x->hop.entry->action;
    if (a->answer_location.n)
        sp_buf_printf(&x->extra, "location: %.*s\r\n", SP_ARG(a->answer_location));
    sp_str type = a->answer_body.n ? SP_STR("text/plain; charset=utf-8") : (sp_str){0};
    sp_exchange_answer_own(x, a->answer_status, type, a->answer_body);
}

/* True: the request was a preflight and is answered. */
static bool check_cors(sp_exchange *x) {
    const sp_cors_spec *cors = x->hop.entry->action->cors;
    if (!cors) return false;
    x->cors = true;
    if (!sp_cors_write(cors, &x->request, &x->extra)) return false;
    sp_exchange_answer_own(x, 204, (sp_str){0}, (sp_str){0});
    return true;
}

static bool check_length(sp_exchange *x) {
    uint64_t most = x->hop.entry->action->max_body_bytes;
    if (!most || x->request.framing != SP_H1_LENGTH || x->request.length <= most) return true;
    sp_exchange_fail(x, 413, "the body is larger than the %llu bytes allowed here",
                     (unsigned long long)most);
    return false;
}

/* --- forwarded --- */

static void choose_copying(sp_exchange *x) {
    const sp_route_action *a = x->hop.entry->action;
    bool known = x->request.framing == SP_H1_LENGTH && x->request.length > SP_BODY_COPY_MAX;
    bool h2 = x->pool_spec->protocol != SP_BACKEND_HTTP1; /* its refusals can be repeated */
    x->copying = !known && !x->tunnel && (h2 || a->mirror_count || a->retry.attempts);
}

static void set_affinity(sp_exchange *x) {
    const sp_pool_spec *p = x->pool_spec;
    if (!p->sticky.cookie.n && p->hash_by == SP_HASH_NOTHING) return;
    sp_affinity_request r = {.client = &x->client_addr,
                             .headers = x->request.headers.p,
                             .header_count = x->request.headers.n,
                             .path = x->hop.target.path,
                             .query = x->hop.target.query};
    x->dial.affinity = sp_affinity_of(p, &r);
}

static void forward(sp_exchange *x) {
    const sp_route_action *a = x->hop.entry->action;
    uint32_t pool = sp_route_draw(&a->targets, sp_worker_random(x->worker));
    if (pool == SP_NO_POOL) {
        sp_exchange_fail(x, 500, "%.*s names a backend that does not exist", SP_ARG(a->owner));
        return;
    }
    x->pool = sp_pool_ref(x->worker->pool_at.p[pool]);
    x->pool_spec = &x->config->pools[pool];
    choose_copying(x);
    set_affinity(x);
    if (a->request_timeout_ms)
        sp_alarm_after(x->worker->poller, &x->deadline, a->request_timeout_ms);
    if (x->request_done && a->mirror_count) sp_mirror_start(x);
    sp_exchange_dial(x);
}

static void act(sp_exchange *x) {
    const sp_route_action *a = x->hop.entry->action;
    if (!admit(x) || check_cors(x)) return;
    if (a->redirect_status)
        answer_redirect(x);
    else if (a->answer_status)
        answer_fixed(x);
    else if (check_length(x))
        forward(x);
}

/* --- the route --- */

static void not_found(sp_exchange *x, sp_str host, sp_str path) {
    sp_exchange_fail(x, 404, "no Ingress or HTTPRoute answers for host \"%.*s\" and path %.*s",
                     (int)SP_MIN(host.n, 128u), host.p ? host.p : "", (int)SP_MIN(path.n, 200u),
                     path.p);
}

/* The host belongs to another listener of this port, which may ask for other certificates: a client
 * that reuses one connection for several names (RFC 9113 9.1.1) has to open one for this name.
 * Names that share a table, those of Ingresses, share the connection, too. */
static bool is_misdirected(const sp_exchange *x, const sp_inner_spec *inner, sp_str host,
                           const char *server_name) {
    const sp_listener_spec *l = x->listener->spec;
    if (!l || !l->sni_count || !inner || (server_name && sp_str_eqz(host, server_name)))
        return false;
    const sp_sni_entry *e = sp_sni_find(l->sni, l->sni_count, host);
    return e && (!e->inner.http || e->inner.table != inner->table);
}

static void find_route(sp_exchange *x, const char *server_name) {
    const sp_inner_spec *inner = sp_listener_inner(x->listener, server_name);
    char host_scratch[256];
    sp_route_request r = {.method = x->request.method,
                          .headers = x->request.headers.p,
                          .header_count = x->request.headers.n};
    if (!sp_http_split_target(&x->request, &x->hop.target) ||
        (x->hop.target.https && !x->hop.tls)) { /* RFC 9110 7.4 */
        sp_exchange_fail(x, 400, "the request target is neither a path nor a URL of this port");
        return;
    }
    if (!sp_route_host(x->hop.target.host, host_scratch, sizeof host_scratch, &r.host)) {
        sp_exchange_fail(x, 400, "the Host field is not a host name");
        return;
    }
    if (!sp_route_path(x->hop.target.path, x->path_scratch, sizeof x->path_scratch, &r.path)) {
        sp_exchange_fail(x, 400,
                         "the path is too long, has a broken escape, or dots that others may "
                         "climb by");
        return;
    }
    if (is_misdirected(x, inner, r.host, server_name)) {
        sp_exchange_fail(x, 421, "connect again with the server name \"%.*s\"",
                         (int)SP_MIN(r.host.n, 128u), r.host.p);
        return;
    }
    r.query = x->hop.target.query;
    x->hop.entry = inner && inner->http ? sp_route_find(x->config->tables[inner->table], &r) : NULL;
    x->hop.entry = sp_route_choose(x->hop.entry, sp_worker_random(x->worker));
    if (!x->hop.entry) {
        not_found(x, r.host, r.path);
        return;
    }
    /* An endpoint that reads dot segments otherwise would serve what another rule is about. */
    if (x->hop.entry->action->path_edit >= SP_PATH_REPLACE_PREFIX ||
        sp_route_path_has_dots(x->hop.target.path))
        x->hop.target.path = r.path;
    act(x);
}

static bool takes_trailers(const sp_h1_head *h) {
    sp_str rest = sp_headers_get(h->headers.p, h->headers.n, "te");
    for (sp_str part; sp_str_cut(&rest, ',', &part);)
        if (sp_str_ieq(sp_str_trim(part), SP_STR("trailers"))) return h->minor >= 1;
    return false;
}

void sp_exchange_begin(sp_exchange *x, const char *server_name) {
    sp_exchange_hold(x);
    x->to_head = sp_str_eq(x->request.method, SP_STR("HEAD"));
    x->idempotent = sp_http_is_idempotent(x->request.method);
    x->request_done = x->request.framing == SP_H1_NO_BODY && !x->tunnel;
    x->hop.trailers = takes_trailers(&x->request);
    x->hop.server_name = server_name ? sp_str_z(server_name) : (sp_str){0};
    x->hop.trusted = is_trusted(x->listener->spec, &x->client_addr);
    if (!x->tunnel) x->hop.upgrade = sp_http_upgrade(&x->request);
    if (sp_str_eq(x->request.method, SP_STR("CONNECT")) ||
        sp_str_eq(x->request.method, SP_STR("TRACE"))) {
        x->keep_client = false;
        sp_exchange_fail(x, 405, "the method %.*s is not served here", SP_ARG(x->request.method));
    } else {
        find_route(x, server_name);
    }
    sp_exchange_let_go(x);
}
