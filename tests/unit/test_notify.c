/* What reaches a service manager: every message, by a datagram socket in systemd's place. */
#include "daemon/notify.h"

#include "base/log.h"
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int manager = -1;
static char logged[4096];

static void keep_line(void *owner, const char *line, size_t n)
{
    (void)owner;
    (void)snprintf(logged, sizeof(logged), "%.*s", (int)n, line);
}

/* An abstract socket that the kernel names. */
static void start(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t n = sizeof(name);
    char path[sizeof(name.sun_path) + 1];

    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(manager, 0);
    ck_assert_int_eq(bind(manager, (struct sockaddr *)&name, sizeof(sa_family_t)), 0);
    ck_assert_int_eq(getsockname(manager, (struct sockaddr *)&name, &n), 0);
    (void)snprintf(path, sizeof(path), "@%.*s", (int)(n - sizeof(sa_family_t) - 1), name.sun_path + 1);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
    logged[0] = '\0';
    log_set_sink(keep_line, NULL);
}

static void stop(void)
{
    log_set_sink(NULL, NULL);
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    if (manager >= 0)
        (void)close(manager);
    manager = -1;
}

/* The next datagram, or "" when there is none. */
static const char *heard(void)
{
    static char text[4096];
    ssize_t n = recv(manager, text, sizeof(text) - 1, 0);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

#ifdef HAVE_SYSTEMD

START_TEST(each_message)
{
    ck_assert(notify_active());
    notify_ready();
    ck_assert_str_eq(heard(), "READY=1");
    notify_stopping();
    ck_assert_str_eq(heard(), "STOPPING=1");
    notify_alive();
    ck_assert_str_eq(heard(), "WATCHDOG=1");
    notify_extend(1500);
    ck_assert_str_eq(heard(), "EXTEND_TIMEOUT_USEC=1500000");

    static const char reloading[] = "RELOADING=1\nMONOTONIC_USEC=";
    int64_t before = clock_usec();
    notify_reloading();
    const char *text = heard();
    ck_assert_int_eq(strncmp(text, reloading, strlen(reloading)), 0);
    int64_t at = strtoll(text + strlen(reloading), NULL, 10);
    ck_assert_int_ge(at, before);
    ck_assert_int_le(at, clock_usec());
    ck_assert_str_eq(heard(), "");
    ck_assert_str_eq(logged, "");
}
END_TEST

START_TEST(status_is_one_plain_line)
{
    char text[2000];

    notify_status("%d workers, %s", 2, "reload failed\nREADY=1\x7f\xc3\xa9");
    ck_assert_str_eq(heard(), "STATUS=2 workers, reload failed READY=1???");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    notify_status("%s", text);
    size_t n = strlen(heard());
    ck_assert(n > 1000 && n < 1024);
}
END_TEST

static const struct {
    const char *usec;
    msec interval;
} watchdogs[] = {{NULL, 0}, {"30000000", 15000}, {"1000", 1}, {"5000000", 2500}};

START_TEST(watchdog_interval)
{
    char pid[32];

    (void)snprintf(pid, sizeof(pid), "%d", getpid());
    if (watchdogs[_i].usec != NULL) {
        ck_assert_int_eq(setenv("WATCHDOG_USEC", watchdogs[_i].usec, 1), 0);
        ck_assert_int_eq(setenv("WATCHDOG_PID", pid, 1), 0);
    }
    ck_assert_int_eq(notify_watchdog_interval(), watchdogs[_i].interval);
    /* Meant for another process: not ours to feed. */
    ck_assert_int_eq(setenv("WATCHDOG_PID", "1", 1), 0);
    ck_assert_int_eq(notify_watchdog_interval(), 0);
}
END_TEST

START_TEST(a_deaf_manager_is_logged_once)
{
    ck_assert_int_eq(close(manager), 0);
    manager = -1;
    notify_ready();
    ck_assert_ptr_nonnull(strstr(logged, "could not be told \\\"READY=1\\\""));
    logged[0] = '\0';
    notify_ready();
    ck_assert_str_eq(logged, "");
}
END_TEST

#else

START_TEST(without_systemd_nothing_is_said)
{
    ck_assert(!notify_active());
    notify_ready();
    notify_reloading();
    notify_stopping();
    notify_status("%s", "quiet");
    notify_alive();
    notify_extend(1);
    ck_assert_str_eq(heard(), "");
    ck_assert_int_eq(setenv("WATCHDOG_USEC", "1000000", 1), 0);
    ck_assert_int_eq(notify_watchdog_interval(), 0);
}
END_TEST

#endif

START_TEST(without_a_manager_nothing_happens)
{
    (void)unsetenv("NOTIFY_SOCKET");
    ck_assert(!notify_active());
    notify_ready();
    notify_status("nobody listens");
    ck_assert_str_eq(heard(), "");
    ck_assert_str_eq(logged, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("notify");
    TCase *t = tcase_create("notify");
    tcase_add_checked_fixture(t, start, stop);
#ifdef HAVE_SYSTEMD
    tcase_add_test(t, each_message);
    tcase_add_test(t, status_is_one_plain_line);
    tcase_add_loop_test(t, watchdog_interval, 0, (int)(sizeof watchdogs / sizeof watchdogs[0]));
    tcase_add_test(t, a_deaf_manager_is_logged_once);
#else
    tcase_add_test(t, without_systemd_nothing_is_said);
#endif
    tcase_add_test(t, without_a_manager_nothing_happens);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
