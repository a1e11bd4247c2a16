/* check: every fault of the config and of the token files it names, without opening anything else. */
#include "cli/commands.h"

#include "config/config.h"
#include "net/upstream.h"
#include "token/file.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

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

/* As the daemon would read it. */
static void check_ca_file(const struct config *config, const struct environment_config *environment,
                          struct config_problems *problems)
{
    char key[128];
    struct upstream_settings settings;
    struct upstream_tls *tls = NULL;
    struct problem problem;

    if (environment->ca_file[0] == '\0')
        return;
    upstream_settings_of(environment, 0, &settings);
    if (upstream_tls_new(&settings, &tls, &problem) != PP_OK) {
        (void)snprintf(key, sizeof key, "environments.%s.tls.ca_file", environment->name);
        config_problems_add(problems, config->path, environment->ca_file_line, key, "%s", problem.text);
        return;
    }
    upstream_tls_unref(&tls);
}

/* One line "FILE:LINE: KEY: message" as an object; KEY is "" where the fault is the file's. NULL: out of memory. */
static json_t *problem_to_json(struct str line, struct str file)
{
    int64_t number = 0;
    size_t at = file.n + 1; /* behind the colon */

    for (; at < line.n && ascii_is_digit(line.p[at]); at++)
        number = number * 10 + (line.p[at] - '0');
    struct str rest = at + 2 <= line.n ? (struct str){line.p + at + 2, line.n - at - 2} : STR_NONE;
    const char *end = rest.n == 0 ? NULL : memmem(rest.p, rest.n, ": ", 2);
    struct str key = {rest.p, end == NULL ? 0 : (size_t)(end - rest.p)};
    if (key.n > 0 && memchr(key.p, ' ', key.n) != NULL) /* a sentence, not a key */
        key.n = 0;
    if (key.n > 0)
        rest = (struct str){end + 2, rest.n - key.n - 2};
    return json_pack("{s:s%, s:I, s:s%, s:s%}", "file", file.p, file.n, "line", (json_int_t)number, "key",
                     key.n == 0 ? "" : key.p, key.n, "message", rest.n == 0 ? "" : rest.p, rest.n);
}

/* {"ok": ..., "problems": [...]} on standard output. */
static enum pp_result print_json(const char *path, const struct config_problems *problems)
{
    struct str rest = buf_str(&problems->text);
    json_t *list = json_array();

    while (list != NULL && rest.n > 0) {
        size_t n = (size_t)((const char *)memchr(rest.p, '\n', rest.n) - rest.p);
        if (json_array_append_new(list, problem_to_json((struct str){rest.p, n}, str_of(path))) != 0) {
            json_decref(list);
            return PP_NOMEM;
        }
        rest = (struct str){rest.p + n + 1, rest.n - n - 1};
    }
    json_t *root = json_pack("{s:b, s:o}", "ok", problems->count == 0, "problems", list);
    if (root == NULL)
        return PP_NOMEM;
    (void)json_dumpf(root, stdout, JSON_INDENT(2) | JSON_SORT_KEYS); /* a failed write shows at the end of cli_main */
    (void)putchar('\n');
    json_decref(root);
    return PP_OK;
}

int cli_check(struct cli_context *context, int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"--json", &json, NULL}, {NULL, NULL, NULL}};
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
    if (!json) {
        if (lines.n > 0)
            (void)fwrite(lines.p, 1, lines.n, stderr);
        if (problems.count == 0)
            (void)printf("%s: no problem found\n", context->config_path);
    } else if (print_json(context->config_path, &problems) != PP_OK) {
        cli_error(context, "out of memory");
        status = CLI_FAILURE;
    }
    config_problems_free(&problems);
    config_unref(&config);
    return status;
}
