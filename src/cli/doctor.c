/* doctor: tries every part of the way between the apps and Proof, and says what to do about what fails. */
#include "cli/doctor.h"

#include "cli/commands.h"
#include "net/upstream.h"

static void examine(struct doctor_report *r, const struct environment_config *e)
{
    struct token_set tokens = {.count = 0};
    struct upstream_tls *tls = NULL;
    r->environment = e->name;
    if (!r->as_json)
        (void)printf("\n%s (%s)\n", e->name, e->base_url.text);
    doctor_token_file(r, e, &tokens);
    doctor_listeners(r, e);
    if (doctor_road(r, e, &tls)) {
        doctor_api(r, e, tls, &tokens);
    } else {
        doctor_say(r, FINDING_SKIPPED, "token", NULL, "the tokens cannot be tried without a connection to Proof");
        doctor_say(r, FINDING_SKIPPED, "websocket", NULL, "cannot be tried without a connection to Proof");
    }
    upstream_tls_unref(&tls);
    token_set_clear(&tokens);
}

/* Each line of the config's problems as one finding. */
static void say_problems(struct doctor_report *r, const struct config_problems *problems)
{
    struct str text = buf_str(&problems->text);
    while (text.n > 0) {
        const char *newline = memchr(text.p, '\n', text.n);
        size_t n = newline == NULL ? text.n : (size_t)(newline - text.p);
        doctor_say(r, FINDING_FAILED, "config",
                   "correct the file; \"proofproxy check\" tells when it is right, \"proofproxy reload\" loads it",
                   "%.*s", (int)n, text.p);
        text.p += n + (newline != NULL);
        text.n -= n + (newline != NULL);
    }
}

int cli_doctor(struct cli_context *context, int argc, char **argv)
{
    bool as_json = false;
    const char *admin = NULL;
    const struct cli_option options[] = {{"--json", &as_json, NULL}, {"--admin", NULL, &admin}, {NULL, NULL, NULL}};
    struct doctor_report report;
    struct config_problems problems;
    struct config *config = NULL;
    int count = 0;

    int status = cli_arguments(context, argc, argv, options, 0, 1, &count);
    if (status != CLI_OK)
        return status;
    if (doctor_report_init(&report, as_json) != PP_OK) {
        cli_error(context, "out of memory");
        return CLI_FAILURE;
    }
    config_problems_init(&problems);
    enum pp_result rc = config_load(context->config_path, &config, &problems);
    if (rc == PP_OK && count == 1 && config_environment(config, argv[1]) == NULL) {
        cli_error(context, "%s names no environment \"%s\"", context->config_path, cli_word(argv[1]));
        json_decref(report.checks);
        status = CLI_USAGE;
        goto out;
    }
    if (!as_json)
        (void)puts("this host");
    if (rc == PP_OK)
        doctor_say(&report, FINDING_OK, "config", NULL, "%s is right", context->config_path);
    else
        say_problems(&report, &problems);
    doctor_daemon(&report, context->config_path, admin, count == 1 ? argv[1] : NULL);
    for (size_t i = 0; rc == PP_OK && i < config->environment_count; i++)
        if (count == 0 || strcmp(config->environments[i].name, argv[1]) == 0)
            examine(&report, &config->environments[i]);
    status = doctor_report_end(&report);
out:
    config_problems_free(&problems);
    config_unref(&config);
    return status;
}
