/* What the kubectl-like commands share: the connection, names of types, files of objects, messages
 * in kubectl's words. Blocking: each call runs the loop until its answer is there. */
#pragma once
#include "base/flags.h"
#include "data/yaml.h"
#include "kube/client.h"

typedef struct sp_cli_type {
    const char *group, *version, *plural, *singular, *kind;
    bool namespaced;
    sp_strs short_names, categories;
} sp_cli_type;

typedef struct sp_cli {
    const char *command;                           /* "sampan get", for messages */
    const char *kubeconfig, *context, *namespace_; /* flags */
    bool all_namespaces;

    uv_loop_t loop;
    sp_kube *kube;
    sp_arena *arena;           /* of the whole command */
    SP_VEC(sp_cli_type) types; /* discovered on first use */
} sp_cli;

/* The flags every one of them takes: put this first into the table. */
#define SP_CLI_FLAGS(cli)                                                                          \
    {"kubeconfig",       0,      SP_FLAG_STR,                                                      \
     &(cli)->kubeconfig, "FILE", "connection ($KUBECONFIG, ~/.kube/config)"},                      \
        {"context", 0, SP_FLAG_STR, &(cli)->context, "NAME", "another context of the kubeconfig"}, \
    {                                                                                              \
        "namespace", 'n', SP_FLAG_STR, &(cli)->namespace_, "NS",                                   \
            "namespace (that of the context, or default)"                                          \
    }

SP_MUST_USE bool sp_cli_open(sp_cli *c, sp_err *err);
void sp_cli_close(sp_cli *c);
/* "Error from server (NotFound): …" or "error: …" on standard error; returns 1. */
int sp_cli_fail(const sp_cli *c, const sp_err *err);

const char *sp_cli_namespace(const sp_cli *c);
SP_MUST_USE bool sp_cli_find_kind(sp_cli *c, sp_str api_version, sp_str kind,
                                  const sp_cli_type **ret, sp_err *err);
/* Fills c->types; done once. */
SP_MUST_USE bool sp_cli_discover(sp_cli *c, sp_err *err);
/* "deployment.apps/nginx", as kubectl prints names. */
sp_str sp_cli_display_name(sp_cli *c, const sp_cli_type *t, sp_str name);
/* ns is ignored for cluster-scoped types; empty = all namespaces. */
sp_str sp_cli_path(sp_cli *c, const sp_cli_type *t, sp_str ns, sp_str name, const char *sub);

SP_MUST_USE bool sp_cli_call(sp_cli *c, const char *method, sp_str target, const char *content_type,
                             const char *accept, const sp_json *body, sp_json **ret, sp_err *err);

/* The objects of -f arguments: files, directories (*.yaml, *.yml, *.json), "-" for standard input;
 * Lists are opened. Errors name the file. */
SP_MUST_USE bool sp_cli_load(sp_cli *c, const sp_strs *files, bool recursive, sp_json_docs *ret,
                             sp_err *err);

/* A word list "pods a b", "pod/a svc/b", "po,svc": types with optional names. */
typedef struct sp_cli_target {
    const sp_cli_type *type;
    sp_str name; /* empty = all of the type */
} sp_cli_target;
typedef SP_VEC(sp_cli_target) sp_cli_targets;
SP_MUST_USE bool sp_cli_targets_parse(sp_cli *c, int argc, char **argv, sp_cli_targets *ret,
                                      sp_err *err);
