/* The table of commands. */
#include "cli/commands.h"

#include <stddef.h>

const struct cli_command cli_commands[] = {
    {"run", cli_run, "", "run the daemon in the foreground (also without a command)"},
    {"check", cli_check, "[--json]", "check the config and the token files, open nothing"},
    {"config", cli_config, "[--json | --keys]",
     "print the effective config, secrets as fingerprints, or what every key is"},
    {"status", cli_status, "[--json] [--admin ADDRESS]",
     "ask the running daemon: environments, tokens and verdicts, upstream, last reload"},
    {"doctor", cli_doctor, "[ENV] [--json] [--admin ADDRESS]",
     "try every part of the way to Proof from this host, and say what to do"},
    {"token", cli_token,
     "list ENV [--json] [--admin ADDRESS]\n"
     "add ENV [--expires TIME] [--force]\n"
     "retire ENV [FINGERPRINT] [--force]",
     "show the tokens, add a new one (from standard input), retire the oldest"},
    {"reload", cli_reload, "[--json] [--admin ADDRESS]", "ask the daemon to reload, and wait for its verdict"},
    {"wait", cli_wait, "[--max 30s] [--admin ADDRESS]", "wait until the daemon is ready"},
    {NULL, NULL, NULL, NULL},
};
