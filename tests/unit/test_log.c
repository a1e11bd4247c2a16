/* What a log line looks like, which ones are written, and what becomes of one that standard error does not take. */
#include "base/log.h"

#include "base/clock.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW INT64_C(1795370400123) /* 2026-11-22T18:00:00.123Z */

static char text[256 * 1024]; /* the lines written so far */

static void keep_lines(void *owner, const char *lines, size_t n)
{
    (void)owner;
    size_t used = strlen(text);
    ck_assert_uint_lt(used + n, sizeof text);
    memcpy(text + used, lines, n);
    text[used + n] = '\0';
    errno = EBADMSG; /* a sink may do so: nobody else is to see it */
}

static void set_up(void)
{
    text[0] = '\0';
    log_set_sink(keep_lines, NULL);
    clock_fake(123, NOW - 123);
}

static void tear_down(void)
{
    log_set_sink(NULL, NULL);
    clock_fake(-1, 0);
}

START_TEST(a_line)
{
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    errno = ENOENT;
    log_warning("token", "production", "%s: %m \"x\"\n\x1b[0m\xff\xc3\xa4", "file");
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_str_eq(text,
                     "{\"time\":\"2026-11-22T18:00:00.123Z\",\"level\":\"warning\",\"component\":\"token\","
                     "\"environment\":\"production\",\"message\":\"file: No such file or directory \\\"x\\\"\\u000a"
                     "\\u001b[0m\\u00ff\xc3\xa4\"}\n");
    text[0] = '\0';
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_error("main", NULL, "two words = %d", 7);
    ck_assert_str_eq(text, "2026-11-22T18:00:00.123Z error component=main message=\"two words = 7\"\n");
}
END_TEST

START_TEST(levels)
{
    log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
    log_info("a", NULL, "no");
    log_debug("a", NULL, "no");
    ck_assert_str_eq(text, "");
    log_error("a", NULL, "yes");
    ck_assert_ptr_nonnull(strstr(text, "message=yes\n"));
}
END_TEST

/* All of it: the posture of many environments is long, and is what one looks for at the start. */
START_TEST(a_long_message)
{
    static char message[20000];
    memset(message, 'm', sizeof message - 1);
    message[sizeof message - 2] = '"';
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info("main", NULL, "%s", message);
    ck_assert_uint_gt(strlen(text), sizeof message);
    ck_assert_str_eq(text + strlen(text) - 6, "m\\\"\"}\n");
}
END_TEST

/* What is beyond all measure is cut, between two characters, and that is to be seen. */
START_TEST(an_endless_message)
{
    static char message[200001];
    for (size_t i = 0; i + 1 < sizeof message; i += 2)
        memcpy(message + i, "\xc3\xa4", 2);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info("main", NULL, ".%s", message);
    log_info("main", NULL, "%s", message);
    char *second = strchr(text, '\n') + 1;
    ck_assert_ptr_nonnull(strstr(second, "\xc3\xa4...\"}\n"));
    ck_assert_ptr_null(strstr(text, "\\u00"));
    second[-1] = '\0';
    ck_assert_ptr_nonnull(strstr(text, "\xc3\xa4...\"}"));
}
END_TEST

START_TEST(fields)
{
    struct buf out;
    struct log_fields f;
    buf_init(&out, 4096);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_fields_begin(&f, &out, LOG_LEVEL_INFO, NOW);
    log_field_str(&f, "path", STR("/a?b"));
    log_field_str(&f, "empty", STR_NONE);
    log_field_int(&f, "least", INT64_MIN);
    log_field_int(&f, "zero", 0);
    log_field_usec(&f, "took", 1234567);
    log_field_usec(&f, "none", -5);
    log_fields_end(&f);
    buf_append_char(&out, '\0');
    ck_assert_str_eq(out.data, "2026-11-22T18:00:00.123Z info path=/a?b empty=\"\" least=-9223372036854775808 zero=0 "
                               "took=1234.567 none=0.000\n");
    buf_free(&out);
}
END_TEST

START_TEST(at_most_so_many)
{
    struct log_limit limit = {0};
    ck_assert(log_allowed(&limit, 1000));
    ck_assert_str_eq(limit.note, "");
    ck_assert(!log_allowed(&limit, 1000));
    ck_assert(!log_allowed(&limit, 1000));
    clock_fake(1123, NOW - 123);
    ck_assert(log_allowed(&limit, 1000));
    ck_assert_str_eq(limit.note, " (2 more like this were held back)");
    clock_fake(2123, NOW - 123);
    ck_assert(log_allowed(&limit, 1000));
    ck_assert_str_eq(limit.note, "");
}
END_TEST

/* What standard error can be. */
enum end { PIPE, SHARED_PIPE, SOCKET, ENDS };

/* Standard error becomes one, of which little fits; its other end is returned. */
static int standard_error_as(enum end end)
{
    int ends[2], little = 4096;
    log_set_sink(NULL, NULL);
    if (end == SOCKET) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        ck_assert_int_eq(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof little), 0);
    } else { /* others that share it can have made it non-blocking */
        ck_assert_int_eq(pipe2(ends, end == SHARED_PIPE ? O_NONBLOCK : 0), 0);
        ck_assert_int_gt(fcntl(ends[1], F_SETPIPE_SZ, little), 0);
    }
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
    ck_assert_int_eq(close(ends[1]), 0);
    return ends[0];
}

START_TEST(priorities_for_the_journal)
{
    struct stat st;
    char stream[64], line[256];
    int from = standard_error_as(PIPE);
    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    ck_assert_int_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_warning("a", NULL, "x");
    ssize_t n = read(from, line, sizeof line);
    ck_assert_int_gt(n, 3);
    ck_assert_int_eq(memcmp(line, "<4>2026-", 8), 0);
}
END_TEST

static void *drain(void *arg)
{
    const int *from = arg;
    size_t used = 0;
    struct pollfd p = {.fd = *from, .events = POLLIN};
    (void)usleep(100000); /* it is late, as a busy log collector is */
    while (poll(&p, 1, 500) == 1) {
        ssize_t n = read(*from, text + used, sizeof text - 1 - used);
        if (n > 0)
            used += (size_t)n;
    }
    text[used] = '\0';
    return NULL;
}

/* Each line arrives whole, though its reader is slow. */
START_TEST(a_slow_reader)
{
    pthread_t reader;
    int from = standard_error_as((enum end)_i);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    ck_assert_int_eq(pthread_create(&reader, NULL, drain, &from), 0);
    for (int i = 0; i < 500; i++)
        log_info("a", NULL, "this is line %d", i);
    ck_assert_int_eq(pthread_join(reader, NULL), 0);
    const char *at = text;
    for (int i = 0; i < 500; i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "2026-11-22T18:00:00.123Z info component=a message=\"this is line %d\"\n", i);
        ck_assert_msg(strncmp(at, line, strlen(line)) == 0, "line %d is not whole", i);
        at += strlen(line);
    }
}
END_TEST

/* All that is there, into `text`. */
static void read_what_is_there(int from)
{
    size_t used = 0;
    struct pollfd p = {.fd = from, .events = POLLIN};
    while (poll(&p, 1, 0) == 1 && used < sizeof text - 1) {
        ssize_t n = read(from, text + used, sizeof text - 1 - used);
        ck_assert_int_gt(n, 0);
        used += (size_t)n;
    }
    text[used] = '\0';
}

static unsigned lines(void)
{
    unsigned count = 0;
    for (const char *at = text; *at != '\0'; at++)
        count += *at == '\n';
    return count;
}

/* Nobody reads at all: the log gives up, so that its writers go on; what comes later begins on a line of its own, and
 * how many lines are missing is said. */
START_TEST(nobody_reads)
{
    static const char head[] = "2026-11-22T18:00:00.123Z warning component=log message=\"";
    int from = standard_error_as((enum end)_i);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    int64_t began = clock_usec();
    for (int i = 0; i < 200; i++)
        log_info("a", NULL, "this is line %d", i);
    ck_assert_int_lt(clock_usec() - began, 5000000);
    read_what_is_there(from);
    unsigned whole = lines();
    ck_assert_uint_lt(whole, 200);
    log_info("a", NULL, "later");
    read_what_is_there(from);
    const char *at = text[0] == '\n' ? text + 1 : text;
    ck_assert_int_eq(strncmp(at, head, sizeof head - 1), 0);
    unsigned long missing = strtoul(at + sizeof head - 1, NULL, 10);
    ck_assert_ptr_nonnull(strstr(at, " lines are missing here"));
    ck_assert_uint_eq(whole + missing, 200);
    ck_assert_str_eq(strchr(at, '\n') + 1, "2026-11-22T18:00:00.123Z info component=a message=later\n");
    log_info("a", NULL, "and on");
    read_what_is_there(from);
    ck_assert_str_eq(text, "2026-11-22T18:00:00.123Z info component=a message=\"and on\"\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_line);
    tcase_add_test(t, levels);
    tcase_add_test(t, a_long_message);
    tcase_add_test(t, an_endless_message);
    tcase_add_test(t, fields);
    tcase_add_test(t, at_most_so_many);
    tcase_add_test(t, priorities_for_the_journal);
    tcase_add_loop_test(t, a_slow_reader, 0, ENDS);
    tcase_add_loop_test(t, nobody_reads, 0, ENDS);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
