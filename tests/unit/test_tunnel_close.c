/* Tunnels: Close frames of ours between frames, at a drain, for a retired token, after silence. */
#include "tunnel_rig.h"

#define RESTART     STR("\x88\x11\x03\xf4service restart")
#define RETIRED     STR("\x88\x0f\x03\xf4token retired")
#define IDLE        STR("\x88\x0e\x03\xe9idle timeout")
#define UP_CLOSE    STR("\x88\x02\x03\xf4")                 /* an upstream's Close */
#define CLIENT_SAYS STR("\x88\x82\x01\x02\x03\x04\x02\xf6") /* a client's, masked */
#define HELLO       STR("\x81\x05Hello")
#define MASKED      STR("\x81\x82\x01\x02\x03\x04\x69\x6b")

/* --- drain --- */

START_TEST(test_drain_answered)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, _i == 1, STR_NONE, STR_NONE);
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_settle(&r);
    hears(e.client, RESTART);
    hears_nothing(e.upstream);
    say(&r, e.upstream, HELLO); /* too late for the client */
    hears_nothing(e.client);
    say(&r, e.client, MASKED); /* but what it still sends is relayed up to its own Close */
    hears(e.upstream, MASKED);
    say(&r, e.client, CLIENT_SAYS);
    hears(e.upstream, CLIENT_SAYS);
    hears_end(e.client);
    ck_assert_uint_eq(tunnels(&r), 1);
    say(&r, e.upstream, UP_CLOSE);
    hears_end(e.upstream);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"close\":\"answered\",\"end\":\"drained\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* The rest of the frame, then the Close, and nothing behind it. */
START_TEST(test_drain_within_a_frame)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR("\x81\x05He"));
    hears(e.client, STR("\x81\x05He"));
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_settle(&r);
    hears_nothing(e.client);
    say(&r, e.upstream, STR("ll"));
    hears(e.client, STR("ll"));
    say(&r, e.upstream, STR("o\x81\x05World"));
    hears(e.client, STR("o\x88\x11\x03\xf4service restart"));
    say(&r, e.client, CLIENT_SAYS);
    hears_end(e.client);
    hears(e.upstream, CLIENT_SAYS);
    rig_pass(&r, TUNNEL_ANSWER_WAIT); /* upstream doesn't answer */
    hears_end(e.upstream);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"close\":\"answered\",\"end\":\"drained\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_drain_of_a_frame_without_end)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR("\x81\x05He"));
    hears(e.client, STR("\x81\x05He"));
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_settle(&r);
    rig_pass(&r, TUNNEL_ANSWER_WAIT - 1);
    ck_assert_uint_eq(tunnels(&r), 1);
    rig_pass(&r, 1);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears_end(e.client);
    log_has(&r, "\"end\":\"drained\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* 1012 with its mask taken off. */
static void hears_masked_close(int fd)
{
    unsigned char got[64];
    ssize_t n = recv(fd, got, sizeof got, 0);
    ck_assert_int_eq(n, 2 + 4 + 17);
    ck_assert_uint_eq(got[0], 0x88);
    ck_assert_uint_eq(got[1], 0x80 | 17);
    for (int i = 0; i < 17; i++)
        got[6 + i] ^= got[2 + i % 4];
    ck_assert_mem_eq(got + 6, "\x03\xf4service restart", 17);
}

START_TEST(test_drain_not_answered)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_pass(&r, 0);
    hears(e.client, RESTART);
    rig_pass(&r, TUNNEL_ANSWER_WAIT - 1);
    ck_assert_uint_eq(tunnels(&r), 1);
    rig_pass(&r, 1);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears_end(e.client);
    hears_masked_close(e.upstream);
    hears_end(e.upstream);
    log_has(&r, "\"close\":\"unanswered\",\"end\":\"drained\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* It hangs up instead of saying Close: upstream hears one all the same. */
START_TEST(test_drain_answered_by_an_end)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_settle(&r);
    (void)close(e.client);
    e.client = -1;
    rig_settle(&r);
    hears_masked_close(e.upstream);
    say(&r, e.upstream, UP_CLOSE);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears_end(e.upstream);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* Upstream's own Close was first: ours would be one too many. */
START_TEST(test_drain_behind_a_close)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    bool by_client = _i == 1;
    say(&r, by_client ? e.client : e.upstream, by_client ? CLIENT_SAYS : UP_CLOSE);
    hears(by_client ? e.upstream : e.client, by_client ? CLIENT_SAYS : UP_CLOSE);
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_settle(&r);
    hears_nothing(e.client);
    rig_pass(&r, TUNNEL_ANSWER_WAIT);
    hears_end(e.client);
    hears_end(e.upstream);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"end\":\"drained\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_drain_between_two_closes)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    say(&r, e.upstream, UP_CLOSE);
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_settle(&r);
    say(&r, e.client, CLIENT_SAYS);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears(e.upstream, CLIENT_SAYS);
    hears_end(e.upstream);
    hears(e.client, UP_CLOSE);
    hears_end(e.client);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_drain_of_what_is_no_websocket)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    bool by_client = _i == 1;
    say(&r, by_client ? e.client : e.upstream, STR("\x87 not a frame"));
    hears(by_client ? e.upstream : e.client, STR("\x87 not a frame"));
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_settle(&r);
    hears_end(e.client);
    hears_end(e.upstream);
    ck_assert_uint_eq(tunnels(&r), 0);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* A client that reads nothing doesn't hold the drain up. */
START_TEST(test_drain_of_a_stalled_client)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    char frames[4000];
    memset(frames, 0, sizeof frames); /* empty continuations: frames of two bytes */
    for (size_t idle = 0; idle < 3; idle++) {
        while (send(e.upstream, frames, sizeof frames, MSG_NOSIGNAL) > 0)
            idle = 0;
        rig_settle(&r);
    }
    ck_assert_ptr_nonnull(e.tunnel->streams[TO_CLIENT].pending);
    tunnel_set_drain(r.worker->tunnels, 0);
    rig_pass(&r, TUNNEL_ANSWER_WAIT);
    ck_assert_uint_eq(tunnels(&r), 1);
    rig_pass(&r, TUNNEL_ANSWER_WAIT);
    ck_assert_uint_eq(tunnels(&r), 0);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_drain_is_spread)
{
    struct rig r;
    struct ends e[8];
    rig_open(&r, "");
    for (unsigned i = 0; i < 8; i++) {
        e[i] = rig_tunnel(&r, false, STR_NONE, STR_NONE);
        e[i].tunnel->jitter = (uint16_t)(i * 128);
    }
    tunnel_set_drain(r.worker->tunnels, 800);
    for (unsigned i = 0; i < 8; i++) {
        rig_settle(&r);
        hears(e[i].client, RESTART);
        if (i < 7)
            hears_nothing(e[i + 1].client);
        rig_pass(&r, 100);
    }
    struct ends late = rig_tunnel(&r, false, STR_NONE, STR_NONE); /* its handshake was under way */
    hears(late.client, RESTART);
    ends_close(&late);
    for (unsigned i = 0; i < 8; i++)
        ends_close(&e[i]);
    rig_pass(&r, 2 * TUNNEL_ANSWER_WAIT);
    ck_assert_uint_eq(tunnels(&r), 0);
    rig_close(&r);
}
END_TEST

/* --- tokens and times --- */

START_TEST(test_token_retired)
{
    struct rig r;
    rig_open(&r, "websocket_retire_delay = \"60s\"; old_token_grace = \"5s\";");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    e.tunnel->jitter = 512;
    rig_hold_tokens(&r, true, true); /* an added one touches nothing */
    tunnel_set_tokens_changed(r.worker->tunnels, r.environment);
    rig_pass(&r, 3600000);
    hears_nothing(e.client);
    rig_hold_tokens(&r, false, true);
    struct token_fact accepted = {TOKEN_ANSWER_ACCEPTED, r.now, r.now};
    (void)token_store_learn(r.environment->tokens, r.new_token, &accepted);
    tunnel_set_tokens_changed(r.worker->tunnels, r.environment);
    rig_pass(&r, 5000);
    (void)token_store_expire(r.environment->tokens, r.now, 0); /* now it is not even held any more */
    tunnel_set_tokens_changed(r.worker->tunnels, r.environment);
    rig_pass(&r, 57999);
    hears_nothing(e.client);
    rig_pass(&r, 1); /* 60 s and half of a tenth of that */
    hears(e.client, RETIRED);
    say(&r, e.client, CLIENT_SAYS);
    say(&r, e.upstream, UP_CLOSE);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"close\":\"answered\",\"end\":\"token_retired\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* The old token comes back into the file, or the delay changes, before the time has come. */
START_TEST(test_retirement_changes)
{
    struct rig r;
    rig_open(&r, "websocket_retire_delay = \"60s\";");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    e.tunnel->jitter = 0;
    struct token_fact accepted = {TOKEN_ANSWER_ACCEPTED, r.now, r.now};
    rig_hold_tokens(&r, false, true);
    (void)token_store_learn(r.environment->tokens, r.new_token, &accepted);
    tunnel_set_tokens_changed(r.worker->tunnels, r.environment);
    rig_pass(&r, 59000);
    rig_hold_tokens(&r, true, true);
    tunnel_set_tokens_changed(r.worker->tunnels, r.environment);
    rig_pass(&r, 3600000);
    hears_nothing(e.client);
    rig_hold_tokens(&r, false, true);
    tunnel_set_tokens_changed(r.worker->tunnels, r.environment);
    rig_configure(&r, "websocket_retire_delay = \"120s\";");
    rig_pass(&r, 119999);
    hears_nothing(e.client);
    rig_configure(&r, "websocket_retire_delay = \"10s\";");
    tunnel_set_tokens_changed(r.worker->tunnels, r.environment);
    rig_settle(&r);
    hears(e.client, RETIRED);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_idle)
{
    struct rig r;
    rig_open(&r, "websocket_idle_timeout = \"10s\";");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    for (int i = 0; i < 5; i++) {
        rig_pass(&r, 9999);
        say(&r, i % 2 == 0 ? e.client : e.upstream, STR("\x89\x00")); /* a Ping, masked or not */
        hears(i % 2 == 0 ? e.upstream : e.client, STR("\x89\x00"));
    }
    rig_pass(&r, 9999);
    hears_nothing(e.client);
    rig_pass(&r, 1);
    hears(e.client, IDLE);
    rig_pass(&r, TUNNEL_ANSWER_WAIT);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"close\":\"unanswered\",\"end\":\"idle\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* A client that takes nothing of what waits for it, for client_idle_timeout; also where silence may last for ever. */
START_TEST(test_client_takes_nothing)
{
    struct rig r;
    rig_open(&r, "client_idle_timeout = \"20s\";");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    char frames[4000], taken[65536];
    memset(frames, 0, sizeof frames);
    for (size_t idle = 0; idle < 3; idle++) {
        while (send(e.upstream, frames, sizeof frames, MSG_NOSIGNAL) > 0)
            idle = 0;
        rig_settle(&r);
    }
    ck_assert_ptr_nonnull(e.tunnel->streams[TO_CLIENT].pending);
    for (int i = 0; i < 3; i++) { /* as long as it takes something now and then, it stays */
        rig_pass(&r, 19999);
        ck_assert_uint_eq(tunnels(&r), 1);
        for (int reads = 0; reads < 64 && recv(e.client, taken, sizeof taken, 0) > 0; reads++)
            rig_settle(&r);
        for (size_t idle = 0; idle < 3; idle++) {
            while (send(e.upstream, frames, sizeof frames, MSG_NOSIGNAL) > 0)
                idle = 0;
            rig_settle(&r);
        }
    }
    ck_assert_ptr_nonnull(e.tunnel->streams[TO_CLIENT].pending);
    rig_pass(&r, 19999);
    ck_assert_uint_eq(tunnels(&r), 1);
    rig_pass(&r, 1);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"end\":\"client_stalled\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_no_idle_timeout)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    ck_assert(!timer_armed(&e.tunnel->timer));
    rig_pass(&r, 86400000);
    ck_assert_uint_eq(tunnels(&r), 1);
    ck_assert_uint_le(sizeof(struct tunnel), 512);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tunnel_close");
    TCase *drain = tcase_create("drain"), *times = tcase_create("times");
    tcase_add_loop_test(drain, test_drain_answered, 0, 2);
    tcase_add_test(drain, test_drain_within_a_frame);
    tcase_add_test(drain, test_drain_of_a_frame_without_end);
    tcase_add_test(drain, test_drain_not_answered);
    tcase_add_test(drain, test_drain_answered_by_an_end);
    tcase_add_loop_test(drain, test_drain_behind_a_close, 0, 2);
    tcase_add_test(drain, test_drain_between_two_closes);
    tcase_add_loop_test(drain, test_drain_of_what_is_no_websocket, 0, 2);
    tcase_add_test(drain, test_drain_of_a_stalled_client);
    tcase_add_test(drain, test_drain_is_spread);
    suite_add_tcase(suite, drain);
    tcase_add_test(times, test_token_retired);
    tcase_add_test(times, test_retirement_changes);
    tcase_add_test(times, test_idle);
    tcase_add_test(times, test_client_takes_nothing);
    tcase_add_test(times, test_no_idle_timeout);
    suite_add_tcase(suite, times);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
