/* The subcommands of the one binary. Each takes what follows its name and returns the exit code. */
#pragma once
#include "base/util.h"

typedef int sp_command_fn(int argc, char **argv); /* argv[0] is the command's own name */

typedef struct sp_command {
    const char *name;
    const char *group;   /* heading in `sampan --help` */
    const char *summary; /* one line */
    sp_command_fn *run;
} sp_command;

/* One row per command lives in cli/main.c; the functions in the files beside it, the roles'
 * entry points in their own folders. */
int sp_apiserver_main(int argc, char **argv);
int sp_controllers_main(int argc, char **argv);
int sp_agent_main(int argc, char **argv);
int sp_gateway_main(int argc, char **argv);
int sp_shim_main(int argc, char **argv); /* holds one container's output and exit status */
int sp_image_main(int argc, char **argv); /* the image store by hand */
