/* Listening sockets handed over by systemd: found by name, checked, never taken from another process. */
#include "net/listener.h"

#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/test_activation_XXXXXX";
static char path[64]; /* of a Unix socket in it */
static const struct unix_access usual = {.mode = 0660};

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

__attribute__((unused)) /* without systemd */ static struct listen_address tcp(const char *host, unsigned port)
{
    return (struct listen_address){.kind = LISTEN_TCP, .text = host, .host = host, .port = port};
}

__attribute__((unused)) /* without systemd */ static struct listen_address local(const char *file)
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

#ifdef HAVE_SYSTEMD
/* In a child: descriptors 3, 4 and 5 as systemd passes them, with their names in the environment. */
static int with_inherited(int (*body)(void))
{
    pid_t child = fork();
    if (child == 0) {
        char pid[16];
        struct listen_address items[] = {tcp("127.0.0.1", 0), local(path)};
        struct listener_set *set = NULL;
        struct problem p;
        if (open_set(items, 2, &usual, NULL, &set, &p) != PP_OK)
            _exit(100);
        int a = fcntl(listener_set_at(set, 0, NULL)->fd, F_DUPFD, 20);
        int b = fcntl(listener_set_at(set, 1, NULL)->fd, F_DUPFD, 20);
        (void)unlink(path);
        for (int fd = 3; fd < 20; fd++)
            (void)close(fd);
        if (dup2(a, 3) != 3 || dup2(b, 4) != 4 || dup2(a, 5) != 5 || socket(AF_INET, SOCK_DGRAM, 0) != 6)
            _exit(101);
        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        (void)setenv("LISTEN_PID", pid, 1);
        (void)setenv("LISTEN_FDS", "4", 1);
        (void)setenv("LISTEN_FDNAMES", "web:admin:web:wrong", 1);
        _exit(body());
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int take_over(void)
{
    struct listen_address web = {.kind = LISTEN_SYSTEMD, .text = "systemd:web", .name = "web"};
    struct listen_address both[] = {web, {.kind = LISTEN_SYSTEMD, .text = "systemd:admin", .name = "admin"}};
    struct listen_address none = {.kind = LISTEN_SYSTEMD, .text = "systemd:none", .name = "none"};
    struct listen_address wrong = {.kind = LISTEN_SYSTEMD, .text = "systemd:wrong", .name = "wrong"};
    struct listener_set *first = NULL, *second = NULL;
    struct problem p;
    if (open_set(&web, 1, &usual, NULL, &first, &p) != PP_OK || listener_set_count(first) != 2)
        return 1;
    clearenv(); /* what was captured is enough from now on */
    if (open_set(both, 2, &usual, first, &second, &p) != PP_OK || listener_set_count(second) != 3)
        return 2;
    if (listener_set_at(second, 0, NULL) != listener_set_at(first, 0, NULL))
        return 3;
    const struct listener *tcp_one = listener_set_at(second, 0, NULL), *unix_one = listener_set_at(second, 2, NULL);
    if (tcp_one->fd != 3 || tcp_one->family != AF_INET || tcp_one->port == 0 || unix_one->family != AF_UNIX)
        return 4;
    if ((fcntl(3, F_GETFL) & O_NONBLOCK) == 0 || (fcntl(4, F_GETFD) & FD_CLOEXEC) == 0)
        return 5;
    listener_set_close(&first, second);
    listener_set_close(&second, NULL);
    if (fcntl(3, F_GETFD) < 0 || fcntl(4, F_GETFD) < 0) /* still there for a later reload */
        return 6;
    if (open_set(&none, 1, &usual, NULL, &first, &p) != PP_NOT_FOUND || strstr(p.text, "web, admin, web") == NULL)
        return 7;
    if (open_set(&wrong, 1, &usual, NULL, &first, &p) != PP_INVALID || strstr(p.text, "ListenStream=") == NULL)
        return 8;
    return 0;
}

START_TEST(sockets_from_systemd)
{
    ck_assert_int_eq(with_inherited(take_over), 0);
}
END_TEST

static int not_for_us(void)
{
    struct listen_address web = {.kind = LISTEN_SYSTEMD, .text = "systemd:web", .name = "web"};
    struct listener_set *set = NULL;
    struct problem p;
    (void)setenv("LISTEN_PID", "1", 1); /* meant for another process */
    return open_set(&web, 1, &usual, NULL, &set, &p) == PP_NOT_FOUND && strstr(p.text, "it passed none") != NULL ? 0
                                                                                                                 : 1;
}

START_TEST(sockets_for_another_process_are_not_taken)
{
    ck_assert_int_eq(with_inherited(not_for_us), 0);
}
END_TEST
#else
START_TEST(systemd_names_are_refused_without_systemd)
{
    struct listen_address web = {.kind = LISTEN_SYSTEMD, .text = "systemd:web", .name = "web"};
    struct listener_set *set = NULL;
    struct problem p;
    ck_assert_int_eq(open_set(&web, 1, &usual, NULL, &set, &p), PP_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(p.text, "without systemd"));
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("activation");
    TCase *t = tcase_create("activation");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
#ifdef HAVE_SYSTEMD
    tcase_add_test(t, sockets_from_systemd);
    tcase_add_test(t, sockets_for_another_process_are_not_taken);
#else
    tcase_add_test(t, systemd_names_are_refused_without_systemd);
#endif
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
