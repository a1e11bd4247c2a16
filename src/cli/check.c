/* check: every fault of the config and of the token files it names, without opening anything else. */
#include "cli/commands.h"

#include "config/config.h"
#include "token/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The tokens as the daemon would read them now; they are let go of at once. */
static enum pp_result check_tokens(const struct config *config, const struct environment_config *environment,
                                   struct config_problems *problems)
{
    struct token_set set = {0};
    struct problem problem;
    char key[128];

    if (environment->token_source == TOKEN_SOURCE_INLINE)
        return PP_OK; /* the loader has looked at them */
    enum pp_result rc = token_file_read(environment->token_path, &set, NULL, &problem);
    token_set_clear(&set);
    if (rc == PP_OK)
        return PP_OK;
    (void)snprintf(key, sizeof key, "environments.%s.token_file", environment->name);
    config_problems_add(problems, config->path, environment->token_line, key, "%s", problem.text);
    return rc;
}

/* Whether it is there and can be read; what it holds is the daemon's to say. */
static void check_ca_file(const struct config *config, const struct environment_config *environment,
                          struct config_problems *problems)
{
    char key[128];

    if (environment->ca_file[0] == '\0' || access(environment->ca_file, R_OK) == 0)
        return;
    (void)snprintf(key, sizeof key, "environments.%s.tls.ca_file", environment->name);
    config_problems_add(problems, config->path, environment->ca_file_line, key,
                        "%s could not be read (%s): expected a PEM file of certificates", environment->ca_file,
                        strerror(errno));
}

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
    for (size_t i = 0; config != NULL && i < config->environment_count; i++) {
        if (check_tokens(config, &config->environments[i], &problems) == PP_NOMEM)
            rc = PP_NOMEM;
        check_ca_file(config, &config->environments[i], &problems);
    }
    if (problems.count > 0)
        status = rc == PP_NOMEM ? CLI_FAILURE : CLI_CONFIG;
    struct str lines = buf_str(&problems.text);
    (void)fwrite(lines.p, 1, lines.n, stderr);
    if (problems.count == 0)
        (void)printf("%s: no problem found\n", context->config_path);
    config_problems_free(&problems);
    config_unref(&config);
    return status;
}
