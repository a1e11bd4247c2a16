/* token list: what the file holds, and what the running daemon knows of it. */
#include "cli/admin_client.h"
#include "cli/token.h"

#include "base/span.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define TIMEOUT 3000 /* ms: without the daemon the list is shorter, not late */

/* The daemon's own view of the environment; NULL when it is not there, or does not know it. A new reference. */
static json_t *ask_daemon(const struct cli_context *context, const char *admin, const char *name,
                          struct problem *problem)
{
    char address[ADMIN_ADDRESS_SIZE];
    json_t *root = NULL, *environment, *found = NULL;
    size_t i;
    int http;
    admin_client_address(context->config_path, admin, address);
    if (admin_client_json(address, "GET", "/status", TIMEOUT, &http, &root, problem) != PP_OK)
        return NULL;
    json_array_foreach(json_object_get(root, "environments"), i, environment)
    {
        const char *text = json_string_value(json_object_get(environment, "name"));
        if (text != NULL && strcmp(text, name) == 0)
            found = json_incref(environment);
    }
    json_decref(root);
    if (found == NULL)
        (void)problem_set(problem, PP_NOT_FOUND, "the daemon at %s does not run this environment: reload it", address);
    return found;
}

/* The daemon's entry about that token; NULL if it holds none. Borrowed. */
static json_t *find_live(json_t *live, const char *fingerprint)
{
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(live, "tokens"), i, token)
    {
        const char *text = json_string_value(json_object_get(token, "fingerprint"));
        if (text != NULL && strcmp(text, fingerprint) == 0)
            return token;
    }
    return NULL;
}

static json_t *bare_token(const struct token *t)
{
    char when[25];
    json_t *expires = json_null();
    if (token_expires(t) != 0) {
        clock_format_wall(token_expires(t), when);
        expires = json_string(when);
    }
    return json_pack("{s:s, s:n, s:n, s:b, s:o}", "fingerprint", token_fingerprint(t), "role", "verdict", "in_file", 1,
                     "expires", expires);
}

/* Those of the file, newest first, then those the daemon still holds besides. */
static json_t *list_tokens(const struct token_set *set, json_t *live)
{
    json_t *list = json_array(), *token;
    size_t i;
    for (i = 0; i < set->count; i++) {
        json_t *known = find_live(live, token_fingerprint(set->tokens[i]));
        (void)json_array_append_new(list, known != NULL ? json_copy(known) : bare_token(set->tokens[i]));
    }
    json_array_foreach(json_object_get(live, "tokens"), i, token)
    {
        bool listed = false;
        for (size_t j = 0; j < set->count; j++)
            listed |= find_live(live, token_fingerprint(set->tokens[j])) == token;
        if (!listed)
            (void)json_array_append(list, token);
    }
    return list;
}

static const char *text_of(json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? otherwise : text;
}

/* "3 min ago", "never" or "-". */
static const char *ago(json_t *token, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(token, key));
    char span[SPAN_SIZE];
    int64_t when;
    if (json_object_get(token, "requests") == NULL)
        (void)snprintf(out, size, "-");
    else if (text == NULL || token_parse_time(str_of(text), &when) != PP_OK)
        (void)snprintf(out, size, "never");
    else
        (void)snprintf(out, size, "%s ago", span_text(clock_wall() - when, span));
    return out;
}

static void print_list(const char *source, json_t *list, json_t *live, const struct problem *why_not_live)
{
    size_t i;
    json_t *token;
    char since[32], used[32];
    (void)printf("%s\n%-13s %-9s %-9s %-16s %-16s %9s %10s  %s\n", source, "TOKEN", "ROLE", "VERDICT", "SINCE",
                 "LAST USED", "REQUESTS", "WEBSOCKETS", "EXPIRES");
    json_array_foreach(list, i, token)
    {
        (void)printf("%-13s %-9s %-9s %-16s %-16s %9" JSON_INTEGER_FORMAT " %10" JSON_INTEGER_FORMAT "  %s%s\n",
                     text_of(token, "fingerprint", ""), text_of(token, "role", "-"), text_of(token, "verdict", "-"),
                     ago(token, "since", since, sizeof since), ago(token, "last_used", used, sizeof used),
                     json_integer_value(json_object_get(token, "requests")),
                     json_integer_value(json_object_get(token, "websockets")), text_of(token, "expires", "not known"),
                     json_is_true(json_object_get(token, "in_file")) ? "" : ", not in the file");
    }
    if (live != NULL)
        (void)printf("%s\n", text_of(live, "retire", ""));
    else
        (void)printf("verdicts and use are not known: %s\n", why_not_live->text);
}

int cli_token_list(struct cli_context *context, int argc, char **argv)
{
    bool as_json = false;
    const char *admin = NULL;
    const struct cli_option options[] = {{"--json", &as_json, NULL}, {"--admin", NULL, &admin}, {NULL, NULL, NULL}};
    struct problem problem = {.text = ""}, fault = {.text = ""};
    struct config *config = NULL;
    const struct environment_config *e;
    struct token_set set = {.count = 0};
    int count = 0;
    int status = cli_arguments(context, argc, argv, options, 1, 1, &count);
    if (status == CLI_OK)
        status = token_command_environment(context, argv[1], &config, &e);
    if (status != CLI_OK)
        return status;
    bool inline_tokens = e->token_source == TOKEN_SOURCE_INLINE;
    const char *source = inline_tokens ? context->config_path : e->token_path;
    enum pp_result rc = inline_tokens ? token_set_inline(e->client_token, e->previous_client_token, &set, &fault)
                                      : token_file_read(e->token_path, &set, NULL, &fault);
    json_t *live = ask_daemon(context, admin, e->name, &problem), *list = list_tokens(&set, live);
    if (as_json) {
        json_t *root =
            json_pack("{s:s, s:s, s:b, s:O, s:s*, s:s?}", "environment", e->name, "source", source, "live",
                      live != NULL ? 1 : 0, "tokens", list, "retire",
                      json_string_value(json_object_get(live, "retire")), "problem", rc == PP_OK ? NULL : fault.text);
        (void)json_dumpf(root, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        (void)putchar('\n');
        json_decref(root);
    } else {
        print_list(source, list, live, &problem);
    }
    if (rc != PP_OK)
        cli_error(context, "%s", fault.text);
    json_decref(list);
    json_decref(live);
    token_set_clear(&set);
    config_unref(&config);
    return rc == PP_OK ? CLI_OK : CLI_FOUND;
}
