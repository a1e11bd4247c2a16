/* Tests of net/acceptor: how two acceptors on one listening socket share its clients. */
#include "net/acceptor.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define START 1000000
#define MOST  400

static struct acceptor_share share;
static struct member {
    struct loop *loop;
    struct acceptor *acceptor;
    int clients[MOST], count;
} members[2];
static struct sockaddr_in address;
static int listener, apps[MOST], app_count;
static msec now;

static void accepted(void *owner, void *tag, int fd)
{
    struct member *m = owner;
    (void)tag;
    m->clients[m->count++] = fd;
    acceptor_count(m->acceptor, 1);
}

static bool room(void *owner)
{
    return ((struct member *)owner)->count < MOST;
}

static bool starved(void *owner)
{
    (void)owner;
    return false;
}

static void setup(void)
{
    socklen_t n = sizeof address;
    clock_fake(now = START, 0);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, MOST), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &n), 0);
    share = (struct acceptor_share){0};
    app_count = 0;
    for (int i = 0; i < 2; i++) {
        struct acceptor_handlers handlers = {accepted, room, starved, &members[i]};
        members[i].count = 0;
        members[i].loop = loop_new();
        members[i].acceptor = acceptor_new(members[i].loop, &handlers);
        acceptor_join(members[i].acceptor, &share);
        ck_assert_int_eq(acceptor_add(members[i].acceptor, listener, NULL), PP_OK);
    }
}

static void leave(struct member *m, int count)
{
    for (; count > 0; count--) {
        close(m->clients[--m->count]);
        acceptor_count(m->acceptor, -1);
    }
}

static void teardown(void)
{
    for (int i = 0; i < 2; i++) {
        leave(&members[i], members[i].count);
        acceptor_free(members[i].acceptor);
        loop_free(members[i].loop);
    }
    while (app_count > 0)
        close(apps[--app_count]);
    close(listener);
    clock_fake(-1, 0);
}

static void connect_some(int count)
{
    for (; count > 0; count--) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        apps[app_count++] = fd;
    }
}

/* A millisecond in which the first one always gets to look first, `first` and `second` times. */
static void pass(int first, int second)
{
    clock_fake(++now, 0);
    for (; first > 0; first--)
        loop_settle(members[0].loop);
    for (; second > 0; second--)
        loop_settle(members[1].loop);
}

static void ck_even(int total)
{
    int more = members[0].count > members[1].count ? 0 : 1, difference = members[more].count - members[!more].count;
    ck_assert_int_eq(members[0].count + members[1].count, total);
    ck_assert_msg(difference * 10 <= total / 2, "%d and %d of %d", members[0].count, members[1].count, total);
}

START_TEST(one_after_the_other)
{
    for (int i = 0; i < 200; i++) {
        connect_some(1);
        pass(2, 1);
        pass(2, 1);
    }
    ck_even(200);
}
END_TEST

START_TEST(all_at_once)
{
    connect_some(MOST);
    int passes = 0;
    while (members[0].count + members[1].count < MOST) {
        pass(3, 1);
        ck_assert_int_lt(++passes, MOST);
    }
    ck_even(MOST);
}
END_TEST

START_TEST(what_left_is_made_up_for)
{
    connect_some(200);
    while (members[0].count + members[1].count < 200)
        pass(1, 1);
    leave(&members[1], 80);
    connect_some(80);
    while (members[0].count + members[1].count < 200)
        pass(3, 1);
    ck_even(200);
}
END_TEST

START_TEST(nobody_waits_long_for_one_that_is_busy)
{
    connect_some(100);
    for (int i = 0; i < 25; i++)
        pass(2, 0);
    ck_assert_int_eq(members[0].count, 100);
}
END_TEST

START_TEST(who_was_busy_is_waited_for_again)
{
    connect_some(100);
    for (int i = 0; i < 25; i++)
        pass(2, 0);
    for (int i = 0; i < 100; i++) {
        connect_some(1);
        pass(2, 1);
        pass(2, 1);
    }
    ck_even(200);
}
END_TEST

START_TEST(alone_it_takes_all_at_once)
{
    acceptor_remove(members[1].acceptor, listener);
    share.members = 1;
    connect_some(100);
    pass(7, 0); /* many a turn */
    ck_assert_int_eq(members[0].count, 100);
}
END_TEST

START_TEST(a_few_more_are_not_worth_a_wait)
{
    connect_some(2);
    pass(1, 0);
    ck_assert_int_eq(members[0].count, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("acceptor");
    TCase *t = tcase_create("share");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, one_after_the_other);
    tcase_add_test(t, all_at_once);
    tcase_add_test(t, what_left_is_made_up_for);
    tcase_add_test(t, nobody_waits_long_for_one_that_is_busy);
    tcase_add_test(t, who_was_busy_is_waited_for_again);
    tcase_add_test(t, alone_it_takes_all_at_once);
    tcase_add_test(t, a_few_more_are_not_worth_a_wait);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
