/* token: which of its commands is meant. */
#include "cli/token.h"

#include "cli/commands.h"

#include <stdio.h>

int token_command_environment(const struct cli_context *context, const char *name, struct config **config,
                              const struct environment_config **out)
{
    struct config_problems problems;
    struct config *loaded = NULL;
    config_problems_init(&problems);
    enum pp_result rc = config_load(context->config_path, &loaded, &problems);
    struct str lines = buf_str(&problems.text);
    if (lines.n > 0)
        (void)fwrite(lines.p, 1, lines.n, stderr);
    config_problems_free(&problems);
    if (rc != PP_OK)
        return rc == PP_NOMEM ? CLI_FAILURE : CLI_CONFIG;
    const struct environment_config *e = config_environment(loaded, name);
    if (e == NULL) {
        cli_error(context, "%s has no environment \"%s\": expected one of those it names under environments",
                  context->config_path, cli_word(name));
        config_unref(&loaded);
        return CLI_USAGE;
    }
    *config = loaded;
    *out = e;
    return CLI_OK;
}

int cli_token(struct cli_context *context, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct cli_context *context, int argc, char **argv);
    } actions[] = {{"list", cli_token_list}, {"add", cli_token_add}, {"retire", cli_token_retire}};
    for (size_t i = 0; argc > 1 && i < sizeof actions / sizeof *actions; i++)
        if (strcmp(argv[1], actions[i].name) == 0)
            return actions[i].run(context, argc - 1, argv + 1);
    cli_error(context, "expected what to do: list ENV, add ENV, or retire ENV [FINGERPRINT]");
    return cli_usage_fault(context);
}
