/* config: print the effective configuration, secrets as fingerprints; or what every key is. */
#include "cli/commands.h"

#include "config/config.h"
#include "config/options.h"

#include <stdio.h>

#define OUTPUT_MAX (8u * 1024 * 1024) /* bytes printed at most: several times the largest config file */

/* One line per key, its columns separated by tabs: key, type, default, range, how a change takes effect, meaning. The
 * man page and the sample file are checked against this. */
static int print_keys(const struct cli_context *context)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &options[i];
        char key[OPTION_KEY_SIZE];
        struct buf range;
        buf_init(&range, 256);
        option_key(option, "NAME", key);
        option_range(option, &range);
        if (range.failed) {
            cli_error(context, "out of memory");
            buf_free(&range);
            return CLI_FAILURE;
        }
        (void)printf("%s\t%s\t%s\t%.*s\t%s\t%s\n", key, option->type->name,
                     option->standard == NULL ? "required" : option->standard, (int)buf_len(&range),
                     buf_len(&range) == 0 ? "" : buf_str(&range).p, option->restart ? "restart" : "reload",
                     option->help);
        buf_free(&range);
    }
    return CLI_OK;
}

int cli_config(struct cli_context *context, int argc, char **argv)
{
    bool json = false, keys = false;
    const struct cli_option choices[] = {{"--json", &json, NULL}, {"--keys", &keys, NULL}, {NULL, NULL, NULL}};
    struct config_problems problems;
    struct config *config = NULL;
    struct buf text;
    int count = 0;

    int status = cli_arguments(context, argc, argv, choices, 0, 0, &count);
    if (status != CLI_OK)
        return status;
    if (keys)
        return print_keys(context);
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
