/* Listening sockets: reachable only when permitted, kept over a reload, cleaned up without hurting others. */
#include "net/listener.h"

#include "net/unix_socket.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/test_listener_XXXXXX";
static char path[64]; /* of a Unix socket in it */
static const struct unix_access usual = {.mode = 0660};

/* What others could do with the socket file at the two moments that count; listened for by standing in for the calls.
 */
static mode_t mode_when_bound, mode_when_listening;

static mode_t mode_of(const char *file)
{
    struct stat st;
    ck_assert_int_eq(lstat(file, &st), 0);
    return st.st_mode;
}

int bind(int fd, const struct sockaddr *address, socklen_t n)
{
    int rc = (int)syscall(SYS_bind, fd, address, n);
    if (rc == 0 && address->sa_family == AF_UNIX)
        mode_when_bound = mode_of(((const struct sockaddr_un *)(const void *)address)->sun_path);
    return rc;
}

int listen(int fd, int backlog)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        mode_when_listening = st.st_mode;
    return (int)syscall(SYS_listen, fd, backlog);
}

static void make_folder(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a.sock", folder);
}

static void remove_folder(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* fails when something was left in it */
}

static struct listen_address tcp(const char *host, unsigned port)
{
    return (struct listen_address){.kind = LISTEN_TCP, .text = host, .host = host, .port = port};
}

static struct listen_address local(const char *file)
{
    return (struct listen_address){.kind = LISTEN_UNIX, .text = file, .path = file};
}

static enum pp_result open_set(struct listen_address *items, size_t n, const struct unix_access *access,
                               const struct listener_set *previous, struct listener_set **out, struct problem *problem)
{
    struct listen_list list = {items, n};
    struct listener_request request = {"production", &list, access};
    problem->text[0] = '\0';
    return listener_set_open(&request, 1, previous, out, problem);
}

static int connect_tcp(int family, unsigned port)
{
    struct sockaddr_in six4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    six4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    six.sin6_addr = in6addr_loopback;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    bool v4 = family == AF_INET;
    if (connect(fd, v4 ? (const struct sockaddr *)&six4 : (const struct sockaddr *)&six,
                v4 ? sizeof six4 : sizeof six) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static int connect_unix(const char *to)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", to);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

START_TEST(tcp_accepts_on_its_own_family_only)
{
    int family = _i == 0 ? AF_INET : AF_INET6;
    struct listen_address a = tcp(_i == 0 ? "127.0.0.1" : "::1", 0);
    struct listener_set *set = NULL;
    struct problem p;
    const char *owner = NULL;
    char expected[64];
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), PP_OK);
    struct listener *l = listener_set_at(set, 0, &owner);
    ck_assert_str_eq(owner, "production");
    ck_assert_uint_ne(l->port, 0);
    ck_assert_int_eq(l->family, family);
    (void)snprintf(expected, sizeof expected, _i == 0 ? "127.0.0.1:%u" : "[::1]:%u", l->port);
    ck_assert_str_eq(l->address, expected);
    ck_assert_int_ne(fcntl(l->fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(l->fd, F_GETFD) & FD_CLOEXEC, 0);
    int client = connect_tcp(family, l->port);
    ck_assert_int_ge(client, 0);
    int server = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(server, 0);
    ck_assert_int_eq(connect_tcp(family == AF_INET ? AF_INET6 : AF_INET, l->port), -1);
    (void)close(client);
    (void)close(server);
    listener_set_close(&set, NULL);
    ck_assert_ptr_null(set);
}
END_TEST

START_TEST(a_busy_port_is_named_with_advice)
{
    struct listen_address a = tcp("127.0.0.1", 0);
    struct listener_set *set = NULL, *second = NULL;
    struct problem p;
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), PP_OK);
    a.port = listener_set_at(set, 0, NULL)->port;
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &second, &p), PP_LIMIT);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(strstr(p.text, "127.0.0.1: address already in use"));
    ck_assert_ptr_nonnull(strstr(p.text, "ss -ltnp"));
    listener_set_close(&set, NULL);
}
END_TEST

/* RFC 5737 and RFC 3849 addresses, which no host has. */
static const struct {
    const char *host;
    unsigned port;
    enum pp_result rc;
    const char *says;
} unusable[] = {
    {"192.0.2.1", 1, PP_NOT_FOUND, "no such address"},
    {"2001:db8::1", 1, PP_NOT_FOUND, "IPv6 may be switched off"},
    {"localhost", 1, PP_INVALID, "numeric address"},
    {"127.0.0.1", 65536, PP_INVALID, "numeric address and a port"},
};

START_TEST(unusable_addresses)
{
    struct listen_address a = tcp(unusable[_i].host, unusable[_i].port);
    struct listener_set *set = NULL;
    struct problem p;
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), unusable[_i].rc);
    ck_assert_ptr_null(set);
    ck_assert_ptr_nonnull(strstr(p.text, unusable[_i].says));
    ck_assert_ptr_nonnull(strstr(p.text, unusable[_i].host));
}
END_TEST

START_TEST(unix_mode_whatever_the_umask)
{
    static const mode_t umasks[] = {0, 022, 077, 0777};
    static const mode_t modes[] = {0600, 0660, 0666, 0777};
    struct listen_address a = local(path);
    struct unix_access wanted = {.mode = modes[_i % 4]};
    struct listener_set *set = NULL;
    struct problem p;
    mode_t before = umask(umasks[_i / 4]);
    enum pp_result rc = open_set(&a, 1, &wanted, NULL, &set, &p);
    (void)umask(before);
    ck_assert_int_eq(rc, PP_OK);
    ck_assert_uint_eq(mode_when_bound, S_IFSOCK);
    ck_assert_uint_eq(mode_when_listening, S_IFSOCK | modes[_i % 4]);
    ck_assert_uint_eq(mode_of(path), S_IFSOCK | modes[_i % 4]);
    struct listener *l = listener_set_at(set, 0, NULL);
    ck_assert_int_eq(l->family, AF_UNIX);
    ck_assert_int_eq(strncmp(l->address, "unix:/tmp/", 10), 0);
    int client = connect_unix(path);
    ck_assert_int_ge(client, 0);
    (void)close(client);
    listener_set_close(&set, NULL);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(unix_owner_and_group)
{
    struct listen_address a = local(path);
    struct unix_access access = {.mode = 0660, .owner_set = true, .owner = 12, .group_set = true, .group = 34};
    struct listener_set *set = NULL;
    struct problem p;
    struct stat st;
    if (geteuid() == 0) {
        ck_assert_int_eq(open_set(&a, 1, &access, NULL, &set, &p), PP_OK);
        ck_assert_int_eq(lstat(path, &st), 0);
        ck_assert_uint_eq(st.st_uid, 12);
        ck_assert_uint_eq(st.st_gid, 34);
        listener_set_close(&set, NULL);
    }
    /* Without the right to do it: fatal, and nothing is left behind. */
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (chmod(folder, 0777) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
            _exit(2);
        enum pp_result rc = open_set(&a, 1, &access, NULL, &set, &p);
        _exit(rc == PP_DENIED && strstr(p.text, "unix_owner") != NULL ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(lstat(path, &st), -1);
}
END_TEST

/* A socket file whose process died without cleaning up. */
static void leave_stale(void)
{
    pid_t child = fork();
    if (child == 0) {
        struct unix_socket_file file;
        struct problem p;
        int fd;
        _exit(unix_socket_listen(path, &usual, &fd, &file, &p) == PP_OK ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert(S_ISSOCK(mode_of(path)));
}

START_TEST(a_stale_socket_is_replaced_a_live_one_is_not)
{
    struct listen_address a = local(path);
    struct listener_set *set = NULL, *second = NULL;
    struct problem p;
    leave_stale();
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), PP_OK);

    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &second, &p), PP_LIMIT);
    ck_assert_ptr_nonnull(strstr(p.text, "another process already listens there"));
    int client = connect_unix(path); /* the failed attempt has hurt nobody */
    ck_assert_int_ge(client, 0);
    (void)close(client);
    listener_set_close(&set, NULL);
}
END_TEST

START_TEST(other_files_are_never_removed)
{
    struct listen_address a = local(path);
    struct listener_set *set = NULL;
    struct problem p;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), PP_INVALID);
    ck_assert_ptr_nonnull(strstr(p.text, "not a socket"));
    ck_assert(S_ISREG(mode_of(path)));
    (void)unlink(path);

    /* A symbolic link is not followed either. */
    ck_assert_int_eq(symlink("/dev/null", path), 0);
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), PP_INVALID);
    ck_assert(S_ISLNK(mode_of(path)));
    (void)unlink(path);

    /* At the end, somebody else's socket under our path stays. */
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), PP_OK);
    (void)unlink(path);
    int other = -1;
    struct unix_socket_file file;
    ck_assert_int_eq(unix_socket_listen(path, &usual, &other, &file, &p), PP_OK);
    listener_set_close(&set, NULL);
    ck_assert(unix_socket_is_there(path, &file));
    unix_socket_remove(path, &file);
    ck_assert_int_eq(access(path, F_OK), -1);
    (void)close(other);
}
END_TEST

START_TEST(bad_unix_paths)
{
    char missing[128], longer[200];
    (void)snprintf(missing, sizeof missing, "%s/none/a.sock", folder);
    memset(longer, 'x', sizeof longer);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    const struct {
        const char *file;
        enum pp_result rc;
        const char *says;
    } cases[] = {
        {missing, PP_NOT_FOUND, "RuntimeDirectory="},
        {longer, PP_INVALID, "at most 107 bytes"},
        {"relative.sock", PP_INVALID, "absolute path"},
        {"", PP_INVALID, "absolute path"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct listen_address a = local(cases[i].file);
        struct listener_set *set = NULL;
        struct problem p;
        ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &set, &p), cases[i].rc);
        ck_assert_ptr_nonnull(strstr(p.text, cases[i].says));
    }
}
END_TEST

/* Many processes want the same path at once over a stale socket: exactly one may win. */
START_TEST(one_winner_in_a_race)
{
    enum { RACERS = 8 };
    struct listen_address a = local(path);
    struct problem p;
    pid_t children[RACERS];
    int go[2], results[2], won = 0;
    leave_stale();
    ck_assert_int_eq(pipe(go), 0);
    ck_assert_int_eq(pipe(results), 0);
    for (int i = 0; i < RACERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            char byte;
            struct listener_set *mine = NULL;
            (void)close(go[1]);
            (void)close(results[0]);
            ssize_t n = read(go[0], &byte, 1); /* ends when the parent closes */
            byte = n == 0 && open_set(&a, 1, &usual, NULL, &mine, &p) == PP_OK;
            (void)!write(results[1], &byte, 1);
            (void)pause(); /* the winner must go on listening until all have tried */
            _exit(0);
        }
    }
    (void)close(go[0]);
    (void)close(go[1]);
    for (int i = 0; i < RACERS; i++) {
        char byte = 0;
        ck_assert_int_eq(read(results[0], &byte, 1), 1);
        won += byte;
    }
    for (int i = 0; i < RACERS; i++) {
        (void)kill(children[i], SIGKILL);
        (void)waitpid(children[i], NULL, 0);
    }
    ck_assert_int_eq(won, 1);
    (void)close(results[0]);
    (void)close(results[1]);
}
END_TEST

START_TEST(reload_keeps_adds_and_removes)
{
    struct listen_address before[] = {tcp("127.0.0.1", 0), local(path)};
    struct listener_set *first = NULL, *second = NULL;
    struct problem p;
    ck_assert_int_eq(open_set(before, 2, &usual, NULL, &first, &p), PP_OK);
    struct listener *kept = listener_set_at(first, 0, NULL), *gone = listener_set_at(first, 1, NULL);
    unsigned gone_port = kept->port;
    int waiting = connect_tcp(AF_INET, kept->port); /* in the queue over the reload */
    struct listener *worker = listener_ref(gone);

    struct listen_address after[] = {before[0], tcp("::1", 0)};
    ck_assert_int_eq(open_set(after, 2, &usual, first, &second, &p), PP_OK);
    ck_assert_uint_eq(listener_set_count(second), 2);
    ck_assert_ptr_eq(listener_set_at(second, 0, NULL), kept);
    ck_assert(listener_set_has(second, kept));
    ck_assert(!listener_set_has(second, gone));
    listener_set_close(&first, second);

    ck_assert_int_eq(access(path, F_OK), -1);         /* out of the file system at once */
    ck_assert_int_ne(fcntl(worker->fd, F_GETFD), -1); /* but open while a worker holds it */
    int fd = worker->fd;
    listener_unref(&worker);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);

    int server = accept4(kept->fd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(server, 0);
    (void)close(server);
    (void)close(waiting);
    listener_set_close(&second, NULL);
    ck_assert_int_eq(connect_tcp(AF_INET, gone_port), -1);
}
END_TEST

START_TEST(reload_is_all_or_nothing)
{
    struct listen_address before = local(path);
    struct listener_set *first = NULL, *second = NULL;
    struct unix_access wider = {.mode = 0666};
    struct problem p;
    ck_assert_int_eq(open_set(&before, 1, &usual, NULL, &first, &p), PP_OK);
    struct listen_address after[] = {before, tcp("127.0.0.1", 0), tcp("192.0.2.1", 1)};
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)close(lowest);
    ck_assert_int_eq(open_set(after, 3, &wider, first, &second, &p), PP_NOT_FOUND);
    int again = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(again, lowest); /* what had been opened is closed */
    (void)close(again);
    ck_assert_uint_eq(mode_of(path), S_IFSOCK | 0660);
    int client = connect_unix(path);
    ck_assert_int_ge(client, 0);
    (void)close(client);

    ck_assert_int_eq(open_set(after, 2, &wider, first, &second, &p), PP_OK); /* mode changed in place */
    ck_assert_uint_eq(mode_of(path), S_IFSOCK | 0666);
    ck_assert_ptr_eq(listener_set_at(second, 0, NULL), listener_set_at(first, 0, NULL));
    listener_set_close(&first, second);
    listener_set_close(&second, NULL);
}
END_TEST

/* Two Unix sockets get a new mode; the second can't (its file is gone from under us between the two steps is not
 * reachable from outside, so an owner that may not be given makes it fail): the first is put back. */
START_TEST(a_failed_change_of_access_is_undone)
{
    struct listener_set *first = NULL, *second = NULL;
    struct problem p;
    struct listen_address one = local(path);
    char other_path[80];
    (void)snprintf(other_path, sizeof other_path, "%s/b.sock", folder);
    struct listen_address two = local(other_path);
    struct listen_list lists[] = {{&one, 1}, {&two, 1}};
    struct unix_access wider = {.mode = 0666};
    struct unix_access foreign = {.mode = 0660, .owner_set = true, .owner = 12};
    struct listener_request before[] = {{"a", &lists[0], &usual}, {"b", &lists[1], &usual}};
    struct listener_request after[] = {{"a", &lists[0], &wider}, {"b", &lists[1], &foreign}};
    pid_t child = fork();
    if (child == 0) { /* an ordinary user */
        if (geteuid() == 0 && (chmod(folder, 0777) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
            _exit(2);
        if (listener_set_open(before, 2, NULL, &first, &p) != PP_OK)
            _exit(3);
        if (listener_set_open(after, 2, first, &second, &p) != PP_DENIED)
            _exit(4);
        if (mode_of(path) != (S_IFSOCK | 0660) || mode_of(other_path) != (S_IFSOCK | 0660))
            _exit(5);
        listener_set_close(&first, NULL);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(reload_repairs_a_socket_file_that_was_removed)
{
    struct listen_address a = local(path);
    struct listener_set *first = NULL, *second = NULL;
    struct problem p;
    ck_assert_int_eq(open_set(&a, 1, &usual, NULL, &first, &p), PP_OK);
    (void)unlink(path);
    ck_assert_int_eq(open_set(&a, 1, &usual, first, &second, &p), PP_OK);
    listener_set_close(&first, second);
    int client = connect_unix(path);
    ck_assert_int_ge(client, 0);
    (void)close(client);
    listener_set_close(&second, NULL);
}
END_TEST

START_TEST(a_listener_moves_between_owners)
{
    struct listen_address a = tcp("127.0.0.1", 0);
    struct listen_list full = {&a, 1}, empty = {NULL, 0};
    struct listener_request before[] = {{"production", &full, &usual}, {"sandbox", &empty, &usual}};
    struct listener_request after[] = {{"production", &empty, &usual}, {"sandbox", &full, &usual}};
    struct listener_set *first = NULL, *second = NULL;
    struct problem p;
    const char *owner = NULL;
    ck_assert_int_eq(listener_set_open(before, 2, NULL, &first, &p), PP_OK);
    ck_assert_int_eq(listener_set_open(after, 2, first, &second, &p), PP_OK);
    ck_assert_ptr_eq(listener_set_at(second, 0, &owner), listener_set_at(first, 0, NULL));
    ck_assert_str_eq(owner, "sandbox");
    listener_set_close(&first, second);
    listener_set_close(&second, NULL);
}
END_TEST

START_TEST(an_address_named_twice_is_refused)
{
    struct listen_address unix_twice[] = {local(path), local(path)}, tcp_twice[] = {tcp("::1", 0), tcp("::1", 0)};
    struct listener_set *set = NULL;
    struct problem p;
    ck_assert_int_eq(open_set(_i == 0 ? unix_twice : tcp_twice, 2, &usual, NULL, &set, &p), PP_INVALID);
    ck_assert_ptr_nonnull(strstr(p.text, "listed twice"));
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listener");
    TCase *t = tcase_create("listener");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_loop_test(t, tcp_accepts_on_its_own_family_only, 0, 2);
    tcase_add_test(t, a_busy_port_is_named_with_advice);
    tcase_add_loop_test(t, unusable_addresses, 0, (int)(sizeof unusable / sizeof unusable[0]));
    tcase_add_loop_test(t, unix_mode_whatever_the_umask, 0, 16);
    tcase_add_test(t, unix_owner_and_group);
    tcase_add_test(t, a_stale_socket_is_replaced_a_live_one_is_not);
    tcase_add_test(t, other_files_are_never_removed);
    tcase_add_test(t, bad_unix_paths);
    tcase_add_test(t, one_winner_in_a_race);
    tcase_add_test(t, reload_keeps_adds_and_removes);
    tcase_add_test(t, reload_is_all_or_nothing);
    tcase_add_test(t, a_failed_change_of_access_is_undone);
    tcase_add_test(t, reload_repairs_a_socket_file_that_was_removed);
    tcase_add_test(t, a_listener_moves_between_owners);
    tcase_add_loop_test(t, an_address_named_twice_is_refused, 0, 2);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
