/* `sampan agent`: looks at the machine, takes up what an earlier agent left, follows the Pods bound
 * to its Node. Stops on SIGTERM without touching a container. */
#include "agent/agent.h"
#include "agent/machine.h"
#include "agent/node.h"
#include "agent/pod.h"
#include "agent/server.h"
#include "agent/tunnel.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/role.h"
#include "kube/gvrs.h"

#include <stdio.h>
#include <unistd.h>

typedef struct options {
    const char *kubeconfig, *node_name, *data_dir, *pod_cidr, *bridge, *address, *node_ip;
    const char *cert, *key, *ca, *tunnel;
    sp_log_level level;
    int64_t max_pods;
    uint16_t port;
    bool cleanup, stop_containers;
} options;

typedef struct role {
    options o;
    sp_agent agent;
    sp_node *node;
    sp_agent_server *server;
    sp_tunnel *tunnel;
    char selector[300];
    sp_signal *term, *interrupt;
    int64_t stop_by_ms;
} role;

enum { STOP_GRACE_MS = 5000 };

static int complain(const char *text) {
    fprintf(stderr, "sampan agent: %s\n", text);
    return 1;
}

/* ---------- pods from the API ---------- */

static void on_pod(void *ctx, const sp_json *old, const sp_json *obj) {
    sp_agent *g = ctx;
    if (obj) {
        /* Deleted and made anew under the same name within one look. */
        if (old && !sp_str_eq(sp_obj_uid(old), sp_obj_uid(obj))) sp_pod_gone(g, sp_obj_uid(old));
        sp_pod_changed(g, obj);
    } else {
        sp_pod_gone(g, sp_obj_uid(old));
    }
}

/* The list is in: pods we hold that it lacks were deleted while we were away. */
static void on_synced(void *ctx) {
    sp_agent *g = ctx;
    void *value;
    g->resolved = true;
    for (size_t at = 0; sp_map_next(&g->pods, &at, NULL, &value);) {
        sp_pod *p = value;
        const sp_json *obj = sp_informer_get(g->informer, p->ns, p->name);
        if (!obj || !sp_str_eqz(sp_obj_uid(obj), p->uid)) sp_pod_gone(g, sp_str_z(p->uid));
    }
}

static void on_registered(void *ctx) {
    (void)ctx;
    sp_role_ready();
}

static size_t alive(sp_agent *g, bool stop) {
    void *value;
    size_t n = 0;
    for (size_t at = 0; sp_map_next(&g->pods, &at, NULL, &value);) {
        sp_pod *p = value;
        sp_vec_each(&p->containers, c) {
            sp_ctr_phase phase = sp_ctr_state(*c)->phase;
            if (phase == SP_CTR_NEW || phase == SP_CTR_EXITED) continue;
            if (stop) sp_ctr_stop(*c, SP_MIN(p->grace_ms, (int64_t)STOP_GRACE_MS));
            n++;
        }
    }
    return n;
}

/* Called while containers are being stopped, whenever one may have ended. */
static void stop_when_still(void *ctx) {
    role *r = ctx;
    if (alive(&r->agent, false) && sp_clock_mono_ms() < r->stop_by_ms) return;
    uv_stop(r->agent.loop);
}

static void on_stop(void *ctx, int signum) {
    role *r = ctx;
    (void)signum;
    if (!r->o.stop_containers || sp_role_orphaned() || r->agent.stopping) {
        sp_info("agent stops; containers keep running");
        uv_stop(r->agent.loop);
        return;
    }
    r->agent.stopping = true;
    r->stop_by_ms = sp_clock_mono_ms() + STOP_GRACE_MS + 1000;
    sp_info("agent stops its containers", SP_KV("containers", alive(&r->agent, true)));
    sp_timer_every(r->agent.loop, 20, stop_when_still, r);
}

static void on_trouble(void *ctx, const sp_gvr *gvr, const sp_err *err) {
    (void)ctx;
    if (err) sp_warn("API watch", SP_KV("resource", gvr->plural), SP_KV("error", err->text));
}

/* ---------- starting ---------- */

static bool prepare(role *r, sp_err *err) {
    sp_agent *g = &r->agent;
    g->loop = uv_default_loop();
    g->turn = sp_turn_ref(g->loop);
    g->node = r->o.node_name;
    sp_machine_options m = {r->o.data_dir, r->o.pod_cidr, r->o.bridge, r->o.node_ip};
    return sp_machine_prepare(g, &m, err);
}

static bool start_server(role *r, sp_err *err) {
    if (!r->o.cert) {
        sp_warn("no --tls-cert-file: logs cannot be read through this agent");
        return true;
    }
    const char *host = r->o.address ? r->o.address : r->agent.host_ip;
    sp_agent_server_config c = {host, r->o.port, r->o.cert, r->o.key, r->o.ca};
    if (!sp_agent_server_start(&r->agent, &c, &r->server, err)) return false;
    r->o.port = sp_agent_server_port(r->server);
    return true;
}

static bool start_client(role *r, sp_err *err) {
    sp_agent *g = &r->agent;
    sp_kube_config c = {.kubeconfig = r->o.kubeconfig, .user_agent = "sampan-agent"};
    if (!sp_kube_open(g->loop, &c, &g->kube, err)) return false;
    g->events = sp_events_new(g->kube, "sampan-agent", g->node);
    g->objects = sp_objects_new(g);
    return true;
}

static bool start_tunnel(role *r, sp_err *err) {
    if (!r->server || strcmp(r->o.tunnel, "never") == 0) return true;
    return sp_tunnel_start(&r->agent, r->server, r->o.kubeconfig, r->o.tunnel, &r->tunnel, err);
}

static void follow(role *r) {
    sp_agent *g = &r->agent;
    snprintf(r->selector, sizeof r->selector, "spec.nodeName=%s", g->node);
    sp_adopt_all(g);
    sp_informer_config c = {
        .gvr = &sp_gvr_pods, .field_selector = r->selector, .trouble = on_trouble};
    g->informer = sp_informer_new(g->kube, &c);
    sp_informer_on_change(g->informer, on_pod, g);
    sp_informer_on_synced(g->informer, on_synced, g);
    sp_node_config n = {.port = r->server ? r->o.port : 0, .max_pods = r->o.max_pods};
    r->node = sp_node_start(g, &n, on_registered, r);
}

static int run(role *r) {
    sp_err err = {0};
    if (!prepare(r, &err)) return complain(err.text);
    if (r->o.cleanup) return sp_machine_cleanup(&r->agent) ? 0 : 1;
    if (!start_client(r, &err) || !start_server(r, &err) || !start_tunnel(r, &err))
        return complain(err.text);
    sp_machine_firewall(&r->agent);
    r->term = sp_signal_watch(r->agent.loop, SIGTERM, on_stop, r);
    r->interrupt = sp_signal_watch(r->agent.loop, SIGINT, on_stop, r);
    follow(r);
    uv_run(r->agent.loop, UV_RUN_DEFAULT);
    if (r->agent.stopping) sp_machine_cleanup(&r->agent);
    return 0;
}

static const char about[] =
    "Runs the pods bound to one node as containers on this machine (by crun). Containers outlive "
    "the\n"
    "agent: restart or upgrade it at any time; --cleanup ends them. Needs root, and crun; nft for\n"
    "traffic from pods to the outside.";

static const char examples[] = "  sampan agent --kubeconfig agent.kubeconfig --node-name "
                               "$(hostname) --data-dir /var/lib/sampan\n"
                               "  sampan agent --cleanup --data-dir /var/lib/sampan\n";

static bool check(const options *o) {
    const char *missing = !o->data_dir                    ? "--data-dir"
                          : !o->cleanup && !o->kubeconfig ? "--kubeconfig"
                          : !o->cleanup && !o->node_name  ? "--node-name"
                          : o->cert && (!o->key || !o->ca)
                              ? "--tls-private-key-file and --client-ca-file"
                              : NULL;
    if (strcmp(o->tunnel, "auto") != 0 && strcmp(o->tunnel, "always") != 0 &&
        strcmp(o->tunnel, "never") != 0) {
        fprintf(stderr, "sampan agent: --tunnel \"%s\" must be auto, always or never\n", o->tunnel);
        return false;
    }
    if (missing) fprintf(stderr, "sampan agent: %s is needed; see sampan agent --help\n", missing);
    if (!missing && o->node_name && !sp_name_is_subdomain(sp_str_z(o->node_name))) {
        fprintf(stderr,
                "sampan agent: --node-name \"%s\" must be lower-case letters, digits, '-', '.'\n",
                o->node_name);
        return false;
    }
    return !missing;
}

int sp_agent_main(int argc, char **argv) {
    static role r = {.o = {.max_pods = 250, .port = 10250, .tunnel = "auto", .level = SP_LOG_INFO}};
    options *o = &r.o;
    const sp_flag flags[] = {
        {"kubeconfig", 0, SP_FLAG_STR, &o->kubeconfig, "FILE",
         "how to reach the API server, and as whom"},
        {"node-name", 0, SP_FLAG_STR, &o->node_name, "NAME", "name of our Node"},
        {"data-dir", 0, SP_FLAG_STR, &o->data_dir, "DIR", "images, pods and logs"},
        {"pod-cidr", 0, SP_FLAG_STR, &o->pod_cidr, "CIDR",
         "addresses of pods (default 10.88.0.0/16; if another agent of this machine has it, the "
         "next)"},
        {"bridge", 0, SP_FLAG_STR, &o->bridge, "NAME",
         "bridge of the pod network (default sampan0, …)"},
        {"node-ip", 0, SP_FLAG_STR, &o->node_ip, "IP", "address others reach this machine by"},
        {"address", 0, SP_FLAG_STR, &o->address, "IP",
         "where our HTTPS server listens (the node's address)"},
        {"port", 0, SP_FLAG_PORT, &o->port, "PORT", "port of our HTTPS server, 0 = any (10250)"},
        {"tls-cert-file", 0, SP_FLAG_STR, &o->cert, "FILE", "our server certificate"},
        {"tls-private-key-file", 0, SP_FLAG_STR, &o->key, "FILE", "its key"},
        {"client-ca-file", 0, SP_FLAG_STR, &o->ca, "FILE", "whose client certificates may ask"},
        {"tunnel", 0, SP_FLAG_STR, &o->tunnel, "WHEN",
         "hold a connection to the API server through which it reaches us: auto (used where it "
         "cannot\nconnect to --node-ip), always or never (auto)"},
        {"max-pods", 0, SP_FLAG_INT, &o->max_pods, "N", "how many pods the node takes (250)"},
        SP_LOG_LEVEL_FLAG(&o->level),
        {"stop-containers", 0, SP_FLAG_BOOL, &o->stop_containers, NULL,
         "when stopped by a signal, stop the containers too"},
        {"cleanup", 0, SP_FLAG_BOOL, &o->cleanup, NULL,
         "end every container of this data directory, remove bridge and mounts, and exit"},
    };
    const sp_usage usage = {"sampan agent",  "[flags]",         about, examples, flags,
                            SP_COUNT(flags), .only_flags = true};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    if (!check(o)) return 2;
    sp_log_set_level(o->level);
    return run(&r);
}
