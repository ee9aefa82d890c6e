/* Small commands about the server and about ourselves: api-resources, version, completion. */
#include "base/commands.h"
#include "cli/client.h"
#include "cli/print.h"

#include <stdio.h>

static bool list_types(sp_cli *c, sp_err *err) {
    if (!sp_cli_open(c, err) || !sp_cli_discover(c, err)) return false;
    static const char *const names[] = {"NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"};
    sp_grid *g = sp_grid_new();
    for (size_t i = 0; i < SP_COUNT(names); i++) sp_grid_cell(g, sp_str_z(names[i]));
    sp_grid_end_row(g);
    sp_vec_each(&c->types, t) {
        sp_auto(sp_buf) shorts = {0};
        sp_vec_each(&t->short_names, s)
            sp_buf_printf(&shorts, "%s%.*s", shorts.n ? "," : "", SP_ARG(*s));
        const sp_gvr gvr = {t->group, t->version, t->plural, t->kind, !t->namespaced};
        sp_grid_cell(g, sp_str_z(t->plural));
        sp_grid_cell(g, sp_buf_str(&shorts));
        sp_grid_cell(g, sp_gvr_api_version(c->arena, &gvr));
        sp_grid_cell(g, t->namespaced ? SP_STR("true") : SP_STR("false"));
        sp_grid_cell(g, sp_str_z(t->kind));
        sp_grid_end_row(g);
    }
    sp_grid_print(g, stdout, "");
    return true;
}

int sp_api_resources_main(int argc, char **argv) {
    sp_cli c = {.command = "sampan api-resources"};
    const sp_flag flags[] = {SP_CLI_FLAGS(&c)};
    const sp_usage usage = {"sampan api-resources",
                            "[flags]",
                            "Lists the types of objects that the server knows.",
                            NULL,
                            flags,
                            SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    sp_err err = {0};
    rc = list_types(&c, &err) ? 0 : sp_cli_fail(&c, &err);
    sp_cli_close(&c);
    return rc;
}

int sp_version_main(int argc, char **argv) {
    sp_cli c = {.command = "sampan version"};
    bool client = false;
    const sp_flag flags[] = {
        {"client", 0, SP_FLAG_BOOL, &client, NULL, "do not ask the server"},
        SP_CLI_FLAGS(&c),
    };
    const sp_usage usage = {"sampan version",
                            "[flags]",
                            "Prints the versions of this program and of the server.",
                            NULL,
                            flags,
                            SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    printf("Sampan: v%s\n", SP_VERSION);
    if (client) return 0;
    sp_err err = {0};
    sp_json *answer = NULL;
    bool ok = sp_cli_open(&c, &err) &&
              sp_cli_call(&c, "GET", SP_STR("/version"), NULL, NULL, NULL, &answer, &err);
    if (ok) printf("Server: %s\n", sp_json_get_z(answer, "gitVersion"));
    rc = ok ? 0 : sp_cli_fail(&c, &err);
    sp_cli_close(&c);
    return rc;
}

/* What follows a command comes from __words, flags from its help. */
static const char completion[] =
    "_sampan() {\n"
    "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]} "
    "verb= verbs\n"
    "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
    "    COMPREPLY=($(compgen -W \"$(sampan __words help)\" -- \"$cur\"))\n"
    "    return\n"
    "  fi\n"
    "  verbs=$(sampan __words \"$cmd\")\n"
    "  if [[ $cur == -* ]]; then\n"
    "    [[ \" $verbs \" == *\" ${COMP_WORDS[2]} \"* ]] && verb=${COMP_WORDS[2]}\n"
    "    COMPREPLY=($(compgen -W \"$(sampan \"$cmd\" $verb --help 2>/dev/null | sed -n 's/^ "
    "*\\(-., \\)\\{0,1\\}\\(--[a-z-]*\\).*/\\2/p')\" -- \"$cur\"))\n"
    "  elif [[ $prev == -n || $prev == --namespace ]]; then\n"
    "    COMPREPLY=($(compgen -W \"$(sampan get namespaces -o name 2>/dev/null | sed 's,.*/,,')\" "
    "-- \"$cur\"))\n"
    "  elif [ \"$COMP_CWORD\" = 2 ] && [ \"$verbs\" ]; then\n"
    "    COMPREPLY=($(compgen -W \"$verbs\" -- \"$cur\"))\n"
    "  elif [ \"$COMP_CWORD\" = 2 ] && [[ $cmd =~ ^(get|describe|delete)$ ]]; then\n"
    "    COMPREPLY=($(compgen -W \"$(sampan api-resources 2>/dev/null | awk 'NR>1{print $1}')\" -- "
    "\"$cur\"))\n"
    "  elif [ \"$COMP_CWORD\" = 2 ] && [[ $cmd =~ ^(logs|exec)$ ]]; then\n"
    "    COMPREPLY=($(compgen -W \"$(sampan get pods -o name 2>/dev/null | sed 's,^pod/,,')\" -- "
    "\"$cur\"))\n"
    "  elif [ \"$COMP_CWORD\" -gt 2 ] && [[ $cmd =~ ^(get|describe|delete)$ ]]; then\n"
    "    COMPREPLY=($(compgen -W \"$(sampan get \"${COMP_WORDS[2]}\" -o name 2>/dev/null | sed "
    "'s,.*/,,')\" -- \"$cur\"))\n"
    "  else\n"
    "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
    "  fi\n"
    "}\n"
    "complete -F _sampan sampan\n";

int sp_completion_main(int argc, char **argv) {
    const sp_usage usage = {"sampan completion",
                            "bash|zsh",
                            "Prints a completion script for the shell.",
                            "  . <(sampan completion bash)\n",
                            NULL,
                            0};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    const char *shell = argc > 1 ? argv[1] : "bash";
    if (strcmp(shell, "zsh") == 0)
        printf("autoload -U +X bashcompinit && bashcompinit\n");
    else if (strcmp(shell, "bash") != 0) {
        fprintf(stderr,
                "sampan completion: there is a script for bash and for zsh, not for \"%s\"\n",
                shell);
        return 2;
    }
    fputs(completion, stdout);
    return 0;
}
