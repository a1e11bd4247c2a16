/* The table of commands. */
#include "cli/commands.h"

#include <stddef.h>

const struct cli_command cli_commands[] = {
    {NULL, NULL, NULL, NULL},
};
