/* wait: until the running daemon is ready. */
#include "cli/admin_client.h"
#include "cli/commands.h"

#include "config/value.h"

#include <stdio.h>
#include <time.h>

#define PAUSE    100                   /* ms between two looks */
#define MAX_MOST ((msec)168 * 3600000) /* --max: longer is a slip */

/* PP_OK: ready. PP_AGAIN: not yet, `why` says why not. */
static enum pp_result look(const char *address, msec timeout, char *why, size_t size)
{
    struct problem problem;
    struct buf body;
    int status = 0;
    buf_init(&body, 64u * 1024);
    enum pp_result rc = admin_client_request(address, "GET", "/readyz", timeout, &status, &body, &problem);
    if (rc == PP_OK && status == 200)
        goto out;
    if (rc == PP_OK)
        (void)snprintf(why, size, "not ready: %.*s", (int)buf_len(&body), buf_len(&body) == 0 ? "" : buf_str(&body).p);
    else
        (void)snprintf(why, size, "%s", problem.text);
    rc = PP_AGAIN;
out:
    buf_free(&body);
    return rc;
}

int cli_wait(struct cli_context *context, int argc, char **argv)
{
    const char *max_text = "30s", *admin = NULL;
    const struct cli_option options[] = {{"--max", NULL, &max_text}, {"--admin", NULL, &admin}, {NULL, NULL, NULL}};
    char address[ADMIN_ADDRESS_SIZE], why[600] = "";
    msec max;
    int count = 0;

    int status = cli_arguments(context, argc, argv, options, 0, 0, &count);
    if (status != CLI_OK)
        return status;
    if (value_duration(str_of(max_text), &max) != PP_OK || max > MAX_MOST) {
        cli_error(context, "--max: expected a duration such as \"30s\" or \"2m\", at most 168h");
        return CLI_USAGE;
    }
    admin_client_address(context->config_path, admin, address);
    msec deadline = clock_tick() + max;
    for (;;) {
        msec left = deadline - clock_tick();
        if (look(address, left < 1000 ? 1000 : left, why, sizeof why) == PP_OK)
            return CLI_OK;
        if (clock_tick() + PAUSE > deadline)
            break;
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE * 1000000L}, NULL);
    }
    why[strcspn(why, "\n")] = '\0';
    cli_error(context, "not ready after %s: %s", max_text, why);
    return CLI_FAILURE;
}
