/* Reading a token file: the file's own faults first, then its lines. */
#include "token/file.h"

#include "base/crypto.h"
#include "base/token_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define MODE_FORBIDDEN  (S_IRWXO | S_IWGRP | S_IXGRP)
#define BYTE_ORDER_MARK "\xef\xbb\xbf"

void token_set_clear(struct token_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        token_unref(&set->tokens[i]);
    set->count = 0;
}

/* --- lines --- */

struct reader {
    const char *path;
    struct problem *problem;
    struct str line;
    size_t number; /* of the line, from 1 */
};

/* `at` points into the line. */
static enum pp_result fault(const struct reader *r, const char *at, const char *what)
{
    return problem_set(r->problem, PP_INVALID, "%s:%zu: offset %zu: %s", r->path, r->number, (size_t)(at - r->line.p),
                       what);
}

/* Takes what precedes the next white space, and that white space, from the front of *rest. */
static struct str take_word(struct str *rest)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    struct str word = {rest->p, n};
    *rest = str_trim((struct str){rest->p + n, rest->n - n});
    return word;
}

static enum pp_result read_attributes(const struct reader *r, const char *token_end, struct str rest, int64_t *expires)
{
    static const struct str key = {"expires=", 8};
    *expires = 0;
    while (rest.n > 0 && rest.p[0] != '#') {
        struct str word = take_word(&rest);
        if (!str_starts(word, key))
            return fault(r, token_end,
                         "white space inside the token: write one token per line; only expires=TIME and a # comment "
                         "may follow it");
        if (*expires != 0)
            return fault(r, word.p, "expires= a second time: write it once");
        if (token_parse_time((struct str){word.p + key.n, word.n - key.n}, expires) != PP_OK)
            return fault(r, word.p + key.n, "expected a time such as expires=2026-12-31T23:59:59Z (RFC 3339)");
    }
    return PP_OK;
}

/* *out stays NULL when the line holds no token. */
static enum pp_result read_line(const struct reader *r, struct token **out)
{
    static const struct str bearer = {"Bearer", 6};
    struct str rest = r->line, word;
    size_t offset;
    const char *what;
    int64_t expires;

    if (rest.n > 0 && rest.p[rest.n - 1] == '\r')
        return fault(r, rest.p + rest.n - 1, "a CRLF line end: save the file with line feeds alone");
    rest = str_trim(rest);
    if (rest.n == 0 || rest.p[0] == '#')
        return PP_OK;
    struct str whole = rest;
    word = take_word(&rest);
    if (str_equal_nocase(word, bearer))
        word = whole; /* the rule below says it best */
    if (token_format_check(word, &offset, &what) != PP_OK)
        return fault(r, word.p + offset, what);
    enum pp_result rc = read_attributes(r, word.p + word.n, rest, &expires);
    if (rc != PP_OK)
        return rc;
    *out = token_new(word.p, word.n, expires);
    return *out == NULL ? problem_set(r->problem, PP_NOMEM, "%s: out of memory", r->path) : PP_OK;
}

static enum pp_result add_token(const struct reader *r, struct token_set *set, struct token *t)
{
    for (size_t i = 0; i < set->count; i++)
        if (token_equal(set->tokens[i], t))
            return fault(r, r->line.p, "the same token as in a line above: write each once");
    if (set->count == LIMIT_TOKENS_FILE)
        return problem_set(r->problem, PP_INVALID, "%s:%zu: offset 0: one token more than the %u a file may hold",
                           r->path, r->number, LIMIT_TOKENS_FILE);
    set->tokens[set->count++] = t;
    return PP_OK;
}

enum pp_result token_file_parse(struct str text, const char *path, struct token_set *out,
                                struct token_line lines[LIMIT_TOKENS_FILE], struct problem *problem)
{
    struct reader r = {.path = path, .problem = problem, .line = text};
    struct token_set set = {.count = 0};
    enum pp_result rc = PP_OK;

    r.number = 1;
    if (str_starts(text, STR(BYTE_ORDER_MARK)))
        return fault(&r, text.p, "a UTF-8 byte order mark: save the file without one");
    for (size_t start = 0; start < text.n && rc == PP_OK; r.number++) {
        const char *feed = memchr(text.p + start, '\n', text.n - start);
        size_t end = feed == NULL ? text.n : (size_t)(feed - text.p);
        size_t next = feed == NULL ? end : end + 1;
        struct token *t = NULL;
        r.line = (struct str){text.p + start, end - start};
        rc = read_line(&r, &t);
        if (rc == PP_OK && t != NULL) {
            if (lines != NULL && set.count < LIMIT_TOKENS_FILE)
                lines[set.count] = (struct token_line){start, next};
            rc = add_token(&r, &set, t);
            if (rc != PP_OK)
                token_unref(&t);
        }
        start = next;
    }
    if (rc == PP_OK)
        *out = set;
    else
        token_set_clear(&set);
    return rc;
}

/* --- the file --- */

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

static enum pp_result check_directory(const char *path, struct problem *problem)
{
    struct str folder = str_folder(path);
    char directory[4096];
    struct stat st;
    if (folder.n >= sizeof directory)
        return problem_set(problem, PP_INVALID, "%s: the path is too long", path);
    (void)snprintf(directory, sizeof directory, "%.*s", (int)folder.n, folder.p);
    if (stat(directory, &st) != 0)
        return problem_set(problem, PP_SYSTEM, "%s: its directory cannot be examined: %m", path);
    if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0)
        return problem_set(problem, PP_DENIED,
                           "%s: mode %04o of its directory lets every user replace it: chmod o-w %s", path,
                           (unsigned)(st.st_mode & 07777), directory);
    return PP_OK;
}

static enum pp_result check_file(const char *path, const struct stat *st, struct problem *problem)
{
    if (!S_ISREG(st->st_mode))
        return problem_set(problem, PP_INVALID, "%s: is %s: expected a regular file", path, kind_of(st->st_mode));
    if ((st->st_mode & MODE_FORBIDDEN) != 0)
        return problem_set(problem, PP_DENIED, "%s: mode %04o lets %s it: expected 0640 or less (chmod 0640 %s)", path,
                           (unsigned)(st->st_mode & 07777),
                           (st->st_mode & S_IROTH) != 0   ? "every user read"
                           : (st->st_mode & S_IRWXO) != 0 ? "every user change or run"
                                                          : "its group change or run",
                           path);
    uid_t us = geteuid();
    if (st->st_uid != 0 && st->st_uid != us && us != 0)
        return problem_set(problem, PP_DENIED, "%s: belongs to uid %u: expected root or uid %u, the user this runs as",
                           path, (unsigned)st->st_uid, (unsigned)us);
    if (st->st_size > (off_t)LIMIT_TOKEN_FILE)
        return problem_set(problem, PP_LIMIT, "%s: has %lld bytes: expected a token file of at most %u", path,
                           (long long)st->st_size, LIMIT_TOKEN_FILE);
    return check_directory(path, problem);
}

/* Until the end, or one byte more than is allowed. */
static enum pp_result read_all(int fd, const char *path, struct token_text *text, struct problem *problem)
{
    while (text->n < text->size) {
        ssize_t got = read(fd, text->bytes + text->n, text->size - text->n);
        if (got == 0)
            return PP_OK;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return problem_set(problem, PP_SYSTEM, "%s: cannot be read: %m", path);
        text->n += (size_t)got;
    }
    return problem_set(problem, PP_LIMIT, "%s: is growing while it is read: expected a token file of at most %u bytes",
                       path, LIMIT_TOKEN_FILE);
}

void token_text_free(struct token_text *text)
{
    secret_free(text->bytes, text->size);
    text->bytes = NULL;
    text->n = text->size = 0;
}

static enum pp_result open_failed(const char *path, struct problem *problem)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
        return problem_set(problem, PP_NOT_FOUND, "%s: there is no such file", path);
    case EACCES:
    case EPERM:
        return problem_set(problem, PP_DENIED, "%s: uid %u may not read it: expected root:proofproxy 0640 or the like",
                           path, (unsigned)geteuid());
    case ENXIO:
        return problem_set(problem, PP_INVALID, "%s: is a socket or a device: expected a regular file", path);
    default:
        return problem_set(problem, PP_SYSTEM, "%s: cannot be opened: %m", path);
    }
}

enum pp_result token_text_read(const char *path, struct token_text *out, int *fd_out, struct problem *problem)
{
    struct token_text text = {.bytes = NULL};
    enum pp_result rc;
    /* Non-blocking, so that a FIFO or a device cannot hold us up before we see what it is. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return open_failed(path, problem);
    if (fstat(fd, &text.stat) != 0) {
        rc = problem_set(problem, PP_SYSTEM, "%s: cannot be examined: %m", path);
        goto out;
    }
    rc = check_file(path, &text.stat, problem);
    if (rc != PP_OK)
        goto out;
    text.size = (size_t)text.stat.st_size + 1; /* one more, to see the end */
    text.bytes = secret_alloc(text.size);
    if (text.bytes == NULL) {
        text.size = 0;
        rc = problem_set(problem, PP_NOMEM, "%s: out of memory", path);
        goto out;
    }
    rc = read_all(fd, path, &text, problem);
out:
    if (rc == PP_OK)
        *out = text;
    else
        token_text_free(&text);
    if (rc == PP_OK && fd_out != NULL)
        *fd_out = fd;
    else
        (void)close(fd);
    return rc;
}

enum pp_result token_file_read(const char *path, struct token_set *out, struct stat *stat, struct problem *problem)
{
    struct token_text text;
    struct token_set set;
    enum pp_result rc = token_text_read(path, &text, NULL, problem);
    if (rc != PP_OK)
        return rc;
    if (stat != NULL)
        *stat = text.stat;
    rc = token_file_parse((struct str){text.bytes, text.n}, path, &set, NULL, problem);
    token_text_free(&text);
    if (rc != PP_OK)
        return rc;
    if (set.count == 0)
        return problem_set(problem, PP_INVALID,
                           "%s:1: offset 0: no token in it: expected one per line, the newest first", path);
    *out = set;
    return PP_OK;
}

enum pp_result token_set_inline(const char *current, const char *previous, struct token_set *out,
                                struct problem *problem)
{
    struct token_set set = {.count = 0};
    const char *values[] = {current, previous};
    for (size_t i = 0; i < 2; i++) {
        if (values[i] == NULL)
            continue;
        struct token *t = token_new(values[i], strlen(values[i]), 0);
        if (t == NULL) {
            token_set_clear(&set);
            return problem_set(problem, PP_NOMEM, "client_token: out of memory");
        }
        set.tokens[set.count++] = t;
    }
    if (set.count == 2 && token_equal(set.tokens[0], set.tokens[1])) {
        token_set_clear(&set);
        return problem_set(problem, PP_INVALID,
                           "previous_client_token: the same as client_token: expected another one");
    }
    *out = set;
    return PP_OK;
}
