/* Workloads of token/: tokens, token files and their edits, the store. */
#include "token/edit.h"
#include "token/file.h"
#include "token/store.h"
#include "workload.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char path_of_file[] = "a.token";
static const char before_edit[] = "# ours\nTOKEN-OLD expires=2031-01-01T00:00:00Z\n";
static const char after_add[] = "# ours\nTOKEN-NEW\nTOKEN-OLD expires=2031-01-01T00:00:00Z\n";
static char path[128];

static void write_file(const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
}

static bool file_is(const char *text)
{
    char found[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, found, sizeof found);
    (void)close(fd);
    return n == (ssize_t)strlen(text) && memcmp(found, text, (size_t)n) == 0;
}

static void make_file(void)
{
    (void)snprintf(path, sizeof path, "%s/%s", workload_folder(), path_of_file);
    (void)chmod(workload_folder(), 0700);
    write_file(before_edit);
}

static enum outcome read_file(void)
{
    struct token_set set = {0};
    struct stat stat;
    struct problem problem = {""};
    enum pp_result rc = token_file_read(path, &set, &stat, &problem);
    if (!ok(rc)) {
        must(set.count == 0 && problem.text[0] != '\0');
        return REFUSED;
    }
    must(set.count == 1 && strlen(token_fingerprint(set.tokens[0])) == 12 && token_expires(set.tokens[0]) > 0);
    must(memcmp(token_authorization(set.tokens[0]).p, "Bearer TOKEN-OLD", 16) == 0);
    token_set_clear(&set);
    return DONE;
}

static enum outcome inline_tokens(void)
{
    struct token_set set = {0};
    struct problem problem = {""};
    if (!ok(token_set_inline("one", "two", &set, &problem))) {
        must(set.count == 0);
        return REFUSED;
    }
    must(set.count == 2 && !token_equal(set.tokens[0], set.tokens[1]));
    token_set_clear(&set);
    return DONE;
}

/* Whatever fails, the file is the old one or the new one, and nothing else lies beside it. */
static enum outcome edit_file(void)
{
    struct token_edit *edit = NULL;
    struct problem problem = {""};
    enum outcome outcome = REFUSED;
    struct token *t = token_new("TOKEN-NEW", 9, 0);
    if (t == NULL)
        return REFUSED;
    if (ok(token_edit_open(path, &edit, &problem))) {
        must(token_edit_tokens(edit)->count == 1);
        if (ok(token_edit_add(edit, t, &problem))) {
            must(file_is(after_add));
            outcome = DONE;
        } else {
            must(file_is(before_edit) && problem.text[0] != '\0');
        }
        token_edit_close(edit);
    } else {
        must(edit == NULL && problem.text[0] != '\0');
    }
    edit = NULL;
    if (outcome == DONE && ok(token_edit_open(path, &edit, &problem))) {
        must(token_edit_tokens(edit)->count == 2);
        if (ok(token_edit_drop(edit, 0, &problem))) {
            must(file_is(before_edit));
        } else {
            must(file_is(after_add));
            outcome = REFUSED;
        }
        token_edit_close(edit);
    } else {
        outcome = REFUSED;
    }
    token_unref(&t);
    if (!file_is(before_edit))
        write_file(before_edit);
    return outcome;
}

static enum outcome store(void)
{
    const struct token_store_policy policy = {.grace = 1000, .probe_interval = 1000};
    struct token *tokens[2] = {token_new("one", 3, 0), token_new("two", 3, 9000)};
    struct token_store *master = token_store_new(&policy), *replica = token_store_new(&policy);
    enum outcome outcome = REFUSED;
    struct buf sentence;
    buf_init(&sentence, 1024);
    if (tokens[0] != NULL && tokens[1] != NULL && master != NULL && replica != NULL) {
        struct token_snapshot snapshot;
        uint32_t behind = 0;
        must(token_store_replace(master, tokens, 2, 1, 1) == PP_OK);
        must(token_store_learn(master, tokens[0], &(struct token_fact){TOKEN_ANSWER_ACCEPTED, 1, 2}));
        token_store_snapshot(master, &snapshot);
        token_store_adopt(replica, &snapshot, &behind);
        token_snapshot_clear(&snapshot);
        must(token_store_next(replica, &(struct token_plan){.count = 0}, 3) == tokens[0]);
        token_store_retire_sentence(master, 3, 3, &sentence);
        outcome = sentence.failed ? REFUSED : DONE;
        must(sentence.failed || buf_len(&sentence) > 20);
    }
    buf_free(&sentence);
    token_store_free(master);
    token_store_free(replica);
    token_unref(&tokens[0]);
    token_unref(&tokens[1]);
    return outcome;
}

const struct workload token_workloads[] = {
    {"token-read", read_file, make_file, 0, 3},
    {"token-inline", inline_tokens, NULL, 0, 4},
    {"token-edit", edit_file, make_file, 0, 12},
    {"token-store", store, NULL, 0, 7},
    {0},
};
