/* The subcommands of the one binary. Each takes what follows its name (argv[0] is the name itself)
 * and returns the exit code: 0, 1 when it failed, 2 when it was called wrongly. */
#pragma once
#include "base/util.h"

typedef int sp_command_fn(int argc, char **argv);

int sp_up_main(int argc, char **argv);
int sp_apply_main(int argc, char **argv);
int sp_get_main(int argc, char **argv);
int sp_describe_main(int argc, char **argv);
int sp_logs_main(int argc, char **argv);
int sp_exec_main(int argc, char **argv);
int sp_delete_main(int argc, char **argv);
int sp_api_resources_main(int argc, char **argv);
int sp_backup_main(int argc, char **argv);
int sp_store_main(int argc, char **argv);
int sp_cluster_main(int argc, char **argv);
int sp_status_main(int argc, char **argv);
int sp_version_main(int argc, char **argv);
int sp_completion_main(int argc, char **argv);

/* The entry points of the other folders; they stand here so that main.c's table is the whole list.
 * For a role main.c has called sp_role_begin. */
int sp_apiserver_main(int argc, char **argv);
int sp_controllers_main(int argc, char **argv);
int sp_agent_main(int argc, char **argv);
int sp_gateway_main(int argc, char **argv);
int sp_etcd_role_main(int argc, char **argv); /* runs the program etcd for sampan up */
int sp_shim_main(int argc, char **argv);      /* holds one container's output and exit status */
int sp_image_main(int argc, char **argv);     /* the image store by hand */
