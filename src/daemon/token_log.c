/* Log lines about tokens: differences to what was said last. */
#include "daemon/token_log.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

struct said {
    char fingerprint[TOKEN_FINGERPRINT_SIZE];
    enum token_verdict verdict;
    bool in_file;
    int64_t expires; /* the end that was warned of, wall ms */
    size_t mark;     /* how near it was at the last warning: a number of `marks` passed; 0 = no warning yet */
};

struct token_log {
    struct said said[LIMIT_TOKENS_HELD];
    size_t count;
    char current[TOKEN_FINGERPRINT_SIZE]; /* carries the traffic; "" = none */
    char probe_trouble[64];               /* why the last probe told nothing; "" = it told something */
};

struct token_log *token_log_new(void)
{
    return calloc(1, sizeof(struct token_log));
}

void token_log_free(struct token_log *l)
{
    free(l);
}

static struct said *find(struct said *list, size_t count, const char *fingerprint)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].fingerprint, fingerprint) == 0)
            return &list[i];
    return NULL;
}

static void say_verdict(const struct token_info *info, const struct said *before, const char *environment)
{
    const char *fingerprint = token_fingerprint(info->token);
    enum log_level level =
        info->verdict == TOKEN_REFUSED || info->verdict == TOKEN_EXPIRED ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
    if (before == NULL)
        log_info("token", environment, "token %s is held now (%s)", fingerprint, token_verdict_name(info->verdict));
    else if (before->verdict != info->verdict)
        log_line(level, "token", environment, "token %s is %s (was %s)", fingerprint, token_verdict_name(info->verdict),
                 token_verdict_name(before->verdict));
}

static void say_place(const struct token_info *info, const struct said *before, const char *environment, int64_t ends)
{
    char text[25];
    if (before == NULL || before->in_file == info->in_file)
        return;
    if (info->in_file) {
        log_info("token", environment, "token %s is back in the file", token_fingerprint(info->token));
        return;
    }
    clock_format_wall(ends, text);
    log_info("token", environment, "token %s has left the file and is kept as a fallback until %s",
             token_fingerprint(info->token), text);
}

void token_log_changes(struct token_log *l, const struct token_store *s, const char *environment, msec now,
                       int64_t wall)
{
    struct token_info list[LIMIT_TOKENS_HELD];
    struct said next[LIMIT_TOKENS_HELD];
    size_t n = token_store_list(s, list);
    const char *current = "";
    for (size_t i = 0; i < n; i++) {
        const struct said *before = find(l->said, l->count, token_fingerprint(list[i].token));
        say_verdict(&list[i], before, environment);
        say_place(&list[i], before, environment, list[i].in_file ? 0 : wall + (list[i].grace_ends - now));
        next[i] = before != NULL ? *before : (struct said){.mark = 0};
        memcpy(next[i].fingerprint, token_fingerprint(list[i].token), sizeof next[i].fingerprint);
        next[i].verdict = list[i].verdict;
        next[i].in_file = list[i].in_file;
        if (list[i].role == TOKEN_CURRENT)
            current = token_fingerprint(list[i].token);
    }
    for (size_t i = 0; i < l->count; i++)
        if (find(next, n, l->said[i].fingerprint) == NULL)
            log_info("token", environment, "token %s is held no more", l->said[i].fingerprint);
    if (strcmp(current, l->current) != 0 && current[0] != '\0')
        log_info("token", environment, "token %s carries the traffic now%s%s", current,
                 l->current[0] != '\0' ? ", before it was " : "", l->current);
    memcpy(l->said, next, n * sizeof next[0]);
    l->count = n;
    (void)snprintf(l->current, sizeof l->current, "%s", current);
}

/* Points in time before a token's end, in their order. */
static const struct {
    int64_t left; /* ms */
    const char *text;
} marks[] = {{7 * 86400000LL, "in less than 7 days"},
             {86400000, "in less than a day"},
             {3600000, "within the hour"},
             {0, "now"}};

static size_t marks_passed(int64_t expires, int64_t wall)
{
    size_t n = 0;
    while (n < sizeof marks / sizeof *marks && wall >= expires - marks[n].left)
        n++;
    return n;
}

void token_log_expiry(struct token_log *l, const struct token_store *s, const char *environment, int64_t wall)
{
    struct token_info list[LIMIT_TOKENS_HELD];
    size_t n = token_store_list(s, list);
    for (size_t i = 0; i < n; i++) {
        const char *fingerprint = token_fingerprint(list[i].token);
        int64_t expires = token_expires(list[i].token);
        struct said *said = find(l->said, l->count, fingerprint);
        if (expires == 0 || !list[i].in_file || said == NULL)
            continue;
        if (said->expires != expires)
            said->mark = 0; /* its line says something new */
        said->expires = expires;
        size_t mark = marks_passed(expires, wall);
        if (mark > said->mark) {
            log_warning("token", environment, "by its expires= token %s ends %s%s", fingerprint, marks[mark - 1].text,
                        list[i].role == TOKEN_CURRENT ? ", and it carries the traffic: add a new one" : "");
            said->mark = mark;
        }
    }
}

void token_log_probe(struct token_log *l, const char *environment, const struct token *t,
                     const struct probe_result *result)
{
    char trouble[sizeof l->probe_trouble] = "";
    if (result->status == 0)
        (void)snprintf(trouble, sizeof trouble, "no answer (%s)", result->failure);
    else if (result->status == 403)
        (void)snprintf(trouble, sizeof trouble, "403: Proof does not have this host on its allowlist");
    else if (token_answer_of(result->status) == TOKEN_ANSWER_NOTHING)
        (void)snprintf(trouble, sizeof trouble, "status %d", result->status);
    if (strcmp(trouble, l->probe_trouble) != 0) {
        if (trouble[0] != '\0')
            log_warning("token", environment, "the probe of token %s tells nothing: %s%s%s", token_fingerprint(t),
                        trouble, result->detail[0] != '\0' ? ": " : "", result->detail);
        else
            log_info("token", environment, "probes are answered again");
    }
    (void)snprintf(l->probe_trouble, sizeof l->probe_trouble, "%s", trouble);
}
