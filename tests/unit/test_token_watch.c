/* Every way a file can change is noticed, and a burst of writes but once. */
#include "daemon/token_watch.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[] = "/tmp/test_token_watch_XXXXXX";
static struct loop *loop;
static struct token_watch *watch;
static int seen; /* calls of `changed` */

static void changed(void *owner)
{
    ck_assert_ptr_eq(owner, &seen);
    seen++;
}

static msec often(void *unused)
{
    (void)unused;
    return 5;
}

static const struct loop_hooks hooks = {.before_wait = often};

static void turn_for(int ms)
{
    for (int64_t until = clock_usec() + (int64_t)ms * 1000; clock_usec() < until;)
        loop_turn(loop, &hooks);
}

/* Milliseconds until it is noticed; fails after five seconds. */
static int noticed(void)
{
    int64_t from = clock_usec();
    for (int before = seen; seen == before; loop_turn(loop, &hooks))
        ck_assert_msg(clock_usec() - from < 5000000, "not noticed");
    return (int)((clock_usec() - from) / 1000);
}

static const char *in_base(const char *name)
{
    static char path[4][128];
    static unsigned next;
    char *out = path[next++ % 4];
    (void)snprintf(out, sizeof path[0], "%s/%s", base, name);
    return out;
}

static void write_file(const char *name, const char *text)
{
    int fd = open(in_base(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

static void start(const char *name)
{
    watch = token_watch_new(loop, in_base(name), changed, &seen);
    ck_assert_ptr_nonnull(watch);
    turn_for(250);
    seen = 0;
}

static void set_up(void)
{
    memcpy(base + sizeof base - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(base));
    ck_assert_int_eq(mkdir(in_base("dir"), 0700), 0);
    write_file("dir/token", "one\n");
    loop = loop_new();
    ck_assert_ptr_nonnull(loop);
}

static void tear_down(void)
{
    static const char *const names[] = {"dir/token",  "dir/..1/token", "dir/..2/token", "dir/..data",
                                        "dir/beside", "elsewhere",     "away/token",    NULL};
    token_watch_free(watch);
    loop_free(loop);
    for (size_t i = 0; names[i] != NULL; i++)
        (void)unlink(in_base(names[i]));
    (void)rmdir(in_base("dir/..1"));
    (void)rmdir(in_base("dir/..2"));
    (void)rmdir(in_base("dir"));
    (void)rmdir(in_base("away"));
    ck_assert_int_eq(rmdir(base), 0);
}

START_TEST(quiet)
{
    start("dir/token");
    ck_assert(token_watch_quick(watch));
    turn_for(2500);
    ck_assert_int_eq(seen, 0);
    write_file("dir/beside", "another file");
    turn_for(300);
    ck_assert_int_eq(seen, 0);
}
END_TEST

START_TEST(written_in_place)
{
    start("dir/token");
    write_file("dir/token", "two\n");
    ck_assert_int_lt(noticed(), 1500);
}
END_TEST

/* A log in the same directory must not hold up the news: each line of it would lengthen the wait for quiet. */
START_TEST(beside_a_busy_file)
{
    start("dir/token");
    int busy = open(in_base("dir/beside"), O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(busy, 0);
    write_file("dir/token", "two\n");
    int64_t from = clock_usec();
    while (seen == 0) {
        ck_assert_int_eq(write(busy, "line\n", 5), 5);
        loop_turn(loop, &hooks);
        ck_assert_msg(clock_usec() - from < 800000, "the busy file holds it up");
    }
    int looks = seen;
    for (from = clock_usec(); clock_usec() - from < 400000; loop_turn(loop, &hooks))
        ck_assert_int_eq(write(busy, "line\n", 5), 5);
    ck_assert_int_le(seen - looks, 1); /* the second look, for a change within the same tick of the clock */
    ck_assert_int_eq(close(busy), 0);
}
END_TEST

static msec patiently(void *unused)
{
    (void)unused;
    return 20;
}

/* Nor may each of its lines wake the daemon. */
START_TEST(beside_a_busy_file_it_rests)
{
    static const struct loop_hooks patient = {.before_wait = patiently};
    start("dir/token");
    int busy = open(in_base("dir/beside"), O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(busy, 0);
    int turns = 0;
    for (int64_t from = clock_usec(); clock_usec() - from < 400000; turns++) {
        ck_assert_int_eq(write(busy, "line\n", 5), 5);
        loop_turn(loop, &patient);
    }
    ck_assert_int_le(turns, 40); /* 20 in full and one for each rest; without rests as many as there is time for */
    write_file("dir/token", "two\n");
    ck_assert_int_lt(noticed(), 800);
    ck_assert_int_eq(close(busy), 0);
}
END_TEST

START_TEST(renamed_over)
{
    start("dir/token");
    write_file("dir/beside", "two\n");
    ck_assert_int_eq(rename(in_base("dir/beside"), in_base("dir/token")), 0);
    ck_assert_int_lt(noticed(), 1500);
}
END_TEST

START_TEST(a_mode_is_changed)
{
    start("dir/token");
    ck_assert_int_eq(chmod(in_base("dir/token"), 0644), 0);
    ck_assert_int_lt(noticed(), 1500);
}
END_TEST

START_TEST(removed_and_back)
{
    start("dir/token");
    ck_assert_int_eq(unlink(in_base("dir/token")), 0);
    (void)noticed();
    write_file("dir/token", "one\n");
    (void)noticed();
}
END_TEST

START_TEST(absent_at_the_start)
{
    ck_assert_int_eq(unlink(in_base("dir/token")), 0);
    ck_assert_int_eq(rmdir(in_base("dir")), 0);
    start("dir/token");
    ck_assert(!token_watch_quick(watch));
    ck_assert_int_eq(mkdir(in_base("dir"), 0700), 0);
    write_file("dir/token", "one\n");
    (void)noticed();
    turn_for(250);
    ck_assert(token_watch_quick(watch)); /* the directory is watched by now */
    write_file("dir/token", "two\n");
    ck_assert_int_lt(noticed(), 1500);
}
END_TEST

START_TEST(links_are_swapped)
{
    ck_assert_int_eq(unlink(in_base("dir/token")), 0);
    ck_assert_int_eq(mkdir(in_base("dir/..1"), 0700), 0);
    ck_assert_int_eq(mkdir(in_base("dir/..2"), 0700), 0);
    write_file("dir/..1/token", "one\n");
    write_file("dir/..2/token", "two\n");
    ck_assert_int_eq(symlink("..1", in_base("dir/..data")), 0);
    ck_assert_int_eq(symlink("..data/token", in_base("dir/token")), 0);
    start("dir/token");
    ck_assert_int_eq(symlink("..2", in_base("dir/beside")), 0);
    ck_assert_int_eq(rename(in_base("dir/beside"), in_base("dir/..data")), 0);
    ck_assert_int_lt(noticed(), 1500);
}
END_TEST

START_TEST(a_link_into_another_directory)
{
    ck_assert_int_eq(unlink(in_base("dir/token")), 0);
    write_file("elsewhere", "one\n");
    ck_assert_int_eq(symlink("../elsewhere", in_base("dir/token")), 0);
    start("dir/token");
    write_file("elsewhere", "two and more\n"); /* no event comes from there */
    ck_assert_int_lt(noticed(), 4000);
}
END_TEST

START_TEST(the_directory_is_replaced)
{
    start("dir/token");
    ck_assert_int_eq(rename(in_base("dir"), in_base("away")), 0);
    ck_assert_int_eq(mkdir(in_base("dir"), 0700), 0);
    write_file("dir/token", "two\n");
    (void)noticed();
    turn_for(250);
    write_file("dir/token", "three\n");
    ck_assert_int_lt(noticed(), 1500);
}
END_TEST

START_TEST(bit_by_bit)
{
    start("dir/token");
    int fd = open(in_base("dir/token"), O_WRONLY | O_TRUNC);
    ck_assert_int_ge(fd, 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(write(fd, "x", 1), 1);
        turn_for(10);
    }
    ck_assert_int_eq(seen, 0); /* still being written */
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_lt(noticed(), 1500);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_watch");
    TCase *t = tcase_create("token_watch");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, quiet);
    tcase_add_test(t, written_in_place);
    tcase_add_test(t, beside_a_busy_file);
    tcase_add_test(t, beside_a_busy_file_it_rests);
    tcase_add_test(t, renamed_over);
    tcase_add_test(t, a_mode_is_changed);
    tcase_add_test(t, removed_and_back);
    tcase_add_test(t, absent_at_the_start);
    tcase_add_test(t, links_are_swapped);
    tcase_add_test(t, a_link_into_another_directory);
    tcase_add_test(t, the_directory_is_replaced);
    tcase_add_test(t, bit_by_bit);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
