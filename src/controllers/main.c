/* `sampan controllers`: one process, one loop, one HTTP/2 connection to the API server, one
 * informer per collection shared by all controllers of the table below. It needs nothing but a
 * kubeconfig and may be killed at any moment: everything is read again at the next start. Where
 * several run (--leader-elect), one acts and the others wait for its Lease. */
#include "controllers/controllers.h"

#include "base/commands.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/role.h"
#include "data/time.h"
#include "kube/leader.h"
#include "net/loop.h"
#include "net/server.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { MIN_NODE_GRACE_MS = 15000 };

typedef struct row {
    const char *name;
    void (*add)(sp_manager *m);
    const char *about;
} row;

static const row rows[] = {
    {"deployment", sp_add_deployment, "Deployments: rolling updates, rollback, pause"},
    {"replicaset", sp_add_replicaset, "ReplicaSets: as many pods as declared"},
    {"scheduler", sp_add_scheduler, "gives each new pod a node"},
    {"endpoints", sp_add_endpoints, "Endpoints and EndpointSlices of Services"},
    {"oam", sp_add_oam, "ApplicationConfigurations and Components (core.oam.dev)"},
    {"namespace", sp_add_namespace, "empties namespaces that are being deleted"},
    {"garbage", sp_add_garbage, "deletes what lost its owner; foreground and orphan deletion"},
    {"node", sp_add_node, "marks nodes whose agent does not answer"},
    {"eviction", sp_add_eviction, "deletes pods of nodes with NoExecute taints in their time"},
    {"podgc", sp_add_podgc, "deletes pods of nodes that no longer exist"},
    {"hpa", sp_add_hpa, "keeps replicas within an autoscaler's minimum and maximum"},
    {"serviceaccount", sp_add_serviceaccount, "the default ServiceAccount of each namespace"},
    {"certificate", sp_add_certificates, "Certificates of cert-manager.io: ACME, own CAs"},
    {"certificate-shim", sp_add_certificate_shim,
     "Certificates that Ingresses and Gateways ask for"},
};

typedef struct options {
    const char *kubeconfig;
    sp_log_level level;
    uint16_t metrics_port;
    sp_strs only, without;
    bool elect;
    const char *lease, *deadline, *retry, *lease_name, *node_grace;
} options;

typedef struct app {
    uv_loop_t loop;
    options o;
    sp_kube *kube;
    sp_leader *leader;   /* NULL: alone */
    sp_manager *manager; /* NULL: standing by */
    bool ready;
    sp_http_server *server;
    sp_signal *term, *interrupt;
    int stopping; /* the signal, 0 = none */
} app;

/* ---------- metrics and health ---------- */

static void answer(sp_http_res *res, int status, const char *type, sp_str body) {
    sp_header h = {SP_STR("content-type"), sp_str_z(type)};
    sp_http_reply(res, status, &h, 1, body);
}

static void serve(void *ctx, sp_http_req *req, sp_http_res *res) {
    app *x = ctx;
    bool synced = x->manager ? sp_manager_synced(x->manager) : x->ready;
    if (sp_str_eqz(req->path, "/healthz") || sp_str_eqz(req->path, "/livez")) {
        answer(res, 200, "text/plain", SP_STR("ok"));
    } else if (sp_str_eqz(req->path, "/readyz")) {
        answer(res, synced ? 200 : 503, "text/plain",
               synced ? SP_STR("ok") : SP_STR("the first lists are not in yet"));
    } else if (sp_str_eqz(req->path, "/metrics")) {
        sp_auto(sp_buf) b = {0};
        if (x->manager) sp_manager_metrics(x->manager, &b);
        if (x->leader)
            sp_buf_printf(&b,
                          "# TYPE leader_election_master_status gauge\n"
                          "leader_election_master_status{name=\"%s\"} %d\n",
                          x->o.lease_name, sp_leader_is_leading(x->leader));
        answer(res, 200, "text/plain; version=0.0.4", sp_buf_str(&b));
    } else {
        answer(res, 404, "text/plain", SP_STR("/healthz, /readyz and /metrics are here\n"));
    }
}

static bool start_server(app *x, sp_err *err) {
    if (!x->o.metrics_port) return true;
    sp_http_server_config c = {
        .host = "127.0.0.1", .port = x->o.metrics_port, .handler = serve, .ctx = x};
    return sp_http_server_start(&x->loop, &c, &x->server, err) ||
           sp_err_wrap(err, "--metrics-port %u", x->o.metrics_port);
}

/* ---------- choosing controllers ---------- */

static bool listed(const sp_strs *list, const char *name) {
    sp_vec_each(list, s) if (sp_str_eqz(*s, name)) return true;
    return false;
}

static bool check_names(const sp_strs *list, sp_err *err) {
    sp_vec_each(list, s) {
        bool known = false;
        for (size_t i = 0; i < SP_COUNT(rows); i++) known |= sp_str_eqz(*s, rows[i].name);
        if (!known)
            return sp_fail(err, SP_INVALID, "there is no controller \"%.*s\"; see --help",
                           SP_ARG(*s));
    }
    return true;
}

static void add_controllers(app *x) {
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        bool chosen = !x->o.only.n || listed(&x->o.only, rows[i].name);
        if (chosen && !listed(&x->o.without, rows[i].name)) rows[i].add(x->manager);
    }
}

/* ---------- running ---------- */

static void on_signal(void *ctx, int signum) {
    app *x = ctx;
    x->stopping = signum;
    uv_stop(&x->loop);
}

static void say_ready(app *x) {
    if (!x->ready) sp_role_ready();
    x->ready = true;
}

static void on_synced(void *ctx) {
    app *x = ctx;
    sp_info("controllers are running", SP_KV("server", sp_kube_server(x->kube)));
    say_ready(x);
}

static void begin(app *x) {
    x->manager = sp_manager_new(x->kube, "sampan-controllers");
    add_controllers(x);
    sp_manager_on_synced(x->manager, on_synced, x);
}

static void on_standby(void *ctx) {
    say_ready(ctx);
}

static void on_leading(void *ctx) {
    app *x = ctx;
    sp_leader_fence(x->leader, x->kube);
    begin(x);
}

/* Another one may act already: nothing is tidied up, nothing more is sent. */
static void on_lost(void *ctx, const char *why) {
    (void)ctx;
    sp_error("no longer the leader; ending", SP_KV("reason", why));
    _exit(1);
}

static bool start_candidate(app *x, sp_err *err) {
    sp_leader_config c = {.kube = {.kubeconfig = x->o.kubeconfig, .user_agent = "sampan-leader"},
                          .namespace_ = "kube-system",
                          .name = x->o.lease_name,
                          .timing = SP_LEADER_TIMING_DEFAULT,
                          .standing_by = on_standby,
                          .leading = on_leading,
                          .lost = on_lost,
                          .ctx = x};
    return sp_leader_timing_read(&c.timing, x->o.lease, x->o.deadline, x->o.retry, err) &&
           sp_leader_start(&x->loop, &c, &x->leader, err);
}

static bool set_grace(const char *text, sp_err *err) {
    int64_t ms;
    if (!text) return true;
    if (!sp_duration_parse(sp_str_z(text), &ms) || ms < MIN_NODE_GRACE_MS)
        return sp_fail(err, SP_INVALID,
                       "--node-monitor-grace-period: \"%s\" is no duration of 15s or more", text);
    sp_node_set_grace(ms);
    return true;
}

static bool start(app *x, sp_err *err) {
    if (!check_names(&x->o.only, err) || !check_names(&x->o.without, err)) return false;
    if (!set_grace(x->o.node_grace, err)) return false;
    sp_kube_config c = {.kubeconfig = x->o.kubeconfig, .user_agent = "sampan-controllers"};
    if (!sp_kube_open(&x->loop, &c, &x->kube, err)) return false;
    if (x->o.elect && !start_candidate(x, err)) return false;
    if (!x->leader) begin(x);
    return start_server(x, err);
}

static void on_released(void *ctx) {
    ((app *)ctx)->leader = NULL;
}

/* First nothing is sent any more, then the Lease is given back. */
static void stop(app *x) {
    if (x->server) sp_http_server_stop(x->server, 0, NULL, NULL);
    x->manager = sp_manager_free(x->manager);
    x->kube = sp_kube_free(x->kube);
    if (x->leader) sp_leader_stop(x->leader, on_released, x);
    x->term = sp_signal_stop(x->term);
    x->interrupt = sp_signal_stop(x->interrupt);
    uv_run(&x->loop, UV_RUN_DEFAULT); /* until every handle is closed */
    uv_loop_close(&x->loop);
    sp_vec_free(&x->o.only);
    sp_vec_free(&x->o.without);
}

static int run(app *x) {
    sp_err err = {0};
    uv_loop_init(&x->loop);
    x->term = sp_signal_watch(&x->loop, SIGTERM, on_signal, x);
    x->interrupt = sp_signal_watch(&x->loop, SIGINT, on_signal, x);
    bool ok = start(x, &err);
    if (ok)
        uv_run(&x->loop, UV_RUN_DEFAULT);
    else
        sp_error("the controllers cannot start", SP_KV("error", (const char *)err.text));
    if (x->stopping) sp_info("stopping", SP_KV("signal", x->stopping));
    stop(x);
    return ok ? 0 : 1;
}

static sp_str about_text(sp_arena *a) {
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b,
                "Brings the cluster to what is declared. These controllers run, each may be left "
                "out:\n");
    for (size_t i = 0; i < SP_COUNT(rows); i++)
        sp_buf_printf(&b, "\n  %-16s %s", rows[i].name, rows[i].about);
    return sp_arena_str(a, sp_buf_str(&b));
}

int sp_controllers_main(int argc, char **argv) {
    app x = {.o = {.level = SP_LOG_INFO, .lease_name = "sampan-controllers"}};
    const sp_flag flags[] = {
        {"kubeconfig", 0, SP_FLAG_STR, &x.o.kubeconfig, "FILE",
         "how to reach the API server (else $KUBECONFIG, then ~/.kube/config)"},
        {"metrics-port", 0, SP_FLAG_PORT, &x.o.metrics_port, "PORT",
         "serve /metrics, /healthz and /readyz on 127.0.0.1:PORT"},
        {"only", 0, SP_FLAG_LIST, &x.o.only, "NAME", "run only this controller (may be repeated)"},
        {"without", 0, SP_FLAG_LIST, &x.o.without, "NAME", "leave this one out (may be repeated)"},
        {"node-monitor-grace-period", 0, SP_FLAG_STR, &x.o.node_grace, "DURATION",
         "a node whose agent is silent for so long is unreachable (40s, at least 15s: agents renew "
         "every 10s)"},
        {"leader-elect", 0, SP_FLAG_BOOL, &x.o.elect, NULL,
         "several of these run: the one that holds a Lease in kube-system acts, the others wait"},
        {"leader-elect-lease-duration", 0, SP_FLAG_STR, &x.o.lease, "DURATION",
         "after this time without a renewal another one takes over (15s)"},
        {"leader-elect-renew-deadline", 0, SP_FLAG_STR, &x.o.deadline, "DURATION",
         "a leader that could not renew for this time ends itself (10s)"},
        {"leader-elect-retry-period", 0, SP_FLAG_STR, &x.o.retry, "DURATION",
         "how often it is renewed and looked at (2s)"},
        {"leader-elect-resource-name", 0, SP_FLAG_STR, &x.o.lease_name, "NAME",
         "name of the Lease (sampan-controllers)"},
        SP_LOG_LEVEL_FLAG(&x.o.level),
    };
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_usage usage = {.command = "sampan controllers",
                            .synopsis = "[flags]",
                            .about = about_text(a).p,
                            .examples = "  sampan controllers --kubeconfig data/kubeconfig\n",
                            .flags = flags,
                            .flag_count = SP_COUNT(flags),
                            .only_flags = true};
    int code = sp_flags_parse(&usage, &argc, argv);
    if (code != SP_FLAGS_GO_ON) return code;
    sp_log_set_level(x.o.level);
    return run(&x);
}
