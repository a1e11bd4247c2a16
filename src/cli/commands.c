/* The table of commands. */
#include "cli/commands.h"

#include <stddef.h>

const struct cli_command cli_commands[] = {
    {"check", cli_check, "", "check the config and the token files, open nothing"},
    {"config", cli_config, "[--json]", "print the effective config, every key, secrets as fingerprints"},
    {NULL, NULL, NULL, NULL},
};
