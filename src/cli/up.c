/* `sampan up`: everything on one machine. Checks what must hold, makes certificates and kubeconfigs
 * on first start, runs every role as a child process and says what happens, one line each. */
#include "base/commands.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/role.h"
#include "cli/pki.h"
#include "cli/preflight.h"
#include "cli/up.h"
#include "net/own_address.h"
#include "net/process.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STOP_GRACE_MS = 10000,
    TOKEN_TIMEOUT_MS = 20000,
    PATIENCE_MS = 5000,
    OTHERS_MS = 2000,
    OTHERS_AGAIN_MS = 5000
};

/* ---------- what the supervisor tells ---------- */

static const char *in_dir(sp_up *u, const char *name);
static bool make_pki(sp_up *u, sp_err *err);
static bool start_next(sp_up *u, sp_err *err);
static bool start_rest(sp_up *u, sp_err *err);
static void stop(sp_up *u, int exit_code);

static void on_token(void *ctx, const sp_process_result *r, const sp_err *err) {
    const sp_up *u = ctx;
    if (!err && r->exit_code == 0)
        printf("%.*s", SP_ARG(r->out));
    else
        printf("a token to join could not be made; later: sampan cluster token --kubeconfig "
               "%s/kubeconfig\n",
               u->data_dir);
    fflush(stdout);
}

static const char *own_program(sp_up *u) {
    char path[PATH_MAX];
    size_t size = sizeof path;
    sp_assert(uv_exepath(path, &size) == 0);
    return sp_arena_strz(u->arena, sp_str_z(path));
}

/* The first machine says how the next one comes. */
static void print_join_command(sp_up *u) {
    const char *config = sp_arena_printf(u->arena, "%s/kubeconfig", u->data_dir).p;
    const char *const argv[] = {own_program(u), "cluster", "token", "--kubeconfig", config, NULL};
    const sp_process_params p = {
        .argv = argv, .timeout_ms = TOKEN_TIMEOUT_MS, .done = on_token, .ctx = u};
    sp_process_run(&u->loop, &p);
}

/* ---------- from the file into etcd ---------- */

/* Out of the way, and kept: nobody reads it any more. */
static bool put_aside(sp_up *u, sp_err *err) {
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < SP_COUNT(ends); i++) {
        sp_str from = sp_arena_printf(u->arena, "%s/" SP_UP_FILE_STORE "%s", u->data_dir, ends[i]);
        sp_str to = sp_arena_printf(u->arena, "%s/" SP_UP_FILE_STORE ".before-cluster%s",
                                    u->data_dir, ends[i]);
        if (rename(from.p, to.p) != 0 && errno != ENOENT)
            return sp_fail_errno(err, errno, "rename %s", from.p);
    }
    return true;
}

static void on_moved(void *ctx, const sp_process_result *r, const sp_err *failed) {
    sp_up *u = ctx;
    sp_err err = {0};
    bool ok = !failed && r->exit_code == 0;
    u->moving = false;
    if (u->stopping) return;
    if (failed)
        err = *failed;
    else if (!ok)
        (void)sp_fail(&err, SP_INTERNAL, "%.*s", SP_ARG(sp_str_trim(r->err)));
    if (ok && put_aside(u, &err) && start_next(u, &err)) {
        printf("%-12s holds now what was in %s/" SP_UP_FILE_STORE " (kept as ….before-cluster)\n",
               "etcd", u->data_dir);
        fflush(stdout);
        return;
    }
    fprintf(stderr,
            "sampan up: the objects of this machine could not be moved into etcd: %s\n"
            "The file is as it was: to go on with it, remove %s/etcd and start without "
            "--cluster-init\n",
            err.text, u->data_dir);
    stop(u, 1);
}

static void move_house(sp_up *u) {
    sp_arena *a = u->arena;
    u->moves = false;
    u->moving = true;
    const char *const argv[] = {own_program(u),
                                "store",
                                "migrate",
                                "--from",
                                sp_arena_printf(a, "sqlite:%s/" SP_UP_FILE_STORE, u->data_dir).p,
                                "--to",
                                sp_arena_printf(a, "etcds://127.0.0.1:%u", u->member.client_port).p,
                                "--etcd-cafile",
                                in_dir(u, "pki/etcd-ca.crt"),
                                "--etcd-certfile",
                                in_dir(u, "pki/etcd-client.crt"),
                                "--etcd-keyfile",
                                in_dir(u, "pki/etcd-client.key"),
                                NULL};
    const sp_process_params p = {.argv = argv, .done = on_moved, .ctx = u};
    sp_process_run(&u->loop, &p);
}

/* ---------- one role after the other ---------- */

/* True: nothing is to be started just now, or it was. */
static bool start_what_waited(sp_up *u, const char *role, bool first, sp_err *err) {
    bool etcd = strcmp(role, "etcd") == 0;
    if (u->stopping || (etcd && !first)) return true;
    if (etcd && u->moves) {
        move_house(u);
        return true;
    }
    return etcd ? start_next(u, err) : start_rest(u, err);
}

/* ---------- machines that come later ---------- */

static bool is_known(const char *known, sp_str url) {
    for (sp_str one, rest = sp_str_z(known); sp_str_cut(&rest, ',', &one);)
        if (sp_str_eq(one, url)) return true;
    return false;
}

/* Their kubeconfigs name all API servers, and are read at their start. */
static void tell_roles(sp_up *u) {
    sp_err err = {0};
    sp_supervisor_restart(u->supervisor, "controllers");
    if (!u->stop_containers) sp_supervisor_restart(u->supervisor, "agent");
    if (sp_up_wants(u, "gateway") &&
        !sp_supervisor_replace(u->supervisor, "gateway", "--take-over", &err))
        printf("%-12s not replaced: %s\n", "gateway", err.text);
}

static bool has_news(const sp_up *u, const char *others) {
    for (sp_str one, rest = sp_str_z(others); sp_str_cut(&rest, ',', &one);)
        if (one.n && !is_known(u->known_others, one)) return true;
    return false;
}

/* True: the roles know all that the file says. */
static bool learn_of_others(sp_up *u) {
    sp_member m;
    bool found = false;
    sp_err err = {0};
    if (!sp_member_load(u->arena, u->data_dir, &m, &found, &err) || !found) return true;
    const char *others = sp_member_api_servers(u->arena, &m);
    if (has_news(u, others)) {
        u->becomes_member = u->reset = u->renew = false; /* that was done */
        printf("the cluster has grown: the roles learn of %s\n", others);
        fflush(stdout);
        if (!make_pki(u, &err)) {
            printf("they do not yet: %s\n", err.text);
            return false;
        }
        tell_roles(u);
    }
    u->known_others = others;
    return true;
}

static void ask_for_others(void *ctx) {
    sp_up *u = ctx;
    u->others_again = sp_timer_stop(u->others_again);
    if (u->stopping || u->api_servers) return;
    if (!learn_of_others(u))
        u->others_again = sp_timer_start(&u->loop, OTHERS_AGAIN_MS, ask_for_others, u);
    fflush(stdout);
}

static void on_others(uv_fs_poll_t *p, int status, const uv_stat_t *before, const uv_stat_t *now) {
    (void)before, (void)now;
    if (status == 0) ask_for_others(p->data);
}

static void watch_others(sp_up *u) {
    const char *path = in_dir(u, "etcd/member.json");
    u->known_others = sp_member_api_servers(u->arena, &u->member);
    uv_fs_poll_init(&u->loop, &u->others);
    u->others.data = u;
    uv_fs_poll_start(&u->others, on_others, path, OTHERS_MS);
    u->watches = true;
    ask_for_others(u); /* they may have come since it was read */
}

/* ---------- ready ---------- */

static void on_ready(void *ctx, const char *role, bool first, int64_t took_ms) {
    sp_up *u = ctx;
    printf("%-12s %s (%lld ms)\n", role, first ? "ready" : "ready again", (long long)took_ms);
    sp_err err;
    if (strcmp(role, "etcd") == 0) u->patience = sp_timer_stop(u->patience);
    if (!start_what_waited(u, role, first, &err)) {
        fprintf(stderr, "sampan up: %s\n", err.text);
        stop(u, 1);
        return;
    }
    if (!u->said_ready && !u->moving && sp_supervisor_all_ready(u->supervisor)) {
        u->said_ready = true;
        printf("sampan is ready: %lld ms, API https://%s:%u, export KUBECONFIG=%s/kubeconfig\n",
               (long long)(sp_clock_mono_ms() - u->began_ms), u->bind, u->api_port, u->data_dir);
        sp_role_ready();
        if (u->becomes_member && !u->member.joins) print_join_command(u);
        if (u->is_member) watch_others(u);
    }
    fflush(stdout);
}

/* Found once, at the start: an interface may go, and a role that listens there cannot start. */
static void say_address_gone(sp_up *u) {
    bool told = !*u->found_on || u->said_gone;
    if (told || sp_own_address_is_here(u->node_ip)) return;
    u->said_gone = true;
    fprintf(stderr,
            "sampan up: the address of this node, %s, is gone from this machine: at the start it "
            "was found on the interface %s. Start sampan again to have another one found, or say "
            "by --node-ip which one to use\n",
            u->node_ip, u->found_on);
}

static void on_exit_of_role(void *ctx, const char *role, int code, const char *how,
                            int64_t restart_ms) {
    sp_up *u = ctx;
    if (code == SP_MEMBER_GONE && strcmp(role, "etcd") == 0) {
        fprintf(stderr,
                "sampan up: this machine was removed from the cluster. To let it join again: empty "
                "%s, then sampan up --join\n",
                u->data_dir);
        stop(u, 1);
        return;
    }
    printf("%-12s ended (%s); starting again in %lld ms; its log: %s/logs/%s.log\n", role, how,
           (long long)restart_ms, u->data_dir, role);
    fflush(stdout);
    say_address_gone(u);
}

static void on_not_replaced(void *ctx, const char *role, const char *how) {
    const sp_up *u = ctx;
    printf("%-12s the new one ended before it was ready (%s), the old one goes on; its log: "
           "%s/logs/%s.log\n",
           role, how, u->data_dir, role);
    fflush(stdout);
}

/* A new binary in the place of ours, or none: the gateway hands over to a new process of itself. */
static void on_replace(void *ctx, int number) {
    (void)number;
    sp_up *u = ctx;
    sp_err err = {0};
    if (u->stopping) return;
    if (!sp_supervisor_replace(u->supervisor, "gateway", "--take-over", &err))
        printf("%-12s not replaced: %s\n", "gateway", err.text);
    fflush(stdout);
}

/* After the whole cluster was off, its members wait for each other. */
static void on_patience(void *ctx) {
    sp_up *u = ctx;
    u->patience = NULL;
    printf("%-12s waits for other members: it has no leader; its log: %s/logs/etcd.log\n", "etcd",
           u->data_dir);
    fflush(stdout);
}

static void on_stopped(void *ctx) {
    sp_up *u = ctx;
    u->patience = sp_timer_stop(u->patience);
    u->others_again = sp_timer_stop(u->others_again);
    if (u->watches) uv_close((uv_handle_t *)&u->others, NULL);
    u->supervisor = NULL;
    u->interrupt = sp_signal_stop(u->interrupt);
    u->term = sp_signal_stop(u->term);
    u->replace = sp_signal_stop(u->replace);
    signal(SIGTERM, SIG_IGN); /* a second one now shall not spoil a clean end */
    signal(SIGINT, SIG_IGN);
}

static void stop(sp_up *u, int exit_code) {
    if (u->stopping) return;
    u->stopping = true;
    u->exit_code = exit_code;
    sp_supervisor_stop(u->supervisor, STOP_GRACE_MS, on_stopped);
}

static void on_hopeless(void *ctx, const char *role, const char *how, sp_str tail) {
    sp_up *u = ctx;
    fprintf(stderr, "sampan up: %s does not start (%s). The end of its log:\n%.*s\n", role, how,
            SP_ARG(tail));
    say_address_gone(u);
    stop(u, 1);
}

static void on_signal(void *ctx, int number) {
    (void)number;
    sp_up *u = ctx;
    if (u->stopping) return;
    printf("stopping\n");
    if (sp_up_wants(u, "agent") && !u->stop_containers)
        printf("containers go on, and the next start takes them over; to end them:\n"
               "  sampan agent --cleanup --data-dir %s/agent\n",
               u->data_dir);
    fflush(stdout);
    stop(u, 0);
}

/* ---------- the roles and their arguments ---------- */

static const char *in_dir(sp_up *u, const char *name) {
    return sp_arena_printf(u->arena, "%s/%s", u->data_dir, name).p;
}

static const char *number(sp_up *u, unsigned n) {
    return sp_arena_printf(u->arena, "%u", n).p;
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

static void etcd_args(sp_up *u, args *a) {
    push_pairs(a, PAIRS("--data-dir", u->data_dir));
}

static void apiserver_args(sp_up *u, args *a) {
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
    for (size_t i = 0; i < SP_UP_STORE_FLAGS; i++)
        push_pairs(a,
                   PAIRS(sp_arena_printf(u->arena, "--%s", sp_up_store_flags[i]).p, u->store[i]));
}

/* Others may run the same roles. */
static bool is_shared(const sp_up *u) {
    return u->is_member || u->api_servers || (u->store[0] && strncmp(u->store[0], "etcd", 4) == 0);
}

static void controllers_args(sp_up *u, args *a) {
    push_pairs(a, PAIRS("--kubeconfig", in_dir(u, "conf/controllers.kubeconfig")));
    if (is_shared(u)) sp_vec_push(a, "--leader-elect");
}

static void agent_args(sp_up *u, args *a) {
    push_pairs(a, PAIRS("--kubeconfig", in_dir(u, "conf/agent.kubeconfig"), "--node-name",
                        u->node_name, "--node-ip", u->node_ip, "--data-dir", in_dir(u, "agent"),
                        "--pod-cidr", u->pod_cidr, "--bridge", u->bridge, "--port",
                        number(u, u->agent_port), "--tls-cert-file", in_dir(u, "pki/agent.crt"),
                        "--tls-private-key-file", in_dir(u, "pki/agent.key"), "--client-ca-file",
                        in_dir(u, "pki/ca.crt"), "--tunnel", "never"));
    if (u->stop_containers) sp_vec_push(a, "--stop-containers");
}

static void gateway_args(sp_up *u, args *a) {
    const char *control = in_dir(u, "gateway.sock");
    if (strlen(control) < 90) push_pairs(a, PAIRS("--control-socket", control)); /* sun_path */
    push_pairs(a, PAIRS("--kubeconfig", in_dir(u, "conf/gateway.kubeconfig"), "--http-port",
                        number(u, u->gateway_port), "--https-port", number(u, u->gateway_tls_port),
                        "--node-address", u->node_ip, "--node-name", u->node_name, "--state-dir",
                        in_dir(u, "gateway"), "--lost-address-reset", u->lost_address_reset));
}

static const struct {
    const char *name;
    void (*fill)(sp_up *u, args *a);
} role_table[] = {
    {"etcd", etcd_args},   {"apiserver", apiserver_args}, {"controllers", controllers_args},
    {"agent", agent_args}, {"gateway", gateway_args},
};

/* The next role that is wanted, if there is one. */
static bool start_next(sp_up *u, sp_err *err) {
    while (u->next_role < SP_COUNT(role_table) && !sp_up_wants(u, role_table[u->next_role].name))
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

static bool start_rest(sp_up *u, sp_err *err) {
    while (u->next_role < SP_COUNT(role_table))
        if (!start_next(u, err)) return false;
    return true;
}

/* etcd first and then the API server: the others would only find its door closed and wait before
 * they try again. */
static bool start_roles(sp_up *u, sp_err *err) {
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
    bool waits = sp_up_wants(u, "etcd") || sp_up_wants(u, "apiserver");
    if (u->is_member) u->patience = sp_timer_start(&u->loop, PATIENCE_MS, on_patience, u);
    return start_next(u, err) && (waits || start_rest(u, err));
}

/* ---------- before that ---------- */

static bool become_member(sp_up *u, sp_err *err) {
    sp_auto(sp_buf) token = {0};
    if (u->token_file && !sp_file_read(u->token_file, 4096, &token, err))
        return sp_err_wrap(err, "--token-file");
    const sp_join_request r = {.dir = u->data_dir,
                               .name = u->node_name,
                               .ip = u->node_ip,
                               .client_port = u->etcd_port,
                               .peer_port = (uint16_t)(u->etcd_port + 1),
                               .api_port = u->api_port,
                               .pod_cidr = u->pod_cidr,
                               .server = u->join,
                               .token = u->token_file ? sp_buf_z(&token) : u->token};
    return u->join ? sp_member_join(&r, err) : sp_member_begin(&r, err);
}

static bool prepare_keys(sp_up *u, sp_err *err) {
    bool found = false;
    if (u->becomes_member && !become_member(u, err)) return false;
    if (u->reset && !sp_member_reset(u->data_dir, err)) return false;
    if (!sp_member_load(u->arena, u->data_dir, &u->member, &found, err)) return false;
    const char *others = u->api_servers;
    if (found && !others) others = sp_member_api_servers(u->arena, &u->member);
    const char *everywhere = found ? u->node_ip : "127.0.0.1"; /* others join at this one */
    const sp_pki_config config = {.dir = u->data_dir,
                                  .host = strcmp(u->bind, "0.0.0.0") == 0 ? everywhere : u->bind,
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
static bool make_pki(sp_up *u, sp_err *err) {
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
                       u->join && u->becomes_member
                           ? "this machine has not joined"
                           : "the certificates in %s/pki could not be made",
                       u->data_dir);
    return sp_member_load(u->arena, u->data_dir, &u->member, &u->is_member, err);
}

static bool run(sp_up *u, sp_err *err) {
    bool gateway = sp_up_wants(u, "gateway");
    const sp_preflight preflight = {.data_dir = u->data_dir,
                                    .bind = u->bind,
                                    .api_port = u->api_port,
                                    .gateway_port = gateway ? u->gateway_port : 0,
                                    .gateway_tls_port = gateway ? u->gateway_tls_port : 0,
                                    .agent = sp_up_wants(u, "agent"),
                                    .etcd = u->is_member,
                                    .ip = u->node_ip,
                                    .etcd_client_port = u->etcd_port,
                                    .etcd_peer_port = (uint16_t)(u->etcd_port + 1)};
    if (!sp_up_check(u, err) || !sp_preflight_run(&preflight, err) || !make_pki(u, err))
        return false;
    if (!u->pod_cidr) u->pod_cidr = u->is_member ? u->member.pod_cidr : SP_POD_CIDR;
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
    sp_up u = {0};
    sp_err err = {0};
    u.began_ms = sp_clock_mono_ms();
    u.arena = sp_arena_new();
    int rc = sp_up_read(&u, argc, argv);
    if (rc == SP_FLAGS_GO_ON) {
        bool ok = run(&u, &err);
        if (!ok) fprintf(stderr, "sampan up: %s\n", err.text);
        rc = ok ? u.exit_code : 1;
    }
    sp_arena_free(u.arena);
    return rc;
}
