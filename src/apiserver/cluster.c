/* Each request is a job that asks etcd in one or two steps: a survey of the members, then perhaps
 * one change. Decisions are store/etcd_members.h's; here they are carried out. */
#include "apiserver/cluster.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "iam/join_token.h"
#include "store/etcd_members.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

enum { MAX_PEM = 64 * 1024, MAX_NAME = 63, SAY_EVERY_MS = 10000 };

typedef struct job {
    sp_list link; /* of the server's */
    sp_call *call;
    sp_etcd_look *look;
    sp_etcd_change *change;
    size_t members;        /* before it came */
    sp_str name, peer_url; /* in the call's arena */
    sp_join_token token;   /* of one that comes */
    sp_str initial_cluster;
    sp_strs clients; /* URLs; the vector in the arena, too */
    void (*surveyed)(struct job *j, const sp_etcd_survey *s, const sp_err *err);
} job;

static void free_job(job *j) {
    sp_list_remove(&j->link);
    free(j);
}

static sp_call *end_job(job *j) {
    sp_call *c = j->call;
    free_job(j);
    return c;
}

static void refuse(job *j, const sp_err *err) {
    sp_call_fail(end_job(j), err, NULL);
}

/* Those that wait for the store are told when it closes. */
void sp_cluster_jobs_end(sp_apiserver *s) {
    for (sp_list *at = s->cluster_jobs.next, *next; at != &s->cluster_jobs; at = next) {
        job *j = SP_CONTAINER(at, job, link);
        next = at->next;
        if (!j->look && !j->change) continue;
        if (j->look) sp_etcd_look_cancel(j->look);
        if (j->change) sp_etcd_change_cancel(j->change);
        sp_call_end(end_job(j));
    }
}

static void on_surveyed(void *ctx, const sp_etcd_survey *s, const sp_err *err) {
    job *j = ctx;
    j->look = NULL;
    j->surveyed(j, s, err);
}

/* The call is held until the job has ended. */
static job *new_job(sp_call *c) {
    job *j = sp_zalloc(1, sizeof *j);
    j->call = c;
    sp_list_init(&j->link);
    sp_list_append(&c->op.s->cluster_jobs, &j->link);
    sp_call_hold(c);
    return j;
}

static void look(job *j) {
    const sp_apiserver *s = j->call->op.s;
    j->look = sp_etcd_look_start(s->loop, s->config.etcd, j->call->op.arena, on_surveyed, j);
}

static void refuse_method(sp_call *c, const char *method) {
    sp_err err;
    (void)sp_fail(&err, SP_METHOD_NOT_ALLOWED, "only %s is allowed here", method);
    sp_call_fail(c, &err, NULL);
}

/* ---------- how it is ---------- */

static sp_json *urls_json(sp_arena *a, const sp_strs *urls) {
    sp_json *list = sp_json_array(a);
    sp_vec_each(urls, u) sp_json_push(list, sp_json_new_str(a, *u));
    return list;
}

static sp_json *member_json(sp_arena *a, const sp_etcd_member *m) {
    sp_json *o = sp_json_object(a);
    sp_json_set(a, o, "name", sp_json_new_str(a, m->name));
    sp_json_set(a, o, "id", sp_json_printf(a, "%" PRIx64, m->id));
    sp_json_set(a, o, "peerURLs", urls_json(a, &m->peers));
    sp_json_set(a, o, "clientURLs", urls_json(a, &m->clients));
    sp_json_set_bool(a, o, "learner", m->learner);
    sp_json_set_bool(a, o, "healthy", m->answers && m->leader && !m->alarm.n);
    if (m->alarm.n) sp_json_set(a, o, "alarm", sp_json_new_str(a, m->alarm));
    if (!m->answers) {
        sp_json_set(a, o, "error", sp_json_new_str(a, m->why));
        return o;
    }
    sp_json_set_bool(a, o, "leader", m->leader == m->id);
    if (!m->leader) sp_json_set_z(a, o, "error", "it follows no leader");
    sp_json_set(a, o, "version", sp_json_new_str(a, m->version));
    sp_json_set_int(a, o, "dbBytes", m->db_bytes);
    sp_json_set_int(a, o, "dbUsedBytes", m->db_used_bytes);
    sp_json_set_int(a, o, "latencyMicroseconds", m->latency_us);
    return o;
}

static void tell_survey(job *j, const sp_etcd_survey *s, const sp_err *err) {
    sp_call *c = end_job(j);
    sp_arena *a = c->op.arena;
    sp_json *o = sp_json_object(a);
    sp_json_set_z(a, o, "store", "etcd");
    sp_json_set_bool(a, o, "managed", c->op.s->config.join_dir != NULL);
    sp_json_set_bool(a, o, "quorum", s && s->quorum);
    if (err) sp_json_set_z(a, o, "error", err->text);
    if (s && s->trouble.n) sp_json_set(a, o, "error", sp_json_new_str(a, s->trouble));
    sp_json *list = sp_json_ensure_array(a, o, "members");
    if (s) sp_vec_each(&s->members, m) sp_json_push(list, member_json(a, m));
    sp_call_reply_json(c, 200, o);
}

static void tell_file(sp_call *c) {
    sp_arena *a = c->op.arena;
    sp_store_stats st = sp_store_get_stats(c->op.s->store);
    sp_json *o = sp_json_object(a);
    sp_json_set_z(a, o, "store", c->op.s->config.store_path ? "sqlite" : "memory");
    if (c->op.s->config.store_path) sp_json_set_z(a, o, "file", c->op.s->config.store_path);
    sp_json_set_bool(a, o, "writable", sp_store_is_writable(c->op.s->store));
    sp_json_set_int(a, o, "dbBytes", (int64_t)st.db_bytes);
    sp_call_reply_json(c, 200, o);
}

/* ---------- one goes ---------- */

static void on_removed(void *ctx, const sp_err *err) {
    job *j = ctx;
    j->change = NULL;
    if (err) {
        refuse(j, err);
        return;
    }
    sp_info("a member was removed", SP_KV("name", j->name), SP_KV("by", j->call->user.name));
    sp_str name = j->name;
    sp_call_success(end_job(j), 200, name, "members", SP_STR(""));
}

static void remove_member(job *j, const sp_etcd_survey *s, const sp_err *err) {
    const sp_apiserver *server = j->call->op.s;
    const sp_etcd_member *m = NULL;
    sp_err why;
    if (err)
        refuse(j, err);
    else if (!sp_etcd_may_remove(s, j->name, &m, &why))
        refuse(j, &why);
    else
        j->change = sp_etcd_change_start(server->loop, server->config.etcd, SP_ETCD_REMOVE, m->id,
                                         NULL, on_removed, j);
}

static void serve_member(sp_call *c, sp_str name) {
    sp_err err = {0};
    sp_str decoded;
    if (!sp_str_eqz(c->http->method, "DELETE")) {
        refuse_method(c, "DELETE");
        return;
    }
    if (!c->op.master)
        (void)sp_fail(&err, SP_FORBIDDEN, "only system:masters may remove members");
    else if (!c->op.s->config.etcd)
        (void)sp_fail(&err, SP_CONFLICT, "this server keeps its objects in a file: no members");
    else if (!name.n || !sp_url_decode(c->op.arena, name, false, &decoded))
        (void)sp_fail(&err, SP_BAD_REQUEST, "which member?");
    if (err.code) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    job *j = new_job(c);
    j->name = sp_arena_str(c->op.arena, decoded);
    j->surveyed = remove_member;
    look(j);
}

void sp_cluster_serve(sp_call *c, sp_str rest) {
    if (sp_str_starts(rest, SP_STR("/members/"))) {
        serve_member(c, sp_str_from(rest, strlen("/members/")));
    } else if (rest.n) {
        sp_call_reply(c, 404, "text/plain; charset=utf-8", SP_STR("404 page not found\n"));
    } else if (!sp_str_eqz(c->http->method, "GET")) {
        refuse_method(c, "GET");
    } else if (!c->op.s->config.etcd) {
        tell_file(c);
    } else {
        job *j = new_job(c);
        j->surveyed = tell_survey;
        look(j);
    }
}

/* ---------- one comes ---------- */

static bool read_pem(const sp_call *c, const char *name, sp_buf *ret, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", c->op.s->config.join_dir, name);
    return sp_file_read(path, MAX_PEM, ret, err) || sp_err_wrap(err, "what a joiner needs");
}

void sp_cluster_serve_ca(sp_call *c, sp_str rest) {
    sp_auto(sp_buf) pem = {0};
    sp_err err;
    (void)rest;
    if (!c->op.s->config.join_dir)
        (void)sp_fail(&err, SP_NOT_FOUND,
                      "this API server lets nobody join: it runs without a cluster "
                      "(sampan up --cluster-init begins one)");
    else if (read_pem(c, "ca.crt", &pem, &err)) {
        sp_call_reply(c, 200, "application/x-pem-file", sp_buf_str(&pem));
        return;
    }
    sp_call_fail(c, &err, NULL);
}

/* ---------- addresses for its pods ---------- */

typedef struct ranges {
    sp_arena *arena;
    sp_str name;     /* of the joiner */
    sp_str own;      /* what a node of that name had */
    bool taken[256]; /* 10.N.0.0/16 */
} ranges;

static bool note_range(void *ctx, const sp_json *node) {
    ranges *r = ctx;
    sp_str cidr = sp_json_str(sp_json_dig(node, "spec", "podCIDR", NULL)), part;
    uint64_t n;
    if (sp_str_eq(sp_json_str(sp_json_dig(node, "metadata", "name", NULL)), r->name)) {
        r->own = sp_arena_str(r->arena, cidr);
        return true;
    }
    bool ten = sp_str_cut(&cidr, '.', &part) && sp_str_eqz(part, "10");
    if (ten && sp_str_cut(&cidr, '.', &part) && sp_str_u64(part, &n) && n < 256) r->taken[n] = true;
    return true;
}

/* The first machine has 10.88, Services have 10.96 to 10.111. Nodes of those that just joined may
 * not be there yet, so counting begins behind the members. */
static sp_str free_range(const job *j) {
    enum { FIRST = 88, SERVICES = 96, BEHIND_SERVICES = 112 };
    sp_arena *a = j->call->op.arena;
    ranges r = {.arena = a, .name = j->name};
    sp_lookup_each_latest(j->call->op.s, a, "", "nodes", SP_STR(""), note_range, &r);
    if (r.own.n) return r.own;
    for (size_t i = SERVICES; i < BEHIND_SERVICES; i++) r.taken[i] = true;
    size_t n = FIRST + j->members;
    while (n < 256 && r.taken[n]) n++;
    return n < 256 ? sp_arena_printf(a, "10.%zu.0.0/16", n) : SP_STR("");
}

/* ---------- what a joiner is given ---------- */

static bool fill_welcome(job *j, sp_json *o, sp_err *err) {
    static const char *const files[] = {"ca.crt", "ca.key", "etcd-ca.crt", "etcd-ca.key"};
    sp_call *c = j->call;
    sp_arena *a = c->op.arena;
    sp_json *pki = sp_json_ensure_object(a, o, "pki");
    for (size_t i = 0; i < SP_COUNT(files); i++) {
        sp_auto(sp_buf) pem = {0};
        if (!read_pem(c, files[i], &pem, err)) return false;
        sp_json_set(a, pki, files[i], sp_json_new_str(a, sp_buf_str(&pem)));
    }
    sp_json_set(a, o, "initialCluster", sp_json_new_str(a, j->initial_cluster));
    sp_json_set(a, o, "podCIDR", sp_json_new_str(a, free_range(j)));
    sp_json_set(a, o, "endpoints", urls_json(a, &j->clients));
    return true;
}

static void welcome(job *j) {
    sp_err err;
    sp_json *o = sp_json_object(j->call->op.arena);
    if (!fill_welcome(j, o, &err)) {
        refuse(j, &err);
        return;
    }
    sp_info("a machine joins", SP_KV("name", j->name), SP_KV("peer", j->peer_url));
    sp_call_reply_json(end_job(j), 200, o);
}

static void on_added(void *ctx, const sp_err *err) {
    job *j = ctx;
    sp_err why = err ? *err : (sp_err){0};
    j->change = NULL;
    if (strstr(why.text, "too many learner")) why.code = SP_TOO_MANY; /* another was faster */
    if (err)
        refuse(j, &why);
    else
        welcome(j);
}

static void note_members(job *j, const sp_etcd_survey *s) {
    sp_auto(sp_buf) b = {0};
    sp_arena *a = j->call->op.arena;
    j->clients.p = sp_arena_alloc(a, (s->members.n + 1) * sizeof(sp_str));
    sp_vec_each(&s->members, m) if (m->clients.n && !m->learner) j->clients.p[j->clients.n++] =
        m->clients.p[0];
    j->members = j->clients.n;
    sp_etcd_initial_cluster(s, j->name, j->peer_url, &b);
    j->initial_cluster = sp_arena_str(a, sp_buf_str(&b));
}

static void let_in(job *j, const sp_etcd_survey *s, const sp_err *err) {
    const sp_apiserver *server = j->call->op.s;
    bool there = false;
    sp_err why;
    if (err) {
        refuse(j, err);
        return;
    }
    if (!sp_etcd_may_join(s, j->name, j->peer_url, &there, &why)) {
        refuse(j, &why);
        return;
    }
    note_members(j, s);
    if (there)
        welcome(j);
    else
        j->change =
            sp_etcd_change_start(server->loop, server->config.etcd, SP_ETCD_ADD_LEARNER, 0,
                                 sp_arena_strz(j->call->op.arena, j->peer_url), on_added, j);
}

static bool check_wish(const job *j, sp_err *err) {
    sp_url u;
    unsigned char address[16];
    char host[64];
    if (j->name.n > MAX_NAME || !sp_name_is_subdomain(j->name))
        return sp_fail(err, SP_INVALID, "\"%.*s\" cannot be the name of a member", SP_ARG(j->name));
    bool ok = sp_url_parse(j->peer_url, &u, NULL) && u.tls && u.host.n < sizeof host;
    if (ok) snprintf(host, sizeof host, "%.*s", SP_ARG(u.host));
    ok = ok && (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1);
    return ok || sp_fail(err, SP_INVALID, "\"%.*s\" is not https://ADDRESS:PORT of a member",
                         SP_ARG(j->peer_url));
}

/* Nothing of this asks the store, for the caller may be anybody. */
static bool read_wish(job *j, sp_err *err) {
    sp_json *wish = NULL;
    if (!sp_body_parse(j->call, &wish, err) ||
        !sp_join_token_parse(sp_json_text(wish, "token"), &j->token, err))
        return false;
    j->name = sp_json_text(wish, "name");
    j->peer_url = sp_json_text(wish, "peerURL");
    return check_wish(j, err);
}

static bool check_token(const job *j, sp_err *err) {
    sp_call *c = j->call;
    sp_str name = sp_arena_printf(c->op.arena, SP_JOIN_PREFIX "%s", j->token.id);
    return sp_join_token_check(
        sp_lookup_latest(c->op.s, c->op.arena, "", "secrets", SP_STR(SP_JOIN_NAMESPACE), name),
        &j->token, sp_clock_wall_ms(), err);
}

/* Strangers must not fill the log. */
static void say_refused(sp_apiserver *s, const char *why) {
    int64_t now = sp_clock_mono_ms();
    s->refused_joins++;
    if (s->refused_said_ms && now - s->refused_said_ms < SAY_EVERY_MS) return;
    sp_warn("a machine may not join", SP_KV("why", why),
            SP_KV("times", (int)SP_MIN(s->refused_joins, 1000000u)));
    s->refused_said_ms = now;
    s->refused_joins = 0;
}

/* What another server acknowledged is seen by now: the token may be some milliseconds old. */
static void on_caught_up(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err) {
    job *j = ctx;
    sp_err why;
    (void)rev, (void)value;
    if (!j->call->res) {
        sp_call_end(end_job(j));
    } else if (err) {
        refuse(j, err);
    } else if (!check_token(j, &why)) {
        say_refused(j->call->op.s, why.text);
        refuse(j, &why);
    } else {
        j->surveyed = let_in;
        look(j);
    }
}

static void begin_join(sp_call *c) {
    job *j = new_job(c);
    sp_err err;
    if (read_wish(j, &err))
        sp_store_sync(c->op.s->store, on_caught_up, j);
    else
        refuse(j, &err);
}

void sp_cluster_serve_join(sp_call *c, sp_str rest) {
    sp_err err;
    (void)rest;
    if (!sp_str_eqz(c->http->method, "POST")) {
        refuse_method(c, "POST");
    } else if (!c->http->tls) {
        (void)sp_fail(&err, SP_FORBIDDEN, "keys are not given away without TLS");
        sp_call_fail(c, &err, NULL);
    } else if (!c->op.s->config.etcd || !c->op.s->config.join_dir) {
        (void)sp_fail(&err, SP_NOT_FOUND,
                      "this API server lets nobody join: it runs without a cluster "
                      "(sampan up --cluster-init begins one)");
        sp_call_fail(c, &err, NULL);
    } else {
        begin_join(c);
    }
}
