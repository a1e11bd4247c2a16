/* One connection as bytes: plain TCP or TLS, blocking, with a read buffer. */
#include "stream.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_BUFFER 4096u

bool stream_init(struct stream *s, int fd, SSL *ssl)
{
    *s = (struct stream){.fd = fd, .ssl = ssl, .cap = FIRST_BUFFER};
    s->buf = malloc(s->cap);
    return s->buf != NULL;
}

static enum stream_wait wait_events(int fd, short events, int ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
    sigset_t let_in;
    int n;

    pthread_sigmask(SIG_SETMASK, NULL, &let_in);
    sigdelset(&let_in, SIGUSR1);
    n = ppoll(&p, 1, ms < 0 ? NULL : &limit, &let_in);
    if (n > 0)
        return STREAM_READY;
    return n == 0 ? STREAM_TIMEOUT : STREAM_SIGNAL;
}

enum stream_wait stream_wait(struct stream *s, int ms)
{
    if (s->start < s->end || (s->ssl != NULL && SSL_pending(s->ssl) > 0))
        return STREAM_READY;
    return wait_events(s->fd, POLLIN, ms);
}

bool stream_wait_gone(struct stream *s, int ms)
{
    struct timespec now;
    long long end;

    clock_gettime(CLOCK_MONOTONIC, &now);
    end = now.tv_sec * 1000LL + now.tv_nsec / 1000000 + ms;
    for (;;) {
        struct pollfd p = {.fd = s->fd, .events = POLLRDHUP};
        long long left;
        clock_gettime(CLOCK_MONOTONIC, &now);
        left = end - (now.tv_sec * 1000LL + now.tv_nsec / 1000000);
        if (left <= 0)
            return false;
        if (poll(&p, 1, (int)left) > 0)
            return true;
    }
}

static ssize_t read_once(struct stream *s, void *into, size_t room)
{
    for (;;) {
        if (s->ssl == NULL) {
            ssize_t n = recv(s->fd, into, room, 0);
            if (n < 0 && errno == EINTR)
                continue;
            return n < 0 ? -1 : n;
        }
        ERR_clear_error();
        int n = SSL_read(s->ssl, into, room > INT_MAX ? INT_MAX : (int)room);
        if (n > 0)
            return n;
        switch (SSL_get_error(s->ssl, n)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            continue;
        case SSL_ERROR_ZERO_RETURN:
            return 0;
        default:
            s->dead = true;
            return -1;
        }
    }
}

ssize_t stream_fill(struct stream *s, size_t limit)
{
    ssize_t n;

    if (s->start > 0) {
        memmove(s->buf, s->buf + s->start, s->end - s->start);
        s->end -= s->start;
        s->start = 0;
    }
    if (s->end == s->cap) {
        size_t cap = s->cap * 2;
        char *grown;
        if (cap > limit)
            return -1;
        grown = realloc(s->buf, cap);
        if (grown == NULL)
            return -1;
        s->buf = grown;
        s->cap = cap;
    }
    n = read_once(s, s->buf + s->end, s->cap - s->end);
    if (n > 0)
        s->end += (size_t)n;
    return n;
}

ssize_t stream_read(struct stream *s, void *into, size_t room)
{
    size_t have = s->end - s->start;

    if (have == 0)
        return read_once(s, into, room);
    if (have > room)
        have = room;
    memcpy(into, s->buf + s->start, have);
    s->start += have;
    return (ssize_t)have;
}

bool stream_write(struct stream *s, const void *bytes, size_t n)
{
    const char *p = bytes;

    while (n > 0 && !s->dead) {
        ssize_t done;
        if (s->ssl == NULL) {
            done = send(s->fd, p, n, MSG_NOSIGNAL);
            if (done < 0 && errno == EINTR)
                continue;
        } else {
            ERR_clear_error();
            done = SSL_write(s->ssl, p, n > 65536 ? 65536 : (int)n);
            if (done <= 0 && SSL_get_error(s->ssl, (int)done) == SSL_ERROR_WANT_WRITE)
                continue;
        }
        if (done <= 0) {
            s->dead = true;
            break;
        }
        p += done;
        n -= (size_t)done;
    }
    return !s->dead;
}

void stream_close(struct stream *s, enum stream_end how)
{
    if (s->fd >= 0) {
        if (how == STREAM_RESET) {
            struct linger now = {.l_onoff = 1, .l_linger = 0};
            setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        } else {
            char rest[4096];
            if (how == STREAM_ORDERLY && s->ssl != NULL && !s->dead)
                SSL_shutdown(s->ssl);
            shutdown(s->fd, SHUT_WR);
            while (wait_events(s->fd, POLLIN, 200) == STREAM_READY && recv(s->fd, rest, sizeof rest, 0) > 0)
                ;
        }
        close(s->fd);
    }
    SSL_free(s->ssl);
    free(s->buf);
    *s = (struct stream){.fd = -1};
}
