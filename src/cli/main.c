#include "cli/commands.h"

#include <stdio.h>

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    puts("sampan " SP_VERSION);
    return 0;
}
