/* Tunnels: bytes both ways under back-pressure, and ends of every kind. */
#include "tunnel_rig.h"

#define UP_CLOSE    STR("\x88\x02\x03\xf4")                 /* an upstream's Close */
#define CLIENT_SAYS STR("\x88\x82\x01\x02\x03\x04\x02\xf6") /* a client's, masked */
#define LARGE       (4u * 1024 * 1024)

/* --- bytes --- */

START_TEST(test_bytes_both_ways)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, _i == 1, STR("early up"), STR("early down"));
    hears(e.upstream, STR("early up"));
    hears(e.client, STR("early down"));
    ck_assert_int_eq(atomic_load(&token_use(r.old_token)->websockets), 1);
    say(&r, e.client, STR("to upstream"));
    hears(e.upstream, STR("to upstream"));
    say(&r, e.upstream, STR("to client"));
    hears(e.client, STR("to client"));
    hears_nothing(e.client);
    hears_nothing(e.upstream);
    ck_assert_ptr_null(e.tunnel->streams[TO_CLIENT].pending);
    struct metrics_totals totals;
    metrics_totals(r.metrics, r.environment->metrics_index, &totals);
    ck_assert_int_eq(totals.websockets, 1);
    ck_assert_uint_eq(totals.counters[METRICS_WEBSOCKET_BYTES], 8 + 10 + 11 + 9);
    ends_close(&e);
    rig_settle(&r);
    ck_assert_uint_eq(tunnels(&r), 0);
    metrics_totals(r.metrics, r.environment->metrics_index, &totals);
    ck_assert_int_eq(totals.websockets, 0);
    ck_assert_int_eq(atomic_load(&token_use(r.old_token)->websockets), 0);
    log_has(&r, "\"event\":\"websocket_end\",\"path\":\"/ws\",\"bytes_in\":19,\"bytes_out\":19,");
    log_has(&r, "\"uid\":1234,\"pid\":4321,\"request_id\":\"request-17\"");
    rig_close(&r);
}
END_TEST

static char pattern(size_t at)
{
    return (char)(at * 31 + at / 251);
}

/* Writes what fits, of a stream of the pattern. */
static size_t pour(int fd, size_t at, size_t limit)
{
    char chunk[8192];
    while (at < limit) {
        size_t n = limit - at < sizeof chunk ? limit - at : sizeof chunk;
        for (size_t i = 0; i < n; i++)
            chunk[i] = pattern(at + i);
        ssize_t sent = send(fd, chunk, n, MSG_NOSIGNAL);
        if (sent < 0)
            break;
        at += (size_t)sent;
    }
    return at;
}

static size_t drink(int fd, size_t at, size_t most)
{
    char chunk[8192];
    while (most > 0) {
        ssize_t n = recv(fd, chunk, most < sizeof chunk ? most : sizeof chunk, 0);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            if (chunk[i] != pattern(at + (size_t)i)) /* each assertion that holds costs a write(2) */
                ck_abort_msg("byte %zu is wrong", at + (size_t)i);
        at += (size_t)n;
        most -= (size_t)n;
    }
    return at;
}

/* A sink that reads nothing stops its source; when it reads again, every byte comes, in order. */
START_TEST(test_back_pressure)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    bool down = _i == 1;
    int source = down ? e.upstream : e.client, sink = down ? e.client : e.upstream;
    struct tunnel_stream *s = &e.tunnel->streams[down ? TO_CLIENT : TO_UPSTREAM];
    size_t sent = 0, before = 0, got = 0;
    do {
        before = sent;
        sent = pour(source, sent, SIZE_MAX);
        rig_settle(&r);
        ck_assert_uint_le(s->pending_end - s->pending_at, RIG_PENDING);
    } while (sent > before);
    ck_assert_ptr_nonnull(s->pending);
    ck_assert_msg(sent < 64u * 1024 * 1024, "nothing stops the source");
    say(&r, sink, STR("the other way is free"));
    hears(source, STR("the other way is free"));
    size_t all = sent + LARGE;
    for (int64_t late = clock_usec() + 10000000; got < all;) {
        got = drink(sink, got, 100000);
        sent = pour(source, sent, all);
        rig_settle(&r);
        ck_assert_msg(clock_usec() < late, "it stands still at %zu of %zu", got, all);
        ck_assert_uint_le(s->pending_end - s->pending_at, RIG_PENDING);
    }
    ck_assert_ptr_null(s->pending);
    ck_assert_uint_eq(s->bytes, all);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* One turn moves no more than its share, and goes on in the next without a new event. */
START_TEST(test_a_turn_is_shared)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    size_t sent = pour(e.upstream, 0, SIZE_MAX), last = 0;
    ck_assert_uint_gt(sent, TUNNEL_TURN);
    for (size_t got = 0; got < sent;) {
        rig_turn(&r);
        uint64_t bytes = e.tunnel->streams[TO_CLIENT].bytes;
        ck_assert_uint_le(bytes - last, TUNNEL_TURN + RIG_PENDING);
        ck_assert_msg(bytes > last, "a turn without work at %zu", got);
        last = bytes;
        got = drink(e.client, got, SIZE_MAX);
        sent = pour(e.upstream, sent, LARGE);
    }
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* --- ends --- */

START_TEST(test_client_ends_first)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, _i == 1, STR_NONE, STR_NONE);
    say(&r, e.client, STR("last words"));
    ck_assert_int_eq(shutdown(e.client, SHUT_WR), 0);
    rig_settle(&r);
    hears(e.upstream, STR("last words"));
    hears_end(e.upstream);
    ck_assert_uint_eq(tunnels(&r), 1);
    say(&r, e.upstream, STR("answer"));
    hears(e.client, STR("answer"));
    (void)close(e.upstream);
    e.upstream = -1;
    rig_settle(&r);
    hears_end(e.client);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"end\":\"client_closed\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_upstream_ends_first)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, _i == 1, STR_NONE, STR_NONE);
    say(&r, e.upstream, STR("last words"));
    ck_assert_int_eq(shutdown(e.upstream, SHUT_WR), 0);
    rig_settle(&r);
    hears(e.client, STR("last words"));
    hears_end(e.client);
    ck_assert_uint_eq(tunnels(&r), 1);
    say(&r, e.client, STR("answer"));
    hears(e.upstream, STR("answer"));
    (void)close(e.client);
    e.client = -1;
    rig_settle(&r);
    hears_end(e.upstream);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"end\":\"upstream_closed\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* After upstream's end, a client that says nothing for a minute is let go. */
START_TEST(test_half_open_ends)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    (void)close(e.upstream);
    e.upstream = -1;
    rig_settle(&r);
    hears_end(e.client);
    rig_pass(&r, TUNNEL_HALF_OPEN - 1);
    ck_assert_uint_eq(tunnels(&r), 1);
    rig_pass(&r, 1);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"end\":\"upstream_closed\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

static void reset(int *fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    ck_assert_int_eq(setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    (void)close(*fd);
    *fd = -1;
}

START_TEST(test_upstream_resets)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    say(&r, e.upstream, STR("\x81\x05He"));
    reset(&e.upstream);
    rig_settle(&r);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears(e.client, STR("\x81\x05He"));
    hears_reset(e.client);
    log_has(&r, "\"end\":\"upstream_broke\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* A reset behind a Close frame harms nobody. */
START_TEST(test_upstream_resets_after_its_close)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    say(&r, e.upstream, UP_CLOSE);
    reset(&e.upstream);
    rig_settle(&r);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears(e.client, UP_CLOSE);
    hears_end(e.client);
    log_has(&r, "\"end\":\"upstream_closed\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_client_resets)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    say(&r, e.client, STR("last words"));
    reset(&e.client);
    rig_settle(&r);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears(e.upstream, STR("last words"));
    hears_end(e.upstream);
    log_has(&r, "\"end\":\"client_gone\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* The client's process died: what its socket took is not waited for, nor is upstream's consent. */
START_TEST(test_client_closes_altogether)
{
    struct rig r;
    rig_open(&r, "");
    r.client.peer.known = _i == 2; /* it makes no difference whether anybody asked who the client is */
    struct ends e = rig_tunnel(&r, _i > 0, STR_NONE, STR_NONE);
    say(&r, e.client, STR("last words"));
    (void)close(e.client);
    e.client = -1;
    rig_settle(&r);
    hears(e.upstream, STR("last words"));
    hears_end(e.upstream);
    ck_assert_uint_eq(tunnels(&r), 0);
    log_has(&r, "\"end\":\"client_closed\"");
    ends_close(&e);
    rig_close(&r);
}
END_TEST

/* Upstream went away under a client that is still sending: the Close it said before still arrives. */
START_TEST(test_upstreams_close_arrives_although_writing_fails)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    ck_assert_int_eq(send(e.upstream, UP_CLOSE.p, UP_CLOSE.n, 0), (ssize_t)UP_CLOSE.n);
    ck_assert_int_eq(send(e.client, "some", 4, 0), 4);
    (void)close(e.upstream);
    e.upstream = -1;
    rig_settle(&r);
    say(&r, e.client, STR("more"));
    rig_settle(&r);
    hears(e.client, UP_CLOSE);
    ends_close(&e);
    rig_settle(&r);
    ck_assert_uint_eq(tunnels(&r), 0);
    rig_close(&r);
}
END_TEST

/* Both have said Close and neither hangs up. */
START_TEST(test_closed_but_not_ended)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE);
    say(&r, e.upstream, UP_CLOSE);
    say(&r, e.client, CLIENT_SAYS);
    hears(e.upstream, CLIENT_SAYS);
    rig_pass(&r, TUNNEL_LINGER - 1);
    ck_assert_uint_eq(tunnels(&r), 1);
    rig_pass(&r, 1);
    ck_assert_uint_eq(tunnels(&r), 0);
    hears(e.client, UP_CLOSE);
    hears_end(e.client);
    ends_close(&e);
    rig_close(&r);
}
END_TEST

START_TEST(test_set_free_cuts)
{
    struct rig r;
    rig_open(&r, "");
    struct ends e = rig_tunnel(&r, true, STR_NONE, STR_NONE), f = rig_tunnel(&r, false, STR_NONE, STR_NONE);
    for (size_t sent = 1, before = 0; sent > before; rig_settle(&r)) {
        before = sent;
        sent = pour(e.upstream, sent, SIZE_MAX);
    }
    ck_assert_ptr_nonnull(e.tunnel->streams[TO_CLIENT].pending);
    rig_close(&r);
    hears_end(f.client);
    ends_close(&e);
    ends_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tunnel");
    TCase *bytes = tcase_create("bytes"), *ends = tcase_create("ends");
    tcase_add_loop_test(bytes, test_bytes_both_ways, 0, 2);
    tcase_add_loop_test(bytes, test_back_pressure, 0, 2);
    tcase_add_test(bytes, test_a_turn_is_shared);
    tcase_set_timeout(bytes, 60);
    suite_add_tcase(suite, bytes);
    tcase_add_loop_test(ends, test_client_ends_first, 0, 2);
    tcase_add_loop_test(ends, test_upstream_ends_first, 0, 2);
    tcase_add_test(ends, test_half_open_ends);
    tcase_add_test(ends, test_upstream_resets);
    tcase_add_test(ends, test_upstream_resets_after_its_close);
    tcase_add_test(ends, test_client_resets);
    tcase_add_loop_test(ends, test_client_closes_altogether, 0, 3);
    tcase_add_test(ends, test_upstreams_close_arrives_although_writing_fails);
    tcase_add_test(ends, test_closed_but_not_ended);
    tcase_add_test(ends, test_set_free_cuts);
    suite_add_tcase(suite, ends);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
