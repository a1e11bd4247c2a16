/* Who is at the other end: real processes, as other users and in other groups where we may become them. */
#include "net/peer.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- a client in a process of its own --- */

enum road { ROAD_UNIX, ROAD_V4, ROAD_V6, ROAD_V4_TO_DUAL, ROAD_MAPPED_TO_V4, ROAD_MAPPED_TO_DUAL, ROADS };

struct scene {
    int listener, accepted;
    pid_t client;
    int orders; /* one byte each; closed: exit */
    int done;   /* one byte back per order */
    char path[40];
};

struct disguise {
    uid_t uid;
    const gid_t *groups;
    size_t group_count;
};

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static int make_listener(enum road road, struct scene *s)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int family = road == ROAD_UNIX ? AF_UNIX : road == ROAD_V4 || road == ROAD_MAPPED_TO_V4 ? AF_INET : AF_INET6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0;
    ck_assert_int_ge(fd, 0);
    if (family == AF_UNIX) {
        (void)snprintf(s->path, sizeof s->path, "/tmp/test_peer_%d", (int)getpid());
        memcpy(un.sun_path, s->path, sizeof s->path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
        ck_assert_int_eq(chmod(s->path, 0777), 0);
    } else if (family == AF_INET) {
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&v4, sizeof v4), 0);
    } else {
        if (road == ROAD_V4_TO_DUAL || road == ROAD_MAPPED_TO_DUAL) {
            v6.sin6_addr = in6addr_any;
            ck_assert_int_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), 0);
        }
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&v6, sizeof v6), 0);
    }
    ck_assert_int_eq(listen(fd, 10), 0);
    return fd;
}

static int connect_by(enum road road, const struct scene *s)
{
    struct sockaddr_in6 at = {0};
    socklen_t n = sizeof at;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    bool mapped = road == ROAD_MAPPED_TO_V4 || road == ROAD_MAPPED_TO_DUAL;
    int family = road == ROAD_UNIX ? AF_UNIX : road == ROAD_V6 || mapped ? AF_INET6 : AF_INET;
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd < 0 || getsockname(s->listener, (struct sockaddr *)&at, &n) != 0)
        return -1;
    memcpy(un.sun_path, s->path, sizeof s->path);
    v4.sin_port = v6.sin6_port = at.sin6_port; /* at the same place in both families */
    if (mapped)
        ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6.sin6_addr), 1);
    const struct sockaddr *to = family == AF_UNIX    ? (const struct sockaddr *)&un
                                : family == AF_INET6 ? (const struct sockaddr *)&v6
                                                     : (const struct sockaddr *)&v4;
    n = family == AF_UNIX ? sizeof un : family == AF_INET6 ? sizeof v6 : sizeof v4;
    return connect(fd, to, n) == 0 ? fd : -1;
}

/* Orders: 'w' shuts down writing, 'c' closes, 'r' resets. */
static void obey(int fd, int orders, int done)
{
    char order;
    struct linger hard = {1, 0};
    while (read(orders, &order, 1) == 1) {
        if (order == 'w')
            (void)shutdown(fd, SHUT_WR);
        if (order == 'r')
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        if (order == 'c' || order == 'r')
            (void)close(fd);
        (void)!write(done, "d", 1);
    }
}

static struct scene begin(enum road road, const struct disguise *disguise)
{
    struct scene s = {.accepted = -1};
    int orders[2], done[2];
    s.listener = make_listener(road, &s);
    ck_assert_int_eq(pipe(orders), 0);
    ck_assert_int_eq(pipe(done), 0);
    s.client = fork();
    if (s.client == 0) {
        (void)close(orders[1]);
        if (disguise != NULL && disguise->groups != NULL && setgroups(disguise->group_count, disguise->groups) != 0)
            _exit(1);
        if (disguise != NULL && (setgid(disguise->uid) != 0 || setuid(disguise->uid) != 0))
            _exit(2);
        int fd = connect_by(road, &s);
        if (fd < 0)
            _exit(3);
        obey(fd, orders[0], done[1]);
        _exit(0);
    }
    (void)close(orders[0]);
    (void)close(done[1]);
    s.orders = orders[1];
    s.done = done[0];
    s.accepted = accept4(s.listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(s.accepted, 0);
    return s;
}

static void order(const struct scene *s, char what)
{
    char back;
    ck_assert_int_eq(write(s->orders, &what, 1), 1);
    ck_assert_int_eq(read(s->done, &back, 1), 1);
}

static void finish(struct scene *s)
{
    int status;
    (void)close(s->orders);
    ck_assert_int_eq(waitpid(s->client, &status, 0), s->client);
    ck_assert_int_eq(status, 0);
    (void)close(s->done);
    (void)close(s->accepted);
    (void)close(s->listener);
    if (s->path[0] != '\0')
        (void)unlink(s->path);
}

/* --- users --- */

START_TEST(our_own_user)
{
    struct scene s = begin((enum road)_i, NULL);
    struct peer p;
    ck_assert_int_eq(peer_lookup(s.accepted, NULL, &p), PP_OK);
    ck_assert(p.known);
    ck_assert(!p.in_groups);
    ck_assert_uint_eq(p.uid, getuid());
    ck_assert_int_eq(p.pid, _i == ROAD_UNIX ? s.client : 0);
    finish(&s);
}
END_TEST

/* Needs root to become somebody else; the container of the test suite has it. */
START_TEST(another_user)
{
    struct disguise stranger = {.uid = 4711};
    struct scene s = begin((enum road)_i, &stranger);
    struct peer p;
    ck_assert_int_eq(peer_lookup(s.accepted, NULL, &p), PP_OK);
    ck_assert_uint_eq(p.uid, 4711);
    uint32_t mine[] = {getuid()}, theirs[] = {1, 4711};
    struct id_list only_me = {.items = mine, .count = 1}, them = {.items = theirs, .count = 2}, nobody = {.count = 0};
    ck_assert(!peer_allowed(&p, &only_me, &nobody));
    ck_assert(peer_allowed(&p, &them, &nobody));
    finish(&s);
}
END_TEST

/* --- groups --- */

START_TEST(groups_of_a_process)
{
    enum { MANY = 300 }; /* more than fit into the usual buffer */
    static gid_t groups[MANY];
    for (gid_t i = 0; i < MANY; i++)
        groups[i] = 5000 + i;
    struct disguise member = {.uid = 4711, .groups = groups, .group_count = _i == 0 ? 3 : MANY};
    static const struct {
        uint32_t gid;
        bool few, many;
    } cases[] = {{5002, true, true}, {5299, false, true}, {4711, true, true}, {0, false, false}, {5300, false, false}};
    struct scene s = begin(ROAD_UNIX, &member);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t asked[] = {99, cases[i].gid};
        struct id_list list = {.items = asked, .count = 2}, nobody = {.count = 0};
        struct peer p;
        ck_assert_int_eq(peer_lookup(s.accepted, &list, &p), PP_OK);
        ck_assert_int_eq(p.in_groups, _i == 0 ? cases[i].few : cases[i].many);
        ck_assert_int_eq(peer_allowed(&p, &nobody, &list), p.in_groups);
    }
    finish(&s);
}
END_TEST

/* Some account that is a member of a group which is not its primary one; false where the host has none. */
static bool find_member(uid_t *uid, gid_t *gid)
{
    struct group *g;
    bool found = false;
    setgrent();
    while (!found && (g = getgrent()) != NULL)
        for (char **name = g->gr_mem; !found && *name != NULL; name++) {
            const struct passwd *entry = getpwnam(*name);
            if (entry != NULL && entry->pw_gid != g->gr_gid) {
                *uid = entry->pw_uid;
                *gid = g->gr_gid;
                found = true;
            }
        }
    endgrent();
    return found;
}

/* On TCP the kernel tells the uid alone: the groups are those of the account. */
START_TEST(groups_of_an_account)
{
    const struct passwd *nobody = getpwnam("nobody");
    ck_assert_ptr_nonnull(nobody);
    struct disguise stranger = {.uid = nobody->pw_uid};
    uint32_t primary[] = {nobody->pw_gid}, root[] = {0};
    struct id_list right = {.items = primary, .count = 1}, wrong = {.items = root, .count = 1};
    struct scene s = begin(ROAD_V4, &stranger);
    struct peer p;
    for (int i = 0; i < 3; i++) { /* asked, then remembered */
        ck_assert_int_eq(peer_lookup(s.accepted, &right, &p), PP_OK);
        ck_assert(p.in_groups);
        ck_assert_int_eq(peer_lookup(s.accepted, &wrong, &p), PP_OK);
        ck_assert(!p.in_groups);
    }
    finish(&s);

    struct disguise ghost = {.uid = 4711}; /* has no account */
    s = begin(ROAD_V6, &ghost);
    ck_assert_int_eq(peer_lookup(s.accepted, &right, &p), PP_OK);
    ck_assert(p.known && !p.in_groups);
    finish(&s);

    uid_t uid;
    gid_t gid;
    if (find_member(&uid, &gid)) {
        struct disguise member = {.uid = uid};
        uint32_t supplementary[] = {gid};
        struct id_list list = {.items = supplementary, .count = 1};
        s = begin(ROAD_V4, &member);
        ck_assert_int_eq(peer_lookup(s.accepted, &list, &p), PP_OK);
        ck_assert(p.in_groups);
        finish(&s);
    }
}
END_TEST

/* More users than are remembered: each still gets the right answer. */
START_TEST(many_accounts)
{
    uint32_t primary[] = {getgid()};
    struct id_list mine = {.items = primary, .count = 1};
    for (uid_t uid = 6000; uid < 6040; uid++) {
        struct disguise stranger = {.uid = uid};
        struct scene s = begin(ROAD_V4, uid % 8 == 0 ? NULL : &stranger);
        struct peer p;
        ck_assert_int_eq(peer_lookup(s.accepted, &mine, &p), PP_OK);
        ck_assert_int_eq(p.in_groups, uid % 8 == 0);
        finish(&s);
    }
}
END_TEST

/* --- the gate's rule --- */

static uint32_t one[] = {1}, two[] = {2}, both[] = {2, 1};
static const struct {
    struct peer peer;
    struct id_list users, groups;
    bool allowed;
} gates[] = {
    {{.known = false}, {.count = 0}, {.count = 0}, true},
    {{.known = false}, {.items = one, .count = 1}, {.count = 0}, false},
    {{.known = false, .uid = 1}, {.items = one, .count = 1}, {.count = 0}, false},
    {{.known = false, .in_groups = true}, {.count = 0}, {.items = one, .count = 1}, false},
    {{.known = true, .uid = 0}, {.items = one, .count = 1}, {.count = 0}, false}, /* root is no exception */
    {{.known = true, .uid = 1}, {.items = one, .count = 1}, {.count = 0}, true},
    {{.known = true, .uid = 1}, {.items = both, .count = 2}, {.count = 0}, true},
    {{.known = true, .uid = 1}, {.items = two, .count = 1}, {.items = one, .count = 1}, false},
    {{.known = true, .uid = 1, .in_groups = true}, {.items = two, .count = 1}, {.items = one, .count = 1}, true},
    {{.known = true, .uid = 3, .in_groups = true}, {.items = two, .count = 1}, {.count = 0}, false},
};

START_TEST(who_may_pass)
{
    ck_assert_int_eq(peer_allowed(&gates[_i].peer, &gates[_i].users, &gates[_i].groups), gates[_i].allowed);
}
END_TEST

/* --- gone or not --- */

static bool gone_within(int fd, int ms)
{
    for (int waited = 0; waited <= ms; waited += 5) {
        if (peer_is_gone(fd))
            return true;
        sleep_ms(5);
    }
    return false;
}

START_TEST(half_closed_is_not_gone)
{
    struct scene s = begin((enum road)_i, NULL);
    struct peer p;
    ck_assert(!peer_is_gone(s.accepted));
    order(&s, 'w');
    ck_assert(!gone_within(s.accepted, 100));
    order(&s, 'c');
    ck_assert(gone_within(s.accepted, 1000));
    /* Whoever closed is nobody, in particular not uid 0. */
    ck_assert_int_ne(peer_lookup(s.accepted, NULL, &p), PP_OK);
    ck_assert(!p.known);
    finish(&s);
}
END_TEST

START_TEST(a_reset_is_gone)
{
    struct scene s = begin((enum road)_i, NULL);
    struct peer p;
    order(&s, 'r');
    ck_assert(gone_within(s.accepted, 1000));
    ck_assert_int_ne(peer_lookup(s.accepted, NULL, &p), PP_OK);
    finish(&s);
}
END_TEST

START_TEST(a_dead_process_is_gone)
{
    struct scene s = begin((enum road)_i, NULL);
    (void)kill(s.client, SIGKILL);
    (void)waitpid(s.client, NULL, 0);
    ck_assert(gone_within(s.accepted, 1000));
    (void)close(s.orders);
    (void)close(s.done);
    (void)close(s.accepted);
    (void)close(s.listener);
}
END_TEST

/* --- when the question cannot be asked --- */

START_TEST(a_failed_lookup_lets_nobody_pass)
{
    struct scene s = begin(ROAD_V4, NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        uint32_t me[] = {getuid()};
        struct id_list users = {.items = me, .count = 1}, groups = {.count = 0};
        struct peer p = {.known = true, .uid = getuid()};
        for (int fd = 3; fd < 100; fd++) /* the netlink socket may be open already */
            if (fd != s.accepted)
                (void)close(fd);
        if (setrlimit(RLIMIT_NOFILE, &none) != 0) /* no descriptor for a new one */
            _exit(1);
        if (peer_lookup(s.accepted, NULL, &p) != PP_SYSTEM || p.known || peer_allowed(&p, &users, &groups))
            _exit(2);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    struct peer p;
    ck_assert_int_eq(peer_lookup(-1, NULL, &p), PP_SYSTEM);
    ck_assert(!p.known);
    finish(&s);
}
END_TEST

/* In place of the C library's, which without memory or descriptors for the group file leaves out all groups but the
 * primary one, and calls that success. */
#define SUPPLEMENTARY 4242
static enum { GROUPS_REAL, GROUPS_BOTH, GROUPS_LEFT_OUT } groups_of_accounts;
int getgrouplist(const char *user, gid_t primary, gid_t *groups, int *n)
{
    int (*real)(const char *, gid_t, gid_t *, int *);
    *(void **)&real = dlsym(RTLD_NEXT, "getgrouplist");
    if (groups_of_accounts == GROUPS_REAL)
        return real(user, primary, groups, n);
    groups[0] = primary;
    groups[1] = SUPPLEMENTARY;
    return *n = groups_of_accounts == GROUPS_BOTH ? 2 : 1;
}

/* The same with descriptors, for real. */
static void deny_descriptors(bool denied)
{
    static struct rlimit before;
    if (denied)
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit now = {denied ? 0 : before.rlim_cur, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
}

/* An account that could not be looked up whole must not be shut out for longer than the shortage lasts. */
START_TEST(a_refusal_is_not_believed_for_long)
{
    msec now = clock_tick() + 60000; /* what is remembered is out of date */
    const struct passwd *me = getpwuid(getuid());
    ck_assert_ptr_nonnull(me);
    uint32_t asked[] = {_i == 0 ? me->pw_gid : SUPPLEMENTARY};
    struct id_list list = {.items = asked, .count = 1};
    struct scene s = begin(ROAD_V4, NULL);
    struct peer p;
    clock_fake(now, 0);
    ck_assert_int_eq(peer_lookup(s.accepted, NULL, &p), PP_OK); /* has its netlink socket from now on */
    groups_of_accounts = GROUPS_LEFT_OUT;
    if (_i == 0)
        deny_descriptors(true);
    ck_assert_int_eq(peer_lookup(s.accepted, &list, &p), PP_OK);
    ck_assert(!p.in_groups);
    if (_i == 0)
        deny_descriptors(false);
    groups_of_accounts = GROUPS_BOTH;
    clock_fake(now + 200, 0);
    ck_assert_int_eq(peer_lookup(s.accepted, &list, &p), PP_OK);
    ck_assert(p.in_groups);
    /* Who was found to be a member stays one while the accounts cannot be read, and is not asked for each time. */
    groups_of_accounts = GROUPS_LEFT_OUT;
    clock_fake(now + 10000, 0);
    ck_assert_int_eq(peer_lookup(s.accepted, &list, &p), PP_OK);
    ck_assert(p.in_groups);
    groups_of_accounts = GROUPS_REAL;
    clock_fake(-1, 0);
    finish(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("peer");
    TCase *t = tcase_create("peer");
    tcase_add_loop_test(t, our_own_user, 0, ROADS);
    if (geteuid() == 0) { /* nobody else may become another user */
        tcase_add_loop_test(t, another_user, 0, ROADS);
        tcase_add_loop_test(t, groups_of_a_process, 0, 2);
        tcase_add_test(t, groups_of_an_account);
        tcase_add_test(t, many_accounts);
    }
    tcase_add_loop_test(t, who_may_pass, 0, (int)(sizeof gates / sizeof gates[0]));
    tcase_add_loop_test(t, half_closed_is_not_gone, ROAD_V4, ROADS);
    tcase_add_loop_test(t, a_reset_is_gone, ROAD_V4, ROADS);
    tcase_add_loop_test(t, a_dead_process_is_gone, ROAD_V4, ROADS);
    tcase_add_test(t, a_failed_lookup_lets_nobody_pass);
    tcase_add_loop_test(t, a_refusal_is_not_believed_for_long, 0, 2);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK); /* always: a process remembers accounts, and one test takes descriptors */
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
