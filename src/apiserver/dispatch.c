/* From an HTTP request to the verb that answers it: who is it, what is meant, is there such a
 * thing, may the method be used on it. */
#include "apiserver/server.h"
#include "base/clock.h"

static bool wants_pretty(const sp_http_req *r) {
    sp_str agent = sp_headers_get(r->headers, r->header_count, "user-agent");
    return sp_str_starts(agent, SP_STR("curl/")) || sp_str_starts(agent, SP_STR("Wget/")) ||
           sp_str_starts(agent, SP_STR("Mozilla/"));
}

/* A browser shows its client certificate to us whatever page asks, and such requests need no
 * preflight. It says which page it was: Sec-Fetch-Site, or for WebSockets and in old ones Origin.
 * Other clients send neither. */
static bool is_of_another_site(const sp_http_req *q) {
    sp_str site = sp_headers_get(q->headers, q->header_count, "sec-fetch-site");
    sp_str origin = sp_headers_get(q->headers, q->header_count, "origin");
    sp_str host = sp_headers_get(q->headers, q->header_count, "host");
    if (site.n) return !sp_str_eqz(site, "same-origin") && !sp_str_eqz(site, "none");
    ptrdiff_t slashes = sp_str_find(origin, SP_STR("://"));
    return origin.n && (slashes < 0 || !sp_str_ieq(sp_str_from(origin, (size_t)slashes + 3), host));
}

static bool is_asked_by_page(const sp_call *c, sp_err *err) {
    bool reads = sp_str_eqz(c->http->method, "GET") || sp_str_eqz(c->http->method, "HEAD");
    bool harmless = reads && !sp_http_upgrade_offer(c->http).n;
    if (harmless || !is_of_another_site(c->http)) return false;
    (void)sp_fail(err, SP_FORBIDDEN, "a page of another site may not ask for this");
    return true;
}

static bool authenticate(sp_call *c, sp_err *err) {
    const sp_tls_peer *peer = c->http->peer;
    sp_str token = sp_headers_get(c->http->headers, c->http->header_count, "authorization");
    if (!sp_authn_identify(c->op.s->authn, peer ? peer->common_name : SP_STR(""),
                           peer ? &peer->organizations : NULL, token, &c->user, err))
        return false;
    if (c->user.kind == SP_USER_ANONYMOUS && c->op.s->config.trust_everybody)
        c->user.name = SP_STR("system:admin");
    else if (c->user.kind == SP_USER_ANONYMOUS && !sp_is_public(c->http->path))
        return sp_fail(err, SP_UNAUTHORIZED, "Unauthorized");
    c->user.name = sp_arena_str(c->op.arena, c->user.name);
    c->op.user = c->user.name;
    c->op.master = sp_user_is_master(&c->user) ||
                   (c->user.kind == SP_USER_ANONYMOUS && c->op.s->config.trust_everybody);
    return true;
}

static bool negotiate(sp_call *c, sp_err *err) {
    sp_str accept = sp_headers_get(c->http->headers, c->http->header_count, "accept");
    c->form = sp_table_negotiate(accept, &c->form_version, &c->yaml);
    if (c->form != SP_FORM_REFUSED) return true;
    c->form = SP_FORM_OBJECT;
    return sp_fail(err, SP_NOT_ACCEPTABLE,
                   "only the following media types are accepted: application/json, "
                   "application/yaml, application/json;as=Table;v=v1;g=meta.k8s.io, "
                   "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
}

static bool not_found(sp_err *err) {
    return sp_fail(err, SP_NOT_FOUND, "the server could not find the requested resource");
}

static bool find_resource(sp_call *c, sp_err *err) {
    const sp_reqinfo *i = &c->info;
    sp_served *v = sp_registry_served(c->op.s->registry, i->group, i->version, i->plural);
    if (!v || i->rest.n) return not_found(err);
    bool all = !i->ns.n && !i->name.n && !i->sub.n;
    if (v->row->namespaced ? !i->ns.n && !all : i->ns.n > 0) return not_found(err);
    c->op.served = sp_served_ref(v);
    c->op.ns = i->ns;
    c->op.name = i->name;
    return true;
}

static bool refuse_method(sp_err *err) {
    return sp_fail(err, SP_METHOD_NOT_ALLOWED,
                   "the server does not allow this method on the requested resource");
}

typedef void verb_fn(sp_call *c);

static verb_fn *const verbs[SP_REQ_VERB_MAX] = {
    [SP_REQ_GET] = sp_verb_get,       [SP_REQ_LIST] = sp_verb_list,
    [SP_REQ_WATCH] = sp_verb_watch,   [SP_REQ_CREATE] = sp_verb_create,
    [SP_REQ_UPDATE] = sp_verb_update, [SP_REQ_PATCH] = sp_verb_patch,
    [SP_REQ_DELETE] = sp_verb_delete, [SP_REQ_DELETE_COLLECTION] = sp_verb_delete_collection,
};

/* Which verbs the collection and the single object know. */
static bool verb_allowed(const sp_call *c) {
    sp_req_verb v = c->info.verb;
    bool named = c->info.name.n > 0;
    if (v == SP_REQ_WATCH) return true;
    bool everywhere = c->op.served->row->namespaced && !c->info.ns.n;
    if (v == SP_REQ_LIST) return !named;
    if (v == SP_REQ_CREATE || v == SP_REQ_DELETE_COLLECTION) return !named && !everywhere;
    return named && v != SP_REQ_NONE;
}

/* Where several servers share the store, what was acknowledged by another one must be seen first;
 * a reader that names a revision we have, or 0, does not ask for more than that. */
static bool is_seen(sp_call *c) {
    sp_str text;
    uint64_t rev = 0;
    sp_req_verb v = c->info.verb;
    bool reads = v == SP_REQ_GET || v == SP_REQ_LIST || v == SP_REQ_WATCH;
    if (!reads || !sp_call_query(c, "resourceVersion", &text) || !sp_str_u64(text, &rev))
        return false;
    if (!rev && !sp_store_is_writable(c->op.s->store))
        sp_vec_push(&c->op.warnings,
                    SP_STR("the store has no quorum just now: this may be out of date"));
    return rev <= sp_store_revision(c->op.s->store);
}

static void run_verb(sp_call *c) {
    if (c->info.sub.n)
        sp_verb_subresource(c);
    else
        verbs[c->info.verb](c);
}

static void on_caught_up(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    sp_call *c = ctx;
    (void)rev, (void)value;
    if (!c->res)
        sp_call_end(c); /* the client is gone */
    else if (err)
        sp_call_fail(c, err, NULL);
    else
        run_verb(c);
}

static void serve_verb(sp_call *c) {
    if (!sp_store_is_shared(c->op.s->store) || c->synced || is_seen(c)) {
        run_verb(c);
        return;
    }
    sp_call_hold(c);
    sp_store_sync(c->op.s->store, on_caught_up, c);
}

static void serve_found(sp_call *c);

/* Perhaps a CRD that another server has acknowledged: seen by now, if it is there at all. */
static void look_again(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    sp_call *c = ctx;
    sp_err missing;
    (void)rev, (void)value, (void)err;
    c->synced = !err;
    if (!c->res)
        sp_call_end(c);
    else if (find_resource(c, &missing))
        serve_found(c);
    else
        sp_call_fail(c, &missing, NULL);
}

/* These take the connection over; they look for the pod as it is known here. */
static bool is_stream(sp_str sub) {
    static const char *const list[] = {"log", "exec", "attach", "portforward"};
    for (size_t i = 0; i < SP_COUNT(list); i++)
        if (sp_str_eqz(sub, list[i])) return true;
    return false;
}

static void serve_found(sp_call *c) {
    sp_err err;
    if (is_stream(c->info.sub)) {
        sp_verb_subresource(c);
        return;
    }
    if (!c->info.sub.n && !verb_allowed(c)) {
        refuse_method(&err);
        sp_call_fail(c, &err, NULL);
        return;
    }
    serve_verb(c);
}

static void serve_resource(sp_call *c) {
    sp_err err;
    if (sp_is_review(&c->info)) {
        sp_verb_review(c);
    } else if (!negotiate(c, &err)) {
        sp_call_fail(c, &err, NULL);
    } else if (find_resource(c, &err)) {
        serve_found(c);
    } else if (sp_store_is_shared(c->op.s->store)) {
        sp_call_hold(c);
        sp_store_sync(c->op.s->store, look_again, c);
    } else {
        sp_call_fail(c, &err, NULL);
    }
}

/* Discovery tells of CRDs. When the store cannot be asked, what is known here is still served. */
static void tell(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    sp_call *c = ctx;
    (void)rev, (void)value, (void)err;
    if (c->res)
        sp_serve_nonresource(c);
    else
        sp_call_end(c);
}

static void serve_nonresource(sp_call *c) {
    sp_str path = c->http->path;
    bool discovery = sp_str_starts(path, SP_STR("/api")) || sp_str_starts(path, SP_STR("/openapi"));
    if (!discovery || !sp_store_is_shared(c->op.s->store)) {
        sp_serve_nonresource(c);
        return;
    }
    sp_call_hold(c);
    sp_store_sync(c->op.s->store, tell, c);
}

static sp_call *new_call(sp_apiserver *s, sp_http_req *http, sp_http_res *res) {
    sp_arena *a = sp_arena_new();
    sp_call *c = SP_NEW(a, sp_call);
    c->op.s = s;
    c->op.arena = a;
    c->op.causes.arena = a;
    c->http = http;
    c->res = res;
    c->query = sp_arena_str(a, http->query);
    c->op.fence =
        sp_arena_str(a, sp_headers_get(http->headers, http->header_count, "x-sampan-lease"));
    c->start_us = sp_clock_mono_us();
    c->pretty = sp_call_query_true(c, "pretty") || wants_pretty(http);
    return c;
}

void sp_apiserver_handle(void *ctx, sp_http_req *http, sp_http_res *res) {
    sp_apiserver *s = ctx;
    sp_call *c = new_call(s, http, res);
    sp_err err;
    sp_str path = sp_arena_str(c->op.arena, http->path);
    bool parsed = sp_reqinfo_parse(c->op.arena, http->method, path, sp_call_query_true(c, "watch"),
                                   &c->info, &err);
    sp_api_metrics_inflight(s->metrics, c->info.verb >= SP_REQ_CREATE, 1);
    if (!parsed || !authenticate(c, &err) || is_asked_by_page(c, &err))
        sp_call_fail(c, &err, NULL);
    else if (c->info.is_resource)
        serve_resource(c);
    else
        serve_nonresource(c);
}
