/* Atomic edits of a token file. */
#include "token/edit.h"

#include "base/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 50 /* 100 ms apart */

struct token_edit {
    char *path;
    int fd; /* of the file, locked */
    struct token_text text;
    struct token_set set;
    struct token_line lines[LIMIT_TOKENS_FILE];
};

static void wait_a_moment(void)
{
    const struct timespec moment = {.tv_nsec = 100000000};
    (void)nanosleep(&moment, NULL);
}

/* Is what was opened still what has the name? An edit that was waited for has put another file there. */
static bool is_current(const char *path, const struct stat *opened)
{
    struct stat now;
    return lstat(path, &now) == 0 && now.st_dev == opened->st_dev && now.st_ino == opened->st_ino;
}

/* Opens, locks and reads; *fd is locked afterwards. */
static enum pp_result read_locked(const char *path, struct token_text *text, int *fd, struct problem *problem)
{
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        enum pp_result rc = token_text_read(path, text, fd, problem);
        if (rc != PP_OK)
            return rc;
        bool locked = flock(*fd, LOCK_EX | LOCK_NB) == 0;
        if (!locked && errno != EWOULDBLOCK && errno != EINTR)
            rc = problem_set(problem, PP_SYSTEM, "%s: cannot be locked: %m", path);
        if (locked && is_current(path, &text->stat)) {
            token_text_free(text); /* what was read before the lock may be old */
            int again = -1;
            rc = token_text_read(path, text, &again, problem);
            if (rc == PP_OK)
                (void)close(again); /* the lock stays with *fd */
            if (rc == PP_OK && is_current(path, &text->stat))
                return PP_OK;
        }
        token_text_free(text);
        (void)close(*fd);
        if (rc != PP_OK)
            return rc;
        wait_a_moment();
    }
    return problem_set(problem, PP_TIMEOUT, "%s: somebody else is editing it; see who with: fuser %s", path, path);
}

enum pp_result token_edit_open(const char *path, struct token_edit **out, struct problem *problem)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        return problem_set(problem, PP_DENIED,
                           "%s: is a symbolic link, so something else writes it (Vault Agent, Kubernetes): change the "
                           "token there",
                           path);
    struct token_edit *e = calloc(1, sizeof *e);
    if (e == NULL || (e->path = strdup(path)) == NULL) {
        free(e);
        return problem_set(problem, PP_NOMEM, "%s: out of memory", path);
    }
    e->fd = -1;
    int fd = -1;
    enum pp_result rc = read_locked(path, &e->text, &fd, problem);
    if (rc == PP_OK) {
        e->fd = fd;
        rc = token_file_parse((struct str){e->text.bytes, e->text.n}, path, &e->set, e->lines, problem);
    }
    if (rc != PP_OK) {
        token_edit_close(e);
        return rc;
    }
    *out = e;
    return PP_OK;
}

void token_edit_close(struct token_edit *e)
{
    if (e == NULL)
        return;
    token_set_clear(&e->set);
    token_text_free(&e->text);
    if (e->fd >= 0)
        (void)close(e->fd);
    free(e->path);
    free(e);
}

const struct token_set *token_edit_tokens(const struct token_edit *e)
{
    return &e->set;
}

/* --- writing --- */

static enum pp_result write_all(int fd, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t done = write(fd, bytes.p, bytes.n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return PP_SYSTEM;
        bytes.p += done;
        bytes.n -= (size_t)done;
    }
    return PP_OK;
}

/* The directory of the file, opened before anything is changed: a rename is on disk only when its directory is. */
static enum pp_result open_directory(const char *path, int *fd, struct problem *problem)
{
    struct str folder = str_folder(path);
    char *directory = strndup(folder.p, folder.n);
    if (directory == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    *fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(directory);
    return *fd < 0 ? problem_set(problem, PP_SYSTEM, "%s: its directory cannot be opened: %m", path) : PP_OK;
}

/* A name beside the file that begins with a dot: no secret manager or editor takes it for the file. NULL: errno says
 * why. */
static char *make_beside(const char *path, int *fd)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1, n = strlen(path) + sizeof "..XXXXXX";
    char *name = malloc(n);
    if (name == NULL)
        return NULL;
    (void)snprintf(name, n, "%.*s.%s.XXXXXX", (int)folder, path, path + folder);
    *fd = mkostemp(name, O_CLOEXEC); /* mode 0600 */
    if (*fd >= 0)
        return name;
    free(name);
    return NULL;
}

/* Puts the three pieces in the file's place. */
static enum pp_result replace(struct token_edit *e, const struct str pieces[3], struct problem *problem)
{
    int fd = -1, directory = -1;
    enum pp_result rc = open_directory(e->path, &directory, problem);
    if (rc != PP_OK)
        return rc;
    char *beside = make_beside(e->path, &fd);
    if (beside == NULL) {
        rc = errno == ENOMEM ? PP_NOMEM : PP_SYSTEM;
        (void)problem_set(problem, rc, "%s: no file can be made beside it: %m", e->path);
        (void)close(directory);
        return rc;
    }
    for (int i = 0; i < 3 && rc == PP_OK; i++)
        rc = write_all(fd, pieces[i]);
    if (rc != PP_OK)
        (void)problem_set(problem, rc, "%s: the new text cannot be written: %m", e->path);
    else if (fchown(fd, e->text.stat.st_uid, e->text.stat.st_gid) != 0 || fchmod(fd, e->text.stat.st_mode & 07777) != 0)
        rc = problem_set(problem, PP_DENIED, "%s: its owner and mode cannot be kept: %m; run this as root", e->path);
    else if (fsync(fd) != 0)
        rc = problem_set(problem, PP_SYSTEM, "%s: the new text cannot be written to disk: %m", e->path);
    if (close(fd) != 0 && rc == PP_OK)
        rc = problem_set(problem, PP_SYSTEM, "%s: the new text cannot be written: %m", e->path);
    if (rc == PP_OK && rename(beside, e->path) != 0)
        rc = problem_set(problem, PP_SYSTEM, "%s: cannot be replaced: %m", e->path);
    if (rc != PP_OK)
        (void)unlink(beside);
    else if (fsync(directory) != 0)
        rc = problem_set(problem, PP_SYSTEM, "%s: was replaced, but its directory cannot be written to disk: %m",
                         e->path);
    (void)close(directory);
    free(beside);
    return rc;
}

/* The copy beside the file holds every token. Whoever gives up meanwhile has to wait these milliseconds, so that it is
 * not left there. */
static enum pp_result rewrite(struct token_edit *e, const struct str pieces[3], struct problem *problem)
{
    sigset_t held, before;
    (void)sigemptyset(&held);
    (void)sigaddset(&held, SIGINT);
    (void)sigaddset(&held, SIGTERM);
    (void)sigaddset(&held, SIGHUP);
    (void)sigaddset(&held, SIGQUIT);
    (void)pthread_sigmask(SIG_BLOCK, &held, &before);
    enum pp_result rc = replace(e, pieces, problem);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* Where the newest token's line goes. A last line without its end gets one. */
static size_t place_for_newest(const struct token_edit *e)
{
    return e->set.count > 0 ? e->lines[0].start : e->text.n;
}

/* "\n" if need be, the token, its expires= if it has one, "\n"; in secret memory. */
static enum pp_result make_line(const struct token_edit *e, const struct token *t, size_t at, char **line, size_t *size,
                                size_t *n)
{
    char end[48] = "\n", when[25];
    if (token_expires(t) != 0) {
        clock_format_wall(token_expires(t), when);
        (void)snprintf(end, sizeof end, " expires=%s\n", when);
    }
    size_t feed = at > 0 && e->text.bytes[at - 1] != '\n' ? 1 : 0, length = token_length(t);
    struct str authorization = token_authorization(t);
    *size = feed + length + strlen(end);
    *line = secret_alloc(*size);
    if (*line == NULL)
        return PP_NOMEM;
    if (feed != 0)
        (*line)[0] = '\n';
    memcpy(*line + feed, authorization.p + (authorization.n - length), length);
    memcpy(*line + feed + length, end, strlen(end));
    *n = *size;
    return PP_OK;
}

enum pp_result token_edit_add(struct token_edit *e, const struct token *t, struct problem *problem)
{
    char *line;
    size_t size, n, at = place_for_newest(e);
    for (size_t i = 0; i < e->set.count; i++)
        if (token_equal(e->set.tokens[i], t))
            return problem_set(problem, PP_INVALID, "%s: holds token %s already", e->path, token_fingerprint(t));
    if (e->set.count == LIMIT_TOKENS_FILE)
        return problem_set(problem, PP_INVALID, "%s: holds %u tokens, the most there may be: retire one first", e->path,
                           LIMIT_TOKENS_FILE);
    if (make_line(e, t, at, &line, &size, &n) != PP_OK)
        return problem_set(problem, PP_NOMEM, "%s: out of memory", e->path);
    enum pp_result rc = PP_OK;
    if (e->text.n + n > LIMIT_TOKEN_FILE)
        rc = problem_set(problem, PP_LIMIT, "%s: would become larger than %u bytes: remove comments first", e->path,
                         LIMIT_TOKEN_FILE);
    else
        rc = rewrite(e, (const struct str[3]){{e->text.bytes, at}, {line, n}, {e->text.bytes + at, e->text.n - at}},
                     problem);
    secret_free(line, size);
    return rc;
}

enum pp_result token_edit_drop(struct token_edit *e, size_t index, struct problem *problem)
{
    const struct token_line *line = &e->lines[index];
    return rewrite(e,
                   (const struct str[3]){
                       {e->text.bytes, line->start}, STR_NONE, {e->text.bytes + line->end, e->text.n - line->end}},
                   problem);
}
