/* token add and token retire: one line of the token file in or out, after a trial against the API. */
#include "cli/token.h"

#include "base/crypto.h"
#include "base/token_format.h"
#include "token/edit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#define INPUT_MOST (LIMIT_TOKEN_LENGTH + 64) /* a token, and white space around it */

/* Only a file can be changed here. */
static int check_source(const struct cli_context *context, const struct environment_config *e)
{
    switch (e->token_source) {
    case TOKEN_SOURCE_FILE:
        return CLI_OK;
    case TOKEN_SOURCE_CREDENTIAL:
        cli_error(context,
                  "%s gets its tokens from a systemd credential: change the file LoadCredential= names, then "
                  "restart the service",
                  e->name);
        return CLI_FAILURE;
    default:
        cli_error(context,
                  "%s has its tokens in %s: change client_token and previous_client_token there, then run "
                  "proofproxy reload",
                  e->name, context->config_path);
        return CLI_FAILURE;
    }
}

/* --- standard input --- */

/* Fills at most `size` bytes, up to the end. */
static enum pp_result read_input(char *bytes, size_t size, size_t *n)
{
    for (*n = 0; *n < size;) {
        ssize_t got = read(STDIN_FILENO, bytes + *n, size - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? PP_OK : PP_SYSTEM;
        *n += (size_t)got;
    }
    return PP_LIMIT;
}

static volatile sig_atomic_t interrupted; /* the signal that came while a terminal was asked; 0 = none */

static void on_interrupt(int number)
{
    interrupted = number;
}

/* One line, which a terminal hands over whole. A signal comes through while there is nothing to read, and ends it. */
static enum pp_result read_line(char *bytes, size_t size, const sigset_t *open_mask, size_t *n)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    for (*n = 0; *n < size && (*n == 0 || bytes[*n - 1] != '\n');) {
        if (ppoll(&p, 1, NULL, open_mask) < 0)
            return PP_SYSTEM;
        ssize_t got = read(STDIN_FILENO, bytes + *n, size - *n);
        if (got <= 0)
            return got == 0 ? PP_OK : PP_SYSTEM;
        *n += (size_t)got;
    }
    return *n < size ? PP_OK : PP_LIMIT;
}

/* A terminal is asked for the token and does not show it; whatever ends the question, it shows again what follows. */
static enum pp_result ask_terminal(const struct termios *before, char *bytes, size_t size, size_t *n)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    enum { COUNT = sizeof numbers / sizeof numbers[0] };
    const struct sigaction ours = {.sa_handler = on_interrupt};
    struct sigaction theirs[COUNT];
    sigset_t held, open_mask;
    struct termios quiet = *before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    (void)sigemptyset(&held);
    for (size_t i = 0; i < COUNT; i++)
        (void)sigaddset(&held, numbers[i]);
    (void)sigprocmask(SIG_BLOCK, &held, &open_mask);
    for (size_t i = 0; i < COUNT; i++)
        (void)sigaction(numbers[i], &ours, &theirs[i]);
    enum pp_result rc = PP_SYSTEM; /* rather than show a token */
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0) {
        (void)fputs("New token (not shown): ", stderr);
        rc = read_line(bytes, size, &open_mask, n);
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, before);
        (void)fputc('\n', stderr);
    }
    for (size_t i = 0; i < COUNT; i++)
        (void)sigaction(numbers[i], &theirs[i], NULL);
    (void)sigprocmask(SIG_SETMASK, &open_mask, NULL);
    if (interrupted != 0)
        (void)raise(interrupted); /* now it does what it does to other programs */
    return rc;
}

static enum pp_result ask_input(char *bytes, size_t size, size_t *n)
{
    struct termios terminal;
    if (tcgetattr(STDIN_FILENO, &terminal) == 0)
        return ask_terminal(&terminal, bytes, size, n);
    return read_input(bytes, size, n);
}

static struct token *read_token(const struct cli_context *context, int64_t expires)
{
    size_t n = 0, offset = 0;
    const char *what = "";
    struct token *t = NULL;
    char *bytes = secret_alloc(INPUT_MOST);
    if (bytes == NULL) {
        cli_error(context, "out of memory");
        return NULL;
    }
    enum pp_result rc = ask_input(bytes, INPUT_MOST, &n);
    if (rc == PP_LIMIT)
        cli_error(context, "more than a token on standard input: expected one, of at most %u bytes",
                  LIMIT_TOKEN_LENGTH);
    else if (rc != PP_OK)
        cli_error(context, "standard input cannot be read: %m");
    else {
        struct str token = token_format_trim((struct str){bytes, n});
        rc = token_format_check(token, &offset, &what);
        if (rc != PP_OK)
            cli_error(context, "standard input: offset %zu: %s", offset, what);
        else if ((t = token_new(token.p, token.n, expires)) == NULL)
            cli_error(context, "out of memory");
    }
    secret_free(bytes, INPUT_MOST);
    return t;
}

/* --- add --- */

static int add(const struct cli_context *context, const struct environment_config *e, const struct token *t, bool force)
{
    struct problem problem;
    struct token_edit *edit;
    enum pp_result rc = force ? PP_OK : token_trial(e, t, &problem);
    if (rc == PP_DENIED)
        cli_error(context,
                  "not added: Proof refuses token %s (401): if it is to become valid later, add it with --force; "
                  "the daemon takes it up as soon as Proof accepts it",
                  token_fingerprint(t));
    else if (rc != PP_OK)
        cli_error(context, "not added: token %s could not be tried: %s; --force adds it without a trial",
                  token_fingerprint(t), problem.text);
    if (rc != PP_OK)
        return CLI_FAILURE;
    rc = token_edit_open(e->token_path, &edit, &problem);
    if (rc == PP_OK) {
        rc = token_edit_add(edit, t, &problem);
        token_edit_close(edit);
    }
    if (rc != PP_OK) {
        cli_error(context, "not added: %s", problem.text);
        if (rc == PP_NOT_FOUND)
            cli_error(context, "create it empty first: install -m 0640 -o root -g proofproxy /dev/null %s",
                      e->token_path);
        return CLI_FAILURE;
    }
    (void)printf("token %s%s is now the newest in %s; a running daemon takes it up by itself\n", token_fingerprint(t),
                 force ? "" : ", which Proof accepts,", e->token_path);
    return CLI_OK;
}

int cli_token_add(struct cli_context *context, int argc, char **argv)
{
    bool force = false;
    const char *when = NULL;
    const struct cli_option options[] = {{"--force", &force, NULL}, {"--expires", NULL, &when}, {NULL, NULL, NULL}};
    struct config *config = NULL;
    const struct environment_config *e;
    int64_t expires = 0;
    int count = 0;
    int status = cli_arguments(context, argc, argv, options, 1, 1, &count);
    if (status == CLI_OK && when != NULL && token_parse_time(str_of(when), &expires) != PP_OK) {
        cli_error(context, "--expires: expected a time such as 2026-12-31T23:59:59Z (RFC 3339)");
        status = CLI_USAGE;
    }
    if (status == CLI_OK)
        status = token_command_environment(context, argv[1], &config, &e);
    if (status != CLI_OK)
        return status;
    status = check_source(context, e);
    if (status == CLI_OK) {
        struct token *t = read_token(context, expires);
        status = t == NULL ? CLI_FAILURE : add(context, e, t, force);
        token_unref(&t);
    }
    config_unref(&config);
    return status;
}

/* --- retire --- */

/* The named one, or the oldest; -1 if there is none of that name. */
static int choose(const struct token_set *set, const char *fingerprint)
{
    if (fingerprint == NULL)
        return (int)set->count - 1;
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(token_fingerprint(set->tokens[i]), fingerprint) == 0)
            return (int)i;
    return -1;
}

/* Does Proof accept one of those that would be left? */
static bool another_is_accepted(const struct cli_context *context, const struct environment_config *e,
                                const struct token_set *set, size_t victim)
{
    struct problem problem;
    for (size_t i = 0; i < set->count; i++) {
        if (i == victim)
            continue;
        enum pp_result rc = token_trial(e, set->tokens[i], &problem);
        if (rc == PP_OK)
            return true;
        if (rc == PP_DENIED)
            cli_error(context, "token %s, which would be left, is refused by Proof (401)",
                      token_fingerprint(set->tokens[i]));
        else
            cli_error(context, "token %s, which would be left, could not be tried: %s",
                      token_fingerprint(set->tokens[i]), problem.text);
    }
    return false;
}

static int retire(const struct cli_context *context, const struct environment_config *e, struct token_edit *edit,
                  const char *fingerprint, bool force)
{
    const struct token_set *set = token_edit_tokens(edit);
    struct problem problem;
    int victim = choose(set, fingerprint);
    if (victim < 0 && fingerprint != NULL) {
        cli_error(context, "%s holds no token %s: proofproxy token list %s shows those it holds", e->token_path,
                  cli_word(fingerprint), e->name);
        return CLI_FAILURE;
    }
    if (set->count < 2) {
        cli_error(context, "not retired: %s holds no other token; add the new one first", e->token_path);
        return CLI_FAILURE;
    }
    if (!force && !another_is_accepted(context, e, set, (size_t)victim)) {
        cli_error(context, "not retired: no token would be left that Proof is known to accept; --force retires it all "
                           "the same");
        return CLI_FAILURE;
    }
    char name[TOKEN_FINGERPRINT_SIZE];
    (void)snprintf(name, sizeof name, "%s", token_fingerprint(set->tokens[victim]));
    if (token_edit_drop(edit, (size_t)victim, &problem) != PP_OK) {
        cli_error(context, "not retired: %s", problem.text);
        return CLI_FAILURE;
    }
    (void)printf("token %s is no longer in %s; a running daemon keeps it as a fallback for old_token_grace\n", name,
                 e->token_path);
    return CLI_OK;
}

int cli_token_retire(struct cli_context *context, int argc, char **argv)
{
    bool force = false;
    const struct cli_option options[] = {{"--force", &force, NULL}, {NULL, NULL, NULL}};
    struct config *config = NULL;
    const struct environment_config *e;
    struct problem problem;
    struct token_edit *edit;
    int count = 0;
    int status = cli_arguments(context, argc, argv, options, 1, 2, &count);
    if (status == CLI_OK)
        status = token_command_environment(context, argv[1], &config, &e);
    if (status != CLI_OK)
        return status;
    status = check_source(context, e);
    if (status == CLI_OK && token_edit_open(e->token_path, &edit, &problem) != PP_OK) {
        cli_error(context, "not retired: %s", problem.text);
        status = CLI_FAILURE;
    } else if (status == CLI_OK) {
        status = retire(context, e, edit, count > 1 ? argv[2] : NULL, force);
        token_edit_close(edit);
    }
    config_unref(&config);
    return status;
}
