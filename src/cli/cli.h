/* The command line: which commands exist, what all of them share. */
#ifndef PP_CLI_CLI_H
#define PP_CLI_CLI_H

#include "base/result.h"

#include <stdbool.h>

/* What every command ends with (proofproxy(8), EXIT STATUS). */
enum cli_exit {
    CLI_OK = 0,      /* done; for the daemon: drained */
    CLI_FAILURE = 1, /* could not do it; for the daemon also: the drain deadline passed with work left */
    CLI_USAGE = 2,   /* the command line is wrong */
    CLI_FOUND = 3,   /* doctor, status, token list: done, and a problem was found */
    CLI_CONFIG = 78  /* the config is at fault (EX_CONFIG of sysexits.h): a restart will not help */
};

/* What a command is given besides its arguments. */
struct cli_context {
    const char *config_path; /* of -c, or the default */
    const struct cli_command *command;
};

struct cli_command {
    const char *name;
    /* argv[0] is the command's name; -c and -h were already taken out. Returns an enum cli_exit. */
    int (*run)(struct cli_context *context, int argc, char **argv);
    const char *usage; /* the arguments: "[ENV] [--json]"; lines where there is more than one way */
    const char *help;  /* one line */
};

/* All commands, ended by one without a name; in cli/commands.c. */
extern const struct cli_command cli_commands[];

/* An option of a command. With `value` it takes one ("--max 30s" or "--max=30s"), else it only sets *given. */
struct cli_option {
    const char *name; /* "--json" */
    bool *given;      /* may be NULL */
    const char **value;
};

/* Takes `options` (ended by one without a name) out of argv, in any order; `--` ends them. What is left moves to
 * argv[1] and on, its number to *count, which must lie in least..most. Anything else is said on standard error with the
 * command's usage: then CLI_USAGE, otherwise CLI_OK. */
int cli_arguments(const struct cli_context *context, int argc, char **argv, const struct cli_option *options, int least,
                  int most, int *count) PP_MUST_CHECK;

/* "proofproxy COMMAND: ..." and a newline on standard error. The message is a sentence without a final newline. */
void cli_error(const struct cli_context *context, const char *format, ...) PP_PRINTF(2, 3);

/* Says on standard error how the command is called, behind what was wrong; returns CLI_USAGE. */
int cli_usage_fault(const struct cli_context *context);

/* A word of the command line, for an error to repeat; of a long one only that it is long, since somebody may have typed
 * a token in the wrong place, and errors end up in logs and tickets. */
const char *cli_word(const char *word);

/* The whole program: takes -c, -V and -h, finds the command, runs it, and makes sure that what it printed was really
 * written. Returns the exit status. */
int cli_main(int argc, char **argv);

/* -V: our version and those of the libraries in use, on standard output. */
void cli_print_version(void);

#endif
