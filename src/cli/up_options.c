/* What `sampan up` is to do: flags, what the data directory says of a member, what the machine
 * says, and whether that goes together. */
#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "cli/up.h"
#include "net/own_address.h"

#include <stdio.h>
#include <unistd.h>

const char *const sp_up_store_flags[SP_UP_STORE_FLAGS] = {
    "store",        "etcd-prefix", "etcd-cafile",       "etcd-certfile",
    "etcd-keyfile", "etcd-user",   "etcd-password-file"};

bool sp_up_wants(const sp_up *u, const char *role) {
    if (strcmp(role, "etcd") == 0) return u->is_member;
    for (sp_str part, rest = sp_str_z(u->roles); sp_str_cut(&rest, ',', &part);)
        if (sp_str_eqz(sp_str_trim(part), role)) return true;
    return false;
}

static void find_data_dir(sp_up *u) {
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
static bool fill_from_member(sp_up *u, sp_err *err) {
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

static void fill_defaults(sp_up *u) {
    if (!u->api_port) u->api_port = 6443;
    if (!u->node_name) {
        gethostname(u->node_name_buffer, sizeof u->node_name_buffer - 1);
        for (char *c = u->node_name_buffer; *c; c++)
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
        u->node_name = u->node_name_buffer;
    }
    if (!u->node_ip) {
        sp_own_address(NULL, u->node_ip_buffer, u->found_on);
        u->node_ip = u->node_ip_buffer;
    }
    u->becomes_member = !u->is_member && (u->join || u->cluster_init);
    u->is_member |= u->becomes_member;
    u->moves = u->is_member &&
               sp_file_exists(sp_arena_printf(u->arena, "%s/" SP_UP_FILE_STORE, u->data_dir).p);
    if (!u->bind) u->bind = u->is_member ? u->node_ip : "127.0.0.1";
}

static bool check_roles(const sp_up *u, sp_err *err) {
    static const char *const names[] = {"apiserver", "controllers", "agent", "gateway"};
    size_t known = 0;
    for (sp_str part, rest = sp_str_z(u->roles); sp_str_cut(&rest, ',', &part);) {
        bool found = false;
        for (size_t i = 0; i < SP_COUNT(names); i++)
            found = found || sp_str_eqz(sp_str_trim(part), names[i]);
        if (!found)
            return sp_fail(
                err, SP_INVALID,
                "there is no role \"%.*s\"; the roles are apiserver, controllers, agent, gateway",
                SP_ARG(part));
        known++;
    }
    return known || sp_fail(err, SP_INVALID, "--roles names none");
}

static bool check_cluster(const sp_up *u, sp_err *err) {
    if (u->token && u->token_file)
        return sp_fail(err, SP_INVALID, "--token and --token-file: one of them");
    if (!u->join != !(u->token || u->token_file))
        return sp_fail(err, SP_INVALID,
                       "--join and --token (or --token-file) go together; `sampan cluster token` "
                       "on a machine of the "
                       "cluster prints both");
    if (u->reset && (!u->is_member || u->becomes_member))
        return sp_fail(err, SP_INVALID,
                       "--cluster-reset is for a machine that is a member: %s is "
                       "of none",
                       u->data_dir);
    if (u->join && u->cluster_init)
        return sp_fail(err, SP_INVALID,
                       "--cluster-init is for the first machine, --join for the others");
    if (!u->join && !(u->is_member && !u->becomes_member) && sp_member_is_joining(u->data_dir))
        return sp_fail(
            err, SP_CONFLICT,
            "%s is of a machine that was joining a cluster: give the same command again, "
            "with --join and --token, or take another --data-dir",
            u->data_dir);
    if (!u->is_member) return true;
    if (u->store[0] || u->ca_dir)
        return sp_fail(err, SP_INVALID,
                       "%s cannot be given to a member of a cluster whose etcd Sampan runs",
                       u->store[0] ? "--store" : "--ca-dir");
    if (!sp_up_wants(u, "apiserver"))
        return sp_fail(err, SP_INVALID, "a member of the cluster runs the role apiserver: --roles");
    if (sp_address_is_loopback(u->node_ip) || sp_address_is_loopback(u->bind))
        return sp_fail(err, SP_INVALID,
                       "other machines cannot reach %s: give %s with an address of this machine",
                       sp_address_is_loopback(u->node_ip) ? u->node_ip : u->bind,
                       sp_address_is_loopback(u->node_ip) ? "--node-ip" : "--bind-address");
    if (u->join && u->moves)
        return sp_fail(err, SP_CONFLICT,
                       "%s holds the objects of one machine, which --join would leave behind: a "
                       "machine joins with an empty --data-dir, and begins a cluster with what it "
                       "has by --cluster-init",
                       u->data_dir);
    return true;
}

bool sp_up_check(const sp_up *u, sp_err *err) {
    return check_roles(u, err) && check_cluster(u, err);
}

static void set_defaults(sp_up *u) {
    u->roles = "apiserver,controllers,agent,gateway";
    u->bridge = "sampan0";
    u->level = SP_LOG_INFO;
    u->etcd_port = 2379;
    u->gateway_port = 8080;
    u->gateway_tls_port = 8443;
    u->agent_port = 10250;
}

static int parse(sp_up *u, int argc, char **argv) {
    const sp_flag flags[] = {
        {"data-dir", 'd', SP_FLAG_STR, &u->data_dir, "DIR",
         "where everything is kept (/var/lib/sampan)"},
        {"api-port", 0, SP_FLAG_PORT, &u->api_port, "N", "port of the API server (6443)"},
        {"gateway-port", 0, SP_FLAG_PORT, &u->gateway_port, "N",
         "port on which Ingress and HTTPRoute rules answer (8080)"},
        {"gateway-tls-port", 0, SP_FLAG_PORT, &u->gateway_tls_port, "N",
         "of the gateway: HTTPS, opened when a certificate is there (8443)"},
        {"agent-port", 0, SP_FLAG_PORT, &u->agent_port, "N",
         "port of the node agent, for logs (10250)"},
        {"bind-address", 0, SP_FLAG_STR, &u->bind, "ADDR",
         "address of the API server (127.0.0.1; in a cluster: that of the node)"},
        {"node-name", 0, SP_FLAG_STR, &u->node_name, "NAME", "name of this node (the host name)"},
        {"node-ip", 0, SP_FLAG_STR, &u->node_ip, "ADDR",
         "address of this node (that of the default route; without one, of a running interface)"},
        {"pod-cidr", 0, SP_FLAG_STR, &u->pod_cidr, "CIDR",
         "addresses of pods (" SP_POD_CIDR "; of a machine that joins: the next)"},
        {"bridge", 0, SP_FLAG_STR, &u->bridge, "NAME", "network bridge of pods (sampan0)"},
        {"roles", 0, SP_FLAG_STR, &u->roles, "LIST",
         "what to run (apiserver,controllers,agent,gateway)"},
        {"store", 0, SP_FLAG_STR, &u->store[0], "URL",
         "where the objects are kept: sqlite:FILE (DIR/apiserver/state.db), or\n"
         "etcd://HOST:PORT[,HOST:PORT...][/PREFIX], shared with others; etcds:// for TLS"},
        {"etcd-prefix", 0, SP_FLAG_STR, &u->store[1], "PREFIX", "before every key (/sampan)"},
        {"etcd-cafile", 0, SP_FLAG_STR, &u->store[2], "FILE", "PEM CA of the etcd servers"},
        {"etcd-certfile", 0, SP_FLAG_STR, &u->store[3], "FILE", "PEM client certificate for etcd"},
        {"etcd-keyfile", 0, SP_FLAG_STR, &u->store[4], "FILE", "PEM key of that certificate"},
        {"etcd-user", 0, SP_FLAG_STR, &u->store[5], "NAME", "user, where etcd knows users"},
        {"etcd-password-file", 0, SP_FLAG_STR, &u->store[6], "FILE", "its password"},
        {"api-servers", 0, SP_FLAG_STR, &u->api_servers, "URL,...",
         "other API servers on the same etcd, which our roles use when ours is gone"},
        {"ca-dir", 0, SP_FLAG_STR, &u->ca_dir, "DIR",
         "at the first start: take ca.crt and ca.key from there (DIR/pki of another machine)"},
        {"cluster-init", 0, SP_FLAG_BOOL, &u->cluster_init, NULL,
         "begin a cluster: the objects are kept by an etcd that we run, and others may join"},
        {"join", 0, SP_FLAG_STR, &u->join, "URL",
         "at the first start: become a member of the cluster whose API server is there"},
        {"token", 0, SP_FLAG_STR, &u->token, "TOKEN", "for --join: sampan cluster token prints it"},
        {"token-file", 0, SP_FLAG_STR, &u->token_file, "FILE",
         "in place of --token, which other users of this machine could see"},
        {"cluster-reset", 0, SP_FLAG_BOOL, &u->reset, NULL,
         "the other members are lost for good: go on alone, with what this one has"},
        {"etcd-port", 0, SP_FLAG_PORT, &u->etcd_port, "N",
         "of our etcd, for clients; its members use the next one (2379)"},
        {"renew-certs", 0, SP_FLAG_BOOL, &u->renew, NULL,
         "make all certificates anew, not only those that end within 30 days"},
        {"goaway-chance", 0, SP_FLAG_STR, &u->goaway_chance, "FRACTION",
         "of the API server: 0 to 0.02 of the HTTP/2 requests ask their connection to leave (0)"},
        {"lost-address-reset", 0, SP_FLAG_STR, &u->lost_address_reset, "TIME",
         "of the gateway: reset connections to an address that has been gone from this machine\n"
         "so long (never)"},
        {"stop-containers", 0, SP_FLAG_BOOL, &u->stop_containers, NULL,
         "stop the containers too when stopping; otherwise they go on\nand are taken over by the "
         "next start"},
        {"verbose", 'v', SP_FLAG_BOOL, &u->verbose, NULL,
         "logs to the terminal instead of DIR/logs"},
        SP_LOG_LEVEL_FLAG(&u->level),
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
    return sp_flags_parse(&usage, &argc, argv);
}

int sp_up_read(sp_up *u, int argc, char **argv) {
    sp_err err = {0};
    set_defaults(u);
    int rc = parse(u, argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    find_data_dir(u);
    if (!fill_from_member(u, &err)) {
        fprintf(stderr, "sampan up: %s\n", err.text);
        return 1;
    }
    fill_defaults(u);
    return SP_FLAGS_GO_ON;
}
