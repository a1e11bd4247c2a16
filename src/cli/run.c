/* The command `run`, also the one without a name: the daemon in the foreground. */
#include "cli/commands.h"
#include "daemon/run.h"

#include <stddef.h>

int cli_run(struct cli_context *context, int argc, char **argv)
{
    static const struct cli_option none[] = {{NULL, NULL, NULL}};
    int count = 0;
    int rc = cli_arguments(context, argc, argv, none, 0, 0, &count);
    return rc != CLI_OK ? rc : daemon_run(context->config_path);
}
