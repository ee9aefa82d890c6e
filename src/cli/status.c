/* `sampan status`: asks one API server for all that it takes to judge the whole (status_view.c).
 * Lists may be a little old (resourceVersion=0), so that they are told without a quorum, too. */
#include "base/clock.h"
#include "base/commands.h"
#include "cli/client.h"
#include "cli/status_view.h"
#include "kube/gvrs.h"

#include <stdio.h>
#include <unistd.h>

enum { SECOND_LOOK_MS = 5500 }; /* longer than any of our Leases goes without being renewed */

typedef struct status {
    sp_cli cli;
    const char *output;
} status;

static bool list(sp_cli *c, const sp_gvr *gvr, const char *ns, sp_json **ret, sp_err *err) {
    sp_str path = sp_gvr_path(c->arena, gvr, sp_str_z(ns), SP_STR(""), NULL);
    sp_str target = sp_arena_printf(c->arena, "%.*s?resourceVersion=0", SP_ARG(path));
    return sp_cli_call(c, "GET", target, NULL, NULL, NULL, ret, err);
}

/* Its words are no JSON; the HTTP status is what counts. */
static bool is_ready(sp_cli *c) {
    const sp_kube_request r = {.method = "GET", .target = SP_STR("/readyz"), .accept = "*/*"};
    int http = 0;
    sp_json *doc = NULL;
    (void)!sp_kube_call_sync(c->kube, c->arena, &r, &http, &doc, NULL);
    return http == 200;
}

static bool ask(sp_cli *c, sp_status_input *in, sp_err *err) {
    sp_json *store = NULL, *leases = NULL, *nodes = NULL, *vips = NULL;
    if (!sp_cli_open(c, err) ||
        !sp_cli_call(c, "GET", SP_STR("/sampan/v1/cluster"), NULL, NULL, NULL, &store, err) ||
        !list(c, &sp_gvr_leases, "kube-system", &leases, err) ||
        !list(c, &sp_gvr_nodes, "", &nodes, err) ||
        !list(c, &sp_gvr_virtualaddresses, "", &vips, err))
        return false;
    *in = (sp_status_input){.server = sp_kube_server(c->kube),
                            .ready = is_ready(c),
                            .store = store,
                            .leases = leases,
                            .nodes = nodes,
                            .vips = vips,
                            .now_wall_ms = sp_clock_wall_ms()};
    if (!sp_status_is_doubtful(leases, in->now_wall_ms)) return true;
    usleep(SECOND_LOOK_MS * 1000);
    in->leases_before = leases;
    if (!list(c, &sp_gvr_leases, "kube-system", &leases, err)) return false;
    in->leases = leases;
    in->now_wall_ms = sp_clock_wall_ms();
    return true;
}

static void print(const status *s, const sp_json *doc) {
    sp_auto(sp_buf) b = {0};
    if (!s->output) {
        sp_status_print(doc, stdout);
        return;
    }
    sp_json_write_pretty(&b, doc);
    printf("%s\n", sp_buf_z(&b));
}

static int run(status *s) {
    sp_status_input in;
    sp_err err = {0};
    if (!ask(&s->cli, &in, &err)) return sp_cli_fail(&s->cli, &err);
    const sp_json *doc = sp_status_judge(s->cli.arena, &in);
    print(s, doc);
    return sp_json_bool(sp_json_get(doc, "healthy"), false) ? 0 : 1;
}

int sp_status_main(int argc, char **argv) {
    status s = {.cli = {.command = "sampan status"}};
    const sp_flag flags[] = {
        {"output", 'o', SP_FLAG_STR, &s.output, "json", "the same for programs"},
        {"kubeconfig", 0, SP_FLAG_STR, &s.cli.kubeconfig, "FILE",
         "connection ($KUBECONFIG, ~/.kube/config)"},
        {"context", 0, SP_FLAG_STR, &s.cli.context, "NAME", "another context of the kubeconfig"},
    };
    const sp_usage usage = {"sampan status",
                            "[flags]",
                            "Tells how the whole installation is: API servers, the store and its "
                            "members, who acts as\n"
                            "controllers, nodes, gateways and who holds virtual addresses. Ends "
                            "with 1 when something\n"
                            "is not as it should be, and says what. What looks silent is looked at "
                            "twice, which takes\nsix seconds.",
                            "  sampan status\n"
                            "  sampan status -o json | jq -r '.troubles[]'\n",
                            flags,
                            SP_COUNT(flags),
                            .only_flags = true};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    if (s.output && strcmp(s.output, "json") != 0) {
        fprintf(stderr, "sampan status: -o knows json only\n");
        return 2;
    }
    rc = run(&s);
    sp_cli_close(&s.cli);
    return rc;
}
