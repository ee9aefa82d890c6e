#include "cli/member.h"

#include "base/file.h"
#include "base/rng.h"
#include "data/json.h"
#include "net/http.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>

enum { MAX_STATE = 64 * 1024 };

static void state_path(const char *dir, char ret[PATH_MAX]) {
    snprintf(ret, PATH_MAX, "%s/etcd/member.json", dir);
}

/* --- the file --- */

static bool get_port(const sp_json *o, const char *key, uint16_t *ret) {
    int64_t n = sp_json_int(sp_json_get(o, key), 0);
    if (n < 1 || n > 65535) return false;
    *ret = (uint16_t)n;
    return true;
}

static bool read_state(sp_arena *a, const sp_json *o, sp_member *m) {
    m->name = sp_json_get_z(o, "name");
    m->ip = sp_json_get_z(o, "ip");
    m->initial_cluster = sp_json_get_z(o, "initialCluster");
    m->cluster_token = sp_json_get_z(o, "clusterToken");
    m->pod_cidr = sp_json_get_z(o, "podCIDR");
    if (!*m->pod_cidr) m->pod_cidr = SP_POD_CIDR;
    m->reset = sp_json_bool(sp_json_get(o, "reset"), false);
    m->joins = sp_json_bool(sp_json_get(o, "joins"), false);
    const sp_json *others = sp_json_get(o, "others");
    m->others.p = sp_arena_alloc(a, ((others ? others->count : 0) + 1) * sizeof(sp_str));
    sp_json_each(others, u) m->others.p[m->others.n++] = sp_json_str(u);
    return *m->name && *m->ip && *m->initial_cluster &&
           get_port(o, "clientPort", &m->client_port) && get_port(o, "peerPort", &m->peer_port) &&
           get_port(o, "apiPort", &m->api_port);
}

bool sp_member_load(sp_arena *a, const char *dir, sp_member *ret, bool *ret_found, sp_err *err) {
    char path[PATH_MAX];
    sp_auto(sp_buf) text = {0};
    sp_json *o;
    sp_member m = {0};
    state_path(dir, path);
    *ret_found = false;
    if (!sp_file_exists(path)) return true;
    if (!sp_file_read(path, MAX_STATE, &text, err)) return false;
    if (!sp_json_parse(a, sp_buf_str(&text), &o, err)) return sp_err_wrap(err, "%s", path);
    if (!read_state(a, o, &m))
        return sp_fail(err, SP_INVALID, "%s does not say who this member is; was it changed?",
                       path);
    *ret = m;
    *ret_found = true;
    return true;
}

bool sp_member_save(const char *dir, const sp_member *m, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) text = {0};
    char path[PATH_MAX];
    sp_json *o = sp_json_object(a);
    sp_json_set_z(a, o, "name", m->name);
    sp_json_set_z(a, o, "ip", m->ip);
    sp_json_set_int(a, o, "clientPort", m->client_port);
    sp_json_set_int(a, o, "peerPort", m->peer_port);
    sp_json_set_int(a, o, "apiPort", m->api_port);
    sp_json_set_z(a, o, "initialCluster", m->initial_cluster);
    sp_json_set_z(a, o, "clusterToken", m->cluster_token);
    sp_json_set_z(a, o, "podCIDR", m->pod_cidr);
    sp_json_set_bool(a, o, "joins", m->joins);
    if (m->reset) sp_json_set_bool(a, o, "reset", true);
    sp_json *others = sp_json_ensure_array(a, o, "others");
    sp_vec_each(&m->others, u) sp_json_push(others, sp_json_new_str(a, *u));
    sp_json_write_pretty(&text, o);
    sp_buf_addc(&text, '\n');
    snprintf(path, sizeof path, "%s/etcd", dir);
    if (!sp_mkdir_all(path, 0700, err)) return false;
    state_path(dir, path);
    return sp_file_write(path, sp_buf_str(&text), 0600, err);
}

bool sp_member_begin(const sp_join_request *r, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    char token[37];
    sp_rng_uuid(token);
    const char *peer = sp_member_url(a, r->ip, r->peer_port);
    sp_member m = {.name = r->name,
                   .ip = r->ip,
                   .client_port = r->client_port,
                   .peer_port = r->peer_port,
                   .api_port = r->api_port,
                   .pod_cidr = r->pod_cidr ? r->pod_cidr : SP_POD_CIDR,
                   .initial_cluster = sp_arena_printf(a, "%s=%s", r->name, peer).p,
                   .cluster_token = token};
    return sp_member_save(r->dir, &m, err);
}

bool sp_member_reset(const char *dir, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_member m;
    bool found = false;
    if (!sp_member_load(a, dir, &m, &found, err)) return false;
    sp_assert(found);
    m.reset = true;
    m.others.n = 0;
    return sp_member_save(dir, &m, err);
}

/* --- pure --- */

const char *sp_member_url(sp_arena *a, const char *ip, uint16_t port) {
    bool v6 = strchr(ip, ':') != NULL;
    return sp_arena_printf(a, "https://%s%s%s:%u", v6 ? "[" : "", ip, v6 ? "]" : "", port).p;
}

typedef struct words {
    sp_arena *arena;
    const char **p;
    size_t n;
} words;

static void add(words *w, const char *flag, const char *value) {
    w->p[w->n++] = sp_arena_printf(w->arena, "--%s=%s", flag, value).p;
}

/* Each transaction copies what etcd 3.4 has not yet committed to its database, in a buffer of at
 * least 512 entries that grows for good: with 10,000, the default, the copying costs more than all
 * the rest of a write (docs/why/etcd.md). Only how often the database is committed changes, the log
 * is what makes writes durable. */
static const char BATCH_LIMIT[] = "500";

const char *const *sp_member_etcd_argv(sp_arena *a, const char *dir, const sp_member *m) {
    enum { MAX_WORDS = 32 };
    words w = {a, sp_arena_alloc(a, MAX_WORDS * sizeof(char *)), 0};
    const char *client = sp_member_url(a, m->ip, m->client_port);
    const char *peer = sp_member_url(a, m->ip, m->peer_port);
    const char *local = sp_member_url(a, "127.0.0.1", m->client_port);
    static const char *const files[][2] = {
        {"cert-file", "etcd-server.crt"},   {"key-file", "etcd-server.key"},
        {"trusted-ca-file", "etcd-ca.crt"}, {"peer-cert-file", "etcd-peer.crt"},
        {"peer-key-file", "etcd-peer.key"}, {"peer-trusted-ca-file", "etcd-ca.crt"},
    };
    w.p[w.n++] = "etcd";
    add(&w, "name", m->name);
    add(&w, "data-dir", sp_arena_printf(a, "%s/etcd/data", dir).p);
    add(&w, "listen-client-urls", sp_arena_printf(a, "%s,%s", local, client).p);
    add(&w, "advertise-client-urls", client);
    add(&w, "listen-peer-urls", peer);
    add(&w, "initial-advertise-peer-urls", peer);
    add(&w, "initial-cluster", m->initial_cluster);
    add(&w, "initial-cluster-state", m->joins ? "existing" : "new");
    if (*m->cluster_token) add(&w, "initial-cluster-token", m->cluster_token);
    for (size_t i = 0; i < SP_COUNT(files); i++)
        add(&w, files[i][0], sp_arena_printf(a, "%s/pki/%s", dir, files[i][1]).p);
    if (m->reset) add(&w, "force-new-cluster", "true");
    add(&w, "client-cert-auth", "true");
    add(&w, "peer-client-cert-auth", "true");
    add(&w, "logger", "zap");
    add(&w, "backend-batch-limit", BATCH_LIMIT);
    sp_assert(w.n < MAX_WORDS);
    return w.p;
}

const char *sp_member_etcd_servers(sp_arena *a, const sp_member *m) {
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, sp_member_url(a, "127.0.0.1", m->client_port));
    sp_vec_each(&m->others, u) sp_buf_printf(&b, ",%.*s", SP_ARG(*u));
    return sp_arena_strz(a, sp_buf_str(&b));
}

const char *sp_member_api_servers(sp_arena *a, const sp_member *m) {
    sp_auto(sp_buf) b = {0};
    sp_vec_each(&m->others, text) {
        sp_url u;
        if (!sp_url_parse(*text, &u, NULL)) continue;
        sp_buf_printf(&b, "%s%s", b.n ? "," : "",
                      sp_member_url(a, sp_arena_strz(a, u.host), m->api_port));
    }
    return sp_arena_strz(a, sp_buf_str(&b));
}
