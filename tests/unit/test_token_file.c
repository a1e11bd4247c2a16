/* The format of the token file, its faults by line and offset, and the faults of the file itself. */
#include "token/file.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SECRET "very-secret-token"

/* Bytes with NULs are given by their length. */
#define BYTES(literal)                                                                                                 \
    {                                                                                                                  \
        literal, sizeof(literal) - 1                                                                                   \
    }

static const struct {
    struct str text;
    const char *tokens[3]; /* in order */
    int64_t expires;       /* of the first */
} good[] = {
    {BYTES("one"), {"one"}, 0},
    {BYTES("one\n"), {"one"}, 0},
    {BYTES("  one\t \n"), {"one"}, 0},
    {BYTES("# a comment\n\n  # another\none\n\n\ntwo\n#end"), {"one", "two"}, 0},
    {BYTES("one # the new one\ntwo\t#old\nthree"), {"one", "two", "three"}, 0},
    {BYTES("one expires=2026-12-31T23:59:59Z\ntwo"), {"one", "two"}, 1798761599000},
    {BYTES("one \texpires=2026-12-31T23:59:59.5+01:00 # soon\n"), {"one"}, 1798757999500},
    {BYTES("a#b\n"), {"a#b"}, 0},
    {BYTES(""), {NULL}, 0},
    {BYTES("\n# nothing yet\n"), {NULL}, 0},
};

START_TEST(good_files)
{
    struct token_set set;
    struct token_line lines[LIMIT_TOKENS_FILE];
    struct problem problem = {.text = ""};
    ck_assert_msg(token_file_parse(good[_i].text, "f", &set, lines, &problem) == PP_OK, "%s", problem.text);
    for (size_t i = 0; i < set.count; i++) {
        ck_assert(i < 3 && good[_i].tokens[i] != NULL);
        struct token *t = token_new(good[_i].tokens[i], strlen(good[_i].tokens[i]), 0);
        ck_assert(token_equal(t, set.tokens[i]));
        struct str line = {good[_i].text.p + lines[i].start, lines[i].end - lines[i].start};
        ck_assert_uint_ne(token_find(t, line), SIZE_MAX);
        ck_assert(memchr(line.p, '\n', line.n - 1) == NULL); /* one line, with its end */
        token_unref(&t);
    }
    ck_assert(set.count == 3 || good[_i].tokens[set.count] == NULL);
    if (good[_i].expires != 0)
        ck_assert_int_eq(token_expires(set.tokens[0]), good[_i].expires);
    token_set_clear(&set);
}
END_TEST

static const struct {
    struct str text;
    const char *place, *what;
} bad[] = {
    {BYTES("\xef\xbb\xbfone\n"), "f:1: offset 0: ", "byte order mark"},
    {BYTES("one\r\ntwo\r\n"), "f:1: offset 3: ", "CRLF"},
    {BYTES("one\ntwo\r\n"), "f:2: offset 3: ", "CRLF"},
    {BYTES("\r\n"), "f:1: offset 0: ", "CRLF"},
    {BYTES("# comment\nBearer " SECRET "\n"), "f:2: offset 0: ", "Bearer"},
    {BYTES("bearer\t" SECRET "\n"), "f:1: offset 0: ", "Bearer"},
    {BYTES("Authorization: Bearer " SECRET "\n"), "f:1: offset 0: ", "Authorization"},
    {BYTES(SECRET " " SECRET "2\n"), "f:1: offset 17: ", "white space inside"},
    {BYTES("  one two\n"), "f:1: offset 5: ", "white space inside"},
    {BYTES("one\n\ntw\0o\n"), "f:3: offset 2: ", "control byte"},
    {BYTES("\x7f"
           "ELF\x01\x02\n"),
     "f:1: offset 0: ", "control byte"},
    {BYTES("on\xc3\xa9\n"), "f:1: offset 2: ", "ASCII"},
    {BYTES("\"" SECRET "\"\n"), "f:1: offset 0: ", "quote"},
    {BYTES(SECRET "\ntwo\n" SECRET "\n"), "f:3: offset 0: ", "same token"},
    {BYTES("1\n2\n3\n4\n5\n6\n7\n8\n9\n"), "f:9: offset 0: ", "8"},
    {BYTES("one expires=tomorrow\n"), "f:1: offset 12: ", "RFC 3339"},
    {BYTES("one expires=\n"), "f:1: offset 12: ", "RFC 3339"},
    {BYTES("one expires=9999-12-31T23:59:59-00:01\n"), "f:1: offset 12: ", "RFC 3339"}, /* the year 10000 */
    {BYTES("one expires=2026-12-31T23:59:59Z expires=2027-12-31T23:59:59Z\n"), "f:1: offset 33: ", "second time"},
    {BYTES("expires=2026-12-31T23:59:59Z one\n"), "f:1: offset 28: ", "white space inside"},
};

START_TEST(bad_files)
{
    struct token_set set = {.count = 77};
    struct problem problem = {.text = ""};
    ck_assert_int_eq(token_file_parse(bad[_i].text, "f", &set, NULL, &problem), PP_INVALID);
    ck_assert_msg(strncmp(problem.text, bad[_i].place, strlen(bad[_i].place)) == 0, "%s", problem.text);
    ck_assert_msg(strstr(problem.text, bad[_i].what) != NULL, "%s", problem.text);
    ck_assert_ptr_null(strstr(problem.text, SECRET));
    ck_assert_uint_eq(set.count, 77); /* untouched */
}
END_TEST

START_TEST(too_long_a_token)
{
    struct token_set set;
    struct problem problem;
    char *text = malloc(LIMIT_TOKEN_LENGTH + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', LIMIT_TOKEN_LENGTH + 1);
    ck_assert_int_eq(token_file_parse((struct str){text, LIMIT_TOKEN_LENGTH + 1}, "f", &set, NULL, &problem),
                     PP_INVALID);
    ck_assert_int_eq(token_file_parse((struct str){text, LIMIT_TOKEN_LENGTH}, "f", &set, NULL, &problem), PP_OK);
    token_set_clear(&set);
    free(text);
}
END_TEST

static const struct {
    const char *text;
    int64_t ms; /* 0: not a time */
} times[] = {
    {"1970-01-01T00:00:01Z", 1000},
    {"2000-02-29T12:00:00Z", 951825600000},
    {"2024-02-29t23:59:59z", 1709251199000},
    {"2026-12-31T23:59:59.123456Z", 1798761599123},
    {"2026-12-31T23:59:60Z", 1798761600000},
    {"2026-12-31T23:59:59-02:30", 1798770599000},
    {"9999-12-31T23:59:59Z", 253402300799000},
    {"2023-02-29T12:00:00Z", 0},
    {"1900-02-29T12:00:00Z", 0},
    {"2026-13-01T00:00:00Z", 0},
    {"2026-00-01T00:00:00Z", 0},
    {"2026-04-31T00:00:00Z", 0},
    {"2026-12-31T24:00:00Z", 0},
    {"2026-12-31T23:60:00Z", 0},
    {"2026-12-31 23:59:59Z", 0},
    {"2026-12-31T23:59:59", 0},
    {"2026-12-31T23:59:59.Z", 0},
    {"2026-12-31T23:59:59+1:00", 0},
    {"2026-12-31T23:59:59+24:00", 0},
    {"2026-12-31T23:59:59Zz", 0},
    {"2026-12-31", 0},
    {"26-12-31T23:59:59Z", 0},
    {"", 0},
};

START_TEST(dates)
{
    int64_t ms = 0;
    enum pp_result rc = token_parse_time(str_of(times[_i].text), &ms);
    ck_assert_int_eq(rc, times[_i].ms == 0 ? PP_INVALID : PP_OK);
    ck_assert_int_eq(ms, times[_i].ms);
}
END_TEST

/* --- files --- */

static char folder[] = "/tmp/test_token_file_XXXXXX";
static char path[64];

static void set_up(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/token", folder);
}

static void tear_down(void)
{
    char command[96];
    (void)unlink(path);
    (void)rmdir(path);
    (void)snprintf(command, sizeof command, "%s/link", folder);
    (void)unlink(command);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void write_file(const char *text, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    ck_assert_int_eq(close(fd), 0);
}

/* Reads, and expects this. */
static void expect(enum pp_result rc, const char *what)
{
    struct token_set set = {.count = 0};
    struct problem problem = {.text = ""};
    ck_assert_msg(token_file_read(path, &set, NULL, &problem) == rc, "%s", problem.text);
    ck_assert_msg(strstr(problem.text, what) != NULL, "%s", problem.text);
    if (rc != PP_OK)
        ck_assert(strncmp(problem.text, path, strlen(path)) == 0);
    ck_assert_ptr_null(strstr(problem.text, SECRET));
    token_set_clear(&set);
}

static const struct {
    mode_t mode;
    const char *what; /* NULL: fine */
} modes[] = {
    {0400, NULL},
    {0440, NULL},
    {0600, NULL},
    {0640, NULL},
    {0644, "every user read"},
    {0604, "0604"},
    {0660, "its group"},
    {0620, "its group"},
    {0602, "every user change"},
    {0777, "chmod 0640"},
    {0700, NULL},
    {0650, "its group"},
};

START_TEST(modes_of_files)
{
    write_file(SECRET "\n", sizeof SECRET, modes[_i].mode);
    expect(modes[_i].what == NULL ? PP_OK : PP_DENIED, modes[_i].what == NULL ? "" : modes[_i].what);
}
END_TEST

START_TEST(kinds_of_files)
{
    expect(PP_NOT_FOUND, "no such file");
    write_file("", 0, 0600);
    expect(PP_INVALID, ":1: offset 0: no token");
    write_file("# " SECRET "\n", sizeof SECRET + 2, 0600);
    expect(PP_INVALID, "no token");
    ck_assert_int_eq(truncate(path, (off_t)1 << 30), 0); /* sparse */
    expect(PP_LIMIT, "1073741824 bytes");
    ck_assert_int_eq(truncate(path, LIMIT_TOKEN_FILE + 1), 0);
    expect(PP_LIMIT, "65537 bytes");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect(PP_INVALID, "is a directory");
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect(PP_INVALID, "is a FIFO"); /* and does not wait for a writer */
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink("/dev/null", path), 0);
    expect(PP_INVALID, "is a device");
    ck_assert_int_eq(unlink(path), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    expect(PP_INVALID, "socket");
    (void)close(fd);
}
END_TEST

START_TEST(through_a_link)
{
    char link[80];
    write_file(SECRET "\n", sizeof SECRET, 0640);
    (void)snprintf(link, sizeof link, "%s/link", folder);
    ck_assert_int_eq(symlink("token", link), 0);
    struct token_set set = {.count = 0};
    struct problem problem;
    ck_assert_int_eq(token_file_read(link, &set, NULL, &problem), PP_OK);
    ck_assert_uint_eq(set.count, 1);
    token_set_clear(&set);
    write_file(SECRET "\n", sizeof SECRET, 0644); /* what it points to counts, not the link's 0777 */
    ck_assert_int_eq(token_file_read(link, &set, NULL, &problem), PP_DENIED);
}
END_TEST

START_TEST(in_a_folder_everybody_may_change)
{
    write_file(SECRET "\n", sizeof SECRET, 0640);
    ck_assert_int_eq(chmod(folder, 0777), 0);
    expect(PP_DENIED, "replace it");
    ck_assert_int_eq(chmod(folder, 01777), 0);
    expect(PP_OK, "");
    ck_assert_int_eq(chmod(folder, 0700), 0);
}
END_TEST

START_TEST(inline_tokens)
{
    struct token_set set = {.count = 0};
    struct problem problem;
    ck_assert_int_eq(token_set_inline("new", "old", &set, &problem), PP_OK);
    ck_assert_uint_eq(set.count, 2);
    token_set_clear(&set);
    ck_assert_int_eq(token_set_inline("new", NULL, &set, &problem), PP_OK);
    ck_assert_uint_eq(set.count, 1);
    token_set_clear(&set);
    ck_assert_int_eq(token_set_inline(SECRET, SECRET, &set, &problem), PP_INVALID);
    ck_assert_ptr_null(strstr(problem.text, SECRET));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_file");
    TCase *format = tcase_create("format"), *files = tcase_create("files");
    tcase_add_loop_test(format, good_files, 0, (int)(sizeof good / sizeof *good));
    tcase_add_loop_test(format, bad_files, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_test(format, too_long_a_token);
    tcase_add_loop_test(format, dates, 0, (int)(sizeof times / sizeof *times));
    tcase_add_test(format, inline_tokens);
    tcase_add_checked_fixture(files, set_up, tear_down);
    tcase_add_loop_test(files, modes_of_files, 0, (int)(sizeof modes / sizeof *modes));
    tcase_add_test(files, kinds_of_files);
    tcase_add_test(files, through_a_link);
    tcase_add_test(files, in_a_folder_everybody_may_change);
    suite_add_tcase(suite, format);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
