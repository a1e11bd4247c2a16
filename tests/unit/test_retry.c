/* Tests of proxy/retry: which failures may be tried again, what the budget leaves, and how long the waits are. */
#include "proxy/retry.h"

#include <check.h>
#include <stdlib.h>

#define ALL (RETRY_ON_CONNECT | RETRY_ON_502 | RETRY_ON_503 | RETRY_ON_504)

static struct str listed[] = {{"GET", 3}, {"HEAD", 4}, {"PUT", 3}};

static struct retry_policy policy(unsigned attempts, unsigned on, unsigned percent)
{
    return (struct retry_policy){
        .attempts = attempts,
        .on = on,
        .methods = {.items = listed, .count = sizeof listed / sizeof listed[0]},
        .budget_percent = percent,
    };
}

static const struct {
    unsigned attempts_most, on, percent;
    const char *method;
    enum retry_reason reason;
    enum sent sent;
    unsigned attempts;
    msec now, deadline;
    bool allowed;
} questions[] = {
    /* a listed method: whatever was sent */
    {3, ALL, 20, "GET", RETRY_REASON_CONNECT, SENT_NO, 1, 0, 1000, true},
    {3, ALL, 20, "GET", RETRY_REASON_502, SENT_MAYBE, 1, 0, 1000, true},
    {3, ALL, 20, "HEAD", RETRY_REASON_503, SENT_YES, 1, 0, 1000, true},
    {3, ALL, 20, "PUT", RETRY_REASON_504, SENT_YES, 2, 0, 1000, true},
    /* any other: only where nothing left the host */
    {3, ALL, 20, "POST", RETRY_REASON_CONNECT, SENT_NO, 1, 0, 1000, true},
    {3, ALL, 20, "POST", RETRY_REASON_CONNECT, SENT_MAYBE, 1, 0, 1000, false},
    {3, ALL, 20, "POST", RETRY_REASON_502, SENT_MAYBE, 1, 0, 1000, false},
    {3, ALL, 20, "POST", RETRY_REASON_503, SENT_YES, 1, 0, 1000, false},
    {3, ALL, 20, "PATCH", RETRY_REASON_504, SENT_YES, 1, 0, 1000, false},
    /* methods are case-sensitive and compared whole (RFC 9110 9.1) */
    {3, ALL, 20, "get", RETRY_REASON_503, SENT_YES, 1, 0, 1000, false},
    {3, ALL, 20, "GE", RETRY_REASON_503, SENT_YES, 1, 0, 1000, false},
    {3, ALL, 20, "GETS", RETRY_REASON_503, SENT_YES, 1, 0, 1000, false},
    /* attempts */
    {1, ALL, 20, "GET", RETRY_REASON_CONNECT, SENT_NO, 1, 0, 1000, false},
    {3, ALL, 20, "GET", RETRY_REASON_CONNECT, SENT_NO, 3, 0, 1000, false},
    {3, ALL, 20, "GET", RETRY_REASON_CONNECT, SENT_NO, 4, 0, 1000, false},
    /* reasons: each bit alone lets its own through and no other */
    {3, 0, 20, "GET", RETRY_REASON_CONNECT, SENT_NO, 1, 0, 1000, false},
    {3, RETRY_ON_CONNECT, 20, "GET", RETRY_REASON_CONNECT, SENT_NO, 1, 0, 1000, true},
    {3, ALL & ~RETRY_ON_CONNECT, 20, "GET", RETRY_REASON_CONNECT, SENT_NO, 1, 0, 1000, false},
    {3, RETRY_ON_502, 20, "GET", RETRY_REASON_502, SENT_YES, 1, 0, 1000, true},
    {3, ALL & ~RETRY_ON_502, 20, "GET", RETRY_REASON_502, SENT_YES, 1, 0, 1000, false},
    {3, RETRY_ON_503, 20, "GET", RETRY_REASON_503, SENT_YES, 1, 0, 1000, true},
    {3, ALL & ~RETRY_ON_503, 20, "GET", RETRY_REASON_503, SENT_YES, 1, 0, 1000, false},
    {3, RETRY_ON_504, 20, "GET", RETRY_REASON_504, SENT_YES, 1, 0, 1000, true},
    {3, ALL & ~RETRY_ON_504, 20, "GET", RETRY_REASON_504, SENT_YES, 1, 0, 1000, false},
    /* the deadline of the whole request */
    {3, ALL, 20, "GET", RETRY_REASON_503, SENT_YES, 1, 999, 1000, true},
    {3, ALL, 20, "GET", RETRY_REASON_503, SENT_YES, 1, 1000, 1000, false},
    {3, ALL, 20, "GET", RETRY_REASON_503, SENT_YES, 1, 1001, 1000, false},
    /* no budget at all */
    {3, ALL, 0, "GET", RETRY_REASON_CONNECT, SENT_NO, 1, 0, 1000, false},
};

START_TEST(test_question)
{
    struct retry_budget budget = {0};
    struct retry_policy p = policy(questions[_i].attempts_most, questions[_i].on, questions[_i].percent);
    struct retry_question q = {.policy = &p,
                               .method = str_of(questions[_i].method),
                               .reason = questions[_i].reason,
                               .sent = questions[_i].sent,
                               .attempts = questions[_i].attempts,
                               .now = questions[_i].now,
                               .deadline = questions[_i].deadline};
    ck_assert_int_eq(retry_allowed(&budget, &q), questions[_i].allowed);
}
END_TEST

/* How many retries the budget gives at `now`, of at most a thousand asked for. */
static unsigned granted(struct retry_budget *budget, unsigned percent, msec now)
{
    struct retry_policy p = policy(3, ALL, percent);
    struct retry_question q = {.policy = &p,
                               .method = STR("GET"),
                               .reason = RETRY_REASON_503,
                               .sent = SENT_YES,
                               .attempts = 1,
                               .now = now,
                               .deadline = MSEC_NEVER};
    unsigned n = 0;
    while (n < 1000 && retry_allowed(budget, &q))
        n++;
    return n;
}

static void requests(struct retry_budget *budget, unsigned n, msec now)
{
    for (unsigned i = 0; i < n; i++)
        retry_count_request(budget, now);
}

static const struct {
    unsigned requests, percent, granted;
} shares[] = {
    {0, 20, 10},  {1, 20, 10},     {50, 20, 10},  {54, 20, 10},  {55, 20, 11}, {100, 20, 20},
    {100, 1, 10}, {100, 100, 100}, {999, 10, 99}, {1000, 5, 50}, {1000, 0, 0},
};

START_TEST(test_share_of_the_requests)
{
    struct retry_budget budget = {0};
    requests(&budget, shares[_i].requests, 5000);
    ck_assert_uint_eq(granted(&budget, shares[_i].percent, 5000), shares[_i].granted);
}
END_TEST

/* A refused question takes nothing: what it could not have is still there for others. */
START_TEST(test_refusals_cost_nothing)
{
    struct retry_budget budget = {0};
    struct retry_policy p = policy(3, ALL, 20);
    struct retry_question q = {.policy = &p,
                               .method = STR("POST"),
                               .reason = RETRY_REASON_503,
                               .sent = SENT_YES,
                               .attempts = 1,
                               .now = 0,
                               .deadline = 1000};
    for (unsigned i = 0; i < 50; i++)
        ck_assert(!retry_allowed(&budget, &q));
    ck_assert_uint_eq(granted(&budget, 20, 0), 10);
}
END_TEST

/* Requests count for ten seconds, retries too, each in its own second. */
START_TEST(test_window)
{
    struct retry_budget budget = {0};
    requests(&budget, 200, 100000);
    ck_assert_uint_eq(granted(&budget, 20, 100999), 40);
    ck_assert_uint_eq(granted(&budget, 20, 109999), 0);
    ck_assert_uint_eq(granted(&budget, 20, 110000), 10);

    requests(&budget, 100, 112000);
    ck_assert_uint_eq(granted(&budget, 20, 112000), 10); /* 20 for 100, ten of them taken two seconds ago */
    requests(&budget, 100, 115000);
    ck_assert_uint_eq(granted(&budget, 20, 119999), 20); /* 40 for 200, twenty taken */
    ck_assert_uint_eq(granted(&budget, 20, 120000), 10); /* the ten of 110 s are free again */
    ck_assert_uint_eq(granted(&budget, 20, 121999), 0);
}
END_TEST

START_TEST(test_long_silence_and_a_clock_gone_back)
{
    struct retry_budget budget = {0};
    requests(&budget, 1000, 50000);
    ck_assert_uint_eq(granted(&budget, 20, 50000), 200);
    ck_assert_uint_eq(granted(&budget, 20, INT64_C(1) << 50), 10);
    ck_assert_uint_eq(granted(&budget, 20, 1000), 10);
}
END_TEST

static const struct {
    unsigned attempts;
    msec most;
} delays[] = {{0, 25}, {1, 25}, {2, 50}, {3, 100}, {4, 200}, {5, 400}, {6, 400}, {100, 400}, {4000000000u, 400}};

START_TEST(test_delay)
{
    msec most = delays[_i].most, before = most;
    ck_assert_int_eq(retry_delay(delays[_i].attempts, 0), most);
    for (unsigned jitter = 0; jitter < 1024; jitter++) {
        msec delay = retry_delay(delays[_i].attempts, jitter);
        ck_assert_int_le(delay, before);
        ck_assert_int_ge(delay * 2, most);
        before = delay;
    }
    ck_assert_int_le(before, most / 2 + 1); /* the most jitter takes off half, but for rounding */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retry");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, test_question, 0, (int)(sizeof questions / sizeof questions[0]));
    tcase_add_loop_test(tcase, test_share_of_the_requests, 0, (int)(sizeof shares / sizeof shares[0]));
    tcase_add_test(tcase, test_refusals_cost_nothing);
    tcase_add_test(tcase, test_window);
    tcase_add_test(tcase, test_long_silence_and_a_clock_gone_back);
    tcase_add_loop_test(tcase, test_delay, 0, (int)(sizeof delays / sizeof delays[0]));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
