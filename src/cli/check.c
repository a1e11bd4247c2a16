/* check: every fault of the config and of the token files it names, without opening anything else. */
#include "cli/commands.h"

#include "config/config.h"

#include <stdio.h>

int cli_check(struct cli_context *context, int argc, char **argv)
{
    static const struct cli_option options[] = {{NULL, NULL, NULL}};
    struct config_problems problems;
    struct config *config = NULL;
    int count = 0;

    int status = cli_arguments(context, argc, argv, options, 0, 0, &count);
    if (status != CLI_OK)
        return status;
    config_problems_init(&problems);
    enum pp_result rc = config_load(context->config_path, &config, &problems);
    if (rc != PP_OK)
        status = rc == PP_NOMEM ? CLI_FAILURE : CLI_CONFIG;
    struct str lines = buf_str(&problems.text);
    (void)fwrite(lines.p, 1, lines.n, stderr);
    if (rc == PP_OK)
        (void)printf("%s: no problem found\n", context->config_path);
    config_problems_free(&problems);
    config_unref(&config);
    return status;
}
