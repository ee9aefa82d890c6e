/* `sampan cluster`: members of a cluster whose etcd Sampan runs, and tokens to join it. Everything
 * goes through an API server, so a kubeconfig of an administrator is all that is needed. */
#include "base/clock.h"
#include "base/commands.h"
#include "cli/client.h"
#include "cli/cluster_view.h"
#include "cli/print.h"
#include "data/time.h"
#include "iam/join_token.h"
#include "kube/kubeconfig.h"

#include <stdio.h>
#include <unistd.h>

enum { DEFAULT_TTL_MS = 24 * 3600 * 1000, PATIENCE_MS = 15000, PAUSE_MS = 500 };

typedef struct options {
    sp_cli cli;
    const char *ttl, *output;
    bool token_only;
} options;

/* ---------- members ---------- */

static bool members(options *o, const char *word, sp_err *err) {
    sp_cli *c = &o->cli;
    sp_json *doc = NULL;
    (void)word;
    if (!sp_cli_open(c, err) ||
        !sp_cli_call(c, "GET", SP_STR("/sampan/v1/cluster"), NULL, NULL, NULL, &doc, err))
        return false;
    if (o->output) {
        sp_auto(sp_buf) b = {0};
        sp_json_write_pretty(&b, doc);
        printf("%s\n", sp_buf_z(&b));
        return true;
    }
    if (strcmp(sp_json_get_z(doc, "store"), "etcd") != 0)
        return sp_fail(err, SP_BAD_REQUEST,
                       "this installation is one machine, whose objects are in the file %s: it has "
                       "no members (sampan up --cluster-init begins a cluster)",
                       sp_json_get_z(doc, "file"));
    if (*sp_json_get_z(doc, "error"))
        return sp_fail(err, SP_UNAVAILABLE, "%s", sp_json_get_z(doc, "error"));
    sp_cluster_print_members(doc, stdout, "");
    return true;
}

/* etcd changes nothing until its members have been connected for five seconds. */
static bool delete_patiently(sp_cli *c, sp_str path, sp_err *err) {
    int64_t give_up = sp_clock_mono_ms() + PATIENCE_MS;
    sp_json *doc = NULL;
    while (!sp_cli_call(c, "DELETE", path, NULL, NULL, NULL, &doc, err)) {
        bool shaky = strstr(err->text, "unhealthy cluster") != NULL;
        if (!shaky || sp_clock_mono_ms() > give_up) return false;
        usleep(PAUSE_MS * 1000);
    }
    return true;
}

static bool remove_member(options *o, const char *name, sp_err *err) {
    sp_cli *c = &o->cli;
    sp_auto(sp_buf) path = {0};
    if (!sp_cli_open(c, err)) return false;
    sp_buf_addz(&path, "/sampan/v1/cluster/members/");
    sp_url_encode(&path, sp_str_z(name));
    if (!delete_patiently(c, sp_buf_str(&path), err)) return false;
    printf("member \"%s\" removed\n", name);
    return true;
}

/* ---------- tokens ---------- */

static bool read_ttl(const options *o, int64_t *ret_ms, sp_err *err) {
    *ret_ms = DEFAULT_TTL_MS;
    if (!o->ttl || (sp_duration_parse(sp_str_z(o->ttl), ret_ms) && *ret_ms > 0)) return true;
    return sp_fail(err, SP_BAD_REQUEST, "--ttl %s: a duration such as 30m or 24h is expected",
                   o->ttl);
}

/* The CA that we trust ourselves: its hash goes into the token. */
static bool own_ca_hash(options *o, sp_kubeconfig *ret, char hash[SP_JOIN_HASH + 1], sp_err *err) {
    if (!sp_kubeconfig_load(o->cli.arena, o->cli.kubeconfig, o->cli.context, ret, err))
        return false;
    if (!ret->ca_pem.n)
        return sp_fail(err, SP_BAD_REQUEST,
                       "the kubeconfig names no CA, whose hash has to be in a token: use "
                       "DIR/kubeconfig of a member");
    return sp_join_ca_hash(ret->ca_pem, hash, err);
}

static bool token(options *o, const char *word, sp_err *err) {
    sp_cli *c = &o->cli;
    char hash[SP_JOIN_HASH + 1], text[SP_JOIN_TOKEN_MAX];
    int64_t ttl;
    sp_kubeconfig k;
    sp_join_token t;
    sp_json *doc = NULL;
    (void)word;
    if (!read_ttl(o, &ttl, err) || !sp_cli_open(c, err) || !own_ca_hash(o, &k, hash, err))
        return false;
    if (!sp_cli_call(c, "GET", SP_STR("/sampan/v1/cluster"), NULL, NULL, NULL, &doc, err))
        return false;
    if (!sp_json_bool(sp_json_get(doc, "managed"), false))
        return sp_fail(err, SP_BAD_REQUEST,
                       "nobody can join here: this installation runs no etcd of its own (sampan up "
                       "--cluster-init begins a cluster)");
    sp_join_token_make(hash, &t);
    const sp_json *secret = sp_join_token_object(c->arena, &t, sp_clock_wall_ms() + ttl);
    if (!sp_cli_call(c, "POST", SP_STR("/api/v1/namespaces/kube-system/secrets"), NULL, NULL,
                     secret, &doc, err))
        return false;
    sp_join_token_print(&t, text);
    char human[SP_TIME_MAX];
    sp_duration_human(ttl, human);
    if (o->token_only)
        printf("%s\n", text);
    else
        printf("to let another machine join, within %s, there:\n"
               "  sampan up --join https://%.*s:%u --token %s\n",
               human, SP_ARG(k.host), k.port, text);
    return true;
}

/* ---------- which ---------- */

static const struct verb {
    const char *name, *synopsis, *about, *flags, *examples;
    bool word;
    bool (*run)(options *o, const char *word, sp_err *err);
} verbs[] = {
    {"members", "[flags]", "Lists the members of the cluster's etcd and how each of them is.",
     " output ", "  sampan cluster members\n", false, members},
    {"token", "[flags]",
     "Makes a token with which another machine may join, and prints the command for that. Who\n"
     "has it becomes a member of the control plane, so it expires; to take it back earlier:\n"
     "kubectl delete secret -n kube-system join-token-… (its first word).",
     " ttl quiet ", "  sampan cluster token --ttl 1h\n", false, token},
    {"remove", "NAME [flags]",
     "Removes a member of the cluster's etcd, for good. That is for a machine that was lost, so "
     "that\n"
     "another one may come in its place, also under its name. Refused when the rest would have no "
     "quorum.",
     "", "  sampan cluster remove node-b\n", true, remove_member},
};

static void print_usage(FILE *to) {
    fprintf(to, "Usage: sampan cluster VERB [flags]\n\n");
    for (size_t i = 0; i < SP_COUNT(verbs); i++) {
        sp_str rest = sp_str_z(verbs[i].about), first;
        if (!sp_str_cut(&rest, '.', &first)) continue;
        fprintf(to, "  %-10s%.*s\n", verbs[i].name, SP_ARG(first));
    }
    fprintf(to, "\nMachines become members by sampan up --join.\n"
                "sampan cluster VERB --help tells more.\n");
}

static int run_verb(const struct verb *v, int argc, char **argv) {
    char name[40];
    sp_err err = {0};
    snprintf(name, sizeof name, "sampan cluster %s", v->name);
    options o = {.cli = {.command = name}};
    const sp_flag own[] = {
        {"ttl", 0, SP_FLAG_STR, &o.ttl, "DURATION", "how long it is good (24h)"},
        {"quiet", 'q', SP_FLAG_BOOL, &o.token_only, NULL, "print the token only"},
        {"output", 'o', SP_FLAG_STR, &o.output, "json", "print what the server says"},
    };
    sp_flag flags[SP_COUNT(own) + 3] = {SP_CLI_FLAGS(&o.cli)};
    size_t n = 2; /* without the namespace */
    for (size_t i = 0; i < SP_COUNT(own); i++)
        if (sp_flag_is_among(v->flags, own[i].name)) flags[n++] = own[i];
    const sp_usage u = {name, v->synopsis, v->about, v->examples, flags, n, !v->word};
    int code = sp_flags_parse(&u, &argc, argv);
    if (code != SP_FLAGS_GO_ON) return code;
    if (argc != (v->word ? 2 : 1)) {
        print_usage(stderr);
        return 2;
    }
    if (o.output && strcmp(o.output, "json") != 0) {
        fprintf(stderr, "%s: -o knows json only\n", name);
        return 2;
    }
    code = v->run(&o, v->word ? argv[1] : NULL, &err) ? 0 : sp_cli_fail(&o.cli, &err);
    sp_cli_close(&o.cli);
    return code;
}

int sp_cluster_main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < SP_COUNT(verbs); i++)
        if (strcmp(verbs[i].name, argv[1]) == 0) return run_verb(&verbs[i], argc - 1, argv + 1);
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    print_usage(help ? stdout : stderr);
    return help ? 0 : 2;
}
