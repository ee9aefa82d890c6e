/* Roles that have not landed yet (weak: the real ones win). */
#include "cli/commands.h"

#include <stdio.h>

static int pending(const char *name) {
    fprintf(stderr, "sampan: %s is not in this build\n", name);
    return 1;
}
__attribute__((weak)) int sp_controllers_main(int argc, char **argv) {
    return pending(argv[argc * 0]);
}
__attribute__((weak)) int sp_agent_main(int argc, char **argv) {
    return pending(argv[argc * 0]);
}
__attribute__((weak)) int sp_gateway_main(int argc, char **argv) {
    return pending(argv[argc * 0]);
}
__attribute__((weak)) int sp_shim_main(int argc, char **argv) {
    return pending(argv[argc * 0]);
}
