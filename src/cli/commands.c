/* The table of commands. */
#include "cli/commands.h"

#include <stddef.h>

const struct cli_command cli_commands[] = {
    {"check", cli_check, "", "check the config and the token files, open nothing"},
    {"config", cli_config, "[--json | --keys]",
     "print the effective config, secrets as fingerprints, or what every key is"},
    {NULL, NULL, NULL, NULL},
};
