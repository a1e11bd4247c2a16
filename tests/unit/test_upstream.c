/* The pool: who gets which connection, when, and what happens when none comes. */
#include "upstream_client.h"

#include "net/upstream_connection.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* --- system calls, counted by standing in for them --- */

static _Thread_local unsigned epoll_ctls, reads; /* the server is in other threads */

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    epoll_ctls++;
    return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

ssize_t recv(int fd, void *into, size_t room, int flags)
{
    reads++;
    return syscall(SYS_recvfrom, fd, into, room, flags, NULL, NULL);
}

ssize_t read(int fd, void *into, size_t room) /* OpenSSL's */
{
    reads++;
    return syscall(SYS_read, fd, into, room);
}

/* --- reuse --- */

START_TEST(a_connection_is_reused)
{
    start(_i == 1, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    ck_assert(!upstream_is_reused(k.connection));
    for (int i = 0; i < 50; i++) {
        exchange(&k, "echo\n");
        give_back(&k, true);
        ck_assert_uint_eq(stats().idle, 1);
        get(&k, false);
        ck_assert_ptr_nonnull(k.connection); /* at once */
        ck_assert(upstream_is_reused(k.connection));
    }
    give_back(&k, true);
    ck_assert_int_eq(atomic_load(&server.accepted), 1);
    ck_assert_uint_eq(stats().opened, 1);
    ck_assert_uint_eq(stats().reused, 50);
}
END_TEST

/* What a pool may cost: giving back is memory work, and taking again one look at the socket. */
START_TEST(reuse_makes_one_system_call)
{
    start(_i == 1, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    exchange(&k, "echo\n");
    turn_for(50);
    unsigned ctls = epoll_ctls;
    for (int i = 0; i < 20; i++) {
        exchange(&k, "echo\n");
        unsigned before = reads;
        give_back(&k, true);
        ck_assert_uint_eq(reads, before);
        get(&k, false);
        ck_assert_ptr_nonnull(k.connection);
        ck_assert_uint_eq(reads, before + 1);
    }
    ck_assert_uint_eq(epoll_ctls, ctls);
    ck_assert(epoll_ctls > 0 && reads > 0); /* they are counted indeed */
    give_back(&k, true);
}
END_TEST

START_TEST(not_reusable_is_closed)
{
    start(_i == 1, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    exchange(&k, "echo\n");
    give_back(&k, false);
    ck_assert_uint_eq(stats().idle + stats().busy, 0);
    for (int i = 0; i < 200 && atomic_load(&server.open) > 0; i++)
        turn_for(10);
    ck_assert_int_eq(atomic_load(&server.open), 0);
}
END_TEST

/* However busy, a connection does not live for ever: names and certificates change. */
START_TEST(an_old_connection_is_not_kept)
{
    start(true, 0);
    struct client k = new_client();
    msec now = clock_now();
    get(&k, false);
    until_served(&k);
    exchange(&k, "echo\n");
    clock_fake(now + 45 * 60000, 0);
    give_back(&k, true);
    ck_assert_uint_eq(stats().idle, 1);
    clock_fake(-1, 0);
    get(&k, false);
    ck_assert_ptr_nonnull(k.connection);
    clock_fake(now + 61 * 60000, 0);
    give_back(&k, true);
    ck_assert_uint_eq(stats().idle, 0);
    clock_fake(-1, 0);
}
END_TEST

START_TEST(a_big_answer_and_then_reuse)
{
    start(_i == 1, 0);
    struct client k = new_client();
    get(&k, false);
    until_served(&k);
    for (int i = 0; i < 3; i++) {
        say(&k, "big\n");
        until_received(&k, 1 << 20);
        ck_assert_uint_eq(k.received, 1 << 20);
        give_back(&k, true);
        get(&k, false);
        ck_assert_ptr_nonnull(k.connection);
    }
    give_back(&k, true);
    ck_assert_int_eq(atomic_load(&server.accepted), 1);
}
END_TEST

/* The answer was read to its end, but not until PP_AGAIN: bytes beyond it make the connection unfit for anybody. */
static void read_three(struct upstream_user *u)
{
    struct client *k = (struct client *)((char *)u - offsetof(struct client, user));
    char bytes[3];
    size_t n = 0;
    if (k->received == 0 && upstream_read(k->connection, bytes, sizeof bytes, &n) == PP_OK)
        k->received = n; /* "ech", and "o\n" stays */
}

START_TEST(leftover_bytes_forbid_reuse)
{
    start(_i == 1, 0);
    struct client k = new_client();
    k.user.readable = read_three;
    get(&k, false);
    until_served(&k);
    say(&k, "echo\n");
    until_received(&k, 3);
    ck_assert_uint_eq(k.received, 3);
    give_back(&k, true);
    ck_assert_uint_eq(stats().idle, 0);
}
END_TEST

/* An exchange after which the server does something more, 50 ms later. On a busy machine the client may have taken that
 * for a part of the answer: then once more. */
static void exchange_alone(struct client *k, const char *command)
{
    for (int tries = 0; k->connection == NULL; tries++) {
        ck_assert_int_lt(tries, 20);
        get(k, false);
        until_served(k);
        exchange(k, command);
        if (k->received != strlen(command) || k->end != PP_AGAIN)
            give_back(k, false);
    }
}

/* An edge came while the exchange was over already, and nobody read: the bytes must not become the next answer. */
START_TEST(an_ignored_edge_forbids_reuse)
{
    start(_i == 1, 0);
    struct client k = new_client();
    exchange_alone(&k, "junk\n");
    upstream_set_user(k.connection, NULL);
    turn_for(600); /* "junk" arrives, on a busy machine too */
    give_back(&k, true);
    for (int i = 0; i < 300 && stats().idle > 0; i++) /* on a busy machine it arrives only now */
        turn_for(10);
    ck_assert_uint_eq(stats().idle, 0);
}
END_TEST

/* They lie in the socket, and the loop has not told of them yet: it may be in the midst of a turn. */
static const char *const between_turns[] = {"junk\n", "die\n"};

START_TEST(what_came_within_this_turn_forbids_reuse)
{
    start(_i % 2 == 1, 0);
    struct client k = new_client();
    exchange_alone(&k, between_turns[_i / 2]);
    struct pollfd p = {.fd = k.connection->watch.fd, .events = POLLIN};
    give_back(&k, true);
    ck_assert_uint_eq(stats().idle, 1); /* no turn has told that anything came */
    ck_assert_int_eq(poll(&p, 1, 10000), 1);
    get(&k, false);
    ck_assert_ptr_null(k.connection);
    ck_assert_uint_eq(stats().idle, 0);
    until_served(&k); /* by another one */
    ck_assert(!upstream_is_reused(k.connection));
    exchange(&k, "echo\n");
    give_back(&k, true);
}
END_TEST

START_TEST(fresh_means_never_used)
{
    start(true, 0);
    one_exchange();
    ck_assert_uint_eq(stats().idle, 1);
    struct client k = new_client();
    get(&k, true);
    ck_assert_ptr_null(k.connection);
    until_served(&k);
    ck_assert(!upstream_is_reused(k.connection));
    give_back(&k, true);
    ck_assert_int_eq(atomic_load(&server.accepted), 2);

    /* One who waits for a fresh one does not hold up those who would take any. */
    struct client a = new_client(), b = new_client();
    for (unsigned i = 0; i < 2; i++) { /* use up the unused */
        get(&a, false);
        exchange(&a, "echo\n");
        give_back(&a, true);
    }
    get(&k, true);
    get(&b, false);
    ck_assert_ptr_nonnull(b.connection);
    give_back(&b, true);
    until_served(&k);
    give_back(&k, true);
}
END_TEST

START_TEST(sessions_are_resumed)
{
    start(true, 0);
    one_exchange();
    for (int i = 0; i < 3; i++) {
        struct client k = new_client();
        get(&k, true);
        until_served(&k);
        exchange(&k, "echo\n");
        give_back(&k, false);
    }
    ck_assert_uint_eq(stats().tls_resumed, 3);
    ck_assert_int_eq(atomic_load(&server.resumed), 3);
}
END_TEST

/* --- waiting --- */

START_TEST(first_come_first_served)
{
    enum { MANY = 100 };
    static struct client clients[MANY];
    server.stall_ms = 20;
    start(true, 0);
    served = 0;
    for (int i = 0; i < MANY; i++) {
        clients[i] = new_client();
        get(&clients[i], false);
    }
    ck_assert_uint_le(stats().opening, 64);
    for (int i = 0; i < MANY; i++)
        until_served(&clients[i]);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(clients[i].order, i + 1);
    ck_assert_uint_eq(stats().busy, MANY);
    ck_assert_int_le(atomic_load(&server.accepted), MANY);
    for (int i = 0; i < MANY; i++)
        give_back(&clients[i], true);
}
END_TEST

START_TEST(a_released_connection_serves_a_waiter)
{
    server.stall_ms = 0;
    start(true, 0);
    struct client a = new_client(), b = new_client();
    get(&a, false);
    until_served(&a);
    exchange(&a, "echo\n");
    server.stall_ms = 1000; /* further ones take long */
    get(&b, false);
    ck_assert_ptr_null(b.connection);
    give_back(&a, true);
    ck_assert_ptr_null(b.connection); /* not from inside either */
    loop_turn(loop, &hooks);
    ck_assert_ptr_nonnull(b.connection);
    ck_assert(upstream_is_reused(b.connection));
    give_back(&b, true);
    turn_for(1200);
    ck_assert_uint_eq(stats().idle, 2); /* the attempt made for b was kept */
    ck_assert_uint_eq(stats().opening, 0);
}
END_TEST

START_TEST(a_cancelled_waiter_hears_nothing)
{
    server.stall_ms = 100;
    start(true, 0);
    struct client a = new_client(), b = new_client();
    get(&a, false);
    get(&b, false);
    upstream_cancel(&a.waiter);
    upstream_cancel(&a.waiter);
    until_served(&b);
    turn_for(300);
    ck_assert(a.connection == NULL && !a.failed);
    ck_assert_uint_eq(stats().idle, 1);
    ck_assert_uint_eq(stats().opening, 0);
    give_back(&b, true);
}
END_TEST

/* One attempt that fails fails one waiter. */
START_TEST(each_waiter_fails_with_its_own_attempt)
{
    enum { MANY = 80 };
    static struct client clients[MANY];
    peer_listen(&server);
    (void)close(server.listener);
    server.listener = 0;
    make_pool(server.port, true, 0, 2000);
    for (int i = 0; i < MANY; i++) {
        clients[i] = new_client();
        get(&clients[i], false);
    }
    for (int i = 0; i < MANY; i++) {
        until_failed(&clients[i]);
        ck_assert_int_eq(clients[i].why, UPSTREAM_FAILURE_CONNECT);
        ck_assert_msg(strstr(clients[i].detail, "refused") != NULL, "%s", clients[i].detail);
    }
    ck_assert_uint_eq(stats().failed, MANY);
}
END_TEST

static const struct {
    int stall_ms;
    const char *says;
} slow[] = {{1500, "waiting for the TLS handshake"}, {0, NULL}};

START_TEST(the_connect_timeout_covers_tls)
{
    server.stall_ms = slow[_i].stall_ms;
    peer_start(&server);
    make_pool(server.port, true, 0, 400);
    struct client k = new_client();
    int64_t begin = clock_usec();
    get(&k, false);
    if (slow[_i].says == NULL) {
        until_served(&k);
        give_back(&k, true);
        return;
    }
    until_failed(&k);
    ck_assert_int_eq(k.why, UPSTREAM_FAILURE_TIMEOUT);
    ck_assert_msg(strstr(k.detail, slow[_i].says) != NULL, "%s", k.detail);
    ck_assert_int_ge(clock_usec() - begin, 390000);
    ck_assert_int_lt(clock_usec() - begin, 800000);
}
END_TEST

START_TEST(a_certificate_that_does_not_pass)
{
    struct identity expired = make_identity(&ca, "old", "DNS:localhost", -7200, -3600);
    server.identity = &expired;
    peer_start(&server);
    make_pool(server.port, true, 0, 2000);
    struct client k = new_client();
    get(&k, false);
    until_failed(&k);
    ck_assert_int_eq(k.why, UPSTREAM_FAILURE_TLS);
    ck_assert_msg(strstr(k.detail, "expired on") != NULL, "%s", k.detail);
    free_identity(&expired);
}
END_TEST

/* More waiters than are opened at a time, against a server that never finishes a handshake: each fails in its time. */
START_TEST(nobody_waits_longer_than_the_connect_timeout)
{
    enum { MANY = 200 };
    static struct client clients[MANY];
    peer_listen(&server); /* accepted by the kernel, answered by nobody */
    make_pool(server.port, true, 0, 300);
    int64_t begin = clock_usec();
    for (int i = 0; i < MANY; i++) {
        clients[i] = new_client();
        get(&clients[i], false);
    }
    for (int i = 0; i < MANY; i++) {
        until_failed(&clients[i]);
        ck_assert_int_eq(clients[i].why, UPSTREAM_FAILURE_TIMEOUT);
    }
    ck_assert_int_lt(clock_usec() - begin, 1000000);
    (void)close(server.listener);
    server.listener = 0;
}
END_TEST

START_TEST(closing_a_pool_in_use)
{
    server.stall_ms = _i == 1 ? 500 : 0;
    start(true, 2);
    struct client busy = new_client(), waiting = new_client();
    unsigned before = count_fds();
    if (_i == 0) {
        get(&busy, false);
        until_served(&busy);
        turn_for(200);
        server.stall_ms = 500;
        get(&waiting, true); /* takes an unused warm one at once, or waits */
    } else {
        get(&waiting, false);
    }
    upstream_pool_close(pool);
    loop_turn(loop, &hooks);
    pool = NULL;
    ck_assert(waiting.failed || waiting.connection != NULL);
    if (waiting.failed)
        ck_assert_int_eq(waiting.why, UPSTREAM_FAILURE_LOCAL);
    if (waiting.connection != NULL)
        give_back(&waiting, true);
    if (_i == 0) {
        exchange(&busy, "echo\n"); /* undisturbed */
        give_back(&busy, true);
    }
    turn_for(20);
    for (int i = 0; i < 300 && (atomic_load(&server.open) > 0 || count_fds() >= before); i++)
        turn_for(10);
    ck_assert_uint_lt(count_fds(), before); /* the pool's own descriptors went too */
}
END_TEST

START_TEST(nothing_leaks)
{
    start(true, 0);
    one_exchange();
    turn_for(50);
    unsigned before = count_fds();
    for (int i = 0; i < 30; i++) {
        struct client a = new_client(), b = new_client();
        get(&a, i % 2 == 0);
        get(&b, true);
        if (i % 3 == 0)
            upstream_cancel(&b.waiter);
        else
            until_served(&b);
        until_served(&a);
        exchange(&a, i % 4 == 0 ? "cut\n" : "echo\n");
        give_back(&a, i % 4 != 0 && i % 5 != 0);
        if (b.connection != NULL)
            give_back(&b, false);
    }
    turn_for(200);
    unsigned idle = stats().idle;
    for (int i = 0; i < 300 && atomic_load(&server.open) > (int)idle; i++)
        turn_for(10);
    /* The server's end of each idle connection is in this process too. */
    ck_assert_uint_eq(count_fds(), before - 2 + 2 * idle);
}
END_TEST

START_TEST(out_of_descriptors)
{
    peer_start(&server);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit;
        struct client k = new_client();
        make_pool(server.port, true, 0, 2000);
        int lowest = dup(0);
        (void)close(lowest);
        if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
            _exit(1);
        rlim_t all = limit.rlim_cur;
        limit.rlim_cur = (rlim_t)lowest;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            _exit(2);
        int64_t begin = clock_usec();
        if (upstream_acquire(pool, &k.waiter, false) != NULL || k.failed)
            _exit(3);
        for (int i = 0; i < 100 && !k.failed; i++)
            loop_turn(loop, &hooks);
        if (!k.failed || k.why != UPSTREAM_FAILURE_LOCAL || strstr(k.detail, "descriptors") == NULL)
            _exit(4);
        if (clock_usec() - begin > 100000)
            _exit(5);
        limit.rlim_cur = all;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            _exit(6);
        k = new_client(); /* and it works again */
        if (upstream_acquire(pool, &k.waiter, false) != NULL)
            _exit(7);
        for (int i = 0; i < 500 && k.connection == NULL && !k.failed; i++)
            loop_turn(loop, &hooks);
        _exit(k.connection != NULL ? 0 : 8);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("upstream");
    TCase *t = tcase_create("upstream");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, a_connection_is_reused, 0, 2);
    tcase_add_loop_test(t, reuse_makes_one_system_call, 0, 2);
    tcase_add_loop_test(t, not_reusable_is_closed, 0, 2);
    tcase_add_test(t, an_old_connection_is_not_kept);
    tcase_add_loop_test(t, a_big_answer_and_then_reuse, 0, 2);
    tcase_add_loop_test(t, leftover_bytes_forbid_reuse, 0, 2);
    tcase_add_loop_test(t, an_ignored_edge_forbids_reuse, 0, 2);
    tcase_add_loop_test(t, what_came_within_this_turn_forbids_reuse, 0, 4);
    tcase_add_test(t, fresh_means_never_used);
    tcase_add_test(t, sessions_are_resumed);
    tcase_add_test(t, first_come_first_served);
    tcase_add_test(t, a_released_connection_serves_a_waiter);
    tcase_add_test(t, a_cancelled_waiter_hears_nothing);
    tcase_add_test(t, each_waiter_fails_with_its_own_attempt);
    tcase_add_loop_test(t, the_connect_timeout_covers_tls, 0, 2);
    tcase_add_test(t, a_certificate_that_does_not_pass);
    tcase_add_test(t, nobody_waits_longer_than_the_connect_timeout);
    tcase_add_loop_test(t, closing_a_pool_in_use, 0, 2);
    tcase_add_test(t, nothing_leaks);
    tcase_add_test(t, out_of_descriptors);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
