/* The parts of the token command. */
#ifndef PP_CLI_TOKEN_H
#define PP_CLI_TOKEN_H

#include "cli/cli.h"
#include "config/config.h"
#include "token/file.h"

/* The config and the environment of that name, or what is wrong on standard error and an exit status other than
 * CLI_OK. The caller lets go of *config. */
int token_command_environment(const struct cli_context *context, const char *name, struct config **config,
                              const struct environment_config **out);

/* As `token list`, `token add` and `token retire`: argv[0] is that word. Each in a file of its own. */
int cli_token_list(struct cli_context *context, int argc, char **argv);
int cli_token_add(struct cli_context *context, int argc, char **argv);
int cli_token_retire(struct cli_context *context, int argc, char **argv);

/* Asks Proof, by the daemon's own road, what it thinks of a token. PP_OK: it accepts it. PP_DENIED: it refuses it
 * (401). Anything else: it could not be asked, or its answer says nothing; the problem says why and what to do. */
enum pp_result token_trial(const struct environment_config *e, const struct token *t,
                           struct problem *problem) PP_MUST_CHECK;

#endif
