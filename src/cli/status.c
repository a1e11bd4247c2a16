/* status: what the running daemon knows, for people or as JSON. */
#include "cli/admin_client.h"
#include "cli/commands.h"

#include "base/span.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TIMEOUT 10000 /* ms */

/* --- reading the document: absent members are empty, so that an older or newer daemon can be asked too --- */

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static int64_t number_of(json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

/* Wall ms of an RFC 3339 time as the daemon writes it; 0 when there is none. */
static int64_t moment_of(json_t *object, const char *key)
{
    struct tm t = {0};
    const char *rest = strptime(text_of(object, key), "%Y-%m-%dT%H:%M:%S", &t);
    if (rest == NULL)
        return 0;
    return (int64_t)timegm(&t) * 1000 + (rest[0] == '.' ? strtol(rest + 1, NULL, 10) : 0); /* always three digits */
}

static void print_ago(int64_t now, int64_t when, const char *otherwise)
{
    char span[SPAN_SIZE];
    if (when == 0)
        (void)printf("%s", otherwise);
    else if (when > now)
        (void)printf("in %s", span_text(when - now, span));
    else
        (void)printf("%s ago", span_text(now - when, span));
}

static void print_joined(json_t *array, const char *before)
{
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item)
    {
        (void)printf("%s%s", i == 0 ? before : ", ", json_string_value(item));
    }
}

/* --- people's text --- */

static void print_tokens(json_t *tokens, int64_t now)
{
    size_t i;
    json_t *token;
    if (json_array_size(tokens) == 0)
        return;
    (void)printf("  %-13s %-9s %-9s %-14s %9s %7s %10s  %s\n", "TOKEN", "ROLE", "VERDICT", "LAST USED", "REQUESTS",
                 "REFUSED", "WEBSOCKETS", "EXPIRES");
    json_array_foreach(tokens, i, token)
    {
        char used[SPAN_SIZE + 8] = "never", span[SPAN_SIZE];
        int64_t last = moment_of(token, "last_used");
        if (last > 0)
            (void)snprintf(used, sizeof used, "%s ago", span_text(now - last, span));
        (void)printf("  %-13s %-9s %-9s %-14s %9" PRId64 " %7" PRId64 " %10" PRId64 "  ", text_of(token, "fingerprint"),
                     text_of(token, "role"), text_of(token, "verdict"), used, number_of(token, "requests"),
                     number_of(token, "refusals"), number_of(token, "websockets"));
        print_ago(now, moment_of(token, "expires"), "not known");
        if (moment_of(token, "grace_ends") > 0) {
            (void)printf(", forgotten ");
            print_ago(now, moment_of(token, "grace_ends"), "");
        }
        (void)putchar('\n');
    }
}

static void print_milliseconds(const char *name, json_t *latency, const char *key)
{
    json_t *value = json_object_get(latency, key);
    if (json_is_number(value))
        (void)printf("%s %.1f ms", name, json_number_value(value) * 1e3);
}

static void print_environment(json_t *e, int64_t now)
{
    json_t *access = json_object_get(e, "access"), *users = json_object_get(access, "users");
    json_t *groups = json_object_get(access, "groups"), *file = json_object_get(e, "token_file");
    json_t *requests = json_object_get(e, "requests"), *latency = json_object_get(e, "latency_seconds");
    (void)printf("\n%s: %s, %s\n", text_of(e, "name"),
                 json_is_true(json_object_get(e, "ready")) ? "ready" : "NOT READY", text_of(e, "base_url"));
    print_joined(json_object_get(e, "listen"), "  listens on   ");
    (void)printf("\n  open to      ");
    if (json_array_size(users) + json_array_size(groups) == 0)
        (void)printf("everyone on this host who can reach the listener");
    print_joined(users, "users ");
    print_joined(groups, json_array_size(users) > 0 ? "; groups " : "groups ");
    (void)printf("\n  upstream     %s\n", text_of(json_object_get(e, "upstream"), "text"));
    (void)printf("  token file   %s", text_of(file, "source"));
    if (moment_of(file, "stale_since") > 0) {
        char span[SPAN_SIZE];
        (void)printf(", UNUSABLE for %s", span_text(now - moment_of(file, "stale_since"), span));
    }
    (void)putchar('\n');
    print_tokens(json_object_get(e, "tokens"), now);
    (void)printf("  %s\n", text_of(e, "retire")); /* also says so when no token is held */
    (void)printf("  requests     %" PRId64 " since start: %" PRId64 " with 2xx, %" PRId64 " with 4xx, %" PRId64
                 " with 5xx, %" PRId64 " aborted; %" PRId64 " refused here\n",
                 number_of(requests, "total"), number_of(requests, "2xx"), number_of(requests, "4xx"),
                 number_of(requests, "5xx"), number_of(requests, "aborted"), number_of(requests, "local_rejections"));
    (void)printf("  now          %" PRId64 " in flight, %" PRId64 " WebSockets, %" PRId64 " connections of apps\n",
                 number_of(e, "inflight"), number_of(e, "websockets"), number_of(e, "connections"));
    if (json_is_number(json_object_get(latency, "p50"))) {
        print_milliseconds("  latency      median", latency, "p50");
        print_milliseconds(", 90th percentile", latency, "p90");
        print_milliseconds(", 99th", latency, "p99");
        (void)putchar('\n');
    }
}

static void print_text(json_t *root)
{
    json_t *config = json_object_get(root, "config"), *environments = json_object_get(root, "environments");
    json_t *problems = json_object_get(root, "problems"), *item;
    int64_t now = moment_of(root, "time");
    size_t i;
    char span[SPAN_SIZE];
    (void)printf("proofproxy %s, pid %" PRId64 ", %s, up %s\n", text_of(root, "version"), number_of(root, "pid"),
                 strcmp(text_of(root, "state"), "not_ready") == 0 ? "NOT READY" : text_of(root, "state"),
                 span_text(now - moment_of(root, "started"), span));
    (void)printf("config %s, loaded ", text_of(config, "path"));
    print_ago(now, moment_of(config, "last_success"), "never");
    if (!json_is_true(json_object_get(config, "ok"))) {
        (void)printf("; the reload ");
        print_ago(now, moment_of(config, "last_try"), "");
        (void)printf(" FAILED:");
        json_array_foreach(json_object_get(config, "problems"), i, item)
        {
            (void)printf("\n  %s", json_string_value(item));
        }
    }
    const char *memory = text_of(json_object_get(root, "memory"), "text"); /* "at most 2.9 GiB (N bytes): PARTS" */
    if (memory[0] != '\0')
        (void)printf("\nmemory %.*s, by part with --json", (int)strcspn(memory, ":"), memory);
    (void)putchar('\n');
    json_array_foreach(json_object_get(config, "restart_needed"), i, item)
    {
        (void)printf("waits for a restart: %s\n", json_string_value(item));
    }
    json_array_foreach(environments, i, item)
    {
        print_environment(item, now);
    }
    if (json_array_size(problems) == 0)
        return;
    (void)printf("\n%zu %s:\n", json_array_size(problems), json_array_size(problems) == 1 ? "problem" : "problems");
    json_array_foreach(problems, i, item)
    {
        (void)printf("  %s\n", json_string_value(item));
    }
}

int cli_status(struct cli_context *context, int argc, char **argv)
{
    bool as_json = false;
    const char *admin = NULL;
    const struct cli_option options[] = {{"--json", &as_json, NULL}, {"--admin", NULL, &admin}, {NULL, NULL, NULL}};
    char address[ADMIN_ADDRESS_SIZE];
    struct problem problem;
    json_t *root = NULL;
    int count = 0, http = 0;

    int status = cli_arguments(context, argc, argv, options, 0, 0, &count);
    if (status != CLI_OK)
        return status;
    admin_client_address(context->config_path, admin, address);
    if (admin_client_json(address, "GET", "/status", TIMEOUT, &http, &root, &problem) != PP_OK) {
        cli_error(context, "%s", problem.text);
        return CLI_FAILURE;
    }
    if (http != 200) {
        cli_error(context, "the daemon answered %d: %s", http, text_of(root, "message"));
        status = CLI_FAILURE;
    } else {
        if (as_json)
            (void)json_dumpf(root, stdout, JSON_INDENT(2)), (void)putchar('\n');
        else
            print_text(root);
        status = json_array_size(json_object_get(root, "problems")) > 0 ? CLI_FOUND : CLI_OK;
    }
    json_decref(root);
    return status;
}
