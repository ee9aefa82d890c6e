/* The one binary: a table of subcommands. */
#include "base/commands.h"

#include "base/role.h"

#include <stdio.h>

static int help_main(int argc, char **argv);
static int words_main(int argc, char **argv);

enum { IS_ROLE = 1 };

static const struct row {
    const char *group, *name, *summary; /* no summary: not listed */
    sp_command_fn *run;
    int flags;
    const char *verbs; /* the words that may follow, for completion */
} table[] = {
    {"Start here", "up", "run the whole platform on this machine", sp_up_main, 0},
    {"Start here", "status", "how the whole is, and what is wrong", sp_status_main, 0},
    {"Objects, as with kubectl", "apply", "make the cluster hold what files say", sp_apply_main, 0},
    {"Objects, as with kubectl", "get", "show objects", sp_get_main, 0},
    {"Objects, as with kubectl", "describe", "show objects with their events", sp_describe_main, 0},
    {"Objects, as with kubectl", "logs", "print what a container wrote", sp_logs_main, 0},
    {"Objects, as with kubectl", "exec", "run a command in a container", sp_exec_main, 0},
    {"Objects, as with kubectl", "delete", "delete objects", sp_delete_main, 0},
    {"Objects, as with kubectl", "api-resources", "list the types of objects",
     sp_api_resources_main, 0},
    {"Keeping what there is", "backup", "create, verify and restore backups", sp_backup_main, 0,
     "create verify restore"},
    {"Keeping what there is", "store", "move everything to another store", sp_store_main, 0,
     "migrate"},
    {"More than one machine", "cluster", "members of the cluster, and tokens to join it",
     sp_cluster_main, 0, "members token remove"},
    {"Images", "image", "import, pull, list and remove container images", sp_image_main, 0,
     "import pull ls rm gc"},
    {"Roles, each alone", "apiserver", "the Kubernetes API and its store", sp_apiserver_main,
     IS_ROLE},
    {"Roles, each alone", "controllers", "bring what is closer to what is wanted",
     sp_controllers_main, IS_ROLE},
    {"Roles, each alone", "agent", "run the pods of this machine", sp_agent_main, IS_ROLE},
    {"Roles, each alone", "gateway",
     "bring traffic to the pods; alone, in place of haproxy and keepalived", sp_gateway_main,
     IS_ROLE, "status top drain disable enable weight reload"},
    {"More", "version", "print versions", sp_version_main, 0},
    {"More", "completion", "print a shell completion script", sp_completion_main, 0, "bash zsh"},
    {"More", "help", "this text, or that of a command", help_main, 0},
    {"", "etcd", NULL, sp_etcd_role_main, IS_ROLE},
    {"", "shim", NULL, sp_shim_main, 0},
    {"", "__words", NULL, words_main, 0},
};

static void print_help(FILE *out) {
    fprintf(out,
            "Sampan %s: a cloud-native platform in one program. Its API is that of Kubernetes.\n\n"
            "Usage: sampan COMMAND [flags]\n",
            SP_VERSION);
    const char *group = "";
    for (size_t i = 0; i < SP_COUNT(table); i++) {
        if (!table[i].summary) continue;
        if (strcmp(group, table[i].group) != 0) fprintf(out, "\n%s:\n", group = table[i].group);
        fprintf(out, "  %-15s%s\n", table[i].name, table[i].summary);
    }
    fprintf(out, "\nsampan COMMAND --help tells more about each.\n");
}

static const struct row *find(const char *name) {
    for (size_t i = 0; i < SP_COUNT(table); i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

static int no_command(const char *name) {
    fprintf(stderr, "sampan: there is no command \"%s\"; sampan --help lists them\n", name);
    return 2;
}

static int help_main(int argc, char **argv) {
    if (argc < 2 || argv[1][0] == '-') {
        print_help(stdout);
        return 0;
    }
    const struct row *row = find(argv[1]);
    if (!row) return no_command(argv[1]);
    char *args[] = {argv[1], (char *)(uintptr_t) "--help", NULL};
    return row->run(2, args);
}

/* For the completion scripts: what may follow a command; all commands for `help`. */
static int words_main(int argc, char **argv) {
    const struct row *row = argc > 1 ? find(argv[1]) : NULL;
    if (row && row->verbs) printf("%s\n", row->verbs);
    for (size_t i = 0; row && row->run == help_main && i < SP_COUNT(table); i++)
        if (table[i].summary) printf("%s\n", table[i].name);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help_main(1, argv);
    if (strcmp(argv[1], "--version") == 0) {
        printf("sampan %s\n", SP_VERSION);
        return 0;
    }
    const struct row *row = find(argv[1]);
    if (!row) return no_command(argv[1]);
    if (row->flags & IS_ROLE) sp_role_begin(row->name);
    return row->run(argc - 1, argv + 1);
}
