/* Dropping what an attacker on this host could use. */
#include "daemon/hardening.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

void hardening_clean_environment(void)
{
    static const char *const names[] = {
        "http_proxy",     "https_proxy",      "HTTP_PROXY",      "HTTPS_PROXY",     "all_proxy",
        "ALL_PROXY",      "no_proxy",         "NO_PROXY",        "SSLKEYLOGFILE",   "OPENSSL_CONF",
        "SSL_CERT_DIR",   "SSL_CERT_FILE",    "OPENSSL_MODULES", "OPENSSL_ENGINES", "CURL_HOME",
        "CURL_CA_BUNDLE", "CURL_SSL_BACKEND", "NETRC",           "LOCALDOMAIN",     "HOSTALIASES",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unsetenv(names[i]);
}

void hardening_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* the lowest free one: this */
}

void hardening_process(void)
{
    struct rlimit none = {0, 0};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)umask(0077);
}

unsigned hardening_raise_nofile(void)
{
    struct rlimit limit = {1024, 1024};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > 1000000 ? 1000000u : (unsigned)limit.rlim_cur;
}
