/* Fuzzes config_load_text: whatever the text, either a config that prints and reads back as itself, or named faults;
 * and no secret in either. */
#include "fuzz.h"

#include "config/config.h"

#include <stdbool.h>
#include <string.h>

#define PRINTED_MAX (16u * 1024 * 1024)

/* Does the text hold this secret? Short ones may stand there by chance. */
static bool leaks(const struct buf *text, const char *secret)
{
    return secret != NULL && strlen(secret) >= 8 && buf_len(text) > 0 &&
           memmem(buf_str(text).p, buf_len(text), secret, strlen(secret)) != NULL;
}

/* Every fault is one line "f:LINE: ...", with a line the file has. */
static void check_problems(const struct config_problems *problems, size_t lines)
{
    struct str rest = buf_str(&problems->text);

    FUZZ_ASSERT(problems->count > 0 && rest.n > 0);
    while (rest.n > 0) {
        const char *end = memchr(rest.p, '\n', rest.n);
        FUZZ_ASSERT(end != NULL);
        size_t n = (size_t)(end - rest.p);
        FUZZ_ASSERT(n > 4 && memcmp(rest.p, "f:", 2) == 0);
        for (size_t i = 0; i < n; i++)
            FUZZ_ASSERT((unsigned char)rest.p[i] >= 0x20 && rest.p[i] != 0x7f);
        size_t line = 0, i = 2;
        for (; i < n && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
            line = line * 10 + (size_t)(rest.p[i] - '0');
        FUZZ_ASSERT(i > 2 && rest.p[i] == ':' && line <= lines);
        /* What libconfig refuses and our own scan of the syntax does not: there is no such text. */
        FUZZ_ASSERT(!str_starts((struct str){rest.p + i, n - i}, STR(": syntax: not understood")));
        rest = (struct str){end + 1, rest.n - n - 1};
    }
}

/* What the daemon relies on without looking. */
static void check_config(const struct config *config)
{
    FUZZ_ASSERT(config->workers >= 1 && config->workers <= LIMIT_WORKERS);
    FUZZ_ASSERT(config->environment_count >= 1 && config->environment_count <= LIMIT_ENVIRONMENTS);
    for (size_t i = 0; i < config->environment_count; i++) {
        const struct environment_config *e = &config->environments[i];
        FUZZ_ASSERT(e->name != NULL && config_environment(config, e->name) == e);
        FUZZ_ASSERT(e->base_url.host != NULL && e->base_url.port > 0 && e->base_url.prefix != NULL);
        FUZZ_ASSERT(e->base_url.tls || strncmp(e->base_url.host, "127.", 4) == 0 ||
                    strcmp(e->base_url.host, "localhost") == 0 || strchr(e->base_url.host, ':') != NULL);
        FUZZ_ASSERT(e->listen.count >= 1 && e->listen.count <= LIMIT_LISTENERS && e->allowed_paths.count >= 1);
        for (size_t j = 0; j < e->listen.count; j++)
            FUZZ_ASSERT(e->listen.items[j].kind != LISTEN_TCP || e->listen.items[j].loopback || e->allow_non_loopback);
        FUZZ_ASSERT((e->token_source == TOKEN_SOURCE_INLINE) == (e->client_token != NULL));
        FUZZ_ASSERT((e->token_source == TOKEN_SOURCE_INLINE) == (e->token_path == NULL));
        FUZZ_ASSERT(e->max_body >= 1 && e->max_inflight >= 1 && e->retries.attempts >= 1 && e->connect_timeout > 0);
        FUZZ_ASSERT(e->origin != NULL && e->ca_file != NULL && e->tls_min_version != NULL && e->egress_proxy != NULL &&
                    e->egress_interface != NULL && e->unix_access.owner_name != NULL);
    }
}

static void check_printed(const struct config *config)
{
    struct config_problems problems;
    struct config *again = NULL;
    struct buf text, second;
    bool secret = false;

    buf_init(&text, PRINTED_MAX);
    buf_init(&second, PRINTED_MAX);
    config_problems_init(&problems);
    FUZZ_ASSERT(config_print_json(config, &second) == PP_OK);
    FUZZ_ASSERT(config_print(config, &text) == PP_OK);
    for (size_t i = 0; i < config->environment_count; i++) {
        const struct environment_config *e = &config->environments[i];
        FUZZ_ASSERT(!leaks(&text, e->client_token) && !leaks(&text, e->previous_client_token));
        FUZZ_ASSERT(!leaks(&second, e->client_token) && !leaks(&second, e->previous_client_token));
        secret = secret || e->client_token != NULL || strchr(e->egress_proxy, '@') != NULL;
    }
    if (!secret) {
        FUZZ_ASSERT(config_load_text(buf_str(&text), "f", 0100640, &again, &problems) == PP_OK);
        buf_clear(&second);
        FUZZ_ASSERT(config_print(again, &second) == PP_OK);
        FUZZ_ASSERT(str_equal(buf_str(&text), buf_str(&second)));
        buf_clear(&text);
        buf_clear(&second);
        FUZZ_ASSERT(config_diff(config, again, &text, &second) == PP_OK);
        FUZZ_ASSERT(buf_len(&text) == 0 && buf_len(&second) == 0);
        config_unref(&again);
    }
    config_problems_free(&problems);
    buf_free(&second);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct config_problems problems;
    struct config *config = NULL;
    size_t lines = 1;

    if (n > LIMIT_CONFIG_FILE)
        return 0;
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    config_problems_init(&problems);
    enum pp_result rc = config_load_text((struct str){(const char *)bytes, n}, "f", 0100640, &config, &problems);
    if (rc == PP_OK) {
        FUZZ_ASSERT(problems.count == 0 && config != NULL);
        check_config(config);
        check_printed(config);
        config_unref(&config);
    } else {
        FUZZ_ASSERT(rc == PP_INVALID && config == NULL);
        check_problems(&problems, lines);
    }
    config_problems_free(&problems);
    return 0;
}
