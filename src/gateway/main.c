/* `sampan gateway`: flags, then one loop with the API client, the control side and the data path.
 */
#include "base/clock.h"
#include "base/commands.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/role.h"
#include "data/time.h"
#include "gateway/command.h"
#include "gateway/control.h"
#include "gateway/files.h"
#include "gateway/handover.h"
#include "gateway/lost_address.h"
#include "gateway/metrics.h"
#include "gateway/netroute.h"
#include "gateway/tls_default.h"
#include "gateway/vip/control.h"
#include "gateway/vip/run.h"
#include "gateway/vip/will.h"
#include "net/loop.h"
#include "net/own_address.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct gateway {
    /* flags */
    const char *kubeconfig, *bind, *node_address, *node_name, *cluster_ips, *service_cidr,
        *access_log, *access_log_format;
    const char *sticky_key_file, *state_dir;
    const char *metrics_bind, *endpoint_wait, *connect_timeout, *response_timeout, *idle_timeout;
    const char *grace, *control_socket, *keepalived_conf, *lost_address_reset, *io_engine;
    sp_log_level level;
    uint16_t http_port, https_port, metrics_port;
    int64_t max_connections, loops;
    bool verbose, take_over, exact, check, print_objects;
    const char *haproxy_cfg; /* then there is no API server */
    /* from them */
    sp_translate_options options;
    sp_worker_settings settings;
    sp_buf sticky_key;
    uint32_t grace_ms, lost_address_ms;
    char own_address[46];
    /* the parts */
    uv_loop_t loop;
    sp_kube *kube;
    sp_manager *manager;
    sp_sockets *sockets;
    sp_fleet *fleet;
    sp_control *control;
    sp_files *files;
    sp_vip_control *vips;
    sp_lost_address *lost_address; /* NULL = connections stay */
    sp_http_server *server;
    sp_gateway_metrics metrics;
    sp_report_source source;
    sp_admin *admin;
    sp_handover *handover;
    sp_signal *term, *interrupt, *upgrade, *hangup;
    int predecessor; /* the connection to it, until we serve; -1 */
    sp_timer *late;  /* a successor that does not get ready */
    sp_timer *settle;
    int exit_code;
    bool stopping, handed_over;
} gateway;

enum {
    DEFAULT_HTTP_PORT = 8080,
    DEFAULT_HTTPS_PORT = 8443,
    CLOSING_TURNS = 8,
    LAST_REQUEST_MS = 3000, /* of a kept connection, when a successor has taken over */
    TAKE_OVER_MS = 60000    /* for a successor to get its configuration */
};

/* --- what the flags mean --- */

static bool read_duration(const char *flag, const char *text, uint32_t *ret_ms, sp_err *err) {
    int64_t ms;
    if (!sp_duration_parse(sp_str_z(text), &ms) || ms < 0 || ms > 86400000)
        return sp_fail(err, SP_BAD_REQUEST, "--%s %s: not a duration like 500ms, 3s or 1m", flag,
                       text);
    *ret_ms = (uint32_t)ms;
    return true;
}

static bool read_durations(gateway *g, sp_err *err) {
    const struct {
        const char *flag, *text;
        uint32_t *to;
    } rows[] = {
        {"endpoint-wait", g->endpoint_wait, &g->settings.endpoint_wait_ms},
        {"connect-timeout", g->connect_timeout, &g->settings.connect_timeout_ms},
        {"response-timeout", g->response_timeout, &g->settings.response_timeout_ms},
        {"idle-timeout", g->idle_timeout, &g->settings.idle_timeout_ms},
        {"grace", g->grace, &g->grace_ms},
        {"lost-address-reset", g->lost_address_reset, &g->lost_address_ms},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++)
        if (rows[i].text && !read_duration(rows[i].flag, rows[i].text, rows[i].to, err))
            return false;
    return true;
}

static bool read_addresses(gateway *g, sp_err *err) {
    sp_addr node;
    if (!sp_addr_parse(sp_str_z(g->bind), 0, &g->options.bind))
        return sp_fail(err, SP_BAD_REQUEST, "--bind %s: not an IP address", g->bind);
    if (!g->node_address && !sp_addr_is_any(&g->options.bind)) g->node_address = g->bind;
    if (!g->node_address) {
        sp_own_address(NULL, g->own_address, NULL);
        g->node_address = g->own_address;
    }
    if (!sp_addr_parse(sp_str_z(g->node_address), 0, &node))
        return sp_fail(err, SP_BAD_REQUEST, "--node-address %s: not an IP address",
                       g->node_address);
    g->options.node_address = g->node_address;
    g->options.http_port = g->http_port;
    g->options.https_port = g->https_port;
    g->options.node_name = g->node_name;
    return true;
}

/* Without a key the values of sticky cookies can be found out by trying names. */
static bool read_sticky_key(gateway *g, sp_err *err) {
    enum { KEY_BYTES_MAX = 4096 };
    if (!g->sticky_key_file) return true;
    if (!sp_file_read(g->sticky_key_file, KEY_BYTES_MAX, &g->sticky_key, err))
        return sp_err_wrap(err, "--sticky-key-file");
    g->options.sticky_key = sp_str_trim(sp_buf_str(&g->sticky_key));
    if (g->options.sticky_key.n < SP_STICKY_KEY_MIN)
        return sp_fail(err, SP_BAD_REQUEST, "--sticky-key-file %s: %d bytes at least",
                       g->sticky_key_file, SP_STICKY_KEY_MIN);
    return true;
}

/* Read or made before it is needed, so that it is known where it is kept. */
static bool keep_default_cert(const gateway *g, sp_err *err) {
    sp_tls_cert cert;
    if (!g->state_dir) return true;
    return sp_tls_default_cert(g->state_dir, &cert, err) ||
           sp_err_wrap(err, "--state-dir %s", g->state_dir);
}

static bool open_access_log(gateway *g, sp_err *err) {
    if (!sp_access_format_parse(g->access_log_format, &g->settings.access_log_format))
        return sp_fail(err, SP_BAD_REQUEST,
                       "--access-log-format %s: text, json, common, combined or haproxy",
                       g->access_log_format);
    g->settings.access_log_fd = g->verbose ? STDERR_FILENO : -1;
    if (!g->access_log) return true;
    if (strcmp(g->access_log, "-") == 0) {
        g->settings.access_log_fd = STDOUT_FILENO;
        return true;
    }
    int fd = open(g->access_log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) return sp_fail_errno(err, errno, "--access-log %s", g->access_log);
    g->settings.access_log_fd = fd;
    return true;
}

static bool choose_loops(gateway *g, size_t *ret, sp_err *err) {
    if (g->loops < 0 || g->loops > 256)
        return sp_fail(err, SP_BAD_REQUEST, "--loops %lld: 1 to 256, or 0 for one per CPU",
                       (long long)g->loops);
    *ret = g->loops ? (size_t)g->loops : sp_fleet_default_loops();
    return sp_engine_choose(g->io_engine, &g->settings.engine, err);
}

/* Two descriptors per connection, and as many as the system lets us have. */
static void raise_limits(gateway *g) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0) return;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) < 0 && getrlimit(RLIMIT_NOFILE, &l) < 0) return;
    size_t possible = l.rlim_cur > 256 ? (size_t)(l.rlim_cur - 128) / 2 : 64;
    g->settings.max_connections = SP_MIN((size_t)SP_MAX(g->max_connections, 1), possible);
}

/* Gateways of one machine have different ports; after kill -9 the next start finds its route. */
static uint32_t route_metric(const gateway *g) {
    return 1024 + (uint32_t)g->http_port;
}

/* The services' virtual addresses become addresses of this machine. Asked for and impossible is an
 * error; the default only tries. */
static bool add_cluster_route(gateway *g, sp_err *err) {
    bool asked = g->cluster_ips != NULL;
    sp_cidr net;
    if (asked && strcmp(g->cluster_ips, "on") != 0 && strcmp(g->cluster_ips, "off") != 0)
        return sp_fail(err, SP_BAD_REQUEST, "--cluster-ips %s: on or off", g->cluster_ips);
    if (asked ? g->cluster_ips[1] == 'f' : geteuid() != 0) return true;
    if (!sp_cidr_parse(sp_str_z(g->service_cidr), &net))
        return sp_fail(err, SP_BAD_REQUEST, "--service-cidr %s: not a network like 10.96.0.0/16",
                       g->service_cidr);
    sp_err why = {0};
    g->options.cluster_ips = sp_route_add_local(&net, route_metric(g), &why);
    if (g->options.cluster_ips) return true;
    if (asked) {
        *err = why;
        return sp_err_wrap(err, "--cluster-ips on");
    }
    sp_warn("services have no virtual addresses here", SP_KV("why", why.text));
    return true;
}

static void drop_cluster_route(const gateway *g) {
    sp_cidr net;
    sp_err err = {0};
    if (!g->options.cluster_ips || !sp_cidr_parse(sp_str_z(g->service_cidr), &net)) return;
    if (!sp_route_del_local(&net, route_metric(g), &err))
        sp_warn("the services' route stays behind", SP_KV("why", err.text));
}

/* --- the end --- */

static void on_fleet_stopped(void *ctx) {
    gateway *g = ctx;
    g->fleet = NULL;
    uv_stop(&g->loop);
}

static void leave(gateway *g, uint32_t idle_ms) {
    g->stopping = true;
    g->source.build = NULL; /* what is left can still be looked at */
    g->late = sp_timer_stop(g->late);
    g->settle = sp_timer_stop(g->settle);
    g->vips = sp_vip_control_free(g->vips);
    g->lost_address = sp_lost_address_stop(g->lost_address);
    g->control = sp_control_free(g->control);
    g->files = sp_files_free(g->files);
    g->manager = sp_manager_free(g->manager);
    g->kube = sp_kube_free(g->kube);
    if (g->server) sp_http_server_stop(g->server, 0, NULL, NULL);
    sp_fleet_stop(g->fleet, g->grace_ms, idle_ms, on_fleet_stopped, g);
}

/* The virtual addresses answer elsewhere: now nobody comes any more. */
static void on_handed_over(void *ctx) {
    leave(ctx, 0);
}

static void on_signal(void *ctx, int signum) {
    gateway *g = ctx;
    if (g->stopping) {
        uv_stop(&g->loop); /* asked twice: now */
        return;
    }
    sp_info("gateway stops", SP_KV("signal", signum), SP_KV("grace_ms", g->grace_ms));
    g->stopping = true;
    sp_vip_control_stop(g->vips, on_handed_over, g);
}

/* A successor serves our ports. What belongs to the machine (the services' route) is its now. */
static void on_taken(void *ctx) {
    gateway *g = ctx;
    g->handed_over = true;
    sp_admin_close_door(
        g->admin); /* or who starts after the successor's death finds this one there */
    if (g->stopping) return;
    if (g->vips) sp_vip_control_abandon(g->vips);
    sp_info("gateway was replaced and drains", SP_KV("grace_ms", g->grace_ms));
    leave(g, SP_MIN((uint32_t)LAST_REQUEST_MS, g->grace_ms / 2));
}

/* What no document says. */
static void tell_successor(void *ctx, sp_arena *a, sp_json *answer) {
    const gateway *g = ctx;
    sp_json_set(a, answer, "steering", sp_steer_tell(g->source.steer, a));
    if (g->source.build)
        sp_json_set(a, answer, "checks", sp_health_tell(sp_build_health(g->source.build), a));
}

/* `sampan up` starts the successor itself, so that it remains its child. */
static void on_upgrade(void *ctx, int signum) {
    (void)signum;
    gateway *g = ctx;
    if (!g->stopping && !sp_role_ask_replacement()) sp_handover_start(g->handover);
}

/* --- the beginning --- */

/* A port of its own, beside the traffic's: a predecessor has it until it is replaced. */
static bool listen_for_metrics(gateway *g, sp_err *err) {
    g->metrics = (sp_gateway_metrics){g->manager, &g->source};
    if (!g->metrics_port) return true;
    sp_http_server_config c = {.host = g->metrics_bind,
                               .port = g->metrics_port,
                               .handler = sp_gateway_metrics_serve,
                               .ctx = &g->metrics};
    return sp_http_server_start(&g->loop, &c, &g->server, err) ||
           sp_err_wrap(err, "--metrics-port %u", g->metrics_port);
}

static bool listen_for_commands(gateway *g, bool replace, sp_err *err) {
    return !g->control_socket || sp_admin_listen(g->admin, g->control_socket, replace, err);
}

static void finish_take_over(gateway *g) {
    sp_err err = {0};
    g->late = sp_timer_stop(g->late);
    if (g->vips) sp_vip_control_begin(g->vips);
    if (!sp_takeover_finish(g->predecessor, &err))
        sp_warn("the old gateway may still be there", SP_KV("why", err.text));
    g->predecessor = -1;
    sp_sockets_drop_unused(g->sockets);
    err = (sp_err){0};
    if (!listen_for_metrics(g, &err) || !listen_for_commands(g, true, &err))
        sp_error("no metrics or commands here", SP_KV("why", err.text));
}

/* A file says by itself which ports it has. */
static void tell_ready(const gateway *g) {
    size_t loops = sp_fleet_loops(g->fleet);
    if (g->files)
        sp_info("gateway is ready", SP_KV("file", g->haproxy_cfg), SP_KV("loops", loops));
    else
        sp_info("gateway is ready", SP_KV("http_port", g->http_port),
                SP_KV("https_port", g->https_port), SP_KV("address", g->node_address),
                SP_KV("loops", loops), SP_KV("cluster_ips", g->options.cluster_ips));
}

static void on_settled(void *ctx) {
    gateway *g = ctx;
    g->settle = NULL;
    sp_role_settle();
}

static void on_ready(void *ctx) {
    gateway *g = ctx;
    if (g->vips) sp_vip_control_set_health(g->vips, "gateway", true);
    if (g->predecessor >= 0)
        finish_take_over(g);
    else if (g->files && g->vips)
        sp_vip_control_begin(g->vips);
    tell_ready(g);
    sp_role_ready();
    if (!g->stopping) g->settle = sp_timer_start(&g->loop, SP_ROLE_SETTLE_MS, on_settled, g);
}

static void on_late(void *ctx) {
    gateway *g = ctx;
    g->late = NULL;
    sp_error("no configuration in time; the old gateway goes on", SP_KV("waited_ms", TAKE_OVER_MS));
    g->exit_code = 1;
    uv_stop(&g->loop);
}

static bool meet_predecessor(gateway *g, sp_arena *a, const sp_json **ret_told, sp_err *err) {
    const char *path = g->take_over ? g->control_socket : NULL;
    if (g->take_over && !path)
        return sp_fail(err, SP_BAD_REQUEST, "--take-over needs --control-socket");
    if (!sp_takeover_begin(path, g->sockets, &g->predecessor, a, ret_told, err)) return false;
    if (g->predecessor >= 0) g->late = sp_timer_start(&g->loop, TAKE_OVER_MS, on_late, g);
    return true;
}

static void watch_signals(gateway *g) {
    g->term = sp_signal_watch(&g->loop, SIGTERM, on_signal, g);
    g->interrupt = sp_signal_watch(&g->loop, SIGINT, on_signal, g);
    g->upgrade = sp_signal_watch(&g->loop, SIGUSR2, on_upgrade, g);
}

/* --- where the documents come from: an API server, or files --- */

static sp_files_paths paths_of(const gateway *g) {
    return (sp_files_paths){g->haproxy_cfg, g->keepalived_conf};
}

static bool open_files(gateway *g, sp_err *err) {
    sp_files_limits limits = {0};
    sp_files_paths paths = paths_of(g);
    g->options.http_port = g->options.https_port = 0; /* the file says where */
    if (!sp_files_open(&paths, &g->files, &limits, err)) return false;
    if (limits.max_connections) g->max_connections = limits.max_connections;
    if (limits.grace_ms) g->grace_ms = limits.grace_ms;
    return true;
}

static bool open_source(gateway *g, sp_err *err) {
    sp_kube_config k = {.kubeconfig = g->kubeconfig, .user_agent = "sampan-gateway"};
    if (g->haproxy_cfg) return open_files(g, err);
    return add_cluster_route(g, err) && sp_kube_open(&g->loop, &k, &g->kube, err);
}

static void on_hangup(void *ctx, int signum) {
    (void)signum;
    gateway *g = ctx;
    if (g->stopping) return;
    if (g->files) sp_files_reload(g->files);
    sp_vip_control_reload(g->vips);
}

/* A successor prepares, and begins when it can serve. */
static bool start_vips(gateway *g, sp_err *err) {
    sp_vip_control_config c = {.loop = &g->loop,
                               .manager = g->manager,
                               .node_name = g->node_name,
                               .keepalived_conf = g->keepalived_conf,
                               .exact = g->exact,
                               .inherit = g->predecessor >= 0,
                               .later = g->files && g->predecessor < 0};
    return sp_vip_control_new(&c, &g->vips, err);
}

static void reset_address(sp_worker *w, size_t loop, void *arg) {
    (void)loop;
    sp_worker_reset_address(w, arg);
}

static void on_lost_address(void *ctx, const sp_addr *ip) {
    gateway *g = ctx;
    char text[SP_ADDR_MAX];
    sp_addr lost = *ip;
    sp_addr_format_ip(ip, text);
    sp_info("connections to an address that is gone are reset", SP_KV("address", text));
    sp_fleet_run(g->fleet, reset_address, &lost);
}

static bool watch_addresses(gateway *g, sp_err *err) {
    return !g->lost_address_reset ||
           sp_lost_address_watch(&g->loop, g->lost_address_ms, on_lost_address, g, &g->lost_address,
                                 err);
}

/* told: by a predecessor; NULL = nothing. */
static bool start_source(gateway *g, const sp_json *told, sp_err *err) {
    sp_build_beyond beyond = {.overlay = sp_steer_overlay,
                              .overlay_ctx = g->source.steer,
                              .checks = sp_json_get(told, "checks")};
    sp_steer_hear(g->source.steer, sp_json_get(told, "steering"));
    if (!g->haproxy_cfg) {
        g->manager = sp_manager_new(g->kube, "sampan-gateway");
        g->control = sp_control_new(g->manager, g->fleet, &g->options, &beyond, on_ready, g);
    }
    if (!start_vips(g, err)) return false;
    if (g->files || g->keepalived_conf) g->hangup = sp_signal_watch(&g->loop, SIGHUP, on_hangup, g);
    if (g->files) sp_files_start(g->files, &g->loop, g->fleet, &g->options, &beyond, on_ready, g);
    return true;
}

static bool start(gateway *g, sp_err *err) {
    size_t loops;
    const sp_json *told;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    uv_loop_init(&g->loop);
    if (!choose_loops(g, &loops, err) || !read_durations(g, err) || !read_addresses(g, err) ||
        !open_access_log(g, err) || !read_sticky_key(g, err) || !keep_default_cert(g, err) ||
        !open_source(g, err))
        return false;
    raise_limits(g);
    g->sockets = sp_sockets_new(loops);
    if (!meet_predecessor(g, a, &told, err)) return false;
    g->fleet = sp_fleet_new(&g->loop, &g->settings, g->sockets, loops);
    g->admin = sp_admin_new(&g->loop);
    g->source = (sp_report_source){.fleet = g->fleet,
                                   .steer = sp_steer_new(),
                                   .vips = &g->vips,
                                   .started_ms = sp_clock_mono_ms()};
    sp_handover_config h = {.loop = &g->loop,
                            .admin = g->admin,
                            .sockets = g->sockets,
                            .taken = on_taken,
                            .tell = tell_successor,
                            .ctx = g};
    g->handover = sp_handover_new(&h);
    bool replaces =
        g->predecessor >= 0; /* files may be ready, and take over, before this returns */
    /* A second gateway at the same socket is refused before it serves or takes an address. */
    if (!replaces && !listen_for_commands(g, false, err)) return false;
    if (!watch_addresses(g, err) || !start_source(g, told, err)) return false;
    g->source.build = g->control ? sp_control_build(g->control) : sp_files_build(g->files);
    sp_report_serve(g->admin, &g->source);
    watch_signals(g);
    return replaces || listen_for_metrics(g, err);
}

static void close_parts(gateway *g) {
    g->source.steer = sp_steer_free(g->source.steer);
    g->admin = sp_admin_free(g->admin, g->handed_over);
    g->handover = sp_handover_free(g->handover);
    if (!g->fleet) g->sockets = sp_sockets_free(g->sockets);
    sp_signal_stop(g->term);
    sp_signal_stop(g->interrupt);
    sp_signal_stop(g->upgrade);
    sp_signal_stop(g->hangup);
    sp_buf_free(&g->sticky_key);
    for (int i = 0; i < CLOSING_TURNS; i++) uv_run(&g->loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&g->loop); /* fails when asked to end at once; the process ends anyway */
}

static int run(gateway *g) {
    sp_err err = {0};
    if (!start(g, &err)) {
        fprintf(stderr, "sampan gateway: %s\n", err.text);
        fflush(NULL);
        _exit(
            1); /* some of it may be begun, threads too: the system takes everything back at once */
    }
    uv_run(&g->loop, UV_RUN_DEFAULT);
    if (!g->handed_over && g->predecessor < 0) drop_cluster_route(g);
    if (g->exit_code) _exit(g->exit_code); /* in the middle of everything; nothing is ours yet */
    close_parts(g);
    return 0;
}

static const char about[] =
    "Brings traffic to the pods. Watches the cluster and serves, on this machine:\n"
    "  - every Service of type LoadBalancer on its ports, and NodePort on its node ports (TCP);\n"
    "  - every Service at its virtual address, for this machine and its pods (as root);\n"
    "  - every Ingress on --http-port, and with TLS on --https-port;\n"
    "  - every Gateway of class \"sampan\" with its HTTPRoutes, GRPCRoutes, TLSRoutes and "
    "TCPRoutes:\n"
    "    listeners on port 80 at --http-port, on 443 at --https-port, others at their own port.\n"
    "Or serves what haproxy.cfg and keepalived.conf say, without an API server.\n"
    "\n"
    "A port that somebody else uses is told on the object that asks for it (kubectl describe), or "
    "in\n"
    "the log, and tried again; everything else goes on.\n"
    "\n"
    "To a running gateway, by its --control-socket (sampan gateway COMMAND --help):\n"
    "  status, top                     look at it\n"
    "  drain, disable, weight, enable  steer a server\n"
    "  reload                          a new process takes the ports over";

static const char examples[] =
    "  sampan gateway --kubeconfig ./data/conf/gateway.kubeconfig --http-port 8080\n"
    "  sampan gateway --http-port 80 --node-address 192.0.2.10 --metrics-port 9180\n"
    "  sampan gateway --access-log -          # one line per request and per connection\n"
    "  sampan gateway --haproxy-cfg haproxy.cfg --keepalived-conf keepalived.conf --check\n"
    "  sampan gateway status --control-socket ./data/gateway.sock\n";

static int run_addresses(const gateway *g) {
    const sp_vip_run_options o = {g->keepalived_conf, g->control_socket, g->exact, g->take_over};
    return sp_vip_run(&o);
}

static gateway defaults(void) {
    const char *engine = getenv("SAMPAN_IO_ENGINE");
    gateway g = {.bind = "0.0.0.0",
                 .service_cidr = "10.96.0.0/16",
                 .metrics_bind = "127.0.0.1",
                 .endpoint_wait = "1s",
                 .connect_timeout = "3s",
                 .response_timeout = "60s",
                 .idle_timeout = "75s",
                 .access_log_format = "text",
                 .grace = "10s",
                 .io_engine = engine && *engine ? engine : "auto",
                 .http_port = DEFAULT_HTTP_PORT,
                 .https_port = DEFAULT_HTTPS_PORT,
                 .max_connections = 100000,
                 .level = SP_LOG_INFO,
                 .predecessor = -1,
                 .settings = sp_worker_defaults()};
    return g;
}

static int do_as_told(gateway *g) {
    sp_log_set_level(g->verbose ? SP_LOG_DEBUG : g->level);
    if (g->check || g->print_objects) {
        sp_files_paths paths = paths_of(g);
        return sp_files_check(&paths, g->print_objects);
    }
    if (g->keepalived_conf && !g->kubeconfig && !g->haproxy_cfg) return run_addresses(g);
    return run(g);
}

int sp_gateway_main(int argc, char **argv) {
    if (argc > 1 && sp_gateway_is_command(argv[1])) return sp_gateway_command(argc - 1, argv + 1);
    if (argc > 1 && argv[1][0] != '-') {
        fprintf(stderr,
                "sampan gateway: there is no command \"%s\"; sampan gateway --help lists them\n",
                argv[1]);
        return 2;
    }
    gateway g = defaults();
    const sp_flag flags[] = {
        SP_FLAG_GROUP("What is served"),
        {"kubeconfig", 0, SP_FLAG_STR, &g.kubeconfig, "FILE",
         "how to reach the API server (default $KUBECONFIG, then ~/.kube/config)"},
        {"haproxy-cfg", 0, SP_FLAG_STR, &g.haproxy_cfg, "FILE",
         "serve what this haproxy.cfg says, without an API server; SIGHUP reads it again"},
        {"keepalived-conf", 0, SP_FLAG_STR, &g.keepalived_conf, "FILE",
         "virtual addresses as keepalived would hold them; alone, only these"},
        {"keepalived-exact", 0, SP_FLAG_BOOL, &g.exact, NULL,
         "do only what keepalived does: no hand-over, addresses without a lifetime"},
        {"check", 0, SP_FLAG_BOOL, &g.check, NULL,
         "only read these files and tell every problem with its line"},
        {"print-objects", 0, SP_FLAG_BOOL, &g.print_objects, NULL,
         "print these files as Kubernetes objects, for kubectl apply"},
        SP_FLAG_GROUP("Where objects are served"),
        {"http-port", 0, SP_FLAG_PORT, &g.http_port, "N",
         "where Ingresses and HTTPRoutes are served; 0 = nowhere (8080)"},
        {"https-port", 0, SP_FLAG_PORT, &g.https_port, "N",
         "the same with TLS, for Ingresses with spec.tls and Gateways' port 443 (8443)"},
        {"bind", 0, SP_FLAG_STR, &g.bind, "ADDR",
         "address to listen on; :: is IPv6 alone (0.0.0.0)"},
        {"node-address", 0, SP_FLAG_STR, &g.node_address, "ADDR",
         "address told on the objects (default: the one that reaches the network)"},
        {"node-name", 0, SP_FLAG_STR, &g.node_name, "NAME",
         "this machine's Node, for …TrafficPolicy: Local and topology (default: not known)"},
        {"cluster-ips", 0, SP_FLAG_STR, &g.cluster_ips, "on|off",
         "serve Services at their virtual addresses; adds a local route (on for root)"},
        {"service-cidr", 0, SP_FLAG_STR, &g.service_cidr, "NET",
         "where those addresses lie (10.96.0.0/16)"},
        SP_FLAG_GROUP("How it serves"),
        {"endpoint-wait", 0, SP_FLAG_STR, &g.endpoint_wait, "TIME",
         "how long a client waits for an endpoint to appear (1s)"},
        {"connect-timeout", 0, SP_FLAG_STR, &g.connect_timeout, "TIME",
         "for one endpoint, before the next is tried (3s)"},
        {"response-timeout", 0, SP_FLAG_STR, &g.response_timeout, "TIME",
         "from a request to the first byte of its answer (60s)"},
        {"idle-timeout", 0, SP_FLAG_STR, &g.idle_timeout, "TIME",
         "a client's connection between requests (75s)"},
        {"max-connections", 0, SP_FLAG_INT, &g.max_connections, "N",
         "of clients; more wait in the kernel's queue (100000, less if descriptors are short)"},
        {"loops", 0, SP_FLAG_INT, &g.loops, "N",
         "threads that carry traffic (as many as CPUs may be used)"},
        {"io-engine", 0, SP_FLAG_STR, &g.io_engine, "NAME",
         "small sends leave one by one (epoll), together (io_uring), or together where that can be "
         "had (auto; $SAMPAN_IO_ENGINE, auto)"},
        {"script-checks", 0, SP_FLAG_BOOL, &g.options.script_checks, NULL,
         "let BackendPolicies name commands that run here as checks"},
        {"sticky-key-file", 0, SP_FLAG_STR, &g.sticky_key_file, "FILE",
         "secret behind sticky cookies (that of the Secret kube-system/sampan-gateway-sticky)"},
        {"state-dir", 0, SP_FLAG_STR, &g.state_dir, "DIR",
         "where the certificate for hosts without a Secret is kept (none: a new one each start)"},
        {"lost-address-reset", 0, SP_FLAG_STR, &g.lost_address_reset, "TIME",
         "reset connections to an address that has been gone from this machine so long (never)"},
        SP_FLAG_GROUP("Looking at it, stopping and replacing it"),
        {"control-socket", 0, SP_FLAG_STR, &g.control_socket, "FILE",
         "unix socket for the commands above and for the hand-over to a new process"},
        {"take-over", 0, SP_FLAG_BOOL, &g.take_over, NULL,
         "replace the gateway that serves --control-socket: take its ports, then let it drain"},
        {"grace", 0, SP_FLAG_STR, &g.grace, "TIME",
         "after SIGTERM, for connections to end by themselves (10s)"},
        {"metrics-port", 0, SP_FLAG_PORT, &g.metrics_port, "N",
         "a page with live traffic, /metrics, /healthz, /readyz; 0 = none (0)"},
        {"metrics-bind", 0, SP_FLAG_STR, &g.metrics_bind, "ADDR", "its address (127.0.0.1)"},
        {"access-log", 0, SP_FLAG_STR, &g.access_log, "FILE|-",
         "one line per request and per TCP connection"},
        {"access-log-format", 0, SP_FLAG_STR, &g.access_log_format, "NAME",
         "text, json, common, combined or haproxy (text)"},
        SP_LOG_LEVEL_FLAG(&g.level),
        {"verbose", 'v', SP_FLAG_BOOL, &g.verbose, NULL,
         "debug lines, and the access log on stderr"},
    };
    const sp_usage u = {"sampan gateway",
                        "[flags]\n       sampan gateway COMMAND [flags]",
                        about,
                        examples,
                        flags,
                        SP_COUNT(flags),
                        .only_flags = true};
    if (argc == 2 && strcmp(argv[1], "--vip-will") == 0) return sp_vip_will_main();
    int code = sp_flags_parse(&u, &argc, argv);
    if (code != SP_FLAGS_GO_ON) return code;
    return do_as_told(&g);
}
