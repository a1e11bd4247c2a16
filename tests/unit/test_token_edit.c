/* Edits of a token file: one line in or out, the rest, owner and mode as they were, never two at once. */
#include "token/edit.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/test_token_edit_XXXXXX";
static char path[64];

static void set_up(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/token", folder);
}

static void tear_down(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing was left beside it */
}

static void write_file(const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void expect_file(const char *text)
{
    char bytes[1024];
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, bytes, sizeof bytes - 1);
    ck_assert_int_ge(n, 0);
    bytes[n] = '\0';
    (void)close(fd);
    ck_assert_str_eq(bytes, text);
}

static enum pp_result add(const char *text, int64_t expires, struct problem *problem)
{
    struct token_edit *e;
    struct token *t = token_new(text, strlen(text), expires);
    enum pp_result rc = token_edit_open(path, &e, problem);
    if (rc == PP_OK) {
        rc = token_edit_add(e, t, problem);
        token_edit_close(e);
    }
    token_unref(&t);
    return rc;
}

static const struct {
    const char *before, *after; /* NULL: refused */
} adds[] = {
    {"", "new\n"},
    {"# nothing yet\n", "# nothing yet\nnew\n"},
    {"# no end", "# no end\nnew\n"},
    {"old\n", "new\nold\n"},
    {"old", "new\nold"},
    {"# head\n\n  old expires=2100-01-01T00:00:00Z # x\nolder\n# tail\n",
     "# head\n\nnew\n  old expires=2100-01-01T00:00:00Z # x\nolder\n# tail\n"},
    {"new\n", NULL},
    {"old\nnew\n", NULL},
    {"1\n2\n3\n4\n5\n6\n7\n", "new\n1\n2\n3\n4\n5\n6\n7\n"},
    {"1\n2\n3\n4\n5\n6\n7\n8\n", NULL},
    {"old\r\n", NULL},
    {"two words\n", NULL},
};

START_TEST(adding)
{
    struct problem problem;
    write_file(adds[_i].before, 0640);
    enum pp_result rc = add("new", 0, &problem);
    ck_assert_int_eq(rc, adds[_i].after == NULL ? PP_INVALID : PP_OK);
    expect_file(adds[_i].after == NULL ? adds[_i].before : adds[_i].after);
}
END_TEST

START_TEST(adding_with_an_end)
{
    struct problem problem;
    write_file("old\n", 0640);
    ck_assert_int_eq(add("new", 4102444800000, &problem), PP_OK);
    expect_file("new expires=2100-01-01T00:00:00.000Z\nold\n");
}
END_TEST

static const struct {
    const char *before;
    size_t index;
    const char *after;
} drops[] = {
    {"one\ntwo\nthree\n", 0, "two\nthree\n"},
    {"one\ntwo\nthree\n", 1, "one\nthree\n"},
    {"one\ntwo\nthree", 2, "one\ntwo\n"},
    {"# a\none # x\n\n# b\n\ttwo expires=2100-01-01T00:00:00Z\n# c\n", 1, "# a\none # x\n\n# b\n# c\n"},
};

START_TEST(dropping)
{
    struct token_edit *e;
    struct problem problem;
    write_file(drops[_i].before, 0640);
    ck_assert_int_eq(token_edit_open(path, &e, &problem), PP_OK);
    ck_assert_int_eq(token_edit_drop(e, drops[_i].index, &problem), PP_OK);
    token_edit_close(e);
    expect_file(drops[_i].after);
}
END_TEST

START_TEST(owner_and_mode_stay)
{
    struct problem problem;
    struct stat before, after;
    write_file("old\n", 0440);
    if (geteuid() == 0)
        ck_assert_int_eq(chown(path, 12, 34), 0);
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(add("new", 0, &problem), PP_OK);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_mode, after.st_mode);
    ck_assert_uint_eq(before.st_uid, after.st_uid);
    ck_assert_uint_eq(before.st_gid, after.st_gid);
    ck_assert_uint_ne(before.st_ino, after.st_ino); /* renamed over, never half-written */
}
END_TEST

START_TEST(without_a_change)
{
    struct token_edit *e;
    struct problem problem;
    struct stat before, after;
    write_file("old\n", 0640);
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(token_edit_open(path, &e, &problem), PP_OK);
    ck_assert_uint_eq(token_edit_tokens(e)->count, 1);
    token_edit_close(e);
    token_edit_close(NULL);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
}
END_TEST

START_TEST(not_through_a_link)
{
    struct token_edit *e;
    struct problem problem;
    char link[80];
    (void)snprintf(link, sizeof link, "%s/link", folder);
    write_file("old\n", 0640);
    ck_assert_int_eq(symlink("token", link), 0);
    ck_assert_int_eq(token_edit_open(link, &e, &problem), PP_DENIED);
    ck_assert_int_eq(unlink(link), 0);
    ck_assert_int_eq(token_edit_open(link, &e, &problem), PP_NOT_FOUND);
}
END_TEST

START_TEST(many_at_once)
{
    char text[16];
    write_file("old\n", 0640);
    for (int i = 0; i < 7; i++) {
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            struct problem problem;
            (void)snprintf(text, sizeof text, "new-%d", i);
            _exit(add(text, 0, &problem) == PP_OK ? 0 : 1);
        }
    }
    for (int i = 0; i < 7; i++) {
        int status;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    struct token_set set = {.count = 0};
    struct problem problem;
    ck_assert_int_eq(token_file_read(path, &set, NULL, &problem), PP_OK);
    ck_assert_uint_eq(set.count, 8); /* none was lost */
    token_set_clear(&set);
}
END_TEST

START_TEST(somebody_holds_the_lock)
{
    struct token_edit *e;
    struct problem problem;
    write_file("old\n", 0640);
    int fd = open(path, O_RDONLY);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    ck_assert_int_eq(token_edit_open(path, &e, &problem), PP_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(problem.text, "somebody else is editing"));
    (void)close(fd);
}
END_TEST

static int signal_at_rename; /* 0: none */

/* In the place of rename(2): somebody gives up just before it. */
int rename(const char *from, const char *to)
{
    if (signal_at_rename != 0)
        (void)raise(signal_at_rename);
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static const int giving_up[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

/* The copy beside the file holds every token: it is not left there, whoever gives up when. */
START_TEST(given_up_in_the_midst)
{
    int status;
    write_file("old\n", 0640);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct problem problem;
        signal_at_rename = giving_up[_i];
        (void)signal(giving_up[_i], SIG_DFL);
        _exit(add("new", 0, &problem) == PP_OK ? 7 : 8);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == giving_up[_i]);
    expect_file("new\nold\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_edit");
    TCase *t = tcase_create("token_edit");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, adding, 0, (int)(sizeof adds / sizeof *adds));
    tcase_add_test(t, adding_with_an_end);
    tcase_add_loop_test(t, dropping, 0, (int)(sizeof drops / sizeof *drops));
    tcase_add_test(t, owner_and_mode_stay);
    tcase_add_test(t, without_a_change);
    tcase_add_test(t, not_through_a_link);
    tcase_add_loop_test(t, given_up_in_the_midst, 0, (int)(sizeof giving_up / sizeof *giving_up));
    tcase_add_test(t, many_at_once);
    tcase_add_test(t, somebody_holds_the_lock);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
