/* Connections at rest and at their end: early closes, warmth, truncation, half-close, back-pressure. */
#include "base/log.h"
#include "upstream_client.h"

/* --- idle connections --- */

START_TEST(an_early_close_is_noticed)
{
    start(_i == 1, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    exchange(&k, _i == 1 ? "die\n" : "close\n");
    give_back(&k, true);
    ck_assert(turn_until_idle(0));
    get(&k, false);
    ck_assert_ptr_null(k.connection);
    until_served(&k);
    exchange(&k, "echo\n");
    give_back(&k, true);
}
END_TEST

START_TEST(unsolicited_bytes_end_an_idle_connection)
{
    start(_i == 1, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    exchange(&k, "junk\n");
    give_back(&k, true);
    ck_assert_uint_eq(stats().idle, 1);
    ck_assert(turn_until_idle(0));
}
END_TEST

/* Without a turn of the loop in between, only a look at the socket can tell. */
START_TEST(a_long_idle_one_is_looked_at_before_use)
{
    start(_i == 1, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    exchange(&k, "die\n");
    give_back(&k, true);
    peer_sleep(1200); /* the loop sees nothing of this */
    (void)clock_tick();
    get(&k, false);
    ck_assert_ptr_null(k.connection);
    until_served(&k);
    ck_assert(!upstream_is_reused(k.connection));
    give_back(&k, true);
    ck_assert_uint_eq(stats().opened, 2);
}
END_TEST

START_TEST(keep_alive_of_the_server_is_obeyed)
{
    start(true, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    exchange(&k, "echo\n");
    upstream_release(k.connection, true, 500);
    ck_assert(turn_until_idle(1));
    ck_assert(turn_until_idle(0));
}
END_TEST

/* The server closes idle connections after 1.5 s: once seen, connections are let go earlier by ourselves. */
START_TEST(the_idle_limit_is_learnt)
{
    server.close_idle_ms = 1500;
    start(true, 0);
    one_exchange();
    ck_assert(turn_until_idle(0));
    one_exchange();
    int64_t given_back = clock_usec();
    ck_assert(turn_until_idle(0));
    int64_t kept = (clock_usec() - given_back) / 1000;
    ck_assert_int_ge(kept, 700);  /* 0.8 times what was seen, less the spread of 30 % */
    ck_assert_int_lt(kept, 1480); /* before the server's 1.5 s */
    ck_assert_int_eq(atomic_load(&server.accepted), 2);
}
END_TEST

/* --- warmth --- */

START_TEST(warm_connections_are_there_before_need)
{
    start(_i == 1, 2);
    ck_assert(turn_until_idle(2));
    turn_for(200); /* and the server has heard of both, and no more come */
    ck_assert_int_eq(atomic_load(&server.accepted), 2);
    struct client k = new_client();
    get(&k, false);
    ck_assert_ptr_nonnull(k.connection);
    ck_assert(turn_until_idle(2)); /* refilled */
    exchange(&k, "echo\n");
    give_back(&k, true);
    turn_for(50);
    ck_assert_int_eq(atomic_load(&server.accepted), 3);
}
END_TEST

/* Session tickets arrive while a warm connection is idle: that is no reason to close it, and they are used. */
START_TEST(tickets_do_not_disturb_warm_connections)
{
    start(true, 1);
    ck_assert(turn_until_idle(1));
    turn_for(200); /* its ticket arrives */
    struct client k = new_client();
    get(&k, false);
    exchange(&k, "echo\n");
    turn_for(200);
    ck_assert_uint_eq(stats().opened, 2);
    ck_assert_uint_eq(stats().tls_resumed, 1);
    give_back(&k, true);
}
END_TEST

/* Warm ones are replaced before the server's limit: there is always one, and the server never has to close any. */
START_TEST(warm_connections_are_replaced_in_time)
{
    server.close_idle_ms = 1500;
    start(true, 1);
    turn_for(1800); /* the first is closed by the server: learnt */
    unsigned gaps = 0;
    for (int i = 0; i < 40; i++) {
        turn_for(100);
        gaps += stats().idle == 0;
    }
    ck_assert_uint_le(gaps, 2); /* none, but for a machine too busy to turn the loop for 100 ms */
    ck_assert_int_ge(atomic_load(&server.accepted), 4);
    ck_assert_int_le(atomic_load(&server.accepted), 9);
}
END_TEST

static char logged[4096];

static void keep_log(void *owner, const char *line, size_t n)
{
    size_t have = strlen(logged);
    (void)owner;
    if (have + n < sizeof logged)
        memcpy(logged + have, line, n);
}

START_TEST(a_dead_upstream_is_not_hammered)
{
    log_set_sink(keep_log, NULL);
    peer_listen(&server);
    (void)close(server.listener);
    server.listener = 0;
    make_pool(server.port, true, 4, 2000);
    turn_for(2000);
    /* 100, 200, 400, 800 ms and so on, jittered: 4 at once, then one at a time. */
    ck_assert_uint_ge(stats().failed, 6);
    ck_assert_uint_le(stats().failed, 10);
    /* Said once, not each time. */
    const char *warning = strstr(logged, "ahead of need): can't connect: Connection refused");
    ck_assert_msg(warning != NULL, "%s", logged);
    ck_assert_ptr_null(strstr(warning + 1, "ahead of need"));
    /* A request does not wait for that. */
    struct client k = new_client();
    int64_t begin = clock_usec();
    get(&k, false);
    until_failed(&k);
    ck_assert_int_eq(k.why, UPSTREAM_FAILURE_CONNECT);
    ck_assert_int_lt(clock_usec() - begin, 200000);
}
END_TEST

/* It accepts, and closes each connection at once: also a reason to slow down. */
START_TEST(a_useless_upstream_is_not_hammered)
{
    server.close_idle_ms = 20;
    start(true, 2);
    turn_for(2000);
    ck_assert_int_ge(atomic_load(&server.accepted), 5);
    ck_assert_int_le(atomic_load(&server.accepted), 14);
}
END_TEST

/* --- ends --- */

static const struct {
    const char *command;
    bool with_tls;
    enum pp_result end;
} ends[] = {
    {"close\n", true, PP_END},  {"cut\n", true, PP_BROKEN},    {"reset\n", true, PP_BROKEN},
    {"close\n", false, PP_END}, {"reset\n", false, PP_BROKEN},
};

START_TEST(how_a_connection_ends)
{
    start(ends[_i].with_tls, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    say(&k, ends[_i].command);
    for (int i = 0; i < 500 && k.end == PP_AGAIN; i++)
        loop_turn(loop, &hooks);
    ck_assert_int_eq(k.end, ends[_i].end);
    ck_assert_uint_gt(k.readable, 0);
    give_back(&k, true); /* even if somebody calls it reusable */
    ck_assert_uint_eq(stats().idle, 0);
}
END_TEST

START_TEST(half_close)
{
    start(_i == 1, 0);
    struct client k = new_client();
    size_t n;
    get(&k, false);
    until_served(&k);
    upstream_detach(k.connection);
    exchange(&k, "echo\n");
    upstream_shutdown_write(k.connection);
    ck_assert_int_eq(upstream_write(k.connection, "x", 1, &n), PP_BROKEN);
    k.received = 0;
    for (int i = 0; i < 500 && k.end == PP_AGAIN; i++)
        loop_turn(loop, &hooks);
    ck_assert_int_eq(k.end, PP_END);
    ck_assert_uint_eq(k.received, 5); /* "seen\n" */
    give_back(&k, false);
}
END_TEST

/* A peer that does not read: writes stop with PP_AGAIN, and `writable` comes when it reads again. */
START_TEST(back_pressure)
{
    start(_i == 1, 0);
    struct client k = new_client();
    static char bytes[1 << 16];
    size_t n = 0;
    get(&k, false);
    until_served(&k);
    exchange(&k, "stop\n");
    enum pp_result rc = PP_OK;
    for (size_t total = 0; rc == PP_OK && total < 64u << 20; total += n)
        rc = upstream_write(k.connection, bytes, sizeof bytes, &n);
    ck_assert_int_eq(rc, PP_AGAIN);
    for (int i = 0; i < 1000 && k.writable == 0; i++)
        loop_turn(loop, &hooks);
    ck_assert_uint_eq(k.writable, 1);
    ck_assert_int_eq(upstream_write(k.connection, bytes, sizeof bytes, &n), PP_OK);
    give_back(&k, false);
}
END_TEST

/* What happened while nobody looked is told to the next user. */
START_TEST(a_late_user_misses_nothing)
{
    start(_i == 1, 0);
    struct client k = new_client();
    size_t n;
    get(&k, false);
    until_served(&k);
    ck_assert_int_eq(upstream_write(k.connection, "echo\n", 5, &n), PP_OK);
    turn_for(100);
    ck_assert_uint_eq(k.readable, 0);
    upstream_set_user(k.connection, &k.user);
    ck_assert_uint_eq(k.readable, 0);
    loop_turn(loop, &hooks);
    ck_assert_uint_eq(k.readable, 1);
    ck_assert_uint_eq(k.received, 5);
    give_back(&k, true);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("upstream_connection");
    TCase *t = tcase_create("upstream_connection");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, an_early_close_is_noticed, 0, 2);
    tcase_add_loop_test(t, unsolicited_bytes_end_an_idle_connection, 0, 2);
    tcase_add_loop_test(t, a_long_idle_one_is_looked_at_before_use, 0, 2);
    tcase_add_test(t, keep_alive_of_the_server_is_obeyed);
    tcase_add_test(t, the_idle_limit_is_learnt);
    tcase_add_loop_test(t, warm_connections_are_there_before_need, 0, 2);
    tcase_add_test(t, tickets_do_not_disturb_warm_connections);
    tcase_add_test(t, warm_connections_are_replaced_in_time);
    tcase_add_test(t, a_dead_upstream_is_not_hammered);
    tcase_add_test(t, a_useless_upstream_is_not_hammered);
    tcase_add_loop_test(t, how_a_connection_ends, 0, (int)(sizeof ends / sizeof ends[0]));
    tcase_add_loop_test(t, half_close, 0, 2);
    tcase_add_loop_test(t, back_pressure, 0, 2);
    tcase_add_loop_test(t, a_late_user_misses_nothing, 0, 2);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
