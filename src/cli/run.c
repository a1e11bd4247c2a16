/* The command `run`, also the one without a name: the daemon in the foreground. */
#include "cli/commands.h"
#include "daemon/run.h"

int cli_run(struct cli_context *context, int argc, char **argv)
{
    int count;
    int rc = cli_arguments(context, argc, argv, NULL, 0, 0, &count);
    return rc != CLI_OK ? rc : daemon_run(context->config_path);
}
