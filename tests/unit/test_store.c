/* The rules of rotation one by one; tests/sim tries them all together. */
#include "token/store.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define WALL ((int64_t)1700000000000)

static const struct token_store_policy probing = {.grace = 86400000, .probe_interval = 60000};
static const struct token_store_policy not_probing = {.grace = 86400000, .probe_interval = 0};

static struct token *a, *b, *c, *d;
static struct token_store *s;

static void set_up(void)
{
    a = token_new("token-a", 7, 0);
    b = token_new("token-b", 7, 0);
    c = token_new("token-c", 7, 0);
    d = token_new("token-d", 7, 0);
    s = token_store_new(&probing);
    ck_assert(a != NULL && b != NULL && c != NULL && d != NULL && s != NULL);
}

static void tear_down(void)
{
    token_store_free(s);
    token_unref(&a);
    token_unref(&b);
    token_unref(&c);
    token_unref(&d);
}

static void hold(size_t count, struct token *const *tokens, msec now)
{
    ck_assert_int_eq(token_store_replace(s, tokens, count, now, WALL), PP_OK);
}

static bool learn(struct token *t, int status, msec sent, msec arrived)
{
    struct token_fact fact = {token_answer_of(status), sent, arrived};
    return token_store_learn(s, t, &fact);
}

static struct token *first(msec now)
{
    struct token_plan plan = {.count = 0};
    return token_store_next(s, &plan, now);
}

static struct token_info info_of(const struct token *t)
{
    struct token_info list[LIMIT_TOKENS_HELD];
    size_t n = token_store_list(s, list);
    for (size_t i = 0; i < n; i++)
        if (list[i].token == t)
            return list[i];
    ck_abort_msg("token %s is not held", token_fingerprint(t));
    return list[0];
}

static const struct {
    int status;
    enum token_answer answer;
} answers[] = {
    {0, TOKEN_ANSWER_NOTHING},    {100, TOKEN_ANSWER_NOTHING},  {101, TOKEN_ANSWER_ACCEPTED},
    {200, TOKEN_ANSWER_ACCEPTED}, {204, TOKEN_ANSWER_ACCEPTED}, {299, TOKEN_ANSWER_ACCEPTED},
    {301, TOKEN_ANSWER_NOTHING},  {400, TOKEN_ANSWER_NOTHING},  {401, TOKEN_ANSWER_REFUSED},
    {403, TOKEN_ANSWER_NOTHING},  {404, TOKEN_ANSWER_ACCEPTED}, {407, TOKEN_ANSWER_NOTHING},
    {409, TOKEN_ANSWER_ACCEPTED}, {422, TOKEN_ANSWER_ACCEPTED}, {429, TOKEN_ANSWER_NOTHING},
    {500, TOKEN_ANSWER_NOTHING},  {502, TOKEN_ANSWER_NOTHING},  {599, TOKEN_ANSWER_NOTHING},
};

START_TEST(what_an_answer_says)
{
    ck_assert_int_eq(token_answer_of(answers[_i].status), answers[_i].answer);
}
END_TEST

START_TEST(a_new_token_waits_until_it_is_proven)
{
    hold(1, (struct token *[]){a}, 0);
    ck_assert_ptr_eq(first(1), a); /* nothing better */
    ck_assert(learn(a, 200, 1, 2));
    hold(2, (struct token *[]){b, a}, 10);
    ck_assert_ptr_eq(first(11), a);
    ck_assert_int_eq(info_of(b).role, TOKEN_NEXT);
    ck_assert_ptr_eq(token_store_probe_due(s, 10), b); /* at once */
    ck_assert(learn(b, 404, 10, 20));
    token_store_probed(s, b, 20, 0);
    ck_assert_ptr_eq(first(21), b);
    ck_assert_int_eq(info_of(b).role, TOKEN_CURRENT);
    ck_assert_int_eq(info_of(a).role, TOKEN_PREVIOUS);
}
END_TEST

START_TEST(without_probing_traffic_tries_it)
{
    token_store_set_policy(s, &not_probing);
    hold(1, (struct token *[]){a}, 0);
    (void)learn(a, 200, 1, 2);
    hold(2, (struct token *[]){b, a}, 10);
    ck_assert_ptr_eq(first(11), b);
    ck_assert_ptr_null(token_store_probe_due(s, 1000000));
    (void)learn(b, 401, 11, 12);
    ck_assert_ptr_eq(first(13), a);
}
END_TEST

START_TEST(a_401_leads_through_all_of_them_once)
{
    hold(3, (struct token *[]){c, b, a}, 0);
    (void)learn(b, 200, 0, 1);
    struct token_plan plan = {.count = 0};
    struct token *order[4];
    for (int i = 0; i < 4; i++) {
        order[i] = token_store_next(s, &plan, 10);
        if (order[i] != NULL)
            (void)learn(order[i], 401, 10, 11);
    }
    ck_assert_ptr_eq(order[0], b);
    ck_assert_ptr_eq(order[1], c);
    ck_assert_ptr_eq(order[2], a);
    ck_assert_ptr_null(order[3]);
}
END_TEST

START_TEST(all_refused_costs_two_tries_and_back_off)
{
    hold(4, (struct token *[]){d, c, b, a}, 0);
    (void)learn(b, 200, 0, 1);
    for (int i = 0; i < 4; i++)
        (void)learn((struct token *[]){a, b, c, d}[i], 401, 10, 11);
    struct token_plan plan = {.count = 0};
    ck_assert_ptr_eq(token_store_next(s, &plan, 500), d); /* the newest */
    ck_assert(plan.all_refused);
    ck_assert_ptr_eq(token_store_next(s, &plan, 500), b); /* the one accepted last */
    ck_assert_ptr_null(token_store_next(s, &plan, 500));
    plan = (struct token_plan){.count = 0};
    (void)token_store_next(s, &plan, 1011);
    (void)token_store_next(s, &plan, 1011);
    ck_assert_ptr_eq(token_store_next(s, &plan, 1011), c); /* a second later */
    ck_assert_ptr_eq(token_store_next(s, &plan, 1011), a);
    plan = (struct token_plan){.count = 0};
    (void)token_store_next(s, &plan, 1012);
    (void)token_store_next(s, &plan, 1012);
    ck_assert_ptr_null(token_store_next(s, &plan, 1012)); /* another request has them */
}
END_TEST

/* Facts about one token, in the order they are heard, and the verdict. */
static const struct {
    struct token_fact facts[3];
    size_t count;
    enum token_verdict verdict;
} stories[] = {
    {{{TOKEN_ANSWER_NOTHING, 1, 2}}, 1, TOKEN_UNTESTED},
    {{{TOKEN_ANSWER_ACCEPTED, 1, 2}}, 1, TOKEN_ACCEPTED},
    {{{TOKEN_ANSWER_REFUSED, 1, 2}}, 1, TOKEN_REFUSED},
    {{{TOKEN_ANSWER_ACCEPTED, 1, 2}, {TOKEN_ANSWER_REFUSED, 3, 4}}, 2, TOKEN_REFUSED},
    {{{TOKEN_ANSWER_REFUSED, 1, 2}, {TOKEN_ANSWER_ACCEPTED, 3, 4}}, 2, TOKEN_ACCEPTED},
    /* late: what it says is older */
    {{{TOKEN_ANSWER_REFUSED, 3, 4}, {TOKEN_ANSWER_ACCEPTED, 1, 2}}, 2, TOKEN_REFUSED},
    {{{TOKEN_ANSWER_ACCEPTED, 3, 4}, {TOKEN_ANSWER_REFUSED, 1, 2}}, 2, TOKEN_ACCEPTED},
    /* overlapping: in doubt accepted, whichever is heard first */
    {{{TOKEN_ANSWER_ACCEPTED, 3, 4}, {TOKEN_ANSWER_REFUSED, 1, 9}}, 2, TOKEN_ACCEPTED},
    {{{TOKEN_ANSWER_REFUSED, 1, 9}, {TOKEN_ANSWER_ACCEPTED, 3, 4}}, 2, TOKEN_ACCEPTED},
    {{{TOKEN_ANSWER_REFUSED, 4, 5}, {TOKEN_ANSWER_ACCEPTED, 3, 4}}, 2, TOKEN_ACCEPTED},
    {{{TOKEN_ANSWER_REFUSED, 5, 6}, {TOKEN_ANSWER_ACCEPTED, 3, 4}}, 2, TOKEN_REFUSED},
    {{{TOKEN_ANSWER_ACCEPTED, 1, 2}, {TOKEN_ANSWER_REFUSED, 3, 4}, {TOKEN_ANSWER_NOTHING, 5, 6}}, 3, TOKEN_REFUSED},
};

START_TEST(verdicts)
{
    hold(1, (struct token *[]){a}, 0);
    enum token_verdict before = TOKEN_UNTESTED;
    for (size_t i = 0; i < stories[_i].count; i++) {
        bool changed = token_store_learn(s, a, &stories[_i].facts[i]);
        ck_assert_int_eq(changed, info_of(a).verdict != before);
        before = info_of(a).verdict;
    }
    ck_assert_int_eq(before, stories[_i].verdict);
}
END_TEST

START_TEST(bad_sets_change_nothing)
{
    hold(2, (struct token *[]){b, a}, 0);
    (void)learn(a, 200, 1, 2);
    struct token *nine[LIMIT_TOKENS_FILE + 1];
    for (size_t i = 0; i < LIMIT_TOKENS_FILE + 1; i++) {
        char text[16];
        nine[i] = token_new(text, (size_t)snprintf(text, sizeof text, "nine-%zu", i), 0);
    }
    ck_assert_int_eq(token_store_replace(s, NULL, 0, 5, WALL), PP_INVALID);
    ck_assert_int_eq(token_store_replace(s, (struct token *[]){c, d, c}, 3, 5, WALL), PP_INVALID);
    ck_assert_int_eq(token_store_replace(s, nine, LIMIT_TOKENS_FILE + 1, 5, WALL), PP_INVALID);
    struct token_info list[LIMIT_TOKENS_HELD];
    struct token *tokens[LIMIT_TOKENS_HELD];
    ck_assert_uint_eq(token_store_list(s, list), 2);
    ck_assert_ptr_eq(list[0].token, b);
    ck_assert_ptr_eq(list[1].token, a);
    ck_assert_uint_eq(token_store_tokens(s, tokens), 2);
    ck_assert(tokens[0] == b && tokens[1] == a);
    ck_assert(list[0].in_file && list[1].in_file);
    for (size_t i = 0; i < LIMIT_TOKENS_FILE + 1; i++)
        token_unref(&nine[i]);
}
END_TEST

START_TEST(a_vanished_token_stays_for_its_grace)
{
    hold(1, (struct token *[]){a}, 0);
    (void)learn(a, 200, 1, 2);
    hold(1, (struct token *[]){b}, 1000);
    ck_assert_ptr_eq(first(1001), a); /* still the proven one */
    ck_assert(!info_of(a).in_file);
    ck_assert_int_eq(info_of(a).grace_ends, 1000 + 86400000);
    (void)learn(b, 200, 1001, 1002);
    ck_assert_ptr_eq(first(1003), b);
    ck_assert_int_eq(info_of(a).role, TOKEN_RETIRING);
    ck_assert_int_eq(token_store_retired_since(s, a), 1000);
    ck_assert_int_eq(token_store_retired_since(s, b), MSEC_NEVER);
    ck_assert_int_eq(token_store_retired_since(s, c), 0);
    ck_assert(!token_store_expire(s, 1000 + 86399999, WALL));
    ck_assert(token_store_expire(s, 1000 + 86400000, WALL));
    struct token_info list[LIMIT_TOKENS_HELD];
    ck_assert_uint_eq(token_store_list(s, list), 1);
}
END_TEST

START_TEST(the_same_secret_stays_the_same_object)
{
    hold(1, (struct token *[]){a}, 0);
    (void)learn(a, 200, 1, 2);
    struct token *again = token_new("token-a", 7, WALL + 5000);
    hold(2, (struct token *[]){b, again}, 10);
    ck_assert_int_eq(info_of(a).verdict, TOKEN_ACCEPTED);
    ck_assert_int_eq(token_expires(a), WALL + 5000);
    ck_assert_int_eq(token_store_next_event(s, 11, WALL), 11); /* b is to be probed */
    token_unref(&again);
}
END_TEST

START_TEST(an_expired_token_is_the_last_resort_but_one)
{
    hold(2, (struct token *[]){b, a}, 0);
    (void)learn(a, 200, 1, 2);
    (void)learn(b, 401, 1, 2);
    token_set_expires(a, WALL + 1000);
    ck_assert(!token_store_expire(s, 10, WALL + 999));
    ck_assert(token_store_expire(s, 10, WALL + 1000));
    ck_assert_int_eq(info_of(a).verdict, TOKEN_EXPIRED);
    ck_assert(info_of(a).accepted);
    ck_assert_ptr_eq(first(11), a); /* before one that is known to be refused */
    ck_assert_int_eq(token_store_replace(s, (struct token *[]){c, b, a}, 3, 20, WALL + 1000), PP_OK);
    ck_assert_ptr_eq(first(21), c);             /* after one nothing is known of */
    ck_assert(token_store_expire(s, 30, WALL)); /* the clock was set back */
    ck_assert_ptr_eq(first(31), a);
}
END_TEST

START_TEST(probes_come_in_time_and_one_at_a_time)
{
    hold(1, (struct token *[]){a}, 0);
    ck_assert_int_eq(token_store_next_event(s, 0, WALL), 0);
    ck_assert_ptr_eq(token_store_probe_due(s, 0), a);
    ck_assert_ptr_null(token_store_probe_due(s, 999999)); /* in flight */
    ck_assert_int_eq(token_store_next_event(s, 1, WALL), MSEC_NEVER);
    (void)learn(a, 404, 0, 5);
    token_store_probed(s, a, 5, 0);
    ck_assert_int_eq(token_store_next_event(s, 6, WALL), 60005);
    ck_assert_ptr_null(token_store_probe_due(s, 60004));
    ck_assert_ptr_eq(token_store_probe_due(s, 60005), a);
    token_store_probed(s, a, 60010, 1023); /* lost: again after 1 s and a tenth at most */
    ck_assert_ptr_null(token_store_probe_due(s, 61010));
    ck_assert_ptr_eq(token_store_probe_due(s, 61110), a);
}
END_TEST

START_TEST(refused_tokens_are_probed_with_back_off)
{
    hold(2, (struct token *[]){b, a}, 0);
    (void)learn(a, 200, 0, 1);
    ck_assert_ptr_eq(token_store_probe_due(s, 0), b);
    ck_assert_ptr_eq(token_store_probe_due(s, 0), a);
    token_store_probed(s, a, 1, 0);
    (void)learn(b, 401, 0, 1);
    token_store_probed(s, b, 1, 0);
    static const msec times[] = {1001, 2001, 4001, 8001, 16001, 32001, 64001, 124001, 184001};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        ck_assert_ptr_ne(token_store_probe_due(s, times[i] - 1), b);
        ck_assert_ptr_eq(token_store_probe_due(s, times[i]), b);
        (void)learn(b, 401, times[i], times[i]);
        token_store_probed(s, b, times[i], 0);
        token_store_probed(s, a, times[i], 0);
    }
}
END_TEST

START_TEST(replicas_tell_each_other)
{
    struct token_store *one = token_store_new(&probing), *two = token_store_new(&probing);
    struct token_snapshot snapshot;
    struct token_knowledge knowledge;
    uint32_t behind;
    ck_assert(one != NULL && two != NULL);
    hold(2, (struct token *[]){b, a}, 0);
    token_store_snapshot(s, &snapshot);
    token_store_adopt(one, &snapshot, &behind);
    ck_assert_uint_eq(behind, 0);
    token_store_adopt(two, &snapshot, &behind);
    token_snapshot_clear(&snapshot);

    struct token_fact refused = {TOKEN_ANSWER_REFUSED, 10, 20}, accepted = {TOKEN_ANSWER_ACCEPTED, 11, 12};
    ck_assert(token_store_learn(one, a, &refused));
    ck_assert(token_store_learn(two, a, &accepted));
    ck_assert(token_store_knowledge(one, a, &knowledge));
    ck_assert_uint_eq(token_store_merge(s, a, &knowledge), TOKEN_NEWS_CHANGED);
    ck_assert_int_eq(info_of(a).verdict, TOKEN_REFUSED);
    token_store_snapshot(s, &snapshot);
    token_store_adopt(two, &snapshot, &behind);
    token_snapshot_clear(&snapshot);
    ck_assert_uint_eq(behind, 2); /* a, the second: the worker knows better, as the two overlap */
    ck_assert(token_store_knowledge(two, a, &knowledge));
    ck_assert_uint_eq(token_store_merge(s, a, &knowledge), TOKEN_NEWS_CHANGED);
    ck_assert_int_eq(info_of(a).verdict, TOKEN_ACCEPTED);
    ck_assert(!token_store_knowledge(s, c, &knowledge));
    ck_assert_uint_eq(token_store_merge(s, c, &knowledge), TOKEN_NEWS_NONE);
    token_store_free(one);
    token_store_free(two);
}
END_TEST

/* --- the sentence --- */

#define NOW ((msec)10000000)

static void expect_sentence(const char *format, ...) PP_PRINTF(1, 2);
static void expect_sentence(const char *format, ...)
{
    struct buf out;
    char expected[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(expected, sizeof expected, format, args);
    va_end(args);
    buf_init(&out, 1024);
    token_store_retire_sentence(s, NOW, WALL, &out);
    ck_assert_int_eq(buf_append_char(&out, '\0'), PP_OK);
    ck_assert_str_eq(buf_str(&out).p, expected);
    buf_free(&out);
}

START_TEST(sentences)
{
    const char *fa = token_fingerprint(a), *fb = token_fingerprint(b);
    expect_sentence("no token is held: add one");
    hold(1, (struct token *[]){a}, 0);
    expect_sentence("one token is held (untested), none to retire");
    (void)learn(a, 200, 1, 2);
    hold(2, (struct token *[]){b, a}, 10);
    expect_sentence("new token %s is untested, token %s carries the traffic: keep both", fb, fa);
    (void)learn(b, 401, NOW - 180000, NOW - 180000);
    expect_sentence("new token %s is refused for 3 min, token %s carries the traffic: keep both", fb, fa);
    (void)learn(b, 200, NOW - 1000, NOW - 1000);
    expect_sentence("old token %s never used since the start, no WebSocket rides it: safe to retire", fa);
    atomic_store(&token_use(a)->last_used, WALL - 20000);
    expect_sentence("old token %s unused for 20 s, no WebSocket rides it: wait 40 s more", fa);
    atomic_store(&token_use(a)->last_used, WALL - 720000);
    expect_sentence("old token %s unused for 12 min, no WebSocket rides it: safe to retire", fa);
    atomic_store(&token_use(a)->websockets, 1);
    expect_sentence("old token %s unused for 12 min, 1 WebSocket rides it: safe to retire, they are asked to reconnect "
                    "after websocket_retire_delay",
                    fa);
    hold(1, (struct token *[]){b}, NOW - 1800000);
    expect_sentence("token %s is retired, kept in memory as a fallback for 23 h 30 min more", fa);
    hold(1, (struct token *[]){c}, NOW - 3600000);
    expect_sentence("token %s carries the traffic but is no longer in the file: kept for 23 h more, then only those in "
                    "the file are left",
                    fb);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *t = tcase_create("store");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, what_an_answer_says, 0, (int)(sizeof answers / sizeof *answers));
    tcase_add_test(t, a_new_token_waits_until_it_is_proven);
    tcase_add_test(t, without_probing_traffic_tries_it);
    tcase_add_test(t, a_401_leads_through_all_of_them_once);
    tcase_add_test(t, all_refused_costs_two_tries_and_back_off);
    tcase_add_loop_test(t, verdicts, 0, (int)(sizeof stories / sizeof *stories));
    tcase_add_test(t, bad_sets_change_nothing);
    tcase_add_test(t, a_vanished_token_stays_for_its_grace);
    tcase_add_test(t, the_same_secret_stays_the_same_object);
    tcase_add_test(t, an_expired_token_is_the_last_resort_but_one);
    tcase_add_test(t, probes_come_in_time_and_one_at_a_time);
    tcase_add_test(t, refused_tokens_are_probed_with_back_off);
    tcase_add_test(t, replicas_tell_each_other);
    tcase_add_test(t, sentences);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
