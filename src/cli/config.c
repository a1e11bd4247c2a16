/* config: print the effective configuration, secrets as fingerprints. */
#include "cli/commands.h"

#include "config/config.h"

#include <stdio.h>

#define OUTPUT_MAX (8u * 1024 * 1024) /* bytes printed at most: several times the largest config file */

int cli_config(struct cli_context *context, int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"--json", &json, NULL}, {NULL, NULL, NULL}};
    struct config_problems problems;
    struct config *config = NULL;
    struct buf text;
    int count = 0;

    int status = cli_arguments(context, argc, argv, options, 0, 0, &count);
    if (status != CLI_OK)
        return status;
    buf_init(&text, OUTPUT_MAX);
    config_problems_init(&problems);
    enum pp_result rc = config_load(context->config_path, &config, &problems);
    if (rc != PP_OK) {
        struct str lines = buf_str(&problems.text);
        (void)fwrite(lines.p, 1, lines.n, stderr);
        status = rc == PP_NOMEM ? CLI_FAILURE : CLI_CONFIG;
        goto out;
    }
    rc = json ? config_print_json(config, &text) : config_print(config, &text);
    if (rc != PP_OK) {
        cli_error(context, "the config could not be printed: %s", pp_result_name(rc));
        status = CLI_FAILURE;
        goto out;
    }
    struct str printed = buf_str(&text);
    (void)fwrite(printed.p, 1, printed.n, stdout);
out:
    buf_free(&text);
    config_problems_free(&problems);
    config_unref(&config);
    return status;
}
