/* `sampan up`: everything on one machine. Checks what must hold, makes certificates and kubeconfigs
 * on first start, runs every role as a child process and says what happens, one line each. */
#include "base/commands.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/role.h"
#include "cli/member.h"
#include "cli/pki.h"
#include "cli/preflight.h"
#include "cli/supervisor.h"
#include "net/loop.h"
#include "net/own_address.h"
#include "net/process.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Passed on to the API server as they are. */
enum { STORE_FLAGS = 7 };
static const char *const store_flags[STORE_FLAGS] = {
    "store",        "etcd-prefix", "etcd-cafile",       "etcd-certfile",
    "etcd-keyfile", "etcd-user",   "etcd-password-file"};

typedef struct up {
    const char *store[STORE_FLAGS], *api_servers, *ca_dir;
    const char *join, *token;
    bool cluster_init, renew;
    const char *data_dir, *bind, *node_name, *node_ip, *roles, *pod_cidr, *bridge, *goaway_chance;
    sp_log_level level;
    uint16_t api_port, gateway_port, gateway_tls_port, agent_port, etcd_port;
    bool verbose, stop_containers;
    char node_name_buffer[HOST_NAME_MAX + 1], node_ip_buffer[46], dir_buffer[PATH_MAX];

    bool is_member, becomes_member; /* of a cluster whose etcd we run */
    sp_member member;

    sp_arena *arena;
    uv_loop_t loop;
    sp_signal *interrupt, *term, *replace;
    sp_supervisor *supervisor;
    size_t next_role; /* of role_table, not started yet */
    sp_timer *patience;
    int64_t began_ms;
    bool said_ready, stopping;
    int exit_code;
} up;

enum { STOP_GRACE_MS = 10000, TOKEN_TIMEOUT_MS = 20000, PATIENCE_MS = 5000 };

/* ---------- what the supervisor tells ---------- */

static bool start_next(up *u, sp_err *err);
static bool start_rest(up *u, sp_err *err);
static void stop(up *u, int exit_code);

static void on_token(void *ctx, const sp_process_result *r, const sp_err *err) {
    const up *u = ctx;
    if (!err && r->exit_code == 0)
        printf("%.*s", SP_ARG(r->out));
    else
        printf("a token to join could not be made; later: sampan cluster token --kubeconfig "
               "%s/kubeconfig\n",
               u->data_dir);
    fflush(stdout);
}

/* The first machine says how the next one comes. */
static void print_join_command(up *u) {
    char self[PATH_MAX];
    size_t size = sizeof self;
    sp_assert(uv_exepath(self, &size) == 0);
    const char *config = sp_arena_printf(u->arena, "%s/kubeconfig", u->data_dir).p;
    const char *const argv[] = {self, "cluster", "token", "--kubeconfig", config, NULL};
    const sp_process_params p = {
        .argv = argv, .timeout_ms = TOKEN_TIMEOUT_MS, .done = on_token, .ctx = u};
    sp_process_run(&u->loop, &p);
}

static void on_ready(void *ctx, const char *role, bool first, int64_t took_ms) {
    up *u = ctx;
    printf("%-12s %s (%lld ms)\n", role, first ? "ready" : "ready again", (long long)took_ms);
    sp_err err;
    bool etcd = strcmp(role, "etcd") == 0;
    if (etcd) u->patience = sp_timer_stop(u->patience);
    if (!u->stopping && !(etcd ? !first || start_next(u, &err) : start_rest(u, &err))) {
        fprintf(stderr, "sampan up: %s\n", err.text);
        stop(u, 1);
        return;
    }
    if (!u->said_ready && sp_supervisor_all_ready(u->supervisor)) {
        u->said_ready = true;
        printf("sampan is ready: %lld ms, API https://%s:%u, export KUBECONFIG=%s/kubeconfig\n",
               (long long)(sp_clock_mono_ms() - u->began_ms), u->bind, u->api_port, u->data_dir);
        sp_role_ready();
        if (u->becomes_member && !u->member.joins) print_join_command(u);
    }
    fflush(stdout);
}

static void on_exit_of_role(void *ctx, const char *role, const char *how, int64_t restart_ms) {
    const up *u = ctx;
    printf("%-12s ended (%s); starting again in %lld ms; its log: %s/logs/%s.log\n", role, how,
           (long long)restart_ms, u->data_dir, role);
    fflush(stdout);
}

static void on_not_replaced(void *ctx, const char *role, const char *how) {
    const up *u = ctx;
    printf("%-12s the new one ended before it was ready (%s), the old one goes on; its log: "
           "%s/logs/%s.log\n",
           role, how, u->data_dir, role);
    fflush(stdout);
}

/* A new binary in the place of ours, or none: the gateway hands over to a new process of itself. */
static void on_replace(void *ctx, int number) {
    (void)number;
    up *u = ctx;
    sp_err err = {0};
    if (u->stopping) return;
    if (!sp_supervisor_replace(u->supervisor, "gateway", "--take-over", &err))
        printf("%-12s not replaced: %s\n", "gateway", err.text);
    fflush(stdout);
}

/* After the whole cluster was off, its members wait for each other. */
static void on_patience(void *ctx) {
    up *u = ctx;
    u->patience = NULL;
    printf("%-12s waits for other members: it has no leader; its log: %s/logs/etcd.log\n", "etcd",
           u->data_dir);
    fflush(stdout);
}

static void on_stopped(void *ctx) {
    up *u = ctx;
    u->patience = sp_timer_stop(u->patience);
    u->supervisor = NULL;
    u->interrupt = sp_signal_stop(u->interrupt);
    u->term = sp_signal_stop(u->term);
    u->replace = sp_signal_stop(u->replace);
}

static void stop(up *u, int exit_code) {
    if (u->stopping) return;
    u->stopping = true;
    u->exit_code = exit_code;
    sp_supervisor_stop(u->supervisor, STOP_GRACE_MS, on_stopped);
}

static void on_hopeless(void *ctx, const char *role, const char *how, sp_str tail) {
    up *u = ctx;
    fprintf(stderr, "sampan up: %s does not start (%s). The end of its log:\n%.*s\n", role, how,
            SP_ARG(tail));
    stop(u, 1);
}

static bool wants(const up *u, const char *role);

static void on_signal(void *ctx, int number) {
    (void)number;
    up *u = ctx;
    if (u->stopping) return;
    printf("stopping\n");
    if (wants(u, "agent") && !u->stop_containers)
        printf("containers go on, and the next start takes them over; to end them:\n"
               "  sampan agent --cleanup --data-dir %s/agent\n",
               u->data_dir);
    fflush(stdout);
    stop(u, 0);
}

/* ---------- the roles and their arguments ---------- */

static const char *in_dir(up *u, const char *name) {
    return sp_arena_printf(u->arena, "%s/%s", u->data_dir, name).p;
}

static const char *number(up *u, unsigned n) {
    return sp_arena_printf(u->arena, "%u", n).p;
}

static bool wants(const up *u, const char *role) {
    if (strcmp(role, "etcd") == 0) return u->is_member;
    for (sp_str part, rest = sp_str_z(u->roles); sp_str_cut(&rest, ',', &part);)
        if (sp_str_eqz(sp_str_trim(part), role)) return true;
    return false;
}

typedef SP_VEC(const char *) args;

static void push_pairs(args *a, const char *const *pairs) {
    for (; pairs[0]; pairs += 2) {
        if (!pairs[1]) continue;
        sp_vec_push(a, pairs[0]);
        sp_vec_push(a, pairs[1]);
    }
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL, NULL})

static void etcd_args(up *u, args *a) {
    push_pairs(a, PAIRS("--data-dir", u->data_dir));
}

static void apiserver_args(up *u, args *a) {
    const char *tokens = in_dir(u, "tokens.csv");
    push_pairs(a, PAIRS("--data-dir", in_dir(u, "apiserver"), "--bind-address", u->bind, "--port",
                        number(u, u->api_port), "--tls-cert-file", in_dir(u, "pki/apiserver.crt"),
                        "--tls-private-key-file", in_dir(u, "pki/apiserver.key"),
                        "--client-ca-file", in_dir(u, "pki/ca.crt"), "--kubelet-client-certificate",
                        in_dir(u, "pki/apiserver-kubelet-client.crt"), "--kubelet-client-key",
                        in_dir(u, "pki/apiserver-kubelet-client.key"), "--goaway-chance",
                        u->goaway_chance));
    if (sp_file_exists(tokens)) push_pairs(a, PAIRS("--token-auth-file", tokens));
    if (u->is_member)
        push_pairs(a, PAIRS("--etcd-servers", sp_member_etcd_servers(u->arena, &u->member),
                            "--etcd-cafile", in_dir(u, "pki/etcd-ca.crt"), "--etcd-certfile",
                            in_dir(u, "pki/etcd-client.crt"), "--etcd-keyfile",
                            in_dir(u, "pki/etcd-client.key"), "--join-dir", in_dir(u, "pki"),
                            "--advertise-address", u->node_ip));
    for (size_t i = 0; i < STORE_FLAGS; i++)
        push_pairs(a, PAIRS(sp_arena_printf(u->arena, "--%s", store_flags[i]).p, u->store[i]));
}

/* Others may run the same roles. */
static bool is_shared(const up *u) {
    return u->is_member || u->api_servers || (u->store[0] && strncmp(u->store[0], "etcd", 4) == 0);
}

static void controllers_args(up *u, args *a) {
    push_pairs(a, PAIRS("--kubeconfig", in_dir(u, "conf/controllers.kubeconfig")));
    if (is_shared(u)) sp_vec_push(a, "--leader-elect");
}

static void agent_args(up *u, args *a) {
    push_pairs(a, PAIRS("--kubeconfig", in_dir(u, "conf/agent.kubeconfig"), "--node-name",
                        u->node_name, "--node-ip", u->node_ip, "--data-dir", in_dir(u, "agent"),
                        "--pod-cidr", u->pod_cidr, "--bridge", u->bridge, "--port",
                        number(u, u->agent_port), "--tls-cert-file", in_dir(u, "pki/agent.crt"),
                        "--tls-private-key-file", in_dir(u, "pki/agent.key"), "--client-ca-file",
                        in_dir(u, "pki/ca.crt"), "--tunnel", "never"));
    if (u->stop_containers) sp_vec_push(a, "--stop-containers");
}

static void gateway_args(up *u, args *a) {
    const char *control = in_dir(u, "gateway.sock");
    if (strlen(control) < 90) push_pairs(a, PAIRS("--control-socket", control)); /* sun_path */
    push_pairs(a, PAIRS("--kubeconfig", in_dir(u, "conf/gateway.kubeconfig"), "--http-port",
                        number(u, u->gateway_port), "--https-port", number(u, u->gateway_tls_port),
                        "--node-address", u->node_ip, "--node-name", u->node_name, "--state-dir",
                        in_dir(u, "gateway")));
}

static const struct {
    const char *name;
    void (*fill)(up *u, args *a);
} role_table[] = {
    {"etcd", etcd_args},   {"apiserver", apiserver_args}, {"controllers", controllers_args},
    {"agent", agent_args}, {"gateway", gateway_args},
};

/* The next role that is wanted, if there is one. */
static bool start_next(up *u, sp_err *err) {
    while (u->next_role < SP_COUNT(role_table) && !wants(u, role_table[u->next_role].name))
        u->next_role++;
    if (u->next_role == SP_COUNT(role_table)) return true;
    size_t i = u->next_role++;
    args list = {0};
    role_table[i].fill(u, &list);
    push_pairs(&list, PAIRS("--log-level", sp_log_level_name(u->level)));
    sp_role_spec spec = {.name = role_table[i].name,
                         .last = strcmp(role_table[i].name, "etcd") == 0};
    spec.args.p = list.p, spec.args.n = list.n, spec.args.cap = list.cap;
    return sp_supervisor_add(u->supervisor, spec, err);
}

static bool start_rest(up *u, sp_err *err) {
    while (u->next_role < SP_COUNT(role_table))
        if (!start_next(u, err)) return false;
    return true;
}

/* etcd first and then the API server: the others would only find its door closed and wait before
 * they try again. */
static bool start_roles(up *u, sp_err *err) {
    const sp_supervisor_config config = {
        .log_dir = u->verbose ? NULL : in_dir(u, "logs"),
        .on_ready = on_ready,
        .on_exit = on_exit_of_role,
        .on_not_replaced = on_not_replaced,
        .on_hopeless = on_hopeless,
        .ctx = u,
    };
    if (config.log_dir && !sp_mkdir_all(config.log_dir, 0750, err)) return false;
    u->supervisor = sp_supervisor_new(&u->loop, &config);
    bool waits = wants(u, "etcd") || wants(u, "apiserver");
    if (u->is_member) u->patience = sp_timer_start(&u->loop, PATIENCE_MS, on_patience, u);
    return start_next(u, err) && (waits || start_rest(u, err));
}

/* ---------- before that ---------- */

static bool check_roles(const up *u, sp_err *err) {
    size_t known = 0;
    for (sp_str part, rest = sp_str_z(u->roles); sp_str_cut(&rest, ',', &part);) {
        bool found = false;
        for (size_t i = 1; i < SP_COUNT(role_table); i++) /* etcd is no role to choose */
            found = found || sp_str_eqz(sp_str_trim(part), role_table[i].name);
        if (!found)
            return sp_fail(
                err, SP_INVALID,
                "there is no role \"%.*s\"; the roles are apiserver, controllers, agent, gateway",
                SP_ARG(part));
        known++;
    }
    return known || sp_fail(err, SP_INVALID, "--roles names none");
}

static bool become_member(up *u, sp_err *err) {
    const sp_join_request r = {.dir = u->data_dir,
                               .name = u->node_name,
                               .ip = u->node_ip,
                               .client_port = u->etcd_port,
                               .peer_port = (uint16_t)(u->etcd_port + 1),
                               .api_port = u->api_port,
                               .server = u->join,
                               .token = u->token};
    return u->join ? sp_member_join(&r, err) : sp_member_begin(&r, err);
}

static bool prepare_keys(up *u, sp_err *err) {
    bool found = false;
    if (u->becomes_member && !become_member(u, err)) return false;
    if (!sp_member_load(u->arena, u->data_dir, &u->member, &found, err)) return false;
    const char *others = u->api_servers;
    if (found && !others) others = sp_member_api_servers(u->arena, &u->member);
    const sp_pki_config config = {.dir = u->data_dir,
                                  .host = strcmp(u->bind, "0.0.0.0") == 0 ? "127.0.0.1" : u->bind,
                                  .port = u->api_port,
                                  .node_name = u->node_name,
                                  .node_ip = u->node_ip,
                                  .ca_dir = u->ca_dir,
                                  .others = others && *others ? others : NULL,
                                  .renew = u->renew,
                                  .etcd = found};
    return sp_pki_ensure(&config, err);
}

/* In a child: the supervisor itself never touches keys and stays small. */
static bool make_pki(up *u, sp_err *err) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) return sp_fail_errno(err, errno, "fork");
    if (pid == 0) {
        sp_err why = {0};
        bool ok = prepare_keys(u, &why);
        if (!ok) fprintf(stderr, "sampan up: %s\n", why.text);
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return sp_fail(err, SP_INTERNAL,
                       u->join ? "this machine has not joined"
                               : "the certificates in %s/pki could not be made",
                       u->data_dir);
    return sp_member_load(u->arena, u->data_dir, &u->member, &u->is_member, err);
}

static void find_data_dir(up *u) {
    if (!u->data_dir) {
        const char *home = getenv("HOME");
        if (geteuid() == 0 || !home)
            u->data_dir = "/var/lib/sampan";
        else
            snprintf(u->dir_buffer, sizeof u->dir_buffer, "%s/.local/share/sampan", home),
                u->data_dir = u->dir_buffer;
    }
    if (u->data_dir[0] != '/' && realpath(".", u->dir_buffer)) {
        size_t n = strlen(u->dir_buffer);
        const char *below = strncmp(u->data_dir, "./", 2) == 0 ? u->data_dir + 2 : u->data_dir;
        snprintf(u->dir_buffer + n, sizeof u->dir_buffer - n, "/%s", below);
        u->data_dir = u->dir_buffer;
    }
}

/* A member is what it was when it became one. */
static bool fill_from_member(up *u, sp_err *err) {
    const sp_member *m = &u->member;
    if (!sp_member_load(u->arena, u->data_dir, &u->member, &u->is_member, err)) return false;
    if (!u->is_member) return true;
    if ((u->node_name && strcmp(u->node_name, m->name) != 0) ||
        (u->node_ip && strcmp(u->node_ip, m->ip) != 0) ||
        (u->api_port && u->api_port != m->api_port))
        return sp_fail(
            err, SP_CONFLICT,
            "this machine is the member %s at %s, its API on port %u; to make it another "
            "one: sampan cluster remove %s, an empty --data-dir, and --join",
            m->name, m->ip, m->api_port, m->name);
    u->node_name = m->name;
    u->node_ip = m->ip;
    u->api_port = m->api_port;
    u->etcd_port = m->client_port;
    if (u->join || u->cluster_init)
        printf("this machine is the member %s already: %s is not needed any more\n", m->name,
               u->join ? "--join" : "--cluster-init");
    return true;
}

static void fill_defaults(up *u) {
    if (!u->api_port) u->api_port = 6443;
    if (!u->node_name) {
        gethostname(u->node_name_buffer, sizeof u->node_name_buffer - 1);
        for (char *c = u->node_name_buffer; *c; c++)
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
        u->node_name = u->node_name_buffer;
    }
    if (!u->node_ip) {
        sp_own_address(NULL, u->node_ip_buffer);
        u->node_ip = u->node_ip_buffer;
    }
    u->becomes_member = !u->is_member && (u->join || u->cluster_init);
    u->is_member |= u->becomes_member;
    if (!u->bind) u->bind = u->is_member ? u->node_ip : "127.0.0.1";
}

static bool is_loopback(const char *address) {
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static bool check_cluster(const up *u, sp_err *err) {
    const char *flag = u->join ? "--join" : "--cluster-init";
    if (!u->join != !u->token)
        return sp_fail(err, SP_INVALID,
                       "--join and --token go together; `sampan cluster token` on a machine of the "
                       "cluster prints both");
    if (u->join && u->cluster_init)
        return sp_fail(err, SP_INVALID,
                       "--cluster-init is for the first machine, --join for the others");
    if (!u->is_member) return true;
    if (u->store[0] || u->ca_dir)
        return sp_fail(err, SP_INVALID,
                       "%s cannot be given to a member of a cluster whose etcd Sampan runs",
                       u->store[0] ? "--store" : "--ca-dir");
    if (!wants(u, "apiserver"))
        return sp_fail(err, SP_INVALID, "a member of the cluster runs the role apiserver: --roles");
    if (is_loopback(u->node_ip) || is_loopback(u->bind))
        return sp_fail(err, SP_INVALID,
                       "other machines cannot reach %s: give %s with an address of this machine",
                       is_loopback(u->node_ip) ? u->node_ip : u->bind,
                       is_loopback(u->node_ip) ? "--node-ip" : "--bind-address");
    if (u->becomes_member &&
        sp_file_exists(sp_arena_printf(u->arena, "%s/apiserver/state.db", u->data_dir).p))
        return sp_fail(err, SP_CONFLICT,
                       "%s holds the objects of one machine, which %s would leave behind: begin "
                       "with an empty --data-dir",
                       u->data_dir, flag);
    return true;
}

static bool run(up *u, sp_err *err) {
    bool gateway = wants(u, "gateway");
    const sp_preflight preflight = {.data_dir = u->data_dir,
                                    .bind = u->bind,
                                    .api_port = u->api_port,
                                    .gateway_port = gateway ? u->gateway_port : 0,
                                    .gateway_tls_port = gateway ? u->gateway_tls_port : 0,
                                    .agent = wants(u, "agent"),
                                    .etcd = u->is_member,
                                    .ip = u->node_ip,
                                    .etcd_client_port = u->etcd_port,
                                    .etcd_peer_port = (uint16_t)(u->etcd_port + 1)};
    if (!check_roles(u, err) || !check_cluster(u, err) || !sp_preflight_run(&preflight, err) ||
        !make_pki(u, err))
        return false;
    uv_loop_init(&u->loop);
    u->interrupt = sp_signal_watch(&u->loop, SIGINT, on_signal, u);
    u->term = sp_signal_watch(&u->loop, SIGTERM, on_signal, u);
    u->replace = sp_signal_watch(&u->loop, SIGUSR2, on_replace, u);
    signal(SIGPIPE, SIG_IGN);
    bool started = start_roles(u, err);
    if (!started && u->supervisor)
        stop(u, 1);
    else if (!started)
        on_stopped(u);
    uv_run(&u->loop, UV_RUN_DEFAULT);
    uv_loop_close(&u->loop);
    return started;
}

int sp_up_main(int argc, char **argv) {
    up u = {.roles = "apiserver,controllers,agent,gateway",
            .pod_cidr = "10.88.0.0/16",
            .bridge = "sampan0",
            .level = SP_LOG_INFO,
            .etcd_port = 2379,
            .gateway_port = 8080,
            .gateway_tls_port = 8443,
            .agent_port = 10250};
    const sp_flag flags[] = {
        {"data-dir", 'd', SP_FLAG_STR, &u.data_dir, "DIR",
         "where everything is kept (/var/lib/sampan)"},
        {"api-port", 0, SP_FLAG_PORT, &u.api_port, "N", "port of the API server (6443)"},
        {"gateway-port", 0, SP_FLAG_PORT, &u.gateway_port, "N",
         "port on which Ingress and HTTPRoute rules answer (8080)"},
        {"gateway-tls-port", 0, SP_FLAG_PORT, &u.gateway_tls_port, "N",
         "of the gateway: HTTPS, opened when a certificate is there (8443)"},
        {"agent-port", 0, SP_FLAG_PORT, &u.agent_port, "N",
         "port of the node agent, for logs (10250)"},
        {"bind-address", 0, SP_FLAG_STR, &u.bind, "ADDR",
         "address of the API server (127.0.0.1; in a cluster: that of the node)"},
        {"node-name", 0, SP_FLAG_STR, &u.node_name, "NAME", "name of this node (the host name)"},
        {"node-ip", 0, SP_FLAG_STR, &u.node_ip, "ADDR",
         "address of this node (that of the default route)"},
        {"pod-cidr", 0, SP_FLAG_STR, &u.pod_cidr, "CIDR", "addresses of pods (10.88.0.0/16)"},
        {"bridge", 0, SP_FLAG_STR, &u.bridge, "NAME", "network bridge of pods (sampan0)"},
        {"roles", 0, SP_FLAG_STR, &u.roles, "LIST",
         "what to run (apiserver,controllers,agent,gateway)"},
        {"store", 0, SP_FLAG_STR, &u.store[0], "URL",
         "where the objects are kept: sqlite:FILE (DIR/apiserver/state.db), or\n"
         "etcd://HOST:PORT[,HOST:PORT...][/PREFIX], shared with others; etcds:// for TLS"},
        {"etcd-prefix", 0, SP_FLAG_STR, &u.store[1], "PREFIX", "before every key (/sampan)"},
        {"etcd-cafile", 0, SP_FLAG_STR, &u.store[2], "FILE", "PEM CA of the etcd servers"},
        {"etcd-certfile", 0, SP_FLAG_STR, &u.store[3], "FILE", "PEM client certificate for etcd"},
        {"etcd-keyfile", 0, SP_FLAG_STR, &u.store[4], "FILE", "PEM key of that certificate"},
        {"etcd-user", 0, SP_FLAG_STR, &u.store[5], "NAME", "user, where etcd knows users"},
        {"etcd-password-file", 0, SP_FLAG_STR, &u.store[6], "FILE", "its password"},
        {"api-servers", 0, SP_FLAG_STR, &u.api_servers, "URL,...",
         "other API servers on the same etcd, which our roles use when ours is gone"},
        {"ca-dir", 0, SP_FLAG_STR, &u.ca_dir, "DIR",
         "at the first start: take ca.crt and ca.key from there (DIR/pki of another machine)"},
        {"cluster-init", 0, SP_FLAG_BOOL, &u.cluster_init, NULL,
         "begin a cluster: the objects are kept by an etcd that we run, and others may join"},
        {"join", 0, SP_FLAG_STR, &u.join, "URL",
         "at the first start: become a member of the cluster whose API server is there"},
        {"token", 0, SP_FLAG_STR, &u.token, "TOKEN", "for --join: sampan cluster token prints it"},
        {"etcd-port", 0, SP_FLAG_PORT, &u.etcd_port, "N",
         "of our etcd, for clients; its members use the next one (2379)"},
        {"renew-certs", 0, SP_FLAG_BOOL, &u.renew, NULL,
         "make all certificates anew, not only those that end within 30 days"},
        {"goaway-chance", 0, SP_FLAG_STR, &u.goaway_chance, "FRACTION",
         "of the API server: 0 to 0.02 of the HTTP/2 requests ask their connection to leave (0)"},
        {"stop-containers", 0, SP_FLAG_BOOL, &u.stop_containers, NULL,
         "stop the containers too when stopping; otherwise they go on\nand are taken over by the "
         "next start"},
        {"verbose", 'v', SP_FLAG_BOOL, &u.verbose, NULL,
         "logs to the terminal instead of DIR/logs"},
        SP_LOG_LEVEL_FLAG(&u.level),
    };
    const sp_usage usage = {"sampan up",
                            "[flags]",
                            "Runs the whole platform on this machine: API server, controllers, "
                            "node agent and gateway,\n"
                            "each as a process of its own, watched over and started again when it "
                            "ends. The first start\n"
                            "makes certificates and DIR/kubeconfig. Ctrl-C stops it.",
                            "  sampan up\n"
                            "  sampan up --cluster-init\n"
                            "  sampan up --join https://10.0.0.1:6443 --token TOKEN\n"
                            "  sampan up --data-dir ./data --api-port 16443 --gateway-port 18080\n"
                            "  export KUBECONFIG=/var/lib/sampan/kubeconfig; kubectl get nodes\n",
                            flags,
                            SP_COUNT(flags),
                            .only_flags = true};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    u.began_ms = sp_clock_mono_ms();
    u.arena = sp_arena_new();
    sp_err err = {0};
    find_data_dir(&u);
    bool ok = fill_from_member(&u, &err);
    if (ok) fill_defaults(&u);
    ok = ok && run(&u, &err);
    if (!ok) fprintf(stderr, "sampan up: %s\n", err.text);
    sp_arena_free(u.arena);
    return ok ? u.exit_code : 1;
}
