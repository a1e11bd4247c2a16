/* The commands' entry points, one file each; see struct cli_command for what they take and return. */
#ifndef PP_CLI_COMMANDS_H
#define PP_CLI_COMMANDS_H

#include "cli/cli.h"

int cli_run(struct cli_context *context, int argc, char **argv);
int cli_check(struct cli_context *context, int argc, char **argv);
int cli_config(struct cli_context *context, int argc, char **argv);
int cli_status(struct cli_context *context, int argc, char **argv);
int cli_token(struct cli_context *context, int argc, char **argv);
int cli_reload(struct cli_context *context, int argc, char **argv);
int cli_doctor(struct cli_context *context, int argc, char **argv);
int cli_wait(struct cli_context *context, int argc, char **argv);

#endif
