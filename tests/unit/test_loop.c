/* Tests of net/loop: timers under a clock of ours, events of unwatched descriptors, deferred calls, messages. */
#include "net/loop.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define START 1000000

static struct loop *l;
static char trace[64]; /* what ran, in order, a letter each */
static size_t traced;

static void note(char what)
{
    ck_assert_uint_lt(traced, sizeof trace - 1);
    trace[traced++] = what;
    trace[traced] = '\0';
}

static void setup(void)
{
    clock_fake(START, 0);
    l = loop_new();
    ck_assert_ptr_nonnull(l);
    traced = 0;
    trace[0] = '\0';
}

static void teardown(void)
{
    loop_free(l);
    clock_fake(-1, 0);
}

/* --- timers --- */

struct lettered {
    struct timer timer;
    char letter;
};

static void fired(struct timer *t)
{
    ck_assert(!timer_armed(t));
    ck_assert_int_le(t->due, clock_now());
    note(((struct lettered *)t)->letter);
}

START_TEST(test_timers_fire_when_due)
{
    struct lettered a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'};
    ck_assert_int_eq(timer_set(l, &c.timer, START + 300, fired), PP_OK);
    ck_assert_int_eq(timer_set(l, &a.timer, START + 100, fired), PP_OK);
    ck_assert_int_eq(timer_set(l, &b.timer, START + 200, fired), PP_OK);
    loop_settle(l);
    ck_assert_str_eq(trace, "");
    clock_fake(START + 99, 0);
    loop_settle(l);
    ck_assert_str_eq(trace, "");
    clock_fake(START + 100, 0);
    loop_settle(l);
    ck_assert_str_eq(trace, "a");
    clock_fake(START + 1000, 0);
    loop_settle(l);
    ck_assert_str_eq(trace, "abc");
    loop_settle(l);
    ck_assert_str_eq(trace, "abc");
}
END_TEST

START_TEST(test_timers_are_moved_and_stopped)
{
    struct lettered a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'};
    ck_assert_int_eq(timer_set(l, &a.timer, START + 10, fired), PP_OK);
    ck_assert_int_eq(timer_set(l, &b.timer, START + 20, fired), PP_OK);
    ck_assert_int_eq(timer_set(l, &c.timer, START + 30, fired), PP_OK);
    ck_assert_int_eq(timer_set(l, &a.timer, START + 40, fired), PP_OK); /* later */
    ck_assert_int_eq(timer_set(l, &c.timer, START + 5, fired), PP_OK);  /* sooner */
    timer_stop(l, &b.timer);
    timer_stop(l, &b.timer);
    ck_assert(!timer_armed(&b.timer));
    clock_fake(START + 39, 0);
    loop_settle(l);
    ck_assert_str_eq(trace, "c");
    clock_fake(START + 40, 0);
    loop_settle(l);
    ck_assert_str_eq(trace, "ca");
}
END_TEST

static struct lettered victim = {.letter = 'v'};

static void stops_the_victim(struct timer *t)
{
    fired(t);
    timer_stop(l, &victim.timer);
}

/* One due timer may stop another that is due in the same turn. */
START_TEST(test_a_timer_stops_another)
{
    struct lettered a = {.letter = 'a'};
    ck_assert_int_eq(timer_set(l, &a.timer, START + 1, stops_the_victim), PP_OK);
    ck_assert_int_eq(timer_set(l, &victim.timer, START + 2, fired), PP_OK);
    clock_fake(START + 5, 0);
    loop_settle(l);
    ck_assert_str_eq(trace, "a");
}
END_TEST

#define TIMERS 1000

static struct timer many[TIMERS];
static size_t fired_count;
static msec fired_last;

static void fired_of_many(struct timer *t)
{
    ck_assert_int_ge(t->due, fired_last);
    ck_assert_int_le(t->due, clock_now());
    fired_last = t->due;
    fired_count++;
}

/* A thousand in an order as good as random, each third moved, each fifth stopped; the clock goes on in uneven steps. */
START_TEST(test_a_thousand_timers)
{
    msec due[TIMERS];
    fired_count = 0;
    fired_last = 0;
    for (size_t i = 0; i < TIMERS; i++) {
        due[i] = START + 1 + (msec)(i * 7919 % 5003);
        ck_assert_int_eq(timer_set(l, &many[i], due[i], fired_of_many), PP_OK);
    }
    for (size_t i = 0; i < TIMERS; i += 3) {
        due[i] = START + 1 + (msec)(i * 104729 % 5009);
        ck_assert_int_eq(timer_set(l, &many[i], due[i], fired_of_many), PP_OK);
    }
    for (size_t i = 0; i < TIMERS; i += 5) {
        due[i] = MSEC_NEVER;
        timer_stop(l, &many[i]);
    }
    for (msec now = START; now < START + 5100; now += 1 + now % 37) {
        clock_fake(now, 0);
        loop_settle(l);
        size_t expected = 0;
        for (size_t i = 0; i < TIMERS; i++) {
            expected += due[i] <= now;
            ck_assert_int_eq(timer_armed(&many[i]), due[i] > now && due[i] != MSEC_NEVER);
        }
        ck_assert_uint_eq(fired_count, expected);
    }
    ck_assert_uint_eq(fired_count, TIMERS - TIMERS / 5);
}
END_TEST

/* --- descriptors --- */

static struct watch pair[2];
static void (*forget_the_other)(struct loop *, struct watch *);

static void forgets_the_other(struct watch *w, uint32_t events)
{
    ck_assert_uint_ne(events & EPOLLIN, 0);
    note('e');
    forget_the_other(l, &pair[w == &pair[0] ? 1 : 0]);
}

static void (*const ways_to_forget[])(struct loop *, struct watch *) = {loop_unwatch, loop_forget};

/* Both are ready in one turn; whichever is first forgets the other, whose event must not come any more. */
START_TEST(test_no_event_after_unwatch)
{
    int fds[2];
    forget_the_other = ways_to_forget[_i];
    for (size_t i = 0; i < 2; i++) {
        fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        ck_assert_int_ge(fds[i], 0);
        ck_assert_int_eq(loop_watch(l, &pair[i], fds[i], EPOLLIN, forgets_the_other), PP_OK);
    }
    loop_settle(l);
    ck_assert_str_eq(trace, "e");
    ck_assert_int_eq((pair[0].fd < 0) + (pair[1].fd < 0), 1);
    for (size_t i = 0; i < 2; i++) {
        loop_unwatch(l, &pair[i]);
        close(fds[i]);
    }
    loop_settle(l);
    ck_assert_str_eq(trace, "e");
}
END_TEST

static void counts(struct watch *w, uint32_t events)
{
    (void)w;
    note((events & EPOLLIN) != 0 ? 'r' : 'w');
}

START_TEST(test_rewatch_and_a_refusal)
{
    struct watch w, bad;
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    ck_assert_int_eq(loop_watch(l, &w, fd, EPOLLIN, counts), PP_OK);
    loop_settle(l);
    ck_assert_int_eq(loop_rewatch(l, &w, 0), PP_OK);
    loop_settle(l);
    ck_assert_int_eq(loop_rewatch(l, &w, EPOLLOUT), PP_OK);
    loop_settle(l);
    ck_assert_str_eq(trace, "rw");
    ck_assert_int_eq(loop_watch(l, &bad, fd, EPOLLIN, counts), PP_SYSTEM); /* EEXIST */
    ck_assert_int_eq(bad.fd, -1);
    loop_unwatch(l, &bad);
    loop_unwatch(l, &w);
    close(fd);
}
END_TEST

/* --- deferred calls --- */

struct call {
    struct deferred deferred;
    char letter;
    struct call *then; /* deferred by this one */
};

static void called(struct deferred *d)
{
    struct call *c = (struct call *)d;
    note(c->letter);
    if (c->then != NULL)
        loop_defer(l, &c->then->deferred, called);
}

static void after_turn(void *owner)
{
    (void)owner;
    note('-');
}

static msec at_once(void *owner)
{
    (void)owner;
    return 0;
}

static const struct loop_hooks hooks = {.before_wait = at_once, .after_turn = after_turn};

START_TEST(test_deferred_once_in_order_in_the_turn)
{
    struct call c = {.letter = 'c'}, a = {.letter = 'a', .then = &c}, b = {.letter = 'b'};
    loop_defer(l, &a.deferred, called);
    loop_defer(l, &b.deferred, called);
    loop_defer(l, &a.deferred, called);
    loop_turn(l, &hooks);
    ck_assert_str_eq(trace, "-abc"); /* after the hook; what a call defers still runs in this turn */
    loop_turn(l, &hooks);
    ck_assert_str_eq(trace, "-abc-");
    loop_defer(l, &b.deferred, called);
    loop_turn(l, &hooks);
    ck_assert_str_eq(trace, "-abc--b");
}
END_TEST

static struct call late = {.letter = 'l'};

static void asks_for_later(struct deferred *d)
{
    (void)d;
    note('x');
    loop_later(l, &late.deferred, called);
    loop_later(l, &late.deferred, called);
}

/* Put off to the next turn, it does not run in this one, and the next does not wait although nothing else is due. */
START_TEST(test_later_runs_at_the_end_of_the_next_turn)
{
    struct call first = {.letter = 'f'};
    loop_defer(l, &first.deferred, asks_for_later);
    loop_turn(l, &hooks);
    ck_assert_str_eq(trace, "-x");
    loop_turn(l, NULL);
    ck_assert_str_eq(trace, "-xl");
}
END_TEST

START_TEST(test_free_runs_what_is_left)
{
    struct call a = {.letter = 'a'}, b = {.letter = 'b'};
    loop_defer(l, &a.deferred, called);
    loop_later(l, &b.deferred, called);
    loop_free(l);
    ck_assert_str_eq(trace, "ab");
    l = NULL;
}
END_TEST

/* --- messages --- */

#define SENDERS  4
#define MESSAGES 5000

struct letter {
    struct message message;
    unsigned sender, number, check;
};

static unsigned heard[SENDERS];

static void delivered(struct message *m)
{
    struct letter *letter = (struct letter *)m;
    ck_assert_ptr_eq(m->receiver, heard);
    ck_assert_uint_lt(letter->sender, SENDERS);
    ck_assert_uint_eq(letter->check, (letter->sender * MESSAGES + letter->number) * 2654435761u);
    ck_assert_uint_eq(letter->number, heard[letter->sender]);
    heard[letter->sender]++;
    free(letter);
}

static void *send_all(void *argument)
{
    unsigned sender = *(unsigned *)argument;
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct letter *letter = calloc(1, sizeof *letter);
        if (letter == NULL)
            abort();
        *letter = (struct letter){.message = {.deliver = delivered, .receiver = heard},
                                  .sender = sender,
                                  .number = i,
                                  .check = (sender * MESSAGES + i) * 2654435761u};
        loop_post(l, &letter->message);
    }
    return NULL;
}

static bool all_heard(void)
{
    for (size_t i = 0; i < SENDERS; i++)
        if (heard[i] < MESSAGES)
            return false;
    return true;
}

/* Waits without a limit of its own: a lost wake-up is a test that times out. */
START_TEST(test_messages_of_threads)
{
    pthread_t threads[SENDERS];
    unsigned names[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        names[i] = i;
        heard[i] = 0;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, send_all, &names[i]), 0);
    }
    while (!all_heard())
        loop_turn(l, NULL);
    for (size_t i = 0; i < SENDERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    loop_settle(l);
    for (size_t i = 0; i < SENDERS; i++)
        ck_assert_uint_eq(heard[i], MESSAGES);
}
END_TEST

static void *stop_soon(void *argument)
{
    (void)argument;
    loop_stop(l);
    return NULL;
}

START_TEST(test_stop_from_another_thread)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    loop_run(l, NULL);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_le(loop_turns(l), 1);
}
END_TEST

/* --- settling --- */

/* With nothing to do but a timer of tomorrow, a turn would wait a minute; settling a hundred times must not. */
START_TEST(test_settle_does_not_wait)
{
    struct lettered far = {.letter = 'f'};
    ck_assert_int_eq(timer_set(l, &far.timer, START + 86400000, fired), PP_OK);
    int64_t begin = clock_usec();
    for (int i = 0; i < 100; i++)
        loop_settle(l);
    ck_assert_int_lt(clock_usec() - begin, 10000000);
    ck_assert_uint_eq(loop_turns(l), 100);
    ck_assert_str_eq(trace, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_timers_fire_when_due);
    tcase_add_test(tcase, test_timers_are_moved_and_stopped);
    tcase_add_test(tcase, test_a_timer_stops_another);
    tcase_add_test(tcase, test_a_thousand_timers);
    tcase_add_loop_test(tcase, test_no_event_after_unwatch, 0, 2);
    tcase_add_test(tcase, test_rewatch_and_a_refusal);
    tcase_add_test(tcase, test_deferred_once_in_order_in_the_turn);
    tcase_add_test(tcase, test_later_runs_at_the_end_of_the_next_turn);
    tcase_add_test(tcase, test_free_runs_what_is_left);
    tcase_add_test(tcase, test_messages_of_threads);
    tcase_add_test(tcase, test_stop_from_another_thread);
    tcase_add_test(tcase, test_settle_does_not_wait);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
