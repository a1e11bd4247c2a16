/* Measures what it costs to ask who a client is, by kind of socket: microseconds, and as a share of what a connection
 * over loopback costs the two ends anyway. Asked once per connection, never per request.
 *
 * peer_cost [ROUNDS]   with 2,000 other connections open, since the kernel looks the client up in its tables. */
#include "net/peer.h"

#include "base/clock.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define OTHERS 2000

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* A connected pair over loopback; returns the accepted side. */
static int connected(int family)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_un un = {.sun_family = AF_UNIX}; /* no path: the kernel picks an abstract name */
    struct sockaddr_storage bound;
    struct sockaddr *at = family == AF_INET    ? (struct sockaddr *)&v4
                          : family == AF_INET6 ? (struct sockaddr *)&v6
                                               : (struct sockaddr *)&un;
    socklen_t n = family == AF_INET    ? sizeof v4
                  : family == AF_INET6 ? sizeof v6
                                       : sizeof un.sun_family,
              m = sizeof bound;
    int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0),
        client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || client < 0 || bind(listener, at, n) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&bound, &m) != 0 || connect(client, (struct sockaddr *)&bound, m) != 0)
        die("connect");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        die("accept4");
    (void)close(listener);
    return fd;
}

static double whole; /* microseconds of a connection from socket(2) to close(2), both ends */

static void say(const char *what, int64_t usec, long rounds)
{
    double each = (double)usec / (double)rounds;
    if (whole == 0)
        whole = each;
    (void)printf("%-46s %7.2f us %6.2f\n", what, each, each / whole);
}

static void measure_connections(long rounds)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, n) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) != 0)
        die("listen");
    struct linger hard = {1, 0}; /* no TIME_WAIT: thousands would fill the table that is searched */
    int64_t start = clock_usec();
    for (long i = 0; i < rounds; i++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client < 0 || connect(client, (struct sockaddr *)&at, n) != 0)
            die("connect");
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) != 0)
            die("accept4");
        (void)close(client);
        (void)close(fd);
    }
    say("a connection over IPv4, opened and closed", clock_usec() - start, rounds);
    (void)close(listener);
}

static void measure(const char *what, int fd, const struct id_list *groups, long rounds)
{
    struct peer p;
    for (int i = 0; i < 100; i++) /* opens the netlink socket, warms the caches */
        if (peer_lookup(fd, groups, &p) != PP_OK)
            die("peer_lookup");
    int64_t start = clock_usec();
    for (long i = 0; i < rounds; i++)
        if (peer_lookup(fd, groups, &p) != PP_OK)
            die("peer_lookup");
    say(what, clock_usec() - start, rounds);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 20000;
    uint32_t gid[] = {4711};
    struct id_list groups = {.items = gid, .count = 1};
    struct rlimit limit;
    if (rounds < 1 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("usage: peer_cost [ROUNDS]");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("setrlimit");
    for (int i = 0; i < OTHERS; i++)
        (void)connected(AF_INET);
    int v4 = connected(AF_INET), v6 = connected(AF_INET6), un = connected(AF_UNIX);
    measure_connections(rounds);
    measure("peer_lookup, Unix socket", un, NULL, rounds);
    measure("peer_lookup, Unix socket, with groups", un, &groups, rounds);
    measure("peer_lookup, TCP over IPv4", v4, NULL, rounds);
    measure("peer_lookup, TCP over IPv4, with groups", v4, &groups, rounds);
    measure("peer_lookup, TCP over IPv6", v6, NULL, rounds);
    int64_t start = clock_usec();
    for (long i = 0; i < rounds; i++)
        if (peer_is_gone(v4))
            die("peer_is_gone");
    say("peer_is_gone, TCP over IPv4", clock_usec() - start, rounds);
    return 0;
}
