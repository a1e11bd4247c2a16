/* reload: asks the running daemon to read its files again, and tells its verdict. */
#include "cli/admin_client.h"
#include "cli/commands.h"
#include "config/config.h"

#include <stdio.h>

#define TIMEOUT 60000 /* ms */

static void print_lines(FILE *to, json_t *lines)
{
    size_t i;
    json_t *line;
    json_array_foreach(lines, i, line)(void) fprintf(to, "%s\n", json_string_value(line));
}

/* No daemon was found where the config says, or would say if it could be read: then its faults are the answer. */
static bool config_is_at_fault(const struct cli_context *context)
{
    struct config *config = NULL;
    struct config_problems problems;
    config_problems_init(&problems);
    enum pp_result rc = config_load(context->config_path, &config, &problems);
    struct str lines = buf_str(&problems.text);
    if (rc != PP_OK && lines.n > 0)
        (void)fwrite(lines.p, 1, lines.n, stderr);
    config_unref(&config);
    config_problems_free(&problems);
    return rc != PP_OK && rc != PP_NOMEM;
}

int cli_reload(struct cli_context *context, int argc, char **argv)
{
    bool as_json = false;
    const char *admin = NULL;
    const struct cli_option options[] = {{"--json", &as_json, NULL}, {"--admin", NULL, &admin}, {NULL, NULL, NULL}};
    char address[ADMIN_ADDRESS_SIZE];
    struct problem problem;
    json_t *verdict = NULL;
    int count = 0, http = 0;

    int status = cli_arguments(context, argc, argv, options, 0, 0, &count);
    if (status != CLI_OK)
        return status;
    admin_client_address(context->config_path, admin, address);
    if (admin_client_json(address, "POST", "/reload", TIMEOUT, &http, &verdict, &problem) != PP_OK) {
        bool at_fault = admin == NULL && config_is_at_fault(context);
        cli_error(context, "not reloaded: %s", problem.text);
        return at_fault ? CLI_CONFIG : CLI_FAILURE;
    }
    bool ok = http == 200;
    if (as_json)
        (void)json_dumpf(verdict, stdout, JSON_INDENT(2)), (void)putchar('\n');
    else if (ok) {
        (void)puts("reloaded");
        print_lines(stdout, json_object_get(verdict, "changes"));
    } else if (http == 422) {
        print_lines(stderr, json_object_get(verdict, "problems"));
        cli_error(context, "not reloaded: the configuration before it stays in force");
    } else {
        const char *message = json_string_value(json_object_get(verdict, "message"));
        cli_error(context, "the daemon answered %d: %s", http, message == NULL ? "no reason given" : message);
    }
    json_decref(verdict);
    return ok ? CLI_OK : http == 422 ? CLI_CONFIG : CLI_FAILURE;
}
