/* `sampan gateway status|top|drain|enable|disable|weight|reload`: commands to a gateway that runs.
 */
#pragma once
#include "base/err.h"

bool sp_gateway_is_command(const char *word);
/* argv[0] is the command. The exit code. */
int sp_gateway_command(int argc, char **argv);
