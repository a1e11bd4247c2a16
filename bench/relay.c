/* Puts a distance between two programs on one host: a TCP relay that holds back every byte for a time, each way.
 *
 * relay TARGET_PORT DELAY_US   listens on a port of 127.0.0.1 that it prints, relays to 127.0.0.1:TARGET_PORT. What one
 * side sends, and that it ended, reaches the other DELAY_US later. The kernel finishes a TCP handshake over loopback
 * before the relay hears of it; so the client's first bytes are held back for one round trip more, as if they had
 * waited for the SYN-ACK. Ends at SIGTERM and then prints how much later than due bytes left it: chunks, p50, p99 and
 * the most, in microseconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CHUNK     16384u
#define SAMPLES   65536u
#define SOCKETS   4096 /* descriptors; more are not accepted */
#define NONBLOCK4 (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

struct chunk {
    struct chunk *next;
    int64_t due;
    size_t n, at; /* n of 0: the end of the stream */
    char bytes[];
};

struct side {
    int fd;
    struct side *other;
    struct chunk *first, **last; /* for the other side, oldest first */
    int64_t not_before;
    bool read_ended, write_ended;
};

static struct side *sides[SOCKETS]; /* by descriptor */
static int64_t delay;
static int epoll_fd, timer_fd;
static uint32_t late[SAMPLES];
static size_t late_count;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_nsec(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void watch(int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
        die("epoll_ctl");
}

static void drop(struct side *s)
{
    struct side *pair[] = {s, s->other};
    for (int i = 0; i < 2; i++) {
        while (pair[i]->first != NULL) {
            struct chunk *c = pair[i]->first;
            pair[i]->first = c->next;
            free(c);
        }
        sides[pair[i]->fd] = NULL;
        (void)close(pair[i]->fd);
        free(pair[i]);
    }
}

static struct side *side_new(int fd)
{
    int one = 1;
    struct side *s = calloc(1, sizeof *s);
    if (s == NULL)
        die("calloc");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->fd = fd;
    s->last = &s->first;
    return sides[fd] = s;
}

static void accept_client(int listener, const struct sockaddr_in *target)
{
    int a = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), b = socket(AF_INET, NONBLOCK4, 0);
    if (a < 0 || b < 0 || a >= SOCKETS || b >= SOCKETS)
        die("accept4");
    if (connect(b, (const struct sockaddr *)target, sizeof *target) != 0 && errno != EINPROGRESS)
        die("connect");
    struct side *client = side_new(a), *server = side_new(b);
    client->other = server;
    server->other = client;
    client->not_before = now_nsec() + 2 * delay;
    watch(a);
    watch(b);
}

/* True if the pair is gone. */
static bool take_in(struct side *s)
{
    struct chunk *c = malloc(sizeof *c + CHUNK);
    if (c == NULL)
        die("malloc");
    ssize_t n = recv(s->fd, c->bytes, CHUNK, 0);
    if (n < 0) {
        free(c);
        if (errno == EAGAIN)
            return false;
        drop(s); /* reset: nothing is measured on such a connection */
        return true;
    }
    int64_t now = now_nsec();
    *c = (struct chunk){.due = (now < s->not_before ? s->not_before : now) + delay, .n = (size_t)n};
    *s->last = c;
    s->last = &c->next;
    if (n == 0) {
        s->read_ended = true;
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    }
    return false;
}

/* True if the pair is gone. */
static bool give_out(struct side *s, int64_t now)
{
    for (struct chunk *c = s->first; c != NULL && c->due <= now; c = s->first) {
        if (c->n == 0) {
            (void)shutdown(s->other->fd, SHUT_WR);
            s->write_ended = true;
        } else {
            ssize_t n = send(s->other->fd, c->bytes + c->at, c->n - c->at, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) {
                drop(s);
                return true;
            }
            if (c->at == 0 && late_count < SAMPLES)
                late[late_count++] = (uint32_t)((now_nsec() - c->due) / 1000);
            c->at += n > 0 ? (size_t)n : 0;
            if (c->at < c->n) {
                c->due = now + 1000000; /* its receiver is slow: again in a millisecond */
                return false;
            }
        }
        s->first = c->next;
        if (s->first == NULL)
            s->last = &s->first;
        free(c);
    }
    if (s->write_ended && s->other->write_ended) {
        drop(s);
        return true;
    }
    return false;
}

static void give_out_all(void)
{
    int64_t now = now_nsec(), due = INT64_MAX;
    for (int fd = 0; fd < SOCKETS; fd++)
        if (sides[fd] != NULL && !give_out(sides[fd], now) && sides[fd]->first != NULL && sides[fd]->first->due < due)
            due = sides[fd]->first->due;
    struct itimerspec at = {.it_value = {due / 1000000000, due % 1000000000}};
    if (due == INT64_MAX)
        at.it_value = (struct timespec){0, 0};
    if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL) != 0)
        die("timerfd_settime");
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void tell_and_end(void)
{
    qsort(late, late_count, sizeof *late, by_size);
    uint32_t none = 0, *at = late_count > 0 ? late : &none;
    size_t top = late_count > 0 ? late_count - 1 : 0;
    (void)printf("%zu %u %u %u\n", late_count, at[top / 2], at[top * 99 / 100], at[top]);
    exit(0);
}

int main(int argc, char **argv)
{
    long port = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
    delay = argc == 3 ? strtol(argv[2], NULL, 10) * 1000 : -1;
    if (port < 1 || port > 65535 || delay < 0) {
        (void)fprintf(stderr, "usage: relay TARGET_PORT DELAY_US\n");
        return 2;
    }
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, target = at;
    target.sin_port = htons((uint16_t)port);
    socklen_t n = sizeof at;
    sigset_t term;
    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, NULL);
    int listener = socket(AF_INET, NONBLOCK4, 0), signals = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (listener < 0 || signals < 0 || epoll_fd < 0 || timer_fd < 0 ||
        bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) != 0)
        die("listen");
    watch(listener);
    watch(signals);
    watch(timer_fd);
    (void)printf("%u\n", ntohs(at.sin_port));
    (void)fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            uint64_t expired;
            if (fd == signals)
                tell_and_end();
            else if (fd == listener)
                accept_client(listener, &target);
            else if (fd == timer_fd)
                (void)!read(timer_fd, &expired, sizeof expired);
            else if (sides[fd] != NULL)
                (void)take_in(sides[fd]);
        }
        give_out_all();
    }
}
