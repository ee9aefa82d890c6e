/* `sampan apiserver`: flags, files, signals; the rest is in apiserver.c. */
#include "apiserver/server.h"
#include "apiserver/store_flags.h"
#include "base/commands.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/role.h"
#include "net/loop.h"
#include "net/own_address.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MAX_GOAWAY_CHANCE 0.02

typedef struct options {
    const char *data_dir, *bind, *advertise;
    sp_log_level level;
    const char *cert, *key, *client_ca, *tokens, *kubelet_cert, *kubelet_key, *kubelet_ca;
    const char *goaway_chance, *join_dir;
    uint16_t port;
    sp_store_flags store;
    bool plain;
} options;

typedef struct role {
    uv_loop_t loop;
    sp_apiserver *server;
    sp_signal *term, *intr;
    options o;
    sp_buf tokens;
    sp_buf store_path;
    char own_address[46];
    sp_apiserver_config config;
    bool stopping;
} role;

static void on_closed(void *ctx) {
    role *r = ctx;
    r->term = sp_signal_stop(r->term);
    r->intr = sp_signal_stop(r->intr);
}

static void on_signal(void *ctx, int signum) {
    role *r = ctx;
    (void)signum;
    if (r->stopping) return;
    r->stopping = true;
    sp_info("stopping");
    sp_apiserver_stop(r->server, on_closed, r);
}

static void on_ready(void *ctx) {
    role *r = ctx;
    sp_info("ready", SP_KV("address", r->o.bind), SP_KV("port", (int)sp_apiserver_port(r->server)),
            SP_KV("tls", (bool)(r->config.tls != NULL)));
    sp_role_ready();
}

/* ---------- files ---------- */

static bool read_pem(const char *path, const char *flag, sp_buf *ret, sp_err *err) {
    if (!path) return true;
    if (sp_file_read(path, 1 << 20, ret, err)) return true;
    return sp_err_wrap(err, "--%s", flag);
}

static bool load_server_tls(role *r, sp_err *err) {
    sp_auto(sp_buf) cert = {0}, key = {0}, ca = {0};
    const options *o = &r->o;
    if (o->plain) return true;
    if (!o->cert || !o->key)
        return sp_fail(err, SP_INVALID,
                       "--tls-cert-file and --tls-private-key-file are needed (`sampan up` makes "
                       "them; --plain-http serves without TLS)");
    if (!read_pem(o->cert, "tls-cert-file", &cert, err) ||
        !read_pem(o->key, "tls-private-key-file", &key, err) ||
        !read_pem(o->client_ca, "client-ca-file", &ca, err))
        return false;
    sp_tls_config c = {.cert_pem = sp_buf_str(&cert),
                       .key_pem = sp_buf_str(&key),
                       .ca_pem = sp_buf_str(&ca),
                       .server = true,
                       .alpn = "h2,http/1.1"};
    return sp_tls_ctx_new(&c, &r->config.tls, err);
}

/* Towards the agents: who we are, and the CA that signed their certificates. */
static bool load_kubelet_tls(role *r, sp_err *err) {
    sp_auto(sp_buf) cert = {0}, key = {0}, ca = {0};
    const options *o = &r->o;
    const char *ca_path = o->kubelet_ca ? o->kubelet_ca : o->client_ca;
    if (!o->kubelet_cert && !o->kubelet_key) return true;
    if (!o->kubelet_cert || !o->kubelet_key || !ca_path)
        return sp_fail(err, SP_INVALID,
                       "--kubelet-client-certificate, --kubelet-client-key and a CA "
                       "(--kubelet-certificate-authority or --client-ca-file) go together");
    if (!read_pem(o->kubelet_cert, "kubelet-client-certificate", &cert, err) ||
        !read_pem(o->kubelet_key, "kubelet-client-key", &key, err) ||
        !read_pem(ca_path, "kubelet-certificate-authority", &ca, err))
        return false;
    sp_tls_config c = {.cert_pem = sp_buf_str(&cert),
                       .key_pem = sp_buf_str(&key),
                       .ca_pem = sp_buf_str(&ca),
                       .alpn = "http/1.1"};
    return sp_tls_ctx_new(&c, &r->config.kubelet, err);
}

static bool prepare_store(role *r, sp_err *err) {
    sp_store_flags *f = &r->o.store;
    if (!sp_store_flags_read(f, err)) return false;
    r->config.store_path = f->path;
    r->config.etcd_prefix = f->prefix;
    r->config.compact_every_ms = f->compact_every_ms;
    if (f->etcd.endpoints.n) r->config.etcd = &f->etcd;
    if (f->path || f->etcd.endpoints.n) return true;
    if (!r->o.data_dir)
        return sp_fail(err, SP_INVALID,
                       "--data-dir (the directory that keeps the objects), --store or "
                       "--etcd-servers is needed");
    if (!sp_mkdir_all(r->o.data_dir, 0700, err)) return sp_err_wrap(err, "--data-dir");
    sp_buf_printf(&r->store_path, "%s/state.db", r->o.data_dir);
    r->config.store_path = sp_buf_z(&r->store_path);
    return true;
}

/* ---------- the address others may use ---------- */

static bool is_wildcard(const char *host) {
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static void choose_advertised(role *r) {
    r->config.advertise = r->o.advertise ? r->o.advertise : r->o.bind;
    if (r->o.advertise || !is_wildcard(r->o.bind)) return;
    sp_own_address(NULL, r->own_address, NULL);
    r->config.advertise = r->own_address;
}

/* ---------- running ---------- */

/* kube-apiserver's flag and bounds. */
static bool read_goaway_chance(role *r, sp_err *err) {
    const char *text = r->o.goaway_chance;
    char *end = NULL;
    if (!text) return true;
    double chance = strtod(text, &end);
    if (end == text || *end || !(chance >= 0 && chance <= MAX_GOAWAY_CHANCE))
        return sp_fail(err, SP_INVALID,
                       "--goaway-chance \"%s\" must be a number from 0 to 0.02, for example 0.001",
                       text);
    r->config.goaway_chance = chance;
    return true;
}

static bool configure(role *r, sp_err *err) {
    if (!prepare_store(r, err)) return false;
    if (r->o.tokens && !sp_file_read(r->o.tokens, 1 << 20, &r->tokens, err))
        return sp_err_wrap(err, "--token-auth-file");
    r->config.tokens = sp_buf_str(&r->tokens);
    r->config.bind = r->o.bind;
    r->config.port = r->o.port;
    r->config.join_dir = r->o.join_dir;
    choose_advertised(r);
    return read_goaway_chance(r, err) && load_server_tls(r, err) && load_kubelet_tls(r, err);
}

/* A connection is a descriptor; many systems give 1024 until somebody asks for more. */
static void raise_file_limit(void) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur == l.rlim_max) return;
    l.rlim_cur = l.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &l);
}

static int run(role *r) {
    sp_err err = {0};
    if (!configure(r, &err)) {
        fprintf(stderr, "sampan apiserver: %s\n", err.text);
        return 1;
    }
    uv_loop_init(&r->loop);
    r->term = sp_signal_watch(&r->loop, SIGTERM, on_signal, r);
    r->intr = sp_signal_watch(&r->loop, SIGINT, on_signal, r);
    bool started = sp_apiserver_start(&r->loop, &r->config, on_ready, r, &r->server, &err);
    if (!started) {
        fprintf(stderr, "sampan apiserver: %s\n", err.text);
        r->stopping = true;
        if (r->server)
            sp_apiserver_stop(r->server, on_closed, r);
        else
            on_closed(r);
    }
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    return started ? 0 : 1;
}

static int parse_flags(options *o, int argc, char **argv) {
    const sp_flag flags[] = {
        {"data-dir", 0, SP_FLAG_STR, &o->data_dir, "DIR",
         "where the objects are kept (DIR/state.db); made if missing"},
        SP_STORE_FLAGS(&o->store),
        {"bind-address", 0, SP_FLAG_STR, &o->bind, "ADDRESS", "address to listen on"},
        {"port", 0, SP_FLAG_PORT, &o->port, "PORT", "port to listen on; 0 = any free one"},
        {"advertise-address", 0, SP_FLAG_STR, &o->advertise, "ADDRESS",
         "address written into the endpoints of the service kubernetes"},
        {"tls-cert-file", 0, SP_FLAG_STR, &o->cert, "FILE", "PEM certificate chain, leaf first"},
        {"tls-private-key-file", 0, SP_FLAG_STR, &o->key, "FILE", "PEM key of that certificate"},
        {"client-ca-file", 0, SP_FLAG_STR, &o->client_ca, "FILE",
         "PEM certificates of the CA whose client certificates are users: CN = user name, O = "
         "groups"},
        {"token-auth-file", 0, SP_FLAG_STR, &o->tokens, "FILE",
         "bearer tokens, one per line: token,user,uid,\"group1,group2\""},
        {"kubelet-client-certificate", 0, SP_FLAG_STR, &o->kubelet_cert, "FILE",
         "PEM client certificate shown to agents (kubectl logs)"},
        {"kubelet-client-key", 0, SP_FLAG_STR, &o->kubelet_key, "FILE",
         "PEM key of that certificate"},
        {"kubelet-certificate-authority", 0, SP_FLAG_STR, &o->kubelet_ca, "FILE",
         "PEM CA of the agents' certificates; the client CA if not given"},
        {"goaway-chance", 0, SP_FLAG_STR, &o->goaway_chance, "FRACTION",
         "0 to 0.02: of this part of the HTTP/2 requests the connection is asked to go elsewhere,\n"
         "so that clients spread over several API servers; for one server leave it at 0 (0)"},
        {"join-dir", 0, SP_FLAG_STR, &o->join_dir, "DIR",
         "let machines join by token (sampan up --join); they are given ca.crt, ca.key,\n"
         "etcd-ca.crt and etcd-ca.key of this directory"},
        {"plain-http", 0, SP_FLAG_BOOL, &o->plain, NULL,
         "serve HTTP without TLS: for tests and behind a proxy of your own"},
        SP_LOG_LEVEL_FLAG(&o->level),
    };
    const sp_usage usage = {
        .command = "sampan apiserver",
        .synopsis = "--data-dir DIR --tls-cert-file FILE --tls-private-key-file FILE [flags]",
        .about =
            "Serves the Kubernetes API over HTTPS from one file of objects. Every write is on "
            "disk\n"
            "before it is answered. Users are those with a certificate of the client CA or a token "
            "of\n"
            "the token file; /version, /healthz, /livez and /readyz answer everybody. `sampan up`\n"
            "starts this role with certificates of its own.",
        .examples =
            "  sampan apiserver --data-dir /var/lib/sampan --port 6443 --tls-cert-file api.crt \\\n"
            "    --tls-private-key-file api.key --client-ca-file ca.crt --token-auth-file "
            "tokens.csv\n"
            "  curl --cacert ca.crt -H 'Authorization: Bearer TOKEN' \\\n"
            "    https://127.0.0.1:6443/api/v1/namespaces\n",
        .flags = flags,
        .flag_count = SP_COUNT(flags),
        .only_flags = true};
    return sp_flags_parse(&usage, &argc, argv);
}

int sp_apiserver_main(int argc, char **argv) {
    role r = {.o = {.bind = "0.0.0.0", .port = 6443, .level = SP_LOG_INFO}};
    int code = parse_flags(&r.o, argc, argv);
    if (code != SP_FLAGS_GO_ON) return code;
    sp_log_set_level(r.o.level);
    raise_file_limit();
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 256 << 10); /* fixed: what was large goes back to the system */
    code = run(&r);
    sp_tls_ctx_unref(r.config.tls);
    sp_tls_ctx_unref(r.config.kubelet);
    sp_buf_free(&r.tokens);
    sp_buf_free(&r.store_path);
    sp_store_flags_free(&r.o.store);
    return code;
}
