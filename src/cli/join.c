/* Becoming a member of a running cluster. The token holds the hash of the cluster's CA: its
 * certificate is fetched from an address that is not trusted yet and believed only when the hash is
 * right; then all else, also the token's secret, goes over TLS that is verified by that CA alone.
 * The cluster answers with the keys of its CAs, after it has added us to etcd as a learner. */
#include "cli/member.h"

#include "base/clock.h"
#include "base/file.h"
#include "data/json.h"
#include "iam/join_token.h"
#include "net/client.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 20000,
    CONNECT_MS = 5000,
    PATIENCE_MS = 90000,
    PAUSE_MS = 1000,
    MAX_BODY = 1 << 20
};

typedef struct exchange {
    uv_loop_t loop;
    sp_arena *arena;
    const sp_join_request *request;
    sp_url url;
    bool over;
    int status;
    sp_str body;
    sp_err err;
} exchange;

static void on_reply(void *ctx, const sp_http_reply_msg *reply, const sp_err *err) {
    exchange *x = ctx;
    x->over = true;
    x->err = err ? *err : (sp_err){0};
    x->status = reply ? reply->status : 0;
    x->body = reply ? sp_arena_str(x->arena, reply->body) : SP_STR("");
}

/* The words of a Status, or what else the answer is. */
static bool check_status(exchange *x, sp_err *err) {
    sp_json *o = NULL;
    if (x->status == 200) return true;
    bool told = sp_json_parse(x->arena, x->body, &o, NULL) && *sp_json_get_z(o, "message");
    if (!told)
        return sp_fail(
            err, SP_NOT_FOUND,
            "it answers with HTTP status %d: is that the API server of a Sampan cluster?",
            x->status);
    return sp_fail(err, sp_code_from(sp_json_get_z(o, "reason"), x->status), "%s",
                   sp_json_get_z(o, "message"));
}

static bool ask(exchange *x, const sp_tls_config *tls, const sp_http_call_params *p, sp_err *err) {
    sp_tls_ctx *ctx;
    if (!sp_tls_ctx_new(tls, &ctx, err)) return false;
    sp_http_client_config c = {.host = sp_arena_strz(x->arena, x->url.host),
                               .port = x->url.port,
                               .tls = ctx,
                               .connect_timeout_ms = CONNECT_MS};
    sp_http_client *client = sp_http_client_new(&x->loop, &c);
    sp_tls_ctx_unref(ctx);
    x->over = false;
    sp_http_fetch(client, p, MAX_BODY, on_reply, x);
    while (!x->over) uv_run(&x->loop, UV_RUN_ONCE);
    sp_http_client_free(client);
    uv_run(&x->loop, UV_RUN_DEFAULT);
    if (!x->err.code) return check_status(x, err);
    return sp_fail(
        err, x->err.code,
        "it cannot be reached (%s): is that the address of a machine of the cluster, and "
        "does `sampan up` run there?",
        x->err.text);
}

/* Only the first certificate: what might stand behind it was not hashed. */
static bool first_certificate(sp_str text, sp_str *ret) {
    const sp_str begin = SP_STR("-----BEGIN CERTIFICATE-----");
    const sp_str end = SP_STR("-----END CERTIFICATE-----");
    ptrdiff_t from = sp_str_find(text, begin), to = sp_str_find(text, end);
    if (from < 0 || to < from) return false;
    *ret = sp_str_sub(text, (size_t)from, (size_t)(to - from) + end.n);
    return true;
}

static bool fetch_ca(exchange *x, const sp_join_token *t, sp_str *ret_pem, sp_err *err) {
    const sp_tls_config tls = {.insecure = true, .alpn = "h2,http/1.1"};
    const sp_http_call_params p = {
        .method = "GET", .target = SP_STR("/sampan/v1/ca"), .timeout_ms = TIMEOUT_MS};
    char hash[SP_JOIN_HASH + 1];
    if (!ask(x, &tls, &p, err)) return false;
    if (!first_certificate(x->body, ret_pem) || !sp_join_ca_hash(*ret_pem, hash, err))
        return sp_fail(err, SP_INVALID, "it does not answer with the certificate of a CA");
    return strcmp(hash, t->ca_hash) == 0 ||
           sp_fail(err, SP_INVALID,
                   "its CA has the hash %s, but the token is of a cluster with the hash %s: either "
                   "the token is of another cluster, or somebody else answers there. Nothing was "
                   "told to it",
                   hash, t->ca_hash);
}

static bool post_wish(exchange *x, const sp_join_token *t, sp_str ca_pem, sp_json **ret,
                      sp_err *err) {
    static const sp_header type = {SP_STR_INIT("content-type"), SP_STR_INIT("application/json")};
    const sp_join_request *r = x->request;
    sp_auto(sp_buf) body = {0};
    sp_arena *a = x->arena;
    sp_json *o = sp_json_object(a);
    sp_json_set(a, o, "token", sp_json_printf(a, "%s.%s", t->id, t->secret));
    sp_json_set_z(a, o, "name", r->name);
    sp_json_set_z(a, o, "peerURL", sp_member_url(a, r->ip, r->peer_port));
    sp_json_write(&body, o);
    const sp_tls_config tls = {.ca_pem = ca_pem, .alpn = "h2,http/1.1"};
    const sp_http_call_params p = {.method = "POST",
                                   .target = SP_STR("/sampan/v1/join"),
                                   .headers = &type,
                                   .header_count = 1,
                                   .body = sp_buf_str(&body),
                                   .timeout_ms = TIMEOUT_MS};
    return ask(x, &tls, &p, err) && sp_json_parse(a, x->body, ret, err);
}

static bool may_pass(sp_code code) {
    return code == SP_TOO_MANY || code == SP_UNAVAILABLE || code == SP_TIMEOUT;
}

/* Another machine may be just joining, or etcd choosing a leader. */
static bool post_until(exchange *x, const sp_join_token *t, sp_str ca_pem, sp_json **ret,
                       sp_err *err) {
    int64_t give_up = sp_clock_mono_ms() + PATIENCE_MS;
    for (bool said = false;;) {
        if (post_wish(x, t, ca_pem, ret, err)) return true;
        if (!may_pass(err->code) || sp_clock_mono_ms() > give_up) return false;
        if (!said) printf("joining: not yet (%s); trying again\n", err->text);
        fflush(stdout);
        said = true;
        usleep(PAUSE_MS * 1000);
    }
}

/* --- what comes back ---
 * It is judged before anything is written, and while it is written there is a mark, so that what
 * was interrupted can be done once more. */

#define MARK "pki/joining"
static const char *const pems[] = {"ca.key", "ca.crt", "etcd-ca.key", "etcd-ca.crt"};

static const char *path_in(const sp_join_request *r, const char *name, char ret[PATH_MAX]) {
    snprintf(ret, PATH_MAX, "%s/%s", r->dir, name);
    return ret;
}

static bool check_answer(const sp_json *answer, const sp_join_token *t, sp_err *err) {
    const sp_json *pki = sp_json_get(answer, "pki"), *urls = sp_json_get(answer, "endpoints");
    char hash[SP_JOIN_HASH + 1];
    for (size_t i = 0; i < SP_COUNT(pems); i++)
        if (!sp_json_text(pki, pems[i]).n)
            return sp_fail(err, SP_INVALID, "its answer has no %s", pems[i]);
    if (!sp_join_ca_hash(sp_json_text(pki, "ca.crt"), hash, err) || strcmp(hash, t->ca_hash) != 0)
        return sp_fail(err, SP_INVALID, "its answer holds another CA than the token's");
    return (*sp_json_get_z(answer, "initialCluster") && urls && urls->count) ||
           sp_fail(err, SP_INVALID, "its answer does not name the members");
}

static bool keep_pki(const sp_join_request *r, const sp_json *pki, sp_err *err) {
    char path[PATH_MAX];
    if (!sp_mkdir_all(path_in(r, "pki", path), 0700, err) ||
        !sp_file_write(path_in(r, MARK, path), sp_str_z(r->server), 0600, err))
        return false;
    for (size_t i = 0; i < SP_COUNT(pems); i++) {
        bool secret = sp_str_ends(sp_str_z(pems[i]), SP_STR(".key"));
        snprintf(path, sizeof path, "%s/pki/%s", r->dir, pems[i]);
        if (!sp_file_write(path, sp_json_text(pki, pems[i]), secret ? 0600 : 0644, err))
            return false;
    }
    return true;
}

static bool keep_member(const sp_join_request *r, const sp_json *answer, sp_err *err) {
    sp_member m = {.name = r->name,
                   .ip = r->ip,
                   .client_port = r->client_port,
                   .peer_port = r->peer_port,
                   .api_port = r->api_port,
                   .initial_cluster = sp_json_get_z(answer, "initialCluster"),
                   .cluster_token = "",
                   .pod_cidr = r->pod_cidr ? r->pod_cidr : sp_json_get_z(answer, "podCIDR"),
                   .joins = true};
    sp_json_each(sp_json_get(answer, "endpoints"), u) sp_vec_push(&m.others, sp_json_str(u));
    bool ok = sp_member_save(r->dir, &m, err);
    sp_vec_free(&m.others);
    return ok;
}

static bool keep(const sp_join_request *r, const sp_json *answer, sp_err *err) {
    char path[PATH_MAX];
    if (!keep_pki(r, sp_json_get(answer, "pki"), err) || !keep_member(r, answer, err))
        return sp_err_wrap(err, "what the cluster gave cannot be kept (to go on, mend that and "
                                "give the same command again)");
    unlink(path_in(r, MARK, path));
    return true;
}

bool sp_member_is_joining(const char *dir) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" MARK, dir);
    return sp_file_exists(path);
}

static bool is_empty(const sp_join_request *r, sp_err *err) {
    static const char *const traces[] = {"pki/ca.key", "etcd/data", "apiserver/state.db"};
    char path[PATH_MAX];
    size_t first = sp_member_is_joining(r->dir) ? 1 : 0; /* then that key is of the cluster */
    for (size_t i = first; i < SP_COUNT(traces); i++) {
        if (sp_file_exists(path_in(r, traces[i], path)))
            return sp_fail(err, SP_CONFLICT,
                           "%s holds another installation (%s): a machine joins with an empty "
                           "--data-dir",
                           r->dir, traces[i]);
    }
    return true;
}

static bool parse_url(exchange *x, sp_err *err) {
    const char *server = x->request->server;
    return (sp_url_parse(sp_str_z(server), &x->url, NULL) && x->url.tls) ||
           sp_fail(err, SP_INVALID,
                   "--join %s: https://ADDRESS:PORT of an API server of the cluster is expected",
                   server);
}

static bool join(exchange *x, sp_err *err) {
    sp_join_token t;
    sp_str ca;
    sp_json *answer = NULL;
    if (!sp_join_token_parse(sp_str_z(x->request->token), &t, err) || !*t.ca_hash)
        return err->code ? sp_err_wrap(err, "--token")
                         : sp_fail(err, SP_INVALID,
                                   "--token: its last part, the hash of the "
                                   "cluster's CA, is missing");
    if (!is_empty(x->request, err) || !parse_url(x, err)) return false;
    if (!fetch_ca(x, &t, &ca, err) || !post_until(x, &t, ca, &answer, err) ||
        !check_answer(answer, &t, err))
        return sp_err_wrap(err, "cannot join at %s", x->request->server);
    return keep(x->request, answer, err);
}

bool sp_member_join(const sp_join_request *r, sp_err *err) {
    exchange x = {.request = r, .arena = sp_arena_new()};
    *err = (sp_err){0};
    uv_loop_init(&x.loop);
    bool ok = join(&x, err);
    uv_run(&x.loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&x.loop);
    sp_arena_free(x.arena);
    return ok;
}
